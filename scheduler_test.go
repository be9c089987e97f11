package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
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

func testConfig() schedulerConfig {
	return schedulerConfig{
		defaults:     jobDefaults{CPUs: 0.1, Mem: 128, Disk: 256, Epsilon: Period{Seconds: 60}, User: "root"},
		failureRetry: time.Minute, historyKeep: 20, role: "*",
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
	return b
}

// start begins a term.
func (b *bench) start() *bench {
	b.t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(testWriter{b.t}, nil))
	}
	b.s = newScheduler(b.cfg, b.store, b.cluster.client(log), log)
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
	err := b.s.do(context.Background(), b.s.check)
	if err != nil && !errors.Is(err, errNoLeader) {
		b.t.Fatalf("state: %v", err)
	}
	if err := b.s.view().check(); err != nil {
		b.t.Fatal(err)
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
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

// clockOf writes an instant of the bubble's first day as hh:mm:ss.
func clockOf(ms int64) string { return msTime(ms).Format("15:04:05") }

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
func scenario(t *testing.T, name string, f func(b *bench)) {
	t.Run(name, func(t *testing.T) {
		onEachCluster(t, func(t *testing.T, c testCluster) {
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

func TestScheduledRuns(t *testing.T) {
	scenario(t, "a job runs at each of its instants", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`)
		b.wait(59 * time.Second)
		b.wantHistory("a")
		b.wait(2*time.Minute + time.Second)
		b.wantHistory("a", "scheduled finished 00:01:00", "scheduled finished 00:02:00", "scheduled finished 00:03:00")
		if got, want := b.job("a").Schedule, "R/2000-01-01T00:04:00.000Z/PT1M"; got != want {
			b.t.Errorf("schedule = %q, want %q", got, want)
		}
		if got := b.job("a").SuccessCount; got != 3 {
			b.t.Errorf("successCount = %d, want 3", got)
		}
	})
	scenario(t, "an empty start means now", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R2//PT1M"}`)
		b.wait(time.Hour)
		b.wantHistory("a", "scheduled finished 00:00:00", "scheduled finished 00:01:00")
	})
	scenario(t, "a finite job whose last run succeeds is disabled", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R1//P"}`)
		b.wait(time.Second)
		if j := b.job("a"); !j.Disabled || !strings.HasPrefix(j.Schedule, "R0/") {
			b.t.Errorf("disabled = %t, schedule = %q, want true and R0", j.Disabled, j.Schedule)
		}
	})
	scenario(t, "a finite job whose last run fails for good stays enabled and can be run by hand", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(`{"name":"a","command":"x","schedule":"R1//PT1H","retries":0}`)
		b.wait(time.Second)
		if j := b.job("a"); j.Disabled || j.ErrorCount != 1 {
			b.t.Errorf("disabled = %t, errorCount = %d, want false, 1", j.Disabled, j.ErrorCount)
		}
		b.cluster.behave(nil)
		_, err := b.s.runJob(b.t.Context(), "a", "", false)
		b.do("run", err)
		b.wantHistory("a", "scheduled failed 00:00:00", "manual finished 00:00:01")
		if got := b.job("a").Schedule; !strings.HasPrefix(got, "R0/") {
			b.t.Errorf("schedule after a manual run = %q, want R0 (B1: 3.0 made it endless)", got)
		}
	})
	scenario(t, "the records of a run that waits fit into one commit however large its job", func(b *bench) {
		b.cluster.resize(0)
		largest := 0
		b.store.before = func(records []record) error {
			size := 0
			for _, r := range records {
				size += len(r.key) + len(r.value)
			}
			largest = max(largest, size)
			return nil
		}
		b.start().post(`{"name":"a","command":"` + strings.Repeat("x", maxEntry-20_000) + `","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`)
		b.wait(2 * time.Minute)
		if largest > maxMulti {
			b.t.Errorf("a commit takes %d bytes, more than %d", largest, maxMulti)
		}
	})
	scenario(t, "runs that have ended leave no timers behind", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:00:00Z/PT1S"}`)
		b.wait(3 * time.Minute)
		if n := len(b.s.timers); n > 5 {
			b.t.Errorf("%d timers wait after 180 runs", n)
		}
	})
	scenario(t, "cron expressions", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"*/15 * * * *"}`)
		b.wait(31 * time.Minute)
		b.wantHistory("a", "scheduled finished 00:15:00", "scheduled finished 00:30:00")
		if got := b.job("a").Schedule; got != "*/15 * * * *" {
			b.t.Errorf("schedule = %q", got)
		}
		if got := b.store.value("J_a"); !strings.Contains(got, `"R1/2000-01-01T00:45:00.000Z/P1D"`) {
			b.t.Errorf("stored document %s has no schedule that a JVM version can read", got)
		}
		b.restart()
		b.wait(15 * time.Minute)
		if got := b.history("a"); len(got) != 3 {
			b.t.Errorf("history after a restart = %q, want three runs", got)
		}
	})
}

func TestMissedOccurrences(t *testing.T) {
	scenario(t, "only the newest one younger than epsilon runs; all use up repetitions", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R10/2000-01-01T00:01:00Z/PT1M"}`)
		b.end()
		time.Sleep(5*time.Minute + 30*time.Second)
		b.start()
		b.wantHistory("a", "scheduled missed x4 00:04:00", "scheduled finished 00:05:00")
		if got, want := b.job("a").Schedule, "R5/2000-01-01T00:06:00.000Z/PT1M"; got != want {
			b.t.Errorf("schedule = %q, want %q", got, want)
		}
	})
	scenario(t, "an occurrence exactly epsilon old is missed (2.4)", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R1/2000-01-01T00:01:00Z/PT1H"}`)
		b.end()
		time.Sleep(2 * time.Minute)
		b.start()
		b.wantHistory("a", "scheduled missed x1 00:01:00")
		if j := b.job("a"); j.Disabled {
			b.t.Errorf("a job that missed its last occurrence is disabled")
		}
	})
	scenario(t, "a disabled job does not advance, and on enabling the same rule holds", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M","disabled":true}`)
		b.wait(10*time.Minute + 10*time.Second)
		if got, want := b.job("a").Schedule, "R/2000-01-01T00:01:00Z/PT1M"; got != want {
			b.t.Errorf("schedule of a disabled job = %q, want %q", got, want)
		}
		b.post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`)
		b.wantHistory("a", "scheduled missed x9 00:09:00", "scheduled finished 00:10:00")
	})
	scenario(t, "an instant that was handled does not become pending again whatever an older writer stores", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`)
		b.wait(2*time.Minute + time.Second)
		b.end()
		old := strings.Replace(b.store.value("J_a"), "R/2000-01-01T00:03:00.000Z/PT1M", "R/2000-01-01T00:01:00.000Z/PT1M", 1)
		b.store.records["J_a"] = []byte(old)
		b.start()
		b.wantHistory("a", "scheduled finished 00:01:00", "scheduled finished 00:02:00")
		b.wait(time.Minute)
		b.wantHistory("a", "scheduled finished 00:01:00", "scheduled finished 00:02:00", "scheduled finished 00:03:00")
	})
}

