package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func previewOf(t *testing.T, res *http.Response) preview {
	t.Helper()
	var p preview
	body := bodyOf(t, res)
	if err := json.Unmarshal([]byte(body), &p); err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	return p
}

func TestPreviewShowsBothClocks(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	p := previewOf(t, do(post("/scheduler/schedule/preview",
		`{"schedule":"R/2045-03-25T02:30:00/P1D","scheduleTimeZone":"Europe/Berlin","count":3}`)))
	want := []string{"2045-03-25T02:30:00.000+01:00 2045-03-25T01:30:00.000Z", "2045-03-26T03:30:00.000+02:00 2045-03-26T01:30:00.000Z",
		"2045-03-27T02:30:00.000+02:00 2045-03-27T00:30:00.000Z"}
	if len(p.Upcoming) != 3 {
		t.Fatalf("preview = %+v, want 3 instants", p)
	}
	for i, o := range p.Upcoming {
		if got := o.Local + " " + o.UTC; got != want[i] {
			t.Errorf("instant %d = %s, want %s", i, got, want[i])
		}
	}
	if !strings.Contains(p.Upcoming[1].Note, "does not exist in Europe/Berlin") || p.Upcoming[0].Note != "" {
		t.Errorf("notes = %q, %q, want one where the clocks go forward", p.Upcoming[0].Note, p.Upcoming[1].Note)
	}
}

func TestPreviewNeedsNoLeader(t *testing.T) {
	t.Parallel()
	o := leading(nil)
	o.leader = func() (string, bool) { return "", false }
	res := send(t, newAPI(o), post("/v1/scheduler/schedule/preview", `{"schedule":"0 3 * * *"}`))
	if p := previewOf(t, res); len(p.Upcoming) != defaultPreview {
		t.Errorf("preview of a cron expression = %+v, want %d instants", p, defaultPreview)
	}
}

func TestPreviewRefuses(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	for document, want := range map[string]string{
		`{"schedule":"soon"}`: `cannot use schedule "soon"`,
		`{}`:                  `cannot use schedule ""`,
		`{"schedule":"R/2030-01-01T00:00:00Z/PT0S"}`:          "cannot use schedule",
		`{"schedule":"R/2030-01-01T00:00:00Z/P1D","n":1}`:     `unknown key "n"`,
		`{"schedule":"R/2030-01-01T00:00:00Z/P1D","count":0}`: "count: 0 is not between 1 and 1000",
	} {
		if res := do(post("/scheduler/schedule/preview", document)); res.StatusCode != 400 || !strings.Contains(bodyOf(t, res), want) {
			t.Errorf("preview of %s = %d, want 400 with %q", document, res.StatusCode, want)
		}
	}
}

func TestUpcomingOfAJob(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, `{"name":"a","command":"x","schedule":"R3/2045-01-01T00:00:00Z/PT1H"}`, jobDep)
	p := previewOf(t, do("GET /scheduler/upcoming/a"))
	if p.Job != "a" || p.Next != "2045-01-01T00:00:00.000Z" || len(p.Upcoming) != 3 || p.Upcoming[2].UTC != "2045-01-01T02:00:00.000Z" {
		t.Errorf("upcoming = %+v, want the three that are left", p)
	}
	if p := previewOf(t, do("GET /scheduler/upcoming/a?count=1")); len(p.Upcoming) != 1 {
		t.Errorf("upcoming?count=1 = %+v", p)
	}
	if p := previewOf(t, do("GET /scheduler/upcoming/dep")); len(p.Upcoming) != 0 || len(p.Parents) != 1 || p.Next != "" {
		t.Errorf("upcoming of a dependent job = %+v, want its parents", p)
	}
}

// instantsOf is the instants of an answer, in UTC.
func instantsOf(p preview) []string {
	instants := []string{}
	for _, o := range p.Upcoming {
		instants = append(instants, o.UTC)
	}
	return instants
}

func TestScheduleThatStartsNowIsDueAtOnce(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	for schedule, want := range map[string]int{"R1//PT1H": 1, "R5//PT15M": 5, "R3//PT1S": 3, "R0//PT1H": 0} {
		if p := previewOf(t, do(post("/scheduler/schedule/preview", `{"schedule":"`+schedule+`"}`))); len(p.Upcoming) != want {
			t.Errorf("preview of %s = %+v, want %d instants", schedule, p.Upcoming, want)
		}
	}
}

