package main

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// listJSON returns the job as GET jobs shows it, which is made once for each document and dialect.
func listJSON(j *jobView, d dialect) []byte {
	made := &j.lists.made[d]
	if b := made.Load(); b != nil {
		return *b
	}
	b := j.job.appendListJSON(nil, d)
	made.Store(&b)
	return b
}

// labelled yields those jobs that have every label that a call asks for: label=team=data, or label=team for any value.
func labelled(c *call, jobs iter.Seq[*jobView]) iter.Seq[*jobView] {
	wanted := c.r.URL.Query()["label"]
	if len(wanted) == 0 {
		return jobs
	}
	return func(yield func(*jobView) bool) {
		for jv := range jobs {
			matches := !slices.ContainsFunc(wanted, func(label string) bool {
				key, text, exact := strings.Cut(label, "=")
				return !jv.job.hasLabel(key, text, !exact)
			})
			if matches && !yield(jv) {
				return
			}
		}
	}
}

// listJobs writes every job in the order of creation, on one line.
func (a *api) listJobs(c *call) error {
	v := c.sight()
	b := c.long(typeJSON)
	if writeList(b, labelled(c, v.all()), func(jv *jobView) []byte { return listJSON(jv, c.dialect) }) == nil {
		b.Flush()
	}
	return nil
}

// searchJobs answers with a part of the jobs that match what is searched for.
func (a *api) searchJobs(c *call) error {
	limit, err := c.number("limit", 32, 10)
	if err != nil {
		return err
	}
	offset, err := c.number("offset", 32, 0)
	if err != nil {
		return err
	}
	wanted := searched{strings.ToLower(c.query("name")), strings.ToLower(c.query("command")), strings.ToLower(c.query("any"))}
	end := int64(int32(offset + limit)) // overflows as in the original
	found := func(yield func(*jobView) bool) {
		matches := int64(0)
		if matches >= end {
			return
		}
		for jv := range labelled(c, c.sight().search(wanted)) {
			if matches++; matches > offset && !yield(jv) || matches >= end {
				return
			}
		}
	}
	var document []byte
	b := c.long(typeJSON)
	err = writeList(b, found, func(jv *jobView) []byte {
		document = jv.job.appendJSON(document[:0], c.dialect)
		return document
	})
	if err == nil {
		b.Flush()
	}
	return nil
}

// summarizeJobs answers with what 3.0's interface lists. The original swaps status and
// state on their way into the record and swaps them back on the way out.
func (a *api) summarizeJobs(c *call) error {
	type summary struct {
		Name     string   `json:"name"`
		Status   string   `json:"status"`
		State    string   `json:"state"`
		Schedule string   `json:"schedule"`
		Parents  []string `json:"parents"`
		Disabled bool     `json:"disabled"`
	}
	b, now := c.long(typeJSON), a.now()
	b.WriteString(`{"jobs":`)
	err := writeList(b, c.sight().all(), func(jv *jobView) []byte {
		j := jv.job
		e := summary{Name: j.Name, Status: j.lastResult(), State: stateText(jv, dialect3, now), Parents: []string{}, Disabled: j.Disabled}
		if j.Dependent {
			e.Parents = append(e.Parents, j.Parents...)
		} else {
			e.Schedule = j.Schedule
		}
		return encode(e)
	})
	if err == nil {
		b.WriteByte('}')
		b.Flush()
	}
	return nil
}

// showJob answers with one job as it is stored.
func (a *api) showJob(c *call) error {
	jv := c.sight().job(c.params[0])
	if jv == nil {
		return noJob(c.params[0], "Job")
	}
	return c.reply(typeJSON, jv.job.appendJSON(nil, c.dialect))
}

func (a *api) deleteJob(c *call) error {
	name, before := c.params[0], c.scheduler.view()
	err := c.scheduler.deleteJob(c.r.Context(), name)
	if jv := before.job(name); err == nil && jv != nil {
		warnOfOrphans(c, jv.children)
	}
	return c.done(foundJob(err, name, "JobSchedule"))
}

// warnOfOrphans tells whoever has deleted a job which of its children are disabled for want of parents.
func warnOfOrphans(c *call, children []string) {
	v := c.sight()
	for _, child := range children {
		if jv := v.job(child); jv != nil && !jv.job.Dependent && jv.job.runsOn() != runOnSuccess && jv.notice != "" {
			warn(c.w.Header(), []Warning{{child, jv.notice}})
		}
	}
}

// foundJob turns errNotFound into the answer of the dialects.
func foundJob(err error, name, word3 string) error {
	if errors.Is(err, errNotFound) {
		return noJob(name, word3)
	}
	return err
}

