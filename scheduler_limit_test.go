package main

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// wantTexts holds what is said of the ended runs of a job, oldest first, against what was the case.
func (b *bench) wantTexts(name string, want ...string) {
	b.t.Helper()
	var got []string
	for _, r := range slices.Backward(b.s.view().job(name).history) {
		got = append(got, r.Reason)
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("the runs of %s say %q, want %q", name, got, want)
	}
}

// The limit of a run holds though no agent of these clusters knows of it.
func TestTimeLimit(t *testing.T) {
	t.Parallel()
	const job = `{"name":"a","command":"x","schedule":"R1/2000-01-01T00:00:10Z/P1D","retries":0,"maxCompletionTime":600`
	const over = "over its time limit of 10 min"
	scenario(t, "ends a run that hangs, which is a failure and tried again", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(strings.Replace(job, `"retries":0`, `"retries":1,"retryDelay":"PT5M"`, 1) + `}`)
		b.wait(10*time.Minute + 9*time.Second)
		b.wantState("a", "running")
		b.wait(time.Second)
		b.wantHistory("a", "scheduled failed 00:00:10")
		b.wait(5 * time.Minute)
		b.wantRunning("a")
		b.wait(10 * time.Minute)
		b.wantHistory("a", "scheduled failed 00:00:10", "retry failed attempt 1 00:15:10")
		b.wantTexts("a", over, over)
	})
	scenario(t, "goes on with the next leader, from the run's own start", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(job + `}`)
		b.wait(8 * time.Minute)
		b.restart()
		b.wait(2*time.Minute + 9*time.Second)
		b.wantState("a", "running")
		b.wait(time.Second)
		b.wantTexts("a", over)
	})
	scenario(t, "has passed while nobody led", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(job + `}`)
		b.wait(time.Minute)
		b.end()
		time.Sleep(time.Hour)
		b.start().wait(time.Second)
		b.wantTexts("a", over)
	})
	scenario(t, "goes on when the leader goes down between the kill and its answer", func(b *bench) {
		b.cluster.behave(forEver)
		b.cluster.intercept(func(call *sched.Call) (bool, error) { return call.Type != sched.Call_KILL, nil })
		b.start().post(job + `}`)
		b.wait(11 * time.Minute)
		b.wantState("a", "running")
		b.cluster.intercept(nil)
		b.restart()
		b.wait(20 * time.Second)
		b.wantTexts("a", over)
	})
	for _, state := range []mesos.TaskState{mesos.TASK_FINISHED, mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_GONE} {
		scenario(t, "decides whatever the task ends as, which is "+state.String(), func(b *bench) {
			b.cluster.behave(forEver)
			b.cluster.intercept(func(call *sched.Call) (bool, error) { return call.Type != sched.Call_KILL, nil })
			b.start().post(job + `}`)
			b.wait(11 * time.Minute)
			b.wantState("a", "running")
			b.cluster.finish(b.cluster.running()[0], state)
			b.wait(time.Second)
			b.wantHistory("a", "scheduled failed 00:00:10")
			b.wantTexts("a", over)
			if j := b.job("a"); j.ErrorCount != 1 || j.SuccessCount != 0 {
				b.t.Errorf("%d failures and %d successes, want a failure", j.ErrorCount, j.SuccessCount)
			}
		})
	}
	for _, when := range []time.Duration{9 * time.Minute, 11 * time.Minute} {
		scenario(t, "gives way to a person who kills the run, after "+when.String(), func(b *bench) {
			b.cluster.behave(forEver)
			b.cluster.intercept(func(call *sched.Call) (bool, error) { return call.Type != sched.Call_KILL, nil })
			b.start().post(job + `}`)
			b.wait(when)
			b.do("kill", b.s.killJob(b.t.Context(), "a"))
			b.wait(3 * time.Minute)
			b.cluster.finish(b.cluster.running()[0], mesos.TASK_FAILED)
			b.wait(time.Second)
			b.wantHistory("a", "scheduled killed 00:00:10")
			b.wantTexts("a", string(killRequested))
		})
	}
	scenario(t, "holds for an async run until its callback", func(b *bench) {
		b.start().post(job + `,"async":true}`)
		b.wait(time.Minute)
		b.restart()
		b.wait(9*time.Minute + 9*time.Second)
		b.wantState("a", "running")
		b.wait(time.Second)
		b.wantHistory("a", "scheduled failed 00:00:10")
		b.wantTexts("a", over)
	})
	scenario(t, "is the one that the job has now", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(job + `}`)
		b.wait(time.Minute)
		b.post(strings.Replace(job, "600", `"PT2M"`, 1) + `}`)
		b.wait(70 * time.Second)
		b.wantTexts("a", "over its time limit of 2 min")
	})
	scenario(t, "is told the same way by an agent that watches it too", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(job + `}`)
		b.wait(9 * time.Minute)
		s := status(mesos.TASK_FAILED)
		s.Reason = mesos.REASON_MAX_COMPLETION_TIME_REACHED.Enum()
		b.cluster.tell(b.cluster.running()[0], s)
		b.wait(time.Second)
		b.wantTexts("a", over)
		b.cluster.finish(b.cluster.running()[0], mesos.TASK_FAILED)
	})
}

