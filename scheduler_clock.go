package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The wall clock says what is due, and it may be changed. Durations do not depend on it:
// whatever the loop waits for takes as long as it would have. What is due follows vixie-cron:
// a clock that was set forward leaves missed occurrences behind. After one that was set back by less than
// farStep nothing runs twice: jobs of fixed times wait until the clock has caught up, intervals and cron
// expressions that mean intervals go on from the new now. After one that was set back by
// more, every schedule goes on from the new now.
const (
	farStep = 3 * time.Hour
	// clockSlack is how much the wall clock may differ from the monotonic one from one turn to the next. A clock
	// that is slewed, by a twelfth at most, stays within it, since the watchdog has the loop turn every few seconds.
	clockSlack = time.Second
	// shownStep is how long health lists a step of the clock among its problems.
	shownStep = 10 * time.Minute
	// rewindsAtOnce is how many schedules are put back before what that changed goes to the writer.
	rewindsAtOnce = 2000
	// namedJobs is how many of the affected jobs are named in messages.
	namedJobs = 10
)

// A clockReport is what readers see of the steps of the clock in a term.
type clockReport struct {
	steps  int
	at, by int64 // ms; the last one
	until  int64 // ms; until the clock is there some jobs wait for it, if it is not yet
}

// lookAtClock takes the time for the event to come, and notices when the wall clock was set since the last one.
func (s *scheduler) lookAtClock() {
	steady, wall := time.Now(), s.wallTime().UnixMilli()
	by := wall - s.now - steady.Sub(s.turned).Milliseconds()
	first := s.turned.IsZero()
	s.now, s.turned = wall, steady
	if limit := clockSlack.Milliseconds(); !first && (by >= limit || by <= -limit) {
		s.clockWasSet(by)
	}
}

// wallTime is what the wall clock says.
func (s *scheduler) wallTime() time.Time {
	if s.cfg.wallClock != nil {
		return s.cfg.wallClock()
	}
	return time.Now()
}

// clockWasSet brings the term in line with a wall clock that was set forward or, by less than 0, back.
func (s *scheduler) clockWasSet(by int64) {
	s.rewindSome(len(s.rewinds)) // those of the last step first
	s.shiftStamps(by)
	s.clock.steps++
	s.clock.at, s.clock.by = s.now, by
	duration := time.Duration(by) * time.Millisecond
	if by > 0 {
		s.log.Warn("the clock was set forward, or this machine has slept; what was due meanwhile is missed", "by", duration)
	} else {
		s.clockWentBack(-by)
	}
	s.after(func() { s.cfg.clockSet(duration) }) // and readers see it
}

// clockWentBack makes schedules go on, or wait. Which ones are affected is found one by one.
func (s *scheduler) clockWentBack(back int64) {
	var wait []*entry
	for _, e := range s.jobs {
		if back < farStep.Milliseconds() && !e.sched.rhythmic() {
			wait = append(wait, e)
			continue
		}
		s.rewinds = append(s.rewinds, rewind{e, back})
	}
	s.log.Warn("the clock was set back", "by", time.Duration(back)*time.Millisecond)
	s.tellWaiting(wait)
}

// tellWaiting logs which jobs wait until the clock has caught up with what they have done.
func (s *scheduler) tellWaiting(wait []*entry) {
	wait = slices.DeleteFunc(wait, func(e *entry) bool { return !e.scheduled() || e.state.LastScheduled <= s.now })
	if len(wait) == 0 {
		return
	}
	for _, e := range wait {
		s.clock.until = max(s.clock.until, e.state.LastScheduled)
	}
	slices.SortFunc(wait, func(a, b *entry) int { return strings.Compare(a.job.Name, b.job.Name) })
	var names []string
	for _, e := range wait[:min(len(wait), namedJobs)] {
		names = append(names, e.job.Name)
	}
	s.log.Warn("jobs with fixed times wait until the clock has caught up with what they have done", "jobs", len(wait), "until", instant(msTime(s.clock.until)), "first", names)
}

// shiftStamps keeps what was measured before the clock was set comparable with what is measured now.
func (s *scheduler) shiftStamps(by int64) {
	for _, t := range s.timers {
		t.at += by // the same for all, so the heap stays valid
	}
	for _, e := range s.jobs {
		if e.alert != nil {
			s.setAlert(e, &alert{Seq: e.alert.Seq, Since: e.alert.Since + by, Absent: e.alert.Absent})
			shiftAll(by, &e.alert.Absent)
			s.watchAbsence(e)
		}
		s.watchPause(e) // which ends at an instant that somebody has named
	}
	s.offers.shift(by)
	s.requests.shift(by)
	s.retired.shift(by)
	s.activity.shift(by)
	for _, r := range s.runs {
		shiftAll(by, &r.tryUntil)
		r.update(func(n *Run) {
			shiftAll(by, &n.Queued, &n.Launched, &n.Started, &n.Unreachable)
			if n.Kind != kindScheduled { // it was due when it was created, or a delay after that
				n.Due += by
			}
		})
		s.touchRun(r)
	}
}

// shiftAll moves instants, in ms, by as much as the clock was set. 0 and endless mean none, and stay.
func shiftAll(by int64, instants ...*int64) {
	for _, at := range instants {
		if *at != 0 && *at != endless {
			*at += by
		}
	}
}

