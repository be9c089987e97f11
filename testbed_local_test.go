package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// testKeeper starts the test binary. Under -cover, a process would complain of a missing
// directory. Under -race, a process would sleep for a
// second at its end.
var testKeeper = []string{"/usr/bin/env", "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + keeperCover, testBinary(), keeperWord}

func testBinary() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// testMesos is a scheduler's view of a localCluster: it keeps the events.
type testMesos struct {
	t      *testing.T
	l      *localCluster
	events *mailbox[*sched.Event]
	seen   []*sched.Event // taken from events, not yet asked for
	stop   context.CancelFunc
	ended  chan error
}

func (m *testMesos) decline(offer mesos.Offer, seconds float64) {
	m.t.Helper()
	m.send(&sched.Call{Type: sched.Call_DECLINE, Decline: &sched.Call_Decline{
		OfferIDs: []mesos.OfferID{offer.ID}, Filters: &mesos.Filters{RefuseSeconds: &seconds},
	}})
}

func (m *testMesos) hasOffer() bool {
	m.seen = append(m.seen, m.events.take()...)
	for _, e := range m.seen {
		if e.Type == sched.Event_OFFERS {
			return true
		}
	}
	return false
}

// leaveBehind launches a run and ends the subscription while it runs. What the end of the whole process does
// is tested from outside, in e2e.
func leaveBehind(t *testing.T, dir, id, command string) {
	t.Helper()
	m := startLocal(t, dir, localOptions{})
	m.launch(shellTask(id, command))
	m.update(id, mesos.TASK_RUNNING)
	m.stop()
	<-m.ended
}

// next returns the first event not yet returned that matches; others stay.
func (m *testMesos) next(what string, match func(*sched.Event) bool) *sched.Event {
	m.t.Helper()
	timeout := time.After(patience)
	for {
		for i, e := range m.seen {
			if match(e) {
				m.seen = append(m.seen[:i:i], m.seen[i+1:]...)
				return e
			}
		}
		select {
		case <-m.events.ready:
			m.seen = append(m.seen, m.events.take()...)
		case <-timeout:
			m.t.Fatalf("no event: %s; there are %v", what, m.seen)
		}
	}
}

// offer returns the last offer there is, waiting for one.
func (m *testMesos) offer() mesos.Offer {
	m.t.Helper()
	isOffer := func(e *sched.Event) bool { return e.Type == sched.Event_OFFERS }
	e := m.next("OFFERS", isOffer)
	for _, later := range m.seen {
		if isOffer(later) {
			e = m.next("OFFERS", isOffer)
		}
	}
	return e.Offers.Offers[0]
}

// update returns the next update of a task in one of the states.
func (m *testMesos) update(id string, states ...mesos.TaskState) mesos.TaskStatus {
	m.t.Helper()
	e := m.next(fmt.Sprintf("update of %s to %v", id, states), func(e *sched.Event) bool {
		if e.Type != sched.Event_UPDATE || e.Update.Status.TaskID.Value != id {
			return false
		}
		for _, s := range states {
			if e.Update.Status.GetState() == s {
				return true
			}
		}
		return false
	})
	return e.Update.Status
}

func (m *testMesos) end(id string) mesos.TaskStatus {
	m.t.Helper()
	return m.update(id, endStates...)
}

func (m *testMesos) send(call *sched.Call) {
	m.t.Helper()
	done := make(chan error, 1)
	m.l.send(call, func(err error) { done <- err })
	if err := <-done; err != nil {
		m.t.Fatalf("send(%v) = %v", call.Type, err)
	}
}

func (m *testMesos) launch(tasks ...mesos.TaskInfo) {
	m.t.Helper()
	m.accept(m.offer().ID, tasks...)
}

func (m *testMesos) accept(offer mesos.OfferID, tasks ...mesos.TaskInfo) {
	m.t.Helper()
	for i := range tasks {
		tasks[i].AgentID = mesos.AgentID{Value: m.l.agent}
	}
	m.send(&sched.Call{Type: sched.Call_ACCEPT, Accept: &sched.Call_Accept{
		OfferIDs: []mesos.OfferID{offer},
		Operations: []mesos.Offer_Operation{{
			Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: tasks},
		}},
	}})
}

