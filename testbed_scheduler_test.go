package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A bench is a scheduler under test with its store and cluster. It is to be
// used within a synctest bubble: the clock starts at 2000-01-01T00:00:00Z.
type bench struct {
	t       testing.TB
	store   *memStore
	cluster testCluster
	cfg     schedulerConfig
	s       *scheduler
	events  []jobEvent
	stop    context.CancelFunc
	done    chan error
}

// runJob starts a job by hand with arguments in one text, as clients of the original do.
func (s *scheduler) runJob(ctx context.Context, name, args string, hasArgs bool) (string, error) {
	return s.startRun(ctx, name, &Run{Args: args, HasArgs: hasArgs})
}

// runNow starts a job by hand and returns the run's id.
func (b *bench) runNow(name string) string {
	b.t.Helper()
	id, err := b.s.runJob(b.t.Context(), name, "", false)
	b.do("run", err)
	return id
}

func (b *bench) wantState(name, want string) {
	b.t.Helper()
	if got, _ := b.s.view().job(name).state(); got != want {
		b.t.Errorf("state of %s = %q, want %q", name, got, want)
	}
}

// start begins a term.
func (b *bench) start() *bench {
	b.t.Helper()
	log := newLogTap(b.t)
	b.store.terms = b.cfg
	b.s = newScheduler(b.cfg, &stagedMem{memStore: b.store}, b.cluster.client(log), log)
	if err := b.s.load(context.Background()); err != nil {
		b.t.Fatalf("load: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.done = stop, make(chan error, 1)
	go func(s *scheduler) { b.done <- s.run(ctx) }(b.s)
	b.wait(0)
	return b
}

// end ends the term as a crash would: what is not stored is gone.
func (b *bench) end() {
	b.stop()
	<-b.done
	synctest.Wait() // until the cluster has noticed
}

// restart ends the term and begins the next one.
func (b *bench) restart() {
	b.t.Helper()
	b.end()
	b.start()
}

// wait lets virtual time pass and the scheduler come to rest, and checks its state.
func (b *bench) wait(d time.Duration) {
	b.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	var contradiction error
	err := b.s.do(context.Background(), func() error { contradiction = b.s.check(); return nil })
	deliberate := b.store.before != nil // a test that has commits fail may end the term at any of them
	if contradiction != nil || err != nil && !errors.Is(err, errNoLeader) && !deliberate {
		b.t.Fatalf("state: %v", errors.Join(contradiction, err))
	}
	if err := b.s.view().check(); err != nil {
		b.t.Fatal(err)
	}
}

// post creates or replaces a job as the API does.
func (b *bench) post(doc string) {
	b.t.Helper()
	if err := b.tryPost(doc); err != nil {
		b.t.Fatalf("post %s: %v", doc, err)
	}
}

func (b *bench) tryPost(doc string) error {
	j, err := decodeJob([]byte(doc), b.cfg.defaults, dialect2, nil)
	if err != nil {
		return err
	}
	err = b.s.putJob(b.t.Context(), j.Name, func(old *Job) (*Job, error) {
		j, err := decodeJob([]byte(doc), b.cfg.defaults, dialect2, old)
		if err != nil {
			return nil, err
		}
		return j, j.check(old == nil, time.Now())
	})
	synctest.Wait()
	return err
}

// do calls a change of the scheduler and fails the test if it fails.
func (b *bench) do(what string, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	synctest.Wait()
}

func (b *bench) job(name string) *Job {
	b.t.Helper()
	j := b.s.view().job(name)
	if j == nil {
		b.t.Fatalf("no job %q", name)
	}
	return j.job
}

// history lists the ended runs of a job, oldest first, as "kind state attempt due reason"
// with due as seconds since the bubble's beginning.
func (b *bench) history(name string) []string {
	b.t.Helper()
	var out []string
	for _, r := range slices.Backward(b.s.view().job(name).history) {
		line := fmt.Sprintf("%s %s", r.Kind, r.State)
		if r.Attempt > 0 {
			line += fmt.Sprintf(" attempt %d", r.Attempt)
		}
		if r.Count > 0 {
			line += fmt.Sprintf(" x%d", r.Count)
		}
		out = append(out, line+" "+clockOf(r.Due))
	}
	return out
}

func (b *bench) wantHistory(name string, want ...string) {
	b.t.Helper()
	if got := b.history(name); !slices.Equal(got, want) {
		b.t.Errorf("history of %s = %q\nwant %q", name, got, want)
	}
}

func (b *bench) wantRunning(want ...string) {
	b.t.Helper()
	var got []string
	for _, id := range b.cluster.running() {
		_, _, job, _, _ := parseRunID(id)
		got = append(got, job)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.t.Errorf("running = %q, want %q", got, want)
	}
}

func testConfig() schedulerConfig {
	return schedulerConfig{
		defaults:     jobDefaults{CPUs: 0.1, Mem: 128, Disk: 256, Epsilon: Period{Seconds: 60}, User: "root"},
		failureRetry: time.Minute, historyKeep: 20, activityKeep: 5000, role: "*",
		reviveEvery: 5 * time.Second, reconcile: 10 * time.Minute, unreachable: 10 * time.Minute, staging: 5 * time.Minute,
		task: taskConfig{CPUs: 0.1, Mem: 128, Disk: 256}, location: time.UTC, term: 1,
	}
}

// newBench makes a bench with a cluster in memory whose scheduler is not started yet.
func newBench(t testing.TB) *bench { return newBenchOn(t, newFakeCluster()) }

func newBenchOn(t testing.TB, c testCluster) *bench {
	b := &bench{t: t, store: newMemStore(), cluster: c, cfg: testConfig()}
	b.store.records[adoptKey] = []byte("0")
	b.cfg.observe = func(e jobEvent) { b.events = append(b.events, e) }
	if k, ok := c.(*kubeTestCluster); ok {
		b.cfg.task.PlacedByCluster = true
		k.job = func(name string) (*Job, bool) {
			if v := b.s.view().job(name); v != nil {
				return v.job, true
			}
			return nil, true
		}
	}
	return b
}

// clockOf writes an instant of the bubble's first day as hh:mm:ss.
func clockOf(ms int64) string { return msTime(ms).Format("15:04:05") }

// forEver keeps tasks running until the test ends them.
func forEver(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
	return 365 * 24 * time.Hour, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
}

// failing makes every task fail at once.
func failing(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
	message := "exit status 1"
	return 0, mesos.TaskStatus{State: mesos.TASK_FAILED.Enum(), Message: &message}
}

// taking makes every task succeed after d.
func taking(d time.Duration) func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
	return func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
		return d, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
	}
}

