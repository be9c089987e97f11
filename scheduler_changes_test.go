package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func TestUpdates(t *testing.T) {
	t.Parallel()
	scenario(t, "posting the same schedule again keeps position and repetitions (#332)", func(b *bench) {
		const doc = `{"name":"a","command":"x","schedule":"R5/2000-01-01T00:01:00Z/PT1M"}`
		b.start().post(doc)
		b.wait(2*time.Minute + 30*time.Second)
		b.post(doc)
		b.post(strings.Replace(doc, `R5/2000-01-01T00:01:00Z`, `R3/2000-01-01T00:03:00.000Z`, 1)) // as GET shows it
		b.wait(10 * time.Minute)
		if got := b.history("a"); len(got) != 5 {
			b.t.Errorf("history = %q, want five runs in all", got)
		}
	})
	scenario(t, "a different schedule replaces the old one at once, also by one that is over (A3)", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`)
		b.wait(90 * time.Second)
		b.post(`{"name":"a","command":"x","schedule":"R1/1999-01-01T00:00:00Z/P1D"}`)
		b.wait(time.Hour)
		b.wantHistory("a", "scheduled finished 00:01:00")
		if got := b.job("a").Schedule; !strings.HasPrefix(got, "R0/") {
			b.t.Errorf("schedule = %q, want R0", got)
		}
	})
	scenario(t, "an earlier schedule takes effect without waiting for the old one (B5)", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T12:00:00Z/P1D"}`)
		b.post(`{"name":"a","command":"x","schedule":"R1/2000-01-01T00:00:10Z/P1D"}`)
		b.wait(11 * time.Second)
		b.wantHistory("a", "scheduled finished 00:00:10")
	})
	scenario(t, "counters that a document leaves out are reset, as ever", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R//PT1H","successCount":7}`)
		b.wait(time.Second)
		if got := b.job("a").SuccessCount; got != 8 {
			b.t.Errorf("successCount = %d, want 8", got)
		}
		b.post(`{"name":"a","command":"x","schedule":"R0//PT1H"}`)
		if got := b.job("a").SuccessCount; got != 0 {
			b.t.Errorf("successCount = %d, want 0", got)
		}
	})
	scenario(t, "a scheduled job becomes dependent and leaves its schedule (A21), and back", func(b *bench) {
		b.start().post(`{"name":"p","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1Y"}`)
		b.post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`)
		b.post(`{"name":"a","command":"x","parents":["p"]}`)
		b.wait(5 * time.Minute)
		b.wantHistory("a")
		b.runNow("p")
		b.wantHistory("a", "dependent finished 00:05:00")
		b.post(`{"name":"a","command":"x","schedule":"R1/2000-01-01T00:06:00Z/PT1M"}`)
		b.runNow("p")
		b.wait(2 * time.Minute)
		b.wantHistory("a", "dependent finished 00:05:00", "scheduled finished 00:06:00")
	})
	scenario(t, "disabling a job ends what waits of it and leaves what runs alone", func(b *bench) {
		b.cluster.behave(taking(time.Minute))
		b.start().post(parked)
		b.runNow("a")
		b.runNow("a")
		b.post(strings.Replace(parked, `"name"`, `"disabled":true,"name"`, 1))
		b.wait(2 * time.Minute)
		b.wantHistory("a", "manual skipped 00:00:00", "manual finished 00:00:00")
		b.runNow("a") // accepted as before, and recorded
		b.wait(0)
		if got := b.history("a"); len(got) != 3 || !strings.HasPrefix(got[2], "manual skipped") {
			b.t.Errorf("history = %q", got)
		}
	})
	scenario(t, "a bad schedule changes nothing", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`)
		for _, bad := range []string{"R/2000-01-01T00:01:00Z/PT0S", "R/2000-01-01T00:01:00Z/PT-1M", "nonsense", "R/x/PT1M", "0 0 30 2 *", "R/2000-01-01T00:01:00Z/PT0.5S"} {
			err := b.tryPost(`{"name":"a","command":"y","schedule":"` + bad + `"}`)
			if _, ok := errors.AsType[*jobError](err); !ok {
				b.t.Errorf("schedule %q: %v, want a *jobError (A7)", bad, err)
			}
		}
		b.wait(time.Minute)
		if b.job("a").Command != "x" {
			b.t.Error("the job was changed")
		}
		b.wantHistory("a", "scheduled finished 00:01:00")
	})
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	const root = `{"name":"root","command":"x","schedule":"R/2000-01-01T01:00:00Z/PT1H","scheduleTimeZone":"UTC"}`
	scenario(t, "the only child of a scheduled job takes over its schedule and keeps all its fields (A22)", func(b *bench) {
		b.start().post(root)
		b.post(`{"name":"c","command":"x","parents":["root"],"arguments":["v"],"runAsUser":"u","constraints":[["rack","EQUALS","1"]],"environmentVariables":[{"name":"A","value":"1"}],"container":{"image":"i"},"concurrent":true,"unknown":[1]}`)
		b.do("delete", b.s.deleteJob(b.t.Context(), "root"))
		j := b.job("c")
		if j.Dependent || j.Schedule != "R/2000-01-01T01:00:00Z/PT1H" || j.ScheduleTimeZone != "UTC" {
			b.t.Errorf("child = %+v", j)
		}
		if len(j.Arguments) != 1 || j.RunAsUser != "u" || len(j.Constraints) != 1 || len(j.Env) != 1 || j.Container == nil || !j.Concurrent || len(j.Extra) != 1 {
			b.t.Errorf("fields were lost: %+v", j)
		}
	})
	scenario(t, "a child with other parents loses the edge only", func(b *bench) {
		b.start().post(root)
		b.post(strings.ReplaceAll(root, "root", "other"))
		b.post(`{"name":"c","command":"x","parents":["root","other"]}`)
		b.do("delete", b.s.deleteJob(b.t.Context(), "root"))
		if j := b.job("c"); !j.Dependent || !slices.Equal(j.Parents, []string{"other"}) {
			b.t.Errorf("child has parents %q", j.Parents)
		}
		b.runNow("other")
		b.wantHistory("c", "dependent finished 00:00:00")
	})
	scenario(t, "the children of a dependent job are handed to its parents", func(b *bench) {
		b.start().post(root)
		b.post(`{"name":"middle","command":"x","parents":["root"]}`)
		b.post(`{"name":"leaf","command":"x","parents":["middle"]}`)
		b.do("delete", b.s.deleteJob(b.t.Context(), "middle"))
		b.runNow("root")
		b.wantHistory("leaf", "dependent finished 00:00:00")
	})
	scenario(t, "a deleted job leaves nothing but its newest id and its position, for a day, and its task is killed", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		b.runNow("a")
		b.runNow("a")
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.wait(0)
		b.wantRunning()
		for _, prefix := range []string{"J_", "T_", "go/run/", "go/history/"} {
			if keys := b.store.keys(prefix); len(keys) > 0 {
				b.t.Errorf("records left: %q", keys)
			}
		}
		if got, want := b.store.value("go/job/a"), `{"seq":0,"posted":"R0/2000-01-01T00:00:00Z/PT1H","anchor":"R0/2000-01-01T00:00:00Z/PT1H","written":"R0/2000-01-01T00:00:00Z/PT1H","used":946684800001,"deleted":946684800000}`; got != want {
			b.t.Errorf("left of the job: %s, want %s", got, want)
		}
		if err := b.s.deleteJob(b.t.Context(), "a"); !errors.Is(err, errNotFound) {
			b.t.Errorf("deleting it again = %v", err)
		}
		b.post(parked)
		b.runNow("a")
		b.wantRunning("a")
	})
	for _, failover := range []bool{false, true} {
		scenario(t, fmt.Sprintf("a job that is deleted and made again gives no id twice, with a fail-over between: %t", failover), func(b *bench) {
			const doc = `{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`
			b.start().post(doc)
			b.wait(70 * time.Second)
			b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
			if failover {
				b.restart()
			}
			b.post(doc)
			if failover {
				b.restart()
			}
			b.wait(time.Minute)
			if n := len(b.cluster.launched()); n != 3 || len(b.cluster.launchCounts()) != n {
				b.t.Errorf("launched %q, want three different ids", b.cluster.launched())
			}
		})
	}
	scenario(t, "what is left of a deleted job goes after a day", func(b *bench) {
		b.start().post(parked)
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.wait(25 * time.Hour)
		b.restart()
		if keys := b.store.keys("go/job/"); len(keys) > 0 {
			b.t.Errorf("records left: %q", keys)
		}
	})
	scenario(t, "deleting a job does not touch others whose name contains its own (A6)", func(b *bench) {
		b.cluster.resize(0)
		b.start().post(strings.Replace(parked, `"a"`, `"db"`, 1))
		b.post(strings.Replace(parked, `"a"`, `"db-export"`, 1))
		b.runNow("db-export")
		b.do("delete", b.s.deleteJob(b.t.Context(), "db"))
		b.wantState("db-export", "queued")
		if keys := b.store.keys("T_"); len(keys) != 1 {
			b.t.Errorf("waiting records = %q, want that of db-export", keys)
		}
	})
}

