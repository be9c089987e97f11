package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// connection is a cluster that runs, with everything it has been told.
type connection struct {
	*mesosCluster
	t      *testing.T
	log    *logBuffer
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	events []*sched.Event
	react  func(*sched.Event)
}

func testFramework() *mesos.FrameworkInfo {
	return frameworkInfo(frameworkOptions{
		User: "root", Name: "chronos", Role: "*", Hostname: "localhost", FailoverTimeout: time.Hour, Checkpoint: true,
	})
}

// connect runs a cluster with framework id until the test ends.
func connect(t *testing.T, c mesosConfig, id string) *connection {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	k := &connection{t: t, log: &logBuffer{}, cancel: cancel, ended: make(chan error, 1), react: func(*sched.Event) {}}
	c.log = slog.New(slog.NewTextHandler(k.log, nil))
	k.mesosCluster = newMesos(c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.ended <- k.run(ctx, id, k.handle)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return k
}

// A fault of ours in whatever goroutine of a connection to Mesos ends that, with the term, and not the process.
func TestAPanicEndsTheConnection(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(c *mesosConfig, k *connection){
		"the search for the master": func(c *mesosConfig, _ *connection) {
			c.follow = func(context.Context, func(string)) { panic("a fault") }
		},
		"what handles events": func(_ *mesosConfig, k *connection) {
			k.react = func(e *sched.Event) {
				if e.GetType() == sched.Event_SUBSCRIBED {
					panic("a fault")
				}
			}
		},
		"what is told of a call": func(_ *mesosConfig, k *connection) {
			k.react = func(e *sched.Event) {
				if e.GetType() == sched.Event_SUBSCRIBED {
					k.send(calls.Suppress(), func(error) { panic("a fault") })
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mesostest.NewMaster(t, mesostest.Options{Pipe: true})
				k := &connection{t: t, log: &logBuffer{}, react: func(*sched.Event) {}}
				c := configFor(m, testFramework(), slog.New(slog.NewTextHandler(k.log, nil)))
				fault(&c, k)
				k.mesosCluster = newMesos(c)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := k.run(ctx, "", k.handle); err == nil || !strings.Contains(err.Error(), "a fault") {
					t.Errorf("run = %v, want the fault", err)
				}
			})
		})
	}
}

func (k *connection) handle(e *sched.Event) {
	k.mu.Lock()
	k.events = append(k.events, e)
	react := k.react
	k.mu.Unlock()
	react(e)
}

// seen lists the events of one type so far.
func (k *connection) seen(kind sched.Event_Type) []*sched.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*sched.Event
	for _, e := range k.events {
		if e.Type == kind {
			out = append(out, e)
		}
	}
	return out
}

// states lists the states of a task, in the order of the updates.
func (k *connection) states(taskID string) string {
	var out []string
	for _, e := range k.seen(sched.Event_UPDATE) {
		if s := e.Update.Status; s.TaskID.Value == taskID {
			out = append(out, strings.TrimPrefix(s.State.String(), "TASK_"))
		}
	}
	return strings.Join(out, " ")
}

func (k *connection) reactWith(f func(*sched.Event)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.react = f
}

// acknowledgeAll answers updates that ask for it.
func (k *connection) acknowledgeAll(e *sched.Event) {
	if e.Type != sched.Event_UPDATE || e.Update.Status.UUID == nil {
		return
	}
	s := e.Update.Status
	k.send(calls.Acknowledge(s.AgentID.Value, s.TaskID.Value, s.UUID), nil)
}

// outcome sends a call and returns what done is told.
func (k *connection) outcome(c *sched.Call) error {
	k.t.Helper()
	told := make(chan error, 1)
	k.send(c, func(err error) { told <- err })
	return <-told
}

