package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
)

const (
	logName = "state.log"
	tmpName = "state.log.tmp"

	// compactSlack is how far the log may outgrow twice its live data.
	compactSlack = 32 << 20
)

// A fileStore keeps records in an append-only log of one local directory. Each
// commit is one checksummed frame, synced before commit returns, so a crash
// leaves all of it or nothing. When most of the log is history it is rewritten.
// A flock keeps other processes out until Close.
//
// What somebody else does to the file or its directory is noticed by watch, or at the latest by the next
// commit. The open file still has every record then, unless it was written to, and the log is
// rewritten from it if the directory is ours; otherwise changes are refused.
type fileStore struct {
	disk disk
	log  *slog.Logger

	mu    sync.Mutex // of what follows, down to wanted
	lock  *os.File   // nil if nobody has to be kept out
	file  logFile
	seen  os.FileInfo // of the file after our last write to it
	head  logHead
	index map[string]span // where the value of each live key is
	end   int64           // where the next frame goes
	live  int64           // roughly how many bytes of the log are not history
	slack int64
	retry int64 // no rewrite before the log is this long; set when one failed
	held  int64 // the disk has room for the file up to here, 0 if that is unknown

	// suspect is why bytes at or after end, or the file's own name, may not be what
	// we think they are: a failed sync, say, after which the kernel may hold pages
	// that it will never write. Nothing is read or written before a rewrite succeeds.
	suspect error
	wanted  int // bytes that the last commit failed to append, 0 if it did not fail

	fresh   bool    // there was no state
	refused trouble // why nothing can be stored
	full    trouble // what can still be stored while the disk is full
	remarks remarks // on what has happened to the file
	remade  func()  // called when the directory had to be created again; may be nil
}

// A span is the position of a value in the log.
type span struct {
	offset int64
	length int32
	sum    uint32 // checksum of the value, which is read without the rest of its frame
}

// openFileStore opens or creates the store in dir and locks it. A last commit
// that a crash cut short is dropped, once it is copied; any other damage is a *damageError
// and changes nothing.
func openFileStore(dir string, log *slog.Logger) (*fileStore, error) {
	return openDamagedStore(dir, noDamage, log)
}

