package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	"github.com/go-zookeeper/zk"
)

func TestFollowerForwards(t *testing.T) {
	t.Parallel()
	at := newTestSeat("")
	leader := startInstance(t, at, testScheduler(t), nil)
	follower := startInstance(t, at, nil, nil)
	at.set(leader.id)
	if res, body := ask(t, "POST", follower.url+"/scheduler/iso8601", jobA); res.StatusCode != 204 || body != "" {
		t.Fatalf("POST through a follower = %d %q, want 204 without a body", res.StatusCode, body)
	}
	for _, n := range []*testInstance{leader, follower} {
		if res, body := ask(t, "GET", n.url+"/scheduler/jobs", ""); res.StatusCode != 200 || !strings.Contains(body, `"name":"a"`) {
			t.Errorf("GET jobs = %d %s, want the job", res.StatusCode, body)
		}
		res, body := ask(t, "DELETE", n.url+"/scheduler/job/x%2Fy", "")
		if want := "requirement failed: Job 'x/y' not found"; res.StatusCode != 400 || body != want {
			t.Errorf("DELETE = %d %q, want 400 %q", res.StatusCode, body, want)
		}
		if got := res.Header["Access-Control-Allow-Origin"]; len(got) != 1 || got[0] != "*" {
			t.Errorf("Access-Control-Allow-Origin = %q, want it once", got)
		}
		if _, body := ask(t, "GET", n.url+"/v1/scheduler/leader", ""); body != `{"leader":"`+leader.id+`"}` {
			t.Errorf("GET leader = %s, want %s", body, leader.id)
		}
	}
}

func TestForwardedRequestIsTheSame(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var gotBody string
	leader := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		b, _ := io.ReadAll(r.Body)
		gotBody = string(b)
		w.Header().Add("X-Two", "1")
		w.Header().Add("X-Two", "2")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "short and stout")
	})
	follower := startInstance(t, newTestSeat(leader), nil, nil)
	path := "/v1/scheduler/job/a%20b%2Fc?arguments=-x;%20y&&z=%zz"
	res, body := ask(t, "PUT", follower.url+path, `{"n":1}`, "Authorization", "Basic dTpw", "X-Forwarded-For", "10.0.0.9",
		"X-Forwarded-Proto", "https", "X-Forwarded-Port", "443", requestIDHeader, "mine")
	if res.StatusCode != http.StatusTeapot || body != "short and stout" || len(res.Header["X-Two"]) != 2 {
		t.Errorf("answer = %d %q %v, want what the leader said", res.StatusCode, body, res.Header)
	}
	if got.Method != "PUT" || got.RequestURI != path || gotBody != `{"n":1}` || got.Host != follower.id {
		t.Errorf("leader saw %s %s %q for %s", got.Method, got.RequestURI, gotBody, got.Host)
	}
	for name, want := range map[string]string{"Authorization": "Basic dTpw", "X-Forwarded-For": "10.0.0.9, 127.0.0.1", "X-Forwarded-Host": follower.id,
		"X-Forwarded-Proto": "https", "X-Forwarded-Port": "443", viaHeader: follower.id, requestIDHeader: "mine"} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("leader saw %s %q, want %q", name, v, want)
		}
	}
}

func TestRequestIsHeldUntilThereIsALeader(t *testing.T) {
	t.Parallel()
	at := newTestSeat("")
	leader := startInstance(t, at, testScheduler(t), nil)
	asked := make(chan struct{}, 10)
	follower := startInstance(t, at, nil, func(o *apiOptions) {
		leader := o.leader
		o.leader = func() (string, bool) { asked <- struct{}{}; return leader() }
	})
	var clients sync.WaitGroup
	clients.Go(func() {
		if res, body := ask(t, "POST", follower.url+"/scheduler/iso8601", jobA); res.StatusCode != 204 {
			t.Errorf("held POST = %d %s, want 204", res.StatusCode, body)
		}
	})
	<-asked // the request has found nobody
	at.set(leader.id)
	clients.Wait()
}

