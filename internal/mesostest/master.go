// Package mesostest has a double of a Mesos cluster: a master with its agents, which speaks the v1 HTTP API in
// JSON and protobuf and behaves like the recordings of a real one that come with it.
//
//	m := mesostest.NewMaster(t, mesostest.Options{})
//	m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
//	m.AutoFinish(time.Second) // tasks run for a second, and are finished
//	// run a scheduler against m.URL(), or have it use m.Follow and m.Dial
//	m.Await("a launch", func() bool { return len(m.Launched()) > 0 })
//
// It ends with the test. Faults go wrong on demand; agents and masters come and go by [Agent.CutOff],
// [Agent.Restore], [Master.Restart], [Master.Lead]. All time is the time package's, so with the option Pipe, which
// has it serve over connections in memory, it works inside testing/synctest.
package mesostest

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A Master is the master and its agents. All state is under one lock. Its methods may be called from anywhere but
// the functions that are given to it.
type Master struct {
	t   testing.TB
	opt Options
	net *Net // nil: TCP on loopback

	mu         sync.Mutex
	id         string
	address    string // host:port of the leader
	started    time.Time
	ready      time.Time // when the leader has read its registry
	frameworks map[string]*framework
	completed  map[string]bool
	agents     []*Agent
	offers     map[string]*offer
	numbers    struct{ framework, offer, agent, stream int }
	launched   map[string]int
	order      []string                   // of the launches
	outcomes   map[string]mesos.TaskState // how tasks have ended on their agents
	spans      map[string]Span            // when they ran there
	happened   map[string]int             // accidents that were noticed, by kind
	calls      []*sched.Call
	faults     Faults
	behave     func(*mesos.TaskInfo) Outcome
	down       int // status answered to everything, if not 0
	changed    chan struct{}
	returned   chan struct{} // has an element if the eager allocator has work to do
	closing    bool
	servers    []*http.Server
	wg         sync.WaitGroup
}

// Options describe a master. None has to be set for the ordinary case.
type Options struct {
	Pipe              bool          // serve in memory instead of over TCP, for testing/synctest
	ID                string        // of the master, first part of all other ids
	Heartbeat         time.Duration // 15 s
	Allocation        time.Duration // interval of the allocator, 1 s
	FirstAllocation   time.Duration // from the start; Allocation if 0
	AgentTimeout      time.Duration // from an agent's loss until its tasks are unreachable, 83 s
	Election          time.Duration // how long a restarted master redirects to itself
	Recovery          time.Duration // how long a new leader, then, reads its registry and answers 503
	Principal, Secret string        // required of frameworks if Secret is set
	AgentPrincipal    string        // required of readers of sandboxes if AgentSecret is set,
	AgentSecret       string        // else they need those of frameworks
	Roles             []string      // the only ones allowed, if not nil
	Eager             bool          // the allocator does not wait for its interval when something has changed
	Scripted          bool          // agents do nothing by themselves; tests call Emit
}

// A Span is from when to when an agent ran a task. End is zero while it runs.
type Span struct{ Start, End time.Time }

// NewMaster starts a master without agents, which ends with the test.
func NewMaster(t testing.TB, opt Options) *Master {
	t.Helper()
	opt.ID = cmp.Or(opt.ID, "4d0c1f3e-0000-4000-8000-5c2b9a000001")
	opt.Heartbeat = cmp.Or(opt.Heartbeat, 15*time.Second)
	opt.Allocation = cmp.Or(opt.Allocation, time.Second)
	opt.FirstAllocation = cmp.Or(opt.FirstAllocation, opt.Allocation)
	opt.AgentTimeout = cmp.Or(opt.AgentTimeout, 83*time.Second)
	m := &Master{
		t: t, opt: opt, id: opt.ID,
		frameworks: make(map[string]*framework),
		completed:  make(map[string]bool),
		offers:     make(map[string]*offer),
		launched:   make(map[string]int),
		outcomes:   make(map[string]mesos.TaskState),
		spans:      make(map[string]Span),
		happened:   make(map[string]int),
		behave:     func(*mesos.TaskInfo) Outcome { return Outcome{Forever: true} },
		changed:    make(chan struct{}),
		returned:   make(chan struct{}, 1),
	}
	if opt.Pipe {
		m.net = &Net{}
	}
	m.address = m.Serve("127.0.0.1:5050", http.HandlerFunc(m.redirect))
	ctx, cancel := context.WithCancel(context.Background())
	m.wg.Go(func() { m.allocateForEver(ctx) })
	t.Cleanup(func() {
		cancel()
		m.close()
	})
	return m
}

