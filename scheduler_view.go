package main

import (
	"hash/maphash"
	"iter"
	"maps"
	"sync/atomic"
	"time"
)

// A view is an immutable picture of a leader's state, for readers that must
// not wait for the scheduler's loop. It shows only what has been stored.
type view struct {
	chunks  []*viewChunk // by slot, which is the order of creation
	index   *viewIndex
	count   int
	invalid []invalidRecord

	disabled int // of count

	queued, queuedHigh, running int
	oldestQueued                int64 // ms since the epoch; 0 when nothing waits
	term                        int64
	number                      int64 // of the view within the term
	subscribed                  bool
}

// A jobView is one job as readers see it. It never changes.
type jobView struct {
	job      *Job
	slot     int
	runs     []*Run    // open, oldest first
	history  []*Run    // ended, newest first
	next     time.Time // next occurrence; zero if there is none
	problem  string    // why it cannot be scheduled, or ""
	parents  []string
	children []string
	missed   int64 // occurrences missed since the job was made

	rowJSON atomic.Pointer[[]byte] // as JSON for a table, once asked for
	lists   *lists
}

// lists are the JSON of a job's document as each dialect lists it, once asked for. All
// pictures of the job share them for as long as it has that document.
type lists [2]atomic.Pointer[[]byte]

// An invalidRecord is a stored record that cannot be used. It is kept as it is.
type invalidRecord struct{ key, reason string }

const (
	viewChunkSize   = 256
	viewIndexShards = 256
)

type viewChunk [viewChunkSize]*jobView

type viewIndex struct {
	seed   maphash.Seed
	shards [viewIndexShards]map[string]int
}

func newView() *view {
	return &view{index: &viewIndex{seed: maphash.MakeSeed()}}
}

func (x *viewIndex) shard(name string) int {
	return int(maphash.String(x.seed, name) % viewIndexShards)
}

// all yields the jobs in the order of their creation.
func (v *view) all() iter.Seq[*jobView] {
	return func(yield func(*jobView) bool) {
		for _, c := range v.chunks {
			for _, j := range c {
				if j != nil && !yield(j) {
					return
				}
			}
		}
	}
}

// job returns the job of that name, or nil.
func (v *view) job(name string) *jobView {
	slot, ok := v.index.shards[v.index.shard(name)][name]
	if !ok {
		return nil
	}
	return v.chunks[slot/viewChunkSize][slot%viewChunkSize]
}

// len returns the number of jobs.
func (v *view) len() int { return v.count }

// edges yields every dependency, parent first, children in creation order.
func (v *view) edges() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for j := range v.all() {
			for _, p := range j.parents {
				if !yield(p, j.job.Name) {
					return
				}
			}
		}
	}
}

// state returns idle, queued or running, and the number of runs going on.
// A job that runs and is queued too counts as running, as in every version.
func (j *jobView) state() (string, int) {
	running, queued := 0, false
	for _, r := range j.runs {
		switch r.State {
		case runLaunching, runActive, runAwaiting:
			running++
		case runQueued:
			queued = true
		}
	}
	switch {
	case running > 0:
		return "running", running
	case queued:
		return "queued", 0
	}
	return "idle", 0
}

// A viewChange is what one event altered: jobs that are new or different, and
// the slots of jobs that are gone.
type viewChange struct {
	set   []*jobView
	clear []*jobView
}

// with returns a view that has the changes applied. It copies only the chunks
// and index shards they touch, so that its cost follows what changed and not
// what is held.
func (v *view) with(changes []viewChange) *view {
	next := *v
	next.number++
	e := viewEdit{view: &next, owned: map[int]bool{}, ownedShards: map[int]bool{}}
	for _, c := range changes {
		for _, j := range c.clear {
			e.clear(j)
		}
		for _, j := range c.set {
			e.set(j)
		}
	}
	return &next
}

// A viewEdit remembers what it has copied already.
type viewEdit struct {
	view        *view
	owned       map[int]bool
	ownedShards map[int]bool
	ownsTable   bool
}

func (e *viewEdit) chunk(n int) *viewChunk {
	if !e.ownsTable {
		e.view.chunks = append(make([]*viewChunk, 0, max(n+1, len(e.view.chunks))), e.view.chunks...)
		e.ownsTable = true
	}
	for len(e.view.chunks) <= n {
		e.owned[len(e.view.chunks)] = true
		e.view.chunks = append(e.view.chunks, &viewChunk{})
	}
	if !e.owned[n] {
		c := *e.view.chunks[n]
		e.view.chunks[n] = &c
		e.owned[n] = true
	}
	return e.view.chunks[n]
}

func (e *viewEdit) names(name string) map[string]int {
	if len(e.ownedShards) == 0 {
		index := *e.view.index
		e.view.index = &index
	}
	n := e.view.index.shard(name)
	if !e.ownedShards[n] {
		shard := maps.Clone(e.view.index.shards[n])
		if shard == nil {
			shard = map[string]int{}
		}
		e.view.index.shards[n] = shard
		e.ownedShards[n] = true
	}
	return e.view.index.shards[n]
}

func (e *viewEdit) set(j *jobView) {
	cell := &e.chunk(j.slot / viewChunkSize)[j.slot%viewChunkSize]
	if *cell == nil {
		e.names(j.job.Name)[j.job.Name] = j.slot
		e.view.count++
	} else {
		e.view.disabled -= asDisabled(*cell)
	}
	*cell = j
	e.view.disabled += asDisabled(j)
}

func (e *viewEdit) clear(j *jobView) {
	cell := &e.chunk(j.slot / viewChunkSize)[j.slot%viewChunkSize]
	if *cell == nil {
		return
	}
	e.view.disabled -= asDisabled(*cell)
	*cell = nil
	e.view.count--
	names := e.names(j.job.Name)
	if names[j.job.Name] == j.slot {
		delete(names, j.job.Name)
	}
}

func asDisabled(j *jobView) int {
	if j.job.Disabled {
		return 1
	}
	return 0
}

// changed returns a channel that is closed at the next publication of a view. It must be
// asked for before the view.
func (s *scheduler) changed() <-chan struct{} {
	for {
		if c := s.watch.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		if s.watch.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

// queueAge is how long the oldest waiting run has waited.
func (v *view) queueAge(now time.Time) time.Duration {
	if v.oldestQueued == 0 {
		return 0
	}
	return max(0, now.Sub(time.UnixMilli(v.oldestQueued)))
}
