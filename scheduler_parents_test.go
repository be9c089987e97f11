package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A job that runs after its parents may wait for a failure, or for any end.
func TestRunOn(t *testing.T) {
	t.Parallel()
	parent := func(name, members string) string {
		return `{"name":"` + name + `","command":"x","schedule":"R/2001-01-01T00:00:00Z/P1D","retries":0` + members + `}`
	}
	child := func(on string, parents ...string) string {
		return `{"name":"child","command":"x","runOn":"` + on + `","parents":["` + strings.Join(parents, `","`) + `"]}`
	}
	// happen lets a parent come to an end of some kind.
	happen := func(b *bench, name, what string) {
		b.t.Helper()
		switch what {
		case "mark":
			b.do("success", b.s.markSuccess(b.t.Context(), name))
			return
		case "killed waiting":
			b.cluster.resize(0)
		}
		b.cluster.behave(func(info mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			_, _, job, _, _ := parseRunID(info.TaskID.Value)
			switch {
			case job == "child" || what == "success":
				return taking(0)(info)
			case what == "failure":
				return failing(info)
			}
			return forEver(info)
		})
		b.runNow(name)
		b.wait(time.Second)
		switch what {
		case "killed", "killed waiting":
			b.do("kill", b.s.killJob(b.t.Context(), name))
			b.cluster.resize(10)
		case "lost":
			b.cluster.finish(b.cluster.running()[0], mesos.TASK_LOST)
		}
		b.wait(time.Second)
	}
	runs := func(b *bench) int { return len(b.s.view().job("child").history) }
	for on, want := range map[string]map[string]int{
		runOnSuccess: {"success": 1, "failure": 0, "lost": 0, "killed": 0, "killed waiting": 0, "mark": 1},
		runOnFailure: {"success": 0, "failure": 1, "lost": 1, "killed": 0, "killed waiting": 0, "mark": 0},
		runOnEnd:     {"success": 1, "failure": 1, "lost": 1, "killed": 1, "killed waiting": 0, "mark": 1},
	} {
		for what, n := range want {
			scenario(t, on+" after "+what, func(b *bench) {
				b.start().post(parent("a", ""))
				b.post(child(on, "a"))
				happen(b, "a", what)
				if got := runs(b); got != n {
					b.t.Errorf("%d runs, want %d", got, n)
				}
				b.restart()
				b.wait(time.Minute)
				if got := runs(b); got != n {
					b.t.Errorf("%d runs with the next leader, want %d", got, n)
				}
			})
		}
	}
	for on, n := range map[string]int{runOnSuccess: 1, runOnFailure: 1, runOnEnd: 1} {
		scenario(t, "a soft failure is one for "+on, func(b *bench) {
			b.start().post(parent("a", `,"softError":true`))
			b.post(child(on, "a"))
			happen(b, "a", "failure")
			if got := runs(b); got != n {
				b.t.Errorf("%d runs, want %d", got, n)
			}
		})
	}
	scenario(t, "each failure counts, also those while nobody could run the child", func(b *bench) {
		b.start().post(parent("a", ""))
		b.post(child(runOnFailure, "a"))
		b.post(`{"name":"b","command":"x","parents":["child"]}`)
		for range 3 {
			happen(b, "a", "failure")
			b.restart()
		}
		if got := runs(b); got != 3 || len(b.s.view().job("b").history) != 3 {
			b.t.Errorf("%d runs, want 3, and as many of its own child", got)
		}
	})
	scenario(t, "attempts that others follow do not count", func(b *bench) {
		b.start().post(parent("a", `,"retryDelay":60`))
		b.post(strings.Replace(parent("a", `,"retryDelay":60`), `"retries":0`, `"retries":1`, 1))
		b.post(child(runOnFailure, "a"))
		happen(b, "a", "failure")
		if got := runs(b); got != 0 {
			b.t.Errorf("%d runs after the first attempt", got)
		}
		b.wait(2 * time.Minute)
		if got := runs(b); got != 1 {
			b.t.Errorf("%d runs after the last, want 1", got)
		}
	})
	scenario(t, "several parents have all ended, one of them as a failure", func(b *bench) {
		b.start().post(parent("a", ""))
		b.post(parent("b", ""))
		b.post(child(runOnFailure, "a", "b"))
		for _, step := range []struct {
			name, what string
			want       int
		}{{"a", "success", 0}, {"b", "success", 0}, {"a", "failure", 1}, {"a", "success", 1}, {"a", "failure", 1}, {"b", "success", 2}, {"b", "killed", 2}, {"a", "failure", 3}} {
			happen(b, step.name, step.what)
			if got := runs(b); got != step.want {
				b.t.Fatalf("%d runs after %s of %s, want %d", got, step.what, step.name, step.want)
			}
			b.restart()
		}
	})
	scenario(t, "another runOn starts from now", func(b *bench) {
		b.start().post(parent("a", ""))
		b.post(child(runOnSuccess, "a"))
		happen(b, "a", "failure")
		b.post(child(runOnFailure, "a"))
		b.wait(time.Second)
		if got := runs(b); got != 0 {
			b.t.Fatalf("%d runs for what was before", got)
		}
		happen(b, "a", "failure")
		b.post(child(runOnFailure, "a")) // posted again it goes on
		happen(b, "a", "success")
		b.post(child(runOnSuccess, "a"))
		b.wait(time.Second)
		if got := runs(b); got != 1 {
			b.t.Fatalf("%d runs, want that for the failure", got)
		}
		happen(b, "a", "success")
		if got := runs(b); got != 2 {
			b.t.Errorf("%d runs, want another for the success", got)
		}
	})
}

