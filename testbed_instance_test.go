package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
)

// A testSeat says who leads, to the servers of one test.
type testSeat struct {
	memory    *mesostest.Net // that the servers listen on, for virtual time; nil for TCP
	instances atomic.Int64

	mu      sync.Mutex
	id      string
	changed chan struct{}
}

func (s *testSeat) set(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *testSeat) state() (string, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id, s.changed
}

// client returns a client of the servers.
func (s *testSeat) client() *http.Client {
	if s.memory == nil {
		return http.DefaultClient
	}
	return &http.Client{Transport: &http.Transport{DialContext: s.memory.Dial, DisableKeepAlives: true}}
}

func newTestSeat(id string) *testSeat { return &testSeat{id: id, changed: make(chan struct{})} }

// listen listens on a port of its own.
func (s *testSeat) listen(t *testing.T) net.Listener {
	t.Helper()
	if s.memory != nil {
		return s.memory.Listen(fmt.Sprintf("instance-%d:80", s.instances.Add(1)))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A testInstance is a server on a port of its own. It leads when the seat has its id,
// with its scheduler once that is there.
type testInstance struct {
	id, url string
	stop    func()
}

// startInstance runs an instance until the test ends or stop is called. sch may be nil.
func startInstance(t *testing.T, at *testSeat, sch *scheduler, adjust func(*apiOptions)) *testInstance {
	t.Helper()
	l := at.listen(t)
	n := &testInstance{id: l.Addr().String(), url: "http://" + l.Addr().String()}
	o := leading(nil)
	o.id, o.hold = n.id, patience
	o.leader = func() (string, bool) { id, _ := at.state(); return id, id == n.id }
	o.changed = func() <-chan struct{} { _, c := at.state(); return c }
	o.current = func() *scheduler {
		if id, _ := at.state(); id != n.id {
			return nil
		}
		return sch
	}
	o.locate = func(id string) peer { return peer{scheme: "http", host: id, native: true, knows: true} }
	o.log = slog.New(slog.DiscardHandler)
	if adjust != nil {
		adjust(&o)
	}
	s := newAPI(o)
	if at.memory != nil {
		s.transport.DialContext = at.memory.Dial
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.serve(ctx, l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	n.stop = func() { cancel(); running.Wait() }
	t.Cleanup(n.stop)
	return n
}

// ask sends a request over the network and returns status and body.
func ask(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", typeJSON)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return res, string(b)
}

// A stand-in is a leader that does what the test says with each request.
func standIn(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: handle}
	var running sync.WaitGroup
	running.Go(func() { h.Serve(l) })
	t.Cleanup(func() { h.Close(); running.Wait() })
	return l.Addr().String()
}

// A testDaemon is an instance with all its parts, on ports of its own.
type testDaemon struct {
	*daemon
	log  *logBuffer
	stop func()
}

// ask sends a request to the n-th listener and returns the answer with its body.
func (d *testDaemon) ask(t *testing.T, n int, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	scheme := "http"
	if d.certificates != nil && n == len(d.listeners)-1 {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(t.Context(), method, scheme+"://"+d.listeners[n].Addr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", typeJSON)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", method, path, err, d.log)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func (d *testDaemon) subscribed() bool {
	s := d.seat.current()
	return s != nil && s.view().subscribed
}

// until polls, since what it waits for has no signal.
func (d *testDaemon) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log(d.log)
		}
	}()
	until(t, what, cond)
}

// startDaemon runs an instance with the given options until the test ends.
func startDaemon(t *testing.T, args ...string) *testDaemon {
	t.Helper()
	log := &logBuffer{}
	d, err := tryDaemon(t, log, args...)
	if err != nil {
		t.Fatalf("newDaemon(%q): %v", args, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	n := &testDaemon{daemon: d, log: log, stop: func() { cancel(); running.Wait() }}
	t.Cleanup(n.stop)
	return n
}

func tryDaemon(t *testing.T, log io.Writer, args ...string) (*daemon, error) {
	t.Helper()
	args = append([]string{"--http_port", "0", "--https_port", "0", "--hostname", "127.0.0.1", "--data_dir", t.TempDir()}, args...)
	f, err := parseFlags(args, noEnviron, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelDebug)
	return newDaemon(f, noEnviron, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), level)
}

// awaitRole waits until an instance has a role.
func awaitRole(t *testing.T, d *testDaemon, role string) {
	t.Helper()
	limit := time.After(patience)
	h := &health{seat: d.seat}
	for {
		changed := d.seat.changed()
		if got, _ := h.role(); got == role {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("never became %s:\n%s", role, d.log)
		}
	}
}
