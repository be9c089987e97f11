package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A jvm is a JVM version that leads between two terms of ours. It does to the state and to Mesos what
// that version does: it registers, hears of tasks and confirms it, counts, and moves schedules on.
type jvm struct {
	*bench
	version string // 2.4 or 3.0
	client  cluster
}

// reignOf has a JVM version lead. The term of ours is over.
func (b *bench) reignOf(version string, deeds func(*jvm)) {
	b.t.Helper()
	j := &jvm{bench: b, version: version, client: b.cluster.client(slog.New(slog.DiscardHandler))}
	var id mesos.FrameworkID
	if err := id.Unmarshal(b.store.records[frameworkIDKey]); err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = j.client.run(ctx, id.Value, j.hear) }) // it ends with ctx
	b.store.foreign(frameworkIDKey, encodeFrameworkID(id.Value))
	time.Sleep(time.Minute)
	if version == "2.4" {
		j.takeWaiting()
	}
	deeds(j)
	time.Sleep(time.Minute)
	stop()
	running.Wait()
	synctest.Wait()
}

// hear confirms whatever is told.
func (j *jvm) hear(e *sched.Event) {
	if e.GetType() == sched.Event_UPDATE && len(e.GetUpdate().Status.UUID) > 0 {
		u := e.GetUpdate().Status
		j.client.send(&sched.Call{Type: sched.Call_ACKNOWLEDGE, Acknowledge: &sched.Call_Acknowledge{AgentID: *u.AgentID, TaskID: u.TaskID, UUID: u.UUID}}, nil)
	}
}

// takeWaiting is what 2.4 does with T_ nodes: they go, and what is not too late is put on a timer
// again, under an id with the instant at which it will be queued.
func (j *jvm) takeWaiting() {
	for _, key := range j.store.keys("T_") {
		document := j.store.value(key)
		j.store.foreign(key, nil)
		id, err := parseRecordName(strings.TrimPrefix(key, "T_"))
		if err != nil {
			j.t.Fatal(err)
		}
		due, attempt, name, args, _ := parseRunID(id)
		now := time.Now().UnixMilli()
		if due+time.Minute.Milliseconds() > now {
			j.store.foreign("T_"+runID(max(due, now), attempt, name, args), []byte(document))
		}
	}
}

// edits makes the JVM rewrite a job, in its own form: 3.0 knows neither epsilon nor async jobs.
func (j *jvm) edits(name string, change func(*Job)) {
	job, err := decodeStoredJob([]byte(j.store.value("J_"+name)), j.cfg.defaults)
	if err != nil {
		j.t.Fatal(err)
	}
	change(job)
	d := dialect2
	if j.version == "3.0" {
		d = dialect3
	}
	j.store.foreign("J_"+name, job.appendJSON(nil, d))
}

// counts has the JVM see a task end, and count it.
func (j *jvm) counts(id string, state mesos.TaskState) {
	if id != "" {
		j.cluster.finish(id, state)
		synctest.Wait()
	}
	_, _, name, _, _ := parseRunID(id)
	j.edits(cmp.Or(name, "a"), func(job *Job) {
		now := instant(time.Now().UTC())
		if state == mesos.TASK_FINISHED {
			job.SuccessCount, job.LastSuccess, job.ErrorsSinceLastSuccess = job.SuccessCount+1, now, 0
			return
		}
		job.ErrorCount, job.LastError, job.ErrorsSinceLastSuccess = job.ErrorCount+1, now, job.ErrorsSinceLastSuccess+1
	})
}

// onWayBack runs a scenario with each JVM version, and each way in which our next terms may begin:
// at once, by a leader that dies before its first commit, or before Mesos has answered.
func onWayBack(t *testing.T, name string, f func(b *bench, version string, back func())) {
	for _, version := range []string{"2.4", "3.0"} {
		for _, way := range []string{"one leader", "a leader that stores nothing before", "a leader that hears nothing before"} {
			scenarioOfMesos(t, name+", "+version+", "+way, func(b *bench) {
				f(b, version, func() { b.comeBack(way) })
			})
		}
	}
}

func (b *bench) comeBack(way string) {
	b.t.Helper()
	switch way {
	case "a leader that stores nothing before":
		b.store.before = func([]record) error { return errors.New("crash") }
		b.start()
		b.end()
		b.store.before = nil
	case "a leader that hears nothing before":
		b.cluster.intercept(func(c *sched.Call) (bool, error) { return c.Type != sched.Call_RECONCILE, nil })
		b.cluster.disturb(func(u *mesos.TaskStatus) (int, time.Duration) { return 0, 0 })
		b.start()
		b.end()
		b.cluster.intercept(nil)
		b.cluster.disturb(nil)
	}
	b.start()
	b.wait(0)
}

