package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const testKubeconfig = `apiVersion: v1
kind: Config
# as the tools write it
clusters:
- cluster:
    insecure-skip-tls-verify: true
    server: https://10.0.0.1:6443
  name: prod
- {name: c, cluster: {server: "https://127.0.0.1:7703/", certificate-authority: ca.pem}}
contexts:
- context:
    cluster: prod
    namespace: jobs
    user: admin
  name: admin@prod
- context: {cluster: c, user: program}
  name: x
current-context: admin@prod
preferences: {}
users:
- name: admin
  user:
    token: abc
- name: program
  user:
    exec:
      command: aws
      args: [eks, get-token]
`

func TestKubeconfigs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(testKubeconfig)
	a, err := kubeWhere("k8s://"+file, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.token()
	if a.server != "https://10.0.0.1:6443" || a.namespace != "jobs" || token != "abc" || err != nil || !a.tls.InsecureSkipVerify {
		t.Errorf("access = %+v, token %q, %v", a, token, err)
	}
	program := strings.Replace(testKubeconfig, "certificate-authority: ca.pem", "namespace: x", 1)
	for _, tt := range []struct{ name, text, want string }{
		{"a program that logs in", strings.Replace(program, "current-context: admin@prod", "current-context: x", 1), "logs in by a program (exec)"},
		{"a CA that is not there", strings.Replace(testKubeconfig, "current-context: admin@prod", "current-context: x", 1), "ca.pem"},
		{"no such context", strings.Replace(testKubeconfig, "current-context: admin@prod", "current-context: y", 1), `no context "y"`},
		{"no current context", strings.Replace(testKubeconfig, "current-context: admin@prod", "", 1), "no current-context"},
		{"a password", strings.Replace(testKubeconfig, "token: abc", "username: bob", 1), "password"},
		{"no YAML", "a: {b", "not closed"},
	} {
		write(tt.text)
		if _, err := kubeWhere("k8s://"+file, "", "", nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := kubeWhere("k8s", "", "", environOf(nil)); err == nil || !strings.Contains(err.Error(), "it runs in none") {
		t.Errorf("outside of a pod: %v", err)
	}
}

// A token that was replaced is used from the next request on.
func TestTokensAreReadAgain(t *testing.T) {
	t.Parallel()
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		w.Write([]byte(`{}`))
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	c := newKubeClient(kubeAccess{server: server.URL, token: freshToken(file)}, "default", nil, nil)
	for i, text := range []string{"one\n", "two\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i) * time.Hour)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
		if err := c.do(t.Context(), kubeCall{method: http.MethodGet, path: "/"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"Bearer one", "Bearer two"}; !reflect.DeepEqual(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}
