package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// keeperWith is testKeeper with a limit of descriptors.
func keeperWith(descriptors int) []string {
	return append([]string{"/bin/sh", "-c", `ulimit -n $0 && exec "$@"`, fmt.Sprint(descriptors)}, testKeeper...)
}

// Wherever descriptors run out on the way to its command, a run that has not begun is told as such, is nobody's, and starts
// when there are enough.
func TestLocalRunThatFindsNoDescriptorsStartsLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tally := t.TempDir() + "/tally"
	reasons := map[string]bool{}
	started := 0
	for limit := 8; started < 3; limit++ {
		if limit == 64 {
			t.Fatal("no run starts with 64 descriptors")
		}
		task := shellTask(runIDFor(fmt.Sprint("limit", limit)), fmt.Sprintf("echo %d >> %s", limit, tally))
		id := task.TaskID.Value
		m := startLocal(t, dir, localOptions{keeper: keeperWith(limit)})
		m.launch(task)
		st := m.end(id)
		m.stop()
		<-m.ended
		if st.GetState() == mesos.TASK_FINISHED {
			started++
			continue
		}
		reasons[strings.TrimPrefix(st.GetMessage(), m.l.dir)] = true
		if !startsLater(&st) {
			t.Fatalf("with %d descriptors: %v %v %q, want it to start later", limit, st.GetState(), st.GetReason(), st.GetMessage())
		}
		if claimed, end, err := m.l.look(id); claimed || end != nil || err != nil {
			t.Fatalf("with %d descriptors the run is claimed: %v, and has ended: %v, %v", limit, claimed, end, err)
		}
		m = startLocal(t, dir, localOptions{})
		m.launch(task)
		if st := m.end(id); st.GetState() != mesos.TASK_FINISHED {
			t.Errorf("with enough descriptors after %d: %v %q", limit, st.GetState(), st.GetMessage())
		}
		m.stop()
		<-m.ended
	}
	text, err := os.ReadFile(tally)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(text))
	if slices.Sort(lines); len(slices.Compact(slices.Clone(lines))) != len(lines) {
		t.Errorf("a run has run twice: %q", lines)
	}
	if len(reasons) < 4 {
		t.Errorf("only %d reasons: %v", len(reasons), reasons)
	}
}

// What a run has fetched and made before it could not be started is gone before it is tried again.
func TestLocalWithdrawnRunLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	l, _ := subscribedLocal(t)
	id := runIDFor("withdrawn")
	task := shellTask(id, "true")
	box := l.sandbox(id)
	must(t, layOut(box, id, &task), os.WriteFile(box.path("lock"), nil, 0o600), box.claim(),
		os.Mkdir(box.path("work"), 0o700), os.WriteFile(box.path("work/fetched"), nil, 0o600), box.withdraw())
	if box.claimed() || box.has("work") || !box.has("task") {
		t.Errorf("left: claim %v, work %v; task %v", box.claimed(), box.has("work"), box.has("task"))
	}
	must(t, box.claim())
}

// The runtime ends a process that finds no thread: a keeper has made its own when it starts.
func TestLocalThreadsAreReserved(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("threads")
	m.launch(shellTask(id, "ls /proc/$PPID/task | wc -l"))
	m.end(id)
	var n int
	if _, err := fmt.Sscan(m.output(id, "stdout"), &n); err != nil || n < keeperThreads {
		t.Errorf("the keeper has %d threads, %v, want at least %d", n, err, keeperThreads)
	}
}
