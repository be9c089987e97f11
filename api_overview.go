package main

import (
	"bufio"
	"cmp"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	rowRuns = 10  // newest runs that a row shows
	rowText = 400 // bytes of a command or description that a row shows
)

// runLetters are the states of runs in a row.
var runLetters = map[runState]string{
	runQueued: "q", runLaunching: "l", runActive: "a", runAwaiting: "w",
	runFinished: "s", runFailed: "f", runKilled: "k", runLost: "x", runMissed: "m", runSkipped: "n",
}

// rowOf returns the job on one line of a table, as JSON: what is needed to list, search and
// sort, and the newest runs. It is made once for each picture of the job.
func rowOf(j *jobView) []byte {
	if b := j.rowJSON.Load(); b != nil {
		return *b
	}
	b := appendRow(j, nil)
	j.rowJSON.Store(&b)
	return b
}

// appendRow leaves out what is empty, false or 0.
func appendRow(j *jobView, dst []byte) []byte {
	job := j.job
	dst = appendString(append(dst, `{"name":`...), job.Name)
	dst = appendTextIfAny(dst, "command", cutText(job.Command, rowText, "…"))
	dst = appendTextIfAny(dst, "owner", job.Owner)
	dst = appendTextIfAny(dst, "ownerName", job.OwnerName)
	dst = appendTextIfAny(dst, "description", cutText(job.Description, rowText, "…"))
	if job.Dependent {
		dst = appendList(dst, "parents", job.Parents, appendString)
		if on := job.runsOn(); on != runOnSuccess {
			dst = appendText(dst, "runOn", on)
		}
	} else {
		dst = appendText(dst, "schedule", job.Schedule)
		dst = appendTextIfAny(dst, "scheduleTimeZone", job.ScheduleTimeZone)
		dst = appendTextIfAny(dst, "words", wordsOf(j, time.Now()))
	}
	if labels := job.labels(); len(labels) > 0 {
		dst = append(dst, `,"labels":{`...)
		for i, l := range labels {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(append(appendString(dst, l.Key), ':'), l.Value)
		}
		dst = append(dst, '}')
	}
	dst = appendTextIfAny(dst, "pool", job.pool())
	if told := job.receivers(); len(told) > 0 {
		dst = appendList(dst, "notify", told, func(dst []byte, r jobReceiver) []byte { return appendString(dst, r.short()) })
	}
	if job.Container != nil {
		dst = appendTextIfAny(dst, "image", job.Container.Image)
	}
	for _, flag := range []struct {
		key string
		on  bool
	}{{"disabled", job.Disabled}, {"async", job.Async}, {"highPriority", job.HighPriority}} {
		if flag.on {
			dst = appendBool(dst, flag.key, true)
		}
	}
	dst = appendText(dst, "status", job.lastResult())
	state, running := j.state()
	dst = appendText(dst, "state", state)
	if j.paused != 0 {
		dst = appendInt(dst, "pausedUntil", j.paused)
	}
	if b := j.backfill; b != nil {
		dst = strconv.AppendInt(append(dst, `,"backfill":[`...), int64(b.Total-len(b.Left)-b.running), 10)
		dst = append(strconv.AppendInt(append(dst, ','), int64(b.Total), 10), ']')
	}
	if !j.next.IsZero() {
		dst = appendInt(dst, "next", j.next.UnixMilli())
	}
	for _, n := range []struct {
		key   string
		value int64
	}{{"running", int64(running)}, {"successCount", job.SuccessCount}, {"errorCount", job.ErrorCount}, {"missed", j.missed}} {
		if n.value != 0 {
			dst = appendInt(dst, n.key, n.value)
		}
	}
	dst = appendTextIfAny(dst, "lastSuccess", job.LastSuccess)
	dst = appendTextIfAny(dst, "lastError", job.LastError)
	dst = appendTextIfAny(dst, "problem", j.problem)
	if strange := job.warnings(); len(strange) > 0 {
		dst = appendList(dst, "warnings", strange, func(dst []byte, w Warning) []byte { return appendString(dst, w.String()) })
	}
	return append(appendRuns(j, dst), '}')
}

// wordsOf says when a job runs, also while it is disabled and its schedule is not followed.
func wordsOf(j *jobView, now time.Time) string {
	if text := j.sched.words(now); text != "" || !j.job.Disabled {
		return text
	}
	sched, err := j.job.parseSchedule(now)
	if err != nil {
		return ""
	}
	return sched.words(now)
}

// appendRuns appends the newest runs, newest first.
func appendRuns(j *jobView, dst []byte) []byte {
	if len(j.runs)+len(j.history) == 0 {
		return dst
	}
	dst, _ = appendCells(append(dst, `,"runs":[`...), j, rowRuns)
	return append(dst, ']')
}

// appendCells appends at most so many of a job's open runs and of those in its history, newest first, and returns how many these are.
func appendCells(dst []byte, j *jobView, most int) ([]byte, int) {
	n := 0
	for i := len(j.runs) - 1; i >= 0 && n < most; i-- {
		dst = appendCell(dst, n, j.runs[i].cell())
		n++
	}
	for _, r := range j.history[:min(len(j.history), most-n)] {
		dst = appendCell(dst, n, r.cell())
		n++
	}
	return dst, n
}

// appendCell appends the n-th run of a list, as rows show it: [letter, due, late, duration] in ms, without what isn't known yet.
func appendCell(dst []byte, n int, c runCell) []byte {
	if n > 0 {
		dst = append(dst, ',')
	}
	dst = append(append(append(dst, `["`...), runLetters[c.state]...), `",`...)
	dst = strconv.AppendInt(dst, c.due, 10)
	if c.late >= 0 {
		dst = strconv.AppendInt(append(dst, ','), c.late, 10)
		if c.took >= 0 {
			dst = strconv.AppendInt(append(dst, ','), c.took, 10)
		}
	}
	return append(dst, ']')
}

