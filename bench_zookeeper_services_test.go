//go:build services

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// A recordingStore is a term's ZooKeeper store that keeps what was committed, so
// that the same can be written once more without a scheduler.
type recordingStore struct {
	*zkStore

	mu      sync.Mutex
	before  map[string]int // length of the nodes that there were at mark, by key
	present map[string]int
	batches [][]record
}

func recordStore(s *zkStore) *recordingStore {
	return &recordingStore{zkStore: s, present: map[string]int{}}
}

// load implements store.
func (r *recordingStore) load(ctx context.Context) (map[string][]byte, error) {
	records, err := r.zkStore.load(ctx)
	for key, value := range records {
		r.present[key] = len(value)
	}
	return records, err
}

// commit implements store.
func (r *recordingStore) commit(ctx context.Context, records []record) error {
	return <-r.begin(ctx, records)
}

// begin implements stagedStore.
func (r *recordingStore) begin(ctx context.Context, records []record) <-chan error {
	outcome := r.zkStore.begin(ctx, records)
	r.mu.Lock()
	defer r.mu.Unlock()
	var batch []record
	for _, c := range records {
		if _, there := r.present[c.key]; c.value == nil && !there {
			continue // the store passes over it
		}
		r.present[c.key] = len(c.value)
		if c.value == nil {
			delete(r.present, c.key)
		}
		batch = append(batch, c)
	}
	if len(batch) > 0 {
		r.batches = append(r.batches, batch)
	}
	return outcome
}

// mark forgets what was committed so far.
func (r *recordingStore) mark() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = nil
	r.before = make(map[string]int, len(r.present))
	for key, n := range r.present {
		r.before[key] = n
	}
}

// A rerun is recorded commits as bare multis on nodes of their own: the same
// number and kinds of operations, names and sizes, and no fence, versions or encoding.
type rerun struct {
	session *zkSession
	dir     string
	multis  [][]any
}

// rerun prepares what was committed since mark in another place of the same server.
func (r *recordingStore) rerun(b *testing.B) *rerun {
	b.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	again := &rerun{session: r.session, dir: fmt.Sprintf("/bare-%d", rand.Uint64())}
	node := func(key string) string { return path.Join(again.dir, key) }
	there := map[string]bool{}
	var planted []any
	folders := map[string]bool{}
	for _, batch := range r.batches {
		var ops []any
		for _, c := range batch {
			folder := path.Dir(node(c.key))
			if !folders[folder] {
				folders[folder] = true
				if err := r.session.mkdirAll(folder); err != nil {
					b.Fatal(err)
				}
			}
			if n, ok := r.before[c.key]; ok && !there[c.key] {
				there[c.key] = true
				delete(r.before, c.key)
				planted = append(planted, &zk.CreateRequest{Path: node(c.key), Data: make([]byte, n), Acl: r.session.acl})
			}
			switch {
			case c.value == nil:
				ops = append(ops, &zk.DeleteRequest{Path: node(c.key), Version: -1})
				there[c.key] = false
			case there[c.key]:
				ops = append(ops, &zk.SetDataRequest{Path: node(c.key), Data: r.data(c), Version: -1})
			default:
				there[c.key] = true
				ops = append(ops, &zk.CreateRequest{Path: node(c.key), Data: r.data(c), Acl: r.session.acl})
			}
		}
		again.multis = append(again.multis, ops)
	}
	for ops := range slices.Chunk(planted, 400) {
		if _, err := r.session.Multi(ops...); err != nil {
			b.Fatal(err)
		}
	}
	return again
}

