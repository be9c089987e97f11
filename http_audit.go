package main

import (
	"fmt"
	"html"
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
	return !safe(r.Method) && (c == nil || !c.local)
}

// whatChanged says what was asked for and what came of it.
func (a *response) whatChanged(r *http.Request) []slog.Attr {
	attrs := []slog.Attr{slog.String("outcome", outcome(a.code())), slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath())}
	if c := a.call; c != nil && c.api {
		var job, task string
		if c.subject != nil {
			job, task = c.subject(c)
		}
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

// logLevels are the words of the form, by the level they set. The original's
// others are taken too.
var logLevels = map[string]slog.Level{
	"DEBUG": slog.LevelDebug, "TRACE": slog.LevelDebug, "ALL": slog.LevelDebug, "INFO": slog.LevelInfo, "INHERIT": slog.LevelInfo,
	"WARN": slog.LevelWarn, "ERROR": slog.LevelError, "FATAL": slog.LevelError + 4, "OFF": slog.LevelError + 8,
}

// logging shows the log level and, on POST, sets it. There is one logger.
func (s *server) logging(w http.ResponseWriter, r *http.Request) {
	said := ""
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		word := strings.ToUpper(r.FormValue("level"))
		if level, ok := logLevels[word]; ok {
			s.level.Set(level)
			said = "<p>Level set to " + word + ".</p>"
		} else {
			said = "<p>Unknown level " + html.EscapeString(word) + ".</p>"
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
		return
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	fmt.Fprintf(w, loggingPage, said, s.levelOptions())
}

const loggingPage = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Logging</title></head><body><h1>Logging</h1>
%s
<form method="post"><input type="hidden" name="logger" value="root">root
<select name="level">%s</select>
<input type="submit" value="Set"></form></body></html>
`

// levelOptions lists the levels that the form offers, with the present one selected.
func (s *server) levelOptions() string {
	var b strings.Builder
	for _, word := range []string{"DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF"} {
		selected := ""
		if logLevels[word] == s.level.Level() {
			selected = " selected"
		}
		fmt.Fprintf(&b, "<option%s>%s</option>", selected, word)
	}
	return b.String()
}
