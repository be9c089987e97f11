package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"
)

// multiAnswer is the answer of a server to one read in a multiRead.
func multiAnswer(data []byte, version int32) []byte {
	b := appendMultiHeader(nil, opGetData, false)
	b = appendJute(b, data)
	stat := make([]byte, 68)
	binary.BigEndian.PutUint32(stat[32:], uint32(version))
	return append(b, stat...)
}

func multiError(code int32) []byte {
	return binary.BigEndian.AppendUint32(appendMultiHeader(nil, -1, false), uint32(code))
}

// Whatever a server answers, reading many nodes fails or gives as many answers as were requested, which are parts of
// what has come, in order.
func FuzzMultiRead(f *testing.F) {
	f.Add(append(multiAnswer([]byte("one"), 1), multiAnswer(nil, 2)...), uint8(2))
	f.Add(append(multiError(-101), multiAnswer([]byte("two"), 7)...), uint8(2))
	f.Add(multiError(-102), uint8(1))
	f.Add(multiAnswer([]byte("cut short"), 1)[:40], uint8(1))
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}, uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, count uint8) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		go func() {
			request := make([]byte, 64<<10)
			if _, err := theirs.Read(request); err != nil {
				return
			}
			theirs.Write(appendJute(nil, append(make([]byte, 16), body...)))
			theirs.Close()
		}()
		r := &zkWire{conn: ours, in: bufio.NewReader(ours)}
		nodes := make([]string, count)
		for i := range nodes {
			nodes[i] = "/n"
		}
		answers, err := r.read(nodes, time.Minute)
		if err != nil {
			return
		}
		if len(answers) != int(count) {
			t.Fatalf("%d answers to %d questions", len(answers), count)
		}
		rest := body
		for i, a := range answers {
			if a.err != nil && a.data != nil {
				t.Errorf("answer %d is both data and an error", i)
			}
			at := bytes.Index(rest, a.data)
			if at < 0 {
				t.Fatalf("answer %d is %q, which has not come", i, a.data)
			}
			rest = rest[at+len(a.data):]
		}
	})
}
