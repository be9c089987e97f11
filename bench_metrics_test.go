package main

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkMetricsPerRun(b *testing.B) {
	m := newMetrics("1")
	job := &Job{Name: "nightly"}
	now := time.Now()
	run := &Run{ID: "ct:1:0:nightly:", Job: job.Name, Due: now.UnixMilli(), Started: now.UnixMilli(), State: runFinished}
	for b.Loop() {
		m.observe(jobEvent{Kind: eventStarted, Job: job, Run: run, Time: now})
		m.observe(jobEvent{Kind: eventFinished, Job: job, Run: run, Time: now})
	}
}

func BenchmarkMetricsReport(b *testing.B) {
	m := newMetrics("1")
	for i := range jobSeriesLimit {
		for range jobSampleSize {
			m.jobRuns.succeeded(fmt.Sprint("job", i), float64(i))
		}
	}
	b.Run("dropwizard", func(b *testing.B) {
		for b.Loop() {
			m.dropwizardJSON(time.Now())
		}
	})
	b.Run("prometheus", func(b *testing.B) {
		for b.Loop() {
			m.prometheusText()
		}
	})
}
