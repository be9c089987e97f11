package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// idle lets virtual time pass without anything coming from outside: the scheduler wakes up by
// itself or not at all.
func idle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestOffersAreHeldForABoundedTime(t *testing.T) {
	for _, interval := range []time.Duration{0, 5 * time.Second, time.Minute} {
		scenario(t, fmt.Sprint("with --min_revive_offers_interval ", interval), func(b *bench) {
			b.cfg.reviveEvery = interval
			b.cluster.resize(1)
			b.start().post(`{"name":"a","command":"x","cpus":2,"schedule":"R0/2000-01-01T00:00:00Z/PT1H"}`)
			b.runNow("a") // which nothing that is offered has room for
			before := b.cluster.called(sched.Call_DECLINE)
			idle(offerHold - time.Second)
			if n := b.cluster.called(sched.Call_DECLINE) - before; n > 0 {
				b.t.Errorf("%d offers were given back before their time", n)
			}
			idle(2 * time.Second)
			if n := b.cluster.called(sched.Call_DECLINE) - before; n == 0 {
				b.t.Errorf("an offer that came %s ago is still held", offerHold+time.Second)
			}
		})
	}
	scenario(t, "with nothing held and --min_revive_offers_interval 0 offers are asked for again while work waits", func(b *bench) {
		b.cfg.reviveEvery = 0
		b.cluster.resize(1)
		b.cluster.behave(forEver)
		b.start().post(`{"name":"a","command":"x","cpus":1,"concurrent":true,"schedule":"R0/2000-01-01T00:00:00Z/PT1H"}`)
		b.runNow("a")
		b.runNow("a")
		idle(time.Minute)
		before := b.cluster.called(sched.Call_REVIVE)
		idle(time.Minute)
		if n := b.cluster.called(sched.Call_REVIVE) - before; n == 0 || n > 60 {
			b.t.Errorf("%d times in a minute, want it now and then", n)
		}
	})
}
