package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// Jobs that are kept in files belong to a set. A request brings all jobs of the set as they are to be, and is done
// completely or not at all: everything is checked first, and what changes goes into one commit.

const ownerPrefix = "go/owner/"

// An ownership says that a job is kept in files. It is stored as go/owner/<job>.
type ownership struct {
	Seq      int64  `json:"seq"` // of the job: one made anew belongs to nobody
	Set      string `json:"set"`
	Disabled bool   `json:"disabled,omitempty"` // the file says that the job is disabled
}

// maxSet bounds the jobs of one request: the scheduler does nothing else meanwhile.
const maxSet = 2000

var (
	errOtherSet    = errors.New("it belongs to another set")
	errSetTooLarge = errors.New("more than one commit takes")
	errStillParent = errors.New("another job runs after it")
)

// A jobSet is a request to have jobs be as their documents say.
type jobSet struct {
	name  string
	take  bool // jobs of other sets too
	prune bool // delete the jobs of the set that are not among these
	jobs  []setJob
	// warnings says what is strange about a job; nil for what its document alone shows.
	warnings func(*Job) []Warning
}

// A setJob is one document of a set.
type setJob struct {
	name     string
	build    func(old *Job) (*Job, error) // as for putJob
	disabled *bool                        // nil where the document does not say it
}

// A jobChange is what becomes of one job.
type jobChange struct {
	Job      string      `json:"job"`
	Action   string      `json:"action"` // create, change, delete, or own: it is as it shall be, and belongs to the set from now on
	Keys     []keyChange `json:"keys,omitempty"`
	Warnings []string    `json:"warnings,omitempty"`
}

// A setPlan is what a set changes, in the order in which that is done.
type setPlan struct {
	Set       string      `json:"set"`
	Changes   []jobChange `json:"changes"`
	Unchanged int         `json:"unchanged"`

	jobs   map[string]*plannedJob // of the documents
	doomed map[string]*entry      // that are deleted
	puts   []*plannedJob          // all of jobs, parents first
	drops  []*entry               // all of doomed, children first
}

// differs reports whether a job is not as it shall be.
func (p *setPlan) differs() bool {
	return slices.ContainsFunc(p.Changes, func(c jobChange) bool { return c.Action != "own" })
}

type plannedJob struct {
	entry   *entry // nil if the job is to be created
	job     *Job
	owned   *ownership
	changes []keyChange // of an existing job
}

// planSet returns what applySet would do.
func (s *scheduler) planSet(ctx context.Context, set jobSet) (string, error) {
	unnamed := context.WithValue(ctx, requestNameKey{}, (*requestName)(nil)) // nothing is to be remembered of it
	return s.ask(unnamed, func() (string, error) {
		s.turnLog.note("plan jobs", "")
		p, err := s.newSetPlan(permitOf(ctx), set)
		if err != nil {
			return "", err
		}
		return string(mustJSON(p)), nil
	})
}

// applySet has the jobs of a set be as their documents say, and returns what it has done, without the values of keys.
func (s *scheduler) applySet(ctx context.Context, set jobSet) (string, error) {
	return s.ask(ctx, func() (string, error) {
		s.turnLog.note("apply jobs", "")
		p, err := s.newSetPlan(permitOf(ctx), set)
		if err != nil {
			return "", err
		}
		acts := s.actsOf(p)
		for i := range p.Changes {
			for k := range p.Changes[i].Keys {
				p.Changes[i].Keys[k] = keyChange{Key: p.Changes[i].Keys[k].Key}
			}
		}
		answer := string(mustJSON(p)) // it is stored with the change
		room, err := s.checkSetSize(p, len(answer), bareActs(acts))
		if err != nil {
			return "", err
		}
		leaveOut(acts, room)
		s.seal() // from here on it is a change of its own
		s.whole = true
		s.perform(p)
		s.acts = acts
		s.after(func() { p.log(s.log) })
		return answer, nil
	})
}

// newSetPlan checks everything, and changes nothing.
func (s *scheduler) newSetPlan(permit permit, set jobSet) (*setPlan, error) {
	p := &setPlan{Set: set.name, jobs: map[string]*plannedJob{}, doomed: map[string]*entry{}}
	for _, d := range set.jobs {
		planned, err := s.planJob(&set, d)
		if err != nil {
			return nil, aboutJob(d.name, err)
		}
		p.jobs[d.name] = planned
	}
	if set.prune {
		for name, e := range s.jobs {
			if p.jobs[name] == nil && e.owned != nil && e.owned.Set == set.name {
				p.doomed[name] = e
			}
		}
	}
	for _, d := range set.jobs {
		if err := s.mayDepend(permit, p.jobs[d.name].before(), p.jobs[d.name].job, p.find(s)); err != nil {
			return nil, err
		}
	}
	if err := p.order(s, set.jobs); err != nil {
		return nil, err
	}
	if err := p.orderDrops(s, permit); err != nil {
		return nil, err
	}
	if set.warnings == nil {
		set.warnings = (*Job).warnings
	}
	p.describe(set.warnings)
	return p, nil
}

