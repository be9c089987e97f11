package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/chronos-go/chronos/internal/zktest"
)

// terminal returns both ends of a new terminal of 200 columns.
func terminal(t *testing.T) (screen, keyboard *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	var number, unlocked uint32
	size := [4]uint16{50, 200, 0, 0}
	for request, argument := range map[uintptr]unsafe.Pointer{
		syscall.TIOCSPTLCK: unsafe.Pointer(&unlocked), syscall.TIOCGPTN: unsafe.Pointer(&number), syscall.TIOCSWINSZ: unsafe.Pointer(&size),
	} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(argument)); errno != 0 {
			t.Fatalf("ioctl %#x: %v", request, errno)
		}
	}
	keyboard, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	return screen, keyboard
}

// startIn starts the program in a terminal and in a directory, and returns its first lines, up to the one that says that it serves.
func startIn(t *testing.T, dir string, args ...string) (lines []string) {
	t.Helper()
	screen, keyboard := terminal(t)
	cmd := exec.Command(program(), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, keyboard, keyboard
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for said := bufio.NewReader(screen); ; {
		line, err := said.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, lines)
		}
		lines = append(lines, strings.TrimSpace(line))
		if strings.Contains(line, "chronos serves") {
			go said.WriteTo(devNull{}) // so that it never waits for us
			return lines
		}
	}
}

type devNull struct{}

func (devNull) Write(p []byte) (int, error) { return len(p), nil }

// Somebody who starts the program for the first time is told where it is and what to do next, and that works as it stands.
func TestFirstMinute(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), strconv.Itoa(zktest.FreePort())
	var told []string
	for _, line := range startIn(t, dir, "--http_port", port) {
		if !strings.HasPrefix(line, "time=") {
			told = append(told, line)
		}
	}
	want := []string{
		"chronos listens on http://localhost:" + port + " (from this machine only); open it in a browser.",
		"It is in local mode: jobs are processes of this machine, and the state is kept in ./chronos-data. It needs nothing else.",
	}
	if len(told) != 3 || told[0] != want[0] || told[1] != want[1] {
		t.Fatalf("told:\n%s\nwant\n%s\nand what is next", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	_, next, _ := strings.Cut(told[2], ": ")
	sh := exec.Command("sh", "-c", next)
	sh.Dir = dir
	out, err := sh.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "+ create  hello") || !strings.Contains(string(out), "\nhello  ") {
		t.Errorf("%s: %v, %s, want the job created, and a run of it", next, err, out)
	}
	if again := startIn(t, dir, "--http_port", "0", "--data_dir", filepath.Join(dir, "other"), "--http_credentials", "a:b"); strings.Contains(strings.Join(again, "\n"), "Next") {
		t.Errorf("told something that can't be done without a password: %q", again)
	}
	second := exec.Command(program(), "--http_port", port)
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "another program listens there") {
		t.Errorf("a second one on the same port: %v, %s", err, out)
	}
}

// Where there is no ZooKeeper the program says so, and what to do, before anybody has to look for it.
func TestZooKeeperThatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	v := newInstance(t, "alone", "--master", "local", "--data_dir", t.TempDir(), "--zk_hosts", fmt.Sprintf("127.0.0.1:%d", zktest.FreePort()))
	v.start(t)
	v.until(t, "it says that there is no ZooKeeper", func() bool {
		return strings.Contains(v.lastLog(), "ZooKeeper does not serve") && strings.Contains(v.lastLog(), "Check that it runs there (--zk_hosts) and can be reached from here")
	})
}
