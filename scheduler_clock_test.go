package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A wrongClock is a wall clock that a test sets. The monotonic one goes on.
type wrongClock struct{ off atomic.Int64 }

func (c *wrongClock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())).Round(0) }

// clocked runs a scenario whose wall clock the test sets with the function that it gets. The loop is woken then, as the
// watchdog does.
func clocked(t *testing.T, name string, f func(b *bench, set func(by time.Duration))) {
	scenarioOn(t, inMemory, name, func(b *bench) {
		set := b.withWrongClock()
		f(b, set)
	})
}

func (b *bench) withWrongClock() (set func(by time.Duration)) {
	var clock wrongClock
	b.cfg.wallClock = clock.now
	return func(by time.Duration) {
		b.t.Helper()
		clock.off.Add(int64(by))
		b.wait(0)
		b.wait(0)
	}
}

const year = 365 * 24 * time.Hour

func TestClockSetBack(t *testing.T) {
	t.Parallel()
	clocked(t, "intervals and cron expressions that mean intervals go on", func(b *bench, set func(time.Duration)) {
		b.start()
		b.post(`{"name":"interval","command":"x","schedule":"R/1999-12-01T00:00:00Z/PT2S"}`)
		b.post(`{"name":"steps","command":"x","schedule":"*/2 * * * * *"}`)
		b.post(`{"name":"minutes","command":"x","schedule":"*/5 0,23 * * *"}`)
		b.wait(2*time.Minute + time.Second/2)
		for _, name := range []string{"interval", "steps"} {
			count := b.job(name).SuccessCount
			set(-time.Hour)
			b.wait(10 * time.Second)
			if got := b.job(name).SuccessCount - count; got != 5 {
				b.t.Errorf("%s ran %d times in 10 s after the clock went back, want 5", name, got)
			}
			set(time.Hour)
		}
		count := b.job("minutes").SuccessCount
		set(-time.Hour)
		b.wait(20 * time.Minute)
		if got := b.job("minutes").SuccessCount - count; got != 4 {
			b.t.Errorf("minutes ran %d times in 20 minutes after the clock went back, want 4", got)
		}
	})
	clocked(t, "also before the start that they had", func(b *bench, set func(time.Duration)) {
		b.start().post(`{"name":"now","command":"x","schedule":"R20//PT2S"}`)
		b.post(`{"name":"given","command":"x","schedule":"R/2000-01-01T00:00:00Z/PT10S"}`)
		b.post(`{"name":"later","command":"x","schedule":"R/2000-01-01T00:00:30Z/PT10S"}`)
		b.wait(11 * time.Second)
		set(-time.Hour)
		b.wait(10 * time.Second)
		b.restart()
		b.wait(11 * time.Second)
		for name, want := range map[string]int64{"now": 17, "given": 4, "later": 0} {
			if got := b.job(name).SuccessCount; got != want {
				b.t.Errorf("%s ran %d times in half a minute, want %d", name, got, want)
			}
		}
		if n := b.s.view().job("now").sched.remaining() + b.job("now").SuccessCount; n != 20 {
			b.t.Errorf("%d repetitions in all, want 20", n)
		}
		b.wantIDs()
	})
	clocked(t, "not before half a period has passed, however many repetitions are left", func(b *bench, set func(time.Duration)) {
		b.start()
		for _, times := range []string{"", "9"} {
			b.post(`{"name":"a` + times + `","command":"x","schedule":"R` + times + `/2000-01-01T00:00:00Z/PT10S"}`)
		}
		b.wait(11 * time.Second)
		set(-time.Hour + 8*time.Second)
		b.wait(10 * time.Second)
		for _, name := range []string{"a", "a9"} {
			if got := b.job(name).SuccessCount; got != 2 {
				b.t.Errorf("%s ran %d times, want 2, since its next instant is too soon after the last", name, got)
			}
		}
	})
	clocked(t, "jobs of fixed times wait until it has caught up", func(b *bench, set func(time.Duration)) {
		b.start()
		b.post(`{"name":"cron","command":"x","schedule":"15 0,1,2,4 * * *"}`)
		b.post(`{"name":"daily","command":"x","schedule":"R/2000-01-01T01:00:00Z/P1D"}`)
		b.wait(2*time.Hour + 20*time.Minute)
		set(-2 * time.Hour)
		if n, names, until := b.s.view().waitingForClock(b.s.wallTime().UnixMilli()); n != 2 || names[0] != "cron" || names[1] != "daily" || clockOf(until) != "02:15:00" {
			b.t.Errorf("%d jobs wait for the clock, %q, until %s; want both until 02:15:00", n, names, clockOf(until))
		}
		b.wait(4 * time.Hour)
		b.wantHistory("cron", "scheduled finished 00:15:00", "scheduled finished 01:15:00", "scheduled finished 02:15:00", "scheduled finished 04:15:00")
		b.wantHistory("daily", "scheduled finished 01:00:00")
		if n, _, _ := b.s.view().waitingForClock(b.s.wallTime().UnixMilli()); n != 0 {
			b.t.Errorf("%d jobs wait for a clock that has caught up", n)
		}
	})
	clocked(t, "by three hours or more, all go on from the new now", func(b *bench, set func(time.Duration)) {
		b.cfg.historyKeep = 1000
		b.start()
		b.post(`{"name":"cron","command":"x","schedule":"15 0,1,2,4 * * *"}`)
		b.post(`{"name":"daily","command":"x","schedule":"R/2000-01-01T01:00:00Z/P1D"}`)
		b.post(`{"name":"off","command":"x","schedule":"R/2000-01-01T01:30:00Z/P1D"}`)
		b.wait(3*time.Hour + 20*time.Minute)
		b.post(`{"name":"off","command":"x","schedule":"R/2000-01-01T01:30:00Z/P1D","disabled":true}`)
		set(-3 * time.Hour)
		b.post(`{"name":"off","command":"x","schedule":"R/2000-01-01T01:30:00Z/P1D"}`)
		b.wait(2 * time.Hour)
		b.wantHistory("cron", "scheduled finished 00:15:00", "scheduled finished 01:15:00", "scheduled finished 02:15:00", "scheduled finished 01:15:00", "scheduled finished 02:15:00")
		b.wantHistory("daily", "scheduled finished 01:00:00", "scheduled finished 01:00:00")
		b.wantHistory("off", "scheduled finished 01:30:00", "scheduled finished 01:30:00")
		b.wantIDs()
	})
	clocked(t, "nothing runs twice for a small correction", func(b *bench, set func(time.Duration)) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:00:00Z/PT1H"}`)
		b.post(`{"name":"b","command":"x","schedule":"0 * * * *"}`)
		b.wait(time.Hour + time.Second)
		for _, by := range []time.Duration{-1500 * time.Millisecond, -time.Minute, -25 * time.Minute} {
			set(by)
		}
		b.wait(time.Hour + 27*time.Minute)
		b.wantHistory("a", "scheduled finished 00:00:00", "scheduled finished 01:00:00", "scheduled finished 02:00:00")
		b.wantHistory("b", "scheduled finished 01:00:00", "scheduled finished 02:00:00")
	})
	clocked(t, "no repetition is given back", func(b *bench, set func(time.Duration)) {
		b.cfg.historyKeep = 1000
		b.start().post(`{"name":"a","command":"x","schedule":"R10//PT1M"}`)
		for _, back := range []time.Duration{time.Minute, time.Hour, 90 * time.Second, 4 * time.Hour} {
			b.wait(2 * time.Minute)
			set(-back)
			b.restart()
		}
		b.wait(6 * time.Hour)
		if j := b.job("a"); j.SuccessCount != 10 || !j.Disabled || !strings.HasPrefix(j.Schedule, "R0/") {
			b.t.Errorf("it ran %d times, disabled = %t, schedule %s; want 10, true and R0", j.SuccessCount, j.Disabled, j.Schedule)
		}
		b.wantIDs()
	})
	clocked(t, "runs by hand, of children and retries keep ids of their own and dues of now", func(b *bench, set func(time.Duration)) {
		b.cfg.historyKeep = 1000
		b.start().post(`{"name":"a","command":"x","schedule":"R/1990-01-01T00:00:00Z/PT2S","retries":1}`)
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		both := func() {
			b.wait(5 * time.Second)
			b.runNow("a")
			b.runNow("a")
			b.cluster.behave(failing)
			b.runNow("a")
			b.cluster.behave(nil)
			b.wait(90 * time.Second)
		}
		both()
		set(-year)
		both()
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.post(`{"name":"a","command":"x","schedule":"R/1990-01-01T00:00:00Z/PT2S","retries":1}`)
		both()
		set(-time.Hour)
		both()
		b.wantIDs()
		now := b.s.wallTime().UnixMilli()
		for _, r := range b.s.view().job("a").history[:40] {
			if r.Due > now || r.Due < now-2*time.Minute.Milliseconds() {
				b.t.Errorf("run %s has due %s, and now is %s", r.ID, msTime(r.Due), msTime(now))
			}
		}
	})
	clocked(t, "a start that is empty is now", func(b *bench, set func(time.Duration)) {
		b.start().post(`{"name":"a","command":"x","schedule":"15 0,1,2,4 * * *"}`)
		b.wait(2*time.Hour + 20*time.Minute)
		set(-time.Hour)
		b.post(`{"name":"a","command":"x","schedule":"R2//PT10M"}`)
		b.wait(15 * time.Minute)
		b.wantHistory("a", "scheduled finished 00:15:00", "scheduled finished 01:15:00", "scheduled finished 02:15:00", "scheduled finished 01:20:00", "scheduled finished 01:30:00")
		b.wantIDs()
	})
	for _, across := range []bool{false, true} {
		clocked(t, fmt.Sprint("a schedule that was posted while it was ahead comes back too, across terms: ", across), func(b *bench, set func(time.Duration)) {
			b.start()
			set(10 * year)
			b.post(`{"name":"cron","command":"x","schedule":"15 2 * * *"}`)
			b.post(`{"name":"interval","command":"x","schedule":"R/1999-12-31T02:15:00Z/P1D"}`)
			b.post(`{"name":"far","command":"x","schedule":"R1/2020-01-01T02:15:00Z/P1D"}`)
			if across {
				b.end()
				b.withWrongClock() // which is right so far
				b.start()
			} else {
				set(-10 * year)
			}
			b.wait(3 * time.Hour)
			for _, name := range []string{"cron", "interval"} {
				if got := b.history(name); len(got) == 0 || got[len(got)-1] != "scheduled finished 02:15:00" {
					b.t.Errorf("history of %s = %q, want a run at 02:15 of today", name, got)
				}
			}
			if got, want := b.job("far").Schedule, "R1/2020-01-01T02:15:00Z/P1D"; got != want {
				b.t.Errorf("schedule of far = %s, want %s", got, want)
			}
		})
	}
	clocked(t, "a job that is new does not wait", func(b *bench, set func(time.Duration)) {
		b.start()
		b.wait(2 * time.Hour)
		set(-time.Hour)
		b.post(`{"name":"a","command":"x","schedule":"R1/2000-01-01T01:01:00Z/P1D"}`)
		b.wait(time.Minute)
		b.wantHistory("a", "scheduled finished 01:01:00")
	})
}

