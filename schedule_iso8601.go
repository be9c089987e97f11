package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The years that Joda-Time, and therefore every JVM Chronos, can represent.
const (
	minYear = -292275054
	maxYear = 292278993
)

var errYearRange = errors.New("year out of range")

// Period is an ISO 8601 period as Joda-Time holds it: every field as it was
// written, nothing folded (P7D is not P1W, PT24H is not P1D).
type Period struct {
	Years, Months, Weeks, Days, Hours, Minutes, Seconds, Millis int32
}

// parsePeriod reads what Joda's ISOPeriodFormat.standard reads: PnYnMnWnDTnHnMnS
// with signs on every field, a fraction on the seconds only, and letters of either case.
// A P alone is zero; a T must be followed by something.
func parsePeriod(text string) (Period, error) {
	var p Period
	date := []periodField{{'y', &p.Years, nil}, {'m', &p.Months, nil}, {'w', &p.Weeks, nil}, {'d', &p.Days, nil}}
	clock := []periodField{{'h', &p.Hours, nil}, {'m', &p.Minutes, nil}, {'s', &p.Seconds, &p.Millis}}
	if !startsFold(text, 'p') {
		return Period{}, fmt.Errorf("parse period %q: it must start with P", text)
	}
	rest, err := parsePeriodFields(text[1:], date)
	if err != nil {
		return Period{}, fmt.Errorf("parse period %q: %w", text, err)
	}
	if startsFold(rest, 't') {
		if len(rest) == 1 {
			return Period{}, fmt.Errorf("parse period %q: nothing follows the T", text)
		}
		rest, err = parsePeriodFields(rest[1:], clock)
		if err != nil {
			return Period{}, fmt.Errorf("parse period %q: %w", text, err)
		}
	}
	if rest != "" {
		return Period{}, fmt.Errorf("parse period %q: unexpected %q (the form is PnYnMnWnDTnHnMnS, a fraction only on S)", text, rest)
	}
	return p, nil
}

// periodField says where the number before a unit letter goes.
type periodField struct {
	letter byte
	whole  *int32
	millis *int32 // not nil where a fraction is allowed
}

// parsePeriodFields reads the given fields, each optional, in their order, and
// returns what is left of text.
func parsePeriodFields(text string, fields []periodField) (rest string, err error) {
	for _, f := range fields {
		n := scanPeriodNumber(text, f.millis != nil)
		if n == 0 || !startsFold(text[n:], f.letter) {
			continue
		}
		if err := f.set(text[:n]); err != nil {
			return text, err
		}
		text = text[n+1:]
	}
	return text, nil
}

// scanPeriodNumber returns the length of the number that text starts with, or 0.
// Joda takes at most ten digits, and a digit right after a sign.
func scanPeriodNumber(text string, fraction bool) int {
	n, digits := 0, 0
	if len(text) > 1 && (text[0] == '-' || text[0] == '+') && isDigit(text[1]) {
		n = 1
	}
	for ; n < len(text); n++ {
		switch c := text[n]; {
		case isDigit(c):
			digits++
		case fraction && (c == '.' || c == ','):
			fraction = false
		default:
			if digits == 0 || digits > 10 {
				return 0
			}
			return n
		}
	}
	return 0
}

func (f periodField) set(number string) error {
	whole, fraction := number, ""
	if i := strings.IndexAny(number, ".,"); i >= 0 {
		whole, fraction = number[:i], number[i+1:]
	}
	if whole != "" {
		v, err := strconv.ParseInt(whole, 10, 32)
		if err != nil {
			return fmt.Errorf("%s is out of range", whole)
		}
		*f.whole = int32(v)
	}
	if fraction == "" {
		return nil
	}
	millis, _ := strconv.Atoi((fraction + "00")[:3])
	if strings.HasPrefix(whole, "-") {
		millis = -millis
	}
	*f.millis = int32(millis)
	return nil
}

