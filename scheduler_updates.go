package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	killAgain        = 10 * time.Second // how often a kill is requested again until the task has ended
	firstReconcile   = 5 * time.Second  // when unanswered tasks are asked about again; then the interval doubles
	maxAwaiting      = 100              // async runs of a job that may wait for their callback
	frameworkIDKey   = "frameworkId"
	frameworkRemoved = "Framework has been removed"
)

// clusterEvent handles one event of the cluster. None may stop the loop.
func (s *scheduler) clusterEvent(e *sched.Event) {
	s.turnLog.note(e.GetType().String(), "")
	switch e.GetType() {
	case sched.Event_OFFERS, sched.Event_UPDATE, sched.Event_HEARTBEAT:
	default:
		s.acceptAll() // as long as the offers may be good
	}
	switch e.GetType() {
	case sched.Event_SUBSCRIBED:
		s.onSubscribed(e.GetSubscribed())
	case sched.Event_OFFERS:
		s.receive(e.GetOffers().GetOffers())
	case sched.Event_RESCIND:
		s.offers.remove(e.GetRescind().GetOfferID().Value)
	case sched.Event_UPDATE:
		status := e.GetUpdate().Status
		s.onStatus(&status)
	case sched.Event_ERROR:
		s.onError(e.GetError().GetMessage())
	case sched.Event_UNKNOWN:
		s.subscribed = false // offers stay unused until the next subscription voids them
	case sched.Event_FAILURE:
		// Status updates follow for every task concerned; they decide.
		if e.GetFailure().GetExecutorID() == nil {
			s.forgetAgent(e.GetFailure().GetAgentID().GetValue())
		}
		s.log.Info("agent or executor is gone", "agent", e.GetFailure().GetAgentID().GetValue(), "executor", e.GetFailure().GetExecutorID().GetValue())
	}
}

// onSubscribed begins a subscription: offers of an earlier one are void, calls in
// flight have an unknown outcome, so every task is asked about.
func (s *scheduler) onSubscribed(e *sched.Event_Subscribed) {
	id := e.GetFrameworkID().GetValue()
	if id != s.framework {
		s.framework = id
		s.extra = append(s.extra, record{frameworkIDKey, encodeFrameworkID(id)})
	}
	s.log.Info("subscribed", "framework", id)
	s.subscribed = true
	s.subscriptions++
	s.offers.clear()
	s.offers.undeclined = nil
	s.offers.suppressed = false
	s.offers.revivedAt, s.offers.offeredAt, s.offers.answersFrom = s.now, s.now, s.now
	for _, r := range s.runs {
		r.answered = false
	}
	s.send(reconcileCall(nil), nil) // finds orphans; nothing waits for it
	s.reconcileIn = firstReconcile
	s.reconcileOpen()
	for id, agent := range s.orphans {
		s.send(killCall(id, agent), nil)
	}
	for _, r := range s.runs {
		if r.Killing != "" {
			s.killTask(r)
		}
	}
}

// reconcileOpen asks about every task that the cluster has not reported in this subscription.
func (s *scheduler) reconcileOpen() {
	var open []*openRun
	for _, r := range s.runs {
		if !r.answered && !r.toAccept && (r.State == runLaunching || r.State == runActive) {
			open = append(open, r)
		}
	}
	if len(open) > 0 {
		s.askAbout(open)
	}
	if s.reconcileIn < s.cfg.reconcile {
		s.reconcileIn = min(2*s.reconcileIn, s.cfg.reconcile)
	}
	s.timers.move(&s.reconcileTimer, s.now+s.reconcileIn.Milliseconds())
}

// reconcileAgain repeats the unanswered questions, and once per
// --reconciliation_interval asks about everything.
func (s *scheduler) reconcileAgain() {
	if !s.subscribed {
		return
	}
	if s.reconcileIn >= s.cfg.reconcile {
		for _, r := range s.runs {
			r.answered = false
		}
		s.send(reconcileCall(nil), nil)
		var orphans []sched.Call_Reconcile_Task
		for id, agent := range s.orphans { // the end of one may have been lost, or it was never launched
			orphans = append(orphans, reconcileTask(id, agent))
		}
		s.reconcile(orphans)
	}
	s.reconcileOpen()
}

