//go:build services

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// A victory is the outcome of a campaign.
type victory struct {
	latch    string
	afterJVM bool
	err      error
}

// campaigning runs a campaign in the background, once its node stands in line.
func campaigning(t *testing.T, c *candidate, session *zkSession) <-chan victory {
	t.Helper()
	won := make(chan victory, 1)
	go func() {
		latch, afterJVM, err := c.campaign(t.Context(), session, nil)
		won <- victory{latch, afterJVM, err}
	}()
	inLineNow(t, c, session)
	return won
}

// inLineNow waits until the candidate's node in this session exists.
func inLineNow(t *testing.T, c *candidate, session *zkSession) {
	t.Helper()
	if err := session.mkdirAll(c.dir); err != nil {
		t.Fatal(err)
	}
	for {
		names, _, changed, err := session.ChildrenW(c.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			_, stat, err := session.Get(c.dir + "/" + name)
			if err == nil && c.isMine(name) && stat.EphemeralOwner == session.SessionID() {
				return
			}
		}
		next(t, changed, "candidate")
	}
}

func (v victory) mustLead(t *testing.T) victory {
	t.Helper()
	if v.err != nil {
		t.Fatal(v.err)
	}
	return v
}

func TestCandidatesLeadInTurn(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	var candidates []*candidate
	var sessions []*zkSession
	var victories []<-chan victory
	for i := range 4 {
		c, session := newTestCandidate(root, fmt.Sprintf("host%d:8080", i)), testSession(t, hosts)
		candidates, sessions = append(candidates, c), append(sessions, session)
		victories = append(victories, campaigning(t, c, session))
	}
	// The third leaves the line: the fourth is not woken into office.
	mustResign(t, candidates[2], sessions[2])
	for _, i := range []int{0, 1, 3} {
		v := next(t, victories[i], "leader").mustLead(t)
		if !regexp.MustCompile(`^`+regexp.QuoteMeta(root)+`/candidate/_c_[0-9a-f]{32}-latch-[0-9]{10}$`).MatchString(v.latch) || v.afterJVM {
			t.Errorf("campaign of %d = %+v", i, v)
		}
		if data, _, err := sessions[i].Get(v.latch); err != nil || string(data) != candidates[i].id {
			t.Errorf("data of the latch node = %q, %v, want %q", data, err, candidates[i].id)
		}
		for _, j := range []int{1, 3} {
			if j > i && len(victories[j]) > 0 {
				t.Errorf("candidate %d leads beside candidate %d", j, i)
			}
		}
		mustResign(t, candidates[i], sessions[i])
	}
}

// A session that ends without a word leaves its node for a while; nobody leads
// until it is gone, except its own process, which may remove it.
func TestCandidateRemovesOnlyItsOwnLostNodes(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	c := newTestCandidate(root, "a:1")
	lost := testSession(t, hosts)
	first, _, err := c.campaign(t.Context(), lost, nil)
	if err != nil {
		t.Fatal(err)
	}
	// A node of the same id, but of another process.
	other := newTestCandidate(root, "a:1")
	otherSession := testSession(t, hosts)
	otherWon := campaigning(t, other, otherSession)

	session := testSession(t, hosts)
	won := campaigning(t, c, session)
	if v := next(t, otherWon, "leader").mustLead(t); v.latch == first {
		t.Errorf("the other process leads with the node %q of this one", first)
	}
	if exists, _, err := session.Exists(first); exists || err != nil {
		t.Errorf("the lost session's node exists: %v, %v", exists, err)
	}
	if len(won) > 0 {
		t.Error("both lead")
	}
	mustResign(t, other, otherSession)
	next(t, won, "leader").mustLead(t)
}

