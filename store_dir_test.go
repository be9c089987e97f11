package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// watchedStore is a store with two jobs whose log a test can read.
func watchedStore(t *testing.T) (s *fileStore, dir string, log *logBuffer) {
	t.Helper()
	dir, log = filepath.Join(t.TempDir(), "data"), &logBuffer{}
	s, err := openFileStore(dir, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	mustCommit(t, s, put("J_a", "1"))
	mustCommit(t, s, put("J_b", "2"))
	return s, dir, log
}

// must ends the test on the first error.
func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// What somebody does to the file or the directory of a running instance costs nothing as long as the
// directory is this process's and every record can be read: the file is rewritten, and what was there is kept.
func TestFileThatChangesUnderARunningInstanceIsWrittenAnew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		meddle func(t *testing.T, dir, file string)
		says   string
		found  string // what is to be kept of what was there; "" for nothing
	}{
		{"deleted", func(t *testing.T, _, file string) { must(t, os.Remove(file)) }, "is gone", ""},
		{"replaced", func(t *testing.T, _, file string) {
			must(t, os.Remove(file), os.WriteFile(file, []byte("another"), 0o600))
		}, "is a different file", "another"},
		{"emptied by replacement", func(t *testing.T, _, file string) {
			must(t, os.Rename(file, file+".old"), os.WriteFile(file, nil, 0o600))
		}, "is a different file", ""},
		{"appended to", func(t *testing.T, _, file string) {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("appendix")
			must(t, err, f.Close())
		}, "of which this process has written", "appendix"},
		{"all files deleted", func(t *testing.T, dir, file string) {
			must(t, os.Remove(file), os.Remove(filepath.Join(dir, lockName)))
		}, "is gone", ""},
		{"directory deleted", func(t *testing.T, dir, _ string) { must(t, os.RemoveAll(dir)) }, "is gone", ""},
		{"directory replaced", func(t *testing.T, dir, file string) {
			must(t, os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700), os.WriteFile(file, []byte("older"), 0o600))
		}, "is a different file", "older"},
	} {
		for _, noticed := range []string{"by the next commit", "while nothing is stored", "by the next term"} {
			t.Run(test.name+" "+noticed, func(t *testing.T) {
				s, dir, log := watchedStore(t)
				file := filepath.Join(dir, logName)
				remade := 0
				s.remade = func() { remade++ }
				test.meddle(t, dir, file)
				switch noticed {
				case "by the next commit":
					mustCommit(t, s, put("J_c", "3"))
				case "by the next term":
					wantRecords(t, s, map[string]string{"J_a": "1", "J_b": "2"})
				default:
					if err := s.ready(); err != nil { // which watch calls
						t.Fatal(err)
					}
				}
				if p := strings.Join(s.problems(), "\n"); !strings.Contains(p, test.says) || !strings.Contains(log.String(), test.says) {
					t.Errorf("health %q and log %q do not both say %q", p, log.String(), test.says)
				}
				var kept string
				found, _ := filepath.Glob(file + ".found-*")
				for _, name := range found {
					kept += string(readFile(t, name))
				}
				if !strings.HasSuffix(kept, test.found) || (test.found == "") != (kept == "") {
					t.Errorf("kept %q of what was there, want %q", kept, test.found)
				}
				if made := strings.HasPrefix(test.name, "directory deleted"); made != (remade == 1) {
					t.Errorf("told %d times that the directory was made again", remade)
				}
				if _, err := openFileStore(dir, slog.New(slog.DiscardHandler)); !errors.Is(err, errInUse) {
					t.Errorf("another process gets the directory: %v", err)
				}
				mustCommit(t, s, put("J_c", "3"))
				s.Close()
				wantRecords(t, openTestStore(t, dir), map[string]string{"J_a": "1", "J_b": "2", "J_c": "3"})
			})
		}
	}
}

