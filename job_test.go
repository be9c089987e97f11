package main

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// fill sets every field below v to a random value, slices to up to three elements
// (never an empty one, which JSON can't tell from none).
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		texts := []string{"", "a", "é😀", "two words", "\"\\\n\x01", "http://h/x", "null", "7"}
		v.SetString(texts[r.IntN(len(texts))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int32:
		v.SetInt(int64(int32(r.Uint32())))
	case reflect.Int64:
		v.SetInt(int64(r.Uint64()))
	case reflect.Float64:
		v.SetFloat((r.Float64() - 0.5) * 1e9)
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Slice:
		if n := r.IntN(4); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(r, v.Index(i))
			}
		}
	}
}

// randomJob returns a job with every field in random use, within what a document
// can say.
func randomJob(r *rand.Rand) *Job {
	pick := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	members := func() rawMembers { return rawMembers(pick("", `,"x":[1,{"y":null}]`, `,"q\"":"é","z":-1.5e3`)) }
	j := &Job{}
	fill(r, reflect.ValueOf(j).Elem())
	j.Epsilon = Period{Days: r.Int32N(3), Minutes: r.Int32N(90), Seconds: r.Int32N(90), Millis: r.Int32N(2) * 500}
	j.Retries = int(int32(j.Retries))
	j.Extra, j.Misread = nil, nil
	for i := range r.IntN(3) {
		j.Extra = append(j.Extra, RawField{fmt.Sprint("extra é ", i), []byte(pick("null", `{"a":["b"]}`, "1.50"))})
	}
	if j.Dependent {
		j.Schedule, j.ScheduleTimeZone, j.Parents = "", "", []string{"p", "q r", "\"s\""}
	} else {
		j.Parents = nil
	}
	for i := range j.Fetch {
		j.Fetch[i].Extra = members()
	}
	for i := range j.Constraints {
		j.Constraints[i].Operator = pick("EQUALS", "LIKE", "UNLIKE")
	}
	if c := j.Container; c != nil {
		c.Type, c.Network, c.Extra = pick("DOCKER", "MESOS"), pick("HOST", "BRIDGE", "USER"), members()
		for i := range c.NetworkInfos {
			c.NetworkInfos[i].Protocol, c.NetworkInfos[i].Extra = pick("", "IPv4", "IPv6"), members()
		}
		for i := range c.Volumes {
			c.Volumes[i].Mode, c.Volumes[i].Extra = pick("", "RW", "RO"), members()
		}
	}
	if j.Name == "" {
		j.Name = "n"
	}
	return j
}

func TestStoringLosesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		j := randomJob(r)
		doc := j.appendJSON(nil, dialectStored)
		got, err := decodeStoredJob(doc, testDefaults())
		if err != nil || !reflect.DeepEqual(got, j) {
			t.Fatalf("decodeStoredJob(%s)\n got %+v, %v\nwant %+v", doc, got, err, j)
		}
	}
}

func TestReadModifyWriteLosesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		j := randomJob(r)
		for _, d := range []dialect{dialect2, dialect3} {
			doc := j.appendJSON(nil, d)
			got, err := decodeJob(doc, testDefaults(), d, j)
			if err != nil || !reflect.DeepEqual(got, j) {
				t.Fatalf("decodeJob(%s, %d)\n got %+v, %v\nwant %+v", doc, d, got, err, j)
			}
		}
	}
}

// scramble changes everything that can be reached from v without going through
// a copy.
func scramble(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("changed")
	case reflect.Uint8:
		v.SetUint(v.Uint() + 1)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Pointer:
		if !v.IsNil() {
			scramble(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			scramble(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			scramble(v.Index(i))
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		j := randomJob(r)
		before := string(j.appendJSON(nil, dialectStored))
		c := j.clone()
		if !reflect.DeepEqual(c, j) {
			t.Fatalf("clone = %+v, want %+v", c, j)
		}
		scramble(reflect.ValueOf(c).Elem())
		if after := string(j.appendJSON(nil, dialectStored)); after != before {
			t.Fatalf("changing the clone changed the original\n got %s\nwant %s", after, before)
		}
	}
}

func TestDates(t *testing.T) {
	at := time.Date(2014, 3, 8, 17, 57, 17, 507_999_999, time.FixedZone("", 3600))
	if got := instant(at); got != "2014-03-08T16:57:17.507Z" {
		t.Errorf("instant(%v) = %s, want 2014-03-08T16:57:17.507Z", at, got)
	}
	tests := []struct {
		in, want string // "" for no date
	}{
		{"2014-03-08T16:57:17.507Z", "2014-03-08T16:57:17.507Z"},
		{"2014-03-08T16:57:17Z", "2014-03-08T16:57:17.000Z"},
		{"2014-03-08T16:57:17.5+02:00", "2014-03-08T14:57:17.500Z"},
		{"2014-03-08T16:57:17.507-0800", "2014-03-09T00:57:17.507Z"},
		{"2014-03-08T16:57:17", "2014-03-08T16:57:17.000Z"},
		{"2014-03-08", "2014-03-08T00:00:00.000Z"},
		{"", ""}, {"null", ""}, {"2014-02-30T00:00:00Z", ""}, {"yesterday", ""},
	}
	for _, tt := range tests {
		got, ok := parseDate(tt.in)
		if ok != (tt.want != "") || ok && instant(got) != tt.want {
			t.Errorf("parseDate(%q) = %v, %v, want %q", tt.in, got, ok, tt.want)
		}
	}
}

func TestLastResult(t *testing.T) {
	const early, late = "2014-03-08T16:57:17.507Z", "2014-03-08T16:57:17.508Z"
	tests := []struct{ success, failure, want string }{
		{"", "", "fresh"},
		{early, "", "success"},
		{"", early, "failure"},
		{late, early, "success"},
		{early, late, "failure"},
		{early, early, "failure"},
		{"2014-03-08T18:57:17.600+02:00", early, "success"},
		{"null", "", "success"},
		{"null", early, "failure"},
		{late, "null", "failure"},
	}
	for _, tt := range tests {
		j := &Job{LastSuccess: tt.success, LastError: tt.failure}
		if got := j.lastResult(); got != tt.want {
			t.Errorf("lastResult(%q, %q) = %s, want %s", tt.success, tt.failure, got, tt.want)
		}
	}
}
