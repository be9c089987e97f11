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

// An orphan is a run whose instance has been killed with SIGKILL while it ran.
type orphan struct {
	*instance        // not running
	run       string // its id
	end       string // a FIFO: the run ends when it is written to
}

// newOrphan starts an instance, and kills it when it has a run of job, which then waits until it may
// end, and does that with the command given.
func newOrphan(t *testing.T, job, last string) orphan {
	t.Helper()
	dir := t.TempDir()
	o := orphan{instance: newInstance(t, "log", "--data_dir", filepath.Join(dir, "data")), end: filepath.Join(dir, "end")}
	if err := syscall.Mkfifo(o.end, 0o600); err != nil {
		t.Fatal(err)
	}
	o.start(t)
	o.serves(t)
	o.runOnce(t, job, fmt.Sprintf("echo begun; read x < %s; %s", o.end, last), "")
	o.until(t, "the run has begun", func() bool {
		open, _ := o.runs(t, job)
		if len(open) == 0 {
			return false
		}
		o.run = open[0].ID
		status, text, err := o.call("GET", "/scheduler/run/"+o.run+"/stdout", "")
		return err == nil && status == 200 && text == "begun\n"
	})
	o.kill()
	return o
}

// runOnce makes a job that is not repeated when it fails, and runs it now.
func (v *instance) runOnce(t *testing.T, name, command, more string) {
	t.Helper()
	v.mustCall(t, "POST", "/scheduler/iso8601", fmt.Sprintf(`{"name":%q,"command":%q,"schedule":"R/2090-01-01T00:00:00Z/P1D","retries":0%s}`, name, command, more), 204)
	v.mustCall(t, "PUT", "/scheduler/job/"+name, "", 204)
}

func (o orphan) release(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(o.end, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
}

func TestRunThatOutlivesItsInstanceIsAdopted(t *testing.T) {
	t.Parallel()
	o := newOrphan(t, "outlive", "exit 7")
	o.start(t)
	o.serves(t)
	o.until(t, "the run is known to be active", func() bool {
		open, _ := o.runs(t, "outlive")
		return len(open) == 1 && open[0].ID == o.run && open[0].State == "active"
	})
	o.release(t)
	if run := o.awaitEnd(t, "outlive", 1); run.ID != o.run || run.State != "failed" || run.Exit == nil || *run.Exit != 7 {
		t.Errorf("the adopted run ended as %+v, want its exit status 7", run)
	}
	if out := o.mustCall(t, "GET", "/scheduler/run/"+o.run+"/stdout", "", 200); out != "begun\n" {
		t.Errorf("stdout of the adopted run = %q", out)
	}
	o.terminate(t)
}

func TestEndOfARunWhileNoInstanceRunsIsTold(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	o := newOrphan(t, "meanwhile", "echo done > "+mark+"; exit 5")
	o.release(t)
	until(t, "the run is over", func() bool { _, err := os.Stat(mark); return err == nil })
	o.start(t)
	o.serves(t)
	if run := o.awaitEnd(t, "meanwhile", 1); run.ID != o.run || run.State != "failed" || run.Exit == nil || *run.Exit != 5 {
		t.Errorf("the run ended as %+v, want exit status 5", run)
	}
	o.terminate(t)
}

func TestAdoptedRunIsKilled(t *testing.T) {
	t.Parallel()
	o := newOrphan(t, "adopted", "exit 0")
	o.start(t)
	o.serves(t)
	o.mustCall(t, "DELETE", "/scheduler/task/kill/adopted", "", 204)
	if run := o.awaitEnd(t, "adopted", 1); run.ID != o.run || run.State != "killed" {
		t.Errorf("the adopted run ended as %+v, want it killed", run)
	}
	o.terminate(t)
}

// An instance is killed at some moment of launching. Its successor asks what became of every
// run, and launches those that have never begun: each command runs once.
func TestKilledWhileLaunching(t *testing.T) {
	t.Parallel()
	const rounds, perRound = 8, 10
	w := newWorkload(t)
	v := newInstance(t, "log", "--data_dir", filepath.Join(t.TempDir(), "data"))
	v.start(t)
	v.serves(t)
	for round := range rounds {
		due := time.Now().Add(500 * time.Millisecond)
		for i := range perRound {
			name := fmt.Sprintf("job%d-%d", round, i)
			v.mustCall(t, "POST", "/scheduler/iso8601", jobDocument(name, w.marks.command(name)+"; exit 3",
				fmt.Sprintf(`"retries":0,"schedule":"R1/%s/PT1H"`, isoInstant(due.UnixMilli()))), 204)
		}
		time.Sleep(time.Until(due.Add(time.Duration(round*8) * time.Millisecond)))
		v.kill()
		v.start(t)
		v.serves(t)
		for i := range perRound {
			name := fmt.Sprintf("job%d-%d", round, i)
			if run := v.awaitEnd(t, name, 1); run.State != "failed" || run.Exit == nil || *run.Exit != 3 {
				t.Errorf("%s ended as %+v, want exit status 3", name, run)
			}
		}
	}
	v.terminate(t)
	for round := range rounds {
		for i := range perRound {
			name := fmt.Sprintf("job%d-%d", round, i)
			if n := len(w.marks.of(t, name)); n != 1 {
				t.Errorf("%s ran %d times, want once", name, n)
			}
		}
	}
	if log := strings.Join(v.complaints(t), "\n"); log != "" {
		t.Error(log)
	}
}
