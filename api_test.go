package main

import (
	"cmp"
	"net/http"
	"strings"
	"testing"
)

func TestHeaderRules(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA, jobDep)
	tests := []struct {
		name, request string
		status        int
		header, want  string
	}{
		{"list says JSON without charset", "GET /scheduler/jobs", 200, "Content-Type", "application/json"},
		{"CORS on answers", "GET /v1/scheduler/jobs", 200, "Access-Control-Allow-Origin", "*"},
		{"CORS on errors", "GET /scheduler/nothing", 404, "Access-Control-Allow-Origin", "*"},
		{"trailing slash", "GET /scheduler/jobs/", 200, "", ""},
		{"two trailing slashes", "GET /scheduler/jobs//", 404, "", ""},
		{"double slash", "GET /scheduler//jobs", 404, "", ""},
		{"case matters", "GET /scheduler/Jobs", 404, "", ""},
		{"empty name", "GET /v1/scheduler/job/", 404, "", ""},
		{"unknown path", "GET /scheduler/nothing", 404, "Content-Length", "0"},
		{"base alone", "GET /scheduler/", 405, "Allow", "OPTIONS"},
		{"base without slash", "GET /scheduler", 404, "Content-Type", "text/html;charset=utf-8"},
		{"outside", "GET /nothing", 404, "Content-Type", "text/html;charset=utf-8"},
		{"matrix parameters", "GET /scheduler/jobs;x=1", 200, "", ""},
		{"unknown query", "GET /scheduler/jobs?x=%zz&arguments=", 200, "", ""},
		{"wrong method", "POST /scheduler/jobs", 405, "Allow", "GET,HEAD,OPTIONS"},
		{"wrong method on a job", "POST /scheduler/job/a", 405, "Allow", "DELETE,GET,HEAD,OPTIONS,PUT"},
		{"PATCH", "PATCH /scheduler/iso8601", 405, "Allow", "OPTIONS,POST,PUT"},
		{"literal path wins", "DELETE /scheduler/job/stat/a", 405, "Allow", "GET,HEAD,OPTIONS"},
		{"OPTIONS", "OPTIONS /scheduler/task/all", 200, "Allow", "DELETE,OPTIONS"},
		{"HEAD", "HEAD /scheduler/jobs", 200, "Content-Type", "application/json"},
		{"text on a strict GET", "GET /scheduler/jobs\nContent-Type: text/plain", 415, "", ""},
		{"text on the graph", "GET /scheduler/graph/csv\nContent-Type: text/plain", 415, "", ""},
		{"text where nothing is declared", "GET /scheduler/stats/mean\nContent-Type: text/plain", 200, "", ""},
		{"text on kill", "DELETE /scheduler/task/kill/a\nContent-Type: text/plain", 204, "", ""},
		{"form on run now", "PUT /scheduler/job/a\nContent-Type: application/x-www-form-urlencoded", 415, "", ""},
		{"JSON and no body on run now", "PUT /scheduler/job/a\nContent-Type: application/json;charset=utf-8", 204, "", ""},
		{"no type and no body on run now", "PUT /scheduler/job/a", 204, "Content-Type", "application/json"},
		{"no type with a document", "POST /scheduler/iso8601\n\n" + jobA, 415, "", ""},
		{"charset", "POST /scheduler/iso8601\nContent-Type: Application/JSON; charset=utf-8\n\n" + jobA, 204, "", ""},
		{"other JSON on iso8601", "POST /scheduler/iso8601\nContent-Type: text/json\n\n" + jobA, 415, "", ""},
		{"other JSON on dependency", "POST /scheduler/dependency\nContent-Type: application/vnd.x+json\n\n" + jobDep, 204, "", ""},
		{"text on dependency", "POST /scheduler/dependency\nContent-Type: text/plain\n\n" + jobDep, 415, "", ""},
		{"broken type", "GET /scheduler/jobs\nContent-Type: garbage", 400, "", ""},
		{"Accept without JSON", "GET /scheduler/jobs\nAccept: text/html", 406, "", ""},
		{"Accept on a change", "DELETE /scheduler/job/a\nAccept: text/plain", 406, "", ""},
		{"Accept with quality 0", "GET /scheduler/jobs\nAccept: application/json;q=0, */*", 406, "", ""},
		{"Accept of any", "GET /scheduler/jobs\nAccept: text/html, */*;q=0.1", 200, "", ""},
		{"Accept of a browser", "GET /scheduler/graph/dot\nAccept: text/*", 200, "Content-Type", "text/plain"},
		{"Accept of JSON on the graph", "GET /scheduler/graph/dot\nAccept: application/json", 406, "", ""},
		{"limit that is no number", "GET /scheduler/jobs/search?limit=abc", 404, "Content-Length", "0"},
		{"limit beyond 32 bits", "GET /scheduler/jobs/search?limit=2147483648", 404, "", ""},
		{"empty limit", "GET /scheduler/jobs/search?limit=", 200, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := do(tt.request)
			if res.StatusCode != tt.status {
				t.Fatalf("%q = %d %s, want %d", tt.request, res.StatusCode, bodyOf(t, res), tt.status)
			}
			if got := res.Header.Get(tt.header); tt.header != "" && got != tt.want {
				t.Errorf("%q: %s = %q, want %q", tt.request, tt.header, got, tt.want)
			}
		})
	}
}

