package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestFileStoreKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	wantRecords(t, s, map[string]string{})
	mustCommit(t, s, put("J_a", "1"), put("J_b", "2"), put("go/job/a", ""))
	mustCommit(t, s, put("J_a", "3"), record{key: "J_b"}, record{key: "J_never"})
	mustCommit(t, s)
	mustCommit(t, s, put("J_c", "4"), put("J_c", "5"))
	want := map[string]string{"J_a": "3", "go/job/a": "", "J_c": "5"}
	wantRecords(t, s, want)
	s.Close()
	wantRecords(t, openTestStore(t, dir), want)
}

func TestFileStoreLocksItsDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	_, err := openFileStore(dir, slog.New(slog.DiscardHandler))
	if want := "is in use by process " + strconv.Itoa(os.Getpid()); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("second openFileStore = %v, want an error that ends in %q", err, want)
	}
	s.Close()
	openTestStore(t, dir)
}

// A process that dies without Close leaves no lock behind.
func TestFileStoreLockDiesWithItsProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if os.Getenv("FILESTORE_HOLDER") != "" {
		openTestStore(t, os.Getenv("FILESTORE_HOLDER"))
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "FILESTORE_HOLDER="+dir)
	if err := child.Run(); err == nil {
		t.Fatal("the holder was not killed")
	}
	openTestStore(t, dir)
}

// A crash may leave any part of the last commit, or zeros where it should be.
func TestFileStoreCutsOffATornTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	mustCommit(t, s, put("J_a", "1"))
	good := int(s.end)
	mustCommit(t, s, put("J_a", "2"), put("J_b", "a longer value, so that there are a few bytes to cut"))
	s.Close()
	whole, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]string{"J_a": "1"}
	for n := good; n < len(whole); n++ {
		zeroed := slices.Clone(whole)
		clear(zeroed[n:])
		garbled := slices.Clone(whole)
		garbled[n] ^= 0x40
		for name, content := range map[string][]byte{
			"cut":     whole[:n],
			"zeroed":  zeroed,
			"garbled": garbled,
			"zeros":   append(slices.Clone(whole[:good]), make([]byte, n)...),
		} {
			t.Run(fmt.Sprint(name, n), func(t *testing.T) {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, logName), content, 0o600); err != nil {
					t.Fatal(err)
				}
				s := openTestStore(t, dir)
				wantRecords(t, s, before)
				mustCommit(t, s, put("J_c", "3"))
				s.Close()
				wantRecords(t, openTestStore(t, dir), map[string]string{"J_a": "1", "J_c": "3"})
			})
		}
	}
}

func TestFileStoreRefusesDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	first := int(s.end)
	mustCommit(t, s, put("J_a", "1"))
	second := int(s.end)
	mustCommit(t, s, put("J_b", "2"))
	third := int(s.end)
	mustCommit(t, s, put("J_c", "3"))
	s.Close()
	whole, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	for at := range third {
		for _, end := range []int{len(whole), third + frameHead} { // the last frame is whole, or torn
			damaged := slices.Clone(whole[:end])
			damaged[at] ^= 1
			name := filepath.Join(t.TempDir(), logName)
			if err := os.WriteFile(name, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			offset := 0
			if at >= logStart {
				offset = logStart
			}
			for _, frame := range []int{first, second} {
				if at >= frame {
					offset = frame
				}
			}
			_, err := openFileStore(filepath.Dir(name), slog.New(slog.DiscardHandler))
			if want := fmt.Sprintf("%s is damaged at offset %d", name, offset); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("openFileStore with byte %d of %d changed = %v, want %q", at, end, err, want)
			}
			if after, _ := os.ReadFile(name); !bytes.Equal(after, damaged) {
				t.Fatalf("openFileStore with byte %d changed has written to the file", at)
			}
		}
	}
}

