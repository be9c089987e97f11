package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// kubeOptions configure a connection to Kubernetes.
type kubeOptions struct {
	access    kubeAccess
	namespace string
	pods      podOptions
	staging   time.Duration // how long a pod may take to start
	keep      int           // ended pods kept per job
	outputs   string        // directory for what runs have written whose pods are gone; "" for none
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	job       func(name string) (j *Job, certain bool) // as it is stored; certain where nil means that there is none; may be nil
	log       *slog.Logger
	onCall    func(kind string, took time.Duration, e error) // for metrics; may be nil
}

// A kubeCluster is the cluster behind a Kubernetes API server: a run is a pod.
//
// A pod is named after its run, so the API server itself refuses to make it twice. Its state is derived from
// the pod as it is. A finalizer holds it until its end is stored, whoever deletes it; the label that says so is
// put on when the end is acknowledged. What is unclear is asked again, by name.
type kubeCluster struct {
	kubeOptions
	client *kubeClient
	logs   kubeLogs
	kept   keptLogs
	// catching holds a token for each log that is followed to its end.
	catching chan struct{}
	// framework is the one that subscribed last.
	framework atomic.Pointer[string]

	mu      sync.Mutex
	session *kubeSession // nil while there is no subscription
	current atomic.Pointer[kubeHealth]
	nodes   atomic.Pointer[[]*nodeObject] // as last heard of, nil if they are not known
}

// kubeHealth is the state of the connection, for the API and metrics.
type kubeHealth struct {
	Server     string    `json:"server"`
	Namespace  string    `json:"namespace"`
	Subscribed bool      `json:"subscribed"`
	Since      time.Time `json:"since,omitzero"`
	Error      string    `json:"error,omitempty"`
}

func newKubernetes(o kubeOptions) *kubeCluster {
	if o.onCall == nil {
		o.onCall = func(string, time.Duration, error) {}
	}
	k := &kubeCluster{kubeOptions: o, client: newKubeClient(o.access, o.namespace, o.dial, o.log), kept: keptLogs{dir: o.outputs, perJob: o.keep}, catching: make(chan struct{}, mostCaught)}
	k.setStatus(errors.New("not started"))
	k.framework.Store(new(string))
	return k
}

// status returns the state of the connection. It may be called at any time.
func (k *kubeCluster) status() kubeHealth { return *k.current.Load() }

func (k *kubeCluster) setStatus(err error) {
	s := &kubeHealth{Server: k.access.server, Namespace: k.namespace, Subscribed: err == nil, Since: time.Now()}
	if err != nil {
		s.Error = err.Error()
	}
	if old := k.current.Load(); old != nil && old.Subscribed == s.Subscribed {
		s.Since = old.Since
	}
	k.current.Store(s)
}

const (
	kubeFirstRetry = 500 * time.Millisecond
	kubeLastRetry  = 15 * time.Second
	// kubeTellAgain is how often the log repeats why there is no subscription.
	kubeTellAgain = time.Minute
)

// run is a subscription: see cluster. It lasts as long as pods can be listed.
func (k *kubeCluster) run(ctx context.Context, frameworkID string, handle func(*sched.Event)) error {
	if frameworkID == "" {
		frameworkID = "kubernetes-" + randomHex()
	}
	k.framework.Store(&frameworkID)
	defer k.client.http.CloseIdleConnections()
	defer k.setStatus(errors.New("stopped"))
	retry := backoff{first: kubeFirstRetry, last: kubeLastRetry}
	var told string
	var toldAt time.Time
	for {
		began := time.Now()
		err := k.subscribe(ctx, frameworkID, handle)
		if p, ok := errors.AsType[*panicError](err); ok {
			return p
		}
		if ctx.Err() != nil {
			return nil
		}
		k.setStatus(err)
		if time.Since(began) > kubeLastRetry {
			retry.reset()
		}
		wait := retry.next()
		if refused, ok := errors.AsType[*kubeError](err); ok {
			wait = max(wait, min(refused.after, time.Minute))
		}
		if told != err.Error() || time.Since(toldAt) > kubeTellAgain {
			told, toldAt = err.Error(), time.Now()
			k.log.Warn("no pods can be listed, so no run starts", "server", k.access.server, "namespace", k.namespace, "error", err, "retry", wait.Round(time.Millisecond))
		}
		if !rest(ctx, wait) {
			return nil
		}
	}
}

// subscribe lists the pods, and follows them until they can't be listed any more.
func (k *kubeCluster) subscribe(ctx context.Context, framework string, handle func(*sched.Event)) error {
	pods, at, err := listAll[podObject](ctx, k.client, k.client.podPath(""), podSelector(framework))
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	s := newKubeSession(k, framework, handle, end)
	k.mu.Lock()
	if k.session != nil {
		k.mu.Unlock()
		end(nil)
		return errors.New("the connection to Kubernetes is in use already")
	}
	k.session = s
	k.mu.Unlock()
	k.setStatus(nil)
	k.log.Info("subscribed", "server", k.access.server, "namespace", k.namespace, "framework", framework, "pods", len(pods))
	err = guarded(k.log, "Kubernetes", func() error { s.loop(ctx, pods, at); return nil })
	cause := context.Cause(ctx)
	if err != nil {
		cause = err
	}
	end(nil)
	k.mu.Lock()
	k.session = nil
	k.mu.Unlock()
	handle(&sched.Event{Type: sched.Event_UNKNOWN})
	for _, m := range s.mail.close() {
		m.answer(errNotSent)
	}
	s.calls.close()
	s.wg.Wait()
	return cause
}

// send queues a call for the subscription; see cluster.
func (k *kubeCluster) send(call *sched.Call, done func(error)) {
	k.mu.Lock()
	s := k.session
	k.mu.Unlock()
	c := queuedCall{call, done}
	if s == nil || !s.mail.put(clusterMail{queuedCall: c}) {
		c.refuse(k.log)
	}
}

// removeJob deletes the pods and the output that are kept of a job that is no more.
func (k *kubeCluster) removeJob(name string) {
	k.mu.Lock()
	s := k.session
	k.mu.Unlock()
	if s != nil {
		s.post(func() { s.dropKept(name) })
	}
}

// removePod deletes a pod that nobody waits for.
func (k *kubeCluster) removePod(ctx context.Context, p *podObject) error {
	return k.call(ctx, kubeCall{method: http.MethodDelete, path: k.client.podPath(p.Metadata.Name), body: jsonObject{
		"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": jsonObject{"uid": p.Metadata.UID},
	}}, nil)
}

// call is client.do, and counts.
func (k *kubeCluster) call(ctx context.Context, call kubeCall, into any) error {
	start := time.Now()
	err := k.client.do(ctx, call, into)
	k.onCall(call.method, time.Since(start), err)
	return err
}
