package main

import (
	"net/http"
	"strings"
	"testing"
)

// Keys of ours are the same in every dialect, and shown where they are set only.
func TestKeysOfOursOverTheAPI(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	plain := `{"name":"plain","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"}`
	given(t, do, plain)
	before := bodyOf(t, do("GET /scheduler/jobs"))
	given(t, do, `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","retryDelay":60,"labels":{"team":"data"}}`)
	const members = `,"retryDelay":"PT60S","labels":{"team":"data"}`
	for _, target := range []string{"/scheduler/jobs", "/v1/scheduler/jobs", "/scheduler/job/a", "/v1/scheduler/jobs/search?name=a"} {
		if got := bodyOf(t, do("GET "+target)); strings.Count(got, members) != 1 {
			t.Errorf("%s = %s, want %s once", target, got, members)
		}
	}
	if got := bodyOf(t, do("GET /scheduler/jobs?label=no")); got != "[]" {
		t.Errorf("jobs with a label that none has = %s", got)
	}
	if res := do("DELETE /scheduler/job/a"); res.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE = %d", res.StatusCode)
	}
	if after := bodyOf(t, do("GET /scheduler/jobs")); after != before {
		t.Errorf("a job without keys of ours is listed as %s, and was as %s", after, before)
	}
}

func TestWrongValuesOfKeysOfOurs(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	document := func(member string) string {
		return `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D",` + member + `}`
	}
	res := do(post("/scheduler/iso8601", document(`"retryBackoff":0`)))
	if body := bodyOf(t, res); res.StatusCode != 400 || body != "retryBackoff: 0 is not a number from 1 to 1000" {
		t.Errorf("a wrong value = %d %s, want 400 with the key and what would be right", res.StatusCode, body)
	}
	res = do(post("/v1/scheduler/iso8601", document(`"labels":["x"]`)))
	if got := res.Header.Get("Warning"); res.StatusCode != 204 || !strings.Contains(got, "labels: ") {
		t.Errorf("a value of another type = %d, Warning %q", res.StatusCode, got)
	}
	if got := problemsOf(t, do); len(got) != 1 || !strings.HasPrefix(got[0], "a labels: ") {
		t.Errorf("problems = %q, want one of the inert key", got)
	}
	if got := bodyOf(t, do("GET /scheduler/job/a")); !strings.Contains(got, `"labels":["x"]`) {
		t.Errorf("the inert key is gone: %s", got)
	}
}

// Jobs are found by their labels in lists, searches and the overview.
func TestJobsAreFoundByLabel(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	for name, labels := range map[string]string{"a": `{"team":"data","tier":"1"}`, "b": `{"team":"data","tier":"2"}`, "c": `{"team":"web"}`, "d": "null"} {
		given(t, do, `{"name":"`+name+`","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","labels":`+labels+`}`)
	}
	for query, want := range map[string]string{
		"":                             "abcd",
		"label=team=data":              "ab",
		"label=team":                   "abc",
		"label=team=data&label=tier=2": "b",
		"label=team%3Dweb":             "c",
		"label=team=":                  "",
		"label=nothing":                "",
	} {
		for _, target := range []string{"/scheduler/jobs", "/scheduler/jobs/search", "/scheduler/overview"} {
			got, body := "", bodyOf(t, do("GET "+target+"?"+query))
			for _, name := range []string{"a", "b", "c", "d"} {
				if strings.Contains(body, `{"name":"`+name+`"`) {
					got += name
				}
			}
			if got != want {
				t.Errorf("%s?%s has %q, want %q", target, query, got, want)
			}
		}
	}
}

// The edge of a job that waits for failures says so, and whoever deletes its parent is told what becomes of it.
func TestRunOnOverTheAPI(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA, `{"name":"cleanup","command":"x","parents":["a"],"runOn":"failure"}`, jobDep)
	if got := bodyOf(t, do("GET /scheduler/graph/dot")); !strings.Contains(got, "  1 -> 2 [ label=\"failure\" ];\n") || !strings.Contains(got, "  1 -> 3;\n") {
		t.Errorf("graph = %s", got)
	}
	if got := bodyOf(t, do("GET /scheduler/overview")); strings.Count(got, `"runOn":"failure"`) != 1 {
		t.Errorf("overview = %s", got)
	}
	res := do("DELETE /scheduler/job/a")
	if got := res.Header.Values("Warning"); res.StatusCode != 204 || len(got) != 1 || !strings.Contains(got[0], "cleanup: its parent a was deleted") {
		t.Errorf("DELETE = %d, Warning %q", res.StatusCode, got)
	}
	if got := bodyOf(t, do("GET /scheduler/problems")); !strings.Contains(got, `{"job":"cleanup","reason":"its parent a was deleted`) {
		t.Errorf("problems = %s", got)
	}
	res = do(post("/scheduler/iso8601", `{"name":"b","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","runOn":"end"}`))
	if got := res.Header.Get("Warning"); res.StatusCode != 204 || !strings.Contains(got, "runOn: the job has no parents") {
		t.Errorf("a job with a schedule = %d, Warning %q", res.StatusCode, got)
	}
}
