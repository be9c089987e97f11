package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// What a run is held to is what its job's document names, and no default.
func TestLimitsOfARun(t *testing.T) {
	t.Parallel()
	named := map[string]namedSizes{"mem": {Mem: true}, "cpus": {CPUs: true}, "both": {CPUs: true, Mem: true}}
	l := &localCluster{opts: localOptions{named: func(job string) namedSizes { return named[job] }}}
	container := &mesos.ContainerInfo{}
	for _, tt := range []struct {
		job       string
		need      resources
		container *mesos.ContainerInfo
		want      runLimits
	}{
		{"none", resources{1000, 64_000, 0}, nil, runLimits{}},
		{"mem", resources{1000, 64_000, 0}, nil, runLimits{Memory: 64 << 20}},
		{"mem", resources{1000, 500, 0}, nil, runLimits{Memory: 512 << 10}},
		{"cpus", resources{1000, 64_000, 0}, nil, runLimits{Weight: 100}},
		{"cpus", resources{100, 64_000, 0}, nil, runLimits{Weight: 10}},
		{"cpus", resources{1, 64_000, 0}, nil, runLimits{Weight: 1}},
		{"cpus", resources{500_000, 64_000, 0}, nil, runLimits{Weight: 10_000}},
		{"both", resources{2000, 128_000, 0}, nil, runLimits{Memory: 128 << 20, Weight: 200}},
		{"both", resources{2000, 128_000, 0}, container, runLimits{}}, // docker sees to it
	} {
		task := &mesos.TaskInfo{Resources: scalarsOf(tt.need), Container: tt.container}
		if got := l.limits(runIDFor(tt.job), task); got != tt.want {
			t.Errorf("limits of %s with %v, container %t = %+v, want %+v", tt.job, tt.need, tt.container != nil, got, tt.want)
		}
	}
	l.limitsFault = "no controller"
	if got := l.limits(runIDFor("both"), &mesos.TaskInfo{}); got != (runLimits{}) {
		t.Errorf("limits without a controller = %+v", got)
	}
	l.opts.named = nil
	if got := l.limits(runIDFor("both"), &mesos.TaskInfo{}); got != (runLimits{}) {
		t.Errorf("limits without --local_limits = %+v", got)
	}
}

func TestLimitsAreWrittenIntoTheGroup(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limits runLimits
		want   string
	}{
		{runLimits{}, "memory.max= cpu.weight="},
		{runLimits{Memory: 64 << 20}, "memory.max=67108864 cpu.weight="},
		{runLimits{Weight: 50}, "memory.max= cpu.weight=50"},
		{runLimits{Memory: 1, Weight: 10_000}, "memory.max=1 cpu.weight=10000"},
	} {
		dir := t.TempDir()
		fakeGroup(t, dir, "memory.max", "cpu.weight")
		must(t, group(dir).limit(tt.limits))
		got := fmt.Sprintf("memory.max=%s cpu.weight=%s", readFile(t, filepath.Join(dir, "memory.max")), readFile(t, filepath.Join(dir, "cpu.weight")))
		if got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.limits, got, tt.want)
		}
	}
	if err := group(t.TempDir()).limit(runLimits{Memory: 1}); err == nil {
		t.Error("a group without controllers takes a limit")
	}
}

func TestControllersAreEnabledDownToTheRuns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ available, fault string }{
		{"cpuset cpu io memory hugetlb pids rdma\n", ""},
		{"memory cpu", ""},
		{"hugetlb\n", "no memory controller"},
		{"", "no memory controller"},
		{"cpuset memory\n", "no cpu controller"},
	} {
		own := t.TempDir()
		runs := filepath.Join(own, groupsName)
		for _, dir := range []string{own, runs} {
			fakeGroup(t, dir, "cgroup.subtree_control")
			must(t, os.WriteFile(filepath.Join(dir, "cgroup.controllers"), []byte(tt.available), 0o644))
		}
		// Unlike the kernel's, a plain file keeps what is written only from its beginning on.
		err := enableLimits(runs)
		if (err != nil) != (tt.fault != "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("with %q: %v, want %q", tt.available, err, tt.fault)
		}
		if tt.fault != "" {
			continue
		}
		for _, dir := range []string{own, runs} {
			if got := string(readFile(t, filepath.Join(dir, "cgroup.subtree_control"))); !strings.HasPrefix(got, "+cpu") {
				t.Errorf("%s has %q", dir, got)
			}
		}
	}
}

func TestKillsForWantOfMemoryAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if n := group(dir).oomKills(); n != 0 {
		t.Errorf("%d kills where none are counted", n)
	}
	must(t, os.WriteFile(filepath.Join(dir, "memory.events"), []byte("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), 0o644))
	if n := group(dir).oomKills(); n != 2 {
		t.Errorf("%d kills, want 2", n)
	}
	r := &keptRun{task: &mesos.TaskInfo{}}
	for _, tt := range []struct {
		kills  int64
		status int
		want   string
	}{
		{2, 137, "TASK_FAILED REASON_CONTAINER_LIMITATION_MEMORY Command exited with status 137, out of memory: the kernel killed 2 of its processes at the limit of 64 MB"},
		{0, 137, "TASK_FAILED REASON_COMMAND_EXECUTOR_FAILED Command exited with status 137"},
		{1, 0, "TASK_FINISHED  Command exited with status 0, out of memory: the kernel killed 1 of its processes at the limit of 64 MB"},
	} {
		p := &program{oomKills: tt.kills, limits: runLimits{Memory: 64 << 20}}
		st := r.verdict(p, mesos.TASK_FINISHED, syscall.WaitStatus(tt.status<<8))
		if got := st.State + " " + st.Reason + " " + st.Message; got != tt.want {
			t.Errorf("%d kills, status %d: %q, want %q", tt.kills, tt.status, got, tt.want)
		}
	}
}
