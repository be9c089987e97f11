package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The activity is who has changed what. What a request has done is stored with the answer to it, so that there is one if and
// only if there is the other, and is forgotten when it is old or there is too much of it.

// activityPrefix begins the keys of its records: go/activity/<number of the first act in it>.
const activityPrefix = "go/activity/"

const (
	// activityAge is how long an act is remembered at most.
	activityAge = 90 * 24 * time.Hour
	// maxActivity bounds the records of each of the two kinds of acts, in bytes.
	maxActivity = 4 << 20
	// maxActTexts bounds what one act keeps of documents, in bytes.
	maxActTexts = 16 << 10
	// maxActChildren bounds the children that the act of a deletion names.
	maxActChildren = 200
	// dropActsAtOnce bounds the records that one change removes.
	dropActsAtOnce = 20
)

// An asker is the one who asks for a change, as the part knows him that has let the request in.
type asker struct {
	User      string `json:"user,omitempty"`
	How       string `json:"provenBy,omitempty"` // "" where nobody has to prove who he is
	Remote    string `json:"remote,omitempty"`
	Forwarded string `json:"forwardedFor,omitempty"` // what the request claims
}

// askerKey is where the asker of a change is found in the context of its request.
type askerKey struct{}

// cutAll stands for all keys among those that were cut.
const cutAll = "*"

// Actions.
const (
	actCreated       = "created"
	actChanged       = "changed"
	actEnabled       = "enabled"
	actDisabled      = "disabled"
	actDeleted       = "deleted"
	actOwned         = "owned" // by a set of jobs from now on
	actPaused        = "paused"
	actResumed       = "resumed"
	actBackfilled    = "backfilled"
	actBackfillEnded = "backfill stopped"
	actPool          = "pool set"
	actPoolDeleted   = "pool deleted"
	actRestored      = "restored"
	actRun           = "run"
	actKilled        = "killed"
	actPurged        = "purged"
	actMarked        = "marked as successful"
)

// An act is one thing that a request has done, to a job in most cases.
type act struct {
	Action   string              `json:"action"`
	Job      string              `json:"job,omitempty"`
	Owners   []string            `json:"owners,omitempty"` // of the job, before and after
	About    string              `json:"about,omitempty"`  // which run, which set, which pool, until when, how many
	Before   json.RawMessage     `json:"before,omitempty"` // of a job that is gone the document, else the keys that have changed
	After    json.RawMessage     `json:"after,omitempty"`  // of a new job the document, else the keys that have changed
	Cut      []string            `json:"cut,omitempty"`    // keys whose values were too large to be kept
	Children map[string][]string `json:"children,omitempty"`
}

// ofRuns reports whether the act is about runs. Programs do that often, and shall not supplant what people change.
func (a *act) ofRuns() bool {
	return a.Action == actRun || a.Action == actKilled || a.Action == actMarked || a.Action == actPurged
}

// An actRecord is what one request has done.
type actRecord struct {
	At int64 `json:"at"` // ms since the epoch
	asker
	Request string `json:"request,omitempty"`
	Acts    []act  `json:"acts"`
}

// A shownAct is an act as readers see it. It never changes.
type shownAct struct {
	number int64
	record *actRecord
	act    *act
}

// shown are the acts of a record, the first of which has a number.
func (r *actRecord) shown(first int64) []shownAct {
	list := make([]shownAct, len(r.Acts))
	for i := range r.Acts {
		list[i] = shownAct{first + int64(i), r, &r.Acts[i]}
	}
	return list
}

// The two kinds of acts, each of which is bounded by itself.
const (
	actsOfJobs = iota
	actsOfRuns
	actKinds
)

func (r *actRecord) kind() int {
	if r.Acts[0].ofRuns() {
		return actsOfRuns
	}
	return actsOfJobs
}

// An activityLog knows which records there are. It belongs to the loop.
type activityLog struct {
	kept [actKinds]keptActs
	last int64 // number of the newest act
}

type keptActs struct {
	records     []keptRecord // oldest first
	acts, bytes int
}

type keptRecord struct {
	first, at   int64
	acts, bytes int
}

func (k *keptActs) add(r keptRecord) {
	k.records = append(k.records, r)
	k.acts += r.acts
	k.bytes += r.bytes
}

