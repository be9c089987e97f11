package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// names returns the names in a list of jobs.
func jobNames(t testing.TB, res *http.Response) string {
	t.Helper()
	var jobs []struct{ Name string }
	body := bodyOf(t, res)
	if err := json.Unmarshal([]byte(body), &jobs); err != nil {
		t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	var all []string
	for _, j := range jobs {
		all = append(all, j.Name)
	}
	return strings.Join(all, " ")
}

func TestListIsOneLineInOrderOfCreation(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	if got := bodyOf(t, do("GET /scheduler/jobs")); got != "[]" {
		t.Errorf("no jobs = %q, want []", got)
	}
	given(t, do, strings.Replace(jobA, `"true"`, `"a\nb"`, 1), jobDep, strings.Replace(jobA, `"a"`, `"0"`, 1), jobA)
	for _, path := range []string{"/scheduler/jobs", "/v1/scheduler/jobs"} {
		body := bodyOf(t, do("GET "+path))
		if strings.ContainsAny(body, "\n") || !json.Valid([]byte(body)) {
			t.Errorf("GET %s = %s, want JSON on one line", path, body)
		}
		if got := jobNames(t, do("GET "+path)); got != "a dep 0" {
			t.Errorf("GET %s = %s, want a dep 0", path, got)
		}
	}
	if body := bodyOf(t, do("GET /scheduler/jobs")); !strings.Contains(body, `"command":"true"`) {
		t.Errorf("after an update: %s, want the new command", body)
	}
}

func TestListCopiesURIsAndFetch(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","uris":["http://h/a.tgz"]}`)
	for path, want := range map[string]string{
		"/scheduler/jobs":        `"fetch":[{"uri":"http://h/a.tgz"`,
		"/v1/scheduler/jobs":     `"fetch":[{"uri":"http://h/a.tgz"`,
		"/v1/scheduler/job/a":    `"fetch":[]`,
		"/scheduler/job/a":       `"fetch":[]`,
		"/scheduler/jobs/search": `"fetch":[]`,
	} {
		if body := bodyOf(t, do("GET "+path)); !strings.Contains(body, want) {
			t.Errorf("GET %s = %s, want %s in it", path, body, want)
		}
	}
}

func TestDialectsShowTheirKeys(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA)
	if body := bodyOf(t, do("GET /scheduler/job/a")); !strings.Contains(body, `"epsilon":"PT60S"`) || strings.Contains(body, `"concurrent"`) {
		t.Errorf("unprefixed = %s, want epsilon and no concurrent", body)
	}
	if body := bodyOf(t, do("GET /v1/scheduler/job/a")); strings.Contains(body, `"epsilon"`) || !strings.Contains(body, `"concurrent":false`) {
		t.Errorf("/v1 = %s, want concurrent and no epsilon", body)
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA, jobDep)
	for i := range 12 {
		given(t, do, fmt.Sprintf(`{"name":"Job%d","command":"Sleep %d","schedule":"R/2030-01-01T00:00:00Z/P1D"}`, i, i))
	}
	tests := []struct{ query, want string }{
		{"", "a dep Job0 Job1 Job2 Job3 Job4 Job5 Job6 Job7"},
		{"name=JOB1", "Job1 Job10 Job11"},
		{"name=dep&command=echo+hello", "dep"},
		{"name=dep&command=sleep", ""},
		{"name=dep&command=sleep&any=hello", "dep"},
		{"any=zzz&limit=1", "a"}, // any alone restricts nothing
		{"command=%45cho", "dep"},
		{"limit=2&offset=1", "dep Job0"},
		{"limit=2&offset=-1", "a"}, // the end stays offset+limit
		{"limit=0", ""},
		{"limit=-3", ""},
		{"offset=13", "Job11"},
		{"limit=2147483647&offset=1", ""}, // a 32-bit sum
		{"limit=&offset=", "a dep Job0 Job1 Job2 Job3 Job4 Job5 Job6 Job7"},
	}
	for _, tt := range tests {
		if got := jobNames(t, do("GET /scheduler/jobs/search?"+tt.query)); got != tt.want {
			t.Errorf("search?%s = %q, want %q", tt.query, got, tt.want)
		}
	}
}