// launchCall accepts the newest offer for tasks with these ids.
func (k *connection) launchCall(ids ...string) *sched.Call {
	k.t.Helper()
	offers := k.seen(sched.Event_OFFERS)
	if len(offers) == 0 {
		k.t.Fatal("no offer to launch on")
	}
	o := offers[len(offers)-1].Offers.Offers[0]
	m := newMarket("*")
	m.add(&o, time.Time{})
	call := calls.Accept(calls.OfferOperations{}.WithOffers(o.ID))
	for _, id := range ids {
		p, ok := m.place(needs(0.1, 32, 10))
		if !ok {
			k.t.Fatal("the offer has no room")
		}
		info := taskInfo(&Job{Name: id, Command: "true", Shell: true}, &Run{ID: id}, p)
		call.Accept.Operations = append(call.Accept.Operations, calls.OpLaunch(*info))
	}
	return call
}

// oneAgent is a master with one agent of four cpus, inside a synctest bubble.
func oneAgent(t *testing.T, opt mesostest.Options) *mesostest.Master {
	opt.Pipe = true
	m := mesostest.NewMaster(t, opt)
	m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
	return m
}

// configFor is how to connect to a master with the framework described.
func configFor(m *mesostest.Master, info *mesos.FrameworkInfo, log *slog.Logger) mesosConfig {
	o := m.Options()
	return mesosConfig{follow: m.Follow, framework: info, dial: m.Dial, log: log, principal: o.Principal, secret: o.Secret}
}

func TestClusterRunsATask(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		m.AutoFinish(time.Minute)
		k := connect(t, configFor(m, testFramework(), nil), "")
		k.reactWith(k.acknowledgeAll)
		synctest.Wait()
		if err := k.outcome(k.launchCall("ct:1:0:a:")); err != nil {
			t.Fatalf("ACCEPT: %v", err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got, want := k.states("ct:1:0:a:"), "STARTING RUNNING FINISHED"; got != want {
			t.Errorf("updates = %s, want %s", got, want)
		}
		if n := m.Launches("ct:1:0:a:"); n != 1 {
			t.Errorf("launches = %d, want 1", n)
		}
		if s := k.status(); !s.Subscribed || s.Master != m.URL() {
			t.Errorf("status = %+v, want subscribed at %s", s, m.URL())
		}
		k.cancel()
		if err := <-k.ended; err != nil {
			t.Errorf("run = %v, want nil at the end of its context", err)
		}
		if n := len(m.Received(sched.Call_TEARDOWN)); n != 0 {
			t.Errorf("%d TEARDOWN calls at the end, want none", n)
		}
	})
}

func TestRedirectKeepsCredentialsAndCallsGoToTheLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{Principal: "chronos", Secret: "s3cret"})
		standby := m.Standby()
		info := testFramework()
		info.Principal = new("chronos")
		c := configFor(m, info, nil)
		c.follow = func(_ context.Context, report func(string)) { report(standby) }
		k := connect(t, c, "")
		synctest.Wait()
		if len(k.seen(sched.Event_SUBSCRIBED)) != 1 {
			t.Fatalf("not subscribed through a redirect: %s", k.log)
		}
		if err := k.outcome(calls.Revive()); err != nil {
			t.Errorf("REVIVE: %v, want the leader to take it", err)
		}
	})
}

func TestDroppedStreamIsSubscribedAnewWithTheSameID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		k := connect(t, configFor(m, testFramework(), nil), "")
		synctest.Wait()
		m.DropStreams()
		time.Sleep(time.Second)
		synctest.Wait()
		subscribed := k.seen(sched.Event_SUBSCRIBED)
		if len(subscribed) != 2 {
			t.Fatalf("%d subscriptions after a dropped stream, want 2: %s", len(subscribed), k.log)
		}
		if a, b := subscribed[0].Subscribed.FrameworkID.Value, subscribed[1].Subscribed.FrameworkID.Value; a != b {
			t.Errorf("framework ids = %s, %s, want the same", a, b)
		}
		if len(k.seen(sched.Event_OFFERS)) != 2 {
			t.Error("no new offers after the new subscription")
		}
	})
}

func readAll(r io.Reader) []byte {
	b, _ := io.ReadAll(r) // what came before the error will do
	return b
}

