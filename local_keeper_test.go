package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// waitForDeath waits for the end of a process.
func waitForDeath(t *testing.T, what, pid string) {
	t.Helper()
	until(t, what+" "+pid+" has ended", func() bool { return !alive(pid) })
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
	t.Parallel()
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
	t.Parallel()
	dir := t.TempDir()
	id := runIDFor("outlive")
	latch, open := newLatch(t)
	leaveBehind(t, dir, id, "echo $PPID > keeper; read x < "+latch)
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
	t.Parallel()
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
	t.Parallel()
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

// contend asks a keeper of its own to execute a run.
func contend(t *testing.T, l *localCluster, box sandbox, epoch int64) error {
	t.Helper()
	s := keepers{command: l.keepers.command, most: 1, of: map[string]*keeperProcess{}}
	k, err := s.take("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.dismiss()
	return k.keep(t.Context(), keepRequest{Run: filepath.Base(string(box)), Epoch: epoch})
}

// race has several keepers execute a run at the same moment, one of which claims it, and waits for its end.
func race(t *testing.T, l *localCluster, box sandbox, epochs ...int64) {
	t.Helper()
	var claims atomic.Int32
	var wg sync.WaitGroup
	for _, epoch := range epochs {
		wg.Go(func() {
			switch err := contend(t, l, box, epoch); {
			case err == nil:
				claims.Add(1)
			case !errors.Is(err, errClaimed):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := claims.Load(); n != 1 {
		t.Errorf("%d keepers have claimed the run, want one", n)
	}
	if _, err := box.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// subscribedLocal is a cluster that the test asks keepers for, with the number of its subscription.
func subscribedLocal(t *testing.T) (*localCluster, int64) {
	t.Helper()
	l, err := newLocal(t.TempDir(), localOptions{keeper: testKeeper}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := subscribe(l.dir, termID{})
	if err != nil {
		t.Fatal(err)
	}
	return l, epoch
}

func TestLocalRunWhoseKeeperIsKilledIsLostAndDead(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("orphan")
	m.launch(shellTask(id, "echo $$ $PPID > pids; exec sleep 1000"))
	pids := strings.Fields(waitForFile(t, m.l.sandbox(id).path("work/pids")))
	var keeper int
	if _, err := fmt.Sscan(pids[1], &keeper); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if st := m.end(id); st.GetState() != mesos.TASK_LOST {
		t.Errorf("keeper killed = %v, want TASK_LOST", st.GetState())
	}
	waitForDeath(t, "the command, which must not outlive its keeper,", pids[0])
}

func TestLocalOneOfSeveralKeepersRunsTheCommand(t *testing.T) {
	t.Parallel()
	l, epoch := subscribedLocal(t)
	tally := filepath.Join(t.TempDir(), "tally")
	const rounds = 50
	for i := range rounds {
		id := runIDFor(fmt.Sprint("race", i))
		task := shellTask(id, fmt.Sprintf("echo %d >> %s", i, tally))
		box := l.sandbox(id)
		if err := layOut(box, id, &task); err != nil {
			t.Fatal(err)
		}
		race(t, l, box, epoch, epoch, epoch)
		if st := box.status(); st == nil || st.State != "TASK_FINISHED" {
			t.Fatalf("round %d: status = %+v", i, st)
		}
	}
	text, err := os.ReadFile(tally)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, line := range strings.Fields(string(text)) {
		counts[line]++
	}
	for i := range rounds {
		if n := counts[fmt.Sprint(i)]; n != 1 {
			t.Errorf("the command of round %d ran %d times, want once", i, n)
		}
	}
}

// A keeper that gets the lock only when the run is over says so. It must not mistake what
// the first one has cleared away for a fault, which would make a failure of the run.
func TestLocalKeeperThatComesLateKnowsTheRunIsOver(t *testing.T) {
	t.Parallel()
	l, epoch := subscribedLocal(t)
	id := runIDFor("late")
	task := shellTask(id, "exit 3")
	box := l.sandbox(id)
	if err := layOut(box, id, &task); err != nil {
		t.Fatal(err)
	}
	race(t, l, box, epoch)
	if err := contend(t, l, box, epoch); !errors.Is(err, errClaimed) {
		t.Errorf("late keeper answers %v, want %v", err, errClaimed)
	}
	if st := box.status(); st == nil || st.Message != "Command exited with status 3" {
		t.Errorf("status = %+v, want that of the first keeper", st)
	}
}

func TestLocalStartsItsOwnBinary(t *testing.T) {
	t.Parallel()
	self, err := ownBinary()
	if err != nil {
		t.Fatal(err)
	}
	m := startLocal(t, t.TempDir(), localOptions{keeper: []string{self, keeperWord}})
	id := runIDFor("self")
	m.launch(shellTask(id, `tr '\0' ' ' < /proc/$PPID/cmdline`))
	m.end(id)
	if got, want := m.output(id, "stdout"), "chronos __keep "+m.l.dir+" "; got != want {
		t.Errorf("keeper = %q, want %q", got, want)
	}
}

func TestLocalKeeperIsNotForUsers(t *testing.T) {
	t.Setenv(keeperVariable, "")
	if code := runKeeper(t.TempDir()); code != exitUsage {
		t.Errorf("runKeeper by hand = %d, want %d", code, exitUsage)
	}
}

// wantNothingOpen runs a task that lists what it has open, and complains of all but input and outputs.
func wantNothingOpen(m *testMesos, name string, task mesos.TaskInfo) {
	m.t.Helper()
	id := runIDFor(name)
	task.TaskID.Value = id
	m.launch(task)
	if st := m.end(id); st.GetState() != mesos.TASK_FINISHED {
		m.t.Fatalf("%s: %v %s %s", name, st.GetState(), st.GetMessage(), m.output(id, "stderr"))
	}
	for line := range strings.Lines(m.output(id, "stdout")) {
		head, link, ok := strings.Cut(strings.TrimSpace(line), " -> ")
		if !ok {
			continue
		}
		number := head[strings.LastIndexByte(head, ' ')+1:]
		switch {
		case number == "0" && link == "/dev/null", number == "1" && strings.HasSuffix(link, "/stdout"),
			number == "2" && strings.HasSuffix(link, "/stderr"), strings.HasPrefix(link, "/proc/") && strings.HasSuffix(link, "/fd"):
		default:
			m.t.Errorf("%s: %s is open: %s", name, number, link)
		}
	}
}

// leaveOpen opens a file that the programs started here inherit, unlike what os.Open opens.
func leaveOpen(t *testing.T) {
	t.Helper()
	leak, err := syscall.Open("/dev/zero", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(leak) })
}

// A job has its input and outputs open and nothing else, however it is started: neither the pipes of
// its keeper, nor what whoever started this program had open.
func TestLocalJobsHaveNothingOpenButInputAndOutputs(t *testing.T) {
	t.Parallel()
	leaveOpen(t)
	m := startLocal(t, t.TempDir(), localOptions{})
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("ls -l /proc/self/fd\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	wantNothingOpen(m, "by the shell", shellTask("", "ls -l /proc/self/fd"))
	wantNothingOpen(m, "without a shell", execTask("", "ls", "ls", "-l", "/proc/self/fd"))
	wantNothingOpen(m, "without interpreter line", execTask("", script))
}

// keeperOf returns the process that watches over a run whose command has written $PPID to the file pid.
func keeperOf(m *testMesos, id string) int {
	m.t.Helper()
	keeper, err := strconv.Atoi(strings.TrimSpace(waitForFile(m.t, m.l.sandbox(id).path("work/keeper"))))
	if err != nil {
		m.t.Fatal(err)
	}
	return keeper
}

// scatter starts processes in the job's group, in sessions of their own and without parents, and notes them all.
const scatter = `echo $PPID > keeper.new
sleep 1000 & echo $! >> pids
setsid sh -c 'echo $$ >> pids; sleep 1000 & echo $! >> pids; wait' &
(setsid sh -c 'echo $$ >> pids; exec sleep 1000' &)
(env -i setsid sh -c 'sleep 1000 & echo $! >> pids; wait' & echo $! >> pids; wait) &
until [ "$(wc -l < pids)" -ge 6 ]; do sleep 0.01; done
mv keeper.new keeper
exec sleep 1000`

// The death of a keeper ends all that its runs have started, not only the processes that it has started itself.
func TestLocalWhatARunHasStartedEndsWithItsKeeper(t *testing.T) {
	t.Parallel()
	for _, groups := range []bool{true, false} {
		t.Run(fmt.Sprintf("with control groups %t", groups), func(t *testing.T) { wantScatteredEnd(t, groups) })
	}
}

func wantScatteredEnd(t *testing.T, groups bool) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	if !groups {
		m.l.groups = ""
	}
	id := runIDFor("scatter")
	m.launch(shellTask(id, scatter))
	keeper := keeperOf(m, id)
	pids := strings.Fields(waitForFile(t, m.l.sandbox(id).path("work/pids")))
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if st := m.end(id); st.GetState() != mesos.TASK_LOST || !strings.Contains(st.GetMessage(), "was killed") {
		t.Errorf("keeper killed = %v %s, want TASK_LOST", st.GetState(), st.GetMessage())
	}
	for _, pid := range pids {
		waitForDeath(t, "what the run has started", pid)
	}
	again := runIDFor("after")
	m.launch(shellTask(again, "true"))
	if st := m.end(again); st.GetState() != mesos.TASK_FINISHED {
		t.Errorf("the next run = %v %s", st.GetState(), st.GetMessage())
	}
}

// A keeper that does not answer is replaced, and starts nothing twice when it wakes up.
func TestLocalSilentKeeperIsReplaced(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{patience: 200 * time.Millisecond})
	tally := filepath.Join(t.TempDir(), "tally")
	first, second := runIDFor("first"), runIDFor("second")
	m.launch(shellTask(first, "echo $PPID > keeper.new && mv keeper.new keeper; echo first >> "+tally+"; sleep 1000"))
	keeper := keeperOf(m, first)
	m.update(first, mesos.TASK_RUNNING)
	if err := syscall.Kill(keeper, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(keeper, syscall.SIGCONT)
	until(t, "all threads of the keeper have stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", keeper))
		return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(name string) bool {
			text, err := os.ReadFile(name)
			return err == nil && !strings.Contains(string(text), ") T ")
		})
	})
	m.launch(shellTask(second, "echo second >> "+tally))
	if st := m.end(second); st.GetState() != mesos.TASK_FINISHED {
		t.Errorf("with a keeper that is stopped = %v %s", st.GetState(), st.GetMessage())
	}
	if err := syscall.Kill(keeper, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.kill(first, 0)
	if st := m.end(first); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("the run of the keeper that woke up = %v %s", st.GetState(), st.GetMessage())
	}
	waitForDeath(t, "the keeper that was replaced", strconv.Itoa(keeper))
	if text, err := os.ReadFile(tally); string(text) != "first\nsecond\n" {
		t.Errorf("tally = %q, %v; want each run once", text, err)
	}
}
