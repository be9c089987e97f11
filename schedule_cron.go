package main

import (
	"fmt"
	"iter"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// A cronExpr is a parsed cron expression: a bit for every value that a field
// allows. It is immutable.
//
// If both day fields are restricted, it is enough that one of them matches. A field is
// restricted if it leaves any value out, so */2 is and 1-31 is not.
//
// A time that the clocks skip in spring runs at the first instant after the gap, unless
// every hour matches (then nothing is lost). A time that they show twice in autumn runs
// once, the first time, unless the hour field has a * or a step: then the
// expression means an interval and runs both times.
type cronExpr struct {
	second, minute, hour, day, month, weekday uint64
	interval                                  bool // the hour field has a * or a step
	rhythmic                                  bool // or the minute or second field
}

// cronField describes one field of an expression.
type cronField struct {
	name      string
	low, high int
	names     []string // of the values from low on, in lower case
}

var (
	cronSecond  = cronField{name: "second", high: 59}
	cronMinute  = cronField{name: "minute", high: 59}
	cronHour    = cronField{name: "hour", high: 23}
	cronDay     = cronField{name: "day of month", low: 1, high: 31}
	cronMonth   = cronField{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}}
	cronWeekday = cronField{"day of week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}}
)

var cronMacros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// parseCron reads an expression of five fields (minute, hour, day of month, month,
// day of week), of six with seconds before them, or a macro like @daily. A field is a list
// of values, ranges and steps (1,5-10,*/15,20/5) with English names for months and days of
// the week; 0 and 7 are both Sunday and ? is the same as *.
func parseCron(text string) (*cronExpr, error) {
	expr := strings.ToLower(strings.TrimSpace(text))
	if strings.HasPrefix(expr, "@") {
		macro, ok := cronMacros[expr]
		if !ok {
			return nil, fmt.Errorf("parse cron %q: unknown macro, want @hourly, @daily, @weekly, @monthly or @yearly", text)
		}
		expr = macro
	}
	fields := strings.Fields(expr)
	if len(fields) == 5 {
		fields = append([]string{"0"}, fields...)
	}
	if len(fields) != 6 {
		return nil, fmt.Errorf("parse cron %q: %d fields, want 5 (minute, hour, day of month, month, day of week) or 6 with seconds first", text, len(fields))
	}
	const interval = "*?/"
	c := &cronExpr{interval: strings.ContainsAny(fields[2], interval), rhythmic: strings.ContainsAny(strings.Join(fields[:3], ""), interval)}
	for i, f := range []struct {
		cronField
		mask *uint64
	}{{cronSecond, &c.second}, {cronMinute, &c.minute}, {cronHour, &c.hour}, {cronDay, &c.day}, {cronMonth, &c.month}, {cronWeekday, &c.weekday}} {
		mask, err := f.parse(fields[i])
		if err != nil {
			return nil, fmt.Errorf("parse cron %q: %s %q: %w", text, f.name, fields[i], err)
		}
		*f.mask = mask
	}
	c.weekday = (c.weekday | c.weekday>>7) & 0x7f // 7 is Sunday, too
	return c, nil
}

// parse returns the set of values that a field's text allows.
func (f cronField) parse(text string) (mask uint64, err error) {
	for item := range strings.SplitSeq(text, ",") {
		base, stepText, stepped := strings.Cut(item, "/")
		low, high, err := f.bounds(base, stepped)
		if err != nil {
			return 0, err
		}
		step := 1
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 || !isDigit(stepText[0]) {
				return 0, fmt.Errorf("step %q is not a positive number", stepText)
			}
		}
		for v := low; v <= high; v += step {
			mask |= 1 << v
			if step > high {
				break // v + step might overflow
			}
		}
	}
	return mask, nil
}

