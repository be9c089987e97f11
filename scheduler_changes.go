package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errUnknownTask says that no run, open or in history, has the id given.
var errUnknownTask = errors.New("task not found")

// putJob creates the job or replaces its definition. build gets the job as it
// stands, or nil, within the loop, and returns the new document; if it fails,
// its error is returned and nothing changes.
func (s *scheduler) putJob(ctx context.Context, name string, build func(old *Job) (*Job, error)) error {
	return s.putAs(ctx, name, s.put, build)
}

func (s *scheduler) putAs(ctx context.Context, name string, put func(*entry, *Job) error, build func(old *Job) (*Job, error)) error {
	return s.do(ctx, func() error {
		s.turnLog.note("put job", name)
		e := s.jobs[name]
		var old *Job
		if e != nil {
			old = e.job
		}
		j, err := build(old)
		if err != nil {
			return err
		}
		if err := s.mayDepend(permitOf(ctx), old, j, s.jobNamed); err != nil {
			return err
		}
		if j.Name != name {
			return fmt.Errorf("job %q cannot be renamed to %q", name, j.Name)
		}
		before := s.was(e)
		if err := put(e, j); err != nil {
			return err
		}
		s.didPut(before, s.jobs[name])
		return nil
	})
}

// put gives a job a document, e is nil for a new one. It checks everything before it changes anything.
func (s *scheduler) put(e *entry, j *Job) error { return s.putFrom(e, j, nil) }

// putFrom is put for a job that goes on, if it is new, where the schedule of a deleted one has left off; nil for none.
func (s *scheduler) putFrom(e *entry, j *Job, left *jobState) error {
	if err := s.checkDocument(j); err != nil {
		return err
	}
	if j.Dependent {
		if err := s.graph.check(j.Name, j.Parents, func(p string) bool { return s.jobs[p] != nil }); err != nil {
			return err
		}
	}
	var schedule Schedule
	if !j.Dependent {
		var err error
		if schedule, err = j.parseSchedule(s.serverTime()); err != nil {
			return &jobError{"schedule", err.Error()}
		}
	}
	created := e == nil
	if !created && schedule.emptyStart() && e.state.newestDue() >= s.now {
		s.forgetHandled(e) // now is meant, which may be the due of a run whose id is already taken
	}
	if !created && j.Disabled {
		s.skipWaiting(e)
	}
	if created {
		e = s.newEntry(j)
		used := s.retired.take(j.Name)
		e.state.Used, e.state.LastRetry = used.Used, used.LastRetry
		s.state(e).Seq = s.nextSeq()
		s.takeUp(e, left)
	}
	e.misreadDirty, e.policyDirty = created && len(j.Misread) > 0, created && j.Policy != nil
	e.namedDirty = created && j.Named != namedSizes{}
	s.replace(e, j, schedule)
	if created {
		s.linkLate(j.Name)
	}
	for _, w := range j.warnings() {
		s.log.Warn("accepted a job whose document says something strange", "job", j.Name, "what", w.String())
	}
	return nil
}

// serverTime is now in the zone that starts without an offset are read in.
func (s *scheduler) serverTime() time.Time { return time.UnixMilli(s.now).In(s.cfg.location) }

func (s *scheduler) state(e *entry) *jobState {
	e.stateDirty = true
	s.touch(e)
	return &e.state
}

func (s *scheduler) nextSeq() int64 {
	s.seq++
	return s.seq
}

// newEntry puts a job into the table.
func (s *scheduler) newEntry(j *Job) *entry {
	e := &entry{job: j}
	s.enter(e)
	return e
}

// enter puts an entry into the table.
func (s *scheduler) enter(e *entry) {
	e.runs, e.allUnderWay = runList{steps: &s.steps}, &s.underWay
	e.timer = alarm{kind: timerDue, entry: e}
	s.jobs[e.job.Name] = e
}

