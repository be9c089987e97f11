package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A crowdTest is something that happens to all runs of a job.
type crowdTest struct {
	name  string
	state runState // of the runs before
	more  string   // of the job's document
	do    func(ctx context.Context, b *bench) error
	want  map[runState]int // of the runs as they were told to have ended; by default all are killed
}

var crowdTests = []crowdTest{
	{name: "killed", do: func(ctx context.Context, b *bench) error { return b.s.killJob(ctx, "a") }},
	{name: "purged", do: func(ctx context.Context, b *bench) error { return b.s.purge(ctx) }},
	{name: "deleted", do: func(ctx context.Context, b *bench) error { return b.s.deleteJob(ctx, "a") }},
	{name: "deleted while they are under way", state: runActive,
		do: func(ctx context.Context, b *bench) error { return b.s.deleteJob(ctx, "a") }},
	{name: "skipped because their job is disabled", do: func(ctx context.Context, b *bench) error {
		return b.s.putJob(ctx, "a", func(old *Job) (*Job, error) {
			j := old.clone()
			j.Disabled = true
			return j, nil
		})
	}, want: map[runState]int{runSkipped: crowd}},
	{name: "lost with their framework", state: runActive, more: `,"retries":0`, do: func(_ context.Context, b *bench) error {
		b.s.handle(&sched.Event{Type: sched.Event_ERROR, Error: &sched.Event_Error{Message: frameworkRemoved}})
		return nil
	}, want: map[runState]int{runLost: crowd}},
	{name: "launched at once, and finish", more: `,"concurrent":true`, do: func(_ context.Context, b *bench) error {
		b.cluster.resize(1e6)
		time.Sleep(time.Minute)
		return nil
	}, want: map[runState]int{runFinished: crowd}},
}

const crowd = 4000 // runs of one job: what ends them all takes more than two commits of ZooKeeper

// gather stores a job with n runs, as an earlier leader has left it, and begins a term that
// has not been told anything of them.
func (tt crowdTest) gather(b *bench, n int) {
	b.cluster.resize(0)
	b.cluster.behave(taking(time.Second))
	b.start().post(`{"name":"a","command":"x","cpus":0.1,"schedule":"R1/2030-01-01T00:00:00Z/P1D"` + tt.more + `}`)
	b.post(`{"name":"child","command":"x","disabled":true,"parents":["a"]}`)
	b.end()
	document := []byte(b.store.value("J_a"))
	for i := range n {
		r := &Run{Job: "a", Kind: kindManual, Due: 1000 + int64(i), State: tt.state, Queued: 1000 + int64(i)}
		r.ID = runID(r.Due, 0, "a", "")
		if r.State == "" {
			r.State = runQueued
			b.store.records[waitKey(r.ID)] = document
		} else {
			r.AgentID, r.Launched, r.Started = "agent-1", r.Queued, r.Queued
			b.cluster.(*fakeCluster).tasks[r.ID] = &memTask{state: mesos.TASK_RUNNING}
		}
		b.store.records[runKey(r.ID)] = mustJSON(r)
	}
	b.start()
}

// Whatever happens to all runs of a job at once, no commit takes more than ZooKeeper holds, and
// each run is reported as ended once.
func TestAChangeOfOneJobFitsCommits(t *testing.T) {
	t.Parallel()
	for _, tt := range crowdTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				told := newLedger()
				b.cfg.observe = told.told
				b.cfg.largestJob, b.cfg.largestStep = maxJob, maxMulti
				total := 0
				b.store.before = func(records []record) error {
					if n := b.store.sizeOf(records); n > maxMulti {
						return &recordError{records[0].key, fmt.Errorf("%d records of %d bytes: %w", len(records), n, errRecordTooLarge)}
					}
					total += b.store.sizeOf(records)
					told.stored(records, true)
					return nil
				}
				tt.gather(b, crowd)
				defer b.end()
				for id := range b.s.runs {
					told.opened[id] = true
				}
				total = 0
				b.do("change", tt.do(t.Context(), b))
				b.wait(10 * time.Second)
				if b.s.view().job("a") != nil {
					b.wantState("a", "idle")
				}
				select {
				case err := <-b.done:
					b.done <- err
					t.Errorf("the term ended: %v", err)
				default:
				}
				told.compare(t, map[string]*jobView{})
				want := tt.want
				if want == nil {
					want = map[runState]int{runKilled: crowd}
				}
				for state, n := range want {
					if told.results[state] != int64(n) {
						t.Errorf("told of as ended: %v, want %v", told.results, want)
					}
				}
				if left := append(b.store.keys("go/run/"), b.store.keys("T_")...); len(left) > 0 {
					t.Errorf("%d records are left, such as %q", len(left), left[0])
				}
				if total <= maxMulti {
					t.Errorf("all that was stored takes %d bytes, which is no more than one commit holds: this tests nothing", total)
				}
			})
		})
	}
}

