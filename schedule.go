package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Schedule says when a job is due, and has a position, which is one of its occurrences. It is either
// an ISO 8601 repeating interval (R5/2030-01-31T00:00:00Z/P1M) or a cron expression. It is
// an immutable value.
//
// An interval keeps its start and how many periods past it the position is, and computes every
// occurrence from the start in one step: a monthly job of Jan 31 runs on Feb 28 and on
// Mar 31, a daily one of 02:30 runs at 03:30 on the day when the clocks skip 02:30, and at 02:30
// again on the next. A JVM Chronos stores nothing but the next occurrence, so there, and
// when String is parsed again, the month stays at 28 and the day at 03:30.
//
// An interval of several occurrences whose period is zero, negative or shorter than a
// second has only its first. check refuses it; older versions have stored such jobs.
type Schedule struct {
	text  string // as parsed, with an empty start filled in
	empty bool   // the text had an empty start
	times int64  // occurrences from the start on; -1 means forever
	index int64  // see anchor

	start  time.Time // occurrence 0, in the zone that all are computed in
	wall   int64     // the local time of start as written; start is later if that falls in a DST gap
	period Period

	cron *cronExpr // nil for an interval; start is then the time of parsing
}

// parseSchedule reads a schedule. zone is the job's scheduleTimeZone: if not empty, the
// start's local time is read in it and cron expressions are evaluated in it. Otherwise the
// offset in the text counts and, for a start without one and for cron, now's location. An empty
// start means now: in UTC, or in the zone if there is one, so that it stays the same
// instant when the result of String is parsed again.
// The position of a cron schedule is its first occurrence after now.
func parseSchedule(text, zone string, now time.Time) (Schedule, error) {
	var loc *time.Location
	if zone != "" {
		loc, _ = loadZone(zone)
	}
	if !strings.HasPrefix(text, "R") && (strings.HasPrefix(text, "@") || len(strings.Fields(text)) > 1) {
		return parseCronSchedule(text, loc, now)
	}
	repetitions, startText, periodText, ok := splitInterval(text)
	if !ok {
		return Schedule{}, fmt.Errorf("schedule %q is neither R[n]/<start>/<period> nor a cron expression", text)
	}
	s := Schedule{text: text, times: -1}
	var err error
	if repetitions != "" {
		if s.times, err = strconv.ParseInt(repetitions, 10, 64); err != nil {
			return Schedule{}, fmt.Errorf("schedule %q: %s repetitions are too many", text, repetitions)
		}
	}
	if s.period, err = parsePeriod(periodText); err != nil {
		return Schedule{}, fmt.Errorf("schedule %q: %w", text, err)
	}
	if startText != "" {
		st, err := parseStart(startText)
		if err != nil {
			return Schedule{}, fmt.Errorf("schedule %q: %w", text, err)
		}
		s.start = st.in(loc, now.Location())
		s.wall = st.wall
		return s, nil
	}
	if loc == nil {
		loc = time.UTC
	}
	s.start = time.UnixMilli(now.UnixMilli()).In(loc)
	s.wall = wallOf(s.start)
	s.empty = true
	s.text = fmt.Sprintf("R%s/%s/%s", repetitions, formatStart(s.start), periodText)
	return s, nil
}

// splitInterval splits R[n]/<start>/P<period> at the last /P.
func splitInterval(text string) (repetitions, start, period string, ok bool) {
	rest, ok := strings.CutPrefix(text, "R")
	if !ok {
		return "", "", "", false
	}
	n := countDigits(rest, len(rest))
	repetitions, rest = rest[:n], rest[n:]
	i := strings.LastIndex(rest, "/P")
	if i < 1 || rest[0] != '/' {
		return "", "", "", false
	}
	return repetitions, rest[1:i], rest[i+1:], true
}

func parseCronSchedule(text string, loc *time.Location, now time.Time) (Schedule, error) {
	expr, err := parseCron(text)
	if err != nil {
		return Schedule{}, err
	}
	if loc == nil {
		loc = now.Location()
	}
	s := Schedule{text: text, cron: expr, start: now.In(loc)}
	return s.at(now.UnixMilli() + 1), nil
}

// check returns why a schedule that can be parsed must not be accepted from a user.
func (s Schedule) check() error {
	switch {
	case s.cron != nil && !s.cron.satisfiable():
		return fmt.Errorf("schedule %q never comes: no such date", s.text)
	case s.cron != nil || s.times == 0 || s.times == 1 || s.period.repeats():
		return nil
	case s.period.isZero():
		return fmt.Errorf("schedule %q repeats with a period of zero", s.text)
	}
	return fmt.Errorf("schedule %q repeats with a period of %s, which is not always at least a second", s.text, s.period)
}

