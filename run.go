package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

// runState is where a run stands between its due time and history.
type runState string

const (
	runQueued    runState = "queued"    // waits for its turn, an offer, or its retry delay
	runLaunching runState = "launching" // committed with its agent before ACCEPT
	runActive    runState = "active"    // Mesos has reported it
	runAwaiting  runState = "awaiting"  // an async job's launcher has finished; waits for the callback
	runFinished  runState = "finished"
	runFailed    runState = "failed"
	runKilled    runState = "killed"
	runLost      runState = "lost"
	runMissed    runState = "missed"  // passed before the leader handled it, and does not run
	runSkipped   runState = "skipped" // replaced, overlapped, or the job was disabled
)

// runKind says why a run exists.
type runKind string

const (
	kindScheduled runKind = "scheduled"
	kindDependent runKind = "dependent"
	kindManual    runKind = "manual"
	kindRetry     runKind = "retry"
	kindBackfill  runKind = "backfill" // of an instant that has passed, which somebody wants to have run once more
)

// A killCause is why a run is killed, in words for a person. It is stored with the run,
// because it decides what the end of the task means.
type killCause string

// Causes for which somebody has asked for the end of the run.
const (
	killRequested killCause = "killed by request"
	killPurged    killCause = "purged by request"
)

// killOverLimit begins the cause of a kill because of the run's time limit, which follows.
const killOverLimit = "over its time limit of"

// overLimit reports whether the run has taken longer than it may: then it has failed, however its task ends.
func (c killCause) overLimit() bool { return strings.HasPrefix(string(c), killOverLimit) }

// killReplaced begins the cause of a kill in favour of the job's next occurrence, whose instant follows.
const killReplaced = "replaced by the occurrence of"

// asked reports whether somebody wants the run to end: then it has neither failed nor been
// lost, however its task ends.
func (c killCause) asked() bool {
	return c == killRequested || c == killPurged || strings.HasPrefix(string(c), killReplaced)
}

// Run is the record of one attempt to run a job. It is immutable once published.
type Run struct {
	ID      string   `json:"id"` // ct:<due ms>:<attempt>:<job>:<args>
	Job     string   `json:"job"`
	Kind    runKind  `json:"kind"`
	Due     int64    `json:"due"` // ms since the epoch
	Attempt int      `json:"attempt"`
	Args    string   `json:"args,omitempty"`    // one-off arguments
	HasArgs bool     `json:"hasArgs,omitempty"` // Args replace the job's own
	ArgList []string `json:"argList,omitempty"` // what Args is made of, where they were given one by one
	Env     []EnvVar `json:"env,omitempty"`     // added to the job's, or in the place of some
	By      string   `json:"by,omitempty"`      // who has asked for it
	Why     string   `json:"why,omitempty"`     // and why, in their words
	State   runState `json:"state"`
	AgentID string   `json:"agentId,omitempty"`
	Agent   string   `json:"agent,omitempty"` // host name
	Sandbox string   `json:"sandbox,omitempty"`
	Reason  string   `json:"reason,omitempty"` // why it ended that way, or waits
	Exit    *int     `json:"exit,omitempty"`   // exit status of the command, where known

	Queued   int64 `json:"queued,omitempty"` // ms since the epoch, like the following
	Launched int64 `json:"launched,omitempty"`
	Started  int64 `json:"started,omitempty"`
	Ended    int64 `json:"ended,omitempty"`

	// Number is the run's place among all runs in the order in which they ended. It is 0 of one that has not, or that was
	// ended by a version that keeps no archive.
	Number int64 `json:"number,omitempty"`

	Count       int64     `json:"count,omitempty"`       // occurrences that one missed or skipped entry stands for
	From        int64     `json:"from,omitempty"`        // due of the first of them
	Unreachable int64     `json:"unreachable,omitempty"` // since when its agent has been unreachable, in ms since the epoch
	Killing     killCause `json:"killing,omitempty"`     // why it is being killed
	Callback    *int      `json:"callback,omitempty"`    // status code that an async callback gave before the launcher ended
	Elements    int64     `json:"elements,omitempty"`    // numElementsProcessed
	MadeUp      bool      `json:"madeUp,omitempty"`      // an occurrence that was missed and runs all the same, in its turn
	ByHand      bool      `json:"byHand,omitempty"`      // an attempt that follows one of a run started by hand
	Backfill    int64     `json:"backfill,omitempty"`    // the instant that it is of, in ms since the epoch, of a backfill
	Slow        bool      `json:"slow,omitempty"`        // eventSlow has been raised
	Late        bool      `json:"late,omitempty"`        // eventLate has been raised
	Token       string    `json:"token,omitempty"`       // digest of the token that its callback may carry in place of a password

	Causes     []runCause  `json:"causes,omitempty"`     // of a dependent run and of the attempts that follow it: what its parents did
	MoreCauses int         `json:"moreCauses,omitempty"` // parents that Causes has no room for
	RetryOf    string      `json:"retryOf,omitempty"`    // id of the attempt before this one
	Counted    *countedEnd `json:"counted,omitempty"`    // of an ended run whose job has children

	kept rawMembers // what a later version of this program has added
}