func TestLoadingLeaderHolds(t *testing.T) {
	t.Parallel()
	at := newTestSeat("")
	var mu sync.Mutex
	var loaded *scheduler
	asked := make(chan struct{}, 10)
	leader := startInstance(t, at, nil, func(o *apiOptions) {
		o.current = func() *scheduler {
			mu.Lock()
			defer mu.Unlock()
			asked <- struct{}{}
			return loaded
		}
	})
	at.set(leader.id)
	var clients sync.WaitGroup
	clients.Go(func() {
		if res, body := ask(t, "GET", leader.url+"/scheduler/jobs", ""); res.StatusCode != 200 || body != "[]" {
			t.Errorf("held GET = %d %s, want 200 []", res.StatusCode, body)
		}
	})
	<-asked
	mu.Lock()
	loaded = testScheduler(t)
	mu.Unlock()
	at.set(leader.id)
	clients.Wait()
}

func TestHoldingEnds(t *testing.T) {
	t.Parallel()
	follower := startInstance(t, newTestSeat(""), nil, func(o *apiOptions) { o.hold = time.Millisecond })
	for path, want := range map[string]string{"/scheduler/jobs": "no leader could be reached for 1ms: there is none",
		"/v1/scheduler/jobs": `{"message":"no leader could be reached for 1ms: there is none","status":"Service Unavailable"}`} {
		res, body := ask(t, "GET", follower.url+path, "")
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || body != want {
			t.Errorf("GET %s without a leader = %d %q, want 503 %q with Retry-After", path, res.StatusCode, body, want)
		}
	}
	for _, path := range []string{"/ping", "/", "/scheduler/leader", "/logging?local"} {
		if res, _ := ask(t, "GET", follower.url+path, ""); res.StatusCode != 200 {
			t.Errorf("GET %s without a leader = %d, want 200", path, res.StatusCode)
		}
	}
}

func TestDeadLeaderIsWaitedOut(t *testing.T) {
	t.Parallel()
	dead := startInstance(t, newTestSeat(""), nil, nil)
	dead.stop()
	at := newTestSeat(dead.id)
	successor := startInstance(t, at, testScheduler(t), nil)
	refused := make(chan struct{}, 10)
	follower := startInstance(t, at, nil, func(o *apiOptions) {
		o.locate = func(id string) peer { refused <- struct{}{}; return peer{scheme: "http", host: id, native: false} }
	})
	var clients sync.WaitGroup
	clients.Go(func() {
		// Even to a JVM's address a change may be sent again: it never arrived.
		if res, body := ask(t, "POST", follower.url+"/scheduler/iso8601", jobA); res.StatusCode != 204 {
			t.Errorf("POST = %d %s, want 204", res.StatusCode, body)
		}
	})
	<-refused
	at.set(successor.id)
	clients.Wait()
}

// A leader that would not understand what it is asked, and so lose some of it without a word, is not asked.
func TestWhatALeaderDoesNotUnderstandIsNotSentToIt(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var sent []string
	leader := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, r.Method+" "+r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	})
	document := func(members string) string {
		return `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"` + members + `}`
	}
	const jobs = "POST /scheduler/iso8601"
	for _, tt := range []struct{ request, body, what string }{ // what is in the text; "" for what every version understands
		{jobs, document(""), ""},
		{jobs, document(`,"labels":"team=data","environmentVariables":[{"name":"A","value":"1"}],"maxCompletionTime":60,"overlap":null`), ""},
		{jobs, `no JSON`, ""},
		{jobs, document(`,"overlap":"skip","labels":{"team":"data"}`), "overlap, labels in the job's document"},
		{jobs, document(`,"retryDelay":"soon"`), "retryDelay in the job's document"},
		{jobs, document(`,"environmentVariables":[{"name":"DB","secret":"x"}]`), "secrets in the job's document"},
		{jobs, document(`,"maxCompletionTime":"PT2H"`), "maxCompletionTime as a duration in the job's document"},
		{"PUT /v1/scheduler/dependency", `{"name":"a","command":"x","parents":["b"],"runOn":"end"}`, "runOn in the job's document"},
		{"PUT /scheduler/job/a", "", ""},
		{"PUT /scheduler/job/a?arguments=x", `{"other":1}`, ""},
		{"PUT /scheduler/job/a", `{"arguments":["x"]}`, "arguments, variables or a reason in the body"},
		{"PUT /scheduler/job/a", `{"reason":"late"}`, "arguments, variables or a reason in the body"},
		{"PUT /scheduler/job/success/a", "", ""},
		{"DELETE /scheduler/job/a", "", ""},
		{"PUT /scheduler/pause/a?until=PT2H", "", "a pause"},
		{"GET /scheduler/backfill/a", "", "a backfill"},
		{"PUT /scheduler/pool/db", `{"slots":3}`, "pools"},
		{"GET /scheduler/pools", "", "pools"},
	} {
		for _, to := range []peer{{}, {native: true}, {native: true, knows: true}} {
			to.scheme, to.host = "http", leader
			at := newTestSeat(leader)
			follower := startInstance(t, at, nil, func(o *apiOptions) { o.locate = func(string) peer { return to } })
			method, path, _ := strings.Cut(tt.request, " ")
			sent = nil
			res, text := ask(t, method, follower.url+path, tt.body)
			refused := tt.what != "" && !to.knows
			if (res.StatusCode == http.StatusServiceUnavailable) != refused || (len(sent) == 0) != refused || refused && !strings.Contains(text, "would not understand "+tt.what+";") {
				t.Errorf("%s %s to a leader %+v = %d %s; sent %q", tt.request, tt.body, to, res.StatusCode, text, sent)
			}
			follower.stop()
		}
	}
}

