package mesostest

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

type agentState int

const (
	agentActive      agentState = iota
	agentCutOff                 // the connection is gone, the master still waits
	agentUnreachable            // the master has given up waiting
	agentRecovered              // known to a restarted master from its registry only
	agentForgotten              // unknown to a master with an empty registry
)

// An Agent is an agent and what the master knows of it.
type Agent struct {
	m          *Master
	id         string
	host       string
	address    string // host:port of its HTTP interface
	total      []mesos.Resource
	attributes []mesos.Attribute
	state      agentState
	since      time.Time // of unreachable
	timeout    *time.Timer
	tasks      map[string]*task // with updates that are not acknowledged, or running
	offered    map[string]*offer
	files      map[string][]byte // path in a sandbox -> contents
	past       []*task           // ended and acknowledged
	groups     []*executor       // executors of task groups
}

func (a *Agent) stop() {
	if a.timeout != nil {
		a.timeout.Stop()
	}
	for _, t := range a.tasks {
		t.stop()
	}
}

// An AgentSpec describes an agent.
type AgentSpec struct {
	ID, Host        string // one of the master's, and 127.0.0.1, if ""
	CPUs, Mem, Disk float64
	Resources       []mesos.Resource // instead of these amounts and a range of ports
	Attributes      []mesos.Attribute
}

// AddAgent registers an agent and offers its resources at once.
func (m *Master) AddAgent(spec AgentSpec) *Agent {
	m.mu.Lock()
	n := m.numbers.agent
	m.numbers.agent++
	m.mu.Unlock()
	a := &Agent{
		m: m, id: spec.ID, host: spec.Host, total: spec.Resources, attributes: spec.Attributes,
		tasks: make(map[string]*task), offered: make(map[string]*offer), files: make(map[string][]byte),
	}
	if a.id == "" {
		a.id = fmt.Sprintf("%s-S%d", m.id, n)
	}
	if a.host == "" {
		a.host = "127.0.0.1"
	}
	if a.total == nil {
		a.total = []mesos.Resource{
			{Name: "ports", Type: mesos.RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 31000, End: 32000}}}},
			{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: spec.CPUs}},
			{Name: "mem", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: spec.Mem}},
			{Name: "disk", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: spec.Disk}},
		}
	}
	a.address = m.Serve(fmt.Sprintf("127.0.0.1:%d", 5051+10*n), a)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.agents = append(m.agents, a)
	m.allocate()
	m.notify()
	return a
}

// ID returns the agent's id.
func (a *Agent) ID() string { return a.id }

// Tasks lists the ids of the tasks that run, or have updates that nobody has acknowledged.
func (a *Agent) Tasks() []string {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	return slices.Sorted(maps.Keys(a.tasks))
}

// SetCPUs changes how many cores the agent has.
func (a *Agent) SetCPUs(cpus float64) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	defer a.m.notify()
	a.total = slices.Clone(a.total)
	for i := range a.total {
		if r := &a.total[i]; r.Name == "cpus" {
			r.Scalar = &mesos.Value_Scalar{Value: cpus}
		}
	}
}

// CutOff breaks the connection to an agent: its offers are rescinded, and after
// a while its tasks are unreachable. They go on running.
func (a *Agent) CutOff() {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	defer a.m.notify()
	a.disconnect()
	a.rescindOffers()
}

func (a *Agent) rescindOffers() {
	for _, id := range slices.Sorted(maps.Keys(a.offered)) {
		a.m.rescind(a.offered[id])
	}
}

func (a *Agent) disconnect() {
	a.state = agentCutOff
	a.timeout = time.AfterFunc(a.m.opt.AgentTimeout, func() {
		a.m.mu.Lock()
		defer a.m.mu.Unlock()
		defer a.m.notify()
		if a.state == agentCutOff {
			a.lost()
		}
	})
}

