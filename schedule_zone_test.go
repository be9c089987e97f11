package main

import (
	"strings"
	"testing"
	"time"
)

func TestZoneIDsMeanWhatTheyMeanToJavaAndJoda(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		id, winter, summer string // offsets in 2030
		known              bool
	}{
		{"America/Los_Angeles", "-08:00", "-07:00", true},
		{"Europe/Berlin", "+01:00", "+02:00", true},
		{"UTC", "Z", "Z", true},
		{"Etc/GMT+5", "-05:00", "-05:00", true},
		{"PST8PDT", "-08:00", "-07:00", true},

		{"PST", "-08:00", "-07:00", true},
		{"EST", "-05:00", "-04:00", true},
		{"MST", "-07:00", "-06:00", true},
		{"HST", "-10:00", "-10:00", true},
		{"IST", "+05:30", "+05:30", true},
		{"BST", "+06:00", "+06:00", true},
		{"MET", "+01:00", "+02:00", true},
		{"WET", "Z", "+01:00", true},
		{"GMT", "Z", "Z", true},
		{"AET", "+11:00", "+10:00", true},

		{"GMT+2", "+02:00", "+02:00", true},
		{"GMT+02", "+02:00", "+02:00", true},
		{"GMT+02:00", "+02:00", "+02:00", true},
		{"GMT-0330", "-03:30", "-03:30", true},
		{"GMT-3:30", "-03:30", "-03:30", true},
		{"GMT+330", "+03:30", "+03:30", true},
		{"GMT+0", "Z", "Z", true},
		{"GMT-00:00", "Z", "Z", true},
		{"GMT+24", "Z", "Z", false},
		{"GMT+2:5", "Z", "Z", false},
		{"GMT+02:60", "Z", "Z", false},
		{"GMT+002:00", "Z", "Z", false},
		{"GMT2", "Z", "Z", false},
		{"GMT+", "Z", "Z", false},
		{"GMT+a", "Z", "Z", false},

		{"", "Z", "Z", false},
		{" ", "Z", "Z", false},
		{"Bogus", "Z", "Z", false},
		{"null", "Z", "Z", false},
		{"+02:00", "Z", "Z", false},
		{"UTC+2", "Z", "Z", false},
		{"utc", "Z", "Z", false},
		{"Local", "Z", "Z", false},
		{"europe/berlin", "Z", "Z", false},
		{"posix/Europe/Berlin", "Z", "Z", false},
		{"right/Europe/Berlin", "Z", "Z", false},
		{"../etc/passwd", "Z", "Z", false},
		{"Europe", "Z", "Z", false},
	} {
		loc, known := loadZone(tt.id)
		winter := time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC).In(loc).Format("Z07:00")
		summer := time.Date(2030, 7, 15, 12, 0, 0, 0, time.UTC).In(loc).Format("Z07:00")
		if winter != tt.winter || summer != tt.summer || known != tt.known {
			t.Errorf("loadZone(%q) = %s in winter, %s in summer, %v, want %s, %s, %v",
				tt.id, winter, summer, known, tt.winter, tt.summer, tt.known)
		}
	}
}

func TestEveryLegacyZoneExists(t *testing.T) {
	t.Parallel()
	for id := range legacyZones {
		if loc, known := loadZone(id); !known || loc == time.UTC && id != "GMT" {
			t.Errorf("loadZone(%q) = %v, %v, want a zone of its own", id, loc, known)
		}
	}
}

func TestZonesAreLoadedOnce(t *testing.T) {
	t.Parallel()
	a, _ := loadZone("Asia/Tokyo")
	b, _ := loadZone("JST")
	if a != b {
		t.Errorf("loadZone gives two locations for Asia/Tokyo and JST, want one")
	}
}

// Every local time of a day around a change of the clocks, against the definition.
func TestFromWallIsTheFirstInstantThatShowsIt(t *testing.T) {
	t.Parallel()
	for _, day := range []string{
		"America/Los_Angeles 2015-03-08", "America/Los_Angeles 2015-11-01", "Europe/Berlin 2015-03-29", "Europe/Berlin 2015-10-25",
		"Europe/London 2030-10-27", "Australia/Lord_Howe 2030-04-07", "Australia/Lord_Howe 2030-10-06", "America/Sao_Paulo 2018-02-17",
		"Atlantic/Azores 2030-10-27", "America/Los_Angeles 2040-12-31", "Europe/Berlin 2045-10-29", "Pacific/Apia 2011-12-30",
	} {
		zone, date, _ := strings.Cut(day, " ")
		loc, _ := loadZone(zone)
		midnight := mustParseTime(t, date+"T00:00:00Z").UnixMilli()
		const minute = 60_000
		first := map[int64]int64{} // local time -> first instant
		for ms := midnight - 50*60*minute; ms < midnight+50*60*minute; ms += minute {
			wall := ms + offsetAt(loc, ms)
			if _, ok := first[wall]; !ok {
				first[wall] = ms
			}
		}
		for wall := midnight; wall < midnight+24*60*minute; wall += minute {
			got := fromWall(loc, wall)
			want, shown := first[wall]
			if !shown { // in a gap: as much after it as the local time is after its start
				start := wall
				for _, ok := first[start]; !ok; _, ok = first[start] {
					start -= minute
				}
				want = first[start] + wall - start
			}
			if got != want {
				t.Errorf("fromWall(%s, %v) = %v, want %v", zone, time.UnixMilli(wall).UTC(), time.UnixMilli(got).In(loc), time.UnixMilli(want).In(loc))
				break
			}
		}
	}
}

func TestNearestZone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ id, want string }{
		{"Europe/Berlim", "Europe/Berlin"},
		{"europe/berlin", "Europe/Berlin"},
		{"Europe/Berlin ", "Europe/Berlin"},
		{" UTC", "UTC"},
		{"utc", "UTC"},
		{"America/New York", "America/New_York"},
		{"america/new-york", "America/New_York"},
		{"Berlin", "Europe/Berlin"},
		{"new_york", "America/New_York"},
		{"Amerika/Los_Angeles", "America/Los_Angeles"},
		{"Asia/Calcuta", "Asia/Calcutta"},
		{"+02:00", "GMT+02:00"},
		{"-0330", "GMT-0330"},
		{"UTC+2", "GMT+2"},
		{"utc-11:30", "GMT-11:30"},
		{"GMT+ 2", ""},
		{"Z", "UTC"},
		{"+25:00", ""},
		{"Middle-earth/Bree", ""},
		{"", ""},
		{strings.Repeat("x", 100_000), ""},
	} {
		if got := nearestZone(tt.id); got != tt.want {
			t.Errorf("nearestZone(%.40q) = %q, want %q", tt.id, got, tt.want)
		}
		if got := nearestZone(tt.id); got != "" {
			if _, known := loadZone(got); !known {
				t.Errorf("nearestZone(%q) = %q, which does not exist", tt.id, got)
			}
		}
	}
}

func TestZoneNamesExist(t *testing.T) {
	t.Parallel()
	names := strings.Fields(zoneNames)
	if len(names) < 590 {
		t.Errorf("there are %d names, want those of the time zone database", len(names))
	}
	for _, name := range names {
		if _, known := loadZone(name); !known {
			t.Errorf("there is no time zone %q", name)
		}
	}
}
