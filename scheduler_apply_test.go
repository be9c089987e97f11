package main

import (
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

// A setBench sends sets of jobs to a scheduler in virtual time.
type setBench struct {
	*bench
	commits [][]record
}

func newSetBench(t *testing.T) *setBench {
	b := &setBench{bench: newBench(t)}
	b.store.before = func(records []record) error {
		b.commits = append(b.commits, records)
		if n := b.store.sizeOf(records); b.cfg.largestStep > 0 && n > maxMulti {
			t.Errorf("a commit takes %d bytes, more than %d", n, maxMulti)
		}
		return nil
	}
	return b
}

// send sends a request and returns the status and the body of the answer.
func (b *setBench) send(request string) (int, string) {
	b.t.Helper()
	res := send(b.t, newAPI(leading(b.s)), request)
	return res.StatusCode, bodyOf(b.t, res)
}

// apply applies a set, and returns what was done, as words like create:a.
func (b *setBench) apply(members string, documents ...string) string {
	b.t.Helper()
	status, text := b.send(post("/scheduler/apply", setOf(members, documents...)))
	if status != http.StatusOK {
		b.t.Fatalf("apply = %d %s", status, text)
	}
	return actionsIn(b.t, text)
}

// sorted lists the stored records of a kind.
func (b *setBench) sorted(prefix string) []string {
	keys := b.store.keys(prefix)
	slices.Sort(keys)
	return keys
}

func setOf(members string, documents ...string) string {
	return `{` + members + `,"jobs":[` + strings.Join(documents, ",") + `]}`
}

// actionsIn shortens a plan.
func actionsIn(t testing.TB, text string) string {
	t.Helper()
	var p setPlan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	var words []string
	for _, c := range p.Changes {
		word := c.Action + ":" + c.Job
		for _, k := range c.Keys {
			word += "." + k.Key
		}
		words = append(words, word)
	}
	return strings.Join(append(words, fmt.Sprint(p.Unchanged)), " ")
}

func fileScheduled(name, members string) string {
	return `{"name":"` + name + `","command":"true","schedule":"R/2090-01-01T00:00:00Z/P1D"` + members + `}`
}

func fileDependent(name, parents string) string {
	return `{"name":"` + name + `","command":"true","parents":["` + strings.ReplaceAll(parents, " ", `","`) + `"]}`
}

// inBubble runs a test of sets in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, b *setBench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newSetBench(t)
		b.start()
		defer b.end()
		f(t, b)
	})
}

func TestASetIsAppliedInOneCommit(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *setBench) {
		b.cfg.largestStep = maxMulti
		var first []string
		for i := range 40 { // children before parents
			first = append(first, fileDependent(fmt.Sprintf("child%02d", i), fmt.Sprintf("parent%02d", i)), fileScheduled(fmt.Sprintf("parent%02d", i), ""))
		}
		bulk := func(owner string) (all []string) { // more than is stored at once without need
			for i := range 40 {
				all = append(all, fileScheduled(fmt.Sprintf("bulk%02d", i), `,"owner":"`+owner+`","description":"`+strings.Repeat("x", 16<<10)+`"`))
			}
			return all
		}
		b.apply(`"set":"x"`, append(first, bulk("")...)...)
		b.send(post("/scheduler/iso8601", `{"name":"now","command":"true","schedule":"R/2000-01-01T00:00:00Z/P1D"}`))
		for range 3 {
			b.s.runJob(t.Context(), "child07", "", false)
		}
		b.wait(time.Second)
		b.commits = nil
		second := []string{fileScheduled("parent00", `,"owner":"me"`), fileDependent("child00", "parent00"), fileDependent("new2", "new1 child00"), fileScheduled("new1", ""),
			`{"name":"due","command":"true","schedule":"R//PT1M"}`}
		done := b.apply(`"set":"x","prune":true`, append(second, bulk("me")...)...)
		for _, want := range []string{"change:parent00.owner ", "create:new1 ", "create:new2 ", "create:due ", "delete:child07 ", "delete:parent07 ", " 1"} {
			if !strings.Contains(done, want) {
				t.Errorf("done: %s, want %q in it", done, want)
			}
		}
		b.wait(time.Second)
		carrying := 0
		for _, records := range b.commits {
			n := 0
			for _, r := range records {
				if strings.HasPrefix(r.key, "J_") && r.key != "J_now" && (r.value == nil || !strings.Contains(r.key, "due")) || kindOf(r.key) == "request" {
					n++
				}
			}
			if n > 0 {
				carrying++
			}
			if n > 0 && n != 3+78+40+1 {
				t.Errorf("a commit has %d of the %d records of the change", n, 3+78+40+1)
			}
		}
		if carrying != 1 {
			t.Errorf("the change is in %d commits, want one", carrying)
		}
		if err := soundness(t, b.s); err != nil {
			t.Error(err)
		}
	})
}

