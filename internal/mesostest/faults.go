package mesostest

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// An Outcome is what becomes of a task by itself: after After it ends in State with Message.
type Outcome struct {
	After   time.Duration
	State   mesos.TaskState
	Message string
	Reason  *mesos.TaskStatus_Reason
	Forever bool // it runs until it is killed or finished
	Silent  bool // nothing is heard of it until it is killed
}

// Faults are asked before each delivery what goes wrong with it. Nil ones do no harm. They are called
// under the master's lock, so they must not call its methods.
type Faults struct {
	Accept func(*sched.Call_Accept) CallFault
	Call   func(*sched.Call) CallFault // of any type; Accept is not asked then
	Update func(*mesos.TaskStatus) UpdateFault
	Answer func(*mesos.TaskStatus) UpdateFault // of an update that the master makes itself; it is never late
}

// of says what goes wrong with a call.
func (f *Faults) of(c *sched.Call) CallFault {
	switch {
	case f.Call != nil:
		return f.Call(c)
	case f.Accept != nil && c.Type == sched.Call_ACCEPT:
		return f.Accept(c.Accept)
	}
	return NoFault
}

// A CallFault is what goes wrong with an ACCEPT, or with whatever call was asked for.
type CallFault int

// What goes wrong with a call.
const (
	NoFault    CallFault = iota
	NotTaken             // the connection breaks before the master has read the call
	Unanswered           // the master acts on it, but the connection breaks
	Forgotten            // 202, and the master never acts on it
	Refused              // 503
	AgentLost            // the master launches, but has just lost the agent
)

// An UpdateFault is what goes wrong with one delivery of an update.
type UpdateFault struct {
	Lose      bool // comes again after the agent's retry interval
	Duplicate bool
	Delay     time.Duration
}
