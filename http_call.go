package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A call is one request on its way to an answer.
type call struct {
	w       *response
	r       *http.Request
	server  *server
	api     bool // below one of the API's prefixes, so errors are in the form of its dialect
	dialect dialect
	local   bool        // needs no leader, and changes nothing that is stored
	private bool        // not for pages of other origins
	who     *caller     // who asks; nil where everybody may do everything
	rule    rule        // of the table of access, for what is asked for
	share   *share      // of the memory for bodies and answers
	stream  *bodyStream // the body of an operation that reads it while it arrives; nil for all others
	body    []byte      // all of it, once read

	path      string     // of the API's resource
	params    []string   // what the {} of the path matched
	scheduler *scheduler // that leads, for an operation that needs it
	mandate   *mandate   // what the operation may change; nil for everything
	// subject says for the audit line which job and task a call of the API is about; nil where nothing is known.
	subject func(*call) (job, task string)
}

// An httpError is an answer that isn't a success. Without texts it has no body.
type httpError struct {
	status int
	text   string // unprefixed paths
	text3  string // /v1; text if empty
	retry  int    // seconds for Retry-After, 0 for none
}

func (e *httpError) Error() string { return fmt.Sprintf("%d %s", e.status, e.text) }

// refuse returns a 400 that says why.
func refuse(format string, args ...any) error {
	return &httpError{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...)}
}

// finish writes the answer to a call that failed; if err is nil everything has been written.
func (c *call) finish(err error) {
	if err == nil || c.r.Context().Err() != nil {
		return
	}
	e := c.explain(err)
	c.w.reason = e.text
	h := c.w.Header()
	if e.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge(c.server.realm))
	} else {
		c.allowOrigins()
	}
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

// admit is nil if the one who asks has the role for a path, as the table of access has it.
func (c *call) admit(path string) error {
	if c.who == nil {
		return nil
	}
	c.rule = ruleFor(c.r.Method, path)
	return c.rule.permits(c.who)
}

// checkVoucher is nil unless another instance has vouched for the one who asks with another body than this.
func (c *call) checkVoucher() error {
	if c.who == nil || c.who.body == "" || c.stream == nil && c.body != nil && c.who.body == bodyDigest(c.body) {
		return nil
	}
	return errUnproven
}

// rights reports whether the one who asks has still what rights he had, and returns a channel that is closed when that is to be asked
// again, nil for never.
func (c *call) rights() (still bool, changed <-chan struct{}) {
	if c.who == nil {
		return true, nil
	}
	return c.server.access.still(c.who)
}

// allowOrigins lets a page of any other origin read the answer, if the original did.
func (c *call) allowOrigins() {
	if !c.private {
		c.w.Header().Set("Access-Control-Allow-Origin", "*")
	}
}

// refusalOf returns the answer to what a term has refused without doing anything, and goes on; nil for any other error.
func refusalOf(err error) *httpError {
	switch {
	case errors.Is(err, errUnproven):
		return &httpError{status: http.StatusUnauthorized, text: "Unauthorized"}
	case errors.Is(err, errTooManyPasswords):
		return &httpError{status: http.StatusTooManyRequests, text: err.Error(), retry: 1}
	case errors.Is(err, errBusy), errors.Is(err, errNoRoom):
		return &httpError{status: http.StatusServiceUnavailable, text: err.Error(), retry: 1}
	case errors.Is(err, errCrowded):
		return &httpError{status: http.StatusTooManyRequests, text: err.Error(), retry: 10}
	case errors.Is(err, errIDReused):
		return &httpError{status: http.StatusConflict, text: err.Error()}
	}
	if e, ok := errors.AsType[*httpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*notYours](err); ok {
		return &httpError{status: http.StatusForbidden, text: e.text}
	}
	if je, ok := errors.AsType[*jobError](err); ok {
		return &httpError{status: http.StatusBadRequest, text: je.Error()}
	}
	return nil
}