// What is refused changes nothing, and says what is wrong.
func TestASetIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *setBench) {
		b.apply(`"set":"mine"`, fileScheduled("a", ""), fileDependent("b", "a"), fileDependent("c", "b"))
		b.apply(`"set":"other"`, fileScheduled("theirs", ""))
		b.send(post("/scheduler/dependency", fileDependent("outside", "c")))
		good := fileScheduled("good", "")
		for _, tt := range []struct {
			set    string
			status int
			want   string
		}{
			{setOf(`"set":"mine"`, good, fileDependent("d", "nobody")), 400, `job "d", parent "nobody": parent does not exist`},
			{setOf(`"set":"mine"`, good, fileDependent("d", "e"), fileDependent("e", "d")), 400, "the dependency would close a cycle"},
			{setOf(`"set":"mine"`, good, fileDependent("a", "outside")), 400, "the dependency would close a cycle"},
			{setOf(`"set":"mine"`, good, fileDependent("d", "d")), 400, "a job cannot be its own parent"},
			{setOf(`"set":"mine"`, good, good), 400, `jobs[1]: there are two documents of job "good"`},
			{setOf(`"set":"mine"`, good, `{"command":"true"}`), 400, "jobs[1]: the key name is missing"},
			{setOf(`"set":"mine"`, good, `{"name":"d","command":"true","schedule":"never"}`), 400, `job "d": `},
			{setOf(`"set":"mine"`, good, `{"name":"d","schedule":"R/2090-01-01T00:00:00Z/P1D"}`), 400, `job "d": command: the key is missing`},
			{setOf(`"set":"mine"`, good, fileScheduled("d", `,"pool":"none"`)), 400, `job "d": pool: there is no pool "none"`},
			{setOf(`"set":"mine"`, good, fileScheduled("theirs", "")), 409, `job "theirs": it belongs to another set, "other"`},
			{setOf(`"set":"mine","prune":true`, good), 409, `job "c" can't be deleted: another job runs after it, "outside"`},
			{setOf(`"set":"mine","prune":true`, good, fileDependent("outside", "c"), fileDependent("c", "good")), 200, ""},
			{setOf(`"set":"mine","prune":true`, good, fileDependent("outside", "b")), 400, `parent "b": parent does not exist`},
			{setOf(`"set":"mine","prune":true`), 400, "jobs: there are none"},
			{setOf(`"set":""`, good), 400, `set: "" is not a name`},
			{setOf(`"set":"mine","force":true`, good), 400, `unknown key "force"`},
			{`{"set":"mine"}`, 400, "jobs: a list of documents is needed"},
			{setOf(`"set":"mine"`, make([]string, maxSet+1)...), 400, ""},
		} {
			before := fmt.Sprint(b.store.records)
			for _, path := range []string{"/scheduler/apply/plan", "/scheduler/apply"} {
				if tt.status == 200 && path == "/scheduler/apply" {
					continue
				}
				status, text := b.send(post(path, tt.set))
				if status != tt.status || !strings.Contains(text, tt.want) {
					t.Errorf("%s %s = %d %s, want %d and %q", path, cutText(tt.set, 200, "…"), status, text, tt.status, tt.want)
				}
				b.wait(time.Second)
				if after := fmt.Sprint(b.store.records); after != before {
					t.Errorf("%s %s has changed the state", path, tt.set)
				}
			}
		}
		if done := b.apply(`"set":"mine","take":true`, fileScheduled("theirs", "")); done != "own:theirs 0" {
			t.Errorf("taken over: %s", done)
		}
	})
}

// Dependencies may be turned round within a set: what counts is how the jobs will be.
func TestASetTurnsDependenciesRound(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *setBench) {
		b.apply(`"set":"x"`, fileScheduled("a", ""), fileDependent("b", "a"))
		b.send(post("/scheduler/dependency", fileDependent("between", "b")))
		if done := b.apply(`"set":"x"`, fileDependent("a", "between"), fileScheduled("b", "")); !strings.HasPrefix(done, "change:b.parents.schedule.") || !strings.Contains(done, "change:a.parents.schedule.") {
			t.Errorf("done: %s", done)
		}
		if err := soundness(t, b.s); err != nil {
			t.Error(err)
		}
		if got := b.s.view().job("a").parents; len(got) != 1 || got[0] != "between" {
			t.Errorf("a has the parents %q", got)
		}
	})
}

