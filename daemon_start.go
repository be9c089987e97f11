package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// adviseListen says what to do about an address that can't be had.
func adviseListen(option, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %w: another program listens there, perhaps another chronos; stop it, or choose another port, such as %s=%s", option, err, option, anotherPort(address))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: ports below 1024 are for root, or for a program with CAP_NET_BIND_SERVICE; choose another one, such as %s=8080", option, err, option)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: %w: no network interface of this machine has that address; choose one with --http_address", option, err)
	}
	return fmt.Errorf("%s: %w", option, err)
}

// anotherPort is the one after that of an address.
func anotherPort(address string) string {
	_, text, _ := net.SplitHostPort(address)
	port, err := strconv.Atoi(text)
	if err != nil || port == 65535 {
		return "8081"
	}
	return strconv.Itoa(port + 1)
}

// adviseDataDir says what to do about a data directory that can't be used.
func adviseDataDir(dir string, err error) error {
	advice := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errInUse):
		advice = "stop that one, or give this one another --data_dir and --http_port"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		advice = fmt.Sprintf("it can't be written by user %d; choose another one with --data_dir, or give it to that user", os.Geteuid())
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrNotExist):
		advice = "no directory can be made there; choose another one with --data_dir"
	case isFull(err):
		advice = "make room on that disk, or choose another one with --data_dir"
	default:
		return fmt.Errorf("--data_dir: %w", err)
	}
	return fmt.Errorf("--data_dir %s: %w: %s", dir, err, advice)
}

// greet tells somebody who starts the program for the first time, in a terminal, where it is and what to do next.
func (d *daemon) greet(terminal io.Writer, program string) {
	address := d.listeners[0].Addr().(*net.TCPAddr)
	url, reach := d.self.Scheme+"://localhost:"+strconv.Itoa(address.Port), "from any machine that reaches this one"
	if address.IP.IsLoopback() {
		reach = "from this machine only"
	}
	where := ""
	if url != defaultURL {
		where = "export CHRONOS_URL=" + url + "; "
	}
	dir := d.flags.dataDir
	if !strings.ContainsRune(dir, os.PathSeparator) {
		dir = "." + string(os.PathSeparator) + dir
	}
	fmt.Fprintf(terminal, "chronos listens on %s (%s); open it in a browser.\n", url, reach)
	fmt.Fprintf(terminal, "It is in local mode: jobs are processes of this machine, and the state is kept in %s. It needs nothing else.\n", dir)
	fmt.Fprintf(terminal, "Next, in another terminal: %secho '{name: hello, command: date, schedule: R//PT1M}' >hello.yaml; %s apply hello.yaml; %[2]s runs\n", where, program)
}

// greets reports whether the one who has started the program is to be greeted: it has no state yet.
func (d *daemon) greets() bool {
	return d.store != nil && d.store.fresh && d.self.Scheme == "http" && d.access == nil && d.flags.httpCredentials == ""
}
