package kubetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
)

// A pod is one pod, and what its node knows of it.
type pod struct {
	object  Object
	task    string
	out     Outcome
	running bool
	over    bool // its container has ended
	timer   *time.Timer
	text    string // its log
	dropped bool   // its node has dropped that
	born    time.Time
}

func (p *pod) meta() Object   { return p.object["metadata"].(Object) }
func (p *pod) spec() Object   { return p.object["spec"].(Object) }
func (p *pod) status() Object { return p.object["status"].(Object) }
func (p *pod) name() string   { return p.meta()["name"].(string) }
func (p *pod) phase() string  { return fmt.Sprint(p.status()["phase"]) }

func (p *pod) deleted() bool { return p.meta()["deletionTimestamp"] != nil }

func (p *pod) finalizers() []any {
	list, _ := p.meta()["finalizers"].([]any)
	return list
}

func (p *pod) view() Pod {
	v := Pod{Name: p.name(), Annotations: texts(p.meta()["annotations"]), Object: clone(p.object)}
	if c := p.container(); c != nil {
		for _, key := range []string{"command", "args"} {
			words, _ := c[key].([]any)
			for _, w := range words {
				v.Command = append(v.Command, expand(fmt.Sprint(w)))
			}
		}
	}
	return v
}

// expand does to a text what Kubernetes does, for variables that are not known: $(NAME) stays, $$ is $.
func expand(s string) string { return strings.ReplaceAll(s, "$$", "$") }

func (p *pod) container() Object {
	list, _ := p.spec()["containers"].([]any)
	for _, c := range list {
		if c, ok := c.(Object); ok {
			return c
		}
	}
	return nil
}

func clone(o Object) Object {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var c Object
	if err := json.Unmarshal(text, &c); err != nil {
		panic(err)
	}
	return c
}

// stamp is an instant as objects have it: in whole seconds.
func stamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

func (s *Server) step(n int) time.Duration { return time.Duration(n) * s.opt.Step }

// admit takes a new pod in and begins its life. The caller holds the lock.
func (s *Server) admit(object Object) (asMade Object) {
	meta := object["metadata"].(Object)
	meta["uid"] = fmt.Sprintf("88ca0866-a050-4040-a2ec-%012x", s.version)
	meta["creationTimestamp"] = stamp(time.Now())
	meta["generation"] = 1
	object["status"] = Object{"phase": "Pending", "qosClass": "Burstable"}
	p := &pod{object: object, born: time.Now(), task: texts(meta["annotations"])[s.taskKey]}
	s.pods[p.name()] = p
	s.created[p.task]++
	s.order = append(s.order, p.task)
	s.record("ADDED", "pods", p.object)
	asMade = clone(p.object)
	s.later(s.step(1), func() { s.schedule(p) })
	return asMade
}

// mine reports whether the pod is still the one of its name.
func (s *Server) mine(p *pod) bool { return s.pods[p.name()] == p }

func (s *Server) schedule(p *pod) {
	if !s.mine(p) || p.deleted() {
		return
	}
	p.out = s.behave(p.view())
	if why := p.out.Unschedulable; why != "" {
		p.condition("PodScheduled", "False", "Unschedulable", why)
		s.record("MODIFIED", "pods", p.object)
		return
	}
	p.spec()["nodeName"] = s.opt.Nodes[0]
	p.condition("PodScheduled", "True", "", "")
	s.record("MODIFIED", "pods", p.object)
	p.wait("ContainerCreating", "")
	s.record("MODIFIED", "pods", p.object)
	s.later(s.step(1), func() { s.start(p) })
}

func (p *pod) condition(kind, status, reason, message string) {
	c := Object{"type": kind, "status": status, "lastProbeTime": nil, "lastTransitionTime": stamp(time.Now())}
	if reason != "" {
		c["reason"] = reason
	}
	if message != "" {
		c["message"] = message
	}
	list, _ := p.status()["conditions"].([]any)
	list = slices.DeleteFunc(list, func(old any) bool { return old.(Object)["type"] == kind })
	p.status()["conditions"] = append(list, c)
}

func (p *pod) wait(reason, message string) {
	waiting := Object{"reason": reason}
	if message != "" {
		waiting["message"] = message
	}
	p.state(Object{"waiting": waiting})
}

func (p *pod) state(state Object) {
	name := "task"
	if c := p.container(); c != nil {
		name = fmt.Sprint(c["name"])
	}
	p.status()["containerStatuses"] = []any{Object{"name": name, "state": state, "ready": state["running"] != nil, "restartCount": 0}}
}

func (s *Server) start(p *pod) {
	if !s.mine(p) || p.over {
		return
	}
	if p.deleted() {
		s.finishUnstarted(p)
		return
	}
	s.record("MODIFIED", "pods", p.object) // with the same state once more, as real ones do
	if p.out.Waiting != "" {
		p.wait(p.out.Waiting, p.out.Message)
		s.record("MODIFIED", "pods", p.object)
		return
	}
	p.running, p.text = true, p.out.Log
	s.starts[p.task]++
	s.spans[p.task] = mesostest.Span{Start: time.Now()}
	p.status()["phase"] = "Running"
	p.status()["startTime"] = stamp(time.Now())
	p.condition("Ready", "True", "", "")
	p.state(Object{"running": Object{"startedAt": stamp(time.Now())}})
	s.record("MODIFIED", "pods", p.object)
	if p.out.Forever {
		return
	}
	p.timer = s.later(p.out.After, func() { s.exit(p, p.out.Exit, p.out.Reason) })
}

