package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
)

const (
	segmentsAtOnce = 16  // that are read in one visit to the writer
	segmentsForOne = 512 // that one request reads to learn what the archive holds
	segmentsHeld   = 32  // whose runs are kept in memory
)

// A runIndex knows which runs the archive holds, with what a list or a picture of many of them needs. It is filled when somebody first asks, and
// brought up to date when somebody asks again: a leader that nobody looks at spends nothing on it. It never enters the loop.
type runIndex struct {
	writer *writer
	log    *slog.Logger
	turn   chan struct{} // held by the one that reads from the store

	mu   sync.RWMutex // of what follows
	have map[string][]jobKey
	jobs map[jobKey][]mark // newest first
	held []heldSegment     // last used first
}

// A jobKey tells a job from one that was created again by its name.
type jobKey struct {
	name string
	seq  int64
}

// A mark is an archived run in the index. Times are in ms; late and took are -1 where they are not known.
type mark struct {
	number          int64 // in its id, which is unique among the runs of a job with the same attempt
	due, late, took int64
	place           int64 // among all that ended
	segment         string
	args            string
	attempt         int32
	count           int32 // occurrences that a missed or skipped one stands for
	state, kind     uint8
}

// A heldSegment is one whose runs are in memory.
type heldSegment struct {
	key  string
	runs map[string]*Run
}

// What a mark holds of states and kinds is their place in these.
var (
	markStates = []runState{"", runFinished, runFailed, runKilled, runLost, runMissed, runSkipped}
	markKinds  = []runKind{"", kindScheduled, kindDependent, kindManual, kindRetry, kindBackfill}
)

func newRunIndex(w *writer, log *slog.Logger) *runIndex {
	return &runIndex{writer: w, log: log, turn: make(chan struct{}, 1), have: map[string][]jobKey{}, jobs: map[jobKey][]mark{}}
}

// A segmentIndex is the first part of a segment: what lists and pictures need of its runs.
type segmentIndex struct {
	Jobs []indexedJob `json:"jobs"`
}

// An indexedJob is one job in it. A row of marks is a run: due, number less due, attempt, late, duration, place, count, state, kind,
// and which of the arguments. A later version may append to it.
type indexedJob struct {
	Name  string              `json:"name"`
	Seq   int64               `json:"seq"`
	Args  []string            `json:"args"`
	Marks [][markFields]int64 `json:"marks"`
}

const markFields = 10

func indexJob(name string, seq int64, runs []*Run) indexedJob {
	j := indexedJob{Name: name, Seq: seq, Args: []string{}, Marks: make([][markFields]int64, 0, len(runs))}
	for _, r := range runs {
		number, attempt, _, args, _ := parseRunID(r.ID)
		at := slices.Index(j.Args, args)
		if at < 0 {
			at = len(j.Args)
			j.Args = append(j.Args, args)
		}
		c := r.cell()
		j.Marks = append(j.Marks, [markFields]int64{c.due, number - c.due, int64(attempt), c.late, c.took, r.Number, min(r.Count, math.MaxInt32),
			int64(max(0, slices.Index(markStates, r.State))), int64(max(0, slices.Index(markKinds, r.Kind))), int64(at)})
	}
	return j
}

// marks are the runs of a job in a segment. Rows that can't be right are left out.
func (j indexedJob) marks(segment string) (marks []mark) {
	for _, row := range j.Marks {
		if row[9] < 0 || row[9] >= int64(len(j.Args)) {
			continue
		}
		m := mark{due: row[0], number: row[0] + row[1], attempt: int32(row[2]), late: row[3], took: row[4], place: row[5], count: int32(row[6]), args: j.Args[row[9]], segment: segment}
		if row[7] > 0 && row[7] < int64(len(markStates)) {
			m.state = uint8(row[7])
		}
		if row[8] > 0 && row[8] < int64(len(markKinds)) {
			m.kind = uint8(row[8])
		}
		marks = append(marks, m)
	}
	return marks
}

// run is what the mark knows of the run.
func (m mark) run(job string) *Run {
	r := &Run{ID: runID(m.number, int(m.attempt), job, m.args), Job: job, Kind: markKinds[m.kind], State: markStates[m.state], Due: m.due, Attempt: int(m.attempt), Count: int64(m.count)}
	if m.took >= 0 {
		r.Started = r.Due + m.late
		r.Ended = r.Started + m.took
	}
	return r
}

func (m mark) cell() runCell { return runCell{markStates[m.state], m.due, m.late, m.took} }

// newerFirst is the order of the marks of a job.
func newerFirst(a, b mark) int {
	return cmp.Or(cmp.Compare(b.due, a.due), cmp.Compare(a.number, b.number), cmp.Compare(a.attempt, b.attempt))
}

// update brings the index up to date with the segments of a view, oldest first, as far as one request may read. It returns how many it then lacks.
func (x *runIndex) update(ctx context.Context, segments []segment) (missing int, err error) {
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	lacking := x.forget(segments)
	missing = len(lacking)
	for keys := range slices.Chunk(lacking[:min(missing, segmentsForOne)], segmentsAtOnce) {
		values, err := x.read(ctx, keys)
		if err != nil {
			return missing, err
		}
		for i, value := range values {
			if value == nil {
				continue
			}
			var index segmentIndex
			if err := unpack(bytes.NewReader(value), &index); err != nil {
				x.tell(keys[i], err)
			}
			x.add(keys[i], index)
			missing--
		}
	}
	return missing, nil
}

