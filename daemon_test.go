package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/kubetest"
)

func TestPlainAndTLSAreServedTogether(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "--ssl_keystore_path", newIdentity(t, "both", nil).pkcs12File(), "--ssl_keystore_password", storePassword)
	for n := range 2 {
		if res, body := d.ask(t, n, "GET", "/scheduler/jobs", ""); res.StatusCode != 200 || body != "[]" {
			t.Errorf("listener %d: GET jobs = %d %s", n, res.StatusCode, body)
		}
	}
	if _, port, _ := net.SplitHostPort(d.listeners[0].Addr().String()); d.id != "127.0.0.1:"+port || d.self.Scheme != "http" {
		t.Errorf("id, instance = %s, %+v, want the plain listener", d.id, d.self)
	}
	d.until(t, "it has subscribed", d.subscribed)
	_, body := d.ask(t, 1, "GET", "/metrics/prometheus", "")
	for _, want := range []string{"\nchronos_leader 1\n", "\nchronos_mesos_connected 1\n", "\nchronos_jobs 0\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics have no %q", want)
		}
	}
	if strings.Contains(body, "chronos_tls_certificate_expiry_timestamp_seconds 0\n") {
		t.Error("the certificate has no end")
	}
}

func TestTLSAlone(t *testing.T) {
	t.Parallel()
	alone := newIdentity(t, "alone", nil)
	for name, args := range map[string][]string{
		"PKCS12":              {"--ssl_keystore_path", alone.pkcs12File(), "--ssl_keystore_password", storePassword},
		"PEM needs no secret": {"--ssl_keystore_path", alone.pemFile()},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, append(args, "--disable_http")...)
			if len(d.listeners) != 1 {
				t.Fatalf("listeners = %d, want 1", len(d.listeners))
			}
			if res, body := d.ask(t, 0, "GET", "/ping", ""); res.StatusCode != 200 || res.TLS == nil || body != "pong\n" {
				t.Errorf("GET /ping = %d %q", res.StatusCode, body)
			}
			at := d.self.peer(d.id)
			if want := (peer{scheme: "https", host: d.listeners[0].Addr().String(), native: true, knows: true}); at != want {
				t.Errorf("the others find it at %+v, want %+v", at, want)
			}
			if got := d.webUI("127.0.0.1"); got != "https://"+d.id {
				t.Errorf("web UI = %s", got)
			}
			res, err := http.Get("http://" + d.listeners[0].Addr().String() + "/ping")
			if err == nil {
				res.Body.Close()
				if res.StatusCode != 400 {
					t.Errorf("plain HTTP on the TLS port = %d, want it refused", res.StatusCode)
				}
			}
		})
	}
}

func TestConfigurationsThatCannotServe(t *testing.T) {
	t.Parallel()
	p12 := newIdentity(t, "x", nil).pkcs12File()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, tt := range []struct{ name, args, want string }{
		{"neither", "--disable_http", "neither HTTP nor HTTPS support has been configured"},
		{"neither, without the password", "--disable_http --ssl_keystore_path " + p12, "neither HTTP nor HTTPS support has been configured"},
		{"wrong password", "--ssl_keystore_path " + p12 + " --ssl_keystore_password hunter2", p12 + " is invalid or not readable: the password is wrong"},
		{"no keystore", "--ssl_keystore_path /nonexistent --ssl_keystore_password x", "/nonexistent is invalid or not readable: "},
		{"plain port taken", "--http_address 127.0.0.1 --http_port " + port, "--http_port: "},
		{"TLS port taken", "--https_address 127.0.0.1 --https_port " + port + " --ssl_keystore_path " + p12 + " --ssl_keystore_password " + storePassword, "--https_port: "},
		{"Graphite without a number", "--graphite_host_port h:port", ""},
		{"no secret of the framework", "--master h:5050 --mesos_authentication_principal p --mesos_authentication_secret_file /nonexistent",
			"--mesos_authentication_secret_file: open /nonexistent"},
		{"no secret for agents", "--master h:5050 --mesos_agent_principal p --mesos_agent_secret_file /nonexistent", "--mesos_agent_secret_file: open /nonexistent"},
		{"half of what agents ask for", "--master h:5050 --mesos_agent_principal p", "--mesos_agent_principal and --mesos_agent_secret_file"},
		{"Cassandra's key space", "--cassandra_contact_points h --cassandra_keyspace a;b", "--cassandra_keyspace"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" {
				return // refused by the flags already
			}
			d, err := tryDaemon(t, io.Discard, strings.Fields(tt.args)...)
			if err == nil {
				d.closeListeners()
				t.Fatalf("newDaemon(%s) works", tt.args)
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("newDaemon(%s): %v, want %q and no secret", tt.args, err, tt.want)
			}
		})
	}
}

