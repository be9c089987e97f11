package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"
)

// A zkCommit is one transaction behind the fence.
type zkCommit struct {
	ops      []zkOp
	requests []any
	before   *zkCommit // the one that it follows, nil if it is the first
	done     chan struct{}
	err      error // once done; until then, and after a panic, not nil
}

// fenceSize is how many operations of a transaction come before those of the records.
const fenceSize = 2

// errOrder is why a commit fails if the one before it has failed.
var errOrder = errors.New("the commit before it was not stored")

// commit implements store, after load. A *recordError other than errRecordTooLarge means
// that somebody else has changed the node since it was loaded. errFenced means
// that nothing was stored, and that the term has ended.
func (s *zkStore) commit(ctx context.Context, records []record) error {
	ops, err := s.ops(ctx, lastOfEach(records))
	if err != nil || len(ops) == 0 {
		return err
	}
	return s.transact(ops)
}

// transact stores operations, or leaves everything as it is.
func (s *zkStore) transact(ops []zkOp) error {
	c := s.prepare(ops)
	err := s.send(c)
	if err == nil {
		s.expect(c)
	}
	return err
}

// begin implements stagedStore, after load.
func (s *zkStore) begin(ctx context.Context, records []record) <-chan error {
	outcome := make(chan error, 1)
	ops, err := s.ops(ctx, records)
	if err != nil || len(ops) == 0 {
		outcome <- err
		return outcome
	}
	c := s.prepare(ops)
	s.expect(c)
	go func() { outcome <- guarded(slog.Default(), "commit", func() error { return s.send(c) }) }()
	return outcome
}

// prepare makes the transaction that follows those expected so far. That order is ZooKeeper's
// to keep: each transaction names the version of <root>/go/term that the one before it leaves, so that it
// changes nothing if that one has failed or has not arrived yet.
func (s *zkStore) prepare(ops []zkOp) *zkCommit {
	c := &zkCommit{ops: ops, before: s.latest, done: make(chan struct{}), err: errOrder}
	stamp := encodeKept(termRecord{s.term, path.Base(s.latch)}, s.kept)
	c.requests = append(make([]any, 0, fenceSize+len(ops)),
		&zk.CheckVersionRequest{Path: s.latch, Version: 0}, // latch nodes are never changed
		&zk.SetDataRequest{Path: s.path("go/term"), Data: stamp, Version: s.termVersion},
	)
	for _, op := range ops {
		c.requests = append(c.requests, op.request)
	}
	return c
}

// expect takes a transaction for stored: the versions of its nodes follow from it. If it is still on its way and fails, so do all that follow.
func (s *zkStore) expect(c *zkCommit) {
	s.latest = c
	s.termVersion++
	for _, op := range c.ops {
		switch r := op.request.(type) {
		case *zk.CreateRequest:
			if op.key == "" {
				s.kinds[path.Base(r.Path)] = true
				continue
			}
			s.versions[op.key] = 0
		case *zk.SetDataRequest:
			if r.Version != anyVersion {
				s.versions[op.key] = r.Version + 1
			}
		case *zk.DeleteRequest:
			delete(s.versions, op.key)
		}
	}
}

// send sends a transaction and returns what has become of it, once that is known of its predecessor.
func (s *zkStore) send(c *zkCommit) error {
	defer close(c.done)
	c.err = s.inTurn(c)
	c.requests, c.before = nil, nil // so that not everything that was ever sent is kept
	return c.err
}

// inTurn sends a transaction, and once more if it has overtaken its predecessor.
func (s *zkStore) inTurn(c *zkCommit) error {
	results, err := s.multi(c)
	if c.before != nil {
		<-c.before.done
		if c.before.err != nil {
			return fmt.Errorf("%w: %w", errOrder, c.before.err)
		}
		if err != nil && outOfTurn(results) {
			results, err = s.multi(c)
		}
	}
	if err != nil {
		return s.refusal(err, c.ops, results)
	}
	s.marked.Store(results[fenceSize-1].Stat.Version)
	return nil
}

// outOfTurn reports whether a transaction failed because the term's node had another version.
func outOfTurn(results []zk.MultiResponse) bool {
	return len(results) >= fenceSize && results[0].Error == nil && errors.Is(results[fenceSize-1].Error, zk.ErrBadVersion)
}

