package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// zkSilence is how long a server may take to answer before that counts as trouble.
	zkSilence = 2 * time.Second

	// When dialZK logs why there is no session: first, and from then on.
	zkFirstWord = 3 * time.Second
	zkNextWord  = 30 * time.Second
)

// The outcomes of attempts to open a session.
const (
	zkUntried = "not tried yet"
	zkSilent  = "accepts the connection and does not answer"
	zkCloses  = "accepts the connection and closes it without an answer: it has no quorum, or is read-only"
)

// A zkEnsemble is the servers of one ZooKeeper as this process finds them, across all its sessions, of
// which there is one at a time.
type zkEnsemble struct {
	hosts   []string // "host:port"
	timeout time.Duration
	auth    string // user:password for digest authentication, or ""
	log     *slog.Logger
	told    bool // somebody else logs what trouble says

	mu      sync.Mutex
	session *zkSession        // nil while there is none
	found   map[string]string // the outcome of the last attempt, by host
	asked   time.Time         // since when an answer has been awaited, zero if none is
	without time.Time         // since when there is no session
}

func newZKEnsemble(hosts []string, timeout time.Duration, auth string, log *slog.Logger) *zkEnsemble {
	return &zkEnsemble{hosts: hosts, timeout: timeout, auth: auth, log: log, found: map[string]string{}, without: time.Now()}
}

// trouble says what is wrong and what to do, or returns "" while there is a session and it answers.
func (e *zkEnsemble) trouble() string {
	const meanwhile = "; until it serves, nothing starts here and no change is stored. "
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.session != nil {
		if e.asked.IsZero() || time.Since(e.asked) < zkSilence {
			return ""
		}
		return e.session.Server() + " has a request and does not answer" + meanwhile +
			"Check whether that server, or those that it needs for a majority, hang: processor, memory, disk, network"
	}
	if len(e.found) == 0 && time.Since(e.without) < zkSilence {
		return "" // one session has ended, and the next is about to begin
	}
	var all []string
	advice := "Check that it runs there (--zk_hosts) and can be reached from here"
	for _, host := range e.hosts {
		what := e.found[host]
		switch what {
		case "":
			what = zkUntried
		case zkCloses:
			advice = "Check that a majority of its servers is running, and that they reach each other"
		}
		all = append(all, host+": "+what)
	}
	return "no session (" + strings.Join(all, "; ") + ")" + meanwhile + advice
}

// find records the outcome of an attempt at a host.
func (e *zkEnsemble) find(host, what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.found[host] = what
}

// broken records that a connection, with or without a session on it, has failed.
func (e *zkEnsemble) broken(host string, established bool, err error) {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case established:
		e.find(host, "the connection was lost ("+plainError(err)+")")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.find(host, zkCloses)
	case ok && timeout.Timeout():
		e.find(host, zkSilent)
	}
}

// begun and ended record that a session has been established, and that it has ended.
func (e *zkEnsemble) begun(s *zkSession) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.session, e.asked = s, time.Time{}
	clear(e.found)
}

func (e *zkEnsemble) ended(s *zkSession) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.session == s {
		e.session, e.asked, e.without = nil, time.Time{}, time.Now()
	}
}

// ask makes a request, and lets trouble know how long the answer takes.
func (e *zkEnsemble) ask(request func() error) error {
	note := func(since time.Time) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.asked = since
	}
	note(time.Now())
	defer note(time.Time{})
	return request()
}

// plainError returns a network error without the addresses, which are printed beside it.
func plainError(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}

// dialer returns a dialer that works until session ends, and so never again
// once the first connection has been lost. ready is closed when one of its connections has a session.
func (e *zkEnsemble) dialer(session context.Context, ready <-chan struct{}) func(network, host string, limit time.Duration) (net.Conn, error) {
	return func(network, host string, limit time.Duration) (net.Conn, error) {
		dialer := net.Dialer{Timeout: limit}
		conn, err := dialer.DialContext(session, network, host)
		if err != nil {
			e.find(host, plainError(err))
			return nil, err
		}
		e.find(host, zkSilent)
		broken := func(err error) {
			if session.Err() != nil {
				return // we have closed it
			}
			select {
			case <-ready:
				e.broken(host, true, err)
			default:
				e.broken(host, false, err)
			}
		}
		return boundedConn{conn, bufio.NewReaderSize(conn, 64<<10), e.timeout, broken}, nil
	}
}

// A boundedConn waits at most limit for a read or a write. The client would wait
// almost seven session timeouts for a server that accepts connections and is frozen.
// It also reads ahead, since the client asks for four bytes at a time.
type boundedConn struct {
	net.Conn
	ahead  *bufio.Reader
	limit  time.Duration
	broken func(error) // called with the reason why no more data will come
}

func (c boundedConn) Read(b []byte) (int, error) {
	n, err := c.ahead.Read(b)
	if err != nil {
		c.broken(err)
	}
	return n, err
}

func (c boundedConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.bound(t)) }

func (c boundedConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.bound(t)) }

func (c boundedConn) bound(t time.Time) time.Time {
	if most := time.Now().Add(c.limit); t.After(most) {
		return most
	}
	return t
}

// A hostList hands out hosts in turn. Names are resolved at each dial, so that a host
// that has moved, or does not resolve at the moment, does no harm.
type hostList struct {
	hosts []string
	tried int
}

func (h *hostList) Init(hosts []string) error { h.hosts = hosts; return nil }
func (h *hostList) Len() int                  { return len(h.hosts) }
func (h *hostList) Connected()                { h.tried = 0 }

func (h *hostList) Next() (host string, retryStart bool) {
	host = h.hosts[h.tried%len(h.hosts)]
	retryStart = h.tried > 0 && h.tried%len(h.hosts) == 0
	h.tried++
	return host, retryStart
}