func TestPreviewGoesByEpsilon(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	schedule := `"schedule":"R1/` + instant(time.Now().Add(-30*time.Minute)) + `/P1D"`
	for document, want := range map[string]int{
		`{` + schedule + `}`:                    0,
		`{` + schedule + `,"epsilon":"PT1H"}`:   1,
		`{` + schedule + `,"epsilon":"PT29M"}`:  0,
		`{` + schedule + `,"epsilon":"P1M-1D"}`: 1,
	} {
		if p := previewOf(t, do(post("/scheduler/schedule/preview", document))); len(p.Upcoming) != want {
			t.Errorf("preview of %s = %+v, want %d instants", document, p.Upcoming, want)
		}
	}
	if res := do(post("/scheduler/schedule/preview", `{"schedule":"0 3 * * *","epsilon":"soon"}`)); res.StatusCode != 400 {
		t.Errorf("preview with an epsilon that is none = %d, want 400", res.StatusCode)
	}
}

// What the document of a job has room for is not what it will do: the text of its schedule drifts.
func TestUpcomingComesBackToTheDayAndHourThatWerePosted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, schedule, zone, at, text, want string }{
		{"the 31st of each month", "R/1999-12-31T08:00:00Z/P1M", "", "2000-02-01T00:00:00Z", "R/2000-02-29T08:00:00.000Z/P1M",
			"2000-02-29T08:00:00Z 2000-03-31T08:00:00Z 2000-04-30T08:00:00Z 2000-05-31T08:00:00Z"},
		{"29 February each year", "R/1996-02-29T08:00:00Z/P1Y", "", "2002-03-01T00:00:00Z", "R/2003-02-28T08:00:00.000Z/P1Y",
			"2003-02-28T08:00:00Z 2004-02-29T08:00:00Z 2005-02-28T08:00:00Z 2006-02-28T08:00:00Z"},
		{"29 February every three years", "R/1996-02-29T08:00:00Z/P3Y", "", "2005-01-01T00:00:00Z", "R/2005-02-28T08:00:00.000Z/P3Y",
			"2005-02-28T08:00:00Z 2008-02-29T08:00:00Z 2011-02-28T08:00:00Z 2014-02-28T08:00:00Z"},
		{"half past two where the clocks skip it", "R/1999-12-01T02:30:00/P1D", "Europe/Berlin", "2000-03-26T00:00:00Z", "R/2000-03-26T03:30:00.000+02:00/P1D",
			"2000-03-26T03:30:00+02:00 2000-03-27T02:30:00+02:00 2000-03-28T02:30:00+02:00 2000-03-29T02:30:00+02:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.cfg.reconcile = 1 << 50 // nothing else is to happen for years
				b.start()
				defer b.end()
				b.post(`{"name":"a","command":"x","schedule":"` + tt.schedule + `","scheduleTimeZone":"` + tt.zone + `"}`)
				b.wait(time.Until(mustParseTime(t, tt.at)))
				if got := b.job("a").Schedule; got != tt.text {
					t.Errorf("the document has schedule %s, want %s", got, tt.text)
				}
				var got []string
				for _, o := range previewOf(t, send(t, newAPI(leading(b.s)), "GET /scheduler/upcoming/a?count=4")).Upcoming {
					got = append(got, strings.Replace(o.Local, ".000", "", 1))
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("upcoming = %s, want %s", strings.Join(got, " "), tt.want)
				}
			})
		})
	}
}

// A shownJob is a job with a schedule of chance.
type shownJob struct {
	schedule, zone string
	epsilon        int // seconds
	period         time.Duration
}

func randomShownJob(r *rand.Rand, now time.Time) shownJob {
	j := shownJob{zone: testZones[r.IntN(len(testZones))], epsilon: []int{1, 60, 3600, 90_000}[r.IntN(4)]}
	crons := []string{"*/7 * * * *", "30 2 * * *", "15 1,2 * * *", "0 3 29 2 *", "0 0 31 * *", "*/20 59 23 * * MON", "@monthly"}
	periods := []string{"PT1S", "PT7M", "PT1H", "PT36H", "P1D", "P1W", "P1M", "P1Y", "P1DT1H", "P1M2DT3.5S"}
	if r.IntN(4) == 0 {
		j.schedule, j.period = crons[r.IntN(len(crons))], 24*time.Hour
		return j
	}
	text := periods[r.IntN(len(periods))]
	p, _ := parsePeriod(text)
	j.period = p.approx()
	start := ""
	if r.IntN(5) > 0 {
		at := now.Add(time.Duration((r.Float64()*6 - 4) * float64(j.period)))
		day := []string{at.Format(time.DateOnly), fmt.Sprint(at.Year(), "-01-31"), fmt.Sprint(at.Year()/4*4, "-02-29"), fmt.Sprint(at.Year()-1, "-12-31")}[r.IntN(4)]
		clock := []string{at.Format(time.TimeOnly), "02:30:00", "01:30:00", "00:00:00.001"}[r.IntN(4)]
		if j.period < time.Hour {
			day, clock = at.Format(time.DateOnly), at.Format(time.TimeOnly)
		}
		start = strings.ReplaceAll(day, " ", "") + "T" + clock + []string{"", "Z", "-07:00"}[r.IntN(3)]
	}
	times := ""
	if r.IntN(3) == 0 {
		times = fmt.Sprint(1 + r.IntN(9))
	}
	j.schedule = "R" + times + "/" + start + "/" + text
	return j
}

