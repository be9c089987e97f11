package e2e

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
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
	until(t, "the load goes on", func() bool { return answered() >= enough })
}

func (l *clientLoad) end() {
	close(l.stop)
	l.done.Wait()
}

// leaderAmong waits until instances agree on a leader that answers, and returns it.
func leaderAmong(t *testing.T, instances []*instance) (leader *instance) {
	t.Helper()
	until(t, "the instances agree on a leader", func() bool {
		leader = nil
		for _, v := range instances {
			var answer struct{ Leader string }
			if !v.get("/scheduler/leader", &answer) {
				return false
			}
			i := slices.IndexFunc(instances, func(v *instance) bool { return v.addr == answer.Leader })
			if i < 0 || leader != nil && leader != instances[i] {
				return false
			}
			leader = instances[i]
		}
		return true
	})
	leader.serves(t)
	return leader
}

// others returns all instances but one.
func others(instances []*instance, but *instance) []*instance {
	return slices.DeleteFunc(slices.Clone(instances), func(v *instance) bool { return v == but })
}

// Clients of the bundle's HAProxy see nothing of leaders that are stopped, and next to
// nothing of leaders that are killed.
func TestFailOversBehindHAProxy(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	var instances []*instance
	var addresses []string
	for i := range 3 {
		v := newInstance(t, fmt.Sprintf("log%d", i), "--zk_hosts", hosts[0], "--zk_path", root,
			"--zk_timeout", fmt.Sprint(haproxySession.Milliseconds()), "--data_dir", filepath.Join(dir, "data"))
		v.start(t)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s logged at last: %s", v.addr, v.lastLog())
			}
		})
		instances, addresses = append(instances, v), append(addresses, v.addr)
	}
	leaderAmong(t, instances).mustCall(t, "POST", "/scheduler/iso8601",
		fmt.Sprintf(`{"name":"runner","command":"echo >>%s","schedule":"R/2090-01-01T00:00:00Z/P1D","concurrent":true,"cpus":0.01,"mem":1}`, ran), http.StatusNoContent)
	load := startLoad(startHAProxy(t, addresses...))
	ends := 4
	if *longTorture {
		ends = 10
	}

	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		load.failed()
		began := time.Now()
		for range ends {
			leader := leaderAmong(t, instances)
			load.more(t, 100)
			if early, err := leader.end(signal); early || signal == syscall.SIGTERM && err != nil {
				t.Errorf("the leader ended by itself: %t, with %v, want status 0", early, err)
			}
			leaderAmong(t, others(instances, leader))
			leader.start(t)
			leader.serves(t)
		}
		failures, requests, slowest := load.failed()
		t.Logf("%d leaders ended by %v in %v: %d requests, %d failed, slowest %v", ends, signal, time.Since(began).Round(time.Second), requests, len(failures), slowest.Round(time.Millisecond))
		for _, f := range failures {
			if signal == syscall.SIGTERM {
				t.Error(f)
			} else {
				t.Log(f)
			}
		}
		// A request is in flight on the killed instance only once for each worker of the load.
		if signal == syscall.SIGKILL && len(failures) > ends*6 {
			t.Errorf("%d requests failed around %d kills, want no more than were in flight", len(failures), ends)
		}
	}
	load.end()
	checkJobsMade(t, leaderAmong(t, instances), load.made)
	checkRunsStarted(t, ran, load.started)
	checkRestoreThroughFollower(t, instances)
}

// checkRestoreThroughFollower makes a backup and restores it, by way of an instance that does not lead.
func checkRestoreThroughFollower(t *testing.T, instances []*instance) {
	t.Helper()
	leader := leaderAmong(t, instances)
	follower := others(instances, leader)[0]
	jobs := func() string {
		follower.until(t, "no run is open, which would show", follower.isIdle)
		return follower.mustCall(t, "GET", "/scheduler/graph/csv", "", http.StatusOK)
	}
	before, saved := jobs(), follower.mustCall(t, "GET", "/v1/scheduler/backup", "", http.StatusOK)
	follower.mustCall(t, "POST", "/scheduler/iso8601", jobBehindHAProxy("later"), http.StatusNoContent)
	follower.mustCall(t, "POST", "/v1/scheduler/restore", saved, http.StatusConflict)
	start := time.Now()
	follower.mustCall(t, "POST", "/v1/scheduler/restore?replace=true", saved, http.StatusNoContent)
	if after := jobs(); after != before {
		t.Errorf("after the restore there are other jobs than before: %d bytes of them, want %d", len(after), len(before))
	}
	t.Logf("a backup of %d bytes was restored in %v", len(saved), time.Since(start).Round(time.Millisecond))
}

