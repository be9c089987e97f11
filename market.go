package main

import (
	"cmp"
	"math"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// market holds offers and places tasks on them, first fit in the order in
// which agents came. It belongs to one goroutine.
type market struct {
	role     string
	agents   []*agentOffers
	byAgent  map[string]*agentOffers
	byOffer  map[string]*agentOffers
	kept     *keeping                           // the agent that is kept for one run, or nil
	silent   func(agentID string) (since int64) // returns since when an agent has owed answers to launches; 0 if it owes none
	passed   string                             // agent that the last call of place passed over because it owes answers
	gone     []*agentOffers                     // agents no longer held, as last seen, newest last
	compared comparisons
	full     []resources // needs that found no room since the last offer came
}

// keptFor stands before the run that an agent is kept for, in what is said to other runs that wait.
const keptFor = " is kept for "

// A keeping means that an agent is kept for a run that has waited too long: nothing else is placed there,
// except what will not delay it.
type keeping struct {
	agent string // id
	run   string // id
	why   string // for people
}

// remembered bounds the number of agents that are remembered for explanations only.
const remembered = 50

// newMarket makes the market of a framework in role.
func newMarket(role string) *market {
	return &market{
		role:     role,
		byAgent:  make(map[string]*agentOffers),
		byOffer:  make(map[string]*agentOffers),
		silent:   func(string) int64 { return 0 },
		compared: comparisons{known: make(map[comparison]bool), left: comparedPerTurn},
	}
}

// add adds an offer. An offer that is held already is left as it is.
func (m *market) add(o *mesos.Offer, now time.Time) {
	if m.byOffer[o.ID.Value] != nil {
		return
	}
	a := m.byAgent[o.AgentID.Value]
	if a == nil {
		a = &agentOffers{id: o.AgentID.Value}
		m.byAgent[a.id] = a
		m.agents = append(m.agents, a)
		m.forget(a.id)
	}
	a.hostname, a.url, a.attributes = o.Hostname, agentURL(o.URL), o.Attributes
	held := &heldOffer{id: o.ID.Value, since: now, pools: poolsOf(o.Resources, m.role)}
	for _, p := range held.pools {
		*held.free.amount(p.resource.Name) += p.left
	}
	a.offers = append(a.offers, held)
	a.free = a.free.plus(held.free)
	m.byOffer[held.id] = a
	m.full = nil
}

// remove drops an offer: it has been used, declined or rescinded. It reports
// whether the offer was held.
func (m *market) remove(offerID string) bool {
	a := m.byOffer[offerID]
	if a == nil {
		return false
	}
	delete(m.byOffer, offerID)
	i := slices.IndexFunc(a.offers, func(o *heldOffer) bool { return o.id == offerID })
	if len(a.offers) == 1 {
		delete(m.byAgent, a.id)
		m.agents = slices.DeleteFunc(m.agents, func(b *agentOffers) bool { return a == b })
		m.gone = append(m.gone, a)
		if len(m.gone) > remembered {
			m.gone = slices.Delete(m.gone, 0, 1)
		}
		return true
	}
	a.free = a.free.minus(a.offers[i].free)
	a.offers = slices.Delete(a.offers, i, i+1)
	return true
}

// clear drops all offers: those of an earlier subscription are void. An agent that is kept stays kept.
func (m *market) clear() {
	empty := newMarket(m.role)
	empty.kept, empty.silent, empty.compared = m.kept, m.silent, m.compared
	*m = *empty
}

func (m *market) forget(agentID string) {
	m.gone = slices.DeleteFunc(m.gone, func(a *agentOffers) bool { return a.id == agentID })
}

// place takes what n needs out of the first agent that has it and meets all
// constraints, and reports whether there is one. The offers stay held; whoever
// sends the ACCEPT removes them. An agent that owes answers is passed over; if there is no other,
// passed names it until the next call.
func (m *market) place(n need) (placement, bool) {
	m.passed = ""
	for _, f := range m.full {
		if n.covers(f) {
			return placement{}, false
		}
	}
	short := true
	for _, a := range m.agents {
		if !a.free.covers(n.resources) {
			continue
		}
		short = false
		if !m.open(a, n) || m.meetsAll(a, n.constraints) != verdictYes {
			continue
		}
		if m.silent(a.id) == 0 {
			return a.draw(n.resources), true
		}
		if m.passed == "" {
			m.passed = a.id
		}
	}
	if short {
		m.noteFull(n.resources)
	}
	return placement{}, false
}

// placeOn is place on a given agent, whether or not it owes answers or is kept for another run.
func (m *market) placeOn(agentID string, n need) (placement, bool) {
	if !m.takes(agentID, n) {
		return placement{}, false
	}
	return m.byAgent[agentID].draw(n.resources), true
}

// takes reports whether an agent has what n needs and meets all its constraints.
func (m *market) takes(agentID string, n need) bool {
	a := m.byAgent[agentID]
	return a != nil && a.free.covers(n.resources) && m.meetsAll(a, n.constraints) == verdictYes
}

// open reports whether an agent is not kept for another run.
func (m *market) open(a *agentOffers, n need) bool {
	return m.kept == nil || m.kept.agent != a.id || m.kept.run == n.run
}

// noteFull remembers a need that no agent has room for, so that ten thousand
// tasks of that size cost no more than one.
func (m *market) noteFull(n resources) {
	m.full = slices.DeleteFunc(m.full, func(f resources) bool { return f.covers(n) })
	if len(m.full) < 16 {
		m.full = append(m.full, n)
	}
}

// suiting lists the agents that meet the constraints, among those held and those seen last.
func (m *market) suiting(constraints []Constraint) (ids []string) {
	for _, agents := range [][]*agentOffers{m.agents, m.gone} {
		for _, a := range agents {
			if m.meetsAll(a, constraints) == verdictYes {
				ids = append(ids, a.id)
			}
		}
	}
	return ids
}

// explain says for up to limit agents, those held first and then those seen
// last, why n is not placed there.
func (m *market) explain(n need, limit int) []refusal {
	var out []refusal
	seen := slices.Clone(m.agents)
	for _, a := range slices.Backward(m.gone) {
		seen = append(seen, a)
	}
	for _, a := range seen {
		if len(out) == limit {
			break
		}
		if why := m.refuses(a, n); why != "" {
			out = append(out, refusal{Agent: a.hostname, Reason: why})
		}
	}
	return out
}

func (m *market) refuses(a *agentOffers, n need) string {
	if why := m.violated(a, n.constraints); why != "" {
		return why
	}
	why := a.shortage(n.resources)
	if since := m.silent(a.id); since != 0 {
		why = joined(why, "agent "+a.hostname+" has not answered a launch since "+instant(time.UnixMilli(since)))
	}
	if !m.open(a, n) {
		why = joined(why, "agent "+a.hostname+keptFor+m.kept.why)
	}
	return why
}

// joined joins two texts, if there are two.
func joined(first, second string) string {
	if first == "" {
		return second
	}
	return first + "; " + second
}

// hostname returns the host name of an agent that is held or was seen recently, or else its id.
func (m *market) hostname(agentID string) string {
	for _, agents := range [][]*agentOffers{m.agents, m.gone} {
		if i := slices.IndexFunc(agents, func(a *agentOffers) bool { return a.id == agentID }); i >= 0 {
			return agents[i].hostname
		}
	}
	return agentID
}

// free is what an agent offers.
func (m *market) free(agentID string) resources {
	if a := m.byAgent[agentID]; a != nil {
		return a.free
	}
	return resources{}
}

// held counts the offers in the market.
func (m *market) held() int { return len(m.byOffer) }

// oldest returns since when the oldest offer has been held, if there is one.
func (m *market) oldest() (since time.Time, ok bool) {
	for _, a := range m.agents {
		for _, o := range a.offers {
			if !ok || o.since.Before(since) {
				since, ok = o.since, true
			}
		}
	}
	return since, ok
}

// expired lists the offers that have been held since before then.
func (m *market) expired(then time.Time) []string {
	return m.offersWhere(func(_ *agentOffers, o *heldOffer) bool { return o.since.Before(then) })
}

// surplus lists the offers beyond those that, in order, cover want. Those of a kept agent are
// all needed, and those of agents that owe answers go first.
func (m *market) surplus(want resources) []string {
	var kept resources
	beyond := func(owing bool) []string {
		return m.offersWhere(func(a *agentOffers, o *heldOffer) bool {
			if (m.silent(a.id) != 0) != owing {
				return false
			}
			if (m.kept == nil || m.kept.agent != a.id) && !adds(kept, o.free, want) {
				return true
			}
			kept = kept.plus(o.free)
			return false
		})
	}
	return append(beyond(false), beyond(true)...)
}

// adds reports whether free brings kept closer to want.
func adds(kept, free, want resources) bool {
	return kept.cpus < want.cpus && free.cpus > 0 ||
		kept.mem < want.mem && free.mem > 0 ||
		kept.disk < want.disk && free.disk > 0
}

func (m *market) offersWhere(match func(*agentOffers, *heldOffer) bool) []string {
	var ids []string
	for _, a := range m.agents {
		for _, o := range a.offers {
			if match(a, o) {
				ids = append(ids, o.id)
			}
		}
	}
	return ids
}

// endless is later than any instant, in ms.
const endless = int64(math.MaxInt64)

// An occupant takes room on an agent, and is expected to until an instant.
type occupant struct {
	resources
	until int64 // ms; endless if nobody can say when it ends
}

// roomFor predicts when an agent of that size will have room for what is needed beside its occupants, endless if that
// is unknown, and what it will have to spare then. An occupant that should have ended by now counts as endless.
func roomFor(size, needed resources, on []occupant, now int64) (at int64, spare resources) {
	free := size
	ends := make([]occupant, 0, len(on))
	for _, o := range on {
		free = free.minus(o.resources)
		if o.until > now && o.until < endless {
			ends = append(ends, o)
		}
	}
	slices.SortFunc(ends, func(a, b occupant) int { return cmp.Compare(a.until, b.until) })
	at = now
	for _, o := range ends {
		if free.covers(needed) {
			break
		}
		free, at = free.plus(o.resources), o.until
	}
	if !free.covers(needed) {
		return endless, resources{}
	}
	return at, free.minus(needed)
}
