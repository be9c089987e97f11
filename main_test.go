package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A PID namespace makes the program process 1, as in a container.
func TestFirstProcessReapsAndPassesOn(t *testing.T) {
	binary := buildChronos(t)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command("sh", append([]string{"-c", `mount --make-rprivate / && mount -t proc proc /proc && exec "$@"`, "sh", binary}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	if out, err := command("--version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "chronos ") {
		t.Fatalf("chronos --version as process 1 = %q, %v (the test runs as root)", out, err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](command("--no-such-option").Run()); !ok || exit.ExitCode() != 1 {
		t.Errorf("a bad option as process 1 = %v, want status 1", exit)
	}

	v := newVictim(t, binary, filepath.Join(t.TempDir(), "log"), "--data_dir", t.TempDir())
	cmd := command(v.args...)
	log, err := os.Create(v.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	v.serves(t)
	v.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"j","command":"exit 3","schedule":"R/2090-01-01T00:00:00Z/P1D","retries":0}`, 204)
	v.mustCall(t, "PUT", "/scheduler/job/j", "", 204)
	within(t, 10*time.Second, "the run has ended with its own status", func() bool {
		return strings.Contains(v.mustCall(t, "GET", "/scheduler/runs/j", "", 200), "exited with status 3")
	})

	// As docker exec does: the shell comes from outside, and what it leaves behind is process 1's.
	first := fmt.Sprint(cmd.Process.Pid)
	if out, err := exec.Command("nsenter", "--target", first, "--pid", "sh", "-c", "sleep 0.5 >/dev/null 2>&1 & exit 0").CombinedOutput(); err != nil {
		t.Fatalf("nsenter: %v: %s", err, out)
	}
	within(t, 5*time.Second, "process 1 has inherited the orphan", func() bool { return strings.Contains(childrenOf(t, first), "(sleep) S") })
	within(t, 5*time.Second, "process 1 has reaped it", func() bool { return !strings.Contains(childrenOf(t, first), "(sleep)") })

	start := time.Now()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM to process 1 = %v, want status 0", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("SIGTERM took %v, want less than a second", took)
	}
}

// within waits for a state of other processes, which tell nobody when they reach it.
func within(t *testing.T, limit time.Duration, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !reached(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not true that %s", limit, what)
		}
	}
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
