package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/kubetest"
)

// podCrashes say when a leader dies: each arms its lifeline and the double so that it is cut at that point.
var podCrashes = []struct {
	name string
	arm  func(l *lifeline, s *kubetest.Server)
}{
	{"before the launch is stored", func(l *lifeline, _ *kubetest.Server) { l.cutAtCommit(runLaunching, false) }},
	{"when the launch is stored", func(l *lifeline, _ *kubetest.Server) { l.cutAtCommit(runLaunching, true) }},
	{"when the pod is asked for, and it is lost", func(l *lifeline, s *kubetest.Server) { l.cutAtRequest(s, http.MethodPost, kubetest.Fault{Gone: true}) }},
	{"when the pod is asked for, and it arrives", func(l *lifeline, s *kubetest.Server) { l.cutAtRequest(s, http.MethodPost, kubetest.Fault{Lost: true}) }},
	{"when the pod is asked for, and it arrives much later", func(l *lifeline, s *kubetest.Server) {
		l.cutAtRequest(s, http.MethodPost, kubetest.Fault{Delay: 25 * time.Second, Lost: true})
	}},
	{"when the pod is there", func(l *lifeline, s *kubetest.Server) { l.cutAtEvent(s, "ADDED", 1) }},
	{"when it runs", func(l *lifeline, s *kubetest.Server) { l.cutAtEvent(s, "MODIFIED", 4) }},
	{"when it has ended", func(l *lifeline, s *kubetest.Server) { l.cutAtEvent(s, "MODIFIED", 5) }},
	{"before its end is stored", func(l *lifeline, _ *kubetest.Server) { l.cutAtCommit(runFinished, false) }},
	{"when its end is stored", func(l *lifeline, _ *kubetest.Server) { l.cutAtCommit(runFinished, true) }},
	{"when the pod is let go, and that is lost", func(l *lifeline, s *kubetest.Server) { l.cutAtRequest(s, http.MethodPatch, kubetest.Fault{Gone: true}) }},
	{"when the pod is let go, and that arrives", func(l *lifeline, s *kubetest.Server) { l.cutAtRequest(s, http.MethodPatch, kubetest.Fault{Lost: true}) }},
	{"when the pod is deleted", func(l *lifeline, s *kubetest.Server) {
		l.cutAtRequest(s, http.MethodDelete, kubetest.Fault{Lost: true})
	}},
}

// cutAtCommit cuts before or after a state is stored.
func (l *lifeline) cutAtCommit(state runState, stored bool) {
	l.onCommit = func(rs []record, applied bool) {
		if applied == stored && stores(rs, state) {
			l.cut()
		}
	}
}

// cutAtRequest cuts at the first request of that kind, which fares as told.
func (l *lifeline) cutAtRequest(s *kubetest.Server, method string, fate kubetest.Fault) {
	s.SetFaults(kubetest.Faults{Request: func(r kubetest.Request) (f kubetest.Fault) {
		if r.Method != method || l.gone() {
			return f
		}
		l.cut()
		return fate
	}})
}

// cutAtEvent cuts at the n-th event of that kind.
func (l *lifeline) cutAtEvent(s *kubetest.Server, kind string, n int) {
	s.SetFaults(kubetest.Faults{Event: func(k, _ string) (f kubetest.EventFault) {
		if k == kind {
			if n--; n == 0 {
				l.cut()
			}
		}
		return f
	}})
}

