package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/kubetest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// newKubeDouble is the double of a cluster in memory, whose pods are those of runs.
func newKubeDouble(t testing.TB, step time.Duration) *kubetest.Server {
	s := kubetest.NewServer(t, kubetest.Options{Pipe: true, Step: step, Nodes: []string{"host-1"}})
	s.TaskKey(annotationTask)
	return s
}

// kubeOn is the real client of a double.
func kubeOn(s *kubetest.Server, log *slog.Logger, change func(*kubeOptions)) *kubeCluster {
	o := kubeOptions{
		access: kubeAccess{server: s.URL()}, namespace: "default", dial: s.Dial, log: log, keep: 10, staging: 24 * time.Hour,
		pods: podOptions{image: "busybox", fetchImage: "chronos", plainUser: "root"},
	}
	if change != nil {
		change(&o)
	}
	return newKubernetes(o)
}

// A kubeTestCluster is the double of a Kubernetes cluster behind the real client. What a test has go wrong with calls and
// updates does so between the scheduler and the client; what goes wrong behind the client is the torture's affair.
type kubeTestCluster struct {
	*kubetest.Server
	mu      sync.Mutex
	cpus    float64
	cores   map[string]float64 // of the tasks that live
	outcome func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus)
	plans   map[string]taskPlan
	states  map[string]mesos.TaskState // in which a test has a task end that no container could
	fate    func(*sched.Call) (bool, error)
	unrest  func(*mesos.TaskStatus) (int, time.Duration)
	calls   map[sched.Call_Type]int
	acked   []string
	unacked map[string]mesos.TaskStatus
	uuids   map[string]bool
	current *kubeTestClient
	silent  map[string]bool // tasks of which nothing is to be heard
	job     func(name string) (*Job, bool)
	dropped []string // that a test has not started for lack of something
}

// A taskPlan is what a test wants to become of a task.
type taskPlan struct {
	after  time.Duration
	status mesos.TaskStatus
}

func newKubeTestCluster(t testing.TB) *kubeTestCluster {
	c := &kubeTestCluster{
		Server: newKubeDouble(t, 0), cpus: 1e6, cores: map[string]float64{}, plans: map[string]taskPlan{}, states: map[string]mesos.TaskState{},
		calls: map[sched.Call_Type]int{}, unacked: map[string]mesos.TaskStatus{}, uuids: map[string]bool{}, silent: map[string]bool{},
	}
	c.SetBehaviour(c.behaviour)
	return c
}

// behaviour is what a test wants to become of a task, as far as a container can.
func (c *kubeTestCluster) behaviour(p kubetest.Pod) kubetest.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := p.Annotations[annotationTask]
	plan := c.plans[id]
	after, status := plan.after, plan.status
	switch status.GetState() {
	case mesos.TASK_STAGING:
		c.silent[id] = true
		return kubetest.Outcome{Waiting: "ContainerCreating"}
	case mesos.TASK_FINISHED:
		return kubetest.Outcome{After: after}
	case mesos.TASK_FAILED:
		return kubetest.Outcome{After: after, Exit: 1}
	}
	return kubetest.Outcome{Forever: true}
}

func (c *kubeTestCluster) client(log *slog.Logger) cluster {
	k := &kubeTestClient{c: c, kube: kubeOn(c.Server, log, func(o *kubeOptions) { o.job = c.job })}
	c.mu.Lock()
	c.current = k
	c.mu.Unlock()
	return k
}

// A kubeTestClient stands between a scheduler and the client, and has things go wrong.
type kubeTestClient struct {
	c    *kubeTestCluster
	kube *kubeCluster

	mu     sync.Mutex // held while an event is handed on, so that they come one by one
	handle func(*sched.Event)
	offer  string // the client's offer that the test's stands for
	shown  string
	number int
	away   bool
	again  context.CancelFunc
}

func (k *kubeTestClient) run(ctx context.Context, framework string, handle func(*sched.Event)) error {
	if framework == "" {
		framework = "framework-1"
	}
	k.mu.Lock()
	k.handle = handle
	k.mu.Unlock()
	for {
		inner, cancel := context.WithCancel(ctx)
		k.mu.Lock()
		k.again = cancel
		k.mu.Unlock()
		err := k.kube.run(inner, framework, k.event)
		cancel()
		if ctx.Err() != nil || err != nil {
			return err
		}
		k.mu.Lock()
		away := k.away
		k.mu.Unlock()
		for away && rest(ctx, 100*time.Millisecond) {
			k.mu.Lock()
			away = k.away
			k.mu.Unlock()
		}
	}
}

