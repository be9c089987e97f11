package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func TestStatusUpdates(t *testing.T) {
	t.Parallel()
	outcomes := []struct {
		state      mesos.TaskState
		want       runState
		errorCount int64
	}{
		{mesos.TASK_FINISHED, runFinished, 0},
		{mesos.TASK_FAILED, runFailed, 1},
		{mesos.TASK_ERROR, runFailed, 1}, // A13: ignored by the original
		{mesos.TASK_LOST, runLost, 1},
		{mesos.TASK_DROPPED, runLost, 1},
		{mesos.TASK_GONE, runLost, 1},
		{mesos.TASK_GONE_BY_OPERATOR, runLost, 1},
		{mesos.TASK_UNKNOWN, runLost, 1},
		{mesos.TASK_KILLED, runKilled, 0},
	}
	for _, tt := range outcomes {
		scenario(t, tt.state.String()+" ends a running task as "+string(tt.want), func(b *bench) {
			b.cluster.behave(forEver)
			b.start().post(strings.Replace(parked, `"name"`, `"retries":0,"name"`, 1))
			id := b.runNow("a")
			b.cluster.finish(id, tt.state)
			b.wait(0)
			b.wantHistory("a", "manual "+string(tt.want)+" 00:00:00")
			if got := b.job("a").ErrorCount; got != tt.errorCount {
				b.t.Errorf("errorCount = %d, want %d", got, tt.errorCount)
			}
			if !slices.Contains(b.cluster.acknowledged(), id) {
				b.t.Error("the update was not acknowledged")
			}
		})
	}
	scenario(t, "a repeated terminal update changes nothing and is acknowledged again", func(b *bench) {
		b.start().post(parked)
		id := b.runNow("a")
		b.cluster.tell(id, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum(), UUID: []byte("again")})
		b.wait(0)
		if j := b.job("a"); j.SuccessCount != 1 {
			b.t.Errorf("successCount = %d, want 1", j.SuccessCount)
		}
		if n := len(b.cluster.acknowledged()); n != 2 {
			b.t.Errorf("%d acknowledgements, want 2", n)
		}
	})
	scenario(t, "STARTING and repeated RUNNING updates keep a run going (A12, A18)", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		id := b.runNow("a")
		for _, s := range []mesos.TaskState{mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_RUNNING, mesos.TASK_KILLING} {
			b.cluster.tell(id, status(s))
			b.wait(0)
			b.wantState("a", "running")
		}
	})
	scenario(t, "an update is acknowledged only when what it caused is stored", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		id := b.runNow("a")
		release := make(chan struct{})
		b.store.before = func([]record) error { <-release; return nil }
		b.cluster.finish(id, mesos.TASK_FINISHED)
		synctest.Wait()
		if len(b.cluster.acknowledged()) != 0 || b.job("a").SuccessCount != 0 {
			b.t.Error("the end of the task was visible before it was stored")
		}
		close(release)
		b.wait(0)
		if len(b.cluster.acknowledged()) != 1 || b.job("a").SuccessCount != 1 {
			b.t.Error("the end of the task was not made known")
		}
	})
	scenario(t, "foreign and malformed task ids are stepped over (A19)", func(b *bench) {
		b.start().post(parked)
		for _, id := range []string{"", "other", "ct:x:0:a:", "ct:1:0:nobody:", "ct:99999999999999999999:0:a:"} {
			b.cluster.tell(id, mesos.TaskStatus{State: mesos.TASK_RUNNING.Enum(), UUID: []byte("u")})
			b.cluster.tell(id, mesos.TaskStatus{State: mesos.TASK_FAILED.Enum()})
		}
		b.wait(0)
		b.runNow("a")
		b.wantHistory("a", "manual finished 00:00:00")
	})
	scenario(t, "a task of a run that has ended is killed whenever it shows itself", func(b *bench) {
		b.start().post(parked)
		id := b.runNow("a")
		before := b.cluster.called(sched.Call_KILL)
		b.cluster.tell(id, status(mesos.TASK_RUNNING))
		b.wait(0)
		if b.cluster.called(sched.Call_KILL) != before+1 {
			b.t.Error("no KILL for the task")
		}
		b.wantHistory("a", "manual finished 00:00:00")
	})
	scenario(t, "an unreachable task stays active, and is lost after the time allowed", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(strings.Replace(parked, `"name"`, `"retries":0,"name"`, 1))
		id := b.runNow("a")
		b.cluster.tell(id, status(mesos.TASK_UNREACHABLE))
		b.wait(9 * time.Minute)
		b.wantState("a", "running")
		b.wait(time.Minute + time.Second)
		b.wantHistory("a", "manual lost 00:00:00")
		b.wantRunning() // it was killed, should it live
	})
	scenario(t, "the time allowed to an unreachable task goes on with a new leader", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(strings.Replace(parked, `"name"`, `"retries":0,"name"`, 1))
		id := b.runNow("a")
		b.cluster.disturb(func(u *mesos.TaskStatus) (int, time.Duration) {
			if u.GetState() == mesos.TASK_RUNNING { // as the cluster has it
				return 0, 0
			}
			return 1, 0
		})
		b.cluster.tell(id, status(mesos.TASK_UNREACHABLE))
		b.wait(6 * time.Minute)
		b.restart()
		b.cluster.tell(id, status(mesos.TASK_UNREACHABLE))
		b.wait(3 * time.Minute)
		b.wantState("a", "running")
		b.wait(time.Minute + time.Second)
		b.wantHistory("a", "manual lost 00:00:00")
	})
	scenario(t, "an unreachable task that comes back goes on", func(b *bench) {
		b.cluster.behave(taking(30 * time.Minute))
		b.start().post(parked)
		id := b.runNow("a")
		b.cluster.tell(id, status(mesos.TASK_UNREACHABLE))
		b.wait(5 * time.Minute)
		b.cluster.tell(id, status(mesos.TASK_RUNNING))
		b.wait(time.Hour)
		b.wantHistory("a", "manual finished 00:00:00")
	})
	scenario(t, "a launched task of which nothing is heard is lost and killed", func(b *bench) {
		b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) { return 0, status(mesos.TASK_STAGING) })
		b.start().post(strings.Replace(parked, `"name"`, `"retries":0,"name"`, 1))
		b.runNow("a")
		b.wait(11 * time.Minute)
		b.wantHistory("a", "manual lost 00:00:00")
		b.wantRunning()
	})
	shortOf := func(what string) func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
		return func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			st := status(mesos.TASK_DROPPED)
			st.Reason, st.Message = mesos.REASON_CONTAINER_LAUNCH_FAILED.Enum(), &what
			return 0, st
		}
	}
	scenario(t, "a run that can't be started for now is tried again, ever more seldom, until its epsilon is over", func(b *bench) {
		b.cluster.behave(shortOf("no processes left"))
		b.start().post(strings.Replace(parked, `"name"`, `"epsilon":"PT5M","retries":0,"name"`, 1))
		id := b.runNow("a")
		if got, want := b.why("a"), "waits until 2000-01-01T00:00:00.500Z for its next attempt\nno processes left"; got != want {
			b.t.Errorf("it waits for %q, want %q", got, want)
		}
		// After 0.5, 1.5, 3.5, 7.5, 15.5 s, then every 30 s, and at the end of epsilon.
		for _, step := range []struct {
			wait  time.Duration
			tries int
		}{{499 * time.Millisecond, 1}, {time.Millisecond, 2}, {time.Second, 3}, {30 * time.Second, 7}, {268*time.Second - time.Millisecond, 15}} {
			b.wait(step.wait)
			b.wantState("a", "queued")
			if got := b.cluster.launchCounts()[id]; got != step.tries {
				b.t.Errorf("launched %d times, want %d", got, step.tries)
			}
		}
		b.wait(time.Second)
		b.wantHistory("a", "manual failed 00:00:00")
		if got := b.cluster.launchCounts()[id]; got != 16 {
			b.t.Errorf("launched %d times, want 16", got)
		}
	})
	scenario(t, "a run that could not be started for a while runs", func(b *bench) {
		b.cluster.behave(shortOf("no processes left"))
		b.start().post(parked)
		id := b.runNow("a")
		b.wait(20 * time.Second)
		b.cluster.behave(taking(time.Second))
		b.wait(20 * time.Second)
		b.wantHistory("a", "manual finished 00:00:00")
		if j := b.job("a"); j.ErrorCount != 0 || len(b.cluster.launchCounts()) != 1 {
			b.t.Errorf("errorCount = %d, launched %v, want no error and only %s", j.ErrorCount, b.cluster.launchCounts(), id)
		}
	})
	scenario(t, "a launch that was certainly not sent waits again with the same attempt", func(b *bench) {
		b.cluster.intercept(func(c *sched.Call) (bool, error) {
			if c.Type == sched.Call_ACCEPT {
				return false, errNotSent
			}
			return true, nil
		})
		b.start().post(parked)
		id := b.runNow("a")
		b.wait(time.Second)
		b.wantState("a", "queued")
		b.cluster.intercept(nil)
		b.restart()
		b.wait(10 * time.Second)
		if got := b.cluster.launched(); !slices.Equal(got, []string{id}) {
			b.t.Errorf("launched %q, want only %q", got, id)
		}
	})
	scenario(t, "a launch of unknown fate that never arrived waits again with the same attempt", func(b *bench) {
		lost := true
		b.cluster.intercept(func(c *sched.Call) (bool, error) {
			if c.Type == sched.Call_ACCEPT && lost {
				lost = false
				return false, fmt.Errorf("connection broken")
			}
			return true, nil
		})
		b.start().post(parked)
		id := b.runNow("a")
		b.restart()
		b.wait(time.Second + stillAsked) // on Kubernetes; elsewhere it is known at once
		if got := b.cluster.launched(); !slices.Equal(got, []string{id}) {
			b.t.Errorf("launched %q, want only %q", got, id)
		}
		b.wantHistory("a", "manual finished 00:00:00")
	})
	scenario(t, "a launch that is lost again and again is tried once a second", func(b *bench) {
		tries := 0
		b.cluster.intercept(func(c *sched.Call) (bool, error) {
			if c.Type != sched.Call_ACCEPT || tries == 100 {
				return true, nil
			}
			tries++
			return false, fmt.Errorf("connection broken")
		})
		b.start().post(parked)
		b.wait(stillAsked) // before, Kubernetes' answer would be that nobody knows
		b.runNow("a")
		b.wait(10*time.Second + 500*time.Millisecond)
		if tries != 11 {
			b.t.Errorf("tried %d times in ten seconds, want 11 times", tries)
		}
	})
	scenario(t, "an offer is given back until the cluster takes it", func(b *bench) {
		tries := 0
		b.cluster.intercept(func(c *sched.Call) (bool, error) {
			if c.Type != sched.Call_DECLINE || tries == 3 {
				return true, nil
			}
			tries++
			return false, fmt.Errorf("connection broken")
		})
		b.start() // with an offer that nobody wants
		b.wait(time.Minute)
		if n := b.cluster.called(sched.Call_DECLINE); tries != 3 || n == 0 {
			b.t.Errorf("lost %d times and taken %d times, want three times and then at least once", tries, n)
		}
	})
	scenario(t, "an answer about an earlier launch of the same attempt does not launch it again", func(b *bench) {
		b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) { return 0, status(mesos.TASK_STAGING) })
		b.start().post(parked)
		id := b.runNow("a")
		for _, agent := range []string{"agent-1", "agent-2"} {
			unknown := status(mesos.TASK_UNKNOWN)
			unknown.AgentID = &mesos.AgentID{Value: agent}
			b.cluster.tell(id, unknown)
			b.wait(time.Second)
		}
		if n := b.cluster.launchCounts()[id]; n != 1 {
			b.t.Errorf("launched %d times, want 1", n)
		}
		b.wantState("a", "running")
	})
	scenario(t, "the offers of a launch that failed are given back before anything is asked about it", func(b *bench) {
		late := make(chan *sched.Call, 1)
		b.cluster.intercept(func(c *sched.Call) (bool, error) {
			if c.Type == sched.Call_ACCEPT && len(late) == 0 {
				late <- c
				return false, fmt.Errorf("connection broken")
			}
			return true, nil
		})
		b.start().post(parked)
		id := b.runNow("a")
		b.cluster.intercept(nil)
		b.cluster.arrive(<-late) // it was only slow
		b.wait(time.Minute)
		if n := b.cluster.launchCounts()[id]; n != 1 {
			b.t.Errorf("launched %d times, want 1", n)
		}
		b.wantHistory("a", "manual finished 00:00:00")
	})
}

