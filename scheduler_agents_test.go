package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// lasting makes the tasks of each job take that long; those of others take a second.
func lasting(d map[string]time.Duration) func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
	return func(t mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
		_, _, job, _, _ := parseRunID(t.TaskID.Value)
		after, ok := d[job]
		if !ok {
			after = time.Second
		}
		return after, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
	}
}

const decade = 10 * 365 * 24 * time.Hour

// idleJob is a job of that many cores that is started by hand only.
func idleJob(name string, cpus float64, more string) string {
	return fmt.Sprintf(`{"name":%q,"command":"x","cpus":%v,"schedule":"R/2030-01-01T00:00:00Z/P1Y"%s}`, name, cpus, more)
}

// why is why the runs of a job wait.
func (b *bench) why(name string) string {
	b.t.Helper()
	waits, err := b.s.whyQueued(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, w := range waits {
		all = append(all, w.Reasons...)
	}
	return strings.Join(all, "\n")
}

func TestRunsAreExpectedToTakeAsLongAsBefore(t *testing.T) {
	t.Parallel()
	run := func(state runState, seconds int64) *Run {
		return &Run{State: state, Launched: 1000, Ended: 1000 + 1000*seconds}
	}
	tests := []struct {
		name    string
		limit   int64
		history []*Run
		want    int64 // ms
	}{
		{"nothing is known", 0, nil, endless},
		{"the limit will do", 60, nil, 60_000},
		{"somewhat more than the longest", 0, []*Run{run(runFinished, 8), run(runFailed, 100), run(runFinished, 40)}, 126_000},
		{"and no longer than the limit", 110, []*Run{run(runFinished, 100)}, 110_000},
		{"those that did not end by themselves tell nothing", 0, []*Run{run(runKilled, 8), run(runLost, 9), {State: runMissed, Ended: 5}}, endless},
		{"a limit of ages is none", 1 << 62, nil, endless},
	}
	for _, tt := range tests {
		e := &entry{job: &Job{MaxCompletionTime: tt.limit}, history: tt.history}
		if got := e.lasts(); got != tt.want {
			t.Errorf("%s: %d ms, want %d", tt.name, got, tt.want)
		}
	}
}

// TestAgentIsKeptOnlyForRoomThatWillCome: a large run waits, and other jobs go on unless what runs is known to
// end in time.
func TestAgentIsKeptOnlyForRoomThatWillCome(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		before, then time.Duration // that the run in the way takes, first and now; 0 for never run before
		way          string        // more of its job
		large        string        // more of the job of the large one
		kept         bool
		free         time.Duration // from the start of the run in the way, when others may go on
	}{
		{name: "nobody knows when it ends", then: decade},
		{name: "in two minutes at the latest", before: 90 * time.Second, then: 90 * time.Second, kept: true, free: 90 * time.Second},
		{name: "not within two minutes", before: 10 * time.Minute, then: 10 * time.Minute},
		{name: "within the epsilon of the large one", before: 10 * time.Minute, then: 10 * time.Minute, large: `,"epsilon":"PT30M"`, kept: true, free: 10 * time.Minute},
		{name: "not within an hour", before: 2 * time.Hour, then: 2 * time.Hour, large: `,"epsilon":"PT9H"`},
		{name: "by its limit", then: 80 * time.Second, way: `,"maxCompletionTime":90`, kept: true, free: 80 * time.Second},
		{name: "it takes longer than ever", before: 60 * time.Second, then: decade, kept: true, free: 77 * time.Second},
	}
	for _, tt := range tests {
		scenario(t, tt.name, func(b *bench) {
			b.cluster.resize(4)
			takes := map[string]time.Duration{"way": tt.before}
			b.cluster.behave(lasting(takes))
			b.start().post(idleJob("way", 1, tt.way))
			b.post(idleJob("large", 4, tt.large))
			b.post(idleJob("new", 1, ""))
			if tt.before > 0 {
				b.runNow("way")
				b.wait(tt.before + time.Minute)
			}
			takes["way"] = tt.then
			way := b.runNow("way")
			large := b.runNow("large")
			b.wait(40 * time.Second)
			b.runNow("new")
			b.wait(0)
			if !tt.kept {
				b.wait(5 * time.Minute)
				if b.job("new").SuccessCount != 1 || b.job("large").SuccessCount != 0 {
					b.t.Errorf("the agent is kept: %s", b.why("new"))
				}
				b.do("kill", b.s.killJob(b.t.Context(), "way"))
				b.wait(time.Minute)
				if b.job("large").SuccessCount != 1 {
					b.t.Errorf("the large one has not had its turn when there was room: %s", b.why("large"))
				}
				return
			}
			if why := b.why("new"); b.job("new").SuccessCount != 0 || !strings.Contains(why, "is kept for run "+large+" of job large") {
				b.t.Fatalf("the agent is not kept, or it is not said for whom: %s", why)
			}
			if why := b.why("large"); !strings.Contains(why, "is kept for it") {
				b.t.Errorf("why the large one waits: %s", why)
			}
			b.wait(tt.free - 41*time.Second)
			if b.job("new").SuccessCount != 0 {
				b.t.Error("the agent was let go early")
			}
			b.wait(6 * time.Second)
			if got := b.job("new").SuccessCount; got != 1 {
				b.t.Errorf("the other has run %d times, want once: %s", got, b.why("new"))
			}
			if got, want := b.job("large").SuccessCount, int64(boolInt(tt.then < decade)); got != want {
				b.t.Errorf("the large one has run %d times, want %d", got, want)
			}
			if slices.Contains(b.cluster.running(), way) {
				b.cluster.finish(way, mesos.TASK_FINISHED)
			}
			b.wait(time.Minute)
			if b.job("large").SuccessCount != 1 {
				b.t.Errorf("the large one has not had its turn: %s", b.why("large"))
			}
		})
	}
}

