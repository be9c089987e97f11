package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// master is a double of a Mesos cluster: a master with its agents, over HTTP, in
// JSON and protobuf. It behaves like the recordings in testdata/mesos; the replay
// tests hold it to that. All state is under one lock, all time is the time
// package's, so that it works inside testing/synctest with Pipe set.
type master struct {
	t   testing.TB
	opt masterOptions
	net *memoryNet // nil: TCP on loopback

	mu         sync.Mutex
	id         string
	address    string // host:port of the leader
	started    time.Time
	frameworks map[string]*fakeFramework
	completed  map[string]bool
	agents     []*fakeAgent
	offers     map[string]*fakeOffer
	numbers    struct{ framework, offer, agent, stream int }
	launched   map[string]int
	order      []string                   // of the launches
	outcomes   map[string]mesos.TaskState // how tasks have ended on their agents
	spans      map[string]*taskSpan       // when they ran there
	happened   map[string]int             // accidents that were noticed, by kind
	calls      []*sched.Call
	faults     masterFaults
	behave     func(*mesos.TaskInfo) taskOutcome
	down       int // status answered to everything, if not 0
	changed    chan struct{}
	returned   chan struct{} // has an element if the eager allocator has work to do
	closing    bool
	servers    []*http.Server
	wg         sync.WaitGroup
}

// masterOptions leave nothing to be set for the ordinary case.
type masterOptions struct {
	Pipe              bool          // serve over net.Pipe; for synctest
	ID                string        // of the master, first part of all other ids
	Heartbeat         time.Duration // 15 s
	Allocation        time.Duration // interval of the allocator, 1 s
	FirstAllocation   time.Duration // from the start; Allocation if 0
	AgentTimeout      time.Duration // from an agent's loss to UNREACHABLE, 83 s
	Election          time.Duration // how long a restarted master redirects to itself
	Principal, Secret string        // required of frameworks if Secret is set
	AgentPrincipal    string        // required of readers of sandboxes if AgentSecret is set,
	AgentSecret       string        // else they need those of frameworks
	Roles             []string      // the only ones allowed, if not nil
	Eager             bool          // the allocator does not wait for its interval when something has changed
	Scripted          bool          // agents do nothing by themselves; tests call emit
}

// taskOutcome is what becomes of a task by itself: after After it ends in State
// with Message. Without a State it runs until it is killed or finished.
type taskOutcome struct {
	After   time.Duration
	State   mesos.TaskState
	Message string
	Forever bool
	Silent  bool // nothing is heard of it until it is killed
}

// masterFaults are asked before each delivery. Nil ones do no harm.
type masterFaults struct {
	accept func(*sched.Call_Accept) acceptFault
	call   func(*sched.Call) acceptFault // of any type; accept is not asked
	update func(*mesos.TaskStatus) updateFault
	answer func(*mesos.TaskStatus) updateFault // of an update that the master makes itself; it is never late
}

// of says what goes wrong with a call.
func (f *masterFaults) of(c *sched.Call) acceptFault {
	switch {
	case f.call != nil:
		return f.call(c)
	case f.accept != nil && c.Type == sched.Call_ACCEPT:
		return f.accept(c.Accept)
	}
	return acceptNone
}

// acceptFault is what goes wrong with an ACCEPT, or with whatever call was asked for.
type acceptFault int

const (
	acceptNone       acceptFault = iota
	acceptNotTaken               // the connection breaks before the master has read the call
	acceptUnanswered             // the master acts on it, but the connection breaks
	acceptForgotten              // 202, and the master never acts on it
	acceptRefused                // 503
	acceptAgentLost              // the master launches, but has just lost the agent
)

// updateFault is what goes wrong with one delivery of an update.
type updateFault struct {
	Lose      bool // comes again after the agent's retry interval
	Duplicate bool
	Delay     time.Duration
}

// taskSpan is from when to when an agent ran a task; the end is zero while it runs.
type taskSpan struct{ start, end time.Time }

