package main

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestJudgeState(t *testing.T) {
	t.Parallel()
	seen := termMark{node: "1-a", version: 7, term: 3}
	for _, test := range []struct {
		name          string
		seen, present termMark
		jobs          bool
		want          stateVerdict
	}{
		{"met for the first time, empty", termMark{}, termMark{}, false, stateKnown},
		{"met for the first time", termMark{}, termMark{node: "2-b"}, false, stateKnown},
		{"as it was", seen, seen, true, stateKnown},
		{"further on", seen, termMark{node: "1-a", version: 8}, true, stateKnown},
		{"further on, the last job deleted", seen, termMark{node: "1-a", version: 8}, false, stateKnown},
		{"all gone", seen, termMark{}, false, stateEmptied},
		{"our records gone", seen, termMark{}, true, stateKnown},
		{"made anew, empty", seen, termMark{node: "2-b", version: 9}, false, stateEmptied},
		{"made anew, with jobs", seen, termMark{node: "2-b"}, true, stateKnown},
		{"set back", seen, termMark{node: "1-a", version: 6}, true, stateSetBack},
		{"set back to before the first job", seen, termMark{node: "1-a", version: 6}, false, stateEmptied},
	} {
		if got := judgeState(test.seen, test.present, test.jobs); got != test.want {
			t.Errorf("%s: judgeState = %v, want %v", test.name, got, test.want)
		}
	}
}

// The number of a term never falls, whatever becomes of the state.
func TestRecollectionKeepsTheHighestTerm(t *testing.T) {
	t.Parallel()
	var r recollection
	for _, m := range []termMark{{node: "1-a", version: 7, term: 3}, {node: "1-a", version: 2, term: 1}, {node: "2-b"}} {
		r.keep(m)
		if got := r.mark(); got.node != m.node || got.version != m.version || got.term != 3 {
			t.Errorf("after %+v: %+v", m, got)
		}
	}
	r.keep(termMark{}) // a state that is gone does not make forget
	if got := r.mark(); got.node != "2-b" {
		t.Errorf("after a state that is gone: %+v", got)
	}
}

// What is wrong for five seconds stands in the log and in /health: a server is asked, its answer awaited, and
// the log written, within that time, and a file is checked.
func TestSilenceIsNoticedWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	const limit = 5 * time.Second
	for what, takes := range map[string]time.Duration{
		"a server that does not answer": pulseInterval + zkSilence + pulseInterval,
		"a server that is gone":         pulseInterval + termPause,
		"a state that is gone":          pulseInterval + termPause,
		"a file that is gone":           watchInterval,
	} {
		if takes >= limit {
			t.Errorf("%s is told of after %v, want less than %v", what, takes, limit)
		}
	}
}

func TestTroubleIsLoggedWhenItBeginsNowAndThenAndWhenItIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		trouble := trouble{what: "things are bad", over: "things are well"}
		lines := func() int { return strings.Count(log.String(), "\n") }
		expect := func(want int, last string) {
			t.Helper()
			if got := lines(); got != want || !strings.Contains(log.String()[strings.LastIndex(strings.TrimSpace(log.String()), "\n")+1:], last) {
				t.Errorf("%d lines, want %d, the last with %q:\n%s", got, want, last, log.String())
			}
		}
		trouble.note(logger, "")
		expect(0, "")
		since := instant(time.Now())
		for range 2 * troubleAgain / time.Second {
			trouble.note(logger, "the first reason")
			time.Sleep(time.Second)
		}
		expect(2, "the first reason")
		trouble.note(logger, "the first reason")
		expect(3, "the first reason")
		if got := trouble.problem(); got != "things are bad since "+since+": the first reason" {
			t.Errorf("problem = %q", got)
		}
		for range troubleNews / time.Second {
			trouble.note(logger, "another reason")
			expect(3, "the first reason")
			time.Sleep(time.Second)
		}
		trouble.note(logger, "another reason")
		expect(4, "another reason")
		trouble.note(logger, "")
		trouble.note(logger, "")
		expect(5, `msg="things are well" after=1m3s`)
		if got := trouble.problem(); got != "" {
			t.Errorf("problem = %q when it is over", got)
		}
	})
}

func TestRemarksAreShownForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r remarks
		r.add("one")
		time.Sleep(remarkFor / 2)
		r.add("two")
		if got := r.problems(); len(got) != 2 || !strings.HasSuffix(got[0], ": one") {
			t.Errorf("remarks %q", got)
		}
		time.Sleep(remarkFor/2 + time.Second)
		if got := r.problems(); len(got) != 1 || !strings.HasSuffix(got[0], ": two") {
			t.Errorf("remarks %q, want the second", got)
		}
		for range 2 * maxRemarks {
			r.add("again")
		}
		if got := r.problems(); len(got) != maxRemarks {
			t.Errorf("%d remarks, want the newest %d", len(got), maxRemarks)
		}
	})
}

// While nobody leads for a reason that lasts, requests are answered at once with it; else they are held, and
// the answer then says what is known.
func TestRequestsAreToldWhyNobodyLeads(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		why     string
		lasts   bool
		hold    time.Duration
		forward bool
	}{
		{"for a reason that lasts", "the state has been emptied", true, time.Hour, false},
		{"for a reason that lasts, forwarded", "the state has been emptied", true, time.Hour, true},
		{"for now", "ZooKeeper does not serve", false, time.Millisecond, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			at := newTestSeat("")
			n := startInstance(t, at, nil, func(o *apiOptions) {
				o.hold = test.hold
				o.obstacle = func() (string, bool) { return test.why, test.lasts }
			})
			var header []string
			if test.forward {
				header = []string{viaHeader, "other:1"}
			}
			res, text := ask(t, "GET", n.url+"/scheduler/jobs", "", header...)
			if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, test.why) || res.Header.Get("Retry-After") == "" {
				t.Errorf("GET jobs = %d %q, want 503 with the reason", res.StatusCode, text)
			}
			if marked := res.Header.Get(refusedHeader) != ""; marked != test.forward {
				t.Errorf("marked as refused: %t, want %t", marked, test.forward)
			}
		})
	}
}