func (m *testMesos) kill(id string, grace time.Duration) {
	m.t.Helper()
	m.send(&sched.Call{Type: sched.Call_KILL, Kill: &sched.Call_Kill{
		TaskID:     mesos.TaskID{Value: id},
		KillPolicy: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(grace)}},
	}})
}

func (m *testMesos) reconcile(ids ...string) {
	m.t.Helper()
	call := &sched.Call{Type: sched.Call_RECONCILE, Reconcile: new(sched.Call_Reconcile)}
	for _, id := range ids {
		call.Reconcile.Tasks = append(call.Reconcile.Tasks, sched.Call_Reconcile_Task{TaskID: mesos.TaskID{Value: id}})
	}
	m.send(call)
}

func (m *testMesos) acknowledge(st mesos.TaskStatus) {
	m.t.Helper()
	m.send(&sched.Call{Type: sched.Call_ACKNOWLEDGE, Acknowledge: &sched.Call_Acknowledge{
		AgentID: *st.AgentID, TaskID: st.TaskID, UUID: st.UUID,
	}})
}

func (m *testMesos) output(id, name string) string {
	m.t.Helper()
	piece, err := m.l.output(id, name, 0, maxOutput)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(piece.text)
}

// startLocal subscribes to a data directory until the test ends or stop is called.
func startLocal(t *testing.T, dir string, opts localOptions) *testMesos {
	t.Helper()
	return startLocalTerm(t, dir, opts, termID{})
}

func startLocalTerm(t *testing.T, dir string, opts localOptions, term termID) *testMesos {
	t.Helper()
	if opts.keeper == nil {
		opts.keeper = testKeeper
	}
	l, err := newLocal(dir, opts, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	l.enter(term)
	ctx, stop := context.WithCancel(context.Background())
	m := &testMesos{t: t, l: l, events: newMailbox[*sched.Event](), stop: stop, ended: make(chan error, 1)}
	go func() {
		m.ended <- l.run(ctx, "", func(e *sched.Event) { m.events.put(e) })
		close(m.ended)
	}()
	t.Cleanup(func() {
		stop()
		<-m.ended
	})
	m.next("SUBSCRIBED", func(e *sched.Event) bool { return e.Type == sched.Event_SUBSCRIBED })
	return m
}

var endStates = []mesos.TaskState{
	mesos.TASK_FINISHED, mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_LOST, mesos.TASK_ERROR, mesos.TASK_DROPPED,
}

// shellTask is a task of 0.1 cpus that runs a shell command.
func shellTask(id, command string) mesos.TaskInfo {
	return mesos.TaskInfo{
		Name: "ChronosTask:test", TaskID: mesos.TaskID{Value: id},
		Resources: scalarsOf(resources{100, 1000, 1000}),
		Command:   &mesos.CommandInfo{Value: &command},
	}
}

func execTask(id, program string, args ...string) mesos.TaskInfo {
	task, shell := shellTask(id, program), false
	task.Command.Shell, task.Command.Arguments = &shell, args
	return task
}

func runIDFor(name string) string { return "ct:1420843781398:0:" + name + ":" }

func waitForFile(t *testing.T, path string) string {
	t.Helper()
	var text []byte
	until(t, "there is a line in "+path, func() bool {
		text, _ = os.ReadFile(path)
		return bytes.HasSuffix(text, []byte("\n"))
	})
	return strings.TrimSpace(string(text))
}

// alive reports whether a process runs: a zombie does not.
func alive(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// layOut makes a run's directory with its task, which a keeper would make.
func layOut(box sandbox, id string, task *mesos.TaskInfo) error {
	text, err := task.Marshal()
	return errors.Join(err, box.create(id), os.WriteFile(box.path("task"), text, 0o600))
}
