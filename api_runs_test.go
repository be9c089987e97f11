package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestRunNow(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, query, args string }{
		{"without arguments", "", ""},
		{"a stray parameter", "?arguments=", ""},
		{"blank", "?arguments=%20", ""},
		{"arguments", "?arguments=-v%20-debug", "-v -debug"},
		{"semicolons go", "?arguments=a%3Bb", "ab"},
		{"broken escape", "?arguments=100%", "100%"},
		{"plus is a blank", "?arguments=a+b", "a b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, do := testAPI(t)
			given(t, do, jobA)
			if res := do("PUT /scheduler/job/a" + tt.query); res.StatusCode != 204 || bodyOf(t, res) != "" {
				t.Fatalf("PUT = %d, want 204", res.StatusCode)
			}
			open := openRuns(t, do("GET /scheduler/runs/a"))
			if len(open) != 1 || open[0].Kind != kindManual || !strings.HasSuffix(open[0].ID, ":0:a:"+tt.args) {
				t.Errorf("open runs = %+v, want one with the arguments %q", open, tt.args)
			}
			if got := open[0].Arguments; (got != nil) != (tt.args != "") || got != nil && *got != tt.args {
				t.Errorf("arguments = %v, want %q", got, tt.args)
			}
		})
	}
}

func openRuns(t *testing.T, res *http.Response) []runDocument {
	t.Helper()
	var doc struct{ Open []runDocument }
	if err := json.Unmarshal([]byte(bodyOf(t, res)), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Open
}

func TestWritesByIDHappenOnce(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA)
	for range 3 {
		if res := do("PUT /scheduler/job/a\n" + requestIDHeader + ": same"); res.StatusCode != 204 {
			t.Fatalf("PUT = %d, want 204", res.StatusCode)
		}
	}
	if open := openRuns(t, do("GET /scheduler/runs/a")); len(open) != 1 {
		t.Errorf("%d runs of one request sent three times, want 1", len(open))
	}
}

// Who starts more runs of a job than may wait is told so at once, by the leader as through another instance.
func TestTooManyRunsByHandAreRefused(t *testing.T) {
	t.Parallel()
	at := newTestSeat("")
	sch := schedulerOn(t, newMemStore())
	first, second := startInstance(t, at, sch, nil), startInstance(t, at, nil, nil)
	at.set(first.id)
	if err := sch.do(t.Context(), func() error { sch.cfg.mostByHand = 2; return nil }); err != nil {
		t.Fatal(err)
	}
	ask(t, "POST", first.url+"/scheduler/iso8601", jobA)
	for _, v := range []*testInstance{first, second} {
		if res, text := ask(t, "PUT", v.url+"/scheduler/job/a", ""); res.StatusCode != 204 {
			t.Fatalf("PUT = %d %q, want 204", res.StatusCode, text)
		}
	}
	for _, v := range []*testInstance{first, second} {
		for _, base := range []string{"/scheduler", "/v1/scheduler"} {
			res, text := ask(t, "PUT", v.url+base+"/job/a", "")
			if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" || !strings.Contains(text, "--max_waiting_runs") {
				t.Errorf("PUT %s/job/a at %s = %d %v %q, want 429 and why", base, v.id, res.StatusCode, res.Header, text)
			}
		}
	}
}

func TestMarkSuccess(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA)
	for name, want := range map[string]string{"a": "marked job a as successful: true", "x": "marked job x as successful: false"} {
		res := do("PUT /v1/scheduler/job/success/" + name)
		if got := bodyOf(t, res); res.StatusCode != 200 || got != want || res.Header.Get("Content-Type") != typeJSON {
			t.Errorf("mark %s = %d %q, want 200 %q", name, res.StatusCode, got, want)
		}
	}
}

func TestTaskChanges(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA)
	for request, status := range map[string]int{
		"DELETE /scheduler/task/kill/a":                                                             204,
		"DELETE /scheduler/task/all":                                                                204,
		"PUT /scheduler/task/ct%3A1%3A0%3Aa%3A" + asJSON + `{"statusCode":0}`:                       204,
		"PUT /v1/scheduler/task/ct:1:0:a:" + asJSON + `{"statusCode":1}`:                            204,
		"PUT /scheduler/task/nothing" + asJSON + `{}`:                                               204,
		"PUT /scheduler/task/x%2Fy" + asJSON + `{"statusCode":null}`:                                204,
		"PUT /scheduler/task/x/y" + asJSON + `{"statusCode":null}`:                                  404,
		"PUT /scheduler/task/x" + asJSON:                                                            400,
		"PUT /scheduler/task/x" + asJSON + `[]`:                                                     400,
		"POST /scheduler/job/a/task/x/progress" + asJSON + `{}`:                                     204,
		"POST /scheduler/job/a/task/x/progress" + asJSON + `{"taskId":"x","unknown":1}`:             400,
		"POST /scheduler/job/a/task/x/progress" + asJSON + `{"numAdditionalElementsProcessed":1.5}`: 400,
	} {
		if res := do(request); res.StatusCode != status {
			t.Errorf("%s = %d %s, want %d", request, res.StatusCode, bodyOf(t, res), status)
		}
	}
}