// lost tells every framework that the agent and its tasks are unreachable.
func (a *Agent) lost() {
	a.m.happened["agent unreachable"]++
	a.state, a.since = agentUnreachable, time.Now()
	for _, f := range a.m.sorted() {
		f.filters = slices.DeleteFunc(f.filters, func(r *filter) bool { return r.agent == a })
		for _, id := range slices.Sorted(maps.Keys(f.tasks)) {
			t := f.tasks[id]
			if t.agent != a {
				continue
			}
			delete(f.tasks, id)
			a.m.masterUpdate(f, mesos.TaskStatus{
				TaskID: t.info.TaskID, AgentID: &t.info.AgentID, State: f.lost(mesos.TASK_UNREACHABLE),
				Reason: mesos.REASON_AGENT_REMOVED.Enum(), Message: new("health check timed out"),
				UnreachableTime: &mesos.TimeInfo{Nanoseconds: a.since.UnixNano()},
			})
		}
	}
	for _, f := range a.m.sorted() {
		f.tell(&sched.Event{Type: sched.Event_FAILURE, Failure: &sched.Event_Failure{AgentID: &mesos.AgentID{Value: a.id}}})
	}
}

func (m *Master) sorted() []*framework {
	var out []*framework
	for _, id := range slices.Sorted(maps.Keys(m.frameworks)) {
		out = append(out, m.frameworks[id])
	}
	return out
}

// Restore brings an agent back with its tasks.
func (a *Agent) Restore() {
	m := a.m
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.notify()
	before := a.state
	if before == agentCutOff || before == agentUnreachable {
		m.happened["agent back"]++
	}
	a.state = agentActive
	if a.timeout != nil {
		a.timeout.Stop()
	}
	for _, f := range m.sorted() {
		a.dropUnstarted(f)
		for _, id := range slices.Sorted(maps.Keys(a.tasks)) {
			t := a.tasks[id]
			if t.framework != f.id {
				continue
			}
			f.tasks[id] = t
			if (before == agentUnreachable || before == agentForgotten) && !terminal(t.known) {
				which := map[agentState]string{agentUnreachable: "Unreachable agent re-reregistered", agentForgotten: "Unknown agent reregistered"}
				m.masterUpdate(f, mesos.TaskStatus{
					TaskID: t.info.TaskID, AgentID: &t.info.AgentID, State: t.actual.Enum(), ContainerStatus: t.container(),
					Reason: mesos.REASON_AGENT_REREGISTERED.Enum(), Message: new(which[before]),
				})
			}
		}
		a.resend(f)
	}
	m.allocate()
}

// dropUnstarted ends the tasks that were launched but never reached the agent.
func (a *Agent) dropUnstarted(f *framework) {
	for _, id := range slices.Sorted(maps.Keys(f.tasks)) {
		t := f.tasks[id]
		if t.agent != a || a.tasks[id] != nil {
			continue
		}
		delete(f.tasks, id)
		a.m.masterUpdate(f, mesos.TaskStatus{
			TaskID: t.info.TaskID, AgentID: &t.info.AgentID, State: f.lost(mesos.TASK_DROPPED),
			Reason: mesos.REASON_RECONCILIATION.Enum(), Message: new("Task is unknown to the agent"),
		})
	}
}

// adoptTasks finds the tasks of a framework that subscribes with an id again.
func (m *Master) adoptTasks(f *framework) {
	for _, a := range m.agents {
		if a.state != agentActive && a.state != agentCutOff {
			continue
		}
		for id, t := range a.tasks {
			if t.framework == f.id {
				f.tasks[id] = t
			}
		}
	}
}

// task is a task on its agent.
type task struct {
	agent     *Agent
	framework string
	info      *mesos.TaskInfo
	known     mesos.TaskState     // to the master
	actual    mesos.TaskState     // to the agent
	updates   []*mesos.TaskStatus // not acknowledged, oldest first
	interval  time.Duration       // until the first of them is sent again
	retry     *time.Timer
	ending    *time.Timer
	number    int
	runsIn    string    // container id, if it is given from outside
	group     *executor // nil for tasks on their own
	forwarded uint32    // the highest number that the framework has been told of
}

// terminal reports whether a task in that state has ended.
func terminal(state mesos.TaskState) bool {
	switch state {
	case mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_KILLING, mesos.TASK_UNREACHABLE:
		return false
	}
	return true
}

