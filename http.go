package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of the server. A job is at most 1 MiB, because ZooKeeper accepts no more.
const (
	headerLimit      = 64 << 10
	bodyLimit        = 1 << 20
	headerTimeout    = 10 * time.Second
	bodyTimeout      = 30 * time.Second
	largeBodyTimeout = 10 * time.Minute // for one that may be larger than bodyLimit: a backup
	answerTimeout    = 5 * time.Minute  // a long list to a slow client, a held request
	idleTimeout      = 2 * time.Minute
	stallTimeout     = 30 * time.Second // a piece of a long body or answer: clients that transfer nothing for this long are dropped
	shutdownGrace    = 5 * time.Second  // for requests under way when the server is told to stop
)

// serverOptions are what the HTTP side needs from the rest of the program. Only the first three must be set.
type serverOptions struct {
	// current is the scheduler while this instance leads and has loaded its
	// state, otherwise nil.
	current func() *scheduler
	// leader is the id of the instance that leads, "" for none, and whether
	// that is this instance.
	leader func() (id string, self bool)
	// changed returns a channel that is closed at the next change of what
	// current or leader return. It is asked before them.
	changed func() <-chan struct{}
	// obstacle returns why nobody leads, "" for no special reason, and whether that lasts until a person acts; nil: never.
	obstacle func() (why string, lasts bool)

	id       string               // our own host:port
	hostname string               // the name we go by, accepted as Host on loopback
	locate   func(id string) peer // how to reach an instance; nil: like a JVM's, plain HTTP at its id
	// dialTLS connects to peers with scheme https; nil trusts the system's authorities.
	dialTLS     func(ctx context.Context, network, address string) (net.Conn, error)
	credentials string // user:password, "" for none
	// access knows who may do what; nil: everything is for everybody, or for who knows the credentials.
	access *access
	// jvm are the host:port of JVM instances that are shown the credentials.
	jvm         []string
	realm       string
	compress    bool
	hold        time.Duration // how long a request waits for a leader, 0 for 20 s
	memory      *budget       // for bodies and answers under way, nil for 1 GiB
	connections *connections  // nil for no bound
	metrics     http.Handler  // /metrics and below
	local       map[string]http.Handler
	ui          http.Handler // everything else outside the API, nil for nothing
	level       *slog.LevelVar
	log         *slog.Logger

	// Counters, each of which may be nil: for requests, with a function for their
	// end; for requests sent to the leader.
	requestStarted func(method string) func(status int)
	forwarded      func(err error)
}

// A server answers HTTP requests: those that any instance can answer at once,
// the rest through the scheduler or through the instance that leads.
type server struct {
	serverOptions
	// api answers a call of the REST API; for any other path it reports false. nil for no API.
	api       func(c *call) (known bool, err error)
	beyond    func(c *call) string // what of a call an earlier version would not understand, "" for nothing; nil for no API
	secret    [sha256.Size]byte
	transport *http.Transport
	stopping  chan struct{} // closed when the server is told to stop
}

// newServer returns a server; serve makes it listen.
func newServer(o serverOptions) *server {
	if o.obstacle == nil {
		o.obstacle = func() (string, bool) { return "", false }
	}
	if o.hold == 0 {
		o.hold = 20 * time.Second
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.level == nil {
		o.level = new(slog.LevelVar)
	}
	if o.ui == nil {
		o.ui = http.NotFoundHandler()
	}
	if o.realm == "" {
		o.realm = "Mesosphere"
	}
	if o.memory == nil {
		o.memory = newBudget(1 << 30)
	}
	if o.connections == nil {
		o.connections = newConnections(math.MaxInt)
	}
	s := &server{serverOptions: o, secret: sha256.Sum256([]byte(o.credentials)), stopping: make(chan struct{})}
	s.transport = &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		DialTLSContext:        o.dialTLS,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: s.hold + bodyTimeout, // a leader that loads its state holds requests
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // answers pass through as the leader sent them
	}
	return s
}

// serve answers requests on the listeners, each plain or TLS already, until ctx
// ends or one of them fails. It then lets requests under way finish for a while.
func (s *server) serve(ctx context.Context, listeners ...net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerLimit,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(l net.Listener) context.Context {
			return context.WithValue(context.Background(), loopbackKey{}, onLoopback(l.Addr()))
		},
		ConnContext: s.connections.named,
		ConnState:   s.connections.changed,
	}
	h.RegisterOnShutdown(func() { close(s.stopping) })
	defer s.transport.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, l := range listeners {
		begin(&running, s.log, "listener", cancel, func() { cancel(h.Serve(boundedListener{l, s.connections})) })
	}
	<-ctx.Done()
	s.connections.end()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer done()
	if err := h.Shutdown(grace); err != nil {
		h.Close()
	}
	running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// loopbackKey marks requests that came through a listener bound to loopback.
type loopbackKey struct{}

func onLoopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// ServeHTTP answers one request, logs it, and survives a handler's panic.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.connections.asked(r)
	a := &response{ResponseWriter: w, share: s.memory.share()}
	defer a.share.end()
	start := time.Now()
	if s.requestStarted != nil {
		ended := s.requestStarted(r.Method)
		defer func() { ended(a.code()) }()
	}
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			s.log.Error("handler panicked", "method", r.Method, "path", r.URL.EscapedPath(), "panic", v, "stack", string(debug.Stack()))
			if a.status == 0 {
				errorPage(a, http.StatusInternalServerError, "internal error")
			}
		}
		s.logRequest(a, r, time.Since(start))
	}()
	s.answer(a, r)
	a.close()
}

