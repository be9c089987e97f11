package main

import (
	"context"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
)

// newLogger makes the log that every part writes to. level is debug, info, warn or
// error; format is text or json.
// The level returned can be changed while the log is in use.
func newLogger(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	least := new(slog.LevelVar)
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), least, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), least, nil
	}
	return nil, nil, fmt.Errorf("log format %q: want text or json", format)
}

// urlCredentials are the user:password@ of a URL. The @ sought is the last one before the
// path, since passwords are seldom escaped as they should be.
var urlCredentials = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"']*@`)

// redact replaces the credentials in every URL of a text, so that it can be logged.
func redact(s string) string { return urlCredentials.ReplaceAllString(s, "${1}...@") }

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

// A runLog writes what happens to runs. At ten thousand runs a second two lines for each would bury the
// log and cost more than the runs, and history and metrics tell of them anyway: that a run was
// queued, started or succeeded is for debugging. What a person may have to act on, or will ask for
// later, is written by default: failed attempts, kills, skipped and late runs. Missed ones and
// jobs that used up their repetitions are logged where they are found.
type runLog struct{ *slog.Logger }

func (l runLog) observe(e jobEvent) {
	level, message := slog.LevelInfo, ""
	switch e.Kind {
	case eventQueued:
		level, message = slog.LevelDebug, "run queued"
	case eventStarted:
		level, message = slog.LevelDebug, "run started"
	case eventFinished:
		level, message = slog.LevelDebug, "run succeeded"
	case eventFailed:
		message = "attempt ended without success"
	case eventRetriesExhausted:
		level, message = slog.LevelWarn, "run failed, no attempt follows"
	case eventDisabled:
		if e.Cause != causeFailures {
			return
		}
		level, message = slog.LevelWarn, "run failed, the job is disabled"
	case eventSkipped, eventExpired:
		message = "run skipped"
	case eventLate:
		level, message = slog.LevelWarn, "run is late"
	default:
		return
	}
	if !l.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("job", e.Job.Name)}
	if r := e.Run; r != nil {
		attrs = append(attrs, slog.String("task", r.ID), slog.Int("attempt", r.Attempt), slog.String("state", string(r.State)))
		if r.Agent != "" || r.AgentID != "" {
			attrs = append(attrs, slog.String("agent", r.Agent), slog.String("agentId", r.AgentID))
		}
		if r.Reason != "" {
			attrs = append(attrs, slog.String("reason", r.Reason))
		}
	}
	l.LogAttrs(context.Background(), level, message, attrs...)
}