// brokenMaster answers every request as told. It is no Mesos master.
func brokenMaster(t *testing.T, h http.HandlerFunc) mesosConfig {
	var n mesostest.Net
	whole := func(w http.ResponseWriter, r *http.Request) {
		// A server notices that its client goes only once it has read the body.
		r.Body = io.NopCloser(bytes.NewReader(readAll(r.Body)))
		h(w, r)
	}
	s := &http.Server{Handler: http.HandlerFunc(whole), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	l := n.Listen("broken:5050")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return mesosConfig{
		framework: testFramework(),
		follow:    func(_ context.Context, report func(string)) { report("http://broken:5050") },
		dial:      n.Dial,
	}
}

func TestMastersThatDoNotWork(t *testing.T) {
	t.Parallel()
	stream := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", mediaProtobuf)
		w.Header().Set(streamHeader, "x")
		fmt.Fprint(w, body)
		w.(http.Flusher).Flush()
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		log     string
	}{
		{"a web server that is none", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") },
			"does not speak the scheduler API"},
		{"garbage instead of records", func(w http.ResponseWriter, r *http.Request) { stream(w, "hello") }, "is not a digit"},
		{"a record that never ends", func(w http.ResponseWriter, r *http.Request) { stream(w, "99999999999\n") }, "more than 67108864 bytes"},
		{"a record cut short", func(w http.ResponseWriter, r *http.Request) { stream(w, "10\nabc") }, "read record of 10 bytes: unexpected EOF"},
		{"an event that does not decode", func(w http.ResponseWriter, r *http.Request) { stream(w, "3\nabc") }, "skip undecodable event"},
		{"silence", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "master is silent"},
		{"silence after the headers", func(w http.ResponseWriter, r *http.Request) {
			stream(w, "")
			<-r.Context().Done()
		}, "master is silent"},
		{"no leader", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "No leader elected", http.StatusServiceUnavailable)
		}, "master answered 503: No leader elected"},
		{"redirects to itself", func(w http.ResponseWriter, r *http.Request) { mesostest.Redirect(w, "broken:5050", r.URL.Path) }, "has not been elected yet"},
		{"redirects to nowhere", func(w http.ResponseWriter, r *http.Request) { mesostest.Redirect(w, "other:1", r.URL.Path) }, "connection refused: other:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := connect(t, brokenMaster(t, tt.handler), "")
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				if !strings.Contains(k.log.String(), tt.log) {
					t.Errorf("log = %s, want %q", k.log, tt.log)
				}
				if n := strings.Count(k.log.String(), "no subscription"); n < 4 || n > 30 {
					t.Errorf("%d attempts in three minutes, want them to go on with back-off", n)
				}
				if s := k.status(); s.Subscribed || s.Error == "" {
					t.Errorf("status = %+v, want why there is no subscription", s)
				}
				if err := k.outcome(calls.Revive()); !errors.Is(err, errNotSent) {
					t.Errorf("call without a subscription = %v, want errNotSent", err)
				}
			})
		})
	}
}

func TestHeartbeatsMissedEndTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		start := time.Now()
		k := connect(t, brokenMaster(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			at = append(at, time.Now())
			mu.Unlock()
			w.Header().Set("Content-Type", mediaProtobuf)
			w.Header().Set(streamHeader, "x")
			w.Write(mesostest.Record(&sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{
				FrameworkID: &mesos.FrameworkID{Value: "F"}, HeartbeatIntervalSeconds: new(15.0)}}))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), "")
		time.Sleep(76 * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(at) != 2 {
			t.Fatalf("%d subscriptions in 76 s without heartbeats, want 2: %s", len(at), k.log)
		}
		if d := at[1].Sub(start); d < 75*time.Second {
			t.Errorf("resubscribed after %v, want five heartbeats", d)
		}
	})
}

