package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// asOther returns the instance's command as a user of this test alone, and a directory of his.
func (v *instance) asOther(t *testing.T, shell string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test changes users: run it as root")
	}
	dir, err := os.MkdirTemp("/tmp", "chronos-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	number := 100_000 + os.Getpid()%50_000*100 + int(otherUsers.Add(1))
	if err := os.Chown(dir, number, number); err != nil {
		t.Fatal(err)
	}
	// Nobody else has to be able to pass through the directory of the program.
	own := filepath.Join(dir, "chronos")
	text, err := os.ReadFile(program())
	if err == nil {
		err = os.WriteFile(own, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("/bin/sh", append([]string{"-c", shell + `exec "$0" "$@"`, own}, v.args...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(number), Gid: uint32(number)}}
	return cmd, dir
}

// otherUsers counts the users that tests have had.
var otherUsers atomic.Int32

// A run starts processes until there can be none any more. The program and its keeper live on, and another run that is due waits
// until there can be processes again.
func TestNeighbourOfAForkBombRunsLater(t *testing.T) {
	v := newInstance(t, "log")
	cmd, dir := v.asOther(t, "ulimit -p 160 2>/dev/null || ulimit -u 160; ")
	cmd.Args = append(cmd.Args, "--data_dir", filepath.Join(dir, "data"))
	v.run(t, cmd)
	v.serves(t)
	spent := filepath.Join(dir, "spent")
	// The inner shell ends when it can't start another process, and leaves those that it has started. In its own place comes one more.
	v.runOnce(t, "bomb", fmt.Sprintf("echo $PPID > %s/keeper; (while :; do sleep 1000 & done); sleep 1000 & echo > %s; exec sleep 1000", dir, spent), "")
	v.until(t, "no process can be started", func() bool { _, err := os.Stat(spent); return err == nil })
	keeper := readNumber(t, filepath.Join(dir, "keeper"))

	v.runOnce(t, "neighbour", "true", `,"epsilon":"PT10M"`)
	v.until(t, "the neighbour waits for a process", func() bool {
		open, _ := v.runs(t, "neighbour")
		return len(open) == 1 && open[0].State == "queued" && strings.Contains(open[0].Reason, "resource temporarily unavailable")
	})
	if !isAlive(strconv.Itoa(keeper)) {
		t.Error("the keeper has ended")
	}
	v.mustCall(t, "DELETE", "/scheduler/task/kill/bomb", "", 204)
	if run := v.awaitEnd(t, "bomb", 1); run.State != "killed" {
		t.Errorf("the bomb ended as %+v, want it killed", run)
	}
	if run := v.awaitEnd(t, "neighbour", 1); run.State != "finished" {
		t.Errorf("the neighbour ended as %+v", run)
	}
	v.terminate(t)
}

// Few descriptors, and clients that hold more connections than there are of them: every run that is due has what it needs.
func TestRunsHaveDescriptorsBesideHeldConnections(t *testing.T) {
	t.Parallel()
	v := newInstance(t, "log", "--data_dir", filepath.Join(t.TempDir(), "data"))
	v.run(t, exec.Command("/bin/sh", append([]string{"-c", `ulimit -n 256; exec "$0" "$@"`, program()}, v.args...)...))
	v.serves(t)
	for range 400 {
		conn, err := net.Dial("tcp", v.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	v.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"beside","command":"true","schedule":"R//PT1S","retries":0,"cpus":0.01}`, 204)
	v.until(t, "several runs have ended", func() bool { _, ended := v.runs(t, "beside"); return len(ended) >= 5 })
	_, ended := v.runs(t, "beside")
	for _, run := range ended {
		if run.State != "finished" {
			t.Errorf("a run beside held connections ended as %+v", run)
		}
	}
	v.terminate(t)
}

func readNumber(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
