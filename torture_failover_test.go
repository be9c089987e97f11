package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// depose takes leadership from an instance that goes on, as an operator would: by deleting its latch node.
func (c *threesome) depose(t *testing.T) {
	t.Helper()
	c.observe(t, func(s *zkSession) error {
		names, err := latchNodes(s, tortureRoot+"/candidate", nil)
		if err != nil {
			return err
		}
		return s.Delete(tortureRoot+"/candidate/"+names[0], -1)
	})
}

// judgeMarks checks that every occurrence ran once or is recorded as missed.
func (c *threesome) judgeMarks(t *testing.T, end int64) {
	t.Helper()
	once := 0
	for _, k := range c.cadences {
		runs := map[int64]int{}
		for _, m := range c.marks.of(t, k.name) {
			if m.attempt == 0 {
				runs[m.due]++
			}
		}
		for _, d := range k.until(end) {
			hole, recorded := c.recorded.covering(k.name, d)
			if n := runs[d]; n > 1 || (n == 1) == recorded {
				t.Errorf("%s: occurrence %s ran %d times; recorded as not run: %t %v", k.name, isoInstant(d), n, recorded, hole)
			}
			once += runs[d]
		}
	}
	t.Logf("%d occurrences ran", once)
}

func TestLeaderThatIsTerminatedHandsOverWithinASecond(t *testing.T) {
	c := newThreesome(t, 10*time.Second) // a successor that waited for the session to expire would be late
	c.create(t, c.instances[0], 10, 2*time.Second, "")
	var took []time.Duration
	for range 3 {
		time.Sleep(1500 * time.Millisecond)
		leader, told := c.leader(t), time.Now()
		ended := make(chan error, 1)
		go func() {
			_, err := c.instances[leader].end(syscall.SIGTERM)
			ended <- err
		}()
		took = append(took, c.awaitAccession(t, told, leader).at.Sub(told))
		if err := <-ended; err != nil {
			t.Errorf("chronos ended with %v after SIGTERM, want status 0", err)
		}
		c.instances[leader].start(t)
		c.instances[leader].serves(t)
	}
	t.Logf("fail-overs after SIGTERM: %s", spread(took))
	if slices.Max(took) > time.Second {
		t.Errorf("a fail-over after SIGTERM took %s, want at most 1s", slices.Max(took))
	}
	end := c.stop(t, c.instances[0])
	c.settleDown(t, end)
	c.judgeMarks(t, end)
	c.judgeFollowers(t)
}

// A patientClient is one without tricks of its own: it sends each request once and takes no 5xx.
var patientClient = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}

