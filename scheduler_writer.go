package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A change is what one event did: records that must be stored before anybody
// may learn of it, the jobs that look different afterwards, and the effects
// (answers, calls to the cluster, notices) that make it known.
type change struct {
	records []record
	size    int
	view    viewChange
	totals  viewTotals
	effects []func(error)
	ends    error // the term ends when this is stored, for that reason; no later change is
}

// viewTotals are the numbers of a view that belong to no single job.
type viewTotals struct {
	queued, queuedHigh, running int
	oldestQueued                int64
	subscribed                  bool
	invalid                     []invalidRecord
	clock                       clockReport
	archived                    []segment
}

const (
	maxBatchSize    = 500 << 10 // bytes of records in one commit
	maxWaitingSize  = 64 << 20  // bytes that may wait before new changes are refused
	maxBatchChanges = 4096
)

// maxFlights is how many commits may be in flight in a store that takes the next one early.
const maxFlights = 2

// A flight is a batch of changes that is being stored.
type flight struct {
	batch   []*change
	records int
	began   time.Time
	outcome <-chan error
}

// A visit is run by the goroutine that calls the store. over says that the term is ending, so that it can only tell who waits. An
// error ends the term.
type visit func(ctx context.Context, over bool) error

// A writer stores changes in their order, one commit in flight or two, and runs the
// effects of each change, in the same order, once everything before it and the change
// itself are stored. What arrives meanwhile forms the next commit.
//
// Its goroutine is the only one that calls the store. Code that needs the stored records visits it when no commit
// is in flight. The effects run in another one, the herald's, concurrently with the commits that follow.
type writer struct {
	store     store
	batchSize int // bytes that go into one commit if there is a choice
	publish   func([]viewChange, viewTotals)
	onBatch   func(changes, records int, took time.Duration, err error) // may be nil
	log       *slog.Logger

	mu      sync.Mutex
	waiting []*change
	size    int
	wake    chan struct{}
	relief  chan struct{} // has an element after it was behind and has caught up

	flights  []flight // oldest first; they belong to the goroutine that calls the store
	visits   chan visit
	stopped  chan struct{} // closed when nobody calls the store any more
	pictures []*picture    // under way; they belong to the goroutine that calls the store
}

func newWriter(st store, batchSize int, publish func([]viewChange, viewTotals), log *slog.Logger) *writer {
	return &writer{
		store: st, batchSize: batchSize, publish: publish, log: log, wake: make(chan struct{}, 1), relief: make(chan struct{}, 1),
		visits: make(chan visit), stopped: make(chan struct{}),
	}
}

// enqueue adds a change. It never blocks.
func (w *writer) enqueue(c *change) {
	w.mu.Lock()
	w.waiting = append(w.waiting, c)
	w.size += c.size
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// full reports whether too much is waiting for new changes to be accepted.
func (w *writer) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size > maxWaitingSize
}

// isBehind reports whether enough waits for one commit after the next to be full, so that nothing is gained by more of it.
func (w *writer) isBehind() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size > 2*w.batchSize
}

// pending returns how many records wait for the commit in flight.
func (w *writer) pending() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.waiting {
		n += len(c.records)
	}
	return n
}

// run stores changes until ctx ends, or a commit or an effect fails. Changes that were not
// stored by then have their effects run with the error. While the store is busy with
// one batch, the one before it is made known.
func (w *writer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stored := make(chan []*change, 1)
	var herald sync.WaitGroup
	begin(&herald, w.log, "effects", cancel, func() {
		for batch := range stored {
			if err := w.announce(batch); err != nil {
				cancel(err)
			}
		}
	})
	unstored, err := w.storeAll(ctx, stored)
	close(w.stopped)
	close(stored)
	herald.Wait()
	if unstored == nil {
		w.abandon(nil, errNoLeader)
	} else {
		w.abandon(unstored, fmt.Errorf("store: %w", err))
	}
	return err
}

// storeAll hands on every stored batch, in order. It returns why it ended, and
// the changes of commits that have failed, if that is why.
func (w *writer) storeAll(ctx context.Context, stored chan<- []*change) ([]*change, error) {
	for {
		select {
		case v := <-w.visits: // one between two commits, so that neither has to wait for many of the other
			if failed, err := w.receive(ctx, v, stored); err != nil {
				return failed, err
			}
		default:
		}
		if w.mayBegin() {
			if batch := w.take(); len(batch) > 0 {
				w.begin(ctx, batch)
				continue
			}
		}
		if failed, err := w.await(ctx, stored); err != nil {
			return failed, err
		}
	}
}

