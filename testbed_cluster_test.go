package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A testCluster is a cluster of one agent that does as a test says: one in memory, or
// the real client of a double, of a Mesos master or of Kubernetes.
type testCluster interface {
	// client is the cluster of the next term.
	client(log *slog.Logger) cluster

	// resize changes the agent's cores.
	resize(cpus float64)
	// behave says how long tasks launched from now on take and how they end; a
	// state of STAGING means that nothing is ever heard of them. Nil: they finish at once.
	behave(outcome func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus))
	// intercept says from now on whether a call arrives, and what its done gets.
	intercept(fate func(*sched.Call) (arrives bool, err error))
	// disturb says from now on how often an update arrives and how late.
	disturb(unrest func(*mesos.TaskStatus) (copies int, late time.Duration))

	finish(id string, state mesos.TaskState) // ends a running task from outside
	tell(id string, status mesos.TaskStatus) // sends any status, whatever is known of the task
	arrive(*sched.Call)                      // delivers a call that was under way for long
	drop(time.Duration)                      // interrupts the subscription
	resend()                                 // repeats the updates that were not acknowledged

	running() []string            // ids of the tasks that live
	launched() []string           // ids of all tasks ever launched, in order
	launchCounts() map[string]int // the same, counted
	called(sched.Call_Type) int   // calls that have arrived
	acknowledged() []string       // tasks whose last updates were confirmed, in order
}

// onEachCluster runs a test in virtual time with each of the three.
func onEachCluster(t *testing.T, f func(*testing.T, testCluster)) {
	onMesos(t, f)
	asPods(t, f)
}

// asPods is onEachCluster with Kubernetes alone.
func asPods(t *testing.T, f func(*testing.T, testCluster)) {
	inVirtualTime(t, "on Kubernetes", func(t *testing.T) { f(t, newKubeTestCluster(t)) })
}

// onMesos is onEachCluster without Kubernetes.
func onMesos(t *testing.T, f func(*testing.T, testCluster)) {
	inVirtualTime(t, "in memory", func(t *testing.T) { f(t, newFakeCluster()) })
	inVirtualTime(t, "on Mesos", func(t *testing.T) { f(t, newDoubleCluster(t)) })
}

func inVirtualTime(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, f)
	})
}

// onQuickClusters leaves Kubernetes to the long form, for tests in which much happens: its double takes its time.
func onQuickClusters(t *testing.T, f func(*testing.T, testCluster)) {
	if *long {
		onEachCluster(t, f)
		return
	}
	onMesos(t, f)
}

// inMemory leaves the doubles to the long form, for tests in which more happens than their way is of interest.
func inMemory(t *testing.T, f func(*testing.T, testCluster)) {
	if *long {
		onEachCluster(t, f)
		return
	}
	inVirtualTime(t, "in memory", func(t *testing.T) { f(t, newFakeCluster()) })
}

// doubleCluster is the double of a master with an agent of the same size as that of fakeCluster.
// Nothing on the way takes time, and its allocator never sleeps.
type doubleCluster struct {
	*mesostest.Master
	agent *mesostest.Agent

	mu      sync.Mutex
	outcome func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus)
	unrest  func(*mesos.TaskStatus) (int, time.Duration)
	last    map[string]bool // uuids of terminal updates
}

func newDoubleCluster(t testing.TB) *doubleCluster {
	c := &doubleCluster{Master: mesostest.NewMaster(t, mesostest.Options{Pipe: true, Eager: true}), last: map[string]bool{}}
	c.agent = c.AddAgent(mesostest.AgentSpec{ID: "agent-1", Host: "host-1", CPUs: 1e6, Mem: 1e9, Disk: 1e9})
	c.SetBehaviour(c.behaviour)
	c.intercept(nil)
	return c
}

func (c *doubleCluster) client(log *slog.Logger) cluster {
	const week = 7 * 24 * time.Hour // as --failover_timeout is
	info := frameworkInfo(frameworkOptions{User: "root", Name: "chronos", Role: "*", Hostname: "localhost", FailoverTimeout: week, Checkpoint: true})
	return newMesos(configFor(c.Master, info, log))
}

func (c *doubleCluster) resize(cpus float64) { c.agent.SetCPUs(cpus) }

func (c *doubleCluster) behave(outcome func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcome = outcome
}

func (c *doubleCluster) behaviour(t *mesos.TaskInfo) mesostest.Outcome {
	c.mu.Lock()
	outcome := c.outcome
	c.mu.Unlock()
	if outcome == nil {
		return mesostest.Outcome{State: mesos.TASK_FINISHED}
	}
	after, status := outcome(*t)
	return mesostest.Outcome{
		After: after, State: status.GetState(), Message: status.GetMessage(), Reason: status.Reason, Silent: status.GetState() == mesos.TASK_STAGING,
	}
}

func (c *doubleCluster) intercept(fate func(*sched.Call) (bool, error)) {
	faults := mesostest.Faults{Update: c.updateFault, Answer: c.updateFault}
	if fate != nil {
		faults.Call = func(call *sched.Call) mesostest.CallFault {
			switch arrives, err := fate(call); {
			case arrives && err == nil:
				return mesostest.NoFault
			case arrives: // a master never acts on what it refuses, so errNotSent is not to be had
				return mesostest.Unanswered
			case errors.Is(err, errNotSent):
				return mesostest.Refused
			case err != nil:
				return mesostest.NotTaken
			}
			return mesostest.Forgotten
		}
	}
	c.SetFaults(faults)
}