func newMaster(t testing.TB, opt masterOptions) *master {
	t.Helper()
	orDefault := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	orDefault(&opt.Heartbeat, 15*time.Second)
	orDefault(&opt.Allocation, time.Second)
	orDefault(&opt.FirstAllocation, opt.Allocation)
	orDefault(&opt.AgentTimeout, 83*time.Second)
	if opt.ID == "" {
		opt.ID = "4d0c1f3e-0000-4000-8000-5c2b9a000001"
	}
	m := &master{
		t: t, opt: opt, id: opt.ID,
		frameworks: make(map[string]*fakeFramework),
		completed:  make(map[string]bool),
		offers:     make(map[string]*fakeOffer),
		launched:   make(map[string]int),
		outcomes:   make(map[string]mesos.TaskState),
		spans:      make(map[string]*taskSpan),
		happened:   make(map[string]int),
		behave:     func(*mesos.TaskInfo) taskOutcome { return taskOutcome{Forever: true} },
		changed:    make(chan struct{}),
		returned:   make(chan struct{}, 1),
	}
	if opt.Pipe {
		m.net = &memoryNet{listeners: make(map[string]*pipeListener)}
	}
	m.address = m.serve("127.0.0.1:5050", http.HandlerFunc(m.redirect))
	ctx, cancel := context.WithCancel(context.Background())
	m.wg.Go(func() { m.allocateForEver(ctx) })
	t.Cleanup(func() {
		cancel()
		m.close()
	})
	return m
}

// serve answers on address, or on a free port if it is TCP.
func (m *master) serve(address string, h http.Handler) (actual string) {
	var l net.Listener
	if m.net != nil {
		l = m.net.listen(address)
	} else {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			m.t.Fatalf("listen: %v", err)
		}
		address = l.Addr().String()
	}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	m.servers = append(m.servers, s)
	m.wg.Go(func() { _ = s.Serve(l) })
	return address
}

func (m *master) close() {
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
func (m *master) URL() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return "http://" + m.address
}

// dial reaches the master and its agents.
func (m *master) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.net == nil {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return m.net.dial(ctx, address)
}

// follow is a detector of this master.
func (m *master) follow(ctx context.Context, report func(string)) {
	for {
		m.mu.Lock()
		address, changed := m.address, m.changed
		m.mu.Unlock()
		report("http://" + address)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// config is how to connect to this master with the framework described.
func (m *master) config(info *mesos.FrameworkInfo, log *slog.Logger) mesosConfig {
	return mesosConfig{
		follow: m.follow, framework: info, dial: m.dial, log: log,
		principal: m.opt.Principal, secret: m.opt.Secret,
	}
}

// notify wakes whoever waits. The lock is held.
func (m *master) notify() {
	if m.opt.Eager {
		nudge(m.returned)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// await returns once cond holds; it is asked again after every change, under the
// lock. what says what did not come.
func (m *master) await(what string, cond func() bool) {
	m.t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		m.mu.Lock()
		ok, changed := cond(), m.changed
		m.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			m.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// setFaults replaces the faults on demand.
func (m *master) setFaults(f masterFaults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
}

// setBehaviour decides what becomes of tasks launched from now on.
func (m *master) setBehaviour(f func(*mesos.TaskInfo) taskOutcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behave = f
}

// autoFinish lets tasks finish d after they are launched.
func (m *master) autoFinish(d time.Duration) {
	m.setBehaviour(func(*mesos.TaskInfo) taskOutcome {
		return taskOutcome{After: d, State: mesos.TASK_FINISHED, Message: "Command exited with status 0"}
	})
}

// launches counts how often agents have started a task of that id.
func (m *master) launches(taskID string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.launched[taskID]
}

// allLaunches maps every task id ever started to the number of starts.
func (m *master) allLaunches() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.launched)
}

// received lists the calls of one type, in order.
func (m *master) received(kind sched.Call_Type) []*sched.Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.receivedLocked(kind)
}

func (m *master) receivedLocked(kind sched.Call_Type) []*sched.Call {
	var calls []*sched.Call
	for _, c := range m.calls {
		if c.Type == kind {
			calls = append(calls, c)
		}
	}
	return calls
}

// dropStreams cuts every subscription, as a network does: without an end.
func (m *master) dropStreams() {
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

// configure changes the options of a running master.
func (m *master) configure(change func(*masterOptions)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.opt)
}

// answerAll makes the master answer everything with status, 0 for as usual.
func (m *master) answerAll(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = status
}

// rescindAll takes all offers back.
func (m *master) rescindAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(m.offers)) {
		m.rescind(m.offers[id])
	}
	m.notify()
}

