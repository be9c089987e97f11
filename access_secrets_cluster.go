package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// How a secret stands in the environment of a task that is sent.
type secretForm int

const (
	plainSecret    secretForm = iota // as any other variable
	mesosSecret                      // as a variable of type SECRET, which Mesos does not show
	referredSecret                   // by its name, for a cluster that has the value itself
	markedSecret                     // as any other variable, with its name, so that its value is not kept on the disk
)

// A secretCluster is a cluster whose tasks have the values of the secrets that they name. These are read when the launch is sent,
// in a goroutine of its own: neither the scheduler's loop nor what waits for a commit waits for these files. Calls keep their order: a KILL must not
// overtake its launch.
type secretCluster struct {
	cluster
	vault *vault // nil for none
	form  secretForm
	log   *slog.Logger

	mu      sync.Mutex
	handle  func(*sched.Event) // of the subscription
	waiting []queuedCall       // each waits for the one before it
	reading bool               // a goroutine is at work on what waits
}

func (c *secretCluster) run(ctx context.Context, frameworkID string, handle func(*sched.Event)) error {
	c.mu.Lock()
	c.handle = handle
	c.mu.Unlock()
	return c.cluster.run(ctx, frameworkID, handle)
}

func (c *secretCluster) send(call *sched.Call, done func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reading && !namesSecrets(call) || call.GetType() == sched.Call_ACKNOWLEDGE { // those need no order
		c.cluster.send(call, done)
		return
	}
	c.waiting = append(c.waiting, queuedCall{call, done})
	if !c.reading {
		c.reading = true
		go guarded(c.log, "reading of secrets", func() error { c.sendWaiting(c.handle); return nil })
	}
}

// namesSecrets reports whether a call launches a task that names a secret.
func namesSecrets(call *sched.Call) bool {
	return slices.ContainsFunc(call.GetAccept().GetOperations(), func(op mesos.Offer_Operation) bool {
		return slices.ContainsFunc(op.GetLaunch().GetTaskInfos(), func(t mesos.TaskInfo) bool { return len(secretVariables(&t)) > 0 })
	})
}

// sendWaiting sends what waits, and what comes meanwhile.
func (c *secretCluster) sendWaiting(handle func(*sched.Event)) {
	for {
		c.mu.Lock()
		if len(c.waiting) == 0 {
			c.waiting, c.reading = nil, false
			c.mu.Unlock()
			return
		}
		next := c.waiting[0]
		c.waiting = c.waiting[1:]
		c.mu.Unlock()
		err := guarded(c.log, "reading of secrets", func() error { c.fill(next.call, handle); return nil })
		if err == nil {
			c.cluster.send(next.call, next.done)
		} else {
			next.answer(fmt.Errorf("%w: %w", errNotSent, err))
		}
	}
}

// fill puts secrets into the tasks of a launch. A task that can't have one of its own is taken out of it and has failed. If none is
// left, the offers are given back.
func (c *secretCluster) fill(call *sched.Call, handle func(*sched.Event)) {
	if !namesSecrets(call) {
		return
	}
	left := 0
	for i := range call.Accept.Operations {
		launch := call.Accept.Operations[i].Launch
		launch.TaskInfos = slices.DeleteFunc(launch.TaskInfos, func(t mesos.TaskInfo) bool {
			err := c.give(&t)
			if err != nil {
				handle(failedLaunch(t.TaskID, err))
			}
			return err != nil
		})
		left += len(launch.TaskInfos)
	}
	if left == 0 {
		*call = sched.Call{Type: sched.Call_DECLINE, Decline: &sched.Call_Decline{OfferIDs: call.Accept.OfferIDs, Filters: call.Accept.Filters}}
	}
}

// failedLaunch is the update of a task that could not be sent. It has nothing to be acknowledged.
func failedLaunch(id mesos.TaskID, why error) *sched.Event {
	return &sched.Event{Type: sched.Event_UPDATE, Update: &sched.Event_Update{Status: mesos.TaskStatus{
		TaskID: id, State: mesos.TASK_FAILED.Enum(), Source: mesos.SOURCE_MASTER.Enum(), Message: new(why.Error()),
	}}}
}

// give puts the secrets of a task in their places.
func (c *secretCluster) give(t *mesos.TaskInfo) error {
	_, _, job, _, ok := parseRunID(t.TaskID.Value)
	for _, v := range secretVariables(t) {
		if c.vault == nil || !ok {
			return fmt.Errorf("variable %q names the secret %q: %w", v.Name, v.Secret.GetReference().GetName(), errNoVault)
		}
		if err := c.put(v, v.Secret.GetReference().GetName(), job); err != nil {
			return fmt.Errorf("variable %q: %w", v.Name, err)
		}
	}
	return nil
}

// put puts a secret of a job into a variable.
func (c *secretCluster) put(v *mesos.Environment_Variable, name, job string) error {
	if c.form == referredSecret {
		return c.vault.look().allows(name, job)
	}
	text, err := c.vault.secret(name, job)
	if err != nil {
		return err
	}
	switch c.form {
	case mesosSecret:
		v.Secret = &mesos.Secret{Type: mesos.Secret_VALUE, Value: &mesos.Secret_Value{Data: []byte(text)}}
	case markedSecret:
		v.Type, v.Value = nil, new(text)
	default:
		v.Type, v.Value, v.Secret = nil, new(text), nil
	}
	return nil
}
