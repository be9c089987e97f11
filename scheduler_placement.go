package main

import (
	"errors"
	"math"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	launchHold   = 500 * time.Millisecond // the longest time that a launch waits for more tasks on the same offers
	settlePause  = 2 * time.Second        // between two looks at which offers are wanted, in a burst
	offerHold    = 10 * time.Second       // the longest time that an offer is withheld from other frameworks
	lookAhead    = 2 * time.Second        // how early, on top of --min_revive_offers_interval, offers are requested
	unsentPause  = time.Second            // before a launch that did not get through is tried again
	explainLimit = 10                     // agents named in the reasons why a run waits
)

// An offerBook is the offers at hand and what was last said to the cluster about offers.
type offerBook struct {
	*market
	agentBook
	suppressed   bool
	settled      time.Time // since when it has not been said which offers are wanted, in a burst
	newWork      bool      // a run has joined the queue in this turn
	revivedAt    int64     // ms; of the last REVIVE or SUBSCRIBED
	offeredAt    int64
	timer        alarm
	undeclined   []*sched.Call_Decline // that the cluster may not have taken
	undeclinedAt int64                 // ms; when that was last found
	soon         resources             // what was due soon at soonAt, when soonTop was next
	soonAt       int64
	soonTop      *alarm
}

func newOfferBook(role string) *offerBook {
	return &offerBook{market: newMarket(role), agentBook: newAgentBook(), timer: alarm{kind: timerOffers}}
}

// shift keeps the book's instants comparable with now after the clock was set.
func (b *offerBook) shift(by int64) {
	shiftAll(by, &b.revivedAt, &b.offeredAt, &b.undeclinedAt, &b.soonAt)
	b.agentBook.shift(by)
	for _, a := range b.agents {
		for _, o := range a.offers {
			o.since = o.since.Add(time.Duration(by) * time.Millisecond)
		}
	}
}

// receive takes offers in.
func (s *scheduler) receive(offers []mesos.Offer) {
	now := time.UnixMilli(s.now)
	for i := range offers {
		o := &offers[i]
		s.offers.add(o, now)
		if a := s.offers.byAgent[o.AgentID.Value]; a != nil {
			s.offers.largest[a.id] = s.offers.largest[a.id].most(a.free)
		}
	}
	s.offers.offeredAt = s.now
	s.countOffers(len(offers), 0, 0)
}

func (s *scheduler) countOffers(received, used, declined int) {
	s.cfg.offersMoved(received, used, declined)
}

// place gives the waiting runs to the offers at hand: high priority first, then
// in the order of their arrival, and whatever fits, so that a large task at the
// head does not hold up the small ones behind it. left is set if it has stopped for the length of the turn.
func (s *scheduler) place() (left bool) {
	if !s.subscribed {
		return false
	}
	round := s.queue.round()
	placed := 0 // what finds no room does not count, or each turn would end with it
	for c := round.next(); c != nil && !s.pace.ahead; c = round.next() {
		if left = s.enough(placed-s.pace.fired, turnTime); left {
			break
		}
		if s.isFull() || c.pool.full() {
			c.refused = false // more room would not help it
			continue
		}
		r := c.runs[0]
		c.need.run = r.ID
		p, ok := s.offers.place(c.need)
		if !ok && s.offers.passed != "" {
			p, ok = s.placeOnOwing(c, s.offers.passed)
		}
		if c.refused = !ok; !ok {
			if r, p, ok = s.backfill(c); !ok {
				continue
			}
		}
		s.cut()
		s.launched(r, &p)
		s.launches.on(p.agentID, s.turnLog.began).add(r, &p)
		placed++
		round.again(c)
	}
	for _, l := range s.launches.takeComplete() {
		s.accept(l)
	}
	return left
}

// settleOffers ends a turn by saying to the cluster what is launched, and which offers are wanted. If the next turn goes on
// with what this one has begun, that has time: an agent's offers can be accepted only once, and of those that are given back as
// needless some would be missed then.
func (s *scheduler) settleOffers(goesOn bool) {
	now := s.turnLog.began
	if !goesOn || s.offers.settled.IsZero() {
		s.offers.settled = now
	}
	if !s.subscribed || goesOn && s.launches.fresh(now) {
		return
	}
	s.acceptAll()
	if goesOn && now.Sub(s.offers.settled) < settlePause {
		return
	}
	s.offers.settled = time.Time{}
	s.keepAgent()
	s.tendOffers()
}

// acceptFirst sees to it that what is said next about a run does not overtake its launch.
func (s *scheduler) acceptFirst(r *openRun) {
	if r.toAccept {
		s.acceptAll()
	}
}

// acceptAll launches what has been placed.
func (s *scheduler) acceptAll() {
	all := s.launches
	s.launches = nil
	for _, l := range all {
		s.accept(l)
	}
}