// bounds returns the first and last value of an item without its step. A single value
// with a step extends to the end of the field.
func (f cronField) bounds(text string, stepped bool) (low, high int, err error) {
	last := f.high
	if f.high == 7 {
		last = 6 // 7 counts only where it is written
	}
	if text == "*" || text == "?" {
		return f.low, last, nil
	}
	lowText, highText, ranged := strings.Cut(text, "-")
	if low, err = f.value(lowText); err != nil {
		return 0, 0, err
	}
	switch {
	case ranged:
		if high, err = f.value(highText); err != nil {
			return 0, 0, err
		}
	case stepped:
		high = max(low, last)
	default:
		high = low
	}
	if highText == "sun" && low > 0 {
		high = 7
	}
	if low > high {
		return 0, 0, fmt.Errorf("range %q ends before it starts", text)
	}
	return low, high, nil
}

func (f cronField) value(text string) (int, error) {
	for i, name := range f.names {
		if text == name {
			return f.low + i, nil
		}
	}
	v, ok := digitsValue(text)
	if text == "" || !ok || len(text) > 9 {
		return 0, fmt.Errorf("%q is not a value", text)
	}
	if v < f.low || v > f.high {
		return 0, fmt.Errorf("%d is not within %d-%d", v, f.low, f.high)
	}
	return v, nil
}

// satisfiable reports whether any date matches, which Feb 30 does not.
func (c *cronExpr) satisfiable() bool {
	if c.weekday != 0x7f {
		return true
	}
	for month := time.January; month <= time.December; month++ {
		const leapYear = 2024
		if c.month&(1<<month) != 0 && bits.TrailingZeros64(c.day) <= daysIn(leapYear, month) {
			return true
		}
	}
	return false
}

// next returns the first match after t, in loc.
func (c *cronExpr) next(t time.Time, loc *time.Location) (time.Time, bool) {
	if !c.satisfiable() {
		return time.Time{}, false
	}
	const nineYears = 9 * 366 * daySeconds // a Feb 29 is at most eight years away
	from := floorDiv(t.UnixMilli(), 1000) + 1
	for st := range c.stretches(loc, from, from+nineYears) {
		if st.catchUp {
			return time.Unix(st.start, 0).In(loc), true
		}
		if wall, ok := c.nextWall(st.from, st.to); ok {
			return time.Unix(wall-st.offset, 0).In(loc), true
		}
	}
	return time.Time{}, false
}

// count returns the number of matches from the instant first to last, both included.
func (c *cronExpr) count(first, last time.Time, loc *time.Location) int64 {
	var n int64
	for st := range c.stretches(loc, first.Unix(), last.Unix()+1) {
		n += c.countWall(st.from, st.to)
		if st.catchUp && c.countWall(st.from, st.from+1) == 0 {
			n++
		}
	}
	return n
}

// last returns the last match that is not after now; first is such a match.
func (c *cronExpr) last(first, now time.Time, loc *time.Location) time.Time {
	low, high := first.Unix(), floorDiv(now.UnixMilli(), 1000)
	for low < high {
		mid := low + (high-low)/2
		if t, ok := c.next(time.Unix(mid, 0), loc); ok && !t.After(now) {
			low = t.Unix()
		} else {
			high = mid
		}
	}
	return time.Unix(low, 0).In(loc)
}

// skippedWall returns the first matching local time, in milliseconds, of the gap that
// ended at t, if there was one whose matches run at t.
func (c *cronExpr) skippedWall(t time.Time) (wall int64, ok bool) {
	began, _, offset := zoneSpan(t.Location(), t.Unix())
	if t.Unix() != began || bits.OnesCount64(c.hour) == 24 {
		return 0, false
	}
	wall, ok = c.nextWall(began+offsetAt(t.Location(), began*1000-1)/1000, began+offset)
	return wall * 1000, ok
}

const daySeconds = 86400

// A stretch is the time between two changes of the clocks, in local seconds: within
// it, they run evenly.
type stretch struct {
	start    int64 // the instant at which it starts
	from, to int64 // local times to consider: from <= wall < to
	offset   int64 // seconds east
	catchUp  bool  // it starts after a gap that held matches: they run at its start
}

