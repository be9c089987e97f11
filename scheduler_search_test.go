package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A search finds what a look at every job finds, whatever has been changed between searches.
func TestSearchFindsWhatIsThere(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"backup", "Report", "nightly", "ÄRGER", "x", "", "日本", "a b", "%", "BACK"}
	word := func() string { return words[random.IntN(len(words))] }
	text := func() string { return word() + []string{"", "-", " "}[random.IntN(3)] + word() }
	v := newView()
	names := map[string]bool{}
	for step := range inForm(140, 2000) {
		var change viewChange
		for range 10 {
			name := fmt.Sprint(text(), random.IntN(60))
			if random.IntN(4) == 0 && names[name] && !slices.ContainsFunc(change.set, func(j *jobView) bool { return j.job.Name == name }) {
				change.clear = append(change.clear, name)
				delete(names, name)
				continue
			}
			change.set = append(change.set, &jobView{job: &Job{Name: name, Command: text()}})
			names[name] = true
		}
		v = v.with([]viewChange{change})
		if step%7 > 0 {
			continue
		}
		for range 20 {
			wanted := searched{strings.ToLower(word()), strings.ToLower(word()), strings.ToLower(word())}
			var got, want []string
			for j := range v.search(wanted) {
				got = append(got, j.job.Name)
			}
			for j := range v.all() {
				if wanted.matches(j.job) {
					want = append(want, j.job.Name)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("step %d: search for %+v = %q, want %q", step, wanted, got, want)
			}
		}
	}
}

// A change of a job that leaves its name and command alone does not cost the next search anything.
func TestSearchIsNotPreparedAnewForRuns(t *testing.T) {
	t.Parallel()
	change := func(command string, successes int64) []viewChange {
		return []viewChange{{set: []*jobView{{job: &Job{Name: "a", Command: command, SuccessCount: successes}}}}}
	}
	v := newView().with(change("true", 0))
	prepared := v.chunks[0].pieces()
	if v = v.with(change("true", 1)); v.chunks[0].pieces() != prepared {
		t.Error("it is prepared anew after a run")
	}
	if v = v.with(change("false", 1)); v.chunks[0].pieces() == prepared {
		t.Error("it is not prepared anew for another command")
	}
}