// leaderOfAPodDies has a leader die, as arm says, on the way of the only run of the job a, whose pod runs for some time. next
// begins the next term.
func leaderOfAPodDies(t *testing.T, runs time.Duration, arm func(*lifeline, *kubetest.Server)) (s *kubetest.Server, next func() *doomedLeader) {
	t.Helper()
	log, st, cfg := newLogTap(t), newMemStore(), testConfig()
	st.records[adoptKey] = []byte("0")
	cfg.task.PlacedByCluster = true
	s = newKubeDouble(t, time.Second)
	s.SetBehaviour(podsThat(kubetest.Outcome{After: runs}))
	first := newLifelineTo(s.Dial, st)
	arm(first, s)
	k := leadPods(t, first, s, cfg, log)
	j, err := decodeJob([]byte(`{"name":"a","command":"x","retries":0,"epsilon":"PT10M","schedule":"R1/2000-01-01T00:00:30Z/PT1H"}`), cfg.defaults, dialect2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.putJob(t.Context(), "a", func(*Job) (*Job, error) { return j, nil }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.died:
	case <-time.After(10 * 24 * time.Hour):
		t.Fatal("the leader did not get to where it is to die")
	}
	k.die()
	return s, func() *doomedLeader { return leadPods(t, newLifelineTo(s.Dial, st), s, cfg, log) }
}

// TestLeaderOfPodsDiesOnTheWay kills a leader at every point of a run, and lets another take over: the container is
// started once, and the run ends as it did.
func TestLeaderOfPodsDiesOnTheWay(t *testing.T) {
	t.Parallel()
	for _, point := range podCrashes {
		for _, vacancy := range []time.Duration{0, 5 * time.Minute} {
			t.Run(fmt.Sprintf("%s, vacant for %v", point.name, vacancy), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s, next := leaderOfAPodDies(t, 10*time.Second, point.arm)
					time.Sleep(vacancy)
					k := next()
					time.Sleep(time.Hour)
					synctest.Wait()
					var got []string
					for _, r := range k.view().job("a").history {
						got = append(got, fmt.Sprintf("%s, started %d", r.State, s.Starts()[r.ID]))
					}
					if want := "finished, started 1"; strings.Join(got, "; ") != want || len(s.Starts()) != 1 {
						t.Errorf("history = %q, started %v, want %q", got, s.Starts(), want)
					}
					k.die()
				})
			})
		}
	}
}

// TestPodOnItsWayIsNotGivenUp has a leader die while its request for a pod is on the way, and the next one not get any. The
// run, killed then, is not over as long as its pod may come, and nothing of it starts afterwards.
func TestPodOnItsWayIsNotGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, next := leaderOfAPodDies(t, time.Hour, func(l *lifeline, s *kubetest.Server) {
			l.cutAtRequest(s, http.MethodPost, kubetest.Fault{Delay: 25 * time.Second, Lost: true})
		})
		s.SetFaults(kubetest.Faults{Request: func(r kubetest.Request) (f kubetest.Fault) {
			if r.Method == http.MethodPost {
				f.Status = http.StatusForbidden
			}
			return f
		}})
		k := next()
		time.Sleep(time.Second)
		if err := k.killJob(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		for len(k.view().job("a").history) == 0 {
			time.Sleep(time.Second)
		}
		told := len(s.Starts())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if r := k.view().job("a").history[0]; r.State != runKilled || len(s.Starts()) != told || len(s.Live()) != 0 {
			t.Errorf("run is %s (%s), with %d started when that was told and %d later, live %v; want killed, none later and none", r.State, r.Reason, told, len(s.Starts()), s.Live())
		}
		k.die()
	})
}

// leadPods begins a term on the double, with two ended pods kept of each job.
func leadPods(t *testing.T, l *lifeline, s *kubetest.Server, cfg schedulerConfig, log *slog.Logger) *doomedLeader {
	var leads atomic.Pointer[doomedLeader]
	c := kubeOn(s, log, func(o *kubeOptions) {
		o.dial, o.keep, o.staging = l.dial, 0, 20*time.Minute
		o.job = func(name string) (*Job, bool) {
			k := leads.Load()
			if k == nil {
				return nil, false
			}
			if v := k.view().job(name); v != nil {
				return v.job, true
			}
			return nil, true
		}
	})
	k := leadWith(t, l, cfg, c, log)
	leads.Store(k)
	return k
}

// A podTorture is one on the double of an API server.
type podTorture struct {
	torture
	s *kubetest.Server
}

// faults make the network and the server what they are.
func (o *podTorture) faults() kubetest.Faults {
	return kubetest.Faults{
		Request: func(r kubetest.Request) (f kubetest.Fault) {
			often := 8
			if r.Method == http.MethodPost {
				often = 25
			}
			if o.pick(100) >= often {
				return f
			}
			kinds := []string{"429", "500", "lost answer", "lost request", "slow answer", "slow request"}
			kind := o.nextKind(r.Method, len(kinds))
			o.note(r.Method + " " + kinds[kind])
			return []kubetest.Fault{{Status: 429, After: 2}, {Status: 500}, {Lost: true}, {Gone: true},
				{Slow: time.Duration(o.pick(40)) * time.Second}, {Delay: time.Duration(o.pick(40)) * time.Second}}[kind]
		},
		Event: func(string, string) kubetest.EventFault {
			f := kubetest.EventFault{Lose: o.pick(10) == 0, Repeat: o.pick(10) == 0}
			if o.pick(20) == 0 {
				f.Delay = time.Duration(o.pick(10_000)) * time.Millisecond
			}
			return f
		},
	}
}

