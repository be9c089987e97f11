package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// errDisconnected is why a session's context ends when ZooKeeper is lost.
var errDisconnected = errors.New("connection to ZooKeeper lost")

// A zkSession is one ZooKeeper session, which is one connection and one
// context: the client never reconnects, so what holds while the context is alive holds in
// ZooKeeper. After that, a new session is dialed.
type zkSession struct {
	*zk.Conn
	ctx context.Context // ends with the connection; its cause says why
	acl []zk.ACL        // for the nodes that we create

	timeout time.Duration
	auth    string // user:password, or ""
	cancel  context.CancelCauseFunc
	latency func(time.Duration) // called with how long requests of the store take; may be nil
}

// took records that a request that began at start has ended.
func (s *zkSession) took(start time.Time) {
	if s.latency != nil {
		s.latency(time.Since(start))
	}
}

// dialZK opens a session with one of hosts ("host:port"), retrying until
// ctx ends, and logs why if that takes long. auth is "user:password" for digest authentication, or "". The
// session ends no later than ctx; close ends it, and with it its ephemeral nodes, at once.
func dialZK(ctx context.Context, hosts []string, timeout time.Duration, auth string, logger *slog.Logger) (*zkSession, error) {
	return newZKEnsemble(hosts, timeout, auth, logger).dial(ctx)
}

// dial is dialZK for these servers.
func (e *zkEnsemble) dial(ctx context.Context) (*zkSession, error) {
	session, cancel := context.WithCancelCause(ctx)
	ready := make(chan struct{})
	established := sync.OnceFunc(func() { close(ready) })
	conn, _, err := zk.Connect(e.hosts, e.timeout,
		zk.WithHostProvider(&hostList{}),
		zk.WithDialer(e.dialer(session, ready)),
		zk.WithLogger(zkLog{e.log}),
		zk.WithEventCallback(func(event zk.Event) {
			switch event.State {
			case zk.StateHasSession:
				established()
			case zk.StateDisconnected, zk.StateExpired:
				select {
				case <-ready: // until then, it is another host's turn
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
	s := &zkSession{Conn: conn, ctx: session, acl: zk.WorldACL(zk.PermAll), timeout: e.timeout, auth: e.auth, cancel: cancel}
	if err := e.await(session, ready); err != nil {
		s.close()
		return nil, err
	}
	e.begun(s)
	context.AfterFunc(session, func() { e.ended(s) })
	if e.auth == "" {
		return s, nil
	}
	if err := conn.AddAuth("digest", []byte(e.auth)); err != nil {
		s.close()
		return nil, fmt.Errorf("authenticate with ZooKeeper: %w", err)
	}
	// As in libmesos: everyone may read, only those with our credentials may do more.
	s.acl = append(zk.WorldACL(zk.PermRead), zk.ACL{Perms: zk.PermAll, Scheme: "auth"})
	return s, nil
}

// await returns when the session is established, or with the reason why it never will be.
func (e *zkEnsemble) await(session context.Context, ready <-chan struct{}) error {
	word := time.NewTimer(zkFirstWord)
	defer word.Stop()
	for {
		select {
		case <-ready:
			return nil
		case <-session.Done():
			return fmt.Errorf("connect to ZooKeeper at %s: %w", strings.Join(e.hosts, ","), context.Cause(session))
		case <-word.C:
			if !e.told {
				e.log.Warn("ZooKeeper does not serve, still trying", "why", e.trouble())
			}
			word.Reset(zkNextWord)
		}
	}
}

// close ends the session and returns when ZooKeeper knows, or after some seconds if it does not answer.
func (s *zkSession) close() {
	s.cancel(context.Canceled)
	s.Conn.Close()
}

// mkdirAll creates the node and those above it, persistent and empty, if they are missing.
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

// A zkLog logs what the client says at debug level, because it is noise to an operator.
type zkLog struct{ *slog.Logger }

func (l zkLog) Printf(format string, args ...any) {
	l.Debug("zookeeper: " + fmt.Sprintf(format, args...))
}
