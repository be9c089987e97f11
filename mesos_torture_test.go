package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A mesosTorture is one on the double of a master.
type mesosTorture struct {
	torture
	m       *mesostest.Master
	masters []string
}

// faults make the network and the agents what they are.
func (o *mesosTorture) faults() mesostest.Faults {
	return mesostest.Faults{
		Call: func(c *sched.Call) mesostest.CallFault {
			if c.Type != sched.Call_ACCEPT {
				return o.faultOfOtherCall()
			}
			if o.chance(25) {
				fault := mesostest.CallFault(1 + o.pick(5))
				o.note(acceptFaultNames[fault])
				return fault
			}
			return mesostest.NoFault
		},
		Update: func(*mesos.TaskStatus) mesostest.UpdateFault {
			f := mesostest.UpdateFault{Lose: o.chance(10), Duplicate: o.chance(10)}
			if o.chance(10) {
				f.Delay = time.Duration(o.pick(30_000)) * time.Millisecond
			}
			return f
		},
	}
}

// faultOfOtherCall lets one in ten calls that are no ACCEPT go wrong.
func (o *mesosTorture) faultOfOtherCall() mesostest.CallFault {
	switch o.pick(20) {
	case 0:
		o.note("call refused")
		return mesostest.Refused
	case 1:
		o.note("call lost")
		return mesostest.NotTaken
	}
	return mesostest.NoFault
}

var acceptFaultNames = map[mesostest.CallFault]string{
	mesostest.NotTaken: "ACCEPT not taken", mesostest.Unanswered: "ACCEPT unanswered", mesostest.Forgotten: "ACCEPT forgotten",
	mesostest.Refused: "ACCEPT refused", mesostest.AgentLost: "ACCEPT while the agent is lost",
}

// accident does one thing that goes wrong, and puts it right some time later. Each kind has
// its turn before one comes again.
func (o *mesosTorture) accident() {
	kind := o.nextKind("cluster", 7)
	agents := o.m.Agents()
	agent := agents[o.pick(len(agents))]
	switch kind {
	case 0:
		o.m.DropStreams()
	case 1:
		o.m.RescindAll()
	case 2:
		agent.CutOff()
		time.Sleep(time.Duration(1+o.pick(30)) * time.Second)
		agent.Restore()
	case 3:
		agent.CutOff()
		time.Sleep(time.Duration(100+o.pick(60)) * time.Second)
		agent.Restore()
	case 4:
		o.note("master restarted")
		o.m.Restart()
		time.Sleep(time.Duration(o.pick(20)) * time.Second)
	case 5:
		o.note("another master leads")
		o.m.Lead(o.masters[0])
		o.masters = append(o.masters[1:], o.masters[0])
		time.Sleep(time.Duration(o.pick(20)) * time.Second)
	case 6:
		o.killRuns(20)
	}
	for _, a := range agents { // some were lost while they launched something
		a.Restore()
	}
}

// TestMesosTorture changes leaders, masters and agents while everything on the
// way between them gets lost, late, doubled or overtaken. At the end each attempt
// has been launched once at most, each launched one is in the history, and what
// the history says of it is what its agent saw. Time is virtual.
func TestMesosTorture(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failovers := inForm(10, 200)
		t.Logf("seed %d, %d fail-overs", *firstSeed, failovers)
		o := &mesosTorture{}
		o.set(t)
		o.needs = `"cpus":0.5,"mem":64,"disk":10,`
		o.m = mesostest.NewMaster(t, mesostest.Options{Pipe: true, Election: 3 * time.Second})
		o.masters = []string{o.m.Standby(), o.m.URL(), o.m.StandbyAt("127.0.0.1:5054")}
		for range 3 {
			o.m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
		}
		o.m.SetBehaviour(func(*mesos.TaskInfo) mesostest.Outcome {
			out := mesostest.Outcome{After: time.Duration(o.pick(20_000)) * time.Millisecond, State: mesos.TASK_FINISHED}
			if o.chance(20) {
				out.After = 0 // as a job that has nothing to do
			}
			if o.chance(15) {
				out.State, out.Message = mesos.TASK_FAILED, "Command exited with status 1"
			}
			return out
		})
		o.lifeline = func() *lifeline { return newLifeline(o.m, o.store) }
		o.begin = func(life *lifeline) *doomedLeader {
			return leadOn(t, life, o.cfg, configFor(o.m, testFramework(), o.log))
		}
		o.lead()
		o.jobs(20)
		o.m.SetFaults(o.faults())
		o.suffer(failovers, 20*time.Second, o.accident)
		o.m.SetFaults(mesostest.Faults{})
		o.calm(func() {
			for _, a := range o.m.Agents() {
				a.Restore()
			}
		})
		o.compare()
		o.leader.die()
	})
}

// compare holds the history against what the agents saw.
func (o *mesosTorture) compare() {
	agreed := map[runState]mesos.TaskState{
		runFinished: mesos.TASK_FINISHED, runFailed: mesos.TASK_FAILED, runKilled: mesos.TASK_KILLED,
	}
	launches, outcomes := o.m.AllLaunches(), o.m.Outcomes()
	counts, recorded := o.eachEnded(func(r *Run) {
		n, outcome := launches[r.ID], outcomes[r.ID]
		want, ran := agreed[r.State]
		switch {
		case n > 1:
			o.t.Errorf("run %q was launched %d times", r.ID, n)
		case r.State == runLost && n != 0: // no agent is away for as long as that takes
			o.t.Errorf("run %q is lost (%s), but its agent saw %s", r.ID, r.Reason, outcome)
		case r.State == runKilled && n == 0: // while it waited
		case r.State == runKilled && n == 1 && outcome == mesos.TASK_FAILED: // after a kill that was asked for, any end but FINISHED is one
		case ran && n != 1:
			o.t.Errorf("run %q is %s but was launched %d times", r.ID, r.State, n)
		case ran && outcome != want:
			o.t.Errorf("run %q is %s, but its agent saw %s", r.ID, r.State, outcome)
		case (r.State == runMissed || r.State == runSkipped) && n != 0:
			o.t.Errorf("run %q is %s but was launched", r.ID, r.State)
		}
	})
	o.compareSpans(o.m.Spans())
	for id := range launches {
		if !recorded[id] {
			o.t.Errorf("run %q was launched and is not in the history", id)
		}
	}
	if left := o.m.Running(); len(left) > 0 {
		o.t.Errorf("tasks still run: %q", left)
	}
	o.t.Logf("%d leaders, %d tasks launched, runs by end: %v", o.leaders, len(launches), counts)
	want := []string{
		"update lost", "update late", "update duplicated", "update overtaken", "stream dropped", "offer rescinded",
		"agent unreachable", "agent back", "master restarted", "another master leads", "runs killed",
		"call refused", "call lost",
	}
	for _, kind := range acceptFaultNames {
		want = append(want, kind)
	}
	o.checkAccidents(o.m.Happened(), want)
}
