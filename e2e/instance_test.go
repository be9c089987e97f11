package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

const (
	typeJSON = "application/json"
	// requestIDHeader names a change, so that one that is sent again is done once.
	requestIDHeader = "X-Chronos-Request-Id"
)

// An instance is the program, started and killed at will. What its processes log goes into one file.
type instance struct {
	args  []string
	addr  string // host:port of its HTTP
	id    string // what it tells the others, and the latch: the same, or where a link to it begins
	log   string
	cmd   *exec.Cmd // nil while there is no process
	ended chan error
}

// newInstance returns one that is yet to be started, with a port of its own. Its log has the name given.
func newInstance(t testing.TB, log string, args ...string) *instance {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", zktest.FreePort())
	v := &instance{addr: addr, id: addr, log: filepath.Join(t.ArtifactDir(), log)}
	_, port, _ := strings.Cut(addr, ":")
	v.args = append([]string{"--http_port", port, "--http_address", "127.0.0.1", "--hostname", "127.0.0.1", "--log_format", "json"}, args...)
	t.Cleanup(v.kill)
	return v
}

// advertise has the other instances reach this one at another address.
func (v *instance) advertise(addr string) {
	_, port, _ := strings.Cut(addr, ":")
	v.id, v.args = addr, append(v.args, "--advertise_port", port)
}

// start starts the process and does not wait for it to serve.
func (v *instance) start(t testing.TB) {
	t.Helper()
	v.run(t, exec.Command(program(), v.args...))
}

// run makes a command the instance's process, which ends with the tests.
func (v *instance) run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.OpenFile(v.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	v.cmd, v.ended = cmd, ended
	go func() { ended <- cmd.Wait() }()
}

func (v *instance) kill() { v.end(syscall.SIGKILL) }

// end sends a signal, SIGKILL or SIGTERM, and waits for the end. early says that the process
// had ended by itself before.
func (v *instance) end(sig syscall.Signal) (early bool, err error) {
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

// terminate ends it as an operator does, and wants status 0.
func (v *instance) terminate(t testing.TB) {
	t.Helper()
	if early, err := v.end(syscall.SIGTERM); early || err != nil {
		t.Errorf("chronos at %s ended early: %t, with %v, want its end after SIGTERM with status 0", v.addr, early, err)
	}
}

func (v *instance) signal(sig syscall.Signal) { v.cmd.Process.Signal(sig) }

// freshClient has its own connections, none of which outlives its request: a
// killed server must not be asked over an old one.
var freshClient = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// call sends one request and returns the status, 0 with an error if there was no answer.
func (v *instance) call(method, path, body string) (int, string, error) {
	req, err := http.NewRequest(method, "http://"+v.addr+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", typeJSON)
	}
	res, err := freshClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// mustCall is call where only one status will do.
func (v *instance) mustCall(t testing.TB, method, path, body string, want int) string {
	t.Helper()
	status, text, err := v.call(method, path, body)
	if err != nil || status != want {
		t.Fatalf("%s %s = %d %q, %v, want %d", method, path, status, text, err, want)
	}
	return text
}

// get decodes the answer to a GET. It reports whether there was a good one.
func (v *instance) get(path string, into any) bool {
	status, text, err := v.call("GET", path, "")
	return err == nil && status == http.StatusOK && json.Unmarshal([]byte(text), into) == nil
}

// mustGet is get where the answer has to be good.
func (v *instance) mustGet(t testing.TB, path string, into any) {
	t.Helper()
	text := v.mustCall(t, "GET", path, "", http.StatusOK)
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("GET %s = %q: %v", path, text, err)
	}
}

// until asks until something is true of the instance.
func (v *instance) until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !reached(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s; the log of %s ends: %s", patience, what, v.addr, v.lastLog())
		}
	}
}

func (v *instance) lastLog() string {
	log, err := os.ReadFile(v.log)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-4000):])
}

// serves waits until the instance answers as the leader, or through it.
func (v *instance) serves(t testing.TB) {
	t.Helper()
	v.until(t, "it serves", func() bool {
		status, _, err := v.call("GET", "/scheduler/jobs/summary", "")
		return err == nil && status == http.StatusOK
	})
}

// A runOfJob is a run as GET /scheduler/runs/<job> describes it.
type runOfJob struct {
	ID, Kind, State, Reason, Sandbox string
	Exit                             *int
}

// runs lists the runs of a job: those that are open, and those that have ended, the newest first.
func (v *instance) runs(t testing.TB, job string) (open, ended []runOfJob) {
	t.Helper()
	var answer struct{ Open, History []runOfJob }
	v.mustGet(t, "/scheduler/runs/"+job, &answer)
	return answer.Open, answer.History
}

// awaitEnd waits until so many runs of a job have ended, and none is open, and returns the newest.
func (v *instance) awaitEnd(t testing.TB, job string, runs int) (last runOfJob) {
	t.Helper()
	v.until(t, fmt.Sprintf("%d runs of %s have ended", runs, job), func() bool {
		open, ended := v.runs(t, job)
		if len(ended) > 0 {
			last = ended[0]
		}
		return len(open) == 0 && len(ended) >= runs
	})
	return last
}

// isIdle reports whether it leads, or knows who does, and no run waits or is under way.
func (v *instance) isIdle() bool {
	overview := struct{ Queued, Running int }{-1, -1}
	return v.get("/v1/scheduler/overview", &overview) && overview.Queued == 0 && overview.Running == 0
}

// A logLine is a line of an instance's log.
type logLine struct {
	at   time.Time
	msg  string
	rest map[string]any
}

// logLines leaves out what is not JSON: panics, and lines that a kill has cut.
func (v *instance) logLines(t testing.TB) []logLine {
	t.Helper()
	f, err := os.Open(v.log)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []logLine
	for s := bufio.NewScanner(f); s.Scan(); {
		l := logLine{rest: map[string]any{}}
		if json.Unmarshal(afterTear(s.Bytes()), &l.rest) != nil {
			continue
		}
		at, _ := l.rest["time"].(string)
		l.at, _ = time.Parse(time.RFC3339Nano, at)
		l.msg, _ = l.rest["msg"].(string)
		lines = append(lines, l)
	}
	return lines
}

// afterTear leaves out the beginning of a line that a killed process has not written to its end: the next process goes on in it.
func afterTear(line []byte) []byte {
	if i := bytes.LastIndex(line, []byte(`{"time":"`)); i > 0 && !json.Valid(line) && bytes.HasPrefix(line, []byte(`{"time"`)) {
		return line[i:]
	}
	return line
}

// complaints are the lines of the log that tell of an error of our own, and what is not JSON: panics, data races. That ZooKeeper does not
// serve is no such error; on a busy machine it is the truth.
func (v *instance) complaints(t testing.TB, expected ...string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(v.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var l struct{ Level, Msg string }
		err := json.Unmarshal(afterTear(line), &l)
		if err == nil && (l.Level != "ERROR" || l.Msg == "ZooKeeper does not serve" || slices.Contains(expected, l.Msg)) {
			continue
		}
		if len(out) == 20 {
			return append(out, "...")
		}
		out = append(out, strings.TrimSpace(string(line)))
	}
	return out
}
