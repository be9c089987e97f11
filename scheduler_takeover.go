package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// adoptKey holds the instant, in ms, up to which tasks without a record may
// have been launched by a JVM version.
const adoptKey = "go/meta/adopt"

// load reads the state and builds the table of jobs and runs from it. Records
// that can't be used are kept as they are, logged, and shown.
func (s *scheduler) load(ctx context.Context) error {
	records, err := s.store.load(ctx)
	if err := s.unreadable(err); err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	if records, err = settleRestore(ctx, s.store, records, s.log); err != nil {
		return err
	}
	s.now = time.Now().UnixMilli()
	for key, reason := range s.cfg.setAside {
		s.setAsideRecord(key, reason)
		delete(records, key)
	}
	s.loadMeta(records)
	s.loadJobs(records)
	s.loadRuns(records)
	s.loadWaiting(records)
	s.admitLoaded()
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		s.arm(s.jobs[name])
		s.wake = append(s.wake, name)
	}
	s.showAll()
	s.log.Info("state loaded", "jobs", len(s.jobs), "runs", len(s.runs), "unusable", len(s.invalid))
	return nil
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
func (s *scheduler) unusable(key string) bool {
	return slices.ContainsFunc(s.invalid, func(r invalidRecord) bool { return r.key == key })
}

func (s *scheduler) setAsideRecord(key, reason string) {
	s.log.Error("stored record can't be used; it is kept as it is", "record", key, "reason", reason)
	s.invalid = append(s.invalid, invalidRecord{key, reason})
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
	if s.cfg.afterJVM || !known {
		s.adoptBefore = s.now
		s.extra = append(s.extra, record{adoptKey, mustJSON(s.adoptBefore)})
	}
	for key, value := range records {
		if name, ok := strings.CutPrefix(key, "go/request/"); ok {
			id, err := parseRecordName(name)
			if err == nil {
				err = s.requests.load(id, value)
			}
			if err != nil {
				s.setAsideRecord(key, err.Error())
			}
		}
	}
	slices.SortFunc(s.requests.order, func(a, b string) int {
		return cmp.Compare(s.requests.answers[a].At, s.requests.answers[b].At)
	})
}

