package main

import (
	"context"
	"slices"
	"strings"
	"time"
)

// handOverLook is how often to check whether anything still waits.
const handOverLook = 50 * time.Millisecond

// handOver prepares the end of the term for a JVM version that leads next. 3.0 knows nothing of waiting
// runs and 2.4 takes only those young enough, so they are placed while there is time, which ends with ctx.
// From here on nothing falls due any more: the stored schedules tell the successor what to run.
func (s *scheduler) handOver(ctx context.Context) {
	s.tellOtherwise()
	waiting, _, err := s.yield(ctx)
	if err != nil || len(waiting) == 0 {
		return
	}
	s.log.Info("a JVM version leads next and may know nothing of the waiting runs; placing them first", "runs", len(waiting), "ids", atMost(waiting, maxToldIDs))
	for rest(ctx, handOverLook) {
		left, placed, err := s.yield(ctx)
		if err != nil && ctx.Err() == nil {
			return // the term has ended by itself, and this instance may lead again
		}
		if err == nil {
			waiting = left
		}
		if placed {
			break
		}
	}
	if len(waiting) > 0 {
		s.log.Warn("runs are left waiting: a 3.0 does not run them before this program leads again", "runs", len(waiting), "ids", atMost(waiting, maxToldIDs))
	}
}

// tellOtherwise names the jobs that a JVM version treats otherwise, since it does not see what they say in keys of ours.
func (s *scheduler) tellOtherwise() {
	var names []string
	for jv := range s.view().all() {
		if unseen := unseenByJVM(jv.job, jv.paused != 0, jv.backfill != nil); unseen != "" {
			names = append(names, jv.job.Name+" ("+unseen+")")
		}
	}
	if len(names) > 0 {
		s.log.Warn("a JVM version leads next and does not see some of what jobs say", "jobs", len(names), "which", atMost(names, maxToldIDs))
	}
}

// unseenByJVM lists what JVM versions do not see of a job, "" for nothing.
func unseenByJVM(j *Job, paused, backfilled bool) string {
	unseen := j.Policy.keys()
	if paused {
		unseen = append(unseen, "a pause")
	}
	if backfilled {
		unseen = append(unseen, "a backfill")
	}
	return strings.Join(unseen, ", ")
}

// maxToldIDs is how many runs are named in a line of the log.
const maxToldIDs = 20

func atMost[T any](list []T, n int) []T { return list[:min(len(list), n)] }

// yield stops schedules, and returns the runs that wait, and whether there is nothing to wait for: what is left
// waits for its time or for another run, and the cluster has all that was launched.
func (s *scheduler) yield(ctx context.Context) ([]string, bool, error) {
	var waiting []string // the loop's, until do says that it is done with it
	var placed bool
	err := s.do(ctx, func() error {
		if !s.yielding {
			s.yielding = true
			for _, e := range s.jobs {
				s.arm(e)
			}
		}
		placed = s.queue.len() == 0
		for _, r := range s.runs {
			placed = placed && r.State != runLaunching
			if r.State == runQueued {
				waiting = append(waiting, r.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	slices.Sort(waiting)
	return waiting, placed, nil
}