// askAbout reconciles the tasks of the given runs explicitly.
func (s *scheduler) askAbout(runs []*openRun) {
	tasks := make([]sched.Call_Reconcile_Task, 0, len(runs))
	for _, r := range runs {
		s.acceptFirst(r)
		r.asked = true
		tasks = append(tasks, reconcileTask(r.ID, r.AgentID))
	}
	s.reconcile(tasks)
}

func (s *scheduler) reconcile(tasks []sched.Call_Reconcile_Task) {
	const atOnce = 5000
	for some := range slices.Chunk(tasks, atOnce) {
		s.send(reconcileCall(some), nil)
	}
}

func reconcileTask(id, agent string) sched.Call_Reconcile_Task {
	task := sched.Call_Reconcile_Task{TaskID: mesos.TaskID{Value: id}}
	if agent != "" {
		task.AgentID = &mesos.AgentID{Value: agent}
	}
	return task
}

func reconcileCall(tasks []sched.Call_Reconcile_Task) *sched.Call {
	return &sched.Call{Type: sched.Call_RECONCILE, Reconcile: &sched.Call_Reconcile{Tasks: tasks}}
}

// acknowledge confirms an update once what it caused is stored. Updates made by
// the master itself have no uuid and are not confirmed.
func (s *scheduler) acknowledge(u *mesos.TaskStatus) {
	if len(u.UUID) == 0 || u.AgentID == nil {
		return
	}
	s.send(&sched.Call{Type: sched.Call_ACKNOWLEDGE, Acknowledge: &sched.Call_Acknowledge{
		AgentID: *u.AgentID, TaskID: u.TaskID, UUID: u.UUID,
	}}, nil)
}

// onStatus handles a status update. Updates may be late, lost, repeated or out of
// order; the id of the run is the key, and one of a run that has ended changes nothing.
func (s *scheduler) onStatus(u *mesos.TaskStatus) {
	if s.kept[u.TaskID.Value] {
		return // nothing is known to be stored about it, so it is not confirmed
	}
	defer s.acknowledge(u)
	id := u.TaskID.Value
	r := s.runs[id]
	if r == nil {
		r = s.onUnknownTask(id, u)
		if r == nil {
			return
		}
	}
	if r.State == runQueued || r.State == runAwaiting {
		s.onUnexpected(r, u)
		return
	}
	r.answered = true
	if u.AgentID != nil && r.AgentID == "" {
		r.update(func(n *Run) { n.AgentID = u.AgentID.Value })
	}
	s.onKnown(r, u)
}

// onKnown handles an update of a run that is under way.
func (s *scheduler) onKnown(r *openRun, u *mesos.TaskStatus) {
	if code := exitStatusOf(u); code != nil {
		r.update(func(n *Run) { n.Exit = code })
	}
	if u.GetState() != mesos.TASK_STAGING && u.GetState() != mesos.TASK_UNREACHABLE || u.GetSource() == mesos.SOURCE_AGENT { // masters report these two
		s.gotAnswer(r)
	}
	if node := nodeOf(u); node != "" && r.Agent != node {
		r.update(func(n *Run) { n.Agent = node })
		s.touchRun(r)
	}
	switch u.GetState() {
	case mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_KILLING:
		s.onAlive(r, u)
	case mesos.TASK_UNREACHABLE:
		s.onUnreachable(r, u)
	case mesos.TASK_FINISHED:
		s.onFinished(r, u)
	case mesos.TASK_FAILED:
		s.fail(r, runFailed, failureText(r.entry.job, u))
	case mesos.TASK_KILLED:
		s.killed(r, statusText(u))
	case mesos.TASK_ERROR:
		s.onTaskError(r, u)
	default: // LOST, DROPPED, GONE, GONE_BY_OPERATOR, UNKNOWN, and whatever Mesos may add
		s.onGone(r, u)
	}
}

