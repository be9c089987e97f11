package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// testNow is the time of the worked examples.
var testNow = time.Date(2030, 6, 15, 10, 0, 0, 0, time.UTC)

func mustParseSchedule(t testing.TB, text, zone string, now time.Time) Schedule {
	t.Helper()
	s, err := parseSchedule(text, zone, now)
	if err != nil {
		t.Fatalf("parseSchedule(%q, %q) = %v", text, zone, err)
	}
	return s
}

func mustParseTime(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// What Chronos 2.4, 2.5 and 3.0 made of these texts, with UTC as the server's zone.
func TestSchedulesReadAsChronosReadsThem(t *testing.T) {
	t.Parallel()
	const start = "2030-01-01T00:00:00.000Z"
	for _, tt := range []struct{ text, want string }{
		// the whole form
		{"R/2014-03-08T20:00:00.000Z/PT2H", "R/2014-03-08T20:00:00.000Z/PT2H"},
		{"R10/2012-10-01T05:52:00Z/PT2S", "R10/2012-10-01T05:52:00.000Z/PT2S"},
		{"R//PT24H", "R/2030-06-15T10:00:00.000Z/PT24H"},
		{"R1//PT24H", "R1/2030-06-15T10:00:00.000Z/PT24H"},
		{"R5//PT2S", "R5/2030-06-15T10:00:00.000Z/PT2S"},
		{"R0//PT1H", "R0/2030-06-15T10:00:00.000Z/PT1H"},
		{"R1//P", "R1/2030-06-15T10:00:00.000Z/PT0S"},
		{"R0//PT0M", "R0/2030-06-15T10:00:00.000Z/PT0S"},
		{"R01/2030-01-01T00:00:00Z/PT1H", "R1/" + start + "/PT1H"},
		{"R9223372036854775807//PT1H", "R9223372036854775807/2030-06-15T10:00:00.000Z/PT1H"},
		{"R/2030-01-01T00:00:00Z/P", "R/" + start + "/PT0S"},

		// starts
		{"R/2030/P1D", "R/" + start + "/P1D"},
		{"R/2030-01/P1D", "R/" + start + "/P1D"},
		{"R/2030-01-01/P1D", "R/" + start + "/P1D"},
		{"R/20300101/P1D", "R/20300101-01-01T00:00:00.000Z/P1D"},
		{"R/2030-06-15T/P1D", "R/2030-06-15T00:00:00.000Z/P1D"},
		{"R/2030-06-15TZ/P1D", "R/2030-06-15T00:00:00.000Z/P1D"},
		{"R/2030-06-15T10/P1D", "R/2030-06-15T10:00:00.000Z/P1D"},
		{"R/2030-06-15T10Z/P1D", "R/2030-06-15T10:00:00.000Z/P1D"},
		{"R/2030-06-15T10:30Z/P1D", "R/2030-06-15T10:30:00.000Z/P1D"},
		{"R/2030-06-15T10.5Z/P1D", "R/2030-06-15T10:30:00.000Z/P1D"},
		{"R/2030-06-15T10:30.5Z/P1D", "R/2030-06-15T10:30:30.000Z/P1D"},
		{"R/2030-06-15T10:30:15/P1D", "R/2030-06-15T10:30:15.000Z/P1D"},
		{"R/2030-06-15T10:30:15.1Z/P1D", "R/2030-06-15T10:30:15.100Z/P1D"},
		{"R/2030-06-15T10:30:15.12Z/P1D", "R/2030-06-15T10:30:15.120Z/P1D"},
		{"R/2030-06-15T10:30:15,5Z/P1D", "R/2030-06-15T10:30:15.500Z/P1D"},
		{"R/2030-06-15T10:30:15.123456789Z/P1D", "R/2030-06-15T10:30:15.123Z/P1D"},
		{"R/2030-06-15T10:30:15.9999Z/P1D", "R/2030-06-15T10:30:15.999Z/P1D"},
		{"R/2030-06-15T10:30:15+02:00/P1D", "R/2030-06-15T10:30:15.000+02:00/P1D"},
		{"R/2030-06-15T10:30:15+0200/P1D", "R/2030-06-15T10:30:15.000+02:00/P1D"},
		{"R/2030-06-15T10:30:15+02/P1D", "R/2030-06-15T10:30:15.000+02:00/P1D"},
		{"R/2030-06-15T10:30:15+02:00:30/P1D", "R/2030-06-15T10:30:15.000+02:00:30/P1D"},
		{"R/2030-06-15T10:30:15-00:00/P1D", "R/2030-06-15T10:30:15.000Z/P1D"},
		{"R/2030-06-15T10:30:15+14:00/P1D", "R/2030-06-15T10:30:15.000+14:00/P1D"},
		{"R/2030-06-15T-07:00/P1D", "R/2030-06-15T00:00:00.000-07:00/P1D"},
		{"R/2030-06-15t10:30:15z/P1D", "R/2030-06-15T10:30:15.000Z/P1D"},
		{"R/2030-6-5T1:2:3Z/P1D", "R/2030-06-05T01:02:03.000Z/P1D"},
		{"R/2030-W03-4T10:00:00Z/P1D", "R/2030-01-17T10:00:00.000Z/P1D"},
		{"R/2030-W03T10:00:00Z/P1D", "R/2030-01-14T10:00:00.000Z/P1D"},
		{"R/2030-w3-4T10:00:00Z/P1D", "R/2030-01-17T10:00:00.000Z/P1D"},
		{"R/2026-W53-7T10:00:00Z/P1D", "R/2027-01-03T10:00:00.000Z/P1D"},
		{"R/2030-123T10:00:00Z/P1D", "R/2030-05-03T10:00:00.000Z/P1D"},
		{"R/2028-366T10:00:00Z/P1D", "R/2028-12-31T10:00:00.000Z/P1D"},
		{"R/T10:00:00Z/P1D", "R/1970-01-01T10:00:00.000Z/P1D"},
		{"R/12345-01-01T00:00:00Z/P1D", "R/12345-01-01T00:00:00.000Z/P1D"},
		{"R/+2030-01-01T00:00:00Z/P1D", "R/" + start + "/P1D"},
		{"R/-0001-01-01T00:00:00Z/P1D", "R/-0001-01-01T00:00:00.000Z/P1D"},
		{"R/30-01-01T00:00:00Z/P1D", "R/0030-01-01T00:00:00.000Z/P1D"},
		{"R/292278993-12-31T23:59:59Z/P1D", "R/292278993-12-31T23:59:59.000Z/P1D"},
		{"R/-292275054-01-01T00:00:00Z/P1D", "R/-292275054-01-01T00:00:00.000Z/P1D"},
		{"R/1969-12-31T23:59:59Z/P1D", "R/1969-12-31T23:59:59.000Z/P1D"},
	} {
		s, err := parseSchedule(tt.text, "", testNow)
		if err != nil {
			t.Errorf("parseSchedule(%q) = %v, want %s", tt.text, err, tt.want)
			continue
		}
		if got := s.String(); got != tt.want {
			t.Errorf("parseSchedule(%q) = %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestSchedulesThatChronosRejects(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"R9223372036854775808//PT1H", "R-1/2030-01-01T00:00:00Z/PT1H", "R1.5/2030-01-01T00:00:00Z/P1D",
		"RR/2030-01-01T00:00:00Z/P1D", "r/2030-01-01T00:00:00Z/PT1H",
		"2030-01-01T00:00:00Z/PT1H", "/2030-01-01T00:00:00Z/PT1H",
		"R/2030-01-01T00:00:00Z", "R/2030-01-01T00:00:00Z/", "R/P1D", "R", "", "/", "R/", "R//", "P1D",
		"R/2030-01-01T00:00:00Z/PT", "R/2030-01-01T00:00:00Z/p1d",
		"R/2030-01-01T00:00:00Z/PT1H ", " R/2030-01-01T00:00:00Z/PT1H",
		"R/2030-01-01T00:00:00Z/P1D/P2D", "R/2030-01-01T00:00:00Z/2031-01-01T00:00:00Z",
		"R/2030-01-01T00:00:00Z/P0003-06-04T12:30:05",
		"R/20300101T000000Z/P1D", "R/2030-06-15Z/P1D", "R/2030-06-15T10:30:15.Z/P1D",
		"R/2030-06-15T10:30:15.1234567890Z/P1D",
		"R/2030-06-15T10:30:15+24:00/P1D", "R/2030-06-15T10:30:15+2/P1D", "R/2030-06-15T10:30:15+02:/P1D",
		"R/2030-06-15T10:30:15+02:60/P1D", "R/2030-06-15T10:30:15+0200:30/P1D", "R/2030-06-15T10:30:15ZZ/P1D",
		"R/2030-06-15 10:30:15Z/P1D", "R/2030-06-15T10:30:15 Z/P1D",
		"R/2030-06-15T10:30:15GMT/P1D", "R/2030-06-15T10:30:15[UTC]/P1D",
		"R/2030-06-15T10:30:60Z/P1D", "R/2030-06-15T24:00:00Z/P1D", "R/2030-06-15T25:00:00Z/P1D",
		"R/2030-06-15T10:60:00Z/P1D", "R/2030-06-15T1030Z/P1D", "R/2030-06-15T10:Z/P1D", "R/T/P1D", "R/TZ/P1D",
		"R/2030-13-01T00:00:00Z/P1D", "R/2030-02-30T00:00:00Z/P1D", "R/2030-00-01/P1D", "R/2030-01-00/P1D",
		"R/2030-366/P1D", "R/2030-000/P1D", "R/2030-1234/P1D", "R/2030-12-/P1D", "R/2030-/P1D",
		"R/2030-W00/P1D", "R/2030-W53/P1D", "R/2030-W03-8/P1D", "R/2030-W03-0/P1D", "R/2030-W/P1D",
		"R/10:00:00Z/P1D", "R/now/P1D", "R/ /P1D", "R/292278994/P1D", "R/-292275055/P1D", "R/1234567890/P1D",
		"R/+-1/P1D", "R/--1/P1D", "R/2030-01-01T00:00:00Z\n/P1D",
	} {
		if s, err := parseSchedule(text, "", testNow); err == nil {
			t.Errorf("parseSchedule(%q) = %v, want an error", text, s)
		}
	}
}

func TestScheduleTimeZoneReplacesTheOffset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, zone, want string }{
		{"R/2014-10-10T18:32:00Z/PT60M", "PST", "R/2014-10-10T18:32:00.000-07:00/PT60M"},
		{"R/2014-10-10T18:32:00+05:00/PT60M", "PST", "R/2014-10-10T18:32:00.000-07:00/PT60M"},
		{"R/2014-10-10T18:32:00/PT60M", "PST", "R/2014-10-10T18:32:00.000-07:00/PT60M"},
		{"R/2014-10-10T18:32:00Z/PT60M", "Europe/Berlin", "R/2014-10-10T18:32:00.000+02:00/PT60M"},
		{"R/2014-10-10T18:32:00Z/PT60M", "GMT+2", "R/2014-10-10T18:32:00.000+02:00/PT60M"},
		{"R/2014-10-10T18:32:00Z/PT60M", "bogus", "R/2014-10-10T18:32:00.000Z/PT60M"},
		{"R/2014-10-10T18:32:00Z/PT60M", "EST", "R/2014-10-10T18:32:00.000-04:00/PT60M"},
		// a gap: forward
		{"R/2015-03-08T02:30:00Z/P1D", "America/Los_Angeles", "R/2015-03-08T03:30:00.000-07:00/P1D"},
		{"R/2015-03-29T02:30:00Z/P1D", "Europe/Berlin", "R/2015-03-29T03:30:00.000+02:00/P1D"},
		// an overlap: the offset in force at the instant that the text names
		{"R/2015-11-01T01:30:00Z/P1D", "America/Los_Angeles", "R/2015-11-01T01:30:00.000-07:00/P1D"},
		{"R/2015-11-01T01:30:00-07:00/P1D", "America/Los_Angeles", "R/2015-11-01T01:30:00.000-07:00/P1D"},
		{"R/2015-11-01T01:30:00-08:00/P1D", "America/Los_Angeles", "R/2015-11-01T01:30:00.000-08:00/P1D"},
		{"R/2015-10-25T02:30:00+02:00/P1D", "Europe/Berlin", "R/2015-10-25T02:30:00.000+02:00/P1D"},
		{"R/2015-10-25T02:30:00+01:00/P1D", "Europe/Berlin", "R/2015-10-25T02:30:00.000+01:00/P1D"},
		{"R/2015-11-01T01:30:00-08:00/P1D", "", "R/2015-11-01T01:30:00.000-08:00/P1D"},
		// an empty start stays the instant that it is
		{"R//P1D", "America/Los_Angeles", "R/2030-06-15T03:00:00.000-07:00/P1D"},
	} {
		if got := mustParseSchedule(t, tt.text, tt.zone, testNow).String(); got != tt.want {
			t.Errorf("parseSchedule(%q, %q) = %s, want %s", tt.text, tt.zone, got, tt.want)
		}
	}
}

func TestStartWithoutOffsetIsInTheServersZone(t *testing.T) {
	t.Parallel()
	berlin, _ := loadZone("Europe/Berlin")
	now := testNow.In(berlin)
	for _, tt := range []struct{ text, want string }{
		{"R/2030-01-01T10:00:00/P1D", "R/2030-01-01T10:00:00.000+01:00/P1D"},
		{"R/2030-07-01/P1D", "R/2030-07-01T00:00:00.000+02:00/P1D"},
		{"R/2030-03-31T02:30:00/P1D", "R/2030-03-31T03:30:00.000+02:00/P1D"},
		{"R/2030-10-27T02:30:00/P1D", "R/2030-10-27T02:30:00.000+02:00/P1D"},
		{"R/2030-07-01T10:00:00Z/P1D", "R/2030-07-01T10:00:00.000Z/P1D"},
		{"R//P1D", "R/2030-06-15T10:00:00.000Z/P1D"},
	} {
		if got := mustParseSchedule(t, tt.text, "", now).String(); got != tt.want {
			t.Errorf("parseSchedule(%q) = %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestOccurrences(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, zone string
		want             string // the local times
	}{
		{"month ends do not stick", "R/2030-01-31T00:00:00Z/P1M", "", "01-31T00:00 02-28T00:00 03-31T00:00 04-30T00:00 05-31T00:00"},
		{"leap years", "R/2028-02-29T00:00:00Z/P1Y", "", "02-29T00:00 02-28T00:00 02-28T00:00 02-28T00:00 02-29T00:00"},
		{"finite", "R2/2030-01-01T00:00:00Z/P1W", "", "01-01T00:00 01-08T00:00"},
		{"a gap moves one day only", "R/2015-03-07T02:30:00Z/P1D", "America/Los_Angeles", "03-07T02:30 03-08T03:30 03-09T02:30"},
		{"24 hours are no day", "R/2015-03-07T02:30:00Z/PT24H", "America/Los_Angeles", "03-07T02:30 03-08T03:30 03-09T03:30"},
		{"an overlap is passed once by days", "R/2015-10-31T01:30:00Z/P1D", "America/Los_Angeles", "10-31T01:30 11-01T01:30 11-02T01:30"},
		{"and twice by hours", "R/2015-11-01T00:30:00Z/PT1H", "America/Los_Angeles", "11-01T00:30 11-01T01:30 11-01T01:30 11-01T02:30"},
		{"without a zone there is no DST", "R/2015-03-07T02:30:00-08:00/P1D", "", "03-07T02:30 03-08T02:30 03-09T02:30"},
		{"exhausted", "R0/2030-01-01T00:00:00Z/P1W", "", ""},
		{"only once, the period does not matter", "R1/2030-01-01T00:00:00Z/P", "", "01-01T00:00"},
		{"zero period", "R/2030-01-01T00:00:00Z/PT0S", "", "01-01T00:00"},
		{"negative period", "R/2030-01-01T00:00:00Z/PT-1H", "", "01-01T00:00"},
		{"mixed period", "R/2030-01-01T00:00:00Z/P1MT-1H", "", "01-01T00:00 01-31T23:00 02-28T22:00"},
		{"end of time", "R/292278993-12-31T00:00:00Z/P1D", "", "12-31T00:00"},
		{"two days that are one", "R/2011-12-29T10:00:00Z/P1D", "Pacific/Apia", "12-29T10:00 12-31T10:00 01-01T10:00"},
	} {
		s := mustParseSchedule(t, tt.text, tt.zone, testNow)
		var got []string
		for _, o := range s.upcoming(time.UnixMilli(-1<<62), max(1, len(strings.Fields(tt.want)))) {
			got = append(got, o.Format("01-02T15:04"))
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s: %s %s = %s, want %s", tt.name, tt.text, tt.zone, got, tt.want)
		}
	}
}

func TestPassed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, zone, now   string
		n                 int64
		first, last, rest string
	}{
		{"R5/2030-06-15T09:00:00Z/PT1H", "", "2030-06-15T10:00:00Z", 2, "06-15T09:00", "06-15T10:00", "R3/2030-06-15T11:00:00.000Z/PT1H"},
		{"R5/2030-06-15T09:00:00Z/PT1H", "", "2030-06-15T09:59:59.999Z", 1, "06-15T09:00", "06-15T09:00", "R4/2030-06-15T10:00:00.000Z/PT1H"},
		{"R5/2030-06-15T09:00:00Z/PT1H", "", "2030-06-15T08:59:59.999Z", 0, "", "", "R5/2030-06-15T09:00:00.000Z/PT1H"},
		{"R5/2030-06-10T09:00:00Z/PT1H", "", "2030-06-15T10:00:00Z", 5, "06-10T09:00", "06-10T13:00", "R0/2030-06-10T14:00:00.000Z/PT1H"},
		{"R/2030-06-10T09:30:00Z/PT1H", "", "2030-06-15T10:00:00Z", 121, "06-10T09:30", "06-15T09:30", "R/2030-06-15T10:30:00.000Z/PT1H"},
		// months and years of unequal length: none skipped, none in the past
		{"R/2030-01-31T00:00:00Z/P1M", "", "2030-06-15T10:00:00Z", 5, "01-31T00:00", "05-31T00:00", "R/2030-06-30T00:00:00.000Z/P1M"},
		{"R/2029-01-01T00:00:00Z/P1Y", "", "2030-06-15T10:00:00Z", 2, "01-01T00:00", "01-01T00:00", "R/2031-01-01T00:00:00.000Z/P1Y"},
		{"R/1970-01-01T00:00:00Z/PT1S", "", "2030-06-15T10:00:00Z", 1907748001, "01-01T00:00", "06-15T10:00", "R/2030-06-15T10:00:01.000Z/PT1S"},
		// periods that hung, crashed or ran back to back in the JVM versions
		{"R3/2030-06-15T09:00:00Z/PT0S", "", "2030-06-15T10:00:00Z", 1, "06-15T09:00", "06-15T09:00", "R0/2030-06-15T09:00:00.000Z/PT0S"},
		{"R/2030-06-15T09:00:00Z/PT-1H", "", "2030-06-15T10:00:00Z", 1, "06-15T09:00", "06-15T09:00", "R0/2030-06-15T09:00:00.000Z/PT-1H"},
		{"R/2030-06-15T09:00:00Z/PT0.5S", "", "2030-06-15T10:00:00Z", 1, "06-15T09:00", "06-15T09:00", "R0/2030-06-15T09:00:00.000Z/PT0.500S"},
		// what is exhausted stays so
		{"R0/2030-06-15T09:00:00Z/PT1H", "", "2030-06-15T10:00:00Z", 0, "", "", "R0/2030-06-15T09:00:00.000Z/PT1H"},
		{"R1//PT24H", "", "2030-06-15T10:00:00Z", 1, "06-15T10:00", "06-15T10:00", "R0/2030-06-16T10:00:00.000Z/PT24H"},
		{"R1//P", "", "2030-06-15T10:00:00Z", 1, "06-15T10:00", "06-15T10:00", "R0/2030-06-15T10:00:00.000Z/PT0S"},
		{"R/2030-06-15T02:00:00Z/P1D", "America/Los_Angeles", "2030-06-15T10:00:00Z", 1, "06-15T02:00", "06-15T02:00", "R/2030-06-16T02:00:00.000-07:00/P1D"},
		{"R10/2012-01-01T00:00:00Z/PT1M", "", "2012-01-01T00:01:01Z", 2, "01-01T00:00", "01-01T00:01", "R8/2012-01-01T00:02:00.000Z/PT1M"},
		{"R5/2012-01-01T00:00:00Z/P1D", "", "2012-01-03T00:00:00Z", 3, "01-01T00:00", "01-03T00:00", "R2/2012-01-04T00:00:00.000Z/P1D"},
		{"R/1900-01-01T00:00:00Z/P1D", "", "2030-06-15T10:00:00Z", 47648, "01-01T00:00", "06-15T00:00", "R/2030-06-16T00:00:00.000Z/P1D"},
		{"R/292278993-12-31T00:00:00Z/P1D", "", "9999-12-31T00:00:00Z", 0, "", "", "R/292278993-12-31T00:00:00.000Z/P1D"},
	} {
		s := mustParseSchedule(t, tt.text, tt.zone, testNow)
		n, first, last, rest := s.passed(mustParseTime(t, tt.now))
		if n != tt.n || formatOr(first) != tt.first || formatOr(last) != tt.last || rest.String() != tt.rest {
			t.Errorf("passed(%s) of %s = %d, %s, %s, %s, want %d, %s, %s, %s", tt.now, tt.text,
				n, formatOr(first), formatOr(last), rest, tt.n, tt.first, tt.last, tt.rest)
		}
	}
}

func formatOr(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("01-02T15:04")
}

func TestCheckRefusesWhatCanNotRepeat(t *testing.T) {
	t.Parallel()
	const start = "/2030-01-01T00:00:00Z/"
	for _, tt := range []struct{ text, want string }{
		{"R1//P", ""},
		{"R0//PT0M", ""},
		{"R1" + start + "PT-1H", ""},
		{"R" + start + "PT1S", ""},
		{"R" + start + "PT0.5S", "not always at least a second"},
		{"R2" + start + "PT0.999S", "not always at least a second"},
		{"R" + start + "PT1.5S", ""},
		{"R" + start + "PT0S", "period of zero"},
		{"R2" + start + "P", "period of zero"},
		{"R" + start + "PT-1H", "not always at least a second"},
		{"R" + start + "P1DT-1H", ""},
		{"R" + start + "P1DT-23H", "not always at least a second"},
		{"R" + start + "P1DT-25H", "not always at least a second"},
		{"R" + start + "P1M-29D", "not always at least a second"},
		{"R" + start + "P1M-1D", ""},
		{"R" + start + "PT1M-59.5S", "not always at least a second"},
		{"R" + start + "PT1M-59S", ""},
		{"R" + start + "P2147483647Y2147483647M", ""},
		{"0 0 30 2 *", "no such date"},
		{"0 0 31 4,6,9,11 *", "no such date"},
		{"0 0 30 2 1", ""},
		{"0 0 29 2 *", ""},
	} {
		err := mustParseSchedule(t, tt.text, "", testNow).check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("check() of %q = %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestAnchorBringsAScheduleBack(t *testing.T) {
	t.Parallel()
	later := testNow.AddDate(0, 0, 100)
	for _, tt := range []struct{ text, zone, want string }{
		{"R/2030-01-31T00:00:00Z/P1M", "", "R/2030-09-30T00:00:00.000Z/P1M"},
		{"R5//P30D", "", "R1/2030-10-13T10:00:00.000Z/P30D"},
		{"R//P1D", "America/Los_Angeles", "R/2030-09-23T03:00:00.000-07:00/P1D"},
		{"R3//P1D", "", "R0/2030-06-18T10:00:00.000Z/P1D"},
		{"0 12 * * *", "Europe/Berlin", "R1/2030-09-23T12:00:00.000+02:00/P1D"},
	} {
		_, _, _, rest := mustParseSchedule(t, tt.text, tt.zone, testNow).passed(later.Add(-time.Hour))
		if got := rest.String(); got != tt.want {
			t.Errorf("rest of %s %s = %s, want %s", tt.text, tt.zone, got, tt.want)
		}
		text, index := rest.anchor()
		if got := mustParseSchedule(t, text, tt.zone, later).at(index).String(); got != tt.want {
			t.Errorf("%s brought back as %q, %d = %s, want %s", tt.text, text, index, got, tt.want)
		}
	}
}

func TestEmptyStartIsRemembered(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"R//P1D": true, "R1//P": true, "R/2030/P1D": false, "@daily": false} {
		s := mustParseSchedule(t, text, "", testNow)
		_, _, _, rest := s.passed(testNow)
		if s.emptyStart() != want || rest.emptyStart() != want {
			t.Errorf("emptyStart() of %q = %v, of its rest %v, want %v", text, s.emptyStart(), rest.emptyStart(), want)
		}
	}
}

func TestDSTNotes(t *testing.T) {
	t.Parallel()
	const la = "America/Los_Angeles"
	for _, tt := range []struct{ text, zone, at, want string }{
		{"R/2015-03-07T02:30:00Z/P1D", la, "2015-03-08T03:30:00-07:00", "2015-03-08 02:30:00 does not exist in America/Los_Angeles, where the clocks go forward; it runs at 03:30:00 instead"},
		{"R/2015-03-08T02:30:00Z/P1D", la, "2015-03-08T03:30:00-07:00", "2015-03-08 02:30:00 does not exist in America/Los_Angeles, where the clocks go forward; it runs at 03:30:00 instead"},
		{"R/2015-03-07T02:30:00Z/P1D", la, "2015-03-09T02:30:00-07:00", ""},
		{"R/2015-03-07T03:30:00Z/PT1H", la, "2015-03-08T03:30:00-07:00", ""},
		{"R/2015-11-01T00:30:00Z/PT1H", la, "2015-11-01T01:30:00-07:00", "2015-11-01 01:30:00 occurs twice in America/Los_Angeles, where the clocks go back; this is the first time"},
		{"R/2015-11-01T00:30:00Z/PT1H", la, "2015-11-01T01:30:00-08:00", "2015-11-01 01:30:00 occurs twice in America/Los_Angeles, where the clocks go back; this is the second time"},
		{"R/2015-11-01T00:30:00Z/PT1H", la, "2015-11-01T00:30:00-07:00", ""},
		{"R/2015-11-01T00:30:00Z/PT1H", la, "2015-11-01T02:30:00-08:00", ""},
		{"R/2015-11-01T01:30:00-08:00/P1D", "", "2015-11-01T01:30:00-08:00", ""},
		{"30 2 * * *", la, "2015-03-08T03:00:00-07:00", "2015-03-08 02:30:00 does not exist in America/Los_Angeles, where the clocks go forward; it runs at 03:00:00 instead"},
		{"30 * * * *", la, "2015-11-01T01:30:00-08:00", "2015-11-01 01:30:00 occurs twice in America/Los_Angeles, where the clocks go back; this is the second time"},
		{"0 * * * *", la, "2015-03-08T03:00:00-07:00", ""},
	} {
		s := mustParseSchedule(t, tt.text, tt.zone, mustParseTime(t, tt.at).Add(-48*time.Hour))
		if got := s.dstNote(mustParseTime(t, tt.at)); got != tt.want {
			t.Errorf("dstNote(%s) of %s = %q, want %q", tt.at, tt.text, got, tt.want)
		}
	}
}

var testZones = []string{"", "America/Los_Angeles", "Europe/Berlin", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo"}

// randomSchedule returns a schedule whose occurrences can be stepped through one by one.
func randomSchedule(r *rand.Rand) (text, zone string, span time.Duration) {
	zone = testZones[r.IntN(len(testZones))]
	start := time.Unix(r.Int64N(60*365*86400), 0).UTC()
	periods := []string{"PT1S", "PT7M", "PT1H", "PT36H", "P1D", "P1W", "P3D", "P1M", "P5M", "P1Y", "P1DT1H", "P1M2DT3.5S", "P1MT-1H", "P1M-1D", "P0D", "PT-1H"}
	p := periods[r.IntN(len(periods))]
	step, _ := parsePeriod(p)
	span = max(time.Second, step.approx()) * time.Duration(r.IntN(300))
	text = "R"
	if r.IntN(2) == 0 {
		text += []string{"0", "1", "2", "10", "250", "100000"}[r.IntN(6)]
	}
	return text + "/" + formatStart(start) + "/" + p, zone, span
}

func TestPassedAgreesWithStepping(t *testing.T) {
	t.Parallel()
	seed := *firstSeed
	r := rand.New(rand.NewPCG(seed, seed))
	for range inForm(1_000, 100_000) {
		text, zone, span := randomSchedule(r)
		s := mustParseSchedule(t, text, zone, testNow)
		now := s.start.Add(span).Add(time.Duration(r.IntN(3)-1) * time.Millisecond)
		var want []time.Time
		step := s
		for {
			o, ok := step.next()
			if !ok || o.After(now) {
				break
			}
			want = append(want, o)
			step = step.at(step.index + 1)
		}
		n, first, last, rest := s.passed(now)
		if n != int64(len(want)) || rest.String() != step.String() || n > 0 && (first != want[0] || last != want[len(want)-1]) {
			t.Fatalf("passed(%v) of %s %s = %d, %v, %v, %v; by stepping %d, %v (seed %d)", now, text, zone, n, first, last, rest, len(want), step, seed)
		}
		if got := s.upcoming(s.start.Add(-1), len(want)); !slices.Equal(got, slices.Compact(want)) {
			t.Fatalf("upcoming of %s %s = %v, want %v (seed %d)", text, zone, got, want, seed)
		}
		if more := rest.upcoming(now, 3); len(more) > 0 && !more[0].After(now) {
			t.Fatalf("upcoming(%v) of %s = %v, want later ones (seed %d)", now, rest, more, seed)
		}
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, text := range []string{"R/2030-01-31T00:00:00Z/P1M", "R5//PT1S", "R0/2030-W03-4T10.5-07:00/P1Y2M3W4DT5H6M7.008S", "R/-1-123T/PT-0.5S",
		"*/5 2 1,15 * MON-FRI", "30 0 2 29 2 ?", "@daily", "R/292278993-12-31T23:59:59.999/P2147483647Y"} {
		for _, zone := range []string{"", "PST", "GMT+5:30"} {
			f.Add(text, zone)
		}
	}
	f.Fuzz(func(t *testing.T, text, zone string) {
		s, err := parseSchedule(text, zone, testNow)
		if err != nil {
			return
		}
		if !s.isCron() {
			again := mustParseSchedule(t, s.String(), zone, testNow)
			if again.String() != s.String() {
				t.Errorf("parseSchedule(%q, %q) prints %s, which reads as %s", text, zone, s, again)
			}
		}
		n, _, last, rest := s.passed(testNow)
		if next, ok := rest.next(); ok && !next.After(testNow) || last.After(testNow) || n < 0 {
			t.Errorf("passed of %q = %d, %v, %v, want all up to %v", text, n, last, rest, testNow)
		}
		for _, o := range s.upcoming(testNow, 5) {
			if !o.After(testNow) {
				t.Errorf("upcoming of %q has %v", text, o)
			}
			s.dstNote(o)
		}
		anchor, index := rest.anchor()
		if s.check() == nil {
			if got := mustParseSchedule(t, anchor, zone, testNow).at(index).String(); got != rest.String() {
				t.Errorf("%q brought back from %q, %d is %s, want %s", text, anchor, index, got, rest)
			}
		}
	})
}

// A schedule that was put back to before its start comes to the same days and times as one that began earlier.
func TestBackBeforeTheStart(t *testing.T) {
	for _, tt := range []struct{ text, zone, to, want string }{
		{"R/2030-01-01T10:00:00Z/PT1H", "", "2029-12-31T22:30:00Z", "2029-12-31T23:00:00Z 2030-01-01T00:00:00Z 2030-01-01T01:00:00Z"},
		{"R/2030-03-31T10:00:00Z/P1M", "", "2030-02-10T00:00:00Z", "2030-02-28T10:00:00Z 2030-03-31T10:00:00Z 2030-04-30T10:00:00Z"},
		{"R/2032-02-29T10:00:00Z/P1Y", "", "2026-01-01T00:00:00Z", "2026-02-28T10:00:00Z 2027-02-28T10:00:00Z 2028-02-29T10:00:00Z"},
		{"R/2030-04-10T02:30:00/P1D", "Europe/Berlin", "2030-03-30T23:00:00Z", "2030-03-31T01:30:00Z 2030-04-01T00:30:00Z 2030-04-02T00:30:00Z"},
		{"R/2030-01-01T10:00:00Z/P1W", "", "2020-01-01T00:00:00Z", "2020-01-07T10:00:00Z 2020-01-14T10:00:00Z 2020-01-21T10:00:00Z"},
	} {
		for _, times := range []string{"", "9"} {
			s := mustParseSchedule(t, "R"+times+tt.text[1:], tt.zone, testNow).at(5)
			left := s.remaining()
			back := s.back(mustParseTime(t, tt.to))
			text, index := back.anchor()
			for what, s := range map[string]Schedule{"as it is": back, "stored": mustParseSchedule(t, text, tt.zone, testNow).at(index)} {
				var got []string
				for _, at := range s.upcoming(mustParseTime(t, tt.to), 3) {
					got = append(got, at.UTC().Format(time.RFC3339))
				}
				if strings.Join(got, " ") != tt.want || s.remaining() != left {
					t.Errorf("%s back to %s, %s: %s with %d left, want %s with %d", tt.text, tt.to, what, got, s.remaining(), tt.want, left)
				}
			}
		}
	}
}
