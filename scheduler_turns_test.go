package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func TestTurnsOfTheLoopAreMeasured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var turns []time.Duration
		b.cfg.turnTook = func(d time.Duration) { turns = append(turns, d) }
		var log bytes.Buffer
		b.s = newScheduler(b.cfg, b.store, b.cluster.client(nil), slog.New(slog.NewTextHandler(&log, nil)))
		b.do("load", b.s.load(t.Context()))
		ctx, stop := context.WithCancel(t.Context())
		b.stop, b.done = stop, make(chan error, 1)
		go func() { b.done <- b.s.run(ctx) }()
		b.wait(0)
		defer b.end()
		slow := func(took time.Duration) string {
			synctest.Wait() // the turn before ends after its answer, and so does this one
			turns = nil
			log.Reset()
			b.do("slow", b.s.putJob(t.Context(), "a", func(*Job) (*Job, error) {
				time.Sleep(took)
				return decodeJob([]byte(parked), b.cfg.defaults, dialect2, nil)
			}))
			synctest.Wait()
			if !slices.Contains(turns, took) {
				t.Errorf("turns took %v, want one of %v among them", turns, took)
			}
			_, line, _ := strings.Cut(log.String(), "level=WARN ")
			return line
		}
		if line := slow(99 * time.Millisecond); line != "" {
			t.Errorf("99 ms are worth a warning: %s", line)
		}
		if line := slow(100 * time.Millisecond); !strings.Contains(line, "took=100ms") || !strings.Contains(line, "put job x1") || !strings.Contains(line, "job=a ") {
			t.Errorf("100 ms are not told of, with what was handled: %q", line)
		}
	})
}

// A sizeTest is something that a client or a job can have the scheduler do, at a size.
type sizeTest struct {
	name  string
	given func(b *bench, n int) // n jobs or runs
	do    func(b *bench, n int)
}

// distant is a job of which nothing is due and many runs may wait.
const distant = `{"name":"a","command":"x","cpus":1,"retries":0,"schedule":"R1/2030-01-01T00:00:00Z/P1D"%s}`

func withRuns(more string, kind runKind) func(*bench, int) {
	return func(b *bench, n int) {
		b.start().post(fmt.Sprintf(distant, more))
		b.end()
		document := []byte(b.store.value("J_a"))
		for i := range n {
			r := &Run{Job: "a", Kind: kind, Due: 1000 + int64(i), State: runQueued, Queued: 1000 + int64(i)}
			r.ID = runID(r.Due, 0, "a", "")
			b.store.records[waitKey(r.ID)], b.store.records[runKey(r.ID)] = document, mustJSON(r)
		}
		b.start()
	}
}

// stored puts dependent jobs into the store as a JVM version leaves them: without the order of
// their creation. parent names that of the i-th, "" for none.
func stored(b *bench, n int, name func(int) string, parent func(int) string) {
	for i := range n {
		doc := `"schedule":"R1/2030-01-01T00:00:00Z/P1D"`
		if p := parent(i); p != "" {
			doc = fmt.Sprintf(`"parents":[%q]`, p)
		}
		b.store.records["J_"+name(i)] = fmt.Appendf(nil, `{"name":%q,"command":"x",%s}`, name(i), doc)
	}
}

func jobName(i int) string { return fmt.Sprintf("c%06d", i) }

func chain(b *bench, n int) {
	stored(b, n, jobName, func(i int) string {
		if i == 0 {
			return ""
		}
		return jobName(i - 1)
	})
}

func family(b *bench, n int) {
	stored(b, n, jobName, func(i int) string {
		if i == 0 {
			return ""
		}
		return jobName(0)
	})
}

func loaded(jobs func(*bench, int)) func(*bench, int) {
	return func(b *bench, n int) {
		jobs(b, n)
		b.start()
	}
}

func alter(b *bench, name string, change func(*Job)) {
	b.do("put", b.s.putJob(b.t.Context(), name, func(old *Job) (*Job, error) {
		j := old.clone()
		change(j)
		return j, nil
	}))
}

