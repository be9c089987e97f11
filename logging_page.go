package main

import (
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"strings"
)

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
