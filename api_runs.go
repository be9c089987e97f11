package main

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// taskIDInside finds a task id anywhere in a text, which is all that the original requires.
var taskIDInside = regexp.MustCompile(`ct:\d+:\d+:[\w\s.#-]`)

// runHeader tells the id of the run that a request has started.
const runHeader = "X-Chronos-Run"

// runJob starts a job now. Arguments that aren't blank replace the job's own for this run.
func (a *api) runJob(c *call) error {
	name, given := c.params[0], &Run{}
	if args := c.query("arguments"); strings.TrimSpace(args) != "" {
		given.Args, given.HasArgs = args, true
	}
	if err := readGiven(c.body, given); err != nil {
		return err
	}
	if given.HasArgs || len(given.Env) > 0 {
		c.asCommand()
	}
	given.By = c.asker()
	id, err := c.scheduler.startRun(c.r.Context(), name, given)
	if err == nil {
		c.w.Header().Set(runHeader, id)
		if jv := c.scheduler.view().job(name); jv != nil && jv.job.Disabled {
			a.log.Warn("a run that was started by hand is skipped: the job is disabled", "job", name, "run", id)
			warn(c.w.Header(), []Warning{{Key: "disabled", Text: "the job is disabled, and the run is skipped, as in the original; enable it first"}})
		}
	}
	return c.done(foundJob(err, name, "Job"))
}

// maxWhy bounds why somebody has asked for a run, in bytes.
const maxWhy = 1000

// readGiven reads what the body of a call gives to one run. The original has no body there: what is no object means nothing.
func readGiven(body []byte, given *Run) error {
	root, err := parseValue(body)
	if err != nil {
		return nil
	}
	doc := root.object()
	if v := doc.get("arguments"); v != "" {
		if v[0] != '[' {
			return refuse("arguments: %s is not a list", quoteWarned(string(v)))
		}
		given.ArgList = texts(v)
		given.Args, given.HasArgs = strings.Join(given.ArgList, " "), true
	}
	for i, v := range doc.get("environmentVariables").elements() {
		o := v.object()
		name, text := o.get("name").text(), o.get("value")
		if name == "" || text == "" || text[0] == '{' || text[0] == '[' {
			return refuse("environmentVariables[%d]: want an object with a name and a value", i)
		}
		given.Env = append(given.Env, EnvVar{name, text.text()})
	}
	if given.Why = doc.get("reason").text(); len(given.Why) > maxWhy {
		return refuse("reason: it has %d bytes, the limit is %d", len(given.Why), maxWhy)
	}
	return nil
}

// markSuccess counts a success without a run, and starts children that waited for it.
func (a *api) markSuccess(c *call) error {
	name := c.params[0]
	err := c.scheduler.markSuccess(c.r.Context(), name)
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	return c.reply(typeJSON, []byte("marked job "+name+" as successful: "+strconv.FormatBool(err == nil)))
}

func (a *api) killJob(c *call) error {
	name := c.params[0]
	return c.done(foundJob(c.scheduler.killJob(c.r.Context(), name), name, "JobSchedule"))
}

func (a *api) purge(c *call) error { return c.done(c.scheduler.purge(c.r.Context())) }

// finishTask is the callback of an async job. An unknown task is not an error.
func (a *api) finishTask(c *call) error {
	doc, err := c.document("statusCode")
	if err != nil {
		return err
	}
	code, err := statusCode(doc.get("statusCode"))
	if err != nil {
		return err
	}
	return c.done(c.scheduler.finishTask(c.r.Context(), c.params[0], code))
}

