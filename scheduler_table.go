package main

import (
	"encoding/json"
	"slices"
	"time"
)

// An entry is what the scheduler's loop knows of one job.
type entry struct {
	job     *Job // replaced, never changed
	sched   Schedule
	problem string // why its schedule is not followed, or ""
	state   jobState
	runs    []*openRun // open, oldest first
	history []*Run     // ended, newest first; replaced, never changed
	slot    int
	timer   alarm // of the next occurrence
	listed  *Job  // whose JSON lists are
	lists   *lists
	gone    bool

	isDirty                            bool
	jobDirty, stateDirty, historyDirty bool
	changed                            []*openRun
	dropped                            []*openRun // of a deleted job: open runs to forget
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
	Used          int64            `json:"used,omitempty"`          // newest due in an id of a deleted job of this name
	Deleted       int64            `json:"deleted,omitempty"`       // when the job was; only Used is left then
}

// newestDue is the newest due that is part of an id of one of the job's tasks.
func (st *jobState) newestDue() int64 { return max(st.Used, st.LastScheduled, st.LastDue) }

// An openRun is a run that has not ended, with what only the loop needs to know.
type openRun struct {
	*Run    // replaced, never changed
	entry   *entry
	seq     int64  // order of arrival in the queue
	class   *class // where it waits for an offer, or nil
	delayed bool   // waits for its retry delay
	blocked bool   // waits for another run of its job

	stored, waitingStored bool // go/run and T_ records exist
	isChanged             bool
	kill                  alarm    // asks for the kill again
	staging               alarm    // looks whether the launched task has started
	answered              bool     // the cluster has told of it in this subscription
	asked                 bool     // the cluster was asked about it since its launch
	unconfirmed           bool     // the cluster may not have taken its launch
	agentAway             bool     // and the time for it to come back is running
	late                  alarm    // raises eventLate
	counted               runState // state under which it is summed up
}

// open puts a run that has not ended into the table.
func (s *scheduler) open(e *entry, r *Run) *openRun {
	o := &openRun{Run: r, entry: e}
	o.kill = alarm{kind: timerKill, run: o}
	o.staging = alarm{kind: timerStaging, run: o}
	o.late = alarm{kind: timerLate, run: o}
	e.runs = append(e.runs, o)
	s.runs[r.ID] = o
	return o
}

// unwatch takes a run's own timers away.
func (s *scheduler) unwatch(r *openRun) {
	for _, t := range []*alarm{&r.kill, &r.staging, &r.late} {
		s.timers.drop(t)
	}
}

// update replaces the run's record by one that change has altered.
func (r *openRun) update(change func(*Run)) {
	next := *r.Run
	change(&next)
	r.Run = &next
}

// busy reports whether a run of the job is under way, other than one whose
// launcher has ended and only its callback is missing.
func (e *entry) busy() bool {
	return slices.ContainsFunc(e.runs, func(r *openRun) bool { return r.State == runLaunching || r.State == runActive })
}

// waiting returns the first open run that has not been launched and matches.
func (e *entry) waiting(match func(*openRun) bool) *openRun {
	for _, r := range e.runs {
		if r.State == runQueued && match(r) {
			return r
		}
	}
	return nil
}

// epsilon is how late an occurrence may still become pending, in ms.
func (e *entry) epsilon() int64 { return e.job.Epsilon.approx().Milliseconds() }

// scheduled reports whether the job's schedule is followed.
func (e *entry) scheduled() bool {
	return !e.gone && !e.job.Dependent && !e.job.Disabled && e.problem == ""
}

// usualDocument is the space, in bytes, that most documents of jobs get along with.
const usualDocument = 1024

// jobRecord is the job's document as JVM versions read it.
func (e *entry) jobRecord() []byte {
	j := e.job
	if !j.Dependent && e.problem == "" && e.sched.isCron() {
		// A cron expression would stop a JVM version; our record keeps the text.
		j = j.clone()
		j.Schedule = e.sched.String()
	}
	return j.appendJSON(make([]byte, 0, usualDocument), dialectStored)
}

// maxWaitRecord is the size beyond which a document is not repeated for each run that waits: twice
// the largest would not go into one commit.
const maxWaitRecord = 100 << 10

// waitRecord is the job as a T_ node holds it. 2.x takes no more from it than what is kept of a large one.
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

// records returns what has to be stored of the entry and its changed runs.
func (e *entry) records() []record {
	name := recordName(e.job.Name)
	var out []record
	put := func(key string, value []byte) { out = append(out, record{key, value}) }
	for _, r := range e.changed {
		out = append(out, r.records()...)
	}
	if e.gone {
		for _, r := range e.dropped {
			put(runKey(r.ID), nil)
			put(waitKey(r.ID), nil)
		}
		put("J_"+e.job.Name, nil)
		put("go/job/"+name, mustJSON(&jobState{Used: e.state.newestDue(), Deleted: e.state.Deleted}))
		put("go/history/"+name, nil)
		return out
	}
	if e.jobDirty {
		put("J_"+e.job.Name, e.jobRecord())
	}
	if e.stateDirty {
		put("go/job/"+name, mustJSON(&e.state))
	}
	if e.historyDirty {
		put("go/history/"+name, mustJSON(e.history))
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
		out = append(out, record{runKey(r.ID), mustJSON(r.Run)})
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
	if e.listed != e.job {
		e.listed, e.lists = e.job, new(lists)
	}
	v := &jobView{
		job: e.job, lists: e.lists, slot: e.slot, history: e.history, problem: e.problem,
		parents: g.parents[e.job.Name], children: g.children[e.job.Name], missed: e.state.Missed,
	}
	if len(e.runs) > 0 {
		v.runs = make([]*Run, len(e.runs))
		for i, r := range e.runs {
			v.runs[i] = r.Run
		}
	}
	if e.scheduled() {
		v.next, _ = e.sched.next()
	}
	return v
}

// maxHistory is about how many bytes of history are kept of a job: it is stored as one
// record, and ZooKeeper takes a commit of one megabyte.
const maxHistory = 200_000

// size is about what the run takes in a record.
func (r *Run) size() int {
	return 400 + len(r.ID) + len(r.Job) + len(r.Args) + len(r.Reason) + len(r.Sandbox) + len(r.Killing)
}

// addHistory puts an ended run in front of the history and cuts its tail, so that no more
// than keep runs and about most bytes are left.
func (e *entry) addHistory(r *Run, keep, most int) {
	n, size := 0, r.size()
	for n < min(len(e.history), max(keep-1, 0)) && size < most {
		size += e.history[n].size()
		n++
	}
	e.history = append(append(make([]*Run, 0, n+1), r), e.history[:n]...)
	e.historyDirty = true
}

// nextDue returns the instant at which the job's schedule stands, in ms.
func (e *entry) nextDue() (int64, bool) {
	if !e.scheduled() {
		return 0, false
	}
	t, ok := e.sched.next()
	return t.UnixMilli(), ok
}

func msTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
