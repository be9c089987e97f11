package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
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
	now := time.Now()
	run := func(s runState) *Run { return &Run{State: s} }
	retry := func(due time.Time) *Run { return &Run{State: runQueued, Kind: kindRetry, Due: due.UnixMilli()} }
	tests := []struct {
		runs   []*Run
		v2, v3 string
	}{
		{nil, "idle", "idle"},
		{[]*Run{run(runQueued)}, "queued", "queued"},
		{[]*Run{run(runActive)}, "running", "1 running"},
		{[]*Run{run(runActive), run(runActive), run(runQueued)}, "running", "2 running"},
		{[]*Run{retry(now.Add(time.Millisecond))}, "idle", "idle"},
		{[]*Run{retry(now)}, "queued", "queued"},
		{[]*Run{retry(now.Add(time.Minute)), run(runQueued)}, "queued", "queued"},
		{[]*Run{retry(now.Add(time.Minute)), run(runActive)}, "running", "1 running"},
		{[]*Run{{State: runQueued, Kind: kindManual, Due: now.UnixMilli() + 1}}, "queued", "queued"}, // only its id is in the future
	}
	for _, tt := range tests {
		jv := &jobView{job: &Job{}, runs: tt.runs}
		if v2, v3 := stateText(jv, dialect2, now), stateText(jv, dialect3, now); v2 != tt.v2 || v3 != tt.v3 {
			t.Errorf("stateText = %q, %q, want %q, %q", v2, v3, tt.v2, tt.v3)
		}
	}
}

// TestStateWhileARetryWaitsForItsTime: clients act on the state, so it is that of the original.
func TestStateWhileARetryWaitsForItsTime(t *testing.T) {
	t.Parallel()
	scenario(t, "idle, and queued when it is due", func(b *bench) {
		b.cluster.behave(failing)
		b.start().post(`{"name":"a","command":"x","schedule":"R1//P1D","retries":2}`)
		api := newAPI(leading(b.s))
		shows := func(state string) {
			b.t.Helper()
			for path, want := range map[string]string{
				"/scheduler/graph/csv": "node,a,fresh," + state + "\n", "/v1/scheduler/graph/csv": "node,a,fresh," + state + "\n",
				"/v1/scheduler/jobs/summary": `"state":"` + state + `"`,
			} {
				if got := bodyOf(b.t, send(b.t, api, "GET "+path)); !strings.Contains(got, want) {
					b.t.Errorf("%s = %s, want %s", path, got, want)
				}
			}
			if got := bodyOf(b.t, send(b.t, api, "GET /scheduler/queued/a")); !strings.Contains(got, `"kind":"retry"`) {
				b.t.Errorf("queued = %s, want the retry", got)
			}
		}
		b.wait(30 * time.Second)
		shows("idle")
		b.cluster.resize(0)
		b.wait(31 * time.Second)
		shows("queued")
	})
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
	before := listJSON(sch.view().job("a"), dialect2)
	do("PUT /scheduler/job/a")
	if after := listJSON(sch.view().job("a"), dialect2); &after[0] != &before[0] {
		t.Error("a run that changed nothing of the document had it encoded again")
	}
	given(t, do, strings.Replace(jobA, `"true"`, `"false"`, 1))
	if after := listJSON(sch.view().job("a"), dialect2); string(after) == string(before) {
		t.Errorf("after an edit the list still shows %s", after)
	}
}

// A chooser makes documents by chance.
type chooser struct{ *rand.Rand }

func (c chooser) of(values ...string) string { return values[c.IntN(len(values))] }

