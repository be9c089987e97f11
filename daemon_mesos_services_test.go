//go:build services

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	"github.com/chronos-go/chronos/internal/zktest"
)

// front serves a master at an address of its own, with something else in its place while out is set.
type front struct {
	address string
	out     atomic.Pointer[http.HandlerFunc]
	file    string // with the framework's secret
}

func newFront(t *testing.T, m *mesostest.Master, address string) *front {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: l.Addr().String()}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := f.out.Load(); h != nil {
			(*h)(w, r)
			return
		}
		m.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends with Close
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return f
}

// secret writes the file that the instance reads its secret from.
func (f *front) secret(text string) {
	if err := os.WriteFile(f.file, []byte(text+"\n"), 0o600); err != nil {
		panic(err) // in the test's own directory
	}
}

func (f *front) replace(h http.HandlerFunc) { f.out.Store(&h) }

// TestStartWithMesosInTrouble starts an instance while something is wrong with Mesos or with what the
// flags say of it. The log, /health, the metrics and the waiting run say what; nothing ends; and when the
// cause is gone the run takes place without anybody touching the instance.
func TestStartWithMesosInTrouble(t *testing.T) {
	t.Parallel()
	stream := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", mediaProtobuf)
			w.Header().Set(streamHeader, "x")
			fmt.Fprint(w, body)
		}
	}
	html := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>It works!</html>") }
	tests := []struct {
		name   string
		args   []string
		begin  func(m *mesostest.Master, f *front)
		cure   func(t *testing.T, m *mesostest.Master, f *front)
		closed bool   // nothing listens where the master should be
		log    string // a line of it
		why    string // what /health says
	}{
		{name: "wrong secret",
			begin: func(m *mesostest.Master, _ *front) { m.Configure(func(o *mesostest.Options) { o.Secret = "changed" }) },
			cure: func(_ *testing.T, m *mesostest.Master, _ *front) {
				m.Configure(func(o *mesostest.Options) { o.Secret = "s3cret" })
			},
			log: `level=ERROR msg="the cluster has ended the subscription" message="master refused authentication (401): check the principal and the secret`,
			why: "master refused authentication (401)"},
		{name: "principal of somebody else",
			begin: func(m *mesostest.Master, _ *front) {
				m.Configure(func(o *mesostest.Options) { o.Principal = "marathon" })
			},
			cure: func(_ *testing.T, m *mesostest.Master, _ *front) {
				m.Configure(func(o *mesostest.Options) { o.Principal = "chronos" })
			},
			log: "master refused authentication (401)",
			why: "master refused authentication (401)"},
		{name: "wrong secret in the file",
			begin: func(_ *mesostest.Master, f *front) { f.secret("wrong") },
			cure:  func(_ *testing.T, _ *mesostest.Master, f *front) { f.secret("s3cret") },
			log:   "master refused authentication (401)",
			why:   "master refused authentication (401)"},
		{name: "unknown role", args: []string{"--mesos_role", "batch"},
			begin: func(m *mesostest.Master, _ *front) {
				m.Configure(func(o *mesostest.Options) { o.Roles = []string{"*"} })
			},
			cure: func(_ *testing.T, m *mesostest.Master, _ *front) {
				m.Configure(func(o *mesostest.Options) { o.Roles = nil })
			},
			log: `level=ERROR msg="the cluster has ended the subscription" message="Roles { batch } are not present in the master's --roles"`,
			why: "master refused the framework: Roles { batch } are not present in the master's --roles"},
		{name: "nothing listens", closed: true,
			cure: func(t *testing.T, m *mesostest.Master, f *front) { newFront(t, m, f.address) },
			log:  `msg="no subscription"`,
			why:  "connection refused"},
		{name: "a web server that is no master",
			begin: func(_ *mesostest.Master, f *front) { f.replace(html) },
			cure:  func(_ *testing.T, _ *mesostest.Master, f *front) { f.out.Store(nil) },
			log:   "does not speak the scheduler API",
			why:   "does not speak the scheduler API"},
		{name: "garbage for records",
			begin: func(_ *mesostest.Master, f *front) { f.replace(stream("hello")) },
			cure:  func(_ *testing.T, _ *mesostest.Master, f *front) { f.out.Store(nil) },
			log:   "is not a digit",
			why:   "is not a digit"},
		{name: "garbage for events",
			begin: func(_ *mesostest.Master, f *front) { f.replace(stream("3\nabc")) },
			cure:  func(_ *testing.T, _ *mesostest.Master, f *front) { f.out.Store(nil) },
			log:   `level=ERROR msg="skip undecodable event"`,
			why:   "master closed the stream"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hosts, root := zktest.Shared(t)
			m := mesostest.NewMaster(t, mesostest.Options{Principal: "chronos", Secret: "s3cret", Allocation: 50 * time.Millisecond})
			m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
			m.AutoFinish(time.Millisecond)
			f := &front{address: fmt.Sprintf("127.0.0.1:%d", zktest.FreePort())}
			if !tt.closed {
				f = newFront(t, m, f.address)
			}
			f.file = filepath.Join(t.TempDir(), "secret")
			f.secret("s3cret")
			if tt.begin != nil {
				tt.begin(m, f)
			}
			d := startDaemon(t, append([]string{"--master", "http://" + f.address, "--zk_hosts", hosts[0], "--zk_path", root,
				"--mesos_authentication_principal", "chronos", "--mesos_authentication_secret_file", f.file}, tt.args...)...)
			awaitRole(t, d, roleLeader)
			if res, body := d.ask(t, 0, "POST", "/scheduler/iso8601", `{"name":"a","command":"true","schedule":"R1//PT1H"}`); res.StatusCode != 204 {
				t.Fatalf("POST = %d %s", res.StatusCode, body)
			}
			d.until(t, "the cause is in the log", func() bool { return strings.Contains(d.log.String(), tt.log) })
			d.until(t, "the cause is in /health", func() bool {
				var report healthReport
				_, body := d.ask(t, 0, "GET", "/health", "")
				if err := json.Unmarshal([]byte(body), &report); err != nil {
					t.Fatal(err)
				}
				return report.Status == "degraded" && report.Mesos != nil && !report.Mesos.Subscribed && strings.Contains(report.Mesos.Error, tt.why)
			})
			if _, body := d.ask(t, 0, "GET", "/metrics/prometheus", ""); !strings.Contains(body, "\nchronos_mesos_connected 0\n") {
				t.Error("chronos_mesos_connected is not 0")
			}
			if _, body := d.ask(t, 0, "GET", "/scheduler/queued/a", ""); !strings.Contains(body, `"not connected to the cluster"`) {
				t.Errorf("why the run waits = %s", body)
			}
			tt.cure(t, m, f)
			d.until(t, "the run has ended", func() bool {
				_, body := d.ask(t, 0, "GET", "/scheduler/runs/a", "")
				return strings.Contains(body, `"state":"finished"`)
			})
			if _, body := d.ask(t, 0, "GET", "/metrics/prometheus", ""); !strings.Contains(body, "\nchronos_mesos_connected 1\n") ||
				!strings.Contains(body, "\nchronos_terms_total 1\n") {
				t.Error("not connected, or in another term")
			}
			if log := d.log.String(); strings.Contains(log, "s3cret") {
				t.Errorf("the log shows the secret: %s", log)
			}
		})
	}
}
