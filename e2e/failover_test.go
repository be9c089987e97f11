package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// TestFailOver has leaders fall in each of several ways, on a ZooKeeper that is sound.
func TestFailOver(t *testing.T) {
	t.Parallel()
	servers := zktest.StartEnsemble(t, 3)
	for _, tt := range []struct {
		name string
		test func(*testing.T, []*zktest.Server)
	}{
		{"client of a follower sees no failure while leaders fall", clientOfFollower},
		{"deposed leader that wakes up late neither writes nor launches", leaderWakesUpLate},
		{"leader that is terminated does not leave its session to expire", leaderIsTerminated},
		{"leader cut off from a follower serves the others", leaderCutOffFromFollower},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, servers)
		})
	}
}

// longSession outlasts any test, so that a leader stays until it ends or is deposed.
const longSession = time.Minute

func leaderIsTerminated(t *testing.T, servers []*zktest.Server) {
	c := newThreesome(t, servers, longSession) // a successor that waited for the session to expire would take as long
	c.create(t, c.instances[0], 10, 2*time.Second, "")
	var took []time.Duration
	for range 3 {
		c.awaitRuns(t, 10)
		leader := c.leader(t)
		told := time.Now()
		ended := make(chan error, 1)
		go func() {
			_, err := c.instances[leader].end(syscall.SIGTERM)
			ended <- err
		}()
		took = append(took, c.awaitAccession(t, told, leader).at.Sub(told))
		if err := <-ended; err != nil {
			t.Errorf("chronos ended with %v after SIGTERM, want status 0", err)
		}
		c.instances[leader].start(t)
		c.instances[leader].serves(t)
	}
	t.Logf("fail-overs after SIGTERM: %s", spread(took))
	if slices.Max(took) >= longSession {
		t.Errorf("a fail-over after SIGTERM took %s, as if the session had to expire", slices.Max(took))
	}
	end := c.stop(t, c.instances[0])
	c.settle(t, c.instances[0], end)
	c.judgeMarks(t, end)
	c.judgeFollowers(t)
}

