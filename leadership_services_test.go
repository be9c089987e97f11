//go:build services

package main

import (
	"fmt"
	"net/http"
	"path"
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// jobNamed is the document of a job that never runs.
func jobNamed(name string) string {
	return `{"name":"` + name + `","command":"true","schedule":"R1/2090-01-01T00:00:00Z/P1D"}`
}

// create makes jobs.
func (d *testDaemon) create(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if res, body := d.ask(t, 0, "POST", "/scheduler/iso8601", jobNamed(name)); res.StatusCode != http.StatusNoContent {
			t.Fatalf("create %s = %d %s", name, res.StatusCode, body)
		}
	}
}

// says waits until log and /health both say all of the texts.
func (d *testDaemon) says(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		d.until(t, fmt.Sprintf("log and health say %q", text), func() bool {
			_, body := d.ask(t, 0, "GET", "/health", "")
			return strings.Contains(body, text) && strings.Contains(strings.ReplaceAll(d.log.String(), `\"`, `"`), text)
		})
	}
}

// leadsFor reports whether the instance leads, and another one knows that.
func (d *testDaemon) leadsFor(other *testDaemon) bool {
	known, _ := other.seat.known()
	return d.seat.current() != nil && known == d.seat.id
}

// leads waits until the instance leads and has so many jobs.
func (d *testDaemon) leads(t *testing.T, jobs int) {
	t.Helper()
	d.until(t, fmt.Sprintf("it leads %d jobs", jobs), func() bool {
		s := d.seat.current()
		return s != nil && s.view().len() == jobs
	})
}

// A ZooKeeper that does not serve is reported with where, since when, why, and what that means, by the former leader and
// by who followed; and so is that it serves again.
func TestZooKeeperThatDoesNotServeIsToldOf(t *testing.T) {
	t.Parallel()
	const meanwhile = "nothing starts here and no change is stored"
	for _, test := range []struct {
		name  string
		size  int // of the ensemble; instances know its first server
		spoil func(t *testing.T, servers []*zktest.Server)
		says  []string
		mend  func(t *testing.T, servers []*zktest.Server)
	}{
		{"killed", 1, func(_ *testing.T, s []*zktest.Server) { s[0].Kill() },
			[]string{"connect: connection refused", "Check that it runs there"},
			func(t *testing.T, s []*zktest.Server) { s[0].Restart(t) }},
		{"frozen", 1, func(_ *testing.T, s []*zktest.Server) { s[0].Pause() },
			[]string{"has a request and does not answer", "Check whether that server"},
			func(_ *testing.T, s []*zktest.Server) { s[0].Resume() }},
		{"without quorum", 3, func(_ *testing.T, s []*zktest.Server) { s[1].Kill(); s[2].Kill() },
			[]string{"it has no quorum, or is read-only", "Check that a majority of its servers is running"},
			func(t *testing.T, s []*zktest.Server) {
				s[1].RestartAlone(t) // it serves only when the next one does
				s[2].Restart(t)
			}},
		{"read-only", 3, func(t *testing.T, s []*zktest.Server) {
			s[1].Kill()
			s[2].Kill()
			s[0].RestartAlone(t, "-Dreadonlymode.enabled=true")
			until(t, "the server is read-only", func() bool { return s[0].Ask("isro") == "ro" })
		}, []string{"it has no quorum, or is read-only", "Check that a majority of its servers is running"},
			func(t *testing.T, s []*zktest.Server) {
				s[1].RestartAlone(t)
				s[2].Restart(t)
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			servers := []*zktest.Server{}
			if test.size == 1 {
				servers = append(servers, zktest.Start(t))
			} else {
				servers = zktest.StartEnsemble(t, test.size)
			}
			data := t.TempDir()
			args := []string{"--zk_hosts", servers[0].Addr, "--zk_timeout", "60000", "--data_dir", data}
			pair := []*testDaemon{startDaemon(t, args...), startDaemon(t, args...)}
			pair[0].until(t, "one leads and one follows", func() bool {
				return pair[0].leadsFor(pair[1]) || pair[1].leadsFor(pair[0])
			})
			pair[0].create(t, "a")
			test.spoil(t, servers)
			for _, d := range pair {
				d.says(t, append(test.says, servers[0].Addr, "ZooKeeper does not serve", meanwhile)...)
				if _, body := d.ask(t, 0, "GET", "/health", ""); strings.Contains(body, "the state is being loaded") || strings.Contains(body, `"status":"ok"`) {
					t.Errorf("health = %s", body)
				}
			}
			test.mend(t, servers)
			for _, d := range pair {
				d.until(t, "it is told that ZooKeeper serves again", func() bool {
					_, body := d.ask(t, 0, "GET", "/health", "")
					return strings.Contains(d.log.String(), "ZooKeeper serves again") && !strings.Contains(body, "does not serve")
				})
			}
			if res, body := pair[0].ask(t, 0, "GET", "/scheduler/jobs", ""); res.StatusCode != http.StatusOK || !strings.Contains(body, `"name":"a"`) {
				t.Errorf("GET jobs = %d %s", res.StatusCode, body)
			}
		})
	}
}

