package main

import (
	"flag"
	"strings"
	"testing"
	"time"
)

func TestUnitsOfDurations(t *testing.T) {
	t.Parallel()
	f := mustParseFlags(t, "--failure_retry 1500 --task_epsilon 90 --decline_offer_duration 250 --failover_timeout 3600 --zk_timeout 2000 --reconciliation_interval 30 --min_revive_offers_interval 100 --graphite_reporting_interval 5 --cassandra_ttl 60")
	tests := []struct {
		name      string
		got, want time.Duration
	}{
		{"failure_retry", f.failureRetry, 1500 * time.Millisecond},
		{"task_epsilon", f.taskEpsilon, 90 * time.Second},
		{"decline_offer_duration", f.declineOfferDuration, 250 * time.Millisecond},
		{"failover_timeout", f.failoverTimeout, time.Hour},
		{"zk_timeout", f.zkTimeout, 2 * time.Second},
		{"reconciliation_interval", f.reconciliationInterval, 30 * time.Second},
		{"min_revive_offers_interval", f.minReviveOffersInterval, 100 * time.Millisecond},
		{"graphite_reporting_interval", f.graphiteReportingInterval, 5 * time.Second},
		{"cassandra_ttl", f.cassandraTTL, time.Minute},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s = %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestZooKeeperHosts(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, hosts, chroot, auth string }{
		{"h1:2181", "h1:2181", "", ""},
		{"h1:2181,h2:2182", "h1:2181,h2:2182", "", ""},
		{"h1:2181,h2:2182/a/b/", "h1:2181,h2:2182", "/a/b", ""},
		{"zk://h1:2181,h2:2182", "h1:2181,h2:2182", "", ""},
		{"zk://h1:2181,h2:2182/mesos", "h1:2181,h2:2182", "", ""},
		{"zk://h1:2181,zk://h2:2182/mesos", "h1:2181,h2:2182", "", ""},
		{"zk://bob:s:e@cret@h1:2181,h2:2182/mesos", "h1:2181,h2:2182", "", "bob:s:e@cret"},
		{"[::1]:2181", "[::1]:2181", "", ""},
	}
	for _, tt := range tests {
		f := mustParseFlags(t, "--zk_hosts "+tt.in)
		if got := strings.Join(f.zkHosts, ","); got != tt.hosts || f.zkChroot != tt.chroot || f.zkAuth != tt.auth {
			t.Errorf("--zk_hosts %s = %s %q %q, want %s %q %q", tt.in, got, f.zkChroot, f.zkAuth, tt.hosts, tt.chroot, tt.auth)
		}
	}
	for _, in := range []string{"", "h1", "h1:", ":2181", "h1:0", "h1:65536", "h1:x", "h1:1:2", "h1:1,", "zk://", "zk:///mesos", "zk://bob@h1:1", "h1:1//x", "h1:1 ,h2:1"} {
		complaint(t, "--zk_hosts="+in)
	}
	f := mustParseFlags(t, "--zk_auth eve:right --zk_hosts zk://bob:wrong@h1:2181")
	if f.zkAuth != "eve:right" {
		t.Errorf("zkAuth = %q: --zk_auth must win over the URL", f.zkAuth)
	}
}

func TestMasterFlagForms(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"local": "local", "k8s": "k8s", "k8s://10.0.0.1:6443": "k8s://10.0.0.1:6443", "k8s:///etc/kubeconfig": "k8s:///etc/kubeconfig", "h:5050": "h:5050", "master@10.0.0.1:5050": "10.0.0.1:5050",
		"http://h:5050": "http://h:5050", "https://h:5050/": "https://h:5050",
		"zk://h1:2181,h2:2181,h3:2181/mesos": "zk://h1:2181,h2:2181,h3:2181/mesos",
		"zk://bob:secret@h1:2181/mesos/prod": "zk://bob:secret@h1:2181/mesos/prod",
		"file:///etc/mesos/zk":               "file:///etc/mesos/zk",
		"[2001:db8::1]:5050":                 "[2001:db8::1]:5050",
	} {
		if got := mustParseFlags(t, "--master "+in).master; got != want {
			t.Errorf("--master %s = %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "h", "h:", "h:x", "h1:1,h2:2", "zk://h:2181", "zk://h:2181/", "zk://h/mesos", "zk://bob@h:1/mesos", "file://x", "http://h", "http://h:1/api", "ftp://h:1", "LOCAL"} {
		complaint(t, "--master="+in)
	}
}

func TestPathsAndNames(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--zk_path=chronos", "--zk_path=/a//b", "--zk_path=/a/../b", "--hostname=h:8080", "--hostname=http://h", "--http_address=127.0.0.1:80",
		"--http_credentials=bob", "--http_credentials=:x", "--http_credentials=x:", "--mail_server=h:x", "--mail_server=h", "--graphite_host_port=h", "--slack_url=hooks.slack.com/x", "--data_dir=",
		"--log_level=trace", "--log_format=xml", "--unreachable_timeout=600", "--unreachable_timeout=-1s", "--cassandra_consistency=MOST"} {
		complaint(t, args)
	}
	f := mustParseFlags(t, "--http_credentials= --graphite_host_port= --slack_url= --hostname= --mail_server=")
	if f.httpCredentials != "" || f.graphiteHostPort != "" {
		t.Error("an empty value must switch a feature off")
	}
}

// Every option that checks its value is fed nonsense; the list comes from the
// FlagSet, so that none can be forgotten.
func TestNonsenseIsRefusedByName(t *testing.T) {
	t.Parallel()
	nonsense := []string{"nonsense value", "12:34:56:x", "\x00\n\x1b[31m", "-1e999", "99999999999999999999", "zk://", "ftp://", "a//b:c/"}
	table := defaultFlags().optionTable()
	newFlagSet(table).VisitAll(func(fl *flag.Flag) {
		if v, ok := fl.Value.(textValue); ok && v.check == nil {
			return // any text is right
		}
		for _, value := range nonsense {
			if fl.Value.Set(value) == nil {
				continue
			}
			line := complaint(t, "--"+fl.Name+"="+value)
			if !strings.Contains(line, "'"+fl.Name+"'") || !strings.ContainsAny(line, "abcdefghijklmnopqrstuvwxyz") || strings.Contains(line, "goroutine") {
				t.Errorf("--%s=%q: %s", fl.Name, value, line)
			}
		}
		if fl.Value.Set(nonsense[2]) == nil {
			t.Errorf("--%s takes %q", fl.Name, nonsense[2])
		}
	})
}
