package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Two versions of this program may lead in turn. When this one rewrites a record, it keeps the members
// that a later one has added and that this one does not know.

// The keys that this version knows of its records.
var (
	stateKeys = fieldKeys(jobState{})
	runKeys   = fieldKeys(Run{})
)

// fieldKeys lists the keys under which a struct is encoded.
func fieldKeys(v any) (keys []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key != "" && key != "-" {
			keys = append(keys, key)
		}
	}
	return keys
}

// keepUnknown returns the members of an encoded record whose keys are not known.
func keepUnknown(record []byte, known []string) rawMembers {
	members := value(bytes.TrimSpace(record)).object()
	if !slices.ContainsFunc(members, func(m member) bool { return !slices.Contains(known, m.key) }) {
		return ""
	}
	return extraMembers(members, known...)
}

// encodeKept encodes a record of ours, which has members, with those that were kept.
func encodeKept(v any, kept rawMembers) []byte {
	b := mustJSON(v)
	if kept == "" {
		return b
	}
	return append(append(b[:len(b)-1], kept...), '}')
}

// decodeKept decodes a record of ours, and makes into keep what it does not know.
func decodeKept(b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return err
	}
	switch r := into.(type) {
	case *jobState:
		r.kept = keepUnknown(b, stateKeys)
	case *Run:
		r.kept = keepUnknown(b, runKeys)
	case *[]*Run:
		for i, e := range value(bytes.TrimSpace(b)).elements() {
			if run := (*r)[i]; run != nil {
				run.kept = keepUnknown([]byte(e), runKeys)
			}
		}
		*r = slices.DeleteFunc(*r, func(run *Run) bool { return run == nil })
	}
	return nil
}

func (st *jobState) encode() []byte { return encodeKept(st, st.kept) }

func encodeRun(r *Run) []byte { return encodeKept(r, r.kept) }

func encodeHistory(runs []*Run) []byte {
	b := []byte{'['}
	for i, r := range runs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, encodeRun(r)...)
	}
	return append(b, ']')
}
