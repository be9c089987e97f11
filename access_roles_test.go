package main

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// requestFor is a request that a rule of the table is about, for job a.
func requestFor(r rule, prefix string) string {
	path := r.path
	for _, p := range []string{"ct:1:0:a:", "mean", "a"} {
		switch {
		case strings.HasPrefix(path, "task/{}"), strings.HasPrefix(path, "run/{}"):
			path = strings.Replace(path, "{}", "ct:1:0:a:", 1)
		case strings.HasPrefix(path, "stats/"):
			path = strings.Replace(path, "{}", "mean", 1)
		case strings.Contains(path, "/task/{}/"):
			path = strings.Replace(strings.Replace(path, "{}", "a", 1), "{}", p, 1)
		default:
			path = strings.Replace(path, "{}", "a", 1)
		}
	}
	if r.path == "pause/{}" && r.method == "PUT" {
		path += "?until=PT2H"
	}
	if path == "events" {
		path += "?since=never"
	}
	target := r.method + " " + prefix + path
	switch {
	case r.path == "/logging" && r.method == "POST":
		return target + "\nContent-Type: application/x-www-form-urlencoded|level=info"
	case r.method == "GET" || r.method == "DELETE":
		return target + "|"
	}
	body := map[string]string{
		"iso8601": `{"name":"a","command":"changed","schedule":"R/2030-01-01T00:00:00Z/P1D"}`, "dependency": `{"name":"a2","command":"true","parents":["a"]}`,
		"task/{}": `{"statusCode":0}`, "job/{}/task/{}/progress": `{"numAdditionalElementsProcessed":1}`,
		"schedule/preview": `{"schedule":"R/2030-01-01T00:00:00Z/P1D"}`, "restore": `{}`,
		"backfill/{}": `{"from":"2020-01-01T00:00:00Z","to":"2020-01-01T01:00:00Z"}`, "pool/{}": `{"slots":1}`,
		"apply": `{"set":"x","jobs":[{"name":"a","command":"changed","schedule":"R/2030-01-01T00:00:00Z/P1D"}]}`, "apply/plan": `{"set":"x","jobs":[{"name":"a","command":"changed","schedule":"R/2030-01-01T00:00:00Z/P1D"}]}`,
	}[r.path]
	return target + "\nContent-Type: application/json|" + body
}

// withHeader puts headers into a request of requestFor.
func withHeader(request, header string) string {
	head, body, _ := strings.Cut(request, "|")
	return head + header + "\n\n" + body
}

const matrixUsers = `
reader:read
runner:run
editor:edit
admin:admin
boss-of-a:admin:a
reader-of-a:read:a
runner-of-a:run:a
editor-of-a:edit:a
editor-of-b:edit:b-
@group:dev:read
@group:ops:admin
`

// For each route and each role the answer is as the table says, under both prefixes, asked of the leader, of a follower, and
// of a follower by a proxy's word; and who may not, changes nothing.
func TestTheTableOfAccess(t *testing.T) {
	t.Parallel()
	proxy := func(user, groups string) string {
		return "\n" + proxySecretHeader + ": " + testProxySecret + "\n" + proxyUserHeader + ": " + user + "\n" + proxyGroupsHeader + ": " + groups
	}
	callers := []struct {
		name, header string
		role         role
		scoped       bool
		hasA         bool // job a is in scope
	}{
		{"nobody", "", noRole, false, false},
		{"wrong password", basic("admin:wrong"), noRole, false, false},
		{"reader", as("reader"), readRole, false, true},
		{"runner", as("runner"), runRole, false, true},
		{"editor", as("editor"), editRole, false, true},
		{"admin", as("admin"), adminRole, false, true},
		{"boss of a", as("boss-of-a"), adminRole, true, true},
		{"reader of a", as("reader-of-a"), readRole, true, true},
		{"runner of a", as("runner-of-a"), runRole, true, true},
		{"editor of a", as("editor-of-a"), editRole, true, true},
		{"editor of b", as("editor-of-b"), editRole, true, false},
		{"developer, by a proxy", proxy("eve", "dev, others"), readRole, false, true},
		{"operator, by a proxy", proxy("olga", "ops"), adminRole, false, true},
		{"nobody's, by a proxy", proxy("mallory", "others"), noRole, false, false},
	}
	p := newGuardedPair(t, matrixUsers)
	before := "" // what is stored, job a included; "" where a call may have changed it
	for server, s := range p.servers() {
		for _, caller := range callers {
			for _, r := range accessRules {
				prefixes := []string{"/scheduler/", "/v1/scheduler/"}
				switch {
				case strings.HasPrefix(r.path, "/"):
					prefixes = []string{""}
				case server == "follower" && !*long:
					prefixes = prefixes[:1]
				}
				for _, prefix := range prefixes {
					if before == "" {
						if res := send(t, p.leader, "POST /scheduler/iso8601"+as("admin")+asJSON+jobA); res.StatusCode != 204 {
							t.Fatalf("POST a = %d %s", res.StatusCode, bodyOf(t, res))
						}
						before = p.stored()
					}
					request := strings.ReplaceAll(requestFor(r, prefix), "*", "x")
					res := send(t, s, withHeader(request, caller.header))
					denied := res.StatusCode == 401 || res.StatusCode == 403
					want := caller.role < r.role || caller.scoped && !r.scoped
					aboutA := strings.Contains(r.path, "{}") || slices.Contains([]string{"iso8601", "dependency", "apply", "apply/plan"}, r.path)
					switch {
					case r.path == "logout":
						want = true // that is how it works
					case r.callback && caller.scoped:
						want = true // there is no such run, which is not told to everybody
					case caller.role >= r.role && !caller.hasA && aboutA && r.changes():
						want = true
					}
					if denied != want {
						t.Errorf("%s, %s: %s = %d %s, denied should be %v", server, caller.name, request, res.StatusCode, bodyOf(t, res), want)
					}
					switch {
					case !denied && r.changes():
						before = ""
					case denied:
						if after := p.stored(); after != before {
							t.Errorf("%s, %s: %s = %d, and has changed\n%s to\n%s", server, caller.name, request, res.StatusCode, before, after)
						}
					}
				}
			}
		}
	}
}