// await waits for the outcome of the oldest commit, or for something to do.
func (w *writer) await(ctx context.Context, stored chan<- []*change) ([]*change, error) {
	if len(w.flights) == 0 {
		select {
		case <-w.wake:
			return nil, nil
		case v := <-w.visits:
			return w.receive(ctx, v, stored)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	wake := w.wake
	if !w.mayBegin() {
		wake = nil
	}
	select {
	case <-wake:
		return nil, nil
	case v := <-w.visits:
		return w.receive(ctx, v, stored)
	case err := <-w.flights[0].outcome:
		return w.land(err, stored)
	}
}

// receive lets a visitor in when no commit is in flight.
func (w *writer) receive(ctx context.Context, v visit, stored chan<- []*change) (failed []*change, err error) {
	for len(w.flights) > 0 && err == nil {
		failed, err = w.land(<-w.flights[0].outcome, stored)
	}
	if err != nil {
		_ = v(ctx, true)
		return failed, err
	}
	return nil, v(ctx, false)
}

// mayBegin reports whether the store takes another commit now.
func (w *writer) mayBegin() bool {
	if len(w.flights) == 0 {
		return true
	}
	_, staged := w.store.(stagedStore)
	last := w.flights[len(w.flights)-1].batch
	return staged && len(w.flights) < maxFlights && last[len(last)-1].ends == nil
}

// land takes in the outcome of the oldest commit. If that has failed, so have those after it, whose outcomes it waits for.
func (w *writer) land(err error, stored chan<- []*change) ([]*change, error) {
	f := w.flights[0]
	w.flights = w.flights[1:]
	if f.records > 0 && w.onBatch != nil {
		err = errors.Join(err, guarded(w.log, "count of commits", func() error {
			w.onBatch(len(f.batch), f.records, time.Since(f.began), err)
			return nil
		}))
	}
	if err == nil {
		stored <- f.batch
		return nil, f.batch[len(f.batch)-1].ends
	}
	failed := slices.Clip(f.batch)
	for _, f := range w.flights {
		<-f.outcome
		failed = append(failed, f.batch...)
	}
	w.flights = nil
	return failed, err
}

// take removes the changes of the next commit from the queue.
func (w *writer) take() []*change {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, size := 0, 0
	for n < len(w.waiting) && n < maxBatchChanges {
		size += w.waiting[n].size
		if n > 0 && (size > w.batchSize || w.waiting[n-1].ends != nil) {
			break
		}
		n++
	}
	batch := w.waiting[:n:n]
	w.waiting = w.waiting[n:]
	if len(w.waiting) == 0 {
		w.waiting = nil
	}
	was := w.size
	for _, c := range batch {
		w.size -= c.size
	}
	if was > w.batchSize && w.size <= w.batchSize {
		select {
		case w.relief <- struct{}{}:
		default:
		}
	}
	return batch
}

// begin gives a batch to the store. A panic in it is an error like any other.
func (w *writer) begin(ctx context.Context, batch []*change) {
	records := mergeRecords(batch)
	f := flight{batch: batch, records: len(records), began: time.Now()}
	err := guarded(w.log, "commit", func() error {
		if len(records) == 0 {
			return nil
		}
		w.keepForPictures(ctx, records)
		if st, ok := w.store.(stagedStore); ok {
			f.outcome = st.begin(ctx, records)
			return nil
		}
		return w.store.commit(ctx, records)
	})
	if f.outcome == nil {
		known := make(chan error, 1)
		known <- err
		f.outcome = known
	}
	w.flights = append(w.flights, f)
}

// announce publishes what a stored batch has changed, and then runs its effects. One that panics
// does not keep the others from running; the first such fault is returned.
func (w *writer) announce(batch []*change) error {
	views := make([]viewChange, 0, len(batch))
	for _, c := range batch {
		views = append(views, c.view)
	}
	failed := w.perform(func(error) { w.publish(views, batch[len(batch)-1].totals) }, nil)
	for _, c := range batch {
		for _, effect := range c.effects {
			if err := w.perform(effect, nil); failed == nil {
				failed = err
			}
		}
	}
	return failed
}

// perform runs an effect.
func (w *writer) perform(effect func(error), stored error) (err error) {
	defer recoverAs(w.log, "effect", &err)
	effect(stored)
	return nil
}

// abandon tells everybody who waits for a change that it was not stored, or,
// for what was in flight, that the outcome is unknown.
func (w *writer) abandon(batch []*change, err error) {
	w.mu.Lock()
	batch = append(batch[:len(batch):len(batch)], w.waiting...)
	w.waiting, w.size = nil, 0
	w.mu.Unlock()
	for _, c := range batch {
		for _, effect := range c.effects {
			_ = w.perform(effect, err) // the term is ending anyway
		}
	}
}

// mergeRecords joins the records of the changes; the last value of a key counts,
// so that no key occurs twice in one commit.
func mergeRecords(batch []*change) []record {
	n := 0
	for _, c := range batch {
		n += len(c.records)
	}
	merged := make([]record, 0, n)
	at := make(map[string]int, n)
	for _, c := range batch {
		for _, r := range c.records {
			if i, ok := at[r.key]; ok {
				merged[i].value = r.value
				continue
			}
			at[r.key] = len(merged)
			merged = append(merged, r)
		}
	}
	return merged
}

// refusedKey returns the key of the record that a store has refused for good.
func refusedKey(err error) (string, bool) {
	if e, ok := errors.AsType[*recordError](err); ok {
		return e.key, true
	}
	return "", false
}
