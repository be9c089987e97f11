package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A dagAnswer is what is tested of an answer about the run of a DAG.
type dagAnswer struct {
	Run     string
	Partial bool
	Runs    []struct {
		Job, ID    string
		State      runState
		RetryOf    string
		CausedBy   []runCause
		MoreCauses int
	}
	Coming []comingJob
}

func (d dagAnswer) jobs() (names []string) {
	for _, r := range d.Runs {
		names = append(names, r.Job)
	}
	slices.Sort(names)
	return names
}

func askDag(b *bench, who *caller, id string) (d dagAnswer) {
	b.t.Helper()
	a := newAPI(leading(b.s))
	text := answerOf(b.t, a, a.showDagRun, who, id)
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		b.t.Fatalf("%v: %s", err, text)
	}
	return d
}

// diamond posts a, with the children b and c, of which d is the child, and e, the other parent of c2.
func diamond(b *bench) {
	b.start().post(`{"name":"a","command":"x","schedule":"R/2001-01-01T00:00:00Z/P1D","retries":0}`)
	b.post(`{"name":"e","command":"x","schedule":"R/2001-01-01T00:00:00Z/P1D","retries":0}`)
	for name, parents := range map[string]string{"b": `"a"`, "c": `"a"`} {
		b.post(`{"name":"` + name + `","command":"x","parents":[` + parents + `],"retries":1,"retryDelay":60}`)
	}
	b.post(`{"name":"d","command":"x","parents":["b","c"]}`)
	b.post(`{"name":"other","command":"x","parents":["a","e"]}`)
	b.post(`{"name":"rescue","command":"x","runOn":"failure","parents":["d"]}`)
}

// The run of a DAG is found from each of its runs, before and after a fail-over, and no other run is in it.
func TestDagRun(t *testing.T) {
	t.Parallel()
	scenarioOn(t, onQuickClusters, "is found from each of its runs", func(b *bench) {
		diamond(b)
		tries := 0
		b.cluster.behave(func(info mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			if _, _, job, _, _ := parseRunID(info.TaskID.Value); job == "c" {
				if tries++; tries == 2 { // of the second run of a
					return failing(info)
				}
			}
			return time.Second, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
		})
		first := b.runNow("a")
		b.wait(time.Minute)
		b.restart()
		second := b.runNow("a")
		b.wait(10 * time.Minute)
		want := []string{"a", "b", "c", "c", "d"} // c was tried twice
		d := askDag(b, nil, second)
		if got := d.jobs(); !slices.Equal(got, want) || d.Partial || len(d.Coming) != 0 {
			b.t.Fatalf("the run has %q, partial %t, coming %v, want %q", got, d.Partial, d.Coming, want)
		}
		for _, r := range d.Runs {
			if from := askDag(b, nil, r.ID); !slices.Equal(from.jobs(), want) || from.Run != r.ID {
				b.t.Errorf("from %s the run has %q, want %q", r.ID, from.jobs(), want)
			}
		}
		if got := askDag(b, nil, first).jobs(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
			b.t.Errorf("the run before has %q", got)
		}
		last := d.Runs[len(d.Runs)-1]
		if len(last.CausedBy) != 2 || last.CausedBy[0].Job != "b" || last.CausedBy[1].Job != "c" {
			b.t.Errorf("d is caused by %v", last.CausedBy)
		}
	})
	scenarioOn(t, onQuickClusters, "is found in the archive", func(b *bench) {
		archiving(b, 2)
		diamond(b)
		b.cluster.behave(func(info mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			if _, attempt, job, _, _ := parseRunID(info.TaskID.Value); job == "b" && attempt == 0 {
				return failing(info)
			}
			return time.Second, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum()}
		})
		var ids []string
		for range 12 {
			ids = append(ids, b.runNow("a"))
			b.wait(30 * time.Minute)
		}
		b.restart()
		b.wait(time.Hour)
		if n := len(b.s.view().job("a").history); n > 4 {
			b.t.Fatalf("the history has %d runs, and should have lost the first", n)
		}
		want := []string{"a", "b", "b", "c", "d"}
		d := askDag(b, nil, ids[3])
		if got := d.jobs(); !slices.Equal(got, want) || d.Partial {
			b.t.Fatalf("the run has %q, partial %t, want %q", got, d.Partial, want)
		}
		for _, r := range d.Runs {
			if got := askDag(b, nil, r.ID).jobs(); !slices.Equal(got, want) {
				b.t.Errorf("from %s the run has %q", r.ID, got)
			}
		}
	})
	scenarioOn(t, onQuickClusters, "names what may follow", func(b *bench) {
		diamond(b)
		b.cluster.behave(forEver)
		id := b.runNow("a")
		b.wait(time.Second)
		d := askDag(b, nil, id)
		coming := map[string]string{}
		for _, c := range d.Coming {
			coming[c.Job] = fmt.Sprint(c.Parents, c.RunOn)
		}
		want := map[string]string{"b": "[a]", "c": "[a]", "other": "[a e]", "d": "[b c]", "rescue": "[d]failure"}
		if fmt.Sprint(coming) != fmt.Sprint(want) {
			b.t.Errorf("coming are %v, want %v", coming, want)
		}
	})
	scenarioOn(t, onQuickClusters, "tells nobody of jobs that he may not see", func(b *bench) {
		diamond(b)
		b.runNow("a")
		b.wait(time.Minute)
		of := b.s.view().job("d").history[0].ID
		who := &caller{grants: []grant{{role: readRole, scope: scope{{prefix: "d"}}}}}
		d := askDag(b, who, of)
		if got := d.jobs(); !slices.Equal(got, []string{"d"}) || d.Runs[0].CausedBy != nil || d.Runs[0].MoreCauses != 2 {
			b.t.Errorf("the run has %q, caused by %v and %d more", got, d.Runs[0].CausedBy, d.Runs[0].MoreCauses)
		}
	})
	scenarioOn(t, onQuickClusters, "is bounded", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2001-01-01T00:00:00Z/P1D"}`)
		for i := range maxDagRuns + 20 {
			b.post(fmt.Sprintf(`{"name":"child%d","command":"x","parents":["a"],"cpus":0.001,"mem":1,"disk":1}`, i))
		}
		id := b.runNow("a")
		b.wait(time.Minute)
		if d := askDag(b, nil, id); len(d.Runs) != maxDagRuns || !d.Partial {
			b.t.Errorf("%d runs, partial %t, want %d and true", len(d.Runs), d.Partial, maxDagRuns)
		}
	})
}

