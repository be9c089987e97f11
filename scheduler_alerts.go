package main

const alertPrefix = "go/alert/"

// An alert is what is known of a job that tells when it has not succeeded for too long. It is stored as go/alert/<job>.
type alert struct {
	Seq    int64 `json:"seq"`              // of the job
	Since  int64 `json:"since"`            // ms since the epoch; it counts from here, or from the last success if that is later
	Absent int64 `json:"absent,omitempty"` // when it was told that it has not succeeded for too long, 0 if it was not
}

// watchSlow sets the alarm that tells that a run takes longer than its job expects, or takes it away.
func (s *scheduler) watchSlow(r *openRun) {
	after := r.entry.job.alertAfter().Milliseconds()
	if after == 0 || r.Started == 0 || r.Slow || r.State == runQueued || r.ended() {
		s.timers.drop(&r.slow)
		return
	}
	s.timers.move(&r.slow, r.Started+after)
}

// tellSlow tells that a run takes longer than its job expects: once, also across a fail-over. The run goes on.
func (s *scheduler) tellSlow(r *openRun) {
	r.update(func(n *Run) { n.Slow = true })
	s.touchRun(r)
	s.emit(jobEvent{Kind: eventSlow, Job: r.entry.job, Run: r.Run})
}

// watchAbsence sets the alarm that tells that the job has not succeeded for too long, or takes it away: while the job is disabled
// or paused, or nothing of it is to come, nobody waits for a success.
func (s *scheduler) watchAbsence(e *entry) {
	limit := e.job.alertWithoutSuccess().Milliseconds()
	if limit == 0 || e.gone {
		if e.alert != nil {
			s.setAlert(e, nil)
		}
		s.timers.drop(e.absence)
		return
	}
	expected := e.expectsSuccess()
	switch {
	case e.alert == nil:
		s.setAlert(e, &alert{Seq: e.state.Seq, Since: s.now})
	case e.absent() && e.lastSuccess() > e.alert.Absent: // which a JVM version, or somebody who posted the job, has noted
		s.recover(e)
	case expected && !e.expected && !e.absent() && e.watched:
		s.setAlert(e, &alert{Seq: e.state.Seq, Since: s.now}) // it counts anew from when a success is expected again
	}
	e.expected, e.watched = expected, true
	if !expected || e.absent() {
		s.timers.drop(e.absence)
		return
	}
	if e.absence == nil {
		e.absence = &alarm{kind: timerAbsence, entry: e}
	}
	s.timers.move(e.absence, max(e.alert.Since, e.lastSuccess())+limit)
}

// expectsSuccess reports whether a success of the job is to be expected.
func (e *entry) expectsSuccess() bool {
	if e.job.Disabled || e.pause != nil {
		return false
	}
	_, comes := e.nextDue()
	return comes || e.job.Dependent || e.runs.len() > 0
}

// lastSuccess is when the job last succeeded, in ms, 0 for never.
func (e *entry) lastSuccess() int64 {
	at, ok := parseDate(e.job.LastSuccess)
	if !ok {
		return 0
	}
	return at.UnixMilli()
}

func (s *scheduler) setAlert(e *entry, a *alert) {
	e.alert, e.alertDirty = a, true
	s.touch(e)
}

// tellAbsence tells that a job has not succeeded for too long.
func (s *scheduler) tellAbsence(e *entry) {
	limit := e.job.alertWithoutSuccess().Milliseconds()
	if since := max(e.alert.Since, e.lastSuccess()); s.now < since+limit || !e.expectsSuccess() {
		s.watchAbsence(e)
		return
	}
	s.setAlert(e, &alert{Seq: e.state.Seq, Since: e.alert.Since, Absent: s.now})
	s.emit(jobEvent{Kind: eventAbsent, Job: e.job})
}

// recover tells that a job has succeeded after that.
func (s *scheduler) recover(e *entry) {
	s.setAlert(e, &alert{Seq: e.state.Seq, Since: s.now})
	s.emit(jobEvent{Kind: eventRecovered, Job: e.job})
}

// absent reports whether the job has not succeeded for too long.
func (e *entry) absent() bool { return e.alert != nil && e.alert.Absent != 0 }
