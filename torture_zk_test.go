package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
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
	tortureRoot    = "/torture/state" // --zk_path
	tortureTimeout = time.Second      // --zk_timeout
	// tortureSpan is how long nothing new must happen for an occurrence to have no excuse.
	tortureSpan = tortureTimeout + zktest.Tick + 2*time.Second
)

// A threesome is three instances of the real binary with the local cluster on one data directory,
// and a ZooKeeper of three servers. Any two of the six have links of their own between them.
type threesome struct {
	chance    *rand.Rand
	servers   []*zktest.Server
	links     []zktest.Links // from an instance to each server
	quorum    zktest.Mesh    // of the servers
	peers     zktest.Mesh    // of the instances
	instances []*victim
	hosts     []string // of the servers, without a link between
	observer  *zkSession
	*workload
}

func newThreesome(t *testing.T, timeout time.Duration, args ...string) *threesome {
	t.Helper()
	dir := t.TempDir()
	c := &threesome{chance: tortureRand(t), workload: &workload{marks: marks(filepath.Join(dir, "marks")), recorded: histories{}}}
	c.servers, c.quorum = zktest.StartLinkedEnsemble(t, 3)
	if err := os.Mkdir(string(c.marks), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.servers {
		c.hosts = append(c.hosts, s.Addr)
	}
	binary := buildChronos(t)
	for i := range 3 {
		var all zktest.Links
		var hosts []string
		for _, s := range c.servers {
			k := zktest.LinkTo(s.Addr).Listen(t)
			all, hosts = append(all, k), append(hosts, k.Addr)
		}
		c.chance.Shuffle(len(hosts), func(a, b int) { hosts[a], hosts[b] = hosts[b], hosts[a] })
		c.links = append(c.links, all)
		v := newVictim(t, binary, filepath.Join(t.ArtifactDir(), fmt.Sprintf("log%d", i)), append([]string{
			"--master", "local", "--zk_hosts", strings.Join(hosts, ","), "--zk_path", tortureRoot, "--zk_timeout", strconv.FormatInt(timeout.Milliseconds(), 10),
			"--data_dir", filepath.Join(dir, "data"), "--failure_retry", "200", "--job_history_keep", "500",
		}, args...)...)
		c.instances = append(c.instances, v)
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
func (c *threesome) observe(t *testing.T, ask func(*zkSession) error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c.observer == nil {
			ctx, cancel := context.WithDeadline(t.Context(), deadline)
			c.observer, err = dialZK(ctx, c.hosts, 10*time.Second, "", slog.New(slog.DiscardHandler))
			if err != nil {
				cancel()
				c.observer = nil
				continue
			}
			t.Cleanup(cancel)
		}
		if err = ask(c.observer); err == nil {
			return
		}
		if !errors.Is(err, zk.ErrNoNode) {
			c.observer.close()
			c.observer = nil
		}
	}
	t.Fatalf("ask ZooKeeper: %v", err)
}

// leader returns the number of the instance that leads.
func (c *threesome) leader(t *testing.T) (leader int) {
	t.Helper()
	c.observe(t, func(s *zkSession) error {
		// A server cut off from the others would tell what was.
		if _, err := s.Sync(tortureRoot); err != nil {
			return err
		}
		names, err := latchNodes(s, tortureRoot+"/candidate", nil)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return zk.ErrNoNode
		}
		id, _, err := s.Get(tortureRoot + "/candidate/" + names[0])
		leader = slices.IndexFunc(c.instances, func(v *victim) bool { return v.id == string(id) })
		return err
	})
	return leader
}

// term returns the number of terms so far.
func (c *threesome) term(t *testing.T) (n int64) {
	t.Helper()
	c.observe(t, func(s *zkSession) error {
		data, _, err := s.Get(tortureRoot + "/go/term")
		if err == nil {
			n, err = strconv.ParseInt(string(termStamp.FindSubmatch(data)[1]), 10, 64)
		}
		return err
	})
	return n
}

var termStamp = regexp.MustCompile(`\{"term":(\d+)`)

// accessions lists, from the logs, when each leader began to schedule.
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

// An accession is the moment at which a new leader, having loaded the state, is in touch with the cluster.
type accession struct {
	at       time.Time
	instance int
}

// awaitAccession waits until another instance than old has subscribed since then.
func (c *threesome) awaitAccession(t *testing.T, since time.Time, old int) accession {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, s := range c.accessions(t) {
			if s.at.After(since) && s.instance != old {
				return s
			}
		}
	}
	t.Fatalf("no other instance than %d leads 60 s after %s", old, since)
	return accession{}
}

