package main

import (
	"cmp"
	"container/list"
	"encoding/json"
	"time"
)

// An entry is what the scheduler's loop knows of one job. There may be a hundred thousand, so what is small stands
// together, and what few jobs have is pointed to: it fits into 640 bytes (TestAHeldJobIsSmall).
type entry struct {
	job     *Job // replaced, never changed
	sched   Schedule
	problem string // why its schedule is not followed, or ""
	notice  string // what a leader has done to it on its own initiative, for people, or ""
	state   jobState
	runs    runList // open
	blocked blockedRuns
	history []*Run // ended, newest first; replaced, never changed
	timer   alarm  // of the next occurrence
	lists   *lists // of its document when it was last published

	ends     endsRecord
	resumed  int64      // what fell due up to then was missed: before this term, or while it was disabled
	pause    *pause     // that somebody has asked for, or nil; replaced, never changed
	pauseEnd *alarm     // nil as long as it had no pause
	backfill *backfill  // that is not over, or nil; replaced, never changed
	alert    *alert     // of a job that tells when it has not succeeded for too long; replaced, never changed
	absence  *alarm     // nil as long as nobody waits for its success
	pool     *slotPool  // of the slots that its runs share, or nil
	owned    *ownership // of a job that is kept in files, or nil; replaced, never changed

	allUnderWay *int // the open runs of all jobs that are under way; nil where nobody counts them
	changed     []*openRun
	weight      int // of what is changed
	weighed     *Job

	underWay, inQueue, awaiting int32 // of the open runs
	byHand, byHandBytes         int32 // of the waiting runs that were started by hand, and their arguments
	retries                     int32 // waiting further attempts of occurrences
	scheduledWaiting            int32 // waiting occurrences of the schedule
	recordSize                  int32 // of the document as it was last stored
	waitWeight                  int32 // of a T_ record, as long as weighed is the document

	gone     bool
	closing  bool // its waiting runs are being ended
	expected bool // a success of it is
	watched  bool // it was known before whether one is
	retrying bool // an attempt of an occurrence is ending and another one follows

	positioned bool // while loading: its schedule is where we left it

	isDirty                            bool
	jobDirty, stateDirty, historyDirty bool
	noticeDirty, misreadDirty          bool
	policyDirty, pauseDirty, endsDirty bool
	backfillDirty                      bool
	alertDirty, ownedDirty             bool
	namedDirty                         bool
}

// jobState is the part of a job's state that has no place in the JVM versions'
// document. It is stored as go/job/<name>.
type jobState struct {
	Seq           int64            `json:"seq"`                     // order of creation
	Posted        string           `json:"posted,omitempty"`        // schedule text as posted
	Zone          string           `json:"zone,omitempty"`          // scheduleTimeZone as posted
	Anchor        string           `json:"anchor,omitempty"`        // Posted with an empty start filled in
	Index         int64            `json:"index,omitempty"`         // periods that the position is past the start
	Written       string           `json:"written,omitempty"`       // schedule text of the job document that goes with Index
	LastScheduled int64            `json:"lastScheduled,omitempty"` // no instant up to here becomes pending again
	LastDue       int64            `json:"lastDue,omitempty"`       // newest due given to a manual or dependent run
	LastRetry     int64            `json:"lastRetry,omitempty"`     // newest due given to a retry
	Generation    int64            `json:"generation,omitempty"`    // times the job has finished, for its children
	Consumed      map[string]int64 `json:"consumed,omitempty"`      // parents' generations that this job's runs have used up
	Missed        int64            `json:"missed,omitempty"`        // occurrences missed
	Used          int64            `json:"used,omitempty"`          // up to here ids may have been given to a deleted job of this name, or before the clock was set back
	Deleted       int64            `json:"deleted,omitempty"`       // when the job was; only Used, LastRetry and the position of the schedule are left then

	kept rawMembers // what a later version of this program has added
}

// A misreadRecord is what a job's posted document said and its stored one does not. It is stored as go/warnings/<name>, a separate
// kind of record, since earlier versions rewrite go/job without what they do not know.
type misreadRecord struct {
	Seq     int64     `json:"seq"` // of the job: one created again has another
	Misread []Warning `json:"misread"`
}

