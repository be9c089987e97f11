package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTimelineOfRunsAndDueTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(minute int) int64 { return now.Add(time.Duration(minute) * time.Minute).UnixMilli() }
	sched, err := parseSchedule("R/2030-01-01T12:30:00Z/PT1H", "", now)
	if err != nil {
		t.Fatal(err)
	}
	next, _ := sched.next()
	jobs := []*jobView{
		{job: &Job{Name: "busy"}, runs: []*Run{{ID: "now", State: runActive, Due: at(-20), Started: at(-20)}}, history: []*Run{
			{ID: "beside", State: runFinished, Due: at(-40), Started: at(-40), Ended: at(-10)}, {ID: "old", State: runFailed, Due: at(-600), Started: at(-600), Ended: at(-599)}}},
		{job: &Job{Name: "coming"}, sched: sched, next: next},
		{job: &Job{Name: "disabled", Disabled: true}, sched: sched, next: next},
		{job: &Job{Name: "idle"}},
		{job: &Job{Name: "late"}, history: []*Run{{ID: "missed", State: runMissed, Due: at(-30), Ended: at(-5), Count: 3}}},
	}
	fill := func(after string, lanes int) timeline {
		line := timeline{From: at(-60), To: at(120), Bucket: 10 * 60e3, Load: make([]int, 18), Due: make([]int, 18), Lanes: []lane{}}
		line.fill(slices.Values(jobs), now, after, lanes)
		return line
	}
	all := fill("", 10)
	b, err := json.Marshal(all.Lanes)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`[{"name":"busy","runs":[{"id":"now","state":"a","due":%[1]d,"started":%[1]d},{"id":"beside","state":"s","due":%[2]d,"started":%[2]d,"ended":%[3]d}],"due":[]},`+
		`{"name":"coming","runs":[],"due":[%[4]d,%[5]d]},{"name":"late","runs":[{"id":"missed","state":"m","due":%[6]d,"ended":%[7]d,"occurrences":3}],"due":[]}]`,
		at(-20), at(-40), at(-10), at(30), at(90), at(-30), at(-5))
	if string(b) != want {
		t.Errorf("lanes = %s, want %s", b, want)
	}
	// Ten minutes each: from 11:20 one, from 11:40 two, from 12:00 what ends then.
	if got := fmt.Sprint(all.Load); got != "[0 0 1 1 2 2 1 0 0 0 0 0 0 0 0 0 0 0]" {
		t.Errorf("load = %s", got)
	}
	if got := fmt.Sprint(all.Due); got != "[0 0 0 0 0 0 0 0 0 1 0 0 0 0 0 1 0 0]" {
		t.Errorf("due = %s", got)
	}
	first := fill("", 1)
	rest := fill(first.Next, 10)
	if first.Jobs != 3 || first.Next != "busy" || len(first.Lanes) != 1 || len(rest.Lanes) != 2 || rest.Next != "" || fmt.Sprint(rest.Load) != fmt.Sprint(all.Load) {
		t.Errorf("pages = %d jobs, next %q, %d and then %d lanes; want 3, busy, 1 and 2", first.Jobs, first.Next, len(first.Lanes), len(rest.Lanes))
	}
}

// However often a job is due, an answer names so many of its times, says that there are more, and counts them all.
func TestTimelineIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	sched, err := parseSchedule("* * * * * *", "UTC", now)
	if err != nil {
		t.Fatal(err)
	}
	next, _ := sched.next()
	jv := &jobView{job: &Job{Name: "a"}, sched: sched, next: next}
	for i := range laneMarks + 5 {
		jv.history = append(jv.history, &Run{ID: fmt.Sprint(i), State: runFinished, Due: now.UnixMilli(), Started: now.UnixMilli(), Ended: now.UnixMilli()})
	}
	line := timeline{From: now.UnixMilli(), To: now.Add(time.Hour).UnixMilli(), Bucket: 60e3, Load: make([]int, 60), Due: make([]int, 60)}
	line.fill(slices.Values([]*jobView{jv}), now, "", 10)
	l, due := line.Lanes[0], 0
	for _, n := range line.Due {
		due += n
	}
	if line.Partial || !l.On || due != 3600-1 || len(l.Due) != laneMarks || len(l.Runs) != laneMarks || l.More != 5 {
		t.Errorf("partial %v, on %v, %d counted, %d due times, %d runs and %d more; want false, true, 3599, %d, %d and 5", line.Partial, l.On, due, len(l.Due), len(l.Runs), l.More, laneMarks, laneMarks)
	}
}

