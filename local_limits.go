package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// With --local_limits the control group of a run holds it to what its job's document names; what a default has filled in
// limits nothing. Docker does the same by itself for containers, which are in no group of ours.

// runLimits are what a run is held to; zero values mean nothing.
type runLimits struct {
	Memory int64 `json:"memory,omitempty"` // bytes
	Weight int64 `json:"weight,omitempty"` // of its share of the processors when there are not enough
}

// limits returns what a run is held to.
func (l *localCluster) limits(id string, task *mesos.TaskInfo) (limits runLimits) {
	_, _, job, _, ok := parseRunID(id)
	if l.opts.named == nil || l.limitsFault != "" || !ok || task.Container != nil {
		return limits
	}
	named, need := l.opts.named(job), taskAmounts(task)
	if named.Mem {
		limits.Memory = max(1, need.mem) << 20 / 1000
	}
	if named.CPUs {
		const ofOneCPU = 100 // what groups have that nobody has given another
		limits.Weight = min(max(1, need.cpus*ofOneCPU/1000), 10_000)
	}
	return limits
}

// enableLimits has the groups of runs limit memory and processors, from the group of the program on down.
func enableLimits(runs string) error {
	for _, dir := range []string{filepath.Dir(runs), runs} {
		available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for _, controller := range []string{"memory", "cpu"} {
			if !strings.Contains(" "+strings.TrimSpace(string(available))+" ", " "+controller+" ") {
				return fmt.Errorf("%s has no %s controller of version 2 (the kernel has none, or it is in use as version 1, or not delegated)", dir, controller)
			}
			if err := writeGroup(dir, "cgroup.subtree_control", "+"+controller); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepareGroups makes what the runs' groups need. What is missing is told, and runs start all the same.
func (l *localCluster) prepareGroups() {
	why := errors.New("there are no control groups of version 2 here")
	place, ok := findGroups(os.DirFS("/"))
	if ok {
		l.groups, why = makeGroups(place)
	}
	if l.groups == "" {
		l.log.Info("runs get no control groups of their own", "why", why)
	}
	if l.opts.named == nil {
		return
	}
	if l.groups != "" {
		why = enableLimits(l.groups)
	}
	if why != nil {
		l.limitsFault = "--local_limits has no effect: " + why.Error()
		l.log.Error(l.limitsFault)
	}
}

// problems is what people should know of this machine as a cluster.
func (l *localCluster) problems() []string {
	if l.limitsFault == "" {
		return nil
	}
	return []string{l.limitsFault}
}

// limit holds the processes of the group to limits.
func (g group) limit(limits runLimits) error {
	var err error
	if limits.Memory > 0 {
		err = writeGroup(string(g), "memory.max", strconv.FormatInt(limits.Memory, 10))
	}
	if limits.Weight > 0 {
		err = errors.Join(err, writeGroup(string(g), "cpu.weight", strconv.FormatInt(limits.Weight, 10)))
	}
	return err
}

// oomKills is how many processes of the group the kernel has killed because the memory was used up.
func (g group) oomKills() (n int64) {
	text, err := fs.ReadFile(os.DirFS(string(g)), "memory.events")
	if err != nil {
		return 0 // a group that counts no memory
	}
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ = strconv.ParseInt(strings.TrimSpace(count), 10, 64)
		}
	}
	return n
}
