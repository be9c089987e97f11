package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	maxSubscribers   = 256
	eventPace        = 250 * time.Millisecond // between two events; what changes meanwhile is one
	eventHeartbeat   = 15 * time.Second
	keptViews        = 16 // from which a client can go on
	keptWithoutUsers = time.Minute
)

// An eventHub lets clients follow the view. It queues nothing: a slow client gets
// what has changed since the view it last saw, in one event. The hub keeps the views
// that some client has seen, so that a broken connection can be resumed.
type eventHub struct {
	id   string // of this process; the next one starts numbering terms and views from the beginning
	pace time.Duration

	mu          sync.Mutex
	kept        []*view // oldest first
	at          time.Time
	subscribers int
	sweep       *time.Timer // drops kept views when nobody has listened for a while
}

func newEventHub() *eventHub { return &eventHub{id: rand.Text()[:8], pace: eventPace} }

// name returns the id of the event that brings a client to the view.
func (h *eventHub) name(v *view) string {
	return h.id + "-" + strconv.FormatInt(v.term, 10) + "-" + strconv.FormatInt(v.number, 10)
}

// find returns the view that a client has seen, or nil.
func (h *eventHub) find(name string) *view {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.kept, func(v *view) bool { return h.name(v) == name })
	if i < 0 {
		return nil
	}
	return h.kept[i]
}

// keep remembers a view that a client has been shown.
func (h *eventHub) keep(v *view) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(v)
	h.expire()
}

// add inserts a view after the older ones: its caller may have been overtaken by
// one with a newer view.
func (h *eventHub) add(v *view) {
	if slices.Contains(h.kept, v) {
		return
	}
	at := len(h.kept)
	for at > 0 && h.kept[at-1].newer(v) {
		at--
	}
	if at == len(h.kept) {
		h.at = time.Now()
	}
	h.kept = slices.Insert(h.kept, at, v)
	if len(h.kept) > keptViews {
		h.kept = slices.Delete(h.kept, 0, 1)
	}
}

// expire drops the views later, unless somebody is listening then.
func (h *eventHub) expire() {
	if h.subscribers > 0 {
		return
	}
	if h.sweep != nil {
		h.sweep.Reset(keptWithoutUsers)
		return
	}
	h.sweep = time.AfterFunc(keptWithoutUsers, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.subscribers == 0 {
			h.kept = nil
		}
	})
}

// newest returns the view to show next. All clients are shown the same ones, pace
// apart; if the time for a new one hasn't come, wait says when to ask again.
func (h *eventHub) newest(v *view) (show *view, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.kept); n > 0 && h.kept[n-1].term == v.term {
		last := h.kept[n-1]
		if !v.newer(last) {
			return last, 0
		}
		if rest := h.pace - time.Since(h.at); rest > 0 {
			return last, rest
		}
	}
	h.add(v)
	return v, 0
}

func (h *eventHub) join() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers == maxSubscribers {
		return false
	}
	h.subscribers++
	return true
}

func (h *eventHub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers--
	h.expire()
}

// streamEvents sends what changes, from the view on that the client has seen: the one of
// its Last-Event-ID, or of the query, or, if it names none, the current one. If that
// is no longer kept, a reset event tells the client to get the overview again.
func (a *api) streamEvents(c *call) error {
	if !a.events.join() {
		return &httpError{status: http.StatusServiceUnavailable, text: "too many clients listen", retry: 30}
	}
	defer a.events.leave()
	seen := c.r.Header.Get("Last-Event-ID")
	if seen == "" {
		seen = c.query("since")
	}
	c.w.Header().Set("Content-Type", typeEvents)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.Header().Set("X-Accel-Buffering", "no") // for nginx
	if c.r.Method == http.MethodHead {
		return nil
	}
	c.w.stream()
	e := &eventStream{hub: a.events, call: c, out: bufio.NewWriterSize(c.w, smallAnswer)}
	last := a.events.find(seen)
	switch {
	case seen == "":
		last, _ = a.events.newest(c.scheduler.view())
		e.send("retry: 1000\nid: ", a.events.name(last), "\ndata: {}\n\n")
	case last == nil || last.term != c.scheduler.view().term:
		e.send("retry: 1000\nevent: reset\ndata: {}\n\n")
		return nil
	default:
		e.send("retry: 1000\n\n")
	}
	e.follow(last)
	return nil
}

// An eventStream is one client that follows.
type eventStream struct {
	hub    *eventHub
	call   *call
	out    *bufio.Writer
	failed bool
}

func (e *eventStream) send(text ...string) {
	for _, t := range text {
		e.out.WriteString(t)
	}
	e.flush()
}

func (e *eventStream) flush() {
	if e.failed {
		return
	}
	err := e.out.Flush()
	if err == nil {
		err = e.call.w.FlushError()
	}
	e.failed = err != nil
}

// tell sends what has changed between two views. If there is no memory for that, the client is dropped.
func (e *eventStream) tell(last, show *view) {
	c := describeChange(sightOf(last, e.call.who), sightOf(show, e.call.who))
	if c == nil {
		return
	}
	size := int64(len(c.head) + 24*len(c.rows)) // the rows themselves belong to the view
	if !e.call.share.grow(size) {
		e.failed = true
		return
	}
	defer e.call.share.shrink(size)
	e.out.WriteString("id: " + e.hub.name(show) + "\ndata: ")
	e.out.Write(c.head)
	if writeList(e.out, slices.Values(c.rows), func(row []byte) []byte { return row }) != nil {
		e.failed = true
		return
	}
	e.send("}\n\n")
}

// follow sends events until the client goes, the term ends or the server stops.
func (e *eventStream) follow(last *view) {
	c := e.call
	heartbeat := time.NewTicker(eventHeartbeat)
	defer heartbeat.Stop()
	for !e.failed {
		still, rights := c.rights()
		if !still {
			e.send("event: reset\ndata: {}\n\n") // so that the client asks for what it may see now
			return
		}
		changed := c.scheduler.changed()
		show, wait := e.hub.newest(c.scheduler.view())
		if show != last {
			e.tell(last, show)
			last = show
		}
		var pace <-chan time.Time
		if wait > 0 {
			changed, pace = nil, time.After(wait)
		}
		select {
		case <-changed:
		case <-rights:
		case <-pace:
		case <-heartbeat.C:
			e.send(":\n\n")
		case <-c.scheduler.ended:
			return
		case <-c.server.stopping:
			return
		case <-c.r.Context().Done():
			return
		}
	}
}

// A viewEvent is what is sent to a client: a document that ends with a list of rows and a brace.
type viewEvent struct {
	head []byte
	rows [][]byte
}

// describeChange returns what a client that has seen one view must know to be at
// another, nil if nothing.
func describeChange(last, show sight) *viewEvent {
	changed, removed := show.since(last)
	rows := make([][]byte, 0, len(changed))
	for _, jv := range changed {
		if was := last.job(jv.job.Name); was == nil || !bytes.Equal(rowOf(was), rowOf(jv)) {
			rows = append(rows, rowOf(jv))
		}
	}
	queued, running := show.counts()
	queuedBefore, runningBefore := last.counts()
	if len(rows)+len(removed) == 0 && queuedBefore == queued && runningBefore == running &&
		last.view.subscribed == show.view.subscribed && len(last.records()) == len(show.records()) {
		return nil
	}
	head := fmt.Appendf(nil, `{"queued":%d,"running":%d,"subscribed":%t,"invalidRecords":%d`, queued, running, show.view.subscribed, len(show.records()))
	head = appendList(head, "removed", removed, appendString)
	return &viewEvent{append(head, `,"jobs":`...), rows}
}
