package main

import (
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// oddMaster subscribes whoever comes, with this interval of heartbeats, and hands the stream to then.
// Other calls get answer. It counts the subscriptions.
type oddMaster struct {
	interval float64
	answer   func(w http.ResponseWriter, call *sched.Call)
	then     func(w http.ResponseWriter, r *http.Request)

	mu    sync.Mutex
	times []time.Time // of the subscriptions
}

func (o *oddMaster) subscriptions() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.times)
}

func subscribedRecord(interval float64) []byte {
	return mesostest.Record(&sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{
		FrameworkID: &mesos.FrameworkID{Value: "F"}, HeartbeatIntervalSeconds: &interval}})
}

func (o *oddMaster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := &sched.Call{}
	if err := call.Unmarshal(readAll(r.Body)); err != nil || call.Type != sched.Call_SUBSCRIBE {
		o.answer(w, call)
		return
	}
	o.mu.Lock()
	o.times = append(o.times, time.Now())
	o.mu.Unlock()
	w.Header().Set("Content-Type", mediaProtobuf)
	w.Header().Set(streamHeader, "x")
	w.Write(subscribedRecord(o.interval))
	w.(http.Flusher).Flush()
	o.then(w, r)
}

func holdOpen(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// A master that was restarted at the same address knows nothing of us, and the stream of the
// one before may look alive for minutes. What it says to a call is enough to subscribe.
func TestMasterThatDoesNotKnowTheFrameworkIsSubscribedToAnew(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		status     int
		want       int // subscriptions ten seconds after the call
	}{
		{"framework unknown", "Framework cannot be found", 400, 2},
		{"not subscribed", "Framework is not subscribed", 403, 2},
		{"another scheduler's stream", "The stream ID 'x' included in this request didn't match", 400, 1}, // the stream is about to say so
		{"no such call", "Failed to validate", 400, 1},
		{"too busy", "", 503, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &oddMaster{interval: 15, then: holdOpen, answer: func(w http.ResponseWriter, _ *sched.Call) { mesostest.Answer(w, tt.status, tt.text) }}
				k := connect(t, brokenMaster(t, o.ServeHTTP), "")
				synctest.Wait()
				k.send(calls.Revive(), nil)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if n := o.subscriptions(); n != tt.want {
					t.Errorf("%d subscriptions, want %d: %s", n, tt.want, k.log)
				}
			})
		})
	}
}

// A master that accepts us and ends each stream at once is not asked three times a second forever.
func TestShortSubscriptionsDoNotResetTheBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lives := time.Duration(0)
		var mu sync.Mutex
		o := &oddMaster{interval: 15, then: func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			d := lives
			mu.Unlock()
			rest(r.Context(), d)
		}}
		k := connect(t, brokenMaster(t, o.ServeHTTP), "")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := o.subscriptions(); n < 10 || n > 60 {
			t.Errorf("%d subscriptions in five minutes, want them to go on with back-off", n)
		}
		mu.Lock()
		lives = 2 * lastRetry
		mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		last := o.times[len(o.times)-1].Sub(o.times[len(o.times)-2])
		if pause := last - 2*lastRetry; pause > firstRetry {
			t.Errorf("pause of %v after a stream that had lasted, want at most %v", pause, firstRetry)
		}
		_ = k
	})
}

// What no master says is stepped over: it neither ends the stream nor is taken for its end.
func TestOddRecordsOnTheStream(t *testing.T) {
	t.Parallel()
	heartbeat := mesostest.Record(&sched.Event{Type: sched.Event_HEARTBEAT})
	tests := []struct {
		name    string
		record  []byte
		skipped bool // counted and reported
	}{
		{"an empty record", []byte("0\n"), true},
		{"an event without a type", mesostest.Record(&sched.Event{}), true},
		{"an event of a kind to come", mesostest.Record(&sched.Event{Type: 99}), false},
		{"an event without its body", mesostest.Record(&sched.Event{Type: sched.Event_OFFERS}), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &oddMaster{interval: 15, then: func(w http.ResponseWriter, r *http.Request) {
					w.Write(tt.record)
					w.Write(heartbeat)
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				}}
				c := brokenMaster(t, o.ServeHTTP)
				var mu sync.Mutex
				kinds := make(map[string]int)
				c.onEvent = func(kind string) {
					mu.Lock()
					defer mu.Unlock()
					kinds[kind]++
				}
				k := connect(t, c, "")
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				if n := len(k.seen(sched.Event_UNKNOWN)); n != 0 {
					t.Errorf("the scheduler was told %d times that the subscription has ended, and it has not", n)
				}
				if len(k.seen(sched.Event_HEARTBEAT)) != 1 || !k.status().Subscribed {
					t.Errorf("the stream does not go on: %v, %+v", kinds, k.status())
				}
				if (kinds[eventUndecodable] == 1) != tt.skipped || strings.Contains(k.log.String(), "skip") != tt.skipped {
					t.Errorf("counted %v, log %s, want it told of: %v", kinds, k.log, tt.skipped)
				}
			})
		})
	}
}

func TestSecondSubscribedOnAStreamEndsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &oddMaster{interval: 15, then: func(w http.ResponseWriter, r *http.Request) {
			w.Write(subscribedRecord(15))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}}
		k := connect(t, brokenMaster(t, o.ServeHTTP), "")
		synctest.Wait()
		if !strings.Contains(k.log.String(), "subscribed twice") {
			t.Errorf("log = %s", k.log)
		}
	})
}

