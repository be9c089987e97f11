package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// cassandraOptions are what the --cassandra_ flags say.
type cassandraOptions struct {
	Hosts          []string // none switches it off
	Port           int
	User, Password string // used if both are given
	Keyspace       string
	Table          string // of task states
	CountTable     string // of processed elements
	Consistency    string
	TTL            time.Duration // 0 for rows that live forever

	firstWait, giveUpAfter, drain time.Duration // for tests
}

const (
	cassandraQueue     = 20000 // statements that may wait; more are dropped
	cassandraAtOnce    = 64    // statements under way
	cassandraFirstWait = time.Second
	cassandraLastWait  = time.Minute
	cassandraGiveUp    = 10 * time.Minute // age at which a statement is dropped
	cassandraDrain     = 3 * time.Second  // time for what waits when the program stops
)

// A cqlStatement is one statement with its values.
type cqlStatement struct {
	text    string
	values  []any
	counter bool // adds to a counter: must not be sent twice
	queued  time.Time
}

// A cqlSession executes statements.
type cqlSession interface {
	// exec returns an error that wraps errCQLRefused if the same statement would fail again, and
	// one that wraps errCQLNotSent if the statement certainly was not executed.
	exec(ctx context.Context, s cqlStatement) error
	close()
}

var (
	errCQLRefused = errors.New("refused")
	errCQLNotSent = errors.New("not sent")
)

// A cassandra copies what happens to runs into the tables of the JVM versions, for those who read
// it there. This program does not read them: history is kept in our own store.
type cassandra struct {
	options cassandraOptions
	dial    func(ctx context.Context, o cassandraOptions) (cqlSession, error)
	log     *slog.Logger
	metrics *metrics

	queue     chan cqlStatement
	connected atomic.Bool
	dropping  atomic.Bool // drops have been logged since the last success
	last      atomic.Pointer[failure]
	written   counter
	dropped   counter
}

// cqlName matches valid names of tables and key spaces, which can't be bound as values.
var cqlName = regexp.MustCompile(`^("[A-Za-z0-9_]+"|[A-Za-z][A-Za-z0-9_]*)$`)

// newCassandra returns nil, and no error, if there are no hosts.
func newCassandra(o cassandraOptions, log *slog.Logger, m *metrics) (*cassandra, error) {
	if len(o.Hosts) == 0 {
		return nil, nil
	}
	for _, name := range []struct{ flag, text string }{
		{"keyspace", o.Keyspace}, {"table", o.Table}, {"stat_count_table", o.CountTable},
	} {
		if !cqlName.MatchString(name.text) {
			return nil, fmt.Errorf("--cassandra_%s %q: want letters, digits and underscores", name.flag, name.text)
		}
	}
	if o.firstWait == 0 {
		o.firstWait = cassandraFirstWait
	}
	if o.giveUpAfter == 0 {
		o.giveUpAfter = cassandraGiveUp
	}
	if o.drain == 0 {
		o.drain = cassandraDrain
	}
	return &cassandra{options: o, dial: dialCassandra, log: log, metrics: m, queue: make(chan cqlStatement, cassandraQueue)}, nil
}

