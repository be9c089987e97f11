package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A model is a scenario of chance, and what is known of its jobs.
type model struct {
	*bench
	random  *rand.Rand
	crashes atomic.Bool
	jobs    map[string]*modelJob
	deleted map[string]bool // names that were ever deleted
}

// A modelJob is a job of which it is known what must become of it.
type modelJob struct {
	start, period int64 // ms, of a scheduled job that is never changed in this
	times         int64 // -1 for ever
	parent        string
}

// TestModel lets chance do to a scheduler whatever clients, clusters and crashes do, and
// holds what comes of it against what must be true of every run. Time is virtual.
func TestModel(t *testing.T) {
	t.Parallel()
	for i := range inForm(6, 100) {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			onEachCluster(t, func(t *testing.T, c testCluster) { runModel(newBenchOn(t, c), seed) })
		})
	}
}

func runModel(b *bench, seed uint64) {
	m := &model{bench: b, random: rand.New(&lockedSource{source: rand.NewPCG(seed, 0)}), jobs: map[string]*modelJob{}, deleted: map[string]bool{}}
	m.cfg.historyKeep, m.cfg.historySize = 1<<20, 1<<40
	m.cfg.observe = func(jobEvent) {}
	m.cfg.disableAfter = 0
	m.store.before = m.commitFate
	m.cluster.resize(1.5)
	m.cluster.behave(m.outcome)
	m.cluster.intercept(m.callFate)
	m.cluster.disturb(m.updateFate)
	m.start()
	for range inForm(60, 300) {
		m.step()
		time.Sleep(time.Duration(m.random.IntN(40_000)+1) * time.Millisecond)
		m.cluster.resend()
		m.settle()
	}
	m.calm()
	m.compare()
	m.end()
}

func (m *model) chance(percent int) bool { return m.random.IntN(100) < percent }

// commitFate crashes the leader at a commit now and then, before or after it was stored.
func (m *model) commitFate(records []record) error {
	if !m.crashes.Load() || !m.chance(4) {
		return nil
	}
	if m.chance(50) {
		m.store.mu.Lock()
		defer m.store.mu.Unlock()
		for _, r := range records {
			if r.value == nil {
				delete(m.store.records, r.key)
			} else {
				m.store.records[r.key] = r.value
			}
		}
	}
	return errors.New("crash")
}

// outcome is how a task ends.
func (m *model) outcome(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
	state := mesos.TASK_FINISHED
	if m.crashes.Load() && m.chance(20) {
		state = mesos.TASK_FAILED
	}
	return time.Duration(m.random.IntN(60_000)) * time.Millisecond, mesos.TaskStatus{State: state.Enum()}
}

// callFate loses calls, and leaves it open whether they were taken.
func (m *model) callFate(call *sched.Call) (bool, error) {
	if !m.crashes.Load() || !m.chance(10) {
		return true, nil
	}
	switch m.random.IntN(3) {
	case 0:
		return call.Type != sched.Call_ACCEPT, errNotSent
	case 1:
		return false, errors.New("lost on the way")
	}
	return true, errors.New("its answer was lost")
}

// updateFate loses, doubles and delays updates. The master's own answers come in the order of the calls.
func (m *model) updateFate(u *mesos.TaskStatus) (int, time.Duration) {
	if !m.crashes.Load() || !m.chance(20) {
		return 1, 0
	}
	late := time.Duration(0)
	if u.Reason == nil {
		late = time.Duration(m.random.IntN(20_000)) * time.Millisecond
	}
	return m.random.IntN(3), late
}

