package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// acts lists who has changed what as the API shows it, the oldest first.
func (b *setBench) acts(query string) (acts []actDocument) {
	b.t.Helper()
	var page struct {
		Activity []actDocument `json:"activity"`
		Next     string        `json:"next"`
	}
	for after := "limit=200&" + query; ; after = "limit=200&" + query + "&after=" + page.Next {
		page.Next, page.Activity = "", nil
		status, text := b.send("GET /scheduler/activity?" + after)
		if err := json.Unmarshal([]byte(text), &page); status != http.StatusOK || err != nil {
			b.t.Fatalf("GET activity = %d %s: %v", status, text, err)
		}
		acts = append(acts, page.Activity...)
		if page.Next == "" {
			slices.Reverse(acts)
			return acts
		}
	}
}

func (a actDocument) String() string {
	return strings.TrimSuffix(strings.Join([]string{a.Action, a.Job, a.About, string(a.Before), string(a.After)}, "|"), "|")
}

// What was acknowledged has one act, which is stored in the commit that holds the answer; what was refused, or asked for twice, has none.
func TestEachChangeHasOneAct(t *testing.T) {
	t.Parallel()
	const schedule = `"schedule":"R/2090-01-01T00:00:00Z/P1D"`
	body := func(method, path, text string) string {
		return method + " /scheduler/" + path + "\nContent-Type: application/json\n\n" + text
	}
	job := func(name, members string) string {
		return body("POST", "iso8601", `{"name":"`+name+`","command":"true",`+schedule+members+`}`)
	}
	steps := []struct {
		name, request string
		want          []string // acts, up to where they are told apart
	}{
		{"create", job("a", ""), []string{`created|a||`}},
		{"create another way", strings.Replace(job("p", ""), "POST", "PUT", 1), []string{`created|p||`}},
		{"the same again", job("a", ""), nil},
		{"change", job("a", `,"cpus":2,"owner":"x"`), []string{`changed|a||{"cpus":0.1,"owner":""}|{"cpus":2.0,"owner":"x"}`}},
		{"refused", job("a", `,"schedule":"R/tomorrow"`), nil},
		{"disable", job("a", `,"cpus":2,"owner":"x","disabled":true`), []string{`disabled|a||{"disabled":false}|{"disabled":true}`}},
		{"enable", job("a", `,"cpus":2,"owner":"x"`), []string{`enabled|a||{"disabled":true}|{"disabled":false}`}},
		{"move", body("POST", "iso8601", `{"name":"a","command":"true","schedule":"R/2091-01-01T00:00:00Z/P1D","cpus":2,"owner":"x"}`),
			[]string{`changed|a||{"schedule":"R/2090-01-01T00:00:00Z/P1D"}|{"schedule":"R/2091-01-01T00:00:00Z/P1D"}`}},
		{"begin anew", body("POST", "iso8601", `{"name":"now","command":"true","schedule":"R//P1Y"}`), []string{`created|now||`}},
		{"dependent", body("POST", "dependency", `{"name":"d","command":"true","parents":["a"]}`), []string{`created|d||`}},
		{"run on a schedule from now on", body("POST", "iso8601", `{"name":"d","command":"true",`+schedule+`}`),
			[]string{`changed|d||{"parents":["a"]}|{"schedule":"R/2090-01-01T00:00:00Z/P1D","scheduleTimeZone":""}`}},
		{"run after another from now on", body("POST", "dependency", `{"name":"d","command":"true","parents":["a"],"overlap":"skip"}`),
			[]string{`changed|d||{"schedule":"R/2090-01-01T00:00:00Z/P1D","scheduleTimeZone":""}|{"overlap":"skip","parents":["a"]}`}},
		{"two jobs at once", body("POST", "apply", `{"set":"s","jobs":[{"name":"e","command":"true",`+schedule+`},{"name":"f","command":"true",`+schedule+`}]}`),
			[]string{`created|e|set s`, `created|f|set s`}},
		{"plan", body("POST", "apply/plan", `{"set":"s","prune":true,"jobs":[]}`), nil},
		{"one changed, one gone", body("POST", "apply", `{"set":"s","prune":true,"jobs":[{"name":"e","command":"false",`+schedule+`}]}`),
			[]string{`changed|e|set s|{"command":"true"}|{"command":"false"}`, `deleted|f|set s|{"name":"f"`}},
		{"own", body("POST", "apply", `{"set":"s","jobs":[{"name":"p","command":"true",`+schedule+`}]}`), []string{`owned|p|set s`}},
		{"apply what is so", body("POST", "apply", `{"set":"s","jobs":[{"name":"p","command":"true",`+schedule+`}]}`), nil},
		{"run", "PUT /scheduler/job/a", []string{`run|a|ct:`}},
		{"run nothing", "PUT /scheduler/job/none", nil},
		{"kill", "DELETE /scheduler/task/kill/a", []string{`killed|a|1 run`}},
		{"success", "PUT /scheduler/job/success/a", []string{`marked as successful|a`}},
		{"purge", "DELETE /scheduler/task/all", []string{`purged||`}},
		{"pause", "PUT /scheduler/pause/a?until=2005-01-01T00:00:00Z", []string{`paused|a|until 2005-01-01T00:00:00.000Z`}},
		{"resume", "DELETE /scheduler/pause/a", []string{`resumed|a`}},
		{"resume what is not paused", "DELETE /scheduler/pause/a", nil},
		{"past", body("POST", "iso8601", `{"name":"b","command":"true","schedule":"R/1990-01-01T00:00:00Z/P1D"}`), []string{`created|b||`}},
		{"backfill", body("POST", "backfill/b", `{"from":"1999-01-01T00:00:00Z","to":"1999-01-03T00:00:00Z"}`), []string{`backfilled|b|2 instants from 1999-01-01T00:00:00.000Z to 1999-01-03T00:00:00.000Z`}},
		{"stop backfill", "DELETE /scheduler/backfill/b", []string{`backfill stopped|b|2 of 2 were left`}},
		{"pool", body("PUT", "pool/db", `{"slots":2}`), []string{`pool set||db: 2 slots`}},
		{"no pool", "DELETE /scheduler/pool/db", []string{`pool deleted||db`}},
		{"delete", "DELETE /scheduler/job/a", []string{`deleted|a||{"name":"a","command":"true"`}},
		{"delete what is gone", "DELETE /scheduler/job/a", nil},
		{"callback", body("PUT", "task/ct:1:0:none:", `{"statusCode":0}`), nil},
	}
	synctest.Test(t, func(t *testing.T) {
		b := newSetBench(t)
		b.cluster.resize(0)
		b.start()
		defer b.end()
		told := 0
		for i, step := range steps {
			id := fmt.Sprint("id-", i)
			b.commits = nil
			request := strings.Replace(step.request, "\n", "\n"+requestIDHeader+": "+id+"\n", 1)
			if !strings.Contains(step.request, "\n") {
				request += "\n" + requestIDHeader + ": " + id
			}
			first, _ := b.send(request)
			again, _ := b.send(request)
			if first != again {
				t.Errorf("%s = %d, and again %d", step.name, first, again)
			}
			all := b.acts("")
			fresh := all[told:]
			told = len(all)
			ok := len(fresh) == len(step.want)
			for k := range fresh {
				ok = ok && strings.HasPrefix(fresh[k].String(), step.want[k]) && fresh[k].Request == id && fresh[k].Remote == "192.0.2.1"
			}
			if !ok {
				t.Errorf("%s: acts are %q, want %q by %s", step.name, fresh, step.want, id)
			}
			for _, commit := range b.commits {
				has := func(prefix string) bool {
					return slices.ContainsFunc(commit, func(r record) bool { return strings.HasPrefix(r.key, prefix) && r.value != nil })
				}
				if has(activityPrefix) != (has("go/request/"+id) && len(step.want) > 0) {
					t.Errorf("%s: a commit has an act: %t, and the answer: %t", step.name, has(activityPrefix), has("go/request/"+id))
				}
			}
		}
		before := fmt.Sprint(b.acts(""))
		b.restart()
		if after := fmt.Sprint(b.acts("")); after != before {
			t.Errorf("the next leader shows %s, want %s", after, before)
		}
		tested := func(r rule) bool {
			return slices.ContainsFunc(steps, func(s struct {
				name, request string
				want          []string
			}) bool {
				method, path, _ := strings.Cut(strings.FieldsFunc(s.request, func(c rune) bool { return c == '\n' || c == '?' })[0], " /scheduler/")
				_, matches := match(r.path, strings.Split(path, "/"))
				return r.method == method && matches
			})
		}
		for _, r := range accessRules {
			exempt := slices.Contains([]string{"/logging", "job/{}/task/{}/progress", "schedule/preview", "restore", "notices/{}/test"}, r.path) || r.path == "dependency" && r.method == "PUT"
			if r.changes() && !exempt && !tested(r) {
				t.Errorf("no step makes a change with %s %s", r.method, r.path)
			}
		}
	})
}

