package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// watchdogInterval is also how soon a loop that has nothing to do notices that the wall clock was set.
	watchdogInterval = 5 * time.Second
	// watchdogLimit is more than any healthy turn of the loop or commit takes: if ZooKeeper does not
	// answer, the term ends before that.
	watchdogLimit = 30 * time.Second
)

// A watchdog now and then hands the leading scheduler an empty request, and notices when
// that takes too long: the loop or the store is stuck. It can't free a goroutine that hangs; it
// reports in the log, a metric and /health, and whoever watches those restarts the process.
type watchdog struct {
	current func() *scheduler
	metrics *metrics
	log     *slog.Logger
	stuck   atomic.Int64 // since when, in ms since the epoch; 0 if it is not
}

// run checks until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	for rest(ctx, watchdogInterval) {
		if s := w.current(); s != nil {
			w.look(ctx, s)
		}
	}
}

// look returns when the scheduler has answered, or its term has ended.
func (w *watchdog) look(ctx context.Context, s *scheduler) {
	asked := time.Now()
	limited, cancel := context.WithTimeout(ctx, watchdogLimit)
	defer cancel()
	err := w.ask(limited, s)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return
	}
	w.stuck.Store(asked.UnixMilli())
	w.metrics.schedulerStuck.set(1)
	w.log.Error("the scheduler does not answer: its loop or its store is stuck", "for", watchdogLimit, "stacks", stacks())
	w.ask(ctx, s)
	w.stuck.Store(0)
	w.metrics.schedulerStuck.set(0)
	if ctx.Err() == nil {
		w.log.Warn("the scheduler answers again, or its term has ended", "after", time.Since(asked).Round(time.Millisecond))
	}
}

// ask hands the scheduler an empty request. Any answer will do, even that too much is waiting to be stored.
func (w *watchdog) ask(ctx context.Context, s *scheduler) error {
	return s.do(ctx, func() error { return nil })
}

// alive reports whether the scheduler answers, as far as is known.
func (w *watchdog) alive() bool { return w.stuck.Load() == 0 }

// stacks returns the stacks of all goroutines, to find out why one hangs.
func stacks() string {
	b := make([]byte, 256<<10)
	return string(b[:runtime.Stack(b, true)])
}

// The roles that an instance reports.
const (
	roleLeader   = "leader"
	roleLoading  = "loading" // leads, and reads its state
	roleFollower = "follower"
	roleWaiting  = "waiting" // knows of no leader
)

// A health is what GET /health reports, in the parts' own words.
type health struct {
	seat      *seat
	watchdog  *watchdog
	notifier  *notifier
	cassandra *cassandra       // nil without
	mesos     *mesosCluster    // nil without Mesos
	pods      *kubeCluster     // nil without Kubernetes
	cluster   *observedCluster // for the last event
	state     func() []string  // what is wrong with where the state is kept
	exposed   []string         // what jobs can read that they should not
	users     *usersFile       // nil without
	vault     *vault           // nil without
	zookeeper bool             // the state is in ZooKeeper
	connected func() bool      // to ZooKeeper
}

// A healthReport is the document of GET /health. It holds no secret.
type healthReport struct {
	Status     string           `json:"status"` // ok, degraded or failing
	Problems   []string         `json:"problems"`
	Warnings   []string         `json:"warnings,omitempty"` // that nothing can be done about while it runs so
	Instance   string           `json:"instance"`
	Version    string           `json:"version"`
	Role       string           `json:"role"`
	Leader     string           `json:"leader"` // "" for none
	Scheduler  *schedulerHealth `json:"scheduler,omitempty"`
	ZooKeeper  *zookeeperHealth `json:"zookeeper,omitempty"`
	Mesos      *mesosStatus     `json:"mesos,omitempty"`
	Kubernetes *kubeHealth      `json:"kubernetes,omitempty"`
	LastEvent  string           `json:"lastEvent,omitempty"` // of the cluster
	EventAge   *float64         `json:"lastEventAgeSeconds,omitempty"`
	Notices    []notifyStatus   `json:"notifications"`
	Cassandra  *cassandraStatus `json:"cassandra,omitempty"`
	StuckSince string           `json:"stuckSince,omitempty"`
}

type zookeeperHealth struct {
	Connected bool `json:"connected"`
}

// schedulerHealth is what only the leader knows.
type schedulerHealth struct {
	Alive      bool    `json:"alive"`
	Term       int64   `json:"term"`
	Subscribed bool    `json:"subscribed"`
	Jobs       int     `json:"jobs"`
	Invalid    int     `json:"invalidRecords"`
	Queued     int     `json:"queued"`
	OldestAge  float64 `json:"oldestQueuedAgeSeconds"`
	Active     int     `json:"active"`

	Clock *clockHealth `json:"clock,omitempty"` // once it was set in this term
}

// clockHealth reports changes of the wall clock.
type clockHealth struct {
	Steps   int      `json:"steps"` // in this term
	Last    string   `json:"lastStep,omitempty"`
	By      float64  `json:"lastStepSeconds"`   // less than 0: back
	Waiting int      `json:"waitingJobs"`       // until the clock has caught up with what they have done
	Names   []string `json:"waiting,omitempty"` // the first of them
	Until   string   `json:"waitingUntil,omitempty"`
}

