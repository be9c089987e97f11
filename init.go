package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// firstProcess reports whether this process is the first of a container. The orphans of all
// jobs become its children, and it has to reap them. The program proper could not tell them from its
// own children, so it runs as a child of such a process.
func firstProcess() bool { return os.Getpid() == 1 }

// runInit runs the program again as a child, passes signals on to it and reaps whatever
// ends, until the child has ended, and returns the status to end with. The kernel then kills
// what is left in the container.
func runInit(args []string) int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chronos: find own program:", err)
		return 1
	}
	child, err := os.StartProcess(self, args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "chronos: start as a child of the container's first process:", err)
		return 1
	}
	ended := make(chan int, 1)
	go func() { ended <- reapUntil(child.Pid) }()
	for {
		select {
		case sig := <-signals:
			// Not child.Signal: who reaps is not the library, so it can't know whether the child lives.
			if n, ok := sig.(syscall.Signal); ok {
				_ = syscall.Kill(child.Pid, n) // gone already: then ended tells
			}
		case status := <-ended:
			return status
		}
	}
}

// reapUntil reaps children, ours and the orphans we inherit, until the one given has ended.
func reapUntil(child int) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "chronos: wait for children:", err)
			return 1
		case pid == child && status.Signaled():
			return 128 + int(status.Signal()) // as shells say it
		case pid == child:
			return status.ExitStatus()
		}
	}
}
