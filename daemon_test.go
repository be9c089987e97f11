package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// A testDaemon is an instance with all its parts, on ports of its own.
type testDaemon struct {
	*daemon
	log  *logBuffer
	stop func()
}

// startDaemon runs an instance with the given options until the test ends.
func startDaemon(t *testing.T, args ...string) *testDaemon {
	t.Helper()
	log := &logBuffer{}
	d, err := tryDaemon(t, log, args...)
	if err != nil {
		t.Fatalf("newDaemon(%q): %v", args, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	n := &testDaemon{daemon: d, log: log, stop: func() { cancel(); running.Wait() }}
	t.Cleanup(n.stop)
	return n
}

func tryDaemon(t *testing.T, log io.Writer, args ...string) (*daemon, error) {
	t.Helper()
	args = append([]string{"--http_port", "0", "--https_port", "0", "--hostname", "127.0.0.1", "--data_dir", t.TempDir()}, args...)
	f, err := parseFlags(args, noEnviron, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelDebug)
	return newDaemon(f, noEnviron, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), level)
}

// ask sends a request to the n-th listener and returns the answer with its body.
func (d *testDaemon) ask(t *testing.T, n int, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	scheme := "http"
	if d.certificates != nil && n == len(d.listeners)-1 {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(t.Context(), method, scheme+"://"+d.listeners[n].Addr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", typeJSON)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", method, path, err, d.log)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func (d *testDaemon) subscribed() bool {
	s := d.seat.current()
	return s != nil && s.view().subscribed
}

func TestPlainAndTLSAreServedTogether(t *testing.T) {
	d := startDaemon(t, "--ssl_keystore_path", keystoreFile(t, "PKCS12", "both"), "--ssl_keystore_password", "changeit")
	for n := range 2 {
		if res, body := d.ask(t, n, "GET", "/scheduler/jobs", ""); res.StatusCode != 200 || body != "[]" {
			t.Errorf("listener %d: GET jobs = %d %s", n, res.StatusCode, body)
		}
	}
	if _, port, _ := net.SplitHostPort(d.listeners[0].Addr().String()); d.id != "127.0.0.1:"+port || d.self.Scheme != "http" {
		t.Errorf("id, instance = %s, %+v, want the plain listener", d.id, d.self)
	}
	for limit := time.Now().Add(20 * time.Second); !d.subscribed(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never subscribed:\n%s", d.log)
		}
	}
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
	p12 := keystoreFile(t, "PKCS12", "alone")
	for name, args := range map[string][]string{
		"PKCS12":              {"--ssl_keystore_path", p12, "--ssl_keystore_password", "changeit"},
		"PEM needs no secret": {"--ssl_keystore_path", pemFile(t, p12, "-nodes")},
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
			if want := (peer{"https", d.listeners[0].Addr().String(), true}); at != want {
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
	p12 := keystoreFile(t, "PKCS12", "x")
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
		{"TLS port taken", "--https_address 127.0.0.1 --https_port " + port + " --ssl_keystore_path " + p12 + " --ssl_keystore_password changeit", "--https_port: "},
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
	var log bytes.Buffer
	d, err := tryDaemon(t, &log, "--ssl_keystore_path", keystoreFile(t, "PKCS12", "x"))
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
	file := filepath.Join(t.TempDir(), "secret")
	for _, tt := range []struct {
		contents string
		mode     os.FileMode
		want     string // in the log, "" for nothing
	}{
		{"s3cret\n", 0o600, ""},
		{"s3cret\n", 0o640, ""},
		{"s3cret\n", 0o644, "everybody on this machine may read or write the secret"},
		{"s3cret\n", 0o602, "everybody on this machine may read or write the secret"},
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

// Two instances without plain HTTP find each other through ZooKeeper, and the one that follows
// forwards over TLS, credentials and all.
func TestFollowerForwardsOverTLS(t *testing.T) {
	hosts, root := zktest.Shared(t)
	data := t.TempDir()
	args := []string{"--disable_http", "--ssl_keystore_path", keystoreFile(t, "JKS", "shared"), "--ssl_keystore_password", "changeit",
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

// awaitRole waits until an instance has a role.
func awaitRole(t *testing.T, d *testDaemon, role string) {
	t.Helper()
	limit := time.After(30 * time.Second)
	h := &health{seat: d.seat}
	for {
		changed := d.seat.changed()
		if got, _ := h.role(); got == role {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("never became %s:\n%s", role, d.log)
		}
	}
}

// A signer is an authority that signs certificates for names.
type signer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newSigner(t *testing.T) *signer {
	a := &signer{t: t}
	a.cert, a.key = a.issue("authority", true)
	return a
}

func (a *signer) issue(name string, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(name); ip != nil {
		form.IPAddresses = []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, form, cmp.Or(a.cert, form), &key.PublicKey, cmp.Or(a.key, key))
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// certificates returns those of a PEM file with a key for name and the chain up to the authority.
func (a *signer) certificates(name string) *certificates {
	a.t.Helper()
	cert, key := a.issue(name, false)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	file := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	path := filepath.Join(a.t.TempDir(), "server.pem")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		a.t.Fatal(err)
	}
	c, err := newCertificates(tlsOptions{Path: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func TestInstancesTrustTheirKeystore(t *testing.T) {
	ours, others := newSigner(t), newSigner(t)
	own := ours.certificates("own.example")
	for _, tt := range []struct {
		name   string
		server *certificates
		trust  bool
	}{
		{"the same certificate, under any name", own, true},
		{"our authority, the right address", ours.certificates("127.0.0.1"), true},
		{"our authority, another name", ours.certificates("elsewhere.example"), false},
		{"another authority, the right address", others.certificates("127.0.0.1"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", tt.server.config())
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			serving.Go(func() {
				if conn, err := l.Accept(); err == nil {
					conn.(*tls.Conn).Handshake()
					conn.Close()
				}
			})
			conn, err := own.dialPeer(t.Context(), "tcp", l.Addr().String())
			if (err == nil) != tt.trust {
				t.Errorf("dialPeer: %v, want trust %v", err, tt.trust)
			}
			if err == nil {
				conn.Close()
			}
			l.Close()
			serving.Wait()
		})
	}
}

// Whatever secret an operator gives is in no log line, no answer, and not in the help text.
func TestSecretsStaySecret(t *testing.T) {
	args := []string{
		"--http_credentials", "user:hunter2-http", "--ssl_keystore_path", keystoreFile(t, "PKCS12", "x"), "--ssl_keystore_password", "changeit",
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
	for deadline := time.Now().Add(20 * time.Second); strings.Count(d.log.String(), "notice not delivered yet") < 5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not every client has tried:\n%s", d.log)
		}
	}
	for _, request := range requests() {
		method, path, _ := strings.Cut(request, " ")
		if method != "GET" {
			continue
		}
		if res, body := d.ask(t, 0, method, path, "", login...); strings.Contains(body, "hunter2") || strings.Contains(body, "changeit") {
			t.Errorf("%s = %d shows a secret: %s", request, res.StatusCode, body)
		}
	}
	if res, body := d.ask(t, 0, "GET", "/health", "", login...); res.StatusCode != 200 || !strings.Contains(body, `"client":"sentry"`) || !strings.Contains(body, `"cassandra":{`) {
		t.Errorf("GET /health = %d %s, want 200 with the clients", res.StatusCode, body)
	}
	d.stop()
	for line := range strings.Lines(d.log.String()) {
		if strings.Contains(line, "hunter2") || strings.Contains(line, "changeit") {
			t.Errorf("the log shows a secret: %s", line)
		}
	}
	var help bytes.Buffer
	parseFlags(append(args, "--help"), noEnviron, &help)
	if help.Len() == 0 || strings.Contains(help.String(), "hunter2") || strings.Contains(help.String(), "changeit") {
		t.Errorf("the help text shows a secret")
	}
}
