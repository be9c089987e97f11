package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// fakeCluster is a cluster in memory, for tests of the scheduler alone: one
// agent of a given size whose tasks take as long, and end as, the test says.
type fakeCluster struct {
	cpus, mem, disk float64
	// outcome says how long a task takes and how it ends; a state of STAGING
	// means that nothing is ever heard of it. It may be nil: tasks finish at once.
	outcome func(t mesos.TaskInfo) (time.Duration, mesos.TaskStatus)
	// fate, if not nil, says whether a call arrives, and what its done gets.
	fate func(*sched.Call) (arrives bool, err error)
	// unrest, if not nil, says how often an update arrives and how late. One with
	// a uuid that does not arrive is sent again until it is acknowledged.
	unrest func(*mesos.TaskStatus) (copies int, late time.Duration)

	mu         sync.Mutex
	handle     chan *sched.Event // of the subscription; nil while there is none
	stop       context.Context
	tasks      map[string]*memTask
	used       mesosSize
	offer      int
	out        bool // an offer is out
	suppressed bool
	launches   map[string]int
	order      []string // task ids in the order of their launch
	calls      map[sched.Call_Type]int
	acked      []string
	down       bool // there is no connection at the moment
	unacked    map[string]mesos.TaskStatus
}

type mesosSize struct{ cpus, mem, disk float64 }

type memTask struct {
	info  mesos.TaskInfo
	state mesos.TaskState
	timer *time.Timer
}

func newFakeCluster() *fakeCluster {
	return &fakeCluster{
		cpus: 1e6, mem: 1e9, disk: 1e9,
		tasks: map[string]*memTask{}, launches: map[string]int{}, calls: map[sched.Call_Type]int{},
		unacked: map[string]mesos.TaskStatus{},
	}
}

// run implements cluster.
func (c *fakeCluster) run(ctx context.Context, id string, handle func(*sched.Event)) error {
	if id == "" {
		id = "framework-1"
	}
	events := make(chan *sched.Event, 1<<20)
	c.mu.Lock()
	c.handle, c.stop = events, ctx
	c.subscribed(id)
	c.mu.Unlock()
	for {
		select {
		case e := <-events:
			handle(e)
		case <-ctx.Done():
			c.mu.Lock()
			c.handle = nil
			c.mu.Unlock()
			return ctx.Err()
		}
	}
}

// subscribed begins a subscription.
func (c *fakeCluster) subscribed(id string) {
	c.out, c.suppressed, c.down = false, false, false
	c.emit(&sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{FrameworkID: &mesos.FrameworkID{Value: id}}})
	c.resendAll()
	c.offerRest()
}

// resend repeats the updates that were not acknowledged.
func (c *fakeCluster) resend() { c.locked(c.resendAll)() }

func (c *fakeCluster) resendAll() {
	for _, id := range slices.Sorted(maps.Keys(c.unacked)) {
		c.update(id, c.unacked[id])
	}
}

// drop interrupts the subscription for a while.
func (c *fakeCluster) drop(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down || c.handle == nil {
		return
	}
	c.emit(&sched.Event{Type: sched.Event_UNKNOWN})
	c.down = true
	stop := c.stop
	time.AfterFunc(d, c.locked(func() {
		if c.down && c.stop == stop && stop.Err() == nil {
			c.down = false
			c.subscribed("framework-1")
		}
	}))
}

func (c *fakeCluster) emit(e *sched.Event) {
	if c.handle != nil && !c.down {
		c.handle <- e
	}
}

// offerRest offers what is free, unless an offer is out or none is wanted.
func (c *fakeCluster) offerRest() {
	if c.out || c.suppressed || c.handle == nil || c.down {
		return
	}
	c.out = true
	c.offer++
	scalar := func(name string, v float64) mesos.Resource {
		typ := mesos.SCALAR
		return mesos.Resource{Name: name, Type: &typ, Scalar: &mesos.Value_Scalar{Value: v}}
	}
	c.emit(&sched.Event{Type: sched.Event_OFFERS, Offers: &sched.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: "offer-" + time.Duration(c.offer).String()}, AgentID: mesos.AgentID{Value: "agent-1"}, Hostname: "host-1",
		Resources: []mesos.Resource{scalar("cpus", c.cpus-c.used.cpus), scalar("mem", c.mem-c.used.mem), scalar("disk", c.disk-c.used.disk)},
	}}}})
}