// wantIDs holds that no task was started twice, and no run is in a history twice.
func (b *bench) wantIDs() {
	b.t.Helper()
	seen := map[string]bool{}
	for j := range b.s.view().all() {
		for _, r := range j.history {
			if seen[r.ID] {
				b.t.Errorf("two runs have the id %s", r.ID)
			}
			seen[r.ID] = true
		}
	}
	for id, n := range b.cluster.launchCounts() {
		if n > 1 {
			b.t.Errorf("task %s was started %d times", id, n)
		}
	}
}

func TestClockSetForward(t *testing.T) {
	t.Parallel()
	clocked(t, "what was due in between is missed, and the newest runs", func(b *bench, set func(time.Duration)) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:00:00Z/PT1H","epsilon":"PT30M"}`)
		b.wait(10 * time.Minute)
		set(3 * time.Hour)
		b.wantHistory("a", "scheduled finished 00:00:00", "scheduled missed x2 02:00:00", "scheduled finished 03:00:00")
	})
}

// Somebody who waits for something waits as long, whatever the clock is set to.
func TestWaitsOutlastTheClock(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{-year, -time.Hour, time.Hour, year} {
		clocked(t, fmt.Sprint("a retry, clock set by ", by), func(b *bench, set func(time.Duration)) {
			b.cluster.behave(failing)
			b.start().post(`{"name":"a","command":"x","schedule":"R1//PT1M","retries":1}`)
			b.wait(time.Second)
			b.cluster.behave(nil)
			set(by)
			b.wait(50 * time.Second)
			if n := b.job("a").SuccessCount; n != 0 {
				b.t.Error("the retry did not wait")
			}
			b.wait(10 * time.Second)
			if n := b.job("a").SuccessCount; n != 1 {
				b.t.Error("the retry did not come")
			}
		})
		clocked(t, fmt.Sprint("a kill that is asked for again, clock set by ", by), func(b *bench, set func(time.Duration)) {
			b.cluster.behave(forEver)
			b.start().post(parked)
			b.runNow("a")
			b.cluster.intercept(func(c *sched.Call) (bool, error) { return c.Type != sched.Call_KILL, nil })
			b.do("kill", b.s.killJob(b.t.Context(), "a"))
			b.cluster.intercept(nil)
			set(by)
			b.wait(killAgain + time.Second)
			b.wantRunning()
		})
		clocked(t, fmt.Sprint("a task that does not start, clock set by ", by), func(b *bench, set func(time.Duration)) {
			b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
				return 0, mesos.TaskStatus{State: mesos.TASK_STAGING.Enum()}
			})
			b.start().post(`{"name":"a","command":"x","schedule":"R1//PT1M","retries":0}`)
			b.wait(time.Minute)
			set(by)
			b.wait(2*b.cfg.staging - 90*time.Second)
			if n := len(b.history("a")); n != 0 {
				b.t.Errorf("it was given up early: %q", b.history("a"))
			}
			b.wait(time.Minute)
			b.wantHistory("a", "scheduled lost 00:00:00")
		})
		clocked(t, fmt.Sprint("an agent that is away, clock set by ", by), func(b *bench, set func(time.Duration)) {
			b.cluster.behave(forEver)
			b.start().post(`{"name":"a","command":"x","schedule":"R1//PT1M","retries":0}`)
			b.wait(time.Minute)
			b.cluster.tell(b.cluster.launched()[0], mesos.TaskStatus{State: mesos.TASK_UNREACHABLE.Enum()})
			b.wait(0)
			set(by)
			b.wait(b.cfg.unreachable - time.Minute)
			if n := len(b.history("a")); n != 0 {
				b.t.Errorf("it was given up early: %q", b.history("a"))
			}
			b.wait(2 * time.Minute)
			b.wantHistory("a", "scheduled lost 00:00:00")
		})
		clocked(t, fmt.Sprint("offers, clock set by ", by), func(b *bench, set func(time.Duration)) {
			b.cluster.resize(0)
			b.start().post(parked)
			b.runNow("a")
			b.wait(time.Minute)
			set(by)
			before := b.cluster.called(sched.Call_REVIVE)
			b.wait(time.Minute)
			if b.cluster.called(sched.Call_REVIVE) == before {
				b.t.Error("no more offers are asked for")
			}
		})
	}
}

