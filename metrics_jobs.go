package main

import (
	"container/list"
	"slices"
	"sync"
)

const (
	// jobSeriesLimit bounds how many jobs have series of their own. Those whose runs
	// ended longest ago lose theirs first.
	jobSeriesLimit = 10_000
	// jobSampleSize bounds the run times kept per job: 1 KiB, reached only by jobs that ran so often.
	jobSampleSize = 128
)

// jobSeries are the numbers of one job since this process first saw a run of it end.
type jobSeries struct {
	name      string
	success   int64
	failure   int64
	times     []float64 // the last run times, ms from due to success; a ring once full
	next      int       // where the ring goes on
	timeCount int64     // how many there have been
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

// touch returns the series of a job, new ones if need be. t.mu must be held.
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

// all returns a copy of every job's series, by name.
func (t *jobTable) all() []jobSeries {
	t.mu.Lock()
	jobs := make([]jobSeries, 0, len(t.byName))
	for e := t.recent.Front(); e != nil; e = e.Next() {
		s := *e.Value.(*jobSeries)
		s.times = slices.Clone(s.times)
		jobs = append(jobs, s)
	}
	t.mu.Unlock()
	slices.SortFunc(jobs, func(a, b jobSeries) int {
		if a.name < b.name {
			return -1
		}
		return 1 // names differ
	})
	return jobs
}

// times returns the sample of a job's run times in ms, an empty one for a job that has none.
func (t *jobTable) times(job string) snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.byName[job]; ok {
		return snapshotOf(e.Value.(*jobSeries).times)
	}
	return snapshot{}
}