func (a *api) putScheduled(c *call) error { return a.putJob(c, false) }
func (a *api) putDependent(c *call) error { return a.putJob(c, true) }

// putJob creates or replaces a job. The document is read once for its name, and
// again in the loop, where the job that it replaces can't change.
func (a *api) putJob(c *call, dependent bool) error {
	j, err := a.decodePosted(c, dependent, a.standing(c))
	if err != nil {
		return err
	}
	if a.options.accepts != nil {
		if err := a.options.accepts(j); err != nil {
			return refuse("%s", err)
		}
	}
	misread := j.misread(c.body)
	j.Misread = misread
	strange := a.warnings(j)
	if wantsStrict(c.r.Header) {
		if err := refuseStrange(strange); err != nil {
			return err
		}
	}
	resume, err := c.flag("resume")
	if err != nil {
		return err
	}
	put := c.scheduler.putJob
	if resume {
		put = c.scheduler.bringBack
	}
	var update atomic.Bool // the loop may still come to build when we have given up waiting
	err = put(c.r.Context(), j.Name, func(old *Job) (*Job, error) {
		update.Store(old != nil)
		j, err := a.decodePosted(c, dependent, old)
		if err != nil {
			return nil, err
		}
		if err := c.mayPut(old, j); err != nil {
			return nil, err
		}
		if err := j.check(old == nil, a.now()); err != nil {
			return nil, err
		}
		j.Misread = misread
		return j, a.checkStart(c.dialect, old, j)
	})
	if e, ok := errors.AsType[*jobError](err); ok {
		err = a.explainJob(e, j)
	}
	if err == nil {
		warn(c.w.Header(), strange)
	}
	return c.done(explainPut(err, j.Name, update.Load()))
}

// beyond says what of a call only this version understands, "" for nothing. To a JVM version a job would lose it, or a run go without it.
func (a *api) beyond(c *call) string {
	switch first, _, _ := strings.Cut(c.path, "/"); first {
	case "iso8601", "dependency":
		if keys := keysOfOurs(c.body, a.options.defaults, c.dialect); len(keys) > 0 {
			return strings.Join(keys, ", ") + " in the job's document"
		}
		if c.query("resume") == "true" {
			return "that the schedule of a deleted job goes on"
		}
	case "pool", "pools":
		return "pools"
	case "pause":
		return "a pause"
	case "backfill":
		return "a backfill"
	case "job":
		var given Run
		if c.r.Method == http.MethodPut && c.path == "job/{}" && (readGiven(c.body, &given) != nil || given.HasArgs || given.Env != nil || given.Why != "") {
			return "arguments, variables or a reason in the body"
		}
	}
	return ""
}

// warnings returns what is strange about a job, or can't work here.
func (a *api) warnings(j *Job) []Warning {
	all := j.warnings()
	if a.options.doubts != nil {
		all = append(all, a.options.doubts(j)...)
	}
	return all
}

// standing returns the job that a posted document is about, as readers see it now, or nil.
func (a *api) standing(c *call) *Job {
	root, err := parseValue(c.body)
	if err != nil {
		return nil // decoding will report it
	}
	if jv := c.sight().job(root.object().get("name").text()); jv != nil {
		return jv.job
	}
	return nil
}

// warn tells the client what is strange about its document, as in RFC 7234: 299 is a persistent warning.
func warn(header http.Header, strange []Warning) {
	ascii := func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	for _, w := range strange {
		header.Add("Warning", `299 - "`+escape.Replace(strings.Map(ascii, w.String()))+`"`)
	}
}

// wantsStrict reports whether a client would rather have a strange document refused (RFC 7240).
func wantsStrict(header http.Header) bool {
	return slices.ContainsFunc(header.Values("Prefer"), func(line string) bool {
		for preference := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(preference), "handling=strict") {
				return true
			}
		}
		return false
	})
}

// refuseStrange returns a 400 with what is strange, one per line, nil for nothing.
func refuseStrange(strange []Warning) error {
	var lines []string
	for _, w := range strange {
		lines = append(lines, w.String())
	}
	if lines == nil {
		return nil
	}
	return refuse("%s", strings.Join(lines, "\n"))
}

// decodePosted reads the document of a call, which must be of the kind that its path is for.
func (a *api) decodePosted(c *call, dependent bool, old *Job) (*Job, error) {
	j, err := decodeJob(c.body, a.options.defaults, c.dialect, old)
	switch {
	case err != nil && len(bytes.TrimSpace(c.body)) == 0:
		return nil, refuseBody(c.body, err)
	case err != nil:
		return nil, err
	case dependent && !j.Dependent:
		return nil, refuse("job %q has no parents; a job with a schedule is posted to iso8601", j.Name)
	case !dependent && j.Dependent:
		return nil, refuse("job %q has parents; a dependent job is posted to dependency", j.Name)
	}
	return j, nil
}