func TestOverlap(t *testing.T) {
	scenario(t, "a running job delays its occurrence within epsilon", func(b *bench) {
		b.cluster.behave(taking(90 * time.Second))
		b.start().post(`{"name":"a","command":"x","schedule":"R2//PT1M"}`)
		b.wait(5 * time.Minute)
		b.wantHistory("a", "scheduled finished 00:00:00", "scheduled finished 00:01:00")
	})
	scenario(t, "and records it as skipped beyond", func(b *bench) {
		b.cluster.behave(taking(150 * time.Second))
		b.start().post(`{"name":"a","command":"x","schedule":"R2//PT1M"}`)
		b.wait(5 * time.Minute)
		b.wantHistory("a", "scheduled skipped 00:01:00", "scheduled finished 00:00:00")
	})
	scenario(t, "also after a fail-over", func(b *bench) {
		b.cluster.behave(taking(10 * time.Minute))
		b.start().post(`{"name":"a","command":"x","schedule":"R2//PT1M"}`)
		b.wait(70 * time.Second)
		b.restart()
		b.wait(3 * time.Minute)
		b.wantHistory("a", "scheduled skipped 00:01:00")
	})
	scenario(t, "a concurrent job overlaps itself", func(b *bench) {
		b.cluster.behave(taking(150 * time.Second))
		b.start().post(`{"name":"a","command":"x","schedule":"R2//PT1M","concurrent":true}`)
		b.wait(61 * time.Second)
		b.wantRunning("a", "a")
	})
	scenario(t, "a newer occurrence replaces one that still waits for an offer", func(b *bench) {
		b.cluster.resize(0)
		b.start().post(`{"name":"a","command":"x","schedule":"R3//PT1M"}`)
		b.wait(130 * time.Second)
		b.wantHistory("a", "scheduled skipped 00:00:00", "scheduled skipped 00:01:00")
		if got := b.job("a").Schedule; !strings.HasPrefix(got, "R0/") {
			b.t.Errorf("schedule = %q, want R0: skipped occurrences use up repetitions", got)
		}
	})
	scenario(t, "runs by hand are never dropped (B8)", func(b *bench) {
		b.cluster.behave(taking(time.Minute))
		b.start().post(`{"name":"a","command":"x","schedule":"R0//PT1M"}`)
		for _, args := range []string{"one", "two", "two"} {
			_, err := b.s.runJob(b.t.Context(), "a", args, true)
			b.do("run", err)
		}
		b.wantRunning("a")
		b.wait(3*time.Minute + time.Second)
		b.wantHistory("a", "manual finished 00:00:00", "manual finished 00:00:00", "manual finished 00:00:00")
		if ids := b.cluster.launched(); len(ids) != 3 || ids[1] == ids[2] {
			b.t.Errorf("launched %q, want three different ids", ids)
		}
	})
}

// withRequest is a context of a change that carries a request id.
func withRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestNameKey{}, newRequestName(id))
}