// told lists the ends of a run that were told.
func (b *bench) told(id string) (ends []string) {
	for _, e := range b.events {
		if e.Run != nil && e.Run.ID == id && (e.Kind == eventFinished || e.Kind == eventFailed || e.Kind == eventSkipped || e.Kind == eventRetriesExhausted) {
			ends = append(ends, string(e.Kind)+" "+string(e.Run.State))
		}
	}
	return ends
}

func (b *bench) wantTold(id string, want ...string) {
	b.t.Helper()
	if got := b.told(id); !slices.Equal(got, want) {
		b.t.Errorf("told of %s: %q, want %q", id, got, want)
	}
}

// wantCounts checks a job's counters: successes, errors, errors since the last success.
func (b *bench) wantCounts(name string, success, errors, since int64) {
	b.t.Helper()
	if j := b.job(name); j.SuccessCount != success || j.ErrorCount != errors || j.ErrorsSinceLastSuccess != since {
		b.t.Errorf("counters of %s = %d, %d, %d, want %d, %d, %d", name, j.SuccessCount, j.ErrorCount, j.ErrorsSinceLastSuccess, success, errors, since)
	}
}

// underWay is the ways in which a task may be under way when another version begins to lead.
var underWay = map[string]func(b *bench) (id string){
	"launching": func(b *bench) string {
		b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) { return 0, status(mesos.TASK_STAGING) })
		return b.start().runNew()
	},
	"active": func(b *bench) string {
		b.cluster.behave(forEver)
		return b.start().runNew()
	},
	"unreachable": func(b *bench) string {
		b.cluster.behave(forEver)
		id := b.start().runNew()
		b.cluster.tell(id, status(mesos.TASK_UNREACHABLE))
		return id
	},
}

func (b *bench) runNew() string {
	b.t.Helper()
	b.post(parked)
	return b.runNow("a")
}

func TestTasksThatEndedUnderAnotherVersion(t *testing.T) {
	t.Parallel()
	for state, begin := range underWay {
		for _, outcome := range []mesos.TaskState{mesos.TASK_FINISHED, mesos.TASK_FAILED} {
			onWayBack(t, state+" and then "+outcome.String(), func(b *bench, version string, back func()) {
				id := begin(b)
				b.wait(0)
				b.end()
				b.reignOf(version, func(j *jvm) { j.counts(id, outcome) })
				b.cluster.behave(nil)
				back()
				b.wait(time.Hour)
				if n := len(b.cluster.launched()); n != 1 {
					b.t.Errorf("launched %q, want the one task from before", b.cluster.launched())
				}
				b.wantHistory("a", "manual lost 00:00:00")
				if got := b.s.view().job("a").history[0].Reason; got != endUnknown {
					b.t.Errorf("reason = %q, want %q", got, endUnknown)
				}
				b.wantTold(id, "failed lost")
				if outcome == mesos.TASK_FINISHED {
					b.wantCounts("a", 1, 0, 0)
				} else {
					b.wantCounts("a", 0, 1, 1)
				}
				b.runNow("a") // what is launched since is ours alone
				b.wantHistory("a", "manual lost 00:00:00", "manual finished "+clockOf(time.Now().UnixMilli()))
			})
		}
	}
}

