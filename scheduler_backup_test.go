package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// aBackup is the document of a backup of the records.
func aBackup(t testing.TB, records map[string][]byte) []byte {
	t.Helper()
	st := newMemStore()
	maps.Copy(st.records, records)
	var document bytes.Buffer
	if err := writeBackup(&document, newBackupHead(3, time.Unix(0, 0)), storedPages(t.Context(), st)); err != nil {
		t.Fatal(err)
	}
	return document.Bytes()
}

// recordsOf are the records in a document.
func recordsOf(t testing.TB, document []byte) (map[string][]byte, backupSummary) {
	t.Helper()
	records := map[string][]byte{}
	s, err := readBackup(bytes.NewReader(document), nil, func(r record) error { records[r.key] = r.value; return nil })
	if err != nil {
		t.Fatalf("readBackup(%s) = %v", document, err)
	}
	return records, s
}

func TestBackupComesBackAsItWas(t *testing.T) {
	document := aBackup(t, aState())
	got, summary := recordsOf(t, document)
	want := aState()
	delete(want, "go/request/known")
	if !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("the document has %q, want %q", got, want)
	}
	if summary.Term != 3 || summary.At != "1970-01-01T00:00:00.000Z" || summary.jobs != 2 {
		t.Errorf("the document says %+v", summary)
	}
	if again := aBackup(t, got); !bytes.Equal(again, document) {
		t.Errorf("written again it is\n%s, want\n%s", again, document)
	}
}

func TestBackupNamesWhatItLacks(t *testing.T) {
	pages := [][]reading{{{record: put("J_a", "{}")}, {record: record{key: "J_bad"}, err: errors.New("no entry")}}, nil}
	next := func() ([]reading, error) {
		page := pages[0]
		pages = pages[1:]
		return page, nil
	}
	var document bytes.Buffer
	if err := writeBackup(&document, newBackupHead(1, time.Now()), next); err != nil {
		t.Fatal(err)
	}
	if want := `"unreadable":[{"key":"J_bad","reason":"no entry"}]`; !strings.Contains(document.String(), want) {
		t.Errorf("the document is %s, want %s in it", &document, want)
	}
	if got, _ := recordsOf(t, document.Bytes()); len(got) != 1 {
		t.Errorf("read again it has %q, want J_a", got)
	}
	broken := func() ([]reading, error) { return nil, errors.New("disk on fire") }
	if err := writeBackup(io.Discard, newBackupHead(1, time.Now()), broken); err == nil {
		t.Error("a backup of a store that can't be read succeeds")
	}
}

func TestDocumentsThatAreNoBackups(t *testing.T) {
	document := func(records string) string {
		return `{"chronos":"state","format":1,"version":"x","at":"","records":[` + records + `]}`
	}
	whole := document(`{"key":"J_a","text":"1"}`)
	for _, test := range []struct{ document, want string }{
		{``, "at byte 0: unexpected EOF"},
		{`[{"name":"a job"}]`, "[, want an object"},
		{`{"name":"a job"}`, `unknown key "name"`},
		{`{"records":[]}`, "no backup"},
		{`{"chronos":"state","format":2,"records":[]}`, "format 2"},
		{`{"chronos":"state","format":1.5,"records":[]}`, "1.5 is no whole number"},
		{`{"chronos":"state","format":"1","records":[]}`, "1, want a number"},
		{`{"chronos":"state","chronos":"state","format":1}`, `at byte 28: key "chronos" for the second time`},
		{`{"chronos":"state","format":1,"records":[],"records":[]}`, `key "records" for the second time`},
		{`{"chronos":"state","format":1,"jobs":[]}`, `unknown key "jobs"`},
		{`{"Chronos":"state","format":1,"records":[]}`, `unknown key "Chronos"`},
		{`{"chronos":"state","format":1,"records":{}}`, "{, want a list"},
		{`{"chronos":"state","format":1,"records":[],"unreadable":[{"key":"J_a","why":""}]}`, `unknown key "why"`},
		{document(`{"key":"J_a","text":"1"},{"key":"J_a","text":"2"}`), "twice"},
		{document(`{"key":"J_a","text":"1","text":"2"}`), `key "text" for the second time`},
		{document(`{"key":"J_a","text":"1","value":"2"}`), `unknown key "value"`},
		{document(`{"key":"J_a","text":"1","base64":"MQ=="}`), "both"},
		{document(`{"key":"J_a"}`), "neither"},
		{document(`{"key":"J_a","text":null}`), "want a text"},
		{document(`{"key":"J_a","base64":"?"}`), "illegal base64"},
		{document(`{"key":"J_","text":"1"}`)[:20], "unexpected EOF"},
		{whole[:len(whole)-1], "unexpected EOF"},
		{document(`{"key":"J_../../x","text":"1"}`), "no store takes this key"},
		{document(`{"key":"go/job/","text":"1"}`), "no store takes this key"},
		{document(`{"key":"go/term/x","text":"1"}`), "no part of the state"},
		{document(`{"key":"go/restore/decided","text":"{}"}`), "no part of the state"},
		{document(`{"key":"passwords","text":"1"}`), "unknown kind"},
		{document(`{"key":"J_a","text":"` + strings.Repeat("x", maxRecord) + `"}`), "larger than ZooKeeper takes"},
		{document(`{"key":"J_a","text":"` + strings.Repeat("x", 2*maxToken) + `"}`), "a text of more than"},
		{whole + "}, and so on", fmt.Sprintf("at byte %d: something follows the end", len(whole))},
		{whole + "\n" + whole, fmt.Sprintf("at byte %d: something follows the end", len(whole))},
		{whole + strings.Repeat(" ", 2*maxToken), "something follows the end"},
	} {
		var wrong *backupError
		if _, err := readBackup(strings.NewReader(test.document), nil, nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("readBackup(%.80q) = %v, want %q", test.document, err, test.want)
		}
	}
	if _, err := readBackup(strings.NewReader(whole+" \n"), nil, nil); err != nil {
		t.Errorf("readBackup(a whole document and a blank) = %v", err)
	}
}

