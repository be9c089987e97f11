package main

import (
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
