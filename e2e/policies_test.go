package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A policyRun is what the test of policies looks at of a run.
type policyRun struct {
	Kind, State, Reason, Killing, Due, Ended string
	Attempt                                  int
}

func policyRuns(t *testing.T, v *instance, job string) (open, ended []policyRun) {
	t.Helper()
	var answer struct{ Open, History []policyRun }
	v.mustGet(t, "/scheduler/runs/"+job, &answer)
	return answer.Open, answer.History
}

// A leader that is killed in the middle of what a job has asked for leaves it to the next one, which goes on from there: a time limit, a pause
// before an attempt, a run that another replaces, occurrences that queue up, a backfill, and alerts.
func TestPoliciesGoOnAfterAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := newInstance(t, "policies.log", "--data_dir", filepath.Join(dir, "data"))
	v.start(t)
	v.serves(t)
	lines := func(file string) []string {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil
		}
		return strings.Fields(string(text))
	}
	from := time.Now().Add(time.Second).UTC().Truncate(time.Second)
	const later = `R/2090-01-01T00:00:00Z/P1D`
	post := func(name, command, schedule, members string) {
		document := fmt.Sprintf(`{"name":%q,"command":%q,"schedule":%q,"epsilon":"PT10M",%s}`, name, "cd "+dir+"; "+command, schedule, members)
		v.mustCall(t, "POST", "/scheduler/iso8601", document, 204)
	}
	post("limited", "sleep 1000", later, `"retries":0,"maxCompletionTime":"PT6S","killGrace":0`)
	post("slow", "sleep 7", later, `"alertAfter":"PT6S"`)
	post("absent", "true", later, `"alertWithoutSuccess":"PT6S"`)
	post("retried", "echo x >>tries; test $(wc -l <tries) -gt 1", later, `"retries":1,"retryDelay":"PT5S"`)
	post("again", "echo $CHRONOS_JOB_RUN_TIME >>again; sleep 1", "R/2020-01-01T00:00:00Z/P1D", `"retries":0`)
	post("queued", "echo $CHRONOS_JOB_RUN_TIME >>queued; sleep 2", "R3/"+from.Format(time.RFC3339)+"/PT1S", `"retries":0,"overlap":"queue"`)
	post("replaced", `if [ -e pid ] && kill -0 $(cat pid); then echo x >both; fi; echo $$ >pid; echo x >>starts; [ $(wc -l <starts) -gt 1 ] && exit 0; trap "" TERM; sleep 1000`,
		"R2/"+from.Format(time.RFC3339)+"/PT2S", `"retries":0,"overlap":"replace","killGrace":"PT4S"`)
	for _, job := range []string{"limited", "slow", "retried"} {
		v.mustCall(t, "PUT", "/scheduler/job/"+job, "", 204)
	}
	v.mustCall(t, "POST", "/scheduler/backfill/again", `{"from":"2020-01-01T00:00:00Z","to":"2020-01-05T00:00:00Z"}`, 200)
	v.until(t, "a run is being replaced", func() bool {
		open, _ := policyRuns(t, v, "replaced")
		return len(open) == 2 && open[0].Killing != ""
	})
	if early, err := v.end(syscall.SIGKILL); early {
		t.Fatalf("it ended by itself: %v", err)
	}
	t.Logf("killed with %d instants run again, %d occurrences of the queue begun", len(lines("again")), len(lines("queued")))
	v.start(t)
	v.serves(t)
	for job, ends := range map[string]int{"limited": 1, "slow": 1, "retried": 2, "again": 4, "queued": 3, "replaced": 2} {
		v.awaitEnd(t, job, ends)
	}

	if _, ended := policyRuns(t, v, "limited"); len(ended) != 1 || ended[0].State != "failed" || ended[0].Reason != "over its time limit of 6 s" {
		t.Errorf("limited has ended as %+v", ended)
	}
	_, ended := policyRuns(t, v, "retried")
	if len(ended) != 2 || ended[1].State != "failed" || ended[0].State != "finished" || ended[0].Attempt != 1 || len(lines("tries")) != 2 {
		t.Fatalf("retried has ended as %+v", ended)
	}
	failed, err := time.Parse(time.RFC3339, ended[1].Ended)
	if due, err2 := time.Parse(time.RFC3339, ended[0].Due); err != nil || err2 != nil || due.Sub(failed) != 5*time.Second {
		t.Errorf("the attempt after the failure of %s was due at %s, want 5 s later", ended[1].Ended, ended[0].Due)
	}
	if _, ended := policyRuns(t, v, "replaced"); len(ended) != 2 || ended[1].State != "killed" || ended[0].State != "finished" || lines("both") != nil {
		t.Errorf("replaced has ended as %+v; both ran: %q", ended, lines("both"))
	}
	inSteps := func(file string, first time.Time, step time.Duration, n int) {
		t.Helper()
		var want []string
		for i := range n {
			want = append(want, fmt.Sprint(first.Add(time.Duration(i)*step).UnixMilli()))
		}
		if got := lines(file); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s ran for %q, want %q, each once and in order", file, got, want)
		}
	}
	inSteps("again", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), 24*time.Hour, 4)
	inSteps("queued", from, time.Second, 3)
	for job, text := range map[string]string{"slow": "run takes longer than its job expects", "absent": "job has not succeeded for too long"} {
		told := func() (n int) {
			for _, l := range v.logLines(t) {
				if l.msg == text && l.rest["job"] == job {
					n++
				}
			}
			return n
		}
		v.until(t, job+" is told", func() bool { return told() > 0 })
		if n := told(); n != 1 {
			t.Errorf("%s was told of %d times", job, n)
		}
	}
	v.terminate(t)
}