// A rewind is a job whose schedule is to be put back, and by how much the clock was, in ms.
type rewind struct {
	entry *entry
	back  int64
}

// rewindSome puts some schedules back, and reports whether others are still to be.
func (s *scheduler) rewindSome(n int) (more bool) {
	n = min(n, len(s.rewinds))
	for _, w := range s.rewinds[:n] {
		s.rewind(w.entry, w.back)
	}
	if s.rewinds = s.rewinds[n:]; len(s.rewinds) == 0 {
		s.rewinds = nil
	}
	return len(s.rewinds) > 0
}

// rewind makes a schedule go on from a now that is before what it has handled, or was posted at. Its instants may come
// again: they get new ids, and no repetition is given back.
func (s *scheduler) rewind(e *entry, back int64) {
	now, handled := time.UnixMilli(s.now), e.state.LastScheduled > s.now
	far := back >= farStep.Milliseconds()
	to := e.sched.back(now)
	if !far {
		to = e.sched.resumed(now, back)
	}
	switch stays := e.job.Dependent || e.problem != "" || to.same(e.sched); {
	case e.gone || stays && !handled:
		return
	case stays && !far: // what comes next comes soon enough, and what comes again has run
		s.clock.until = max(s.clock.until, e.state.LastScheduled)
		return
	case stays:
		s.forgetHandled(e)
	default:
		s.forgetHandled(e)
		s.setSchedule(e, to)
	}
	s.arm(e)
}

// forgetHandled lets instants that a job has handled become due again, with ids of their own.
func (s *scheduler) forgetHandled(e *entry) {
	st := s.state(e)
	st.Used = st.newestDue()
	st.LastScheduled = min(st.LastScheduled, s.now-1)
}

// compareClocks checks, when a term begins, for stored instants that are still to come. They mean that the clock has
// been set back since, or that another machine's is ahead: only beyond farStep is it certainly the former.
func (s *scheduler) compareClocks(jobs []*entry) {
	var wait []*entry
	ahead, far := int64(0), 0
	for _, e := range jobs {
		by := s.handledUntil(e) - s.now
		switch {
		case by > farStep.Milliseconds():
			ahead, far = max(ahead, by), far+1
			s.rewind(e, by)
		case by >= clockSlack.Milliseconds():
			wait = append(wait, e)
		}
	}
	s.settleStamps()
	s.tellWaiting(wait)
	if far == 0 {
		return
	}
	back := time.Duration(ahead) * time.Millisecond
	s.clock.steps++
	s.clock.at, s.clock.by = s.now, -ahead
	s.log.Warn("the clock was set back since these jobs were last due; they go on from now", "by", back, "jobs", far)
	s.after(func() { s.cfg.clockSet(-back) })
}

// handledUntil returns the latest instant that a job's schedule has left behind, which was no later than now for whoever
// stored it; 0 if a JVM version has created runs ahead of their time, according to its --schedule_horizon.
func (s *scheduler) handledUntil(e *entry) int64 {
	handled := e.state.LastScheduled
	if last, ok := e.sched.lastAfter(time.UnixMilli(s.now + farStep.Milliseconds())); ok {
		handled = max(handled, last.UnixMilli())
	}
	if handled <= s.now {
		return handled
	}
	for r := range e.runs.all() {
		if r.Kind == kindScheduled && r.Queued < r.Due && r.Due >= handled {
			return 0
		}
	}
	return handled
}

// settleStamps sets stamps of open runs that are in the future to now, since they can't have been made later.
func (s *scheduler) settleStamps() {
	for _, r := range s.runs {
		early := r.Kind == kindScheduled && r.Queued < r.Due
		r.update(func(n *Run) {
			for _, stamp := range []*int64{&n.Queued, &n.Launched, &n.Started, &n.Unreachable} {
				*stamp = min(*stamp, s.now)
			}
			switch {
			case n.Kind == kindRetry:
				latest := s.now + r.entry.job.pauseBefore(n.Attempt, s.cfg.failureRetry).Milliseconds()
				if p := r.entry.pause; p != nil {
					latest = max(latest, p.Until)
				}
				n.Due = min(n.Due, latest)
			case n.Kind != kindScheduled:
				n.Due = min(n.Due, s.now)
			case !early && n.Due > s.now+farStep.Milliseconds():
				n.Due = s.now
			}
		})
	}
}

// waitingForClock returns how many jobs wait for the clock to catch up with what they have done, some of their names, and until when.
func (v *view) waitingForClock(now int64) (n int, names []string, until int64) {
	if v.clock.until <= now {
		return 0, nil, 0
	}
	for jv := range v.all() {
		if !jv.waitsForClock(now) {
			continue
		}
		if n++; n <= namedJobs {
			names = append(names, jv.job.Name)
		}
		until = max(until, jv.handled)
	}
	return n, names, until
}

// waitsForClock reports whether the job has handled an instant that is still to come.
func (j *jobView) waitsForClock(now int64) bool { return j.handled > now }

// String describes the last step of the clock.
func (c clockReport) String() string {
	direction := "back"
	if c.by > 0 {
		direction = "forward"
	}
	return fmt.Sprintf("the clock was set %s by %s at %s", direction, time.Duration(max(c.by, -c.by))*time.Millisecond, instant(msTime(c.at)))
}
