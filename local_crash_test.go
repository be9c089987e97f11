package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// runInstance subscribes to dir, launches one task per pair of run id and shell
// command, and prints an update a line, until it is killed.
func runInstance(dir string, tasks []string) int {
	l, err := newLocal(dir, localOptions{keeper: testKeeper}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	launched := false
	err = l.run(context.Background(), "", func(e *sched.Event) {
		switch {
		case e.Type == sched.Event_UPDATE:
			fmt.Println(e.Update.Status.TaskID.Value, e.Update.Status.GetState())
		case e.Type == sched.Event_OFFERS && !launched:
			launched = true
			launch := new(mesos.Offer_Operation_Launch)
			for i := 0; i+1 < len(tasks); i += 2 {
				task := shellTask(tasks[i], tasks[i+1])
				task.AgentID.Value = l.agent
				launch.TaskInfos = append(launch.TaskInfos, task)
			}
			l.send(&sched.Call{Type: sched.Call_ACCEPT, Accept: &sched.Call_Accept{
				OfferIDs:   []mesos.OfferID{e.Offers.Offers[0].ID},
				Operations: []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH, Launch: launch}},
			}}, nil)
		}
	})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// crashInstance starts an instance with one task and kills it with SIGKILL as soon
// as the task runs.
func crashInstance(t *testing.T, dir, id, command string) {
	t.Helper()
	cmd := exec.Command(testBinary(), instanceWord, dir, id, command)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasSuffix(line, " TASK_RUNNING\n") {
		t.Fatalf("instance said %q, %v", line, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
}

func TestLocalAdoptsARunThatOutlivedItsInstance(t *testing.T) {
	dir := t.TempDir()
	id, latch := runIDFor("outlive"), filepath.Join(t.TempDir(), "latch")
	if err := syscall.Mkfifo(latch, 0o600); err != nil {
		t.Fatal(err)
	}
	crashInstance(t, dir, id, "echo begun; read x < "+latch+"; exit 7")
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
	dir := t.TempDir()
	id := runIDFor("meanwhile")
	mark := filepath.Join(t.TempDir(), "mark")
	crashInstance(t, dir, id, "echo done > "+mark+"; exit 5")
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
	dir := t.TempDir()
	id := runIDFor("adopted")
	crashInstance(t, dir, id, "sleep 1000")
	m := startLocal(t, dir, localOptions{})
	m.kill(id, time.Hour)
	if st := m.end(id); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("kill of adopted run = %v %q", st.GetState(), st.GetMessage())
	}
}

func TestLocalRunOfARestartedMachineIsLost(t *testing.T) {
	dir := t.TempDir()
	id := runIDFor("reboot")
	m := startLocal(t, dir, localOptions{})
	m.reconcile(id)
	m.update(id, mesos.TASK_UNKNOWN)
	task := shellTask(id, "true")
	if err := m.l.sandbox(id).create(id, &task); err != nil {
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

func TestLocalRunWhoseKeeperIsKilledIsLostAndDead(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("orphan")
	m.launch(shellTask(id, "echo $$ $PPID > pids; exec sleep 1000"))
	pids := strings.Fields(waitForFile(t, m.l.sandbox(id).path("work/pids")))
	var keeper int
	if _, err := fmt.Sscan(pids[1], &keeper); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if st := m.end(id); st.GetState() != mesos.TASK_LOST {
		t.Errorf("keeper killed = %v, want TASK_LOST", st.GetState())
	}
	for deadline := time.Now().Add(10 * time.Second); alive(pids[0]); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the command outlives its keeper")
		}
	}
}

// An instance is killed at some moment of launching; its successor asks about every
// run and launches again what was never claimed. Each command runs once.
func TestLocalKilledWhileLaunching(t *testing.T) {
	const rounds, perRound = 8, 10
	dir, tally := t.TempDir(), filepath.Join(t.TempDir(), "tally")
	for round := range rounds {
		args := []string{instanceWord, dir}
		tasks := make(map[string]string)
		for i := range perRound {
			id := fmt.Sprintf("ct:%d:0:torture%d:", round, i)
			tasks[id] = fmt.Sprintf("echo %s >> %s; exit 3", id, tally)
			args = append(args, id, tasks[id])
		}
		cmd := exec.Command(testBinary(), args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+round*20) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		m := startLocal(t, dir, localOptions{cpus: 100, mem: 1e6, disk: 1e6})
		for id, command := range tasks {
			m.reconcile(id)
			st := m.update(id, append(endStates, mesos.TASK_UNKNOWN, mesos.TASK_RUNNING)...)
			if st.GetState() == mesos.TASK_UNKNOWN {
				m.launch(shellTask(id, command))
			}
		}
		for id := range tasks {
			m.reconcile(id)
			if st := m.end(id); st.GetMessage() != "Command exited with status 3" {
				t.Errorf("round %d: %s = %v %q", round, id, st.GetState(), st.GetMessage())
			}
		}
		m.stop()
		<-m.ended
	}
	text, err := os.ReadFile(tally)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, id := range strings.Fields(string(text)) {
		counts[id]++
	}
	for id, n := range counts {
		if n != 1 {
			t.Errorf("%s ran %d times, want once", id, n)
		}
	}
	if len(counts) != rounds*perRound {
		t.Errorf("%d commands ran, want %d", len(counts), rounds*perRound)
	}
}

// contend asks a keeper of its own to execute a run.
func contend(t *testing.T, l *localCluster, box sandbox, epoch int64) error {
	t.Helper()
	s := keepers{command: l.keepers.command, of: map[string]*keeperProcess{}}
	k, err := s.take("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.dismiss()
	return k.keep(t.Context(), keepRequest{Run: filepath.Base(string(box)), Epoch: epoch})
}

// race has several keepers execute a run at the same moment, one of which claims it, and waits for its end.
func race(t *testing.T, l *localCluster, box sandbox, epochs ...int64) {
	t.Helper()
	var claims atomic.Int32
	var wg sync.WaitGroup
	for _, epoch := range epochs {
		wg.Go(func() {
			switch err := contend(t, l, box, epoch); {
			case err == nil:
				claims.Add(1)
			case !errors.Is(err, errClaimed):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := claims.Load(); n != 1 {
		t.Errorf("%d keepers have claimed the run, want one", n)
	}
	if _, err := box.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// subscribedLocal is a cluster that the test asks keepers for, with the number of its subscription.
func subscribedLocal(t *testing.T) (*localCluster, int64) {
	t.Helper()
	l, err := newLocal(t.TempDir(), localOptions{keeper: testKeeper}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := subscribe(l.dir, termID{})
	if err != nil {
		t.Fatal(err)
	}
	return l, epoch
}

func TestLocalOneOfSeveralKeepersRunsTheCommand(t *testing.T) {
	l, epoch := subscribedLocal(t)
	tally := filepath.Join(t.TempDir(), "tally")
	const rounds = 50
	for i := range rounds {
		id := runIDFor(fmt.Sprint("race", i))
		task := shellTask(id, fmt.Sprintf("echo %d >> %s", i, tally))
		box := l.sandbox(id)
		if err := box.create(id, &task); err != nil {
			t.Fatal(err)
		}
		race(t, l, box, epoch, epoch, epoch)
		if st := box.status(); st == nil || st.State != "TASK_FINISHED" {
			t.Fatalf("round %d: status = %+v", i, st)
		}
	}
	text, err := os.ReadFile(tally)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, line := range strings.Fields(string(text)) {
		counts[line]++
	}
	for i := range rounds {
		if n := counts[fmt.Sprint(i)]; n != 1 {
			t.Errorf("the command of round %d ran %d times, want once", i, n)
		}
	}
}

// A keeper that gets the lock only when the run is over says so. It must not mistake what
// the first one has cleared away for a fault, which would make a failure of the run.
func TestLocalKeeperThatComesLateKnowsTheRunIsOver(t *testing.T) {
	l, epoch := subscribedLocal(t)
	id := runIDFor("late")
	task := shellTask(id, "exit 3")
	box := l.sandbox(id)
	if err := box.create(id, &task); err != nil {
		t.Fatal(err)
	}
	race(t, l, box, epoch)
	if err := contend(t, l, box, epoch); !errors.Is(err, errClaimed) {
		t.Errorf("late keeper answers %v, want %v", err, errClaimed)
	}
	if st := box.status(); st == nil || st.Message != "Command exited with status 3" {
		t.Errorf("status = %+v, want that of the first keeper", st)
	}
}

// A leader that was stopped wakes up when its successor has run and cleared away
// the same run: nothing of it is left, and still it must not run again.
func TestLocalSupersededInstanceStartsNothing(t *testing.T) {
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
	waitUntil(t, "the first run is cleared away", func() bool {
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
	dir := t.TempDir()
	leader := startLocalTerm(t, dir, localOptions{}, termID{"zookeeper", 12})
	stale, err := newLocal(dir, localOptions{keeper: testKeeper}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stale.enter(termID{"zookeeper", 11})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
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

// Numbers of terms are compared only where the same counter counted both, so that a data
// directory can be used with another ZooKeeper, or none.
func TestSubscribe(t *testing.T) {
	dir := t.TempDir()
	for i, c := range []struct {
		term termID
		want int64 // 0 for a refusal
	}{
		{termID{"a", 7}, 1},
		{termID{"a", 7}, 2}, // again in one term
		{termID{"a", 6}, 0},
		{termID{"a", 8}, 3},
		{termID{"another", 1}, 4},
		{termID{"another", 0}, 0},
		{termID{"", 1}, 5}, // the file store's
		{termID{"", 1}, 6},
		{termID{"a", 5}, 7},
	} {
		got, err := subscribe(dir, c.term)
		if got != c.want || (c.want == 0) != errors.Is(err, errSuperseded) || c.want > 0 && err != nil {
			t.Errorf("%d: subscribe(%v) = %d, %v; want %d", i, c.term, got, err, c.want)
		}
		if got > 0 {
			if now, err := currentEpoch(dir); now != got || err != nil {
				t.Errorf("%d: currentEpoch = %d, %v; want %d", i, now, err, got)
			}
		}
	}
}

func TestSubscribeAfterATornOrOlderFile(t *testing.T) {
	for text, want := range map[string]int64{"": 1, "00000": 1, "0000000000000000041\n": 42, "0000000000000000041\n7": 42, "torn\n9 a\n": 1} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "subscription"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := subscribe(dir, termID{"a", 3}); got != want || err != nil {
			t.Errorf("subscribe after %q = %d, %v; want %d", text, got, err, want)
		}
	}
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30s: %s", what)
		}
	}
}

func TestLocalTwoHundredQuickTasks(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{cpus: 3, mem: 1e6, disk: 1e6})
	tally := filepath.Join(t.TempDir(), "tally")
	waiting := make(map[string]bool)
	var queue []mesos.TaskInfo
	for i := range 200 {
		id := runIDFor(fmt.Sprint("quick", i))
		queue = append(queue, shellTask(id, fmt.Sprintf("echo %d >> %s", i, tally)))
		waiting[id] = true
	}
	for len(waiting) > 0 {
		e := m.next("UPDATE or OFFERS", func(e *sched.Event) bool {
			return e.Type == sched.Event_UPDATE || e.Type == sched.Event_OFFERS
		})
		if e.Type == sched.Event_OFFERS {
			n := min(len(queue), int(e.Offers.Offers[0].Resources[0].Scalar.Value*10+0.5))
			if n > 0 {
				m.accept(e.Offers.Offers[0].ID, queue[:n]...)
				queue = queue[n:]
			}
			continue
		}
		st := e.Update.Status
		switch st.GetState() {
		case mesos.TASK_RUNNING:
		case mesos.TASK_FINISHED:
			delete(waiting, st.TaskID.Value)
			m.acknowledge(st)
		default:
			t.Fatalf("%s = %v %q", st.TaskID.Value, st.GetState(), st.GetMessage())
		}
	}
	text, err := os.ReadFile(tally)
	if lines := strings.Count(string(text), "\n"); err != nil || lines != 200 {
		t.Errorf("commands ran = %d, %v; want 200", lines, err)
	}
}

func TestLocalEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	before := runtime.NumGoroutine()
	m := startLocal(t, dir, localOptions{})
	id := runIDFor("long")
	m.launch(shellTask(id, "sleep 1000"), shellTask(runIDFor("long2"), "sleep 1000"))
	m.update(id, mesos.TASK_RUNNING)
	m.stop()
	if err := <-m.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v, want %v", err, context.Canceled)
	}
	waitUntil(t, "the goroutines of run are gone", func() bool { return runtime.NumGoroutine() <= before })
	done := make(chan error)
	m.l.send(&sched.Call{Type: sched.Call_REVIVE}, func(err error) { done <- err })
	if err := <-done; !errors.Is(err, errNotSent) {
		t.Errorf("send without subscription = %v, want %v", err, errNotSent)
	}
	next := startLocal(t, dir, localOptions{})
	for _, name := range []string{"long", "long2"} {
		next.kill(runIDFor(name), 0)
		if st := next.end(runIDFor(name)); st.GetState() != mesos.TASK_KILLED {
			t.Errorf("kill in the next term = %v", st.GetState())
		}
	}
}
