package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// noticeTime is when the events of these tests happen.
var noticeTime = time.Date(2016, 5, 1, 2, 0, 9, 123e6, time.UTC)

func nightlyJob() *Job {
	return &Job{Name: "nightly", Command: "false", Owner: "ops@example.com", CPUs: 0.1, Mem: 128, Retries: 2,
		Epsilon: Period{Seconds: 60}, ErrorsSinceLastSuccess: 4}
}

func nightlyRun() *Run {
	return &Run{ID: "ct:1462068000000:2:nightly:", Job: "nightly", Due: 1462068000000, Attempt: 2, State: runFailed}
}

func TestNoticesSayWhatTheyAlwaysSaid(t *testing.T) {
	t.Parallel()
	const mesos = "The scheduler provided this message:\n\n"
	for _, tt := range []struct {
		name             string
		event            jobEvent
		subject, message string
	}{
		{"deleted", jobEvent{Kind: eventRemoved}, "[Chronos] Your job 'nightly' was deleted!", ""},
		{"failed for good", jobEvent{Kind: eventRetriesExhausted, Run: nightlyRun()}, "[Chronos] job 'nightly' failed!",
			"\n'2016-05-01T02:00:09.123Z'. Retries attempted: 2.\nTask id: ct:1462068000000:2:nightly:\n"},
		{"failed with Mesos' message", jobEvent{Kind: eventRetriesExhausted, Run: nightlyRun(), Message: "Command exited with status 1"},
			"[Chronos] job 'nightly' failed!",
			"\n'2016-05-01T02:00:09.123Z'. Retries attempted: 2.\nTask id: ct:1462068000000:2:nightly:\n" + mesos + "Command exited with status 1"},
		{"disabled after failures", jobEvent{Kind: eventDisabled, Cause: causeFailures, Run: nightlyRun(), Message: "x"},
			"[Chronos] job 'nightly' disabled",
			"\nFailed at '2016-05-01T02:00:09.123Z', 5 failures since last success\nTask id: ct:1462068000000:2:nightly:\n" + mesos + "x"},
		{"no repetition left", jobEvent{Kind: eventDisabled, Cause: causeRecurrences}, "[Chronos] job 'nightly' disabled",
			"Job 'nightly' has exhausted all of its recurrences and has been disabled.\nPlease consider either removing your job, or updating its schedule and re-enabling it.\n"},
		{"another cause", jobEvent{Kind: eventDisabled, Cause: "because"}, "[Chronos] job 'nightly' disabled", "because"},
		{"missed", jobEvent{Kind: eventMissed, Run: nightlyRun()}, "[Chronos] job 'nightly' missed a run!",
			"\nThe run due at '2016-05-01T02:00:00.000Z' was not started in time.\n"},
		{"missed, with what was the case", jobEvent{Kind: eventMissed, Run: &Run{Due: 1462068000000, Reason: "older than epsilon PT1M"}}, "[Chronos] job 'nightly' missed a run!",
			"\nThe run due at '2016-05-01T02:00:00.000Z' was not started: older than epsilon PT1M.\n"},
		{"missed many", jobEvent{Kind: eventMissed, Run: &Run{Due: 1462068000000, From: 1462060800000, Count: 3}}, "[Chronos] job 'nightly' missed a run!",
			"\n3 runs, due from '2016-05-01T00:00:00.000Z' to '2016-05-01T02:00:00.000Z', were not started in time.\n"},
		{"waits too long", jobEvent{Kind: eventLate, Run: nightlyRun()}, "[Chronos] job 'nightly' is late!",
			"\nDue at '2016-05-01T02:00:00.000Z', waits at '2016-05-01T02:00:09.123Z', 9.123s late.\nTask id: ct:1462068000000:2:nightly:\n"},
		{"starts too late", jobEvent{Kind: eventLate, Run: startedRun()}, "[Chronos] job 'nightly' is late!",
			"\nDue at '2016-05-01T02:00:00.000Z', started at '2016-05-01T02:00:09.123Z', 9.123s late.\nTask id: ct:1462068000000:2:nightly:\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.event.Job, tt.event.Time = nightlyJob(), noticeTime
			for cluster, prefix := range map[string]string{"": "", "prod": "[prod] "} {
				n := &notifier{options: notifyOptions{ClusterName: cluster, Missed: true, Late: 5 * time.Second}}
				if got, want := n.texts(tt.event), []noticeText{{prefix + tt.subject, tt.message}}; !slices.Equal(got, want) {
					t.Errorf("texts = %q, want %q", got, want)
				}
			}
		})
	}
}

