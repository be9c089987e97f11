package e2e

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// dialZK opens a session that ends with its connection, or with ctx: the client would
// otherwise go on with another server, after a while that nobody can tell.
func dialZK(ctx context.Context, hosts []string, timeout time.Duration) (*zk.Conn, error) {
	session, end := context.WithCancel(ctx)
	ready := make(chan struct{})
	established := sync.OnceFunc(func() { close(ready) })
	conn, _, err := zk.Connect(hosts, timeout, zk.WithLogger(silence{}), zk.WithEventCallback(func(e zk.Event) {
		switch e.State {
		case zk.StateHasSession:
			established()
		case zk.StateDisconnected, zk.StateExpired:
			select {
			case <-ready:
				end()
			default: // it is another host's turn
			}
		}
	}))
	if err != nil {
		end()
		return nil, err
	}
	context.AfterFunc(session, conn.Close)
	select {
	case <-ready:
		return conn, nil
	case <-session.Done():
		conn.Close()
		return nil, session.Err()
	}
}

// silence is a log that nobody reads.
type silence struct{}

func (silence) Printf(string, ...any) {}

// zkSession opens a session that ends with the test.
func zkSession(t testing.TB, hosts ...string) *zk.Conn {
	t.Helper()
	session, err := dialZK(t.Context(), hosts, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

// mkdirAll creates a node and those above it where they are missing.
func mkdirAll(session *zk.Conn, dir string) error {
	if parent := path.Dir(dir); parent != "/" {
		if err := mkdirAll(session, parent); err != nil {
			return err
		}
	}
	_, err := session.Create(dir, nil, 0, zk.WorldACL(zk.PermAll))
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

// candidates returns the nodes of those that want to lead, the leader's first, as Curator's LeaderLatch
// orders them.
func candidates(session *zk.Conn, dir string) ([]string, error) {
	names, _, err := session.Children(dir)
	if err != nil {
		return nil, err
	}
	sequence := func(name string) string { return name[strings.LastIndex(name, "-")+1:] }
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(sequence(a), sequence(b)) })
	for i := range names {
		names[i] = path.Join(dir, names[i])
	}
	return names, nil
}