// settle comes to rest. A term that has ended is followed by the next one.
func (m *model) settle() {
	m.t.Helper()
	for {
		synctest.Wait()
		select {
		case <-m.done:
			m.start()
			continue
		default:
		}
		err := m.s.do(m.t.Context(), func() error { return m.s.check() })
		synctest.Wait()
		if err == nil {
			break
		}
		if !errors.Is(err, errNoLeader) && !strings.Contains(err.Error(), "crash") {
			m.t.Fatalf("state: %v", err)
		}
	}
	if err := m.s.view().check(); err != nil {
		m.t.Fatal(err)
	}
	for id, n := range m.cluster.launchCounts() {
		if n > 1 {
			m.t.Fatalf("run %q was launched %d times", id, n)
		}
	}
}

// step does one thing at random.
func (m *model) step() {
	m.crashes.Store(true)
	name := fmt.Sprint("job", m.random.IntN(8))
	v := m.s.view().job(name)
	switch n := m.random.IntN(20); {
	case n < 6:
		m.postJob(name, v)
	case n < 9:
		m.s.runJob(m.t.Context(), name, "by hand", m.chance(50))
	case n == 9:
		m.s.killJob(m.t.Context(), name)
	case n == 10:
		m.s.deleteJob(m.t.Context(), name)
		m.forget(name)
	case n == 11:
		m.s.purge(m.t.Context())
	case n == 12 && v != nil && len(v.runs) > 0:
		m.s.finishTask(m.t.Context(), v.runs[0].ID, m.random.IntN(2))
	case n == 13:
		m.stop()
		<-m.done
		time.Sleep(time.Duration(m.random.IntN(100)) * time.Second)
		m.start()
	case n == 14:
		m.cluster.drop(time.Duration(m.random.IntN(20)) * time.Second)
	case n == 15:
		m.cluster.resize(float64(m.random.IntN(3)))
	case n == 16:
		for _, id := range m.cluster.running() {
			m.cluster.tell(id, mesos.TaskStatus{State: mesos.TASK_UNREACHABLE.Enum()})
		}
	}
}

// forget notes that a job is deleted, with what it handed to its children.
func (m *model) forget(name string) {
	m.deleted[name] = true
	delete(m.jobs, name)
}

// postJob creates a job, or posts it again with the same schedule or parents and other fields.
func (m *model) postJob(name string, v *jobView) {
	j := m.jobs[name]
	if v == nil || j == nil {
		j = &modelJob{period: int64(20+m.random.IntN(100)) * 1000, times: -1}
		j.start = time.Now().UnixMilli() - j.period*int64(m.random.IntN(4)) + int64(m.random.IntN(60_000))
		if m.chance(30) {
			j.times = int64(m.random.IntN(8))
		}
		if other := fmt.Sprint("job", m.random.IntN(8)); m.chance(40) && other < name {
			j.parent = other
		}
	}
	more := fmt.Sprintf(`"retries":%d,"concurrent":%t,"highPriority":%t,"async":%t,"cpus":%g,"epsilon":"PT%dS"`,
		m.random.IntN(3), m.chance(30), m.chance(30), m.chance(10), 0.5*float64(1+m.random.IntN(2)), 30+30*m.random.IntN(10))
	doc := fmt.Sprintf(`{"name":%q,"command":"x",%s,"parents":[%q]}`, name, more, j.parent)
	if j.parent == "" {
		n := ""
		if j.times >= 0 {
			n = fmt.Sprint(j.times)
		}
		doc = fmt.Sprintf(`{"name":%q,"command":"x",%s,"schedule":"R%s/%s/PT%dS"}`, name, more, n, instant(msTime(j.start)), j.period/1000)
	}
	known := m.jobs[name] == j
	err := m.tryPost(doc)
	m.settle()
	switch now := m.s.view().job(name); {
	case err == nil && now == nil:
		m.t.Fatalf("job %q was stored and is gone", name)
	case err == nil && v == nil && !known:
		m.jobs[name] = j
	}
}

