package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

var errKilled = errors.New("killed")

// lifeline is what connects a leader with the world. When it is cut, nothing
// the leader does has an effect any more, like after kill -9.
type lifeline struct {
	m     *mesostest.Master // nil without Mesos
	reach func(ctx context.Context, network, address string) (net.Conn, error)
	store *memStore
	// onCommit is called before and after records are applied.
	onCommit func(records []record, applied bool)
	// onAccept is called before the master reads the first ACCEPT, whose fate it may change.
	onAccept func(fate mesostest.CallFault) mesostest.CallFault

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
	died  chan struct{}
}

func newLifeline(m *mesostest.Master, st *memStore) *lifeline {
	l := newLifelineTo(m.Dial, st)
	l.m = m
	return l
}

func newLifelineTo(reach func(context.Context, string, string) (net.Conn, error), st *memStore) *lifeline {
	return &lifeline{reach: reach, store: st, died: make(chan struct{}), onCommit: func([]record, bool) {}}
}

func (l *lifeline) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.dead = true
	for _, c := range l.conns {
		c.Close()
	}
	close(l.died)
}

func (l *lifeline) gone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

func (l *lifeline) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := l.reach(ctx, network, address)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.dead {
		c.Close()
		return nil, errKilled
	}
	l.conns = append(l.conns, c)
	return c, err
}

// load implements store.
func (l *lifeline) load(ctx context.Context) (map[string][]byte, error) { return l.store.load(ctx) }

// allKeys implements store.
func (l *lifeline) allKeys() []string { return l.store.allKeys() }

// read implements store.
func (l *lifeline) read(ctx context.Context, keys []string) ([]reading, error) {
	return l.store.read(ctx, keys)
}

// size implements store.
func (l *lifeline) size(r record) int { return l.store.size(r) }

// commit implements store.
func (l *lifeline) commit(ctx context.Context, records []record) error {
	l.onCommit(records, false)
	if l.gone() {
		return errKilled
	}
	if err := l.store.commit(ctx, records); err != nil {
		return err
	}
	l.onCommit(records, true)
	if l.gone() {
		return errKilled
	}
	return nil
}

// doomedLeader is a scheduler on a lifeline.
type doomedLeader struct {
	*scheduler
	stop  context.CancelFunc
	ended chan error
}

func leadOn(t *testing.T, l *lifeline, cfg schedulerConfig, c mesosConfig) *doomedLeader {
	t.Helper()
	c.dial = l.dial
	return leadWith(t, l, cfg, newMesos(c), c.log)
}

