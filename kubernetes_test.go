package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/kubetest"
)

// A directKube is the double behind the real client, with nothing between that and the scheduler. Each step of a pod
// takes a second.
type directKube struct {
	*kubeTestCluster
	change func(*kubeOptions)
}

func (c *directKube) client(log *slog.Logger) cluster {
	return kubeOn(c.Server, log, func(o *kubeOptions) {
		o.job = c.job
		if c.change != nil {
			c.change(o)
		}
	})
}

// onPods runs a test in virtual time with a scheduler on the double.
func onPods(t *testing.T, name string, f func(b *bench, s *kubetest.Server)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := &directKube{kubeTestCluster: &kubeTestCluster{Server: newKubeDouble(t, time.Second)}}
			outputs := t.TempDir()
			c.change = func(o *kubeOptions) { o.staging, o.outputs = 10*time.Minute, outputs }
			b := newBenchOn(t, c)
			b.cfg.task.PlacedByCluster, b.cfg.staging = true, 10*time.Minute
			c.job = func(name string) (*Job, bool) {
				if v := b.s.view().job(name); v != nil {
					return v.job, true
				}
				return nil, true
			}
			f(b.start(), c.Server)
			b.end()
		})
	})
}

func podsThat(o kubetest.Outcome) func(kubetest.Pod) kubetest.Outcome {
	return func(kubetest.Pod) kubetest.Outcome { return o }
}

// onceJob is started by hand only, and has no second attempt.
const onceJob = `{"name":"a","command":"x","retries":0,"epsilon":"PT1H","schedule":"R0/2000-01-01T00:00:00Z/PT1H"}`

// end is the last run of job a, as "state: reason".
func (b *bench) lastEnd() string {
	b.t.Helper()
	history := b.s.view().job("a").history
	if len(history) == 0 {
		return "none"
	}
	return string(history[0].State) + ": " + history[0].Reason
}

func (b *bench) wantEnd(want string) {
	b.t.Helper()
	if got := b.lastEnd(); got != want {
		b.t.Errorf("the run ends as %q, want %q", got, want)
	}
}

func (b *bench) open() *Run {
	b.t.Helper()
	runs := b.s.view().job("a").runs
	if len(runs) != 1 {
		b.t.Fatalf("%d open runs, want one; %s", len(runs), b.lastEnd())
	}
	return runs[0]
}

