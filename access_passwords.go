package main

import (
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

const (
	// rememberedPasswords bounds the passwords that need no bcrypt any more.
	rememberedPasswords = 4096
	// maxHashCost is the costliest hash that is taken: each step doubles the time, and 15 takes seconds.
	maxHashCost = 15
	// waitingPasswords bounds those of one client that wait to be compared, and waitingClients the clients of an address.
	waitingPasswords = 16
	waitingClients   = 64
)

// errTooManyPasswords refuses a password that would wait too long to be compared.
var errTooManyPasswords = errors.New("too many passwords from this address wait to be compared")

// checkHash refuses what can't be the hash of a password.
func checkHash(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil:
		return errors.New("its hash is none that htpasswd -B or chronos user add has written")
	case cost > maxHashCost:
		return fmt.Errorf("its hash has the cost %d, which takes too long; use %d at most", cost, maxHashCost)
	}
	return nil
}

// hashPassword is what stands for a password in the users file.
func hashPassword(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	return string(hash), err
}

// A knocker is who a password comes from. Whoever connects shares with nobody; client tells those apart that come through
// one load balancer, as far as that says so, which costs only others of the same address their turn if it is a lie.
type knocker struct{ address, client string }

// passwords compares passwords with hashes. A passwordCheck is slow on purpose, so each pair that was right is remembered, few go
// on at once, and senders take turns: wrong ones slow whoever sends them. A pair that is remembered never waits.
type passwords struct {
	compare func(hash, password string) bool
	key     []byte // of this process: what is remembered is of no use to others

	mu      sync.Mutex
	known   map[[sha256.Size]byte]*list.Element
	order   list.List // of keys of known, the one used last in front
	pending map[[sha256.Size]byte]*passwordCheck
	free    int // comparisons that may begin
	turns   turns
}

// A passwordCheck is a comparison that is under way or waits, for all who ask for the same.
type passwordCheck struct {
	done  chan struct{} // closed when right is known
	right bool
	turn  chan struct{} // closed when it may begin
}

func newPasswords() *passwords {
	return &passwords{
		compare: func(hash, password string) bool {
			return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
		},
		key: []byte(rand.Text()), known: map[[sha256.Size]byte]*list.Element{}, pending: map[[sha256.Size]byte]*passwordCheck{},
		free: max(1, runtime.GOMAXPROCS(0)/2),
	}
}

// right reports whether a password is the one of a hash. The error is errTooManyPasswords, or that of ctx.
func (p *passwords) right(ctx context.Context, hash, password string, from knocker) (bool, error) {
	key := p.keyOf(hash, password)
	p.mu.Lock()
	if e := p.known[key]; e != nil {
		p.order.MoveToFront(e)
		p.mu.Unlock()
		return true, nil
	}
	c := p.pending[key]
	if c != nil { // of the same client, or of one who knows the same password
		p.mu.Unlock()
		return c.wait(ctx)
	}
	c = &passwordCheck{done: make(chan struct{}), turn: make(chan struct{})}
	if p.free > 0 {
		p.free--
		close(c.turn)
	} else if !p.turns.add(from, c) {
		p.mu.Unlock()
		return false, errTooManyPasswords
	}
	p.pending[key] = c
	p.mu.Unlock()
	go p.perform(c, key, hash, password)
	return c.wait(ctx)
}

// perform makes a comparison when its turn has come, whether or not somebody still waits: what was begun is bounded.
func (p *passwords) perform(c *passwordCheck, key [sha256.Size]byte, hash, password string) {
	<-c.turn
	_ = guarded(slog.Default(), "comparing a password", func() error { // which is then not right, and the others go on
		c.right = p.compare(hash, password)
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, key)
	if c.right {
		p.remember(key)
	}
	close(c.done)
	if next := p.turns.next(); next != nil {
		close(next.turn)
		return
	}
	p.free++
}

func (p *passwords) remember(key [sha256.Size]byte) {
	p.known[key] = p.order.PushFront(key)
	if len(p.known) > rememberedPasswords {
		delete(p.known, p.order.Remove(p.order.Back()).([sha256.Size]byte))
	}
}

// keyOf names a pair. It is bound to the hash: a password that was changed in the file is known no longer.
func (p *passwords) keyOf(hash, password string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, p.key)
	fmt.Fprintf(mac, "%d:%s", len(hash), hash)
	mac.Write([]byte(password))
	return [sha256.Size]byte(mac.Sum(nil))
}

func (c *passwordCheck) wait(ctx context.Context) (bool, error) {
	select {
	case <-c.done:
		return c.right, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// turns are the comparisons that wait. Addresses take turns, and at each address its clients.
type turns struct {
	addresses []*addressQueue // the next one first
}

type addressQueue struct {
	address string
	clients []*clientQueue // the next one first
}

type clientQueue struct {
	client  string
	waiting []*passwordCheck
}

// add puts a comparison behind those of the same client, unless there are too many.
func (t *turns) add(from knocker, c *passwordCheck) bool {
	i := slices.IndexFunc(t.addresses, func(a *addressQueue) bool { return a.address == from.address })
	if i < 0 {
		i = len(t.addresses)
		t.addresses = append(t.addresses, &addressQueue{address: from.address})
	}
	a := t.addresses[i]
	j := slices.IndexFunc(a.clients, func(q *clientQueue) bool { return q.client == from.client })
	if j < 0 {
		if len(a.clients) == waitingClients {
			return false
		}
		j = len(a.clients)
		a.clients = append(a.clients, &clientQueue{client: from.client})
	}
	q := a.clients[j]
	if len(q.waiting) == waitingPasswords {
		return false
	}
	q.waiting = append(q.waiting, c)
	return true
}

// next takes the comparison whose turn it is, nil for none.
func (t *turns) next() *passwordCheck {
	if len(t.addresses) == 0 {
		return nil
	}
	a := t.addresses[0]
	t.addresses = t.addresses[1:]
	q := a.clients[0]
	a.clients = a.clients[1:]
	c := q.waiting[0]
	if q.waiting = q.waiting[1:]; len(q.waiting) > 0 {
		a.clients = append(a.clients, q)
	}
	if len(a.clients) > 0 {
		t.addresses = append(t.addresses, a)
	}
	return c
}
