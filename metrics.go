package main

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// metrics are the series that this process reports, in three forms: Dropwizard's JSON with
// the names of the JVM versions, Prometheus text, and Graphite lines (in Dropwizard's names).
// Which series there are is fixed by newMetrics; only those of jobs come and go.
type metrics struct {
	started time.Time
	series  []series // those of one Prometheus family next to each other
	jobRuns *jobTable

	leader        gauge // 1 while this instance leads, else 0
	terms         counter
	termsLost     counter // ended other than by a stop of this process
	leaderChanges counter // changes of leader seen, whoever leads

	jobs, jobsDisabled, jobsInvalid gauge
	jobsAbsent                      gauge // without a success for too long
	runsSlow                        counter
	queueHigh, queueNormal          gauge // runs that wait
	queueAge                        gauge // seconds since the oldest of them was due
	runsActive                      gauge

	lateness    *timer // due until started
	turn        *timer // of the scheduler's loop
	runDuration *timer // started until ended
	runs        map[runState]*counter
	retries     counter

	clockBack, clockForward counter // how often the wall clock was set
	clockWaiting            gauge   // jobs that wait until it has caught up

	commit        *timer
	commitRecords *histogram // records per commit
	commitErrors  counter
	commitWaiting gauge // records that wait for the commit in flight
	storeRefuses  gauge // 1 while the file store takes no changes
	stateEmptied  gauge // 1 while this instance does not lead because the state is gone
	stateSetBack  counter

	zkConnected gauge
	zkSessions  counter
	zkLatency   *timer // one request and its answer

	mesosConnected   gauge
	mesosLastEvent   gauge // Unix time, seconds
	subscriptions    counter
	resubscriptions  counter // those after the first of a term
	offersReceived   counter
	offersDeclined   counter
	offersUsed       counter
	offersHeld       gauge
	reviveRequests   counter
	revives          counter
	suppresses       counter
	reconcileTasks   counter // explicit reconciliations, in tasks
	reconcileRounds  counter // implicit ones
	callErrors       counter // calls that the master refused or never got
	unknownUpdates   counter // updates for tasks that no run knows
	cassandraErrors  counter
	cassandraDropped counter
	schedulerStuck   gauge // 1 while the watchdog gets no answer
	tlsExpiry        gauge // Unix time at which the certificate served ends
	notices          map[string]map[noticeResult]*counter
	forwarded        counter // requests forwarded to the leader
	forwardErrors    counter
	http             httpSeries
	resourceCalls    map[string]*timer
	inputsSkipped    counter // events and records that were logged and skipped
}

// A series is one line, or one group of lines, of a report.
type series struct {
	name   string // in Prometheus; "" keeps it out
	help   string
	labels string // as rendered: result="failed"
	legacy string // in Dropwizard and Graphite; "" keeps it out
	value  any    // *counter, *level, *gauge, *meter, *histogram or *timer
}

// Bounds of buckets, in seconds except for recordBounds.
var (
	latencyBounds  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	latenessBounds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
	durationBounds = []float64{.1, .5, 1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400}
	recordBounds   = []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000}
)

const (
	queuePrefix    = "org.apache.mesos.chronos.scheduler.jobs.TaskManager."
	revivePrefix   = "org.apache.mesos.chronos.scheduler.mesos.MesosOfferReviver."
	resourcePrefix = "org.apache.mesos.chronos.scheduler.api."
)

// timedResources are the REST methods that the JVM versions time.
var timedResources = []string{
	"DependentJobResource.post", "DependentJobResource.put",
	"GraphManagementResource.dotGraph", "GraphManagementResource.jsonGraph",
	"Iso8601JobResource.post", "Iso8601JobResource.put",
	"JobManagementResource.delete", "JobManagementResource.list", "JobManagementResource.markJobSuccessful",
	"JobManagementResource.search", "JobManagementResource.trigger",
	"StatsResource.getPerf",
}

// newMetrics returns the series of a process of this version, all at zero.
func newMetrics(version string) *metrics {
	now := time.Now()
	m := &metrics{started: now, jobRuns: newJobTable(jobSeriesLimit)}
	m.addProcess(version)
	m.addLeadership()
	m.addScheduling(now)
	m.addStorage(now)
	m.addMesos()
	m.addNotices()
	m.addHTTP(now)
	m.addJVM()
	return m
}

func (m *metrics) add(name, legacy, help string, value any) {
	m.series = append(m.series, series{name: name, help: help, legacy: legacy, value: value})
}

