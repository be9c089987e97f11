package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

const endsPrefix = "go/ends/"

// An endCount is how often a job has come to an end: how often it has failed for good, or was lost, and how often it was over at all, which
// a success is, a failure, and the kill of what had started. How often it has succeeded is its generation.
type endCount struct {
	Failures int64 `json:"failures,omitempty"`
	Ends     int64 `json:"ends,omitempty"`
}

// An endsRecord is the ends of a job, counted for those of its children that do not wait for its success, and what it has used up itself of its
// parents' ends. It is stored as go/ends/<job>, of jobs that have or are such children.
type endsRecord struct {
	Seq int64 `json:"seq"` // of the job
	endCount
	Used map[string]endCount `json:"used,omitempty"`
}

// countEnd counts an end of the job, in the change that holds the end, and has the children look that wait for such.
func (s *scheduler) countEnd(e *entry, failed bool) {
	if !s.endsMatter(e) {
		return
	}
	for _, name := range s.graph.children[e.job.Name] {
		if s.jobs[name].job.runsOn() != runOnSuccess {
			s.wake = append(s.wake, name)
		}
	}
	e.ends.Ends++
	if failed {
		e.ends.Failures++
	}
	s.touchEnds(e)
}

// endsMatter reports whether children of the job wait for its failures or ends, so that they are counted.
func (s *scheduler) endsMatter(e *entry) bool {
	return slices.ContainsFunc(s.graph.children[e.job.Name], func(name string) bool { return s.jobs[name].job.runsOn() != runOnSuccess })
}

// countAs writes into a run that is about to end which success, failure and end of its job that is, as passOn and countEnd
// count them right after it.
func (s *scheduler) countAs(r *openRun, passes, fails bool) {
	e, n := r.entry, countedEnd{}
	if len(s.graph.children[e.job.Name]) == 0 {
		return
	}
	if passes {
		n.Success = e.state.Generation + 1
	}
	if s.endsMatter(e) {
		n.End = e.ends.Ends + 1
		if fails {
			n.Failure = e.ends.Failures + 1
		}
	}
	if n != (countedEnd{}) {
		r.update(func(next *Run) { next.Counted = &n })
	}
}

// causes are the runs of the parents whose ends a job has just used up for a run, of each parent the newest one; before is what it
// had used up of their failures and ends. Where there is no room for all parents, those count that came last.
func (s *scheduler) causes(e *entry, parents []string, before map[string]endCount) (kept []runCause, more int) {
	type found struct {
		runCause
		ended int64
	}
	all := make([]found, 0, len(parents))
	for _, name := range parents {
		f := found{runCause: runCause{Job: name}}
		if r := s.countedRun(e, name, before[name]); r != nil {
			f.Run, f.ended = r.ID, r.Ended
		}
		all = append(all, f)
	}
	if len(all) > maxCauses {
		slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(b.ended, a.ended) })
	}
	size := 0
	for _, f := range all {
		if size += f.size(); len(kept) == maxCauses || size > maxCauseBytes {
			break
		}
		kept = append(kept, f.runCause)
	}
	return kept, len(all) - len(kept)
}

// countedRun returns the run of a parent whose end is the newest that a job has used up, nil if its history holds none.
func (s *scheduler) countedRun(e *entry, parent string, before endCount) *Run {
	p, used := s.jobs[parent], e.ends.Used[parent]
	i := slices.IndexFunc(p.history, func(r *Run) bool {
		switch n := r.Counted; {
		case n == nil:
			return false
		case e.job.runsOn() == runOnSuccess:
			return n.Success == e.state.Consumed[parent]
		case e.job.runsOn() == runOnFailure && used.Failures > before.Failures:
			return n.Failure == used.Failures
		default:
			return n.End == used.Ends
		}
	})
	if i < 0 {
		return nil
	}
	return p.history[i]
}

func (s *scheduler) touchEnds(e *entry) {
	e.endsDirty = true
	s.touch(e)
}

