package main

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

const (
	starvation   = 30 * time.Second // a run that waits longer may have an agent kept for it
	keepLeast    = 2 * time.Minute  // for at most this long, or for the run's epsilon if that is longer,
	keepMost     = time.Hour        // and never longer than this
	keepGrace    = 15 * time.Second // for the offers of an agent to come when what ran there has ended
	measureEvery = 5 * time.Second  // between looks at what our tasks take of each agent
	unansweredAt = 30 * time.Second // an agent with a launch unanswered for this long is passed over
	otherAgent   = 10 * time.Second // how long a run waits for an agent that owes no answers
)

// An agentBook is what is known of agents beside their offers.
type agentBook struct {
	largest     map[string]resources  // the most that each is known to have
	measuredAt  int64                 // ms; when all runs were last measured
	keptAgent   *keptAgent            // the one that is kept, or nil
	keepFrom    int64                 // ms; no agent is kept before
	owed        map[string]*list.List // of *openRun: launches on each agent that it has not answered, oldest first
	answersFrom int64                 // ms; since when answers can come
	alarm       alarm                 // for the next change of all this
}

func newAgentBook() agentBook {
	return agentBook{largest: map[string]resources{}, owed: map[string]*list.List{}, alarm: alarm{kind: timerOffers}}
}

// shift keeps the book's instants comparable with now after the clock was set.
func (b *agentBook) shift(by int64) {
	shiftAll(by, &b.measuredAt, &b.keepFrom, &b.answersFrom)
	if b.keptAgent == nil {
		return
	}
	shiftAll(by, &b.keptAgent.since, &b.keptAgent.until, &b.keptAgent.room)
	for i := range b.keptAgent.guests {
		shiftAll(by, &b.keptAgent.guests[i].until)
	}
}

// wakeAt makes the loop check the offers at an instant.
func (s *scheduler) wakeAt(at int64) {
	if t := &s.offers.alarm; !t.set() || at < t.at {
		s.timers.move(t, max(at, s.now+1))
	}
}

// forgetAgent drops what is known of an agent that is gone.
func (s *scheduler) forgetAgent(id string) {
	delete(s.offers.largest, id)
	if a := s.offers.keptAgent; a != nil && a.agent == id {
		s.offers.keptAgent, s.offers.kept = nil, nil
	}
}

// expectAnswer records that an agent owes an answer to the launch of a run, until the run has started or ended. It
// is no answer that the master knows the task.
func (s *scheduler) expectAnswer(r *openRun) {
	if s.offers.owed[r.AgentID] == nil {
		s.offers.owed[r.AgentID] = list.New()
	}
	r.owed, r.owedBy = s.offers.owed[r.AgentID].PushBack(r), r.AgentID
}

// gotAnswer records that the agent owes that answer no longer.
func (s *scheduler) gotAnswer(r *openRun) {
	if r.owed == nil {
		return
	}
	owed := s.offers.owed[r.owedBy]
	if owed.Remove(r.owed); owed.Len() == 0 {
		delete(s.offers.owed, r.owedBy)
	}
	r.owed = nil
}

// silentSince returns since when an agent has owed an answer to a launch, in ms, if that is long ago, else 0.
func (s *scheduler) silentSince(agentID string) int64 {
	owed := s.offers.owed[agentID]
	if owed == nil {
		return 0
	}
	since := max(owed.Front().Value.(*openRun).Launched, s.offers.answersFrom)
	if s.now-since < unansweredAt.Milliseconds() {
		return 0
	}
	return since
}

// waitsFrom is when a run could have started at the earliest.
func (r *openRun) waitsFrom() int64 {
	if r.Kind == kindRetry {
		return max(r.Queued, r.Due)
	}
	return r.Queued
}

// placeOnOwing places the head of a class on an agent that owes answers, if no other agent that is known
// would do, or did within a time.
func (s *scheduler) placeOnOwing(c *class, agentID string) (placement, bool) {
	if until := c.runs[0].waitsFrom() + otherAgent.Milliseconds(); until > s.now && s.otherFor(c) {
		s.wakeAt(until)
		return placement{}, false
	}
	return s.offers.placeOn(agentID, c.need)
}