func (j shownJob) document(more string) string {
	return fmt.Sprintf(`{%s"schedule":%q,"scheduleTimeZone":%q,"epsilon":"PT%dS"}`, more, j.schedule, j.zone, j.epsilon)
}

// TestWhatIsShownIsWhatRuns holds the preview of what is about to be posted, and what upcoming and the overview say of a
// job wherever it stands, against the runs that follow.
func TestWhatIsShownIsWhatRuns(t *testing.T) {
	t.Parallel()
	scenarios := inForm(12, 600)
	for seed := range uint64(scenarios) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 13))
			b := newBench(t)
			b.cfg.historyKeep, b.cfg.reconcile = 1000, 1<<50
			time.Sleep(time.Duration(r.Int64N(int64(6 * 365 * 24 * time.Hour))))
			j := randomShownJob(r, time.Now().UTC())
			b.start()
			defer func() { b.end() }()
			ran := func(since int) []string {
				var dues []string
				for _, run := range slices.Backward(b.s.view().job("a").history) {
					if run.State == runFinished && run.Kind == kindScheduled {
						dues = append(dues, instant(run.dueTime()))
					}
				}
				return dues[since:]
			}
			// follow lets as much time pass as was shown, or some periods if nothing more is.
			follow := func(what string, shown []string, since int, n int) {
				t.Helper()
				until := time.Now().Add(5 * j.period)
				if len(shown) == n {
					until = mustParseTime(t, shown[n-1])
				}
				time.Sleep(time.Until(until))
				b.wait(0)
				if got := ran(since); !slices.Equal(got, shown) {
					t.Fatalf("seed %d, %s: %s shows %q, and what ran is %q", seed, j.document(""), what, shown, got)
				}
			}
			ask := func(request string) []string {
				t.Helper()
				return instantsOf(previewOf(t, send(t, newAPI(leading(b.s)), request)))
			}
			previewed := ask(post("/scheduler/schedule/preview", j.document(`"count":4,`)))
			b.post(j.document(`"name":"a","command":"x",`))
			follow("the preview", previewed, 0, 4)
			for range 3 {
				if r.IntN(2) == 0 {
					b.end()
					time.Sleep(time.Duration(r.Float64() * 3 * float64(j.period)))
					b.start()
				}
				shown, since := ask("GET /scheduler/upcoming/a?count=3"), len(ran(0))
				next := ""
				if len(shown) > 0 {
					next = fmt.Sprintf(`"next":%d`, mustParseTime(t, shown[0]).UnixMilli())
				}
				if row := string(appendRow(b.s.view().job("a"), nil)); !strings.Contains(row, cmp.Or(next, `"name":"a"`)) || next == "" && strings.Contains(row, `"next"`) {
					t.Fatalf("seed %d, %s: upcoming shows %q, and the overview %s", seed, j.document(""), shown, row)
				}
				follow("upcoming", shown, since, 3)
			}
		})
	}
}

// A preview says what an H stands for, which follows from the name.
func TestPreviewOfASpreadSchedule(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	res := do(post("/scheduler/schedule/preview", `{"name":"nightly","schedule":"H H * * *","scheduleTimeZone":"UTC","count":1}`))
	if got := bodyOf(t, res); res.StatusCode != 200 || !strings.Contains(got, `"spread":"17 12 * * *"`) || !strings.Contains(got, `T12:17:00.000Z"`) {
		t.Errorf("preview = %d %s", res.StatusCode, got)
	}
	if res := do(post("/scheduler/schedule/preview", `{"schedule":"H H * * *"}`)); res.StatusCode != 400 || !strings.HasPrefix(bodyOf(t, res), "name: ") {
		t.Errorf("without a name = %d, want 400 that asks for it", res.StatusCode)
	}
	given(t, do, `{"name":"nightly","command":"x","schedule":"H H * * *","scheduleTimeZone":"UTC"}`)
	if got := bodyOf(t, do("GET /scheduler/upcoming/nightly?count=1")); !strings.Contains(got, `"schedule":"H H * * *","spread":"17 12 * * *"`) || !strings.Contains(got, `T12:17:00.000Z"`) {
		t.Errorf("upcoming = %s", got)
	}
	if res := do(post("/scheduler/iso8601", `{"name":"wrong","command":"x","schedule":"H(9-3) * * * *"}`)); res.StatusCode != 400 {
		t.Errorf("an H of no range = %d, want 400", res.StatusCode)
	}
}
