package main

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxied is what a trusted proxy sends.
func proxied(user, groups string) string {
	return "\n" + proxySecretHeader + ": " + testProxySecret + "\n" + proxyUserHeader + ": " + user + "\n" + proxyGroupsHeader + ": " + groups
}

const proxyUsers = "alice:read\n@group:dev:read\n@group:ops:admin"

// The headers of a proxy count from its addresses, with its secret, and never on a request that another instance sent on. With them
// they decide, whatever else the client sends.
func TestForgedIdentities(t *testing.T) {
	t.Parallel()
	p := newGuardedPair(t, proxyUsers)
	names := "\n" + proxyUserHeader + ": eve\n" + proxyGroupsHeader + ": ops"
	tests := []struct {
		name, header, from string
		read, purge        int
	}{
		{"the proxy", proxied("eve", "ops"), "192.0.2.7:1", 200, 204},
		{"the proxy, IPv4 in IPv6", proxied("eve", "ops"), "[::ffff:192.0.2.7]:1", 200, 204},
		{"the proxy names a group with less", proxied("eve", "dev"), "192.0.2.7:1", 200, 403},
		{"the proxy names nobody", proxied("", "ops"), "192.0.2.7:1", 401, 401},
		{"the proxy names two", proxied("eve", "dev") + "\n" + proxyUserHeader + ": root", "192.0.2.7:1", 401, 401},
		{"the proxy names no group", proxied("eve", ""), "192.0.2.7:1", 403, 403},
		{"everybody's group can't be named", proxied("eve", "*"), "192.0.2.7:1", 403, 403},
		{"no secret", names, "192.0.2.7:1", 401, 401},
		{"another secret", names + "\n" + proxySecretHeader + ": guessed", "192.0.2.7:1", 401, 401},
		{"from elsewhere", proxied("eve", "ops"), "198.51.100.1:1", 401, 401},
		{"from elsewhere, with a password", proxied("eve", "ops") + as("alice"), "198.51.100.1:1", 200, 403},
		{"the proxy, with a password too", proxied("eve", "dev") + as("admin"), "192.0.2.7:1", 200, 403},
		{"the proxy names nobody, with a password", proxied("", "") + as("alice"), "192.0.2.7:1", 401, 401},
		{"sent on by an instance", proxied("eve", "ops") + "\n" + viaHeader + ": other:80", "192.0.2.7:1", 401, 401},
		{"the word of an instance that is none", names + "\n" + identityHeader + ": e30.e30\n" + viaHeader + ": other:80", "192.0.2.7:1", 401, 401},
		{"the word of an instance, from a client", as("alice") + "\n" + identityHeader + ": e30.e30", "192.0.2.7:1", 200, 403},
	}
	for server, s := range p.servers() {
		for _, tt := range tests {
			from := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { r.RemoteAddr = tt.from; s.ServeHTTP(w, r) })
			if server == "follower" && strings.Contains(tt.header, viaHeader) {
				continue // it sends nothing on that was sent on
			}
			for request, want := range map[string]int{"GET /scheduler/jobs": tt.read, "DELETE /v1/scheduler/task/all": tt.purge} {
				if res := send(t, from, request+tt.header); res.StatusCode != want {
					t.Errorf("%s, %s: %s = %d %s, want %d", server, tt.name, request, res.StatusCode, bodyOf(t, res), want)
				}
			}
		}
	}
}

// A JVM instance sends on every header that it gets, the proxy's secret too, and does not say so. Its address says it.
func TestWhatAJVMSendsOnIsNotAProxysWord(t *testing.T) {
	t.Parallel()
	a := testAccess(t, proxyUsers)
	jvm, err := newTrustedProxies(proxyOptions{addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		secretFile: writeFile(t, "secret", testProxySecret), jvm: []string{"192.0.2.66:8080"}}, a.users.log)
	if err != nil {
		t.Fatal(err)
	}
	a.proxies = jvm
	o := leading(testScheduler(t))
	o.access = a
	s := newAPI(o)
	for from, want := range map[string]int{"192.0.2.66:4711": 401, "192.0.2.67:4711": 200} {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { r.RemoteAddr = from; s.ServeHTTP(w, r) })
		if res := send(t, h, "GET /scheduler/jobs"+proxied("eve", "ops")); res.StatusCode != want {
			t.Errorf("from %s = %d, want %d", from, res.StatusCode, want)
		}
	}
	for _, o := range []proxyOptions{
		{addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		{secretFile: writeFile(t, "secret", testProxySecret)},
		{addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, secretFile: writeFile(t, "secret", "short")},
		{addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, secretFile: writeFile(t, "secret", testProxySecret), jvm: []string{"nowhere.invalid:80"}},
	} {
		if _, err := newTrustedProxies(o, a.users.log); err == nil {
			t.Errorf("newTrustedProxies(%+v) is taken", o)
		}
	}
}