// run sends the multis, one after the other's answer, and returns how long that took.
func (a *rerun) run(b *testing.B) time.Duration {
	b.Helper()
	start := time.Now()
	for _, ops := range a.multis {
		if _, err := a.session.Multi(ops...); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// wipe removes the records below a path: the server's memory would fill up with what
// measurements leave, and each be slower than the one before.
func wipe(b *testing.B, session *zkSession, root string) {
	b.Helper()
	children := func(node string) []string {
		names, _, err := session.Children(node)
		if err != nil && !errors.Is(err, zk.ErrNoNode) {
			b.Fatal(err)
		}
		return names
	}
	folders := []string{root, root + "/state"}
	for _, kind := range children(root + "/go") {
		folders = append(folders, root+"/go/"+kind)
	}
	for _, folder := range folders {
		names := slices.DeleteFunc(children(folder), func(name string) bool {
			return folder == root && (name == "go" || name == "state" || name == "candidate")
		})
		for some := range slices.Chunk(names, 1000) {
			var ops []any
			for _, name := range some {
				ops = append(ops, &zk.DeleteRequest{Path: folder + "/" + name, Version: -1})
			}
			if _, err := session.Multi(ops...); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// size counts the operations and bytes of a rerun.
func (a *rerun) size() (operations, bytes int) {
	for _, ops := range a.multis {
		operations += len(ops)
		for _, op := range ops {
			switch r := op.(type) {
			case *zk.CreateRequest:
				bytes += len(r.Data)
			case *zk.SetDataRequest:
				bytes += len(r.Data)
			}
		}
	}
	return operations, bytes
}

// zkTerm begins a term on a path of its own.
func zkTerm(b *testing.B) *recordingStore {
	b.Helper()
	hosts, root := zktest.Shared(b)
	st, _ := lead(b, hosts, root)
	return recordStore(st)
}

// A measuredBurst collects what bursts took, against bare multis of their records.
type measuredBurst struct{ late, all, bare, over []time.Duration }

// add takes the time from due until everything was launched, and runs the same commits bare.
func (m *measuredBurst) add(b *testing.B, st *recordingStore, all time.Duration, late []time.Duration) {
	b.Helper()
	again := st.rerun(b)
	runtime.GC()
	bare := again.run(b)
	m.late, m.all, m.bare = append(m.late, late...), append(m.all, all), append(m.bare, bare)
	m.over = append(m.over, all-3*bare/2)
	operations, size := again.size()
	b.Logf("all in %v, bare %v: %d multis, %d operations, %d KB", all, bare, len(again.multis), operations, size>>10)
	wipe(b, st.session, again.dir)
	wipe(b, st.session, st.root)
}

func (m *measuredBurst) report(b *testing.B) {
	reportTimes(b, "late", m.late)
	all, bare := median(m.all), median(m.bare)
	b.ReportMetric(float64(all.Milliseconds()), "all-ms")
	b.ReportMetric(float64(bare.Milliseconds()), "bare-ms")
	b.ReportMetric(float64(all)/float64(bare), "x-bare")
	b.ReportMetric(float64(median(m.over).Milliseconds()), "ms-over-1.5x-bare")
}

// Ten thousand jobs due in the same second, on ZooKeeper.
func BenchmarkBurstZooKeeper(b *testing.B) {
	for _, finish := range []bool{false, true} {
		b.Run(fmt.Sprintf("finish=%t", finish), func(b *testing.B) {
			var m measuredBurst
			for b.Loop() {
				st, cl := zkTerm(b), newQuietCluster(finish)
				s, stop := startTerm(b, st, cl)
				due := holdBurst(b, s)
				st.mark()
				cl.await(b, burst)
				all := time.Since(due)
				stop()
				m.add(b, st, all, cl.lateness())
			}
			m.report(b)
		})
	}
}

// One job due at a time on an idle system with an offer at hand, and between them
// bare multis of the same records.
func BenchmarkOneDueZooKeeper(b *testing.B) {
	const jobs, apart = 100, 100 * time.Millisecond
	var late, bare []time.Duration
	for b.Loop() {
		st, cl := zkTerm(b), newQuietCluster(false)
		s, stop := startTerm(b, st, cl)
		first := time.Now().Add(2 * time.Second).Truncate(time.Second)
		hold(b, s, jobs, func(i int) string { return benchJob(i, every(first.Add(time.Duration(i)*apart), "PT1H")) })
		time.Sleep(time.Until(first.Add(-apart / 2)))
		st.mark()
		for i := range jobs {
			cl.await(b, i+1)
			time.Sleep(time.Until(first.Add(time.Duration(i)*apart + apart/2)))
			again := st.rerun(b)
			bare = append(bare, again.run(b))
			st.mark()
		}
		late = append(late, cl.lateness()...)
		stop()
	}
	reportTimes(b, "late", late)
	reportTimes(b, "bare", bare)
}

// Changes of jobs by many clients at a time, against bare multis of the same batches.
func BenchmarkChangesZooKeeper(b *testing.B) {
	const jobs, clients = 10_000, 1000
	var rates, ratios []float64
	for b.Loop() {
		st := zkTerm(b)
		s, stop := startTerm(b, st, newQuietCluster(false))
		far := time.Now().Add(24 * time.Hour)
		hold(b, s, jobs, func(i int) string { return benchJob(i, every(far, "PT1H")) })
		edited := editedJobs(s)
		runtime.GC()
		st.mark()
		start := time.Now()
		changeAll(b, s, edited, clients)
		took := time.Since(start)
		stop()
		again := st.rerun(b)
		bare := again.run(b)
		b.Logf("%d changes in %v, bare %v, in %d multis", jobs, took, bare, len(again.multis))
		wipe(b, st.session, again.dir)
		wipe(b, st.session, st.root)
		rates = append(rates, jobs/took.Seconds())
		ratios = append(ratios, float64(bare)/float64(took))
	}
	slices.Sort(rates)
	slices.Sort(ratios)
	b.ReportMetric(rates[len(rates)/2], "changes/s")
	b.ReportMetric(ratios[len(ratios)/2], "of-bare")
	b.ReportMetric(0, "ns/op")
}

// editedJobs are all jobs of a scheduler with another command.
func editedJobs(s *scheduler) (edited []*Job) {
	for v := range s.view().all() {
		j := v.job.clone()
		j.Command += " --again"
		edited = append(edited, j)
	}
	return edited
}

// changeAll has clients store new documents, each one after the other's answer.
func changeAll(b *testing.B, s *scheduler, edited []*Job, clients int) {
	b.Helper()
	work := make(chan *Job, len(edited))
	for _, j := range edited {
		work <- j
	}
	close(work)
	failed := make(chan error, clients)
	for range clients {
		go func() {
			var err error
			for j := range work {
				err = errors.Join(err, s.putJob(b.Context(), j.Name, func(*Job) (*Job, error) { return j, nil }))
			}
			failed <- err
		}()
	}
	for range clients {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
}

// A request to create one more job, with many jobs held, against a bare multi of what it takes.
func BenchmarkCreateZooKeeper(b *testing.B) {
	for _, held := range []int{2_000, 100_000} {
		b.Run(fmt.Sprint("held=", held), func(b *testing.B) {
			st := zkTerm(b)
			s, stop := startTerm(b, st, newQuietCluster(false))
			defer stop()
			document := func(i int) string { return benchJob(i, every(time.Now().Add(time.Hour), "PT1H")) }
			hold(b, s, held, document)
			n := 0
			measureCreates(b, s, held, func() time.Duration {
				n++
				return bareCreate(b, st.session, n)
			})
		})
	}
}

// bareCreate makes the two nodes of a job without a scheduler.
func bareCreate(b *testing.B, session *zkSession, n int) time.Duration {
	b.Helper()
	const dir = "/bare-creates"
	if n == 1 {
		if err := session.mkdirAll(dir); err != nil {
			b.Fatal(err)
		}
	}
	node := fmt.Sprintf("%s/%d-%d", dir, rand.Uint32(), n)
	start := time.Now()
	_, err := session.Multi(
		&zk.CreateRequest{Path: node + "-job", Data: make([]byte, 1000), Acl: session.acl},
		&zk.CreateRequest{Path: node + "-state", Data: make([]byte, 300), Acl: session.acl},
	)
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// Commits of jobs against bare multis of the same number and sizes of writes.
func BenchmarkZKStoreCommit(b *testing.B) {
	hosts, root := zktest.Shared(b)
	s, _ := lead(b, hosts, root)
	for _, n := range []int{1, 10, 250} {
		b.Run(fmt.Sprint("jobs=", n), func(b *testing.B) {
			records := jobRecords(n)
			mustCommit(b, s, records...)
			bare := bareMultis(b, s.session, root+fmt.Sprint("/bare-", b.N, "-", n), records)
			var ours, theirs time.Duration
			for b.Loop() { // by turns, so that both see the same server
				start := time.Now()
				mustCommit(b, s, records...)
				ours += time.Since(start)
				theirs += bare()
			}
			b.ReportMetric(float64(n*b.N)/ours.Seconds(), "jobs/s")
			b.ReportMetric(float64(theirs)/float64(ours), "of-bare")
			b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "µs/commit")
		})
	}
}

// A new leader loads 10,000 jobs with as many records of ours.
func BenchmarkZKStoreLoad(b *testing.B) {
	hosts, root := zktest.Shared(b)
	s, _ := lead(b, hosts, root)
	for records := range slices.Chunk(jobRecords(10_000), 500) {
		mustCommit(b, s, records...)
	}
	for b.Loop() {
		records, err := s.load(b.Context())
		if err != nil || len(records) != 20_000 {
			b.Fatalf("load() = %d records, %v", len(records), err)
		}
	}
}

// bareMultis returns a function that does and times one multi of plain sets of as many bytes.
func bareMultis(b *testing.B, session *zkSession, dir string, records []record) func() time.Duration {
	nodes := map[string][]byte{}
	var ops []any
	for i, r := range records {
		name := fmt.Sprint("node-", i)
		nodes[name] = nil
		ops = append(ops, &zk.SetDataRequest{Path: dir + "/" + name, Data: r.value, Version: -1})
	}
	plant(b, session, dir, nodes)
	return func() time.Duration {
		start := time.Now()
		if _, err := session.Multi(ops...); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
}

// jobRecords are the records that n jobs have, and what they take.
func jobRecords(n int) (records []record) {
	for i := range n {
		name := fmt.Sprint("job-", i)
		records = append(records, put("J_"+name, strings.Repeat("x", 700)), put("go/job/"+name, strings.Repeat("x", 200)))
	}
	return records
}

// A new leader takes over 100,000 jobs, which it reads, or has followed as the next in line: until it can schedule.
func BenchmarkTakeOver(b *testing.B) {
	const held = 100_000
	st := zkTerm(b)
	s, stop := startTerm(b, st, newQuietCluster(false))
	far := time.Now().Add(30 * 24 * time.Hour)
	hold(b, s, held, func(i int) string { return benchJob(i, every(far, "P1D")) })
	stop()
	for _, followed := range []bool{false, true} {
		b.Run(map[bool]string{false: "read", true: "followed"}[followed], func(b *testing.B) {
			var took, busy []time.Duration
			var memory int64
			for b.Loop() {
				before := liveHeap()
				var follower *zkFollower
				ctx, cancel := context.WithCancel(b.Context())
				var following sync.WaitGroup
				if followed {
					follower = newZKFollower(st.session, st.root, newPreparation(testConfig()), slog.New(slog.DiscardHandler))
					following.Go(func() { follower.run(ctx) })
					for follower.known.Load() == 0 {
						time.Sleep(10 * time.Millisecond)
					}
					memory = liveHeap() - before
				}
				cpu, start := processCPU(b), time.Now()
				next, err := openZKStore(st.session, st.root, st.latch, 0)
				if err != nil {
					b.Fatal(err)
				}
				next.follower = follower
				s := newScheduler(testConfig(), next, newQuietCluster(false), slog.New(slog.DiscardHandler))
				if err := s.load(b.Context()); err != nil {
					b.Fatal(err)
				}
				took, busy = append(took, time.Since(start)), append(busy, processCPU(b)-cpu)
				if len(s.jobs) != held {
					b.Fatalf("%d jobs were loaded, want %d", len(s.jobs), held)
				}
				cancel()
				following.Wait()
			}
			reportTimes(b, "take-over", took)
			reportTimes(b, "processor", busy)
			b.ReportMetric(float64(memory>>20), "follower-MiB")
		})
	}
}
