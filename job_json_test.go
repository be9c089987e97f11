package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testDefaults are the defaults of the flags, as in the worked examples.
func testDefaults() jobDefaults {
	return jobDefaults{
		CPUs: 0.1, Mem: 128, Disk: 256, User: "root",
		Epsilon: Period{Seconds: 60},
		Now:     time.Date(2026, 11, 22, 8, 41, 57, 707_000_000, time.UTC),
	}
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "job", name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(data, []byte("\n"))
}

// The worked examples of the original: a posted document, and what each dialect
// shows of it, byte for byte.
func TestWorkedExamples(t *testing.T) {
	t.Parallel()
	for _, example := range []string{"a", "b", "c", "d", "e", "f"} {
		for suffix, d := range map[string]dialect{"2": dialect2, "3": dialect3, "stored": dialectStored} {
			from := d
			if d == dialectStored {
				from = dialect3
				if example == "e" {
					from = dialect2 // it is async, which cannot be said through /v1
				}
			}
			j, err := decodeJob(readTestdata(t, "examples/"+example+".post.json"), testDefaults(), from, nil)
			if err != nil {
				t.Errorf("decodeJob(%s) = %v", example, err)
				continue
			}
			name := "examples/" + example + "." + suffix + ".json"
			if got, want := j.appendJSON(nil, d), readTestdata(t, name); !bytes.Equal(got, want) {
				t.Errorf("appendJSON for %s\n got %s\nwant %s", name, got, want)
			}
			list := "examples/" + example + "." + suffix + ".list.json"
			if _, err := os.Stat(filepath.Join("testdata", "job", list)); err != nil {
				continue // the list shows the job as it is
			}
			if got, want := j.appendListJSON(nil, d), readTestdata(t, list); !bytes.Equal(got, want) {
				t.Errorf("appendListJSON for %s\n got %s\nwant %s", list, got, want)
			}
		}
	}
}

func TestListShowsURIsAndFetchAsEachOther(t *testing.T) {
	t.Parallel()
	j := &Job{URIs: []string{"http://h/a"}, Shell: true}
	tests := []struct {
		d    dialect
		want string
	}{
		{dialect2, `"fetch":[{"uri":"http://h/a","executable":false,"cache":false,"extract":false}],"uris":["http://h/a"]`},
		{dialect3, `"fetch":[{"uri":"http://h/a","executable":false,"cache":false,"extract":true}],"uris":["http://h/a"]`},
	}
	for _, tt := range tests {
		if got := string(j.appendListJSON(nil, tt.d)); !strings.Contains(got, tt.want) {
			t.Errorf("appendListJSON(%d) = %s, want %s in it", tt.d, got, tt.want)
		}
	}
	if len(j.Fetch) != 0 {
		t.Errorf("appendListJSON changed the job: %v", j.Fetch)
	}
	j = &Job{URIs: []string{"x"}, Fetch: []Fetch{{URI: "a"}, {URI: "b"}}}
	if got := string(j.appendListJSON(nil, dialect3)); !strings.Contains(got, `"uris":["a","b"]`) {
		t.Errorf("appendListJSON = %s, want the uris of fetch", got)
	}
}

func TestDialect2ShowsNewerThingsOnlyInUse(t *testing.T) {
	t.Parallel()
	j := &Job{Container: &Container{Type: "DOCKER", Image: "i", Network: "HOST", Volumes: []Volume{{ContainerPath: "/a"}}}}
	want := `{"type":"docker","image":"i","network":"HOST","volumes":[{"containerPath":"/a"}],"forcePullImage":false,"parameters":[]}`
	if got := string(j.appendJSON(nil, dialect2)); !strings.Contains(got, want) {
		t.Errorf("appendJSON = %s, want %s in it", got, want)
	}
}

func TestExtraKeysComeLast(t *testing.T) {
	t.Parallel()
	j := &Job{Extra: []RawField{{"a\"b", []byte(`[1]`)}, {"z", []byte("null")}}}
	for d := dialect2; d <= dialectStored; d++ {
		if got := string(j.appendJSON(nil, d)); !strings.HasSuffix(got, `"scheduleTimeZone":"","a\"b":[1],"z":null}`) {
			t.Errorf("appendJSON(%d) = %s", d, got)
		}
	}
}

func TestJavaDouble(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   float64
		want string
	}{
		{0, "0.0"}, {math.Copysign(0, -1), "-0.0"}, {0.1, "0.1"}, {128, "128.0"}, {-1, "-1.0"},
		{9999999, "9999999.0"}, {9999999.5, "9999999.5"}, {1e7, "1.0E7"}, {12345678.9, "1.23456789E7"},
		{0.001, "0.001"}, {0.00099, "9.9E-4"}, {1e-5, "1.0E-5"}, {-2.5e-10, "-2.5E-10"},
		{1e21, "1.0E21"}, {math.MaxFloat64, "1.7976931348623157E308"}, {5e-324, "5.0E-324"},
		{1.0 / 3, "0.3333333333333333"}, {100, "100.0"}, {0.30000000000000004, "0.30000000000000004"},
		{math.NaN(), "NaN"}, {math.Inf(1), "Infinity"}, {math.Inf(-1), "-Infinity"},
	}
	for _, tt := range tests {
		if got := javaDouble(tt.in); got != tt.want {
			t.Errorf("javaDouble(%v) = %s, want %s", tt.in, got, tt.want)
		}
	}
	if got := string(appendDouble(nil, "cpus", math.NaN())); got != `,"cpus":"NaN"` {
		t.Errorf("appendDouble(NaN) = %s, want a string", got)
	}
}

func TestStringsEscapeOnlyWhatTheyMust(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", `""`},
		{"a/b<c>&'é😀\u2028\x7f", "\"a/b<c>&'é😀\u2028\x7f\""},
		{"\"\\", `"\"\\"`},
		{"\b\t\n\f\r", `"\b\t\n\f\r"`},
		{"\x00\x1b\x1f", `"\u0000\u001B\u001F"`},
		{"a\xffb", "\"a\ufffdb\""},
	}
	for _, tt := range tests {
		got := string(appendString(nil, tt.in))
		if got != tt.want {
			t.Errorf("appendString(%q) = %s, want %s", tt.in, got, tt.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("appendString(%q) = %s, which is no JSON", tt.in, got)
		}
	}
}
