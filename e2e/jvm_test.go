package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A wayBack is a state that this program leads, then a JVM version, then this program again. The JVM version is
// what it does to ZooKeeper and Mesos.
type wayBack struct {
	t       *testing.T
	version string // 2.4 or 3.0
	master  *mesostest.Master
	agent   *mesostest.Agent
	session *zk.Conn
	root    string
	args    []string
	latch   string            // of the JVM version, while it stands
	ids     map[string]string // of open runs, by job
}

// Jobs of which a run is open when the JVM version begins to lead, and what becomes of it there.
const (
	jobSucceeds = "succeeds" // is active, and finishes
	jobFails    = "fails"    // is active, and fails
	jobUnheard  = "unheard"  // is launched and not yet heard of, and finishes
	jobOutlives = "outlives" // is active, and still is when this program leads again
	jobWaits    = "waits"    // finds no room
	jobRetries  = "retries"  // has failed, and waits to be tried again
	jobCalls    = "calls"    // has ended, and waits for its callback
	jobCron     = "cron"     // has no run; the JVM version runs the one occurrence that it sees
)

const endNotKnown = "its end is not known: another version led"

func newWayBack(t *testing.T, version string) *wayBack {
	t.Helper()
	hosts, root := zktest.Shared(t)
	m := mesostest.NewMaster(t, mesostest.Options{Allocation: 50 * time.Millisecond})
	w := &wayBack{t: t, version: version, master: m, session: zkSession(t, hosts...), root: root, ids: map[string]string{},
		agent: m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})}
	m.SetBehaviour(func(task *mesos.TaskInfo) mesostest.Outcome {
		switch job := strings.SplitN(task.TaskID.Value, ":", 5)[3]; job {
		case jobSucceeds, jobFails, jobOutlives:
			return mesostest.Outcome{Forever: true}
		case jobUnheard:
			return mesostest.Outcome{Silent: true}
		case jobRetries:
			return mesostest.Outcome{State: mesos.TASK_FAILED}
		}
		return mesostest.Outcome{State: mesos.TASK_FINISHED}
	})
	w.args = []string{"--master", m.URL(), "--zk_hosts", hosts[0], "--zk_path", root, "--zk_timeout", "2000", "--failure_retry", "3600000"}
	return w
}

// leader starts an instance, which leads unless somebody stands before it.
func (w *wayBack) instance(log string) *instance {
	w.t.Helper()
	v := newInstance(w.t, log, w.args...)
	v.start(w.t)
	return v
}

