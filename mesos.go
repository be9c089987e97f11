package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	// subscribeTimeout bounds the time from dialing to the first event.
	subscribeTimeout = 20 * time.Second
	// defaultHeartbeat is what masters use; each announces its own on subscription.
	defaultHeartbeat = 15 * time.Second
	// What a master may announce, in seconds; anything else is a mistake.
	shortestHeartbeat, longestHeartbeat = 1, 3600
	// After missedHeartbeats without any event, the stream is given up.
	missedHeartbeats = 5

	// After detectTimeout without a leader, the log says so.
	detectTimeout = 2 * time.Second

	firstRetry = 500 * time.Millisecond
	lastRetry  = 15 * time.Second
	readyRetry = time.Second // the longest wait for a master that is about to be ready
)

// mesosConfig configures a connection to Mesos.
type mesosConfig struct {
	follow            followMaster
	framework         *mesos.FrameworkInfo // without an id
	principal, secret string               // credentials are sent if there is a secret
	secretFile        string               // read before each subscription, so that the secret can be replaced; may be ""
	tls               *tls.Config          // for https masters; nil means the system's roots
	dial              func(ctx context.Context, network, address string) (net.Conn, error)
	log               *slog.Logger
	onEvent           func(kind string)                              // for metrics, also called with eventUndecodable; may be nil
	onCall            func(kind string, took time.Duration, e error) // the same
}

// mesosStatus is the state of the connection, for the API and metrics.
type mesosStatus struct {
	Master     string    `json:"master,omitempty"` // URL of the leading master, if known
	Subscribed bool      `json:"subscribed"`
	Since      time.Time `json:"since,omitzero"`  // of Subscribed
	Error      string    `json:"error,omitempty"` // why there is no subscription
}

// mesosCluster is the cluster behind a Mesos master.
type mesosCluster struct {
	mesosConfig
	http *http.Client

	mu      sync.Mutex
	queue   *callQueue // of the current subscription, or nil
	current atomic.Pointer[mesosStatus]
	inForce atomic.Pointer[string] // the secret
}

