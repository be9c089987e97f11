package main

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestUsersFileIsRead(t *testing.T) {
	t.Parallel()
	token, mark := newToken()
	text := "# people\n\ncarl:" + hashOf(t, "x") + ":edit:team-a,owner=a:b@c\r\nbot:" + mark + ":run\n@group:dev:read:web-\n@allow:edit:volumes,files\n"
	u, err := parseUsers([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	carl := u.passwords["carl"]
	if !carl.may(editRole, &Job{Name: "team-ab"}) || !carl.may(editRole, &Job{Name: "z", Owner: "a:b@c"}) || carl.may(readRole, &Job{Name: "z", Owner: "a:b@cd"}) || carl.has(adminRole) {
		t.Errorf("carl has %+v", carl.grants)
	}
	if got := carl.grants[0].more.String(); got != "volumes, files" {
		t.Errorf("carl may set %q", got)
	}
	if id, err := u.bearer(token); err != nil || id.name != "bot" || id.highest() != runRole {
		t.Errorf("the token is %+v, %v", id, err)
	}
	if strings.Join(u.guarded, " ") != "team-a web-" || strings.Join(u.doubtful, " ") != "team-a" {
		t.Errorf("guarded %q, doubtful %q; want team-a and web-, and team-a, which is team-ab too", u.guarded, u.doubtful)
	}
}

func TestBrokenUsersFilesSayWhere(t *testing.T) {
	t.Parallel()
	hash := hashOf(t, "x")
	for text, want := range map[string]string{
		"a:" + hash:                                `line 1: user "a" has no role`,
		"\na:" + hash + ":boss":                    `line 2: user "a": "boss" is not one of`,
		"a:" + hash + ":read:":                     `line 1: user "a": scope ""`,
		"a:" + hash + ":read:x-,,y-":               `scope ""`,
		"a:" + hash + ":read:owner=":               `scope "owner="`,
		"a:" + hash + ":read:x*":                   `scope "x*"`,
		"a:" + hash + ":read\na:" + hash + ":read": `line 2: user "a" stands there twice`,
		"a:$apr1$xyz$abc:read":                     "htpasswd -B",
		"a:plain:read":                             "htpasswd -B",
		"a:" + tokenMark + "00:read":               "64 hexadecimal digits",
		"a:$2y$20" + hash[6:] + ":read":            "cost 20",
		"@group::read":                             "@group:NAME:ROLE",
		"@group:x:read\n@group:x:run":              "line 2: group",
		"@allow:run:volumes":                       "nothing to allow",
		"@allow:edit:everything":                   `"everything" is not one of`,
		"@grop:x:read":                             "begins with neither",
		":" + hash + ":read":                       "begins with neither",
	} {
		_, err := parseUsers([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseUsers(%q) = %v, want %s", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), hash) || strings.Contains(err.Error(), "plain")) {
			t.Errorf("parseUsers(%q) shows what may be a secret: %v", text, err)
		}
	}
}

// A file that breaks while the program runs leaves the users in force that were read before; a token that is taken back is good for
// nothing any more.
func TestUsersFileIsReadAgain(t *testing.T) {
	t.Parallel()
	var log logBuffer
	o := leading(testScheduler(t))
	o.access = testAccess(t, "alice:admin")
	o.access.users.log = slog.New(slog.NewTextHandler(&log, nil))
	s := newAPI(o)
	status := func(header string) int { return send(t, s, "GET /scheduler/jobs"+header).StatusCode }
	token, mark := newToken()
	bearer := "\nAuthorization: bearer " + token
	steps := []struct {
		what, text    string
		alice, holder int
		problem, log  string
	}{
		{"a token comes", usersText(t, "alice:admin") + "ci:" + mark + ":run", 200, 200, "", "tokens=1"},
		{"it breaks", "alice:" + hashOf(t, "x"), 200, 200, "has no role", "stay in force"},
		{"it breaks otherwise", "nonsense", 200, 200, "line 1", "line 1"},
		{"the token is taken back", usersText(t, "alice:admin"), 200, 401, "", "tokens=0"},
		{"alice is taken out", usersText(t, "bob:read"), 401, 401, "", ""},
		{"it is empty", "", 401, 401, "", ""},
	}
	for _, step := range steps {
		o.access.change(t, step.text)
		if a, h := status(as("alice")), status(bearer); a != step.alice || h != step.holder {
			t.Errorf("%s: alice = %d, the token's holder = %d; want %d and %d", step.what, a, h, step.alice, step.holder)
		}
		if got := o.access.users.problem(); (got == "") != (step.problem == "") || !strings.Contains(got, step.problem) {
			t.Errorf("%s: problem = %q, want %q", step.what, got, step.problem)
		}
		if !strings.Contains(log.String(), step.log) {
			t.Errorf("%s: the log has no %q:\n%s", step.what, step.log, &log)
		}
	}
	o.access.change(t, usersText(t, "alice:admin"))
	if err := os.Remove(o.access.users.path); err != nil {
		t.Fatal(err)
	}
	o.access.users.look()
	if status(as("alice")) != 200 || o.access.users.problem() == "" {
		t.Errorf("without the file alice = %d, problem %q; want 200 and a problem", status(as("alice")), o.access.users.problem())
	}
	o.access.change(t, usersText(t, "alice:admin"))
	if got := o.access.users.problem(); got != "" {
		t.Errorf("the file is back, and the problem %q", got)
	}
	if strings.Contains(log.String(), token) || strings.Contains(log.String(), hashOf(t, "x")) {
		t.Errorf("the log has a secret:\n%s", &log)
	}
}

// A stream of events ends when the file takes a right away, at the leader and through a follower, whichever's file it is, and goes on when
// it takes one from somebody else.
func TestEventsEndWithTheRightToThem(t *testing.T) {
	t.Parallel()
	const users = "alice:read:a-\nbob:admin"
	for _, tt := range []struct{ server, file, text string }{
		{"leader", "leader", "bob:admin"},
		{"leader", "leader", "alice:read:b-\nbob:admin"},
		{"follower", "leader", "bob:admin"},
		{"follower", "follower", "bob:admin"},
	} {
		p := newGuardedPair(t, users)
		server := httptest.NewServer(p.servers()[tt.server])
		defer server.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/scheduler/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("alice", passwordOf("alice"))
		res, err := http.DefaultClient.Do(r)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("events = %v, %v", res, err)
		}
		lines := bufio.NewScanner(res.Body)
		lines.Scan()
		a := map[string]*access{"leader": p.leader.access, "follower": p.follower.access}[tt.file]
		a.change(t, usersText(t, "alice:read:a-\nbob:read"))
		a.change(t, usersText(t, tt.text))
		for lines.Scan() {
		}
		if ctx.Err() != nil {
			t.Errorf("events at the %s did not end when the %s's file took the right away", tt.server, tt.file)
		}
		res.Body.Close()
	}
}
