package main

import (
	"fmt"
)

// A run has a place from its launch to its end, and its job has one place, or as many as it says. Here is what
// becomes of runs that find no place, which for occurrences the job's overlap decides.

// maxWaiting is how many occurrences of a job may wait for the ones before them.
const maxWaiting = 100

// held is how many places of the job are taken, or will be by what is next in the queue.
func (e *entry) held() int {
	if e.job.holdsToCallback() {
		return int(e.underWay + e.inQueue + e.awaiting)
	}
	return int(e.underWay + e.inQueue)
}

// taken reports whether a run of the job certainly has a place.
func (e *entry) taken() bool { return e.held() > int(e.inQueue) }

// hasPlace reports whether a run may go into the queue.
func (e *entry) hasPlace(r *openRun) bool {
	if places := e.job.places(); places > 0 && e.held() >= places {
		return false
	}
	if !e.inTurn(r) {
		return true
	}
	// An occurrence is over when its last attempt is.
	return e.retries == 0 && !e.retrying && (e.job.places() == 1 || e.held() == 0)
}

// inTurn reports whether the run is an occurrence that waits for its turn after the one before it.
func (e *entry) inTurn(r *openRun) bool {
	return r.isOccurrence() && (r.MadeUp || e.job.overlap() == overlapQueue)
}

// overlapped has a run wait that finds no place, or ends it, or what is in its way.
func (s *scheduler) overlapped(r *openRun) {
	e := r.entry
	if !r.isOccurrence() || r.MadeUp {
		e.blocked.add(r)
		return
	}
	switch e.job.overlap() {
	case overlapSkip:
		if e.taken() {
			s.skipOverlapped(r)
			return
		}
	case overlapQueue:
		if r.Kind == kindScheduled && e.scheduledWaiting > maxWaiting {
			s.end(r, runSkipped, fmt.Sprintf("%d occurrences wait already", maxWaiting))
			s.disableAfterLast(e)
			return
		}
		e.blocked.add(r)
		return
	case overlapReplace:
		e.blocked.add(r)
		s.replaceUnderWay(r)
		if !r.blocked() || e.giveWay() {
			return
		}
	}
	e.blocked.add(r)
	if r.Kind == kindScheduled {
		s.waitUntil(r, timerOverlap, max(r.Due+e.epsilon(), s.now+firstReconcile.Milliseconds()))
	}
}

func (s *scheduler) skipOverlapped(r *openRun) {
	s.end(r, runSkipped, "another run of the job was under way")
	s.disableAfterLast(r.entry)
}

// skipBehind ends the occurrences that wait behind a run that has just taken the place, where the job skips them.
func (s *scheduler) skipBehind(e *entry) {
	if e.job.overlap() != overlapSkip || len(e.blocked) == 0 || !e.taken() {
		return
	}
	for _, r := range append(blockedRuns(nil), e.blocked...) {
		if r.blocked() && r.isOccurrence() && !r.MadeUp {
			s.skipOverlapped(r)
		}
	}
}

// replaceUnderWay ends every attempt of earlier occurrences of the job for the sake of a new one, which
// starts when they have ended or are declared lost.
func (s *scheduler) replaceUnderWay(by *openRun) {
	why := killCause(fmt.Sprintf("%s %s", killReplaced, instant(by.dueTime())))
	for _, r := range by.entry.runs.snapshot() {
		if r == by || s.runs[r.ID] != r || !r.ofOccurrence() || r.isOccurrence() && r.State == runQueued {
			continue
		}
		if !r.Killing.asked() {
			s.kill(r, why)
		}
	}
}

// giveWay reports whether all that holds the job's place ends by itself for the sake of the next occurrence.
func (e *entry) giveWay() bool {
	for r := range e.runs.all() {
		holds := r.class != nil || r.State == runLaunching || r.State == runActive || r.State == runAwaiting && e.job.holdsToCallback()
		if holds && !r.Killing.asked() {
			return false
		}
	}
	return true
}

// nextBlocked returns the run that is to have the place that is free, or nil. Attempts that follow come before
// occurrences that wait for their turn.
func (e *entry) nextBlocked() (first *openRun) {
	if len(e.blocked) == 0 || e.hasPlace(e.blocked[0]) {
		return firstOf(e.blocked)
	}
	if !e.inTurn(e.blocked[0]) {
		return nil
	}
	for _, r := range e.blocked {
		if (first == nil || r.index < first.index) && e.hasPlace(r) {
			first = r
		}
	}
	return first
}

func firstOf(runs blockedRuns) *openRun {
	if len(runs) == 0 {
		return nil
	}
	return runs[0]
}

// whyBlocked says what a run waits for that finds no place, for a person.
func (e *entry) whyBlocked(r *openRun) string {
	switch {
	case e.inTurn(r):
		return "its turn has not come: the occurrence before it is not over"
	case e.job.Concurrent:
		return fmt.Sprintf("as many runs of the job are under way or before it as may be at once, which are %d", e.job.places())
	case r.isOccurrence() && e.job.overlap() == overlapReplace && e.giveWay():
		return "the run that it replaces has been told to end and has not ended yet"
	case e.job.overlap() != overlapDelay:
		return "another run of the job is under way or before it"
	}
	return "another run of the job is under way or before it, and the job is not concurrent"
}