func TestClockThatIsBehindWhatIsStored(t *testing.T) {
	t.Parallel()
	const hourly = `{"name":"a","command":"x","schedule":"R/2000-01-01T00:00:00Z/PT1H"}`
	const fixed = `{"name":"b","command":"x","schedule":"10 0,1,2,3,4,5,6,7,8 * * *"}`
	clocked(t, "by up to three hours is waited for", func(b *bench, set func(time.Duration)) {
		b.start().post(hourly)
		b.post(fixed)
		b.wait(4*time.Hour + 15*time.Minute)
		b.end()
		set2 := func(by time.Duration) { b.cfg.wallClock = behind(b.cfg.wallClock, by) }
		set2(-150 * time.Minute)
		b.start()
		if n, _, until := b.s.view().waitingForClock(b.s.wallTime().UnixMilli()); n != 2 || clockOf(until) != "04:10:00" {
			b.t.Errorf("%d jobs wait until %s, want 2 until 04:10:00", n, clockOf(until))
		}
		b.wait(150*time.Minute + 46*time.Minute)
		b.wantHistory("a", "scheduled finished 00:00:00", "scheduled finished 01:00:00", "scheduled finished 02:00:00", "scheduled finished 03:00:00", "scheduled finished 04:00:00", "scheduled finished 05:00:00")
		if got := b.history("b"); len(got) != 5 {
			b.t.Errorf("history of b = %q, want no more than before", got)
		}
	})
	clocked(t, "by more is a clock that was set back", func(b *bench, set func(time.Duration)) {
		steps := 0
		b.cfg.clockSet = func(by time.Duration) {
			if by < -9*year {
				steps++
			}
		}
		b.cfg.historyKeep = 1000
		b.start().post(hourly)
		b.post(fixed)
		b.wait(10 * time.Minute)
		b.end()
		right := b.cfg.wallClock
		b.cfg.wallClock = behind(right, 10*year)
		b.start()
		b.runNow("a")
		b.wait(3 * time.Hour)
		b.end()
		b.cfg.wallClock = right
		b.start()
		if steps != 1 {
			b.t.Errorf("the step was told of %d times, want once", steps)
		}
		b.wait(time.Hour)
		for name, want := range map[string]string{"a": "scheduled finished 04:00:00", "b": "scheduled finished 03:10:00"} {
			if got := b.history(name); got[len(got)-1] != want && got[len(got)-2] != want {
				b.t.Errorf("history of %s ends with %q, want %s", name, got[len(got)-2:], want)
			}
		}
		b.wantIDs()
	})
	clocked(t, "and what was stored as waiting then waits no more", func(b *bench, set func(time.Duration)) {
		b.cluster.resize(0)
		b.start()
		right := b.cfg.wallClock
		b.end()
		b.cfg.wallClock = behind(right, 10*year)
		b.start().post(hourly)
		b.wait(time.Hour)
		b.end()
		b.cfg.wallClock = right
		b.cluster.resize(10)
		b.start()
		b.wait(10 * time.Second)
		if n := b.job("a").SuccessCount; n != 1 {
			b.t.Errorf("%d runs have succeeded, want the one that waited", n)
		}
	})
	clocked(t, "a task that 2.4 has made early is not one", func(b *bench, set func(time.Duration)) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T06:00:00Z/PT6H"}`)
		b.end()
		id := runID(mustParseTime(b.t, "2000-01-01T06:00:00Z").UnixMilli(), 0, "a", "")
		b.store.records[waitKey(id)] = []byte(b.store.value("J_a"))
		b.start()
		b.restart()
		b.wait(7 * time.Hour)
		b.wantHistory("a", "scheduled finished 06:00:00")
	})
}