// Runs that wait after somebody has started them are bounded by number and by what they were given; once some have ended
// there is room again, also after a restart. What comes by itself is not refused.
func TestRunsByHandAreBounded(t *testing.T) {
	t.Parallel()
	const part = maxWaitingArguments / 16
	for name, tt := range map[string]struct {
		most      int
		arguments string
		fit       int
		says      string
	}{
		"by number":    {3, "x", 3, "--max_waiting_runs"},
		"by arguments": {1000, strings.Repeat("x", part), 16, "would have 1114112 bytes"},
	} {
		scenario(t, name, func(b *bench) {
			b.cfg.mostByHand = tt.most
			b.cluster.resize(0)
			b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:00:10Z/PT10S"}`)
			for range 2 {
				for i := range tt.fit + 2 {
					_, err := b.s.runJob(b.t.Context(), "a", tt.arguments, true)
					if fits := i < tt.fit; fits != (err == nil) || !fits && (!errors.Is(err, errCrowded) || !strings.Contains(err.Error(), tt.says)) {
						b.t.Errorf("run %d by hand = %v, want %d to be taken", i, err, tt.fit)
					}
				}
				b.restart()
				if _, err := b.s.runJob(b.t.Context(), "a", tt.arguments, true); !errors.Is(err, errCrowded) {
					b.t.Errorf("after a restart one more = %v, want it refused", err)
				}
				b.do("kill", b.s.killJob(b.t.Context(), "a"))
			}
			b.wait(10 * time.Second)
			if runs := b.s.view().job("a").runs; len(runs) != 1 || runs[0].Kind != kindScheduled {
				b.t.Errorf("open runs = %v, want the scheduled one", runs)
			}
		})
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	scenario(t, "kill ends what waits at once and what runs when the cluster says so", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		b.runNow("a")
		b.runNow("a")
		b.do("kill", b.s.killJob(b.t.Context(), "a"))
		b.wait(0)
		b.wantHistory("a", "manual killed 00:00:00", "manual killed 00:00:00")
		if j := b.job("a"); j.ErrorCount != 0 || j.Disabled {
			b.t.Errorf("errorCount = %d, disabled = %t", j.ErrorCount, j.Disabled)
		}
	})
	scenario(t, "a kill is asked for until the task has ended, across a fail-over too (M18)", func(b *bench) {
		b.cluster.behave(forEver)
		deaf := true
		b.cluster.intercept(func(c *sched.Call) (bool, error) {
			if c.Type == sched.Call_KILL && deaf {
				return false, errNotSent
			}
			return true, nil
		})
		b.start().post(parked)
		b.runNow("a")
		b.do("kill", b.s.killJob(b.t.Context(), "a"))
		b.wait(time.Minute)
		b.wantRunning("a")
		b.end()
		deaf = false
		b.start()
		b.wait(time.Second)
		b.wantRunning()
		b.wantHistory("a", "manual killed 00:00:00")
	})
	scenario(t, "a waiting retry is killed too", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(`{"name":"a","command":"x","schedule":"R1//PT1H"}`)
		b.wait(time.Second)
		b.do("kill", b.s.killJob(b.t.Context(), "a"))
		b.wait(10 * time.Minute)
		b.wantHistory("a", "scheduled failed 00:00:00", "retry killed attempt 1 00:01:00")
	})
	scenario(t, "purge ends everything that waits", func(b *bench) {
		b.cluster.resize(0)
		b.start().post(parked)
		b.runNow("a")
		b.do("purge", b.s.purge(b.t.Context()))
		b.wait(0)
		b.wantHistory("a", "manual killed 00:00:00")
		if keys := b.store.keys("T_"); len(keys) != 0 {
			b.t.Errorf("waiting records left: %q", keys)
		}
	})
}

