package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	// maxMulti is the most that the records of one commit may take together.
	maxMulti = 1_040_000

	// maxJob is the most that a job's document may take: while a run of the job waits, the store
	// holds the document twice, and one commit may have to write both, with the job's history.
	maxJob = 350_000

	// anyVersion stands for that of a node which has not been read.
	anyVersion = -1

	// loadReaders is how many single reads are under way at a time.
	loadReaders = 64
)

// errFenced is a commit's answer when another instance leads.
var errFenced = errors.New("no longer the leader")

// A zkStore keeps records in ZooKeeper for one term of leadership: those of
// the JVM versions in <root>/state, in Mesos' encoding, and what has no place there
// below <root>/go. Every commit is one transaction that fails when the term's latch
// node is gone, however late it arrives.
type zkStore struct {
	session *zkSession
	root    string
	latch   string

	term        int64
	termVersion int32        // of the node <root>/go/term, once all that was sent is stored
	marked      atomic.Int32 // that version as of the last commit that is known to be stored
	counter     string       // which such node it is
	kept        rawMembers
	copied      bool // the node has been copied from another tree
	foreign     others

	versions map[string]int32 // version of every node, by key
	closed   []string         // keys of the nodes that we are not allowed to read
	kinds    map[string]bool  // the folders below <root>/go

	latest *zkCommit // the last one that was sent

	follower *zkFollower  // that keeps the records up to date, nil if they are to be read
	ready    *preparation // of those that it has handed over
}

// A termRecord is what every commit leaves in <root>/go/term: in ZooKeeper's order
// of transactions the number never decreases.
type termRecord struct {
	Term  int64  `json:"term"`
	Latch string `json:"latch"`
}

// termKeys are the keys of it that this version knows.
var termKeys = fieldKeys(termRecord{})

// A termMark distinguishes states in ZooKeeper, by the node <root>/go/term and how far it has advanced.
type termMark struct {
	node    string // which such node it is, "" for none
	version int32
	term    int64  // number of the last term
	latch   string // name of the latch node of its leader
	written int64  // zxid of its last commit
	kept    rawMembers
}

// readTermMark reads the mark that the servers agree on.
func readTermMark(session *zkSession, root string) (termMark, error) {
	name := root + "/go/term"
	// A server other than ours may have taken the last commit.
	if _, err := session.Sync(name); err != nil {
		return termMark{}, err
	}
	data, stat, err := session.Get(name)
	if errors.Is(err, zk.ErrNoNode) {
		return termMark{}, nil
	}
	if err != nil {
		return termMark{}, err
	}
	var last termRecord
	if err := json.Unmarshal(data, &last); err != nil {
		last.Term = int64(stat.Version) // somebody wrote there; each term increments the version by at least one
		data = nil
	}
	return termMark{fmt.Sprintf("%d-%x", stat.Ctime, stat.Czxid), stat.Version, last.Term, last.Latch, stat.Mzxid, keepUnknown(data, termKeys)}, nil
}

// openZKStore begins a term, with a number above the one given: latch is the path of the node that
// campaign returned. The store can be used until the session ends or a commit fails.
func openZKStore(session *zkSession, root, latch string, above int64) (*zkStore, error) {
	s := &zkStore{session: session, root: root, latch: latch, versions: map[string]int32{}}
	for _, dir := range []string{s.path("state"), s.path("go/instances")} {
		if err := session.mkdirAll(dir); err != nil {
			return nil, err
		}
	}
	if err := s.beginTerm(above); err != nil {
		return nil, fmt.Errorf("begin term: %w", err)
	}
	return s, nil
}

// beginTerm takes the number after the last term's, or after the one given if that is higher, and
// checks who has led since then.
func (s *zkStore) beginTerm(above int64) error {
	if _, err := s.session.Create(s.path("go/term"), []byte("{}"), 0, s.session.acl); err != nil && !errors.Is(err, zk.ErrNodeExists) {
		return err
	}
	last, err := readTermMark(s.session, s.root)
	if err != nil {
		return err
	}
	s.term, s.termVersion, s.counter, s.kept = max(last.term, above)+1, last.version, last.node, last.kept
	reign, err := s.lookBack(last)
	if err != nil {
		return err
	}
	s.marked.Store(s.termVersion)
	return s.transact(reign)
}

