package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// maxKept bounds how many runs one keeper gets at a time, and so how many share its fate.
const maxKept = 64

// keptRuns returns how many runs a keeper gets that may have that many files open: there are always enough left to end a run and to record that.
func keptRuns(descriptors uint64) int {
	const eachTakes, othersTake = 6, 64
	return max(1, min(maxKept, (int(min(descriptors, 1<<20))-othersTake)/eachTakes))
}

// keeperPatience is how long a keeper may take to claim a run. Only a stuck disk can make it wait.
const keeperPatience = 30 * time.Second

// errKeeperSilent says that a keeper has not answered in time.
var errKeeperSilent = errors.New("the process that should execute the run does not answer")

// errKeeperEnded says that a keeper has ended, or was dismissed, before it answered.
var errKeeperEnded = errors.New("the process that should execute the run has ended")

// keepers are the keeper processes of this instance. The first serves for as long as there
// is a subscription, further ones as long as they have runs.
type keepers struct {
	command []string // with the data directory as its last argument
	log     *slog.Logger
	most    int // runs of one keeper

	mu   sync.Mutex
	all  []*keeperProcess
	of   map[string]*keeperProcess // by id of the run
	left []*exec.Cmd               // those left to themselves, not yet reaped
}

// A keeperProcess is a keeper as the instance sees it that started it.
type keeperProcess struct {
	cmd      *exec.Cmd
	requests *os.File
	answers  *os.File
	runs     int  // belongs to keepers, like
	retired  bool // it gets no further runs

	mu      sync.Mutex
	waiting map[string]chan<- keepAnswer // by directory; nil when it has ended
	over    map[string]*keptEnd          // of the runs it has claimed, by directory
	fault   keepAnswer                   // why it ended, if it has said so
}

// A keptEnd is the end of a run that a keeper has claimed.
type keptEnd struct {
	come   chan struct{} // closed when it has come, or the keeper has ended
	status *runStatus    // as the keeper has recorded it; nil if only the run's directory can say
}

// start makes a keeper execute a run. It returns nil once the keeper has
// claimed the run, errClaimed if another has, errSuperseded if this subscription
// is not the last, and any other error if the run can't be executed and wasn't: a shortage may pass.
func (l *localCluster) start(ctx context.Context, box sandbox, id string, task *mesos.TaskInfo, epoch int64) error {
	text, err := task.Marshal()
	if err != nil {
		return fmt.Errorf("encode task: %w", err)
	}
	q := keepRequest{
		Run: filepath.Base(string(box)), ID: id, Task: text, Epoch: epoch, Output: l.opts.outputBytes,
		Group: l.group(box), runLimits: l.limits(id, task),
	}
	for {
		k, err := l.keepers.take(id)
		if err != nil {
			return fmt.Errorf("start keeper: %w", err)
		}
		err = l.startWith(ctx, k, box, q)
		if !errors.Is(err, errKeeperSilent) {
			if err != nil && ctx.Err() == nil {
				l.keepers.release(id)
			}
			return err
		}
		l.log.Error("the process that should execute a run does not answer; another one takes its place", "run", id, "pid", k.cmd.Process.Pid)
		l.keepers.release(id)
		l.keepers.retire(k)
	}
}

// startWith makes a keeper execute a run. If it does not answer in time, what is on disk counts: a run
// that is claimed goes on with whoever has claimed it, and one that is not may be started by another
// keeper. If the silent keeper wakes up, it finds the run claimed.
func (l *localCluster) startWith(ctx context.Context, k *keeperProcess, box sandbox, q keepRequest) error {
	limited, cancel := context.WithTimeoutCause(ctx, cmp.Or(l.opts.patience, keeperPatience), errKeeperSilent)
	defer cancel()
	err := k.keep(limited, q)
	if !errors.Is(err, errKeeperSilent) || ctx.Err() != nil {
		return err
	}
	if box.claimed() {
		return errClaimed
	}
	return err
}

// take returns a keeper that has room for the run, until that is released.
func (s *keepers) take(id string) (*keeperProcess, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(k *keeperProcess) bool { return k.runs < s.most && !k.retired })
	if i < 0 {
		k, err := startKeeper(s.command)
		if err != nil {
			return nil, err
		}
		i, s.all = len(s.all), append(s.all, k)
		go s.listen(k)
	}
	k := s.all[i]
	k.runs++
	s.of[id] = k
	return k, nil
}

