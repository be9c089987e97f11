package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// noEnviron is an empty environment.
func noEnviron(string) (string, bool) { return "", false }

// environOf is an environment with these variables.
func environOf(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}
}

// mustParseFlags parses a command line that has no mistakes, given as words with blanks between.
func mustParseFlags(t *testing.T, line string) *flags {
	t.Helper()
	var stdout bytes.Buffer
	f, err := parseFlags(strings.Fields(line), noEnviron, &stdout)
	if err != nil {
		t.Fatalf("parseFlags(%q) = %v", line, err)
	}
	if stdout.Len() > 0 {
		t.Errorf("parseFlags(%q) wrote %q", line, &stdout)
	}
	return f
}

// valueOf is the option's value as text.
func valueOf(t *testing.T, f *flags, name string) string {
	t.Helper()
	for _, o := range f.optionTable() {
		if o.name == name {
			return o.value.String()
		}
	}
	t.Fatalf("no option %q", name)
	return ""
}

// complaint parses a command line that must be refused, and returns what is printed.
func complaint(t *testing.T, args ...string) string {
	t.Helper()
	var stdout bytes.Buffer
	_, err := parseFlags(args, noEnviron, &stdout)
	if err == nil || exitStatus(err) != 1 {
		t.Errorf("parseFlags(%q) = %v, status %d, want a usage error, status 1", args, err, exitStatus(err))
	}
	line := stdout.String()
	if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "[scallop] Error: ") {
		t.Errorf("parseFlags(%q) wrote %q, want one line that starts with [scallop] Error:", args, line)
	}
	return strings.TrimSuffix(strings.TrimPrefix(line, "[scallop] Error: "), "\n")
}

// The command lines below were tried on the JVM versions; where the three differed, what any of
// them accepted is accepted. A comment says where we are more lenient than all.
func TestCommandLinesAccepted(t *testing.T) {
	tests := []struct{ line, option, want string }{
		{"--zk_path /x", "zk_path", "/x"},
		{"--zk_path=/x", "zk_path", "/x"},
		{"--zk_path /x --zk_path /y", "zk_path", "/y"}, // was an error
		{"--http_port 0 --user bob", "http_port", "0"},
		{"--mesos_task_cpu .5", "mesos_task_cpu", "0.5"},
		{"--mesos_task_cpu 5.", "mesos_task_cpu", "5"},
		{"--mesos_task_cpu 1e-1", "mesos_task_cpu", "0.1"},
		{"--mesos_task_cpu 0.5f", "mesos_task_cpu", "0.5"},
		{"--mesos_task_cpu 0.5d", "mesos_task_cpu", "0.5"},
		{"--mail_ssl", "mail_ssl", "true"},
		{"--mail_ssl=true", "mail_ssl", "true"},              // was an error
		{"--mail_ssl=false", "mail_ssl", "false"},            // was an error
		{"--mail_ssl --mail_ssl", "mail_ssl", "true"},        // was an error
		{"--mail_ssl --mail_ssl=false", "mail_ssl", "false"}, // was an error
		{"--mesos_checkpoint", "mesos_checkpoint", "true"},
		{"--mesos_checkpoint=false", "mesos_checkpoint", "false"}, // was an error
		{"-u bob", "user", "bob"},
		{"-ubob", "user", "bob"},
		{"-user bob", "user", "bob"},     // was an error
		{"-zk_path=/x", "zk_path", "/x"}, // was an error
		{"-u=bob", "user", "=bob"},       // the letter takes the rest as it is
		{"--user -", "user", "-"},
		{"--user -1", "user", "-1"},
		{"--user=-x", "user", "-x"},
		{"--user=", "user", ""},
		{"--user=a=b", "user", "a=b"},
		{"--user bob --", "user", "bob"},
		{"--failover_timeout +5", "failover_timeout", "5"},
		{"--schedule_horizon 10", "schedule_horizon", "10"},
		{"--disable_http_compression", "http_compression", "false"},
		{"--disable_http_compression --http_compression", "http_compression", "true"}, // was an error
		{"--http_compression --disable_http_compression", "http_compression", "false"},
		{"--disable_http_compression=false", "http_compression", "true"},
		{"--assets_path /x", "assets_path", "/x"},
		{"--zk_path /x/", "zk_path", "/x"},
		{"--zk_path /", "zk_path", ""},
		{"--job_history_limit -1", "job_history_limit", "-1"},
		{"--leader_max_idle_time -1", "leader_max_idle_time", "-1"},
		{"--disable_after_failures 9223372036854775807", "disable_after_failures", "9223372036854775807"},
		{"--cassandra_consistency local_one", "cassandra_consistency", "LOCAL_ONE"},
		{"--mail_server smtp:25", "mail_server", "smtp:25"},
		{"--hostname [::1]", "hostname", "::1"},
		{"--unreachable_timeout 90s", "unreachable_timeout", "1m30s"},
		{"--log_level DEBUG", "log_level", "debug"},
	}
	for _, tt := range tests {
		f := mustParseFlags(t, tt.line)
		if got := valueOf(t, f, tt.option); got != tt.want {
			t.Errorf("%s: %s = %q, want %q", tt.line, tt.option, got, tt.want)
		}
		if !f.explicit(tt.option) {
			t.Errorf("%s: explicit(%q) = false", tt.line, tt.option)
		}
	}
}