// scenario runs a test of the scheduler in virtual time with each kind of cluster.
func scenario(t *testing.T, name string, f func(b *bench)) { scenarioOn(t, onEachCluster, name, f) }

// scenarioOfMesos is scenario without Kubernetes, of which no JVM version knows.
func scenarioOfMesos(t *testing.T, name string, f func(b *bench)) { scenarioOn(t, onMesos, name, f) }

func scenarioOn(t *testing.T, clusters func(*testing.T, func(*testing.T, testCluster)), name string, f func(b *bench)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		clusters(t, func(t *testing.T, c testCluster) {
			b := newBenchOn(t, c)
			defer func() {
				if b.s != nil {
					b.end()
				}
			}()
			f(b)
		})
	})
}

// testScheduler returns a scheduler that leads until the test ends, with a store in
// memory and a cluster too small for any task, so that runs stay queued.
func testScheduler(t testing.TB) *scheduler {
	t.Helper()
	return schedulerOn(t, newMemStore())
}

// schedulerOn returns a scheduler that leads over a store until the test ends.
func schedulerOn(t testing.TB, st *memStore) *scheduler {
	t.Helper()
	return schedulerWith(t, st, func(*schedulerConfig) {})
}

// schedulerWith is schedulerOn with another configuration. What it stores by itself is stored when this returns.
func schedulerWith(t testing.TB, st *memStore, configure func(*schedulerConfig)) *scheduler {
	t.Helper()
	st.records[adoptKey] = []byte("0")
	cl := newFakeCluster()
	cl.cpus = 0
	cfg := testConfig()
	configure(&cfg)
	sch := newScheduler(cfg, st, cl, newLogTap(t))
	if err := sch.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var term sync.WaitGroup
	term.Go(func() { sch.run(ctx) })
	t.Cleanup(func() { cancel(); term.Wait() })
	until(t, "the framework is registered, which is stored", func() bool { return st.value(frameworkIDKey) != "" })
	return sch
}

// soundness checks the whole state of a scheduler within its loop, and what readers see of it.
func soundness(t *testing.T, sch *scheduler) error {
	err := sch.do(t.Context(), sch.check)
	return errors.Join(err, sch.view().check())
}

const parked = `{"name":"a","command":"x","schedule":"R0/2000-01-01T00:00:00Z/PT1H"}`

// status is an update without a uuid, as reconciliation sends.
func status(state mesos.TaskState) mesos.TaskStatus { return mesos.TaskStatus{State: state.Enum()} }

// withRequest is a context of a change that carries a request id.
func withRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestNameKey{}, newRequestName(id))
}