func TestCandidateStandsAgainWhenItsNodeIsDeleted(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	leader, leaderSession := newTestCandidate(root, "a:1"), testSession(t, hosts)
	latch := next(t, campaigning(t, leader, leaderSession), "leader").mustLead(t).latch
	c, session := newTestCandidate(root, "b:1"), testSession(t, hosts)
	won := campaigning(t, c, session)
	names, err := latchNodes(leaderSession, c.dir, nil)
	if err != nil || len(names) != 2 {
		t.Fatalf("latchNodes = %q, %v", names, err)
	}
	if err := leaderSession.Delete(c.dir+"/"+names[1], -1); err != nil {
		t.Fatal(err)
	}
	held := make(chan error, 1)
	go func() { held <- leader.hold(t.Context(), leaderSession, latch) }()
	if err := leaderSession.Delete(latch, -1); err != nil { // by hand
		t.Fatal(err)
	}
	if err := next(t, held, "end of the leader's term"); err != nil {
		t.Errorf("hold = %v", err)
	}
	if v := next(t, won, "leader").mustLead(t); v.latch != root+"/candidate/"+c.current() {
		t.Errorf("latch = %q, want that of %q", v.latch, c.current())
	}
}

func TestCampaignEndsWithItsContextOrSession(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	leader := newTestCandidate(root, "a:1")
	next(t, campaigning(t, leader, testSession(t, hosts)), "leader").mustLead(t)

	ctx, cancel := context.WithCancel(t.Context())
	c, session := newTestCandidate(root, "b:1"), testSession(t, hosts)
	done := make(chan error, 1)
	go func() {
		_, _, err := c.campaign(ctx, session, nil)
		done <- err
	}()
	inLineNow(t, c, session)
	cancel()
	if err := next(t, done, "end of the campaign"); !errors.Is(err, context.Canceled) {
		t.Errorf("campaign = %v, want %v", err, context.Canceled)
	}
	mustResign(t, c, session)

	won := campaigning(t, c, session)
	session.close()
	if v := next(t, won, "end of the campaign"); v.err == nil {
		t.Errorf("campaign in a closed session = %+v", v)
	}
}

func TestForeignNodesDoNotBlockTheElection(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := testSession(t, hosts)
	plant(t, session, root+"/candidate", map[string][]byte{"0": nil, "_c_": nil, "zzz": nil})
	log := &strings.Builder{}
	c := newCandidate(root+"/candidate", "a:1", slog.New(slog.NewTextHandler(log, nil)))
	next(t, campaigning(t, c, session), "leader").mustLead(t)
	mustResign(t, c, session)
	next(t, campaigning(t, c, session), "leader").mustLead(t)
	for _, name := range []string{"0", "_c_", "zzz"} {
		if n := strings.Count(log.String(), "node="+root+"/candidate/"+name+"\n"); n != 1 {
			t.Errorf("stray %q is logged %d times, want once", name, n)
		}
		if exists, _, err := session.Exists(root + "/candidate/" + name); !exists || err != nil {
			t.Errorf("stray %q was removed (%v)", name, err)
		}
	}
}

// A sighting is one call of watchLeader's function.
type sighting struct {
	id      string
	at      instance
	problem string
}

func watching(t *testing.T, session *zkSession, root string) <-chan sighting {
	t.Helper()
	seen := make(chan sighting, 100)
	go watchLeader(t.Context(), session, root, func(id string, at instance, problem error) {
		s := sighting{id: id, at: at}
		if problem != nil {
			s.problem = problem.Error()
		}
		seen <- s
	})
	return seen
}

func TestWatchLeader(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	seen := watching(t, testSession(t, hosts), root)
	expect := func(want sighting) {
		t.Helper()
		if got := next(t, seen, "sighting"); got != want {
			t.Errorf("leader = %+v, want %+v", got, want)
		}
	}
	expect(sighting{})
	for _, want := range []sighting{
		{id: "a:1"},
		{id: "a:1", at: instance{Scheme: "https", Port: 8443, Version: "1"}},
	} {
		c, session := newTestCandidate(root, want.id), testSession(t, hosts)
		if want.at != (instance{}) {
			for range 2 { // the second takes the place of a lost session's
				if err := register(session, root, want.id, want.at); err != nil {
					t.Fatal(err)
				}
			}
		}
		next(t, campaigning(t, c, session), "leader").mustLead(t)
		expect(want)
		waiting := testSession(t, hosts)
		second := newTestCandidate(root, "b:2")
		won := campaigning(t, second, waiting) // changes nothing for who watches
		mustResign(t, c, session)
		next(t, won, "leader").mustLead(t)
		expect(sighting{id: "b:2"})
		waiting.close()
		expect(sighting{})
	}
}