func clientOfFollower(t *testing.T, servers []*zktest.Server) {
	c := newThreesome(t, servers, tortureTimeout)
	follower := (c.leader(t) + 1) % 3
	for i := range 4 {
		c.createManual(t, c.instances[follower], fmt.Sprintf("manual%d", i))
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var answered atomic.Int64
	requests := make([][]*request, 4)
	for n := range requests {
		clients.Go(func() {
			for i := 0; ; i++ {
				r := c.creation(fmt.Sprintf("once%d-%d", n, i))
				if i%2 == 1 {
					r = c.manualRun(fmt.Sprintf("manual%d", n), fmt.Sprintf("r%d", i))
				}
				start := time.Now()
				status, err := r.send(plainClient, c.instances[follower])
				r.took = time.Since(start)
				requests[n] = append(requests[n], r)
				if err != nil || status != 204 {
					t.Errorf("%s %s by a follower = %d, %v after %s, want 204", r.method, r.path, status, err, r.took)
				} else {
					r.acknowledged = true
				}
				answered.Add(1)
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	more := func(n int64) {
		enough := answered.Load() + n
		until(t, "the clients go on", func() bool { return answered.Load() >= enough })
	}
	for range 6 {
		more(40)
		c.fell(t, follower)
	}
	more(40)
	close(stop)
	clients.Wait()
	all := slices.Concat(requests...)
	c.awaitRequests(t, all)
	c.judgeRequests(t, all)
	var took []time.Duration
	for _, r := range all {
		took = append(took, r.took)
	}
	t.Logf("terms %d; requests: %s", c.term(t), spread(took))
}

// fell ends the term of the leader: by a signal, or if that is the instance to be spared, by its latch node.
func (c *threesome) fell(t *testing.T, spared int) {
	since := time.Now()
	leader := c.leader(t)
	if leader == spared {
		c.depose(t)
		c.awaitAccession(t, since, leader)
		return
	}
	switch c.chance.IntN(3) {
	case 0:
		c.instances[leader].end(syscall.SIGKILL)
		c.awaitAccession(t, since, leader)
		c.instances[leader].start(t)
	case 1:
		c.instances[leader].end(syscall.SIGTERM)
		c.awaitAccession(t, since, leader)
		c.instances[leader].start(t)
	case 2:
		c.instances[leader].signal(syscall.SIGSTOP)
		c.awaitAccession(t, since, leader)
		c.instances[leader].signal(syscall.SIGCONT)
	}
}

func leaderWakesUpLate(t *testing.T, servers []*zktest.Server) {
	c := newThreesome(t, servers, tortureTimeout)
	c.create(t, c.instances[0], 10, 2*time.Second, "")
	var requests []*request
	var waiting sync.WaitGroup
	for n := range 3 {
		time.Sleep(time.Until(time.Now().Truncate(500 * time.Millisecond).Add(1500 * time.Millisecond))) // when jobs are due
		since := time.Now()
		leader := c.pauseLeader(t)
		for i := range 5 { // what it finds to do when it wakes up
			requests = append(requests, c.creationBy(t, &waiting, fmt.Sprintf("late%d-%d", n, i), leader))
		}
		c.awaitAccession(t, since, leader)
		c.awaitRuns(t, 10) // of its successor
		c.instances[leader].signal(syscall.SIGCONT)
		waiting.Wait()
	}
	end := c.stop(t, c.instances[0])
	c.settle(t, c.instances[0], end)
	c.judgeMarks(t, end)
	c.judgeFollowers(t)
	c.judgeRequests(t, requests)
	t.Logf("terms %d, commits %d", c.term(t), c.checkTerms(t))
}

// pauseLeader stops the process that leads, and returns its number.
func (c *threesome) pauseLeader(t *testing.T) int {
	t.Helper()
	for {
		leader := c.leader(t)
		c.instances[leader].signal(syscall.SIGSTOP)
		if c.leader(t) == leader {
			return leader
		}
		c.instances[leader].signal(syscall.SIGCONT) // it had just lost it
	}
}

// creationBy has a deposed leader asked to create a job, which its successor is to do.
func (c *threesome) creationBy(t *testing.T, waiting *sync.WaitGroup, name string, deposed int) *request {
	r := c.creation(name)
	waiting.Go(func() {
		if status, err := r.send(plainClient, c.instances[deposed]); err != nil || status != 204 {
			t.Errorf("creation by the deposed leader = %d, %v, want 204 by its successor", status, err)
		}
		r.acknowledged = true
	})
	return r
}

// TestDeposedLeaderIsFenced lets a leader go on that has not heard of its end: its session lives, what
// it sends arrives, and only the answers do not. Without the fence its changes would be stored.
func TestDeposedLeaderIsFenced(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t) // alone, so that what it refuses is the deposed leader's
	c := newThreesome(t, []*zktest.Server{server}, longSession)
	c.create(t, c.instances[0], 10, 2*time.Second, "")
	c.awaitRuns(t, 20)
	if hasRefused(t, server) {
		t.Error("ZooKeeper has refused a commit before the leader was deposed")
	}
	var requests []*request
	var deposed int
	for n := 0; !hasRefused(t, server); n++ {
		if n == 10 {
			t.Fatal("ZooKeeper has refused nothing of what ten deposed leaders have sent")
		}
		var late []*request
		deposed, late = c.deposeDeaf(t, server, n)
		requests = append(requests, late...)
	}
	end := c.stop(t, c.instances[0])
	c.settle(t, c.instances[0], end)
	c.judgeMarks(t, end)
	c.judgeFollowers(t)
	c.judgeRequests(t, requests)
	fenced := slices.ContainsFunc(c.instances[deposed].logLines(t), func(l logLine) bool {
		err, _ := l.rest["error"].(string)
		return strings.Contains(err, "no longer the leader")
	})
	t.Logf("the deposed leader has heard of the refusal before its connection was lost: %t", fenced)
	t.Logf("terms %d, commits %d", c.term(t), c.checkTerms(t))
}

// deposeDeaf has a leader asked for changes after its end, of which it does not hear until ZooKeeper has refused what
// it sends. That may not come: if a commit is under way it waits for the answer before it sends the next.
func (c *threesome) deposeDeaf(t *testing.T, server *zktest.Server, n int) (deposed int, requests []*request) {
	t.Helper()
	since := time.Now()
	deposed = c.leader(t)
	c.links[deposed].Set(zktest.Deaf)
	c.depose(t)
	c.awaitAccession(t, since, deposed)
	var waiting sync.WaitGroup
	prefix := fmt.Sprintf("fenced%d-", n)
	for i := range 5 {
		requests = append(requests, c.creationBy(t, &waiting, prefix+strconv.Itoa(i), deposed))
	}
	for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline) && !hasRefused(t, server); {
		time.Sleep(20 * time.Millisecond)
	}
	c.observe(t, func(s *zk.Conn) error {
		names, _, err := s.Children(c.root + "/state")
		if i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "J_"+prefix) }); i >= 0 {
			t.Errorf("the deposed leader has stored %s", names[i])
		}
		return err
	})
	c.links[deposed].Set(zktest.Open)
	waiting.Wait()
	return deposed, requests
}

// leaderCutOffFromFollower shows that a link between two instances is all that
// joins them: over a link that is cut or silent a follower gets nothing done, while the other
// follower does, and when it opens all that was held is done, once.
func leaderCutOffFromFollower(t *testing.T, servers []*zktest.Server) {
	c := newThreesome(t, servers, longSession) // so that the leader stays
	leader := c.leader(t)
	cut, other := (leader+1)%3, (leader+2)%3
	var requests []*request
	for n, state := range []zktest.State{zktest.Cut, zktest.Silent} {
		c.peers.Between(cut, leader).Set(state)
		held, direct := c.creation(fmt.Sprintf("held%d", n)), c.creation(fmt.Sprintf("direct%d", n))
		requests = append(requests, held, direct)
		answered := make(chan string, 1)
		go func() {
			status, err := held.send(plainClient, c.instances[cut])
			answered <- fmt.Sprint(status, err)
		}()
		if status, err := direct.send(plainClient, c.instances[other]); err != nil || status != 204 {
			t.Errorf("creation by the follower with a link = %d, %v, want 204", status, err)
		}
		select {
		case answer := <-answered:
			t.Fatalf("creation by the follower without a link = %s, want none", answer)
		case <-time.After(2 * time.Second):
		}
		c.peers.Between(cut, leader).Set(zktest.Open)
		if answer := <-answered; answer != "204 <nil>" {
			t.Errorf("creation by the follower that has its link again = %s, want 204", answer)
		}
		held.acknowledged, direct.acknowledged = true, true
	}
	c.awaitRequests(t, requests)
	c.judgeRequests(t, requests)
}
