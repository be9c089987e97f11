package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An event is one that a client of the stream has got.
type event struct{ name, id, data string }

// follow opens the stream at url and returns a function that waits for the next event. At
// the end of the stream it returns an event named end.
func follow(t *testing.T, url string, header ...string) func() event {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != typeEvents {
		t.Fatalf("GET %s = %d %s, want 200 %s", url, res.StatusCode, got, typeEvents)
	}
	lines := bufio.NewScanner(res.Body)
	return func() event {
		e := event{name: "message"}
		for lines.Scan() {
			field, text, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				e.name = text
			case "id":
				e.id = text
			case "data":
				e.data = text
			case "":
				if e.data != "" {
					return e
				}
			}
		}
		return event{name: "end"}
	}
}

// changedNames is the names of the jobs in an event, and those removed with a minus.
func changedNames(t *testing.T, e event) string {
	t.Helper()
	var doc struct {
		Removed []string
		Jobs    []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(e.data), &doc); err != nil {
		t.Fatalf("event %+v: %v", e, err)
	}
	var names []string
	for _, j := range doc.Jobs {
		names = append(names, j.Name)
	}
	for _, name := range doc.Removed {
		names = append(names, "-"+name)
	}
	return strings.Join(names, " ")
}

// overviewEvent returns the event that the overview names.
func overviewEvent(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url + "/scheduler/overview")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var doc struct{ Event string }
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc.Event
}

func scheduledJob(name string) string {
	return fmt.Sprintf(`{"name":%q,"command":"true","schedule":"R/2030-01-01T00:00:00Z/P1D"}`, name)
}

// eventsAt returns an instance that leads, with a scheduler and a function that changes it.
func eventsAt(t *testing.T) (*testInstance, *testSeat, func(string) *http.Response) {
	sch := testScheduler(t)
	at := newTestSeat("")
	n := startInstance(t, at, sch, nil)
	at.set(n.id)
	s := newAPI(leading(sch))
	return n, at, func(request string) *http.Response { return send(t, s, request) }
}

func TestEventsTellWhatChanges(t *testing.T) {
	n, _, do := eventsAt(t)
	given(t, do, scheduledJob("a"), scheduledJob("b"))
	next := follow(t, n.url+"/v1/scheduler/events?since="+overviewEvent(t, n.url))
	given(t, do, scheduledJob("c"))
	first := next()
	if got := changedNames(t, first); got != "c" {
		t.Errorf("event after a job was made = %q, want c", got)
	}
	do("DELETE /scheduler/job/a")
	if got := changedNames(t, next()); got != "-a" {
		t.Errorf("event after a job was deleted = %q, want -a", got)
	}
	again := follow(t, n.url+"/scheduler/events", "Last-Event-ID", first.id)
	if got := changedNames(t, again()); got != "-a" {
		t.Errorf("event for who has seen %s = %q, want -a", first.id, got)
	}
}

func TestEventsSinceAnUnknownOneAreReset(t *testing.T) {
	n, _, _ := eventsAt(t)
	next := follow(t, n.url+"/scheduler/events?since=other-1-1")
	if got := next(); got.name != "reset" {
		t.Errorf("first event = %+v, want a reset", got)
	}
	if got := next(); got.name != "end" {
		t.Errorf("after the reset = %+v, want the end", got)
	}
}

func TestEventsOfManyChangesAreOne(t *testing.T) {
	n, _, do := eventsAt(t)
	next := follow(t, n.url+"/scheduler/events")
	next() // the present
	want := map[string]bool{}
	for i := range 50 {
		name := fmt.Sprintf("job-%d", i)
		want[name] = true
		given(t, do, scheduledJob(name))
	}
	events := 0
	for len(want) > 0 {
		events++
		for _, name := range strings.Fields(changedNames(t, next())) {
			delete(want, name)
		}
	}
	if events > 25 {
		t.Errorf("50 changes came in %d events", events)
	}
}

func TestEventsEndWithTheLeadership(t *testing.T) {
	n, at, do := eventsAt(t)
	follower := startInstance(t, at, nil, nil)
	next := follow(t, follower.url+"/scheduler/events")
	given(t, do, scheduledJob("a"))
	next() // the present
	for got := ""; got != "a"; got = changedNames(t, next()) {
	}
	at.set("127.0.0.1:1")
	if got := next(); got.name != "end" {
		t.Errorf("after %s stopped leading, the follower sends %+v, want the end", n.id, got)
	}
}

