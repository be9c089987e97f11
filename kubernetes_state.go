package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// What marks a pod as ours.
const (
	kubeDomain     = "chronos-go.github.io/"
	labelManaged   = "app.kubernetes.io/managed-by"
	labelFramework = kubeDomain + "framework"
	labelJob       = kubeDomain + "job"
	labelStored    = kubeDomain + "stored" // its end is stored: nobody waits for it any more

	annotationTask    = kubeDomain + "task"      // the run's id
	annotationJob     = kubeDomain + "job"       // the job's name
	annotationKilled  = kubeDomain + "killed-at" // when somebody has asked for its end
	annotationOverdue = kubeDomain + "overdue"   // why it is ended before it has started
	annotationNodes   = kubeDomain + "nodes"     // what its job's patterns stood for among the nodes, where it has some
	annotationMoved   = kubeDomain + "moved"     // why it is to be made anew, if it has no node yet

	// resultFinalizer keeps a pod that somebody deletes until its end is stored.
	resultFinalizer = kubeDomain + "result"
	taskContainer   = "task"
	fetchContainer  = "chronos-fetch"
)

// A podObject is what we read of a pod.
type podObject struct {
	Metadata podMeta
	Spec     struct {
		NodeName                      string
		TerminationGracePeriodSeconds *int64
	}
	Status podStatus
}

type podMeta struct {
	Name, UID, ResourceVersion string
	CreationTimestamp          time.Time
	DeletionTimestamp          *time.Time
	DeletionGracePeriodSeconds *int64
	Labels, Annotations        map[string]string
	Finalizers                 []string
}

type podStatus struct {
	Phase, Reason, Message string
	Conditions             []podCondition
	ContainerStatuses      []containerStatus
	InitContainerStatuses  []containerStatus
}

type podCondition struct{ Type, Status, Reason, Message string }

type containerStatus struct {
	Name  string
	State struct {
		Waiting *struct{ Reason, Message string }
		Running *struct{ StartedAt time.Time }
		// Terminated is the end of the container, which comes before that of the pod.
		Terminated *struct {
			ExitCode              int
			Reason, Message       string
			StartedAt, FinishedAt *time.Time
		}
	}
}