// otherFor reports whether an agent that answers is known to be large enough for a class.
func (s *scheduler) otherFor(c *class) bool {
	return slices.ContainsFunc(s.suiting(c), func(id string) bool { return s.silentSince(id) == 0 })
}

// suiting lists the agents that have ever offered what a class needs. Constraints are checked
// against those held and those seen last.
func (s *scheduler) suiting(c *class) (ids []string) {
	if len(c.need.constraints) > 0 {
		return slices.DeleteFunc(s.offers.suiting(c.need.constraints), func(id string) bool {
			return !s.offers.largest[id].covers(c.need.resources)
		})
	}
	for id, size := range s.offers.largest {
		if size.covers(c.need.resources) {
			ids = append(ids, id)
		}
	}
	return ids
}

// A seenAgent is an agent as people are shown it.
type seenAgent struct {
	id, host   string
	attributes []mesos.Attribute
	offered    resources // in its last offers
	at         int64     // ms; of the last one
	held       bool      // they are neither used nor declined
	silent     int64     // ms; since when it has owed an answer to a launch, 0 if it owes none
	kept       string    // for what it is kept, or ""
}

// maxAgents is how many agents people are shown.
const maxAgents = 500

// seenAgents lists the agents whose offers are held, and those that were seen last, and says whether there are more.
func (s *scheduler) seenAgents(ctx context.Context) (list []seenAgent, more bool, err error) {
	err = s.do(ctx, func() error {
		s.turnLog.note("list agents", "")
		list, more = s.lookAtAgents()
		return nil
	})
	if err != nil {
		return nil, false, err // the loop may still be at it
	}
	return list, more, nil
}

func (s *scheduler) lookAtAgents() (list []seenAgent, more bool) {
	held := len(s.offers.agents)
	for i, a := range slices.Concat(s.offers.agents, s.offers.gone) {
		if i == maxAgents {
			return list, true
		}
		seen := seenAgent{id: a.id, host: a.hostname, attributes: a.attributes, held: i < held, silent: s.silentSince(a.id)}
		for _, o := range a.offers {
			seen.offered, seen.at = seen.offered.plus(o.free), max(seen.at, o.since.UnixMilli())
		}
		if k := s.offers.keptAgent; k != nil && k.agent == a.id {
			seen.kept = k.why
		}
		list = append(list, seen)
	}
	return list, false
}

// needOf is what a run of a job takes of an agent. It may be called from any goroutine.
func (s *scheduler) needOf(j *Job) resources { return taskNeed(j, "", s.cfg.task).resources }

// A keptAgent is the agent that is kept for a run that has starved.
type keptAgent struct {
	keeping
	run    *openRun
	need   resources
	size   resources // of the agent
	guests []guest
	since  int64     // ms
	until  int64     // ms; at the latest
	room   int64     // ms; when there is expected to be room
	spare  resources // beside what is needed, then
	turn   int64     // changes with room and spare
}

// A guest is a run that takes room on an agent.
type guest struct {
	occupant
	run *openRun
}

// stays reports whether the guest still takes its room.
func (g guest) stays(agentID string) bool {
	return (g.run.State == runLaunching || g.run.State == runActive) && g.run.AgentID == agentID && !g.run.agentAway
}

// keepAgent keeps an agent for the run that has waited too long, if what runs there is expected to end
// in time. The agent is released as soon as that no longer holds.
func (s *scheduler) keepAgent() {
	b := s.offers
	if a := b.keptAgent; a != nil {
		if why := s.keepOver(a); why != "" {
			s.log.Info("agent is not kept any longer", "agent", a.agent, "job", a.run.Job, "task", a.keeping.run, "why", why)
			b.keptAgent, b.kept = nil, nil
			b.keepFrom = s.now + s.now - a.since // it has held up others for that long
		}
	}
	if b.keptAgent != nil || s.now < b.keepFrom || s.now-b.measuredAt < measureEvery.Milliseconds() {
		return
	}
	starved := s.starved()
	if len(starved) == 0 {
		return
	}
	guests := s.measure()
	for _, c := range starved {
		if a := s.bestToKeep(c, guests); a != nil {
			b.keptAgent, b.kept = a, &a.keeping
			s.explainAside(a)
			s.log.Info("agent is kept for a run that has waited for too long", "agent", a.agent, "job", a.run.Job, "task", a.keeping.run, "room", msTime(a.room))
			return
		}
	}
}

