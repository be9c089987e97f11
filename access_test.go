package main

import (
	"strings"
	"testing"
	"testing/synctest"
)

// The token that a run finds in its environment is good for its own callback, while the run is open, and for nothing else. Without users there
// is none.
func TestRunsCallBackWithATokenOfTheirOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cluster := newFakeCluster()
		tokens := callbackTokens(cluster)
		b := newBenchOn(t, cluster)
		b.cfg.callbacks = true
		b.start()
		defer b.end()
		for _, name := range []string{"a", "b", "other"} {
			b.do("post", b.tryPost(`{"name":"`+name+`","command":"true","async":true,"dataProcessingJobType":true,"schedule":"R/2030-01-01T00:00:00Z/P1D"}`))
		}
		idA, idB := b.runNow("a"), b.runNow("b")
		b.wait(0)
		tokenA, tokenB := tokens[idA], tokens[idB]
		if !strings.HasPrefix(tokenA, callbackPrefix) || !strings.HasPrefix(tokenB, callbackPrefix) || tokenA == tokenB {
			t.Fatalf("the tokens are %q and %q, want two", tokenA, tokenB)
		}
		if strings.Contains(string(b.store.records[runKey(idA)]), tokenA) {
			t.Errorf("the token itself is stored: %s", b.store.records[runKey(idA)])
		}
		b.restart() // the next leader knows what it takes for the token
		o := leading(b.s)
		o.access = testAccess(t, "ci:run:a\nother:run:other\nops:run")
		s := newAPI(o)
		bearer := func(token string) string { return "\nAuthorization: Bearer " + token }
		progress := func(job, id, header string) string {
			return "POST /v1/scheduler/job/" + job + "/task/" + id + "/progress" + header + asJSON + `{"numAdditionalElementsProcessed":1}`
		}
		finish := func(id, header string) string {
			return "PUT /scheduler/task/" + id + header + asJSON + `{"statusCode":0}`
		}
		for _, tt := range []struct {
			what, request string
			want          int
		}{
			{"its own progress", progress("a", idA, bearer(tokenA)), 204},
			{"another's progress", progress("b", idB, bearer(tokenA)), 403},
			{"its own id under another's name", progress("b", idA, bearer(tokenA)), 403},
			{"another's run", finish(idB, bearer(tokenA)), 403},
			{"a run that there is none", finish("ct:1:0:a:", bearer(tokenA)), 403},
			{"a guessed token", finish(idA, bearer(callbackPrefix+"guessed")), 403},
			{"the digest of the token", finish(idA, bearer(tokenDigest(tokenA))), 401},
			{"reading with a token", "GET /scheduler/jobs" + bearer(tokenA), 403},
			{"starting with a token", "PUT /scheduler/job/a" + bearer(tokenA), 403},
			{"the interface with a token", "GET /" + bearer(tokenA), 403},
			{"a user in whose scope it isn't", finish(idA, as("other")), 403},
			{"a run that there is none, by a user with a scope", finish("ct:1:0:x:", as("ci")), 403},
			{"a run that there is none, by one without", finish("ct:1:0:x:", as("ops")), 204},
			{"its own end", finish(idA, bearer(tokenA)), 204},
			{"its own end again", finish(idA, bearer(tokenA)+"\n"+requestIDHeader+": again"), 403},
			{"progress of a run that has ended", progress("a", idA, bearer(tokenA)), 403},
			{"a user in whose scope it is", progress("a", idA, as("ci")), 204},
			{"a user without a scope", finish(idB, as("ops")), 204},
		} {
			if res := send(t, s, tt.request); res.StatusCode != tt.want {
				t.Errorf("%s = %d %s, want %d", tt.what, res.StatusCode, bodyOf(t, res), tt.want)
			}
		}
		b.wait(0)
		if got := string(b.store.records["go/history/"+recordName("a")]); strings.Contains(got, tokenDigest(tokenA)) {
			t.Errorf("the history keeps what is of no use any more: %s", got)
		}
	})
}

func TestWithoutUsersRunsGetNoToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cluster := newFakeCluster()
		tokens := callbackTokens(cluster)
		b := newBenchOn(t, cluster).start()
		defer b.end()
		b.do("post", b.tryPost(jobA))
		b.runNow("a")
		b.wait(0)
		if len(tokens) != 0 || cluster.launchCounts() == nil {
			t.Errorf("runs have the tokens %q", tokens)
		}
	})
}

