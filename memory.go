package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// errNoRoom means that the memory for bodies and answers under way is used up.
var errNoRoom = errors.New("too many requests are under way for the memory of this process; try again")

// unknownMemory stands for the memory of a system that does not say how much it has.
const unknownMemory = 1 << 30

// limitMemory makes the garbage collector respect what the control group allows, unless GOMEMLIMIT
// is set, and returns how many bytes this process may use. root is the machine's file system.
func limitMemory(root fs.FS) int64 {
	group, bounded := groupMemory(root)
	set := debug.SetMemoryLimit(-1)
	if set == math.MaxInt64 && bounded {
		debug.SetMemoryLimit(group / 10 * 9) // the rest is for memory that the runtime does not count
	}
	if !bounded {
		group = cmp.Or(machineMemory(root), unknownMemory)
	}
	return min(set, group)
}

// groupMemory returns the lowest limit of this process's control group and those above it, and whether there is any.
func groupMemory(root fs.FS) (limit int64, bounded bool) {
	membership, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	limit = math.MaxInt64
	for line := range strings.Lines(string(membership)) {
		// <hierarchy>:<controllers>:<path>, without controllers in version 2
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) < 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if part[1] != "" {
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		if part[1] != "" && !strings.Contains(","+part[1]+",", ",memory,") {
			continue
		}
		// In a container the path may be the host's, and only the root exist.
		for dir := path.Clean("/" + part[2]); ; dir = path.Dir(dir) {
			if n, err := readBytes(root, path.Join(base, dir, file)); err == nil {
				limit = min(limit, n)
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit, limit < 1<<60 // version 1 says "no limit" with a number near the largest
}

// readBytes reads a file that holds a number of bytes, or "max".
func readBytes(root fs.FS, name string) (int64, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
}

// machineMemory returns how much memory this machine has, 0 if it does not say.
func machineMemory(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			kilobytes, _ := strconv.ParseInt(f[1], 10, 64) // 0 if it is not a number
			return kilobytes << 10
		}
	}
	return 0
}

// A budget is the memory that request bodies and answers may take at a time.
type budget struct {
	limit int64
	used  atomic.Int64
}

func newBudget(limit int64) *budget { return &budget{limit: limit} }

// A share is what one request holds of a budget. It is safe for concurrent use. A nil share is for callers that may
// take what they need.
type share struct {
	budget *budget
	held   atomic.Int64
}

// share returns an empty share, which must be ended.
func (b *budget) share() *share { return &share{budget: b} }

// grow takes n more bytes, or returns false if they are not available.
func (s *share) grow(n int64) bool {
	if s == nil {
		return true
	}
	for {
		used := s.budget.used.Load()
		if n > s.budget.limit-used {
			return false
		}
		if s.budget.used.CompareAndSwap(used, used+n) {
			s.held.Add(n)
			return true
		}
	}
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

// whole returns what all shares together may hold, -1 if there is no bound.
func (s *share) whole() int64 {
	if s == nil {
		return -1
	}
	return s.budget.limit
}

// isFull reports whether an error means that a disk is full.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// descriptorLimit returns how many descriptors this process may have open.
func descriptorLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // what systems allow at least
	}
	return uint64(limit.Cur)
}