// Where that can't be done changes are refused with a text that says what is wrong, nothing that is there is
// touched, and they are taken again when it is over.
func TestChangesAreRefusedWhileTheStateIsNotOurs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		meddle func(t *testing.T, dir string) (undo func())
		says   string
	}{
		{"locked by another process", func(t *testing.T, dir string) func() {
			must(t, os.Remove(filepath.Join(dir, lockName)))
			lock, err := lockDir(dir) // of another open file, as another process has it
			must(t, err)
			return func() { unlock(lock) }
		}, "in use by process"},
		{"the directory above is gone", func(t *testing.T, dir string) func() {
			above := filepath.Dir(dir)
			must(t, os.Rename(above, above+".away"))
			return func() { must(t, os.Rename(above+".away", above)) }
		}, "no such file or directory"},
		{"the directory is a file", func(t *testing.T, dir string) func() {
			must(t, os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600))
			return func() { must(t, os.Remove(dir), os.Rename(dir+".away", dir)) }
		}, "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, dir, log := watchedStore(t)
			undo := test.meddle(t, dir)
			for range 2 {
				err := s.commit(t.Context(), []record{put("J_c", "3")})
				pe, ok := errors.AsType[*fs.PathError](err) // which is answered with 507
				if !ok || !strings.Contains(pe.Error(), test.says) {
					t.Fatalf("commit = %v, want a refusal that says %q", err, test.says)
				}
			}
			if p := strings.Join(s.problems(), "\n"); !strings.Contains(p, test.says) || !strings.Contains(log.String(), "can't be stored") {
				t.Errorf("health %q, log %q", p, log.String())
			}
			undo()
			if err := s.ready(); err != nil {
				t.Fatalf("after it is over: %v", err)
			}
			if s.refused.problem() != "" || !strings.Contains(log.String(), "changes are stored again") {
				t.Errorf("health still says %q, log %q", s.refused.problem(), log.String())
			}
			mustCommit(t, s, put("J_d", "4"))
			s.Close()
			wantRecords(t, openTestStore(t, dir), map[string]string{"J_a": "1", "J_b": "2", "J_d": "4"})
		})
	}
}

// A file that somebody has written into, or cut, has lost records that nobody else has: it is left alone.
func TestFileThatWasWrittenIntoIsNotOverwritten(t *testing.T) {
	t.Parallel()
	for name, meddle := range map[string]func(file string) error{
		"cut":     func(file string) error { return os.Truncate(file, 60) },
		"emptied": func(file string) error { return os.Truncate(file, 0) },
		"a byte changed": func(file string) error {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			info, err := f.Stat()
			_, werr := f.WriteAt([]byte("x"), info.Size()-1)
			later := info.ModTime().Add(1e9) // whatever the grain of the clock
			return errors.Join(err, werr, f.Close(), os.Chtimes(file, later, later))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir, log := watchedStore(t)
			file := filepath.Join(dir, logName)
			must(t, meddle(file))
			left := string(readFile(t, file))
			for range 2 {
				err := s.commit(t.Context(), []record{put("J_c", "3")})
				if pe, ok := errors.AsType[*fs.PathError](err); !ok || !strings.Contains(pe.Error(), "can't be rewritten") {
					t.Fatalf("commit = %v, want a refusal", err)
				}
			}
			if now := string(readFile(t, file)); now != left {
				t.Errorf("the file was changed from %q to %q", left, now)
			}
			if p := strings.Join(s.problems(), "\n"); !strings.Contains(p, "chronos restore --data_dir "+dir) || !strings.Contains(log.String(), "can't be rewritten") {
				t.Errorf("health %q, log %q", p, log.String())
			}
		})
	}
}

// Touching the file, or linking it elsewhere, is not worth reporting.
func TestFileThatIsOnlyTouchedIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	s, dir, _ := watchedStore(t)
	file := filepath.Join(dir, logName)
	before, err := os.Stat(file)
	must(t, err, os.Chtimes(file, before.ModTime().Add(1e9), before.ModTime().Add(1e9)), os.Link(file, file+".backup"))
	mustCommit(t, s, put("J_c", "3"))
	after, err := os.Stat(file)
	must(t, err)
	if !os.SameFile(before, after) || len(s.problems()) > 0 {
		t.Errorf("the file was written anew; problems %q", s.problems())
	}
}

