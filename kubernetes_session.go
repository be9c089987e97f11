package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	// kubeCallers is how many requests that change something are under way at a time.
	kubeCallers = 16
	// sweepEvery is how often a session looks for pods that have become due for something.
	sweepEvery = 5 * time.Second
	// kubeAgent is the one agent that this cluster has: which node a pod gets is Kubernetes' affair.
	kubeAgent = "kubernetes"
)

// A kubeSession is one subscription. Its fields belong to the goroutine of loop; requests are sent by
// others, which tell it by mail.
type kubeSession struct {
	k         *kubeCluster
	id        string // of the session, for its offers
	framework string
	handle    func(*sched.Event)
	fail      context.CancelCauseFunc
	began     time.Time
	mail      *mailbox[clusterMail]
	calls     *mailbox[func(context.Context)]
	wg        sync.WaitGroup

	pods    map[string]*kubePod // by name
	nodes   map[string]*nodeObject
	matches map[nodeMatch][]string // among their labels
	lists   int                    // begun so far
	relist  chan struct{}          // holds a token when the pods are to be listed anew
	offers  kubeOffers
	sweeps  *time.Timer
}

// A kubePod is what a session knows of the pod of a task.
type kubePod struct {
	task    string
	object  *podObject    // nil while it is being made
	killed  time.Duration // how long it has to end, once a kill was asked for; 0 before
	told    podNews
	telling bool // told is set
	ended   bool // its end was told
	acked   bool // its end is stored
	busy    bool // a request about it is under way
	caught  bool // what it has written is being kept
	list    int  // the last list that had begun when we heard of it by other means
	retry   backoff
	unclear time.Time // when a request to make it was last under way of which nobody knows what has become
}

// mayCome is for how long yet a request that makes it may arrive, so that to find no pod proves nothing.
func (p *kubePod) mayCome() time.Duration { return max(0, stillAsked-time.Since(p.unclear)) }

func newKubeSession(k *kubeCluster, framework string, handle func(*sched.Event), fail context.CancelCauseFunc) *kubeSession {
	return &kubeSession{
		k: k, id: "kubernetes-" + randomHex(), framework: framework, handle: handle, fail: fail, began: time.Now(),
		mail: newMailbox[clusterMail](), calls: newMailbox[func(context.Context)](),
		pods: map[string]*kubePod{}, relist: make(chan struct{}, 1), sweeps: time.NewTimer(sweepEvery),
	}
}

// begin runs f in a goroutine of the session, which ends if that panics.
func (s *kubeSession) begin(f func()) { begin(&s.wg, s.k.log, "Kubernetes", s.fail, f) }

func (s *kubeSession) post(fn func()) { s.mail.put(clusterMail{fn: fn}) }

// loop subscribes, reports the pods that there are, and serves until ctx ends.
func (s *kubeSession) loop(ctx context.Context, pods []podObject, at string) {
	defer s.sweeps.Stop()
	for range kubeCallers {
		s.begin(func() { s.perform(ctx) })
	}
	s.handle(&sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{
		FrameworkID: &mesos.FrameworkID{Value: s.framework},
	}})
	s.replace(pods, 0)
	s.begin(func() { s.follow(ctx, at) })
	s.begin(func() { s.followNodes(ctx) })
	for ctx.Err() == nil {
		s.offer()
		select {
		case <-ctx.Done():
		case <-s.offers.wake():
		case <-s.sweeps.C:
			s.sweep()
			s.sweeps.Reset(sweepEvery)
		case <-s.mail.ready:
			for _, m := range s.mail.take() {
				s.serve(ctx, m)
			}
		}
	}
}

// perform sends requests, one after the other.
func (s *kubeSession) perform(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.calls.ready:
		}
		if f, ok := s.calls.first(); ok && ctx.Err() == nil {
			f(ctx)
		}
	}
}

// change sends a request about a pod, of which no other is under way, and takes in what the pod is like afterwards, nil if the
// request does not say. What fails is done again by sweep.
func (s *kubeSession) change(p *kubePod, what string, do func(context.Context) (*podObject, error)) {
	name := p.object.Metadata.Name
	p.busy = true
	s.calls.put(func(ctx context.Context) {
		last, err := do(ctx)
		s.post(func() {
			p.busy = false
			switch {
			case refusedWith(err, http.StatusNotFound):
				s.gone(name, nil)
			case err != nil && ctx.Err() == nil:
				s.k.log.Warn(what, "pod", name, "task", p.task, "error", err)
			case last != nil && err == nil && s.pods[name] == p:
				s.heard(last)
			}
		})
	})
}