// A path that nobody has put into the table is for admins alone, so that this test, and not an accident, tells of it.
func TestEveryRouteIsInTheTable(t *testing.T) {
	t.Parallel()
	o := leading(nil)
	o.access = testAccess(t, "admin:admin")
	a := newAPI(o)
	inTable := func(method, path string) bool {
		return slices.ContainsFunc(accessRules, func(r rule) bool { return r.method == method && r.path == path })
	}
	routes := 0
	for _, res := range slices.Concat(a.resources, a.additions) {
		for _, op := range res.operations {
			routes++
			if !inTable(op.method, res.path) {
				t.Errorf("%s %s has no line in accessRules", op.method, res.path)
			}
		}
	}
	for _, r := range accessRules {
		if strings.HasPrefix(r.path, "/") {
			continue
		}
		known := slices.ContainsFunc(slices.Concat(a.resources, a.additions), func(res resource) bool {
			return res.path == r.path && slices.ContainsFunc(res.operations, func(op operation) bool { return op.method == r.method })
		})
		if !known {
			t.Errorf("%s %s is in accessRules, and no route", r.method, r.path)
		}
	}
	if routes < 30 {
		t.Errorf("looked at %d routes", routes)
	}
	for _, path := range []string{"/", "/health", "/metrics", "/logging"} {
		if !inTable("GET", path) {
			t.Errorf("%s has no line in accessRules", path)
		}
	}
	if got := ruleFor("PUT", "what/nobody/thought/of"); got.role != adminRole || got.scoped {
		t.Errorf("an unknown route = %+v, want one for admins without a scope", got)
	}
}

func TestWithoutUsersNothingIsNew(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	for _, request := range []string{"GET /scheduler/whoami", "GET /v1/scheduler/logout"} {
		if res := do(request); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s = %d, want 404", request, res.StatusCode)
		}
	}
	if got := bodyOf(t, do("GET /scheduler/overview")); strings.Contains(got, "user") {
		t.Errorf("the overview has %s", got)
	}
}

