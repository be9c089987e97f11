package main

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A soleCaller panics when two calls of a store overlap: a store has one owner.
type soleCaller struct{ busy atomic.Bool }

// call begins a call and returns what ends it.
func (c *soleCaller) call() func() {
	if !c.busy.CompareAndSwap(false, true) {
		panic("two calls of one store overlap")
	}
	return func() { c.busy.Store(false) }
}

// An ownedStore is any store with that check.
type ownedStore struct {
	store
	soleCaller
}

func (s *ownedStore) load(ctx context.Context) (map[string][]byte, error) {
	defer s.call()()
	return s.store.load(ctx)
}

func (s *ownedStore) commit(ctx context.Context, records []record) error {
	defer s.call()()
	return s.store.commit(ctx, records)
}

func (s *ownedStore) allKeys() []string {
	defer s.call()()
	return s.store.allKeys()
}

func (s *ownedStore) read(ctx context.Context, keys []string) ([]reading, error) {
	defer s.call()()
	return s.store.read(ctx, keys)
}

// ready implements localStore.
func (s *ownedStore) ready() error {
	if local, ok := s.store.(localStore); ok {
		return local.ready()
	}
	return nil
}

// memStore is a store in memory whose commits a test can hold up or fail.
type memStore struct {
	soleCaller
	mu      sync.Mutex
	records map[string][]byte
	before  func([]record) error // called first by commit; its error is commit's
	commits int

	// As ZooKeeper does, it knows in which order its records were made and written.
	writes  int64
	orders  map[string]order
	lastOwn int64
	reign   reign
	loaded  func()       // called by load; may be nil
	well    func() error // what ready returns; nil for a store that always is

	// As in ZooKeeper, every second term begins with jobs that were decoded before.
	terms     schedulerConfig // of those who load; without a location, nothing is decoded for them
	loads     int
	last, now map[string][]byte // as the last two loads found it
}

func newMemStore() *memStore {
	return &memStore{records: map[string][]byte{}, orders: map[string]order{}}
}

// load implements store.
func (m *memStore) load(context.Context) (map[string][]byte, error) {
	defer m.call()()
	if m.loaded != nil {
		m.loaded()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	records := maps.Clone(m.records)
	maps.DeleteFunc(records, func(key string, _ []byte) bool { return onDemand(key) })
	m.loads++
	m.last, m.now = m.now, maps.Clone(records)
	return records, nil
}

// prepared implements preparedStore: the jobs were decoded as they were at the load before, and those that have changed again.
func (m *memStore) prepared() *preparation {
	if m.terms.location == nil || m.loads%2 != 0 {
		return nil
	}
	p := newPreparation(m.terms)
	p.update(slices.Collect(maps.Keys(m.last)), m.last)
	var changed []string
	for key := range m.last {
		if value, left := m.now[key]; !left || !bytes.Equal(value, m.last[key]) {
			changed = append(changed, key)
		}
	}
	for key := range m.now {
		if _, known := m.last[key]; !known {
			changed = append(changed, key)
		}
	}
	p.update(changed, m.now)
	return p
}

// ready implements localStore.
func (m *memStore) ready() error {
	if m.well == nil {
		return nil
	}
	return m.well()
}

// commit implements store.
func (m *memStore) commit(_ context.Context, records []record) error {
	defer m.call()()
	if m.before != nil {
		if err := m.before(records); err != nil {
			return err
		}
	}
	m.apply(records)
	return nil
}

// A stagedMem is a memStore that takes the next commit while one is under way, as ZooKeeper does.
type stagedMem struct {
	*memStore
	before chan error // has the outcome of the last commit that was begun, nil for none
}

// begin implements stagedStore.
func (m *stagedMem) begin(_ context.Context, records []record) <-chan error {
	before, outcome, own := m.before, make(chan error, 1), make(chan error, 1)
	m.before = own
	go func() {
		err := guarded(slog.Default(), "commit", func() error {
			if before != nil {
				if err := <-before; err != nil {
					return err
				}
			}
			if m.memStore.before != nil {
				if err := m.memStore.before(records); err != nil {
					return err
				}
			}
			m.apply(records)
			return nil
		})
		own <- err
		outcome <- err
	}()
	return outcome
}

// apply stores records as a commit does, whatever the leader is told about it.
func (m *memStore) apply(records []record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits++
	m.write(records)
	m.lastOwn = m.writes
}

// commitCount is how many commits there were.
func (m *memStore) commitCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// sizeOf is what records take of a commit together.
func (m *memStore) sizeOf(records []record) (n int) {
	for _, r := range records {
		n += m.size(r)
	}
	return n
}

// write is one transaction.
func (m *memStore) write(records []record) {
	m.writes++
	for _, r := range records {
		if r.value == nil {
			delete(m.records, r.key)
			delete(m.orders, r.key)
			continue
		}
		at := m.orders[r.key]
		if m.records[r.key] == nil {
			at.created = m.writes
		}
		at.written = m.writes
		m.records[r.key], m.orders[r.key] = r.value, at
	}
}

// foreign writes a record as somebody does who is not of this program; nil deletes it.
func (m *memStore) foreign(key string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.write([]record{{key, value}})
}

// others implements sharedStore as the store in ZooKeeper does: each term looks once who has led before it.
func (m *memStore) others() others {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lastOwn > 0 && m.orders[frameworkIDKey].written > m.lastOwn {
		m.reign = reign{time.Now().UnixMilli(), m.lastOwn, math.MaxInt64}
	}
	seen := others{m.reign, m.lastOwn, maps.Clone(m.orders)}
	m.writes++
	m.lastOwn = m.writes
	if m.reign.before == math.MaxInt64 {
		m.reign.before = m.writes
	}
	return seen
}

// size implements store. It takes as much as ZooKeeper does below a path of some length.
func (m *memStore) size(r record) int {
	return len("/chronos/state/state/") + 2*len(r.key) + len(r.value) + 200
}

// allKeys implements store.
func (m *memStore) allKeys() []string {
	defer m.call()()
	return m.keys("")
}

// read implements store.
func (m *memStore) read(_ context.Context, keys []string) ([]reading, error) {
	defer m.call()()
	m.mu.Lock()
	defer m.mu.Unlock()
	readings := make([]reading, len(keys))
	for i, key := range keys {
		readings[i].record = record{key, m.records[key]}
	}
	return readings, nil
}

func (m *memStore) value(key string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.records[key])
}

