package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A post is what a receiver got.
type notifyPost struct {
	path, body string
	header     http.Header
}

// receiver is an HTTP server that answers each request with the next status, and the last
// one from then on.
func receiver(t *testing.T, statuses ...int) (url string, posts func() []notifyPost) {
	t.Helper()
	var mu sync.Mutex
	var got []notifyPost
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, notifyPost{r.Method + " " + r.URL.Path, string(body), r.Header})
		if status := statuses[min(len(got), len(statuses))-1]; status == http.StatusFound {
			http.Redirect(w, r, "/elsewhere", status)
		} else {
			w.WriteHeader(status)
			io.WriteString(w, "the answer")
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []notifyPost {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

// deliver runs a notifier with o over the events, to the end of its queues.
func deliver(t *testing.T, o notifyOptions, events ...jobEvent) *notifier {
	t.Helper()
	o.firstWait = time.Millisecond
	n := newNotifier(o, slog.New(slog.DiscardHandler), newMetrics("1"))
	for _, e := range events {
		n.observe(e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what waits is delivered all the same
	n.run(ctx)
	return n
}

func TestCallbackBodyToTheByte(t *testing.T) {
	t.Parallel()
	plain := failedEvent()
	rich := failedEvent()
	rich.Message = "Straße <&> 東京"
	rich.Job.Owner = "a@x , b@x"
	rich.Job.Command = `echo "hi" & exit 1`
	rich.Job.Async, rich.Job.SoftError = true, true
	rich.Job.URIs, rich.Job.Fetch = []string{"http://x/a", "http://x/b"}, []Fetch{{URI: "http://x/c"}, {URI: "http://x/a"}}
	rich.Job.LastError = "2016-05-01T01:00:00.000Z"
	deleted := jobEvent{Kind: eventRemoved, Job: nightlyJob(), Time: noticeTime}
	deleted.Job.Owner = ""

	const plainTail = `"job":"nightly","command":"false","cpus":"0.1","async":"false","softError":"false","epsilon":"PT60S","errorCount":"0","errorsSinceLastSuccess":"4","executor":"","executorFlags":"","lastError":"","lastSuccess":"","mem":"128.0","retries":"2","successCount":"0","uris":""}`
	const richTail = `"job":"nightly","command":"echo \"hi\" & exit 1","cpus":"0.1","async":"true","softError":"true","epsilon":"PT60S","errorCount":"0","errorsSinceLastSuccess":"4","executor":"","executorFlags":"","lastError":"2016-05-01T01:00:00.000Z","lastSuccess":"","mem":"128.0","retries":"2","successCount":"0","uris":"http://x/c,http://x/a,http://x/b"}`
	const failed = `{"subject":"[Chronos] job 'nightly' failed!","message":"\n'2016-05-01T02:00:09.123Z'. Retries attempted: 2.\nTask id: ct:1462068000000:2:nightly:\n`
	url, posts := receiver(t, 200)
	deliver(t, notifyOptions{HTTPURL: url + "/hook", HTTPCredentials: "user:pass:word"}, plain, rich, deleted)
	want := []string{
		failed + `","to":"ops@example.com",` + plainTail,
		failed + `The scheduler provided this message:\n\nStraße <&> 東京","to":"a@x",` + richTail,
		failed + `The scheduler provided this message:\n\nStraße <&> 東京","to":"b@x",` + richTail,
		`{"subject":"[Chronos] Your job 'nightly' was deleted!",` + plainTail,
	}
	got := posts()
	if len(got) != len(want) {
		t.Fatalf("%d posts, want %d", len(got), len(want))
	}
	for i, p := range got {
		if p.body != want[i] {
			t.Errorf("body %d =\n%s, want\n%s", i, p.body, want[i])
		}
		if p.path != "POST /hook" || p.header.Get("Content-Type") != "application/json" || p.header.Get("Authorization") != "Basic dXNlcjpwYXNzOndvcmQ=" {
			t.Errorf("request %d = %s with %v", i, p.path, p.header)
		}
	}
}

func TestCallbackWithoutCredentialsHasNoAuthorization(t *testing.T) {
	t.Parallel()
	url, posts := receiver(t, 200)
	deliver(t, notifyOptions{HTTPURL: url}, failedEvent())
	if got := posts(); len(got) != 1 || got[0].header.Get("Authorization") != "" {
		t.Errorf("posts = %v, want one without Authorization", got)
	}
}

func TestChatBodyToTheByte(t *testing.T) {
	t.Parallel()
	event := failedEvent()
	event.Job.Owner = "a@x,b@x" // a channel is told once
	want := []string{
		`{"text":"[prod] [Chronos] job 'nightly' failed!: \n'2016-05-01T02:00:09.123Z'. Retries attempted: 2.\nTask id: ct:1462068000000:2:nightly:\n"}`,
		`{"text":"[prod] [Chronos] Your job 'nightly' was deleted!"}`,
	}
	slack, slackPosts := receiver(t, 200)
	mattermost, mattermostPosts := receiver(t, 200)
	deliver(t, notifyOptions{SlackURL: slack + "/services/T/B/x", MattermostURL: mattermost + "/hooks/y", ClusterName: "prod"},
		event, jobEvent{Kind: eventRemoved, Job: nightlyJob(), Time: noticeTime})
	for name, posts := range map[string][]notifyPost{"slack": slackPosts(), "mattermost": mattermostPosts()} {
		if len(posts) != len(want) {
			t.Fatalf("%s got %d posts, want %d", name, len(posts), len(want))
		}
		for i, p := range posts {
			if p.body != want[i] || p.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s got %s (%s), want %s", name, p.body, p.header.Get("Content-Type"), want[i])
			}
		}
	}
}

func TestSentryGetsAnEventOfProtocol7(t *testing.T) {
	t.Parallel()
	event := failedEvent()
	event.Job.Command = strings.Repeat("é", 150) + "\n" + strings.Repeat("x", 150)
	event.Job.Owner = ""
	url, posts := receiver(t, 200)
	dsn := strings.Replace(url, "http://", "async+http://key:secret@", 1) + "/sentry/42?raven.timeout=1000"
	deliver(t, notifyOptions{RavenDSN: dsn}, event)
	got := posts()
	if len(got) != 1 || got[0].path != "POST /sentry/api/42/store/" {
		t.Fatalf("posts = %v, want one to the store", got)
	}
	if auth := got[0].header.Get("X-Sentry-Auth"); !regexp.MustCompile(`^Sentry sentry_version=7, sentry_client=chronos/1, sentry_timestamp=\d{10}, sentry_key=key, sentry_secret=secret$`).MatchString(auth) {
		t.Errorf("X-Sentry-Auth = %q", auth)
	}
	shape := regexp.MustCompile(`^\{"event_id":"[0-9a-f]{32}","timestamp":"2016-05-01T02:00:09","level":"error","logger":"chronos","platform":"other","server_name":"[^"]+",` +
		regexp.QuoteMeta(`"message":"[Chronos] job 'nightly' failed!\n\n\n'2016-05-01T02:00:09.123Z'. Retries attempted: 2.\nTask id: ct:1462068000000:2:nightly:\n",`+
			`"tags":{"job":"nightly","command":"`+strings.Repeat("é", 150)+" "+strings.Repeat("x", 49)+`"},`+
			`"extra":{"cpus":"0.1","async":"false","softError":"false","epsilon":"PT60S","errorCount":"0","errorsSinceLastSuccess":"4","executor":"","executorFlags":"","lastError":"","lastSuccess":"","mem":"128.0","retries":"2","successCount":"0","uris":""}}`) + "$")
	if !shape.MatchString(got[0].body) {
		t.Errorf("body = %s", got[0].body)
	}
}

func TestSentryReadsDSNs(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"https://k@sentry.io/7":            "https://sentry.io/api/7/store/",
		"https://k:s@host:9000/a/b/7":      "https://host:9000/a/b/api/7/store/",
		"naive+https://k:s@host/7?x=1":     "https://host/api/7/store/",
		"https://sentry.io/7":              "error",
		"https://k@sentry.io/":             "error",
		"https://k:s@sentry.io":            "error",
		"ftp://k:s@sentry.io/7":            "error",
		"https://k:s e c r e t@sentry.io/": "error",
	} {
		s, err := newSentrySender(dsn)
		got := "error"
		if err == nil {
			got = s.url.String()
		} else if strings.Contains(err.Error(), "s e c") {
			t.Errorf("newSentrySender(%q): the error shows the secret: %v", dsn, err)
		}
		if got != want {
			t.Errorf("newSentrySender(%q) = %s (%v), want %s", dsn, got, err, want)
		}
	}
}

func TestPostErrorsSayWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		final  bool
	}{{302, true}, {400, true}, {403, true}, {404, true}, {408, false}, {429, false}, {500, false}, {503, false}} {
		url, posts := receiver(t, tt.status)
		s, err := newChatSender("slack_url", url+"/secret-token")
		if err != nil {
			t.Fatal(err)
		}
		err = s.send(t.Context(), notice{job: nightlyJob(), subject: "x"})
		refused, ok := errors.AsType[*deliveryError](err)
		if !ok || refused.final != tt.final {
			t.Errorf("send with status %d: %v, want final %v", tt.status, err, tt.final)
		}
		if strings.Contains(err.Error(), "secret-token") {
			t.Errorf("the error shows the webhook's path: %v", err)
		}
		if n := len(posts()); n != 1 {
			t.Errorf("status %d: %d requests, want 1", tt.status, n)
		}
	}
}

