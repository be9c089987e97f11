package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A logFile is what the file store needs from an open file.
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
	stat(name string) (os.FileInfo, error)
	same(a, b os.FileInfo) bool // whether both are the same file
	rename(from, to string) error
	link(from, to string) error
	sync() error // makes renames durable
	path(name string) string
	reserve(name string, offset, length int64) error // room for a part of a file, whose size stays
	free() (int64, error)                            // bytes that this process may still write
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

func (d osDisk) stat(name string) (os.FileInfo, error) { return os.Stat(d.path(name)) }

func (d osDisk) same(a, b os.FileInfo) bool { return os.SameFile(a, b) }

func (d osDisk) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osDisk) link(from, to string) error { return os.Link(d.path(from), d.path(to)) }

func (d osDisk) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (d osDisk) reserve(name string, offset, length int64) error {
	f, err := os.OpenFile(d.path(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("fallocate", allocate(f, offset, length))
}

func (d osDisk) free() (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(string(d), &fs); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	blocks := fs.Bavail
	if os.Geteuid() == 0 {
		blocks = fs.Bfree // with those that are set aside for root
	}
	return int64(blocks) * int64(fs.Bsize), nil
}

const lockName = "lock"

var errInUse = errors.New("in use")

// lockDir takes the directory for this process until unlock.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockName)
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

// unlock gives the directory back. To close the file alone is not enough: a process that is being started has a copy of it until it runs
// its program, and would hold the lock for so long.
func unlock(lock *os.File) error {
	return errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_UN), lock.Close())
}

// hold makes sure that the directory exists and that this process holds its lock. A directory
// that is gone is created again if its parent still exists.
func (s *fileStore) hold() error {
	if s.lock == nil {
		return nil
	}
	held, err := s.lock.Stat()
	if err != nil {
		return err
	}
	if there, err := s.disk.stat(lockName); err == nil && s.disk.same(held, there) {
		return nil
	}
	dir := s.disk.path("")
	made := os.Mkdir(dir, 0o711)
	lock, err := lockDir(dir)
	if err != nil {
		if made != nil && !errors.Is(made, fs.ErrExist) {
			err = made
		}
		return &fs.PathError{Op: "take again", Path: dir, Err: err}
	}
	unlock(s.lock)
	s.lock = lock
	s.log.Warn("the lock of the state directory was gone; it has been taken again", "dir", dir)
	if made == nil && s.remade != nil {
		s.remade()
	}
	return nil
}

// guard makes sure that the directory is ours, and returns what somebody else has done to
// the log since we last wrote to it, "" for nothing.
func (s *fileStore) guard() (foreign string, err error) {
	if err := s.hold(); err != nil {
		return "", err
	}
	return s.foreign(), nil
}

func (s *fileStore) foreign() string {
	there, err := s.disk.stat(logName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is gone"
	case err != nil:
		return "can't be examined (" + err.Error() + ")"
	case !s.disk.same(there, s.seen):
		return "is a different file from the one in use"
	case there.Size() != s.seen.Size():
		return fmt.Sprintf("has %d bytes, of which this process has written %d", there.Size(), s.seen.Size())
	case there.ModTime().Equal(s.seen.ModTime()):
		return ""
	}
	if err := s.each(func(string, []byte) error { return nil }); err != nil {
		return "has been written to (" + err.Error() + ")"
	}
	s.seen = there // merely touched
	return ""
}

// setAside keeps what somebody else has put in place of the log, under another name.
func (s *fileStore) setAside() error {
	if s.seen == nil {
		return nil
	}
	foreign := s.foreign()
	if foreign == "" {
		return nil
	}
	text := s.disk.path(logName) + " " + foreign + ", and was rewritten"
	if _, err := s.disk.stat(logName); err == nil {
		aside := s.freeName("found-" + time.Now().UTC().Format("20060102T150405Z"))
		// With a link there is no moment without a log. Not every file system has links.
		if s.disk.link(logName, aside) != nil {
			if err := s.disk.rename(logName, aside); err != nil {
				return err
			}
		}
		text += "; what was there is kept as " + s.disk.path(aside)
	}
	s.remark(text)
	return nil
}

