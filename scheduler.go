package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// A cluster runs tasks. It speaks the messages of the Mesos v1 scheduler API,
// whether a Mesos master or this machine is behind it.
type cluster interface {
	// run keeps a subscription until ctx ends, starting with the framework id
	// given ("" for none yet), and hands every event to handle, in order, from one
	// goroutine. Each (re)subscription shows as a SUBSCRIBED event, and the loss
	// of one as an event of type UNKNOWN.
	run(ctx context.Context, frameworkID string, handle func(*sched.Event)) error
	// send queues a call. It never blocks. done, if not nil, is called exactly once from
	// another goroutine, with nil when the cluster has taken the call, errNotSent
	// when it certainly has not, and any other error when that is unknown.
	send(call *sched.Call, done func(error))
}

// A queuedCall is a call on its way to a cluster, and who wants to know what becomes of it; see cluster.send.
type queuedCall struct {
	call *sched.Call
	done func(error) // nil for nobody
}

func (c queuedCall) answer(err error) {
	if c.done != nil {
		c.done(err)
	}
}

// refuse answers, from another goroutine, that the call has not been sent: done may wait for whoever called send.
func (c queuedCall) refuse(log *slog.Logger) {
	if c.done != nil {
		go guarded(log, "refusal of a call", func() error { c.done(errNotSent); return nil })
	}
}

// clusterMail is a message to the loop of a cluster of our own: a call, or, as fn, what has happened to a run or a request.
type clusterMail struct {
	queuedCall
	fn func()
}

// Words that clusters of our own use, and no Mesos master does.
const (
	// waitsForRoom is the reason of a TASK_DROPPED whose run waits until there is room, however long that takes.
	waitsForRoom = mesos.REASON_CONTAINER_PREEMPTED
	// nodeLabel is the label of a status that names the machine on which the task runs.
	nodeLabel = "node"
)

var (
	errNotSent  = errors.New("not sent")
	errNotFound = errors.New("not found")
	errBusy     = errors.New("too many changes are waiting to be stored; try again")
	errCrowded  = errors.New("too many runs wait")
	errNoLeader = errors.New("this instance is not the leader any more")

	// What a cluster's run returns when the scheduler has to act before it may run again.
	// errFrameworkRemoved: the id is used up and all its tasks are gone.
	errFrameworkRemoved = errors.New("framework has been removed")
	// errFrameworkTaken: another scheduler has subscribed with the id. A scheduler
	// that gets this must not fight over it.
	errFrameworkTaken = errors.New("framework failed over to another scheduler")
)

// schedulerConfig is what the flags say about scheduling.
type schedulerConfig struct {
	defaults     jobDefaults
	failureRetry time.Duration // --failure_retry
	disableAfter int64         // --disable_after_failures; 0 means never
	historyKeep  int           // ended runs kept per job
	archive      archiveBounds // of the ended runs beyond those
	activityKeep int           // acts remembered, of each kind; 0 means that none is
	historySize  int           // about how many bytes of them at most; 0 means maxHistory
	batchSize    int           // bytes that go into one commit if that can be chosen; 0 means maxBatchSize
	largestJob   int           // bytes that a job's document may have; 0 means any number
	largestStep  int           // bytes that a commit may have; 0 means any number
	mostByHand   int           // runs of a job, started by hand, that may wait; 0 means any number
	mostRuns     int           // that may be under way; 0 means any number
	mostRunsFlag string        // which option says so, without dashes
	role         string        // --mesos_role
	declineFor   time.Duration // --decline_offer_duration; 0 means the cluster's default
	reviveForNew bool          // --revive_offers_for_new_jobs
	reviveEvery  time.Duration // --min_revive_offers_interval
	reconcile    time.Duration // --reconciliation_interval
	unreachable  time.Duration // how long an unreachable task may stay so
	staging      time.Duration // how long a launched task may stay unheard of
	task         taskConfig
	setAside     map[string]string // keys of records not to be used, with the reason
	location     *time.Location    // the server's zone, for starts without an offset
	term         int64
	wallClock    func() time.Time // what the wall clock says, so that tests can set it; nil for time.Now
	callbacks    bool             // give each run a token for its callback
	late         time.Duration    // raise eventLate for a run that waits this long after its due; 0 for never
	hooks
}

// hooks are called with what happens in a term, for notices and metrics. Each may be nil, and must not block.
type hooks struct {
	observe       func(jobEvent) // once what caused the event is stored
	batchStored   func(changes, records int, took time.Duration, err error)
	offersMoved   func(received, used, declined int)
	offersHeld    func(n int)
	reviveWanted  func(sent bool)
	unknownUpdate func() // of a task that no run knows
	inputSkipped  func() // something stored or received was logged and skipped
	clockSet      func(by time.Duration)
	turnTook      func(time.Duration)
}