// openDamagedStore is openFileStore, except that damage at the offset accepted is not an error: the store then has
// every record that is intact.
func openDamagedStore(dir string, accepted int64, log *slog.Logger) (*fileStore, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil { // jobs pass through it to their sandboxes; the files are ours alone
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := openLog(osDisk(dir), accepted, log)
	if err != nil {
		unlock(lock)
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// openLog is openDamagedStore without the lock.
func openLog(d disk, accepted int64, log *slog.Logger) (*fileStore, error) {
	s := &fileStore{
		disk: d, log: log, index: map[string]span{}, slack: compactSlack,
		refused: trouble{what: "changes can't be stored in " + d.path(""), over: "changes are stored again"},
		full:    trouble{what: "the disk has no room for what is to come", over: "there is room on the disk again"},
	}
	file, err := d.open(logName, os.O_RDWR)
	if errors.Is(err, os.ErrNotExist) {
		if err := s.begin(accepted); err != nil {
			return nil, err
		}
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	s.file = file
	if err := s.recover(accepted); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

// begin creates the log if there is none.
func (s *fileStore) begin(accepted int64) error {
	past := pastRun(s.disk)
	if past != "" && accepted != 0 {
		return &damageError{file: s.disk.path(logName), what: "the file is missing, but " + past + " is left from an earlier run", missing: true}
	}
	if err := s.rewrite(); err != nil {
		return fmt.Errorf("create state: %w", err)
	}
	if past != "" {
		s.remark(s.disk.path(logName) + " was missing; as --accept_damaged_state says, the state starts empty")
		return nil
	}
	s.fresh = true
	s.log.Info("there was no state; starting with an empty one", "file", s.disk.path(logName))
	return nil
}

// recover reads the log, cuts off a torn tail, and syncs: a process killed between
// write and sync leaves frames that are readable now but not after a power failure.
func (s *fileStore) recover(accepted int64) error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	what, err := s.replay(info.Size())
	switch {
	case err != nil:
	case what != "":
		err = s.damaged(what, info.Size(), accepted)
	case s.end < info.Size():
		err = s.cutTail(info.Size())
	case s.end == int64(logStart) && !s.head.counts():
		err = s.beginAgain()
	}
	if err != nil {
		return err
	}
	if accepted != noDamage && what == "" {
		s.log.Warn("--accept_damaged_state has no effect: the state is not damaged", "file", s.disk.path(logName))
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.disk.path(logName), err)
	}
	s.seen, err = s.file.Stat()
	if err == nil {
		s.lookForRoom()
	}
	return err
}

// replay reads the frames of a log of that size into the index. It returns what is damaged at s.end, ""
// if nothing is: then anything after s.end is a commit that was cut short.
func (s *fileStore) replay(size int64) (damage string, err error) {
	head, err := readLogHead(s.file)
	if err != nil {
		return err.Error(), nil
	}
	s.head = head
	uncounted, counted, whole := head.counts(), 0, 0
	s.end, err = head.scan(s.file, int64(logStart), size, func(offset int64, payload []byte) (err error) {
		if uncounted {
			uncounted = false
			counted, err = head.count(payload)
			return err
		}
		n, err := s.take(offset, payload)
		whole += n
		return err
	})
	switch {
	case err != nil && !errors.Is(err, errBadFrame):
		return "", fmt.Errorf("read %s at offset %d: %w", s.disk.path(logName), s.end, err)
	case s.end == int64(logStart) && head.counts():
		return "the number of its records is missing", nil
	case whole < counted:
		return fmt.Sprintf("it started with %d records, of which %d are left", counted, whole), nil
	case err == nil:
		return "", nil
	}
	if next, found := head.goesOn(s.file, s.end, size); found {
		return fmt.Sprintf("it continues at offset %d", next), nil
	}
	if s.end == int64(logStart) {
		return "none of its records is intact", nil
	}
	return "", nil
}

// take indexes the records of a payload, if it is valid, and returns how many there are.
func (s *fileStore) take(offset int64, payload []byte) (n int, err error) {
	type place struct {
		key   string
		at, n int
	}
	var places []place
	err = eachRecord(payload, func(key string, at, n int) { places = append(places, place{key, at, n}) })
	if err != nil {
		return 0, err
	}
	for _, p := range places {
		s.locate(p.key, offset, payload, p.at, p.n)
	}
	return len(places), nil
}

// locate records that the value of key is the n bytes from at on of the payload at offset, or that it has none if n < 0.
func (s *fileStore) locate(key string, offset int64, payload []byte, at, n int) {
	if old, ok := s.index[key]; ok {
		s.live -= recordSize(key, int(old.length))
		delete(s.index, key)
	}
	if n >= 0 {
		s.index[key] = span{offset + int64(at), int32(n), crc32.Checksum(payload[at:at+n], castagnoli)}
		s.live += recordSize(key, n)
	}
}

// load implements store.
func (s *fileStore) load(ctx context.Context) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.settle(); err != nil {
		return nil, err
	}
	records := make(map[string][]byte, len(s.index))
	err := s.each(func(key string, value []byte) error {
		if !onDemand(key) {
			records[key] = slices.Clone(value)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// allKeys implements store.
func (s *fileStore) allKeys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.index))
}

// read implements store.
func (s *fileStore) read(ctx context.Context, keys []string) ([]reading, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.settle(); err != nil {
		return nil, err
	}
	readings := make([]reading, len(keys))
	for i, key := range keys {
		r := &readings[i]
		r.key = key
		if at, ok := s.index[key]; ok {
			r.value, r.err = s.value(at)
		}
	}
	return readings, ctx.Err()
}

// value reads a single value. If one is damaged, a backup lacks only that one.
func (s *fileStore) value(at span) ([]byte, error) {
	value := make([]byte, at.length)
	_, err := s.file.ReadAt(value, at.offset)
	if err == nil && crc32.Checksum(value, castagnoli) != at.sum {
		err = errBadFrame
	}
	if err != nil {
		return nil, fmt.Errorf("read %s at offset %d: %w", s.disk.path(logName), at.offset, err)
	}
	return value, nil
}

// each visits the live records in the order of the log. The value is valid during the call.
func (s *fileStore) each(visit func(key string, value []byte) error) error {
	if s.file == nil {
		return nil
	}
	end, err := s.head.scan(s.file, int64(logStart), s.end, func(offset int64, payload []byte) error {
		var failed error
		err := eachRecord(payload, func(key string, at, n int) {
			if n >= 0 && failed == nil && s.index[key].offset == offset+int64(at) {
				failed = visit(key, payload[at:at+n:at+n])
			}
		})
		return errors.Join(err, failed)
	})
	if err != nil {
		return fmt.Errorf("read %s at offset %d: %w", s.disk.path(logName), end, err)
	}
	return nil
}

// size implements store.
func (s *fileStore) size(r record) int { return len(r.key) + len(r.value) + 2*binary.MaxVarintLen64 }

// commit implements store. An error that is not a *recordError means that the
// records are not in the store now, but may be after a crash.
func (s *fileStore) commit(ctx context.Context, records []record) error {
	if len(records) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.settle()
	if err == nil {
		err = s.append(records)
	}
	s.tell(err)
	return err
}

// append writes one frame.
func (s *fileStore) append(records []record) error {
	frame, err := s.head.frame(s.end, records)
	if err != nil {
		return err
	}
	if err := s.write(frame); err != nil {
		s.wanted = len(frame)
		return err
	}
	s.wanted = 0
	s.applied(frame)
	s.reserve()
	if s.end > max(2*s.live+s.slack, s.retry) {
		if err := s.rewrite(); err != nil {
			s.retry = s.end + s.slack
			s.log.Warn("state could not be compacted, trying again later", "file", s.disk.path(logName), "error", err)
		}
	}
	return nil
}

// write makes bytes durable at the end of the log, which it does not move.
func (s *fileStore) write(b []byte) error {
	defer func() {
		if info, err := s.file.Stat(); err == nil {
			s.seen = info
		}
	}()
	name := s.disk.path(logName)
	if _, err := s.file.WriteAt(b, s.end); err != nil {
		s.cutBack()
		return fmt.Errorf("append to %s: %w", name, err)
	}
	if err := s.file.Sync(); err != nil {
		s.suspect = err
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

// cutBack takes back what was written behind the end of the log, and with it the room that was held there.
func (s *fileStore) cutBack() {
	if err := s.file.Truncate(s.end); err != nil {
		s.suspect = err
	}
	s.held = 0
}

// applied moves the index and the end past a frame that is durable.
func (s *fileStore) applied(frame []byte) {
	start := s.end + frameHead
	// The payload was encoded a moment ago, so decoding can't fail.
	_ = eachRecord(frame[frameHead:], func(key string, at, n int) {
		s.locate(key, start, frame[frameHead:], at, n)
	})
	s.end += int64(len(frame))
}

// settle replaces a file that can't be trusted.
func (s *fileStore) settle() error {
	foreign, err := s.guard()
	if err != nil {
		return err
	}
	if foreign == "" && s.suspect == nil {
		return nil
	}
	if err := s.rewrite(); err != nil {
		if foreign != "" {
			name := s.disk.path(logName)
			return &os.PathError{Op: "keep", Path: name, Err: fmt.Errorf("%s %s, and can't be rewritten: %w", name, foreign, err)}
		}
		return fmt.Errorf("rewrite state after an earlier failure (%w): %w", s.suspect, err)
	}
	return nil
}

// rewrite replaces the current log with one of only the live records. The current one
// stays in use, unchanged, if anything fails.
func (s *fileStore) rewrite() error { return s.rewriteFrom(s.each) }

// rewriteFrom is rewrite with the live records as each gives them.
func (s *fileStore) rewriteFrom(each func(visit func(key string, value []byte) error) error) error {
	file, err := s.disk.open(tmpName, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	fresh := &fileStore{disk: s.disk, file: file, index: make(map[string]span, len(s.index))}
	err = fresh.fill(len(s.index), each)
	if err == nil {
		fresh.seen, err = file.Stat()
	}
	if err == nil {
		err = s.setAside()
	}
	if err == nil {
		err = s.disk.rename(tmpName, logName)
	}
	if err != nil {
		_ = file.Truncate(0) // the disk may be full
		file.Close()
		return err
	}
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.seen, s.head, s.index, s.end, s.live = file, fresh.seen, fresh.head, fresh.index, fresh.end, fresh.live
	s.suspect, s.retry, s.held = nil, 0, 0
	s.reserve()
	if err := s.disk.sync(); err != nil {
		// After a crash the old file may be back under the name, without the commits to come.
		s.suspect = err
		return err
	}
	return nil
}

// fill writes n records to the empty s and syncs them.
func (s *fileStore) fill(n int, each func(visit func(key string, value []byte) error) error) (err error) {
	if s.head, err = newLogHead(); err != nil {
		return err
	}
	head := s.head.encode()
	if _, err := s.file.WriteAt(head, 0); err != nil {
		return err
	}
	s.end = int64(len(head))

	const batch = 1 << 20
	var records []record
	size := 0
	flush := func() error {
		frame, err := s.head.frame(s.end, records)
		if err != nil {
			return err
		}
		if _, err := s.file.WriteAt(frame, s.end); err != nil {
			return err
		}
		s.applied(frame)
		records, size = records[:0], 0
		return nil
	}
	records = append(records, record{key: s.head.countKey(n)})
	if err := flush(); err != nil {
		return err
	}
	err = each(func(key string, value []byte) error {
		records = append(records, record{key, slices.Clone(value)})
		if size += len(key) + len(value); size < batch {
			return nil
		}
		return flush()
	})
	if err == nil && len(records) > 0 {
		err = flush()
	}
	if err == nil && len(s.index) != n {
		err = fmt.Errorf("%d of %d records were read", len(s.index), n)
	}
	if err != nil {
		return err
	}
	return s.file.Sync()
}

// Close releases the files and the lock. What was committed stays.
func (s *fileStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.file.Close()
	if s.lock != nil {
		err = errors.Join(err, unlock(s.lock))
	}
	return err
}

// recordSize is roughly what a record takes in the log.
func recordSize(key string, n int) int64 {
	return int64(len(key) + n + binary.MaxVarintLen32)
}
