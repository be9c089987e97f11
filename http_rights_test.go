package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const scopeUsers = `
admin:admin
by-prefix:edit:team-a-
by-owner:edit:owner=alice
by-both:edit:team-b-,owner=alice
boss:admin:team-a-
lookout:read:team-b-
@group:a:edit:team-a-
@group:b:read:team-b-
`

// A teams value is random jobs of several teams and owners.
type teams struct {
	t    *testing.T
	r    *rand.Rand
	p    *guardedPair
	name []string // of all jobs that there ever were
}

// document is one of a random job, whose name, owner and texts nobody else's job has within.
func (c *teams) document(name string) string {
	owner := []string{"alice", "bob", "carol"}[c.r.IntN(3)]
	text := fmt.Sprintf(`"name":%q,"owner":%q,"command":"echo of-%s","description":"about-%s"`, name, owner, name, name)
	if parents := c.someOf(c.r.IntN(3)); len(parents) > 0 && !slices.Contains(parents, name) {
		return fmt.Sprintf(`{%s,"parents":["%s"]}`, text, strings.Join(parents, `","`))
	}
	return fmt.Sprintf(`{%s,"schedule":"R/2030-01-01T00:00:00Z/P1D"}`, text)
}

func (c *teams) someOf(n int) (names []string) {
	for range n {
		if len(c.name) > 0 {
			names = append(names, c.name[c.r.IntN(len(c.name))])
		}
	}
	return names
}

func (c *teams) newName() string {
	n := fmt.Sprintf("%s%d.", []string{"team-a-", "team-b-", "team-c-", "t"}[c.r.IntN(4)], len(c.name)+100)
	c.name = append(c.name, n)
	return n
}

func (c *teams) post(s http.Handler, header, document string) *http.Response {
	path := "/scheduler/iso8601"
	if strings.Contains(document, `"parents"`) {
		path = "/scheduler/dependency"
	}
	return send(c.t, s, "POST "+path+header+asJSON+document)
}

// documents is what every job says, and the ids of its open runs.
func (c *teams) documents() map[string]string {
	all := map[string]string{}
	for jv := range c.p.sch.view().all() {
		text := string(jv.job.appendJSON(nil, dialectStored))
		for _, r := range jv.runs {
			text += " " + r.ID
		}
		all[jv.job.Name] = text
	}
	return all
}

// request is one that a rule of the table is about, for a random job, run or name.
func (c *teams) request(r rule, header string) string {
	prefix := []string{"/scheduler/", "/v1/scheduler/"}[c.r.IntN(2)]
	if strings.HasPrefix(r.path, "/") {
		prefix = ""
	}
	name := c.name[c.r.IntN(len(c.name))]
	id := "ct:1:0:" + name + ":"
	if jv := c.p.sch.view().job(name); jv != nil {
		if runs := slices.Concat(jv.runs, jv.history); len(runs) > 0 {
			id = runs[c.r.IntN(len(runs))].ID
		}
	}
	request := strings.ReplaceAll(requestFor(r, prefix), "*", "app.js")
	head, body, _ := strings.Cut(request, "|")
	head = strings.Replace(head, "ct:1:0:a:", id, 1)
	head = strings.Replace(head, "/a", "/"+name, 1)
	switch r.path {
	case "iso8601", "dependency":
		if c.r.IntN(3) == 0 {
			name = c.newName()
		}
		body = c.document(name)
	case "job/{}":
		if r.method == "PUT" && c.r.IntN(2) == 0 {
			head = strings.Replace(head, "/"+name, "/"+name+"?arguments=x", 1)
		}
	case "jobs/search":
		head += "?limit=1000&any=of-"
	}
	return head + header + "\n\n" + body
}

// Nobody is ever shown what is out of his scope, or changes it, by any path, listing, graph, search, output or stream of events, whatever
// he asks for, of the leader or of a follower.
func TestNobodyLeavesHisScope(t *testing.T) {
	t.Parallel()
	seeds := uint64(3)
	if *long {
		seeds = 40
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			testScopes(t, seed)
		})
	}
}

