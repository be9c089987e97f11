package main

import (
	"context"
	"errors"
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
