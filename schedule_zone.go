package main

import (
	_ "embed"
	"math"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // images without a time zone database
)

// legacyZones are the ids that Joda-Time maps before it asks the time zone
// database. EST and MST thereby have daylight saving time, unlike in the database.
var legacyZones = map[string]string{
	"GMT": "UTC", "WET": "WET", "CET": "CET", "MET": "CET", "ECT": "CET", "EET": "EET",
	"MIT": "Pacific/Apia", "HST": "Pacific/Honolulu", "AST": "America/Anchorage",
	"PST": "America/Los_Angeles", "MST": "America/Denver", "PNT": "America/Phoenix",
	"CST": "America/Chicago", "EST": "America/New_York", "IET": "America/Indiana/Indianapolis",
	"PRT": "America/Puerto_Rico", "CNT": "America/St_Johns", "AGT": "America/Argentina/Buenos_Aires",
	"BET": "America/Sao_Paulo", "ART": "Africa/Cairo", "CAT": "Africa/Harare",
	"EAT": "Africa/Addis_Ababa", "NET": "Asia/Yerevan", "PLT": "Asia/Karachi", "IST": "Asia/Kolkata",
	"BST": "Asia/Dhaka", "VST": "Asia/Ho_Chi_Minh", "CTT": "Asia/Shanghai", "JST": "Asia/Tokyo",
	"ACT": "Australia/Darwin", "AET": "Australia/Sydney", "SST": "Pacific/Guadalcanal",
	"NST": "Pacific/Auckland",
}

// zones holds the locations found in the database, by id: at most as many as it has.
// Loading one reads a file; a hundred thousand jobs must not each do that, nor each hold a copy.
var zones sync.Map // string -> *time.Location

// loadZone returns the zone that a JVM Chronos would use for id: that of the time zone
// database (case counts), of GMT±h[h][[:]mm], or of an old three-letter id. Anything else
// silently is UTC there; known is false then, for a warning.
func loadZone(id string) (loc *time.Location, known bool) {
	if name, ok := legacyZones[id]; ok {
		id = name
	}
	if loc, ok := zones.Load(id); ok {
		return loc.(*time.Location), true
	}
	if loc, ok := loadTZ(id); ok {
		held, _ := zones.LoadOrStore(id, loc)
		return held.(*time.Location), true
	}
	if seconds, ok := parseGMTOffset(id); ok {
		if seconds == 0 {
			return time.UTC, true
		}
		return time.FixedZone(id, seconds), true
	}
	return time.UTC, false
}

// loadTZ looks an id up in the time zone database, without the names that Go or a machine's
// files add to it.
func loadTZ(id string) (*time.Location, bool) {
	switch id {
	case "", "Local", "Factory", "localtime", "posixrules":
		return nil, false
	case "UTC":
		return time.UTC, true
	}
	if strings.HasPrefix(id, "posix/") || strings.HasPrefix(id, "right/") {
		return nil, false
	}
	loc, err := time.LoadLocation(id)
	return loc, err == nil
}

// parseGMTOffset reads Java's custom ids (GMT+2, GMT+02:00, GMT-0330) as seconds east.
func parseGMTOffset(id string) (seconds int, ok bool) {
	rest, found := strings.CutPrefix(id, "GMT")
	if !found || len(rest) < 2 || len(rest) > 7 || rest[0] != '+' && rest[0] != '-' {
		return 0, false
	}
	hours, minutes, colon := strings.Cut(rest[1:], ":")
	if colon && (len(hours) > 2 || len(minutes) != 2) {
		return 0, false
	}
	h, ok1 := digitsValue(hours)
	m, ok2 := digitsValue(minutes)
	if !colon && len(hours) > 2 {
		h, m = h/100, h%100
	}
	if !ok1 || !ok2 || h > 23 || m > 59 {
		return 0, false
	}
	seconds = h*3600 + m*60
	if rest[0] == '-' {
		return -seconds, true
	}
	return seconds, true
}

// zoneNames are the names in the time zone database, one per line, in order: Go can look one up, but not list them.
//
//go:embed schedule_zones.txt
var zoneNames string

