package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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

// A resource is one path below both prefixes and what can be done with it.
type resource struct {
	path       string // segments; {} stands for one of any content
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
	limit  int64  // of the body, 0 for bodyLimit
}

const (
	typeJSON = "application/json"
	typeText = "text/plain"
)

// routes is every path of the API: the union of what 2.4, 2.5 and 3.0 serve, and
// our additions under first segments of their own. Where two paths match, the
// earlier one counts.
func (s *server) routes() []resource {
	get := func(h func(*call) error) operation { return operation{method: http.MethodGet, handle: h} }
	put := func(h func(*call) error) operation { return operation{method: http.MethodPut, handle: h} }
	del := func(h func(*call) error) operation { return operation{method: http.MethodDelete, handle: h} }
	document := func(method string, h func(*call) error) operation {
		return operation{method: method, body: true, handle: h}
	}
	here := func(o operation) operation { o.local = true; return o }
	timed := func(name string, o operation) operation { o.timed = name; return o }
	return []resource{
		{"jobs", typeJSON, true, []operation{timed("JobManagementResource.list", get(s.listJobs))}},
		{"jobs/search", typeJSON, true, []operation{timed("JobManagementResource.search", get(s.searchJobs))}},
		{"jobs/summary", typeJSON, true, []operation{get(s.summarizeJobs)}},
		{"job/stat/{}", typeJSON, true, []operation{get(s.jobStatistics)}},
		{"job/success/{}", typeJSON, true, []operation{timed("JobManagementResource.markJobSuccessful", put(s.markSuccess))}},
		{"job/{}", typeJSON, true, []operation{get(s.showJob),
			timed("JobManagementResource.trigger", put(s.runJob)), timed("JobManagementResource.delete", del(s.deleteJob))}},
		{"job/{}/task/{}/progress", typeJSON, true, []operation{document(http.MethodPost, s.addProgress)}},
		{"iso8601", typeJSON, true, []operation{timed("Iso8601JobResource.post", document(http.MethodPost, s.putScheduled)),
			timed("Iso8601JobResource.put", document(http.MethodPut, s.putScheduled))}},
		{"dependency", typeJSON, false, []operation{timed("DependentJobResource.post", document(http.MethodPost, s.putDependent)),
			timed("DependentJobResource.put", document(http.MethodPut, s.putDependent))}},
		{"task/kill/{}", typeJSON, false, []operation{del(s.killJob)}},
		{"task/all", typeJSON, false, []operation{del(s.purge)}},
		{"task/{}", typeJSON, false, []operation{document(http.MethodPut, s.finishTask)}},
		{"graph/dot", typeText, true, []operation{timed("GraphManagementResource.dotGraph", get(s.graphDot))}},
		{"graph/csv", typeText, true, []operation{timed("GraphManagementResource.jsonGraph", get(s.graphCSV))}},
		{"stats/{}", typeJSON, false, []operation{timed("StatsResource.getPerf", get(s.percentiles))}},
		{"leader", typeJSON, false, []operation{here(get(s.showLeader))}},

		{"schedule/preview", typeJSON, true, []operation{here(document(http.MethodPost, s.previewSchedule))}},
		{"upcoming/{}", typeJSON, false, []operation{get(s.upcoming)}},
		{"runs/{}", typeJSON, false, []operation{get(s.listRuns)}},
		{"queued/{}", typeJSON, false, []operation{get(s.explainQueued)}},
		{"run/{}/stdout", "", false, []operation{get(s.showOutput("stdout"))}},
		{"run/{}/stderr", "", false, []operation{get(s.showOutput("stderr"))}},
		{"overview", typeJSON, false, []operation{get(s.showOverview)}},
		{"events", typeEvents, false, []operation{get(s.streamEvents)}},
		{"problems", typeJSON, false, []operation{get(s.listProblems)}},
		{"backup", typeJSON, false, []operation{get(s.makeBackup)}},
		{"restore", typeJSON, false, []operation{{method: http.MethodPost, body: true, handle: s.restoreBackup, limit: maxBackup}}},
	}
}

