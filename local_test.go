package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// Numbers of terms are compared only where the same counter counted both, so that a data
// directory can be used with another ZooKeeper, or none.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, c := range []struct {
		term termID
		want int64 // 0 for a refusal
	}{
		{termID{"a", 7}, 1},
		{termID{"a", 7}, 2}, // again in one term
		{termID{"a", 6}, 0},
		{termID{"a", 8}, 3},
		{termID{"another", 1}, 4},
		{termID{"another", 0}, 0},
		{termID{"", 1}, 5}, // the file store's
		{termID{"", 1}, 6},
		{termID{"a", 5}, 7},
	} {
		got, err := subscribe(dir, c.term)
		if got != c.want || (c.want == 0) != errors.Is(err, errSuperseded) || c.want > 0 && err != nil {
			t.Errorf("%d: subscribe(%v) = %d, %v; want %d", i, c.term, got, err, c.want)
		}
		if got > 0 {
			if now, err := currentEpoch(dir); now != got || err != nil {
				t.Errorf("%d: currentEpoch = %d, %v; want %d", i, now, err, got)
			}
		}
	}
}

func TestSubscribeAfterATornOrOlderFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 1, "00000": 1, "0000000000000000041\n": 42, "0000000000000000041\n7": 42, "torn\n9 a\n": 1} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "subscription"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := subscribe(dir, termID{"a", 3}); got != want || err != nil {
			t.Errorf("subscribe after %q = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestLocalAgentIsTheSameForAllInstances(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := newLocal(dir, localOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newLocal(dir, localOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.agent != b.agent || !strings.HasPrefix(a.agent, "local-") || len(a.agent) < 14 {
		t.Errorf("agents = %q and %q", a.agent, b.agent)
	}
	if size := a.total; size.cpus <= 0 || size.mem <= 0 || size.disk <= 0 {
		t.Errorf("size of this machine = %+v", size)
	}
}

func TestLocalOutput(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("out")
	m.launch(shellTask(id, "printf 0123456789; echo oops >&2; rm -f ../stdin; ln -s /etc/passwd ../link"))
	m.end(id)
	for _, tt := range []struct {
		name   string
		offset int64
		limit  int
		want   string
		size   int64
	}{
		{"stdout", 0, 100, "0123456789", 10},
		{"stdout", 3, 4, "3456", 10},
		{"stdout", -3, 100, "789", 10},
		{"stdout", -30, 2, "01", 10},
		{"stdout", 10, 100, "", 10},
		{"stdout", 11, 100, "", 10},
		{"stdout", 0, -1, "", 10},
		{"stderr", 0, 100, "oops\n", 5},
	} {
		got, err := m.l.output(id, tt.name, tt.offset, tt.limit)
		if string(got.text) != tt.want || got.size != tt.size || got.gap != 0 || err != nil {
			t.Errorf("output(%s, %d, %d) = %q, %d, %v, want %q, %d", tt.name, tt.offset, tt.limit, got.text, got.size, err, tt.want, tt.size)
		}
	}
	for _, bad := range [][2]string{{id, "link"}, {id, "../agent"}, {id, ""}, {"none", "stdout"}, {"../..", "stdout"}} {
		if _, err := m.l.output(bad[0], bad[1], 0, 1); !errors.Is(err, errNotFound) {
			t.Errorf("output(%q, %q) = %v, want %v", bad[0], bad[1], err, errNotFound)
		}
	}
	path := m.l.sandbox(id).path("stdout")
	if err := errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)); err != nil {
		t.Fatal(err)
	}
	if got, err := m.l.output(id, "stdout", 0, 1); err == nil {
		t.Errorf("output through a symbolic link = %q, want an error", got.text)
	}
}

func TestLocalTwoHundredQuickTasks(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{cpus: 3, mem: 1e6, disk: 1e6})
	tally := filepath.Join(t.TempDir(), "tally")
	waiting := make(map[string]bool)
	var queue []mesos.TaskInfo
	for i := range 200 {
		id := runIDFor(fmt.Sprint("quick", i))
		queue = append(queue, shellTask(id, fmt.Sprintf("echo %d >> %s", i, tally)))
		waiting[id] = true
	}
	for len(waiting) > 0 {
		e := m.next("UPDATE or OFFERS", func(e *sched.Event) bool {
			return e.Type == sched.Event_UPDATE || e.Type == sched.Event_OFFERS
		})
		if e.Type == sched.Event_OFFERS {
			n := min(len(queue), int(e.Offers.Offers[0].Resources[0].Scalar.Value*10+0.5))
			if n > 0 {
				m.accept(e.Offers.Offers[0].ID, queue[:n]...)
				queue = queue[n:]
			}
			continue
		}
		st := e.Update.Status
		switch st.GetState() {
		case mesos.TASK_RUNNING:
		case mesos.TASK_FINISHED:
			delete(waiting, st.TaskID.Value)
			m.acknowledge(st)
		default:
			t.Fatalf("%s = %v %q", st.TaskID.Value, st.GetState(), st.GetMessage())
		}
	}
	text, err := os.ReadFile(tally)
	if lines := strings.Count(string(text), "\n"); err != nil || lines != 200 {
		t.Errorf("commands ran = %d, %v; want 200", lines, err)
	}
}

func TestLocalEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before := runtime.NumGoroutine()
	m := startLocal(t, dir, localOptions{})
	id := runIDFor("long")
	m.launch(shellTask(id, "sleep 1000"), shellTask(runIDFor("long2"), "sleep 1000"))
	m.update(id, mesos.TASK_RUNNING)
	m.stop()
	if err := <-m.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v, want %v", err, context.Canceled)
	}
	until(t, "the goroutines of run are gone", func() bool { return runtime.NumGoroutine() <= before })
	done := make(chan error)
	m.l.send(&sched.Call{Type: sched.Call_REVIVE}, func(err error) { done <- err })
	if err := <-done; !errors.Is(err, errNotSent) {
		t.Errorf("send without subscription = %v, want %v", err, errNotSent)
	}
	next := startLocal(t, dir, localOptions{})
	for _, name := range []string{"long", "long2"} {
		next.kill(runIDFor(name), 0)
		if st := next.end(runIDFor(name)); st.GetState() != mesos.TASK_KILLED {
			t.Errorf("kill in the next term = %v", st.GetState())
		}
	}
}

// Where a directory can't be made, its maker says so; /proc says that it does not exist.
func TestDirectoryThatCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/proc/nothing", "/proc/nothing/below", filepath.Join(file, "below")} {
		if err := makePassable(dir); err == nil || !strings.Contains(err.Error(), "mkdir") {
			t.Errorf("makePassable(%s) = %v, want an error", dir, err)
		}
	}
	deep := filepath.Join(t.TempDir(), "a", "b")
	if err := errors.Join(makePassable(deep), makePassable(deep)); err != nil {
		t.Errorf("makePassable, twice: %v", err)
	}
}