func (t *task) stop() {
	for _, timer := range []*time.Timer{t.retry, t.ending} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// launch starts a task, unless the agent is away: then the master takes it for
// staging until the agent is found not to have it.
func (a *Agent) launch(f *framework, info *mesos.TaskInfo, group *executor) {
	t := &task{agent: a, framework: f.id, info: info, group: group, known: mesos.TASK_STAGING, actual: mesos.TASK_STAGING}
	f.tasks[info.TaskID.Value] = t
	if a.state != agentActive {
		return
	}
	a.tasks[info.TaskID.Value] = t
	a.m.launched[info.TaskID.Value]++
	a.m.spans[info.TaskID.Value] = Span{Start: time.Now()}
	a.m.order = append(a.m.order, info.TaskID.Value)
	if a.m.opt.Scripted {
		return
	}
	outcome := a.m.behave(info)
	if outcome.Silent {
		return
	}
	t.emit(mesos.TaskStatus{State: mesos.TASK_STARTING.Enum()})
	t.emit(mesos.TaskStatus{State: mesos.TASK_RUNNING.Enum()})
	if outcome.Forever {
		return
	}
	t.ending = time.AfterFunc(outcome.After, func() {
		a.m.mu.Lock()
		defer a.m.mu.Unlock()
		defer a.m.notify()
		t.emit(mesos.TaskStatus{State: &outcome.State, Message: &outcome.Message, Reason: outcome.Reason})
	})
}

// kill ends a task at once.
func (t *task) kill() {
	f := t.agent.m.frameworks[t.framework]
	if terminal(t.actual) {
		return
	}
	if f != nil && f.capable(mesos.FrameworkInfo_Capability_TASK_KILLING_STATE) && t.actual != mesos.TASK_KILLING {
		t.emit(mesos.TaskStatus{State: mesos.TASK_KILLING.Enum()})
	}
	t.emit(mesos.TaskStatus{State: mesos.TASK_KILLED.Enum(), Message: new("Command terminated with signal Terminated")})
}

// Finish ends a task from outside, with what its executor says.
func (m *Master) Finish(taskID string, state mesos.TaskState, message string) {
	s := mesos.TaskStatus{State: &state}
	if message != "" {
		s.Message = &message
	}
	m.Emit(taskID, s)
}

// Confirm acknowledges whatever agents have still to tell of a task, as another scheduler of its framework would.
func (m *Master) Confirm(taskID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.notify()
	for _, a := range m.agents {
		for t := a.tasks[taskID]; t != nil && len(t.updates) > 0; t = a.tasks[taskID] {
			t.acknowledged(t.updates[0].UUID)
		}
	}
}

// Emit lets a task's agent report a status. What is not given is filled in.
func (m *Master) Emit(taskID string, s mesos.TaskStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.notify()
	for _, a := range m.agents {
		if t := a.tasks[taskID]; t != nil {
			t.emit(s)
			return
		}
	}
	m.t.Errorf("emit %v: no task %q runs", s.State, taskID)
}

// emit queues an update on the agent. A task that has ended says nothing more.
func (t *task) emit(s mesos.TaskStatus) {
	if terminal(t.actual) {
		return
	}
	t.actual = *s.State
	if terminal(t.actual) {
		t.agent.m.outcomes[t.info.TaskID.Value] = t.actual
		t.agent.m.spans[t.info.TaskID.Value] = Span{t.agent.m.spans[t.info.TaskID.Value].Start, time.Now()}
	}
	t.number++
	s.TaskID, s.AgentID = t.info.TaskID, &t.info.AgentID
	if s.Source == nil {
		s.Source = mesos.SOURCE_EXECUTOR.Enum()
	}
	if s.ExecutorID == nil {
		s.ExecutorID = &mesos.ExecutorID{Value: t.executor()}
	}
	if s.UUID == nil {
		s.UUID = t.uuid()
	}
	if s.Timestamp == nil {
		s.Timestamp = new(epoch(time.Now()))
	}
	if t.runsIn == "" {
		t.runsIn = s.ContainerStatus.GetContainerID().GetValue()
	}
	s.ContainerStatus = t.container()
	t.updates = append(t.updates, &s)
	if len(t.updates) == 1 {
		t.interval = 10 * time.Second
		t.deliver()
	}
}

func (t *task) executor() string {
	if t.group != nil {
		return t.group.ExecutorID.Value
	}
	if t.info.Executor != nil {
		return t.info.Executor.ExecutorID.Value
	}
	return t.info.TaskID.Value
}

func (t *task) uuid() []byte {
	uuid := make([]byte, 16)
	copy(uuid, t.info.TaskID.Value)
	binary.BigEndian.PutUint64(uuid[8:], uint64(t.number)<<32|uint64(len(t.agent.m.calls)))
	return uuid
}

func (t *task) container() *mesos.ContainerStatus {
	return &mesos.ContainerStatus{
		ContainerID: &mesos.ContainerID{Value: t.containerID()},
		NetworkInfos: []mesos.NetworkInfo{{IPAddresses: []mesos.NetworkInfo_IPAddress{
			{Protocol: mesos.IPv4.Enum(), IPAddress: new("127.0.0.1")}}}},
		ExecutorPID: new(uint32(4711)),
	}
}

// deliver sends the oldest update and sets the time of its next sending.
func (t *task) deliver() {
	m := t.agent.m
	if t.retry != nil {
		t.retry.Stop()
	}
	t.retry = time.AfterFunc(t.interval, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(t.updates) > 0 {
			t.interval = min(2*t.interval, 10*time.Minute)
			t.deliver()
		}
	})
	if t.agent.state != agentActive {
		return
	}
	update := *t.updates[0]
	fault := UpdateFault{}
	if m.faults.Update != nil {
		fault = m.faults.Update(&update)
	}
	if fault.Lose {
		m.happened["update lost"]++
		return
	}
	t.arrive(&update, fault.Delay)
	if fault.Duplicate {
		m.happened["update duplicated"]++
		t.arrive(&update, fault.Delay)
	}
}

