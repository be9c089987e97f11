package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whoever starts the program where it can't run is told why, and what to do.
func TestWhatKeepsTheProgramFromStartingIsSaid(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := writeFile(t, "file", "")
	used := filepath.Join(t.TempDir(), "used")
	store := openTestStore(t, used)
	defer store.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--http_port", port}, "another program listens there, perhaps another chronos; stop it, or choose another port, such as --http_port="},
		{[]string{"--http_port", "0", "--http_address", "192.0.2.1"}, "no network interface of this machine has that address; choose one with --http_address"},
		{[]string{"--http_port", "0", "--data_dir", filepath.Join(file, "data")}, "no directory can be made there; choose another one with --data_dir"},
		{[]string{"--http_port", "0", "--data_dir", used}, "stop that one, or give this one another --data_dir and --http_port"},
	} {
		if _, err := tryDaemon(t, t.Output(), tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("with %s: %v, want %q", tt.args, err, tt.want)
		}
	}
	for _, tt := range []struct{ err, want error }{
		{adviseListen("--http_port", ":80", syscall.EACCES), errors.New("--http_port: permission denied: ports below 1024 are for root, or for a program with CAP_NET_BIND_SERVICE; choose another one, such as --http_port=8080")},
		{adviseListen("--https_port", ":x", syscall.EINVAL), errors.New("--https_port: invalid argument")},
		{adviseDataDir("d", nil), nil},
		{adviseDataDir("d", fs.ErrPermission), fmt.Errorf("--data_dir d: permission denied: it can't be written by user %d; choose another one with --data_dir, or give it to that user", os.Geteuid())},
		{adviseDataDir("d", syscall.ENOSPC), errors.New("--data_dir d: no space left on device: make room on that disk, or choose another one with --data_dir")},
	} {
		if fmt.Sprint(tt.err) != fmt.Sprint(tt.want) {
			t.Errorf("%v, want %v", tt.err, tt.want)
		}
	}
}
