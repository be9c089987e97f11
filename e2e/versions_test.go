package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	"github.com/chronos-go/chronos/internal/zktest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// earlier is a build from before records of kinds of their own were kept for whoever comes later.
const earlier = "ed06e4f"

// programOf builds the program as it was at a commit, from the repository's history.
func programOf(t *testing.T, commit string) string {
	t.Helper()
	git := func(args ...string) ([]byte, error) {
		cmd := exec.Command("git", args...)
		cmd.Dir = repository
		return cmd.Output()
	}
	if _, err := git("cat-file", "-e", commit+"^{commit}"); err != nil {
		shallow, err := git("rev-parse", "--is-shallow-repository")
		if err != nil || strings.TrimSpace(string(shallow)) == "true" {
			t.Skipf("there is no history here to take commit %s from: this is a shallow clone, or none", commit)
		}
		t.Fatalf("commit %s is not in the history", commit)
	}
	source, err := git("archive", commit)
	if err != nil {
		t.Fatalf("git archive %s: %v", commit, err)
	}
	dir := t.TempDir()
	unpack := exec.Command("tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(source)
	build := exec.Command("go", "build", "-o", "chronos", ".")
	build.Dir = dir
	for _, cmd := range []*exec.Cmd{unpack, build} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build commit %s: %v\n%s", commit, err, out)
		}
	}
	return filepath.Join(dir, "chronos")
}

// A relay is one state that two versions of the program lead in turn, and jobs whose runs are in every state that a
// run can be in. Each run leaves one mark.
type relay struct {
	*workload
	*instance
	now, then string                  // the programs
	command   func(job string) string // runs until it is let go, or ends as its name says
	letGo     func(t *testing.T, id, job string)
	waiting   map[string]string // runs that are open, by job
	kept      map[string]string // what is told of each job, as it has to stay
}

// kinds of jobs, of which each set has one. All their runs are started by hand.
const (
	jobQueued   = "queued"   // finds no room
	jobActive   = "active"   // runs until it is let go
	jobSilent   = "silent"   // is launched, and not heard of
	jobRetrying = "retrying" // has failed, and waits to be tried again
	jobCallback = "callback" // has ended, and waits for its callback
	jobFinished = "finished"
	jobFailed   = "failed"
	jobKilled   = "killed"
)

const parkedUntil2090 = `"schedule":"R/2090-01-01T00:00:00Z/P1D"`

// TestVersionsLeadInTurn has a build of today and one from before lead the same state in turn. Nothing is lost, run twice
// or misread, in either direction, and what only the later one knows is there when it leads again.
func TestVersionsLeadInTurn(t *testing.T) {
	t.Parallel()
	then := programOf(t, earlier)
	t.Run("on a file and this machine", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		r := newRelay(t, then, "--data_dir", filepath.Join(dir, "data"))
		end := func(job string) string { return filepath.Join(dir, "end-"+job) }
		r.command = func(job string) string {
			command := r.marks.command(job)
			switch kindOf(job) {
			case jobActive, jobKilled:
				command += "; while [ -d " + dir + " ] && [ ! -e " + end(job) + " ]; do sleep 0.05; done" // also if the test fails
			case jobRetrying, jobFailed:
				command += "; exit 3"
			}
			return command
		}
		r.letGo = func(t *testing.T, _, job string) {
			if err := os.WriteFile(end(job), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r.walk(t, jobQueued, jobActive, jobRetrying, jobCallback, jobFinished, jobFailed, jobKilled)
	})
	t.Run("on ZooKeeper and Mesos", func(t *testing.T) {
		t.Parallel()
		hosts, root := zktest.Shared(t)
		m := mesostest.NewMaster(t, mesostest.Options{Allocation: 50 * time.Millisecond})
		m.SetFaults(mesostest.Faults{Answer: func(u *mesos.TaskStatus) mesostest.UpdateFault {
			return mesostest.UpdateFault{Lose: strings.HasSuffix(u.TaskID.Value, "-"+jobSilent+":")} // which would make it active
		}})
		m.AddAgent(mesostest.AgentSpec{CPUs: 8, Mem: 8192, Disk: 10240})
		r := newRelay(t, then, "--master", m.URL(), "--zk_hosts", hosts[0], "--zk_path", root, "--zk_timeout", "2000")
		r.command = func(string) string { return "true" }
		r.letGo = func(_ *testing.T, id, _ string) { m.Finish(id, mesos.TASK_FINISHED, "") }
		m.SetBehaviour(func(task *mesos.TaskInfo) mesostest.Outcome {
			f := strings.SplitN(task.TaskID.Value, ":", 5) // ct:<due>:<attempt>:<job>:
			r.marks.note(t, f[3], fmt.Sprintln(task.TaskID.Value, f[1], f[2]))
			switch kindOf(f[3]) {
			case jobActive, jobKilled:
				return mesostest.Outcome{Forever: true}
			case jobSilent:
				return mesostest.Outcome{Silent: true}
			case jobRetrying, jobFailed:
				return mesostest.Outcome{State: mesos.TASK_FAILED, Message: "Command exited with status 3"}
			}
			return mesostest.Outcome{State: mesos.TASK_FINISHED}
		})
		r.walk(t, jobQueued, jobActive, jobSilent, jobRetrying, jobCallback, jobFinished, jobFailed, jobKilled)
		for id, n := range m.AllLaunches() {
			if n != 1 {
				t.Errorf("%s was launched %d times", id, n)
			}
		}
		if n := m.FrameworkIDs(); n != 1 {
			t.Errorf("%d framework ids were given out, want one", n)
		}
	})
}

func newRelay(t *testing.T, then string, args ...string) *relay {
	t.Helper()
	args = append(args, "--failure_retry", "3600000", "--job_history_keep", "500")
	return &relay{workload: newWorkload(t), instance: newInstance(t, "log", args...), now: program(), then: then,
		waiting: map[string]string{}, kept: map[string]string{}}
}

// kindOf returns the kind of a job from its name, which has the set before it.
func kindOf(job string) string {
	_, kind, _ := strings.Cut(job, "-")
	return kind
}

// leads has one of the programs lead, and checks that it knows what is known.
func (r *relay) leads(t *testing.T, program string) {
	t.Helper()
	r.instance.run(t, exec.Command(program, r.args...))
	r.serves(t)
	for job, want := range r.kept {
		got := ""
		for deadline := time.Now().Add(patience); got != want; time.Sleep(20 * time.Millisecond) {
			if got = r.describe(t, job); time.Now().After(deadline) {
				t.Fatalf("%s has become\n%s, it was\n%s", job, got, want)
			}
		}
	}
}

// describe tells what is shown of a job.
func (r *relay) describe(t *testing.T, job string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, r.mustCall(t, "GET", "/scheduler/jobs/search?name="+job, "", 200))
	open, ended := r.instance.runs(t, job)
	for _, run := range slices.Concat(open, ended) {
		exit := ""
		if run.Exit != nil {
			exit = fmt.Sprint(*run.Exit)
		}
		fmt.Fprintln(&b, run.ID, run.Kind, run.State, exit)
	}
	return b.String()
}

