package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// policyJob is a job with the example of each key of ours that may stand in one document.
func policyJob(t testing.TB, name string) string {
	examples := policyExamples(t)
	delete(examples, "overlap") // which is in that of maxConcurrent
	members := slices.Collect(maps.Values(examples))
	slices.Sort(members)
	return `{"name":"` + name + `","command":"x","schedule":"R/2000-01-02T00:00:00Z/PT1H",` + strings.Join(members, ",") + `}`
}

// What a job says in keys of ours is kept for as long as it says it.
func TestPolicyIsKept(t *testing.T) {
	t.Parallel()
	listed := func(b *bench) string {
		if p := b.job("a").Policy; p != nil {
			return string(p.encode())
		}
		return ""
	}
	unchanged := func(b *bench, what, want string) {
		b.t.Helper()
		if got := listed(b); got != want || want == "" {
			b.t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	scenario(t, "through runs and a fail-over", func(b *bench) {
		b.start()
		b.do("pool", b.s.putPool(b.t.Context(), "db", 3))
		b.post(policyJob(t, "a"))
		want := listed(b)
		b.runNow("a")
		b.wait(time.Minute)
		unchanged(b, "after a run", want)
		b.restart()
		unchanged(b, "after a fail-over", want)
	})
	scenario(t, "when a JVM version has written the job's document", func(b *bench) {
		b.start()
		b.do("pool", b.s.putPool(b.t.Context(), "db", 3))
		b.post(policyJob(t, "a"))
		want := listed(b)
		b.end()
		document := b.store.value("J_a")
		for name := range policyExamples(t) {
			if name != secretsMember && strings.Contains(document, `"`+name+`"`) || strings.Contains(document, "db-password") {
				b.t.Errorf("key %q is in what JVM versions read: %s", name, document)
			}
		}
		b.store.foreign("J_a", []byte(strings.Replace(document, `"successCount":0`, `"successCount":7`, 1)))
		b.start()
		unchanged(b, "after a reign of a JVM version", want)
		if n := b.job("a").SuccessCount; n != 7 {
			b.t.Errorf("%d successes, want the 7 that the JVM version has counted", n)
		}
	})
	scenario(t, "until a document without them is posted", func(b *bench) {
		b.start()
		b.do("pool", b.s.putPool(b.t.Context(), "db", 3))
		b.post(policyJob(t, "a"))
		b.post(`{"name":"a","command":"x","schedule":"R/2000-01-02T00:00:00Z/PT1H"}`)
		b.restart()
		if got := listed(b); got != "" || len(b.store.keys(policyPrefix)) > 0 {
			b.t.Errorf("policy is %s, records %q", got, b.store.keys(policyPrefix))
		}
	})
	scenario(t, "and not for a job that is made anew", func(b *bench) {
		b.start()
		b.do("pool", b.s.putPool(b.t.Context(), "db", 3))
		b.post(policyJob(t, "a"))
		b.post(policyJob(t, "b"))
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		if left := b.store.keys(policyPrefix); !slices.Equal(left, []string{policyPrefix + "b"}) {
			b.t.Errorf("records left: %q", left)
		}
		b.end()
		delete(b.store.records, "J_b") // by another version
		b.start()
		b.post(`{"name":"b","command":"x","schedule":"R/2000-01-02T00:00:00Z/PT1H"}`)
		if p := b.job("b").Policy; p != nil {
			b.t.Errorf("a job made anew has the policy %+v", p)
		}
	})
}

// A job that uses no key of ours leaves no trace of them.
func TestJobWithoutPolicyHasNoRecordOfOne(t *testing.T) {
	t.Parallel()
	scenario(t, "after runs and edits", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2000-01-02T00:00:00Z/PT1H"}`)
		b.runNow("a")
		b.post(`{"name":"a","command":"y","schedule":"R/2000-01-02T00:00:00Z/PT1H"}`)
		b.wait(time.Minute)
		if keys := b.store.keys(policyPrefix); len(keys) > 0 {
			b.t.Errorf("records: %q", keys)
		}
	})
}

// The recipes of the job reference do what stands there, with its years moved to where the test's clock is.
func TestRecipesOfTheJobReference(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipes, ok := strings.Cut(string(text), "\n## Recipes\n")
	if !ok {
		t.Fatal("docs/jobs.md has no recipes")
	}
	recipes = strings.NewReplacer("2020-", "2000-", "2030-", "2000-").Replace(recipes)
	posted := map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)-d '(\{"name":.*?\})'\n`).FindAllStringSubmatch(recipes, -1) {
		var named struct{ Name string }
		if json.Unmarshal([]byte(m[1]), &named) == nil {
			posted[named.Name] = m[1]
		}
	}
	wantLines := func(b *bench, lines ...string) {
		b.t.Helper()
		if block := "```text\n" + strings.Join(lines, "\n") + "\n```\n"; len(lines) == 0 || !strings.Contains(recipes, block) {
			b.t.Errorf("it did what docs/jobs.md does not say:\n%s", block)
		}
	}
	scenario(t, "nightly jobs", func(b *bench) {
		document := regexp.MustCompile(`-d '(\{"name":"'\$job'".*\})'`).FindStringSubmatch(recipes)
		b.start()
		var lines []string
		for _, job := range []string{"report-a", "report-b", "report-c", "report-d"} {
			b.post(strings.Replace(document[1], "'$job'", job, 1))
			spread, err := spreadCron(b.job(job).Schedule, job)
			b.do("spread", err)
			lines = append(lines, job+"  "+spread)
		}
		wantLines(b, lines...)
	})
	scenario(t, "a job that hangs, and the one that cleans up", func(b *bench) {
		b.cluster.behave(func(task mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			if strings.Contains(task.Name, "cleanup") {
				return taking(0)(task)
			}
			return forEver(task)
		})
		b.start().post(posted["import"])
		b.post(posted["cleanup"])
		b.wait(4 * time.Hour)
		var lines []string
		for _, name := range []string{"import", "cleanup"} {
			for _, r := range slices.Backward(b.s.view().job(name).history) {
				what, how := name, string(r.State)
				if r.Attempt > 0 {
					what += fmt.Sprintf(", attempt %d", r.Attempt)
				}
				if r.State == runFailed {
					how += ": " + r.Reason
				}
				lines = append(lines, fmt.Sprintf("%s  %-17s  %s", clockOf(r.Started), what, how))
			}
		}
		wantLines(b, lines...)
	})
	scenarioOn(t, inMemory, "last week once more", func(b *bench) {
		b.start().post(posted["rates"])
		b.wait(8 * 24 * time.Hour)
		week := regexp.MustCompile(`"from":"(.*)","to":"(.*)"`).FindStringSubmatch(recipes)
		from, err := time.Parse(time.RFC3339, week[1])
		b.do("parse", err)
		to, err := time.Parse(time.RFC3339, week[2])
		b.do("parse", err)
		_, err = b.s.startBackfill(b.t.Context(), "rates", backfillRequest{from: from, to: to})
		b.do("backfill", err)
		b.wait(time.Minute)
		var lines []string
		for _, r := range slices.Backward(b.s.view().job("rates").history) {
			if r.Backfill != 0 {
				lines = append(lines, fmt.Sprintf("rates  %s %s %s", r.Kind, r.State, instant(msTime(r.Backfill))))
			}
		}
		wantLines(b, lines...)
	})
}
