package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A sight is what of a view somebody is shown.
type sight struct {
	view *view
	who  *caller // nil where everybody sees everything
}

// sight returns what of the leader's view the one who asks may see.
func (c *call) sight() sight { return sightOf(c.scheduler.view(), c.who) }

func sightOf(v *view, who *caller) sight {
	if who != nil && who.everywhere(readRole) {
		who = nil
	}
	return sight{v, who}
}

// whole reports whether everything is seen, so that what was counted for all holds.
func (s sight) whole() bool { return s.who == nil }

// sees reports whether a job is shown.
func (s sight) sees(j *jobView) bool { return s.who == nil || s.who.may(readRole, j.job) }

// all yields the jobs that are shown in the order of their creation.
func (s sight) all() iter.Seq[*jobView] {
	if s.whole() {
		return s.view.all()
	}
	return func(yield func(*jobView) bool) {
		for j := range s.view.all() {
			if s.sees(j) && !yield(j) {
				return
			}
		}
	}
}

// search yields those that match in the order of their creation.
func (s sight) search(t searched) iter.Seq[*jobView] {
	if s.whole() {
		return s.view.search(t)
	}
	return func(yield func(*jobView) bool) {
		for j := range s.view.search(t) {
			if s.sees(j) && !yield(j) {
				return
			}
		}
	}
}

// len is at least the number of jobs that are shown.
func (s sight) len() int { return s.view.len() }

// job returns the job of that name, or nil if there is none that is shown.
func (s sight) job(name string) *jobView {
	if j := s.view.job(name); j != nil && s.sees(j) {
		return j
	}
	return nil
}

// seen returns those of the jobs that are shown.
func (s sight) seen(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return s.job(name) == nil })
}

// edges yields the dependencies between jobs that are shown.
func (s sight) edges() iter.Seq2[string, string] {
	if s.whole() {
		return s.view.edges()
	}
	return func(yield func(string, string) bool) {
		for parent, child := range s.view.edges() {
			if s.job(parent) != nil && s.job(child) != nil && !yield(parent, child) {
				return
			}
		}
	}
}

// reason is why a run waits, without another job's name for those who may not see all jobs.
func (s sight) reason(text string) string {
	if before, _, ok := strings.Cut(text, keptFor); ok && !s.whole() {
		return before + keptFor + "another run"
	}
	return text
}

// records are the stored records that can't be used. Nobody knows whose they are.
func (s sight) records() []invalidRecord {
	if s.whole() {
		return s.view.invalid
	}
	return nil
}

// counts returns how many runs wait and are under way.
func (s sight) counts() (queued, running int) {
	if s.whole() {
		return s.view.queued, s.view.running
	}
	for j := range s.all() {
		for _, r := range j.runs {
			switch r.State {
			case runQueued:
				queued++
			case runLaunching, runActive:
				running++
			}
		}
	}
	return queued, running
}

// since returns what has become different from what the same person was shown before. Jobs that are shown no longer are gone.
func (s sight) since(old sight) (changed []*jobView, removed []string) {
	all, gone := s.view.since(old.view)
	if s.whole() {
		return all, gone
	}
	for _, name := range gone {
		if old.job(name) != nil {
			removed = append(removed, name)
		}
	}
	for _, j := range all {
		switch {
		case s.sees(j):
			changed = append(changed, j)
		case old.job(j.job.Name) != nil:
			removed = append(removed, j.job.Name)
		}
	}
	return changed, removed
}

// A mandate is what somebody may change with one request. It is the permit that the scheduler asks within its loop.
type mandate struct {
	who     *caller
	access  *access
	rule    rule
	command bool // the request brings arguments or variables, which are as much as a command
}

// mandated has the scheduler ask what the one who asks may change, and returns nil where everybody may change everything.
func (c *call) mandated() *mandate {
	if c.who == nil {
		return nil
	}
	m := &mandate{who: c.who, access: c.server.access, rule: c.rule}
	c.r = c.r.WithContext(context.WithValue(c.r.Context(), permitKey{}, m))
	return m
}

func (m *mandate) job(name string, j *Job) error {
	if !m.rule.changes() {
		if j == nil || !m.who.may(readRole, j) {
			return fmt.Errorf("job %q: %w", name, errNotFound)
		}
		return nil
	}
	if err := m.who.mayChange(m.rule.role, name, j); err != nil || !m.command || j == nil {
		return err
	}
	return m.who.mayEdit(j, m.access.editing())
}

func (m *mandate) parent(name string, j *Job) error { return m.who.mayChange(editRole, name, j) }

// heir does not name the job, which may be none of theirs who ask.
func (m *mandate) heir(j *Job) error {
	if m.who.mayEdit(j, m.access.editing()) == nil {
		return nil
	}
	return &notYours{fmt.Sprintf("the deletion would change a job that runs after this one, and that %s may not edit", m.who.who())}
}

func (m *mandate) run(id string, r *Run, j *Job) error { return m.who.mayCallBack(id, r, j) }

// mayPut is nil if a document may take the place of another one, nil for none.
func (c *call) mayPut(old, j *Job) error {
	if c.who == nil {
		return nil
	}
	e := c.server.access.editing()
	if old != nil {
		if err := c.who.mayEdit(old, e); err != nil {
			return err
		}
	}
	return c.who.mayEdit(j, e)
}

// asker is the name of the one who asks, "" if nobody has given one.
func (c *call) asker() string {
	if c.who != nil {
		return c.who.name
	}
	name, _, _ := c.r.BasicAuth()
	return name
}

// maxAsker bounds what the activity says about where a request came from, in bytes.
const maxAsker = 200

// whoAsks says who asks for a change, for the activity.
func (c *call) whoAsks() asker {
	from := knockerOf(c.r)
	who := asker{
		User: cutText(c.asker(), maxAsker, "…"), Remote: from.address, Forwarded: cutText(from.client, maxAsker, "…"),
	}
	if c.who != nil {
		who.How = c.who.how
	}
	return who
}

// asCommand says that the request brings what is as much as a command. It is for who may edit the job.
func (c *call) asCommand() {
	if c.mandate != nil {
		c.mandate.command, c.mandate.rule.role = true, editRole
	}
}

// mayCallBack is nil if the one who asks may report on a task of a job, as far as the view tells.
func (c *call) mayCallBack(jv *jobView, id string) error {
	if c.who == nil {
		return nil
	}
	if jv == nil {
		return c.who.mayCallBack(id, nil, nil)
	}
	for _, runs := range [][]*Run{jv.runs, jv.history} {
		if i := slices.IndexFunc(runs, func(r *Run) bool { return r.ID == id }); i >= 0 {
			return c.who.mayCallBack(id, runs[i], jv.job)
		}
	}
	return c.who.mayCallBack(id, nil, nil)
}
