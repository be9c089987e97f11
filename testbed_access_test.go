package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"golang.org/x/crypto/bcrypt"
)

// hashes are those of the passwords of tests, made once.
var hashes sync.Map

// hashOf returns a cheap hash of a password.
func hashOf(t testing.TB, password string) string {
	t.Helper()
	if h, ok := hashes.Load(password); ok {
		return h.(string)
	}
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	hashes.Store(password, string(h))
	return string(h)
}

// usersText makes lines of NAME:ROLE[:SCOPE] those of a users file; the password of each is its name, backwards. Lines that begin with
// @ or # stay.
func usersText(t testing.TB, lines string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		line = strings.TrimSpace(line)
		if name, rights, _ := strings.Cut(line, ":"); line != "" && line[0] != '@' && line[0] != '#' {
			line = name + ":" + hashOf(t, passwordOf(name)) + ":" + rights
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func passwordOf(name string) string { return "secret of " + name }

// as is the header of a user of usersText.
func as(name string) string { return basic(name + ":" + passwordOf(name)) }

// writeFile writes a file of its own and returns its path.
func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	testProxySecret    = "the secret of the trusted proxy"
	testInstanceSecret = "the secret of all the instances"
)

// testAccess returns an access for users of usersText, which trusts proxies at 192.0.2.0/24 (where httptest's requests come from) and on loopback.
func testAccess(t testing.TB, lines string) *access {
	t.Helper()
	a, err := newAccess(accessOptions{
		usersFile: writeFile(t, "users", usersText(t, lines)), user: "root", log: slog.New(slog.DiscardHandler),
		proxies: proxyOptions{
			addresses:  []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")},
			secretFile: writeFile(t, "proxy-secret", testProxySecret),
		},
		instanceSecret: writeFile(t, "instance-secret", testInstanceSecret),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// change replaces the users file of an access.
func (a *access) change(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(a.users.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.users.look()
}

// A guardedPair is a leader and a follower that know of roles.
type guardedPair struct {
	store            *memStore
	sch              *scheduler
	leader, follower *api
	leaderID         string
}

// servers are both by name.
func (p *guardedPair) servers() map[string]http.Handler {
	return map[string]http.Handler{"leader": p.leader, "follower": p.follower}
}

// newGuardedPair returns a leader and a follower that forwards to it, each with a users file of its own that says the same.
func newGuardedPair(t testing.TB, lines string) *guardedPair {
	t.Helper()
	few := func(c *schedulerConfig) { c.activityKeep = 10 } // so that what is stored stays small, however much is asked
	p := &guardedPair{store: newMemStore()}
	p.sch = schedulerWith(t, p.store, few)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.leaderID = l.Addr().String()
	o := leading(p.sch)
	o.id, o.access = p.leaderID, testAccess(t, lines)
	o.metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}") })
	o.local = map[string]http.Handler{"/health": o.metrics}
	p.leader = newAPI(o)
	h := &http.Server{Handler: p.leader}
	var running sync.WaitGroup
	running.Go(func() { h.Serve(l) })
	t.Cleanup(func() { h.Close(); running.Wait() })
	o.id, o.access = "follower:80", testAccess(t, lines)
	o.current = func() *scheduler { return nil }
	o.leader = func() (string, bool) { return p.leaderID, false }
	o.locate = func(id string) peer { return peer{scheme: "http", host: id, native: true, knows: true, guards: true} }
	p.follower = newAPI(o)
	return p
}

// stored is all that is stored, a record a line, without answers to requests.
func (p *guardedPair) stored() string {
	var lines strings.Builder
	for _, key := range slices.Sorted(slices.Values(slices.DeleteFunc(p.store.keys(""), transient))) {
		fmt.Fprintf(&lines, "%s %q\n", key, p.store.value(key))
	}
	return lines.String()
}

// callbackTokens notes the tokens that tasks are launched with, by the task. They end at once.
func callbackTokens(c *fakeCluster) map[string]string {
	tokens := map[string]string{}
	c.behave(func(t mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
		for _, v := range t.Command.Environment.Variables {
			if v.Name == "CHRONOS_CALLBACK_TOKEN" {
				tokens[t.TaskID.Value] = v.GetValue()
			}
		}
		return 0, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
	})
	return tokens
}

// debugLog logs everything.
func debugLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
