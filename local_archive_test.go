package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// endRun runs a command to its end, which is acknowledged.
func (m *testMesos) endRun(id, command string) {
	m.t.Helper()
	m.launch(shellTask(id, command))
	m.acknowledge(m.end(id))
}

func TestLocalKeepsNoMoreThanTheDiskCanSpare(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{keep: 100, keepBytes: 4 << 20})
	id := func(i int) string { return fmt.Sprintf("ct:%d:0:job%d:", i, i%3) }
	for i := range 8 {
		m.endRun(id(i), "head -c 1000000 /dev/zero")
	}
	has := func(i int) bool { _, ok := m.l.find(id(i)); return ok }
	until(t, "the oldest are gone", func() bool { return !has(3) })
	for i := range 8 {
		if want := i > 4; i != 4 && has(i) != want {
			t.Errorf("run %d is kept: %v, want %v", i, has(i), want)
		}
	}
	if used := diskUsage(filepath.Join(m.l.dir, "ended")); used > 5<<20 {
		t.Errorf("ended runs take %d bytes", used)
	}
}

// What belongs to a deleted job goes with it: what is kept of it, what of it ends later, and
// what was kept of jobs that were deleted while nobody saw to it.
func TestLocalRunsOfADeletedJobGoWithIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var gone atomic.Bool
	long := strings.Repeat("long ", 60) // so that the name of its directory is a digest
	opts := localOptions{hasJob: func(name string) bool { return !gone.Load() || name == "stays" }}
	m := startLocal(t, dir, opts)
	ended := func() (names []string) {
		entries, err := os.ReadDir(filepath.Join(dir, "ended"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	for _, job := range []string{"stays", "goes", "goes unseen", long} {
		m.endRun("ct:1:0:"+job+":", "echo x")
	}
	m.launch(shellTask("ct:2:0:goes:", "sleep 1000"))
	m.update("ct:2:0:goes:", mesos.TASK_RUNNING)
	until(t, "all are archived", func() bool { return len(ended()) == 4 })

	gone.Store(true)
	m.l.removeJob("goes")
	until(t, "what was kept of it is gone", func() bool { return len(ended()) == 3 })
	m.kill("ct:2:0:goes:", 0)
	m.acknowledge(m.end("ct:2:0:goes:"))
	until(t, "what ends later is gone", func() bool { return !m.l.sandbox("ct:2:0:goes:").has("") })
	if names := ended(); len(names) != 3 {
		t.Errorf("kept are %q, want three", names)
	}

	m.stop()
	<-m.ended
	startLocal(t, dir, opts)
	until(t, "what nobody saw to is gone", func() bool { return len(ended()) == 1 })
	if names := ended(); names[0] != "stays" {
		t.Errorf("kept are %q, want that of the job there is", names)
	}
}

// A kill that comes when the run has ended and been archived recreates its directory, which must not stay.
func TestLocalKillThatRacesWithTheEndLeavesNothing(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("raced")
	m.endRun(id, "echo first")
	until(t, "it is archived", func() bool { return m.l.archived(id).has("") })
	// As kill does if the run was archived between its two looks.
	box := m.l.sandbox(id)
	if err := errors.Join(box.create(id), box.kill(t.Context(), 0)); err != nil {
		t.Fatal(err)
	}
	m.reconcile(id)
	m.acknowledge(m.end(id))
	until(t, "the second directory is gone", func() bool { return !box.has("") })
	if text := m.output(id, "stdout"); text != "first\n" {
		t.Errorf("output = %q, want that of the run", text)
	}
	until(t, "the trash is empty", func() bool {
		trash, err := os.ReadDir(filepath.Join(m.l.dir, "trash"))
		return err == nil && len(trash) == 0
	})
}

func TestLocalArchiveOrderStaysSmall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"ended", "trash"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	a := newRunArchive(dir, 3, 0)
	if err := a.count(); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		box := filepath.Join(dir, "ended", "job", sandboxName(fmt.Sprintf("ct:%d:0:job:", i)))
		if err := os.MkdirAll(box, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := a.add(sandbox(box)); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.order) > 1001 || a.runs() != 3 {
		t.Errorf("%d runs kept with a list of %d", a.runs(), len(a.order))
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "ended", "job")); len(entries) != 3 {
		t.Errorf("%d directories, %v, want 3", len(entries), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "trash")); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Jobs that run as somebody else reach their working directories, whoever made the way there, and
// whatever umask is for the files of jobs.
func TestLocalMakesTheWayToSandboxesPassable(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b", "data")
	if err := makePassable(dir); err != nil {
		t.Fatal(err)
	}
	st, err := openFileStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	m := startLocal(t, dir, localOptions{})
	m.launch(shellTask("ct:1:0:j:", "sleep 1000"))
	m.update("ct:1:0:j:", mesos.TASK_RUNNING)
	for _, sub := range []string{"", "runs", "ended", string(m.l.sandbox("ct:1:0:j:"))} {
		at := sub
		if !filepath.IsAbs(sub) {
			at = filepath.Join(dir, sub)
		}
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o711 {
			t.Errorf("%s: %v, %v, want mode 0711", at, info.Mode(), err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && f.Name() != "subscription" && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others may read it", f.Name(), info.Mode())
		}
	}
	m.kill("ct:1:0:j:", 0) // or it would outlive the test
	m.end("ct:1:0:j:")
}
