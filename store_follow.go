package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	// followPause is the least time between two looks at what the leader has changed.
	followPause = 500 * time.Millisecond
	// followShare is how many times as long as a look took the pause after it is, so that a follower leaves ZooKeeper
	// to the leader when very much changes.
	followShare = 4
	// followWait is how long a new leader waits for its follower to have time for it.
	followWait = 2 * time.Second
	// followRetry is the pause after a connection was lost.
	followRetry = 5 * time.Second
)

// A zkFollower keeps the records of a state in the memory of an instance that does not lead yet, so that taking over does not begin
// with reading everything. A watch of the folders with all that is in them, which sees what anybody writes, says what is to be read
// again. It needs ZooKeeper 3.6; with an older one there is nothing to hand over.
type zkFollower struct {
	session  *zkSession
	root     string
	jobs     *preparation
	log      *slog.Logger
	known    atomic.Int64 // how many records it has, 0 until it has them all
	requests chan chan<- *zkRecords
	unwanted chan struct{} // closed when nobody wants the records any more
	over     chan struct{} // closed when it follows no longer
}

func newZKFollower(session *zkSession, root string, jobs *preparation, log *slog.Logger) *zkFollower {
	return &zkFollower{
		session: session, root: root, jobs: jobs, log: log,
		requests: make(chan chan<- *zkRecords), unwanted: make(chan struct{}), over: make(chan struct{}),
	}
}

// handOver ends the following, and is called once. It returns the records with all that had been written before the call, nil if they are
// not all known in time: it does not wait for the first reading of everything. The jobs belong to the caller then.
func (f *zkFollower) handOver(ctx context.Context) *zkRecords {
	defer close(f.unwanted)
	late := time.NewTimer(followWait)
	defer late.Stop()
	answer := make(chan *zkRecords, 1)
	select {
	case f.requests <- answer:
	case <-f.over:
		return nil
	case <-late.C:
		return nil
	case <-ctx.Done():
		return nil
	}
	select {
	case state := <-answer:
		return state
	case <-f.over: // it has failed, or was faster
	}
	select {
	case state := <-answer:
		return state
	default:
		return nil
	}
}

// run follows until ctx ends or nobody wants the records any more.
func (f *zkFollower) run(ctx context.Context) {
	defer close(f.over)
	for ctx.Err() == nil {
		handed, err := f.follow(ctx)
		if handed {
			return
		}
		f.known.Store(0)
		f.jobs.clear()
		f.log.Debug("the state can't be followed; whoever takes over reads it", "error", err)
		retry := time.After(followRetry)
		if errors.Is(err, errOldServer) {
			retry = nil
		}
		select {
		case answer := <-f.requests:
			answer <- nil
			return
		case <-f.unwanted:
			return
		case <-ctx.Done():
		case <-retry:
		}
	}
}

// follow reads the state and keeps it up to date until somebody asks for it.
func (f *zkFollower) follow(ctx context.Context) (handed bool, err error) {
	wire, err := openZKWire(ctx, f.session)
	if err != nil {
		return false, err
	}
	defer wire.close()
	l := &following{zkFollower: f, wire: wire, events: map[string]zkEvent{}}
	wire.changed = func(node string, e zkEvent) {
		if key := keyOf(f.root, node); key != "" {
			l.events[key] = e
		}
	}
	if handed, err := l.begin(ctx); handed || err != nil {
		return handed, err
	}
	f.log.Info("knows the leader's state, and follows it", "records", len(l.state.versions))
	for {
		start := time.Now()
		if err := l.catchUp(ctx); err != nil {
			return false, err
		}
		f.known.Store(int64(len(l.state.versions)))
		next := time.NewTimer(min(max(followPause, followShare*time.Since(start)), f.session.timeout/3))
		select {
		case answer := <-f.requests:
			next.Stop()
			err := l.catchUp(ctx)
			if err == nil {
				err = l.complete(ctx)
			}
			if err != nil {
				answer <- nil
				return false, err
			}
			answer <- l.state
			return true, nil
		case <-f.unwanted:
			next.Stop()
			return true, nil
		case <-ctx.Done():
			next.Stop()
			return false, ctx.Err()
		case <-next.C:
		}
	}
}

