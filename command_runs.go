package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A runsAnswer is what GET runs answers.
type runsAnswer struct {
	Open    []runDocument // oldest first
	History []runDocument // newest first
}

// runsOf lists the runs of a job, the newest first.
func (c *invocation) runsOf(ctx context.Context, job string) ([]runDocument, error) {
	var answer runsAnswer
	err := c.readInto(ctx, jobPath("runs", job), &answer)
	slices.Reverse(answer.Open)
	return append(answer.Open, answer.History...), c.orNoSuchJob(ctx, job, err)
}

// runTable shows a run a line.
func (o *screen) runTable(runs []runDocument, withReason bool) error {
	var rows [][]cell
	for _, r := range runs {
		row := []cell{textCell(r.ID), stateCell(string(r.State)), textCell(r.Due), textCell(msSpan(r.Late)), textCell(msSpan(r.Duration)), textCell(string(r.Kind)), textCell(r.Agent)}
		if withReason {
			row = append(row, textCell(r.Reason))
		}
		rows = append(rows, row)
	}
	titles := []string{"RUN", "STATE", "DUE", "LATE", "TOOK", "KIND", "AGENT"}
	if withReason {
		titles = append(titles, "REASON")
	}
	return o.table(titles, rows)
}

func msSpan(ms *int64) string {
	if ms == nil {
		return ""
	}
	return roughly(time.Duration(*ms) * time.Millisecond)
}

// A namedRun is a run in a list of all jobs.
type namedRun struct {
	Job string `json:"job"`
	rowRun
}

// runsCommand lists runs.
func runsCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	job := fs.String("job", "", "only runs of this `job`, with their ids and reasons")
	failed := fs.Bool("failed", false, "only runs that failed or were lost")
	since := fs.Duration("since", 0, "only runs that were due within this `duration`, such as 2h30m")
	asJSON := fs.Bool("json", false, "answer as JSON")
	return func(ctx context.Context, c *invocation) error {
		if *job != "" {
			return c.listRunsOf(ctx, *job, *failed, *since, *asJSON)
		}
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		var list []namedRun
		for _, j := range o.Jobs {
			for _, r := range j.Runs {
				if *failed && r.State != string(runFailed) && r.State != string(runLost) || *since > 0 && r.Due < o.Time-since.Milliseconds() {
					continue
				}
				list = append(list, namedRun{j.Name, r})
			}
		}
		sortStable(list, func(a, b namedRun) int { return cmp.Compare(b.Due, a.Due) })
		if *asJSON {
			return c.out.printJSON(list)
		}
		var rows [][]cell
		for _, r := range list {
			rows = append(rows, []cell{textCell(r.Job), stateCell(r.State), textCell(hereTime(r.Due)), textCell(msSpan(r.Late)), textCell(msSpan(r.Duration))})
		}
		return c.out.table([]string{"JOB", "STATE", "DUE", "LATE", "TOOK"}, rows)
	}
}

func (c *invocation) listRunsOf(ctx context.Context, job string, failed bool, since time.Duration, asJSON bool) error {
	runs, err := c.runsOf(ctx, job)
	if err != nil {
		return err
	}
	oldest := instant(time.Now().Add(-since))
	runs = slices.DeleteFunc(runs, func(r runDocument) bool {
		return failed && r.State != runFailed && r.State != runLost || since > 0 && r.Due < oldest
	})
	if asJSON {
		return c.out.printJSON(runs)
	}
	return c.out.runTable(runs, true)
}

// killCommand ends the runs of jobs.
func killCommand(*flag.FlagSet) func(context.Context, *invocation) error {
	return func(ctx context.Context, c *invocation) error {
		return c.each(func(name string) error {
			_, err := c.change(ctx, http.MethodDelete, jobPath("task/kill", name), nil)
			return err
		})
	}
}

// runCommand starts a job.
func runCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	arguments := fs.String("arguments", "", "take these `words` in place of the job's own arguments")
	wait := fs.Bool("wait", false, "wait for the end of the run, and end with its exit status")
	return func(ctx context.Context, c *invocation) error {
		name := c.args[0]
		path := jobPath("job", name)
		if *arguments != "" {
			path += "?arguments=" + url.QueryEscape(*arguments)
		}
		headers, err := c.change(ctx, http.MethodPut, path, nil)
		if err != nil {
			return err
		}
		id := headers.Get(runHeader)
		if id == "" {
			return errors.New("the instance has not said which run it started: it is of another version")
		}
		fmt.Fprintln(c.out, id)
		if why := headers.Get("Warning"); why != "" {
			fmt.Fprintln(c.out, strings.TrimPrefix(why, "299 - "))
		}
		if !*wait {
			return nil
		}
		return c.await(ctx, name, id)
	}
}