// walk is the whole test.
func (r *relay) walk(t *testing.T, kinds ...string) {
	tick := cadence{name: "tick", start: time.Now().Add(time.Second).Truncate(time.Second).UnixMilli(), period: 1000}
	r.cadences = []cadence{tick}

	r.leads(t, r.then)
	r.post(t, r.instance, cadence.schedule)
	r.makeStill(t)
	r.makeSet(t, "a", kinds)
	r.end(syscall.SIGKILL)

	r.leads(t, r.now)
	r.makeSet(t, "b", kinds)
	for _, name := range []string{"strange", "anew"} {
		r.mustCall(t, "POST", "/scheduler/iso8601", jobDocument(name, r.command(name), parkedUntil2090+`,"scheduleTimeZone":"Europe/Berlim"`), 204)
	}
	r.wantProblems(t, "strange", "anew")
	r.terminate(t)

	r.leads(t, r.then)
	r.endSet(t, "b")
	r.makeSet(t, "c", kinds)
	r.mustCall(t, "DELETE", "/scheduler/job/anew", "", 204)
	r.mustCall(t, "POST", "/scheduler/iso8601", jobDocument("anew", r.command("anew"), parkedUntil2090), 204)
	r.runOf(t, "strange")
	r.awaitEnd(t, "strange", 1)
	r.readHistories(r.instance)
	r.end(syscall.SIGKILL)

	r.leads(t, r.now)
	r.wantProblems(t, "strange")
	r.endSet(t, "a")
	r.endSet(t, "c")
	r.runOf(t, "parent2")
	r.awaitEnd(t, "child", 1)
	end := r.stop(t, r.instance)
	for open := 1; open > 0; time.Sleep(20 * time.Millisecond) {
		r.readHistories(r.instance)
		open = r.open(t, end)
	}
	r.terminate(t)
	r.judgeMarks(t, end)
	for job := range r.kept {
		if n := len(r.marks.of(t, job)); n != 1 && strings.Contains(job, "-") {
			t.Errorf("%s ran %d times, want once", job, n)
		}
	}
	if n := len(r.marks.of(t, "child")); n != 1 {
		t.Errorf("the child ran %d times after each parent had run once", n)
	}
	if lines := r.complaints(t); len(lines) > 0 {
		t.Errorf("log: %q", lines)
	}
}

