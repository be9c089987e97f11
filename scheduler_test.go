package main

import (
	"strings"
	"testing"
	"time"
)

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