// onUnknownTask handles an update of a task that has no open run. One that is alive is
// killed: its attempt has ended, as far as anybody knows. Only the tasks a JVM
// version left behind are adopted.
func (s *scheduler) onUnknownTask(id string, u *mesos.TaskStatus) *openRun {
	due, attempt, name, args, ours := parseRunID(id)
	if terminal(u.GetState()) {
		_, orphan := s.orphans[id]
		delete(s.orphans, id)
		if e := s.jobs[name]; ours && e != nil && !orphan && s.adoptable(e, id, due) && u.GetState() != mesos.TASK_UNKNOWN {
			return s.adopt(e, id, due, attempt, args, u)
		}
		return nil
	}
	s.countUnknown()
	if !ours {
		s.log.Warn("update for a task that is not ours", "task", id, "state", u.GetState())
		return nil
	}
	_, orphan := s.orphans[id]
	if e := s.jobs[name]; e != nil && !orphan && s.adoptable(e, id, due) {
		return s.adopt(e, id, due, attempt, args, u)
	}
	if u.GetState() == mesos.TASK_UNREACHABLE {
		// It will be reported when its agent returns. A KILL now would only be answered with this same update.
		s.orphans[id] = u.GetAgentID().GetValue()
		return nil
	}
	if _, known := s.orphans[id]; !known {
		s.log.Warn("killing a task whose run has ended or is unknown", "task", id, "state", u.GetState())
	}
	s.orphans[id] = u.GetAgentID().GetValue()
	s.send(killCall(id, s.orphans[id]), nil)
	return nil
}

func (s *scheduler) countUnknown() {
	s.cfg.unknownUpdate()
}

// adoptable reports whether a task without a record can be one that a JVM
// version launched before this program first led.
func (s *scheduler) adoptable(e *entry, id string, due int64) bool {
	if due > s.adoptBefore {
		return false
	}
	for _, r := range e.history {
		if r.ID == id {
			return false
		}
	}
	return true
}

// adopt opens a run for a task that a JVM version launched.
func (s *scheduler) adopt(e *entry, id string, due int64, attempt int, args string, u *mesos.TaskStatus) *openRun {
	s.log.Info("adopting a task launched by an earlier version", "job", e.job.Name, "task", id)
	r := s.open(e, &Run{
		ID: id, Job: e.job.Name, Kind: kindScheduled, Due: due, Attempt: attempt, Args: args, HasArgs: args != jobArguments(e.job),
		State: runActive, AgentID: u.GetAgentID().GetValue(), Queued: due, Launched: due,
	})
	s.touchRun(r)
	return r
}

// onUnexpected handles an update of a run that should have no live task: one
// that waits (a launch believed lost has arrived after all), or an async run whose launcher has ended.
func (s *scheduler) onUnexpected(r *openRun, u *mesos.TaskStatus) {
	if r.State == runAwaiting || terminal(u.GetState()) && !hasRun(u.GetState()) {
		return
	}
	s.queue.remove(r)
	r.entry.blocked.remove(r)
	s.timers.drop(&r.wait)
	s.timers.drop(&r.late)
	r.delayed, r.answered = false, true
	r.update(func(n *Run) {
		n.State, n.AgentID, n.Launched, n.Reason = runActive, u.GetAgentID().GetValue(), s.now, ""
	})
	s.touchRun(r)
	s.onKnown(r, u)
}

// hasRun reports whether a terminal state is the outcome of a task that ran.
func hasRun(state mesos.TaskState) bool {
	return state == mesos.TASK_FINISHED || state == mesos.TASK_FAILED || state == mesos.TASK_KILLED
}

