package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// yearly is a job that is not due in any test.
func yearly(name string) string {
	return fmt.Sprintf(`{"name":%q,"command":"x","schedule":"R/2030-01-01T00:00:00Z/P1Y"}`, name)
}

func TestRetries(t *testing.T) {
	t.Parallel()
	scenario(t, "a failed run is tried again after failure_retry, and counts once", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(`{"name":"a","command":"x","schedule":"R1//PT24H","retries":2}`)
		b.wait(30 * time.Second)
		b.wantState("a", "queued")
		if got := b.job("a").ErrorCount; got != 0 {
			b.t.Errorf("errorCount before the last attempt = %d, want 0", got)
		}
		b.wait(2 * time.Minute)
		b.wantHistory("a", "scheduled failed 00:00:00", "retry failed attempt 1 00:01:00", "retry failed attempt 2 00:02:00")
		if j := b.job("a"); j.ErrorCount != 1 || j.ErrorsSinceLastSuccess != 1 || j.LastError != "2000-01-01T00:02:00.000Z" {
			b.t.Errorf("errorCount, errorsSinceLastSuccess, lastError = %d, %d, %q", j.ErrorCount, j.ErrorsSinceLastSuccess, j.LastError)
		}
	})
	scenario(t, "after a failure for good there are no retries until a success", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(`{"name":"a","command":"x","schedule":"R0//PT1H","retries":1}`)
		b.runNow("a")
		b.wait(5 * time.Minute)
		b.runNow("a")
		b.wait(5 * time.Minute)
		b.wantHistory("a", "manual failed 00:00:00", "retry failed attempt 1 00:01:00", "manual failed 00:05:00")
	})
	scenario(t, "a waiting retry survives a fail-over (A5)", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(`{"name":"a","command":"x","schedule":"R1//PT24H","retries":1}`)
		b.wait(10 * time.Second)
		b.restart()
		b.cluster.behave(nil)
		b.wait(time.Minute)
		b.wantHistory("a", "scheduled failed 00:00:00", "retry finished attempt 1 00:01:00")
	})
	scenario(t, "a retry keeps the arguments given for the run", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(parked)
		_, err := b.s.runJob(b.t.Context(), "a", "-v; x", true)
		b.do("run", err)
		b.wait(time.Minute)
		ids := b.cluster.launched()
		if len(ids) != 2 || !strings.HasSuffix(ids[0], ":0:a:-v x") || !strings.HasSuffix(ids[1], ":1:a:-v x") {
			b.t.Errorf("launched %q", ids)
		}
	})
	scenario(t, "disable_after_failures disables, and tells so instead of the failure", func(b *bench) {
		b.cluster.behave(failing)
		b.cfg.disableAfter = 2
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M","retries":0}`)
		b.wait(5 * time.Minute)
		b.wantHistory("a", "scheduled failed 00:01:00", "scheduled failed 00:02:00")
		var kinds []eventKind
		for _, e := range b.events {
			if e.Kind == eventRetriesExhausted || e.Kind == eventDisabled {
				kinds = append(kinds, e.Kind)
			}
		}
		if !slices.Equal(kinds, []eventKind{eventRetriesExhausted, eventDisabled}) || !b.job("a").Disabled {
			b.t.Errorf("events = %q, disabled = %t", kinds, b.job("a").Disabled)
		}
	})
	scenario(t, "a job that its failures have disabled starts nothing that still waits", func(b *bench) {
		b.cluster.behave(failing)
		b.cfg.disableAfter = 1
		b.start()
		b.cluster.resize(0)
		b.post(`{"name":"a","command":"x","schedule":"R0/2000-01-01T00:00:00Z/PT1H","retries":0}`)
		b.runNow("a")
		b.runNow("a")
		b.cluster.resize(10)
		b.wait(time.Minute)
		b.wantHistory("a", "manual failed 00:00:00", "manual skipped 00:00:00")
	})
	scenario(t, "a failure does not enable a job that was disabled meanwhile (A14)", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		id := b.runNow("a")
		b.post(`{"name":"a","command":"x","schedule":"R0/2000-01-01T00:00:00Z/PT1H","disabled":true,"retries":0}`)
		b.cluster.finish(id, mesos.TASK_FAILED)
		b.wait(0)
		if !b.job("a").Disabled {
			b.t.Error("the failure has enabled the job")
		}
	})
}

