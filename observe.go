package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// An observedCluster counts what passes between the scheduler and a cluster.
type observedCluster struct {
	cluster
	metrics *metrics
	last    atomic.Int64 // when the last event came, ms since the epoch; 0 before the first
}

func (o *observedCluster) run(ctx context.Context, frameworkID string, handle func(*sched.Event)) error {
	first := true // a call of run is a term, or what is left of it
	return o.cluster.run(ctx, frameworkID, func(e *sched.Event) {
		o.heard()
		if e.GetType() == sched.Event_SUBSCRIBED {
			o.metrics.subscriptions.inc()
			if !first {
				o.metrics.resubscriptions.inc()
			}
			first = false
		}
		handle(e)
	})
}

func (o *observedCluster) heard() { o.last.Store(time.Now().UnixMilli()) }

func (o *observedCluster) send(call *sched.Call, done func(error)) {
	switch call.GetType() {
	case sched.Call_SUPPRESS:
		o.metrics.suppresses.inc()
	case sched.Call_RECONCILE:
		if n := len(call.GetReconcile().GetTasks()); n > 0 {
			o.metrics.reconcileTasks.add(int64(n))
		} else {
			o.metrics.reconcileRounds.inc()
		}
	}
	o.cluster.send(call, done)
}

// mesosEvent counts an event of a Mesos master, heartbeats too.
func (o *observedCluster) mesosEvent(kind string) {
	if kind == eventUndecodable {
		o.metrics.inputsSkipped.inc()
	}
	o.heard()
	o.metrics.mesosLastEvent.set(float64(time.Now().UnixMilli()) / 1000)
}

// mesosCall counts a call to a Mesos master.
func (o *observedCluster) mesosCall(_ string, _ time.Duration, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		o.metrics.callErrors.inc()
	}
}

// observe has the gauges ask the parts that they tell of. None of them waits for the scheduler.
func (p *daemon) observe() {
	m := p.metrics
	leading := func(value func(*scheduler) float64) func() float64 {
		return func() float64 {
			if s := p.seat.current(); s != nil {
				return value(s)
			}
			return 0
		}
	}
	m.jobs.from(leading(func(s *scheduler) float64 { return float64(s.view().len()) }))
	m.jobsDisabled.from(leading(func(s *scheduler) float64 { return float64(s.view().disabled) }))
	m.jobsInvalid.from(leading(func(s *scheduler) float64 { return float64(len(s.view().invalid)) }))
	m.queueHigh.from(leading(func(s *scheduler) float64 { return float64(s.view().queuedHigh) }))
	m.queueNormal.from(leading(func(s *scheduler) float64 { v := s.view(); return float64(v.queued - v.queuedHigh) }))
	m.queueAge.from(leading(func(s *scheduler) float64 { return s.view().queueAge(time.Now()).Seconds() }))
	m.runsActive.from(leading(func(s *scheduler) float64 { return float64(s.view().running) }))
	m.commitWaiting.from(leading(func(s *scheduler) float64 { return float64(s.writer.pending()) }))
	m.mesosConnected.from(leading(func(s *scheduler) float64 { return asFloat(s.view().subscribed) }))
	if p.mesos != nil {
		m.mesosConnected.from(func() float64 { return asFloat(p.mesos.status().Subscribed) })
	}
	if p.certificates != nil {
		m.tlsExpiry.from(func() float64 { return float64(p.certificates.expires().Unix()) })
	}
}

func asFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// queueAge is how long the oldest waiting run has waited.
func (v *view) queueAge(now time.Time) time.Duration {
	if v.oldestQueued == 0 {
		return 0
	}
	return max(0, now.Sub(time.UnixMilli(v.oldestQueued)))
}

// A runLog writes what happens to runs. At ten thousand runs a second two lines for each would bury the
// log and cost more than the runs, and history and metrics tell of them anyway: that a run was
// queued, started or succeeded is for debugging. What a person may have to act on, or will ask for
// later, is written by default: failed attempts, kills, skipped and late runs. Missed ones and
// jobs that used up their repetitions are logged where they are found.
type runLog struct{ *slog.Logger }

func (l runLog) observe(e jobEvent) {
	level, message := slog.LevelInfo, ""
	switch e.Kind {
	case eventQueued:
		level, message = slog.LevelDebug, "run queued"
	case eventStarted:
		level, message = slog.LevelDebug, "run started"
	case eventFinished:
		level, message = slog.LevelDebug, "run succeeded"
	case eventFailed:
		message = "attempt ended without success"
	case eventRetriesExhausted:
		level, message = slog.LevelWarn, "run failed, no attempt follows"
	case eventDisabled:
		if e.Cause != causeFailures {
			return
		}
		level, message = slog.LevelWarn, "run failed, the job is disabled"
	case eventSkipped, eventExpired:
		message = "run skipped"
	case eventLate:
		level, message = slog.LevelWarn, "run is late"
	default:
		return
	}
	if !l.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("job", e.Job.Name)}
	if r := e.Run; r != nil {
		attrs = append(attrs, slog.String("task", r.ID), slog.Int("attempt", r.Attempt), slog.String("state", string(r.State)))
		if r.Agent != "" || r.AgentID != "" {
			attrs = append(attrs, slog.String("agent", r.Agent), slog.String("agentId", r.AgentID))
		}
		if r.Reason != "" {
			attrs = append(attrs, slog.String("reason", r.Reason))
		}
	}
	l.LogAttrs(context.Background(), level, message, attrs...)
}