func (m *metrics) addLabelled(name, labels, legacy, help string, value any) {
	m.series = append(m.series, series{name: name, labels: labels, help: help, legacy: legacy, value: value})
}

func (m *metrics) addProcess(version string) {
	one := &gauge{}
	one.set(1)
	m.addLabelled("chronos_build_info", `version="`+escapeLabel(version)+`",revision="`+escapeLabel(revision())+
		`",go="`+runtime.Version()+`"`, "", "Always 1; the labels say what this program was built from.", one)
	started := &gauge{}
	started.set(float64(m.started.UnixMilli()) / 1000)
	m.add("process_start_time_seconds", "", "When the process started, as Unix time.", started)
	goroutines, heap := &gauge{}, &gauge{}
	goroutines.from(func() float64 { return float64(runtime.NumGoroutine()) })
	heap.from(func() float64 { return runtimeSum(heapUsed) })
	m.add("go_goroutines", "chronos.goroutines", "Goroutines that exist now.", goroutines)
	m.add("go_memstats_heap_alloc_bytes", "chronos.heapBytes", "Bytes of heap in use.", heap)
	m.add("chronos_tls_certificate_expiry_timestamp_seconds", "", "When the served certificate ends, as Unix time; 0 without TLS.", &m.tlsExpiry)
}

// revision returns the version control revision that this program was built from.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

func (m *metrics) addLeadership() {
	m.add("chronos_leader", "chronos.leader", "1 while this instance leads, else 0.", &m.leader)
	m.add("chronos_terms_total", "chronos.terms", "Terms of leadership this instance has begun.", &m.terms)
	m.add("chronos_terms_lost_total", "chronos.termsLost", "Terms that ended other than by a stop of this instance.", &m.termsLost)
	m.add("chronos_leader_changes_total", "chronos.leaderChanges", "Changes of the leader that this instance has seen.", &m.leaderChanges)
}

func (m *metrics) addScheduling(now time.Time) {
	m.lateness, m.runDuration = newTimer(latenessBounds, now), newTimer(durationBounds, now)
	m.add("chronos_jobs", "chronos.jobs", "Jobs held, including disabled ones.", &m.jobs)
	m.add("chronos_jobs_without_success", "chronos.jobsWithoutSuccess", "Jobs that have not succeeded for longer than their alertWithoutSuccess.", &m.jobsAbsent)
	m.add("chronos_runs_slow_total", "chronos.run.slow", "Runs that took longer than their job's alertAfter.", &m.runsSlow)
	m.add("chronos_jobs_disabled", "chronos.jobsDisabled", "Jobs that are disabled.", &m.jobsDisabled)
	m.add("chronos_jobs_invalid", "chronos.jobsInvalid", "Stored jobs that were set aside because they can't be used.", &m.jobsInvalid)
	const queueHelp = "Runs that wait for their turn or an offer."
	m.addLabelled("chronos_queue_runs", `priority="high"`, queuePrefix+"highQueueSize", queueHelp, &m.queueHigh)
	m.addLabelled("chronos_queue_runs", `priority="normal"`, queuePrefix+"queueSize", queueHelp, &m.queueNormal)
	m.add("chronos_queue_oldest_age_seconds", "chronos.queueOldestAge", "Time since the oldest waiting run was due.", &m.queueAge)
	m.add("chronos_runs_active", "chronos.runsActive", "Runs that are launched and have not ended.", &m.runsActive)
	m.add("chronos_run_lateness_seconds", "chronos.run.lateness", "Time from the due time of a run to its start.", m.lateness)
	m.add("chronos_run_duration_seconds", "chronos.run.duration", "Time from the start of a run to its end.", m.runDuration)
	m.runs = map[runState]*counter{}
	for _, s := range []runState{runFinished, runFailed, runKilled, runLost, runMissed, runSkipped} {
		m.runs[s] = &counter{}
		m.addLabelled("chronos_runs_total", `result="`+string(s)+`"`, "chronos.runs."+string(s), "Runs that ended, by result; each attempt counts.", m.runs[s])
	}
	m.add("chronos_run_retries_total", "chronos.retries", "Attempts made after a failed one.", &m.retries)
	const stepsHelp = "How often the wall clock was set, as seen by the leader."
	m.addLabelled("chronos_clock_steps_total", `direction="back"`, "chronos.clock.back", stepsHelp, &m.clockBack)
	m.addLabelled("chronos_clock_steps_total", `direction="forward"`, "chronos.clock.forward", stepsHelp, &m.clockForward)
	m.add("chronos_clock_waiting_jobs", "chronos.clock.waitingJobs", "Jobs that wait until a clock that was set back has caught up with what they have done.", &m.clockWaiting)
	m.add("chronos_scheduler_stuck", "chronos.schedulerStuck", "1 while the scheduler of this instance does not answer, else 0.", &m.schedulerStuck)
	m.turn = newTimer(latencyBounds, now)
	m.add("chronos_scheduler_turn_duration_seconds", "chronos.scheduler.turn", "Duration of a turn of the scheduler.", m.turn)
	m.add("chronos_inputs_skipped_total", "chronos.inputsSkipped", "Events and stored records that were logged and skipped.", &m.inputsSkipped)
}

