package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

const (
	// connectionMemory is roughly what a connection takes besides the bodies and answers on it: two
	// goroutines, their buffers, a header.
	connectionMemory = 64 << 10
	// leastConnections is how many are served however little memory there is.
	leastConnections = 16
)

// maxConnections returns how many connections may be open to a process that may use that much memory and that many
// descriptors. A quarter of the descriptors is reserved for runs, ZooKeeper and Mesos, and of the rest each connection
// counts for two: a request may need a second one, to be forwarded or to read a run's output.
func maxConnections(memory int64, descriptors uint64) int {
	free := int64(min(descriptors, 1<<30))
	free = (free - max(free/4, 64)) / 2
	return int(max(leastConnections, min(free, memory/8/connectionMemory)))
}

// connections bounds how many connections are open. When the limit is reached, a new one replaces
// the one that has been idle the longest; while requests are being answered
// on all of them, it waits to be accepted.
type connections struct {
	most  int
	mu    sync.Mutex
	freed *sync.Cond
	open  map[net.Conn]*openConnection
	turns uint64
	ended bool
}

// An openConnection is one that was accepted.
type openConnection struct {
	busy bool   // a request on it is being answered
	turn uint64 // of all that began and ended on any connection, when that did
}

func newConnections(most int) *connections {
	c := &connections{most: most, open: map[net.Conn]*openConnection{}}
	c.freed = sync.NewCond(&c.mu)
	return c
}

// A boundedListener accepts connections as long as there may be more.
type boundedListener struct {
	net.Listener
	connections *connections
}

func (l boundedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.connections.admit(conn)
	}
	return conn, err
}

// admit makes room for a connection and records it.
func (c *connections) admit(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.open) >= c.most && !c.ended && !c.evict() {
		c.freed.Wait()
	}
	c.open[conn] = &openConnection{turn: c.next()}
}

func (c *connections) next() uint64 {
	c.turns++
	return c.turns
}

// evict closes the connection that has been idle the longest, if there is any.
func (c *connections) evict() bool {
	var oldest net.Conn
	for conn, state := range c.open {
		if !state.busy && (oldest == nil || state.turn < c.open[oldest].turn) {
			oldest = conn
		}
	}
	if oldest == nil {
		return false
	}
	delete(c.open, oldest)
	plain := oldest
	if secure, ok := oldest.(*tls.Conn); ok {
		plain = secure.NetConn() // a TLS goodbye may have to wait
	}
	plain.Close()
	return true
}

// changed follows the states of the connections. Requests call asked themselves when they begin: before
// that a client may be sending a header for as long as it likes.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch known := c.open[conn]; state {
	case http.StateIdle:
		if known != nil {
			known.busy, known.turn = false, c.next()
			c.freed.Signal()
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
		c.freed.Signal()
	}
}

// connectionKey is where a request finds its connection.
type connectionKey struct{}

// named lets the requests of a connection find it.
func (c *connections) named(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// asked records that a request is being answered.
func (c *connections) asked(r *http.Request) {
	conn, _ := r.Context().Value(connectionKey{}).(net.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.open[conn]; known != nil {
		known.busy, known.turn = true, c.next()
	}
}

// end lets in waiting connections.
func (c *connections) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.freed.Broadcast()
}

// count returns how many connections are open.
func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
