package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A timeline is what was done when.
type timeline struct {
	mu       sync.Mutex
	events   []stormEvent
	majority bool // of the servers serves
	instance bool // at least one is left alone
}

type stormEvent struct {
	at      int64 // ms
	fault   bool  // a new one
	working bool  // from now on: a majority of servers, and an instance that reaches one
	what    string
	leader  bool // it was done to the leader
}

// add appends an event, and what it changes of the state.
func (l *timeline) add(e stormEvent, change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	e.at, e.working = time.Now().UnixMilli(), l.majority && l.instance
	l.events = append(l.events, e)
}

// quiet reports whether there is a span within the window in which everything worked and no fault began.
func (l *timeline) quiet(from, to int64) bool {
	begin, working := from, true
	for _, e := range append(slices.Clone(l.events), stormEvent{at: to, working: true}) {
		at := min(e.at, to)
		if working && at-begin >= tortureSpan.Milliseconds() {
			return true
		}
		if e.fault || !working || !e.working {
			begin = max(from, e.at)
		}
		working = e.working
		if e.at > to {
			break
		}
	}
	return false
}

// A fault is something that is done to an instance, or a server, and undone.
type fault struct {
	what     string
	weight   int
	ofServer bool
	do, undo func(t *testing.T, i int)
}

// A storm does faults to a threesome and keeps record of them.
type storm struct {
	*threesome
	faults   []fault
	timeline timeline
	isDown   [2][]bool // instances that do not work or are cut off, servers
}

func newStorm(c *threesome) *storm {
	s := &storm{threesome: c, timeline: timeline{majority: true, instance: true}, isDown: [2][]bool{make([]bool, 3), make([]bool, 3)}}
	links := func(state linkState) func(*testing.T, int) {
		return func(_ *testing.T, i int) {
			for _, k := range c.links[i] {
				k.set(state)
			}
		}
	}
	start := func(t *testing.T, i int) { c.instances[i].start(t) }
	signal := func(sig syscall.Signal) func(*testing.T, int) {
		return func(_ *testing.T, i int) { c.instances[i].signal(sig) }
	}
	s.faults = []fault{
		{what: "kill -9", weight: 4, undo: start, do: func(t *testing.T, i int) {
			if early, err := c.instances[i].end(syscall.SIGKILL); early {
				t.Errorf("instance %d ended by itself: %v", i, err)
			}
		}},
		{what: "SIGTERM", weight: 1, undo: start, do: func(t *testing.T, i int) {
			if early, err := c.instances[i].end(syscall.SIGTERM); early || err != nil {
				t.Errorf("instance %d ended early: %t, with %v", i, early, err)
			}
		}},
		{what: "SIGSTOP", weight: 4, do: signal(syscall.SIGSTOP), undo: signal(syscall.SIGCONT)},
		{what: "network cut", weight: 2, do: links(linkCut), undo: links(linkOpen)},
		{what: "network silent", weight: 2, do: links(linkSilent), undo: links(linkOpen)},
		{what: "nothing comes back", weight: 1, do: links(linkDeaf), undo: links(linkOpen)},
		{what: "server killed", weight: 2, ofServer: true,
			do: func(_ *testing.T, i int) { c.servers[i].kill() }, undo: func(t *testing.T, i int) { c.servers[i].restart(t) }},
		{what: "server stopped", weight: 1, ofServer: true,
			do: func(_ *testing.T, i int) { c.servers[i].stop() }, undo: func(_ *testing.T, i int) { c.servers[i].cont() }},
	}
	return s
}

// pick returns a fault by weight.
func (s *storm) pick() fault {
	sum := 0
	for _, f := range s.faults {
		sum += f.weight
	}
	n := s.chance.IntN(sum)
	for _, f := range s.faults {
		if n -= f.weight; n < 0 {
			return f
		}
	}
	panic("no fault")
}

// round does one fault, sometimes a second one to another part meanwhile, undoes them and waits.
func (s *storm) round(t *testing.T) {
	leader := s.leader(t)
	undo := s.strike(t, s.pick(), leader)
	if s.chance.IntN(4) == 0 {
		s.pause(1500 * time.Millisecond)
		undoToo := s.strike(t, s.pick(), leader)
		s.pause(1500 * time.Millisecond)
		undoToo()
	}
	s.pause(3 * time.Second)
	undo()
	s.pause(5 * time.Second)
}

func (s *storm) pause(most time.Duration) { time.Sleep(time.Duration(s.chance.Int64N(int64(most)))) }

// strike does a fault to the leader, or one time in four to any instance, if that is not down already.
func (s *storm) strike(t *testing.T, f fault, leader int) (undo func()) {
	kind, i := 0, leader
	if f.ofServer {
		kind = 1
	}
	if f.ofServer || leader < 0 || s.chance.IntN(4) == 0 {
		i = s.chance.IntN(3)
	}
	if s.isDown[kind][i] {
		return func() {}
	}
	s.isDown[kind][i] = true
	left := func() { s.timeline.instance = slices.Contains(s.isDown[0], false) }
	s.timeline.add(stormEvent{fault: true, leader: kind == 0 && i == leader, what: fmt.Sprintf("%s %d", f.what, i)}, left)
	f.do(t, i)
	return func() {
		f.undo(t, i)
		s.isDown[kind][i] = false
		s.timeline.add(stormEvent{what: "end of " + f.what}, left)
	}
}