// accident does one thing that goes wrong. Each kind has its turn before one comes again.
func (o *podTorture) accident() {
	kind := o.nextKind("cluster", 9)
	victim := func(do func(id string)) {
		if live := o.s.Live(); len(live) > 0 {
			do(live[o.pick(len(live))])
		}
	}
	switch kind {
	case 0:
		o.s.EndWatches()
	case 1:
		o.s.Compact()
	case 2:
		o.s.Stop(time.Duration(1+o.pick(40)) * time.Second)
	case 3:
		o.note("node silent")
		o.s.Silence("host-1", true)
		time.Sleep(time.Duration(1+o.pick(60)) * time.Second)
		o.s.Silence("host-1", false)
	case 4:
		o.note("pod deleted by somebody")
		victim(func(id string) { o.s.Delete(id, 1+o.pick(30)) })
	case 5:
		o.note("pod preempted")
		victim(func(id string) { o.s.Fail(id, "", "for a better one", "PreemptionByScheduler") })
	case 6:
		before := o.s.Snapshot()
		time.Sleep(time.Duration(1+o.pick(20)) * time.Second)
		o.s.SetBack(before)
	case 7:
		o.killRuns(12)
	case 8:
		o.note("quota")
		o.s.SetQuota(3)
		time.Sleep(time.Duration(1+o.pick(60)) * time.Second)
		o.s.SetQuota(0)
	}
}

// TestKubernetesTorture changes leaders while requests, answers and events get lost, late and doubled, and the server is
// away, forgets and is set back. At the end each attempt was started once at most, each one that was started is in the
// history, and what that says is what its node saw. Time is virtual.
func TestKubernetesTorture(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failovers := inForm(8, 200)
		t.Logf("seed %d, %d fail-overs", *firstSeed, failovers)
		o := &podTorture{}
		o.set(t)
		o.cfg.task.PlacedByCluster, o.cfg.staging = true, 20*time.Minute
		o.s = newKubeDouble(t, 100*time.Millisecond)
		o.s.SetBehaviour(func(kubetest.Pod) kubetest.Outcome {
			out := kubetest.Outcome{After: time.Duration(o.pick(20_000)) * time.Millisecond, Deaf: o.pick(10) == 0}
			if o.pick(100) < 15 {
				out.Exit = 1
			}
			return out
		})
		o.lifeline = func() *lifeline { return newLifelineTo(o.s.Dial, o.store) }
		o.begin = func(life *lifeline) *doomedLeader { return leadPods(t, life, o.s, o.cfg, o.log) }
		o.lead()
		o.jobs(12)
		o.s.SetFaults(o.faults())
		o.suffer(failovers, time.Minute, o.accident) // much shorter, and few runs would get past stillAsked
		o.s.SetFaults(kubetest.Faults{})
		o.calm(func() {})
		o.compare()
		o.leader.die()
	})
}

// compare holds the history against what the node saw.
func (o *podTorture) compare() {
	starts, exits, undone := o.s.Starts(), o.s.Exits(), o.s.Undone()
	counts, recorded := o.eachEnded(func(r *Run) {
		exit, ended := exits[r.ID]
		switch n := starts[r.ID]; {
		case undone[r.ID]: // by force: nobody can know
		case n > 1:
			o.t.Errorf("run %q was started %d times", r.ID, n)
		case r.State == runFinished && (n != 1 || !ended || exit != 0), r.State == runFailed && n == 1 && (!ended || exit == 0):
			o.t.Errorf("run %q is %s (%s), but was started %d times and ended %v with %d", r.ID, r.State, r.Reason, n, ended, exit)
		case r.State == runLost && n > 0:
			o.t.Errorf("run %q is lost (%s), but its node saw it end %v with %d", r.ID, r.Reason, ended, exit)
		case (r.State == runMissed || r.State == runSkipped) && n > 0:
			o.t.Errorf("run %q is %s (%s), but was started", r.ID, r.State, r.Reason)
		}
	})
	for id := range starts {
		if !recorded[id] {
			o.t.Errorf("run %q was started and is not in the history", id)
		}
	}
	if live := o.s.Live(); len(live) > 0 {
		o.t.Errorf("pods still live: %q", live)
	}
	o.compareSpans(o.s.Spans())
	o.t.Logf("%d leaders, %d pods started, runs by end: %v", o.leaders, len(starts), counts)
	o.checkAccidents(o.s.Happened(), []string{
		"POST 429", "POST 500", "POST lost answer", "POST lost request", "POST slow answer", "POST slow request", "PATCH lost answer",
		"event lost", "event repeated", "event late", "410 Gone", "watch ended", "server away", "server set back", "node silent",
		"pod deleted by somebody", "pod preempted", "runs killed", "quota",
	})
}
