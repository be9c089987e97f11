package zktest

import (
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// State says what a link does to what goes over it.
type State int

// What a link does.
const (
	Open   State = iota // all passes
	Cut                 // connections are ended, and new ones too
	Silent              // nothing passes, and nobody is told
	Deaf                // nothing comes back
)

// A Link is a connection between two parts of a test that can be disturbed: a TCP
// proxy before target.
type Link struct {
	Addr string // where to connect to, once it listens

	target string
	// opening, if not nil, reads the first bytes of a connection and returns what to send in their place.
	opening func(io.Reader) ([]byte, error)
	// patience is how long to try a target that refuses. A server that would wait for another one's
	// port to open takes a connection that is accepted and then closed for the other one's end.
	patience time.Duration

	mu    sync.Mutex
	moved sync.Cond
	state State
	conns map[net.Conn]bool
}

// Listen opens the link for as long as the test lasts.
func (k *Link) Listen(t testing.TB) *Link {
	t.Helper()
	k.Addr = Accept(t, k.serve)
	t.Cleanup(func() { k.Set(Cut) })
	return k
}

// LinkTo returns a link to an address, which takes no connections yet: see [Link.Listen] and [Link.Join].
func LinkTo(target string) *Link {
	k := &Link{target: target, conns: map[net.Conn]bool{}}
	k.moved.L = &k.mu
	return k
}

// Accept serves connections to the address that it returns until the test ends.
func Accept(t testing.TB, serve func(net.Conn)) (addr string) {
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

// Set changes the state. What a silent link has held back passes when it opens.
func (k *Link) Set(state State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = state
	if state == Cut {
		for conn := range k.conns {
			conn.Close()
		}
	}
	k.moved.Broadcast()
}

func (k *Link) is(state State) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == state
}

// keep notes a connection to be closed by a cut, and reports whether it may be.
func (k *Link) keep(conn net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == Cut {
		conn.Close()
		return false
	}
	k.conns[conn] = true
	return true
}

func (k *Link) drop(conn net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	conn.Close()
	delete(k.conns, conn)
}

// pass waits until something may pass, away from the target or back.
func (k *Link) pass(back bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.state == Silent || k.state == Deaf && back {
		k.moved.Wait()
	}
}

func (k *Link) port() int {
	_, text, _ := net.SplitHostPort(k.Addr)
	port, _ := strconv.Atoi(text)
	return port
}

func (k *Link) serve(conn net.Conn) {
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

// Join serves a connection that somebody else has accepted and from which first has been read already.
func (k *Link) Join(conn net.Conn, first []byte) {
	if k.keep(conn) {
		defer k.drop(conn)
		k.join(conn, first)
	}
}

// join connects a connection that is kept to the target, which gets the bytes given first.
func (k *Link) join(conn net.Conn, first []byte) {
	k.pass(false)
	far, err := net.Dial("tcp", k.target)
	for start := time.Now(); errors.Is(err, syscall.ECONNREFUSED) && time.Since(start) < k.patience && !k.is(Cut); {
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
func (k *Link) pump(to, from net.Conn, back bool) {
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

// Links are what may be disturbed together.
type Links []*Link

// Set changes the state of all of them.
func (l Links) Set(state State) {
	for _, k := range l {
		k.Set(state)
	}
}

// A Mesh is the links between any two of several, by who begins a connection and who is reached.
type Mesh [][]Links

// NewMesh returns the mesh of n parts, without a link so far.
func NewMesh(n int) Mesh {
	m := make(Mesh, n)
	for i := range m {
		m[i] = make([]Links, n)
	}
	return m
}

// Between returns the links from one to the other and back.
func (m Mesh) Between(a, b int) Links { return slices.Concat(m[a][b], m[b][a]) }

// Around returns the links between one and all others.
func (m Mesh) Around(a int) (all Links) {
	for b := range m {
		all = append(all, m.Between(a, b)...)
	}
	return all
}