// freeName returns a name beside the log's that no file has.
func (s *fileStore) freeName(ending string) string {
	name := logName + "." + ending
	for n := 2; ; n++ {
		if _, err := s.disk.stat(name); err != nil {
			return name
		}
		name = logName + "." + ending + "-" + strconv.Itoa(n)
	}
}

// watchInterval is how often the file is checked while nothing is stored.
const watchInterval = 2 * time.Second

// watch looks after the file until ctx ends.
func (s *fileStore) watch(ctx context.Context) {
	for rest(ctx, watchInterval) {
		if s.mu.TryLock() { // a commit checks by itself
			_ = s.mend() // which has reported it
			s.mu.Unlock()
		}
	}
}

// ready returns why nothing can be stored now, nil if a commit may be tried.
func (s *fileStore) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mend()
}

// mend does what is needed to store again, and reports if that is not enough.
func (s *fileStore) mend() error {
	err := s.settle()
	if err == nil && s.wanted > 0 {
		err = s.makeRoom()
	}
	if err == nil {
		s.lookForRoom()
	}
	s.tell(err)
	return err
}

// reserveSize is how much of the disk the log holds ahead of its end, so that while the disk is full runs can
// still be killed and jobs deleted, which is what makes room.
const reserveSize = 1 << 20

// reserve makes the log hold that much again when half of it is used up.
func (s *fileStore) reserve() {
	if s.held-s.end >= reserveSize/2 {
		return
	}
	err := s.disk.reserve(logName, s.end, reserveSize)
	if err == nil {
		s.held = s.end + reserveSize
	}
	if info, statErr := s.file.Stat(); statErr == nil {
		s.seen = info
	}
	if isFull(err) {
		s.tellFull()
	}
}

// lookForRoom reports when the disk is full, and when it no longer is.
func (s *fileStore) lookForRoom() {
	s.reserve()
	free, err := s.disk.free()
	if err == nil && free < reserveSize {
		s.tellFull()
		return
	}
	if s.held-s.end >= reserveSize/2 || s.held == 0 {
		s.full.note(s.log, "")
	}
}

func (s *fileStore) tellFull() {
	const step = 256 << 10 // so that not every change is logged
	s.full.note(s.log, fmt.Sprintf("disk full: %s; at least %d KiB are left in reserve for changes. Make room there, or delete a job whose runs have taken it",
		s.disk.path(""), max(0, s.held-s.end)/step*step>>10))
}

// makeRoom checks whether there is room by now for what could not be appended.
func (s *fileStore) makeRoom() error {
	err := s.write(make([]byte, s.wanted))
	s.cutBack()
	if info, statErr := s.file.Stat(); statErr == nil {
		s.seen = info
	}
	if err == nil {
		s.wanted = 0
	}
	return err
}

// tell reports in the log and in /health why nothing can be stored, or that storing works again.
func (s *fileStore) tell(err error) {
	switch dir := s.disk.path(""); {
	case err == nil:
		s.refused.note(s.log, "")
	case isFull(err):
		s.full.note(s.log, "") // there is worse to tell
		s.refused.note(s.log, "disk full: "+dir+" ("+err.Error()+"); make room there")
	case errors.Is(err, errInUse):
		s.refused.note(s.log, err.Error()+"; stop one of the two instances: what this one has stays in its memory")
	default:
		s.refused.note(s.log, err.Error()+"; check the directory. Everything is rewritten there once that is possible; until then don't stop this process, or restore a backup afterwards (chronos restore --data_dir "+dir+")")
	}
}

// problems returns what people should know about the state's files.
func (s *fileStore) problems() []string {
	var all []string
	for _, t := range []*trouble{&s.refused, &s.full} {
		if p := t.problem(); p != "" {
			all = append(all, p)
		}
	}
	return append(all, s.remarks.problems()...)
}