// The word of another instance is good for one request, at one receiver, for five minutes, from who has the secret.
func TestTheWordOfAnotherInstance(t *testing.T) {
	t.Parallel()
	o := leading(testScheduler(t))
	o.id, o.access = "me:80", testAccess(t, proxyUsers)
	s := newAPI(o)
	other := testAccess(t, proxyUsers)
	other.instances.secret.Store(new("another secret than the others have"))
	eve := &caller{name: "eve", how: byProxy, groups: []string{"ops"}}
	const target, body = "/scheduler/iso8601?x=1", jobA
	ask := func(sign *access, at time.Time, receiver string, spoil func(*http.Request)) int {
		r := httptest.NewRequest("POST", target, strings.NewReader(body))
		r.Header.Set("Content-Type", typeJSON)
		r.Header.Set(viaHeader, "other:80")
		r.Header.Set(requestIDHeader, "one")
		r.Header.Set(identityHeader, sign.instances.sign(eve, r, "one", []byte(body), receiver, at))
		spoil(r)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	asIs := func(*http.Request) {}
	now := time.Now()
	for _, tt := range []struct {
		name     string
		sign     *access
		at       time.Time
		receiver string
		spoil    func(*http.Request)
		want     int
	}{
		{"as it was signed", o.access, now, "me:80", asIs, 204},
		{"sent twice", o.access, now, "me:80", asIs, 204}, // and made once: see below
		{"by another secret", other, now, "me:80", asIs, 401},
		{"too old", o.access, now.Add(-6 * time.Minute), "me:80", asIs, 401},
		{"from the future", o.access, now.Add(6 * time.Minute), "me:80", asIs, 401},
		{"for another receiver", o.access, now, "you:80", asIs, 401},
		{"with another body", o.access, now, "me:80", func(r *http.Request) { r.Body = http.NoBody }, 401},
		{"with another method", o.access, now, "me:80", func(r *http.Request) { r.Method = "PUT" }, 401},
		{"with another path", o.access, now, "me:80", func(r *http.Request) { r.URL.Path = "/scheduler/dependency" }, 401},
		{"with another query", o.access, now, "me:80", func(r *http.Request) { r.URL.RawQuery = "x=2" }, 401},
		{"with another id", o.access, now, "me:80", func(r *http.Request) { r.Header.Set(requestIDHeader, "two") }, 401},
		{"not sent on", o.access, now, "me:80", func(r *http.Request) { r.Header.Del(viaHeader) }, 401},
		{"with more groups", o.access, now, "me:80", func(r *http.Request) {
			text, mac, _ := strings.Cut(r.Header.Get(identityHeader), ".")
			said, _ := base64.RawURLEncoding.DecodeString(text)
			text = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(said), `["ops"]`, `["ops","dev"]`, 1)))
			r.Header.Set(identityHeader, text+"."+mac)
		}, 401},
	} {
		if got := ask(tt.sign, tt.at, tt.receiver, tt.spoil); got != tt.want {
			t.Errorf("%s = %d, want %d", tt.name, got, tt.want)
		}
	}
	o2 := leading(testScheduler(t))
	o2.id, o2.access = "me:80", testAccess(t, proxyUsers)
	o2.access.instances = nil
	s = newAPI(o2)
	if got := ask(o.access, now, "me:80", asIs); got != 401 {
		t.Errorf("the word of an instance where none is taken = %d, want 401", got)
	}
}