// Leaders crash at commits, before or after they have stored them, and requests are repeated until they are answered.
func TestActsSurviveLeaders(t *testing.T) {
	t.Parallel()
	for seed := range uint64(inForm(3, 40)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, random := newSetBench(t), rand.New(rand.NewPCG(seed, 17))
				crash := errors.New("crash")
				b.store.before = func(records []record) error {
					if random.IntN(4) > 0 {
						return nil
					}
					if random.IntN(2) == 0 {
						b.store.apply(records)
					}
					return crash
				}
				b.start()
				defer func() { b.end() }()
				// insist repeats a request until a leader answers it.
				insist := func(id string, change func(context.Context) error) error {
					for {
						err := change(withRequest(t.Context(), id))
						synctest.Wait()
						if err == nil || !errors.Is(err, errNoLeader) && !errors.Is(err, crash) {
							return err
						}
						b.restart()
					}
				}
				want := map[string]string{}
				for i := range 60 {
					id, name := fmt.Sprint("r", i), fmt.Sprint("j", random.IntN(4))
					kind := random.IntN(4)
					var document *Job
					err := insist(id, func(ctx context.Context) error {
						switch kind {
						case 0:
							return b.s.deleteJob(ctx, name)
						case 1:
							return b.s.killJob(ctx, name)
						}
						return b.s.putJob(ctx, name, func(old *Job) (*Job, error) {
							var err error
							document, err = decodeJob(fmt.Appendf(nil, `{"name":%q,"command":"echo %d","schedule":"R/2090-01-01T00:00:00Z/P1D"}`, name, i), b.cfg.defaults, dialect2, old)
							return document, err
						})
					})
					if err == nil {
						want[id] = name
					} else if !errors.Is(err, errNotFound) {
						t.Fatal(err)
					}
				}
				b.store.before = nil
				b.restart()
				for _, a := range b.acts("") {
					if want[a.Request] != a.Job {
						t.Errorf("request %s has the act %s, of a job it is not about, or a second time", a.Request, a)
					}
					delete(want, a.Request)
				}
				if len(want) > 0 {
					t.Errorf("no act tells of the acknowledged requests %v", want)
				}
			})
		})
	}
}

func TestActivityIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSetBench(t)
		b.cfg.activityKeep = 10
		b.start()
		defer func() { b.end() }()
		command := strings.Repeat("x", 200)
		put := func(i int) {
			b.post(fmt.Sprintf(`{"name":"a","command":"%s %d","schedule":"R/2190-01-01T00:00:00Z/P1D"}`, command, i))
		}
		for i := range 50 {
			put(i)
		}
		for range 30 {
			b.do("success", b.s.markSuccess(t.Context(), "a"))
		}
		check := func(when string, ofJobs, ofRuns int) {
			t.Helper()
			acts := b.acts("")
			runs := len(slices.DeleteFunc(slices.Clone(acts), func(a actDocument) bool { return a.Action != actMarked }))
			if stored := len(b.sorted(activityPrefix)); runs != ofRuns || len(acts) != ofJobs+ofRuns || stored < len(acts) {
				t.Errorf("%s: %d acts, %d of them of runs, in %d records; want %d and %d", when, len(acts), runs, stored, ofJobs+ofRuns, ofRuns)
			}
		}
		check("by count, each kind by itself", 10, 10)
		if got := b.acts("action=changed"); !strings.Contains(got[0].String(), command+" 40") {
			t.Errorf("the oldest that is left is %s, want that of 40", got[0])
		}
		b.cfg.activityKeep = 4
		b.restart()
		check("after a start that keeps fewer", 4, 4)
		b.wait(activityAge + time.Hour)
		check("when they are old", 0, 0)
		put(50)
		check("when they are old, and something has changed", 1, 0)
		if n := len(b.sorted(activityPrefix)); n != 1 {
			t.Errorf("%d records are stored, want 1", n)
		}
		b.cfg.activityKeep = 0
		b.restart()
		put(51)
		if n := len(b.sorted(activityPrefix)) + len(b.acts("")); n != 0 {
			t.Errorf("%d records and acts although none are to be kept", n)
		}
	})
}

func TestActivityIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	k := keptActs{}
	for i := range int64(1000) {
		k.add(keptRecord{i, i, 1, 10_000})
	}
	keys, acts := k.drop(5000, 0, 1000)
	if k.bytes > maxActivity || k.bytes < maxActivity-10_000 || len(keys) != acts || len(keys)+len(k.records) != 1000 {
		t.Errorf("%d bytes of %d records are left of 10 MB, and %d are dropped", k.bytes, len(k.records), len(keys))
	}
	if keys, _ := k.drop(0, 0, 3); len(keys) != 3 {
		t.Errorf("%d records are dropped at once, want 3", len(keys))
	}
}

// What is too large of documents is left out, and named.
func TestActsKeepOnlySoMuchOfDocuments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSetBench(t)
		b.cfg.largestStep = maxMulti
		b.start()
		defer b.end()
		long := strings.Repeat("y", maxActTexts)
		b.post(fileScheduled("big", `,"description":"`+long+`"`))
		b.post(fileScheduled("big", `,"owner":"x","description":"`+long+`z"`))
		b.do("delete", b.s.deleteJob(t.Context(), "big"))
		for i, want := range []string{"created", `changed|big||{"owner":""}|{"owner":"x"}`, "deleted"} {
			if a := b.acts("")[i]; !strings.HasPrefix(a.String(), want) || fmt.Sprint(a.Cut) != "[description]" || len(a.String()) > maxActTexts {
				t.Errorf("act %d is %.300s without %v, want %s without the description", i, a, a.Cut, want)
			}
		}
		// A set that just fits a commit still does.
		var documents []string
		for i := range 500 {
			documents = append(documents, fileScheduled(fmt.Sprintf("set-%03d", i), `,"description":"`+long[:100]+`"`))
		}
		n := 500
		for status := 0; status != http.StatusOK; n -= 10 {
			if status, _ = b.send(post("/scheduler/apply", setOf(`"set":"s"`, documents[:n]...))); n < 300 {
				t.Fatal("no set of 300 jobs fits")
			}
		}
		acts := b.acts("q=set-")
		if len(acts) != n+10 {
			t.Errorf("%d acts of %d jobs", len(acts), n+10)
		}
		if last := acts[len(acts)-1]; fmt.Sprint(last.Cut) != "[*]" || last.After != nil || acts[0].After == nil {
			t.Errorf("the first act is %s, the last one %s without %v; want the document of the first one only", acts[0], last, last.Cut)
		}
	})
}

