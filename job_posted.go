package main

import (
	"bytes"
	"encoding/json"
	"slices"
)

// jobCounters are the keys of what has become of a job. They are not for its owner to say.
var jobCounters = []string{"successCount", "errorCount", "lastSuccess", "lastError", "errorsSinceLastSuccess"}

// keepCounters gives the job the counters of another one, nil for a job that has not run.
func (j *Job) keepCounters(of *Job) {
	if of == nil {
		of = &Job{}
	}
	j.SuccessCount, j.ErrorCount, j.ErrorsSinceLastSuccess = of.SuccessCount, of.ErrorCount, of.ErrorsSinceLastSuccess
	j.LastSuccess, j.LastError = of.LastSuccess, of.LastError
}

// A keyChange is a key that two documents of a job say different things in.
type keyChange struct {
	Key string          `json:"key"`
	Old json.RawMessage `json:"old,omitempty"` // nothing where the key is new
	New json.RawMessage `json:"new,omitempty"` // nothing where it goes
}

// differences returns the keys, except for counters, in which another document of the job differs.
func (j *Job) differences(next *Job) (all []keyChange) {
	before, after := unlike(j.appendJSON(make([]byte, 0, usualDocument), dialectWhole), next.appendJSON(make([]byte, 0, usualDocument), dialectWhole))
	for _, m := range before {
		if now := lookUp(after, m.key); now != m.value && !slices.Contains(jobCounters, m.key) {
			all = append(all, keyChange{m.key, json.RawMessage(m.value), json.RawMessage(now)})
		}
	}
	for _, m := range after {
		if lookUp(before, m.key) == "" {
			all = append(all, keyChange{m.key, nil, json.RawMessage(m.value)})
		}
	}
	named := func(key string, changed bool) {
		// The size is the same, and yet it makes a difference whether the document names it.
		if changed && !slices.ContainsFunc(all, func(c keyChange) bool { return c.Key == key }) {
			all = append(all, keyChange{Key: key})
		}
	}
	named("cpus", j.Named.CPUs != next.Named.CPUs)
	named("mem", j.Named.Mem != next.Named.Mem)
	sortStable(all, func(a, b keyChange) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	return all
}

// unlike returns the members of two objects as appendJSON writes them, without most of those that both begin and end with: of an edited
// document a single member may be left.
func unlike(a, b []byte) (object, object) {
	if bytes.Equal(a, b) {
		return nil, nil
	}
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	v, from := value(a), 1
	for end := 0; ; from = end + 1 {
		if end = v.memberEnd(from); end >= same {
			break
		}
	}
	alike := 0
	for alike < min(len(a), len(b))-from && a[len(a)-1-alike] == b[len(b)-1-alike] {
		alike++
	}
	to := from
	for to = v.memberEnd(to); len(a)-to > alike; {
		to = v.memberEnd(to + 1)
	}
	return (v[:1] + v[from:to] + "}").object(), ("{" + value(b[from:len(b)-(len(a)-to)]) + "}").object()
}

// memberEnd returns where the member that starts at i ends, in an object without blanks.
func (v value) memberEnd(i int) int {
	if v[i] == '}' {
		return i // there is none
	}
	return v.end(v.end(i) + 1)
}

// lookUp returns the value of a key as it stands, "" if it is absent.
func lookUp(o object, key string) value {
	if i := slices.IndexFunc(o, func(m member) bool { return m.key == key }); i >= 0 {
		return o[i].value
	}
	return ""
}

// Keys that stand in a document as posted even if they say nothing: chronos-sync.rb wants them, or no key says something else.
var alwaysPosted = []string{"name", "command", "shell", "owner", "runAsUser"}

// appendPosted appends the job's document as somebody would post it: with the schedule that was posted, without counters
// and without keys that say no more than their absence. unnamed leaves out sizes that no document has named.
func (j *Job) appendPosted(dst []byte, schedule string, unnamed bool) []byte {
	posted := *j
	if !j.Dependent && schedule != "" {
		posted.Schedule = schedule
	}
	separator := byte('{')
	for _, m := range value(posted.appendJSON(nil, dialectWhole)).object() {
		switch {
		case slices.Contains(jobCounters, m.key):
			continue
		case unnamed && (m.key == "cpus" && !j.Named.CPUs || m.key == "mem" && !j.Named.Mem):
			continue
		case isJobKey(m.key) && !slices.Contains(alwaysPosted, m.key) && (m.value == `""` || m.value == "[]" || m.value == "false"),
			m.key == "shell" && m.value == "true", m.key == "maxCompletionTime" && m.value == "0":
			continue
		}
		dst = append(appendString(append(dst, separator), m.key), ':')
		dst = append(dst, m.value...)
		separator = ','
	}
	return append(dst, '}')
}
