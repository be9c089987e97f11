package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// viaHeader names the instance that sent a request on. Such a request isn't sent on again.
	viaHeader = "X-Chronos-Via"
	// refusedHeader marks a 503 of an instance that has done nothing because it doesn't lead.
	refusedHeader = "X-Chronos-Not-Leader"
	// refusedPause is how long to wait before a leader that refuses connections
	// is tried again: there is no signal when it is back.
	refusedPause = 250 * time.Millisecond
)

var (
	errLeaderChanged = errors.New("another instance leads now")
	errNotExecuted   = errors.New("the leader has not executed the request")
	errSilent        = errors.New("the leader does not answer")
)

// dispatch gets a request answered by the leading scheduler: here through serve, or by
// forwarding it. While there is none, or the known one refuses, it holds the request,
// and finally answers 503. serve may be called again after it returned an error that
// means the end of its term; then it must not have written anything.
func (s *server) dispatch(c *call, serve func(*scheduler) error) error {
	if c.stream == nil {
		if err := c.readBody(); err != nil {
			return err
		}
	} else if err := c.checkVoucher(); err != nil {
		return err
	}
	nameWrite(c)
	left := s.hold // of waiting: the time that a leader takes to answer doesn't count
	last := "there is none"
	for {
		changed := s.changed()
		sch := s.current()
		id, self := s.leader()
		pause := left
		switch {
		case sch != nil:
			c.w.forwarded = ""
			err := serve(sch)
			if !termEnded(c.r.Context(), err) {
				return err
			}
			last = err.Error()
			pause = min(left, refusedPause)
		case self || id == "": // still loading, or nobody leads
			why, lasts := s.obstacle()
			if lasts {
				return s.noLeader(c, why)
			}
			last = cmp.Or(why, last)
		case c.r.Header.Get(viaHeader) != "":
			c.w.Header().Set(refusedHeader, "1")
			return unavailable("this instance does not lead, and the request was forwarded before")
		default:
			if err := s.forward(c, id); !errors.Is(err, errNotExecuted) {
				return err
			}
			last = id + " does not answer"
			pause = min(left, refusedPause)
		}
		began := time.Now()
		if left > 0 && !restOr(c.r.Context(), pause, changed) {
			return nil
		}
		if left -= time.Since(began); left <= 0 {
			return s.noLeader(c, "no leader could be reached for "+s.hold.String()+": "+last)
		}
	}
}

// noLeader answers a request that nobody can execute now.
func (s *server) noLeader(c *call, text string) error {
	if c.r.Header.Get(viaHeader) != "" {
		c.w.Header().Set(refusedHeader, "1")
	}
	return unavailable(text)
}

func unavailable(text string) error {
	return &httpError{status: http.StatusServiceUnavailable, text: text, retry: 1}
}

// termEnded reports whether err means that the scheduler stopped leading, so that only
// the next one knows the outcome of a change. Every store error that
// isn't a definite refusal is of this kind, whatever it says.
func termEnded(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || refusalOf(err) != nil {
		return false
	}
	_, disk := errors.AsType[*fs.PathError](err) // the file store's; waiting won't make room
	return !disk
}

// nameWrite gives a write its id, with a digest of what the id stands for, and says who asks.
func nameWrite(c *call) {
	if safe(c.r.Method) {
		return
	}
	id := c.r.Header.Get(requestIDHeader)
	if id == "" || len(id) > 64 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		id = rand.Text()
		c.r.Header.Set(requestIDHeader, id)
	}
	parts := [][]byte{[]byte(c.r.Method), []byte(c.r.URL.EscapedPath()), []byte(c.r.URL.RawQuery), c.body}
	if c.who != nil {
		parts = append(parts, c.who.requestPart()) // an id belongs to whoever gave it
	}
	name := newRequestName(id, parts...)
	ctx := context.WithValue(c.r.Context(), requestNameKey{}, name)
	c.r = c.r.WithContext(context.WithValue(ctx, askerKey{}, c.whoAsks()))
}

// forward sends a request to the instance that leads and its answer to the client,
// whatever its status. errNotExecuted means that nothing has been answered and that
// the request may be sent again: it never arrived, changes nothing, or is known by its id.
func (s *server) forward(c *call, id string) error {
	to := peer{scheme: "http", host: id}
	if s.locate != nil {
		to = s.locate(id)
		if now, _ := s.leader(); now != id {
			return errNotExecuted // its address, and whether it is native, is no longer known
		}
	}
	if err := s.mayForward(c, to); err != nil {
		return err
	}
	if what := s.lost(c, to); what != "" {
		return unavailable("the leader " + id + " is a JVM version or an older one, which would not understand " + what + "; nothing was changed. Try again when this version leads")
	}
	if c.spent() {
		return errHalfRead(id)
	}
	if !c.share.grow(answerBuffer) { // before the answer, which can't be refused once it has begun
		return errNoRoom
	}
	defer c.share.shrink(answerBuffer)
	f := &forwarding{s: s, c: c, leader: id, to: to, repeatable: to.native || safe(c.r.Method), answered: make(chan struct{})}
	failure := f.send()
	if s.forwarded != nil {
		s.forwarded(failure)
	}
	return f.outcome(failure)
}

