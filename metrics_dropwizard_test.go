package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestDropwizardJSONHasTheNamesClientsRead(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
	for query, want := range map[string]bool{"": false, "?pretty=true": true, "?pretty": true, "?pretty=false": false} {
		w := httptest.NewRecorder()
		newMetrics("1").dropwizard(w, httptest.NewRequest("GET", "/metrics"+query, nil))
		if got := strings.Contains(w.Body.String(), "\n  \"gauges\": {\n"); got != want {
			t.Errorf("GET /metrics%s is indented: %v, want %v", query, got, want)
		}
	}
}
