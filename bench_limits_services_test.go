//go:build services

package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// A leader with very many jobs on ZooKeeper: what its start takes, and the memory of each job, in the leader and as the server
// counts the bytes of its nodes.
func BenchmarkHeldZooKeeper(b *testing.B) {
	for _, held := range []int{100_000, 300_000, 1_000_000} {
		b.Run(fmt.Sprint("held=", held), func(b *testing.B) {
			server := zktest.Start(b)
			server.Kill()
			server.RestartAlone(b, "-Xmx12g")
			until(b, "ZooKeeper serves", func() bool { return server.Mode() != "" })
			st, _ := lead(b, []string{server.Addr}, "/chronos")
			s, stop := startTerm(b, st, newQuietCluster(false))
			far := time.Now().Add(30 * 24 * time.Hour)
			began := time.Now()
			hold(b, s, held, func(i int) string { return benchJob(i, every(far, "P1D")) })
			stop()
			created := time.Since(began)
			s = nil
			var took []time.Duration
			var heap int64
			for b.Loop() {
				before, start := liveHeap(), time.Now()
				next, err := openZKStore(st.session, st.root, st.latch, 0)
				if err != nil {
					b.Fatal(err)
				}
				s, stop = startTerm(b, next, newQuietCluster(false))
				took = append(took, time.Since(start))
				heap = liveHeap() - before
				stop()
			}
			runtime.KeepAlive(s)
			reportTimes(b, "start", took)
			b.ReportMetric(float64(heap)/float64(held), "B/job")
			b.ReportMetric(float64(held)/created.Seconds(), "created/s")
			b.ReportMetric(float64(counted(server, "zk_approximate_data_size"))/float64(held), "stored-B/job")
		})
	}
}

// counted returns one of the numbers that a server tells about itself.
func counted(server *zktest.Server, name string) int64 {
	for line := range strings.Lines(server.Ask("mntr")) {
		if value, ok := strings.CutPrefix(line, name+"\t"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

// The same jobs under one --zk_path and under ten, each with a leader of its own, on the same ZooKeeper and the same machine.
func BenchmarkPaths(b *testing.B) {
	const jobs, clients = 10_000, 1000
	for _, paths := range []int{1, 10} {
		b.Run(fmt.Sprint("paths=", paths), func(b *testing.B) {
			var rates []time.Duration
			var heap int64
			for b.Loop() {
				before := liveHeap()
				hosts, root := zktest.Shared(b)
				leaders, ends := make([]*scheduler, paths), make([]func(), paths)
				edited := make([][]*Job, paths)
				far := time.Now().Add(24 * time.Hour)
				for p := range paths {
					st, _ := lead(b, hosts, fmt.Sprint(root, "/team-", p))
					leaders[p], ends[p] = startTerm(b, st, newQuietCluster(false))
					hold(b, leaders[p], jobs/paths, func(i int) string { return benchJob(i, every(far, "PT1H")) })
					edited[p] = editedJobs(leaders[p])
				}
				heap = liveHeap() - before
				start := time.Now()
				var all sync.WaitGroup
				for p := range paths {
					all.Go(func() { changeAll(b, leaders[p], edited[p], clients/paths) })
				}
				all.Wait()
				rates = append(rates, time.Since(start))
				for _, end := range ends {
					end()
				}
			}
			b.ReportMetric(jobs/median(rates).Seconds(), "changes/s")
			b.ReportMetric(float64(heap)/jobs, "B/job")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// What the next in line takes of ZooKeeper and the machine while it follows: changes by many clients, without it and with it.
func BenchmarkFollowing(b *testing.B) {
	const jobs, clients = 10_000, 1000
	for _, followed := range []bool{false, true} {
		b.Run(fmt.Sprint("followed=", followed), func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				st := zkTerm(b)
				s, stop := startTerm(b, st, newQuietCluster(false))
				far := time.Now().Add(24 * time.Hour)
				hold(b, s, jobs, func(i int) string { return benchJob(i, every(far, "PT1H")) })
				edited := editedJobs(s)
				ctx, cancel := context.WithCancel(b.Context())
				var following sync.WaitGroup
				if followed {
					f := newZKFollower(st.session, st.root, newPreparation(testConfig()), slog.New(slog.DiscardHandler))
					following.Go(func() { f.run(ctx) })
					until(b, "it knows the state", func() bool { return f.known.Load() > 0 })
				}
				runtime.GC()
				start := time.Now()
				changeAll(b, s, edited, clients)
				took = append(took, time.Since(start))
				cancel()
				following.Wait()
				stop()
				wipe(b, st.session, st.root)
			}
			b.ReportMetric(jobs/median(took).Seconds(), "changes/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
