package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeCQL is a Cassandra in memory that notes statements and answers as the test says.
type fakeCQL struct {
	mu       sync.Mutex
	down     bool                       // no session can be made
	answer   func(s cqlStatement) error // nil for success
	carried  []cqlStatement             // those with values that succeeded, in no order
	schema   []string                   // those without
	sessions int
}

func (f *fakeCQL) dial(context.Context, cassandraOptions) (cqlSession, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errors.New("nobody there")
	}
	f.sessions++
	return f, nil
}

func (f *fakeCQL) exec(_ context.Context, s cqlStatement) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answer != nil {
		if err := f.answer(s); err != nil {
			return err
		}
	}
	if s.values == nil {
		f.schema = append(f.schema, s.text)
	} else {
		f.carried = append(f.carried, s)
	}
	return nil
}

func (f *fakeCQL) close() {}

func (f *fakeCQL) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeCQL) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.carried)
}

func testCassandraOptions() cassandraOptions {
	return cassandraOptions{Hosts: []string{"c1"}, Port: 9042, Keyspace: "metrics", Table: "chronos", CountTable: "chronos_stat_count", Consistency: "ANY"}
}

// startCassandra runs a writer on a fake until the test's bubble ends.
func startCassandra(t *testing.T, f *fakeCQL) (*cassandra, func()) {
	t.Helper()
	c, err := newCassandra(testCassandraOptions(), slog.New(slog.DiscardHandler), newMetrics("1"))
	if err != nil {
		t.Fatal(err)
	}
	c.dial = f.dial
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.run(ctx) })
	return c, func() { cancel(); running.Wait() }
}

var cassandraTime = time.Date(2016, 5, 1, 2, 0, 9, 123e6, time.UTC)

func cassandraRun(state runState) *Run {
	return &Run{ID: "ct:1:0:a:", Job: "a", Attempt: 2, State: state, AgentID: "S1", Launched: 1, Started: 5}
}

// A fault of ours in one statement ends neither the process nor the others: it is written again.
func TestAPanicOfAStatementIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		panics := 2
		f := &fakeCQL{answer: func(s cqlStatement) error {
			if s.values != nil && panics > 0 {
				panics--
				panic("a fault")
			}
			return nil
		}}
		c, stop := startCassandra(t, f)
		for range 3 {
			c.observe(jobEvent{Kind: eventStarted, Job: &Job{Name: "a"}, Run: cassandraRun(runActive), Time: cassandraTime})
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := f.count(); n != 3 {
			t.Errorf("%d rows were written, want all three", n)
		}
		stop()
	})
}