// mayForward is nil if the leader can be sent a request of the one who asks. One that does not know of roles would do whatever
// it is asked, so it is asked only for what we would do ourselves without looking at a job.
func (s *server) mayForward(c *call, to peer) error {
	who := c.who
	switch {
	case who == nil, !to.guards && (who.everywhere(adminRole) || who.everywhere(readRole) && !c.rule.changes()):
		return nil
	case !to.guards:
		return unavailable("the leader does not know of roles (it is a JVM version, an older one, or has no --http_users_file), so only requests of admins, and reads of users without a scope, are sent to it")
	case who.how == byProxy && s.access.instances == nil:
		return unavailable("this instance does not lead, and who was let in by a proxy is told to the leader only with --instance_secret_file")
	case who.how == byProxy && c.stream != nil:
		return unavailable("this instance does not lead, and can't vouch for a document that it has not read; ask the leader itself")
	}
	return nil
}

// lost is what of a call the leader would not understand, "" for nothing.
func (s *server) lost(c *call, to peer) string {
	if to.knows || s.beyond == nil {
		return ""
	}
	return s.beyond(c)
}

// introduce has an outgoing request prove who asks: by what the client sent, or by our word. A leader that does not know of roles
// gets neither, but for the credentials where it is known to be the JVM instance that they are for: whoever can write
// in ZooKeeper can pose as a leader.
func (s *server) introduce(p *httputil.ProxyRequest, to peer, c *call, leader string) {
	switch {
	case c.who == nil:
	case !to.guards:
		p.Out.Header.Del("Authorization")
		if user, password, ok := strings.Cut(s.credentials, ":"); ok && slices.Contains(s.jvm, leader) {
			p.Out.SetBasicAuth(user, password)
		}
	case c.who.how == byProxy:
		p.Out.Header.Set(identityHeader, s.access.instances.sign(c.who, p.In, p.In.Header.Get(requestIDHeader), c.body, leader, time.Now()))
	}
}

// A forwarding is one attempt to have the leader answer a request.
type forwarding struct {
	s          *server
	c          *call
	leader     string
	to         peer
	repeatable bool // the request may be sent again, if its answer is lost

	answered chan struct{} // closed when an answer that ends by itself has begun
	settled  atomic.Bool   // by an answer or a cancellation, whichever was first
	streams  atomic.Bool   // events, which must not outlive the leadership
	watch    sync.WaitGroup
	silent   bool // it was abandoned because nothing came
}

// send passes on the request and passes back the answer. It gives up when another instance leads, if the request can
// be sent there, and when no answer has begun for too long.
func (f *forwarding) send() (failure error) {
	c := f.c
	ctx, cancel := context.WithCancelCause(c.r.Context())
	if f.repeatable {
		begin(&f.watch, f.s.log, "forwarding", cancel, func() {
			if f.s.leadershipMoves(ctx, f.answered, f.leader) && (f.streams.Load() || f.settle()) {
				cancel(errLeaderChanged)
			}
		})
	}
	defer f.watch.Wait()
	defer cancel(nil)
	silence := time.AfterFunc(longestSilence(c, f.to), func() {
		if f.settle() {
			cancel(errSilent)
		}
	})
	defer silence.Stop()

	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			f.s.address(p, f.to, c)
			f.s.introduce(p, f.to, c, f.leader)
		},
		Transport:      f.s.transport,
		ErrorLog:       slog.NewLogLogger(f.s.log.Handler(), slog.LevelDebug),
		ModifyResponse: func(res *http.Response) error { return f.begin(ctx, cancel, res) },
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { failure = err },
	}
	c.w.forwarded = f.leader
	clear(c.w.Header()) // an attempt to answer here may have left some
	proxy.ServeHTTP(c.w, c.r.WithContext(ctx))
	f.silent = errors.Is(context.Cause(ctx), errSilent)
	return failure
}

// settle decides once between an answer and a cancellation, and reports whether the caller was first.
func (f *forwarding) settle() bool { return f.settled.CompareAndSwap(false, true) }

// begin inspects the head of an answer before the client gets any of it.
func (f *forwarding) begin(ctx context.Context, cancel context.CancelCauseFunc, res *http.Response) error {
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get(refusedHeader) != "" {
		return errNotExecuted
	}
	if !f.settle() {
		return errLeaderChanged
	}
	if f.c.private {
		res.Header.Del("Access-Control-Allow-Origin") // of an earlier version of this program
	}
	if !isEventStream(res.Header) {
		close(f.answered)
		return nil
	}
	f.c.w.stream()
	f.streams.Store(true)
	begin(&f.watch, f.s.log, "forwarding", cancel, func() {
		for {
			still, changed := f.c.rights()
			if !still {
				cancel(errUnproven)
			}
			select {
			case <-f.s.stopping:
				cancel(http.ErrServerClosed)
			case <-changed:
				continue
			case <-ctx.Done():
			}
			return
		}
	})
	return nil
}