// A namedRecord is which sizes the job's document named when it was posted; the stored one has defaults filled in. It is
// stored as go/named/<name>, for jobs that named any.
type namedRecord struct {
	Seq   int64      `json:"seq"`
	Named namedSizes `json:"named"`
}

// A policyRecord is what a job says in keys that only this program knows. It is stored as go/policy/<name>.
type policyRecord struct {
	Seq    int64           `json:"seq"` // of the job
	Policy json.RawMessage `json:"policy"`
	// Enabled is set of a job that is not disabled, and is in what JVM versions read.
	Enabled bool `json:"enabled,omitempty"`
}

// share has texts that are the same as the document's be those, so that a job that has just been loaded holds them once.
func (st *jobState) share(j *Job) {
	for _, text := range []*string{&st.Posted, &st.Anchor, &st.Written} {
		if *text == j.Schedule {
			*text = j.Schedule
		}
	}
	if st.Anchor == st.Posted {
		st.Anchor = st.Posted
	}
	if st.Zone == j.ScheduleTimeZone {
		st.Zone = j.ScheduleTimeZone
	}
}

// newestDue is the newest due in the ids of the job's tasks.
func (st *jobState) newestDue() int64 { return max(st.Used, st.LastScheduled, st.LastDue) }

// retired is what is kept of a deleted job's state: which ids it has used, and where its schedule was, for who brings it back.
func (st *jobState) retired() *jobState {
	return &jobState{
		Used: st.newestDue(), LastRetry: st.LastRetry, Deleted: st.Deleted,
		Posted: st.Posted, Zone: st.Zone, Anchor: st.Anchor, Index: st.Index, Written: st.Written,
	}
}

const (
	noticePrefix = "go/notice/"
	policyPrefix = "go/policy/"
	namedPrefix  = "go/named/"
)

// A jobNotice is the record of what is said about a job until it is posted again.
type jobNotice struct {
	Seq  int64  `json:"seq"` // of the job: one created again has another
	Text string `json:"text"`
}

func (e *entry) noticeRecord() []byte {
	if e.notice == "" {
		return nil
	}
	return mustJSON(jobNotice{e.state.Seq, e.notice})
}

// An openRun is a run that has not ended, with what only the loop needs to know.
type openRun struct {
	*Run    // replaced, never changed
	entry   *entry
	seq     int64  // order of arrival in the queue
	class   *class // where it waits for an offer, or nil
	delayed bool   // waits for its retry delay

	index     int // among the runs of its job
	blockedAt int // among those of them that are blocked, from 1; 0 if it isn't

	stored, waitingStored bool // go/run and T_ records exist
	isChanged             bool
	weight                int           // its part in the weight of its job
	wait                  alarm         // the retry delay, the end of epsilon, or of the time for an agent to come back
	kill                  alarm         // asks for the kill again
	staging               alarm         // checks whether the launched task has started
	answered              bool          // the cluster has reported it in this subscription
	owed                  *list.Element // among the launches that its agent, owedBy, has not answered
	owedBy                string
	asked                 bool          // the cluster was asked about it since its launch
	toAccept              bool          // it is placed, and the ACCEPT with its task is to come
	unconfirmed           bool          // the cluster may not have taken its launch
	agentAway             bool          // and the time for it to come back is running
	doubtful              bool          // another version led after its launch, and it has not been heard of since
	tryUntil              int64         // ms; it could not be started, and fails if it can't by then; 0 if it never failed to
	tryPause              time.Duration // before the next try
	late                  alarm         // raises eventLate
	slow                  alarm         // raises eventSlow
	limit                 alarm         // ends it when it has taken as long as it may
	counted               runState      // state under which it is summed up
}

// open puts a run that has not ended into the table.
func (s *scheduler) open(e *entry, r *Run) *openRun {
	o := &openRun{Run: r, entry: e}
	o.wait = alarm{run: o}
	o.kill = alarm{kind: timerKill, run: o}
	o.staging = alarm{kind: timerStaging, run: o}
	o.late = alarm{kind: timerLate, run: o}
	o.slow = alarm{kind: timerSlow, run: o}
	o.limit = alarm{kind: timerLimit, run: o}
	e.runs.add(o)
	e.count(r, 1)
	s.runs[r.ID] = o
	return o
}