// send implements cluster.
func (c *fakeCluster) send(call *sched.Call, done func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.handle == nil || c.down {
		err = errNotSent
	}
	arrives := err == nil
	if arrives && c.fate != nil {
		arrives, err = c.fate(call)
	}
	if done != nil {
		go done(err)
	}
	if !arrives {
		return
	}
	c.calls[call.Type]++
	switch call.Type {
	case sched.Call_ACCEPT:
		if !c.isOut(call.Accept.OfferIDs) {
			for _, t := range call.Accept.Operations[0].Launch.TaskInfos {
				c.update(t.TaskID.Value, mesos.TaskStatus{State: mesos.TASK_DROPPED.Enum(), Reason: mesos.REASON_INVALID_OFFERS.Enum()})
			}
			return
		}
		c.out = false
		for _, t := range call.Accept.Operations[0].Launch.TaskInfos {
			c.launch(t)
		}
		c.offerRest()
	case sched.Call_DECLINE:
		if !c.isOut(call.Decline.OfferIDs) {
			return
		}
		c.out = false
		time.AfterFunc(5*time.Second, c.locked(c.offerRest))
	case sched.Call_SUPPRESS:
		c.suppressed = true
	case sched.Call_REVIVE:
		c.suppressed = false
		c.offerRest()
	case sched.Call_KILL:
		c.end(call.Kill.TaskID.Value, mesos.TaskStatus{State: mesos.TASK_KILLED.Enum()})
	case sched.Call_RECONCILE:
		c.reconcile(call.Reconcile.Tasks)
	case sched.Call_ACKNOWLEDGE:
		c.acked = append(c.acked, call.Acknowledge.TaskID.Value)
		delete(c.unacked, call.Acknowledge.TaskID.Value)
	}
}

// isOut reports whether all the offers are the one that is out.
func (c *fakeCluster) isOut(ids []mesos.OfferID) bool {
	now := "offer-" + time.Duration(c.offer).String()
	return c.out && !slices.ContainsFunc(ids, func(id mesos.OfferID) bool { return id.Value != now })
}

func (c *fakeCluster) locked(f func()) func() {
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		f()
	}
}

func (c *fakeCluster) launch(t mesos.TaskInfo) {
	id := t.TaskID.Value
	c.launches[id]++
	c.order = append(c.order, id)
	for _, r := range t.Resources {
		c.use(r, 1)
	}
	after, status := time.Duration(0), mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
	if c.outcome != nil {
		after, status = c.outcome(t)
	}
	task := &memTask{info: t, state: mesos.TASK_RUNNING}
	c.tasks[id] = task
	if status.GetState() == mesos.TASK_STAGING {
		task.state = mesos.TASK_STAGING
		return
	}
	c.update(id, mesos.TaskStatus{State: mesos.TASK_RUNNING.Enum()})
	if after == 0 {
		c.end(id, status)
		return
	}
	task.timer = time.AfterFunc(after, c.locked(func() { c.end(id, status) }))
}

func (c *fakeCluster) use(r mesos.Resource, sign float64) {
	switch v := sign * r.GetScalar().GetValue(); r.Name {
	case "cpus":
		c.used.cpus += v
	case "mem":
		c.used.mem += v
	case "disk":
		c.used.disk += v
	}
}