// remove deletes a node and all below it, and returns what there was.
func remove(t *testing.T, session *zkSession, node string) map[string][]byte {
	t.Helper()
	was := map[string][]byte{}
	var walk func(string)
	walk = func(node string) {
		names, _, err := session.Children(node)
		if err == zk.ErrNoNode {
			return
		}
		must(t, err)
		data, stat, err := session.Get(node)
		must(t, err)
		if stat.EphemeralOwner == 0 {
			was[node] = data
		}
		for _, name := range names {
			walk(path.Join(node, name))
		}
		switch err := session.Delete(node, -1); err {
		case zk.ErrNotEmpty: // an instance has written meanwhile
			walk(node)
		case zk.ErrNoNode:
		default:
			must(t, err)
		}
	}
	walk(node)
	return was
}

// empty deletes all jobs and the term's node at once, so that no instance sees a half of it.
func empty(t *testing.T, session *zkSession, root string) {
	t.Helper()
	names, _, err := session.Children(root + "/state")
	must(t, err)
	ops := []any{&zk.DeleteRequest{Path: root + "/go/term", Version: -1}}
	for _, name := range names {
		if strings.HasPrefix(name, "J_") {
			ops = append(ops, &zk.DeleteRequest{Path: root + "/state/" + name, Version: -1})
		}
	}
	_, err = session.Multi(ops...)
	must(t, err)
}

// candidatesOf are the names of the latch nodes.
func candidatesOf(t *testing.T, session *zkSession, root string) []string {
	t.Helper()
	names, err := latchNodes(session, root+"/candidate", nil)
	if err != nil && !strings.Contains(err.Error(), zk.ErrNoNode.Error()) {
		t.Fatal(err)
	}
	return names
}

// emptiedPair is two instances whose state, of three jobs, has just been emptied.
func emptiedPair(t *testing.T, args ...string) (pair []*testDaemon, session *zkSession, root string, was map[string][]byte) {
	t.Helper()
	hosts, root := zktest.Shared(t)
	session = testSession(t, hosts)
	args = append([]string{"--zk_hosts", hosts[0], "--zk_path", root, "--data_dir", t.TempDir()}, args...)
	first := startDaemon(t, args...)
	awaitRole(t, first, roleLeader)
	second := startDaemon(t, args...)
	awaitRole(t, second, roleFollower)
	first.create(t, "j1", "j2", "j3")
	second.until(t, "the follower has seen the term", func() bool { return second.leader.memory.mark().node != "" })
	return []*testDaemon{first, second}, session, root, remove(t, session, root)
}

