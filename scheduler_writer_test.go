package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A faulty cluster panics where it is told to.
type faultyCluster struct {
	cluster
	where string
}

func (c *faultyCluster) run(ctx context.Context, id string, handle func(*sched.Event)) error {
	if c.where == "run" {
		panic("a fault")
	}
	return c.cluster.run(ctx, id, handle)
}

func (c *faultyCluster) send(call *sched.Call, done func(error)) {
	if c.where == call.Type.String() {
		panic("a fault")
	}
	c.cluster.send(call, done)
}

// A fault of ours ends a term, with everything in it, and never the process: the next one begins
// from what is stored.
func TestAPanicEndsTheTermAndNotTheProcess(t *testing.T) {
	t.Parallel()
	faults := map[string]func(b *bench, c *faultyCluster){
		"an observer": func(b *bench, _ *faultyCluster) {
			b.cfg.observe = func(e jobEvent) {
				if e.Kind == eventQueued {
					panic("a fault")
				}
			}
		},
		"a launch":    func(_ *bench, c *faultyCluster) { c.where = sched.Call_ACCEPT.String() },
		"the cluster": func(_ *bench, c *faultyCluster) { c.where = "run" },
		"a commit":    func(b *bench, _ *faultyCluster) { b.store.before = func([]record) error { panic("a fault") } },
		"what counts commits": func(b *bench, _ *faultyCluster) {
			b.cfg.batchStored = func(int, int, time.Duration, error) { panic("a fault") }
		},
		"the loop": func(b *bench, _ *faultyCluster) { b.cfg.offersHeld = func(int) { panic("a fault") } },
	}
	for name, fault := range faults {
		scenario(t, name, func(b *bench) {
			b.start().post(parked)
			b.end()
			healthy := b.cfg
			c := &faultyCluster{cluster: b.cluster.client(b.s.log)}
			fault(b, c)
			b.s = newScheduler(b.cfg, b.store, c, b.s.log)
			b.do("load", b.s.load(b.t.Context()))
			ctx, stop := context.WithCancel(b.t.Context())
			b.stop, b.done = stop, make(chan error, 1)
			go func() { b.done <- b.s.run(ctx) }()
			_, err := b.s.runJob(b.t.Context(), "a", "", false) // answered or not, it comes back
			if err != nil && !errors.Is(err, errNoLeader) && !strings.Contains(err.Error(), "a fault") {
				b.t.Errorf("whoever waits gets %v", err)
			}
			if err := <-b.done; err == nil || !strings.Contains(err.Error(), "a fault") {
				b.t.Errorf("the term ended with %v, want the fault", err)
			}
			b.done <- nil
			synctest.Wait()
			b.cfg, b.store.before = healthy, nil
			b.start()
			b.runNow("a")
			b.wait(time.Minute)
			b.wantState("a", "idle")
			if n := len(b.history("a")); n == 0 {
				b.t.Error("the next term runs nothing")
			}
		})
	}
	t.Run("loading", func(t *testing.T) {
		s := newScheduler(testConfig(), panickingStore{newMemStore()}, newFakeCluster(), slog.New(slog.DiscardHandler))
		if err := s.load(t.Context()); err == nil || !strings.Contains(err.Error(), "a fault") {
			t.Errorf("load = %v, want the fault", err)
		}
	})
}

