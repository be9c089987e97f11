//go:build services

package main

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// roomyMaster is a Mesos double with agents for 160 tasks each.
func roomyMaster(b *testing.B, agents int) *mesostest.Master {
	b.Helper()
	m := mesostest.NewMaster(b, mesostest.Options{})
	for range agents {
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
		st, cluster := zkTerm(b), roomyMaster(b, 100)
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

// A hundred thousand jobs due in the same second, on ZooKeeper and a Mesos of a thousand agents: when they are launched, how long
// the loop is away at most, what readers and writers wait for meanwhile, and how much memory all of it takes, the double's included.
func BenchmarkBurstOfAHundredThousand(b *testing.B) {
	const jobs = 100_000
	var late, reads, writes []time.Duration
	var longest time.Duration
	var peak uint64
	for b.Loop() {
		cfg := testConfig()
		var mu sync.Mutex
		cfg.turnTook = func(took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, took)
		}
		st, cluster := zkTerm(b), roomyMaster(b, 1000)
		s, stop := startTermOf(b, cfg, st, newMesos(configFor(cluster, testFramework(), slog.New(slog.DiscardHandler))))
		due := time.Now().Add(90 * time.Second).Truncate(time.Second)
		hold(b, s, jobs, func(i int) string { return benchJob(i, every(due, "PT1H")) })
		if time.Until(due) < time.Second {
			b.Fatal("the machine is too slow to put the jobs in before they are due")
		}
		st.mark()
		runtime.GC()
		time.Sleep(time.Until(due.Add(-50 * time.Millisecond)))
		mu.Lock()
		longest = 0
		mu.Unlock()
		times := timeAccepts(cluster)
		api, over := newAPI(leading(s)), make(chan struct{})
		var probes sync.WaitGroup
		probe := func(into *[]time.Duration, pause time.Duration, request func(i int) string) {
			probes.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-over:
						return
					case <-time.After(pause):
					}
					start := time.Now()
					if res := send(b, api, request(i)); res.StatusCode >= 300 {
						b.Errorf("%s = %d", request(i), res.StatusCode)
					}
					*into = append(*into, time.Since(start))
				}
			})
		}
		probe(&reads, 20*time.Millisecond, func(i int) string { return fmt.Sprintf("GET /scheduler/jobs/search?name=job-%06d", i*17%jobs) })
		probe(&writes, 50*time.Millisecond, func(i int) string {
			return post("/scheduler/iso8601", benchJob(jobs+i, every(due.Add(24*time.Hour), "P1D")))
		})
		for deadline := time.Now().Add(5 * time.Minute); times.tasks() < jobs; time.Sleep(100 * time.Millisecond) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			if time.Now().After(deadline) {
				b.Fatalf("%d tasks of %d after five minutes", times.tasks(), jobs)
			}
		}
		close(over)
		probes.Wait()
		stop()
		for id, t := range times.at {
			if n := cluster.Launches(id); n > 1 {
				b.Fatalf("task %q was launched %d times", id, n)
			}
			late = append(late, t.Sub(due))
		}
		wipe(b, st.session, st.root)
	}
	reportTimes(b, "late", late)
	reportTimes(b, "read", reads)
	reportTimes(b, "write", writes)
	b.ReportMetric(float64(longest.Milliseconds()), "longest-turn-ms")
	b.ReportMetric(float64(peak>>20), "heap-MiB")
}
