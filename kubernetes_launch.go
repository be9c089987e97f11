package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// kubeOffers is what a session offers: room without bounds, since Kubernetes decides what fits where. How many runs
// may be under way is the scheduler's to count.
type kubeOffers struct {
	out        string // the offer that is out, "" for none
	made       int
	suppressed bool
	until      time.Time // nothing is offered before
	pause      backoff   // after a quota was reached
	timer      *time.Timer
}

// wake is when there may be something to offer again.
func (o *kubeOffers) wake() <-chan time.Time {
	if o.timer == nil {
		return nil
	}
	return o.timer.C
}

func (o *kubeOffers) decline(d *sched.Call_Decline) {
	for _, id := range d.GetOfferIDs() {
		if id.Value != o.out {
			continue
		}
		o.out = ""
		refused := 5.0 // seconds, as with Mesos
		if f := d.GetFilters(); f != nil && f.RefuseSeconds != nil && *f.RefuseSeconds >= 0 {
			refused = min(*f.RefuseSeconds, 24*3600)
		}
		o.hold(time.Duration(refused * float64(time.Second)))
	}
}

// revive ends a pause that the scheduler has wanted.
func (o *kubeOffers) revive() {
	o.suppressed = false
	if o.pause.bound == 0 {
		o.until = time.Time{}
	}
}

func (o *kubeOffers) hold(d time.Duration) { o.until = time.Now().Add(d) }

// offer makes an offer, if one is wanted and none is out.
func (s *kubeSession) offer() {
	o := &s.offers
	if o.suppressed || o.out != "" {
		return
	}
	if wait := time.Until(o.until); wait > 0 {
		if o.timer == nil {
			o.timer = time.NewTimer(wait)
		} else {
			o.timer.Reset(wait)
		}
		return
	}
	o.made++
	o.out = fmt.Sprintf("%s-O%d", s.id, o.made)
	all := int64(mostOffered) * 1000
	s.handle(&sched.Event{Type: sched.Event_OFFERS, Offers: &sched.Event_Offers{Offers: []mesos.Offer{{
		ID:          mesos.OfferID{Value: o.out},
		FrameworkID: mesos.FrameworkID{Value: s.framework},
		AgentID:     mesos.AgentID{Value: kubeAgent},
		Hostname:    kubeAgent,
		Resources:   scalarsOf(resources{all, all, all}),
	}}}})
}

// accept launches tasks on an offer.
func (s *kubeSession) accept(accept *sched.Call_Accept) {
	valid := false
	for _, id := range accept.GetOfferIDs() {
		if id.Value == s.offers.out {
			s.offers.out, valid = "", true
		}
	}
	for _, op := range accept.GetOperations() {
		for i := range op.GetLaunch().GetTaskInfos() {
			task := &op.Launch.TaskInfos[i]
			if !valid {
				s.refuse(task.TaskID.Value, kubeRefusal(mesos.TASK_DROPPED, mesos.REASON_INVALID_OFFERS, "the offer is no longer valid"))
				continue
			}
			s.launch(task)
		}
	}
}

func (s *kubeSession) refuse(task string, n podNews) { s.update(task, n, n.reason, nil) }

// launch has the pod of a task made.
func (s *kubeSession) launch(task *mesos.TaskInfo) {
	id := task.TaskID.Value
	name := podName(s.framework, id)
	if s.pods[name] != nil {
		s.reconcileTask(id)
		return
	}
	extra, err := s.extraOf(id)
	if err != nil {
		s.refuse(id, kubeRefusal(mesos.TASK_DROPPED, waitsForRoom, "%s", err))
		return
	}
	pod, err := s.k.pods.podFor(s.framework, task, extra)
	if err != nil {
		s.refuse(id, kubeRefusal(mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, "%s", err))
		return
	}
	p := &kubePod{task: id, retry: backoff{first: kubeFirstRetry, last: kubeLastRetry}}
	s.pods[name] = p
	s.create(name, p, pod)
}

// create asks for a pod. Because of its name it can be asked for any number of times.
func (s *kubeSession) create(name string, p *kubePod, pod jsonObject) {
	s.calls.put(func(ctx context.Context) {
		made, err := s.k.create(ctx, name, pod)
		if ctx.Err() == nil {
			s.post(func() { s.created(ctx, name, p, pod, made, err) })
		}
	})
}