// replace gives an entry a new document. A schedule with the same text as the last
// keeps its position and repetitions (#332): clients post whole jobs to
// change something else. An empty start means now, and so is always a change.
func (s *scheduler) replace(e *entry, j *Job, schedule Schedule) {
	before := e.job
	same := e.state.Posted != "" && j.ScheduleTimeZone == e.state.Zone && !schedule.emptyStart() &&
		(j.Schedule == e.state.Posted || j.Schedule == before.Schedule || j.Schedule == e.state.Written)
	if before.Disabled && !j.Disabled {
		e.resumed = s.now
	}
	s.relink(e, j)
	s.setJob(e, j)
	s.followParents(e, before)
	s.note(e, "")
	delete(s.unlinked, j.Name)
	switch {
	case j.Dependent:
		e.state.Posted, e.state.Zone, e.state.Written, e.state.Index, e.state.Anchor = "", "", "", 0, ""
		e.stateDirty, e.problem = true, ""
	case same && !before.Dependent:
		kept := j.clone()
		kept.Schedule = before.Schedule
		s.setJob(e, kept)
	default:
		st := s.state(e)
		st.Posted, st.Zone = j.Schedule, j.ScheduleTimeZone
		st.Anchor, st.Index = schedule.anchor()
		st.Written = j.Schedule
		if schedule.isCron() {
			st.Written = schedule.String()
		}
		e.sched, e.problem = schedule, problemOf(schedule)
	}
	waiting := s.takeWaiting(e)
	s.joinPool(e)
	s.admitAll(waiting)
	s.watchLimits(e)
	s.arm(e)
	s.fireDue(e)
	s.feedBackfill(e)
	s.wake = append(s.wake, j.Name)
}

// note sets the notice of a job, "" for none.
func (s *scheduler) note(e *entry, text string) {
	if e.notice != text {
		e.notice, e.noticeDirty = text, true
		s.touch(e)
	}
}

// problemOf says why a schedule cannot be followed, or "".
func problemOf(schedule Schedule) string {
	if err := schedule.check(); err != nil {
		return err.Error()
	}
	return ""
}

// relink brings the graph in line with a new document. What the parents have
// finished before an edge was made does not count.
func (s *scheduler) relink(e *entry, j *Job) {
	old := s.graph.parents[j.Name]
	if !j.Dependent {
		if len(old) > 0 {
			s.linkTo(j.Name, nil)
			s.state(e).Consumed = nil
		}
		return
	}
	if slices.Equal(old, j.Parents) {
		return
	}
	consumed := map[string]int64{}
	for _, p := range j.Parents {
		consumed[p] = s.jobs[p].state.Generation
	}
	for _, p := range old {
		if _, kept := consumed[p]; kept {
			consumed[p] = e.state.Consumed[p]
		}
	}
	if len(old) > 1 && len(j.Parents) == 1 {
		// Beside others it counted once, however often it had finished.
		p := j.Parents[0]
		consumed[p] = max(consumed[p], s.jobs[p].state.Generation-1)
	}
	s.state(e).Consumed = consumed
	s.linkTo(j.Name, j.Parents)
}

// linkTo changes the parents of a job, and updates what is shown of those that gain or lose it.
func (s *scheduler) linkTo(child string, parents []string) {
	for _, p := range slices.Concat(s.graph.parents[child], parents) {
		if e := s.jobs[p]; e != nil {
			s.touch(e)
		}
	}
	s.graph.link(child, parents)
}

// admitAll lets runs wait anew for what their job's document says now: their needs and
// priority may have changed, or whether one waits for another.
func (s *scheduler) admitAll(waiting []*openRun) {
	for _, r := range waiting {
		s.admit(r)
	}
}

// skipWaiting ends the runs that wait for their turn because their job is disabled.
func (s *scheduler) skipWaiting(e *entry) {
	e.closing = true // nothing follows what ends here
	for _, r := range s.takeWaiting(e) {
		s.cut()
		s.end(r, runSkipped, "the job is disabled")
	}
	e.closing = false
}

