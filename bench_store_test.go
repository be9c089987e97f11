package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The cost of a commit against that of a bare write and sync of as many bytes.
func BenchmarkFileStoreCommit(b *testing.B) {
	for _, n := range []int{1, 100, 2000} {
		b.Run(fmt.Sprint("records=", n), func(b *testing.B) {
			s := openTestStore(b, b.TempDir())
			var records []record
			for i := range n {
				records = append(records, put(fmt.Sprint("J_job-", i), strings.Repeat("x", 700)))
			}
			bare, size := bareWrites(b), 0
			for _, r := range records {
				size += len(r.key) + len(r.value)
			}
			var ours, theirs time.Duration
			for b.Loop() { // by turns, so that both see the same disk
				start := time.Now()
				mustCommit(b, s, records...)
				ours += time.Since(start)
				theirs += bare(size)
			}
			b.ReportMetric(float64(b.N)/ours.Seconds(), "commits/s")
			b.ReportMetric(float64(theirs)/float64(ours), "of-bare")
		})
	}
}

func BenchmarkFileStoreLoad(b *testing.B) {
	dir := b.TempDir()
	s := openTestStore(b, dir)
	for i := range 10 {
		var records []record
		for j := range 1000 {
			records = append(records, put(fmt.Sprint("J_", i, "-", j), strings.Repeat("x", 700)))
		}
		mustCommit(b, s, records...)
	}
	s.Close()
	for b.Loop() {
		s, err := openFileStore(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.load(b.Context()); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

// bareWrites returns a function that does and times one write and sync of size bytes.
func bareWrites(b *testing.B) func(size int) time.Duration {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return func(size int) time.Duration {
		block := bytes.Repeat([]byte("x"), size)
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
}