// A leader that dies after it has read a request may have done what it asks for.
func TestLeaderDiesMidway(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method string
		native       bool
		status       int
	}{
		{"a read is asked again", "GET", false, 200},
		{"a change is sent again under its id", "PUT", true, 204},
		{"a change isn't sent twice to versions that don't know ids", "PUT", false, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := newTestSeat("")
			sch := testScheduler(t)
			successor := startInstance(t, at, sch, nil)
			at.set(successor.id)
			ask(t, "POST", successor.url+"/scheduler/iso8601", jobA)
			dying := standIn(t, func(w http.ResponseWriter, r *http.Request) {
				at.set(successor.id)
				panic(http.ErrAbortHandler)
			})
			at.set(dying)
			follower := startInstance(t, at, nil, func(o *apiOptions) {
				o.locate = func(id string) peer { return peer{scheme: "http", host: id, native: tt.native} }
			})
			if res, body := ask(t, tt.method, follower.url+"/v1/scheduler/job/a", ""); res.StatusCode != tt.status {
				t.Errorf("%s = %d %s, want %d", tt.method, res.StatusCode, body, tt.status)
			}
		})
	}
}

// A leader that was stopped says nothing at all; the next one answers.
func TestSilentLeaderIsLeft(t *testing.T) {
	t.Parallel()
	at := newTestSeat("")
	successor := startInstance(t, at, testScheduler(t), nil)
	waiting := make(chan struct{})
	silent := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		close(waiting)
		<-r.Context().Done()
	})
	at.set(silent)
	follower := startInstance(t, at, nil, nil)
	var clients sync.WaitGroup
	clients.Go(func() {
		if res, body := ask(t, "POST", follower.url+"/scheduler/iso8601", jobA); res.StatusCode != 204 {
			t.Errorf("POST = %d %s, want 204", res.StatusCode, body)
		}
	})
	<-waiting
	at.set(successor.id)
	clients.Wait()
}

func TestForwardedRequestIsNotForwardedAgain(t *testing.T) {
	t.Parallel()
	at := newTestSeat("127.0.0.1:1")
	follower := startInstance(t, at, nil, nil)
	res, _ := ask(t, "GET", follower.url+"/scheduler/jobs", "", viaHeader, "other:8080")
	if res.StatusCode != 503 || res.Header.Get(refusedHeader) == "" {
		t.Errorf("second hop = %d %v, want 503 that says it wasn't done", res.StatusCode, res.Header)
	}
}