// A task has killGrace to end by itself: at its limit always, otherwise if its job says it.
func TestKillGrace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, members string
		asked         bool
		want          time.Duration // of the KILL; 0 for none
	}{
		{"three seconds at the limit", `"maxCompletionTime":60`, false, 3 * time.Second},
		{"what the job says at the limit", `"maxCompletionTime":60,"killGrace":"PT1M"`, false, time.Minute},
		{"what the job says when a person kills it", `"killGrace":90`, true, 90 * time.Second},
		{"that of the agent when a person kills it", `"owner":""`, true, 0},
	} {
		scenario(t, tt.name, func(b *bench) {
			var graces []time.Duration
			var task mesos.TaskInfo
			b.cluster.behave(func(info mesos.TaskInfo) (time.Duration, mesos.TaskStatus) { task = info; return forEver(info) })
			b.cluster.intercept(func(call *sched.Call) (bool, error) {
				if call.Type == sched.Call_KILL {
					graces = append(graces, time.Duration(call.Kill.GetKillPolicy().GetGracePeriod().GetNanoseconds()))
				}
				return true, nil
			})
			b.start().post(`{"name":"a","command":"x","schedule":"R1/2000-01-01T00:00:10Z/P1D",` + tt.members + `}`)
			b.wait(time.Minute)
			if tt.asked {
				b.do("kill", b.s.killJob(b.t.Context(), "a"))
			}
			b.wait(time.Minute)
			synctest.Wait()
			if len(graces) != 1 || graces[0] != tt.want {
				b.t.Errorf("KILL with %v, want %v", graces, tt.want)
			}
			said := strings.Contains(tt.members, "killGrace")
			if got := time.Duration(task.GetKillPolicy().GetGracePeriod().GetNanoseconds()); said && got != tt.want || !said && task.KillPolicy != nil {
				b.t.Errorf("the task has a grace period of %v", got)
			}
		})
	}
}

// Attempts follow each other as the job says, and for every occurrence.
func TestAttemptsAreSpacedAsTheJobSays(t *testing.T) {
	t.Parallel()
	scenario(t, "with growing pauses, kept over a fail-over, also after a series has failed", func(b *bench) {
		b.cluster.behave(failing)
		b.cfg.failureRetry = time.Minute
		b.start().post(`{"name":"a","command":"x","schedule":"R2/2000-01-01T00:00:00Z/PT1H","retries":3,"retryDelay":"PT1M","retryBackoff":4,"retryDelayMax":"PT10M"}`)
		b.wait(2 * time.Minute)
		if next := b.s.view().job("a").runs; len(next) != 1 || clockOf(next[0].Due) != "00:05:00" {
			b.t.Errorf("the next attempt is shown as %+v, want one of 00:05:00", next)
		}
		b.restart()
		b.wait(58 * time.Minute)
		one := []string{"scheduled failed 00:00:00", "retry failed attempt 1 00:01:00", "retry failed attempt 2 00:05:00", "retry failed attempt 3 00:15:00"}
		b.wantHistory("a", append(one, "scheduled failed 01:00:00")...)
		b.wait(15 * time.Minute)
		b.wantHistory("a", append(one, "scheduled failed 01:00:00", "retry failed attempt 1 01:01:00", "retry failed attempt 2 01:05:00", "retry failed attempt 3 01:15:00")...)
	})
	scenario(t, "and as in the original if it says nothing", func(b *bench) {
		b.cluster.behave(failing)
		b.cfg.failureRetry = time.Minute
		b.start().post(`{"name":"a","command":"x","schedule":"R2/2000-01-01T00:00:00Z/PT1H","retries":2}`)
		b.wait(2 * time.Hour)
		b.wantHistory("a", "scheduled failed 00:00:00", "retry failed attempt 1 00:01:00", "retry failed attempt 2 00:02:00", "scheduled failed 01:00:00")
	})
}
