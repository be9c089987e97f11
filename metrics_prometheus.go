package main

import (
	"bytes"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

const prometheusType = "text/plain; version=0.0.4; charset=utf-8"

// ServeHTTP answers GET /metrics, in the form asked for, and /metrics/prometheus.
func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/metrics/prometheus" || r.URL.Path == "/metrics" && wantsPrometheus(r):
		m.prometheus(w, r)
	case r.URL.Path == "/metrics":
		m.dropwizard(w, r)
	default:
		http.NotFound(w, r)
	}
}

// prometheus answers with this instance's series in Prometheus' text format. Scrapers
// that ask for OpenMetrics first all accept it too.
func (m *metrics) prometheus(w http.ResponseWriter, _ *http.Request) {
	body := m.prometheusText()
	w.Header().Set("Content-Type", prometheusType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// wantsPrometheus reports whether a GET of /metrics comes from a Prometheus scraper
// rather than from something that expects Dropwizard's JSON.
func wantsPrometheus(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			kind, params, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err != nil {
				continue
			}
			if kind == "application/openmetrics-text" || kind == "text/plain" && params["version"] == "0.0.4" {
				return true
			}
		}
	}
	return false
}

func (m *metrics) prometheusText() []byte {
	var b bytes.Buffer
	family := ""
	for _, s := range m.series {
		if s.name == "" {
			continue
		}
		if s.name != family {
			family = s.name
			b.WriteString("# HELP " + s.name + " " + s.help + "\n# TYPE " + s.name + " " + prometheusKind(s.value) + "\n")
		}
		switch v := s.value.(type) {
		case *gauge:
			writeSample(&b, s.name, s.labels, v.value())
		case *counter:
			writeSample(&b, s.name, s.labels, float64(v.count()))
		case *level:
			writeSample(&b, s.name, s.labels, float64(v.count()))
		case *meter:
			writeSample(&b, s.name, s.labels, float64(v.count()))
		case *histogram:
			writeBuckets(&b, s, v)
		case *timer:
			writeBuckets(&b, s, &v.histogram)
		}
	}
	return b.Bytes()
}

func prometheusKind(value any) string {
	switch value.(type) {
	case *counter, *meter:
		return "counter"
	case *histogram, *timer:
		return "histogram"
	}
	return "gauge"
}

// writeBuckets writes a histogram. The count is that of the last bucket, so that they agree.
func writeBuckets(b *bytes.Buffer, s series, h *histogram) {
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = strconv.FormatFloat(h.bounds[i], 'g', -1, 64)
		}
		writeSample(b, s.name+"_bucket", joinLabels(s.labels, `le="`+bound+`"`), float64(total))
	}
	writeSample(b, s.name+"_sum", s.labels, h.sum.value())
	writeSample(b, s.name+"_count", s.labels, float64(total))
}

func joinLabels(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

func writeSample(b *bytes.Buffer, name, labels string, v float64) {
	b.WriteString(name)
	if labels != "" {
		b.WriteString("{" + labels + "}")
	}
	b.WriteByte(' ')
	b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	b.WriteByte('\n')
}

// escapeLabel escapes a text for use within the quotes of a label's value.
func escapeLabel(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text)
}
