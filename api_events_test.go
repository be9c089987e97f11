package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
)

// An event is one that a client of the stream has got.
type event struct{ name, id, data string }

// follow opens the stream at url and returns a function that waits for the next event. At
// the end of the stream it returns an event named end.
func follow(t *testing.T, client *http.Client, url string, header ...string) func() event {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != typeEvents {
		t.Fatalf("GET %s = %d %s, want 200 %s", url, res.StatusCode, got, typeEvents)
	}
	return readEvents(res.Body)
}

// readEvents returns a function that waits for the next event of a stream, as follow does.
func readEvents(stream io.Reader) func() event {
	lines := bufio.NewScanner(stream)
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
	t.Parallel()
	n, _, do := eventsAt(t)
	given(t, do, scheduledJob("a"), scheduledJob("b"))
	next := follow(t, http.DefaultClient, n.url+"/v1/scheduler/events?since="+overviewEvent(t, n.url))
	given(t, do, scheduledJob("c"))
	first := next()
	if got := changedNames(t, first); got != "c" {
		t.Errorf("event after a job was made = %q, want c", got)
	}
	do("DELETE /scheduler/job/a")
	if got := changedNames(t, next()); got != "-a" {
		t.Errorf("event after a job was deleted = %q, want -a", got)
	}
	again := follow(t, http.DefaultClient, n.url+"/scheduler/events", "Last-Event-ID", first.id)
	if got := changedNames(t, again()); got != "-a" {
		t.Errorf("event for who has seen %s = %q, want -a", first.id, got)
	}
}

func TestEventsSinceAnUnknownOneAreReset(t *testing.T) {
	t.Parallel()
	n, _, _ := eventsAt(t)
	next := follow(t, http.DefaultClient, n.url+"/scheduler/events?since=other-1-1")
	if got := next(); got.name != "reset" {
		t.Errorf("first event = %+v, want a reset", got)
	}
	if got := next(); got.name != "end" {
		t.Errorf("after the reset = %+v, want the end", got)
	}
}

func TestEventsOfManyChangesAreOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newAPI(leading(testScheduler(t)))
		ctx, leave := context.WithCancel(t.Context())
		w := httptest.NewRecorder()
		var following sync.WaitGroup
		following.Go(func() { s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/scheduler/events", nil)) })
		synctest.Wait()
		const changes, apart = 50, eventPace / 10
		want := map[string]bool{}
		for i := range changes {
			name := fmt.Sprintf("job-%d", i)
			want[name] = true
			given(t, func(request string) *http.Response { return send(t, s, request) }, scheduledJob(name))
			time.Sleep(apart)
		}
		time.Sleep(eventPace)
		leave()
		following.Wait()
		next, events := readEvents(w.Body), 0
		next() // the present
		for e := next(); e.name != "end"; e = next() {
			events++
			for _, name := range strings.Fields(changedNames(t, e)) {
				delete(want, name)
			}
		}
		if most := int(changes*apart/eventPace) + 1; events > most || len(want) > 0 {
			t.Errorf("%d changes in %v came in %d events, want at most %d; they lack %v", changes, changes*apart, events, most, want)
		}
	})
}

func TestEventsEndWithTheLeadership(t *testing.T) {
	t.Parallel()
	n, at, do := eventsAt(t)
	follower := startInstance(t, at, nil, nil)
	next := follow(t, http.DefaultClient, follower.url+"/scheduler/events")
	given(t, do, scheduledJob("a"))
	next() // the present
	for got := ""; got != "a"; got = changedNames(t, next()) {
	}
	at.set("127.0.0.1:1")
	if got := next(); got.name != "end" {
		t.Errorf("after %s stopped leading, the follower sends %+v, want the end", n.id, got)
	}
}

// An instance that is told to stop waits for the requests under way, of which a stream of events would be one forever.
func TestEventsEndWhenAFollowerStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := newTestSeat("")
		at.memory = new(mesostest.Net)
		leader := startInstance(t, at, testScheduler(t), nil)
		at.set(leader.id)
		follower := startInstance(t, at, nil, nil)
		next := follow(t, at.client(), follower.url+"/scheduler/events")
		next() // the present
		start := time.Now()
		follower.stop()
		if took := time.Since(start); took >= shutdownGrace {
			t.Errorf("the follower took %v of virtual time to stop", took)
		}
		if got := next(); got.name != "end" {
			t.Errorf("after the follower stopped: %+v, want the end", got)
		}
	})
}

func TestEventsHaveABoundOfListeners(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