// drop takes out the oldest records, no more than most, as long as there is too much, or they are from before an instant. It
// returns their keys, and how many acts they held.
func (k *keptActs) drop(keep int, before int64, most int) (keys []string, acts int) {
	for len(keys) < most && len(k.records) > 0 && (k.acts > keep || k.bytes > maxActivity || k.records[0].at < before) {
		oldest := k.records[0]
		k.records = k.records[1:]
		k.acts -= oldest.acts
		k.bytes -= oldest.bytes
		keys, acts = append(keys, actKey(oldest.first)), acts+oldest.acts
	}
	return keys, acts
}

// shift makes sure that acts are kept for as long as intended after the clock was set.
func (l *activityLog) shift(by int64) {
	for i := range l.kept {
		for k := range l.kept[i].records {
			l.kept[i].records[k].at += by
		}
	}
}

func actKey(first int64) string { return activityPrefix + strconv.FormatInt(first, 10) }

// did notes what the request that is being handled has done.
func (s *scheduler) did(a act) { s.acts = append(s.acts, a) }

// didTo notes what was done to a job that has stayed as it is.
func (s *scheduler) didTo(e *entry, action, about string) {
	s.did(act{Action: action, Job: e.job.Name, Owners: ownersOf(nil, e.job), About: about})
}

// logActs has what a request has done stored with its answer, and forgets what there is no room for.
func (s *scheduler) logActs(ctx context.Context) {
	acts := s.acts
	s.acts = nil
	if len(acts) == 0 || s.cfg.activityKeep == 0 {
		return
	}
	who, _ := ctx.Value(askerKey{}).(asker)
	r := &actRecord{At: s.now, asker: who, Request: requestNamed(ctx).id(), Acts: acts}
	first := max(s.activity.last+1, s.now)
	value := encode(r) // a commit has room for documents as they are, not for what HTML would need
	s.extra = append(s.extra, record{actKey(first), value})
	s.newActs = append(s.newActs, r.shown(first)...)
	s.activity.last = first + int64(len(acts)) - 1
	s.activity.kept[r.kind()].add(keptRecord{first, s.now, len(acts), len(value)})
	for i := range s.activity.kept {
		keys, dropped := s.activity.kept[i].drop(s.cfg.activityKeep, s.now-activityAge.Milliseconds(), dropActsAtOnce)
		for _, key := range keys {
			s.extra = append(s.extra, record{key, nil})
		}
		s.oldActs[i] += dropped
	}
}

// loadActivity reads what was done, and drops what is more than is to be kept. Age does not count here: who knows whether the clock is right.
func (s *scheduler) loadActivity(records map[string][]byte, keys map[string][]string) []shownAct {
	found := map[int64]*actRecord{}
	for _, key := range keys["activity"] {
		r := &actRecord{}
		first, err := strconv.ParseInt(strings.TrimPrefix(key, activityPrefix), 10, 64)
		if err == nil {
			err = json.Unmarshal(records[key], r)
		}
		if err == nil && len(r.Acts) == 0 {
			err = fmt.Errorf("it holds no act")
		}
		if err != nil {
			s.setAsideRecord(key, err.Error())
			continue
		}
		found[first] = r
	}
	numbers := slices.Sorted(maps.Keys(found))
	for _, first := range numbers {
		r := found[first]
		s.activity.kept[r.kind()].add(keptRecord{first, r.At, len(r.Acts), len(records[actKey(first)])})
		s.activity.last = max(s.activity.last, first+int64(len(r.Acts))-1)
	}
	gone := map[string]bool{}
	for i := range s.activity.kept {
		keys, _ := s.activity.kept[i].drop(s.cfg.activityKeep, 0, len(numbers))
		for _, key := range keys {
			gone[key] = true
			s.extra = append(s.extra, record{key, nil})
		}
	}
	var acts []shownAct
	for _, first := range numbers {
		if !gone[actKey(first)] {
			acts = append(acts, found[first].shown(first)...)
		}
	}
	return acts
}

// ownersOf lists who owned a job before and after, nil for a document that there was not, without saying the same twice.
func ownersOf(before, after *Job) (owners []string) {
	for _, j := range []*Job{before, after} {
		if j != nil && !slices.Contains(owners, j.Owner) {
			owners = append(owners, j.Owner)
		}
	}
	return owners
}