// String returns the schedule from its position on, as a JVM Chronos reads it. A cron
// schedule becomes a single run at its next occurrence.
func (s Schedule) String() string {
	n, period := "", s.period
	if s.cron != nil {
		n, period = "1", Period{Days: 1}
	}
	if left := s.remaining(); left >= 0 {
		n = strconv.FormatInt(left, 10)
	}
	return "R" + n + "/" + formatStart(s.position()) + "/" + period.String()
}

// position returns the instant of next, or what that would be if the schedule
// were not exhausted.
func (s Schedule) position() time.Time {
	if t, ok := s.next(); ok {
		return t
	}
	if s.cron == nil && (s.times >= 0 || s.period.repeats()) {
		if t, err := s.period.plus(s.start, s.index); err == nil {
			return t
		}
	}
	return s.start
}

func (s Schedule) isCron() bool { return s.cron != nil }

// emptyStart reports whether the text that was parsed had an empty start.
func (s Schedule) emptyStart() bool { return s.empty }

// remaining returns how many occurrences are left, including the current one; -1 means
// forever.
func (s Schedule) remaining() int64 {
	switch _, ok := s.next(); {
	case !ok:
		return 0
	case s.times < 0:
		return -1
	}
	return s.times - s.index
}

// anchor returns what is needed to restore the schedule after a restart:
// parseSchedule(text, zone, now), with the same zone, and then at(index). For an interval,
// index is the number of periods past the start. For cron it is the instant in
// milliseconds since the epoch.
func (s Schedule) anchor() (text string, index int64) { return s.text, s.index }

// at returns the schedule at another index: any occurrence of an interval, or the
// first occurrence of a cron expression that is not before that instant.
// What remains follows from the index.
func (s Schedule) at(index int64) Schedule {
	if s.cron == nil {
		s.index = max(index, 0)
		return s
	}
	s.times = 0
	if first, ok := s.cron.next(time.UnixMilli(index-1), s.start.Location()); ok {
		s.times, s.index = -1, first.UnixMilli()
	}
	return s
}

// rhythmic reports whether the schedule means an interval rather than fixed times of day: it is an interval, or a cron
// expression with a * or a step among seconds, minutes or hours.
func (s Schedule) rhythmic() bool { return s.cron == nil || s.cron.rhythmic }

// back returns the schedule at its first occurrence after t, if that is before the current one. As many are left as
// before. An interval that has begun may go back before its start: it may have begun when the clock was wrong.
func (s Schedule) back(t time.Time) Schedule {
	if _, ok := s.next(); !ok {
		return s
	}
	if s.cron != nil {
		return s.at(min(s.index, t.UnixMilli()+1))
	}
	left, began := s.remaining(), s.index > 0
	repetitions, startText, period, _ := splitInterval(s.text)
	s.index = min(s.index, s.lastAt(t)+1)
	if s.index == 0 && began && s.period.repeats() {
		s.index = s.firstBeforeStart(t)
	}
	if s.index < 0 {
		s.moveStart()
		startText = formatStart(s.start)
	}
	if left >= 0 {
		s.times = left + s.index
		repetitions = strconv.FormatInt(s.times, 10)
	}
	s.text = "R" + repetitions + "/" + startText + "/" + period
	return s
}

