package main

import (
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestTakeoverKeepsWhatItCannotUse(t *testing.T) {
	t.Parallel()
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

func TestTakeoverFromAnEarlierVersion(t *testing.T) {
	t.Parallel()
	const job = `{"name":"a","command":"x","shell":true,"epsilon":"PT60S","schedule":"R/2000-01-01T01:00:00.000Z/PT1H","scheduleTimeZone":"","custom":{"k":[1]}}`
	plant := func(b *bench, records map[string]string) *bench {
		delete(b.store.records, adoptKey)
		for k, v := range records {
			b.store.records[k] = []byte(v)
		}
		return b
	}
	scenario(t, "waiting tasks are judged by epsilon, and those of the schedule run once", func(b *bench) {
		due := func(s string) string {
			at, _ := time.Parse(time.RFC3339, "2000-01-01T"+s+"Z")
			return runID(at.UnixMilli(), 0, "a", "")
		}
		time.Sleep(10 * time.Minute)
		plant(b, map[string]string{
			"J_a": job, "T_" + due("00:08:00"): job, "T_" + due("00:09:30"): job, "T_" + due("00:10:30"): job,
		})
		b.start().wait(time.Minute)
		b.wantHistory("a", "scheduled missed 00:08:00", "scheduled finished 00:09:30", "scheduled finished 00:10:30")
		b.wait(time.Hour)
		if got := b.history("a"); len(got) != 4 || got[3] != "scheduled finished 01:00:00" {
			b.t.Errorf("history = %q", got)
		}
		if keys := b.store.keys("T_"); len(keys) != 0 {
			b.t.Errorf("waiting records left: %q", keys)
		}
		if got := b.store.value("J_a"); !strings.Contains(got, `"custom":{"k":[1]}`) {
			b.t.Errorf("an unknown field was lost: %s", got)
		}
	})
	scenario(t, "its running tasks are adopted, not killed", func(b *bench) {
		plant(b, map[string]string{"J_a": job}).start()
		id := runID(time.Now().UnixMilli()-1000, 0, "a", "")
		b.cluster.tell(id, status(mesos.TASK_RUNNING))
		b.wait(0)
		b.wantState("a", "running")
		b.cluster.tell(id, mesos.TaskStatus{State: mesos.TASK_FINISHED.Enum(), UUID: []byte("u")})
		b.wait(0)
		if j := b.job("a"); j.SuccessCount != 1 {
			b.t.Errorf("successCount = %d, want 1", j.SuccessCount)
		}
	})
	scenario(t, "what can't be used is kept, shown, and stops nothing (B6)", func(b *bench) {
		bad := map[string]string{
			"J_a": job, "J_broken": `{"name":`, "J_other": `{"name":"x","command":"y"}`,
			"J_zero": strings.NewReplacer(`"a"`, `"zero"`, "PT1H", "PT0S", "R/2000", "R/1999").Replace(job),
			"J_none": strings.NewReplacer(`"a"`, `"none"`, "R/2000-01-01T01:00:00.000Z/PT1H", "rubbish").Replace(job),
			"J_loop": `{"name":"loop","command":"x","parents":["loop"]}`,
			"J_c1":   `{"name":"c1","command":"x","parents":["c2"]}`, "J_c2": `{"name":"c2","command":"x","parents":["c1"]}`,
			"J_late": `{"name":"late","command":"x","parents":["tomorrow"]}`, "go/run/zzz": "{", "T_rubbish": job, "frameworkId": "\xff",
		}
		plant(b, bad).start().wait(2 * time.Hour)
		if got := b.history("a"); len(got) != 2 {
			b.t.Errorf("the sound job ran %q", got)
		}
		for _, key := range []string{"J_broken", "J_other"} {
			if b.store.value(key) != bad[key] {
				b.t.Errorf("record %s was changed to %q", key, b.store.value(key))
			}
		}
		if len(b.s.view().invalid) < 4 {
			b.t.Errorf("invalid = %v", b.s.view().invalid)
		}
		for _, name := range []string{"none", "loop", "late"} {
			if b.s.view().job(name).problem == "" {
				b.t.Errorf("job %q has no problem", name)
			}
		}
		b.post(`{"name":"tomorrow","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1Y"}`)
		b.runNow("tomorrow")
		if got := b.history("late"); len(got) != 1 {
			b.t.Errorf("a job whose missing parent was made ran %q", got)
		}
	})
	scenario(t, "a run of ours that such a version has taken over is recorded as lost", func(b *bench) {
		b.cluster.resize(0)
		b.start().post(parked)
		id := b.runNow("a")
		b.end()
		delete(b.store.records, waitKey(id))
		b.start()
		b.wantHistory("a", "manual lost 00:00:00")
	})
}
