package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// restorable is an instance with a store that outlives its terms, behind its own API.
func restorable(t *testing.T, st localStore) (base string) {
	t.Helper()
	at := newSeat("self:1")
	l := &leadership{seat: at, cluster: newFakeCluster(), log: slog.New(slog.DiscardHandler), metrics: newMetrics("test"), config: testConfig()}
	ctx, cancel := context.WithCancel(context.Background())
	var leading sync.WaitGroup
	leading.Go(func() { l.onFile(ctx, st) })
	t.Cleanup(func() { cancel(); leading.Wait() })
	web := httptest.NewServer(newAPI(apiOptions{serverOptions: serverOptions{current: at.current, leader: at.known, changed: at.changed, id: at.id}}))
	t.Cleanup(web.Close)
	return web.URL
}

// recordLines are the lines of a backup with records of jobs.
func recordLines(document string) string {
	lines := slices.DeleteFunc(strings.Split(document, "\n"), func(l string) bool {
		return !strings.Contains(l, `"key":"J_`) && !strings.Contains(l, `"key":"go/job`)
	})
	return strings.ReplaceAll(strings.Join(lines, "\n"), "},", "}")
}

func TestBackupAndRestoreOverTheAPI(t *testing.T) {
	t.Parallel()
	base := restorable(t, newMemStore())
	for n := range 3 {
		job := fmt.Sprintf(`{"name":"old-%d","command":"true","schedule":"R/2090-01-01T00:00:00Z/P1D"}`, n)
		if res, text := ask(t, "POST", base+"/scheduler/iso8601", job, "Content-Type", typeJSON); res.StatusCode != http.StatusNoContent {
			t.Fatalf("POST = %d %s", res.StatusCode, text)
		}
	}
	jobs := func() (names []string) {
		_, text := ask(t, "GET", base+"/scheduler/graph/csv", "")
		for line := range strings.Lines(text) {
			names = append(names, strings.Split(line, ",")[1])
		}
		return names
	}
	res, saved := ask(t, "GET", base+"/v1/scheduler/backup", "")
	if res.StatusCode != http.StatusOK || !strings.Contains(saved, `"key":"J_old-2"`) {
		t.Fatalf("GET backup = %d %s", res.StatusCode, saved)
	}
	large := string(aBackup(t, largeState(1500))) // larger than a job's document may be
	for _, test := range []struct {
		query, body string
		status      int
		says        string
		first       string
		jobs        int
	}{
		{"", large, http.StatusConflict, "replace=true", "old-0", 3},
		{"?replace=maybe", large, http.StatusBadRequest, "true or false", "old-0", 3},
		{"?replace=true", `{"name":"no backup"}`, http.StatusBadRequest, "unknown key", "old-0", 3},
		{"?replace=true", large + "}", http.StatusBadRequest, fmt.Sprintf("at byte %d: there is more", len(large)-1), "old-0", 3},
		{"?replace=true", `{"chronos":"state","format":1}`, http.StatusConflict, "empty=true", "old-0", 3},
		{"?replace=true", large, http.StatusNoContent, "", "job-0000", 1500},
		{"?replace=true", saved, http.StatusNoContent, "", "old-0", 3},
	} {
		res, text := ask(t, "POST", base+"/v1/scheduler/restore"+test.query, test.body, "Content-Type", typeJSON)
		if res.StatusCode != test.status || !strings.Contains(text, test.says) {
			t.Errorf("POST restore%s = %d %s, want %d %q", test.query, res.StatusCode, text, test.status, test.says)
		}
		if got := jobs(); len(got) != test.jobs || got[0] != test.first {
			t.Errorf("after restore%s = %d there are %d jobs from %q on, want %d from %q on", test.query, res.StatusCode, len(got), got[:min(1, len(got))], test.jobs, test.first)
		}
	}
	if _, again := ask(t, "GET", base+"/v1/scheduler/backup", ""); recordLines(again) != recordLines(saved) {
		t.Errorf("a backup of what was restored is\n%s, want\n%s", again, saved)
	}
}

// A restore whose answer was lost is requested again under its name: it is not done twice, and
// jobs made since then stay.
func TestRestoreAskedForTwice(t *testing.T) {
	t.Parallel()
	st := newMemStore()
	base := restorable(t, st)
	document := string(aBackup(t, largeState(2)))
	for range 2 {
		res, text := ask(t, "POST", base+"/v1/scheduler/restore", document, "Content-Type", typeJSON, requestIDHeader, "once")
		if res.StatusCode != http.StatusNoContent {
			t.Fatalf("POST restore = %d %s", res.StatusCode, text)
		}
		ask(t, "POST", base+"/scheduler/iso8601", `{"name":"since","command":"true","schedule":"R/2090-01-01T00:00:00Z/P1D"}`, "Content-Type", typeJSON)
	}
	if keys := st.keys("J_"); len(keys) != 3 {
		t.Errorf("jobs %q, want the two of the backup and the one made since", keys)
	}
	if keys := st.keys(restorePrefix); len(keys) > 0 {
		t.Errorf("records %q are left", keys)
	}
}

// Backups are taken beside writes: the store has one caller, every backup is whole and has what was
// acknowledged before it was asked for, and the term goes on.
func TestBackupsDuringWrites(t *testing.T) {
	t.Parallel()
	file := openTestStore(t, t.TempDir())
	file.slack = 1 << 20
	base := restorable(t, &ownedStore{store: file})
	write := func(name string) {
		ask(t, "POST", base+"/scheduler/iso8601", fmt.Sprintf(`{"name":%q,"command":"%0500d","schedule":"R/2099-01-01T00:00:00Z/P1D"}`, name, 0))
	}
	write("always")
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for n := range 4 {
		clients.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					write(fmt.Sprintf("job-%d-%d", n, i%200))
				}
			}
		})
	}
	for range inForm(15, 30) {
		res, document := ask(t, "GET", base+"/scheduler/backup", "")
		records, summary := recordsOf(t, []byte(document))
		if res.StatusCode != http.StatusOK || records["J_always"] == nil || summary.Term != 1 {
			t.Errorf("GET backup = %d with %d jobs of term %d, want the job that was always there, in term 1", res.StatusCode, summary.jobs, summary.Term)
		}
	}
	close(stop)
	clients.Wait()
}
