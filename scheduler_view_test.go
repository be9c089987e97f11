package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// viewed is a picture of a job that has nothing but a name.
func viewed(name string) *jobView { return &jobView{job: &Job{Name: name}} }

// names of the jobs, in the order in which the view shows them.
func (v *view) names() []string {
	var names []string
	for j := range v.all() {
		names = append(names, j.job.Name)
	}
	return names
}

func TestViewsShowJobsInTheOrderOfTheirCreation(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 0))
	v, order, held := newView(), []string{}, map[string]*jobView{}
	for step := range 20_000 {
		name := fmt.Sprint("job", random.IntN(300))
		before, was := v, slices.Clone(v.names())
		if _, known := held[name]; known && random.IntN(2) == 0 {
			v = v.with([]viewChange{{clear: []string{name}}})
			delete(held, name)
			order = slices.DeleteFunc(order, func(n string) bool { return n == name })
		} else {
			j := viewed(name)
			v = v.with([]viewChange{{set: []*jobView{j}}})
			if !known {
				order = append(order, name)
			}
			held[name] = j
		}
		if err := v.check(); err != nil {
			t.Fatal(err)
		}
		if v.job(name) != held[name] {
			t.Fatalf("step %d: the view does not show what became of %q", step, name)
		}
		if step%100 == 0 && (!slices.Equal(v.names(), order) || !slices.Equal(before.names(), was)) {
			t.Fatalf("step %d: the view shows %q, want %q; or an older view has changed", step, v.names(), order)
		}
		if most := 2*len(held) + 5*viewChunkSize; v.slots > most || len(v.chunks) > most/viewChunkSize+1 {
			t.Fatalf("step %d: %d jobs take %d slots in %d chunks", step, len(held), v.slots, len(v.chunks))
		}
	}
	if v.layout == 0 {
		t.Error("slots were never given out anew: this tests nothing")
	}
	if got := slices.Sorted(slices.Values(v.names())); !slices.Equal(got, slices.Sorted(maps.Keys(held))) {
		t.Errorf("the view shows %q", got)
	}
}

// A leader that goes on for months creates and deletes jobs all the while.
func TestJobsThatAreGoneTakeNoRoomInViews(t *testing.T) {
	t.Parallel()
	scenario(t, "created and deleted again and again", func(b *bench) {
		b.start().post(yearly("first"))
		b.post(yearly("second"))
		for range 2000 {
			b.post(yearly("passing"))
			b.do("delete", b.s.deleteJob(b.t.Context(), "passing"))
		}
		b.post(yearly("last"))
		v := b.s.view()
		if want := []string{"first", "second", "last"}; !slices.Equal(v.names(), want) {
			b.t.Errorf("jobs = %q, want %q", v.names(), want)
		}
		if len(v.chunks) > 6 {
			b.t.Errorf("3 jobs take %d chunks", len(v.chunks))
		}
		b.restart()
		if want := []string{"first", "second", "last"}; !slices.Equal(b.s.view().names(), want) {
			b.t.Errorf("jobs after a restart = %q, want %q", b.s.view().names(), want)
		}
	})
}