// A requested kill decides how the run ended, whatever is reported about its task and
// whoever leads by then.
func TestEndAfterAKill(t *testing.T) {
	t.Parallel()
	failed := `{"name":"a","command":"x","schedule":"R0/2000-01-01T00:00:00Z/PT1H","retries":3}`
	tests := []struct {
		name string
		end  func(b *bench, id string)
		want runState
	}{
		{"it has finished all the same", func(b *bench, id string) { b.cluster.finish(id, mesos.TASK_FINISHED) }, runFinished},
		{"killed", func(b *bench, id string) { b.cluster.finish(id, mesos.TASK_KILLED) }, runKilled},
		{"its executor died within the grace period", func(b *bench, id string) { b.cluster.finish(id, mesos.TASK_FAILED) }, runKilled},
		{"refused", func(b *bench, id string) { b.cluster.tell(id, status(mesos.TASK_ERROR)) }, runKilled},
		{"lost", func(b *bench, id string) { b.cluster.tell(id, status(mesos.TASK_LOST)) }, runKilled},
		{"gone with its agent", func(b *bench, id string) { b.cluster.tell(id, status(mesos.TASK_GONE)) }, runKilled},
		{"its agent has been away for too long", func(b *bench, id string) {
			b.cluster.tell(id, status(mesos.TASK_UNREACHABLE))
			b.wait(b.cfg.unreachable + time.Second)
		}, runKilled},
		{"the callback of somebody who gave up", func(b *bench, id string) {
			b.do("callback", b.s.finishTask(b.t.Context(), id, 1))
		}, runKilled},
	}
	for _, tt := range tests {
		for _, successor := range []bool{false, true} {
			name := tt.name
			if successor {
				name += ", under the next leader"
			}
			scenario(t, name, func(b *bench) {
				b.cluster.behave(forEver)
				b.cluster.intercept(func(c *sched.Call) (bool, error) { return c.Type != sched.Call_KILL, nil })
				b.start().post(failed)
				id := b.runNow("a")
				b.do("kill", b.s.killJob(b.t.Context(), "a"))
				if successor {
					b.restart()
				}
				tt.end(b, id)
				b.wait(5 * time.Minute)
				b.wantHistory("a", "manual "+string(tt.want)+" 00:00:00")
				if tt.want != runKilled {
					return
				}
				if r := b.s.view().job("a").history[0]; r.Reason != "killed by request" || b.job("a").ErrorCount != 0 {
					b.t.Errorf("reason = %q, errorCount = %d, want killed by request, which is no error", r.Reason, b.job("a").ErrorCount)
				}
			})
		}
	}
}