// aboutJob names the job that an error is about.
func aboutJob(name string, err error) error {
	if je, ok := errors.AsType[*jobError](err); ok {
		return &jobError{je.field, fmt.Sprintf("job %q: %s", name, je.text)}
	}
	return err
}

// planJob makes the document that a job shall have. Its counters, and the position of a schedule that is the one
// posted before, are not for files to say.
func (s *scheduler) planJob(set *jobSet, d setJob) (*plannedJob, error) {
	e := s.jobs[d.name]
	var old *Job
	var owned *ownership
	if e != nil {
		old, owned = e.job, e.owned
	}
	if owned != nil && owned.Set != set.name && !set.take {
		return nil, fmt.Errorf("job %q: %w, %q; take it over if you mean to", d.name, errOtherSet, owned.Set)
	}
	j, err := d.build(old)
	if err != nil {
		return nil, err
	}
	j.keepCounters(old)
	switch {
	case d.disabled != nil:
		j.Disabled = *d.disabled
	case old != nil: // unless the file has disabled it, and says so no longer
		j.Disabled = old.Disabled && !(owned != nil && owned.Disabled)
	}
	planned := &plannedJob{entry: e, job: j, owned: &ownership{Set: set.name, Disabled: d.disabled != nil && *d.disabled}}
	if old != nil {
		planned.compare(old)
	}
	if err := s.checkDocument(j); err != nil {
		return nil, err
	}
	return planned, nil
}

// compare finds what is different from the document as it stands.
func (d *plannedJob) compare(old *Job) {
	st, shown := &d.entry.state, old
	if !old.Dependent && !d.job.Dependent {
		if d.job.ScheduleTimeZone == st.Zone && (d.job.Schedule == st.Posted || d.job.Schedule == st.Written) {
			d.job.Schedule = old.Schedule
		} else if st.Posted != "" && d.job.Schedule != old.Schedule {
			shown = old.clone()
			shown.Schedule = st.Posted
		}
	}
	d.changes = shown.differences(d.job)
}

// before is the job as it stands, nil for none.
func (d *plannedJob) before() *Job {
	if d.entry == nil {
		return nil
	}
	return d.entry.job
}

// find returns what finds a job as it will be.
func (p *setPlan) find(s *scheduler) func(string) *Job {
	return func(name string) *Job {
		if d := p.jobs[name]; d != nil {
			return d.job
		}
		return s.jobNamed(name)
	}
}