func TestKeystoreWithoutPasswordIsWarnedOf(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d, err := tryDaemon(t, &log, "--ssl_keystore_path", newIdentity(t, "x", nil).pkcs12File())
	if err != nil {
		t.Fatal(err)
	}
	defer d.closeListeners()
	defer d.store.Close()
	if len(d.listeners) != 1 || !strings.Contains(log.String(), "TLS is off") {
		t.Errorf("listeners = %d, log %s; want plain HTTP and a warning", len(d.listeners), &log)
	}
}

func TestSecretFilesAreWarnedOf(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	for _, tt := range []struct {
		contents string
		mode     os.FileMode
		want     string // in the log, "" for nothing
	}{
		{"s3cret\n", 0o600, ""},
		{"s3cret\n", 0o640, ""},
		{"s3cret\n", 0o644, "the secret can be read or written by everybody on this machine"},
		{"s3cret\n", 0o602, "the secret can be read or written by everybody on this machine"},
		{"\n", 0o600, "the secret is empty"},
	} {
		if err := os.WriteFile(file, []byte(tt.contents), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, tt.mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		d := &daemon{log: slog.New(slog.NewTextHandler(&log, nil))}
		if _, err := d.readSecret("mesos_authentication_secret_file", file); err != nil {
			t.Fatal(err)
		}
		if got := log.String(); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") || strings.Contains(got, "s3cret") {
			t.Errorf("%q, mode %o: log = %q, want %q", tt.contents, tt.mode, got, tt.want)
		}
	}
}

// Whatever secret an operator gives is in no log line, no answer, and not in the help text.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	args := []string{
		"--http_credentials", "user:hunter2-http", "--ssl_keystore_path", newIdentity(t, "x", nil).pkcs12File(), "--ssl_keystore_password", storePassword,
		"--mail_server", "127.0.0.1:1", "--mail_from", "a@b", "--mail_user", "u", "--mail_password", "hunter2-mail",
		"--raven_dsn", "http://hunter2-key:hunter2-dsn@127.0.0.1:1/1", "--slack_url", "http://127.0.0.1:1/hunter2-slack",
		"--mattermost_url", "http://127.0.0.1:1/hunter2-mattermost", "--http_notification_url", "http://x:hunter2-url@127.0.0.1:1/",
		"--http_notification_credentials", "u:hunter2-notify", "--zk_auth", "u:hunter2-zk",
		"--cassandra_contact_points", "127.0.0.1", "--cassandra_port", "1", "--cassandra_user", "u", "--cassandra_password", "hunter2-cassandra",
	}
	d := startDaemon(t, args...)
	awaitRole(t, d, roleLeader)
	login := []string{"Authorization", strings.TrimPrefix(basic("user:hunter2-http"), "\nAuthorization: ")}
	d.ask(t, 0, "POST", "/scheduler/iso8601", strings.Replace(jobA, `"a"`, `"a","owner":"o@x","environmentVariables":[{"name":"P","value":"hunter2-env"}]`, 1), login...)
	d.ask(t, 0, "DELETE", "/scheduler/job/a", "", login...) // notifies everybody, in vain
	d.until(t, "every client has tried", func() bool { return strings.Count(d.log.String(), "notice not delivered yet") >= 5 })
	for _, request := range requests() {
		method, path, _ := strings.Cut(request, " ")
		if method != "GET" {
			continue
		}
		res, body := d.ask(t, 0, method, path, "", login...)
		if strings.HasSuffix(path, "backup") { // where documents of jobs are, also of those that can be brought back
			body = strings.ReplaceAll(body, "hunter2-env", "")
		}
		if strings.Contains(body, "hunter2") || strings.Contains(body, storePassword) {
			t.Errorf("%s = %d shows a secret: %s", request, res.StatusCode, body)
		}
	}
	if res, body := d.ask(t, 0, "GET", "/health", "", login...); res.StatusCode != 200 || !strings.Contains(body, `"client":"sentry"`) || !strings.Contains(body, `"cassandra":{`) {
		t.Errorf("GET /health = %d %s, want 200 with the clients", res.StatusCode, body)
	}
	d.stop()
	for line := range strings.Lines(d.log.String()) {
		if strings.Contains(line, "hunter2") || strings.Contains(line, storePassword) {
			t.Errorf("the log shows a secret: %s", line)
		}
	}
	var help bytes.Buffer
	parseFlags(append(args, "--help"), noEnviron, &help)
	if help.Len() == 0 || strings.Contains(help.String(), "hunter2") || strings.Contains(help.String(), storePassword) {
		t.Errorf("the help text shows a secret")
	}
}

