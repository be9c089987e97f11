package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const poolPrefix = "go/pool/"

// errPoolInUse says that something cannot be deleted that jobs name.
var errPoolInUse = errors.New("in use")

// A slotPool bounds how many runs of its jobs, all together, are under way at once. It is stored as go/pool/<name>.
type slotPool struct {
	Slots int `json:"slots"`

	name string
	jobs int // that name it
	held int // slots that runs hold, from launch to end
}

// maxSlots bounds a pool.
const maxSlots = 1_000_000

// full reports whether no run of the pool's jobs may be launched. Without a pool there is no bound.
func (p *slotPool) full() bool { return p != nil && p.held >= p.Slots }

// free is how many of n waiting runs may be launched.
func (p *slotPool) free(n int64) int64 {
	if p == nil {
		return n
	}
	return min(n, int64(max(0, p.Slots-p.held)))
}

// holds counts what a change of the job's runs means for its pool.
func (e *entry) holds(state runState, by int) {
	if e.pool != nil && (state == runLaunching || state == runActive || state == runAwaiting) {
		e.pool.held += by
	}
}

// joinPool gives a job the pool that it names.
func (s *scheduler) joinPool(e *entry) {
	var to *slotPool
	if name := e.job.pool(); name != "" && !e.gone {
		to = s.pools[name]
	}
	if to == e.pool {
		return
	}
	slots := int(e.underWay + e.awaiting)
	if e.pool != nil {
		e.pool.held -= slots
		e.pool.jobs--
	}
	if e.pool = to; to != nil {
		to.held += slots
		to.jobs++
	}
}

// checkPool refuses a job that names a pool that there is not.
func (s *scheduler) checkPool(j *Job) error {
	if name := j.pool(); name != "" && s.pools[name] == nil {
		return &jobError{"pool", fmt.Sprintf("pool: there is no pool %q; it is made with PUT pool/%s, and those that there are: %s", name, name,
			strings.Join(slices.Sorted(maps.Keys(s.pools)), ", "))}
	}
	return nil
}

// poolProblem says that a job names a pool that there is not, as after a change of the store by somebody else.
func (e *entry) poolProblem() string {
	if name := e.job.pool(); name != "" && e.pool == nil {
		return fmt.Sprintf("there is no pool %q, and nothing bounds its runs", name)
	}
	return ""
}

// putPool makes a pool, or changes how many slots it has. Runs that hold one go on.
func (s *scheduler) putPool(ctx context.Context, name string, slots int) error {
	return s.do(ctx, func() error {
		s.turnLog.note("put pool", "")
		p := s.pools[name]
		if p == nil {
			p = &slotPool{name: name}
			s.pools[name] = p
			for _, e := range s.jobs {
				if e.job.pool() == name {
					s.joinPool(e)
					s.touch(e)
				}
			}
		}
		p.Slots = slots
		s.did(act{Action: actPool, About: fmt.Sprintf("%s: %s", name, countOf(slots, "slot"))})
		s.extra = append(s.extra, record{poolPrefix + recordName(name), mustJSON(p)})
		return nil
	})
}

// deletePool removes a pool that no job names.
func (s *scheduler) deletePool(ctx context.Context, name string) error {
	return s.do(ctx, func() error {
		s.turnLog.note("delete pool", "")
		p := s.pools[name]
		switch {
		case p == nil:
			return fmt.Errorf("pool %q: %w", name, errNotFound)
		case p.jobs > 0:
			return fmt.Errorf("pool %q is %w: %d jobs name it", name, errPoolInUse, p.jobs)
		}
		delete(s.pools, name)
		s.did(act{Action: actPoolDeleted, About: name})
		s.extra = append(s.extra, record{poolPrefix + recordName(name), nil})
		return nil
	})
}

// A poolState is a pool as it is shown.
type poolState struct {
	Name    string `json:"name"`
	Slots   int    `json:"slots"`
	Used    int    `json:"used"`
	Waiting int    `json:"waiting"` // runs in the queue
	Jobs    int    `json:"jobs"`
}

// listPools returns all pools by name.
func (s *scheduler) listPools(ctx context.Context) ([]poolState, error) {
	list := []poolState{}
	err := s.do(ctx, func() error {
		for _, name := range slices.Sorted(maps.Keys(s.pools)) {
			p := s.pools[name]
			state := poolState{Name: name, Slots: p.Slots, Used: p.held, Jobs: p.jobs}
			for _, c := range s.queue.classes {
				if c.pool == p {
					state.Waiting += len(c.runs)
				}
			}
			list = append(list, state)
		}
		return nil
	})
	if err != nil {
		return nil, err // the loop may still be at it
	}
	return list, nil
}

// loadPools reads the pools.
func (s *scheduler) loadPools(records map[string][]byte, keys map[string][]string) {
	for _, key := range keys["pool"] {
		name, err := parseRecordName(strings.TrimPrefix(key, poolPrefix))
		p := &slotPool{name: name}
		if err == nil {
			err = json.Unmarshal(records[key], p)
		}
		if err != nil {
			s.setAsideRecord(key, err.Error())
			continue
		}
		s.pools[name] = p
	}
}

// whyPooled says what a run waits for whose pool is full, for a person.
func (p *slotPool) whyPooled() string {
	return fmt.Sprintf("waits for a slot of pool %q: %d of %d are taken", p.name, p.held, p.Slots)
}