func TestEventsEndWhenAFollowerStops(t *testing.T) {
	_, at, _ := eventsAt(t)
	follower := startInstance(t, at, nil, nil)
	next := follow(t, follower.url+"/scheduler/events")
	next() // the present
	start := time.Now()
	follower.stop()
	if took := time.Since(start); took >= shutdownGrace {
		t.Errorf("the follower took %v to stop", took)
	}
	if got := next(); got.name != "end" {
		t.Errorf("after the follower stopped: %+v, want the end", got)
	}
}

func TestEventsHaveABoundOfListeners(t *testing.T) {
	h := newEventHub()
	for i := range maxSubscribers {
		if !h.join() {
			t.Fatalf("listener %d was refused", i)
		}
	}
	if h.join() {
		t.Errorf("listener %d was let in", maxSubscribers+1)
	}
	h.leave()
	if !h.join() {
		t.Error("after one has left, the next was refused")
	}
}

// A client that has read a view may come with it after another one that came with a newer one.
func TestEventsNeverGoBackToAnOlderView(t *testing.T) {
	h := newEventHub()
	older := newView().with(nil)
	newer := older.with(nil)
	for _, v := range []*view{newer, older} {
		h.keep(v)
		h.at = time.Time{} // long ago
		if got, _ := h.newest(v); got != newer {
			t.Errorf("newest(view %d) = view %d, want %d", v.number, got.number, newer.number)
		}
	}
	if h.find(h.name(older)) != older {
		t.Error("a view that a client has been shown is not kept, so it cannot go on from there")
	}
	next := newView()
	next.term = 1
	if got, _ := h.newest(next); got != next {
		t.Errorf("the first view of the next term is not shown but view %d of term %d", got.number, got.term)
	}
}

func TestViewsAreComparedByWhatChanged(t *testing.T) {
	a, b, far := viewed("a"), viewed("b"), viewed("far")
	v1 := newView().with([]viewChange{{set: []*jobView{a, b}}})
	for i := range 1000 {
		name := fmt.Sprint(i)
		v1 = v1.with([]viewChange{{set: []*jobView{viewed(name)}}, {clear: []string{name}}})
	}
	v1 = v1.with([]viewChange{{set: []*jobView{far}}})
	b2, anew := viewed("b"), viewed("a")
	v2 := v1.with([]viewChange{{set: []*jobView{b2, anew}, clear: []string{"a"}}})
	v3 := v2.with([]viewChange{{clear: []string{"far"}}})
	moved := *v3
	moved.compact()
	tests := []struct {
		from, to *view
		want     string
	}{
		{v1, v1, "[] []"},
		{newView(), v1, "[a b far] []"},
		{v1, v2, "[b a] []"}, // a was deleted and made again
		{v2, v3, "[] [far]"},
		{v1, v3, "[b a] [far]"},
		{v3, &moved, "[] []"}, // slots given out anew are no change
		{v1, &moved, "[b a] [far]"},
	}
	for _, tt := range tests {
		changed, removed := tt.to.since(tt.from)
		names := []string{}
		for _, jv := range changed {
			names = append(names, jv.job.Name)
		}
		if got := fmt.Sprint(names, " ", removed); got != tt.want {
			t.Errorf("view %d since view %d = %s, want %s", tt.to.number, tt.from.number, got, tt.want)
		}
	}
}

func TestRowsOfTheOverview(t *testing.T) {
	jv := &jobView{
		job:     &Job{Name: "a", Command: strings.Repeat("é", rowText), Dependent: true, Parents: []string{"p"}, LastError: "2030-01-01T00:00:00.000Z", Disabled: true},
		runs:    []*Run{{State: runActive, Due: 5000, Started: 5010}, {State: runQueued, Due: 6000}},
		history: []*Run{{State: runFailed, Due: 1000, Started: 1001, Ended: 1003}, {State: runMissed, Due: 500}},
		missed:  3,
	}
	want := `{"name":"a","command":"` + strings.Repeat("é", rowText/2) + `…","parents":["p"],"disabled":true,"status":"failure","state":"running","running":1,"missed":3,` +
		`"lastError":"2030-01-01T00:00:00.000Z","runs":[["q",6000],["a",5000,10],["f",1000,1,2],["m",500]]}`
	if got := string(jv.row()); got != want {
		t.Errorf("row = %s, want %s", got, want)
	}
}

func BenchmarkOverview(b *testing.B) {
	sch := testScheduler(b)
	s := newAPI(leading(sch))
	do := func(request string) *http.Response { return send(b, s, request) }
	for i := range 1000 {
		given(b, do, scheduledJob(fmt.Sprintf("some.job.with-a-name-%d", i)))
	}
	for b.Loop() {
		res := do("GET /v1/scheduler/overview")
		b.SetBytes(int64(len(bodyOf(b, res))))
	}
}
