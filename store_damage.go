package main

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// noDamage is the offset to pass if no damage is accepted.
const noDamage = -1

// A damageError reports a log that is not what was written, or that is missing where there should be one. It
// has been left as it was.
type damageError struct {
	file     string
	missing  bool
	offset   int64
	what     string // what is wrong there
	copy     string // of the whole file; "" if there is none
	uncopied error  // why
	whole    int    // records that can still be read
	jobs     int    // among them
}

func (e *damageError) Error() string {
	dir := filepath.Dir(e.file)
	text := fmt.Sprintf("%s is damaged at offset %d: %s. ", e.file, e.offset, e.what)
	switch {
	case e.missing:
	case e.copy != "":
		text += "A copy is " + e.copy + ". "
	default:
		text += "It could not be copied: " + e.uncopied.Error() + ". "
	}
	return text + fmt.Sprintf("Restore a backup (chronos restore --data_dir %s FILE), or start once with --accept_damaged_state %d, "+
		"which keeps everything that is intact: %d records, of which %d are jobs", dir, e.offset, e.whole, e.jobs)
}

// pastRun returns evidence that jobs have run with this directory, "" if there is none.
func pastRun(d disk) string {
	first := func(dir string) string { // "" if it is empty or not a directory
		entries, _ := os.ReadDir(dir)
		if len(entries) == 0 {
			return ""
		}
		return filepath.Join(dir, entries[0].Name())
	}
	// Sandboxes, as local mode lays them out: runs/<id>, ended/<job>/<id>.
	if run := first(d.path("runs")); run != "" {
		return run
	}
	jobs, _ := os.ReadDir(d.path("ended"))
	for _, job := range jobs {
		if run := first(filepath.Join(d.path("ended"), job.Name())); run != "" {
			return run
		}
	}
	return ""
}

// damaged handles a log that is damaged at s.end: it makes a log of what is intact, if that
// offset is accepted, and returns an error otherwise.
func (s *fileStore) damaged(what string, size, accepted int64) error {
	e := &damageError{file: s.disk.path(logName), offset: s.end, what: what}
	e.copy, e.uncopied = s.copyBeside("damaged", 0, size)
	if err := s.salvage(size); err != nil {
		return fmt.Errorf("read the intact part of %s, which is damaged at offset %d: %w", e.file, e.offset, err)
	}
	e.whole = len(s.index)
	for key := range s.index {
		if strings.HasPrefix(key, "J_") {
			e.jobs++
		}
	}
	if accepted != noDamage && accepted != e.offset {
		e.what += fmt.Sprintf(", not at %d as --accept_damaged_state says", accepted)
	}
	if accepted != e.offset || e.uncopied != nil {
		return e
	}
	if err := s.rewriteFrom(s.eachPlaced); err != nil {
		return fmt.Errorf("rewrite the intact part of %s: %w", e.file, err)
	}
	s.remark(fmt.Sprintf("%s was damaged at offset %d (%s); as --accept_damaged_state says, everything that was intact is kept: %d records, of which %d are jobs; the original file is %s",
		e.file, e.offset, what, e.whole, e.jobs, e.copy))
	return nil
}

// salvage reads every intact frame of a damaged log into the index, including those after the damage.
func (s *fileStore) salvage(size int64) error {
	s.index, s.live = map[string]span{}, 0
	s.head = salvageLogHead(s.file)
	take := func(offset int64, payload []byte) error {
		_, err := s.take(offset, payload)
		return err
	}
	for at := int64(logStart); ; {
		end, err := s.head.scan(s.file, at, size, take)
		if !errors.Is(err, errBadFrame) {
			return err
		}
		next, found := s.head.find(s.file, end+1, size)
		if !found {
			return nil
		}
		at = next
	}
}

// eachPlaced is each for a log with damage between its records, whose frames were intact a moment ago.
func (s *fileStore) eachPlaced(visit func(key string, value []byte) error) error {
	keys := slices.SortedFunc(maps.Keys(s.index), func(a, b string) int { return cmp.Compare(s.index[a].offset, s.index[b].offset) })
	for _, key := range keys {
		value := make([]byte, s.index[key].length)
		if n, err := s.file.ReadAt(value, s.index[key].offset); n < len(value) {
			return err
		}
		if err := visit(key, value); err != nil {
			return err
		}
	}
	return nil
}

// cutTail drops a commit that was cut short, once it is copied.
func (s *fileStore) cutTail(size int64) error {
	name := s.disk.path(logName)
	kept, err := s.copyBeside("tail", s.end, size)
	if err != nil {
		return fmt.Errorf("copy what a crash has left of the last commit, at offset %d of %s: %w", s.end, name, err)
	}
	s.log.Warn("dropping the last commit, which was cut short", "file", name, "offset", s.end, "bytes", size-s.end, "copy", kept)
	if err := s.file.Truncate(s.end); err != nil {
		return fmt.Errorf("cut %s at offset %d: %w", name, s.end, err)
	}
	return nil
}

// beginAgain takes over a log that consists of a head that does not say that records are counted: one that an
// older build has begun and written nothing to, or one by such a build that was truncated.
func (s *fileStore) beginAgain() error {
	kept, err := s.copyBeside("head", 0, int64(logStart))
	if err != nil {
		return fmt.Errorf("copy %s: %w", s.disk.path(logName), err)
	}
	if err := s.rewrite(); err != nil {
		return fmt.Errorf("rewrite %s: %w", s.disk.path(logName), err)
	}
	s.remark(fmt.Sprintf("%s, begun by an older version, holds nothing; if there were jobs, it was truncated: then restore a backup. The original file is %s", s.disk.path(logName), kept))
	return nil
}

// remark reports something that people should know, once in the log and for a while in /health.
func (s *fileStore) remark(text string) {
	s.log.Warn(text)
	s.remarks.add(text)
}

// copyBeside copies a part of the log to a file beside it, unless that exists already, and returns its name.
func (s *fileStore) copyBeside(kind string, from, to int64) (path string, err error) {
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(s.file, from, to-from)); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s.%s-%d-%08x", logName, kind, s.end, sum.Sum32())
	if info, err := s.disk.stat(name); err == nil && info.Size() == to-from {
		return s.disk.path(name), nil
	}
	f, err := s.disk.open(tmpName, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.NewOffsetWriter(f, 0), io.NewSectionReader(s.file, from, to-from))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = s.disk.rename(tmpName, name)
	}
	if err == nil {
		err = s.disk.sync()
	}
	if err != nil {
		return "", err
	}
	return s.disk.path(name), nil
}

// replaceDamaged replaces a damaged or missing state with the one that fill makes. Until
// that is complete the old one stays.
func replaceDamaged(dir string, damage *damageError, log *slog.Logger, fill func(store) error) (err error) {
	if damage.uncopied != nil {
		return damage
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock(lock)
	fresh, err := os.MkdirTemp(dir, "state.new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	s, err := openLog(osDisk(fresh), noDamage, log)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(s), s.Close()); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(fresh, logName), filepath.Join(dir, logName)); err != nil {
		return err
	}
	return osDisk(dir).sync()
}
