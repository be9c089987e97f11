package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// oldLog is a state file as builds wrote it that did not count records: a head with any salt,
// and a frame for each of the commits.
func oldLog(t testing.TB, commits ...[]record) []byte {
	t.Helper()
	h := logHead{[8]byte{7, 1, 2, 3, 4, 5, 6, 7}}
	log := h.encode()
	for _, records := range commits {
		frame, err := h.frame(int64(len(log)), records)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, frame...)
	}
	return log
}

// stateDir is a directory with a state file of that content.
func stateDir(t testing.TB, content []byte) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, logName)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// compactedLog is a state file of n jobs that has been rewritten, and where its frames are.
func compactedLog(t testing.TB, n int) (content []byte, frames []int64) {
	t.Helper()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	for i := range n {
		mustCommit(t, s, put(fmt.Sprint("J_", i), strings.Repeat("x", 300_000)))
	}
	if err := s.rewrite(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.head.scan(bytes.NewReader(content), int64(logStart), int64(len(content)), func(offset int64, _ []byte) error {
		frames = append(frames, offset-frameHead)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return content, frames
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A file that is cut or changed within what it was begun with, or of which anything but the last
// commit is not whole, is damaged. The program says where, keeps a copy, and changes nothing.
func TestDamageIsToldFromATornTail(t *testing.T) {
	t.Parallel()
	compacted, frames := compactedLog(t, 10) // four to a frame
	if len(frames) < 4 {
		t.Fatalf("%d frames, want the count and three of records", len(frames))
	}
	last := frames[len(frames)-1]
	old := oldLog(t, []record{put("J_a", "1")}, []record{put("J_b", "2")})
	flip := func(content []byte, at int64) []byte {
		content = slices.Clone(content)
		content[at] ^= 1
		return content
	}
	for _, test := range []struct {
		name    string
		content []byte
		offset  int64
		what    string
	}{
		{"nothing", nil, 0, "not a chronos state file"},
		{"half a head", compacted[:10], 0, "not a chronos state file"},
		{"cut after the head", compacted[:logStart], int64(logStart), "the number of its records is missing"},
		{"cut in the count", compacted[:frames[1]-1], int64(logStart), "the number of its records is missing"},
		{"cut after the count", compacted[:frames[1]], frames[1], "it started with 10 records, of which 0 are left"},
		{"cut between frames", compacted[:last], last, "it started with 10 records, of which 8 are left"},
		{"cut in the last frame", compacted[:len(compacted)-1], last, "it started with 10 records, of which 8 are left"},
		{"a bit of the only records", flip(compacted, 20_000), frames[1], "it started with 10 records, of which 0 are left"},
		{"a bit of the last frame", flip(compacted, int64(len(compacted)-1)), last, "it started with 10 records, of which 8 are left"},
		{"a bit of the mark", flip(compacted, int64(len(logMagic))), 0, "not a chronos state file"},
		{"a bit of the count", flip(compacted, frames[1]-1), int64(logStart), "the number of its records is missing"},
		{"of an older build, none whole", flip(old[:logStart+20], int64(logStart+2)), int64(logStart), "none of its records is intact"},
		{"of an older build, a bit of the first commit", flip(old, int64(logStart+frameHead)), int64(logStart), "it continues at offset"},
		{"bytes behind a bad frame", append(flip(old, int64(len(old)-1)), "more"...), int64(len(old)) - 18, "it continues at offset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, file := stateDir(t, test.content)
			for range 2 { // the second finds the copy of the first
				_, err := openFileStore(dir, slog.New(slog.DiscardHandler))
				damage, ok := errors.AsType[*damageError](err)
				if !ok || damage.offset != test.offset || !strings.HasPrefix(damage.what, test.what) {
					t.Fatalf("openFileStore = %v, want damage at offset %d: %s", err, test.offset, test.what)
				}
				for _, said := range []string{
					fmt.Sprintf("%s is damaged at offset %d: ", file, test.offset), "A copy is " + damage.copy,
					"chronos restore --data_dir " + dir, fmt.Sprint("--accept_damaged_state ", test.offset),
				} {
					if !strings.Contains(err.Error(), said) {
						t.Errorf("%q does not say %q", err, said)
					}
				}
				if !bytes.Equal(readFile(t, damage.copy), test.content) || !bytes.Equal(readFile(t, file), test.content) {
					t.Error("the copy, or the file itself, is not what it was")
				}
			}
			if copies, _ := filepath.Glob(file + "*"); len(copies) != 2 {
				t.Errorf("files %q, want the state and one copy", copies)
			}
		})
	}
}

// What can be read of a damaged file is led when somebody says so, for the damage that he has seen.
func TestDamageIsAcceptedOnlyWhereItIsSaid(t *testing.T) {
	t.Parallel()
	compacted, frames := compactedLog(t, 10)
	damaged := slices.Clone(compacted)
	damaged[frames[2]+100] ^= 1 // of the second frame of records
	dir, file := stateDir(t, damaged)
	if _, err := openDamagedStore(dir, 0, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not at 0 as --accept_damaged_state says") {
		t.Errorf("with another offset: %v", err)
	}
	var log logBuffer
	s, err := openDamagedStore(dir, frames[2], slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	records, err := s.load(t.Context())
	if err != nil || len(records) != 6 { // four before the damage, two behind it
		t.Fatalf("load() = %q, %v, want six jobs", keysOf(records), err)
	}
	if p := strings.Join(s.problems(), "\n"); !strings.Contains(p, "of which 6 are jobs") || !strings.Contains(log.String(), "of which 6 are jobs") {
		t.Errorf("neither health nor log say what was accepted: %q, %q", p, log.String())
	}
	mustCommit(t, s, put("J_new", "1"))
	s.Close()
	s, err = openDamagedStore(dir, frames[2], slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.Contains(log.String(), "--accept_damaged_state has no effect") {
		t.Errorf("an option that is left over is not told of: %s", log.String())
	}
	if copies, _ := filepath.Glob(file + ".damaged-*"); len(copies) != 1 || !bytes.Equal(readFile(t, copies[0]), damaged) {
		t.Errorf("copies %q, want one of the damaged file", copies)
	}
	if records, err := s.load(t.Context()); err != nil || len(records) != 7 {
		t.Errorf("load() = %q, %v, want seven jobs", keysOf(records), err)
	}
}

// A damaged head does not cost the frames behind it.
func TestEveryWholeFrameIsFoundBehindADamagedHead(t *testing.T) {
	t.Parallel()
	whole := map[string]string{"J_a": "1", "J_b": "2"}
	dir := t.TempDir()
	s := openTestStore(t, dir)
	mustCommit(t, s, put("J_a", "1"))
	mustCommit(t, s, put("J_b", "2"))
	s.Close()
	counted := readFile(t, filepath.Join(dir, logName))
	old := oldLog(t, []record{put("J_a", "1")}, []record{put("J_b", "2")})
	for name, content := range map[string][]byte{"counted": counted, "of an older build": old} {
		for bit := range 8 * logStart {
			damaged := slices.Clone(content)
			damaged[bit/8] ^= 1 << (bit % 8)
			s := &fileStore{file: &memFile{damaged}}
			if err := s.salvage(int64(len(damaged))); err != nil || len(s.index) != len(whole) {
				t.Errorf("%s, with bit %d of the head flipped: %d records, %v", name, bit, len(s.index), err)
			}
		}
	}
	overwritten := append(bytes.Repeat([]byte{0xff}, logStart), counted[logStart:]...)
	dir, _ = stateDir(t, overwritten)
	s, err := openDamagedStore(dir, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantRecords(t, s, whole)
}

// A memDisk is a directory in memory.
type memDisk map[string]*memFile

// A memFile is a file of a memDisk.
type memFile struct{ content []byte }

func (d memDisk) reserve(string, int64, int64) error { return errors.ErrUnsupported }

func (d memDisk) free() (int64, error) { return 0, errors.ErrUnsupported }

func (d memDisk) path(name string) string { return "/nowhere/" + name }
func (d memDisk) sync() error             { return nil }

func (d memDisk) same(a, b os.FileInfo) bool { return a.Sys() == b.Sys() }

func (d memDisk) open(name string, flag int) (logFile, error) {
	if d[name] == nil && flag&os.O_CREATE == 0 {
		return nil, os.ErrNotExist
	}
	if d[name] == nil || flag&os.O_TRUNC != 0 {
		d[name] = &memFile{}
	}
	return d[name], nil
}

func (d memDisk) stat(name string) (os.FileInfo, error) {
	if d[name] == nil {
		return nil, os.ErrNotExist
	}
	return d[name].Stat()
}

func (d memDisk) rename(from, to string) error {
	d[to] = d[from]
	delete(d, from)
	return nil
}

func (d memDisk) link(from, to string) error {
	d[to] = d[from]
	return nil
}

func (f *memFile) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(f.content).ReadAt(b, at)
}
func (f *memFile) Sync() error                { return nil }
func (f *memFile) Close() error               { return nil }
func (f *memFile) Stat() (os.FileInfo, error) { return memInfo{f, int64(len(f.content))}, nil }

func (f *memFile) WriteAt(b []byte, at int64) (int, error) {
	f.content = append(f.content, make([]byte, max(0, int(at)+len(b)-len(f.content)))...)
	return copy(f.content[at:], b), nil
}

func (f *memFile) Truncate(size int64) error {
	f.content = f.content[:size:size]
	return nil
}

// memInfo is what Stat returns for a memFile.
type memInfo struct {
	file *memFile
	size int64
}

func (i memInfo) Name() string       { return "" }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() os.FileMode  { return 0o600 }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return false }
func (i memInfo) Sys() any           { return i.file }

// What a crash has left of the last commit is kept beside the file.
func TestTornTailIsCopiedBeforeItIsCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	mustCommit(t, s, put("J_a", "1"))
	good := s.end
	mustCommit(t, s, put("J_b", "2"))
	s.Close()
	file := filepath.Join(dir, logName)
	torn := readFile(t, file)[:s.end-1]
	for range 2 { // the same tail once more needs no copy of its own
		if err := os.WriteFile(file, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		var log logBuffer
		s, err := openFileStore(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		copies, _ := filepath.Glob(file + ".tail-*")
		if len(copies) != 1 || !bytes.Equal(readFile(t, copies[0]), torn[good:]) || !strings.Contains(log.String(), copies[0]) {
			t.Errorf("copies %q of the tail, log %s", copies, log.String())
		}
	}
}

func TestTornTailStaysWhereItCannotBeCopied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	mustCommit(t, s, put("J_a", "1"))
	s.Close()
	file := filepath.Join(dir, logName)
	torn := append(readFile(t, file), "torn"...)
	if err := os.WriteFile(file, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	d := &faultyDisk{osDisk: osDisk(dir), failAt: 1, dead: true}
	if _, err := openLog(d, noDamage, slog.New(slog.DiscardHandler)); !errors.Is(err, errDisk) {
		t.Errorf("openLog = %v, want %v", err, errDisk)
	}
	if !bytes.Equal(readFile(t, file), torn) {
		t.Error("the tail was cut off")
	}
}

// A file of a head only, as older builds began it, may be new or may have been cut: it is led, with a
// copy and a warning, and counts from then on.
func TestHeadOfAnOlderBuildIsLedAsEmptyWithAWarning(t *testing.T) {
	t.Parallel()
	dir, file := stateDir(t, oldLog(t))
	var log logBuffer
	s, err := openFileStore(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, s, map[string]string{})
	copies, _ := filepath.Glob(file + ".head-*")
	if len(copies) != 1 || !bytes.Equal(readFile(t, copies[0]), oldLog(t)) {
		t.Errorf("copies %q, want one of the head", copies)
	}
	if len(s.problems()) != 1 || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("problems %q, log %s", s.problems(), log.String())
	}
	s.Close()
	if err := os.Truncate(file, int64(logStart)); err != nil {
		t.Fatal(err)
	}
	if _, err := openFileStore(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the head of a file that counts is taken for an empty one")
	}
}

// Builds that know no count read a file that has one, and lose nothing. This is how they read.
func TestOlderBuildsReadAFileThatCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	mustCommit(t, s, put("J_a", "1"), put("go/job/a", "2"))
	if err := s.rewrite(); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, put("J_b", "3"))
	content := readFile(t, filepath.Join(dir, logName))
	if string(content[:len(logMagic)]) != "chronos state 1\n" || binary.LittleEndian.Uint32(content[logStart-4:]) != crc32.Checksum(content[:logStart-4], castagnoli) {
		t.Fatalf("head = %q", content[:logStart])
	}
	records := map[string]string{}
	for at := logStart; at < len(content); {
		n := int(binary.LittleEndian.Uint32(content[at:]))
		payload := content[at+frameHead : at+frameHead+n]
		err := eachRecord(payload, func(key string, at, n int) {
			if delete(records, key); n >= 0 {
				records[key] = string(payload[at : at+n])
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		at += frameHead + n
	}
	if want := map[string]string{"J_a": "1", "go/job/a": "2", "J_b": "3"}; !maps.Equal(records, want) {
		t.Errorf("an older build reads %q, want %q", records, want)
	}
	wantRecords(t, s, records) // and the count is in no load
}

// The other way round: what older builds have written is read and goes on.
func TestFileOfAnOlderBuildIsRead(t *testing.T) {
	t.Parallel()
	old := oldLog(t, []record{put("J_a", "1"), put("J_b", "2")}, []record{{key: "J_a"}, put("J_c", "3")})
	dir, file := stateDir(t, old)
	s := openTestStore(t, dir)
	wantRecords(t, s, map[string]string{"J_b": "2", "J_c": "3"})
	mustCommit(t, s, put("J_d", "4"))
	s.Close()
	if now := readFile(t, file); !bytes.HasPrefix(now, old) {
		t.Error("the file was written anew")
	}
	wantRecords(t, openTestStore(t, dir), map[string]string{"J_b": "2", "J_c": "3", "J_d": "4"})
}

// A count counts for the file whose salt it names.
func TestCountOfAnotherSaltCountsForNothing(t *testing.T) {
	t.Parallel()
	h, err := newLogHead()
	if err != nil {
		t.Fatal(err)
	}
	other := logHead{h.salt}
	other.salt[7]++
	for _, test := range []struct {
		of   logHead
		want int
	}{{h, 3}, {other, -1}} {
		payload, err := h.frame(int64(logStart), []record{{key: test.of.countKey(3)}})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := h.count(payload[frameHead:]); n != test.want || (err == nil) != (n > 0) {
			t.Errorf("count of %x in the file of %x = %d, %v, want %d", test.of.salt, h.salt, n, err, test.want)
		}
	}
}

// A missing state file where jobs have run is not a first start.
func TestMissingFileIsDamageWhereJobsHaveRun(t *testing.T) {
	t.Parallel()
	for run, isDamage := range map[string]bool{"": false, "runs": false, "ended/job": false, "trash/x": false, "runs/ct:1:0:a:": true, "ended/a/ct:1:0:a:": true} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, run), 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := openFileStore(dir, slog.New(slog.DiscardHandler))
		damage, ok := errors.AsType[*damageError](err)
		if ok != isDamage || !ok && err != nil {
			t.Fatalf("with %q: %v", run, err)
		}
		if !ok {
			s.Close()
			continue
		}
		for _, said := range []string{filepath.Join(dir, logName), "offset 0", "missing", run, "chronos restore --data_dir " + dir, "--accept_damaged_state 0"} {
			if !strings.Contains(damage.Error(), said) {
				t.Errorf("%q does not say %q", damage, said)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, logName)); err == nil {
			t.Error("a state file was made")
		}
		s, err = openDamagedStore(dir, 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, s, map[string]string{})
		if len(s.problems()) != 1 {
			t.Errorf("problems %q, want what was accepted", s.problems())
		}
		s.Close()
	}
}

// chronos restore works on what the program does not start with, and needs no --replace there: the
// damaged file is kept.
func TestRestoreWorksOnADamagedDirectory(t *testing.T) {
	t.Parallel()
	compacted, _ := compactedLog(t, 1)
	damaged := slices.Clone(compacted)
	damaged[len(damaged)-1] ^= 1
	backup := filepath.Join(t.TempDir(), "backup.json")
	if err := os.WriteFile(backup, aBackup(t, largeState(2)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"damaged": damaged, "missing": nil} {
		t.Run(name, func(t *testing.T) {
			dir, file := stateDir(t, content)
			if content == nil {
				if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(dir, "runs/x"), 0o700)); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			if err := run(t.Context(), []string{"restore", "--data_dir", dir, backup}, nil, &out, &out); err != nil || !strings.Contains(out.String(), "restored 2 jobs") {
				t.Fatalf("restore = %v %s", err, out.String())
			}
			copies, _ := filepath.Glob(file + ".damaged-*")
			if content != nil && (len(copies) != 1 || !bytes.Equal(readFile(t, copies[0]), damaged) || !strings.Contains(out.String(), copies[0])) {
				t.Errorf("copies %q of the damaged file; said %s", copies, out.String())
			}
			records, err := openTestStore(t, dir).load(t.Context())
			if err != nil || len(keysWith(records, "J_")) != 2 {
				t.Errorf("after the restore: %q, %v", keysOf(records), err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "state.new-*")); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
		})
	}
}

func keysWith(records map[string][]byte, prefix string) []string {
	return slices.DeleteFunc(keysOf(records), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

// A restore that is cut off leaves the damaged file, not an empty state.
func TestRestoreOnADamagedDirectoryIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	compacted, _ := compactedLog(t, 1)
	dir, file := stateDir(t, compacted[:len(compacted)-1])
	_, err := openFileStore(dir, slog.New(slog.DiscardHandler))
	damage, ok := errors.AsType[*damageError](err)
	if !ok {
		t.Fatal(err)
	}
	cut := errors.New("cut off")
	err = replaceDamaged(dir, damage, slog.New(slog.DiscardHandler), func(st store) error {
		mustCommit(t, st, put("J_half", "1"))
		return cut
	})
	if !errors.Is(err, cut) || !bytes.Equal(readFile(t, file), compacted[:len(compacted)-1]) {
		t.Errorf("replaceDamaged = %v, and the file is not what it was", err)
	}
}

// Whatever the bytes: opening either fails, naming the offset, or the store has the records of every whole frame
// and no other; what is cut off is kept; and nothing is changed that is damaged.
func FuzzStateFile(f *testing.F) {
	small := oldLog(f, []record{put("J_a", "1")}, []record{put("J_b", "2"), {key: "J_a"}})
	counted := soundLog(f, 3, 1)
	for _, content := range [][]byte{nil, small, small[:len(small)-1], small[:logStart], counted, counted[:len(counted)-1], counted[:logStart+50]} {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		d := memDisk{logName: {slices.Clone(content)}}
		s, err := openLog(d, noDamage, slog.New(slog.DiscardHandler))
		if damage, ok := errors.AsType[*damageError](err); ok {
			wantLeftAlone(t, d, damage, content)
			if s, err = openLog(d, damage.offset, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatalf("openLog with the damage accepted = %v", err)
			}
			wantWhole(t, s, content)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		wantWhole(t, s, content)
		kept := slices.Clone(d[logName].content)
		for name, file := range d {
			if name != logName {
				kept = append(kept, file.content...)
			}
		}
		if !bytes.Contains(kept, content[min(len(content), int(s.end)):]) {
			t.Fatal("what was cut off is not kept")
		}
	})
}

// FuzzStateFileDamage cuts a sound file and flips a bit of it, which random bytes seldom are.
func FuzzStateFileDamage(f *testing.F) {
	f.Add(uint8(3), uint16(100), uint8(0), uint16(60000), uint8(0))
	f.Add(uint8(9), uint16(28), uint8(3), uint16(40), uint8(2))
	f.Add(uint8(11), uint16(60000), uint8(0), uint16(400), uint8(5))
	f.Fuzz(func(t *testing.T, commits uint8, flipAt uint16, bit uint8, cutAt uint16, compactAfter uint8) {
		content := soundLog(t, int(commits%12), int(compactAfter%12))
		content = content[:min(len(content), int(cutAt))]
		if int(flipAt) < len(content) {
			content[flipAt] ^= 1 << (bit % 8)
		}
		d := memDisk{logName: {slices.Clone(content)}}
		s, err := openLog(d, noDamage, slog.New(slog.DiscardHandler))
		if damage, ok := errors.AsType[*damageError](err); ok {
			wantLeftAlone(t, d, damage, content)
			s, err = openLog(d, damage.offset, slog.New(slog.DiscardHandler))
		}
		if err != nil {
			t.Fatal(err)
		}
		wantWhole(t, s, content)
	})
}

// wantLeftAlone checks that a damaged file is as it was, and its copy too, and that the error names its offset.
func wantLeftAlone(t *testing.T, d memDisk, damage *damageError, content []byte) {
	t.Helper()
	copied := d[filepath.Base(damage.copy)]
	if copied == nil || !bytes.Equal(d[logName].content, content) || !bytes.Equal(copied.content, content) {
		t.Fatalf("%v: the file or the copy is not what it was", damage)
	}
	if !strings.Contains(damage.Error(), fmt.Sprint("at offset ", damage.offset, ":")) {
		t.Fatalf("%v names no offset", damage)
	}
}

// wantWhole checks that a store has the records of every whole frame.
func wantWhole(t *testing.T, s *fileStore, content []byte) {
	t.Helper()
	got, err := s.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := wholeRecords(content); !sameRecords(got, want) {
		t.Fatalf("load() = %q, want %q", got, want)
	}
}

// soundLog is a state file after so many commits, with a compaction after one of them.
func soundLog(t testing.TB, commits, compactAfter int) []byte {
	t.Helper()
	d := memDisk{}
	s, err := openLog(d, noDamage, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range commits {
		mustCommit(t, s, put(fmt.Sprint("J_", i%5), strings.Repeat("x", i)), record{key: fmt.Sprint("J_", (i+2)%5)})
		if i == compactAfter {
			if err := s.rewrite(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return d[logName].content
}

// wholeRecords reads the records of every whole frame anywhere in a log, by trying each offset.
func wholeRecords(content []byte) map[string]string {
	records := map[string]string{}
	if len(content) < logStart {
		return records
	}
	h := salvageLogHead(&memFile{content})
	for at := logStart; at+frameHead <= len(content); {
		n, ok := h.length(int64(at), content[at:at+frameHead], int64(len(content)))
		if !ok || crc32.Checksum(content[at+frameHead:at+frameHead+n], castagnoli) != binary.LittleEndian.Uint32(content[at+4:]) {
			at++
			continue
		}
		payload := content[at+frameHead : at+frameHead+n]
		if eachRecord(payload, func(string, int, int) {}) != nil {
			at++
			continue
		}
		_ = eachRecord(payload, func(key string, at, n int) {
			if delete(records, key); n >= 0 {
				records[key] = string(payload[at : at+n])
			}
		})
		at += frameHead + n
	}
	return records
}