func TestDependentJobs(t *testing.T) {
	t.Parallel()
	const a, c = `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1Y"}`, `{"name":"c","command":"x","parents":["a"]}`
	b2 := strings.Replace(a, `"a"`, `"b"`, 1)
	const both = `{"name":"c","command":"x","parents":["a","b"]}`
	scenario(t, "a child runs after each success of its only parent", func(b *bench) {
		b.start().post(a)
		b.post(c)
		b.runNow("a")
		b.runNow("a")
		b.wait(0)
		b.wantHistory("c", "dependent finished 00:00:00", "dependent finished 00:00:00")
	})
	scenario(t, "no success is lost while the child is still running", func(b *bench) {
		b.start().post(a)
		b.post(c)
		b.cluster.behave(func(t mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			if strings.Contains(t.TaskID.Value, ":c:") {
				return time.Minute, status(mesos.TASK_FINISHED)
			}
			return 0, status(mesos.TASK_FINISHED)
		})
		for range 4 {
			b.runNow("a")
		}
		b.wait(time.Second)
		if n := len(b.s.view().job("c").runs); n != 2 {
			b.t.Errorf("%d runs of the child are open, want one running and one waiting", n)
		}
		b.restart()
		b.wait(10 * time.Minute)
		if got := b.history("c"); len(got) != 4 {
			b.t.Errorf("child ran %q, want four times", got)
		}
	})
	scenario(t, "a child of two waits for both, and uses up what they did", func(b *bench) {
		b.start().post(a)
		b.post(b2)
		b.post(both)
		b.runNow("a")
		b.runNow("a")
		b.wantHistory("c")
		b.runNow("b")
		b.wantHistory("c", "dependent finished 00:00:00")
		b.runNow("b")
		b.wantHistory("c", "dependent finished 00:00:00")
		b.runNow("a")
		b.wantHistory("c", "dependent finished 00:00:00", "dependent finished 00:00:00")
	})
	scenario(t, "what the parents did survives a fail-over (A18)", func(b *bench) {
		b.start().post(a)
		b.post(b2)
		b.post(both)
		b.runNow("a")
		b.restart()
		b.runNow("b")
		b.wantHistory("c", "dependent finished 00:00:00")
	})
	scenario(t, "what a parent did is stored no later than the child's run that uses it up", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(yearly("p"))
		b.post(`{"name":"c","command":"` + strings.Repeat("x", maxBatchSize) + `","parents":["p"]}`)
		id := b.runNow("p")
		// One turn of the loop changes the child and then its parent; its records take two commits.
		release := make(chan struct{})
		b.s.mailbox <- func() { <-release }
		b.s.mailbox <- func() { b.s.setJob(b.s.jobs["c"], b.s.jobs["c"].job.clone()) }
		b.s.mailbox <- func() { b.s.succeed(b.s.runs[id], "") }
		stored := map[string]int64{}
		b.store.before = func(records []record) error {
			for _, r := range records {
				var state jobState
				if name, ok := strings.CutPrefix(r.key, "go/job/"); ok && json.Unmarshal(r.value, &state) == nil {
					stored[name] = max(stored[name], state.Generation, state.Consumed["p"])
				}
			}
			if stored["c"] > stored["p"] {
				b.t.Errorf("the child has used up %d of %d", stored["c"], stored["p"])
			}
			return nil
		}
		close(release)
		b.wait(0)
		if stored["c"] != 1 || stored["p"] != 1 {
			b.t.Errorf("generations stored: %v, want 1 and 1", stored)
		}
	})
	scenario(t, "successes saved up are used when the run that waits is killed", func(b *bench) {
		b.start().post(yearly("p"))
		b.post(`{"name":"c","command":"x","parents":["p"],"cpus":1e7}`)
		b.runNow("p")
		b.runNow("p")
		b.do("kill", b.s.killJob(b.t.Context(), "c"))
		b.wantState("c", "queued")
		b.wantHistory("c", "dependent killed 00:00:00")
	})
	scenario(t, "a child that waited only for a parent that is deleted runs, once", func(b *bench) {
		b.start().post(yearly("p"))
		b.post(yearly("q"))
		b.post(`{"name":"c","command":"x","parents":["p","q"]}`)
		b.runNow("p")
		b.wait(time.Second)
		b.runNow("p")
		b.do("delete", b.s.deleteJob(b.t.Context(), "q"))
		b.wantHistory("c", "dependent finished 00:00:01")
	})
	scenario(t, "posting a child again keeps its edges and counts by value (A17)", func(b *bench) {
		b.start().post(a)
		b.post(b2)
		b.post(both)
		b.runNow("a")
		b.post(both)
		b.runNow("b")
		b.wantHistory("c", "dependent finished 00:00:00")
	})
	scenario(t, "a failing parent counts only with softError", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(strings.Replace(a, `"name"`, `"retries":0,"name"`, 1))
		b.post(strings.Replace(c, `"name"`, `"retries":0,"name"`, 1))
		b.runNow("a")
		b.wantHistory("c")
		b.post(strings.Replace(a, `"name"`, `"retries":0,"softError":true,"name"`, 1))
		b.runNow("a")
		b.wantHistory("c", "dependent failed 00:00:00")
	})
	scenario(t, "the runs of a disabled child are dropped, not saved up", func(b *bench) {
		b.start().post(a)
		b.post(strings.Replace(c, `"name"`, `"disabled":true,"name"`, 1))
		b.runNow("a")
		b.runNow("a")
		b.post(c)
		b.wait(0)
		b.wantHistory("c")
		b.runNow("a")
		b.wantHistory("c", "dependent finished 00:00:00")
	})
	scenario(t, "mark success feeds the children and makes no history (2.5)", func(b *bench) {
		b.start().post(a)
		b.post(c)
		b.do("mark", b.s.markSuccess(b.t.Context(), "a"))
		b.wantHistory("a")
		b.wantHistory("c", "dependent finished 00:00:00")
		if j := b.job("a"); j.SuccessCount != 1 || j.LastSuccess == "" {
			b.t.Errorf("successCount, lastSuccess = %d, %q", j.SuccessCount, j.LastSuccess)
		}
	})
	scenarioOn(t, inMemory, "thousands of children run", func(b *bench) {
		children := inForm(2_000, 10_000)
		b.start().post(a)
		for i := range children {
			b.s.mailbox <- func() {
				j, _ := decodeJob(fmt.Appendf(nil, `{"name":"c%d","command":"x","parents":["a"]}`, i), b.cfg.defaults, dialect2, nil)
				if err := b.s.put(nil, j); err != nil {
					b.t.Error(err)
				}
			}
		}
		b.wait(0)
		b.runNow("a")
		b.wait(time.Second)
		if got := len(b.cluster.launched()); got != children+1 {
			b.t.Errorf("launched %d tasks, want %d", got, children+1)
		}
	})
	for name, parents := range map[string]string{"unknown": `["nobody"]`, "itself": `["c"]`, "none": `[]`, "cycle": `["d"]`} {
		scenario(t, "parents are checked before anything changes: "+name, func(b *bench) {
			b.start().post(a)
			b.post(c)
			b.post(`{"name":"d","command":"x","parents":["c"]}`)
			if err := b.tryPost(`{"name":"c","command":"y","parents":` + parents + `}`); err == nil {
				b.t.Error("accepted")
			}
			b.wait(0)
			b.runNow("a")
			b.wantHistory("c", "dependent finished 00:00:00")
			b.wantHistory("d", "dependent finished 00:00:00")
		})
	}
}

