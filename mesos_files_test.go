package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// ranTask is a task on the double that has ended, with a log.
func ranTask(t *testing.T, m *mesostest.Master, log []byte) (*connection, *Run) {
	info := testFramework()
	info.Principal = nonEmpty(m.Options().Principal)
	k := connect(t, configFor(m, info, nil), "")
	k.reactWith(k.acknowledgeAll)
	synctest.Wait()
	if err := k.outcome(k.launchCall("ct:1:0:a:x y")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	if got, want := k.states("ct:1:0:a:x y"), "STARTING RUNNING FINISHED"; got != want {
		t.Fatalf("updates = %s, want %s", got, want)
	}
	m.WriteFile("ct:1:0:a:x y", "stdout", log)
	offer := k.seen(sched.Event_OFFERS)[0].Offers.Offers[0]
	return k, &Run{
		ID: "ct:1:0:a:x y", AgentID: offer.AgentID.Value,
		Sandbox: sandboxURL(agentURL(offer.URL), offer.FrameworkID.Value, "ct:1:0:a:x y"),
	}
}

func TestReadLogsOfARun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{Principal: "chronos", Secret: "s3cret"})
		m.AutoFinish(time.Second)
		log := []byte(strings.Repeat("größe \"quoted\" \\ \t\x00\xff€\n", 20_000)) // many pages, cut within characters
		k, r := ranTask(t, m, log)
		files := newAgentFiles(k.mesosCluster, nil)
		defer files.http.CloseIdleConnections()
		size := int64(len(log))
		tests := []struct {
			name          string
			offset, limit int64
			want          []byte
		}{
			{"whole", 0, size + 10, log},
			{"a part", 100_001, 70_000, log[100_001:170_001]},
			{"the end", -1000, 5000, log[size-1000:]},
			{"more than there is from the end", -size - 5, 10, log[:10]},
			{"beyond the end", size + 1, 10, nil},
		}
		for _, tt := range tests {
			got, n, err := files.read(t.Context(), r, "stdout", tt.offset, tt.limit)
			if err != nil || n != size || !bytes.Equal(got, tt.want) {
				t.Errorf("%s: read %d bytes of %d, %v, want %d of %d", tt.name, len(got), n, err, len(tt.want), size)
			}
		}
		if _, _, err := files.read(t.Context(), r, "stderr", 0, 10); !errors.Is(err, errNotFound) {
			t.Errorf("missing file: %v, want errNotFound", err)
		}
		if _, _, err := files.read(t.Context(), r, "../../x/stdout", 0, 10); !errors.Is(err, errNotFound) {
			t.Errorf("a file elsewhere: %v, want errNotFound", err)
		}
		other := *r
		other.ID = "ct:2:0:a:"
		if _, _, err := files.read(t.Context(), &other, "stdout", 0, 10); !errors.Is(err, errNotFound) {
			t.Errorf("unknown run: %v, want errNotFound", err)
		}
		other = *r
		other.Sandbox = ""
		if got, _, err := files.read(t.Context(), &other, "stdout", 0, 6); err != nil || string(got) != string(log[:6]) {
			t.Errorf("run without a sandbox URL: %q, %v, want its agent found through the master", got, err)
		}
		other.AgentID = "gone"
		if _, _, err := files.read(t.Context(), &other, "stdout", 0, 6); !errors.Is(err, errNotFound) {
			t.Errorf("unknown agent: %v, want errNotFound", err)
		}
		files.agents = func() (string, string) { return "chronos", "wrong" }
		if _, _, err := files.read(t.Context(), r, "stdout", 0, 10); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("wrong secret: %v, want the status", err)
		}
	})
}

// TestReadLogsAsWhoeverAgentsAdmit: agents have credentials of their own, which need not be those of masters.
func TestReadLogsAsWhoeverAgentsAdmit(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "agents")
	login := (&daemon{log: slog.New(slog.DiscardHandler), flags: &flags{mesosAgentPrincipal: "reader", mesosAgentSecretFile: secret}}).agentLogin()
	if (&daemon{flags: &flags{}}).agentLogin() != nil {
		t.Error("agents get other credentials than the framework's, and none were given")
	}
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{Principal: "chronos", Secret: "s3cret", AgentPrincipal: "reader", AgentSecret: "read"})
		m.AutoFinish(time.Second)
		k, r := ranTask(t, m, []byte("hello\n"))
		r.Sandbox = "" // so that the master is asked as well, with the framework's own
		tests := []struct{ name, secret, want string }{
			{"wrong", "other\n", "127.0.0.1:5051 refused our credentials (401): see --mesos_agent_principal, or for masters --mesos_authentication_principal"},
			{"right, replaced while we run", "read\n", ""},
		}
		files := newAgentFiles(k.mesosCluster, login)
		defer files.http.CloseIdleConnections()
		for _, tt := range tests {
			if err := os.WriteFile(secret, []byte(tt.secret), 0o600); err != nil {
				t.Fatal(err)
			}
			got, _, err := files.read(t.Context(), r, "stdout", 0, 10)
			if tt.want == "" && (err != nil || string(got) != "hello\n") || tt.want != "" && (err == nil || !strings.HasSuffix(err.Error(), tt.want)) {
				t.Errorf("%s: read = %q, %v, want %s", tt.name, got, err, tt.want)
			}
		}
		framework := newAgentFiles(k.mesosCluster, nil)
		defer framework.http.CloseIdleConnections()
		if _, _, err := framework.read(t.Context(), r, "stdout", 0, 10); err == nil || !strings.Contains(err.Error(), "(401)") {
			t.Errorf("with the framework's credentials: %v, want a refusal", err)
		}
	})
}

