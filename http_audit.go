package main

import (
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// reasonLimit bounds what an audit line quotes from a refusal, which may quote the document.
	reasonLimit = 200
	// auditLimit bounds an audit line: clients decide how many there are, and what is in them.
	auditLimit = 1 << 10
	// auditOverhead is what a line has besides its attributes: time, level and message.
	auditOverhead = 90
	// attrOverhead is what an attribute takes besides key and text: quotes, a separator.
	attrOverhead = 6
)

// logRequest writes the line of one request: that of a change is an audit line, which is written
// whatever the log level, since that can be changed over HTTP too. Reads are logged at debug level, except for
// those with wrong credentials. Queries are left out: they carry arguments.
func (s *server) logRequest(a *response, r *http.Request, took time.Duration) {
	if changes(a.call, r) {
		record := slog.NewRecord(time.Now(), slog.LevelInfo, "audit", 0)
		record.AddAttrs(fitted(append(a.whatChanged(r), a.whoAsked(r, took)...), auditLimit-auditOverhead)...)
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

// changes reports whether a request asks for a change, even if it never became a call.
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

// whoAsked says where a request came from and where it went. The user is verified only if credentials
// are required and were right, and X-Forwarded-For is merely what the sender claims.
func (a *response) whoAsked(r *http.Request, took time.Duration) []slog.Attr {
	user, _, _ := r.BasicAuth()
	if a.call != nil && a.call.who != nil {
		user = a.call.who.name
	}
	attrs := []slog.Attr{slog.String("user", user), slog.String("remote", r.RemoteAddr), slog.String("agent", r.UserAgent()),
		slog.String("request", r.Header.Get(requestIDHeader)), slog.Int64("bytes", a.size), slog.Duration("took", took.Round(time.Microsecond))}
	for _, header := range []struct{ attr, name string }{{"forwardedFor", "X-Forwarded-For"}, {"via", viaHeader}} {
		if v := r.Header.Get(header.name); v != "" {
			attrs = append(attrs, slog.String(header.attr, v))
		}
	}
	if a.call != nil && a.call.who != nil {
		attrs = append(attrs, slog.String("provenBy", a.call.who.how))
	}
	if a.forwarded != "" {
		attrs = append(attrs, slog.String("leader", a.forwarded))
	}
	return attrs
}

// fitted cuts the longest texts of attrs so that together they take no more than most bytes,
// in either format. A client has many ways to make them long: the path, its own name, its claimed origin.
func fitted(attrs []slog.Attr, most int) []slog.Attr {
	sizes, longest := make([]int, len(attrs)), 0
	for i, a := range attrs {
		sizes[i] = writtenSize(a.Value.String())
		longest = max(longest, sizes[i])
		most -= len(a.Key) + attrOverhead
	}
	for ; longest > 0; longest-- {
		total := 0
		for _, size := range sizes {
			total += min(size, longest)
		}
		if total <= most {
			break
		}
		longest = min(longest, most) // one text alone can't take more
	}
	for i, a := range attrs {
		if a.Value.Kind() == slog.KindString {
			attrs[i].Value = slog.StringValue(cutWritten(a.Value.String(), longest))
		}
	}
	return attrs
}

// cutWritten cuts a text so that it takes no more than most bytes when written.
func cutWritten(s string, most int) string {
	const mark = "…"
	if writtenSize(s) <= most {
		return s
	}
	room := most - len(mark)
	for i, r := range s {
		if room -= runeSize(r); room < 0 {
			return s[:i] + mark
		}
	}
	return s
}

// writtenSize returns the most bytes that a text takes in a log line, not counting quotes.
func writtenSize(s string) (n int) {
	for _, r := range s {
		n += runeSize(r)
	}
	return n
}

// runeSize counts escapes as the longest that either format writes.
func runeSize(r rune) int {
	switch {
	case r == '"' || r == '\\':
		return 2
	case r == utf8.RuneError || !strconv.IsPrint(r):
		return len(`\U0010ffff`)
	}
	return utf8.RuneLen(r)
}

// outcome sums up a status.
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
// others are accepted too.
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

// levelOptions lists the levels that the form offers, with the current one selected.
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