func TestRunsArePods(t *testing.T) {
	t.Parallel()
	ends := []struct {
		name string
		out  kubetest.Outcome
		want string
	}{
		{"success", kubetest.Outcome{After: time.Minute}, "finished: "},
		{"failure with its status", kubetest.Outcome{After: time.Minute, Exit: 3}, "failed: on node host-1: command exited with status 3"},
		{"out of memory", kubetest.Outcome{After: time.Minute, Exit: 137, Reason: "OOMKilled"}, "failed: OOMKilled on node host-1: command exited with status 137"},
	}
	for _, tt := range ends {
		onPods(t, tt.name, func(b *bench, s *kubetest.Server) {
			s.SetBehaviour(podsThat(tt.out))
			b.post(onceJob)
			id := b.runNow("a")
			b.wait(30 * time.Second)
			if r := b.open(); r.State != runActive || r.Started == 0 || r.Agent != "host-1" {
				b.t.Errorf("under way it is %+v, want active on host-1", r)
			}
			b.wait(time.Minute)
			b.wantEnd(tt.want)
			if r := b.s.view().job("a").history[0]; tt.out.Exit != 0 && (r.Exit == nil || *r.Exit != tt.out.Exit) {
				b.t.Errorf("its exit status is %v, want %d", r.Exit, tt.out.Exit)
			}
			if n := s.Starts()[id]; n != 1 {
				b.t.Errorf("started %d times", n)
			}
		})
	}
	onPods(t, "no room: the scheduler's words, then success", func(b *bench, s *kubetest.Server) {
		const why = "0/1 nodes are available: 1 Insufficient cpu."
		s.SetBehaviour(podsThat(kubetest.Outcome{Unschedulable: why}))
		b.post(onceJob)
		id := b.runNow("a")
		b.wait(time.Minute)
		if got := b.why("a"); got != "Unschedulable: "+why {
			b.t.Errorf("it waits for %q", got)
		}
		s.SetBehaviour(podsThat(kubetest.Outcome{}))
		s.Place(id)
		b.wait(time.Minute)
		b.wantEnd("finished: ")
	})
	onPods(t, "an image that does not exist: deleted after the stage timeout, and failed for that reason", func(b *bench, s *kubetest.Server) {
		s.SetBehaviour(podsThat(kubetest.Outcome{Waiting: "ErrImagePull", Message: "no such host"}))
		b.post(onceJob)
		b.runNow("a")
		b.wait(time.Minute)
		if got := b.why("a"); got != "ErrImagePull: no such host" {
			b.t.Errorf("it waits for %q", got)
		}
		b.wait(10 * time.Minute)
		b.wantEnd("failed: not started 10m0s after its launch: ErrImagePull: no such host")
		b.wait(2 * time.Minute)
		if left := s.Pods(); len(left) > 0 {
			b.t.Errorf("pods are left: %v", left[0].Name)
		}
	})
	onPods(t, "a quota: waits, says so, and goes on when there is room", func(b *bench, s *kubetest.Server) {
		s.SetBehaviour(podsThat(kubetest.Outcome{After: 5 * time.Minute}))
		s.SetQuota(1)
		b.post(strings.Replace(onceJob, `"retries"`, `"concurrent":true,"retries"`, 1))
		b.runNow("a")
		second := b.runNow("a")
		b.wait(time.Minute)
		if got := b.why("a"); !strings.Contains(got, "exceeded quota") {
			b.t.Errorf("it waits for %q, want the quota's words", got)
		}
		b.wait(2 * time.Hour) // longer than its epsilon
		if n := s.Starts()[second]; n != 0 {
			b.t.Errorf("started in spite of the quota")
		}
		s.SetQuota(0)
		b.wait(6 * time.Minute)
		if n := b.job("a").SuccessCount; n != 2 {
			b.t.Errorf("%d runs have succeeded, want 2: %s", n, b.why("a"))
		}
	})
	onPods(t, "what the API server finds invalid has failed", func(b *bench, s *kubetest.Server) {
		s.SetFaults(kubetest.Faults{Request: func(r kubetest.Request) (f kubetest.Fault) {
			if r.Method == http.MethodPost {
				f.Status = http.StatusUnprocessableEntity
			}
			return f
		}})
		b.post(onceJob)
		b.runNow("a")
		b.wait(time.Second)
		b.wantEnd("failed: Kubernetes refuses the pod: fault of this test")
	})
}

func TestKillsOfPods(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		out  kubetest.Outcome
		want string
	}{
		{"ends on TERM", kubetest.Outcome{Forever: true}, "killed: killed by request"},
		{"ends on TERM with 0", kubetest.Outcome{Forever: true, OnTerm: -1}, "killed: killed by request"},
		{"is deaf", kubetest.Outcome{Forever: true, Deaf: true}, "killed: killed by request"},
		{"has no node", kubetest.Outcome{Unschedulable: "no room"}, "killed: killed by request"},
		{"has no image", kubetest.Outcome{Waiting: "ErrImagePull"}, "killed: killed by request"},
		{"has ended before", kubetest.Outcome{After: 57 * time.Second}, "finished: "},
	}
	for _, tt := range tests {
		for _, successor := range []bool{false, true} {
			name := tt.name
			if successor {
				name += ", its end heard by the next leader"
			}
			onPods(t, name, func(b *bench, s *kubetest.Server) {
				s.SetBehaviour(podsThat(tt.out))
				b.post(onceJob)
				b.runNow("a")
				b.wait(time.Minute)
				b.do("kill", b.s.killJob(b.t.Context(), "a"))
				if successor {
					b.wait(10 * time.Millisecond) // the request arrives
					b.end()
					time.Sleep(30 * time.Second)
					b.start()
				}
				b.wait(30 * time.Second)
				b.wantEnd(tt.want)
				if live := s.Live(); len(live) > 0 {
					b.t.Errorf("%q still live", live)
				}
			})
		}
	}
}

