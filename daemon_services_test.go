//go:build services

package main

import (
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

// Two instances without plain HTTP find each other through ZooKeeper, and the one that follows
// forwards over TLS, credentials and all.
func TestFollowerForwardsOverTLS(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	data := t.TempDir()
	args := []string{"--disable_http", "--ssl_keystore_path", newIdentity(t, "shared", nil).jksFile(), "--ssl_keystore_password", storePassword,
		"--zk_hosts", hosts[0], "--zk_path", root, "--data_dir", data, "--http_credentials", "u:secret"}
	login := []string{"Authorization", strings.TrimPrefix(basic("u:secret"), "\nAuthorization: ")}
	first := startDaemon(t, args...)
	awaitRole(t, first, roleLeader)
	second := startDaemon(t, args...)
	awaitRole(t, second, roleFollower)
	if res, body := second.ask(t, 0, "POST", "/scheduler/iso8601", jobA, login...); res.StatusCode != 204 {
		t.Fatalf("POST through the follower = %d %s\n%s", res.StatusCode, body, second.log)
	}
	for _, d := range []*testDaemon{first, second} {
		if res, body := d.ask(t, 0, "GET", "/scheduler/jobs", "", login...); res.StatusCode != 200 || !strings.Contains(body, `"name":"a"`) {
			t.Errorf("GET jobs = %d %s", res.StatusCode, body)
		}
		if res, _ := d.ask(t, 0, "GET", "/scheduler/jobs", ""); res.StatusCode != 401 {
			t.Errorf("GET jobs without credentials = %d, want 401", res.StatusCode)
		}
		if got := strings.Count(d.log.String(), "msg=audit outcome=done method=POST path=/scheduler/iso8601 job=a dialect=2 status=204 user=u "); got != 1 {
			t.Errorf("audit lines = %d, want 1:\n%s", got, d.log)
		}
	}
	if got := second.metrics.forwarded.count(); got != 2 || second.metrics.forwardErrors.count() != 0 {
		t.Errorf("forwarded = %d, errors %d, want 2, 0", got, second.metrics.forwardErrors.count())
	}
	if first.metrics.zkLatency.count() == 0 || first.metrics.zkConnected.value() != 1 {
		t.Error("ZooKeeper's answers are not timed")
	}
}