// newMesos prepares a connection; run establishes it.
func newMesos(c mesosConfig) *mesosCluster {
	if c.onEvent == nil {
		c.onEvent = func(string) {}
	}
	if c.onCall == nil {
		c.onCall = func(string, time.Duration, error) {}
	}
	m := &mesosCluster{mesosConfig: c, http: &http.Client{
		Transport: &http.Transport{
			DialContext:         c.dial,
			TLSClientConfig:     c.tls,
			DisableCompression:  true,
			MaxIdleConnsPerHost: acknowledgers + 2,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	m.current.Store(&mesosStatus{Error: "not started"})
	m.inForce.Store(&c.secret)
	return m
}

// status returns the state of the connection. It may be called at any time.
func (m *mesosCluster) status() mesosStatus { return *m.current.Load() }

func (m *mesosCluster) setStatus(master string, err error) {
	s := &mesosStatus{Master: master, Subscribed: err == nil, Since: time.Now()}
	if err != nil {
		s.Error = err.Error()
	}
	if old := m.current.Load(); old.Subscribed == s.Subscribed {
		s.Since = old.Since
	}
	m.current.Store(s)
}

// run keeps a subscription until ctx ends, and then returns nil. It never tears
// down the framework. It may also return errFrameworkRemoved or
// errFrameworkTaken, after handle has seen the ERROR event that says so, and any panicError. While
// there is no master, or it refuses us, run retries: that one master has refused says nothing about
// the next, and one that is about to be ready is asked again soon, since nothing starts meanwhile.
func (m *mesosCluster) run(ctx context.Context, frameworkID string, handle func(*sched.Event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	defer m.http.CloseIdleConnections()

	leader := newLeaderWatch()
	begin(&wg, m.log, "search for the Mesos master", cancel, func() { m.follow(ctx, leader.set) })
	defer m.setStatus("", errors.New("stopped"))

	leader.wait(ctx, detectTimeout)
	retry, soon := backoff{first: firstRetry, last: lastRetry}, backoff{first: firstRetry, last: readyRetry}
	var asked <-chan struct{} // of the last master tried: closed when another one leads
	var told lastLine
	for {
		url, changed := leader.get()
		if changed != asked {
			asked = changed
			retry.reset()
		}
		err := errors.New("no Mesos master leads")
		if url != "" {
			m.rereadSecret()
			err = m.subscribe(ctx, url, changed, &frameworkID, &retry, handle)
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if p, ok := errors.AsType[*panicError](err); ok {
			return p
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errFrameworkRemoved) || errors.Is(err, errFrameworkTaken) {
			m.log.Error("subscription refused for good", "master", url, "framework", frameworkID, "error", err)
			return err
		}
		m.setStatus(url, err)
		pace := &retry
		if notReady(err) {
			pace = &soon
		}
		wait := pace.next()
		if told.anew(url + err.Error()) {
			m.log.Warn("no subscription", "master", url, "error", err, "retry", wait.Round(time.Millisecond))
		}
		restOr(ctx, wait, changed)
	}
}

// errNotElected is the answer of a master that has just started.
var errNotElected = errors.New("master redirects to itself: it has not been elected yet")

// notReady reports whether there is no master yet where one should be, or it is still recovering: a master
// that was restarted refuses connections, then knows no paths, then redirects to itself, and then
// reads its registry.
func notReady(err error) bool {
	if refused, ok := errors.AsType[*streamError](err); ok {
		return refused.status == http.StatusServiceUnavailable || refused.status == http.StatusNotFound
	}
	return errors.Is(err, errNotElected) || errors.Is(err, syscall.ECONNREFUSED)
}

// A lastLine is the last line in the log about why there is no subscription.
type lastLine struct {
	text string
	at   time.Time
}

// anew reports whether a text deserves another line: it is new, or the last line was some time ago.
func (t *lastLine) anew(text string) bool {
	if text == t.text && time.Since(t.at) < lastRetry {
		return false
	}
	*t = lastLine{text, time.Now()}
	return true
}

// leaderWatch hands the latest answer of a detector to run.
type leaderWatch struct {
	mu      sync.Mutex
	url     string
	changed chan struct{} // closed when url is replaced
}

func newLeaderWatch() *leaderWatch { return &leaderWatch{changed: make(chan struct{})} }

func (l *leaderWatch) get() (url string, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.url, l.changed
}

// wait returns when there is an answer, or after d.
func (l *leaderWatch) wait(ctx context.Context, d time.Duration) {
	if url, changed := l.get(); url == "" {
		restOr(ctx, d, changed)
	}
}

// set takes a detector's answer: another master leads, perhaps one that was restarted at the same
// address. If nobody leads, existing connections stay as they are: the detector may just have lost
// ZooKeeper.
func (l *leaderWatch) set(url string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if url == "" {
		return
	}
	l.url = url
	close(l.changed)
	l.changed = make(chan struct{})
}

// frameworkOptions are the flags that describe the framework.
type frameworkOptions struct {
	User, Name, Role, Hostname, WebUI, Principal string
	FailoverTimeout                              time.Duration
	Checkpoint                                   bool
}

// frameworkInfo declares only capabilities that add task states. Others would
// change what offers look like.
func frameworkInfo(o frameworkOptions) *mesos.FrameworkInfo {
	return &mesos.FrameworkInfo{
		User:            o.User,
		Name:            o.Name,
		FailoverTimeout: new(o.FailoverTimeout.Seconds()),
		Checkpoint:      new(o.Checkpoint),
		Role:            nonEmpty(o.Role),
		Hostname:        nonEmpty(o.Hostname),
		WebUiURL:        nonEmpty(o.WebUI),
		Principal:       nonEmpty(o.Principal),
		Capabilities: []mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE},
			{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE},
		},
	}
}

// credentials returns those that the framework sends. Without a secret it sends none.
func (m *mesosCluster) credentials() (principal, secret string) {
	return m.principal, *m.inForce.Load()
}

// rereadSecret puts a changed secret into effect.
func (m *mesosCluster) rereadSecret() {
	if m.secretFile == "" {
		return
	}
	contents, err := os.ReadFile(m.secretFile)
	if err != nil {
		m.log.Warn("the framework's secret can't be read again; the old one stays", "error", err)
		return
	}
	secret := trimSecret(contents)
	m.inForce.Store(&secret)
}

// trimSecret removes one line end from the contents of a secret file: the master's
// own credentials are lines or JSON and cannot contain one.
func trimSecret(contents []byte) string {
	s := strings.TrimSuffix(string(contents), "\n")
	return strings.TrimSuffix(s, "\r")
}

// streamError is the answer of a master that does not open a stream.
type streamError struct {
	status int
	text   string
}

func (e *streamError) Error() string {
	switch e.status {
	case http.StatusUnauthorized:
		return "master refused authentication (401): check the principal and the secret, and that the master has --authenticate_http_frameworks with basic"
	case http.StatusForbidden:
		return "master refused authorization (403): " + e.text
	}
	return fmt.Sprintf("master answered %d: %s", e.status, e.text)
}
