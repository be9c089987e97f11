package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"
)

// commit implements store, after load. A *recordError other than errRecordTooLarge means
// that somebody else has changed the node since it was loaded. errFenced means
// that nothing was stored, and that the term has ended.
func (s *zkStore) commit(ctx context.Context, records []record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ops, err := s.ops(lastOfEach(records))
	if err != nil || len(ops) == 0 {
		return err
	}
	return s.multi(ops)
}

// A zkOp is one operation of a transaction, for the record of key, or for a folder if that is "".
type zkOp struct {
	key     string
	request any // *zk.CreateRequest, *zk.SetDataRequest or *zk.DeleteRequest
}

// ops turns records into operations, and measures them: a server drops the
// connection on a request that is too large, which looks like any other loss.
func (s *zkStore) ops(records []record) ([]zkOp, error) {
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

// multi sends operations as one transaction behind the fence.
func (s *zkStore) multi(ops []zkOp) error {
	stamp := encodeKept(termRecord{s.term, path.Base(s.latch)}, s.kept)
	requests := []any{
		&zk.CheckVersionRequest{Path: s.latch, Version: 0}, // latch nodes are never changed
		&zk.SetDataRequest{Path: s.path("go/term"), Data: stamp, Version: s.termVersion},
	}
	fence := len(requests)
	for _, op := range ops {
		requests = append(requests, op.request)
	}
	start := time.Now()
	results, err := s.session.Multi(requests...)
	s.session.took(start)
	if err != nil {
		return s.refusal(err, fence, ops, results)
	}
	s.termVersion = results[fence-1].Stat.Version
	for i, op := range ops {
		s.applied(op, results[fence+i])
	}
	return nil
}

// applied records the new version of a node.
func (s *zkStore) applied(op zkOp, result zk.MultiResponse) {
	switch r := op.request.(type) {
	case *zk.CreateRequest:
		if op.key == "" {
			s.kinds[path.Base(r.Path)] = true
			return
		}
		s.versions[op.key] = 0
	case *zk.SetDataRequest:
		s.versions[op.key] = result.Stat.Version
	case *zk.DeleteRequest:
		delete(s.versions, op.key)
	}
}

// refusal returns what a failed transaction means. The operation to blame is the
// first with an error; the others were merely not done.
func (s *zkStore) refusal(err error, fence int, ops []zkOp, results []zk.MultiResponse) error {
	for _, unknown := range []error{zk.ErrConnectionClosed, zk.ErrClosing, zk.ErrSessionExpired, zk.ErrSessionMoved, zk.ErrNoServer} {
		if errors.Is(err, unknown) {
			return fmt.Errorf("store records: %w", err)
		}
	}
	blamed := slices.IndexFunc(results, func(r zk.MultiResponse) bool { return r.Error != nil })
	switch {
	case blamed < 0:
		return fmt.Errorf("store records: %w", err)
	case blamed < fence:
		return fmt.Errorf("%w (%w)", errFenced, err)
	case ops[blamed-fence].key == "":
		return fmt.Errorf("create folder for records: %w", err)
	}
	key := ops[blamed-fence].key
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
