package main

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// words says in English when a schedule runs, "" for one that could not be read: "at 06:00 on weekdays, Europe/Berlin".
// Only a start after now is named where it does not matter for what follows.
func (s Schedule) words(now time.Time) string {
	switch {
	case s.text == "":
		return ""
	case s.cron != nil:
		return s.cron.words() + zoneWords(s.start, s.cron.zoned())
	case s.times == 0:
		return "never again"
	case s.times == 1 && s.empty:
		return "once, as soon as it is saved"
	case s.times == 1:
		return "once, at " + clockWords(s.start) + " on " + dateWords(s.start) + zoneWords(s.start, true)
	}
	text, phase, zoned := s.periodWords()
	if s.times > 1 {
		text += fmt.Sprintf(", %d times", s.times)
	}
	switch {
	case s.empty:
		return text + ", from when it is saved"
	case s.start.After(now) && !phase && strings.HasPrefix(text, "at "):
		return text + ", from " + dateWords(s.start) + zoneWords(s.start, true)
	case s.start.After(now) || phase:
		return text + ", from " + clockWords(s.start) + " on " + dateWords(s.start) + zoneWords(s.start, true)
	}
	return text + zoneWords(s.start, zoned)
}

// zoneWords names the zone that an instant is in, if that matters.
func zoneWords(t time.Time, matters bool) string {
	if !matters {
		return ""
	}
	switch name := t.Location().String(); {
	case t.Location() == time.Local:
		return ", the server's zone"
	case strings.Contains(name, "/") || name == "UTC":
		return ", " + name
	}
	if _, offset := t.Zone(); offset == 0 {
		return ", UTC"
	}
	return ", UTC" + t.Format("-07:00")
}

func clockWords(t time.Time) string {
	if t.Second() != 0 {
		return t.Format("15:04:05")
	}
	return t.Format("15:04")
}

func dateWords(t time.Time) string { return t.Format("2 January 2006") }

// periodWords says how an interval repeats, and whether that leaves open when it does so, and whether it depends on the zone.
func (s Schedule) periodWords() (text string, phase, zoned bool) {
	p, at := s.period, "at "+clockWords(s.start)+" "
	switch p {
	case Period{Days: 1}:
		return at + "every day", false, true
	case Period{Weeks: 1}, Period{Days: 7}:
		return at + "on " + s.start.Weekday().String() + "s", false, true
	case Period{Months: 1}:
		text := at + "on the " + ordinal(s.start.Day()) + " of the month"
		if s.start.Day() > 28 {
			text += " or its last day"
		}
		return text, false, true
	case Period{Years: 1}:
		return at + "on " + s.start.Format("2 January") + " every year", false, true
	case Period{Hours: 1}:
		return minutesOfHour(s.start), false, false
	case Period{Minutes: 1}:
		return "every minute", false, false
	case Period{Seconds: 1}:
		return "every second", false, false
	}
	if n := p.Minutes; p == (Period{Minutes: n}) && n > 1 && 60%n == 0 && s.start.Minute()%int(n) == 0 && s.start.Second() == 0 {
		return fmt.Sprintf("every %d minutes", n), false, false
	}
	var parts []string
	for _, f := range []struct {
		n    int32
		unit string
	}{{p.Years, "year"}, {p.Months, "month"}, {p.Weeks, "week"}, {p.Days, "day"}, {p.Hours, "hour"}, {p.Minutes, "minute"}, {p.Seconds, "second"}, {p.Millis, "millisecond"}} {
		if f.n != 0 {
			parts = append(parts, countWords(int(f.n), f.unit))
		}
	}
	if len(parts) == 0 {
		return "once", true, true
	}
	return "every " + listWords(parts), true, true
}

// minutesOfHour says when in each hour an hourly interval runs.
func minutesOfHour(start time.Time) string {
	if start.Minute() == 0 && start.Second() == 0 {
		return "every hour"
	}
	if start.Second() == 0 {
		return fmt.Sprintf("every hour at minute %d", start.Minute())
	}
	return "every hour at minute " + start.Format("4:05")
}

func countWords(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.Itoa(n) + " " + unit + "s"
}

