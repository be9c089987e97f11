package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	defaultKeptRuns  = 20 // of each job
	defaultKeptShare = 10 // one in this many bytes of the disk, for all runs
)

// A runArchive is what is kept of ended runs, in <data dir>/ended/<job>/<run>: the newest of each
// job, and in total no more bytes than the disk can spare; the oldest are removed first.
type runArchive struct {
	dir   string // data directory
	keep  int    // runs of one job
	bytes int64  // of all runs

	mu    sync.Mutex
	jobs  map[string][]archivedRun // by name of the job's directory, oldest first; nil until they have been counted
	order []string                 // directories of runs, those archived first in front; some are gone
	total int64
}

type archivedRun struct {
	name string // of its directory
	size int64  // that it takes on the disk
}

func newRunArchive(dir string, keep int, bytes int64) *runArchive {
	if bytes == 0 {
		var disk syscall.Statfs_t
		if syscall.Statfs(dir, &disk) == nil {
			bytes = int64(disk.Blocks) * int64(disk.Bsize) / defaultKeptShare
		}
	}
	return &runArchive{dir: dir, keep: cmp.Or(keep, defaultKeptRuns), bytes: bytes}
}

// jobDirectory groups the ended runs by job. Ids of an unknown form are one
// group, which no job's name collides with.
func jobDirectory(id string) string {
	if _, _, job, _, ok := parseRunID(id); ok {
		return sandboxName(job)
	}
	return "~other"
}

// store moves an ended run to the others of its job, unless that no longer exists, and removes what is
// then too much.
func (l *localCluster) store(id string) error {
	from, to := l.sandbox(id), l.archived(id)
	if _, _, job, _, ok := parseRunID(id); ok && !l.opts.hasJob(job) {
		return l.discard(string(from))
	}
	if err := makePassable(filepath.Dir(string(to))); err != nil {
		return err
	}
	switch err := os.Rename(string(from), string(to)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil // another instance was there first
	case errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, fs.ErrExist):
		// A kill came after the run had been archived, and recreated its directory.
		return l.discard(string(from))
	case err != nil:
		return err
	}
	return l.archive.add(to)
}

// discard removes a directory with everything in it, after renaming it: what is
// half deleted must not be taken for a run.
func (l *localCluster) discard(dir string) error { return discard(l.dir, dir) }

func discard(dataDir, dir string) error {
	trash := filepath.Join(dataDir, "trash", randomHex())
	if err := os.Rename(dir, trash); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return os.RemoveAll(trash)
}

// emptyTrash removes what an earlier instance was about to remove.
func (l *localCluster) emptyTrash() error {
	trash := filepath.Join(l.dir, "trash")
	entries, err := os.ReadDir(trash)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(trash, e.Name())))
	}
	return err
}

// A chore is a run to archive, or a job whose runs go with it.
type chore struct{ run, job string }

// removeJob removes what is kept of a job that no longer exists. It does not wait for that.
func (l *localCluster) removeJob(name string) { l.chores.put(chore{job: name}) }

func (l *localCluster) perform(c chore) error {
	if c.run != "" {
		return l.store(c.run)
	}
	if l.opts.hasJob(c.job) {
		return nil // it has been created again
	}
	l.archive.forget(sandboxName(c.job))
	return l.discard(filepath.Join(l.dir, "ended", sandboxName(c.job)))
}

// tidy counts what is kept, and removes what is too much and what belongs to jobs that were deleted
// while no instance was running.
func (l *localCluster) tidy() error {
	groups, err := os.ReadDir(filepath.Join(l.dir, "ended"))
	if err != nil {
		return err
	}
	for _, g := range groups {
		dir := filepath.Join(l.dir, "ended", g.Name())
		if job, ok := jobOfDirectory(dir); ok && !l.opts.hasJob(job) {
			err = errors.Join(err, l.discard(dir))
		}
	}
	return errors.Join(err, l.archive.count())
}

// jobOfDirectory returns the job whose ended runs are in a directory, whose name may be a
// digest: any of the runs has the name.
func jobOfDirectory(dir string) (job string, ok bool) {
	runs, err := os.ReadDir(dir)
	if err != nil || len(runs) == 0 {
		return "", false
	}
	id, err := sandbox(filepath.Join(dir, runs[0].Name())).runID()
	if err != nil {
		return "", false
	}
	_, _, job, _, ok = parseRunID(id)
	return job, ok
}