func (s *kubeSession) serve(ctx context.Context, m clusterMail) {
	switch {
	case m.fn != nil:
		m.fn()
	case ctx.Err() != nil:
		m.answer(errNotSent)
	default:
		s.call(m.call)
		m.answer(nil)
	}
}

func (s *kubeSession) call(call *sched.Call) {
	switch call.Type {
	case sched.Call_ACCEPT:
		s.accept(call.GetAccept())
	case sched.Call_DECLINE:
		s.offers.decline(call.GetDecline())
	case sched.Call_REVIVE:
		s.offers.revive()
	case sched.Call_SUPPRESS:
		s.offers.suppressed = true
	case sched.Call_KILL:
		s.kill(call.GetKill())
	case sched.Call_RECONCILE:
		s.reconcile(call.GetReconcile().GetTasks())
	case sched.Call_ACKNOWLEDGE:
		if a := call.GetAcknowledge(); a != nil && string(a.UUID) == string(endUUID(a.TaskID.Value)) {
			s.acknowledge(a.TaskID.Value)
		}
	default:
		s.k.log.Debug("call has no meaning on Kubernetes", "type", call.Type.String())
	}
}

// follow watches the pods from the version of a list on. When the watch ends, for whatever reason, they are listed
// again, so that nothing depends on having seen every event.
func (s *kubeSession) follow(ctx context.Context, at string) {
	path, selector := s.k.client.podPath(""), podSelector(s.framework)
	retry := backoff{first: kubeFirstRetry, last: kubeLastRetry}
	for ctx.Err() == nil {
		began := time.Now()
		err := s.watchPods(ctx, path, selector, at)
		if err != nil && ctx.Err() == nil {
			s.k.log.Info("watch of the pods has ended; listing them again", "error", err)
		}
		if time.Since(began) > kubeLastRetry {
			retry.reset()
		}
		if err != nil && !refusedWith(err, http.StatusGone) && !rest(ctx, retry.next()) {
			return
		}
		list := make(chan int, 1)
		s.post(func() { s.lists++; list <- s.lists })
		var number int
		select {
		case number = <-list:
		case <-ctx.Done():
			return
		}
		pods, version, err := listAll[podObject](ctx, s.k.client, path, selector)
		if err != nil {
			s.fail(err)
			return
		}
		at = version
		s.post(func() { s.replace(pods, number) })
	}
}

var errListAgain = errors.New("the pods are to be listed again")

// watchPods hands on the events of one watch, until it ends or somebody wants a list.
func (s *kubeSession) watchPods(ctx context.Context, path, selector, at string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel(nil)
	begin(&waiting, s.k.log, "wish for a list", s.fail, func() {
		select {
		case <-s.relist:
			cancel(errListAgain)
		case <-ctx.Done():
		}
	})
	err := s.k.client.watchFrom(ctx, path, selector, at, func(e kubeEvent) error {
		if e.Type == "BOOKMARK" {
			return nil
		}
		var p podObject
		if err := json.Unmarshal(e.Object, &p); err != nil || p.Metadata.Name == "" {
			s.k.log.Error("skip a pod that can't be read", "error", err)
			return nil
		}
		if e.Type == "DELETED" {
			s.post(func() { s.gone(p.Metadata.Name, &p) })
		} else {
			s.post(func() { s.heard(&p) })
		}
		return nil
	})
	if errors.Is(context.Cause(ctx), errListAgain) {
		return nil
	}
	return err
}

// wantList has the pods listed again soon.
func (s *kubeSession) wantList() {
	select {
	case s.relist <- struct{}{}:
	default: // it will be
	}
}

