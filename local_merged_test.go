package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// writtenOutputs writes outputs as a run would, with a mark after each step of what goes to stdout and to stderr.
func writtenOutputs(t *testing.T, most int, steps ...[2]string) *mergedOutputs {
	t.Helper()
	dir := t.TempDir()
	order := outputOrder{path: filepath.Join(dir, "order"), most: most}
	m := &mergedOutputs{}
	t.Cleanup(m.close)
	for i, name := range outputs {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		m.files[i] = f
	}
	for _, step := range steps {
		for i, text := range step {
			if _, err := m.files[i].WriteString(text); err != nil {
				t.Fatal(err)
			}
			m.sizes[i] += int64(len(text))
		}
		order.add(m.sizes)
	}
	if err := m.readMarks(order.path); err != nil {
		t.Fatal(err)
	}
	if len(m.marks) > most {
		t.Errorf("%d marks were stored, want %d at most", len(m.marks), most)
	}
	return m
}

// all reads everything by parts, and says which of it is from stderr.
func (m *mergedOutputs) all(t *testing.T, part int) string {
	t.Helper()
	var b strings.Builder
	for at := int64(0); ; {
		p, err := m.read(at, part)
		if err != nil {
			t.Fatal(err)
		}
		if p.next != at+int64(len(p.text)) || p.next == at && at != p.size {
			t.Fatalf("at %d of %d: %d bytes, to go on at %d", at, p.size, len(p.text), p.next)
		}
		last := 0
		for _, s := range p.stderr {
			fmt.Fprintf(&b, "%s<%s>", p.text[last:s[0]], p.text[s[0]:s[1]])
			last = s[1]
		}
		b.Write(p.text[last:])
		if at = p.next; at == p.size {
			return strings.ReplaceAll(b.String(), "><", "")
		}
	}
}

func TestOutputsAreMergedInTheirOrder(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*longLine)
	for _, tt := range []struct {
		name        string
		steps       [][2]string
		going, over string
	}{
		{"nothing", nil, "", ""},
		{"one only", [][2]string{{"a\n"}, {"b\n"}}, "a\nb\n", "a\nb\n"},
		{"in turn", [][2]string{{"1\n"}, {"", "2\n"}, {"3\n"}, {"", "4\n"}}, "1\n<2\n>3\n<4\n>", "1\n<2\n>3\n<4\n>"},
		{"both at a time", [][2]string{{"1\n", "2\n"}, {"3\n", "4\n"}}, "1\n<2\n>3\n<4\n>", "1\n<2\n>3\n<4\n>"},
		{"stderr first", [][2]string{{"", "1\n"}, {"2\n"}}, "<1\n>2\n", "<1\n>2\n"},
		{"lines stay whole", [][2]string{{"begin"}, {"", "x\ny"}, {" end\n"}, {"", "z\n"}}, "<x\n>begin end\n<yz\n>", "<x\n>begin end\n<yz\n>"},
		{"a last line that does not end", [][2]string{{"1\n2"}, {"", "3\n4"}}, "1\n<3\n>", "1\n<3\n>2\n<4>"},
		{"a very long line is cut", [][2]string{{long}, {"", "2\n"}, {"y\n"}}, long + "<2\n>y\n", long + "<2\n>y\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := writtenOutputs(t, maxMarks, tt.steps...)
			for _, part := range []int{1, 3, 1 << 20} {
				if len(tt.over) > longLine && part < 100 {
					continue
				}
				m.over = false
				if got := m.all(t, part); got != tt.going {
					t.Errorf("by %d, while the run goes on: %.100q, want %.100q", part, got, tt.going)
				}
				m.over = true
				if got := m.all(t, part); got != tt.over {
					t.Errorf("by %d, when it is over: %.100q, want %.100q", part, got, tt.over)
				}
			}
		})
	}
}

// However often a run changes between its outputs, its marks are bounded, and what it wrote last is in its order.
func TestMarksOfOutputsAreBounded(t *testing.T) {
	t.Parallel()
	for _, most := range []int{64, maxMarks} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			testManyMarks(t, most)
		})
	}
}

func testManyMarks(t *testing.T, most int) {
	const lines = 1000
	var steps [][2]string
	for i := range lines {
		steps = append(steps, [2]string{fmt.Sprintf("out %d\n", i)}, [2]string{"", fmt.Sprintf("err %d\n", i)})
	}
	m := writtenOutputs(t, most, steps...)
	m.over = true
	whole := m.all(t, 1<<20)
	if want := fmt.Sprintf("out %d\n<err %d\n>out %d\n<err %d\n>", lines-2, lines-2, lines-1, lines-1); !strings.HasSuffix(whole, want) {
		t.Errorf("ends with %q, want %q", whole[len(whole)-len(want):], want)
	}
	for i := range lines {
		for _, line := range []string{"out", "err"} {
			if line = fmt.Sprintf("%s %d\n", line, i); strings.Count(whole, line) != 1 {
				t.Errorf("%q is there %d times", line, strings.Count(whole, line))
			}
		}
	}
}

// The keeper of a run sees in which order it writes.
func TestLocalOutputIsMerged(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("both")
	// Each step waits until the keeper has seen the one before.
	seen := func(n int) string {
		return fmt.Sprintf("until [ $(($(wc -c <../order || echo 0))) -ge %d ]; do sleep 0.02; done 2>/dev/null; ", n*markBytes)
	}
	m.launch(shellTask(id, "echo first >&2; "+seen(1)+"echo second; "+seen(2)+"echo third >&2; sleep 0.3; echo fourth"))
	if st := m.end(id); st.GetState() != mesos.TASK_FINISHED {
		t.Fatalf("%v %s", st.GetState(), st.GetMessage())
	}
	p, err := m.l.merged(id, true, 0, 1<<10)
	if err != nil || !strings.HasPrefix(string(p.text), "first\nsecond\nthird\n") || p.size != 26 {
		t.Errorf("merged = %q of %d, %v", p.text, p.size, err)
	}
	if _, err := m.l.merged(runIDFor("unknown"), true, 0, 1<<10); !errors.Is(err, errNotFound) {
		t.Errorf("of an unknown run: %v", err)
	}
	// A run from before the order was recorded.
	box, _ := m.l.find(id)
	if err := os.Remove(box.path("order")); err != nil {
		t.Fatal(err)
	}
	if p, err := m.l.merged(id, true, 0, 1<<10); !errors.Is(err, errNotFound) {
		t.Errorf("without marks: %q, %v", p.text, err)
	}
}
