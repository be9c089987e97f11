package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// The archive is the history beyond what go/history/<job> holds. Every run gets a number when it ends, which is stored with it
// in go/history. From time to time the runs that ended since the last time are written into a segment, one immutable record,
// whose name says which numbers it holds. So a run in go/history is archived exactly if its number is not above that of
// the last segment, whoever has led, and only then the tail of a history is cut. A new leader needs the names of the segments only.
const (
	segmentPrefix = "go/ended/"
	segmentRuns   = 256       // that one holds at most
	segmentSize   = 256 << 10 // bytes, before they are packed, after which another one begins
	segmentsGone  = 64        // that one change deletes at most
)

// onDemand reports whether a record is read only when somebody asks for what it holds. A store's load leaves those out.
func onDemand(key string) bool { return strings.HasPrefix(key, segmentPrefix) }

// archiveBounds are what the archive holds at most.
type archiveBounds struct {
	runs int64 // 0 for no archive
	size int64 // bytes of the segments
	age  int64 // ms since a run was due
}

// A segment is a record of the archive, as its name describes it.
type segment struct {
	first, last int64 // numbers of the runs
	runs        int64
	from, to    int64 // between which they were due, in ms
	size        int64 // bytes
}

func (g segment) key() string {
	return fmt.Sprintf("%s%d_%d_%d_%d_%d_%d", segmentPrefix, g.first, g.last, g.runs, g.from, g.to, g.size)
}

// parseSegment reads the name of a segment.
func parseSegment(key string) (g segment, err error) {
	fields := strings.Split(strings.TrimPrefix(key, segmentPrefix), "_")
	into := []*int64{&g.first, &g.last, &g.runs, &g.from, &g.to, &g.size}
	if len(fields) != len(into) {
		return g, errors.New("not the name of a segment of ended runs")
	}
	for i, p := range into {
		n, convErr := strconv.ParseInt(fields[i], 10, 64)
		*p, err = n, errors.Join(err, convErr)
	}
	return g, err
}

// An archivedJob is what a segment holds of one job.
type archivedJob struct {
	Name string `json:"name"`
	Seq  int64  `json:"seq"` // of the job: one created again has another
	Runs []*Run `json:"runs"`
}

// A segmentRecord holds the runs of a segment. Its index, which takes a fraction of the time to read, is packed before it.
type segmentRecord struct {
	Jobs []archivedJob `json:"jobs"`
}

// pack appends a part of a segment.
func (a *archive) pack(to *bytes.Buffer, part []byte) {
	if a.zip == nil {
		a.zip, _ = gzip.NewWriterLevel(to, gzip.BestSpeed) // it fails for unknown levels only
	}
	a.zip.Reset(to)
	_, _ = a.zip.Write(part) // a buffer takes everything
	_ = a.zip.Close()
}

// unpack reads the next part of a segment.
func unpack(segment *bytes.Reader, into any) error {
	z, err := gzip.NewReader(segment)
	if err != nil {
		return fmt.Errorf("unpack ended runs: %w", err)
	}
	z.Multistream(false)
	text, err := io.ReadAll(io.LimitReader(z, 64*segmentSize)) // a single run may be larger than a segment should be
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("decode ended runs: %w", err)
	}
	return nil
}

// decodeSegment reads the runs in a segment.
func decodeSegment(value []byte) (r segmentRecord, err error) {
	in := bytes.NewReader(value)
	if err = unpack(in, nil); err == nil {
		err = unpack(in, &r)
	}
	return r, err
}

// An endedRun is an ended run that is still to be archived.
type endedRun struct {
	run   *Run
	entry *entry
}

// An archive is what the loop knows of it.
type archive struct {
	bounds   archiveBounds
	last     int64      // number that the run has which ended last
	settled  int64      // the ends of runs up to there have been handed to the writer
	upTo     int64      // those up to there are archived, or their jobs gone
	pending  []endedRun // the others, in the order of their numbers
	due      bool       // a history waits to be cut
	segments []segment  // oldest first; replaced, never changed
	open     []endedRun // what the last one holds, as long as more may join them
	zip      *gzip.Writer
}

// number gives a run that has ended, or an entry that has changed, its place in the archive. It must not be published yet.
func (s *scheduler) number(e *entry, r *Run) {
	a := &s.archive
	if a.bounds.runs == 0 {
		return
	}
	a.last++
	r.Number = a.last
	a.pending = append(a.pending, endedRun{r, e})
}

// archivable returns a run at the tail of a history as long as it must stay there, and nil if it can go.
func (s *scheduler) archivable(e *entry, r *Run) *Run {
	a := &s.archive
	switch {
	case a.bounds.runs == 0, r.Number != 0 && r.Number <= a.upTo:
		return nil
	case r.Number == 0: // of a version that keeps no archive
		numbered := *r
		r = &numbered
		s.number(e, r)
	}
	a.due = true
	return r
}

// trimHistory cuts the tail of a history that is about to be stored, if it was kept for the archive.
func (s *scheduler) trimHistory(e *entry) {
	if e.historyDirty && len(e.history) > 1 && s.archive.bounds.runs > 0 {
		if oldest := e.history[len(e.history)-1]; oldest.Number == 0 || oldest.Number > s.archive.upTo {
			return
		}
		e.history = slices.Clone(e.history)
		s.cutHistory(e)
	}
}