// showOverview answers with everything that a table of all jobs shows, in the order of their
// creation or, if that is asked for, of their names, and the name of the event after which to ask for changes.
func (a *api) showOverview(c *call) error {
	order := c.query("order")
	if order != "" && order != "name" {
		return refuse("order: %s is not name", quoteWarned(order))
	}
	v := c.sight()
	a.events.keep(v.view)
	queued, running := v.counts()
	leader, _ := a.leader()
	head := encode(struct {
		Event      string         `json:"event"`
		Time       int64          `json:"time"` // ms since the epoch, for clocks that are wrong
		Version    string         `json:"version"`
		Instance   string         `json:"instance"` // that answers
		Leader     string         `json:"leader"`
		Members    []string       `json:"members,omitempty"`
		Store      string         `json:"store,omitempty"`
		Cluster    string         `json:"cluster,omitempty"`
		Subscribed bool           `json:"subscribed"`
		Queued     int            `json:"queued"`
		Running    int            `json:"running"`
		Records    int            `json:"invalidRecords,omitempty"`
		Totals     overviewTotals `json:"totals"`

		User *callerDocument `json:"user,omitempty"` // who asks, where that is proven
	}{a.events.name(v.view), time.Now().UnixMilli(), version, a.id, leader, a.memberIDs(), a.options.storeName, a.options.clusterName, v.view.subscribed,
		queued, running, len(v.records()), totalsOf(v), a.access.describe(c.who)})
	c.w.Header().Set("Cache-Control", "no-store")
	b := c.long(typeJSON)
	b.Write(head[:len(head)-1])
	b.WriteString(`,"jobs":`)
	jobs := labelled(c, v.all())
	if order == "name" {
		jobs = byName(jobs)
	}
	if writeRows(b, jobs) == nil {
		b.WriteByte('}')
		b.Flush()
	}
	return nil
}

// writeRows writes a list with each job on a line of its own, so that a client can use it while it arrives.
func writeRows(b *bufio.Writer, jobs iter.Seq[*jobView]) error {
	separator, end := "[\n", "[]"
	for jv := range jobs {
		b.WriteString(separator)
		separator, end = ",\n", "\n]"
		if _, err := b.Write(rowOf(jv)); err != nil {
			return err
		}
	}
	_, err := b.WriteString(end)
	return err
}

// byName sorts jobs as people do, without regard to capitals.
func byName(jobs iter.Seq[*jobView]) iter.Seq[*jobView] {
	type entry struct {
		key string
		job *jobView
	}
	var sorted []entry
	for jv := range jobs {
		sorted = append(sorted, entry{strings.ToLower(jv.job.Name), jv})
	}
	slices.SortFunc(sorted, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.job.job.Name, b.job.job.Name))
	})
	return func(yield func(*jobView) bool) {
		for _, e := range sorted {
			if !yield(e.job) {
				return
			}
		}
	}
}

// memberIDs returns the ids of the instances, if they are known.
func (a *api) memberIDs() []string {
	if a.options.members == nil {
		return nil
	}
	return a.options.members()
}

// overviewTotals count jobs.
type overviewTotals struct {
	Jobs     int   `json:"jobs"`
	Success  int   `json:"success"`
	Failure  int   `json:"failure"`
	Fresh    int   `json:"fresh"`
	Running  int   `json:"running"`
	Queued   int   `json:"queued"`
	Disabled int   `json:"disabled"`
	Problems int   `json:"problems"`
	Missed   int64 `json:"missed"` // occurrences

	// Of the fresh ones, those whose last run was killed or lost.
	Killed     int `json:"killed"`
	Lost       int `json:"lost"`
	MissedJobs int `json:"missedJobs"` // that have missed some
}

func totalsOf(v sight) overviewTotals {
	t := overviewTotals{}
	for jv := range v.all() {
		t.Jobs++
		switch jv.job.lastResult() {
		case "success":
			t.Success++
		case "failure":
			t.Failure++
		default:
			t.Fresh++
			switch lastEnd(jv) {
			case runKilled:
				t.Killed++
			case runLost:
				t.Lost++
			}
		}
		switch state, _ := jv.state(); state {
		case "running":
			t.Running++
		case "queued":
			t.Queued++
		}
		if jv.job.Disabled {
			t.Disabled++
		}
		if jv.problem != "" {
			t.Problems++
		}
		t.Missed += jv.missed
		if jv.missed > 0 {
			t.MissedJobs++
		}
	}
	return t
}

// lastEnd is how the last run ended of a job that has neither succeeded nor failed, as far as its row tells.
func lastEnd(jv *jobView) runState {
	for _, r := range jv.history[:min(len(jv.history), max(0, rowRuns-len(jv.runs)))] {
		if r.State == runKilled || r.State == runLost {
			return r.State
		}
	}
	return ""
}

// whoami tells somebody who he is.
func (a *api) whoami(c *call) error {
	c.w.Header().Set("Cache-Control", "no-store")
	return c.json(a.access.describe(c.who))
}

// loggedOut is what a browser shows when somebody does not want to log in again.
const loggedOut = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Chronos</title></head><body><h1>You are logged out</h1><p><a href="../">Log in again</a></p></body></html>
`

// logout has a browser forget the password: to have it refused is the only thing that makes it.
func (a *api) logout(c *call) error {
	h := c.w.Header()
	h.Set("WWW-Authenticate", challenge(a.realm))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html;charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(http.StatusUnauthorized)
	c.w.Write([]byte(loggedOut))
	return nil
}