// A leader that goes down in the middle of a large change leaves a state from which the next one
// goes on, and a client that repeats its request gets what it asked for, once.
func TestALargeChangeMayBeCutOff(t *testing.T) {
	t.Parallel()
	for _, tt := range crowdTests[:5] {
		for _, crash := range []int{0, 1, 7} {
			for _, isStored := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, at commit %d, stored %t", tt.name, crash, isStored), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						b := newBench(t)
						b.cfg.batchSize = 4 << 10 // so that fewer runs, too, take more commits than come before the crash
						tt.gather(b, inForm(crowd/20, crowd/5))
						told := newLedger()
						for id := range b.s.runs {
							told.opened[id] = true
						}
						b.end()
						b.cfg.observe = told.told
						b.start()
						request := requestRecord("1")
						n := 0
						b.store.before = func(records []record) error {
							answered := slices.ContainsFunc(records, func(r record) bool { return r.key == request })
							if n++; n != crash+1 {
								told.stored(records, true)
								return nil
							}
							if isStored {
								told.stored(records, false)
								b.store.apply(records)
							}
							if open := len(b.store.keys("go/run/")); isStored && answered && open > 0 {
								t.Errorf("the answer is stored with %d runs still open", open)
							}
							return errors.New("crash")
						}
						ctx := withRequest(t.Context(), "1")
						if err := tt.do(ctx, b); err == nil {
							t.Fatal("the change was done before the crash: this tests nothing")
						}
						err := <-b.done
						b.done <- err
						synctest.Wait()
						b.start() // which checks what it has loaded
						if left := len(b.s.runs); left == 0 && !isStored {
							t.Error("the crash has ended the runs")
						}
						b.do("repeat", tt.do(ctx, b))
						b.do("repeat again", tt.do(ctx, b))
						b.wait(time.Minute)
						b.end()
						told.compare(t, map[string]*jobView{})
						if left := slices.Concat(b.store.keys("go/run/"), b.store.keys("T_")); len(left) > 0 {
							t.Errorf("%d records are left, such as %q", len(left), left[0])
						}
						if tt.name == "deleted" && !strings.Contains(b.store.value("J_child"), "R1/2030-01-01") {
							t.Errorf("the child has not inherited the schedule: %s", b.store.value("J_child"))
						}
					})
				})
			}
		}
	}
}

// What somebody could make too large for a commit is refused when it comes.
func TestWhatCouldNotBeStoredIsRefused(t *testing.T) {
	t.Parallel()
	control := strings.Repeat("\x01", maxArguments) // six bytes each in JSON
	behind := func(name string, parents ...string) string {
		return `{"name":"` + name + `","command":"x","retries":0,"parents":` + string(mustJSON(parents)) + `}`
	}
	jobs := func(b *bench, prefix string, n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprint(prefix, i))
			b.post(yearly(names[i]))
		}
		return names
	}
	long := strings.Repeat("p", 200)
	tests := []struct {
		name string
		do   func(b *bench) error
		ok   bool
	}{
		{"the longest arguments", func(b *bench) error {
			b.post(parked)
			_, err := b.s.runJob(b.t.Context(), "a", control, true)
			return err
		}, true},
		{"the longest arguments of a large job", func(b *bench) error {
			b.post(strings.Replace(parked, `"x"`, `"`+strings.Repeat("x", maxJob-1000)+`"`, 1))
			_, err := b.s.runJob(b.t.Context(), "a", control, true)
			return err
		}, false},
		{"a large command", func(b *bench) error {
			return b.tryPost(strings.Replace(parked, `"x"`, `"`+strings.Repeat("x", maxJob-1000)+`"`, 1))
		}, true},
		{"many parents", func(b *bench) error {
			return b.tryPost(behind("a", jobs(b, long, 500)...))
		}, true},
		{"too many parents", func(b *bench) error {
			return b.tryPost(behind("a", jobs(b, long, 1400)...))
		}, false},
		{"the deletion of a job whose child would get too many parents", func(b *bench) error {
			names := jobs(b, long, 1400)
			b.post(behind("b", names[:700]...))
			b.post(behind("c", append(names[700:], "b")...))
			return b.s.deleteJob(b.t.Context(), "b")
		}, false},
		{"the deletion of a job with many parents and many children", func(b *bench) error {
			b.post(behind("b", jobs(b, "p", 500)...))
			for i := range maxHeirs/500 + 1 {
				b.post(behind(fmt.Sprint("c", i), "b"))
			}
			return b.s.deleteJob(b.t.Context(), "b")
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.cfg.largestJob, b.cfg.largestStep = maxJob, maxMulti
				b.store.before = func(records []record) error {
					if n := b.store.sizeOf(records); n > maxMulti {
						t.Errorf("a commit of %d records takes %d bytes", len(records), n)
					}
					return nil
				}
				b.cluster.resize(0)
				b.cluster.behave(failing)
				b.start()
				defer b.end()
				err := tt.do(b)
				if _, refused := errors.AsType[*jobError](err); (err == nil) != tt.ok || err != nil && !refused {
					t.Fatalf("got %v, want it accepted: %t", err, tt.ok)
				}
				synctest.Wait()
				b.cluster.resize(10) // it starts, fails and is tried again
				b.wait(10 * time.Minute)
			})
		})
	}
}
