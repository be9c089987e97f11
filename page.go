package main

import (
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// pageRows is how many jobs the plain page shows.
const pageRows = 1000

const (
	pageHead = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Chronos</title>
<style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{text-align:left;padding:.2em 1em .2em 0;border-bottom:1px solid #ddd}</style>
</head><body><h1>Chronos</h1>
`
	pageTable = `<table><tr><th>Job</th><th>Trigger</th><th>State</th><th>Last result</th><th>Next</th></tr>
`
	pageFoot = `
</body></html>
`
)

// The pages are put together by hand: html/template calls methods by their names, for which
// the linker keeps every method of every message of Mesos, 3 MB in all.

type pageJob struct{ Name, Trigger, State, Result, Next string }

// page shows the jobs, read-only. It answers on every instance in every state:
// existing deployments ask for / as a health check.
func (s *server) page(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
		return
	}
	var b strings.Builder
	b.WriteString(pageHead)
	if sch := s.current(); sch != nil {
		writePageJobs(&b, sch.view())
	} else if leader, _ := s.leader(); leader != "" {
		fmt.Fprintf(&b, "<p>This instance follows %s.</p>", html.EscapeString(leader))
	} else {
		b.WriteString("<p>No instance leads at the moment.</p>")
	}
	b.WriteString(pageFoot)
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if _, err := io.WriteString(w, b.String()); err != nil {
		s.log.Debug("page not written", "error", err)
	}
}

func writePageJobs(b *strings.Builder, v *view) {
	jobs := pageJobs(v)
	fmt.Fprintf(b, "<p>%d jobs, %d runs waiting, %d running.", v.len(), v.queued+v.queuedHigh, v.running)
	if v.len() > len(jobs) {
		fmt.Fprintf(b, " The first %d are shown.", len(jobs))
	}
	b.WriteString("</p>\n" + pageTable)
	for _, j := range jobs {
		b.WriteString("<tr>")
		for _, cell := range []string{j.Name, j.Trigger, j.State, j.Result, j.Next} {
			b.WriteString("<td>" + html.EscapeString(cell) + "</td>")
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table>")
}

func pageJobs(v *view) []pageJob {
	var jobs []pageJob
	for jv := range v.all() {
		if len(jobs) == pageRows {
			break
		}
		j := jv.job
		row := pageJob{Name: j.Name, Trigger: j.Schedule, State: stateText(jv, dialect3), Result: j.lastResult()}
		if j.Dependent {
			row.Trigger = "after " + strings.Join(j.Parents, ", ")
		}
		if j.Disabled {
			row.State += ", disabled"
		}
		if jv.problem != "" {
			row.State = jv.problem
		}
		if !jv.next.IsZero() {
			row.Next = jv.next.UTC().Format(time.RFC3339)
		}
		jobs = append(jobs, row)
	}
	return jobs
}

// logLevels are the words of the form, by the level they set. The original's
// others are taken too.
var logLevels = map[string]slog.Level{
	"DEBUG": slog.LevelDebug, "TRACE": slog.LevelDebug, "ALL": slog.LevelDebug, "INFO": slog.LevelInfo, "INHERIT": slog.LevelInfo,
	"WARN": slog.LevelWarn, "ERROR": slog.LevelError, "FATAL": slog.LevelError + 4, "OFF": slog.LevelError + 8,
}

// logging shows the log level and, on POST, sets it. There is one logger.
func (s *server) logging(w http.ResponseWriter, r *http.Request) {
	var note string
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		word := strings.ToUpper(r.FormValue("level"))
		if level, ok := logLevels[word]; ok {
			s.level.Set(level)
			note = "Level set to " + word + "."
		} else {
			note = "Unknown level " + word + "."
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
		return
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	if _, err := io.WriteString(w, loggingPage(note, s.level.Level())); err != nil {
		s.log.Debug("page not written", "error", err)
	}
}

func loggingPage(note string, now slog.Level) string {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Logging</title></head><body><h1>Logging</h1>\n")
	if note != "" {
		b.WriteString("<p>" + html.EscapeString(note) + "</p>")
	}
	b.WriteString(`
<form method="post"><input type="hidden" name="logger" value="root">root
<select name="level">`)
	for _, word := range []string{"DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF"} {
		selected := ""
		if logLevels[word] == now {
			selected = " selected"
		}
		b.WriteString("<option" + selected + ">" + word + "</option>")
	}
	b.WriteString("</select>\n<input type=\"submit\" value=\"Set\"></form></body></html>\n")
	return b.String()
}