// A runCause is the run of a parent whose end has caused a run.
type runCause struct {
	Job string `json:"job"`
	// Run is its id. It is "" if there was no run, since somebody has marked the job as successful, and if the
	// parent's history did not go back to it.
	Run string `json:"run,omitempty"`
}

// A countedEnd says which success, failure and end of its job the end of a run was, counted as its children count them. It
// is in the parent's history, so that no child has to store anything for whoever leads to find what its next run follows.
type countedEnd struct {
	Success int64 `json:"success,omitempty"` // the job's generation
	Failure int64 `json:"failure,omitempty"`
	End     int64 `json:"end,omitempty"`
}

const (
	maxCauses     = 20      // parents that a run names,
	maxCauseBytes = 4 << 10 // in so many bytes
)

// size is about what the cause takes in a record.
func (c runCause) size() int { return len(`{"job":,"run":},`) + quotedLen(c.Job) + quotedLen(c.Run) }

// callbackPrefix begins the tokens of runs, and tells them from those of users.
const callbackPrefix = "chronosrun_"

// tokenDigest is what is kept of a token, "" for none. Tokens are random, so they need no salt and no slow hash.
func tokenDigest(token string) string {
	if token == "" {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(token)))
}

// An outputPiece is a part of a run's output.
type outputPiece struct {
	text []byte
	gap  int64 // instead of text: how many bytes from here on were left out when the run wrote them
	size int64 // of everything written so far
}

// leftOut is what stands in place of bytes that were left out.
func leftOut(n int64) []byte { return fmt.Appendf(nil, "\n[%d bytes were left out here]\n", n) }

// A mergedPiece is a part of both outputs of a run, in the order in which they were written.
type mergedPiece struct {
	text   []byte
	stderr [][2]int // stretches of text that were written to stderr
	next   int64    // the offset of what follows; where something was left out, the text is shorter
	size   int64    // of everything whose place is known so far
}

// instant is the one that the run is of, in ms: its due time, or what a backfill says.
func (r *Run) instant() int64 {
	if r.Backfill != 0 {
		return r.Backfill
	}
	return r.Due
}

// dueTime returns Due as a time in UTC.
func (r *Run) dueTime() time.Time { return time.UnixMilli(r.Due).UTC() }

// sinceDue returns how long after its due time an instant is, in ms: 0 if the clock was set back in between.
func (r *Run) sinceDue(at int64) int64 { return max(0, at-r.Due) }

// known reports whether this version knows the state.
func (s runState) known() bool {
	switch s {
	case runQueued, runLaunching, runActive, runAwaiting, runFinished, runFailed, runKilled, runLost, runMissed, runSkipped:
		return true
	}
	return false
}

// ended reports whether nothing more can happen to the run.
func (r *Run) ended() bool {
	switch r.State {
	case runQueued, runLaunching, runActive, runAwaiting:
		return false
	}
	return true
}

// isOccurrence reports whether the run is the first attempt of what the job's schedule or its parents have caused.
func (r *Run) isOccurrence() bool { return r.Kind == kindScheduled || r.Kind == kindDependent }