// An instance whose listener fails can't be reached: it ends with the reason, and neither leads nor runs anything from then on.
func TestFailingListenerEndsTheProgram(t *testing.T) {
	t.Parallel()
	d, err := tryDaemon(t, &logBuffer{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.run(context.Background()) }()
	until(t, "it leads", func() bool { return d.seat.current() != nil })
	d.listeners[0].Close() // behind the server's back
	if err := next(t, ended, "end"); err == nil || !strings.Contains(err.Error(), "serve HTTP: accept") {
		t.Errorf("run = %v, want why the listener failed", err)
	}
	if d.seat.current() != nil {
		t.Error("it still leads")
	}
}

// TestProgramOnKubernetes runs the whole of it against the double of a cluster: a kubeconfig, the state in a file, a job
// through the API, its output, what can't run, and a restart.
func TestProgramOnKubernetes(t *testing.T) {
	t.Parallel()
	s := kubetest.NewServer(t, kubetest.Options{Token: "sesame"})
	s.TaskKey(annotationTask)
	s.SetBehaviour(func(p kubetest.Pod) kubetest.Outcome {
		return kubetest.Outcome{Exit: map[bool]int{true: 3}[slices.Contains(p.Command, "exit 3")], Log: "hello from " + strings.Join(p.Command, " ") + "\n"}
	})
	kubeconfig := filepath.Join(t.TempDir(), "config")
	text := "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: \"" + s.URL() + "\"}}]\nusers: [{name: u, user: {token: sesame}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	args := []string{"--master", "k8s://" + kubeconfig, "--data_dir", data, "--kubernetes_image", "busybox", "--http_address", "127.0.0.1"}
	d := startDaemon(t, args...)
	awaitRole(t, d, roleLeader)
	post := func(document string) int {
		res, _ := d.ask(t, 0, http.MethodPost, "/scheduler/iso8601", document)
		return res.StatusCode
	}
	history := func(name string) string {
		_, body := d.ask(t, 0, http.MethodGet, "/scheduler/runs/"+name, "")
		return body
	}
	if got := post(`{"name":"good","command":"echo $HOME","schedule":"R1//PT1H"}`); got != http.StatusNoContent {
		t.Fatalf("the job is answered with %d", got)
	}
	if got := post(`{"name":"bad","command":"exit 3","retries":0,"schedule":"R1//PT1H"}`); got != http.StatusNoContent {
		t.Fatalf("the job is answered with %d", got)
	}
	if got := post(`{"name":"never","command":"x","executor":"/bin/e","schedule":"R1//PT1H"}`); got != http.StatusBadRequest {
		t.Errorf("a job that can't run here is answered with %d, want 400", got)
	}
	d.until(t, "the ends of both runs", func() bool {
		return strings.Contains(history("good"), `"state":"finished"`) && strings.Contains(history("bad"), `"exit":3`)
	})
	run := d.seat.current().view().job("good").history[0].ID
	if _, body := d.ask(t, 0, http.MethodGet, "/scheduler/run/"+url.PathEscape(run)+"/stdout", ""); body != "hello from /bin/sh -c echo $HOME\n" {
		t.Errorf("stdout = %q", body)
	}
	if _, body := d.ask(t, 0, http.MethodGet, "/scheduler/run/"+url.PathEscape(run)+"/stderr", ""); body != oneOutput {
		t.Errorf("stderr = %q", body)
	}
	if _, body := d.ask(t, 0, http.MethodGet, "/health", ""); !strings.Contains(body, `"kubernetes":{"server":"`+s.URL()) || !strings.Contains(body, `"status":"ok"`) {
		t.Errorf("health = %s", body)
	}
	d.stop()
	d = startDaemon(t, args...)
	awaitRole(t, d, roleLeader)
	if !strings.Contains(history("good"), `"state":"finished"`) || len(s.Starts()) != 2 {
		t.Errorf("after a restart: history %s, started %v", history("good"), s.Starts())
	}
}
