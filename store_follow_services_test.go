//go:build services

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// startFollower follows the state below root, in a session of its own, until the test ends or it hands over.
func startFollower(t *testing.T, session *zkSession, root string) *zkFollower {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	f := newZKFollower(session, root, newPreparation(testConfig()), slog.New(slog.DiscardHandler))
	go f.run(ctx)
	t.Cleanup(func() { stop(); <-f.over })
	return f
}

// A vandal writes into a state as leaders, JVM versions and people do.
type vandal struct {
	t       *testing.T
	random  *rand.Rand
	leader  *zkStore
	foreign *zkSession
	hidden  map[string]bool // keys of nodes that nobody may read
}

func (v *vandal) key() string {
	n := v.random.IntN(12)
	return []string{
		fmt.Sprint("J_job ", n), fmt.Sprint("T_ct:1:0:job ", n, ":"), "frameworkId", fmt.Sprint("go/job/job ", n), fmt.Sprint("go/run/ct:1:0:job ", n, ":"),
		fmt.Sprint("go/history/job ", n), fmt.Sprintf("go/kind%d/x", n), fmt.Sprintf("%s%d_%d_1_0_0_1", segmentPrefix, n, n),
	}[v.random.IntN(8)]
}

func (v *vandal) value(key string) []byte {
	if kindOf(key) == "" && key != frameworkIDKey && key[0] == 'J' {
		return fmt.Appendf(nil, `{"name":%q,"command":"x%d","schedule":"R/2030-01-01T00:00:00Z/P1D"}`, key[2:], v.random.IntN(1000))
	}
	return fmt.Appendf(nil, `{"seq":%d}`, v.random.IntN(1000))
}

// act does one thing.
func (v *vandal) act() {
	key := v.key()
	node := v.leader.node(key)
	switch n := v.random.IntN(10); {
	case v.hidden[key]:
	case n < 4: // the leader stores, several at once
		other := v.key()
		if !v.hidden[other] {
			_ = v.leader.commit(v.t.Context(), []record{{key, v.value(key)}, {other, v.value(other)}})
		}
	case n < 6:
		_ = v.leader.commit(v.t.Context(), []record{{key, nil}})
	case n == 6: // another program
		data := v.value(key)
		if kindOf(key) == "" {
			data = encodeVariable(key, newUUID(), data)
		}
		if _, err := v.foreign.Set(node, data, -1); errors.Is(err, zk.ErrNoNode) {
			_, _ = v.foreign.Create(node, data, 0, v.foreign.acl)
		}
	case n == 7:
		_ = v.foreign.Delete(node, -1)
	case n == 8: // nobody can read that
		_, _ = v.foreign.Set(node, []byte{0xff}, -1)
	case v.random.IntN(10) == 0:
		if _, err := v.foreign.Create(node, nil, 0, zk.DigestACL(zk.PermAll, "someone", "else")); err == nil {
			v.hidden[key] = true
		}
	default: // gone and back
		_ = v.foreign.Delete(node, -1)
		_, _ = v.foreign.Create(node, []byte{0xff}, 0, v.foreign.acl)
	}
}

// Whatever anybody writes, before, while or after a follower reads the state for the first time, it hands over what a new leader
// would read.
func TestAFollowerKnowsWhatANewLeaderWouldRead(t *testing.T) {
	t.Parallel()
	hosts, _ := zktest.Shared(t)
	n := uint64(4)
	if *long {
		n = 200
	}
	for seed := range n {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			_, root := zktest.Shared(t)
			v := &vandal{t: t, random: rand.New(rand.NewPCG(seed, 1)), foreign: testSession(t, hosts), hidden: map[string]bool{}}
			v.leader, _ = lead(t, hosts, root)
			some := func() {
				for range v.random.IntN(60) {
					v.act()
					if v.random.IntN(8) == 0 { // what somebody else has changed stops the commits of a leader that does not know it
						if _, err := v.leader.load(t.Context()); err != nil && exceptRecords(err) != nil {
							t.Fatal(err)
						}
					}
				}
			}
			some()
			f := startFollower(t, testSession(t, hosts), root)
			some()
			until(t, "it knows the state", func() bool { return f.known.Load() > 0 })
			for range 3 {
				some()
			}
			want, err := v.leader.readAll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := f.handOver(t.Context())
			if got == nil {
				t.Fatal("it knows nothing")
			}
			maps.DeleteFunc(got.kinds, func(_ string, there bool) bool { return !there })
			wantAlike(t, "records", got.records, want.records)
			wantAlike(t, "versions", got.versions, want.versions)
			wantAlike(t, "orders", got.orders, want.orders)
			wantAlike(t, "kinds", got.kinds, want.kinds)
			wantAlike(t, "records that can't be read", said(got.unread), said(want.unread))

			fresh := newPreparation(testConfig())
			fresh.update(slices.Collect(maps.Keys(want.records)), want.records)
			if len(f.jobs.jobs) != len(fresh.jobs) {
				t.Errorf("%d jobs are prepared, want %d", len(f.jobs.jobs), len(fresh.jobs))
			}
			for name, l := range fresh.jobs {
				if !reflect.DeepEqual(f.jobs.jobs[name], l) {
					t.Errorf("job %q is prepared as %+v, want %+v", name, f.jobs.jobs[name], l)
				}
			}
		})
	}
}

func said(errs map[string]error) map[string]string {
	texts := map[string]string{}
	for key, err := range errs {
		texts[key] = err.Error()
	}
	return texts
}

func wantAlike[V any](t *testing.T, what string, got, want map[string]V) {
	t.Helper()
	for key := range want {
		if _, ok := got[key]; !ok || !reflect.DeepEqual(got[key], want[key]) {
			t.Errorf("%s: %q = %v (%t), want %v", what, key, got[key], ok, want[key])
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: %q = %v, want none", what, key, got[key])
		}
	}
}

// A follower whose connection is cut reads everything again; until then it hands over nothing, and at once.
func TestAFollowerThatLostItsConnection(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	link := zktest.LinkTo(server.Addr).Listen(t)
	leader, _ := lead(t, []string{server.Addr}, "/chronos")
	mustCommit(t, leader, put("J_a", `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D"}`))
	session := testSession(t, []string{link.Addr})
	f := startFollower(t, session, "/chronos")
	until(t, "it knows the state", func() bool { return f.known.Load() > 0 })
	link.Set(zktest.Cut)
	until(t, "it knows that it knows nothing", func() bool { return f.known.Load() == 0 })
	began := time.Now()
	if state := f.handOver(t.Context()); state != nil {
		t.Errorf("it hands over %v", state.records)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("which takes %v", took)
	}
	if len(f.jobs.jobs) != 0 {
		t.Errorf("jobs = %v, want none", f.jobs.jobs)
	}
}
