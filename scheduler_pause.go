package main

import (
	"context"
	"fmt"
	"time"
)

const pausePrefix = "go/pause/"

// A pause is a time in which a job does not run, which somebody has asked for. What falls into it is never made up.
// It is stored as go/pause/<job>.
type pause struct {
	Seq   int64 `json:"seq"`   // of the job: one made anew has another
	Since int64 `json:"since"` // ms since the epoch
	Until int64 `json:"until"`
}

func (p *pause) bar() bar {
	return bar{p.Since, p.Until, "the job was paused until " + instant(msTime(p.Until))}
}

// maxPause bounds a pause.
const maxPause = maxDuration

// pauseJob has a job not run from now until an instant. It takes the place of a pause that goes on.
func (s *scheduler) pauseJob(ctx context.Context, name string, until time.Time) error {
	_, err := s.onJob(ctx, "pause job", name, func(e *entry) (string, error) {
		if at := until.UnixMilli(); at <= s.now || at > s.now+maxPause.Milliseconds() {
			return "", &jobError{"until", fmt.Sprintf("until: %s is not between now and ten years from now", instant(until))}
		}
		s.fireDue(e)
		s.setPause(e, &pause{e.state.Seq, s.now, until.UnixMilli()})
		for _, r := range e.runs.snapshot() {
			if r.State != runQueued || r.Kind != kindRetry || r.Due >= e.pause.Until {
				continue
			}
			s.cut()
			s.queue.remove(r)
			e.blocked.remove(r)
			r.delayed = true
			s.putOff(r, e.pause.Until)
		}
		s.unblock(e)
		s.didTo(e, actPaused, "until "+instant(until))
		return "", nil
	})
	return err
}

// resumeJob ends a pause before its time.
func (s *scheduler) resumeJob(ctx context.Context, name string) error {
	_, err := s.onJob(ctx, "resume job", name, func(e *entry) (string, error) {
		if e.pause != nil {
			s.didTo(e, actResumed, "")
		}
		s.endPause(e)
		return "", nil
	})
	return err
}

// setPause replaces the pause of a job, nil for none.
func (s *scheduler) setPause(e *entry, p *pause) {
	e.pause, e.pauseDirty = p, true
	s.touch(e)
	s.watchPause(e)
	s.watchAbsence(e)
}

// watchPause sets the alarm of the end of a pause.
func (s *scheduler) watchPause(e *entry) {
	if e.pause == nil || e.gone {
		s.timers.drop(e.pauseEnd)
		return
	}
	if e.pauseEnd == nil {
		e.pauseEnd = &alarm{kind: timerPause, entry: e}
	}
	s.timers.move(e.pauseEnd, e.pause.Until)
}

// endPause ends the pause of a job, if it has one: what fell due so far is skipped, and what has waited goes on.
func (s *scheduler) endPause(e *entry) {
	if e.pause == nil {
		return
	}
	s.fireDue(e)
	until := e.pause.Until
	s.setPause(e, nil)
	for _, r := range e.runs.snapshot() {
		if r.delayed && r.Kind == kindRetry && r.Due == until {
			s.cut()
			r.update(func(n *Run) { n.Due = s.now })
			s.touchRun(r)
			s.timers.drop(&r.wait)
			s.release(r)
		}
	}
	s.feedBackfill(e)
}

// putOff has an attempt follow at another time.
func (s *scheduler) putOff(r *openRun, until int64) {
	r.update(func(n *Run) { n.Due = until })
	s.touchRun(r)
	s.waitUntil(r, timerRetry, until)
}
