package main

import "testing"

func BenchmarkPassed(b *testing.B) {
	for _, tt := range []struct{ name, text, zone string }{
		{"since1970EverySecond", "R/1970-01-01T00:00:00Z/PT1S", ""},
		{"since1970Daily", "R/1970-01-01T00:00:00Z/P1D", "America/Los_Angeles"},
		{"since1970Monthly", "R/1970-01-31T00:00:00Z/P1M", "America/Los_Angeles"},
		{"oneOccurrence", "R/2030-06-15T10:00:00Z/PT1H", ""},
		{"cronOneDay", "*/5 * * * *", "America/Los_Angeles"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			s := mustParseSchedule(b, tt.text, tt.zone, testNow.AddDate(0, 0, -1))
			b.ReportAllocs()
			for b.Loop() {
				s.passed(testNow)
			}
		})
	}
}

func BenchmarkParseSchedule(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustParseSchedule(b, "R/2030-06-15T10:00:00+02:00/PT1H", "America/Los_Angeles", testNow)
	}
}