// listWords joins with commas, and "and" before the last.
func listWords(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

func ordinal(n int) string {
	switch {
	case n%10 == 1 && n != 11:
		return strconv.Itoa(n) + "st"
	case n%10 == 2 && n != 12:
		return strconv.Itoa(n) + "nd"
	case n%10 == 3 && n != 13:
		return strconv.Itoa(n) + "rd"
	}
	return strconv.Itoa(n) + "th"
}

// The values that a field of a cron expression may have, all of them.
const (
	allSixty    = 1<<60 - 1
	allHours    = 1<<24 - 1
	allDays     = 1<<32 - 2
	allMonths   = 1<<13 - 2
	allWeekdays = 1<<7 - 1
)

// zoned reports whether the instants depend on the zone.
func (c *cronExpr) zoned() bool {
	return c.hour != allHours || !c.anyDate()
}

func (c *cronExpr) anyDate() bool {
	return c.day == allDays && c.month == allMonths && c.weekday == allWeekdays
}

func (c *cronExpr) words() string {
	text, clock := c.timeWords()
	date := c.dateWords()
	if date == "" && clock {
		date = "every day"
	}
	return strings.TrimSuffix(text+" "+date, " ")
}

// timeWords says at which times of a day, and whether these are times of a clock.
func (c *cronExpr) timeWords() (text string, clock bool) {
	minutes, hours := valuesOf(c.minute), valuesOf(c.hour)
	switch single := len(minutes) == 1; {
	case c.second != 1 && bits.OnesCount64(c.second) == 1 && single && len(hours) <= 6:
		return "at " + clockList(hours, minutes, valuesOf(c.second)), true
	case c.second != 1:
		return c.secondWords(), false
	case single && c.hour == allHours:
		return c.hourly(minutes[0]), false
	case len(minutes)*len(hours) <= 6:
		return "at " + clockList(hours, minutes, []int{0}), true
	case single && evenly(c.hour, 24):
		return fmt.Sprintf("every %s from %02d:%02d", countWords(hours[1]-hours[0], "hour"), hours[0], minutes[0]), false
	case single && consecutive(hours):
		return fmt.Sprintf("every hour from %02d:%02d to %02d:%02d", hours[0], minutes[0], hours[len(hours)-1], minutes[0]), false
	}
	return c.minuteWords(minutes, hours), false
}

func (c *cronExpr) hourly(minute int) string {
	if minute == 0 {
		return "every hour"
	}
	return fmt.Sprintf("every hour at minute %d", minute)
}

// minuteWords says which minutes of which hours.
func (c *cronExpr) minuteWords(minutes, hours []int) string {
	text := "every minute"
	switch {
	case c.minute == allSixty:
	case evenly(c.minute, 60):
		text = "every " + countWords(minutes[1]-minutes[0], "minute")
		if minutes[0] > 0 {
			text += fmt.Sprintf(" from minute %d", minutes[0])
		}
	default:
		text = "at minutes " + valueList(minutes)
	}
	switch {
	case c.hour == allHours && strings.HasPrefix(text, "at"):
		return text + " of every hour"
	case c.hour == allHours:
		return text
	case consecutive(hours):
		return text + fmt.Sprintf(" from %02d:%02d to %02d:%02d", hours[0], minutes[0], hours[len(hours)-1], minutes[len(minutes)-1])
	}
	return text + " of the hours " + valueList(hours)
}

// secondWords describes an expression with seconds.
func (c *cronExpr) secondWords() string {
	seconds, text := valuesOf(c.second), "at second"
	switch {
	case c.second == allSixty:
		text = "every second"
	case evenly(c.second, 60):
		text = "every " + countWords(seconds[1]-seconds[0], "second")
	case len(seconds) == 1:
		text = "at second " + valueList(seconds)
	default:
		text = "at seconds " + valueList(seconds)
	}
	switch of := c.minuteWords(valuesOf(c.minute), valuesOf(c.hour)); {
	case c.minute == allSixty && c.hour == allHours && strings.HasPrefix(text, "every"):
		return text
	case c.minute == allSixty:
		return text + " of " + of
	default:
		return text + ", " + of
	}
}

// dateWords says on which days, "" for every day.
func (c *cronExpr) dateWords() string {
	var or []string
	days := valuesOf(c.day)
	single := c.month != allMonths && len(days) <= 3 && c.weekday == allWeekdays
	if c.day != allDays {
		names := make([]string, len(days))
		for i, d := range days {
			names[i] = ordinal(d)
		}
		text := "on the " + listWords(names)
		if !single {
			text += " of the month"
		}
		or = append(or, text)
	}
	if c.weekday != allWeekdays {
		or = append(or, weekdayWords(c.weekday))
	}
	text := strings.Join(or, " or ")
	if c.month == allMonths {
		return text
	}
	names := make([]string, 0, 12)
	for _, m := range valuesOf(c.month) {
		names = append(names, time.Month(m).String())
	}
	if single && c.day != allDays {
		return text + " of " + listWords(names)
	}
	return strings.TrimPrefix(text+" in "+listWords(names), " ")
}

func weekdayWords(mask uint64) string {
	switch mask {
	case 0b0111110:
		return "on weekdays"
	case 0b1000001:
		return "at weekends"
	}
	var names []string
	for i := 1; i <= 7; i++ { // weeks begin on Monday
		if mask>>(i%7)&1 != 0 {
			names = append(names, time.Weekday(i%7).String()+"s")
		}
	}
	return "on " + listWords(names)
}

func valuesOf(mask uint64) (values []int) {
	for ; mask != 0; mask &= mask - 1 {
		values = append(values, bits.TrailingZeros64(mask))
	}
	return values
}

// evenly reports whether values are the same distance from each other, across the end of their field too.
func evenly(mask uint64, size int) bool {
	v := valuesOf(mask)
	if len(v) < 2 {
		return false
	}
	step := v[1] - v[0]
	for i := 1; i < len(v); i++ {
		if v[i]-v[i-1] != step {
			return false
		}
	}
	return v[0]+size-v[len(v)-1] == step
}

func consecutive(v []int) bool { return len(v) > 1 && v[len(v)-1]-v[0] == len(v)-1 }

func valueList(v []int) string {
	texts := make([]string, len(v))
	for i, n := range v {
		texts[i] = strconv.Itoa(n)
	}
	return listWords(texts)
}

func clockList(hours, minutes, seconds []int) string {
	var texts []string
	for _, h := range hours {
		for _, m := range minutes {
			text := fmt.Sprintf("%02d:%02d", h, m)
			if seconds[0] != 0 {
				text += fmt.Sprintf(":%02d", seconds[0])
			}
			texts = append(texts, text)
		}
	}
	return listWords(texts)
}
