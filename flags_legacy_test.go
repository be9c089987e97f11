package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// files is a file system with these files.
func files(contents map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, content := range contents {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

func TestStartScripts(t *testing.T) {
	t.Parallel()
	packaged := map[string]string{"etc/chronos/conf/http_port": "4400\n"}
	tests := []struct {
		name, line, environ string
		files               map[string]string
		want, notes         string
	}{
		{name: "a plain command line stays", line: "--user bob -z h:1", want: "--user bob -z h:1"},
		{name: "unknown options are left for the parser to refuse", line: "--slack_token x", want: "--slack_token x"},
		{name: "CHRONOS_ variables count everywhere", line: "--user bob", environ: "CHRONOS_HTTP_PORT=4400 CHRONOS_LOG_FORMAT=json CHRONOS_USER=eve", want: "--http_port=4400 --log_format=json --user=eve --user bob"},
		{name: "those that give defaults are read as such", environ: "CHRONOS_DATA_DIR=/data"},
		{name: "what an orchestrator says of a service called chronos", environ: "CHRONOS_HTTP_PORT=tcp://10.0.0.1:4400 CHRONOS_PORT=tcp://10.0.0.1:80 CHRONOS_SERVICE_HOST=10.0.0.1",
			notes: "environment variable CHRONOS_HTTP_PORT=tcp://10.0.0.1:4400 was set by an orchestrator and is ignored; environment variables that are not named after options are ignored: CHRONOS_PORT CHRONOS_SERVICE_HOST"},
		{name: "variables of jobs and clients", environ: "CHRONOS_JOB_NAME=a CHRONOS_RESOURCE_MEM=1 CHRONOS_URL=http://h:1 CHRONOS_TOKEN=t CHRONOS_CREDENTIALS=u:p"},

		{name: "run_jar", line: "run_jar --user bob", want: "--user bob"},
		{name: "the first package of DC/OS", line: "chronos run_jar --master zk://m:2181/mesos --http_port 4400", want: "--master zk://m:2181/mesos --http_port 4400"},
		{name: "run_jar reads no files", line: "run_jar --user bob", files: packaged, environ: "CHRONOS_USER=eve", want: "--user=eve --user bob"},
		{name: "run_jar forgives options that are gone", line: "run_jar --slack_channel ops --slack_token=abc --user bob --no-logger", want: "--user bob",
			notes: "option --slack_channel is unknown and ignored; option --slack_token is unknown and ignored"},
		{name: "run_jar takes a word behind a boolean", line: "run_jar --mail_ssl true --mesos_checkpoint false --user bob", want: "--mail_ssl=true --mesos_checkpoint=false --user bob"},
		{name: "run_jar replaces variables that no shell has seen", line: "run_jar --http_port $PORT0 --hostname ${HOST} --user $NOBODY", environ: "PORT0=31000 HOST=a1", want: "--http_port 31000 --hostname a1 --user $NOBODY",
			notes: "$PORT0 in --http_port is replaced from the environment, since no shell has expanded it; ${HOST} in --hostname is replaced from the environment, since no shell has expanded it"},
		{name: "run_jar --help", line: "run_jar --help", want: "--help"},
		{name: "the wrapper's other jar", line: "--jar /opt/chronos.jar --user bob", want: "--user bob", notes: "--jar is ignored: there is no jar"},
		{name: "the 3.0 image's script", line: "/chronos/bin/start.sh --zk_hosts h:1", want: "--zk_hosts h:1"},
		{name: "the 2.x image's script", line: "bin/start-chronos.bash --zk_hosts h:1 --hostname h", want: "--zk_hosts h:1 --hostname h"},

		{name: "the packages' files", line: "--user bob", want: "--mail_ssl --hostname=h 1 --http_port=4400 --user=-x --user bob", files: map[string]string{
			"etc/chronos/conf/http_port": "4400\n", "etc/chronos/conf/hostname": "h 1\n\n", "etc/chronos/conf/?mail_ssl": "ignored",
			"etc/chronos/conf/user": "-x", "etc/chronos/conf/.placeholder": "", "etc/chronos/conf/sub/user": "eve"}, notes: "options of /etc/chronos/conf: mail_ssl hostname http_port user"},
		{name: "a boolean's file may say true, false, or nothing", want: "--disable_http --mail_ssl=true --mesos_checkpoint=false", files: map[string]string{
			"etc/chronos/conf/mail_ssl": "true\n", "etc/chronos/conf/mesos_checkpoint": "false", "etc/chronos/conf/disable_http": ""}, notes: "options of /etc/chronos/conf: disable_http mail_ssl mesos_checkpoint"},
		{name: "variables override files", environ: "CHRONOS_USER=eve CHRONOS_MAIL_SSL= CHRONOS_CLUSTER_NAME=", files: packaged, want: "--http_port=4400 --mail_ssl --user=eve", notes: "options of /etc/chronos/conf: http_port"},
		{name: "variables of other programs", environ: "CHRONOS_SERVICE_HOST=10.0.0.1", files: packaged, want: "--http_port=4400", notes: "options of /etc/chronos/conf: http_port; environment variables that are not named after options are ignored: CHRONOS_SERVICE_HOST"},
		{name: "Mesos's own file is the weakest", line: "--master h:5050 --no-logger", want: "--master=zk://h1:2181,h2:2181/mesos --zk_hosts=h1:2181,h2:2181 --http_port=4400 --master h:5050",
			files: map[string]string{"etc/chronos/conf/http_port": "4400", "etc/mesos/zk": "zk://h1:2181,h2:2181/mesos\n"}, notes: "options of /etc/chronos/conf: http_port"},
		{name: "Mesos's own file counts only for the packages", files: map[string]string{"etc/mesos/zk": "zk://h1:2181/mesos\n"}},
		{name: "help needs no files", line: "--help", files: map[string]string{"etc/chronos/conf/nonsense": ""}, want: "--help"},
	}
	for _, tt := range tests {
		var stdout bytes.Buffer
		environ := strings.Fields(tt.environ)
		args, notes, err := expandLegacy(strings.Fields(tt.line), environ, files(tt.files), strings.NewReader(""), &stdout)
		if err != nil || stdout.Len() > 0 {
			t.Errorf("%s: %v, wrote %q", tt.name, err, &stdout)
		}
		if got := strings.Join(args, " "); got != tt.want {
			t.Errorf("%s: command line is\n%s, want\n%s", tt.name, got, tt.want)
		}
		if got := strings.Join(notes, "; "); got != tt.notes {
			t.Errorf("%s: notes are %q, want %q", tt.name, got, tt.notes)
		}
	}
}

func TestWordsFromAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "options")
	if err := os.WriteFile(file, []byte("--user bob  --http_port\n4400\n\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"@" + file, "--ignored"}, {"@--"}} {
		got, _, err := expandLegacy(args, nil, rootFS(), strings.NewReader("--user bob  --http_port\n4400\n\n"), &bytes.Buffer{})
		if want := "--user bob --http_port 4400"; err != nil || strings.Join(got, " ") != want {
			t.Errorf("%v = %q, %v, want %q", args, got, err, want)
		}
	}
}

func TestStartScriptMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args  []string
		files map[string]string
		want  string
	}{
		{[]string{"@/no/such/file"}, nil, "[scallop] Error: read options from '@/no/such/file': file does not exist\n"},
		{nil, map[string]string{"etc/chronos/conf/zk_host": "h:1"}, "[scallop] Error: Unknown option 'zk_host' - did you mean --zk_hosts? (the file /etc/chronos/conf/zk_host)\n"},
	}
	for _, tt := range tests {
		var stdout bytes.Buffer
		_, _, err := expandLegacy(tt.args, nil, files(tt.files), strings.NewReader(""), &stdout)
		if exitStatus(err) != 1 || stdout.String() != tt.want {
			t.Errorf("%v: %v, wrote\n%s, want\n%s", tt.args, err, &stdout, tt.want)
		}
	}
}