// String returns the period as Joda prints it: fields that are zero left out,
// fractions with three digits, PT0S for zero.
func (p Period) String() string {
	b := []byte{'P'}
	field := func(n int32, letter byte) {
		if n != 0 {
			b = append(strconv.AppendInt(b, int64(n), 10), letter)
		}
	}
	field(p.Years, 'Y')
	field(p.Months, 'M')
	field(p.Weeks, 'W')
	field(p.Days, 'D')
	millis := int64(p.Seconds)*1000 + int64(p.Millis)
	if p.Hours != 0 || p.Minutes != 0 || millis != 0 || len(b) == 1 {
		b = append(b, 'T')
	}
	field(p.Hours, 'H')
	field(p.Minutes, 'M')
	if millis == 0 && len(b) > 2 {
		return string(b)
	}
	if millis < 0 {
		b = append(b, '-')
		millis = -millis
	}
	b = strconv.AppendInt(b, millis/1000, 10)
	if millis%1000 != 0 {
		b = fmt.Appendf(b, ".%03d", millis%1000)
	}
	return string(append(b, 'S'))
}

func (p Period) isZero() bool { return p == Period{} }

// plus returns t + n·p with Joda's arithmetic in t's location. Years, months,
// weeks and days, in that order, each move the local date: a day that the month does
// not have becomes its last, a local time in a DST gap moves forward by the gap, one in an
// overlap is the earlier instant. Hours and smaller units move the instant.
// All n periods are added in one step, so Jan 31 + 2·P1M is Mar 31. What t
// has below a millisecond is dropped. The error is errYearRange.
func (p Period) plus(t time.Time, n int64) (time.Time, error) {
	loc, ms := t.Location(), t.UnixMilli()
	if n == 0 { // even the second of two equal local times stays as it is
		return time.UnixMilli(ms).In(loc), nil
	}
	for _, f := range [...]struct {
		n    int32
		unit calendarUnit
	}{{p.Years, years}, {p.Months, months}, {p.Weeks, weeks}, {p.Days, days}} {
		if f.n == 0 {
			continue
		}
		wall, err := f.unit.add(ms+offsetAt(loc, ms), f.n, n)
		if err != nil {
			return time.Time{}, err
		}
		ms = fromWall(loc, wall)
	}
	for _, f := range [...]struct {
		n    int32
		unit int64
	}{{p.Hours, 3_600_000}, {p.Minutes, 60_000}, {p.Seconds, 1000}, {p.Millis, 1}} {
		if f.n == 0 {
			continue
		}
		amount, ok := multiply(int64(f.n)*f.unit, n)
		if !ok || !addable(ms, amount) {
			return time.Time{}, errYearRange
		}
		ms += amount
	}
	sum := time.UnixMilli(ms).In(loc)
	if y := sum.Year(); y < minYear || y > maxYear {
		return time.Time{}, errYearRange
	}
	return sum, nil
}

// calendarUnit is a unit of a period that moves the local date.
type calendarUnit int

const (
	years calendarUnit = iota
	months
	weeks
	days
)

// add returns wall, a local time as milliseconds, moved by count·n units.
func (u calendarUnit) add(wall int64, count int32, n int64) (int64, error) {
	const day = 86_400_000
	unit := [...]int64{years: 12, months: 1, weeks: 7 * day, days: day}[u]
	amount, ok := multiply(int64(count)*unit, n)
	if !ok {
		return 0, errYearRange
	}
	if u == weeks || u == days {
		if !addable(wall, amount) {
			return 0, errYearRange
		}
		return wall + amount, nil
	}
	const mostMonths = 12 * (maxYear - minYear)
	if amount < -mostMonths || amount > mostMonths {
		return 0, errYearRange
	}
	date := time.UnixMilli(wall).UTC()
	since := int64(date.Year())*12 + int64(date.Month()-1) + amount // months since January of year 0
	year := int(floorDiv(since, 12))
	if year < minYear || year > maxYear {
		return 0, errYearRange
	}
	month := time.Month(since-int64(year)*12) + 1
	d := min(date.Day(), daysIn(year, month))
	midnight := time.Date(year, month, d, 0, 0, 0, 0, time.UTC).UnixMilli()
	return midnight + wall - floorDiv(wall, day)*day, nil
}

