package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// What a leader holds of a job, without what the job itself says, grows in steps: the allocator rounds up to the sizes below.
func TestAHeldJobIsSmall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what        string
		size, limit uintptr
	}{
		{"entry", unsafe.Sizeof(entry{}), 640},
		{"Job", unsafe.Sizeof(Job{}), 576},
		{"jobView", unsafe.Sizeof(jobView{}), 384},
	} {
		if tt.size > tt.limit {
			t.Errorf("%s has %d bytes, want at most %d: put what few jobs have behind a pointer", tt.what, tt.size, tt.limit)
		}
	}
}

// A job that has just been loaded holds a text once that its document and its state have in common.
func TestLoadedTextsAreShared(t *testing.T) {
	t.Parallel()
	j := &Job{Schedule: "R/2030-01-01T00:00:00.000Z/P1D", ScheduleTimeZone: "Europe/Berlin"}
	copied := func(s string) string { return string([]byte(s)) }
	st := jobState{Posted: "R//P1D", Anchor: copied(j.Schedule), Written: copied(j.Schedule), Zone: copied(j.ScheduleTimeZone)}
	want := st
	st.share(j)
	if st.Posted != want.Posted || st.Anchor != want.Anchor || st.Written != want.Written || st.Zone != want.Zone {
		t.Errorf("state = %+v, want what it was, %+v", st, want)
	}
	for _, text := range []string{st.Anchor, st.Written} {
		if unsafe.StringData(text) != unsafe.StringData(j.Schedule) {
			t.Errorf("%q is there twice", text)
		}
	}
	if unsafe.StringData(st.Zone) != unsafe.StringData(j.ScheduleTimeZone) {
		t.Error("the zone is there twice")
	}
}

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
