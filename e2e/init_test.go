package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A PID namespace makes the program process 1, as in a container.
func TestFirstProcessReapsAndPassesOn(t *testing.T) {
	t.Parallel()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command("sh", append([]string{"-c", `mount --make-rprivate / && mount -t proc proc /proc && exec "$@"`, "sh", program()}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
		return cmd
	}
	if out, err := command("--version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "chronos ") {
		t.Fatalf("chronos --version as process 1 = %q, %v (the test runs as root)", out, err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](command("--no-such-option").Run()); !ok || exit.ExitCode() != 1 {
		t.Errorf("a bad option as process 1 = %v, want status 1", exit)
	}

	v := newInstance(t, "log", "--data_dir", t.TempDir())
	v.run(t, command(v.args...))
	v.serves(t)
	v.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"j","command":"exit 3","schedule":"R/2090-01-01T00:00:00Z/P1D","retries":0}`, 204)
	v.mustCall(t, "PUT", "/scheduler/job/j", "", 204)
	if run := v.awaitEnd(t, "j", 1); !strings.Contains(run.Reason, "exited with status 3") {
		t.Errorf("run = %+v, want its own status", run)
	}

	// As docker exec does: the shell comes from outside, and what it leaves behind is process 1's.
	first, end := fmt.Sprint(v.cmd.Process.Pid), filepath.Join(t.TempDir(), "end")
	if err := syscall.Mkfifo(end, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("nsenter", "--target", first, "--pid", "sh", "-c", `cat "$0" >/dev/null 2>&1 & exit 0`, end).CombinedOutput(); err != nil {
		t.Fatalf("nsenter: %v: %s", err, out)
	}
	until(t, "process 1 has inherited the orphan", func() bool { return strings.Contains(childrenOf(t, first), "(cat) S") })
	if err := os.WriteFile(end, nil, 0); err != nil {
		t.Fatal(err)
	}
	until(t, "process 1 has reaped it", func() bool { return !strings.Contains(childrenOf(t, first), "(cat)") })
	v.terminate(t)
}

// childrenOf lists the children of a process, zombies too, as "(name) state ...".
func childrenOf(t *testing.T, parent string) string {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range stats {
		text, _ := os.ReadFile(name) // gone meanwhile: no child
		_, rest, _ := strings.Cut(string(text), " ")
		if f := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:]); len(f) > 1 && f[1] == parent {
			found = append(found, rest)
		}
	}
	return strings.Join(found, "\n")
}