// A value that holds a copy of the log is not a frame: neither offset nor salt fit.
func TestFileStoreIsNotFooledByItsOwnImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	mustCommit(t, s, put("J_a", "1"))
	image, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	good := s.end
	mustCommit(t, s, record{"J_image", image})
	if err := os.Truncate(filepath.Join(dir, logName), s.end-1); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openTestStore(t, dir)
	if s.end != good {
		t.Errorf("end after recovery = %d, want %d", s.end, good)
	}
}

func TestFileStoreCompacts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	s.slack = 10_000
	want := map[string]string{}
	for i := range 500 {
		key, value := fmt.Sprint("J_", i%20), strings.Repeat("x", i)
		mustCommit(t, s, put(key, value))
		want[key] = value
	}
	info, err := os.Stat(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	if limit := 2*s.live + s.slack; info.Size() > limit || info.Size() != s.end {
		t.Errorf("log has %d bytes and should end at %d, below %d", info.Size(), s.end, limit)
	}
	wantRecords(t, s, want)
	s.Close()
	wantRecords(t, openTestStore(t, dir), want)
}

// errDisk is what a faultyDisk answers.
var errDisk = errors.New("no space left on device (test)")

// A faultyDisk fails the n-th operation that changes it, and all later ones if
// dead is set. A failing write writes half.
type faultyDisk struct {
	osDisk
	n, failAt int
	dead      bool
	cause     error // of what fails, errDisk if nil
	full      bool  // while set, every write fails
}

func (d *faultyDisk) error() error { return cmp.Or(d.cause, errDisk) }

func (d *faultyDisk) fails() bool {
	d.n++
	return d.failAt > 0 && (d.n == d.failAt || d.dead && d.n > d.failAt)
}

func (d *faultyDisk) open(name string, flag int) (logFile, error) {
	if flag&os.O_CREATE != 0 && d.fails() {
		return nil, d.error()
	}
	f, err := d.osDisk.open(name, flag)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d}, nil
}

func (d *faultyDisk) rename(from, to string) error {
	if d.fails() {
		return d.error()
	}
	return d.osDisk.rename(from, to)
}

func (d *faultyDisk) sync() error {
	if d.fails() {
		return d.error()
	}
	return d.osDisk.sync()
}

type faultyFile struct {
	logFile
	disk *faultyDisk
}

func (f faultyFile) WriteAt(b []byte, offset int64) (int, error) {
	if f.disk.fails() || f.disk.full {
		n := 0
		if f.disk.n == f.disk.failAt {
			n, _ = f.logFile.WriteAt(b[:len(b)/2], offset)
		}
		return n, f.disk.error()
	}
	return f.logFile.WriteAt(b, offset)
}

func (f faultyFile) Truncate(size int64) error {
	if f.disk.fails() {
		return f.disk.error()
	}
	return f.logFile.Truncate(size)
}

func (f faultyFile) Sync() error {
	if f.disk.fails() {
		return f.disk.error()
	}
	return f.logFile.Sync()
}

// commitMany makes commits that cause compactions, until the first error if stop
// is set. It returns what was acknowledged, and what would be if the first
// refused commit had taken place.
func commitMany(t *testing.T, s *fileStore, stop bool) (acked, maybe map[string]string) {
	acked = map[string]string{}
	for i := range 15 {
		records := []record{put(fmt.Sprint("J_", i%3), fmt.Sprint(i)), put("T_x", strings.Repeat("x", i)), {key: fmt.Sprint("J_", (i+1)%3)}}
		next := maps.Clone(acked)
		for _, r := range records {
			next[r.key] = string(r.value)
			if r.value == nil {
				delete(next, r.key)
			}
		}
		err := s.commit(t.Context(), records)
		if err == nil {
			acked = next
			continue
		}
		if !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		if maybe == nil {
			maybe = next
		}
		if stop {
			break
		}
	}
	return acked, maybe
}