// archiveEnded returns the records that archive what has ended, if it is time for that: when a segment is full, or a history waits
// to be cut. Each group of them belongs into one commit, before the records of the jobs. Runs whose end is only now being stored are left out: as long
// as that is not certain, they may end in another way.
func (s *scheduler) archiveEnded() (groups [][]record) {
	a := &s.archive
	n, _ := slices.BinarySearchFunc(a.pending, a.settled+1, func(p endedRun, number int64) int { return cmp.Compare(p.run.Number, number) })
	if n == 0 || n < segmentRuns && !a.due {
		return nil
	}
	runs := slices.DeleteFunc(slices.Clone(a.pending[:n]), func(p endedRun) bool { return p.entry.gone })
	a.pending, a.due = slices.Clone(a.pending[n:]), false
	segments := slices.Clone(a.segments)
	var group []record // of the next segment
	if len(a.open) > 0 && len(a.open)+len(runs) <= segmentRuns && sizeOfRuns(a.open)+sizeOfRuns(runs) <= segmentSize {
		grown := segments[len(segments)-1]
		segments = segments[:len(segments)-1]
		group = []record{{grown.key(), nil}} // it contains that one
		runs = append(slices.Clip(a.open), runs...)
	}
	for len(runs) > 0 {
		var part []endedRun
		part, runs = cutSegment(runs)
		g, value := a.encode(part)
		if len(runs) == 0 {
			g.last = max(g.last, a.settled)
		}
		segments, a.open = append(segments, g), part
		groups = append(groups, append(group, record{g.key(), value}))
		group = nil
	}
	a.upTo, a.segments = a.settled, segments
	return append(groups, a.drop(s.now))
}

// cutSegment splits the runs of the next segment off.
func cutSegment(runs []endedRun) (part, rest []endedRun) {
	n, size := 0, 0
	for n < min(len(runs), segmentRuns) {
		if size += runs[n].run.size(); n > 0 && size > segmentSize {
			break
		}
		n++
	}
	return runs[:n:n], runs[n:]
}

func sizeOfRuns(runs []endedRun) (n int) {
	for _, p := range runs {
		n += p.run.size()
	}
	return n
}

// encode makes a segment of runs, grouped by their jobs.
func (a *archive) encode(runs []endedRun) (segment, []byte) {
	g := segment{first: runs[0].run.Number, last: runs[len(runs)-1].run.Number, runs: int64(len(runs)), from: runs[0].run.Due, to: runs[0].run.Due}
	of := map[*entry][]*Run{}
	var order []*entry
	for _, p := range runs {
		if of[p.entry] == nil {
			order = append(order, p.entry)
		}
		of[p.entry] = append(of[p.entry], p.run)
		g.from, g.to = min(g.from, p.run.Due), max(g.to, p.run.Due)
	}
	text, index := []byte(`{"jobs":[`), segmentIndex{}
	for i, e := range order {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendInt(appendString(append(text, `{"name":`...), e.job.Name), "seq", e.state.Seq)
		text = append(append(append(text, `,"runs":`...), encodeHistory(of[e])...), '}')
		index.Jobs = append(index.Jobs, indexJob(e.job.Name, e.state.Seq, of[e]))
	}
	var packed bytes.Buffer
	a.pack(&packed, mustJSON(index))
	a.pack(&packed, append(text, `]}`...))
	g.size = int64(packed.Len())
	return g, packed.Bytes()
}

// drop forgets the oldest segments that are beyond the bounds, except for the last, which says how far the archive goes.
func (a *archive) drop(now int64) (records []record) {
	runs, size := int64(0), int64(0)
	for _, g := range a.segments {
		runs, size = runs+g.runs, size+g.size
	}
	n := 0
	for n < min(len(a.segments)-1, segmentsGone) {
		g := a.segments[n]
		if runs <= a.bounds.runs && size <= a.bounds.size && g.to >= now-a.bounds.age {
			break
		}
		runs, size = runs-g.runs, size-g.size
		records = append(records, record{g.key(), nil})
		n++
	}
	a.segments = a.segments[n:]
	return records
}

// loadArchive finds out what is archived, and what is still to be.
func (s *scheduler) loadArchive() {
	a := &s.archive
	var gone []record
	for _, key := range s.store.allKeys() {
		if !onDemand(key) {
			continue
		}
		g, err := parseSegment(key)
		switch {
		case a.bounds.runs == 0:
			gone = append(gone, record{key, nil})
		case err != nil:
			s.setAsideRecord(key, err.Error())
		default:
			a.segments = append(a.segments, g)
		}
	}
	s.extra = append(s.extra, gone...)
	if a.bounds.runs == 0 {
		return
	}
	sortStable(a.segments, func(x, y segment) int { return cmp.Compare(x.first, y.first) })
	if n := len(a.segments); n > 0 {
		a.upTo = a.segments[n-1].last
	}
	a.last = a.upTo
	for _, e := range s.jobs {
		for _, r := range e.history {
			a.last = max(a.last, r.Number)
			if r.Number > a.upTo {
				a.pending = append(a.pending, endedRun{r, e})
			}
		}
	}
	slices.SortFunc(a.pending, func(x, y endedRun) int { return cmp.Compare(x.run.Number, y.run.Number) })
	a.settled = a.last
	s.extra = append(s.extra, a.drop(s.now)...)
}
