package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countedPasswords counts comparisons; each takes as long as hold says, and is right if the password is that of the hash.
func countedPasswords(slots int, hold func()) (*passwords, *atomic.Int64) {
	p, n := newPasswords(), new(atomic.Int64)
	p.free = slots
	p.compare = func(hash, password string) bool {
		n.Add(1)
		hold()
		return hash == "hash of "+password
	}
	return p, n
}

// One bcrypt is made for each user and password, however many requests come, also at once.
func TestAThousandRequestsCostOneHashEach(t *testing.T) {
	t.Parallel()
	o := leading(testScheduler(t))
	o.access = testAccess(t, "alice:admin\nbob:read")
	var compared atomic.Int64
	compare := o.access.passwords.compare
	o.access.passwords.compare = func(hash, password string) bool { compared.Add(1); return compare(hash, password) }
	s := newAPI(o)
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			user := []string{"alice", "bob"}[i%2]
			if res := send(t, s, "GET /scheduler/jobs"+as(user)); res.StatusCode != 200 {
				t.Errorf("GET jobs as %s = %d", user, res.StatusCode)
			}
		})
	}
	all.Wait()
	if n := compared.Load(); n != 2 {
		t.Errorf("%d passwords were compared for 1000 requests of two users, want 2", n)
	}
	// The memory is bound to the line: with another hash of the same password it is compared again, and a wrong one always.
	o.access.change(t, usersText(t, "bob:read")+"alice:"+hashOf(t, "another")+":admin\n")
	for request, want := range map[string]int{"GET /scheduler/jobs" + as("alice"): 401, "GET /scheduler/jobs" + basic("alice:another"): 200, "GET /scheduler/jobs" + basic("eve:x"): 401} {
		before := compared.Load()
		if res := send(t, s, request); res.StatusCode != want || compared.Load() != before+1 {
			t.Errorf("%q = %d with %d comparisons, want %d with one", request, res.StatusCode, compared.Load()-before, want)
		}
	}
}

// Wrong passwords slow down who sends them: others come next, however many there are, and a password that is known does not wait.
func TestWrongPasswordsSlowTheirSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, n := countedPasswords(1, func() { time.Sleep(time.Second) })
		ctx := t.Context()
		if ok, err := p.right(ctx, "hash of a", "a", knocker{address: "10.0.0.1"}); !ok || err != nil {
			t.Fatalf("right = %v, %v", ok, err)
		}
		refused := 0
		var mu sync.Mutex
		for i := range 100 {
			go func() {
				_, err := p.right(ctx, "hash of a", fmt.Sprint("wrong ", i), knocker{address: "10.6.6.6"})
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, errTooManyPasswords) {
					refused++
				}
			}()
		}
		synctest.Wait()
		began := time.Now()
		if ok, _ := p.right(ctx, "hash of a", "a", knocker{address: "10.6.6.6"}); !ok || time.Since(began) != 0 {
			t.Errorf("a password that is known waited %v, also from that address", time.Since(began))
		}
		// One comparison is under way and the turn of the other address comes after it, or after one more.
		if ok, _ := p.right(ctx, "hash of b", "b", knocker{address: "10.0.0.2"}); !ok || time.Since(began) > 3*time.Second {
			t.Errorf("another address waited %v behind a hundred wrong passwords", time.Since(began))
		}
		mu.Lock()
		if refused != 100-1-waitingPasswords {
			t.Errorf("%d of 100 wrong passwords were refused at once, want all but those that wait", refused)
		}
		mu.Unlock()
		time.Sleep(time.Hour)
		if got := n.Load(); got != 1+1+waitingPasswords+1 {
			t.Errorf("%d comparisons, want no more than were taken on", got)
		}
	})
}

// Clients behind one load balancer take turns like addresses do.
func TestOneClientBehindABalancerDoesNotLockOutTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := countedPasswords(1, func() { time.Sleep(time.Second) })
		for i := range 100 {
			go p.right(t.Context(), "h", fmt.Sprint("wrong ", i), knocker{"10.0.0.9", "6.6.6.6"})
		}
		synctest.Wait()
		began := time.Now()
		ok, err := p.right(t.Context(), "hash of b", "b", knocker{"10.0.0.9", "7.7.7.7"})
		if !ok || time.Since(began) > 3*time.Second {
			t.Errorf("another client of the balancer = %v, %v after %v", ok, err, time.Since(began))
		}
		time.Sleep(time.Hour)
	})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Forwarded-For", "1.1.1.1, 2.2.2.2")
	if got := knockerOf(r); got != (knocker{"192.0.2.1", "2.2.2.2"}) {
		t.Errorf("knockerOf = %v, want the one whom the balancer saw, which comes last", got)
	}
}

func TestRememberedPasswordsAreBounded(t *testing.T) {
	t.Parallel()
	p, n := countedPasswords(1, func() {})
	for i := range rememberedPasswords + 10 {
		password := fmt.Sprint(i)
		if ok, err := p.right(t.Context(), "hash of "+password, password, knocker{}); !ok || err != nil {
			t.Fatalf("right(%d) = %v, %v", i, ok, err)
		}
	}
	if len(p.known) != rememberedPasswords || p.order.Len() != rememberedPasswords {
		t.Errorf("%d passwords are remembered, %d in order, want %d", len(p.known), p.order.Len(), rememberedPasswords)
	}
	before := n.Load()
	p.right(t.Context(), "hash of 0", "0", knocker{})
	p.right(t.Context(), "hash of 4000", "4000", knocker{})
	if n.Load() != before+1 {
		t.Errorf("%d comparisons, want one for the oldest and none for a newer", n.Load()-before)
	}
}

// Who gives up waiting is let go; the comparison that he has caused is still made in its turn.
func TestWhoGivesUpIsLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := countedPasswords(1, func() { time.Sleep(time.Minute) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.right(ctx, "h", "p", knocker{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("right = %v, want the end of the context", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if p.free != 1 || len(p.pending) != 0 {
			t.Errorf("free = %d, pending = %d, want 1 and 0", p.free, len(p.pending))
		}
	})
}

// A fault of ours in one comparison makes that password wrong, and gives its turn back.
func TestAPanicOfAComparisonIsAWrongPassword(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		faulty := true
		p, _ := countedPasswords(1, func() {
			if faulty {
				panic("a fault")
			}
		})
		if ok, err := p.right(t.Context(), "hash of a", "a", knocker{}); ok || err != nil {
			t.Errorf("right = %t, %v after a panic, want false", ok, err)
		}
		faulty = false
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if ok, err := p.right(ctx, "hash of a", "a", knocker{}); !ok || err != nil {
			t.Errorf("right = %t, %v, want the next comparison to be made", ok, err)
		}
	})
}