func TestDagRunOfNothing(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	given(t, do, jobA)
	for _, target := range []string{"GET /scheduler/run/ct:1:0:a:/dag", "GET /v1/scheduler/run/nonsense/dag", "GET /scheduler/followers/none"} {
		if res := do(target); res.StatusCode != 404 {
			t.Errorf("%s = %d %s, want 404", target, res.StatusCode, bodyOf(t, res))
		}
	}
	do("PUT /scheduler/job/a")
	id := openRuns(t, do("GET /scheduler/runs/a"))[0].ID
	if res := do("GET /scheduler/run/" + url.PathEscape(id) + "/dag"); res.StatusCode != 200 || !strings.Contains(bodyOf(t, res), `"coming":[]`) {
		t.Errorf("status %d", res.StatusCode)
	}
}

// What is said to follow a run is what follows it.
func TestFollowers(t *testing.T) {
	t.Parallel()
	for what, before := range map[string]func(b *bench){
		"a run":                             func(*bench) {},
		"one when another parent has ended": func(b *bench) { b.runNow("e"); b.wait(time.Minute) },
		"one of a job with a disabled child": func(b *bench) {
			b.post(`{"name":"b","command":"x","parents":["a"],"disabled":true}`)
		},
		"one of a job with a paused child": func(b *bench) {
			b.do("pause", b.s.pauseJob(b.t.Context(), "c", time.Now().Add(time.Hour)))
		},
	} {
		scenarioOn(t, onQuickClusters, "of "+what, func(b *bench) {
			diamond(b)
			before(b)
			list, partial, err := b.s.followers(b.t.Context(), "a")
			if err != nil || partial {
				b.t.Fatal(partial, err)
			}
			ran := func(name string) (n int) {
				for _, r := range b.s.view().job(name).history {
					if r.State == runFinished {
						n++
					}
				}
				return n
			}
			counts := map[string]int{}
			for _, f := range list {
				counts[f.Job] = ran(f.Job)
			}
			if len(counts) != 5 {
				b.t.Errorf("followers are %+v, want b, c, d, other and rescue", list)
			}
			b.runNow("a")
			b.wait(2 * time.Minute)
			for _, f := range list {
				if ran := ran(f.Job) > counts[f.Job]; ran != f.Follows {
					b.t.Errorf("%+v, and it ran: %t", f, ran)
				}
				if why := f.Disabled || f.OnFailure || f.Paused || len(f.WaitsFor) > 0; why == f.Follows {
					b.t.Errorf("%+v does not say why", f)
				}
			}
		})
	}
}

// Parents come before their children, whatever the order in which they were made, and there is a bound.
func TestFollowersAreBounded(t *testing.T) {
	t.Parallel()
	scenarioOn(t, onQuickClusters, "in order", func(b *bench) {
		b.start().post(parked)
		last := "a"
		for i := range maxFollowers + 10 {
			name := fmt.Sprint("n", i)
			b.post(`{"name":"` + name + `","command":"x","parents":["` + last + `"]}`)
			last = name
		}
		list, partial, err := b.s.followers(b.t.Context(), "a")
		if err != nil || len(list) != maxFollowers || !partial {
			b.t.Fatalf("%d followers, partial %t, %v", len(list), partial, err)
		}
		for i, f := range list {
			if f.Job != fmt.Sprint("n", i) || !f.Follows {
				b.t.Fatalf("follower %d is %+v", i, f)
			}
		}
	})
}