func encodeFrameworkID(id string) []byte {
	b, err := (&mesos.FrameworkID{Value: id}).Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

// A loadedJob is what the records of one job hold.
type loadedJob struct {
	name   string
	entry  *entry // nil if the job itself is of no use
	faults []invalidRecord
}

// decodeJobs decodes the records of all jobs. It takes all processors for it, since
// that is most of what a new leader has to do before it schedules.
func (s *scheduler) decodeJobs(records map[string][]byte) []loadedJob {
	var loaded []loadedJob
	for key := range records {
		if name, ok := strings.CutPrefix(key, "J_"); ok {
			loaded = append(loaded, loadedJob{name: name})
		}
	}
	var decoders sync.WaitGroup
	for part := range slices.Chunk(loaded, len(loaded)/runtime.GOMAXPROCS(0)+1) {
		decoders.Go(func() {
			for i := range part {
				part[i].decode(records, s.cfg)
			}
		})
	}
	decoders.Wait()
	return loaded
}

func (l *loadedJob) decode(records map[string][]byte, cfg schedulerConfig) {
	key := "J_" + l.name
	j, err := decodeStoredJob(records[key], cfg.defaults)
	if err == nil && j.Name != l.name {
		err = fmt.Errorf("it holds job %q", j.Name)
	}
	if err != nil {
		l.faults = append(l.faults, invalidRecord{key, err.Error()})
		return
	}
	e := &entry{job: j}
	l.decodeRecord(records, "go/job/"+recordName(l.name), &e.state)
	if e.state.Deleted != 0 { // by us, and another version has made it again
		e.state = jobState{Used: e.state.Used}
	}
	l.decodeRecord(records, "go/history/"+recordName(l.name), &e.history)
	e.history = e.history[:min(len(e.history), cfg.historyKeep)]
	l.entry = e
}

// decodeRecord reads one of our own records, if it is there and sound.
func (l *loadedJob) decodeRecord(records map[string][]byte, key string, into any) {
	b, ok := records[key]
	if !ok {
		return
	}
	if err := json.Unmarshal(b, into); err != nil {
		l.faults = append(l.faults, invalidRecord{key, err.Error()})
	}
}

// loadJobs builds the entries, in the order of their creation where it is known,
// else scheduled jobs before dependent ones as 2.4 listed them.
func (s *scheduler) loadJobs(records map[string][]byte) {
	var loaded []*entry
	for _, l := range s.decodeJobs(records) {
		for _, f := range l.faults {
			s.setAsideRecord(f.key, f.reason)
		}
		if l.entry != nil {
			loaded = append(loaded, l.entry)
		}
	}
	slices.SortFunc(loaded, func(a, b *entry) int {
		if a.state.Seq == 0 || b.state.Seq == 0 {
			if c := cmp.Compare(priority(a.state.Seq == 0), priority(b.state.Seq == 0)); c != 0 {
				return c
			}
			if c := cmp.Compare(priority(a.job.Dependent), priority(b.job.Dependent)); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(a.state.Seq, b.state.Seq), strings.Compare(a.job.Name, b.job.Name))
	})
	for _, l := range loaded {
		e := s.newEntry(l.job)
		e.state, e.history = l.state, l.history
		s.seq = max(s.seq, e.state.Seq)
	}
	for _, l := range loaded {
		e := s.jobs[l.job.Name]
		if e.state.Seq == 0 {
			s.state(e).Seq = s.nextSeq()
		}
		if !e.job.Dependent {
			s.restoreSchedule(e)
		}
	}
	for _, l := range loaded {
		if l.job.Dependent {
			s.linkStored(s.jobs[l.job.Name])
		}
	}
	s.dropLeftovers(records)
}

// dropLeftovers removes what we keep of jobs that were deleted, except for a while their newest ids.
func (s *scheduler) dropLeftovers(records map[string][]byte) {
	for key, value := range records {
		name, isState := strings.CutPrefix(key, "go/job/")
		if !isState {
			var ok bool
			if name, ok = strings.CutPrefix(key, "go/history/"); !ok {
				continue
			}
		}
		job, err := parseRecordName(name)
		if err != nil || s.jobs[job] != nil || s.unusable("J_"+job) {
			continue
		}
		var st jobState
		if isState && json.Unmarshal(value, &st) == nil && st.Deleted > s.now-retiredFor.Milliseconds() {
			s.retired[job] = st
			continue
		}
		if isState && st.Deleted == 0 {
			s.log.Warn("a job is gone that this program has not deleted: somebody else has removed it from the store", "job", job)
		}
		s.extra = append(s.extra, record{key, nil})
	}
}

// restoreSchedule finds the position of a job's schedule: where we left it if
// the document still says what we wrote, else where another version has put it.
func (s *scheduler) restoreSchedule(e *entry) {
	written := e.state.Written
	if e.state.Posted != "" && e.state.Zone == e.job.ScheduleTimeZone {
		posted, err := parseSchedule(e.state.Anchor, e.state.Zone, s.serverTime())
		if err == nil && posted.isCron() && written != e.job.Schedule {
			written = s.cronMovedOn(e)
		}
		if err == nil && written == e.job.Schedule {
			e.sched, e.problem = posted.at(e.state.Index), problemOf(posted)
			if posted.isCron() {
				e.job = e.job.clone()
				e.job.Schedule = e.state.Posted
			}
			return
		}
	}
	schedule, err := parseSchedule(e.job.Schedule, e.job.ScheduleTimeZone, s.serverTime())
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

// cronMovedOn returns the text that goes with our record of a cron job after a JVM version has run the one
// occurrence that it could see of it: that occurrence is over, and the expression goes on.
func (s *scheduler) cronMovedOn(e *entry) string {
	seen, err1 := parseSchedule(e.state.Written, e.state.Zone, s.serverTime())
	now, err2 := parseSchedule(e.job.Schedule, e.state.Zone, s.serverTime())
	if err1 != nil || err2 != nil || now.isCron() || now.remaining() != 0 {
		return e.state.Written
	}
	if at, ok := seen.next(); ok {
		s.state(e).LastScheduled = max(e.state.LastScheduled, at.UnixMilli())
		e.state.Written = e.job.Schedule
	}
	return e.state.Written
}

// linkStored gives a stored dependent job its edges. A job whose parents do not all exist, which
// 3.0 accepts, is kept and shown, and linked when the missing ones are made.
func (s *scheduler) linkStored(e *entry) {
	name := e.job.Name
	if err := s.graph.check(name, e.job.Parents, func(p string) bool { return s.jobs[p] != nil }); err != nil {
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
}

// linkLate links the stored jobs that waited for a parent of this name.
func (s *scheduler) linkLate(parent string) {
	for _, name := range slices.Sorted(maps.Keys(s.unlinked)) {
		if e := s.jobs[name]; slices.Contains(e.job.Parents, parent) {
			s.linkStored(e)
			s.touch(e)
		}
	}
}

// loadRuns opens the runs that had not ended.
func (s *scheduler) loadRuns(records map[string][]byte) {
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if !strings.HasPrefix(key, "go/run/") {
			continue
		}
		var r Run
		if err := json.Unmarshal(records[key], &r); err != nil || runKey(r.ID) != key {
			s.setAsideRecord(key, fmt.Sprintf("not the record of a run: %v", err))
			continue
		}
		e := s.jobs[r.Job]
		if e == nil && s.unusable("J_"+r.Job) {
			s.setAsideRecord(key, "its job can't be used")
			s.kept[r.ID] = true
			continue
		}
		if e == nil {
			s.extra = append(s.extra, record{key, nil})
			s.orphans[r.ID] = r.AgentID
			continue
		}
		o := s.open(e, &r)
		o.stored = true
		_, o.waitingStored = records[waitKey(r.ID)]
	}
	for _, e := range s.jobs {
		slices.SortStableFunc(e.runs, func(a, b *openRun) int { return cmp.Compare(a.Queued, b.Queued) })
	}
}

// loadWaiting takes in the runs that a 2.x version has left waiting: T_ nodes
// that no record of ours goes with. They are judged by 2.4's own test of epsilon.
// A run of ours whose T_ node is gone was taken over by such a version.
func (s *scheduler) loadWaiting(records map[string][]byte) {
	for _, r := range s.sortedRuns() {
		if r.State == runQueued && !r.waitingStored {
			s.end(r, runLost, "taken over by an earlier version of Chronos")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(records)) {
		encoded, ok := strings.CutPrefix(key, "T_")
		if !ok {
			continue
		}
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
		s.log.Warn("dropping a waiting task of no job", "record", key)
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
		s.end(o, runMissed, "older than epsilon when the leader came to it")
		e.state.Missed++
		e.stateDirty = true
	}
	return key == waitKey(id)
}

// admitLoaded lets the loaded runs wait for what they were waiting for.
func (s *scheduler) admitLoaded() {
	for _, r := range s.sortedRuns() {
		if r.State == runQueued && r.Due+s.cfg.late.Milliseconds() > s.now {
			s.watchLate(r) // of the others the last leader has told
		}
		switch {
		case s.runs[r.ID] != r:
		case r.State == runLaunching || r.State == runActive:
			s.watchStaging(r)
			if r.Killing != "" {
				s.timers.move(&r.kill, s.now+killAgain.Milliseconds())
			}
		case r.State == runQueued && r.Due > s.now && r.Kind != kindManual && r.Kind != kindDependent:
			r.delayed = true
			s.timers.add(&alarm{at: r.Due, kind: timerRetry, run: r})
		case r.State == runQueued:
			s.admit(r)
		}
	}
}

// showAll publishes the loaded state. What loading has changed is stored with the first turn of the loop.
func (s *scheduler) showAll() {
	all := viewChange{}
	for _, e := range s.jobs {
		all.set = append(all.set, e.publish(s.graph))
		for _, r := range e.runs {
			r.counted = r.State
			s.sums[r.State]++
		}
	}
	s.publish([]viewChange{all}, s.totals())
}