// expire ends a framework as its fail-over timeout does.
func (m *master) expire(frameworkID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.frameworks[frameworkID]; f != nil {
		m.removeFramework(f)
		f.cut(false)
	}
	m.completed[frameworkID] = true
	m.notify()
}

// restart kills the master and starts it again, with its registry but without its
// memory. Its agents come back by restore.
func (m *master) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.frameworks {
		f.cut(false)
		f.stop()
	}
	m.frameworks = make(map[string]*fakeFramework)
	m.completed = make(map[string]bool)
	m.offers = make(map[string]*fakeOffer)
	m.started = time.Now()
	for _, a := range m.agents {
		a.offered = nil
		if a.state != agentUnreachable {
			a.state = agentRecovered
		}
	}
	m.notify()
}

// forgetAgents empties the registry of a master that has just begun.
func (m *master) forgetAgents() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.agents {
		a.state = agentForgotten
	}
}

// standby starts another master that redirects to the leader, and returns its URL.
func (m *master) standby() string { return m.standbyAt("127.0.0.1:5052") }

func (m *master) standbyAt(address string) string {
	return "http://" + m.serve(address, http.HandlerFunc(m.redirect))
}

// lead makes the master at url, a standby, the leader: the old one is gone.
func (m *master) lead(url string) {
	m.restart()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.address = strings.TrimPrefix(url, "http://")
	m.started = time.Time{} // it has been up for long
	m.notify()
}

func (m *master) redirect(w http.ResponseWriter, r *http.Request) {
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
		m.serveMaster(w, r)
		return
	}
	redirectTo(w, leader, r.URL.Path)
}

func redirectTo(w http.ResponseWriter, address, path string) {
	w.Header().Set("Location", "//"+address+"/master"+strings.TrimPrefix(path, "/master"))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// memoryNet connects by net.Pipe.
type memoryNet struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
}

func (n *memoryNet) listen(address string) net.Listener {
	l := &pipeListener{address: address, conns: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[address] = l
	return l
}

func (n *memoryNet) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: "pipe", Err: errors.New("connection refused: " + address)}
	if l == nil {
		return nil, refused
	}
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeListener struct {
	address string
	conns   chan net.Conn
	once    sync.Once
	done    chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.address) }

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

// event writes one event to a stream in its format.
func encodeEvent(e *sched.Event, asJSON bool) []byte {
	var body []byte
	var err error
	if asJSON {
		body, err = json.Marshal(e)
		body = withoutNulls(body)
	} else {
		body, err = e.Marshal()
	}
	if err != nil {
		panic(err) // events of the double itself
	}
	return append(fmt.Appendf(nil, "%d\n", len(body)), body...)
}

// withoutNulls leaves out what Mesos does not write: nulls and empty lists.
func withoutNulls(body []byte) []byte {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return body
	}
	body, _ = json.Marshal(pruned(v)) // it has just been decoded
	return body
}

func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if list, ok := e.([]any); e == nil || ok && len(list) == 0 {
				delete(v, k)
				continue
			}
			v[k] = pruned(e)
		}
	case []any:
		for i, e := range v {
			v[i] = pruned(e)
		}
	}
	return v
}

func readAll(r io.Reader) []byte {
	b, _ := io.ReadAll(r) // what came before the error will do
	return b
}
