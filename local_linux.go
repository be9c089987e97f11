package main

import (
	"bufio"
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

const prSetChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER of <sys/prctl.h>

// descriptors is where a process finds the numbers of its open files.
const descriptors = "/proc/self/fd"

const seekData, seekHole = 3, 4 // SEEK_DATA and SEEK_HOLE of <unistd.h>

// punchHole gives the disk space of a part of a file back. The file's size stays.
func punchHole(f *os.File, offset, length int64) error {
	const keepSize, punch = 1, 2 // FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of <linux/falloc.h>
	return syscall.Fallocate(int(f.Fd()), keepSize|punch, offset, length)
}

// ownBinary names this program as it was started, even if the file has been
// replaced by another version since.
func ownBinary() (string, error) { return "/proc/self/exe", nil }

// adoptOrphans makes the orphans among our descendants our children. The kernel
// has been able to since 3.4; without, they stay behind.
func adoptOrphans() {
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
}

// jobAttributes puts a command into a session and process group of its own, and
// has it killed if this thread ends.
func jobAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// noticeExits has the keeper's programs told of their end, without a thread that waits for each.
func noticeExits(k *keeper) {
	signals := make(chan os.Signal, 1) // one that is to come tells of all
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		for range signals {
			k.mu.Lock()
			for pid, p := range k.started {
				if p.ended != nil && !p.over && hasEnded(pid) {
					p.over = true
					close(p.ended)
				}
			}
			k.mu.Unlock()
		}
	}()
}

// noticeExit does nothing: noticeExits sees to a program that was just started.
func noticeExit(*program) {}

// hasEnded reports whether a child has ended, and leaves it to be reaped.
func hasEnded(pid int) bool {
	const pPID = 1    // P_PID of <sys/wait.h>
	var info struct { // siginfo_t
		signal int32 // stays 0 if there is nothing to tell
		rest   [31]int32
	}
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPID, uintptr(pid), uintptr(unsafe.Pointer(&info)), syscall.WEXITED|syscall.WNOWAIT|syscall.WNOHANG, 0, 0)
		if errno != syscall.EINTR {
			return errno != 0 || info.signal != 0
		}
	}
}

// children lists the direct children of this process that its first thread has: all
// that the kernel has handed to it, and those started in that thread.
func children() []int {
	// A file the kernel has since 3.5, if it was so configured.
	text, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children")
	if err != nil {
		return allChildren()
	}
	return numbers(strings.Fields(string(text)))
}

func numbers(texts []string) (all []int) {
	for _, text := range texts {
		if n, err := strconv.Atoi(text); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// allChildren looks at every process for the children of this one.
func allChildren() (pids []int) {
	for _, p := range processes() {
		if p.parent == os.Getpid() {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// sessionOf returns the id of a process's session, which is the process id of the one that began it.
func sessionOf(pid int) int {
	id, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	return int(id)
}

// sandboxOf returns the working directory, below dataDir, that a process was told of at its start.
func sandboxOf(pid int, dataDir string) (work string, ok bool) {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", false
	}
	work = lastValue(strings.Split(string(environ), "\x00"), "MESOS_SANDBOX")
	return work, strings.HasPrefix(work, dataDir+"/")
}

// A process is what /proc tells of one.
type process struct {
	pid, parent, session int
	gone                 bool // ended, and only not reaped
}

// processes returns all there are.
func processes() (all []process) {
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// pid (name) state ppid pgrp session; the name may contain anything.
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(f) < 4 {
			continue
		}
		if n := numbers([]string{filepath.Base(filepath.Dir(name)), f[1], f[3]}); len(n) == 3 {
			all = append(all, process{pid: n[0], parent: n[1], session: n[2], gone: f[0] == "Z" || f[0] == "X"})
		}
	}
	return all
}

// remains lists the processes that a run has started and whose keeper is gone: those that were told of its
// working directory, what is in their sessions, which nobody else shares, and all that stem from them.
func remains(work string) (pids []int) {
	all, ours, sessions := processes(), map[int]bool{}, map[int]bool{}
	for _, p := range all {
		if dir, ok := sandboxOf(p.pid, filepath.Dir(work)); ok && dir == work {
			ours[p.pid], sessions[p.session] = true, true
		}
	}
	for found := len(ours) > 0; found; {
		found = false
		for _, p := range all {
			if !ours[p.pid] && (ours[p.parent] || sessions[p.session]) {
				ours[p.pid], sessions[p.session], found = true, true, true
			}
		}
	}
	for _, p := range all {
		if ours[p.pid] && !p.gone && p.pid != os.Getpid() {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// machineSize is what tasks may use of this machine: its cores, its memory, the
// space free below dir, and of each no more than our control group may.
func machineSize(dir string) resources {
	const mb = 1 << 20
	size := resources{cpus: int64(runtime.NumCPU()) * 1000, mem: memTotal() / mb * 1000}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err == nil {
		size.disk = int64(fs.Bavail) * int64(fs.Bsize) / mb * 1000
	}
	for _, group := range controlGroups() {
		if n, ok := readNumber(filepath.Join(group, "memory.max")); ok {
			size.mem = min(size.mem, n/mb*1000)
		}
		text, err := os.ReadFile(filepath.Join(group, "cpu.max"))
		if err != nil {
			continue
		}
		f := strings.Fields(string(text))
		if len(f) != 2 || f[0] == "max" {
			continue
		}
		quota, err1 := strconv.ParseInt(f[0], 10, 64)
		period, err2 := strconv.ParseInt(f[1], 10, 64)
		if err1 == nil && err2 == nil && period > 0 {
			size.cpus = min(size.cpus, quota*1000/period)
		}
	}
	// Version 1 of control groups, as a container sees its own.
	if n, ok := readNumber("/sys/fs/cgroup/memory/memory.limit_in_bytes"); ok {
		size.mem = min(size.mem, n/mb*1000)
	}
	quota, ok1 := readNumber("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
	period, ok2 := readNumber("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
	if ok1 && ok2 && quota > 0 && period > 0 {
		size.cpus = min(size.cpus, quota*1000/period)
	}
	return size
}

// controlGroups returns the directories of our version 2 group and those above it.
func controlGroups() []string {
	const top = "/sys/fs/cgroup"
	groups := []string{top}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return groups
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ; ok && strings.HasPrefix(path, "/") && path != "/"; path = filepath.Dir(path) {
			groups = append(groups, filepath.Join(top, path))
		}
	}
	return groups
}

func readNumber(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

func memTotal() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) == 3 && f[0] == "MemTotal:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}
