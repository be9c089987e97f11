package main

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What one answer about many jobs may cost.
const (
	timelineSpan  = 31 * 24 * time.Hour
	timelineLanes = 500   // jobs that one answer shows
	laneMarks     = 200   // runs of a job, and due times of it, that one answer shows
	timelineDue   = 20000 // due times that are computed for an answer
	timelineOften = 500   // jobs whose due times are only counted, since they have more
	maxBuckets    = 1440
	maxRuns       = 500 // that one answer lists
)

// A spanOf is a time that a call asks about, in ms.
type spanOf struct{ from, to int64 }

// instantOf reads an instant that a call gives in UTC or with an offset.
func instantOf(c *call, key string, fallback time.Time) (time.Time, error) {
	text := c.query(key)
	if text == "" {
		return fallback, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, refuse("%s: %s is not an instant like 2030-01-31T06:00:00Z", key, quoteWarned(text))
	}
	return t, nil
}

// anySpan reads a time that a call may ask about; without bounds it is all time.
func anySpan(c *call) (spanOf, error) {
	from, err := instantOf(c, "from", time.UnixMilli(0))
	if err != nil {
		return spanOf{}, err
	}
	to, err := instantOf(c, "to", time.UnixMilli(1<<53))
	return spanOf{from.UnixMilli(), to.UnixMilli()}, err
}

// limitOf reads how many of something a call asks for.
func limitOf(c *call, key string, fallback, most int64) (int, error) {
	text := c.query(key)
	if text == "" {
		return int(fallback), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, refuse("%s: %s is not a number between 1 and %d", key, quoteWarned(text), most)
	}
	return int(n), nil
}

// matching yields the jobs that a call asks for: by label, by q, words of which each is in the name or the owner, by owner, by pool, and by the whole name or how it begins.
func matching(c *call) iter.Seq[*jobView] {
	words, owner, prefix, name, pool := strings.Fields(strings.ToLower(c.query("q"))), c.query("owner"), c.query("prefix"), c.query("job"), c.query("pool")
	return func(yield func(*jobView) bool) {
		for jv := range labelled(c, c.sight().all()) {
			j := jv.job
			if owner != "" && j.Owner != owner && j.OwnerName != owner || !strings.HasPrefix(j.Name, prefix) || name != "" && j.Name != name || pool != "" && j.pool() != pool {
				continue
			}
			text := strings.ToLower(j.Name + "\n" + j.Owner + "\n" + j.OwnerName)
			if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
				continue
			}
			if !yield(jv) {
				return
			}
		}
	}
}

// A timeline is what ran and will run in a time.
type timeline struct {
	From   int64 `json:"from"`
	To     int64 `json:"to"`
	Now    int64 `json:"now"`
	Bucket int64 `json:"bucketMs"`

	Load    []int  `json:"load"`    // runs under way at some time in each bucket
	Due     []int  `json:"due"`     // occurrences to come in each bucket
	Jobs    int    `json:"jobs"`    // with something in that time
	Partial bool   `json:"partial"` // more falls due than was counted
	Lanes   []lane `json:"lanes"`
	Next    string `json:"next,omitempty"` // after which job the lanes go on
}

// A lane is one job in a timeline.
type lane struct {
	Name string      `json:"name"`
	Runs []laneRun   `json:"runs"`
	Due  []int64     `json:"due"`            // to come, the next ones
	On   bool        `json:"on,omitempty"`   // and so on
	More int         `json:"more,omitempty"` // runs that were left out
	all  []timedMark // of its runs, for the load
}

type timedMark struct{ from, to int64 }

// A laneRun is a run in a timeline. Times are ms, 0 where they are not known.
type laneRun struct {
	ID      string `json:"id"`
	State   string `json:"state"` // a letter, as in the overview
	Due     int64  `json:"due"`
	Started int64  `json:"started,omitempty"`
	Ended   int64  `json:"ended,omitempty"`
	Count   int64  `json:"occurrences,omitempty"`
}

// showTimeline answers with the runs and due times of all jobs, or some, in a time around now. It is bounded, however many jobs there are.
func (a *api) showTimeline(c *call) error {
	now := a.now()
	from, err := instantOf(c, "from", now.Add(-24*time.Hour))
	if err != nil {
		return err
	}
	to, err := instantOf(c, "to", now.Add(24*time.Hour))
	if err != nil {
		return err
	}
	if !from.Before(to) || to.Sub(from) > timelineSpan {
		return refuse("to: the time from from to to must be more than nothing and at most 31 days")
	}
	buckets, err := limitOf(c, "buckets", 288, maxBuckets)
	if err != nil {
		return err
	}
	lanes, err := limitOf(c, "lanes", 100, timelineLanes)
	if err != nil {
		return err
	}
	span := spanOf{from.UnixMilli(), to.UnixMilli()}
	t := timeline{From: span.from, To: span.to, Now: now.UnixMilli(), Bucket: max(1, (span.to-span.from+int64(buckets)-1)/int64(buckets)), Lanes: []lane{}}
	t.Load, t.Due = make([]int, buckets), make([]int, buckets)
	t.fill(matching(c), now, c.query("after"), lanes)
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(t)
}