// stands puts the JVM version into the line of those that want to lead.
func (w *wayBack) stands() {
	w.t.Helper()
	node, err := w.session.Create(w.root+"/candidate/_c_6fa459ea-ee8a-4ca4-894e-db77e160355e-latch-", []byte("127.0.0.1:1"), zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	if err != nil {
		w.t.Fatal(err)
	}
	w.latch = node
}

// isNext waits until whoever led before the JVM version has left the line.
func (w *wayBack) isNext() {
	w.t.Helper()
	until(w.t, "the JVM version is the first in line", func() bool {
		nodes, err := candidates(w.session, w.root+"/candidate")
		return err == nil && len(nodes) > 0 && nodes[0] == w.latch
	})
}

func (w *wayBack) read(name string) []byte {
	w.t.Helper()
	data, _, err := w.session.Get(w.root + "/state/" + name)
	if err != nil {
		w.t.Fatalf("read %s: %v", name, err)
	}
	return data
}

func (w *wayBack) write(name string, data []byte) {
	w.t.Helper()
	if _, err := w.session.Set(w.root+"/state/"+name, data, -1); err != nil {
		w.t.Fatalf("write %s: %v", name, err)
	}
}

// registers is what a JVM version does when it begins to lead: it writes its framework id, the one that it has found.
// 2.4 puts what waits on timers of its own, under nodes of its own.
func (w *wayBack) registers() {
	w.t.Helper()
	w.write("frameworkId", w.read("frameworkId"))
	if w.version != "2.4" {
		return
	}
	names, _, err := w.session.Children(w.root + "/state")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "T_") {
			continue
		}
		data, node := w.read(name), w.root+"/state/"+name
		if err := w.session.Delete(node, -1); err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(name, ":"+jobWaits+":") {
			w.counts(jobWaits, true) // it has launched it
			continue
		}
		if _, err := w.session.Create(node, data, 0, zk.WorldACL(zk.PermAll)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// edits has the JVM version write a job anew. 3.0 has no epsilon and no async jobs.
func (w *wayBack) edits(job string, change func(document map[string]any)) {
	w.t.Helper()
	e := decodeEntry(w.t, w.read("J_"+job))
	var document map[string]any
	if err := json.Unmarshal(e.value, &document); err != nil {
		w.t.Fatalf("job %s: %v", job, err)
	}
	change(document)
	if w.version == "3.0" {
		delete(document, "epsilon")
		delete(document, "async")
	}
	value, err := json.Marshal(document)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("J_"+job, entry{e.name, e.uuid, value}.encode())
}

// counts has the JVM version count the end of a task.
func (w *wayBack) counts(job string, success bool) {
	w.t.Helper()
	w.edits(job, func(d map[string]any) {
		now := isoInstant(time.Now().UnixMilli())
		if success {
			d["successCount"], d["lastSuccess"], d["errorsSinceLastSuccess"] = d["successCount"].(float64)+1, now, 0
		} else {
			d["errorCount"], d["lastError"], d["errorsSinceLastSuccess"] = d["errorCount"].(float64)+1, now, d["errorsSinceLastSuccess"].(float64)+1
		}
	})
}

// ends has a task end under the JVM version, which confirms and counts that.
func (w *wayBack) ends(job string, state mesos.TaskState) {
	w.t.Helper()
	w.master.Finish(w.ids[job], state, "")
	w.master.Confirm(w.ids[job])
	w.counts(job, state == mesos.TASK_FINISHED)
}

// opens makes the jobs, and a run of each in its state.
func (w *wayBack) opens(v *instance) {
	w.t.Helper()
	states := map[string]string{jobSucceeds: "active", jobFails: "active", jobUnheard: "launching", jobOutlives: "active",
		jobWaits: "queued", jobRetries: "queued", jobCalls: "awaiting"}
	for job := range states {
		more := map[string]string{jobWaits: `,"cpus":100000`, jobCalls: `,"async":true`}[job]
		v.mustCall(w.t, "POST", "/scheduler/iso8601", jobDocument(job, "true", parkedUntil2090+more), 204)
		v.mustCall(w.t, "PUT", "/scheduler/job/"+job, "", 204)
	}
	v.mustCall(w.t, "POST", "/scheduler/iso8601", jobDocument(jobCron, "true", `"schedule":"0 0 1 1 *"`), 204)
	for job, state := range states {
		v.until(w.t, job+" is "+state, func() bool {
			open, ended := v.runs(w.t, job)
			if len(open) == 1 {
				w.ids[job] = open[0].ID
			}
			return len(open) == 1 && open[0].State == state && (job == jobRetries) == (len(ended) == 1)
		})
	}
}

// reigns is what the JVM version does while it leads.
func (w *wayBack) reigns() {
	w.t.Helper()
	w.isNext()
	w.registers()
	w.ends(jobSucceeds, mesos.TASK_FINISHED)
	w.ends(jobFails, mesos.TASK_FAILED)
	w.ends(jobUnheard, mesos.TASK_FINISHED)
	w.counts(jobRetries, true) // its own occurrence
	w.edits(jobCron, func(d map[string]any) {
		if s := d["schedule"].(string); !strings.HasPrefix(s, "R1/") {
			w.t.Errorf("a JVM version reads the schedule %q of a cron job, want a single run", s)
		}
		d["schedule"], d["disabled"] = strings.Replace(d["schedule"].(string), "R1/", "R0/", 1), true
	})
	w.counts(jobCron, true)
}

// leaves has the JVM version give up.
func (w *wayBack) leaves() {
	w.t.Helper()
	if err := w.session.Delete(w.latch, -1); err != nil {
		w.t.Fatal(err)
	}
}

// TestNothingRunsTwiceAfterAJVMLed walks from this program to a JVM version and back, with runs in every state, whose tasks
// have ended there or not.
func TestNothingRunsTwiceAfterAJVMLed(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.4", "3.0"} {
		for name, back := range map[string]func(w *wayBack, first *instance) *instance{
			"all instances stopped in between": func(w *wayBack, first *instance) *instance {
				w.stands()
				first.terminate(t)
				w.reigns()
				w.leaves()
				return w.instance("second")
			},
			"one in line": func(w *wayBack, first *instance) *instance {
				w.stands()
				second := w.instance("second")
				until(t, "it is in line", func() bool {
					nodes, err := candidates(w.session, w.root+"/candidate")
					return err == nil && len(nodes) == 3
				})
				first.end(syscall.SIGKILL)
				w.reigns()
				w.leaves()
				return second
			},
			"a leader that falls before Mesos has answered": func(w *wayBack, first *instance) *instance {
				w.stands()
				first.terminate(t)
				w.reigns()
				w.leaves()
				w.master.SetFaults(mesostest.Faults{
					Update: func(*mesos.TaskStatus) mesostest.UpdateFault { return mesostest.UpdateFault{Lose: true} },
					Answer: func(*mesos.TaskStatus) mesostest.UpdateFault { return mesostest.UpdateFault{Lose: true} },
				})
				deaf := w.instance("deaf")
				deaf.serves(t)
				deaf.until(t, "it is subscribed", func() bool { return deaf.mesosHealth().Subscribed })
				deaf.end(syscall.SIGKILL)
				w.master.SetFaults(mesostest.Faults{})
				return w.instance("second")
			},
		} {
			t.Run(version+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWayBack(t, version)
				first := w.instance("first")
				first.serves(t)
				w.opens(first)
				launched := len(w.master.AllLaunches())
				v := back(w, first)
				v.serves(t)
				w.judge(v)
				if n := len(w.master.AllLaunches()); version == "2.4" && n != launched {
					t.Errorf("%d tasks were launched since the JVM version led, want none", n-launched)
				}
				for id, n := range w.master.AllLaunches() {
					if n != 1 {
						t.Errorf("%s was launched %d times", id, n)
					}
				}
				v.terminate(t)
				if lines := v.complaints(t); len(lines) > 0 {
					t.Errorf("log: %q", lines)
				}
			})
		}
	}
}

