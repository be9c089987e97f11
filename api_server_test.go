package main

import "testing"

// testScheduler returns a scheduler that leads, with an in-memory store and a cluster that never offers anything.
func testScheduler(t testing.TB) *scheduler {
	return &scheduler{}
}
