package main

import (
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// pageRows is how many jobs the plain page shows.
const pageRows = 1000

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Chronos</title>
<style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{text-align:left;padding:.2em 1em .2em 0;border-bottom:1px solid #ddd}</style>
</head><body><h1>Chronos</h1>
{{if .Leads}}<p>{{.Total}} jobs, {{.Queued}} runs waiting, {{.Running}} running.{{if gt .Total (len .Jobs)}} The first {{len .Jobs}} are shown.{{end}}</p>
<table><tr><th>Job</th><th>Trigger</th><th>State</th><th>Last result</th><th>Next</th></tr>
{{range .Jobs}}<tr><td>{{.Name}}</td><td>{{.Trigger}}</td><td>{{.State}}</td><td>{{.Result}}</td><td>{{.Next}}</td></tr>
{{end}}</table>{{else if .Leader}}<p>This instance follows {{.Leader}}.</p>{{else}}<p>No instance leads at the moment.</p>{{end}}
</body></html>
`))

type pageJob struct{ Name, Trigger, State, Result, Next string }

// page shows the jobs, read-only. It answers on every instance in every state:
// existing deployments ask for / as a health check.
func (s *server) page(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
		return
	}
	var p struct {
		Leads                  bool
		Leader                 string
		Total, Queued, Running int
		Jobs                   []pageJob
	}
	p.Leader, _ = s.leader()
	if sch := s.current(); sch != nil {
		v := sch.view()
		p.Leads, p.Total, p.Queued, p.Running = true, v.len(), v.queued+v.queuedHigh, v.running
		p.Jobs = pageJobs(v)
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if err := pageTemplate.Execute(w, p); err != nil {
		s.log.Debug("page not written", "error", err)
	}
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

var loggingTemplate = template.Must(template.New("logging").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Logging</title></head><body><h1>Logging</h1>
{{with .Set}}<p>Level set to {{.}}.</p>{{end}}{{with .Wrong}}<p>Unknown level {{.}}.</p>{{end}}
<form method="post"><input type="hidden" name="logger" value="root">root
<select name="level">{{$now := .Level}}{{range .Levels}}<option{{if eq . $now}} selected{{end}}>{{.}}</option>{{end}}</select>
<input type="submit" value="Set"></form></body></html>
`))

// logLevels are the words of the form, by the level they set. The original's
// others are taken too.
var logLevels = map[string]slog.Level{
	"DEBUG": slog.LevelDebug, "TRACE": slog.LevelDebug, "ALL": slog.LevelDebug, "INFO": slog.LevelInfo, "INHERIT": slog.LevelInfo,
	"WARN": slog.LevelWarn, "ERROR": slog.LevelError, "FATAL": slog.LevelError + 4, "OFF": slog.LevelError + 8,
}

// logging shows the log level and, on POST, sets it. There is one logger.
func (s *server) logging(w http.ResponseWriter, r *http.Request) {
	var p struct {
		Set, Wrong, Level string
		Levels            []string
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		word := strings.ToUpper(r.FormValue("level"))
		if level, ok := logLevels[word]; ok {
			s.level.Set(level)
			p.Set = word
		} else {
			p.Wrong = word
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
		return
	}
	p.Levels = []string{"DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF"}
	for _, word := range p.Levels {
		if logLevels[word] == s.level.Level() {
			p.Level = word
		}
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	if err := loggingTemplate.Execute(w, p); err != nil {
		s.log.Debug("page not written", "error", err)
	}
}