// checkJobsMade wants each job that was answered 2xx exactly once, and each other one wholly or not at all.
func checkJobsMade(t *testing.T, v *instance, made map[string]bool) {
	t.Helper()
	var jobs []struct{ Name, Command, Schedule, Owner string }
	v.mustGet(t, "/scheduler/jobs", &jobs)
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
	until(t, "every run that was answered 2xx has run", func() bool {
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

// haproxyPath finds the program of Debian's package, which is not on every user's path.
func haproxyPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/haproxy")
	}
	if err != nil {
		t.Fatalf("%v: install it with: apt-get install haproxy", err)
	}
	return path
}

func TestHAProxyConfiguration(t *testing.T) {
	out, err := exec.Command(haproxyPath(t), "-c", "-f", filepath.Join(bundle, "haproxy.cfg")).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("[WARNING]")) {
		t.Errorf("haproxy -c: %v\n%s", err, out)
	}
	config := string(bundleFile(t, "haproxy.cfg"))
	for _, want := range []string{"bind :" + strconv.Itoa(servicePort), "option httpchk GET /ping", ":" + strconv.Itoa(defaultPort) + " check inter 2s fall 2 rise 1"} {
		if !strings.Contains(config, want) {
			t.Errorf("haproxy.cfg lacks %q", want)
		}
	}
}

// startHAProxy runs the bundle's file with these servers, and returns its address.
func startHAProxy(t *testing.T, servers ...string) string {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	config := strings.Replace(string(bundleFile(t, "haproxy.cfg")), "bind :"+strconv.Itoa(servicePort), "bind fd@3", 1)
	config, last, _ := strings.Cut(config, "    server chronos-1 ")
	_, options, _ := strings.Cut(strings.SplitN(last, "\n", 2)[0], " ")
	for i, server := range servers {
		config += fmt.Sprintf("    server chronos-%d %s %s\n", i+1, server, options)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(haproxyPath(t), "-db", "-f", file)
	cmd.ExtraFiles = []*os.File{socket} // connections wait in it until HAProxy is up
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy: %s", &out)
		}
	})
	return listener.Addr().String()
}

// A write that reached an instance which died before it answered is sent to the other one
// under the same name, by which Chronos knows it.
func TestHAProxyRepeatsWritesUnderOneName(t *testing.T) {
	type arrival struct{ server, id, forwarded string }
	var mu sync.Mutex
	var arrivals []arrival
	var servers [2]string
	for i := range servers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ping" {
				io.WriteString(w, "pong\n")
				return
			}
			mu.Lock()
			arrivals = append(arrivals, arrival{servers[i], r.Header.Get(requestIDHeader), r.Header.Get("X-Forwarded-For")})
			first := len(arrivals) == 1
			mu.Unlock()
			if !first {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				conn.Close()
			}
		}))
		t.Cleanup(server.Close)
		servers[i] = server.Listener.Addr().String()
	}
	address := startHAProxy(t, servers[:]...)

	res, err := http.Post("http://"+address+"/scheduler/iso8601", "application/json", strings.NewReader(`{"name":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	mu.Lock()
	defer mu.Unlock()
	if res.StatusCode != http.StatusNoContent || len(arrivals) != 2 {
		t.Fatalf("POST = %d after %d arrivals, want 204 after 2", res.StatusCode, len(arrivals))
	}
	if a, b := arrivals[0], arrivals[1]; a.server == b.server || a.id != b.id || len(a.id) < 16 || a.forwarded != "127.0.0.1" {
		t.Errorf("arrivals %+v, want two servers and one name", arrivals)
	}
}