func startedRun() *Run {
	r := nightlyRun()
	r.State = runActive
	return r
}

func TestNoticesKeepSilentOtherwise(t *testing.T) {
	t.Parallel()
	off := &notifier{}
	late := &notifier{options: notifyOptions{Late: time.Minute}}
	for _, e := range []jobEvent{
		{Kind: eventQueued}, {Kind: eventStarted, Run: nightlyRun()}, {Kind: eventFinished, Run: nightlyRun()}, {Kind: eventFinished},
		{Kind: eventFailed, Run: nightlyRun()}, {Kind: eventSkipped, Run: nightlyRun()},
		{Kind: eventMissed, Run: nightlyRun()}, {Kind: eventLate, Run: nightlyRun()},
	} {
		e.Job, e.Time = nightlyJob(), noticeTime
		for _, n := range []*notifier{off, late} {
			if n == late && e.Kind == eventLate {
				continue // which it is to tell
			}
			if got := n.texts(e); got != nil {
				t.Errorf("texts of %s = %q, want none", e.Kind, got)
			}
		}
	}
}

func TestOwnersSplitAsJavaDoes(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]string{
		"":                {""},
		"a@x":             {"a@x"},
		"a@x, b@x ,c@x":   {"a@x", "b@x", "c@x"},
		"a@x,,":           {"a@x"},
		"a@x,,b@x":        {"a@x", "", "b@x"},
		",a@x":            {"", "a@x"},
		" a@x\t,\n b@x  ": {" a@x", "b@x  "},
	} {
		if got := owners(list); !slices.Equal(got, want) {
			t.Errorf("owners(%q) = %q, want %q", list, got, want)
		}
	}
}

// scriptedSender answers with what its function says.
type scriptedSender func(ctx context.Context, n notice) error

func (s scriptedSender) send(ctx context.Context, n notice) error { return s(ctx, n) }

// notifierTo is a notifier with one client, named like the HTTP one.
func notifierTo(s sender, o notifyOptions) (*notifier, *metrics) {
	m := newMetrics("1")
	n := newNotifier(notifyOptions{}, slog.New(slog.DiscardHandler), m)
	n.clients = append(n.clients, &notifyClient{name: clientHTTP, sender: s, log: n.log,
		queue: make(chan notice, noticeQueueSize), counts: m.notices[clientHTTP], options: o.withDefaults()})
	return n, m
}

func failedEvent() jobEvent {
	return jobEvent{Kind: eventRetriesExhausted, Job: nightlyJob(), Run: nightlyRun(), Time: noticeTime}
}

func TestNoticeIsTriedAgainWithGrowingPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		n, m := notifierTo(scriptedSender(func(context.Context, notice) error {
			at = append(at, time.Since(start))
			if len(at) == 4 {
				return nil
			}
			return errors.New("down")
		}), notifyOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { n.run(ctx) })
		n.observe(failedEvent())
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("attempts at %v, want %v", at, want)
		}
		if s := n.status()[0]; s.Sent != 1 || s.Failed != 0 || s.Failing || s.LastError != "down" {
			t.Errorf("status = %+v, want sent 1 and the last error", s)
		}
		if got := m.notices[clientHTTP][noticeSent].count(); got != 1 {
			t.Errorf("sent metric = %d, want 1", got)
		}
		cancel()
		wg.Wait()
	})
}

