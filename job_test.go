package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fill sets every field below v to a random value, slices to up to three elements
// (never an empty one, which JSON can't tell from none).
func fill(r *rand.Rand, v reflect.Value) {
	if !v.CanSet() {
		return // is derived from the rest
	}
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
			if v.Type().Field(i).IsExported() {
				fill(r, v.Field(i))
			}
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
	j.Extra, j.Misread, j.Policy, j.Named = nil, nil, nil, namedSizes{}
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

// withoutPatterns drops the compiled patterns of a job's constraints, which are not part of its document.
func withoutPatterns(j *Job) *Job {
	for i := range j.Constraints {
		j.Constraints[i].pattern = nil
	}
	return j
}

func TestStoringLosesNothing(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range inForm(500, 50_000) {
		j := randomJob(r)
		doc := j.appendJSON(nil, dialectStored)
		got, err := decodeStoredJob(doc, testDefaults())
		if err != nil || !reflect.DeepEqual(withoutPatterns(got), j) {
			t.Fatalf("decodeStoredJob(%s)\n got %+v, %v\nwant %+v", doc, got, err, j)
		}
	}
}

func TestReadModifyWriteLosesNothing(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range inForm(500, 50_000) {
		j := randomJob(r)
		for _, d := range []dialect{dialect2, dialect3} {
			doc := j.appendJSON(nil, d)
			got, err := decodeJob(doc, testDefaults(), d, j)
			if err != nil || !reflect.DeepEqual(withoutPatterns(got), j) {
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

func TestJobNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		want bool
	}{
		{"a", true}, {"my-job_1", true}, {"2.5.dots", true}, {"..", true}, // . since 2.5
		{"two words #1", true}, {" ", true}, // blanks and # until 2.5
		{"a\tb", false}, {"a\nb", false}, // accepted, but neither ZooKeeper nor Mesos takes them
		{strings.Repeat("x", 5000), true},
		{"", false}, {"é", false}, {"a/b", false}, {"a:b", false}, {"a%20b", false}, {"a\x00", false}, {"a\u00a0b", false},
	}
	for _, tt := range tests {
		if got := validJobName(tt.name); got != tt.want {
			t.Errorf("validJobName(%q) = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestNameRefusalNamesThePatternOfTheDialect(t *testing.T) {
	t.Parallel()
	j := &Job{Name: "a/b"}
	tests := []struct {
		d    dialect
		want string
	}{
		{dialect2, `requirement failed: the job's name is invalid. Allowed names: '([\w\s\.#_-]+)'`},
		{dialect3, `requirement failed: the job's name is invalid. Allowed names: '([\w\.-]+)'`},
	}
	for _, tt := range tests {
		err := j.checkName(tt.d)
		if e, ok := errors.AsType[*jobError](err); !ok || e.field != "name" || e.Error() != tt.want {
			t.Errorf("checkName(%d) = %v, want %s", tt.d, err, tt.want)
		}
	}
	if err := (&Job{Name: "a b"}).checkName(dialect3); err != nil {
		t.Errorf("checkName(%q) = %v, want nil", "a b", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	scheduled := func(change func(*Job)) *Job {
		j := &Job{Name: "n", Schedule: "R/2030-01-01T00:00:00Z/P1D", CPUs: 1, Mem: 1, Disk: 1}
		change(j)
		return j
	}
	dependent := func(parents ...string) *Job {
		return scheduled(func(j *Job) { j.Schedule, j.Dependent, j.Parents = "", true, parents })
	}
	both := func(j *Job) { j.URIs, j.Fetch = []string{"a"}, []Fetch{{URI: "b"}} }
	constrained := func(operator, value string) *Job {
		return scheduled(func(j *Job) {
			j.Constraints = []Constraint{constraint("a", "EQUALS", "("), constraint("a", operator, value)}
		})
	}
	tests := []struct {
		name           string
		job            *Job
		create, update string // start of the error's text, "" for none
		field          string
	}{
		{"plain", scheduled(func(*Job) {}), "", "", ""},
		{"negative sizes", scheduled(func(j *Job) { j.CPUs, j.Mem = -1, -5 }), "", "", ""},
		{"name", scheduled(func(j *Job) { j.Name = "a/b" }), "requirement failed: the job's name", "", "name"},
		{"long name", scheduled(func(j *Job) { j.Name = strings.Repeat("x", maxName+1) }), "the job's name has 231 bytes", "", "name"},
		{"uris and fetch", scheduled(both), "Tried to add both uri (deprecated) and fetch parameters on n", "", "fetch"},
		{"schedule", scheduled(func(j *Job) { j.Schedule = "soon" }),
			`schedule "soon" is `, `schedule "soon" is `, "schedule"},
		{"endless zero period", scheduled(func(j *Job) { j.Schedule = "R//PT0S" }),
			`schedule "R/`, `schedule "R/`, "schedule"},
		{"dependent", dependent("p"), "", "", ""},
		{"no parents", dependent(), "requirement failed: Error, parent does not exist",
			"requirement failed: Error, parent does not exist", "parents"},
		{"NaN", scheduled(func(j *Job) { j.Mem = math.NaN() }), "mem: NaN is not", "mem: NaN is not", "mem"},
		{"infinite", scheduled(func(j *Job) { j.CPUs = math.Inf(-1) }), "cpus: -Infinity is not", "cpus: -Infinity is not", "cpus"},
		{"LIKE", constrained("LIKE", "ubuntu.*"), "", "", ""},
		{"operator", constrained("like", "x"), `constraints[1]: operator "like" is not one of`,
			`constraints[1]: operator "like" is not one of`, "constraints"},
		{"pattern", constrained("UNLIKE", "a(?=b)"), `constraints[1]: "a(?=b)" is not a regular expression in RE2 syntax: `,
			`constraints[1]: "a(?=b)" is not a regular expression in RE2 syntax: `, "constraints"},
		{"large", scheduled(func(j *Job) { j.Command = strings.Repeat("x", maxEntry-700) }), "", "", ""},
		{"too large", scheduled(func(j *Job) { j.Command = strings.Repeat("x", maxEntry) }),
			"the job takes 1000", "the job takes 1000", ""},
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range tests {
		for created, want := range map[bool]string{true: tt.create, false: tt.update} {
			err := tt.job.check(created, now)
			if want == "" {
				if err != nil {
					t.Errorf("%s: check(%v) = %v, want nil", tt.name, created, err)
				}
				continue
			}
			e, ok := errors.AsType[*jobError](err)
			if !ok || !strings.HasPrefix(e.text, want) || e.field != tt.field {
				t.Errorf("%s: check(%v) = %v, want %s", tt.name, created, err, want)
			}
		}
	}
	both2 := dependent("p")
	both(both2)
	if err := both2.check(true, now); err != nil {
		t.Errorf("check(uris and fetch of a dependent job) = %v, want nil", err)
	}
}

// Schedules that existing clients post, the odd ones included.
func TestCheckAcceptsTheSchedulesOfClients(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, text := range []string{
		"R1//PT2M", "R1//PT1S", "R1//P", "R0//PT0M", "R0/2014-01-01T00:00:00Z/PT24H",
		"R/2014-03-08T20:00:00.000Z/PT2H", "R5/2030-06-15T10:30:15+02:00/P1D", "R//PT1H",
		"R1/1969-12-31T23:59:59Z/P1D", // before 1970 was refused by 3.0 alone
	} {
		j := &Job{Name: "n", Schedule: text}
		if err := j.check(true, now); err != nil {
			t.Errorf("check(%q) = %v, want nil", text, err)
		}
	}
}

func TestEntrySize(t *testing.T) {
	t.Parallel()
	j := &Job{Name: "a"}
	doc := len(j.appendJSON(nil, dialectStored))
	// tag and length, twice one byte and once two: the document has more than 127 bytes
	if got, want := j.entrySize(), 2+3+2+16+3+doc; got != want {
		t.Errorf("entrySize = %d, want %d", got, want)
	}
}