func TestKeptAgentHoldsUpOnlyWhatWouldDelay(t *testing.T) {
	t.Parallel()
	// keep has an agent of four cores kept for two minutes, for a run of that many.
	keep := func(b *bench, cpus float64, more map[string]time.Duration) {
		b.cluster.resize(4)
		takes := map[string]time.Duration{"way": 2 * time.Minute}
		for job, d := range more {
			takes[job] = d
		}
		b.cluster.behave(lasting(takes))
		b.start().post(idleJob("way", 2, ""))
		b.post(idleJob("large", cpus, `,"epsilon":"PT10M"`))
		b.post(idleJob("new", 1, `,"concurrent":true`))
		b.post(idleJob("short", 1, ""))
		b.runNow("short")
		b.runNow("way")
		b.wait(5 * time.Minute)
		b.runNow("way")
		b.runNow("large")
		b.wait(40 * time.Second)
		if why := b.why("large"); !strings.Contains(why, "is kept for it") {
			b.t.Fatalf("no agent is kept: %s", why)
		}
	}
	scenario(t, "what is known to end before goes first, also behind others that need the same", func(b *bench) {
		keep(b, 4, map[string]time.Duration{"new": decade})
		b.runNow("new")
		b.runNow("short")
		b.wait(2 * time.Second)
		b.wantRunning("way")
		b.wantHistory("short", "manual finished 00:00:00", "manual finished 00:05:40")
		b.wait(80 * time.Second)
		b.wantHistory("large", "manual finished 00:05:00")
		b.wantRunning("new")
	})
	scenario(t, "what fits beside goes, however long it takes", func(b *bench) {
		keep(b, 3, map[string]time.Duration{"new": decade})
		b.runNow("new")
		b.wait(0)
		b.wantRunning("new", "way")
		b.runNow("new") // and this one does not
		b.wait(60 * time.Second)
		b.wantRunning("new", "way")
		b.wait(22 * time.Second)
		b.wantHistory("large", "manual finished 00:05:00")
	})
	scenarioOn(t, onQuickClusters, "a job that needs the whole machine waits beside an endless one, and the others go on", func(b *bench) {
		b.cluster.resize(4)
		b.cluster.behave(lasting(map[string]time.Duration{"tailer": decade}))
		b.start().post(`{"name":"tailer","command":"x","schedule":"R1//P1D","cpus":0.1}`)
		b.post(`{"name":"tick","command":"x","schedule":"R//PT10S","epsilon":"PT5S","cpus":0.1}`)
		b.wait(5 * time.Second)
		b.post(`{"name":"big","command":"x","schedule":"R1//P1D","cpus":4}`)
		b.wait(20 * time.Minute)
		if got := b.job("tick").SuccessCount; got != 121 {
			b.t.Errorf("%d of 121 occurrences have run", got)
		}
		b.do("kill", b.s.killJob(b.t.Context(), "tailer"))
		b.wait(10 * time.Second)
		b.wantHistory("big", "scheduled finished 00:00:05")
	})
	scenario(t, "it stays kept when the framework has subscribed again", func(b *bench) {
		keep(b, 4, nil)
		b.cluster.drop(time.Second)
		b.wait(5 * time.Second)
		b.runNow("new")
		b.wait(30 * time.Second)
		if why := b.why("new"); !strings.Contains(why, "is kept for run") {
			b.t.Errorf("the agent is kept no more: %s", why)
		}
		b.wait(50 * time.Second)
		b.wantHistory("large", "manual finished 00:05:00")
	})
	scenario(t, "and is let go when its run is killed", func(b *bench) {
		keep(b, 4, nil)
		b.do("kill", b.s.killJob(b.t.Context(), "large"))
		b.runNow("new")
		b.wait(5 * time.Second)
		b.wantHistory("new", "manual finished 00:05:40")
	})
	scenarioOn(t, onQuickClusters, "an agent that does not offer what has become free is not kept for it", func(b *bench) {
		b.cluster.resize(4)
		b.cluster.behave(nil)
		b.start().post(idleJob("large", 4, `,"epsilon":"PT1H"`))
		b.post(`{"name":"tick","command":"x","schedule":"R//PT10S","epsilon":"PT30S","cpus":1}`)
		b.wait(time.Minute)
		b.cluster.resize(2) // somebody else has taken the rest
		b.runNow("large")
		b.wait(30 * time.Minute)
		late := 0
		for _, r := range b.s.view().job("tick").history {
			late += boolInt(r.Launched-r.Due > 1000)
		}
		if n := b.job("tick").SuccessCount; n < 180 || late > 0 {
			b.t.Errorf("%d of 187 occurrences have run, and %d of the last ones were held up", n, late)
		}
	})
}