func (c *doubleCluster) disturb(unrest func(*mesos.TaskStatus) (int, time.Duration)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unrest = unrest
}

func (c *doubleCluster) updateFault(s *mesos.TaskStatus) mesostest.UpdateFault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(s.UUID) > 0 && terminal(s.GetState()) {
		c.last[string(s.UUID)+s.TaskID.Value] = true
	}
	if c.unrest == nil {
		return mesostest.UpdateFault{}
	}
	copies, late := c.unrest(s)
	return mesostest.UpdateFault{Lose: copies == 0, Duplicate: copies > 1, Delay: late}
}

func (c *doubleCluster) finish(id string, state mesos.TaskState) { c.Finish(id, state, "") }

func (c *doubleCluster) tell(id string, s mesos.TaskStatus) {
	s.TaskID = mesos.TaskID{Value: id}
	if s.AgentID == nil {
		s.AgentID = &mesos.AgentID{Value: c.agent.ID()}
	}
	if len(s.UUID) > 0 {
		s.UUID = append(s.UUID, make([]byte, 16)...)[:16] // all that masters accept
	}
	c.Tell(s)
}

func (c *doubleCluster) arrive(call *sched.Call) { c.Deliver(call) }

// drop cuts the stream of events, and lets the master refuse everything for a while.
func (c *doubleCluster) drop(d time.Duration) {
	c.DropStreams()
	c.AnswerAll(http.StatusServiceUnavailable)
	time.AfterFunc(d, func() { c.AnswerAll(0) })
}

func (c *doubleCluster) resend() { c.Resend() }

func (c *doubleCluster) running() []string { return c.Running() }

func (c *doubleCluster) launched() []string { return c.Launched() }

func (c *doubleCluster) launchCounts() map[string]int { return c.AllLaunches() }

func (c *doubleCluster) called(kind sched.Call_Type) int { return len(c.Received(kind)) }

func (c *doubleCluster) acknowledged() []string {
	acknowledgements := c.Received(sched.Call_ACKNOWLEDGE)
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for _, call := range acknowledgements {
		if a := call.Acknowledge; c.last[string(a.UUID)+a.TaskID.Value] {
			ids = append(ids, a.TaskID.Value)
		}
	}
	return ids
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestClustersOfTheTests holds both clusters to what the scenarios rely on.
func TestClustersOfTheTests(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection broken")
	fates := []struct {
		name    string
		arrives bool
		err     error
		want    string // what done is told
	}{
		{"taken", true, nil, "taken"},
		{"refused", false, errNotSent, "not sent"},
		{"lost", false, broken, "unknown"},
		{"taken, but the answer is lost", true, broken, "unknown"},
	}
	for _, tt := range fates {
		t.Run("a call that is "+tt.name, func(t *testing.T) {
			t.Parallel()
			onEachCluster(t, func(t *testing.T, c testCluster) {
				client := runClient(t, c, func(*sched.Event) {})
				c.intercept(func(*sched.Call) (bool, error) { return tt.arrives, tt.err })
				told := make(chan error, 1)
				client.send(&sched.Call{Type: sched.Call_SUPPRESS}, func(err error) { told <- err })
				got := "unknown"
				switch err := <-told; {
				case err == nil:
					got = "taken"
				case errors.Is(err, errNotSent):
					got = "not sent"
				}
				if arrived := c.called(sched.Call_SUPPRESS) == 1; got != tt.want || arrived != tt.arrives {
					t.Errorf("told %q, arrived = %t, want %q, %t", got, arrived, tt.want, tt.arrives)
				}
			})
		})
	}
	for _, copies := range []int{0, 1, 2} {
		t.Run(fmt.Sprintf("an update that arrives %d times", copies), func(t *testing.T) {
			t.Parallel()
			onEachCluster(t, func(t *testing.T, c testCluster) {
				seen := 0
				runClient(t, c, func(e *sched.Event) { seen += boolInt(e.Type == sched.Event_UPDATE) })
				c.disturb(func(*mesos.TaskStatus) (int, time.Duration) { return copies, 0 })
				c.tell("T", status(mesos.TASK_RUNNING))
				synctest.Wait()
				if seen != copies {
					t.Errorf("seen %d times", seen)
				}
			})
		})
	}
	t.Run("a subscription that is interrupted", func(t *testing.T) {
		t.Parallel()
		onEachCluster(t, func(t *testing.T, c testCluster) {
			var seen []string
			runClient(t, c, func(e *sched.Event) {
				if e.Type == sched.Event_SUBSCRIBED || e.Type == sched.Event_UNKNOWN {
					seen = append(seen, e.Type.String())
				}
			})
			c.drop(5 * time.Second)
			time.Sleep(time.Minute)
			synctest.Wait()
			if want := []string{"SUBSCRIBED", "UNKNOWN", "SUBSCRIBED"}; !slices.Equal(seen, want) {
				t.Errorf("seen %q, want %q", seen, want)
			}
		})
	})
}

// runClient subscribes to a cluster until the test ends.
func runClient(t *testing.T, c testCluster, handle func(*sched.Event)) cluster {
	client := c.client(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = client.run(ctx, "", handle) }) // it ends with ctx
	t.Cleanup(func() { cancel(); running.Wait() })
	synctest.Wait()
	return client
}
