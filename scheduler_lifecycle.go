package main

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// touch records that an entry has changed and must be stored and published.
func (s *scheduler) touch(e *entry) {
	if !e.isDirty {
		e.isDirty = true
		s.dirty = append(s.dirty, e)
	}
}

func (s *scheduler) touchRun(r *openRun) {
	e := r.entry
	if !r.isChanged {
		r.isChanged = true
		e.changed = append(e.changed, r)
	}
	weight := e.weigh(r)
	e.weight += weight - r.weight
	r.weight = weight
	s.heavy = s.heavy || e.weight > s.partSize()
	s.touch(e)
}

// setJob replaces a job's document.
func (s *scheduler) setJob(e *entry, j *Job) {
	e.misreadDirty = e.misreadDirty || !slices.Equal(e.job.Misread, j.Misread)
	e.policyDirty = e.policyDirty || e.job.Policy != j.Policy || j.Policy != nil && e.job.hidesFromJVM() != j.hidesFromJVM() || e.job.Disabled != j.Disabled && j.hidesFromJVM()
	e.namedDirty = e.namedDirty || e.job.Named != j.Named
	e.job = j
	e.jobDirty = true
	s.touch(e)
}

// setSchedule moves a job's schedule to a position and records it in the document.
func (s *scheduler) setSchedule(e *entry, to Schedule) {
	e.sched = to
	e.state.Anchor, e.state.Index = to.anchor()
	e.state.Written = to.String()
	if !to.isCron() {
		j := e.job.clone()
		j.Schedule = e.state.Written
		e.job = j
	}
	e.jobDirty, e.stateDirty = true, true
	s.touch(e)
}

// arm sets the timer of the job's next occurrence, or takes it away.
func (s *scheduler) arm(e *entry) {
	s.passHandled(e)
	at, ok := e.nextDue()
	if !ok || s.yielding {
		s.dues.drop(&e.timer)
		s.watchAbsence(e)
		return
	}
	s.dues.move(&e.timer, at)
	s.watchAbsence(e)
}

// passHandled moves a schedule past what was handled before: an older writer may have set it back.
func (s *scheduler) passHandled(e *entry) {
	if !e.scheduled() || e.state.LastScheduled == 0 {
		return
	}
	if n, _, _, rest := e.sched.passed(time.UnixMilli(e.state.LastScheduled)); n > 0 {
		s.setSchedule(e, rest)
	}
}

// fireDue turns the occurrences of a job that have passed into at most one
// run: the newest, if it is younger than epsilon. The others are recorded as
// missed. Every one of them uses up a repetition (2.4).
func (s *scheduler) fireDue(e *entry) {
	if !e.scheduled() || s.yielding {
		return
	}
	if !e.plain() {
		s.fireStretches(e)
		return
	}
	p := e.sched.pass(time.UnixMilli(s.now), e.epsilon()+s.pace.grace)
	newest, passed := p.newest()
	if !passed {
		s.arm(e)
		return
	}
	s.setSchedule(e, p.rest)
	e.state.LastScheduled = newest.UnixMilli()
	s.recordMissed(e, p.old, tooOld(e.job))
	s.recordMissed(e, p.older, "passed over for the occurrence of "+instant(p.due)+", which was also due when the leader handled it")
	if !p.due.IsZero() {
		s.pend(e, p.due.UnixMilli())
	}
	s.arm(e)
}

// tooOld is why an occurrence that was not handled in time does not run.
func tooOld(j *Job) string {
	return fmt.Sprintf("older than epsilon %s when the leader handled it", j.Epsilon)
}

