package main

import (
	"errors"
	"sync/atomic"
)

// errNoRoom means that the memory for bodies and answers under way is used up.
var errNoRoom = errors.New("too much is under way for the memory that this process has; try again")

// A budget is the memory that what clients send and are sent may take at a time.
type budget struct {
	limit int64
	used  atomic.Int64
}

func newBudget(limit int64) *budget { return &budget{limit: limit} }

// A share is what one request holds of a budget. It is safe for concurrent use. A nil share is for those who may
// take what they need.
type share struct {
	budget *budget
	held   atomic.Int64
}

// share returns an empty share, which must be ended.
func (b *budget) share() *share { return &share{budget: b} }

// grow takes n bytes more, or answers false if they are not there.
func (s *share) grow(n int64) bool {
	if s == nil {
		return true
	}
	if s.budget.used.Add(n) > s.budget.limit {
		s.budget.used.Add(-n)
		return false
	}
	s.held.Add(n)
	return true
}

// shrink gives n bytes back.
func (s *share) shrink(n int64) {
	if s == nil {
		return
	}
	s.held.Add(-n)
	s.budget.used.Add(-n)
}

// end gives everything back.
func (s *share) end() {
	if s != nil {
		s.budget.used.Add(-s.held.Swap(0))
	}
}

// whole is what all shares may hold together, -1 if there is no bound.
func (s *share) whole() int64 {
	if s == nil {
		return -1
	}
	return s.budget.limit
}
