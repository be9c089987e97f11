package main

import (
	"slices"
	"testing"
)

func TestCandidatesSortAsInCurator(t *testing.T) {
	t.Parallel()
	got := inLine([]string{
		"_c_ffffffffffffffffffffffffffffffff-latch-0000000002",
		"stray",
		"_c_00000000-0000-0000-0000-000000000000-latch-0000000003",
		"latch-0000000001",
		"_c_latch-0000000000-latch-0000000004",
	}, nil)
	want := []string{
		"latch-0000000001",
		"_c_ffffffffffffffffffffffffffffffff-latch-0000000002",
		"_c_00000000-0000-0000-0000-000000000000-latch-0000000003",
		"_c_latch-0000000000-latch-0000000004",
	}
	if !slices.Equal(got, want) {
		t.Errorf("inLine = %q, want %q", got, want)
	}
	if madeByJVM(want[1]) || !madeByJVM(want[2]) || madeByJVM("stray") {
		t.Error("a node's maker is told by the dashes in its GUID")
	}
}
