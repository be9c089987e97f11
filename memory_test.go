package main

import (
	"math"
	"runtime/debug"
	"sync"
	"testing"
	"testing/fstest"
)

func TestMemoryOfAGroup(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, tt := range []struct {
		name    string
		files   map[string]string
		want    int64
		bounded bool
	}{
		{"version 2", map[string]string{"proc/self/cgroup": "0::/system.slice/chronos.service\n",
			"sys/fs/cgroup/system.slice/chronos.service/memory.max": "268435456\n"}, 256 * mib, true},
		{"version 2, a group above allows less", map[string]string{"proc/self/cgroup": "0::/pod/chronos\n",
			"sys/fs/cgroup/pod/chronos/memory.max": "max\n", "sys/fs/cgroup/pod/memory.max": "134217728\n"}, 128 * mib, true},
		{"version 2, in a container", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n"}, 256 * mib, true},
		{"version 2, beside others", map[string]string{"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/memory.max": "268435456\n"}, 256 * mib, true},
		{"version 2 without a bound", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0, false},
		{"version 1", map[string]string{"proc/self/cgroup": "12:cpu,cpuacct:/x\n11:memory:/docker/1\n1:name=systemd:/x\n",
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "268435456\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 256 * mib, true},
		{"version 1, in a container", map[string]string{"proc/self/cgroup": "11:memory:/docker/1\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n"}, 256 * mib, true},
		{"version 1 without a bound", map[string]string{"proc/self/cgroup": "11:memory:/a\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0, false},
		{"both versions", map[string]string{"proc/self/cgroup": "11:memory:/a\n0::/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "268435456\n"}, 256 * mib, true},
		{"no control groups", nil, 0, false},
		{"nonsense", map[string]string{"proc/self/cgroup": "x\n\n::\n", "sys/fs/cgroup/memory.max": "much\n"}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, bounded := groupMemory(machine(tt.files))
			if bounded != tt.bounded || bounded && got != tt.want {
				t.Errorf("groupMemory = %d, %t, want %d, %t", got, bounded, tt.want, tt.bounded)
			}
		})
	}
}

func machine(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

// What the process may use is the least of what its control group, GOMEMLIMIT and the machine say, and the runtime is told.
func TestMemoryIsLimitedAsTheGroupSays(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	const group, given = int64(1) << 40, int64(1) << 39
	meminfo := "MemFree: 1 kB\nMemTotal:       2147483648 kB\n" // 2 TiB
	inGroup := machine(map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1099511627776", "proc/meminfo": meminfo})
	for _, tt := range []struct {
		name      string
		set       int64 // GOMEMLIMIT
		root      fstest.MapFS
		want, now int64
	}{
		{"a group", math.MaxInt64, inGroup, group, group / 10 * 9},
		{"a group and GOMEMLIMIT", given, inGroup, given, given},
		{"GOMEMLIMIT alone", given, machine(nil), unknownMemory, given},
		{"neither", math.MaxInt64, machine(map[string]string{"proc/meminfo": meminfo}), 2 << 40, math.MaxInt64},
		{"a system that says nothing", math.MaxInt64, machine(nil), unknownMemory, math.MaxInt64},
	} {
		debug.SetMemoryLimit(tt.set)
		got := limitMemory(tt.root)
		if now := debug.SetMemoryLimit(-1); got != tt.want || now != tt.now {
			t.Errorf("%s: limitMemory = %d, and GOMEMLIMIT is %d; want %d and %d", tt.name, got, now, tt.want, tt.now)
		}
	}
}

func TestSharesOfABudgetNeverExceedIt(t *testing.T) {
	t.Parallel()
	b := newBudget(100)
	var requests sync.WaitGroup
	for range 50 {
		requests.Go(func() {
			for range 200 {
				s := b.share()
				for n := int64(1); s.grow(n); n *= 2 {
					if used := b.used.Load(); used > 100 {
						t.Errorf("%d are taken", used)
					}
				}
				s.shrink(min(1, s.held.Load()))
				s.end()
				s.end()
			}
		})
	}
	requests.Wait()
	if used := b.used.Load(); used != 0 {
		t.Errorf("%d are taken when all have ended", used)
	}
	s := b.share()
	if !s.grow(100) || s.grow(1) || s.whole() != 100 {
		t.Error("a share of 100 of 100 is refused, or one of 101 is not")
	}
	var free *share
	if !free.grow(math.MaxInt64) || free.whole() != -1 {
		t.Error("who has no share is bounded")
	}
	free.shrink(1)
	free.end()
}