// The lock of a process that lost it to another is not taken back by force.
func TestDirectoryTakenByAnotherProcessStaysIts(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("FILESTORE_TAKER"); dir != "" {
		s := openTestStore(t, dir)
		mustCommit(t, s, put("J_theirs", "1"))
		fmt.Println("taken")
		os.Stdin.Read(make([]byte, 1))
		return
	}
	s, dir, _ := watchedStore(t)
	must(t, os.Remove(filepath.Join(dir, lockName)))
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "FILESTORE_TAKER="+dir)
	in, err := child.StdinPipe()
	must(t, err)
	out, err := child.StdoutPipe()
	must(t, err, child.Start())
	t.Cleanup(func() { in.Close(); child.Wait() })
	if line := make([]byte, 6); true {
		if _, err := out.Read(line); err != nil || string(line) != "taken\n" {
			t.Fatalf("the other process says %q, %v", line, err)
		}
	}
	theirs := string(readFile(t, filepath.Join(dir, logName)))
	if err := s.commit(t.Context(), []record{put("J_c", "3")}); !errors.Is(err, errInUse) || !strings.Contains(err.Error(), fmt.Sprint(child.Process.Pid)) {
		t.Errorf("commit = %v, want a refusal that names process %d", err, child.Process.Pid)
	}
	if now := string(readFile(t, filepath.Join(dir, logName))); now != theirs {
		t.Error("the other process's state was changed")
	}
}

// Nothing is tried again on a full disk before there is room for what did not fit.
func TestFullDiskIsSaidAndTriedAgainWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	var log logBuffer
	d := &faultyDisk{osDisk: osDisk(t.TempDir()), cause: syscall.ENOSPC}
	s, err := openLog(d, noDamage, slog.New(slog.NewTextHandler(&log, nil)))
	must(t, err)
	defer s.Close()
	mustCommit(t, s, put("J_a", "1"))
	d.n, d.failAt, d.full = 0, 1, true
	if err := s.commit(t.Context(), []record{put("J_b", "2")}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("commit on a full disk = %v", err)
	}
	for range 2 {
		if err := s.ready(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("ready on a full disk = %v", err)
		}
	}
	if p := strings.Join(s.problems(), "\n"); !strings.Contains(p, "disk full: "+s.disk.path("")) || !strings.Contains(log.String(), "disk full: ") {
		t.Errorf("health %q, log %q", p, log.String())
	}
	d.full = false
	must(t, s.ready())
	if len(s.problems()) > 0 {
		t.Errorf("problems %q when there is room", s.problems())
	}
	mustCommit(t, s, put("J_c", "3"))
	s.Close()
	reopened, err := openLog(d.osDisk, noDamage, slog.New(slog.DiscardHandler))
	must(t, err)
	defer reopened.Close()
	wantRecords(t, reopened, map[string]string{"J_a": "1", "J_c": "3"})
}