func TestAsyncJobs(t *testing.T) {
	t.Parallel()
	const async = `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1Y","async":true,"retries":0}`
	finish := func(b *bench, id string, code int) {
		b.t.Helper()
		b.do("callback", b.s.finishTask(b.t.Context(), id, code))
		b.wait(0)
	}
	scenario(t, "the launcher's end says nothing; the callback does", func(b *bench) {
		b.start().post(async)
		id := b.runNow("a")
		b.wantState("a", "running")
		b.restart()
		finish(b, id, 0)
		b.wantHistory("a", "manual finished 00:00:00")
		finish(b, id, 0)
		finish(b, id, 1)
		if j := b.job("a"); j.SuccessCount != 1 || j.ErrorCount != 0 {
			b.t.Errorf("successCount, errorCount after repeated callbacks = %d, %d", j.SuccessCount, j.ErrorCount)
		}
	})
	scenario(t, "a callback that comes before the launcher has ended counts when it has", func(b *bench) {
		b.cluster.behave(taking(time.Minute))
		b.start().post(async)
		id := b.runNow("a")
		finish(b, id, 3)
		b.wantRunning("a")
		b.wait(2 * time.Minute)
		b.wantHistory("a", "manual failed 00:00:00")
	})
	scenario(t, "a failing launcher is a failure", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(async)
		b.runNow("a")
		b.wait(0)
		b.wantHistory("a", "manual failed 00:00:00")
	})
	scenario(t, "runs whose callback never comes are bounded", func(b *bench) {
		b.cfg.historyKeep = 300
		b.start().post(async)
		for range maxAwaiting + 5 {
			b.runNow("a")
		}
		b.wait(0)
		if n := len(b.s.view().job("a").runs); n != maxAwaiting {
			b.t.Errorf("%d runs wait for their callback, want %d", n, maxAwaiting)
		}
		if got := b.history("a"); len(got) != 5 || got[0] != "manual lost 00:00:00" {
			b.t.Errorf("history = %q", got)
		}
	})
	scenario(t, "callbacks of unknown tasks change nothing", func(b *bench) {
		b.start().post(async)
		for _, id := range []string{"nonsense", "ct:1:0:nobody:", "ct:99999999999999:0:a:"} {
			finish(b, id, 1)
		}
		b.wantHistory("a")
	})
}