// explainJob turns a fault of a job's document into the answer of the dialects.
// 3.0 has its own text for a schedule that can't be read.
func (a *api) explainJob(e *jobError, j *Job) error {
	switch {
	case strings.HasPrefix(e.text, "requirement failed: "):
		return illegal(e.text, e.text)
	case e.field == "schedule" && j != nil:
		if _, err := j.parseSchedule(a.now()); err != nil {
			return &httpError{status: http.StatusBadRequest, text: e.text,
				text3: fmt.Sprintf("Cannot parse schedule '%s' (wtf bro)", j.Schedule)}
		}
	}
	return refuse("%s", e.text)
}

// checkStart refuses what 3.0 refuses of new jobs: a start before the second second of 1970. A job
// that was parked there through another dialect, and so never moves on, can be created again.
func (a *api) checkStart(d dialect, old, j *Job) error {
	if d != dialect3 || old != nil || j.Dependent || j.Disabled {
		return nil
	}
	schedule, err := j.parseSchedule(a.now())
	if err != nil || schedule.remaining() == 0 {
		return nil // check has reported that
	}
	start := schedule.position()
	if start.UnixMilli() >= 1000 {
		return nil
	}
	return refuse("Scheduled start date '%s' is before 1970!", start.Format("2006-01-02T15:04:05.000Z07:00"))
}

// explainPut gives the refusals of the scheduler the texts of the original.
func explainPut(err error, name string, update bool) error {
	switch {
	case errors.Is(err, errNoParents):
		return unmet("Error, parent does not exist")
	case errors.Is(err, errSelfParent) && update:
		return illegal("loops not allowed", "loops not allowed")
	case errors.Is(err, errMissingParent), errors.Is(err, errSelfParent):
		const rest = " does not have all parents defined!"
		return illegal("requirement failed: Job "+name+rest, "requirement failed: JobSchedule "+name+rest)
	case errors.Is(err, errCycle):
		return &httpError{status: http.StatusBadRequest, text: err.Error()}
	}
	return err
}

// stateText returns what a job is doing, in the words of a dialect: the 2.x versions
// say running however many tasks run, 3.0 counts them. While only a retry waits for its
// time the job is idle in all of them, and clients rely on that.
func stateText(jv *jobView, d dialect, now time.Time) string {
	word, running := jv.state()
	switch {
	case d == dialect3 && running > 0:
		return strconv.Itoa(running) + " running"
	case word == "queued" && !slices.ContainsFunc(jv.runs, func(r *Run) bool { return r.waitsAt(now.UnixMilli()) }):
		return "idle"
	}
	return word
}

// numberSize is roughly what a name takes in a graph's table of numbers.
const numberSize = 64

// graphDot writes the dependency graph for Graphviz, the jobs numbered in the order of creation.
func (a *api) graphDot(c *call) error {
	v := c.sight()
	if !c.share.grow(numberSize * int64(v.len())) {
		return errNoRoom
	}
	b := c.long(typeText)
	b.WriteString("digraph G {\n")
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	number := make(map[string]int, v.len())
	for jv := range v.all() {
		number[jv.job.Name] = len(number) + 1
		if _, err := fmt.Fprintf(b, "  %d [ label=\"%s\" ];\n", len(number), quote.Replace(jv.job.Name)); err != nil {
			return nil
		}
	}
	for parent, child := range v.edges() {
		label := ""
		if on := v.job(child).job.runsOn(); on != runOnSuccess {
			label = fmt.Sprintf(" [ label=%q ]", on)
		}
		if _, err := fmt.Fprintf(b, "  %d -> %d%s;\n", number[parent], number[child], label); err != nil {
			return nil
		}
	}
	b.WriteString("}\n")
	b.Flush()
	return nil
}

// graphCSV writes a line for every job and one for every edge. Names are not quoted.
func (a *api) graphCSV(c *call) error {
	v, now := c.sight(), a.now()
	b := c.long(typeText)
	for jv := range v.all() {
		if _, err := fmt.Fprintf(b, "node,%s,%s,%s\n", jv.job.Name, jv.job.lastResult(), stateText(jv, c.dialect, now)); err != nil {
			return nil
		}
	}
	for parent, child := range v.edges() {
		if _, err := fmt.Fprintf(b, "link,%s,%s\n", parent, child); err != nil {
			return nil
		}
	}
	b.Flush()
	return nil
}