// answer sorts requests: /ping is open to everybody, the rest is for those who know the credentials.
func (s *server) answer(w *response, r *http.Request) {
	path := r.URL.Path
	if path == "/ping" {
		ping(w, r)
		return
	}
	c := &call{w: w, r: r, server: s, share: w.share}
	var err error
	switch {
	case s.access != nil:
		if c.who, err = s.access.identify(r, s.id, r.Header.Get(viaHeader) != ""); err != nil {
			c.finish(err)
			return
		}
	case !s.authentic(r):
		w.Header().Set("WWW-Authenticate", challenge(s.realm))
		errorPage(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	w.call = c
	known := false
	if s.api != nil {
		known, err = s.api(c)
	}
	if !known {
		err = s.answerOther(c)
	}
	if w.refused() {
		err = errNoRoom
	}
	if c.stream != nil {
		c.stream.drain()
	}
	c.finish(err)
}

// answerOther answers requests outside the API.
func (s *server) answerOther(c *call) error {
	path, query := c.r.URL.Path, c.r.URL.Query()
	h, local := s.local[path], true
	c.private = h != nil || strings.HasPrefix(path, "/metrics/") // which the original does not have
	at := path
	if !c.private && path != "/metrics" && path != "/logging" {
		at = "/" // whatever the interface answers
	}
	if err := c.admit(at); err != nil {
		return err
	}
	if err := checkOrigin(c.r, s.hostname); err != nil {
		return err
	}
	switch {
	case h != nil:
	case path == "/metrics" && s.metrics != nil:
		h, local = s.metrics, query.Has("local") || wantsPrometheus(c.r)
	case strings.HasPrefix(path, "/metrics/") && s.metrics != nil:
		h = s.metrics
	case path == "/logging":
		h, local = http.HandlerFunc(s.logging), query.Has("local")
	default:
		h = s.ui
	}
	serve := func(*scheduler) error {
		s.respond(c, func(w http.ResponseWriter) { h.ServeHTTP(w, c.r) })
		return nil
	}
	if !local {
		return s.dispatch(c, serve)
	}
	if c.who != nil && c.who.body != "" { // another instance has vouched for him with this body
		if err := c.readBody(); err != nil {
			return err
		}
	}
	return serve(nil)
}

// respond runs write with a response that is compressed if the client accepts that.
func (s *server) respond(c *call, write func(http.ResponseWriter)) {
	c.allowOrigins()
	if s.compress {
		c.w.Header().Set("Vary", "Accept-Encoding, User-Agent")
		c.w.compress = acceptsGzip(c.r)
	}
	write(c.w)
}

// authentic compares the credentials as one text, in constant time, so that a
// password may hold colons.
func (s *server) authentic(r *http.Request) bool {
	if s.credentials == "" {
		return true
	}
	user, password, ok := r.BasicAuth()
	given := sha256.Sum256([]byte(user + ":" + password))
	return ok && subtle.ConstantTimeCompare(given[:], s.secret[:]) == 1
}

// challenge asks for a password.
func challenge(realm string) string { return `basic realm=` + strconv.Quote(realm) }

// checkOrigin refuses changes that a browser requests for a foreign web page:
// with an Origin that isn't the requested host, or, where only this machine can
// connect, for a host name that isn't this machine's (one that an attacker has
// pointed to 127.0.0.1).
func checkOrigin(r *http.Request, hostname string) error {
	if safe(r.Method) {
		return nil
	}
	if err := new(http.CrossOriginProtection).Check(r); err != nil && !sameForwardedHost(r) {
		return &httpError{status: http.StatusForbidden, text: fmt.Sprintf("changes from another origin (%s) are refused", r.Header.Get("Origin"))}
	}
	if loopback, _ := r.Context().Value(loopbackKey{}).(bool); loopback && !localHost(r.Host, hostname) {
		return &httpError{status: http.StatusForbidden, text: fmt.Sprintf("changes for the host %q are refused on loopback; behind a proxy, have it send Host: localhost, or start with --hostname and the name it is asked for", r.Host)}
	}
	return nil
}

// sameForwardedHost reports whether the Origin is the host that a proxy in front
// of us was asked for. A page can't set X-Forwarded-Host across origins.
func sameForwardedHost(r *http.Request) bool {
	host := r.Header.Get("X-Forwarded-Host")
	_, origin, ok := strings.Cut(r.Header.Get("Origin"), "://")
	return ok && host != "" && strings.EqualFold(origin, host)
}

// localHost reports whether a Host header names this machine. HTTP/1.0 clients send none.
func localHost(host, hostname string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(strings.TrimSuffix(host, "."), "[]"))
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.EqualFold(host, hostname) {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// safe reports whether a method changes nothing.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions || method == http.MethodTrace
}

// ping is answered by every instance in every state: load balancers and Marathon use it.
func ping(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Credentials", "true")
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.Set("Content-Type", "text/plain;charset=ISO-8859-1")
		h.Set("Cache-Control", "must-revalidate,no-cache,no-store")
		io.WriteString(w, "pong\n")
	case http.MethodOptions:
		h.Set("Allow", "GET, HEAD, OPTIONS")
	default:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
	}
}
