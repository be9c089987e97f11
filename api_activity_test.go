package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// shownActs lists what somebody is shown, as words like created:job, the newest first, and what the answer names as next.
func shownActs(t *testing.T, server http.Handler, who, query string) (acts []string, next string) {
	t.Helper()
	res := send(t, server, "GET /scheduler/activity?"+query+who)
	var page struct {
		Activity []actDocument `json:"activity"`
		Next     string        `json:"next"`
	}
	if text := bodyOf(t, res); res.StatusCode != http.StatusOK || json.Unmarshal([]byte(text), &page) != nil {
		t.Fatalf("GET activity?%s = %d %s", query, res.StatusCode, text)
	}
	for _, a := range page.Activity {
		acts = append(acts, a.Action+":"+a.Job)
	}
	return acts, page.Next
}

func TestActivityIsFilteredAndPaged(t *testing.T) {
	t.Parallel()
	sch, do := testAPI(t)
	server := newAPI(leading(sch))
	for i := range 7 {
		given(t, do, fmt.Sprintf(`{"name":"j%d","command":"true","schedule":"R/2090-01-01T00:00:00Z/P1D"}`, i))
	}
	do("DELETE /scheduler/job/j3" + requestOf("wanted"))
	do("PUT /scheduler/job/j1")
	for query, want := range map[string]string{
		"":                                 "[run:j1 deleted:j3 created:j6 created:j5 created:j4 created:j3 created:j2 created:j1 created:j0]",
		"job=j3":                           "[deleted:j3 created:j3]",
		"action=deleted,run":               "[run:j1 deleted:j3]",
		"q=J3":                             "[deleted:j3 created:j3]",
		"q=j3+nobody":                      "[]",
		"user=ada":                         "[]",
		"request=wanted":                   "[deleted:j3]",
		"to=1990-01-01T00:00:00Z":          "[]",
		"from=1990-01-01T00:00:00Z&q=j6":   "[created:j6]",
		"from=2900-01-01T00:00:00%2B02:00": "[]",
	} {
		if got, _ := shownActs(t, server, "", query); fmt.Sprint(got) != want {
			t.Errorf("activity?%s = %s, want %s", query, got, want)
		}
	}
	whole, _ := shownActs(t, server, "", "")
	var paged []string
	for after, pages := "", 0; ; pages++ {
		acts, next := shownActs(t, server, "", "limit=2"+after)
		paged = append(paged, acts...)
		if next == "" {
			break
		}
		after = "&after=" + next
		if pages > 9 {
			t.Fatal("the pages have no end")
		}
	}
	if !slices.Equal(paged, whole) {
		t.Errorf("pages of two have %s, want %s", paged, whole)
	}
	for _, query := range []string{"limit=0", "limit=201", "after=x", "after=-1", "from=yesterday"} {
		if res := do("GET /scheduler/activity?" + query); res.StatusCode != http.StatusBadRequest {
			t.Errorf("activity?%s = %d, want 400", query, res.StatusCode)
		}
	}
}

func requestOf(id string) string { return "\n" + requestIDHeader + ": " + id }

// Whoever has a scope sees what was done to jobs that were his to read before and after, by whomever, and nothing of others.
func TestActivityOfAScope(t *testing.T) {
	t.Parallel()
	p := newGuardedPair(t, "admin:admin\nprefix:read:team-a-\nalice:edit:owner=alice\n")
	job := func(path, name, owner, more string) {
		t.Helper()
		document := fmt.Sprintf(`{"name":%q,"command":"echo secret-%s","owner":%q,%s}`, name, name, owner, more)
		if res := send(t, p.leader, "POST /scheduler/"+path+as("admin")+asJSON+document); res.StatusCode != http.StatusNoContent {
			t.Fatalf("POST %s = %d %s", document, res.StatusCode, bodyOf(t, res))
		}
	}
	const schedule = `"schedule":"R/2090-01-01T00:00:00Z/P1D"`
	job("iso8601", "team-a-1", "bob", schedule)
	job("iso8601", "other", "alice", schedule)
	job("dependency", "team-a-child", "bob", `"parents":["team-a-1"]`)
	job("dependency", "other-child", "bob", `"parents":["team-a-1"]`)
	job("iso8601", "other", "bob", schedule) // from alice to bob
	job("iso8601", "other", "bob", schedule+`,"cpus":3`)
	send(t, p.leader, "PUT /scheduler/pool/db"+as("admin")+asJSON+`{"slots":1}`)
	send(t, p.leader, "DELETE /scheduler/job/team-a-1"+as("admin"))
	for who, want := range map[string]string{
		"admin":  "[deleted:team-a-1 pool set: changed:other changed:other created:other-child created:team-a-child created:other created:team-a-1]",
		"prefix": "[deleted:team-a-1 created:team-a-child created:team-a-1]",
		"alice":  "[created:other]",
	} {
		for server, h := range p.servers() {
			if got, _ := shownActs(t, h, as(who), ""); fmt.Sprint(got) != want {
				t.Errorf("%s is shown %s by the %s, want %s", who, got, server, want)
			}
		}
	}
	text := bodyOf(t, send(t, p.leader, "GET /scheduler/activity?action=deleted"+as("prefix")))
	if !strings.Contains(text, `"children":{"team-a-child":["team-a-1"]}`) || !strings.Contains(text, `"user":"admin","provenBy":"`) {
		t.Errorf("the deletion is shown as %s, want the one child that may be read, and who did it", text)
	}
}
