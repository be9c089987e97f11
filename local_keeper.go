package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// keeperWord is the first argument with which this binary becomes a keeper; see runKeeper.
const keeperWord = "__keep"

// keeperVariable is set in the environment of a keeper, which nobody starts by hand.
const keeperVariable = "CHRONOS_KEEPER"

// Exit statuses of a keeper that keeps nothing.
const (
	exitUsage  = 64 // started by hand
	exitBroken = 70
)

// A keepRequest asks a keeper to claim and execute a run.
type keepRequest struct {
	Run    string `json:"run"`            // name of its directory
	ID     string `json:"id,omitempty"`   // of the run
	Task   []byte `json:"task,omitempty"` // in its protobuf form; if there is none, its directory has it
	Epoch  int64  `json:"epoch"`          // number of the subscription that asks
	Output int64  `json:"output"`         // bytes to keep of each of its outputs; all if 0
	Group  group  `json:"group,omitempty"`
	runLimits
}

// A keepAnswer is the outcome of a request: the run is claimed, and executed,
// unless Refusal says why not, and Again that it may be possible later. A second answer says that a
// claimed run is over.
type keepAnswer struct {
	Run     string `json:"run"`
	Refusal string `json:"refusal,omitempty"`
	Again   bool   `json:"again,omitempty"`
	Over    bool   `json:"over,omitempty"`

	Status *runStatus `json:"status,omitempty"` // how it ended, if that is recorded
}

// A keeper watches over runs: it claims each, executes it and records its end. It is a
// separate process, so that neither the end of the instance that started it nor a
// signal to that instance's process group affects them. It ends when that instance is gone and its
// last run is over. If it is killed, its runs die with it.
type keeper struct {
	dir     string // data directory
	name    string // of its FIFO in <dir>/keepers
	answers *json.Encoder
	answer  sync.Mutex // held while writing one
	starts  chan func()
	slots   chan struct{} // one for each run that may be at work with files at a time, so that threads suffice

	mu      sync.Mutex
	watches bool                // the outputs of kept are being watched
	kept    map[string]*keptRun // locked, by the name of their directory
	started map[int]*program    // and not yet forgotten, by process id
}

// runKeeper is the program behind keeperWord. Only localCluster starts it: file descriptor 3 is a
// pipe of requests, and 4 one for the answers, both as lines of JSON.
func runKeeper(dir string) int {
	if os.Getenv(keeperVariable) == "" {
		fmt.Fprintf(os.Stderr, "chronos: %s is started by chronos itself only\n", keeperWord)
		return exitUsage
	}
	keepDescriptors()
	adoptOrphans()
	reserveThreads(keeperThreads)
	// Caught and dropped, not ignored: the commands would inherit that. Signals that were ignored
	// when the program was started stay ignored for them.
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT} {
		if !signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	k := &keeper{
		dir: dir, name: randomHex(), answers: json.NewEncoder(os.NewFile(4, "answers")),
		starts: make(chan func()), slots: make(chan struct{}, keeperThreads/2), kept: map[string]*keptRun{}, started: map[int]*program{},
	}
	control, err := k.openControl()
	if err != nil {
		_ = k.answers.Encode(keepAnswer{Refusal: err.Error(), Again: isShortage(err)})
		return exitBroken
	}
	defer os.Remove(control.Name())
	go k.listen(control)
	go k.startCommands()
	noticeExits(k)
	k.serve(os.NewFile(3, "requests"))
	return 0
}

