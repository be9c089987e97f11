package main

import (
	"strings"
	"testing"
	"time"
)

// What becomes of what fell due while nobody led, or while the job was disabled.
func TestMissed(t *testing.T) {
	t.Parallel()
	job := func(members string) string {
		return `{"name":"a","command":"x","schedule":"R8/2000-01-01T00:00:30Z/PT1M","epsilon":"PT3M",` + members + `}`
	}
	const governed = "fell due while nobody led or the job was disabled, and of that it runs none"
	away := func(b *bench, members string) {
		b.start().post(job(members))
		b.end()
		time.Sleep(5 * time.Minute) // 00:00:30 to 00:04:30 pass
		b.cluster.behave(taking(40 * time.Second))
		b.start()
	}
	scenario(t, "newest", func(b *bench) {
		away(b, `"missed":"newest"`)
		b.wait(time.Second)
		b.wantRunning("a")
		b.wantHistory("a", "scheduled missed x2 00:01:30", "scheduled missed x2 00:03:30")
	})
	scenario(t, "all, in order, whatever overlap says", func(b *bench) {
		away(b, `"missed":"all","overlap":"skip"`)
		b.wait(30 * time.Second)
		b.restart()
		b.wait(80 * time.Second)
		b.wantHistory("a", "scheduled missed x2 00:01:30", "scheduled skipped 00:05:30", "scheduled finished 00:02:30", "scheduled finished 00:03:30", "scheduled skipped 00:06:30")
		b.wait(20 * time.Minute)
		b.wantHistory("a", "scheduled missed x2 00:01:30", "scheduled skipped 00:05:30", "scheduled finished 00:02:30", "scheduled finished 00:03:30", "scheduled skipped 00:06:30",
			"scheduled finished 00:04:30", "scheduled finished 00:07:30")
	})
	scenario(t, "all, of a job that may run beside itself", func(b *bench) {
		away(b, `"missed":"all","overlap":"allow"`)
		b.wait(time.Second)
		b.wantRunning("a")
		b.wait(20 * time.Minute)
		if n := len(b.s.view().job("a").history); n != 1+3+3 {
			b.t.Errorf("%d entries in history: %q", n, b.history("a"))
		}
	})
	scenario(t, "all, waiting for the last attempt of each", func(b *bench) {
		b.start().post(job(`"missed":"all","retries":1,"retryDelay":60`))
		b.end()
		time.Sleep(5 * time.Minute)
		b.cluster.behave(failing)
		b.start().wait(61 * time.Second)
		b.wantHistory("a", "scheduled missed x2 00:01:30", "scheduled failed 00:02:30", "scheduled failed 00:05:30", "retry failed attempt 1 00:06:00")
	})
	scenario(t, "all, a hundred", func(b *bench) {
		b.start().post(strings.Replace(job(`"missed":"all"`), "R8/2000-01-01T00:00:30Z/PT1M", "R150/2000-01-01T00:00:01Z/PT1S", 1))
		b.end()
		time.Sleep(150 * time.Second)
		b.cluster.behave(forEver)
		b.start().wait(0)
		b.wantHistory("a", "scheduled missed x50 00:00:50")
		if runs := b.s.view().job("a").runs; len(runs) != 100 || clockOf(runs[99].Due) != "00:02:30" {
			b.t.Errorf("%d runs are open, want the 100 newest", len(runs))
		}
	})
	scenario(t, "none", func(b *bench) {
		away(b, `"missed":"none"`)
		b.wait(time.Minute)
		b.wantHistory("a", "scheduled missed x5 00:04:30")
		b.wantReasons("a", "missed 5 00:04:30: "+governed)
		b.wantRunning("a")
	})
	scenario(t, "none, while the job was disabled", func(b *bench) {
		b.start().post(job(`"missed":"none"`))
		b.wait(time.Minute)
		b.post(job(`"missed":"none","disabled":true`))
		b.wait(2 * time.Minute)
		b.post(job(`"missed":"none"`))
		b.wait(10 * time.Second)
		b.wantHistory("a", "scheduled finished 00:00:30", "scheduled missed x2 00:02:30")
	})
	scenario(t, "none, of a job that is new", func(b *bench) {
		time.Sleep(2 * time.Minute)
		b.start().post(job(`"missed":"none"`))
		b.wait(time.Second)
		b.wantHistory("a", "scheduled missed x1 00:00:30", "scheduled finished 00:01:30")
	})
}

