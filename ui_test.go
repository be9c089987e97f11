package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// TestInterface runs the tests in uitest: the program, and a real browser on it.
func TestInterface(t *testing.T) {
	for tool, install := range map[string]string{"node": "nodejs", "npm": "npm", "chromium": "chromium"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the interface is tested in a real browser: apt-get install %s (%v)", install, err)
		}
	}
	run := func(dir string, environ []string, name string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), environ...)
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	if _, err := os.Stat("uitest/node_modules/axe-core"); err != nil {
		run("uitest", nil, "npm", "ci")
	}
	program := filepath.Join(t.TempDir(), "chronos")
	run("", nil, "go", "build", "-o", program, ".")
	hosts, root := zktest.Shared(t)
	run("uitest", []string{"CHRONOS=" + program, "ZK=" + hosts[0], "ZK_PATH=" + root}, "node", "--test", "--test-reporter=spec", "ui.test.mjs")
}

func TestInterfaceIsServedByEveryInstance(t *testing.T) {
	o := leading(nil) // nobody leads
	o.leader = func() (string, bool) { return "", false }
	o.ui = newUI()
	s := newAPI(o)
	tests := []struct {
		request string
		status  int
		kind    string
	}{
		{"GET /", 200, "text/html; charset=utf-8"},
		{"HEAD /", 200, "text/html; charset=utf-8"},
		{"GET /assets/app.js", 200, "text/javascript; charset=utf-8"},
		{"GET /assets/app.css", 200, "text/css; charset=utf-8"},
		{"GET /assets/icon.svg", 200, "image/svg+xml"},
		{"GET /assets/", 404, "text/html;charset=utf-8"},
		{"GET /assets/../ui.go", 404, "text/html;charset=utf-8"},
		{"GET /index.html", 404, "text/html;charset=utf-8"},
		{"POST /", 405, "text/html;charset=utf-8"},
	}
	for _, tt := range tests {
		res := send(t, s, tt.request)
		if got := res.Header.Get("Content-Type"); res.StatusCode != tt.status || got != tt.kind {
			t.Errorf("%s = %d %s, want %d %s", tt.request, res.StatusCode, got, tt.status, tt.kind)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may guess the type", tt.request)
		}
		policy := res.Header.Get("Content-Security-Policy")
		if res.StatusCode == 200 && (!strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe")) {
			t.Errorf("%s: Content-Security-Policy = %q", tt.request, policy)
		}
	}
	tag := send(t, s, "GET /assets/app.js").Header.Get("ETag")
	if res := send(t, s, "GET /assets/app.js\nIf-None-Match: "+tag); res.StatusCode != http.StatusNotModified {
		t.Errorf("GET with the tag known = %d, want 304", res.StatusCode)
	}
}

// The policy forbids what is inline, and nothing may be loaded from elsewhere.
func TestInterfaceHasNothingInlineOrForeign(t *testing.T) {
	files, err := filepath.Glob("ui/*")
	if err != nil || len(files) < 10 {
		t.Fatalf("files of the interface: %q, %v", files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=\"", " onclick=", "src=\"/", "href=\"/", "@import"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s contains %s", name, bad)
			}
		}
		if filepath.Ext(name) != ".svg" && (strings.Contains(text, "https://") || strings.Contains(text, "http://")) {
			t.Errorf("%s names a foreign address", name)
		}
	}
}
