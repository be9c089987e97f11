package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
)

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