func testScopes(t *testing.T, seed uint64) {
	p := newGuardedPair(t, scopeUsers)
	p.leader.options.output = func(r *Run, name string, _ int64, _ int) (outputPiece, error) {
		text := "output of " + r.Job
		return outputPiece{text: []byte(text), size: int64(len(text))}, nil
	}
	c := &teams{t: t, r: rand.New(rand.NewPCG(seed, 16)), p: p}
	for range 24 {
		c.post(p.leader, as("admin"), c.document(c.newName()))
	}
	callers := map[string]string{"by-prefix": as("by-prefix"), "by-owner": as("by-owner"), "by-both": as("by-both"), "boss": as("boss"), "lookout": as("lookout"),
		"proxied": "\n" + proxySecretHeader + ": " + testProxySecret + "\n" + proxyUserHeader + ": p\n" + proxyGroupsHeader + ": a,b"}
	rights := map[string]*caller{}
	u, _ := p.leader.access.users.current()
	for name := range callers {
		rights[name] = u.passwords[name].caller
	}
	rights["proxied"], _ = u.proxied("p", []string{"a", "b"})
	names := []string{"by-prefix", "by-owner", "by-both", "boss", "lookout", "proxied"}
	streams := c.listen(callers)
	for range 250 {
		who := names[c.r.IntN(len(names))]
		s := []http.Handler{p.leader, p.follower}[c.r.IntN(2)]
		rule := accessRules[c.r.IntN(len(accessRules))]
		if c.r.IntN(12) == 0 { // somebody moves jobs about who may
			c.post(p.leader, as("admin"), c.document(c.name[c.r.IntN(len(c.name))]))
		}
		for range 2 { // what the request before has set going, a backfill for one, is opened in turns of its own
			if err := p.sch.do(t.Context(), func() error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		before, view := c.documents(), p.sch.view()
		request := c.request(rule, callers[who])
		res := send(t, s, request)
		body := bodyOf(t, res) + strings.Join(res.Header["Warning"], "")
		c.checkSeen(view, rights[who], request, body)
		c.checkChanged(view, before, rights[who], request, res.StatusCode)
		if t.Failed() {
			t.Fatalf("seed %d: %s: %s = %d %s", seed, who, request, res.StatusCode, body)
		}
	}
	streams.check(rights)
}

// checkSeen looks for names that an answer must not have: of jobs that are out of scope, and neither asked for nor named by one in scope.
func (c *teams) checkSeen(v *view, who *caller, request, body string) {
	for jv := range v.all() {
		name := jv.job.Name
		if who.may(readRole, jv.job) || !strings.Contains(body, name) {
			continue
		}
		named := strings.Contains(request, name)
		texts := strings.Contains(body, "of-"+name) || strings.Contains(body, "about-"+name) || strings.Contains(body, "output of "+name)
		for other := range v.all() {
			named = named || who.may(readRole, other.job) && slices.Contains(other.job.Parents, name)
		}
		if !named || texts && !strings.Contains(request, "of-"+name) {
			c.t.Errorf("job %q is out of scope and stands in the answer", name)
		}
	}
}

// checkChanged looks for jobs out of scope that have become other ones. The children of a job may have been started.
func (c *teams) checkChanged(v *view, before map[string]string, who *caller, request string, status int) {
	after := c.documents()
	for jv := range v.all() {
		name := jv.job.Name
		if who.may(editRole, jv.job) || before[name] == after[name] {
			continue
		}
		was, _, _ := strings.Cut(before[name], " ct:")
		is, _, _ := strings.Cut(after[name], " ct:")
		if was != is || !jv.job.Dependent {
			c.t.Errorf("job %q is out of scope and has changed from %s to %s", name, before[name], after[name])
		}
	}
	for name := range after {
		if jv := c.p.sch.view().job(name); before[name] == "" && jv != nil && !who.may(editRole, jv.job) {
			c.t.Errorf("job %q is out of scope and was made", name)
		}
	}
	if status == 200 || status == 204 {
		return
	}
	if !strings.HasPrefix(request, "GET") && !mapsEqual(before, after) {
		c.t.Errorf("a change that was refused with %d was made", status)
	}
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// eventStreams are what each caller has been sent.
type eventStreams struct {
	teams *teams
	end   func()

	mu    sync.Mutex
	lines map[string][]string
}

// listen has each caller follow the events, one half by the follower.
func (c *teams) listen(callers map[string]string) *eventStreams {
	s := &eventStreams{teams: c, lines: map[string][]string{}}
	ctx, cancel := context.WithCancel(c.t.Context())
	var running sync.WaitGroup
	var begun []chan struct{}
	for name, header := range callers {
		h := http.Handler(c.p.leader)
		if len(begun)%2 == 1 {
			h = c.p.follower
		}
		server := httptest.NewServer(h)
		c.t.Cleanup(server.Close)
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/scheduler/events", nil)
		if err != nil {
			c.t.Fatal(err)
		}
		for line := range strings.SplitSeq(strings.TrimSpace(header), "\n") {
			k, v, _ := strings.Cut(line, ": ")
			r.Header.Set(k, v)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil || res.StatusCode != 200 {
			c.t.Fatalf("events for %s: %v %v", name, res, err)
		}
		first := make(chan struct{})
		begun = append(begun, first)
		running.Go(func() {
			defer res.Body.Close()
			once := sync.OnceFunc(func() { close(first) })
			lines := bufio.NewScanner(res.Body)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				s.mu.Lock()
				s.lines[name] = append(s.lines[name], lines.Text())
				s.mu.Unlock()
				once()
			}
		})
	}
	for _, first := range begun {
		select {
		case <-first:
		case <-time.After(patience):
			c.t.Fatal("a stream of events did not begin")
		}
	}
	s.end = func() { cancel(); running.Wait() }
	c.t.Cleanup(s.end)
	return s
}

// check looks into what everybody was sent. A job may have been in scope for a while; what never was must not be there.
func (s *eventStreams) check(rights map[string]*caller) {
	c := s.teams
	last := `{"name":"team-a-last","owner":"alice","command":"true","schedule":"R/2030-01-01T00:00:00Z/P1D"}`
	c.post(c.p.leader, as("admin"), last)
	until(c.t, "the last change to arrive", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(strings.Join(s.lines["by-prefix"], ""), "team-a-last")
	})
	s.end()
	for name, who := range rights {
		text := strings.Join(s.lines[name], "\n")
		for _, job := range c.name {
			if strings.Contains(text, `"name":"`+job+`"`) && !slices.ContainsFunc([]string{"alice", "bob", "carol"}, func(owner string) bool {
				return who.may(readRole, &Job{Name: job, Owner: owner})
			}) {
				c.t.Errorf("%s was sent an event of job %q", name, job)
			}
		}
		for line := range strings.SplitSeq(text, "\n") {
			for _, owner := range []string{"alice", "bob", "carol"} {
				for row := range strings.SplitSeq(line, `{"name":"`) {
					job, rest, _ := strings.Cut(row, `"`)
					if strings.Contains(rest, `"owner":"`+owner+`"`) && job != "" && !who.may(readRole, &Job{Name: job, Owner: owner}) {
						c.t.Errorf("%s was sent a row of job %q of %s", name, job, owner)
					}
				}
			}
		}
	}
}

// Why a run waits may have to do with another one, whose job is none of theirs who have a scope.
func TestReasonsNameNobodyElsesJob(t *testing.T) {
	t.Parallel()
	const text = "agent one" + keptFor + "run ct:1:0:secret: of job secret, which has waited"
	scoped := &caller{grants: []grant{{role: readRole, scope: scope{{prefix: "a-"}}}}}
	for who, want := range map[*caller]string{nil: text, {grants: []grant{{role: readRole}}}: text, scoped: "agent one" + keptFor + "another run"} {
		if got := sightOf(newView(), who).reason(text); got != want {
			t.Errorf("for %+v: %q, want %q", who, got, want)
		}
	}
	if got := sightOf(newView(), scoped).reason("no offer has come yet"); got != "no offer has come yet" {
		t.Errorf("another reason has become %q", got)
	}
}