func (m *metrics) addStorage(now time.Time) {
	m.commit, m.zkLatency = newTimer(latencyBounds, now), newTimer(latencyBounds, now)
	m.commitRecords = newHistogram(recordBounds, now)
	m.add("chronos_store_commit_duration_seconds", "chronos.store.commit", "Time that a commit of state took.", m.commit)
	m.add("chronos_store_commit_records", "chronos.store.commitRecords", "Records in a commit.", m.commitRecords)
	m.add("chronos_store_errors_total", "chronos.store.errors", "Commits that failed.", &m.commitErrors)
	m.add("chronos_store_waiting_records", "chronos.store.waiting", "Records that wait for the commit in flight.", &m.commitWaiting)
	m.add("chronos_store_refuses", "chronos.store.refuses", "1 while no change can be stored in --data_dir, else 0.", &m.storeRefuses)
	m.add("chronos_state_emptied", "chronos.state.emptied", "1 while this instance does not lead because the state in ZooKeeper is gone, else 0.", &m.stateEmptied)
	m.add("chronos_state_set_back_total", "chronos.state.setBack", "How often a new leader found an older state in ZooKeeper than there had been before.", &m.stateSetBack)
	m.add("chronos_zookeeper_connected", "chronos.zookeeper.connected", "1 while there is a ZooKeeper session, else 0.", &m.zkConnected)
	m.add("chronos_zookeeper_sessions_total", "chronos.zookeeper.sessions", "ZooKeeper sessions begun.", &m.zkSessions)
	m.add("chronos_zookeeper_request_duration_seconds", "chronos.zookeeper.latency", "Time from a ZooKeeper request to its answer.", m.zkLatency)
	m.add("chronos_cassandra_dropped_total", "chronos.cassandra.dropped", "Statements for Cassandra that were given up.", &m.cassandraDropped)
	m.add("chronos_cassandra_errors_total", "chronos.cassandra.errors", "Statements that Cassandra did not carry out.", &m.cassandraErrors)
}

func (m *metrics) addMesos() {
	m.add("chronos_mesos_connected", "chronos.mesos.connected", "1 while subscribed to a Mesos master, or to this machine with --master local; else 0.", &m.mesosConnected)
	m.add("chronos_mesos_last_event_timestamp_seconds", "chronos.mesos.lastEvent", "When the last event came from Mesos, as Unix time.", &m.mesosLastEvent)
	m.add("chronos_mesos_subscriptions_total", "chronos.mesos.subscriptions", "Subscriptions that a Mesos master accepted.", &m.subscriptions)
	m.add("chronos_mesos_resubscriptions_total", "chronos.mesos.resubscriptions", "Subscriptions after the first of a term.", &m.resubscriptions)
	m.add("chronos_mesos_call_errors_total", "chronos.mesos.callErrors", "Calls that the master refused or did not get.", &m.callErrors)
	m.add("chronos_mesos_unknown_updates_total", "chronos.mesos.unknownUpdates", "Status updates for tasks that no run knows.", &m.unknownUpdates)
	m.add("chronos_offers_received_total", "chronos.offers.received", "Offers received.", &m.offersReceived)
	m.add("chronos_offers_declined_total", "chronos.offers.declined", "Offers declined.", &m.offersDeclined)
	m.add("chronos_offers_used_total", "chronos.offers.used", "Offers that tasks were launched on.", &m.offersUsed)
	m.add("chronos_offers_held", "chronos.offers.held", "Offers held for runs that are about to be due.", &m.offersHeld)
	m.add("chronos_revive_requests_total", revivePrefix+"reviveOffersRequestCount", "How often more offers were wanted.", &m.reviveRequests)
	m.add("chronos_revives_total", revivePrefix+"reviveOffersCount", "REVIVE calls made.", &m.revives)
	m.add("chronos_suppresses_total", "chronos.offers.suppresses", "SUPPRESS calls made.", &m.suppresses)
	m.add("chronos_reconciled_tasks_total", "chronos.mesos.reconciledTasks", "Tasks whose state was asked for explicitly.", &m.reconcileTasks)
	m.add("chronos_reconcile_rounds_total", "chronos.mesos.reconcileRounds", "Implicit reconciliations asked for.", &m.reconcileRounds)
}

