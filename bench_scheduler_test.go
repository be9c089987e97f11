package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// docs/benchmarks.md says how to run these benchmarks and what their figures mean.

// A quietCluster has room for everything. It notes when each task was launched, and
// lets it run forever, or finish at once.
type quietCluster struct {
	finish bool
	events *mailbox[*sched.Event]

	mu       sync.Mutex
	offers   int
	launched map[string]time.Time // by task id
	twice    int
	ended    int
	progress chan struct{} // has an element after something was launched or has ended
}

func newQuietCluster(finish bool) *quietCluster {
	return &quietCluster{finish: finish, events: newMailbox[*sched.Event](), launched: map[string]time.Time{}, progress: make(chan struct{}, 1)}
}

// run implements cluster.
func (c *quietCluster) run(ctx context.Context, id string, handle func(*sched.Event)) error {
	if id == "" {
		id = "framework-1"
	}
	handle(&sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{FrameworkID: &mesos.FrameworkID{Value: id}}})
	c.offer()
	for {
		select {
		case <-c.events.ready:
			for _, e := range c.events.take() {
				handle(e)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *quietCluster) offer() {
	c.mu.Lock()
	c.offers++
	id := fmt.Sprint("offer-", c.offers)
	c.mu.Unlock()
	scalar := func(name string) mesos.Resource {
		return mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 1e9}}
	}
	c.events.put(&sched.Event{Type: sched.Event_OFFERS, Offers: &sched.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: id}, AgentID: mesos.AgentID{Value: "agent-1"}, Hostname: "host-1",
		Resources: []mesos.Resource{scalar("cpus"), scalar("mem"), scalar("disk")},
	}}}})
}

// send implements cluster.
func (c *quietCluster) send(call *sched.Call, done func(error)) {
	if done != nil {
		go done(nil)
	}
	switch call.Type {
	case sched.Call_ACCEPT:
		c.launch(call.Accept.Operations[0].Launch.TaskInfos)
		c.offer()
	case sched.Call_REVIVE:
		c.offer()
	case sched.Call_ACKNOWLEDGE:
		c.mu.Lock()
		c.ended++ // only terminal updates are to be acknowledged
		c.mu.Unlock()
		c.tell()
	}
}

func (c *quietCluster) launch(tasks []mesos.TaskInfo) {
	now := time.Now()
	c.mu.Lock()
	for i := range tasks {
		id := tasks[i].TaskID.Value
		if _, ok := c.launched[id]; ok {
			c.twice++
		}
		c.launched[id] = now
	}
	c.mu.Unlock()
	c.tell()
	for i := range tasks {
		c.update(tasks[i].TaskID, mesos.TASK_RUNNING, nil)
		if c.finish {
			c.update(tasks[i].TaskID, mesos.TASK_FINISHED, []byte("a uuid of sixteen"))
		}
	}
}

func (c *quietCluster) update(id mesos.TaskID, state mesos.TaskState, uuid []byte) {
	c.events.put(&sched.Event{Type: sched.Event_UPDATE, Update: &sched.Event_Update{Status: mesos.TaskStatus{
		TaskID: id, State: state.Enum(), AgentID: &mesos.AgentID{Value: "agent-1"}, UUID: uuid,
	}}})
}

func (c *quietCluster) tell() {
	select {
	case c.progress <- struct{}{}:
	default:
	}
}

// await returns once n tasks were launched, or have ended if they do. It fails when
// one was launched twice, or is missing after a minute.
func (c *quietCluster) await(b *testing.B, n int) {
	b.Helper()
	limit := time.After(time.Minute)
	for {
		c.mu.Lock()
		count, twice := len(c.launched), c.twice
		if c.finish {
			count = c.ended
		}
		c.mu.Unlock()
		if twice > 0 {
			b.Fatalf("%d tasks were launched twice", twice)
		}
		if count >= n {
			return
		}
		select {
		case <-c.progress:
		case <-limit:
			b.Fatalf("%d tasks of %d after a minute", count, n)
		}
	}
}

// lateness lists how long after their due times the tasks were launched.
func (c *quietCluster) lateness() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var late []time.Duration
	for id, at := range c.launched {
		due, _, _, _, _ := parseRunID(id)
		late = append(late, at.Sub(time.UnixMilli(due)))
	}
	return late
}

// startTerm runs a scheduler in real time until stop is called.
func startTerm(b *testing.B, st store, cl cluster) (s *scheduler, stop func()) {
	b.Helper()
	return startTermOf(b, testConfig(), st, cl)
}

