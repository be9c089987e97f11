package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"sync"
	"syscall"
	"time"
)

// A command writes to its two outputs itself, so nobody sees the order of what it writes. A keeper
// looks now and then how long both are, and from these marks they can be merged: the file order of a
// sandbox has them one after the other.

const (
	// youngPace is how often a keeper looks while a run is young: most runs that write to both are short.
	youngPace = 100 * time.Millisecond
	young     = 10 * time.Second
	// maxMarks bounds the marks of a run. If there are more, every other one of the older ones is dropped.
	maxMarks  = 4096
	markBytes = 16
	// longLine is how far back a mark looks for the end of a line, so that lines stay whole.
	longLine = 4096
	// maxStretches bounds how often one answer may change between the outputs.
	maxStretches = 256
)

// outputs are the names of a run's outputs, in the order of a mark.
var outputs = [2]string{"stdout", "stderr"}

// An outputMark is how long stdout and stderr were at some moment.
type outputMark [2]int64

func (m outputMark) sum() int64 { return m[0] + m[1] }

// An outputOrder records the marks of a run.
type outputOrder struct {
	mu     sync.Mutex
	path   string
	most   int
	marks  []outputMark
	broken bool // it can't be recorded, so what follows has no order
}

// add takes what the outputs' lengths are now. A mark that leaves the order as it was replaces the last one.
func (o *outputOrder) add(now outputMark) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.marks)
	var last, before outputMark
	if n > 0 {
		last = o.marks[n-1]
	}
	if n > 1 {
		before = o.marks[n-2]
	}
	if o.broken || now == last || now[0] < last[0] || now[1] < last[1] {
		return
	}
	first := n // to be written
	if n > 0 && (last[1] == before[1] || now[0] == last[0]) {
		first--
		o.marks[first] = now
	} else {
		o.marks = append(o.marks, now)
	}
	if len(o.marks) > o.most {
		first, o.marks = 0, thinned(o.marks)
	}
	o.broken = o.write(first) != nil
}

// thinned drops every other one of the marks, except for the newest quarter: who follows a run reads there.
func thinned(marks []outputMark) []outputMark {
	kept := marks[:0:0]
	for i, m := range marks {
		if i%2 == 1 || i >= len(marks)*3/4 {
			kept = append(kept, m)
		}
	}
	return kept
}

// write stores the marks from an index on.
func (o *outputOrder) write(first int) error {
	f, err := os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	var text []byte
	for _, m := range o.marks[first:] {
		text = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(text, uint64(m[0])), uint64(m[1]))
	}
	_, err = f.WriteAt(text, int64(first)*markBytes)
	if err == nil && first == 0 {
		err = f.Truncate(int64(len(text)))
	}
	return errors.Join(err, f.Close())
}

// markOutputs records how long the outputs are. At the end of a run that has written to one only, there is nothing to record.
func (r *keptRun) markOutputs(ended bool) {
	var now outputMark
	for i, f := range []*os.File{r.stdout, r.stderr} {
		info, err := f.Stat()
		if err != nil {
			return
		}
		now[i] = info.Size()
	}
	if ended && (now[0] == 0 || now[1] == 0) {
		return
	}
	r.order.add(now)
}

// mergedOutputs are both outputs of a run, in the order that its marks tell.
type mergedOutputs struct {
	files [2]*os.File
	sizes outputMark
	marks []outputMark
	over  bool // the run has ended: what no mark tells comes last
}

// merged reads both outputs of a run from offset on, in the order in which they were written. A negative
// offset counts from the end. errNotFound means that there is no such run, or that the order is not known.
func (l *localCluster) merged(id string, over bool, offset int64, limit int) (mergedPiece, error) {
	box, ok := l.find(id)
	if !ok {
		return mergedPiece{}, fmt.Errorf("run %q: %w", id, errNotFound)
	}
	m := &mergedOutputs{over: over}
	defer m.close()
	for i, name := range outputs {
		f, size, err := openPlain(box.path(name))
		if errors.Is(err, fs.ErrNotExist) && !over {
			continue // it is about to begin
		}
		if errors.Is(err, fs.ErrNotExist) {
			return mergedPiece{}, fmt.Errorf("run %q: %s: %w", id, name, errNotFound)
		}
		if err != nil {
			return mergedPiece{}, err
		}
		m.files[i], m.sizes[i] = f, size
	}
	if err := m.readMarks(box.path("order")); err != nil {
		return mergedPiece{}, err
	}
	if over && len(m.marks) == 0 && m.sizes[0] > 0 && m.sizes[1] > 0 {
		return mergedPiece{}, fmt.Errorf("order of the output of run %q: %w", id, errNotFound)
	}
	return m.read(offset, limit)
}

func (m *mergedOutputs) close() {
	for _, f := range m.files {
		if f != nil {
			f.Close()
		}
	}
}