// contactPoints splits --cassandra_contact_points, which was never trimmed.
func contactPoints(list string) []string {
	var hosts []string
	for host := range strings.SplitSeq(list, ",") {
		if host = strings.TrimSpace(host); host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// schema returns the statements that a session begins with. 3.0 created the key space; 2.x expected it to exist.
func (o cassandraOptions) schema() []cqlStatement {
	const with = ` WITH bloom_filter_fp_chance = 0.1 AND compaction = {'class':'LeveledCompactionStrategy'}`
	return []cqlStatement{
		{text: `CREATE KEYSPACE IF NOT EXISTS ` + o.Keyspace + ` WITH replication = {'class':'SimpleStrategy','replication_factor':1}`},
		{text: `CREATE TABLE IF NOT EXISTS ` + o.Keyspace + `.` + o.Table + ` (id varchar, ts timestamp, job_name varchar, job_owner varchar,` +
			` job_schedule varchar, job_parents set<varchar>, task_state varchar, slave_id varchar, message varchar,` +
			` attempt int, is_failure boolean, PRIMARY KEY (id, ts))` + with},
		{text: `CREATE INDEX IF NOT EXISTS ON ` + o.Keyspace + `.` + o.Table + ` (job_name)`},
		{text: `CREATE TABLE IF NOT EXISTS ` + o.Keyspace + `.` + o.CountTable + ` (task_id varchar, job_name varchar,` +
			` elements_processed counter, PRIMARY KEY (job_name, task_id))` + with},
	}
}

// statement returns what e writes to Cassandra, if anything: a row for each change of state for which the JVM
// versions wrote one, an addition for processed elements.
func (o cassandraOptions) statement(e jobEvent) (cqlStatement, bool) {
	r := e.Run
	if r == nil { // marked successful
		return cqlStatement{}, false
	}
	at := e.Time
	switch e.Kind {
	case eventStarted:
		return o.insert(e, "TASK_RUNNING", at), true
	case eventFinished, eventFailed:
		if r.Launched == 0 && r.Started == 0 { // it was never a task
			return cqlStatement{}, false
		}
		if started := time.UnixMilli(r.Started); !at.After(started) {
			at = started.Add(time.Millisecond) // else the row would replace that of the start
		}
		return o.insert(e, taskStates[r.State], at), true
	case eventProgress:
		return cqlStatement{
			text: `UPDATE ` + o.Keyspace + `.` + o.CountTable +
				` SET elements_processed = elements_processed + ? WHERE job_name = ? AND task_id = ?`,
			values: []any{e.Elements, e.Job.Name, r.ID}, counter: true,
		}, true
	}
	return cqlStatement{}, false
}

// taskStates are Mesos' names for how runs end.
var taskStates = map[runState]string{
	runFinished: "TASK_FINISHED", runFailed: "TASK_FAILED", runKilled: "TASK_KILLED", runLost: "TASK_LOST",
}

func (o cassandraOptions) insert(e jobEvent, state string, at time.Time) cqlStatement {
	columns := []string{"id", "ts", "job_name", "job_owner", "task_state", "slave_id", "attempt"}
	values := []any{e.Run.ID, at, e.Job.Name, e.Job.Owner, state, e.Run.AgentID, e.Run.Attempt}
	if e.Job.Dependent {
		columns, values = append(columns, "job_parents"), append(values, e.Job.Parents)
	} else {
		columns, values = append(columns, "job_schedule"), append(values, e.Job.Schedule)
	}
	if e.Kind == eventFailed {
		columns, values = append(columns, "message", "is_failure"), append(values, e.Message, true)
	}
	text := `INSERT INTO ` + o.Keyspace + `.` + o.Table + ` (` + strings.Join(columns, ", ") + `) VALUES (?` +
		strings.Repeat(", ?", len(columns)-1) + `)`
	if o.TTL > 0 {
		text, values = text+` USING TTL ?`, append(values, int(o.TTL/time.Second))
	}
	return cqlStatement{text: text, values: values}
}

// observe queues the statement of e, if any. It never blocks: without room the statement is dropped and counted.
func (c *cassandra) observe(e jobEvent) {
	s, ok := c.options.statement(e)
	if !ok {
		return
	}
	s.queued = time.Now()
	select {
	case c.queue <- s:
	default:
		c.drop(1, "too many are waiting")
	}
}

func (c *cassandra) drop(n int, why string) {
	c.dropped.add(int64(n))
	c.metrics.cassandraDropped.add(int64(n))
	if !c.dropping.Swap(true) {
		c.log.Warn("rows for Cassandra are dropped; history here is complete", "why", why)
	}
}

// run writes until ctx ends, and then for a short while what still waits. A session that
// fails is replaced, with growing pauses.
func (c *cassandra) run(ctx context.Context) {
	var left []cqlStatement
	wait := c.options.firstWait
	for {
		err := c.session(ctx, &left, func() { wait = c.options.firstWait })
		c.connected.Store(false)
		if ctx.Err() != nil {
			break
		}
		c.failed(err)
		c.log.Warn("no session with Cassandra, retrying", "error", err, "retry", wait, "waiting", len(c.queue)+len(left))
		if !rest(ctx, wait) {
			break
		}
		wait = min(2*wait, cassandraLastWait)
		left = c.fresh(left)
	}
	if n := len(left) + len(c.queue); n > 0 {
		c.drop(n, "the program is stopping")
	}
}

// session opens a session, creates the schema, and writes until ctx ends or the session fails. What it
// took from the queue and did not write is in left. works is called when something has been written.
func (c *cassandra) session(ctx context.Context, left *[]cqlStatement, works func()) error {
	session, err := c.dial(ctx, c.options)
	if err != nil {
		return err
	}
	defer session.close()
	for _, s := range c.options.schema() {
		err := session.exec(ctx, s)
		if errors.Is(err, errCQLRefused) { // without permission to create, what exists may be enough
			c.log.Warn("Cassandra refused a schema change; continuing with what exists", "statement", s.text, "error", err)
		} else if err != nil {
			return err
		}
	}
	c.connected.Store(true)
	c.log.Info("writing history to Cassandra", "keyspace", c.options.Keyspace)
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(c.options.drain, cancel) })()
	for c.fill(ctx, left) {
		before := len(*left)
		err := c.write(sending, session, left)
		if len(*left) < before {
			works()
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// fill moves waiting statements into left, up to the number written at once. It waits for something to
// do, and returns false when ctx has ended and nothing is left.
func (c *cassandra) fill(ctx context.Context, left *[]cqlStatement) bool {
	if len(*left) == 0 {
		select {
		case s := <-c.queue:
			*left = append(*left, s)
		case <-ctx.Done():
		}
	}
	for len(*left) < cassandraAtOnce {
		select {
		case s := <-c.queue:
			*left = append(*left, s)
			continue
		default:
		}
		break
	}
	return len(*left) > 0
}

// write sends all of left at once, and keeps in it what has to be sent again. An error means that the
// session should be replaced.
func (c *cassandra) write(ctx context.Context, session cqlSession, left *[]cqlStatement) error {
	errs := make([]error, len(*left))
	var sent sync.WaitGroup
	for i, s := range *left {
		sent.Go(func() {
			errs[i] = guarded(c.log, "writing to Cassandra", func() error { return session.exec(ctx, s) })
		})
	}
	sent.Wait()
	var again []cqlStatement
	var failed error
	for i, s := range *left {
		err := errs[i]
		switch {
		case err == nil:
			c.written.inc()
			c.dropping.Store(false)
			continue
		case errors.Is(err, errCQLRefused), s.counter && !errors.Is(err, errCQLNotSent):
			c.drop(1, err.Error())
		default:
			again, failed = append(again, s), err
		}
		c.failed(err)
	}
	*left = again
	return failed
}

// failed records an error for people and metrics.
func (c *cassandra) failed(err error) {
	c.metrics.cassandraErrors.inc()
	c.last.Store(&failure{err.Error(), time.Now()})
}

// fresh returns left without what has become too old to be sent again.
func (c *cassandra) fresh(left []cqlStatement) []cqlStatement {
	kept := left[:0]
	for _, s := range left {
		if time.Since(s.queued) < c.options.giveUpAfter {
			kept = append(kept, s)
		}
	}
	if n := len(left) - len(kept); n > 0 {
		c.drop(n, "they could not be written in time")
	}
	return kept
}

// A cassandraStatus shows how writing is going.
type cassandraStatus struct {
	Connected bool   `json:"connected"`
	Queued    int    `json:"queued"`
	Written   int64  `json:"written"`
	Dropped   int64  `json:"dropped"`
	LastError string `json:"lastError,omitempty"`
	ErrorTime string `json:"lastErrorTime,omitempty"`
}

func (c *cassandra) status() cassandraStatus {
	s := cassandraStatus{Connected: c.connected.Load(), Queued: len(c.queue), Written: c.written.count(), Dropped: c.dropped.count()}
	if f := c.last.Load(); f != nil {
		s.LastError, s.ErrorTime = f.text, instant(f.time)
	}
	return s
}

// cassandraTimeout bounds a dial and a statement.
const cassandraTimeout = 5 * time.Second

// A gocqlSession is a session of Apache's driver.
type gocqlSession struct {
	*gocql.Session
	consistency gocql.Consistency
}

// dialCassandra opens a session, whose connections end no later than ctx.
func dialCassandra(ctx context.Context, o cassandraOptions) (cqlSession, error) {
	var consistency gocql.Consistency
	if err := consistency.UnmarshalText([]byte(o.Consistency)); err != nil {
		return nil, fmt.Errorf("--cassandra_consistency: %w", err)
	}
	c := gocql.NewCluster(o.Hosts...)
	c.Port = o.Port
	c.Timeout, c.ConnectTimeout = cassandraTimeout, cassandraTimeout
	c.ReconnectInterval = 10 * time.Second
	c.Dialer = dialerUnder{ctx}
	c.Metadata.CacheMode = gocql.Disabled
	if o.User != "" && o.Password != "" {
		c.Authenticator = gocql.PasswordAuthenticator{Username: o.User, Password: o.Password}
	}
	s, err := c.CreateSession()
	if err != nil {
		return nil, fmt.Errorf("connect to Cassandra: %w", err)
	}
	return &gocqlSession{s, consistency}, nil
}

// dialerUnder gives up when its context ends, since the driver does not take one.
type dialerUnder struct{ ctx context.Context }

func (d dialerUnder) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	joint, cancel := both(ctx, d.ctx)
	defer cancel(nil)
	dialer := net.Dialer{Timeout: cassandraTimeout}
	return dialer.DialContext(joint, network, address)
}

// exec implements cqlSession. Statements without values change the schema, and counters do not support
// ANY: for both, the driver has its own way.
func (g *gocqlSession) exec(ctx context.Context, s cqlStatement) error {
	q := g.Query(s.text, s.values...)
	switch {
	case s.counter || len(s.values) == 0:
		q = q.Consistency(gocql.One)
	default:
		q = q.Consistency(g.consistency).Idempotent(true)
	}
	err := q.ExecContext(ctx)
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[gocql.RequestError](err); ok {
		switch refused.Code() {
		case gocql.ErrCodeSyntax, gocql.ErrCodeUnauthorized, gocql.ErrCodeInvalid, gocql.ErrCodeConfig, gocql.ErrCodeAlreadyExists:
			return fmt.Errorf("%w: %w", errCQLRefused, err)
		}
	}
	if errors.Is(err, gocql.ErrNoConnections) || errors.Is(err, gocql.ErrSessionClosed) {
		return fmt.Errorf("%w: %w", errCQLNotSent, err)
	}
	return err
}

func (g *gocqlSession) close() { g.Close() }
