package main

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A term that finds jobs decoded in advance begins as one that decodes all of them, whatever has changed since.
func TestATermBeginsAlikeWithJobsPrepared(t *testing.T) {
	t.Parallel()
	scenario(t, "jobs of all kinds", func(b *bench) {
		b.cfg.location = time.FixedZone("here", 3600)
		b.cluster.behave(func(mesos.TaskInfo) (time.Duration, mesos.TaskStatus) {
			return 3 * time.Second, status(mesos.TASK_FINISHED)
		})
		b.start()
		for _, doc := range []string{
			`{"name":"interval","command":"x","schedule":"R/2000-01-01T00:00:05Z/PT10S"}`,
			`{"name":"short.name","command":"x","schedule":"R3/2000-01-01T00:00:05Z/PT7S","retries":1}`,
			`{"name":"cron","command":"x","schedule":"*/7 * * * *","scheduleTimeZone":"Europe/Berlin"}`,
			`{"name":"daily","command":"x","schedule":"30 2 * * *"}`,
			`{"name":"child","command":"x","parents":["interval"]}`,
			`{"name":"grand child","command":"x","parents":["child","short.name"]}`,
			`{"name":"off","command":"x","schedule":"R/2000-01-01T00:00:05Z/PT10S","disabled":true}`,
			`{"name":"paused","command":"x","schedule":"R/2000-01-01T00:00:05Z/PT10S"}`,
			`{"name":"policy","command":"x","schedule":"R/2000-01-01T00:00:05Z/PT10S","overlap":"skip","alertWithoutSuccess":"PT1H"}`,
		} {
			b.post(doc)
		}
		b.do("pause", b.s.pauseJob(b.t.Context(), "paused", time.Now().Add(time.Hour)))
		b.wait(12 * time.Second)
		before := maps.Clone(b.store.records)
		b.wait(11 * time.Second)
		b.post(`{"name":"new","command":"x","schedule":"R/2000-01-01T00:00:30Z/PT10S"}`)
		b.do("delete", b.s.deleteJob(b.t.Context(), "off"))
		b.end()
		after := maps.Clone(b.store.records)

		begin := func(prepare bool) *scheduler {
			st := newMemStore()
			st.records, st.last = maps.Clone(after), maps.Clone(before)
			if prepare {
				st.terms = b.cfg
				st.now, st.loads = before, 1
			}
			s := newScheduler(b.cfg, st, b.cluster.client(b.s.log), slog.New(slog.DiscardHandler))
			if err := s.load(context.Background()); err != nil {
				b.t.Fatal(err)
			}
			return s
		}
		want, got := begin(false), begin(true)
		if !slices.Equal(slices.Sorted(maps.Keys(got.jobs)), slices.Sorted(maps.Keys(want.jobs))) {
			b.t.Fatalf("jobs = %v, want %v", slices.Sorted(maps.Keys(got.jobs)), slices.Sorted(maps.Keys(want.jobs)))
		}
		for v := range want.view().all() {
			g := got.view().job(v.job.Name)
			g.lists, v.lists = nil, nil // which differ by the address of the document
			if !reflect.DeepEqual(g, v) {
				b.t.Errorf("job %q = %+v, want %+v", v.job.Name, g, v)
			}
			if a, z := got.jobs[v.job.Name].state, want.jobs[v.job.Name].state; !reflect.DeepEqual(a, z) {
				b.t.Errorf("state of job %q = %+v, want %+v", v.job.Name, a, z)
			}
		}
		if !slices.Equal(got.wake, want.wake) || !reflect.DeepEqual(got.extra, want.extra) {
			b.t.Errorf("beside the jobs: %v, %v, want %v, %v", got.wake, got.extra, want.wake, want.extra)
		}
		b.start()
	})
}

// A record says with which job it is decoded.
func TestJobOfRecord(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"J_a b": "a b", "go/job/a": "a", "go/history/a%2Fb": "a/b", "go/policy/a": "a",
		"T_ct:1:0:a:": "", "go/run/ct:1:0:a:": "", "go/pool/a": "", "frameworkId": "", "go/job/%2": "",
	} {
		if got, ok := jobOfRecord(key); got != want || ok != (want != "") {
			t.Errorf("jobOfRecord(%q) = %q, %t, want %q", key, got, ok, want)
		}
	}
}
