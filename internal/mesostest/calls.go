package mesostest

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// takeCall carries a call out. Status 0 breaks the connection.
func (m *Master) takeCall(c *sched.Call, streamID string) (status int, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frameworks[c.FrameworkID.Value]
	switch {
	case f == nil:
		return http.StatusBadRequest, "Framework cannot be found"
	case f.stream == nil:
		return http.StatusForbidden, "Framework is not subscribed"
	case streamID == "":
		return http.StatusBadRequest, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"
	case streamID != f.stream.id:
		return http.StatusBadRequest, "The stream ID '" + streamID +
			"' included in this request didn't match the stream ID currently associated with framework ID " + f.id
	}
	fault := m.faults.of(c)
	if fault == NotTaken {
		return 0, ""
	}
	if fault == Refused {
		return http.StatusServiceUnavailable, "Service unavailable"
	}
	m.calls = append(m.calls, c)
	defer m.notify()
	switch fault {
	case Forgotten:
	case AgentLost:
		agent := m.agentOf(c.Accept)
		if agent != nil {
			agent.disconnect()
		}
		m.act(f, c)
		if agent != nil {
			agent.rescindOffers()
		}
	default:
		m.act(f, c)
	}
	switch {
	case fault == Unanswered:
		return 0, ""
	case c.Type == sched.Call_UPDATE_FRAMEWORK:
		return http.StatusOK, ""
	}
	return http.StatusAccepted, ""
}

func (m *Master) agentOf(a *sched.Call_Accept) *Agent {
	for _, id := range a.OfferIDs {
		if o := m.offers[id.Value]; o != nil {
			return o.agent
		}
	}
	return nil
}

// Deliver has the master act on a call that was under way for long, whatever stream it came from.
func (m *Master) Deliver(c *sched.Call) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.notify()
	m.act(m.frameworks[c.FrameworkID.Value], c)
}

func (m *Master) act(f *framework, c *sched.Call) {
	switch c.Type {
	case sched.Call_ACCEPT:
		m.accept(f, c.Accept)
	case sched.Call_DECLINE:
		for _, id := range c.Decline.OfferIDs {
			m.giveBack(f, id.Value, c.Decline.Filters)
		}
	case sched.Call_REVIVE:
		f.suppressed, f.filters = false, nil
		m.allocate()
	case sched.Call_SUPPRESS:
		f.suppressed = true
	case sched.Call_KILL:
		m.kill(f, c.Kill)
	case sched.Call_ACKNOWLEDGE:
		m.acknowledge(f, c.Acknowledge)
	case sched.Call_RECONCILE:
		m.reconcile(f, c.Reconcile.Tasks)
	case sched.Call_UPDATE_FRAMEWORK:
		info := c.UpdateFramework.FrameworkInfo
		f.info = &info
	case sched.Call_TEARDOWN:
		m.removeFramework(f)
		f.cut(true)
	}
}

// Tell has the master send every framework an update, whatever it knows of the task.
func (m *Master) Tell(s mesos.TaskStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.notify()
	for _, f := range m.sorted() {
		m.masterUpdate(f, s)
	}
}

// masterUpdate sends an update that the master makes itself: without uuid.
func (m *Master) masterUpdate(f *framework, s mesos.TaskStatus) {
	s.Source = mesos.SOURCE_MASTER.Enum()
	if s.Timestamp == nil {
		s.Timestamp = new(epoch(time.Now()))
	}
	copies := 1
	if m.faults.Answer != nil {
		switch fault := m.faults.Answer(&s); {
		case fault.Lose:
			copies = 0
		case fault.Duplicate:
			copies = 2
		}
	}
	for range copies {
		f.tell(&sched.Event{Type: sched.Event_UPDATE, Update: &sched.Event_Update{Status: s}})
	}
}

