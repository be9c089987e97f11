package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

var errKilled = errors.New("killed")

// lifeline is what connects a leader with the world. When it is cut, nothing
// the leader does has an effect any more, like after kill -9.
type lifeline struct {
	m     *master
	store *memStore
	// onCommit is called before and after records are applied.
	onCommit func(records []record, applied bool)

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
	died  chan struct{}
}

func newLifeline(m *master, st *memStore) *lifeline {
	return &lifeline{m: m, store: st, died: make(chan struct{}), onCommit: func([]record, bool) {}}
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
	c, err := l.m.dial(ctx, network, address)
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
	s := newScheduler(cfg, l, newMesos(c), c.log)
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
// that it is cut at that point.
var crashPoints = []struct {
	name   string
	accept bool // whether the fate of the ACCEPT makes a difference
	arm    func(l *lifeline, c *mesosConfig, fate acceptFault)
}{
	{"before the launch is stored", false, func(l *lifeline, _ *mesosConfig, _ acceptFault) {
		l.onCommit = func(rs []record, applied bool) {
			if !applied && stores(rs, runLaunching) {
				l.cut()
			}
		}
	}},
	{"when the launch is stored", false, func(l *lifeline, _ *mesosConfig, _ acceptFault) {
		l.onCommit = func(rs []record, applied bool) {
			if applied && stores(rs, runLaunching) {
				l.cut()
			}
		}
	}},
	{"when ACCEPT is written", true, func(l *lifeline, _ *mesosConfig, fate acceptFault) {
		l.m.setFaults(masterFaults{accept: func(*sched.Call_Accept) acceptFault {
			if l.gone() {
				return acceptNone
			}
			l.cut()
			return fate
		}})
	}},
	{"when ACCEPT is answered", true, func(l *lifeline, c *mesosConfig, fate acceptFault) {
		if fate == acceptNotTaken {
			fate = acceptForgotten
		}
		l.m.setFaults(masterFaults{accept: func(*sched.Call_Accept) acceptFault {
			if l.gone() {
				return acceptNone
			}
			return fate
		}})
		c.onCall = func(kind string, _ time.Duration, _ error) {
			if kind == "ACCEPT" {
				l.cut()
			}
		}
	}},
	{"at the first update", false, func(l *lifeline, c *mesosConfig, _ acceptFault) { c.onEvent = cutAt(l, "UPDATE", 1) }},
	{"at the terminal update", false, func(l *lifeline, c *mesosConfig, _ acceptFault) { c.onEvent = cutAt(l, "UPDATE", 3) }},
	{"before its outcome is stored", false, func(l *lifeline, _ *mesosConfig, _ acceptFault) {
		l.onCommit = func(rs []record, applied bool) {
			if !applied && stores(rs, runFinished) {
				l.cut()
			}
		}
	}},
	{"when its outcome is stored", false, func(l *lifeline, _ *mesosConfig, _ acceptFault) {
		l.onCommit = func(rs []record, applied bool) {
			if applied && stores(rs, runFinished) {
				l.cut()
			}
		}
	}},
	{"when its outcome is acknowledged", false, func(l *lifeline, c *mesosConfig, _ acceptFault) {
		at := cutAt(l, "ACKNOWLEDGE", 3)
		c.onCall = func(kind string, _ time.Duration, _ error) { at(kind) }
	}},
}

func cutAt(l *lifeline, kind string, n int) func(string) {
	var mu sync.Mutex
	return func(k string) {
		mu.Lock()
		defer mu.Unlock()
		if k != kind {
			return
		}
		if n--; n == 0 {
			l.cut()
		}
	}
}

// TestLeaderDiesOnTheWay kills a leader at every point of a run, with the launch
// arrived or lost and the agent up or cut off, and lets another take over. The
// task is launched exactly once, and the run ends as the task did.
func TestLeaderDiesOnTheWay(t *testing.T) {
	for _, point := range crashPoints {
		fates := map[string]acceptFault{"": acceptNone}
		if point.accept {
			fates = map[string]acceptFault{", which arrives": acceptNone, ", which is lost": acceptNotTaken}
		}
		for fate, fault := range fates {
			for _, away := range []bool{false, true} {
				agent := map[bool]string{false: "agent up", true: "agent cut off"}[away]
				t.Run(point.name+fate+", "+agent, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						dieAt(t, point.arm, fault, away)
					})
				})
			}
		}
	}
}

func dieAt(t *testing.T, arm func(*lifeline, *mesosConfig, acceptFault), fate acceptFault, away bool) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	m := oneAgent(t, masterOptions{})
	m.autoFinish(10 * time.Second)
	cfg, st := testConfig(), newMemStore()
	st.records[adoptKey] = []byte("0")
	first := newLifeline(m, st)
	c := m.config(testFramework(), log)
	arm(first, &c, fate)
	k := leadOn(t, first, cfg, c)
	j, err := decodeJob([]byte(`{"name":"a","command":"true","retries":0,"schedule":"R1/2000-01-01T00:00:30Z/PT1H"}`), cfg.defaults, dialect2, nil)
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
	if away {
		m.cutOff(m.agents[0].id)
		m.addAgent(agentSpec{CPUs: 4, Mem: 4096, Disk: 10240}) // on which it must not be launched as well
	}
	k.die()
	k = leadOn(t, newLifeline(m, st), cfg, m.config(testFramework(), log))
	time.Sleep(3 * time.Minute)
	if away {
		m.restore(m.agents[0].id)
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	var got []string
	for _, r := range k.view().job("a").history {
		got = append(got, fmt.Sprintf("%s %s, launched %d", r.ID, r.State, m.launches(r.ID)))
	}
	if want := "ct:946684830000:0:a: finished, launched 1"; strings.Join(got, "; ") != want {
		t.Errorf("history = %q, want %q", got, want)
	}
	if n := len(m.allLaunches()); n != 1 {
		t.Errorf("%d tasks launched, want 1", n)
	}
	if left := k.view().job("a").runs; len(left) != 0 {
		t.Errorf("open runs = %+v", left[0])
	}
	m.mu.Lock()
	for _, a := range m.agents {
		if n := len(a.tasks); n != 0 {
			t.Errorf("%d tasks have updates that nobody acknowledged", n)
		}
	}
	m.mu.Unlock()
	k.die()
}