// awaitPatience is how long no instance may be reached before a run that is waited for is given up.
const awaitPatience = 2 * time.Minute

// await waits for the end of a run.
func (c *invocation) await(ctx context.Context, job, id string) error {
	pace := backoff{first: 200 * time.Millisecond, last: 2 * time.Second}
	reached := time.Now()
	for seen := false; ; {
		runs, err := c.runsOf(ctx, job)
		switch i := slices.IndexFunc(runs, func(r runDocument) bool { return r.ID == id }); {
		case err != nil && time.Since(reached) > awaitPatience:
			return &exitError{exitNoServer, fmt.Sprintf("wait for run %s: %v", id, err)}
		case err != nil: // another instance may lead soon
		case i < 0:
			why := "is not known"
			if seen {
				why = "is not known any more: the job was deleted, or has had too many runs since"
			}
			return &exitError{exitNoServer, "run " + id + " " + why}
		case runs[i].Ended != "":
			return waitedFor(runs[i])
		default:
			seen = true
		}
		if err == nil {
			reached = time.Now()
		}
		if !rest(ctx, pace.next()) {
			return ctx.Err()
		}
	}
}

// waitedFor is how a subcommand ends that has waited for the run.
func waitedFor(r runDocument) error {
	switch {
	case r.State == runFinished:
		return nil
	case r.State == runKilled:
		return &exitError{exitKilled, "the run was killed"}
	case r.Exit != nil && *r.Exit > 0 && *r.Exit < 256:
		return &exitError{*r.Exit, "the run has " + string(r.State) + ": " + oneLine(r.Reason)}
	}
	return &exitError{exitNoStatus, "the run is " + string(r.State) + ": " + oneLine(r.Reason)}
}

// logsCommand shows what a run has written.
func logsCommand(fs *flag.FlagSet) func(context.Context, *invocation) error {
	follow := fs.Bool("f", false, "follow the run until it ends")
	stderr := fs.Bool("stderr", false, "what it wrote to its standard error")
	return func(ctx context.Context, c *invocation) error {
		job, id := runArgument(c.args[0])
		if id == "" {
			runs, err := c.runsOf(ctx, job)
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(runs, func(r runDocument) bool { return r.Launched != "" }); i >= 0 {
				id = runs[i].ID
			}
			if id == "" {
				return fmt.Errorf("job %q has not run yet, or nothing is known of it any more", job)
			}
		}
		name := "stdout"
		if *stderr {
			name = "stderr"
		}
		return c.copyOutput(ctx, job, id, name, *follow)
	}
}

// runArgument tells a run's id from a job's name.
func runArgument(word string) (job, id string) {
	if _, _, job, _, ok := parseRunID(word); ok {
		return job, word
	}
	return word, ""
}

// followPace is how often a run that is followed is asked for more.
const followPace = 500 * time.Millisecond

// copyOutput writes an output by parts, and what is added to it while the run goes on.
func (c *invocation) copyOutput(ctx context.Context, job, id, name string, follow bool) error {
	path := "/scheduler/run/" + url.PathEscape(id) + "/" + name
	for offset := int64(0); ; {
		over := true
		if follow {
			var err error
			if over, err = c.isOver(ctx, job, id); err != nil { // before the output is read, so that none is missed
				return err
			}
		}
		next, err := c.copyPart(ctx, path, offset)
		missing, ok := errors.AsType[*statusError](err)
		switch {
		case ok && missing.status == http.StatusNotFound && follow && !over: // it has not begun
		case err != nil:
			return err
		}
		if next > offset {
			offset = next
			continue
		}
		if over {
			return nil
		}
		if !rest(ctx, followPace) {
			return nil // somebody has seen enough
		}
	}
}

// copyPart writes what there is from an offset on, and returns the offset behind it.
func (c *invocation) copyPart(ctx context.Context, path string, offset int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.send(ctx, http.MethodGet, fmt.Sprintf("%s?offset=%d", path, offset), nil)
	if err != nil {
		return offset, err
	}
	defer res.Body.Close()
	n, err := io.Copy(c.out, res.Body)
	if next, bad := strconv.ParseInt(res.Header.Get("X-Chronos-Next"), 10, 64); bad == nil {
		return next, err
	}
	return offset + n, err
}

func (c *invocation) isOver(ctx context.Context, job, id string) (bool, error) {
	runs, err := c.runsOf(ctx, job)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(runs, func(r runDocument) bool { return r.ID == id })
	return i < 0 || runs[i].Ended != "", nil
}
