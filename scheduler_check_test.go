package main

import (
	"errors"
	"fmt"
	"slices"
)

// check reports contradictions within the state. It is for tests and must be
// called within the loop.
func (s *scheduler) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	open, inQueue, underWay := 0, 0, 0
	for name, e := range s.jobs {
		if e.job.Name != name || e.gone {
			bad("entry %q holds job %q, gone=%t", name, e.job.Name, e.gone)
		}
		if e.job.Dependent && !s.unlinked[name] && !slices.Equal(e.job.Parents, s.graph.parents[name]) {
			bad("job %q: parents %q, edges from %q", name, e.job.Parents, s.graph.parents[name])
		}
		if _, due := e.nextDue(); (due && !s.yielding) != e.timer.set() {
			bad("job %q: has an occurrence: %t, has a timer: %t", name, due, e.timer.set())
		}
		var counted entry
		for r := range e.runs.all() {
			open++
			counted.count(r.Run, 1)
			if r.entry != e {
				bad("run %q is among those of job %q", r.ID, name)
			}
			if r.blocked() && (r.State != runQueued || e.job.Concurrent && e.job.places() == 0 && !r.MadeUp || e.blocked[r.blockedAt-1] != r) {
				bad("run %q is %s and waits for another one", r.ID, r.State)
			}
			if s.runs[r.ID] != r || r.ended() {
				bad("run %q of job %q is not open", r.ID, name)
			}
			if r.class != nil {
				inQueue++
				counted.inQueue++
			}
			if r.class != nil && r.State != runQueued {
				bad("run %q is %s and in the queue", r.ID, r.State)
			}
			if r.State == runQueued && r.class == nil && !r.delayed && !r.blocked() {
				bad("run %q waits for nothing", r.ID)
			}
		}
		if counted.underWay != e.underWay || counted.inQueue != e.inQueue || counted.awaiting != e.awaiting ||
			counted.byHand != e.byHand || counted.byHandBytes != e.byHandBytes || counted.retries != e.retries || counted.scheduledWaiting != e.scheduledWaiting {
			bad("job %q: under way %d, in the queue %d, awaiting %d, by hand %d of %d bytes; counted %d, %d, %d, %d of %d", name,
				e.underWay, e.inQueue, e.awaiting, e.byHand, e.byHandBytes,
				counted.underWay, counted.inQueue, counted.awaiting, counted.byHand, counted.byHandBytes)
		}
		underWay += int(e.underWay)
		delayed := slices.ContainsFunc(e.runs.snapshot(), func(r *openRun) bool { return r.delayed })
		if len(e.blocked) > 0 && e.held() == 0 && !delayed {
			bad("job %q: %d runs wait for another one, and there is none", name, len(e.blocked))
		}
		if limit := e.job.alertWithoutSuccess(); (limit > 0) != (e.alert != nil) {
			bad("job %q: is to tell of a missing success: %t, has an alert: %t", name, limit > 0, e.alert != nil)
		}
		waiting := 0
		for _, r := range e.history {
			if s.archive.bounds.runs > 0 && (r.Number == 0 || r.Number > s.archive.upTo) {
				waiting++
			}
		}
		if len(e.history) > max(s.cfg.historyKeep, 1)+waiting {
			bad("job %q keeps %d ended runs, more than %d, and only %d wait to be archived", name, len(e.history), s.cfg.historyKeep, waiting)
		}
	}
	for _, t := range s.timers {
		if t.run != nil && s.runs[t.run.ID] != t.run {
			bad("run %q has ended and left an alarm", t.run.ID)
		}
	}
	for name, p := range s.pools {
		jobs, held := 0, 0
		for _, e := range s.jobs {
			if e.pool == p {
				jobs++
				held += int(e.underWay + e.awaiting)
			}
		}
		if jobs != p.jobs || held != p.held {
			bad("pool %q: %d jobs and %d slots held, counted %d and %d", name, p.jobs, p.held, jobs, held)
		}
	}
	if underWay != s.underWay {
		bad("jobs have %d runs under way, the table %d", underWay, s.underWay)
	}
	if open != len(s.runs) {
		bad("jobs have %d open runs, the table %d", open, len(s.runs))
	}
	if inQueue != s.queue.len() {
		bad("%d runs are in the queue, which counts %d", inQueue, s.queue.len())
	}
	for agent, owed := range s.offers.owed {
		for at := owed.Front(); at != nil; at = at.Next() {
			r := at.Value.(*openRun)
			if r.owed != at || r.AgentID != agent || r.Started != 0 || s.runs[r.ID] != r || r.State != runLaunching && r.State != runActive {
				bad("run %q, %s on agent %q, owes an answer of agent %q", r.ID, r.State, r.AgentID, agent)
			}
		}
		if owed.Len() == 0 {
			bad("agent %q owes no answer and is on the list", agent)
		}
	}
	if a := s.offers.keptAgent; (a != nil) != (s.offers.kept != nil) || a != nil && s.offers.kept != &a.keeping {
		bad("agent kept: %+v, market: %+v", a, s.offers.kept)
	}
	for child, parents := range s.graph.parents {
		if err := s.graph.checkParents(child, parents, func(p string) bool { return s.jobs[p] != nil }); err != nil {
			bad("graph: %w", err)
		}
	}
	if err := s.graph.checkCycles(); err != nil {
		bad("graph: %w", err)
	}
	return errors.Join(errs...)
}

