package main

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeServer takes connections on a port of its own, and does with them as it is told.
func fakeServer(t *testing.T, serve func(net.Conn)) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
		}
	}()
	return l.Addr().String()
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The reason why there is no session is known at once, by server, with what it means and what to do.
func TestEnsembleSaysWhyThereIsNoSession(t *testing.T) {
	t.Parallel()
	refuses := closedPort(t)
	closes := fakeServer(t, func(c net.Conn) {
		c.Read(make([]byte, 100)) // as a server does that has no quorum, or is read-only
		c.Close()
	})
	silent := fakeServer(t, func(c net.Conn) { t.Cleanup(func() { c.Close() }) })
	const down, alone = "Check that it runs there (--zk_hosts)", "Check that a majority of its servers is running"
	for _, test := range []struct {
		name  string
		hosts []string
		says  []string
	}{
		{"nobody listens", []string{refuses}, []string{refuses + ": connect: connection refused", down}},
		{"no quorum, or read-only", []string{closes}, []string{closes + ": accepts the connection and closes it without an answer: it has no quorum, or is read-only", alone}},
		{"frozen", []string{silent}, []string{silent + ": accepts the connection and does not answer", down}},
		{"an unknown name", []string{"no-such-host.invalid:2181"}, []string{"no-such-host.invalid:2181: lookup", down}},
		{"each in its own way", []string{refuses, closes}, []string{refuses + ": connect: connection refused", closes + ": accepts", alone}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newZKEnsemble(test.hosts, time.Minute, "", slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			dialed := make(chan error, 1)
			go func() {
				_, err := e.dial(ctx)
				dialed <- err
			}()
			until(t, strings.Join(test.says, ", "), func() bool {
				said := e.trouble()
				for _, text := range append(test.says, "nothing starts here and no change is stored") {
					if !strings.Contains(said, text) {
						return false
					}
				}
				return true
			})
			cancel()
			if err := next(t, dialed, "end of dial"); err == nil {
				t.Error("there is a session")
			}
		})
	}
}

// A session is trouble only while an answer is overdue.
func TestEnsembleNoticesSilence(t *testing.T) {
	t.Parallel()
	e := newZKEnsemble([]string{"zk:2181"}, time.Minute, "", slog.New(slog.DiscardHandler))
	s := &zkSession{Conn: nil}
	e.begun(s)
	if said := e.trouble(); said != "" {
		t.Errorf("with a session: %q", said)
	}
	e.asked = time.Now().Add(-zkSilence / 2)
	if said := e.trouble(); said != "" {
		t.Errorf("soon after a request: %q", said)
	}
	e.ended(&zkSession{}) // of one before
	if said := e.trouble(); said != "" {
		t.Errorf("after the end of another session: %q", said)
	}
	e.ended(s)
	if said := e.trouble(); said != "" {
		t.Errorf("between two sessions: %q", said)
	}
	e.without = time.Now().Add(-zkSilence)
	if said := e.trouble(); !strings.Contains(said, "no session (zk:2181: not tried yet)") {
		t.Errorf("after the end of the session: %q", said)
	}
}

// Code that only opens its own session, to find the Mesos master, reports it in the log.
func TestLongDialsAreLogged(t *testing.T) {
	t.Parallel()
	var log logBuffer
	host := closedPort(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go dialZK(ctx, []string{host}, time.Second, "", slog.New(slog.NewTextHandler(&log, nil)))
	until(t, "the log says what is wrong", func() bool {
		return strings.Contains(log.String(), "ZooKeeper does not serve") && strings.Contains(log.String(), host+": connect: connection refused")
	})
}
