package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	// mostKept is how many ended pods are kept of all jobs together, keptAge for how long.
	mostKept = 1000
	keptAge  = 7 * 24 * time.Hour
	// stillAsked is how long the pod of a run stays at least: its name keeps a request to make it, sent by a leader
	// that has stopped on the way, from starting the run a second time.
	stillAsked = 2 * kubeCallTimeout
)

// acknowledge lets go of a pod whose end is stored.
func (s *kubeSession) acknowledge(task string) {
	p := s.pods[podName(s.framework, task)]
	if p == nil || p.task != task || p.object == nil {
		return
	}
	p.acked = true
	s.letGo(p)
}

// letGo marks a pod as stored, and takes the finalizer off as soon as it may.
func (s *kubeSession) letGo(p *kubePod) {
	object := p.object
	held := slices.Contains(object.Metadata.Finalizers, resultFinalizer)
	free := held && (!object.deleted() || object.moved() || s.age(object) >= stillAsked)
	if p.busy || object.stored() && !free {
		return
	}
	s.change(p, "mark a pod as stored", func(ctx context.Context) (*podObject, error) { return s.k.settle(ctx, object, free) })
}

// catchLog keeps what a pod writes that is about to go, once.
func (s *kubeSession) catchLog(p *kubePod) {
	object := p.object
	if p.caught || object.stored() || !object.losesLog() || s.noJob(object.Metadata.Annotations[annotationJob]) {
		return
	}
	p.caught = true
	s.calls.put(func(ctx context.Context) { s.begin(func() { s.k.catchLog(ctx, object) }) })
}

// settle marks a pod as stored, and takes our finalizer off if it is free to go.
func (k *kubeCluster) settle(ctx context.Context, p *podObject, free bool) (*podObject, error) {
	meta := jsonObject{"uid": p.Metadata.UID, "labels": jsonObject{labelStored: "true"}}
	if free {
		meta["$deleteFromPrimitiveList/finalizers"] = []any{resultFinalizer}
	}
	var patched podObject
	err := k.call(ctx, kubeCall{method: http.MethodPatch, path: k.client.podPath(p.Metadata.Name), kind: strategicPatch, body: jsonObject{"metadata": meta}}, &patched)
	return &patched, err
}

// release takes our finalizer off.
func (k *kubeCluster) release(ctx context.Context, p *podObject) error {
	if !slices.Contains(p.Metadata.Finalizers, resultFinalizer) {
		return nil
	}
	_, err := k.settle(ctx, p, true)
	return err
}

// age is how long ago a pod was made, by the server's clock.
func (s *kubeSession) age(p *podObject) time.Duration {
	return s.k.client.serverTime().Sub(p.Metadata.CreationTimestamp)
}

// sweep does what time has made due, and again what has failed.
func (s *kubeSession) sweep() {
	for _, p := range s.pods {
		switch {
		case p.object == nil || p.busy:
		case p.acked:
			s.letGo(p)
		case p.killed > 0 && !p.ended:
			s.askForEnd(p)
		case !p.ended && s.overdue(p):
			s.endOverdue(p)
		}
	}
	s.trim()
}

// overdue reports whether a pod should have started by now.
func (s *kubeSession) overdue(p *kubePod) bool {
	o := p.object
	return s.k.staging > 0 && !o.started() && s.age(o) >= s.k.staging && (o.Status.Phase == "" || o.Status.Phase == "Pending")
}

// endOverdue ends a pod that has not started, for the reason that it gives itself.
func (s *kubeSession) endOverdue(p *kubePod) {
	why := "its containers are not ready"
	if p.object.Spec.NodeName == "" {
		why = "no scheduler has given it a node, or said why not"
	}
	why = cmp.Or(p.object.waits(), why)
	grace := defaultGrace
	if own := p.object.Spec.TerminationGracePeriodSeconds; own != nil {
		grace = time.Duration(*own) * time.Second
	}
	s.end(p, annotationOverdue, fmt.Sprintf("not started %s after its launch: %s", s.k.staging, why), grace)
}

// trim deletes ended pods beyond those that are kept, the oldest first.
func (s *kubeSession) trim() {
	var kept []*kubePod
	for _, p := range s.pods {
		if p.object != nil && p.acked && !p.busy && p.object.stored() && !p.object.deleted() && s.age(p.object) >= stillAsked {
			kept = append(kept, p)
		}
	}
	slices.SortFunc(kept, func(a, b *kubePod) int {
		return b.object.Metadata.CreationTimestamp.Compare(a.object.Metadata.CreationTimestamp)
	})
	of := map[string]int{}
	for i, p := range kept {
		job := p.object.Metadata.Annotations[annotationJob]
		of[job]++
		if i >= mostKept || of[job] > s.k.keep || s.age(p.object) > keptAge || s.noJob(job) {
			s.remove(p)
		}
	}
}

// noJob reports whether a job certainly exists no more.
func (s *kubeSession) noJob(name string) bool {
	if s.k.job == nil {
		return false
	}
	j, certain := s.k.job(name)
	return certain && j == nil
}

// dropKept deletes the pods and the output that are kept of a job.
func (s *kubeSession) dropKept(job string) {
	s.calls.put(func(context.Context) {
		if err := s.k.kept.removeJob(job); err != nil {
			s.k.log.Warn("remove the output of a job that is no more", "job", job, "error", err)
		}
	})
	for _, p := range s.pods {
		if p.object != nil && p.acked && !p.busy && p.object.stored() && p.object.Metadata.Annotations[annotationJob] == job && s.age(p.object) >= stillAsked {
			s.remove(p)
		}
	}
}

func (s *kubeSession) remove(p *kubePod) {
	object := p.object
	s.change(p, "delete an ended pod", func(ctx context.Context) (*podObject, error) { return nil, s.k.removePod(ctx, object) })
}
