package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
)

// largeState does not fit into one commit.
func largeState(jobs int) map[string][]byte {
	state := map[string][]byte{}
	for n := range jobs {
		name := fmt.Sprintf("job-%04d", n)
		state["J_"+name] = fmt.Appendf(nil, `{"name":%q,"command":"echo %s","schedule":"R/2090-01-01T00:00:00.000Z/P1D"}`, name, strings.Repeat(name, 200))
	}
	return state
}

// A restore that is cut off at any commit is either not begun or finished later, never half done.
func TestRestoreIsWholeOrNot(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	before, target := aState(), largeState(800)
	b := aBackup(t, target)
	want := maps.Clone(target)
	want["frameworkId"], want["go/request/known"] = before["frameworkId"], before["go/request/known"]
	errCrash := errors.New("crash")
	commits, finished, undone := 0, 0, 0
	for last := 0; ; last++ {
		st := newMemStore()
		maps.Copy(st.records, before)
		st.before = func([]record) error {
			if st.commits == last {
				return errCrash
			}
			return nil
		}
		_, err := restoreInto(t.Context(), st, bytes.NewReader(b), restoreOptions{replace: true}, quiet)
		decided := st.records[restoreMarker] != nil
		st.before = nil
		records, _ := st.load(t.Context())
		settled, serr := settleRestore(t.Context(), st, records, quiet)
		if serr != nil {
			t.Fatalf("settleRestore after a crash at commit %d = %v", last, serr)
		}
		if !maps.EqualFunc(settled, st.records, bytes.Equal) {
			t.Fatalf("after a crash at commit %d the records returned are not those stored", last)
		}
		switch {
		case maps.EqualFunc(st.records, want, bytes.Equal):
			finished++
		case maps.EqualFunc(st.records, before, bytes.Equal) && !decided:
			undone++
		default:
			t.Fatalf("after a crash at commit %d the state has %d records, neither those before nor those of the backup", last, len(st.records))
		}
		if err == nil {
			commits = last
			break
		}
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
	}
	if commits < 5 || finished < 3 || undone < 1 {
		t.Errorf("%d commits, %d finished, %d undone: want a restore of many commits, cut off before and after the decision", commits, finished, undone)
	}
}

func TestRestoreDestroysOnlyWhatItIsToldTo(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	nobody := map[string][]byte{"frameworkId": []byte("f"), "go/meta/adopt": []byte("1")}
	for _, test := range []struct {
		name            string
		present, backup map[string][]byte
		options         restoreOptions
		want            error
	}{
		{"into nothing", nil, largeState(2), restoreOptions{}, nil},
		{"where there are no jobs", nobody, largeState(2), restoreOptions{}, nil},
		{"over jobs", aState(), largeState(2), restoreOptions{}, errNotEmpty},
		{"over jobs, knowingly", aState(), largeState(2), restoreOptions{replace: true}, nil},
		{"nothing over jobs", aState(), nobody, restoreOptions{replace: true}, errNoJobs},
		{"nothing over jobs, knowingly", aState(), nobody, restoreOptions{replace: true, empty: true}, nil},
		{"nothing over jobs, half knowingly", aState(), nobody, restoreOptions{empty: true}, errNotEmpty},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newMemStore()
			maps.Copy(st.records, test.present)
			_, err := restoreInto(t.Context(), st, bytes.NewReader(aBackup(t, test.backup)), test.options, quiet)
			if !errors.Is(err, test.want) {
				t.Errorf("restoreInto = %v, want %v", err, test.want)
			}
			if err != nil && !maps.EqualFunc(st.records, test.present, bytes.Equal) {
				t.Errorf("what was refused has left %q, want %q", st.records, test.present)
			}
		})
	}
}

// The commit that decides a restore is the last of its term: what comes after it would be lost.
func TestNothingIsStoredAfterTheEndOfATerm(t *testing.T) {
	t.Parallel()
	st := newMemStore()
	w := newWriter(st, maxBatchSize, func([]viewChange, viewTotals) {}, slog.New(slog.DiscardHandler))
	told := map[string]error{}
	for _, c := range []*change{
		{records: []record{put("J_before", "1")}}, {records: []record{put(restoreMarker, "{}")}, ends: errRestored}, {records: []record{put("J_after", "1")}},
	} {
		key := c.records[0].key
		c.effects = []func(error){func(err error) { told[key] = err }}
		w.enqueue(c)
	}
	if err := w.run(t.Context()); !errors.Is(err, errRestored) {
		t.Errorf("run() = %v, want %v", err, errRestored)
	}
	if keys := st.keys("J_"); len(keys) != 1 || told["J_before"] != nil || told[restoreMarker] != nil || !errors.Is(told["J_after"], errNoLeader) {
		t.Errorf("stored are %q, and told was %v, want what was before the end, and %v after it", keys, told, errNoLeader)
	}
}
