package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// errDisconnected is why a session's context ends when ZooKeeper is lost.
var errDisconnected = errors.New("connection to ZooKeeper lost")

// A zkSession is one ZooKeeper session, which is one connection, which is one
// context: the client never reconnects, so what holds under the context holds in
// ZooKeeper. After it a new session is dialed.
type zkSession struct {
	*zk.Conn
	ctx context.Context // ends with the connection; its cause says why
	acl []zk.ACL        // for the nodes that we create

	timeout time.Duration
	auth    string // user:password, or ""
	cancel  context.CancelCauseFunc
	latency func(time.Duration) // told how long requests of the store take; may be nil
}

// took notes the end of a request that began then.
func (s *zkSession) took(start time.Time) {
	if s.latency != nil {
		s.latency(time.Since(start))
	}
}

// dialZK opens a session with one of hosts ("host:port"), trying for as long as
// ctx lasts. auth is "user:password" for digest authentication, or "". The session
// ends with ctx at the latest; close ends it at once and its ephemeral nodes with it.
func dialZK(ctx context.Context, hosts []string, timeout time.Duration, auth string, logger *slog.Logger) (*zkSession, error) {
	session, cancel := context.WithCancelCause(ctx)
	ready := make(chan struct{})
	established := sync.OnceFunc(func() { close(ready) })
	conn, _, err := zk.Connect(hosts, timeout,
		zk.WithHostProvider(&hostList{}),
		zk.WithDialer(dialOnce(session, timeout, logger)),
		zk.WithLogger(zkLog{logger}),
		zk.WithEventCallback(func(e zk.Event) {
			switch e.State {
			case zk.StateHasSession:
				established()
			case zk.StateDisconnected, zk.StateExpired:
				select {
				case <-ready: // before, it is another host's turn
					cancel(errDisconnected)
				default:
				}
			}
		}))
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("connect to ZooKeeper: %w", err)
	}
	context.AfterFunc(session, conn.Close)
	s := &zkSession{Conn: conn, ctx: session, acl: zk.WorldACL(zk.PermAll), timeout: timeout, auth: auth, cancel: cancel}
	select {
	case <-ready:
	case <-session.Done():
		s.close()
		return nil, fmt.Errorf("connect to ZooKeeper at %s: %w", strings.Join(hosts, ","), context.Cause(session))
	}
	if auth == "" {
		return s, nil
	}
	if err := conn.AddAuth("digest", []byte(auth)); err != nil {
		s.close()
		return nil, fmt.Errorf("authenticate with ZooKeeper: %w", err)
	}
	// As libmesos does: everyone may read, only those with our credentials may do more.
	s.acl = append(zk.WorldACL(zk.PermRead), zk.ACL{Perms: zk.PermAll, Scheme: "auth"})
	return s, nil
}

// close ends the session and returns when ZooKeeper knows, or after some seconds if it does not answer.
func (s *zkSession) close() {
	s.cancel(context.Canceled)
	s.Conn.Close()
}

// mkdirAll creates the node and those above it, persistent and empty, where they are missing.
func (s *zkSession) mkdirAll(dir string) error {
	exists, _, err := s.Exists(dir)
	if exists || err != nil {
		return err
	}
	if parent := path.Dir(dir); parent != "/" {
		if err := s.mkdirAll(parent); err != nil {
			return err
		}
	}
	if _, err := s.Create(dir, nil, 0, s.acl); err != nil && !errors.Is(err, zk.ErrNodeExists) {
		return fmt.Errorf("create node %q: %w", dir, err)
	}
	return nil
}

// await returns when a watch fires, or with the reason why it never will.
func (s *zkSession) await(ctx context.Context, watch <-chan zk.Event) error {
	select {
	case e := <-watch:
		return e.Err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// dialOnce returns a dialer that works until session ends, and so never again
// after the first connection has been lost.
func dialOnce(session context.Context, timeout time.Duration, logger *slog.Logger) zk.Dialer {
	var warned time.Time
	return func(network, address string, limit time.Duration) (net.Conn, error) {
		dialer := net.Dialer{Timeout: limit}
		conn, err := dialer.DialContext(session, network, address)
		if err == nil {
			return boundedConn{conn, bufio.NewReaderSize(conn, 64<<10), timeout}, nil
		}
		if session.Err() == nil && time.Since(warned) > 30*time.Second {
			warned = time.Now()
			logger.Warn("ZooKeeper can't be reached, trying on", "address", address, "error", err)
		}
		return nil, err
	}
}

// A boundedConn waits at most limit for a read or a write. The client would wait
// almost seven session timeouts for a server that accepts connections and is frozen.
// It also reads ahead, since the client asks for four bytes at a time.
type boundedConn struct {
	net.Conn
	ahead *bufio.Reader
	limit time.Duration
}

func (c boundedConn) Read(b []byte) (int, error) { return c.ahead.Read(b) }

func (c boundedConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.bound(t)) }

func (c boundedConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.bound(t)) }

func (c boundedConn) bound(t time.Time) time.Time {
	if most := time.Now().Add(c.limit); t.After(most) {
		return most
	}
	return t
}

// A hostList hands out hosts in turn. Names are resolved at each dial, so that one
// that has moved, or does not resolve now, does no harm.
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

// A zkLog passes on what the client says, which is chatter to an operator.
type zkLog struct{ *slog.Logger }

func (l zkLog) Printf(format string, args ...any) {
	l.Debug("zookeeper: " + fmt.Sprintf(format, args...))
}