// create makes a pod, or finds the one that was made before. An unclear answer is followed by a look.
func (k *kubeCluster) create(ctx context.Context, name string, pod jsonObject) (*podObject, error) {
	var made podObject
	err := k.call(ctx, kubeCall{method: http.MethodPost, path: k.client.podPath(""), body: pod}, &made)
	if err == nil {
		return &made, nil
	}
	if refused, ok := errors.AsType[*kubeError](err); ok && refused.status != http.StatusConflict && refused.status < 500 {
		return nil, err
	}
	found, missing := k.find(ctx, name)
	if missing != nil {
		return nil, err
	}
	return found, nil
}

// find reads a pod.
func (k *kubeCluster) find(ctx context.Context, name string) (*podObject, error) {
	var p podObject
	err := k.call(ctx, kubeCall{method: http.MethodGet, path: k.client.podPath(name)}, &p)
	return &p, err
}

// created handles the outcome of a request for a pod.
func (s *kubeSession) created(ctx context.Context, name string, p *kubePod, pod jsonObject, made *podObject, err error) {
	if s.pods[name] != p || p.object != nil {
		return // the watch was faster
	}
	if err == nil && made.task() != p.task {
		err = &kubeError{status: http.StatusConflict, message: fmt.Sprintf("there is another pod of the name %s", name)}
		s.drop(name, p, kubeRefusal(mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, "%s", err))
		return
	}
	if err == nil {
		s.offers.pause.reset()
		p.list = s.lists
		s.heard(made)
		return
	}
	verdict, final := verdictOnPod(err)
	if !final {
		p.unclear = time.Now()
	} else if verdict.reason != nil && *verdict.reason == waitsForRoom {
		s.pauseOffers()
	}
	if final && p.mayCome() == 0 {
		s.drop(name, p, verdict)
		return
	}
	if p.killed > 0 {
		s.look(name, p)
		return
	}
	wait := p.retry.next()
	if refused, ok := errors.AsType[*kubeError](err); ok {
		wait = max(wait, min(refused.after, time.Minute))
	}
	s.k.log.Warn("pod was not made; trying again", "pod", name, "task", p.task, "error", err, "retry", wait.Round(time.Millisecond))
	s.begin(func() {
		if rest(ctx, wait) {
			s.post(func() { s.tryAgain(name, p, pod) })
		}
	})
}

func (s *kubeSession) tryAgain(name string, p *kubePod, pod jsonObject) {
	switch {
	case s.pods[name] != p || p.object != nil:
	case p.killed > 0:
		s.look(name, p)
	default:
		s.create(name, p, pod)
	}
}

// look finds out whether there is a pod that nobody asks for any more, because its task was killed before that was known,
// or because those who asked for it are gone.
func (s *kubeSession) look(name string, p *kubePod) {
	s.calls.put(func(ctx context.Context) {
		found, err := s.k.find(ctx, name)
		s.post(func() {
			switch {
			case ctx.Err() != nil || s.pods[name] != p || p.object != nil:
			case err == nil:
				p.list = s.lists
				s.heard(found)
			case !refusedWith(err, http.StatusNotFound):
				s.lookLater(name, p, p.retry.next())
			case p.mayCome() > 0:
				s.lookLater(name, p, p.mayCome())
			case p.killed > 0:
				delete(s.pods, name)
				s.tellEnd(p.task, podNews{state: mesos.TASK_KILLED, message: "killed before it had a pod"})
			default:
				delete(s.pods, name)
				s.reconcileTask(p.task)
			}
		})
	})
}

func (s *kubeSession) lookLater(name string, p *kubePod, wait time.Duration) {
	time.AfterFunc(wait, func() { s.post(func() { s.look(name, p) }) })
}

// drop reports that a task has no pod and will have none from this launch.
func (s *kubeSession) drop(name string, p *kubePod, n podNews) {
	delete(s.pods, name)
	if p.killed > 0 {
		n = podNews{state: mesos.TASK_KILLED, message: "killed before it had a pod"}
	}
	s.refuse(p.task, n)
}