// record returns what is to be stored, nil for nothing.
func (r endsRecord) record(seq int64) []byte {
	if r.endCount == (endCount{}) && len(r.Used) == 0 {
		return nil
	}
	r.Seq = seq
	return mustJSON(r)
}

// ready reports whether the parents have done since the job's last run what it waits for.
func (s *scheduler) ready(e *entry, parents []string) bool {
	failed := false
	for _, name := range parents {
		p, used := s.jobs[name], e.ends.Used[name]
		failed = failed || p.ends.Failures > used.Failures
		switch {
		case e.job.runsOn() == runOnSuccess && p.state.Generation <= e.state.Consumed[name]:
			return false
		case e.job.runsOn() == runOnEnd && p.ends.Ends <= used.Ends:
			return false
		case e.job.runsOn() == runOnFailure && len(parents) > 1 && p.ends.Ends <= used.Ends:
			return false
		}
	}
	return failed || e.job.runsOn() != runOnFailure
}

// A follower is what becomes of a job if one that it depends on, perhaps through others, is run now and all succeeds.
type follower struct {
	Job         string   `json:"job"`
	Follows     bool     `json:"follows"`
	Disabled    bool     `json:"disabled,omitempty"`
	Paused      bool     `json:"paused,omitempty"`      // or in a time that it excludes
	OnFailure   bool     `json:"onFailure,omitempty"`   // it runs after a failure only
	WaitsFor    []string `json:"waitsFor,omitempty"`    // parents that have to end once more before it runs, and are not run
	MoreParents int      `json:"moreParents,omitempty"` // such that WaitsFor does not name
}

const (
	maxFollowers   = 500
	maxWaitsNamed  = 20
	maxParentEdges = 20_000 // that are looked at, since the loop does it
)

// followers says what would follow a run of a job that somebody starts now, parents before their children, and whether there is more.
func (s *scheduler) followers(ctx context.Context, name string) (list []follower, partial bool, err error) {
	_, err = s.onJob(ctx, "list followers", name, func(e *entry) (string, error) {
		list, partial = s.follow(e)
		return "", nil
	})
	if err != nil {
		return nil, false, err // the loop may still be at it
	}
	return list, partial, nil
}

func (s *scheduler) follow(e *entry) (list []follower, partial bool) {
	below, partial := s.below(e.job.Name)
	runs := map[string]bool{e.job.Name: true}
	for _, name := range below {
		child := s.jobs[name]
		f := follower{Job: name, Disabled: child.job.Disabled, OnFailure: child.job.runsOn() == runOnFailure, Paused: child.barring().at(s.now) != nil}
		for _, p := range s.graph.parents[name] {
			switch {
			case runs[p] || s.hasEnded(child, p):
			case len(f.WaitsFor) < maxWaitsNamed:
				f.WaitsFor = append(f.WaitsFor, p)
			default:
				f.MoreParents++
			}
		}
		f.Follows = !f.Disabled && !f.OnFailure && !f.Paused && len(f.WaitsFor) == 0
		runs[name] = f.Follows
		list = append(list, f)
	}
	return list, partial
}

// hasEnded reports whether a parent has done once more what a job waits for.
func (s *scheduler) hasEnded(e *entry, parent string) bool {
	p := s.jobs[parent]
	if e.job.runsOn() == runOnSuccess {
		return p.state.Generation > e.state.Consumed[parent]
	}
	return p.ends.Ends > e.ends.Used[parent].Ends
}

// below lists the jobs that depend on one, parents before their children, and whether there are more.
func (s *scheduler) below(name string) (sorted []string, partial bool) {
	found, reached := map[string]int{name: 0}, []string{name} // how many of its parents are among them
	edges := 0
	for i := 0; i < len(reached); i++ {
		for _, child := range s.graph.children[reached[i]] {
			if edges++; edges > maxParentEdges {
				return s.inOrder(reached, found), true
			}
			if _, known := found[child]; !known {
				if len(reached) > maxFollowers {
					partial = true
					continue
				}
				if edges += len(s.graph.parents[child]); edges > maxParentEdges {
					return s.inOrder(reached, found), true
				}
				reached = append(reached, child)
			}
			found[child]++
		}
	}
	return s.inOrder(reached, found), partial
}