// nearestZone returns the id that somebody who wrote one that does not exist may have meant, "" if none is near: one that differs by
// blanks or case, an offset in Java's form, the only or first one with that last part (Berlin), or one that was mistyped.
func nearestZone(id string) string {
	plain := strings.ReplaceAll(strings.TrimSpace(id), " ", "_")
	if _, known := loadZone(plain); known {
		return plain
	}
	if offset := gmtOffset(plain); offset != "" {
		return offset
	}
	if plain == "" || len(plain) > 40 {
		return ""
	}
	written := strings.ToLower(plain)
	nearest, least := "", 1+max(1, len(plain)/4)
	for name := range strings.Lines(zoneNames) {
		name = strings.TrimSuffix(name, "\n")
		whole := strings.ToLower(name)
		d := distance(written, whole, least)
		if _, city, ok := strings.Cut(whole, "/"); ok && d > 0 {
			d = min(d, 1+distance(written, city[strings.LastIndexByte(city, '/')+1:], least-1)) // prefer the whole name
		}
		if d < least {
			nearest, least = name, d
		}
	}
	return nearest
}

// gmtOffset returns the id by which Java knows an offset like +02:00, UTC+2 or Z, "" for anything else.
func gmtOffset(id string) string {
	rest := strings.ToUpper(id)
	if rest == "Z" {
		return "UTC"
	}
	for _, prefix := range []string{"UTC", "GMT", "Z"} {
		rest = strings.TrimPrefix(rest, prefix)
	}
	if _, ok := parseGMTOffset("GMT" + rest); ok {
		return "GMT" + rest
	}
	return ""
}

// distance returns how many letters have to be inserted, removed or changed to turn a into b, or limit if that is less.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, least := row[0], limit
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
			least = min(least, row[j+1])
		}
		if least >= limit {
			return limit
		}
	}
	return min(row[len(b)], limit)
}

// digitsValue returns the value of text, or false unless it consists of digits.
func digitsValue(text string) (v int, ok bool) {
	for i := range len(text) {
		if !isDigit(text[i]) {
			return 0, false
		}
		v = v*10 + int(text[i]-'0')
	}
	return v, true
}

// offsetAt returns the offset from UTC at an instant, both in milliseconds.
func offsetAt(loc *time.Location, ms int64) int64 {
	if loc == time.UTC {
		return 0
	}
	_, seconds := time.UnixMilli(ms).In(loc).Zone()
	return int64(seconds) * 1000
}

// wallOf returns the local time of t in milliseconds, as if it were UTC.
func wallOf(t time.Time) int64 { return t.UnixMilli() + offsetAt(t.Location(), t.UnixMilli()) }

// fromWall returns the instant at which the clocks in loc show wall, both in
// milliseconds: the earlier one if they do so twice. If they never do, because they are put
// forward, it is the instant at which they show that much more.
// This is the rule of Joda's DateTimeZone.getOffsetFromLocal; time.Date makes no promise.
func fromWall(loc *time.Location, wall int64) int64 {
	if loc == time.UTC {
		return wall
	}
	guess := wall - offsetAt(loc, wall) // off by at most one change of the clocks
	from, to, offset := zoneSpan(loc, floorDiv(guess, 1000))
	ms := wall - offset*1000
	if from != math.MinInt64 {
		before := wall - offsetAt(loc, from*1000-1)
		if ms < from*1000 || before < from*1000 {
			return before
		}
	}
	if to != math.MaxInt64 && ms >= to*1000 {
		if after := wall - offsetAt(loc, to*1000); after >= to*1000 {
			return after
		}
	}
	return ms
}

// zoneSpan returns an interval around an instant, from <= sec < to, in which the offset does not
// change, and that offset, all in seconds. Without changes before or after, it ends at
// the lowest or highest int64. The offset beyond its ends may be the same.
func zoneSpan(loc *time.Location, sec int64) (from, to, offset int64) {
	t := time.Unix(sec, 0).In(loc)
	_, off := t.Zone()
	start, end := t.ZoneBounds()
	from, to = math.MinInt64, math.MaxInt64
	if !start.IsZero() {
		from = start.Unix()
	}
	if !end.IsZero() {
		to = end.Unix()
	}
	if to <= sec { // ZoneBounds gives the start of the day for Dec 31 of leap years after 2037
		to = (floorDiv(sec, daySeconds) + 1) * daySeconds
	}
	return from, to, int64(off)
}
