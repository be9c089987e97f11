package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"
)

// Reading a hundred thousand nodes one by one takes a ZooKeeper server seconds; with
// one request per hundred, a tenth of that. The request is multiRead, introduced in server
// version 3.6, as were watches of whole subtrees that stay. The client library knows neither. So this code speaks the part of
// the protocol that it needs, in a separate session.
const (
	opGetData      = 4
	opSync         = 9
	opMultiRead    = 22
	opAuth         = 100
	opAddWatch     = 106
	opCloseSession = -11

	eventXid  = -1 // of a packet that answers no request
	recursive = 1  // the mode of a watch that stays, for a node and all below it

	// readBatch bounds a response to 100 MB even if all nodes have the largest size.
	readBatch = 100
)

// errOldServer means that the server is older than 3.6.
var errOldServer = errors.New("the server is older than ZooKeeper 3.6")

// A zkWire is a connection for requests that the client library does not know. One goroutine uses it.
type zkWire struct {
	conn    net.Conn
	in      *bufio.Reader
	xid     int32
	release func() bool                  // ends the watch over the context
	changed func(node string, e zkEvent) // is told of the events that come before an answer; nil if nothing is watched
}

// openZKWire connects to the server that the session uses, so that it sees everything
// that the session has seen. It works until ctx ends.
func openZKWire(ctx context.Context, session *zkSession) (*zkWire, error) {
	dialer := net.Dialer{Timeout: session.timeout}
	conn, err := dialer.DialContext(ctx, "tcp", session.Server())
	if err != nil {
		return nil, err
	}
	r := &zkWire{conn: conn, in: bufio.NewReaderSize(conn, 256<<10)}
	r.release = context.AfterFunc(ctx, func() { conn.Close() })
	if err := r.connect(session); err != nil {
		r.release()
		conn.Close()
		return nil, err
	}
	return r, nil
}

// connect opens the session and authenticates it.
func (r *zkWire) connect(session *zkSession) error {
	r.extend(session.timeout)
	hello := make([]byte, 4+8, 64) // protocol version, last transaction seen
	hello = binary.BigEndian.AppendUint32(hello, uint32(session.timeout.Milliseconds()))
	hello = append(hello, make([]byte, 8)...) // no session yet
	hello = appendJute(hello, make([]byte, 16))
	if err := r.send(hello); err != nil {
		return err
	}
	if _, err := r.receive(); err != nil {
		return err
	}
	if session.auth == "" {
		return nil
	}
	auth := binary.BigEndian.AppendUint32(r.request(opAuth), 0) // its type
	auth = appendJute(appendJute(auth, "digest"), session.auth)
	_, err := r.call(auth)
	return err
}

// close ends the session.
func (r *zkWire) close() {
	r.release()
	_ = r.send(r.request(opCloseSession)) // if it does not arrive, the session expires
	r.conn.Close()
}

// read reads the nodes, and returns one answer for each.
func (r *zkWire) read(nodes []string, limit time.Duration) ([]zkNode, error) {
	r.extend(limit)
	request := r.request(opMultiRead)
	for _, node := range nodes {
		request = appendMultiHeader(request, opGetData, false)
		request = append(appendJute(request, node), 0) // without a watch
	}
	b, err := r.call(appendMultiHeader(request, -1, true))
	if err != nil {
		return nil, err
	}
	answers := make([]zkNode, 0, len(nodes))
	for range nodes {
		var a zkNode
		if a, b, err = cutAnswer(b); err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// readAll reads the nodes of keys, many at a time.
func (r *zkWire) readAll(ctx context.Context, root string, keys []string, session *zkSession) ([]zkNode, error) {
	nodes := make([]zkNode, 0, len(keys))
	for batch := range slices.Chunk(keys, readBatch) {
		paths := make([]string, len(batch))
		for i, key := range batch {
			paths[i] = pathOf(root, key)
		}
		start := time.Now()
		answers, err := r.read(paths, session.timeout)
		session.took(start)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, answers...)
	}
	return nodes, nil
}

// A zkNode is the answer to one read.
type zkNode struct {
	data    []byte
	version int32
	order   order
	err     error
}

// cutAnswer splits the answer to one read off the response to a multiRead.
func cutAnswer(b []byte) (zkNode, []byte, error) {
	const header, stat, createdAt, writtenAt, versionAt = 4 + 1 + 4, 68, 0, 8, 32
	short := fmt.Errorf("read nodes: %w", io.ErrUnexpectedEOF)
	if len(b) < header+4 {
		return zkNode{}, nil, short
	}
	kind, number := int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[header:]))
	b = b[header+4:]
	if kind != opGetData {
		return zkNode{err: readError(number)}, b, nil
	}
	size := int(max(number, 0)) // -1 stands for null
	if len(b) < size+stat {
		return zkNode{}, nil, short
	}
	number64 := func(at int) int64 { return int64(binary.BigEndian.Uint64(b[size+at:])) }
	version := int32(binary.BigEndian.Uint32(b[size+versionAt:]))
	return zkNode{data: b[:size:size], version: version, order: order{number64(createdAt), number64(writtenAt)}}, b[size+stat:], nil
}