// stretches yields the stretches between two instants (from <= t < to) in seconds,
// cut so that every match in them counts.
func (c *cronExpr) stretches(loc *time.Location, from, to int64) iter.Seq[stretch] {
	return func(yield func(stretch) bool) {
		for from < to {
			began, ends, offset := zoneSpan(loc, from)
			st := stretch{start: from, from: from + offset, to: min(to, ends) + offset, offset: offset}
			if began != math.MinInt64 {
				c.cut(&st, began, offsetAt(loc, began*1000-1)/1000)
			}
			if !yield(st) {
				return
			}
			from = ends
		}
	}
}

// cut applies the rules for gaps and overlaps to a stretch of a zone period that began
// at the given instant, when the offset changed from before.
func (c *cronExpr) cut(st *stretch, began, before int64) {
	switch {
	case before < st.offset && st.start == began && bits.OnesCount64(c.hour) < 24:
		st.catchUp = c.countWall(began+before, began+st.offset) > 0
	case before > st.offset && !c.interval:
		st.from = max(st.from, began+before)
	}
}

// nextWall returns the first matching local time with from <= wall < to.
func (c *cronExpr) nextWall(from, to int64) (int64, bool) {
	day := floorDiv(from, daySeconds)
	second := int(from - day*daySeconds)
	for ; day*daySeconds < to; day, second = day+1, 0 {
		date := time.Unix(day*daySeconds, 0).UTC()
		if c.month&(1<<date.Month()) == 0 {
			day += int64(daysIn(date.Year(), date.Month()) - date.Day())
			continue
		}
		if !c.matchesDay(date) {
			continue
		}
		if s, ok := c.nextSecond(second); ok {
			wall := day*daySeconds + int64(s)
			return wall, wall < to
		}
	}
	return 0, false
}

// countWall returns the number of matching local times with from <= wall < to.
func (c *cronExpr) countWall(from, to int64) int64 {
	if from >= to {
		return 0
	}
	var n int64
	first, last := floorDiv(from, daySeconds), floorDiv(to-1, daySeconds)
	for day := first; day <= last; day++ {
		if !c.matchesDay(time.Unix(day*daySeconds, 0).UTC()) {
			continue
		}
		n += c.rank(int(min(to-day*daySeconds, daySeconds)))
		if day == first {
			n -= c.rank(int(from - day*daySeconds))
		}
	}
	return n
}

func (c *cronExpr) matchesDay(date time.Time) bool {
	if c.month&(1<<date.Month()) == 0 {
		return false
	}
	day, weekday := c.day&(1<<date.Day()) != 0, c.weekday&(1<<date.Weekday()) != 0
	const allDays = 0xfffffffe
	if c.day == allDays || c.weekday == 0x7f {
		return day && weekday
	}
	return day || weekday
}

// nextSecond returns the first match in a day at or after a second of it.
func (c *cronExpr) nextSecond(second int) (int, bool) {
	h, m, s := second/3600, second/60%60, second%60
	if c.hour&(1<<h) != 0 {
		if c.minute&(1<<m) != 0 {
			if s, ok := nextBit(c.second, s); ok {
				return h*3600 + m*60 + s, true
			}
		}
		if m, ok := nextBit(c.minute, m+1); ok {
			return h*3600 + m*60 + bits.TrailingZeros64(c.second), true
		}
	}
	h, ok := nextBit(c.hour, h+1)
	return h*3600 + bits.TrailingZeros64(c.minute)*60 + bits.TrailingZeros64(c.second), ok
}

// rank returns how many matches a matching day has before a second of it.
func (c *cronExpr) rank(second int) int64 {
	below := func(mask uint64, n int) int64 { return int64(bits.OnesCount64(mask & (1<<n - 1))) }
	h, m, s := second/3600, second/60%60, second%60
	perMinute := below(c.second, 60)
	perHour := perMinute * below(c.minute, 60)
	n := below(c.hour, h) * perHour
	if c.hour&(1<<h) != 0 {
		n += below(c.minute, m) * perMinute
		if c.minute&(1<<m) != 0 {
			n += below(c.second, s)
		}
	}
	return n
}

// nextBit returns the lowest bit of mask that is n or higher.
func nextBit(mask uint64, n int) (int, bool) {
	mask = mask >> n << n
	return bits.TrailingZeros64(mask), mask != 0
}