// onAlive handles the news that a task exists. The first such news makes the run active.
func (s *scheduler) onAlive(r *openRun, u *mesos.TaskStatus) {
	running := u.GetState() == mesos.TASK_RUNNING || u.GetState() == mesos.TASK_STARTING
	if r.Unreachable != 0 {
		r.agentAway = false
		s.timers.drop(&r.wait)
		s.watchStaging(r) // it may have been unreachable when it should have started
		r.update(func(n *Run) { n.Unreachable, n.Reason = 0, "" })
		s.touchRun(r)
	}
	r.doubtful = false // it is ours again, as is its end
	s.noteStaging(r, u, running)
	first := r.State == runLaunching
	if first || running && r.Started == 0 {
		r.update(func(n *Run) {
			n.State = runActive
			if running && n.Started == 0 {
				n.Started = s.now
			}
		})
		s.watchLimit(r)
		s.watchSlow(r)
		s.touchRun(r)
	}
	if first {
		if r.late.set() && r.late.at <= s.now {
			s.tellLate(r) // it was about to be
		}
		s.timers.drop(&r.late)
		s.emit(jobEvent{Kind: eventStarted, Job: r.entry.job, Run: r.Run})
	}
}

// noteStaging keeps why a task has not started yet, as long as it has not. Of Mesos only agents would know.
func (s *scheduler) noteStaging(r *openRun, u *mesos.TaskStatus, running bool) {
	why := ""
	if !running && r.Started == 0 && u.GetState() == mesos.TASK_STAGING && u.GetSource() == mesos.SOURCE_AGENT {
		why = cutText(u.GetMessage(), maxReason, "...")
	} else if r.Started != 0 || !running {
		return
	}
	if r.Reason != why {
		r.update(func(n *Run) { n.Reason = why })
		s.touchRun(r)
	}
}

// nodeOf is the machine on which a task runs, where its status names one.
func nodeOf(u *mesos.TaskStatus) string {
	for _, l := range u.GetLabels().GetLabels() {
		if l.Key == nodeLabel {
			return l.GetValue()
		}
	}
	return ""
}

// onFinished ends a run whose task has succeeded. The end of an async job's launcher says nothing about
// the job: the run waits for the callback, unless that came first.
func (s *scheduler) onFinished(r *openRun, u *mesos.TaskStatus) {
	if !r.entry.job.Async || r.Killing.overLimit() {
		s.succeed(r, statusText(u))
		return
	}
	if r.Callback != nil {
		s.applyCallback(r, *r.Callback)
		return
	}
	r.update(func(n *Run) { n.State = runAwaiting })
	s.touchRun(r)
	s.unblock(r.entry)
	s.boundAwaiting(r.entry)
}

// boundAwaiting gives up the oldest runs whose callback never came, so that a job that
// is never called back does not accumulate runs without end.
func (s *scheduler) boundAwaiting(e *entry) {
	if e.awaiting <= maxAwaiting {
		return
	}
	for _, r := range e.runs.snapshot() {
		if r.State == runAwaiting && e.awaiting > maxAwaiting {
			s.cut()
			s.end(r, runLost, fmt.Sprintf("its callback had not come when %d newer runs were waiting for theirs", maxAwaiting))
		}
	}
}

// killed ends a run that was killed: no counter changes, no retry, no child runs.
func (s *scheduler) killed(r *openRun, message string) {
	if r.Killing.overLimit() {
		s.fail(r, runFailed, message)
		return
	}
	if r.Killing.asked() {
		message = string(r.Killing)
	}
	if r.Started != 0 {
		s.countAs(r, false, false)
	}
	s.end(r, runKilled, message)
	if r.Started != 0 {
		s.countEnd(r.entry, false)
	}
	s.disableAfterLast(r.entry)
}

// disableAfterLast is disableExhausted for a run that does not count, if the last one that did had succeeded.
func (s *scheduler) disableAfterLast(e *entry) {
	if e.job.lastResult() == "success" {
		s.disableExhausted(e)
	}
}

// onTaskError handles a task that Mesos refused. A duplicate id means that the
// task exists already, which is not a result.
func (s *scheduler) onTaskError(r *openRun, u *mesos.TaskStatus) {
	if strings.Contains(strings.ToLower(u.GetMessage()), "duplicate") {
		s.askAbout([]*openRun{r})
		return
	}
	s.fail(r, runFailed, statusText(u))
}