// A write that is sent twice with an id is made once; the id is its giver's, and who has no right to the write learns nothing by it.
func TestRequestIDsBelongToTheirUser(t *testing.T) {
	t.Parallel()
	p := newGuardedPair(t, "alice:edit\nbob:edit\neve:read\n@group:ops:admin")
	send(t, p.leader, "POST /scheduler/iso8601"+as("alice")+asJSON+jobA)
	run := func(s http.Handler, header string) int {
		return send(t, s, "PUT /scheduler/job/a\n"+requestIDHeader+": one"+header).StatusCode
	}
	for _, step := range []struct {
		header string
		want   int
	}{{as("alice"), 204}, {as("alice"), 204}, {as("bob"), 409}, {as("eve"), 403}, {proxied("alice", "ops"), 409}} {
		for server, s := range p.servers() {
			if got := run(s, step.header); got != step.want {
				t.Errorf("%s: %q = %d, want %d", server, step.header, got, step.want)
			}
		}
	}
	if n := len(p.sch.view().job("a").runs); n != 1 {
		t.Errorf("%d runs, want one", n)
	}
}

// A leader that does not know of roles gets the requests of admins and the reads of users without a scope, and no password; the one that
// --jvm_instances names gets the credentials. Nothing that a proxy or an instance says goes there.
func TestForwardingToALeaderWithoutRoles(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got http.Header
	id := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = r.Header.Clone()
		w.WriteHeader(204)
	})
	const users = "admin:admin\nreader:read\neditor:edit\nscoped:read:a\n@group:ops:admin\n@group:dev:edit"
	for _, named := range []bool{false, true} {
		o := leading(nil)
		o.current = func() *scheduler { return nil }
		o.leader = func() (string, bool) { return id, false }
		o.locate = func(id string) peer { return peer{scheme: "http", host: id} }
		o.access, o.credentials = testAccess(t, users), "jvm:password"
		o.access.hasCredentials = false
		if named {
			o.jvm = []string{id}
		}
		s := newAPI(o)
		for _, tt := range []struct {
			header      string
			read, write int
		}{
			{as("admin"), 204, 204}, {as("reader"), 204, 403}, {as("editor"), 204, 503}, {as("scoped"), 503, 403},
			{proxied("p", "ops"), 204, 204}, {proxied("p", "dev"), 204, 503}, {"\nAuthorization: Bearer " + callbackPrefix + "x", 403, 403},
		} {
			for request, want := range map[string]int{"GET /scheduler/jobs": tt.read, "DELETE /scheduler/job/a": tt.write} {
				mu.Lock()
				got = nil
				mu.Unlock()
				res := send(t, s, request+tt.header)
				if res.StatusCode != want {
					t.Errorf("%s%s = %d %s, want %d", request, tt.header, res.StatusCode, bodyOf(t, res), want)
				}
				mu.Lock()
				if sent := got != nil; sent != (want == 204) {
					t.Errorf("%s%s was sent on: %v", request, tt.header, sent)
				}
				want := ""
				if named && got != nil {
					want = "Basic " + base64.StdEncoding.EncodeToString([]byte("jvm:password"))
				}
				if got.Get("Authorization") != want {
					t.Errorf("%s%s: the leader got Authorization %q, want %q", request, tt.header, got.Get("Authorization"), want)
				}
				for _, name := range []string{proxySecretHeader, proxyUserHeader, proxyGroupsHeader, identityHeader} {
					if got.Get(name) != "" {
						t.Errorf("%s%s: the leader got %s", request, tt.header, name)
					}
				}
				mu.Unlock()
			}
		}
		if res := send(t, s, "PUT /scheduler/task/x\nAuthorization: Bearer "+callbackPrefix+"x"+asJSON+"{}"); res.StatusCode != 503 {
			t.Errorf("a callback with a token to such a leader = %d, want 503", res.StatusCode)
		}
	}
}

