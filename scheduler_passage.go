package main

import (
	"fmt"
	"slices"
	"time"
)

// Here is what becomes of the instants of a schedule that have passed where the job says more of them than
// its epsilon: which times are excluded, and what is made up of what nobody came to.

// A stretchOfDues is instants in a row to which the same applies.
type stretchOfDues struct {
	bygone
	from   Schedule // standing at the first of them
	rest   Schedule // after the last
	bar    *bar     // why they do not run, or nil
	missed bool     // they fell due before this term, or while the job was disabled
}

// barring is when the job does not run.
func (e *entry) barring() barring {
	all := e.job.barring(e.sched.zone())
	if e.pause != nil {
		all = append(barring{e.pause.bar()}, all...)
	}
	return all
}

// plain reports whether nothing but epsilon decides about the job's instants.
func (e *entry) plain() bool {
	return e.pause == nil && (e.job.Policy == nil || e.job.missed() == missedNewest && len(e.job.Policy.Exclude) == 0)
}

// passing cuts the instants that have passed into such stretches.
func (s *scheduler) passing(e *entry) (all []stretchOfDues) {
	bars := e.barring()
	ends := []int64{e.resumed + 1}
	for _, b := range bars {
		ends = append(ends, b.from, b.to)
	}
	slices.Sort(ends)
	at := e.sched
	for _, end := range append(ends, s.now+1) {
		n, first, last, rest := at.passed(time.UnixMilli(min(end-1, s.now)))
		if n == 0 {
			continue
		}
		all = append(all, stretchOfDues{bygone{n, first, last}, at, rest, bars.at(first.UnixMilli()), first.UnixMilli() <= e.resumed})
		at = rest
	}
	return all
}

// fireStretches is fireDue for a job that is not plain.
func (s *scheduler) fireStretches(e *entry) {
	all := s.passing(e)
	newest := -1 // the stretch whose last instant runs
	for i, st := range all {
		if st.bar == nil && (!st.missed || e.job.missed() == missedNewest) {
			newest = i
		}
	}
	for i, st := range all {
		s.cut()
		old, young := s.partOld(e, st)
		switch {
		case st.bar != nil:
			s.moveOn(e, st.rest, st.last)
			s.recordBarred(e, st.bygone, st.bar.why)
		case st.missed && e.job.missed() == missedAll:
			if old.n > 0 {
				s.moveOn(e, young.from, old.last)
				s.recordMissed(e, old, tooOld(e.job))
			}
			s.makeUp(e, young)
		case st.missed && e.job.missed() == missedNone:
			s.moveOn(e, st.rest, st.last)
			s.recordMissed(e, st.bygone, "fell due while nobody led or the job was disabled, and of that it runs none")
		default:
			s.moveOn(e, st.rest, st.last)
			s.recordMissed(e, old, tooOld(e.job))
			s.runNewest(e, young, all[newest].last, i == newest)
		}
	}
	s.arm(e)
}

// moveOn notes that the job's schedule has been handled up to an instant.
func (s *scheduler) moveOn(e *entry, to Schedule, last time.Time) {
	s.setSchedule(e, to)
	e.state.LastScheduled = last.UnixMilli()
}

// partOld divides a stretch into what is as old as epsilon and what is younger.
func (s *scheduler) partOld(e *entry, st stretchOfDues) (old bygone, young stretchOfDues) {
	tooOld := time.UnixMilli(min(s.now-max(e.epsilon(), 0)-s.pace.grace, st.last.UnixMilli()))
	n, first, last, rest := st.from.passed(tooOld)
	young = st
	if n == 0 {
		return bygone{}, young
	}
	young.from, young.n = rest, st.n-n
	young.first, _ = rest.next()
	return bygone{n, first, last}, young
}

// runNewest runs the last of some instants, if it is the newest of all that have passed, and misses the others.
func (s *scheduler) runNewest(e *entry, young stretchOfDues, newest time.Time, runs bool) {
	if young.n == 0 {
		return
	}
	passedOver := young.bygone
	if runs {
		passedOver.n--
		if _, _, before, _ := young.from.passed(young.last.Add(-time.Millisecond)); !before.IsZero() { // else two meet
			passedOver.last = before
		}
	}
	if passedOver.n > 0 {
		s.recordMissed(e, passedOver, "passed over for the occurrence of "+instant(newest)+", which was due as well when the leader came to it")
	}
	if runs {
		s.pend(e, newest.UnixMilli())
	}
}

// makeUp has each of some instants run, one after the other. Of more than may wait the oldest are missed. The schedule moves on with
// each run, so that a leader that goes down in between leaves the others to the next.
func (s *scheduler) makeUp(e *entry, young stretchOfDues) {
	if young.n == 0 {
		s.moveOn(e, young.rest, young.last)
		return
	}
	at := young.from
	if surplus := young.n - max(0, maxWaiting-int64(e.scheduledWaiting)); surplus > 0 {
		last := at.nth(surplus, young.first, young.last)
		n, first, to, rest := at.passed(last)
		s.moveOn(e, rest, to)
		s.recordMissed(e, bygone{n, first, to}, fmt.Sprintf("older than the %d occurrences that may wait", maxWaiting))
		at = rest
	}
	for {
		t, ok := at.next()
		if !ok || t.After(young.last) {
			return
		}
		s.cut()
		_, _, _, at = at.passed(t)
		s.moveOn(e, at, t)
		s.add(e, &Run{Kind: kindScheduled, Due: t.UnixMilli(), MadeUp: true}, e.unused(t.UnixMilli()))
	}
}

// recordBarred writes into the history that occurrences fell into a time in which the job does not run: one entry for all of that time.
func (s *scheduler) recordBarred(e *entry, b bygone, why string) {
	due := b.last.UnixMilli()
	r := &Run{Job: e.job.Name, Kind: kindScheduled, Due: due, State: runSkipped, Ended: s.now, Count: b.n, From: b.first.UnixMilli(), Reason: why}
	if e.job.Dependent {
		r.Kind = kindDependent
	}
	told := *r
	i := slices.IndexFunc(e.history, func(h *Run) bool { return h.State == runSkipped && h.Count > 0 && h.Reason == why })
	if i >= 0 {
		r.ID, r.Count, r.From = e.history[i].ID, e.history[i].Count+b.n, e.history[i].From
		s.number(e, r)
		e.history = slices.Clone(e.history)
		e.history[i] = r
		e.historyDirty = true
	} else {
		r.ID = runID(e.unused(due), 0, e.job.Name, jobArguments(e.job))
		s.addHistory(e, r)
	}
	told.ID = r.ID
	e.stateDirty = true
	s.touch(e)
	s.log.Info("occurrences skipped", "job", e.job.Name, "count", b.n, "why", why)
	s.emit(jobEvent{Kind: eventSkipped, Job: e.job, Run: &told})
}

// barDependent uses up what the parents of a job have done while it does not run, and reports whether it does not.
func (s *scheduler) barDependent(e *entry, parents []string) bool {
	down := e.barring().at(s.now)
	if down == nil {
		return false
	}
	now := msTime(s.now)
	s.useAll(e, parents)
	s.recordBarred(e, bygone{1, now, now}, down.why)
	return true
}