// noticeResult is the outcome of a notice.
type noticeResult string

const (
	noticeSent    noticeResult = "sent"
	noticeFailed  noticeResult = "failed"  // given up
	noticeDropped noticeResult = "dropped" // never tried: too many were waiting
)

func (m *metrics) addNotices() {
	m.notices = map[string]map[noticeResult]*counter{}
	for _, client := range []string{clientMail, clientSentry, clientSlack, clientMattermost, clientHTTP, clientReceivers} {
		m.notices[client] = map[noticeResult]*counter{}
		for _, result := range []noticeResult{noticeSent, noticeFailed, noticeDropped} {
			c := &counter{}
			m.notices[client][result] = c
			m.addLabelled("chronos_notifications_total", `client="`+client+`",result="`+string(result)+`"`,
				"chronos.notifications."+client+"."+string(result), "Notices by client and outcome.", c)
		}
	}
}

// observe counts what happened to a job or a run. eventStarted comes once per run. An attempt that
// failed raises eventFailed; eventRetriesExhausted, or eventDisabled, follows if it was the last.
func (m *metrics) observe(e jobEvent) {
	switch e.Kind {
	case eventStarted:
		if e.Run != nil {
			m.lateness.observe(time.Duration(e.Run.sinceDue(e.Time.UnixMilli())) * time.Millisecond)
			if e.Run.Kind == kindRetry {
				m.retries.inc()
			}
		}
	case eventFinished:
		m.ended(e, runFinished)
		due := -1.0 // a job that was marked successful has no run time
		if e.Run != nil {
			due = float64(e.Run.sinceDue(e.Time.UnixMilli()))
		}
		m.jobRuns.succeeded(e.Job.Name, due)
	case eventFailed:
		m.ended(e, runFailed)
	case eventRetriesExhausted:
		m.jobRuns.failed(e.Job.Name)
	case eventDisabled:
		if e.Cause == causeFailures {
			m.jobRuns.failed(e.Job.Name)
		}
	case eventSlow:
		m.runsSlow.inc()
	case eventMissed:
		m.ended(e, runMissed)
	case eventSkipped:
		m.ended(e, runSkipped)
	case eventRemoved:
		m.jobRuns.drop(e.Job.Name)
	}
}

// ended counts a run that has ended, as result if the run itself doesn't say how.
func (m *metrics) ended(e jobEvent, result runState) {
	n := int64(1)
	if r := e.Run; r != nil {
		if m.runs[r.State] != nil {
			result = r.State
		}
		n = max(1, r.Count)
		if r.Started > 0 && e.Time.UnixMilli() >= r.Started {
			m.runDuration.observe(e.Time.Sub(time.UnixMilli(r.Started)))
		}
	}
	m.runs[result].add(n)
}

// clockSet counts a step of the wall clock, back if by is negative.
func (m *metrics) clockSet(by time.Duration) {
	if by < 0 {
		m.clockBack.inc()
		return
	}
	m.clockForward.inc()
}

// committed counts one commit of state.
func (m *metrics) committed(took time.Duration, records int, err error) {
	m.commit.observe(took)
	m.commitRecords.observe(float64(records))
	if err != nil {
		m.commitErrors.inc()
	}
}

// httpSeries are the numbers of the HTTP server, in the names of Jetty's handler.
type httpSeries struct {
	active level

	connections, memory gauge

	requests map[string]*counter // by method and class: "GET 2xx"
	all      *meter
	duration *timer
	methods  map[string]*timer
	classes  map[string]*meter
}

var (
	httpMethods = []string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "OTHER"}
	httpClasses = []string{"1xx", "2xx", "3xx", "4xx", "5xx"}
)