// Whatever stands in the leader's node below go/instances, those who watch go on, and take the leader
// to be at its id.
func TestWatchLeaderWithGarbageInItsNode(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	watcher := testSession(t, hosts)
	seen := watching(t, watcher, root)
	next(t, seen, "sighting") // nobody
	for i, tt := range []struct{ garbage, reason string }{
		{"garbage", "invalid character"},
		{"", "unexpected end"},
		{`["https"]`, "cannot unmarshal"},
		{`{"scheme":"gopher"}`, `unknown scheme "gopher"`},
		{`{"scheme":"https"}`, "no port 0"},
		{`{"scheme":"http","port":70000}`, "no port 70000"},
	} {
		id := fmt.Sprint("a:", i+1)
		session := testSession(t, hosts)
		if err := register(session, root, id, instance{Scheme: "http"}); err != nil {
			t.Fatal(err)
		}
		if _, err := session.Set(instanceNode(root, id), []byte(tt.garbage), -1); err != nil {
			t.Fatal(err)
		}
		next(t, campaigning(t, newTestCandidate(root, id), session), "leader").mustLead(t)
		s := next(t, seen, "sighting")
		if s.id != id || s.at != (instance{}) || !strings.Contains(s.problem, tt.reason) || !strings.Contains(s.problem, instanceNode(root, id)) {
			t.Errorf("with %q in its node the leader is %+v, want it at its id, and %q of its node", tt.garbage, s, tt.reason)
		}
		session.close()
		next(t, seen, "sighting") // nobody
	}
	if err := watcher.ctx.Err(); err != nil {
		t.Errorf("the session of who watches has ended: %v", err)
	}
}

// The leader's server dies: a candidate on another server leads after the session's timeout.
func TestLeadershipMovesWithinAnEnsemble(t *testing.T) {
	t.Parallel()
	ensemble := zktest.StartEnsemble(t, 3)
	const root = "/chronos/state"
	const timeout = 4 * time.Second // a busy machine stands still for a second
	dial := func(s *zktest.Server) *zkSession {
		session, err := dialZK(t.Context(), []string{s.Addr}, timeout, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(session.close)
		return session
	}
	follower := slices.IndexFunc(ensemble, func(s *zktest.Server) bool { return s.Mode() == "follower" })
	a, aSession := newTestCandidate(root, "a:1"), dial(ensemble[follower])
	b, bSession := newTestCandidate(root, "b:1"), dial(ensemble[(follower+1)%3])
	v := next(t, campaigning(t, a, aSession), "leader").mustLead(t)
	old, err := openZKStore(aSession, root, v.latch, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, old, put("J_a", "1"))
	won := campaigning(t, b, bSession)
	ensemble[follower].Kill()
	ended(t, aSession)
	v = next(t, won, "leader").mustLead(t)
	s, err := openZKStore(bSession, root, v.latch, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, s, map[string]string{"J_a": "1"})
	if s.term != old.term+1 {
		t.Errorf("term %d after term %d", s.term, old.term)
	}
	// The first one's process comes back by another server.
	again := campaigning(t, a, dial(ensemble[(follower+2)%3]))
	mustResign(t, b, bSession)
	next(t, again, "leader").mustLead(t)
}

// A jvmLatch is Curator's own LeaderLatch, in a process of its own.
type jvmLatch struct {
	in    io.WriteCloser
	lines chan string
}

func startJVMLatch(t *testing.T, hosts []string, dir, id string) *jvmLatch {
	t.Helper()
	var jars []string
	for _, jar := range []string{"curator-recipes", "curator-framework", "curator-client", "zookeeper", "zookeeper-jute", "guava", "slf4j-api", "slf4j-nop"} {
		jar = "/usr/share/java/" + jar + ".jar"
		if _, err := os.Stat(jar); err != nil {
			t.Fatalf("this test needs the original recipe: apt-get install libcurator-recipes-java libcurator-framework-java default-jdk-headless zookeeper (%v)", err)
		}
		jars = append(jars, jar)
	}
	cmd := exec.CommandContext(t.Context(), "java", "-XX:TieredStopAtLevel=1", "-cp", strings.Join(jars, ":"), "testdata/latch/Latch.java", hosts[0], dir, id)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Curator: apt-get install default-jdk-headless (%v)", err)
	}
	j := &jvmLatch{in, make(chan string, 100)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			j.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-read
		cmd.Wait()
	})
	return j
}

