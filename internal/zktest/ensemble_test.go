package zktest

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// write creates a node over one server.
func write(t *testing.T, s *Server, path string) error {
	t.Helper()
	session, _, err := zk.Connect([]string{s.Addr}, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		return err
	}
	defer session.Close()
	_, err = session.Create(path, nil, 0, zk.WorldACL(zk.PermAll))
	return err
}

// TestServerCutOffLeavesTheQuorumAndComesBack shows that the links between the servers of an
// ensemble are all that joins them: cut off, a server serves no more, whichever it is and
// whether the others hear of it or not, the others go on, and it is back once the links are open.
func TestServerCutOffLeavesTheQuorumAndComesBack(t *testing.T) {
	servers, m := StartLinkedEnsemble(t, 3)
	serves := func(i int) bool { return servers[i].Serves() }
	waitUntil(t, "a server leads", func() bool { return Leader(servers) >= 0 })
	for n, state := range []State{Cut, Silent, Cut, Silent} {
		alone := Leader(servers)
		if n >= 2 {
			alone = (alone + 1) % 3
		}
		a, b := (alone+1)%3, (alone+2)%3
		began := time.Now()
		m.Around(alone).Set(state)
		waitUntil(t, "the server alone does not serve", func() bool { return !serves(alone) })
		left := time.Since(began)
		waitUntil(t, "the others serve", func() bool {
			return serves(a) && serves(b) && (Leader(servers) == a || Leader(servers) == b)
		})
		t.Logf("server %d was out after %s, the others served after %s", alone, left, time.Since(began))
		if err := write(t, servers[a], fmt.Sprintf("/while-%d-%d-is-alone", n, alone)); err != nil {
			t.Errorf("write while server %d is alone: %v", alone, err)
		}
		if time.Sleep(time.Second); serves(alone) {
			t.Errorf("server %d serves without a link to any other", alone)
		}
		began = time.Now()
		m.Around(alone).Set(Open)
		waitUntil(t, "the server is back", func() bool { return serves(alone) })
		t.Logf("server %d was back after %s", alone, time.Since(began))
	}
	// One link less leaves a majority, whoever leads.
	for i := range servers {
		m.Between(i, (i+1)%3).Set(Cut)
		waitUntil(t, "two servers serve", func() bool { return serves((i+2)%3) && (serves(i) || serves((i+1)%3)) && Leader(servers) >= 0 })
		m.Between(i, (i+1)%3).Set(Open)
		waitUntil(t, "all serve", func() bool { return serves(0) && serves(1) && serves(2) })
	}
}