// Each of the refusals in both dialects.
func TestErrorTexts(t *testing.T) {
	t.Parallel()
	const java = "java.lang.IllegalArgumentException: "
	const data = `{"name":"data","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","dataProcessingJobType":true}`
	bad := func(method, path, body string) string { return method + " BASE/" + path + asJSON + body }
	tests := []struct {
		name, request string
		text, message string // message "" for the same as text
	}{
		{"get", "GET BASE/job/x", "requirement failed: Job 'x' not found", java + "requirement failed: Job 'x' not found\n"},
		{"delete", "DELETE BASE/job/x", "requirement failed: Job 'x' not found", java + "requirement failed: JobSchedule 'x' not found\n"},
		{"run", "PUT BASE/job/x", "requirement failed: Job 'x' not found", java + "requirement failed: Job 'x' not found\n"},
		{"stat", "GET BASE/job/stat/x", "requirement failed: Job 'x' not found", java + "requirement failed: Job 'x' not found\n"},
		{"kill", "DELETE BASE/task/kill/x", "requirement failed: Job 'x' not found", java + "requirement failed: JobSchedule 'x' not found\n"},
		{"progress of no job", bad("POST", "job/x/task/ct:1:0:x:/progress", `{"numAdditionalElementsProcessed":1}`),
			"requirement failed: Job 'x' not found", java + "requirement failed: JobSchedule 'x' not found\n"},
		{"progress of no task id", bad("POST", "job/data/task/x/progress", `{"numAdditionalElementsProcessed":1}`),
			"requirement failed: Invalid task id format x", java + "requirement failed: Invalid task id format x\n"},
		{"progress of an ordinary job", bad("POST", "job/a/task/ct:1:0:a:/progress", `{"numAdditionalElementsProcessed":1}`),
			"requirement failed: Job 'a' is not enabled to track data", java + "requirement failed: JobSchedule 'a' is not enabled to track data\n"},
		{"negative progress", bad("POST", "job/data/task/ct%3A1%3A0%3Adata%3A/progress", `{"numAdditionalElementsProcessed":-5}`),
			"requirement failed: numAdditionalElementsProcessed (-5) is not positive", java + "requirement failed: numAdditionalElementsProcessed (-5) is not positive\n"},
		{"progress of an unknown task", bad("POST", "job/data/task/ct:1:0:data:/progress", `{"numAdditionalElementsProcessed":5}`),
			"Task id  ct:1:0:data: not found", java + "Task id  ct:1:0:data: not found\n"},
		{"progress as text", bad("POST", "job/data/task/ct:1:0:data:/progress", `{"numAdditionalElementsProcessed":"5"}`),
			`numAdditionalElementsProcessed: "5" is not a 32-bit integer`, ""},
		{"bad name", bad("POST", "iso8601", `{"name":"é","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"}`),
			`requirement failed: the job's name is invalid. Allowed names: '([\w\s\.#_-]+)'`,
			java + `requirement failed: the job's name is invalid. Allowed names: '([\w\s\.#_-]+)'` + "\n"},
		{"parent missing", bad("POST", "dependency", `{"name":"d","command":"x","parents":["nobody"]}`),
			"requirement failed: Job d does not have all parents defined!", java + "requirement failed: JobSchedule d does not have all parents defined!\n"},
		{"own parent, new", bad("POST", "dependency", `{"name":"d","command":"x","parents":["d"]}`),
			"requirement failed: Job d does not have all parents defined!", java + "requirement failed: JobSchedule d does not have all parents defined!\n"},
		{"own parent, update", bad("POST", "dependency", `{"name":"dep","command":"x","parents":["dep"]}`),
			"loops not allowed", java + "loops not allowed\n"},
		{"no parents", bad("POST", "dependency", `{"name":"d","command":"x","parents":[]}`),
			"requirement failed: Error, parent does not exist", java + "requirement failed: Error, parent does not exist\n"},
		{"uris and fetch", bad("POST", "iso8601", `{"name":"u","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","uris":["http://a"],"fetch":[{"uri":"http://b"}]}`),
			"Tried to add both uri (deprecated) and fetch parameters on u", ""},
		{"dependent job on iso8601", bad("POST", "iso8601", jobDep), `job "dep" has parents; a dependent job is posted to dependency`, ""},
		{"scheduled job on dependency", bad("POST", "dependency", jobA), `job "a" has no parents; a job with a schedule is posted to iso8601`, ""},
		{"no body", bad("POST", "iso8601", ``), "the request has no body; a JSON document is needed", ""},
		{"null", bad("POST", "iso8601", `null`), "the document is not a JSON object", ""},
		{"status code of words", bad("PUT", "task/ct:1:0:a:", `{"statusCode":"fine"}`), `statusCode: "fine" is not a 32-bit integer`, ""},
		{"unknown key", bad("PUT", "task/ct:1:0:a:", `{"code":0}`), `unknown key "code"; known keys are statusCode`, ""},
		{"broken type", "GET BASE/jobs\nContent-Type: garbage", "Bad Content-Type header value: 'garbage'", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, do := testAPI(t)
			given(t, do, jobA, jobDep, data)
			for base, want := range map[string]string{"/scheduler": tt.text, "/v1/scheduler": string(encode(map[string]string{
				"message": cmp.Or(tt.message, tt.text), "status": "Bad Request"}))} {
				request := strings.Replace(tt.request, "BASE", base, 1)
				res := do(request)
				if got := bodyOf(t, res); res.StatusCode != 400 || got != want || res.Header.Get("Content-Type") != typeJSON {
					t.Errorf("%q = %d %s, want 400 %s", request, res.StatusCode, got, want)
				}
			}
		})
	}
}

