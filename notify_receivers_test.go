package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// jobFor is a job that names receivers.
func jobFor(receivers ...jobReceiver) *Job {
	j := nightlyJob()
	j.Policy = &Policy{Notify: receivers}
	return j
}

// Each receiver of a job gets the kinds that it wants, whatever the flags say.
func TestReceiversGetWhatTheyWant(t *testing.T) {
	t.Parallel()
	run := nightlyRun()
	events := map[string]jobEvent{
		"failed":          {Kind: eventRetriesExhausted, Run: run},
		"failed,disabled": {Kind: eventDisabled, Cause: causeFailures, Run: run},
		"disabled":        {Kind: eventDisabled, Cause: causeRecurrences},
		"recovered":       {Kind: eventRecovered, Cause: causeFailures},
		"missed":          {Kind: eventMissed, Run: run},
		"late":            {Kind: eventLate, Run: run},
		"slow":            {Kind: eventSlow, Run: startedRun()},
		"absent":          {Kind: eventAbsent},
		"":                {Kind: eventFinished, Run: run},
	}
	for kinds, e := range events {
		for _, wanted := range append(slices.Clone(noticeKinds), "") {
			r := jobReceiver{to: "mailto:a@b.c"}
			if wanted != "" {
				r.on = []string{wanted}
			}
			n := newNotifier(notifyOptions{}, slog.New(slog.DiscardHandler), newMetrics("1"))
			e.Job, e.Time = jobFor(r), noticeTime
			n.observe(e)
			want := 0
			if kinds != "" && (wanted == "" || slices.Contains(strings.Split(kinds, ","), wanted)) {
				want = 1
			}
			if got := len(n.receivers.queue); got != want {
				t.Errorf("a receiver of %q gets %d notices of %q, want %d", wanted, got, kinds, want)
			}
		}
	}
}

// Whoever may post a job chooses its receivers, so they cannot be just anything.
func TestReceiversAreCalledOnlyIfListed(t *testing.T) {
	t.Parallel()
	calls := make(chan string, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		calls <- r.URL.Path + " " + string(body)
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	const document = `{"job":"nightly","kind":"failed","subject":"s","message":"m","owner":"ops@example.com","time":"2016-05-01T02:00:09.123Z"}`
	for _, tt := range []struct {
		name, to string
		hosts    []string
		calls    string // that the server has had
		fault    string
	}{
		{"listed", server.URL + "/x", []string{"127.0.0.1"}, "/x " + document, ""},
		{"not listed", server.URL + "/x", []string{"example.com"}, "", `host "127.0.0.1" is not in --notify_hosts`},
		{"a name of the own network", "https://localhost:" + at.Port() + "/x", []string{"localhost"}, "", errOwnNetwork.Error()},
		{"a redirect", server.URL + "/away", []string{"127.0.0.1"}, "/away " + document, "status 307"},
		{"mail without a server", "mailto:a@b.c", nil, "", "there is no mail server"},
	} {
		s := newReceiverSender(notifyOptions{NotifyHosts: tt.hosts}, slog.New(slog.DiscardHandler))
		transport := s.client.Transport.(*http.Transport)
		transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		transport.TLSClientConfig.ServerName = "example.com" // of the server's certificate
		err := s.send(t.Context(), notice{job: jobFor(), to: tt.to, kind: "failed", subject: "s", message: "\nm\n", time: noticeTime})
		got := ""
		if len(calls) > 0 {
			got = <-calls
		}
		if got != tt.calls || len(calls) > 0 {
			t.Errorf("%s: the server was called with %q, want %q", tt.name, got, tt.calls)
		}
		if fault := errorText(err); tt.fault == "" && fault != "" || !strings.Contains(fault, tt.fault) {
			t.Errorf("%s: %q, want %q", tt.name, fault, tt.fault)
		}
		refused, _ := errors.AsType[*deliveryError](err)
		if err != nil && (refused == nil || !refused.final) {
			t.Errorf("%s: %v would be tried again", tt.name, err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAddressesOfTheOwnNetwork(t *testing.T) {
	t.Parallel()
	for address, own := range map[string]bool{
		"127.0.0.1": true, "::1": true, "10.1.2.3": true, "192.168.0.1": true, "172.16.0.1": true, "169.254.169.254": true, "fe80::1": true,
		"fd00::1": true, "0.0.0.0": true, "100.64.0.1": true, "::ffff:127.0.0.1": true, "224.0.0.1": true,
		"8.8.8.8": false, "2001:4860:4860::8888": false, "172.32.0.1": false,
	} {
		if got := ownNetwork(netip.MustParseAddr(address).Unmap()); got != own {
			t.Errorf("%s is of the own network: %t", address, got)
		}
		s := receiverSender{hosts: []string{"10.1.2.3"}}
		err := s.checkAddress("tcp", net.JoinHostPort(address, "443"), nil)
		if refused := errors.Is(err, errOwnNetwork); refused != (own && address != "10.1.2.3") {
			t.Errorf("%s is refused: %t, %v", address, refused, err)
		}
	}
}

// The first success after a failure is told to those receivers of the job that want it, once.
func TestRecoveredAfterAFailure(t *testing.T) {
	t.Parallel()
	scenario(t, "of a job with receivers", func(b *bench) {
		told := b.alerts(eventRecovered)
		b.cluster.behave(failing)
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-01T00:10:00Z/PT10M","retries":0,"notify":[{"to":"mailto:a@b.c"}]}`)
		b.post(`{"name":"b","command":"x","schedule":"R/2000-01-01T00:10:00Z/PT10M","retries":0}`)
		b.wait(15 * time.Minute)
		b.cluster.behave(nil)
		b.wait(time.Hour)
		b.wantAlerts(told, "recovered 00:20:00")
	})
}

// Notices to receivers are delivered, and shown once there are any.
func TestReceiversAreServed(t *testing.T) {
	t.Parallel()
	n := newNotifier(notifyOptions{}, slog.New(slog.DiscardHandler), newMetrics("1"))
	if len(n.status()) != 0 {
		t.Errorf("status = %+v, want none before there is a notice", n.status())
	}
	sent := make(chan notice, 1)
	n.receivers.sender = scriptedSender(func(_ context.Context, one notice) error { sent <- one; return nil })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.run(ctx) }()
	n.observe(jobEvent{Kind: eventRetriesExhausted, Job: jobFor(jobReceiver{to: "https://h/x"}), Run: nightlyRun(), Time: noticeTime})
	if one := <-sent; one.to != "https://h/x" || one.kind != "failed" {
		t.Errorf("sent %+v", one)
	}
	cancel()
	<-done
	if s := n.status(); len(s) != 1 || s[0].Client != clientReceivers || s[0].Sent != 1 {
		t.Errorf("status = %+v", s)
	}
}
