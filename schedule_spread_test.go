package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestSpreadCron(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{ // for the name "nightly"
		"0 2 * * *":                   "0 2 * * *",
		"R/2030-01-01T00:00:00Z/PT1H": "R/2030-01-01T00:00:00Z/PT1H",
		"H H":                         "H H",
		"0 0 * * thu":                 "0 0 * * thu",
		"H(0-5) 2 * * *":              fmt.Sprintf("%d 2 * * *", cronMinute.share("nightly", 6)),
		"H H * * *":                   fmt.Sprintf("%d %d * * *", cronMinute.share("nightly", 60), cronHour.share("nightly", 24)),
		"h h H * *":                   fmt.Sprintf("%d %d %d * *", cronMinute.share("nightly", 60), cronHour.share("nightly", 24), 1+cronDay.share("nightly", 28)),
		"H H * H H":                   fmt.Sprintf("%d %d * %d %d", cronMinute.share("nightly", 60), cronHour.share("nightly", 24), 1+cronMonth.share("nightly", 12), cronWeekday.share("nightly", 7)),
		"H 0 H * * *":                 fmt.Sprintf("%d 0 %d * * *", cronSecond.share("nightly", 60), cronHour.share("nightly", 24)),
		"H/15 * * * *":                fmt.Sprintf("%d-59/15 * * * *", cronMinute.share("nightly", 15)),
		"H(0-29)/10,59 * * * *":       fmt.Sprintf("%d-29/10,59 * * * *", cronMinute.share("nightly", 10)),
		"0 0 * * H(mon-fri)":          fmt.Sprintf("0 0 * * %d", 1+cronWeekday.share("nightly", 5)),
		"H/0 * * * *":                 `parse cron "H/0 * * * *": minute "H/0": step "0" is not a number from 1 to 60`,
		"H/61 * * * *":                `parse cron "H/61 * * * *": minute "H/61": step "61" is not a number from 1 to 60`,
		"H(5-2) * * * *":              `parse cron "H(5-2) * * * *": minute "H(5-2)": range "5-2" ends before it starts`,
		"H(5) * * * *":                `parse cron "H(5) * * * *": minute "H(5)": want H(low-high)`,
		"H(0-5 * * * *":               `parse cron "H(0-5 * * * *": minute "H(0-5": want H(low-high)`,
		"H(0-5)x * * * *":             `parse cron "H(0-5)x * * * *": minute "H(0-5)x": "x" follows the H`,
		"H(0-75) * * * *":             `parse cron "H(0-75) * * * *": minute "H(0-75)": 75 is not within 0-59`,
	} {
		got, err := spreadCron(text, "nightly")
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
		if err == nil && spreads(got) {
			t.Errorf("%q has still an H: %q", text, got)
		}
	}
}

// A value that follows from a name never changes: it decides when jobs run.
func TestSpreadIsForEver(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"nightly": "17 12 * * *", "a": "1 8 * * *", "b": "41 19 * * *"} {
		if got, err := spreadCron("H H * * *", name); err != nil || got != want {
			t.Errorf("H H * * * of %q is %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestAThousandJobsAreSpread(t *testing.T) {
	t.Parallel()
	perMinute, perHour := map[string]int{}, map[string]int{}
	for i := range 1000 {
		text, err := spreadCron("H H * * *", fmt.Sprintf("nightly-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(text)
		perMinute[fields[0]+" "+fields[1]]++
		perHour[fields[1]]++
	}
	for at, n := range perMinute {
		if n > 8 {
			t.Errorf("%d of 1000 jobs start at %s", n, at)
		}
	}
	if len(perHour) != 24 || len(perMinute) < 600 {
		t.Errorf("1000 jobs start in %d minutes of %d hours", len(perMinute), len(perHour))
	}
}

// What an H stands for outlives terms and what a JVM version makes of the job, and goes on in a child that takes over the schedule.
func TestSpreadScheduleIsKept(t *testing.T) {
	t.Parallel()
	minute := cronMinute.share("parent", 60)
	next := func(b *bench, name string) string { return b.s.view().job(name).next.Format(time.TimeOnly) }
	want := fmt.Sprintf("02:%02d:00", minute)
	scenario(t, "in every term, and by a child", func(b *bench) {
		b.start().post(`{"name":"parent","command":"x","schedule":"H 2 * * *"}`)
		b.post(`{"name":"child","command":"x","parents":["parent"]}`)
		if got := next(b, "parent"); got != want {
			b.t.Errorf("next at %s, want %s", got, want)
		}
		b.restart()
		if got, text := next(b, "parent"), b.job("parent").Schedule; got != want || text != "H 2 * * *" {
			b.t.Errorf("after a fail-over next at %s, want %s; schedule %q", got, want, text)
		}
		if stored := b.store.value("J_parent"); !strings.Contains(stored, `"schedule":"R1/2000-01-01T`+want+`.000Z/P1D"`) {
			b.t.Errorf("a JVM version reads %s", stored)
		}
		b.post(`{"name":"parent","command":"y","schedule":"H 2 * * *"}`)
		b.wait(3 * time.Hour)
		b.wantHistory("parent", "scheduled finished "+want)
		b.do("delete", b.s.deleteJob(b.t.Context(), "parent"))
		concrete := fmt.Sprintf("%d 2 * * *", minute)
		for range 2 {
			if got, text := next(b, "child"), b.job("child").Schedule; got != want || text != concrete {
				b.t.Errorf("the child is due at %s, want %s; its schedule is %q, want %q", got, want, text, concrete)
			}
			b.restart()
		}
		b.post(`{"name":"child","command":"x","schedule":"` + concrete + `"}`)
		if got := next(b, "child"); got != want {
			b.t.Errorf("posted as listed the child is due at %s, want %s", got, want)
		}
	})
}
