//go:build services

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// twoCommits prepares two commits that follow each other, of a record each.
func twoCommits(t *testing.T, s *zkStore, first, second record) (a, b *zkCommit) {
	t.Helper()
	prepare := func(r record) *zkCommit {
		ops, err := s.ops(t.Context(), []record{r})
		if err != nil {
			t.Fatal(err)
		}
		c := s.prepare(ops)
		s.expect(c)
		return c
	}
	return prepare(first), prepare(second)
}

// A commit that reaches ZooKeeper before the one that it follows changes nothing, and is sent again after it.
func TestACommitThatOvertakesAnotherIsSentAgain(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, _ := lead(t, hosts, root)
	mustCommit(t, s, put("J_a", "0"))
	var answered atomic.Int32
	s.session.latency = func(time.Duration) { answered.Add(1) }
	a, b := twoCommits(t, s, put("J_a", "1"), put("J_a", "2"))
	second := make(chan error, 1)
	go func() { second <- s.send(b) }()
	until(t, "the second commit has been answered", func() bool { return answered.Load() == 1 })
	if data := heldUnder(t, s, "J_a"); data != "0" {
		t.Errorf("before its predecessor the second commit has left %q", data)
	}
	if err := s.send(a); err != nil {
		t.Errorf("the first commit: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the second commit: %v", err)
	}
	if data := heldUnder(t, s, "J_a"); data != "2" || answered.Load() != 3 {
		t.Errorf("after both there is %q, with %d answers, want 2 and 3", data, answered.Load())
	}
	mustCommit(t, s, put("J_a", "3"), put("J_b", "1"))
}

// What follows a commit that was refused is not stored, whatever it is about.
func TestNoCommitIsStoredAfterOneThatWasNot(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	s, _ := lead(t, hosts, root)
	mustCommit(t, s, put("J_a", "0"), put("J_b", "0"))
	marked := s.mark().version
	if _, err := testSession(t, hosts).Set(s.node("J_a"), encodeVariable("J_a", newUUID(), []byte("theirs")), -1); err != nil {
		t.Fatal(err)
	}
	first := s.begin(t.Context(), []record{put("J_a", "1")})
	second := s.begin(t.Context(), []record{put("J_b", "1")})
	if err := <-second; !errors.Is(err, errOrder) {
		t.Errorf("the second commit = %v, want %v", err, errOrder)
	}
	if key, ok := refusedKey(<-first); !ok || key != "J_a" {
		t.Errorf("the first commit blames %q, want J_a", key)
	}
	if data := heldUnder(t, s, "J_b"); data != "0" {
		t.Errorf("the second commit has left %q", data)
	}
	if got := s.mark().version; got != marked {
		t.Errorf("the mark is %d, want %d as before", got, marked)
	}
}

// The connection is lost with two commits on their way: both are stored, the first, or neither. Whichever is said to be stored is.
func TestTheConnectionIsCutWithTwoCommitsOnTheirWay(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	direct := testSession(t, hosts)
	r := rand.New(rand.NewPCG(7, 7))
	outcomes := map[string]int{}
	for round := range inForm(60, 2000) {
		link := zktest.LinkTo(hosts[0]).Listen(t)
		s, _ := lead(t, []string{link.Addr}, fmt.Sprint(root, "/", round))
		mustCommit(t, s, put("J_a", "0"), put("J_b", "0"))
		delay := time.Duration(r.IntN(1500)) * time.Microsecond
		cut := make(chan struct{})
		go func() {
			defer close(cut)
			for start := time.Now(); time.Since(start) < delay; {
			}
			link.Set(zktest.Cut)
		}()
		first := s.begin(t.Context(), []record{put("J_a", "1")})
		second := s.begin(t.Context(), []record{put("J_b", "1")})
		errA, errB := <-first, <-second
		<-cut
		direct.Sync(root)
		s.session = direct
		b, a := heldUnder(t, s, "J_b") == "1", heldUnder(t, s, "J_a") == "1"
		outcomes[fmt.Sprint("stored ", a, " ", b)]++
		if b && !a {
			t.Errorf("round %d: only the second commit is stored", round)
		}
		if errA == nil && !a || errB == nil && !b || errB == nil && errA != nil {
			t.Errorf("round %d: the commits ended with %v and %v, and are stored: %v, %v", round, errA, errB, a, b)
		}
	}
	t.Log(outcomes)
}

// heldUnder returns what the node of a key of the JVM versions holds.
func heldUnder(t *testing.T, s *zkStore, key string) string {
	t.Helper()
	data, _, err := s.session.Get(s.node(key))
	if err != nil {
		t.Fatal(err)
	}
	e, err := decodeVariable(data)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.value)
}
