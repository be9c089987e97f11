package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
)

// A torture is a scheduler on the double of a cluster, and everything that goes wrong with them. What the cluster
// has for it is up to the torture that embeds this one.
type torture struct {
	t       *testing.T
	mu      sync.Mutex // of random and noted, which the double uses too
	random  *rand.Rand
	noted   map[string]int // what went wrong, by kind, beside what the double counts
	store   *memStore
	cfg     schedulerConfig
	log     *slog.Logger
	life    *lifeline
	leader  *doomedLeader
	leaders int
	kinds   map[string][]int // of what goes wrong, by what it goes wrong with: those that are still to come in this round
	calming atomic.Bool

	needs    string                                 // what each job says of its size, as members before others
	lifeline func() *lifeline                       // of one more leader to the double
	begin    func(life *lifeline) (k *doomedLeader) // a term
}

func (o *torture) set(t *testing.T) {
	o.t, o.random, o.noted, o.kinds = t, rand.New(rand.NewPCG(*firstSeed, 0)), map[string]int{}, map[string][]int{}
	o.store, o.cfg, o.log = newMemStore(), testConfig(), newLogTap(t)
	o.cfg.historyKeep, o.cfg.historySize = 1<<20, 1<<30
	o.store.records[adoptKey] = []byte("0")
}

func (o *torture) chance(percent int) bool { return o.pick(100) < percent }

func (o *torture) pick(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.random.IntN(n)
}

// note counts something that went wrong.
func (o *torture) note(kind string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.noted[kind]++
}

// nextKind picks one of n kinds of what goes wrong with something. Each has its turn before one comes again.
func (o *torture) nextKind(with string, n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.kinds[with]) == 0 {
		o.kinds[with] = o.random.Perm(n)
	}
	kind := o.kinds[with][0]
	o.kinds[with] = o.kinds[with][1:]
	return kind
}

// lead begins a term: a new process with nothing but the store, which breaks now
// and then, before or after it has stored something.
func (o *torture) lead() {
	o.leaders++
	life := o.lifeline()
	o.life = life
	life.onCommit = func(_ []record, applied bool) {
		if !o.calming.Load() && o.pick(300) == 0 {
			o.note(fmt.Sprintf("commit broken, stored %v", applied))
			life.cut()
		}
	}
	o.leader = o.begin(life)
}

// crash kills the leader, if it is not dead already, and makes another one.
func (o *torture) crash() {
	o.life.cut()
	o.leader.die()
	o.lead()
}

// jobs are what the tortured scheduler runs: often, with retries.
func (o *torture) jobs(n int) {
	for i := range n {
		o.job(fmt.Sprintf("scheduled%d", i), fmt.Sprintf(`"schedule":"R/2000-01-01T00:00:%02dZ/PT40S"`, i))
	}
	o.job("child", `"parents":["scheduled0","scheduled1"]`)
}

func (o *torture) job(name, more string) {
	doc := `{"name":"` + name + `","command":"true",` + o.needs + `"retries":2,"epsilon":"PT10M",` + more + `}`
	j, err := decodeJob([]byte(doc), o.cfg.defaults, dialect2, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	for {
		err := o.leader.putJob(o.t.Context(), name, func(*Job) (*Job, error) { return j, nil })
		if err == nil {
			return
		}
		o.t.Logf("put job %q: %v; again with the next leader", name, err)
		o.crash()
	}
}

// killRuns kills the runs of one of n jobs.
func (o *torture) killRuns(n int) {
	o.note("runs killed")
	name := fmt.Sprintf("scheduled%d", o.pick(n))
	if err := o.leader.killJob(o.t.Context(), name); err != nil {
		o.t.Logf("kill runs of %q: %v", name, err)
	}
}

// suffer has accidents happen, each within some time, for as long as there are leaders to kill.
func (o *torture) suffer(leaders int, within time.Duration, accident func()) {
	for range leaders {
		for range 3 {
			time.Sleep(time.Duration(o.pick(int(within.Milliseconds()))) * time.Millisecond)
			accident()
			if o.life.gone() {
				o.crash()
			}
		}
		o.crash()
	}
}

// calm lets everything under way come to its end, once no more accidents happen.
func (o *torture) calm(restore func()) {
	o.calming.Store(true)
	if o.life.gone() {
		o.crash()
	}
	restore()
	for j := range o.leader.view().all() {
		err := o.leader.putJob(o.t.Context(), j.job.Name, func(old *Job) (*Job, error) {
			disabled := *old
			disabled.Disabled = true
			return &disabled, nil
		})
		if err != nil {
			o.t.Errorf("disable %q: %v", j.job.Name, err)
		}
	}
	time.Sleep(2 * time.Hour)
	synctest.Wait()
}

// eachEnded yields the runs in the history, each once, and returns how many ended how, and which there are.
func (o *torture) eachEnded(compare func(r *Run)) (counts map[runState]int, recorded map[string]bool) {
	counts, recorded = map[runState]int{}, map[string]bool{}
	for j := range o.leader.view().all() {
		for _, r := range j.runs {
			o.t.Errorf("run %q is still %s: %s", r.ID, r.State, r.Reason)
		}
		for _, r := range j.history {
			counts[r.State]++
			if recorded[r.ID] && r.State != runMissed && r.State != runSkipped {
				o.t.Errorf("run %q is in the history twice", r.ID)
			}
			recorded[r.ID] = true
			compare(r)
		}
	}
	return counts, recorded
}

// compareSpans holds the tasks of a job, which is not concurrent, against each other: none starts
// before the one before has ended, wherever it runs.
func (o *torture) compareSpans(spans map[string]mesostest.Span) {
	type task struct {
		id string
		mesostest.Span
	}
	jobs := make(map[string][]task)
	for id, span := range spans {
		_, _, name, _, _ := parseRunID(id)
		jobs[name] = append(jobs[name], task{id, span})
	}
	for name, tasks := range jobs {
		slices.SortFunc(tasks, func(a, b task) int { return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End)) }) // one may end as it starts
		for i := range tasks[1:] {
			if a, b := tasks[i], tasks[i+1]; a.End.IsZero() || b.Start.Before(a.End) {
				o.t.Errorf("job %q: %s ran from %v to %v, while %s ran from %v to %v", name, b.id, b.Start, b.End, a.id, a.Start, a.End)
			}
		}
	}
}

// checkAccidents wants everything that a test is about to have happened, and to have been
// noticed by whom it concerns.
func (o *torture) checkAccidents(happened map[string]int, want []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(happened, o.noted)
	o.t.Logf("accidents: %v", happened)
	for _, kind := range want {
		if happened[kind] == 0 {
			o.t.Errorf("%s: never in this run, so it has tested less than it says", kind)
		}
	}
}
