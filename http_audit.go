package main

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// reasonLimit bounds what an audit line repeats of a refusal, which may quote the document.
const reasonLimit = 200

// logRequest writes the line of one request: that of a change is an audit line, which is written
// whatever the log level, since that can be changed over HTTP too. Reads are for debugging, but for
// those with wrong credentials. Queries stay out: they carry arguments.
func (s *server) logRequest(a *response, r *http.Request, took time.Duration) {
	if changes(a.call, r) {
		record := slog.NewRecord(time.Now(), slog.LevelInfo, "audit", 0)
		record.AddAttrs(a.whatChanged(r)...)
		record.AddAttrs(a.whoAsked(r, took)...)
		if err := s.log.Handler().Handle(r.Context(), record); err != nil {
			s.log.Error("audit line not written", "error", err)
		}
		return
	}
	level := slog.LevelDebug
	if a.status == http.StatusUnauthorized && r.Header.Get("Authorization") != "" {
		level = slog.LevelInfo
	}
	if s.log.Enabled(r.Context(), level) {
		s.log.LogAttrs(r.Context(), level, "http request", append([]slog.Attr{slog.String("method", r.Method),
			slog.String("path", r.URL.EscapedPath()), slog.Int("status", a.code())}, a.whoAsked(r, took)...)...)
	}
}

// changes reports whether a request asks for a change, also if it never got as far as a call.
func changes(c *call, r *http.Request) bool {
	return !safe(r.Method) && (c == nil || c.operation == nil || !c.operation.local)
}

// whatChanged says what was asked for and what came of it.
func (a *response) whatChanged(r *http.Request) []slog.Attr {
	attrs := []slog.Attr{slog.String("outcome", outcome(a.code())), slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath())}
	if c := a.call; c != nil && c.api {
		job, task := c.subject()
		attrs = append(attrs, slog.String("job", job))
		if task != "" {
			attrs = append(attrs, slog.String("task", task))
		}
		dialect := "2"
		if c.dialect == dialect3 {
			dialect = "3"
		}
		attrs = append(attrs, slog.String("dialect", dialect))
	}
	attrs = append(attrs, slog.Int("status", a.code()))
	if reason := a.reason; reason != "" {
		attrs = append(attrs, slog.String("reason", cutText(reason, reasonLimit, "")))
	}
	return attrs
}

// whoAsked says where a request came from and how it went on. The user is proven only if credentials
// are asked for and were right, and what others were forwarded for is what they say.
func (a *response) whoAsked(r *http.Request, took time.Duration) []slog.Attr {
	user, _, _ := r.BasicAuth()
	attrs := []slog.Attr{slog.String("user", user), slog.String("remote", r.RemoteAddr), slog.String("agent", r.UserAgent()),
		slog.String("request", r.Header.Get(requestIDHeader)), slog.Int64("bytes", a.size), slog.Duration("took", took.Round(time.Microsecond))}
	for _, header := range []struct{ attr, name string }{{"forwardedFor", "X-Forwarded-For"}, {"via", viaHeader}} {
		if v := r.Header.Get(header.name); v != "" {
			attrs = append(attrs, slog.String(header.attr, v))
		}
	}
	if a.forwarded != "" {
		attrs = append(attrs, slog.String("leader", a.forwarded))
	}
	return attrs
}

// code is the status sent, which is 200 if nobody has said anything.
func (a *response) code() int { return cmp.Or(a.status, http.StatusOK) }

// outcome sums a status up.
func outcome(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "denied"
	case status >= 500:
		return "failed"
	case status >= 400:
		return "refused"
	}
	return "done"
}

// subject is the job and the task that a call of the API is about, as far as it says.
func (c *call) subject() (job, task string) {
	switch path := c.path; {
	case path == "iso8601", path == "dependency":
		var document struct{ Name string }
		_ = json.Unmarshal(c.body, &document) // a body without a name is no news here
		return document.Name, ""
	case path == "task/{}":
		_, _, job, _, _ = parseRunID(c.params[0])
		return job, c.params[0]
	case strings.HasPrefix(path, "job/{}/task/{}"):
		return c.params[0], c.params[1]
	case len(c.params) > 0:
		return c.params[0], ""
	}
	return "", ""
}
