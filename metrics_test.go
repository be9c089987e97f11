package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

func TestMeterDecaysAsDropwizardDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(time.Now())
		for range 300 {
			m.mark()
		}
		time.Sleep(5 * time.Second)
		if got := m.report(time.Now()).m1; got != 60 {
			t.Errorf("m1 after the first tick = %v, want 60 (300 in 5 s)", got)
		}
		time.Sleep(60 * time.Second)
		r := m.report(time.Now())
		for _, tt := range []struct {
			name      string
			got, want float64
		}{
			{"m1", r.m1, 60 * math.Exp(-1)},
			{"m5", r.m5, 60 * math.Exp(-1.0/5)},
			{"m15", r.m15, 60 * math.Exp(-1.0/15)},
			{"mean", r.whole, 300.0 / 65},
		} {
			if math.Abs(tt.got-tt.want) > 1e-9 {
				t.Errorf("%s a minute later = %v, want %v", tt.name, tt.got, tt.want)
			}
		}
	})
}

func TestReservoirPrefersRecentValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistogram(nil, time.Now())
		for range 5000 {
			h.observe(1)
		}
		time.Sleep(3 * time.Hour) // beyond a rescale
		for range 2000 {
			h.observe(100)
		}
		s := h.sample.snapshot()
		if len(s.samples) != reservoirSize {
			t.Errorf("sample has %d values, want %d", len(s.samples), reservoirSize)
		}
		if s.quantile(.5) != 100 || h.count() != 7000 {
			t.Errorf("median = %v of %d, want 100 of 7000", s.quantile(.5), h.count())
		}
	})
}

func TestSnapshotTakesQuantilesWithoutInterpolation(t *testing.T) {
	s := snapshotOf([]float64{5, 1, 2, 3, 4})
	for _, tt := range []struct{ q, want float64 }{{0, 1}, {.19, 1}, {.5, 3}, {.75, 4}, {.98, 5}, {1, 5}} {
		if got := s.quantile(tt.q); got != tt.want {
			t.Errorf("quantile(%v) = %v, want %v", tt.q, got, tt.want)
		}
	}
	if math.Abs(s.mean()-3) > 1e-12 || math.Abs(s.stddev()-math.Sqrt2) > 1e-12 || s.min() != 1 || s.max() != 5 {
		t.Errorf("mean, stddev, min, max = %v, %v, %v, %v, want 3, √2, 1, 5", s.mean(), s.stddev(), s.min(), s.max())
	}
	if empty := snapshotOf(nil); empty.quantile(.5) != 0 || empty.mean() != 0 || empty.max() != 0 || empty.stddev() != 0 {
		t.Errorf("an empty sample shows something else than 0")
	}
}

