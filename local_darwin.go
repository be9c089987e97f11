package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// What local_linux.go does, as far as macOS allows: processes that leave a command's
// process group outlive it, and so does a command whose keeper is killed.

// descriptors is where a process finds the numbers of its open files.
const descriptors = "/dev/fd"

const seekData, seekHole = 4, 3 // SEEK_DATA and SEEK_HOLE of <unistd.h>

// punchHole does nothing: outputs are not bounded here.
func punchHole(*os.File, int64, int64) error { return nil }

func ownBinary() (string, error) { return os.Executable() }

func adoptOrphans() {}

func children() []int { return nil }

func sessionOf(int) int { return 0 }

func remains(string) []int { return nil }

func sandboxOf(int, string) (work string, ok bool) { return "", false }

func jobAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func joinGroup(*syscall.SysProcAttr, *os.File) {}

func leaveGroup(*syscall.SysProcAttr) {}

// processLimit is how many processes a user has there at least.
func processLimit() uint64 { return 1000 }

func noticeExits(*keeper) {}

func noticeExit(p *program) {
	if p.ended == nil {
		return
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
}

// machineSize takes 4 GB of memory for granted, since asking needs more than the
// standard library; localOptions can override it.
func machineSize(dir string) resources {
	size := resources{cpus: int64(runtime.NumCPU()) * 1000, mem: 4096 * 1000}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err == nil {
		size.disk = int64(fs.Bavail) * int64(fs.Bsize) >> 20 * 1000
	}
	return size
}

// openAs opens a file for reading. What another user may can't be told here without becoming him.
func openAs(owner *syscall.Credential, path string) (*os.File, error) {
	if owner != nil {
		return nil, errors.New("files can't be fetched for another user on this system")
	}
	return os.Open(path)
}
