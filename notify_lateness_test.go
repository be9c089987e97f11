package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// A thousand jobs fail at one instant while the receiver of their notices is dead, slow
// or refuses them. What the notices do must not show in how late the runs start.
func TestReceiversOfNoticesDoNotDelayRuns(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer slow.Close()
	defer close(release)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer refusing.Close()

	const limit = 250 * time.Millisecond // far below what one notice takes with any of them, and above a busy machine's noise
	base := latenessOfFailures(t, notifyOptions{})
	t.Logf("without notices: median %v, p99 %v", base[len(base)/2], base[len(base)*99/100])
	for name, url := range map[string]string{"dead": "http://" + gone.Addr().String(), "slow": slow.URL, "refusing": refusing.URL} {
		late := latenessOfFailures(t, notifyOptions{SlackURL: url, HTTPURL: url, MattermostURL: url, drain: time.Millisecond})
		t.Logf("%s receiver: median %v, p99 %v", name, late[len(late)/2], late[len(late)*99/100])
		if got, most := late[len(late)*99/100], 3*base[len(base)*99/100]+limit; got > most {
			t.Errorf("with a %s receiver the 99th percentile is %v, want at most %v", name, got, most)
		}
	}
}

// latenessOfFailures runs a thousand jobs that are due together and fail, and
// returns how late each was launched, sorted.
func latenessOfFailures(t *testing.T, o notifyOptions) []time.Duration {
	t.Helper()
	const jobs = 1000
	log := slog.New(slog.DiscardHandler)
	n := newNotifier(o, log, newMetrics("test"))
	ctx, stop := context.WithCancel(t.Context())
	notifying := make(chan struct{})
	go func() { defer close(notifying); n.run(ctx) }()
	ended := make(chan struct{}, jobs)
	cfg := testConfig()
	cfg.observe = func(e jobEvent) {
		n.observe(e)
		if e.Kind == eventRetriesExhausted {
			ended <- struct{}{}
		}
	}
	cl := newFakeCluster()
	cl.behave(failing)
	s := newScheduler(cfg, newMemStore(), cl, log)
	if err := s.load(ctx); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- s.run(ctx) }()
	due := time.Now().Add(time.Second).UTC()
	for i := range jobs {
		doc := fmt.Appendf(nil, `{"name":"j%d","command":"x","owner":"a@x,b@x","retries":0,"schedule":"R1/%s/P1D"}`, i, due.Format("2006-01-02T15:04:05.000Z"))
		j, err := decodeJob(doc, cfg.defaults, dialect2, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.putJob(ctx, j.Name, func(*Job) (*Job, error) { return j, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for range jobs {
		<-ended
	}
	var late []time.Duration
	for v := range s.view().all() {
		late = append(late, time.Duration(v.history[0].Launched-v.history[0].Due)*time.Millisecond)
	}
	stop()
	<-over
	<-notifying
	slices.Sort(late)
	return late
}
