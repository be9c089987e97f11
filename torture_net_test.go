package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Links are what may be disturbed together.
type links []*link

func (l links) set(state linkState) {
	for _, k := range l {
		k.set(state)
	}
}

// A mesh is the links between any two of several, by who begins a connection and who is reached.
type mesh [][]links

func newMesh(n int) mesh {
	m := make(mesh, n)
	for i := range m {
		m[i] = make([]links, n)
	}
	return m
}

// between returns the links from one to the other and back.
func (m mesh) between(a, b int) links { return slices.Concat(m[a][b], m[b][a]) }

// around returns the links between one and all others.
func (m mesh) around(a int) (all links) {
	for b := range m {
		all = append(all, m.between(a, b)...)
	}
	return all
}

// startLinkedEnsemble is startEnsemble with links of its own from each server to each other
// one, for the followers' connections and for the election's.
func startLinkedEnsemble(t testing.TB, n int) ([]*zkServer, mesh) {
	t.Helper()
	m := newMesh(n)
	servers := startMembers(t, n, func(from, to, port int, election bool) int {
		k := linkTo("127.0.0.1:" + strconv.Itoa(port))
		if election {
			k.opening = withoutAddress
		} else {
			k.patience = time.Second
		}
		m[from][to] = append(m[from][to], k.listen(t))
		_, port = splitAddress(k.addr)
		return port
	})
	return servers, m
}

// withoutAddress turns the first message of a connection between servers for their election into
// that of ZooKeeper 3.4: only the server's number. Later versions add their real address, and if
// the other one's number is higher, it hangs up and connects to that address, past all links;
// without it, it takes the address from its own configuration.
func withoutAddress(r io.Reader) ([]byte, error) {
	head := make([]byte, 20) // version, number, length of the address
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	version, size := int64(binary.BigEndian.Uint64(head)), binary.BigEndian.Uint32(head[16:])
	if version >= 0 || size > 1000 {
		return nil, fmt.Errorf("not the first message of an election's connection: %x", head)
	}
	_, err := io.CopyN(io.Discard, r, int64(size))
	return head[8:16], err
}

// mode returns what a server says of itself, and how long the answer took.
func (s *zkServer) mode() (mode string, took time.Duration) {
	start := time.Now()
	answer := s.ask("srvr")
	took = time.Since(start)
	_, text, found := strings.Cut(answer, "Mode: ")
	switch mode, _, _ = strings.Cut(text, "\n"); {
	case found:
		return mode, took
	case strings.Contains(answer, "not currently serving"):
		return "not serving", took
	}
	return "no answer", took
}

// leadingServer returns the number of the server that leads, -1 if none does.
func leadingServer(servers []*zkServer) int {
	return slices.IndexFunc(servers, func(s *zkServer) bool { mode, _ := s.mode(); return mode == "leader" })
}

func serving(mode string) bool { return mode == "leader" || mode == "follower" }

// TestServerCutOffLeavesTheQuorumAndComesBack shows that the links between the servers of an
// ensemble are all that joins them: cut off, a server serves no more, whichever it is and
// whether the others hear of it or not, the others go on, and it is back once the links are open.
func TestServerCutOffLeavesTheQuorumAndComesBack(t *testing.T) {
	servers, m := startLinkedEnsemble(t, 3)
	serves := func(i int) bool { mode, _ := servers[i].mode(); return serving(mode) }
	waitUntil(t, "a server leads", func() bool { return leadingServer(servers) >= 0 })
	for n, state := range []linkState{linkCut, linkSilent, linkCut, linkSilent} {
		alone := leadingServer(servers)
		if n >= 2 {
			alone = (alone + 1) % 3
		}
		a, b := (alone+1)%3, (alone+2)%3
		began := time.Now()
		m.around(alone).set(state)
		waitUntil(t, "the server alone does not serve", func() bool { return !serves(alone) })
		left := time.Since(began)
		waitUntil(t, "the others serve", func() bool {
			return serves(a) && serves(b) && (leadingServer(servers) == a || leadingServer(servers) == b)
		})
		t.Logf("server %d was out after %s, the others served after %s", alone, left, time.Since(began))
		session := testSession(t, []string{servers[a].addr})
		if err := session.mkdirAll(fmt.Sprintf("/while/%d-%d/is-alone", n, alone)); err != nil {
			t.Errorf("write while server %d is alone: %v", alone, err)
		}
		if time.Sleep(time.Second); serves(alone) {
			t.Errorf("server %d serves without a link to any other", alone)
		}
		began = time.Now()
		m.around(alone).set(linkOpen)
		waitUntil(t, "the server is back", func() bool { return serves(alone) })
		t.Logf("server %d was back after %s", alone, time.Since(began))
	}
	// One link less leaves a majority, whoever leads.
	for i := range servers {
		m.between(i, (i+1)%3).set(linkCut)
		waitUntil(t, "two servers serve", func() bool { return serves((i+2)%3) && (serves(i) || serves((i+1)%3)) && leadingServer(servers) >= 0 })
		m.between(i, (i+1)%3).set(linkOpen)
		waitUntil(t, "all serve", func() bool { return serves(0) && serves(1) && serves(2) })
	}
}

// linkInstances has each instance reach each other one over a link of its own. All links to one begin
// at the one address that it advertises; a forwarded request says who sends it.
func linkInstances(t testing.TB, instances []*victim) mesh {
	t.Helper()
	m := newMesh(len(instances))
	advertised := make(chan struct{})
	for to, v := range instances {
		for from := range instances {
			if from != to {
				m[from][to] = links{linkTo(v.addr)}
			}
		}
		v.advertise(accept(t, func(conn net.Conn) {
			<-advertised
			defer conn.Close()
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			head, err := readHead(conn)
			conn.SetReadDeadline(time.Time{})
			from := slices.IndexFunc(instances, func(v *victim) bool { return v.id == viaOf(head) })
			if err != nil || from < 0 || from == to {
				return
			}
			if k := m[from][to][0]; k.keep(conn) {
				defer k.drop(conn)
				k.join(conn, head)
			}
		}))
	}
	close(advertised)
	t.Cleanup(func() {
		for i := range m {
			m.around(i).set(linkCut)
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

// viaOf returns which instance has sent the request that begins with head, "" if none has.
func viaOf(head []byte) string {
	for line := range bytes.Lines(head) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.EqualFold(name, viaHeader) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
