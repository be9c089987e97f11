package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// The runs of all jobs of a pool share its slots.
func TestPools(t *testing.T) {
	t.Parallel()
	job := func(name, members string) string {
		due := map[string]string{"a": "08", "b": "09", "c": "10"}[name]
		return `{"name":"` + name + `","command":"x","schedule":"R1/2000-01-01T00:00:` + due + `Z/P1D","epsilon":"PT30S","pool":"db"` + members + `}`
	}
	begin := func(b *bench, slots int) {
		b.t.Helper()
		b.cluster.behave(taking(100 * time.Second))
		b.start()
		b.do("pool", b.s.putPool(b.t.Context(), "db", slots))
		for _, name := range []string{"a", "b", "c"} {
			b.post(job(name, ""))
		}
	}
	states := func(b *bench) poolState {
		b.t.Helper()
		list, err := b.s.listPools(b.t.Context())
		if err != nil || len(list) != 1 {
			b.t.Fatalf("pools %+v, %v", list, err)
		}
		return list[0]
	}
	scenario(t, "and wait for one longer than epsilon, also with the next leader", func(b *bench) {
		begin(b, 2)
		b.wait(time.Minute)
		b.wantRunning("a", "b")
		if got, want := states(b), (poolState{"db", 2, 2, 1, 3}); got != want {
			b.t.Errorf("pool is %+v, want %+v", got, want)
		}
		if why, err := b.s.whyQueued(b.t.Context(), "c"); err != nil || len(why) != 1 || why[0].Reasons[0] != `waits for a slot of pool "db": 2 of 2 are taken` {
			b.t.Errorf("it waits because %+v, %v", why, err)
		}
		b.restart()
		b.wait(30 * time.Second)
		b.wantRunning("a", "b")
		b.wait(30 * time.Second)
		b.wantRunning("c")
		b.wait(2 * time.Minute)
		b.wantHistory("c", "scheduled finished 00:00:10")
	})
	scenario(t, "which a run by hand waits for too", func(b *bench) {
		begin(b, 1)
		b.runNow("b")
		b.wait(5 * time.Second)
		b.runNow("a")
		b.wait(time.Second)
		b.wantRunning("b")
	})
	scenario(t, "and an async one holds to its callback", func(b *bench) {
		b.start()
		b.do("pool", b.s.putPool(b.t.Context(), "db", 1))
		b.post(job("a", `,"async":true`))
		b.post(job("b", ""))
		b.wait(time.Minute)
		b.wantState("b", "queued")
		b.do("finish", b.s.finishTask(b.t.Context(), b.s.view().job("a").runs[0].ID, 0))
		b.wait(time.Second)
		b.wantHistory("b", "scheduled finished 00:00:09")
	})
	scenario(t, "of which there may be more or fewer while runs are under way", func(b *bench) {
		begin(b, 0)
		b.wait(time.Minute)
		b.wantRunning()
		b.do("pool", b.s.putPool(b.t.Context(), "db", 3))
		b.wait(20 * time.Second)
		b.wantRunning("a", "b", "c")
		b.do("pool", b.s.putPool(b.t.Context(), "db", 1))
		b.wait(20 * time.Second)
		b.wantRunning("a", "b", "c")
		if got := states(b); got.Used != 3 || got.Slots != 1 {
			b.t.Errorf("pool is %+v", got)
		}
	})
	scenario(t, "until a job leaves it", func(b *bench) {
		begin(b, 1)
		b.wait(20 * time.Second)
		b.post(strings.Replace(job("b", ""), `,"pool":"db"`, "", 1))
		b.wait(time.Second)
		b.wantRunning("a", "b")
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.wait(time.Second)
		b.wantRunning("b", "c")
	})
	scenario(t, "a pool has to exist, and stays while jobs name it", func(b *bench) {
		b.start()
		if err := b.tryPost(job("a", "")); err == nil || !strings.HasPrefix(err.Error(), `pool: there is no pool "db"`) {
			b.t.Errorf("a job of no pool: %v", err)
		}
		b.do("pool", b.s.putPool(b.t.Context(), "db", 1))
		b.post(job("a", ""))
		b.restart()
		if err := b.s.deletePool(b.t.Context(), "db"); !errors.Is(err, errPoolInUse) {
			b.t.Errorf("a pool that a job names was deleted: %v", err)
		}
		b.do("delete", b.s.deleteJob(b.t.Context(), "a"))
		b.do("delete", b.s.deletePool(b.t.Context(), "db"))
		if err := b.s.deletePool(b.t.Context(), "db"); !errors.Is(err, errNotFound) {
			b.t.Errorf("a pool that there is not was deleted: %v", err)
		}
		if left := b.store.keys(poolPrefix); len(left) > 0 {
			b.t.Errorf("records left: %q", left)
		}
	})
	scenario(t, "a pool that somebody has taken out of the store is a problem", func(b *bench) {
		begin(b, 1)
		b.end()
		delete(b.store.records, poolPrefix+"db")
		b.start().wait(30 * time.Second)
		b.wantRunning("a", "b", "c")
		if v := b.s.view().job("a"); v.problem != `there is no pool "db", and nothing bounds its runs` {
			b.t.Errorf("problem %q", v.problem)
		}
	})
}