func epoch(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// accept launches what it can and gives the rest of the offers back.
func (m *Master) accept(f *framework, a *sched.Call_Accept) {
	available, agent, invalid := m.takeOffers(f, a.OfferIDs)
	for i := range a.Operations {
		op := &a.Operations[i]
		switch {
		case op.Launch != nil:
			m.launch(f, agent, op.Launch.TaskInfos, available, invalid)
		case op.LaunchGroup != nil:
			m.launchGroup(f, agent, op.LaunchGroup, available, invalid)
		case invalid == "":
			m.operate(f, agent, op, available)
		}
	}
	if agent != nil {
		f.refuse(agent, available, a.Filters)
	}
}

// launch starts tasks in what is available, each that can be.
func (m *Master) launch(f *framework, agent *Agent, tasks []mesos.TaskInfo, available amounts, invalid string) {
	for i := range tasks {
		if invalid != "" {
			m.masterUpdate(f, mesos.TaskStatus{
				TaskID: tasks[i].TaskID, AgentID: &tasks[i].AgentID, State: f.lost(mesos.TASK_DROPPED),
				Reason: mesos.REASON_INVALID_OFFERS.Enum(), Message: new("Task launched with invalid offers: " + invalid),
			})
			continue
		}
		if why := m.invalidTask(f, &tasks[i], available); why != "" {
			m.masterUpdate(f, mesos.TaskStatus{
				TaskID: tasks[i].TaskID, AgentID: &tasks[i].AgentID, State: mesos.TASK_ERROR.Enum(),
				Reason: mesos.REASON_TASK_INVALID.Enum(), Message: &why,
			})
			continue
		}
		available.subtract(tasks[i].Resources)
		agent.launch(f, &tasks[i], nil)
	}
}

// lost is what a state of a partition-aware framework is to others.
func (f *framework) lost(state mesos.TaskState) *mesos.TaskState {
	if !f.capable(mesos.FrameworkInfo_Capability_PARTITION_AWARE) {
		state = mesos.TASK_LOST
	}
	return &state
}

// takeOffers ends the offers. One that is unknown voids all.
func (m *Master) takeOffers(f *framework, ids []mesos.OfferID) (available amounts, agent *Agent, invalid string) {
	available = make(amounts)
	for _, id := range ids {
		o := m.offers[id.Value]
		switch {
		case o == nil || o.framework != f:
			invalid = "Offer " + id.Value + " is no longer valid"
		case agent != nil && agent != o.agent:
			invalid = "Aggregated offers must belong to one single agent. Offer " + id.Value + " uses agent " + o.agent.id +
				" and agent " + agent.id
		default:
			agent = o.agent
			available.add(o.amounts)
		}
	}
	for _, id := range ids {
		if o := m.offers[id.Value]; o != nil && o.framework == f {
			m.removeOffer(o)
		}
	}
	if invalid != "" {
		return nil, nil, invalid
	}
	return available, agent, ""
}

func (m *Master) invalidTask(f *framework, t *mesos.TaskInfo, available amounts) string {
	id := t.TaskID.Value
	switch {
	case id == "" || len(id) > 255 || strings.ContainsFunc(id, func(c rune) bool { return unicode.IsControl(c) || c == '/' || c == '\\' }):
		return "'" + id + "' contains invalid characters"
	case f.tasks[id] != nil:
		return "Task has duplicate ID: " + id
	case (t.Command == nil) == (t.Executor == nil):
		return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
	}
	if !available.contains(t.Resources) {
		return fmt.Sprintf("Total resources %s required by task and its executor is more than available %s",
			described(t.Resources, f), available.describe(f))
	}
	return ""
}

func (f *framework) defaultRole() string { return f.roles()[0] }

// kill asks a task's agent to end it, or says where the task is.
func (m *Master) kill(f *framework, k *sched.Call_Kill) {
	t := f.tasks[k.TaskID.Value]
	if t == nil {
		m.reconcileOne(f, sched.Call_Reconcile_Task{TaskID: k.TaskID, AgentID: k.AgentID})
		return
	}
	if t.agent.state == agentActive && !m.opt.Scripted {
		t.kill()
	}
}

func (m *Master) acknowledge(f *framework, a *sched.Call_Acknowledge) {
	for _, agent := range m.agents {
		if agent.id != a.AgentID.Value || agent.state != agentActive {
			continue
		}
		if t := agent.tasks[a.TaskID.Value]; t != nil {
			t.acknowledged(a.UUID)
		}
	}
}

func (m *Master) reconcile(f *framework, tasks []sched.Call_Reconcile_Task) {
	for _, t := range tasks {
		m.reconcileOne(f, t)
	}
	if len(tasks) > 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(f.tasks)) {
		m.latest(f, f.tasks[id])
	}
}

