//go:build services

package main

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// roomyMaster is a Mesos double with agents for 16,000 tasks.
func roomyMaster(b *testing.B) *mesostest.Master {
	b.Helper()
	m := mesostest.NewMaster(b, mesostest.Options{})
	for range 100 {
		m.AddAgent(mesostest.AgentSpec{CPUs: 16, Mem: 64 << 10, Disk: 1 << 20})
	}
	return m
}

// acceptTimes are when each task was in an ACCEPT.
type acceptTimes struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (a *acceptTimes) tasks() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

func timeAccepts(m *mesostest.Master) *acceptTimes {
	times := &acceptTimes{at: map[string]time.Time{}}
	m.SetFaults(mesostest.Faults{Accept: func(a *sched.Call_Accept) mesostest.CallFault {
		times.mu.Lock()
		defer times.mu.Unlock()
		for _, t := range a.Operations[0].Launch.TaskInfos {
			times.at[t.TaskID.Value] = time.Now()
		}
		return mesostest.NoFault
	}})
	return times
}

// Ten thousand jobs due in the same second, on ZooKeeper and a Mesos of a hundred agents.
func BenchmarkBurstMesos(b *testing.B) {
	var m measuredBurst
	for b.Loop() {
		st, cluster := zkTerm(b), roomyMaster(b)
		s, stop := startTerm(b, st, newMesos(configFor(cluster, testFramework(), slog.New(slog.DiscardHandler))))
		due := holdBurst(b, s)
		times := timeAccepts(cluster)
		st.mark()
		cluster.Await("all tasks", func() bool { return times.tasks() >= burst && len(cluster.Launched()) >= burst })
		stop()
		var late []time.Duration
		all := time.Duration(0)
		for id, t := range times.at {
			if n := cluster.Launches(id); n != 1 {
				b.Fatalf("task %q was launched %d times", id, n)
			}
			late = append(late, t.Sub(due))
			all = max(all, t.Sub(due))
		}
		m.add(b, st, all, late)
	}
	m.report(b)
}
