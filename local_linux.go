package main

import (
	"bufio"
	"bytes"
	"math"
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

// punchHole frees the disk space of a part of a file. The file's size stays the same.
func punchHole(f *os.File, offset, length int64) error {
	const keepSize, punch = 1, 2 // FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of <linux/falloc.h>
	return syscall.Fallocate(int(f.Fd()), keepSize|punch, offset, length)
}

// ownBinary names this program as it was started, even if the file has been
// replaced by another version since.
func ownBinary() (string, error) { return "/proc/self/exe", nil }

// adoptOrphans makes the orphans among our descendants our children. The kernel
// has supported that since 3.4; otherwise, they stay behind.
func adoptOrphans() {
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
}

// jobAttributes puts a command into a session and process group of its own, and
// has it killed if this thread ends.
func jobAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// joinGroup has a command started in a control group, leaveGroup not any more.
func joinGroup(attributes *syscall.SysProcAttr, dir *os.File) {
	attributes.UseCgroupFD, attributes.CgroupFD = true, int(dir.Fd())
}

func leaveGroup(attributes *syscall.SysProcAttr) { attributes.UseCgroupFD = false }

// processLimit is how many processes there may be of this user, in this control group, and at all.
func processLimit() uint64 {
	limit := uint64(1 << 15) // the least that a kernel has at all
	if n, ok := readNumber("/proc/sys/kernel/pid_max"); ok {
		limit = uint64(n)
	}
	const rlimitNproc = 6 // RLIMIT_NPROC of <sys/resource.h>
	var own syscall.Rlimit
	if os.Geteuid() != 0 && syscall.Getrlimit(rlimitNproc, &own) == nil {
		limit = min(limit, own.Cur)
	}
	for _, group := range controlGroups() {
		if n, ok := readNumber(filepath.Join(group, "pids.max")); ok {
			limit = min(limit, uint64(n))
		}
	}
	return limit
}

// noticeExits informs the keeper's programs of their end, without a waiting thread for each.
func noticeExits(k *keeper) {
	signals := make(chan os.Signal, 1) // a pending one stands for all
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
	// The kernel has had this file since 3.5, if configured so.
	text, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children")
	if err != nil {
		return allChildren()
	}
	return numbers(strings.Fields(string(text)))
}

// allChildren searches all processes for the children of this one.
func allChildren() (pids []int) {
	for _, p := range processes() {
		if p.parent == os.Getpid() {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// sessionOf returns the id of a process's session, which is the process id of the session's first process.
func sessionOf(pid int) int {
	id, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	return int(id)
}

// sandboxOf returns the working directory, below dataDir, that a process got in its environment.
func sandboxOf(pid int, dataDir string) (work string, ok bool) {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", false
	}
	work = lastValue(strings.Split(string(environ), "\x00"), "MESOS_SANDBOX")
	return work, strings.HasPrefix(work, dataDir+"/")
}

// A process is what /proc says about it.
type process struct {
	pid, parent, session int
	gone                 bool // ended, and only not reaped
}

// processes returns all processes.
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

// remains lists the processes that a run whose keeper is gone has left: those with its working directory in
// their environment, those in the same sessions, which nobody else shares, and all their descendants.
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

// machineSize returns what tasks may use of this machine: its cores, its memory, and the
// free space below dir, each no more than our control group allows.
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

// openAs opens a file for reading with what another user may, nil for ourselves. The kernel keeps that for each thread, so
// it is done in one of its own, which nobody uses afterwards.
func openAs(owner *syscall.Credential, path string) (*os.File, error) {
	if owner == nil {
		return os.Open(path)
	}
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this
		file, err := (*os.File)(nil), becomeInFiles(owner)
		if err == nil {
			file, err = os.Open(path)
		}
		done <- opened{file, err}
	}()
	o := <-done
	return o.file, o.err
}

// becomeInFiles has this thread open files as somebody else does.
func becomeInFiles(owner *syscall.Credential) error {
	var groups *uint32
	if len(owner.Groups) > 0 {
		groups = &owner.Groups[0]
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(owner.Groups)), uintptr(unsafe.Pointer(groups)), 0); errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	for _, set := range []struct {
		name string
		call uintptr
		id   uint32
	}{{"setfsgid", syscall.SYS_SETFSGID, owner.Gid}, {"setfsuid", syscall.SYS_SETFSUID, owner.Uid}} {
		syscall.RawSyscall(set.call, uintptr(set.id), 0, 0)
		if now, _, _ := syscall.RawSyscall(set.call, uintptr(math.MaxUint32), 0, 0); uint32(now) != set.id { // it reports no errors, but who we are
			return os.NewSyscallError(set.name, syscall.EPERM)
		}
	}
	return nil
}
