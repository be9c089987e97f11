package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// termPause is the wait before the next term, or the next ZooKeeper session, after one that failed.
	termPause = time.Second
	// jvmWrites is how long the second ZooKeeper session of a JVM version that led may still write.
	jvmWrites = 10 * time.Second
	// takenPause keeps an instance from standing again at once when another scheduler has taken its framework.
	takenPause = 15 * time.Second
)

// A seat is who leads, as this instance knows it, and the scheduler while that
// is this instance. It is safe for concurrent use.
type seat struct {
	id string // our own host:port

	mu      sync.Mutex
	sch     *scheduler
	leader  string // id of the instance that leads, or "" if none is known
	at      instance
	members []string // ids of the instances, as last seen
	changes chan struct{}
}

func newSeat(id string) *seat { return &seat{id: id, changes: make(chan struct{})} }

// current returns the scheduler while this instance leads and has loaded its state.
func (s *seat) current() *scheduler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sch
}

// known returns the leader's id and whether it is this instance.
func (s *seat) known() (id string, self bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader, s.leader == s.id
}

// locate returns where the instance of that id is reached.
func (s *seat) locate(id string) peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.leader {
		return peer{scheme: "http", host: id}
	}
	return s.at.peer(id)
}

// changed returns a channel that is closed at the next change.
func (s *seat) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

func (s *seat) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changes)
	s.changes = make(chan struct{})
}

func (s *seat) take(sch *scheduler) { s.update(func() { s.sch = sch }) }

// follow notes who leads.
func (s *seat) follow(id string, at instance) { s.update(func() { s.leader, s.at = id, at }) }

// gather notes which instances there are.
func (s *seat) gather(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = ids
}

// instances returns the ids of the instances, nil if there is but this one.
func (s *seat) instances() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members
}

// A leadership makes terms: it stands for election, and while it leads keeps one
// scheduler going on the store, loading it anew whenever something fails.
type leadership struct {
	seat    *seat
	cluster cluster
	config  schedulerConfig
	log     *slog.Logger
	metrics *metrics
	enter   func(termID) // told of each term before it begins; may be nil

	refused string // key of the record whose refusal ended the last term, "" for none
}

// onFile leads alone, on a store that nobody else has. It returns when ctx ends.
func (l *leadership) onFile(ctx context.Context, st store) {
	l.seat.follow(l.seat.id, instance{})
	for n := int64(1); ctx.Err() == nil; n++ {
		err := l.term(ctx, st, termID{number: n}, false)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRestored) {
			continue
		}
		l.log.Error("the state could not be kept; loading it anew", "error", err)
		rest(ctx, termPause)
	}
}

// zkOptions are where and how this instance stands for election.
type zkOptions struct {
	hosts   []string
	root    string // --zk_path, with the chroot
	timeout time.Duration
	auth    string
	self    instance
}

// onZooKeeper stands for election until ctx ends, and then gives way at once. It goes
// on telling the seat who leads until alive ends, so that requests under way
// find the successor.
func (l *leadership) onZooKeeper(ctx, alive context.Context, o zkOptions) {
	c := newCandidate(o.root+"/candidate", l.seat.id, l.log)
	for alive.Err() == nil {
		err := l.session(ctx, alive, c, o)
		if alive.Err() != nil {
			return
		}
		l.log.Warn("session ended", "error", err)
		rest(alive, termPause)
	}
}

// session is one ZooKeeper session: a candidacy, and the term it may lead to.
func (l *leadership) session(ctx, alive context.Context, c *candidate, o zkOptions) error {
	session, err := dialZK(alive, o.hosts, o.timeout, o.auth, l.log)
	if err != nil {
		return err
	}
	defer session.close()
	session.latency = l.metrics.zkLatency.observe
	l.metrics.zkSessions.inc()
	l.metrics.zkConnected.set(1)
	defer l.metrics.zkConnected.set(0)
	if err := register(session, o.root, l.seat.id, o.self); err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer session.close()
	watching.Go(func() {
		err := watchLeader(session.ctx, session, o.root, func(id string, at instance, problem error) {
			l.log.Info("leader", "id", id, "self", id == l.seat.id)
			if problem != nil {
				l.log.Warn("requests are forwarded to the leader over HTTP at its id", "id", id, "reason", problem)
			}
			l.metrics.leaderChanges.inc()
			l.seat.follow(id, at)
		})
		session.cancel(err)
	})
	watching.Go(func() { session.cancel(watchMembers(session.ctx, session, o.root, l.seat.gather)) })
	if ctx.Err() == nil {
		if err := l.candidacy(ctx, session, c, o); ctx.Err() == nil {
			return err
		}
	}
	if err := c.resign(session); err != nil {
		return err
	}
	<-session.ctx.Done()
	return context.Cause(session.ctx)
}

// candidacy waits for leadership and leads until the session or ctx ends.
func (l *leadership) candidacy(ctx context.Context, session *zkSession, c *candidate, o zkOptions) error {
	leading, stop := both(ctx, session.ctx)
	defer stop(nil)
	latch, afterJVM, err := c.campaign(leading, session)
	if err != nil {
		return err
	}
	l.log.Info("elected", "latch", latch, "afterJVM", afterJVM)
	if afterJVM && !rest(leading, jvmWrites) {
		return context.Cause(leading)
	}
	st, err := openZKStore(session, o.root, latch)
	if err != nil {
		return err
	}
	var holding sync.WaitGroup
	defer holding.Wait()
	holding.Go(func() {
		stop(fmt.Errorf("latch node: %w", errors.Join(c.hold(leading, session, latch), errNoLeader)))
	})
	err = l.term(leading, st, st.id(), afterJVM)
	for errors.Is(err, errRestored) {
		if st, err = openZKStore(session, o.root, latch); err == nil {
			err = l.term(leading, st, st.id(), false)
		}
	}
	stop(err)
	if errors.Is(err, errFrameworkTaken) && c.resign(session) == nil {
		rest(ctx, takenPause)
	}
	return err
}

// term loads the state and schedules until ctx ends or something fails.
func (l *leadership) term(ctx context.Context, st store, id termID, afterJVM bool) error {
	if l.enter != nil {
		l.enter(id)
	}
	cfg := l.config
	cfg.term, cfg.afterJVM = id.number, afterJVM
	s := newScheduler(cfg, st, l.cluster, l.log)
	if err := s.load(ctx); err != nil {
		return err
	}
	l.metrics.terms.inc()
	l.metrics.leader.set(1)
	l.seat.take(s)
	err := s.run(ctx)
	l.seat.take(nil)
	l.metrics.leader.set(0)
	l.metrics.offersHeld.set(0)
	if ctx.Err() == nil {
		l.metrics.termsLost.inc()
	}
	l.noteRefusal(err)
	return err
}

// noteRefusal remembers a record that the store has refused. The next term reads
// it again; if that one is refused the same, it is set aside, and the rest goes on.
func (l *leadership) noteRefusal(err error) {
	key, ok := refusedKey(err)
	if ok && l.refused == key {
		l.config.setAside[key] = err.Error()
	}
	l.refused = key
}
