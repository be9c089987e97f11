package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A toll is what an instance, and those who keep its runs, have taken of the machine.
type toll struct {
	descriptors, threads, processes, files int
	memory                                 int // KiB
	groups                                 int
}

// tollOf looks when no run is under way, in which case what is there is there to stay.
func tollOf(t *testing.T, v *instance, dir string) (sum toll) {
	t.Helper()
	pids := []string{strconv.Itoa(v.cmd.Process.Pid)}
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && string(text) == "chronos\x00__keep\x00"+dir+"\x00" {
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	sum.processes = len(pids)
	for _, pid := range pids {
		open, _ := os.ReadDir("/proc/" + pid + "/fd")
		sum.descriptors += len(open)
		status, _ := os.ReadFile("/proc/" + pid + "/status")
		sum.threads += numberAfter(string(status), `Threads:\s+`)
		sum.memory += numberAfter(string(status), `VmRSS:\s+`)
	}
	_ = filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { sum.files++; return nil })
	agent, _ := os.ReadFile(filepath.Join(dir, "agent"))
	for _, pattern := range []string{"/sys/fs/cgroup/*/chronos-runs/", "/sys/fs/cgroup/chronos-runs/"} {
		groups, _ := filepath.Glob(pattern + strings.TrimSpace(string(agent)) + ".*")
		sum.groups += len(groups)
	}
	return sum
}

// numberAfter is the number that stands behind what matches, 0 if nothing does.
func numberAfter(text, pattern string) int {
	m := regexp.MustCompile(`(?m)^` + pattern + `(\d+)`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// Twenty runs a second for an hour, or some seconds of it: what they take of memory, descriptors, processes and files is given back.
// The toll is measured in the middle and at the end, when all that is kept of runs has long been as much as may be.
func TestTortureOfManyStartsLeavesNothingBehind(t *testing.T) {
	runs, mayGrow := 300, 48<<10
	if *longTorture {
		runs, mayGrow = 36_000, 32<<10 // per half of the test: of memory some is always about to be collected
	}
	const jobs, keptRuns = 20, 2
	dir := filepath.Join(t.TempDir(), "data")
	v := newInstance(t, "log", "--data_dir", dir, "--local_keep_runs", strconv.Itoa(keptRuns), "--job_history_keep", "5", "--job_history_limit", "5", "--log_level", "warn")
	v.start(t)
	v.serves(t)
	finished := func() int {
		_, text, err := v.call("GET", "/metrics/prometheus", "")
		if err != nil {
			return 0
		}
		return numberAfter(text, `chronos_runs_total\{result="finished"\} `)
	}
	job := func(i int, schedule string) string {
		return fmt.Sprintf(`{"name":"job-%d","command":"echo some output; (setsid sleep 1000 &)","cpus":0.01,"mem":1,"disk":1,"retries":0,"schedule":%q}`, i, schedule)
	}
	measure := func(after int) toll {
		for i := range jobs {
			v.mustCall(t, "POST", "/scheduler/iso8601", job(i, "R//PT1S"), 204)
		}
		for deadline := time.Now().Add(patience + time.Duration(runs)*time.Second/10); finished() < after; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d runs have finished, want %d", finished(), after)
			}
		}
		for i := range jobs {
			v.mustCall(t, "POST", "/scheduler/iso8601", job(i, "R/2090-01-01T00:00:00Z/PT1S"), 204)
		}
		v.until(t, "no run is under way", v.isIdle)
		left := func(pattern string) int {
			names, _ := filepath.Glob(filepath.Join(dir, pattern))
			return len(names)
		}
		v.until(t, "what has ended is put away", func() bool { return left("runs/*") == 0 })
		v.until(t, "no more is kept than may be", func() bool { return left("ended/*/*") <= jobs*keptRuns && left("trash/*") == 0 })
		return tollOf(t, v, dir)
	}
	first := measure(runs)
	second := measure(2 * runs)
	t.Logf("after %d runs %+v, after %d %+v", runs, first, 2*runs, second)
	for _, g := range []struct {
		what          string
		before, after int
		may           int
	}{
		{"descriptors", first.descriptors, second.descriptors, 16}, // connections that are yet to be closed
		{"threads", first.threads, second.threads, 8},
		{"processes", first.processes, second.processes, 0},
		{"files", first.files, second.files, 4},
		{"KiB of memory", first.memory, second.memory, mayGrow},
		{"control groups", 0, second.groups, 0},
	} {
		if g.after > g.before+g.may {
			t.Errorf("%s: %d, and %d after as many runs again", g.what, g.before, g.after)
		}
	}
	v.terminate(t)
	if log := strings.Join(v.complaints(t), "\n"); log != "" {
		t.Error(log)
	}
}