// Every single operation on the disk fails once: what was acknowledged is there,
// a refused commit is not, and the store works on.
func TestFileStoreSurvivesAnyFailure(t *testing.T) {
	t.Parallel()
	for failAt := 1; ; failAt++ {
		d := &faultyDisk{osDisk: osDisk(t.TempDir())}
		s, err := openLog(d, noDamage, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.slack = 200
		d.n, d.failAt = 0, failAt
		acked, refused := commitMany(t, s, false)
		if d.n < failAt {
			return
		}
		wantRecords(t, s, acked)
		if failed := s.commit(t.Context(), []record{put("J_last", "1")}); failed != nil {
			t.Fatalf("commit after failure %d (refused: %v) = %v", failAt, refused != nil, failed)
		}
		acked["J_last"] = "1"
		s.Close()
		reopened, err := openLog(d.osDisk, noDamage, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("openLog after failure %d: %v", failAt, err)
		}
		wantRecords(t, reopened, acked)
		reopened.Close()
	}
}

// The machine dies at every single operation on the disk: what was acknowledged
// is there, and the commit under way is there wholly or not at all.
func TestFileStoreSurvivesACrashAnywhere(t *testing.T) {
	t.Parallel()
	for failAt := 1; ; failAt++ {
		d := &faultyDisk{osDisk: osDisk(t.TempDir()), dead: true}
		s, err := openLog(d, noDamage, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.slack = 200
		d.n, d.failAt = 0, failAt
		acked, maybe := commitMany(t, s, true)
		if d.n < failAt {
			return
		}
		s.Close()
		reopened, err := openLog(d.osDisk, noDamage, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("openLog after a crash at %d: %v", failAt, err)
		}
		got, err := reopened.load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !sameRecords(got, acked) && !sameRecords(got, maybe) {
			t.Fatalf("after a crash at %d: load() = %q, want %q or %q", failAt, got, acked, maybe)
		}
		reopened.Close()
	}
}

func TestFileStoreRefusesUntilTheDiskIsWellAgain(t *testing.T) {
	t.Parallel()
	d := &faultyDisk{osDisk: osDisk(t.TempDir())}
	s, err := openLog(d, noDamage, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustCommit(t, s, put("J_a", "1"))
	d.n, d.failAt, d.dead = 0, 1, true
	for range 3 {
		if err := s.commit(t.Context(), []record{put("J_a", "2")}); !errors.Is(err, errDisk) {
			t.Fatalf("commit on a full disk = %v, want %v", err, errDisk)
		}
	}
	if _, err := s.load(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("load with an unknown tail = %v, want %v", err, errDisk)
	}
	d.failAt = 0
	wantRecords(t, s, map[string]string{"J_a": "1"})
	mustCommit(t, s, put("J_a", "3"))
	wantRecords(t, s, map[string]string{"J_a": "3"})
}

// Random commits, failures, reopenings and crashes against a map.
func TestFileStoreAgainstAModel(t *testing.T) {
	t.Parallel()
	seed := *firstSeed
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	d := &faultyDisk{osDisk: osDisk(t.TempDir())}
	var s *fileStore
	reopen := func() {
		if s != nil {
			s.Close()
		}
		d.failAt = 0
		var err error
		if s, err = openLog(d, noDamage, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		s.slack = 2000
	}
	reopen()
	model := map[string]string{}
	for range inForm(1_000, 10_000) {
		if r.IntN(20) == 0 {
			d.n, d.failAt = 0, 1+r.IntN(10)
		}
		if r.IntN(50) == 0 {
			reopen()
			wantRecords(t, s, model)
		}
		next := maps.Clone(model)
		var records []record
		for range r.IntN(5) {
			key := fmt.Sprint("J_", r.IntN(30))
			if r.IntN(3) == 0 {
				records = append(records, record{key: key})
				delete(next, key)
				continue
			}
			next[key] = strings.Repeat("v", r.IntN(100))
			records = append(records, put(key, next[key]))
		}
		if s.commit(t.Context(), records) == nil {
			model = next
			continue
		}
		d.failAt = 0
		wantRecords(t, s, model) // and so settles whether the refused commit counts
	}
	reopen()
	wantRecords(t, s, model)
}