// takeWaiting takes the runs of a job that wait for their turn out of the queue, and from behind each other.
func (s *scheduler) takeWaiting(e *entry) []*openRun {
	var waiting []*openRun
	for r := range e.runs.all() {
		if r.class != nil || r.blocked() {
			waiting = append(waiting, r)
		}
	}
	for _, r := range waiting {
		s.queue.remove(r)
		e.blocked.remove(r)
		s.timers.drop(&r.wait)
	}
	return waiting
}

// deleteJob removes a job. Children that have no other parent take over its
// parents, or its schedule if it had none; the others just lose the edge.
func (s *scheduler) deleteJob(ctx context.Context, name string) error {
	_, err := s.onJob(ctx, "delete job", name, func(e *entry) (string, error) {
		for _, c := range s.graph.children[name] {
			if err := permitOf(ctx).heir(s.jobs[c].job); err != nil {
				return "", err
			}
		}
		if err := s.checkHeirs(e); err != nil {
			return "", err
		}
		gone := s.deletedAct(e)
		gone.Children = s.namedChildren(e)
		s.remove(e)
		s.did(gone)
		return "", nil
	})
	return err
}

// onJob is ask for one job, which must exist and to which the caller must have a right.
func (s *scheduler) onJob(ctx context.Context, what, name string, fn func(*entry) (string, error)) (string, error) {
	return s.ask(ctx, func() (string, error) {
		s.turnLog.note(what, name)
		e := s.jobs[name]
		if e == nil {
			return "", cmp.Or(permitOf(ctx).job(name, nil), fmt.Errorf("job %q: %w", name, errNotFound))
		}
		if err := permitOf(ctx).job(name, e.job); err != nil {
			return "", err
		}
		return fn(e)
	})
}

func (s *scheduler) remove(e *entry) {
	name := e.job.Name
	if e.backfill != nil {
		s.setBackfill(e, nil)
	}
	s.endAll(e)
	if len(s.graph.children[name]) > 0 {
		s.seal() // so that the job is stored as gone after what that means for its children
	}
	grandparents := s.graph.parents[name]
	for _, c := range s.graph.detach(name) {
		s.inherit(s.jobs[c], e, grandparents)
	}
	for _, p := range grandparents {
		s.touch(s.jobs[p])
	}
	s.graph.remove(name)
	s.dues.drop(&e.timer)
	e.gone = true
	s.watchPause(e)
	s.watchAbsence(e)
	s.joinPool(e)
	s.retire(e)
	delete(s.jobs, name)
	delete(s.unlinked, name)
	s.touch(e)
	s.emit(jobEvent{Kind: eventRemoved, Job: e.job})
}

// endAll ends the open runs of a job that is being deleted. Their tasks are killed, and what
// becomes of them no longer matters.
func (s *scheduler) endAll(e *entry) {
	s.takeWaiting(e)
	for _, r := range e.runs.snapshot() {
		s.cut()
		if r.State == runLaunching || r.State == runActive {
			s.orphans[r.ID] = r.AgentID
			s.send(killCall(r.ID, r.AgentID), nil)
		}
		s.end(r, runKilled, "its job was deleted")
	}
}

// retire remembers for a while which ids a deleted job has used: a new job of that name has
// other tasks, even for the same instants.
func (s *scheduler) retire(e *entry) {
	e.state.Deleted = s.now
	s.retired.add(e.job.Name, *e.state.retired())
	if s.whole {
		return // others can be forgotten with a change that has more room
	}
	for _, name := range s.retired.forget(s.now) {
		s.extra = append(s.extra, record{"go/job/" + recordName(name), nil})
	}
}

// maxHeirs bounds the dependencies that the deletion of one job may make.
const maxHeirs = 100_000

