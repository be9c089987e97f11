package main

import "strconv"

// Period is an ISO 8601 period as Joda-Time holds it: every field as it was
// written, nothing folded (P7D is not P1W, PT24H is not P1D).
type Period struct {
	Years, Months, Weeks, Days, Hours, Minutes, Seconds, Millis int32
}

// String writes the period as Joda-Time does.
func (p Period) String() string {
	seconds := ""
	if p.Seconds != 0 || p.Millis != 0 {
		seconds = strconv.FormatFloat(float64(p.Seconds)+float64(p.Millis)/1000, 'f', -1, 64) + "S"
	}
	part := func(n int32, unit string) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(int(n)) + unit
	}
	date := part(p.Years, "Y") + part(p.Months, "M") + part(p.Weeks, "W") + part(p.Days, "D")
	time := part(p.Hours, "H") + part(p.Minutes, "M") + seconds
	if date == "" && time == "" {
		return "PT0S"
	}
	if time != "" {
		time = "T" + time
	}
	return "P" + date + time
}
