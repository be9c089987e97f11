package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCronNext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ expr, after, want string }{
		// simple cases
		{"* * * * *", "2030-07-09T14:45:00", "2030-07-09T14:46:00"},
		{"* * * * *", "2030-07-09T14:59:59", "2030-07-09T15:00:00"},
		{"* * * * * *", "2030-07-09T14:59:59", "2030-07-09T15:00:00"},
		{"*/15 * * * *", "2030-07-09T14:45:00", "2030-07-09T15:00:00"},
		{"20-35/15 * * * *", "2030-07-09T14:45:00", "2030-07-09T15:20:00"},
		{"20/15 * * * *", "2030-07-09T14:36:00", "2030-07-09T14:50:00"},
		{"5 4 * * *", "2030-07-09T14:45:00", "2030-07-10T04:05:00"},
		{"15,45 30 9 * * *", "2030-07-09T09:30:15", "2030-07-09T09:30:45"},
		{"0 5 4 * * *", "2030-07-09T04:04:59", "2030-07-09T04:05:00"},

		// wrap around days, months and years
		{"0 0 1 * *", "2030-07-09T14:45:00", "2030-08-01T00:00:00"},
		{"0 0 31 * *", "2030-08-31T00:00:00", "2030-10-31T00:00:00"},
		{"0 0 1 JAN *", "2030-07-09T14:45:00", "2031-01-01T00:00:00"},
		{"59 59 23 31 12 *", "2030-12-31T23:59:59", "2031-12-31T23:59:59"},
		{"0 0 29 2 *", "2030-07-09T14:45:00", "2032-02-29T00:00:00"},
		{"0 0 29 feb ?", "2096-02-29T00:00:00", "2104-02-29T00:00:00"},

		// days of the week; 2030-07-09 is a Tuesday
		{"0 0 * * MON-FRI", "2030-07-12T00:00:00", "2030-07-15T00:00:00"},
		{"0 0 * * 7", "2030-07-09T14:45:00", "2030-07-14T00:00:00"},
		{"0 0 * * 0", "2030-07-09T14:45:00", "2030-07-14T00:00:00"},
		{"0 0 * * 5-7", "2030-07-13T00:00:00", "2030-07-14T00:00:00"},
		{"0 0 * * sat-sun", "2030-07-13T00:00:00", "2030-07-14T00:00:00"},
		{"0 0 * * 3/2", "2030-07-09T00:00:00", "2030-07-10T00:00:00"},

		// both day fields restricted: either; one of them not: both
		{"0 0 13 * FRI", "2030-07-09T00:00:00", "2030-07-12T00:00:00"},
		{"0 0 13 * FRI", "2030-07-12T00:00:00", "2030-07-13T00:00:00"},
		{"0 0 1-31 * FRI", "2030-07-09T00:00:00", "2030-07-12T00:00:00"},
		{"0 0 13 * 0-6", "2030-07-09T00:00:00", "2030-07-13T00:00:00"},
		{"0 0 */10 * FRI", "2030-07-09T00:00:00", "2030-07-11T00:00:00"},
		{"0 0 30 2 1", "2030-02-05T00:00:00", "2030-02-11T00:00:00"},

		// macros
		{"@hourly", "2030-07-09T14:45:00", "2030-07-09T15:00:00"},
		{"@daily", "2030-07-09T14:45:00", "2030-07-10T00:00:00"},
		{"@midnight", "2030-07-09T14:45:00", "2030-07-10T00:00:00"},
		{"@Weekly", "2030-07-09T14:45:00", "2030-07-14T00:00:00"},
		{"@monthly", "2030-07-09T14:45:00", "2030-08-01T00:00:00"},
		{"@yearly", "2030-07-09T14:45:00", "2031-01-01T00:00:00"},
		{"@annually", "2030-07-09T14:45:00", "2031-01-01T00:00:00"},

		// never
		{"0 0 30 2 *", "2030-07-09T14:45:00", ""},
		{"0 0 31 2,4,6 *", "2030-07-09T14:45:00", ""},
	} {
		c, err := parseCron(tt.expr)
		if err != nil {
			t.Errorf("parseCron(%q) = %v", tt.expr, err)
			continue
		}
		got := ""
		if next, ok := c.next(mustParseTime(t, tt.after+"Z"), time.UTC); ok {
			got = next.Format("2006-01-02T15:04:05")
		}
		if got != tt.want {
			t.Errorf("next(%s) of %q = %s, want %s", tt.after, tt.expr, got, tt.want)
		}
	}
}