// judge checks what has become of each run, and lets those end that are still open.
func (w *wayBack) judge(v *instance) {
	w.t.Helper()
	for _, job := range []string{jobSucceeds, jobFails, jobUnheard} {
		w.wantEnd(v, job, "lost", endNotKnown, 1)
	}
	w.wantCounts(v, jobSucceeds, 1, 0)
	w.wantCounts(v, jobFails, 0, 1)
	w.wantCounts(v, jobUnheard, 1, 0)

	w.master.Finish(w.ids[jobOutlives], mesos.TASK_FINISHED, "")
	w.wantEnd(v, jobOutlives, "finished", "", 1)
	w.wantCounts(v, jobOutlives, 1, 0)

	v.mustCall(w.t, "PUT", "/scheduler/task/"+w.ids[jobCalls], `{"statusCode":0}`, 204)
	w.wantEnd(v, jobCalls, "finished", "", 1)
	w.wantCounts(v, jobCalls, 1, 0)

	if w.version == "2.4" { // which has taken what waits
		w.wantEnd(v, jobWaits, "lost", "", 1)
		w.wantCounts(v, jobWaits, 1, 0)
		if open, ended := v.runs(w.t, jobRetries); len(open) != 1 || open[0].ID != w.ids[jobRetries] || len(ended) != 1 {
			w.t.Errorf("runs of %s = %+v, %+v, want the retry on 2.4's timer", jobRetries, open, ended)
		}
	} else {
		v.mustCall(w.t, "POST", "/scheduler/iso8601", jobDocument(jobWaits, "true", parkedUntil2090), 204)
		w.wantEnd(v, jobWaits, "finished", "", 1)
		w.wantCounts(v, jobWaits, 1, 0)
		w.wantEnd(v, jobRetries, "skipped", "", 2)
	}
	w.wantCounts(v, jobRetries, 1, 0)

	if text := v.mustCall(w.t, "GET", "/scheduler/problems", "", 200); !strings.Contains(text, "enabled again") {
		w.t.Errorf("problems = %s, want word of the cron job", text)
	}
	var jobs []struct {
		Name, Schedule string
		Disabled       bool
	}
	v.mustGet(w.t, "/scheduler/jobs/search?name="+jobCron, &jobs)
	if len(jobs) != 1 || jobs[0].Disabled || jobs[0].Schedule != "0 0 1 1 *" {
		w.t.Errorf("the cron job is %+v, want it to go on", jobs)
	}
}