func (m *memStore) keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for k := range m.records {
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
			out = append(out, k)
		}
	}
	return out
}

func mustCommit(t testing.TB, s store, records ...record) {
	t.Helper()
	if err := s.commit(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

// wantRecords checks what a store holds; want maps keys to values.
func wantRecords(t testing.TB, s store, want map[string]string) {
	t.Helper()
	got, err := s.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !sameRecords(got, want) {
		t.Fatalf("load() = %q, want %q", got, want)
	}
	if got := readThrough(t, s); !sameRecords(got, want) {
		t.Fatalf("the store's keys and what it reads under them are %q, want %q", got, want)
	}
}

// readThrough is what a store reads under its keys.
func readThrough(t testing.TB, s store) map[string][]byte {
	t.Helper()
	keys := append(s.allKeys(), "J_of nobody")
	readings, err := s.read(t.Context(), keys)
	if err != nil || len(readings) != len(keys) {
		t.Fatalf("read(%q) = %d readings, %v", keys, len(readings), err)
	}
	got := map[string][]byte{}
	for i, r := range readings {
		if r.key != keys[i] {
			t.Fatalf("reading %d is of %q, want %q", i, r.key, keys[i])
		}
		if r.value != nil {
			got[r.key] = r.value
		}
	}
	return got
}

func sameRecords(got map[string][]byte, want map[string]string) bool {
	return maps.EqualFunc(got, want, func(v []byte, w string) bool { return v != nil && string(v) == w })
}

func put(key, value string) record { return record{key, []byte(value)} }

func openTestStore(t testing.TB, dir string) *fileStore {
	t.Helper()
	s, err := openFileStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// stateCorpus returns the nodes in testdata/state/<version>, by name.
func stateCorpus(t testing.TB, version string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata/state", version, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stored entries of %s: %v", version, err)
	}
	nodes := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := url.PathUnescape(filepath.Base(file)) // colons are not for file names
		if err != nil {
			t.Fatal(err)
		}
		nodes[name] = data
	}
	return nodes
}

// keysOf returns the sorted keys of a map.
func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// corpusUUID is the UUID of all entries in testdata/state.
var corpusUUID = [16]byte{0x6f, 0xa4, 0x59, 0xea, 0xee, 0x8a, 0x4c, 0xa4, 0x89, 0x4e, 0xdb, 0x77, 0xe1, 0x60, 0x35, 0x5e}
