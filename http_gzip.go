package main

import (
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// gzipThreshold is the size of a first write below which an answer isn't worth compressing.
const gzipThreshold = 1024

var gzipPool = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is valid
	return z
}}

// A gzipWriter compresses the body of a successful answer that starts with a
// large enough write. close must be called at the end.
type gzipWriter struct {
	http.ResponseWriter
	z       *gzip.Writer
	decided bool
}

func (g *gzipWriter) WriteHeader(status int) {
	if status != http.StatusOK {
		g.decided = true
	}
	if g.decided {
		g.ResponseWriter.WriteHeader(status)
	} // 200 goes out with the first write, when it is clear whether to compress
}

func (g *gzipWriter) Write(p []byte) (int, error) {
	if !g.decided {
		g.decide(p)
	}
	if g.z != nil {
		return g.z.Write(p)
	}
	return g.ResponseWriter.Write(p)
}

func (g *gzipWriter) decide(p []byte) {
	g.decided = true
	h := g.Header()
	if len(p) < gzipThreshold || h.Get("Content-Encoding") != "" || !compressible(h.Get("Content-Type")) {
		return
	}
	h.Set("Content-Encoding", "gzip")
	h.Del("Content-Length")
	g.z = gzipPool.Get().(*gzip.Writer)
	g.z.Reset(g.ResponseWriter)
}

// Unwrap lets http.ResponseController reach the connection.
func (g *gzipWriter) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gzipWriter) close() {
	if g.z == nil {
		return
	}
	g.z.Close() // an error is the client's connection; the next write would have met it too
	gzipPool.Put(g.z)
}

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

// quality is the q parameter of one element of an Accept header, 1 without.
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