func TestPodsThatOthersEnd(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(s *kubetest.Server, id string)
		want string
	}{
		{"deleted by somebody", func(s *kubetest.Server, id string) { s.Delete(id, 30) },
			"failed: the pod was deleted by somebody else: on node host-1: command exited with status 143"},
		{"evicted by its node", func(s *kubetest.Server, id string) {
			s.Fail(id, "Evicted", "The node was low on resource: memory.", "")
		},
			"failed: Evicted on node host-1: The node was low on resource: memory."},
		{"over its deadline", func(s *kubetest.Server, id string) { s.Fail(id, "DeadlineExceeded", "Pod was active too long", "") },
			"failed: DeadlineExceeded on node host-1: Pod was active too long"},
		{"preempted", func(s *kubetest.Server, id string) {
			s.Fail(id, "", "for a pod that matters more", "PreemptionByScheduler")
		},
			"lost: PreemptionByScheduler on node host-1: for a pod that matters more"},
		{"gone without a trace", func(s *kubetest.Server, id string) { s.Vanish(id); s.EndWatches() },
			"lost: the pod was removed by somebody else before its result was known"},
	}
	for _, tt := range tests {
		for _, away := range []bool{false, true} {
			name := tt.name
			if away {
				name += " while nobody leads"
			}
			onPods(t, name, func(b *bench, s *kubetest.Server) {
				s.SetBehaviour(podsThat(kubetest.Outcome{Forever: true}))
				b.post(onceJob)
				id := b.runNow("a")
				b.wait(time.Minute)
				if away {
					b.end()
				}
				tt.do(s, id)
				if away {
					time.Sleep(time.Minute)
					b.start()
				}
				b.wait(time.Minute)
				want := tt.want
				if away && strings.HasPrefix(tt.name, "gone") {
					want = "lost: TASK_UNKNOWN, REASON_RECONCILIATION" // nobody remembers it
				}
				b.wantEnd(want)
			})
		}
	}
	onPods(t, "a node that does not answer, and is back in time", func(b *bench, s *kubetest.Server) {
		s.SetBehaviour(podsThat(kubetest.Outcome{After: 20 * time.Minute}))
		b.post(onceJob)
		b.runNow("a")
		b.wait(time.Minute)
		s.Silence("host-1", true)
		b.wait(5 * time.Minute)
		if r := b.open(); !strings.HasPrefix(r.Reason, "agent unreachable since") {
			b.t.Errorf("reason = %q, want that its agent is away", r.Reason)
		}
		s.Silence("host-1", false)
		b.wait(20 * time.Minute)
		b.wantEnd("finished: ")
	})
	onPods(t, "a node that does not answer for too long", func(b *bench, s *kubetest.Server) {
		s.SetBehaviour(podsThat(kubetest.Outcome{Forever: true}))
		b.post(onceJob)
		b.runNow("a")
		b.wait(time.Minute)
		s.Silence("host-1", true)
		b.wait(11 * time.Minute)
		b.wantEnd("lost: agent unreachable for 10m0s")
	})
}

