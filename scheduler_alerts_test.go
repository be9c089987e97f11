package main

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// alerts lists what is told of a job beside its runs, as "kind hh:mm:ss".
func (b *bench) alerts(kinds ...eventKind) func() []string {
	var mu sync.Mutex
	var told []string
	b.cfg.observe = func(e jobEvent) {
		mu.Lock()
		defer mu.Unlock()
		for _, kind := range kinds {
			if e.Kind == kind {
				told = append(told, string(kind)+" "+e.Time.Format(time.TimeOnly))
			}
		}
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(told)
	}
}

func (b *bench) wantAlerts(told func() []string, want ...string) {
	b.t.Helper()
	if got := told(); strings.Join(got, ", ") != strings.Join(want, ", ") {
		b.t.Errorf("told %q, want %q", got, want)
	}
}

// A run that takes longer than its job expects is told of once, and goes on.
func TestAlertAfter(t *testing.T) {
	t.Parallel()
	const job = `{"name":"a","command":"x","schedule":"R1/2000-01-01T00:00:10Z/P1D","alertAfter":"PT5M"}`
	scenario(t, "also with the next leader", func(b *bench) {
		told := b.alerts(eventSlow)
		b.cluster.behave(forEver)
		b.start().post(job)
		b.wait(2 * time.Minute)
		b.restart()
		b.wait(3 * time.Minute)
		b.wantAlerts(told)
		b.wait(10 * time.Second)
		b.wantAlerts(told, "slow 00:05:10")
		b.restart()
		b.wait(time.Hour)
		b.wantAlerts(told, "slow 00:05:10")
		b.wantRunning("a")
	})
	scenario(t, "not of one that ends in time", func(b *bench) {
		told := b.alerts(eventSlow)
		b.cluster.behave(taking(4 * time.Minute))
		b.start().post(job)
		b.wait(time.Hour)
		b.wantAlerts(told)
	})
	scenario(t, "an async run until its callback", func(b *bench) {
		told := b.alerts(eventSlow)
		b.start().post(strings.Replace(job, `"alertAfter"`, `"async":true,"alertAfter"`, 1))
		b.wait(time.Minute)
		b.restart()
		b.wait(time.Hour)
		b.wantAlerts(told, "slow 00:05:10")
	})
}

// A job that has not succeeded for too long is told of once, and once when it does again.
func TestAlertWithoutSuccess(t *testing.T) {
	t.Parallel()
	const job = `{"name":"a","command":"x","schedule":"R/2000-01-01T00:10:00Z/PT10M","retries":0,"alertWithoutSuccess":"PT25M"}`
	const absent, recovered = eventAbsent, eventRecovered
	scenario(t, "from when it was set, then from the last success, with leaders that change", func(b *bench) {
		told := b.alerts(absent, recovered)
		b.cluster.behave(failing)
		b.start().post(job)
		b.wait(20 * time.Minute)
		b.restart()
		b.wantAlerts(told)
		b.wait(6 * time.Minute)
		b.wantAlerts(told, "absent 00:25:00")
		if v := b.s.view(); v.absent != 1 || !v.job("a").absent {
			b.t.Errorf("%d jobs without success in the view", v.absent)
		}
		b.restart()
		b.wait(10 * time.Minute)
		b.cluster.behave(nil)
		b.wait(5 * time.Minute) // 00:40:00 succeeds
		b.wantAlerts(told, "absent 00:25:00", "recovered 00:40:00")
		b.restart()
		b.cluster.behave(failing)
		b.wait(time.Hour)
		b.wantAlerts(told, "absent 00:25:00", "recovered 00:40:00", "absent 01:05:00")
		b.do("success", b.s.markSuccess(b.t.Context(), "a"))
		b.wantAlerts(told, "absent 00:25:00", "recovered 00:40:00", "absent 01:05:00", "recovered 01:41:00")
		b.post(strings.Replace(job, `,"alertWithoutSuccess":"PT25M"`, "", 1))
		b.wait(time.Hour)
		if left := b.store.keys(alertPrefix); len(left) > 0 || len(told()) != 4 {
			b.t.Errorf("records left: %q, told %q", left, told())
		}
	})
	scenario(t, "while nobody led", func(b *bench) {
		told := b.alerts(absent, recovered)
		b.cluster.behave(failing)
		b.start().post(job)
		b.end()
		time.Sleep(time.Hour)
		b.start().wait(0)
		b.wantAlerts(told, "absent 01:00:00")
	})
	scenario(t, "but not while it is disabled or paused", func(b *bench) {
		told := b.alerts(absent, recovered)
		b.cluster.behave(failing)
		b.start().post(strings.Replace(job, `"retries":0`, `"retries":0,"disabled":true`, 1))
		b.wait(time.Hour)
		b.post(job)
		b.wait(20 * time.Minute)
		b.do("pause", b.s.pauseJob(b.t.Context(), "a", time.Now().Add(time.Hour)))
		b.wait(time.Hour + 24*time.Minute)
		b.wantAlerts(told)
		b.wait(2 * time.Minute)
		b.wantAlerts(told, "absent 02:45:00")
	})
	scenario(t, "nor when nothing of it is to come", func(b *bench) {
		told := b.alerts(absent, recovered)
		b.cluster.behave(failing)
		b.start().post(strings.Replace(job, "R/", "R1/", 1))
		b.wait(5 * time.Hour)
		b.wantAlerts(told)
	})
	scenario(t, "a success that a JVM version has seen counts", func(b *bench) {
		told := b.alerts(absent, recovered)
		b.cluster.behave(failing)
		b.start().post(job)
		b.wait(26 * time.Minute)
		b.end()
		other := strings.Replace(b.store.value("J_a"), `"lastSuccess":""`, `"lastSuccess":"2000-01-01T00:30:00.000Z"`, 1)
		time.Sleep(5 * time.Minute)
		b.store.foreign("J_a", []byte(other))
		b.start().wait(0)
		b.wantAlerts(told, "absent 00:25:00", "recovered 00:31:00")
	})
	scenario(t, "and it goes with the job", func(b *bench) {
		b.start().post(job)
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		if left := b.store.keys(alertPrefix); len(left) > 0 {
			b.t.Errorf("records left: %q", left)
		}
		b.wait(time.Hour)
	})
}