func (p *podObject) condition(kind string) *podCondition {
	i := slices.IndexFunc(p.Status.Conditions, func(c podCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &p.Status.Conditions[i]
}

func (p *podObject) task() string { return p.Metadata.Annotations[annotationTask] }

// stored reports whether the pod's end is stored.
func (p *podObject) stored() bool { return p.Metadata.Labels[labelStored] != "" }

// deleted reports whether somebody, perhaps we, has deleted the pod: it is gone as soon as it has ended and
// nobody holds it.
func (p *podObject) deleted() bool { return p.Metadata.DeletionTimestamp != nil }

// losesLog reports whether the node is about to drop what the task has written.
func (p *podObject) losesLog() bool {
	return p.started() && (p.deleted() || p.Status.Reason == "Evicted")
}

// container returns the status of the container that runs the task, nil before there is one.
func (p *podObject) container() *containerStatus {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(c containerStatus) bool { return c.Name == taskContainer })
	if i < 0 {
		return nil
	}
	return &p.Status.ContainerStatuses[i]
}

// started reports whether the task has begun, as far as the pod tells.
func (p *podObject) started() bool {
	c := p.container()
	return c != nil && (c.State.Running != nil || c.State.Terminated != nil && c.State.Terminated.StartedAt != nil)
}

// A podNews is what a pod says of its task, in the words of Mesos.
type podNews struct {
	state   mesos.TaskState
	reason  *mesos.TaskStatus_Reason
	message string
	at      time.Time // of the end, zero if unknown
}

// news derives the state of a task from its pod as it is, whatever has led there.
func (p *podObject) news() podNews {
	c := p.container()
	switch {
	case p.Status.Reason == "DeadlineExceeded":
		return podNews{state: mesos.TASK_FAILED, reason: mesos.REASON_MAX_COMPLETION_TIME_REACHED.Enum(), message: p.why("DeadlineExceeded", p.Status.Message)}
	case c != nil && c.State.Terminated != nil && c.State.Terminated.StartedAt != nil:
		return p.ended(c)
	case p.Status.Phase == "Succeeded":
		return podNews{state: mesos.TASK_FINISHED}
	case p.Status.Phase == "Failed":
		return p.failed()
	case c != nil && c.State.Running != nil:
		return podNews{state: mesos.TASK_RUNNING}
	case p.deleted() && p.moved():
		return kubeRefusal(mesos.TASK_DROPPED, waitsForRoom, "%s", p.Metadata.Annotations[annotationMoved])
	case p.deleted() && p.Spec.NodeName == "": // nothing was started, nor will be
		return p.unstarted("the pod was deleted by somebody else before it had a node")
	}
	return podNews{state: mesos.TASK_STAGING, message: p.waits()}
}

// ended is the end of a task that ran.
func (p *podObject) ended(c *containerStatus) podNews {
	end := c.State.Terminated
	n := podNews{state: mesos.TASK_FAILED, message: p.why("", "command exited with status "+strconv.Itoa(end.ExitCode))}
	if end.FinishedAt != nil {
		n.at = *end.FinishedAt
	}
	if end.Reason != "Completed" && end.Reason != "Error" {
		n.message = p.why(end.Reason, "command exited with status "+strconv.Itoa(end.ExitCode))
	}
	if end.Reason == "OOMKilled" {
		n.reason = mesos.REASON_CONTAINER_LIMITATION_MEMORY.Enum()
	}
	switch overdue := p.Metadata.Annotations[annotationOverdue]; {
	case p.killedBefore(n.at):
		n.state = mesos.TASK_KILLED
	case overdue != "":
		n.message = overdue
	case end.ExitCode == 0:
		n.state, n.message = mesos.TASK_FINISHED, ""
	case p.Status.Reason == "Evicted":
		n.message = p.why("Evicted", p.Status.Message) + ": command exited with status " + strconv.Itoa(end.ExitCode)
	case p.disrupted() != "":
		n.state, n.message = mesos.TASK_LOST, p.disrupted()
	case p.deleted():
		n.message = "the pod was deleted by somebody else: " + n.message
	}
	return n
}

// failed is the end of a pod whose task has not run to its end, as far as anybody knows.
func (p *podObject) failed() podNews {
	if lost := p.disrupted(); lost != "" && p.Status.Reason != "Evicted" {
		return p.unstarted(lost)
	}
	for _, c := range p.Status.InitContainerStatuses {
		if end := c.State.Terminated; end != nil && end.ExitCode != 0 {
			text := fmt.Sprintf("%s failed with status %d: %s", c.Name, end.ExitCode, strings.TrimSpace(end.Message))
			if c.Name == fetchContainer {
				text = cmp.Or(strings.TrimSpace(end.Message), fmt.Sprintf("fetch: failed with status %d", end.ExitCode))
			}
			return podNews{state: mesos.TASK_FAILED, message: p.why("", text)}
		}
	}
	if c := p.container(); c != nil && c.State.Terminated != nil { // ContainerStatusUnknown: the node has forgotten it
		return p.unstarted(p.why(c.State.Terminated.Reason, c.State.Terminated.Message))
	}
	if p.deleted() {
		return p.unstarted("the pod was deleted by somebody else before it had started")
	}
	return podNews{state: mesos.TASK_FAILED, message: p.why(p.Status.Reason, p.Status.Message)}
}

// unstarted is the end of a pod whose task has left no result.
func (p *podObject) unstarted(otherwise string) podNews {
	switch overdue := p.Metadata.Annotations[annotationOverdue]; {
	case p.killed():
		return podNews{state: mesos.TASK_KILLED, message: "killed before it had started"}
	case overdue != "":
		return podNews{state: mesos.TASK_FAILED, message: overdue}
	}
	return podNews{state: mesos.TASK_LOST, message: otherwise}
}

// killed reports whether somebody has asked us for its end.
func (p *podObject) killed() bool { return p.Metadata.Annotations[annotationKilled] != "" }

// killedBefore reports whether the end was asked for before it came. Pods keep whole seconds only.
func (p *podObject) killedBefore(end time.Time) bool {
	asked, err := time.Parse(time.RFC3339, p.Metadata.Annotations[annotationKilled])
	return err == nil && (end.IsZero() || !end.Before(asked.Truncate(time.Second)))
}

// moved reports whether the pod, which has no node yet, is to be made anew, under the same name.
func (p *podObject) moved() bool {
	return p.Spec.NodeName == "" && p.Metadata.Annotations[annotationMoved] != "" && !p.killed()
}

// disrupted says who has ended the pod for reasons of the cluster, "" if nobody has.
func (p *podObject) disrupted() string {
	c := p.condition("DisruptionTarget")
	if c == nil || c.Status != "True" {
		return ""
	}
	return p.why(c.Reason, c.Message)
}

// why is a reason for people, with the node where it came up.
func (p *podObject) why(reason, message string) string {
	text := reason
	if node := p.Spec.NodeName; node != "" {
		text = strings.TrimSpace(reason + " on node " + node)
	}
	if message == "" {
		return text
	}
	if text == "" {
		return message
	}
	return text + ": " + message
}

// waits says why the pod has not started, "" if nothing is known to be wrong.
func (p *podObject) waits() string {
	if c := p.condition("PodScheduled"); c != nil && c.Status == "False" {
		return joinReason(c.Reason, c.Message)
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" && w.Reason != "" {
			return joinReason(w.Reason, w.Message)
		}
	}
	return ""
}

func joinReason(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + message
}

// A nodeObject is what we read of a node.
type nodeObject struct {
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Status struct {
		Conditions  []podCondition
		Allocatable map[string]string
	}
}

// away reports whether the node has not been heard of for some time.
func (n *nodeObject) away() bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c podCondition) bool { return c.Type == "Ready" && c.Status == "Unknown" })
}
