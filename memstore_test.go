package main

import (
	"context"
	"maps"
	"math"
	"sync"
	"time"
)

// memStore is a store in memory whose commits a test can hold up or fail.
type memStore struct {
	mu      sync.Mutex
	records map[string][]byte
	before  func([]record) error // called first by commit; its error is commit's
	commits int

	// As ZooKeeper does, it knows in which order its records were made and written, if there is any.
	writes  int64
	orders  map[string]order
	lastOwn int64
	reign   reign
}

func newMemStore() *memStore {
	return &memStore{records: map[string][]byte{}, orders: map[string]order{}}
}

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
	m.write(records)
	m.lastOwn = m.writes
	return nil
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
