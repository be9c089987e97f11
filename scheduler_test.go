package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func TestScheduledRuns(t *testing.T) {
	t.Parallel()
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
	scenarioOn(t, onQuickClusters, "runs that have ended leave no timers behind", func(b *bench) {
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
	t.Parallel()
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
	t.Parallel()
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

// A talkative cluster tells the fate of many calls when its subscription ends, and
// waits until it is heard.
type talkative struct {
	cluster
	tell func(error)
}

func (c *talkative) run(ctx context.Context, id string, handle func(*sched.Event)) error {
	err := c.cluster.run(ctx, id, handle)
	for range 5000 {
		c.tell(errNotSent)
	}
	return err
}

func TestEndOfTerm(t *testing.T) {
	t.Parallel()
	scenario(t, "the cluster is not left talking to nobody", func(b *bench) {
		b.start().post(parked)
		b.end()
		c := &talkative{cluster: b.cluster.client(b.s.log)}
		b.s = newScheduler(b.cfg, b.store, c, b.s.log)
		c.tell = func(err error) { b.s.post(func() {}) }
		b.do("load", b.s.load(b.t.Context()))
		ctx, stop := context.WithCancel(b.t.Context())
		b.stop, b.done = stop, make(chan error, 1)
		go func() { b.done <- b.s.run(ctx) }()
		b.wait(0) // the end of the test ends the term, which must not hang
	})
}

func TestTermsAndFailures(t *testing.T) {
	t.Parallel()
	scenario(t, "a failed commit ends the term, and the next one begins from what is stored", func(b *bench) {
		b.start().post(parked)
		b.store.before = func([]record) error { return errors.New("disk full") }
		_, err := b.s.runJob(b.t.Context(), "a", "", false)
		if err == nil || !strings.Contains(err.Error(), "disk full") {
			b.t.Errorf("run = %v, want the store's error", err)
		}
		if err := <-b.done; err == nil || !strings.Contains(err.Error(), "disk full") {
			b.t.Errorf("the term ended with %v", err)
		}
		b.done <- nil
		if n := len(b.cluster.launched()); n != 0 {
			b.t.Errorf("%d tasks were launched without being stored", n)
		}
		b.store.before = nil
		b.restart()
		b.runNow("a")
		b.wantHistory("a", "manual finished 00:00:00")
	})
	scenario(t, "a record that is refused twice is set aside and the rest goes on", func(b *bench) {
		b.cfg.setAside = map[string]string{"J_a": "too large"}
		b.store.records["J_a"] = []byte(parked)
		b.store.records["J_b"] = []byte(strings.Replace(parked, `"a"`, `"b"`, 1))
		b.start()
		if b.s.view().job("a") != nil || b.s.view().job("b") == nil || len(b.s.view().invalid) != 1 {
			b.t.Errorf("jobs %d, invalid %v", b.s.view().len(), b.s.view().invalid)
		}
	})
	scenario(t, "a change repeated under its request id is made once, by the next leader too", func(b *bench) {
		b.start().post(parked)
		ctx := withRequest(b.t.Context(), "request-1")
		first, err := b.s.runJob(ctx, "a", "", false)
		b.do("run", err)
		again, err := b.s.runJob(ctx, "a", "", false)
		b.do("run again", err)
		b.restart()
		third, err := b.s.runJob(ctx, "a", "", false)
		b.do("run after a fail-over", err)
		if first != again || first != third || len(b.cluster.launched()) != 1 {
			b.t.Errorf("ids %q, %q, %q; launched %q", first, again, third, b.cluster.launched())
		}
		b.wait(11 * time.Minute)
		b.runNow("a")
		if keys := b.store.keys("go/request/"); len(keys) != 0 {
			b.t.Errorf("old request ids are kept: %q", keys)
		}
	})
	scenario(t, "high priority goes first, and a large task at the head holds up nobody (A24)", func(b *bench) {
		b.cluster.resize(1)
		b.cluster.behave(taking(10 * time.Second))
		b.start().post(`{"name":"large","command":"x","cpus":4,"schedule":"R/2030-01-01T00:00:00Z/P1Y"}`)
		b.post(`{"name":"low","command":"x","cpus":1,"schedule":"R/2030-01-01T00:00:00Z/P1Y"}`)
		b.post(`{"name":"high","command":"x","cpus":1,"highPriority":true,"schedule":"R/2030-01-01T00:00:00Z/P1Y"}`)
		b.post(`{"name":"off","command":"x","disabled":true,"schedule":"R/2030-01-01T00:00:00Z/P1Y"}`)
		for _, name := range []string{"low", "large", "off", "low", "high"} {
			b.runNow(name)
		}
		b.wait(time.Minute)
		var order []string
		for _, id := range b.cluster.launched() {
			_, _, job, _, _ := parseRunID(id)
			order = append(order, job)
		}
		if want := []string{"low", "high", "low"}; !slices.Equal(order, want) {
			b.t.Errorf("launched %q, want %q", order, want)
		}
		why, err := b.s.whyQueued(b.t.Context(), "large")
		if err != nil || len(why) != 1 || len(why[0].Reasons) == 0 || !strings.Contains(why[0].Reasons[0], "cpus") {
			b.t.Errorf("whyQueued = %+v, %v", why, err)
		}
	})
	scenario(t, "a large task is not starved by small ones", func(b *bench) {
		b.cluster.resize(1)
		b.cluster.behave(taking(20 * time.Second))
		b.start().post(`{"name":"large","command":"x","cpus":1,"schedule":"R/2030-01-01T00:00:00Z/P1Y"}`)
		b.post(`{"name":"small","command":"x","cpus":0.1,"concurrent":true,"schedule":"R/2000-01-01T00:00:00Z/PT2S"}`)
		b.wait(10 * time.Second)
		b.runNow("large")
		b.wait(5 * time.Minute)
		if got := b.history("large"); len(got) != 1 {
			b.t.Errorf("history of the large job = %q, want one run", got)
		}
	})
}