// The rows of the JVM versions, by event.
func TestCassandraStatements(t *testing.T) {
	t.Parallel()
	scheduled := &Job{Name: "a", Owner: "o@x", Schedule: "R/2030-01-01T00:00:00Z/P1D"}
	dependent := &Job{Name: "a", Owner: "o@x", Dependent: true, Parents: []string{"p", "q"}}
	const columns = "INSERT INTO metrics.chronos (id, ts, job_name, job_owner, task_state, slave_id, attempt, "
	at := cassandraTime
	tests := []struct {
		name   string
		event  jobEvent
		ttl    time.Duration
		text   string // "" for no statement
		values []any
	}{
		{"started", jobEvent{Kind: eventStarted, Job: scheduled, Run: cassandraRun(runActive)}, 0,
			columns + "job_schedule) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			[]any{"ct:1:0:a:", at, "a", "o@x", "TASK_RUNNING", "S1", 2, scheduled.Schedule}},
		{"finished, dependent", jobEvent{Kind: eventFinished, Job: dependent, Run: cassandraRun(runFinished)}, 0,
			columns + "job_parents) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			[]any{"ct:1:0:a:", at, "a", "o@x", "TASK_FINISHED", "S1", 2, dependent.Parents}},
		{"failed", jobEvent{Kind: eventFailed, Job: scheduled, Run: cassandraRun(runFailed), Message: "exit 1"}, 0,
			columns + "job_schedule, message, is_failure) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			[]any{"ct:1:0:a:", at, "a", "o@x", "TASK_FAILED", "S1", 2, scheduled.Schedule, "exit 1", true}},
		{"lost, with a TTL", jobEvent{Kind: eventFailed, Job: scheduled, Run: cassandraRun(runLost)}, time.Hour,
			columns + "job_schedule, message, is_failure) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?",
			[]any{"ct:1:0:a:", at, "a", "o@x", "TASK_LOST", "S1", 2, scheduled.Schedule, "", true, 3600}},
		{"finished in the millisecond of its start",
			jobEvent{Kind: eventFinished, Job: scheduled, Run: &Run{ID: "x", State: runFinished, Launched: 1, Started: at.UnixMilli()}}, 0,
			columns + "job_schedule) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			[]any{"x", at.Add(time.Millisecond), "a", "o@x", "TASK_FINISHED", "", 0, scheduled.Schedule}},
		{"progress", jobEvent{Kind: eventProgress, Job: scheduled, Run: cassandraRun(runActive), Elements: 7}, time.Hour,
			"UPDATE metrics.chronos_stat_count SET elements_processed = elements_processed + ? WHERE job_name = ? AND task_id = ?",
			[]any{int64(7), "a", "ct:1:0:a:"}},
		{"killed while it waited", jobEvent{Kind: eventFailed, Job: scheduled, Run: &Run{ID: "x", State: runKilled}}, 0, "", nil},
		{"success by decree", jobEvent{Kind: eventFinished, Job: scheduled}, 0, "", nil},
		{"queued", jobEvent{Kind: eventQueued, Job: scheduled, Run: cassandraRun(runQueued)}, 0, "", nil},
		{"missed", jobEvent{Kind: eventMissed, Job: scheduled, Run: cassandraRun(runMissed)}, 0, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testCassandraOptions()
			o.TTL, tt.event.Time = tt.ttl, at
			s, ok := o.statement(tt.event)
			if ok != (tt.text != "") || s.text != tt.text {
				t.Fatalf("statement = %q, %v, want %q", s.text, ok, tt.text)
			}
			if got, want := fmt.Sprint(utc(s.values)), fmt.Sprint(utc(tt.values)); got != want {
				t.Errorf("values = %s, want %s", got, want)
			}
			if n := strings.Count(s.text, "?"); n != len(s.values) {
				t.Errorf("%d places for %d values", n, len(s.values))
			}
			if s.counter != (tt.event.Kind == eventProgress) {
				t.Errorf("counter = %v", s.counter)
			}
		})
	}
}

func utc(values []any) []any {
	out := slices.Clone(values)
	for i, v := range out {
		if at, ok := v.(time.Time); ok {
			out[i] = at.UTC()
		}
	}
	return out
}

func TestCassandraMakesItsTablesAndWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCQL{}
		c, stop := startCassandra(t, f)
		for range 200 {
			c.observe(jobEvent{Kind: eventStarted, Job: &Job{Name: "a"}, Run: cassandraRun(runActive), Time: cassandraTime})
		}
		synctest.Wait()
		connected := c.status().Connected
		stop()
		if got := f.count(); got != 200 {
			t.Errorf("rows = %d, want 200", got)
		}
		if len(f.schema) != 4 || !strings.HasPrefix(f.schema[0], "CREATE KEYSPACE IF NOT EXISTS metrics ") || !strings.HasPrefix(f.schema[1], "CREATE TABLE IF NOT EXISTS metrics.chronos (id varchar, ts timestamp,") ||
			f.schema[2] != "CREATE INDEX IF NOT EXISTS ON metrics.chronos (job_name)" || !strings.Contains(f.schema[3], "elements_processed counter, PRIMARY KEY (job_name, task_id))") {
			t.Errorf("schema = %q", f.schema)
		}
		if s := c.status(); !connected || s.Connected || s.Written != 200 || s.Dropped != 0 || s.LastError != "" {
			t.Errorf("status = %+v", s)
		}
	})
}

func TestUnreachableCassandraIsTriedWithGrowingPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCQL{down: true}
		c, stop := startCassandra(t, f)
		defer stop()
		start := time.Now()
		for range cassandraQueue + 5 { // never blocks
			c.observe(jobEvent{Kind: eventStarted, Job: &Job{Name: "a"}, Run: cassandraRun(runActive), Time: cassandraTime})
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("observing took %v of virtual time, want none", took)
		}
		time.Sleep(3*time.Minute + 500*time.Millisecond) // 0, 1, 3, 7, 15, 31, 63, 123 s
		if got := c.metrics.cassandraErrors.count(); got != 8 {
			t.Errorf("attempts in 3 minutes = %d, want 8", got)
		}
		if s := c.status(); s.Connected || s.Dropped != 5 || s.LastError != "nobody there" {
			t.Errorf("status = %+v", s)
		}
		f.set(func() { f.down = false })
		time.Sleep(time.Minute)
		if got := f.count(); got != cassandraQueue {
			t.Errorf("rows after it came back = %d, want %d", got, cassandraQueue)
		}
	})
}