// While the state can't be stored the API goes on showing what is stored, refuses changes with 507 at once, and
// reloads nothing; when it can be stored again a new term begins.
func TestChangesAreAnsweredWith507AndReadersGoOn(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var broken error
	loads := 0
	st := newMemStore()
	st.before = func([]record) error { mu.Lock(); defer mu.Unlock(); return broken }
	st.well = func() error { mu.Lock(); defer mu.Unlock(); return broken }
	st.loaded = func() { mu.Lock(); defer mu.Unlock(); loads++ }
	set := func(err error) (soFar int) { mu.Lock(); defer mu.Unlock(); broken = err; return loads }
	base := restorable(t, st)
	post := func(name string) (int, string) {
		res, text := ask(t, "POST", base+"/scheduler/iso8601", `{"name":"`+name+`","command":"true","schedule":"R1/2090-01-01T00:00:00Z/P1D"}`, "Content-Type", typeJSON)
		return res.StatusCode, text
	}
	if status, text := post("a"); status != http.StatusNoContent {
		t.Fatalf("POST = %d %s", status, text)
	}
	before := set(&fs.PathError{Op: "write", Path: "/data/state.log", Err: errors.New("the directory is gone; make it again")})
	for _, name := range []string{"b", "c", "d"} {
		if status, text := post(name); status != http.StatusInsufficientStorage || !strings.Contains(text, "the directory is gone; make it again") {
			t.Errorf("POST = %d %s, want 507 with the reason", status, text)
		}
		if res, text := ask(t, "GET", base+"/scheduler/jobs", ""); res.StatusCode != http.StatusOK || !strings.Contains(text, `"name":"a"`) || strings.Contains(text, `"name":"`+name+`"`) {
			t.Errorf("GET jobs = %d %s, want the one that is stored", res.StatusCode, text)
		}
	}
	if again := set(nil); again != before {
		t.Errorf("the state was loaded %d times meanwhile", again-before)
	}
	until(t, "changes are taken again", func() bool { status, _ := post("e"); return status == http.StatusNoContent })
	if keys := strings.Join(st.keys("J_"), " "); !strings.Contains(keys, "J_a") || !strings.Contains(keys, "J_e") || len(st.keys("J_")) != 2 {
		t.Errorf("stored %q, want J_a and J_e", keys)
	}
}

// A smallDisk has no more room than it says, beside what it has set aside for its one file.
type smallDisk struct {
	osDisk
	room, held int64
}

func (d *smallDisk) open(name string, flag int) (logFile, error) {
	f, err := d.osDisk.open(name, flag)
	return smallFile{f, d}, err
}

func (d *smallDisk) take(end int64) error {
	more := max(0, end-d.held)
	if more > d.room {
		return syscall.ENOSPC
	}
	d.room, d.held = d.room-more, d.held+more
	return nil
}

func (d *smallDisk) reserve(_ string, offset, length int64) error { return d.take(offset + length) }

func (d *smallDisk) free() (int64, error) { return d.room, nil }

type smallFile struct {
	logFile
	disk *smallDisk
}

func (f smallFile) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.disk.take(offset + int64(len(b))); err != nil {
		return 0, err
	}
	return f.logFile.WriteAt(b, offset)
}

func (f smallFile) Truncate(size int64) error {
	f.disk.held = size
	return f.logFile.Truncate(size)
}

// Whatever fills the disk, the state has room for what makes room again: for at least half of its reserve
// at any time. When there is room, it is held again.
func TestStateHasAReserveWhileTheDiskIsFull(t *testing.T) {
	const plenty = 100 << 20
	d := &smallDisk{osDisk: osDisk(t.TempDir()), room: plenty}
	s, err := openLog(d, noDamage, slog.New(slog.DiscardHandler))
	must(t, err)
	defer s.Close()
	value := strings.Repeat("x", 10_000)
	mustCommit(t, s, put("J_filler", value))
	for round := range 3 {
		for range 30 * round { // begin at several places of the reserve
			mustCommit(t, s, put("J_filler", value))
		}
		d.room = 0
		must(t, s.ready())
		if p := strings.Join(s.problems(), "\n"); !strings.Contains(p, "disk full: "+s.disk.path("")) {
			t.Errorf("health says %q of a full disk", p)
		}
		stored := 0
		for s.commit(t.Context(), []record{put("J_filler", value)}) == nil {
			stored += len(value)
		}
		if stored < reserveSize/2-len(value) || stored > reserveSize {
			t.Errorf("%d bytes were stored on a full disk, want up to %d", stored, reserveSize)
		}
		if err := s.ready(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("ready = %v when the reserve is used up", err)
		}
		d.room = plenty
		must(t, s.ready())
		if p := s.problems(); len(p) > 0 {
			t.Errorf("problems %q when there is room", p)
		}
		if held := s.held - s.end; held < reserveSize/2 {
			t.Errorf("%d bytes are held when there is room again", held)
		}
	}
}

// While a program is started, its process has a copy of each open file, so also of a lock.
func TestADirectoryIsFreeOnceItsStoreIsClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := openFileStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	held, err := syscall.Dup(int(st.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(held)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openFileStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
