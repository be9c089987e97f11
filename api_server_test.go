package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// testScheduler returns a scheduler that leads until the test ends, with a store in
// memory and a cluster too small for any task, so that runs stay queued.
func testScheduler(t testing.TB) *scheduler {
	t.Helper()
	return schedulerOn(t, newMemStore())
}

// schedulerOn returns a scheduler that leads over a store until the test ends.
func schedulerOn(t testing.TB, st *memStore) *scheduler {
	t.Helper()
	st.records[adoptKey] = []byte("0")
	cl := newFakeCluster()
	cl.cpus = 0
	sch := newScheduler(testConfig(), st, cl, slog.New(slog.DiscardHandler))
	if err := sch.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var term sync.WaitGroup
	term.Go(func() { sch.run(ctx) })
	t.Cleanup(func() { cancel(); term.Wait() })
	return sch
}

// testCall returns a call as the server makes it for a request without a body.
func testCall(t *testing.T, s *server, request string) *call {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	return &call{w: &response{ResponseWriter: httptest.NewRecorder()}, r: r, server: s, api: true}
}

// soundness checks the whole state of a scheduler within its loop, and what readers see of it.
func soundness(t *testing.T, sch *scheduler) error {
	err := sch.do(t.Context(), func() error { return sch.check() })
	return errors.Join(err, sch.view().check())
}