// recordMissed writes one history entry for occurrences that do not run, if there are any.
func (s *scheduler) recordMissed(e *entry, missed bygone, why string) {
	if missed.n == 0 {
		return
	}
	e.state.Missed += missed.n
	e.stateDirty = true
	due := missed.last.UnixMilli()
	r := &Run{
		ID: runID(e.unused(due), 0, e.job.Name, jobArguments(e.job)), Job: e.job.Name, Kind: kindScheduled,
		Due: due, State: runMissed, Ended: s.now, Count: missed.n, From: missed.first.UnixMilli(), Reason: why,
	}
	s.addHistory(e, r)
	s.touch(e)
	s.log.Warn("occurrences missed", "job", e.job.Name, "count", missed.n, "from", msTime(r.From), "to", msTime(r.Due), "why", why)
	s.emit(jobEvent{Kind: eventMissed, Job: e.job, Run: r})
}

// jobArguments is the arguments part of a job's own run ids.
func jobArguments(j *Job) string { return strings.Join(j.Arguments, " ") }

// pend makes the occurrence at due a run. It replaces one that still waits.
func (s *scheduler) pend(e *entry, due int64) {
	if old := e.waiting(func(r *openRun) bool { return r.Kind == kindScheduled && !r.MadeUp }); old != nil && e.job.overlap() != overlapQueue {
		s.end(old, runSkipped, "replaced by the occurrence of "+msTime(due).Format(time.RFC3339Nano))
	}
	s.add(e, &Run{Kind: kindScheduled, Due: due}, e.unused(due))
}

// unused returns the number for the id of an occurrence: its due, unless an id may have been given with that before.
func (e *entry) unused(due int64) int64 {
	if due > e.state.Used {
		return due
	}
	e.state.Used = max(e.state.Used, e.state.LastDue) + 1
	return e.state.Used
}

// expireOverlap ends an occurrence that has waited for an earlier run of its
// own job until its epsilon was over.
func (s *scheduler) expireOverlap(r *openRun) {
	if r.State != runQueued || !r.blocked() {
		return
	}
	if !r.entry.isRunning() {
		// After a fail-over the other run may have ended, and what is before it in the queue has not started.
		s.waitUntil(r, timerOverlap, s.now+firstReconcile.Milliseconds())
		return
	}
	s.end(r, runSkipped, fmt.Sprintf("the job was still running when epsilon %s was over", r.entry.job.Epsilon))
	s.disableAfterLast(r.entry)
}

// isRunning reports whether a run of the job certainly is.
func (e *entry) isRunning() bool {
	for r := range e.runs.all() {
		if r.State == runActive && r.answered || r.State == runAwaiting && e.job.holdsToCallback() {
			return true
		}
	}
	return false
}

// nextID returns the number for the id of a run that has no scheduled instant: now, or
// enough later that no id is ever given twice.
func (s *scheduler) nextID(e *entry) int64 {
	due := max(s.now, e.state.LastDue+1, e.state.Used+1)
	if next, ok := e.nextDue(); ok && next == due {
		due++
	}
	if due == e.state.LastScheduled {
		due++
	}
	e.state.LastDue = due
	if due > s.now+time.Second.Milliseconds() {
		e.state.Used = due // of an occurrence that is to come, perhaps
	}
	e.stateDirty = true
	return due
}

// add opens a run of the job and lets it wait for its turn. The caller has set
// Kind, Due, Attempt and the arguments; number is the one in the id.
func (s *scheduler) add(e *entry, r *Run, number int64) *openRun {
	args := r.Args
	if !r.HasArgs {
		args = jobArguments(e.job)
	}
	r.ID = runID(number, r.Attempt, e.job.Name, args)
	r.Job, r.State, r.Queued = e.job.Name, runQueued, s.now
	o := s.open(e, r)
	e.stateDirty = true
	s.touchRun(o)
	s.emit(jobEvent{Kind: eventQueued, Job: e.job, Run: r})
	s.watchLate(o)
	if r.Kind == kindRetry && r.Due > s.now {
		o.delayed = true
		s.waitUntil(o, timerRetry, r.Due)
		return o
	}
	s.admit(o)
	return o
}