// firstBeforeStart returns the number, at most 0, of an interval's first occurrence after t, as if it had begun long before.
func (s Schedule) firstBeforeStart(t time.Time) int64 {
	reached := func(k int64) bool {
		o, err := s.period.plus(s.start, k)
		return err != nil || !o.After(t)
	}
	if reached(0) {
		return 0
	}
	low := min(-1, int64(float64(t.UnixMilli()-s.start.UnixMilli())/s.period.mean())-1)
	high := int64(0)
	for step := int64(1); !reached(low); step *= 2 {
		low, high = low-step, low
	}
	for high-low > 1 {
		if mid := low + (high-low)/2; reached(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// moveStart gives an interval whose position is before its start a new start, no later than the position: the nearest one
// from which it returns to the same day of the month and time of day.
func (s *Schedule) moveStart() {
	const farthest = 8 * 12 // months from one leap day to the next, at most
	for k := s.index; k > s.index-farthest; k-- {
		start, err := s.period.plus(s.start, k)
		if err != nil {
			break
		}
		if wall := wallOf(start); s.period.comesBackTo(s.wall, wall) {
			s.start, s.wall, s.index = start, wall, s.index-k
			return
		}
	}
	s.start, _ = s.period.plus(s.start, s.index) // no error: the position itself is within the range of years
	s.wall, s.index = wallOf(s.start), 0
}

// same reports whether both schedules have the same next instant.
func (s Schedule) same(as Schedule) bool {
	a, ok1 := s.next()
	b, ok2 := as.next()
	return ok1 == ok2 && a.Equal(b)
}

// resumed returns the schedule as it continues after the clock was set back to now, by that many ms: at the first
// occurrence after now, but not before half a period has passed since the last one.
func (s Schedule) resumed(now time.Time, by int64) Schedule {
	last, ok := s.lastAfter(now)
	if !ok {
		return s
	}
	first := s.back(now)
	if first.cron == nil {
		first.times = -1 // so that the last occurrence has the same period, too
	}
	from, _ := first.next()
	to, ok := first.at(first.index + 1).next()
	if !ok {
		return s
	}
	soonest := last.Add(to.Sub(from)/2 - time.Duration(by)*time.Millisecond)
	if soonest.After(now) {
		return s.back(soonest.Add(-time.Millisecond))
	}
	return s.back(now)
}

// lastAfter returns the last occurrence before the current one, if that is after t.
func (s Schedule) lastAfter(t time.Time) (time.Time, bool) {
	next, ok := s.next()
	if !ok || !next.After(t) {
		return time.Time{}, false
	}
	if s.cron == nil {
		last, ok := s.occurrence(s.index - 1)
		return last, ok && last.After(t)
	}
	n, _, last, _ := s.back(t).passed(next.Add(-time.Millisecond))
	return last, n > 0
}

// occurrence returns the k-th occurrence of an interval, from 0.
func (s Schedule) occurrence(k int64) (time.Time, bool) {
	if k < 0 || k > s.last() {
		return time.Time{}, false
	}
	t, err := s.period.plus(s.start, k)
	return t, err == nil
}

// last returns the number of an interval's last occurrence, or -1 if there is none. That of an
// endless interval is beyond any year.
func (s Schedule) last() int64 {
	switch {
	case s.times == 0:
		return -1
	case !s.period.repeats():
		return 0
	case s.times < 0:
		return math.MaxInt64 - 1
	}
	return s.times - 1
}

// next returns the current occurrence. It is false when there are no
// more, or never were any.
func (s Schedule) next() (time.Time, bool) {
	if s.cron == nil {
		return s.occurrence(s.index)
	}
	return time.UnixMilli(s.index).In(s.start.Location()), s.times != 0
}

// passed returns how many of the occurrences from the current one on are at or before now, the first and
// the last of them, and the schedule after them. It takes a few steps, however many
// there are (for cron, one more for each day).
func (s Schedule) passed(now time.Time) (n int64, first, last time.Time, rest Schedule) {
	first, ok := s.next()
	if !ok || first.After(now) {
		return 0, time.Time{}, time.Time{}, s
	}
	if s.cron != nil {
		loc := s.start.Location()
		last = s.cron.last(first, now, loc)
		return s.cron.count(first, last, loc), first, last, s.at(last.UnixMilli() + 1)
	}
	k := s.lastAt(now)
	last, _ = s.occurrence(k)
	return k - s.index + 1, first, last, s.at(k + 1)
}

// lastAt returns the number of an interval's last occurrence that is not after t, or -1.
// It guesses from the mean length of the period and closes in from there.
func (s Schedule) lastAt(t time.Time) int64 {
	reached := func(k int64) bool {
		o, ok := s.occurrence(k)
		return ok && !o.After(t)
	}
	if !reached(0) {
		return -1
	}
	last := s.last()
	if last == 0 {
		return 0
	}
	guess := float64(t.UnixMilli()-s.start.UnixMilli()) / s.period.mean()
	low, high := int64(0), min(int64(guess), last)
	for step := int64(1); ; step *= 2 {
		if !reached(high) {
			break
		}
		low = high
		if high == last {
			return last
		}
		high = min(high+step, last)
	}
	for step := int64(1); high-step > low; step *= 2 {
		if reached(high - step) {
			low = high - step
			break
		}
		high -= step
	}
	for high-low > 1 {
		if mid := low + (high-low)/2; reached(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// A bygone is n occurrences in a row that have passed and do not run.
type bygone struct {
	n           int64
	first, last time.Time
}

// A passage is what becomes of occurrences that have passed by the time they are handled.
type passage struct {
	old   bygone    // as old as epsilon, or older
	older bygone    // younger than epsilon, but older than due
	due   time.Time // the newest, which runs; zero if there is none
	rest  Schedule  // after them all
}

// pass says what becomes of the occurrences from the current one on that are at or before now: the
// newest runs if it is younger than epsilon (in ms), the others do not. It is used both by the scheduler,
// which makes them due, and by code that shows what the scheduler will do.
func (s Schedule) pass(now time.Time, epsilon int64) passage {
	n, first, last, rest := s.passed(now)
	p := passage{rest: rest}
	if n == 0 {
		return p
	}
	tooOld := time.UnixMilli(now.UnixMilli() - max(epsilon, 0))
	old, _, lastOld, young := s.passed(tooOld)
	if old == n {
		p.old = bygone{n, first, last}
		return p
	}
	if old > 0 {
		p.old = bygone{old, first, lastOld}
	}
	p.due = last
	if n -= old + 1; n > 0 {
		from, _ := young.next()
		_, _, to, _ := young.passed(last.Add(-time.Millisecond))
		if to.IsZero() { // two meet where a zone skips a whole day
			to = last
		}
		p.older = bygone{n, from, to}
	}
	return p
}

// newest returns the latest of the occurrences that have passed. It is false if none has.
func (p passage) newest() (time.Time, bool) {
	if p.due.IsZero() {
		return p.old.last, p.old.n > 0
	}
	return p.due, true
}

// coming returns the next n instants, as of now, at which a schedule runs: one
// that has passed, if it is still to run, and those after now.
func (s Schedule) coming(now time.Time, epsilon int64, n int) []time.Time {
	p := s.pass(now, epsilon)
	if p.due.IsZero() || n < 1 {
		return p.rest.upcoming(now, n)
	}
	return append([]time.Time{p.due}, p.rest.upcoming(now, n-1)...)
}

// upcoming returns up to n occurrences strictly after a time, none of them before the current
// one.
func (s Schedule) upcoming(after time.Time, n int) []time.Time {
	var found []time.Time
	_, _, _, rest := s.passed(after)
	for len(found) < n {
		t, ok := rest.next()
		if !ok {
			break
		}
		if len(found) == 0 || t.After(found[len(found)-1]) { // two coincide where a zone skips a whole day
			found = append(found, t)
		}
		rest = rest.at(rest.index + 1)
	}
	return found
}

// dstNote says what daylight saving time does to the occurrence at t, or "".
func (s Schedule) dstNote(t time.Time) string {
	loc := s.start.Location()
	t = t.In(loc)
	if wall, ok := s.skippedWall(t); ok {
		return fmt.Sprintf("%s does not exist in %s, where the clocks go forward; it runs at %s instead",
			time.UnixMilli(wall).UTC().Format(time.DateTime), loc, t.Format(time.TimeOnly))
	}
	which := ""
	began, ends, offset := zoneSpan(loc, t.Unix())
	if began != math.MinInt64 && t.Unix()-began < offsetAt(loc, began*1000-1)/1000-offset {
		which = "second"
	}
	if ends != math.MaxInt64 && ends-t.Unix() <= offset-offsetAt(loc, ends*1000)/1000 {
		which = "first"
	}
	if which == "" {
		return ""
	}
	return fmt.Sprintf("%s occurs twice in %s, where the clocks go back; this is the %s time",
		t.Format(time.DateTime), loc, which)
}

// skippedWall returns the local time in milliseconds that the occurrence at t should have
// had, if the clocks skip it.
func (s Schedule) skippedWall(t time.Time) (wall int64, ok bool) {
	if s.cron != nil {
		return s.cron.skippedWall(t)
	}
	p := s.period
	k := s.lastAt(t)
	if o, ok := s.occurrence(k); !ok || !o.Equal(t) {
		return 0, false
	}
	if k == 0 {
		return s.wall, s.wall != wallOf(t)
	}
	if p.Hours|p.Minutes|p.Seconds|p.Millis != 0 {
		return 0, false
	}
	ideal, err := p.plus(time.UnixMilli(wallOf(s.start)).UTC(), k)
	wall = ideal.UnixMilli()
	return wall, err == nil && wall != wallOf(t)
}

// nth returns an instant up to which n occurrences have passed; first and last are the first and the last of them and others.
func (s Schedule) nth(n int64, first, last time.Time) time.Time {
	low, high := first.UnixMilli(), last.UnixMilli()
	for low < high {
		mid := low + (high-low)/2
		if passed, _, _, _ := s.passed(time.UnixMilli(mid)); passed >= n {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return time.UnixMilli(low)
}

// zone is the one in which the schedule is read.
func (s Schedule) zone() *time.Location {
	if s.start.IsZero() {
		return time.UTC
	}
	return s.start.Location()
}
