//go:build services

package main

import (
	"log/slog"
	"testing"
	"time"
)

// ended waits for the end of a session.
func ended(t *testing.T, s *zkSession) {
	t.Helper()
	select {
	case <-s.ctx.Done():
	case <-time.After(patience):
		t.Fatalf("the session lives on after %v", patience)
	}
}

// testSession opens a session that ends with the test.
func testSession(t testing.TB, hosts []string) *zkSession {
	t.Helper()
	return authSession(t, hosts, "")
}

func authSession(t testing.TB, hosts []string, auth string) *zkSession {
	t.Helper()
	s, err := dialZK(t.Context(), hosts, 10*time.Second, auth, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// plant writes nodes as another program would.
func plant(t testing.TB, session *zkSession, dir string, nodes map[string][]byte) {
	t.Helper()
	if err := session.mkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, data := range nodes {
		if _, err := session.Create(dir+"/"+name, data, 0, session.acl); err != nil {
			t.Fatalf("create %q: %v", name, err)
		}
	}
}

// lead wins the latch of root in a new session and opens the store of its term.
func lead(t testing.TB, hosts []string, root string) (*zkStore, *candidate) {
	t.Helper()
	c := newTestCandidate(root, "127.0.0.1:1")
	return leadIn(t, testSession(t, hosts), c, root), c
}

// takeOffice is leadIn without the load.
func takeOffice(t testing.TB, session *zkSession, c *candidate, root string) *zkStore {
	t.Helper()
	latch, _, err := c.campaign(t.Context(), session, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openZKStore(session, root, latch, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func leadIn(t testing.TB, session *zkSession, c *candidate, root string) *zkStore {
	t.Helper()
	s := takeOffice(t, session, c, root)
	if _, err := s.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func mustResign(t *testing.T, c *candidate, session *zkSession) {
	t.Helper()
	if err := c.resign(session); err != nil {
		t.Fatal(err)
	}
}

func newTestCandidate(root, id string) *candidate {
	return newCandidate(root+"/candidate", id, slog.New(slog.DiscardHandler))
}
