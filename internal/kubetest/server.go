// Package kubetest has a double of a Kubernetes cluster: an API server for the pods of one namespace and for nodes, with
// a scheduler and a kubelet behind it, which behave like the recordings of a real one that come with it.
//
//	s := kubetest.NewServer(t, kubetest.Options{})
//	s.SetBehaviour(func(p kubetest.Pod) kubetest.Outcome { return kubetest.Outcome{After: time.Second} })
//	// have a client use s.URL() and s.Dial
//
// It ends with the test. All time is the time package's, and with the option Pipe it serves over connections in memory,
// so it works inside testing/synctest. SetFaults has requests and watches go wrong; Compact, EndWatches, SetBack and
// Stop do so on the spot.
package kubetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
)

// Options describe a cluster. None has to be set for the ordinary case.
type Options struct {
	Pipe  bool          // serve in memory instead of over TCP, for testing/synctest
	Token string        // required of clients, "" for none
	Step  time.Duration // how long each step of a pod takes: to a node, to its container, from its end to its phase
	Nodes []string      // "localhost" if empty
}

// A Pod is a pod as the double's users see it.
type Pod struct {
	Name        string
	Annotations map[string]string
	Command     []string // and arguments, with $(NAME) and $$ replaced as Kubernetes does
	Object      Object
}

// An Object is a document.
type Object = map[string]any

// An Outcome is what becomes of a pod.
type Outcome struct {
	After         time.Duration // that it runs
	Exit          int
	Reason        string // of the container's end; Completed or Error if ""
	Forever       bool   // it does not end by itself
	Deaf          bool   // it does not end on TERM
	OnTerm        int    // its status when it ends on TERM
	Unschedulable string // no node takes it, for that reason
	Waiting       string // its container never starts, for that reason,
	Message       string // with this text
	Log           string
}

// A Server is the API server and all behind it.
type Server struct {
	t   testing.TB
	opt Options
	net *mesostest.Net // nil: TCP on loopback

	mu       sync.Mutex
	changed  chan struct{}
	version  int
	oldest   int // versions before it are forgotten
	era      int // counts SetBack
	ended    int // watches of before have ended
	pods     map[string]*pod
	nodes    map[string]Object
	log      []event
	starts   map[string]int // of containers, by annotation Task
	created  map[string]int
	order    []string
	outcomes map[string]int // exit statuses
	spans    map[string]mesostest.Span
	requests []string
	quota    int // pods that may be there, 0 for any number
	down     bool
	behave   func(Pod) Outcome
	faults   Faults
	happened map[string]int
	undone   map[string]bool // tasks whose pods were removed by force
	taskKey  string
	closing  bool
	timers   map[*time.Timer]bool
	http     *http.Server
	wg       sync.WaitGroup
	url      string
}

type event struct {
	version int
	kind    string // ADDED, MODIFIED, DELETED
	what    string // pods or nodes
	object  json.RawMessage
	labels  map[string]string
	fault   EventFault
}

// TaskKey is the annotation by which the double counts what was started.
func (s *Server) TaskKey(annotation string) { s.taskKey = annotation }

// NewServer starts a cluster, which ends with the test.
func NewServer(t testing.TB, opt Options) *Server {
	t.Helper()
	s := &Server{
		t: t, opt: opt, changed: make(chan struct{}), version: 247, pods: map[string]*pod{}, nodes: map[string]Object{},
		starts: map[string]int{}, created: map[string]int{}, outcomes: map[string]int{}, spans: map[string]mesostest.Span{}, happened: map[string]int{}, undone: map[string]bool{},
		timers: map[*time.Timer]bool{}, behave: func(Pod) Outcome { return Outcome{} },
	}
	if len(opt.Nodes) == 0 {
		s.opt.Nodes = []string{"localhost"}
	}
	for _, name := range s.opt.Nodes {
		s.nodes[name] = newNode(name)
	}
	s.listen()
	t.Cleanup(s.close)
	return s
}

func newNode(name string) Object {
	return Object{
		"kind": "Node", "apiVersion": "v1",
		"metadata": Object{"name": name, "labels": Object{"kubernetes.io/hostname": name}},
		"status":   Object{"conditions": []any{Object{"type": "Ready", "status": "True", "reason": "KubeletReady"}}},
	}
}

func (s *Server) listen() {
	var l net.Listener
	const address = "127.0.0.1:6443"
	if s.opt.Pipe {
		s.net = &mesostest.Net{}
		l = s.net.Listen(address)
		s.url = "http://" + address
	} else {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			s.t.Fatalf("listen: %v", err)
		}
		s.url = "http://" + l.Addr().String()
	}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	s.wg.Go(func() { _ = s.http.Serve(l) })
}