// forget drops the segments that are gone, and returns the keys of those that are lacking, the newest first.
func (x *runIndex) forget(segments []segment) (lacking []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	there := make(map[string]bool, len(segments))
	for _, g := range slices.Backward(segments) {
		key := g.key()
		there[key] = true
		if _, ok := x.have[key]; !ok {
			lacking = append(lacking, key)
		}
	}
	for key, jobs := range x.have {
		if there[key] {
			continue
		}
		delete(x.have, key)
		for _, job := range jobs {
			x.jobs[job] = slices.DeleteFunc(x.jobs[job], func(m mark) bool { return m.segment == key })
			if len(x.jobs[job]) == 0 {
				delete(x.jobs, job)
			}
		}
	}
	return lacking
}

// read reads segments from the store, at the writer: nil for one that is gone by now, because it was dropped or a larger one has
// taken its place. One that can't be read is empty.
func (x *runIndex) read(ctx context.Context, keys []string) ([][]byte, error) {
	var stored []reading
	var err error
	if visited := x.writer.visit(ctx, func(ctx context.Context) { stored, err = x.writer.store.read(ctx, keys) }); visited != nil {
		return nil, visited
	}
	if err != nil {
		return nil, fmt.Errorf("read ended runs: %w", err)
	}
	values := make([][]byte, len(keys))
	for i, r := range stored {
		if values[i] = r.value; r.err != nil {
			x.tell(keys[i], r.err)
			values[i] = []byte{}
		}
	}
	return values, nil
}

func (x *runIndex) tell(key string, err error) {
	x.log.Error("a record of ended runs can't be used; it is kept as it is", "record", key, "error", err)
}

// add puts the runs of a segment into the index.
func (x *runIndex) add(key string, index segmentIndex) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.have[key] = nil
	for _, j := range index.Jobs {
		job := jobKey{j.Name, j.Seq}
		x.have[key] = append(x.have[key], job)
		for _, m := range j.marks(key) {
			x.insert(job, m)
		}
	}
}

// insert puts a mark in its place. An entry that grew was archived more than once: the last one counts.
func (x *runIndex) insert(job jobKey, m mark) {
	marks := x.jobs[job]
	if len(marks) > 0 && m.args == marks[len(marks)-1].args {
		m.args = marks[len(marks)-1].args // one text for all
	}
	at, found := slices.BinarySearchFunc(marks, m, newerFirst)
	switch {
	case !found && (m.count == 0 || !slices.ContainsFunc(marks, m.sameRun)):
		x.jobs[job] = slices.Insert(marks, at, m)
	case found && marks[at].place < m.place:
		marks[at] = m
	case !found:
		i := slices.IndexFunc(marks, m.sameRun)
		if marks[i].place < m.place {
			marks[i] = m
			slices.SortFunc(marks, newerFirst)
		}
	}
}

func (m mark) sameRun(o mark) bool { return m.number == o.number && m.attempt == o.attempt }

// each visits the marks of a job, the newest first, from the due time given on backwards, until visit returns false.
func (x *runIndex) each(job jobKey, due int64, visit func(mark) bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	marks := x.jobs[job]
	at, _ := slices.BinarySearchFunc(marks, due, func(m mark, due int64) int { return cmp.Compare(due, m.due) })
	for _, m := range marks[at:] {
		if !visit(m) {
			return
		}
	}
}

// find returns the mark of a run, if it is archived.
func (x *runIndex) find(job jobKey, id string) (found mark, ok bool) {
	number, attempt, _, _, valid := parseRunID(id)
	if !valid {
		return mark{}, false
	}
	x.each(job, math.MaxInt64, func(m mark) bool {
		if ok = m.number == number && int(m.attempt) == attempt; ok {
			found = m
		}
		return !ok
	})
	return found, ok
}

// fill reads the whole records of archived runs, by their ids, from the segments that they are in. What has been dropped meanwhile is missing.
func (x *runIndex) fill(ctx context.Context, wanted map[string]mark) (map[string]*Run, error) {
	in := map[string][]string{}
	for id, m := range wanted {
		in[m.segment] = append(in[m.segment], id)
	}
	found := make(map[string]*Run, len(wanted))
	var lacking []string
	x.mu.Lock()
	for key, ids := range in {
		i := slices.IndexFunc(x.held, func(h heldSegment) bool { return h.key == key })
		if i < 0 {
			lacking = append(lacking, key)
			continue
		}
		for _, id := range ids {
			found[id] = x.held[i].runs[id]
		}
	}
	x.mu.Unlock()
	for keys := range slices.Chunk(lacking, segmentsAtOnce) {
		values, err := x.read(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i, value := range values {
			if value == nil {
				continue
			}
			record, err := decodeSegment(value)
			if err != nil {
				x.tell(keys[i], err)
			}
			h := heldSegment{keys[i], map[string]*Run{}}
			for _, j := range record.Jobs {
				for _, r := range j.Runs {
					h.runs[r.ID] = r
				}
			}
			for _, id := range in[h.key] {
				found[id] = h.runs[id]
			}
			x.hold(h)
		}
	}
	for id, r := range found {
		if r == nil {
			delete(found, id)
		}
	}
	return found, nil
}

// hold keeps a segment in memory, in the place of the one that was not used for the longest time.
func (x *runIndex) hold(h heldSegment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.held = append([]heldSegment{h}, x.held[:min(len(x.held), segmentsHeld-1)]...)
}

// archived returns the index, and how many segments it still lacks: a request reads a bounded number. A picture of the jobs that
// it is to go with must be older, so that a run is in one of them at least.
func (s *scheduler) archived(ctx context.Context) (x *runIndex, missing int, err error) {
	missing, err = s.index.update(ctx, s.view().archived)
	return s.index, missing, err
}

func (j *jobView) key() jobKey { return jobKey{j.job.Name, j.seq} }
