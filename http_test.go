package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func basic(credentials string) string {
	return "\nAuthorization: bASIC " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

// endpoints is a request to every path, reading and changing.
var endpoints = []string{
	"GET /", "GET /metrics", "GET /metrics?local", "GET /metrics/prometheus", "PUT /metrics", "GET /logging", "POST /logging", "GET /nothing", "POST /nothing", "GET /health", "POST /health",
	"GET BASE/jobs", "GET BASE/jobs/search", "GET BASE/jobs/summary", "GET BASE/job/a", "DELETE BASE/job/a", "PUT BASE/job/a",
	"PUT BASE/job/success/a", "GET BASE/job/stat/a", "POST BASE/job/a/task/x/progress", "POST BASE/iso8601", "PUT BASE/iso8601",
	"POST BASE/dependency", "PUT BASE/dependency", "DELETE BASE/task/kill/a", "PUT BASE/task/x", "DELETE BASE/task/all",
	"GET BASE/graph/dot", "GET BASE/graph/csv", "GET BASE/stats/mean", "GET BASE/leader", "POST BASE/schedule/preview",
	"GET BASE/upcoming/a", "GET BASE/runs/a", "GET BASE/queued/a", "GET BASE/run/x/stdout", "GET BASE/run/x/stderr", "GET BASE/problems",
	"GET BASE/overview", "GET BASE/events?since=never", "GET BASE/backup", "POST BASE/restore", "GET BASE/nothing", "OPTIONS BASE/jobs",
}

// requests returns endpoints under both prefixes, for servers that lead and that follow.
func requests() []string {
	var all []string
	for _, e := range endpoints {
		all = append(all, strings.Replace(e, "BASE", "/scheduler", 1))
		if strings.Contains(e, "BASE") {
			all = append(all, strings.Replace(e, "BASE", "/v1/scheduler", 1))
		}
	}
	return all
}

// leaderAndFollower returns two servers, the second of which forwards to the first.
func leaderAndFollower(t *testing.T, adjust func(*apiOptions)) map[string]http.Handler {
	o := leading(testScheduler(t))
	o.metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	o.local = map[string]http.Handler{"/health": o.metrics}
	adjust(&o)
	leader := newAPI(o)
	id := standIn(t, leader.ServeHTTP)
	o.current = func() *scheduler { return nil }
	o.leader = func() (string, bool) { return id, false }
	return map[string]http.Handler{"leader": leader, "follower": newAPI(o)}
}

// What is allowed to whom, on the leader and through a follower: everything is for those who know the
// credentials but /ping, and no page of another origin changes anything, with credentials or without.
func TestAccessMatrix(t *testing.T) {
	t.Parallel()
	const foreign = "\nHost: c.example\nOrigin: https://evil.example"
	type answers struct{ read, change int } // 0 for anything but 401 and 403
	callers := []struct {
		name, header string
		want         answers
	}{
		{"anonymous", "", answers{401, 401}},
		{"right password", basic("u:right"), answers{0, 0}},
		{"wrong password", basic("u:wrong"), answers{401, 401}},
		{"other origin, anonymous", foreign, answers{401, 401}},
		{"other origin, right password", basic("u:right") + foreign, answers{0, 403}},
		{"other origin, wrong password", basic("u:wrong") + foreign, answers{401, 401}},
	}
	servers := leaderAndFollower(t, func(o *apiOptions) { o.credentials = "u:right" })
	state := func() string { return bodyOf(t, send(t, servers["leader"], "GET /scheduler/jobs"+basic("u:right"))) }
	for role, s := range servers {
		for _, caller := range callers {
			send(t, s, "POST /scheduler/iso8601"+asJSONHeader("POST")+basic("u:right")+"\n\n"+jobA)
			before := state()
			for _, request := range requests() {
				method, _, _ := strings.Cut(request, " ")
				want := caller.want.change
				if safe(method) {
					want = caller.want.read
				}
				got := send(t, s, request+asJSONHeader(request)+caller.header).StatusCode
				if denied := got == 401 || got == 403; denied != (want != 0) || denied && got != want {
					t.Errorf("%s, %s: %s = %d, want %d", role, caller.name, request, got, want)
				}
			}
			if after := state(); caller.want.change != 0 && after != before {
				t.Errorf("%s, %s: jobs are %s, were %s", role, caller.name, after, before)
			}
			if res := send(t, s, "GET /ping"+caller.header); res.StatusCode != 200 {
				t.Errorf("%s, %s: GET /ping = %d, want 200", role, caller.name, res.StatusCode)
			}
		}
	}
}

// The matrix is as good as its list.
func TestEndpointsAreListed(t *testing.T) {
	t.Parallel()
	s := newAPI(leading(nil))
	for _, res := range s.resources {
		for _, op := range res.operations {
			listed := false
			for _, e := range endpoints {
				method, path, _ := strings.Cut(e, " BASE/")
				path, _, _ = strings.Cut(path, "?")
				_, ok := match(res.path, strings.Split(path, "/"))
				listed = listed || ok && method == op.method
			}
			if !listed {
				t.Errorf("%s %s is not among the endpoints tested", op.method, res.path)
			}
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	servers := leaderAndFollower(t, func(o *apiOptions) { o.credentials, o.realm = "user:pa:ss", `a "realm"` })
	tests := []struct {
		name, header string
		open         bool
	}{
		{"anonymous", "", false},
		{"right", basic("user:pa:ss"), true},
		{"wrong password", basic("user:pa:st"), false},
		{"wrong user", basic("User:pa:ss"), false},
		{"empty", basic(":"), false},
		{"another scheme", "\nAuthorization: Bearer user:pa:ss", false},
		{"not base64", "\nAuthorization: Basic ???", false},
	}
	for role, s := range servers {
		for _, tt := range tests {
			for _, request := range requests() {
				res := send(t, s, request+tt.header)
				if closed := res.StatusCode == http.StatusUnauthorized; closed == tt.open {
					t.Errorf("%s, %s: %s = %d", role, tt.name, request, res.StatusCode)
				}
				if tt.open {
					continue
				}
				if got, want := res.Header.Get("WWW-Authenticate"), `basic realm="a \"realm\""`; got != want {
					t.Errorf("%s, %s: %s: WWW-Authenticate = %q, want %q", role, tt.name, request, got, want)
				}
				if res.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s, %s: %s: a 401 with a CORS header", role, tt.name, request)
				}
			}
			if res := send(t, s, "GET /ping"+tt.header); res.StatusCode != 200 || bodyOf(t, res) != "pong\n" {
				t.Errorf("%s, %s: GET /ping = %d, want 200 pong", role, tt.name, res.StatusCode)
			}
		}
	}
}

func TestForeignOriginChangesNothing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header string
		refused      bool
	}{
		{"no origin", "", false},
		{"same origin", "\nHost: c.example:8080\nOrigin: http://c.example:8080", false},
		{"TLS ends before us", "\nHost: c.example\nOrigin: https://c.example", false},
		{"proxy that changes Host", "\nHost: 10.0.0.1:8080\nX-Forwarded-Host: c.example\nOrigin: https://c.example", false},
		{"other site", "\nHost: c.example\nOrigin: https://evil.example", true},
		{"other port", "\nHost: c.example:8080\nOrigin: http://c.example:9090", true},
		{"sandboxed page", "\nHost: c.example\nOrigin: null", true},
		{"cross-site by its own word", "\nHost: c.example\nSec-Fetch-Site: cross-site", true},
	}
	for role, s := range leaderAndFollower(t, func(*apiOptions) {}) {
		for _, tt := range tests {
			for _, request := range requests() {
				res := send(t, s, request+asJSONHeader(request)+tt.header)
				method, _, _ := strings.Cut(request, " ")
				if want := tt.refused && !safe(method); (res.StatusCode == http.StatusForbidden) != want {
					t.Errorf("%s, %s: %s = %d, want refused %v", role, tt.name, request, res.StatusCode, want)
				}
			}
		}
	}
}