// What gives more than a command is for admins, and for roles that the users file allows it: to set, to change, to take away, and to edit
// what has it or give that arguments. To start it as it is, is not.
func TestMoreThanACommand(t *testing.T) {
	t.Parallel()
	const users = `
admin:admin
editor:edit
runner:run
allowed:edit
@allow:edit:volumes,runAsUser
`
	documents := map[string]string{
		"runAsUser":     `"runAsUser":"daemon"`,
		"volumes":       `"container":{"image":"i","volumes":[{"containerPath":"/c","hostPath":"/","mode":"RO"}]}`,
		"executor":      `"executor":"/bin/e"`,
		"parameters":    `"container":{"image":"i","network":"BRIDGE","parameters":[{"key":"privileged","value":"true"}]}`,
		"network":       `"container":{"image":"i","network":"USER","networkName":"n"}`,
		"taskInfoData":  `"taskInfoData":"d"`,
		"files":         `"uris":["file:///etc/shadow"]`,
		"files by path": `"fetch":[{"uri":"/etc/shadow"}]`,
	}
	document := func(more string) string {
		return `{"name":"a","schedule":"R/2030-01-01T00:00:00Z/P1D","command":"true",` + more + `}`
	}
	put := func(s http.Handler, user, document string) int {
		return send(t, s, "POST /scheduler/iso8601"+as(user)+asJSON+document).StatusCode
	}
	for what, more := range documents {
		for _, tt := range []struct {
			users   string
			allowed bool
		}{
			{strings.Split(users, "@allow")[0], false},
			{users, what == "volumes" || what == "runAsUser"},
		} {
			o := leading(testScheduler(t))
			o.access = testAccess(t, tt.users)
			s := newAPI(o)
			want := map[bool]int{false: 403, true: 204}[tt.allowed]
			if got := put(s, "editor", document(more)); got != want {
				t.Errorf("%s: an editor sets it = %d, want %d", what, got, want)
			}
			if got := put(s, "admin", document(more)); got != 204 {
				t.Errorf("%s: an admin sets it = %d, want 204", what, got)
			}
			for step, request := range map[string]string{
				"is changed elsewhere": "POST /scheduler/iso8601" + as("editor") + asJSON + document(more+`,"description":"d"`),
				"is taken away":        "POST /scheduler/iso8601" + as("editor") + asJSON + document(`"retries":1`),
				"gets arguments":       "PUT /scheduler/job/a?arguments=x" + as("editor"),
			} {
				put(s, "admin", document(more))
				if got := send(t, s, request).StatusCode; got != want {
					t.Errorf("%s: a job with it %s by an editor = %d, want %d", what, step, got, want)
				}
			}
			put(s, "admin", document(more))
			if got := send(t, s, "PUT /scheduler/job/a"+as("runner")).StatusCode; got != 204 {
				t.Errorf("%s: a job with it is started as it is = %d, want 204", what, got)
			}
		}
	}
	for _, harmless := range []string{`"uris":["https://x/y.tgz"]`, `"runAsUser":"root"`, `"container":{"image":"i"}`, `"fetch":[{"uri":"http://x/y"}]`} {
		o := leading(testScheduler(t))
		o.access = testAccess(t, users)
		if got := put(newAPI(o), "editor", document(harmless)); got != 204 {
			t.Errorf("an editor sets %s = %d, want 204", harmless, got)
		}
	}
}

// One-off arguments are a command.
func TestArgumentsAreForEditors(t *testing.T) {
	t.Parallel()
	p := newGuardedPair(t, matrixUsers)
	send(t, p.leader, "POST /scheduler/iso8601"+as("admin")+asJSON+jobA)
	for server, s := range p.servers() {
		for user, want := range map[string]int{"reader": 403, "runner": 403, "editor": 204, "runner-of-a": 403, "editor-of-a": 204} {
			if got := send(t, s, "PUT /scheduler/job/a?arguments=-x"+as(user)).StatusCode; got != want {
				t.Errorf("%s, %s: arguments = %d, want %d", server, user, got, want)
			}
		}
		if got := send(t, s, "PUT /scheduler/job/a?arguments=%20"+as("runner")).StatusCode; got != 204 {
			t.Errorf("%s: blank arguments, which are none, by a runner = %d, want 204", server, got)
		}
	}
}

var (
	exampleCall = regexp.MustCompile(`(?m)\bcurl [^\n|]*`)
	exampleURL  = regexp.MustCompile(`http://localhost:8080(?:(?:/v1)?/scheduler/)?([^\s'"?]*)`)
)

// docs/api-examples.md, which the tests run, has a request to every route.
func TestEveryRouteHasAnExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/api-examples.md")
	if err != nil {
		t.Fatal(err)
	}
	called := func(method, path string) bool {
		pattern := regexp.MustCompile("^" + strings.NewReplacer(`\{\}`, "[^/]+", `\*`, ".+").Replace(regexp.QuoteMeta(path)) + "$")
		for _, call := range exampleCall.FindAllString(strings.ReplaceAll(string(text), "\\\n", " "), -1) {
			with := "GET"
			if _, after, found := strings.Cut(call, "-X "); found {
				with, _, _ = strings.Cut(after, " ")
			} else if strings.Contains(call, " -d ") || strings.Contains(call, " --data-binary ") {
				with = "POST"
			}
			if m := exampleURL.FindStringSubmatch(call); m != nil && with == method && pattern.MatchString(m[1]) {
				return true
			}
		}
		return false
	}
	for _, r := range accessRules {
		if !called(r.method, r.path) {
			t.Errorf("docs/api-examples.md has no %s %s", r.method, r.path)
		}
	}
}
