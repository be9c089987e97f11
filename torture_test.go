package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
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

// The torture tests run the real binary, break it at random moments, and count from
// files that the jobs themselves have written what became of every occurrence.
//
//	go test -run 'Torture' -torture -seed 7 -timeout 3h -v
//
// runs their long form; with -artifacts the logs of all processes are kept. Faults and delays follow from the seed; the machine adds its own chance.
var (
	longTorture = flag.Bool("torture", false, "run the torture tests in their long form")
	tortureSeed = flag.Uint64("seed", 0, "seed of the torture tests; 0 takes one from the clock")
)

// tortureRand returns the test's source of chance and prints its seed.
func tortureRand(t *testing.T) *rand.Rand {
	seed := *tortureSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t.Logf("seed %d (repeat with -seed %d)", seed, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// buildChronos builds the program as it is shipped, once for all tests.
func buildChronos(t testing.TB) string {
	t.Helper()
	binary, err := builtChronos()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// buildDir is where the tests build programs; TestMain removes it.
var buildDir = filepath.Join(os.TempDir(), "chronos-test-"+strconv.Itoa(os.Getpid()))

var builtChronos = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(buildDir, "chronos")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

// A victim is an instance that is started and killed at will. What its processes
// log goes into one file.
type victim struct {
	binary string
	args   []string
	addr   string // host:port of its HTTP
	id     string // what it tells the others, and the latch: the same, or where a link to it begins
	log    string
	cmd    *exec.Cmd
	ended  chan error
}

func newVictim(t *testing.T, binary, log string, args ...string) *victim {
	port := strconv.Itoa(zktest.FreePort())
	v := &victim{binary: binary, addr: "127.0.0.1:" + port, id: "127.0.0.1:" + port, log: log}
	v.args = append([]string{"--http_port", port, "--http_address", "127.0.0.1", "--hostname", "127.0.0.1", "--log_format", "json"}, args...)
	t.Cleanup(v.kill)
	return v
}

func splitAddress(address string) (host string, port int) {
	host, p, _ := net.SplitHostPort(address)
	port, _ = strconv.Atoi(p)
	return host, port
}

// advertise has the other instances reach this one at another address.
func (v *victim) advertise(addr string) {
	_, port := splitAddress(addr)
	v.id, v.args = addr, append(v.args, "--advertise_port", strconv.Itoa(port))
}

// start starts the process and does not wait for it to serve.
func (v *victim) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(v.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	v.cmd = exec.Command(v.binary, v.args...)
	v.cmd.Stdout, v.cmd.Stderr = log, log
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	v.ended = ended
	cmd := v.cmd
	go func() { ended <- cmd.Wait() }()
}

// kill is kill -9. It reports the exit of a process that has ended by itself before.
func (v *victim) kill() { v.end(syscall.SIGKILL) }

func (v *victim) end(sig syscall.Signal) (early bool, err error) {
	if v.cmd == nil {
		return false, nil
	}
	select {
	case err = <-v.ended:
		early = true
	default:
		v.cmd.Process.Signal(sig)
		v.cmd.Process.Signal(syscall.SIGCONT)
		err = <-v.ended
	}
	v.cmd = nil
	return early, err
}

func (v *victim) signal(sig syscall.Signal) { v.cmd.Process.Signal(sig) }

// tortureClient has its own connections, none of which outlives its request: a
// killed server must not be asked over an old one.
var tortureClient = &http.Client{
	Timeout:   60 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// call sends one request and returns the status, 0 with an error if there was no answer.
func (v *victim) call(method, path, body string) (int, string, error) {
	req, err := http.NewRequest(method, "http://"+v.addr+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", typeJSON)
	}
	res, err := tortureClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// mustCall is call where only one status will do.
func (v *victim) mustCall(t *testing.T, method, path, body string, want int) string {
	t.Helper()
	status, text, err := v.call(method, path, body)
	if err != nil || status != want {
		t.Fatalf("%s %s = %d %q, %v, want %d", method, path, status, text, err, want)
	}
	return text
}

// serves waits until the instance answers as the leader, or through it.
func (v *victim) serves(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if status, _, err := v.call("GET", "/scheduler/jobs/summary", ""); err == nil && status == http.StatusOK {
			return
		}
	}
	log, _ := os.ReadFile(v.log)
	t.Fatalf("chronos at %s does not serve after 60 s; its log ends: %s", v.addr, log[max(0, len(log)-4000):])
}

// A logLine is a line of a victim's log.
type logLine struct {
	at   time.Time
	msg  string
	rest map[string]any
}

func (v *victim) logLines(t *testing.T) []logLine {
	t.Helper()
	f, err := os.Open(v.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []logLine
	for s := bufio.NewScanner(f); s.Scan(); {
		l := logLine{rest: map[string]any{}}
		if json.Unmarshal(s.Bytes(), &l.rest) != nil {
			continue // a panic, or a line that a kill has cut
		}
		at, _ := l.rest["time"].(string)
		l.at, _ = time.Parse(time.RFC3339Nano, at)
		l.msg, _ = l.rest["msg"].(string)
		lines = append(lines, l)
	}
	return lines
}

// complaints are the lines of the log that tell of an error of our own, and what is not JSON: panics.
func (v *victim) complaints(t *testing.T, expected ...string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(v.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var l struct{ Level, Msg string }
		err := json.Unmarshal(line, &l)
		if err == nil && (l.Level != "ERROR" || slices.Contains(expected, l.Msg)) {
			continue
		}
		if len(out) == 20 {
			return append(out, "...")
		}
		out = append(out, strings.TrimSpace(string(line)))
	}
	return out
}

// A mark is a line that a run has written: the id, due and attempt it was given.
type mark struct {
	id      string
	due     int64
	attempt int
}

// marks is a directory with one file per job.
type marks string

// command is the shell command that writes a mark. It writes the line with one call,
// so that lines of several runs do not mix.
func (m marks) command(job string) string {
	return fmt.Sprintf(`echo "$mesos_task_id" "$CHRONOS_JOB_RUN_TIME" "$CHRONOS_JOB_RUN_ATTEMPT" >> %s`, filepath.Join(string(m), job))
}

// of returns the marks of a job.
func (m marks) of(t *testing.T, job string) (out []mark) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(string(m), job))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("file of job %s has a line %q", job, line)
		}
		k := mark{id: f[0]}
		var errs [2]error
		k.due, errs[0] = strconv.ParseInt(f[1], 10, 64)
		k.attempt, errs[1] = strconv.Atoi(f[2])
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatalf("file of job %s has a line %q: %v", job, line, err)
		}
		out = append(out, k)
	}
	return out
}

