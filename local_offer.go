package main

import (
	"fmt"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// offerTime is how long an offer stays when more has become free: a scheduler that
// has work for it answers sooner, and its launch must not cross a RESCIND.
const offerTime = time.Second

// maxRescinded bounds how many withdrawn offers are remembered.
const maxRescinded = 1000

// offer offers everything that is free, replacing the outstanding offer if that is
// for other resources.
func (s *localSession) offer() {
	free := s.l.total.minus(s.used)
	if s.suppressed || s.offered != "" && s.inOffer == free {
		return
	}
	if wait := time.Until(s.until); wait > 0 && s.refused.covers(free) {
		s.wake.Reset(wait)
		return
	}
	if wait := time.Until(s.offeredAt.Add(offerTime)); wait > 0 && s.offered != "" {
		s.wake.Reset(wait)
		return
	}
	s.rescind()
	if free.cpus <= 0 || free.mem <= 0 {
		return
	}
	s.offers++
	s.offered = fmt.Sprintf("%s-O%d-%d", s.l.agent, s.epoch, s.offers)
	s.offeredAt, s.inOffer = time.Now(), free
	s.handle(&sched.Event{Type: sched.Event_OFFERS, Offers: &sched.Event_Offers{Offers: []mesos.Offer{{
		ID:          mesos.OfferID{Value: s.offered},
		FrameworkID: mesos.FrameworkID{Value: s.framework},
		AgentID:     mesos.AgentID{Value: s.l.agent},
		Hostname:    s.l.hostname,
		Resources:   scalarsOf(free),
	}}}})
}

func (s *localSession) rescind() {
	if s.offered == "" {
		return
	}
	if len(s.rescinded) >= maxRescinded {
		clear(s.rescinded)
	}
	s.rescinded[s.offered] = true
	s.handle(&sched.Event{Type: sched.Event_RESCIND, Rescind: &sched.Event_Rescind{
		OfferID: mesos.OfferID{Value: s.offered},
	}})
	s.offered = ""
}

// consume ends an offer and reports whether it could still be accepted. A
// rescinded one can: its resources were part of the one that replaced it, and a
// scheduler may have been storing its launch when it was withdrawn.
func (s *localSession) consume(id string) bool {
	if id == s.offered {
		s.offered = ""
		return true
	}
	if !s.rescinded[id] {
		return false
	}
	delete(s.rescinded, id)
	s.rescind()
	return true
}

func (s *localSession) decline(id string, filters *mesos.Filters) {
	delete(s.rescinded, id)
	if id != s.offered {
		return
	}
	s.offered = ""
	s.refuse(filters)
}

// refuse holds back offers of what is free now for the time the filters say.
func (s *localSession) refuse(filters *mesos.Filters) {
	seconds := 5.0
	if filters != nil && filters.RefuseSeconds != nil && *filters.RefuseSeconds >= 0 {
		seconds = min(*filters.RefuseSeconds, 365*24*3600)
	}
	s.refused = s.l.total.minus(s.used)
	s.until = time.Now().Add(time.Duration(seconds * float64(time.Second)))
}
