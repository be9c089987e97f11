package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// cassandraTimeout bounds a dial and a statement.
const cassandraTimeout = 5 * time.Second

// A gocqlSession is a session of Apache's driver.
type gocqlSession struct {
	*gocql.Session
	consistency gocql.Consistency
}

// dialCassandra opens a session. It ends with ctx at the latest, as far as its connections go.
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

// dialerUnder gives up when its context ends: the driver takes none.
type dialerUnder struct{ ctx context.Context }

func (d dialerUnder) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	joint, cancel := both(ctx, d.ctx)
	defer cancel(nil)
	dialer := net.Dialer{Timeout: cassandraTimeout}
	return dialer.DialContext(joint, network, address)
}

// exec implements cqlSession. Statements without values change the schema, and counters know no
// ANY: both take the driver's way for those.
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
