package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A wrapper claims one run, executes it and records its end. It is a process of
// its own, so that neither the end of the instance that started it nor a signal
// to that one's group touches the run.
type wrapper struct {
	box   sandbox
	task  *mesos.TaskInfo
	epoch int64
	alive *os.File // write end of the FIFO that observers wait on
	kills <-chan time.Duration
}

// runWrapper is the program behind wrapperWord. Only localCluster.start starts it,
// which passes the subscription's number in the environment and a pipe as file
// descriptor 3 that gets one byte at the claim.
func runWrapper(dir string) int {
	// The command is to die with this process (see jobAttributes), which the
	// kernel binds to the thread that starts it.
	runtime.LockOSThread()
	adoptOrphans()
	// Caught and dropped, not ignored: the command would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	epoch, err := strconv.ParseInt(os.Getenv(epochVariable), 10, 64)
	if err != nil {
		fmt.Fprintf(os.Stderr, "chronos: %s is started by chronos itself only\n", wrapperWord)
		return exitUsage
	}
	ready := os.NewFile(3, "ready")
	w := &wrapper{box: sandbox(dir), epoch: epoch}
	lock, err := w.claim()
	switch {
	case errors.Is(err, errClaimed):
		return exitClaimed
	case errors.Is(err, errSuperseded):
		return exitSuperseded
	case err != nil:
		fmt.Fprintf(os.Stderr, "chronos: %v\n", err)
		return exitBroken
	}
	defer lock.Close()
	ready.Write([]byte{'c'}) // if nobody reads it any more, somebody will adopt the run
	ready.Close()
	st := w.execute()
	if err := w.box.settle(st); err != nil {
		fmt.Fprintf(os.Stderr, "chronos: record the end of the run: %v\n", err)
		return exitBroken
	}
	os.Remove(w.box.path("alive"))
	os.Remove(w.box.path("control"))
	return 0
}

