package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// apiPath splits the path of an API request into the dialect of its prefix and
// the rest, still encoded.
func apiPath(path string) (rest string, d dialect, ok bool) {
	if rest, ok := strings.CutPrefix(path, "/scheduler/"); ok {
		return rest, dialect2, true
	}
	rest, ok = strings.CutPrefix(path, "/v1/scheduler/")
	return rest, dialect3, ok
}

// apiOptions are what the API needs from the rest of the program.
type apiOptions struct {
	serverOptions
	defaults    jobDefaults
	location    *time.Location  // the zone of starts without an offset, nil for the process's
	history     int             // entries in job/stat, 0 for everything that is kept
	members     func() []string // ids of the instances; nil: not known
	storeName   string          // where the state is kept, for people
	clusterName string          // where the tasks run, for people
	// output reads what a run has written to stdout or stderr, a negative offset
	// counting from the end. errNotFound means that there is no such file.
	output func(run *Run, name string, offset int64, limit int) (outputPiece, error)
	// merged reads both in the order in which they were written. errNotFound means that it is not known; nil: of no run.
	merged func(run *Run, offset int64, limit int) (mergedPiece, error)
	// accepts returns why runs of a job could never start, nil if they can; nil for any job.
	accepts func(*Job) error
	// doubts returns what of a job can't work on this server, nil for nothing; nil for any job.
	doubts   func(*Job) []Warning
	notifier *notifier            // of this instance, or nil
	health   func() any           // how this instance is doing; nil: not known
	nodes    func() []clusterNode // of a cluster that places runs itself; nil for any other
	// resourceCall counts calls of the operations that the JVM versions time; may be nil.
	resourceCall func(name string, took time.Duration)
}

// An api answers the requests of the REST API that a server gets.
type api struct {
	*server
	options   apiOptions
	resources []resource // of the original
	additions []resource
	events    *eventHub
}

// newAPI returns the API with a server for it; serve makes the server listen.
func newAPI(o apiOptions) *api {
	if o.location == nil {
		o.location = time.Local
	}
	local := map[string]http.Handler{"/openapi.json": http.HandlerFunc(serveOpenAPI)}
	maps.Copy(local, o.local)
	o.local = local
	a := &api{server: newServer(o.serverOptions), options: o, events: newEventHub()}
	a.route()
	a.server.api, a.server.beyond = a.answer, a.beyond
	return a
}

// now is the time in the zone that schedules are read in.
func (a *api) now() time.Time { return time.Now().In(a.options.location) }

// A resource is one path below both prefixes and what can be done with it.
type resource struct {
	path       string // segments; {} matches any one segment
	produces   string // media type an Accept header must allow, "" if none is asked for
	strict     bool   // a Content-Type, if there is one, must be application/json, even for GET
	operations []operation
}

// An operation is one method of a resource.
type operation struct {
	method string
	body   bool // reads a JSON document
	local  bool // needs no leader
	handle func(*call) error
	timed  string // the name that the JVM versions time it under, "" for none
	stream bool   // reads its document, of up to maxBackup bytes, while it arrives
}

const (
	typeText = "text/plain"
)

