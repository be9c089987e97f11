package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	graphiteDialTimeout  = 10 * time.Second
	graphiteWriteTimeout = 30 * time.Second
)

// graphiteOptions are what the --graphite_ flags say.
type graphiteOptions struct {
	HostPort string
	Interval time.Duration
	Prefix   string
}

// A graphite reports all series to a Graphite server, in the names that Dropwizard's
// reporter writes.
type graphite struct {
	address  string
	interval time.Duration
	prefix   string
	metrics  *metrics
	log      *slog.Logger
}

// newGraphite returns nil, and no error, if reports are off, which, as in the original, includes
// an address that is not host:port. A port that is not a number is an error.
func newGraphite(o graphiteOptions, m *metrics, log *slog.Logger) (*graphite, error) {
	if o.HostPort == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(o.HostPort)
	if err != nil {
		log.Warn("graphite reports are off: --graphite_host_port is not host:port", "value", o.HostPort)
		return nil, nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("read --graphite_host_port %q: port %q is not a number between 1 and 65535", o.HostPort, port)
	}
	if o.Interval <= 0 {
		return nil, fmt.Errorf("read --graphite_reporting_interval: %v is not positive", o.Interval)
	}
	return &graphite{address: net.JoinHostPort(host, port), interval: o.Interval, prefix: o.Prefix, metrics: m, log: log}, nil
}

// run reports after each interval until ctx ends. A connection is kept as long as it works;
// after an error the next report opens a new one, and resolves the host again.
func (g *graphite) run(ctx context.Context) {
	ticker := time.NewTicker(g.interval)
	defer ticker.Stop()
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			var err error
			conn, err = g.report(ctx, conn, now)
			if err != nil && ctx.Err() == nil && !failing {
				g.log.Warn("graphite report failed, retrying", "address", g.address, "error", err)
			}
			if err == nil && failing {
				g.log.Info("graphite reports work again", "address", g.address)
			}
			failing = err != nil
		}
	}
}

// report writes one report, to a new connection if conn is nil. It returns the connection
// to use next, nil after an error.
func (g *graphite) report(ctx context.Context, conn net.Conn, now time.Time) (net.Conn, error) {
	if conn == nil {
		dialer := net.Dialer{Timeout: graphiteDialTimeout}
		var err error
		if conn, err = dialer.DialContext(ctx, "tcp", g.address); err != nil {
			return nil, err
		}
	}
	conn.SetDeadline(time.Now().Add(graphiteWriteTimeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(g.metrics.graphiteLines(g.prefix, now)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// graphiteLines is one report: gauges, counters, histograms, meters, timers, each by name,
// all of the same second. Integers are plain, other numbers have two decimals; the
// durations of timers are in milliseconds.
func (m *metrics) graphiteLines(prefix string, now time.Time) []byte {
	r := m.legacyReport(now)
	w := graphiteWriter{prefix: dashed(prefix), epoch: strconv.FormatInt(now.Unix(), 10)}
	for _, g := range r.gauges {
		w.name = dashed(g.name)
		if whole(g.value) {
			w.integer("", int64(g.value))
		} else {
			w.double("", g.value)
		}
	}
	for _, c := range r.counters {
		w.name = dashed(c.name)
		w.integer("count", c.value)
	}
	for _, h := range r.histograms {
		w.name = dashed(h.name)
		w.integer("count", h.value.count)
		w.integer("max", int64(h.value.max))
		w.double("mean", h.value.mean)
		w.integer("min", int64(h.value.min))
		w.spread(h.value, 1)
	}
	for _, v := range r.meters {
		w.name = dashed(v.name)
		w.rates(v.value)
	}
	for _, t := range r.timers {
		const ms = 1000
		w.name = dashed(t.name)
		w.double("max", t.value.max*ms)
		w.double("mean", t.value.mean*ms)
		w.double("min", t.value.min*ms)
		w.spread(t.value.distribution, ms)
		w.rates(t.value.rate)
	}
	return w.Bytes()
}

// dashed replaces each run of white space, which would end a name, by a dash.
func dashed(name string) string {
	if !strings.ContainsAny(name, " \t\n\v\f\r") {
		return name
	}
	var b strings.Builder
	blank := false
	for _, c := range name {
		space := strings.ContainsRune(" \t\n\v\f\r", c)
		if space && !blank {
			b.WriteByte('-')
		}
		if !space {
			b.WriteRune(c)
		}
		blank = space
	}
	return b.String()
}

// graphiteWriter writes lines about the series called name.
type graphiteWriter struct {
	bytes.Buffer
	prefix, name, epoch string
}

func (w *graphiteWriter) line(suffix, value string) {
	if w.prefix != "" {
		w.WriteString(w.prefix)
		w.WriteByte('.')
	}
	w.WriteString(w.name)
	if suffix != "" {
		w.WriteByte('.')
		w.WriteString(suffix)
	}
	w.WriteString(" " + value + " " + w.epoch + "\n")
}

func (w *graphiteWriter) integer(suffix string, v int64) {
	w.line(suffix, strconv.FormatInt(v, 10))
}

func (w *graphiteWriter) double(suffix string, v float64) {
	w.line(suffix, strconv.FormatFloat(v, 'f', 2, 64))
}

func (w *graphiteWriter) spread(d distribution, scale float64) {
	w.double("stddev", d.stddev*scale)
	w.double("p50", d.p50*scale)
	w.double("p75", d.p75*scale)
	w.double("p95", d.p95*scale)
	w.double("p98", d.p98*scale)
	w.double("p99", d.p99*scale)
	w.double("p999", d.p999*scale)
}

func (w *graphiteWriter) rates(r meterReport) {
	w.integer("count", r.count)
	w.double("m1_rate", r.m1)
	w.double("m5_rate", r.m5)
	w.double("m15_rate", r.m15)
	w.double("mean_rate", r.whole)
}