// exit ends a container, and somewhat later its pod.
func (s *Server) exit(p *pod, status int, reason string) {
	if !s.mine(p) || p.over {
		return
	}
	p.over = true
	s.signal()
	s.outcomes[p.task] = status
	span := s.spans[p.task]
	span.End = time.Now()
	s.spans[p.task] = span
	phase := "Failed"
	if status == 0 {
		phase = "Succeeded"
	}
	if reason == "" {
		reason = map[bool]string{true: "Completed", false: "Error"}[status == 0]
	}
	p.state(Object{"terminated": Object{
		"exitCode": status, "reason": reason, "startedAt": stamp(span.Start), "finishedAt": stamp(time.Now()), "containerID": "containerd://58765f",
	}})
	p.condition("Ready", "False", map[string]string{"Succeeded": "PodCompleted", "Failed": "PodFailed"}[phase], "")
	if !p.deleted() {
		s.record("MODIFIED", "pods", p.object) // Running, with terminated
	}
	s.later(s.step(1), func() {
		p.dropped = p.dropped || p.deleted() // as soon as it has ended, whoever holds it
		if !s.mine(p) {
			return
		}
		p.status()["phase"] = phase
		s.record("MODIFIED", "pods", p.object)
		s.reap(p)
	})
}

// endSpan notes when a pod has stopped running, if it ran.
func (s *Server) endSpan(p *pod) {
	if span := s.spans[p.task]; !span.Start.IsZero() && span.End.IsZero() {
		span.End = time.Now()
		s.spans[p.task] = span
	}
}

// finishUnstarted ends a pod that was deleted before its container has started.
func (s *Server) finishUnstarted(p *pod) {
	if p.over {
		return
	}
	p.over = true
	p.status()["phase"] = "Failed"
	s.record("MODIFIED", "pods", p.object)
	s.reap(p)
}

// remove deletes a pod as DELETE does. The caller holds the lock.
func (s *Server) remove(p *pod, grace int) {
	if !p.deleted() {
		p.meta()["deletionTimestamp"] = stamp(time.Now().Add(time.Duration(grace) * time.Second))
		p.meta()["deletionGracePeriodSeconds"] = grace
		s.record("MODIFIED", "pods", p.object)
		s.record("MODIFIED", "pods", p.object)
	}
	switch {
	case p.over || p.spec()["nodeName"] == nil:
		p.meta()["deletionGracePeriodSeconds"] = 0
		s.reap(p)
	case !p.running:
		s.later(s.step(1), func() { s.finishUnstarted(p) })
	case p.out.Deaf:
		s.later(time.Duration(max(1, grace))*time.Second, func() { s.exit(p, 137, "") })
	default:
		s.later(s.step(1), func() { s.exit(p, p.onTerm(), "") })
	}
}

func (p *pod) onTerm() int {
	if p.out.OnTerm == 0 {
		return 143
	}
	return max(0, p.out.OnTerm) // less than 0 is a program that ends with 0
}

// reap removes a deleted pod that has ended and that nobody holds.
func (s *Server) reap(p *pod) {
	if !s.mine(p) || !p.deleted() || len(p.finalizers()) > 0 {
		return
	}
	if p.spec()["nodeName"] != nil && !p.over {
		return
	}
	s.forget(p)
}

func (s *Server) forget(p *pod) {
	delete(s.pods, p.name())
	s.record("DELETED", "pods", p.object)
}

// of returns the pod of a task, nil if there is none. The caller holds the lock.
func (s *Server) of(task string) *pod {
	for _, p := range s.pods {
		if p.task == task {
			return p
		}
	}
	return nil
}

// Finish ends the container of a task.
func (s *Server) Finish(task string, exit int, reason string) {
	s.locked(func() {
		if p := s.of(task); p != nil {
			s.exit(p, exit, reason)
		}
	})
}

// Fail ends a pod as a whole, as a kubelet or a controller does: Evicted, DeadlineExceeded, and with a condition
// DisruptionTarget if a reason for one is given.
func (s *Server) Fail(task, reason, message, disruption string) {
	s.locked(func() {
		p := s.of(task)
		if p == nil || p.over {
			return
		}
		p.over = true
		s.undone[p.task] = true
		s.endSpan(p)
		p.status()["phase"] = "Failed"
		if reason != "" {
			p.status()["reason"], p.status()["message"] = reason, message
		}
		if disruption != "" {
			p.condition("DisruptionTarget", "True", disruption, message)
		}
		delete(p.status(), "containerStatuses")
		s.record("MODIFIED", "pods", p.object)
		s.reap(p)
	})
}

// Delete deletes the pod of a task, as somebody else might.
func (s *Server) Delete(task string, grace int) {
	s.locked(func() {
		if p := s.of(task); p != nil {
			s.remove(p, grace)
		}
	})
}

// Vanish removes a pod without a trace, as when etcd has lost it.
func (s *Server) Vanish(task string) {
	s.locked(func() {
		if p := s.of(task); p != nil {
			p.over = true
			s.undone[p.task] = true
			s.endSpan(p)
			delete(s.pods, p.name())
		}
	})
}

// Place has a pod that no node took tried again.
func (s *Server) Place(task string) {
	s.locked(func() {
		if p := s.of(task); p != nil && p.spec()["nodeName"] == nil {
			s.schedule(p)
		}
	})
}

// Make makes a pod, as somebody else might.
func (s *Server) Make(object Object) { s.locked(func() { s.admit(object) }) }