// outcome returns what an attempt that ended with failure means for the request.
func (f *forwarding) outcome(failure error) error {
	c := f.c
	switch {
	case failure == nil:
		return nil
	case c.r.Context().Err() != nil:
		return nil // the client has gone
	case errors.Is(failure, errNotExecuted) && !c.spent(), neverSent(failure), f.repeatable && !c.spent() && !f.silent:
		f.s.log.Debug("leader does not answer", "leader", f.leader, "error", failure)
		return errNotExecuted
	}
	f.s.log.Warn("forwarding failed", "leader", f.leader, "method", c.r.Method, "path", c.r.URL.EscapedPath(), "error", failure)
	if c.spent() {
		return errHalfRead(f.leader)
	}
	return &httpError{status: http.StatusBadGateway, text: "the leader " + f.leader + " did not answer; the change may or may not have been made"}
}

// longestSilence is how long a leader may take until it begins to answer. If it runs this program, it is abandoned as
// soon as another one leads, and may take its time until then, for a restore for example.
func longestSilence(c *call, to peer) time.Duration {
	switch {
	case !to.native:
		return bodyTimeout
	case c.stream != nil:
		return largeBodyTimeout + answerTimeout
	}
	return answerTimeout
}

// spent reports whether the body has been read as it arrived, so that the request can't be sent again.
func (c *call) spent() bool { return c.stream != nil && c.stream.begun.Load() }

// errHalfRead is the answer to a request that would have to be sent again and can't be.
func errHalfRead(leader string) error {
	return &httpError{status: http.StatusBadGateway, text: "the leader " + leader + " was lost while the body arrived; " +
		"the change may or may not have been made. Sent again with the same " + requestIDHeader + ", it is made once"}
}

// leadershipMoves waits until another instance than id leads, or returns false
// when there is nothing left to wait for.
func (s *server) leadershipMoves(ctx context.Context, answered <-chan struct{}, id string) bool {
	for {
		changed := s.changed()
		if now, _ := s.leader(); now != id {
			return true
		}
		select {
		case <-changed:
		case <-answered:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// neverSent reports whether a request failed before any of it was written.
func neverSent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// peerPatience is how long another instance may take to say how it is doing.
const peerPatience = 3 * time.Second

var errSaysNothing = errors.New("a JVM version or an older one, which does not say how it is doing")

// healthOf asks another instance for its GET /health, on behalf of the one who makes the call here. What it answers
// is JSON, whatever its status.
func (s *server) healthOf(c *call, id string) ([]byte, error) {
	to := peer{scheme: "http", host: id}
	if s.locate != nil {
		to = s.locate(id)
	}
	if !to.native {
		return nil, errSaysNothing
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), peerPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.scheme+"://"+to.host+"/health", http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set(viaHeader, s.id)
	if said := c.r.Header["Authorization"]; said != nil {
		r.Header["Authorization"] = said
	}
	s.introduce(&httputil.ProxyRequest{In: r, Out: r}, to, c, id)
	res, err := s.transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("it does not answer: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return nil, fmt.Errorf("its answer broke off: %w", err)
	case res.StatusCode != http.StatusOK && res.StatusCode != http.StatusServiceUnavailable || !json.Valid(text):
		return nil, fmt.Errorf("it does not say: %s", res.Status)
	}
	return text, nil
}

// address builds the outgoing request: the same one, for the peer, with its origin.
func (s *server) address(p *httputil.ProxyRequest, to peer, c *call) {
	p.Out.URL.Scheme, p.Out.URL.Host = to.scheme, to.host
	p.Out.URL.RawQuery = p.In.URL.RawQuery // Rewrite would drop what it can't parse
	p.Out.Host = p.In.Host
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if prior := p.In.Header[name]; prior != nil {
			p.Out.Header[name] = prior
		}
	}
	p.SetXForwarded()
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := p.In.Header.Get(name); v != "" {
			p.Out.Header.Set(name, v) // a load balancer in front of us knows better
		}
	}
	p.Out.Header.Set(viaHeader, s.id)
	p.Out.Header.Del("Expect")
	p.Out.Body, p.Out.ContentLength, p.Out.TransferEncoding = http.NoBody, 0, nil
	if c.stream != nil {
		p.Out.Header.Set("Expect", "100-continue") // so that nothing is read for a leader that refuses
		p.Out.Body, p.Out.ContentLength = c.stream, p.In.ContentLength
		return
	}
	body := c.body
	if len(body) == 0 {
		return
	}
	p.Out.ContentLength = int64(len(body))
	p.Out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	p.Out.Body, _ = p.Out.GetBody()
}

// isEventStream reports whether an answer is a stream of events.
func isEventStream(h http.Header) bool {
	return strings.HasPrefix(h.Get("Content-Type"), typeEvents)
}