// A job that is brought back goes on where it was, and what it did is not done again.
func TestDeletedJobsAreBroughtBackToTheirPosition(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, schedule string
		again          string // the schedule that is posted, "" for the one that was, "stored" for what the document says
		resume         bool
		away           time.Duration
		missed         int64
		want           string // the stored schedule
	}{
		{"at once, from the stored document", "R/2000-01-01T00:30:00Z/PT1H", "stored", true, 0, 0, "R/2000-01-01T02:30:00.000Z/PT1H"},
		{"at once, as posted", "R/2000-01-01T00:30:00Z/PT1H", "", true, 0, 0, "R/2000-01-01T02:30:00.000Z/PT1H"},
		{"without a written start", "R//PT50M", "", true, 0, 0, "R/2000-01-01T01:40:00.000Z/PT50M"},
		{"when something was missed", "R/2000-01-01T00:30:00Z/PT1H", "", true, 170 * time.Minute, 2, "R/2000-01-01T04:30:00.000Z/PT1H"},
		{"with what was left", "R5/2000-01-01T00:30:00Z/PT1H", "", true, 0, 0, "R3/2000-01-01T02:30:00.000Z/PT1H"},
		{"to the last of the month", "R/1999-10-31T00:30:00Z/P1M", "stored", true, 35 * 24 * time.Hour, 0, ""},
		{"with another schedule", "R/2000-01-01T00:30:00Z/PT1H", "R/2000-01-01T02:45:00Z/PT1H", true, 0, 0, "R/2000-01-01T02:45:00Z/PT1H"},
		{"anew, as in every version", "R5/2000-01-01T00:30:00Z/PT1H", "", false, 0, 1, "R3/2000-01-01T02:30:00.000Z/PT1H"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newSetBench(t)
				b.start()
				defer func() { b.end() }()
				document := func(schedule string) string {
					return fmt.Sprintf(`{"name":"a","command":"true","schedule":%q,"epsilon":"PT1M"}`, schedule)
				}
				b.post(document(tt.schedule))
				b.wait(90*time.Minute + time.Second) // the last occurrence is a second old
				stored := b.job("a").Schedule
				b.do("delete", b.s.deleteJob(t.Context(), "a"))
				b.restart()
				b.wait(min(tt.away, retiredFor-time.Hour))
				launched := len(b.cluster.launchCounts())
				again := map[string]string{"": tt.schedule, "stored": stored}[tt.again]
				if again == "" {
					again = tt.again
				}
				path := "/scheduler/iso8601"
				if tt.resume {
					path += "?resume=true"
				}
				if status, text := b.send(post(path, document(again))); status != http.StatusNoContent {
					t.Fatalf("POST = %d %s", status, text)
				}
				b.wait(0)
				if n := len(b.cluster.launchCounts()); tt.resume && n != launched {
					t.Errorf("%d runs have begun that the job had before it was deleted", n-launched)
				}
				v := b.s.view().job("a")
				if v.missed != tt.missed {
					t.Errorf("%d occurrences were missed, want %d", v.missed, tt.missed)
				}
				if tt.want != "" && v.job.Schedule != tt.want {
					t.Errorf("schedule = %s, want %s", v.job.Schedule, tt.want)
				}
				if tt.want == "" { // it comes back to the 31st
					b.wait(45 * 24 * time.Hour)
					if next := b.s.view().job("a").next; next.Day() != 29 || next.Month() != time.February {
						t.Errorf("the next run after those of January is at %s, want the 29th of February", next)
					}
					b.wait(30 * 24 * time.Hour)
					if next := b.s.view().job("a").next; next.Day() != 31 {
						t.Errorf("the next run is at %s, want the 31st", next)
					}
				}
			})
		})
	}
}