func TestStatusCode(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"": 0, "0": 0, "7": 7, "-1": -1, `"3"`: 3, `" 3 "`: 3, "2.9": 2, "-2.9": -2} {
		if got, err := statusCode(value(in)); got != want || err != nil {
			t.Errorf("statusCode(%s) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{`"x"`, `""`, "true", "[]", "{}", "9999999999", "1e99", `"1.5"`} {
		if got, err := statusCode(value(in)); err == nil {
			t.Errorf("statusCode(%s) = %d, want an error", in, got)
		}
	}
}

func TestDescribeRun(t *testing.T) {
	t.Parallel()
	exit := 3
	r := &Run{ID: "ct:1000:1:a:", Job: "a", Kind: kindRetry, Due: 1000, Attempt: 1, State: runFailed, Reason: "exit status 3", Exit: &exit,
		Agent: "h1", AgentID: "s-1", Sandbox: "http://h1:5051/files/browse?path=x", Queued: 900, Launched: 1500, Started: 2000, Ended: 5000}
	want := `{"id":"ct:1000:1:a:","kind":"retry","state":"failed","attempt":1,"due":"1970-01-01T00:00:01.000Z","queued":"1970-01-01T00:00:00.900Z",` +
		`"launched":"1970-01-01T00:00:01.500Z","started":"1970-01-01T00:00:02.000Z","ended":"1970-01-01T00:00:05.000Z","lateMs":1000,"durationMs":3000,` +
		`"reason":"exit status 3","exit":3,"agent":"h1","agentId":"s-1","sandbox":"http://h1:5051/files/browse?path=x"}`
	if got := string(encode(describeRun(r))); got != want {
		t.Errorf("describeRun = %s, want %s", got, want)
	}
}

func TestOwnAdditionsSay404(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	for _, path := range []string{"runs/x", "queued/x", "upcoming/x", "run/ct:1:0:x:/stdout"} {
		if res := do("GET /v1/scheduler/" + path); res.StatusCode != 404 || !strings.Contains(bodyOf(t, res), `"message":"no `) {
			t.Errorf("GET %s = %d, want 404 with a message", path, res.StatusCode)
		}
	}
}

func TestWhyQueued(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA)
	do("PUT /scheduler/job/a")
	var doc struct {
		Job    string
		Queued []struct {
			Position int
			Reasons  []string
			Run      runDocument
		}
	}
	body := bodyOf(t, do("GET /scheduler/queued/a"))
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Job != "a" || len(doc.Queued) != 1 || doc.Queued[0].Position != 0 || len(doc.Queued[0].Reasons) == 0 || doc.Queued[0].Run.State != runQueued {
		t.Errorf("queued = %s, want the one run with a position and reasons", body)
	}
}

func TestProblemsOfNothing(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	if got := bodyOf(t, do("GET /scheduler/problems")); got != `{"jobs":[],"records":[],"warnings":[]}` {
		t.Errorf("problems = %s, want none", got)
	}
}

