package main

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// Whatever two documents of a job have in common, each key that is different in them is told, and no other.
func TestDifferencesOfJobsAreToldByKey(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	told := 0
	for range inForm(2000, 200_000) {
		a, other := randomJob(r), randomJob(r)
		b := a.clone()
		for range r.IntN(4) { // fields of another job
			if f := r.IntN(reflect.TypeFor[Job]().NumField()); reflect.TypeFor[Job]().Field(f).IsExported() {
				reflect.ValueOf(b).Elem().Field(f).Set(reflect.ValueOf(other).Elem().Field(f))
			}
		}
		b.Dependent = a.Dependent != (r.IntN(8) == 0)
		before, after := spelledOut(a), spelledOut(b)
		var want []string
		for key, value := range before {
			if after[key] != value && !slices.Contains(jobCounters, key) {
				want = append(want, key)
			}
		}
		for key := range after {
			if _, ok := before[key]; !ok {
				want = append(want, key)
			}
		}
		slices.Sort(want)
		var got []string
		for _, c := range a.differences(b) {
			got = append(got, c.Key)
			if string(c.Old) != before[c.Key] || string(c.New) != after[c.Key] {
				t.Fatalf("%s was %s and is %s, told as %s and %s", c.Key, before[c.Key], after[c.Key], c.Old, c.New)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("differences() = %q, want %q, of\n%s\n%s", got, want, a.appendJSON(nil, dialectWhole), b.appendJSON(nil, dialectWhole))
		}
		told += len(got)
	}
	if told < 1000 {
		t.Errorf("only %d differences", told)
	}
}

// spelledOut has the values of a job's document by their keys.
func spelledOut(j *Job) map[string]string {
	members := map[string]string{}
	for _, m := range value(j.appendJSON(nil, dialectWhole)).object() {
		members[m.key] = string(m.value)
	}
	return members
}