// count takes stock of what is kept, and removes what is too much.
func (a *runArchive) count() error {
	groups, err := os.ReadDir(filepath.Join(a.dir, "ended"))
	if err != nil {
		return err
	}
	type dated struct {
		dir string
		at  int64
	}
	var order []dated
	jobs, total := map[string][]archivedRun{}, int64(0)
	for _, g := range groups {
		entries, _ := os.ReadDir(filepath.Join(a.dir, "ended", g.Name())) // one that is gone by now has no entries
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return compareRuns(a.Name(), b.Name()) })
		for _, e := range entries {
			at := filepath.Join(g.Name(), e.Name())
			r := archivedRun{e.Name(), diskUsage(filepath.Join(a.dir, "ended", at))}
			jobs[g.Name()] = append(jobs[g.Name()], r)
			total += r.size
			if info, err := e.Info(); err == nil {
				order = append(order, dated{at, info.ModTime().UnixNano()})
			}
		}
	}
	sortStable(order, func(a, b dated) int { return cmp.Compare(a.at, b.at) })
	a.mu.Lock()
	defer a.mu.Unlock()
	a.jobs, a.total, a.order = jobs, total, nil
	for _, d := range order {
		a.order = append(a.order, d.dir)
	}
	for group := range jobs {
		err = errors.Join(err, a.trim(group))
	}
	return errors.Join(err, a.trimAll())
}

// add counts a run that has been moved to the others of its job.
func (a *runArchive) add(box sandbox) error {
	group, name := filepath.Base(filepath.Dir(string(box))), filepath.Base(string(box))
	size := diskUsage(string(box))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.jobs == nil {
		return nil // it will be counted with the others
	}
	at, known := a.find(group, name)
	if known {
		return nil
	}
	a.jobs[group] = slices.Insert(a.jobs[group], at, archivedRun{name, size})
	a.order = append(a.order, filepath.Join(group, name))
	a.total += size
	if len(a.order) > 1000 && len(a.order) > 2*a.runs() {
		a.order = slices.DeleteFunc(a.order, func(dir string) bool {
			group, name := filepath.Split(dir)
			_, known := a.find(filepath.Clean(group), name)
			return !known
		})
	}
	return errors.Join(a.trim(group), a.trimAll())
}

func (a *runArchive) runs() (n int) {
	for _, runs := range a.jobs {
		n += len(runs)
	}
	return n
}

func (a *runArchive) find(group, name string) (at int, known bool) {
	return slices.BinarySearchFunc(a.jobs[group], name, func(r archivedRun, name string) int { return compareRuns(r.name, name) })
}

// trim removes the oldest runs of a job above the number kept.
func (a *runArchive) trim(group string) (err error) {
	for len(a.jobs[group]) > a.keep {
		err = errors.Join(err, a.remove(group, 0))
	}
	return err
}

// trimAll removes the oldest runs of all jobs until the rest fits. The newest one stays, however large.
func (a *runArchive) trimAll() (err error) {
	for a.bytes > 0 && a.total > a.bytes && len(a.order) > 1 {
		group, name := filepath.Split(a.order[0])
		a.order = a.order[1:]
		group = filepath.Clean(group)
		if at, known := a.find(group, name); known {
			err = errors.Join(err, a.remove(group, at))
		}
	}
	return err
}

func (a *runArchive) remove(group string, at int) error {
	r := a.jobs[group][at]
	a.total -= r.size
	if a.jobs[group] = slices.Delete(a.jobs[group], at, at+1); len(a.jobs[group]) == 0 {
		delete(a.jobs, group)
	}
	return discard(a.dir, filepath.Join(a.dir, "ended", group, r.name))
}

// forget records that a job's directory is removed.
func (a *runArchive) forget(group string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.jobs[group] {
		a.total -= r.size
	}
	delete(a.jobs, group)
}

// diskUsage is how many bytes a directory and all in it take on the disk, holes not counted.
func diskUsage(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is going
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes
}

// compareRuns orders directories by the due time and attempt in the run id.
func compareRuns(a, b string) int {
	key := func(name string) (due, attempt int64) {
		parts := strings.SplitN(name, sandboxName(":"), 4)
		if len(parts) < 4 {
			return 0, 0
		}
		due, _ = strconv.ParseInt(parts[1], 10, 64)
		attempt, _ = strconv.ParseInt(parts[2], 10, 64)
		return due, attempt
	}
	dueA, attemptA := key(a)
	dueB, attemptB := key(b)
	return cmp.Or(cmp.Compare(dueA, dueB), cmp.Compare(attemptA, attemptB), cmp.Compare(a, b))
}
