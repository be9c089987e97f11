package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// A panicError is a panic, which is a bug. It ends what has panicked (a term, a subscription, a
// session), which starts again from what is stored, and never the process.
type panicError struct {
	part  string
	value any
}

func (e *panicError) Error() string { return fmt.Sprintf("%s: %v", e.part, e.value) }

// recoverAs makes a panic the error of the function that defers it.
func recoverAs(log *slog.Logger, part string, err *error) {
	if p := recover(); p != nil {
		log.Error(part+" failed; starting again", "panic", p, "stack", string(debug.Stack()))
		*err = &panicError{part, p}
	}
}

// guarded returns the error of f, or its panic as an error.
func guarded(log *slog.Logger, part string, f func() error) (err error) {
	defer recoverAs(log, part, &err)
	return f()
}

// begin runs f in a goroutine of wg. A panic there goes to failed.
func begin(wg *sync.WaitGroup, log *slog.Logger, part string, failed func(error), f func()) {
	wg.Go(func() {
		if err := guarded(log, part, func() error { f(); return nil }); err != nil {
			failed(err)
		}
	})
}

// panicPause is how long to wait after a panic before running again.
const panicPause = time.Second

// unbroken runs f until it returns. After a panic it runs again.
func unbroken(ctx context.Context, log *slog.Logger, part string, f func(context.Context)) {
	for guarded(log, part, func() error { f(ctx); return nil }) != nil && rest(ctx, panicPause) {
	}
}

// both returns a context that ends when either of two ends. The function that it also returns
// ends it with a cause, and must be called.
func both(ctx, other context.Context) (context.Context, context.CancelCauseFunc) {
	joint, cancel := context.WithCancelCause(ctx)
	undo := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return joint, func(err error) { undo(); cancel(err) }
}

// rest waits for d, and reports whether ctx is still alive. Retry loops call it between
// attempts.
func rest(ctx context.Context, d time.Duration) bool { return restOr(ctx, d, nil) }

// restOr waits for d, or until wake is closed, and reports whether ctx is still alive.
func restOr(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// afterlife is how long a predecessor's descriptors may stay open after it is gone: if it was killed while
// starting a child, they stay open in that child until the child executes its program.
const afterlife = time.Second

// outlast takes what only one process can have (a port, a lock), and retries for a moment
// while take reports that it is occupied.
func outlast[T any](occupied error, take func() (T, error)) (T, error) {
	for end := time.Now().Add(afterlife); ; time.Sleep(10 * time.Millisecond) {
		got, err := take()
		if err == nil || !errors.Is(err, occupied) || time.Now().After(end) {
			return got, err
		}
	}
}

// A backoff spreads out retries: random waits below a bound that doubles from first to last.
type backoff struct{ first, last, bound time.Duration }

// reset makes the next wait a short one again.
func (b *backoff) reset() { b.bound = 0 }

// next returns how long to wait before the next attempt.
func (b *backoff) next() time.Duration {
	b.bound = min(max(2*b.bound, b.first), b.last)
	return b.bound/4 + rand.N(3*b.bound/4)
}

// A mailbox is a queue that keeps the order and never blocks those who put items into it. It has no
// bound: those who need one check size.
type mailbox[T any] struct {
	ready chan struct{} // holds a token when there may be something to take

	mu     sync.Mutex
	items  []T
	closed bool
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{ready: make(chan struct{}, 1)}
}

// put adds an item and reports whether it will be taken: not after close.
func (m *mailbox[T]) put(item T) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.items = append(m.items, item)
	m.signal()
	return true
}

func (m *mailbox[T]) signal() {
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take returns all waiting items.
func (m *mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = nil
	return items
}

// first takes the item that has waited longest, for mailboxes with several takers. It puts the token back if there are more.
func (m *mailbox[T]) first() (item T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.items) == 0 {
		return item, false
	}
	item = m.items[0]
	clear(m.items[:1]) // so that the array does not keep the item alive
	if m.items = m.items[1:]; len(m.items) > 0 {
		m.signal()
	}
	return item, true
}

func (m *mailbox[T]) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items)
}

// close refuses further items and returns those not taken.
func (m *mailbox[T]) close() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items, m.closed = nil, true
	return items
}
