package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mark is a line that a run has written: the id, due and attempt it was given.
type mark struct {
	id      string
	due     int64
	attempt int
}

// marks is a directory with one file per job.
type marks string

// command is the shell command that writes a mark. It writes the line with one call,
// so that lines of several runs do not mix.
func (m marks) command(job string) string {
	return fmt.Sprintf(`echo "$mesos_task_id" "$CHRONOS_JOB_RUN_TIME" "$CHRONOS_JOB_RUN_ATTEMPT" >> %s`, filepath.Join(string(m), job))
}

// note writes a mark for a task of a cluster that is not a real one.
func (m marks) note(t *testing.T, job, line string) {
	f, err := os.OpenFile(filepath.Join(string(m), job), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

// of returns the marks of a job.
func (m marks) of(t *testing.T, job string) (out []mark) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(string(m), job))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("file of job %s has a line %q", job, line)
		}
		k := mark{id: f[0]}
		var errs [2]error
		k.due, errs[0] = strconv.ParseInt(f[1], 10, 64)
		k.attempt, errs[1] = strconv.Atoi(f[2])
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatalf("file of job %s has a line %q: %v", job, line, err)
		}
		out = append(out, k)
	}
	return out
}

// jobDocument is the document of a job to post. fields are JSON without braces.
func jobDocument(name, command, fields string) string {
	return fmt.Sprintf(`{"name":%q,"command":%q,"cpus":0.01,"mem":1,"disk":1,"owner":"torture@example.com",%s}`, name, command, fields)
}

func isoInstant(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// A cadence is a scheduled job with a fixed period, and what must become of each occurrence.
type cadence struct {
	name   string
	start  int64 // ms, of the first occurrence
	period int64
}

func (s cadence) schedule() string {
	return fmt.Sprintf(`"schedule":"R/%s/PT%gS"`, isoInstant(s.start), float64(s.period)/1000)
}

// until lists the occurrences before an instant.
func (s cadence) until(ms int64) (dues []int64) {
	for due := s.start; due < ms; due += s.period {
		dues = append(dues, due)
	}
	return dues
}

// A gap is a span of occurrences that the program says it has not run.
type gap struct {
	state       string
	from, to    int64
	recorded    int64
	description string
}

// histories gathers which occurrences of jobs are recorded as not run.
type histories map[string]map[string]gap // by job, by id and state

// A recordedRun is what is stored of a run that has ended.
type recordedRun struct {
	ID, Kind, State, Reason string
	Due, From, Ended        time.Time
}

func (h histories) add(job string, ended []recordedRun) {
	for _, r := range ended {
		if r.State != "missed" && r.State != "skipped" || r.Kind != "scheduled" {
			continue
		}
		m := gap{state: r.State, from: r.Due.UnixMilli(), to: r.Due.UnixMilli(), recorded: r.Ended.UnixMilli(), description: r.Reason}
		if !r.From.IsZero() {
			m.from = r.From.UnixMilli()
		}
		if h[job] == nil {
			h[job] = map[string]gap{}
		}
		h[job][r.State+r.ID] = m
	}
}

// covering returns what is recorded for an occurrence.
func (h histories) covering(job string, due int64) (gap, bool) {
	for _, m := range h[job] {
		if m.from <= due && due <= m.to {
			return m, true
		}
	}
	return gap{}, false
}

// rank returns the value below which the given part of sorted values lies.
func rank[T any](sorted []T, part float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

// spread words the distribution of durations.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	s := slices.Clone(times)
	slices.Sort(s)
	ms := func(part float64) string { return rank(s, part).Round(time.Millisecond).String() }
	return fmt.Sprintf("%d, min %s, median %s, p90 %s, p99 %s, max %s", len(s), ms(0), ms(.5), ms(.9), ms(.99), ms(1))
}

// A workload is jobs that write down their runs, and what is known of them besides.
type workload struct {
	marks    marks
	cadences []cadence
	children []string // run once after every run of the job of the same number
	flaky    []string // fail at first, and then succeed
	onces    []once
	fields   string // more of every scheduled job's document
	recorded histories
}

func newWorkload(t *testing.T) *workload {
	return &workload{marks: marks(t.TempDir()), recorded: histories{}}
}

// A once is a job that runs once, created while the instance is being killed.
type once struct {
	name         string
	acknowledged bool
}

// create makes the cadences, all due at a few instants of their period, so that commits come
// in bursts, and beside them dependent jobs and jobs with retries.
func (w *workload) create(t *testing.T, v *instance, jobs int, period time.Duration, fields string) {
	t.Helper()
	w.fields = fields
	groups := int64(max(1, period/(500*time.Millisecond)))
	offsets := []int64{} // of the first occurrences
	for i := range jobs {
		offset := int64(i) % groups * 500
		w.cadences, offsets = append(w.cadences, cadence{name: fmt.Sprintf("job%03d", i), period: period.Milliseconds()}), append(offsets, offset)
		if i < max(1, jobs/10) {
			w.children = append(w.children, fmt.Sprintf("child%03d", i))
			flaky := cadence{name: fmt.Sprintf("flaky%03d", i), period: max(period, 5*time.Second).Milliseconds()}
			w.cadences, offsets = append(w.cadences, flaky), append(offsets, offset)
			w.flaky = append(w.flaky, flaky.name)
		}
	}
	// The children are there before their parents are due, however long that takes.
	w.post(t, v, never)
	for i, child := range w.children {
		v.mustCall(t, "POST", "/scheduler/dependency", jobDocument(child, w.marks.command(child), fmt.Sprintf(`"parents":[%q]`, w.parent(i).name)), 204)
	}
	base := time.Now().Add(3 * time.Second).Truncate(time.Second).UnixMilli()
	for i, offset := range offsets {
		w.cadences[i].start = base + offset
	}
	w.post(t, v, cadence.schedule)
}

// never is a schedule that no test lives to see.
func never(cadence) string { return `"schedule":"R/2100-01-01T00:00:00.000Z/PT1H"` }

// parent returns the job that the child of a number depends on.
func (w *workload) parent(i int) cadence { return w.cadences[2*i] }

// post posts all cadences with the schedules given.
func (w *workload) post(t *testing.T, v *instance, schedule func(cadence) string) {
	t.Helper()
	var posting sync.WaitGroup
	todo := make(chan cadence)
	for range 8 {
		posting.Go(func() {
			for c := range todo {
				command := w.marks.command(c.name)
				if slices.Contains(w.flaky, c.name) {
					command += `; [ "$CHRONOS_JOB_RUN_ATTEMPT" -gt 0 ]`
				}
				document := jobDocument(c.name, command, schedule(c)+w.fields)
				if status, text, err := v.call("POST", "/scheduler/iso8601", document); status != 204 {
					t.Errorf("post %s = %d %q, %v, want 204", c.name, status, text, err)
				}
			}
		})
	}
	for _, c := range w.cadences {
		todo <- c
	}
	close(todo)
	posting.Wait()
}

// stop ends all cadences and returns the instant up to which every occurrence must be accounted for.
func (w *workload) stop(t *testing.T, v *instance) (end int64) {
	t.Helper()
	end = time.Now().UnixMilli()
	v.until(t, "all that was due has been seen to", func() bool { return w.pastDue(v, end) })
	w.post(t, v, never)
	return end
}

// pastDue reports whether no cadence has an occurrence before end in front of it.
func (w *workload) pastDue(v *instance, end int64) bool {
	var overview struct {
		Jobs []struct {
			Name string
			Next int64
		}
	}
	if !v.get("/v1/scheduler/overview", &overview) {
		return false
	}
	next := map[string]int64{}
	for _, j := range overview.Jobs {
		next[j.Name] = j.Next
	}
	return !slices.ContainsFunc(w.cadences, func(c cadence) bool { return next[c.name] < end })
}

// settle waits until every occurrence before end is accounted for, as far as that ever comes to be, and
// nothing that could run twice waits or runs.
func (w *workload) settle(t *testing.T, v *instance, end int64) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		w.readHistories(v)
		if w.open(t, end) == 0 {
			break
		}
	}
	v.until(t, "no run is open", v.isIdle)
	v.until(t, "all histories are read", func() bool { return w.readHistories(v) })
}

