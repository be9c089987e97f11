package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// What becomes of an occurrence of which the run before is still under way. Runs take 100 seconds, and are due each minute.
func TestWhatBecomesOfAnOverlappingOccurrence(t *testing.T) {
	t.Parallel()
	job := func(members string) string {
		return `{"name":"a","command":"x","schedule":"R4/2000-01-01T00:00:10Z/PT1M","epsilon":"PT30S","retries":0,` + members + `}`
	}
	begin := func(b *bench, members string) *bench {
		b.cluster.behave(taking(100 * time.Second))
		b.start().post(job(members))
		return b
	}
	scenario(t, "skip", func(b *bench) {
		begin(b, `"overlap":"skip"`).wait(5 * time.Minute)
		b.wantHistory("a", "scheduled skipped 00:01:10", "scheduled finished 00:00:10", "scheduled skipped 00:03:10", "scheduled finished 00:02:10")
		b.wantReasons("a", "skipped 1 00:01:10: another run of the job was under way", "skipped 1 00:03:10: another run of the job was under way")
	})
	scenario(t, "skip, with a new leader in between", func(b *bench) {
		begin(b, `"overlap":"skip"`).wait(30 * time.Second)
		b.restart()
		b.wait(5 * time.Minute)
		b.wantHistory("a", "scheduled skipped 00:01:10", "scheduled finished 00:00:10", "scheduled skipped 00:03:10", "scheduled finished 00:02:10")
	})
	scenario(t, "skip, of an occurrence that waits when a run by hand takes the place", func(b *bench) {
		b.cluster.resize(0)
		begin(b, `"overlap":"skip"`)
		b.runNow("a")
		b.wait(20 * time.Second)
		b.cluster.resize(10)
		b.wait(20 * time.Second)
		b.wantHistory("a", "scheduled skipped 00:00:10")
		b.wantRunning("a")
	})
	scenario(t, "delay", func(b *bench) {
		begin(b, `"overlap":"delay"`).wait(5 * time.Minute)
		b.wantHistory("a", "scheduled skipped 00:01:10", "scheduled finished 00:00:10", "scheduled skipped 00:03:10", "scheduled finished 00:02:10")
		b.wantReasons("a", "skipped 1 00:01:10: the job was still running when epsilon PT30S was over", "skipped 1 00:03:10: the job was still running when epsilon PT30S was over")
	})
	scenario(t, "replace", func(b *bench) {
		begin(b, `"overlap":"replace"`).wait(5 * time.Minute)
		b.wantHistory("a", "scheduled killed 00:00:10", "scheduled killed 00:01:10", "scheduled killed 00:02:10", "scheduled finished 00:03:10")
		b.wantTexts("a", "replaced by the occurrence of 2000-01-01T00:01:10.000Z", "replaced by the occurrence of 2000-01-01T00:02:10.000Z", "replaced by the occurrence of 2000-01-01T00:03:10.000Z", "")
	})
	scenario(t, "replace waits for the end of the old run, longer than epsilon, over a fail-over", func(b *bench) {
		b.cluster.intercept(func(call *sched.Call) (bool, error) { return call.Type != sched.Call_KILL, nil })
		b.cluster.behave(forEver)
		b.start().post(strings.Replace(job(`"overlap":"replace"`), "R4", "R2", 1))
		b.wait(5 * time.Minute)
		b.wantRunning("a")
		if why, err := b.s.whyQueued(b.t.Context(), "a"); err != nil || len(why) != 1 || why[0].Reasons[0] != "the run that it replaces has been told to end and has not ended yet" {
			b.t.Errorf("it waits because %+v, %v", why, err)
		}
		b.restart()
		b.wait(5 * time.Minute)
		if n := len(b.cluster.launched()); n != 1 {
			b.t.Fatalf("%d tasks were launched, and the first lives", n)
		}
		b.cluster.finish(b.cluster.running()[0], mesos.TASK_FAILED)
		b.wait(time.Second)
		b.wantHistory("a", "scheduled killed 00:00:10")
		b.wantRunning("a")
	})
	scenario(t, "replace ends the attempts that would follow", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(strings.Replace(job(`"overlap":"replace","retryDelay":300`), `"retries":0`, `"retries":5`, 1))
		b.wait(80 * time.Second)
		b.wantHistory("a", "scheduled failed 00:00:10", "retry killed attempt 1 00:05:10", "scheduled failed 00:01:10")
		b.restart()
		b.wait(10 * time.Second)
		b.wantHistory("a", "scheduled failed 00:00:10", "retry killed attempt 1 00:05:10", "scheduled failed 00:01:10")
	})
	scenario(t, "replace does not end a run by hand, nor its further attempts", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(strings.Replace(job(`"overlap":"replace","retryDelay":5`), `"retries":0`, `"retries":1`, 1))
		b.runNow("a")
		b.cluster.behave(taking(100 * time.Second))
		b.wait(80 * time.Second)
		b.wantHistory("a", "manual failed 00:00:00", "scheduled skipped 00:00:10")
		b.wait(5 * time.Minute)
		b.wantHistory("a", "manual failed 00:00:00", "scheduled skipped 00:00:10", "scheduled skipped 00:01:10", "retry finished attempt 1 00:00:05", "scheduled killed 00:02:10", "scheduled finished 00:03:10")
	})
	scenario(t, "replace ends a run that awaits its callback", func(b *bench) {
		b.start().post(strings.Replace(job(`"overlap":"replace","async":true`), "R4", "R2", 1))
		b.wait(80 * time.Second)
		b.wantHistory("a", "scheduled killed 00:00:10")
		b.wantState("a", "running")
	})
	scenario(t, "queue", func(b *bench) {
		begin(b, `"overlap":"queue"`).wait(150 * time.Second)
		b.restart()
		b.wait(5 * time.Minute)
		b.wantHistory("a", "scheduled finished 00:00:10", "scheduled finished 00:01:10", "scheduled finished 00:02:10", "scheduled finished 00:03:10")
	})
	scenario(t, "queue waits until the last attempt is over", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(strings.Replace(job(`"overlap":"queue","retryDelay":100`), `"retries":0`, `"retries":1`, 1))
		b.wait(90 * time.Second)
		b.wantHistory("a", "scheduled failed 00:00:10")
		b.restart()
		b.wait(10 * time.Minute)
		b.wantHistory("a", "scheduled failed 00:00:10", "retry failed attempt 1 00:01:50", "scheduled failed 00:01:10", "retry failed attempt 1 00:03:30",
			"scheduled failed 00:02:10", "retry failed attempt 1 00:05:10", "scheduled failed 00:03:10", "retry failed attempt 1 00:06:50")
	})
	scenario(t, "queue holds a hundred", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(`{"name":"a","command":"x","schedule":"R105/2000-01-01T00:00:10Z/PT10S","epsilon":"PT30S","overlap":"queue"}`)
		b.wait(20 * time.Minute)
		if runs := b.s.view().job("a").runs; len(runs) != 1+maxWaiting || clockOf(runs[len(runs)-1].Due) != "00:16:50" {
			b.t.Errorf("%d runs are open, the newest of %s", len(runs), clockOf(runs[len(runs)-1].Due))
		}
		b.wantHistory("a", "scheduled skipped 00:17:00", "scheduled skipped 00:17:10", "scheduled skipped 00:17:20", "scheduled skipped 00:17:30")
	})
	scenario(t, "queue waits for the callback of an async run", func(b *bench) {
		b.start().post(strings.Replace(job(`"overlap":"queue","async":true`), "R4", "R2", 1))
		b.wait(80 * time.Second)
		runs := b.s.view().job("a").runs
		if len(runs) != 2 || runs[0].State != runAwaiting || runs[1].State != runQueued {
			b.t.Fatalf("runs %+v, want one that awaits its callback and one that waits for it", runs)
		}
		b.do("finish", b.s.finishTask(b.t.Context(), runs[0].ID, 0))
		b.wantHistory("a", "scheduled finished 00:00:10")
	})
	scenario(t, "allow", func(b *bench) {
		begin(b, `"overlap":"allow"`).wait(75 * time.Second)
		b.wantRunning("a", "a")
		if !b.job("a").Concurrent || !strings.Contains(b.store.value("J_a"), `"concurrent":true`) {
			b.t.Error("the job is not concurrent for JVM versions")
		}
	})
	scenario(t, "allow up to a bound, and there as delay", func(b *bench) {
		b.cluster.behave(taking(140 * time.Second))
		b.start().post(job(`"overlap":"allow","maxConcurrent":2`))
		b.wait(135 * time.Second) // the third is due
		b.wantRunning("a", "a")
		b.restart()
		b.wait(10 * time.Minute)
		b.wantHistory("a", "scheduled finished 00:00:10", "scheduled finished 00:01:10", "scheduled finished 00:02:10", "scheduled finished 00:03:10")
		b.post(strings.Replace(job(`"overlap":"allow","maxConcurrent":2`), "R4/2000-01-01T00:00:10Z", "R4/2000-01-01T01:00:10Z", 1))
		b.cluster.behave(taking(170 * time.Second))
		b.wait(2 * time.Hour)
		b.wantReasons("a", "skipped 1 01:02:10: the job was still running when epsilon PT30S was over")
	})
	scenario(t, "runs by hand wait for a place", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(strings.Replace(job(`"overlap":"allow","maxConcurrent":2`), "R4", "R0", 1))
		for range 3 {
			b.runNow("a")
		}
		b.wait(time.Hour)
		b.wantRunning("a", "a")
		if why, err := b.s.whyQueued(b.t.Context(), "a"); err != nil || len(why) != 1 || !strings.Contains(why[0].Reasons[0], "which are 2") {
			b.t.Errorf("it waits because %+v, %v", why, err)
		}
	})
}

