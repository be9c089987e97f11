package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A localSession is one subscription. Its fields belong to the goroutine of loop;
// the goroutines that attend the runs tell it by mail.
type localSession struct {
	l         *localCluster
	epoch     int64
	framework string
	handle    func(*sched.Event)
	fail      context.CancelCauseFunc
	mail      *mailbox[clusterMail]
	janitor   *mailbox[chore]
	wg        sync.WaitGroup

	live     map[string]*liveRun
	used     resources
	pending  []*liveRun  // accepted, wait to be started
	starting int         // requested from a keeper and not yet claimed
	busy     atomic.Bool // runs wait to be started

	offers     int // made so far
	offered    string
	offeredAt  time.Time
	inOffer    resources
	rescinded  map[string]bool // offers we took back that may still be accepted in good faith
	suppressed bool
	refused    resources // by the last DECLINE, until
	until      time.Time
	wake       *time.Timer // fires when offer has something to do
}

// maxStarting bounds the runs that start at the same time.
func maxStarting() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

// liveRun is a run whose resources are in use.
type liveRun struct {
	id       string
	box      sandbox
	need     resources
	task     *mesos.TaskInfo // until it is started
	attended bool            // its goroutine reports on it
	dropped  bool            // killed before that
	running  bool
	since    int64 // ms since the epoch
}

func newLocalSession(l *localCluster, epoch int64, framework string, handle func(*sched.Event), fail context.CancelCauseFunc) *localSession {
	wake := time.NewTimer(time.Hour)
	wake.Stop()
	return &localSession{
		l: l, epoch: epoch, framework: framework, handle: handle, fail: fail,
		mail: newMailbox[clusterMail](), janitor: l.chores,
		live: make(map[string]*liveRun), rescinded: make(map[string]bool), wake: wake,
	}
}

// begin runs f in a goroutine of the session, which ends if that panics.
func (s *localSession) begin(f func()) { begin(&s.wg, s.l.log, "local cluster", s.fail, f) }

// loop subscribes, reports what ended unacknowledged, and serves until ctx ends.
func (s *localSession) loop(ctx context.Context) {
	s.begin(func() { s.clear(ctx) })
	s.handle(&sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{
		FrameworkID: &mesos.FrameworkID{Value: s.framework},
	}})
	s.adoptAll(ctx)
	defer s.wake.Stop()
	for ctx.Err() == nil {
		s.startPending(ctx)
		s.offer()
		select {
		case <-ctx.Done():
		case <-s.wake.C:
		case <-s.mail.ready:
			for _, m := range s.mail.take() {
				s.serve(ctx, m)
			}
		}
	}
}

func (s *localSession) serve(ctx context.Context, m clusterMail) {
	switch {
	case m.fn != nil:
		m.fn()
	case ctx.Err() != nil:
		m.answer(errNotSent)
	default:
		s.call(ctx, m.call)
		m.answer(nil)
	}
}

func (s *localSession) post(fn func()) { s.mail.put(clusterMail{fn: fn}) }

func (s *localSession) call(ctx context.Context, call *sched.Call) {
	switch call.Type {
	case sched.Call_ACCEPT:
		s.accept(ctx, call.Accept)
	case sched.Call_DECLINE:
		for _, id := range call.GetDecline().GetOfferIDs() {
			s.decline(id.Value, call.Decline.Filters)
		}
	case sched.Call_REVIVE:
		s.suppressed, s.until = false, time.Time{}
	case sched.Call_SUPPRESS:
		s.suppressed = true
	case sched.Call_KILL:
		s.kill(ctx, call.GetKill())
	case sched.Call_RECONCILE:
		s.reconcile(ctx, call.GetReconcile().GetTasks())
	case sched.Call_ACKNOWLEDGE:
		if a := call.GetAcknowledge(); a != nil && string(a.UUID) == string(endUUID(a.TaskID.Value)) {
			s.janitor.put(chore{run: a.TaskID.Value})
		}
	default:
		s.l.log.Debug("call has no meaning on this machine", "type", call.Type.String())
	}
}