// A twoAgents is a cluster of which one agent, which offers first, may swallow what is launched there.
type twoAgents struct {
	*doubleCluster
	swallows bool
}

func (c *twoAgents) on(agentID string) (jobs []string) {
	for _, a := range c.Agents() {
		if a.ID() == agentID {
			for _, id := range a.Tasks() {
				_, _, job, _, _ := parseRunID(id)
				jobs = append(jobs, job)
			}
		}
	}
	slices.Sort(jobs)
	return jobs
}

func TestAgentThatSwallowsLaunches(t *testing.T) {
	t.Parallel()
	const hole, sound = "agent-1", "agent-2"
	begin := func(t *testing.T, second float64) (*bench, *twoAgents) {
		c := &twoAgents{doubleCluster: newDoubleCluster(t), swallows: true}
		c.resize(8)
		if second > 0 {
			c.AddAgent(mesostest.AgentSpec{ID: sound, Host: "host-2", CPUs: second, Mem: 1e6, Disk: 1e6})
		}
		c.behave(func(t mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			if t.AgentID.Value == hole && c.swallows {
				return 0, mesos.TaskStatus{State: mesos.TASK_STAGING.Enum()}
			}
			return decade, mesos.TaskStatus{}
		})
		b := newBenchOn(t, c).start()
		for _, name := range []string{"a", "b", "c", "d"} {
			b.post(idleJob(name, 2, ""))
		}
		b.runNow("a")
		b.wait(0)
		if got := c.on(hole); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("on the first agent = %q, want the first run", got)
		}
		return b, c
	}
	run := func(name string, second float64, f func(t *testing.T, b *bench, c *twoAgents)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, c := begin(t, second)
				f(t, b, c)
				b.end()
			})
		})
	}
	run("is not taken while another has room", 8, func(t *testing.T, b *bench, c *twoAgents) {
		b.wait(31 * time.Second)
		b.runNow("b")
		b.runNow("c")
		b.wait(time.Second)
		if got := c.on(sound); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("on the agent that answers = %q, want both later runs", got)
		}
	})
	run("is taken while nothing is wrong yet", 8, func(t *testing.T, b *bench, c *twoAgents) {
		b.wait(20 * time.Second)
		b.runNow("b")
		b.wait(time.Second)
		if got := c.on(hole); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("on the first agent = %q, want the second run too", got)
		}
	})
	run("is taken again when it has answered", 8, func(t *testing.T, b *bench, c *twoAgents) {
		b.wait(40 * time.Second)
		c.swallows = false
		c.tell(c.Agents()[0].Tasks()[0], status(mesos.TASK_RUNNING))
		b.runNow("b")
		b.wait(time.Second)
		if got := c.on(hole); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("on the first agent = %q, want the second run too", got)
		}
	})
	run("what the master says of a task is no answer of its agent", 8, func(t *testing.T, b *bench, c *twoAgents) {
		b.wait(40 * time.Second)
		c.tell(c.Agents()[0].Tasks()[0], status(mesos.TASK_STAGING))
		b.runNow("b")
		b.wait(time.Second)
		if got := c.on(sound); !slices.Equal(got, []string{"b"}) {
			t.Errorf("on the agent that answers = %q, want the second run", got)
		}
	})
	run("is taken after a while if no other gets room, and the run says so", 2, func(t *testing.T, b *bench, c *twoAgents) {
		b.wait(31 * time.Second)
		b.runNow("b")
		b.wait(time.Second)
		b.runNow("c")
		b.wait(time.Second)
		why := b.why("c")
		for _, want := range []string{"agent host-1 has not answered a launch since 2000-01-01T00:00:00.000Z", "for another agent than one that has not answered"} {
			if !strings.Contains(why, want) {
				t.Errorf("why it waits = %q, want %q", why, want)
			}
		}
		b.wait(otherAgent)
		if got := c.on(hole); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("on the agent that does not answer = %q, want the run that has waited", got)
		}
	})
	run("is taken at once if it is the only one, and a run that finds no room says so", 0, func(t *testing.T, b *bench, c *twoAgents) {
		b.wait(31 * time.Second)
		b.runNow("b")
		b.runNow("c")
		b.runNow("d")
		b.post(idleJob("e", 2, ""))
		b.runNow("e")
		b.wait(time.Second)
		if got := c.on(hole); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
			t.Errorf("on the only agent = %q, want all that have room", got)
		}
		if why := b.why("e"); !strings.Contains(why, "only agents are left that have not answered a launch for long") {
			t.Errorf("why the last one waits = %q", why)
		}
	})
	run("is not offered and declined for ever in place of the other", 8, func(t *testing.T, b *bench, c *twoAgents) {
		b.wait(31 * time.Second)
		declined := len(c.Received(sched.Call_DECLINE))
		for range 3 {
			b.runNow("b")
			b.wait(20 * time.Second)
		}
		if got := c.on(hole); !slices.Equal(got, []string{"a"}) {
			t.Errorf("on the agent that does not answer = %q", got)
		}
		if n := len(c.Received(sched.Call_DECLINE)) - declined; n > 30 {
			t.Errorf("%d DECLINE calls in a minute", n)
		}
	})
}
