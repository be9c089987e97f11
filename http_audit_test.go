package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// An audit line says who wanted what and what came of it, whatever the log level; nothing else does.
func TestChangesAreAudited(t *testing.T) {
	t.Parallel()
	const right, wrong = "u:secret", "u:hunter2"
	tests := []struct {
		name, request string
		want          string // "" for no line
	}{
		{"reading", "GET /scheduler/jobs" + basic(right), ""},
		{"a preview changes nothing", "POST /scheduler/schedule/preview" + basic(right) + asJSON + `{"schedule":"R/2030-01-01T00:00:00Z/P1D"}`, ""},
		{"ping", "GET /ping", ""},
		{"create", "POST /v1/scheduler/iso8601" + basic(right) + asJSON + jobA,
			"outcome=done method=POST path=/v1/scheduler/iso8601 job=a dialect=3 status=204 user=u remote=192.0.2.1:1234 "},
		{"delete, for others", "DELETE /scheduler/job/b?x=hidden\nX-Forwarded-For: 10.1.2.3" + basic(right),
			`outcome=refused method=DELETE path=/scheduler/job/b job=b dialect=2 status=400 reason="requirement failed: Job 'b' not found" user=u `},
		{"a callback", "PUT /scheduler/task/ct:1:0:a:" + basic(right) + asJSON + `{"statusCode":0}`,
			"outcome=done method=PUT path=/scheduler/task/ct:1:0:a: job=a task=ct:1:0:a: dialect=2 status=204 user=u "},
		{"no credentials", "DELETE /scheduler/task/all", `outcome=denied method=DELETE path=/scheduler/task/all status=401 user="" `},
		{"wrong credentials", "DELETE /scheduler/task/all" + basic(wrong), "outcome=denied method=DELETE path=/scheduler/task/all status=401 user=u "},
		{"other origin", "DELETE /scheduler/task/all\nOrigin: http://evil" + basic(right),
			`outcome=denied method=DELETE path=/scheduler/task/all job="" dialect=2 status=403 reason="changes from another origin (http://evil) are refused" user=u `},
		{"wrong method", "DELETE /scheduler/jobs" + basic(right), `outcome=refused method=DELETE path=/scheduler/jobs job="" dialect=2 status=405 user=u `},
		{"the log level itself", "POST /logging\nContent-Type: application/x-www-form-urlencoded" + basic(right) + "\n\nlevel=OFF",
			"outcome=done method=POST path=/logging status=200 user=u "},
		{"after that", "DELETE /scheduler/task/all" + basic(right), `outcome=done method=DELETE path=/scheduler/task/all job="" dialect=2 status=204 user=u `},
	}
	o := leading(testScheduler(t))
	o.credentials, o.level = right, new(slog.LevelVar)
	var log strings.Builder
	o.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: o.level}))
	s := newAPI(o)
	for _, tt := range tests {
		log.Reset()
		send(t, s, tt.request)
		got := log.String()
		if strings.Contains(got, "msg=audit") != (tt.want != "") || !strings.Contains(got, tt.want) || strings.Count(got, "\n") > 1 {
			t.Errorf("%s: log = %q, want one line with %q", tt.name, got, tt.want)
		}
		for _, hidden := range []string{"secret", "hunter2", "hidden"} {
			if strings.Contains(got, hidden) {
				t.Errorf("%s: log = %s, want no %s in it", tt.name, got, hidden)
			}
		}
		if strings.Contains(tt.request, "X-Forwarded-For") && !strings.Contains(got, "forwardedFor=10.1.2.3") {
			t.Errorf("%s: log = %s, want whom it is for", tt.name, got)
		}
	}
}

func TestWrongCredentialsAreLogged(t *testing.T) {
	t.Parallel()
	o := leading(testScheduler(t))
	o.credentials = "u:right"
	var log strings.Builder
	o.log = slog.New(slog.NewTextHandler(&log, nil))
	s := newAPI(o)
	send(t, s, "GET /scheduler/jobs") // what every browser sends first
	if log.Len() > 0 {
		t.Errorf("log = %s, want nothing without credentials", &log)
	}
	send(t, s, "GET /scheduler/jobs"+basic("u:wrong"))
	if got := log.String(); !strings.Contains(got, "path=/scheduler/jobs status=401 user=u ") || strings.Contains(got, "wrong") {
		t.Errorf("log = %s, want the attempt without the password", got)
	}
}

// However long what a client sends is, and whatever is in it, its audit line is bounded, and still says what is known.
func TestAuditLinesAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 20_000)
	tests := []struct{ name, request, want string }{
		{"path", "DELETE /scheduler/job/" + long, "outcome=refused"},
		{"path of escapes", "DELETE /scheduler/job/" + strings.Repeat("%01%22", 5000), "outcome=refused"},
		{"path of what can't be printed", "DELETE /scheduler/job/" + strings.Repeat("%F3%BF%BF%BF", 3000), "outcome=refused"},
		{"headers", "DELETE /scheduler/job/b\nUser-Agent: " + long + "\nX-Forwarded-For: " + long + "\n" + viaHeader + ": " + long, "job=b"},
		{"user", "DELETE /scheduler/job/b" + basic(long+":x"), "job=b"},
		{"document", post("/scheduler/iso8601", `{"name":"`+long+`","command":"`+long+`"}`), "outcome=refused"},
		{"task", "PUT /scheduler/task/ct:1:0:" + long + ":" + asJSON + `{"statusCode":0}`, "outcome=done"},
		{"all of them", "DELETE /scheduler/job/" + long + "\nUser-Agent: " + strings.Repeat("é\\", 5000) + "\nX-Forwarded-For: " + long + basic(long+":x"), "outcome=refused"},
	}
	for _, format := range []string{"text", "json"} {
		for _, tt := range tests {
			t.Run(format+", "+tt.name, func(t *testing.T) {
				var out strings.Builder
				log, _, err := newLogger(&out, "warn", format)
				if err != nil {
					t.Fatal(err)
				}
				o := leading(testScheduler(t))
				o.log = log
				send(t, newAPI(o), tt.request)
				line := out.String()
				want := tt.want
				if format == "json" {
					name, value, _ := strings.Cut(want, "=")
					want = fmt.Sprintf("%q:%q", name, value)
				}
				if n := len(line); n > auditLimit+1 || n < auditLimit*2/3 || strings.Count(line, "\n") != 1 || !strings.Contains(line, want) {
					t.Errorf("an audit line of %d bytes, want at most %d, and %s in it: %s", n, auditLimit, want, line)
				}
			})
		}
	}
}
