//go:build services

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

func TestSessionEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	s := testSession(t, []string{server.Addr})
	if _, err := s.Create("/a", nil, 0, s.acl); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	ended(t, s)
	if cause := context.Cause(s.ctx); !errors.Is(cause, errDisconnected) {
		t.Errorf("cause of the end = %v, want %v", cause, errDisconnected)
	}
	server.Restart(t)
	if _, _, err := s.Get("/a"); err == nil {
		t.Error("the session works again after its end")
	}
	again := testSession(t, []string{server.Addr})
	if _, _, err := again.Get("/a"); err != nil {
		t.Errorf("Get in a new session = %v", err)
	}
}

func TestSessionEndsWhenTheServerFreezes(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	s, err := dialZK(t.Context(), []string{server.Addr}, time.Second, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	server.Pause()
	defer server.Resume()
	ended(t, s)
}

// A server that accepts connections and never answers costs one session timeout.
func TestSessionPassesOverAFrozenServer(t *testing.T) {
	t.Parallel()
	frozen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	hosts, _ := zktest.Shared(t)
	for range 4 { // the client tries hosts in random order
		s, err := dialZK(t.Context(), append(hosts, frozen.Addr().String()), 500*time.Millisecond, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.close()
	}
}

func TestSessionPassesOverAnUnknownHost(t *testing.T) {
	t.Parallel()
	hosts, _ := zktest.Shared(t)
	testSession(t, append(hosts, "no-such-host.invalid:2181"))
}

// Ephemeral nodes of a closed session are gone when close returns.
func TestCloseEndsTheSessionInZooKeeper(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, other := testSession(t, hosts), testSession(t, hosts)
	if err := s.mkdirAll(root); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(root+"/mine", nil, zk.FlagEphemeral, s.acl); err != nil {
		t.Fatal(err)
	}
	s.close()
	if exists, _, err := other.Exists(root + "/mine"); exists || err != nil {
		t.Errorf("Exists after close = %v, %v, want false", exists, err)
	}
}

func TestAuthenticatedNodesAreOpenForReadingOnly(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	owner := authSession(t, hosts, "chronos:secret")
	if err := owner.mkdirAll(root); err != nil {
		t.Fatal(err)
	}
	acl, _, err := owner.GetACL(root)
	want := append(zk.WorldACL(zk.PermRead), zk.DigestACL(zk.PermAll, "chronos", "secret")...)
	if err != nil || !slices.Equal(acl, want) {
		t.Errorf("GetACL(%q) = %v, %v, want %v", root, acl, err, want)
	}
	stranger := testSession(t, hosts)
	if _, _, err := stranger.Get(root); err != nil {
		t.Errorf("Get as a stranger = %v", err)
	}
	if _, err := stranger.Set(root, []byte("x"), -1); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("Set as a stranger = %v, want %v", err, zk.ErrNoAuth)
	}
	if _, err := authSession(t, hosts, "chronos:secret").Set(root, []byte("x"), -1); err != nil {
		t.Errorf("Set with the same credentials = %v", err)
	}
}