// calm ends the faults and the schedules, and lets everything come to its end.
func (m *model) calm() {
	m.crashes.Store(false)
	m.settle()
	m.cluster.resize(100)
	for n := range 8 { // half an hour, longer than anything waits for an agent
		time.Sleep(time.Duration(n) * time.Minute)
		m.callBack()
	}
	for _, name := range slices.Sorted(maps.Keys(m.viewed())) {
		err := m.s.putJob(m.t.Context(), name, func(old *Job) (*Job, error) {
			j := *old
			j.Disabled = true
			return &j, nil
		})
		m.do("disable", err)
	}
	time.Sleep(time.Hour)
	m.callBack()
}

// callBack ends what waits for a callback.
func (m *model) callBack() {
	m.cluster.resend()
	m.settle()
	for _, v := range m.viewed() {
		for _, r := range v.runs {
			if r.State == runAwaiting {
				m.do("finish", m.s.finishTask(m.t.Context(), r.ID, 0))
			}
		}
	}
	m.settle()
}

func (m *model) viewed() map[string]*jobView {
	jobs := map[string]*jobView{}
	for j := range m.s.view().all() {
		jobs[j.job.Name] = j
	}
	return jobs
}

// compare holds the histories against what the cluster did and what the schedules say.
func (m *model) compare() {
	recorded := map[string]int{}
	for name, v := range m.viewed() {
		for _, r := range v.runs {
			m.t.Errorf("run %q is still %s: %s", r.ID, r.State, r.Reason)
		}
		for _, r := range v.history {
			recorded[r.ID]++
			if recorded[r.ID] > 1 && r.State != runMissed {
				m.t.Errorf("run %q is in the history %d times", r.ID, recorded[r.ID])
			}
			n := m.cluster.launchCounts()[r.ID]
			if n > 0 && (r.State == runMissed || r.State == runSkipped) {
				m.t.Errorf("run %q is %s but was launched", r.ID, r.State)
			}
		}
		if j := m.jobs[name]; j != nil && !m.deleted[name] && j.parent == "" && !v.job.Dependent && v.problem == "" {
			m.compareOccurrences(name, j, v)
		}
	}
	for id := range m.cluster.launchCounts() {
		if _, _, name, _, _ := parseRunID(id); recorded[id] == 0 && !m.deleted[name] {
			m.t.Errorf("run %q was launched and is not in the history", id)
		}
	}
	m.t.Logf("%d launches, %d runs recorded, %d jobs", len(m.cluster.launchCounts()), len(recorded), len(m.viewed()))
	if left := m.cluster.running(); len(left) > 0 {
		m.t.Errorf("tasks still run: %q", left)
	}
	if left := m.store.keys("T_"); len(left) > 0 {
		m.t.Errorf("records left: %q", left)
	}
}

// compareOccurrences accounts for every instant of a job's schedule.
func (m *model) compareOccurrences(name string, j *modelJob, v *jobView) {
	accounted := map[int64]int{}
	for _, r := range v.history {
		if r.Kind != kindScheduled {
			continue
		}
		first := r.Due
		if r.State == runMissed && r.From != 0 {
			first = r.From
		}
		for due := first; due <= r.Due; due += j.period {
			accounted[due]++
		}
	}
	var state jobState
	if err := json.Unmarshal([]byte(m.store.value("go/job/"+name)), &state); err != nil {
		m.t.Fatal(err)
	}
	for due, n := j.start, int64(0); due <= state.LastScheduled && (j.times < 0 || n < j.times); due, n = due+j.period, n+1 {
		if accounted[due] != 1 {
			m.t.Errorf("occurrence %s of %q is accounted for %d times", instant(msTime(due)), name, accounted[due])
		}
		delete(accounted, due)
	}
	for due := range accounted {
		m.t.Errorf("job %q has a run of %s, which is no instant of its schedule", name, instant(msTime(due)))
	}
}

// A lockedSource serves the goroutines of a term and of the test at once. Which of them gets which
// number is not fixed by the seed, but what a run did is all the same printed with it.
type lockedSource struct {
	mu     sync.Mutex
	source *rand.PCG
}

// Uint64 implements rand.Source.
func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source.Uint64()
}