func (m *metrics) addHTTP(now time.Time) {
	const prefix = "org.eclipse.jetty.servlet.ServletContextHandler."
	h := &m.http
	h.requests, h.methods, h.classes = map[string]*counter{}, map[string]*timer{}, map[string]*meter{}
	h.all, h.duration = newMeter(now), newTimer(latencyBounds, now)
	m.add("", prefix+"requests", "", h.all)
	m.add("chronos_http_requests_active", prefix+"active-requests", "Requests that are being answered.", &h.active)
	m.add("chronos_http_connections", "chronos.http.connections", "Open client connections.", &h.connections)
	m.add("chronos_http_memory_bytes", "chronos.http.memory", "Memory taken by bodies and answers under way.", &h.memory)
	m.add("chronos_http_request_duration_seconds", prefix+"dispatches", "Time that a request took.", h.duration)
	for _, method := range httpMethods {
		for _, class := range httpClasses {
			c := &counter{}
			h.requests[method+" "+class] = c
			m.addLabelled("chronos_http_requests_total", `method="`+method+`",class="`+class+`"`, "", "Requests answered, by method and class of status.", c)
		}
		h.methods[method] = newTimer(latencyBounds, now)
		m.add("", prefix+strings.ToLower(method)+"-requests", "", h.methods[method])
	}
	for _, class := range httpClasses {
		h.classes[class] = newMeter(now)
		m.add("", prefix+class+"-responses", "", h.classes[class])
	}
	m.add("chronos_http_forwarded_requests_total", "chronos.http.forwarded", "Requests forwarded to the leader.", &m.forwarded)
	m.add("chronos_http_forward_errors_total", "chronos.http.forwardErrors", "Requests that could not be forwarded.", &m.forwardErrors)
	m.resourceCalls = map[string]*timer{}
	for _, name := range timedResources {
		m.resourceCalls[name] = newTimer(latencyBounds, now)
		m.add("", resourcePrefix+name, "", m.resourceCalls[name])
	}
}

// requestStarted counts a request as active; the function it returns counts it as done, with its status.
func (m *metrics) requestStarted(method string) func(status int) {
	start := time.Now()
	m.http.active.inc()
	return func(status int) {
		m.http.active.add(-1)
		m.request(method, status, time.Since(start))
	}
}

func (m *metrics) request(method string, status int, took time.Duration) {
	if m.http.methods[method] == nil {
		method = "OTHER"
	}
	class := strconv.Itoa(min(max(status/100, 1), 5)) + "xx"
	m.http.requests[method+" "+class].inc()
	m.http.all.mark()
	m.http.classes[class].mark()
	m.http.duration.observe(took)
	m.http.methods[method].observe(took)
}

// resourceCall times a REST method under its name in the JVM versions, such as
// "Iso8601JobResource.post". Names that they do not time are ignored.
func (m *metrics) resourceCall(name string, took time.Duration) {
	if t := m.resourceCalls[name]; t != nil {
		t.observe(took)
	}
}

// The clients, by the names that status and metrics show.
const (
	clientMail       = "mail"
	clientSentry     = "sentry"
	clientSlack      = "slack"
	clientMattermost = "mattermost"
	clientHTTP       = "http"
	clientReceivers  = "receivers"
)

// An observedCluster counts what passes between the scheduler and a cluster.
type observedCluster struct {
	cluster
	metrics *metrics
	last    atomic.Int64 // when the last event came, ms since the epoch; 0 before the first
}

func (o *observedCluster) run(ctx context.Context, frameworkID string, handle func(*sched.Event)) error {
	first := true // each call of run is a term, or the rest of one
	return o.cluster.run(ctx, frameworkID, func(e *sched.Event) {
		o.heard()
		if e.GetType() == sched.Event_SUBSCRIBED {
			o.metrics.subscriptions.inc()
			if !first {
				o.metrics.resubscriptions.inc()
			}
			first = false
		}
		handle(e)
	})
}

func (o *observedCluster) heard() { o.last.Store(time.Now().UnixMilli()) }

func (o *observedCluster) send(call *sched.Call, done func(error)) {
	switch call.GetType() {
	case sched.Call_SUPPRESS:
		o.metrics.suppresses.inc()
	case sched.Call_RECONCILE:
		if n := len(call.GetReconcile().GetTasks()); n > 0 {
			o.metrics.reconcileTasks.add(int64(n))
		} else {
			o.metrics.reconcileRounds.inc()
		}
	}
	o.cluster.send(call, done)
}

// mesosEvent counts an event from a Mesos master, including heartbeats.
func (o *observedCluster) mesosEvent(kind string) {
	if kind == eventUndecodable {
		o.metrics.inputsSkipped.inc()
	}
	o.heard()
	o.metrics.mesosLastEvent.set(float64(time.Now().UnixMilli()) / 1000)
}

// mesosCall counts a call to a Mesos master.
func (o *observedCluster) mesosCall(_ string, _ time.Duration, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		o.metrics.callErrors.inc()
	}
}

// eventUndecodable stands for the kind of an event that could not be read and was skipped.
const eventUndecodable = "undecodable"
