package main

import (
	"cmp"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// answerBuffer is how much of a long answer is written at a time, and what an answer
	// takes of the memory for answers unless it fits in smallAnswer, or is written in a larger piece.
	answerBuffer = 64 << 10
	smallAnswer  = 4 << 10
	// gzipMemory is what the state of a compressor takes.
	gzipMemory = 1200 << 10
	// gzipThreshold is the size of a first write below which an answer isn't worth compressing.
	gzipThreshold = 1024
)

var gzipPool = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is valid
	return z
}}

// A response is a ResponseWriter that remembers what was sent. It is where answers are bounded: what a
// client has not read yet takes memory, which an answer must reserve before it begins, and a
// client that reads nothing for stallTimeout is dropped.
type response struct {
	http.ResponseWriter
	status    int
	size      int64
	streams   bool   // has no end; see stream
	forwarded string // the leader that made it
	call      *call  // nil if it never came to one
	reason    string // why the call failed

	compress bool // if the first write is worth it
	z        *gzip.Writer
	share    *share    // of the memory for answers
	held     int64     // bytes of the share
	begun    bool      // the header has gone out
	until    time.Time // when all of it must be sent
	lasts    time.Duration
	failed   error
}

// WriteHeader records the status, which is sent with the first write, when it is clear whether there is room.
func (a *response) WriteHeader(status int) {
	if status < 200 {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	if a.status == 0 {
		a.status = status
	}
}

func (a *response) Write(p []byte) (int, error) {
	if a.failed != nil {
		return 0, a.failed
	}
	a.status = a.code()
	if !a.hold(len(p)) {
		a.failed = errNoRoom
		return 0, a.failed
	}
	a.begin(p)
	if a.z != nil {
		return a.z.Write(p)
	}
	return wire{a}.Write(p)
}

// hold reserves what a write of n bytes needs, until the end.
func (a *response) hold(n int) bool {
	need := int64(max(n, answerBuffer))
	if n <= smallAnswer || need <= a.held {
		return true
	}
	if !a.share.grow(need - a.held) {
		return false
	}
	a.held = need
	return true
}

// refused reports whether there was no room for the answer. Then nothing has been sent, and the response
// is ready for another, small one.
func (a *response) refused() bool {
	if a.failed == nil || a.begun {
		return false
	}
	a.failed, a.status = nil, 0
	clear(a.Header())
	return true
}

// begin sends the header, before a first write of p.
func (a *response) begin(p []byte) {
	if a.begun {
		return
	}
	a.begun = true
	h := a.Header()
	if a.compress && a.status == http.StatusOK && len(p) >= gzipThreshold && h.Get("Content-Encoding") == "" &&
		compressible(h.Get("Content-Type")) && a.share.grow(gzipMemory) { // without room for that, it is sent as it is
		h.Set("Content-Encoding", "gzip")
		h.Del("Content-Length")
		a.z = gzipPool.Get().(*gzip.Writer)
		a.z.Reset(wire{a})
	}
	a.extend()
	a.ResponseWriter.WriteHeader(a.code())
}

// A wire writes to a response's connection, in pieces, each of which must go out in time.
type wire struct{ *response }

func (w wire) Write(p []byte) (n int, err error) {
	for first := true; err == nil && (first || n < len(p)); first = false {
		w.extend()
		var sent int
		sent, err = w.ResponseWriter.Write(p[n:min(len(p), n+answerBuffer)])
		n += sent
	}
	w.size += int64(n)
	return n, err
}

// extend sets the deadline for the next piece.
func (a *response) extend() {
	now := time.Now()
	limit := now.Add(stallTimeout)
	if a.until.IsZero() {
		a.until = now.Add(cmp.Or(a.lasts, answerTimeout))
	}
	if !a.streams && limit.After(a.until) {
		limit = a.until
	}
	http.NewResponseController(a.ResponseWriter).SetWriteDeadline(limit) // not every writer has one
}

// FlushError sends what has been written so far.
func (a *response) FlushError() error {
	a.begin(nil)
	if a.z != nil {
		if err := a.z.Flush(); err != nil {
			return err
		}
	}
	a.extend()
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// close ends an answer that is complete.
func (a *response) close() {
	if a.failed == nil && a.status != 0 {
		a.begin(nil)
	}
	if a.z == nil {
		return
	}
	a.z.Close() // an error is the client's connection; the next write would have met it too
	gzipPool.Put(a.z)
	a.z = nil
}

// stream allows the answer to last as long as the client reads it. The
// server's deadlines are for whole requests and answers.
func (a *response) stream() {
	a.streams = true
	http.NewResponseController(a.ResponseWriter).SetReadDeadline(time.Time{}) // not every writer has one
}

// Unwrap lets http.ResponseController reach the connection.
func (a *response) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// code returns the status sent, which is 200 if none was set.
func (a *response) code() int { return cmp.Or(a.status, http.StatusOK) }

func compressible(contentType string) bool {
	return strings.HasPrefix(contentType, "text/") && !strings.HasPrefix(contentType, "text/event-stream") ||
		strings.HasPrefix(contentType, "application/json") || strings.HasPrefix(contentType, "application/javascript") ||
		strings.HasPrefix(contentType, "image/svg")
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header["Accept-Encoding"], ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			return quality(params) > 0
		}
	}
	return false
}

// quality returns the q parameter of one element of an Accept header, 1 if it has none.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(p), "="); ok && strings.EqualFold(strings.TrimSpace(k), "q") {
			if q, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
				return q
			}
		}
	}
	return 1
}
