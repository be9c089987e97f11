package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// haproxySession is the session timeout of the instances behind HAProxy.
const haproxySession = time.Second

// A clientLoad sends reads and writes through one address until it is stopped, and
// remembers what was answered.
type clientLoad struct {
	base   string
	client *http.Client
	stop   chan struct{}
	done   sync.WaitGroup

	mu       sync.Mutex
	requests int
	slowest  time.Duration
	made     map[string]bool // jobs by name: answered 2xx or not
	started  map[string]bool // run-nows by argument, the same
	failures []string
}

func startLoad(address string) *clientLoad {
	l := &clientLoad{
		base:   "http://" + address,
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
		stop:   make(chan struct{}),
		made:   map[string]bool{}, started: map[string]bool{},
	}
	for w := range 2 {
		l.every(20*time.Millisecond, func(n int) {
			name := fmt.Sprintf("job-%d-%d", w, n)
			ok := l.send("POST", "/scheduler/iso8601", jobBehindHAProxy(name))
			l.note(l.made, name, ok)
		})
		l.every(10*time.Millisecond, func(int) { l.send("GET", "/scheduler/jobs/summary", "") })
	}
	l.every(10*time.Millisecond, func(int) { l.send("GET", "/v1/scheduler/job/runner", "") })
	l.every(150*time.Millisecond, func(n int) {
		argument := fmt.Sprintf("run-%d", n)
		ok := l.send("PUT", "/scheduler/job/runner?arguments="+argument, "")
		l.note(l.started, argument, ok)
	})
	return l
}

func jobBehindHAProxy(name string) string {
	return fmt.Sprintf(`{"name":%q,"command":"echo %s","schedule":"R/2090-01-01T00:00:00Z/P1D","owner":"%s@example.com"}`, name, name, name)
}

// every calls do with 0, 1, ..., that pause between two calls.
func (l *clientLoad) every(pause time.Duration, do func(n int)) {
	l.done.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-l.stop:
				return
			case <-time.After(pause):
				do(n)
			}
		}
	})
}

func (l *clientLoad) note(answers map[string]bool, name string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	answers[name] = ok
}

// send reports whether the answer was 2xx.
func (l *clientLoad) send(method, path, body string) bool {
	req, err := http.NewRequest(method, l.base+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", typeJSON)
	start := time.Now()
	res, err := l.client.Do(req)
	failure := fmt.Sprint(err)
	if err == nil {
		var text []byte
		text, err = io.ReadAll(res.Body)
		res.Body.Close()
		failure = fmt.Sprintf("%s %q %v", res.Status, text[:min(len(text), 200)], err)
	}
	ok := err == nil && res.StatusCode/100 == 2
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	l.slowest = max(l.slowest, time.Since(start))
	if !ok {
		l.failures = append(l.failures, fmt.Sprintf("%s %s at %s after %v: %s", method, path, start.Format("05.000"), time.Since(start).Round(time.Millisecond), failure))
	}
	return ok
}

// failed returns the failures since the last call, and the slowest request.
func (l *clientLoad) failed() (failures []string, requests int, slowest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	failures, requests, slowest = l.failures, l.requests, l.slowest
	l.failures, l.requests, l.slowest = nil, 0, 0
	return failures, requests, slowest
}

// more waits until so many more requests have been answered, so that others are under way.
func (l *clientLoad) more(t *testing.T, requests int) {
	t.Helper()
	answered := func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.requests }
	enough := answered() + requests
	within(t, time.Minute, "the load goes on", func() bool { return answered() >= enough })
}

func (l *clientLoad) end() {
	close(l.stop)
	l.done.Wait()
}

// leaderAmong waits until the instances that live agree on a leader that answers, and returns it.
func leaderAmong(t *testing.T, instances []*victim) *victim {
	t.Helper()
	var leader *victim
	within(t, time.Minute, "the instances agree on a leader", func() bool {
		leader = nil
		for _, v := range instances {
			if v.cmd == nil {
				continue
			}
			status, text, err := v.call("GET", "/scheduler/leader", "")
			var answer struct{ Leader string }
			if err != nil || status != http.StatusOK || json.Unmarshal([]byte(text), &answer) != nil {
				return false
			}
			i := slices.IndexFunc(instances, func(v *victim) bool { return v.addr == answer.Leader && v.cmd != nil })
			if i < 0 || leader != nil && leader != instances[i] {
				return false
			}
			leader = instances[i]
		}
		return leader != nil
	})
	leader.serves(t)
	return leader
}

