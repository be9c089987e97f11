package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

func TestDialGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s, err := dialZK(ctx, []string{"127.0.0.1:1"}, time.Second, "", slog.New(slog.DiscardHandler)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dialZK = %v, %v, want %v", s, err, context.DeadlineExceeded)
	}
}
