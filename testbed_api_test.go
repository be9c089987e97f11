package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// never is a change of leadership that doesn't come.
var never = make(chan struct{})

// leading returns options of an instance that leads with a scheduler.
func leading(sch *scheduler) apiOptions {
	return apiOptions{
		serverOptions: serverOptions{
			current: func() *scheduler { return sch },
			leader:  func() (string, bool) { return "me:8080", true },
			changed: func() <-chan struct{} { return never },
			ui:      newUI(),
		},
		defaults: jobDefaults{CPUs: 0.1, Mem: 128, Disk: 256, Epsilon: Period{Seconds: 60}, User: "root"},
	}
}

// testAPI returns a server that leads, and a function that sends it one request.
// The text of a request is its method and target, header lines, an empty line, the body.
func testAPI(t testing.TB) (*scheduler, func(request string) *http.Response) {
	sch := testScheduler(t)
	s := newAPI(leading(sch))
	return sch, func(request string) *http.Response { return send(t, s, request) }
}

// send has a handler answer a request written as text.
func send(t testing.TB, h http.Handler, request string) *http.Response {
	t.Helper()
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, line := range lines[1:] {
		name, text, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = text
			continue
		}
		r.Header.Add(name, text)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// bodyOf returns the body of an answer.
func bodyOf(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const asJSON = "\nContent-Type: application/json\n\n"

// post returns the request that creates a job.
func post(path, document string) string { return "POST " + path + asJSON + document }

// given posts documents, those with parents as dependent jobs.
func given(t testing.TB, do func(string) *http.Response, documents ...string) {
	t.Helper()
	for _, d := range documents {
		path := "/scheduler/iso8601"
		if strings.Contains(d, `"parents"`) {
			path = "/scheduler/dependency"
		}
		if res := do(post(path, d)); res.StatusCode != http.StatusNoContent {
			t.Fatalf("POST %s %s = %d %s", path, d, res.StatusCode, bodyOf(t, res))
		}
	}
}

const (
	jobA   = `{"name":"a","command":"true","schedule":"R/2030-01-01T00:00:00Z/P1D"}`
	jobDep = `{"name":"dep","command":"Echo Hello","parents":["a"]}`
)