// Clients of the bundle's HAProxy see nothing of leaders that are stopped, and next to
// nothing of leaders that are killed.
func TestFailOversBehindHAProxy(t *testing.T) {
	hosts, root := zktest.Shared(t)
	binary := buildChronos(t)
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	var instances []*victim
	var addresses []string
	for i := range 3 {
		v := newVictim(t, binary, filepath.Join(dir, fmt.Sprintf("log-%d", i)), "--zk_hosts", hosts[0], "--zk_path", root,
			"--zk_timeout", fmt.Sprint(haproxySession.Milliseconds()), "--data_dir", filepath.Join(dir, "data"))
		v.start(t)
		t.Cleanup(func() {
			if text, err := os.ReadFile(v.log); t.Failed() && err == nil {
				t.Logf("%s logged at last: %s", v.addr, text[max(0, len(text)-6000):])
			}
		})
		instances, addresses = append(instances, v), append(addresses, v.addr)
	}
	leaderAmong(t, instances).mustCall(t, "POST", "/scheduler/iso8601",
		fmt.Sprintf(`{"name":"runner","command":"echo >>%s","schedule":"R/2090-01-01T00:00:00Z/P1D","concurrent":true,"cpus":0.01,"mem":1}`, ran), http.StatusNoContent)
	load := startLoad(startHAProxy(t, addresses...))

	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		load.failed()
		began := time.Now()
		for range 10 {
			leader := leaderAmong(t, instances)
			load.more(t, 100)
			if early, err := leader.end(signal); early || signal == syscall.SIGTERM && err != nil {
				t.Errorf("the leader ended by itself: %t, with %v, want status 0", early, err)
			}
			leaderAmong(t, instances)
			leader.start(t)
			leader.serves(t)
		}
		failures, requests, slowest := load.failed()
		t.Logf("10 leaders ended by %v in %v: %d requests, %d failed, slowest %v", signal, time.Since(began).Round(time.Second), requests, len(failures), slowest.Round(time.Millisecond))
		for _, f := range failures {
			if signal == syscall.SIGTERM {
				t.Error(f)
			} else {
				t.Log(f)
			}
		}
		// A request is in flight on the killed instance only once for each worker of the load.
		if signal == syscall.SIGKILL && len(failures) > 10*6 {
			t.Errorf("%d requests failed around 10 kills, want no more than were in flight", len(failures))
		}
	}
	load.end()
	checkJobsMade(t, leaderAmong(t, instances), load.made)
	checkRunsStarted(t, ran, load.started)
	checkRestoreThroughFollower(t, instances)
}

// checkRestoreThroughFollower makes a backup and restores it, by way of an instance that does not lead.
func checkRestoreThroughFollower(t *testing.T, instances []*victim) {
	t.Helper()
	leader := leaderAmong(t, instances)
	follower := instances[0]
	if follower == leader {
		follower = instances[1]
	}
	names := func() string { return follower.mustCall(t, "GET", "/scheduler/graph/csv", "", http.StatusOK) }
	before, saved := names(), follower.mustCall(t, "GET", "/v1/scheduler/backup", "", http.StatusOK)
	follower.mustCall(t, "POST", "/scheduler/iso8601", jobBehindHAProxy("later"), http.StatusNoContent)
	follower.mustCall(t, "POST", "/v1/scheduler/restore", saved, http.StatusConflict)
	start := time.Now()
	follower.mustCall(t, "POST", "/v1/scheduler/restore?replace=true", saved, http.StatusNoContent)
	if after := names(); after != before {
		t.Errorf("after the restore there are other jobs than before: %d bytes of them, want %d", len(after), len(before))
	}
	t.Logf("a backup of %d bytes was restored in %v", len(saved), time.Since(start).Round(time.Millisecond))
}

// checkJobsMade wants each job that was answered 2xx exactly once, and each other one wholly or not at all.
func checkJobsMade(t *testing.T, v *victim, made map[string]bool) {
	t.Helper()
	var jobs []struct{ Name, Command, Schedule, Owner string }
	if err := json.Unmarshal([]byte(v.mustCall(t, "GET", "/scheduler/jobs", "", http.StatusOK)), &jobs); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, j := range jobs {
		if j.Name == "runner" {
			continue
		}
		found[j.Name]++
		if j.Command != "echo "+j.Name || j.Schedule != "R/2090-01-01T00:00:00Z/P1D" || j.Owner != j.Name+"@example.com" {
			t.Errorf("job %+v is not as it was posted", j)
		}
	}
	answered, lost := 0, 0
	for name, ok := range made {
		switch {
		case ok:
			answered++
			if found[name] != 1 {
				t.Errorf("job %s was answered 2xx and is there %d times", name, found[name])
			}
		case found[name] > 1:
			t.Errorf("job %s is there %d times", name, found[name])
		default:
			lost++
		}
	}
	t.Logf("%d creates answered 2xx, each there once; %d not answered", answered, lost)
}

// checkRunsStarted wants each run that was answered 2xx to have run once, and no other twice.
func checkRunsStarted(t *testing.T, file string, started map[string]bool) {
	t.Helper()
	count := func() map[string]int {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for line := range strings.Lines(string(text)) {
			counts[strings.TrimSpace(line)]++
		}
		return counts
	}
	var counts map[string]int
	within(t, 60*time.Second, "every run that was answered 2xx has run", func() bool {
		counts = count()
		for argument, ok := range started {
			if ok && counts[argument] == 0 {
				return false
			}
		}
		return true
	})
	for _, argument := range slices.Sorted(maps.Keys(counts)) {
		if counts[argument] != 1 {
			t.Errorf("%s ran %d times", argument, counts[argument])
		}
	}
	t.Logf("%d runs asked for, %d ran, each once", len(started), len(counts))
}
