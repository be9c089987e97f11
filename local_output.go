package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"
)

// An output of a run is a file to which the command itself writes, with nothing
// in between. If it gets too long, its middle is cut out while the run goes on: the
// beginning and the end stay where they are, with a hole in between that takes no space.

// outputPace is how often a keeper checks how much its runs have written.
const outputPace = 500 * time.Millisecond

// cutOutput keeps about the first and the last half of a file that is larger than most.
func cutOutput(f *os.File, most int64) error {
	if f == nil || most <= 0 {
		return nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() <= most {
		return err
	}
	// Only whole blocks: parts of blocks would merely be zeroed.
	const block = 4096
	from := (most/2 + block - 1) / block * block
	to := (info.Size() - most/2) / block * block
	if to <= from {
		return nil
	}
	return punchHole(f, from, to-from)
}

// nextData returns where the first byte from offset on is that is not in a hole, or size.
func nextData(f *os.File, offset, size int64) int64 { return seekTo(f, offset, size, seekData) }

// nextGap returns where the first hole from offset on begins, or size.
func nextGap(f *os.File, offset, size int64) int64 { return seekTo(f, offset, size, seekHole) }

func seekTo(f *os.File, offset, size int64, whence int) int64 {
	at, err := f.Seek(offset, whence)
	switch {
	case errors.Is(err, syscall.ENXIO):
		return size // nothing but a hole
	case err != nil && whence == seekData:
		return offset // this file system does not report holes
	case err != nil:
		return size
	}
	return min(at, size)
}

// maxOutput bounds one answer of output.
const maxOutput = 1 << 20

// output reads a run's stdout or stderr from offset on, also while the run goes on. A negative offset
// counts from the end. errNotFound means that there is no such run or name.
func (l *localCluster) output(id, name string, offset int64, limit int) (outputPiece, error) {
	none := outputPiece{}
	if !slices.Contains(outputs[:], name) {
		return none, fmt.Errorf("output %q: %w", name, errNotFound)
	}
	box, ok := l.find(id)
	if !ok {
		return none, fmt.Errorf("run %q: %w", id, errNotFound)
	}
	f, size, err := openPlain(box.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return none, fmt.Errorf("run %q: %s: %w", id, name, errNotFound)
	}
	if err != nil {
		return none, err
	}
	defer f.Close()
	if offset < 0 {
		offset = max(0, size+offset)
	}
	return readPiece(f, size, offset, limit)
}

// openPlain opens a file of a run, and returns how long it is. A run may be able to put something else there; only plain files are read.
func openPlain(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a plain file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// readPiece reads a file of some size from offset on, up to the next hole.
func readPiece(f *os.File, size, offset int64, limit int) (outputPiece, error) {
	piece := outputPiece{size: size}
	most := max(0, min(int64(limit), maxOutput, size-offset))
	if most == 0 {
		return piece, nil
	}
	if piece.gap = nextData(f, offset, size) - offset; piece.gap > 0 {
		return piece, nil
	}
	piece.text = make([]byte, min(most, nextGap(f, offset, size)-offset))
	n, err := readAt(f, piece.text, offset)
	piece.text = piece.text[:n]
	return piece, err
}

// readAt reads what there is; that it is less is no error.
func readAt(f *os.File, text []byte, offset int64) (int, error) {
	n, err := f.ReadAt(text, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