// replace takes a complete list in. A pod that is not in it is gone, unless we have heard of it since the list began.
func (s *kubeSession) replace(pods []podObject, number int) {
	listed := make(map[string]bool, len(pods))
	for i := range pods {
		listed[pods[i].Metadata.Name] = true
		s.heard(&pods[i])
	}
	for _, name := range slices.Sorted(maps.Keys(s.pods)) {
		if p := s.pods[name]; p.object != nil && !listed[name] && p.list < number {
			s.gone(name, nil)
		}
	}
	s.trim()
}

// heard takes a pod as it is.
func (s *kubeSession) heard(p *podObject) *kubePod {
	name, task := p.Metadata.Name, p.task()
	if task == "" || name != podName(s.framework, task) {
		s.endStranger(p)
		return nil
	}
	known := s.pods[name]
	if known == nil {
		known = &kubePod{task: task, acked: p.stored()}
		s.pods[name] = known
	}
	known.object = p
	s.catchLog(known)
	s.tell(known)
	if known.killed > 0 && !p.deleted() {
		s.askForEnd(known)
	}
	return known
}

// endStranger deletes a pod that carries our labels and is none that we have made, or a copy.
func (s *kubeSession) endStranger(p *podObject) {
	if p.deleted() && !slices.Contains(p.Metadata.Finalizers, resultFinalizer) {
		return
	}
	s.k.log.Warn("ending a pod that has this framework's labels and no run", "pod", p.Metadata.Name)
	s.calls.put(func(ctx context.Context) {
		err := s.k.release(ctx, p)
		if err == nil && !p.deleted() {
			err = s.k.removePod(ctx, p)
		}
		if err != nil && !refusedWith(err, http.StatusNotFound) && ctx.Err() == nil {
			s.k.log.Warn("end a pod without a run", "pod", p.Metadata.Name, "error", err)
		}
	})
}

// gone handles the news that a pod is no more.
func (s *kubeSession) gone(name string, last *podObject) {
	p := s.pods[name]
	if p == nil || p.object == nil {
		return
	}
	if last != nil && last.Metadata.UID != p.object.Metadata.UID {
		return
	}
	if last != nil {
		p.object = last
		s.tell(p)
	}
	delete(s.pods, name)
	if !p.ended && !p.acked {
		n := p.object.unstarted("the pod was removed by somebody else before its result was known")
		s.tellEnd(p.task, n)
	}
}

// tell reports what a pod says of its task, if that is news.
func (s *kubeSession) tell(p *kubePod) {
	if p.object == nil || p.ended || p.acked {
		return
	}
	n := s.newsOf(p)
	if p.telling && n.state == p.told.state && n.message == p.told.message {
		return
	}
	p.telling, p.told = true, n
	s.report(p, n, nil)
}

// newsOf is what a pod says, and what its node does not.
func (s *kubeSession) newsOf(p *kubePod) podNews {
	n := p.object.news()
	node := s.nodes[p.object.Spec.NodeName]
	if !terminal(n.state) && node != nil && node.away() {
		return podNews{state: mesos.TASK_UNREACHABLE, message: "node " + node.Metadata.Name + " does not answer"}
	}
	return n
}

func (s *kubeSession) report(p *kubePod, n podNews, reason *mesos.TaskStatus_Reason) {
	if terminal(n.state) {
		p.ended = true
		s.tellEnd(p.task, n)
		return
	}
	s.update(p.task, n, reason, nil)
}

// tellEnd reports the end of a task. It carries a uuid, and once that is acknowledged its pod may go.
func (s *kubeSession) tellEnd(task string, n podNews) { s.update(task, n, n.reason, endUUID(task)) }

func (s *kubeSession) update(task string, n podNews, reason *mesos.TaskStatus_Reason, uuid []byte) {
	at := n.at
	if at.IsZero() {
		at = time.Now()
	}
	st := mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: task}, AgentID: &mesos.AgentID{Value: kubeAgent}, State: n.state.Enum(), Reason: reason,
		Source: mesos.SOURCE_AGENT.Enum(), Timestamp: seconds(at.UnixMilli()), UUID: uuid,
	}
	if n.message != "" {
		st.Message = &n.message
	}
	if p := s.pods[podName(s.framework, task)]; p != nil && p.object != nil && p.object.Spec.NodeName != "" {
		st.Labels = &mesos.Labels{Labels: []mesos.Label{{Key: nodeLabel, Value: &p.object.Spec.NodeName}}}
	}
	s.handle(&sched.Event{Type: sched.Event_UPDATE, Update: &sched.Event_Update{Status: st}})
}

