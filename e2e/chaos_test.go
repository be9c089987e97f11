package e2e

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// A timeline is what was done when.
type timeline []stormEvent

type stormEvent struct {
	at     int64 // ms
	kind   string
	what   string
	fault  bool // a new one
	excuse bool // it is one for what should have run then
	leader bool // it takes the leader's leadership
}

// breaks lists, in order, what ends a quiet span: each new fault, and all the time in which ZooKeeper stored
// nothing or the machine stood still. There are two faults at a time at most, so one instance at least is always left alone.
func (l timeline) breaks(standstills []episode) []episode {
	all := slices.Clone(standstills)
	for _, e := range l {
		if e.excuse {
			all = append(all, episode{e.at, e.at})
		}
	}
	slices.SortFunc(all, func(a, b episode) int { return cmp.Compare(a.from, b.from) })
	return all
}

// quiet reports whether there is a span within the window of that length at least without a break.
func quiet(window episode, length time.Duration, breaks []episode) bool {
	for _, b := range breaks {
		if (episode{window.from, min(b.from, window.to)}).took() >= length {
			return true
		}
		window.from = max(window.from, b.to)
	}
	return window.took() >= length
}

func TestQuiet(t *testing.T) {
	for _, c := range []struct {
		name   string
		breaks []episode
		want   bool
	}{
		{"nothing", nil, true},
		{"before the window", []episode{{0, 999}}, true},
		{"fault in the middle", []episode{{1500, 1500}}, true},
		{"two faults leave too little", []episode{{1400, 1400}, {1800, 1800}}, false},
		{"outage that covers the window", []episode{{500, 3000}}, false},
		{"outage that leaves the end", []episode{{500, 1500}}, true},
		{"outage that leaves too little at the end", []episode{{500, 1501}}, false},
		{"short one within a long one", []episode{{500, 1900}, {600, 700}}, false},
		{"after the window", []episode{{2600, 2700}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := quiet(episode{1000, 2000}, 500*time.Millisecond, c.breaks); got != c.want {
				t.Errorf("quiet = %t, want %t", got, c.want)
			}
		})
	}
}

// What a fault is done to.
const (
	anInstance = iota // its process, or its links to the servers
	aServer           // its process, or its links to the other servers
	aPeer             // an instance's links to the other instances
	victimKinds
)

// A fault is something that is done to one of three, and undone.
type fault struct {
	what     string
	weight   int
	to       int
	pair     bool // the next one is hit as well
	do, undo func(t *testing.T, i int)
}

// victims are those that are hit by a fault done to one.
func (f fault) victims(i int) []int {
	if f.pair {
		return []int{i, (i + 1) % 3}
	}
	return []int{i}
}

// A storm does faults to a threesome and keeps record of them.
type storm struct {
	*threesome
	quorum   zktest.Mesh // of the servers
	faults   []fault
	deck     []fault // in which order they come next
	dealt    bool    // the first deck
	timeline timeline
	witness  witness
	isDown   [victimKinds][3]bool
}

func newStorm(c *threesome, quorum zktest.Mesh) *storm {
	s := &storm{threesome: c, quorum: quorum}
	start := func(t *testing.T, i int) { c.instances[i].start(t) }
	end := func(sig syscall.Signal) func(*testing.T, int) {
		return func(t *testing.T, i int) {
			if early, err := c.instances[i].end(sig); early || sig == syscall.SIGTERM && err != nil {
				t.Errorf("instance %d ended by itself: %t, with %v", i, early, err)
			}
		}
	}
	signal := func(sig syscall.Signal) func(*testing.T, int) {
		return func(_ *testing.T, i int) { c.instances[i].signal(sig) }
	}
	s.faults = []fault{
		{what: "kill -9", weight: 4, do: end(syscall.SIGKILL), undo: start},
		{what: "SIGTERM", weight: 1, do: end(syscall.SIGTERM), undo: start},
		{what: "SIGSTOP", weight: 4, do: signal(syscall.SIGSTOP), undo: signal(syscall.SIGCONT)},
		{what: "server killed", weight: 2, to: aServer,
			do: func(_ *testing.T, i int) { c.servers[i].Kill() }, undo: func(t *testing.T, i int) { c.servers[i].Restart(t) }},
		{what: "server stopped", weight: 1, to: aServer,
			do: func(_ *testing.T, i int) { c.servers[i].Pause() }, undo: func(_ *testing.T, i int) { c.servers[i].Resume() }},
	}
	for _, l := range []struct {
		what   string
		weight int
		to     int
		state  zktest.State
		pair   bool
		of     func(i int) zktest.Links
	}{
		{"cut off from servers", 2, anInstance, zktest.Cut, false, func(i int) zktest.Links { return c.links[i] }},
		{"silence to servers", 2, anInstance, zktest.Silent, false, func(i int) zktest.Links { return c.links[i] }},
		{"nothing comes back from servers", 1, anInstance, zktest.Deaf, false, func(i int) zktest.Links { return c.links[i] }},
		{"server cut off", 1, aServer, zktest.Cut, false, quorum.Around},
		{"server silent", 2, aServer, zktest.Silent, false, quorum.Around},
		{"link of two servers cut", 1, aServer, zktest.Cut, true, func(i int) zktest.Links { return quorum.Between(i, (i+1)%3) }},
		{"link of two servers silent", 1, aServer, zktest.Silent, true, func(i int) zktest.Links { return quorum.Between(i, (i+1)%3) }},
		{"cut off from instances", 1, aPeer, zktest.Cut, false, c.peers.Around},
		{"silence to instances", 1, aPeer, zktest.Silent, false, c.peers.Around},
		{"link of two instances cut", 1, aPeer, zktest.Cut, true, func(i int) zktest.Links { return c.peers.Between(i, (i+1)%3) }},
	} {
		set := func(state zktest.State) func(*testing.T, int) {
			return func(_ *testing.T, i int) { l.of(i).Set(state) }
		}
		s.faults = append(s.faults, fault{l.what, l.weight, l.to, l.pair, set(l.state), set(zktest.Open)})
	}
	return s
}