// event hands an event of the client on.
func (k *kubeTestClient) event(e *sched.Event) {
	switch e.Type {
	case sched.Event_OFFERS:
		k.mu.Lock()
		defer k.mu.Unlock()
		k.offer = e.Offers.Offers[0].ID.Value
		k.show()
	case sched.Event_UPDATE:
		k.update(e.Update.Status)
	default:
		k.mu.Lock()
		defer k.mu.Unlock()
		if e.Type == sched.Event_UNKNOWN {
			k.offer, k.shown = "", ""
		}
		k.handle(e)
	}
}

// show offers what is left of the size that a test has given. The caller holds the lock.
func (k *kubeTestClient) show() {
	left := k.c.left()
	if k.offer == "" || left <= 0 {
		return
	}
	k.number++
	k.shown = fmt.Sprintf("shown-%d", k.number)
	all := int64(1e12)
	k.handle(&sched.Event{Type: sched.Event_OFFERS, Offers: &sched.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: k.shown}, AgentID: mesos.AgentID{Value: kubeAgent}, Hostname: kubeAgent,
		Resources: scalarsOf(resources{int64(left * 1000), all, all}),
	}}}})
}

func (c *kubeTestCluster) left() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.cpus
	for _, n := range c.cores {
		left -= n
	}
	return left
}

// resized shows another offer in the place of the one that is out.
func (k *kubeTestClient) resized() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.offer == "" {
		return
	}
	if k.shown != "" {
		k.handle(&sched.Event{Type: sched.Event_RESCIND, Rescind: &sched.Event_Rescind{OfferID: mesos.OfferID{Value: k.shown}}})
		k.shown = ""
	}
	k.show()
}

func (k *kubeTestClient) update(st mesos.TaskStatus) {
	c := k.c
	c.mu.Lock()
	id := st.TaskID.Value
	if state, strange := c.states[id]; strange && terminal(st.GetState()) {
		st.State, st.Reason, st.Message = state.Enum(), nil, nil
	}
	if len(st.UUID) > 0 {
		c.unacked[id], c.uuids[id] = st, true
	}
	if st.GetState() == mesos.TASK_STAGING && st.Reason == nil && c.silent[id] {
		c.mu.Unlock()
		return
	}
	unrest := c.unrest
	c.mu.Unlock()
	copies, late := 1, time.Duration(0)
	if unrest != nil {
		copies, late = unrest(&st)
	}
	for range copies {
		deliver := func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.handle(&sched.Event{Type: sched.Event_UPDATE, Update: &sched.Event_Update{Status: st}})
		}
		if late > 0 {
			time.AfterFunc(late, deliver)
			continue
		}
		deliver()
	}
	if terminal(st.GetState()) {
		c.mu.Lock()
		_, used := c.cores[id]
		delete(c.cores, id)
		c.mu.Unlock()
		if used {
			k.resized()
		}
	}
}

func (k *kubeTestClient) send(call *sched.Call, done func(error)) {
	k.c.mu.Lock()
	fate := k.c.fate
	k.c.mu.Unlock()
	if fate != nil {
		if arrives, err := fate(call); !arrives || err != nil {
			if arrives {
				k.arrive(call, func(error) {})
			}
			if done != nil {
				go done(err)
			}
			return
		}
	}
	k.arrive(call, done)
}

// arrive hands a call to the client.
func (k *kubeTestClient) arrive(call *sched.Call, done func(error)) {
	c := k.c
	c.mu.Lock()
	c.calls[call.Type]++
	if a := call.GetAcknowledge(); a != nil && c.uuids[a.TaskID.Value] {
		c.acked = append(c.acked, a.TaskID.Value)
		delete(c.unacked, a.TaskID.Value)
	}
	c.mu.Unlock()
	switch call.Type {
	case sched.Call_ACCEPT:
		call = k.accepted(call)
	case sched.Call_DECLINE:
		copied := *call.Decline
		copied.OfferIDs = k.real(copied.OfferIDs)
		call = &sched.Call{Type: call.Type, Decline: &copied}
	}
	k.kube.send(call, done)
}

