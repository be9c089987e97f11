package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// linkState says what a link does to what goes over it.
type linkState int

const (
	linkOpen   linkState = iota
	linkCut              // connections are ended, and new ones too
	linkSilent           // nothing passes, and nobody is told
	linkDeaf             // nothing comes back
)

// A link is a connection between two parts of a test that can be disturbed: a TCP
// proxy before target.
type link struct {
	addr   string
	target string
	// opening, if not nil, reads the first bytes of a connection and returns what to send in their place.
	opening func(io.Reader) ([]byte, error)
	// patience is how long to try a target that refuses. A server that would wait for another one's
	// port to open takes a connection that is accepted and then closed for the other one's end.
	patience time.Duration

	mu    sync.Mutex
	moved sync.Cond
	state linkState
	conns map[net.Conn]bool
}

// listen opens the link for as long as the test lasts.
func (k *link) listen(t testing.TB) *link {
	t.Helper()
	k.addr = accept(t, k.serve)
	t.Cleanup(func() { k.set(linkCut) })
	return k
}

func linkTo(target string) *link {
	k := &link{target: target, conns: map[net.Conn]bool{}}
	k.moved.L = &k.mu
	return k
}

// accept serves connections to the address that it returns until the test ends.
func accept(t testing.TB, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// set changes the state. What a silent link has held back passes when it opens.
func (k *link) set(state linkState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = state
	if state == linkCut {
		for conn := range k.conns {
			conn.Close()
		}
	}
	k.moved.Broadcast()
}

func (k *link) is(state linkState) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == state
}

// keep notes a connection to be closed by a cut, and reports whether it may be.
func (k *link) keep(conn net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == linkCut {
		conn.Close()
		return false
	}
	k.conns[conn] = true
	return true
}

func (k *link) drop(conn net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	conn.Close()
	delete(k.conns, conn)
}

// pass waits until something may pass, away from the target or back.
func (k *link) pass(back bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.state == linkSilent || k.state == linkDeaf && back {
		k.moved.Wait()
	}
}

func (k *link) serve(conn net.Conn) {
	if !k.keep(conn) {
		return
	}
	defer k.drop(conn)
	k.pass(false)
	var first []byte
	if k.opening != nil {
		var err error
		if first, err = k.opening(conn); err != nil {
			return
		}
	}
	k.join(conn, first)
}

// join connects a connection that is kept to the target, which gets the bytes given first.
func (k *link) join(conn net.Conn, first []byte) {
	k.pass(false)
	far, err := net.Dial("tcp", k.target)
	for start := time.Now(); errors.Is(err, syscall.ECONNREFUSED) && time.Since(start) < k.patience && !k.is(linkCut); {
		time.Sleep(10 * time.Millisecond)
		far, err = net.Dial("tcp", k.target)
	}
	if err != nil || !k.keep(far) {
		return
	}
	defer k.drop(far)
	if _, err := far.Write(first); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		k.pump(conn, far, true)
		conn.Close()
	})
	k.pump(far, conn, false)
	far.Close()
	back.Wait()
}

// pump moves bytes until either end is closed.
func (k *link) pump(to, from net.Conn, back bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		k.pass(back)
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
