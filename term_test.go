package main

import (
	"context"
	"testing"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A talkative cluster tells the fate of many calls when its subscription ends, and
// waits until it is heard.
type talkative struct {
	cluster
	tell func(error)
}

func (c *talkative) run(ctx context.Context, id string, handle func(*sched.Event)) error {
	err := c.cluster.run(ctx, id, handle)
	for range 5000 {
		c.tell(errNotSent)
	}
	return err
}

func TestEndOfTerm(t *testing.T) {
	scenario(t, "the cluster is not left talking to nobody", func(b *bench) {
		b.start().post(parked)
		b.end()
		c := &talkative{cluster: b.cluster.client(b.s.log)}
		b.s = newScheduler(b.cfg, b.store, c, b.s.log)
		c.tell = func(err error) { b.s.post(func() {}) }
		b.do("load", b.s.load(b.t.Context()))
		ctx, stop := context.WithCancel(b.t.Context())
		b.stop, b.done = stop, make(chan error, 1)
		go func() { b.done <- b.s.run(ctx) }()
		b.wait(0) // the end of the test ends the term, which must not hang
	})
}