// checkHeirs refuses the deletion of a job that leaves more to its children than they can hold.
func (s *scheduler) checkHeirs(gone *entry) error {
	name := gone.job.Name
	children, grandparents := s.graph.children[name], s.graph.parents[name]
	if n := len(children) * len(grandparents); n > maxHeirs {
		return &jobError{"", fmt.Sprintf("job %q cannot be deleted: that would make %d dependencies, of its %d children on its %d parents, and no more than %d may be made at once; change the children first",
			name, n, len(children), len(grandparents), maxHeirs)}
	}
	more := 4 * quotedLen(gone.job.Schedule)
	for _, p := range grandparents {
		more += 3 * quotedLen(p)
	}
	for _, c := range children {
		child := s.jobs[c]
		if int(child.recordSize)+more < s.cfg.largestJob/2 {
			continue
		}
		if err := s.checkSize(s.heir(child, gone, grandparents), &Run{}); err != nil {
			return &jobError{"", fmt.Sprintf("job %q cannot be deleted: what it leaves to its children is too much for one; %s", name, err)}
		}
	}
	return nil
}

// heir is the document of a child as it will be without a parent that is being deleted. All
// other fields of the child stay, unlike in the original.
func (s *scheduler) heir(child, gone *entry, grandparents []string) *Job {
	name := child.job.Name
	j := child.job.clone()
	j.Parents = without(s.graph.parents[name], []string{gone.job.Name})
	switch {
	case gone.job.Dependent && len(j.Parents)+len(grandparents) == 0: // the deleted job was never linked to its own parents
		j.Parents = without(gone.job.Parents, []string{name})
	case gone.job.Dependent:
		j.Parents = append(j.Parents, without(grandparents, j.Parents)...)
	case len(j.Parents) == 0 && j.runsOn() != runOnSuccess:
		s.leaveOrphan(j)
	case len(j.Parents) == 0:
		j.Dependent, j.Parents = false, nil
		j.Schedule, j.ScheduleTimeZone = gone.job.Schedule, gone.job.ScheduleTimeZone
		if gone.sched.isCron() {
			j.Schedule, _ = gone.sched.anchor() // without an H, which would stand for something else in the child
		}
	}
	return j
}

// inherit takes a parent that is being deleted out of a child.
func (s *scheduler) inherit(child, gone *entry, grandparents []string) {
	name := child.job.Name
	j := s.heir(child, gone, grandparents)
	switch {
	case !j.Dependent && j.runsOn() != runOnSuccess:
		s.linkTo(name, nil)
		s.orphan(child, j, gone.job.Name)
	case !j.Dependent:
		s.linkTo(name, nil)
		s.adoptSchedule(child, j, gone)
	case s.unlinked[gone.job.Name] && len(s.graph.parents[name]) == 1:
		s.linkTo(name, nil)
		s.setJob(child, j)
		s.linkStored(child, s.graph.check)
	default:
		s.relink(child, j)
		s.setJob(child, j)
		s.useEnds(child, s.graph.parents[name], child.ends.Used)
		s.wake = append(s.wake, name) // it may have waited only for the deleted job
	}
}

// adoptSchedule makes a child follow the schedule of its deleted parent, from the parent's position.
func (s *scheduler) adoptSchedule(child *entry, j *Job, gone *entry) {
	st := s.state(child)
	st.Consumed = nil
	st.Posted, st.Zone, st.Anchor, st.Index, st.Written = gone.state.Posted, gone.state.Zone, gone.state.Anchor, gone.state.Index, gone.state.Written
	if gone.sched.isCron() {
		st.Posted = j.Schedule
	}
	st.LastScheduled = max(st.LastScheduled, gone.state.LastScheduled)
	child.sched, child.problem = gone.sched, gone.problem
	s.setJob(child, j)
	s.arm(child)
}