func (s *zkStore) id() termID { return termID{s.counter, s.term} }

// mark returns the mark of the state after the last commit.
func (s *zkStore) mark() termMark {
	return termMark{node: s.counter, version: s.marked.Load(), term: s.term, latch: path.Base(s.latch)}
}

func (s *zkStore) path(key string) string { return s.root + "/" + key }

// node returns the path of a key's node.
func (s *zkStore) node(key string) string { return pathOf(s.root, key) }

// load implements store.
func (s *zkStore) load(ctx context.Context) (map[string][]byte, error) {
	state := s.followed(ctx)
	if state == nil {
		var err error
		if state, err = s.readAll(ctx); err != nil {
			return nil, err
		}
	}
	s.versions, s.kinds, s.foreign.orders = state.versions, state.kinds, state.orders
	s.closed = nil
	var unread []error
	for key, err := range state.unread {
		unread = append(unread, &recordError{key, err})
		if errors.Is(err, zk.ErrNoAuth) {
			s.closed = append(s.closed, key)
		}
	}
	return state.records, errors.Join(unread...)
}

// followed returns the records as a follower has kept them, nil if there is none that knows them all.
func (s *zkStore) followed(ctx context.Context) *zkRecords {
	f := s.follower
	s.follower, s.ready = nil, nil
	if f == nil {
		return nil
	}
	state := f.handOver(ctx)
	if state != nil {
		s.ready = f.jobs
	}
	return state
}

// prepared implements preparedStore.
func (s *zkStore) prepared() *preparation {
	ready := s.ready
	s.ready = nil
	return ready
}

// readAll reads the whole state.
func (s *zkStore) readAll(ctx context.Context) (*zkRecords, error) {
	if _, err := s.session.Sync(s.root); err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	state, keys, err := listRecords(s.session, s.root)
	if err != nil {
		return nil, err
	}
	nodes, err := s.readMany(ctx, keys)
	if err != nil && ctx.Err() == nil { // an old server, say
		nodes, err = s.readEach(ctx, keys)
	}
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		if err := state.put(key, nodes[i]); err != nil {
			return nil, err
		}
	}
	return state, nil
}

// readMany reads the nodes of keys, many at a time.
func (s *zkStore) readMany(ctx context.Context, keys []string) ([]zkNode, error) {
	r, err := openZKWire(ctx, s.session)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.readAll(ctx, s.root, keys, s.session)
}

// readEach reads the nodes of keys one by one, several at a time. It fails when ctx ends.
func (s *zkStore) readEach(ctx context.Context, keys []string) ([]zkNode, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	nodes := make([]zkNode, len(keys))
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(loadReaders, len(keys)) {
		begin(&readers, slog.Default(), "reading of the state", cancel, func() {
			for i := next.Add(1) - 1; int(i) < len(keys) && ctx.Err() == nil; i = next.Add(1) - 1 {
				start := time.Now()
				data, stat, err := s.session.Get(s.node(keys[i]))
				s.session.took(start)
				nodes[i] = zkNode{data: data, err: err}
				if err == nil {
					nodes[i].version, nodes[i].order = stat.Version, order{stat.Czxid, stat.Mzxid}
				}
			}
		})
	}
	readers.Wait()
	return nodes, context.Cause(ctx)
}

// allKeys implements store, after load.
func (s *zkStore) allKeys() []string {
	return slices.AppendSeq(slices.Clone(s.closed), maps.Keys(s.versions))
}

// read implements store. It reads the nodes in the session, which has seen every commit.
func (s *zkStore) read(ctx context.Context, keys []string) ([]reading, error) {
	nodes, err := s.readEach(ctx, keys)
	if err != nil {
		return nil, err
	}
	readings := make([]reading, len(keys))
	for i, n := range nodes {
		if readings[i], err = readingOf(keys[i], n); err != nil {
			return nil, err
		}
	}
	return readings, nil
}