func (m *Master) latest(f *framework, t *task) {
	m.masterUpdate(f, mesos.TaskStatus{
		TaskID: t.info.TaskID, AgentID: &t.info.AgentID, State: t.known.Enum(),
		Reason: mesos.REASON_RECONCILIATION.Enum(), Message: new("Reconciliation: Latest task state"), ContainerStatus: t.container(),
	})
}

// reconcileOne answers as the master does, which is not at all while the agent
// may yet come back after a restart of the master.
func (m *Master) reconcileOne(f *framework, r sched.Call_Reconcile_Task) {
	if t := f.tasks[r.TaskID.Value]; t != nil {
		m.latest(f, t)
		return
	}
	s := mesos.TaskStatus{TaskID: r.TaskID, AgentID: r.AgentID, Reason: mesos.REASON_RECONCILIATION.Enum()}
	var agent *Agent
	recovered := false
	for _, a := range m.agents {
		recovered = recovered || a.state == agentRecovered
		if r.AgentID != nil && a.id == r.AgentID.Value && a.state != agentForgotten {
			agent = a
		}
	}
	switch {
	case agent == nil && r.AgentID == nil && recovered, agent != nil && agent.state == agentRecovered:
		return
	case agent == nil:
		s.State, s.Message = f.lost(mesos.TASK_UNKNOWN), new("Reconciliation: Task is unknown")
	case agent.state == agentUnreachable:
		s.State, s.Message = f.lost(mesos.TASK_UNREACHABLE), new("Reconciliation: Task is unreachable")
		s.UnreachableTime = &mesos.TimeInfo{Nanoseconds: agent.since.UnixNano()}
	default:
		s.State, s.Message = f.lost(mesos.TASK_GONE), new("Reconciliation: Task is unknown to the agent")
	}
	m.masterUpdate(f, s)
}

// amounts counts resources by name and what else tells them apart, in thousandths. Ports are not counted.
type amounts map[[2]string]int64

func amountsOf(rs []mesos.Resource) amounts {
	a := make(amounts)
	for i := range rs {
		if rs[i].Scalar != nil {
			a[resourceKey(&rs[i])] += thousandths(rs[i].Scalar.Value)
		}
	}
	return a
}

func (a amounts) add(b amounts) {
	for k, n := range b {
		a[k] += n
	}
}

func (a amounts) subtract(rs []mesos.Resource) {
	for k, n := range amountsOf(rs) {
		a[k] -= n
	}
}

func (a amounts) contains(rs []mesos.Resource) bool {
	for _, r := range rs {
		if r.Name == "ports" && slices.ContainsFunc(r.GetRanges().GetRange(), func(p mesos.Value_Range) bool {
			return p.Begin < 31000 || p.End > 32000
		}) {
			return false
		}
	}
	return a.covers(amountsOf(rs))
}

func (a amounts) covers(b amounts) bool {
	for k, n := range b {
		if n > a[k] {
			return false
		}
	}
	return true
}

// thousandths rounds an amount as Mesos does.
func thousandths(f float64) int64 { return int64(math.Round(f * 1000)) }

func fromThousandths(n int64) float64 { return float64(n/1000) + float64(n%1000)/1000 }

func decimal(n int64) string { return strconv.FormatFloat(fromThousandths(n), 'f', -1, 64) }

func described(rs []mesos.Resource, f *framework) string {
	var parts []string
	for _, r := range rs {
		value := ""
		switch {
		case r.Scalar != nil:
			value = decimal(thousandths(r.Scalar.Value))
		case r.Ranges != nil:
			value = fmt.Sprintf("[%d-%d]", r.Ranges.Range[0].Begin, r.Ranges.Range[0].End)
		}
		parts = append(parts, r.Name+"(allocated: "+f.defaultRole()+"):"+value)
	}
	return strings.Join(parts, "; ")
}

// describe lists what is offered in the master's order. Only for resources of *.
func (a amounts) describe(f *framework) string {
	parts := []string{"ports(allocated: " + f.defaultRole() + "):[31000-32000]"}
	for _, kind := range []string{"cpus", "mem", "disk"} {
		parts = append(parts, kind+"(allocated: "+f.defaultRole()+"):"+decimal(a[[2]string{kind, "*"}]))
	}
	return strings.Join(parts, "; ")
}
