package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What becomes of an occurrence of a job of which another run is under way.
const (
	overlapDelay   = "delay"   // it waits until its epsilon is over
	overlapSkip    = "skip"    // it does not run
	overlapReplace = "replace" // it runs instead, once that has ended
	overlapQueue   = "queue"   // it waits until the occurrence before it is over
	overlapAllow   = "allow"   // it runs beside that
)

var overlaps = []string{overlapDelay, overlapSkip, overlapReplace, overlapQueue, overlapAllow}

// wordKey is a key that takes one of some words.
func wordKey(name string, words []string, field func(*Policy) *string) policyKey {
	return policyKey{name: name, kind: "one of `" + strings.Join(words, "`, `") + "`", byDefault: "`" + words[0] + "`",
		read: func(p *Policy, v value) error {
			if !v.isString() {
				return errInert
			}
			word := v.text()
			if !slices.Contains(words, word) {
				return fmt.Errorf("%s is not one of %s", quoteWarned(word), strings.Join(words, ", "))
			}
			*field(p) = word
			return nil
		},
		text: func(p *Policy) []byte {
			if *field(p) == "" {
				return nil
			}
			return appendString(nil, *field(p))
		}}
}

// mostConcurrent bounds maxConcurrent.
const mostConcurrent = 10_000

var maxConcurrentKey = policyKey{name: "maxConcurrent", kind: "whole number from 1 to 10000, beside `\"overlap\":\"allow\"`", byDefault: "no bound",
	read: func(p *Policy, v value) error {
		n, err := readCount(v, mostConcurrent)
		p.MaxConcurrent = n
		return err
	},
	text: func(p *Policy) []byte {
		if p.MaxConcurrent == 0 {
			return nil
		}
		return strconv.AppendInt(nil, int64(p.MaxConcurrent), 10)
	}}

// readCount reads a whole number from 1 to most.
func readCount(v value, most int64) (int, error) {
	if !v.isNumber() {
		return 0, errInert
	}
	if n := v.int64(); !v.isFraction() && n >= 1 && n <= most {
		return int(n), nil
	}
	return 0, fmt.Errorf("%s is not a whole number from 1 to %d", v, most)
}

// settleOverlap brings concurrent, which JVM versions know, in line with overlap, which decides over what is kept or listed of it.
func (d *jobDecoder) settleOverlap(j *Job, doc object) {
	if j.Policy == nil {
		return
	}
	how := j.Policy.Overlap
	if j.Policy.MaxConcurrent != 0 && how != overlapAllow {
		d.fail(docPath{"maxConcurrent", -1}, `it bounds how many runs go on at once, and is for jobs with "overlap":"allow"`)
	}
	if how == "" {
		return
	}
	if how != overlapAllow && doc.get("concurrent").bool() {
		d.fail(docPath{"concurrent", -1}, `true contradicts "overlap":%q; leave one of them out, or write "overlap":"allow"`, how)
	}
	j.Concurrent = how == overlapAllow
}

// followConcurrent brings a stored overlap in line with the job's concurrent where a JVM version has changed that.
func (p *Policy) followConcurrent(concurrent bool) *Policy {
	if p.Overlap == "" || (p.Overlap == overlapAllow) == concurrent {
		return p
	}
	next := *p
	next.Overlap, next.MaxConcurrent = overlapAllow, 0
	if !concurrent {
		next.Overlap = overlapDelay
	}
	return &next
}

// saysAllow reports whether the job is concurrent because of what it says in overlap.
func (j *Job) saysAllow() bool { return j.Policy != nil && j.Policy.Overlap == overlapAllow }

// overlap is what becomes of an occurrence of which another run is under way.
func (j *Job) overlap() string {
	switch {
	case j.Concurrent:
		return overlapAllow
	case j.Policy == nil || j.Policy.Overlap == "":
		return overlapDelay
	}
	return j.Policy.Overlap
}

// places is how many runs of the job may be under way at once, 0 for any number.
func (j *Job) places() int {
	switch {
	case !j.Concurrent:
		return 1
	case j.Policy == nil:
		return 0
	}
	return j.Policy.MaxConcurrent
}

// holdsToCallback reports whether an async run of the job holds its place until its callback. In the original only
// its launcher does.
func (j *Job) holdsToCallback() bool {
	p := j.Policy
	return p != nil && (p.Overlap != "" || p.MaxConcurrent != 0 || p.Pool != "")
}

// What a dependent job waits for.
const (
	runOnSuccess = "success" // of its parents
	runOnFailure = "failure" // they have ended, and one of them has failed
	runOnEnd     = "end"     // they have ended
)

var runOnWords = []string{runOnSuccess, runOnFailure, runOnEnd}

// runsOn is what the job waits for of its parents.
func (j *Job) runsOn() string {
	if j.Policy == nil || j.Policy.RunOn == "" {
		return runOnSuccess
	}
	return j.Policy.RunOn
}

// hidesFromJVM reports whether the job is disabled in what JVM versions read: they would run it at every success.
func (j *Job) hidesFromJVM() bool { return j.Dependent && j.runsOn() != runOnSuccess }

// poolNames says what names of pools are like, for people.
const poolNames = "1 to 63 letters, digits, `.`, `_` or `-`"

// validPool reports whether a text may be the name of a pool.
func validPool(name string) bool {
	return validJobName(name) && len(name) <= 63 && !strings.ContainsAny(name, " #") && name != "." && name != ".."
}

var poolKey = policyKey{name: "pool", kind: "name of a pool: " + poolNames, byDefault: "none",
	read: func(p *Policy, v value) error {
		if !v.isString() {
			return errInert
		}
		if !validPool(v.text()) {
			return fmt.Errorf("%s is no name of a pool: %s", quoteWarned(v.text()), poolNames)
		}
		p.Pool = v.text()
		return nil
	},
	text: func(p *Policy) []byte {
		if p.Pool == "" {
			return nil
		}
		return appendString(nil, p.Pool)
	}}

// pool is the name of the pool whose slots the job's runs share, "" for none.
func (j *Job) pool() string {
	if j.Policy == nil {
		return ""
	}
	return j.Policy.Pool
}