// fill goes through the jobs in the order of their names.
func (t *timeline) fill(jobs iter.Seq[*jobView], now time.Time, after string, lanes int) {
	sorted := slices.SortedFunc(jobs, func(a, b *jobView) int { return strings.Compare(a.job.Name, b.job.Name) })
	span := spanOf{t.From, t.To}
	left, often, deltas := timelineDue, timelineOften, make([]int, len(t.Load)+1)
	for _, jv := range sorted {
		l := laneOf(jv, span, now)
		due := dueWithin(jv, span, now, min(left, laneMarks))
		left -= len(due)
		l.On = len(due) == laneMarks
		switch {
		case l.On && often > 0 && len(jv.bars) == 0:
			often--
			t.countDue(jv.sched, now)
		case l.On || left <= 0:
			t.Partial = true
			fallthrough
		default:
			for _, ms := range due {
				t.Due[t.index(ms)]++
			}
		}
		if len(l.all) == 0 && len(due) == 0 && len(l.Runs) == 0 {
			continue
		}
		t.Jobs++
		for _, m := range l.all {
			deltas[t.index(m.from)]++
			deltas[t.index(m.to)+1]--
		}
		if jv.job.Name <= after && after != "" {
			continue
		}
		if len(t.Lanes) == lanes {
			if t.Next == "" {
				t.Next = t.Lanes[lanes-1].Name
			}
			continue
		}
		l.Due = due
		t.Lanes = append(t.Lanes, l)
	}
	under := 0
	for i := range t.Load {
		under += deltas[i]
		t.Load[i] = under
	}
}

// countDue counts the occurrences of a schedule that is due often, bucket by bucket.
func (t *timeline) countDue(s Schedule, now time.Time) {
	from := max(t.From, now.UnixMilli()+1)
	_, _, _, rest := s.passed(time.UnixMilli(from - 1))
	for i := t.index(from); i < len(t.Due); i++ {
		end := min(t.From+int64(i+1)*t.Bucket, t.To)
		n, _, _, next := rest.passed(time.UnixMilli(end - 1))
		t.Due[i] += int(n)
		rest = next
	}
}

// index is the bucket that an instant is in, or the nearest one.
func (t *timeline) index(ms int64) int {
	return int(min(max(0, (ms-t.From)/t.Bucket), int64(len(t.Load)-1)))
}

// laneOf collects the runs of a job that touch a time.
func laneOf(jv *jobView, span spanOf, now time.Time) lane {
	l := lane{Name: jv.job.Name, Runs: []laneRun{}, Due: []int64{}}
	for i, runs := range [][]*Run{jv.runs, jv.history} {
		for _, r := range runs {
			start, end := cmp.Or(r.Started, r.Launched, r.Due), cmp.Or(r.Ended, r.Due)
			if i == 0 { // it goes on
				end = now.UnixMilli()
			}
			if max(end, start) < span.from || min(start, r.Due) >= span.to {
				continue
			}
			if r.Started != 0 {
				l.all = append(l.all, timedMark{max(start, span.from), min(end, span.to)})
			}
			if len(l.Runs) == laneMarks {
				l.More++
				continue
			}
			l.Runs = append(l.Runs, laneRun{r.ID, runLetters[r.State], r.Due, r.Started, r.Ended, r.Count})
		}
	}
	return l
}

// dueWithin returns at most n of the instants at which a job will be due.
func dueWithin(jv *jobView, span spanOf, now time.Time, n int) []int64 {
	due := []int64{}
	if n < 1 || span.to <= now.UnixMilli() || jv.next.IsZero() || jv.job.Disabled || jv.next.UnixMilli() >= span.to {
		return due
	}
	from := now
	if t := time.UnixMilli(span.from - 1); t.After(from) {
		from = t
	}
	for _, t := range jv.bars.coming(jv.sched, from, jv.job.latest(), n) {
		if ms := t.UnixMilli(); ms >= span.from && ms < span.to {
			due = append(due, ms)
		}
	}
	return due
}