func leadWith(t *testing.T, l *lifeline, cfg schedulerConfig, c cluster, log *slog.Logger) *doomedLeader {
	t.Helper()
	s := newScheduler(cfg, l, c, log)
	if err := s.load(context.Background()); err != nil {
		t.Fatalf("load: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &doomedLeader{scheduler: s, stop: stop, ended: make(chan error, 1)}
	go func() { k.ended <- s.run(ctx) }()
	return k
}

func (k *doomedLeader) die() {
	k.stop()
	<-k.ended
}

// records reports whether one of the records is a run or a history in that state.
func stores(records []record, state runState) bool {
	for _, r := range records {
		if (strings.HasPrefix(r.key, "go/run/") || strings.HasPrefix(r.key, "go/history/")) &&
			strings.Contains(string(r.value), `"state":"`+string(state)+`"`) {
			return true
		}
	}
	return false
}

// crashPoints say when a leader dies: each arms its lifeline and connection so
// that it is cut at that point. Where an ACCEPT has been written by then, it has arrived
// or was lost. At the first three points there is none. From the first update on the task runs,
// so one that was lost is an earlier one of the same attempt, after which the
// leader has asked, and launched anew.
var crashPoints = []struct {
	name   string
	accept fateOfAccept
	known  bool // the outcome is stored by then
	arm    func(l *lifeline, c *mesosConfig)
}{
	{name: "before the launch is stored", accept: acceptNotStored, arm: func(l *lifeline, _ *mesosConfig) {
		l.onCommit = func(rs []record, applied bool) {
			if !applied && stores(rs, runLaunching) {
				l.cut()
			}
		}
	}},
	{name: "when the launch is stored", accept: acceptNotWritten, arm: func(l *lifeline, _ *mesosConfig) {
		l.onCommit = func(rs []record, applied bool) {
			if applied && stores(rs, runLaunching) {
				l.cut()
			}
		}
	}},
	{name: "when ACCEPT is written", accept: acceptInFlight, arm: func(l *lifeline, _ *mesosConfig) {
		l.onAccept = func(fate mesostest.CallFault) mesostest.CallFault {
			l.cut()
			return fate
		}
	}},
	{name: "when ACCEPT is answered", accept: acceptInFlight, arm: func(l *lifeline, c *mesosConfig) {
		l.onAccept = func(fate mesostest.CallFault) mesostest.CallFault {
			if fate == mesostest.NotTaken {
				fate = mesostest.Forgotten // lost by the master, after it has said 202
			}
			return fate
		}
		c.onCall = func(kind string, _ time.Duration, _ error) {
			if kind == "ACCEPT" {
				l.cut()
			}
		}
	}},
	{name: "at the first update", accept: acceptBefore, arm: func(l *lifeline, c *mesosConfig) { c.onEvent = cutAt(l, "UPDATE", 1) }},
	{name: "at the terminal update", accept: acceptBefore, arm: func(l *lifeline, c *mesosConfig) { c.onEvent = cutAt(l, "UPDATE", 3) }},
	{name: "before its outcome is stored", accept: acceptBefore, arm: func(l *lifeline, _ *mesosConfig) {
		l.onCommit = func(rs []record, applied bool) {
			if !applied && stores(rs, runFinished) {
				l.cut()
			}
		}
	}},
	{name: "when its outcome is stored", accept: acceptBefore, known: true, arm: func(l *lifeline, _ *mesosConfig) {
		l.onCommit = func(rs []record, applied bool) {
			if applied && stores(rs, runFinished) {
				l.cut()
			}
		}
	}},
	{name: "when its outcome is acknowledged", accept: acceptBefore, known: true, arm: func(l *lifeline, c *mesosConfig) {
		at := cutAt(l, "ACKNOWLEDGE", 3)
		c.onCall = func(kind string, _ time.Duration, _ error) { at(kind) }
	}},
}

// fateOfAccept is what there is to say of the launch when the leader dies.
type fateOfAccept int

const (
	acceptNotStored  fateOfAccept = iota // nobody will ever know that it was meant
	acceptNotWritten                     // stored as under way, but nothing was written
	acceptInFlight                       // arrived or lost
	acceptBefore                         // the task runs; an ACCEPT before that may have been lost
)

// agentFates are how the agent does that was chosen for the launch, from the death of the leader on.
var agentFates = []struct {
	name        string
	vacancy     time.Duration // until another leader takes over
	back        time.Duration // after that, 0 if the agent is up all the time
	unreachable bool          // to the master, when the other leader asks
	beyondHopes bool          // longer than --unreachable_timeout
}{
	{name: "agent up"},
	{name: "agent cut off", back: 3 * time.Minute},
	{name: "agent unreachable", vacancy: 2 * time.Minute, back: 3 * time.Minute, unreachable: true},
	{name: "agent unreachable for too long", vacancy: 2 * time.Minute, back: time.Hour, unreachable: true, beyondHopes: true},
}

// cutAt cuts the n-th time that something happens once the task runs.
func cutAt(l *lifeline, kind string, n int) func(string) {
	var mu sync.Mutex
	return func(k string) {
		mu.Lock()
		defer mu.Unlock()
		if k != kind || l.m.Launches(doomedRun) == 0 {
			return // the answer to a question, perhaps
		}
		if n--; n == 0 {
			l.cut()
		}
	}
}

const doomedRun = "ct:946684830000:0:a:"

// TestLeaderDiesOnTheWay kills a leader at every point of a run, with the launch
// arrived or lost and the agent up or away, and lets another take over. The
// task is launched exactly once and the run ends as the task did, except where nobody could find that
// out in time: then the run is recorded as lost, and was launched once at most.
func TestLeaderDiesOnTheWay(t *testing.T) {
	t.Parallel()
	for _, point := range crashPoints {
		fates := map[string]mesostest.CallFault{"": mesostest.NoFault}
		if point.accept == acceptInFlight || point.accept == acceptBefore {
			fates = map[string]mesostest.CallFault{", ACCEPT arrived": mesostest.NoFault, ", ACCEPT lost": mesostest.NotTaken}
		}
		for fate, fault := range fates {
			for _, agent := range agentFates {
				want := "finished, launched 1"
				launched := point.accept == acceptBefore || point.accept == acceptInFlight && fault == mesostest.NoFault
				switch {
				case point.accept == acceptNotStored || point.known:
				case !launched && agent.unreachable:
					want = "lost, launched 0" // it might have been launched there
				case agent.beyondHopes:
					want = "lost, launched 1"
				}
				t.Run(point.name+fate+", "+agent.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d := &deathOfALeader{arm: point.arm, fate: fault, vacancy: agent.vacancy, back: agent.back}
						d.check(t, want)
					})
				})
			}
		}
	}
}

