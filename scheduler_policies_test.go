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
	from    int64         // of the time that it excludes, in ms; five minutes long
	slow    time.Duration // of a run that is told; 0 for none
	absence time.Duration // without a success that is told; 0 for none
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
	if random.IntN(2) == 0 {
		p.slow = time.Duration(20+random.IntN(100)) * time.Second
		say(`"alertAfter":%d`, int(p.slow.Seconds()))
	}
	if random.IntN(2) == 0 {
		p.absence = time.Duration(100+random.IntN(500)) * time.Second
		say(`"alertWithoutSuccess":%d`, int(p.absence.Seconds()))
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
	for i := range inForm(3, 100) {
		seed := *firstSeed + uint64(i)
		clusters := inMemory
		if i == 0 {
			clusters = onQuickClusters
		}
		scenarioOn(t, clusters, fmt.Sprint("seed ", seed), func(b *bench) { runPolicies(b, seed) })
	}
}

func runPolicies(b *bench, seed uint64) {
	random := rand.New(&lockedSource{source: rand.NewPCG(seed, 15)})
	b.cfg.historyKeep, b.cfg.historySize = 1<<20, 1<<40
	var ends sync.Map // of runs: how often they were told of as ended
	told := &policiesTold{slow: map[string]int{}, absences: map[string][]toldAbsence{}}
	b.cfg.observe = func(e jobEvent) {
		told.note(e)
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
	for _, word := range runOnWords {
		b.post(fmt.Sprintf(`{"name":"on %s","command":"x","parents":["job0"],"retries":0,"runOn":%q}`, word, word))
	}
	again := backfilledJob(random)
	b.post(again)
	backfillAt := random.IntN(40 * 60)
	for second := range 45 * 60 {
		if second == backfillAt {
			_, err := b.s.startBackfill(b.t.Context(), "again", backfillRequest{from: backfillFrom, to: backfillFrom.Add(backfilled * time.Minute)})
			b.do("backfill", err)
		}
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
		told.compare(b, p)
	}
	compareChildren(b, jobs[0])
	compareBackfill(b, again)
}

// backfilled is how many instants are run again, one a minute.
const backfilled = 12

var backfillFrom = time.Date(1999, 12, 31, 20, 0, 0, 0, time.UTC)

// backfilledJob is the document of a job with instants that have passed, which goes on while they run again.
func backfilledJob(random *rand.Rand) string {
	return fmt.Sprintf(`{"name":"again","command":"x","schedule":"R300/1999-12-31T20:00:00Z/PT1M","epsilon":"PT1M","retries":1,"retryDelay":%d,"overlap":%q}`,
		1+random.IntN(30), []string{overlapDelay, overlapSkip, overlapQueue}[random.IntN(3)])
}

// compareBackfill looks whether each instant ran again once, in order, each when all attempts of the one before it were over.
func compareBackfill(b *bench, document string) {
	var instants []int64
	var over int64
	for _, r := range slices.Backward(b.s.view().job("again").history) {
		switch {
		case r.Backfill == 0:
			continue
		case len(instants) == 0 || instants[len(instants)-1] != r.Backfill:
			instants = append(instants, r.Backfill)
			if r.Attempt != 0 || r.Queued < over {
				b.t.Errorf("%s: %s ran again as attempt %d at %s, when the one before it was not over until %s", document, clockOf(r.Backfill), r.Attempt, clockOf(r.Queued), clockOf(over))
			}
		case r.Attempt == 0:
			b.t.Errorf("%s: %s ran again twice", document, clockOf(r.Backfill))
		}
		over = r.Ended
	}
	var want []int64
	for n := range int64(backfilled) {
		want = append(want, backfillFrom.UnixMilli()+n*time.Minute.Milliseconds())
	}
	if !slices.Equal(instants, want) {
		b.t.Errorf("%s: instants %v ran again, want %v", document, instants, want)
	}
}

// compareChildren looks whether each end of the parent that a child waits for has given it one run.
func compareChildren(b *bench, parent policied) {
	want := map[string]int{}
	for _, r := range b.s.view().job(parent.name).history {
		switch {
		case r.State == runFinished:
			want[runOnSuccess]++
		case r.State == runFailed && r.Attempt == parent.retries:
			want[runOnFailure]++
		case r.State == runKilled && r.Started != 0:
			want[runOnEnd]++
		}
	}
	want[runOnEnd] += want[runOnSuccess] + want[runOnFailure]
	for _, word := range runOnWords {
		runs := 0
		for _, r := range b.s.view().job("on " + word).history {
			if r.Kind == kindDependent {
				runs++
			}
		}
		if runs != want[word] {
			b.t.Errorf("%s: a child of each %s ran %d times, and there were %d", parent.document(), word, runs, want[word])
		}
	}
}

// policiesTold is what was told of jobs beside the ends of their runs.
type policiesTold struct {
	mu       sync.Mutex
	slow     map[string]int           // by run
	absences map[string][]toldAbsence // by job
}

type toldAbsence struct {
	kind eventKind // eventAbsent or eventRecovered
	at   time.Time
}

func (p *policiesTold) note(e jobEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case eventSlow:
		p.slow[e.Run.ID]++
	case eventAbsent, eventRecovered:
		p.absences[e.Job.Name] = append(p.absences[e.Job.Name], toldAbsence{e.Kind, e.Time})
	}
}

// compare holds what was told of a job against its history: each slow run once, and each absence of a success once, when it was due.
func (p *policiesTold) compare(b *bench, j policied) {
	b.t.Helper()
	successes := []int64{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()} // the first is when the job was made
	for _, r := range slices.Backward(b.s.view().job(j.name).history) {
		if r.State == runFinished {
			successes = append(successes, r.Ended)
		}
		took := time.Duration(r.Ended-r.Started) * time.Millisecond
		if r.Started == 0 || took == j.slow { // it may have been told, or have ended before that
			continue
		}
		want := 0
		if j.slow > 0 && took > j.slow {
			want = 1
		}
		if got := p.slow[r.ID]; got != want {
			b.t.Errorf("%s: run %s took %v and was told of %d times as slow", j.document(), r.ID, took, got)
		}
	}
	slices.Sort(successes)
	told := p.absences[j.name]
	for n, a := range told {
		if (a.kind == eventAbsent) != (n%2 == 0) {
			b.t.Errorf("%s: told %v", j.document(), told)
			return
		}
	}
	// The last occurrence is at 00:40. After it nothing is to come, and nothing to be told.
	for n, s := range successes {
		due := time.UnixMilli(s).Add(j.absence)
		until := time.UnixMilli(s).Add(24 * time.Hour)
		if n+1 < len(successes) {
			until = time.UnixMilli(successes[n+1])
		}
		expected := j.absence > 0 && due.Before(until) && due.Before(time.Date(2000, 1, 1, 0, 40, 0, 0, time.UTC))
		absent := slices.ContainsFunc(told, func(a toldAbsence) bool { return a.kind == eventAbsent && a.at.Equal(due) })
		if expected && !absent {
			b.t.Errorf("%s: no success from %s to %s, and told %v", j.document(), clockOf(s), until.UTC().Format(time.TimeOnly), told)
		}
	}
	for _, a := range told {
		since, _ := slices.BinarySearch(successes, a.at.UnixMilli())
		if a.kind == eventAbsent && a.at.UnixMilli()-successes[since-1] != j.absence.Milliseconds() {
			b.t.Errorf("%s: absence told at %v, and the last success was at %s", j.document(), a.at, clockOf(successes[since-1]))
		}
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