// approx returns the length of the period with fixed lengths for its fields: a
// day is 24 hours, a month 30 days, a year 365 days. It saturates.
func (p Period) approx() time.Duration {
	const limit = math.MaxInt64 / int64(time.Second)
	s := p.seconds(365, 30)
	if s >= limit {
		return math.MaxInt64
	}
	if s <= -limit {
		return math.MinInt64
	}
	return time.Duration(s)*time.Second + time.Duration(p.Millis)*time.Millisecond
}

// seconds returns the length of the period without its millis. It can't overflow.
func (p Period) seconds(year, month int64) int64 {
	d := int64(p.Years)*year + int64(p.Months)*month + int64(p.Weeks)*7 + int64(p.Days)
	return d*86400 + int64(p.Hours)*3600 + int64(p.Minutes)*60 + int64(p.Seconds)
}

// repeats reports whether n·p grows with n by at least a second each time, whatever the
// lengths of the months and DST. Only such a period can drive a schedule.
func (p Period) repeats() bool {
	up, down := p.split()
	ms := up.seconds(365, 28) + down.seconds(366, 31)
	if down.isZero() {
		return ms > 0 || ms == 0 && p.Millis >= 1000
	}
	if p.Years|p.Months|p.Weeks|p.Days != 0 {
		ms -= 3 * 3600 // P1DT-23H could step backwards where the clocks change
	}
	return ms > 1 || ms == 1 && p.Millis >= 0
}

// split returns the positive and the negative fields.
func (p Period) split() (up, down Period) {
	return Period{max(p.Years, 0), max(p.Months, 0), max(p.Weeks, 0), max(p.Days, 0),
			max(p.Hours, 0), max(p.Minutes, 0), max(p.Seconds, 0), max(p.Millis, 0)},
		Period{min(p.Years, 0), min(p.Months, 0), min(p.Weeks, 0), min(p.Days, 0),
			min(p.Hours, 0), min(p.Minutes, 0), min(p.Seconds, 0), min(p.Millis, 0)}
}

// comesBackTo reports whether an occurrence at the local time to, in ms, can be a start in place of one at from: it has the day
// of the month if months are counted, which may be cut at the end of one, and the time of the day if days are, which clocks may skip.
func (p Period) comesBackTo(from, to int64) bool {
	const day = daySeconds * 1000
	dayOfMonth := func(wall int64) int { return time.UnixMilli(wall).UTC().Day() }
	timeOfDay := func(wall int64) int64 { return wall - floorDiv(wall, day)*day }
	if p.Years|p.Months != 0 && dayOfMonth(from) != dayOfMonth(to) {
		return false
	}
	return p.Hours|p.Minutes|p.Seconds|p.Millis != 0 || timeOfDay(from) == timeOfDay(to)
}

// mean returns the average length of the period in milliseconds.
func (p Period) mean() float64 {
	d := float64(p.Years)*365.2425 + float64(p.Months)*30.436875 + float64(p.Weeks)*7 + float64(p.Days)
	s := float64(p.Hours)*3600 + float64(p.Minutes)*60 + float64(p.Seconds)
	return (d*86400+s)*1000 + float64(p.Millis)
}

// A start is the point in time that a schedule's text names: the fields of its
// local time, and its offset if it has one.
type start struct {
	wall      int64 // the local time in milliseconds, as if it were UTC
	hasOffset bool
	offset    int64 // milliseconds east
}

// in returns the start as a time. With a zone, the local time is read in that
// zone and the offset of the text is dropped, as Chronos does; it only chooses between
// the two instants of a DST overlap, where Joda takes the one whose offset is in force at the
// instant that the text names (so that a text that was printed in the zone reads back as it
// was). Without a zone the offset counts, or else the server's zone.
func (s start) in(zone, server *time.Location) time.Time {
	var ms int64
	if s.hasOffset {
		ms = s.wall - s.offset
	} else {
		ms = fromWall(server, s.wall)
	}
	switch {
	case zone != nil:
		if off := offsetAt(zone, ms); offsetAt(zone, s.wall-off) == off {
			return time.UnixMilli(s.wall - off).In(zone)
		}
		return time.UnixMilli(fromWall(zone, s.wall)).In(zone)
	case !s.hasOffset:
		return time.UnixMilli(ms).In(server)
	case s.offset == 0:
		return time.UnixMilli(ms).UTC()
	}
	return time.UnixMilli(ms).In(time.FixedZone("", int(s.offset/1000)))
}