func TestProblemsTellWhatWasDoneToAJob(t *testing.T) {
	t.Parallel()
	sch, do := testAPI(t)
	given(t, do, jobA)
	if err := sch.do(t.Context(), func() error { sch.note(sch.jobs["a"], "enabled again"); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := bodyOf(t, do("GET /scheduler/problems")); got != `{"jobs":[{"job":"a","reason":"enabled again"}],"records":[],"warnings":[]}` {
		t.Errorf("problems = %s", got)
	}
	given(t, do, jobA)
	if got := bodyOf(t, do("GET /scheduler/problems")); got != `{"jobs":[],"records":[],"warnings":[]}` {
		t.Errorf("problems after the job was posted = %s, want none", got)
	}
}

func TestOutputOfARun(t *testing.T) {
	t.Parallel()
	const content = "<b>0123456789</b>\xff"
	sch := testScheduler(t)
	o := leading(sch)
	o.output = func(run *Run, name string, offset int64, limit int) (outputPiece, error) {
		if name != "stdout" {
			return outputPiece{}, errNotFound
		}
		if offset < 0 {
			offset = max(0, int64(len(content))+offset)
		}
		end := min(offset+int64(min(limit, 5)), int64(len(content))) // in pieces
		return outputPiece{text: []byte(content[min(offset, end):end]), size: int64(len(content))}, nil
	}
	s := newAPI(o)
	do := func(r string) *http.Response { return send(t, s, r) }
	given(t, do, strings.Replace(jobA, `"a"`, `"a b"`, 1))
	do("PUT /scheduler/job/a%20b?arguments=x/y:z")
	id := strings.NewReplacer("%", "%25", "/", "%2F", " ", "%20").Replace(openRuns(t, do("GET /scheduler/runs/a%20b"))[0].ID)
	tests := []struct{ query, want string }{
		{"", content}, {"?offset=3&length=4", "0123"}, {"?offset=-2", ">\xff"}, {"?offset=-99", content}, {"?offset=99", ""}, {"?length=0", ""},
	}
	for _, tt := range tests {
		res := do("GET /v1/scheduler/run/" + id + "/stdout" + tt.query)
		if got := bodyOf(t, res); res.StatusCode != 200 || got != tt.want || res.Header.Get("X-Chronos-Size") != "18" {
			t.Errorf("stdout%s = %d %q, size %s, want %q of 18", tt.query, res.StatusCode, got, res.Header.Get("X-Chronos-Size"), tt.want)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("headers = %v, want plain text that stays it", res.Header)
		}
	}
	for path, status := range map[string]int{id + "/stderr": 404, id + "x/stdout": 404, id + "/stdout?length=-1": 400, id + "/stdout?offset=x": 404} {
		if res := do("GET /scheduler/run/" + path); res.StatusCode != status {
			t.Errorf("GET %s = %d, want %d", path, res.StatusCode, status)
		}
	}
}

// What was left out of an output is told where it was, and offsets stay those of all that was written.
func TestOutputWithAGap(t *testing.T) {
	t.Parallel()
	const head, gap, tail = "begin", 1_000_000, "end"
	const size = len(head) + gap + len(tail)
	sch := testScheduler(t)
	o := leading(sch)
	o.output = func(_ *Run, _ string, offset int64, limit int) (outputPiece, error) {
		p := outputPiece{size: int64(size)}
		if offset < 0 {
			offset = max(0, p.size+offset)
		}
		switch at := int(offset); {
		case at < len(head):
			p.text = []byte(head[at:min(at+limit, len(head))])
		case at < len(head)+gap:
			p.gap = int64(len(head) + gap - at)
		case at < size:
			p.text = []byte(tail[at-len(head)-gap:][:min(limit, size-at)])
		}
		return p, nil
	}
	s := newAPI(o)
	do := func(r string) *http.Response { return send(t, s, r) }
	given(t, do, jobA)
	do("PUT /scheduler/job/a")
	id := openRuns(t, do("GET /scheduler/runs/a"))[0].ID
	const all = "begin\n[1000000 bytes were left out here]\nend"
	tests := []struct{ query, want, next string }{
		{"", all, "1000008"},
		{"?offset=2&length=3", "gin", "5"},
		{"?offset=2&length=10", "gin\n[7 bytes were left out here]\n", "12"},
		{"?offset=5&length=100", "\n[100 bytes were left out here]\n", "105"},
		{"?offset=105", "\n[999900 bytes were left out here]\nend", "1000008"},
		{"?offset=-5", "\n[2 bytes were left out here]\nend", "1000008"},
		{"?offset=-3", "end", "1000008"},
		{"?offset=2000000", "", "2000000"},
	}
	for _, tt := range tests {
		res := do("GET /scheduler/run/" + id + "/stdout" + tt.query)
		if got := bodyOf(t, res); got != tt.want || res.Header.Get("X-Chronos-Next") != tt.next || res.Header.Get("X-Chronos-Size") != "1000008" {
			t.Errorf("stdout%s = %q, next %s, size %s, want %q, %s", tt.query, got, res.Header.Get("X-Chronos-Next"), res.Header.Get("X-Chronos-Size"), tt.want, tt.next)
		}
	}
}

func TestMergedOutputOfARun(t *testing.T) {
	t.Parallel()
	sch := testScheduler(t)
	o := leading(sch)
	var asked string
	o.merged = func(_ *Run, offset int64, limit int) (mergedPiece, error) {
		if asked = fmt.Sprint(offset, limit); offset == 404 {
			return mergedPiece{}, errNotFound
		}
		return mergedPiece{text: []byte("a\nb\nc\n"), stderr: [][2]int{{0, 2}, {4, 6}}, next: 16, size: 99}, nil
	}
	s := newAPI(o)
	do := func(r string) *http.Response { return send(t, s, r) }
	given(t, do, jobA)
	do("PUT /scheduler/job/a")
	path := "/scheduler/run/" + openRuns(t, do("GET /scheduler/runs/a"))[0].ID + "/merged"
	res := do("GET " + path + "?offset=10&length=50")
	h := res.Header
	if got := bodyOf(t, res); got != "a\nb\nc\n" || asked != "10 50" || h.Get("X-Chronos-Stderr") != "0-2,4-6" || h.Get("X-Chronos-Next") != "16" || h.Get("X-Chronos-Size") != "99" {
		t.Errorf("%q with %v, asked for %s", got, h, asked)
	}
	if res := do("GET " + path + "?offset=404"); res.StatusCode != 404 || !strings.Contains(bodyOf(t, res), "not known of this run") {
		t.Errorf("without an order: %d", res.StatusCode)
	}
	s.options.merged = nil // another cluster
	if res := do("GET " + path); res.StatusCode != 404 || !strings.Contains(bodyOf(t, res), "--master local") {
		t.Errorf("of another cluster: %d", res.StatusCode)
	}
}

// One run may be given arguments and variables of its own, and says who asked for it and why.
func TestOneRunDifferently(t *testing.T) {
	t.Parallel()
	sch, do := testAPI(t)
	given(t, do, `{"name":"a","command":"echo","arguments":["own"],"environmentVariables":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"schedule":"R/2030-01-01T00:00:00Z/P1D"}`)
	for _, tt := range []struct {
		target, body, want string
		status             int
	}{
		{"/scheduler/job/a", `{"arguments":["x y","z;"],"environmentVariables":[{"name":"B","value":3},{"name":"C","value":""}],"reason":"it was late","more":1}`,
			`"arguments":"x y z","environmentVariables":[{"name":"B","value":"3"},{"name":"C","value":""}],"requestedBy":"me","requestReason":"it was late"`, 204},
		{"/v1/scheduler/job/a?arguments=q", `{"reason":"why not"}`, `"arguments":"q","requestedBy":"me","requestReason":"why not"`, 204},
		{"/scheduler/job/a?arguments=q", `{"arguments":[]}`, `"arguments":"","requestedBy":"me"`, 204},
		{"/scheduler/job/a?arguments=q", ``, `"arguments":"q","requestedBy":"me"`, 204},
		{"/scheduler/job/a?arguments=q", `null`, `"arguments":"q","requestedBy":"me"`, 204},
		{"/scheduler/job/a?arguments=q", `[{"reason":"x"}]`, `"arguments":"q","requestedBy":"me"`, 204},
		{"/scheduler/job/a?arguments=q", `{"reason"`, `"arguments":"q","requestedBy":"me"`, 204},
		{"/scheduler/job/a", `{"arguments":"x"}`, "arguments: 'x' is not a list", 400},
		{"/scheduler/job/a", `{"environmentVariables":[{"name":"A"}]}`, "environmentVariables[0]: want an object with a name and a value", 400},
		{"/scheduler/job/a", `{"reason":"` + strings.Repeat("x", maxWhy+1) + `"}`, "reason: it has 1001 bytes, the limit is 1000", 400},
	} {
		res := do("PUT " + tt.target + "\nContent-Type: application/json\nAuthorization: Basic bWU6\n\n" + tt.body)
		answer := bodyOf(t, res)
		if tt.status != 204 {
			if res.StatusCode != tt.status || answer != tt.want {
				t.Errorf("PUT %s %s = %d %s, want %d %s", tt.target, tt.body, res.StatusCode, answer, tt.status, tt.want)
			}
			continue
		}
		runs := bodyOf(t, do("GET /scheduler/runs/a"))
		if res.StatusCode != 204 || !strings.Contains(runs, tt.want+"}") && !strings.Contains(runs, tt.want+",") {
			t.Errorf("PUT %s %s = %d, runs %s; want one with %s", tt.target, tt.body, res.StatusCode, runs, tt.want)
		}
		if err := sch.killJob(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever starts a run learns which, and that a disabled job's is skipped.
func TestStartNamesTheRun(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	do(post("/scheduler/iso8601", parked))
	res := do("PUT /scheduler/job/a")
	if id := res.Header.Get(runHeader); res.StatusCode != 204 || !strings.Contains(bodyOf(t, do("GET /scheduler/runs/a")), `"open":[{"id":"`+id+`"`) || res.Header.Get("Warning") != "" {
		t.Errorf("start = %d, %v, want the id of the open run", res.StatusCode, res.Header)
	}
	do(post("/scheduler/iso8601", strings.Replace(parked, `{`, `{"disabled":true,`, 1)))
	res = do("PUT /v1/scheduler/job/a")
	if got := res.Header.Get("Warning"); res.StatusCode != 204 || !strings.HasPrefix(got, `299 - "disabled: the job is disabled, and the run is skipped`) {
		t.Errorf("start of a disabled job = %d, Warning %q", res.StatusCode, got)
	}
	if res := do("PUT /scheduler/job/nobody"); res.Header.Get(runHeader) != "" {
		t.Errorf("start of no job names a run: %v", res.Header)
	}
}