func TestFailedRowsAreWrittenAgainButCountersNot(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		answer  error
		rows    int // that get there in the end
		counts  int
		dropped int64
	}{
		{"unknown outcome", errors.New("timeout"), 1, 0, 1},
		{"not sent", errCQLNotSent, 1, 1, 0},
		{"refused", fmt.Errorf("%w: no such column", errCQLRefused), 0, 0, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failed := map[bool]bool{} // the first attempt of each fails, in whatever order they come
				f := &fakeCQL{}
				f.answer = func(s cqlStatement) error {
					if s.values == nil || failed[s.counter] {
						return nil
					}
					failed[s.counter] = true
					return tt.answer
				}
				c, stop := startCassandra(t, f)
				c.observe(jobEvent{Kind: eventStarted, Job: &Job{Name: "a"}, Run: cassandraRun(runActive), Time: cassandraTime})
				c.observe(jobEvent{Kind: eventProgress, Job: &Job{Name: "a"}, Run: cassandraRun(runActive), Elements: 1})
				time.Sleep(time.Minute)
				stop()
				rows, counts := 0, 0
				for _, s := range f.carried {
					if s.counter {
						counts++
					} else {
						rows++
					}
				}
				if rows != tt.rows || counts != tt.counts || c.status().Dropped != tt.dropped {
					t.Errorf("rows, counts, dropped = %d, %d, %d, want %d, %d, %d", rows, counts, c.status().Dropped, tt.rows, tt.counts, tt.dropped)
				}
			})
		})
	}
}

func TestRowsTooOldAreGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCQL{answer: func(s cqlStatement) error {
			if s.values == nil {
				return nil
			}
			return errors.New("overloaded")
		}}
		c, stop := startCassandra(t, f)
		defer stop()
		c.observe(jobEvent{Kind: eventStarted, Job: &Job{Name: "a"}, Run: cassandraRun(runActive), Time: cassandraTime})
		time.Sleep(cassandraGiveUp + 2*time.Minute)
		if s := c.status(); s.Dropped != 1 || s.LastError != "overloaded" {
			t.Errorf("status = %+v, want one dropped", s)
		}
	})
}

func TestWaitingRowsAreWrittenBeforeTheStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCQL{}
		c, stop := startCassandra(t, f)
		synctest.Wait()
		for range 500 {
			c.observe(jobEvent{Kind: eventStarted, Job: &Job{Name: "a"}, Run: cassandraRun(runActive), Time: cassandraTime})
		}
		stop()
		if got := f.count(); got != 500 {
			t.Errorf("rows = %d, want 500", got)
		}
	})
}

func TestWithoutTheRightToCreateWhatExistsWillDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCQL{answer: func(s cqlStatement) error {
			if s.values == nil {
				return errCQLRefused
			}
			return nil
		}}
		c, stop := startCassandra(t, f)
		c.observe(jobEvent{Kind: eventStarted, Job: &Job{Name: "a"}, Run: cassandraRun(runActive), Time: cassandraTime})
		synctest.Wait()
		stop()
		if f.count() != 1 || f.sessions != 1 {
			t.Errorf("rows, sessions = %d, %d, want 1, 1", f.count(), f.sessions)
		}
	})
}

func TestCassandraIsOffWithoutHostsAndCheckedWithThem(t *testing.T) {
	t.Parallel()
	m := newMetrics("1")
	for _, tt := range []struct {
		points, keyspace string
		on, ok           bool
	}{
		{"", "metrics", false, true},
		{" , ", "metrics", false, true},
		{"c1, c2", "metrics", true, true},
		{"c1", `"Mixed"`, true, true},
		{"c1", "x; DROP TABLE y", false, false},
		{"c1", "", false, false},
	} {
		o := testCassandraOptions()
		o.Hosts, o.Keyspace = contactPoints(tt.points), tt.keyspace
		c, err := newCassandra(o, slog.New(slog.DiscardHandler), m)
		if (c != nil) != tt.on || (err == nil) != tt.ok {
			t.Errorf("contact points %q, key space %q: %v, %v, want on %v", tt.points, tt.keyspace, c != nil, err, tt.on)
		}
	}
	if got := contactPoints("c1, c2"); !slices.Equal(got, []string{"c1", "c2"}) {
		t.Errorf("contactPoints = %q", got)
	}
}
