package main

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// The bounds of an answer about the run of a DAG.
const (
	maxDagRuns  = 500     // runs in it, and jobs that may follow
	maxDagSteps = 200_000 // runs that are looked at for it
	maxDagReads = 100     // of these whose records are read from the archive

	// What a run has caused is looked for in the archive among the first runs of each child that were due within a day after its end.
	archivedCandidates = 3
	archivedWithin     = 24 * time.Hour
)

// A dagRun is what belongs together: a run, what has caused it up to where that began, and all that this has caused.
type dagRun struct {
	sight   sight
	runs    []*Run // in the order in which they were found
	known   map[string]bool
	steps   int
	reads   int
	partial bool // there is more

	open func() (*pastReader, error) // the archive, for runs that no history holds any more
	past *pastReader                 // nil as long as it was not needed
	err  error                       // why it can't be read
}

// dagRunOf finds what a run belongs to, as far as runs are kept: first upwards, then downwards from what it has
// caused itself and from each of those above it.
func dagRunOf(s sight, of *Run, past func() (*pastReader, error)) *dagRun {
	d := &dagRun{sight: s, known: map[string]bool{}, open: past}
	d.add(of)
	for i := 0; i < len(d.runs); i++ {
		d.climb(d.runs[i])
	}
	for i := 0; i < len(d.runs); i++ {
		d.descend(d.runs[i])
	}
	return d
}

func (d *dagRun) add(r *Run) {
	switch {
	case d.known[r.ID]:
	case len(d.runs) == maxDagRuns:
		d.partial = true
	default:
		d.known[r.ID] = true
		d.runs = append(d.runs, r)
	}
}

// of yields the runs of a job that are known, unless too many were looked at.
func (d *dagRun) of(job string) func(func(*Run) bool) {
	return func(yield func(*Run) bool) {
		jv := d.sight.job(job)
		if jv == nil {
			return
		}
		for _, runs := range [][]*Run{jv.runs, jv.history} {
			for _, r := range runs {
				if d.steps++; d.steps > maxDagSteps {
					d.partial = true
					return
				}
				if !yield(r) {
					return
				}
			}
		}
	}
}

// climb adds the runs that have caused a run, and the attempt before it.
func (d *dagRun) climb(r *Run) {
	for _, c := range append(slices.Clip(r.Causes), runCause{Job: r.Job, Run: r.RetryOf}) {
		if c.Run == "" || d.known[c.Run] {
			continue
		}
		if found := d.find(c.Job, c.Run); found != nil {
			d.add(found)
		}
	}
}

// find looks a run up in the history of its job and in the archive, nil if it is in neither.
func (d *dagRun) find(job, id string) *Run {
	for r := range d.of(job) {
		if r.ID == id {
			return r
		}
	}
	jv := d.sight.job(job)
	if jv == nil || !d.opened() {
		return nil
	}
	m, ok := d.past.index.find(jv.key(), id)
	if !ok {
		return nil
	}
	if runs := d.read(jv, []mark{m}); len(runs) > 0 {
		return runs[0]
	}
	return nil
}

// opened reports whether the archive can be read.
func (d *dagRun) opened() bool {
	if d.past == nil && d.err == nil {
		d.past, d.err = d.open()
	}
	return d.err == nil
}

// read returns the records of archived runs, none if that would be too many.
func (d *dagRun) read(jv *jobView, marks []mark) []*Run {
	if d.reads += len(marks); d.reads > maxDagReads {
		d.partial = true
		return nil
	}
	runs := make([]*Run, 0, len(marks))
	for _, m := range marks {
		runs = append(runs, d.past.stub(jv, m))
	}
	if err := d.past.whole(runs); err != nil {
		d.err = err
		return nil
	}
	return runs
}

// archivedAfter yields runs of a job that may follow one that ended at an instant, if the job's history does not go back to then.
func (d *dagRun) archivedAfter(job string, ended int64) []*Run {
	jv := d.sight.job(job)
	if jv == nil || ended == 0 || len(jv.history) == 0 || !slices.ContainsFunc(jv.history, func(r *Run) bool { return r.Number > 0 }) {
		return nil
	}
	if oldest := slices.MinFunc(jv.history, func(a, b *Run) int { return cmp.Compare(a.Due, b.Due) }); oldest.Due <= ended || !d.opened() {
		return nil
	}
	var first []mark
	d.past.each(jv, ended+archivedWithin.Milliseconds(), func(m mark) bool {
		if d.steps++; m.due < ended || d.steps > maxDagSteps {
			return false
		}
		if kind := markKinds[m.kind]; kind == kindDependent || kind == kindRetry {
			if first = append(first, m); len(first) > archivedCandidates {
				first = first[1:]
			}
		}
		return true
	})
	return d.read(jv, first)
}