// admit puts a waiting run into the queue, unless its job does not allow that.
func (s *scheduler) admit(r *openRun) {
	s.steps++
	e := r.entry
	switch {
	case r.State != runQueued || r.delayed || r.class != nil:
	case e.job.Disabled:
		s.end(r, runSkipped, "the job is disabled")
	case !e.hasPlace(r), e.retries > 0 && r.isOccurrence() && !r.MadeUp && e.job.overlap() == overlapReplace:
		s.overlapped(r)
	default:
		e.blocked.remove(r)
		s.queue.push(r, s.cfg.task)
		s.offers.newWork = true
	}
}

// release admits a run whose retry delay has passed.
func (s *scheduler) release(r *openRun) {
	if r.State == runQueued && r.delayed {
		if p := r.entry.pause; p != nil && r.Kind == kindRetry && s.now < p.Until {
			s.putOff(r, p.Until)
			return
		}
		r.delayed = false
		s.admit(r)
	}
}

// unblock admits what waited for another run of the job, as far as there is room.
func (s *scheduler) unblock(e *entry) {
	for !e.job.Disabled {
		r := e.nextBlocked()
		if r == nil {
			return
		}
		e.blocked.remove(r)
		s.timers.drop(&r.wait)
		s.admit(r)
	}
}

// endEvents are the events for the states in which a run ends.
var endEvents = map[runState]eventKind{
	runFinished: eventFinished, runFailed: eventFailed, runKilled: eventFailed, runLost: eventFailed,
	runMissed: eventMissed, runSkipped: eventSkipped,
}

// end closes a run, moves it to history and reports it: every run is ended here, so
// each is reported once. Other consequences of its end are up to the caller.
func (s *scheduler) end(r *openRun, state runState, reason string) {
	s.steps++
	e := r.entry
	s.queue.remove(r)
	e.blocked.remove(r)
	s.unwatch(r)
	r.delayed = false
	r.update(func(n *Run) { n.State, n.Reason, n.Ended, n.Killing, n.Token = state, reason, s.now, "", "" })
	delete(s.runs, r.ID)
	e.runs.remove(r)
	s.addHistory(e, r.Run)
	s.touchRun(r)
	s.emit(jobEvent{Kind: endEvents[state], Job: e.job, Run: r.Run, Message: reason})
	s.unblock(e)
	s.feedBackfill(e)
	if r.Kind == kindDependent {
		s.wake = append(s.wake, e.job.Name) // its parents may have finished again meanwhile
	}
}

// succeed ends a run that did what it should, for its job's counters and children.
func (s *scheduler) succeed(r *openRun, message string) {
	if r.Killing.overLimit() {
		s.fail(r, runFailed, message)
		return
	}
	s.countAs(r, true, false)
	s.end(r, runFinished, message)
	s.countSuccess(r.entry)
	s.disableExhausted(r.entry)
}

func (s *scheduler) countSuccess(e *entry) {
	before := e.job
	j := before.clone()
	j.SuccessCount++
	j.ErrorsSinceLastSuccess = 0
	j.LastSuccess = instant(msTime(s.now))
	s.setJob(e, j)
	s.passOn(e)
	s.countEnd(e, false)
	if e.absent() {
		s.recover(e)
	} else if before.ErrorsSinceLastSuccess > 0 && len(before.receivers()) > 0 {
		s.emit(jobEvent{Kind: eventRecovered, Job: before, Cause: causeFailures})
	}
	s.watchAbsence(e)
}

// passOn wakes a job's children because it has finished once more. Only the
// job's own generation is stored with the finish; each child consumes it in a
// separate change.
func (s *scheduler) passOn(e *entry) {
	e.state.Generation++
	e.stateDirty = true
	s.touch(e)
	s.wake = append(s.wake, s.graph.children[e.job.Name]...)
}

