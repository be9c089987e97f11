package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
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
	At     int64  `json:"at"`           // ms since the epoch
	Of     string `json:"of,omitempty"` // digest of the request
}

// errIDReused refuses a request that is not the one its id was given to first.
var errIDReused = errors.New("this request id was used for another request; each change needs an id of its own")

func newRequestLog() *requestLog { return &requestLog{answers: map[string]requestAnswer{}} }

// answer returns what the request of that name was answered, if it is known. The error is errIDReused.
func (l *requestLog) answer(name *requestName) (answer string, known bool, err error) {
	a, known := l.answers[name.id()]
	if known && a.Of != "" && a.Of != name.digest { // answers stored by earlier versions have no digest
		err = errIDReused
	}
	return a.Answer, known, err
}

// remember keeps an answer, and returns the records to store: the answer, and
// the removal of those that are old enough to be forgotten.
func (l *requestLog) remember(name *requestName, answer string, now int64) []record {
	var out []record
	for len(out) < forgetAtOnce && len(l.order) > 0 && now-l.answers[l.order[0]].At > requestMemory.Milliseconds() {
		out = append(out, record{requestRecord(l.order[0]), nil})
		delete(l.answers, l.order[0])
		l.order = l.order[1:]
	}
	id := name.id()
	if id == "" {
		return out
	}
	a := requestAnswer{Answer: answer, At: now, Of: name.digest}
	l.answers[id] = a
	l.order = append(l.order, id)
	return append(out, record{requestRecord(id), mustJSON(a)})
}

// take takes in stored answers.
func (l *requestLog) take(stored map[string]requestAnswer) {
	type place struct {
		at int64
		id string
	}
	places := make([]place, 0, len(stored))
	for id, a := range stored {
		places = append(places, place{a.At, id})
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.id, b.id)) })
	l.answers, l.order = stored, make([]string, len(places))
	for i, p := range places {
		l.order[i] = p.id
	}
}

// decodeAnswer reads a stored answer, and the id that its key names.
func decodeAnswer(key string, value []byte) (id string, a requestAnswer, err error) {
	if id, err = parseRecordName(strings.TrimPrefix(key, requestPrefix)); err == nil {
		err = json.Unmarshal(value, &a)
	}
	return id, a, err
}

// shift makes sure that answers are kept for as long as intended after the clock was set.
func (l *requestLog) shift(by int64) {
	for id, a := range l.answers {
		a.At += by
		l.answers[id] = a
	}
}

const requestPrefix = "go/request/"

func requestRecord(id string) string { return requestPrefix + recordName(id) }

// A requestName is the id of a write, and a digest of what it asks for. A write whose id has
// been committed is done, and must not be done again. A write without an id has the name nil.
type requestName struct {
	given  string
	digest string
}

// newRequestName names a request that consists of these parts.
func newRequestName(id string, parts ...[]byte) *requestName {
	sum := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(sum, "%d:", len(p)) // so that no two lists of parts are the same bytes
		sum.Write(p)
	}
	return &requestName{id, hex.EncodeToString(sum.Sum(nil)[:16])}
}

// complete adds to the digest that of a body that was not known when the request was named.
func (n *requestName) complete(body hash.Hash) {
	if n != nil {
		n.digest = newRequestName("", []byte(n.digest), body.Sum(nil)).digest
	}
}

func (n *requestName) id() string {
	if n == nil {
		return ""
	}
	return n.given
}

// requestNameKey is where the name of a write is found in the context of its request.
type requestNameKey struct{}

// A permit says what the one who asks for a change may touch. It is asked within the loop, of what is there then.
type permit interface {
	// job is nil if the change may be made to a job, or the question be asked of it. j is nil if there is none of that name.
	job(name string, j *Job) error
	// parent is nil if a document may name this parent anew.
	parent(name string, j *Job) error
	// heir is nil if a job may be changed by the deletion of its parent.
	heir(j *Job) error
	// run is nil if somebody may report on a run. r and j are nil if there is none.
	run(id string, r *Run, j *Job) error
}

// anybody may do everything, where nobody is asked who he is.
type anybody struct{}

func (anybody) job(string, *Job) error       { return nil }
func (anybody) parent(string, *Job) error    { return nil }
func (anybody) heir(*Job) error              { return nil }
func (anybody) run(string, *Run, *Job) error { return nil }

// permitKey is where the permit of a request is found in its context.
type permitKey struct{}

// permitOf returns what the one may do for whom ctx is.
func permitOf(ctx context.Context) permit {
	if p, ok := ctx.Value(permitKey{}).(permit); ok {
		return p
	}
	return anybody{}
}

// requestNamed returns the name of the write that ctx belongs to, nil for none.
func requestNamed(ctx context.Context) *requestName {
	name, _ := ctx.Value(requestNameKey{}).(*requestName)
	return name
}

// mayDepend is nil if a document adds only parents that it may.
func (s *scheduler) mayDepend(p permit, old, j *Job, find func(string) *Job) error {
	for _, name := range j.Parents {
		if old != nil && slices.Contains(old.Parents, name) {
			continue
		}
		if err := p.parent(name, find(name)); err != nil {
			return err
		}
	}
	return nil
}