// onGone handles the news that the cluster has no such task (any more). One that was
// never launched waits again with the same attempt; any other is lost, which counts as a failure.
func (s *scheduler) onGone(r *openRun, u *mesos.TaskStatus) {
	if u.GetState() == mesos.TASK_DROPPED && u.GetReason() == waitsForRoom && !r.doubtful {
		s.requeue(r, statusText(u), roomPause)
		return
	}
	if startsLater(u) && !s.outdated(r, u) && !r.doubtful {
		s.postpone(r, statusText(u))
		return
	}
	if r.State == runLaunching && neverLaunched(u) {
		if s.outdated(r, u) {
			r.answered = false
			return
		}
		if !r.doubtful {
			pause := time.Duration(0)
			if r.unconfirmed {
				pause = unsentPause
			}
			s.requeue(r, statusText(u), pause)
			return
		}
	}
	s.lose(r, statusText(u))
}

// startsLater reports whether a status says that a task could not be started for now, though its launch was in order, which
// is what TASK_DROPPED means: nothing of it has begun.
func startsLater(u *mesos.TaskStatus) bool {
	return u.GetState() == mesos.TASK_DROPPED && u.GetReason() == mesos.REASON_CONTAINER_LAUNCH_FAILED
}

// roomPause is how long a run waits before it is offered again to a cluster that had no room for it.
const roomPause = 5 * time.Second

// Before a run that could not be started is tried again, the pause grows from the one to the other.
const (
	shortPause = 500 * time.Millisecond
	longPause  = 30 * time.Second
)

// postpone has a run that could not be started wait, and fails it when its epsilon is over.
func (s *scheduler) postpone(r *openRun, why string) {
	if r.tryUntil == 0 {
		r.tryUntil, r.tryPause = s.now+r.entry.epsilon(), shortPause
	}
	if s.now >= r.tryUntil {
		s.fail(r, runFailed, why)
		return
	}
	s.requeue(r, why, min(r.tryPause, time.Duration(r.tryUntil-s.now)*time.Millisecond))
	r.tryPause = min(2*r.tryPause, longPause)
}

// outdated reports whether a status that denies a launch is about an earlier one of the
// same attempt: it names another agent, or answers a question asked before this launch.
// Believing it would launch the attempt twice.
func (s *scheduler) outdated(r *openRun, u *mesos.TaskStatus) bool {
	if u.AgentID != nil && u.AgentID.Value != r.AgentID {
		return true
	}
	return !r.asked && (u.GetState() == mesos.TASK_UNKNOWN || u.GetState() == mesos.TASK_GONE)
}

// neverLaunched reports whether a status of a launching run means that no task
// was created: the master does not know it, or the offer was no longer valid.
func neverLaunched(u *mesos.TaskStatus) bool {
	switch u.GetState() {
	case mesos.TASK_UNKNOWN, mesos.TASK_GONE:
		return true
	case mesos.TASK_LOST, mesos.TASK_DROPPED:
		switch u.GetReason() {
		case mesos.REASON_INVALID_OFFERS, mesos.REASON_MASTER_DISCONNECTED:
			return true
		}
	}
	return false
}

// onUnreachable starts the time within which the agent may come back, or continues it if an
// earlier leader has started it.
func (s *scheduler) onUnreachable(r *openRun, u *mesos.TaskStatus) {
	if r.agentAway {
		return
	}
	r.agentAway = true
	since := cmp.Or(r.Unreachable, s.now)
	s.waitUntil(r, timerUnreachable, since+s.cfg.unreachable.Milliseconds())
	r.update(func(n *Run) {
		n.State, n.Unreachable, n.Reason = runActive, since, "agent unreachable since "+instant(msTime(since))
	})
	s.touchRun(r)
	s.log.Warn("agent unreachable", "job", r.Job, "task", r.ID, "agent", r.AgentID)
}

