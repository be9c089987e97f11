package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// archivedBench is a leader whose job a has run once a minute for four hours and a half, failing every tenth time, beside a job b each hour.
func archivedBench(b *bench) func(request string) *http.Response {
	archiving(b, 5)
	n := 0
	b.cluster.behave(func(task mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
		if strings.HasSuffix(task.TaskID.Value, ":b:") {
			return time.Second, status(mesos.TASK_FINISHED)
		}
		if n++; n%10 == 9 {
			return time.Second, status(mesos.TASK_FAILED)
		}
		return time.Second, status(mesos.TASK_FINISHED)
	})
	b.start()
	b.post(strings.Replace(eachMinute, "{", `{"retries":0,`, 1))
	b.post(`{"name":"b","command":"x","schedule":"R/2000-01-01T00:30:00Z/PT1H","ownerName":"Ada"}`)
	b.wait(4*time.Hour + 30*time.Minute + 30*time.Second)
	h := newAPI(leading(b.s))
	return func(request string) *http.Response { return send(b.t, h, request) }
}

func TestRunsAreListedBeyondTheHistory(t *testing.T) {
	t.Parallel()
	type answer struct {
		Runs []struct {
			Job, ID, State, Due, Agent string
		}
		Next   string
		Unread int
	}
	list := func(b *bench, do func(string) *http.Response, query string) (a answer) {
		b.t.Helper()
		text := bodyOf(b.t, do("GET /scheduler/runs?"+query))
		if err := json.Unmarshal([]byte(text), &a); err != nil || a.Unread != 0 {
			b.t.Fatalf("runs?%s = %s: %v", query, text, err)
		}
		return a
	}
	scenarioOn(t, inMemory, "page by page, while more of them end", func(b *bench) {
		do := archivedBench(b)
		first := list(b, do, "limit=500")
		if len(first.Runs) != 275 {
			b.t.Fatalf("%d runs are listed, want 270 of a and 5 of b", len(first.Runs))
		}
		var paged []string
		for page := list(b, do, "limit=40"); ; page = list(b, do, "limit=40&after="+strings.ReplaceAll(page.Next, ":", "%3A")) {
			for _, r := range page.Runs {
				paged = append(paged, r.ID)
				if r.Agent == "" {
					b.t.Errorf("run %q lacks what only its record says: %+v", r.ID, r)
				}
			}
			if page.Next == "" {
				break
			}
			b.wait(7 * time.Minute)
		}
		var want []string
		for _, r := range first.Runs {
			want = append(want, r.ID)
		}
		if !slices.Equal(paged, want) {
			b.t.Errorf("%d runs are on the pages, want the %d that there were at the first, in their order", len(paged), len(want))
		}
	})
	scenarioOn(t, inMemory, "by what they are", func(b *bench) {
		do := archivedBench(b)
		for query, want := range map[string]int{
			"limit=500&state=failed": 27, "limit=500&job=b": 5, "limit=500&job=": 275, "limit=500&owner=Ada": 5,
			"limit=500&job=a&from=2000-01-01T01:00:00Z&to=2000-01-01T02:00:00Z": 60,
			"limit=500&state=finished&q=a&to=2000-01-01T01:00:00Z":              54, "limit=500&kind=manual": 0,
		} {
			if got := len(list(b, do, query).Runs); got != want {
				b.t.Errorf("runs?%s = %d runs, want %d", query, got, want)
			}
		}
	})
	scenarioOn(t, inMemory, "as far as the archive can be read", func(b *bench) {
		do := archivedBench(b)
		b.end()
		text := bodyOf(b.t, do("GET /scheduler/runs?limit=500"))
		if !strings.Contains(text, `"unread":`) || strings.Count(text, `"id"`) != 10 {
			b.t.Errorf("after the term: %s, want the histories, and that more is unread", text)
		}
		b.start()
	})
}

func TestDaysAndRecentRunsOfAJob(t *testing.T) {
	t.Parallel()
	scenarioOn(t, inMemory, "from the history and the archive", func(b *bench) {
		do := archivedBench(b)
		for target, want := range map[string]string{
			"days/a":                          `{"job":"a","zone":"UTC","days":[{"day":"2000-01-01","runs":270,"failed":27}]}`,
			"days/a?zone=America/New_York":    `"days":[{"day":"1999-12-31","runs":270,"failed":27}]`,
			"days/a?zone=Asia/Kabul":          `"days":[{"day":"2000-01-01","runs":270,"failed":27}]`,
			"days/a?zone=Pacific/Nowhere":     "is not a time zone",
			"days/c":                          `no job \"c\"`,
			"recent":                          "want 1 to 100 names of jobs",
			"recent?job=a&runs=0":             "is not a number between 1 and 100",
			"recent?job=nobody":               `{"jobs":{}}`,
			"recent?job=b&job=nobody&runs=2":  `{"jobs":{"b":[["s",946701000000,0,1000],["s",946697400000,0,1000]]}}`,
			"runs?job=a&limit=1&state=failed": `"state":"failed"`,
		} {
			if got := bodyOf(b.t, do("GET /v1/scheduler/"+target)); !strings.Contains(strings.ReplaceAll(got, `\\"`, `\"`), want) {
				b.t.Errorf("GET %s = %s\nwant %s in it", target, got, want)
			}
		}
		var recent struct{ Jobs map[string][][]any }
		if err := json.Unmarshal([]byte(bodyOf(b.t, do("GET /scheduler/recent?job=a&runs=100"))), &recent); err != nil || len(recent.Jobs["a"]) != 100 {
			b.t.Fatalf("%d recent runs, want 100: %v", len(recent.Jobs["a"]), err)
		}
		for i, cell := range recent.Jobs["a"] {
			due := msTime(int64(cell[1].(float64)))
			if want := time.Date(2000, 1, 1, 4, 30-i, 0, 0, time.UTC); !due.Equal(want) {
				b.t.Errorf("recent run %d was due at %s, want %s", i, due, want)
			}
		}
	})
}

// A leader learns what the archive holds in bounded steps, and says how much is left.
func TestTheArchiveIsReadInSteps(t *testing.T) {
	t.Parallel()
	st := newMemStore()
	var a archive
	e := &entry{job: &Job{Name: "a"}, state: jobState{Seq: 1}}
	const segments = segmentsForOne + 10
	for n := range int64(segments) {
		r := &Run{ID: runID(n, 0, "a", ""), Job: "a", Kind: kindScheduled, State: runFinished, Due: n * 1000, Number: n + 1}
		g, value := a.encode([]endedRun{{r, e}})
		st.records[g.key()] = value
	}
	st.records["J_a"] = []byte(parked)
	st.records["go/job/a"] = []byte(`{"seq":1}`)
	sch := schedulerWith(t, st, func(cfg *schedulerConfig) {
		cfg.archive = archiveBounds{runs: 1 << 30, size: 1 << 30, age: 1 << 60}
	})
	for _, want := range []int{10, 0} {
		index, missing, err := sch.archived(t.Context())
		known := 0
		index.each(jobKey{"a", 1}, 1<<62, func(mark) bool { known++; return true })
		if err != nil || missing != want || known != segments-want {
			t.Errorf("%d runs are known and %d records are missing, %v; want %d missing", known, missing, err, want)
		}
	}
	if got := fmt.Sprint(len(st.keys(segmentPrefix))); got != fmt.Sprint(segments) {
		t.Errorf("%s segments are left of %d", got, segments)
	}
}