func (t *task) arrive(update *mesos.TaskStatus, delay time.Duration) {
	m := t.agent.m
	if delay == 0 {
		t.forward(update)
		return
	}
	time.AfterFunc(delay, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.closing {
			m.happened["update late"]++
			t.forward(update)
			m.notify()
		}
	})
}

// forward is the master passing an update on. A terminal one frees the task's
// resources.
func (t *task) forward(update *mesos.TaskStatus) {
	if !terminal(t.known) {
		t.known = *update.State
	}
	if f := t.agent.m.frameworks[t.framework]; f != nil && f.stream != nil {
		n := binary.BigEndian.Uint32(update.UUID[8:])
		if n < t.forwarded {
			t.agent.m.happened["update overtaken"]++
		}
		t.forwarded = max(t.forwarded, n)
		f.tell(&sched.Event{Type: sched.Event_UPDATE, Update: &sched.Event_Update{Status: *update}})
	}
}

func (t *task) acknowledged(uuid []byte) {
	if len(t.updates) == 0 || string(t.updates[0].UUID) != string(uuid) {
		return
	}
	state := *t.updates[0].State
	t.updates = t.updates[1:]
	t.retry.Stop()
	if len(t.updates) > 0 {
		t.interval = 10 * time.Second
		t.deliver()
		return
	}
	if terminal(state) {
		t.stop()
		delete(t.agent.tasks, t.info.TaskID.Value)
		t.agent.past = append(t.agent.past, t)
		if f := t.agent.m.frameworks[t.framework]; f != nil {
			delete(f.tasks, t.info.TaskID.Value)
		}
		t.agent.endGroup(t.group)
	}
}

// Resend has all agents repeat the updates that nobody has acknowledged.
func (m *Master) Resend() {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.notify()
	for _, f := range m.sorted() {
		for _, a := range m.agents {
			a.resend(f)
		}
	}
}

// resend sends what a framework has not acknowledged, as after its return.
func (a *Agent) resend(f *framework) {
	for _, id := range slices.Sorted(maps.Keys(a.tasks)) {
		if t := a.tasks[id]; t.framework == f.id && len(t.updates) > 0 {
			t.interval = 10 * time.Second
			t.deliver()
		}
	}
}

// Running lists the tasks that agents have and that have not ended, by id.
func (m *Master) Running() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for _, a := range m.agents {
		for id, t := range a.tasks {
			if !terminal(t.actual) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

func (m *Master) allocateForEver(ctx context.Context) {
	next := time.NewTimer(m.opt.FirstAllocation)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			next.Reset(m.opt.Allocation)
		case <-m.returned:
		}
		m.mu.Lock()
		if m.allocate() {
			m.notify()
		}
		m.mu.Unlock()
	}
}