// The interval of heartbeats that a master names is believed within reason.
func TestOddHeartbeatIntervals(t *testing.T) {
	t.Parallel()
	for _, seconds := range []float64{0, -1, 1e-9, 1e300, math.Inf(1), math.NaN()} {
		synctest.Test(t, func(t *testing.T) {
			o := &oddMaster{interval: seconds, then: holdOpen}
			connect(t, brokenMaster(t, o.ServeHTTP), "")
			time.Sleep(4 * time.Second)
			synctest.Wait()
			if n := o.subscriptions(); n != 1 {
				t.Errorf("interval %v: %d subscriptions in four seconds, want 1", seconds, n)
			}
			time.Sleep(6 * time.Hour)
			synctest.Wait()
			if n := o.subscriptions(); n < 2 {
				t.Errorf("interval %v: a dead stream is never given up", seconds)
			}
		})
	}
}

// A master that takes calls too slowly does not fill the memory: we resubscribe, which voids them.
func TestCallsThatAMasterDoesNotTakeAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		o := &oddMaster{interval: 15, then: holdOpen, answer: func(w http.ResponseWriter, _ *sched.Call) {
			<-release
			mesostest.Answer(w, 202, "")
		}}
		k := connect(t, brokenMaster(t, o.ServeHTTP), "")
		synctest.Wait()
		var mu sync.Mutex
		refused := 0
		const more = 10
		for range maxQueuedCalls + 1 + more { // one is on its way
			k.send(calls.Revive(), func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused++
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		n := refused
		mu.Unlock()
		if n < maxQueuedCalls {
			t.Errorf("%d calls were given up, want all that were not written", n)
		}
		if !strings.Contains(k.log.String(), "master takes calls too slowly") {
			t.Errorf("log = %s", k.log)
		}
		close(release)
	})
}

// TestDeclineThatFailsIsRepeated: an offer that the master never gets back keeps its resources out forever.
func TestDeclineThatFailsIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{})
		m.AutoFinish(time.Second)
		refused := 0
		m.SetFaults(mesostest.Faults{Call: func(c *sched.Call) mesostest.CallFault {
			if c.Type == sched.Call_DECLINE && refused < 3 {
				refused++
				return mesostest.Refused
			}
			return mesostest.NoFault
		}})
		cfg, st := testConfig(), newMemStore()
		st.records[adoptKey] = []byte("0")
		k := leadOn(t, newLifeline(m, st), cfg, configFor(m, testFramework(), slog.New(slog.DiscardHandler)))
		defer k.die()
		j, err := decodeJob([]byte(`{"name":"a","command":"true","schedule":"R1/2000-01-01T00:02:00Z/PT1H"}`), cfg.defaults, dialect2, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.putJob(t.Context(), "a", func(*Job) (*Job, error) { return j, nil }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := m.Offered(); n != 0 {
			t.Errorf("%d offers are out that nobody wants", n)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if history := k.view().job("a").history; len(history) != 1 || history[0].State != runFinished {
			t.Errorf("history = %+v, want one run that has finished", history)
		}
		if n := len(m.Received(sched.Call_DECLINE)); refused != 3 || n == 0 || n > 10 {
			t.Errorf("DECLINE was refused %d times and taken %d times, want 3 and a few", refused, n)
		}
	})
}

// TestTaskThatNeverStartsIsGivenUp: also after its agent was unreachable in between.
func TestTaskThatNeverStartsIsGivenUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		cut, back time.Duration // of the agent, from the launch; 0 if it stays
	}{
		{"agent up", 0, 0},
		{"agent away for a moment", 4 * time.Minute, 4*time.Minute + 10*time.Second},
		{"agent unreachable meanwhile", 4 * time.Minute, 12 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := oneAgent(t, mesostest.Options{Scripted: true}) // whose agents never start anything
				cfg, st := testConfig(), newMemStore()
				st.records[adoptKey] = []byte("0")
				log := &logBuffer{}
				c := configFor(m, testFramework(), slog.New(slog.NewTextHandler(log, nil)))
				k := leadOn(t, newLifeline(m, st), cfg, c)
				defer k.die()
				j, err := decodeJob([]byte(`{"name":"a","command":"true","retries":0,"schedule":"R1/2000-01-01T00:00:30Z/PT1H"}`), cfg.defaults, dialect2, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := k.putJob(t.Context(), "a", func(*Job) (*Job, error) { return j, nil }); err != nil {
					t.Fatal(err)
				}
				time.Sleep(40 * time.Second)
				if tt.back > 0 {
					time.Sleep(tt.cut)
					m.Agents()[0].CutOff()
					time.Sleep(tt.back - tt.cut)
					m.Agents()[0].Restore()
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				history := k.view().job("a").history
				if len(history) != 1 || history[0].State != runLost || !strings.Contains(history[0].Reason, "not started") {
					t.Errorf("history = %+v, open %v, want the run lost because it has not started\n%s", history, k.view().job("a").runs, log)
				}
				if n := len(m.Received(sched.Call_KILL)); n == 0 {
					t.Error("the task was not killed")
				}
			})
		})
	}
}
