package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
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
	for n, tests := range map[int][]sizeTest{1000: runTests, 10_000: jobTests} {
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