// complete returns the hooks with one that does nothing for each that is nil.
func (h hooks) complete() hooks {
	if h.observe == nil {
		h.observe = func(jobEvent) {}
	}
	if h.batchStored == nil {
		h.batchStored = func(int, int, time.Duration, error) {}
	}
	if h.offersMoved == nil {
		h.offersMoved = func(int, int, int) {}
	}
	if h.offersHeld == nil {
		h.offersHeld = func(int) {}
	}
	if h.reviveWanted == nil {
		h.reviveWanted = func(bool) {}
	}
	if h.unknownUpdate == nil {
		h.unknownUpdate = func() {}
	}
	if h.inputSkipped == nil {
		h.inputSkipped = func() {}
	}
	if h.clockSet == nil {
		h.clockSet = func(time.Duration) {}
	}
	if h.turnTook == nil {
		h.turnTook = func(time.Duration) {}
	}
	return h
}

// A scheduler is one term of leadership: all jobs and runs, owned by one
// goroutine. It is made when the term begins, and dropped with everything in
// it when the term ends. Everything reaches it through do; readers use view.
type scheduler struct {
	cfg     schedulerConfig
	store   store
	cluster cluster
	log     *slog.Logger

	mailbox chan func()
	stopped chan struct{} // closed when nobody reads the mailbox any more
	ended   chan struct{} // closed when the term is over
	current atomic.Pointer[view]
	watch   atomic.Pointer[chan struct{}] // of those who wait for the next view, nil for nobody
	writer  *writer
	index   *runIndex

	// What follows belongs to the loop.
	now            int64     // ms since the epoch, of the event being handled
	turned         time.Time // when now was taken, for its monotonic reading
	clock          clockReport
	rewinds        []rewind // schedules that a clock set back affects and that are still to be put back
	steps          int64    // so far: runs, jobs and edges visited
	turnLog        turnLog
	pace           pace
	jobs           map[string]*entry
	graph          *graph
	runs           map[string]*openRun // open runs by id
	dues           alarms              // of occurrences
	timers         alarms              // of everything else
	queue          *queue
	offers         *offerBook
	launches       launches
	wake           []string // dependent jobs whose parents may have finished
	retired        retiredJobs
	archive        archive
	pools          map[string]*slotPool
	unlinked       map[string]bool   // stored dependent jobs whose parents do not all exist
	seq            int64             // order of creation given to the newest job
	sums           map[runState]int  // open runs by state, as sealed
	underWay       int               // runs, of all jobs
	kept           map[string]bool   // runs whose job can't be used: their records and tasks are left alone
	orphans        map[string]string // tasks of no open run that we have asked to be killed, with their agent
	invalid        []invalidRecord
	unusableKeys   map[string]bool // of invalid
	framework      string
	adoptBefore    int64  // tasks due up to then that have no record may be a JVM's, and are adopted
	others         others // while loading
	yielding       bool   // another version leads next: nothing falls due any more
	subscribed     bool
	subscriptions  int // so far
	reconcileIn    time.Duration
	reconcileTimer alarm
	dirty          []*entry
	heavy          bool     // a job may be about to have too much for one commit
	whole          bool     // what is being done goes into one commit
	extra          []record // records of no job, of the event being handled
	effects        []effect
	answers        int // among the effects
	requests       *requestLog
	acts           []act // what the request being handled has done
	activity       activityLog
	newActs        []shownAct            // of the event being handled
	oldActs        [actKinds]int         // that it has forgotten
	ends           error                 // why the term is to end once the change being made is stored
	restoring      sync.Mutex            // held by the restore that is under way
	refusal        atomic.Pointer[error] // of all changes, once the term is over; nil for none
}

// newScheduler makes the scheduler of one term. load and run must follow.
func newScheduler(cfg schedulerConfig, st store, cl cluster, log *slog.Logger) *scheduler {
	s := &scheduler{
		cfg: cfg, store: st, cluster: cl, log: log,
		mailbox: make(chan func(), 1024),
		stopped: make(chan struct{}),
		ended:   make(chan struct{}),
		jobs:    map[string]*entry{},
		graph:   newGraph(),
		runs:    map[string]*openRun{},
		queue:   newQueue(),
		pools:   map[string]*slotPool{},
		orphans: map[string]string{}, kept: map[string]bool{},
		unlinked: map[string]bool{}, unusableKeys: map[string]bool{}, sums: map[runState]int{},
	}
	s.graph.steps, s.queue.steps, s.retired.steps = &s.steps, &s.steps, &s.steps
	s.turnLog.handled = map[string]int{}
	s.offers = newOfferBook(cfg.role)
	s.offers.silent = s.silentSince
	s.archive.bounds = cfg.archive
	s.cfg.hooks = cfg.hooks.complete()
	s.cfg.historySize = cmp.Or(cfg.historySize, maxHistory)
	s.cfg.batchSize = cmp.Or(cfg.batchSize, maxBatchSize)
	s.reconcileTimer = alarm{kind: timerReconcile}
	s.requests = newRequestLog()
	s.writer = newWriter(st, s.cfg.batchSize, s.publish, log)
	s.index = newRunIndex(s.writer, log)
	s.writer.onBatch = s.cfg.batchStored
	first := newView()
	first.term = cfg.term
	s.current.Store(first)
	return s
}

