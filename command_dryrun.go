package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errReadOnly is a dry run's answer to an attempt to write.
var errReadOnly = errors.New("a dry run writes nothing")

// A stateReader is the state in ZooKeeper for callers that must not change it.
type stateReader struct {
	*zkStore
	records map[string][]byte // of the last load
}

func (s *stateReader) load(ctx context.Context) (map[string][]byte, error) {
	records, err := s.zkStore.load(ctx)
	s.records = maps.Clone(records)
	return records, err
}

func (s *stateReader) commit(context.Context, []record) error { return errReadOnly }

// A dryRun follows the state of a Chronos in service, of any version, and reports
// what this program would make of it. It never stands for election and never writes.
type dryRun struct {
	flags   *flags
	out     io.Writer
	once    bool
	every   time.Duration
	count   int // of the next occurrences shown
	session *zkSession

	known map[string]Schedule // the position of each job's schedule at the last look
	told  map[string]bool     // findings that have been printed
}

const dryRunHelp = `Usage: chronos dry-run [options]

Read the state in ZooKeeper of a Chronos in service, of whatever version, and say
what this program would make of it: what it would treat differently, and what it
would run next. It stands in no election and writes nothing.

      --once                  Look once and end.
      --every <duration>      How often to look. (default 30s)
      --count <number>        Occurrences shown at the first look. (default 20)

The options of the server say where the state is: --zk_hosts, --zk_path,
--zk_auth. All of them are taken, so that the command line of the Chronos in
service will do; see chronos --help. With --master k8s and the options of Kubernetes it
also says which jobs could not run there, and what would be different.
`

// dryRunCommand is chronos dry-run. It takes the options of the program and three of its own.
func dryRunCommand(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	d := &dryRun{out: stdout, every: 30 * time.Second, count: 20, told: map[string]bool{}}
	if slices.Contains(args, "--help") {
		fmt.Fprint(stdout, dryRunHelp)
		return errHelp
	}
	args, err := d.ownOptions(args)
	if err != nil {
		printUsageError(stdout, &usageError{err.Error()})
		return &usageError{err.Error()}
	}
	if args, _, err = expandLegacy(args, os.Environ(), rootFS(), stdin, stdout); err != nil {
		return err
	}
	if d.flags, err = parseFlags(args, os.LookupEnv, stdout); err != nil {
		return err
	}
	err = d.follow(ctx)
	if ctx.Err() != nil {
		return nil // told to stop
	}
	return err
}

