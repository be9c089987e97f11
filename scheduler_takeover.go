package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// adoptKey holds the instant, in ms, up to which tasks without a record may
// have been launched by a JVM version.
const adoptKey = "go/meta/adopt"

// load reads the state and builds the table of jobs and runs from it. Records
// that can't be used are kept as they are, logged, and shown.
func (s *scheduler) load(ctx context.Context) (err error) {
	defer recoverAs(s.log, "load", &err)
	records, err := s.store.load(ctx)
	if err := s.unreadable(err); err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	if shared, ok := s.store.(sharedStore); ok {
		s.others = shared.others()
		defer func() { s.others = others{} }()
	}
	prepared := s.prepared(records)
	if _, restored := records[restoreMarker]; restored {
		s.others.orders = nil // the records are about to be rewritten
	}
	if records, err = settleRestore(ctx, s.store, records, s.log); err != nil {
		return err
	}
	s.lookAtClock()
	for key, reason := range s.cfg.setAside {
		s.setAsideRecord(key, reason)
		delete(records, key)
	}
	keys := keysByKind(records)
	s.loadMeta(records)
	s.loadAnswers(records, keys["request"], prepared)
	s.loadPools(records, keys)
	acts := s.loadActivity(records, keys)
	inOrder := s.loadJobs(records, keys, prepared)
	s.loadArchive()
	s.loadRuns(records, keys)
	s.doubtRuns(records, keys)
	s.loadWaiting(records, keys)
	s.compareClocks(inOrder)
	s.admitLoaded()
	for _, e := range inOrder {
		s.arm(e)
		s.feedBackfill(e)
		s.wake = append(s.wake, e.job.Name)
	}
	s.showAll(inOrder, acts)
	s.log.Info("state loaded", "jobs", len(s.jobs), "runs", len(s.runs), "unusable", len(s.invalid))
	return nil
}

// keysByKind returns the keys of records by kind, those of the JVM versions under "J_" and "T_". A new leader looks at each key once.
func keysByKind(records map[string][]byte) map[string][]string {
	keys := map[string][]string{}
	for key := range records {
		kind := kindOf(key)
		if kind == "" && len(key) > 2 {
			kind = key[:2]
		}
		keys[kind] = append(keys[kind], key)
	}
	return keys
}

// unreadable takes the errors about single records out of err and returns the others.
func (s *scheduler) unreadable(err error) error {
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var other []error
	for _, err := range all {
		if e, ok := errors.AsType[*recordError](err); ok {
			s.setAsideRecord(e.key, e.err.Error())
		} else {
			other = append(other, err)
		}
	}
	return errors.Join(other...)
}

// unusable reports whether the record of that key has been set aside.
func (s *scheduler) unusable(key string) bool { return s.unusableKeys[key] }

func (s *scheduler) setAsideRecord(key, reason string) {
	s.log.Error("stored record can't be used; it is kept as it is", "record", key, "reason", reason)
	s.invalid = append(s.invalid, invalidRecord{key, reason})
	s.unusableKeys[key] = true
	s.cfg.inputSkipped()
}

func (s *scheduler) loadMeta(records map[string][]byte) {
	var id mesos.FrameworkID
	if b, ok := records[frameworkIDKey]; ok {
		if err := id.Unmarshal(b); err != nil {
			s.setAsideRecord(frameworkIDKey, err.Error())
		}
		s.framework = id.Value
	}
	_, known := records[adoptKey]
	if err := json.Unmarshal(records[adoptKey], &s.adoptBefore); known && err != nil {
		s.setAsideRecord(adoptKey, err.Error())
	}
	before := s.adoptBefore
	if s.adoptBefore = max(before, s.others.ended); !known {
		s.adoptBefore = s.now
	}
	if !known || s.adoptBefore != before {
		s.extra = append(s.extra, record{adoptKey, mustJSON(s.adoptBefore)})
	}
}