// The result is stored before its pod may go, whoever deletes it.
func TestResultsOutliveTheirPods(t *testing.T) {
	t.Parallel()
	onPods(t, "a pod that somebody deletes stays until its end is stored", func(b *bench, s *kubetest.Server) {
		s.SetBehaviour(podsThat(kubetest.Outcome{After: time.Minute, Exit: 7}))
		b.post(onceJob)
		id := b.runNow("a")
		b.wait(30 * time.Second)
		b.end()
		time.Sleep(2 * time.Minute)
		s.Delete(id, 1)
		time.Sleep(time.Hour)
		if n := len(s.Pods()); n != 1 {
			b.t.Fatalf("%d pods, want the one whose end nobody has heard of", n)
		}
		b.start()
		b.wait(time.Minute)
		b.wantEnd("failed: the pod was deleted by somebody else: on node host-1: command exited with status 7")
		b.wait(2 * time.Minute)
		if n := len(s.Pods()); n != 0 {
			b.t.Errorf("%d pods, want none", n)
		}
	})
	onPods(t, "ended pods are kept, as many of a job as were asked for, and go with it", func(b *bench, s *kubetest.Server) {
		b.post(strings.Replace(onceJob, "R0/2000-01-01T00:00:00Z/PT1H", "R20/2000-01-01T00:01:00Z/PT1M", 1))
		b.wait(40 * time.Minute)
		if n := b.job("a").SuccessCount; n != 20 {
			b.t.Fatalf("%d runs, want 20", n)
		}
		var kept []string
		for _, p := range s.Pods() {
			kept = append(kept, p.Annotations[annotationTask])
		}
		slices.Sort(kept)
		if len(kept) != 10 || kept[0] != fmt.Sprintf("ct:%d:0:a:", time.Date(2000, 1, 1, 0, 11, 0, 0, time.UTC).UnixMilli()) {
			b.t.Errorf("kept %d pods, the oldest of %s, want the last ten", len(kept), kept[0])
		}
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.wait(time.Minute)
		if n := len(s.Pods()); n != 0 {
			b.t.Errorf("%d pods of a job that is gone", n)
		}
	})
	onPods(t, "pods with our labels and no run are ended, those of other frameworks are not", func(b *bench, s *kubetest.Server) {
		s.SetBehaviour(podsThat(kubetest.Outcome{Forever: true}))
		b.post(onceJob)
		id := b.runNow("a")
		b.wait(time.Minute)
		mine := s.Pods()[0]
		copied := func(framework, task, name string) kubetest.Object {
			return kubetest.Object{"metadata": kubetest.Object{"name": name, "labels": kubetest.Object{labelManaged: "chronos", labelFramework: framework},
				"annotations": kubetest.Object{annotationTask: task}}, "spec": kubetest.Object{"containers": []any{kubetest.Object{"name": "task"}}}}
		}
		framework := mine.Object["metadata"].(kubetest.Object)["labels"].(kubetest.Object)[labelFramework].(string)
		s.Make(copied(framework, id, "copy-of-ours"))
		s.Make(copied(framework, "ct:1:0:a:", podName(framework, "ct:1:0:a:")))
		s.Make(copied("other", "ct:2:0:a:", podName("other", "ct:2:0:a:")))
		b.wait(5 * time.Minute)
		var left []string
		for _, p := range s.Pods() {
			left = append(left, p.Annotations[annotationTask])
		}
		slices.Sort(left)
		if want := []string{"ct:2:0:a:", id}; !slices.Equal(left, want) {
			b.t.Errorf("left are %q, want %q", left, want)
		}
	})
}

// Nothing depends on having seen every event, and an answer that is lost is found out.
func TestPodsAreFollowedInSpiteOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(s *kubetest.Server)
	}{
		{"410 Gone", func(s *kubetest.Server) { s.Compact() }},
		{"a watch that ends", func(s *kubetest.Server) { s.EndWatches() }},
		{"a server that is away for 30 s", func(s *kubetest.Server) { s.Stop(30 * time.Second) }},
		{"every event lost", func(s *kubetest.Server) {
			s.SetFaults(kubetest.Faults{Event: func(string, string) kubetest.EventFault { return kubetest.EventFault{Lose: true} }})
		}},
		{"every event repeated", func(s *kubetest.Server) {
			s.SetFaults(kubetest.Faults{Event: func(string, string) kubetest.EventFault { return kubetest.EventFault{Repeat: true} }})
		}},
		{"late events", func(s *kubetest.Server) {
			s.SetFaults(kubetest.Faults{Event: func(string, string) kubetest.EventFault { return kubetest.EventFault{Delay: 7 * time.Second} }})
		}},
		{"slow answers", func(s *kubetest.Server) {
			s.SetFaults(kubetest.Faults{Request: func(kubetest.Request) kubetest.Fault { return kubetest.Fault{Slow: 20 * time.Second} }})
		}},
		{"a server that was set back", func(s *kubetest.Server) { s.SetBack(s.Snapshot()) }},
	}
	for _, tt := range tests {
		onPods(t, tt.name, func(b *bench, s *kubetest.Server) {
			s.SetBehaviour(podsThat(kubetest.Outcome{After: time.Minute}))
			b.post(strings.Replace(onceJob, "R0/2000-01-01T00:00:00Z/PT1H", "R3/2000-01-01T00:01:00Z/PT30M", 1))
			b.wait(90 * time.Second)
			tt.do(s)
			b.wait(2 * time.Hour)
			if n := b.job("a").SuccessCount; n != 3 {
				b.t.Errorf("%d runs have succeeded, want 3", n)
			}
			for id, n := range s.Created() {
				if n != 1 {
					b.t.Errorf("%s was made %d times", id, n)
				}
			}
		})
	}
	for name, fault := range map[string]kubetest.Fault{
		"429": {Status: 429, After: 3}, "500": {Status: 500}, "504": {Status: 504}, "a lost answer": {Lost: true}, "a lost request": {Gone: true}, "an answer that comes too late": {Slow: time.Minute},
	} {
		onPods(t, name+" to a request for a pod", func(b *bench, s *kubetest.Server) {
			once := 0
			s.SetFaults(kubetest.Faults{Request: func(r kubetest.Request) (f kubetest.Fault) {
				if r.Method == http.MethodPost && once < 2 {
					once++
					return fault
				}
				return f
			}})
			b.post(onceJob)
			id := b.runNow("a")
			b.wait(5 * time.Minute)
			b.wantEnd("finished: ")
			if n := s.Created()[id]; n != 1 {
				b.t.Errorf("made %d times", n)
			}
		})
	}
}

