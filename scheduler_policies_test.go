package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A policied is a job with policies of chance, and what must be true of its runs.
type policied struct {
	name    string
	members []string
	places  int // runs at once, 0 for any number
	retries int
	pauses  []time.Duration // before the attempts
	pooled  bool
	from    int64 // of the time that it excludes, in ms; five minutes long
}

// policiedJob makes one.
func policiedJob(name string, random *rand.Rand) policied {
	p := policied{name: name, retries: random.IntN(4)}
	say := func(format string, args ...any) { p.members = append(p.members, fmt.Sprintf(format, args...)) }
	say(`"retries":%d`, p.retries)
	p.places = 1
	switch how := overlaps[random.IntN(len(overlaps))]; how {
	case overlapAllow:
		p.places = 1 + random.IntN(3)
		say(`"overlap":"allow","maxConcurrent":%d`, p.places)
	default:
		say(`"overlap":%q`, how)
	}
	delay, factor, most := 1+random.IntN(60), 1+random.IntN(3), 30+random.IntN(100)
	say(`"retryDelay":%d,"retryBackoff":%d,"retryDelayMax":%d`, delay, factor, most)
	pause := float64(delay)
	for range p.retries {
		p.pauses = append(p.pauses, time.Duration(min(pause, float64(most)))*time.Second)
		pause *= float64(factor)
	}
	if random.IntN(3) == 0 {
		say(`"maxCompletionTime":%d`, 20+random.IntN(60))
	}
	if p.pooled = random.IntN(2) == 0; p.pooled {
		say(`"pool":"p"`)
	}
	if random.IntN(2) == 0 {
		say(`"missed":%q`, missedWords[random.IntN(len(missedWords))])
	}
	if random.IntN(2) == 0 {
		from := time.Date(2000, 1, 1, 0, random.IntN(40), 30, 0, time.UTC)
		p.from = from.UnixMilli()
		say(`"exclude":["%s/PT5M"]`, instant(from))
	}
	return p
}

func (p policied) document() string {
	return fmt.Sprintf(`{"name":%q,"command":"x","schedule":"R40/2000-01-01T00:01:00Z/PT1M","epsilon":"PT2M",%s}`, p.name, strings.Join(p.members, ","))
}

// TestPoliciesHold gives jobs policies of chance and their tasks ends of chance, with leaders that come and go, and looks
// each second at what is under way.
func TestPoliciesHold(t *testing.T) {
	t.Parallel()
	for i := range inForm(8, 100) {
		seed := *firstSeed + uint64(i)
		scenario(t, fmt.Sprint("seed ", seed), func(b *bench) { runPolicies(b, seed) })
	}
}

func runPolicies(b *bench, seed uint64) {
	random := rand.New(&lockedSource{source: rand.NewPCG(seed, 15)})
	b.cfg.historyKeep, b.cfg.historySize = 1<<20, 1<<40
	var ends sync.Map // of runs: how often they were told of as ended
	b.cfg.observe = func(e jobEvent) {
		switch e.Kind {
		case eventFinished, eventFailed, eventMissed, eventSkipped:
			if e.Run.Count == 0 {
				if _, again := ends.LoadOrStore(e.Run.ID, true); again {
					b.t.Errorf("run %q was told of as ended twice", e.Run.ID)
				}
			}
		}
	}
	b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
		state := mesos.TASK_FINISHED
		if random.IntN(2) == 0 {
			state = mesos.TASK_FAILED
		}
		return time.Duration(random.IntN(150)) * time.Second, mesos.TaskStatus{State: state.Enum()}
	})
	b.cluster.resize(1e6)
	b.start()
	slots := 1 + random.IntN(3)
	b.do("pool", b.s.putPool(b.t.Context(), "p", slots))
	var jobs []policied
	for n := range 4 {
		p := policiedJob(fmt.Sprint("job", n), random)
		jobs = append(jobs, p)
		b.post(p.document())
	}
	for range 45 * 60 {
		b.wait(time.Second)
		if random.IntN(200) == 0 {
			b.restart()
		}
		under := map[string]int{}
		for _, id := range b.cluster.running() {
			_, _, name, _, _ := parseRunID(id)
			under[name]++
		}
		inPool := 0
		for _, p := range jobs {
			if p.pooled {
				inPool += under[p.name]
			}
			if p.places > 0 && under[p.name] > p.places {
				b.t.Fatalf("%d runs of %s are under way at once", under[p.name], p.document())
			}
		}
		if inPool > slots {
			b.t.Fatalf("%d runs of a pool of %d slots are under way at once", inPool, slots)
		}
	}
	b.wait(6 * time.Hour)
	for _, p := range jobs {
		p.compare(b)
	}
}

// compare holds the job's history against its policy.
func (p policied) compare(b *bench) {
	v := b.s.view().job(p.name)
	if len(v.runs) > 0 {
		b.t.Errorf("%s has open runs: %+v", p.document(), v.runs[0])
	}
	occurrences := map[int64]int{}
	var failures []*Run // by their end
	for _, r := range slices.Backward(v.history) {
		switch {
		case r.Kind == kindScheduled && r.Count == 0:
			occurrences[r.Due]++
		case r.Kind == kindScheduled:
			for due := r.From; due <= r.Due; due += time.Minute.Milliseconds() {
				occurrences[due]++
			}
		}
		if r.Kind == kindScheduled && r.Started != 0 && p.from <= r.Due && r.Due < p.from+5*time.Minute.Milliseconds() {
			b.t.Errorf("%s: the occurrence of %s is excluded and ran", p.document(), clockOf(r.Due))
		}
		if r.Kind == kindRetry {
			pause := p.pauses[r.Attempt-1].Milliseconds()
			follows := func(f *Run) bool { return f.Attempt == r.Attempt-1 && f.Ended+pause == r.Due }
			if !slices.ContainsFunc(failures, follows) {
				b.t.Errorf("%s: attempt %d of %s follows no failure %d ms before", p.document(), r.Attempt, clockOf(r.Due), pause)
			}
		}
		if r.State == runFailed {
			failures = append(failures, r)
		}
	}
	for n := range int64(40) {
		due := time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC).UnixMilli() + n*time.Minute.Milliseconds()
		if occurrences[due] != 1 {
			b.t.Errorf("%s: the occurrence of %s has %d ends", p.document(), clockOf(due), occurrences[due])
		}
	}
}