// disableExhausted disables a job whose last repetition has succeeded, once
// nothing of it is open any more.
func (s *scheduler) disableExhausted(e *entry) {
	if e.gone || e.backfill != nil || e.job.Dependent || e.job.Disabled || e.problem != "" || e.runs.len() > 0 || e.sched.remaining() != 0 {
		return
	}
	j := e.job.clone()
	j.Disabled = true
	s.setJob(e, j)
	s.arm(e)
	s.log.Info("job has used up its repetitions and is disabled", "job", j.Name)
	s.emit(jobEvent{Kind: eventDisabled, Job: j, Cause: causeRecurrences})
}

// fail ends an attempt that did not succeed: another one follows, or the
// failure counts. A run that somebody asked to kill was killed, however it ended (as FAILED,
// for example, if its executor died within the grace period): a retry would start
// what was meant to end.
func (s *scheduler) fail(r *openRun, state runState, message string) {
	if r.Killing.asked() {
		s.killed(r, message)
		return
	}
	if r.Killing.overLimit() {
		state, message = runFailed, string(r.Killing)
	}
	e, before := r.entry, r.entry.job
	again := mayRetry(before, r.Attempt)
	e.retrying = again && (r.ofOccurrence() || r.Backfill != 0)
	if !again {
		s.countAs(r, before.SoftError, true)
	}
	s.end(r, state, message)
	if e.retrying = false; again {
		s.retry(e, r.Run)
		return
	}
	j := before.clone()
	j.ErrorCount++
	j.ErrorsSinceLastSuccess++
	j.LastError = instant(msTime(s.now))
	broken := s.cfg.disableAfter > 0 && j.ErrorsSinceLastSuccess >= s.cfg.disableAfter
	j.Disabled = j.Disabled || broken
	s.setJob(e, j)
	s.arm(e)
	if j.SoftError {
		s.passOn(e)
	}
	s.countEnd(e, true)
	if broken && !before.Disabled {
		s.emit(jobEvent{Kind: eventDisabled, Job: before, Run: r.Run, Message: message, Cause: causeFailures})
		s.skipWaiting(e)
		return
	}
	s.emit(jobEvent{Kind: eventRetriesExhausted, Job: before, Run: r.Run, Message: message})
}

// mayRetry says whether an attempt may follow the one that failed. After a
// run has failed for good, runs get no retries until one succeeds: a rule of
// all versions that clients may rely on, except for jobs that say how their attempts follow each other.
func mayRetry(j *Job, attempt int) bool {
	if attempt >= j.Retries {
		return false
	}
	if j.LastError == "" || j.pacesAttempts() {
		return true
	}
	failed, ok1 := parseDate(j.LastError)
	succeeded, ok2 := parseDate(j.LastSuccess)
	return ok1 && ok2 && !succeeded.Before(failed)
}

// retry opens the next attempt of a run. It keeps one-off arguments.
func (s *scheduler) retry(e *entry, r *Run) {
	due := s.now + e.job.pauseBefore(r.Attempt+1, s.cfg.failureRetry).Milliseconds()
	if e.pause != nil {
		due = max(due, e.pause.Until)
	}
	e.state.LastRetry = max(due, e.state.LastRetry+1)
	next := r.giveAs(Run{Kind: kindRetry, Due: due, Attempt: r.Attempt + 1, ByHand: r.ByHand || r.Kind == kindManual || r.Kind == kindBackfill})
	next.RetryOf, next.Causes, next.MoreCauses = r.ID, r.Causes, r.MoreCauses
	s.add(e, next, e.state.LastRetry)
}

// wakeChildren checks the jobs whose parents have finished, up to a bound.
func (s *scheduler) wakeChildren() {
	if !s.mayWake() {
		return
	}
	s.seal() // a parent's finish is stored no later than its use by the children
	n := min(len(s.wake), maxWakes)
	for _, name := range s.wake[:n] {
		s.turnLog.note("look at parents", name)
		if e := s.jobs[name]; e != nil {
			s.runIfReady(e)
		}
	}
	s.wake = s.wake[n:]
	if len(s.wake) == 0 {
		s.wake = nil
	}
}