// adoptAll takes stock of the runs that others started.
func (s *localSession) adoptAll(ctx context.Context) {
	for _, id := range s.l.runIDs() {
		box := s.l.sandbox(id)
		claimed, st, err := box.look()
		switch {
		case err != nil:
			s.l.log.Error("look at run", "run", id, "error", err)
		case !claimed:
			s.l.forget(box)
		case st != nil:
			s.ended(id, st)
		case claimed:
			s.adopt(ctx, id, box)
		}
	}
}

// runIDs lists the runs that are not archived.
func (l *localCluster) runIDs() []string {
	entries, err := os.ReadDir(filepath.Join(l.dir, "runs"))
	if err != nil {
		l.log.Error("list runs", "error", err)
	}
	var ids []string
	for _, e := range entries {
		id, err := sandbox(filepath.Join(l.dir, "runs", e.Name())).runID()
		if err != nil {
			l.log.Warn("skip directory that is not a run", "name", e.Name(), "error", err)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// adopt begins to watch a run that is alive.
func (s *localSession) adopt(ctx context.Context, id string, box sandbox) {
	r := &liveRun{id: id, box: box, attended: true, running: true, since: box.claimTime()}
	if task, err := box.task(); err != nil {
		s.l.log.Warn("resources of a running task are unknown", "run", id, "error", err)
	} else {
		r.need = taskAmounts(task)
	}
	s.live[id] = r
	s.used = s.used.plus(r.need)
	s.begin(func() { s.watch(ctx, r) })
}

// watch waits for the end of a claimed run and reports it.
func (s *localSession) watch(ctx context.Context, r *liveRun) {
	st, err := s.l.keepers.wait(ctx, r.id, r.box)
	for err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) {
		// No file descriptor left, for example. Calling the run lost would start it twice.
		s.l.log.Error("watch run", "run", r.id, "error", err)
		rest(ctx, time.Second)
		st, err = r.box.wait(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	s.l.keepers.release(r.id)
	if st == nil && r.box.has("task") {
		s.post(func() {
			s.postpone(r, shortage("the run could not be started for lack of descriptors, memory, processes or disk space"))
		})
		return
	}
	if st == nil {
		lost := endedStatus(mesos.TASK_LOST, "the run's directory was removed")
		st = &lost
	}
	s.post(func() {
		s.release(r)
		s.ended(r.id, st)
	})
}

func (s *localSession) release(r *liveRun) {
	if s.live[r.id] == r {
		delete(s.live, r.id)
		s.used = s.used.minus(r.need)
	}
}

// accept launches tasks on an offer. Tasks that can't be launched are answered with
// TASK_DROPPED, which means that they never existed.
func (s *localSession) accept(ctx context.Context, accept *sched.Call_Accept) {
	var valid, used bool
	for _, id := range accept.GetOfferIDs() {
		valid = s.consume(id.Value) || valid
	}
	for _, op := range accept.GetOperations() {
		for i := range op.GetLaunch().GetTaskInfos() {
			task := &op.Launch.TaskInfos[i]
			if !valid {
				s.refuseTask(task.TaskID.Value, mesos.TASK_DROPPED, mesos.REASON_INVALID_OFFERS, "the offer is no longer valid")
				continue
			}
			used = true
			s.launch(ctx, task)
		}
	}
	if valid && (!used || accept.Filters != nil) {
		s.refuse(accept.Filters)
	}
}

func (s *localSession) launch(ctx context.Context, task *mesos.TaskInfo) {
	id := task.TaskID.Value
	if _, known := s.live[id]; known || s.l.archived(id).has("") {
		s.reconcileTask(ctx, id)
		return
	}
	r := &liveRun{id: id, box: s.l.sandbox(id), need: taskAmounts(task), task: task}
	switch {
	case id == "" || task.AgentID.Value != s.l.agent:
		s.refuseTask(id, mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, "task names another agent, or has no id")
	case !s.l.total.minus(s.used).covers(r.need):
		s.refuseTask(id, mesos.TASK_DROPPED, mesos.REASON_INVALID_OFFERS, "task uses more resources than are left")
	default:
		s.live[id] = r
		s.used = s.used.plus(r.need)
		s.pending = append(s.pending, r)
	}
}

// startPending starts as many accepted tasks as may start at the same time.
func (s *localSession) startPending(ctx context.Context) {
	s.busy.Store(len(s.pending) > maxStarting())
	for s.starting < maxStarting() && len(s.pending) > 0 {
		r := s.pending[0]
		s.pending = s.pending[1:]
		if r.dropped {
			continue
		}
		s.starting++
		r.attended = true
		s.begin(func() { s.attend(ctx, r) })
	}
}

// attend starts a run and stays with it until its end.
func (s *localSession) attend(ctx context.Context, r *liveRun) {
	err := s.l.start(ctx, r.box, r.id, r.task, s.epoch)
	s.post(func() { s.starting-- })
	switch {
	case ctx.Err() != nil:
		return
	case err == nil:
		s.post(func() { s.started(r, time.Now().UnixMilli()) })
	case errors.Is(err, errSuperseded):
		s.post(func() { s.supersede() })
		return
	case errors.Is(err, errClaimed):
		if _, st, err := r.box.look(); err == nil && st == nil {
			s.post(func() { s.started(r, r.box.claimTime()) })
		}
	case isShortage(err) && !r.box.claimed():
		s.post(func() { s.postpone(r, err) })
		return
	default:
		s.stillborn(ctx, r, err)
		return
	}
	s.watch(ctx, r)
}

// stillborn ends a run that its keeper could not even claim.
func (s *localSession) stillborn(ctx context.Context, r *liveRun, cause error) {
	st := endedStatus(mesos.TASK_FAILED, cause.Error())
	st.Reason = mesos.REASON_CONTAINER_LAUNCH_FAILED.String()
	err := r.box.bury(st)
	for errors.Is(err, errLocked) && ctx.Err() == nil {
		rest(ctx, 5*time.Millisecond)
		err = r.box.bury(st)
	}
	// If not even this can be written, it remains true: nobody is left to claim it.
	if err != nil {
		s.l.log.Error("record failed start", "run", r.id, "error", err)
	} else if now := r.box.status(); now == nil || now.State != st.State {
		s.watch(ctx, r) // another keeper was there first
		return
	}
	s.post(func() {
		s.release(r)
		s.ended(r.id, &st)
	})
}

func (s *localSession) started(r *liveRun, since int64) {
	r.running, r.since, r.task = true, since, nil
	s.update(mesos.TaskStatus{TaskID: mesos.TaskID{Value: r.id}, State: mesos.TASK_RUNNING.Enum(), Timestamp: seconds(since)})
}

// supersede gives way to another instance's subscription.
func (s *localSession) supersede() {
	s.handle(&sched.Event{Type: sched.Event_ERROR, Error: &sched.Event_Error{Message: "Framework failed over"}})
	s.fail(errSuperseded)
}

// kill ends a run, or makes sure that it never starts.
func (s *localSession) kill(ctx context.Context, kill *sched.Call_Kill) {
	id := kill.TaskID.Value
	if id == "" || s.l.archived(id).has("") {
		s.reconcileTask(ctx, id)
		return
	}
	r, box, grace := s.live[id], s.l.sandbox(id), defaultGrace
	if r != nil && !r.attended {
		r.dropped = true
	}
	if task, err := box.task(); err == nil {
		grace = taskGrace(task)
	}
	if p := kill.GetKillPolicy().GetGracePeriod(); p != nil {
		grace = time.Duration(p.Nanoseconds)
	}
	s.begin(func() {
		err := box.create(id)
		if err == nil {
			err = box.kill(ctx, grace)
		}
		if err != nil && ctx.Err() == nil {
			s.l.log.Error("kill run", "run", id, "error", err)
		}
		s.post(func() { s.killed(ctx, id) })
	})
}

// killed reports the end of a run that nobody attends: one that was pending, or
// unknown to this session. The end of others is reported by their watchers.
func (s *localSession) killed(ctx context.Context, id string) {
	r := s.live[id]
	if r != nil && r.attended {
		return
	}
	if r != nil {
		s.release(r)
	}
	s.reconcileTask(ctx, id)
}

func (s *localSession) reconcile(ctx context.Context, tasks []sched.Call_Reconcile_Task) {
	for _, t := range tasks {
		s.reconcileTask(ctx, t.TaskID.Value)
	}
	if len(tasks) > 0 {
		return
	}
	for id := range s.live {
		s.reconcileTask(ctx, id)
	}
	for _, id := range s.l.runIDs() {
		if st := s.l.sandbox(id).status(); st != nil && s.live[id] == nil {
			s.ended(id, st)
		}
	}
}

// reconcileTask reports the state of a run. One that nobody claimed is unknown.
func (s *localSession) reconcileTask(ctx context.Context, id string) {
	answer := mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: id}, State: mesos.TASK_STAGING.Enum(), Timestamp: seconds(time.Now().UnixMilli()),
		Reason: mesos.REASON_RECONCILIATION.Enum(), Source: mesos.SOURCE_MASTER.Enum(),
	}
	r := s.live[id]
	if r == nil {
		claimed, st, err := s.l.look(id)
		switch {
		case err != nil:
			// No answer is the honest one here: the scheduler will ask again.
			s.l.log.Error("look at run", "run", id, "error", err)
			return
		case st != nil:
			s.ended(id, st)
			return
		case !claimed:
			answer.State = mesos.TASK_UNKNOWN.Enum()
			s.update(answer)
			return
		}
		s.adopt(ctx, id, s.l.sandbox(id))
		r = s.live[id]
	}
	if r.running {
		answer.State, answer.Timestamp = mesos.TASK_RUNNING.Enum(), seconds(r.since)
	}
	s.update(answer)
}

// ended reports a terminal state. It carries a uuid, and once that is
// acknowledged the run's directory may go.
func (s *localSession) ended(id string, st *runStatus) {
	u := mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: id}, State: mesos.TASK_LOST.Enum(), Source: mesos.SOURCE_EXECUTOR.Enum(),
		Timestamp: seconds(st.Ended), UUID: endUUID(id),
	}
	if n, ok := mesos.TaskState_value[st.State]; ok {
		u.State = mesos.TaskState(n).Enum()
	}
	if n, ok := mesos.TaskStatus_Reason_value[st.Reason]; ok {
		u.Reason = mesos.TaskStatus_Reason(n).Enum()
	}
	if st.Message != "" {
		u.Message = &st.Message
	}
	s.update(u)
}

