package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// waitForDeath waits for the end of a process.
func waitForDeath(t *testing.T, what, pid string) {
	t.Helper()
	waitUntil(t, what+" "+pid+" has ended", func() bool { return !alive(pid) })
}

// newLatch returns a FIFO: who opens it for reading waits until the test opens it.
func newLatch(t *testing.T) (path string, open func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "latch")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, func() {
		t.Helper()
		if err := os.WriteFile(path, []byte("go\n"), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// Several runs share a keeper, to which the kernel hands their orphans. Each of these ends with its own run,
// and one that has shed all that shows whose it is with the last.
func TestLocalOrphansEndWithTheirOwnRun(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{})
	long, short := runIDFor("long"), runIDFor("short")
	latch, open := newLatch(t)
	daemon := func(file, prefix string) string {
		return fmt.Sprintf("%s sh -c 'echo $$ > %s; exec sleep 1000' & while ! [ -s %s ]; do sleep 0.01; done; ", prefix, file, file)
	}
	m.launch(shellTask(long, daemon("$MESOS_SANDBOX/inGroup", "")+daemon("left", "setsid")+daemon("nameless", "setsid env -i")+
		"(setsid sleep 0 &); echo $PPID > keeper; read x < "+latch))
	work := m.l.sandbox(long).path("work")
	keeper := waitForFile(t, work+"/keeper")

	m.launch(shellTask(short, daemon("left", "setsid")+"echo $PPID > keeper; cp left "+work+"/foreign"))
	if st := m.end(short); st.GetState() != mesos.TASK_FINISHED {
		t.Fatalf("short run = %v %q", st.GetState(), st.GetMessage())
	}
	if got := waitForFile(t, m.l.sandbox(short).path("work/keeper")); got != keeper {
		t.Errorf("the keeper of the second run is %s, want %s as of the first", got, keeper)
	}
	if pid := waitForFile(t, work+"/foreign"); alive(pid) {
		t.Errorf("process %s of the short run is alive after its end", pid)
	}
	daemons := map[string]string{}
	for _, name := range []string{"left", "nameless"} {
		daemons[name] = waitForFile(t, work+"/"+name)
		if !alive(daemons[name]) {
			t.Errorf("process %q of the long run has ended with the short one", name)
		}
	}
	open()
	m.end(long)
	for name, pid := range daemons {
		if alive(pid) {
			t.Errorf("process %q is alive after the end of the last run", name)
		}
	}
}

func TestLocalKeeperOutlivesItsInstanceByItsLastRun(t *testing.T) {
	dir := t.TempDir()
	id := runIDFor("outlive")
	latch, open := newLatch(t)
	crashInstance(t, dir, id, "echo $PPID > keeper; read x < "+latch)
	m := startLocal(t, dir, localOptions{})
	keeper := waitForFile(t, m.l.sandbox(id).path("work/keeper"))
	if !alive(keeper) {
		t.Fatal("the keeper has ended with its instance")
	}
	open()
	if st := m.end(id); st.GetState() != mesos.TASK_FINISHED {
		t.Errorf("end of the adopted run = %v %q", st.GetState(), st.GetMessage())
	}
	waitForDeath(t, "keeper", keeper)
	if left, err := os.ReadDir(filepath.Join(dir, "keepers")); err != nil || len(left) != 0 {
		t.Errorf("left in keepers: %v, %v; want nothing", left, err)
	}
}

func TestLocalManyRunsTakeSeveralKeepers(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{cpus: 1000, mem: 1e6, disk: 1e6})
	keeperOf := make(map[string]string)
	var tasks []mesos.TaskInfo
	for i := range maxKept + 2 {
		tasks = append(tasks, shellTask(runIDFor(fmt.Sprint("many", i)), "echo $PPID > keeper; exec sleep 1000"))
	}
	m.launch(tasks...)
	runs := make(map[string][]string)
	for _, task := range tasks {
		id := task.TaskID.Value
		keeperOf[id] = waitForFile(t, m.l.sandbox(id).path("work/keeper"))
		runs[keeperOf[id]] = append(runs[keeperOf[id]], id)
	}
	if len(runs) != 2 {
		t.Fatalf("%d runs have %d keepers, want 2", len(tasks), len(runs))
	}
	for _, few := range []bool{true, false} {
		for keeper, ids := range runs {
			if len(ids) == 2 != few {
				continue
			}
			for _, id := range ids {
				m.kill(id, 0)
			}
			for _, id := range ids {
				m.end(id)
			}
			if few {
				waitForDeath(t, "the second keeper", keeper)
			} else if !alive(keeper) {
				t.Error("the first keeper has ended with its runs, though there is a subscription")
			}
		}
	}
}

// One that was made just now may belong to a keeper that is about to open it.
func TestLocalFIFOsOfKilledKeepersAreClearedAway(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("live")
	m.launch(shellTask(id, "exec sleep 1000"))
	m.update(id, mesos.TASK_RUNNING)
	dir := filepath.Join(m.l.dir, "keepers")
	stale := filepath.Join(dir, "stale")
	if err := syscall.Mkfifo(stale, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, age := range []time.Duration{0, time.Hour} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 {
			t.Fatalf("keepers = %v, %v, want that of the run and the stale one", entries, err)
		}
		for _, e := range entries {
			then := time.Now().Add(-age)
			if err := os.Chtimes(filepath.Join(dir, e.Name()), then, then); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.l.keepers.clear(dir); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || strings.HasSuffix(stale, entries[0].Name()) {
		t.Errorf("keepers after clear = %v, %v, want only that of the run", entries, err)
	}
	m.kill(id, 0)
	m.end(id)
}

// A job has its input and outputs open and nothing else, however it is started: neither the pipes of
// its keeper, nor what whoever started this program had open.
func TestLocalJobsHaveNothingOpenButInputAndOutputs(t *testing.T) {
	leak, err := syscall.Open("/dev/zero", syscall.O_RDONLY, 0) // is inherited, unlike what os.Open opens
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(leak)
	dir := publicDir(t)
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("ls -l /proc/self/fd\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := startLocal(t, filepath.Join(dir, "data"), localOptions{})
	another := shellTask("", "ls -l /proc/self/fd")
	if os.Getuid() == 0 {
		name := "nobody"
		another.Command.User = &name
	}
	tasks := map[string]mesos.TaskInfo{
		"by the shell": shellTask("", "ls -l /proc/self/fd"), "without a shell": execTask("", "ls", "ls", "-l", "/proc/self/fd"),
		"without interpreter line": execTask("", script), "as another user": another,
	}
	for name, task := range tasks {
		id := runIDFor(name)
		task.TaskID.Value = id
		m.launch(task)
		if st := m.end(id); st.GetState() != mesos.TASK_FINISHED {
			t.Fatalf("%s: %v %s %s", name, st.GetState(), st.GetMessage(), m.output(id, "stderr"))
		}
		for line := range strings.Lines(m.output(id, "stdout")) {
			_, link, ok := strings.Cut(strings.TrimSpace(line), " -> ")
			number := ""
			if f := strings.Fields(line); ok && len(f) > 3 {
				number = f[len(f)-3]
			}
			switch {
			case !ok, number == "0" && link == "/dev/null", number == "1" && strings.HasSuffix(link, "/stdout"),
				number == "2" && strings.HasSuffix(link, "/stderr"), strings.HasPrefix(link, "/proc/") && strings.HasSuffix(link, "/fd"):
			default:
				t.Errorf("%s: %s is open: %s", name, number, link)
			}
		}
	}
}