// behind is a clock that is off from another one.
func behind(clock func() time.Time, by time.Duration) func() time.Time {
	return func() time.Time { return clock().Add(by) }
}

func TestStepsOfTheClockAreTold(t *testing.T) {
	t.Parallel()
	clocked(t, "to whoever counts, and to readers", func(b *bench, set func(time.Duration)) {
		m := newMetrics("1")
		b.cfg.clockSet = m.clockSet
		b.start().post(`{"name":"a","command":"x","schedule":"15 0,1,2,4 * * *"}`)
		b.wait(2*time.Hour + 20*time.Minute)
		set(-time.Hour)
		h := testHealth()
		h.seat.follow("me:8080", instance{})
		h.seat.take(b.s)
		r, _ := h.report(b.s.wallTime())
		c := r.Scheduler.Clock
		if c == nil || c.Steps != 1 || c.By != -3600 || c.Waiting != 1 || c.Names[0] != "a" || c.Until != "2000-01-01T02:15:00.000Z" {
			b.t.Errorf("health = %+v, want one step back by an hour, and a waiting until 02:15", c)
		}
		want := []string{"the clock was set back by 1h0m0s at 2000-01-01T01:20:00.000Z", "1 jobs wait until the clock has caught up with what they have done, at 2000-01-01T02:15:00.000Z: a"}
		if r.Status != "degraded" || !slices.Equal(r.Problems, want) {
			b.t.Errorf("health is %s, problems %q, want %q", r.Status, r.Problems, want)
		}
		set(3 * time.Hour)
		if r, _ = h.report(b.s.wallTime()); !slices.Equal(r.Problems, []string{"the clock was set forward by 3h0m0s at 2000-01-01T04:20:00.000Z"}) {
			b.t.Errorf("problems = %q", r.Problems)
		}
		b.wait(time.Hour)
		if r, _ = h.report(b.s.wallTime()); len(r.Problems) > 0 || r.Scheduler.Clock.Steps != 2 {
			b.t.Errorf("problems an hour later = %q, %+v", r.Problems, r.Scheduler.Clock)
		}
		if back, forward := m.clockBack.n.Load(), m.clockForward.n.Load(); back != 1 || forward != 1 {
			b.t.Errorf("counted %d back and %d forward, want 1 and 1", back, forward)
		}
	})
	clocked(t, "but not what NTP does all the time", func(b *bench, set func(time.Duration)) {
		b.cfg.clockSet = func(by time.Duration) { b.t.Errorf("a step by %s is told", by) }
		b.start()
		for range 100 {
			set(-80 * time.Millisecond)
			b.wait(time.Second)
			set(80 * time.Millisecond)
		}
	})
}