func TestTasksThatOutliveAnotherVersion(t *testing.T) {
	t.Parallel()
	onWayBack(t, "a task that still runs is ours again, as is what comes of it", func(b *bench, version string, back func()) {
		b.cluster.behave(forEver)
		id := b.start().runNew()
		b.end()
		b.reignOf(version, func(*jvm) {})
		back()
		b.wantState("a", "running")
		b.cluster.finish(id, mesos.TASK_FAILED)
		b.wait(0)
		b.cluster.behave(nil)
		b.wait(time.Hour)
		b.wantTold(id, "failed failed")
		if got := b.history("a"); len(got) != 2 || got[0] != "manual failed 00:00:00" || !strings.HasPrefix(got[1], "retry finished attempt 1 ") {
			b.t.Errorf("history = %q", got)
		}
	})
	onWayBack(t, "an end that the other version has not confirmed counts", func(b *bench, version string, back func()) {
		b.cluster.behave(forEver)
		id := b.start().runNew()
		b.end()
		b.reignOf(version, func(*jvm) {})
		b.cluster.finish(id, mesos.TASK_FINISHED)
		back()
		b.cluster.resend() // an agent repeats it
		b.wait(time.Minute)
		b.wantHistory("a", "manual finished 00:00:00")
		b.wantCounts("a", 1, 0, 0)
		b.wantTold(id, "finished finished")
	})
	onWayBack(t, "a task that was to be killed is killed", func(b *bench, version string, back func()) {
		b.cluster.behave(forEver)
		id := b.start().runNew()
		b.cluster.intercept(func(c *sched.Call) (bool, error) { return c.Type != sched.Call_KILL, nil })
		b.do("kill", b.s.killJob(b.t.Context(), "a"))
		b.end()
		b.cluster.intercept(nil)
		b.reignOf(version, func(j *jvm) { j.counts(id, mesos.TASK_FINISHED) })
		back()
		b.wait(time.Hour)
		b.wantHistory("a", "manual killed 00:00:00")
		b.wantTold(id, "failed killed")
		b.wantCounts("a", 1, 0, 0)
	})
	onWayBack(t, "an async run waits for its callback as before", func(b *bench, version string, back func()) {
		b.start().post(strings.Replace(parked, `"name"`, `"async":true,"name"`, 1))
		id := b.runNow("a")
		b.wantState("a", "running")
		b.end()
		b.reignOf(version, func(*jvm) {})
		back()
		b.wantState("a", "running")
		b.do("callback", b.s.finishTask(b.t.Context(), id, 0))
		b.wait(time.Minute)
		b.wantHistory("a", "manual finished 00:00:00")
		b.wantCounts("a", 1, 0, 0)
		b.wantTold(id, "finished finished")
	})
	onWayBack(t, "a callback that came before the launcher ended under another version counts", func(b *bench, version string, back func()) {
		b.cluster.behave(forEver)
		b.start().post(strings.Replace(parked, `"name"`, `"async":true,"name"`, 1))
		id := b.runNow("a")
		b.do("callback", b.s.finishTask(b.t.Context(), id, 0))
		b.end()
		b.reignOf(version, func(j *jvm) {
			b.cluster.finish(id, mesos.TASK_FINISHED)
			if version == "2.4" {
				j.edits("a", func(*Job) {}) // 3.0 would have dropped async
			}
		})
		back()
		b.wait(time.Hour)
		b.wantHistory("a", "manual finished 00:00:00")
		b.wantCounts("a", 1, 0, 0)
	})
}

func TestRunsThatWaitedUnderAnotherVersion(t *testing.T) {
	t.Parallel()
	onWayBack(t, "what 3.0 knows nothing of is run, what 2.4 took is not", func(b *bench, version string, back func()) {
		b.cluster.resize(0)
		id := b.start().runNew()
		b.end()
		b.reignOf(version, func(j *jvm) {
			if version == "2.4" { // it has launched what it found
				for _, key := range j.store.keys("T_") {
					j.store.foreign(key, nil)
				}
				j.counts("", mesos.TASK_FINISHED)
			}
		})
		b.cluster.resize(10)
		back()
		b.wait(time.Hour)
		if version == "2.4" {
			b.wantHistory("a", "manual lost 00:00:00")
			b.wantCounts("a", 1, 0, 0)
			return
		}
		b.wantHistory("a", "manual finished 00:00:00")
		b.wantTold(id, "finished finished")
	})
	retrying := func(b *bench) (id string) {
		b.cluster.behave(failing)
		b.cfg.failureRetry = time.Hour
		b.start().runNew()
		b.wait(0)
		v := b.s.view().job("a")
		if len(v.runs) != 1 || v.runs[0].Kind != kindRetry {
			b.t.Fatalf("open runs = %v, want a retry", v.runs)
		}
		b.end()
		b.cluster.behave(nil)
		return v.runs[0].ID
	}
	onWayBack(t, "a retry is dropped where the other version has run the job since", func(b *bench, version string, back func()) {
		id := retrying(b)
		b.reignOf(version, func(j *jvm) { j.counts("", mesos.TASK_FINISHED) })
		back()
		b.wait(0)
		if version == "3.0" {
			b.wantTold(id, "skipped skipped")
			b.wait(2 * time.Hour)
			b.wantHistory("a", "manual failed 00:00:00", "retry skipped attempt 1 01:00:00")
			b.wantCounts("a", 1, 0, 0)
		}
		// 2.4 has put it on a timer of its own, and it is due at the same instant.
		b.wait(2 * time.Hour)
		if n := len(b.cluster.launched()); n != 1+boolInt(version == "2.4") {
			b.t.Errorf("launched %q", b.cluster.launched())
		}
	})
	onWayBack(t, "and is made where it has not", func(b *bench, version string, back func()) {
		retrying(b)
		b.reignOf(version, func(*jvm) {})
		back()
		b.wait(2 * time.Hour)
		b.wantHistory("a", "manual failed 00:00:00", "retry finished attempt 1 01:00:00")
	})
}