func TestErrorsOfDeadReceiverShowNoSecret(t *testing.T) {
	t.Parallel()
	s, err := newChatSender("slack_url", "http://127.0.0.1:1/secret-token")
	if err != nil {
		t.Fatal(err)
	}
	err = s.send(t.Context(), notice{job: nightlyJob(), subject: "x"})
	if err == nil || strings.Contains(err.Error(), "secret-token") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("send to a closed port: %v, want an error with the host alone", err)
	}
}

// TestBadReceiversNeverHoldUpObserve raises a thousand failures while receivers are dead or silent, or keep
// their answers back until all are raised: if observe waited for one of them, this would never end.
func TestBadReceiversNeverHoldUpObserve(t *testing.T) {
	t.Parallel()
	const failures = 1000
	raised, release := make(chan struct{}), make(chan struct{})
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-raised
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer refusing.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer slow.Close()
	defer close(release)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	notifiers := map[string]*notifier{}
	for name, o := range map[string]notifyOptions{
		"dead": {HTTPURL: "http://127.0.0.1:1/"}, "slow": {HTTPURL: slow.URL}, "silent": {HTTPURL: "http://" + silent.Addr().String()}, "refusing": {HTTPURL: refusing.URL},
		"dead mail": {MailServer: "127.0.0.1:1"}, "silent mail": {MailServer: silent.Addr().String()},
	} {
		o.firstWait, o.drain, o.MailFrom = 10*time.Millisecond, time.Millisecond, "c@example.com"
		notifiers[name] = newNotifier(o, slog.New(slog.DiscardHandler), newMetrics("1"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, n := range notifiers {
		running.Go(func() { n.run(ctx) })
	}
	event := failedEvent()
	for range failures {
		for _, n := range notifiers {
			n.observe(event)
		}
	}
	close(raised)
	cancel()
	running.Wait()
	for name, n := range notifiers {
		if s := n.status()[0]; s.Sent != 0 || s.Failed+s.Dropped != failures {
			t.Errorf("%s receiver: status %+v, want all %d failed or dropped", name, s, failures)
		}
	}
}