// A runCursor is the place of a run in a list of all, the newest first.
type runCursor struct {
	due int64
	id  string
}

func (a runCursor) compare(b runCursor) int {
	return cmp.Or(cmp.Compare(b.due, a.due), strings.Compare(a.id, b.id))
}

// parseCursor reads what an earlier answer named as next.
func parseCursor(text string) (runCursor, error) {
	due, id, ok := strings.Cut(text, "!")
	ms, err := strconv.ParseInt(due, 10, 64)
	if !ok || err != nil {
		return runCursor{}, refuse("after: %s is not what an answer has named as next", quoteWarned(text))
	}
	return runCursor{ms, id}, nil
}

// listAllRuns answers with the runs of all jobs, or some, the newest first, as far as they are kept.
func (a *api) listAllRuns(c *call) error {
	wanted, err := readRunFilter(c)
	if err != nil {
		return err
	}
	jobs := slices.Collect(matching(c))
	p, err := pastOf(c)
	if err != nil {
		return err
	}
	found := p.newest(jobs, wanted)
	next := ""
	if len(found) > wanted.limit {
		found = found[:wanted.limit]
		last := found[len(found)-1]
		next = strconv.FormatInt(last.Due, 10) + "!" + last.ID
	}
	if err := p.whole(found); err != nil {
		return err
	}
	type entry struct {
		Job string `json:"job"`
		runDocument
	}
	list, sight := make([]entry, 0, len(found)), c.sight()
	for _, r := range found {
		list = append(list, entry{r.Job, describeSeen(sight, r)})
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(struct {
		Runs   []entry `json:"runs"`
		Next   string  `json:"next,omitempty"`
		Unread int     `json:"unread,omitempty"`
	}{list, next, p.unread})
}

// newest returns the newest runs of jobs that a call asks for, one more than it may be shown.
func (p *pastReader) newest(jobs []*jobView, wanted runFilter) []*Run {
	found := make([]*Run, 0, wanted.limit+1)
	from := wanted.span.to - 1
	if wanted.after != nil {
		from = min(from, wanted.after.due)
	}
	for _, jv := range jobs {
		for _, runs := range [][]*Run{jv.runs, jv.history} {
			for _, r := range runs {
				if wanted.takes(r) {
					found = keepNewest(found, r, wanted.limit+1)
				}
			}
		}
		p.each(jv, from, func(m mark) bool {
			if m.due < wanted.span.from || len(found) > wanted.limit && m.due < found[wanted.limit].Due {
				return false
			}
			if wanted.chooses(markStates[m.state], markKinds[m.kind]) {
				if r := p.stub(jv, m); wanted.takes(r) {
					found = keepNewest(found, r, wanted.limit+1)
				}
			}
			return true
		})
	}
	return found
}

// keepNewest puts a run where it belongs in a list of at most n, the newest first.
func keepNewest(list []*Run, r *Run, n int) []*Run {
	at := runCursor{r.Due, r.ID}
	i, _ := slices.BinarySearchFunc(list, at, func(x *Run, at runCursor) int { return runCursor{x.Due, x.ID}.compare(at) })
	if i == n {
		return list
	}
	if len(list) == n {
		list = list[:n-1]
	}
	return slices.Insert(list, i, r)
}

// A runFilter says which runs a call asks for.
type runFilter struct {
	states map[string]bool // none for all
	kind   string
	span   spanOf
	after  *runCursor
	limit  int
}

func readRunFilter(c *call) (f runFilter, err error) {
	if f.limit, err = limitOf(c, "limit", 100, maxRuns); err != nil {
		return f, err
	}
	if f.span, err = anySpan(c); err != nil {
		return f, err
	}
	f.kind = c.query("kind")
	if text := c.query("state"); text != "" {
		f.states = map[string]bool{}
		for state := range strings.SplitSeq(text, ",") {
			f.states[state] = true
		}
	}
	if text := c.query("after"); text != "" {
		cursor, err := parseCursor(text)
		if err != nil {
			return f, err
		}
		f.after = &cursor
	}
	return f, nil
}

// chooses reports whether runs of that state and kind are asked for.
func (f runFilter) chooses(state runState, kind runKind) bool {
	return (f.states == nil || f.states[string(state)]) && (f.kind == "" || f.kind == string(kind))
}

func (f runFilter) takes(r *Run) bool {
	if r.Due < f.span.from || r.Due >= f.span.to || !f.chooses(r.State, r.Kind) {
		return false
	}
	return f.after == nil || f.after.compare(runCursor{r.Due, r.ID}) < 0
}
