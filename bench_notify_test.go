package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// receiversInTrouble are receivers of notices that are dead, slow or refuse, by
// what they are, and how many requests the slow one has answered.
func receiversInTrouble(tb testing.TB) (urls map[string]string, answered *atomic.Int64) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	gone.Close()
	release := make(chan struct{})
	answered = new(atomic.Int64)
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		<-release
		answered.Add(1)
	}))
	tb.Cleanup(slow.Close)
	tb.Cleanup(func() { close(release) })
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	tb.Cleanup(refusing.Close)
	return map[string]string{"dead": "http://" + gone.Addr().String(), "slow": slow.URL, "refusing": refusing.URL}, answered
}

// A thousand jobs fail at one instant while the receiver of their notices is dead,
// refuses them, or answers none. Every run starts and ends all the same: nothing
// waits for a notice.
func TestReceiversOfNoticesDoNotDelayRuns(t *testing.T) {
	t.Parallel()
	urls, answered := receiversInTrouble(t)
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			// It returns when all have ended, which with a receiver that never answers is
			// possible only if none of them waited for it.
			latenessOfFailures(t, notifyOptions{SlackURL: url, HTTPURL: url, MattermostURL: url, drain: time.Millisecond})
			if n := answered.Load(); n > 0 {
				t.Errorf("%d notices were answered by a receiver that answers none", n)
			}
		})
	}
}

// BenchmarkLatenessBesideNotices reports how late a thousand runs that are due together
// start while the receiver of their notices is in trouble, and without notices.
func BenchmarkLatenessBesideNotices(b *testing.B) {
	urls, _ := receiversInTrouble(b)
	urls["no"] = ""
	for name, url := range urls {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				late := latenessOfFailures(b, notifyOptions{SlackURL: url, HTTPURL: url, MattermostURL: url, drain: time.Millisecond})
				b.ReportMetric(float64(late[len(late)/2].Milliseconds()), "median-ms")
				b.ReportMetric(float64(late[len(late)*99/100].Milliseconds()), "p99-ms")
			}
		})
	}
}

// latenessOfFailures runs a thousand jobs that are due together and fail, and
// returns how late each was launched, sorted.
func latenessOfFailures(t testing.TB, o notifyOptions) []time.Duration {
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
