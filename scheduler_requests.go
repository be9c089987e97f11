package main

import (
	"context"
	"encoding/json"
	"time"
)

// requestMemory is how long the answer to a request id is kept.
const requestMemory = 10 * time.Minute

// forgetAtOnce bounds the answers that one change removes: what a burst of requests
// has left must not make the next change larger than a store takes.
const forgetAtOnce = 100

// A requestLog holds the answers to changes that carried a request id. They are
// stored with the change itself, as go/request/<id>, so that the next leader knows them too.
type requestLog struct {
	answers map[string]requestAnswer
	order   []string // oldest first
}

type requestAnswer struct {
	Answer string `json:"answer"`
	At     int64  `json:"at"` // ms since the epoch
}

func newRequestLog() *requestLog { return &requestLog{answers: map[string]requestAnswer{}} }

func (l *requestLog) answer(id string) (string, bool) {
	a, ok := l.answers[id]
	return a.Answer, ok && id != ""
}

// remember keeps an answer, and returns the records to store: the answer, and
// the removal of those that are old enough to be forgotten.
func (l *requestLog) remember(id, answer string, now int64) []record {
	var out []record
	for len(out) < forgetAtOnce && len(l.order) > 0 && now-l.answers[l.order[0]].At > requestMemory.Milliseconds() {
		out = append(out, record{requestRecord(l.order[0]), nil})
		delete(l.answers, l.order[0])
		l.order = l.order[1:]
	}
	if id == "" {
		return out
	}
	a := requestAnswer{answer, now}
	l.answers[id] = a
	l.order = append(l.order, id)
	return append(out, record{requestRecord(id), mustJSON(a)})
}

// load takes in a stored answer. The caller sorts them by their time afterwards.
func (l *requestLog) load(id string, value []byte) error {
	var a requestAnswer
	if err := json.Unmarshal(value, &a); err != nil {
		return err
	}
	l.answers[id] = a
	l.order = append(l.order, id)
	return nil
}

// shift keeps the answers for as long as they would have been, after the clock was set.
func (l *requestLog) shift(by int64) {
	for id, a := range l.answers {
		a.At += by
		l.answers[id] = a
	}
}

func requestRecord(id string) string { return "go/request/" + recordName(id) }

// requestIDKey is where the id of a write is found in the context of its request.
type requestIDKey struct{}

// requestID returns the id of the write that ctx belongs to, "" for none. A write
// whose id has been committed already is done: it must not be done again.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