func TestUnreachableMasterRecovers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		breaks, cure func(m *mesostest.Master)
		log          string
	}{
		{"master down", func(m *mesostest.Master) { m.AnswerAll(503) }, func(m *mesostest.Master) { m.AnswerAll(0) }, "master answered 503"},
		{"wrong secret", func(m *mesostest.Master) { m.Configure(func(o *mesostest.Options) { o.Secret = "other" }) }, func(m *mesostest.Master) { m.Configure(func(o *mesostest.Options) { o.Secret = "s3cret" }) }, "refused authentication (401)"},
		{"unknown role", func(m *mesostest.Master) { m.Configure(func(o *mesostest.Options) { o.Roles = []string{"x"} }) }, func(m *mesostest.Master) { m.Configure(func(o *mesostest.Options) { o.Roles = nil }) },
			"Roles { * } are not present in the master's --roles"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := oneAgent(t, mesostest.Options{Principal: "chronos", Secret: "s3cret"})
				info := testFramework()
				info.Principal = new("chronos")
				c := configFor(m, info, nil)
				tt.breaks(m)
				k := connect(t, c, "")
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := len(k.seen(sched.Event_SUBSCRIBED)); n != 0 || !strings.Contains(k.log.String(), tt.log) {
					t.Fatalf("%d subscriptions, log = %s, want none and %q", n, k.log, tt.log)
				}
				tt.cure(m)
				time.Sleep(lastRetry)
				synctest.Wait()
				if n := len(k.seen(sched.Event_SUBSCRIBED)); n != 1 {
					t.Errorf("%d subscriptions once the cause is gone, want 1: %s", n, k.log)
				}
			})
		})
	}
}

// TestNewMasterIsSubscribedToWithinASecond of the end of its recovery, however long nothing had led.
func TestNewMasterIsSubscribedToWithinASecond(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		election  time.Duration // how long a restarted master redirects to itself
		restarted bool          // at the same address, else another one leads
		told      bool          // by the detector
		old       error         // of connecting while nothing leads
	}{
		{"another one leads, the old one is gone", 0, false, true, syscall.ECONNREFUSED},
		{"another one leads, the old one breaks connections", 0, false, true, io.ErrUnexpectedEOF},
		{"the same one again, as ZooKeeper tells", 6 * time.Second, true, true, syscall.ECONNREFUSED},
		{"the same one again, after its host was away", 6 * time.Second, true, true, syscall.EHOSTUNREACH},
		{"the only one again, without ZooKeeper", 6 * time.Second, true, false, syscall.ECONNREFUSED},
	}
	for _, tt := range tests {
		for _, away := range []time.Duration{0, 10 * time.Second, 3 * time.Minute} {
			for _, recovery := range []time.Duration{0, 700 * time.Millisecond, 5 * time.Second, time.Minute} {
				t.Run(fmt.Sprintf("%s, away %v, recovers %v", tt.name, away, recovery), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						m := oneAgent(t, mesostest.Options{Election: tt.election, Recovery: recovery})
						standby := m.Standby()
						leaders := make(chan string, 2)
						leaders <- m.URL()
						var gone atomic.Bool
						c := configFor(m, testFramework(), nil)
						c.follow = func(ctx context.Context, report func(string)) {
							for {
								select {
								case url := <-leaders:
									report(url)
								case <-ctx.Done():
									return
								}
							}
						}
						c.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
							if gone.Load() {
								return nil, tt.old
							}
							return m.Dial(ctx, network, address)
						}
						k := connect(t, c, "")
						synctest.Wait()
						gone.Store(true)
						m.DropStreams()
						k.http.CloseIdleConnections()
						time.Sleep(away)
						gone.Store(false)
						if tt.restarted {
							m.Restart()
						} else {
							m.Lead(standby)
						}
						if tt.told {
							leaders <- m.URL()
						}
						time.Sleep(tt.election + recovery + time.Second)
						synctest.Wait()
						if n := len(k.seen(sched.Event_SUBSCRIBED)); n != 2 {
							t.Errorf("%d subscriptions a second after the master was ready, want 2: %s", n, k.log)
						}
					})
				})
			}
		}
	}
}