func TestTimelineOverTheAPI(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a","command":"x","ownerName":"Ada","schedule":"R/2030-01-01T00:00:00Z/P1D","labels":{"team":"data"}}`)
	given(t, do, `{"name":"b","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"}`)
	const span = "?from=2029-12-31T00:00:00Z&to=2030-01-05T00:00:00Z"
	for target, want := range map[string]string{
		"timeline" + span:                                            `"jobs":2,`,
		"timeline" + span + "&owner=Ada":                             `"jobs":1,`,
		"timeline" + span + "&label=team=data":                       `"jobs":1,`,
		"timeline" + span + "&q=B":                                   `"jobs":1,`,
		"timeline" + span + "&prefix=c":                              `"jobs":0,`,
		"timeline?from=2030-01-05T00:00:00Z&to=x":                    "is not an instant",
		"timeline" + span + "&buckets=0":                             "is not a number between 1 and 1440",
		"timeline" + span + "&lanes=501":                             "is not a number between 1 and 500",
		"timeline?from=2030-01-01T00:00:00Z&to=2031-01-01T00:00:00Z": "at most 31 days",
	} {
		if got := bodyOf(t, do("GET /scheduler/"+target)); !strings.Contains(got, want) {
			t.Errorf("GET %s = %s, want %s in it", target, got, want)
		}
	}
}

func TestRunsOfAllJobs(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a","command":"x","ownerName":"Ada","schedule":"R/2090-01-01T00:00:00Z/P1D","concurrent":true}`)
	given(t, do, `{"name":"b","command":"x","schedule":"R/2090-01-01T00:00:00Z/P1D","concurrent":true}`)
	for _, name := range []string{"a", "b", "a", "b", "a"} {
		do("PUT /scheduler/job/" + name)
	}
	type answer struct {
		Runs []struct{ Job, ID, State, Due string }
		Next string
	}
	list := func(query string) (a answer) {
		t.Helper()
		text := bodyOf(t, do("GET /v1/scheduler/runs"+query))
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatalf("runs%s = %s: %v", query, text, err)
		}
		return a
	}
	var paged []string
	for next := ""; ; {
		page := list("?limit=2&after=" + strings.ReplaceAll(next, ":", "%3A"))
		for _, r := range page.Runs {
			paged = append(paged, r.ID)
		}
		if next = page.Next; next == "" {
			break
		}
		if len(paged) > 5 {
			t.Fatalf("the pages do not end: %v", paged)
		}
	}
	var whole []string
	for _, r := range list("").Runs {
		whole = append(whole, r.ID)
	}
	if len(whole) != 5 || !slices.Equal(paged, whole) {
		t.Errorf("pages of two = %v, all at once = %v; want the same five", paged, whole)
	}
	for query, want := range map[string]int{"?owner=Ada": 3, "?q=b": 2, "?state=queued,active": 5, "?state=failed": 0, "?kind=manual": 5, "?kind=scheduled": 0, "?to=2001-01-01T00:00:00Z": 0} {
		if got := len(list(query).Runs); got != want {
			t.Errorf("runs%s = %d runs, want %d", query, got, want)
		}
	}
	for query, want := range map[string]string{"?after=x": "is not what an answer has named", "?limit=1000": "is not a number between 1 and 500"} {
		if got := bodyOf(t, do("GET /scheduler/runs"+query)); !strings.Contains(got, want) {
			t.Errorf("runs%s = %s, want %s in it", query, got, want)
		}
	}
}
