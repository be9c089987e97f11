package main

import (
	"bytes"
	"errors"
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
	t.Parallel()
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
	t.Parallel()
	b, err := newBackup(aState(), errors.Join(&recordError{"J_bad", errors.New("no entry")}), 1, time.Now())
	if err != nil || len(b.Unreadable) != 1 || b.Unreadable[0] != (unreadableRecord{"J_bad", "no entry"}) {
		t.Errorf("newBackup = %+v, %v, want J_bad as unreadable", b, err)
	}
	if _, err := newBackup(nil, errors.New("disk on fire"), 1, time.Now()); err == nil {
		t.Error("newBackup of a store that can't be read succeeds")
	}
}

func TestDocumentsThatAreNoBackups(t *testing.T) {
	t.Parallel()
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
