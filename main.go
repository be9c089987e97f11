// Command chronos is a distributed, fault-tolerant cron: it runs scheduled jobs
// and jobs that depend on them on Apache Mesos, on Kubernetes or on this machine. It replaces
// the JVM program Mesos Chronos 2.4, 2.5 and 3.0, with the same flags, REST API
// and state in ZooKeeper.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == keeperWord {
		os.Exit(runKeeper(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == fetchWord {
		os.Exit(fetchForTask(os.Args[2]))
	}
	if firstProcess() {
		os.Exit(runInit(os.Args))
	}
	ctx, stop := untilSignal()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(exitStatus(err))
}

// untilSignal returns a context that ends with SIGINT or SIGTERM. One that was ignored when the program was started stays ignored, as
// with a JVM: whoever has started it means that, and jobs inherit it.
func untilSignal() (context.Context, context.CancelFunc) {
	signals := slices.DeleteFunc([]os.Signal{syscall.SIGINT, syscall.SIGTERM}, signal.Ignored)
	if len(signals) == 0 { // which would mean all of them
		return context.WithCancel(context.Background())
	}
	return signal.NotifyContext(context.Background(), signals...)
}

// fetchForTask is this program as the container that fetches what a task needs before it starts.
func fetchForTask(dir string) int {
	ctx, stop := untilSignal()
	defer stop()
	if err := runFetch(ctx, dir, os.Getenv(fetchVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// run is the program. It returns when ctx ends, with nil, or when the program cannot
// start or continue, after saying why.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		if c := commandNamed(args[0]); c != nil {
			return runCommandLine(ctx, c, args[1:], stdin, stdout, stderr)
		}
	}
	args, notes, err := expandLegacy(args, os.Environ(), rootFS(), stdin, stdout)
	if err != nil {
		return err
	}
	f, err := parseFlags(args, os.LookupEnv, stdout)
	if err != nil {
		return err
	}
	log, level, err := newLogger(stderr, f.logLevel, f.logFormat)
	if err != nil {
		fmt.Fprintln(stderr, "chronos:", err)
		return err
	}
	for _, note := range notes {
		log.Warn(note)
	}
	for _, name := range f.withoutEffect() {
		log.Warn("option has no effect", "option", name)
	}
	i, err := newDaemon(f, os.LookupEnv, log, level)
	if err != nil {
		log.Error("chronos can't start", "error", err)
		return err
	}
	if screen := newScreen(stdout, os.Getenv); screen.width > 0 && i.greets() {
		i.greet(screen, os.Args[0])
	}
	if err := i.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("chronos ends", "error", err)
		return err
	}
	return nil
}

// runCommandLine has a subcommand do what its options and arguments say.
func runCommandLine(ctx context.Context, c *command, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	err := c.do(ctx, args, stdin, stdout)
	if _, told := errors.AsType[*usageError](err); err != nil && !told && !errors.Is(err, errHelp) && err.Error() != "" {
		fmt.Fprintf(stderr, "chronos %s: %v\n", c.name, err)
	}
	return err
}

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
			// Not child.Signal: the library does not reap here, so it can't know whether the child is alive.
			if n, ok := sig.(syscall.Signal); ok {
				_ = syscall.Kill(child.Pid, n) // if it is gone already, ended will say so
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
			return 128 + int(status.Signal()) // as in shells
		case pid == child:
			return status.ExitStatus()
		}
	}
}
