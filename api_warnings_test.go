package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// problemsOf is what GET problems says of jobs that say something strange.
func problemsOf(t *testing.T, do func(string) *http.Response) []string {
	t.Helper()
	var answer struct {
		Warnings []struct{ Job, Key, Text string }
	}
	if err := json.Unmarshal([]byte(bodyOf(t, do("GET /scheduler/problems"))), &answer); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, w := range answer.Warnings {
		list = append(list, w.Job+" "+w.Key+": "+w.Text)
	}
	return list
}

const (
	strangeJob  = `{"name":"a","command":"x","schedule":"30 2 * * *","scheduleTimeZone":"Europe/\"Berlim\"","retries":1.5,"cpus":-1}`
	strangeZone = `scheduleTimeZone: there is no time zone 'Europe/"Berlim"', so UTC is used instead, as in Java; the nearest is Europe/Berlin`
	strangeCPUs = `cpus: -1.0 is below 0, so the default is used instead; write 0 for that`
	strangeRest = `retries: '1.5' is read as 1; write 1`
)

func TestStrangeDocumentIsAcceptedAndTold(t *testing.T) {
	t.Parallel()
	sch, do := testAPI(t)
	var log logBuffer
	do(post("/scheduler/iso8601", `{"name":"plain","command":"x","schedule":"30 2 * * *"}`))
	readLog(sch.log, &log)
	res := do(post("/scheduler/iso8601", strangeJob))
	want := []string{`299 - "` + strangeRest + `"`, `299 - "` + strings.ReplaceAll(strangeZone, `"`, `\"`) + `"`, `299 - "` + strangeCPUs + `"`}
	if got := res.Header.Values("Warning"); res.StatusCode != 204 || !slices.Equal(got, want) {
		t.Errorf("answer = %d, %q; want 204, %q", res.StatusCode, got, want)
	}
	if got, want := problemsOf(t, do), []string{"a " + strangeRest, "a " + strangeZone, "a " + strangeCPUs}; !slices.Equal(got, want) {
		t.Errorf("problems = %q, want %q", got, want)
	}
	if row := bodyOf(t, do("GET /scheduler/overview")); !strings.Contains(row, `"warnings":["retries: `) {
		t.Errorf("overview = %s, want the warnings in it", row)
	}
	if got := bodyOf(t, do("GET /scheduler/job/a")); !strings.Contains(got, `"retries":1,`) || !strings.Contains(got, `"cpus":-1.0`) || !strings.Contains(got, `"scheduleTimeZone":"Europe/\"Berlim\""`) {
		t.Errorf("the job is listed as %s, and should be as the original had it", got)
	}
	if err := sch.do(t.Context(), func() error { return nil }); err != nil { // the loop is done with the log
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "says something strange") != 3 || !strings.Contains(got, "job=a") || !strings.Contains(got, strangeCPUs) {
		t.Errorf("log = %s, want a line for each warning", got)
	}
	if res := do(post("/scheduler/iso8601", `{"name":"a","command":"x","schedule":"30 2 * * *"}`)); res.Header.Get("Warning") != "" || len(problemsOf(t, do)) != 0 {
		t.Errorf("warned of a job that has been mended: %q, %q", res.Header.Get("Warning"), problemsOf(t, do))
	}
}

func TestClientsMayHaveStrangeDocumentsRefused(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	strict := func(document string) *http.Response {
		return do(strings.Replace(post("/scheduler/iso8601", document), "\n\n", "\nPrefer: respond-async, Handling=strict\n\n", 1))
	}
	res := strict(strangeJob)
	if body := bodyOf(t, res); res.StatusCode != 400 || body != strangeRest+"\n"+strangeZone+"\n"+strangeCPUs {
		t.Errorf("answer = %d %s, want 400 with every warning on a line", res.StatusCode, body)
	}
	if got := bodyOf(t, do("GET /scheduler/jobs")); got != "[]" {
		t.Errorf("jobs = %s, want none", got)
	}
	if res := strict(`{"name":"a","command":"x","schedule":"30 2 * * *"}`); res.StatusCode != 204 {
		t.Errorf("a job with nothing strange about it = %d, want 204", res.StatusCode)
	}
}

func TestPreviewRefusesWhatIsStrange(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	for document, want := range map[string]string{
		`{"schedule":"30 2 * * *","scheduleTimeZone":"Europe/Berlim"}`: "scheduleTimeZone: there is no time zone 'Europe/Berlim', so UTC is used instead, as in Java; the nearest is Europe/Berlin",
		`{"schedule":"30 2 * * *","epsilon":"PT0S"}`:                   "epsilon: PT0S is less than a second, which is used instead, so that an occurrence on time runs; write PT1S",
	} {
		if res := do(post("/scheduler/schedule/preview", document)); res.StatusCode != 400 || bodyOf(t, res) != want {
			t.Errorf("preview of %s = %d, want 400 %s", document, res.StatusCode, want)
		}
	}
}

// What the document of a job has said otherwise than what is stored of it is known for as long as the job lives.
func TestWarningsOutliveTheTerm(t *testing.T) {
	t.Parallel()
	const misread = "retries: '1.5' is read as 1; write 1"
	postStrange := func(b *bench, name, retries string) {
		doc := `{"name":"` + name + `","command":"x","schedule":"30 2 * * *","scheduleTimeZone":"Nowhere/At/All","retries":` + retries + `}`
		j, err := decodeJob([]byte(doc), b.cfg.defaults, dialect2, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		j.Misread = j.misread([]byte(doc))
		b.do("post", b.s.putJob(b.t.Context(), name, func(*Job) (*Job, error) { return j, nil }))
	}
	want := func(b *bench, n int, first string) {
		b.t.Helper()
		got := b.job("a").warnings()
		if len(got) != n || n > 0 && got[0].String() != first {
			b.t.Errorf("warnings = %q, want %d, first %q", got, n, first)
		}
	}
	const zone = "scheduleTimeZone: there is no time zone 'Nowhere/At/All', so UTC is used instead, as in Java; names are those of the time zone database, like Europe/Berlin"
	scenario(t, "after a fail-over, a run and a change of the counters", func(b *bench) {
		b.start()
		postStrange(b, "a", "1.5")
		b.runNow("a")
		b.wait(time.Second)
		b.restart()
		want(b, 2, misread)
		postStrange(b, "a", "1")
		want(b, 1, zone)
		b.restart()
		want(b, 1, zone)
		if keys := b.store.keys("go/warnings/"); len(keys) > 0 {
			b.t.Errorf("records left: %q", keys)
		}
	})
	scenario(t, "but not those of a job that an earlier version has deleted and made anew", func(b *bench) {
		b.start()
		postStrange(b, "a", "1.5")
		b.end()
		b.store.records["go/job/a"] = []byte(strings.Replace(b.store.value("go/job/a"), `"seq":1`, `"seq":2`, 1))
		b.start()
		want(b, 1, zone)
	})
	scenario(t, "nor those of one that is deleted", func(b *bench) {
		b.start()
		postStrange(b, "a", "1.5")
		postStrange(b, "b", "1.5")
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.end()
		delete(b.store.records, "J_b") // by an earlier version, which knows no warnings
		b.start()
		if keys := b.store.keys("go/warnings/"); len(keys) > 0 {
			b.t.Errorf("records left: %q", keys)
		}
		b.post(`{"name":"a","command":"x","schedule":"30 2 * * *"}`)
		b.restart()
		want(b, 0, "")
	})
}