// What somebody gives to a run is in its task and those of its further attempts, also with the next leader.
func TestOneRunHasWhatItIsGiven(t *testing.T) {
	t.Parallel()
	scenario(t, "over a fail-over and a failure", func(b *bench) {
		var tasks []mesos.TaskInfo
		b.cluster.behave(func(info mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			tasks = append(tasks, info)
			return failing(info)
		})
		b.cluster.resize(0)
		b.start().post(`{"name":"a","command":"echo","shell":false,"arguments":["own"],"environmentVariables":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"schedule":"R0/2000-01-01T00:00:00Z/P1D","retries":1}`)
		given := &Run{Args: "x y z", HasArgs: true, ArgList: []string{"x y", "z"}, Env: []EnvVar{{"B", "3"}, {"C", "4"}}, By: "me", Why: "because"}
		_, err := b.s.startRun(b.t.Context(), "a", given)
		b.do("run", err)
		b.restart()
		b.cluster.resize(10)
		b.wait(time.Hour)
		if len(tasks) != 2 {
			b.t.Fatalf("%d tasks, want two attempts", len(tasks))
		}
		for _, task := range tasks {
			var vars []string
			for _, v := range task.Command.Environment.Variables {
				if len(v.Name) == 1 {
					vars = append(vars, v.Name+"="+v.GetValue())
				}
			}
			if got := strings.Join(task.Command.Arguments, "|") + " " + strings.Join(vars, " "); got != "x y|z B=3 C=4 A=1" {
				b.t.Errorf("a task is given %s", got)
			}
		}
		for _, r := range b.s.view().job("a").history {
			if r.By != "me" || r.Why != "because" || len(r.Env) != 2 {
				b.t.Errorf("history has %+v", r)
			}
		}
		b.runNow("a")
		b.wait(time.Second)
		if got := tasks[2].Command.Arguments; len(got) != 1 || got[0] != "own" {
			b.t.Errorf("the next run is given %q", got)
		}
	})
}