// JVM versions would run a job that waits for failures at every success: to them it is disabled.
func TestRunOnIsHiddenFromJVMVersions(t *testing.T) {
	t.Parallel()
	begin := func(b *bench, members string) {
		b.start().post(parked)
		b.post(`{"name":"child","command":"x","runOn":"failure","parents":["a"]` + members + `}`)
		b.runNow("child")
		b.wait(time.Second)
		b.end()
		if stored := b.store.value("J_child"); !strings.Contains(stored, `"disabled":true`) {
			b.t.Errorf("JVM versions read %s", stored)
		}
	}
	want := func(b *bench, disabled bool) {
		b.t.Helper()
		if got := b.job("child").Disabled; got != disabled {
			b.t.Errorf("disabled is %t, want %t", got, disabled)
		}
	}
	scenario(t, "and enabled here", func(b *bench) {
		begin(b, "")
		b.start()
		want(b, false)
		b.store.foreign("J_child", []byte(strings.Replace(b.store.value("J_child"), `"successCount":1`, `"successCount":2`, 1)))
		b.restart()
		want(b, false)
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		if stored := b.store.value("J_child"); !strings.Contains(stored, `"disabled":false`) {
			b.t.Errorf("without runOn JVM versions read %s", stored)
		}
		b.restart()
		want(b, false)
	})
	scenario(t, "and disabled here", func(b *bench) {
		begin(b, `,"disabled":true`)
		b.start()
		want(b, true)
		b.restart()
		want(b, true)
	})
	scenario(t, "one that has a schedule now stays disabled", func(b *bench) {
		begin(b, "")
		b.store.foreign("J_child", []byte(strings.Replace(b.store.value("J_child"), `"parents":["a"]`, `"schedule":"R/2000-01-01T00:00:00Z/PT1H","scheduleTimeZone":""`, 1)))
		b.start()
		want(b, true)
		if b.job("child").Dependent {
			b.t.Error("it has parents")
		}
	})
}

// A job that waits for failures takes over no schedule when its parents are deleted.
func TestRunOnTakesOverNoSchedule(t *testing.T) {
	t.Parallel()
	scenario(t, "of its last parent", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T01:00:00Z/PT1H"}`)
		b.post(`{"name":"child","command":"x","runOn":"end","parents":["a"]}`)
		b.post(`{"name":"other","command":"x","parents":["a"]}`)
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		for range 2 {
			j, v := b.job("child"), b.s.view().job("child")
			if j.Dependent || !j.Disabled || !strings.HasPrefix(j.Schedule, "R0/") || !strings.Contains(v.notice, "its parent a was deleted; it ran on end") {
				b.t.Errorf("the child is left as %s, notice %q", j.appendJSON(nil, dialect2), v.notice)
			}
			if other := b.job("other"); other.Dependent || other.Disabled {
				b.t.Error("another child does not take the schedule over")
			}
			b.restart()
		}
		b.wait(3 * time.Hour)
		b.wantHistory("child")
		b.post(`{"name":"b","command":"x","schedule":"R0/2000-01-01T01:00:00Z/PT1H"}`)
		b.post(`{"name":"child","command":"x","runOn":"end","parents":["b"]}`)
		b.runNow("b")
		b.wait(time.Second)
		b.wantHistory("child", "dependent finished 03:00:00")
	})
	scenario(t, "and has those that the last one had", func(b *bench) {
		b.start().post(parked)
		b.post(`{"name":"mid","command":"x","parents":["a"]}`)
		b.post(`{"name":"child","command":"x","runOn":"failure","parents":["mid"]}`)
		b.do("delete", b.s.deleteJob(b.t.Context(), "mid"))
		if j := b.job("child"); !slices.Equal(j.Parents, []string{"a"}) || j.Disabled {
			b.t.Errorf("the child is left as %s", j.appendJSON(nil, dialect2))
		}
		b.cluster.behave(failing)
		b.post(strings.Replace(parked, `"command"`, `"retries":0,"command"`, 1))
		b.runNow("a")
		b.wait(time.Second)
		if n := len(b.s.view().job("child").runs) + len(b.s.view().job("child").history); n == 0 {
			b.t.Error("it does not run after the failure of its new parent")
		}
	})
}

