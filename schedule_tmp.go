package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

type Schedule struct{}

func (s Schedule) check() error { return nil }

func parseSchedule(text, zone string, now time.Time) (Schedule, error) {
	if !regexp.MustCompile(`^R[0-9]*/.*/P`).MatchString(text) {
		return Schedule{}, fmt.Errorf("not an interval")
	}
	return Schedule{}, nil
}

func parsePeriod(text string) (Period, error) {
	m := regexp.MustCompile(`^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,3})\d*)?S)?)?$`).FindStringSubmatch(text)
	if m == nil {
		return Period{}, fmt.Errorf("bad period")
	}
	n := func(i int) int32 { v, _ := strconv.Atoi(m[i]); return int32(v) }
	p := Period{n(1), n(2), n(3), n(4), n(5), n(6), n(7), 0}
	if m[8] != "" {
		v, _ := strconv.Atoi((m[8] + "00")[:3])
		p.Millis = int32(v)
	}
	return p, nil
}

func (p Period) String() string {
	var b strings.Builder
	b.WriteString("P")
	w := func(n int32, u string) {
		if n != 0 {
			fmt.Fprintf(&b, "%d%s", n, u)
		}
	}
	w(p.Years, "Y")
	w(p.Months, "M")
	w(p.Weeks, "W")
	w(p.Days, "D")
	if p.Hours != 0 || p.Minutes != 0 || p.Seconds != 0 || p.Millis != 0 {
		b.WriteString("T")
	}
	w(p.Hours, "H")
	w(p.Minutes, "M")
	if p.Millis != 0 {
		fmt.Fprintf(&b, "%d.%03dS", p.Seconds, p.Millis)
	} else {
		w(p.Seconds, "S")
	}
	if b.Len() == 1 {
		return "PT0S"
	}
	return b.String()
}
