package main

import (
	"slices"
	"testing"
)

func TestMailbox(t *testing.T) {
	t.Parallel()
	ready := func(m *mailbox[int]) bool {
		select {
		case <-m.ready:
			return true
		default:
			return false
		}
	}
	t.Run("keeps the order, and tells once of all that waits", func(t *testing.T) {
		m := newMailbox[int]()
		for i := range 3 {
			if !m.put(i) {
				t.Errorf("put(%d) was refused", i)
			}
		}
		if !ready(m) || ready(m) {
			t.Error("want one token for three items")
		}
		if got := m.take(); !slices.Equal(got, []int{0, 1, 2}) {
			t.Errorf("take = %v", got)
		}
		if got := m.take(); len(got) != 0 {
			t.Errorf("took %v twice", got)
		}
	})
	t.Run("leaves a token for the next of several who take one each", func(t *testing.T) {
		m := newMailbox[int]()
		m.put(1)
		m.put(2)
		for want := 1; want <= 2; want++ {
			if !ready(m) {
				t.Fatalf("no token while %d waits", want)
			}
			if got, ok := m.first(); !ok || got != want {
				t.Errorf("first = %d, %v, want %d", got, ok, want)
			}
		}
		if _, ok := m.first(); ok || ready(m) || m.size() != 0 {
			t.Error("something is left")
		}
	})
	t.Run("that is closed takes nothing, and gives back what waits", func(t *testing.T) {
		m := newMailbox[int]()
		m.put(1)
		if got := m.close(); !slices.Equal(got, []int{1}) {
			t.Errorf("close = %v", got)
		}
		if m.put(2) || m.size() != 0 {
			t.Error("a closed mailbox has taken something")
		}
	})
}