// The first five hours of days on which the clocks change.
func TestCronWhenTheClocksChange(t *testing.T) {
	t.Parallel()
	const spring, autumn = "2015-03-08", "2015-11-01"
	for _, tt := range []struct{ expr, day, want string }{
		{"30 2 * * *", spring, "03:00-07"},
		{"0,30 2 * * *", spring, "03:00-07"},
		{"30 2,3 * * *", spring, "03:00-07 03:30-07"},
		{"0 2,3 * * *", spring, "03:00-07"},
		{"0 3 * * *", spring, "03:00-07"},
		{"30 */2 * * *", spring, "00:30-08 03:00-07 04:30-07"},
		{"30 * * * *", spring, "00:30-08 01:30-08 03:30-07 04:30-07"},
		{"0 * * * *", spring, "00:00-08 01:00-08 03:00-07 04:00-07"},
		{"30 2 9 3 *", spring, ""},

		{"30 1 * * *", autumn, "01:30-07"},
		{"*/30 1 * * *", autumn, "01:00-07 01:30-07"},
		{"30 1-3 * * *", autumn, "01:30-07 02:30-08 03:30-08"},
		{"0 2 * * *", autumn, "02:00-08"},
		{"30 * * * *", autumn, "00:30-07 01:30-07 01:30-08 02:30-08 03:30-08 04:30-08"},
		{"30 1-3/2 * * *", autumn, "01:30-07 01:30-08 03:30-08"},
	} {
		loc, _ := loadZone("America/Los_Angeles")
		c, err := parseCron(tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		from := mustParseTime(t, tt.day+"T00:00:00Z").In(loc)
		from = time.UnixMilli(fromWall(loc, from.UnixMilli())).Add(-time.Second)
		until := from.Add(4*time.Hour + time.Second)
		if tt.day == autumn {
			until = until.Add(2 * time.Hour)
		}
		var got []string
		for at, ok := c.next(from, loc); ok && at.Before(until); at, ok = c.next(at, loc) {
			got = append(got, at.Format("15:04Z07"))
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%q on %s = %s, want %s", tt.expr, tt.day, got, tt.want)
		}
	}
}

func TestCronErrorsNameTheField(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ expr, want string }{
		{"* * * *", "4 fields, want 5"},
		{"* * * * * * *", "7 fields, want 5"},
		{"60 * * * *", `minute "60": 60 is not within 0-59`},
		{"99 * * * * *", `second "99": 99 is not within 0-59`},
		{"* 24 * * *", `hour "24": 24 is not within 0-23`},
		{"* * 0 * *", `day of month "0": 0 is not within 1-31`},
		{"* * * 13 *", `month "13": 13 is not within 1-12`},
		{"* * * * 8", `day of week "8": 8 is not within 0-7`},
		{"* * * foo *", `month "foo": "foo" is not a value`},
		{"* * * * MONDAY", `day of week "monday": "monday" is not a value`},
		{"* 5-1 * * *", `hour "5-1": range "5-1" ends before it starts`},
		{"*/0 * * * *", `minute "*/0": step "0" is not a positive number`},
		{"*/ * * * *", `step "" is not a positive number`},
		{"*/+5 * * * *", `step "+5" is not a positive number`},
		{"1, * * * *", `minute "1,": "" is not a value`},
		{"1-2-3 * * * *", `"2-3" is not a value`},
		{"-1 * * * *", `"" is not a value`},
		{"99999999999999999999 * * * *", "is not a value"},
		{"* * L * *", `day of month "l": "l" is not a value`},
		{"@reboot", "unknown macro"},
		{"@every 5m", "unknown macro"},
	} {
		_, err := parseCron(tt.expr)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("parseCron(%q) = %v, want %q", tt.expr, err, tt.want)
		}
	}
}