// update sends a status of a task.
func (c *fakeCluster) update(id string, status mesos.TaskStatus) {
	status.TaskID = mesos.TaskID{Value: id}
	if status.AgentID == nil {
		status.AgentID = &mesos.AgentID{Value: "agent-1"}
	}
	copies, late := 1, time.Duration(0)
	if c.unrest != nil {
		copies, late = c.unrest(&status)
	}
	deliver := func() {
		c.emit(&sched.Event{Type: sched.Event_UPDATE, Update: &sched.Event_Update{Status: status}})
	}
	for range copies {
		if late > 0 {
			time.AfterFunc(late, c.locked(deliver))
			continue
		}
		deliver()
	}
}

// end ends a task, if it lives, and says so.
func (c *fakeCluster) end(id string, status mesos.TaskStatus) {
	t := c.tasks[id]
	if t == nil {
		return
	}
	delete(c.tasks, id)
	if t.timer != nil {
		t.timer.Stop()
	}
	for _, r := range t.info.Resources {
		c.use(r, -1)
	}
	status.UUID = []byte("uuid of " + id)
	c.unacked[id] = status
	c.update(id, status)
	if c.out && c.handle != nil {
		// A real master would offer the difference beside it.
		c.out = false
		c.emit(&sched.Event{Type: sched.Event_RESCIND, Rescind: &sched.Event_Rescind{OfferID: mesos.OfferID{Value: "offer-" + time.Duration(c.offer).String()}}})
	}
	c.offerRest()
}

func (c *fakeCluster) reconcile(asked []sched.Call_Reconcile_Task) {
	if len(asked) == 0 {
		for _, id := range slices.Sorted(maps.Keys(c.tasks)) {
			c.update(id, mesos.TaskStatus{State: c.tasks[id].state.Enum()})
		}
		return
	}
	for _, a := range asked {
		id, reason := a.TaskID.Value, mesos.REASON_RECONCILIATION.Enum()
		last, ended := c.unacked[id]
		switch t := c.tasks[id]; {
		case t != nil:
			c.update(id, mesos.TaskStatus{State: t.state.Enum(), Reason: reason})
		case ended:
			c.update(id, mesos.TaskStatus{State: last.State, Reason: reason})
		default:
			c.update(id, mesos.TaskStatus{State: mesos.TASK_UNKNOWN.Enum(), Reason: reason})
		}
	}
}

// called counts the calls of a type that have arrived.
func (c *fakeCluster) called(t sched.Call_Type) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[t]
}

// acknowledged lists the tasks whose updates were confirmed, in order.
func (c *fakeCluster) acknowledged() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.acked)
}

// launchCounts says how often each task was launched.
func (c *fakeCluster) launchCounts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.launches)
}

// resize changes the agent's cores.
func (c *fakeCluster) resize(cpus float64) { c.locked(func() { c.cpus = cpus })() }

// behave sets outcome for the tasks launched from now on.
func (c *fakeCluster) behave(outcome func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus)) {
	c.locked(func() { c.outcome = outcome })()
}

// intercept sets fate.
func (c *fakeCluster) intercept(fate func(*sched.Call) (bool, error)) {
	c.locked(func() { c.fate = fate })()
}

// disturb sets unrest.
func (c *fakeCluster) disturb(unrest func(*mesos.TaskStatus) (int, time.Duration)) {
	c.locked(func() { c.unrest = unrest })()
}

// arrive delivers a call that was under way for long.
func (c *fakeCluster) arrive(call *sched.Call) { c.send(call, nil) }

// client returns the cluster itself: it serves one term after the other.
func (c *fakeCluster) client(*slog.Logger) cluster { return c }

// finish ends a running task from outside.
func (c *fakeCluster) finish(id string, state mesos.TaskState) {
	c.locked(func() { c.end(id, mesos.TaskStatus{State: state.Enum()}) })()
}

// tell sends any status, whatever the cluster knows of the task.
func (c *fakeCluster) tell(id string, status mesos.TaskStatus) {
	c.locked(func() { c.update(id, status) })()
}

// running lists the ids of the tasks that live.
func (c *fakeCluster) running() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.tasks))
}

// launched lists the ids of all tasks ever launched, in order.
func (c *fakeCluster) launched() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.order)
}
