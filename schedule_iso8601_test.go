package main

import (
	"math"
	"testing"
	"time"
)

func TestPeriodsReadAndPrintAsJodaDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"P", "PT0S"}, {"PT0S", "PT0S"}, {"P0D", "PT0S"}, {"PT0H", "PT0S"}, {"PT0M", "PT0S"},
		{"PT24H", "PT24H"}, {"PT1M", "PT1M"}, {"PT60M", "PT60M"}, {"PT36H", "PT36H"},
		{"P1M", "P1M"}, {"P1Y", "P1Y"}, {"P1W", "P1W"}, {"P1D", "P1D"}, {"P7D", "P7D"},
		{"PT0.5S", "PT0.500S"}, {"PT0,5S", "PT0.500S"}, {"PT.5S", "PT0.500S"}, {"PT5.S", "PT5S"},
		{"PT0.1234S", "PT0.123S"}, {"PT0.0005S", "PT0S"}, {"PT-0.5S", "PT-0.500S"}, {"PT-1.25S", "PT-1.250S"},
		{"P1Y2M3DT4H5M6S", "P1Y2M3DT4H5M6S"}, {"P1Y2M3W4DT5H6M7.008S", "P1Y2M3W4DT5H6M7.008S"},
		{"P1Y12M12D", "P1Y12M12D"}, {"P10M", "P10M"}, {"P12DT12M", "P12DT12M"}, {"P2W3D", "P2W3D"}, {"P1MT1M", "P1MT1M"},
		{"P-1D", "P-1D"}, {"PT-1H", "PT-1H"}, {"P+1D", "P1D"}, {"PT001H", "PT1H"}, {"PT+0.5S", "PT0.500S"},
		{"P1d", "P1D"}, {"Pt1h", "PT1H"}, {"p1d", "P1D"},
		{"PT2147483647S", "PT2147483647S"}, {"PT-2147483648S", "PT-2147483648S"}, {"P0000000001D", "P1D"},
		{"P0YT5S", "PT5S"}, {"P5DT0S", "P5D"},
	} {
		p, err := parsePeriod(tt.text)
		if err != nil || p.String() != tt.want {
			t.Errorf("parsePeriod(%q) = %v, %v, want %s", tt.text, p, err, tt.want)
		}
	}
}

func TestPeriodsThatJodaRejects(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "1D", "-P1D", "PT", "P1DT", "P1", "PD", "P-D", "P--1D", "PT1.5H", "P1.5D", "P3D2W", "P1D1M", "PT1S1M", "PT1H1H",
		"PT1D", "P1H", "PT2147483648S", "PT-2147483649S", "P00000000001D", "PT1H ", " PT1H", "P 1D", "PT1.2.3S", "PT.S", "PT-.5S",
		"P0003-06-04T12:30:05", "P1DT1HT1S", "PT1S.", "P1D/P2D", "null", "60",
	} {
		if p, err := parsePeriod(text); err == nil {
			t.Errorf("parsePeriod(%q) = %v, want an error", text, p)
		}
	}
}

func TestPlusStaysInRange(t *testing.T) {
	t.Parallel()
	start := time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		period string
		n      int64
		want   string
	}{
		{"P1Y", 292276963, "292278993-01-31T00:00:00.000Z"},
		{"P1Y", 292276964, ""},
		{"P1Y", -292277084, "-292275054-01-31T00:00:00.000Z"},
		{"P1Y", -292277085, ""},
		{"P1M", math.MaxInt64, ""},
		{"P1M", math.MinInt64, ""},
		{"P-1M", math.MinInt64, ""},
		{"P2147483647W", math.MaxInt64 / 2147483647, ""},
		{"PT1S", math.MaxInt64, ""},
		{"PT0.001S", math.MaxInt64, ""},
		{"PT2147483647H", 1, "247013-11-09T07:00:00.000Z"},
		{"P", math.MaxInt64, "2030-01-31T00:00:00.000Z"},
	} {
		p, err := parsePeriod(tt.period)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.plus(start, tt.n)
		if tt.want == "" && err == nil || tt.want != "" && (err != nil || formatStart(got) != tt.want) {
			t.Errorf("%s.plus(%d) = %v, %v, want %q", tt.period, tt.n, got, err, tt.want)
		}
	}
}

func TestApproxLength(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		period string
		want   time.Duration
	}{
		{"PT60S", time.Minute},
		{"PT0.5S", 500 * time.Millisecond},
		{"P1Y1M1W1DT1H1M1S", (365+30+7+1)*24*time.Hour + time.Hour + time.Minute + time.Second},
		{"P300Y", math.MaxInt64},
		{"P-300Y", math.MinInt64},
		{"P2147483647Y2147483647M", math.MaxInt64},
		{"PT-1H", -time.Hour},
	} {
		p, err := parsePeriod(tt.period)
		if err != nil || p.approx() != tt.want {
			t.Errorf("approx of %q = %v, %v, want %v", tt.period, p.approx(), err, tt.want)
		}
	}
}

func TestPlusAcrossUnusualZoneChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ zone, start, period, want string }{
		{"Australia/Lord_Howe", "2030-10-05T02:15:00+10:30", "P1D", "2030-10-06T02:45:00.000+11:00"},
		{"Australia/Lord_Howe", "2030-04-06T01:45:00+11:00", "P1D", "2030-04-07T01:45:00.000+11:00"},
		{"Europe/London", "2030-10-26T01:30:00+01:00", "P1D", "2030-10-27T01:30:00.000+01:00"},
		{"Atlantic/Azores", "2030-10-26T00:30:00Z", "P1D", "2030-10-27T00:30:00.000Z"},
		{"America/Sao_Paulo", "2018-11-03T00:30:00-03:00", "P1D", "2018-11-04T01:30:00.000-02:00"},
		{"America/Los_Angeles", "2039-12-31T12:00:00-08:00", "P1Y", "2040-12-31T12:00:00.000-08:00"},
		{"America/Los_Angeles", "2050-03-12T02:30:00-08:00", "P1D", "2050-03-13T03:30:00.000-07:00"},
	} {
		loc, _ := loadZone(tt.zone)
		p, err := parsePeriod(tt.period)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.plus(mustParseTime(t, tt.start).In(loc), 1)
		if err != nil || formatStart(got) != tt.want {
			t.Errorf("%s + %s in %s = %s, %v, want %s", tt.start, tt.period, tt.zone, formatStart(got), err, tt.want)
		}
	}
}
