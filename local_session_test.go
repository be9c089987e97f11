package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func TestLocalAdoptsARunThatOutlivedItsInstance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, latch := runIDFor("outlive"), filepath.Join(t.TempDir(), "latch")
	if err := syscall.Mkfifo(latch, 0o600); err != nil {
		t.Fatal(err)
	}
	leaveBehind(t, dir, id, "echo begun; read x < "+latch+"; exit 7")
	m := startLocal(t, dir, localOptions{cpus: 1, mem: 1000, disk: 1000})
	if o := m.offer(); o.Resources[0].Scalar.Value != 0.9 {
		t.Errorf("offer beside an adopted run of 0.1 cpus = %v cpus, want 0.9", o.Resources[0].Scalar.Value)
	}
	m.reconcile(id)
	m.update(id, mesos.TASK_RUNNING)
	if err := os.WriteFile(latch, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if st := m.end(id); st.GetState() != mesos.TASK_FAILED || st.GetMessage() != "Command exited with status 7" {
		t.Errorf("end of adopted run = %v %q, want its exit status 7", st.GetState(), st.GetMessage())
	}
	if out := m.output(id, "stdout"); out != "begun\n" {
		t.Errorf("stdout of adopted run = %q", out)
	}
	if o := m.offer(); o.Resources[0].Scalar.Value != 1 {
		t.Errorf("offer after the adopted run = %v cpus, want 1", o.Resources[0].Scalar.Value)
	}
}

func TestLocalTellsTheEndOfARunThatEndedMeanwhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id := runIDFor("meanwhile")
	mark := filepath.Join(t.TempDir(), "mark")
	leaveBehind(t, dir, id, "echo done > "+mark+"; exit 5")
	waitForFile(t, mark)
	m := startLocal(t, dir, localOptions{})
	st := m.end(id) // without being asked: nobody has acknowledged it
	if st.GetMessage() != "Command exited with status 5" {
		t.Errorf("end = %v %q, want exit status 5", st.GetState(), st.GetMessage())
	}
	m.reconcile(id)
	if again := m.end(id); again.GetMessage() != st.GetMessage() || string(again.UUID) != string(st.UUID) {
		t.Errorf("end when asked = %v, want %v", again, st)
	}
	m.reconcile()
	m.end(id)
}

func TestLocalKillsARunOfAnotherInstance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id := runIDFor("adopted")
	leaveBehind(t, dir, id, "sleep 1000")
	m := startLocal(t, dir, localOptions{})
	m.kill(id, time.Hour)
	if st := m.end(id); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("kill of adopted run = %v %q", st.GetState(), st.GetMessage())
	}
}

func TestLocalRunOfARestartedMachineIsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id := runIDFor("reboot")
	m := startLocal(t, dir, localOptions{})
	m.reconcile(id)
	m.update(id, mesos.TASK_UNKNOWN)
	task := shellTask(id, "true")
	if err := layOut(m.l.sandbox(id), id, &task); err != nil {
		t.Fatal(err)
	}
	m.reconcile(id)
	m.update(id, mesos.TASK_UNKNOWN)
	if err := m.l.sandbox(id).claim(); err != nil {
		t.Fatal(err)
	}
	m.reconcile(id)
	if st := m.end(id); st.GetState() != mesos.TASK_LOST {
		t.Errorf("claim without lock and status = %v, want TASK_LOST", st.GetState())
	}
}

// A leader that was stopped wakes up when its successor has run and cleared away
// the same run: nothing of it is left, and still it must not run again.
func TestLocalSupersededInstanceStartsNothing(t *testing.T) {
	t.Parallel()
	dir, tally := t.TempDir(), filepath.Join(t.TempDir(), "tally")
	old := startLocal(t, dir, localOptions{})
	offer := old.offer()
	m := startLocal(t, dir, localOptions{keep: 1})
	task := func(due int) mesos.TaskInfo {
		return shellTask(fmt.Sprintf("ct:%d:0:late:", due), fmt.Sprintf("echo %d >> %s", due, tally))
	}
	for due := 1; due <= 2; due++ {
		m.launch(task(due))
		m.acknowledge(m.end(task(due).TaskID.Value))
	}
	until(t, "the first run is cleared away", func() bool {
		_, there := m.l.find(task(1).TaskID.Value)
		return !there
	})
	old.accept(offer.ID, task(1))
	old.next("ERROR", func(e *sched.Event) bool { return e.Type == sched.Event_ERROR })
	if err := <-old.ended; !errors.Is(err, errSuperseded) {
		t.Errorf("run of a superseded instance = %v, want %v", err, errSuperseded)
	}
	if text, err := os.ReadFile(tally); string(text) != "1\n2\n" {
		t.Errorf("tally = %q, %v; want each run once", text, err)
	}
}

// A leader that was stopped between its election and its subscription wakes up when its successor leads: it
// must not end its successor's term.
func TestLocalTermThatIsOverDoesNotSubscribe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	leader := startLocalTerm(t, dir, localOptions{}, termID{"zookeeper", 12})
	stale, err := newLocal(dir, localOptions{keeper: testKeeper}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stale.enter(termID{"zookeeper", 11})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	heard := 0
	if err := stale.run(ctx, "", func(*sched.Event) { heard++ }); !errors.Is(err, errSuperseded) || heard > 0 {
		t.Errorf("run of a term that is over = %v after %d events, want %v and none", err, heard, errSuperseded)
	}
	task := shellTask(runIDFor("undisturbed"), "true")
	leader.launch(task)
	if st := leader.end(task.TaskID.Value); st.GetState() != mesos.TASK_FINISHED {
		t.Errorf("a run of the term that lasts = %v %q, want it to succeed", st.GetState(), st.GetMessage())
	}
}

// A fault of ours, in the session or in one of its goroutines, ends the subscription and not the process, and the next one is served.
func TestAPanicEndsTheSubscription(t *testing.T) {
	t.Parallel()
	l, err := newLocal(t.TempDir(), localOptions{keeper: testKeeper}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	faults := []func(*sched.Event){
		func(*sched.Event) { panic("a fault") },
		func(*sched.Event) {
			l.session.begin(func() { panic("a fault") })
		},
	}
	for i, handle := range faults {
		if err := l.run(t.Context(), "", handle); err == nil || !strings.Contains(err.Error(), "a fault") {
			t.Errorf("subscription %d ended with %v, want the fault", i, err)
		}
	}
	ctx, stop := context.WithCancelCause(t.Context())
	end := errors.New("told to stop")
	if err := l.run(ctx, "", func(*sched.Event) { stop(end) }); !errors.Is(err, end) {
		t.Errorf("the next subscription ended with %v, want %v", err, end)
	}
}
