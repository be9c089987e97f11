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
	before, after := value(j.appendJSON(nil, dialectWhole)).object(), value(next.appendJSON(nil, dialectWhole)).object()
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
	for key, changed := range map[string]bool{"cpus": j.Named.CPUs != next.Named.CPUs, "mem": j.Named.Mem != next.Named.Mem} {
		// The size is the same, and yet it makes a difference whether the document names it.
		if changed && !slices.ContainsFunc(all, func(c keyChange) bool { return c.Key == key }) {
			all = append(all, keyChange{Key: key})
		}
	}
	sortStable(all, func(a, b keyChange) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	return all
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
