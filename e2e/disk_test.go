package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts a file system with room for so many MiB.
func smallDisk(t *testing.T, mib int) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test mounts a small file system: run it as root")
	}
	dir = t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

type healthDocument struct {
	Status   string
	Problems []string
}

// healthSays waits until /health tells of a problem, or for "" of none.
func (v *instance) healthSays(t *testing.T, text string) {
	t.Helper()
	v.until(t, fmt.Sprintf("/health says %q", text), func() bool {
		var h healthDocument
		if !v.get("/health", &h) {
			return false
		}
		return text == "" && h.Status == "ok" || text != "" && strings.Contains(strings.Join(h.Problems, "\n"), text)
	})
}

// A job has filled the disk and goes on. It can be killed, and with a deleted job goes what has filled the disk.
func TestJobThatHasFilledTheDiskIsEnded(t *testing.T) {
	t.Parallel()
	for _, end := range []struct {
		name, path string
		emptied    bool
	}{
		{"kill", "/scheduler/task/kill/filler", false},
		{"delete", "/scheduler/job/filler", true},
	} {
		t.Run(end.name, func(t *testing.T) {
			dir := smallDisk(t, 24)
			v := newInstance(t, "log", "--data_dir", dir)
			v.start(t)
			v.serves(t)
			fifo := t.TempDir() + "/full"
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			v.runOnce(t, "filler", "cat /dev/zero > f; echo $$ > "+fifo+"; exec sleep 1000", `,"disk":1`)
			pid, err := os.ReadFile(fifo)
			if err != nil {
				t.Fatal(err)
			}
			v.healthSays(t, "disk full: "+dir)
			v.mustCall(t, "DELETE", end.path, "", 204)
			v.until(t, "the process has ended", func() bool { return !isAlive(strings.TrimSpace(string(pid))) })
			if end.emptied {
				v.healthSays(t, "")
			} else if run := v.awaitEnd(t, "filler", 1); run.State != "killed" {
				t.Errorf("the run ended as %+v, want it killed", run)
			}
			// The directory is gone with the mount, so this process can't tidy up for itself.
			v.kill()
		})
	}
}

// isAlive reports whether a process runs: one that has ended and waits to be reaped does not.
func isAlive(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}