func (s *Server) close() {
	s.mu.Lock()
	s.closing = true
	for t := range s.timers {
		t.Stop()
	}
	s.signal()
	s.mu.Unlock()
	s.http.Close()
	s.wg.Wait()
}

// URL is the address of the API server.
func (s *Server) URL() string { return s.url }

// Dial connects to the API server, as an http.Transport's DialContext.
func (s *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s.net == nil {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return s.net.Dial(ctx, network, address)
}

// signal wakes the watches. The caller holds the lock.
func (s *Server) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// later does something after a while, under the lock, unless the test has ended or the server was set back.
func (s *Server) later(d time.Duration, f func()) *time.Timer {
	if d <= 0 {
		f()
		return nil
	}
	era := s.era
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.timers, t)
		if !s.closing && s.era == era {
			f()
		}
	})
	s.timers[t] = true
	return t
}

// record makes a new version of an object, and an event of it. The caller holds the lock.
func (s *Server) record(kind, what string, object Object) {
	s.version++
	meta := object["metadata"].(Object)
	meta["resourceVersion"] = strconv.Itoa(s.version)
	text, err := json.Marshal(object)
	if err != nil {
		s.t.Errorf("encode: %v", err)
		return
	}
	e := event{version: s.version, kind: kind, what: what, object: text, labels: texts(meta["labels"])}
	if s.faults.Event != nil && what == "pods" {
		e.fault = s.faults.Event(kind, meta["name"].(string))
		s.noteEvent(e.fault)
	}
	s.log = append(s.log, e)
	s.signal()
}

func texts(o any) map[string]string {
	m := map[string]string{}
	values, _ := o.(Object)
	for key, value := range values {
		m[key] = fmt.Sprint(value)
	}
	return m
}

// SetBehaviour says what becomes of the pods that get a node from now on.
func (s *Server) SetBehaviour(f func(Pod) Outcome) { s.locked(func() { s.behave = f }) }

// SetQuota bounds the pods that may be there; 0 lifts the bound.
func (s *Server) SetQuota(n int) { s.locked(func() { s.quota = n }) }

// Label gives a node a label.
func (s *Server) Label(node, key, value string) {
	s.locked(func() {
		s.nodes[node]["metadata"].(Object)["labels"].(Object)[key] = value
		s.record("MODIFIED", "nodes", s.nodes[node])
	})
}

// Silence has a node not answer any more, or again.
func (s *Server) Silence(node string, silent bool) {
	s.locked(func() {
		ready := "True"
		if silent {
			ready = "Unknown"
		}
		s.nodes[node]["status"].(Object)["conditions"] = []any{Object{"type": "Ready", "status": ready, "reason": "NodeStatusUnknown"}}
		s.record("MODIFIED", "nodes", s.nodes[node])
	})
}

func (s *Server) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func ask[T any](s *Server, f func() T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

// Starts says how often the container of each task was started.
func (s *Server) Starts() map[string]int {
	return ask(s, func() map[string]int { return maps.Clone(s.starts) })
}

// Created says how many pods were made for each task.
func (s *Server) Created() map[string]int {
	return ask(s, func() map[string]int { return maps.Clone(s.created) })
}

// Order lists the tasks in the order in which their pods were made.
func (s *Server) Order() []string { return ask(s, func() []string { return slices.Clone(s.order) }) }

// Exits are the exit statuses of the tasks that have ended.
func (s *Server) Exits() map[string]int {
	return ask(s, func() map[string]int { return maps.Clone(s.outcomes) })
}

// Spans say when each task ran.
func (s *Server) Spans() map[string]mesostest.Span {
	return ask(s, func() map[string]mesostest.Span { return maps.Clone(s.spans) })
}

// Requests lists what has arrived, as METHOD path.
func (s *Server) Requests() []string {
	return ask(s, func() []string { return slices.Clone(s.requests) })
}

// Happened counts what has gone wrong, by kind.
func (s *Server) Happened() map[string]int {
	return ask(s, func() map[string]int { return maps.Clone(s.happened) })
}

// Undone are the tasks whose pods were set back, ended as a whole or removed without a trace.
func (s *Server) Undone() map[string]bool {
	return ask(s, func() map[string]bool { return maps.Clone(s.undone) })
}

// Live lists the tasks whose pods have not ended.
func (s *Server) Live() []string {
	return ask(s, func() []string {
		var ids []string
		for _, p := range s.pods {
			if p.phase() == "Pending" || p.phase() == "Running" && !p.over {
				ids = append(ids, p.task)
			}
		}
		slices.Sort(ids)
		return ids
	})
}

// Pods lists the pods that there are, by name.
func (s *Server) Pods() []Pod {
	return ask(s, func() []Pod {
		var all []Pod
		for _, p := range s.pods {
			all = append(all, p.view())
		}
		slices.SortFunc(all, func(a, b Pod) int { return cmp.Compare(a.Name, b.Name) })
		return all
	})
}
