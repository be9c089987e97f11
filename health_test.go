package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testHealth returns the health of an instance that knows of no leader, on ZooKeeper.
func testHealth() *health {
	m := newMetrics("1")
	log := slog.New(slog.DiscardHandler)
	at := newSeat("me:8080")
	return &health{
		seat: at, watchdog: &watchdog{current: at.current, metrics: m, log: log},
		notifier: newNotifier(notifyOptions{}, log, m), cluster: &observedCluster{metrics: m},
		state: func() []string { return nil }, zookeeper: true, connected: func() bool { return true },
	}
}

func TestHealthSaysWhetherToSendRequestsHere(t *testing.T) {
	t.Parallel()
	sch := testScheduler(t)
	subscribed := func(h *health) {
		v := *sch.view()
		v.subscribed = true
		sch.current.Store(&v)
		h.seat.follow("me:8080", instance{})
		h.seat.take(sch)
	}
	tests := []struct {
		name                 string
		given                func(*health)
		code                 int
		status, role, leader string
		problem              string // among the problems, "" for none at all
	}{
		{"no leader", func(*health) {}, 503, "failing", "waiting", "", "no leader is known"},
		{"follower", func(h *health) { h.seat.follow("other:8080", instance{}) }, 200, "ok", "follower", "other:8080", ""},
		{"loading", func(h *health) { h.seat.follow("me:8080", instance{}) }, 503, "failing", "loading", "me:8080", "the state is being loaded"},
		{"leader", subscribed, 200, "ok", "leader", "me:8080", ""},
		{"leader without ZooKeeper for now", func(h *health) {
			subscribed(h)
			h.connected = func() bool { return false }
		}, 200, "degraded", "leader", "me:8080", "no ZooKeeper session"},
		{"follower without ZooKeeper goes on forwarding", func(h *health) {
			h.seat.follow("other:8080", instance{})
			h.connected = func() bool { return false }
		}, 200, "degraded", "follower", "other:8080", "no ZooKeeper session"},
		{"leader without Mesos serves the API", func(h *health) {
			subscribed(h)
			v := *sch.view()
			v.subscribed = false
			sch.current.Store(&v)
		}, 200, "degraded", "leader", "me:8080", "not subscribed to the cluster: no run starts"},
		{"stuck", func(h *health) {
			subscribed(h)
			h.watchdog.stuck.Store(1)
		}, 503, "failing", "leader", "me:8080", "the scheduler does not answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := testHealth()
			tt.given(h)
			res := send(t, h, "GET /health")
			var got healthReport
			body := bodyOf(t, res)
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			if res.StatusCode != tt.code || got.Status != tt.status || got.Role != tt.role || got.Leader != tt.leader || got.Instance != "me:8080" {
				t.Errorf("GET /health = %d %s, want %d %s %s %s", res.StatusCode, body, tt.code, tt.status, tt.role, tt.leader)
			}
			if all := strings.Join(got.Problems, "\n"); all != tt.problem {
				t.Errorf("problems = %q, want %q", all, tt.problem)
			}
			if (got.Scheduler != nil) != (tt.role == "leader") {
				t.Errorf("scheduler = %+v for role %s", got.Scheduler, tt.role)
			}
		})
	}
}

func TestHealthIsReadOnly(t *testing.T) {
	t.Parallel()
	for request, status := range map[string]int{"HEAD /health": 503, "POST /health": 405, "DELETE /health": 405} {
		if res := send(t, testHealth(), request); res.StatusCode != status {
			t.Errorf("%s = %d, want %d", request, res.StatusCode, status)
		}
	}
}

// A loop that hangs is noticed, reported once, and noticed again when it continues.
func TestWatchdogNoticesAStuckLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		defer b.end()
		var log logBuffer
		m := newMetrics("1")
		w := &watchdog{current: func() *scheduler { return b.s }, metrics: m, log: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { w.run(ctx) })
		time.Sleep(time.Hour + time.Second) // the next look is 9 s from here
		synctest.Wait()
		if !w.alive() || log.String() != "" {
			t.Errorf("a sound loop is called stuck: %s", log.String())
		}
		release := make(chan struct{})
		b.s.post(func() { <-release })
		time.Sleep(watchdogInterval + watchdogLimit - 2*time.Second)
		if !w.alive() {
			t.Error("stuck before the limit")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if w.alive() || m.schedulerStuck.value() != 1 || strings.Count(log.String(), "stuck") != 1 || !strings.Contains(log.String(), "goroutine ") {
			t.Errorf("alive = %v, metric %v, log %s", w.alive(), m.schedulerStuck.value(), log.String())
		}
		close(release)
		synctest.Wait()
		if !w.alive() || m.schedulerStuck.value() != 0 || !strings.Contains(log.String(), "answers again") {
			t.Errorf("after it went on: alive = %v, metric %v, log %s", w.alive(), m.schedulerStuck.value(), log.String())
		}
		cancel()
		watching.Wait()
	})
}