// Instances that have led or followed a state with jobs do not lead an emptied one. They say so, create nothing,
// and stand again when there are jobs.
func TestEmptiedStateIsNotLed(t *testing.T) {
	t.Parallel()
	pair, session, root, was := emptiedPair(t)
	for _, d := range pair {
		d.says(t, "the state in ZooKeeper has been emptied", "there is no job below "+root, "go/term, which this process has seen there, is gone",
			"--accept_empty_state "+d.leader.memory.mark().node, "chronos restore")
		for range 2 {
			res, body := d.ask(t, 0, "GET", "/scheduler/jobs", "")
			if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "--accept_empty_state") {
				t.Errorf("GET jobs = %d %s, want 503 with the reason", res.StatusCode, body)
			}
		}
		if res, body := d.ask(t, 0, "POST", "/scheduler/iso8601", jobNamed("new")); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("POST = %d %s, want 503", res.StatusCode, body)
		}
		if res, body := d.ask(t, 0, "GET", "/health", ""); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"status":"failing"`) {
			t.Errorf("health = %d %s", res.StatusCode, body)
		}
		if d.metrics.stateEmptied.value() != 1 || !strings.Contains(string(d.metrics.prometheusText()), "\nchronos_state_emptied 1\n") {
			t.Error("no metric says so")
		}
	}
	if names := candidatesOf(t, session, root); len(names) > 0 {
		t.Errorf("%q stand for election", names)
	}
	if exists, _, err := session.Exists(root); exists || err != nil {
		t.Errorf("something was created below %s (%v)", root, err)
	}
	for _, name := range []string{"J_j1", "J_j2", "J_j3"} {
		plant(t, session, root+"/state", map[string][]byte{name: was[root+"/state/"+name]})
	}
	pair[0].until(t, "one leads the jobs that are back", func() bool {
		for _, d := range pair {
			if s := d.seat.current(); s != nil && s.view().len() == 3 {
				return true
			}
		}
		return false
	})
	for _, d := range pair {
		d.until(t, "it is well again", func() bool {
			_, body := d.ask(t, 0, "GET", "/health", "")
			return !strings.Contains(body, "emptied") && d.metrics.stateEmptied.value() == 0
		})
		if res, body := d.ask(t, 0, "GET", "/scheduler/jobs", ""); res.StatusCode != http.StatusOK || strings.Count(body, `"name"`) != 3 {
			t.Errorf("GET jobs = %d %s", res.StatusCode, body)
		}
	}
}

// Only the term's node is deleted, or everything but the latch: a leader that stores nothing notices that too.
func TestIdleLeaderNoticesThatItsStateIsGone(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := testSession(t, hosts)
	d := startDaemon(t, "--zk_hosts", hosts[0], "--zk_path", root)
	awaitRole(t, d, roleLeader)
	d.create(t, "a")
	remove(t, session, root+"/state")
	remove(t, session, root+"/go")
	d.says(t, "the state in ZooKeeper has been emptied")
	d.until(t, "it gives up its latch", func() bool { return len(candidatesOf(t, session, root)) == 0 })
}

// Somebody deletes the last job, and then the leader goes: the next one leads a state without jobs that it knows.
func TestStateWithoutJobsIsLedIfItIsTheKnownOne(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	args := []string{"--zk_hosts", hosts[0], "--zk_path", root, "--data_dir", t.TempDir()}
	first := startDaemon(t, args...)
	awaitRole(t, first, roleLeader)
	second := startDaemon(t, args...)
	awaitRole(t, second, roleFollower)
	first.create(t, "a")
	if res, body := second.ask(t, 0, "DELETE", "/scheduler/job/a", ""); res.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE = %d %s", res.StatusCode, body)
	}
	second.until(t, "the follower has seen the term", func() bool { return second.leader.memory.mark().node != "" })
	first.stop()
	second.leads(t, 0)
	if strings.Contains(second.log.String(), "emptied") {
		t.Errorf("log: %s", second.log)
	}
}

// A process that meets the empty state first leads it, and those that did not follow it: the node of a leader
// that they follow becomes the known one.
func TestNewProcessLeadsWhatItMeetsFirst(t *testing.T) {
	t.Parallel()
	pair, session, root, _ := emptiedPair(t)
	for _, d := range pair {
		d.says(t, "the state in ZooKeeper has been emptied")
	}
	third := startDaemon(t, "--zk_hosts", session.Server(), "--zk_path", root)
	third.leads(t, 0)
	for _, d := range pair {
		awaitRole(t, d, roleFollower)
		d.until(t, "it stands again", func() bool { return len(candidatesOf(t, session, root)) == 3 })
	}
	if res, body := pair[0].ask(t, 0, "POST", "/scheduler/iso8601", jobNamed("new")); res.StatusCode != http.StatusNoContent {
		t.Errorf("POST through one that follows = %d %s", res.StatusCode, body)
	}
	for _, d := range pair {
		d.until(t, "the node of the leader is the known one", func() bool { return d.leader.memory.mark().node == third.leader.memory.mark().node })
	}
}

// --accept_empty_state holds for the node that it names, and for no other.
func TestEmptiedStateIsLedIfSomebodyMeansIt(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := testSession(t, hosts)
	d := startDaemon(t, "--zk_hosts", hosts[0], "--zk_path", root)
	awaitRole(t, d, roleLeader)
	d.create(t, "a")
	node := d.leader.memory.mark().node
	args := []string{"--zk_hosts", hosts[0], "--zk_path", root, "--accept_empty_state"}
	means, other := startDaemon(t, append(args, node)...), startDaemon(t, append(args, "1767225600000-2f")...)
	for _, follower := range []*testDaemon{means, other} {
		awaitRole(t, follower, roleFollower)
		follower.until(t, "the follower has seen the term", func() bool { return follower.leader.memory.mark().node == node })
	}
	empty(t, session, root)
	means.leads(t, 0)
	if text := "the state has been emptied; leading it, as --accept_empty_state says"; !strings.Contains(means.log.String(), text) {
		t.Errorf("the log does not say %q: %s", text, means.log)
	}
	for _, follower := range []*testDaemon{d, other} {
		awaitRole(t, follower, roleFollower)
	}
	// The next state is another one, for which nobody has said anything.
	means.create(t, "b")
	for _, follower := range []*testDaemon{d, other} {
		follower.until(t, "it knows the new node", func() bool { return follower.leader.memory.mark().node == means.leader.memory.mark().node })
	}
	empty(t, session, root)
	for _, each := range []*testDaemon{means, other, d} {
		each.says(t, "the state in ZooKeeper has been emptied", "--accept_empty_state "+each.leader.memory.mark().node)
	}
}

// A ZooKeeper that is set back, by a backup of its own, is led if there are jobs. That is told, and the number
// of the term goes on above the last one, so that the cluster of this machine takes it.
func TestStateThatWasSetBackIsLedAndToldOf(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	data := t.TempDir()
	args := []string{"--zk_hosts", server.Addr, "--data_dir", data}
	d := startDaemon(t, args...)
	awaitRole(t, d, roleLeader)
	d.create(t, "a")
	restore := server.Backup(t) // and so a new term begins
	d.leads(t, 1)
	d.create(t, "b", "c")
	d.until(t, "it has seen what it stored", func() bool { return d.leader.memory.mark().version > 2 })
	before := d.leader.memory.mark()
	restore()
	d.says(t, "the state in ZooKeeper was set back", fmt.Sprintf("(term %d)", before.term))
	d.leads(t, 1)
	d.until(t, "it is subscribed", d.subscribed)
	if now := d.leader.memory.mark(); now.node != before.node || now.term <= before.term {
		t.Errorf("term %d of %s after term %d of %s", now.term, now.node, before.term, before.node)
	}
	if got := d.metrics.stateSetBack.count(); got != 1 {
		t.Errorf("counted %d times", got)
	}
	// A new process knows nothing of it, but the data directory does.
	d.create(t, "d")
	d.stop()
	restore()
	next := startDaemon(t, args...)
	next.leads(t, 1)
	next.until(t, "it is subscribed", next.subscribed)
}

// Set back to before its first job, it is as good as emptied.
func TestStateThatWasSetBackToNothingIsNotLed(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	d := startDaemon(t, "--zk_hosts", server.Addr)
	awaitRole(t, d, roleLeader)
	restore := server.Backup(t)
	d.leads(t, 0)
	d.create(t, "a", "b")
	version := d.leader.memory.mark().version
	d.until(t, "it has seen what it stored", func() bool { return d.leader.memory.mark().version > version })
	restore()
	d.says(t, "the state in ZooKeeper has been emptied", "go/term has version")
	if d.seat.current() != nil {
		t.Error("it leads")
	}
}