// inOrder sorts jobs so that parents come before their children, and leaves out the first one. before says how many parents each has among them.
func (s *scheduler) inOrder(reached []string, before map[string]int) (sorted []string) {
	ready := reached[:1:1]
	for i := 0; i < len(ready); i++ {
		for _, child := range s.graph.children[ready[i]] {
			if n, known := before[child]; known {
				if before[child] = n - 1; n == 1 {
					ready = append(ready, child)
				}
			}
		}
	}
	return ready[1:]
}

// useOne uses up one of what a single parent has done, so that each of its ends counts.
func (s *scheduler) useOne(e *entry, parent string) {
	if e.job.runsOn() == runOnSuccess {
		e.state.Consumed[parent]++
		e.stateDirty = true
		return
	}
	used := e.ends.Used[parent]
	if e.job.runsOn() == runOnFailure {
		used.Failures++
	} else {
		used.Ends++
	}
	e.ends.Used = maps.Clone(e.ends.Used)
	e.ends.Used[parent] = used
	s.touchEnds(e)
}

// useAll uses up all that the parents have done so far.
func (s *scheduler) useAll(e *entry, parents []string) {
	e.state.Consumed = map[string]int64{}
	for _, p := range parents {
		e.state.Consumed[p] = s.jobs[p].state.Generation
	}
	e.stateDirty = true
	s.touch(e)
	s.useEnds(e, parents, nil)
}

// useEnds uses up all ends of the parents so far, but for those that are kept from before.
func (s *scheduler) useEnds(e *entry, parents []string, kept map[string]endCount) {
	var used map[string]endCount
	if e.job.runsOn() != runOnSuccess {
		used = map[string]endCount{}
		for _, p := range parents {
			used[p] = s.jobs[p].ends.endCount
			if before, ok := kept[p]; ok {
				used[p] = endCount{min(before.Failures, used[p].Failures), min(before.Ends, used[p].Ends)}
			}
		}
	}
	if !maps.Equal(used, e.ends.Used) {
		e.ends.Used = used
		s.touchEnds(e)
	}
}

// followParents brings what a job has used up in line with its new document: another runOn starts from now, and so does another parent.
func (s *scheduler) followParents(e *entry, before *Job) {
	parents := s.graph.parents[e.job.Name]
	if before.runsOn() != e.job.runsOn() && e.job.Dependent && before.Dependent {
		s.useAll(e, parents)
		return
	}
	s.useEnds(e, parents, e.ends.Used)
}

// leaveOrphan is the document of a job that waits for failures or ends when its last parent is deleted: it takes over no
// schedule, since a job that cleans up would become a nightly one.
func (s *scheduler) leaveOrphan(j *Job) {
	j.Dependent, j.Parents, j.Disabled = false, nil, true
	j.Schedule, j.ScheduleTimeZone = "R0/"+instant(msTime(s.now))+"/PT24H", ""
}

// orphan makes a job such a one.
func (s *scheduler) orphan(e *entry, j *Job, gone string) {
	st := s.state(e)
	st.Consumed, st.Posted, st.Zone, st.Written, st.Anchor, st.Index = nil, j.Schedule, "", j.Schedule, j.Schedule, 0
	if schedule, err := j.parseSchedule(s.serverTime()); err == nil { // it is our own
		e.sched, e.problem = schedule, ""
	}
	s.skipWaiting(e)
	s.setJob(e, j)
	s.useEnds(e, nil, nil)
	s.note(e, orphanNotice(j, gone))
	s.arm(e)
}

// orphanNotice says that of a job, for a person.
func orphanNotice(j *Job, gone string) string {
	return "its parent " + gone + " was deleted; it ran on " + j.runsOn() + ", takes over no schedule, and is disabled until it is given parents again"
}