// sizeTests are with a thousand runs of one job, or ten thousand jobs, or as many on top of each other.
var runTests = []sizeTest{
	{"kill", withRuns("", kindManual), func(b *bench, _ int) { b.do("kill", b.s.killJob(b.t.Context(), "a")) }},
	{"kill, concurrent", withRuns(`,"concurrent":true`, kindManual), func(b *bench, _ int) { b.do("kill", b.s.killJob(b.t.Context(), "a")) }},
	{"kill retries", withRuns("", kindRetry), func(b *bench, _ int) { b.do("kill", b.s.killJob(b.t.Context(), "a")) }},
	{"purge", withRuns("", kindManual), func(b *bench, _ int) { b.do("purge", b.s.purge(b.t.Context())) }},
	{"delete with runs", withRuns("", kindManual), func(b *bench, _ int) { b.do("delete", b.s.deleteJob(b.t.Context(), "a")) }},
	{"disable", withRuns("", kindManual), func(b *bench, _ int) { alter(b, "a", func(j *Job) { j.Disabled = true }) }},
	{"let them run beside each other", withRuns("", kindManual), func(b *bench, _ int) { alter(b, "a", func(j *Job) { j.Concurrent = true }) }},
	{"let them run one after the other", withRuns(`,"concurrent":true`, kindManual), func(b *bench, _ int) { alter(b, "a", func(j *Job) { j.Concurrent = false }) }},
	{"give them a priority", withRuns(`,"concurrent":true`, kindManual), func(b *bench, _ int) { alter(b, "a", func(j *Job) { j.HighPriority = true }) }},
	{"explain", withRuns(`,"concurrent":true`, kindManual), func(b *bench, _ int) {
		_, err := b.s.whyQueued(b.t.Context(), "a")
		b.do("explain", err)
	}},
	{"launch all", withRuns(`,"concurrent":true`, kindManual), func(b *bench, _ int) { b.cluster.resize(1e6); idle(10 * time.Second) }},
	{"load with runs", withRuns("", kindManual), func(b *bench, _ int) { b.restart() }},
}

var jobTests = []sizeTest{
	{"load a chain", chain, func(b *bench, _ int) { b.start() }},
	{"load a chain whose jobs sort the other way", func(b *bench, n int) {
		stored(b, n, func(i int) string { return jobName(n - i) }, func(i int) string {
			if i == 0 {
				return ""
			}
			return jobName(n - i + 1)
		})
	}, func(b *bench, _ int) { b.start() }},
	{"load pairs below a chain, the lower job first", func(b *bench, n int) {
		chain(b, n/2)
		for i := range n / 4 {
			upper, lower := fmt.Sprintf("e%06d", i), fmt.Sprintf("d%06d", i)
			b.store.records["J_"+upper] = fmt.Appendf(nil, `{"name":%q,"command":"x","parents":[%q]}`, upper, jobName(n/2-1))
			b.store.records["J_"+lower] = fmt.Appendf(nil, `{"name":%q,"command":"x","parents":[%q]}`, lower, upper)
		}
	}, func(b *bench, _ int) { b.start() }},
	{"load a family", family, func(b *bench, _ int) { b.start() }},
	{"post below a chain", loaded(chain), func(b *bench, n int) {
		b.post(fmt.Sprintf(`{"name":"new","command":"x","parents":[%q]}`, jobName(n-1)))
	}},
	{"close a chain", loaded(chain), func(b *bench, n int) {
		if err := b.tryPost(fmt.Sprintf(`{"name":%q,"command":"x","parents":[%q]}`, jobName(0), jobName(n-1))); err == nil {
			b.t.Error("a cycle was accepted")
		}
	}},
	{"delete the top of a chain", loaded(chain), func(b *bench, _ int) { b.do("delete", b.s.deleteJob(b.t.Context(), jobName(0))) }},
	{"delete the parent of a family", loaded(family), func(b *bench, _ int) { b.do("delete", b.s.deleteJob(b.t.Context(), jobName(0))) }},
	{"finish the parent of a family", loaded(family), func(b *bench, _ int) {
		b.do("mark", b.s.markSuccess(b.t.Context(), jobName(0)))
		idle(time.Minute)
	}},
	{"delete all jobs of a chain", loaded(chain), func(b *bench, n int) {
		for i := range n {
			b.do("delete", b.s.deleteJob(b.t.Context(), jobName(i)))
		}
	}},
}

// Nothing that a client or a job can have the scheduler do takes more than in proportion to what
// it is about: four times as many take no more than about four times the steps.
func TestNothingTakesMoreThanItsShare(t *testing.T) {
	t.Parallel()
	for n, tests := range map[int][]sizeTest{inForm(400, 1000): runTests, inForm(2000, 10_000): jobTests} {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				small, large := tt.steps(t, n/4), tt.steps(t, n)
				if large > 5*small+int64(n) || large > 60*int64(n) {
					t.Errorf("%d took %d steps, %d took %d", n/4, small, n, large)
				}
			})
		}
	}
}

// steps is what the test takes at a size.
func (tt sizeTest) steps(t *testing.T, n int) (steps int64) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.cluster.resize(0)
		b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			return time.Second, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
		})
		tt.given(b, n)
		first := b.s
		if first != nil {
			b.do("count", first.do(t.Context(), func() error { steps = first.steps; return nil }))
		}
		tt.do(b, n)
		synctest.Wait()
		if b.s != first {
			steps = 0 // of a term that has begun since
		}
		before := steps
		b.do("count", b.s.do(t.Context(), func() error { steps = b.s.steps - before; return nil }))
		b.end()
	})
	return steps
}

