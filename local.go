package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// localOptions are deviations from the machine's own values, which zero values stand for.
type localOptions struct {
	cpus, mem, disk float64                     // cores, MB, MB
	hostname        string                      //
	keep            int                         // ended runs kept per job; 20 if zero
	outputBytes     int64                       // kept of each output of a run; all of it if zero
	keepBytes       int64                       // of all ended runs kept; a tenth of the disk if zero
	hasJob          func(name string) bool      // false only for a job that certainly no longer exists; nil for always true
	patience        time.Duration               // for a keeper's answer to a start; 30 s if zero
	named           func(job string) namedSizes // what its document names, to which its runs are limited; nil for no limits
	keeper          []string                    // command line of a keeper, to which the data directory is added
}

// A localCluster is a small Mesos master and agent in one: it runs tasks as processes
// on this machine.
//
// Each run has a directory under <data dir>/runs, in which a keeper process
// claims it, executes it and records its end, see sandbox and keeper. Several
// instances may share a data directory: all of them can observe and end each
// other's runs. Ended runs that have been acknowledged move to <data dir>/ended,
// where the last of each job are kept, see runArchive.
type localCluster struct {
	dir      string // data directory, absolute
	opts     localOptions
	agent    string // agent id, the same for all that share dir
	hostname string
	total    resources
	log      *slog.Logger

	groups      string // the control group of the runs' groups, "" where there are none
	limitsFault string // why runs are held to nothing, though they should

	keepers keepers
	archive *runArchive
	chores  *mailbox[chore] // for the session

	mu      sync.Mutex
	term    termID        // that subscribes next
	session *localSession // nil unless run is running
}

func newLocal(dataDir string, opts localOptions, logger *slog.Logger) (*localCluster, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, err
	}
	l := &localCluster{dir: dir, opts: opts, log: logger, chores: newMailbox[chore]()}
	if err := l.makeDirs(); err != nil {
		return nil, err
	}
	if l.agent, err = agentID(filepath.Join(dir, "agent")); err != nil {
		return nil, fmt.Errorf("read agent id: %w", err)
	}
	if l.hostname = opts.hostname; l.hostname == "" {
		if l.hostname, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	if l.opts.hasJob == nil {
		l.opts.hasJob = func(string) bool { return true }
	}
	reserveThreads(instanceThreads)
	l.archive = newRunArchive(dir, opts.keep, opts.keepBytes)
	l.keepers = keepers{command: opts.keeper, log: l.log, most: keptRuns(descriptorLimit()), of: map[string]*keeperProcess{}}
	if len(opts.keeper) == 0 {
		self, err := ownBinary()
		if err != nil {
			return nil, err
		}
		l.keepers.command = []string{self, keeperWord}
	}
	l.keepers.command = append(slices.Clone(l.keepers.command), dir)
	l.prepareGroups()
	size := machineSize(dir)
	l.total = resources{
		cpus: cmp.Or(thousandths(opts.cpus), size.cpus),
		mem:  cmp.Or(thousandths(opts.mem), size.mem),
		disk: cmp.Or(thousandths(opts.disk), size.disk),
	}
	return l, nil
}

// makeDirs makes the directories that are missing.
func (l *localCluster) makeDirs() error {
	for _, sub := range []string{"", "runs", "ended", "trash", "keepers"} {
		if err := makePassable(filepath.Join(l.dir, sub)); err != nil {
			return err
		}
	}
	return nil
}

// rebuild recreates what somebody has deleted with the whole data directory, so that runs can start there.
// The sandboxes are lost.
func (l *localCluster) rebuild() {
	err := l.makeDirs()
	if err == nil {
		err = os.WriteFile(filepath.Join(l.dir, "agent"), []byte(l.agent+"\n"), 0o600)
	}
	l.mu.Lock()
	s, term := l.session, l.term
	l.mu.Unlock()
	if err == nil && s != nil {
		err = l.subscribeAgain(subscribed{s.epoch, term})
	}
	if err != nil {
		l.log.Error("the data directory was gone, and runs can't start in the new one; restart this instance", "dir", l.dir, "error", err)
	}
}

