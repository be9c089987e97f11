package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// The job of demoMetrics has run three times, and failed for good once.
func demoMetrics() *metrics {
	m := newMetrics("1.2.3")
	job := &Job{Name: "nightly report"}
	due := time.Now().Add(-90 * time.Second).Truncate(time.Millisecond)
	for i := range 3 {
		r := &Run{ID: fmt.Sprint("ct:1:0:", i), Job: job.Name, Due: due.UnixMilli(), Started: due.Add(time.Second).UnixMilli(), State: runActive}
		m.observe(jobEvent{Kind: eventStarted, Job: job, Run: r, Time: due.Add(time.Second)})
		done := *r
		done.State = runFinished
		m.observe(jobEvent{Kind: eventFinished, Job: job, Run: &done, Time: due.Add(time.Duration(i+2) * time.Second)})
	}
	failed := &Run{Job: job.Name, State: runLost}
	m.observe(jobEvent{Kind: eventFailed, Job: job, Run: failed, Time: due})
	m.observe(jobEvent{Kind: eventRetriesExhausted, Job: job, Run: failed, Time: due})
	m.observe(jobEvent{Kind: eventMissed, Job: job, Run: &Run{State: runMissed, Count: 7}, Time: due})
	m.committed(3*time.Millisecond, 12, nil)
	m.queueNormal.set(4)
	m.queueHigh.from(func() float64 { return 2 })
	m.requestStarted("GET")(200)
	m.requestStarted("BREW")(418)
	m.resourceCall("JobManagementResource.list", time.Millisecond)
	return m
}

func TestMetricsTakeConcurrentUse(t *testing.T) {
	t.Parallel()
	m := newMetrics("1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				m.request("GET", 200, time.Duration(rand.IntN(1e9)))
				m.jobRuns.succeeded(fmt.Sprint(i%50), 1)
				m.lateness.observe(time.Second)
				m.queueNormal.add(1)
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			m.dropwizardJSON(time.Now())
			m.prometheusText()
		}
	})
	wg.Wait()
	if got := m.lateness.count(); got != 4000 || m.queueNormal.value() != 4000 || m.http.all.count() != 4000 {
		t.Errorf("counts = %d, %v, %d, want 4000 each", got, m.queueNormal.value(), m.http.all.count())
	}
}

func TestRequestsAreCountedOutEvenWithStrangeStatus(t *testing.T) {
	t.Parallel()
	m := newMetrics("1")
	for _, status := range []int{0, 99, 100, 204, 302, 599, 1000} {
		done := m.requestStarted(http.MethodPut)
		if m.http.active.count() != 1 {
			t.Errorf("active = %d, want 1", m.http.active.count())
		}
		done(status)
	}
	if m.http.active.count() != 0 || m.http.requests["PUT 5xx"].count() != 2 || m.http.requests["PUT 1xx"].count() != 3 {
		t.Errorf("active, 5xx, 1xx = %d, %d, %d, want 0, 2, 3", m.http.active.count(), m.http.requests["PUT 5xx"].count(), m.http.requests["PUT 1xx"].count())
	}
}
