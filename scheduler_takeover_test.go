package main

import (
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestTakeoverKeepsWhatItCannotUse(t *testing.T) {
	scenario(t, "the open run of a job that can't be read is neither dropped nor killed", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		id := b.runNow("a")
		b.end()
		sound := b.store.value("J_a")
		b.store.records["J_a"] = []byte(`{"name":`)
		b.start().wait(time.Minute)
		b.wantRunning("a")
		b.end()
		b.store.records["J_a"] = []byte(sound)
		b.start()
		b.cluster.finish(id, mesos.TASK_FINISHED)
		b.wait(0)
		b.wantHistory("a", "manual finished 00:00:00")
	})
	scenario(t, "what we keep of a job that another version has deleted goes too", func(b *bench) {
		b.start().post(parked)
		b.runNow("a")
		b.end()
		delete(b.store.records, "J_a")
		b.start().wait(0)
		if keys := append(b.store.keys("go/job/"), b.store.keys("go/history/")...); len(keys) > 0 {
			b.t.Errorf("records left: %q", keys)
		}
	})
	scenario(t, "a cron job goes on after a JVM version has run the one occurrence it could see", func(b *bench) {
		b.start().post(`{"name":"a","command":"x","schedule":"0 * * * *"}`)
		b.end()
		time.Sleep(61 * time.Minute)
		b.store.records["J_a"] = []byte(strings.Replace(b.store.value("J_a"), "R1/2000-01-01T01:00:00.000Z/P1D", "R0/2000-01-02T01:00:00.000Z/P1D", 1))
		b.start().wait(time.Hour)
		b.wantHistory("a", "scheduled finished 02:00:00")
		if got := b.job("a").Schedule; got != "0 * * * *" {
			b.t.Errorf("schedule = %q, want the expression", got)
		}
	})
	scenario(t, "deleting a job that was never linked leaves its child a job with a problem, not one without parents", func(b *bench) {
		b.store.records["J_mid"] = []byte(`{"name":"mid","command":"x","parents":["nobody"]}`)
		b.store.records["J_leaf"] = []byte(`{"name":"leaf","command":"x","parents":["mid"]}`)
		b.start()
		b.do("delete", b.s.deleteJob(b.t.Context(), "mid"))
		if j := b.s.view().job("leaf"); len(j.job.Parents) != 1 || j.job.Parents[0] != "nobody" || j.problem == "" {
			b.t.Errorf("leaf has parents %q, problem %q", j.job.Parents, j.problem)
		}
	})
	scenario(t, "a change and the answer to its request id are stored together", func(b *bench) {
		b.start().post(parked)
		var alone []string
		b.store.before = func(records []record) error {
			request, run := "", ""
			for _, r := range records {
				if strings.HasPrefix(r.key, "go/request/") {
					request = r.key
				}
				if strings.HasPrefix(r.key, "go/run/") && r.value != nil {
					run = r.key
				}
			}
			if request != "" && run == "" {
				alone = append(alone, request)
			}
			return nil
		}
		b.cluster.behave(forEver)
		for _, id := range []string{"r1", "r2", "r3"} {
			_, err := b.s.runJob(withRequest(b.t.Context(), id), "a", "", false)
			b.do("run", err)
		}
		if len(alone) > 0 {
			b.t.Errorf("stored without their runs: %q", alone)
		}
	})
}

// What the document of a job has said otherwise than what is stored of it is known for as long as the job lives.
func TestWarningsOutliveTheTerm(t *testing.T) {
	const misread = "retries: '1.5' is read as 1; write 1"
	postStrange := func(b *bench, name, retries string) {
		doc := `{"name":"` + name + `","command":"x","schedule":"30 2 * * *","scheduleTimeZone":"Nowhere/At/All","retries":` + retries + `}`
		j, err := decodeJob([]byte(doc), b.cfg.defaults, dialect2, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		j.Misread = j.misread([]byte(doc))
		b.do("post", b.s.putJob(b.t.Context(), name, func(*Job) (*Job, error) { return j, nil }))
	}
	want := func(b *bench, n int, first string) {
		b.t.Helper()
		got := b.job("a").warnings()
		if len(got) != n || n > 0 && got[0].String() != first {
			b.t.Errorf("warnings = %q, want %d, first %q", got, n, first)
		}
	}
	const zone = "scheduleTimeZone: there is no time zone 'Nowhere/At/All', and UTC is taken instead, as Java does; names are those of the time zone database, like Europe/Berlin"
	scenario(t, "after a fail-over, a run and a change of the counters", func(b *bench) {
		b.start()
		postStrange(b, "a", "1.5")
		b.runNow("a")
		b.wait(time.Second)
		b.restart()
		want(b, 2, misread)
		postStrange(b, "a", "1")
		want(b, 1, zone)
		b.restart()
		want(b, 1, zone)
		if keys := b.store.keys("go/warnings/"); len(keys) > 0 {
			b.t.Errorf("records left: %q", keys)
		}
	})
	scenario(t, "but not those of a job that an earlier version has deleted and made anew", func(b *bench) {
		b.start()
		postStrange(b, "a", "1.5")
		b.end()
		b.store.records["go/job/a"] = []byte(strings.Replace(b.store.value("go/job/a"), `"seq":1`, `"seq":2`, 1))
		b.start()
		want(b, 1, zone)
	})
	scenario(t, "nor those of one that is deleted", func(b *bench) {
		b.start()
		postStrange(b, "a", "1.5")
		postStrange(b, "b", "1.5")
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.end()
		delete(b.store.records, "J_b") // by an earlier version, which knows no warnings
		b.start()
		if keys := b.store.keys("go/warnings/"); len(keys) > 0 {
			b.t.Errorf("records left: %q", keys)
		}
		b.post(`{"name":"a","command":"x","schedule":"30 2 * * *"}`)
		b.restart()
		want(b, 0, "")
	})
}
