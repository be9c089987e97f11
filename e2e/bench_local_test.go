package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// tinySource is a program that does as little as possible but say when it began.
const tinySource = `
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
	struct timespec t;
	char line[64];
	clock_gettime(CLOCK_REALTIME, &t);
	int fd = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0600);
	int n = snprintf(line, sizeof line, "%lld\n", t.tv_sec * 1000000LL + t.tv_nsec / 1000);
	return write(fd, line, n) != n;
}
`

// tinyProgram compiles it.
func tinyProgram(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "tiny")
	cc := exec.Command("gcc", "-O2", "-static", "-o", path, "-x", "c", "-")
	cc.Stdin = strings.NewReader(tinySource)
	if out, err := cc.CombinedOutput(); err != nil {
		b.Fatalf("compile: %v\n%s", err, out)
	}
	return path
}

// starts reads when the tiny programs began that have written to a file, in order.
func starts(b *testing.B, path string) []time.Time {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		b.Fatal(err)
	}
	var times []time.Time
	for line := range bytes.Lines(text) {
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, time.UnixMicro(n))
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// bareBurst returns how long a loop takes that starts the command so often with sh, two at a time.
func bareBurst(b *testing.B, command string, n int) time.Duration {
	b.Helper()
	begin := time.Now()
	todo := make(chan struct{})
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			for range todo {
				if err := exec.Command("/bin/sh", "-c", command).Run(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	both.Wait()
	return time.Since(begin)
}

// Many jobs due in the same second on this machine, each a tiny program: until the last one begins, against a bare
// loop that starts as many. TMPDIR says on which file system.
func BenchmarkLocalBurst(b *testing.B) {
	tiny := tinyProgram(b)
	for _, n := range []int{1000, 3000} {
		b.Run(fmt.Sprint("jobs=", n), func(b *testing.B) {
			var bare, last, ratios, middle []float64
			for b.Loop() {
				dir := b.TempDir()
				alone := bareBurst(b, tiny+" "+filepath.Join(dir, "bare"), n)
				begun := burst(b, dir, tiny, n)
				bare, last = append(bare, ms(alone)), append(last, ms(begun[n-1]))
				middle = append(middle, ms(begun[n/2]))
				ratios = append(ratios, float64(begun[n-1])/float64(alone))
			}
			b.ReportMetric(medianOf(bare), "bare-ms")
			b.ReportMetric(medianOf(last), "last-ms")
			b.ReportMetric(medianOf(middle), "p50-ms")
			b.ReportMetric(medianOf(ratios), "x-bare")
			b.ReportMetric(slices.Max(ratios), "x-bare-max")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// burst has n jobs due at one instant, and returns how long after it each began.
func burst(b *testing.B, dir, tiny string, n int) []time.Duration {
	b.Helper()
	v := newInstance(b, "log", "--data_dir", filepath.Join(dir, "data"), "--log_level", "error")
	v.start(b)
	v.serves(b)
	due := time.Now().Add(time.Duration(n)*2*time.Millisecond + 3*time.Second).Truncate(time.Second)
	told := filepath.Join(dir, "told")
	jobs := make(chan int)
	var posting sync.WaitGroup
	for range 8 {
		posting.Go(func() {
			for i := range jobs {
				job := fmt.Sprintf(`{"name":"job-%04d","command":"%s %s","cpus":0.0005,"mem":1,"disk":1,"schedule":"R1/%s/PT1H"}`, i, tiny, told, isoInstant(due.UnixMilli()))
				r := request{method: "POST", path: "/scheduler/iso8601", body: job}
				if status, err := r.send(plainClient, v); err != nil || status != 204 {
					b.Errorf("create job %d = %d, %v, want 204", i, status, err)
				}
			}
		})
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	posting.Wait()
	if time.Until(due) < 200*time.Millisecond {
		b.Fatal("the machine is too slow to put the jobs in before they are due")
	}
	time.Sleep(time.Until(due))
	begun := awaitStarts(b, v, told, n)
	v.terminate(b)
	late := make([]time.Duration, n)
	for i, at := range begun {
		late[i] = at.Sub(due)
	}
	return late
}

// awaitStarts waits until n tiny programs have begun, without taking much from them.
func awaitStarts(b *testing.B, v *instance, path string, n int) []time.Time {
	b.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		begun := starts(b, path)
		if len(begun) >= n {
			if len(begun) > n {
				b.Fatalf("%d starts of %d jobs", len(begun), n)
			}
			return begun
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d jobs have begun; the log ends: %s", len(begun), n, v.lastLog())
		}
	}
}

// One job at a time on a machine that does nothing else: from the instant when it is due until its program begins.
func BenchmarkLocalOneDue(b *testing.B) {
	tiny := tinyProgram(b)
	dir := b.TempDir()
	told := filepath.Join(dir, "told")
	v := newInstance(b, "log", "--data_dir", filepath.Join(dir, "data"), "--log_level", "error")
	v.start(b)
	v.serves(b)
	const each = time.Second // no schedule is faster
	var late []float64
	for b.Loop() {
		before, n := len(starts(b, told)), 30
		due := time.Now().Add(2 * time.Second).Truncate(each)
		v.mustCall(b, "POST", "/scheduler/iso8601", fmt.Sprintf(`{"name":"job","command":"%s %s","cpus":0.1,"mem":1,"schedule":"R%d/%s/PT1S"}`,
			tiny, told, n, isoInstant(due.UnixMilli())), 204)
		time.Sleep(time.Until(due.Add(time.Duration(n) * each)))
		for _, at := range awaitStarts(b, v, told, before+n)[before:] {
			late = append(late, ms(at.Sub(at.Truncate(each))))
		}
	}
	slices.Sort(late)
	b.ReportMetric(late[len(late)/2], "p50-ms")
	b.ReportMetric(late[len(late)*99/100], "p99-ms")
	b.ReportMetric(0, "ns/op")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func medianOf(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
