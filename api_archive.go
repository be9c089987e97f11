package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	recentJobs = 100 // jobs of which one answer shows the recent runs
	recentRuns = 100 // of each
)

// A pastReader reads the runs of jobs in the order of their due times, in the history and beyond, for one call.
type pastReader struct {
	call   *call
	index  *runIndex
	unread int             // records of the archive that are still to be read
	marks  map[string]mark // of the runs that are shown and known by their marks only, by id
}

// pastOf begins to read the archive. The jobs must have been looked up before. What can't be read now
// is unread: that the newest runs are shown matters more.
func pastOf(c *call) (*pastReader, error) {
	index, unread, err := c.scheduler.archived(c.r.Context())
	if cause := c.r.Context().Err(); cause != nil {
		return nil, cause
	}
	if err != nil {
		c.server.log.Warn("the archive of ended runs can't be read now", "error", err)
	}
	return &pastReader{call: c, index: index, unread: unread, marks: map[string]mark{}}, nil
}

// each visits the archived runs of a job that its picture does not show, the newest first, from a due time on backwards.
func (p *pastReader) each(jv *jobView, due int64, visit func(mark) bool) {
	oldest, shown := int64(math.MaxInt64), slices.Concat(jv.runs, jv.history)
	for _, r := range shown {
		oldest = min(oldest, r.Due)
	}
	p.index.each(jv.key(), due, func(m mark) bool {
		if m.due >= oldest {
			id := m.run(jv.job.Name).ID
			if slices.ContainsFunc(shown, func(r *Run) bool { return r.ID == id }) {
				return true
			}
		}
		return visit(m)
	})
}

// stub is what the mark says of a run. whole completes it.
func (p *pastReader) stub(jv *jobView, m mark) *Run {
	r := m.run(jv.job.Name)
	p.marks[r.ID] = m
	return r
}

// whole puts the records of runs in the place of their stubs.
func (p *pastReader) whole(runs []*Run) error {
	wanted := map[string]mark{}
	for _, r := range runs {
		if m, ok := p.marks[r.ID]; ok {
			wanted[r.ID] = m
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	found, err := p.index.fill(p.call.r.Context(), wanted)
	if err != nil {
		return err
	}
	for i, r := range runs {
		runs[i] = cmp.Or(found[r.ID], r)
	}
	return nil
}

// runAskedFor looks up the run that a call is about, in the history of its job and in the archive.
func runAskedFor(c *call) (*Run, error) {
	id, s := c.params[0], c.sight()
	if r := findRun(s, id); r != nil {
		return r, nil
	}
	_, _, name, _, ok := parseRunID(id)
	jv := s.job(name)
	if !ok || jv == nil {
		return nil, missing("run", id)
	}
	p, err := pastOf(c)
	if err != nil {
		return nil, err
	}
	m, found := p.index.find(jv.key(), id)
	if !found {
		return nil, missing("run", id)
	}
	runs := []*Run{p.stub(jv, m)}
	err = p.whole(runs)
	return runs[0], err
}

// A dayOfRuns counts the runs of a job that were due on one day.
type dayOfRuns struct {
	Day    string `json:"day"`
	Runs   int64  `json:"runs"`
	Failed int64  `json:"failed,omitempty"` // of these
	Missed int64  `json:"missed,omitempty"` // occurrences that did not run, beside these
}

// count adds a run, or what one entry stands for.
func (d *dayOfRuns) count(state runState, n int64) {
	switch state {
	case runMissed, runSkipped:
		d.Missed += max(1, n)
	case runFailed, runLost:
		d.Failed++
		d.Runs++
	default:
		d.Runs++
	}
}

// countDays answers with how many runs a job has had on each day, the oldest first, as far as they are kept. Days
// are those of the zone given, or of the job's.
func (a *api) countDays(c *call) error {
	name := c.params[0]
	jv := c.sight().job(name)
	if jv == nil {
		return missing("job", name)
	}
	zone, _ := loadZone(jv.job.ScheduleTimeZone)
	if text := c.query("zone"); text != "" {
		var known bool
		if zone, known = loadZone(text); !known {
			return refuse("zone: %s is not a time zone", quoteWarned(text))
		}
	}
	p, err := pastOf(c)
	if err != nil {
		return err
	}
	days := map[string]*dayOfRuns{}
	count := func(due int64, state runState, n int64) {
		day := time.UnixMilli(due).In(zone).Format(time.DateOnly)
		if days[day] == nil {
			days[day] = &dayOfRuns{Day: day}
		}
		days[day].count(state, n)
	}
	for _, r := range jv.history {
		count(r.Due, r.State, r.Count)
	}
	p.each(jv, math.MaxInt64, func(m mark) bool {
		count(m.due, markStates[m.state], int64(m.count))
		return true
	})
	list := make([]dayOfRuns, 0, len(days))
	for _, d := range days {
		list = append(list, *d)
	}
	sortStable(list, func(x, y dayOfRuns) int { return cmp.Compare(x.Day, y.Day) })
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(struct {
		Job    string      `json:"job"`
		Zone   string      `json:"zone"`
		Days   []dayOfRuns `json:"days"`
		Unread int         `json:"unread,omitempty"`
	}{name, zone.String(), list, p.unread})
}

// showRecent answers with the newest runs of some jobs, as the rows of the overview show them, only more of them.
func (a *api) showRecent(c *call) error {
	names := c.r.URL.Query()["job"]
	if len(names) == 0 || len(names) > recentJobs {
		return refuse("job: want 1 to %d names of jobs, not %d", recentJobs, len(names))
	}
	most, err := limitOf(c, "runs", 30, recentRuns)
	if err != nil {
		return err
	}
	views := make([]*jobView, 0, len(names))
	sight := c.sight()
	for _, name := range names {
		if jv := sight.job(name); jv != nil {
			views = append(views, jv)
		}
	}
	p, err := pastOf(c)
	if err != nil {
		return err
	}
	body := []byte(`{"jobs":{`)
	for i, jv := range views {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(p.appendRecent(append(appendString(body, jv.job.Name), ':', '['), jv, most), ']')
	}
	body = append(body, '}')
	if p.unread > 0 {
		body = appendInt(body, "unread", int64(p.unread))
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.reply(typeJSON, append(body, '}'))
}

// appendRecent appends at most so many of a job's newest runs.
func (p *pastReader) appendRecent(dst []byte, jv *jobView, most int) []byte {
	dst, n := appendCells(dst, jv, most)
	if n < most {
		p.each(jv, math.MaxInt64, func(m mark) bool {
			dst = appendCell(dst, n, m.cell())
			n++
			return n < most
		})
	}
	return dst
}