// keepDescriptors makes sure that commands inherit nothing that is open except input and outputs: above all not our
// pipes, through which a command could swallow the start of another run, and not what the program's
// parent has left open. Go itself opens all files that way.
func keepDescriptors() {
	entries, err := os.ReadDir(descriptors)
	if err != nil {
		syscall.CloseOnExec(3)
		syscall.CloseOnExec(4)
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// openControl makes the FIFO over which any instance reaches this keeper.
func (k *keeper) openControl() (*os.File, error) {
	path := filepath.Join(k.dir, "keepers", k.name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make FIFO %s: %w", path, err)
	}
	return os.OpenFile(path, os.O_RDWR, 0) // for both directions, so that it never reaches its end
}

// listen passes on messages about its runs.
func (k *keeper) listen(control io.Reader) {
	for lines := bufio.NewScanner(control); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		run, detail, _ := strings.Cut(rest, " ")
		k.mu.Lock()
		if r := k.kept[run]; r != nil {
			r.hears(word, detail)
		}
		k.mu.Unlock()
	}
}

// serve keeps the runs asked for, and returns when nobody can ask any more and the
// last run is over.
func (k *keeper) serve(requests io.Reader) {
	var runs sync.WaitGroup
	defer runs.Wait()
	for d := json.NewDecoder(requests); ; {
		var q keepRequest
		if d.Decode(&q) != nil {
			return
		}
		runs.Go(func() { k.keep(q) })
	}
}

func (k *keeper) keep(q keepRequest) {
	r := newKeptRun(sandbox(filepath.Join(k.dir, "runs", q.Run)), q)
	begun := false
	r.begin = func() {
		begun = true
		k.reply(keepAnswer{Run: q.Run})
	}
	err := k.work(func() error { return k.claim(q, r) })
	if err != nil {
		k.reply(keepAnswer{Run: q.Run, Refusal: err.Error(), Again: isShortage(err)})
		return
	}
	st, err := r.execute(k)
	var recorded *runStatus
	if err == nil {
		err = k.work(func() error { recorded = r.settle(st); return nil })
	} else if failed := k.work(r.box.withdraw); failed != nil {
		recorded = r.settle(startFailed(errors.Join(err, failed)))
		err = nil
	}
	k.let(q.Run, r)
	switch {
	case begun:
		k.reply(keepAnswer{Run: q.Run, Over: true, Status: recorded})
	case err != nil:
		k.reply(keepAnswer{Run: q.Run, Refusal: err.Error(), Again: true})
	default:
		r.begin()
		k.reply(keepAnswer{Run: q.Run, Over: true, Status: recorded})
	}
}

// work does something with files, no more of which runs at a time than there are threads for.
func (k *keeper) work(do func() error) error {
	k.slots <- struct{}{}
	defer func() { <-k.slots }()
	return do()
}

// claim makes the run's directory, locks and claims it.
func (k *keeper) claim(q keepRequest, r *keptRun) error {
	if q.ID != "" {
		if err := r.box.create(q.ID); err != nil {
			return fmt.Errorf("prepare run: %w", err)
		}
	}
	if err := r.awaitLock(); err != nil {
		return err
	}
	k.hold(q.Run, r)
	err := r.claim(k.dir, q.Task)
	if err != nil {
		k.let(q.Run, r)
	}
	return err
}

// hold makes a locked run known to those who may have messages for it.
func (k *keeper) hold(name string, r *keptRun) {
	k.mu.Lock()
	k.kept[name] = r
	if !k.watches {
		k.watches = true
		go k.watchOutputs()
	}
	k.mu.Unlock()
	// If this fails, nobody can reach us: then a kill has an effect only before the start.
	_, _ = r.lock.WriteAt([]byte(k.name), 0)
	go r.hear()
}

// watchOutputs keeps the outputs of all runs within their bounds, and notes in which order they grow, for as long as there are any.
func (k *keeper) watchOutputs() {
	for {
		time.Sleep(k.pace())
		k.mu.Lock()
		if len(k.kept) == 0 {
			k.watches = false
			k.mu.Unlock()
			return
		}
		for _, r := range k.kept {
			if r.ready.Load() {
				r.markOutputs(false)
				r.cutOutputs()
			}
		}
		k.mu.Unlock()
	}
}

// pace is how long to wait before the outputs are looked at again.
func (k *keeper) pace() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.kept {
		if time.Since(r.held) < young {
			return youngPace
		}
	}
	return outputPace
}