// A following is what is known through one connection with its watches.
type following struct {
	*zkFollower
	wire   *zkWire
	state  *zkRecords
	events map[string]zkEvent // the last one of each key, since it was read
}

// begin reads everything. Whoever asks for the state meanwhile does not get it.
func (l *following) begin(ctx context.Context) (handed bool, err error) {
	for _, folder := range []string{"/state", "/go"} {
		if err := l.wire.watch(l.root+folder, l.session.timeout); err != nil {
			return false, err
		}
	}
	state, keys, err := listRecords(l.session, l.root)
	if err != nil {
		return false, err
	}
	l.state = state
	for ; len(keys) > 0; keys = keys[min(len(keys), readBatch):] {
		select {
		case answer := <-l.requests:
			answer <- nil
			return true, nil
		case <-l.unwanted:
			return true, nil
		default:
		}
		if err := l.read(ctx, keys[:min(len(keys), readBatch)]); err != nil {
			return false, err
		}
	}
	return false, nil
}

// catchUp takes in what has changed up to now.
func (l *following) catchUp(ctx context.Context) error {
	if err := l.wire.sync(l.root, l.session.timeout); err != nil {
		return err
	}
	var gone, changed []string
	for key, e := range l.events {
		kind := kindOf(key)
		switch {
		case kind != "" && key == "go/"+kind+"/":
			l.state.kinds[kind] = e != zkDeleted
		case e == zkDeleted:
			l.state.drop(key)
			gone = append(gone, key)
		case onDemand(key):
			l.state.versions[key] = anyVersion
		default:
			changed = append(changed, key)
		}
	}
	clear(l.events)
	l.jobs.update(gone, l.state.records)
	return l.read(ctx, changed)
}

// complete finds what no event tells of: nodes that this instance may not read. They show in the number of nodes of their folder.
func (l *following) complete(ctx context.Context) error {
	known := map[string]int{}
	var keys []string
	for key := range l.state.versions {
		known[kindOf(key)]++
	}
	for key, err := range l.state.unread {
		if errors.Is(err, zk.ErrNoAuth) {
			known[kindOf(key)]++
			keys = append(keys, key) // it may have been opened since
		}
	}
	known[""] += l.state.strange
	for _, kind := range append(slices.Collect(maps.Keys(l.state.kinds)), "") {
		exists, folder, err := l.session.Exists(folderOf(l.root, kind))
		switch {
		case err != nil:
			return err
		case exists && int(folder.NumChildren) != known[kind]:
			missing, err := l.compare(kind)
			if err != nil {
				return err
			}
			keys = append(keys, missing...)
		}
	}
	return l.read(ctx, keys)
}

// compare drops the records of a kind whose nodes are gone, and returns the keys of those that are not known.
func (l *following) compare(kind string) (missing []string, err error) {
	listed, _, err := listFolder(l.session, l.root, kind)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, key := range listed {
		there[key] = true
		if _, known := l.state.versions[key]; !known {
			missing = append(missing, key)
		}
	}
	var gone []string
	for key := range l.state.versions {
		if kindOf(key) == kind && !there[key] {
			l.state.drop(key)
			gone = append(gone, key)
		}
	}
	l.jobs.update(gone, l.state.records)
	return l.state.leaveForLater(missing), nil
}

// read reads nodes and decodes the jobs that they belong to.
func (l *following) read(ctx context.Context, keys []string) error {
	nodes, err := l.wire.readAll(ctx, l.root, keys, l.session)
	if err != nil {
		return err
	}
	for i, key := range keys {
		if err := l.state.put(key, nodes[i]); err != nil {
			return err
		}
	}
	l.jobs.update(keys, l.state.records)
	return nil
}