func (s *kubeSession) reconcile(tasks []sched.Call_Reconcile_Task) {
	for _, t := range tasks {
		s.reconcileTask(t.TaskID.Value)
	}
	if len(tasks) > 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.pods)) {
		if p := s.pods[name]; !p.acked {
			s.reconcileTask(p.task)
		}
	}
	s.wantList() // events may have been lost
}

// reconcileTask reports the state of a task. One that has no pod is unknown: the list from which this session
// began was complete, and what came later was heard.
func (s *kubeSession) reconcileTask(task string) {
	reason := mesos.REASON_RECONCILIATION.Enum()
	p := s.expected(task)
	switch {
	case p == nil:
		s.update(task, podNews{state: mesos.TASK_UNKNOWN}, reason, nil)
	case p.object == nil:
		// Nobody knows yet whether there is a pod. Whatever is said now would be believed, by a later leader too, which
		// may find none while the request for it is still on its way.
	default:
		n := s.newsOf(p)
		p.telling, p.told = true, n
		s.report(p, n, reason)
	}
}

// expected returns what is known of the pod of a task, nil if there is none and will be none. Soon after the session has
// begun a pod may yet come that an earlier one has asked for: what becomes of it is told when that is known.
func (s *kubeSession) expected(task string) *kubePod {
	name := podName(s.framework, task)
	p := s.pods[name]
	if p == nil {
		p = &kubePod{task: task, retry: backoff{first: kubeFirstRetry, last: kubeLastRetry}, unclear: s.began}
		if p.mayCome() == 0 {
			return nil
		}
		s.pods[name] = p
		s.lookLater(name, p, p.mayCome())
	}
	if p.task != task {
		return nil
	}
	return p
}

// followNodes keeps an eye on the nodes: whether they answer, and what labels they have. Without the right to, runs
// work all the same, but a node that does not answer is not told from a slow task, and patterns match no node.
func (s *kubeSession) followNodes(ctx context.Context) {
	retry := backoff{first: kubeFirstRetry, last: time.Minute}
	for ctx.Err() == nil {
		nodes, at, err := listAll[nodeObject](ctx, s.k.client, nodesPath, "")
		if err == nil {
			retry.reset()
			s.post(func() { s.replaceNodes(nodes) })
			err = s.k.client.watchFrom(ctx, nodesPath, "", at, func(e kubeEvent) error {
				var n nodeObject
				if e.Type == "BOOKMARK" || json.Unmarshal(e.Object, &n) != nil {
					return nil
				}
				s.post(func() { s.heardNode(&n, e.Type == "DELETED") })
				return nil
			})
		}
		if err == nil {
			err = errors.New("the watch has ended")
		}
		s.k.log.Debug("watch of the nodes", "error", err)
		if !rest(ctx, retry.next()) {
			return
		}
	}
}

const nodesPath = "/api/v1/nodes"

func (s *kubeSession) replaceNodes(nodes []nodeObject) {
	s.nodes = make(map[string]*nodeObject, len(nodes))
	for i := range nodes {
		s.nodes[nodes[i].Metadata.Name] = &nodes[i]
	}
	s.nodesChanged()
}

func (s *kubeSession) heardNode(n *nodeObject, deleted bool) {
	if s.nodes == nil {
		s.nodes = map[string]*nodeObject{}
	}
	if s.nodes[n.Metadata.Name] = n; deleted {
		delete(s.nodes, n.Metadata.Name)
	}
	s.nodesChanged()
}

// nodesChanged reports the tasks for which that makes a difference.
func (s *kubeSession) nodesChanged() {
	s.matches = nil
	nodes := slices.Collect(maps.Values(s.nodes))
	s.k.nodes.Store(&nodes)
	for _, name := range slices.Sorted(maps.Keys(s.pods)) {
		s.tell(s.pods[name])
		s.moved(s.pods[name])
	}
}

// kubeRefusal is the status of a task that has no pod.
func kubeRefusal(state mesos.TaskState, reason mesos.TaskStatus_Reason, format string, args ...any) podNews {
	return podNews{state: state, reason: reason.Enum(), message: fmt.Sprintf(format, args...)}
}
