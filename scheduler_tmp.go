package main

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

type invalidRecord struct{ key, reason string }

type view struct {
	jobs                        []*jobView
	byName                      map[string]*jobView
	invalid                     []invalidRecord
	queued, queuedHigh, running int
	term                        int64
}

func (v *view) all() iter.Seq[*jobView]  { return slices.Values(v.jobs) }
func (v *view) job(name string) *jobView { return v.byName[name] }
func (v *view) len() int                 { return len(v.jobs) }
func (v *view) edges() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, j := range v.jobs {
			for _, p := range j.job.Parents {
				if !yield(p, j.job.Name) {
					return
				}
			}
		}
	}
}

type jobView struct {
	job      *Job
	runs     []*Run
	history  []*Run
	next     time.Time
	problem  string
	children []string
	missed   int64
}

func (j *jobView) state() (string, int) {
	n, word := 0, "idle"
	for _, r := range j.runs {
		if r.State == runActive {
			n++
		} else {
			word = "queued"
		}
	}
	if n > 0 {
		word = "running"
	}
	return word, n
}

type waiting struct {
	Run      *Run
	Position int
	Reasons  []string
}

var (
	errUnknownTask   = errors.New("no task")
	errMissingParent = errors.New("missing parent")
	errSelfParent    = errors.New("job is its own parent")
	errCycle         = errors.New("cycle")
	errNoParents     = errors.New("no parents")
)

type scheduler struct {
	mu          sync.Mutex
	jobs        []*jobView
	fail        error
	done        map[string]bool
	runsStarted int
}

func (s *scheduler) view() *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &view{byName: map[string]*jobView{}, jobs: slices.Clone(s.jobs)}
	for _, j := range s.jobs {
		v.byName[j.job.Name] = j
	}
	return v
}

func (s *scheduler) begin(ctx context.Context) (bool, error) {
	if s.fail != nil {
		return true, s.fail
	}
	if id := requestID(ctx); id != "" {
		if s.done[id] {
			return true, nil
		}
		if s.done == nil {
			s.done = map[string]bool{}
		}
		s.done[id] = true
	}
	return false, nil
}

func (s *scheduler) at(name string) int {
	return slices.IndexFunc(s.jobs, func(j *jobView) bool { return j.job.Name == name })
}

func (s *scheduler) putJob(ctx context.Context, name string, build func(old *Job) (*Job, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end, err := s.begin(ctx); end {
		return err
	}
	i := s.at(name)
	var old *Job
	if i >= 0 {
		old = s.jobs[i].job
	}
	j, err := build(old)
	if err != nil {
		return err
	}
	if j.Dependent {
		if len(j.Parents) == 0 {
			return errNoParents
		}
		for _, p := range j.Parents {
			switch {
			case p == name:
				return errSelfParent
			case s.at(p) < 0:
				return errMissingParent
			case s.reaches(name, p):
				return errCycle
			}
		}
	}
	if i >= 0 {
		s.jobs[i] = &jobView{job: j, runs: s.jobs[i].runs, history: s.jobs[i].history}
		return nil
	}
	s.jobs = append(s.jobs, &jobView{job: j})
	return nil
}

func (s *scheduler) reaches(from, to string) bool {
	if from == to {
		return true
	}
	i := s.at(to)
	return i >= 0 && slices.ContainsFunc(s.jobs[i].job.Parents, func(p string) bool { return s.reaches(from, p) })
}

func (s *scheduler) deleteJob(ctx context.Context, name string) error {
	return s.change(ctx, name, func(i int) { s.jobs = slices.Delete(s.jobs, i, i+1) })
}

func (s *scheduler) change(ctx context.Context, name string, f func(i int)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end, err := s.begin(ctx); end {
		return err
	}
	i := s.at(name)
	if i < 0 {
		return errNotFound
	}
	f(i)
	return nil
}

func (s *scheduler) runJob(ctx context.Context, name, args string, hasArgs bool) (id string, err error) {
	err = s.change(ctx, name, func(i int) {
		s.runsStarted++
		id = "ct:" + strconv.Itoa(1000+s.runsStarted) + ":0:" + name + ":" + strings.ReplaceAll(args, ";", "")
		jv := *s.jobs[i]
		jv.runs = append(slices.Clone(jv.runs), &Run{ID: id, Job: name, Kind: kindManual, Due: int64(1000 + s.runsStarted), Args: strings.ReplaceAll(args, ";", ""), HasArgs: hasArgs, State: runQueued})
		s.jobs[i] = &jv
	})
	return id, err
}
func (s *scheduler) killJob(ctx context.Context, name string) error {
	return s.change(ctx, name, func(int) {})
}
func (s *scheduler) markSuccess(ctx context.Context, name string) error {
	return s.change(ctx, name, func(int) {})
}
func (s *scheduler) finishTask(ctx context.Context, id string, statusCode int, message string) error {
	return nil
}
func (s *scheduler) purge(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, j := range s.jobs {
		jv := *j
		jv.runs = nil
		s.jobs[i] = &jv
	}
	return s.fail
}
func (s *scheduler) addProgress(ctx context.Context, job, id string, n int64) error {
	if v := s.view().job(job); v != nil {
		for _, r := range v.runs {
			if r.ID == id {
				return nil
			}
		}
	}
	return errUnknownTask
}
func (s *scheduler) whyQueued(ctx context.Context, name string) ([]waiting, error) {
	v := s.view().job(name)
	if v == nil {
		return nil, errNotFound
	}
	var w []waiting
	for i, r := range v.runs {
		w = append(w, waiting{r, i + 1, []string{"no offer"}})
	}
	return w, nil
}

func (s Schedule) upcoming(after time.Time, n int) []time.Time { return nil }
func (s Schedule) dstNote(t time.Time) string                  { return "" }

type requestKey struct{}

func withRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

func wantsPrometheus(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/plain")
}

func (s Schedule) position() time.Time { return time.Now() }
