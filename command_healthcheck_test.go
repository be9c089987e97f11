package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestHealthcheckKnowsWhereTheInstanceListens(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args    string
		environ map[string]string
		want    string
	}{
		{"", nil, "http://127.0.0.1:8080/ping"},
		{"--http_port 4400", nil, "http://127.0.0.1:4400/ping"},
		{"", map[string]string{"PORT0": "31007"}, "http://127.0.0.1:31007/ping"},
		{"", map[string]string{"PORT0": "31007", "PORT_8080": "31007"}, "http://127.0.0.1:8080/ping"},
		{"--http_port 4400", map[string]string{"PORT0": "31007"}, "http://127.0.0.1:4400/ping"},
		{"", map[string]string{"CHRONOS_HTTP_ADDRESS": "0.0.0.0"}, "http://127.0.0.1:8080/ping"},
		{"--master zk://h:2181/mesos", nil, "http://127.0.0.1:8080/ping"},
		{"--http_address 192.0.2.7", nil, "http://192.0.2.7:8080/ping"},
		{"--http_address ::", nil, "http://127.0.0.1:8080/ping"},
		{"--disable_http --ssl_keystore_path k --ssl_keystore_password p", nil, "https://127.0.0.1:8443/ping"},
		{"--disable_http --https_port 4443 --https_address 192.0.2.7", nil, "https://192.0.2.7:4443/ping"},
	} {
		environ := func(name string) (string, bool) { v, ok := test.environ[name]; return v, ok }
		f, err := parseFlags(strings.Fields(test.args), environ, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := pingURL(f, environ); got != test.want || err != nil {
			t.Errorf("pingURL(%q, %v) = %q, %v, want %q", test.args, test.environ, got, err, test.want)
		}
	}
}

func TestHealthcheckTakesTheArgumentsOfTheFirstProcess(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ cmdline, want string }{
		{"/usr/bin/chronos\x00--http_port\x009000\x00", "--http_port 9000"},
		{"/sbin/docker-init\x00--\x00/usr/bin/chronos\x00--http_port\x009000\x00", "--http_port 9000"},
		{"/usr/bin/chronos\x00", ""},
		{"/usr/bin/chronos\x00healthcheck\x00", ""},
		{"/sbin/init\x00splash\x00", ""},
		{"", ""},
	} {
		if got := strings.Join(programArguments([]byte(test.cmdline)), " "); got != test.want {
			t.Errorf("programArguments(%q) = %q, want %q", test.cmdline, got, test.want)
		}
	}
}

func TestHealthcheckAsks(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ping" {
			t.Errorf("healthcheck asked for %q", r.URL.Path)
		}
		w.WriteHeader(status)
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.TLS = &tls.Config{}
	secure.StartTLS()
	defer secure.Close()
	for _, server := range []*httptest.Server{plain, secure} {
		for _, status = range []int{http.StatusOK, http.StatusServiceUnavailable} {
			u, _ := url.Parse(server.URL)
			args := []string{"healthcheck", "--http_port", u.Port()}
			if u.Scheme == "https" {
				args = []string{"healthcheck", "--disable_http", "--https_address", "127.0.0.1", "--https_port", u.Port()}
			}
			err := run(t.Context(), args, strings.NewReader(""), io.Discard, io.Discard)
			if want := btoi(status != http.StatusOK); exitStatus(err) != want {
				t.Errorf("%v with status %d ends with %d (%v), want %d", args, status, exitStatus(err), err, want)
			}
		}
	}
	var said strings.Builder
	u, _ := url.Parse(plain.URL)
	plain.Close()
	err := run(t.Context(), []string{"healthcheck", "--http_port", u.Port()}, strings.NewReader(""), io.Discard, &said)
	if exitStatus(err) != 1 || !strings.Contains(said.String(), "refused") {
		t.Errorf("healthcheck of nobody = %v, saying %q, want a refused connection", err, said.String())
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
