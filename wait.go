package main

import (
	"context"
	"errors"
	"time"
)

// both returns a context that ends with either of two.
func both(ctx, other context.Context) (context.Context, context.CancelCauseFunc) {
	joint, cancel := context.WithCancelCause(ctx)
	undo := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return joint, func(err error) { undo(); cancel(err) }
}

// rest waits, and reports whether ctx still lasts.
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

// outlast takes what only one process can have, waiting a moment if it is occupied.
func outlast[T any](occupied error, take func() (T, error)) (T, error) {
	for end := time.Now().Add(afterlife); ; time.Sleep(10 * time.Millisecond) {
		got, err := take()
		if err == nil || !errors.Is(err, occupied) || time.Now().After(end) {
			return got, err
		}
	}
}