// Without a secret of the instances whom a proxy lets in is answered by the leader only, and told so.
func TestProxiedRequestsNeedTheInstancesSecret(t *testing.T) {
	t.Parallel()
	p := newGuardedPair(t, proxyUsers)
	p.follower.access.instances = nil
	res := send(t, p.follower, "GET /scheduler/jobs"+proxied("eve", "dev"))
	if text := bodyOf(t, res); res.StatusCode != 503 || !strings.Contains(text, "--instance_secret_file") {
		t.Errorf("at a follower = %d %s, want 503 that names the option", res.StatusCode, text)
	}
	if res := send(t, p.leader, "GET /scheduler/jobs"+proxied("eve", "dev")); res.StatusCode != 200 {
		t.Errorf("at the leader = %d, want 200", res.StatusCode)
	}
	p = newGuardedPair(t, proxyUsers)
	if res := send(t, p.follower, "POST /scheduler/restore"+proxied("eve", "ops")+asJSON+"{}"); res.StatusCode != 503 {
		t.Errorf("a restore of a proxied admin at a follower = %d, want 503", res.StatusCode)
	}
}

// Neither the secret of a proxy nor the word of an instance is ever logged, and the audit has who it was.
func TestAuditHasTheProvenUser(t *testing.T) {
	t.Parallel()
	p := newGuardedPair(t, proxyUsers)
	var log logBuffer
	for _, a := range []*api{p.leader, p.follower} {
		a.log = debugLog(&log)
	}
	send(t, p.follower, "POST /scheduler/iso8601"+proxied("eve", "ops")+as("root")+asJSON+jobA)
	send(t, p.leader, "DELETE /scheduler/job/a"+as("alice"))
	text := log.String()
	for _, want := range []string{"user=eve", "provenBy=proxy", "user=alice", "provenBy=password", "outcome=denied"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log has no %s:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "user=eve"); n != 2 {
		t.Errorf("user=eve stands there %d times, want once for the follower and once for the leader", n)
	}
	for _, secret := range []string{testProxySecret, testInstanceSecret, passwordOf("alice"), "user=root"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q:\n%s", secret, text)
		}
	}
}

func TestKnockersAreToldApart(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{"10.0.0.1:99": "10.0.0.1", "[::1]:99": "::1", "@": "@"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = from
		if got := knockerOf(r); got.address != want {
			t.Errorf("knockerOf(%s) = %v", from, got)
		}
	}
}

// What a client has sent goes on to a leader that knows of roles, also the token of a run, which only the leader knows; what stands for a proxy's word
// is made anew for each sending.
func TestWhatIsSentOnToALeaderWithRoles(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []http.Header
	refusals := 1
	id := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Clone())
		if refusals--; refusals >= 0 {
			w.Header().Set(refusedHeader, "1")
			w.WriteHeader(503)
			return
		}
		w.WriteHeader(204)
	})
	o := leading(nil)
	o.current = func() *scheduler { return nil }
	o.leader = func() (string, bool) { return id, false }
	o.locate = func(id string) peer { return peer{scheme: "http", host: id, native: true, knows: true, guards: true} }
	o.access = testAccess(t, proxyUsers)
	s := newAPI(o)
	if res := send(t, s, "DELETE /scheduler/task/all"+proxied("eve", "ops")); res.StatusCode != 204 {
		t.Fatalf("a proxied write = %d", res.StatusCode)
	}
	if res := send(t, s, "PUT /scheduler/task/x\nAuthorization: Bearer "+callbackPrefix+"x"+asJSON+"{}"); res.StatusCode != 204 {
		t.Fatalf("a callback = %d", res.StatusCode)
	}
	if len(got) != 3 {
		t.Fatalf("the leader got %d requests, want the write twice and the callback", len(got))
	}
	first, second, callback := got[0], got[1], got[2]
	if a, b := first.Get(identityHeader), second.Get(identityHeader); a == "" || b == "" || a == b || first.Get("Authorization")+second.Get("Authorization") != "" {
		t.Errorf("the word for a proxied user is %q, then %q", a, b)
	}
	if first.Get(requestIDHeader) != second.Get(requestIDHeader) {
		t.Error("the same write has two ids")
	}
	if callback.Get("Authorization") != "Bearer "+callbackPrefix+"x" || callback.Get(identityHeader) != "" {
		t.Errorf("the callback came with %q", callback)
	}
}