// report returns how this instance is doing, and whether requests should be sent to it.
func (h *health) report(now time.Time) (healthReport, bool) {
	r := healthReport{Instance: h.seat.id, Version: version, Notices: h.notifier.status(), Problems: []string{}}
	r.Role, r.Leader = h.role()
	serves := r.Role == roleLeader || r.Role == roleFollower
	if !serves {
		r.Problems = append(r.Problems, map[string]string{roleLoading: "the state is being loaded", roleWaiting: "no leader is known"}[r.Role])
	}
	h.addScheduler(&r, now)
	if r.StuckSince != "" {
		serves = false
	}
	h.addState(&r)
	r.Warnings = h.exposed
	if h.users != nil {
		if p := h.users.problem(); p != "" {
			r.Problems = append(r.Problems, p)
		}
	}
	if p := h.vault.problem(); p != "" {
		r.Problems = append(r.Problems, p)
	}
	h.addCluster(&r, now)
	h.addReceivers(&r)
	switch {
	case !serves:
		r.Status = "failing"
	case len(r.Problems) > 0:
		r.Status = "degraded"
	default:
		r.Status = "ok"
	}
	return r, serves
}

func (h *health) role() (role, leader string) {
	leader, self := h.seat.known()
	switch {
	case h.seat.current() != nil:
		return roleLeader, cmp.Or(leader, h.seat.id)
	case self:
		return roleLoading, leader
	case leader != "":
		return roleFollower, leader
	}
	return roleWaiting, ""
}

// addScheduler reports on the term, if this instance leads, and on a stuck loop, even if the instance has just stopped leading.
func (h *health) addScheduler(r *healthReport, now time.Time) {
	if s := h.seat.current(); s != nil {
		v := s.view()
		r.Scheduler = &schedulerHealth{
			Alive: h.watchdog.alive(), Term: v.term, Subscribed: v.subscribed && s.refused() == nil, Jobs: v.len(), Invalid: len(v.invalid),
			Queued: v.queued, OldestAge: v.queueAge(now).Seconds(), Active: v.running,
		}
		h.addClock(r, v, now.UnixMilli())
		if !r.Scheduler.Subscribed {
			r.Problems = append(r.Problems, "not subscribed to the cluster: no run starts")
		}
		if len(v.invalid) > 0 {
			r.Problems = append(r.Problems, "stored records can't be used; see /scheduler/problems")
		}
	}
	if since := h.watchdog.stuck.Load(); since != 0 {
		r.StuckSince = instant(time.UnixMilli(since))
		r.Problems = append(r.Problems, "the scheduler does not answer")
	}
}

// addState reports on where the state is kept.
func (h *health) addState(r *healthReport) {
	known := h.state()
	r.Problems = append(r.Problems, known...)
	if !h.zookeeper {
		return
	}
	r.ZooKeeper = &zookeeperHealth{h.connected()}
	if !r.ZooKeeper.Connected && len(known) == 0 {
		r.Problems = append(r.Problems, "no ZooKeeper session")
	}
}

// addCluster reports on the Mesos master or the API server, and when the cluster was last heard of.
func (h *health) addCluster(r *healthReport, now time.Time) {
	if h.mesos != nil && r.Role == roleLeader {
		s := h.mesos.status()
		r.Mesos = &s
	}
	if h.pods != nil && r.Role == roleLeader {
		s := h.pods.status()
		r.Kubernetes = &s
		if s.Error != "" {
			r.Problems = append(r.Problems, "Kubernetes: "+s.Error)
		}
	}
	if last := h.cluster.last.Load(); last != 0 {
		age := max(0, now.Sub(time.UnixMilli(last)).Seconds())
		r.LastEvent, r.EventAge = instant(time.UnixMilli(last)), &age
	}
}

// addReceivers reports the receivers of notices and history that can't be reached.
func (h *health) addReceivers(r *healthReport) {
	for _, n := range r.Notices {
		if n.Failing {
			r.Problems = append(r.Problems, "notices via "+n.Client+" do not arrive")
		}
	}
	if h.cassandra == nil {
		return
	}
	s := h.cassandra.status()
	r.Cassandra = &s
	if s.LastError != "" && !s.Connected {
		r.Problems = append(r.Problems, "Cassandra can't be reached")
	}
}

// addClock reports steps of the clock for some time, and jobs that wait for the clock as long as they do.
func (h *health) addClock(r *healthReport, v *view, now int64) {
	n, names, until := v.waitingForClock(now)
	if v.clock.steps == 0 && n == 0 {
		return
	}
	c := &clockHealth{Steps: v.clock.steps, By: float64(v.clock.by) / 1000, Waiting: n, Names: names, Last: msText(v.clock.at), Until: msText(until)}
	r.Scheduler.Clock = c
	if since := now - v.clock.at; v.clock.steps > 0 && since < shownStep.Milliseconds() {
		r.Problems = append(r.Problems, v.clock.String())
	}
	if n > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d jobs wait until the clock has caught up with what they have done, at %s: %s", n, c.Until, strings.Join(names, ", ")))
	}
}

// ServeHTTP answers at once, whatever hangs: 200 if this instance can answer requests, itself or
// through the leader it knows, else 503.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
		return
	}
	report, serves := h.report(time.Now())
	w.Header().Set("Content-Type", typeJSON)
	if !serves {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w.Write(append(encode(report), '\n'))
}