// ownOptions removes from args the options that only a dry run has.
func (d *dryRun) ownOptions(args []string) (rest []string, err error) {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		name, value, inline := strings.Cut(word, "=")
		if name == "--once" && !inline {
			d.once = true
			continue
		}
		if name != "--every" && name != "--count" {
			rest = append(rest, word)
			continue
		}
		if !inline {
			if len(args) == 0 {
				return nil, fmt.Errorf("option %s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if name == "--count" {
			d.count, err = strconv.Atoi(value)
		} else {
			d.every, err = time.ParseDuration(value)
		}
		if err != nil || d.every <= 0 || d.count < 0 {
			return nil, fmt.Errorf("option %s has the bad value %q", name, value)
		}
	}
	return rest, nil
}

// follow checks the state until ctx ends, or once.
func (d *dryRun) follow(ctx context.Context) error {
	f := d.flags
	for ctx.Err() == nil {
		session, err := dialZK(ctx, f.zkHosts, f.zkTimeout, f.zkAuth, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		d.session = session
		for err == nil {
			if err = d.look(ctx); err == nil && d.once {
				session.close()
				return nil
			}
			if err == nil && !rest(session.ctx, d.every) {
				err = context.Cause(session.ctx)
			}
		}
		session.close()
		if d.once || !errors.Is(err, errDisconnected) {
			return err
		}
		fmt.Fprintf(d.out, "%s lost ZooKeeper, retrying\n", stamp())
		rest(ctx, termPause)
	}
	return nil
}

func stamp() string { return instant(time.Now().UTC()) }

func (d *dryRun) root() string { return d.flags.zkChroot + d.flags.zkPath }

// look reads the state once and reports: everything at first, then what is new.
func (d *dryRun) look(ctx context.Context) error {
	exists, _, err := d.session.Exists(d.root() + "/state")
	if err != nil {
		return err
	}
	if !exists {
		return fmt.Errorf("there is no state at %s/state: --zk_path is wrong, or nothing has been stored", d.root())
	}
	st := &stateReader{zkStore: &zkStore{session: d.session, root: d.root()}}
	last, err := readTermMark(d.session, d.root())
	if err == nil {
		_, err = st.lookBack(last)
	}
	if err != nil {
		return err
	}
	cfg := d.flags.schedulerConfig()
	s := newScheduler(cfg, st, nil, slog.New(slog.DiscardHandler))
	if err := s.load(ctx); errors.Is(err, errReadOnly) {
		return errors.New("a restore is under way, or was interrupted; try again when an instance leads")
	} else if err != nil {
		return err
	}
	first := d.known == nil
	findings := slices.Concat(d.moved(s), differences(s, st.records))
	if d.flags.kubernetes() {
		pods, err := d.flags.podOptions()
		if err != nil {
			return err
		}
		findings = append(findings, onKubernetes(s, &pods)...)
	}
	d.known = map[string]Schedule{}
	for name, e := range s.jobs {
		if e.scheduled() {
			d.known[name] = e.sched
		}
	}
	if first {
		if err := d.summary(s); err != nil {
			return err
		}
	}
	d.tell(findings, first)
	return nil
}

// summary prints who leads, how much there is, and what runs next.
func (d *dryRun) summary(s *scheduler) error {
	leader := "nobody"
	if nodes, err := latchNodes(d.session, d.root()+"/candidate", nil); err == nil && len(nodes) > 0 {
		id, _, err := leaderOf(d.session, d.root(), nodes[0])
		if _, useless := errors.AsType[*instanceError](err); err != nil && !useless {
			return err
		}
		leader = id
		if madeByJVM(nodes[0]) {
			leader += " (a JVM version)"
		}
	}
	waiting := 0
	for _, r := range s.runs {
		if r.State == runQueued {
			waiting++
		}
	}
	fmt.Fprintf(d.out, "%s state at %s: %d jobs, %d tasks that wait, led by %s, framework %s\n\n", stamp(), d.root(), len(s.jobs), waiting, leader, cmp.Or(s.framework, "not registered"))
	fmt.Fprintf(d.out, "next:\n")
	shown := 0
	for _, e := range byDue(s) {
		if shown == d.count {
			break
		}
		due, _ := e.nextDue()
		if due <= s.now {
			continue // reported below
		}
		fmt.Fprintf(d.out, "  %s  %s\n", instant(msTime(due)), e.job.Name)
		shown++
	}
	if shown == 0 {
		fmt.Fprintln(d.out, "  nothing is scheduled")
	}
	return nil
}

// byDue returns the entries that have an occurrence, the next one first.
func byDue(s *scheduler) []*entry {
	var list []*entry
	for _, e := range s.jobs {
		if _, ok := e.nextDue(); ok {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int {
		x, _ := a.nextDue()
		y, _ := b.nextDue()
		return cmp.Or(cmp.Compare(x, y), strings.Compare(a.job.Name, b.job.Name))
	})
	return list
}

// tell prints the findings that have not been printed yet.
func (d *dryRun) tell(findings []string, first bool) {
	if first {
		fmt.Fprintf(d.out, "\nwould be treated differently:\n")
	}
	n := 0
	for _, f := range findings {
		if d.told[f] {
			continue
		}
		d.told[f] = true
		n++
		if !first {
			fmt.Fprintf(d.out, "%s", stamp())
		}
		fmt.Fprintf(d.out, "  %s\n", f)
	}
	if first && n == 0 {
		fmt.Fprintln(d.out, "  nothing")
	}
}

// moved compares where the Chronos in service has taken each schedule with where this program
// would have taken it.
func (d *dryRun) moved(s *scheduler) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		before, known := d.known[name]
		due, ok := s.jobs[name].nextDue()
		if !known || !ok {
			continue
		}
		expected, ok := before.next()
		if !ok || expected.UnixMilli() == due {
			continue
		}
		const ahead = 1000
		after := before.upcoming(expected.Add(-time.Millisecond), ahead)
		if !slices.ContainsFunc(after, func(t time.Time) bool { return t.UnixMilli() == due }) {
			found = append(found, fmt.Sprintf("job %q has moved to %s, which is none of the next occurrences after %s (unless it was posted again)",
				name, instant(msTime(due)), instant(expected.UTC())))
		}
	}
	return found
}

// differences lists what in a state just loaded from these records this program would treat
// differently from the versions before it.
func differences(s *scheduler, records map[string][]byte) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	invalid := slices.Clone(s.invalid)
	sortStable(invalid, func(a, b invalidRecord) int { return strings.Compare(a.key, b.key) })
	for _, r := range invalid {
		add("record %q can't be used and would be kept as it is: %s", r.key, r.reason)
	}
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		e := s.jobs[name]
		if e.problem != "" {
			add("job %q would run by hand only: %s", name, e.problem)
		}
		if err := e.job.checkName(dialect2); err != nil {
			add("job %q would run, but can't be posted again under this name: no version accepts it", name)
		}
		for _, c := range e.job.Constraints {
			if text := constraintDifference(c); text != "" {
				add("job %q: constraint %s %s %s %s", name, c.Attribute, c.Operator, cutText(c.Value, maxShownPattern, "..."), text)
			}
		}
		if err := e.job.checkNumbers(); err != nil {
			add("job %q would wait forever: %v", name, err)
		}
		if unseen := unseenByJVM(e.job, e.pause != nil, e.backfill != nil); unseen != "" {
			add("job %q says what JVM versions do not see: %s", name, unseen)
		}
		if text := overdue(e, s.now, by3(records, name)); text != "" {
			add("job %q %s", name, text)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.runs)) {
		if r := s.runs[id]; records[waitKey(id)] != nil && by3(records, r.Job) {
			add("task %q waits and would be launched; 3.0 knows no tasks that 2.x has left waiting", id)
		}
	}
	return found
}