// startTermOf is startTerm with a configuration.
func startTermOf(b *testing.B, cfg schedulerConfig, st store, cl cluster) (s *scheduler, stop func()) {
	b.Helper()
	cfg.archive = archiveBounds{runs: 500_000, size: 32 << 20, age: 400 * 24 * time.Hour.Milliseconds()} // as by default
	s = newScheduler(cfg, st, cl, slog.New(slog.DiscardHandler))
	if err := s.load(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var term sync.WaitGroup
	term.Go(func() { s.run(ctx) })
	return s, func() { cancel(); term.Wait() }
}

// hold puts n jobs into a scheduler, from documents as clients post them. Those
// that are there already get the new document.
func hold(b *testing.B, s *scheduler, n int, document func(i int) string) {
	b.Helper()
	for from := 0; from < n; from += 500 {
		_, err := s.ask(b.Context(), func() (string, error) {
			for i := from; i < min(from+500, n); i++ {
				j, err := decodeJob([]byte(document(i)), s.cfg.defaults, dialect2, nil)
				if err != nil {
					return "", err
				}
				if err := s.put(s.jobs[j.Name], j); err != nil {
					return "", err
				}
			}
			return "", nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// benchJob is a document of the usual size.
func benchJob(i int, schedule string) string {
	return fmt.Sprintf(`{"name":"job-%06d","command":"/usr/local/bin/backup --target %d --quiet","owner":"ops@example.com",`+
		`"description":"copies what has changed since yesterday","cpus":0.1,"mem":128,"schedule":%q}`, i, i, schedule)
}

func every(start time.Time, period string) string {
	return "R/" + start.UTC().Format(instantLayout) + "/" + period
}

// reportTimes reports the distribution of times in ms, as <name>-p50 and so on.
func reportTimes(b *testing.B, name string, times []time.Duration) {
	slices.Sort(times)
	at := func(share float64) float64 {
		return float64(times[min(len(times)-1, int(share*float64(len(times))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), name+"-p50-ms")
	b.ReportMetric(at(0.99), name+"-p99-ms")
	if len(times) > 100 {
		b.ReportMetric(at(1), name+"-max-ms")
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// median returns the middle one of some times.
func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

const burst = 10_000

// holdBurst puts jobs into a scheduler that are all due at the same second, and
// returns that instant.
func holdBurst(b *testing.B, s *scheduler) time.Time {
	b.Helper()
	due := time.Now().Add(9 * time.Second).Truncate(time.Second)
	hold(b, s, burst, func(i int) string { return benchJob(i, every(due, "PT1H")) })
	if time.Until(due) < 200*time.Millisecond {
		b.Fatal("the machine is too slow to put the jobs in before they are due")
	}
	runtime.GC()
	time.Sleep(time.Until(due.Add(-50 * time.Millisecond)))
	return due
}

// Ten thousand jobs due in the same second, on the file store.
func BenchmarkBurstFile(b *testing.B) {
	for _, finish := range []bool{false, true} {
		b.Run(fmt.Sprintf("finish=%t", finish), func(b *testing.B) {
			var late, all []time.Duration
			for b.Loop() {
				cl := newQuietCluster(finish)
				st := openTestStore(b, b.TempDir())
				s, stop := startTerm(b, st, cl)
				due := holdBurst(b, s)
				cl.await(b, burst)
				all = append(all, time.Since(due))
				late = append(late, cl.lateness()...)
				stop()
			}
			reportTimes(b, "late", late)
			b.ReportMetric(float64(median(all).Milliseconds()), "all-ms")
		})
	}
}

// A request to create one more job, with many jobs held, against a write of as many bytes.
func BenchmarkCreateFile(b *testing.B) {
	for _, held := range []int{2_000, 100_000} {
		b.Run(fmt.Sprint("held=", held), func(b *testing.B) {
			s, stop := startTerm(b, openTestStore(b, b.TempDir()), newQuietCluster(false))
			defer stop()
			hold(b, s, held, func(i int) string { return benchJob(i, every(time.Now().Add(time.Hour), "PT1H")) })
			bare := bareWrites(b)
			measureCreates(b, s, held, func() time.Duration { return bare(1600) })
		})
	}
}

// measureCreates times POSTs of new jobs, by turns to the handler, over HTTP, and
// a bare commit of what such a job takes.
func measureCreates(b *testing.B, s *scheduler, held int, bare func() time.Duration) {
	handler := newAPI(leading(s))
	web := httptest.NewServer(handler)
	defer web.Close()
	runtime.GC()
	var direct, wire, alone []time.Duration
	n := held
	for b.Loop() {
		for range 50 {
			n++
			doc := benchJob(n, every(time.Now().Add(time.Hour), "PT1H"))
			start := time.Now()
			send(b, handler, post("/scheduler/iso8601", doc))
			direct = append(direct, time.Since(start))
			n++
			doc = benchJob(n, every(time.Now().Add(time.Hour), "PT1H"))
			start = time.Now()
			res, err := http.Post(web.URL+"/scheduler/iso8601", "application/json", strings.NewReader(doc))
			if err != nil || res.StatusCode != http.StatusNoContent {
				b.Fatal(res, err)
			}
			res.Body.Close()
			wire = append(wire, time.Since(start))
			alone = append(alone, bare())
		}
	}
	if got := s.view().len(); got != n {
		b.Fatalf("%d jobs are held, want %d", got, n)
	}
	reportTimes(b, "handler", direct)
	reportTimes(b, "http", wire)
	reportTimes(b, "bare", alone)
}

// processCPU returns the processor time that this process has used.
func processCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools kept in the first round
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// giveHistory gives every job five ended runs.
func giveHistory(b *testing.B, s *scheduler) {
	b.Helper()
	_, err := s.ask(b.Context(), func() (string, error) {
		for _, e := range s.jobs {
			for k := range int64(5) {
				due := s.now - (5-k)*3600_000
				s.addHistory(e, &Run{
					ID: runID(due, 0, e.job.Name, ""), Job: e.job.Name, Kind: kindScheduled, Due: due, State: runFinished,
					AgentID: "4d0c1f3e-0000-4000-8000-5c2b9a000001-S17", Agent: "agent-17.example.com", Reason: "Command exited with status 0",
					Queued: due + 2, Launched: due + 9, Started: due + 500, Ended: due + 61_000,
				})
			}
			s.touch(e)
		}
		return "", nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// A leader with 100,000 jobs of five ended runs each, just loaded: processor time and
// live heap while nothing is due, and with a day's jobs spread evenly (1.2 a second).
func BenchmarkIdle(b *testing.B) {
	const held, watched = 100_000, 10 * time.Second
	const settling = 5 * time.Second // in which Go's runtime gives back the memory that loading took
	cases := []struct {
		name     string
		schedule func(i int) string
	}{
		{"far", func(int) string { return every(time.Now().Add(30*24*time.Hour), "P1D") }},
		{"spread-over-an-hour-to-come", func(i int) string {
			return every(time.Now().Add(time.Hour+time.Duration(i)*36*time.Millisecond), "PT2H")
		}},
		{"spread-over-a-day", func(i int) string { return every(time.Now().Add(time.Duration(i)*864*time.Millisecond), "P1D") }},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			fillDir(b, dir, held, func(i int) string { return benchJob(i, c.schedule(i)) }, giveHistory)
			var load, heap, terms float64
			for b.Loop() {
				before := liveHeap()
				st, err := openFileStore(dir, slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				s, stop := startTerm(b, st, newQuietCluster(true))
				if err := s.do(b.Context(), func() error { return nil }); err != nil {
					b.Fatal(err)
				}
				heap = float64(liveHeap()-before) / held
				time.Sleep(settling)
				cpu, start := processCPU(b), time.Now()
				time.Sleep(watched)
				load += float64(processCPU(b)-cpu) / float64(time.Since(start))
				terms++
				stop()
				st.Close()
			}
			b.ReportMetric(100*load/terms, "%core")
			b.ReportMetric(heap/1024, "KiB/job")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// A leader that holds very many jobs on the file store, without history: what its start takes, how much memory each job, how long
// creating one more and how much of a core idling. In the chain each job is the parent of the next one.
func BenchmarkHeld(b *testing.B) {
	far := func(i int) string { return benchJob(i, every(time.Now().Add(30*24*time.Hour), "P1D")) }
	chain := func(i int) string {
		if i == 0 {
			return far(i)
		}
		return fmt.Sprintf(`{"name":"job-%06d","command":"/usr/local/bin/backup --target %d --quiet","owner":"ops@example.com",`+
			`"description":"copies what has changed since yesterday","cpus":0.1,"mem":128,"parents":["job-%06d"]}`, i, i, i-1)
	}
	for _, c := range []struct {
		name     string
		held     int
		document func(i int) string
	}{{"flat", 100_000, far}, {"chain", 100_000, chain}, {"flat", 1_000_000, far}} {
		b.Run(fmt.Sprint(c.name, "=", c.held), func(b *testing.B) {
			dir := b.TempDir()
			fillDir(b, dir, c.held, c.document, nil)
			b.ResetTimer()
			var took, busy, idle time.Duration
			var creates []time.Duration
			var heap float64
			const watched = 5 * time.Second
			for b.Loop() {
				before, cpu, start := liveHeap(), processCPU(b), time.Now()
				st, err := openFileStore(dir, slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				s, stop := startTerm(b, st, newQuietCluster(true))
				if err := s.do(b.Context(), func() error { return nil }); err != nil {
					b.Fatal(err)
				}
				took, busy = took+time.Since(start), busy+processCPU(b)-cpu
				heap = float64(liveHeap()-before) / float64(c.held)
				api := newAPI(leading(s))
				for i := range 500 {
					start := time.Now()
					send(b, api, post("/scheduler/iso8601", far(c.held+i)))
					creates = append(creates, time.Since(start))
				}
				runtime.GC()
				cpu = processCPU(b)
				time.Sleep(watched)
				idle += processCPU(b) - cpu
				stop()
				st.Close()
			}
			b.ReportMetric(took.Seconds()/float64(b.N), "start-s")
			b.ReportMetric(busy.Seconds()/float64(b.N), "start-cpu-s")
			b.ReportMetric(heap, "B/job")
			b.ReportMetric(100*idle.Seconds()/watched.Seconds()/float64(b.N), "idle-%core")
			reportTimes(b, "create", creates)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fillDir leaves a file store with jobs in dir, after what is done to the scheduler that holds them.
func fillDir(b *testing.B, dir string, n int, document func(i int) string, do func(*testing.B, *scheduler)) {
	b.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	st, err := openFileStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	s, stop := startTerm(b, st, newQuietCluster(false))
	hold(b, s, n, document)
	if do != nil {
		do(b, s)
	}
	stop()
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
}

// The end of a run in the scheduler's loop, up to what is handed to the writer, with an archive that holds so many runs, or none.
func BenchmarkEndOfRun(b *testing.B) {
	for _, archived := range []int{-1, 0, 500_000} {
		b.Run(fmt.Sprint("archived=", archived), func(b *testing.B) {
			cfg := testConfig()
			if archived >= 0 {
				cfg.archive = archiveBounds{runs: max(1, int64(archived)), size: 1 << 40, age: 1 << 60}
			}
			s := newScheduler(cfg, newMemStore(), newQuietCluster(false), slog.New(slog.DiscardHandler))
			for n := range archived / segmentRuns {
				s.archive.segments = append(s.archive.segments, segment{first: int64(n)*segmentRuns + 1, last: int64(n+1) * segmentRuns, runs: segmentRuns})
				s.archive.last, s.archive.upTo, s.archive.settled = int64(n+1)*segmentRuns, int64(n+1)*segmentRuns, int64(n+1)*segmentRuns
			}
			entries := make([]*entry, 1000)
			for i := range entries {
				j, err := decodeJob([]byte(benchJob(i, every(time.Now(), "PT1H"))), cfg.defaults, dialect2, nil)
				if err != nil {
					b.Fatal(err)
				}
				entries[i] = s.newEntry(j)
			}
			n, size, largest := int64(0), 0, 0
			for b.Loop() {
				n++
				e := entries[n%int64(len(entries))]
				due := n * 1000
				s.addHistory(e, &Run{
					ID: runID(due, 0, e.job.Name, ""), Job: e.job.Name, Kind: kindScheduled, Due: due, State: runFinished,
					AgentID: "4d0c1f3e-0000-4000-8000-5c2b9a000001-S17", Agent: "agent-17.example.com", Reason: "Command exited with status 0",
					Queued: due + 2, Launched: due + 9, Started: due + 500, Ended: due + 61_000,
				})
				s.touch(e)
				s.seal()
				for _, c := range s.writer.waiting {
					size, largest = size+c.size, max(largest, c.size)
				}
				s.writer.waiting, s.writer.size = s.writer.waiting[:0], 0
			}
			b.ReportMetric(float64(size)/float64(n), "stored-B/run")
			b.ReportMetric(float64(largest), "largest-change-B")
		})
	}
}