func (s *localSession) refuseTask(id string, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	s.update(mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: id}, State: state.Enum(), Reason: reason.Enum(), Source: mesos.SOURCE_MASTER.Enum(),
		Message: &message, Timestamp: seconds(time.Now().UnixMilli()),
	})
}

func (s *localSession) update(st mesos.TaskStatus) {
	st.AgentID = &mesos.AgentID{Value: s.l.agent}
	s.handle(&sched.Event{Type: sched.Event_UPDATE, Update: &sched.Event_Update{Status: st}})
}

// awaitStarts lets runs that are due start before what others have left is cleared away, for a while.
func (s *localSession) awaitStarts(ctx context.Context) {
	const look, patience = 50 * time.Millisecond, 2 * time.Second
	for waited := time.Duration(0); s.busy.Load() && waited < patience && rest(ctx, look); waited += look {
	}
}

// clear archives acknowledged runs.
func (s *localSession) clear(ctx context.Context) {
	if err := errors.Join(s.l.emptyTrash(), s.l.tidy(), s.l.keepers.clear(filepath.Join(s.l.dir, "keepers"))); err != nil {
		s.l.log.Warn("remove what is left", "error", err)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.janitor.ready:
		}
		s.awaitStarts(ctx)
		for _, c := range s.janitor.take() {
			if err := s.l.perform(c); err != nil {
				s.l.log.Warn("clear away", "run", c.run, "job", c.job, "error", err)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}
