package main

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
)

// A queue holds the runs that could start now if an offer fitted: the runs of
// high-priority jobs before the others, each in the order of their arrival.
// Runs that need the same are kept as one class, so that the cost of looking for room
// depends on the kinds of waiting tasks and not on their number.
type queue struct {
	classes map[string]*class
	seq     int64
	count   [2]int // waiting: normal, high
	steps   *int64 // counts the runs visited
}

// A class is the waiting runs that need the same.
type class struct {
	key     string
	high    bool
	need    need
	pool    *slotPool
	runs    []*openRun // by seq
	refused bool       // its head found no room when last tried
	seen    seen
}

func newQueue() *queue { return &queue{classes: map[string]*class{}, steps: new(int64)} }

// classKey names the class of a job's runs.
func classKey(j *Job, n need) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%t/%d/%d/%d", j.HighPriority, n.cpus, n.mem, n.disk)
	for _, c := range j.Constraints {
		fmt.Fprintf(&b, "/%q,%q,%q", c.Attribute, c.Operator, c.Value)
	}
	return b.String()
}

// push adds a run at the position that its seq gives it; a run without seq goes last.
func (q *queue) push(r *openRun, cfg taskConfig) {
	if r.seq == 0 {
		q.seq++
		r.seq = q.seq
	}
	n := taskNeed(r.entry.job, r.ID, cfg)
	key := classKey(r.entry.job, n)
	if p := r.entry.pool; p != nil {
		key += "/pool " + p.name
	}
	c := q.classes[key]
	if c == nil {
		c = &class{key: key, high: r.entry.job.HighPriority, need: n, pool: r.entry.pool}
		q.classes[key] = c
	}
	i, _ := slices.BinarySearchFunc(c.runs, r.seq, func(a *openRun, seq int64) int { return int(a.seq - seq) })
	c.runs = slices.Insert(c.runs, i, r)
	r.class = c
	r.entry.inQueue++
	q.count[priority(c.high)]++
}

func priority(high bool) int {
	if high {
		return 1
	}
	return 0
}

// remove takes a run out, if it is in.
func (q *queue) remove(r *openRun) {
	c := r.class
	if c == nil {
		return
	}
	r.class = nil
	r.entry.inQueue--
	i, ok := slices.BinarySearchFunc(c.runs, r.seq, func(a *openRun, seq int64) int { return int(a.seq - seq) })
	if !ok {
		return
	}
	q.count[priority(c.high)]--
	if i == 0 {
		c.runs[0] = nil
		c.runs = c.runs[1:]
	} else {
		c.runs = slices.Delete(c.runs, i, i+1)
	}
	if len(c.runs) == 0 {
		delete(q.classes, c.key)
	}
}

// len returns the number of waiting runs.
func (q *queue) len() int { return q.count[0] + q.count[1] }

// positions returns a function that says how many waiting runs come before one. Going through the
// whole queue once is cheaper than going through all classes for each of many runs.
func (q *queue) positions() func(*openRun) int {
	var seqs [2][]int64
	for _, c := range q.classes {
		for _, r := range c.runs {
			*q.steps++
			seqs[priority(c.high)] = append(seqs[priority(c.high)], r.seq)
		}
	}
	slices.Sort(seqs[0])
	slices.Sort(seqs[1])
	return func(r *openRun) int {
		n, _ := slices.BinarySearch(seqs[priority(r.class.high)], r.seq)
		if !r.class.high {
			n += len(seqs[1])
		}
		return n
	}
}

// oldest returns the run that has waited longest, or nil.
func (q *queue) oldest() *openRun {
	var first *openRun
	for _, c := range q.classes {
		if first == nil || c.runs[0].Queued < first.Queued {
			first = c.runs[0]
		}
	}
	return first
}

// wanted is what all waiting runs need together.
func (q *queue) wanted() resources {
	var sum resources
	for _, c := range q.classes {
		n := c.pool.free(int64(len(c.runs)))
		sum = sum.plus(resources{c.need.cpus * n, c.need.mem * n, c.need.disk * n})
	}
	return sum
}

// A round goes through the heads of all classes in the order in which they are
// to be served.
type round []*class

func (q *queue) round() *round {
	r := make(round, 0, len(q.classes))
	for _, c := range q.classes {
		r = append(r, c)
	}
	heap.Init(&r)
	return &r
}

func (r round) Len() int { return len(r) }
func (r round) Less(i, j int) bool {
	if r[i].high != r[j].high {
		return r[i].high
	}
	return r[i].runs[0].seq < r[j].runs[0].seq
}
func (r round) Swap(i, j int) { r[i], r[j] = r[j], r[i] }

// Push and Pop serve container/heap.
func (r *round) Push(x any) { *r = append(*r, x.(*class)) }
func (r *round) Pop() any {
	old := *r
	c := old[len(old)-1]
	*r = old[:len(old)-1]
	return c
}

// next returns the class whose head is to be served next, or nil.
func (r *round) next() *class {
	if len(*r) == 0 {
		return nil
	}
	return heap.Pop(r).(*class)
}

// again puts back a class whose head was served, unless it has no waiting runs left.
func (r *round) again(c *class) {
	if len(c.runs) > 0 {
		heap.Push(r, c)
	}
}