// Counters, positions and what people do by hand are not for files to say.
func TestASetLeavesAloneWhatHasHappened(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *setBench) {
		b.cluster.behave(taking(time.Second))
		hourly := `{"name":"a","command":"true","schedule":"R12//PT1H","successCount":99,"lastError":"2000-01-01T00:00:00.000Z"`
		b.apply(`"set":"x"`, hourly+`}`, fileScheduled("b", `,"disabled":true`))
		b.wait(150 * time.Minute)
		before, schedule := b.job("a"), b.s.view().job("a").next
		if before.SuccessCount != 3 || before.LastError != "" {
			t.Errorf("a counts %d successes and the last error %q, want 3 of its own", before.SuccessCount, before.LastError)
		}
		for _, tt := range []struct{ document, want string }{
			{hourly + `}`, "1"},
			{hourly + `,"owner":"me"}`, "change:a.owner 0"},
			{hourly + `}`, "change:a.owner 0"},
		} {
			if done := b.apply(`"set":"x"`, tt.document); done != tt.want {
				t.Errorf("apply %s: %s, want %s", tt.document, done, tt.want)
			}
			b.wait(time.Minute)
			after := b.job("a")
			if after.SuccessCount != before.SuccessCount || after.LastSuccess != before.LastSuccess || after.Schedule != before.Schedule || !b.s.view().job("a").next.Equal(schedule) {
				t.Errorf("apply %s: from %d %s to %d %s, next %s, was %s", tt.document, before.SuccessCount, before.Schedule, after.SuccessCount, after.Schedule, b.s.view().job("a").next, schedule)
			}
		}
		disabled := func() bool { return b.job("a").Disabled }
		b.send(post("/scheduler/iso8601", hourly+`,"disabled":true}`))
		if b.apply(`"set":"x"`, hourly+`}`); !disabled() {
			t.Error("a job that somebody has disabled by hand was enabled by a file that says nothing of it")
		}
		if b.apply(`"set":"x"`, hourly+`,"disabled":false}`); disabled() {
			t.Error("a job is disabled though its file says that it is not")
		}
		b.apply(`"set":"x"`, hourly+`,"disabled":true}`)
		if done := b.apply(`"set":"x"`, hourly+`}`); disabled() || done != "change:a.disabled 0" {
			t.Errorf("a file disables a job no more: %s, disabled is %v", done, disabled())
		}
	})
}

// To whom a job belongs is known to the next leader, and forgotten when the job is deleted.
func TestJobsOfASetArePruned(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *setBench) {
		b.apply(`"set":"x"`, fileScheduled("kept", ""), fileScheduled("gone", ""), fileScheduled("again", ""))
		b.send(post("/scheduler/iso8601", fileScheduled("hand", "")))
		b.send("DELETE /scheduler/job/again")
		b.send(post("/scheduler/iso8601", fileScheduled("again", "")))
		b.restart()
		if done := b.apply(`"set":"y","prune":true`, fileScheduled("hand", "")); done != "own:hand 0" {
			t.Errorf("another set: %s", done)
		}
		if done := b.apply(`"set":"x","prune":true`, fileScheduled("kept", "")); done != "delete:gone 1" {
			t.Errorf("without two jobs: %s, want only the one deleted that still belongs to the set", done)
		}
		b.wait(time.Second)
		if got := strings.Join(b.sorted(ownerPrefix), " "); got != "go/owner/hand go/owner/kept" {
			t.Errorf("records of owners: %s", got)
		}
	})
}

func TestARepeatedSetIsAppliedOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *setBench) {
		request := "POST /scheduler/apply" + "\n" + requestIDHeader + ": once" + asJSON + setOf(`"set":"x"`, fileScheduled("a", ""))
		_, first := b.send(request)
		b.send("DELETE /scheduler/job/a")
		b.restart()
		if status, text := b.send(request); status != 200 || text != first || b.s.view().job("a") != nil {
			t.Errorf("repeated: %d %s, want 200 and %s, and nothing done", status, text, first)
		}
		if status, text := b.send(strings.Replace(request, `"true"`, `"false"`, 1)); status != 409 {
			t.Errorf("another set with that id: %d %s, want 409", status, text)
		}
	})
}

