package main

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// An H in a cron expression stands for a value that follows from the name of the job, as in Jenkins, so that
// a thousand nightly jobs do not start in one second: H H * * * is some minute of the night, H/15 * * * * some quarter of an hour
// apart, and H(0-5) 2 * * * one of the first minutes after two. It is the same on every instance, in every version, for ever.

// spreadDays is the last day of the month that an H stands for: the last that each month has.
const spreadDays = 28

// spreads reports whether the text of a schedule has an H whose value follows from the name.
func spreads(text string) bool {
	fields, ok := spreadFields(text)
	if !ok {
		return false
	}
	for _, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			if isSpread(item) {
				return true
			}
		}
	}
	return false
}

// spreadFields takes an expression apart. It is false for what is none.
func spreadFields(text string) ([]string, bool) {
	fields := strings.Fields(text)
	return fields, !strings.HasPrefix(text, "R") && (len(fields) == 5 || len(fields) == 6)
}

// isSpread reports whether an item of a field begins with an H that is no name of a month or day.
func isSpread(item string) bool {
	return item != "" && (item[0] == 'H' || item[0] == 'h') && (len(item) == 1 || item[1] == '(' || item[1] == '/')
}

// spreadCron returns the text of a schedule with a value in the place of each H.
func spreadCron(text, name string) (string, error) {
	if !spreads(text) {
		return text, nil
	}
	fields, _ := spreadFields(text)
	known := []cronField{cronSecond, cronMinute, cronHour, cronDay, cronMonth, cronWeekday}
	known = known[len(known)-len(fields):]
	for i, field := range fields {
		items := strings.Split(field, ",")
		for k, item := range items {
			if !isSpread(item) {
				continue
			}
			value, err := known[i].spread(item, name)
			if err != nil {
				return "", fmt.Errorf("parse cron %q: %s %q: %w", text, known[i].name, item, err)
			}
			items[k] = value
		}
		fields[i] = strings.Join(items, ",")
	}
	return strings.Join(fields, " "), nil
}

// spread returns what stands for an item that begins with an H: a value of the field or of the range in brackets,
// and with a step the first of them within one step and so on to the end.
func (f cronField) spread(item, name string) (string, error) {
	rest, low, high := item[1:], f.low, f.high
	switch f.name {
	case cronDay.name:
		high = spreadDays
	case cronWeekday.name:
		high = 6
	}
	if inside, ok := strings.CutPrefix(rest, "("); ok {
		bounds, after, closed := strings.Cut(inside, ")")
		if !closed || !strings.Contains(bounds, "-") {
			return "", fmt.Errorf("want H(low-high)")
		}
		var err error
		if low, high, err = f.bounds(strings.ToLower(bounds), false); err != nil {
			return "", err
		}
		rest = after
	}
	stepText, stepped := strings.CutPrefix(rest, "/")
	if rest != "" && !stepped {
		return "", fmt.Errorf("%q follows the H", rest)
	}
	if !stepped {
		return strconv.Itoa(low + f.share(name, high-low+1)), nil
	}
	step, ok := digitsValue(stepText)
	if !ok || stepText == "" || len(stepText) > 2 || step < 1 || step > high-low+1 {
		return "", fmt.Errorf("step %q is not a number from 1 to %d", stepText, high-low+1)
	}
	first := low + f.share(name, step)
	if first+step > high {
		return strconv.Itoa(first), nil
	}
	return fmt.Sprintf("%d-%d/%d", first, high, step), nil
}

// share is a number from 0 to below n that follows from the name, another one for each field.
func (f cronField) share(name string, n int) int {
	h := fnv.New64a()
	h.Write([]byte(f.name + "\x00" + name)) // never fails
	sum := h.Sum64()
	sum ^= sum >> 33 // or names that differ in their last letter would have much the same
	sum *= 0xff51afd7ed558ccd
	sum ^= sum >> 33
	return int(sum % uint64(n))
}