// claim takes the lock, makes all preparations that can fail, and claims the run.
func (w *wrapper) claim() (lock *os.File, err error) {
	if lock, err = w.lock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if w.box.claimed() { // and over: its wrapper has let go of the lock, and cleared away what is opened below
		return nil, errClaimed
	}
	if w.task, err = w.box.task(); err != nil {
		return nil, fmt.Errorf("read task: %w", err)
	}
	// Opened for both directions, so that neither blocks nor sees an end.
	if w.alive, err = os.OpenFile(w.box.path("alive"), os.O_RDWR, 0); err != nil {
		return nil, err
	}
	control, err := os.OpenFile(w.box.path("control"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	w.kills = w.box.killRequests(control)
	if err := w.box.reserve(); err != nil {
		return nil, err
	}
	// Under the lock: whoever clears the run away needs it too.
	last, err := currentEpoch(filepath.Dir(filepath.Dir(string(w.box))))
	if err != nil {
		return nil, err
	}
	if last > w.epoch {
		return nil, errSuperseded
	}
	return lock, w.box.claim()
}

// lock waits for the lock only as long as the run is not claimed.
func (w *wrapper) lock() (*os.File, error) {
	f, err := w.box.lock(false)
	for errors.Is(err, errLocked) {
		if w.box.claimed() {
			return nil, errClaimed
		}
		time.Sleep(time.Millisecond)
		f, err = w.box.lock(false)
	}
	return f, err
}

// killRequests delivers the grace periods of the kills asked for, the first of
// which may have been asked before.
func (b sandbox) killRequests(control *os.File) <-chan time.Duration {
	kills := make(chan time.Duration)
	// It ends with the process.
	go func() {
		for {
			if grace, ok := b.killGrace(); ok {
				kills <- grace
			}
			if _, err := control.Read(make([]byte, 64)); err != nil {
				return
			}
		}
	}()
	return kills
}

// execute runs the task and returns how it ended.
func (w *wrapper) execute() runStatus {
	started := time.Now()
	st := w.perform()
	st.Started = started.UnixMilli()
	return st
}

func (w *wrapper) perform() runStatus {
	if w.box.has("kill") {
		return endedStatus(mesos.TASK_KILLED, "killed before it started")
	}
	p, err := newProgram(w.box, w.task)
	if err != nil {
		return failed(mesos.REASON_CONTAINER_LAUNCH_FAILED, err)
	}
	if killed, err := w.fetch(p); err != nil {
		return failed(mesos.REASON_CONTAINER_LAUNCH_FAILED, err)
	} else if killed {
		return endedStatus(mesos.TASK_KILLED, "killed while its files were fetched")
	}
	if err := p.start(); err != nil {
		return failed(mesos.REASON_CONTAINER_LAUNCH_FAILED, err)
	}
	return w.await(p)
}

func failed(reason mesos.TaskStatus_Reason, err error) runStatus {
	st := endedStatus(mesos.TASK_FAILED, err.Error())
	st.Reason = reason.String()
	return st
}

// fetch brings the task's files into its directory, unless it is killed meanwhile.
func (w *wrapper) fetch(p *program) (killed bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fetched := make(chan error, 1)
	go func() { fetched <- p.fetch(ctx) }()
	select {
	case err := <-fetched:
		return false, err
	case <-w.kills:
		cancel()
		<-fetched
		return true, nil
	}
}

// await waits for the end of the program, and brings it about when it is killed
// or its time is over: SIGTERM, and SIGKILL after the grace period. Whatever the
// program leaves behind ends with it.
func (w *wrapper) await(p *program) runStatus {
	why := mesos.TASK_FINISHED // or the end that was asked for
	var limit, patience <-chan time.Time
	var until time.Time
	stop := func(end mesos.TaskState, grace time.Duration) {
		if why == mesos.TASK_FINISHED {
			p.terminate()
			why = end
		}
		// A kill that is sent again does not prolong the grace period.
		if at := time.Now().Add(grace); until.IsZero() || at.Before(until) {
			until, patience = at, time.After(grace)
		}
	}
	if d := w.task.GetMaxCompletionTime(); d != nil && d.Nanoseconds > 0 {
		limit = time.After(time.Duration(d.Nanoseconds))
	}
	ended := make(chan struct{})
	go func() {
		awaitExit(p.cmd)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return w.verdict(p, why, p.sweep())
		case grace := <-w.kills:
			stop(mesos.TASK_KILLED, grace)
		case <-limit:
			stop(mesos.TASK_FAILED, taskGrace(w.task))
		case <-patience:
			p.destroy()
		}
	}
}

// verdict words the end of a program like Mesos' command executor.
func (w *wrapper) verdict(p *program, why mesos.TaskState, ws syscall.WaitStatus) runStatus {
	message := fmt.Sprintf("Command exited with status %d", ws.ExitStatus())
	if ws.Signaled() {
		message = "Command terminated with signal " + ws.Signal().String()
	} else if p.container != "" && ws.ExitStatus() == 125 {
		message += ": docker could not run the container, see stderr"
	}
	if ws.Signaled() && ws.Signal() == syscall.SIGKILL && why == mesos.TASK_FINISHED {
		message += ", not sent by chronos; perhaps the kernel ran out of memory"
	}
	var st runStatus
	switch {
	case why == mesos.TASK_KILLED:
		st = endedStatus(mesos.TASK_KILLED, message)
	case why == mesos.TASK_FAILED:
		st = endedStatus(mesos.TASK_FAILED, fmt.Sprintf("ran longer than its maximum of %v; %s",
			time.Duration(w.task.MaxCompletionTime.Nanoseconds), message))
		st.Reason = mesos.REASON_MAX_COMPLETION_TIME_REACHED.String()
	case ws.Exited() && ws.ExitStatus() == 0:
		st = endedStatus(mesos.TASK_FINISHED, message)
	default:
		st = endedStatus(mesos.TASK_FAILED, message)
		st.Reason = mesos.REASON_COMMAND_EXECUTOR_FAILED.String()
	}
	if ws.Exited() {
		code := ws.ExitStatus()
		st.Exit = &code
	} else {
		st.Signal = int(ws.Signal())
	}
	return st
}