// Two instances that take each other for the leader must not bounce a request.
func TestLoopEndsWhenOneLeads(t *testing.T) {
	t.Parallel()
	first, second := newTestSeat(""), newTestSeat("")
	a := startInstance(t, first, testScheduler(t), nil)
	hops := make(chan struct{}, 10)
	b := startInstance(t, second, nil, func(o *apiOptions) {
		leader := o.leader
		o.leader = func() (string, bool) { hops <- struct{}{}; return leader() }
	})
	first.set(b.id)
	second.set(a.id)
	var clients sync.WaitGroup
	clients.Go(func() {
		if res, body := ask(t, "GET", a.url+"/scheduler/jobs", ""); res.StatusCode != 200 {
			t.Errorf("GET = %d %s, want 200", res.StatusCode, body)
		}
	})
	<-hops
	first.set(a.id)
	clients.Wait()
}

// A term that ends under a change leaves it to the next leader, under the same id.
func TestChangeOutlivesTheTerm(t *testing.T) {
	t.Parallel()
	at := newTestSeat("")
	id := make(chan string, 1)
	next := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		id <- r.Header.Get(requestIDHeader)
		w.WriteHeader(http.StatusNoContent)
	})
	sch := testScheduler(t)
	s := newAPI(leading(nil))
	s.changed = func() <-chan struct{} { _, c := at.state(); return c }
	s.leader = func() (string, bool) { id, _ := at.state(); return id, id == "me" }
	s.current = func() *scheduler {
		if id, _ := at.state(); id != "me" {
			return nil
		}
		return sch
	}
	at.set("me")
	c := testCall(t, s.server, "PUT /scheduler/job/a")
	var first string
	err := s.dispatch(c, func(*scheduler) error {
		first = requestNamed(c.r.Context()).id()
		at.set(next)
		return errNoLeader
	})
	if second := <-id; err != nil || first == "" || first != second {
		t.Errorf("dispatch = %v with ids %q and %q, want one id", err, first, second)
	}
}

// A store that fails ends the term. What it says decides whether the client hears of it.
func TestFailingStore(t *testing.T) {
	t.Parallel()
	full := &fs.PathError{Op: "write", Path: "state/log", Err: syscall.ENOSPC}
	tests := []struct {
		name   string
		err    error
		status int
		text   string
	}{
		{"a full disk", fmt.Errorf("append: %w", full), 507, "no space left on device"},
		{"a job that is too large", &recordError{"J_a", errRecordTooLarge}, 400, `the store refuses job "a": larger than`},
		{"a record of another job that is too large", &recordError{"J_b", errRecordTooLarge}, 204, ""},
		{"a job that somebody else has deleted", &recordError{"J_a", fmt.Errorf("node is gone: %w", zk.ErrNoNode)}, 503, `the store refuses job "a": node is gone`},
		{"a job that somebody else has changed", &recordError{"go/job/a", zk.ErrBadVersion}, 503, `the store refuses job "a"`},
		{"a job's history that nobody may write", &recordError{"go/history/a", zk.ErrNoAuth}, 503, `the store refuses job "a"`},
		{"another job that somebody else has changed", &recordError{"J_b", zk.ErrBadVersion}, 204, ""},
		{"a conflict that is nobody's", errors.New("create folder for records: zk: node already exists"), 204, ""},
		{"a connection that is lost", errors.New("zk: connection closed"), 204, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newMemStore()
			st.before = func(records []record) error {
				if slices.ContainsFunc(records, func(r record) bool { return strings.HasPrefix(r.key, "J_") }) {
					return tt.err // and not what the term itself stores first, which would end it before the request comes
				}
				return nil
			}
			at := newTestSeat("first")
			first, second := schedulerOn(t, st), testScheduler(t)
			o := leading(nil)
			o.changed = func() <-chan struct{} { _, c := at.state(); return c }
			o.current = func() *scheduler {
				if id, _ := at.state(); id == "second" {
					return second
				}
				return first
			}
			s := newAPI(o)
			var terms sync.WaitGroup
			terms.Go(func() { <-first.ended; at.set("second") })
			res := send(t, s, post("/scheduler/iso8601", jobA))
			if got := bodyOf(t, res); res.StatusCode != tt.status || !strings.Contains(got, tt.text) {
				t.Errorf("POST = %d %s, want %d %s", res.StatusCode, got, tt.status, tt.text)
			}
			terms.Wait()
		})
	}
}