func TestJobTooLargeForTheStoreIsRefused(t *testing.T) {
	t.Parallel()
	scenario(t, "before anything changes", func(b *bench) {
		b.cfg.largestJob = 2000
		const doc = `{"name":"a","command":"true","description":"x","schedule":"R/2100-01-01T00:00:00Z/P1D"}`
		b.start().post(doc)
		err := b.tryPost(strings.Replace(doc, `"x"`, `"`+strings.Repeat("x", 2000)+`"`, 1))
		if _, ok := errors.AsType[*jobError](err); !ok {
			b.t.Errorf("post of a job that is too large = %v, want a *jobError", err)
		}
		if got := b.job("a").Description; got != "x" {
			b.t.Errorf("description = %.20q, want that of before", got)
		}
	})
}

// TestStoredPatternBeyondTheBounds: an older build, or another version, has taken it.
func TestStoredPatternBeyondTheBounds(t *testing.T) {
	t.Parallel()
	scenario(t, "is kept, never met and told of, and compiled neither here nor when the job is posted again", func(b *bench) {
		doc := `{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M","constraints":[["hostname","LIKE","` +
			strings.Repeat(".{1000}", 2500) + `"]]}`
		b.start().post(yearly("b"))
		b.end()
		b.store.records["J_a"] = []byte(doc)
		b.start()
		b.wait(5 * time.Minute)
		b.runNow("b")
		b.wait(0)
		b.wantHistory("b", "manual finished 00:05:00")
		v := b.s.view().job("a")
		const want = "no agent meets its constraints: constraints[0]: "
		if !strings.HasPrefix(v.problem, want) || len(v.problem) > 1000 || len(v.runs) != 1 || v.runs[0].State != runQueued {
			b.t.Errorf("problem = %q, want %q; open runs %+v, want one that waits", v.problem, want, v.runs)
		}
		why, err := b.s.whyQueued(b.t.Context(), "a")
		if err != nil || len(why) != 1 || !strings.Contains(strings.Join(why[0].Reasons, "; "), "makes it 17500 bytes of patterns") {
			b.t.Errorf("whyQueued = %+v, %v", why, err)
		}
		if got := b.store.value("J_a"); !strings.Contains(got, strings.Repeat(".{1000}", 2500)) {
			b.t.Error("the stored document has lost its constraint")
		}
		err = b.tryPost(doc)
		if e, ok := errors.AsType[*jobError](err); !ok || e.field != "constraints" || len(e.text) > 1000 {
			b.t.Errorf("post = %v, want a *jobError about the constraints", err)
		}
		b.post(strings.Replace(doc, strings.Repeat(".{1000}", 2500), "h.*", 1))
		b.wait(time.Minute)
		if v := b.s.view().job("a"); v.problem != "" || v.job.SuccessCount == 0 {
			b.t.Errorf("problem = %q, successCount = %d once the pattern is another", v.problem, v.job.SuccessCount)
		}
	})
	scenario(t, "many patterns that take their time hold up nothing, and are compared in the end", func(b *bench) {
		b.start()
		for i := range 30 {
			b.post(fmt.Sprintf(`{"name":"a%d","command":"x","schedule":"R0/2000-01-01T00:01:00Z/PT1M","constraints":[["hostname","LIKE","(host-1|(a?){1000}%d)"]]}`, i, i))
			b.runNow(fmt.Sprint("a", i))
		}
		b.wait(time.Second)
		for i := range 30 {
			b.wantHistory(fmt.Sprint("a", i), "manual finished 00:00:00")
		}
	})
}