func TestDropwizardJSONHasTheNamesClientsRead(t *testing.T) {
	w := httptest.NewRecorder()
	demoMetrics().dropwizard(w, httptest.NewRequest("GET", "/metrics", nil))
	if got := w.Header().Get("Content-Type") + "; " + w.Header().Get("Cache-Control"); got != "application/json; must-revalidate,no-cache,no-store" {
		t.Errorf("headers = %q", got)
	}
	if !strings.HasPrefix(w.Body.String(), `{"version":"3.0.0","gauges":{"`) {
		t.Errorf("body starts %.60q", w.Body)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatalf("body is no JSON: %v", err)
	}
	const jetty = "org.eclipse.jetty.servlet.ServletContextHandler."
	for _, tt := range []struct{ section, name, want string }{
		{"gauges", queuePrefix + "queueSize", `{"value":4}`},
		{"gauges", queuePrefix + "highQueueSize", `{"value":2}`},
		{"counters", "jobs.run.success.nightly report", `{"count":3}`},
		{"counters", "jobs.run.failure.nightly report", `{"count":1}`},
		{"counters", revivePrefix + "reviveOffersCount", `{"count":0}`},
		{"counters", revivePrefix + "reviveOffersRequestCount", `{"count":0}`},
		{"counters", jetty + "active-requests", `{"count":0}`},
		{"counters", "chronos.runs.lost", `{"count":1}`},
		{"counters", "chronos.runs.missed", `{"count":7}`},
		{"histograms", "jobs.run.time.nightly report",
			`{"count":3,"max":4000,"mean":3000.0,"min":2000,"p50":3000.0,"p75":4000.0,"p95":4000.0,"p98":4000.0,"p99":4000.0,"p999":4000.0,"stddev":816.496580927726}`},
	} {
		var entries map[string]json.RawMessage
		json.Unmarshal(doc[tt.section], &entries)
		if got := string(entries[tt.name]); got != tt.want {
			t.Errorf("%s[%q] = %s, want %s", tt.section, tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct{ section, name, keys string }{
		{"meters", jetty + "2xx-responses", "count m15_rate m1_rate m5_rate mean_rate units"},
		{"timers", jetty + "get-requests", "count max mean min p50 p75 p95 p98 p99 p999 stddev m15_rate m1_rate m5_rate mean_rate duration_units rate_units"},
		{"timers", resourcePrefix + "JobManagementResource.list", "count max mean min p50 p75 p95 p98 p99 p999 stddev m15_rate m1_rate m5_rate mean_rate duration_units rate_units"},
	} {
		var entries map[string]json.RawMessage
		json.Unmarshal(doc[tt.section], &entries)
		if got := strings.Join(jsonKeys(entries[tt.name]), " "); got != tt.keys {
			t.Errorf("keys of %s[%q] = %q, want %q", tt.section, tt.name, got, tt.keys)
		}
		if names := jsonKeys(doc[tt.section]); !slices.IsSorted(names) {
			t.Errorf("names of %s are not sorted: %q", tt.section, names)
		}
	}
}

// TestDropwizardJSONHasTheGaugesOfAJVM: a collector asks 3.0 for them first, and takes nothing else
// if one is missing or is no number.
func TestDropwizardJSONHasTheGaugesOfAJVM(t *testing.T) {
	var doc struct {
		Gauges map[string]struct{ Value *float64 }
	}
	report := func() {
		if err := json.Unmarshal(newMetrics("test").dropwizardJSON(time.Now()), &doc); err != nil {
			t.Fatal(err)
		}
	}
	report()
	value := func(name string) float64 {
		t.Helper()
		v := doc.Gauges["jvm."+name].Value
		if v == nil {
			t.Fatalf("jvm.%s is missing", name)
		}
		return *v
	}
	for _, part := range []string{"heap", "non-heap", "total"} {
		used, committed := value("memory."+part+".used"), value("memory."+part+".committed")
		if !(0 < used && used <= 1.5*committed) { // one is read a little before the other
			t.Errorf("%s: %v bytes used of %v", part, used, committed)
		}
		if limit := value("memory." + part + ".max"); limit != -1 && limit < committed {
			t.Errorf("%s: max = %v, less than the %v in hand", part, limit, committed)
		}
		value("memory." + part + ".init")
	}
	for _, part := range []string{"heap", "non-heap"} {
		if usage := value("memory." + part + ".usage"); !(0 < usage && usage <= 1) {
			t.Errorf("%s: usage = %v, want a share", part, usage)
		}
	}
	if count := value("threads.count"); count < 1 || value("threads.daemon.count") != count-1 {
		t.Errorf("threads = %v, daemons = %v", count, value("threads.daemon.count"))
	}
	states := 0.0
	for _, state := range []string{"new", "runnable", "blocked", "waiting", "timed_waiting", "terminated"} {
		states += value("threads." + state + ".count")
	}
	if states < 1 {
		t.Error("no thread is in any state")
	}
	for _, name := range []string{"PS-MarkSweep", "PS-Scavenge"} {
		value("gc." + name + ".count")
		value("gc." + name + ".time")
	}
	before := value("gc.PS-MarkSweep.count")
	runtime.GC()
	report()
	if after := value("gc.PS-MarkSweep.count"); after <= before {
		t.Errorf("%v collections after one more than %v", after, before)
	}
}

// jsonKeys returns the keys of an object in their order.
func jsonKeys(object json.RawMessage) (keys []string) {
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.Token() // {
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return keys
		}
		keys = append(keys, key.(string))
		var value json.RawMessage
		dec.Decode(&value)
	}
	return keys
}

func TestDropwizardJSONIsIndentedWhenAsked(t *testing.T) {
	for query, want := range map[string]bool{"": false, "?pretty=true": true, "?pretty": true, "?pretty=false": false} {
		w := httptest.NewRecorder()
		newMetrics("1").dropwizard(w, httptest.NewRequest("GET", "/metrics"+query, nil))
		if got := strings.Contains(w.Body.String(), "\n  \"gauges\": {\n"); got != want {
			t.Errorf("GET /metrics%s is indented: %v, want %v", query, got, want)
		}
	}
}

func TestWantsPrometheusOnlyWhenTheScraperSaysSo(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                         false,
		"*/*":                      false,
		"application/json":         false,
		"text/html,*/*;q=0.8":      false,
		"text/plain":               false,
		"text/plain;version=0.0.4": true,
		"text/plain; version=\"0.0.4\";q=0.3,*/*;q=0.1":                                 true,
		"application/openmetrics-text; version=1.0.0; charset=utf-8":                    true,
		"application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*": true,
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Accept", accept)
		if got := wantsPrometheus(r); got != want {
			t.Errorf("wantsPrometheus(%q) = %v, want %v", accept, got, want)
		}
	}
}