// giveUpUnreachable declares a task lost because its agent has been away for too long.
func (s *scheduler) giveUpUnreachable(r *openRun) {
	if s.runs[r.ID] != r || !r.agentAway || s.now-r.Unreachable < s.cfg.unreachable.Milliseconds() {
		return
	}
	s.abandon(r, fmt.Sprintf("agent unreachable for %s", s.cfg.unreachable))
}

// abandon declares a task lost that is no longer heard of. If it reappears, it is killed.
func (s *scheduler) abandon(r *openRun, why string) {
	s.orphans[r.ID] = r.AgentID
	s.send(killCall(r.ID, r.AgentID), nil)
	s.lose(r, why)
}

// checkStaging checks a task that should have started by now: it asks
// about it once, and declares it lost when the same time has passed again.
func (s *scheduler) checkStaging(r *openRun) {
	if s.runs[r.ID] != r || r.Started != 0 || (r.State != runLaunching && r.State != runActive) || r.agentAway {
		return
	}
	waited := s.now - r.Launched
	if limit := s.cfg.staging.Milliseconds(); waited >= 2*limit && s.subscribed {
		s.abandon(r, fmt.Sprintf("not started %s after its launch", time.Duration(waited)*time.Millisecond))
		return
	}
	s.askAbout([]*openRun{r})
	s.watchStaging(r)
}

// watchStaging sets the timer of checkStaging.
func (s *scheduler) watchStaging(r *openRun) {
	s.timers.move(&r.staging, s.now+s.cfg.staging.Milliseconds())
}

// onError handles the end of a subscription for a reason that the master gives.
func (s *scheduler) onError(message string) {
	s.log.Error("the cluster has ended the subscription", "message", message)
	s.subscribed = false
	if !strings.Contains(message, frameworkRemoved) && !strings.Contains(message, "Completed framework") {
		return
	}
	// All tasks of a removed framework are gone. The next subscription gets a new id.
	s.framework = ""
	clear(s.orphans)
	s.extra = append(s.extra, record{frameworkIDKey, nil})
	for _, r := range s.sortedRuns() {
		if r.State == runLaunching || r.State == runActive {
			s.cut()
			s.lose(r, message)
		}
	}
}

// kill ends a run: at once if it only waits, else by asking the cluster until the task is gone.
func (s *scheduler) kill(r *openRun, why killCause) {
	switch r.State {
	case runQueued, runAwaiting:
		s.killed(r, string(why))
	default:
		if !r.Killing.asked() {
			r.update(func(n *Run) { n.Killing = why })
			s.touchRun(r)
		}
		s.repeatKill(r)
	}
}

func (s *scheduler) repeatKill(r *openRun) {
	if s.runs[r.ID] != r || r.Killing == "" {
		return
	}
	r.asked = true // the master will say so if it does not know the task
	s.killTask(r)
	s.timers.move(&r.kill, s.now+killAgain.Milliseconds())
}

// terminal reports whether a task in that state has ended.
func terminal(state mesos.TaskState) bool {
	switch state {
	case mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_KILLING, mesos.TASK_UNREACHABLE:
		return false
	}
	return true
}

// exitStatusOf reads the exit status from what Mesos' command executor says about a
// task's end, or returns nil.
func exitStatusOf(u *mesos.TaskStatus) *int {
	_, digits, ok := strings.Cut(u.GetMessage(), "exited with status ")
	if !ok {
		return nil
	}
	code, err := strconv.Atoi(strings.TrimSuffix(digits, "."))
	if err != nil {
		return nil
	}
	return &code
}

// maxReason is how much of a message about a task's end is kept.
const maxReason = 2000

// statusText is the text of an update for people.
func statusText(u *mesos.TaskStatus) string {
	if m := u.GetMessage(); m != "" {
		return cutText(m, maxReason, "...")
	}
	switch {
	case u.GetState() == mesos.TASK_FINISHED:
		return ""
	case u.Reason == nil:
		return u.GetState().String()
	}
	return u.GetState().String() + ", " + u.GetReason().String()
}
