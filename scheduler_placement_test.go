package main

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// TestLargeJobIsNotStarved: small jobs want more than the agents have, all the time. First fit alone would
// never find room for a large one.
func TestLargeJobIsNotStarved(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, constraints string
		takeover          bool // by a leader that has seen no agent empty
		lost              int  // agents that are gone soon
	}{
		{"anywhere", `[]`, false, 0},
		{"on one host", `[["hostname","EQUALS","a1"]]`, false, 0},
		{"on a rack", `[["rack","LIKE","r[1-9]"]]`, false, 0},
		{"not on those racks", `[["rack","UNLIKE","r0"]]`, false, 0},
		{"anywhere, after a take-over", `[]`, true, 0},
		{"on one host, after a take-over", `[["hostname","EQUALS","a1"]]`, true, 0},
		{"anywhere but on agents that are gone", `[]`, false, 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := mesostest.NewMaster(t, mesostest.Options{Pipe: true})
				for i := range 2 {
					m.AddAgent(mesostest.AgentSpec{Host: fmt.Sprint("a", i), CPUs: 4, Mem: 4096, Disk: 10240,
						Attributes: []mesos.Attribute{textAttribute("rack", fmt.Sprint("r", i))}})
				}
				for range tt.lost {
					m.AddAgent(mesostest.AgentSpec{Host: "gone", CPUs: 4, Mem: 4096, Disk: 10240})
				}
				m.AutoFinish(6 * time.Second)
				cfg, st := testConfig(), newMemStore()
				st.records[adoptKey] = []byte("0")
				k := leadOn(t, newLifeline(m, st), cfg, configFor(m, testFramework(), slog.New(slog.DiscardHandler)))
				defer func() { k.die() }()
				put := func(name, more string) {
					j, err := decodeJob([]byte(`{"name":"`+name+`","command":"true","mem":64,"disk":10,`+more+`}`), cfg.defaults, dialect2, nil)
					if err != nil {
						t.Fatal(err)
					}
					if err := k.putJob(t.Context(), name, func(*Job) (*Job, error) { return j, nil }); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 12 {
					put(fmt.Sprint("small", i), fmt.Sprintf(`"cpus":1,"epsilon":"PT1H","schedule":"R/2000-01-01T00:00:%02dZ/PT7S"`, 1+i%7))
				}
				put("large", `"cpus":4,"epsilon":"PT1H","constraints":`+tt.constraints+`,"schedule":"R1/2000-01-01T00:01:00Z/PT1H"`)
				if tt.takeover {
					time.Sleep(30 * time.Second)
					k.die()
					k = leadOn(t, newLifeline(m, st), cfg, configFor(m, testFramework(), slog.New(slog.DiscardHandler)))
				}
				for _, a := range m.Agents()[2:] {
					a.CutOff()
				}
				time.Sleep(time.Until(time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC)) + 2*starvation + 30*time.Second)
				synctest.Wait()
				history := k.view().job("large").history
				if len(history) != 1 || history[0].State != runFinished {
					waits, _ := k.whyQueued(t.Context(), "large")
					t.Fatalf("history = %+v, want one run; it waits: %+v", history, waits)
				}
				if waited := time.Duration(history[0].Launched-history[0].Due) * time.Millisecond; waited > 2*starvation {
					t.Errorf("it has waited for %v", waited)
				}
			})
		})
	}
}

// idle lets virtual time pass without anything coming from outside: the scheduler wakes up by
// itself or not at all.
func idle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestOffersAreHeldForABoundedTime(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{0, 5 * time.Second, time.Minute} {
		scenario(t, fmt.Sprint("with --min_revive_offers_interval ", interval), func(b *bench) {
			b.cfg.reviveEvery = interval
			b.cluster.resize(1)
			b.start().post(`{"name":"a","command":"x","cpus":2,"schedule":"R0/2000-01-01T00:00:00Z/PT1H"}`)
			b.runNow("a") // which nothing that is offered has room for
			before := b.cluster.called(sched.Call_DECLINE)
			idle(offerHold - time.Second)
			if n := b.cluster.called(sched.Call_DECLINE) - before; n > 0 {
				b.t.Errorf("%d offers were given back before their time", n)
			}
			idle(2 * time.Second)
			if n := b.cluster.called(sched.Call_DECLINE) - before; n == 0 {
				b.t.Errorf("an offer that came %s ago is still held", offerHold+time.Second)
			}
		})
	}
	scenario(t, "with nothing held and --min_revive_offers_interval 0 offers are asked for again while work waits", func(b *bench) {
		b.cfg.reviveEvery = 0
		b.cluster.resize(1)
		b.cluster.behave(forEver)
		b.start().post(`{"name":"a","command":"x","cpus":1,"concurrent":true,"schedule":"R0/2000-01-01T00:00:00Z/PT1H"}`)
		b.runNow("a")
		b.runNow("a")
		idle(time.Minute)
		before := b.cluster.called(sched.Call_REVIVE)
		idle(time.Minute)
		if n := b.cluster.called(sched.Call_REVIVE) - before; n == 0 || n > 60 {
			b.t.Errorf("%d times in a minute, want it now and then", n)
		}
	})
}

func TestRunsUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	scenario(t, "the others wait, say so, and run in their order", func(b *bench) {
		b.cfg.mostRuns, b.cfg.mostRunsFlag = 2, "local_max_runs"
		b.cluster.behave(taking(time.Minute))
		b.start()
		names := []string{"a", "b", "c", "d", "e"}
		for _, name := range names {
			b.post(idleJob(name, 0.01, ""))
			b.runNow(name)
		}
		for round := range 3 {
			under := names[2*round : min(2*round+2, len(names))]
			b.wait(time.Second)
			if got := b.cluster.launched(); len(got) != min(2*round+2, len(names)) {
				b.t.Errorf("round %d: launched %q", round, got)
			}
			for _, name := range under {
				b.wantState(name, "running")
			}
			for _, name := range names[min(2*round+2, len(names)):] {
				if got, want := b.why(name), "2 runs are under way, and no more than 2 may be (--local_max_runs)"; got != want {
					b.t.Errorf("round %d: %s waits for %q, want %q", round, name, got, want)
				}
			}
			if round == 0 {
				b.restart() // those that go on count for the next leader
			}
			b.wait(time.Minute - time.Second)
		}
		b.wait(time.Second)
		for _, name := range names {
			b.wantHistory(name, "manual finished 00:00:00")
		}
	})
}