// explain turns an error of the scheduler into an answer.
func (c *call) explain(err error) *httpError {
	if e := refusalOf(err); e != nil {
		return e
	}
	c.server.log.Error("request failed", "method", c.r.Method, "path", c.r.URL.EscapedPath(), "error", err)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		text := "the change could not be stored: " + pe.Err.Error()
		if isFull(err) {
			text += "; make room in " + filepath.Dir(pe.Path) + " or elsewhere on that disk, and try again"
		}
		return &httpError{status: http.StatusInsufficientStorage, text: text}
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

// long answers 200 piece by piece, so that nobody has to hold the whole answer. The caller flushes at the
// end, and stops at an error: the client has gone, or there is no room.
func (c *call) long(contentType string) *bufio.Writer {
	c.w.Header().Set("Content-Type", contentType)
	return bufio.NewWriterSize(c.w, answerBuffer)
}

// writeList writes a JSON list of what document makes of the items. It stops at an error.
func writeList[T any](b *bufio.Writer, items iter.Seq[T], document func(T) []byte) error {
	separator := "["
	for item := range items {
		b.WriteString(separator)
		separator = ","
		if _, err := b.Write(document(item)); err != nil {
			return err
		}
	}
	if separator == "[" {
		b.WriteByte('[')
	}
	return b.WriteByte(']')
}

// query returns a query parameter. Broken percent escapes are taken literally.
func (c *call) query(name string) string {
	for pair := range strings.SplitSeq(c.r.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if unescapeQuery(k) == name {
			return unescapeQuery(v)
		}
	}
	return ""
}

// flag returns a query parameter that is true, false or absent.
func (c *call) flag(name string) (bool, error) {
	switch v := c.query(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, refuse("%s=%s: want true or false", name, v)
	}
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
	if c.r.ContentLength > bodyLimit {
		return errBodyTooLarge(bodyLimit)
	}
	body, err := c.readAll(http.MaxBytesReader(c.w, c.r.Body, bodyLimit))
	if err != nil {
		return explainBody(err)
	}
	// ReadTimeout was for the request; the answer may take longer. An error means that there is no deadline.
	http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	c.body = body
	if err := c.checkVoucher(); err != nil {
		return err
	}
	c.r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// readAll is io.ReadAll with a buffer that is no larger than what has arrived requires, and for which there is room.
func (c *call) readAll(from io.Reader) ([]byte, error) {
	var body []byte
	for {
		if len(body) == cap(body) {
			size := max(4*cap(body), 4<<10)
			if known := int(c.r.ContentLength); known > len(body) {
				size = min(size, known)
			}
			if !c.share.grow(int64(size)) {
				return nil, errNoRoom
			}
			c.share.shrink(int64(cap(body)))
			body = append(make([]byte, 0, size), body...)
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// explainBody turns an error of reading a body into an answer.
func explainBody(err error) error {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBodyTooLarge(e.Limit)
	}
	if errors.Is(err, errNoRoom) {
		return err
	}
	return refuse("the body could not be read: %v", err)
}

func errBodyTooLarge(limit int64) error {
	return &httpError{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("the body is larger than %d MiB", limit>>20)}
}

// A bodyStream is a body that is read while it arrives, and so only once. A client that
// sends nothing for stallTimeout is dropped, and one that takes more than largeBodyTimeout.
type bodyStream struct {
	from    io.ReadCloser
	control *http.ResponseController
	asked   bool        // the client sends nothing before we begin to read
	begun   atomic.Bool // what has been read can't be read again
	until   time.Time
}

func newBodyStream(c *call, limit int64) *bodyStream {
	return &bodyStream{
		from: http.MaxBytesReader(c.w, c.r.Body, limit), control: http.NewResponseController(c.w),
		asked: c.r.Header.Get("Expect") != "",
	}
}

func (b *bodyStream) Read(p []byte) (int, error) {
	now := time.Now()
	if !b.begun.Swap(true) {
		b.until = now.Add(largeBodyTimeout)
	}
	limit := now.Add(stallTimeout)
	if limit.After(b.until) {
		limit = b.until
	}
	b.control.SetReadDeadline(limit) // not every connection has one
	n, err := b.from.Read(p)
	if err != nil {
		b.control.SetReadDeadline(time.Time{})
		if err != io.EOF {
			err = &bodyError{err}
		}
	}
	return n, err
}

// drain reads what is left, so that a client that sends it gets to the answer.
func (b *bodyStream) drain() {
	if b.begun.Load() || !b.asked {
		_, _ = io.Copy(io.Discard, b) // a client that aborts does not want the answer
	}
}

// A bodyError is why a body that is read while it arrives has ended early.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read the body: " + e.err.Error() }

func (e *bodyError) Unwrap() error { return e.err }

// Close stops any reader. A body that nobody has begun to read can be read later.
func (b *bodyStream) Close() error {
	if !b.begun.Load() {
		return nil
	}
	return b.from.Close()
}

// errorPage writes the answer to a failed request outside the API.
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
			return nil, refuse("unknown key %q; known keys are %s", m.key, strings.Join(known, ", "))
		}
	}
	return doc, nil
}

// refuseBody returns a 400 for a body that isn't the required document.
func refuseBody(body []byte, err error) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return refuse("the request has no body; a JSON document is needed")
	}
	return refuse("%v", err)
}
