package main

import "slices"

// partSize is where a change is cut in two: between jobs, and within one as soon as the
// changed runs of a job may take so much.
func (s *scheduler) partSize() int { return s.cfg.batchSize / 8 }

// An effect makes known what a change has done. One that concerns a job follows as soon as that job's
// records are stored; the others wait for the whole change.
type effect struct {
	job string
	do  func(error)
}

// cut stores what has been done so far if the next step on the same job could make it too
// large for one commit. Code that does many things to one job calls it before each of them: what belongs
// together must be done by then, and the answer not yet given.
//
// The jobs are published as they are then only if somebody is being answered, who may look: picturing
// a thousand runs for each part of a change takes the square of their number.
func (s *scheduler) cut() {
	if !s.heavy {
		return
	}
	if s.answers > 0 {
		s.seal()
		return
	}
	unseen := slices.Clone(s.dirty)
	s.sealParts(s.partSize(), false)
	for _, e := range unseen {
		if !e.gone {
			s.touch(e) // so that the next change shows it
		}
	}
}

// seal hands what the events of this turn have changed to the writer: the
// records of every entry that is dirty, its new picture, and the effects, which
// run when all of that is stored.
func (s *scheduler) seal() { s.sealUpTo(s.partSize()) }

// sealUpTo is seal with changes that may be of another size. Records of no job come last.
func (s *scheduler) sealUpTo(size int) { s.sealParts(size, true) }

// sealParts is sealUpTo, and publishes the jobs as they are now if show is set.
func (s *scheduler) sealParts(size int, show bool) {
	if s.whole || len(s.dirty) == 0 && len(s.extra) == 0 && len(s.effects) == 0 {
		return
	}
	parts := []*change{{}}
	add := func(records []record) *change {
		c := parts[len(parts)-1]
		if c.size > size {
			c = &change{}
			parts = append(parts, c)
		}
		c.records = append(c.records, records...)
		for _, r := range records {
			c.size += s.store.size(r)
		}
		return c
	}
	if past := s.archiveEnded(); past != nil {
		for _, group := range past {
			add(group)
		}
		parts = append(parts, &change{}) // the histories are cut only when that is stored
	}
	homes := make([]*change, len(s.dirty))
	for i, e := range s.dirty {
		s.sum(e)
		s.trimHistory(e)
		c := add(e.records())
		homes[i] = c
		switch {
		case e.gone:
			c.view.clear = append(c.view.clear, e.job.Name)
		case show:
			c.view.set = append(c.view.set, e.publish(s.graph))
		}
	}
	for _, r := range s.extra {
		add([]record{r})
	}
	s.addEffects(parts, homes)
	last := parts[len(parts)-1]
	last.ends, last.view.acts, last.view.forgotten = s.ends, s.newActs, s.oldActs
	s.newActs, s.oldActs = nil, [actKinds]int{}
	totals := s.totals()
	for _, c := range parts {
		c.totals = totals
		s.writer.enqueue(c)
	}
	for _, e := range s.dirty {
		e.clean()
	}
	s.dirty, s.extra, s.effects, s.heavy, s.ends, s.answers = s.dirty[:0], nil, nil, false, nil, 0
	s.archive.settled = s.archive.last
}

// addEffects gives each effect to the part of a change that it waits for. homes are the parts that hold
// the records of the dirty jobs.
func (s *scheduler) addEffects(parts, homes []*change) {
	last := parts[len(parts)-1]
	of := map[string]*change{}
	if len(parts) > 1 {
		for i, e := range s.dirty {
			of[e.job.Name] = homes[i]
		}
	}
	for _, f := range s.effects {
		c := of[f.job]
		if c == nil {
			c = last
		}
		c.effects = append(c.effects, f.do)
	}
}

// clean records that all of an entry has been handed over.
func (e *entry) clean() {
	e.misreadDirty, e.policyDirty, e.pauseDirty, e.endsDirty, e.alertDirty, e.backfillDirty = false, false, false, false, false, false
	e.isDirty, e.jobDirty, e.stateDirty, e.historyDirty, e.noticeDirty, e.ownedDirty = false, false, false, false, false, false
	for _, r := range e.changed {
		r.isChanged, r.weight = false, 0
	}
	e.changed, e.weight = nil, 0
}

// sum keeps count of the open runs by state.
func (s *scheduler) sum(e *entry) {
	for _, r := range e.changed {
		s.sumRun(r)
	}
}

func (s *scheduler) sumRun(r *openRun) {
	if r.counted != "" {
		s.sums[r.counted]--
	}
	r.counted = ""
	if !r.ended() {
		r.counted = r.State
		s.sums[r.State]++
	}
}

func (s *scheduler) totals() viewTotals {
	t := viewTotals{
		queued: s.queue.len(), queuedHigh: s.queue.count[1],
		running:    s.sums[runLaunching] + s.sums[runActive],
		subscribed: s.subscribed, invalid: s.invalid, clock: s.clock,
		archived: s.archive.segments,
	}
	if r := s.queue.oldest(); r != nil {
		t.oldestQueued = r.Queued
	}
	return t
}

// publish makes a batch of changes visible. The writer's herald calls it once the batch is stored.
func (s *scheduler) publish(changes []viewChange, t viewTotals) {
	v := s.current.Load().with(changes)
	v.queued, v.queuedHigh, v.running = t.queued, t.queuedHigh, t.running
	v.oldestQueued, v.subscribed, v.invalid, v.clock = t.oldestQueued, t.subscribed, t.invalid, t.clock
	v.archived = t.archived
	s.current.Store(v)
	if watch := s.watch.Swap(nil); watch != nil {
		close(*watch)
	}
}