func TestSummaryKeepsTheOriginalsWords(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA, jobDep, `{"name":"bad","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","disabled":true,"lastError":"2014-03-01T00:10:15.957Z"}`)
	want := `{"jobs":[{"name":"a","status":"fresh","state":"idle","schedule":"R/2030-01-01T00:00:00Z/P1D","parents":[],"disabled":false},` +
		`{"name":"dep","status":"fresh","state":"idle","schedule":"","parents":["a"],"disabled":false},` +
		`{"name":"bad","status":"failure","state":"idle","schedule":"R/2030-01-01T00:00:00Z/P1D","parents":[],"disabled":true}]}`
	if got := bodyOf(t, do("GET /v1/scheduler/jobs/summary")); got != want {
		t.Errorf("summary = %s, want %s", got, want)
	}
}

func TestGraph(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA, strings.Replace(jobA, `"a"`, `"b"`, 1), `{"name":"dep","command":"x","parents":["b","a"]}`)
	wantDot := "digraph G {\n  1 [ label=\"a\" ];\n  2 [ label=\"b\" ];\n  3 [ label=\"dep\" ];\n  2 -> 3;\n  1 -> 3;\n}\n"
	wantCSV := "node,a,fresh,idle\nnode,b,fresh,idle\nnode,dep,fresh,idle\nlink,b,dep\nlink,a,dep\n"
	for _, base := range []string{"/scheduler", "/v1/scheduler"} {
		if got := bodyOf(t, do("GET "+base+"/graph/dot")); got != wantDot {
			t.Errorf("dot = %s, want %s", got, wantDot)
		}
		if got := bodyOf(t, do("GET "+base+"/graph/csv")); got != wantCSV {
			t.Errorf("csv = %s, want %s", got, wantCSV)
		}
	}
}

func TestStateWordsOfTheDialects(t *testing.T) {
	t.Parallel()
	run := func(s runState) *Run { return &Run{State: s} }
	tests := []struct {
		runs   []*Run
		v2, v3 string
	}{
		{nil, "idle", "idle"},
		{[]*Run{run(runQueued)}, "queued", "queued"},
		{[]*Run{run(runActive)}, "running", "1 running"},
		{[]*Run{run(runActive), run(runActive), run(runQueued)}, "running", "2 running"},
	}
	for _, tt := range tests {
		jv := &jobView{job: &Job{}, runs: tt.runs}
		if v2, v3 := stateText(jv, dialect2), stateText(jv, dialect3); v2 != tt.v2 || v3 != tt.v3 {
			t.Errorf("stateText = %q, %q, want %q, %q", v2, v3, tt.v2, tt.v3)
		}
	}
}

func TestChangesOfJobs(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	steps := []struct {
		request string
		status  int
		jobs    string
	}{
		{post("/scheduler/iso8601", jobA), 204, "a"},
		{"PUT /scheduler/dependency" + asJSON + jobDep, 204, "a dep"},
		{"PUT /v1/scheduler/iso8601" + asJSON + jobA, 204, "a dep"},
		{post("/v1/scheduler/iso8601", strings.Replace(jobA, `"a"`, `"0.5 #x_"`, 1)), 204, "a dep 0.5 #x_"},
		{"DELETE /v1/scheduler/job/dep", 204, "a 0.5 #x_"},
		{"DELETE /scheduler/job/dep", 400, "a 0.5 #x_"},
		{post("/scheduler/iso8601", "\ufeff"+jobA+" trailing"), 204, "a 0.5 #x_"},
		{"DELETE /scheduler/job/0.5%20%23x_", 204, "a"},
	}
	for _, step := range steps {
		res := do(step.request)
		if body := bodyOf(t, res); res.StatusCode != step.status || res.StatusCode == 204 && body != "" {
			t.Errorf("%s = %d %q, want %d", step.request, res.StatusCode, body, step.status)
		}
		if got := jobNames(t, do("GET /scheduler/jobs")); got != step.jobs {
			t.Errorf("after %s: %q, want %q", step.request, got, step.jobs)
		}
	}
}

func TestJobsAreEncodedOnceForEachDocument(t *testing.T) {
	t.Parallel()
	sch, do := testAPI(t)
	given(t, do, jobA)
	before := sch.view().job("a").list(dialect2)
	do("PUT /scheduler/job/a")
	if after := sch.view().job("a").list(dialect2); &after[0] != &before[0] {
		t.Error("a run that changed nothing of the document had it encoded again")
	}
	given(t, do, strings.Replace(jobA, `"true"`, `"false"`, 1))
	if after := sch.view().job("a").list(dialect2); string(after) == string(before) {
		t.Errorf("after an edit the list still shows %s", after)
	}
}
