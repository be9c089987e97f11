package main

import (
	"testing"
	"time"
)

func TestSchedulesInWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	tests := []struct{ text, zone, want string }{
		// times of a day
		{"0 6 * * 1-5", "Europe/Berlin", "at 06:00 on weekdays, Europe/Berlin"},
		{"0 6 * * *", "Europe/Berlin", "at 06:00 every day, Europe/Berlin"},
		{"0 6 * * *", "", "at 06:00 every day, UTC"},
		{"30 6,18 * * *", "UTC", "at 06:30 and 18:30 every day, UTC"},
		{"15 30 6 * * *", "UTC", "at 06:30:15 every day, UTC"},
		{"@daily", "UTC", "at 00:00 every day, UTC"},
		{"0 */6 * * *", "UTC", "at 00:00, 06:00, 12:00 and 18:00 every day, UTC"},
		// days
		{"0 6 * * 6,0", "UTC", "at 06:00 at weekends, UTC"},
		{"0 6 * * sun,mon", "UTC", "at 06:00 on Mondays and Sundays, UTC"},
		{"0 6 1 * *", "UTC", "at 06:00 on the 1st of the month, UTC"},
		{"0 6 2,3,11,22 * *", "UTC", "at 06:00 on the 2nd, 3rd, 11th and 22nd of the month, UTC"},
		{"0 6 1 * 1", "UTC", "at 06:00 on the 1st of the month or on Mondays, UTC"},
		{"0 6 24 12 *", "UTC", "at 06:00 on the 24th of December, UTC"},
		{"0 6 * 1,7 *", "UTC", "at 06:00 in January and July, UTC"},
		{"0 6 * 1 5", "UTC", "at 06:00 on Fridays in January, UTC"},
		// intervals of cron
		{"* * * * *", "UTC", "every minute"},
		{"*/15 * * * *", "Europe/Berlin", "every 15 minutes"},
		{"5/15 * * * *", "UTC", "every 15 minutes from minute 5"},
		{"0 * * * *", "UTC", "every hour"},
		{"20 * * * *", "UTC", "every hour at minute 20"},
		{"0 */2 * * *", "UTC", "every 2 hours from 00:00, UTC"},
		{"0 9-17 * * 1-5", "UTC", "every hour from 09:00 to 17:00 on weekdays, UTC"},
		{"*/15 9-17 * * *", "UTC", "every 15 minutes from 09:00 to 17:45, UTC"},
		{"5,10 * * * *", "UTC", "at minutes 5 and 10 of every hour"},
		{"1,2 1,2,4,5 * * *", "UTC", "at minutes 1 and 2 of the hours 1, 2, 4 and 5, UTC"},
		{"*/10 * * * * *", "UTC", "every 10 seconds"},
		{"* * * * * *", "UTC", "every second"},
		// ISO 8601
		{"R/2030-01-07T06:00:00Z/P1D", "", "at 06:00 every day, from 7 January 2030, UTC"},
		{"R/2020-01-06T06:00:00/P1D", "Europe/Berlin", "at 06:00 every day, Europe/Berlin"},
		{"R/2020-01-06T06:00:00Z/P1W", "", "at 06:00 on Mondays, UTC"},
		{"R/2020-01-31T06:00:00Z/P1M", "", "at 06:00 on the 31st of the month or its last day, UTC"},
		{"R/2020-03-01T06:00:00Z/P1Y", "", "at 06:00 on 1 March every year, UTC"},
		{"R/2020-01-01T06:00:00+02:00/P1D", "", "at 06:00 every day, UTC+02:00"},
		{"R/2020-01-01T06:30:00Z/PT1H", "", "every hour at minute 30"},
		{"R/2020-01-01T06:58:28Z/PT1H", "", "every hour at minute 58:28"},
		{"R/2020-01-01T06:30:00Z/PT15M", "", "every 15 minutes"},
		{"R/2020-01-01T06:31:00Z/PT15M", "", "every 15 minutes, from 06:31 on 1 January 2020, UTC"},
		{"R5/2020-01-01T06:00:00Z/PT2H", "", "every 2 hours, 5 times, from 06:00 on 1 January 2020, UTC"},
		{"R/2020-01-01T06:00:00Z/P1DT12H", "", "every 1 day and 12 hours, from 06:00 on 1 January 2020, UTC"},
		{"R//PT1H", "", "every hour, from when it is saved"},
		{"R1/2030-01-01T09:00:00/P1D", "Europe/Berlin", "once, at 09:00 on 1 January 2030, Europe/Berlin"},
		{"R1//PT24H", "", "once, as soon as it is saved"},
		{"R0/2020-01-01T09:00:00Z/P1D", "", "never again"},
	}
	for _, tt := range tests {
		s, err := parseSchedule(tt.text, tt.zone, now)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if tt.text == "R//PT1H" { // the minute is that of saving
			s.start = s.start.Truncate(time.Hour)
		}
		if got := s.words(now); got != tt.want {
			t.Errorf("%s in %q = %q, want %q", tt.text, tt.zone, got, tt.want)
		}
	}
	if got := (Schedule{}).words(now); got != "" {
		t.Errorf("a schedule that could not be read = %q", got)
	}
}