// order puts parents before their children, and refuses a cycle. Jobs outside the set take part with the parents that they have.
func (p *setPlan) order(s *scheduler, jobs []setJob) error {
	const underWay, done = 1, 2
	state := map[string]int{}
	exists := func(name string) bool { return p.jobs[name] != nil || s.jobs[name] != nil && p.doomed[name] == nil }
	var visit func(name string) error
	visit = func(name string) error {
		s.steps++
		d := p.jobs[name]
		parents := s.graph.parents[name]
		if d != nil {
			parents = d.job.Parents
			if d.job.Dependent {
				if err := s.graph.checkParents(name, parents, exists); err != nil {
					return err
				}
			}
		}
		state[name] = underWay
		for _, parent := range parents {
			if state[parent] == underWay {
				return fmt.Errorf("job %q, parent %q: %w", name, parent, errCycle)
			}
			if state[parent] == done {
				continue
			}
			if err := visit(parent); err != nil {
				return err
			}
		}
		state[name] = done
		if d != nil {
			p.puts = append(p.puts, d)
		}
		return nil
	}
	for _, d := range jobs {
		if state[d.name] == 0 {
			if err := visit(d.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// orderDrops puts children before their parents, so that nobody inherits anything.
func (p *setPlan) orderDrops(s *scheduler, permit permit) error {
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		for _, child := range s.graph.children[name] {
			switch {
			case p.doomed[child] != nil:
				if err := visit(child); err != nil {
					return err
				}
			case p.jobs[child] == nil: // else it has other parents from now on, and that was checked
				return fmt.Errorf("job %q can't be deleted: %w, %q, that is not among these; take the parent out of it first", name, errStillParent, child)
			}
		}
		p.drops = append(p.drops, p.doomed[name])
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(p.doomed)) {
		if err := permit.job(name, p.doomed[name].job); err != nil {
			return err
		}
		if err := visit(name); err != nil {
			return err
		}
	}
	return nil
}

// describe lists the changes.
func (p *setPlan) describe(warnings func(*Job) []Warning) {
	p.Changes = []jobChange{}
	for _, d := range p.puts {
		change := jobChange{Job: d.job.Name, Keys: d.changes}
		switch owned := d.owned; {
		case d.entry == nil:
			change.Action = "create"
		case len(d.changes) > 0:
			change.Action = "change"
		case d.entry.owned == nil || d.entry.owned.Set != owned.Set || d.entry.owned.Disabled != owned.Disabled:
			change.Action = "own"
		default:
			p.Unchanged++
			continue
		}
		if change.Action != "own" {
			for _, w := range warnings(d.job) {
				change.Warnings = append(change.Warnings, w.String())
			}
		}
		p.Changes = append(p.Changes, change)
	}
	for _, e := range p.drops {
		p.Changes = append(p.Changes, jobChange{Job: e.job.Name, Action: "delete"})
	}
}

// checkSetSize refuses what might not fit one commit: everything that is written, in its largest form. It returns how many bytes
// are left for what is good to have.
func (s *scheduler) checkSetSize(p *setPlan, answer, acts int) (room int, err error) {
	if s.cfg.largestStep == 0 {
		return maxActivity / 4, nil
	}
	const overhead = 200 // of a record beside its name and value
	total := 2*answer + acts + (forgetAtOnce+actKinds*dropActsAtOnce)*overhead
	for _, d := range p.puts {
		if d.entry == nil || len(d.changes) > 0 {
			total += s.putSize(d)
		} else {
			total += overhead + 3*len(d.job.Name)
		}
	}
	for _, e := range p.drops {
		total += 10*(overhead+3*len(e.job.Name)) + e.openSize()
	}
	if total <= s.cfg.largestStep {
		return min(s.cfg.largestStep-total, maxActivity/4), nil
	}
	return 0, fmt.Errorf("the changes may take %d bytes, and that is %w of ZooKeeper, which is %d: apply fewer jobs at once; nothing has been changed",
		total, errSetTooLarge, s.cfg.largestStep)
}

// putSize is how much the records of a job take at most, once it has another document.
func (s *scheduler) putSize(d *plannedJob) int {
	const state = 1200 // of go/job and go/owner beside the texts of the job
	j := d.job
	document := s.store.size(record{"J_" + j.Name, j.appendJSON(nil, dialectStored)})
	total := document + state + 5*quotedLen(j.Schedule) + 8*quotedLen(j.Name) + j.Policy.size() + len(mustJSON(j.Misread))
	for _, p := range j.Parents {
		total += 2*quotedLen(p) + 50
	}
	if schedule, err := j.parseSchedule(s.serverTime()); !j.Dependent && err == nil && schedule.position().UnixMilli() <= s.now {
		total += document + 2*quotedLen(jobArguments(j)) + 3000 // it is due at once: a run, or what has been missed
		if d.entry != nil {
			total += historyLen(d.entry.history)
		}
	}
	if d.entry != nil {
		total += d.entry.openSize() + historyLen(d.entry.history)
	}
	return total
}

// openSize is how much the open runs of a job take at most when they change.
func (e *entry) openSize() (total int) {
	for r := range e.runs.all() {
		total += e.weigh(r) + r.size() + 500
	}
	return total
}

func historyLen(runs []*Run) (total int) {
	for _, r := range runs {
		total += r.size()
	}
	return total
}

// checkDocument is nil if a job may have this document, whatever its parents.
func (s *scheduler) checkDocument(j *Job) error {
	if most := s.cfg.largestJob; most > 0 {
		if n := len(j.appendJSON(nil, dialectStored)); n > most {
			return &jobError{"", fmt.Sprintf("job %q takes %d bytes, and ZooKeeper holds at most %d of a job", j.Name, n, most)}
		}
	}
	return cmp.Or(s.checkSize(j, &Run{}), s.checkPool(j))
}

// perform does what a plan says.
func (s *scheduler) perform(p *setPlan) {
	for _, d := range p.puts {
		if d.entry == nil || len(d.changes) > 0 {
			if err := s.put(d.entry, d.job); err != nil {
				panic(fmt.Sprintf("a plan that was checked fails: %v", err)) // the term ends, and nothing has been stored
			}
		}
		s.own(s.jobs[d.job.Name], d.owned)
	}
	for _, e := range p.drops {
		s.remove(e)
	}
}

// log says which jobs have changed, which the audit line of the request can't: it knows no job that was deleted.
func (p *setPlan) log(log *slog.Logger) {
	names := map[string][]string{}
	for _, c := range p.Changes {
		names[c.Action] = append(names[c.Action], c.Job)
	}
	attrs := []any{"set", p.Set, "unchanged", p.Unchanged}
	for _, action := range slices.Sorted(maps.Keys(names)) {
		attrs = append(attrs, action, cutText(strings.Join(names[action], ", "), 500, "…"))
	}
	log.Info("jobs in files were applied", attrs...)
}

// own records to which set a job belongs.
func (s *scheduler) own(e *entry, owned *ownership) {
	owned.Seq = e.state.Seq
	if e.owned != nil && *e.owned == *owned {
		return
	}
	e.owned, e.ownedDirty = owned, true
	s.touch(e)
}

// jobNamed returns the job of that name, nil if there is none.
func (s *scheduler) jobNamed(name string) *Job {
	if e := s.jobs[name]; e != nil {
		return e.job
	}
	return nil
}

// ownedBy returns the set to which a job belongs, "" for none.
func (e *entry) ownedBy() string { return e.owned.set() }

// set is the name of the set of jobs, "" of a job that belongs to none.
func (o *ownership) set() string {
	if o == nil {
		return ""
	}
	return o.Set
}
