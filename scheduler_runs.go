package main

import (
	"container/heap"
	"iter"
	"slices"
)

// A runList holds the open runs of a job, oldest first. Adding one and taking one out cost the
// same however many there are.
type runList struct {
	list  []*openRun // with nil where a run has ended
	n     int
	steps *int64 // counts the runs visited
}

func (l *runList) len() int { return l.n }

func (l *runList) add(r *openRun) {
	r.place = len(l.list)
	l.list = append(l.list, r)
	l.n++
}

func (l *runList) remove(r *openRun) {
	l.list[r.place] = nil
	l.n--
	if l.n == 0 {
		l.list = nil
		return
	}
	if len(l.list) < 2*l.n+16 {
		return
	}
	kept := make([]*openRun, 0, l.n)
	for r := range l.all() {
		r.place = len(kept)
		kept = append(kept, r)
	}
	l.list = kept
}

// all yields the runs. None may end while it does; see snapshot.
func (l *runList) all() iter.Seq[*openRun] {
	return func(yield func(*openRun) bool) {
		for _, r := range l.list {
			*l.steps++
			if r != nil && !yield(r) {
				return
			}
		}
	}
}

// snapshot returns the runs as they are now, for callers that change them one after the other.
func (l *runList) snapshot() []*openRun { return slices.Collect(l.all()) }

// blockedRuns are the runs of a job that wait for another one of it: a heap, oldest first.
type blockedRuns []*openRun

func (h blockedRuns) Len() int           { return len(h) }
func (h blockedRuns) Less(i, j int) bool { return h[i].place < h[j].place }
func (h blockedRuns) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].blockedAt, h[j].blockedAt = i+1, j+1
}

// Push and Pop serve container/heap.
func (h *blockedRuns) Push(x any) {
	r := x.(*openRun)
	*h = append(*h, r)
	r.blockedAt = len(*h)
}

func (h *blockedRuns) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	r.blockedAt = 0
	return r
}

func (h *blockedRuns) add(r *openRun) {
	if !r.blocked() {
		heap.Push(h, r)
	}
}

func (h *blockedRuns) remove(r *openRun) {
	if r.blocked() {
		heap.Remove(h, r.blockedAt-1)
	}
}

// blocked reports whether the run waits for another one of its job.
func (r *openRun) blocked() bool { return r.blockedAt > 0 }