// A run names the runs that have caused it, whoever led when they ended.
func TestCauses(t *testing.T) {
	t.Parallel()
	parent := func(name string) string {
		return `{"name":"` + name + `","command":"x","schedule":"R/2001-01-01T00:00:00Z/P1D","retries":0}`
	}
	// end runs a parent to its end and returns the id of the run.
	end := func(b *bench, name string, how func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus)) string {
		b.t.Helper()
		b.cluster.behave(func(info mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			if _, _, job, _, _ := parseRunID(info.TaskID.Value); job == name {
				return how(info)
			}
			return taking(0)(info)
		})
		id := b.runNow(name)
		b.wait(2 * time.Second)
		return id
	}
	want := func(b *bench, newest int, causes ...runCause) {
		b.t.Helper()
		r := b.s.view().job("child").history[newest]
		if r.Kind != kindDependent || !slices.Equal(r.Causes, causes) || r.MoreCauses != 0 {
			b.t.Errorf("run %q, %s, is caused by %v and %d more, want %v", r.ID, r.Kind, r.Causes, r.MoreCauses, causes)
		}
	}
	for on, how := range map[string]func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus){runOnSuccess: taking(0), runOnEnd: failing, runOnFailure: failing} {
		scenario(t, "of a job that runs on "+on, func(b *bench) {
			b.start().post(parent("a"))
			b.post(`{"name":"child","command":"x","runOn":"` + on + `","parents":["a"]}`)
			first := end(b, "a", how)
			want(b, 0, runCause{"a", first})
			b.restart()
			second := end(b, "a", how)
			want(b, 0, runCause{"a", second})
			want(b, 1, runCause{"a", first})
		})
	}
	scenario(t, "are found by a leader that was not there, one after the other", func(b *bench) {
		b.start().post(parent("a"))
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		b.post(`{"name":"child","command":"x","parents":["a"],"cpus":4000}`) // more than there is
		ids := []string{end(b, "a", taking(0)), end(b, "a", taking(0)), end(b, "a", taking(0))}
		b.restart()
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		b.cluster.resize(10)
		b.wait(2 * time.Minute)
		b.restart()
		b.wait(2 * time.Minute)
		for i, id := range ids {
			want(b, len(ids)-1-i, runCause{"a", id})
		}
	})
	scenario(t, "are the newest of several parents", func(b *bench) {
		b.start().post(parent("a"))
		b.post(parent("b"))
		b.post(`{"name":"child","command":"x","parents":["a","b"]}`)
		end(b, "a", taking(0))
		again := end(b, "a", taking(0))
		b.restart()
		last := end(b, "b", taking(0))
		want(b, 0, runCause{"a", again}, runCause{"b", last})
	})
	scenario(t, "are the failure of one parent and the end of the others", func(b *bench) {
		b.start().post(parent("a"))
		b.post(parent("b"))
		b.post(`{"name":"child","command":"x","runOn":"failure","parents":["a","b"]}`)
		failed := end(b, "a", failing)
		end(b, "a", taking(0))
		b.restart()
		last := end(b, "b", taking(0))
		want(b, 0, runCause{"a", failed}, runCause{"b", last})
	})
	scenario(t, "are no run if somebody has marked the job as successful", func(b *bench) {
		b.start().post(parent("a"))
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		end(b, "a", taking(0))
		b.do("mark", b.s.markSuccess(b.t.Context(), "a"))
		b.wait(time.Second)
		want(b, 0, runCause{"a", ""})
	})
	scenario(t, "are handed on to the attempts that follow", func(b *bench) {
		b.start().post(parent("a"))
		b.post(`{"name":"child","command":"x","parents":["a"],"retries":1,"retryDelay":60}`)
		b.cluster.behave(func(info mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			if _, _, job, _, _ := parseRunID(info.TaskID.Value); job == "child" {
				return failing(info)
			}
			return taking(0)(info)
		})
		id := b.runNow("a")
		b.wait(time.Second)
		b.restart()
		b.wait(2 * time.Minute)
		h := b.s.view().job("child").history
		if len(h) != 2 || h[0].RetryOf != h[1].ID || h[1].RetryOf != "" || !slices.Equal(h[0].Causes, []runCause{{"a", id}}) {
			b.t.Errorf("the attempts are %+v", h)
		}
	})
	scenario(t, "are bounded", func(b *bench) {
		b.start()
		var parents []string
		for i := range maxCauses + 5 {
			parents = append(parents, fmt.Sprint("parent", i))
			b.post(parent(parents[i]))
		}
		b.post(`{"name":"child","command":"x","parents":["` + strings.Join(parents, `","`) + `"]}`)
		last := ""
		for _, name := range parents {
			last = end(b, name, taking(0))
		}
		r := b.s.view().job("child").history[0]
		if len(r.Causes) != maxCauses || r.MoreCauses != 5 || r.Causes[0].Run != last {
			b.t.Errorf("the run names %d parents and %d more, and as the last one %v", len(r.Causes), r.MoreCauses, r.Causes)
		}
	})
}