// TestWhateverTheClockDoes sets the clock at random, and holds that the instants shown are those that run, that no id is
// given twice, no repetition is used twice, and no job of fixed times runs twice unless the clock went back far.
func TestWhateverTheClockDoes(t *testing.T) {
	t.Parallel()
	scenarios := inForm(2, 400)
	for seed := range uint64(scenarios) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 10))
			b := newBench(t)
			set := b.withWrongClock()
			b.cfg.historyKeep, b.cfg.historySize, b.cfg.reconcile = 1<<20, 1<<40, 1<<50
			b.start()
			defer func() { b.end() }()
			far := r.IntN(2) == 0
			schedules := map[string]string{
				"a": "R/2000-01-01T00:00:00Z/PT7M", "b": "*/10 * * * *", "c": "5,35 1,3,5,7,9,11,13,15,17,19,21,23 * * *", "d": "R/2000-01-01T02:30:00/P1D",
				"e": "R40/2000-01-01T00:00:00Z/PT13M", "f": "10 */2 * * *",
			}
			for name, schedule := range schedules {
				b.post(fmt.Sprintf(`{"name":%q,"command":"x","schedule":%q,"scheduleTimeZone":"Europe/Berlin","epsilon":"PT5M"}`, name, schedule))
			}
			for range 12 {
				time.Sleep(time.Duration(r.Int64N(int64(5 * time.Hour))))
				by := time.Duration((r.Float64() - 0.5) * 2 * float64(3*time.Hour-time.Second))
				if far && r.IntN(4) == 0 {
					by *= 1000
				}
				if r.IntN(5) == 0 {
					b.end()
					b.start()
				}
				set(by)
				shown, since := map[string][]string{}, map[string]int{}
				for name := range schedules {
					v := b.s.view().job(name)
					since[name] = len(v.history)
					for _, at := range v.sched.coming(b.s.wallTime(), v.job.Epsilon.approx().Milliseconds(), 3) {
						shown[name] = append(shown[name], instant(at))
					}
				}
				if soon := instant(b.s.wallTime().Add(11 * time.Minute)); len(shown["a"]) == 0 || shown["a"][0] > soon {
					t.Fatalf("seed %d: after a step by %s the interval of 7 minutes is to run at %q, want it before %s", seed, by, shown["a"], soon)
				}
				b.wait(40 * time.Minute)
				now := b.s.wallTime()
				for name := range schedules {
					var ran []string
					history := b.s.view().job(name).history
					for _, run := range slices.Backward(history[:len(history)-since[name]]) {
						if run.Kind == kindScheduled && run.State == runFinished {
							ran = append(ran, instant(run.dueTime()))
						}
					}
					want := slices.DeleteFunc(shown[name], func(at string) bool { return mustParseTime(t, at).After(now) })
					if !slices.Equal(ran[:min(len(ran), 3)], want) {
						t.Fatalf("seed %d: after a step by %s job %s, %s, is to run at %q, and ran at %q", seed, by, name, schedules[name], want, ran)
					}
				}
			}
			b.wantIDs()
			twice := map[int64]int{}
			for _, run := range b.s.view().job("c").history {
				if twice[run.Due]++; run.State == runFinished && twice[run.Due] > 1 && !far {
					t.Errorf("seed %d: job c ran twice at %s", seed, msTime(run.Due))
				}
			}
			used := int64(0)
			for _, run := range b.s.view().job("e").history {
				used += max(1, run.Count)
			}
			if left := b.s.view().job("e").sched.remaining(); used+left != 40 {
				t.Errorf("seed %d: of 40 repetitions %d are used and %d left", seed, used, left)
			}
		})
	}
}