// ofOccurrence reports whether the run is an attempt of such.
func (r *Run) ofOccurrence() bool { return r.isOccurrence() || r.Kind == kindRetry && !r.ByHand }

// waitsAt reports whether the run waits to be started, other than for the time of a retry.
func (r *Run) waitsAt(now int64) bool {
	return r.State == runQueued && (r.Kind != kindRetry || r.Due <= now)
}

// A runCell is how a picture of many runs shows one, in ms.
type runCell struct {
	state      runState
	due        int64
	late, took int64 // -1 as long as they are not known
}

func (r *Run) cell() runCell {
	c := runCell{r.State, r.Due, -1, -1}
	if r.Started != 0 {
		c.late = r.sinceDue(r.Started)
		if r.Ended != 0 {
			c.took = max(0, r.Ended-r.Started)
		}
	}
	return c
}

// size is about what the run takes in a record, an overestimate rather than an underestimate.
func (r *Run) size() int {
	n := 500 + len(r.kept) // for the names and numbers, and members that are not ours
	for _, text := range []string{r.ID, r.Job, r.Args, r.Reason, r.Sandbox, string(r.Killing), r.Agent, r.AgentID, r.Token, r.By, r.Why, r.RetryOf} {
		n += quotedLen(text)
	}
	for _, text := range r.ArgList {
		n += quotedLen(text) + len(",")
	}
	for _, v := range r.Env {
		n += quotedLen(v.Name) + quotedLen(v.Value) + len(`{"name":,"value":},`)
	}
	for _, c := range r.Causes {
		n += c.size()
	}
	return n
}

// givenSize is how many bytes somebody has given to the run beside what its job says.
func (r *Run) givenSize() int {
	n := len(r.Args) + len(r.Why)
	for _, text := range r.ArgList {
		n += len(text)
	}
	for _, v := range r.Env {
		n += len(v.Name) + len(v.Value)
	}
	return n
}

// giveAs hands on to the next attempt what somebody has given to this one.
func (r *Run) giveAs(next Run) *Run {
	next.Args, next.HasArgs, next.ArgList, next.Env, next.By, next.Why, next.Backfill = r.Args, r.HasArgs, r.ArgList, r.Env, r.By, r.Why, r.Backfill
	return &next
}

// eventKind names what happened to a job or a run.
type eventKind string

const (
	eventQueued           eventKind = "queued"
	eventStarted          eventKind = "started"          // once for a run
	eventFinished         eventKind = "finished"         // this and each of the following ends a run
	eventFailed           eventKind = "failed"           // one attempt; Run.State tells failed, killed and lost apart
	eventMissed           eventKind = "missed"           // also of occurrences of which there never was a run
	eventSkipped          eventKind = "skipped"          // also because its job was disabled while it waited
	eventRetriesExhausted eventKind = "retriesExhausted" // after eventFailed, when no attempt follows
	eventDisabled         eventKind = "disabled"         // after eventFailed, instead of eventRetriesExhausted
	eventRemoved          eventKind = "removed"
	eventLate             eventKind = "late"      // has waited longer than it should; raised once for a run
	eventSlow             eventKind = "slow"      // takes longer than its job expects; raised once for a run
	eventAbsent           eventKind = "absent"    // of a job that has not succeeded for too long; raised once
	eventRecovered        eventKind = "recovered" // of a job that has succeeded after that
	eventProgress         eventKind = "progress"  // has handled more elements
)

// The causes of eventDisabled. Any other text is sent as it is.
const (
	causeFailures    = "failures"    // disable_after_failures was reached
	causeRecurrences = "recurrences" // the schedule has no repetition left
)

// A jobEvent is something that has happened and is stored.
type jobEvent struct {
	Kind     eventKind
	Job      *Job      // as it was before the event: its counters are the old ones
	Run      *Run      // nil where no run is concerned
	Message  string    // what Mesos said about the task
	Cause    string    // of eventDisabled and eventRecovered
	Elements int64     // of eventProgress: how many more
	Time     time.Time // when it happened
}
