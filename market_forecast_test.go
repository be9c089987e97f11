package main

import "testing"

func TestRoomIsForetold(t *testing.T) {
	t.Parallel()
	cpus := func(n int64) resources { return resources{cpus: n * 1000} }
	on := func(n, until int64) occupant { return occupant{cpus(n), until} }
	tests := []struct {
		name   string
		needed int64
		on     []occupant
		at     int64 // 100 is now
		spare  int64
	}{
		{"nothing is there", 8, nil, 100, 0},
		{"there is room beside", 3, []occupant{on(4, endless)}, 100, 1},
		{"the first to end is not enough", 6, []occupant{on(4, 300), on(2, 200)}, 300, 2},
		{"in the order of their ends", 4, []occupant{on(2, 300), on(4, 200), on(1, 250)}, 200, 1},
		{"all have to end", 8, []occupant{on(1, 300), on(1, 200), on(6, 250)}, 300, 0},
		{"an endless one is in the way", 8, []occupant{on(1, endless), on(7, 200)}, endless, 0},
		{"one that should have ended may never do", 8, []occupant{on(1, 100), on(7, 200)}, endless, 0},
		{"and is not needed to", 7, []occupant{on(1, 50), on(7, 200)}, 200, 0},
		{"the agent is too small", 9, nil, endless, 0},
	}
	for _, tt := range tests {
		at, spare := roomFor(cpus(8), cpus(tt.needed), tt.on, 100)
		if at != tt.at || spare != cpus(tt.spare) {
			t.Errorf("%s: room at %d with %d to spare, want %d, %d", tt.name, at, spare.cpus, tt.at, tt.spare*1000)
		}
	}
}
