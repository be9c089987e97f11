package main

import (
	"context"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestGraphiteLinesAreThoseOfDropwizardsReporter(t *testing.T) {
	t.Parallel()
	now := time.Unix(1462068000, 0)
	lines := string(demoMetrics().graphiteLines("prod", now))
	for _, line := range []string{
		"prod." + queuePrefix + "queueSize 4 1462068000",
		"prod.jobs.run.success.nightly-report.count 3 1462068000",
		"prod.jobs.run.failure.nightly-report.count 1 1462068000",
		"prod.jobs.run.time.nightly-report.count 3 1462068000",
		"prod.jobs.run.time.nightly-report.max 4000 1462068000",
		"prod.jobs.run.time.nightly-report.mean 3000.00 1462068000",
		"prod.jobs.run.time.nightly-report.p999 4000.00 1462068000",
		"prod.jobs.run.time.nightly-report.stddev 816.50 1462068000",
		"prod.chronos.run.lateness.p50 1000.00 1462068000",
		"prod.chronos.run.lateness.max 1000.00 1462068000",
		"prod.chronos.run.lateness.count 3 1462068000",
		"prod.org.eclipse.jetty.servlet.ServletContextHandler.requests.count 2 1462068000",
		"prod.org.eclipse.jetty.servlet.ServletContextHandler.requests.m1_rate 0.00 1462068000",
	} {
		if !strings.Contains(lines, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	shape := regexp.MustCompile(`^prod\.\S+ -?\d+(\.\d\d)? 1462068000$`)
	for line := range strings.Lines(lines) {
		if !shape.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("line %q has not the shape of the protocol", line)
		}
	}
	if bare := string(newMetrics("1").graphiteLines("", now)); strings.HasPrefix(bare, ".") {
		t.Errorf("a report without prefix starts with a dot: %.40q", bare)
	}
}

func TestGraphiteReadsItsAddressAsBefore(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hostPort string
		on, fail bool
	}{
		{"", false, false},
		{"graphite", false, false},
		{"a:b:2003", false, false},
		{"graphite:2003", true, false},
		{"[::1]:2003", true, false},
		{"graphite:carbon", false, true},
	} {
		g, err := newGraphite(graphiteOptions{HostPort: tt.hostPort, Interval: time.Minute}, newMetrics("1"), slog.New(slog.DiscardHandler))
		if (g != nil) != tt.on || (err != nil) != tt.fail {
			t.Errorf("newGraphite(%q) = %v, %v, want on %v, error %v", tt.hostPort, g, err, tt.on, tt.fail)
		}
	}
}

func TestGraphiteConnectsAgain(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	g, err := newGraphite(graphiteOptions{HostPort: listener.Addr().String(), Interval: 5 * time.Millisecond, Prefix: "p"}, newMetrics("1"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { g.run(ctx) })
	for range 3 { // each connection is dropped after its first line
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		start := make([]byte, 2)
		if _, err := conn.Read(start); err != nil || string(start) != "p." {
			t.Errorf("a report starts %q (%v), want %q", start, err, "p.")
		}
		conn.Close()
	}
	cancel()
	wg.Wait()
}
