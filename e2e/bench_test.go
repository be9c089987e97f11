package e2e

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	"github.com/chronos-go/chronos/internal/zktest"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// The size of the program, stripped.
func BenchmarkBinary(b *testing.B) {
	size := 0.0
	for b.Loop() {
		info, err := os.Stat(program())
		if err != nil {
			b.Fatal(err)
		}
		size = float64(info.Size()) / (1 << 20)
	}
	b.ReportMetric(size, "MiB")
	b.ReportMetric(0, "ns/op")
}

// A site is a ZooKeeper with many jobs, one of them due every second, and a Mesos with agents
// for 16,000 tasks.
type site struct {
	b        *testing.B
	jobs     int
	args     []string // of an instance there
	mesos    *mesostest.Master
	accepted chan struct{} // has an element after an ACCEPT
}

func newSite(b *testing.B, jobs int) *site {
	b.Helper()
	s := &site{b: b, jobs: jobs, mesos: mesostest.NewMaster(b, mesostest.Options{}), accepted: make(chan struct{}, 1)}
	for range 100 {
		s.mesos.AddAgent(mesostest.AgentSpec{CPUs: 16, Mem: 64 << 10, Disk: 1 << 20})
	}
	s.mesos.AutoFinish(100 * time.Millisecond)
	s.mesos.SetFaults(mesostest.Faults{Accept: func(*sched.Call_Accept) mesostest.CallFault {
		select {
		case s.accepted <- struct{}{}:
		default:
		}
		return mesostest.NoFault
	}})
	hosts, root := zktest.Shared(b)
	s.args = []string{"--master", s.mesos.URL(), "--zk_hosts", hosts[0], "--zk_path", root, "--zk_timeout", "2000", "--log_level", "error"}
	v := s.start()
	s.answers(v)
	s.fill(v)
	v.terminate(b)
	return s
}

// fill creates the jobs.
func (s *site) fill(v *instance) {
	s.b.Helper()
	todo := make(chan int)
	var posting sync.WaitGroup
	for range 32 {
		posting.Go(func() {
			for i := range todo {
				start, period := time.Now().Add(48*time.Hour), "PT1H"
				if i == 0 {
					start, period = time.Now().Add(time.Second), "PT1S"
				}
				job := fmt.Sprintf(`{"name":"job-%06d","command":"/usr/local/bin/backup --target %d --quiet","owner":"ops@example.com",`+
					`"description":"copies what has changed since yesterday","cpus":0.1,"mem":128,"schedule":"R/%s/%s"}`, i, i, isoInstant(start.UnixMilli()), period)
				r := request{method: "POST", path: "/scheduler/iso8601", body: job}
				if status, err := r.send(plainClient, v); err != nil || status != 204 {
					s.b.Errorf("create job %d = %d, %v, want 204", i, status, err)
				}
			}
		})
	}
	for i := range s.jobs {
		todo <- i
	}
	close(todo)
	posting.Wait()
}

// start starts an instance, and does not wait for it.
func (s *site) start() *instance {
	s.b.Helper()
	v := newInstance(s.b, "log", s.args...)
	v.start(s.b)
	return v
}

// answers returns once a request that only a leader can answer is answered.
func (s *site) answers(v *instance) {
	s.b.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if status, _, err := v.call("GET", "/scheduler/jobs/search?limit=1", ""); err == nil && status == 200 {
			return
		}
		if time.Now().After(deadline) {
			s.b.Fatalf("no answer in %s; the log ends: %s", patience, v.lastLog())
		}
	}
}

// succession returns how long it takes, from an instant, until a new leader has asked
// Mesos about its tasks, and until it has launched one.
func (s *site) succession(begin func()) (reconciled, launched time.Duration) {
	s.b.Helper()
	asked := len(s.mesos.Received(sched.Call_RECONCILE))
	start := time.Now()
	begin()
	s.mesos.Await("a reconciliation", func() bool { return len(s.mesos.Received(sched.Call_RECONCILE)) > asked })
	reconciled = time.Since(start)
	select {
	case <-s.accepted: // of the old leader, perhaps
	default:
	}
	select {
	case <-s.accepted:
	case <-time.After(patience):
		s.b.Fatalf("no ACCEPT in %s", patience)
	}
	return reconciled, time.Since(start)
}

// From the start of the process, with 10,000 jobs: the leader until it schedules, a
// follower until it has forwarded a request.
func BenchmarkStart(b *testing.B) {
	s := newSite(b, 10_000)
	var subscribed, launched, forwarded []time.Duration
	for b.Loop() {
		for range 5 {
			var leader *instance
			r, l := s.succession(func() { leader = s.start() })
			subscribed, launched = append(subscribed, r), append(launched, l)
			started := time.Now()
			follower := s.start()
			s.answers(follower)
			forwarded = append(forwarded, time.Since(started))
			follower.terminate(b)
			leader.terminate(b)
		}
	}
	reportTimes(b, "leader-reconciled", subscribed)
	reportTimes(b, "leader-launched", launched)
	reportTimes(b, "follower-forwarded", forwarded)
}

// The leader ends: from the signal until its successor, which has had time to read the state, has
// reconciled, and until that has launched a task.
func BenchmarkFailover(b *testing.B) {
	for _, jobs := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint("jobs=", jobs), func(b *testing.B) {
			s := newSite(b, jobs)
			leader := s.start()
			s.answers(leader)
			for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				b.Run(fmt.Sprint(signal), func(b *testing.B) {
					var reconciled, launched []time.Duration
					for b.Loop() {
						for range 5 {
							follower := s.start()
							s.answers(follower)
							time.Sleep(time.Second + time.Duration(jobs)*300*time.Microsecond)
							r, l := s.succession(func() { leader.signal(signal) })
							leader.end(signal)
							leader = follower
							reconciled, launched = append(reconciled, r), append(launched, l)
						}
					}
					reportTimes(b, "reconciled", reconciled)
					reportTimes(b, "launched", launched)
				})
			}
		})
	}
}

// reportTimes reports the distribution of times in ms, as <name>-p50 and so on.
func reportTimes(b *testing.B, name string, times []time.Duration) {
	slices.Sort(times)
	for _, part := range []float64{0.5, 0.99} {
		b.ReportMetric(float64(rank(times, part).Microseconds())/1000, fmt.Sprintf("%s-p%g-ms", name, part*100))
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}
