package mesostest

import (
	"encoding/binary"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// keySeparator ends the role in the key of resources that are more than a role's.
const keySeparator = "\x00"

// resourceRole reads both formats: role, and the last of reservations.
func resourceRole(r *mesos.Resource) string {
	if n := len(r.Reservations); n > 0 {
		return r.Reservations[n-1].GetRole()
	}
	return r.GetRole()
}

// resourceKey tells resources apart: by name and role, and further by whom they
// are reserved for dynamically and which volume they are.
func resourceKey(r *mesos.Resource) [2]string {
	role, reservations := resourceRole(r), r.Reservations
	if old := r.Reservation; old != nil { // the format before RESERVATION_REFINEMENT
		reservations = []mesos.Resource_ReservationInfo{{
			Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: &role, Principal: old.Principal, Labels: old.Labels,
		}}
	}
	dynamic := slices.ContainsFunc(reservations, func(i mesos.Resource_ReservationInfo) bool {
		return i.GetType() == mesos.Resource_ReservationInfo_DYNAMIC
	})
	if dynamic || r.Disk != nil {
		more, err := JSON([]any{reservations, r.Disk})
		if err != nil {
			panic(err) // it has come as JSON or protobuf
		}
		role += keySeparator + string(more)
	}
	return [2]string{r.Name, role}
}

// operate changes what an agent has, as the operations of ACCEPT that launch nothing do, and
// reports the outcome if it is asked to by an id.
func (m *Master) operate(f *framework, agent *Agent, op *mesos.Offer_Operation, available amounts) {
	var from, to []mesos.Resource
	switch {
	case op.Reserve != nil:
		from, to = eachOf(op.Reserve.Resources, unreserved), op.Reserve.Resources
	case op.Unreserve != nil:
		from, to = op.Unreserve.Resources, eachOf(op.Unreserve.Resources, unreserved)
	case op.Create != nil:
		from, to = eachOf(op.Create.Volumes, withoutVolume), op.Create.Volumes
	case op.Destroy != nil:
		from, to = op.Destroy.Volumes, eachOf(op.Destroy.Volumes, withoutVolume)
	}
	state := mesos.OPERATION_ERROR
	if len(from) > 0 && available.covers(amountsOf(from)) {
		state = mesos.OPERATION_FINISHED
		available.subtract(from)
		available.add(amountsOf(to))
		for i := range from {
			agent.convert(from[i], to[i])
		}
	}
	if op.ID != nil {
		f.tell(&sched.Event{Type: sched.Event_UPDATE_OPERATION_STATUS, UpdateOperationStatus: &sched.Event_UpdateOperationStatus{
			Status: mesos.OperationStatus{OperationID: op.ID, State: state, UUID: m.operationUUID(), AgentID: &mesos.AgentID{Value: agent.id}},
		}})
	}
}

func (m *Master) operationUUID() *mesos.UUID {
	uuid := make([]byte, 16)
	binary.BigEndian.PutUint64(uuid[8:], uint64(len(m.calls)))
	return &mesos.UUID{Value: uuid}
}

func eachOf(rs []mesos.Resource, change func(mesos.Resource) mesos.Resource) []mesos.Resource {
	var out []mesos.Resource
	for _, r := range rs {
		out = append(out, change(r))
	}
	return out
}

func unreserved(r mesos.Resource) mesos.Resource {
	r.Reservations = nil
	return r
}

func withoutVolume(r mesos.Resource) mesos.Resource {
	r.Disk = nil
	return r
}

// convert turns a part of what an agent has into something else.
func (a *Agent) convert(from, to mesos.Resource) {
	a.total = slices.Clone(a.total)
	amount := func(r mesos.Resource, more float64) bool {
		i := slices.IndexFunc(a.total, func(its mesos.Resource) bool { return its.Scalar != nil && resourceKey(&its) == resourceKey(&r) })
		if i < 0 {
			return false
		}
		left := thousandths(a.total[i].Scalar.Value + more)
		a.total[i].Scalar = &mesos.Value_Scalar{Value: fromThousandths(left)}
		if left == 0 {
			a.total = slices.Delete(a.total, i, i+1)
		}
		return true
	}
	amount(from, -from.Scalar.Value)
	if amount(to, to.Scalar.Value) {
		return
	}
	to.AllocationInfo = nil
	// What is reserved stands before what is not.
	i := slices.IndexFunc(a.total, func(its mesos.Resource) bool { return its.Scalar != nil && len(its.Reservations) == 0 })
	if i < 0 || len(to.Reservations) == 0 {
		i = len(a.total)
	}
	a.total = slices.Insert(a.total, i, to)
}

// executor is the executor of a group of tasks on its agent.
type executor struct {
	*mesos.ExecutorInfo
	framework string
	tasks     int // that have not ended or are not acknowledged
}

// launchGroup starts all tasks of a group, or none of them.
func (m *Master) launchGroup(f *framework, agent *Agent, group *mesos.Offer_Operation_LaunchGroup, available amounts, invalid string) {
	tasks := group.TaskGroup.Tasks
	need := amountsOf(group.Executor.Resources)
	for _, t := range tasks {
		need.add(amountsOf(t.Resources))
	}
	if invalid == "" && !available.covers(need) {
		invalid = "Total resources required by the task group and its executor are more than available"
	}
	if invalid != "" {
		m.launch(f, agent, tasks, available, invalid)
		return
	}
	available.subtract(group.Executor.Resources)
	e := &executor{ExecutorInfo: &group.Executor, framework: f.id, tasks: len(tasks)}
	agent.groups = append(agent.groups, e)
	for i := range tasks {
		available.subtract(tasks[i].Resources)
		agent.launch(f, &tasks[i], e)
	}
}

// endGroup counts a task of a group as gone. Its executor ends with the last one.
func (a *Agent) endGroup(e *executor) {
	if e == nil {
		return
	}
	if e.tasks--; e.tasks > 0 {
		return
	}
	a.groups = slices.DeleteFunc(a.groups, func(other *executor) bool { return other == e })
	if f := a.m.frameworks[e.framework]; f != nil {
		f.tell(&sched.Event{Type: sched.Event_FAILURE, Failure: &sched.Event_Failure{
			AgentID: &mesos.AgentID{Value: a.id}, ExecutorID: &e.ExecutorID, Status: new(int32),
		}})
	}
}

// executorsOf lists the executors of a framework that can take more tasks.
func (a *Agent) executorsOf(f *framework) []mesos.ExecutorID {
	var ids []mesos.ExecutorID
	for _, e := range a.groups {
		if e.framework == f.id {
			ids = append(ids, e.ExecutorID)
		}
	}
	return ids
}
