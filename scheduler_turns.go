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
