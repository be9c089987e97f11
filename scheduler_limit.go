package main

import (
	"fmt"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A run's time limit is watched here, since agents before Mesos 1.8 know of none, from the run's start on, and so also by a
// leader that has not launched it. An async run is under it until its callback.

// watchLimit sets the alarm of the run's limit, or takes it away.
func (s *scheduler) watchLimit(r *openRun) {
	limit := r.entry.job.timeLimit().Milliseconds()
	if limit == 0 || r.Started == 0 || r.State == runQueued || r.ended() {
		s.timers.drop(&r.limit)
		return
	}
	s.timers.move(&r.limit, r.Started+limit)
}

// watchLimits does so for all runs of a job, whose limits may be others now.
func (s *scheduler) watchLimits(e *entry) {
	for r := range e.runs.all() {
		s.watchLimit(r)
		s.watchSlow(r)
	}
}

// endOverLimit ends a run that has taken as long as it may: at once where no task is left, else by asking the cluster.
func (s *scheduler) endOverLimit(r *openRun) {
	why := overLimit(r.entry.job.timeLimit())
	if r.State == runAwaiting {
		s.fail(r, runFailed, string(why))
		return
	}
	if r.Killing == "" {
		r.update(func(n *Run) { n.Killing = why })
		s.touchRun(r)
		s.log.Warn("run is over its time limit and is killed", "job", r.Job, "task", r.ID, "limit", r.entry.job.timeLimit())
	}
	s.repeatKill(r)
}

// killTask asks the cluster to end the task of a run, within the time that its job leaves it for that.
func (s *scheduler) killTask(r *openRun) {
	s.acceptFirst(r)
	call := killCall(r.ID, r.AgentID)
	if j := r.entry.job; r.Killing.overLimit() || j.Policy != nil && j.Policy.KillGrace != nil {
		call.Kill.KillPolicy = killPolicy(j)
	}
	s.send(call, nil)
}

// failureText is why a task has failed: its agent may have watched the limit as well.
func failureText(j *Job, u *mesos.TaskStatus) string {
	if u.GetReason() == mesos.REASON_MAX_COMPLETION_TIME_REACHED && j.timeLimit() > 0 {
		return string(overLimit(j.timeLimit()))
	}
	return statusText(u)
}

func killCall(id, agent string) *sched.Call {
	call := &sched.Call{Type: sched.Call_KILL, Kill: &sched.Call_Kill{TaskID: mesos.TaskID{Value: id}}}
	if agent != "" {
		call.Kill.AgentID = &mesos.AgentID{Value: agent}
	}
	return call
}

// overLimit is the cause of the kill of a run that has taken longer than it may.
func overLimit(limit time.Duration) killCause {
	return killCause(fmt.Sprintf("%s %s", killOverLimit, inUnits(limit)))
}