// starved lists the classes whose first run has waited too long, in order of arrival.
func (s *scheduler) starved() (classes []*class) {
	for _, c := range s.queue.classes {
		if c.refused && s.now-c.runs[0].waitsFrom() > starvation.Milliseconds() {
			classes = append(classes, c)
		}
	}
	slices.SortFunc(classes, func(a, b *class) int { return int(a.runs[0].seq - b.runs[0].seq) })
	return classes
}

// measure lists what takes room on each agent, and adds it to what the agent offers: a leader that took
// over a busy cluster has seen none of them empty. That visits all runs, so it is done only now and then.
func (s *scheduler) measure() map[string][]guest {
	s.offers.measuredAt = s.now
	guests, sizes := map[string][]guest{}, map[string]resources{}
	for _, r := range s.runs {
		if g := s.guest(r); r.AgentID != "" && g.stays(r.AgentID) {
			guests[r.AgentID] = append(guests[r.AgentID], g)
			sizes[r.AgentID] = sizes[r.AgentID].plus(g.resources)
		}
	}
	for id, used := range sizes {
		if a := s.offers.byAgent[id]; a != nil {
			used = used.plus(a.free)
		}
		s.offers.largest[id] = s.offers.largest[id].most(used)
	}
	return guests
}

// guest returns a launched run with the time at which it is expected to end.
func (s *scheduler) guest(r *openRun) guest {
	g := guest{occupant{taskNeed(r.entry.job, r.ID, s.cfg.task).resources, endless}, r}
	if lasts := r.entry.lasts(); lasts < endless {
		g.until = r.Launched + lasts
	}
	return g
}

// lasts is how long a run of the job is expected to take an agent's room, in ms: somewhat longer than any in its history
// that ended by itself. Without one, it is maxCompletionTime, and without that, endless.
func (e *entry) lasts() int64 {
	longest, limit := int64(0), endless
	for _, r := range e.history {
		if r.Launched > 0 && (r.State == runFinished || r.State == runFailed) {
			longest = max(longest, r.Ended-r.Launched)
		}
	}
	if e.job.MaxCompletionTime > 0 && e.job.MaxCompletionTime < endless/1_000_000 {
		limit = e.job.MaxCompletionTime * 1000
	}
	if longest == 0 {
		return limit
	}
	return min(longest+longest/4+time.Second.Milliseconds(), limit)
}

// bestToKeep finds the agent that is expected to have room for a class first, within the time for which one may
// be kept, or nil. One that does not answer launches is of no use.
func (s *scheduler) bestToKeep(c *class, guests map[string][]guest) *keptAgent {
	r := c.runs[0]
	limit := min(max(keepLeast.Milliseconds(), r.entry.epsilon()), keepMost.Milliseconds())
	var best *keptAgent
	for _, id := range s.suiting(c) {
		if s.silentSince(id) != 0 {
			continue
		}
		a := &keptAgent{
			keeping: keeping{agent: id, run: r.ID}, run: r, need: c.need.resources, size: s.offers.largest[id],
			guests: guests[id], since: s.now, until: s.now + limit,
		}
		a.forecast(s.now)
		if a.room <= a.until && (best == nil || a.room < best.room || a.room == best.room && id < best.agent) {
			best = a
		}
	}
	return best
}

// forecast updates when there is expected to be room.
func (a *keptAgent) forecast(now int64) {
	a.guests = slices.DeleteFunc(a.guests, func(g guest) bool { return !g.stays(a.agent) })
	on := make([]occupant, len(a.guests))
	for i, g := range a.guests {
		on[i] = g.occupant
	}
	room, spare := roomFor(a.size, a.need, on, now)
	if room == now && a.room != 0 && a.room < now {
		room = a.room // there has been room since then
	}
	if room != a.room || spare != a.spare {
		a.room, a.spare = room, spare
		a.turn++
	}
}

