package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOptionsOfEveryVersionExist(t *testing.T) {
	t.Parallel()
	const all = `assets_path cassandra_consistency cassandra_contact_points cassandra_keyspace cassandra_port cassandra_stat_count_table
		cassandra_table cassandra_ttl cluster_name decline_offer_duration disable_after_failures failover_timeout failure_retry graphite_group_prefix
		graphite_host_port graphite_reporting_interval hostname http_address http_credentials http_notification_credentials http_notification_url http_port
		http_realm https_port job_history_limit leader_max_idle_time mail_from mail_password mail_server mail_ssl mail_user master mesos_authentication_principal
		mesos_authentication_secret_file mesos_checkpoint mesos_framework_name mesos_role mesos_task_cpu mesos_task_disk mesos_task_mem min_revive_offers_interval
		raven_dsn reconciliation_interval revive_offers_for_new_jobs schedule_horizon slack_url ssl_keystore_password ssl_keystore_path task_epsilon user webui_url
		zk_hosts zk_path zk_timeout
		disable_http https_address cassandra_user cassandra_password
		http_compression disable_http_compression zk_auth mattermost_url`
	var theirs []string
	for _, o := range defaultFlags().optionTable() {
		if !o.ours {
			theirs = append(theirs, o.name)
		}
	}
	want := strings.Fields(all)
	slices.Sort(want)
	slices.Sort(theirs)
	if !slices.Equal(theirs, want) {
		t.Errorf("options are %v\nwant %v", theirs, want)
	}
}

// The short options are those of the manual of 2.4.
func TestShortOptions(t *testing.T) {
	t.Parallel()
	want := map[string]string{"c": "cassandra_contact_points", "d": "decline_offer_duration", "f": "failover_timeout", "g": "graphite_host_port", "h": "hostname",
		"j": "job_history_limit", "l": "leader_max_idle_time", "m": "mail_from", "r": "raven_dsn", "s": "schedule_horizon", "t": "task_epsilon", "u": "user", "z": "zk_hosts"}
	for _, o := range defaultFlags().optionTable() {
		if o.short == "" {
			continue
		}
		if want[o.short] != o.name {
			t.Errorf("-%s is %s, want %s", o.short, o.name, want[o.short])
		}
		delete(want, o.short)
	}
	if len(want) > 0 {
		t.Errorf("missing short options: %v", want)
	}
}

// To change the golden file: UPDATE_GOLDEN=1 go test -run TestHelpText
func TestHelpText(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	secret := environOf(map[string]string{"MESOSPHERE_HTTP_CREDENTIALS": "bob:hunter2", "MESOSPHERE_KEYSTORE_PASS": "hunter2"})
	parseFlags([]string{"--help"}, secret, &stdout)
	golden := filepath.Join("testdata", "flags", "help.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, stdout.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stdout.Bytes(), want) {
		t.Errorf("the help text differs from %s:\n%s", golden, &stdout)
	}
	for line := range strings.Lines(stdout.String()) {
		if len(line) > 81 || strings.TrimRight(line, " \n") != strings.TrimRight(line, "\n") {
			t.Errorf("line too long or with blanks at its end: %q", line)
		}
	}
	if strings.Contains(stdout.String(), "hunter2") {
		t.Error("the help text shows a secret")
	}
}

// The defaults of the manual, as text in the option's own unit.
func TestDefaults(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"http_port": "8080", "https_port": "8443", "http_realm": "Mesosphere", "disable_http": "false", "http_compression": "true", "disable_http_compression": "false",
		"user": "root", "schedule_horizon": "60", "leader_max_idle_time": "5000", "failure_retry": "60000", "disable_after_failures": "0", "task_epsilon": "60", "job_history_limit": "5",
		"master": "local", "failover_timeout": "604800", "mesos_task_mem": "128", "mesos_task_cpu": "0.1", "mesos_task_disk": "256", "mesos_checkpoint": "true", "mesos_role": "*",
		"mesos_framework_name": "chronos", "reconciliation_interval": "600", "revive_offers_for_new_jobs": "false", "decline_offer_duration": "0", "min_revive_offers_interval": "5000",
		"zk_hosts": "localhost:2181", "zk_path": "/chronos/state", "zk_timeout": "10000", "mail_ssl": "false",
		"cassandra_port": "9042", "cassandra_keyspace": "metrics", "cassandra_table": "chronos", "cassandra_stat_count_table": "chronos_stat_count", "cassandra_consistency": "ANY", "cassandra_ttl": "31536000",
		"graphite_reporting_interval": "60",
		"data_dir":                    "chronos-data", "advertise_port": "0", "mesos_ssl": "false", "notify_missed": "false", "notify_late": "0", "notify_hosts": "", "log_level": "info", "log_format": "text", "unreachable_timeout": "10m", "stage_timeout": "15m", "handover_timeout": "5s", "job_history_keep": "20", "activity_keep": "5000", "run_archive_count": "500000", "run_archive_size": "32", "run_archive_days": "400", "local_keep_runs": "20", "local_keep_size": "0", "local_output_size": "64", "local_max_runs": "0", "local_limits": "false", "mesos_secret_variables": "false", "max_waiting_runs": "1000",
		"kubernetes_max_pods": "500", "kubernetes_keep_pods": "10",
	}
	f := mustParseFlags(t, "")
	for _, o := range f.optionTable() {
		if got := o.value.String(); got != want[o.name] {
			t.Errorf("--%s defaults to %q, want %q", o.name, got, want[o.name])
		}
		if f.explicit(o.name) {
			t.Errorf("explicit(%q) = true without arguments", o.name)
		}
	}
}

func TestWithoutEffect(t *testing.T) {
	t.Parallel()
	f := mustParseFlags(t, "--leader_max_idle_time 1 --schedule_horizon 20 --user bob")
	if got, want := f.withoutEffect(), []string{"--schedule_horizon", "--leader_max_idle_time"}; !slices.Equal(got, want) {
		t.Errorf("withoutEffect() = %v, want %v", got, want)
	}
}

// docs/flags.md lists every option as --help does.
func TestEveryOptionIsDocumented(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	group := ""
	for _, o := range defaultFlags().optionTable() {
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n## %s\n\n| option | default | meaning |\n| --- | --- | --- |\n", group)
		}
		left := "`--" + o.name + "`"
		if o.short != "" {
			left += ", `-" + o.short + "`"
		}
		if o.arg != "" {
			left += " " + strings.ReplaceAll(o.arg, "|", `\|`)
		}
		byDefault := ""
		if text := o.value.String(); text != "" && !o.secret && !o.boolean() {
			byDefault = "`" + text + "`"
		}
		help := o.help
		if o.env != "" {
			help += " The variable `" + o.env + "` sets the default."
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", left, byDefault, strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(help))
	}
	checkGenerated(t, filepath.Join("docs", "flags.md"), "<!-- made from the table of options -->", b.String())
}