func TestJobMadeAnewUnderAnotherVersion(t *testing.T) {
	t.Parallel()
	onWayBack(t, "it is another job, but no id is given twice", func(b *bench, version string, back func()) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		b.post(`{"name":"child","command":"x","parents":["a"]}`)
		b.do("success", b.s.markSuccess(b.t.Context(), "a"))
		b.runNow("a")
		b.wait(0)
		old := b.cluster.launched()
		seq := b.store.value("go/job/a")
		b.end()
		b.reignOf(version, func(j *jvm) {
			document := j.store.value("J_a")
			for _, id := range old {
				j.cluster.finish(id, mesos.TASK_KILLED)
			}
			j.store.foreign("J_a", nil)
			j.store.foreign("J_a", []byte(strings.Replace(document, `"successCount":1`, `"successCount":0`, 1)))
		})
		b.cluster.behave(nil)
		back()
		b.wait(time.Minute)
		b.wantHistory("a")
		b.wantCounts("a", 0, 0, 0)
		if b.store.value("go/job/a") == seq || len(b.store.keys("go/history/a")) != 0 {
			b.t.Errorf("the record of the job before is left: %s, %q", b.store.value("go/job/a"), b.store.keys("go/history/a"))
		}
		id := b.runNow("a")
		if slices.Contains(old, id) {
			b.t.Errorf("id %s was given twice", id)
		}
		b.wantHistory("a", "manual finished "+clockOf(time.Now().UnixMilli()))
		b.restart()
		b.wantHistory("a", "manual finished "+clockOf(time.Now().UnixMilli()))
	})
}

func TestWithoutAReignNothingIsDoubted(t *testing.T) {
	t.Parallel()
	lost := func(b *bench, id string) {
		b.t.Helper()
		b.wait(time.Hour)
		b.wantTold(id, "failed lost")
		if got := b.history("a"); len(got) != 2 || !strings.HasPrefix(got[1], "retry finished attempt 1 ") {
			b.t.Errorf("history = %q, want a retry after what is lost", got)
		}
	}
	gone := func(b *bench, id string) { // its end was confirmed, or its agent has been removed
		b.cluster.finish(id, mesos.TASK_FINISHED)
		b.reignlessly(func(j *jvm) {})
	}
	scenarioOfMesos(t, "a task of ours that Mesos does not know is lost and tried again", func(b *bench) {
		b.cluster.behave(forEver)
		id := b.start().runNew()
		b.end()
		gone(b, id)
		b.cluster.behave(nil)
		b.start()
		lost(b, id)
	})
	scenarioOfMesos(t, "also one that was launched after a reign", func(b *bench) {
		b.start().post(parked)
		b.end()
		b.reignOf("3.0", func(j *jvm) { j.counts("", mesos.TASK_FINISHED) })
		b.cluster.behave(forEver)
		id := b.start().runNow("a")
		b.end()
		gone(b, id)
		b.cluster.behave(nil)
		b.start()
		lost(b, id)
	})
}

// reignlessly has somebody confirm what Mesos tells without registering in the state.
func (b *bench) reignlessly(deeds func(*jvm)) {
	registered := b.store.orders[frameworkIDKey]
	b.reignOf("3.0", deeds)
	b.store.orders[frameworkIDKey] = registered
}

func TestDocumentEditedByHand(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"one leader", "a leader that hears nothing before"} {
		scenarioOfMesos(t, "it decides for that job alone, "+way, func(b *bench) {
			b.cluster.behave(forEver)
			a := b.start().runNew()
			b.post(strings.Replace(parked, `"a"`, `"b"`, 1))
			other := b.runNow("b")
			b.end()
			b.cluster.finish(a, mesos.TASK_FINISHED)
			b.cluster.finish(other, mesos.TASK_FINISHED)
			b.reignlessly(func(j *jvm) { j.edits("a", func(job *Job) { job.Description = "edited" }) })
			b.cluster.behave(nil)
			b.comeBack(way)
			b.wait(time.Hour)
			b.wantHistory("a", "manual lost 00:00:00")
			b.wantTold(a, "failed lost")
			if got := b.history("b"); len(got) != 2 {
				b.t.Errorf("history of b = %q, want it to be lost and tried again", got)
			}
			b.restart()
			if left := b.store.keys(editPrefix); len(left) != 0 {
				b.t.Errorf("records left: %q", left)
			}
		})
	}
}