func TestConstraintsAreLabelsOfNodes(t *testing.T) {
	t.Parallel()
	onPods(t, "a pattern waits for a node that it matches", func(b *bench, s *kubetest.Server) {
		b.post(strings.Replace(onceJob, `"retries"`, `"constraints":[["rack","LIKE","r[12]"],["hostname","EQUALS","host-1"]],"retries"`, 1))
		b.runNow("a")
		b.wait(2 * time.Hour)
		if got := b.why("a"); !strings.Contains(got, "constraint rack LIKE r[12]: none of 1 nodes has such a label rack") {
			b.t.Errorf("it waits for %q", got)
		}
		s.Label("host-1", "rack", "r2")
		b.wait(time.Minute)
		b.wantEnd("finished: ")
		text := string(mustJSON(s.Pods()[0].Object["spec"].(kubetest.Object)["affinity"]))
		want := `{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[` +
			`{"key":"rack","operator":"In","values":["r2"]},{"key":"kubernetes.io/hostname","operator":"In","values":["host-1"]}]}]}}}`
		if text != want {
			b.t.Errorf("affinity = %s\nwant %s", text, want)
		}
	})
}

// A pod that waits for a node is made anew when its patterns match other nodes: the same attempt, started once.
func TestPatternsAreMatchedAgain(t *testing.T) {
	t.Parallel()
	onPods(t, "when a node gets a label", func(b *bench, s *kubetest.Server) {
		s.Label("host-1", "rack", "r1")
		s.SetBehaviour(podsThat(kubetest.Outcome{Unschedulable: "no room"}))
		b.post(strings.Replace(onceJob, `"retries"`, `"constraints":[["rack","LIKE","r.*"]],"retries"`, 1))
		b.wait(time.Second)
		id := b.runNow("a")
		b.wait(time.Minute)
		s.SetBehaviour(podsThat(kubetest.Outcome{}))
		s.Label("host-1", "rack", "r2")
		b.wait(2 * time.Minute)
		b.wantEnd("finished: ")
		if made, started := s.Created()[id], s.Starts()[id]; made != 2 || started != 1 {
			b.t.Errorf("made %d times and started %d times, want 2 and 1", made, started)
		}
	})
}