// runIfReady opens a run of a dependent job when every parent has finished
// since the last time, using up those generations: of a single parent one at a
// time, so that each of its finishes counts, and of several all that there are.
// At most one such run waits; the parents' generations remember the rest, unless only the newest is to run.
func (s *scheduler) runIfReady(e *entry) {
	parents := s.graph.parents[e.job.Name]
	if !e.job.Dependent || len(parents) == 0 {
		return
	}
	if !s.ready(e, parents) {
		return
	}
	if e.job.Disabled {
		s.useAll(e, parents) // the runs of a disabled child are dropped silently, as ever
		return
	}
	if s.barDependent(e, parents) {
		return
	}
	newest := e.job.overlap() == overlapSkip || e.job.overlap() == overlapReplace
	if old := e.waiting(func(r *openRun) bool { return r.Kind == kindDependent }); old != nil {
		if !newest {
			return
		}
		s.end(old, runSkipped, "replaced by the next occurrence")
	}
	before := e.ends.Used
	if len(parents) == 1 && !newest {
		s.useOne(e, parents[0])
	} else {
		s.useAll(e, parents)
	}
	r := &Run{Kind: kindDependent, Due: s.now}
	r.Causes, r.MoreCauses = s.causes(e, parents, before)
	s.add(e, r, s.nextID(e))
}

// launched records where a run has been placed. That is stored before the
// cluster is told.
func (s *scheduler) launched(r *openRun, p *placement) {
	e := r.entry
	s.queue.remove(r)
	r.answered, r.asked, r.unconfirmed = false, false, false
	if s.cfg.callbacks {
		p.token = callbackPrefix + strings.ToLower(rand.Text()+rand.Text())
	}
	r.update(func(n *Run) {
		n.State, n.Launched, n.AgentID, n.Agent, n.Reason = runLaunching, s.now, p.agentID, p.hostname, ""
		n.Token = tokenDigest(p.token)
		n.Sandbox = sandboxURL(p.agentURL, s.framework, executorID(e.job, n))
	})
	s.touchRun(r)
	s.watchStaging(r)
	s.expectAnswer(r)
	s.joinGuests(r)
	if parents := s.graph.parents[e.job.Name]; len(parents) > 1 && r.Kind == kindManual {
		s.useAll(e, parents) // a manual start counts as having seen what the parents did
	}
	if r.Kind == kindDependent {
		s.wake = append(s.wake, e.job.Name)
	}
	if e.job.Concurrent {
		s.unblock(e)
	}
	s.skipBehind(e)
}

// watchLate makes sure that eventLate is raised if the run does not start in time, or at once if it is
// late already. Without --notify_late this costs nothing.
func (s *scheduler) watchLate(r *openRun) {
	if s.cfg.late > 0 && !r.Late {
		s.timers.move(&r.late, max(s.now, r.Due+s.cfg.late.Milliseconds()))
	}
}

// tellLate reports that a run is late: once, even across a fail-over.
func (s *scheduler) tellLate(r *openRun) {
	r.update(func(n *Run) { n.Late = true })
	s.touchRun(r)
	s.emit(jobEvent{Kind: eventLate, Job: r.entry.job, Run: r.Run})
}

// requeue takes back a launch that never happened: the same attempt waits again, after a pause
// if there is one.
func (s *scheduler) requeue(r *openRun, why string, pause time.Duration) {
	s.log.Info("task was not launched; its run waits again", "job", r.Job, "task", r.ID, "why", why)
	r.update(func(n *Run) {
		n.State, n.Launched, n.Started, n.AgentID, n.Agent, n.Sandbox, n.Reason = runQueued, 0, 0, "", "", "", why
	})
	s.gotAnswer(r)
	s.touchRun(r)
	if r.Killing != "" {
		s.killed(r, string(r.Killing))
		return
	}
	if pause > 0 {
		r.delayed = true
		s.waitUntil(r, timerRetry, s.now+pause.Milliseconds())
		return
	}
	s.admit(r)
}
