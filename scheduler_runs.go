package main

import (
	"container/heap"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
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
	r.index = len(l.list)
	l.list = append(l.list, r)
	l.n++
}

func (l *runList) remove(r *openRun) {
	l.list[r.index] = nil
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
		r.index = len(kept)
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
func (h blockedRuns) Less(i, j int) bool { return h[i].index < h[j].index }
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

const (
	// maxArguments bounds what is given to a run by hand, in bytes.
	maxArguments = 64 << 10
	// maxWaitingArguments bounds what those runs of a job that wait have been given together.
	maxWaitingArguments = 1 << 20
)

// startRun opens a run of a job by hand and returns its id. given holds what somebody gives to it: arguments in the place of the job's
// own, variables, and why.
func (s *scheduler) startRun(ctx context.Context, name string, given *Run) (string, error) {
	return s.onJob(ctx, "run job", name, func(e *entry) (string, error) {
		if n := given.givenSize(); n > maxArguments {
			return "", &jobError{"arguments", fmt.Sprintf("the arguments have %d bytes, more than %d", n, maxArguments)}
		}
		r := given.giveAs(Run{Kind: kindManual, Due: s.now})
		r.Args = withoutSemicolons(r.Args)
		if err := s.checkByHand(e, r); err != nil {
			return "", err
		}
		s.fireDue(e) // an occurrence that is due at this very instant keeps its id
		id := s.add(e, r, s.nextID(e)).ID
		s.didTo(e, actRun, id)
		return id, nil
	})
}

// checkByHand refuses a run started by hand if there is no room for it among those that
// wait already. Other runs are not refused: the job itself limits how many of them wait.
func (s *scheduler) checkByHand(e *entry, r *Run) error {
	if most := s.cfg.mostByHand; most > 0 && int(e.byHand) >= most {
		return fmt.Errorf("%w: %d of job %q were started by hand and have not begun, and --max_waiting_runs allows no more", errCrowded, e.byHand, e.job.Name)
	}
	if n := int(e.byHandBytes) + r.givenSize(); n > maxWaitingArguments {
		return fmt.Errorf("%w: the arguments of those of job %q that were started by hand and have not begun would have %d bytes, and no more than %d may", errCrowded, e.job.Name, n, maxWaitingArguments)
	}
	return s.checkSize(e.job, r)
}

// sortedRuns returns the open runs in a fixed order.
func (s *scheduler) sortedRuns() []*openRun {
	runs := make([]*openRun, 0, len(s.runs))
	for _, r := range s.runs {
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(a, b *openRun) int {
		if a.Due != b.Due {
			return int(a.Due - b.Due)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return runs
}
