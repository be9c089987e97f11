package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// requestIDHeader carries a name for one write. The first instance makes it
	// up, unless the client did; it is the same however often the write is sent on.
	requestIDHeader = "X-Chronos-Request-Id"
	// viaHeader names the instance that sent a request on. Such a request isn't sent on again.
	viaHeader = "X-Chronos-Via"
	// refusedHeader marks a 503 of an instance that has done nothing because it doesn't lead.
	refusedHeader = "X-Chronos-Not-Leader"
	// refusedPause is how long to wait before a leader that refuses connections
	// is tried again: nothing tells when it is back.
	refusedPause = 250 * time.Millisecond
)

var (
	errLeaderChanged = errors.New("another instance leads now")
	errNotExecuted   = errors.New("the leader has not executed the request")
)

// dispatch has a request answered by the scheduler that leads: here by serve, or by
// forwarding it. While there is none, or the one known refuses, it holds the request
// and then answers 503. serve may be called again after it returned an error that
// means the end of its term; it must not have written anything then.
func (s *server) dispatch(c *call, serve func(*scheduler) error) error {
	if err := c.readBody(); err != nil {
		return err
	}
	nameWrite(c)
	deadline := time.NewTimer(s.hold)
	defer deadline.Stop()
	last := "there is none"
	for {
		changed := s.changed()
		sch := s.current()
		id, self := s.leader()
		var pause <-chan time.Time
		switch {
		case sch != nil:
			c.w.forwarded = ""
			err := serve(sch)
			if !termEnded(c.r.Context(), err) {
				return err
			}
			last = err.Error()
			pause = time.After(refusedPause)
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
			pause = time.After(refusedPause)
		}
		select {
		case <-changed:
		case <-pause:
		case <-deadline.C:
			return s.noLeader(c, "no leader could be reached for "+s.hold.String()+": "+last)
		case <-c.r.Context().Done():
			return nil
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

// termEnded reports whether err means that the scheduler stopped leading, so that the
// outcome of a change is known only to the next one. Every error of a store that
// isn't its definite refusal is of this kind, whatever it says.
func termEnded(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || errors.Is(err, errBusy) {
		return false
	}
	if _, ok := errors.AsType[*httpError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*jobError](err); ok {
		return false
	}
	_, disk := errors.AsType[*fs.PathError](err) // the file store's; waiting won't make room
	return !disk
}

// nameWrite gives a write its id.
func nameWrite(c *call) {
	if safe(c.r.Method) {
		return
	}
	id := c.r.Header.Get(requestIDHeader)
	if id == "" || len(id) > 64 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		id = rand.Text()
		c.r.Header.Set(requestIDHeader, id)
	}
	c.r = c.r.WithContext(context.WithValue(c.r.Context(), requestIDKey{}, id))
}

// forward sends a request to the instance that leads and its answer to the client,
// whatever its status. errNotExecuted means that nothing has been answered and that
// the request may be sent again: it never arrived, changes nothing, or is known by its id.
func (s *server) forward(c *call, id string) error {
	to := peer{scheme: "http", host: id}
	if s.locate != nil {
		to = s.locate(id)
		if now, _ := s.leader(); now != id {
			return errNotExecuted // where that one is, and whether it is native, is not known any more
		}
	}
	repeatable := to.native || safe(c.r.Method)
	ctx, cancel := context.WithCancelCause(c.r.Context())
	answered := make(chan struct{})
	var settled atomic.Bool // by an answer or a cancellation, whichever was first
	var streams atomic.Bool // events, which must not outlive the leadership
	var watch sync.WaitGroup
	if repeatable {
		watch.Go(func() {
			if s.leadershipMoves(ctx, answered, id) && (streams.Load() || settled.CompareAndSwap(false, true)) {
				cancel(errLeaderChanged)
			}
		})
	}
	defer watch.Wait()
	defer cancel(nil)

	var failure error
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { s.address(p, to, c.body) },
		Transport: s.transport,
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ModifyResponse: func(res *http.Response) error {
			if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get(refusedHeader) != "" {
				return errNotExecuted
			}
			if !settled.CompareAndSwap(false, true) {
				return errLeaderChanged
			}
			if isEventStream(res.Header) {
				c.w.stream()
				streams.Store(true)
				watch.Go(func() {
					select {
					case <-s.stopping:
						cancel(http.ErrServerClosed)
					case <-ctx.Done():
					}
				})
				return nil
			}
			close(answered)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failure = err },
	}
	c.w.forwarded = id
	clear(c.w.Header()) // an attempt to answer here may have left some
	proxy.ServeHTTP(c.w, c.r.WithContext(ctx))
	if s.forwarded != nil {
		s.forwarded(failure)
	}
	switch {
	case failure == nil:
		return nil
	case c.r.Context().Err() != nil:
		return nil // the client has gone
	case repeatable, neverSent(failure):
		s.log.Debug("leader does not answer", "leader", id, "error", failure)
		return errNotExecuted
	}
	s.log.Warn("forwarding failed", "leader", id, "method", c.r.Method, "path", c.r.URL.EscapedPath(), "error", failure)
	return &httpError{status: http.StatusBadGateway, text: "the leader " + id + " did not answer; the change may have been made or not"}
}

// leadershipMoves waits until another instance than id leads, or returns false
// when there is nothing to wait for any more.
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
	if errors.Is(err, errNotExecuted) {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// address makes the outgoing request: the same, for the peer, with where it came from.
func (s *server) address(p *httputil.ProxyRequest, to peer, body []byte) {
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
			p.Out.Header.Set(name, v) // a load balancer before us knows better
		}
	}
	p.Out.Header.Set(viaHeader, s.id)
	p.Out.Header.Del("Expect")
	p.Out.Body, p.Out.ContentLength, p.Out.TransferEncoding = http.NoBody, 0, nil
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
