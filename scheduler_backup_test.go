package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	document := func(records string) string {
		return `{"chronos":"state","format":1,"version":"x","at":"","records":[` + records + `]}`
	}
	whole := document(`{"key":"J_a","text":"1"}`)
	for _, test := range []struct{ document, want string }{
		{``, "at byte 0: unexpected EOF"},
		{`[{"name":"a job"}]`, "[, want an object"},
		{`{"name":"a job"}`, `unknown key "name"`},
		{`{"records":[]}`, "not a backup"},
		{`{"chronos":"state","format":2,"records":[]}`, "format 2"},
		{`{"chronos":"state","format":1.5,"records":[]}`, "1.5 is not a whole number"},
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
		{document(`{"key":"J_../../x","text":"1"}`), "no store accepts this key"},
		{document(`{"key":"go/job/","text":"1"}`), "no store accepts this key"},
		{document(`{"key":"go/term/x","text":"1"}`), "not part of the state"},
		{document(`{"key":"go/restore/decided","text":"{}"}`), "not part of the state"},
		{document(`{"key":"passwords","text":"1"}`), "unknown kind"},
		{document(`{"key":"J_a","text":"` + strings.Repeat("x", maxRecord) + `"}`), "larger than ZooKeeper accepts"},
		{document(`{"key":"J_a","text":"` + strings.Repeat("x", 2*maxToken) + `"}`), "a text of more than"},
		{whole + "}, and so on", fmt.Sprintf("at byte %d: there is more after the end", len(whole))},
		{whole + "\n" + whole, fmt.Sprintf("at byte %d: there is more after the end", len(whole))},
		{whole + strings.Repeat(" ", 2*maxToken), "there is more after the end"},
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
	t.Parallel()
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

// Whatever the bytes, a document is refused with a *backupError or means one state: written from what was read it is read the
// same, what arrives in pieces is what was sent, and nothing may follow it.
func FuzzBackup(f *testing.F) {
	f.Add(aBackup(f, aState()))
	f.Add(aBackup(f, nil))
	f.Add([]byte(`{"records":[{"base64":"AAE=","key":"T_x"},{"text":"","key":"go/strange/x"}],"unreadable":[{"key":"J_b","reason":"r"}],"format":1,"chronos":"state"}`))
	f.Add([]byte(`{"chronos":"state","format":1,"records":[{"key":"J_a","text":"\ud800\u0000\u00e9"}]} `))
	f.Add([]byte(`{"chronos":"state","format":1,"chronos":"state"}`))
	f.Add([]byte(`{"chronos":"state","format":1,"records":[{"key":"J_a","text":"1"},{"key":"J_a","text":"2"}]}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		memory := newBudget(1 << 20)
		records := map[string][]byte{}
		summary, err := readBackup(bytes.NewReader(document), memory.share(), func(r record) error {
			if records[r.key] != nil {
				t.Errorf("record %q is handed on twice", r.key)
			}
			records[r.key] = append([]byte{}, r.value...)
			return nil
		})
		if used := memory.used.Load(); used != 0 {
			t.Errorf("%d bytes are still taken", used)
		}
		if errors.Is(err, errStateTooLarge) || errors.Is(err, errNoRoom) {
			return
		}
		if err != nil {
			if e, ok := errors.AsType[*backupError](err); !ok || e.offset < 0 || e.offset > int64(len(document)) {
				t.Errorf("readBackup(%q) = %v, want a *backupError within it", document, err)
			}
			return
		}
		if again, s := recordsOf(t, aBackup(t, records)); !maps.EqualFunc(again, records, bytes.Equal) || s.jobs != summary.jobs {
			t.Errorf("written from what was read it is %q, want %q", again, records)
		}
		if _, err := readBackup(bytes.NewReader(append(document[:len(document):len(document)], '{')), nil, nil); err == nil {
			t.Error("a second document may follow it")
		}
		received := map[string][]byte{}
		_, marker, _, err := receiveBackup(bytes.NewReader(document), nil, restoreOptions{empty: true}, func(r record) error {
			received[r.key] = r.value
			return nil
		})
		if err != nil {
			t.Fatalf("receiveBackup = %v", err)
		}
		received[marker.key] = marker.value
		wanted, _, err := restoredRecords(received)
		maps.DeleteFunc(wanted, func(key string, _ []byte) bool { return transient(key) })
		delete(records, adoptKey)
		if err != nil || !maps.EqualFunc(wanted, records, bytes.Equal) {
			t.Errorf("restored from its pieces it is %q, %v, want %q", wanted, err, records)
		}
	})
}
