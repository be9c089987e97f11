package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	logName = "state.log"
	tmpName = "state.log.tmp"

	// compactSlack is how far the log may outgrow twice its live data.
	compactSlack = 32 << 20
)

// A logFile is what the file store asks of an open file.
type logFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (os.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// A disk is the directory of a file store. Tests put a failing one in its place.
type disk interface {
	open(name string, flag int) (logFile, error)
	rename(from, to string) error
	sync() error // makes renames durable
	path(name string) string
}

// A fileStore keeps records in an append-only log of one local directory. Each
// commit is one checksummed frame, synced before commit returns, so a crash
// leaves all of it or nothing. When most of the log is history it is rewritten.
// A flock keeps other processes out until Close.
type fileStore struct {
	disk  disk
	log   *slog.Logger
	lock  *os.File
	file  logFile
	head  logHead
	index map[string]span // where the value of each live key is
	end   int64           // where the next frame goes
	live  int64           // bytes of the log that are not history, about
	slack int64
	retry int64 // no rewrite before the log is this long; set when one failed

	// suspect is why bytes at or after end, or the file's own name, may not be what
	// we think they are: a failed sync, say, after which the kernel may hold pages
	// that it will never write. Nothing is read or written before a rewrite succeeds.
	suspect error
}

// A span is the place of a value in the log.
type span struct {
	offset int64
	length int32
	sum    uint32 // checksum of the value, which is read without the rest of its frame
}

// openFileStore opens or creates the store in dir and locks it. A last commit
// that a crash cut short is dropped; any other damage is an error that names
// file and offset, and changes nothing.
func openFileStore(dir string, log *slog.Logger) (*fileStore, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil { // jobs pass through it to their sandboxes; the files are ours alone
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := openLog(osDisk(dir), log)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// openLog is openFileStore without the lock.
func openLog(d disk, log *slog.Logger) (*fileStore, error) {
	s := &fileStore{disk: d, log: log, index: map[string]span{}, slack: compactSlack}
	file, err := d.open(logName, os.O_RDWR)
	if errors.Is(err, os.ErrNotExist) {
		if err := s.rewrite(); err != nil {
			return nil, fmt.Errorf("create state: %w", err)
		}
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	s.file = file
	if err := s.recover(); err != nil {
		file.Close()
		return nil, err
	}
	return s, nil
}

// recover reads the log, cuts off a torn tail, and syncs: a process killed between
// write and sync leaves frames that are readable now but not after a power failure.
func (s *fileStore) recover() error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	name, size := s.disk.path(logName), info.Size()
	if s.head, err = readLogHead(s.file); err != nil {
		return fmt.Errorf("%s is damaged at offset 0: %w", name, err)
	}
	s.end, err = s.head.scan(s.file, size, func(offset int64, payload []byte) error {
		return eachRecord(payload, func(key string, at, n int) {
			s.place(key, offset, payload, at, n)
		})
	})
	if errors.Is(err, errBadFrame) {
		next, found := s.head.find(s.file, s.end+1, size)
		if found {
			return fmt.Errorf("%s is damaged at offset %d, with good data again at offset %d: restore it from a backup", name, s.end, next)
		}
		s.log.Warn("dropping the last commit, which was cut short", "file", name, "offset", s.end, "bytes", size-s.end)
		err = s.file.Truncate(s.end)
	}
	if err != nil {
		return fmt.Errorf("read %s at offset %d: %w", name, s.end, err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

// place notes that key has the n bytes from at on of the payload at offset as its value, or none if n < 0.
func (s *fileStore) place(key string, offset int64, payload []byte, at, n int) {
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
	if err := s.settle(); err != nil {
		return nil, err
	}
	records := make(map[string][]byte, len(s.index))
	err := s.each(func(key string, value []byte) error {
		records[key] = slices.Clone(value)
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// allKeys implements store.
func (s *fileStore) allKeys() []string { return slices.Collect(maps.Keys(s.index)) }

// read implements store.
func (s *fileStore) read(ctx context.Context, keys []string) ([]reading, error) {
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

// value reads a value by itself. One that is damaged costs a backup only itself.
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
	end, err := s.head.scan(s.file, s.end, func(offset int64, payload []byte) error {
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

// commit implements store. An error that is not a *recordError means that the
// records are not in the store now, but may be after a crash.
func (s *fileStore) commit(ctx context.Context, records []record) error {
	if len(records) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	frame, err := s.head.frame(s.end, records)
	if err != nil {
		return err
	}
	name := s.disk.path(logName)
	if _, err := s.file.WriteAt(frame, s.end); err != nil {
		if undo := s.file.Truncate(s.end); undo != nil {
			s.suspect = undo
		}
		return fmt.Errorf("append to %s: %w", name, err)
	}
	if err := s.file.Sync(); err != nil {
		s.suspect = err
		return fmt.Errorf("sync %s: %w", name, err)
	}
	s.applied(frame)
	if s.end > max(2*s.live+s.slack, s.retry) {
		if err := s.rewrite(); err != nil {
			s.retry = s.end + s.slack
			s.log.Warn("state could not be compacted, trying again later", "file", name, "error", err)
		}
	}
	return nil
}

// applied moves the index and the end past a frame that is durable.
func (s *fileStore) applied(frame []byte) {
	start := s.end + frameHead
	// The payload was encoded a moment ago, so decoding can't fail.
	_ = eachRecord(frame[frameHead:], func(key string, at, n int) {
		s.place(key, start, frame[frameHead:], at, n)
	})
	s.end += int64(len(frame))
}

// settle replaces a file that can't be trusted.
func (s *fileStore) settle() error {
	if s.suspect == nil {
		return nil
	}
	if err := s.rewrite(); err != nil {
		return fmt.Errorf("rewrite state after an earlier failure (%w): %w", s.suspect, err)
	}
	return nil
}

// rewrite puts a log of only the live records in the place of the present one,
// which stays in use, unchanged, if anything fails.
func (s *fileStore) rewrite() error {
	file, err := s.disk.open(tmpName, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	fresh := &fileStore{disk: s.disk, file: file, index: make(map[string]span, len(s.index))}
	err = fresh.fill(s)
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
	s.file, s.head, s.index, s.end, s.live = file, fresh.head, fresh.index, fresh.end, fresh.live
	s.suspect, s.retry = nil, 0
	if err := s.disk.sync(); err != nil {
		// After a crash the old file may be back under the name, without the commits to come.
		s.suspect = err
		return err
	}
	return nil
}

// fill writes the live records of old to the empty s and syncs them.
func (s *fileStore) fill(old *fileStore) error {
	if _, err := rand.Read(s.head.salt[:]); err != nil {
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
	err := old.each(func(key string, value []byte) error {
		records = append(records, record{key, slices.Clone(value)})
		if size += len(key) + len(value); size < batch {
			return nil
		}
		return flush()
	})
	if err == nil && len(records) > 0 {
		err = flush()
	}
	if err != nil {
		return err
	}
	return s.file.Sync()
}

// Close releases the files and the lock. What was committed stays.
func (s *fileStore) Close() error {
	err := s.file.Close()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

var errInUse = errors.New("in use")

// lockDir takes the directory for this process until the file is closed.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, "lock")
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(lock, 20))
		lock.Close()
		return nil, fmt.Errorf("state directory %q is %w by process %s", dir, errInUse, strings.TrimSpace(string(holder)))
	}
	if err == nil {
		err = lock.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(lock, os.Getpid())
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return lock, nil
}

// osDisk is a real directory.
type osDisk string

func (d osDisk) path(name string) string { return filepath.Join(string(d), name) }

func (d osDisk) open(name string, flag int) (logFile, error) {
	f, err := os.OpenFile(d.path(name), flag, 0o600)
	if err != nil {
		return nil, err // not f, which would be a non-nil interface
	}
	return f, nil
}

func (d osDisk) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osDisk) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// recordSize is about what a record takes in the log.
func recordSize(key string, n int) int64 {
	return int64(len(key) + n + binary.MaxVarintLen32)
}

// The log of the file store:
//
//	file    = magic salt[8] crc32c(magic salt)  frame*
//	frame   = length[4] crc32c(payload)[4] crc32c(salt offset length crc)[4]  payload
//	payload = { uvarint(len(key)) key  uvarint(0 = deleted, else 1+len(value)) value }
//
// Fixed-size numbers are little-endian. The salt and the frame's own offset go
// into its checksum, so bytes that look like a frame (an older file's, or part of
// a job) never pass for one.
const (
	logMagic  = "chronos state 1\n"
	logStart  = len(logMagic) + 8 + 4
	frameHead = 12
	maxCut    = 64 << 20 // the most that may be missing of a frame that find takes for one
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	errBadFrame = errors.New("checksum mismatch")
)

// A logHead is the beginning of a log.
type logHead struct{ salt [8]byte }

func (h logHead) encode() []byte {
	b := append([]byte(logMagic), h.salt[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func readLogHead(f io.ReaderAt) (logHead, error) {
	b := make([]byte, logStart)
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return logHead{}, err
	}
	var h logHead
	copy(h.salt[:], b[len(logMagic):])
	if !bytes.Equal(b, h.encode()) {
		return logHead{}, errors.New("not a chronos state file")
	}
	return h, nil
}

// frame encodes records as the frame that belongs at offset.
func (h logHead) frame(offset int64, records []record) ([]byte, error) {
	size := frameHead
	for _, r := range records {
		size += len(r.key) + len(r.value) + 2*binary.MaxVarintLen32
	}
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("%d bytes are too many for one commit", size)
	}
	b := make([]byte, frameHead, size)
	for _, r := range records {
		b = binary.AppendUvarint(b, uint64(len(r.key)))
		b = append(b, r.key...)
		if r.value == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(r.value))+1)
		b = append(b, r.value...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-frameHead))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[frameHead:], castagnoli))
	binary.LittleEndian.PutUint32(b[8:], h.check(offset, b))
	return b, nil
}

// check is the checksum of a frame's head.
func (h logHead) check(offset int64, head []byte) uint32 {
	var b [24]byte
	copy(b[:], h.salt[:])
	binary.LittleEndian.PutUint64(b[8:], uint64(offset))
	copy(b[16:], head[:8])
	return crc32.Checksum(b[:], castagnoli)
}

// length returns the length of the payload after head, if head is the head of a
// frame at offset that ends at or before limit.
func (h logHead) length(offset int64, head []byte, limit int64) (int, bool) {
	n := int64(binary.LittleEndian.Uint32(head))
	ok := n > 0 && n <= limit-offset-frameHead && binary.LittleEndian.Uint32(head[8:]) == h.check(offset, head)
	return int(n), ok
}

// scan visits the payload, and its offset in the file, of every frame before
// limit. It returns the end of the last good frame, with errBadFrame if that is
// not limit. The payload is valid during the call.
func (h logHead) scan(f io.ReaderAt, limit int64, visit func(offset int64, payload []byte) error) (int64, error) {
	at := int64(logStart)
	r := bufio.NewReaderSize(io.NewSectionReader(f, at, limit-at), 1<<20)
	head := make([]byte, frameHead)
	var payload []byte
	for at < limit {
		if _, err := io.ReadFull(r, head); err != nil {
			return at, badIfShort(err)
		}
		n, ok := h.length(at, head, limit)
		if !ok {
			return at, errBadFrame
		}
		if cap(payload) < n {
			payload = make([]byte, n)
		}
		payload = payload[:n]
		if _, err := io.ReadFull(r, payload); err != nil {
			return at, badIfShort(err)
		}
		if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return at, errBadFrame
		}
		if err := visit(at+frameHead, payload); err != nil {
			return at, err
		}
		at += frameHead + int64(n)
	}
	return at, nil
}

// badIfShort turns the end of the file within a frame into errBadFrame.
func badIfShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBadFrame
	}
	return err
}

// find looks for the head of a frame, whole or cut short, at or after from. Where a
// crash cut a commit short there is none: a frame is written only after the one
// before it is durable.
func (h logHead) find(f io.ReaderAt, from, limit int64) (int64, bool) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, limit-from), 1<<20)
	for at := from; ; at++ {
		head, err := r.Peek(frameHead)
		if err != nil {
			return 0, false
		}
		if _, ok := h.length(at, head, limit+maxCut); ok {
			return at, true
		}
		_, _ = r.Discard(1) // just peeked at
	}
}

// eachRecord visits the records of a payload: the key, and the place and length of
// the value in the payload. The length of a deleted one is -1.
func eachRecord(payload []byte, visit func(key string, at, n int)) error {
	at := 0
	length := func() (int, bool) {
		n, size := binary.Uvarint(payload[at:])
		at += max(size, 0)
		return int(n), size > 0 && n <= uint64(len(payload)-at)+1
	}
	for at < len(payload) {
		n, ok := length()
		if !ok || n > len(payload)-at {
			return errBadFrame
		}
		key := string(payload[at : at+n])
		at += n
		n, ok = length()
		if !ok {
			return errBadFrame
		}
		visit(key, at, n-1)
		at += max(n-1, 0)
	}
	return nil
}
