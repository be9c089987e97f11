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
		err := restoreInto(t.Context(), st, b, true, quiet)
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

func TestRestoreRefusesJobsUnlessTold(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	for _, test := range []struct {
		records map[string][]byte
		replace bool
		want    error
	}{
		{nil, false, nil},
		{map[string][]byte{"frameworkId": []byte("f"), "go/meta/adopt": []byte("1")}, false, nil},
		{aState(), false, errNotEmpty},
		{aState(), true, nil},
	} {
		st := newMemStore()
		maps.Copy(st.records, test.records)
		if err := restoreInto(t.Context(), st, aBackup(t, largeState(2)), test.replace, quiet); !errors.Is(err, test.want) {
			t.Errorf("restoreInto(%d records, replace %t) = %v, want %v", len(test.records), test.replace, err, test.want)
		}
	}
}