// readHistories reads what is recorded of the cadences.
func (c *threesome) readHistories(t *testing.T) {
	t.Helper()
	for _, k := range c.cadences {
		c.observe(t, func(s *zkSession) error {
			value, _, err := s.Get(tortureRoot + "/go/history/" + recordName(k.name))
			if err == nil {
				c.recorded.add(t, k.name, value)
			}
			if errors.Is(err, zk.ErrNoNode) {
				return nil
			}
			return err
		})
	}
}

// settleDown waits until every occurrence before end is accounted for.
func (c *threesome) settleDown(t *testing.T, end int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		c.readHistories(t)
		if c.open(t, end) == 0 {
			break
		}
	}
	time.Sleep(2 * time.Second) // for what might run twice
	c.readHistories(t)
}

// checkTerms reads the transaction logs of the servers: every commit stamps its term, and in
// ZooKeeper's own order of transactions the terms never decrease.
func (c *threesome) checkTerms(t *testing.T) (stamps int) {
	t.Helper()
	terms := map[uint64]int64{} // by zxid
	for _, s := range c.servers {
		s.Transactions(t, func(zxid uint64, kind int32, content []byte) {
			stamp := termStamp.FindSubmatch(content)
			if kind == 14 && bytes.Contains(content, []byte(tortureRoot+"/go/term")) && stamp != nil {
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

// A request is a change that a client insists on: it sends it under one request id, to any
// instance, until it is acknowledged.
type request struct {
	id           string // to send; "" to have the first instance give it one
	method, path string
	body         string
	job          string // whose run it causes
	arguments    string // of that run
	acknowledged bool
	attempts     int
	took         time.Duration
}

var impatient = &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// send sends a request to one instance.
func (r *request) send(client *http.Client, v *victim) (status int, err error) {
	req, err := http.NewRequest(r.method, "http://"+v.addr+r.path, strings.NewReader(r.body))
	if err != nil {
		return 0, err
	}
	if r.body != "" {
		req.Header.Set("Content-Type", typeJSON)
	}
	if r.id != "" {
		req.Header.Set(requestIDHeader, r.id)
	}
	r.attempts++
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

// creation and start are requests that cause one run each.
func (w *workload) creation(name string) *request {
	return &request{method: "POST", path: "/scheduler/iso8601", job: name, body: jobDocument(name, w.marks.command(name), `"schedule":"R1//PT1S"`)}
}

func (w *workload) manualRun(job, arguments string) *request {
	return &request{method: "PUT", path: "/scheduler/job/" + job + "?arguments=" + arguments, job: job, arguments: arguments}
}

// createManual makes a job that runs only when it is asked to, with arguments that only its id shows.
func (w *workload) createManual(t *testing.T, v *victim, name string) {
	t.Helper()
	v.mustCall(t, "POST", "/scheduler/iso8601", jobDocument(name, w.marks.command(name)+"; :", `"schedule":"R1/2100-01-01T00:00:00.000Z/PT1H"`), 204)
}

// runs counts the runs that a request has caused.
func (w *workload) runs(t *testing.T, r *request) (n int) {
	t.Helper()
	for _, m := range w.marks.of(t, r.job) {
		if strings.HasSuffix(m.id, ":"+r.arguments) {
			n++
		}
	}
	return n
}

// judgeRequests checks that each acknowledged request has caused one run, and no other more than one.
func (w *workload) judgeRequests(t *testing.T, requests []*request) {
	t.Helper()
	for _, r := range requests {
		if n := w.runs(t, r); n > 1 || r.acknowledged && n == 0 {
			t.Errorf("%s %s for %s, sent %d times, acknowledged %t, caused %d runs", r.method, r.path, r.job, r.attempts, r.acknowledged, n)
		}
	}
}

// insist sends requests, one after the other, to instances in turn until stop is closed.
func (c *threesome) insist(stop <-chan struct{}, manual []string, chance *rand.Rand) (requests []*request) {
	for i := 0; ; i++ {
		r := c.creation(fmt.Sprintf("once%05d", i))
		if i%2 == 1 {
			r = c.manualRun(manual[i/2%len(manual)], fmt.Sprintf("r%d", i))
		}
		r.id = r.job + "-" + r.arguments
		requests = append(requests, r)
		start := time.Now()
		for n := chance.IntN(len(c.instances)); !r.acknowledged; n++ {
			status, err := r.send(impatient, c.instances[n%len(c.instances)])
			r.acknowledged = err == nil && status == 204
			if !r.acknowledged && time.Since(start) > time.Minute {
				break
			}
			select {
			case <-stop:
				return requests
			case <-time.After(time.Duration(chance.Int64N(int64(100 * time.Millisecond)))):
			}
		}
		r.took = time.Since(start)
	}
}
