//go:build services

package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

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
	t.Parallel()
	promtool(t, demoMetrics().prometheusText(), "check", "metrics")
}

func TestAlertsPassPromtool(t *testing.T) {
	t.Parallel()
	promtool(t, nil, "check", "rules", "ops/alerts.yml")
}