// waitUntil sets the alarm for what the run waits for, which is one thing at a time.
func (s *scheduler) waitUntil(r *openRun, kind timerKind, at int64) {
	r.wait.kind = kind
	s.timers.move(&r.wait, at)
}

// unwatch removes a run's own timers, and no longer expects an answer to its launch.
func (s *scheduler) unwatch(r *openRun) {
	s.gotAnswer(r)
	for _, t := range []*alarm{&r.wait, &r.kill, &r.staging, &r.late, &r.limit, &r.slow} {
		s.timers.drop(t)
	}
}

// update replaces the run's record by one that change has altered.
func (r *openRun) update(change func(*Run)) {
	next := *r.Run
	change(&next)
	r.entry.count(r.Run, -1)
	r.entry.count(&next, 1)
	r.Run = &next
}

// count keeps the numbers of the job's open runs, so that nobody has to go through all of them.
func (e *entry) count(r *Run, by int32) {
	e.holds(r.State, int(by))
	switch {
	case r.State == runLaunching || r.State == runActive:
		e.underWay += by
		if e.allUnderWay != nil {
			*e.allUnderWay += int(by)
		}
	case r.State == runAwaiting:
		e.awaiting += by
	case r.State == runQueued && r.Kind == kindManual:
		e.byHand += by
		e.byHandBytes += by * int32(r.givenSize())
	case r.State == runQueued && r.Kind == kindScheduled:
		e.scheduledWaiting += by
	case r.State == runQueued && r.ofOccurrence() && r.Kind == kindRetry:
		e.retries += by
	}
}

// waiting returns the first open run that has not been launched and matches.
func (e *entry) waiting(match func(*openRun) bool) *openRun {
	for r := range e.runs.all() {
		if r.State == runQueued && match(r) {
			return r
		}
	}
	return nil
}

// epsilon is how late an occurrence may still become pending, in ms.
func (e *entry) epsilon() int64 { return e.job.latest() }

// scheduled reports whether the job's schedule is followed.
func (e *entry) scheduled() bool {
	return !e.gone && !e.job.Dependent && !e.job.Disabled && e.problem == ""
}

// jsonOf is what a record holds of something, nil, which deletes it, of nothing.
func jsonOf[T any](of *T) []byte {
	if of == nil {
		return nil
	}
	return mustJSON(of)
}

// jobRecord is the job's document as JVM versions read it.
func (e *entry) jobRecord() []byte {
	j := e.job
	if !j.Dependent && e.problem == "" && e.sched.isCron() {
		// A JVM version would stop at a cron expression; our record keeps the text.
		j = j.clone()
		j.Schedule = e.sched.String()
	}
	if j.hidesFromJVM() && !j.Disabled {
		j = j.clone()
		j.Disabled = true
	}
	return j.appendJSON(make([]byte, 0, usualDocument), dialectStored)
}

// runGrowth is what the record of a run may gain before it ends: a reason, an agent, a sandbox.
const runGrowth = 16 << 10

// maxWaitRecord is the size beyond which a document is not repeated for each run that waits: twice
// the largest would not go into one commit.
const maxWaitRecord = 100 << 10

// waitRecord is the job as a T_ node holds it. 2.x reads no more from it than what is kept of a large one.
func (e *entry) waitRecord() []byte {
	record := e.jobRecord()
	if len(record) <= maxWaitRecord {
		return record
	}
	brief := &entry{job: &Job{
		Name: e.job.Name, Epsilon: e.job.Epsilon, HighPriority: e.job.HighPriority, Retries: e.job.Retries,
		Schedule: e.job.Schedule, ScheduleTimeZone: e.job.ScheduleTimeZone, Dependent: e.job.Dependent, Parents: e.job.Parents,
	}, sched: e.sched, problem: e.problem}
	return brief.jobRecord()
}

// weigh estimates, preferably too high, how much the records of a changed run of the job take in a commit.
// There is always room for one run, so the document that waits with
// it, which takes long to measure, counts from the second on.
func (e *entry) weigh(r *openRun) int {
	const overhead = 200 // of a record beside its name and value
	weight := 2 * (len(r.ID)*len("%00") + overhead)
	if !r.ended() {
		weight += r.size()
	}
	if r.State != runQueued || r.waitingStored || len(e.changed) < 2 {
		return weight
	}
	if e.weighed != e.job {
		e.weighed, e.waitWeight = e.job, int32(len(e.waitRecord()))
	}
	return weight + int(e.waitWeight)
}

