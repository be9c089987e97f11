package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	"github.com/chronos-go/chronos/internal/zktest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// schemathesis finds the program, which test.sh installs.
func schemathesis(t *testing.T) string {
	t.Helper()
	path := os.Getenv("CHRONOS_TEST_SCHEMATHESIS")
	if path == "none" {
		t.Skip("schemathesis could not be installed")
	}
	if path == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(cache, "chronos-test", "schemathesis", "bin", "schemathesis")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: install it as test.sh does, with pip in a venv", err)
	}
	return path
}

// Schemathesis makes requests of the description that an instance serves, good ones and bad ones. None is answered with a server error, and
// every answer is as described. The jobs that it makes run on a double of Mesos, which starts nothing.
func TestTheAPIIsAsItDescribesItself(t *testing.T) {
	t.Parallel()
	program := schemathesis(t)
	hosts, root := zktest.Shared(t)
	m := mesostest.NewMaster(t, mesostest.Options{Allocation: 100 * time.Millisecond})
	m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
	m.SetBehaviour(func(*mesos.TaskInfo) mesostest.Outcome {
		return mesostest.Outcome{After: 50 * time.Millisecond, State: mesos.TASK_FINISHED, Message: "Command exited with status 0"}
	})
	v := newInstance(t, "log", "--master", strings.TrimPrefix(m.URL(), "http://"), "--zk_hosts", hosts[0], "--zk_path", root)
	v.start(t)
	v.serves(t)
	cmd := exec.Command(program, "run", "http://"+v.addr+"/openapi.json", "--seed", "1", "--workers", "2", "--max-examples", "6",
		"--phases", "examples,fuzzing", "--request-timeout", "60", "--generation-database", "none", "--warnings", "off",
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance",
		"--exclude-path-regex", "/events$") // which go on without an end
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if _, summary, ok := strings.Cut(string(out), "SUMMARY"); ok {
		t.Log(summary)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !regexp.MustCompile(`API Operations:\s+Selected: (9|1\d)\d/`).Match(out) {
		t.Errorf("few operations were looked at:\n%s", out)
	}
	if lines := v.complaints(t); len(lines) > 0 {
		t.Errorf("complaints in the log:\n%s", strings.Join(lines, "\n"))
	}
}
