package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// crashSize says how much a crash test does.
type crashSize struct {
	kills  int
	jobs   int
	period time.Duration
}

// A crashTest kills one instance on the file store again and again.
type crashTest struct {
	size   crashSize
	chance *rand.Rand
	victim *instance
	*workload
}

// TestTortureCrashLosesNothingAndRunsNothingTwice kills the instance with SIGKILL at random moments,
// and restarts it at once on the same data directory.
func TestTortureCrashLosesNothingAndRunsNothingTwice(t *testing.T) {
	t.Parallel()
	size := crashSize{kills: 20, jobs: 50, period: 5 * time.Second}
	if *longTorture {
		// Half of what two cores run in a second: the rest is for what has piled up while it was down.
		size = crashSize{kills: 200, jobs: 250, period: time.Second}
	}
	dir := t.TempDir()
	c := &crashTest{size: size, chance: tortureRand(t), workload: newWorkload(t)}
	c.victim = newInstance(t, "log", "--data_dir", filepath.Join(dir, "data"), "--failure_retry", "200", "--job_history_keep", "30")
	c.victim.start(t)
	c.victim.serves(t)
	c.create(t, c.victim, size.jobs, size.period, "")
	c.killAgainAndAgain(t)
	c.victim.serves(t)
	end := c.stop(t, c.victim)
	c.settle(t, c.victim, end)
	c.victim.terminate(t)
	c.judge(t, end)
}

// killAgainAndAgain kills at random moments of the first two seconds of a process,
// half of them just after an instant at which jobs are due.
func (c *crashTest) killAgainAndAgain(t *testing.T) {
	for n := range c.size.kills {
		at := time.Now().Add(time.Duration(c.chance.Int64N(int64(2 * time.Second))))
		if c.chance.IntN(2) == 0 {
			at = at.Truncate(500 * time.Millisecond).Add(500*time.Millisecond + time.Duration(c.chance.Int64N(int64(60*time.Millisecond))))
		}
		c.createOnces(n, at)
		time.Sleep(time.Until(at))
		if early, err := c.victim.end(syscall.SIGKILL); early {
			t.Fatalf("chronos ended by itself: %v; its log: %q", err, c.victim.complaints(t))
		}
		if c.chance.IntN(10) == 0 {
			time.Sleep(time.Duration(c.chance.Int64N(2 * int64(c.size.period)))) // so that occurrences are missed
		}
		c.victim.start(t)
		if n%readEvery == readEvery-1 {
			c.victim.serves(t)
			c.readHistories(c.victim) // before newer runs displace what it tells
		}
	}
}

// readEvery is after how many kills the histories are read. They have room for the occurrences of that time.
const readEvery = 5

// createOnces posts jobs until the kill comes. An error means only that nobody knows.
func (c *crashTest) createOnces(n int, until time.Time) {
	for i := 0; time.Now().Before(until); i++ {
		if wait := time.Duration(c.chance.Int64N(int64(200 * time.Millisecond))); time.Until(until) < wait {
			// The last is on its way when the kill comes.
			time.Sleep(time.Until(until) - time.Duration(c.chance.Int64N(int64(5*time.Millisecond))))
		} else {
			time.Sleep(wait)
		}
		o := once{name: fmt.Sprintf("once%d-%d", n, i)}
		answered := make(chan int, 1)
		go func() {
			status, _, _ := c.victim.call("POST", "/scheduler/iso8601", jobDocument(o.name, c.marks.command(o.name), `"schedule":"R1//PT1S"`))
			answered <- status
		}()
		select {
		case status := <-answered:
			o.acknowledged = status == 204
		case <-time.After(time.Until(until)):
		}
		c.onces = append(c.onces, o)
	}
}

// judge counts from the files of the jobs.
func (c *crashTest) judge(t *testing.T, end int64) {
	loads := c.loads(t)
	var due, once, missedOnes, outrun int
	for _, s := range c.cadences {
		runs := map[int64]int{}
		for _, m := range c.marks.of(t, s.name) {
			if m.attempt == 0 {
				runs[m.due]++
			}
		}
		for _, d := range s.until(end) {
			due++
			n := runs[d]
			delete(runs, d)
			switch hole, recorded := c.recorded.covering(s.name, d); {
			case n == 1 && !recorded:
				once++
			case n > 1:
				t.Errorf("%s: occurrence %s ran %d times", s.name, isoInstant(d), n)
			case n == 1:
				t.Errorf("%s: occurrence %s ran and is recorded as %s", s.name, isoInstant(d), hole.state)
			case !recorded:
				t.Errorf("%s: occurrence %s did not run and is not recorded", s.name, isoInstant(d))
			case loads.excuse(hole, d, d+s.period):
				missedOnes++
			case hole.state == "skipped" && d+s.period <= hole.recorded:
				outrun++ // this machine starts less than falls due
			default:
				t.Errorf("%s: occurrence %s is recorded as %s at %s (%s), before the next was due, and no restart explains it",
					s.name, isoInstant(d), hole.state, isoInstant(hole.recorded), hole.description)
			}
		}
		for d, n := range runs {
			if d < end {
				t.Errorf("%s: %d runs for %s, at which none is due", s.name, n, isoInstant(d))
			}
		}
	}
	created := c.judgeOnces(t)
	c.judgeFollowers(t)
	for _, line := range c.victim.complaints(t) {
		t.Errorf("log: %s", line)
	}
	t.Logf("%d kills, %d occurrences: %d ran once, %d missed while it was down, %d skipped because the next was due; %d of %d creations acknowledged, loads %s",
		c.size.kills, due, once, missedOnes, outrun, created, len(c.onces), spread(loads.took()))
}

// A load is the time in which a process has read the state.
type load struct{ started, loaded int64 }

type loads []load

func (c *crashTest) loads(t *testing.T) (all loads) {
	var started int64
	for _, l := range c.victim.logLines(t) {
		switch l.msg {
		case "chronos serves":
			started = l.at.UnixMilli()
		case "state loaded":
			all = append(all, load{started, l.at.UnixMilli()})
		}
	}
	return all
}

// excuse reports whether a restart explains that an occurrence is missing: the process that has
// recorded it had loaded only after its instant, and the next one of the job was due by then.
func (all loads) excuse(m gap, due, next int64) bool {
	by := slices.IndexFunc(all, func(l load) bool { return l.started > m.recorded })
	if by < 0 {
		by = len(all)
	}
	return by > 0 && due <= all[by-1].loaded && next <= m.recorded
}

func (all loads) took() (times []time.Duration) {
	for _, l := range all {
		times = append(times, time.Duration(l.loaded-l.started)*time.Millisecond)
	}
	return times
}
