package mesostest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// offer is an offer that a framework has not answered.
type offer struct {
	id        string
	framework *framework
	agent     *Agent
	amounts   amounts
}

// filter keeps a framework from being offered no more than it has refused.
type filter struct {
	agent   *Agent
	refused amounts
	until   time.Time
}

// free is what nobody uses or is offered of an agent.
func (a *Agent) free() amounts {
	free := amountsOf(a.total)
	for _, t := range a.tasks {
		if !terminal(t.known) {
			free.subtract(t.info.Resources)
		}
	}
	for _, g := range a.groups {
		free.subtract(g.Resources)
	}
	for _, o := range a.offered {
		for k, n := range o.amounts {
			free[k] -= n
		}
	}
	return free
}

// allocate offers what is free, and reports whether there was anything.
func (m *Master) allocate() bool {
	offers := make(map[*framework][]mesos.Offer)
	for _, a := range m.agents {
		if a.state != agentActive {
			continue
		}
		for _, f := range m.byShare() {
			if offer, ok := m.offer(f, a); ok {
				offers[f] = append(offers[f], offer)
			}
		}
	}
	for f, list := range offers {
		f.tell(&sched.Event{Type: sched.Event_OFFERS, Offers: &sched.Event_Offers{Offers: list}})
	}
	return len(offers) > 0
}

// byShare lists the frameworks, those with fewest tasks first.
func (m *Master) byShare() []*framework {
	all := m.sorted()
	slices.SortStableFunc(all, func(a, b *framework) int { return cmp.Compare(len(a.tasks), len(b.tasks)) })
	return all
}

func (m *Master) offer(f *framework, a *Agent) (mesos.Offer, bool) {
	if f.stream == nil || f.suppressed {
		return mesos.Offer{}, false
	}
	free := a.free()
	maps.DeleteFunc(free, func(k [2]string, n int64) bool {
		role, _, _ := strings.Cut(k[1], keySeparator)
		return n <= 0 || role != "*" && !slices.Contains(f.roles(), role)
	})
	if free[[2]string{"cpus", "*"}] < 10 && free[[2]string{"mem", "*"}] < 32_000 && !reserved(free) || f.filtered(a, free) {
		return mesos.Offer{}, false
	}
	o := &offer{id: fmt.Sprintf("%s-O%d", m.id, m.numbers.offer), framework: f, agent: a, amounts: free}
	m.numbers.offer++
	m.offers[o.id] = o
	if a.offered == nil {
		a.offered = make(map[string]*offer)
	}
	a.offered[o.id] = o
	return o.message(), true
}

func reserved(a amounts) bool {
	for k := range a {
		if k[1] != "*" {
			return true
		}
	}
	return false
}

func (f *framework) filtered(a *Agent, free amounts) bool {
	now := time.Now()
	f.filters = slices.DeleteFunc(f.filters, func(r *filter) bool { return !r.until.After(now) })
	return slices.ContainsFunc(f.filters, func(r *filter) bool { return r.agent == a && r.refused.covers(free) })
}

// message writes an offer in the format that the framework's capabilities ask for.
func (o *offer) message() mesos.Offer {
	f, a := o.framework, o.agent
	host, port := splitAddress(a.address)
	offer := mesos.Offer{
		ID: mesos.OfferID{Value: o.id}, FrameworkID: mesos.FrameworkID{Value: f.id}, AgentID: mesos.AgentID{Value: a.id},
		Hostname: a.host, Attributes: a.attributes,
		URL: &mesos.URL{Scheme: "http", Path: new("/slave(1)"),
			Address: mesos.Address{Hostname: new(a.host), IP: new(host), Port: int32(port)}},
	}
	multi := f.capable(mesos.FrameworkInfo_Capability_MULTI_ROLE)
	if multi {
		offer.AllocationInfo = &mesos.Resource_AllocationInfo{Role: new(f.defaultRole())}
	}
	offer.ExecutorIDs = a.executorsOf(f)
	for _, r := range a.total {
		if r.Scalar != nil {
			key := resourceKey(&r)
			if o.amounts[key] <= 0 {
				continue
			}
			r.Scalar = &mesos.Value_Scalar{Value: fromThousandths(o.amounts[key])}
		}
		if multi {
			r.AllocationInfo = offer.AllocationInfo
		}
		if !f.capable(mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT) {
			r = unrefined(r)
		}
		offer.Resources = append(offer.Resources, r)
	}
	return offer
}

// unrefined writes a reservation in the old format: a role, and a reservation
// beside it if it is dynamic.
func unrefined(r mesos.Resource) mesos.Resource {
	role := resourceRole(&r)
	r.Role = &role
	if n := len(r.Reservations); n > 0 {
		if r.Reservations[n-1].GetType() == mesos.Resource_ReservationInfo_DYNAMIC {
			r.Reservation = &mesos.Resource_ReservationInfo{Principal: r.Reservations[n-1].Principal, Labels: r.Reservations[n-1].Labels}
		}
		r.Reservations = nil
	}
	return r
}

func (m *Master) removeOffer(o *offer) {
	delete(m.offers, o.id)
	delete(o.agent.offered, o.id)
}

func (m *Master) dropOffers(f *framework) {
	for _, o := range m.offers {
		if o.framework == f {
			m.removeOffer(o)
		}
	}
}

func (m *Master) rescind(o *offer) {
	m.happened["offer rescinded"]++
	m.removeOffer(o)
	o.framework.tell(&sched.Event{
		Type: sched.Event_RESCIND, Rescind: &sched.Event_Rescind{OfferID: mesos.OfferID{Value: o.id}},
	})
}

// giveBack declines an offer. An unknown one is none of the master's business.
func (m *Master) giveBack(f *framework, id string, filters *mesos.Filters) {
	if o := m.offers[id]; o != nil && o.framework == f {
		m.removeOffer(o)
		f.refuse(o.agent, o.amounts, filters)
	}
}

// refuse filters what was left for five seconds, or as long as asked for.
func (f *framework) refuse(a *Agent, left amounts, filters *mesos.Filters) {
	seconds := 5.0
	if filters != nil && filters.RefuseSeconds != nil {
		seconds = *filters.RefuseSeconds
	}
	if seconds > 0 {
		until := time.Now().Add(time.Duration(seconds * float64(time.Second)))
		f.filters = append(f.filters, &filter{agent: a, refused: left, until: until})
	}
}