func TestCronScheduleStandsAfterNow(t *testing.T) {
	t.Parallel()
	berlin, _ := loadZone("Europe/Berlin")
	for _, tt := range []struct {
		text, zone string
		now        time.Time
		want       string
	}{
		{"0 12 * * *", "", testNow, "R1/2030-06-15T12:00:00.000Z/P1D"},
		{"0 12 * * *", "", testNow.In(berlin), "R1/2030-06-16T12:00:00.000+02:00/P1D"},
		{"0 12 * * *", "America/Los_Angeles", testNow.In(berlin), "R1/2030-06-15T12:00:00.000-07:00/P1D"},
		{"0 10 * * *", "bogus", testNow, "R1/2030-06-16T10:00:00.000Z/P1D"},
		{"0 10 * * *", "", testNow.Add(-time.Millisecond), "R1/2030-06-15T10:00:00.000Z/P1D"},
		{"@daily", "", testNow, "R1/2030-06-16T00:00:00.000Z/P1D"},
		{"0 0 30 2 *", "", testNow, "R0/2030-06-15T10:00:00.000Z/P1D"},
	} {
		s := mustParseSchedule(t, tt.text, tt.zone, tt.now)
		if got := s.String(); got != tt.want || !s.isCron() {
			t.Errorf("parseSchedule(%q, %q, %v) = %s, want %s", tt.text, tt.zone, tt.now, got, tt.want)
		}
	}
}

// matches says by definition whether the expression matches at an instant, leaving the rules for
// gaps and overlaps aside.
func (c *cronExpr) matches(at time.Time) bool {
	has := func(mask uint64, v int) bool { return mask>>v&1 == 1 }
	return c.matchesDay(at) && has(c.hour, at.Hour()) && has(c.minute, at.Minute()) && has(c.second, at.Second())
}

// stepCron finds the matches of (from, to] second by second. It begins two hours before, so as to
// know when from is within the second half of an overlap.
func stepCron(c *cronExpr, from, to time.Time, loc *time.Location) []time.Time {
	var found []time.Time
	begin := from.Add(-2 * time.Hour)
	_, before := begin.In(loc).Zone()
	overlapEnds := int64(0)
	for sec := begin.Unix() + 1; sec <= to.Unix(); sec++ {
		at := time.Unix(sec, 0).In(loc)
		_, off := at.Zone()
		caughtUp := false
		for wall := sec + int64(before); wall < sec+int64(off); wall++ { // skipped local times
			caughtUp = caughtUp || c.matches(time.Unix(wall, 0).UTC())
		}
		if off < before {
			overlapEnds = sec + int64(before-off)
		}
		repeated := sec < overlapEnds && !c.interval
		if sec > from.Unix() && (c.matches(at) && !repeated || caughtUp && c.hour != 1<<24-1) {
			found = append(found, at)
		}
		before = off
	}
	return found
}

func randomCron(r *rand.Rand) string {
	field := func(low, high int) string {
		v := func() int { return low + r.IntN(high-low+1) }
		switch r.IntN(6) {
		case 0:
			return fmt.Sprintf("*/%d", 1+r.IntN(high))
		case 1:
			a, b := v(), v()
			return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
		case 2:
			return fmt.Sprintf("%d,%d", v(), v())
		case 3:
			return fmt.Sprint(v())
		}
		return "*"
	}
	seconds := []string{"0", "0", "30", "*/20", "59"}[r.IntN(5)]
	return strings.Join([]string{seconds, field(0, 59), field(0, 5), field(1, 31), field(1, 12), field(0, 7)}, " ")
}

