package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// A job that is disabled has no next run, and still says when it would run; a dependent one does not.
func TestSchedulesInWordsOverTheAPI(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"on","command":"x","schedule":"0 6 * * 1-5","scheduleTimeZone":"Europe/Berlin"}`)
	given(t, do, `{"name":"off","command":"x","schedule":"0 6 * * *","scheduleTimeZone":"Europe/Berlin","disabled":true}`)
	for target, want := range map[string]string{
		"GET /scheduler/upcoming/on":     `"words":"at 06:00 on weekdays, Europe/Berlin"`,
		"GET /v1/scheduler/upcoming/off": `"words":"at 06:00 every day, Europe/Berlin"`,
		"GET /scheduler/overview":        `"name":"off","command":"x","schedule":"0 6 * * *","scheduleTimeZone":"Europe/Berlin","words":"at 06:00 every day, Europe/Berlin"`,
		post("/scheduler/schedule/preview", `{"schedule":"0 6 * * 1-5","scheduleTimeZone":"Europe/Berlin"}`): `"words":"at 06:00 on weekdays, Europe/Berlin"`,
	} {
		if got := bodyOf(t, do(target)); !strings.Contains(got, want) {
			t.Errorf("%s = %s, want %s in it", target, got, want)
		}
	}
	for _, target := range []string{"GET /scheduler/jobs", "GET /v1/scheduler/jobs", "GET /scheduler/job/on", "GET /v1/scheduler/job/on"} {
		if got := bodyOf(t, do(target)); strings.Contains(got, "words") {
			t.Errorf("%s = %s, with words that belong to no document", target, got)
		}
	}
}

func TestViewsAreComparedByWhatChanged(t *testing.T) {
	t.Parallel()
	a, b, far := viewed("a"), viewed("b"), viewed("far")
	v1 := newView().with([]viewChange{{set: []*jobView{a, b}}})
	for i := range 1000 {
		name := fmt.Sprint(i)
		v1 = v1.with([]viewChange{{set: []*jobView{viewed(name)}}, {clear: []string{name}}})
	}
	v1 = v1.with([]viewChange{{set: []*jobView{far}}})
	b2, anew := viewed("b"), viewed("a")
	v2 := v1.with([]viewChange{{set: []*jobView{b2, anew}, clear: []string{"a"}}})
	v3 := v2.with([]viewChange{{clear: []string{"far"}}})
	moved := *v3
	moved.compact()
	tests := []struct {
		from, to *view
		want     string
	}{
		{v1, v1, "[] []"},
		{newView(), v1, "[a b far] []"},
		{v1, v2, "[b a] []"}, // a was deleted and made again
		{v2, v3, "[] [far]"},
		{v1, v3, "[b a] [far]"},
		{v3, &moved, "[] []"}, // reassigned slots are not a change
		{v1, &moved, "[b a] [far]"},
	}
	for _, tt := range tests {
		changed, removed := tt.to.since(tt.from)
		names := []string{}
		for _, jv := range changed {
			names = append(names, jv.job.Name)
		}
		if got := fmt.Sprint(names, " ", removed); got != tt.want {
			t.Errorf("view %d since view %d = %s, want %s", tt.to.number, tt.from.number, got, tt.want)
		}
	}
}

func TestRowsOfTheOverview(t *testing.T) {
	t.Parallel()
	jv := &jobView{
		job: &Job{Name: "a", Command: strings.Repeat("é", rowText), Dependent: true, Parents: []string{"p"}, LastError: "2030-01-01T00:00:00.000Z", Disabled: true,
			Policy: &Policy{RunOn: runOnEnd, Labels: []Label{{"team", "data"}, {"tier", "1"}}}},
		runs:    []*Run{{State: runActive, Due: 5000, Started: 5010}, {State: runQueued, Due: 6000}},
		history: []*Run{{State: runFailed, Due: 1000, Started: 1001, Ended: 1003}, {State: runMissed, Due: 500}},
		missed:  3,
	}
	want := `{"name":"a","command":"` + strings.Repeat("é", rowText/2) + `…","parents":["p"],"runOn":"end","labels":{"team":"data","tier":"1"},"disabled":true,"status":"failure","state":"running","running":1,"missed":3,` +
		`"lastError":"2030-01-01T00:00:00.000Z","runs":[["q",6000],["a",5000,10],["f",1000,1,2],["m",500]]}`
	if got := string(rowOf(jv)); got != want {
		t.Errorf("row = %s, want %s", got, want)
	}
}

// The overview can be read line by line, while it arrives.
func TestOverviewHasEachJobOnALine(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	if got := bodyOf(t, do("GET /scheduler/overview?order=name")); !strings.HasSuffix(got, `"jobs":[]}`) || strings.Contains(got, "\n") {
		t.Errorf("without jobs: %s", got)
	}
	for _, name := range []string{"b", "B", "c", "A"} {
		given(t, do, strings.Replace(jobA, `"a"`, `"`+name+`"`, 1))
	}
	for query, want := range map[string]string{"": "b B c A", "?order=name": "A B b c"} {
		lines := strings.Split(bodyOf(t, do("GET /scheduler/overview"+query)), "\n")
		head, end := lines[0], lines[len(lines)-1]
		if !strings.HasSuffix(head, `"jobs":[`) || end != "]}" || !json.Valid([]byte(head+end)) {
			t.Errorf("overview%s begins with %s and ends with %s", query, head, end)
		}
		var names []string
		for i, line := range lines[1 : len(lines)-1] {
			var row struct{ Name string }
			text, more := strings.CutSuffix(line, ",")
			if err := json.Unmarshal([]byte(text), &row); err != nil || more != (i < len(lines)-3) {
				t.Errorf("overview%s has the line %s: %v", query, line, err)
			}
			names = append(names, row.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("overview%s has %s, want %s", query, got, want)
		}
	}
	if res := do("GET /scheduler/overview?order=age"); res.StatusCode != 400 {
		t.Errorf("an unknown order: %d", res.StatusCode)
	}
}

// The totals count jobs as the interface shows them: one whose run was killed or lost is not as good as new.
func TestOverviewCountsHowRunsEnded(t *testing.T) {
	t.Parallel()
	v := newView()
	for name, history := range map[string][]*Run{"k": {{State: runKilled}}, "x": {{State: runMissed}, {State: runLost}, {State: runKilled}}, "new": nil, "m": {{State: runMissed}}} {
		jv := viewed(name)
		jv.history = history
		if name == "m" {
			jv.missed = 3
		}
		v = v.with([]viewChange{{set: []*jobView{jv}}})
	}
	if got := totalsOf(sight{view: v}); got.Fresh != 4 || got.Killed != 1 || got.Lost != 1 || got.Missed != 3 || got.MissedJobs != 1 {
		t.Errorf("totals = %+v", got)
	}
}