// onKubernetes lists for each job what would be refused or different if it ran as pods.
func onKubernetes(s *scheduler, pods *podOptions) (found []string) {
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		j := s.jobs[name].job
		if err := pods.accepts(j); err != nil {
			found = append(found, fmt.Sprintf("job %q would be refused on Kubernetes: %v", name, err))
			continue
		}
		for _, text := range pods.differences(j) {
			found = append(found, fmt.Sprintf("job %q on Kubernetes: %s", name, text))
		}
	}
	return found
}

// by3 reports whether 3.0, which has no epsilon, was the last to store a job.
func by3(records map[string][]byte, job string) bool {
	var keys struct{ Epsilon, Concurrent json.RawMessage }
	err := json.Unmarshal(records["J_"+job], &keys)
	return err == nil && keys.Epsilon == nil && keys.Concurrent != nil
}

// constraintDifference says how a stored constraint works differently from before, "" if it does not.
func constraintDifference(c Constraint) string {
	switch c.Operator {
	case "EQUALS":
		return ""
	case "LIKE", "UNLIKE":
		if c.fault() != "" {
			return c.pattern.fault + ", so no offer would match"
		}
		if c.Operator == "UNLIKE" {
			return "would be honoured; 2.4 ignored it"
		}
		return ""
	}
	return "has an unknown operator, and would be ignored"
}

// overdue says what would become of occurrences that have passed, if the version that stored the job would have
// decided differently: 2.x runs each that is younger than epsilon, 3.0 the last one, however late.
func overdue(e *entry, now int64, by3 bool) string {
	due, ok := e.nextDue()
	if !ok || due > now {
		return ""
	}
	switch p := e.sched.pass(msTime(now), e.epsilon()); {
	case by3 && p.due.IsZero():
		return fmt.Sprintf("has missed its occurrence of %s: %d would be recorded as missed and not run (epsilon %v); 3.0 would run the last", instant(p.old.last), p.old.n, e.job.Epsilon.approx())
	case !by3 && p.older.n > 0:
		return fmt.Sprintf("is due since %s: the newest occurrence would run, of %s; 2.x would run %d", instant(p.older.first), instant(p.due), p.older.n+1)
	}
	return ""
}
