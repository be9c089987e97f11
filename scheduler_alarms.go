package main

import "container/heap"

// timerKind says what a timer is for.
type timerKind uint8

const (
	timerDue         timerKind = iota // an occurrence of entry is due
	timerRetry                        // the retry delay of run has passed
	timerOverlap                      // run has waited for its own job until its epsilon ended
	timerKill                         // ask the cluster again to kill run
	timerStaging                      // run was launched and never heard of
	timerUnreachable                  // run's agent has been away for too long
	timerReconcile                    // compare what runs with the cluster
	timerLate                         // run has waited for longer than --notify_late
	timerOffers                       // ask for offers, or give some back
	timerLimit                        // run has taken as long as it may
	timerSlow                         // run takes longer than its job expects
	timerAbsence                      // entry has not succeeded for too long
	timerPause                        // the pause of entry ends
)

// An alarm is one instant at which the scheduler has to do something.
// An alarm that is no longer wanted stays until it fires and is then ignored:
// its entry or run says whether it still applies.
type alarm struct {
	at    int64 // ms since the epoch
	entry *entry
	run   *openRun
	index int32 // in the heap, from 1; 0 while it is not set
	kind  timerKind
}

// set reports whether the alarm is in a heap. One that was never needed is not.
func (t *alarm) set() bool { return t != nil && t.index > 0 }

// alarms is a heap of alarms by instant.
type alarms []*alarm

func (h alarms) Len() int           { return len(h) }
func (h alarms) Less(i, j int) bool { return h[i].at < h[j].at }
func (h alarms) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i+1), int32(j+1)
}

// Push and Pop serve container/heap.
func (h *alarms) Push(x any) {
	t := x.(*alarm)
	*h = append(*h, t)
	t.index = int32(len(*h))
}

func (h *alarms) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = 0
	return t
}

// move changes the instant of a timer, adding it if it is not there.
func (h *alarms) move(t *alarm, at int64) {
	t.at = at
	if !t.set() {
		heap.Push(h, t)
		return
	}
	heap.Fix(h, int(t.index-1))
}

// drop takes a timer out, if it is there.
func (h *alarms) drop(t *alarm) {
	if t.set() {
		heap.Remove(h, int(t.index-1))
	}
}

// next returns the earliest timer without removing it, or nil.
func (h alarms) next() *alarm {
	if len(h) == 0 {
		return nil
	}
	return h[0]
}

// due reports whether a timer has to fire by then.
func (h alarms) due(now int64) bool {
	t := h.next()
	return t != nil && t.at <= now
}

// until calls f for every timer up to an instant, in no order. It looks at
// no more than twice as many as there are.
func (h alarms) until(at int64, f func(*alarm)) { h.untilFrom(0, at, f) }

func (h alarms) untilFrom(i int, at int64, f func(*alarm)) {
	if i < len(h) && h[i].at <= at {
		f(h[i])
		h.untilFrom(2*i+1, at, f)
		h.untilFrom(2*i+2, at, f)
	}
}