// checkCycles takes jobs without parents out until none is left.
func (g *graph) checkCycles() error {
	left := map[string]int{}
	for child, parents := range g.parents {
		left[child] += len(parents)
		for _, p := range parents {
			if len(g.parents[p]) == 0 {
				left[p] = 0
			}
		}
	}
	var free []string
	for name, n := range left {
		if n == 0 {
			free = append(free, name)
		}
	}
	for len(free) > 0 {
		name := free[len(free)-1]
		free = free[:len(free)-1]
		delete(left, name)
		for _, c := range g.children[name] {
			if left[c]--; left[c] == 0 {
				free = append(free, c)
			}
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%d jobs stand on or behind a cycle, or their parents do not know them", len(left))
	}
	return nil
}

// checkEmpty reports what is left when all jobs are deleted and everything has come to its end:
// nothing, as if no run had ever been. It must be called within the loop.
func (s *scheduler) checkEmpty() error {
	var errs []error
	want := func(what string, n int) {
		if n != 0 {
			errs = append(errs, fmt.Errorf("%d %s are left", n, what))
		}
	}
	want("jobs", len(s.jobs))
	want("runs", len(s.runs))
	want("occurrences", len(s.dues))
	want("edges", len(s.graph.parents)+len(s.graph.children))
	want("classes of waiting runs", len(s.queue.classes))
	want("runs in the queue", s.queue.len())
	want("launches", len(s.launches))
	want("jobs to be woken", len(s.wake))
	want("unlinked jobs", len(s.unlinked))
	want("tasks without a run", len(s.orphans))
	want("runs of unusable jobs", len(s.kept))
	want("declined offers", len(s.offers.undeclined))
	want("agents that owe answers", len(s.offers.owed))
	if s.offers.kept != nil {
		errs = append(errs, fmt.Errorf("agent %q is kept for %q", s.offers.kept.agent, s.offers.kept.run))
	}
	for state, n := range s.sums {
		want("runs counted as "+string(state), n)
	}
	for _, t := range s.timers {
		if t.kind != timerReconcile && t.kind != timerOffers {
			errs = append(errs, fmt.Errorf("an alarm of kind %d is left", t.kind))
		}
	}
	return errors.Join(errs...)
}

// check reports the first contradiction within the view, for tests.
func (v *view) check() error {
	n, disabled := 0, 0
	for j := range v.all() {
		n++
		disabled += asDisabled(j)
		if v.job(j.job.Name) != j {
			return fmt.Errorf("view: job %q is not found by its name", j.job.Name)
		}
	}
	if n != v.count {
		return fmt.Errorf("view: count is %d, jobs are %d", v.count, n)
	}
	if disabled != v.disabled {
		return fmt.Errorf("view: disabled is %d, disabled jobs are %d", v.disabled, disabled)
	}
	return nil
}
