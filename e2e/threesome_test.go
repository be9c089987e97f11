package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

const (
	tortureTimeout = time.Second // --zk_timeout
	// tortureSpan is how long nothing new must happen for an occurrence to have no excuse.
	tortureSpan = tortureTimeout + zktest.Tick + 2*time.Second
)

// A threesome is three instances with the local cluster on one data directory, and a ZooKeeper.
// Any two of the instances and the servers have links of their own between them.
type threesome struct {
	chance    *rand.Rand
	servers   []*zktest.Server
	root      string         // --zk_path
	links     []zktest.Links // from an instance to each server
	peers     zktest.Mesh    // of the instances
	instances []*instance
	observer  *zk.Conn
	*workload
}

func newThreesome(t *testing.T, servers []*zktest.Server, timeout time.Duration) *threesome {
	t.Helper()
	c := &threesome{chance: tortureRand(t), servers: servers, root: "/" + path.Base(t.Name()) + "/state", workload: newWorkload(t)}
	data := filepath.Join(t.TempDir(), "data")
	for i := range 3 {
		var all zktest.Links
		var hosts []string
		for _, s := range servers {
			k := zktest.LinkTo(s.Addr).Listen(t)
			all, hosts = append(all, k), append(hosts, k.Addr)
		}
		c.chance.Shuffle(len(hosts), func(a, b int) { hosts[a], hosts[b] = hosts[b], hosts[a] })
		c.links = append(c.links, all)
		c.instances = append(c.instances, newInstance(t, fmt.Sprintf("log%d", i), "--master", "local", "--data_dir", data,
			"--zk_hosts", strings.Join(hosts, ","), "--zk_path", c.root, "--zk_timeout", strconv.FormatInt(timeout.Milliseconds(), 10),
			"--failure_retry", "200", "--job_history_keep", "500"))
	}
	c.peers = linkInstances(t, c.instances)
	for _, v := range c.instances {
		v.start(t)
	}
	for _, v := range c.instances {
		v.serves(t)
	}
	return c
}

// observe asks ZooKeeper past all links, with a new session if the last one has been lost.
func (c *threesome) observe(t *testing.T, ask func(*zk.Conn) error) {
	t.Helper()
	var hosts []string
	for _, s := range c.servers {
		hosts = append(hosts, s.Addr)
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c.observer == nil {
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			guard := time.AfterFunc(patience, cancel)
			c.observer, err = dialZK(ctx, hosts, 10*time.Second)
			guard.Stop()
			if err != nil {
				c.observer = nil
				continue
			}
		}
		if err = ask(c.observer); err == nil {
			return
		}
		if !errors.Is(err, zk.ErrNoNode) {
			c.observer.Close()
			c.observer = nil
		}
	}
	t.Fatalf("ask ZooKeeper: %v", err)
}

// leader returns the number of the instance that leads.
func (c *threesome) leader(t *testing.T) (leader int) {
	t.Helper()
	c.observe(t, func(s *zk.Conn) error {
		// A server cut off from the others would tell what was.
		if _, err := s.Sync(c.root); err != nil {
			return err
		}
		nodes, err := candidates(s, c.root+"/candidate")
		if err != nil {
			return err
		}
		if len(nodes) == 0 {
			return zk.ErrNoNode
		}
		id, _, err := s.Get(nodes[0])
		leader = slices.IndexFunc(c.instances, func(v *instance) bool { return v.id == string(id) })
		return err
	})
	return leader
}

// depose takes leadership from an instance that goes on, as an operator would: by deleting its latch node.
func (c *threesome) depose(t *testing.T) {
	t.Helper()
	c.observe(t, func(s *zk.Conn) error {
		nodes, err := candidates(s, c.root+"/candidate")
		if err != nil {
			return err
		}
		return s.Delete(nodes[0], -1)
	})
}

// term returns the number of terms so far.
func (c *threesome) term(t *testing.T) (n int64) {
	t.Helper()
	c.observe(t, func(s *zk.Conn) error {
		data, _, err := s.Get(c.root + "/go/term")
		if err == nil {
			n, err = strconv.ParseInt(string(termStamp.FindSubmatch(data)[1]), 10, 64)
		}
		return err
	})
	return n
}

var termStamp = regexp.MustCompile(`\{"term":(\d+)`)

// An accession is the moment at which a new leader, having loaded the state, is in touch with the cluster.
type accession struct {
	at       time.Time
	instance int
}

// accessions lists them, from the logs.
func (c *threesome) accessions(t *testing.T) (all []accession) {
	t.Helper()
	for i, v := range c.instances {
		for _, l := range v.logLines(t) {
			if l.msg == "subscribed" {
				all = append(all, accession{l.at, i})
			}
		}
	}
	slices.SortFunc(all, func(a, b accession) int { return a.at.Compare(b.at) })
	return all
}

// awaitAccession waits until another instance than old has subscribed since then.
func (c *threesome) awaitAccession(t *testing.T, since time.Time, old int) (next accession) {
	t.Helper()
	until(t, fmt.Sprintf("another instance than %d leads since %s", old, since), func() bool {
		all := c.accessions(t)
		i := slices.IndexFunc(all, func(a accession) bool { return a.at.After(since) && a.instance != old })
		if i >= 0 {
			next = all[i]
		}
		return i >= 0
	})
	return next
}

// awaitRuns waits until so many more runs have written their mark.
func (c *threesome) awaitRuns(t *testing.T, more int) {
	t.Helper()
	count := func() (n int) {
		for _, k := range c.cadences {
			n += len(c.marks.of(t, k.name))
		}
		return n
	}
	enough := count() + more
	until(t, fmt.Sprintf("%d more runs are made", more), func() bool { return count() >= enough })
}

// checkTerms reads the transaction logs of the servers: every commit stamps its term, and in
// ZooKeeper's own order of transactions the terms never decrease.
func (c *threesome) checkTerms(t *testing.T) (stamps int) {
	t.Helper()
	terms := map[uint64]int64{} // by zxid
	for _, s := range c.servers {
		s.Transactions(t, func(zxid uint64, kind int32, content []byte) {
			stamp := termStamp.FindSubmatch(content)
			if kind == multi && bytes.Contains(content, []byte(c.root+"/go/term")) && stamp != nil {
				terms[zxid], _ = strconv.ParseInt(string(stamp[1]), 10, 64)
			}
		})
	}
	last := int64(0)
	order := make([]uint64, 0, len(terms))
	for zxid := range terms {
		order = append(order, zxid)
	}
	slices.Sort(order)
	for _, zxid := range order {
		if terms[zxid] < last {
			t.Errorf("transaction %x is of term %d, after one of term %d", zxid, terms[zxid], last)
		}
		last = max(last, terms[zxid])
	}
	return len(order)
}

// multi is the kind of ZooKeeper's transactions of several operations.
const multi = 14

// hasRefused reports whether ZooKeeper has refused a transaction of several operations.
func hasRefused(t *testing.T, s *zktest.Server) (refused bool) {
	t.Helper()
	s.Transactions(t, func(_ uint64, kind int32, content []byte) {
		// The number of operations, and the kind of the first, which is -1 for one without effect.
		refused = refused || kind == multi && len(content) > 8 && bytes.Equal(content[4:8], []byte{255, 255, 255, 255})
	})
	return refused
}