// wantEnd waits until no run of a job is open, and checks the last.
func (w *wayBack) wantEnd(v *instance, job, state, reason string, runs int) {
	w.t.Helper()
	last := v.awaitEnd(w.t, job, runs)
	if _, ended := v.runs(w.t, job); last.ID != w.ids[job] || last.State != state || reason != "" && last.Reason != reason || len(ended) != runs {
		w.t.Errorf("runs of %s = %+v, want %d, the last being %s, %s %s", job, ended, runs, w.ids[job], state, reason)
	}
}

func (w *wayBack) wantCounts(v *instance, job string, success, errors int) {
	w.t.Helper()
	var jobs []struct{ SuccessCount, ErrorCount int }
	v.mustGet(w.t, "/scheduler/jobs/search?name="+job, &jobs)
	if len(jobs) != 1 || jobs[0].SuccessCount != success || jobs[0].ErrorCount != errors {
		w.t.Errorf("counters of %s = %+v, want %d and %d", job, jobs, success, errors)
	}
}

// A leader that is told to stop while a JVM version is next in line places what waits, for as long as it may, names what is
// left, and leaves what falls due meanwhile to the successor.
func TestWhatWaitsIsPlacedBeforeAJVMLeads(t *testing.T) {
	t.Parallel()
	w := newWayBack(t, "3.0")
	w.args = append(w.args, "--handover_timeout", "8s")
	v := w.instance("log")
	v.serves(t)
	w.stands()
	v.mustCall(t, "POST", "/scheduler/iso8601", jobDocument("tick", "true", fmt.Sprintf(`"schedule":"R/%s/PT1S"`, isoInstant(time.Now().Truncate(time.Second).UnixMilli()))), 204)
	ids := map[string]string{}
	for job, cpus := range map[string]string{"large": "6", "huge": "100000"} {
		v.mustCall(t, "POST", "/scheduler/iso8601", jobDocument(job, "true", parkedUntil2090+`,"cpus":`+cpus), 204)
		v.mustCall(t, "PUT", "/scheduler/job/"+job, "", 204)
		open, _ := v.runs(t, job)
		ids[job] = open[0].ID
	}
	v.awaitSome(t, "tick")
	v.signal(syscall.SIGTERM)
	lines := func(text string) (found []logLine) {
		for _, l := range v.logLines(t) {
			if strings.Contains(l.msg, text) {
				found = append(found, l)
			}
		}
		return found
	}
	v.until(t, "it tells what waits", func() bool { return len(lines("placing them first")) == 1 })
	w.agent.SetCPUs(8)
	if err := <-v.ended; err != nil {
		t.Errorf("the program has ended with %v, want status 0", err)
	}
	v.cmd = nil
	if n := w.master.Launches(ids["large"]); n != 1 {
		t.Errorf("what there is room for was launched %d times", n)
	}
	told, left := lines("placing them first")[0].rest, lines("runs are left waiting")
	if text := fmt.Sprint(told["ids"]); !strings.Contains(text, ids["large"]) || !strings.Contains(text, ids["huge"]) {
		t.Errorf("told of %v, want both runs", told)
	}
	if len(left) != 1 || left[0].rest["runs"] != 1. || !strings.Contains(fmt.Sprint(left[0].rest["ids"]), ids["huge"]) {
		t.Errorf("left is %v, want the one for which there is no room", left)
	}
	w.isNext()

	// The JVM version begins where this program has stopped.
	var dues []int64
	for id := range w.master.AllLaunches() {
		if f := strings.Split(id, ":"); f[3] == "tick" {
			due, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			dues = append(dues, due)
		}
	}
	var job struct{ Schedule string }
	if err := json.Unmarshal(decodeEntry(t, w.read("J_tick")).value, &job); err != nil {
		t.Fatal(err)
	}
	if want := "R/" + isoInstant(slices.Max(dues)+1000) + "/PT1S"; job.Schedule != want {
		t.Errorf("the schedule that is left is %s, want %s", job.Schedule, want)
	}
}

// awaitSome waits until a job has run at all.
func (v *instance) awaitSome(t *testing.T, job string) {
	t.Helper()
	v.until(t, job+" has run", func() bool {
		_, ended := v.runs(t, job)
		return len(ended) > 0
	})
}