// records returns what has to be stored of the entry and its changed runs.
func (e *entry) records() []record {
	name := recordName(e.job.Name)
	var out []record
	put := func(key string, value []byte) { out = append(out, record{key, value}) }
	for _, r := range e.changed {
		out = append(out, r.records()...)
	}
	if e.gone {
		put("J_"+e.job.Name, nil)
		put("go/job/"+name, mustJSON(e.state.retired()))
		put("go/history/"+name, nil)
		put("go/warnings/"+name, nil)
		if e.job.Policy != nil {
			put(policyPrefix+name, nil)
		}
		if e.job.Named != (namedSizes{}) {
			put(namedPrefix+name, nil)
		}
		if e.pause != nil {
			put(pausePrefix+name, nil)
		}
		if e.backfillDirty {
			put(backfillPrefix+name, nil)
		}
		if e.alert != nil || e.alertDirty {
			put(alertPrefix+name, nil)
		}
		if e.owned != nil {
			put(ownerPrefix+name, nil)
		}
		if e.ends.record(0) != nil {
			put(endsPrefix+name, nil)
		}
		if e.notice != "" {
			put(noticePrefix+name, nil)
		}
		return out
	}
	if e.jobDirty {
		document := e.jobRecord()
		e.recordSize = int32(len(document))
		put("J_"+e.job.Name, document)
	}
	if e.stateDirty {
		put("go/job/"+name, e.state.encode())
	}
	if e.misreadDirty {
		var value []byte
		if len(e.job.Misread) > 0 {
			value = mustJSON(misreadRecord{e.state.Seq, e.job.Misread})
		}
		put("go/warnings/"+name, value)
	}
	if e.policyDirty {
		var value []byte
		if e.job.Policy != nil {
			value = mustJSON(policyRecord{e.state.Seq, e.job.Policy.encode(), e.job.hidesFromJVM() && !e.job.Disabled})
		}
		put(policyPrefix+name, value)
	}
	if e.backfillDirty {
		put(backfillPrefix+name, jsonOf(e.backfill))
	}
	if e.alertDirty {
		put(alertPrefix+name, jsonOf(e.alert))
	}
	if e.ownedDirty {
		put(ownerPrefix+name, jsonOf(e.owned))
	}
	if e.endsDirty {
		put(endsPrefix+name, e.ends.record(e.state.Seq))
	}
	if e.namedDirty {
		var value []byte
		if e.job.Named != (namedSizes{}) {
			value = mustJSON(namedRecord{e.state.Seq, e.job.Named})
		}
		put(namedPrefix+name, value)
	}
	if e.pauseDirty {
		put(pausePrefix+name, jsonOf(e.pause))
	}
	if e.historyDirty {
		put("go/history/"+name, encodeHistory(e.history))
	}
	if e.noticeDirty {
		put(noticePrefix+name, e.noticeRecord())
	}
	return out
}

func runKey(id string) string  { return "go/run/" + recordName(id) }
func waitKey(id string) string { return "T_" + recordName(id) }

// records returns what has to be stored of a run: its own record while it is
// open, and beside it, exactly while it waits, the T_ node that a 2.x version would resume.
func (r *openRun) records() []record {
	var out []record
	switch {
	case !r.ended():
		out = append(out, record{runKey(r.ID), encodeRun(r.Run)})
		r.stored = true
	case r.stored:
		out = append(out, record{runKey(r.ID), nil})
		r.stored = false
	}
	waits := r.State == runQueued
	switch {
	case waits && !r.waitingStored:
		out = append(out, record{waitKey(r.ID), r.entry.waitRecord()})
	case !waits && r.waitingStored:
		out = append(out, record{waitKey(r.ID), nil})
	}
	r.waitingStored = waits
	return out
}