// jobDocument is the document of a job to post. fields are JSON without braces.
func jobDocument(name, command, fields string) string {
	return fmt.Sprintf(`{"name":%q,"command":%q,"cpus":0.01,"mem":1,"disk":1,"owner":"torture@example.com",%s}`, name, command, fields)
}

func isoInstant(ms int64) string { return msTime(ms).Format("2006-01-02T15:04:05.000Z") }

// A cadence is a scheduled job with a fixed period, and what must become of each occurrence.
type cadence struct {
	name   string
	start  int64 // ms, of the first occurrence
	period int64
}

func (s cadence) schedule() string {
	return fmt.Sprintf(`"schedule":"R/%s/PT%gS"`, isoInstant(s.start), float64(s.period)/1000)
}

// until lists the occurrences before an instant.
func (s cadence) until(ms int64) (dues []int64) {
	for due := s.start; due < ms; due += s.period {
		dues = append(dues, due)
	}
	return dues
}

// A gap is a span of occurrences that the program says it has not run.
type gap struct {
	state       runState
	from, to    int64
	recorded    int64
	description string
}

// histories gathers, from the stored histories of jobs, which occurrences are recorded as not run.
type histories map[string]map[string]gap // by job, by id and state

func (h histories) add(t *testing.T, job string, value []byte) {
	t.Helper()
	var runs []*Run
	if err := json.Unmarshal(value, &runs); err != nil {
		t.Fatalf("history of %s: %v", job, err)
	}
	for _, r := range runs {
		if r.State != runMissed && r.State != runSkipped || r.Kind != kindScheduled {
			continue
		}
		m := gap{state: r.State, from: r.Due, to: r.Due, recorded: r.Ended, description: r.Reason}
		if r.From != 0 {
			m.from = r.From
		}
		if h[job] == nil {
			h[job] = map[string]gap{}
		}
		h[job][string(r.State)+r.ID] = m
	}
}

// covering returns what is recorded for an occurrence.
func (h histories) covering(job string, due int64) (gap, bool) {
	for _, m := range h[job] {
		if m.from <= due && due <= m.to {
			return m, true
		}
	}
	return gap{}, false
}

// rank returns the value below which the given part of sorted values lies.
func rank[T any](sorted []T, part float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

// spread words the distribution of durations.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	s := slices.Clone(times)
	slices.Sort(s)
	ms := func(part float64) string { return rank(s, part).Round(time.Millisecond).String() }
	return fmt.Sprintf("%d, min %s, median %s, p90 %s, p99 %s, max %s", len(s), ms(0), ms(.5), ms(.9), ms(.99), ms(1))
}

// A workload is jobs that write down their runs, and what is known of them besides.
type workload struct {
	marks    marks
	cadences []cadence
	children []string // run once after every run of the job of the same number
	flaky    []string // fail at first, and then succeed
	onces    []once
	fields   string // more of every scheduled job's document
	recorded histories
}

// A once is a job that runs once, created while the instance is being killed.
type once struct {
	name         string
	acknowledged bool
}