// A call is one request on its way to an answer.
type call struct {
	w         *response
	r         *http.Request
	server    *server
	api       bool // below one of the prefixes, so errors have the form of dialect
	dialect   dialect
	path      string // of the resource
	operation *operation
	params    []string // what the {} of the path stand for
	scheduler *scheduler
	body      []byte // all of it, once read
	limit     int64  // of the body, 0 for bodyLimit
}

// answerAPI finds the operation that is asked for and has it done here or by the leader.
func (s *server) answerAPI(c *call, rest string) error {
	if rest == "" {
		return methodNotAllowed(c, nil)
	}
	res := s.find(c, strings.TrimSuffix(rest, "/"))
	if res == nil {
		return &apiError{status: http.StatusNotFound}
	}
	if c.r.Method == http.MethodOptions {
		c.w.Header().Set("Allow", allowed(res))
		c.w.Header().Set("Access-Control-Allow-Origin", "*")
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
	c.operation = &op
	c.limit = op.limit
	if err := checkContentType(c.r.Header["Content-Type"], res.strict, op.body); err != nil {
		return err
	}
	if res.produces != "" && !accepts(c.r.Header["Accept"], res.produces) {
		return &apiError{status: http.StatusNotAcceptable}
	}
	if err := checkOrigin(c.r, s.hostname); err != nil {
		return err
	}
	serve := func(sch *scheduler) (err error) {
		start := time.Now()
		s.respond(c, func(w http.ResponseWriter) {
			err = op.handle(&call{w: &response{ResponseWriter: w}, r: c.r, server: s, api: true, dialect: c.dialect,
				params: c.params, scheduler: sch, body: c.body})
		})
		if op.timed != "" && s.resourceCall != nil {
			s.resourceCall(op.timed, time.Since(start))
		}
		return err
	}
	if op.local {
		if err := c.readBody(); err != nil {
			return err
		}
		return serve(nil)
	}
	return s.dispatch(c, serve)
}

// find returns the first resource whose path matches, with its parameters in c.
func (s *server) find(c *call, path string) *resource {
	segments := strings.Split(path, "/")
	for i, raw := range segments {
		raw, _, _ = strings.Cut(raw, ";") // matrix parameters are ignored
		text, err := url.PathUnescape(raw)
		if err != nil {
			return nil
		}
		segments[i] = text
	}
	for i := range s.resources {
		if params, ok := match(s.resources[i].path, segments); ok {
			c.path, c.params = s.resources[i].path, params
			return &s.resources[i]
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

// allowed is the Allow header of a resource, OPTIONS alone for nil.
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
	return &apiError{status: http.StatusMethodNotAllowed}
}

// checkContentType applies the rules of the original's framework: a strict
// resource refuses every other type than JSON even on requests without a body,
// the others take any type called JSON, and a document needs to say what it is.
func checkContentType(header []string, strict, body bool) error {
	unsupported := &apiError{status: http.StatusUnsupportedMediaType}
	if len(header) == 0 || header[0] == "" {
		if body {
			return unsupported
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
	if strict {
		return unsupported
	}
	switch {
	case subtype == "json", strings.HasSuffix(subtype, "+json"), subtype == "javascript", subtype == "x-javascript":
		return nil
	}
	return unsupported
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

// An apiError is an answer that isn't a success. Without texts it has no body.
type apiError struct {
	status int
	text   string // unprefixed paths
	text3  string // /v1; text if empty
	retry  int    // seconds for Retry-After, 0 for none
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.status, e.text) }

// refuse is a 400 that says why.
func refuse(format string, args ...any) error {
	return &apiError{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...)}
}

// unmet is a 400 with the text of the original's failed requirement, which 3.0
// sends as the first line of a stack trace.
func unmet(format string, args ...any) error {
	text := "requirement failed: " + fmt.Sprintf(format, args...)
	return illegal(text, text)
}

// illegal is a 400 for the original's IllegalArgumentException.
func illegal(text, text3 string) error {
	return &apiError{status: http.StatusBadRequest, text: text, text3: "java.lang.IllegalArgumentException: " + text3 + "\n"}
}

// noJob says that there is no such job. 3.0 calls jobs JobSchedule where it changes them.
func noJob(name, word3 string) error {
	const format = "requirement failed: %s '%s' not found"
	return illegal(fmt.Sprintf(format, "Job", name), fmt.Sprintf(format, word3, name))
}

// finish writes the answer to a call that failed; without an error everything has been written.
func (c *call) finish(err error) {
	if err == nil || c.r.Context().Err() != nil {
		return
	}
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = c.explain(err)
	}
	c.w.reason = e.text
	h := c.w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if e.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(e.retry))
	}
	if !c.api {
		errorPage(c.w, e.status, e.text)
		return
	}
	if e.text == "" {
		h.Set("Content-Length", "0")
		c.w.WriteHeader(e.status)
		return
	}
	h.Set("Content-Type", typeJSON)
	c.w.WriteHeader(e.status)
	if c.dialect != dialect3 {
		c.w.Write([]byte(e.text))
		return
	}
	message := e.text3
	if message == "" {
		message = e.text
	}
	c.w.Write(encode(struct {
		Message string `json:"message"`
		Status  string `json:"status"`
	}{message, http.StatusText(e.status)}))
}

// explain turns an error of the scheduler into an answer.
func (c *call) explain(err error) *apiError {
	if errors.Is(err, errBusy) {
		return &apiError{status: http.StatusServiceUnavailable, text: err.Error(), retry: 1}
	}
	if je, ok := errors.AsType[*jobError](err); ok {
		return &apiError{status: http.StatusBadRequest, text: je.Error()}
	}
	c.server.log.Error("request failed", "method", c.r.Method, "path", c.r.URL.EscapedPath(), "error", err)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return &apiError{status: http.StatusInsufficientStorage, text: "the change could not be stored: " + pe.Err.Error()}
	}
	return &apiError{status: http.StatusInternalServerError, text: "internal error; see the log"}
}

