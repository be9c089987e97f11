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
	given   map[string]*Run // what runs by hand were given, by id
	ledger  *ledger
	metrics *metrics
}

// A modelJob is a job of which it is known what must become of it.
type modelJob struct {
	start, period int64 // ms, of a scheduled job that is never changed in this
	times         int64 // -1 for forever
	parent        string
	other         string // parent beside that one, or ""
}

// TestModel lets chance do to a scheduler whatever clients, clusters and crashes do, and
// holds what comes of it against what must be true of every run. Time is virtual.
func TestModel(t *testing.T) {
	t.Parallel()
	for i := range inForm(4, 100) {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			clusters := inMemory
			switch { // each has its turn in the short form
			case *long && i == 0:
				clusters = onEachCluster
			case i == 0:
				clusters = asPods
			case i == 1:
				clusters = onQuickClusters
			}
			clusters(t, func(t *testing.T, c testCluster) { runModel(newBenchOn(t, c), seed) })
		})
	}
}

func runModel(b *bench, seed uint64) {
	m := &model{bench: b, random: rand.New(&lockedSource{source: rand.NewPCG(seed, 0)}), jobs: map[string]*modelJob{}, deleted: map[string]bool{},
		given: map[string]*Run{}, ledger: newLedger(), metrics: newMetrics("test")}
	m.cfg.historyKeep, m.cfg.historySize = 1<<20, 1<<40
	if seed%2 == 1 {
		m.cfg.historyKeep, m.cfg.archive = 3, archiveBounds{runs: 1 << 20, size: 1 << 40, age: 1 << 50}
	}
	m.cfg.batchSize, m.cfg.mostByHand, m.cfg.late = modelBatch, modelByHand, time.Minute
	m.cfg.observe = func(e jobEvent) {
		m.metrics.observe(e)
		m.ledger.told(e)
	}
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
	m.clear()
	m.end()
}

func (m *model) chance(percent int) bool { return m.random.IntN(100) < percent }