// statusCode reads what the original's JSON library accepts as an int: absent is 0,
// strings of digits are numbers, fractions are cut off.
func statusCode(v value) (int, error) {
	if v == "" {
		return 0, nil
	}
	text := strings.TrimSpace(v.text())
	if n, err := strconv.ParseInt(text, 10, 32); err == nil && (v.isNumber() || v.isString()) {
		return int(n), nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && v.isNumber() && f > -1<<31-1 && f < 1<<31 {
		return int(f), nil
	}
	return 0, refuse("statusCode: %s is not a 32-bit integer", v)
}

// addProgress adds to the elements that a task says it has processed.
func (a *api) addProgress(c *call) error {
	const key = "numAdditionalElementsProcessed"
	doc, err := c.document(key, "taskId", "jobName", "taskSlaveId", "taskStartTs", "taskEndTs", "taskDuration", "taskStatus", "numElementsProcessed")
	if err != nil {
		return err
	}
	v := doc.get(key)
	if v == "" {
		return c.done(nil)
	}
	n, err := strconv.ParseInt(string(v), 10, 32)
	if err != nil {
		return refuse("%s: %s is not a 32-bit integer", key, v)
	}
	name, id := c.params[0], c.params[1]
	jv := c.scheduler.view().job(name)
	if err := c.mayCallBack(jv, id); err != nil {
		return err
	}
	switch {
	case jv == nil:
		return noJob(name, "JobSchedule")
	case !taskIDInside.MatchString(id):
		return unmet("Invalid task id format %s", id)
	case !jv.job.DataProcessing:
		const rest = "' is not enabled to track data"
		return illegal("requirement failed: Job '"+name+rest, "requirement failed: JobSchedule '"+name+rest)
	case n < 0:
		return unmet("%s (%d) is not positive", key, n)
	}
	err = c.scheduler.addProgress(c.r.Context(), name, id, n)
	if errors.Is(err, errUnknownTask) {
		text := "Task id  " + id + " not found"
		return illegal(text, text)
	}
	return c.done(foundJob(err, name, "JobSchedule"))
}

// missing returns a 404 for our own additions.
func missing(what, name string) error {
	return &httpError{status: http.StatusNotFound, text: "no " + what + " " + strconv.Quote(name)}
}

// A runDocument is a run as our additions show it. Times are UTC, durations in ms.
type runDocument struct {
	ID        string   `json:"id"`
	Kind      runKind  `json:"kind"`
	State     runState `json:"state"`
	Attempt   int      `json:"attempt"`
	Arguments *string  `json:"arguments,omitempty"`
	Variables []EnvVar `json:"environmentVariables,omitempty"` // of this run
	By        string   `json:"requestedBy,omitempty"`
	Why       string   `json:"requestReason,omitempty"`
	Instant   string   `json:"instant,omitempty"` // that a run of a backfill is of
	Due       string   `json:"due"`
	Queued    string   `json:"queued,omitempty"`
	Launched  string   `json:"launched,omitempty"`
	Started   string   `json:"started,omitempty"`
	Ended     string   `json:"ended,omitempty"`
	Late      *int64   `json:"lateMs,omitempty"`     // from due to start
	Duration  *int64   `json:"durationMs,omitempty"` // from start to end
	Reason    string   `json:"reason,omitempty"`
	Exit      *int     `json:"exit,omitempty"`
	Agent     string   `json:"agent,omitempty"`
	AgentID   string   `json:"agentId,omitempty"`
	Sandbox   string   `json:"sandbox,omitempty"` // URL of its files on the agent
	Killing   string   `json:"killing,omitempty"`
	Elements  int64    `json:"elements,omitempty"`
	Count     int64    `json:"occurrences,omitempty"` // that one missed or skipped entry stands for
	From      string   `json:"from,omitempty"`        // due of the first of them

	Causes     []runCause `json:"causedBy,omitempty"`   // of a dependent run: the runs of its parents
	MoreCauses int        `json:"moreCauses,omitempty"` // parents that are not named
	RetryOf    string     `json:"retryOf,omitempty"`
}

func describeRun(r *Run) runDocument {
	d := runDocument{ID: r.ID, Kind: r.Kind, State: r.State, Attempt: r.Attempt, Due: msText(r.Due),
		Queued: msText(r.Queued), Launched: msText(r.Launched), Started: msText(r.Started), Ended: msText(r.Ended),
		Reason: r.Reason, Exit: r.Exit, Agent: r.Agent, AgentID: r.AgentID, Sandbox: r.Sandbox, Killing: string(r.Killing),
		Elements: r.Elements, Count: r.Count, From: msText(r.From), Variables: r.Env, By: r.By, Why: r.Why, Instant: msText(r.Backfill), RetryOf: r.RetryOf}
	if r.HasArgs {
		d.Arguments = &r.Args
	}
	if r.Started != 0 {
		late := r.sinceDue(r.Started)
		d.Late = &late
		if r.Ended != 0 {
			took := max(0, r.Ended-r.Started)
			d.Duration = &took
		}
	}
	return d
}

// msText writes a time in ms as UTC, "" for none.
func msText(ms int64) string {
	if ms == 0 {
		return ""
	}
	return instant(time.UnixMilli(ms))
}

func describeRuns(s sight, runs []*Run) []runDocument {
	documents := make([]runDocument, 0, len(runs))
	for _, r := range runs {
		documents = append(documents, describeSeen(s, r))
	}
	return documents
}

// listRuns answers with the runs of a job: the open ones, oldest first, then those that ended, newest first.
func (a *api) listRuns(c *call) error {
	name := c.params[0]
	s := c.sight()
	jv := s.job(name)
	if jv == nil {
		return missing("job", name)
	}
	return c.json(struct {
		Job     string        `json:"job"`
		Problem string        `json:"problem,omitempty"` // why it can't be scheduled
		Missed  int64         `json:"missed"`
		Open    []runDocument `json:"open"`
		History []runDocument `json:"history"`
	}{name, jv.problem, jv.missed, describeRuns(s, jv.runs), describeRuns(s, jv.history)})
}

// explainQueued answers with why the waiting runs of a job wait.
func (a *api) explainQueued(c *call) error {
	type entry struct {
		Position int         `json:"position"` // runs before it in the queue, -1 if it isn't in the queue yet
		Reasons  []string    `json:"reasons"`
		Run      runDocument `json:"run"`
	}
	name := c.params[0]
	waits, err := c.scheduler.whyQueued(c.r.Context(), name)
	if errors.Is(err, errNotFound) {
		return missing("job", name)
	}
	if err != nil {
		return err
	}
	queued, sight := make([]entry, 0, len(waits)), c.sight()
	for _, w := range waits {
		reasons := make([]string, 0, len(w.Reasons))
		for _, text := range w.Reasons {
			reasons = append(reasons, sight.reason(text))
		}
		queued = append(queued, entry{w.Position, reasons, describeRun(w.Run)})
	}
	return c.json(map[string]any{"job": name, "queued": queued})
}

// listProblems answers with what can't be scheduled, that is, jobs and stored records that can't be read, and with
// jobs that need attention, for example because their documents are strange.
func (a *api) listProblems(c *call) error {
	type badJob struct {
		Job    string `json:"job"`
		Reason string `json:"reason"`
	}
	type strangeJob struct {
		Job string `json:"job"`
		Warning
	}
	type badRecord struct {
		Key    string `json:"key"`
		Reason string `json:"reason"`
	}
	v := c.sight()
	bad := func(yield func(badJob) bool) {
		for jv := range v.all() {
			for _, reason := range []string{jv.problem, jv.notice, a.unacceptable(jv.job)} {
				if reason != "" && !yield(badJob{jv.job.Name, reason}) {
					return
				}
			}
		}
	}
	strange := func(yield func(strangeJob) bool) {
		for jv := range v.all() {
			for _, w := range a.warnings(jv.job) {
				if !yield(strangeJob{jv.job.Name, w}) {
					return
				}
			}
		}
	}
	b := c.long(typeJSON)
	b.WriteString(`{"jobs":`)
	err := writeList(b, bad, func(j badJob) []byte { return encode(j) })
	if err == nil {
		b.WriteString(`,"records":`)
		err = writeList(b, slices.Values(v.records()), func(r invalidRecord) []byte { return encode(badRecord{r.key, r.reason}) })
	}
	if err == nil {
		b.WriteString(`,"warnings":`)
		err = writeList(b, strange, func(j strangeJob) []byte { return encode(j) })
	}
	if err == nil {
		b.WriteByte('}')
		b.Flush()
	}
	return nil
}

// unacceptable says why runs of a stored job can't start where they would have to, "" if they can.
func (a *api) unacceptable(j *Job) string {
	if a.options.accepts == nil {
		return ""
	}
	if err := a.options.accepts(j); err != nil {
		return err.Error()
	}
	return ""
}

// findRun looks a run up by its id. The id alone does not show where the job's name
// ends: names and arguments may both contain the separator.
func findRun(v sight, id string) *Run {
	parts := strings.SplitN(id, ":", 4)
	if len(parts) < 4 {
		return nil
	}
	rest := parts[3]
	for end := 0; end <= len(rest); end++ {
		if end < len(rest) && rest[end] != ':' {
			continue
		}
		jv := v.job(rest[:end])
		if jv == nil {
			continue
		}
		for _, runs := range [][]*Run{jv.runs, jv.history} {
			for _, r := range runs {
				if r.ID == id {
					return r
				}
			}
		}
	}
	return nil
}

// outputChunk is how much of a run's output is read at a time. An agent sends it as JSON, where a
// byte may take six.
const outputChunk = 256 << 10

// showOutput answers with what a run has written, as it is: length bytes from offset, by
// default everything. A negative offset counts from the end.
func (a *api) showOutput(file string) func(*call) error {
	return func(c *call) error {
		run, offset, length, err := outputWanted(c)
		if err != nil {
			return err
		}
		if a.options.output == nil {
			return missing(file+" of run", run.ID)
		}
		piece, err := a.options.output(run, file, offset, int(min(length, outputChunk)))
		if errors.Is(err, errNotFound) {
			return missing(file+" of run", run.ID)
		}
		if err != nil {
			return &httpError{status: http.StatusBadGateway, text: "cannot read " + file + ": " + err.Error()}
		}
		if offset < 0 {
			offset = max(0, piece.size+offset)
		}
		length = max(0, min(length, piece.size-offset))
		describeOutput(c, piece.size, offset+length)
		return a.copyOutput(c, run, file, piece, offset, length)
	}
}

// outputWanted returns which part of which run's output a call is about.
func outputWanted(c *call) (run *Run, offset, length int64, err error) {
	if offset, err = c.number("offset", 64, 0); err != nil {
		return nil, 0, 0, err
	}
	if length, err = c.number("length", 64, 1<<62); err != nil {
		return nil, 0, 0, err
	}
	if length < 0 {
		return nil, 0, 0, refuse("length: %d is negative", length)
	}
	if run, err = runAskedFor(c); err != nil {
		return nil, 0, 0, err
	}
	if !c.share.grow(7 * outputChunk) {
		return nil, 0, 0, errNoRoom
	}
	return run, offset, length, nil
}

// describeOutput sets the headers of an answer with output.
func describeOutput(c *call, size, next int64) {
	h := c.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff") // a job may write HTML
	h.Set("X-Chronos-Size", strconv.FormatInt(size, 10))
	h.Set("X-Chronos-Next", strconv.FormatInt(next, 10))
}

// showMerged answers with both outputs of a run in the order in which they were written, as far as that is known. An answer
// may end before length bytes: X-Chronos-Next tells where to go on, and X-Chronos-Stderr which bytes of it are from stderr.
func (a *api) showMerged(c *call) error {
	run, offset, length, err := outputWanted(c)
	if err != nil {
		return err
	}
	if a.options.merged == nil {
		return &httpError{status: http.StatusNotFound, text: "in which order stdout and stderr were written is known only of runs on Chronos' own machine (--master local)"}
	}
	piece, err := a.options.merged(run, offset, int(min(length, outputChunk)))
	if errors.Is(err, errNotFound) {
		return &httpError{status: http.StatusNotFound, text: "in which order stdout and stderr were written is not known of this run"}
	}
	if err != nil {
		return &httpError{status: http.StatusBadGateway, text: "cannot read the output: " + err.Error()}
	}
	describeOutput(c, piece.size, piece.next)
	stretches := make([]string, 0, len(piece.stderr))
	for _, s := range piece.stderr {
		stretches = append(stretches, fmt.Sprintf("%d-%d", s[0], s[1]))
	}
	c.w.Header().Set("X-Chronos-Stderr", strings.Join(stretches, ","))
	c.w.Write(piece.text)
	return nil
}

// copyOutput writes n bytes of a run's output from offset on, beginning with a piece already read. In place
// of what was left out it says how much that is.
func (a *api) copyOutput(c *call, run *Run, file string, piece outputPiece, offset, n int64) error {
	for n > 0 && len(piece.text)+int(min(piece.gap, 1)) > 0 {
		text, covered := piece.text, int64(len(piece.text))
		if piece.gap > 0 {
			covered = piece.gap
			text = leftOut(min(covered, n))
		} else if covered > n {
			text = text[:n]
		}
		if _, err := c.w.Write(text); err != nil {
			return nil // the client has gone
		}
		offset += covered
		if n -= covered; n <= 0 || c.r.Method == http.MethodHead {
			return nil
		}
		var err error
		if piece, err = a.options.output(run, file, offset, int(min(n, outputChunk))); err != nil {
			panic(http.ErrAbortHandler) // the answer has begun; only aborting it informs the client
		}
	}
	return nil
}