// accepted translates an ACCEPT, and remembers its tasks if it is valid.
func (k *kubeTestClient) accepted(call *sched.Call) *sched.Call {
	copied := *call.Accept
	copied.OfferIDs = k.real(copied.OfferIDs)
	if len(copied.OfferIDs) == 0 || copied.OfferIDs[0].Value == "gone" {
		return &sched.Call{Type: call.Type, Accept: &copied}
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	var starts []mesos.TaskInfo
	for _, t := range copied.Operations[0].Launch.TaskInfos {
		plan := taskPlan{status: mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}}
		if k.c.outcome != nil {
			plan.after, plan.status = k.c.outcome(t)
		}
		if st := plan.status; st.GetState() == mesos.TASK_DROPPED { // it lacks something
			k.c.dropped = append(k.c.dropped, t.TaskID.Value)
			st.TaskID, st.AgentID = t.TaskID, &mesos.AgentID{Value: kubeAgent}
			time.AfterFunc(0, func() { k.update(st) })
			continue
		}
		starts = append(starts, t)
		if _, again := k.c.plans[t.TaskID.Value]; !again {
			k.c.plans[t.TaskID.Value] = plan
		}
		k.c.cores[t.TaskID.Value] = fromThousandths(taskAmounts(&t).cpus)
	}
	copied.Operations = []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: starts}}}
	return &sched.Call{Type: call.Type, Accept: &copied}
}

// real is the client's offer for that which was shown.
func (k *kubeTestClient) real(ids []mesos.OfferID) (real []mesos.OfferID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		if id.Value == k.shown && k.shown != "" {
			real = append(real, mesos.OfferID{Value: k.offer})
			k.offer, k.shown = "", ""
		} else {
			real = append(real, mesos.OfferID{Value: "gone"})
		}
	}
	return real
}

func (c *kubeTestCluster) resize(cpus float64) {
	c.mu.Lock()
	c.cpus = cpus
	k := c.current
	c.mu.Unlock()
	if k != nil {
		k.resized()
	}
}

func (c *kubeTestCluster) behave(outcome func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcome = outcome
}

func (c *kubeTestCluster) intercept(fate func(*sched.Call) (bool, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fate = fate
}

func (c *kubeTestCluster) disturb(unrest func(*mesos.TaskStatus) (int, time.Duration)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unrest = unrest
}

// finish ends a task from outside. What no container can end as is what the client is made to say.
func (c *kubeTestCluster) finish(id string, state mesos.TaskState) {
	exit := 0
	if state != mesos.TASK_FINISHED {
		exit = 1
	}
	if state != mesos.TASK_FINISHED && state != mesos.TASK_FAILED {
		c.mu.Lock()
		c.states[id] = state
		c.mu.Unlock()
	}
	c.Finish(id, exit, "")
}

func (c *kubeTestCluster) tell(id string, status mesos.TaskStatus) {
	status.TaskID = mesos.TaskID{Value: id}
	if status.AgentID == nil {
		status.AgentID = &mesos.AgentID{Value: kubeAgent}
	}
	c.mu.Lock()
	k := c.current
	c.mu.Unlock()
	k.update(status)
}

func (c *kubeTestCluster) arrive(call *sched.Call) { c.current.arrive(call, nil) }

// drop interrupts the subscription.
func (c *kubeTestCluster) drop(d time.Duration) {
	c.mu.Lock()
	k := c.current
	c.mu.Unlock()
	k.mu.Lock()
	k.away = true
	again := k.again
	k.mu.Unlock()
	c.Stop(d)
	if again != nil {
		again()
	}
	time.AfterFunc(d, func() {
		k.mu.Lock()
		k.away = false
		k.mu.Unlock()
	})
}

func (c *kubeTestCluster) resend() {
	c.mu.Lock()
	k, unacked := c.current, maps.Clone(c.unacked)
	c.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(unacked)) {
		k.update(unacked[id])
	}
}

func (c *kubeTestCluster) running() []string { return c.Live() }

func (c *kubeTestCluster) launched() []string { return c.Order() }

func (c *kubeTestCluster) launchCounts() map[string]int {
	counts := c.Created()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.dropped {
		counts[id]++
	}
	return counts
}

func (c *kubeTestCluster) called(kind sched.Call_Type) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[kind]
}

func (c *kubeTestCluster) acknowledged() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.acked)
}