// commitFate crashes the leader at a commit now and then, before or after it was stored.
func (m *model) commitFate(records []record) error {
	size := 0
	for _, r := range records {
		if kindOf(r.key) != "history" && !onDemand(r.key) { // which the model keeps whole
			size += m.store.size(r)
		}
	}
	if size > modelBatch*3/2 {
		m.t.Errorf("a commit of %d records takes %d bytes", len(records), size)
	}
	if !m.crashes.Load() || !m.chance(4) {
		m.ledger.stored(records, true)
		return nil
	}
	if m.chance(50) {
		m.ledger.stored(records, false)
		m.store.apply(records)
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
	switch n := m.random.IntN(23); {
	case n < 6:
		m.postJob(name, v)
	case n < 9:
		m.startByHand(name, 1)
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
		m.startByHand(name, 2*modelByHand)
	case n == 18:
		m.s.pauseJob(m.t.Context(), name, time.Now().Add(time.Duration(1+m.random.IntN(300))*time.Second))
	case n == 21:
		now := time.Now()
		m.s.startBackfill(m.t.Context(), name, backfillRequest{from: now.Add(-10 * time.Minute), to: now, atOnce: 1 + m.random.IntN(2)})
	case n == 20:
		m.s.putPool(m.t.Context(), "p", m.random.IntN(3)) // also of a job that waits for ever, until calm
	case n == 22:
		m.tryPost(fmt.Sprintf(`{"name":"spread","command":"x","schedule":"H/%d * * * *"%s}`, 5+m.random.IntN(20), m.policy()))
	case n == 19:
		m.s.resumeJob(m.t.Context(), name)
	case n == 17:
		for _, id := range m.cluster.running() {
			m.cluster.tell(id, mesos.TaskStatus{State: mesos.TASK_UNREACHABLE.Enum()})
		}
	}
}

// startByHand starts a job several times, and expects to be refused as soon as too many of its runs wait.
func (m *model) startByHand(name string, times int) {
	for range times {
		m.settle()
		waiting := -1
		if v := m.s.view().job(name); v != nil {
			waiting = 0
			for _, r := range v.runs {
				if r.State == runQueued && r.Kind == kindManual {
					waiting++
				}
			}
		}
		given := &Run{Args: "by hand " + strings.Repeat("x", m.random.IntN(300)), HasArgs: m.chance(50), By: "someone"}
		if m.chance(50) {
			given.Env, given.Why = []EnvVar{{"GIVEN", fmt.Sprint(times)}}, fmt.Sprint("reason ", m.random.IntN(1000))
		}
		id, err := m.s.startRun(m.t.Context(), name, given)
		if err == nil {
			m.given[id] = given
		}
		switch {
		case waiting < 0 && !errors.Is(err, errNotFound) || waiting >= modelByHand && !errors.Is(err, errCrowded):
			if err == nil || !errors.Is(err, errNoLeader) && !strings.Contains(err.Error(), "crash") {
				m.t.Errorf("job %q has %d waiting runs, of at most %d, and was started: %q, %v", name, waiting, modelByHand, id, err)
			}
		case waiting >= 0 && waiting < modelByHand && errors.Is(err, errCrowded):
			m.t.Errorf("job %q has %d waiting runs, of at most %d, and was not started: %v", name, waiting, modelByHand, err)
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
		if others := m.existing(name); m.chance(60) && len(others) > 0 {
			j.parent = others[0]
			if len(others) > 1 && m.chance(50) {
				j.other = others[1]
			}
		}
	}
	more := fmt.Sprintf(`"retries":%d,"disabled":%t,"concurrent":%t,"highPriority":%t,"async":%t,"cpus":%g,"epsilon":"PT%dS"`,
		m.random.IntN(3), m.chance(10), m.chance(30), m.chance(30), m.chance(10), 0.5*float64(1+m.random.IntN(2)), 30+30*m.random.IntN(10)) + m.policy()
	parents := []string{j.parent}
	if j.other != "" {
		parents = append(parents, j.other)
	}
	doc := fmt.Sprintf(`{"name":%q,"command":"x",%s,"parents":%s}`, name, more, mustJSON(parents))
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

// existing lists the jobs that one of that name may have as parents, in an order of chance.
func (m *model) existing(name string) (names []string) {
	for n := range 8 {
		if other := fmt.Sprint("job", n); other < name && m.s.view().job(other) != nil {
			names = append(names, other)
		}
	}
	m.random.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	return names
}

// policy is some of the keys of ours, with values of chance, as members after others.
func (m *model) policy() string {
	members := ""
	for _, member := range []string{
		fmt.Sprintf(`"maxCompletionTime":%d`, 10+m.random.IntN(60)),
		fmt.Sprintf(`"killGrace":%d`, m.random.IntN(20)),
		fmt.Sprintf(`"retryDelay":%d`, m.random.IntN(60)),
		fmt.Sprintf(`"retryBackoff":%d`, 1+m.random.IntN(4)),
		fmt.Sprintf(`"retryDelayMax":%d`, m.random.IntN(120)),
		fmt.Sprintf(`"overlap":%q`, overlaps[m.random.IntN(len(overlaps))]),
		fmt.Sprintf(`"overlap":"allow","maxConcurrent":%d`, 1+m.random.IntN(3)),
		`"pool":"p"`,
		fmt.Sprintf(`"alertAfter":%d`, 1+m.random.IntN(60)),
		fmt.Sprintf(`"alertWithoutSuccess":%d`, 1+m.random.IntN(600)),
		fmt.Sprintf(`"runOn":%q`, runOnWords[m.random.IntN(len(runOnWords))]),
		fmt.Sprintf(`"missed":%q`, missedWords[m.random.IntN(len(missedWords))]),
		fmt.Sprintf(`"exclude":["%s/PT%dM"]`, instant(time.Now().Add(time.Duration(m.random.IntN(1200))*time.Second)), 1+m.random.IntN(10)),
		fmt.Sprintf(`"labels":{"n":"%d"}`, m.random.IntN(3)),
		fmt.Sprintf(`"environmentVariables":[{"name":"S","secret":"s%d"}]`, m.random.IntN(3)),
	} {
		if m.chance(15) {
			members += "," + member
		}
	}
	return members
}

// calm ends the faults and the schedules, and lets everything come to its end.
func (m *model) calm() {
	m.crashes.Store(false)
	m.settle()
	m.cluster.resize(100)
	m.do("pool", m.s.putPool(m.t.Context(), "p", 100))
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

// recorded are the jobs with all runs that are kept of them.
func (m *model) recorded() map[string]*jobView {
	jobs := m.viewed()
	for name, v := range jobs {
		jobs[name] = &jobView{job: v.job, runs: v.runs, history: m.keptRuns(name), problem: v.problem}
	}
	return jobs
}

// compare holds the histories and the archive against what the cluster did and what the schedules say.
func (m *model) compare() {
	recorded, jobs := map[string]int{}, m.recorded()
	for name, v := range jobs {
		for _, r := range v.runs {
			m.t.Errorf("run %q is still %s: %s", r.ID, r.State, r.Reason)
		}
		for _, r := range v.history {
			recorded[r.ID]++
			if recorded[r.ID] > 1 && r.Count == 0 {
				m.t.Errorf("run %q is in the history %d times", r.ID, recorded[r.ID])
			}
			if g := m.given[r.ID]; g != nil && (r.By != g.By || r.Why != g.Why || !slices.Equal(r.Env, g.Env)) {
				m.t.Errorf("run %q was given %v because of %q by %q, and has %v, %q, %q", r.ID, g.Env, g.Why, g.By, r.Env, r.Why, r.By)
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
	m.ledger.compare(m.t, jobs)
	m.compareCauses(jobs)
	m.t.Logf("%d launches, %d runs recorded, %d jobs", len(m.cluster.launchCounts()), len(recorded), len(m.viewed()))
	if left := m.cluster.running(); len(left) > 0 {
		m.t.Errorf("tasks still run: %q", left)
	}
	if left := m.store.keys("T_"); len(left) > 0 {
		m.t.Errorf("records left: %q", left)
	}
}

// clear deletes all jobs. Then everything is as if no run had ever been.
func (m *model) clear() {
	for _, name := range slices.Sorted(maps.Keys(m.viewed())) {
		m.do("delete", m.s.deleteJob(m.t.Context(), name))
	}
	time.Sleep(m.cfg.reconcile + m.cfg.unreachable)
	m.settle()
	if err := m.s.do(m.t.Context(), m.s.checkEmpty); err != nil {
		m.t.Errorf("when all jobs are deleted: %v", err)
	}
	if v := m.s.view(); v.len()+v.queued+v.queuedHigh+v.running+v.disabled != 0 || v.oldestQueued != 0 {
		m.t.Errorf("when all jobs are deleted: the view counts %d jobs, %d disabled, %d waiting runs, %d of them high, %d running, since %d",
			v.len(), v.disabled, v.queued, v.queuedHigh, v.running, v.oldestQueued)
	}
	for state, counted := range m.metrics.runs {
		if n := m.ledger.results[state]; counted.count() != n {
			m.t.Errorf("%d runs are counted as %s, and %d were told of", counted.count(), state, n)
		}
	}
}

// compareOccurrences accounts for every instant of a job's schedule.
func (m *model) compareOccurrences(name string, j *modelJob, v *jobView) {
	accounted := map[int64]int{}
	var wide []*Run // entries of excluded times that others interrupt, a pause for example
	for _, r := range v.history {
		if r.Kind != kindScheduled {
			continue
		}
		first := r.Due
		if r.From != 0 {
			first = r.From
		}
		if r.State == runSkipped && r.Count != 0 && (r.Due-first)/j.period+1 > r.Count {
			wide = append(wide, r)
			continue
		}
		for due := first; due <= r.Due; due += j.period {
			accounted[due]++
		}
	}
	for _, r := range wide {
		left := r.Count
		for due := r.From; due <= r.Due; due += j.period {
			if accounted[due] == 0 {
				accounted[due]++
				left--
			}
		}
		if left != 0 {
			m.t.Errorf("job %q: %d occurrences are skipped from %s to %s, and others account for %d of them", name, r.Count, instant(msTime(r.From)), instant(msTime(r.Due)), left)
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

const (
	modelBatch  = 8 << 10 // bytes that are to go into one commit
	modelByHand = 25      // runs of a job that may wait when somebody has started them
)

// A ledger compares what is reported about runs with what is stored about them.
type ledger struct {
	mu      sync.Mutex
	opened  map[string]bool       // runs that are stored as open, or reported as queued
	untold  map[string]bool       // runs whose end was stored as the leader went down
	ended   map[string][]runState // what was reported about ends
	late    map[string]int        // how often it was told that a run is late
	started map[string]int
	results map[runState]int64
	posted  map[string]*Job // the jobs of runs as they were when these were told of as queued
}

func newLedger() *ledger {
	return &ledger{opened: map[string]bool{}, untold: map[string]bool{}, ended: map[string][]runState{},
		late: map[string]int{}, started: map[string]int{}, results: map[runState]int64{}, posted: map[string]*Job{}}
}

// stored notes a commit, and whether the leader has learnt that it was one.
func (l *ledger) stored(records []record, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		encoded, ok := strings.CutPrefix(r.key, "go/run/")
		if !ok {
			continue
		}
		id, err := parseRecordName(encoded)
		if err != nil {
			panic(err)
		}
		l.opened[id] = true
		if r.value == nil && !known {
			l.untold[id] = true
		}
	}
}

// told notes an event.
func (l *ledger) told(e jobEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case eventQueued:
		l.opened[e.Run.ID], l.posted[e.Run.ID] = true, e.Job
	case eventStarted:
		l.started[e.Run.ID]++
	case eventLate:
		l.late[e.Run.ID]++
	case eventFinished, eventFailed, eventMissed, eventSkipped:
		l.results[e.Run.State] += max(1, e.Run.Count)
		if e.Run.Count == 0 { // else there never was a run
			l.ended[e.Run.ID] = append(l.ended[e.Run.ID], e.Run.State)
		}
	}
}

// compare expects each run that was opened to be reported as ended, once, as in the history.
// An end that was stored as the leader went down may go untold.
func (l *ledger) compare(t testing.TB, jobs map[string]*jobView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	history := map[string]runState{}
	for _, v := range jobs {
		for _, r := range v.history {
			if r.Count == 0 {
				history[r.ID] = r.State
			}
		}
	}
	for id := range l.opened {
		ends := l.ended[id]
		if len(ends) > 1 || len(ends) == 0 && !l.untold[id] {
			t.Errorf("run %q was told of as ended %d times: %q", id, len(ends), ends)
		}
		if state, ok := history[id]; ok && len(ends) > 0 && ends[0] != state {
			t.Errorf("run %q was reported as %s, and is %s", id, ends[0], state)
		}
	}
	for id, ends := range l.ended {
		if !l.opened[id] {
			t.Errorf("run %q, which never was, was told of as %q", id, ends)
		}
	}
	for what, told := range map[string]map[string]int{"late": l.late, "started": l.started} {
		for id, n := range told {
			if n > 1 {
				t.Errorf("run %q was told of as %s %d times", id, what, n)
			}
		}
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
