package main

import (
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// laterKey is what a later version of this program might put into a record.
const laterKey = `"later":{"a":[1,2.50,null]}`

func (b *bench) addLater(key string) {
	b.t.Helper()
	was := b.store.value(key)
	if was == "" {
		b.t.Errorf("no record %s among %q", key, b.store.keys("go/"))
		return
	}
	end := strings.LastIndexByte(was, '}')
	b.store.records[key] = []byte(was[:end] + "," + laterKey + was[end:])
}

func (b *bench) wantLater(key string) {
	b.t.Helper()
	if got := b.store.value(key); !strings.Contains(got, laterKey) {
		b.t.Errorf("record %s = %s, want what a later version has put there", key, got)
	}
}

func TestWhatALaterVersionHasWrittenIsKept(t *testing.T) {
	t.Parallel()
	scenario(t, "in the records of a job and its runs", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"R/2031-01-01T00:00:00Z/P1Y"}`)
		b.runNow("a")
		b.wait(time.Minute)
		b.cluster.behave(forEver)
		id := b.runNow("a")
		b.wait(time.Minute)
		b.end()
		for _, key := range []string{"go/job/a", "go/history/a", runKey(id)} {
			b.addLater(key)
		}
		before := map[string]string{}
		for _, key := range []string{"go/job/a", "go/history/a", runKey(id)} {
			before[key] = b.store.value(key)
		}
		b.start()
		b.do("success", b.s.markSuccess(b.t.Context(), "a")) // writes the job's record
		b.cluster.tell(id, status(mesos.TASK_UNREACHABLE))   // and the run's
		b.wait(0)
		b.wantLater("go/job/a")
		b.wantLater(runKey(id))
		for _, key := range []string{"go/job/a", runKey(id)} {
			if b.store.value(key) == before[key] {
				b.t.Errorf("record %s was not written anew", key)
			}
		}
		b.cluster.tell(id, status(mesos.TASK_RUNNING))
		b.cluster.finish(id, mesos.TASK_FINISHED)
		b.wait(0)
		if got := strings.Count(b.store.value("go/history/a"), laterKey); got != 2 {
			b.t.Errorf("history = %s, want both runs with what was put there", b.store.value("go/history/a"))
		}
	})
	scenario(t, "in records of kinds of its own", func(b *bench) {
		b.start().post(parked)
		b.end()
		b.store.records["go/later/a"] = []byte("[1]")
		b.store.records["go/meta/later"] = []byte("2")
		b.start()
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.restart()
		if b.store.value("go/later/a") != "[1]" || b.store.value("go/meta/later") != "2" {
			b.t.Errorf("records = %q, want those of a later version left alone", b.store.keys("go/"))
		}
	})
	scenario(t, "a run in a state of its own", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		id := b.runNow("a")
		b.end()
		sound := b.store.value(runKey(id))
		odd := strings.Replace(sound, `"state":"active"`, `"state":"frozen"`, 1)
		b.store.records[runKey(id)] = []byte(odd)
		b.start().wait(time.Minute)
		b.wantRunning("a") // neither killed nor adopted
		if got := b.store.value(runKey(id)); got != odd {
			b.t.Errorf("record = %s, want %s", got, odd)
		}
	})
}
