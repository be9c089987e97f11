package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const backfillPrefix = "go/backfill/"

// maxBackfill is how many instants one backfill may have.
const maxBackfill = 1000

var (
	errDisabled    = errors.New("the job is disabled")
	errBackfilling = errors.New("a backfill of the job is under way")
)

// A backfill is the instants of a job's schedule that somebody wants to have run once more, fixed when it was asked for. It is
// stored as go/backfill/<job> until the last of them has its run.
type backfill struct {
	Seq     int64   `json:"seq"` // of the job
	Asked   int64   `json:"asked"`
	Total   int     `json:"total"`
	Left    []int64 `json:"left"` // ms, in order
	AtOnce  int     `json:"atOnce"`
	By      string  `json:"by,omitempty"`
	running int     // as shown
}

// A backfillRequest asks for a backfill: of the instants from one to before another.
type backfillRequest struct {
	from, to time.Time
	atOnce   int
	by       string
}

// startBackfill begins a backfill and returns how many instants it has, in digits: a repeated request is answered so again.
func (s *scheduler) startBackfill(ctx context.Context, name string, want backfillRequest) (string, error) {
	return s.onJob(ctx, "backfill", name, func(e *entry) (string, error) {
		switch {
		case e.job.Disabled:
			return "", fmt.Errorf("job %q: %w", name, errDisabled)
		case e.backfill != nil:
			return "", fmt.Errorf("job %q: %w: %d of %d are left; DELETE backfill/%s stops it", name, errBackfilling, len(e.backfill.Left), e.backfill.Total, name)
		case want.atOnce > 1 && e.job.overlap() != overlapAllow:
			return "", &jobError{"concurrency", `concurrency: more than 1 is for jobs with "overlap":"allow"`}
		}
		instants, err := s.instantsBetween(e, want.from, want.to)
		if err != nil {
			return "", err
		}
		if n := len(instants); n > 0 {
			s.setBackfill(e, &backfill{Seq: e.state.Seq, Asked: s.now, Total: n, Left: instants, AtOnce: max(want.atOnce, 1), By: want.by})
			s.fireDue(e)
			s.feedBackfill(e)
			s.didTo(e, actBackfilled, fmt.Sprintf("%s from %s to %s", countOf(n, "instant"), instant(want.from), instant(want.to)))
		}
		return strconv.Itoa(len(instants)), nil
	})
}

// instantsBetween lists the instants of a job's schedule in a time that has passed, but for those that it excludes. They may be from before
// the job was made.
func (s *scheduler) instantsBetween(e *entry, from, to time.Time) ([]int64, error) {
	posted, err := parseSchedule(e.state.Posted, e.state.Zone, s.serverTime())
	switch {
	case e.job.Dependent:
		return nil, &jobError{"schedule", "the job has parents and no schedule, so there are no instants to run"}
	case e.problem != "":
		return nil, &jobError{"schedule", e.problem}
	case err == nil && posted.emptyStart():
		return nil, &jobError{"schedule", "the schedule has no written start, so it has no instants but those that were to come when it was posted"}
	}
	at := e.sched.at(from.UnixMilli())
	if !e.sched.isCron() {
		_, _, _, at = e.sched.at(0).passed(from.Add(-time.Millisecond))
	}
	end := min(to.UnixMilli(), s.now)
	excluded := e.job.barring(e.sched.zone())
	var all []int64
	for {
		t, ok := at.next()
		if !ok || t.UnixMilli() >= end {
			return all, nil
		}
		if excluded.at(t.UnixMilli()) == nil {
			if len(all) == maxBackfill {
				return nil, &jobError{"to", fmt.Sprintf("to: there are more than %d instants in that time; ask for less of it at once", maxBackfill)}
			}
			all = append(all, t.UnixMilli())
		}
		_, _, _, at = at.passed(t)
	}
}

// stopBackfill ends a backfill. Its runs that are open go on.
func (s *scheduler) stopBackfill(ctx context.Context, name string) error {
	_, err := s.onJob(ctx, "stop backfill", name, func(e *entry) (string, error) {
		if e.backfill == nil {
			return "", fmt.Errorf("backfill of job %q: %w", name, errNotFound)
		}
		s.didTo(e, actBackfillEnded, fmt.Sprintf("%d of %d were left", len(e.backfill.Left), e.backfill.Total))
		s.setBackfill(e, nil)
		return "", nil
	})
	return err
}

func (s *scheduler) setBackfill(e *entry, b *backfill) {
	e.backfill, e.backfillDirty = b, true
	s.touch(e)
}

// feedBackfill opens the next runs of a backfill, unless an occurrence of the job, or an attempt that follows one, waits or runs.
func (s *scheduler) feedBackfill(e *entry) {
	for e.backfill != nil && !e.gone && !e.job.Disabled && e.pause == nil && !e.retrying && !e.closing && !s.yielding {
		if len(e.backfill.Left) == 0 {
			s.setBackfill(e, nil)
			return
		}
		own, others := e.backfillRuns()
		if others || own >= e.backfill.AtOnce {
			return
		}
		next := *e.backfill
		instant := next.Left[0]
		next.Left = next.Left[1:]
		s.setBackfill(e, &next)
		s.add(e, &Run{Kind: kindBackfill, Due: s.now, Backfill: instant, By: next.By}, s.nextID(e))
	}
}

// backfillRuns counts the open runs of a backfill, and reports whether an occurrence of the job is not over.
func (e *entry) backfillRuns() (own int, others bool) {
	for r := range e.runs.all() {
		switch {
		case r.Backfill != 0:
			own++
		case r.ofOccurrence():
			others = true
		}
	}
	return own, others
}

// shownBackfill is the backfill as readers see it, nil for none.
func (e *entry) shownBackfill() *backfill {
	if e.backfill == nil {
		return nil
	}
	b := *e.backfill
	b.running, _ = e.backfillRuns()
	return &b
}