// keepOver says why an agent need not be kept any more, or "". It sets the timer for the next instant at which
// that may change by itself.
func (s *scheduler) keepOver(a *keptAgent) string {
	if a.run.State != runQueued || s.runs[a.keeping.run] != a.run {
		return "the run no longer waits"
	}
	if a.run.class == nil || a.run.class.need.resources != a.need {
		return "the needs of the run have changed"
	}
	before := a.room
	a.forecast(s.now)
	switch {
	case s.now >= a.until:
		return "it was kept for the longest time allowed"
	case a.room == endless:
		return "a run has taken longer than was expected"
	case a.room > a.until:
		return "there will not be room in time"
	case s.now >= a.room+keepGrace.Milliseconds():
		s.offers.largest[a.agent] = a.taken().plus(s.offers.free(a.agent))
		return "it does not offer what has become free"
	}
	if a.room != before {
		s.explainAside(a)
	}
	next := min(a.until, a.room+keepGrace.Milliseconds())
	for _, g := range a.guests {
		next = min(next, g.until)
	}
	s.wakeAt(next)
	return ""
}

// taken is what the guests take.
func (a *keptAgent) taken() (sum resources) {
	for _, g := range a.guests {
		sum = sum.plus(g.resources)
	}
	return sum
}

func (s *scheduler) explainAside(a *keptAgent) {
	a.why = fmt.Sprintf("run %s of job %s, which has waited since %s and is expected to have room there at %s; what is known to end before goes first",
		a.keeping.run, a.run.Job, instant(msTime(a.run.waitsFrom())), instant(msTime(a.room)))
}

// explainAgents says which agent a run that waits for an offer can expect, or "".
func (s *scheduler) explainAgents(r *openRun) string {
	if a := s.offers.keptAgent; a != nil && a.run == r {
		return "agent " + s.offers.hostname(a.agent) + " is kept for it, and expected to have room at " + instant(msTime(a.room))
	}
	switch ids := s.suiting(r.class); {
	case len(ids) == 0:
		return ""
	case !s.otherFor(r.class):
		return "only agents are left that have not answered a launch for long"
	case slices.ContainsFunc(ids, func(id string) bool { return s.silentSince(id) != 0 && s.offers.takes(id, r.class.need) }):
		return "waits until " + instant(msTime(r.waitsFrom()+otherAgent.Milliseconds())) + " for another agent than one that has not answered a launch for long"
	}
	return ""
}

// backfill places a run of a class on the agent that is kept for another run, if it will not delay that:
// if it is expected to end before there is room, or fits beside it.
func (s *scheduler) backfill(c *class) (*openRun, placement, bool) {
	a := s.offers.keptAgent
	if a == nil || c == a.run.class || s.silentSince(a.agent) != 0 || !s.offers.takes(a.agent, c.need) {
		return nil, placement{}, false
	}
	beside := a.spare.covers(c.need.resources)
	for _, r := range c.unseen(a.turn, a.keeping.run) {
		c.seen.seq = r.seq
		lasts := r.entry.lasts()
		if !beside && (lasts == endless || s.now+lasts > a.room) {
			continue
		}
		p, ok := s.offers.placeOn(a.agent, c.need)
		return r, p, ok
	}
	return nil, placement{}, false
}

// seen is how far backfill has gone through a class.
type seen struct {
	keptFor string // run for which an agent is kept
	turn    int64  // of it
	seq     int64
}

// unseen lists the runs of a class that backfill has not tried since the forecast last changed: otherwise each
// turn would try all of them.
func (c *class) unseen(turn int64, keptFor string) []*openRun {
	if c.seen.turn != turn || c.seen.keptFor != keptFor {
		c.seen = seen{keptFor: keptFor, turn: turn}
	}
	i, found := slices.BinarySearchFunc(c.runs, c.seen.seq, func(r *openRun, seq int64) int { return int(r.seq - seq) })
	if found {
		i++
	}
	return c.runs[i:]
}

// joinGuests records a launch on the agent that is kept.
func (s *scheduler) joinGuests(r *openRun) {
	if a := s.offers.keptAgent; a != nil && a.agent == r.AgentID {
		a.guests = append(a.guests, s.guest(r))
		a.forecast(s.now)
	}
}