// json answers 200 with a document.
func (c *call) json(v any) error { return c.reply(typeJSON, encode(v)) }

// reply answers 200.
func (c *call) reply(contentType string, body []byte) error {
	c.w.Header().Set("Content-Type", contentType)
	c.w.Write(body)
	return nil
}

// done answers a change: 204 without a body, which clients insist on, or err.
func (c *call) done(err error) error {
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", typeJSON)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// query returns a query parameter. Broken percent escapes stand for themselves.
func (c *call) query(name string) string {
	for pair := range strings.SplitSeq(c.r.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if unescapeQuery(k) == name {
			return unescapeQuery(v)
		}
	}
	return ""
}

func unescapeQuery(s string) string {
	if t, err := url.QueryUnescape(s); err == nil {
		return t
	}
	return strings.ReplaceAll(s, "+", " ")
}

// number returns an integer query parameter, fallback if it is absent or empty.
// One that isn't a number is answered with 404, as the original's framework did.
func (c *call) number(name string, bits int, fallback int64) (int64, error) {
	text := c.query(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return 0, &apiError{status: http.StatusNotFound}
	}
	return n, nil
}

// document reads the body as a small document that has no keys but those known.
func (c *call) document(known ...string) (object, error) {
	root, err := parseValue(c.body)
	if err != nil {
		return nil, refuseBody(c.body, err)
	}
	doc := root.object()
	if doc == nil {
		return nil, refuse("the document is not a JSON object")
	}
	for _, m := range doc {
		if !slices.Contains(known, m.key) {
			return nil, refuse("unknown key %q; known are %s", m.key, strings.Join(known, ", "))
		}
	}
	return doc, nil
}

// refuseBody is a 400 for a body that isn't the document needed.
func refuseBody(body []byte, err error) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return refuse("the request has no body; a JSON document is needed")
	}
	return refuse("%v", err)
}