// mustJSON encodes a value of our own that cannot fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// publish makes the job's picture for readers.
func (e *entry) publish(g *graph) *jobView {
	if e.lists == nil || e.lists.of != e.job {
		e.lists = &lists{of: e.job}
	}
	v := &jobView{
		job: e.job, seq: e.state.Seq, lists: e.lists, history: e.history, problem: cmp.Or(e.problem, e.job.constraintProblem(), e.poolProblem()), notice: e.notice,
		parents: g.parents[e.job.Name], children: g.children[e.job.Name], missed: e.state.Missed,
	}
	if e.runs.len() > 0 {
		v.runs = make([]*Run, 0, e.runs.len())
		for r := range e.runs.all() {
			v.runs = append(v.runs, r.Run)
		}
	}
	if e.scheduled() {
		v.sched, v.handled = e.sched, e.state.LastScheduled
		v.next, _ = e.sched.next()
		if v.bars = e.barring(); v.bars != nil {
			v.next = time.Time{}
			if next := v.bars.coming(e.sched, e.sched.position().Add(-time.Millisecond), 0, 1); len(next) > 0 {
				v.next = next[0]
			}
		}
	}
	v.absent, v.backfill = e.absent(), e.shownBackfill()
	v.posted, v.owned = e.state.Posted, e.owned
	if e.pause != nil {
		v.paused = e.pause.Until
	}
	return v
}

// maxHistory is about how many bytes of history are kept per job: it is stored as one
// record, and ZooKeeper accepts commits of up to one megabyte.
const maxHistory = 200_000

// addHistory puts an ended run in front of the history and cuts its tail, so that no more than so many runs and bytes are
// left, except that the run itself always stays, and what is still to be archived.
func (s *scheduler) addHistory(e *entry, r *Run) {
	s.number(e, r)
	e.history = append(append(make([]*Run, 0, len(e.history)+1), r), e.history...)
	e.historyDirty = true
	s.cutHistory(e)
}

// cutHistory cuts the tail of the history, which must not be published yet.
func (s *scheduler) cutHistory(e *entry) {
	n, size, over, kept := 0, 0, 0, true
	for i, r := range e.history {
		size += r.size()
		kept = i == 0 || kept && i < s.cfg.historyKeep && size <= s.cfg.historySize
		if !kept {
			if r = s.archivable(e, r); r == nil {
				continue
			}
			over += r.size()
		}
		e.history[n] = r
		n++
	}
	clear(e.history[n:])
	e.history = e.history[:n]
	if over > s.partSize()/2 {
		s.heavy = true
	}
}

// nextDue returns the next instant of the job's schedule, in ms.
func (e *entry) nextDue() (int64, bool) {
	if !e.scheduled() {
		return 0, false
	}
	t, ok := e.sched.next()
	return t.UnixMilli(), ok
}

func msTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// retiredJobs are the deleted jobs whose used ids are remembered. Each has
// a record for that.
type retiredJobs struct {
	states map[string]jobState
	order  []retiredJob // by time; one that is no longer in states, or was deleted again, is ignored
	steps  *int64       // counts the jobs visited
}

type retiredJob struct {
	name string
	at   int64
}

// retiredFor is how long deleted jobs are remembered.
const retiredFor = 24 * time.Hour

// add remembers a deleted job. They come in the order of their deletion.
func (r *retiredJobs) add(name string, st jobState) {
	if r.states == nil {
		r.states = map[string]jobState{}
	}
	r.states[name] = st
	r.order = append(r.order, retiredJob{name, st.Deleted})
}

// shift makes sure that they are kept for as long as intended after the clock was set.
func (r *retiredJobs) shift(by int64) {
	for name, st := range r.states {
		st.Deleted += by
		r.states[name] = st
	}
	for i := range r.order {
		r.order[i].at += by
	}
}

// take returns what is known of the deleted job of a name that is used again.
func (r *retiredJobs) take(name string) jobState {
	st := r.states[name]
	delete(r.states, name)
	return st
}

// forget returns the names of some jobs that were deleted long enough ago, and forgets them.
func (r *retiredJobs) forget(now int64) (names []string) {
	for len(r.order) > 0 && len(names) < forgetAtOnce && r.order[0].at < now-retiredFor.Milliseconds() {
		*r.steps++
		oldest := r.order[0]
		r.order = r.order[1:]
		if r.states[oldest.name].Deleted == oldest.at {
			delete(r.states, oldest.name)
			names = append(names, oldest.name)
		}
	}
	return names
}