// pauseOffers holds back what would be refused as well.
func (s *kubeSession) pauseOffers() {
	o := &s.offers
	if o.pause.first == 0 {
		o.pause = backoff{first: 2 * time.Second, last: 30 * time.Second}
	}
	if time.Until(o.until) <= 0 {
		o.hold(o.pause.next())
	}
}

// verdictOnPod is what the refusal of a pod means for its task, and whether it is one for good: nothing was made.
func verdictOnPod(err error) (n podNews, final bool) {
	refused, ok := errors.AsType[*kubeError](err)
	if !ok {
		return n, false
	}
	switch {
	case refused.status == http.StatusForbidden && strings.Contains(refused.message, "exceeded quota"):
		return kubeRefusal(mesos.TASK_DROPPED, waitsForRoom, "%s", refused.message), true
	case refused.status == http.StatusForbidden && strings.Contains(refused.message, "cannot create resource"), refused.status == http.StatusNotFound:
		return kubeRefusal(mesos.TASK_DROPPED, mesos.REASON_CONTAINER_LAUNCH_FAILED, "%s", refused), true
	case refused.status == http.StatusBadRequest, refused.status == http.StatusForbidden, refused.status == http.StatusUnprocessableEntity,
		refused.status == http.StatusRequestEntityTooLarge:
		return kubeRefusal(mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, "Kubernetes refuses the pod: %s", refused.message), true
	}
	return n, false
}

// kill ends a task, or makes sure that it never starts.
func (s *kubeSession) kill(kill *sched.Call_Kill) {
	id := kill.TaskID.Value
	p := s.expected(id)
	if p == nil || p.ended || p.acked {
		s.reconcileTask(id)
		return
	}
	p.killed = defaultGrace
	if p.object != nil && p.object.Spec.TerminationGracePeriodSeconds != nil {
		p.killed = time.Duration(*p.object.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	if grace := kill.GetKillPolicy().GetGracePeriod(); grace != nil {
		p.killed = time.Duration(grace.Nanoseconds)
	}
	p.killed = max(p.killed, time.Second)
	if p.object != nil {
		s.askForEnd(p)
	}
}

// askForEnd writes down that the end of a task was asked for, so that every leader knows how to read it, and
// deletes its pod with the time that it has to end.
func (s *kubeSession) askForEnd(p *kubePod) {
	s.end(p, annotationKilled, s.k.client.serverTime().UTC().Format(time.RFC3339), p.killed)
}

// end annotates a pod, if it is not yet, and deletes it, if nobody has. What fails is done again by sweep.
func (s *kubeSession) end(p *kubePod, annotation, text string, grace time.Duration) {
	object := p.object
	marked := object.Metadata.Annotations[annotation] != ""
	if p.busy || marked && object.deleted() {
		return
	}
	s.change(p, "end a pod", func(ctx context.Context) (*podObject, error) {
		return s.k.end(ctx, object, annotation, text, marked, grace)
	})
}

func (k *kubeCluster) end(ctx context.Context, p *podObject, annotation, text string, marked bool, grace time.Duration) (*podObject, error) {
	path, last := k.client.podPath(p.Metadata.Name), p
	if !marked {
		var patched podObject
		err := k.call(ctx, kubeCall{method: http.MethodPatch, path: path, kind: strategicPatch, body: jsonObject{
			"metadata": jsonObject{"uid": p.Metadata.UID, "annotations": jsonObject{annotation: text}},
		}}, &patched)
		if err != nil {
			return nil, fmt.Errorf("write down why: %w", err)
		}
		last = &patched
	}
	if last.deleted() {
		return last, nil
	}
	var answer json.RawMessage
	err := k.call(ctx, kubeCall{method: http.MethodDelete, path: path, body: jsonObject{
		"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": wholeSeconds(grace), "preconditions": jsonObject{"uid": p.Metadata.UID},
	}}, &answer)
	if err != nil {
		return nil, err
	}
	var deleted podObject
	if json.Unmarshal(answer, &deleted) == nil && deleted.Metadata.Name == p.Metadata.Name && deleted.task() != "" {
		last = &deleted
	}
	return last, nil
}
