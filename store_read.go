package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-zookeeper/zk"
)

// Reading a hundred thousand nodes one by one takes a ZooKeeper server seconds; with
// one request per hundred, a tenth of that. The request is multiRead, introduced in server
// version 3.6, which the client library does not know. So this code speaks the part of
// the protocol that it needs, in a separate session.
const (
	opGetData      = 4
	opMultiRead    = 22
	opAuth         = 100
	opCloseSession = -11

	// readBatch bounds a response to 100 MB even if all nodes have the largest size.
	readBatch = 100
)

// errNoMultiRead means that the server is older than 3.6.
var errNoMultiRead = errors.New("the server does not know multiRead")

// A bulkReader is a connection for multiRead.
type bulkReader struct {
	conn    net.Conn
	in      *bufio.Reader
	xid     int32
	release func() bool // ends the watch over the context
}

// openBulkReader connects to the server that the session uses, so that it sees everything
// that the session has seen. It works until ctx ends.
func openBulkReader(ctx context.Context, session *zkSession) (*bulkReader, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", session.Server())
	if err != nil {
		return nil, err
	}
	r := &bulkReader{conn: conn, in: bufio.NewReaderSize(conn, 256<<10)}
	r.release = context.AfterFunc(ctx, func() { conn.Close() })
	if err := r.connect(session); err != nil {
		r.release()
		conn.Close()
		return nil, err
	}
	return r, nil
}

// connect opens the session and authenticates it.
func (r *bulkReader) connect(session *zkSession) error {
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
func (r *bulkReader) close() {
	r.release()
	_ = r.send(r.request(opCloseSession)) // if it does not arrive, the session expires
	r.conn.Close()
}

// read reads the nodes, and returns one answer for each.
func (r *bulkReader) read(nodes []string, limit time.Duration) ([]zkNode, error) {
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

// request begins a request.
func (r *bulkReader) request(op int32) []byte {
	r.xid++
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(r.xid)), uint32(op))
}

// call sends a request and returns the body of its response.
func (r *bulkReader) call(request []byte) ([]byte, error) {
	if err := r.send(request); err != nil {
		return nil, err
	}
	b, err := r.receive()
	if err != nil {
		return nil, err
	}
	const header = 4 + 8 + 4 // xid, zxid, error
	if len(b) < header {
		return nil, io.ErrUnexpectedEOF
	}
	switch code := int32(binary.BigEndian.Uint32(b[12:])); code {
	case 0:
		return b[header:], nil
	case -6:
		return nil, errNoMultiRead
	default:
		return nil, fmt.Errorf("read nodes: ZooKeeper error %d", code)
	}
}

func (r *bulkReader) extend(limit time.Duration) { _ = r.conn.SetDeadline(time.Now().Add(limit)) }

func (r *bulkReader) send(packet []byte) error {
	_, err := r.conn.Write(appendJute(nil, packet))
	return err
}

func (r *bulkReader) receive() ([]byte, error) {
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