// pick deals the faults from a deck: first one in which there is each once, then from decks in which each is
// as often as its weight says. So none is left out.
func (s *storm) pick() (f fault) {
	if len(s.deck) == 0 {
		for _, f := range s.faults {
			n := f.weight
			if !s.dealt {
				n = 1
			}
			s.deck = append(s.deck, slices.Repeat([]fault{f}, n)...)
		}
		s.dealt = true
		s.chance.Shuffle(len(s.deck), func(a, b int) { s.deck[a], s.deck[b] = s.deck[b], s.deck[a] })
	}
	f, s.deck = s.deck[0], s.deck[1:]
	return f
}

// didAll reports whether there was a fault of each kind.
func (s *storm) didAll() bool {
	return !slices.ContainsFunc(s.faults, func(f fault) bool {
		return !slices.ContainsFunc(s.timeline, func(e stormEvent) bool { return e.kind == f.what })
	})
}

// round does one fault, sometimes a second one to another part meanwhile, undoes them and waits.
func (s *storm) round(t *testing.T) {
	leader, first := s.leader(t), s.pick()
	undo := s.strike(t, first, leader)
	if first.to == aPeer || s.chance.IntN(4) == 0 {
		s.pause(1500 * time.Millisecond)
		undoToo := s.strike(t, s.pick(), leader)
		s.pause(1500 * time.Millisecond)
		undoToo()
	}
	// Of two draws the longer one: most faults outlast a session, and some do not.
	time.Sleep(time.Duration(max(s.chance.Int64N(int64(3*time.Second)), s.chance.Int64N(int64(3*time.Second)))))
	undo()
	time.Sleep(500 * time.Millisecond) // with less the share of quiet windows varies too much from seed to seed
	s.pause(3 * time.Second)
}

func (s *storm) pause(most time.Duration) { time.Sleep(time.Duration(s.chance.Int64N(int64(most)))) }

// strike does a fault to the leader, or one time in six to any instance, if that is not down already; to
// servers likewise, but one time in two. A server that is started again needs all its links to come back.
// An instance that is cut off from the others goes on scheduling: that is no excuse.
func (s *storm) strike(t *testing.T, f fault, leader int) (undo func()) {
	i, anyone, share := leader, s.chance.IntN(3), s.chance.IntN(6)
	if f.to == aServer {
		i, share = zktest.Leader(s.servers), share%2
	}
	if i < 0 || share == 0 {
		i = anyone
	}
	if slices.ContainsFunc(f.victims(i), func(i int) bool { return s.isDown[f.to][i] }) {
		s.deck = append(s.deck, f)
		return func() {}
	}
	note := func(e stormEvent, down bool) {
		for _, i := range f.victims(i) {
			s.isDown[f.to][i] = down
		}
		e.at, e.kind = time.Now().UnixMilli(), f.what
		s.timeline = append(s.timeline, e)
	}
	note(stormEvent{fault: true, excuse: f.to != aPeer, leader: f.to == anInstance && i == leader, what: fmt.Sprintf("%s: %d", f.what, i)}, true)
	f.do(t, i)
	return func() {
		f.undo(t, i)
		note(stormEvent{what: fmt.Sprintf("end of %s: %d", f.what, i)}, false)
	}
}

