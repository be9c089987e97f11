package main

import (
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func offeredAmounts(o mesos.Offer) resources {
	return taskAmounts(&mesos.TaskInfo{Resources: o.Resources})
}

func TestLocalOffersWhatIsFree(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{cpus: 1, mem: 1000, disk: 2000, hostname: "here"})
	first := m.offer()
	if got, want := offeredAmounts(first), (resources{1000, 1000e3, 2000e3}); got != want || first.Hostname != "here" {
		t.Fatalf("first offer = %v of %q, want %v of here", got, first.Hostname, want)
	}
	id := runIDFor("user")
	task := shellTask(id, "sleep 1000")
	task.Resources = scalarsOf(resources{250, 300e3, 400e3})
	m.accept(first.ID, task)
	m.update(id, mesos.TASK_RUNNING)
	second := m.offer()
	if got, want := offeredAmounts(second), (resources{750, 700e3, 1600e3}); got != want {
		t.Errorf("offer beside a task = %v, want %v", got, want)
	}
	m.kill(id, 0)
	m.end(id)
	m.next("RESCIND", func(e *sched.Event) bool {
		return e.Type == sched.Event_RESCIND && e.Rescind.OfferID == second.ID
	})
	third := m.offer()
	if got, want := offeredAmounts(third), (resources{1000, 1000e3, 2000e3}); got != want {
		t.Errorf("offer after the task = %v, want %v", got, want)
	}
	t.Run("a rescinded offer can still be accepted once", func(t *testing.T) {
		m.accept(second.ID, shellTask(runIDFor("late"), "true"))
		if st := m.end(runIDFor("late")); st.GetState() != mesos.TASK_FINISHED {
			t.Errorf("task on a rescinded offer = %v %q", st.GetState(), st.GetMessage())
		}
		m.accept(second.ID, shellTask(runIDFor("later"), "true"))
		if st := m.end(runIDFor("later")); st.GetState() != mesos.TASK_DROPPED || st.GetReason() != mesos.REASON_INVALID_OFFERS {
			t.Errorf("task on a used offer = %v %v", st.GetState(), st.GetReason())
		}
	})
	t.Run("a task that does not fit is dropped", func(t *testing.T) {
		task := shellTask(runIDFor("big"), "true")
		task.Resources = scalarsOf(resources{1001, 0, 0})
		m.launch(task)
		if st := m.end(runIDFor("big")); st.GetState() != mesos.TASK_DROPPED {
			t.Errorf("task of 1.001 cpus on 1 = %v", st.GetState())
		}
	})
}

func TestLocalDeclineHoldsOffersBack(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{cpus: 1, mem: 1000, disk: 2000})
	m.decline(m.offer(), 0.05)
	again := m.offer() // after the 50 ms
	m.decline(again, 3600)
	m.reconcile(runIDFor("nothing"))
	m.update(runIDFor("nothing"), mesos.TASK_UNKNOWN)
	if m.hasOffer() {
		t.Error("an offer within the hour for which it was declined")
	}
	m.send(&sched.Call{Type: sched.Call_REVIVE})
	offer := m.offer()
	m.send(&sched.Call{Type: sched.Call_SUPPRESS})
	m.decline(offer, 0)
	m.reconcile(runIDFor("nothing"))
	m.update(runIDFor("nothing"), mesos.TASK_UNKNOWN)
	if m.hasOffer() {
		t.Error("an offer while they are suppressed")
	}
	m.send(&sched.Call{Type: sched.Call_REVIVE})
	m.offer()
}

func TestLocalOfferAfterDeclineWhenMoreComesFree(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{cpus: 1, mem: 1e5, disk: 1e5})
	id := runIDFor("ends")
	m.launch(shellTask(id, "sleep 1000"))
	m.update(id, mesos.TASK_RUNNING)
	m.decline(m.offer(), 3600)
	m.kill(id, 0)
	m.end(id)
	if got := offeredAmounts(m.offer()).cpus; got != 1000 {
		t.Errorf("offer = %d thousandths of a cpu, want all", got)
	}
}

func TestLocalKeepsTheLastRunsOfAJob(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{keep: 2})
	ids := []string{"ct:1000:0:a job:", "ct:2000:0:a job:", "ct:2000:1:a job:x y", "ct:10000:0:a job:"}
	other := "ct:1:0:other:"
	for _, id := range append([]string{other}, ids...) {
		m.launch(shellTask(id, "echo text"))
		m.end(id) // not acknowledged
	}
	for i := range ids {
		m.reconcile(ids[len(ids)-1-i]) // acknowledged out of order
		m.acknowledge(m.end(ids[len(ids)-1-i]))
	}
	has := func(id string) bool { _, ok := m.l.find(id); return ok }
	until(t, "the older runs are gone", func() bool { return !has(ids[0]) && !has(ids[1]) })
	for _, id := range append([]string{other}, ids[2:]...) {
		if got, err := m.l.output(id, "stdout", 0, 100); string(got.text) != "text\n" || got.size != 5 || err != nil {
			t.Errorf("output(%q) = %q, %d, %v", id, got.text, got.size, err)
		}
	}
	m.reconcile(ids[3])
	if st := m.end(ids[3]); st.GetState() != mesos.TASK_FINISHED {
		t.Errorf("reconciled from the archive = %v", st.GetState())
	}
}

func TestLocalCustomExecutorFails(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	task := shellTask(runIDFor("executor"), "true")
	task.Executor = &mesos.ExecutorInfo{Command: task.Command}
	task.Command = nil
	m.launch(task)
	if st := m.end(task.TaskID.Value); st.GetState() != mesos.TASK_FAILED || !strings.Contains(st.GetMessage(), "custom executor") {
		t.Errorf("custom executor = %v %q", st.GetState(), st.GetMessage())
	}
}