// Serve has h answer on an address in the master's network until the test ends. Over TCP that is a free port of
// 127.0.0.1 whatever address says.
func (m *Master) Serve(address string, h http.Handler) (actual string) {
	var l net.Listener
	if m.net != nil {
		l = m.net.Listen(address)
	} else {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			m.t.Fatalf("listen: %v", err)
		}
		address = l.Addr().String()
	}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	m.mu.Lock()
	m.servers = append(m.servers, s)
	m.mu.Unlock()
	m.wg.Go(func() { _ = s.Serve(l) })
	return address
}

func (m *Master) close() {
	m.mu.Lock()
	m.closing = true
	for _, f := range m.frameworks {
		f.stop()
		f.cut(true)
	}
	for _, a := range m.agents {
		a.stop()
	}
	servers := m.servers
	m.mu.Unlock()
	for _, s := range servers {
		s.Close()
	}
	m.wg.Wait()
}

// URL is the address of the leading master.
func (m *Master) URL() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return "http://" + m.address
}

// Dial connects to the master and its agents, as an http.Transport's DialContext.
func (m *Master) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.net == nil {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return m.net.Dial(ctx, network, address)
}

// Follow reports the URL of the leading master, and each new one, until ctx ends.
func (m *Master) Follow(ctx context.Context, report func(string)) {
	last := ""
	for {
		m.mu.Lock()
		address, changed := m.address, m.changed
		m.mu.Unlock()
		if address != last {
			report("http://" + address)
		}
		last = address
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Options returns what is set by now.
func (m *Master) Options() Options {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opt
}

// Candidacy is what the master at url, or the leading one if that is "", writes into its node in ZooKeeper.
func (m *Master) Candidacy(url string) []byte {
	if url == "" {
		url = m.URL()
	}
	address := strings.TrimPrefix(url, "http://")
	host, port := splitAddress(address)
	return fmt.Appendf(nil, `{"address":{"hostname":%q,"ip":%q,"port":%d},"capabilities":[{"type":"AGENT_UPDATE"},{"type":"QUOTA_V2"}],`+
		`"hostname":%q,"id":%q,"ip":16777343,"pid":"master@%s","port":%d,"version":"1.12.0"}`,
		host, host, port, host, m.Options().ID, address, port)
}

// notify wakes whoever waits. The lock is held.
func (m *Master) notify() {
	if m.opt.Eager {
		nudge(m.returned)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// Await returns once cond holds, which is asked again after every change. what says what did not come if it
// does not within a minute.
func (m *Master) Await(what string, cond func() bool) {
	m.t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			m.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// SetFaults replaces what goes wrong.
func (m *Master) SetFaults(f Faults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
}

// SetBehaviour decides what becomes of tasks launched from now on.
func (m *Master) SetBehaviour(f func(*mesos.TaskInfo) Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behave = f
}

// AutoFinish lets tasks finish d after they are launched.
func (m *Master) AutoFinish(d time.Duration) {
	m.SetBehaviour(func(*mesos.TaskInfo) Outcome {
		return Outcome{After: d, State: mesos.TASK_FINISHED, Message: "Command exited with status 0"}
	})
}

// Launches counts how often agents have started a task of that id.
func (m *Master) Launches(taskID string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.launched[taskID]
}

// AllLaunches maps the id of every task that an agent has ever started to the number of starts.
func (m *Master) AllLaunches() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.launched)
}

// Launched lists the ids of all tasks that agents have ever started, in order.
func (m *Master) Launched() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.order)
}

// Outcomes maps the ids of tasks that have ended to what their agents saw.
func (m *Master) Outcomes() map[string]mesos.TaskState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.outcomes)
}