// holdDue puts n jobs into a leader that are all due in a minute.
func (b *bench) holdDue(n int, more string) {
	b.t.Helper()
	b.do("hold", b.s.do(b.t.Context(), func() error {
		for i := range n {
			doc := fmt.Sprintf(`{"name":"job-%05d","command":"x","schedule":"R1/2000-01-01T00:01:00Z/PT1H"%s}`, i, more)
			j, err := decodeJob([]byte(doc), b.cfg.defaults, dialect2, nil)
			if err == nil {
				err = b.s.put(b.s.jobs[j.Name], j)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
	b.wait(time.Until(time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC)) - 10*time.Millisecond)
}

// wantAllRan checks that every job has run once.
func (b *bench) wantAllRan(n int) {
	b.t.Helper()
	if got := len(b.cluster.launchCounts()); got != n {
		b.t.Errorf("%d runs were launched, want %d", got, n)
	}
	for id, times := range b.cluster.launchCounts() {
		if times != 1 {
			b.t.Errorf("run %q was launched %d times", id, times)
		}
	}
}

// inLoop does something in the loop's goroutine, so that whatever comes of it comes after.
func (b *bench) inLoop(do func()) {
	b.t.Helper()
	b.do("change the test's own", b.s.do(b.t.Context(), func() error { do(); return nil }))
}

// slowStore has each commit take so long.
func (b *bench) slowStore(d time.Duration) {
	b.t.Helper()
	b.inLoop(func() { b.store.before = func([]record) error { time.Sleep(d); return nil } })
}

// However many jobs are due at once, a change that somebody asks for meanwhile waits for a few commits, not for those of all runs. And
// nothing is missed for that: an occurrence is no older for the scheduler's own work.
func TestAChangeWaitsForFewCommitsOfABurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const jobs, commit = 4000, 100 * time.Millisecond
		b := newBench(t)
		b.start()
		defer b.end()
		b.holdDue(jobs, `,"epsilon":"PT1S"`)
		commits := b.store.commitCount()
		b.slowStore(commit)
		time.Sleep(50 * time.Millisecond)
		began := time.Now()
		b.post(`{"name":"new","command":"x","schedule":"R0/2000-01-01T00:00:00Z/PT1H"}`)
		took := time.Since(began)
		b.wait(time.Minute)
		b.wantAllRan(jobs)
		all := b.store.commitCount() - commits
		if most := 8 * commit; took > most || all < 20 {
			t.Errorf("the change took %v beside a burst of %d commits of %v each, want %v at most", took, all, commit, most)
		}
		for v := range b.s.view().all() {
			if v.missed != 0 {
				t.Fatalf("job %q has missed %d occurrences", v.job.Name, v.missed)
			}
		}
	})
}

// While very many runs are placed, others get their turn.
func TestAChangeDoesNotWaitForAllRunsToBePlaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const jobs = 1000
		b := newBench(t)
		var longest atomic.Int64 // of one goroutine, and read by another
		b.cfg.turnTook = func(d time.Duration) { longest.Store(max(longest.Load(), int64(d))) }
		c := b.cluster.(*fakeCluster)
		c.resize(0)
		b.start()
		defer b.end()
		b.holdDue(jobs, "")
		b.wait(time.Second)
		b.inLoop(func() {
			silent := b.s.offers.silent
			b.s.offers.silent = func(id string) int64 { time.Sleep(time.Millisecond); return silent(id) }
		})
		b.wait(0)
		longest.Store(0)
		c.resize(1e6)
		b.wait(time.Minute)
		b.wantAllRan(jobs)
		took := time.Duration(longest.Load())
		if took < leastOfTurn*time.Millisecond || took > slowTurn {
			t.Errorf("a turn took %v, want %v at most", took, slowTurn)
		}
	})
}

// A launch that waits for more tasks on its offers is sent before anything that is said about its tasks.
func TestALaunchIsNotOvertaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const jobs = 3000
		b := newBench(t)
		b.start()
		defer b.end()
		b.holdDue(jobs, "")
		launched := map[string]bool{}
		c := b.cluster.(*fakeCluster)
		c.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) { return time.Hour, status(mesos.TASK_FINISHED) })
		killed := 0
		c.locked(func() {
			c.fate = func(call *sched.Call) (bool, error) {
				switch call.Type {
				case sched.Call_ACCEPT:
					for _, task := range call.Accept.Operations[0].Launch.TaskInfos {
						launched[task.TaskID.Value] = true
					}
				case sched.Call_KILL:
					if killed++; !launched[call.Kill.TaskID.Value] {
						t.Errorf("task %q is killed before it is launched", call.Kill.TaskID.Value)
					}
				}
				return true, nil
			}
		})()
		b.slowStore(50 * time.Millisecond)
		waited := 0
		for range 20 {
			time.Sleep(25 * time.Millisecond)
			b.inLoop(func() {
				if len(b.s.launches) > 0 {
					waited++
					b.s.kill(b.s.launches[0].runs[0], killRequested)
				}
			})
		}
		b.wait(time.Minute)
		b.wantAllRan(jobs)
		if waited == 0 || killed < waited {
			t.Errorf("%d launches waited, and %d runs were killed", waited, killed)
		}
	})
}
