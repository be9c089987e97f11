package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// keptRuns are all ended runs of a job, in the history and in the archive, the newest first.
func (b *bench) keptRuns(name string) []*Run {
	b.t.Helper()
	b.wantArchivedOnce()
	v := b.s.view()
	index, missing, err := b.s.archived(b.t.Context())
	if err != nil || missing != 0 {
		b.t.Fatalf("%d segments are not read: %v", missing, err)
	}
	jv := v.job(name)
	if jv == nil {
		return nil
	}
	runs := slices.Clone(jv.history)
	wanted := map[string]mark{}
	index.each(jv.key(), 1<<62, func(m mark) bool {
		id := m.run(name).ID
		if _, twice := wanted[id]; twice {
			b.t.Errorf("run %q is in the archive twice", id)
		}
		if !slices.ContainsFunc(jv.history, func(r *Run) bool { return r.ID == id }) {
			wanted[id] = m
		}
		return true
	})
	filled, err := index.fill(b.t.Context(), wanted)
	if err != nil || len(filled) != len(wanted) {
		b.t.Fatalf("%d of %d archived runs are read: %v", len(filled), len(wanted), err)
	}
	for id, r := range filled {
		stub := wanted[id].run(name)
		if stub.ID != r.ID || stub.State != r.State || stub.Kind != r.Kind || stub.Due != r.Due || stub.Attempt != r.Attempt || stub.Started != r.Started || r.Started != 0 && stub.Ended != r.Ended {
			b.t.Errorf("the index says %+v of %+v", stub, r)
		}
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(x, y *Run) int { return runCursor{x.Due, x.ID}.compare(runCursor{y.Due, y.ID}) })
	return runs
}

// wantArchivedOnce expects each run in one of the stored segments at most, unless it has grown since.
func (b *bench) wantArchivedOnce() {
	b.t.Helper()
	in, grown := map[string]int{}, map[string]bool{}
	for _, key := range b.store.keys(segmentPrefix) {
		record, err := decodeSegment([]byte(b.store.value(key)))
		if err != nil {
			b.t.Fatal(err)
		}
		for _, j := range record.Jobs {
			for _, r := range j.Runs {
				in[r.ID]++
				grown[r.ID] = grown[r.ID] || r.Count > 0 || r.Elements > 0
			}
		}
	}
	for id, n := range in {
		if n > 1 && !grown[id] {
			b.t.Errorf("run %q is in %d segments", id, n)
		}
	}
}

// wantKept expects each of the newest runs of a job that has one every minute, n of them, to be kept once.
func (b *bench) wantKept(name string, n int) {
	b.t.Helper()
	var got, want []string
	runs := b.keptRuns(name)
	for i, r := range runs {
		got = append(got, clockOf(r.Due))
		want = append(want, clockOf(runs[0].Due-int64(i)*60_000))
	}
	for i := len(want); i < n; i++ {
		want = append(want, "another one")
	}
	want = want[:n]
	if !slices.Equal(got, want) {
		b.t.Errorf("%d runs of %q are kept: %q\nwant each of %d once", len(got), name, got, n)
	}
}

func archiving(b *bench, keep int) {
	b.cfg.historyKeep = keep
	b.cfg.archive = archiveBounds{runs: 1000, size: 1 << 20, age: 1 << 50}
}

const eachMinute = `{"name":"a","command":"x","schedule":"R/2000-01-01T00:01:00Z/PT1M"}`