// What falls into a time that the job excludes is skipped, in one entry, and uses up a repetition.
func TestExclude(t *testing.T) {
	t.Parallel()
	const job = `{"name":"a","command":"x","schedule":"R6/2000-01-01T00:00:30Z/PT1M","epsilon":"PT1H","retries":1,"exclude":["2000-01-01T00:01/2000-01-01T00:03:30"]}`
	scenario(t, "of a schedule", func(b *bench) {
		b.start().post(job)
		if next := b.s.view().job("a"); next.next.Format(time.TimeOnly) != "00:00:30" {
			b.t.Errorf("next at %v", next.next)
		}
		b.wait(time.Minute)
		if next := b.s.view().job("a"); next.next.Format(time.TimeOnly) != "00:03:30" {
			b.t.Errorf("next at %v, want the first that is not excluded", next.next)
		}
		b.wait(time.Minute)
		b.restart()
		b.wait(10 * time.Minute)
		b.wantHistory("a", "scheduled finished 00:00:30", "scheduled skipped x2 00:02:30", "scheduled finished 00:03:30", "scheduled finished 00:04:30", "scheduled finished 00:05:30")
		b.wantReasons("a", "skipped 2 00:02:30: excluded by 2000-01-01T00:01/2000-01-01T00:03:30")
	})
	scenario(t, "is no miss, and what is not excluded is", func(b *bench) {
		b.start().post(job)
		b.end()
		time.Sleep(5 * time.Minute)
		b.start().wait(time.Second)
		b.wantHistory("a", "scheduled missed x1 00:00:30", "scheduled skipped x2 00:02:30", "scheduled missed x1 00:03:30", "scheduled finished 00:04:30")
		if n := b.s.view().job("a").missed; n != 2 {
			b.t.Errorf("%d missed, want 2", n)
		}
	})
	scenario(t, "not of runs by hand and further attempts", func(b *bench) {
		b.cfg.failureRetry = time.Minute
		b.cluster.behave(failing)
		b.start().post(job)
		b.wait(2 * time.Minute) // the attempt that follows 00:00:30 is at 00:01:30
		b.cluster.behave(nil)
		b.runNow("a")
		b.wait(time.Second)
		b.wantHistory("a", "scheduled failed 00:00:30", "scheduled skipped x1 00:01:30", "retry failed attempt 1 00:01:30", "manual finished 00:02:00")
	})
	scenario(t, "of a dependent job", func(b *bench) {
		b.start().post(parked)
		b.post(`{"name":"child","command":"x","parents":["a"],"exclude":["2000-01-01T00:01/PT2M"]}`)
		for range 4 {
			b.do("success", b.s.markSuccess(b.t.Context(), "a"))
			b.wait(50 * time.Second)
		}
		b.wantHistory("child", "dependent finished 00:00:00", "dependent finished 00:00:50", "dependent skipped x2 00:02:30")
	})
}

// The days that a job excludes are those of its zone.
func TestExcludedDaysAreThoseOfTheZone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"2026-05-01":                           {"2026-04-30T22:00:00.000Z", "2026-05-01T22:00:00.000Z"},
		"2026-12-24/2027-01-02":                {"2026-12-23T23:00:00.000Z", "2027-01-01T23:00:00.000Z"},
		"2026-03-29":                           {"2026-03-28T23:00:00.000Z", "2026-03-29T22:00:00.000Z"},
		"2026-03-29T00:00/P1D":                 {"2026-03-28T23:00:00.000Z", "2026-03-29T22:00:00.000Z"},
		"2026-05-01T00:00Z/2026-05-01T06:00Z":  {"2026-05-01T00:00:00.000Z", "2026-05-01T06:00:00.000Z"},
		"2026-05-01T00:00/2026-05-01T06:00:30": {"2026-04-30T22:00:00.000Z", "2026-05-01T04:00:30.000Z"},
	} {
		zone, _ := loadZone("Europe/Berlin")
		x, err := parseExclusion(text)
		from, to := x.bounds(zone)
		if err != nil || instant(msTime(from)) != want[0] || instant(msTime(to)) != want[1] {
			t.Errorf("%s is %s to %s, %v; want %s", text, instant(msTime(from)), instant(msTime(to)), err, want)
		}
	}
}

