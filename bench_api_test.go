package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// sink is a response that goes nowhere.
type sink struct {
	header http.Header
	size   int64
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { s.size += int64(len(p)); return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// The goal is 200 MB/s of body with 10,000 jobs.
func BenchmarkListJobs(b *testing.B) {
	sch, do := testAPI(b)
	for i := range 10_000 {
		given(b, do, fmt.Sprintf(`{"name":"job-%05d","command":"/usr/bin/backup --target %d","owner":"ops@example.com","schedule":"R/2030-01-01T00:00:00Z/PT%dM"}`, i, i, i%500+1))
	}
	for _, path := range []string{"/scheduler/jobs", "/v1/scheduler/jobs"} {
		b.Run(path, func(b *testing.B) {
			s := newAPI(leading(sch))
			r := httptest.NewRequest("GET", path, nil)
			for b.Loop() {
				w := &sink{header: http.Header{}}
				s.ServeHTTP(w, r)
				b.SetBytes(w.size)
			}
		})
	}
}

func BenchmarkOverview(b *testing.B) {
	sch := testScheduler(b)
	s := newAPI(leading(sch))
	do := func(request string) *http.Response { return send(b, s, request) }
	for i := range 1000 {
		given(b, do, scheduledJob(fmt.Sprintf("some.job.with-a-name-%d", i)))
	}
	for b.Loop() {
		res := do("GET /v1/scheduler/overview")
		b.SetBytes(int64(len(bodyOf(b, res))))
	}
}