// loadAnswers loads what requests of the last minutes were answered.
func (s *scheduler) loadAnswers(records map[string][]byte, keys []string, prepared *preparation) {
	stored := make(map[string]requestAnswer, len(keys))
	for _, key := range keys {
		id, a, ready := prepared.answer(key)
		if !ready {
			var err error
			if id, a, err = decodeAnswer(key, records[key]); err != nil {
				s.setAsideRecord(key, err.Error())
				continue
			}
		}
		stored[id] = a
	}
	s.requests.take(stored)
}

func encodeFrameworkID(id string) []byte {
	b, err := (&mesos.FrameworkID{Value: id}).Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

// loadJobs builds the entries, in the order of their creation where it is known,
// else scheduled jobs before dependent ones as 2.4 listed them, and returns them.
func (s *scheduler) loadJobs(records map[string][]byte, keys map[string][]string, prepared *preparation) []*entry {
	var loaded []*entry
	for _, l := range s.decodeJobs(records, keys["J_"], prepared) {
		for _, f := range l.faults {
			s.setAsideRecord(f.key, f.reason)
		}
		if l.entry != nil {
			loaded = append(loaded, l.entry)
		}
	}
	loaded = inCreationOrder(loaded)
	s.jobs = make(map[string]*entry, len(loaded))
	for _, e := range loaded {
		s.enter(e)
		e.resumed = s.now
		s.watchPause(e)
		s.joinPool(e)
		s.seq = max(s.seq, e.state.Seq)
	}
	for _, e := range loaded {
		if e.state.Seq == 0 {
			s.state(e).Seq = s.nextSeq()
		}
		if !e.job.Dependent {
			s.restoreSchedule(e)
		}
	}
	s.linkLoaded(loaded)
	s.dropLeftovers(records, keys)
	return loaded
}

// inCreationOrder sorts jobs that were loaded. It looks at as few of them as possible: they lie all over the memory.
func inCreationOrder(loaded []*entry) []*entry {
	type place struct {
		seq int64
		*entry
	}
	places := make([]place, len(loaded))
	for i, e := range loaded {
		places[i] = place{e.state.Seq, e}
	}
	slices.SortFunc(places, func(a, b place) int {
		switch {
		case a.seq != b.seq && a.seq != 0 && b.seq != 0:
			return cmp.Compare(a.seq, b.seq)
		case a.seq != b.seq:
			return cmp.Compare(priority(a.seq == 0), priority(b.seq == 0))
		case a.seq == 0 && a.job.Dependent != b.job.Dependent:
			return cmp.Compare(priority(a.job.Dependent), priority(b.job.Dependent))
		}
		return strings.Compare(a.job.Name, b.job.Name)
	})
	for i, p := range places {
		loaded[i] = p.entry
	}
	return loaded
}

// kindsOfJobs are the kinds of our records that are kept by job, whose name is that of the record.
var kindsOfJobs = []string{"job", "history", "notice", "warnings", "policy", "pause", "named", "ends", "alert", "backfill", "owner"}

// dropLeftovers removes our records of deleted jobs, but keeps their newest ids for a while.
func (s *scheduler) dropLeftovers(records map[string][]byte, keys map[string][]string) {
	retired := map[string]jobState{}
	for _, kind := range kindsOfJobs {
		for _, key := range keys[kind] {
			isState := kind == "job"
			job, err := parseRecordName(strings.TrimPrefix(key, "go/"+kind+"/"))
			if err != nil || s.jobs[job] != nil && (isState || !s.others.replaced(job)) || s.unusable("J_"+job) {
				continue
			}
			var st jobState
			if isState && json.Unmarshal(records[key], &st) == nil && st.Deleted > s.now-retiredFor.Milliseconds() {
				st.Deleted = min(st.Deleted, s.now) // by a clock that was ahead
				retired[job] = st
				continue
			}
			if isState && st.Deleted == 0 {
				s.log.Warn("a job that this program has not deleted is gone: somebody else has removed it from the store", "job", job)
			}
			s.extra = append(s.extra, record{key, nil})
		}
	}
	byTime := func(a, b string) int {
		return cmp.Or(cmp.Compare(retired[a].Deleted, retired[b].Deleted), strings.Compare(a, b))
	}
	for _, name := range slices.SortedFunc(maps.Keys(retired), byTime) {
		s.retired.add(name, retired[name])
	}
}

// restoreSchedule finds the position of a job's schedule: where we left it if
// the document still says what we wrote, otherwise where another version has put it.
func (s *scheduler) restoreSchedule(e *entry) {
	if e.positioned {
		return
	}
	if posted, err := e.postedSchedule(s.serverTime()); err == nil && posted.isCron() && s.resumeCron(e, posted) {
		return
	}
	schedule, err := e.job.parseSchedule(s.serverTime())
	if err != nil {
		e.problem = err.Error()
		s.log.Error("stored schedule can't be read; the job only runs by hand", "job", e.job.Name, "schedule", e.job.Schedule, "error", err)
		return
	}
	st := s.state(e)
	st.Posted, st.Zone, st.Written = e.job.Schedule, e.job.ScheduleTimeZone, e.job.Schedule
	st.Anchor, st.Index = schedule.anchor()
	e.sched, e.problem = schedule, problemOf(schedule)
	if e.problem != "" {
		s.log.Error("stored schedule can't be followed; the job only runs by hand", "job", e.job.Name, "schedule", e.job.Schedule, "why", e.problem)
	}
}

// resumeCron resumes a cron job's expression after a JVM version has used up the one occurrence of it
// that it could see, and reports whether that is what has happened.
func (s *scheduler) resumeCron(e *entry, expression Schedule) bool {
	seen, err1 := parseSchedule(e.state.Written, e.state.Zone, s.serverTime())
	left, err2 := parseSchedule(e.job.Schedule, e.state.Zone, s.serverTime())
	if err1 != nil || err2 != nil || left.isCron() || left.remaining() != 0 {
		return false
	}
	at, ok := seen.next()
	if !ok {
		return false
	}
	j := e.job.clone()
	j.Schedule = e.state.Posted
	if j.Disabled && j.ErrorsSinceLastSuccess == 0 && j.lastResult() == "success" {
		j.Disabled = false
		s.note(e, "another version disabled this cron job, of which it saw only the occurrence of "+instant(at.UTC())+"; it is enabled again")
		s.log.Warn("a cron job that another version disabled after the one occurrence it saw is enabled again", "job", j.Name)
	}
	s.setJob(e, j)
	e.problem = problemOf(expression)
	next := expression.at(e.state.Index)
	if !left.position().Equal(at) { // else 3.0 has used it up for a run by hand, and the instant is still to come
		s.state(e).LastScheduled = max(e.state.LastScheduled, at.UnixMilli())
		_, _, _, next = next.passed(at)
	}
	s.setSchedule(e, next)
	return true
}

// linkLoaded gives the jobs that were loaded their edges, in the order given.
func (s *scheduler) linkLoaded(loaded []*entry) {
	names := make([]string, 0, len(loaded))
	for _, l := range loaded {
		if l.job.Dependent {
			names = append(names, l.job.Name)
		}
	}
	acyclic := s.withoutCycles(names)
	for _, name := range names {
		check := s.graph.check
		if acyclic[name] {
			check = s.graph.checkParents
		}
		s.linkStored(s.jobs[name], check)
	}
}

// withoutCycles returns those of the dependent jobs that do not descend from a cycle of stored parents.
// Searching all ancestors of each job would take the square of the depth of a chain.
func (s *scheduler) withoutCycles(names []string) map[string]bool {
	waitsFor := map[string]int{} // parents that are dependent themselves, and not yet known to be without cycles
	before := map[string][]string{}
	for _, name := range names {
		waitsFor[name] = 0
	}
	for _, name := range names {
		for _, p := range s.jobs[name].job.Parents {
			s.steps++
			if _, dependent := waitsFor[p]; dependent {
				waitsFor[name]++
				before[p] = append(before[p], name)
			}
		}
	}
	acyclic := map[string]bool{}
	var ready []string
	for _, name := range names {
		if waitsFor[name] == 0 {
			ready = append(ready, name)
		}
	}
	for len(ready) > 0 {
		name := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		acyclic[name] = true
		for _, child := range before[name] {
			s.steps++
			if waitsFor[child]--; waitsFor[child] == 0 {
				ready = append(ready, child)
			}
		}
	}
	return acyclic
}

// linkStored gives a stored dependent job its edges. A job whose parents do not all exist, which
// 3.0 accepts, is kept and shown, and linked when the missing ones are created.
func (s *scheduler) linkStored(e *entry, check func(string, []string, func(string) bool) error) {
	name := e.job.Name
	if err := check(name, e.job.Parents, func(p string) bool { return s.jobs[p] != nil }); err != nil {
		e.problem = err.Error()
		s.unlinked[name] = true
		s.log.Error("stored job can't be linked to its parents; it only runs by hand", "job", name, "error", err)
		s.touch(e)
		return
	}
	delete(s.unlinked, name)
	e.problem = ""
	consumed := map[string]int64{}
	for _, p := range e.job.Parents {
		generation := s.jobs[p].state.Generation
		consumed[p] = generation
		if used, ok := e.state.Consumed[p]; ok {
			consumed[p] = min(used, generation)
		}
	}
	if !maps.Equal(consumed, e.state.Consumed) {
		s.state(e).Consumed = consumed
	}
	s.linkTo(name, e.job.Parents)
	s.useEnds(e, e.job.Parents, e.ends.Used)
}

// linkLate links the stored jobs that waited for a parent of this name.
func (s *scheduler) linkLate(parent string) {
	for _, name := range slices.Sorted(maps.Keys(s.unlinked)) {
		if e := s.jobs[name]; slices.Contains(e.job.Parents, parent) {
			s.linkStored(e, s.graph.check)
			s.touch(e)
		}
	}
}

// loadRuns opens the runs that had not ended.
func (s *scheduler) loadRuns(records map[string][]byte, keys map[string][]string) {
	var runs []*Run
	for _, key := range slices.Sorted(slices.Values(keys["run"])) {
		var r Run
		if err := decodeKept(records[key], &r); err != nil || runKey(r.ID) != key {
			s.setAsideRecord(key, fmt.Sprintf("not the record of a run: %v", err))
			continue
		}
		if !r.State.known() {
			s.setAsideRecord(key, fmt.Sprintf("state %q is of a later version", r.State))
			s.kept[r.ID] = true
			continue
		}
		e := s.jobs[r.Job]
		if e == nil && s.unusable("J_"+r.Job) {
			s.setAsideRecord(key, "its job can't be used")
			s.kept[r.ID] = true
			continue
		}
		if e == nil || s.others.replaced(r.Job) {
			s.dropRun(&r, records)
			continue
		}
		runs = append(runs, &r)
	}
	slices.SortStableFunc(runs, func(a, b *Run) int { return cmp.Compare(a.Queued, b.Queued) })
	for _, r := range runs {
		o := s.open(s.jobs[r.Job], r)
		o.stored = true
		_, o.waitingStored = records[waitKey(r.ID)]
	}
}

// dropRun forgets a run whose job another version has deleted. Its task is killed.
func (s *scheduler) dropRun(r *Run, records map[string][]byte) {
	s.extra = append(s.extra, record{runKey(r.ID), nil})
	if _, waits := records[waitKey(r.ID)]; waits {
		s.extra = append(s.extra, record{waitKey(r.ID), nil})
		delete(records, waitKey(r.ID))
	}
	s.orphans[r.ID] = r.AgentID
	r.State, r.Ended, r.Reason = runLost, s.now, "its job was deleted by another version"
	s.emit(jobEvent{Kind: endEvents[r.State], Job: &Job{Name: r.Job}, Run: r, Message: r.Reason})
}

// loadWaiting loads the runs that a 2.x version has left waiting: T_ nodes
// without a record of ours. They are judged by 2.4's own test of epsilon.
// A run of ours whose T_ node is gone was taken over by such a version.
func (s *scheduler) loadWaiting(records map[string][]byte, keys map[string][]string) {
	for _, r := range s.sortedRuns() {
		s.cut()
		switch {
		case r.State != runQueued:
		case !r.waitingStored:
			s.end(r, runLost, "taken over by an earlier version of Chronos")
		case r.Kind == kindRetry && s.others.from(runKey(r.ID), r.Queued) && s.others.rewritten("J_"+r.Job) && !s.others.rewritten(waitKey(r.ID)):
			s.end(r, runSkipped, "another version has run the job since")
			delete(records, waitKey(r.ID)) // with the run
		}
	}
	for _, key := range slices.Sorted(slices.Values(keys["T_"])) {
		if _, left := records[key]; !left {
			continue
		}
		encoded := strings.TrimPrefix(key, "T_")
		id, err := parseRecordName(encoded)
		if err != nil {
			id = encoded
		}
		if s.runs[id] != nil {
			continue
		}
		if _, _, name, _, _ := parseRunID(id); s.jobs[name] == nil && s.unusable("J_"+name) {
			continue
		}
		if !s.loadForeign(key, id) {
			s.extra = append(s.extra, record{key, nil})
		}
	}
}

// loadForeign opens the run of a T_ node, and reports whether the node is now that run's own.
func (s *scheduler) loadForeign(key, id string) bool {
	due, attempt, name, args, ok := parseRunID(id)
	e := s.jobs[name]
	if !ok || e == nil {
		s.log.Warn("dropping a waiting task whose job does not exist", "record", key)
		return false
	}
	kind := kindScheduled
	if attempt > 0 {
		kind = kindRetry
	}
	r := &Run{ID: id, Job: name, Kind: kind, Due: due, Attempt: attempt, Args: args, HasArgs: args != jobArguments(e.job), State: runQueued, Queued: s.now}
	if kind == kindScheduled && due > e.state.LastScheduled {
		s.state(e).LastScheduled = due
	}
	o := s.open(e, r)
	o.waitingStored = key == waitKey(id)
	s.touchRun(o)
	if due+e.epsilon() <= s.now {
		s.log.Warn("occurrence missed", "job", name, "due", msTime(due))
		s.end(o, runMissed, tooOld(e.job))
		e.state.Missed++
		e.stateDirty = true
	}
	return key == waitKey(id)
}

// admitLoaded lets the loaded runs wait for what they were waiting for.
func (s *scheduler) admitLoaded() {
	for _, r := range s.sortedRuns() {
		s.cut()
		if r.State == runQueued {
			s.watchLate(r)
		}
		switch {
		case s.runs[r.ID] != r:
		case r.State == runAwaiting:
			s.watchLimit(r)
			s.watchSlow(r)
		case r.State == runLaunching || r.State == runActive:
			s.watchLimit(r)
			s.watchSlow(r)
			s.watchStaging(r)
			if r.Started == 0 {
				s.expectAnswer(r)
			}
			if r.Killing != "" {
				s.timers.move(&r.kill, s.now+killAgain.Milliseconds())
			}
		case r.State == runQueued && r.Due > s.now && r.Kind != kindManual && r.Kind != kindDependent:
			r.delayed = true
			s.waitUntil(r, timerRetry, r.Due)
		case r.State == runQueued:
			s.admit(r)
		}
	}
}

// showAll publishes the loaded state. What loading has changed is stored in the first turn of the loop.
func (s *scheduler) showAll(inOrder []*entry, acts []shownAct) {
	all := viewChange{acts: acts}
	for _, e := range inOrder {
		all.set = append(all.set, e.publish(s.graph))
		for r := range e.runs.all() {
			s.sumRun(r)
		}
	}
	s.publish([]viewChange{all}, s.totals())
}