// route sets every path of the API: the union of what 2.4, 2.5 and 3.0 serve, and
// our additions under their own first segments. If two paths match, the
// earlier one counts.
func (a *api) route() {
	get := func(h func(*call) error) operation { return operation{method: http.MethodGet, handle: h} }
	put := func(h func(*call) error) operation { return operation{method: http.MethodPut, handle: h} }
	del := func(h func(*call) error) operation { return operation{method: http.MethodDelete, handle: h} }
	document := func(method string, h func(*call) error) operation {
		return operation{method: method, body: true, handle: h}
	}
	here := func(o operation) operation { o.local = true; return o }
	timed := func(name string, o operation) operation { o.timed = name; return o }
	a.resources = []resource{
		{"jobs", typeJSON, true, []operation{timed("JobManagementResource.list", get(a.listJobs))}},
		{"jobs/search", typeJSON, true, []operation{timed("JobManagementResource.search", get(a.searchJobs))}},
		{"jobs/summary", typeJSON, true, []operation{get(a.summarizeJobs)}},
		{"job/stat/{}", typeJSON, true, []operation{get(a.jobStatistics)}},
		{"job/success/{}", typeJSON, true, []operation{timed("JobManagementResource.markJobSuccessful", put(a.markSuccess))}},
		{"job/{}", typeJSON, true, []operation{get(a.showJob),
			timed("JobManagementResource.trigger", put(a.runJob)), timed("JobManagementResource.delete", del(a.deleteJob))}},
		{"job/{}/task/{}/progress", typeJSON, true, []operation{document(http.MethodPost, a.addProgress)}},
		{"iso8601", typeJSON, true, []operation{timed("Iso8601JobResource.post", document(http.MethodPost, a.putScheduled)),
			timed("Iso8601JobResource.put", document(http.MethodPut, a.putScheduled))}},
		{"dependency", typeJSON, false, []operation{timed("DependentJobResource.post", document(http.MethodPost, a.putDependent)),
			timed("DependentJobResource.put", document(http.MethodPut, a.putDependent))}},
		{"task/kill/{}", typeJSON, false, []operation{del(a.killJob)}},
		{"task/all", typeJSON, false, []operation{del(a.purge)}},
		{"task/{}", typeJSON, false, []operation{document(http.MethodPut, a.finishTask)}},
		{"graph/dot", typeText, true, []operation{timed("GraphManagementResource.dotGraph", get(a.graphDot))}},
		{"graph/csv", typeText, true, []operation{timed("GraphManagementResource.jsonGraph", get(a.graphCSV))}},
		{"stats/{}", typeJSON, false, []operation{timed("StatsResource.getPerf", get(a.percentiles))}},
		{"leader", typeJSON, false, []operation{here(get(a.showLeader))}},
	}
	a.additions = []resource{
		{"schedule/preview", typeJSON, true, []operation{here(document(http.MethodPost, a.previewSchedule))}},
		{"upcoming/{}", typeJSON, false, []operation{get(a.upcoming)}},
		{"backfill/{}", typeJSON, false, []operation{document(http.MethodPost, a.startBackfill), get(a.showBackfill), del(a.stopBackfill)}},
		{"pools", typeJSON, false, []operation{get(a.listPools)}},
		{"pool/{}", typeJSON, false, []operation{document(http.MethodPut, a.putPool), del(a.deletePool)}},
		{"pause/{}", typeJSON, false, []operation{put(a.pauseJob), del(a.resumeJob)}},
		{"runs", typeJSON, false, []operation{get(a.listAllRuns)}},
		{"recent", typeJSON, false, []operation{get(a.showRecent)}},
		{"days/{}", typeJSON, false, []operation{get(a.countDays)}},
		{"activity", typeJSON, false, []operation{get(a.listActivity)}},
		{"timeline", typeJSON, false, []operation{get(a.showTimeline)}},
		{"runs/{}", typeJSON, false, []operation{get(a.listRuns)}},
		{"queued/{}", typeJSON, false, []operation{get(a.explainQueued)}},
		{"run/{}/dag", typeJSON, false, []operation{get(a.showDagRun)}},
		{"followers/{}", typeJSON, false, []operation{get(a.showFollowers)}},
		{"leader/health", typeJSON, false, []operation{get(a.showLeaderHealth)}},
		{"instances", typeJSON, false, []operation{get(a.listInstances)}},
		{"agents", typeJSON, false, []operation{get(a.listAgents)}},
		{"notices", typeJSON, false, []operation{get(a.listNotices)}},
		{"notices/{}/test", typeJSON, false, []operation{document(http.MethodPost, a.testNotice)}},
		{"run/{}/stdout", "", false, []operation{get(a.showOutput("stdout"))}},
		{"run/{}/stderr", "", false, []operation{get(a.showOutput("stderr"))}},
		{"run/{}/merged", "", false, []operation{get(a.showMerged)}},
		{"apply", typeJSON, false, []operation{document(http.MethodPost, a.applyJobs)}},
		{"apply/plan", typeJSON, false, []operation{document(http.MethodPost, a.planJobs)}},
		{"export", typeJSON, false, []operation{get(a.exportJobs)}},
		{"overview", typeJSON, false, []operation{get(a.showOverview)}},
		{"events", typeEvents, false, []operation{get(a.streamEvents)}},
		{"problems", typeJSON, false, []operation{get(a.listProblems)}},
		{"backup", typeJSON, false, []operation{get(a.makeBackup)}},
		{"restore", typeJSON, false, []operation{{method: http.MethodPost, body: true, handle: a.restoreBackup, stream: true}}},
	}
	if a.access != nil {
		a.additions = append(a.additions,
			resource{"whoami", typeJSON, false, []operation{here(get(a.whoami))}},
			resource{"logout", "", false, []operation{here(get(a.logout))}})
	}
}