// parseStart reads what Joda's ISODateTimeFormat.dateTimeParser reads:
//
//	start  = date ["T" [time] [offset]] | "T" time [offset]
//	date   = year ["-" month ["-" day]] | year "-" ddd | year "-W" week ["-" weekday]
//	time   = hour [":" minute [":" second]] with a fraction on the last of them
//	offset = "Z" | ("+"|"-") hh [[":"] mm [[":"] ss]]
//
// Fields may have fewer digits than usual, years up to nine and a sign. Blanks, the
// basic format (20300101 is a year), hour 24 and second 60 are not allowed.
func parseStart(text string) (start, error) {
	sc := scanner{rest: text}
	date := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	timeOnly := startsFold(text, 't')
	if !timeOnly {
		date = sc.date()
	}
	s := start{wall: date.UnixMilli()}
	if sc.literal('t') {
		if timeOnly || sc.rest != "" && isDigit(sc.rest[0]) {
			s.wall += sc.clock()
		}
		if sc.rest != "" {
			s.offset, s.hasOffset = sc.offset(), true
		}
	}
	if sc.err == nil && sc.rest != "" {
		sc.err = fmt.Errorf("unexpected %q", sc.rest)
	}
	if sc.err != nil {
		return start{}, fmt.Errorf("parse start %q: %w", text, sc.err)
	}
	return s, nil
}

// A scanner reads a text from the left. After the first error it reads no further.
type scanner struct {
	rest string
	err  error
}

func (sc *scanner) literal(lower byte) bool {
	if sc.err != nil || !startsFold(sc.rest, lower) {
		return false
	}
	sc.rest = sc.rest[1:]
	return true
}

// number takes up to width digits, at least one, with a value from low to high.
func (sc *scanner) number(what string, width, low, high int) int {
	if sc.err != nil {
		return low
	}
	n := countDigits(sc.rest, width)
	if n == 0 {
		sc.err = fmt.Errorf("%s missing before %q", what, sc.rest)
		return low
	}
	v, _ := strconv.Atoi(sc.rest[:n])
	if v < low || v > high {
		sc.err = fmt.Errorf("%s %s is not within %d-%d", what, sc.rest[:n], low, high)
		return low
	}
	sc.rest = sc.rest[n:]
	return v
}

