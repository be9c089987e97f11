package main

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestInterfaceIsServedByEveryInstance(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// behindPrefix serves an instance below /service/chronos of another host, as DC/OS's Admin Router does.
func behindPrefix(t *testing.T) (base string) {
	t.Helper()
	instance := httptest.NewServer(newAPI(leading(testScheduler(t))))
	t.Cleanup(instance.Close)
	target, err := url.Parse(instance.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.SetXForwarded()
	}}
	router := httptest.NewServer(http.StripPrefix("/service/chronos", proxy))
	t.Cleanup(router.Close)
	return router.URL + "/service/chronos"
}

func TestInterfaceBelowAPathPrefix(t *testing.T) {
	t.Parallel()
	base := behindPrefix(t)
	res, page := ask(t, "GET", base+"/", "")
	if res.StatusCode != http.StatusOK {
		t.Fatalf("GET / = %d", res.StatusCode)
	}
	links := regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) == 0 {
		t.Fatalf("the page links to nothing:\n%s", page)
	}
	for _, link := range links {
		u, err := url.Parse(link[1])
		if err != nil || u.Host == "" && strings.HasPrefix(u.Path, "/") {
			t.Errorf("the page links to %q, which leads out of the prefix (%v)", link[1], err)
			continue
		}
		if u.Scheme != "" || u.Path == "" {
			continue
		}
		if res, _ := ask(t, "GET", base+"/"+path.Clean(u.Path), ""); res.StatusCode != http.StatusOK {
			t.Errorf("GET %s = %d, want 200", u.Path, res.StatusCode)
		}
	}
}

// A browser's changes carry the origin that it sees, which is the proxy's.
func TestChangesThroughAProxyOfAnotherName(t *testing.T) {
	t.Parallel()
	base := behindPrefix(t)
	outside, _, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
	job := `{"name":"a","command":"true","schedule":"R/2090-01-01T00:00:00Z/P1D"}`
	for origin, want := range map[string]int{
		"http://" + outside:   http.StatusNoContent,
		"http://evil.example": http.StatusForbidden,
		"":                    http.StatusNoContent,
	} {
		header := []string{"Content-Type", typeJSON}
		if origin != "" {
			header = append(header, "Origin", origin, "Sec-Fetch-Site", map[bool]string{true: "same-origin", false: "cross-site"}[want == http.StatusNoContent])
		}
		if res, text := ask(t, "POST", base+"/scheduler/iso8601", job, header...); res.StatusCode != want {
			t.Errorf("POST with origin %q = %d %s, want %d", origin, res.StatusCode, text, want)
		}
	}
}

// Behind a proxy that adds a path, the address of the page may lack its last slash. Its one script mends that, and is the only one allowed.
func TestTheOneScriptOfThePageIsAllowed(t *testing.T) {
	t.Parallel()
	o := leading(nil)
	o.ui = newUI()
	s := newAPI(o)
	res := send(t, s, "GET /")
	page, err := os.ReadFile("ui/index.html")
	if err != nil {
		t.Fatal(err)
	}
	scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllSubmatch(page, -1)
	if len(scripts) != 1 {
		t.Fatalf("the page contains %d scripts, want 1", len(scripts))
	}
	sum := sha256.Sum256(scripts[0][1])
	want := "script-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';"
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, want) {
		t.Errorf("Content-Security-Policy = %q, want %s in it", policy, want)
	}
}
