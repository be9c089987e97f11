package main

import "time"

// eventKind names what happened to a job or a run.
type eventKind string

const (
	eventQueued           eventKind = "queued"
	eventStarted          eventKind = "started" // once for a run
	eventFinished         eventKind = "finished"
	eventFailed           eventKind = "failed"           // one attempt; Run.State tells failed, killed and lost apart
	eventRetriesExhausted eventKind = "retriesExhausted" // after eventFailed, when no attempt follows
	eventDisabled         eventKind = "disabled"         // after eventFailed, instead of eventRetriesExhausted
	eventRemoved          eventKind = "removed"
	eventExpired          eventKind = "expired" // waited when its job was disabled
	eventMissed           eventKind = "missed"
	eventSkipped          eventKind = "skipped"
	eventLate             eventKind = "late"     // waits longer than it should
	eventProgress         eventKind = "progress" // has handled more elements
)

// The causes of eventDisabled. Any other text is sent as it is.
const (
	causeFailures    = "failures"    // disable_after_failures was reached
	causeRecurrences = "recurrences" // the schedule has no repetition left
	causeRequest     = "request"     // somebody disabled it; nobody is told
)

// A jobEvent is something that has happened and is stored.
type jobEvent struct {
	Kind     eventKind
	Job      *Job      // as it was before the event: its counters are the old ones
	Run      *Run      // nil where no run is concerned
	Message  string    // what Mesos said about the task
	Cause    string    // of eventDisabled
	Elements int64     // of eventProgress: how many more
	Time     time.Time // when it happened
}
