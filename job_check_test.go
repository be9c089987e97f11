package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestJobNames(t *testing.T) {
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
	j := &Job{Name: "a"}
	doc := len(j.appendJSON(nil, dialectStored))
	// tag and length, twice one byte and once two: the document has more than 127 bytes
	if got, want := j.entrySize(), 2+3+2+16+3+doc; got != want {
		t.Errorf("entrySize = %d, want %d", got, want)
	}
}
