package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	// acknowledgers is the number of connections for acknowledgements. Their
	// order does not matter: a task's next update comes after the one before
	// is acknowledged. All other calls go one after another.
	acknowledgers = 4
	callTimeout   = 30 * time.Second
	// maxQueuedCalls is more than any turn of the scheduler makes; one with ten thousand jobs due makes 50,000.
	maxQueuedCalls = 200_000
)

// frameworkUnknown is what a master says to a call of a framework that has not subscribed with it.
const frameworkUnknown = "Framework cannot be found"

// queuedCall is a call that has not been sent.
type queuedCall struct {
	call *sched.Call
	done func(error)
}

// callQueue holds the calls of one subscription.
type callQueue struct {
	mu     sync.Mutex
	closed bool
	ready  chan struct{} // has an element if calls is not empty
	acks   chan struct{} // the same for acknowledgements
	calls  []queuedCall
	ackd   []queuedCall
	full   func() // ends the subscription
}

// send queues a call for the present subscription. Without one done gets
// errNotSent. The call belongs to the cluster from now on.
func (m *mesosCluster) send(call *sched.Call, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	m.mu.Lock()
	q := m.queue
	m.mu.Unlock()
	if q == nil || !q.put(queuedCall{call, done}) {
		go done(errNotSent) // it may wait for whoever called send
	}
}

// attach makes the queue of a new subscription and starts its senders.
func (m *mesosCluster) attach(s *subscription) *callQueue {
	q := &callQueue{ready: make(chan struct{}, 1), acks: make(chan struct{}, 1)}
	q.full = func() { s.end(errors.New("master takes calls too slowly")) }
	s.wg.Go(func() { s.sendFrom(q, &q.calls, q.ready) })
	for range acknowledgers {
		s.wg.Go(func() { s.sendFrom(q, &q.ackd, q.acks) })
	}
	m.mu.Lock()
	m.queue = q
	m.mu.Unlock()
	return q
}

// detach ends a queue: calls that have not been written never will be.
func (m *mesosCluster) detach(q *callQueue) {
	if q == nil {
		return
	}
	m.mu.Lock()
	m.queue = nil
	m.mu.Unlock()
	for _, c := range q.close() {
		c.done(errNotSent)
	}
}

// put reports whether the queue is still open. A master that takes calls too slowly
// must not fill the memory: that ends the subscription, and with it what waits.
func (q *callQueue) put(c queuedCall) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	if len(q.calls)+len(q.ackd) >= maxQueuedCalls {
		q.full()
		return false
	}
	calls, ready := &q.calls, q.ready
	if c.call.Type == sched.Call_ACKNOWLEDGE {
		calls, ready = &q.ackd, q.acks
	}
	*calls = append(*calls, c)
	nudge(ready)
	return true
}

func nudge(ready chan<- struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}

// take removes the first call. It leaves the signal on if there are more.
func (q *callQueue) take(calls *[]queuedCall, ready chan<- struct{}) (queuedCall, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(*calls) == 0 {
		return queuedCall{}, false
	}
	c := (*calls)[0]
	(*calls)[0] = queuedCall{}
	if *calls = (*calls)[1:]; len(*calls) > 0 {
		nudge(ready)
	}
	return c, true
}

func (q *callQueue) close() []queuedCall {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	left := append(q.calls, q.ackd...)
	q.calls, q.ackd = nil, nil
	return left
}

func (s *subscription) sendFrom(q *callQueue, calls *[]queuedCall, ready chan struct{}) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ready:
		}
		if s.ctx.Err() != nil { // both may be ready
			return
		}
		if c, ok := q.take(calls, ready); ok {
			start := time.Now()
			err := s.deliver(c.call)
			s.onCall(c.call.Type.String(), time.Since(start), err)
			c.done(err)
		}
	}
}

// deliver sends one call and tells what became of it: nil, errNotSent within the
// error if the master has not taken it, or else nobody knows.
func (s *subscription) deliver(call *sched.Call) error {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	connected := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected = true },
	})
	call.FrameworkID = &mesos.FrameworkID{Value: *s.id}
	resp, err := s.post(ctx, s.url.String(), s.streamID, call)
	switch {
	case err != nil && !connected:
		err = fmt.Errorf("%w: %w", errNotSent, err)
	case err == nil:
		err = s.outcome(resp)
	}
	if err != nil && s.ctx.Err() == nil {
		s.log.Warn("call failed", "call", call.Type, "master", s.url.Host, "error", err)
	}
	return err
}

// outcome reads the answer to a call. Only the stream of events decides when to
// subscribe anew, except that a master which does not count us as subscribed, or
// does not know us since it was started anew, will not send any: a wrong stream id
// means that another scheduler has taken over, which the stream is about to tell.
func (s *subscription) outcome(resp *http.Response) error {
	switch status := resp.StatusCode; {
	case status == http.StatusAccepted || status == http.StatusOK:
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection can be used again
		return nil
	case status == http.StatusServiceUnavailable, status >= 300 && status < 500:
		refusal := &streamError{status, bodyText(resp)}
		if status == http.StatusForbidden || status == http.StatusBadRequest && refusal.text == frameworkUnknown {
			s.end(errors.New("master does not count the framework as subscribed"))
		}
		return fmt.Errorf("%w: %w", errNotSent, refusal)
	default:
		return &streamError{status, bodyText(resp)}
	}
}
