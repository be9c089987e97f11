package main

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
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

// memStore is a store in memory whose commits a test can hold up or fail.
type memStore struct {
	soleCaller
	mu      sync.Mutex
	records map[string][]byte
	before  func([]record) error // called first by commit; its error is commit's
	commits int
}

func newMemStore() *memStore { return &memStore{records: map[string][]byte{}} }

// load implements store.
func (m *memStore) load(context.Context) (map[string][]byte, error) {
	defer m.call()()
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records), nil
}

// commit implements store.
func (m *memStore) commit(_ context.Context, records []record) error {
	defer m.call()()
	if m.before != nil {
		if err := m.before(records); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits++
	for _, r := range records {
		if r.value == nil {
			delete(m.records, r.key)
		} else {
			m.records[r.key] = r.value
		}
	}
	return nil
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
