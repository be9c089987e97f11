package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Where control groups of version 2 may be made, each run has one of its own, which its processes can't leave unless they
// are root. To end that is certain, and takes no look at all processes. Beside it, always, goes what is
// known of a run's processes by their descent and their environment.

const (
	groupsName = "chronos-runs" // the group of the runs' groups
	leafName   = "chronos"      // the group of this program: a group that hands controllers on has no processes
)

// A group is the directory of a run's control group, "" for none.
type group string

// A groupPlace is where this machine has control groups of version 2, and where among them a process is.
type groupPlace struct {
	mount, root, own string // root is what of the hierarchy is mounted there
}

// dir is the directory of the process's own group.
func (p groupPlace) dir() string {
	own := p.own
	if p.root != "/" {
		own = strings.TrimPrefix(own, p.root)
	}
	return filepath.Join(p.mount, own)
}

// findGroups returns where this process is, false where there are no control groups of version 2.
func findGroups(root fs.FS) (p groupPlace, ok bool) {
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return p, false
	}
	for line := range strings.Lines(string(mounts)) {
		// id parent device root mount options... - type source options
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		f := strings.Fields(before)
		if kind, _, _ := strings.Cut(after, " "); kind == "cgroup2" && len(f) > 4 {
			p.root, p.mount = f[3], f[4]
		}
	}
	membership, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil || p.mount == "" {
		return p, false
	}
	for line := range strings.Lines(string(membership)) {
		if own, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); found {
			p.own, ok = own, true
		}
	}
	return p, ok
}

// makeGroups makes the group of the runs' groups, and moves this process into a leaf beside it. The directory
// returned is "", with the reason, where that is not possible.
func makeGroups(p groupPlace) (dir string, err error) {
	parent := p.dir()
	if filepath.Base(parent) == leafName { // moved there before, or by systemd (DelegateSubgroup=)
		if dir := filepath.Join(filepath.Dir(parent), groupsName); makeGroup(dir) == nil {
			return dir, nil
		}
	}
	dir = filepath.Join(parent, groupsName)
	if err := makeGroup(dir); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(parent, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		return dir, nil // the root of all: it may have processes beside groups
	}
	leaf := filepath.Join(parent, leafName)
	if err := makeGroup(leaf); err != nil {
		return "", err
	}
	if err := writeGroup(leaf, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return "", err
	}
	return dir, nil
}

func makeGroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func writeGroup(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// group returns the group that a run gets, whoever keeps it.
func (l *localCluster) group(box sandbox) group {
	if l.groups == "" {
		return ""
	}
	return group(filepath.Join(l.groups, l.agent+"."+filepath.Base(string(box))))
}

// open makes the group, if it is not there, and returns its directory, in which a process can be started.
func (g group) open() (*os.File, error) {
	err := os.Mkdir(string(g), 0o755)
	if errors.Is(err, fs.ErrNotExist) { // an instance that has ended has removed the one above
		if err = makeGroup(filepath.Dir(string(g))); err == nil {
			err = os.Mkdir(string(g), 0o755)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.Open(string(g))
}

// kill kills every process of the group and of those below it.
func (g group) kill() error {
	if g == "" {
		return nil
	}
	err := writeGroup(string(g), "cgroup.kill", "1")
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A kernel before 5.14, or a group that is gone.
	return g.below(func(dir string) error {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, pid := range numbers(strings.Fields(string(text))) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		return err
	})
}

func numbers(texts []string) (all []int) {
	for _, text := range texts {
		if n, err := strconv.Atoi(text); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// below visits the group and all below it, the lowest first. One that is gone is no error.
func (g group) below(visit func(dir string) error) (err error) {
	entries, readErr := os.ReadDir(string(g))
	if errors.Is(readErr, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, group(filepath.Join(string(g), e.Name())).below(visit))
		}
	}
	if visited := visit(string(g)); !errors.Is(visited, fs.ErrNotExist) {
		err = errors.Join(err, visited)
	}
	return errors.Join(err, readErr)
}

// groupPatience is how long the processes of a group may take to die. One that waits for a broken disk may never.
const groupPatience = 10 * time.Second

// end kills what is in the group, and removes it.
func (g group) end() error {
	if g == "" {
		return nil
	}
	deadline := time.Now().Add(groupPatience)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := os.Remove(string(g)) // which only an empty one lets happen
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end the processes of a run: %w", err)
		}
		_ = g.kill()
		time.Sleep(pause)
		_ = g.below(func(dir string) error { return os.Remove(dir) })
	}
}

// An expectedStatus is what a status file holds before there is one: where what the run has started is to be found.
type expectedStatus struct {
	Group group `json:"group,omitempty"`
}

// group returns the group of a run that has no status yet.
func (b sandbox) group() group {
	text, err := os.ReadFile(b.path("status.tmp"))
	if err != nil {
		return ""
	}
	var s expectedStatus
	_ = json.Unmarshal(text, &s) // of blanks, as earlier versions have written them
	return s.Group
}
