package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A keptRun is a run in the hands of a keeper.
type keptRun struct {
	box            sandbox
	epoch          int64 // number of the subscription that asked for it
	task           *mesos.TaskInfo
	lock           *os.File
	stdout, stderr *os.File
	alive          *os.File      // what observers wait on, if there are any; belongs to the keeper
	told           chan struct{} // holds a token when the file kill may be there
	kills          chan time.Duration
	over           chan struct{}
}

func newKeptRun(box sandbox, epoch int64) *keptRun {
	return &keptRun{
		box: box, epoch: epoch,
		told: make(chan struct{}, 1), kills: make(chan time.Duration), over: make(chan struct{}),
	}
}

// release gives up all that was opened.
func (r *keptRun) release() {
	close(r.over)
	// The lock goes first: who waits for the end of alive wants it.
	for _, f := range []*os.File{r.lock, r.alive, r.stdout, r.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// claim makes all preparations that can fail, and claims the run, which is locked.
func (r *keptRun) claim(dataDir string) error {
	if r.box.claimed() { // and over: its keeper has let go of the lock
		return errClaimed
	}
	if err := r.prepare(); err != nil {
		return err
	}
	// Under the lock: whoever clears the run away needs it too.
	last, err := currentEpoch(dataDir)
	if err != nil {
		return err
	}
	if last > r.epoch {
		return errSuperseded
	}
	return r.box.claim()
}

// prepare opens what the run needs.
func (r *keptRun) prepare() (err error) {
	if r.task, err = r.box.task(); err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	if r.stdout, err = openOutput(r.box.path("stdout")); err != nil {
		return err
	}
	if r.stderr, err = openOutput(r.box.path("stderr")); err != nil {
		return err
	}
	return r.box.reserve()
}

func openOutput(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// awaitLock takes the lock, waiting for it only as long as the run is not claimed.
func (r *keptRun) awaitLock() (err error) {
	r.lock, err = r.box.lock(false)
	for errors.Is(err, errLocked) {
		if r.box.claimed() {
			return errClaimed
		}
		time.Sleep(time.Millisecond)
		r.lock, err = r.box.lock(false)
	}
	return err
}

// hears takes a word about the run.
func (r *keptRun) hears(word string) {
	switch word {
	case wordKill:
		select {
		case r.told <- struct{}{}:
		default:
		}
	case wordWatch:
		if r.alive == nil {
			// Nobody waits for it if it can't be opened, but looks again.
			r.alive, _ = os.OpenFile(r.box.path("alive"), os.O_RDWR, 0)
		}
	}
}

// hear delivers the grace periods of the kills asked for, the first of
// which may have been asked before.
func (r *keptRun) hear() {
	for {
		if grace, ok := r.box.killGrace(); ok {
			select {
			case r.kills <- grace:
			case <-r.over:
				return
			}
		}
		select {
		case <-r.told:
		case <-r.over:
			return
		}
	}
}

// execute runs the task and returns how it ended.
func (r *keptRun) execute(k *keeper) runStatus {
	started := time.Now()
	st := r.perform(k)
	st.Started = started.UnixMilli()
	return st
}

func (r *keptRun) perform(k *keeper) runStatus {
	if r.box.has("kill") {
		return endedStatus(mesos.TASK_KILLED, "killed before it started")
	}
	p, err := newProgram(r.box, r.task, r.stdout, r.stderr)
	if err != nil {
		return failed(mesos.REASON_CONTAINER_LAUNCH_FAILED, err)
	}
	if killed, err := r.fetch(p); err != nil {
		return failed(mesos.REASON_CONTAINER_LAUNCH_FAILED, err)
	} else if killed {
		return endedStatus(mesos.TASK_KILLED, "killed while its files were fetched")
	}
	if err := k.start(p); err != nil {
		return failed(mesos.REASON_CONTAINER_LAUNCH_FAILED, err)
	}
	return r.await(k, p)
}

func failed(reason mesos.TaskStatus_Reason, err error) runStatus {
	st := endedStatus(mesos.TASK_FAILED, err.Error())
	st.Reason = reason.String()
	return st
}

// fetch brings the task's files into its directory, unless it is killed meanwhile.
func (r *keptRun) fetch(p *program) (killed bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fetched := make(chan error, 1)
	go func() { fetched <- p.fetch(ctx) }()
	select {
	case err := <-fetched:
		return false, err
	case <-r.kills:
		cancel()
		<-fetched
		return true, nil
	}
}

// await waits for the end of the program, and brings it about when it is killed
// or its time is over: SIGTERM, and SIGKILL after the grace period. Whatever the
// program leaves behind ends with it.
func (r *keptRun) await(k *keeper, p *program) runStatus {
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
	if d := r.task.GetMaxCompletionTime(); d != nil && d.Nanoseconds > 0 {
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
			return r.verdict(p, why, k.sweep(p))
		case grace := <-r.kills:
			stop(mesos.TASK_KILLED, grace)
		case <-limit:
			stop(mesos.TASK_FAILED, taskGrace(r.task))
		case <-patience:
			k.destroy(p)
		}
	}
}

// verdict words the end of a program like Mesos' command executor.
func (r *keptRun) verdict(p *program, why mesos.TaskState, ws syscall.WaitStatus) runStatus {
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
			time.Duration(r.task.MaxCompletionTime.Nanoseconds), message))
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