// let gives a run up.
func (k *keeper) let(name string, r *keptRun) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, name)
	r.release()
}

// reply sends an answer. If nobody reads it any longer, somebody will adopt the run.
func (k *keeper) reply(a keepAnswer) {
	k.answer.Lock()
	defer k.answer.Unlock()
	_ = k.answers.Encode(a)
}

// startCommands starts commands for as long as the keeper lives, in one thread: the kernel
// kills them (see jobAttributes) when the thread ends that has started them.
func (k *keeper) startCommands() {
	runtime.LockOSThread()
	for start := range k.starts {
		start()
	}
}

// start starts a program.
func (k *keeper) start(p *program) error {
	done := make(chan error)
	k.starts <- func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		err := p.start()
		if err == nil {
			k.started[p.cmd.Process.Pid] = p
			noticeExit(p)
		}
		done <- err
	}
	return <-done
}

// sweep ends what is left of a program whose first process has ended: the rest of
// its group, and its descendants that have left the group. It returns how the
// first process ended, which is reaped only here: until then no other group can
// get its number.
func (k *keeper) sweep(p *program) syscall.WaitStatus {
	_ = k.work(func() error {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		p.cmd.Wait()
		if p.limits.Memory > 0 && p.group != "" {
			p.oomKills = p.group.oomKills()
		}
		if err := p.group.end(); err != nil {
			fmt.Fprintf(p.cmd.Stderr, "chronos: %v\n", err)
		}
		for k.killOrphans(p) {
			// What they have started is now ours in turn.
		}
		return nil
	})
	k.forget(p)
	ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if p.container != "" && (ws.Signaled() || p.stopped) {
		k.removeContainer(p.cmd.Path, p.container)
	}
	return ws
}

// killOrphans kills the orphans of a program, and reports whether there were any. The dead
// ones of all programs are reaped.
func (k *keeper) killOrphans(p *program) (found bool) {
	for _, orphan := range k.orphans() {
		if pid, err := syscall.Wait4(orphan, nil, syscall.WNOHANG, nil); pid == orphan || errors.Is(err, syscall.ECHILD) {
			continue
		}
		if !k.condemned(orphan, p) {
			continue
		}
		found = true
		syscall.Kill(orphan, syscall.SIGKILL)
		for {
			if _, err := syscall.Wait4(orphan, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
	return found
}

// orphans lists the children of this process that it has not started itself.
func (k *keeper) orphans() (pids []int) {
	k.mu.Lock() // no start is half done meanwhile
	defer k.mu.Unlock()
	for _, pid := range children() {
		if k.started[pid] == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// condemned reports whether an orphan has to end with a program: because it is in the program's
// session, or has its sandbox in the environment, or descends from a program that is over. An orphan
// without any such tie ends with the last program.
func (k *keeper) condemned(orphan int, p *program) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if owner := k.started[sessionOf(orphan)]; owner != nil {
		return owner == p
	}
	work, marked := sandboxOf(orphan, k.dir)
	for _, other := range k.started {
		if other != p && other.box != "" && (!marked || other.box.path("work") == work) {
			return false
		}
	}
	return true
}

// destroy ends a program.
func (k *keeper) destroy(p *program) {
	if p.container != "" {
		k.removeContainer(p.cmd.Path, p.container)
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	_ = p.group.kill() // the sweep to come tells if it can't be done
}

// removeContainer ends and removes a container, if it is still there.
func (k *keeper) removeContainer(docker, name string) {
	// The usual answer is that it is gone already.
	k.help(docker, "kill", name)
	k.help(docker, "rm", "--force", name)
}

// help runs a command of our own to its end.
func (k *keeper) help(name string, args ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p := &program{cmd: exec.CommandContext(ctx, name, args...)}
	if k.start(p) != nil {
		return
	}
	p.cmd.Wait()
	k.forget(p)
}

func (k *keeper) forget(p *program) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.started[p.cmd.Process.Pid] == p { // and not one that has got its number since
		delete(k.started, p.cmd.Process.Pid)
	}
}
