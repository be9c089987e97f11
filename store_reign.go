package main

import (
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/go-zookeeper/zk"
)

// reignKey is the node that holds the last reign of another version. It is below go/term,
// where backups, restores and builds that do not know it leave it alone.
const reignKey = "go/term/jvm"

// A reignRecord is a reign as stored. What was written after it began follows from After, and
// when it was over from the node itself, which our next term wrote.
type reignRecord struct {
	At    int64 `json:"at"`
	After int64 `json:"after"`
}

// lookBack finds out who has led since our last term, which has
// left that mark. The operations it returns belong in the transaction that begins the next one: until then
// the node stays as it was.
func (s *zkStore) lookBack(last termMark) ([]zkOp, error) {
	known, node, err := s.readReign()
	if err != nil || last.term == 0 {
		return nil, err
	}
	led := false
	if s.copied = last.version == 0; !s.copied {
		s.foreign.lastOwn = last.written
		if led, err = s.registeredSince(last.written); err != nil {
			return nil, err
		}
	}
	switch {
	case led:
		known = reignRecord{time.Now().UnixMilli(), last.written}
		s.foreign.reign = reign{known.At, known.After, math.MaxInt64}
	case s.copied && known.After != 0:
		known.After = 0 // another tree's order
		s.foreign.reign = reign{ended: known.At}
	case node != nil:
		s.foreign.reign = reign{known.At, known.After, node.Mzxid}
		return nil, nil
	default:
		return nil, nil
	}
	path, data := s.path(reignKey), mustJSON(known)
	if node == nil {
		return []zkOp{{reignKey, &zk.CreateRequest{Path: path, Data: data, Acl: s.session.acl}}}, nil
	}
	return []zkOp{{reignKey, &zk.SetDataRequest{Path: path, Data: data, Version: node.Version}}}, nil
}

// readReign returns the last known reign, and its node if there is one.
func (s *zkStore) readReign() (known reignRecord, node *zk.Stat, err error) {
	data, node, err := s.session.Get(s.path(reignKey))
	if errors.Is(err, zk.ErrNoNode) {
		return reignRecord{}, nil, nil
	}
	if err != nil {
		return reignRecord{}, nil, err
	}
	_ = json.Unmarshal(data, &known) // what cannot be read is ignored
	return known, node, nil
}

// registeredSince reports whether a JVM version has led since one of our transactions: it writes frameworkId
// whenever it registers, and without registering it launches and counts nothing.
func (s *zkStore) registeredSince(own int64) (bool, error) {
	registered, framework, err := s.session.Exists(s.node(frameworkIDKey))
	return registered && framework.Mzxid > own, err
}

// others implements sharedStore.
func (s *zkStore) others() others {
	foreign := s.foreign
	s.foreign.orders = nil
	return foreign
}
