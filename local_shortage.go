package main

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A shortage is why a run can't be started now, though it may be later: descriptors, memory, processes or disk
// space are used up, perhaps by another run. Nothing of the run has begun, and nobody has claimed it.
type shortage string

func (s shortage) Error() string { return string(s) }

// isShortage reports whether an error means that something is used up at the moment.
func isShortage(err error) bool {
	if _, ok := errors.AsType[shortage](err); ok {
		return true
	}
	for _, errno := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return isFull(err)
}

// withdraw removes the claim of a run of which nothing has begun. The caller holds the lock.
func (b sandbox) withdraw() error {
	// The claim goes last: without it, what is left of the run would be in the way of the next claim.
	if err := os.RemoveAll(b.path("work")); err != nil {
		return err
	}
	if err := os.Remove(b.path("claim")); err != nil {
		return err
	}
	return syncDir(string(b))
}

// postpone reports that a run could not be started for now, as a Mesos agent reports a temporary failure.
func (s *localSession) postpone(r *liveRun, why error) {
	s.release(r)
	s.refuseTask(r.id, mesos.TASK_DROPPED, mesos.REASON_CONTAINER_LAUNCH_FAILED, why.Error())
}

// possibleRuns is for how many runs there can be descriptors in this process, and processes.
func possibleRuns() int {
	const ofDescriptors, ofProcesses = 8, 4 // the others are for connections and files, and for what runs start themselves
	return int(max(1, min(descriptorLimit()/ofDescriptors, processLimit()/ofProcesses, 1<<20)))
}

// keeperThreads and instanceThreads are more than a keeper, or an instance without many requests, ever needs.
const (
	keeperThreads   = 32
	instanceThreads = 24
)

// reserveThreads creates threads now, which the runtime keeps for later: if no further process can be created
// because a run has started too many, the runtime would end this one for lack of a thread.
func reserveThreads(n int) {
	var made, gone sync.WaitGroup
	leave := make(chan struct{})
	made.Add(n)
	for range n {
		gone.Go(func() {
			runtime.LockOSThread() // so that each gets its own
			made.Done()
			<-leave
			runtime.UnlockOSThread()
		})
	}
	made.Wait()
	close(leave)
	gone.Wait()
}