// A wasJob is a job before it was changed.
type wasJob struct {
	job    *Job // nil if there was none
	anchor string
}

// was remembers what a job is like before it is changed, nil for none.
func (s *scheduler) was(e *entry) wasJob {
	if e == nil || s.cfg.activityKeep == 0 {
		return wasJob{}
	}
	return wasJob{e.asPosted(), e.state.Anchor}
}

// asPosted is the job's document with the schedule that was posted.
func (e *entry) asPosted() *Job {
	if e.job.Dependent || e.state.Posted == "" || e.state.Posted == e.job.Schedule {
		return e.job
	}
	j := e.job.clone()
	j.Schedule = e.state.Posted
	return j
}

// didPut notes that a job was created or changed, or nothing if a document like the last one was posted.
func (s *scheduler) didPut(before wasJob, e *entry) {
	if s.cfg.activityKeep == 0 {
		return
	}
	if before.job == nil {
		s.did(s.createdAct(e.asPosted()))
		return
	}
	changes := before.job.differences(e.asPosted())
	if len(changes) > 0 || before.anchor != e.state.Anchor {
		s.did(changedAct(before.job, e.job, changes))
	}
}

func (s *scheduler) createdAct(j *Job) act {
	a := act{Action: actCreated, Job: j.Name, Owners: ownersOf(nil, j)}
	a.After, a.Cut = fitting(j.appendPosted(nil, "", s.cfg.defaults.KeepNamed))
	return a
}

func (s *scheduler) deletedAct(e *entry) act {
	a := act{Action: actDeleted, Job: e.job.Name, Owners: ownersOf(nil, e.job)}
	a.Before, a.Cut = fitting(e.job.appendPosted(nil, e.state.Posted, s.cfg.defaults.KeepNamed))
	return a
}

// changedAct says in which keys a job has become different.
func changedAct(before, after *Job, changes []keyChange) act {
	a := act{Action: actChanged, Job: after.Name, Owners: ownersOf(before, after)}
	if len(changes) == 1 && changes[0].Key == "disabled" {
		a.Action = actEnabled
		if after.Disabled {
			a.Action = actDisabled
		}
	}
	var was, is members
	room := maxActTexts
	for _, c := range changes {
		if len(c.Old)+len(c.New) > room {
			a.Cut = append(a.Cut, c.Key)
			continue
		}
		room -= len(c.Old) + len(c.New)
		was.add(c.Key, c.Old)
		is.add(c.Key, c.New)
	}
	a.Before, a.After = was.object(), is.object()
	return a
}

// fitting is a document, without those keys for which there is no room, which it returns too.
func fitting(document []byte) (json.RawMessage, []string) {
	if len(document) <= maxActTexts {
		return document, nil
	}
	var rest members
	var cut []string
	room := maxActTexts
	for _, m := range value(document).object() {
		if len(m.value) > room {
			cut = append(cut, m.key)
			continue
		}
		room -= len(m.value)
		rest.add(m.key, json.RawMessage(m.value))
	}
	return rest.object(), cut
}

// members are those of an object that is being written.
type members []byte

// add adds a key, unless it has no value.
func (m *members) add(key string, value json.RawMessage) {
	if len(value) == 0 {
		return
	}
	*m = append(append(append(append(*m, ','), mustJSON(key)...), ':'), value...)
}

func (m members) object() json.RawMessage {
	if len(m) == 0 {
		return nil
	}
	return append(append([]byte{'{'}, m[1:]...), '}')
}

// namedChildren are what the children of a job that is being deleted run after, nil if that is too much to remember.
func (s *scheduler) namedChildren(e *entry) map[string][]string {
	children := s.graph.children[e.job.Name]
	if len(children) == 0 || len(children) > maxActChildren || s.cfg.activityKeep == 0 {
		return nil
	}
	named, room := map[string][]string{}, maxActTexts
	for _, name := range children {
		for _, p := range s.graph.parents[name] {
			room -= quotedLen(p)
		}
		if room -= quotedLen(name); room < 0 {
			return nil
		}
		named[name] = slices.Clone(s.graph.parents[name])
	}
	return named
}