func TestCommandLinesRefused(t *testing.T) {
	tests := []struct{ line, want string }{
		{"--zk_path /x /y", "Excess arguments provided: '/y' - --zk_path takes one value"},
		{"--zk_path=/x /y", "Excess arguments provided: '/y' - --zk_path takes one value"},
		{"--zk_path /x /y --user bob", "Bad arguments for option 'zk_path': '/x /y' - you should provide exactly one argument for this option"},
		{"--http_port abc", "Bad arguments for option 'http_port': 'abc' - wrong arguments format: want a whole number from 0 to 65535"},
		{"--http_port --user bob", "Bad arguments for option 'http_port': '' - you should provide exactly one argument for this option (a value that starts with a dash needs the form --http_port=...)"},
		{"--http_port -5 --user bob", "Bad arguments for option 'http_port': '-5' - wrong arguments format: want a whole number from 0 to 65535"},
		{"--http_port 0x10", "Bad arguments for option 'http_port': '0x10' - wrong arguments format: want a whole number from 0 to 65535"},
		{"--failure_retry 1.5", "Bad arguments for option 'failure_retry': '1.5' - wrong arguments format: want a whole number of milliseconds, without a unit, from 0 to 9223372036854"},
		{"--task_epsilon 60s", "Bad arguments for option 'task_epsilon': '60s' - wrong arguments format: want a whole number of seconds, without a unit, from 0 to 2147483647"},
		{"--mesos_task_mem 128MB", "Bad arguments for option 'mesos_task_mem': '128MB' - wrong arguments format: want a number like 0.5"},
		{"--mesos_task_cpu NaN", "Bad arguments for option 'mesos_task_cpu': 'NaN' - wrong arguments format: want a number like 0.5"},
		{"--mail_ssl true", "Excess arguments provided: 'true' - --mail_ssl takes no value but =true or =false"},
		{"--mail_ssl true --user bob", "Bad arguments for option 'mail_ssl': 'true' - too many arguments for flag option: only =true or =false may follow"},
		{"--mail_ssl=yes", "Bad arguments for option 'mail_ssl': 'yes' - too many arguments for flag option: only =true or =false may follow"},
		{"--mesos_checkpoint false", "Excess arguments provided: 'false' - --mesos_checkpoint takes no value but =true or =false"},
		{"--nomesos_checkpoint", "Unknown option 'nomesos_checkpoint' - did you mean --mesos_checkpoint?"},
		{"-uz bob", "Excess arguments provided: 'bob' - --user takes one value"},
		{"--user -x", "Unknown option 'x' - the short options are -c -d -f -g -h -j -l -m -r -s -t -u -z"},
		{"--user -- foo", "Excess arguments provided: 'foo' - nothing may follow --"},
		{"foo --user bob", "Excess arguments provided: 'foo' - options start with --"},
		{"-1", "Excess arguments provided: '-1' - options start with --"},
		{"--user bob --user", "Bad arguments for option 'user': '' - you should provide exactly one argument for this option (--help lists the options)"},
		{"-h", "Bad arguments for option 'hostname': '' - you should provide exactly one argument for this option (--help lists the options)"},
		{"--zk-path /x", "Unknown option 'zk-path' - did you mean --zk_path?"},
		{"--ZK_path /x", "Unknown option 'ZK_path' - did you mean --zk_path?"},
		{"--http_credential=bob:secret", "Unknown option 'http_credential' - did you mean --http_credentials?"},
		{"--http_max_concurrent_requests 5", "Unknown option 'http_max_concurrent_requests' - --help lists the options"},
		{"--http_port abc --nonsense_option", "Unknown option 'nonsense_option' - --help lists the options"},
		{"--zk_hosts localhost", "Bad arguments for option 'zk_hosts': 'localhost' - wrong arguments format: zookeeper servers must be provided in the form host1:port1,host2:port2"},
	}
	for _, tt := range tests {
		if got := complaint(t, strings.Fields(tt.line)...); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.line, got, tt.want)
		}
	}
}