// ask sends a command and checks the next line.
func (j *jvmLatch) ask(t *testing.T, command, want string) {
	t.Helper()
	if command != "" {
		fmt.Fprintln(j.in, command)
	}
	if got := next(t, j.lines, "answer from Curator"); got != want {
		t.Errorf("Curator says %q, want %q", got, want)
	}
}

// Leadership passes both ways between us and the original recipe, each knowing the other.
func TestElectionBesideCurator(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := testSession(t, hosts)
	seen := watching(t, testSession(t, hosts), root)
	next(t, seen, "sighting") // none
	ours := newTestCandidate(root, "go:8080")
	next(t, campaigning(t, ours, session), "leader").mustLead(t)

	jvm := startJVMLatch(t, hosts, ours.dir, "jvm:8080")
	participants := func(n int) {
		t.Helper()
		for {
			names, _, changed, err := session.ChildrenW(ours.dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(names) == n {
				return
			}
			next(t, changed, "candidate")
		}
	}
	participants(2)
	jvm.ask(t, "who", "leader go:8080")
	jvm.ask(t, "count", "participants 2")
	mustResign(t, ours, session)
	jvm.ask(t, "", "leads")

	won := campaigning(t, ours, session)
	jvm.ask(t, "who", "leader jvm:8080")
	jvm.ask(t, "close", "defeated")
	if v := next(t, won, "leader").mustLead(t); !v.afterJVM {
		t.Error("campaign does not tell that a JVM led before")
	}
	jvm.ask(t, "", "closed")
	for _, want := range []string{"go:8080", "jvm:8080", "go:8080"} {
		got := next(t, seen, "sighting")
		for got.id == "" { // between two leaders there may be none for a moment
			got = next(t, seen, "sighting")
		}
		if got != (sighting{id: want}) {
			t.Errorf("leader = %+v, want %s", got, want)
		}
	}
}

// An instance that waits behind a JVM version and other instances of this program waits out the JVM version's
// second session only if nobody of ours has led since.
func TestOnlyTheNextAfterAJVMWaits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		leave []string // in this order
		want  map[string]bool
	}{
		{"ours lead in turn", []string{"jvm", "a"}, map[string]bool{"a": true, "b": false}},
		{"the one before has gone", []string{"a", "jvm"}, map[string]bool{"b": true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hosts, root := zktest.Shared(t)
			session := testSession(t, hosts)
			const jvm = "_c_6fa459ea-ee8a-4ca4-894e-db77e160355e-latch-0000000000"
			plant(t, session, root+"/candidate", map[string][]byte{jvm: []byte("jvm:4400")})
			leave := map[string]func(){"jvm": func() {
				if err := session.Delete(root+"/candidate/"+jvm, -1); err != nil {
					t.Fatal(err)
				}
			}}
			won := map[string]<-chan victory{}
			for _, id := range []string{"a", "b"} {
				c, own := newTestCandidate(root, id), testSession(t, hosts)
				won[id] = campaigning(t, c, own)
				leave[id] = func() { mustResign(t, c, own) }
			}
			for _, who := range tt.leave {
				if c := won[who]; c != nil && tt.want[who] {
					if v := next(t, c, "leader").mustLead(t); !v.afterJVM {
						t.Errorf("%s does not know that a JVM version led before", who)
					}
				}
				leave[who]()
			}
			if v := next(t, won["b"], "leader").mustLead(t); v.afterJVM != tt.want["b"] {
				t.Errorf("b: afterJVM = %t, want %t", v.afterJVM, tt.want["b"])
			}
		})
	}
}
