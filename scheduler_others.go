package main

import (
	"encoding/json"
	"slices"
	"strings"
)

// A JVM version that has led since this program last did has seen our tasks end, counted them,
// and run the jobs itself, and none of that is in our own records. After such a reign the JVM versions'
// records decide; ours add only what those cannot express.

// A reign is the last time in which another version led. The zero value stands for none.
type reign struct {
	ended int64 // the reign had ended by this instant
	// The store's order of writes: what was written between these two is of the reign. 0 where
	// the order proves nothing, as in a copied tree.
	after, before int64
}

// An order says when, in the order of all writes to a store, a record was created and last written.
type order struct{ created, written int64 }

// others is what a store knows about other programs that write into it.
type others struct {
	reign
	lastOwn int64            // this program's last write before this term; 0 if it can't be told
	orders  map[string]order // of jobs, their records, open runs and what waits
}

// A sharedStore is a store that other versions write into as well.
type sharedStore interface {
	store
	// others may be asked once after each load.
	others() others
}

// wants reports whether the order of a record is of use.
func (others) wants(key string) bool {
	return strings.HasPrefix(key, "J_") || strings.HasPrefix(key, "T_") || strings.HasPrefix(key, "go/job/") || strings.HasPrefix(key, "go/run/")
}

// replaced reports whether another version has deleted a job of ours and created one of the same name.
func (o *others) replaced(job string) bool {
	if o.after == 0 {
		return false
	}
	document, record := o.orders["J_"+job], o.orders["go/job/"+recordName(job)]
	return record.written != 0 && document.created > max(record.written, o.after)
}

// from reports whether a record was written, or what it describes happened, before the reign.
func (o *others) from(key string, at int64) bool {
	written := o.orders[key].written
	return at < o.ended || written != 0 && written <= o.after
}

// rewritten reports whether the record was last written by the reign: a job's document, which
// each run changes, or the T_ node of a run that 2.x keeps waiting.
func (o *others) rewritten(key string) bool {
	written := o.orders[key].written
	return o.after != 0 && o.after < written && written < o.before
}

// edited reports whether somebody has written the job's document since our last term.
func (o *others) edited(job string) bool {
	return o.lastOwn != 0 && o.orders["J_"+job].written > o.lastOwn
}

const editPrefix = "go/edited/"

// An edit is the record of a job whose document somebody else has changed while its tasks were
// under way: our records alone no longer say what became of tasks launched before that.
type edit struct {
	Seq int64 `json:"seq"` // of the job: one created again has another
	At  int64 `json:"at"`
}

// doubtRuns marks the tasks under way whose end another version may have seen.
func (s *scheduler) doubtRuns(records map[string][]byte, keys map[string][]string) {
	edits := s.loadEdits(records, keys)
	for name, e := range s.jobs {
		for r := range e.runs.all() {
			if r.State != runLaunching && r.State != runActive {
				continue
			}
			switch at := edits[name].At; {
			case s.others.ended != 0 && s.others.from(runKey(r.ID), r.Launched), r.Launched < at:
				r.doubtful = true
			case s.others.edited(name):
				r.doubtful = true
				edits[name] = edit{e.state.Seq, s.now}
				s.extra = append(s.extra, record{editPrefix + recordName(name), mustJSON(edits[name])})
			}
		}
	}
}

// loadEdits returns the edits of earlier terms that still matter, and drops the other records.
func (s *scheduler) loadEdits(records map[string][]byte, keys map[string][]string) map[string]edit {
	edits := map[string]edit{}
	for _, key := range slices.Sorted(slices.Values(keys["edited"])) {
		name, err := parseRecordName(strings.TrimPrefix(key, editPrefix))
		e := s.jobs[name]
		var known edit
		if err != nil || json.Unmarshal(records[key], &known) != nil || e == nil || known.Seq != e.state.Seq || e.underWay == 0 {
			s.extra = append(s.extra, record{key, nil})
			continue
		}
		edits[name] = known
	}
	return edits
}

// endUnknown is the reason of a run that was closed because its task ended while another version led.
const endUnknown = "its end is not known: another version led"

// lose ends a run whose task is gone without a result. Another attempt follows, unless
// another version may have counted this one and retried it itself.
func (s *scheduler) lose(r *openRun, message string) {
	switch {
	case !r.doubtful, r.Killing.asked():
		s.fail(r, runLost, message)
	case r.entry.job.Async && r.Callback != nil:
		s.applyCallback(r, *r.Callback)
	default:
		s.end(r, runLost, endUnknown)
	}
}
