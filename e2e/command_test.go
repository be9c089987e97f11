package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

// client has the program ask an instance, and returns what it wrote and its exit status.
func client(t *testing.T, v *instance, words ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(program(), append(words, "--url", "http://"+v.addr)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Logf("chronos %s: %s", strings.Join(words, " "), &stderr)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// What the command line does, it does through any instance.
func TestCommandLineOfLeaderAndFollower(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	data := filepath.Join(t.TempDir(), "data")
	var both []*instance
	for _, name := range []string{"first", "second"} {
		v := newInstance(t, name, "--master", "local", "--data_dir", data, "--zk_hosts", hosts[0], "--zk_path", root)
		v.start(t)
		v.serves(t)
		both = append(both, v)
	}
	for i, v := range both {
		name := []string{"one", "two"}[i]
		v.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"`+name+`","command":"echo \"out $0\"; echo err >&2; exit 3","retries":0,"schedule":"R/2090-01-01T00:00:00Z/P1D"}`, 204)
		id, status := client(t, v, "run", name, "--wait")
		if id = strings.TrimSpace(id); status != 3 || !strings.HasPrefix(id, "ct:") {
			t.Errorf("run --wait of a job that exits with 3 = %q, status %d", id, status)
		}
		for _, tt := range []struct{ words, want string }{
			{"logs " + name, "out sh\n"},
			{"logs " + name + " -f", "out sh\n"},
			{"logs " + id + " --stderr", "err\n"},
			{"jobs -o name " + name, name + "\n"},
		} {
			if got, status := client(t, v, strings.Fields(tt.words)...); got != tt.want || status != 0 {
				t.Errorf("chronos %s = %q, status %d, want %q", tt.words, got, status, tt.want)
			}
		}
		if got, _ := client(t, v, "runs", "--job", name); !strings.Contains(got, id+"  failed") || !strings.Contains(got, "Command exited with status 3") {
			t.Errorf("runs = %q, want the one that failed, with its reason", got)
		}
		v.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"long","command":"echo begun; exec sleep 1000","retries":0,"schedule":"R/2090-01-01T00:00:00Z/P1D"}`, 204)
		client(t, v, "run", "long")
		v.until(t, "it has begun", func() bool { got, _ := client(t, v, "logs", "long"); return got == "begun\n" })
		if _, status := client(t, v, "kill", "long"); status != 0 {
			t.Errorf("kill = status %d", status)
		}
		if run := v.awaitEnd(t, "long", 1); run.State != "killed" {
			t.Errorf("after kill the run is %s", run.State)
		}
		for _, words := range []string{"disable long", "enable long", "delete long", "delete " + name} {
			if got, status := client(t, v, strings.Fields(words)...); status != 0 {
				t.Errorf("chronos %s = %q, status %d", words, got, status)
			}
		}
		if _, status := client(t, v, "run", name); status != 1 {
			t.Errorf("run of a deleted job = status %d, want 1", status)
		}
	}
}