// isFull reports whether as many runs are under way as may be.
func (s *scheduler) isFull() bool { return s.cfg.mostRuns > 0 && s.underWay >= s.cfg.mostRuns }

// launches are those for which there is no ACCEPT yet, in the order of their agents' first task.
type launches []*launch

// A launch is the tasks that go to one agent with one ACCEPT.
type launch struct {
	agentID  string
	offerIDs []string
	runs     []*openRun
	tasks    []mesos.TaskInfo
	grown    bool // in this round
	began    time.Time
}

// fresh reports whether something has been placed that may wait for more.
func (ls launches) fresh(now time.Time) bool { return len(ls) > 0 && now.Sub(ls[0].began) < launchHold }

// on returns the launch on an agent, which begins now if there is none.
func (ls *launches) on(agentID string, now time.Time) *launch {
	for _, l := range slices.Backward(*ls) {
		if l.agentID == agentID {
			return l
		}
	}
	l := &launch{agentID: agentID, began: now}
	*ls = append(*ls, l)
	return l
}

// takeComplete removes the launches that are complete: those that a round added nothing
// to, since agents are filled one after the other. A round that has placed nothing says nothing.
func (ls *launches) takeComplete() []*launch {
	if !slices.ContainsFunc(*ls, func(l *launch) bool { return l.grown }) {
		return nil
	}
	var complete, growing []*launch
	for _, l := range *ls {
		if !l.grown {
			complete = append(complete, l)
			continue
		}
		l.grown = false
		growing = append(growing, l)
	}
	*ls = growing
	return complete
}

func (l *launch) add(r *openRun, p *placement) {
	l.grown = true
	for _, id := range p.offerIDs {
		if !slices.Contains(l.offerIDs, id) {
			l.offerIDs = append(l.offerIDs, id)
		}
	}
	r.toAccept = true
	l.runs = append(l.runs, r)
	l.tasks = append(l.tasks, *taskInfo(r.entry.job, r.Run, *p))
}

// accept launches tasks once their runs are stored as launching.
func (s *scheduler) accept(l *launch) {
	call := &sched.Call{Type: sched.Call_ACCEPT, Accept: &sched.Call_Accept{
		Operations: []mesos.Offer_Operation{{
			Type:   mesos.Offer_Operation_LAUNCH,
			Launch: &mesos.Offer_Operation_Launch{TaskInfos: l.tasks},
		}},
		Filters: &mesos.Filters{RefuseSeconds: new(float64)}, // what is left may come back at once
	}}
	for _, id := range l.offerIDs {
		s.offers.remove(id)
		call.Accept.OfferIDs = append(call.Accept.OfferIDs, mesos.OfferID{Value: id})
	}
	s.countOffers(0, len(l.offerIDs), 0)
	for _, r := range l.runs {
		r.toAccept = false
	}
	runs, offers := l.runs, call.Accept.OfferIDs
	s.send(call, func(err error) {
		if err != nil {
			s.post(func() { s.acceptFailed(runs, offers, err) })
		}
	})
}

// post brings an event of another goroutine to the loop.
func (s *scheduler) post(event func()) {
	select {
	case s.mailbox <- event:
	case <-s.stopped:
	}
}

// acceptFailed handles a launch that the cluster has not confirmed. If it was
// certainly not sent, the runs wait again; if that is unknown, reconciliation decides. Its
// offers are given back first: they would stay out, and the launch could still arrive
// after the master has said that it does not know the task.
func (s *scheduler) acceptFailed(runs []*openRun, offers []mesos.OfferID, err error) {
	s.turnLog.note("failed launch", "")
	s.giveBack(&sched.Call_Decline{OfferIDs: offers})
	for _, r := range runs {
		if r.State != runLaunching || s.runs[r.ID] != r {
			continue
		}
		s.cut()
		if errors.Is(err, errNotSent) {
			s.requeue(r, err.Error(), unsentPause)
			continue
		}
		s.log.Warn("launch was not confirmed; asking the cluster about it", "job", r.Job, "task", r.ID, "error", err)
		r.unconfirmed = true
		s.askAbout([]*openRun{r})
	}
}

// tendOffers asks for the offers that are wanted, gives back those that are
// not, and sees to it that it is called again in time.
func (s *scheduler) tendOffers() {
	s.giveBackAgain()
	wanted, waiting := s.wanted()
	if wanted == (resources{}) {
		s.declineAll()
		s.tendLater(false)
		return
	}
	if s.offers.suppressed || waiting && s.mayAskAgain() || s.offers.newWork && s.cfg.reviveForNew {
		s.revive()
	}
	s.offers.newWork = false
	s.decline(s.offers.surplus(wanted))
	s.decline(s.offers.expired(time.UnixMilli(s.now).Add(-offerHold)))
	s.tendLater(true)
}

