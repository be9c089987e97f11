package main

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A shortage is why a run could not be started now, though it may be later: descriptors, memory, processes or room on the
// disk were used up, perhaps by another run. Nothing of the run has begun, and nobody has claimed it.
type shortage string

func (s shortage) Error() string { return string(s) }

// isShortage reports whether an error comes from something that is used up now.
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

// withdraw takes the claim of a run back, of which nothing has begun. The caller holds the lock.
func (b sandbox) withdraw() error {
	// The claim goes last: what is left of a run without one would be in the way of the next who claims it.
	if err := os.RemoveAll(b.path("work")); err != nil {
		return err
	}
	if err := os.Remove(b.path("claim")); err != nil {
		return err
	}
	return syncDir(string(b))
}

// postpone tells that a run could not be started for now, as a Mesos agent does of a failure that passes.
func (s *localSession) postpone(r *liveRun, why error) {
	s.release(r)
	s.refuseTask(r.id, mesos.TASK_DROPPED, mesos.REASON_CONTAINER_LAUNCH_FAILED, why.Error())
}

// keeperThreads and instanceThreads are more than a keeper, or an instance without many requests, has ever at work.
const (
	keeperThreads   = 32
	instanceThreads = 24
)

// reserveThreads has threads made now, which the runtime keeps for later: where there can be no further process,
// because a run has started too many, it would end this one for want of a thread.
func reserveThreads(n int) {
	var made, gone sync.WaitGroup
	leave := make(chan struct{})
	made.Add(n)
	for range n {
		gone.Go(func() {
			runtime.LockOSThread() // so that each takes one for itself
			made.Done()
			<-leave
			runtime.UnlockOSThread()
		})
	}
	made.Wait()
	close(leave)
	gone.Wait()
}