// A master that is not ready for a long time is reported now and then, not with each attempt.
func TestMasterThatIsNotReadyForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		m.AnswerAll(http.StatusServiceUnavailable)
		k := connect(t, configFor(m, testFramework(), nil), "")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := strings.Count(k.log.String(), "no subscription"); n < 20 || n > 45 {
			t.Errorf("%d lines in ten minutes", n)
		}
	})
}

func TestFrameworkRefusedForGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		m.Expire("F1")
		k := connect(t, configFor(m, testFramework(), nil), "F1")
		if err := <-k.ended; !errors.Is(err, errFrameworkRemoved) {
			t.Errorf("run with a removed id = %v, want errFrameworkRemoved", err)
		}
		if e := k.seen(sched.Event_ERROR); len(e) != 1 || e[0].Error.Message != "Framework has been removed" {
			t.Errorf("ERROR events = %v", e)
		}
	})
}

func TestSecondSchedulerTakesOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		first := connect(t, configFor(m, testFramework(), nil), "F1")
		synctest.Wait()
		stale := first.launchCall("ct:1:0:a:")
		second := connect(t, configFor(m, testFramework(), nil), "F1")
		if err := <-first.ended; !errors.Is(err, errFrameworkTaken) {
			t.Errorf("run of the first = %v, want errFrameworkTaken", err)
		}
		if err := first.outcome(stale); !errors.Is(err, errNotSent) {
			t.Errorf("call of the first = %v, want errNotSent", err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(second.seen(sched.Event_SUBSCRIBED)); n != 1 {
			t.Errorf("the second has subscribed %d times, want once: they fight", n)
		}
	})
}

func TestCallOutcomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		k := connect(t, configFor(m, testFramework(), nil), "")
		k.reactWith(k.acknowledgeAll)
		tests := []struct {
			fault            mesostest.CallFault
			ok, notSent      bool
			launches, states string
		}{
			{fault: mesostest.NoFault, ok: true, launches: "1", states: "STARTING RUNNING"},
			{fault: mesostest.Refused, notSent: true, launches: "0"},
			{fault: mesostest.NotTaken, launches: "0"},
			{fault: mesostest.Unanswered, launches: "1", states: "STARTING RUNNING"},
			{fault: mesostest.Forgotten, ok: true, launches: "0"},
		}
		for i, tt := range tests {
			time.Sleep(10 * time.Second) // past the filters of the launch before
			m.RescindAll()               // what was forgotten by the master, too
			time.Sleep(2 * time.Second)
			synctest.Wait()
			m.SetFaults(mesostest.Faults{Accept: func(*sched.Call_Accept) mesostest.CallFault { return tt.fault }})
			id := fmt.Sprintf("ct:%d:0:a:", i)
			err := k.outcome(k.launchCall(id))
			synctest.Wait()
			if ok, notSent := err == nil, errors.Is(err, errNotSent); ok != tt.ok || notSent != tt.notSent {
				t.Errorf("fault %d: outcome %v, want ok %v, not sent %v", tt.fault, err, tt.ok, tt.notSent)
			}
			if got := fmt.Sprint(m.Launches(id)); got != tt.launches || k.states(id) != tt.states {
				t.Errorf("fault %d: launches %s, updates %q, want %s, %q", tt.fault, got, k.states(id), tt.launches, tt.states)
			}
		}
		if n := len(k.seen(sched.Event_SUBSCRIBED)); n != 1 {
			t.Errorf("%d subscriptions: a failed call must not end the stream", n)
		}
	})
}

func TestCallsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		k := connect(t, configFor(m, testFramework(), nil), "")
		synctest.Wait()
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Add(1)
			k.send(calls.Kill(fmt.Sprint(i), ""), func(error) { wg.Done() })
		}
		wg.Wait()
		for i, c := range m.Received(sched.Call_KILL) {
			if c.Kill.TaskID.Value != fmt.Sprint(i) {
				t.Fatalf("call %d kills %s", i, c.Kill.TaskID.Value)
			}
		}
	})
}

