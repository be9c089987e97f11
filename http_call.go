package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A call is one request on its way to an answer.
type call struct {
	w       *response
	r       *http.Request
	server  *server
	api     bool // below one of the API's prefixes, so errors have the form of dialect
	dialect dialect
	local   bool   // needs no leader, and changes nothing that is stored
	limit   int64  // of the body, 0 for bodyLimit
	body    []byte // all of it, once read

	path      string     // of the API's resource
	params    []string   // what the {} of the path stand for
	scheduler *scheduler // that leads, for an operation that needs it
	// subject says for the audit line which job and task a call of the API is about; nil where nothing is known.
	subject func(*call) (job, task string)
}

// An apiError is an answer that isn't a success. Without texts it has no body.
type httpError struct {
	status int
	text   string // unprefixed paths
	text3  string // /v1; text if empty
	retry  int    // seconds for Retry-After, 0 for none
}

func (e *httpError) Error() string { return fmt.Sprintf("%d %s", e.status, e.text) }

// refuse is a 400 that says why.
func refuse(format string, args ...any) error {
	return &httpError{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...)}
}

// finish writes the answer to a call that failed; without an error everything has been written.
func (c *call) finish(err error) {
	if err == nil || c.r.Context().Err() != nil {
		return
	}
	e, ok := errors.AsType[*httpError](err)
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
func (c *call) explain(err error) *httpError {
	if errors.Is(err, errBusy) {
		return &httpError{status: http.StatusServiceUnavailable, text: err.Error(), retry: 1}
	}
	if errors.Is(err, errCrowded) {
		return &httpError{status: http.StatusTooManyRequests, text: err.Error(), retry: 10}
	}
	if je, ok := errors.AsType[*jobError](err); ok {
		return &httpError{status: http.StatusBadRequest, text: je.Error()}
	}
	c.server.log.Error("request failed", "method", c.r.Method, "path", c.r.URL.EscapedPath(), "error", err)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return &httpError{status: http.StatusInsufficientStorage, text: "the change could not be stored: " + pe.Err.Error()}
	}
	return &httpError{status: http.StatusInternalServerError, text: "internal error; see the log"}
}

// json answers 200 with a document.
func (c *call) json(v any) error { return c.reply(typeJSON, encode(v)) }

// reply answers 200.
func (c *call) reply(contentType string, body []byte) error {
	c.w.Header().Set("Content-Type", contentType)
	c.w.Write(body)
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

const typeJSON = "application/json"

// readBody reads the whole body, which is small, so that the request can be sent again.
func (c *call) readBody() error {
	limit := cmp.Or(c.limit, bodyLimit)
	if c.limit > bodyLimit {
		// Fails only where there is no connection behind the response, and so no deadline.
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(largeBodyTimeout))
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &httpError{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("the body is larger than %d MiB", limit>>20)}
	}
	if err != nil {
		return refuse("the body could not be read: %v", err)
	}
	// ReadTimeout was for the request; the answer may take longer. An error means that there is no deadline.
	http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	c.body = body
	c.r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// errorPage writes what answers a request outside the API that failed.
func errorPage(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.Header().Set("Cache-Control", "must-revalidate,no-cache,no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	var b bytes.Buffer
	fmt.Fprintf(&b, "<html><head><title>Error %d %s</title></head>\n<body><h2>HTTP ERROR: %d</h2>\n<pre>%s</pre></body></html>\n",
		status, http.StatusText(status), status, html.EscapeString(reason))
	w.Write(b.Bytes())
}

// A response is a ResponseWriter that remembers what was sent.
type response struct {
	http.ResponseWriter
	status    int
	size      int64
	streams   bool   // has no end; see stream
	forwarded string // the leader that made it
	call      *call  // nil if it never came to one
	reason    string // why the call failed
}

func (a *response) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *response) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.streams {
		http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(streamTimeout)) // not every writer has one
	}
	n, err := a.ResponseWriter.Write(p)
	a.size += int64(n)
	return n, err
}

// stream says that the answer may last for as long as the client reads it. The
// deadlines of the server are for whole requests and answers.
func (a *response) stream() {
	a.streams = true
	http.NewResponseController(a.ResponseWriter).SetReadDeadline(time.Time{}) // not every writer has one
}

// Unwrap lets http.ResponseController reach the connection.
func (a *response) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// code is the status sent, which is 200 if nobody has said anything.
func (a *response) code() int { return cmp.Or(a.status, http.StatusOK) }

const typeEvents = "text/event-stream"

// done answers a change: 204 without a body, which clients insist on, or err.
func (c *call) done(err error) error {
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", typeJSON)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
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
		return 0, &httpError{status: http.StatusNotFound}
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