// What a run has written outlives its pod, where that was deleted: the node drops a log soon, whoever holds the pod.
func TestOutputOfDeletedPods(t *testing.T) {
	t.Parallel()
	ends := map[string]func(b *bench, s *kubetest.Server, id string){
		"killed":              func(b *bench, _ *kubetest.Server, _ string) { b.do("kill", b.s.killJob(b.t.Context(), "a")) },
		"deleted by somebody": func(_ *bench, s *kubetest.Server, id string) { s.Delete(id, 1) },
	}
	for name, end := range ends {
		onPods(t, name, func(b *bench, s *kubetest.Server) {
			s.SetBehaviour(podsThat(kubetest.Outcome{Forever: true, Log: "last words\n"}))
			b.post(onceJob)
			id := b.runNow("a")
			b.wait(time.Minute)
			end(b, s, id)
			b.wait(5 * time.Minute)
			if left := s.Pods(); len(left) > 0 {
				b.t.Fatalf("pods are left: %s", left[0].Name)
			}
			written := func() string {
				piece, err := b.s.cluster.(*kubeCluster).output(id, "stdout", 0, 100)
				if err != nil {
					return err.Error()
				}
				return string(piece.text)
			}
			for range 2 { // also for the next leader
				if got := written(); got != "last words\n" {
					b.t.Errorf("its output is %q", got)
				}
				b.end()
				b.start()
				b.wait(time.Second)
			}
			b.s.cluster.(*kubeCluster).removeJob("a")
			b.wait(time.Second)
			if got := written(); !strings.Contains(got, errNotFound.Error()) {
				b.t.Errorf("the output of a job that is gone is %q", got)
			}
		})
	}
}

func TestKeptLogsAreBounded(t *testing.T) {
	t.Parallel()
	l := keptLogs{dir: t.TempDir(), perJob: 2}
	save := func(job, pod string, ago time.Duration) {
		t.Helper()
		if err := l.save(job, pod, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(l.file(job, pod), time.Time{}, time.Now().Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	save("other", "old", keptAge+time.Hour)
	save("a b", "first", 3*time.Minute)
	save("a b", "second", 2*time.Minute)
	save("a b", "third", time.Minute)
	save("another", "new", 0)
	for _, tt := range []struct {
		job, pod string
		kept     bool
	}{{"a b", "first", false}, {"a b", "second", true}, {"a b", "third", true}, {"other", "old", false}, {"another", "new", true}} {
		if _, err := l.read(tt.job, tt.pod); (err == nil) != tt.kept {
			t.Errorf("%s of %s: %v, want it kept: %t", tt.pod, tt.job, err, tt.kept)
		}
	}
	var log logTail
	for range 5 {
		fmt.Fprint(&log, strings.Repeat("x", mostKeptOfLog-1)+"\n")
	}
	fmt.Fprint(&log, "end")
	if got := string(log.end()); len(got) > mostKeptOfLog+50 || !strings.HasPrefix(got, fmt.Sprintf("[%d bytes were left out here]\nx", 4*mostKeptOfLog+3)) || !strings.HasSuffix(got, "x\nend") {
		t.Errorf("of a long log %.40q... of %d bytes is kept", got, len(got))
	}
}

func TestOutputOfPods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &directKube{kubeTestCluster: &kubeTestCluster{Server: newKubeDouble(t, 0)}}
		c.SetBehaviour(podsThat(kubetest.Outcome{Forever: true, Log: "hello\nworld\n"}))
		b := newBenchOn(t, c)
		b.cfg.task.PlacedByCluster = true
		var k *kubeCluster
		b.s = newScheduler(b.cfg, b.store, nil, newLogTap(t))
		c.change = func(o *kubeOptions) { o.job = nil }
		b.start()
		k = b.s.cluster.(*kubeCluster)
		b.post(onceJob)
		id := b.runNow("a")
		b.wait(time.Minute)
		for _, tt := range []struct {
			name   string
			offset int64
			limit  int
			want   string
		}{
			{"stdout", 0, 100, "hello\nworld\n"}, {"stdout", 6, 3, "wor"}, {"stdout", -3, 100, "ld\n"}, {"stdout", 99, 5, ""}, {"stderr", 0, 10, oneOutput[:10]},
		} {
			piece, err := k.output(id, tt.name, tt.offset, tt.limit)
			if err != nil || string(piece.text) != tt.want {
				t.Errorf("%s from %d: %q, %v, want %q", tt.name, tt.offset, piece.text, err, tt.want)
			}
		}
		if _, err := k.output("ct:1:0:b:", "stdout", 0, 10); err == nil {
			t.Error("the output of a run without a pod was read")
		}
		b.end()
	})
}