func TestComplaintsNeverShowSecrets(t *testing.T) {
	const secret = "hunter2"
	for _, o := range defaultFlags().optionTable() {
		if !o.secret {
			continue
		}
		for _, args := range [][]string{
			{"--" + o.name, "\n" + secret + "://:", secret, secret},
			{"--" + o.name, secret, secret, "--user", "bob"},
			{"--" + o.name + "=" + secret, "extra", "--http_port=x"},
		} {
			if got := complaint(t, args...); strings.Contains(got, secret) {
				t.Errorf("%q: the complaint shows the secret: %s", args, got)
			}
		}
	}
	if got := complaint(t, "--zk_auth", secret); strings.Contains(got, secret) {
		t.Errorf("the complaint shows the secret: %s", got)
	}
}

// Every option that checks its value is fed nonsense; the list comes from the
// FlagSet, so that none can be forgotten.
func TestNonsenseIsRefusedByName(t *testing.T) {
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

// The defaults of the manual, as text in the option's own unit.
func TestDefaults(t *testing.T) {
	want := map[string]string{
		"http_port": "8080", "https_port": "8443", "http_realm": "Mesosphere", "disable_http": "false", "http_compression": "true", "disable_http_compression": "false",
		"user": "root", "schedule_horizon": "60", "leader_max_idle_time": "5000", "failure_retry": "60000", "disable_after_failures": "0", "task_epsilon": "60", "job_history_limit": "5",
		"master": "local", "failover_timeout": "604800", "mesos_task_mem": "128", "mesos_task_cpu": "0.1", "mesos_task_disk": "256", "mesos_checkpoint": "true", "mesos_role": "*",
		"mesos_framework_name": "chronos", "reconciliation_interval": "600", "revive_offers_for_new_jobs": "false", "decline_offer_duration": "0", "min_revive_offers_interval": "5000",
		"zk_hosts": "localhost:2181", "zk_path": "/chronos/state", "zk_timeout": "10000", "mail_ssl": "false",
		"cassandra_port": "9042", "cassandra_keyspace": "metrics", "cassandra_table": "chronos", "cassandra_stat_count_table": "chronos_stat_count", "cassandra_consistency": "ANY", "cassandra_ttl": "31536000",
		"graphite_reporting_interval": "60",
		"data_dir":                    "chronos-data", "advertise_port": "0", "mesos_ssl": "false", "notify_missed": "false", "notify_late": "0", "log_level": "info", "log_format": "text", "unreachable_timeout": "10m", "stage_timeout": "15m", "job_history_keep": "20", "max_waiting_runs": "1000",
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

func TestOptionsOfEveryVersionExist(t *testing.T) {
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

func TestUnitsOfDurations(t *testing.T) {
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
	for in, want := range map[string]string{
		"local": "local", "h:5050": "h:5050", "master@10.0.0.1:5050": "10.0.0.1:5050",
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

func TestEnvironmentGivesDefaults(t *testing.T) {
	environ := environOf(map[string]string{
		"MESOSPHERE_HTTP_CREDENTIALS": "bob:secret", "MESOSPHERE_KEYSTORE_PATH": "/k.jks", "MESOSPHERE_KEYSTORE_PASS": "changeit",
		"CHRONOS_DATA_DIR": "/data", "CHRONOS_HTTP_ADDRESS": "0.0.0.0", "CHRONOS_USER": "not read without the packages' files",
	})
	f, err := parseFlags([]string{"--ssl_keystore_path", "/other.jks"}, environ, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if f.httpCredentials != "bob:secret" || f.sslKeystorePath != "/other.jks" || f.sslKeystorePassword != "changeit" || f.dataDir != "/data" || f.user != "root" {
		t.Errorf("credentials %q, key store %q, its password %q, data %q, user %q", f.httpCredentials, f.sslKeystorePath, f.sslKeystorePassword, f.dataDir, f.user)
	}
	if f.explicit("http_credentials") || !f.explicit("ssl_keystore_path") {
		t.Error("only what the command line says is explicit")
	}
	if got := f.listenHost(); got != "0.0.0.0" {
		t.Errorf("listenHost() = %q", got)
	}

	f, err = parseFlags(nil, environOf(map[string]string{"MESOSPHERE_HTTP_CREDENTIALS": ""}), &bytes.Buffer{})
	if err != nil || f.httpCredentials != "" {
		t.Errorf("an empty variable: credentials %q, %v", f.httpCredentials, err)
	}
	var stdout bytes.Buffer
	_, err = parseFlags(nil, environOf(map[string]string{"MESOSPHERE_HTTP_CREDENTIALS": "hunter2"}), &stdout)
	if err == nil || !strings.Contains(stdout.String(), "MESOSPHERE_HTTP_CREDENTIALS") || strings.Contains(stdout.String(), "hunter2") {
		t.Errorf("bad credentials of the environment: %v, %q", err, &stdout)
	}
}

func TestHelpAndVersionAnywhere(t *testing.T) {
	for _, line := range []string{"--help", "--help --nonsense", "--user bob --help", "--user --help", "nonsense --help"} {
		var stdout bytes.Buffer
		_, err := parseFlags(strings.Fields(line), noEnviron, &stdout)
		if !errors.Is(err, errHelp) || exitStatus(err) != 0 || !strings.HasPrefix(stdout.String(), "Usage: chronos") {
			t.Errorf("%s: %v, wrote %.40q", line, err, &stdout)
		}
	}
	var stdout bytes.Buffer
	if _, err := parseFlags([]string{"--user", "bob", "--version"}, noEnviron, &stdout); !errors.Is(err, errHelp) || stdout.String() != "chronos "+version+"\n" {
		t.Errorf("--version: %v, wrote %q", err, &stdout)
	}
	if got := complaint(t, "--", "--help"); !strings.Contains(got, "nothing may follow --") {
		t.Errorf("-- --help: %s", got)
	}
}

// To change the golden file: UPDATE_GOLDEN=1 go test -run TestHelpText
func TestHelpText(t *testing.T) {
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

func TestWithoutEffect(t *testing.T) {
	f := mustParseFlags(t, "--leader_max_idle_time 1 --schedule_horizon 20 --user bob")
	if got, want := f.withoutEffect(), []string{"--schedule_horizon", "--leader_max_idle_time"}; !slices.Equal(got, want) {
		t.Errorf("withoutEffect() = %v, want %v", got, want)
	}
}

func TestFileStoreOrZooKeeper(t *testing.T) {
	for line, want := range map[string]bool{
		"":                          true,
		"--master local":            true,
		"--zk_hosts localhost:2181": false,
		"--master local -z h:1":     false,
		"--master h:5050":           false,
	} {
		if got := mustParseFlags(t, line).fileStore(); got != want {
			t.Errorf("%s: fileStore() = %v, want %v", line, got, want)
		}
	}
}

// No command line, however odd, may do worse than a complaint in one line.
func FuzzParseFlags(f *testing.F) {
	for _, seed := range []string{"--zk_path /x", "-ubob", "--user -x", "-- --", "--=", "-", "--\x00=\n", "--zk_hosts zk://a:b@h:1/x", "-é", "--http_port=99999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var stdout bytes.Buffer
		_, err := parseFlags(strings.Split(line, " "), noEnviron, &stdout)
		if err != nil && !errors.Is(err, errHelp) && strings.Count(stdout.String(), "\n") != 1 {
			t.Errorf("parseFlags(%q) wrote %q", line, &stdout)
		}
	})
}
