//go:build cassandra

package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// With a real Cassandra, which is too heavy for every run of the tests:
//
//	CHRONOS_CASSANDRA=127.0.0.1:9042 go test -tags cassandra -run TestRealCassandra
func TestRealCassandraTakesTheStatements(t *testing.T) {
	t.Parallel()
	host, port, err := net.SplitHostPort(cmp.Or(os.Getenv("CHRONOS_CASSANDRA"), "127.0.0.1:9042"))
	if err != nil {
		t.Fatal(err)
	}
	o := testCassandraOptions()
	o.Hosts, o.TTL = []string{host}, time.Hour
	if o.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	o.Keyspace = fmt.Sprintf("chronos_test_%d", time.Now().UnixNano())
	c, err := newCassandra(o, newLogTap(t), newMetrics("1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.run(ctx) })
	scheduled := &Job{Name: "it's a", Owner: "o@x", Schedule: "R/2030-01-01T00:00:00Z/P1D"}
	dependent := &Job{Name: "b", Dependent: true, Parents: []string{"p", "q"}}
	now := time.Now().Truncate(time.Millisecond)
	const many = 5000
	start := time.Now()
	for i := range many {
		c.observe(jobEvent{Kind: eventStarted, Job: dependent, Run: &Run{ID: fmt.Sprintf("ct:1:0:b:%d", i), Launched: 1, AgentID: "S1"}, Time: now})
	}
	r := &Run{ID: "ct:1:1:it's a:", Attempt: 1, State: runFailed, AgentID: "S1", Launched: 1, Started: now.UnixMilli()}
	c.observe(jobEvent{Kind: eventStarted, Job: scheduled, Run: r, Time: now})
	c.observe(jobEvent{Kind: eventFailed, Job: scheduled, Run: r, Message: "exit 1", Time: now})
	c.observe(jobEvent{Kind: eventProgress, Job: scheduled, Run: r, Elements: 40})
	c.observe(jobEvent{Kind: eventProgress, Job: scheduled, Run: r, Elements: 2})
	until(t, "all rows are written", func() bool { return c.dropped.count() > 0 || c.written.count() == many+4 })
	if c.dropped.count() > 0 {
		t.Fatalf("status = %+v", c.status())
	}
	t.Logf("%d rows in %v, the schema included", many+4, time.Since(start))
	cancel()
	running.Wait()

	s, err := dialCassandra(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	g := s.(*gocqlSession)
	defer g.Query("DROP KEYSPACE " + o.Keyspace).Exec()
	rows := g.Query(fmt.Sprintf("SELECT ts, job_owner, job_schedule, task_state, slave_id, message, attempt, is_failure, ttl(task_state) FROM %s.chronos WHERE job_name = ?", o.Keyspace), scheduled.Name).Iter()
	var at time.Time
	var owner, schedule, state, agent, message string
	var attempt, ttl int
	var failed bool
	var got []string
	for rows.Scan(&at, &owner, &schedule, &state, &agent, &message, &attempt, &failed, &ttl) {
		got = append(got, fmt.Sprint(at.Sub(now), owner, schedule, state, agent, message, attempt, failed, ttl > 3000 && ttl <= 3600))
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprint(time.Duration(0), "o@x", scheduled.Schedule, "TASK_RUNNING", "S1", "", 1, false, true),
		fmt.Sprint(time.Millisecond, "o@x", scheduled.Schedule, "TASK_FAILED", "S1", "exit 1", 1, true, true),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rows = %q, want %q", got, want)
	}
	var n int
	var sum int64
	if err := g.Query(fmt.Sprintf("SELECT count(*) FROM %s.chronos WHERE job_name = 'b'", o.Keyspace)).Scan(&n); err != nil || n != many {
		t.Errorf("rows of b = %d, %v, want %d", n, err, many)
	}
	if err := g.Query(fmt.Sprintf("SELECT elements_processed FROM %s.chronos_stat_count WHERE job_name = ? AND task_id = ?", o.Keyspace), scheduled.Name, r.ID).Scan(&sum); err != nil || sum != 42 {
		t.Errorf("elements = %d, %v, want 42", sum, err)
	}
}