func TestHistoryIsBoundedBySize(t *testing.T) {
	t.Parallel()
	s, e := &scheduler{cfg: schedulerConfig{historyKeep: 10_000, historySize: maxHistory}}, &entry{}
	for i := range 2000 {
		s.addHistory(e, &Run{ID: fmt.Sprintf("ct:%d:0:a:", i), Reason: strings.Repeat("x", i%500)})
	}
	if n := len(mustJSON(e.history)); n > 2*maxHistory || n < maxHistory/4 {
		t.Errorf("a long history takes %d bytes, want about %d", n, maxHistory)
	}
	if got := e.history[0].ID; got != "ct:1999:0:a:" {
		t.Errorf("the newest entry is %s, want the run added last", got)
	}
}

// Which sizes a document named is kept beside the stored one, which has all of them, where local mode asks for it.
func TestNamedSizesAreRemembered(t *testing.T) {
	t.Parallel()
	document := func(name, sizes string) string {
		return `{"name":"` + name + `","command":"x","schedule":"R/2030-01-02T00:00:00Z/PT1H"` + sizes + `}`
	}
	scenario(t, "of each job, for every leader", func(b *bench) {
		b.cfg.defaults.KeepNamed = true
		b.start()
		want := map[string]namedSizes{"none": {}, "nothing": {}, "mem": {Mem: true}, "cpus": {CPUs: true}, "both": {CPUs: true, Mem: true}}
		b.post(document("none", ""))
		b.post(document("nothing", `,"mem":0,"cpus":-1,"disk":5`))
		b.post(document("mem", `,"mem":64`))
		b.post(document("cpus", `,"cpus":"2"`))
		b.post(document("both", `,"mem":128,"cpus":0.1`)) // as the defaults
		for range 2 {
			for name, named := range want {
				if got := b.job(name).Named; got != named {
					b.t.Errorf("%s names %+v, want %+v", name, got, named)
				}
			}
			b.runNow("mem")
			b.wait(time.Minute)
			b.restart()
		}
		if keys := slices.Sorted(slices.Values(b.store.keys(namedPrefix))); !slices.Equal(keys, []string{namedPrefix + "both", namedPrefix + "cpus", namedPrefix + "mem"}) {
			b.t.Errorf("records %q", keys)
		}
		b.post(document("mem", ""))
		b.do("delete", b.s.deleteJob(b.t.Context(), "cpus"))
		b.end()
		delete(b.store.records, "J_both") // by another version
		b.start()
		b.post(document("both", ""))
		for _, name := range []string{"mem", "both"} {
			if got := b.job(name).Named; got != (namedSizes{}) {
				b.t.Errorf("%s names %+v after it was posted without", name, got)
			}
		}
		if keys := b.store.keys(namedPrefix); len(keys) > 0 {
			b.t.Errorf("records left: %q", keys)
		}
	})
	scenario(t, "and no record is made elsewhere", func(b *bench) {
		b.start().post(document("both", `,"mem":64,"cpus":1`))
		if keys := b.store.keys(namedPrefix); len(keys) > 0 {
			b.t.Errorf("records %q", keys)
		}
	})
}