func TestBrokenAnswerIsBrokenOff(t *testing.T) {
	t.Parallel()
	leader := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	follower := startInstance(t, newTestSeat(leader), nil, nil)
	res, err := http.Get(follower.url + "/scheduler/jobs")
	if errors.Is(err, io.EOF) {
		return // the follower had kept what it got so far
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("body = %q, %v, want an unexpected end", b, err)
	}
}

// testCall returns a call as the server makes it for a request without a body.
func testCall(t *testing.T, s *server, request string) *call {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	return &call{w: &response{ResponseWriter: httptest.NewRecorder()}, r: r, server: s, api: true}
}

// standInMemory is a leader in virtual time that does what the test says with each request.
func standInMemory(t *testing.T, at *testSeat, handle http.HandlerFunc) string {
	t.Helper()
	l := at.listen(t)
	h := &http.Server{Handler: handle}
	var running sync.WaitGroup
	running.Go(func() { h.Serve(l) })
	t.Cleanup(func() { h.Close(); running.Wait() })
	return l.Addr().String()
}

// A leader may take its time for an answer as long as it leads: what it does is answered as it was, and done once. One that
// is never heard of again is given up, and the change is not made a second time behind its back.
func TestLeaderMayTakeItsTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, path string
		native     bool
		takes      time.Duration
		status     int
		atMost     time.Duration
	}{
		{"a change", "/scheduler/iso8601", true, 2 * time.Minute, 204, 2 * time.Minute},
		{"a restore", "/scheduler/restore", true, 8 * time.Minute, 204, 8 * time.Minute},
		{"a change that never ends", "/scheduler/iso8601", true, time.Hour, 502, answerTimeout},
		{"a restore that never ends", "/scheduler/restore", true, time.Hour, 502, largeBodyTimeout + answerTimeout},
		{"a JVM version that hangs", "/scheduler/iso8601", false, time.Hour, 502, bodyTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at := newTestSeat("")
				at.memory = new(mesostest.Net)
				var asked atomic.Int64
				leader := standInMemory(t, at, func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					asked.Add(1)
					select {
					case <-time.After(tt.takes):
						w.WriteHeader(http.StatusNoContent)
					case <-r.Context().Done():
					}
				})
				follower := startInstance(t, at, nil, func(o *apiOptions) {
					o.hold = 20 * time.Second
					o.locate = func(id string) peer { return peer{scheme: "http", host: id, native: tt.native} }
				})
				at.set(leader)
				start := time.Now()
				res, err := at.client().Post(follower.url+tt.path, typeJSON, strings.NewReader(`{"some":"document"}`))
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if took := time.Since(start); res.StatusCode != tt.status || took > tt.atMost+time.Second || asked.Load() != 1 {
					t.Errorf("answered %s after %v, asked for %d times; want %d after %v, once", res.Status, took, asked.Load(), tt.status, tt.atMost)
				}
			})
		})
	}
}

// The time that a leader takes does not count as time without a leader.
func TestHoldingCountsOnlyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := newTestSeat("")
		at.memory = new(mesostest.Net)
		successor := startInstance(t, at, testScheduler(t), nil)
		var asked atomic.Int64
		slow := standInMemory(t, at, func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 { // the first is cut off late; those that follow at once, until the successor leads
				time.Sleep(time.Minute)
				time.AfterFunc(time.Second, func() { at.set(successor.id) })
			}
			panic(http.ErrAbortHandler)
		})
		follower := startInstance(t, at, nil, func(o *apiOptions) { o.hold = 20 * time.Second })
		at.set(slow)
		res, err := at.client().Post(follower.url+"/scheduler/iso8601", typeJSON, strings.NewReader(jobA))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNoContent {
			t.Errorf("a change whose leader died after a minute is answered %s, want the successor's answer", res.Status)
		}
	})
}

