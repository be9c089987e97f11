package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestWantsPrometheusOnlyWhenTheScraperSaysSo(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

func TestPrometheusText(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	demoMetrics().prometheus(w, httptest.NewRequest("GET", "/metrics/prometheus", nil))
	if got := w.Header().Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type = %q", got)
	}
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

// docs/metrics.md lists every series of ours.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("\n| metric | kind | what |\n| --- | --- | --- |\n")
	kind, what := map[string]string{}, map[string]string{}
	for line := range strings.Lines(string(newMetrics("1").prometheusText())) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(words) == 4 && words[1] == "HELP" {
			what[words[2]] = words[3]
		} else if len(words) == 4 && words[1] == "TYPE" {
			kind[words[2]] = words[3]
		}
	}
	if len(what) < 40 || len(what) != len(kind) {
		t.Fatalf("%d series have a text and %d a kind", len(what), len(kind))
	}
	for _, name := range slices.Sorted(maps.Keys(what)) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, kind[name], what[name])
	}
	checkGenerated(t, "docs/metrics.md", "<!-- made from the series of the program -->", b.String())
}