func TestCronAgreesWithSteppingBySeconds(t *testing.T) {
	t.Parallel()
	seed := *firstSeed
	r := rand.New(rand.NewPCG(seed, seed))
	days := []string{"America/Los_Angeles 2015-03-08", "America/Los_Angeles 2015-11-01", "Europe/Berlin 2039-03-27", "Europe/Berlin 2039-10-30",
		"Australia/Lord_Howe 2030-04-07", "Australia/Lord_Howe 2030-10-06", "America/Sao_Paulo 2018-02-18", "Asia/Kolkata 2028-02-29", "America/Los_Angeles 2040-12-31"}
	for range inForm(50, 5000) {
		zone, date, _ := strings.Cut(days[r.IntN(len(days))], " ")
		loc, _ := loadZone(zone)
		from := mustParseTime(t, date+"T00:00:00Z").Add(-time.Duration(r.IntN(14*3600)) * time.Second)
		to := from.Add(time.Duration(r.IntN(24*3600)) * time.Second)
		expr := randomCron(r)
		c, err := parseCron(expr)
		if err != nil {
			t.Fatal(err)
		}
		want := stepCron(c, from, to, loc)
		var got []time.Time
		for at, ok := c.next(from, loc); ok && !at.After(to); at, ok = c.next(at, loc) {
			got = append(got, at)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q from %v to %v = %v, by stepping %v (seed %d)", expr, from.In(loc), to.In(loc), got, want, seed)
		}
		s := mustParseSchedule(t, expr, zone, from)
		n, first, last, rest := s.passed(to)
		if n != int64(len(want)) || n > 0 && (!first.Equal(want[0]) || !last.Equal(want[n-1])) {
			t.Fatalf("passed(%v) of %q in %s = %d, %v, %v, by stepping %v (seed %d)", to, expr, zone, n, first, last, want, seed)
		}
		if next, ok := rest.next(); ok && !next.After(to) {
			t.Fatalf("rest of %q in %s after %v stands at %v (seed %d)", expr, zone, to, next, seed)
		}
	}
}

func TestCronCountsDecades(t *testing.T) {
	t.Parallel()
	from := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		expr, zone string
		n          int64
		last       string
	}{
		{"* * * * * *", "", 1907748000, "2030-06-15T10:00:00Z"},
		{"0 0 29 2 *", "", 15, "2028-02-29T00:00:00Z"},
		{"30 2 * * *", "America/Los_Angeles", 22081, "2030-06-15T02:30:00-07:00"},
	} {
		n, _, last, _ := mustParseSchedule(t, tt.expr, tt.zone, from).passed(testNow)
		if n != tt.n || last.Format(time.RFC3339) != tt.last {
			t.Errorf("passed of %q = %d, %s, want %d, %s", tt.expr, n, last.Format(time.RFC3339), tt.n, tt.last)
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, expr := range []string{"* * * * *", "*/5 2 1,15 * MON-FRI", "30 0 2 29 2 ?", "@daily", "0 0 31 4 *", "1-5/2,7 20/3 * jan-MAR 5-7"} {
		f.Add(expr, "America/Los_Angeles", int64(1425808800))
		f.Add(expr, "", int64(0))
	}
	f.Fuzz(func(t *testing.T, expr, zone string, sec int64) {
		sec %= 100 * 366 * daySeconds
		c, err := parseCron(expr)
		if err != nil {
			return
		}
		loc, _ := loadZone(zone)
		from := time.Unix(sec, 0)
		at, ok := c.next(from, loc)
		if ok != c.satisfiable() {
			t.Fatalf("next(%v) of %q = %v, %v, but satisfiable() = %v", from, expr, at, ok, c.satisfiable())
		}
		if !ok {
			return
		}
		if !at.After(from) || !c.matches(at) && !c.caughtUp(at) {
			t.Errorf("next(%v) of %q = %v, want a later match", from, expr, at)
		}
		to := at.AddDate(0, 3, 0)
		if last := c.last(at, to, loc); last.Before(at) || last.After(to) {
			t.Errorf("last of %q up to %v = %v, want one from %v on", expr, to, last, at)
		}
		if n := c.count(at, at, loc); n != 1 {
			t.Errorf("count of %q at its match %v = %d, want 1", expr, at, n)
		}
	})
}

// caughtUp reports whether at is the end of a gap that held a match.
func (c *cronExpr) caughtUp(at time.Time) bool {
	_, ok := c.skippedWall(at)
	return ok
}