// A body that is read while it arrives is passed on while it arrives, to a leader that wants it, and once.
func TestStreamedBodyThroughAFollower(t *testing.T) {
	t.Parallel()
	document := string(aBackup(t, largeState(600)))
	part := document[:len(document)/2]
	arrived := make(chan string)
	for _, tt := range []struct {
		name   string
		leader http.HandlerFunc
		status int
		says   string
	}{
		{"it arrives in pieces", func(w http.ResponseWriter, r *http.Request) {
			b := make([]byte, len(part))
			_, err := io.ReadFull(r.Body, b)
			arrived <- string(b)
			rest, err2 := io.ReadAll(r.Body)
			if string(b)+string(rest) != document || err != nil || err2 != nil {
				t.Errorf("the leader has got another document (%v, %v)", err, err2)
			}
			w.WriteHeader(http.StatusNoContent)
		}, 204, ""},
		{"the leader is lost", func(w http.ResponseWriter, r *http.Request) {
			b := make([]byte, len(part))
			io.ReadFull(r.Body, b)
			arrived <- string(b)
			panic(http.ErrAbortHandler)
		}, 502, "the change may or may not have been made"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leader := standIn(t, tt.leader)
			follower := startInstance(t, newTestSeat(leader), nil, nil)
			body, in := io.Pipe()
			answer := make(chan *http.Response, 1)
			go func() {
				res, err := http.Post(follower.url+"/scheduler/restore", typeJSON, body)
				if err != nil {
					t.Error(err)
				}
				answer <- res
			}()
			go io.WriteString(in, part)
			if got := next(t, arrived, "first half"); got != part {
				t.Error("the first half did not arrive before the second was sent")
			}
			go func() { io.WriteString(in, document[len(part):]); in.Close() }()
			res := next(t, answer, "answer")
			if res == nil {
				return
			}
			defer res.Body.Close()
			if text, _ := io.ReadAll(res.Body); res.StatusCode != tt.status || !strings.Contains(string(text), tt.says) {
				t.Errorf("answered %s %s, want %d %q", res.Status, text, tt.status, tt.says)
			}
		})
	}
}

// Until its body has been asked for, a request with one waits for a leader like any other.
func TestStreamedBodyWaitsForALeader(t *testing.T) {
	t.Parallel()
	document := string(aBackup(t, largeState(3)))
	at := newTestSeat("")
	refusals := make(chan struct{}, 100)
	deposed := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(refusedHeader, "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		refusals <- struct{}{}
	})
	got := make(chan string, 1)
	leader := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
		w.WriteHeader(http.StatusNoContent)
	})
	follower := startInstance(t, at, nil, nil)
	at.set(deposed)
	status := make(chan int, 1)
	go func() {
		res, _ := ask(t, "POST", follower.url+"/scheduler/restore", document)
		status <- res.StatusCode
	}()
	next(t, refusals, "refusal")
	at.set(leader)
	if next(t, got, "document") != document || next(t, status, "answer") != http.StatusNoContent {
		t.Error("the document did not reach the leader as it was")
	}
}

// Where no version of the original lets a page of another origin read an answer, neither do we: not the state, not what runs have
// written, not through another instance. What it serves is readable as it was.
func TestOtherOriginsReadWhatTheOriginalLetThem(t *testing.T) {
	t.Parallel()
	original := []string{"/metrics", "/metrics?local", "/logging", "/nothing", "BASE/jobs", "BASE/jobs/search", "BASE/jobs/summary", "BASE/job/a", "BASE/job/success/a",
		"BASE/job/stat/a", "BASE/job/a/task/x/progress", "BASE/iso8601", "BASE/dependency", "BASE/task/kill/a", "BASE/task/x", "BASE/task/all",
		"BASE/graph/dot", "BASE/graph/csv", "BASE/stats/mean", "BASE/leader", "BASE/nothing"}
	for _, credentials := range []string{"", "u:right"} {
		for role, s := range leaderAndFollower(t, func(o *apiOptions) { o.credentials = credentials }) {
			for _, request := range requests() {
				_, path, _ := strings.Cut(request, " ")
				pattern := strings.Replace(strings.Replace(path, "/v1/scheduler/", "BASE/", 1), "/scheduler/", "BASE/", 1)
				want := slices.Contains(original, pattern)
				res := send(t, s, request+asJSONHeader(request)+"\nOrigin: https://elsewhere.example"+basic(credentials))
				if got := res.Header.Get("Access-Control-Allow-Origin"); (got == "*") != want {
					t.Errorf("%s, credentials %q: %s = %d with Access-Control-Allow-Origin %q, want it: %t", role, credentials, request, res.StatusCode, got, want)
				}
			}
		}
	}
}