// descend adds the runs that a run has caused, and the attempt after it.
func (d *dagRun) descend(r *Run) {
	jv := d.sight.job(r.Job)
	if jv == nil {
		return
	}
	for _, job := range append([]string{r.Job}, jv.children...) {
		for other := range d.of(job) {
			d.addCaused(other, r)
		}
		for _, other := range d.archivedAfter(job, r.Ended) {
			d.addCaused(other, r)
		}
	}
}

// addCaused adds a run if another one has caused it, or is the attempt before it.
func (d *dagRun) addCaused(other, by *Run) {
	if other.RetryOf == by.ID || slices.ContainsFunc(other.Causes, func(c runCause) bool { return c.Run == by.ID }) {
		d.add(other)
	}
}

// A comingJob may run as part of the DAG's run, once what it waits for has come.
type comingJob struct {
	Job     string   `json:"job"`
	Parents []string `json:"parents"`
	RunOn   string   `json:"runOn,omitempty"`
}

// coming lists the jobs that have no run in it yet and depend on one that is open.
func (d *dagRun) coming() []comingJob {
	list, seen, todo := []comingJob{}, map[string]bool{}, []string{}
	for _, r := range d.runs {
		if seen[r.Job] = true; !r.ended() {
			todo = append(todo, r.Job)
		}
	}
	for len(todo) > 0 {
		jv := d.sight.job(todo[0])
		todo = todo[1:]
		if jv == nil {
			continue
		}
		for _, name := range jv.children {
			child := d.sight.job(name)
			if child == nil || seen[name] || child.job.Disabled {
				continue
			}
			if len(list) == maxDagRuns {
				d.partial = true
				return list
			}
			seen[name] = true
			todo = append(todo, name)
			c := comingJob{Job: name, Parents: d.sight.seen(child.parents)}
			if on := child.job.runsOn(); on != runOnSuccess {
				c.RunOn = on
			}
			list = append(list, c)
		}
	}
	return list
}

// describeSeen is describeRun with what has caused the run, as far as it is shown.
func describeSeen(s sight, r *Run) runDocument {
	d := describeRun(r)
	d.MoreCauses = r.MoreCauses
	for _, c := range r.Causes {
		if s.whole() || s.job(c.Job) != nil {
			d.Causes = append(d.Causes, c)
		} else {
			d.MoreCauses++
		}
	}
	return d
}

// showDagRun answers with the run of the DAG that a run belongs to.
func (a *api) showDagRun(c *call) error {
	type entry struct {
		Job string `json:"job"`
		runDocument
	}
	run, err := runAskedFor(c)
	if err != nil {
		return err
	}
	s := c.sight()
	d := dagRunOf(s, run, func() (*pastReader, error) { return pastOf(c) })
	if d.err != nil {
		return d.err
	}
	coming := d.coming()
	slices.SortStableFunc(d.runs, func(a, b *Run) int {
		return cmp.Or(cmp.Compare(cmp.Or(a.Queued, a.Due), cmp.Or(b.Queued, b.Due)), cmp.Compare(a.Due, b.Due))
	})
	list := make([]entry, 0, len(d.runs))
	for _, r := range d.runs {
		document := describeSeen(s, r)
		document.Arguments, document.Variables = nil, nil // each may be long
		list = append(list, entry{r.Job, document})
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(struct {
		Run     string      `json:"run"`
		Partial bool        `json:"partial"`
		Runs    []entry     `json:"runs"`
		Coming  []comingJob `json:"coming"`
	}{run.ID, d.partial, list, coming})
}

// showFollowers answers with what becomes of the jobs that depend on one if that is run now and all succeeds.
func (a *api) showFollowers(c *call) error {
	name, s := c.params[0], c.sight()
	all, partial, err := c.scheduler.followers(c.r.Context(), name)
	if errors.Is(err, errNotFound) {
		return missing("job", name)
	}
	if err != nil {
		return err
	}
	list := make([]follower, 0, len(all))
	for _, f := range all {
		if s.job(f.Job) == nil {
			continue
		}
		shown := s.seen(f.WaitsFor)
		f.MoreParents += len(f.WaitsFor) - len(shown)
		f.WaitsFor = shown
		list = append(list, f)
	}
	return c.json(struct {
		Job       string     `json:"job"`
		Partial   bool       `json:"partial"`
		Followers []follower `json:"followers"`
	}{name, partial, list})
}