func TestMetricsAnswerInTheFormAskedFor(t *testing.T) {
	const scraper = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
	for _, tt := range []struct {
		path, accept string
		status       int
		kind         string
	}{
		{"/metrics", "", 200, "application/json"},
		{"/metrics?local", "application/json, text/plain, */*", 200, "application/json"},
		{"/metrics", scraper, 200, prometheusType},
		{"/metrics/prometheus", "", 200, prometheusType},
		{"/metrics/prometheus", "application/json", 200, prometheusType},
		{"/metrics/else", "", 404, "text/plain; charset=utf-8"},
	} {
		r, w := httptest.NewRequest("GET", tt.path, nil), httptest.NewRecorder()
		r.Header.Set("Accept", tt.accept)
		newMetrics("1").ServeHTTP(w, r)
		if w.Code != tt.status || w.Header().Get("Content-Type") != tt.kind {
			t.Errorf("GET %s (%s) = %d %s, want %d %s", tt.path, tt.accept, w.Code, w.Header().Get("Content-Type"), tt.status, tt.kind)
		}
	}
}

// promtool runs Prometheus' own checker.
func promtool(t *testing.T, stdin []byte, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing: apt-get install prometheus")
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 && args[1] == "metrics" {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusTextPassesPromtool(t *testing.T) {
	w := httptest.NewRecorder()
	demoMetrics().prometheus(w, httptest.NewRequest("GET", "/metrics/prometheus", nil))
	if got := w.Header().Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type = %q", got)
	}
	promtool(t, w.Body.Bytes(), "check", "metrics")
	for _, line := range []string{
		`chronos_queue_runs{priority="normal"} 4`,
		`chronos_queue_runs{priority="high"} 2`,
		`chronos_runs_total{result="finished"} 3`,
		`chronos_runs_total{result="missed"} 7`,
		`chronos_run_lateness_seconds_bucket{le="1"} 3`,
		`chronos_run_lateness_seconds_bucket{le="0.5"} 0`,
		`chronos_run_lateness_seconds_bucket{le="+Inf"} 3`,
		`chronos_run_lateness_seconds_count 3`,
		`chronos_store_commit_records_sum 12`,
		`chronos_http_requests_total{method="GET",class="2xx"} 1`,
		`chronos_http_requests_total{method="OTHER",class="4xx"} 1`,
		`# TYPE chronos_http_requests_active gauge`,
	} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if !strings.Contains(w.Body.String(), `chronos_build_info{version="1.2.3",`) {
		t.Errorf("no build info with the version")
	}
}

func TestJobSeriesAreBoundedAndDroppedWithTheJob(t *testing.T) {
	table := newJobTable(3)
	for i := range 3 {
		table.succeeded(fmt.Sprint("job", i), 10)
	}
	table.failed("job0") // now the most recent one
	table.succeeded("job3", -1)
	var names []string
	for _, j := range table.all() {
		names = append(names, j.name)
	}
	if want := []string{"job0", "job2", "job3"}; !slices.Equal(names, want) {
		t.Errorf("jobs = %q, want %q", names, want)
	}
	if n := len(table.byName["job3"].Value.(*jobSeries).times); n != 0 {
		t.Errorf("a success without run time left %d samples", n)
	}
	table.drop("job0")
	table.drop("never seen")
	if n := len(table.all()); n != 2 {
		t.Errorf("%d jobs after a drop, want 2", n)
	}
	for i := range 1000 {
		table.succeeded("job2", float64(i))
	}
	if s := snapshotOf(table.byName["job2"].Value.(*jobSeries).times); len(s.samples) != jobSampleSize || s.min() != 1000-jobSampleSize || s.max() != 999 {
		t.Errorf("sample = %d values from %v to %v, want the last %d of 1000", len(s.samples), s.min(), s.max(), jobSampleSize)
	}
	if got := table.all()[0].timeCount; got != 1001 {
		t.Errorf("timeCount = %d, want 1001", got)
	}
}

func TestJobSeriesShowRunsAfterTheLastReport(t *testing.T) {
	table := newJobTable(10)
	for _, want := range []float64{1, 5, 9} {
		table.succeeded("nightly", want)
		for range 2 {
			if got := table.all()[0].shown.max; got != want {
				t.Errorf("max = %v, want %v", got, want)
			}
		}
	}
}

func TestMetricsTakeConcurrentUse(t *testing.T) {
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

func TestGraphiteLinesAreThoseOfDropwizardsReporter(t *testing.T) {
	now := time.Unix(1462068000, 0)
	lines := string(demoMetrics().graphiteLines("prod", now))
	for _, line := range []string{
		"prod." + queuePrefix + "queueSize 4 1462068000",
		"prod.jobs.run.success.nightly-report.count 3 1462068000",
		"prod.jobs.run.failure.nightly-report.count 1 1462068000",
		"prod.jobs.run.time.nightly-report.count 3 1462068000",
		"prod.jobs.run.time.nightly-report.max 4000 1462068000",
		"prod.jobs.run.time.nightly-report.mean 3000.00 1462068000",
		"prod.jobs.run.time.nightly-report.p999 4000.00 1462068000",
		"prod.jobs.run.time.nightly-report.stddev 816.50 1462068000",
		"prod.chronos.run.lateness.p50 1000.00 1462068000",
		"prod.chronos.run.lateness.max 1000.00 1462068000",
		"prod.chronos.run.lateness.count 3 1462068000",
		"prod.org.eclipse.jetty.servlet.ServletContextHandler.requests.count 2 1462068000",
		"prod.org.eclipse.jetty.servlet.ServletContextHandler.requests.m1_rate 0.00 1462068000",
	} {
		if !strings.Contains(lines, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	shape := regexp.MustCompile(`^prod\.\S+ -?\d+(\.\d\d)? 1462068000$`)
	for line := range strings.Lines(lines) {
		if !shape.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("line %q has not the shape of the protocol", line)
		}
	}
	if bare := string(newMetrics("1").graphiteLines("", now)); strings.HasPrefix(bare, ".") {
		t.Errorf("a report without prefix starts with a dot: %.40q", bare)
	}
}

func TestGraphiteReadsItsAddressAsBefore(t *testing.T) {
	for _, tt := range []struct {
		hostPort string
		on, fail bool
	}{
		{"", false, false},
		{"graphite", false, false},
		{"a:b:2003", false, false},
		{"graphite:2003", true, false},
		{"[::1]:2003", true, false},
		{"graphite:carbon", false, true},
	} {
		g, err := newGraphite(graphiteOptions{HostPort: tt.hostPort, Interval: time.Minute}, newMetrics("1"), slog.New(slog.DiscardHandler))
		if (g != nil) != tt.on || (err != nil) != tt.fail {
			t.Errorf("newGraphite(%q) = %v, %v, want on %v, error %v", tt.hostPort, g, err, tt.on, tt.fail)
		}
	}
}

func TestGraphiteConnectsAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	g, err := newGraphite(graphiteOptions{HostPort: listener.Addr().String(), Interval: 5 * time.Millisecond, Prefix: "p"}, newMetrics("1"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { g.run(ctx) })
	for range 3 { // each connection is dropped after its first line
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		start := make([]byte, 2)
		if _, err := conn.Read(start); err != nil || string(start) != "p." {
			t.Errorf("a report starts %q (%v), want %q", start, err, "p.")
		}
		conn.Close()
	}
	cancel()
	wg.Wait()
}

// metricNames are those that Prometheus stores from our output.
func metricNames(m *metrics) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(string(m.prometheusText())) {
		if !strings.HasPrefix(line, "#") {
			names[line[:strings.IndexAny(line, "{ ")]] = true
		}
	}
	return names
}

var metricName = regexp.MustCompile(`\b(chronos|process|go)_[a-z0-9_]+\b`)

func TestDashboardAndAlertsUseMetricsThatExist(t *testing.T) {
	names := metricNames(newMetrics("1"))
	used := map[string]bool{}
	for _, file := range []string{"ops/grafana-dashboard.json", "ops/alerts.yml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(data) {
			t.Errorf("%s is no JSON", file)
		}
		found := metricName.FindAllString(string(data), -1)
		if len(found) < 10 {
			t.Errorf("%s names %d metrics; is it read right?", file, len(found))
		}
		for _, name := range found {
			used[name] = true
			if !names[name] {
				t.Errorf("%s: there is no metric %q", file, name)
			}
		}
	}
	for name := range names {
		family := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "chronos_") && !used[name] && !used[family] && !used[family+"_bucket"] && !used[family+"_count"] {
			t.Errorf("neither the dashboard nor an alert shows %q", name)
		}
	}
}

func TestAlertsPassPromtool(t *testing.T) {
	promtool(t, nil, "check", "rules", "ops/alerts.yml")
}

func TestRequestsAreCountedOutEvenWithStrangeStatus(t *testing.T) {
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

func TestGaugesTellYesFromNo(t *testing.T) {
	m := newMetrics("1")
	for _, on := range []bool{true, false, true} {
		m.leader.set(asFloat(on))
		if got := m.leader.value() == 1; got != on {
			t.Errorf("leader = %v after set(asFloat(%v))", m.leader.value(), on)
		}
	}
}

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