// Of dependent occurrences those that are to wait do so in the generations, and of others the newest counts.
func TestOverlapOfDependentJobs(t *testing.T) {
	t.Parallel()
	for how, want := range map[string][]string{
		overlapDelay:   {"finished", "finished", "finished"},
		overlapQueue:   {"finished", "finished", "finished"},
		overlapAllow:   {"finished", "finished", "finished"},
		overlapSkip:    {"skipped", "skipped", "finished"},
		overlapReplace: {"killed", "killed", "finished"},
	} {
		scenario(t, how, func(b *bench) {
			b.start().post(parked)
			b.post(`{"name":"child","command":"x","parents":["a"],"overlap":"` + how + `"}`)
			b.cluster.behave(taking(100 * time.Second))
			for range 3 {
				b.do("success", b.s.markSuccess(b.t.Context(), "a"))
				b.wait(10 * time.Second)
			}
			b.wait(10 * time.Minute)
			var got []string
			for _, r := range slices.Backward(b.s.view().job("child").history) {
				got = append(got, string(r.State))
			}
			if !slices.Equal(got, want) {
				b.t.Errorf("occurrences ended as %q, want %q", got, want)
			}
		})
	}
}

// overlap decides over what a dialect keeps or lists of concurrent, until a JVM version changes that.
func TestOverlapAndConcurrent(t *testing.T) {
	t.Parallel()
	job := func(members string) string {
		return `{"name":"a","command":"x","schedule":"R/2001-01-01T00:00:10Z/P1D"` + members + `}`
	}
	want := func(b *bench, overlap string, concurrent bool) {
		b.t.Helper()
		j := b.job("a")
		said := ""
		if j.Policy != nil {
			said = j.Policy.Overlap
		}
		if said != overlap || j.Concurrent != concurrent {
			b.t.Errorf("overlap is %q and concurrent %t, want %q and %t", said, j.Concurrent, overlap, concurrent)
		}
	}
	scenario(t, "documents", func(b *bench) {
		b.start().post(job(`,"concurrent":true`))
		b.post(job(`,"overlap":"skip"`)) // concurrent is kept of what dialect 2 does not show
		want(b, overlapSkip, false)
		b.post(job(`,"overlap":"allow","concurrent":false`))
		want(b, overlapAllow, true)
		b.post(job(""))
		want(b, "", false)
	})
	for _, tt := range []struct {
		before, changed, overlap string
		concurrent               bool
	}{
		{`,"overlap":"allow","maxConcurrent":2`, `"concurrent":false`, overlapDelay, false},
		{`,"overlap":"skip"`, `"concurrent":true`, overlapAllow, true},
		{`,"overlap":"skip"`, `"concurrent":false`, overlapSkip, false},
	} {
		scenario(t, "a JVM version has written "+tt.changed+" over"+tt.before, func(b *bench) {
			b.start().post(job(tt.before))
			b.end()
			other := strings.NewReplacer(`"concurrent":true`, tt.changed, `"concurrent":false`, tt.changed).Replace(b.store.value("J_a"))
			b.store.foreign("J_a", []byte(other))
			b.start()
			want(b, tt.overlap, tt.concurrent)
		})
	}
}
