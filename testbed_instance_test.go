package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A testSeat says who leads, to the servers of one test.
type testSeat struct {
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

func newTestSeat(id string) *testSeat { return &testSeat{id: id, changed: make(chan struct{})} }

// A testInstance is a server on a port of its own. It leads when the seat has its id,
// with its scheduler once that is there.
type testInstance struct {
	id, url string
	stop    func()
}

// startInstance runs an instance until the test ends or stop is called. sch may be nil.
func startInstance(t *testing.T, at *testSeat, sch *scheduler, adjust func(*apiOptions)) *testInstance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &testInstance{id: l.Addr().String(), url: "http://" + l.Addr().String()}
	o := leading(nil)
	o.id, o.hold = n.id, 10*time.Second
	o.leader = func() (string, bool) { id, _ := at.state(); return id, id == n.id }
	o.changed = func() <-chan struct{} { _, c := at.state(); return c }
	o.current = func() *scheduler {
		if id, _ := at.state(); id != n.id {
			return nil
		}
		return sch
	}
	o.locate = func(id string) peer { return peer{"http", id, true} }
	o.log = slog.New(slog.DiscardHandler)
	if adjust != nil {
		adjust(&o)
	}
	s := newAPI(o)
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
