package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// torture is a scheduler on the double of a master, and everything that goes
// wrong with them.
type torture struct {
	t       *testing.T
	mu      sync.Mutex // of random and noted, which the double uses too
	random  *rand.Rand
	noted   map[string]int // what went wrong, by kind, beside what the double counts
	m       *mesostest.Master
	store   *memStore
	cfg     schedulerConfig
	log     *slog.Logger
	life    *lifeline
	s       *doomedLeader
	leaders int
	kinds   []int // of accidents, those that are still to come in this round
	masters []string
	calming atomic.Bool
}

func (o *torture) chance(percent int) bool { return o.pick(100) < percent }

func (o *torture) pick(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.random.IntN(n)
}

// lead begins a term: a new process with nothing but the store, which breaks now
// and then, before or after it has stored something.
func (o *torture) lead() {
	o.leaders++
	o.life = newLifeline(o.m, o.store)
	life := o.life
	life.onCommit = func(_ []record, applied bool) {
		if !o.calming.Load() && o.pick(300) == 0 {
			o.note(fmt.Sprintf("commit broken, stored %v", applied))
			life.cut()
		}
	}
	o.s = leadOn(o.t, life, o.cfg, configFor(o.m, testFramework(), o.log))
}

// crash kills the leader, if it is not dead already, and makes another one.
func (o *torture) crash() {
	o.life.cut()
	o.s.die()
	o.lead()
}

// job is what the tortured scheduler runs: often, with retries.
func (o *torture) job(name, more string) {
	doc := `{"name":"` + name + `","command":"true","cpus":0.5,"mem":64,"disk":10,"retries":2,"epsilon":"PT10M",` + more + `}`
	j, err := decodeJob([]byte(doc), o.cfg.defaults, dialect2, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	for {
		err := o.s.putJob(o.t.Context(), name, func(*Job) (*Job, error) { return j, nil })
		if err == nil {
			return
		}
		o.t.Logf("put job %q: %v; again with the next leader", name, err)
		o.crash()
	}
}

// faults make the network and the agents what they are.
func (o *torture) faults() mesostest.Faults {
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
func (o *torture) faultOfOtherCall() mesostest.CallFault {
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

// note counts something that went wrong.
func (o *torture) note(kind string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.noted[kind]++
}

// accident does one thing that goes wrong, and puts it right some time later. Each kind has
// its turn before one comes again.
func (o *torture) accident() {
	if len(o.kinds) == 0 {
		o.mu.Lock()
		o.kinds = o.random.Perm(7)
		o.mu.Unlock()
	}
	kind := o.kinds[0]
	o.kinds = o.kinds[1:]
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
		o.note("runs killed")
		name := fmt.Sprintf("scheduled%d", o.pick(20))
		if err := o.s.killJob(o.t.Context(), name); err != nil {
			o.t.Logf("kill runs of %q: %v", name, err)
		}
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
		o := &torture{t: t, random: rand.New(rand.NewPCG(*firstSeed, 0)), noted: map[string]int{}, store: newMemStore(), cfg: testConfig()}
		o.cfg.historyKeep, o.cfg.historySize = 1<<20, 1<<30
		o.store.records[adoptKey] = []byte("0")
		o.log = newLogTap(t)
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
		o.lead()
		for i := range 20 {
			o.job(fmt.Sprintf("scheduled%d", i), fmt.Sprintf(`"schedule":"R/2000-01-01T00:00:%02dZ/PT40S"`, i))
		}
		o.job("child", `"parents":["scheduled0","scheduled1"]`)
		o.m.SetFaults(o.faults())
		for range failovers {
			for range 3 {
				time.Sleep(time.Duration(o.pick(20_000)) * time.Millisecond)
				o.accident()
				if o.life.gone() {
					o.crash()
				}
			}
			o.crash()
		}
		o.calm()
		o.compare()
		o.s.die()
	})
}

// calm ends the accidents and lets everything under way come to its end.
func (o *torture) calm() {
	o.m.SetFaults(mesostest.Faults{})
	o.calming.Store(true)
	if o.life.gone() {
		o.crash()
	}
	for _, a := range o.m.Agents() {
		a.Restore()
	}
	for j := range o.s.view().all() {
		err := o.s.putJob(o.t.Context(), j.job.Name, func(old *Job) (*Job, error) {
			disabled := *old
			disabled.Disabled = true
			return &disabled, nil
		})
		if err != nil {
			o.t.Errorf("disable %q: %v", j.job.Name, err)
		}
	}
	time.Sleep(2 * time.Hour)
	synctest.Wait()
}

// compare holds the history against what the agents saw.
func (o *torture) compare() {
	agreed := map[runState]mesos.TaskState{
		runFinished: mesos.TASK_FINISHED, runFailed: mesos.TASK_FAILED, runKilled: mesos.TASK_KILLED,
	}
	launches, outcomes := o.m.AllLaunches(), o.m.Outcomes()
	counts := map[runState]int{}
	recorded := map[string]bool{}
	for j := range o.s.view().all() {
		for _, r := range j.runs {
			o.t.Errorf("run %q is still %s: %s", r.ID, r.State, r.Reason)
		}
		for _, r := range j.history {
			counts[r.State]++
			if recorded[r.ID] && r.State != runMissed && r.State != runSkipped {
				o.t.Errorf("run %q is in the history twice", r.ID)
			}
			recorded[r.ID] = true
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
		}
	}
	o.compareSpans()
	for id := range launches {
		if !recorded[id] {
			o.t.Errorf("run %q was launched and is not in the history", id)
		}
	}
	if left := o.m.Running(); len(left) > 0 {
		o.t.Errorf("tasks still run: %q", left)
	}
	o.t.Logf("%d leaders, %d tasks launched, runs by end: %v", o.leaders, len(launches), counts)
	o.checkAccidents()
}

// checkAccidents wants everything that this test is about to have happened, and to have been
// noticed by whom it concerns.
func (o *torture) checkAccidents() {
	happened := o.m.Happened()
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(happened, o.noted)
	o.t.Logf("accidents: %v", happened)
	want := []string{
		"update lost", "update late", "update duplicated", "update overtaken", "stream dropped", "offer rescinded",
		"agent unreachable", "agent back", "master restarted", "another master leads", "runs killed",
		"call refused", "call lost",
	}
	for _, kind := range acceptFaultNames {
		want = append(want, kind)
	}
	for _, kind := range want {
		if happened[kind] == 0 {
			o.t.Errorf("%s: never in this run, so it has tested less than it says", kind)
		}
	}
}

// compareSpans holds the tasks of a job, which is not concurrent, against each other: none starts
// before the one before has ended, on whatever agent.
func (o *torture) compareSpans() {
	type task struct {
		id string
		mesostest.Span
	}
	jobs := make(map[string][]task)
	for id, span := range o.m.Spans() {
		_, _, name, _, _ := parseRunID(id)
		jobs[name] = append(jobs[name], task{id, span})
	}
	for name, tasks := range jobs {
		slices.SortFunc(tasks, func(a, b task) int { return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End)) }) // one may end as it starts
		for i := range tasks[1:] {
			if a, b := tasks[i], tasks[i+1]; a.End.IsZero() || b.Start.Before(a.End) {
				o.t.Errorf("job %q: %s ran from %v to %v, while %s ran from %v to %v", name, b.id, b.Start, b.End, a.id, a.Start, a.End)
			}
		}
	}
}