// A fault of ours in one client is that client's, and the notice is tried again.
func TestAPanicOfASenderIsAnAttemptThatFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		n, _ := notifierTo(scriptedSender(func(context.Context, notice) error {
			if attempts++; attempts < 3 {
				panic("a fault")
			}
			return nil
		}), notifyOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { n.run(ctx) })
		n.observe(failedEvent())
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := n.status()[0]; s.Sent != 1 || s.Failed != 0 || attempts != 3 {
			t.Errorf("status = %+v after %d attempts, want it sent with the third", s, attempts)
		}
		cancel()
		wg.Wait()
	})
}

func TestNoticeIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		err      error
		attempts int
	}{
		{"at once when refused for good", &deliveryError{err: errors.New("bad address"), final: true}, 1},
		{"after ten minutes of failures", errors.New("down"), 16},
		{"and the receiver's wish to wait is respected", &deliveryError{err: errors.New("slow down"), wait: time.Hour}, 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				n, _ := notifierTo(scriptedSender(func(context.Context, notice) error { attempts++; return tt.err }), notifyOptions{})
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { n.run(ctx) })
				n.observe(failedEvent())
				time.Sleep(time.Hour)
				synctest.Wait()
				if s := n.status()[0]; attempts != tt.attempts || s.Failed != 1 || !s.Failing {
					t.Errorf("%d attempts, status %+v, want %d and failed 1", attempts, s, tt.attempts)
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

func TestDeadReceiverDropsWhatTheQueueDoesNotHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := notifierTo(scriptedSender(func(ctx context.Context, _ notice) error { <-ctx.Done(); return ctx.Err() }), notifyOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { n.run(ctx) })
		n.observe(failedEvent())
		synctest.Wait() // the first one is being sent
		for range noticeQueueSize + 50 {
			n.observe(failedEvent())
		}
		if s := n.status()[0]; s.Queued != noticeQueueSize || s.Dropped != 50 {
			t.Errorf("status = %+v, want %d queued and 50 dropped", s, noticeQueueSize)
		}
		began := time.Now()
		cancel()
		wg.Wait()
		if took := time.Since(began); took != noticeDrain {
			t.Errorf("stop took %v, want %v", took, noticeDrain)
		}
		if s := n.status()[0]; s.Sent+s.Failed+s.Dropped != noticeQueueSize+51 {
			t.Errorf("status = %+v: %d notices are not accounted for", s, noticeQueueSize+51-s.Sent-s.Failed-s.Dropped)
		}
	})
}

func TestWaitingNoticesAreSentBeforeTheStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := notifierTo(scriptedSender(func(context.Context, notice) error { time.Sleep(10 * time.Millisecond); return nil }), notifyOptions{})
		for range 100 {
			n.observe(failedEvent())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n.run(ctx)
		if s := n.status()[0]; s.Sent != 100 {
			t.Errorf("status = %+v, want 100 sent", s)
		}
	})
}

func TestClientsStartFromTheirFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options notifyOptions
		want    string
	}{
		{"none", notifyOptions{}, ""},
		{"mail needs a sender", notifyOptions{MailServer: "mx:25"}, ""},
		{"mail needs a port", notifyOptions{MailServer: "mx", MailFrom: "c@x"}, ""},
		{"mail", notifyOptions{MailServer: "mx:25", MailFrom: "c@x"}, "mail"},
		{"bad ones are shown", notifyOptions{MailServer: "mx:smtp", MailFrom: "c@x", RavenDSN: "https://host/1", SlackURL: "slack", HTTPURL: "ftp://x"},
			"mail failing, sentry failing, slack failing, http failing"},
		{"all", notifyOptions{MailServer: "mx:", MailFrom: "c@x", RavenDSN: "https://k:s@host/1", SlackURL: "https://s/x", MattermostURL: "https://m/x", HTTPURL: "http://h/"},
			"mail, sentry, slack, mattermost, http"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range newNotifier(tt.options, slog.New(slog.DiscardHandler), newMetrics("1")).status() {
				if s.Failing {
					s.Client += " failing"
				}
				got = append(got, s.Client)
			}
			if list := strings.Join(got, ", "); list != tt.want {
				t.Errorf("clients = %q, want %q", list, tt.want)
			}
		})
	}
}

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
