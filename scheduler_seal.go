package main

// changeSize is where a change is cut in two, between jobs.
const changeSize = 64 << 10

// seal hands what the events of this turn have changed to the writer: the
// records of every entry that is dirty, its new picture, and the effects, which
// run when all of that is stored.
func (s *scheduler) seal() { s.sealUpTo(changeSize) }

// sealUpTo is seal with changes that may be of another size. Records of no job come last.
func (s *scheduler) sealUpTo(size int) {
	if len(s.dirty) == 0 && len(s.extra) == 0 && len(s.effects) == 0 {
		return
	}
	c := &change{}
	cut := func() {
		if c.size > size {
			c.totals = s.totals()
			s.writer.enqueue(c)
			c = &change{}
		}
	}
	for _, e := range s.dirty {
		cut()
		s.sum(e)
		c.add(e.records())
		if e.gone {
			c.view.clear = append(c.view.clear, &jobView{job: e.job, slot: e.slot})
		} else {
			c.view.set = append(c.view.set, e.publish(s.graph))
		}
		e.clean()
	}
	for _, r := range s.extra {
		cut()
		c.add([]record{r})
	}
	c.effects, c.ends = s.effects, s.ends
	c.totals = s.totals()
	s.writer.enqueue(c)
	s.dirty, s.extra, s.effects, s.ends = s.dirty[:0], nil, nil, nil
}

func (c *change) add(records []record) {
	c.records = append(c.records, records...)
	for _, r := range records {
		c.size += len(r.key) + len(r.value) + recordOverhead
	}
}

// clean notes that all of an entry has been handed over.
func (e *entry) clean() {
	e.isDirty, e.jobDirty, e.stateDirty, e.historyDirty = false, false, false, false
	for _, r := range e.changed {
		r.isChanged = false
	}
	e.changed, e.dropped = nil, nil
}

// sum keeps count of the open runs by state.
func (s *scheduler) sum(e *entry) {
	for _, r := range e.changed {
		now := r.State
		if r.ended() || s.runs[r.ID] != r {
			now = ""
		}
		if r.counted != now {
			s.sums[r.counted]--
			s.sums[now]++
			r.counted = now
		}
	}
	for _, r := range e.dropped {
		s.sums[r.counted]--
		r.counted = ""
	}
}

func (s *scheduler) totals() viewTotals {
	t := viewTotals{
		queued: s.queue.len(), queuedHigh: s.queue.count[1],
		running:    s.sums[runLaunching] + s.sums[runActive],
		subscribed: s.subscribed, invalid: s.invalid,
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
	v.oldestQueued, v.subscribed, v.invalid = t.oldestQueued, t.subscribed, t.invalid
	s.current.Store(v)
	if watch := s.watch.Swap(nil); watch != nil {
		close(*watch)
	}
}