// TestReadLogsOverTLS reads from an agent that speaks https, whose certificate must be trusted.
func TestReadLogsOverTLS(t *testing.T) {
	t.Parallel()
	m := mesostest.NewMaster(t, mesostest.Options{Principal: "chronos", Secret: "s3cret"})
	a := m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
	agent := httptest.NewTLSServer(a)
	defer agent.Close()
	a.AddEnded("F", "T")
	m.WriteFile("T", "stderr", []byte("hello\n"))
	r := &Run{ID: "T", Sandbox: sandboxURL(agent.URL, "F", "T")}
	c := configFor(m, testFramework(), nil)
	for _, trusted := range []bool{false, true} {
		if trusted {
			pool := x509.NewCertPool()
			pool.AddCert(agent.Certificate())
			c.tls = &tls.Config{RootCAs: pool}
		}
		files := newAgentFiles(newMesos(c), nil)
		got, size, err := files.read(t.Context(), r, "stderr", -3, 10)
		files.http.CloseIdleConnections()
		if trusted && (err != nil || string(got) != "lo\n" || size != 6) || !trusted && err == nil {
			t.Errorf("read with the agent trusted %v = %q of %d, %v", trusted, got, size, err)
		}
	}
}

// TestFilesOfARecordedAgent serves what a real agent has answered.
func TestFilesOfARecordedAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers := make(map[string]string)
		for _, it := range mesostest.ReadRecording(t, "30-operator-endpoints") {
			if it.Kind != "response" {
				continue
			}
			var text string
			if json.Unmarshal(it.Body, &text) == nil {
				answers[it.Name] = text
			}
		}
		c := brokenMaster(t, func(w http.ResponseWriter, r *http.Request) {
			switch q := r.URL.Query(); {
			case r.URL.Path == "/state":
				w.Write([]byte(answers["agent state"]))
			case q.Get("offset") == "-1":
				w.Write([]byte(answers["agent files/read offset=-1"]))
			case strings.HasSuffix(q.Get("path"), "/executors/op-1/runs/02a781f1-6e9e-4f01-b390-758f25d026a9/stdout"):
				w.Write([]byte(answers["agent files/read stdout"]))
			default:
				http.NotFound(w, r)
			}
		})
		files := newAgentFiles(newMesos(c), nil)
		defer files.http.CloseIdleConnections()
		r := &Run{ID: "op-1", Sandbox: "http://broken:5050/files/browse?path=x"}
		got, size, err := files.read(t.Context(), r, "stdout", 0, 1000)
		if err != nil || string(got) != "hello-out\n" || size != 10 {
			t.Errorf("read = %q, %d, %v, want the recorded log", got, size, err)
		}
	})
}

func TestUnquoteBytes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`null`: "", ``: "", `""`: "", `"a\"\\\/\b\f\n\r\t"`: "a\"\\/\b\f\n\r\t",
		`"\u00e4\ud83d\ude00\ud83d"`: "ä😀\ufffd", "\"\xff\xc3\"": "\xff\xc3",
	} {
		if got := string(unquoteBytes([]byte(in))); got != want {
			t.Errorf("unquoteBytes(%s) = %q, want %q", in, got, want)
		}
	}
}

// Certificates are issued to names, so agents that speak TLS are reached under theirs.
func TestAgentURL(t *testing.T) {
	t.Parallel()
	both := mesos.Address{Hostname: new("a1"), IP: new("10.0.0.1"), Port: 5051}
	for _, tt := range []struct {
		url  *mesos.URL
		want string
	}{
		{nil, ""},
		{&mesos.URL{Scheme: "http", Address: both}, "http://10.0.0.1:5051"},
		{&mesos.URL{Scheme: "https", Address: both}, "https://a1:5051"},
		{&mesos.URL{Scheme: "https", Address: mesos.Address{IP: new("10.0.0.1"), Port: 5051}}, "https://10.0.0.1:5051"},
		{&mesos.URL{Scheme: "http", Address: mesos.Address{Hostname: new("a1"), Port: 5051}}, "http://a1:5051"},
	} {
		if got := agentURL(tt.url); got != tt.want {
			t.Errorf("agentURL(%v) = %q, want %q", tt.url, got, tt.want)
		}
	}
}

func TestSandboxURL(t *testing.T) {
	t.Parallel()
	u := &mesos.URL{Scheme: "https", Address: mesos.Address{IP: new("fe80::1"), Port: 5051}}
	got := sandboxURL(agentURL(u), "F", "ct:1:0:a:x y")
	want := "https://[fe80::1]:5051/files/browse?path=%2Fframeworks%2FF%2Fexecutors%2Fct%3A1%3A0%3Aa%3Ax+y%2Flatest"
	if got != want {
		t.Errorf("sandboxURL = %s, want %s", got, want)
	}
}
