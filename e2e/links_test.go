package e2e

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// linkInstances has each instance reach each other one over a link of its own. All links to one begin
// at the one address that it advertises; a forwarded request says who sends it.
func linkInstances(t testing.TB, instances []*instance) zktest.Mesh {
	t.Helper()
	m := zktest.NewMesh(len(instances))
	advertised := make(chan struct{})
	for to, v := range instances {
		for from := range instances {
			if from != to {
				m[from][to] = zktest.Links{zktest.LinkTo(v.addr)}
			}
		}
		v.advertise(zktest.Accept(t, func(conn net.Conn) {
			<-advertised
			defer conn.Close()
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			head, err := readHead(conn)
			conn.SetReadDeadline(time.Time{})
			from := slices.IndexFunc(instances, func(v *instance) bool { return v.id == viaOf(head) })
			if err != nil || from < 0 || from == to {
				return
			}
			m[from][to][0].Join(conn, head)
		}))
	}
	close(advertised)
	t.Cleanup(func() {
		for i := range m {
			m.Around(i).Set(zktest.Cut)
		}
	})
	return m
}

// readHead reads up to the end of a request's header at least.
func readHead(r io.Reader) (head []byte, err error) {
	buffer := make([]byte, 4<<10)
	for !bytes.Contains(head, []byte("\r\n\r\n")) {
		n, err := r.Read(buffer)
		if err != nil {
			return nil, err
		}
		head = append(head, buffer[:n]...)
	}
	return head, nil
}

// viaHeader says which instance has forwarded a request.
const viaHeader = "X-Chronos-Via"

// viaOf returns which instance has sent the request that begins with head, "" if none has.
func viaOf(head []byte) string {
	for line := range bytes.Lines(head) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.EqualFold(name, viaHeader) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