// view returns the last published picture of the state.
func (s *scheduler) view() *view { return s.current.Load() }

// run is the term: it keeps the cluster's subscription, the loop and the writer
// going until ctx ends or one of them fails, and returns why. load has succeeded before.
func (s *scheduler) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	// The last effects run when the writer has stopped, so that nobody is left waiting for an answer.
	begin(&wg, s.log, "writer", cancel, func() { cancel(s.writer.run(ctx)) })
	framework := s.framework
	begin(&wg, s.log, "cluster", cancel, func() { cancel(s.connect(ctx, framework)) })
	cancel(s.loop(ctx))
	close(s.stopped) // before the wait: the cluster may be reporting the outcome of its last calls
	wg.Wait()
	close(s.ended)
	return context.Cause(ctx)
}

// connect keeps the cluster's subscription. A framework that the master has removed
// starts afresh once that, and the end of all its tasks, is stored.
func (s *scheduler) connect(ctx context.Context, framework string) error {
	for {
		err := s.cluster.run(ctx, framework, s.handle)
		if !errors.Is(err, errFrameworkRemoved) {
			return err
		}
		if err := s.do(ctx, func() error { return nil }); err != nil {
			return err
		}
		framework = ""
	}
}

// handle brings an event of the cluster to the loop.
func (s *scheduler) handle(e *sched.Event) { s.post(func() { s.clusterEvent(e) }) }

// do is ask for functions without an answer.
func (s *scheduler) do(ctx context.Context, fn func() error) error {
	_, err := s.ask(ctx, func() (string, error) { return "", fn() })
	return err
}

// ask runs fn in the loop and returns its answer once everything fn
// changed, and everything before it, is stored. When fn fails it must have
// changed nothing. If the term ends first, the outcome is unknown and the error
// wraps errNoLeader or the store's. A request's name in ctx makes a repeated call harmless:
// it returns the first answer again, and fn does not run. A different call of that name gets errIDReused.
func (s *scheduler) ask(ctx context.Context, fn func() (string, error)) (string, error) {
	if err := s.refused(); err != nil {
		return "", err
	}
	if s.writer.full() {
		return "", errBusy
	}
	name := requestNamed(ctx)
	var answer string
	reply := make(chan error, 1)
	event := func() {
		var err error
		known := false
		if answer, known, err = s.requests.answer(name); !known {
			if name != nil {
				s.seal() // from here on it is a change of its own
			}
			s.acts = nil
			if answer, err = fn(); err == nil {
				s.logActs(ctx)
				s.extra = append(s.extra, s.requests.remember(name, answer, s.now)...)
			}
		}
		s.answers++
		s.effects = append(s.effects, effect{do: func(stored error) { reply <- errors.Join(err, stored) }})
		switch {
		case s.whole:
			s.whole = false
			s.sealUpTo(math.MaxInt)
		case name != nil || s.ends != nil:
			s.sealUpTo(s.cfg.batchSize) // the answer is stored together with what it is about
		}
	}
	select {
	case s.mailbox <- event:
	case <-s.stopped:
		return "", errNoLeader
	case <-ctx.Done():
		return "", ctx.Err()
	}
	select {
	case err := <-reply:
		return answer, err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-s.ended:
	}
	select {
	case err := <-reply: // the last effects ran before the term was over
		return answer, err
	default:
		return "", errNoLeader
	}
}

// refuse makes every change from now on fail with this error. It is for a term that is over, but still
// serves readers until there is another.
func (s *scheduler) refuse(why error) { s.refusal.Store(&why) }

// refused returns why changes are refused, nil if they are not.
func (s *scheduler) refused() error {
	if why := s.refusal.Load(); why != nil {
		return *why
	}
	return nil
}

const (
	maxEventsPerTurn = 256
	maxTimers        = 500 // before what they did goes to the writer
	maxWakes         = 500
	maxRounds        = 40
)

// loop handles events and timers, one at a time, until ctx ends. It never waits
// for the network or the disk.
func (s *scheduler) loop(ctx context.Context) (err error) {
	defer recoverAs(s.log, "scheduler loop", &err)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case event := <-s.mailbox:
			s.begin()
			event()
			s.drain()
		case <-timer.C:
			s.begin()
		case <-s.writer.relief:
			s.begin()
		}
		more := s.turn()
		s.finish()
		timer.Reset(s.untilNext(more))
	}
}

