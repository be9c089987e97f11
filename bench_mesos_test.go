package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	"github.com/chronos-go/chronos/internal/zktest"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// roomyMaster is a Mesos double with agents for 16,000 tasks.
func roomyMaster(b *testing.B) *mesostest.Master {
	b.Helper()
	m := mesostest.NewMaster(b, mesostest.Options{})
	for range 100 {
		m.AddAgent(mesostest.AgentSpec{CPUs: 16, Mem: 64 << 10, Disk: 1 << 20})
	}
	return m
}

// acceptTimes are when each task was in an ACCEPT.
type acceptTimes struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (a *acceptTimes) tasks() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

func timeAccepts(m *mesostest.Master) *acceptTimes {
	times := &acceptTimes{at: map[string]time.Time{}}
	m.SetFaults(mesostest.Faults{Accept: func(a *sched.Call_Accept) mesostest.CallFault {
		times.mu.Lock()
		defer times.mu.Unlock()
		for _, t := range a.Operations[0].Launch.TaskInfos {
			times.at[t.TaskID.Value] = time.Now()
		}
		return mesostest.NoFault
	}})
	return times
}

// Ten thousand jobs due in the same second, on ZooKeeper and a Mesos of a hundred agents.
func BenchmarkBurstMesos(b *testing.B) {
	var m measuredBurst
	for b.Loop() {
		st, cluster := zkTerm(b), roomyMaster(b)
		s, stop := startTerm(b, st, newMesos(configFor(cluster, testFramework(), slog.New(slog.DiscardHandler))))
		due := holdBurst(b, s)
		times := timeAccepts(cluster)
		st.mark()
		cluster.Await("all tasks", func() bool { return times.tasks() >= burst && len(cluster.Launched()) >= burst })
		stop()
		var late []time.Duration
		all := time.Duration(0)
		for id, t := range times.at {
			if n := cluster.Launches(id); n != 1 {
				b.Fatalf("task %q was launched %d times", id, n)
			}
			late = append(late, t.Sub(due))
			all = max(all, t.Sub(due))
		}
		m.add(b, st, all, late)
	}
	m.report(b)
}

// The size of the program, stripped.
func BenchmarkBinary(b *testing.B) {
	size := 0.0
	for b.Loop() {
		info, err := os.Stat(buildChronos(b))
		if err != nil {
			b.Fatal(err)
		}
		size = float64(info.Size()) / (1 << 20)
	}
	b.ReportMetric(size, "MiB")
	b.ReportMetric(0, "ns/op")
}

// A site is a ZooKeeper with 10,000 jobs, one of them due every second, a Mesos, and the
// program to run there.
type site struct {
	b        *testing.B
	binary   string
	hosts    []string
	root     string
	mesos    *mesostest.Master
	accepted chan struct{} // has an element after an ACCEPT
}

const (
	siteJobs    = 10_000
	siteTimeout = 2 * time.Second // of sessions
)

func newSite(b *testing.B) *site {
	b.Helper()
	s := &site{b: b, binary: buildChronos(b), mesos: roomyMaster(b), accepted: make(chan struct{}, 1)}
	s.mesos.AutoFinish(100 * time.Millisecond)
	s.mesos.SetFaults(mesostest.Faults{Accept: func(*sched.Call_Accept) mesostest.CallFault {
		select {
		case s.accepted <- struct{}{}:
		default:
		}
		return mesostest.NoFault
	}})
	s.hosts, s.root = zktest.Shared(b)
	st, _ := lead(b, s.hosts, s.root)
	sch, stop := startTerm(b, st, newQuietCluster(true))
	hold(b, sch, siteJobs, func(i int) string {
		if i == 0 {
			return benchJob(i, every(time.Now().Add(time.Second), "PT1S"))
		}
		return benchJob(i, every(time.Now().Add(48*time.Hour), "PT1H"))
	})
	stop()
	// Its framework id is of another cluster.
	if err := st.commit(b.Context(), []record{{frameworkIDKey, nil}}); err != nil {
		b.Fatal(err)
	}
	st.session.close()
	return s
}

// An instance under test is a process of the program.
type process struct {
	*exec.Cmd
	url     string
	started time.Time
}

func (s *site) start() *process {
	s.b.Helper()
	port := zktest.FreePort()
	p := &process{Cmd: exec.Command(s.binary, "--master", s.mesos.URL(), "--zk_hosts", s.hosts[0], "--zk_path", s.root,
		"--zk_timeout", fmt.Sprint(siteTimeout.Milliseconds()), "--hostname", "127.0.0.1", "--http_port", fmt.Sprint(port), "--log_level", "error"),
		url: fmt.Sprintf("http://127.0.0.1:%d", port), started: time.Now()}
	p.Stderr = s.b.Output()
	if err := p.Start(); err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
	})
	return p
}

// answers returns once a request that only a leader can answer is answered.
func (s *site) answers(p *process) {
	s.b.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		res, err := http.Get(p.url + "/scheduler/jobs/search?limit=1")
		if err != nil {
			continue // it does not listen yet
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
	}
	s.b.Fatal("no answer in 30 s")
}

// succession returns how long it takes, from an instant, until a new leader has asked
// Mesos about its tasks, and until it has launched one.
func (s *site) succession(begin func() time.Time) (reconciled, launched time.Duration) {
	s.b.Helper()
	asked := len(s.mesos.Received(sched.Call_RECONCILE))
	start := begin()
	s.mesos.Await("a reconciliation", func() bool { return len(s.mesos.Received(sched.Call_RECONCILE)) > asked })
	reconciled = time.Since(start)
	select {
	case <-s.accepted: // of the old leader, perhaps
	default:
	}
	select {
	case <-s.accepted:
	case <-time.After(30 * time.Second):
		s.b.Fatal("no ACCEPT in 30 s")
	}
	return reconciled, time.Since(start)
}

// From the start of the process, with 10,000 jobs: the leader until it schedules, a
// follower until it has forwarded a request.
func BenchmarkStart(b *testing.B) {
	s := newSite(b)
	var subscribed, launched, forwarded []time.Duration
	for b.Loop() {
		for range 5 {
			var leader *process
			r, l := s.succession(func() time.Time {
				leader = s.start()
				return leader.started
			})
			subscribed, launched = append(subscribed, r), append(launched, l)
			follower := s.start()
			s.answers(follower)
			forwarded = append(forwarded, time.Since(follower.started))
			for _, p := range []*process{follower, leader} {
				p.Process.Signal(syscall.SIGTERM)
				p.Wait()
			}
		}
	}
	reportTimes(b, "leader-reconciled", subscribed)
	reportTimes(b, "leader-launched", launched)
	reportTimes(b, "follower-forwarded", forwarded)
}

// The leader ends, with 10,000 jobs: from the signal until its successor has
// reconciled, and until that has launched a task.
func BenchmarkFailover(b *testing.B) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		b.Run(fmt.Sprint(signal), func(b *testing.B) {
			s := newSite(b)
			var reconciled, launched []time.Duration
			leader := s.start()
			s.answers(leader)
			for b.Loop() {
				for range 5 {
					follower := s.start()
					s.answers(follower)
					r, l := s.succession(func() time.Time {
						leader.Process.Signal(signal)
						return time.Now()
					})
					leader.Wait()
					leader = follower
					reconciled, launched = append(reconciled, r), append(launched, l)
				}
			}
			reportTimes(b, "reconciled", reconciled)
			reportTimes(b, "launched", launched)
		})
	}
}