func (s *zkStore) multi(c *zkCommit) ([]zk.MultiResponse, error) {
	start := time.Now()
	results, err := s.session.Multi(c.requests...)
	s.session.took(start)
	return results, err
}

// A zkOp is one operation of a transaction, for the record of key, or for a folder if that is "".
type zkOp struct {
	key     string
	request any // *zk.CreateRequest, *zk.SetDataRequest or *zk.DeleteRequest
}

// ops turns records into operations, and measures them: a server drops the
// connection on a request that is too large, which looks like any other loss. It fails when ctx has ended.
func (s *zkStore) ops(ctx context.Context, records []record) ([]zkOp, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var ops []zkOp
	var largest record
	size := 0
	folders := map[string]bool{}
	for _, r := range records {
		node := s.node(r.key)
		version, exists := s.versions[r.key]
		if r.value == nil {
			if exists {
				ops = append(ops, zkOp{r.key, &zk.DeleteRequest{Path: node, Version: version}})
				size += s.size(r)
			}
			continue
		}
		data := s.data(r)
		if len(data) > maxRecord {
			return nil, &recordError{r.key, errRecordTooLarge}
		}
		size += s.size(r)
		if len(data) > len(largest.value) {
			largest = r
		}
		if exists {
			ops = append(ops, zkOp{r.key, &zk.SetDataRequest{Path: node, Data: data, Version: version}})
			continue
		}
		if kind := kindOf(r.key); kind != "" && !s.kinds[kind] && !folders[kind] {
			folders[kind] = true
			ops = append(ops, zkOp{"", &zk.CreateRequest{Path: s.path("go/" + kind), Acl: s.session.acl}})
		}
		ops = append(ops, zkOp{r.key, &zk.CreateRequest{Path: node, Data: data, Acl: s.session.acl}})
	}
	if size > maxMulti {
		return nil, &recordError{largest.key, errRecordTooLarge}
	}
	return ops, nil
}

// size implements store.
func (s *zkStore) size(r record) int {
	const overhead = 120 // of an operation besides path and data, with room
	n := len(s.node(r.key)) + len(r.value) + overhead
	if r.value != nil && kindOf(r.key) == "" {
		n += variableOverhead + len(r.key)
	}
	return n
}

// data returns what the record's node is to hold.
func (s *zkStore) data(r record) []byte {
	if kindOf(r.key) != "" {
		return r.value
	}
	return encodeVariable(r.key, newUUID(), r.value)
}

// refusal returns what a failed transaction means. The operation to blame is the
// first with an error; the others were merely not done.
func (s *zkStore) refusal(err error, ops []zkOp, results []zk.MultiResponse) error {
	for _, unknown := range []error{zk.ErrConnectionClosed, zk.ErrClosing, zk.ErrSessionExpired, zk.ErrSessionMoved, zk.ErrNoServer} {
		if errors.Is(err, unknown) {
			return fmt.Errorf("store records: %w", err)
		}
	}
	blamed := slices.IndexFunc(results, func(r zk.MultiResponse) bool { return r.Error != nil })
	switch {
	case blamed < 0:
		return fmt.Errorf("store records: %w", err)
	case blamed < fenceSize:
		return fmt.Errorf("%w (%w)", errFenced, err)
	case ops[blamed-fenceSize].key == "":
		return fmt.Errorf("create folder for records: %w", err)
	}
	key := ops[blamed-fenceSize].key
	return &recordError{key, fmt.Errorf("node %q %s: %w", s.node(key), foreignDeed(err), err)}
}

// foreignDeed says what somebody else must have done to a node that ZooKeeper refuses to change.
func foreignDeed(err error) string {
	switch {
	case errors.Is(err, zk.ErrNoNode):
		return "has been deleted by somebody else"
	case errors.Is(err, zk.ErrBadVersion):
		return "has been changed by somebody else"
	case errors.Is(err, zk.ErrNodeExists):
		return "has been created by somebody else"
	case errors.Is(err, zk.ErrNoAuth):
		return "is closed to this instance (see --zk_auth)"
	}
	return "can't be changed"
}

// lastOfEach drops records that a later one of the same key replaces.
func lastOfEach(records []record) []record {
	seen := make(map[string]bool, len(records))
	kept := make([]record, 0, len(records))
	for _, r := range slices.Backward(records) {
		if !seen[r.key] {
			seen[r.key] = true
			kept = append(kept, r)
		}
	}
	slices.Reverse(kept)
	return kept
}
