package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A run may write as much as it likes: of more than the bound, the beginning and the end are kept, at the
// offsets where they were written.
func TestLocalOutputIsBounded(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	m := startLocal(t, t.TempDir(), localOptions{outputBytes: most})
	id := runIDFor("chatty")
	m.launch(shellTask(id, "seq -f %07.0f 1 1000000; echo short >&2"))
	if st := m.end(id); st.GetState() != mesos.TASK_FINISHED {
		t.Fatalf("%v %s", st.GetState(), st.GetMessage())
	}
	line := func(i int64) string { return fmt.Sprintf("%07d\n", i) }
	read := func(offset int64) outputPiece {
		p, err := m.l.output(id, "stdout", offset, 16)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := read(0)
	if first.size != 8_000_000 || string(first.text) != line(1)+line(2) {
		t.Errorf("begins with %q of %d bytes", first.text, first.size)
	}
	if p := read(-16); string(p.text) != line(999_999)+line(1_000_000) {
		t.Errorf("ends with %q", p.text)
	}
	middle := read(4_000_000)
	if middle.gap < 2_000_000 || len(middle.text) > 0 {
		t.Errorf("in the middle are %d bytes left out, and %q", middle.gap, middle.text)
	}
	after := 4_000_000 + middle.gap
	if p := read(after); !strings.HasPrefix(line(after/8 + 1)[after%8:]+line(after/8+2), string(p.text)[:8]) {
		t.Errorf("at %d stands %q", after, p.text)
	}
	if used := diskUsage(m.l.sandbox(id).path("stdout")); used > most+64<<10 {
		t.Errorf("stdout takes %d bytes on the disk, want about %d", used, most)
	}
	if text := m.output(id, "stderr"); text != "short\n" {
		t.Errorf("stderr = %q", text)
	}
}

func TestCutOutputKeepsBothEnds(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 1, 99_999, 100_000, 100_001, 1_000_000, 10_000_000} {
		f, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		text := bytes.Repeat([]byte("0123456789"), int(size/10)+1)[:size]
		if _, err := f.Write(text); err != nil {
			t.Fatal(err)
		}
		for range 3 { // and again changes nothing
			if err := cutOutput(f, 100_000); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(f.Name())
		if err != nil || int64(len(got)) != size {
			t.Fatalf("size %d: %d bytes, %v", size, len(got), err)
		}
		first := min(size, 50_000)
		last := max(first, size-50_000)
		if !bytes.Equal(got[:first], text[:first]) || !bytes.Equal(got[last:], text[last:]) {
			t.Errorf("size %d: an end is not what was written", size)
		}
		if rest := bytes.ReplaceAll(got[first:last], []byte{0}, nil); size > 200_000 && len(rest) > 16<<10 {
			t.Errorf("size %d: %d bytes are left in the middle", size, len(rest))
		}
	}
}

// A run that has filled the disk can still be ended: its keeper is told without a file.
func TestLocalKillNeedsNoRoom(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("filler")
	m.launch(shellTask(id, "sleep 1000"))
	m.update(id, mesos.TASK_RUNNING)
	box := m.l.sandbox(id)
	// A directory in the way of the file stands for the disk that has no room for it.
	if err := os.MkdirAll(box.path(filepath.Join("kill", "full")), 0o700); err != nil {
		t.Fatal(err)
	}
	m.kill(id, 0)
	if st := m.end(id); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("ended %v %s, want killed", st.GetState(), st.GetMessage())
	}
}
