package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// exportJobs answers with the documents of all jobs as somebody would post them, a job a line, in the order of creation.
func (a *api) exportJobs(c *call) error {
	set := c.query("set")
	jobs := func(yield func(*jobView) bool) {
		for jv := range labelled(c, c.sight().all()) {
			if (set == "" || jv.owned.set() == set) && !yield(jv) {
				return
			}
		}
	}
	var document []byte
	b := c.long(typeJSON)
	err := writeList(b, jobs, func(jv *jobView) []byte {
		document = jv.job.appendPosted(append(document[:0], '\n'), jv.posted, a.options.defaults.KeepNamed)
		return document
	})
	if err == nil {
		b.WriteByte('\n')
		b.Flush()
	}
	return nil
}

// applyJobs has jobs be as their documents say, all of them or none, and answers with what that has changed.
func (a *api) applyJobs(c *call) error { return a.answerSet(c, c.scheduler.applySet) }

// planJobs answers with what applyJobs would change.
func (a *api) planJobs(c *call) error { return a.answerSet(c, c.scheduler.planSet) }

// answerSet answers with what is done with the set of a call.
func (a *api) answerSet(c *call, do func(context.Context, jobSet) (string, error)) error {
	set, err := a.postedSet(c)
	if err != nil {
		return err
	}
	answer, err := do(c.r.Context(), set)
	if err != nil {
		return explainSet(err)
	}
	return c.reply(typeJSON, []byte(answer))
}

// postedSet reads the document of a call.
func (a *api) postedSet(c *call) (set jobSet, err error) {
	doc, err := c.document("set", "take", "prune", "jobs")
	if err != nil {
		return set, err
	}
	set.warnings = a.warnings
	set.name, set.take, set.prune = doc.get("set").text(), doc.get("take").bool(), doc.get("prune").bool()
	if !validSet(set.name) {
		return set, refuse("set: %q is not a name of 1 to 63 letters, digits, '.', '_' and '-'", cutText(set.name, 100, "…"))
	}
	list := doc.get("jobs")
	if !strings.HasPrefix(string(list), "[") {
		return set, refuse("jobs: a list of documents is needed")
	}
	documents := list.elements()
	if len(documents) > maxSet {
		return set, &httpError{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("jobs: there are %d, and one request takes at most %d", len(documents), maxSet)}
	}
	if len(documents) == 0 && set.prune {
		return set, refuse("jobs: there are none, and prune would delete all jobs of the set %q; delete those jobs if you mean to", set.name)
	}
	named := map[string]bool{}
	for i, document := range documents {
		o := document.object()
		name := o.get("name").text()
		switch {
		case o == nil || name == "":
			return set, refuse("jobs[%d]: the key name is missing", i)
		case named[name]:
			return set, refuse("jobs[%d]: there are two documents of job %q", i, name)
		}
		named[name] = true
		d := setJob{name: name, build: a.builder(c, name, []byte(document))}
		if v := o.get("disabled"); v != "" {
			says := v.bool()
			d.disabled = &says
		}
		set.jobs = append(set.jobs, d)
	}
	return set, nil
}

// builder returns what reads a document of a set. What the document leaves out has its default, also where a post by itself
// would keep it.
func (a *api) builder(c *call, name string, document []byte) func(*Job) (*Job, error) {
	return func(old *Job) (*Job, error) {
		base := old
		if old != nil {
			base = old.clone()
			base.Concurrent, base.MaxCompletionTime, base.Epsilon, base.Async = false, 0, a.options.defaults.Epsilon, false
		}
		j, err := decodeJob(document, a.options.defaults, c.dialect, base)
		if err != nil {
			return nil, err
		}
		if err := c.mayPut(old, j); err != nil {
			return nil, err
		}
		if a.options.accepts != nil {
			if err := a.options.accepts(j); err != nil {
				return nil, err
			}
		}
		if err := j.check(old == nil, a.now()); err != nil {
			return nil, err
		}
		j.Misread = j.misread(document)
		return j, a.checkStart(c.dialect, old, j)
	}
}

// validSet reports whether a text may be the name of a set, which is what names of pools are like too.
func validSet(name string) bool { return validPool(name) }

// explainSet turns a refusal of the scheduler into an answer.
func explainSet(err error) error {
	status := 0
	switch {
	case errors.Is(err, errOtherSet), errors.Is(err, errStillParent):
		status = http.StatusConflict
	case errors.Is(err, errSetTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errNoParents), errors.Is(err, errMissingParent), errors.Is(err, errSelfParent), errors.Is(err, errCycle):
		status = http.StatusBadRequest
	}
	if status == 0 {
		return err
	}
	return &httpError{status: status, text: err.Error()}
}