// 3.0 refuses some starts that 2.x takes.
func TestStartBefore1970(t *testing.T) {
	t.Parallel()
	const old = `{"name":"old","command":"x","schedule":"R1/1969-12-31T23:00:00Z/P1D","disabled":true}`
	_, do := testAPI(t)
	want := `{"message":"Scheduled start date '1969-12-31T23:00:00.000Z' is before 1970!","status":"Bad Request"}`
	enabled := strings.Replace(old, `,"disabled":true`, "", 1) // of a job that cannot run, it is taken: it may be one as listed
	if res := do(post("/v1/scheduler/iso8601", enabled)); res.StatusCode != 400 || bodyOf(t, res) != want {
		t.Errorf("POST /v1 = %d, want 400 %s", res.StatusCode, want)
	}
	if res := do(post("/scheduler/iso8601", old)); res.StatusCode != 204 {
		t.Errorf("POST = %d %s, want 204", res.StatusCode, bodyOf(t, res))
	}
}

func TestUnparsableScheduleHasTheTextOf3(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	want := `{"message":"Cannot parse schedule 'whenever' (wtf bro)","status":"Bad Request"}`
	if got := bodyOf(t, do(post("/v1/scheduler/iso8601", `{"name":"b","command":"x","schedule":"whenever"}`))); got != want {
		t.Errorf("POST /v1 = %s, want %s", got, want)
	}
}

// What is refused must say what and where, in whatever words.
func TestRefusalsNameTheCause(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, path, document, want string }{
		{"malformed", "iso8601", "{\"name\":\"b\",\n \"command\"}", "line 2"},
		{"bad schedule", "iso8601", `{"name":"b","command":"x","schedule":"whenever"}`, "whenever"},
		{"bad constraint", "iso8601", `{"name":"b","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","constraints":[["a"]]}`, "constraints[0]"},
		{"no name", "iso8601", `{"command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"}`, "name"},
		{"cycle", "dependency", `{"name":"dep","command":"x","parents":["dep2"]}`, "cycle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, do := testAPI(t)
			given(t, do, jobA, jobDep, `{"name":"dep2","command":"x","parents":["dep"]}`)
			before := bodyOf(t, do("GET /scheduler/jobs"))
			for _, base := range []string{"/scheduler/", "/v1/scheduler/"} {
				res := do(post(base+tt.path, tt.document))
				if got := bodyOf(t, res); res.StatusCode != 400 || !strings.Contains(got, tt.want) {
					t.Errorf("POST %s = %d %s, want 400 with %q", tt.document, res.StatusCode, got, tt.want)
				}
			}
			if after := bodyOf(t, do("GET /scheduler/jobs")); after != before {
				t.Errorf("a refused change left %s, want %s", after, before)
			}
		})
	}
}

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	if res := do(post("/scheduler/iso8601", strings.Repeat(" ", bodyLimit)+jobA)); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body beyond the limit = %d, want 413", res.StatusCode)
	}
}

func TestParametersAreDecodedOnce(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a b#c","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"}`,
		`{"name":"stat","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"}`)
	for path, status := range map[string]int{
		"job/a%20b%23c": 200, "job/a+b%23c": 400, "job/a%2520b%23c": 400, "job/stat": 200, "runs/a%20b%23c": 200,
		"job/a%2Fb": 400, "job/a/b": 404, "job/..": 400, "job/%2e%2e": 400,
	} {
		if res := do("GET /v1/scheduler/" + path); res.StatusCode != status {
			t.Errorf("GET %s = %d, want %d", path, res.StatusCode, status)
		}
	}
}