// readHistories reads what is recorded of the cadences, and reports whether it got all of that.
func (w *workload) readHistories(v *instance) (all bool) {
	for _, c := range w.cadences {
		var answer struct{ History []recordedRun }
		if !v.get("/scheduler/runs/"+c.name, &answer) {
			return false
		}
		w.recorded.add(c.name, answer.History)
	}
	return true
}

// open counts what is not yet accounted for.
func (w *workload) open(t *testing.T, end int64) (n int) {
	t.Helper()
	for _, s := range w.cadences {
		ran := map[int64]bool{}
		for _, m := range w.marks.of(t, s.name) {
			ran[m.due] = true
		}
		for _, due := range s.until(end) {
			if _, ok := w.recorded.covering(s.name, due); !ok && !ran[due] {
				n++
			}
		}
	}
	for _, o := range w.onces {
		if o.acknowledged && len(w.marks.of(t, o.name)) == 0 {
			n++
		}
	}
	for i, child := range w.children {
		n += max(0, len(w.marks.of(t, w.parent(i).name))-len(w.marks.of(t, child)))
	}
	for _, flaky := range w.flaky {
		first, second := attempts(w.marks.of(t, flaky))
		n += max(0, first-second)
	}
	return n
}

func attempts(of []mark) (first, second int) {
	for _, m := range of {
		if m.attempt == 0 {
			first++
		} else {
			second++
		}
	}
	return first, second
}

func (w *workload) judgeOnces(t *testing.T) (created int) {
	for _, o := range w.onces {
		n := len(w.marks.of(t, o.name))
		if o.acknowledged {
			created++
		}
		if n > 1 || o.acknowledged && n == 0 {
			t.Errorf("%s, acknowledged %t, ran %d times", o.name, o.acknowledged, n)
		}
	}
	return created
}

// judgeMarks checks that every occurrence ran once or is recorded as missed.
func (w *workload) judgeMarks(t *testing.T, end int64) {
	t.Helper()
	once := 0
	for _, k := range w.cadences {
		runs := map[int64]int{}
		for _, m := range w.marks.of(t, k.name) {
			if m.attempt == 0 {
				runs[m.due]++
			}
		}
		for _, d := range k.until(end) {
			hole, recorded := w.recorded.covering(k.name, d)
			if n := runs[d]; n > 1 || (n == 1) == recorded {
				t.Errorf("%s: occurrence %s ran %d times; recorded as not run: %t %v", k.name, isoInstant(d), n, recorded, hole)
			}
			once += runs[d]
		}
	}
	t.Logf("%d occurrences ran", once)
}

// judgeFollowers checks the runs that follow from other runs: each has its cause, and each cause its run.
func (w *workload) judgeFollowers(t *testing.T) {
	for i, child := range w.children {
		if parent, own := len(w.marks.of(t, w.parent(i).name)), len(w.marks.of(t, child)); parent != own {
			t.Errorf("%s ran %d times after %d runs of its parent", child, own, parent)
		}
	}
	for _, flaky := range w.flaky {
		if first, second := attempts(w.marks.of(t, flaky)); first != second {
			t.Errorf("%s was retried %d times after %d failures", flaky, second, first)
		}
	}
}