// checkSize refuses a job, or arguments for it, if a change of it could become too large for any
// commit: all its records at once, with the end of one run and the beginning of the next.
func (s *scheduler) checkSize(j *Job, given *Run) error {
	if s.cfg.largestStep == 0 {
		return nil
	}
	document := record{"J_" + j.Name, j.appendJSON(nil, dialectStored)}
	state := 3*quotedLen(j.Schedule) + quotedLen(j.ScheduleTimeZone) + 500
	for _, p := range j.Parents {
		state += quotedLen(p) + len(`:1000000000000000000,`)
	}
	r := &openRun{entry: &entry{job: j}, Run: given.giveAs(Run{ID: runID(s.now, 0, j.Name, given.Args), Job: j.Name, State: runQueued})}
	run := r.size() + runGrowth
	need := s.store.size(document) + j.Policy.size() + state + len(r.entry.waitRecord()) + max(2*run, run+s.cfg.historySize) + s.partSize()
	if need <= s.cfg.largestStep {
		return nil
	}
	return &jobError{"", fmt.Sprintf("job %q with its arguments, parents and runs may take %d bytes at once, and ZooKeeper takes at most %d", j.Name, need, s.cfg.largestStep)}
}

// killJob ends every open run of a job: those that wait at once, the others as
// soon as the cluster has killed their tasks.
func (s *scheduler) killJob(ctx context.Context, name string) error {
	_, err := s.onJob(ctx, "kill job", name, func(e *entry) (string, error) {
		runs := e.runs.snapshot()
		for _, r := range runs {
			s.cut()
			s.kill(r, killRequested)
		}
		s.didTo(e, actKilled, countOf(len(runs), "run"))
		return "", nil
	})
	return err
}

// markSuccess counts a success that happened outside, for the job and its children.
func (s *scheduler) markSuccess(ctx context.Context, name string) error {
	_, err := s.onJob(ctx, "mark success", name, func(e *entry) (string, error) {
		s.countSuccess(e)
		s.didTo(e, actMarked, "")
		return "", nil
	})
	return err
}

// finishTask is the callback of an async task, or of any other: 0 is success.
// An unknown id is only logged, as in every version.
func (s *scheduler) finishTask(ctx context.Context, id string, code int) error {
	return s.do(ctx, func() error {
		s.turnLog.note("finish task", id)
		r := s.runs[id]
		if r == nil {
			return s.finishUnknown(permitOf(ctx), id, code)
		}
		if err := permitOf(ctx).run(id, r.Run, r.entry.job); err != nil {
			return err
		}
		if r.entry.job.Async && (r.State == runLaunching || r.State == runActive) {
			// The launcher is still there; the run ends with it, and so is not killed as a leftover.
			r.update(func(n *Run) { n.Callback = &code })
			s.touchRun(r)
			return nil
		}
		s.applyCallback(r, code)
		return nil
	})
}

// finishUnknown takes the callback of an async task that an earlier version has launched.
func (s *scheduler) finishUnknown(p permit, id string, code int) error {
	due, attempt, name, args, ok := parseRunID(id)
	e := s.jobs[name]
	if !ok || e == nil || !e.job.Async || !s.adoptable(e, id, due) {
		if err := p.run(id, nil, nil); err != nil {
			return err
		}
		s.log.Warn("status of an unknown task", "task", id, "code", code)
		return nil
	}
	adopted := &Run{ID: id, Job: name, Kind: kindScheduled, Due: due, Attempt: attempt, Args: args, State: runAwaiting, Queued: due}
	if err := p.run(id, adopted, e.job); err != nil {
		return err
	}
	s.applyCallback(s.open(e, adopted), code)
	return nil
}

func (s *scheduler) applyCallback(r *openRun, code int) {
	if code == 0 {
		s.succeed(r, "")
		return
	}
	s.fail(r, runFailed, fmt.Sprintf("reported status %d", code))
}

// purge ends every run that waits.
func (s *scheduler) purge(ctx context.Context) error {
	return s.do(ctx, func() error {
		s.turnLog.note("purge", "")
		purged := 0
		for _, r := range s.sortedRuns() {
			if r.State == runQueued {
				s.cut()
				s.kill(r, killPurged)
				purged++
			}
		}
		s.did(act{Action: actPurged, About: countOf(purged, "run")})
		return nil
	})
}

