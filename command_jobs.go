package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A jobRow is what the overview says of a job.
type jobRow struct {
	Name        string   `json:"name"`
	Command     string   `json:"command"`
	Owner       string   `json:"owner,omitempty"`
	Schedule    string   `json:"schedule,omitempty"`
	Zone        string   `json:"scheduleTimeZone,omitempty"`
	Parents     []string `json:"parents,omitempty"`
	Disabled    bool     `json:"disabled,omitempty"`
	Status      string   `json:"status"`
	State       string   `json:"state"`
	Next        int64    `json:"next,omitempty"` // ms since the epoch
	Running     int64    `json:"running,omitempty"`
	Successes   int64    `json:"successCount,omitempty"`
	Errors      int64    `json:"errorCount,omitempty"`
	LastSuccess string   `json:"lastSuccess,omitempty"`
	LastError   string   `json:"lastError,omitempty"`
	Problem     string   `json:"problem,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
	Runs        []rowRun `json:"runs,omitempty"` // newest first
}

// A rowRun is a run as the overview has it, [state, due, late, duration] in ms.
type rowRun struct {
	State     string `json:"state"`
	Due       int64  `json:"due"`
	Late      *int64 `json:"lateMs,omitempty"`
	Duration  *int64 `json:"durationMs,omitempty"`
	startedAt int64
}

// UnmarshalJSON reads the overview's short form.
func (r *rowRun) UnmarshalJSON(text []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return err
	}
	var letter string
	into := []any{&letter, &r.Due, &r.Late, &r.Duration}
	for i, part := range parts[:min(len(parts), len(into))] {
		if err := json.Unmarshal(part, into[i]); err != nil {
			return err
		}
	}
	for state, l := range runLetters {
		if l == letter {
			r.State = string(state)
		}
	}
	if r.Late != nil {
		r.startedAt = r.Due + *r.Late
	}
	return nil
}

// An overviewAnswer is what GET overview answers, as far as subcommands look at it.
type overviewAnswer struct {
	Time    int64
	Leader  string
	Queued  int
	Running int
	Cluster string
	Totals  map[string]int64
	Jobs    []jobRow
}

func (c *invocation) overview(ctx context.Context) (o overviewAnswer, err error) {
	err = c.readInto(ctx, "/v1/scheduler/overview", &o)
	return o, err
}

// when shows a job's schedule, or what it follows.
func (j *jobRow) when() string {
	if len(j.Parents) > 0 {
		return "after " + strings.Join(j.Parents, ", ")
	}
	return strings.TrimSpace(j.Schedule + " " + j.Zone)
}

// due shows when the job is due next.
func (j *jobRow) due(now int64) string {
	if j.Disabled {
		return "disabled"
	}
	return fromNow(j.Next, now)
}

// listCommand lists jobs.
func listCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	form := fs.String("o", "table", "`form` of the answer: table, json or name")
	asJSON := fs.Bool("json", false, "the same as -o json")
	owner := fs.String("owner", "", "only jobs of this `owner`")
	state := fs.String("state", "", "only jobs in this `state`: idle, queued or running")
	status := fs.String("status", "", "only jobs whose last `result` was this: fresh, success or failure")
	failed := fs.Bool("failed", false, "the same as --status failure")
	disabled := fs.Bool("disabled", false, "only disabled jobs")
	return func(ctx context.Context, c *invocation) error {
		if *asJSON {
			*form = "json"
		}
		if *failed {
			*status = "failure"
		}
		if !slices.Contains([]string{"table", "json", "name"}, *form) {
			return fmt.Errorf("-o %q: want table, json or name", *form)
		}
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		jobs := slices.DeleteFunc(o.Jobs, func(j jobRow) bool {
			named := len(c.args) == 0 || slices.ContainsFunc(c.args, func(text string) bool { return strings.Contains(j.Name, text) })
			return !named || *owner != "" && j.Owner != *owner || *state != "" && !strings.HasSuffix(j.State, *state) ||
				*status != "" && j.Status != *status || *disabled && !j.Disabled
		})
		switch *form {
		case "json":
			return c.out.printJSON(jobs)
		case "name":
			for _, j := range jobs {
				fmt.Fprintln(c.out, j.Name)
			}
			return nil
		}
		return c.out.jobTable(jobs, o.Time)
	}
}

// jobTable shows a job a line.
func (o *screen) jobTable(jobs []jobRow, now int64) error {
	var rows [][]cell
	for _, j := range jobs {
		rows = append(rows, []cell{textCell(j.Name), stateCell(j.Status), stateCell(j.State), textCell(j.due(now)), textCell(lastRun(j, now)), textCell(j.when())})
	}
	return o.table([]string{"NAME", "LAST", "STATE", "NEXT", "RAN", "WHEN"}, rows)
}

func lastRun(j jobRow, now int64) string {
	for _, r := range j.Runs {
		if r.startedAt != 0 {
			return fromNow(r.startedAt, now)
		}
	}
	return ""
}

// jobCommand shows one job.
func jobCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	asJSON := fs.Bool("json", false, "answer the job's document as JSON")
	return func(ctx context.Context, c *invocation) error {
		name := c.args[0]
		if *asJSON {
			text, err := c.document(ctx, name)
			if err != nil {
				return err
			}
			return c.out.printJSON(text)
		}
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(o.Jobs, func(j jobRow) bool { return j.Name == name })
		if i < 0 {
			return noSuchJob(name, o.Jobs)
		}
		j := o.Jobs[i]
		c.out.fields([2]string{"Name", j.Name}, [2]string{"Command", j.Command}, [2]string{"Owner", j.Owner}, [2]string{"When", j.when()},
			[2]string{"Next", nextText(j, o.Time)}, [2]string{"State", j.State}, [2]string{"Last result", j.Status},
			[2]string{"Counts", fmt.Sprintf("%d successes, %d failures", j.Successes, j.Errors)},
			[2]string{"Problem", j.Problem}, [2]string{"Strange", strings.Join(j.Warnings, "; ")})
		runs, err := c.runsOf(ctx, name)
		if err != nil || len(runs) == 0 {
			return err
		}
		fmt.Fprintln(c.out)
		return c.out.runTable(runs[:min(len(runs), 10)], false)
	}
}

func nextText(j jobRow, now int64) string {
	switch {
	case j.Disabled:
		return "never: it is disabled"
	case j.Next != 0:
		return hereTime(j.Next) + ", " + fromNow(j.Next, now)
	}
	return ""
}

// document reads the document of a job as it was posted, in the dialect that has all keys of 2.x.
func (c *invocation) document(ctx context.Context, name string) (json.RawMessage, error) {
	text, err := c.read(ctx, jobPath("job", name))
	return text, c.orNoSuchJob(ctx, name, err)
}

// orNoSuchJob returns the error of a request about a job; where there is no such job, one that says which was perhaps meant.
func (c *invocation) orNoSuchJob(ctx context.Context, name string, err error) error {
	failed, ok := errors.AsType[*statusError](err)
	if !ok || failed.status != http.StatusNotFound && failed.status != http.StatusBadRequest {
		return err
	}
	o, unknown := c.overview(ctx)
	if unknown != nil {
		return err
	}
	return noSuchJob(name, o.Jobs)
}

// noSuchJob names a job that was perhaps meant.
func noSuchJob(name string, jobs []jobRow) error {
	for _, j := range jobs {
		if strings.EqualFold(j.Name, name) || name != "" && strings.Contains(j.Name, name) {
			return fmt.Errorf("there is no job %q; is it %q?", name, j.Name)
		}
	}
	return fmt.Errorf("there is no job %q", name)
}

// ableCommand disables jobs, or enables them.
func ableCommand(disabled bool) func(*flag.FlagSet) func(context.Context, *invocation) error {
	return func(*flag.FlagSet) func(context.Context, *invocation) error {
		return func(ctx context.Context, c *invocation) error {
			return c.each(func(name string) error {
				text, err := c.document(ctx, name)
				if err != nil {
					return err
				}
				var keys map[string]json.RawMessage
				if err := json.Unmarshal(text, &keys); err != nil {
					return err
				}
				keys["disabled"] = encode(disabled)
				path := "/scheduler/iso8601"
				if _, dependent := keys["parents"]; dependent {
					path = "/scheduler/dependency"
				}
				_, err = c.change(ctx, http.MethodPost, path, bytes.NewReader(encode(keys)))
				return err
			})
		}
	}
}

// each does something with all the jobs named, also when it fails for some, and says what failed.
func (c *invocation) each(do func(name string) error) error {
	var failed error
	for _, name := range c.args {
		if err := do(name); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func deleteCommand(*flag.FlagSet) func(context.Context, *invocation) error {
	return func(ctx context.Context, c *invocation) error {
		return c.each(func(name string) error {
			if _, err := c.document(ctx, name); err != nil {
				return err
			}
			_, err := c.change(ctx, http.MethodDelete, jobPath("job", name), nil)
			return err
		})
	}
}

// nextCommand lists what is due next.
func nextCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	count := fs.Int("count", 20, "`number` of lines")
	job := fs.String("job", "", "the next instants of this `job` only")
	asJSON := fs.Bool("json", false, "answer as JSON")
	return func(ctx context.Context, c *invocation) error {
		if *count < 1 || *count > maxPreview {
			return fmt.Errorf("--count %d: want 1 to %d", *count, maxPreview)
		}
		if *job != "" {
			var p preview
			if err := c.readInto(ctx, fmt.Sprintf("%s?count=%d", jobPath("upcoming", *job), *count), &p); err != nil {
				return err
			}
			if *asJSON {
				return c.out.printJSON(p)
			}
			return c.out.occurrenceTable(p.Upcoming, time.Now())
		}
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		due := slices.DeleteFunc(o.Jobs, func(j jobRow) bool { return j.Next == 0 || j.Disabled })
		sortStable(due, func(a, b jobRow) int { return cmp.Compare(a.Next, b.Next) })
		due = due[:min(len(due), *count)]
		if *asJSON {
			return c.out.printJSON(due)
		}
		var rows [][]cell
		for _, j := range due {
			rows = append(rows, []cell{textCell(hereTime(j.Next)), textCell(fromNow(j.Next, o.Time)), textCell(j.Name), textCell(j.when())})
		}
		return c.out.table([]string{"DUE", "", "NAME", "WHEN"}, rows)
	}
}

// occurrenceTable shows instants of a schedule.
func (o *screen) occurrenceTable(list []occurrence, now time.Time) error {
	var rows [][]cell
	for _, at := range list {
		instant, err := time.Parse(time.RFC3339, at.UTC)
		if err != nil {
			return fmt.Errorf("read instant %q: %w", at.UTC, err)
		}
		rows = append(rows, []cell{textCell(at.Local), textCell(at.UTC), textCell(fromNow(instant.UnixMilli(), now.UnixMilli())), textCell(at.Note)})
	}
	return o.table([]string{"IN ITS ZONE", "UTC", "", "NOTE"}, rows)
}

// whyCommand says why a job waits, or does not run.
func whyCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	asJSON := fs.Bool("json", false, "answer as JSON what is known of the runs that wait")
	return func(ctx context.Context, c *invocation) error {
		name := c.args[0]
		var answer struct {
			Queued []struct {
				Position int
				Reasons  []string
				Run      runDocument
			}
		}
		text, err := c.read(ctx, jobPath("queued", name))
		if err != nil {
			return err
		}
		if *asJSON {
			return c.out.printJSON(json.RawMessage(text))
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return err
		}
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(o.Jobs, func(j jobRow) bool { return j.Name == name })
		if i < 0 {
			return noSuchJob(name, o.Jobs)
		}
		for _, line := range o.Jobs[i].standing(o.Time) {
			fmt.Fprintln(c.out, line)
		}
		for _, q := range answer.Queued {
			place := "is not in the queue yet"
			if q.Position >= 0 {
				place = fmt.Sprintf("has %d before it in the queue", q.Position)
			}
			fmt.Fprintf(c.out, "%s, due %s, %s\n", q.Run.ID, q.Run.Due, place)
			for _, reason := range q.Reasons {
				fmt.Fprintln(c.out, "  "+oneLine(reason))
			}
		}
		return nil
	}
}

// standing says where a job stands, as far as its row tells.
func (j *jobRow) standing(now int64) (lines []string) {
	if j.Problem != "" {
		lines = append(lines, "it can't be scheduled: "+oneLine(j.Problem))
	}
	if j.Disabled {
		lines = append(lines, "it is disabled: chronos enable "+j.Name)
	}
	if j.Running > 0 {
		lines = append(lines, fmt.Sprintf("%d of its runs are under way", j.Running))
	}
	switch {
	case j.Disabled:
	case len(j.Parents) > 0:
		lines = append(lines, "it runs when these have succeeded: "+strings.Join(j.Parents, ", "))
	case j.Next != 0:
		lines = append(lines, "it is due "+nextText(*j, now))
	default:
		lines = append(lines, "its schedule has no instants left: "+oneLine(j.when()))
	}
	return lines
}
