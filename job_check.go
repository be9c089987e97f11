package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The patterns that 2.5 and 3.0 name when they refuse a job's name. What we accept
// is the union of all versions', which is 2.5's.
const (
	namePattern2 = `([\w\s\.#_-]+)`
	namePattern3 = `([\w\.-]+)`
)

// maxName bounds a new job's name, in bytes: its task ids, ct:<due>:<attempt>:<name>:, must not
// exceed taskIDLimit.
const maxName = 230

// maxEntry bounds the entry that holds a job in ZooKeeper, whose limit for a whole
// request is a little above it.
const maxEntry = 1_000_000

// constraintOperators are those that some version knows.
var constraintOperators = [...]string{"EQUALS", "LIKE", "UNLIKE"}

// validJobName reports whether some version accepts and can store the name: ASCII letters,
// digits, and blanks and _ . # - in any number but none. The versions also accepted tabs and line
// ends, which ZooKeeper refuses in the name of a node and Mesos in that of a task.
func validJobName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("_.#- ", c) >= 0:
		default:
			return false
		}
	}
	return name != ""
}

// checkName refuses a name that no version accepts, in the words of dialect d.
func (j *Job) checkName(d dialect) error {
	if validJobName(j.Name) {
		return nil
	}
	pattern := namePattern2
	if d == dialect3 {
		pattern = namePattern3
	}
	return &jobError{"name", "requirement failed: the job's name is invalid. Allowed names: '" + pattern + "'"}
}

// check refuses what a POST may not bring in beyond what decoding refuses. With
// created it also does what the JVM versions do for new jobs only. Parents that
// don't exist are the graph's business. The error is a *jobError.
func (j *Job) check(created bool, now time.Time) error {
	if created {
		if err := j.checkName(dialect2); err != nil {
			return err
		}
		if len(j.Name) > maxName {
			return &jobError{"name", fmt.Sprintf("the job's name has %d bytes, the limit is %d", len(j.Name), maxName)}
		}
	}
	if err := j.checkTrigger(now); err != nil {
		return err
	}
	if created && !j.Dependent && len(j.URIs) > 0 && len(j.Fetch) > 0 {
		return &jobError{"fetch", "Tried to add both uri (deprecated) and fetch parameters on " + j.Name}
	}
	if err := j.checkNumbers(); err != nil {
		return err
	}
	if err := j.checkConstraints(); err != nil {
		return err
	}
	if size := j.entrySize(); size > maxEntry {
		return &jobError{"", fmt.Sprintf("the job takes %d bytes in the store, the limit is %d", size, maxEntry)}
	}
	return nil
}

func (j *Job) checkTrigger(now time.Time) error {
	if j.Dependent {
		if len(j.Parents) == 0 {
			return &jobError{"parents", "requirement failed: Error, parent does not exist"}
		}
		return nil
	}
	s, err := parseSchedule(j.Schedule, j.ScheduleTimeZone, now)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return &jobError{"schedule", err.Error()}
	}
	return nil
}

// checkNumbers refuses sizes that are none. Java reads the string "NaN" as a number.
func (j *Job) checkNumbers() error {
	sizes := [...]struct {
		key   string
		value float64
	}{{"cpus", j.CPUs}, {"mem", j.Mem}, {"disk", j.Disk}}
	for _, s := range sizes {
		if math.IsNaN(s.value) || math.IsInf(s.value, 0) {
			return &jobError{s.key, fmt.Sprintf("%s: %s is not a number that can be used", s.key, javaDouble(s.value))}
		}
	}
	return nil
}

func (j *Job) checkConstraints() error {
	for i, c := range j.Constraints {
		if !slices.Contains(constraintOperators[:], c.Operator) {
			text := fmt.Sprintf("constraints[%d]: operator %q is not one of EQUALS, LIKE, UNLIKE", i, c.Operator)
			return &jobError{"constraints", text}
		}
		if c.Operator == "EQUALS" {
			continue
		}
		if _, err := regexp.Compile(c.Value); err != nil {
			text := fmt.Sprintf("constraints[%d]: %q is not a regular expression in RE2 syntax: %v", i, c.Value, err)
			return &jobError{"constraints", text}
		}
	}
	return nil
}

// entrySize returns the size of the protobuf entry that the store keeps the job
// in: its name, a UUID of 16 bytes and the document, each after a tag and a length.
func (j *Job) entrySize() int {
	total := 0
	for _, n := range [...]int{len("J_") + len(j.Name), 16, len(j.appendJSON(nil, dialectStored))} {
		total += 2 + n
		for ; n >= 1<<7; n >>= 7 {
			total++
		}
	}
	return total
}