// addProgress adds to the number of elements that a data processing task has handled.
func (s *scheduler) addProgress(ctx context.Context, name, id string, n int64) error {
	return s.do(ctx, func() error {
		s.turnLog.note("add progress", name)
		e := s.jobs[name]
		if e == nil {
			return cmp.Or(permitOf(ctx).run(id, nil, nil), fmt.Errorf("job %q: %w", name, errNotFound))
		}
		if r := s.runs[id]; r != nil && r.entry == e {
			if err := permitOf(ctx).run(id, r.Run, e.job); err != nil {
				return err
			}
			r.update(func(run *Run) { run.Elements += n })
			s.touchRun(r)
			s.emit(jobEvent{Kind: eventProgress, Job: e.job, Run: r.Run, Elements: n})
			return nil
		}
		i := slices.IndexFunc(e.history, func(r *Run) bool { return r.ID == id })
		if i < 0 {
			return cmp.Or(permitOf(ctx).run(id, nil, nil), fmt.Errorf("task %q: %w", id, errUnknownTask))
		}
		if err := permitOf(ctx).run(id, e.history[i], e.job); err != nil {
			return err
		}
		run := *e.history[i]
		run.Elements += n
		s.number(e, &run)
		e.history = slices.Clone(e.history)
		e.history[i] = &run
		e.historyDirty = true
		s.touch(e)
		s.emit(jobEvent{Kind: eventProgress, Job: e.job, Run: &run, Elements: n})
		return nil
	})
}

// A waiting is a run that has not started, with the reasons for a person.
type waiting struct {
	Run      *Run
	Position int // runs before it in the queue; -1 when it is not in the queue
	Reasons  []string
}

// whyQueued explains each waiting run of a job.
func (s *scheduler) whyQueued(ctx context.Context, name string) ([]waiting, error) {
	var out []waiting
	_, err := s.onJob(ctx, "explain", name, func(e *entry) (string, error) {
		position := s.queue.positions()
		for r := range e.runs.all() {
			switch {
			case r.State == runQueued:
				out = append(out, s.explain(r, position))
			case r.Started == 0 && r.Reason != "" && (r.State == runLaunching || r.State == runActive): // the cluster says why
				out = append(out, waiting{Run: r.Run, Position: -1, Reasons: []string{r.Reason}})
			}
		}
		return "", nil
	})
	if err != nil {
		return nil, err // the loop may still be at it
	}
	return out, nil
}

func (s *scheduler) explain(r *openRun, position func(*openRun) int) waiting {
	w := waiting{Run: r.Run, Position: -1}
	switch {
	case r.delayed:
		w.Reasons = append(w.Reasons, "waits until "+instant(msTime(r.wait.at))+" for its next attempt")
	case r.blocked():
		w.Reasons = append(w.Reasons, r.entry.whyBlocked(r))
	case r.class != nil && r.class.pool.full():
		w.Position = position(r)
		w.Reasons = append(w.Reasons, r.class.pool.whyPooled())
	case !s.subscribed:
		w.Position = position(r)
		w.Reasons = append(w.Reasons, "not connected to the cluster")
	case s.isFull():
		w.Position = position(r)
		w.Reasons = append(w.Reasons, fmt.Sprintf("%d runs are under way, and no more than %d may be (--%s)", s.underWay, s.cfg.mostRuns, s.cfg.mostRunsFlag))
	default:
		w.Position = position(r)
		refusals := s.offers.explain(taskNeed(r.entry.job, r.ID, s.cfg.task), explainLimit)
		for _, f := range refusals {
			w.Reasons = append(w.Reasons, f.Reason)
		}
		if len(refusals) == 0 {
			w.Reasons = append(w.Reasons, "no offer has come yet")
		}
		if why := s.explainAgents(r); why != "" {
			w.Reasons = append(w.Reasons, why)
		}
	}
	if r.Reason != "" {
		w.Reasons = append(w.Reasons, r.Reason)
	}
	return w
}
