package main

import (
	"strings"
	"testing"
)

func TestBackfillOverTheAPI(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a","command":"x","schedule":"0 * * * *","scheduleTimeZone":"UTC"}`)
	ask := func(document string) string { return "POST /scheduler/backfill/a" + asJSON + document }
	const day = `"from":"2020-01-01T00:00:00Z","to":"2020-01-01T06:00:00Z"`
	for _, tt := range []struct {
		request string
		status  int
		answer  string
	}{
		{"GET /scheduler/backfill/a", 404, `no backfill of job "a"`},
		{"DELETE /scheduler/backfill/a", 404, `no backfill of job "a"`},
		{ask(`{"from":"2020-01-01T00:00:00Z"}`), 400, "to: want an instant"},
		{ask(`{"from":"2020-01-02T00:00:00Z","to":"2020-01-01T00:00:00Z"}`), 400, "to: it is not after from"},
		{ask(`{` + day + `,"concurrency":0}`), 400, "concurrency: want a whole number"},
		{ask(`{` + day + `,"concurrency":2}`), 400, `concurrency: more than 1 is for jobs with "overlap":"allow"`},
		{strings.Replace(ask(`{`+day+`}`), "backfill/a", "backfill/none", 1), 404, `no job "none"`},
		{strings.Replace(ask(`{`+day+`}`), "\n", "\n"+requestIDHeader+": same\n", 1), 200, `{"instants":6}`},
		{strings.Replace(ask(`{`+day+`}`), "\n", "\n"+requestIDHeader+": same\n", 1), 200, `{"instants":6}`}, // sent again
		{ask(`{` + day + `}`), 409, `job "a": a backfill of the job is under way: 5 of 6 are left`},
		{"GET /v1/scheduler/backfill/a", 200, `{"job":"a","asked":"`},
		{"DELETE /scheduler/backfill/a", 204, ""},
	} {
		res := do(tt.request)
		if answer := bodyOf(t, res); res.StatusCode != tt.status || !strings.HasPrefix(answer, tt.answer) {
			t.Errorf("%s = %d %s, want %d %s", tt.request, res.StatusCode, answer, tt.status, tt.answer)
		}
	}
	if got := bodyOf(t, do("GET /scheduler/runs/a")); !strings.Contains(got, `"kind":"backfill"`) || !strings.Contains(got, `"instant":"2020-01-01T00:00:00.000Z"`) {
		t.Errorf("runs = %s", got)
	}
}