// document returns a job of any shape that a POST may take, and the path to post it to.
func (c chooser) document(name string) (path, document string) {
	var b strings.Builder
	fmt.Fprintf(&b, `{"name":%q,"command":%s`, name, c.of(`"x"`, `12`, `"é\u0001\"\\"`, `[1]`))
	keys := map[string][]string{
		"shell": {`true`, `"yes"`, `false`}, "epsilon": {`"PT0.5S"`, `"P1D"`, `null`}, "retries": {`"5.9"`, `-3`, `9999999999`},
		"async": {`true`, `0`}, "concurrent": {`true`, `"x"`}, "maxCompletionTime": {`5`, `"-1"`}, "runAsUser": {`""`, `"nobody"`},
		"cpus": {`0`, `-1`, `"0.5"`, `1e7`, `0.00012`}, "mem": {`512`, `"NaN"`}, "disabled": {`true`, `true`, `false`}, "owner": {`{"a":1}`, `"o"`},
		"successCount": {`7`, `"9999999999"`}, "lastError": {`"never"`, `"2014-03-01T00:10:15.957Z"`}, "lastSuccess": {`1`},
		"environmentVariables": {`[{"name":"A","value":1.50}]`}, "arguments": {`["-v",null,2]`}, "later": {`{"a":[1,2.50,null]}`},
		"uris": {`["http://a"]`, `["http://a","http://b"]`, `[]`, `null`}, "constraints": {`[["os","LIKE","u.*"],["a","EQUALS",1,2]]`},
		"fetch": {`[{"uri":"http://a"}]`, `[{"uri":"http://a","extract":false}]`, `[{"uri":"http://a","extract":false},{"uri":"http://b","cache":1}]`,
			`[{"uri":"http://b","output_file":"o","x":null}]`, `[]`},
		"container": {`{"image":"i","type":"mesos","network":"USER","networkName":"n"}`, `{"image":"","volumes":[{"containerPath":"/","mode":"ro","y":1}]}`,
			`{"image":"i","networkInfos":[{"name":"n","protocol":"IPv6","portMappings":[{"hostPort":"80","containerPort":1}]}],"forcePullImage":"TRUE"}`},
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if c.IntN(3) == 0 {
			fmt.Fprintf(&b, `,%q:%s`, key, c.of(keys[key]...))
		}
	}
	if c.IntN(3) == 0 {
		return "dependency", b.String() + `,"parents":["a","b","a"]}`
	}
	schedule := c.of("R/2030-01-01T00:00:00Z/P1D", "R5/2031-01-31T02:30:00.123456+02:00/P1M", "R0//PT0M", "R1//P", "R0/1969-12-31T23:59:59Z/P1D",
		"R3/1960-01-01T00:00:00Z/P1D", "R/2014-02-28T00:00:00Z/P1Y", "R/2040-W03-4T10:00:00Z/P1W", "30 4 1,15 * 5", "0 0 12 * * *")
	return "iso8601", b.String() + fmt.Sprintf(`,"schedule":%q,"scheduleTimeZone":%q}`, schedule, c.of("", "", "America/New_York", "Europe/Berlim"))
}

// listed returns the job as a list shows it.
func listed(t *testing.T, do func(string) *http.Response, base, name string) string {
	t.Helper()
	for _, e := range value(bodyOf(t, do("GET "+base+"/jobs"))).elements() {
		if e.object().get("name").text() == name {
			return string(e)
		}
	}
	t.Fatalf("%s/jobs does not list %q", base, name)
	return ""
}

// A job as listed can be made again, in each dialect and across them.
func TestListedJobsAreMadeAgain(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a","command":"x","schedule":"R0//PT1H"}`, `{"name":"b","command":"x","schedule":"R0//PT1H"}`)
	bases := map[dialect]string{dialect2: "/scheduler", dialect3: "/v1/scheduler"}
	c, accepted := chooser{rand.New(rand.NewPCG(13, 13))}, 0
	documents := inForm(120, 1000)
	for range documents {
		path, document := c.document("n")
		if do(post(bases[dialect(c.IntN(2))]+"/"+path, document)).StatusCode != http.StatusNoContent {
			continue
		}
		accepted++
		for from := range dialectStored {
			for through := range dialectStored {
				base, target := bases[from], bases[through]
				before := listed(t, do, base, "n")
				do("DELETE /scheduler/job/n")
				if res := do(post(target+"/"+path, before)); res.StatusCode != http.StatusNoContent {
					t.Fatalf("POST %s/%s %s = %d %s", target, path, before, res.StatusCode, bodyOf(t, res))
				}
				want, got := shared([]byte(before), from, through), shared([]byte(listed(t, do, base, "n")), from, through)
				if got != want {
					t.Errorf("made of %s, listed at %s, posted to %s: it is\n     %s\nwant %s", document, base, target, got, want)
				}
			}
		}
		do("DELETE /scheduler/job/n")
	}
	if accepted < documents/2 {
		t.Errorf("%d of %d documents were accepted, too few to tell anything", accepted, documents)
	}
}

func TestUrisEmptiedInAListStayEmpty(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	for _, base := range []string{"/scheduler", "/v1/scheduler"} {
		given(t, do, `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","uris":["http://h/a.tgz"]}`)
		edited := strings.Replace(listed(t, do, base, "a"), `"uris":["http://h/a.tgz"]`, `"uris":[]`, 1)
		if res := do(post(base+"/iso8601", edited)); res.StatusCode != http.StatusNoContent {
			t.Fatalf("POST %s = %d %s", edited, res.StatusCode, bodyOf(t, res))
		}
		if got := listed(t, do, base, "a"); !strings.Contains(got, `"fetch":[],"uris":[],`) {
			t.Errorf("%s: after uris was emptied the job is %s", base, got)
		}
	}
}
