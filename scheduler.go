package main

import (
	"context"
	"errors"

	schedulerpb "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A record is one named value of the state. A nil value deletes it.
//
// Keys are J_<job>, T_<run id> and frameworkId as in the JVM versions, and
// go/job/<job>, go/run/<run id>, go/history/<job> for what has no place there.
// The part after the last slash is percent-encoded by recordName, so that a key
// has slashes only where written here.
type record struct {
	key   string
	value []byte
}

// A store keeps records durably. Its methods are called from one goroutine at a time.
type store interface {
	// load returns every record. A record that can't be read is reported by a
	// *recordError among the errors joined into err, with the rest returned;
	// any other error means that nothing could be read.
	load(ctx context.Context) (map[string][]byte, error)
	// commit applies all records or none, durably, before it returns nil.
	// A *recordError says which record was refused for good (too large, say);
	// any other error leaves the outcome unknown and ends the term.
	commit(ctx context.Context, records []record) error
}

// A recordError is a definite refusal of one record.
type recordError struct {
	key string
	err error
}

func (e *recordError) Error() string { return "record " + e.key + ": " + e.err.Error() }
func (e *recordError) Unwrap() error { return e.err }

// A cluster runs tasks. It speaks the messages of the Mesos v1 scheduler API,
// whether a Mesos master or this machine is behind it.
type cluster interface {
	// run keeps a subscription until ctx ends, starting with the framework id
	// given ("" for none yet), and hands every event to handle, in order, from one
	// goroutine. Each (re)subscription shows as a SUBSCRIBED event.
	run(ctx context.Context, frameworkID string, handle func(*schedulerpb.Event)) error
	// send queues a call. It never blocks. done, if not nil, is called exactly once from
	// another goroutine, with nil when the cluster has taken the call, errNotSent
	// when it certainly has not, and any other error when that is unknown.
	send(call *schedulerpb.Call, done func(error))
}

var (
	errNotSent  = errors.New("not sent")
	errNotFound = errors.New("not found")
	errBusy     = errors.New("too many changes are waiting to be stored")
	errNoLeader = errors.New("not the leader")
)