// wanted is what the waiting runs need and what will be due soon, and whether
// a run is waiting now.
func (s *scheduler) wanted() (sum resources, waiting bool) {
	sum = s.queue.wanted()
	waiting = s.queue.len() > 0
	return sum.plus(s.needSoon()), waiting
}

// needSoon is what will be due within the look-ahead. It is recomputed only
// now and then: with ten thousand jobs due in a second it is not cheap.
func (s *scheduler) needSoon() resources {
	b := s.offers
	if s.now-b.soonAt < 200 && b.soonTop == s.dues.next() {
		return b.soon
	}
	soon := s.now + s.cfg.reviveEvery.Milliseconds() + lookAhead.Milliseconds()
	var sum resources
	s.dues.until(soon, func(t *alarm) { sum = sum.plus(taskNeed(t.entry.job, "", s.cfg.task).resources) })
	s.timers.until(soon, func(t *alarm) {
		if t.kind == timerRetry && t.run.State == runQueued {
			sum = sum.plus(taskNeed(t.run.entry.job, "", s.cfg.task).resources)
		}
	})
	b.soon, b.soonAt, b.soonTop = sum, s.now, s.dues.next()
	return sum
}

// mayAskAgain reports whether enough time has passed without an offer that
// the cluster should be asked again.
func (s *scheduler) mayAskAgain() bool {
	limit := s.cfg.reviveEvery.Milliseconds()
	return s.offers.held() == 0 && s.now-s.offers.revivedAt >= limit && s.now-s.offers.offeredAt >= limit
}

// revive asks for offers, at most once per --min_revive_offers_interval, except
// that a suppressed framework may be woken at any time.
func (s *scheduler) revive() {
	sent := s.offers.suppressed || s.now-s.offers.revivedAt >= s.cfg.reviveEvery.Milliseconds()
	s.cfg.reviveWanted(sent)
	if !sent {
		return
	}
	s.offers.suppressed = false
	s.offers.revivedAt = s.now
	s.send(&sched.Call{Type: sched.Call_REVIVE}, nil)
}

// declineAll gives back every offer and asks for no more.
func (s *scheduler) declineAll() {
	if s.offers.suppressed && s.offers.held() == 0 {
		return
	}
	s.decline(s.offers.expired(time.UnixMilli(s.now + 1)))
	if !s.offers.suppressed {
		s.offers.suppressed = true
		s.send(&sched.Call{Type: sched.Call_SUPPRESS}, nil)
	}
}

// decline gives offers back.
func (s *scheduler) decline(ids []string) {
	if len(ids) == 0 {
		return
	}
	decline := &sched.Call_Decline{}
	for _, id := range ids {
		s.offers.remove(id)
		decline.OfferIDs = append(decline.OfferIDs, mesos.OfferID{Value: id})
	}
	if s.cfg.declineFor > 0 {
		seconds := s.cfg.declineFor.Seconds()
		decline.Filters = &mesos.Filters{RefuseSeconds: &seconds}
	}
	s.countOffers(0, 0, len(ids))
	s.giveBack(decline)
}

// giveBack sends a DECLINE, again and again until the cluster has taken it: nobody else could use the
// offers before the subscription ends.
func (s *scheduler) giveBack(decline *sched.Call_Decline) {
	subscription := s.subscriptions
	s.send(&sched.Call{Type: sched.Call_DECLINE, Decline: decline}, func(err error) {
		if err == nil {
			return
		}
		s.post(func() {
			if subscription == s.subscriptions { // else the offers are void
				s.offers.undeclined, s.offers.undeclinedAt = append(s.offers.undeclined, decline), s.now
			}
		})
	})
}

// giveBackAgain repeats the DECLINEs that did not get through.
func (s *scheduler) giveBackAgain() {
	if s.now-s.offers.undeclinedAt < unsentPause.Milliseconds() {
		return
	}
	again := s.offers.undeclined
	s.offers.undeclined = nil
	for _, decline := range again {
		s.giveBack(decline)
	}
}

// tendLater sets the timer for the next check of the offers: in time to ask for more while they are
// wanted, else for what is due next, and in time to give back what is held for too long.
func (s *scheduler) tendLater(wanted bool) {
	at := int64(math.MaxInt64)
	by := func(instant int64) { at = min(at, max(instant, s.now+1)) }
	if wanted {
		by(s.now + max(s.cfg.reviveEvery, unsentPause).Milliseconds())
	} else if next := s.dues.next(); next != nil {
		by(next.at - s.cfg.reviveEvery.Milliseconds() - lookAhead.Milliseconds())
	}
	if since, ok := s.offers.oldest(); ok {
		by(since.Add(offerHold).UnixMilli() + 1)
	}
	if len(s.offers.undeclined) > 0 {
		by(s.offers.undeclinedAt + unsentPause.Milliseconds())
	}
	if t := &s.offers.timer; at < math.MaxInt64 && (!t.set() || t.at > at) {
		s.timers.move(t, at)
	}
}
