package main

import (
	"fmt"
	"testing"
)

func TestRequestLogForgetsABurstLittleByLittle(t *testing.T) {
	l := newRequestLog()
	const burst = 10_000
	for i := range burst {
		if out := l.remember(newRequestName(fmt.Sprintf("id%d", i)), "", 1000); len(out) != 1 {
			t.Fatalf("remember of request %d stores %d records, want 1", i, len(out))
		}
	}
	later := int64(1001) + requestMemory.Milliseconds()
	for i := range burst / forgetAtOnce {
		out := l.remember(newRequestName(fmt.Sprintf("later%d", i)), "", later)
		if len(out) != forgetAtOnce+1 {
			t.Fatalf("remember %d after a burst stores %d records, want %d", i, len(out), forgetAtOnce+1)
		}
	}
	if out := l.remember(newRequestName("last"), "", later); len(out) != 1 || len(l.answers) != burst/forgetAtOnce+1 || len(l.order) != len(l.answers) {
		t.Errorf("after that remember stores %d records and %d answers are known, want 1 and %d", len(out), len(l.answers), burst/forgetAtOnce+1)
	}
}