// Spans maps the ids of tasks to when they ran.
func (m *Master) Spans() map[string]Span {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.spans)
}

// Happened counts the accidents that somebody has noticed, by kind: "update lost", "update late",
// "update duplicated", "update overtaken", "stream dropped", "offer rescinded", "agent unreachable", "agent back".
func (m *Master) Happened() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.happened)
}

// Offered counts the offers that no framework has answered.
func (m *Master) Offered() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.offers)
}

// FrameworkIDs counts the framework ids that have been given out.
func (m *Master) FrameworkIDs() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.numbers.framework
}

// Agents lists the agents in the order in which they were added.
func (m *Master) Agents() []*Agent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.agents)
}

// Received lists the calls of one type, in order.
func (m *Master) Received(kind sched.Call_Type) []*sched.Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	var calls []*sched.Call
	for _, c := range m.calls {
		if c.Type == kind {
			calls = append(calls, c)
		}
	}
	return calls
}

// DropStreams cuts every subscription, as a network does: without an end.
func (m *Master) DropStreams() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.frameworks {
		if f.stream != nil {
			m.happened["stream dropped"]++
		}
		f.cut(false)
	}
	m.notify()
}

// Configure changes the options of a running master.
func (m *Master) Configure(change func(*Options)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.opt)
}

// AnswerAll makes the master answer everything with status, 0 for as usual.
func (m *Master) AnswerAll(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = status
}

// RescindAll takes all offers back.
func (m *Master) RescindAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(m.offers)) {
		m.rescind(m.offers[id])
	}
	m.notify()
}

// Expire ends a framework as its fail-over timeout does.
func (m *Master) Expire(frameworkID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.frameworks[frameworkID]; f != nil {
		m.removeFramework(f)
		f.cut(false)
	}
	m.completed[frameworkID] = true
	m.notify()
}

// Restart kills the master and starts it again, with its registry but without its
// memory. Its agents come back by [Agent.Restore].
func (m *Master) Restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.frameworks {
		f.cut(false)
		f.stop()
	}
	m.frameworks = make(map[string]*framework)
	m.completed = make(map[string]bool)
	m.offers = make(map[string]*offer)
	m.started = time.Now()
	m.ready = m.started.Add(m.opt.Election + m.opt.Recovery)
	for _, a := range m.agents {
		a.offered = nil
		if a.state != agentUnreachable {
			a.state = agentRecovered
		}
	}
	m.notify()
}

// forgetAgents empties the registry of a master that has just begun.
func (m *Master) forgetAgents() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.agents {
		a.state = agentForgotten
	}
}

// Standby starts another master that redirects to the leader, and returns its URL.
func (m *Master) Standby() string { return m.StandbyAt("127.0.0.1:5052") }

// StandbyAt is Standby with an address in memory of the caller's choice, for more than one.
func (m *Master) StandbyAt(address string) string {
	return "http://" + m.Serve(address, http.HandlerFunc(m.redirect))
}

// Lead makes the master at url, a standby, the leader: the old one is gone.
func (m *Master) Lead(url string) {
	m.Restart()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.address = strings.TrimPrefix(url, "http://")
	m.started = time.Time{} // it has been up for long
	m.ready = time.Now().Add(m.opt.Recovery)
	m.notify()
}

func (m *Master) redirect(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	leader := m.address
	m.mu.Unlock()
	if r.URL.Path == "/redirect" {
		w.Header().Set("Location", "//"+leader)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	if r.Host == leader {
		m.ServeHTTP(w, r)
		return
	}
	Redirect(w, leader, r.URL.Path)
}

// Redirect answers as a master does that does not lead: with the address of the one that does.
func Redirect(w http.ResponseWriter, address, path string) {
	w.Header().Set("Location", "//"+address+"/master"+strings.TrimPrefix(path, "/master"))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
}