// A document may not bring its job out of scope, take another's over, come to depend on another's, or stand under a prefix that is somebody else's.
func TestScopesOfDocuments(t *testing.T) {
	t.Parallel()
	o := leading(testScheduler(t))
	o.access = testAccess(t, "admin:admin\nalice:edit:owner=alice\nann:edit:a-\nboth:edit:a-,owner=alice\nbert:edit:b-")
	o.access.guards = func() []string { return []string{"vault-"} }
	s := newAPI(o)
	document := func(name, owner string, parents ...string) string {
		when := `"schedule":"R/2030-01-01T00:00:00Z/P1D"`
		if parents != nil {
			when = `"parents":["` + strings.Join(parents, `","`) + `"]`
		}
		return `{"name":"` + name + `","owner":"` + owner + `","command":"true",` + when + `}`
	}
	put := func(user, document string) string {
		path := "/scheduler/iso8601"
		if strings.Contains(document, "parents") {
			path = "/scheduler/dependency"
		}
		return "POST " + path + as(user) + asJSON + document
	}
	for _, tt := range []struct {
		what, request string
		want          int
	}{
		{"bert's", put("admin", document("b-1", "bob")), 204},
		{"alice's", put("alice", document("mine", "alice")), 204},
		{"ann's", put("ann", document("a-1", "bob")), 204},
		{"a name out of scope", put("ann", document("x", "alice")), 403},
		{"an owner out of scope", put("alice", document("mine2", "bob")), 403},
		{"given away by its owner", put("alice", document("mine", "bob")), 403},
		{"taken over", put("alice", document("b-1", "alice")), 403},
		{"under a prefix of another's, by its owner", put("alice", document("b-2", "alice")), 403},
		{"under a prefix of his own", put("both", document("a-2", "alice")), 204},
		{"by its owner, under a prefix of another's, that it had before", "PUT /scheduler/job/a-2?arguments=x" + as("alice"), 403},
		{"started as it is by its owner", "PUT /scheduler/job/a-2" + as("alice"), 204},
		{"under a prefix that a secret names", put("alice", document("vault-x", "alice")), 403},
		{"under that, by who has everything", put("admin", document("vault-x", "alice")), 204},
		{"a parent in scope", put("ann", document("a-child", "", "a-1")), 204},
		{"a parent out of scope", put("ann", document("a-child", "", "a-1", "b-1")), 403},
		{"a parent that there is none, out of scope", put("ann", document("a-child", "", "b-none")), 403},
		{"a parent that there is none, in scope", put("ann", document("a-child", "", "a-none")), 400},
		{"a parent out of scope, by who may", put("admin", document("a-child", "", "a-1", "b-1")), 204},
		{"a parent out of scope that it has", put("ann", document("a-child", "changed", "a-1", "b-1")), 204},
		{"a child of another's", "DELETE /scheduler/job/b-1" + as("bert"), 403},
		{"a success that starts a child of another's", "PUT /scheduler/job/success/b-1" + as("bert"), 200},
		{"a job that there is none, out of scope", "DELETE /scheduler/job/b-none" + as("ann"), 403},
		{"a job that there is none, in scope", "DELETE /scheduler/job/a-none" + as("ann"), 400},
		{"reading what is out of scope", "GET /v1/scheduler/job/b-1" + as("ann"), 400},
		{"reading what there is not", "GET /v1/scheduler/job/b-none" + as("ann"), 400},
	} {
		if res := send(t, s, tt.request); res.StatusCode != tt.want {
			t.Errorf("%s = %d %s, want %d", tt.what, res.StatusCode, bodyOf(t, res), tt.want)
		}
	}
	if got := send(t, s, "GET /v1/scheduler/job/b-1"+as("ann")); !strings.Contains(bodyOf(t, got), "not found") {
		t.Error("what is out of scope is answered otherwise than what there is not")
	}
}

// Who comes with a password finds out who he is; the interface gets the same with the overview.
func TestWhoAmI(t *testing.T) {
	t.Parallel()
	p := newGuardedPair(t, "eve:edit:web-,owner=eve\nroot:admin\n@allow:edit:files\n@group:dev:read")
	for server, s := range p.servers() {
		for header, want := range map[string]string{
			as("eve"):              `{"user":"eve","provenBy":"password","role":"edit","grants":[{"role":"edit","scopes":["web-","owner=eve"],"allowed":["files"]}],"jobsRunAs":"root"}`,
			proxied("dora", "dev"): `{"user":"dora","provenBy":"proxy","role":"read","grants":[{"role":"read","scopes":[]}],"jobsRunAs":"root"}`,
		} {
			if got := bodyOf(t, send(t, s, "GET /v1/scheduler/whoami"+header)); got != want {
				t.Errorf("%s: whoami = %s, want %s", server, got, want)
			}
			if got := bodyOf(t, send(t, s, "GET /scheduler/overview"+header)); !strings.Contains(got, `"user":`+want) {
				t.Errorf("%s: the overview has no %s: %s", server, want, got)
			}
		}
		res := send(t, s, "GET /scheduler/logout"+as("eve"))
		if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: logout = %d %v, want 401 that asks for a password", server, res.StatusCode, res.Header)
		}
	}
}

// The user of --http_credentials is an administrator beside those of the file.
func TestCredentialsAreAnAdministrators(t *testing.T) {
	t.Parallel()
	a, err := newAccess(accessOptions{usersFile: writeFile(t, "users", usersText(t, "eve:read")), credentials: "boss:pa:ss", log: debugLog(&logBuffer{})})
	if err != nil {
		t.Fatal(err)
	}
	o := leading(testScheduler(t))
	o.access = a
	s := newAPI(o)
	for header, want := range map[string]int{basic("boss:pa:ss"): 204, basic("boss:pa:st"): 401, basic("boss:pa"): 401, as("eve"): 403} {
		if res := send(t, s, "DELETE /scheduler/task/all"+header); res.StatusCode != want {
			t.Errorf("%q = %d, want %d", header, res.StatusCode, want)
		}
	}
}