func TestCallsQueuedWhenTheStreamEndsAreVoid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		k := connect(t, configFor(m, testFramework(), nil), "")
		synctest.Wait()
		m.DropStreams()
		var mu sync.Mutex
		told := 0
		for range 100 {
			k.send(calls.Revive(), func(error) {
				mu.Lock()
				defer mu.Unlock()
				told++
			})
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if told != 100 {
			t.Errorf("%d of 100 calls have an outcome", told)
		}
	})
}

func TestAnotherMasterLeads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		standby := m.Standby()
		m.SetBehaviour(func(*mesos.TaskInfo) mesostest.Outcome { return mesostest.Outcome{Forever: true} })
		k := connect(t, configFor(m, testFramework(), nil), "")
		k.reactWith(k.acknowledgeAll)
		synctest.Wait()
		if err := k.outcome(k.launchCall("ct:1:0:a:")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m.Lead(standby)
		time.Sleep(time.Second)
		synctest.Wait()
		if s := k.status(); !s.Subscribed || s.Master != standby {
			t.Fatalf("status = %+v, want subscribed at %s: %s", s, standby, k.log)
		}
		agent := m.Agents()[0]
		if err := k.outcome(calls.Reconcile(calls.ReconcileTasks(map[string]string{"ct:1:0:a:": agent.ID()}))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := k.states("ct:1:0:a:"), "STARTING RUNNING"; got != want {
			t.Errorf("updates before the agent is back = %s, want %s: no answer", got, want)
		}
		agent.Restore()
		if err := k.outcome(calls.Reconcile(calls.ReconcileTasks(map[string]string{"ct:1:0:a:": agent.ID()}))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := k.states("ct:1:0:a:"), "STARTING RUNNING RUNNING"; got != want {
			t.Errorf("updates after the agent is back = %s, want %s", got, want)
		}
	})
}

func TestNoMasterAtAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := connect(t, mesosConfig{framework: testFramework(), follow: func(ctx context.Context, report func(string)) { report("") }}, "")
		time.Sleep(time.Minute)
		if !strings.Contains(k.log.String(), "no Mesos master leads") || k.status().Error != "no Mesos master leads" {
			t.Errorf("status = %+v, log = %s", k.status(), k.log)
		}
	})
}

func TestBackoffSpreadsAndIsBounded(t *testing.T) {
	t.Parallel()
	b := backoff{first: firstRetry, last: lastRetry}
	var waits []time.Duration
	for range 20 {
		waits = append(waits, b.next())
	}
	if first := waits[0]; first > firstRetry {
		t.Errorf("first wait = %v, want at most %v", first, firstRetry)
	}
	if longest := slices.Max(waits); longest > lastRetry || longest < lastRetry/4 {
		t.Errorf("longest wait = %v, want up to %v", longest, lastRetry)
	}
}

func TestTrimSecret(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"s": "s", "s\n": "s", "s\r\n": "s", "s\n\n": "s\n", " s ": " s "} {
		if got := trimSecret([]byte(in)); got != want {
			t.Errorf("trimSecret(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestMasterBehindABlackHole connects to an address that swallows everything: the attempt is given up
// in time, reported, and made again.
func TestMasterBehindABlackHole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		c := configFor(m, testFramework(), nil)
		var open atomic.Bool
		c.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if open.Load() {
				return m.Dial(ctx, network, address)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		k := connect(t, c, "")
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if n := strings.Count(k.log.String(), "master is silent"); n < 5 || n > 9 {
			t.Errorf("%d attempts in three minutes, want one every 20 s and the back-off between: %s", n, k.log)
		}
		if s := k.status(); s.Subscribed || s.Error != "master is silent" {
			t.Errorf("status = %+v", s)
		}
		open.Store(true)
		time.Sleep(subscribeTimeout + lastRetry)
		synctest.Wait()
		if n := len(k.seen(sched.Event_SUBSCRIBED)); n != 1 {
			t.Errorf("%d subscriptions once the way is open, want 1: %s", n, k.log)
		}
	})
}