// wait waits for the end of a run, which one of our keepers or one of an earlier instance's has.
func (s *keepers) wait(ctx context.Context, id string, box sandbox) (*runStatus, error) {
	s.mu.Lock()
	k := s.of[id]
	s.mu.Unlock()
	if k != nil {
		if ended := k.ended(filepath.Base(string(box))); ended != nil {
			select {
			case <-ended.come:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if ended.status != nil {
				return ended.status, nil
			}
		}
	}
	return box.wait(ctx)
}

// clear removes the FIFOs that killed keepers have left. One that was made just now may not be open yet.
func (s *keepers) clear(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		f, openErr := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if openErr == nil {
			f.Close()
		} else if errors.Is(openErr, syscall.ENXIO) {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// release records that a run is over.
func (s *keepers) release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.of[id]
	if k == nil {
		return // adopted
	}
	delete(s.of, id)
	k.runs--
	if i := slices.Index(s.all, k); k.runs == 0 && (i > 0 || i == 0 && k.retired) {
		s.all = slices.Delete(s.all, i, i+1)
		k.requests.Close() // it ends then
	}
}

// retire gives a keeper no further runs.
func (s *keepers) retire(k *keeperProcess) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.retired = true
	k.requests.Close() // it ends after the last run it has
}

// listen hears a keeper's answers until it ends.
func (s *keepers) listen(k *keeperProcess) {
	var err error
	for d := json.NewDecoder(k.answers); ; {
		err = guarded(s.log, "hearing of a keeper", func() error {
			var a keepAnswer
			err := d.Decode(&a)
			if err == nil {
				k.heard(a)
			}
			return err
		})
		if err != nil {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(other *keeperProcess) bool { return other == k })
	k.requests.Close()
	k.answers.Close()
	k.end()
	if errors.Is(err, os.ErrClosed) {
		s.left = append(s.left, k.cmd)
		return
	}
	go k.cmd.Wait()
}

// dismiss leaves the keepers to themselves. They end after their last run.
func (s *keepers) dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.all {
		k.answers.Close()
	}
	s.all = nil
	clear(s.of)
}

// reap reaps keepers that were left to themselves and have ended.
func (s *keepers) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = slices.DeleteFunc(s.left, func(cmd *exec.Cmd) bool {
		pid, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WNOHANG, nil)
		if pid == 0 && err == nil {
			return false
		}
		cmd.Process.Release()
		return true
	})
}

// startKeeper starts a keeper in a session of its own, so that it outlives this process.
func startKeeper(command []string) (*keeperProcess, error) {
	theirRequests, requests, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirRequests.Close()
	answers, theirAnswers, err := os.Pipe()
	if err != nil {
		requests.Close()
		return nil, err
	}
	defer theirAnswers.Close()
	k := &keeperProcess{requests: requests, answers: answers, waiting: map[string]chan<- keepAnswer{}, over: map[string]*keptEnd{}}
	k.cmd = &exec.Cmd{
		Path:        command[0],
		Args:        append([]string{"chronos"}, command[1:]...),
		Env:         keeperEnviron(os.Environ()),
		Dir:         "/",
		ExtraFiles:  []*os.File{theirRequests, theirAnswers},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := k.cmd.Start(); err != nil {
		requests.Close()
		answers.Close()
		return nil, err
	}
	return k, nil
}

// keep asks the keeper to execute a run, and returns when the run is claimed, or with the reason why it is not.
func (k *keeperProcess) keep(ctx context.Context, q keepRequest) error {
	refused := make(chan keepAnswer, 1)
	k.mu.Lock()
	if k.waiting == nil {
		k.mu.Unlock()
		return shortage(errKeeperEnded.Error())
	}
	k.waiting[q.Run] = refused
	err := json.NewEncoder(k.requests).Encode(q)
	k.mu.Unlock()
	if err != nil {
		return shortage(fmt.Sprintf("%v: %v", errKeeperEnded, err))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx) // the run will be adopted
	case a := <-refused:
		switch {
		case a.Refusal == "":
			return nil
		case a.Again:
			return shortage(a.Refusal)
		case a.Refusal == errClaimed.Error():
			return errClaimed
		case a.Refusal == errSuperseded.Error():
			return errSuperseded
		}
		return errors.New(a.Refusal)
	}
}

// heard takes an answer.
func (k *keeperProcess) heard(a keepAnswer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.Run == "" {
		k.fault = a
	}
	if a.Over {
		if over := k.over[a.Run]; over != nil {
			over.status = a.Status
			close(over.come)
			delete(k.over, a.Run)
		}
		return
	}
	if refused := k.waiting[a.Run]; refused != nil {
		if a.Refusal == "" {
			k.over[a.Run] = &keptEnd{come: make(chan struct{})}
		}
		refused <- a
		delete(k.waiting, a.Run)
	}
}

// end tells everybody who waits that there will be no more answers.
func (k *keeperProcess) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, refused := range k.waiting {
		refused <- cmp.Or(k.fault, keepAnswer{Refusal: errKeeperEnded.Error(), Again: true})
	}
	k.waiting = nil
	for run, over := range k.over {
		close(over.come)
		delete(k.over, run)
	}
}

// ended returns a channel that is closed when a run that this keeper has claimed, or
// the keeper itself, has ended, nil if there is nothing to wait for.
func (k *keeperProcess) ended(run string) *keptEnd {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.over[run]
}

// keeperEnviron picks what a keeper needs from our environment: to find programs,
// to fetch, and to talk to docker. The commands get only PATH from it.
func keeperEnviron(environ []string) []string {
	kept := []string{"GOMAXPROCS=2", "GOGC=400", keeperVariable + "=1"} // it allocates little, and most of that in bursts
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		switch strings.ToUpper(name) {
		case "PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY":
			kept = append(kept, v)
		default:
			if strings.HasPrefix(name, "DOCKER_") {
				kept = append(kept, v)
			}
		}
	}
	return kept
}
