package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Instants that have passed run once more, one after the other.
func TestBackfill(t *testing.T) {
	t.Parallel()
	day := func(clock string) time.Time {
		at, err := time.Parse(time.DateTime, "1999-12-31 "+clock)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	const job = `{"name":"a","command":"x","schedule":"R9/1999-12-31T00:00:00Z/PT1H","epsilon":"PT1S","retries":0}`
	begin := func(b *bench, document, from, to string, atOnce int) int {
		b.t.Helper()
		b.start().post(document)
		answer, err := b.s.startBackfill(b.t.Context(), "a", backfillRequest{from: day(from), to: day(to), atOnce: atOnce})
		b.do("backfill", err)
		n, err := strconv.Atoi(answer)
		b.do("read the answer", err)
		return n
	}
	// ran lists what the runs of the backfill were of and how they ended, in order.
	ran := func(b *bench) (all []string) {
		for _, r := range slices.Backward(b.s.view().job("a").history) {
			if r.Backfill != 0 {
				all = append(all, clockOf(r.Backfill)[:5]+" "+string(r.State))
			}
		}
		return all
	}
	want := func(b *bench, runs ...string) {
		b.t.Helper()
		if got := ran(b); !slices.Equal(got, runs) {
			b.t.Errorf("ran %q, want %q", got, runs)
		}
	}
	scenario(t, "in order, with leaders that change, each with its instant", func(b *bench) {
		var times []string
		b.cluster.behave(func(info mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			for _, v := range info.Command.Environment.Variables {
				if v.Name == "CHRONOS_JOB_RUN_TIME" {
					times = append(times, v.GetValue())
				}
			}
			return taking(time.Minute)(info)
		})
		if n := begin(b, job, "01:00:00", "04:00:00", 1); n != 3 {
			b.t.Errorf("%d instants, want 3", n)
		}
		left := b.s.view().job("a").sched.remaining()
		b.wait(90 * time.Second)
		if v := b.s.view().job("a").backfill; v == nil || v.Total != 3 || len(v.Left) != 1 || v.running != 1 {
			b.t.Errorf("backfill is shown as %+v", v)
		}
		b.restart()
		b.wait(time.Hour)
		want(b, "01:00 finished", "02:00 finished", "03:00 finished")
		if b.s.view().job("a").backfill != nil || len(b.store.keys(backfillPrefix)) > 0 {
			b.t.Error("the backfill is over and still there")
		}
		if wants := fmt.Sprint(day("01:00:00").UnixMilli(), day("02:00:00").UnixMilli(), day("03:00:00").UnixMilli()); strings.Join(times, " ") != wants {
			b.t.Errorf("the tasks are told %q, want %s", times, wants)
		}
		if now := b.s.view().job("a").sched.remaining(); now != left {
			b.t.Errorf("%d repetitions are left, and were %d", now, left)
		}
	})
	scenario(t, "each after the last attempt of the one before it", func(b *bench) {
		b.cluster.behave(failing)
		begin(b, strings.Replace(job, `"retries":0`, `"retries":1,"retryDelay":60`, 1), "01:00:00", "03:00:00", 1)
		b.wait(30 * time.Second)
		want(b, "01:00 failed")
		b.restart()
		b.wait(time.Hour)
		want(b, "01:00 failed", "01:00 failed", "02:00 failed", "02:00 failed")
	})
	scenario(t, "several at once where the job may run beside itself", func(b *bench) {
		b.cluster.behave(taking(time.Minute))
		begin(b, strings.Replace(job, `"retries":0`, `"overlap":"allow"`, 1), "01:00:00", "06:00:00", 2)
		b.wait(time.Second)
		b.wantRunning("a", "a")
		b.wait(time.Hour)
		if got := slices.Sorted(slices.Values(ran(b))); len(got) != 5 || got[0] != "01:00 finished" || got[4] != "05:00 finished" {
			b.t.Errorf("ran %q", got)
		}
	})
	scenario(t, "when no occurrence waits or runs", func(b *bench) {
		b.cluster.behave(taking(10 * time.Minute))
		b.start().post(`{"name":"a","command":"x","schedule":"*/15 * * * *","scheduleTimeZone":"UTC","retries":0}`)
		b.wait(15*time.Minute + time.Second)
		_, err := b.s.startBackfill(b.t.Context(), "a", backfillRequest{from: day("01:00:00"), to: day("01:30:00")})
		b.do("backfill", err)
		b.wait(9 * time.Minute)
		want(b)
		b.wait(time.Hour)
		want(b, "01:00 finished", "01:15 finished")
	})
	scenario(t, "and children run after them, until somebody stops it", func(b *bench) {
		b.cluster.behave(taking(time.Minute))
		begin(b, job, "01:00:00", "08:00:00", 1)
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		b.wait(90 * time.Second)
		b.do("stop", b.s.stopBackfill(b.t.Context(), "a"))
		b.wait(time.Hour)
		want(b, "01:00 finished", "02:00 finished")
		if n := len(b.s.view().job("child").history); n != 2 {
			b.t.Errorf("the child ran %d times, want 2", n)
		}
		if err := b.s.stopBackfill(b.t.Context(), "a"); !errors.Is(err, errNotFound) {
			b.t.Errorf("stopped again: %v", err)
		}
	})
	scenario(t, "not while the job is paused or disabled, nor what it excludes", func(b *bench) {
		excluding := strings.Replace(job, `"retries":0`, `"retries":0,"exclude":["1999-12-31T02:00/PT1H"]`, 1)
		b.cluster.behave(taking(time.Minute))
		begin(b, excluding, "01:00:00", "05:00:00", 1)
		b.do("pause", b.s.pauseJob(b.t.Context(), "a", time.Now().Add(time.Hour)))
		b.wait(30 * time.Minute)
		want(b, "01:00 finished")
		b.wait(31*time.Minute + 30*time.Second)
		want(b, "01:00 finished", "03:00 finished")
		b.post(strings.Replace(excluding, `"retries":0`, `"retries":0,"disabled":true`, 1))
		b.wait(time.Hour)
		want(b, "01:00 finished", "03:00 finished", "04:00 finished")
	})
	scenario(t, "it ends with the job", func(b *bench) {
		b.cluster.behave(forEver)
		begin(b, job, "01:00:00", "05:00:00", 1)
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.wait(time.Minute)
		if left := b.store.keys(backfillPrefix); len(left) > 0 {
			b.t.Errorf("records left: %q", left)
		}
		b.wantRunning()
	})
	scenario(t, "what cannot be", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(strings.Replace(job, `"retries":0`, `"retries":0,"disabled":true`, 1))
		b.post(`{"name":"b","command":"x","parents":["a"]}`)
		b.post(`{"name":"c","command":"x","schedule":"R//PT1H"}`)
		b.post(`{"name":"d","command":"x","schedule":"* * * * *"}`)
		week := backfillRequest{from: day("00:00:00"), to: day("23:00:00")}
		for name, wanted := range map[string]string{"a": "the job is disabled", "b": "the job has parents and no schedule", "c": "the schedule has no written start", "d": "more than 1000 instants", "e": "not found"} {
			if _, err := b.s.startBackfill(b.t.Context(), name, week); err == nil || !strings.Contains(err.Error(), wanted) {
				b.t.Errorf("backfill of %s: %v, want %s", name, err, wanted)
			}
		}
		week.to = day("01:00:00")
		_, err := b.s.startBackfill(b.t.Context(), "d", week)
		b.do("backfill", err)
		if _, err := b.s.startBackfill(b.t.Context(), "d", week); !errors.Is(err, errBackfilling) {
			b.t.Errorf("a second one: %v", err)
		}
	})
}
