package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

func TestEnvironmentGivesDefaults(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

func TestFileStoreOrZooKeeper(t *testing.T) {
	t.Parallel()
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

// variables turns "HOST=a1 PORT0=31234" into an environment.
func variables(text string) map[string]string {
	m := map[string]string{}
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		m[key] = value
	}
	return m
}

// The cases are what Marathon, docker run, and the 3.0 image give their containers.
func TestListenAndAdvertise(t *testing.T) {
	t.Parallel()
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, line, environ string
		listen              int
		advertised          string
	}{
		{"bridge, container port 8080", "", "HOST=a1 PORT0=31234 PORT_8080=31234", 8080, "a1:31234"},
		{"bridge, container port 4400", "--http_port 4400", "HOST=a1 PORT0=31234 PORT_4400=31234", 4400, "a1:31234"},
		{"bridge, container port 0, old Marathon", "", "HOST=a1 PORT0=31234", 31234, "a1:31234"},
		{"bridge, container port 0", "", "HOST=a1 PORT0=31234 PORT_31234=31234", 31234, "a1:31234"},
		{"host network, service port", "", "HOST=a1 PORT0=31234 PORT_10044=31234", 31234, "a1:31234"},
		{"host network, required port 8080", "", "HOST=a1 PORT0=8080 PORT_8080=8080", 8080, "a1:8080"},
		{"docker run -p 8080:8080", "", "", 8080, own + ":8080"},
		{"docker run -p 12345:8080", "", "HOST=n1 PORT_8080=12345", 8080, "n1:12345"},
		{"the 3.0 image", "", "HOST=h PORT0=4400", 4400, "h:4400"},
		{"an option for the host", "--hostname h2", "HOST=a1 PORT0=31234 PORT_8080=31234", 8080, "h2:31234"},
		{"an option for the port", "--advertise_port 80", "HOST=a1 PORT0=31234 PORT_8080=31234", 8080, "a1:80"},
		{"the listening port given", "--http_port 8080", "HOST=a1 PORT0=4400", 8080, "a1:8080"},
		{"variables that are no ports", "", "HOST=a1 PORT0=x PORT_8080=tcp://10.0.0.1:80", 8080, "a1:8080"},
		{"an IPv6 address", "--hostname ::1", "", 8080, "[::1]:8080"},
	}
	for _, tt := range tests {
		f := mustParseFlags(t, tt.line)
		environ := environOf(variables(tt.environ))
		listen := f.listenPort(environ)
		if got := f.advertised(environ, listen); listen != tt.listen || got != tt.advertised {
			t.Errorf("%s: listens on %d, advertises %s; want %d, %s", tt.name, listen, got, tt.listen, tt.advertised)
		}
	}
	if got := mustParseFlags(t, "--http_port 0 --hostname h").advertised(noEnviron, 40123); got != "h:40123" {
		t.Errorf("a free port is advertised as %s", got)
	}
}

func TestListenAddress(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                       "127.0.0.1:8080",
		"--http_address 0.0.0.0": "0.0.0.0:8080",
		"--http_address=":        ":8080",
		"--master h:5050":        ":8080",
		"--master h:5050 --http_address 10.0.0.1": "10.0.0.1:8080",
		"--zk_hosts h:2181":                       "127.0.0.1:8080",
		"--http_address ::1 --http_port 4400":     "[::1]:4400",
	} {
		if got := mustParseFlags(t, line).listenAddress(noEnviron); got != want {
			t.Errorf("%s: listenAddress() = %q, want %q", line, got, want)
		}
	}
}
