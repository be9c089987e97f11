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

// A seat holds who leads, as far as this instance knows, and the scheduler while
// this instance leads. It is safe for concurrent use.
type seat struct {
	id string // our own host:port

	mu      sync.Mutex
	sch     *scheduler
	leader  string // id of the instance that leads, or "" if none is known
	at      instance
	members []string // ids of the instances, as last seen
	peers   map[string]instance
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

// locate returns where to reach the instance with that id.
func (s *seat) locate(id string) peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.leader {
		return s.peers[id].peer(id)
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

// follow records who leads.
func (s *seat) follow(id string, at instance) { s.update(func() { s.leader, s.at = id, at }) }

// leave records that this instance no longer leads, if it did.
func (s *seat) leave() {
	s.update(func() {
		if s.leader == s.id {
			s.leader, s.at = "", instance{}
		}
	})
}

// gather records which instances there are, and how to reach them.
func (s *seat) gather(ids []string, peers map[string]instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members, s.peers = ids, peers
}

// instances returns the ids of the instances, nil if there is only this one.
func (s *seat) instances() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members
}

// A leadership runs terms: it stands for election, and while it leads keeps one
// scheduler going on the store, loading it again whenever something fails.
type leadership struct {
	seat        *seat
	cluster     cluster
	config      schedulerConfig
	log         *slog.Logger
	metrics     *metrics
	enter       func(termID)  // called before each term begins; may be nil
	lastTerm    func() termID // returns the last one that the cluster knows; may be nil
	acceptEmpty string        // the state that may be gone: --accept_empty_state

	refused string // key of the record whose refusal ended the last term, "" for none

	// Only with ZooKeeper.
	candidate *candidate
	ensemble  *zkEnsemble
	memory    recollection
	unserved  trouble
	emptied   trouble
	strangers trouble
	remarks   remarks

	mu     sync.Mutex
	office *zkSession // of the term, nil while this instance does not lead
}

func newLeadership(at *seat, cl cluster, config schedulerConfig, log *slog.Logger, m *metrics) *leadership {
	return &leadership{
		seat: at, cluster: cl, config: config, log: log, metrics: m,
		unserved:  trouble{what: "ZooKeeper does not serve", over: "ZooKeeper serves again"},
		strangers: trouble{what: "not all instances have the same options of access", over: "all instances have the same options of access"},
		emptied:   trouble{what: "the state in ZooKeeper has been emptied", over: "there is a state in ZooKeeper that this instance may lead"},
	}
}

// handOver prepares the end of this instance's leadership, if it leads and a JVM version is next. It
// takes little longer than limit.
func (l *leadership) handOver(limit time.Duration) {
	l.mu.Lock()
	session := l.office
	l.mu.Unlock()
	s := l.seat.current()
	if limit <= 0 || session == nil || s == nil {
		return
	}
	if heir, err := l.candidate.heir(session); err != nil || !madeByJVM(heir) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.handOver(ctx)
}

// enterOffice records the session of a term, nil for its end.
func (l *leadership) enterOffice(session *zkSession) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.office = session
}

// A localStore is a store that no other instance has. If a commit fails, nobody else can do better.
type localStore interface {
	store
	// ready returns why a commit would fail, nil if one may be tried.
	ready() error
}

// onFile leads alone, on a store that nobody else has. It returns when ctx ends.
func (l *leadership) onFile(ctx context.Context, st localStore) {
	l.seat.follow(l.seat.id, instance{})
	for n := int64(1); ctx.Err() == nil; n++ {
		s, err := l.term(ctx, st, termID{number: n}, nil)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRestored) {
			continue
		}
		l.log.Error("the state could not be stored; loading it again", "error", err)
		l.standStill(ctx, st, s)
		rest(ctx, termPause)
	}
}

// standStill waits until the store accepts changes. Meanwhile readers are served from s, what the ended
// term has left, nil for nothing, and changes are refused with the reason.
func (l *leadership) standStill(ctx context.Context, st localStore, s *scheduler) {
	why := st.ready()
	if why == nil || s == nil {
		return
	}
	s.refuse(why)
	l.seat.take(s)
	for why != nil && rest(ctx, termPause) {
		if why = st.ready(); why != nil {
			s.refuse(why)
		}
	}
	l.seat.take(nil)
}

// zkOptions say where and how this instance stands for election.
type zkOptions struct {
	hosts   []string
	root    string // --zk_path, with the chroot
	timeout time.Duration
	auth    string
	self    instance
}

// onZooKeeper stands for election until ctx ends, and then gives way at once. It keeps
// telling the seat who leads until alive ends, so that requests under way
// find the successor.
func (l *leadership) onZooKeeper(ctx, alive context.Context, o zkOptions) {
	l.candidate = newCandidate(o.root+"/candidate", l.seat.id, l.log)
	l.ensemble = newZKEnsemble(o.hosts, o.timeout, o.auth, l.log)
	l.ensemble.told = true
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { unbroken(alive, l.log, "watch of ZooKeeper", l.watchEnsemble) })
	for alive.Err() == nil {
		err := guarded(l.log, "session", func() error { return l.session(ctx, alive, o) })
		l.seat.leave()
		if alive.Err() != nil {
			return
		}
		l.log.Warn("session ended", "error", err)
		rest(alive, termPause)
	}
}