func TestClientOfAFollowerSeesNoFailureWhileLeadersFall(t *testing.T) {
	c := newThreesome(t, tortureTimeout)
	follower := (c.leader(t) + 1) % 3
	for i := range 4 {
		c.createManual(t, c.instances[follower], fmt.Sprintf("manual%d", i))
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	requests := make([][]*request, 4)
	for n := range requests {
		clients.Go(func() {
			for i := 0; ; i++ {
				r := c.creation(fmt.Sprintf("once%d-%d", n, i))
				if i%2 == 1 {
					r = c.manualRun(fmt.Sprintf("manual%d", n), fmt.Sprintf("r%d", i))
				}
				start := time.Now()
				status, err := r.send(patientClient, c.instances[follower])
				r.took = time.Since(start)
				requests[n] = append(requests[n], r)
				if err != nil || status != 204 {
					t.Errorf("%s %s by a follower = %d, %v after %s, want 204", r.method, r.path, status, err, r.took)
				} else {
					r.acknowledged = true
				}
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	for range 6 {
		time.Sleep(time.Second)
		c.fell(t, follower)
	}
	time.Sleep(time.Second)
	close(stop)
	clients.Wait()
	time.Sleep(3 * time.Second)
	var took []time.Duration
	for _, r := range slices.Concat(requests...) {
		took = append(took, r.took)
	}
	c.judgeRequests(t, slices.Concat(requests...))
	t.Logf("terms %d; requests: %s", c.term(t), spread(took))
}

// fell ends the term of the leader: by a signal, or if that is the instance to be spared, by its latch node.
func (c *threesome) fell(t *testing.T, spared int) {
	leader, since := c.leader(t), time.Now()
	if leader == spared {
		c.depose(t)
		c.awaitAccession(t, since, leader)
		return
	}
	switch c.chance.IntN(3) {
	case 0:
		c.instances[leader].end(syscall.SIGKILL)
		c.awaitAccession(t, since, leader)
		c.instances[leader].start(t)
	case 1:
		c.instances[leader].end(syscall.SIGTERM)
		c.awaitAccession(t, since, leader)
		c.instances[leader].start(t)
	case 2:
		c.instances[leader].signal(syscall.SIGSTOP)
		c.awaitAccession(t, since, leader)
		c.instances[leader].signal(syscall.SIGCONT)
	}
}

func TestDeposedLeaderThatWakesUpLateNeitherWritesNorLaunches(t *testing.T) {
	c := newThreesome(t, tortureTimeout)
	c.create(t, c.instances[0], 10, 2*time.Second, "")
	var requests []*request
	var waiting sync.WaitGroup
	for n := range 3 {
		time.Sleep(time.Until(time.Now().Truncate(500 * time.Millisecond).Add(1500 * time.Millisecond))) // when jobs are due
		leader, since := c.leader(t), time.Now()
		c.instances[leader].signal(syscall.SIGSTOP)
		for i := range 5 { // what it finds to do when it wakes up
			r := c.creation(fmt.Sprintf("late%d-%d", n, i))
			requests = append(requests, r)
			waiting.Go(func() {
				if status, err := r.send(patientClient, c.instances[leader]); err != nil || status != 204 {
					t.Errorf("creation by the deposed leader = %d, %v, want 204 by its successor", status, err)
				}
				r.acknowledged = true
			})
		}
		c.awaitAccession(t, since, leader)
		time.Sleep(2 * time.Second)
		c.instances[leader].signal(syscall.SIGCONT)
		waiting.Wait()
	}
	end := c.stop(t, c.instances[0])
	c.settleDown(t, end)
	c.judgeMarks(t, end)
	c.judgeFollowers(t)
	c.judgeRequests(t, requests)
	t.Logf("terms %d, commits %d", c.term(t), c.checkTerms(t))
}

// TestDeposedLeaderIsFenced lets a leader go on that has not heard of its end: its session lives, what
// it sends arrives, and only the answers do not. Without the fence its changes would be stored.
func TestDeposedLeaderIsFenced(t *testing.T) {
	c := newThreesome(t, 20*time.Second)
	c.create(t, c.instances[0], 10, 2*time.Second, "")
	time.Sleep(4 * time.Second)
	deposed, since := c.leader(t), time.Now()
	c.links[deposed].Set(zktest.Deaf)
	c.depose(t)
	c.awaitAccession(t, since, deposed)
	var requests []*request
	var waiting sync.WaitGroup
	for i := range 5 {
		r := c.creation(fmt.Sprintf("fenced%d", i))
		requests = append(requests, r)
		waiting.Go(func() {
			if status, err := r.send(patientClient, c.instances[deposed]); err != nil || status != 204 {
				t.Errorf("creation by the deposed leader = %d, %v, want 204 by its successor", status, err)
			}
			r.acknowledged = true
		})
	}
	time.Sleep(2500 * time.Millisecond) // in which it sends them, and occurrences of its jobs are due
	c.observe(t, func(s *zkSession) error {
		names, _, err := s.Children(tortureRoot + "/state")
		if i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "J_fenced") }); i >= 0 {
			t.Errorf("the deposed leader has stored %s", names[i])
		}
		return err
	})
	c.links[deposed].Set(zktest.Open)
	waiting.Wait()
	end := c.stop(t, c.instances[0])
	c.settleDown(t, end)
	c.judgeMarks(t, end)
	c.judgeFollowers(t)
	c.judgeRequests(t, requests)
	fenced := slices.ContainsFunc(c.instances[deposed].logLines(t), func(l logLine) bool {
		err, _ := l.rest["error"].(string)
		return strings.Contains(err, errFenced.Error())
	})
	if !fenced {
		t.Errorf("the deposed leader's log does not tell of a commit refused by the fence")
	}
	t.Logf("terms %d, commits %d", c.term(t), c.checkTerms(t))
}

// TestForeignStateIsPickedUpRunAndRewritten puts nodes as 2.4, 2.5 and 3.0 leave them into a
// ZooKeeper and starts the program on them.
func TestForeignStateIsPickedUpRunAndRewritten(t *testing.T) {
	hosts, root := zktest.Shared(t)
	session := testSession(t, hosts)
	if err := session.mkdirAll(root + "/state"); err != nil {
		t.Fatal(err)
	}
	w := &workload{marks: marks(t.TempDir())}
	binary := buildChronos(t)
	due := time.Now().Add(4 * time.Second).Truncate(time.Second)
	resumed := due.Add(-10 * time.Second).UnixMilli()
	put := func(name string, data []byte) {
		t.Helper()
		if _, err := session.Create(root+"/state/"+name, data, 0, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatalf("put %s: %v", name, err)
		}
	}
	kept := map[string][]byte{}
	for _, version := range []string{"2.4", "2.5", "3.0", "odd"} {
		for name, data := range stateCorpus(t, version) {
			switch name {
			case "J_nightly", "J_backup.db", "J_report":
				data = w.revive(t, name, data, due)
			case "frameworkId":
				if version != "2.4" {
					continue
				}
			case "T_ct:1795399800000:0:nightly:":
				name = "T_" + runID(resumed, 0, "nightly", "")
				data = w.revive(t, name, data, due)
			}
			if version == "odd" && name != "J_other-order" || name == "J_grüße" {
				kept[name] = data
			}
			put(name, data)
		}
	}
	data := t.TempDir()
	v := newVictim(t, binary, t.ArtifactDir()+"/log", "--master", "local", "--zk_hosts", strings.Join(hosts, ","), "--zk_path", root, "--data_dir", data)
	v.start(t)
	v.serves(t)
	for _, job := range []struct {
		name     string
		instants []int64
		period   string
	}{
		{"nightly", []int64{resumed, due.UnixMilli()}, "P1D"},
		{"backup.db", []int64{due.UnixMilli()}, "PT6H"},
		{"report", []int64{due.UnixMilli()}, "P1W"},
	} {
		w.awaitRuns(t, job.name, job.instants)
		awaitRewritten(t, session, root, job.name, 3+len(job.instants), job.period)
	}
	for name, want := range kept {
		if data, _, err := session.Get(root + "/state/" + name); err != nil || name != "J_grüße" && string(data) != string(want) {
			t.Errorf("node %s = %q, %v after a run of the program, want %q", name, data, err, want)
		}
	}
	// The term is known where the runs are, which keeps one before it from disturbing.
	if _, err := subscribe(data, termBeforeLast(t, data)); !errors.Is(err, errSuperseded) {
		t.Errorf("a subscription of the term before = %v, want %v", err, errSuperseded)
	}
	if text := v.mustCall(t, "GET", "/scheduler/problems", "", 200); !strings.Contains(text, "J_not-json") || !strings.Contains(text, "J_cut-short") {
		t.Errorf("problems = %s, want J_not-json and J_cut-short among them", text)
	}
}

// termBeforeLast returns the term before the one that has subscribed to a data directory.
func termBeforeLast(t *testing.T, data string) termID {
	t.Helper()
	f, err := os.Open(filepath.Join(data, "subscription"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	last, err := readSubscribed(f)
	if err != nil {
		t.Fatal(err)
	}
	return termID{last.term.counter, last.term.number - 1}
}

// revive has a stored job run at an instant and write that down, and gives it a field that no version knows.
func (w *workload) revive(t *testing.T, name string, data []byte, due time.Time) []byte {
	t.Helper()
	e, err := decodeVariable(data)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, m := range value(e.value).object() {
		switch m.key {
		case "schedule":
			repeat, rest, _ := strings.Cut(m.value.text(), "/")
			_, period, _ := strings.Cut(rest, "/")
			m.value = value(strconv.Quote(repeat + "/" + isoInstant(due.UnixMilli()) + "/" + period))
		case "scheduleTimeZone":
			m.value = `"UTC"`
		case "command":
			m.value = value(strconv.Quote(w.marks.command(value(e.value).object().get("name").text())))
		case "fetch", "constraints":
			m.value = "[]"
		}
		fmt.Fprintf(&out, "%q:%s,", m.key, m.value)
	}
	return encodeVariable(name, newUUID(), []byte("{"+out.String()+inventedLater+"}"))
}

// inventedLater is a field of jobs that no version knows.
const inventedLater = `"inventedLater":{"a":[1,2.50,null]}`

// awaitRuns waits until a job has run once for each instant.
func (w *workload) awaitRuns(t *testing.T, job string, instants []int64) {
	t.Helper()
	var dues []int64
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && len(dues) < len(instants); time.Sleep(50 * time.Millisecond) {
		dues = nil
		for _, m := range w.marks.of(t, job) {
			dues = append(dues, m.due)
		}
	}
	if slices.Sort(dues); !slices.Equal(dues, instants) {
		t.Errorf("%s ran for %v, want %v", job, dues, instants)
	}
}

// awaitRewritten waits for what a success leaves in a stored job, and checks what must be left alone.
func awaitRewritten(t *testing.T, session *zkSession, root, name string, successes int, period string) {
	t.Helper()
	var doc object
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		data, _, err := session.Get(root + "/state/J_" + name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := decodeVariable(data)
		if err != nil || e.name != "J_"+name || len(e.uuid) != 16 {
			t.Fatalf("entry of %s = %+v, %v", name, e, err)
		}
		if doc = value(e.value).object(); doc.get("successCount").text() == strconv.Itoa(successes) {
			break
		}
	}
	for key, want := range map[string]string{"successCount": strconv.Itoa(successes), "errorCount": "1", "owner": "ops@example.com", "inventedLater": `{"a":[1,2.50,null]}`} {
		if got := strings.Trim(string(doc.get(key)), `"`); got != want {
			t.Errorf("stored %s of %s = %s, want %s", key, name, got, want)
		}
	}
	if schedule := doc.get("schedule").text(); !strings.HasSuffix(schedule, "/"+period) || schedule <= "R/"+time.Now().UTC().Format("2006-01-02T15:04") {
		t.Errorf("stored schedule of %s = %s, want it to have moved on by %s", name, schedule, period)
	}
}

// TestLeaderCutOffFromAFollowerServesTheOthers shows that a link between two instances is all that
// joins them: over a link that is cut or silent a follower gets nothing done, while the other
// follower does, and when it opens all that was held is done, once.
func TestLeaderCutOffFromAFollowerServesTheOthers(t *testing.T) {
	c := newThreesome(t, tortureTimeout)
	leader := c.leader(t)
	cut, other := (leader+1)%3, (leader+2)%3
	var requests []*request
	for n, state := range []zktest.State{zktest.Cut, zktest.Silent} {
		c.peers.Between(cut, leader).Set(state)
		held, direct := c.creation(fmt.Sprintf("held%d", n)), c.creation(fmt.Sprintf("direct%d", n))
		requests = append(requests, held, direct)
		answered := make(chan string, 1)
		go func() {
			status, err := held.send(patientClient, c.instances[cut])
			answered <- fmt.Sprint(status, err)
		}()
		if status, err := direct.send(patientClient, c.instances[other]); err != nil || status != 204 {
			t.Errorf("creation by the follower with a link = %d, %v, want 204", status, err)
		}
		select {
		case answer := <-answered:
			t.Errorf("creation by the follower without a link = %s, want none", answer)
		case <-time.After(2 * time.Second):
		}
		c.peers.Between(cut, leader).Set(zktest.Open)
		if answer := <-answered; answer != "204 <nil>" {
			t.Errorf("creation by the follower that has its link again = %s, want 204", answer)
		}
		held.acknowledged, direct.acknowledged = true, true
	}
	time.Sleep(2 * time.Second)
	c.judgeRequests(t, requests)
}
