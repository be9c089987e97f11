package main

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
)

const (
	// jobSeriesLimit bounds how many jobs have their own series. Those whose runs
	// ended longest ago lose theirs first.
	jobSeriesLimit = 10_000
	// jobSampleSize bounds the run times kept per job: 1 KiB, for jobs that ran that often.
	jobSampleSize = 128
)

// jobSeries holds the numbers of one job since this process first saw a run of it end.
type jobSeries struct {
	name      string
	success   int64
	failure   int64
	times     []float64     // the last run times, ms from due to success; a ring once full
	next      int           // where the ring continues
	timeCount int64         // how many there have been
	shown     *distribution // of times; nil when they have changed since the last report
}

// jobTable holds the series of the jobs that ran last.
type jobTable struct {
	mu     sync.Mutex
	limit  int
	byName map[string]*list.Element
	recent *list.List // of *jobSeries, latest first
}

func newJobTable(limit int) *jobTable {
	return &jobTable{limit: limit, byName: map[string]*list.Element{}, recent: list.New()}
}

// touch returns the series of a job, creating them if necessary. t.mu must be held.
func (t *jobTable) touch(job string) *jobSeries {
	if e, ok := t.byName[job]; ok {
		t.recent.MoveToFront(e)
		return e.Value.(*jobSeries)
	}
	if len(t.byName) >= t.limit {
		oldest := t.recent.Back()
		delete(t.byName, oldest.Value.(*jobSeries).name)
		t.recent.Remove(oldest)
	}
	s := &jobSeries{name: job}
	t.byName[job] = t.recent.PushFront(s)
	return s
}

// succeeded counts a success. ms is the time from due to now; a negative one is not sampled.
func (t *jobTable) succeeded(job string, ms float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.touch(job)
	s.success++
	if ms < 0 {
		return
	}
	s.timeCount++
	s.shown = nil
	if len(s.times) < jobSampleSize {
		s.times = append(s.times, ms)
		return
	}
	s.times[s.next] = ms
	s.next = (s.next + 1) % jobSampleSize
}

func (t *jobTable) failed(job string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.touch(job).failure++
}

func (t *jobTable) drop(job string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.byName[job]; ok {
		t.recent.Remove(e)
		delete(t.byName, job)
	}
}

// all returns a copy of every job's series, by name, with shown filled in. It computes only
// what has changed since the last time, and does not block counting.
func (t *jobTable) all() []jobSeries {
	t.mu.Lock()
	jobs := make([]jobSeries, 0, len(t.byName))
	originals := make([]*jobSeries, 0, len(t.byName))
	for e := t.recent.Front(); e != nil; e = e.Next() {
		original := e.Value.(*jobSeries)
		s := *original
		s.times = nil
		if s.shown == nil {
			s.times = slices.Clone(original.times)
		}
		jobs, originals = append(jobs, s), append(originals, original)
	}
	t.mu.Unlock()
	for i := range jobs {
		if s := &jobs[i]; s.shown == nil {
			d := distributionOf(s.timeCount, snapshotOf(s.times))
			s.shown = &d
			t.keep(s, originals[i])
		}
	}
	slices.SortFunc(jobs, func(a, b jobSeries) int { return cmp.Compare(a.name, b.name) })
	return jobs
}

// keep saves what was computed from a copy, if the job's run times are still the same.
func (t *jobTable) keep(copied, original *jobSeries) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if original.timeCount == copied.timeCount {
		original.shown = copied.shown
	}
}