// Whatever is accepted fits one commit of ZooKeeper, also where runs wait and begin, and what is not accepted says why.
func TestASetFitsACommit(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewPCG(1, 2))
	accepted, refused := 0, 0
	for range inForm(6, 30) {
		inBubble(t, func(t *testing.T, b *setBench) {
			b.cfg.largestJob, b.cfg.largestStep = maxJob, maxMulti
			b.restart()
			count, most := 1+chance.IntN(400), 50+chance.IntN(3000)
			documents := func() (all []string) {
				for i := range count {
					start := []string{"2090-01-01T00:00:00Z", "", "1999-12-31T23:59:50Z"}[chance.IntN(3)]
					all = append(all, fmt.Sprintf(`{"name":"job%d","command":%q,"schedule":"R/%s/PT1M","disabled":%v,"pause":%q}`,
						i, strings.Repeat("<", chance.IntN(most)), start, chance.IntN(3) == 0, strings.Repeat("x", chance.IntN(100))))
				}
				return all
			}
			for range 4 {
				status, text := b.send(post("/scheduler/apply", setOf(`"set":"x","prune":true`, documents()...)))
				switch {
				case status == 200:
					accepted++
				case status == 413 && strings.Contains(text, "apply fewer jobs at once; nothing has been changed"):
					refused++
				default:
					t.Fatalf("apply = %d %s", status, text)
				}
				b.wait(90 * time.Second)
				count = max(1, count-chance.IntN(count))
			}
		})
	}
	if accepted < 5 || refused < 5 {
		t.Errorf("%d sets were accepted and %d refused: this tests little", accepted, refused)
	}
}

// A leader that can't store a set has not changed any job.
func TestASetIsStoredOrNothingOfIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *setBench) {
		b.apply(`"set":"x"`, fileScheduled("a", ""), fileScheduled("b", ""))
		b.wait(time.Second)
		before := fmt.Sprint(b.sorted("J_"))
		b.store.before = func(records []record) error { return fmt.Errorf("cut off") }
		answered := make(chan error, 1)
		go func() {
			_, err := b.s.applySet(t.Context(), jobSet{name: "x", prune: true, jobs: []setJob{{name: "c", build: func(*Job) (*Job, error) {
				return decodeJob([]byte(fileScheduled("c", "")), testConfig().defaults, dialect2, nil)
			}}}})
			answered <- err
		}()
		if err := <-answered; err == nil {
			t.Error("a set that could not be stored was answered as applied")
		}
		b.store.before = nil
		<-b.done
		b.start()
		if after := fmt.Sprint(b.sorted("J_")); after != before {
			t.Errorf("stored: %s, before %s", after, before)
		}
		if done := b.apply(`"set":"x","prune":true`, fileScheduled("c", "")); done != "create:c delete:a delete:b 0" {
			t.Errorf("then: %s", done)
		}
	})
}

// linesOfJobs are the lines about jobs of what is stored: Mesos may have given the framework an id meanwhile.
func linesOfJobs(stored string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(stored, "\n"), func(line string) bool {
		return !strings.HasPrefix(line, "J_") && !strings.HasPrefix(line, "go/owner/")
	}), "\n")
}

// A set needs a right to each of its jobs, as it is and as it is to be, to those that are pruned, and to parents.
func TestASetNeedsARightToEachJob(t *testing.T) {
	t.Parallel()
	p := newGuardedPair(t, "admin:admin\nwriter:edit:web-\n")
	ask := func(user, set string) (int, string) {
		res := send(t, p.leader, "POST /scheduler/apply"+as(user)+asJSON+set)
		return res.StatusCode, bodyOf(t, res)
	}
	if status, text := ask("admin", setOf(`"set":"all"`, fileScheduled("web-a", ""), fileScheduled("web-b", ""), fileScheduled("db-a", ""))); status != 200 {
		t.Fatalf("apply = %d %s", status, text)
	}
	for _, tt := range []struct {
		set    string
		status int
		want   string
	}{
		{setOf(`"set":"all"`, fileScheduled("web-a", `,"owner":"me"`), fileScheduled("db-a", `,"owner":"me"`)), 403, `job "db-a"`},
		{setOf(`"set":"all"`, fileScheduled("web-a", `,"owner":"me"`), fileScheduled("db-new", "")), 403, `job "db-new"`},
		{setOf(`"set":"all","prune":true`, fileScheduled("web-a", "")), 403, `job "db-a"`},
		{setOf(`"set":"all"`, fileScheduled("web-a", `,"owner":"me"`), fileDependent("web-c", "db-a")), 403, `job "db-a"`},
		{setOf(`"set":"all"`, fileScheduled("web-a", `,"owner":"me"`), fileScheduled("web-c", `,"runAsUser":"daemon"`)), 403, "runAsUser"},
		{setOf(`"set":"all"`, fileScheduled("web-a", `,"owner":"me"`), fileDependent("web-c", "web-d"), fileScheduled("web-d", "")), 200, `"change"`},
	} {
		before := linesOfJobs(p.stored())
		status, text := ask("writer", tt.set)
		if status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s = %d %s, want %d and %s", tt.set, status, text, tt.status, tt.want)
		}
		if after := linesOfJobs(p.stored()); tt.status != 200 && after != before {
			t.Errorf("%s has changed\n%s to\n%s", tt.set, before, after)
		}
	}
}