// readError returns the error for a code with which reads of nodes fail.
func readError(code int32) error {
	switch code {
	case -101:
		return zk.ErrNoNode
	case -102:
		return zk.ErrNoAuth
	}
	return fmt.Errorf("read node: ZooKeeper error %d", code)
}

// A zkEvent is what has happened to a node.
type zkEvent int32

// zkDeleted is that the node is gone. Any other event says that it may have changed.
const zkDeleted zkEvent = 2

// watch asks for an event whenever anything at or below a node changes.
func (r *zkWire) watch(node string, limit time.Duration) error {
	r.extend(limit)
	_, err := r.call(binary.BigEndian.AppendUint32(appendJute(r.request(opAddWatch), node), recursive))
	return err
}

// sync returns once the server has caught up with everything that the ensemble had stored, and the events of that have come.
func (r *zkWire) sync(node string, limit time.Duration) error {
	r.extend(limit)
	_, err := r.call(appendJute(r.request(opSync), node))
	return err
}

// request begins a request.
func (r *zkWire) request(op int32) []byte {
	r.xid++
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(r.xid)), uint32(op))
}

// call sends a request and returns the body of its response.
func (r *zkWire) call(request []byte) ([]byte, error) {
	if err := r.send(request); err != nil {
		return nil, err
	}
	const header = 4 + 8 + 4 // xid, zxid, error
	var b []byte
	for {
		var err error
		if b, err = r.receive(); err != nil {
			return nil, err
		}
		if len(b) < header {
			return nil, io.ErrUnexpectedEOF
		}
		if int32(binary.BigEndian.Uint32(b)) != eventXid {
			break
		}
		if err := r.note(b[header:]); err != nil {
			return nil, err
		}
	}
	switch code := int32(binary.BigEndian.Uint32(b[12:])); code {
	case 0:
		return b[header:], nil
	case -6:
		return nil, errOldServer
	default:
		return nil, fmt.Errorf("read nodes: ZooKeeper error %d", code)
	}
}

// note passes an event on.
func (r *zkWire) note(event []byte) error {
	const header = 4 + 4 + 4 // kind, state of the session, length of the node's path
	if len(event) < header {
		return fmt.Errorf("read event: %w", io.ErrUnexpectedEOF)
	}
	size := int(max(0, int32(binary.BigEndian.Uint32(event[8:])))) // -1 stands for null
	if len(event) < header+size {
		return fmt.Errorf("read event: %w", io.ErrUnexpectedEOF)
	}
	if r.changed != nil {
		r.changed(string(event[header:header+size]), zkEvent(binary.BigEndian.Uint32(event)))
	}
	return nil
}

func (r *zkWire) extend(limit time.Duration) { _ = r.conn.SetDeadline(time.Now().Add(limit)) }

func (r *zkWire) send(packet []byte) error {
	_, err := r.conn.Write(appendJute(nil, packet))
	return err
}

func (r *zkWire) receive() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r.in, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 1<<30 {
		return nil, fmt.Errorf("read nodes: a response of %d bytes", n)
	}
	packet := make([]byte, n)
	_, err := io.ReadFull(r.in, packet)
	return packet, err
}

// appendJute appends text or bytes in ZooKeeper's encoding.
func appendJute[T string | []byte](b []byte, content T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(content))), content...)
}

func appendMultiHeader(b []byte, kind int32, done bool) []byte {
	last := byte(0)
	if done {
		last = 1
	}
	b = append(binary.BigEndian.AppendUint32(b, uint32(kind)), last)
	return binary.BigEndian.AppendUint32(b, 0xffffffff) // no error
}
