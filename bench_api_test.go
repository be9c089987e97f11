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

// A search among 100,000 jobs. The goal is 2 ms.
func BenchmarkSearch(b *testing.B) {
	v := newView()
	for chunk := range 100 {
		var change viewChange
		for i := range 1000 {
			n := chunk*1000 + i
			change.set = append(change.set, &jobView{lists: &lists{}, job: &Job{Name: fmt.Sprintf("job-%06d", n), Command: fmt.Sprintf("/usr/local/bin/backup --target %d --quiet", n)}})
		}
		v = v.with([]viewChange{change})
	}
	for _, c := range []struct {
		name string
		searched
		offset int
	}{
		{"name", searched{name: "job-099999"}, 0},
		{"command", searched{command: "target 77777 "}, 0},
		{"any", searched{name: "none of these", anywhere: "88888"}, 0},
		{"nothing", searched{name: "none of these"}, 0},
		{"common", searched{command: "backup"}, 0},
		{"last page of all", searched{command: "backup"}, 99_990},
	} {
		b.Run(c.name, func(b *testing.B) {
			cpu := processCPU(b)
			for b.Loop() {
				n := 0
				for range v.search(c.searched) {
					if n++; n >= c.offset+10 {
						break
					}
				}
			}
			b.ReportMetric(float64((processCPU(b)-cpu).Microseconds())/1000/float64(b.N), "cpu-ms")
		})
	}
	b.Run("the first of all", func(b *testing.B) {
		cpu := processCPU(b)
		for b.Loop() {
			again := *v
			again.chunks = nil
			for _, c := range v.chunks {
				again.chunks = append(again.chunks, &viewChunk{c.jobs, new(chunkPieces)})
			}
			for range again.search(searched{name: "none of these"}) {
			}
		}
		b.ReportMetric(float64((processCPU(b)-cpu).Microseconds())/1000/float64(b.N), "cpu-ms")
	})
}