// What is read for a document is bounded by what is at hand, and no matter what is in it.
func TestBackupTakesNoMoreMemoryThanThereIs(t *testing.T) {
	many := aBackup(t, largeState(300))
	for _, test := range []struct {
		name  string
		limit int64
		taken int64 // by others
		want  error
	}{
		{"enough", 10 << 20, 0, nil},
		{"a state that is too large for the process", 200 << 10, 0, errStateTooLarge},
		{"others have it", 10 << 20, 10<<20 - 100, errNoRoom},
	} {
		t.Run(test.name, func(t *testing.T) {
			memory := newBudget(test.limit)
			if !memory.share().grow(test.taken) {
				t.Fatal("no room for the others")
			}
			sh := memory.share()
			if _, err := readBackup(bytes.NewReader(many), sh, nil); !errors.Is(err, test.want) {
				t.Errorf("readBackup = %v, want %v", err, test.want)
			}
			if used := memory.used.Load(); used != test.taken {
				t.Errorf("%d bytes are taken afterwards, want %d", used, test.taken)
			}
		})
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

func TestRestoreIntoZooKeeper(t *testing.T) {
	hosts, root := testZK(t)
	st, _ := lead(t, hosts, root)
	want := largeState(1200)
	for _, state := range []map[string][]byte{aState(), want} {
		if _, err := st.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := restoreInto(t.Context(), st, bytes.NewReader(aBackup(t, state)), restoreOptions{replace: true}, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := st.load(t.Context())
	want["frameworkId"] = aState()["frameworkId"]
	if err != nil || !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("ZooKeeper holds %d records, %v, want the %d of the backup", len(got), err, len(want))
	}
}

func TestRestoreDestroysOnlyWhatItIsToldTo(t *testing.T) {
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
		{"?replace=true", large + "}", http.StatusBadRequest, fmt.Sprintf("at byte %d: something follows", len(large)-1), "old-0", 3},
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

// Backups are taken beside writes: the store has one caller, every backup is whole and has what was
// acknowledged before it was asked for, and the term goes on.
func TestBackupsDuringWrites(t *testing.T) {
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
	for range 30 {
		res, document := ask(t, "GET", base+"/scheduler/backup", "")
		records, summary := recordsOf(t, []byte(document))
		if res.StatusCode != http.StatusOK || records["J_always"] == nil || summary.Term != 1 {
			t.Errorf("GET backup = %d with %d jobs of term %d, want the job that was always there, in term 1", res.StatusCode, summary.jobs, summary.Term)
		}
	}
	close(stop)
	clients.Wait()
}

// The commit that decides a restore is the last of its term: what comes after it would be lost.
func TestNothingIsStoredAfterTheEndOfATerm(t *testing.T) {
	st := newMemStore()
	w := newWriter(st, func([]viewChange, viewTotals) {})
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
