package main

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEntryIsWhatLibmesosWrites(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, hex string }{
		{"frameworkId", "\n$20150828-101010-16777343-5050-1-0000",
			`0a 0b 66 72 61 6d 65 77 6f 72 6b 49 64
			12 10 6f a4 59 ea ee 8a 4c a4 89 4e db 77 e1 60 35 5e
			1a 26 0a 24 32 30 31 35 30 38 32 38 2d 31 30 31 30 31 30 2d 31 36 37 37 37 33 34 33 2d 35 30 35 30 2d 31 2d 30 30 30 30`},
		{"J_a", `{"name":"a"}`,
			`0a 03 4a 5f 61 12 10 6f a4 59 ea ee 8a 4c a4 89 4e db 77 e1 60 35 5e 1a 0c 7b 22 6e 61 6d 65 22 3a 22 61 22 7d`},
	} {
		want := unhex(t, test.hex)
		if got := encodeVariable(test.name, corpusUUID, []byte(test.value)); !bytes.Equal(got, want) {
			t.Errorf("encodeVariable(%q) = % x, want % x", test.name, got, want)
		}
		e, err := decodeVariable(want)
		if err != nil || e.name != test.name || !bytes.Equal(e.uuid, corpusUUID[:]) || string(e.value) != test.value {
			t.Errorf("decodeVariable(%q) = %q, %v", test.name, e, err)
		}
	}
	long := encodeVariable("J_a", corpusUUID, make([]byte, 300))
	if want := unhex(t, "1a ac 02 00"); !bytes.Contains(long, want) {
		t.Errorf("an entry with a value of 300 bytes has no % x", want)
	}
}

func TestEntriesOfAllVersionsSurviveUnchanged(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.4", "2.5", "3.0"} {
		for name, data := range stateCorpus(t, version) {
			e, err := decodeVariable(data)
			if err != nil || e.name != name {
				t.Errorf("decodeVariable(%s/%s) has name %q, %v", version, name, e.name, err)
				continue
			}
			if again := encodeVariable(e.name, corpusUUID, e.value); !bytes.Equal(again, data) {
				t.Errorf("%s/%s encodes as %q, want %q", version, name, again, data)
			}
		}
	}
}

func TestDecodeEntry(t *testing.T) {
	t.Parallel()
	const name, id, value = "0a 01 4a", "12 10 6fa459eaee8a4ca4894edb77e160355e", "1a 02 7b7d"
	for _, test := range []struct {
		what, hex string
		ok        bool
	}{
		{"any order", value + id + name, true},
		{"unknown varint", name + "20 96 01" + id + value, true},
		{"unknown fixed32", "2d 01020304" + name + id + value, true},
		{"unknown fixed64", "31 0102030405060708" + name + id + value, true},
		{"unknown bytes", name + id + value + "3a 03 010203", true},
		{"unknown group", name + id + "43 0a 01 58 44" + value, true},
		{"a field twice: the last counts", "0a 01 58" + "1a 00" + name + id + value, true},
		{"empty", "", false},
		{"no name", id + value, false},
		{"no uuid", name + value, false},
		{"no value", name + id, false},
		{"value in a group", name + id + "43" + value + "44", false},
		{"group without end", name + id + value + "43", false},
		{"field number 0", name + id + value + "02 00", false},
		{"cut in a length", name + id + "1a", false},
		{"cut in a value", name + id + "1a 02 7b", false},
		{"cut in a varint", name + id + value + "20 96", false},
		{"huge length", name + id + "1a ff ff ff ff ff ff ff ff ff 01", false},
		{"unknown wire type", name + id + value + "07", false},
	} {
		e, err := decodeVariable(unhex(t, test.hex))
		if (err == nil) != test.ok {
			t.Errorf("%s: decodeVariable = %v, want success: %v", test.what, err, test.ok)
		}
		if test.ok && (e.name != "J" || string(e.value) != "{}" || !bytes.Equal(e.uuid, corpusUUID[:])) {
			t.Errorf("%s: decodeVariable = %q", test.what, e)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for _, data := range stateCorpus(f, "odd") {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeVariable(data)
		if err != nil || len(e.uuid) != 16 {
			return
		}
		again, err := decodeVariable(encodeVariable(e.name, [16]byte(e.uuid), e.value))
		if err != nil || again.name != e.name || !bytes.Equal(again.value, e.value) {
			t.Errorf("decodeVariable(encodeVariable(%q)) = %q, %v", e, again, err)
		}
	})
}

func TestRecordNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"":                         "%",
		".":                        "%2E",
		"..":                       "%2E%2E",
		"...":                      "...",
		"a.b":                      "a.b",
		"a b#c_d-e":                "a b#c_d-e",
		"ct:1795399800000:0:job:":  "ct:1795399800000:0:job:",
		"ct:1:0:job:/etc/passwd 5": "ct:1:0:job:%2Fetc%2Fpasswd 5",
		"50%":                      "50%25",
		"tab\there\x7f":            "tab%09here%7F",
		"grüße":                    "grüße",
		"\u0085":                   "%C2%85",
		"\ue000 \ufffd":            "%EE%80%80 %EF%BF%BD",
		"🙂":                        "%F0%9F%99%82",
		"bad \xff utf-8":           "bad %FF utf-8",
	} {
		got := recordName(name)
		if got != want {
			t.Errorf("recordName(%q) = %q, want %q", name, got, want)
		}
		if back, err := parseRecordName(got); err != nil || back != name {
			t.Errorf("parseRecordName(%q) = %q, %v, want %q", got, back, err, name)
		}
	}
	for _, encoded := range []string{"", "50%", "%2", "%zz", "%61", "%2f", "a/b", "%%", ".", "%FF%"} {
		if name, err := parseRecordName(encoded); err == nil {
			t.Errorf("parseRecordName(%q) = %q, want an error", encoded, name)
		}
	}
}

func FuzzRecordName(f *testing.F) {
	f.Add("a/b%c\x00")
	f.Fuzz(func(t *testing.T, name string) {
		encoded := recordName(name)
		if back, err := parseRecordName(encoded); err != nil || back != name {
			t.Errorf("parseRecordName(recordName(%q)) = %q, %v", name, back, err)
		}
		if back, err := parseRecordName(name); err == nil && recordName(back) != name {
			t.Errorf("parseRecordName(%q) = %q, which encodes as %q", name, back, recordName(back))
		}
	})
}