func asJSONHeader(request string) string {
	if strings.HasPrefix(request, "P") && !strings.Contains(request, "/logging") {
		return "\nContent-Type: application/json"
	}
	return ""
}

// A page can point a name of its own to 127.0.0.1; then Origin and Host agree.
func TestForeignHostOnLoopback(t *testing.T) {
	t.Parallel()
	n := startInstance(t, newTestSeat("x"), testScheduler(t), func(o *apiOptions) {
		o.hostname = "build7"
		leading := leading(testScheduler(t))
		o.leader, o.current = leading.leader, leading.current
	})
	for host, status := range map[string]int{"localhost:8080": 204, "127.0.0.1": 204, "[::1]:8080": 204, "build7": 204,
		"chronos.localhost": 204, "evil.example": 403, "127.0.0.1.evil.example": 403} {
		r, err := http.NewRequestWithContext(t.Context(), "DELETE", n.url+"/scheduler/task/all", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != status {
			t.Errorf("a change for Host %q = %d, want %d", host, res.StatusCode, status)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	res := do("GET /ping\nOrigin: http://x")
	if got := bodyOf(t, res); got != "pong\n" || res.Header.Get("Access-Control-Allow-Origin") != "http://x" || res.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("GET /ping = %q %v", got, res.Header)
	}
	for request, status := range map[string]int{"HEAD /ping": 200, "POST /ping": 405, "OPTIONS /ping": 200, "GET /ping/": 404} {
		if res := do(request); res.StatusCode != status {
			t.Errorf("%s = %d, want %d", request, res.StatusCode, status)
		}
	}
}

func TestMetricsAreTheLeadersUnlessAskedFor(t *testing.T) {
	t.Parallel()
	o := leading(nil)
	o.hold = 1
	o.metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "mine") })
	s := newAPI(o) // without a scheduler, so that only what is local is answered
	for request, status := range map[string]int{"GET /metrics": 503, "GET /metrics?local": 200, "GET /metrics/prometheus": 200,
		"GET /metrics\nAccept: text/plain;version=0.0.4": 200} {
		if res := send(t, s, request); res.StatusCode != status {
			t.Errorf("%q = %d, want %d", request, res.StatusCode, status)
		}
	}
}