// failovers returns how long it took from each fault of the leader until another one was in touch with
// the cluster, as far as no other fault came between.
func (s *storm) failovers(t *testing.T) (times []time.Duration) {
	all := s.accessions(t)
	for i, e := range s.timeline {
		if !e.leader {
			continue
		}
		for _, sub := range all {
			took := sub.at.Sub(time.UnixMilli(e.at))
			if took <= 0 {
				continue
			}
			if next := slices.IndexFunc(s.timeline[i+1:], func(e stormEvent) bool { return e.fault }); next < 0 ||
				sub.at.Before(time.UnixMilli(s.timeline[i+1+next].at)) {
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
	t.Parallel()
	broken := ""
	for n := range 2 {
		t.Run(fmt.Sprint("storm ", n+1), func(t *testing.T) { broken = survive(t) })
		if broken == "" {
			return
		}
	}
	t.Errorf("ZooKeeper itself has broken its word in both storms, which so prove nothing: %s", broken)
}

// survive is one storm. It says how ZooKeeper has broken its word, if it has: such a storm proves nothing.
func survive(t *testing.T) (broken string) {
	failovers, jobs := int64(8), 24
	if *longTorture {
		failovers, jobs = 120, 80
	}
	servers, quorum := zktest.StartLinkedEnsemble(t, 3)
	c := newThreesome(t, servers, tortureTimeout)
	const period = 10 * time.Second
	c.create(t, c.instances[0], jobs, period, `,"epsilon":"PT10S"`)
	var manual []string
	for i := range 8 {
		manual = append(manual, fmt.Sprintf("manual%d", i))
		c.createManual(t, c.instances[0], manual[i])
	}
	c.observe(t, func(s *zk.Conn) error { return mkdirAll(s, witnessNode) })
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	var requests []*request
	chance := rand.New(rand.NewPCG(c.chance.Uint64(), 0))
	others.Go(func() { requests = c.insist(ctx.Done(), manual, chance) })
	s := newStorm(c, quorum)
	others.Go(func() { s.witness.watch(ctx, c.servers) })
	for first := c.term(t); c.term(t)-first < failovers || !s.didAll(); {
		s.round(t)
	}
	time.Sleep(tortureSpan)
	stop()
	others.Wait()
	if how := s.witness.broken(t, c.servers); how != "" {
		s.report(t, requests)
		t.Logf("ZooKeeper itself has broken its word, so this storm proves nothing: %s", how)
		return how
	}
	for _, v := range c.instances {
		v.serves(t)
	}
	end := c.stop(t, c.instances[c.chance.IntN(3)])
	c.settle(t, c.instances[c.chance.IntN(3)], end)
	s.judge(t, end, period)
	c.judgeRequests(t, requests)
	c.judgeFollowers(t)
	s.report(t, requests)
	return ""
}

// judge counts what became of each occurrence.
func (s *storm) judge(t *testing.T, end int64, epsilon time.Duration) {
	var due, qualified, once, gone int
	breaks := s.timeline.breaks(slices.Concat(s.witness.outages(), s.witness.stalls))
	for _, k := range s.cadences {
		runs := map[int64]int{}
		for _, m := range s.marks.of(t, k.name) {
			if m.attempt == 0 {
				runs[m.due]++
			}
		}
		for _, d := range k.until(end) {
			due++
			quiet := quiet(episode{d, d + epsilon.Milliseconds()}, tortureSpan, breaks)
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
			case !recorded:
				t.Errorf("%s: occurrence %s did not run and is not recorded", k.name, isoInstant(d))
			case quiet:
				late(t, "%s: occurrence %s did not run though nothing was in its way; it is recorded as %v", k.name, isoInstant(d), hole)
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
	if qualified < due*8/10 && len(s.witness.stalls) == 0 {
		late(t, "only %d of %d occurrences had a quiet span of %s", qualified, due, tortureSpan)
	}
	t.Logf("%d occurrences, %d with a quiet span: %d ran once, %d did not run and are recorded", due, qualified, once, gone)
}

func (s *storm) report(t *testing.T, requests []*request) {
	stamps := s.checkTerms(t)
	kinds := map[string]int{}
	for _, f := range s.faults {
		kinds[f.what] = 0
	}
	events := slices.Clone(s.timeline)
	for _, e := range events {
		if e.fault {
			kinds[e.kind]++
		}
	}
	var without time.Duration
	for _, o := range s.witness.outages() {
		without += o.took()
		events = append(events, stormEvent{at: o.from, what: s.witness.tell(o)})
	}
	slices.SortStableFunc(events, func(a, b stormEvent) int { return cmp.Compare(a.at, b.at) })
	var took []time.Duration
	acknowledged := 0
	for _, r := range requests {
		if r.acknowledged {
			took = append(took, r.took)
			acknowledged++
		}
	}
	for _, e := range events {
		t.Logf("%s %s", isoInstant(e.at), e.what)
	}
	for i, v := range s.instances {
		for _, line := range v.complaints(t) {
			t.Logf("instance %d: %s", i, line)
		}
	}
	t.Logf("ZooKeeper stored nothing for %s in all, in %d spans longer than a session; the machine stood still %d times", without, len(s.witness.outages()), len(s.witness.stalls))
	t.Logf("faults %v, terms %d, commits %d", kinds, s.term(t), stamps)
	t.Logf("requests: %d, acknowledged %d; took %s", len(requests), acknowledged, spread(took))
	t.Logf("fail-overs: %s", spread(s.failovers(t)))
}
