package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func previewOf(t *testing.T, res *http.Response) preview {
	t.Helper()
	var p preview
	body := bodyOf(t, res)
	if err := json.Unmarshal([]byte(body), &p); err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	return p
}

func TestPreviewShowsBothClocks(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	p := previewOf(t, do(post("/scheduler/schedule/preview",
		`{"schedule":"R/2045-03-25T02:30:00/P1D","scheduleTimeZone":"Europe/Berlin","count":3}`)))
	want := []string{"2045-03-25T02:30:00.000+01:00 2045-03-25T01:30:00.000Z", "2045-03-26T03:30:00.000+02:00 2045-03-26T01:30:00.000Z",
		"2045-03-27T02:30:00.000+02:00 2045-03-27T00:30:00.000Z"}
	if len(p.Upcoming) != 3 {
		t.Fatalf("preview = %+v, want 3 instants", p)
	}
	for i, o := range p.Upcoming {
		if got := o.Local + " " + o.UTC; got != want[i] {
			t.Errorf("instant %d = %s, want %s", i, got, want[i])
		}
	}
	if !strings.Contains(p.Upcoming[1].Note, "does not exist in Europe/Berlin") || p.Upcoming[0].Note != "" {
		t.Errorf("notes = %q, %q, want one where the clocks go forward", p.Upcoming[0].Note, p.Upcoming[1].Note)
	}
}

func TestPreviewNeedsNoLeader(t *testing.T) {
	t.Parallel()
	o := leading(nil)
	o.leader = func() (string, bool) { return "", false }
	res := send(t, newAPI(o), post("/v1/scheduler/schedule/preview", `{"schedule":"0 3 * * *"}`))
	if p := previewOf(t, res); len(p.Upcoming) != defaultPreview {
		t.Errorf("preview of a cron expression = %+v, want %d instants", p, defaultPreview)
	}
}

func TestPreviewRefuses(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	for document, want := range map[string]string{
		`{"schedule":"soon"}`: `cannot use schedule "soon"`,
		`{}`:                  `cannot use schedule ""`,
		`{"schedule":"R/2030-01-01T00:00:00Z/PT0S"}`:          "cannot use schedule",
		`{"schedule":"R/2030-01-01T00:00:00Z/P1D","n":1}`:     `unknown key "n"`,
		`{"schedule":"R/2030-01-01T00:00:00Z/P1D","count":0}`: "count: 0 is not between 1 and 1000",
	} {
		if res := do(post("/scheduler/schedule/preview", document)); res.StatusCode != 400 || !strings.Contains(bodyOf(t, res), want) {
			t.Errorf("preview of %s = %d, want 400 with %q", document, res.StatusCode, want)
		}
	}
}

func TestUpcomingOfAJob(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a","command":"x","schedule":"R3/2045-01-01T00:00:00Z/PT1H"}`, jobDep)
	p := previewOf(t, do("GET /scheduler/upcoming/a"))
	if p.Job != "a" || p.Next != "2045-01-01T00:00:00.000Z" || len(p.Upcoming) != 3 || p.Upcoming[2].UTC != "2045-01-01T02:00:00.000Z" {
		t.Errorf("upcoming = %+v, want the three that are left", p)
	}
	if p := previewOf(t, do("GET /scheduler/upcoming/a?count=1")); len(p.Upcoming) != 1 {
		t.Errorf("upcoming?count=1 = %+v", p)
	}
	if p := previewOf(t, do("GET /scheduler/upcoming/dep")); len(p.Upcoming) != 0 || len(p.Parents) != 1 || p.Next != "" {
		t.Errorf("upcoming of a dependent job = %+v, want its parents", p)
	}
}