// answer answers a call of the API.
func (a *api) answer(c *call) (known bool, err error) {
	rest, d, known := apiPath(c.r.URL.EscapedPath())
	if !known {
		return false, nil
	}
	c.api, c.dialect = true, d
	return true, a.perform(c, rest)
}

// perform finds the requested operation and executes it here or has the leader execute it.
func (a *api) perform(c *call, rest string) error {
	if rest == "" {
		return methodNotAllowed(c, nil)
	}
	res := a.find(c, strings.TrimSuffix(rest, "/"))
	if res == nil {
		return &httpError{status: http.StatusNotFound}
	}
	if c.r.Method == http.MethodOptions {
		c.w.Header().Set("Allow", allowed(res))
		c.allowOrigins()
		return nil
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	i := slices.IndexFunc(res.operations, func(o operation) bool { return o.method == method })
	if i < 0 {
		return methodNotAllowed(c, res)
	}
	op := res.operations[i]
	c.local, c.subject = op.local, subjectOf
	if op.stream {
		c.stream = newBodyStream(c, maxBackup)
	}
	if err := c.admit(res.path); err != nil {
		return err
	}
	if err := checkContentType(c.r.Header["Content-Type"], res.strict, op.body); err != nil {
		return err
	}
	if err := checkAccept(c.r.Header["Accept"], res.produces); err != nil {
		return err
	}
	if err := checkOrigin(c.r, a.hostname); err != nil {
		return err
	}
	serve := func(sch *scheduler) (err error) {
		start := time.Now()
		c.scheduler, c.mandate = sch, c.mandated()
		a.respond(c, func(http.ResponseWriter) { err = explainStore(op.handle(c), c) })
		if op.timed != "" && a.options.resourceCall != nil {
			a.options.resourceCall(op.timed, time.Since(start))
		}
		return err
	}
	if op.local {
		if err := c.readBody(); err != nil {
			return err
		}
		return serve(nil)
	}
	return a.dispatch(c, serve)
}

// explainStore answers a change one of whose own records the store has refused for good. That a record is too large is
// the client's fault, anything else is the store's, and the next term begins with what is stored. If the record
// belongs to another change that was stored together with this one, this one is made in the next term.
func explainStore(err error, c *call) error {
	e, ok := errors.AsType[*recordError](err)
	if !ok {
		return err
	}
	job, _ := subjectOf(c)
	switch {
	case !recordOf(e.key, job):
		return err
	case errors.Is(e.err, errRecordTooLarge):
		return refuse("the store refuses job %q: %v", job, e.err)
	}
	return &httpError{status: http.StatusServiceUnavailable, retry: 1,
		text: fmt.Sprintf("the store refuses job %q: %v. The state is being loaded again; check the job before you retry", job, e.err)}
}

// recordOf reports whether a record belongs to a job.
func recordOf(key, job string) bool {
	for _, kind := range []string{"go/run/", "T_"} {
		if name, ok := strings.CutPrefix(key, kind); ok {
			id, err := parseRecordName(name)
			_, _, of, _, known := parseRunID(id)
			return err == nil && known && of == job
		}
	}
	return key == "J_"+job || key == "go/job/"+recordName(job) || key == "go/history/"+recordName(job) || key == policyPrefix+recordName(job)
}

// find returns the first resource whose path matches, with its parameters in c.
func (a *api) find(c *call, path string) *resource {
	segments := strings.Split(path, "/")
	for i, raw := range segments {
		raw, _, _ = strings.Cut(raw, ";") // matrix parameters are ignored
		text, err := url.PathUnescape(raw)
		if err != nil {
			return nil
		}
		segments[i] = text
	}
	res := firstMatch(a.resources, segments)
	if res == nil {
		res = firstMatch(a.additions, segments)
		c.private = res != nil
	}
	if res != nil {
		c.path = res.path
		c.params, _ = match(res.path, segments)
	}
	return res
}

func firstMatch(resources []resource, segments []string) *resource {
	for i := range resources {
		if _, ok := match(resources[i].path, segments); ok {
			return &resources[i]
		}
	}
	return nil
}

func match(path string, segments []string) (params []string, ok bool) {
	i := 0
	for want := range strings.SplitSeq(path, "/") {
		if i == len(segments) {
			return nil, false
		}
		switch {
		case want == "{}" && segments[i] != "":
			params = append(params, segments[i])
		case want != segments[i]:
			return nil, false
		}
		i++
	}
	return params, i == len(segments)
}

// allowed returns the Allow header of a resource, only OPTIONS for nil.
func allowed(res *resource) string {
	methods := []string{http.MethodOptions}
	if res != nil {
		for _, o := range res.operations {
			methods = append(methods, o.method)
			if o.method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ",")
}

func methodNotAllowed(c *call, res *resource) error {
	c.w.Header().Set("Allow", allowed(res))
	return &httpError{status: http.StatusMethodNotAllowed}
}

// checkContentType applies the rules of the original's framework: a strict
// resource refuses every type other than JSON, even on requests without a body;
// the others accept any type called JSON, and a document has to state its type.
func checkContentType(header []string, strict, body bool) error {
	if len(header) == 0 || header[0] == "" {
		if body {
			return unsupported("the header Content-Type is missing")
		}
		return nil
	}
	if !strict && !body {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(header[0])
	kind, subtype, slash := strings.Cut(mediaType, "/")
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || !slash || kind == "" || subtype == "" {
		return refuse("Bad Content-Type header value: '%s'", header[0])
	}
	if mediaType == typeJSON {
		return nil
	}
	wrong := func() error { return unsupported("the header Content-Type says %q", cutText(header[0], 100, "…")) }
	if strict {
		return wrong()
	}
	switch {
	case subtype == "json", strings.HasSuffix(subtype, "+json"), subtype == "javascript", subtype == "x-javascript":
		return nil
	}
	return wrong()
}

// unsupported is a 415 that says what is wrong with a request's Content-Type.
func unsupported(format string, args ...any) error {
	return &httpError{status: http.StatusUnsupportedMediaType, text: fmt.Sprintf(format, args...) + "; it must be " + typeJSON}
}

// checkAccept refuses to answer with a media type that the client does not accept. "" is any.
func checkAccept(header []string, produces string) error {
	if produces == "" || accepts(header, produces) {
		return nil
	}
	return &httpError{status: http.StatusNotAcceptable,
		text: fmt.Sprintf("the header Accept says %q, and there is only %s", cutText(strings.Join(header, ", "), 100, "…"), produces)}
}

// accepts reports whether the Accept header lines allow a media type.
func accepts(header []string, mediaType string) bool {
	line := strings.Join(header, ",")
	if strings.TrimSpace(line) == "" {
		return true
	}
	kind, _, _ := strings.Cut(mediaType, "/")
	best, specific := 0.0, -1
	for part := range strings.SplitSeq(line, ",") {
		name, params, _ := strings.Cut(part, ";")
		rank := slices.Index([]string{"*/*", kind + "/*", mediaType}, strings.ToLower(strings.TrimSpace(name)))
		if strings.TrimSpace(name) == "*" {
			rank = 0 // what java.net.HttpURLConnection sends
		}
		if rank > specific {
			best, specific = quality(params), rank
		}
	}
	return best > 0
}

// unmet is a 400 with the text of the original's failed requirement, which 3.0
// sends as the first line of a stack trace.
func unmet(format string, args ...any) error {
	text := "requirement failed: " + fmt.Sprintf(format, args...)
	return illegal(text, text)
}

// illegal is a 400 for the original's IllegalArgumentException.
func illegal(text, text3 string) error {
	return &httpError{status: http.StatusBadRequest, text: text, text3: "java.lang.IllegalArgumentException: " + text3 + "\n"}
}

// noJob says that there is no such job. 3.0 says JobSchedule instead of job when it changes them.
func noJob(name, word3 string) error {
	const format = "requirement failed: %s '%s' not found"
	return illegal(fmt.Sprintf(format, "Job", name), fmt.Sprintf(format, word3, name))
}

// subjectOf returns the job and the task that a call of the API is about, as far as it says.
func subjectOf(c *call) (job, task string) {
	switch path := c.path; {
	case path == "pool/{}":
		return "", ""
	case path == "iso8601", path == "dependency":
		var document struct{ Name string }
		_ = json.Unmarshal(c.body, &document) // a body without a name is refused elsewhere
		return document.Name, ""
	case path == "apply":
		var set struct{ Jobs []struct{ Name string } }
		_ = json.Unmarshal(c.body, &set)
		var names []string
		for _, j := range set.Jobs {
			names = append(names, j.Name)
		}
		return strings.Join(names, ", "), ""
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
