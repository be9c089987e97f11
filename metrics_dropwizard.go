package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// dropwizard answers GET /metrics as Dropwizard's servlet does.
func (m *metrics) dropwizard(w http.ResponseWriter, r *http.Request) {
	body := m.dropwizardJSON(time.Now())
	if pretty := r.URL.Query(); pretty.Has("pretty") && pretty.Get("pretty") != "false" {
		var indented bytes.Buffer
		if json.Indent(&indented, body, "", "  ") == nil {
			body = indented.Bytes()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "must-revalidate,no-cache,no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// A legacyReport holds every series that has a Dropwizard name, as of one moment. Each
// list is sorted by name.
type legacyReport struct {
	gauges     []named[float64]
	counters   []named[int64]
	histograms []named[distribution]
	meters     []named[meterReport]
	timers     []named[timerReport]
}

type named[T any] struct {
	name  string
	value T
}

// distribution is what Dropwizard shows for a sample.
type distribution struct {
	count                         int64
	max, mean, min, stddev        float64
	p50, p75, p95, p98, p99, p999 float64
}

// timerReport is in seconds and calls per second.
type timerReport struct {
	distribution
	rate meterReport
}

func distributionOf(count int64, s snapshot) distribution {
	return distribution{
		count: count, max: s.max(), mean: s.mean(), min: s.min(), stddev: s.stddev(),
		p50: s.quantile(.5), p75: s.quantile(.75), p95: s.quantile(.95),
		p98: s.quantile(.98), p99: s.quantile(.99), p999: s.quantile(.999),
	}
}

func (m *metrics) legacyReport(now time.Time) legacyReport {
	var r legacyReport
	for _, s := range m.series {
		if s.legacy == "" {
			continue
		}
		switch v := s.value.(type) {
		case *gauge:
			r.gauges = append(r.gauges, named[float64]{s.legacy, v.value()})
		case *counter:
			r.counters = append(r.counters, named[int64]{s.legacy, v.count()})
		case *level:
			r.counters = append(r.counters, named[int64]{s.legacy, v.count()})
		case *histogram:
			r.histograms = append(r.histograms, named[distribution]{s.legacy, distributionOf(v.count(), v.sample.snapshot())})
		case *meter:
			r.meters = append(r.meters, named[meterReport]{s.legacy, v.report(now)})
		case *timer:
			r.timers = append(r.timers, named[timerReport]{s.legacy,
				timerReport{distributionOf(v.count(), v.sample.snapshot()), v.rate.report(now)}})
		}
	}
	for _, j := range m.jobRuns.all() {
		r.counters = append(r.counters, named[int64]{"jobs.run.success." + j.name, j.success}, named[int64]{"jobs.run.failure." + j.name, j.failure})
		if j.timeCount > 0 {
			r.histograms = append(r.histograms, named[distribution]{"jobs.run.time." + j.name, *j.shown})
		}
	}
	sortNamed(r.gauges)
	sortNamed(r.counters)
	sortNamed(r.histograms)
	sortNamed(r.meters)
	sortNamed(r.timers)
	return r
}

func sortNamed[T any](list []named[T]) {
	sortStable(list, func(a, b named[T]) int { return cmp.Compare(a.name, b.name) })
}

// dropwizardJSON keeps the order of keys that Dropwizard 3.1's Jackson module writes.
func (m *metrics) dropwizardJSON(now time.Time) []byte {
	r := m.legacyReport(now)
	w := &fieldWriter{}
	w.open("")
	w.text("version", "3.0.0")
	writeSection(w, "gauges", r.gauges, func(v float64) { w.number("value", v) })
	writeSection(w, "counters", r.counters, func(v int64) { w.integer("count", v) })
	writeSection(w, "histograms", r.histograms, func(v distribution) {
		w.integer("count", v.count)
		w.integer("max", int64(v.max))
		w.double("mean", v.mean)
		w.integer("min", int64(v.min))
		writeQuantiles(w, v)
	})
	writeSection(w, "meters", r.meters, func(v meterReport) {
		w.integer("count", v.count)
		writeRates(w, v)
		w.text("units", "events/second")
	})
	writeSection(w, "timers", r.timers, func(v timerReport) {
		w.integer("count", v.count)
		w.double("max", v.max)
		w.double("mean", v.mean)
		w.double("min", v.min)
		writeQuantiles(w, v.distribution)
		writeRates(w, v.rate)
		w.text("duration_units", "seconds")
		w.text("rate_units", "calls/second")
	})
	w.close()
	return w.Bytes()
}

func writeSection[T any](w *fieldWriter, name string, list []named[T], write func(T)) {
	w.open(name)
	for _, entry := range list {
		w.open(entry.name)
		write(entry.value)
		w.close()
	}
	w.close()
}

func writeQuantiles(w *fieldWriter, d distribution) {
	w.double("p50", d.p50)
	w.double("p75", d.p75)
	w.double("p95", d.p95)
	w.double("p98", d.p98)
	w.double("p99", d.p99)
	w.double("p999", d.p999)
	w.double("stddev", d.stddev)
}

func writeRates(w *fieldWriter, r meterReport) {
	w.double("m15_rate", r.m15)
	w.double("m1_rate", r.m1)
	w.double("m5_rate", r.m5)
	w.double("mean_rate", r.whole)
}
