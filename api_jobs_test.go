package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
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

// problemsOf is what GET problems says of jobs that say something strange.
func problemsOf(t *testing.T, do func(string) *http.Response) []string {
	t.Helper()
	var answer struct {
		Warnings []struct{ Job, Key, Text string }
	}
	if err := json.Unmarshal([]byte(bodyOf(t, do("GET /scheduler/problems"))), &answer); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, w := range answer.Warnings {
		list = append(list, w.Job+" "+w.Key+": "+w.Text)
	}
	return list
}

const (
	strangeJob  = `{"name":"a","command":"x","schedule":"30 2 * * *","scheduleTimeZone":"Europe/\"Berlim\"","retries":1.5,"cpus":-1}`
	strangeZone = `scheduleTimeZone: there is no time zone 'Europe/"Berlim"', and UTC is taken instead, as Java does; the nearest is Europe/Berlin`
	strangeCPUs = `cpus: -1.0 is below 0, and the server's default is taken instead; write 0 for that`
	strangeRest = `retries: '1.5' is read as 1; write 1`
)

func TestStrangeDocumentIsAcceptedAndTold(t *testing.T) {
	sch, do := testAPI(t)
	var log bytes.Buffer
	do(post("/scheduler/iso8601", `{"name":"plain","command":"x","schedule":"30 2 * * *"}`))
	sch.log = slog.New(slog.NewTextHandler(&log, nil))
	res := do(post("/scheduler/iso8601", strangeJob))
	want := []string{`299 - "` + strangeRest + `"`, `299 - "` + strings.ReplaceAll(strangeZone, `"`, `\"`) + `"`, `299 - "` + strangeCPUs + `"`}
	if got := res.Header.Values("Warning"); res.StatusCode != 204 || !slices.Equal(got, want) {
		t.Errorf("answer = %d, %q; want 204, %q", res.StatusCode, got, want)
	}
	if got, want := problemsOf(t, do), []string{"a " + strangeRest, "a " + strangeZone, "a " + strangeCPUs}; !slices.Equal(got, want) {
		t.Errorf("problems = %q, want %q", got, want)
	}
	if row := bodyOf(t, do("GET /scheduler/overview")); !strings.Contains(row, `"warnings":["retries: `) {
		t.Errorf("overview = %s, want the warnings in it", row)
	}
	if got := bodyOf(t, do("GET /scheduler/job/a")); !strings.Contains(got, `"retries":1,`) || !strings.Contains(got, `"cpus":-1.0`) || !strings.Contains(got, `"scheduleTimeZone":"Europe/\"Berlim\""`) {
		t.Errorf("the job is listed as %s, and should be as the original had it", got)
	}
	if err := sch.do(t.Context(), func() error { return nil }); err != nil { // the loop is done with the log
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "says something strange") != 3 || !strings.Contains(got, "job=a") || !strings.Contains(got, strangeCPUs) {
		t.Errorf("log = %s, want a line for each warning", got)
	}
	if res := do(post("/scheduler/iso8601", `{"name":"a","command":"x","schedule":"30 2 * * *"}`)); res.Header.Get("Warning") != "" || len(problemsOf(t, do)) != 0 {
		t.Errorf("warned of a job that has been mended: %q, %q", res.Header.Get("Warning"), problemsOf(t, do))
	}
}

func TestClientsMayHaveStrangeDocumentsRefused(t *testing.T) {
	_, do := testAPI(t)
	strict := func(document string) *http.Response {
		return do(strings.Replace(post("/scheduler/iso8601", document), "\n\n", "\nPrefer: respond-async, Handling=strict\n\n", 1))
	}
	res := strict(strangeJob)
	if body := bodyOf(t, res); res.StatusCode != 400 || body != strangeRest+"\n"+strangeZone+"\n"+strangeCPUs {
		t.Errorf("answer = %d %s, want 400 with every warning on a line", res.StatusCode, body)
	}
	if got := bodyOf(t, do("GET /scheduler/jobs")); got != "[]" {
		t.Errorf("jobs = %s, want none", got)
	}
	if res := strict(`{"name":"a","command":"x","schedule":"30 2 * * *"}`); res.StatusCode != 204 {
		t.Errorf("a job with nothing strange about it = %d, want 204", res.StatusCode)
	}
}

func TestPreviewRefusesWhatIsStrange(t *testing.T) {
	_, do := testAPI(t)
	for document, want := range map[string]string{
		`{"schedule":"30 2 * * *","scheduleTimeZone":"Europe/Berlim"}`: "scheduleTimeZone: there is no time zone 'Europe/Berlim', and UTC is taken instead, as Java does; the nearest is Europe/Berlin",
		`{"schedule":"30 2 * * *","epsilon":"PT0S"}`:                   "epsilon: PT0S is less than a second, which is taken instead, so that an occurrence in time runs; write PT1S",
	} {
		if res := do(post("/scheduler/schedule/preview", document)); res.StatusCode != 400 || bodyOf(t, res) != want {
			t.Errorf("preview of %s = %d, want 400 %s", document, res.StatusCode, want)
		}
	}
}