// watch notes whether a majority of the servers serves, whatever became of their processes: a
// quorum has to be found again, and a busy machine may starve them all.
func (s *storm) watch(stop <-chan struct{}) {
	before := true
	for {
		var serving atomic.Int32
		var asking sync.WaitGroup
		for _, server := range s.servers {
			asking.Go(func() {
				start := time.Now()
				if strings.Contains(server.ask("srvr"), "Mode:") && time.Since(start) < tortureTimeout/3 {
					serving.Add(1)
				}
			})
		}
		asking.Wait()
		if now := serving.Load() >= 2; now != before {
			before = now
			s.timeline.add(stormEvent{what: fmt.Sprintf("%d servers serve", serving.Load())}, func() { s.timeline.majority = now })
		}
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// failovers returns how long it took from each fault of the leader until another one was in touch with
// the cluster, as far as no other fault came between.
func (s *storm) failovers(t *testing.T) (times []time.Duration) {
	all := s.accessions(t)
	for i, e := range s.timeline.events {
		if !e.leader {
			continue
		}
		for _, sub := range all {
			took := sub.at.Sub(time.UnixMilli(e.at))
			if took <= 0 {
				continue
			}
			if next := slices.IndexFunc(s.timeline.events[i+1:], func(e stormEvent) bool { return e.fault }); next < 0 ||
				sub.at.Before(time.UnixMilli(s.timeline.events[i+1+next].at)) {
				times = append(times, took)
				if took > tortureSpan {
					t.Logf("fail-over after %s at %s took %s, until %s", e.what, isoInstant(e.at), took, isoInstant(sub.at.UnixMilli()))
				}
			}
			break
		}
	}
	return times
}

// TestTortureFailoverLosesNothingAndRunsNothingTwice does all kinds of faults to three instances
// and a ZooKeeper of three servers, while clients insist on their changes.
func TestTortureFailoverLosesNothingAndRunsNothingTwice(t *testing.T) {
	failovers, jobs := int64(20), 40
	if *longTorture {
		failovers, jobs = 120, 80
	}
	c := newThreesome(t, tortureTimeout)
	const period = 10 * time.Second
	c.create(t, c.instances[0], jobs, period, `,"epsilon":"PT10S"`)
	var manual []string
	for i := range 8 {
		manual = append(manual, fmt.Sprintf("manual%d", i))
		c.createManual(t, c.instances[0], manual[i])
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var requests []*request
	chance := rand.New(rand.NewPCG(c.chance.Uint64(), 0))
	clients.Go(func() { requests = c.insist(stop, manual, chance) })

	s := newStorm(c)
	clients.Go(func() { s.watch(stop) })
	for first := c.term(t); c.term(t)-first < failovers; {
		s.round(t)
	}
	time.Sleep(tortureSpan)
	close(stop)
	clients.Wait()
	for _, v := range c.instances {
		v.serves(t)
	}
	end := c.stop(t, c.instances[c.chance.IntN(3)])
	c.settleDown(t, end)
	s.judge(t, end, period)
	c.judgeRequests(t, requests)
	c.judgeFollowers(t)
	s.report(t, requests)
}

// judge counts what became of each occurrence.
func (s *storm) judge(t *testing.T, end int64, epsilon time.Duration) {
	var due, qualified, once, gone int
	for _, k := range s.cadences {
		runs := map[int64]int{}
		for _, m := range s.marks.of(t, k.name) {
			if m.attempt == 0 {
				runs[m.due]++
			}
		}
		for _, d := range k.until(end) {
			due++
			quiet := s.timeline.quiet(d, d+epsilon.Milliseconds())
			if quiet {
				qualified++
			}
			n := runs[d]
			delete(runs, d)
			hole, recorded := s.recorded.covering(k.name, d)
			switch {
			case n > 1:
				t.Errorf("%s: occurrence %s ran %d times", k.name, isoInstant(d), n)
			case n == 1 && recorded:
				t.Errorf("%s: occurrence %s ran and is recorded as %s", k.name, isoInstant(d), hole.state)
			case n == 1:
				once++
			case quiet:
				t.Errorf("%s: occurrence %s did not run though nothing was in its way; recorded: %t %v", k.name, isoInstant(d), recorded, hole)
			case !recorded:
				t.Errorf("%s: occurrence %s did not run and is not recorded", k.name, isoInstant(d))
			default:
				gone++
			}
		}
		for d, n := range runs {
			if d < end {
				t.Errorf("%s: %d runs for %s, at which none is due", k.name, n, isoInstant(d))
			}
		}
	}
	if qualified < due*8/10 {
		t.Errorf("only %d of %d occurrences had a quiet span of %s", qualified, due, tortureSpan)
	}
	t.Logf("%d occurrences, %d with a quiet span: %d ran once, %d did not run and are recorded", due, qualified, once, gone)
}

func (s *storm) report(t *testing.T, requests []*request) {
	stamps := s.checkTerms(t)
	kinds := map[string]int{}
	for _, e := range s.timeline.events {
		if e.fault {
			kinds[e.what[:len(e.what)-2]]++
		}
	}
	var took []time.Duration
	acknowledged := 0
	for _, r := range requests {
		if r.acknowledged {
			took = append(took, r.took)
			acknowledged++
		}
	}
	for _, e := range s.timeline.events {
		t.Logf("%s %s", isoInstant(e.at), e.what)
	}
	for i, v := range s.instances {
		for _, line := range v.complaints(t) {
			t.Logf("instance %d: %s", i, line)
		}
	}
	t.Logf("faults %v, terms %d, commits %d", kinds, s.term(t), stamps)
	t.Logf("requests: %d, acknowledged %d; took %s", len(requests), acknowledged, spread(took))
	t.Logf("fail-overs: %s", spread(s.failovers(t)))
}
