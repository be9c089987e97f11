package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// slowTurn is how long a turn of the loop may take before it deserves a warning: nothing else
// is done meanwhile.
const slowTurn = 100 * time.Millisecond

// A turnLog is what the loop has handled in the turn that is under way.
type turnLog struct {
	began   time.Time
	steps   int64          // of the term when it began
	handled map[string]int // by kind
	job     string         // the last one concerned
}

// note records that something was handled, and the job concerned, if any.
func (l *turnLog) note(what, job string) {
	l.handled[what]++
	if job != "" {
		l.job = job
	}
}

const (
	// turnTime is how long a turn may take before what can wait is left for the next one. Half of it is for what falls due, and half for
	// placing that: a run that waits for the next turn is stored once more.
	turnTime = 50 * time.Millisecond
	// leastOfTurn is how much of each thing is done in any turn.
	leastOfTurn = 32
)

// A pace keeps the loop from being away for long, and from running far ahead of the writer: whoever asks for a change waits for
// all that was done before it to be stored.
type pace struct {
	ahead bool      // so that no run is opened or placed until the writer has caught up
	since time.Time // when that was first so, with occurrences due all the time; zero if it is not
	grace int64     // ms; how much older an occurrence may be for that
	fired int       // occurrences, in this round
}

// keepPace looks how far ahead of the writer the loop is.
func (s *scheduler) keepPace() {
	p := &s.pace
	p.ahead = s.writer.isBehind()
	switch {
	case !s.dues.due(s.now):
		p.since, p.grace = time.Time{}, 0
	case p.since.IsZero() && p.ahead:
		p.since = s.turnLog.began
	case !p.since.IsZero():
		p.grace = s.turnLog.began.Sub(p.since).Milliseconds()
	}
}

// isLong reports whether the turn has taken as long as it should.
func (s *scheduler) isLong() bool { return time.Since(s.turnLog.began) > turnTime }

// enough reports whether the rest of something is for the next turn, after so much of it in this one.
func (s *scheduler) enough(done int, limit time.Duration) bool {
	return done >= leastOfTurn && time.Since(s.turnLog.began) > limit
}

// mayWake reports whether children are to be looked at now.
func (s *scheduler) mayWake() bool { return len(s.wake) > 0 && !s.pace.ahead }

// begin starts a turn.
func (s *scheduler) begin() {
	s.turnLog.began, s.turnLog.steps, s.turnLog.job = time.Now(), s.steps, ""
	clear(s.turnLog.handled)
	s.lookAtClock()
}

// finish measures the turn, and warns of one that took long.
func (s *scheduler) finish() {
	took := time.Since(s.turnLog.began)
	s.cfg.turnTook(took)
	if took < slowTurn {
		return
	}
	s.log.Warn("the scheduler was busy for a long time, and did nothing else meanwhile", "took", took,
		"handled", s.turnLog.String(), "job", s.turnLog.job, "steps", s.steps-s.turnLog.steps)
}

// String lists what was handled, most of it first.
func (l *turnLog) String() string {
	var out []string
	for _, what := range slices.SortedFunc(maps.Keys(l.handled), func(a, b string) int {
		if l.handled[a] != l.handled[b] {
			return l.handled[b] - l.handled[a]
		}
		return strings.Compare(a, b)
	}) {
		out = append(out, fmt.Sprintf("%s x%d", what, l.handled[what]))
	}
	return strings.Join(out, ", ")
}
