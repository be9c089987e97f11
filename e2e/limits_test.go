package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// An archive is a root file system for a kernel, in the form of cpio's "newc".
type archive struct {
	bytes.Buffer
	files int
}

func (a *archive) add(name string, mode int, content []byte) {
	a.files++
	header := []int{a.files, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0}
	a.WriteString("070701")
	for _, n := range header {
		fmt.Fprintf(a, "%08X", n)
	}
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}

func (a *archive) addDir(name string) { a.add(name, 0o040755, nil) }
func (a *archive) addFile(t *testing.T, name, from string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	a.add(name, 0o100755, text)
}

// limitsInit is what the machine does: it starts the program, gives it jobs, and prints what became of them.
const limitsInit = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev; mount -t cgroup2 none /sys/fs/cgroup; mount -t tmpfs none /tmp
ifconfig lo up; hostname machine
chronos --data_dir /tmp/data --local_limits --log_level error & B=127.0.0.1:8080
job() { wget -q -O - --header 'Content-Type: application/json' --post-data "{\"name\":\"$1\",\"command\":\"$2\",\"schedule\":\"R1//P1Y\",\"retries\":0$3}" $B/scheduler/iso8601; }
until wget -q -O /dev/null $B/ping; do sleep 0.2; done
TELL='cd /sys/fs/cgroup/$(cut -d : -f 3 /proc/self/cgroup); echo memory.max=$(cat memory.max) cpu.weight=$(cat cpu.weight)'
job tells-named "$TELL" ',"mem":48,"cpus":0.5'
job tells-unnamed "$TELL"
job eats-named 'tail /dev/zero' ',"mem":48'
job eats-child 'tail /dev/zero; exit 7' ',"mem":48'
job eats-unnamed 'head -c 200000000 /dev/zero | tail -c 190000000 | wc -c'
for j in tells-named tells-unnamed eats-named eats-child eats-unnamed; do
	until wget -q -O /tmp/runs $B/scheduler/runs/$j && grep -q '"open":\[\]' /tmp/runs && grep -q '"state":"' /tmp/runs; do sleep 0.5; done
	cat /tmp/data/runs/*$j*/stdout /tmp/data/ended/$j/*/stdout >/tmp/out 2>/dev/null
	echo "RESULT $j: $(grep -o '"state":"[a-z]*"\|"reason":"[^"]*"' /tmp/runs | tr '\n' ' ')$(cat /tmp/out)"
done
echo "RESULT health: $(wget -q -O - $B/health | grep -o '"status":"[a-z]*"')"
poweroff -f
`

// The machines that develop this program have no memory controller of version 2, so this is tried in a small virtual one.
// Without hardware support it takes some minutes.
func TestTortureOfLimitsInAVirtualMachine(t *testing.T) {
	if !*longTorture {
		t.Skip("only in the long form, with the kernel that ./test.sh long fetches")
	}
	kernel := os.Getenv("CHRONOS_TEST_KERNEL")
	if kernel == "" {
		t.Fatal("CHRONOS_TEST_KERNEL does not name a kernel; ./test.sh long sees to it")
	}
	var a archive
	for _, dir := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		a.addDir(dir)
	}
	a.addFile(t, "bin/busybox", "/usr/bin/busybox")
	a.addFile(t, "bin/chronos", program())
	a.add("etc/passwd", 0o100644, []byte("root:x:0:0:root:/:/bin/sh\n"))
	a.add("init", 0o100755, []byte(limitsInit))
	a.add("TRAILER!!!", 0, nil)
	image := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(image, a.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	machine := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-m", "768", "-nographic", "-no-reboot", "-nic", "none",
		"-kernel", kernel, "-initrd", image, "-append", "console=ttyS0 panic=-1 quiet")
	timer := time.AfterFunc(time.Hour, func() { machine.Process.Kill() })
	defer timer.Stop()
	out, err := machine.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		if _, result, ok := strings.Cut(strings.TrimSpace(line), "RESULT "); ok {
			got = append(got, result)
		}
	}
	const died = "out of memory: the kernel killed 1 of its processes at the limit of 48 MB"
	want := []string{
		`tells-named: "state":"finished" "reason":"Command exited with status 0" memory.max=50331648 cpu.weight=50`,
		`tells-unnamed: "state":"finished" "reason":"Command exited with status 0" memory.max=max cpu.weight=100`,
		`eats-named: "state":"failed" "reason":"Command terminated with signal killed, ` + died + `"`,
		`eats-child: "state":"failed" "reason":"Command exited with status 7, ` + died + `"`,
		`eats-unnamed: "state":"finished" "reason":"Command exited with status 0" 190000000`,
		`health: "status":"ok"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the machine says\n%s\nwant\n%s\nall of it:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), out)
	}
}

// Who asks for limits learns that there can be none, and jobs run all the same.
func TestLimitsThatCannotHoldAreTold(t *testing.T) {
	t.Parallel()
	v := newInstance(t, "log")
	cmd, dir := v.asOther(t, "")
	cmd.Args = append(cmd.Args, "--local_limits", "--data_dir", filepath.Join(dir, "data"))
	v.run(t, cmd)
	v.serves(t)
	v.healthSays(t, "--local_limits has no effect: ")
	v.runOnce(t, "free", "true", `,"mem":1`)
	if run := v.awaitEnd(t, "free", 1); run.State != "finished" {
		t.Errorf("the run ended as %+v", run)
	}
	v.terminate(t)
}