// create makes the cadences, all due at a few instants of their period, so that commits come
// in bursts, and beside them dependent jobs and jobs with retries.
func (w *workload) create(t *testing.T, v *victim, jobs int, period time.Duration, fields string) {
	t.Helper()
	w.fields = fields
	base := time.Now().Add(3 * time.Second).Truncate(time.Second).UnixMilli()
	groups := int64(max(1, period/(500*time.Millisecond)))
	for i := range jobs {
		start := base + int64(i)%groups*500
		w.cadences = append(w.cadences, cadence{name: fmt.Sprintf("job%03d", i), start: start, period: period.Milliseconds()})
		if i < max(1, jobs/10) {
			w.children = append(w.children, fmt.Sprintf("child%03d", i))
			flaky := cadence{name: fmt.Sprintf("flaky%03d", i), start: start, period: max(period, 5*time.Second).Milliseconds()}
			w.cadences, w.flaky = append(w.cadences, flaky), append(w.flaky, flaky.name)
		}
	}
	w.post(t, v, func(c cadence) string { return c.schedule() })
	for i, child := range w.children {
		v.mustCall(t, "POST", "/scheduler/dependency", jobDocument(child, w.marks.command(child), fmt.Sprintf(`"parents":[%q]`, w.parent(i).name)), 204)
	}
	if late := time.Since(time.UnixMilli(base)); late > 0 {
		t.Logf("the first jobs were created up to %s after their start", late)
	}
}

// parent returns the job that the child of a number depends on.
func (w *workload) parent(i int) cadence { return w.cadences[2*i] }

// post posts all cadences with the schedules given.
func (w *workload) post(t *testing.T, v *victim, schedule func(cadence) string) {
	t.Helper()
	var posting sync.WaitGroup
	todo := make(chan cadence)
	for range 8 {
		posting.Go(func() {
			for c := range todo {
				command := w.marks.command(c.name)
				if slices.Contains(w.flaky, c.name) {
					command += `; [ "$CHRONOS_JOB_RUN_ATTEMPT" -gt 0 ]`
				}
				document := jobDocument(c.name, command, schedule(c)+w.fields)
				if status, text, err := v.call("POST", "/scheduler/iso8601", document); status != 204 {
					t.Errorf("post %s = %d %q, %v, want 204", c.name, status, text, err)
				}
			}
		})
	}
	for _, c := range w.cadences {
		todo <- c
	}
	close(todo)
	posting.Wait()
}

// stop ends all cadences and returns the instant up to which every occurrence must be accounted for.
func (w *workload) stop(t *testing.T, v *victim) (end int64) {
	end = time.Now().UnixMilli()
	time.Sleep(time.Second)
	w.post(t, v, func(c cadence) string { return `"schedule":"R/2100-01-01T00:00:00.000Z/PT1H"` })
	return end
}

// open counts what is not yet accounted for.
func (w *workload) open(t *testing.T, end int64) (n int) {
	t.Helper()
	for _, s := range w.cadences {
		ran := map[int64]bool{}
		for _, m := range w.marks.of(t, s.name) {
			ran[m.due] = true
		}
		for _, due := range s.until(end) {
			if _, ok := w.recorded.covering(s.name, due); !ok && !ran[due] {
				n++
			}
		}
	}
	for _, o := range w.onces {
		if o.acknowledged && len(w.marks.of(t, o.name)) == 0 {
			n++
		}
	}
	for i, child := range w.children {
		n += max(0, len(w.marks.of(t, w.parent(i).name))-len(w.marks.of(t, child)))
	}
	for _, flaky := range w.flaky {
		first, second := attempts(w.marks.of(t, flaky))
		n += max(0, first-second)
	}
	return n
}

func attempts(of []mark) (first, second int) {
	for _, m := range of {
		if m.attempt == 0 {
			first++
		} else {
			second++
		}
	}
	return first, second
}

func (w *workload) judgeOnces(t *testing.T) (created int) {
	for _, o := range w.onces {
		n := len(w.marks.of(t, o.name))
		if o.acknowledged {
			created++
		}
		if n > 1 || o.acknowledged && n == 0 {
			t.Errorf("%s, acknowledged %t, ran %d times", o.name, o.acknowledged, n)
		}
	}
	return created
}

// judgeFollowers checks the runs that follow from other runs: each has its cause, and each cause its run.
func (w *workload) judgeFollowers(t *testing.T) {
	for i, child := range w.children {
		if parent, own := len(w.marks.of(t, w.parent(i).name)), len(w.marks.of(t, child)); parent != own {
			t.Errorf("%s ran %d times after %d runs of its parent", child, own, parent)
		}
	}
	for _, flaky := range w.flaky {
		if first, second := attempts(w.marks.of(t, flaky)); first != second {
			t.Errorf("%s was retried %d times after %d failures", flaky, second, first)
		}
	}
}