// actsOf lists what a plan does. How many bytes of documents they may hold is up to whoever stores them; see leaveOut.
func (s *scheduler) actsOf(p *setPlan) (acts []act) {
	if s.cfg.activityKeep == 0 {
		return nil
	}
	for _, d := range p.puts {
		switch {
		case d.entry == nil:
			acts = append(acts, s.createdAct(d.job))
		case len(d.changes) > 0:
			acts = append(acts, changedAct(d.entry.job, d.job, d.changes))
		case d.entry.ownedBy() != d.owned.Set || d.entry.owned.Disabled != d.owned.Disabled:
			acts = append(acts, act{Action: actOwned, Job: d.job.Name, Owners: ownersOf(nil, d.job)})
		}
	}
	for _, e := range p.drops {
		acts = append(acts, s.deletedAct(e))
	}
	for i := range acts {
		acts[i].About = "set " + p.Set
	}
	return acts
}

// bareActs is how many bytes acts take without any document, at most.
func bareActs(acts []act) (n int) {
	const overhead = 120 // keys, action, punctuation
	for i := range acts {
		n += overhead + quotedLen(acts[i].Job) + quotedLen(acts[i].About)
		for _, owner := range acts[i].Owners {
			n += quotedLen(owner)
		}
	}
	return n
}

// leaveOut removes documents from acts for which a commit has no room.
func leaveOut(acts []act, room int) {
	for i := range acts {
		a := &acts[i]
		if room -= len(a.Before) + len(a.After); room >= 0 {
			continue
		}
		room += len(a.Before) + len(a.After)
		a.Before, a.After, a.Cut = nil, nil, []string{cutAll}
	}
}

// newestActs yields the acts of a view, the newest first, from before a number, 0 for all.
func (v *view) newestActs(before int64) func(yield func(shownAct) bool) {
	return func(yield func(shownAct) bool) {
		var left [actKinds][]shownAct
		for i, acts := range v.acts {
			n := len(acts)
			if before != 0 {
				n, _ = slices.BinarySearchFunc(acts, before, func(a shownAct, at int64) int { return cmp.Compare(a.number, at) })
			}
			left[i] = acts[:n]
		}
		for {
			newest := -1
			for i := range left {
				if n := len(left[i]); n > 0 && (newest < 0 || left[i][n-1].number > left[newest][len(left[newest])-1].number) {
					newest = i
				}
			}
			if newest < 0 {
				return
			}
			last := len(left[newest]) - 1
			if !yield(left[newest][last]) {
				return
			}
			left[newest] = left[newest][:last]
		}
	}
}

// withActs adds what was done to what is shown, and takes away what is forgotten. Views share what they have in common: only
// the newest one is ever added to, beyond what the others show.
func (v *view) withActs(c *viewChange) {
	for _, a := range c.acts {
		kind := a.record.kind()
		v.acts[kind] = append(v.acts[kind], a)
	}
	for i, n := range c.forgotten {
		v.acts[i] = v.acts[i][n:]
	}
}

// bringBack is putJob for a job that was deleted: if the document has the schedule that the job had, it goes on from where it was, as
// long as that is remembered.
func (s *scheduler) bringBack(ctx context.Context, name string, build func(old *Job) (*Job, error)) error {
	return s.putAs(ctx, name, func(e *entry, j *Job) error {
		left, known := s.retired.states[name]
		if !known || e != nil || j.Dependent || left.Posted == "" || left.Zone != j.ScheduleTimeZone || j.Schedule != left.Posted && j.Schedule != left.Written {
			return s.put(e, j)
		}
		if posted, err := parseSchedule(left.Posted, left.Zone, s.serverTime()); err == nil && posted.emptyStart() { // and now is another one
			j = j.clone()
			j.Schedule = left.Written
		}
		return s.putFrom(e, j, &left)
	}, build)
}

// takeUp puts the schedule of a new job where that of a deleted one was, nil for none.
func (s *scheduler) takeUp(e *entry, left *jobState) {
	if left == nil {
		return
	}
	schedule, err := parseSchedule(left.Anchor, left.Zone, s.serverTime())
	if err != nil {
		return // the schedule that was posted is followed
	}
	e.state.Posted, e.state.Zone = left.Posted, left.Zone
	s.setSchedule(e, schedule.at(left.Index))
	e.problem = problemOf(schedule)
}