func (l *localCluster) subscribeAgain(s subscribed) error {
	f, err := os.OpenFile(filepath.Join(l.dir, "subscription"), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(s.write(f), f.Close())
}

// makePassable makes a directory, unless it exists, through which users other than its owner may pass to
// their working directory without listing it. Our umask has no effect on that; it is
// for the commands' files.
func makePassable(dir string) error {
	err := os.Mkdir(dir, 0o711)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(filepath.Dir(dir), 0o711)
		if err == nil {
			err = os.Mkdir(dir, 0o711) // where no directories can be made, that does not exist either
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return os.Chmod(dir, 0o711)
}

// agentID reads the agent's id; the first instance creates it.
func agentID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "agent.*")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString("local-" + randomHex() + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return "", err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	text, err = os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

// enter sets the term of the next subscription.
func (l *localCluster) enter(id termID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = id
}

// run is a subscription: see cluster. A later one to the same data directory, by
// any instance, ends this one at its next launch, with errSuperseded; one of a
// later term ends it at once.
func (l *localCluster) run(ctx context.Context, frameworkID string, handle func(*sched.Event)) error {
	l.mu.Lock()
	term := l.term
	l.mu.Unlock()
	epoch, err := subscribe(l.dir, term)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", l.dir, err)
	}
	if frameworkID == "" {
		frameworkID = l.agent + "-" + randomHex()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := newLocalSession(l, epoch, frameworkID, handle, cancel)
	l.mu.Lock()
	if l.session != nil {
		l.mu.Unlock()
		cancel(nil)
		return errors.New("local cluster is already running")
	}
	l.session = s
	l.mu.Unlock()
	l.keepers.reap()

	if err := guarded(l.log, "local cluster", func() error { s.loop(ctx); return nil }); err != nil {
		cancel(err)
	}
	cause := context.Cause(ctx)
	cancel(nil)

	l.mu.Lock()
	l.session = nil
	l.mu.Unlock()
	for _, m := range s.mail.close() {
		m.answer(errNotSent)
	}
	s.wg.Wait()
	l.keepers.dismiss()
	if l.groups != "" {
		_ = os.Remove(l.groups) // unless runs go on
	}
	return cause
}

// send queues a call for the subscription; see cluster.
func (l *localCluster) send(call *sched.Call, done func(error)) {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	c := queuedCall{call, done}
	if s == nil || !s.mail.put(clusterMail{queuedCall: c}) {
		c.refuse(l.log)
	}
}

var errSuperseded = errors.New("framework failed over: another instance has subscribed to this data directory")

// subscribed is what a data directory records about the last subscription.
type subscribed struct {
	epoch int64 // how many there were
	term  termID
}

// subscribe numbers the subscriptions to a data directory. A keeper does not
// claim for a subscription that is not the last one, so an instance that was
// stopped and wakes up late can't start what its successor has run, ended and
// removed. If it was stopped before it subscribed, its term is not the last one:
// it gets errSuperseded and does not disturb its successor.
func subscribe(dataDir string, term termID) (epoch int64, err error) {
	f, err := os.OpenFile(filepath.Join(dataDir, "subscription"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := flock(f, syscall.LOCK_EX); err != nil {
		return 0, err
	}
	last, err := readSubscribed(f)
	if err != nil {
		return 0, err
	}
	if term.before(last.term) {
		return 0, errSuperseded
	}
	return last.epoch + 1, subscribed{last.epoch + 1, term}.write(f)
}

// write leaves the rest of a longer text, if there was one, as a third line, which nobody reads.
func (s subscribed) write(f io.WriterAt) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%019d\n%d %s\n", s.epoch, s.term.number, s.term.counter), 0)
	return err
}

// currentEpoch returns the number of the last subscription.
func currentEpoch(dataDir string) (int64, error) {
	last, err := lastSubscribed(dataDir)
	return last.epoch, err
}

func lastSubscribed(dataDir string) (subscribed, error) {
	f, err := os.Open(filepath.Join(dataDir, "subscription"))
	if err != nil {
		return subscribed{}, err
	}
	defer f.Close()
	if err := flock(f, syscall.LOCK_SH); err != nil {
		return subscribed{}, err
	}
	return readSubscribed(f)
}

// lastTerm returns the term that subscribed last, as far as is known.
func (l *localCluster) lastTerm() termID {
	last, _ := lastSubscribed(l.dir) // if there is none, there was no term
	return last.term
}

// readSubscribed ignores a record that is empty, or torn by a power failure, which no older instance has survived.
func readSubscribed(r io.Reader) (s subscribed, err error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return s, err
	}
	lines := strings.SplitN(string(text), "\n", 3)
	if s.epoch, err = strconv.ParseInt(lines[0], 10, 64); err != nil || len(lines) < 2 {
		return subscribed{epoch: s.epoch}, nil
	}
	number, counter, _ := strings.Cut(lines[1], " ")
	if s.term.number, err = strconv.ParseInt(number, 10, 64); err == nil {
		s.term.counter = counter
	}
	return s, nil
}

// sandbox returns the directory a run has or would have.
func (l *localCluster) sandbox(id string) sandbox {
	return sandbox(filepath.Join(l.dir, "runs", sandboxName(id)))
}

// archived returns the directory of a run that has ended and was acknowledged.
func (l *localCluster) archived(id string) sandbox {
	return sandbox(filepath.Join(l.dir, "ended", jobDirectory(id), sandboxName(id)))
}

// find returns the directory of a run wherever it is.
func (l *localCluster) find(id string) (sandbox, bool) {
	for _, box := range []sandbox{l.sandbox(id), l.archived(id)} {
		if box.has("") {
			return box, true
		}
	}
	return "", false
}

// look returns the state of a run, see sandbox.look. It looks in the order in which
// runs move, so that it doesn't miss one.
func (l *localCluster) look(id string) (claimed bool, st *runStatus, err error) {
	claimed, st, err = l.sandbox(id).look()
	if !claimed && err == nil {
		claimed, st, err = l.archived(id).look()
	}
	return claimed, st, err
}

// abandonedAfter is the age at which a directory that nobody claimed is garbage:
// the instance that made it ended at that moment.
const abandonedAfter = 24 * time.Hour

// forget removes the directory of an unclaimed run if it is old.
func (l *localCluster) forget(box sandbox) {
	info, err := os.Stat(string(box))
	if err != nil || time.Since(info.ModTime()) < abandonedAfter {
		return
	}
	f, err := box.lock(false)
	if err != nil {
		return
	}
	defer f.Close()
	if box.claimed() {
		return
	}
	if err := l.discard(string(box)); err != nil {
		l.log.Warn("remove abandoned run", "dir", string(box), "error", err)
	}
}
