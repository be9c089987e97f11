package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// go test -json implies -v, and formatting what thousands of terms log takes longer than the terms do.
var showLogs = flag.Bool("logs", false, "show what the schedulers and clusters under test log")

// A logTap is the handler of a log that nobody reads until a test wants to.
type logTap struct {
	to atomic.Pointer[slog.TextHandler]
}

// newLogTap returns a log that goes nowhere, or with -logs to the test's own.
func newLogTap(t testing.TB) *slog.Logger {
	tap := new(logTap)
	if *showLogs {
		tap.to.Store(slog.NewTextHandler(testWriter{t}, nil))
	}
	return slog.New(tap)
}

// readLog has what comes from now on in a log of newLogTap written to w, which several goroutines may use at once.
func readLog(log *slog.Logger, w io.Writer) {
	log.Handler().(*logTap).to.Store(slog.NewTextHandler(w, nil))
}

func (l *logTap) Enabled(ctx context.Context, level slog.Level) bool {
	to := l.to.Load()
	return to != nil && to.Enabled(ctx, level)
}

func (l *logTap) Handle(ctx context.Context, r slog.Record) error { return l.to.Load().Handle(ctx, r) }

func (l *logTap) WithAttrs([]slog.Attr) slog.Handler { return l } // nobody who is given one adds any

func (l *logTap) WithGroup(string) slog.Handler { return l }

// testWriter writes to the log of a test.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// logBuffer keeps what is logged, for a test to look at.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
