package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// both returns a context that ends with either of two. What it returns besides ends it with a
// cause, and must be called.
func both(ctx, other context.Context) (context.Context, context.CancelCauseFunc) {
	joint, cancel := context.WithCancelCause(ctx)
	undo := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return joint, func(err error) { undo(); cancel(err) }
}

// rest waits for d, and reports whether ctx still lasts. It is what loops that try again
// do between two attempts.
func rest(ctx context.Context, d time.Duration) bool { return restOr(ctx, d, nil) }

// restOr waits for d, or until wake is closed, and reports whether ctx still lasts.
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

// afterlife is how long what a predecessor had open may stay so when it is gone: killed while
// it starts a child, it lives on in that child until the child executes its program.
const afterlife = time.Second

// outlast takes what only one process can have (a port, a lock), and tries for a moment longer
// while take answers that it is occupied.
func outlast[T any](occupied error, take func() (T, error)) (T, error) {
	for end := time.Now().Add(afterlife); ; time.Sleep(10 * time.Millisecond) {
		got, err := take()
		if err == nil || !errors.Is(err, occupied) || time.Now().After(end) {
			return got, err
		}
	}
}

// A backoff spreads retries: random waits below a bound that doubles, from first to last.
type backoff struct{ first, last, bound time.Duration }

// reset has the next wait be a short one again.
func (b *backoff) reset() { b.bound = 0 }

// next returns how long to wait before the next attempt.
func (b *backoff) next() time.Duration {
	b.bound = min(max(2*b.bound, b.first), b.last)
	return b.bound/4 + rand.N(3*b.bound/4)
}
