package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A request is a change that a client insists on: it sends it under one request id, to any
// instance, until it is acknowledged.
type request struct {
	id           string // to send; "" to have the first instance give it one
	method, path string
	body         string
	job          string // whose run it causes
	arguments    string // of that run
	acknowledged bool
	attempts     int
	took         time.Duration
}

// impatientClient asks the next instance rather than wait.
var impatientClient = &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// plainClient is one without tricks of its own: it sends each request once and takes no 5xx.
var plainClient = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}

// send sends a request to one instance.
func (r *request) send(client *http.Client, v *instance) (status int, err error) {
	req, err := http.NewRequest(r.method, "http://"+v.addr+r.path, strings.NewReader(r.body))
	if err != nil {
		return 0, err
	}
	if r.body != "" {
		req.Header.Set("Content-Type", typeJSON)
	}
	if r.id != "" {
		req.Header.Set(requestIDHeader, r.id)
	}
	r.attempts++
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

// creation and start are requests that cause one run each.
func (w *workload) creation(name string) *request {
	return &request{method: "POST", path: "/scheduler/iso8601", job: name, body: jobDocument(name, w.marks.command(name), `"schedule":"R1//PT1S"`)}
}

func (w *workload) manualRun(job, arguments string) *request {
	return &request{method: "PUT", path: "/scheduler/job/" + job + "?arguments=" + arguments, job: job, arguments: arguments}
}

// createManual makes a job that runs only when it is asked to, with arguments that only its id shows.
func (w *workload) createManual(t *testing.T, v *instance, name string) {
	t.Helper()
	v.mustCall(t, "POST", "/scheduler/iso8601", jobDocument(name, w.marks.command(name)+"; :", `"schedule":"R1/2100-01-01T00:00:00.000Z/PT1H"`), 204)
}

// runs counts the runs that a request has caused.
func (w *workload) runs(t *testing.T, r *request) (n int) {
	t.Helper()
	for _, m := range w.marks.of(t, r.job) {
		if strings.HasSuffix(m.id, ":"+r.arguments) {
			n++
		}
	}
	return n
}

// judgeRequests checks that each acknowledged request has caused one run, and no other more than one.
func (w *workload) judgeRequests(t *testing.T, requests []*request) {
	t.Helper()
	for _, r := range requests {
		if n := w.runs(t, r); n > 1 || r.acknowledged && n == 0 {
			t.Errorf("%s %s for %s, sent %d times, acknowledged %t, caused %d runs", r.method, r.path, r.job, r.attempts, r.acknowledged, n)
		}
	}
}

// awaitRequests waits until each acknowledged request has caused its run, and nothing is left to run.
func (c *threesome) awaitRequests(t *testing.T, requests []*request) {
	t.Helper()
	v := c.instances[0]
	v.until(t, "every acknowledged request has caused a run", func() bool {
		return !slices.ContainsFunc(requests, func(r *request) bool { return r.acknowledged && c.runs(t, r) == 0 })
	})
	v.until(t, "no run is open", v.isIdle)
}

// insist sends requests, one after the other, to instances in turn until stop is closed.
func (c *threesome) insist(stop <-chan struct{}, manual []string, chance *rand.Rand) (requests []*request) {
	for i := 0; ; i++ {
		r := c.creation(fmt.Sprintf("once%05d", i))
		if i%2 == 1 {
			r = c.manualRun(manual[i/2%len(manual)], fmt.Sprintf("r%d", i))
		}
		r.id = r.job + "-" + r.arguments
		requests = append(requests, r)
		start := time.Now()
		for n := chance.IntN(len(c.instances)); !r.acknowledged; n++ {
			status, err := r.send(impatientClient, c.instances[n%len(c.instances)])
			r.acknowledged = err == nil && status == 204
			if !r.acknowledged && time.Since(start) > time.Minute {
				break
			}
			select {
			case <-stop:
				return requests
			case <-time.After(time.Duration(chance.Int64N(int64(100 * time.Millisecond)))):
			}
		}
		r.took = time.Since(start)
	}
}