// A term that ends while its loop hangs is not stuck any more: the next one begins afresh.
func TestWatchdogLetsGoOfAnEndedTerm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t).start()
		w := &watchdog{current: func() *scheduler { return nil }, metrics: newMetrics("1"), log: slog.New(slog.DiscardHandler)}
		b.end()
		w.look(t.Context(), b.s)
		if !w.alive() {
			t.Error("the ended term counts as stuck")
		}
	})
}

func TestLateRunIsToldOfWhileItWaits(t *testing.T) {
	t.Parallel()
	const doc = `{"name":"a","command":"true","schedule":"R1/2000-01-01T00:01:00Z/PT1H","epsilon":"PT2H"}`
	late := func(b *bench) (out []string) {
		for _, e := range b.events {
			if e.Kind == eventLate {
				out = append(out, clockOf(e.Time.UnixMilli()))
			}
		}
		return out
	}
	tests := []struct {
		name  string
		late  time.Duration
		given func(*bench)
		want  string
	}{
		{"off", 0, func(b *bench) { b.cluster.resize(0) }, ""},
		{"no room", 5 * time.Minute, func(b *bench) { b.cluster.resize(0) }, "00:06:00"},
		{"starts in time", 5 * time.Minute, func(*bench) {}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			onEachCluster(t, func(t *testing.T, c testCluster) {
				b := newBenchOn(t, c)
				b.cfg.late = tt.late
				tt.given(b)
				b.start()
				b.post(doc)
				b.wait(30 * time.Minute)
				if tt.late == 0 || tt.want == "" {
					for _, a := range b.s.timers {
						if a.kind == timerLate {
							t.Error("an alarm is left over")
						}
					}
				}
				b.restart() // the next leader does not report it again
				b.wait(30 * time.Minute)
				b.end()
				if got := strings.Join(late(b), " "); got != tt.want {
					t.Errorf("told of at %q, want %q", got, tt.want)
				}
			})
		})
	}
	scenario(t, "one that becomes late while nobody leads is reported by the next leader, once", func(b *bench) {
		b.cfg.late = 5 * time.Minute
		b.cluster.resize(0)
		b.start().post(doc)
		b.wait(2 * time.Minute)
		b.end()
		time.Sleep(10 * time.Minute)
		b.start()
		b.wait(time.Minute)
		b.restart()
		b.cluster.resize(10)
		b.wait(time.Minute)
		if got := strings.Join(late(b), " "); got != "00:12:00" || len(b.history("a")) != 1 {
			b.t.Errorf("told of at %q, want 00:12:00; history %q", got, b.history("a"))
		}
	})
}

func TestRunLogTellsWhatMatters(t *testing.T) {
	t.Parallel()
	r := &Run{ID: "ct:1:2:a:", Attempt: 2, Agent: "agent7", AgentID: "S7", State: runFailed, Reason: "exit 1"}
	const line = ` job=a task=ct:1:2:a: attempt=2 state=failed agent=agent7 agentId=S7 reason="exit 1"`
	tests := []struct {
		kind  eventKind
		cause string
		want  string // "" for nothing at the level info
	}{
		{eventQueued, "", ""},
		{eventStarted, "", ""},
		{eventFinished, "", ""},
		{eventFailed, "", `level=INFO msg="attempt ended without success"`},
		{eventRetriesExhausted, "", `level=WARN msg="run failed, no further attempt"`},
		{eventDisabled, causeFailures, `level=WARN msg="run failed, the job is disabled"`},
		{eventSkipped, "", `level=INFO msg="run skipped"`},
		{eventLate, "", `level=WARN msg="run is late"`},
		{eventProgress, "", ""},
	}
	for _, tt := range tests {
		var log bytes.Buffer
		runLog{slog.New(slog.NewTextHandler(&log, nil))}.observe(jobEvent{Kind: tt.kind, Cause: tt.cause, Job: &Job{Name: "a", Command: "secret"}, Run: r})
		want := ""
		if tt.want != "" {
			want = tt.want + line
		}
		_, got, _ := strings.Cut(strings.TrimSuffix(log.String(), "\n"), " ")
		if got != want {
			t.Errorf("%s: log = %q, want %q", tt.kind, got, want)
		}
	}
	var log bytes.Buffer
	debug := runLog{slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, kind := range []eventKind{eventQueued, eventStarted, eventFinished} {
		debug.observe(jobEvent{Kind: kind, Job: &Job{Name: "a"}, Run: r})
	}
	if n := strings.Count(log.String(), "task=ct:1:2:a:"); n != 3 {
		t.Errorf("lines for debugging = %d, want 3: %s", n, &log)
	}
}