// The effects beside the one that panics have been stored like it, and run.
func TestAPanicInOneEffectKeepsNoOtherFromRunning(t *testing.T) {
	t.Parallel()
	scenario(t, "of the same commit", func(b *bench) {
		b.cfg.observe = func(e jobEvent) {
			b.events = append(b.events, e)
			if e.Job.Name == "a" {
				panic("a fault")
			}
		}
		b.start().post(parked)
		b.post(strings.Replace(parked, `"a"`, `"b"`, 1))
		b.cluster.resize(0)
		var answers []error
		answered := make(chan error)
		release := make(chan struct{})
		b.s.mailbox <- func() { <-release } // so that both are of one turn, and of one commit
		for _, name := range []string{"a", "b"} {
			go func() { _, err := b.s.runJob(b.t.Context(), name, "", false); answered <- err }()
		}
		synctest.Wait()
		close(release)
		for range 2 {
			answers = append(answers, <-answered)
		}
		if answers[0] != nil || answers[1] != nil {
			b.t.Errorf("answers to changes that are stored: %v", answers)
		}
		<-b.done
		b.done <- nil
		if n := len(b.events); n != 2 {
			b.t.Errorf("%d events were told, want those of both runs", n)
		}
	})
}

type panickingStore struct{ store }

func (panickingStore) load(context.Context) (map[string][]byte, error) { panic("a fault") }

// A relay is a store whose commits end when a test says so.
type relay struct {
	*memStore
	begun []relayed
}

type relayed struct {
	keys    []string
	outcome chan error
}

// begin implements stagedStore.
func (r *relay) begin(_ context.Context, records []record) <-chan error {
	outcome := make(chan error, 1)
	var keys []string
	for _, rec := range records {
		keys = append(keys, rec.key)
	}
	r.begun = append(r.begun, relayed{keys, outcome})
	return outcome
}

// Two commits are in flight at most, and what they do becomes known in their order, or not at all once one has failed.
func TestCommitsInFlightEndInTheirOrder(t *testing.T) {
	t.Parallel()
	failed := errors.New("refused")
	for _, tt := range []struct {
		name          string
		first, second error // outcomes, of which the second comes first
		told          string
		ends          bool // the second change ends the term
	}{
		{name: "both are stored", told: "1 2 3+4"},
		{name: "the first fails", first: failed, second: errOrder, told: "1! 2! 3! 4!"},
		{name: "the second fails", second: failed, told: "1 2! 3! 4!"},
		{name: "the second is the last of the term", ends: true, told: "1 2 3! 4!"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := &relay{memStore: newMemStore()}
				w := newWriter(st, 1000, func([]viewChange, viewTotals) {}, slog.New(slog.DiscardHandler))
				var told []string
				done := make(chan error, 1)
				go func() { done <- w.run(t.Context()) }()
				for _, name := range []string{"1", "2", "3", "4"} {
					c := &change{records: []record{put("J_"+name, "x")}, size: 1}
					c.effects = append(c.effects, func(err error) {
						if err != nil {
							name += "!"
						}
						told = append(told, name)
					})
					if name == "2" && tt.ends {
						c.ends = failed
					}
					w.enqueue(c)
					synctest.Wait()
				}
				if len(st.begun) != 2 {
					t.Fatalf("%d commits in flight, want 2", len(st.begun))
				}
				visited := ""
				go w.visit(t.Context(), func(context.Context) { visited = fmt.Sprint("after ", len(st.begun)) })
				synctest.Wait()
				st.begun[1].outcome <- tt.second
				synctest.Wait()
				if len(told) > 0 || visited != "" {
					t.Errorf("before the first commit has ended: %q told, visited %q", told, visited)
				}
				st.begun[0].outcome <- tt.first
				synctest.Wait()
				got := strings.Join(told, " ")
				if len(st.begun) > 2 {
					got = strings.ReplaceAll(got+" "+strings.Join(st.begun[2].keys, "+"), "J_", "")
					st.begun[2].outcome <- nil // what comes of it is told once more
				}
				if got != tt.told {
					t.Errorf("told %q, want %q", got, tt.told)
				}
				over := tt.first != nil || tt.second != nil || tt.ends
				if want := "after 2"; !over && visited != want || over && visited != "" {
					t.Errorf("visited %q, want %q unless the term is over", visited, want)
				}
				if over {
					if err := <-done; !errors.Is(err, failed) {
						t.Errorf("the term ends with %v, want %v", err, failed)
					}
				}
			})
		})
	}
}