// makeStill makes jobs that nothing happens to, or has happened, in every form that a schedule has.
func (r *relay) makeStill(t *testing.T) {
	t.Helper()
	begun := time.Now().Add(-150 * time.Minute).Truncate(time.Minute).UnixMilli()
	for name, fields := range map[string]string{
		"counted": fmt.Sprintf(`"schedule":"R5/%s/PT1H","epsilon":"PT45M"`, isoInstant(begun)), // two missed, one runs, two are left
		"cron":    `"schedule":"0 0 1 1 *","scheduleTimeZone":"Europe/Berlin"`,
		"monthly": `"schedule":"R/2090-01-31T00:00:00.000Z/P1M"`,
		"off":     `"schedule":"R/2090-01-01T00:00:00.000Z/P1D","disabled":true`,
		"parent1": parkedUntil2090,
		"parent2": parkedUntil2090,
	} {
		r.mustCall(t, "POST", "/scheduler/iso8601", jobDocument(name, r.command(name), fields), 204)
	}
	r.mustCall(t, "POST", "/scheduler/dependency", jobDocument("child", r.command("child"), `"parents":["parent1","parent2"]`), 204)
	r.runOf(t, "parent1")
	r.awaitEnd(t, "parent1", 1)
	r.awaitEnd(t, "counted", 2) // what it has missed is one entry
	for _, name := range []string{"counted", "cron", "monthly", "off", "parent1"} {
		r.kept[name] = r.describe(t, name)
	}
}

// makeSet makes jobs of the kinds given, and brings a run of each into its state.
func (r *relay) makeSet(t *testing.T, set string, kinds []string) {
	t.Helper()
	for _, kind := range kinds {
		job := set + "-" + kind
		fields := parkedUntil2090
		switch kind {
		case jobQueued:
			fields += `,"cpus":100000`
		case jobCallback:
			fields += `,"async":true`
		case jobFailed:
			fields += `,"retries":0`
		}
		r.mustCall(t, "POST", "/scheduler/iso8601", jobDocument(job, r.command(job), fields), 204)
		r.runOf(t, job)
	}
	states := map[string]string{jobQueued: "queued", jobActive: "active", jobSilent: "launching", jobRetrying: "queued", jobCallback: "awaiting", jobKilled: "active"}
	for _, kind := range kinds {
		job := set + "-" + kind
		if states[kind] == "" {
			r.awaitEnd(t, job, 1)
			continue
		}
		r.until(t, job+" is "+states[kind], func() bool {
			open, ended := r.instance.runs(t, job)
			if len(open) != 1 || open[0].State != states[kind] || kind == jobRetrying && len(ended) != 1 {
				return false
			}
			r.waiting[job] = open[0].ID
			return kind == jobQueued || len(r.marks.of(t, job)) == 1
		})
	}
	r.mustCall(t, "DELETE", "/scheduler/task/kill/"+set+"-"+jobKilled, "", 204)
	if run := r.awaitEnd(t, set+"-"+jobKilled, 1); run.State != "killed" {
		t.Errorf("a run that was killed has ended as %+v", run)
	}
	for _, kind := range kinds {
		r.kept[set+"-"+kind] = r.describe(t, set+"-"+kind)
	}
}

// endSet lets the runs of a set end that can, and checks that they have ended as the same runs.
func (r *relay) endSet(t *testing.T, set string) {
	t.Helper()
	for _, job := range slices.Sorted(maps.Keys(r.waiting)) {
		id := r.waiting[job]
		if !strings.HasPrefix(job, set+"-") || kindOf(job) == jobKilled || kindOf(job) == jobRetrying {
			continue
		}
		switch kindOf(job) {
		case jobQueued:
			r.mustCall(t, "POST", "/scheduler/iso8601", jobDocument(job, r.command(job), parkedUntil2090), 204)
		case jobActive, jobSilent:
			r.letGo(t, id, job)
		case jobCallback:
			r.mustCall(t, "PUT", "/scheduler/task/"+id, `{"statusCode":0}`, 204)
		}
		if run := r.awaitEnd(t, job, 1); run.ID != id || run.State != "finished" {
			t.Errorf("%s of %s has ended as %+v, want it finished", id, job, run)
		}
		r.kept[job] = r.describe(t, job)
	}
}

// runOf has a job run now.
func (r *relay) runOf(t *testing.T, job string) {
	t.Helper()
	r.mustCall(t, "PUT", "/scheduler/job/"+job, "", 204)
}

// wantProblems checks which jobs are told to say something strange.
func (r *relay) wantProblems(t *testing.T, want ...string) {
	t.Helper()
	var problems struct{ Warnings []struct{ Job string } }
	r.mustGet(t, "/scheduler/problems", &problems)
	var got []string
	for _, w := range problems.Warnings {
		got = append(got, w.Job)
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("problems tell of %q, want %q", got, want)
	}
}