func TestLoggingSetsTheLevel(t *testing.T) {
	t.Parallel()
	sch, _ := testAPI(t)
	o := leading(sch)
	o.level = new(slog.LevelVar)
	s := newAPI(o)
	form := "POST /logging\nContent-Type: application/x-www-form-urlencoded\n\nlogger=root&level="
	for _, tt := range []struct {
		request string
		level   slog.Level
		says    string
	}{
		{"GET /logging", slog.LevelInfo, "<option selected>INFO"},
		{form + "debug", slog.LevelDebug, "Level set to DEBUG"},
		{form + "nonsense", slog.LevelDebug, "Unknown level NONSENSE"},
		{form + "%3Cb%3E", slog.LevelDebug, "Unknown level &lt;B&gt;"},
	} {
		res := send(t, s, tt.request)
		if got := bodyOf(t, res); res.StatusCode != 200 || !strings.Contains(got, tt.says) || o.level.Level() != tt.level {
			t.Errorf("%q = %d, level %v, want %v and %q in %s", tt.request, res.StatusCode, o.level.Level(), tt.level, tt.says, got)
		}
	}
}

func TestPanicIsAnswered(t *testing.T) {
	t.Parallel()
	o := leading(testScheduler(t))
	o.local = map[string]http.Handler{"/broken": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no") })}
	var log strings.Builder
	o.log = slog.New(slog.NewTextHandler(&log, nil))
	if res := send(t, newAPI(o), "GET /broken"); res.StatusCode != 500 || !strings.Contains(log.String(), "panic=no") {
		t.Errorf("panicking handler = %d, log %s", res.StatusCode, &log)
	}
}

// Whatever a request is, one without the right credentials gets nothing but /ping and changes nothing, and one with them is
// answered without a fault of ours.
func FuzzHTTPWithCredentials(f *testing.F) {
	const right = "u:right"
	for _, e := range endpoints {
		request := strings.Replace(e, "BASE", "/v1/scheduler", 1)
		for _, credentials := range []string{"", right, "u:wrong"} {
			f.Add("HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", request, "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
		}
	}
	f.Add("HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST /scheduler/iso8601", "basic dTpyaWdodA==")
	f.Add("HTTP/1.0\r\nAuthorization: Basic dTpyaWdodA==\r\n\r\n", "GET /ping/../scheduler/jobs", "")
	f.Add("HTTP/1.1\r\nHost: x\r\nX-Chronos-Via: y\r\nX-Chronos-Request-Id: z\r\n\r\n", "DELETE //scheduler/job/a;b", "Bearer dTpyaWdodA==")
	f.Fuzz(func(t *testing.T, rest, line, authorization string) {
		if strings.ContainsAny(line+authorization, "\r\n") {
			return
		}
		first, headers, ok := strings.Cut(rest, "\r\n")
		if !ok {
			return
		}
		text := line + " " + first + "\r\n" + headers
		if authorization != "" {
			text = line + " " + first + "\r\nAuthorization: " + authorization + "\r\n" + headers
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil || len(r.Header["Authorization"]) > 1 {
			return
		}
		scheme, packed, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		given, err := base64.StdEncoding.DecodeString(packed)
		proven := err == nil && strings.EqualFold(scheme, "basic") && string(given) == right
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := strings.Contains(r.URL.Path, "events") // which has no end
		if cancelled {
			cancel()
		}
		defer cancel()
		var log strings.Builder
		st := newMemStore()
		o := leading(schedulerOn(t, st))
		o.credentials, o.hold = right, time.Nanosecond
		o.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
		s := newAPI(o)
		create := "POST /scheduler/iso8601" + basic(right) + asJSON + jobA
		if res := send(t, s, create); res.StatusCode != http.StatusNoContent {
			t.Fatalf("POST = %d", res.StatusCode)
		}
		jobs := func() string { return bodyOf(t, send(t, s, "GET /scheduler/jobs"+basic(right))) }
		before := jobs()
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(ctx))
		res := w.Result()
		switch {
		case strings.Contains(log.String(), "panicked"):
			t.Errorf("%q: %s", text, &log)
		case cancelled || r.URL.Path == "/ping":
		case !proven && (res.StatusCode != http.StatusUnauthorized || strings.Contains(w.Body.String(), `"name":"a"`)):
			t.Errorf("%q is answered %d %s without credentials", text, res.StatusCode, w.Body)
		case !proven && jobs() != before:
			t.Errorf("%q has changed something without credentials", text)
		case proven && res.StatusCode == http.StatusUnauthorized:
			t.Errorf("%q is refused with the right credentials", text)
		case proven && res.StatusCode == http.StatusInternalServerError:
			t.Errorf("%q is answered %d %s: %s", text, res.StatusCode, w.Body, &log)
		}
		if used := s.memory.used.Load(); used != 0 {
			t.Errorf("%q leaves %d bytes taken", text, used)
		}
	})
}