// endedBefore counts the runs of a job that ended up to an instant.
func endedBefore(v *jobView, at int64) (n int) {
	for _, r := range v.history {
		if r.Ended <= at {
			n++
		}
	}
	return n
}

// compareCauses expects each run of a dependent job to name a run of each parent, which had ended as the job waits for
// it before, and to name none that another run of the job names. Where histories are short, a child that has waited for long
// may know that there was one, and no longer which.
func (m *model) compareCauses(jobs map[string]*jobView) {
	ended := map[string]*Run{}
	for _, v := range jobs {
		for _, r := range v.history {
			ended[r.ID] = r
		}
	}
	counts := map[string][]runState{
		runOnSuccess: {runFinished},
		runOnFailure: {runFailed, runLost, runFinished, runKilled}, // of several parents one has failed
		runOnEnd:     {runFailed, runLost, runFinished, runKilled},
	}
	checked, first := 0, map[string]string{}
	for _, r := range ended {
		j := m.ledger.posted[r.ID]
		if r.Kind != kindDependent || j == nil || r.Count != 0 {
			continue
		}
		var named []string
		failed := false
		for _, c := range r.Causes {
			named = append(named, c.Job)
			p := ended[c.Run]
			if p == nil {
				if !m.deleted[c.Job] && (c.Run != "" || endedBefore(jobs[c.Job], r.Queued) <= m.cfg.historyKeep) {
					m.t.Errorf("run %q is caused by run %q of %q, which is not in the history", r.ID, c.Run, c.Job)
				}
				failed = true // or not: it is gone
				continue
			}
			failed = failed || p.State == runFailed || p.State == runLost
			if p.Job != c.Job || p.Ended > r.Queued || !slices.Contains(counts[j.runsOn()], p.State) {
				m.t.Errorf("run %q, on %s, queued at %d, is caused by run %q of %q, %s at %d", r.ID, j.runsOn(), r.Queued, p.ID, p.Job, p.State, p.Ended)
			}
			if other, taken := first[r.Job+" "+c.Run]; taken {
				m.t.Errorf("run %q has caused both %q and %q", c.Run, other, r.ID)
			}
			first[r.Job+" "+c.Run] = r.ID
			checked++
		}
		if parents := slices.Sorted(slices.Values(j.Parents)); !slices.Equal(slices.Sorted(slices.Values(named)), parents) {
			m.t.Errorf("run %q is caused by runs of %q, and its parents were %q", r.ID, named, parents)
		}
		if j.runsOn() == runOnFailure && !failed {
			m.t.Errorf("run %q waits for a failure, and its causes %v are none", r.ID, r.Causes)
		}
	}
	m.t.Logf("%d causes checked", checked)
}
