package zktest

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// syncLimit is after how many ticks of silence servers of an ensemble give each other up.
const syncLimit = 10

// StartEnsemble starts n servers that form one ZooKeeper. Their logs are among the test's artifacts.
func StartEnsemble(t testing.TB, n int) []*Server {
	t.Helper()
	return startMembers(t, n, func(_, _ int, port int, _ bool) int { return port })
}

// memberOptions are java's for servers of an ensemble.
var memberOptions = []string{
	"-Dzookeeper.fastleader.maxNotificationInterval=800", // a server that was alone for long is to come back soon
	// Debian's 3.8.0 forgets what it has acknowledged if a server that catches up transaction by transaction is
	// interrupted (ZOOKEEPER-4643, 4646, 4685), and logs them again, or in two places (ZOOKEEPER-4394, 4712). A
	// whole snapshot is stored before the server counts as part of the new epoch.
	"-Dzookeeper.forceSnapshotSync=true",
}

// startMembers is [StartEnsemble] with a say in how the servers reach each other: route returns the
// port at which the server from finds what the server to has at the port given, for followers or for the election.
func startMembers(t testing.TB, n int, route func(from, to, port int, election bool) int) []*Server {
	t.Helper()
	peer, election := make([]int, n), make([]int, n)
	for i := range n {
		peer[i], election[i] = FreePort(), FreePort()
	}
	servers := make([]*Server, n)
	errs := make(chan error, n)
	for i := range servers {
		s := &Server{dir: t.TempDir(), Log: filepath.Join(t.ArtifactDir(), fmt.Sprintf("zookeeper%d", i)), options: memberOptions}
		if err := os.WriteFile(filepath.Join(s.dir, "myid"), []byte(strconv.Itoa(i+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		servers[i] = s
		members := fmt.Sprintf("initLimit=25\nsyncLimit=%d\n", syncLimit)
		for k := range n {
			ports := []int{peer[k], election[k]}
			if k != i {
				ports = []int{route(i, k, peer[k], false), route(i, k, election[k], true)}
			}
			members += fmt.Sprintf("server.%d=127.0.0.1:%d:%d\n", k+1, ports[0], ports[1])
		}
		t.Cleanup(s.Kill)
		go func() { errs <- s.start(members, FreePort()) }()
	}
	for range servers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	return servers
}

// StartLinkedEnsemble is [StartEnsemble] with links of its own from each server to each other
// one, for the followers' connections and for the election's.
func StartLinkedEnsemble(t testing.TB, n int) ([]*Server, Mesh) {
	t.Helper()
	m := NewMesh(n)
	servers := startMembers(t, n, func(from, to, port int, election bool) int {
		k := LinkTo("127.0.0.1:" + strconv.Itoa(port))
		if election {
			k.opening = withoutAddress
		} else {
			k.patience = time.Second
		}
		m[from][to] = append(m[from][to], k.Listen(t))
		return k.port()
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

// Leader returns the number of the server that leads, -1 if none does.
func Leader(servers []*Server) int {
	return slices.IndexFunc(servers, func(s *Server) bool { return s.Mode() == "leader" })
}

// Transactions reads the transactions in the server's logs. A log is a header of 16 bytes, and then for each
// transaction a checksum, a length, session, cxid, zxid, time, type, content, and the byte B.
func (s *Server) Transactions(t testing.TB, visit func(zxid uint64, kind int32, content []byte)) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, "version-2", "log.*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no transaction logs in %s: %v", s.dir, err)
	}
	for _, name := range names {
		log, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		readTransactions(log, visit)
	}
}

func readTransactions(log []byte, visit func(zxid uint64, kind int32, content []byte)) {
	for at := 16; at+12 <= len(log); {
		size := int(binary.BigEndian.Uint32(log[at+8:]))
		if size < 32 || at+12+size > len(log) {
			return
		}
		entry := log[at+12 : at+12+size]
		visit(binary.BigEndian.Uint64(entry[12:]), int32(binary.BigEndian.Uint32(entry[28:])), entry[32:])
		at += 12 + size + 1
	}
}
