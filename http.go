package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of the server. A job is at most 1 MiB, because ZooKeeper takes no more.
const (
	headerLimit   = 64 << 10
	bodyLimit     = 1 << 20
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	answerTimeout = 5 * time.Minute // a long list to a slow client, a held request
	idleTimeout   = 2 * time.Minute
	streamTimeout = 30 * time.Second // one write of an answer without end
	shutdownGrace = 5 * time.Second  // for requests under way when the server is told to stop
)

// serverOptions are what the HTTP side needs to know of the rest. Only the first three must be set.
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

	id       string               // our own host:port
	hostname string               // the name we go by, accepted as Host on loopback
	locate   func(id string) peer // where an instance is reached; nil: a JVM's, plain HTTP at its id
	// dialTLS connects to peers with scheme https; nil trusts the system's authorities.
	dialTLS     func(ctx context.Context, network, address string) (net.Conn, error)
	credentials string // user:password, "" for none
	realm       string
	compress    bool
	defaults    jobDefaults
	location    *time.Location  // the zone of starts without an offset, nil for the process's
	history     int             // entries in job/stat, 0 for all that is kept
	hold        time.Duration   // how long a request waits for a leader, 0 for 20 s
	ui          http.Handler    // everything outside the API; nil: the web interface
	members     func() []string // ids of the instances; nil: not known
	storeName   string          // where the state is, for people
	clusterName string          // where the tasks run, for people
	metrics     http.Handler    // /metrics and below
	local       map[string]http.Handler
	// output reads what a run has written to stdout or stderr, a negative offset
	// counting from the end. errNotFound means that there is no such file.
	output func(run *Run, name string, offset int64, limit int) (data []byte, size int64, err error)
	level  *slog.LevelVar
	log    *slog.Logger

	// What is counted, each nil for nobody: requests, with a function for their
	// end; calls of the operations that the JVM versions time; requests sent to the leader.
	requestStarted func(method string) func(status int)
	resourceCall   func(name string, took time.Duration)
	forwarded      func(err error)
}

// A server answers HTTP requests: those that any instance can answer at once,
// the rest through the scheduler or through the instance that leads.
type server struct {
	serverOptions
	resources []resource
	secret    [sha256.Size]byte
	lists     [2]jobCache // encoded jobs of GET jobs, by dialect
	transport *http.Transport
	events    *eventHub
	stopping  chan struct{} // closed when the server is told to stop
}

// newServer returns a server; serve makes it listen.
func newServer(o serverOptions) *server {
	if o.hold == 0 {
		o.hold = 20 * time.Second
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.level == nil {
		o.level = new(slog.LevelVar)
	}
	if o.location == nil {
		o.location = time.Local
	}
	if o.ui == nil {
		o.ui = newUI()
	}
	if o.realm == "" {
		o.realm = "Mesosphere"
	}
	s := &server{serverOptions: o, secret: sha256.Sum256([]byte(o.credentials)), events: newEventHub(), stopping: make(chan struct{})}
	s.resources = s.routes()
	s.transport = &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		DialTLSContext:        o.dialTLS,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // answers pass as the leader made them
	}
	return s
}

// now is the time in the zone that schedules are read in.
func (s *server) now() time.Time { return time.Now().In(s.location) }

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
	}
	h.RegisterOnShutdown(func() { close(s.stopping) })
	defer s.transport.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() { cancel(h.Serve(l)) })
	}
	<-ctx.Done()
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
	a := &response{ResponseWriter: w}
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
}

// answer sorts requests: /ping is open to everybody, the rest is for those who know the credentials.
func (s *server) answer(w *response, r *http.Request) {
	path := r.URL.Path
	if path == "/ping" {
		ping(w, r)
		return
	}
	if !s.authentic(r) {
		w.Header().Set("WWW-Authenticate", `basic realm=`+strconv.Quote(s.realm))
		errorPage(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	c := &call{w: w, r: r, server: s}
	w.call = c
	if rest, d, ok := apiPath(r.URL.EscapedPath()); ok {
		c.api, c.dialect = true, d
		c.finish(s.answerAPI(c, rest))
		return
	}
	c.finish(s.answerOther(c))
}

// answerOther answers what lies outside the API.
func (s *server) answerOther(c *call) error {
	if err := checkOrigin(c.r, s.hostname); err != nil {
		return err
	}
	path, query := c.r.URL.Path, c.r.URL.Query()
	h, local := s.local[path], true
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
	if local {
		return serve(nil)
	}
	return s.dispatch(c, serve)
}

// respond runs write with a response that any origin may read and that is compressed if the client likes.
func (s *server) respond(c *call, write func(http.ResponseWriter)) {
	c.w.Header().Set("Access-Control-Allow-Origin", "*")
	if s.compress {
		c.w.Header().Set("Vary", "Accept-Encoding, User-Agent")
	}
	if !s.compress || !acceptsGzip(c.r) {
		write(c.w)
		return
	}
	z := &gzipWriter{ResponseWriter: c.w}
	write(z)
	z.close()
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

// checkOrigin refuses changes that a foreign web page has a browser ask for:
// with an Origin that isn't the host asked, or, where only this machine can
// connect, for a host name that isn't this machine's (a name that an attacker has
// pointed to 127.0.0.1).
func checkOrigin(r *http.Request, hostname string) error {
	if safe(r.Method) {
		return nil
	}
	if err := new(http.CrossOriginProtection).Check(r); err != nil && !sameForwardedHost(r) {
		return &apiError{status: http.StatusForbidden, text: fmt.Sprintf("changes from another origin (%s) are refused", r.Header.Get("Origin"))}
	}
	if loopback, _ := r.Context().Value(loopbackKey{}).(bool); loopback && !localHost(r.Host, hostname) {
		return &apiError{status: http.StatusForbidden, text: fmt.Sprintf("changes for the host %q are refused on loopback", r.Host)}
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

// ping is answered by every instance in every state: load balancers and Marathon ask for it.
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

// errorPage writes what answers a request outside the API that failed.
func errorPage(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.Header().Set("Cache-Control", "must-revalidate,no-cache,no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	var b bytes.Buffer
	fmt.Fprintf(&b, "<html><head><title>Error %d %s</title></head>\n<body><h2>HTTP ERROR: %d</h2>\n<pre>%s</pre></body></html>\n",
		status, http.StatusText(status), status, html.EscapeString(reason))
	w.Write(b.Bytes())
}

// A response is a ResponseWriter that remembers what was sent.
type response struct {
	http.ResponseWriter
	status    int
	size      int64
	streams   bool   // has no end; see stream
	forwarded string // the leader that made it
	call      *call  // nil if it never came to one
	reason    string // why the call failed
}

func (a *response) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *response) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.streams {
		http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(streamTimeout)) // not every writer has one
	}
	n, err := a.ResponseWriter.Write(p)
	a.size += int64(n)
	return n, err
}

// stream says that the answer may last for as long as the client reads it. The
// deadlines of the server are for whole requests and answers.
func (a *response) stream() {
	a.streams = true
	http.NewResponseController(a.ResponseWriter).SetReadDeadline(time.Time{}) // not every writer has one
}

// Unwrap lets http.ResponseController reach the connection.
func (a *response) Unwrap() http.ResponseWriter { return a.ResponseWriter }