func TestRunsBeyondTheHistoryAreArchived(t *testing.T) {
	t.Parallel()
	scenarioOn(t, onQuickClusters, "each of them once, for every leader", func(b *bench) {
		archiving(b, 3)
		b.start()
		b.post(eachMinute)
		b.wait(50*time.Minute + 30*time.Second)
		b.wantKept("a", 50)
		b.restart()
		b.wait(20 * time.Minute)
		b.wantKept("a", 70)
		if n := len(b.s.view().job("a").history); n != 3 {
			b.t.Errorf("the history has %d runs, want 3", n)
		}
		if n := len(b.store.keys(segmentPrefix)); n > 2 {
			b.t.Errorf("67 runs are in %d segments, want one for each leader", n)
		}
	})
	scenarioOn(t, inMemory, "together, when a segment is full", func(b *bench) {
		archiving(b, 20)
		b.start()
		for i := range 30 {
			b.post(strings.Replace(eachMinute, `"a"`, fmt.Sprintf(`"a%d"`, i), 1))
		}
		b.wait(15*time.Minute + 30*time.Second)
		keys := b.store.keys(segmentPrefix)
		if len(keys) == 0 || len(keys) > 3 {
			b.t.Errorf("of 450 runs in histories of 20 there are the segments %q", keys)
		}
		for i := range 30 {
			b.wantKept(fmt.Sprint("a", i), 15)
		}
	})
	scenarioOn(t, onQuickClusters, "unless they are of a job that is gone", func(b *bench) {
		archiving(b, 3)
		b.start()
		b.post(eachMinute)
		b.wait(10*time.Minute + 30*time.Second)
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.post(strings.Replace(eachMinute, "00:01", "00:12", 1))
		b.wait(5 * time.Minute)
		b.wantKept("a", 4)
		b.restart()
		b.wantKept("a", 4)
	})
	scenarioOn(t, onQuickClusters, "not without an archive, which is then removed", func(b *bench) {
		archiving(b, 3)
		b.start()
		b.post(eachMinute)
		b.wait(10*time.Minute + 30*time.Second)
		b.cfg.archive = archiveBounds{}
		b.restart()
		b.wait(10 * time.Minute)
		b.wantKept("a", 3)
		if keys := b.store.keys(segmentPrefix); len(keys) > 0 {
			b.t.Errorf("segments %q are left", keys)
		}
	})
	scenarioOn(t, onQuickClusters, "also what a version without an archive has ended", func(b *bench) {
		archiving(b, 20)
		b.cfg.archive = archiveBounds{}
		b.start()
		b.post(eachMinute)
		b.wait(10*time.Minute + 30*time.Second)
		archiving(b, 3)
		b.restart()
		b.wait(10 * time.Minute)
		b.wantKept("a", 20)
	})
	scenarioOn(t, onQuickClusters, "with the progress that is reported last", func(b *bench) {
		archiving(b, 3)
		b.start()
		b.post(eachMinute)
		b.wait(time.Minute + 30*time.Second)
		id := b.s.view().job("a").history[0].ID
		b.wait(2 * time.Minute)
		b.do("progress", b.s.addProgress(b.t.Context(), "a", id, 5))
		b.wait(20 * time.Minute)
		runs := b.keptRuns("a")
		if last := runs[len(runs)-1]; last.ID != id || last.Elements != 5 {
			b.t.Errorf("the first run is kept as %+v", last)
		}
		b.wantKept("a", 23)
	})
}

// A leader may go down at any commit, and whether that was stored is not known.
func TestNoRunIsLostOrDoubledByACrashOfItsLeader(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		scenarioOn(t, onQuickClusters, fmt.Sprintf("at any commit, stored %t", stored), func(b *bench) {
			archiving(b, 2)
			b.cfg.batchSize = 1 // each part of a change is a commit
			b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
				return 10 * time.Second, status(mesos.TASK_FINISHED)
			})
			commits, calm := 0, atomic.Bool{}
			b.store.before = func(records []record) error {
				if calm.Load() {
					return nil
				}
				if commits++; commits%7 != 0 && !slices.ContainsFunc(records, func(r record) bool { return onDemand(r.key) && commits%2 == 0 }) {
					return nil
				}
				if stored {
					b.store.apply(records)
				}
				return errors.New("crash")
			}
			b.start()
			if err := b.tryPost(eachMinute); err != nil {
				b.t.Fatal(err)
			}
			for range 40 {
				b.wait(time.Minute)
				select {
				case <-b.done:
					b.start()
				default:
				}
			}
			calm.Store(true)
			b.wait(5 * time.Minute)
			select {
			case <-b.done:
				b.start()
			default:
			}
			seen := map[int64]int{}
			for _, r := range b.keptRuns("a") {
				if r.Attempt == 0 {
					seen[r.Due]++
				}
			}
			for due, n := range seen {
				if n != 1 {
					b.t.Errorf("the run of %s is kept %d times", clockOf(due), n)
				}
			}
			if len(seen) < 35 {
				b.t.Errorf("%d runs of about 45 are kept", len(seen))
			}
		})
	}
}

func TestTheArchiveIsBounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		bounds archiveBounds
		least  int
		most   int
	}{
		{"by count", archiveBounds{runs: 600, size: 1 << 30, age: 1 << 50}, 344, 640},
		{"by size", archiveBounds{runs: 1 << 30, size: 15_000, age: 1 << 50}, 200, 1100},
		{"by age", archiveBounds{runs: 1 << 30, size: 1 << 30, age: (10 * time.Hour).Milliseconds()}, 600, 900},
	} {
		scenarioOn(t, inMemory, tt.name, func(b *bench) {
			archiving(b, 20)
			b.cfg.archive = tt.bounds
			b.start()
			b.post(eachMinute)
			b.wait(20 * time.Hour)
			n := len(b.keptRuns("a"))
			if n < tt.least || n > tt.most {
				b.t.Errorf("%d runs are kept, want %d to %d", n, tt.least, tt.most)
			}
			b.wantKept("a", n)
			size := 0
			for _, key := range b.store.keys(segmentPrefix) {
				size += len(b.store.value(key))
			}
			if int64(size) > tt.bounds.size {
				b.t.Errorf("the segments take %d bytes, want at most %d", size, tt.bounds.size)
			}
			b.t.Logf("%d runs in %d bytes", n, size)
		})
	}
}

// A store reads segments only on demand, and a restore puts those of the backup in the place of the others.
func TestSegmentsAreReadOnDemand(t *testing.T) {
	t.Parallel()
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	st, err := openFileStore(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	old, kept := segment{first: 1, last: 9, runs: 9, size: 3}.key(), segment{first: 10, last: 20, runs: 11, size: 4}.key()
	mustCommit(t, st, record{"J_a", []byte(parked)}, record{old, []byte("old")}, record{kept, []byte("kept")})
	st.Close()
	if st, err = openFileStore(dir, quiet); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	wantOnDemand(t, st, map[string]string{old: "old", kept: "kept"})
	mustCommit(t, st, record{old, nil})
	wantOnDemand(t, st, map[string]string{kept: "kept"})

	var backup strings.Builder
	records := []reading{{record: record{"J_b", []byte(parked)}}, {record: record{old, []byte("restored")}}}
	err = writeBackup(&backup, newBackupHead(1, time.Now()), func() ([]reading, error) { page := records; records = nil; return page, nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restoreInto(t.Context(), st, strings.NewReader(backup.String()), restoreOptions{replace: true}, quiet); err != nil {
		t.Fatal(err)
	}
	wantOnDemand(t, st, map[string]string{old: "restored"})
}

// wantOnDemand expects exactly these segments in a store, and none of them in what it loads.
func wantOnDemand(t *testing.T, st store, want map[string]string) {
	t.Helper()
	records, err := st.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, key := range st.allKeys() {
		if !onDemand(key) {
			continue
		}
		if _, loaded := records[key]; loaded {
			t.Errorf("segment %q was loaded", key)
		}
		r, err := st.read(t.Context(), []string{key})
		if err != nil || r[0].err != nil {
			t.Fatalf("read %q = %v, %v", key, r, err)
		}
		got[key] = string(r[0].value)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the store holds the segments %q, want %q", got, want)
	}
}