// wantReasons holds the runs of a job that did not run, oldest first, as "state count due: reason", against what was the case.
func (b *bench) wantReasons(name string, want ...string) {
	b.t.Helper()
	var got []string
	for _, r := range slices.Backward(b.s.view().job(name).history) {
		if r.State == runMissed || r.State == runSkipped || r.State == runLost {
			got = append(got, fmt.Sprintf("%s %d %s: %s", r.State, max(r.Count, 1), clockOf(r.Due), r.Reason))
		}
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("%s has %q\nwant %q", name, got, want)
	}
}

func TestReasonsSayWhatWasTheCase(t *testing.T) {
	t.Parallel()
	const late = "older than epsilon PT3M when the leader handled it"
	scenario(t, "too late, and passed over for a newer one", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M","epsilon":"PT3M"}`)
		b.end()
		time.Sleep(9*time.Minute + 30*time.Second)
		b.start()
		b.wantReasons("a", "missed 6 00:06:00: "+late,
			"missed 2 00:08:00: passed over for the occurrence of 2000-01-01T00:09:00.000Z, which was also due when the leader handled it")
		if got := b.s.view().job("a"); got.missed != 8 || got.history[1].From != mustParseTime(b.t, "2000-01-01T00:07:00Z").UnixMilli() {
			b.t.Errorf("%d missed, the last from %s, want 8 and 00:07:00", got.missed, clockOf(got.history[1].From))
		}
	})
	scenario(t, "too late, and no newer one", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R2/2000-01-01T00:01:00Z/PT1M","epsilon":"PT3M"}`)
		b.end()
		time.Sleep(time.Hour)
		b.start()
		b.wantReasons("a", "missed 2 00:02:00: "+late)
	})
	scenario(t, "a waiting task of 2.4 that is too old", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2001-01-01T00:00:00Z/PT1M","epsilon":"PT3M"}`)
		b.end()
		id := runID(time.Now().UnixMilli(), 0, "a", "")
		b.store.records[waitKey(id)] = []byte(b.store.value("J_a"))
		time.Sleep(time.Hour)
		b.start()
		b.wantReasons("a", "missed 1 00:00:00: "+late)
	})
	scenario(t, "replaced while it waited, and the job disabled", func(b *bench) {
		b.cluster.resize(0)
		b.start().post(`{"name":"a","command":"x","schedule":"R2/2000-01-01T00:01:00Z/PT1M"}`)
		b.wait(150 * time.Second)
		b.post(`{"name":"a","command":"x","schedule":"R2/2000-01-01T00:01:00Z/PT1M","disabled":true}`)
		b.wantReasons("a", "skipped 1 00:01:00: replaced by the occurrence of 2000-01-01T00:02:00Z", "skipped 1 00:02:00: the job is disabled")
	})
	scenario(t, "overlapped for too long", func(b *bench) {
		b.cluster.behave(taking(time.Hour))
		b.start().post(`{"name":"a","command":"x","schedule":"R2/2000-01-01T00:01:00Z/PT1M","epsilon":"PT3M"}`)
		b.wait(10 * time.Minute)
		b.wantReasons("a", "skipped 1 00:02:00: the job was still running when epsilon PT3M was over")
	})
	for name, tt := range map[string]struct {
		status mesos.TaskStatus
		want   string
	}{
		"lost, as Mesos says":           {mesos.TaskStatus{State: mesos.TASK_GONE.Enum(), Message: new("agent removed")}, "agent removed"},
		"lost, and Mesos gives a code":  {mesos.TaskStatus{State: mesos.TASK_LOST.Enum(), Reason: mesos.REASON_AGENT_REMOVED.Enum()}, "TASK_LOST, REASON_AGENT_REMOVED"},
		"lost, and Mesos says no more":  {mesos.TaskStatus{State: mesos.TASK_LOST.Enum()}, "TASK_LOST"},
		"lost, not known to the master": {mesos.TaskStatus{State: mesos.TASK_UNKNOWN.Enum(), Reason: mesos.REASON_RECONCILIATION.Enum()}, "TASK_UNKNOWN, REASON_RECONCILIATION"},
	} {
		scenario(t, name, func(b *bench) {
			b.cluster.behave(forEver)
			b.start().post(`{"name":"a","command":"x","schedule":"R1//PT1M","retries":0}`)
			b.wait(time.Second)
			b.cluster.tell(b.cluster.launched()[0], tt.status)
			b.wait(0)
			b.wantReasons("a", "lost 1 00:00:00: "+tt.want)
		})
	}
}