// session runs one ZooKeeper session: a candidacy, and the term it may lead to.
func (l *leadership) session(ctx, alive context.Context, o zkOptions) error {
	session, err := l.ensemble.dial(alive)
	if err != nil {
		return err
	}
	defer session.close()
	session.latency = l.metrics.zkLatency.observe
	l.metrics.zkSessions.inc()
	l.metrics.zkConnected.set(1)
	defer l.metrics.zkConnected.set(0)
	if err := l.awaitState(ctx, session, o.root); err != nil {
		return err
	}
	if err := register(session, o.root, l.seat.id, o.self); err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer session.close()
	begin(&watching, l.log, "watch of the leader", session.cancel, func() {
		err := watchLeader(session.ctx, session, o.root, func(id string, at instance, problem error) {
			l.log.Info("leader", "id", id, "self", id == l.seat.id)
			if problem != nil {
				l.log.Warn("forwarding requests to the leader over HTTP at its id", "id", id, "reason", problem)
			}
			l.metrics.leaderChanges.inc()
			l.seat.follow(id, at)
		})
		session.cancel(err)
	})
	begin(&watching, l.log, "watch of the instances", session.cancel, func() {
		session.cancel(watchMembers(session.ctx, session, o.root, func(ids []string) {
			peers := lookUpInstances(session, o.root, ids)
			l.seat.gather(ids, peers)
			if session.ctx.Err() == nil {
				l.compareAccess(o.self, ids, peers)
			}
		}))
	})
	begin(&watching, l.log, "pulse", session.cancel, func() { session.cancel(l.pulse(session, o.root)) })
	if ctx.Err() == nil {
		if err := l.candidacy(ctx, session, o); ctx.Err() == nil {
			return err
		}
	}
	if err := l.candidate.resign(session); err != nil {
		return err
	}
	<-session.ctx.Done()
	return context.Cause(session.ctx)
}

// candidacy waits for leadership and leads until the session or ctx ends.
func (l *leadership) candidacy(ctx context.Context, session *zkSession, o zkOptions) error {
	c := l.candidate
	var following sync.WaitGroup
	defer following.Wait()
	leading, stop := both(ctx, session.ctx)
	defer stop(nil)
	var follower *zkFollower
	latch, afterJVM, err := c.campaign(leading, session, func() {
		if follower == nil {
			follower = newZKFollower(session, o.root, newPreparation(l.config), l.log)
			begin(&following, l.log, "following of the state", stop, func() { follower.run(leading) })
		}
	})
	if err != nil {
		return err
	}
	l.log.Info("elected", "latch", latch, "afterJVM", afterJVM)
	if afterJVM && !rest(leading, jvmWrites) {
		return context.Cause(leading)
	}
	st, err := l.openStore(session, o.root, latch)
	if err != nil {
		return err
	}
	st.follower = follower
	if st.copied {
		l.log.Warn("the state was copied from another tree, so it is unknown whether another version has led since this one last did", "node", st.path("go/term"))
	}
	l.enterOffice(session)
	defer l.enterOffice(nil)
	var holding sync.WaitGroup
	defer holding.Wait()
	begin(&holding, l.log, "hold of the latch", stop, func() {
		stop(fmt.Errorf("latch node: %w", errors.Join(c.hold(leading, session, latch), errNoLeader)))
	})
	err = l.lead(leading, st)
	for errors.Is(err, errRestored) {
		if st, err = l.openStore(session, o.root, latch); err == nil {
			err = l.lead(leading, st)
		}
	}
	stop(err)
	if errors.Is(err, errFrameworkTaken) && c.resign(session) == nil {
		rest(ctx, takenPause)
	}
	return err
}

// lead runs a term on ZooKeeper.
func (l *leadership) lead(ctx context.Context, st *zkStore) error {
	confirmed := false
	_, err := l.term(ctx, st, st.id(), func(s *scheduler) error {
		err := l.confirm(st, s)
		confirmed = err == nil
		return err
	})
	if confirmed {
		l.memory.keep(st.mark())
	}
	return err
}

// openStore opens the store of a new term, unless the state is gone.
func (l *leadership) openStore(session *zkSession, root, latch string) (*zkStore, error) {
	above, err := l.enterState(session, root)
	if err != nil {
		return nil, err
	}
	return openZKStore(session, root, latch, above)
}

// term loads the state and schedules until ctx ends or something fails. It returns the scheduler, with
// what was stored last, or nil if the state could not be loaded, or if loaded, which may be nil, returns an error.
func (l *leadership) term(ctx context.Context, st store, id termID, loaded func(*scheduler) error) (*scheduler, error) {
	if l.enter != nil {
		l.enter(id)
	}
	cfg := l.config
	cfg.term = id.number
	s := newScheduler(cfg, st, l.cluster, l.log)
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	if loaded != nil {
		if err := loaded(s); err != nil {
			return nil, err
		}
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
	return s, err
}

// noteRefusal remembers a record that the store has refused. The next term reads
// it again; if it is refused again, it is set aside, and the rest goes on.
func (l *leadership) noteRefusal(err error) {
	key, ok := refusedKey(err)
	if ok && l.refused == key {
		l.config.setAside[key] = err.Error()
	}
	l.refused = key
}
