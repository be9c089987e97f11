package main

import (
	"context"
	"maps"
	"sync"
)

// memStore is a store in memory whose commits a test can hold up or fail.
type memStore struct {
	mu      sync.Mutex
	records map[string][]byte
	before  func([]record) error // called first by commit; its error is commit's
	commits int
}

func newMemStore() *memStore { return &memStore{records: map[string][]byte{}} }

// load implements store.
func (m *memStore) load(context.Context) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records), nil
}

// commit implements store.
func (m *memStore) commit(_ context.Context, records []record) error {
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

// size implements store. It takes as much as ZooKeeper does below a path of some length.
func (m *memStore) size(r record) int {
	return len("/chronos/state/state/") + 2*len(r.key) + len(r.value) + 200
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