// A pause ends by itself, or when somebody ends it, and what fell into it is never made up.
func TestPause(t *testing.T) {
	t.Parallel()
	const job = `{"name":"a","command":"x","schedule":"R6/2000-01-01T00:00:30Z/PT1M","epsilon":"PT1H","retries":1,"retryDelay":45}`
	pause := func(b *bench, d time.Duration) {
		b.t.Helper()
		b.do("pause", b.s.pauseJob(b.t.Context(), "a", time.Now().Add(d)))
	}
	scenario(t, "with a new leader in between", func(b *bench) {
		b.start().post(job)
		b.wait(time.Minute)
		pause(b, 2*time.Minute)
		if v := b.s.view().job("a"); v.next.Format(time.TimeOnly) != "00:03:30" || clockOf(v.paused) != "00:03:00" {
			b.t.Errorf("next at %v, paused until %s", v.next, clockOf(v.paused))
		}
		b.runNow("a")
		b.wait(time.Minute)
		b.restart()
		b.wait(10 * time.Minute)
		b.wantHistory("a", "scheduled finished 00:00:30", "manual finished 00:01:00", "scheduled skipped x2 00:02:30", "scheduled finished 00:03:30", "scheduled finished 00:04:30", "scheduled finished 00:05:30")
		if left := b.store.keys(pausePrefix); len(left) > 0 || b.s.view().job("a").paused != 0 {
			b.t.Errorf("records left: %q", left)
		}
	})
	scenario(t, "that has ended while nobody led", func(b *bench) {
		b.start().post(job)
		b.wait(time.Minute)
		pause(b, 2*time.Minute)
		b.end()
		time.Sleep(4 * time.Minute)
		b.start().wait(time.Second)
		b.wantHistory("a", "scheduled finished 00:00:30", "scheduled skipped x2 00:02:30", "scheduled missed x1 00:03:30", "scheduled finished 00:04:30")
	})
	scenario(t, "that somebody ends, also for the attempt that has waited", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(job)
		b.wait(40 * time.Second)
		pause(b, time.Hour)
		if runs := b.s.view().job("a").runs; len(runs) != 1 || clockOf(runs[0].Due) != "01:00:40" {
			b.t.Errorf("the next attempt is shown as %+v, want one of 01:00:40", runs)
		}
		b.wait(2 * time.Minute)
		b.restart()
		b.cluster.behave(nil)
		b.do("resume", b.s.resumeJob(b.t.Context(), "a"))
		b.wait(time.Second)
		b.wantHistory("a", "scheduled failed 00:00:30", "scheduled skipped x2 00:02:30", "retry finished attempt 1 00:02:40")
		b.wait(time.Minute)
		b.wantHistory("a", "scheduled failed 00:00:30", "scheduled skipped x2 00:02:30", "retry finished attempt 1 00:02:40", "scheduled finished 00:03:30")
	})
	scenario(t, "holds an attempt that waits for an offer, and one that is to follow", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(job)
		b.wait(31 * time.Second)
		b.cluster.resize(0)
		b.wait(time.Minute)
		pause(b, time.Hour)
		b.cluster.resize(10)
		b.wait(30 * time.Minute)
		b.wantRunning()
		b.cluster.behave(nil)
		b.wait(time.Hour)
		if j := b.job("a"); j.SuccessCount != 2 {
			b.t.Errorf("%d successes, want those of the two attempts after the pause: %q", j.SuccessCount, b.history("a"))
		}
	})
	scenario(t, "of a dependent job uses up what its parents do, and goes with the job", func(b *bench) {
		b.start().post(parked)
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		b.do("pause", b.s.pauseJob(b.t.Context(), "child", time.Now().Add(time.Hour)))
		b.do("success", b.s.markSuccess(b.t.Context(), "a"))
		b.wait(2 * time.Hour)
		b.wantHistory("child", "dependent skipped x1 00:00:00")
		b.do("pause", b.s.pauseJob(b.t.Context(), "child", time.Now().Add(time.Hour)))
		b.do("delete", b.s.deleteJob(b.t.Context(), "child"))
		b.wait(2 * time.Hour)
		if left := b.store.keys(pausePrefix); len(left) > 0 {
			b.t.Errorf("records left: %q", left)
		}
	})
	scenario(t, "stays when the job is posted", func(b *bench) {
		b.start().post(job)
		pause(b, time.Hour)
		b.post(job)
		b.wait(2 * time.Hour)
		b.wantHistory("a", "scheduled skipped x6 00:05:30")
	})
}