func TestTasksOfAnotherVersionAreAdopted(t *testing.T) {
	t.Parallel()
	onWayBack(t, "whoever of our leaders hears of them first", func(b *bench, version string, back func()) {
		b.start().post(parked)
		b.end()
		id := ""
		b.reignOf(version, func(j *jvm) {
			id = runID(time.Now().UnixMilli(), 0, "a", "")
			j.edits("a", func(*Job) {})
		})
		back()
		b.cluster.tell(id, status(mesos.TASK_RUNNING))
		b.wait(0)
		b.wantState("a", "running")
		b.cluster.tell(id, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum(), UUID: []byte("u")})
		b.wait(0)
		b.wantCounts("a", 1, 0, 0)
	})
}

// A JVM version sees of a cron job the one occurrence that comes next, and disables the job after it.
func TestCronJobOnTheWayBack(t *testing.T) {
	t.Parallel()
	const hourly = `{"name":"a","command":"x","schedule":"0 * * * *","epsilon":"PT1S"}`
	// runsOnce is what each JVM version leaves of the occurrence of 01:00 when it has run it.
	runsOnce := func(j *jvm, failed bool) {
		j.t.Helper()
		j.edits("a", func(job *Job) {
			if want := "R1/2000-01-01T01:00:00.000Z/P1D"; job.Schedule != want {
				j.t.Errorf("a JVM version reads the schedule %q, want %q", job.Schedule, want)
			}
			job.Schedule = "R0/2000-01-02T01:00:00.000Z/P1D"
		})
		time.Sleep(time.Hour)
		if failed {
			j.counts("", mesos.TASK_FAILED)
			return
		}
		j.counts("", mesos.TASK_FINISHED)
		j.edits("a", func(job *Job) { job.Disabled = true })
	}
	goesOn := func(b *bench) {
		b.t.Helper()
		b.wait(time.Hour)
		b.wantHistory("a", "scheduled finished 02:00:00")
		if j := b.job("a"); j.Disabled || j.Schedule != "0 * * * *" {
			b.t.Errorf("disabled = %t, schedule = %q, want the expression to be followed", j.Disabled, j.Schedule)
		}
	}
	onWayBack(t, "it is enabled again, and that is told", func(b *bench, version string, back func()) {
		b.start().post(hourly)
		b.end()
		b.reignOf(version, func(j *jvm) { runsOnce(j, false) })
		back()
		if notice := b.s.view().job("a").notice; !strings.Contains(notice, "enabled again") {
			b.t.Errorf("notice = %q, want it to tell", notice)
		}
		b.do("success", b.s.markSuccess(b.t.Context(), "a")) // which writes the document alone
		b.restart()
		goesOn(b)
		b.post(hourly)
		if notice := b.s.view().job("a").notice; notice != "" {
			b.t.Errorf("notice after a post = %q, want none", notice)
		}
	})
	onWayBack(t, "one that has failed goes on", func(b *bench, version string, back func()) {
		b.start().post(hourly)
		b.end()
		b.reignOf(version, func(j *jvm) { runsOnce(j, true) })
		back()
		goesOn(b)
		b.wantCounts("a", 1, 1, 0)
	})
	for name, change := range map[string]func(*Job){
		"one that failures have disabled stays disabled": func(job *Job) { job.Disabled, job.ErrorsSinceLastSuccess = true, 3 },
		"one that somebody has disabled stays disabled":  func(job *Job) { job.Disabled, job.Schedule = true, "R1/2000-01-01T01:00:00.000Z/P1D" },
	} {
		onWayBack(t, name, func(b *bench, version string, back func()) {
			b.start().post(hourly)
			b.end()
			b.reignOf(version, func(j *jvm) {
				runsOnce(j, false)
				j.edits("a", change)
			})
			back()
			b.wait(3 * time.Hour)
			b.wantHistory("a")
			if j := b.job("a"); !j.Disabled {
				b.t.Error("it is enabled")
			}
		})
	}
	scenarioOfMesos(t, "an occurrence that 3.0 has used up for a run by hand still comes", func(b *bench) {
		b.start().post(hourly)
		b.end()
		b.reignOf("3.0", func(j *jvm) {
			j.edits("a", func(job *Job) { job.Schedule = "R0/2000-01-01T01:00:00.000Z/P1D" })
			j.counts("", mesos.TASK_FINISHED)
			j.edits("a", func(job *Job) { job.Disabled = true })
		})
		b.start().wait(time.Hour)
		b.wantHistory("a", "scheduled finished 01:00:00")
	})
}
