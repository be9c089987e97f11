package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestRequestLogForgetsABurstLittleByLittle(t *testing.T) {
	t.Parallel()
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

func TestAnswerToARequestIsStoredWithItsChange(t *testing.T) {
	t.Parallel()
	scenario(t, "also when many come at once", func(b *bench) {
		const burst = 400
		b.start()
		stored := map[string]int{} // number of the commit, by key
		hold := make(chan struct{})
		b.store.before = func(records []record) error {
			<-hold
			for _, r := range records {
				stored[r.key] = b.store.commits
			}
			return nil
		}
		filler := strings.Repeat("x", 3000)
		var posting sync.WaitGroup
		for i := range burst {
			posting.Go(func() {
				name := fmt.Sprintf("j%03d", i)
				doc := fmt.Appendf(nil, `{"name":%q,"command":"true","description":%q,"schedule":"R/2100-01-01T00:00:00Z/P1D"}`, name, filler)
				err := b.s.putJob(withRequest(b.t.Context(), name), name, func(old *Job) (*Job, error) {
					return decodeJob(doc, b.cfg.defaults, dialect2, old)
				})
				if err != nil {
					b.t.Errorf("put %s: %v", name, err)
				}
			})
		}
		synctest.Wait()
		close(hold)
		posting.Wait()
		commits := map[int]bool{}
		for i := range burst {
			job, answer := stored[fmt.Sprintf("J_j%03d", i)], stored[requestRecord(fmt.Sprintf("j%03d", i))]
			commits[job] = true
			if job != answer {
				b.t.Errorf("job %d is in commit %d, the answer to its request in commit %d", i, job, answer)
			}
		}
		if len(commits) < 3 {
			b.t.Errorf("%d jobs went into %d commits, too few to prove anything", burst, len(commits))
		}
	})
}