// turn does what is due, and reports whether more is that can be done now. It works in rounds, so that the writer
// stores the changes of the first while the next are under way.
func (s *scheduler) turn() (more bool) {
	s.offers.compared.begin()
	for round := 1; ; round++ {
		s.keepPace()
		more = s.rewindSome(rewindsAtOnce)
		more = s.fireTimers() || more
		s.wakeChildren()
		more = more || s.mayWake()
		last := !more || round == maxRounds || s.isLong()
		left := s.place()
		if last {
			// A launch may have made room for the next run of a child.
			more = more || left || s.mayWake() || s.offers.compared.short
			s.settleOffers(more || s.pace.ahead)
		}
		s.cfg.offersHeld(s.offers.held())
		s.seal()
		if last {
			return more
		}
	}
}

// drain handles what else has arrived, up to a bound.
func (s *scheduler) drain() {
	for range maxEventsPerTurn {
		if s.isLong() {
			return
		}
		select {
		case event := <-s.mailbox:
			s.cut()
			event()
		default:
			return
		}
	}
}

// untilNext returns how long there is nothing to do.
func (s *scheduler) untilNext(more bool) time.Duration {
	if more {
		return 0
	}
	at := s.now + time.Hour.Milliseconds()
	if t := s.timers.next(); t != nil {
		at = min(at, t.at)
	}
	if len(s.launches) > 0 {
		at = min(at, s.now+launchHold.Milliseconds())
	}
	if t := s.dues.next(); t != nil && !s.pace.ahead { // else the writer says when
		at = min(at, t.at)
	}
	return max(0, time.UnixMilli(at).Sub(s.wallTime()))
}

// fireTimers handles the timers that are due, up to a bound, and reports
// whether more are waiting.
func (s *scheduler) fireTimers() bool {
	s.pace.fired = 0
	for n := range maxTimers {
		t := s.dues.next()
		if t == nil || t.at > s.now || s.pace.ahead || s.enough(n, turnTime/2) {
			break
		}
		s.pace.fired++
		s.dues.drop(t)
		s.turnLog.note("occurrence", t.entry.job.Name)
		s.cut()
		s.fireDue(t.entry)
	}
	for n := range maxTimers {
		t := s.timers.next()
		if t == nil || t.at > s.now || s.enough(n, turnTime) {
			break
		}
		s.timers.drop(t)
		s.turnLog.note("timer", "")
		s.cut()
		s.fire(t)
	}
	return s.dues.due(s.now) && !s.pace.ahead || s.timers.due(s.now)
}

func (s *scheduler) fire(t *alarm) {
	switch t.kind {
	case timerRetry:
		s.release(t.run)
	case timerOverlap:
		s.expireOverlap(t.run)
	case timerKill:
		s.repeatKill(t.run)
	case timerStaging:
		s.checkStaging(t.run)
	case timerUnreachable:
		s.giveUpUnreachable(t.run)
	case timerLate:
		s.tellLate(t.run)
	case timerSlow:
		s.tellSlow(t.run)
	case timerAbsence:
		s.tellAbsence(t.entry)
	case timerPause:
		s.endPause(t.entry)
	case timerLimit:
		s.endOverLimit(t.run)
	case timerReconcile:
		s.reconcileAgain()
	case timerOffers: // place, which follows, looks at the offers
	}
}

// emit reports an event to the observer once what caused it is stored.
func (s *scheduler) emit(e jobEvent) {
	e.Time = time.UnixMilli(s.now).UTC()
	s.afterJob(e.Job.Name, func() { s.cfg.observe(e) })
}

// after adds an effect to the event being handled: it runs, in the order of
// events, once everything up to here is stored, and never if that fails.
func (s *scheduler) after(do func()) { s.afterJob("", do) }

// afterJob is after for an effect that concerns one job, and waits only until that job's
// records are stored.
func (s *scheduler) afterJob(job string, do func()) {
	s.effects = append(s.effects, effect{job, func(err error) {
		if err == nil {
			do()
		}
	}})
}

// send queues a call to the cluster as an effect.
func (s *scheduler) send(call *sched.Call, done func(error)) {
	s.after(func() { s.cluster.send(call, done) })
}

// A termID is the number of a term, and what has counted it. Only numbers from the same counter show which
// term is the later one: another ZooKeeper, or another path in it, starts over, and so does each
// process on the file store, whose counter is "".
type termID struct {
	counter string
	number  int64
}

// before reports whether the other term is certainly the later one.
func (id termID) before(other termID) bool {
	return id.counter != "" && id.counter == other.counter && id.number < other.number
}
