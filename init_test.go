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
	for _, name := range []string{"orphan", "after"} {
		v.mustCall(t, "POST", "/scheduler/iso8601", fmt.Sprintf(`{"name":%q,"command":"setsid sleep 0.1 & exit 3","schedule":"R/2090-01-01T00:00:00Z/P1D","retries":0}`, name), 204)
		v.mustCall(t, "PUT", "/scheduler/job/"+name, "", 204)
		within(t, 10*time.Second, "the run ends", func() bool {
			return strings.Contains(v.mustCall(t, "GET", "/scheduler/runs/"+name, "", 200), `"exit":3`)
		})
	}
	within(t, 5*time.Second, "no zombies are left", func() bool { return zombies(t, cmd.Process.Pid) == "" })

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

// zombies lists the dead processes that their parent has not reaped.
func zombies(t *testing.T, parent int) string {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var dead []string
	for _, name := range stats {
		text, _ := os.ReadFile(name) // gone meanwhile: no zombie
		rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
		if f := strings.Fields(rest); len(f) > 1 && f[0] == "Z" && f[1] == fmt.Sprint(parent) {
			dead = append(dead, string(text))
		}
	}
	return strings.Join(dead, "")
}
