package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// aState is a state with a record of every kind.
func aState() map[string][]byte {
	return map[string][]byte{
		"J_hourly":         []byte(`{"name":"hourly","command":"echo é","schedule":"R/2090-01-01T00:00:00.000Z/PT1H","epsilon":"PT1M"}`),
		"J_grüße":          []byte(`{"name":"grüße","command":"true","parents":["hourly"]}`),
		"frameworkId":      {0x0a, 3, 'a', 0xff, 'c'},
		"go/job/hourly":    []byte(`{"seq":7}`),
		"go/meta/adopt":    []byte("5"),
		"go/request/known": []byte(`{"answer":"","at":1}`),
	}
}

func written(t testing.TB, b *backup) []byte {
	t.Helper()
	var document bytes.Buffer
	if err := b.write(&document); err != nil {
		t.Fatal(err)
	}
	return document.Bytes()
}

func aBackup(t testing.TB, records map[string][]byte) *backup {
	t.Helper()
	b, err := newBackup(records, nil, 3, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBackupComesBackAsItWas(t *testing.T) {
	document := written(t, aBackup(t, aState()))
	b, err := readBackup(bytes.NewReader(document))
	if err != nil {
		t.Fatalf("readBackup(%s) = %v", document, err)
	}
	if again := written(t, b); !bytes.Equal(again, document) {
		t.Errorf("written again it is\n%s, want\n%s", again, document)
	}
	state := aState()
	delete(state, "go/request/known")
	for _, r := range b.Records {
		if !bytes.Equal(r.value(), state[r.Key]) {
			t.Errorf("record %q = %q, want %q", r.Key, r.value(), state[r.Key])
		}
		delete(state, r.Key)
	}
	if len(state) > 0 || b.Term != 3 || b.At != "1970-01-01T00:00:00.000Z" {
		t.Errorf("the backup lacks %v or has another head: %+v", state, b)
	}
}

func TestBackupNamesWhatItLacks(t *testing.T) {
	b, err := newBackup(aState(), errors.Join(&recordError{"J_bad", errors.New("no entry")}), 1, time.Now())
	if err != nil || len(b.Unreadable) != 1 || b.Unreadable[0] != (unreadableRecord{"J_bad", "no entry"}) {
		t.Errorf("newBackup = %+v, %v, want J_bad as unreadable", b, err)
	}
	if _, err := newBackup(nil, errors.New("disk on fire"), 1, time.Now()); err == nil {
		t.Error("newBackup of a store that can't be read succeeds")
	}
}

func TestDocumentsThatAreNoBackups(t *testing.T) {
	document := func(records string) string {
		return `{"chronos":"state","format":1,"version":"x","at":"","records":[` + records + `]}`
	}
	for _, test := range []struct{ document, want string }{
		{``, "EOF"},
		{`[{"name":"a job"}]`, "cannot unmarshal"},
		{`{"name":"a job"}`, "no backup"},
		{`{"chronos":"state","format":2,"records":[]}`, "format 2"},
		{document(`{"key":"J_a","text":"1"},{"key":"J_a","text":"2"}`), "twice"},
		{document(`{"key":"J_a","text":"1","base64":"MQ=="}`), "both"},
		{document(`{"key":"J_","text":"1"}`)[:20], "EOF"},
		{document(`{"key":"J_../../x","text":"1"}`), "no store takes this key"},
		{document(`{"key":"go/job/","text":"1"}`), "no store takes this key"},
		{document(`{"key":"go/term/x","text":"1"}`), "no part of the state"},
		{document(`{"key":"go/restore/decided","text":"{}"}`), "no part of the state"},
		{document(`{"key":"passwords","text":"1"}`), "unknown kind"},
		{document(`{"key":"J_a","text":"` + strings.Repeat("x", maxRecord) + `"}`), "larger than ZooKeeper takes"},
	} {
		if _, err := readBackup(strings.NewReader(test.document)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("readBackup(%.80q) = %v, want %q", test.document, err, test.want)
		}
	}
}

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

func TestRestoreIntoZooKeeper(t *testing.T) {
	hosts, root := zktest.Shared(t)
	st, _ := lead(t, hosts, root)
	want := largeState(1200)
	for _, state := range []map[string][]byte{aState(), want} {
		if _, err := st.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := restoreInto(t.Context(), st, aBackup(t, state), true, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := st.load(t.Context())
	want["frameworkId"] = aState()["frameworkId"]
	if err != nil || !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("ZooKeeper holds %d records, %v, want the %d of the backup", len(got), err, len(want))
	}
}

func TestRestoreRefusesJobsUnlessTold(t *testing.T) {
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

// restorable is an instance with a store that outlives its terms, behind its own API.
func restorable(t *testing.T, st store) (base string) {
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

func TestBackupAndRestoreOverTheAPI(t *testing.T) {
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
	large := string(written(t, aBackup(t, largeState(1500)))) // larger than a job's document may be
	for _, test := range []struct {
		query, body string
		status      int
		says        string
		first       string
		jobs        int
	}{
		{"", large, http.StatusConflict, "replace=true", "old-0", 3},
		{"?replace=maybe", large, http.StatusBadRequest, "true or false", "old-0", 3},
		{"?replace=true", `{"name":"no backup"}`, http.StatusBadRequest, "no backup", "old-0", 3},
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

// recordLines are the lines of a backup with records of jobs.
func recordLines(document string) string {
	lines := slices.DeleteFunc(strings.Split(document, "\n"), func(l string) bool {
		return !strings.Contains(l, `"key":"J_`) && !strings.Contains(l, `"key":"go/job`)
	})
	return strings.ReplaceAll(strings.Join(lines, "\n"), "},", "}")
}

// A restore whose answer was lost is asked for again under its name: it is not done twice, and
// jobs made since then stay.
func TestRestoreAskedForTwice(t *testing.T) {
	st := newMemStore()
	base := restorable(t, st)
	document := string(written(t, aBackup(t, largeState(2))))
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

func TestBackupCommandsOnADirectory(t *testing.T) {
	dir := t.TempDir()
	from, to, file := filepath.Join(dir, "from"), filepath.Join(dir, "to"), filepath.Join(dir, "backup.json")
	st, err := openFileStore(from, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range aState() {
		if err := st.commit(t.Context(), []record{{key, value}}); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) (said string, status int) {
		var out strings.Builder
		err := run(t.Context(), args, strings.NewReader(""), &out, &out)
		return out.String(), exitStatus(err)
	}
	if said, status := command("backup", "--data_dir", from); status != 1 || !strings.Contains(said, "in use") {
		t.Errorf("backup of a directory in use = %d %q, want 1", status, said)
	}
	st.Close()
	for _, step := range []struct {
		args   string
		status int
		says   string
	}{
		{"backup --data_dir " + to, 1, "no such file"},
		{"backup --data_dir " + from + " --output " + file, 0, ""},
		{"restore --data_dir " + to + " " + file, 0, "restored 2 jobs as of "},
		{"restore --data_dir " + to + " " + file, 1, "replace"},
		{"restore --replace --data_dir " + to + " " + file, 0, "restored 2 jobs as of "},
		{"restore --data_dir " + to, 1, "usage: chronos restore [options] file"},
		{"restore --help", 0, "usage: chronos restore [options] file"},
		{"backup --url nowhere", 1, "want http://host:port"},
	} {
		if said, status := command(strings.Fields(step.args)...); status != step.status || !strings.Contains(said, step.says) {
			t.Errorf("chronos %s = %d %q, want %d %q", step.args, status, said, step.status, step.says)
		}
	}
	restored, _ := command("backup", "--data_dir", to)
	saved, err := os.ReadFile(file)
	if err != nil || recordLines(restored) != recordLines(string(saved)) || recordLines(restored) == "" {
		t.Errorf("restored %s, want %s (%v)", restored, saved, err)
	}
}