// deathOfALeader is one cell of the table.
type deathOfALeader struct {
	arm           func(*lifeline, *mesosConfig)
	fate          mesostest.CallFault // of the first ACCEPT
	vacancy, back time.Duration
}

func (d *deathOfALeader) check(t *testing.T, want string) {
	log := newLogTap(t)
	m := oneAgent(t, mesostest.Options{})
	m.AutoFinish(10 * time.Second)
	cfg, st := testConfig(), newMemStore()
	st.records[adoptKey] = []byte("0")
	first := newLifeline(m, st)
	c := configFor(m, testFramework(), log)
	first.onAccept = func(fate mesostest.CallFault) mesostest.CallFault { return fate }
	d.arm(first, &c)
	var once sync.Once
	m.SetFaults(mesostest.Faults{Accept: func(*sched.Call_Accept) (fault mesostest.CallFault) {
		once.Do(func() { fault = first.onAccept(d.fate) })
		return fault
	}})
	k := leadOn(t, first, cfg, c)
	j, err := decodeJob([]byte(`{"name":"a","command":"true","retries":0,"epsilon":"PT10M","schedule":"R1/2000-01-01T00:00:30Z/PT1H"}`), cfg.defaults, dialect2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.putJob(t.Context(), "a", func(*Job) (*Job, error) { return j, nil }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.died:
	case <-time.After(time.Hour):
		t.Fatal("the leader did not get to where it is to die")
	}
	if d.back > 0 {
		m.Agents()[0].CutOff()
		m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240}) // on which it must not be launched as well
	}
	k.die()
	time.Sleep(d.vacancy)
	k = leadOn(t, newLifeline(m, st), cfg, configFor(m, testFramework(), log))
	time.Sleep(d.back)
	if d.back > 0 {
		m.Agents()[0].Restore()
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	d.compare(t, m, k, want)
	k.die()
}

func (d *deathOfALeader) compare(t *testing.T, m *mesostest.Master, k *doomedLeader, want string) {
	var got []string
	for _, r := range k.view().job("a").history {
		got = append(got, fmt.Sprintf("%s %s, launched %d", r.ID, r.State, m.Launches(r.ID)))
	}
	if want := doomedRun + " " + want; strings.Join(got, "; ") != want {
		t.Errorf("history = %q, want %q", got, want)
	}
	if n := len(m.AllLaunches()); n > 1 {
		t.Errorf("%d tasks launched, want 1 at most", n)
	}
	if left := k.view().job("a").runs; len(left) != 0 {
		t.Errorf("open runs = %+v", left[0])
	}
	for _, a := range m.Agents() {
		if n := len(a.Tasks()); n != 0 {
			t.Errorf("%d tasks have updates that nobody acknowledged", n)
		}
	}
}