func (sc *scanner) date() time.Time {
	year := sc.year()
	if len(sc.rest) > 1 && sc.rest[0] == '-' && sc.rest[1]|0x20 == 'w' {
		sc.rest = sc.rest[2:]
		return sc.weekDate(year)
	}
	if !sc.literal('-') {
		return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if countDigits(sc.rest, 3) == 3 {
		ordinal := sc.number("day of year", 3, 1, 337+daysIn(year, time.February))
		return time.Date(year, 1, ordinal, 0, 0, 0, 0, time.UTC)
	}
	month, day := time.Month(sc.number("month", 2, 1, 12)), 1
	if sc.literal('-') {
		day = sc.number("day", 2, 1, daysIn(year, month))
	}
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

func (sc *scanner) year() int {
	negative := sc.literal('-')
	if !negative {
		sc.literal('+')
	}
	limit := maxYear
	if negative {
		limit = -minYear
	}
	year := sc.number("year", 9, 0, limit)
	if negative {
		return -year
	}
	return year
}

// weekDate reads the rest of an ISO week date. Week 1 is the one with January 4th.
func (sc *scanner) weekDate(year int) time.Time {
	monday := firstMonday(year)
	last := int(firstMonday(year+1).Sub(monday) / (7 * 24 * time.Hour))
	week, weekday := sc.number("week", 2, 1, last), 1
	if sc.literal('-') {
		weekday = sc.number("day of week", 1, 1, 7)
	}
	return monday.AddDate(0, 0, (week-1)*7+weekday-1)
}

// firstMonday returns the first day of the ISO year.
func firstMonday(year int) time.Time {
	t := time.Date(year, 1, 4, 0, 0, 0, 0, time.UTC)
	return t.AddDate(0, 0, -(int(t.Weekday())+6)%7)
}

// clock takes a time of day and returns it in milliseconds.
func (sc *scanner) clock() int64 {
	ms := int64(sc.number("hour", 2, 0, 23)) * 3_600_000
	if !sc.literal(':') {
		return ms + sc.fraction(3_600_000)
	}
	ms += int64(sc.number("minute", 2, 0, 59)) * 60_000
	if !sc.literal(':') {
		return ms + sc.fraction(60_000)
	}
	ms += int64(sc.number("second", 2, 0, 59)) * 1000
	return ms + sc.fraction(1000)
}

// fraction takes up to nine decimals of unit milliseconds, if there are any. Every
// digit's weight is cut to a tenth of a millisecond, as Joda does.
func (sc *scanner) fraction(unit int64) int64 {
	if !sc.literal('.') && !sc.literal(',') {
		return 0
	}
	n := countDigits(sc.rest, 9)
	if n == 0 && sc.err == nil {
		sc.err = fmt.Errorf("digits missing before %q", sc.rest)
	}
	var tenths int64
	for _, digit := range []byte(sc.rest[:n]) {
		tenths += int64(digit-'0') * unit
		unit /= 10
	}
	sc.rest = sc.rest[n:]
	return tenths / 10
}

// offset takes an offset from UTC and returns it in milliseconds.
func (sc *scanner) offset() int64 {
	if sc.literal('z') {
		return 0
	}
	negative := sc.literal('-')
	if !negative && !sc.literal('+') {
		if sc.err == nil {
			sc.err = fmt.Errorf("unexpected %q", sc.rest)
		}
		return 0
	}
	ms := int64(sc.twoDigits("hour of the offset", 23)) * 3_600_000
	colons := sc.literal(':')
	if colons || sc.rest != "" {
		ms += int64(sc.twoDigits("minute of the offset", 59)) * 60_000
		if colons && sc.literal(':') || !colons && sc.rest != "" {
			ms += int64(sc.twoDigits("second of the offset", 59)) * 1000
		}
	}
	if negative {
		return -ms
	}
	return ms
}

func (sc *scanner) twoDigits(what string, high int) int {
	if sc.err == nil && countDigits(sc.rest, 2) < 2 {
		sc.err = fmt.Errorf("two digits for the %s missing before %q", what, sc.rest)
	}
	return sc.number(what, 2, 0, high)
}

// formatStart prints t as Joda's ISODateTimeFormat.dateTime does.
func formatStart(t time.Time) string {
	if _, off := t.Zone(); off%60 != 0 {
		return t.Format("2006-01-02T15:04:05.000Z07:00:00")
	}
	return t.Format("2006-01-02T15:04:05.000Z07:00")
}

// startsFold reports whether text starts with the letter, which is given in
// lower case, in either case.
func startsFold(text string, lower byte) bool {
	if text == "" {
		return false
	}
	c := text[0]
	if c >= 'A' && c <= 'Z' {
		c |= 0x20
	}
	return c == lower
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// countDigits returns how many digits text starts with, at most limit.
func countDigits(text string, limit int) int {
	n := 0
	for n < len(text) && n < limit && isDigit(text[n]) {
		n++
	}
	return n
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func multiply(a, b int64) (product int64, ok bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	product = a * b
	return product, product/b == a && (a != -1 || b != math.MinInt64) && (b != -1 || a != math.MinInt64)
}

// addable reports whether a+b is an int64.
func addable(a, b int64) bool {
	if b > 0 {
		return a <= math.MaxInt64-b
	}
	return a >= math.MinInt64-b
}
