package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// handOver lets a leader give way to a JVM version, for at most that long, and returns how long that
// took and what the log says.
func (b *bench) handOver(limit time.Duration) (took time.Duration, log string) {
	b.t.Helper()
	var out logBuffer
	readLog(b.s.log, &out)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(b.t.Context(), limit)
	defer cancel()
	b.s.handOver(ctx)
	synctest.Wait()
	return time.Since(begin), out.String()
}

func TestRunsThatWaitArePlacedBeforeAJVMLeads(t *testing.T) {
	t.Parallel()
	const minutely = `{"name":"m","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT10S"}`
	scenario(t, "nothing waits", func(b *bench) {
		b.start().post(parked)
		if took, log := b.handOver(time.Hour); took > time.Second || log != "" {
			b.t.Errorf("took %v, log %q, want nothing to be done", took, log)
		}
	})
	scenario(t, "offers come in time", func(b *bench) {
		b.cluster.resize(0)
		b.cluster.behave(forEver)
		b.start().post(minutely)
		b.post(parked)
		b.wait(time.Minute) // and one occurrence is due
		id := b.runNow("a")
		time.AfterFunc(15*time.Second, func() { b.cluster.resize(10) })
		before := b.store.value("J_m")
		took, log := b.handOver(time.Hour)
		if took < 15*time.Second || took > time.Minute {
			b.t.Errorf("took %v, want until the runs were placed", took)
		}
		b.wantRunning("a", "m")
		if !strings.Contains(log, "runs=2 ") || !strings.Contains(log, id) || strings.Contains(log, "left waiting") {
			b.t.Errorf("log = %s, want the two runs, and none that is left", log)
		}
		// What fell due meanwhile is left to the JVM.
		if got := b.store.value("J_m"); got != before {
			b.t.Errorf("the schedule has moved on, from %s to %s", before, got)
		}
		if runs := b.s.view().job("m").runs; len(runs) != 1 {
			b.t.Errorf("runs of m = %d, want the one from before", len(runs))
		}
	})
	scenario(t, "no offer comes", func(b *bench) {
		b.cluster.resize(0)
		b.start().post(parked)
		ids := []string{b.runNow("a"), b.runNow("a")}
		took, log := b.handOver(7 * time.Second)
		if took != 7*time.Second || !strings.Contains(log, "level=WARN") || !strings.Contains(log, "runs=2 ") {
			b.t.Errorf("took %v, log %s, want a warning after seven seconds", took, log)
		}
		for _, id := range ids {
			if strings.Count(log, id) != 2 {
				b.t.Errorf("log = %s, want %s in both lines", log, id)
			}
		}
	})
	scenario(t, "what waits for its time, or behind another run, is told and not waited for", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		b.runNow("a")
		second := b.runNow("a")
		b.wait(time.Minute)
		took, log := b.handOver(time.Hour)
		if took > time.Second || !strings.Contains(log, "level=WARN") || !strings.Contains(log, second) {
			b.t.Errorf("took %v, log %s, want a warning at once", took, log)
		}
	})
	scenario(t, "a launch that is under way is waited for", func(b *bench) {
		b.cluster.resize(0)
		b.start().post(parked)
		b.runNow("a")
		b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) { return 0, status(mesos.TASK_STAGING) })
		time.AfterFunc(time.Second, func() { b.cluster.resize(10) })
		time.AfterFunc(20*time.Second, func() {
			for _, id := range b.cluster.launched() {
				b.cluster.tell(id, status(mesos.TASK_STARTING))
			}
		})
		if took, _ := b.handOver(time.Hour); took < 5*time.Second || took > time.Minute {
			b.t.Errorf("took %v, want until the cluster had the task", took)
		}
	})
	scenario(t, "children of what ends meanwhile are placed too", func(b *bench) {
		b.cluster.resize(0)
		b.cluster.behave(taking(3 * time.Second))
		b.start().post(parked)
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		b.runNow("a")
		b.runNow("child")
		time.AfterFunc(time.Second, func() { b.cluster.resize(0.1) }) // room for one at a time
		b.handOver(time.Hour)
		if got := len(b.cluster.launched()); got < 2 {
			b.t.Errorf("launched %d", got)
		}
		if !slices.ContainsFunc(b.cluster.launched(), func(id string) bool { return strings.Contains(id, ":child:") }) {
			b.t.Errorf("launched %q, want the child too", b.cluster.launched())
		}
	})
}

func TestJobsThatAJVMTreatsOtherwiseAreNamed(t *testing.T) {
	t.Parallel()
	scenario(t, "before it leads", func(b *bench) {
		b.start().post(parked)
		b.post(`{"name":"b","command":"x","schedule":"R0/2000-01-01T00:00:00Z/PT1H","retryDelay":60,"labels":{"team":"data"}}`)
		_, log := b.handOver(time.Hour)
		if !strings.Contains(log, "jobs=1 ") || !strings.Contains(log, "b (retryDelay, labels)") {
			b.t.Errorf("log = %s, want the job with its keys", log)
		}
	})
}
