package main

import (
	"strings"
	"testing"
)

func TestPoolsOverTheAPI(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	put := func(name, document string) string { return "PUT /scheduler/pool/" + name + asJSON + document }
	job := post("/scheduler/iso8601", `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","pool":"db"}`)
	for _, tt := range []struct {
		request string
		status  int
		answer  string
	}{
		{"GET /scheduler/pools", 200, `{"pools":[]}`},
		{job, 400, `pool: there is no pool "db"`},
		{put("db", `{"slots":-1}`), 400, "slots: want a whole number from 0 to 1000000"},
		{put("db", `{"slots":"3"}`), 400, "slots: "},
		{put("db", `{}`), 400, "slots: "},
		{put("d%20b", `{"slots":3}`), 400, "pool: 'd b' is no name of a pool"},
		{put("db", `{"slots":3}`), 204, ""},
		{job, 204, ""},
		{"GET /v1/scheduler/pools", 200, `{"pools":[{"name":"db","slots":3,"used":0,"waiting":0,"jobs":1}]}`},
		{"DELETE /scheduler/pool/db", 409, `pool "db" is in use: 1 jobs name it`},
		{"DELETE /scheduler/job/a", 204, ""},
		{"DELETE /scheduler/pool/db", 204, ""},
		{"DELETE /scheduler/pool/db", 404, ""},
	} {
		res := do(tt.request)
		if answer := bodyOf(t, res); res.StatusCode != tt.status || !strings.HasPrefix(answer, tt.answer) {
			t.Errorf("%s = %d %s, want %d %s", tt.request, res.StatusCode, answer, tt.status, tt.answer)
		}
	}
}

// A job is paused until an instant or for a duration, and what is shown of it says so.
func TestPauseOverTheAPI(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","exclude":["2030-01-01/2030-01-03"]}`)
	for target, want := range map[string]int{
		"PUT /scheduler/pause/a":                            400,
		"PUT /scheduler/pause/a?until=tomorrow":             400,
		"PUT /scheduler/pause/a?until=2001-01-01T00:00:00Z": 400,
		"PUT /scheduler/pause/none?until=PT2H":              404,
		"DELETE /scheduler/pause/none":                      404,
		"DELETE /scheduler/pause/a":                         204,
		"PUT /v1/scheduler/pause/a?until=PT2H":              204,
	} {
		if res := do(target); res.StatusCode != want {
			t.Errorf("%s = %d %s, want %d", target, res.StatusCode, bodyOf(t, res), want)
		}
	}
	if res := do("PUT /scheduler/pause/a?until=2030-01-03T12:00:00Z"); res.StatusCode != 204 {
		t.Fatalf("pause = %d %s", res.StatusCode, bodyOf(t, res))
	}
	got := bodyOf(t, do("GET /scheduler/upcoming/a?count=1"))
	if !strings.Contains(got, `"pausedUntil":"2030-01-03T12:00:00.000Z","next":"2030-01-04T00:00:00.000Z"`) || !strings.Contains(got, `"utc":"2030-01-04T00:00:00.000Z"`) {
		t.Errorf("upcoming = %s, want the first instant after the pause and what is excluded", got)
	}
	if got := bodyOf(t, do("GET /scheduler/overview")); !strings.Contains(got, `"pausedUntil":1893672000000`) {
		t.Errorf("overview = %s", got)
	}
	if got := bodyOf(t, do("GET /scheduler/job/a")); strings.Contains(got, "paused") {
		t.Errorf("the document says it is paused: %s", got)
	}
}