// readMarks reads the marks, up to one that can't be right.
func (m *mergedOutputs) readMarks(path string) error {
	f, size, err := openPlain(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text := make([]byte, min(size, (maxMarks+1)*markBytes)/markBytes*markBytes)
	n, err := readAt(f, text, 0)
	last := outputMark{}
	for text = text[:n/markBytes*markBytes]; len(text) > 0; text = text[markBytes:] {
		next := outputMark{int64(binary.LittleEndian.Uint64(text)), int64(binary.LittleEndian.Uint64(text[8:]))}
		if next[0] < last[0] || next[1] < last[1] || next[0] > m.sizes[0] || next[1] > m.sizes[1] {
			break
		}
		m.marks = append(m.marks, next)
		last = next
	}
	return err
}

// steps counts the marks, and the end of a run as one more.
func (m *mergedOutputs) steps() int {
	if m.over {
		return len(m.marks) + 1
	}
	return len(m.marks)
}

// until returns how much of both outputs belongs to the steps up to one. Except at the end of a run, these are whole lines.
func (m *mergedOutputs) until(step int) (outputMark, error) {
	switch {
	case step < 0:
		return outputMark{}, nil
	case step == len(m.marks):
		return m.sizes, nil
	}
	at := m.marks[step]
	var err [2]error
	for i, f := range m.files {
		at[i], err[i] = lineEnd(f, at[i])
	}
	return at, errors.Join(err[0], err[1])
}

// lineEnd returns where the last line ends that ends at an offset or before, or the offset if the line is a long one.
func lineEnd(f *os.File, offset int64) (int64, error) {
	if offset == 0 {
		return 0, nil
	}
	text := make([]byte, min(offset, longLine))
	n, err := readAt(f, text, offset-int64(len(text)))
	if err != nil {
		return 0, err
	}
	if i := bytes.LastIndexByte(text[:n], '\n'); i >= 0 {
		return offset - int64(n-i-1), nil
	}
	if offset < longLine {
		return 0, nil
	}
	return offset, nil
}

// unended returns 1 if stdout ends without the end of a line and something of stderr follows.
func (m *mergedOutputs) unended() (int64, error) {
	if m.sizes[0] == 0 || m.sizes[1] == 0 {
		return 0, nil
	}
	last := make([]byte, 1)
	if _, err := readAt(m.files[0], last, m.sizes[0]-1); err != nil || last[0] == '\n' {
		return 0, err
	}
	return 1, nil
}

// read returns what begins at an offset.
func (m *mergedOutputs) read(offset int64, limit int) (p mergedPiece, err error) {
	steps := m.steps()
	whole, err := m.until(steps - 1)
	if err != nil {
		return p, err
	}
	var gap int64 // a line end between the outputs that neither of them has
	if m.over {
		if gap, err = m.unended(); err != nil {
			return p, err
		}
	}
	p.size = whole.sum() + gap
	if offset < 0 {
		offset = max(0, p.size+offset)
	}
	p.next = min(offset, p.size)
	first := sort.Search(steps-1, func(step int) bool {
		at, failed := m.until(step)
		err = errors.Join(err, failed)
		return at.sum() > offset
	})
	for step := max(first, 0); step < steps && err == nil && p.next < p.size && len(p.text) < limit && len(p.stderr) < maxStretches; step++ {
		err = m.readStep(&p, step, gap, limit)
	}
	return p, err
}

// readStep appends what was written between two marks, from p.next on.
func (m *mergedOutputs) readStep(p *mergedPiece, step int, gap int64, limit int) error {
	from, err := m.until(step - 1)
	if err != nil {
		return err
	}
	to, err := m.until(step)
	if err != nil {
		return err
	}
	begin := from.sum() // in the merged output
	for i := range outputs {
		at, n := from[i], to[i]-from[i]
		if skip := min(n, max(0, p.next-begin)); skip > 0 {
			at += skip
		}
		begin += n
		start := len(p.text)
		for at < to[i] && len(p.text) < limit {
			piece, err := readPiece(m.files[i], to[i], at, limit-len(p.text))
			if err != nil {
				return err
			}
			covered := int64(len(piece.text))
			if piece.gap > 0 {
				covered = min(piece.gap, to[i]-at)
				piece.text = leftOut(covered)
			}
			if covered == 0 {
				return fmt.Errorf("read %s at %d: %w", m.files[i].Name(), at, io.ErrUnexpectedEOF)
			}
			p.text = append(p.text, piece.text...)
			at += covered
			p.next += covered
		}
		if i == 1 && len(p.text) > start {
			p.stderr = append(p.stderr, [2]int{start, len(p.text)})
		}
		if at < to[i] {
			return nil
		}
		if i == 0 && step == len(m.marks) && gap > 0 {
			if p.next == begin && len(p.text) < limit {
				p.text = append(p.text, '\n')
				p.next++
			}
			begin += gap
		}
	}
	return nil
}
