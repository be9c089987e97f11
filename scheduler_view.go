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
	slots   int // given out, including those of jobs that are gone
	layout  int // how often the slots have been reassigned
	count   int
	invalid []invalidRecord
	clock   clockReport

	archived []segment            // of ended runs, oldest first
	acts     [actKinds][]shownAct // oldest first

	disabled int // of count
	absent   int // of count

	queued, queuedHigh, running int
	oldestQueued                int64 // ms since the epoch; 0 when nothing waits
	term                        int64
	number                      int64 // of the view within the term
	subscribed                  bool
}

// A jobView is one job as readers see it. It never changes.
type jobView struct {
	job      *Job
	seq      int64     // order of creation
	runs     []*Run    // open, oldest first
	history  []*Run    // ended, newest first
	sched    Schedule  // as it is followed; without occurrences if it is not
	handled  int64     // its latest instant that was made due, in ms; none up to there will be made due
	next     time.Time // the next occurrence of sched; zero if there is none left
	problem  string    // why it cannot be scheduled, or ""
	notice   string    // what a leader has done to it on its own initiative, or ""
	parents  []string
	children []string
	missed   int64      // occurrences missed since the job was created
	posted   string     // the schedule as posted
	owned    *ownership // of a job that is kept in files, or nil
	bars     barring
	backfill *backfill
	absent   bool  // it has not succeeded for too long
	paused   int64 // until when, in ms; 0 if it is not

	rowJSON atomic.Pointer[[]byte] // as JSON for a table, once asked for
	lists   *lists
}

// lists are the JSON of a job's document as each dialect lists it, once asked for. All
// pictures of the job share them as long as it has that document.
type lists struct {
	of   *Job
	made [2]atomic.Pointer[[]byte] // by dialect
}

// An invalidRecord is a stored record that cannot be used. It is kept as it is.
type invalidRecord struct{ key, reason string }

const (
	viewChunkSize   = 256
	viewIndexShards = 256
)

type viewChunk struct {
	jobs       [viewChunkSize]*jobView
	searchable *chunkPieces
}

func newViewChunk() *viewChunk { return &viewChunk{searchable: new(chunkPieces)} }

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
			for _, j := range c.jobs {
				if j != nil && !yield(j) {
					return
				}
			}
		}
	}
}

// slot returns the slot of the job of that name, if there is one.
func (v *view) slot(name string) (int, bool) {
	slot, ok := v.index.shards[v.index.shard(name)][name]
	return slot, ok
}

// job returns the job of that name, or nil.
func (v *view) job(name string) *jobView {
	slot, ok := v.slot(name)
	if !ok {
		return nil
	}
	return v.chunks[slot/viewChunkSize].jobs[slot%viewChunkSize]
}

// newer reports whether the view shows a later state than another one of its term.
func (v *view) newer(other *view) bool { return v.term == other.term && v.number > other.number }

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

// state returns idle, queued or running, and the number of runs under way.
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

// A viewChange is what one event has changed: the names of jobs that are gone, and the jobs
// that are different or new, the latter in the order of their creation.
type viewChange struct {
	clear     []string
	set       []*jobView
	acts      []shownAct
	forgotten [actKinds]int // of the oldest acts, how many are
}

// with returns a view that has the changes applied. It copies only the chunks
// and index shards they touch, so that its cost follows what changed and not
// what is held.
func (v *view) with(changes []viewChange) *view {
	next := *v
	next.number++
	e := viewEdit{view: &next, owned: map[int]bool{}, ownedShards: map[int]bool{}}
	for _, c := range changes {
		for _, name := range c.clear {
			e.clear(name)
		}
		for _, j := range c.set {
			e.set(j)
		}
		next.withActs(&c)
	}
	if next.slots > 2*next.count+4*viewChunkSize {
		next.compact()
	}
	return &next
}

// compact reassigns the slots, in the same order: those of jobs that are gone would
// otherwise burden every reader and every change until the term ends.
func (v *view) compact() {
	old := *v
	v.chunks, v.slots, v.index = nil, 0, &viewIndex{seed: old.index.seed}
	v.layout++
	for j := range old.all() {
		n, name := v.slots, j.job.Name
		if n%viewChunkSize == 0 {
			v.chunks = append(v.chunks, newViewChunk())
		}
		v.chunks[n/viewChunkSize].jobs[n%viewChunkSize] = j
		shard := &v.index.shards[v.index.shard(name)]
		if *shard == nil {
			*shard = map[string]int{}
		}
		(*shard)[name] = n
		v.slots++
	}
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
		e.view.chunks = append(e.view.chunks, newViewChunk())
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
	slot, known := e.view.slot(j.job.Name)
	if !known {
		slot = e.view.slots
		e.view.slots++
		e.view.count++
		e.names(j.job.Name)[j.job.Name] = slot
	}
	chunk := e.chunk(slot / viewChunkSize)
	cell := &chunk.jobs[slot%viewChunkSize]
	if *cell == nil || (*cell).job != j.job && ((*cell).job.Name != j.job.Name || (*cell).job.Command != j.job.Command) {
		chunk.searchable = new(chunkPieces)
	}
	if known {
		e.view.disabled -= asDisabled(*cell)
		e.view.absent -= asAbsent(*cell)
	}
	*cell = j
	e.view.disabled += asDisabled(j)
	e.view.absent += asAbsent(j)
}

func (e *viewEdit) clear(name string) {
	slot, known := e.view.slot(name)
	if !known {
		return
	}
	cell := &e.chunk(slot / viewChunkSize).jobs[slot%viewChunkSize]
	e.view.disabled -= asDisabled(*cell)
	e.view.absent -= asAbsent(*cell)
	*cell = nil
	e.view.count--
	delete(e.names(name), name)
}

func asDisabled(j *jobView) int {
	if j.job.Disabled {
		return 1
	}
	return 0
}

func asAbsent(j *jobView) int {
	if j.absent {
		return 1
	}
	return 0
}

// changed returns a channel that is closed at the next publication of a view. It must be
// called before view.
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

// since returns what differs from an earlier view of the same term. Its cost follows
// what has changed, plus a pointer for every 256 jobs, unless slots were reassigned in between.
func (v *view) since(old *view) (changed []*jobView, removed []string) {
	if v.layout != old.layout {
		return v.sinceLayout(old)
	}
	for i, chunk := range v.chunks {
		var before *viewChunk
		if i < len(old.chunks) {
			before = old.chunks[i]
		}
		if chunk == before {
			continue
		}
		for slot, now := range chunk.jobs {
			var was *jobView
			if before != nil {
				was = before.jobs[slot]
			}
			switch {
			case now == was:
			case now != nil:
				changed = append(changed, now)
			case v.job(was.job.Name) == nil: // otherwise it was created again, in another slot
				removed = append(removed, was.job.Name)
			}
		}
	}
	return changed, removed
}

// sinceLayout is since for views whose slots can't be compared.
func (v *view) sinceLayout(old *view) (changed []*jobView, removed []string) {
	for now := range v.all() {
		if old.job(now.job.Name) != now {
			changed = append(changed, now)
		}
	}
	for was := range old.all() {
		if v.job(was.job.Name) == nil {
			removed = append(removed, was.job.Name)
		}
	}
	return changed, removed
}
