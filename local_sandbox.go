package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A sandbox is the directory of one run:
//
//	task      the mesos.TaskInfo in its protobuf form
//	id        the run id, where the directory's name is a digest of it
//	lock      flocked by the keeper from before its claim until its end; holds the name of
//	          the FIFO in <data dir>/keepers over which that is reached
//	claim     made once, by whoever holds the lock and decides the run's fate
//	alive     a FIFO, made by whoever wants to know about the end: the keeper holds it open until then
//	kill      exists once a kill was requested; holds the grace period
//	status    how the run ended, renamed into place
//	stdout, stderr
//	order     how long both were at some moments, from which they are merged
//	work/     the command's working directory, its MESOS_SANDBOX
//
// An observer must look in the order claim, lock, status for its
// answer to be right: the lock is taken before the claim and released after the status
// is written, so a claim without lock and status has lost its keeper for good.
type sandbox string

var (
	errClaimed = errors.New("the run is claimed already")
	errLocked  = errors.New("the run is locked")
)

// runStatus is the content of the file status.
type runStatus struct {
	State   string `json:"state"` // TASK_FINISHED and so on
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Exit    *int   `json:"exit,omitempty"`
	Signal  int    `json:"signal,omitempty"`
	Started int64  `json:"started,omitempty"` // ms since the epoch
	Ended   int64  `json:"ended"`
}

// statusSize is what a keeper reserves on disk before it starts a command,
// so that the result of a run can be written even when the disk is full.
const statusSize = 4096

// maxMessage bounds runStatus.Message: a status fits into statusSize.
const maxMessage = 1024

func endedStatus(state mesos.TaskState, message string) runStatus {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	return runStatus{State: state.String(), Message: strings.ToValidUTF8(message, "?"), Ended: time.Now().UnixMilli()}
}

func (b sandbox) path(name string) string { return filepath.Join(string(b), name) }

func (b sandbox) has(name string) bool {
	_, err := os.Lstat(b.path(name))
	return err == nil
}

func (b sandbox) claimed() bool { return b.has("claim") }

// claimTime returns when the run was claimed, in ms since the epoch.
func (b sandbox) claimTime() int64 {
	info, err := os.Stat(b.path("claim"))
	if err != nil {
		return time.Now().UnixMilli()
	}
	return info.ModTime().UnixMilli()
}

// create makes the directory. What another instance has put there stays.
func (b sandbox) create(id string) error {
	if err := makePassable(string(b)); err != nil {
		return err
	}
	if strings.Contains(filepath.Base(string(b)), "~") && !b.has("id") {
		return b.replace("id", []byte(id))
	}
	return nil
}

// replace writes a small file so that readers see all of it or nothing.
func (b sandbox) replace(name string, text []byte) error {
	tmp, err := os.CreateTemp(string(b), name+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), b.path(name))
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

func (b sandbox) task() (*mesos.TaskInfo, error) {
	text, err := os.ReadFile(b.path("task"))
	if err != nil {
		return nil, err
	}
	task, err := decodeTask(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.path("task"), err)
	}
	return task, nil
}

// readTask returns a task, and what of it is kept on the disk: everything but the values of secrets.
func readTask(text []byte) (task *mesos.TaskInfo, kept []byte, err error) {
	if task, err = decodeTask(text); err != nil || len(secretVariables(task)) == 0 {
		return task, text, err
	}
	bare, err := decodeTask(text)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range secretVariables(bare) {
		v.Value = nil
	}
	kept, err = bare.Marshal()
	return task, kept, err
}

func decodeTask(text []byte) (*mesos.TaskInfo, error) {
	task := new(mesos.TaskInfo)
	if err := task.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("decode task: %w", err)
	}
	return task, nil
}

// lock takes the exclusive lock, waiting for it if wait is set and returning
// errLocked otherwise. It is held until the file is closed. It is not inherited
// by commands, because Go opens files close-on-exec.
func (b sandbox) lock(wait bool) (*os.File, error) {
	f, err := os.OpenFile(b.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	err = flock(f, how)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errLocked
	}
	return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// claim makes the run the caller's, who holds the lock; it returns errClaimed if the run
// is somebody's already. A claim survives a power failure once claim has returned.
func (b sandbox) claim() error {
	var dirs [2]*os.File // opened before there is a claim, which can't be withdrawn
	for i, dir := range []string{string(b), filepath.Dir(string(b))} {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		dirs[i] = f
	}
	// A link needs no new file, and creating and removing files is most of what a short run costs.
	err := os.Link(b.path("lock"), b.path("claim"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Mkdir(b.path("claim"), 0o700) // not every file system has links
	}
	if errors.Is(err, fs.ErrExist) {
		return errClaimed
	}
	if err != nil {
		return err
	}
	if err := errors.Join(dirs[0].Sync(), dirs[1].Sync()); err != nil {
		return errors.Join(err, os.Remove(b.path("claim")))
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// reserve takes the disk space of the status, and returns the file that it is to be written to.
func (b sandbox) reserve(expected expectedStatus) (*os.File, error) {
	f, err := b.openStatus()
	if err != nil {
		return nil, err
	}
	if err := writeStatus(f, expected); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// writeStatus fills the space of a status.
func writeStatus(f *os.File, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	if pad := statusSize - len(text); pad > 0 {
		text = append(text, strings.Repeat(" ", pad)...)
	}
	_, err = f.WriteAt(text, 0)
	return err
}

// openStatus opens what will be the status. It is not cut: that would give the reserved block back.
func (b sandbox) openStatus() (*os.File, error) {
	return os.OpenFile(b.path("status.tmp"), os.O_WRONLY|os.O_CREATE, 0o600)
}

// settle records how the run ended. The caller holds lock and claim.
func (b sandbox) settle(st runStatus) error {
	f, err := b.openStatus()
	if err != nil {
		return err
	}
	defer f.Close()
	return b.settleIn(f, st)
}

// settleIn is settle with what reserve has returned.
func (b sandbox) settleIn(f *os.File, st runStatus) error {
	if err := writeStatus(f, st); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), b.path("status"))
}

// status returns how the run ended, and nil if that is not recorded.
func (b sandbox) status() *runStatus {
	text, err := os.ReadFile(b.path("status"))
	if err != nil {
		return nil
	}
	st := new(runStatus)
	if err := json.Unmarshal(text, st); err != nil {
		lost := endedStatus(mesos.TASK_LOST, fmt.Sprintf("decode %s: %v", b.path("status"), err))
		return &lost
	}
	return st
}

// look returns the state of the run: claimed or not, and how it ended, nil for not yet.
func (b sandbox) look() (claimed bool, st *runStatus, err error) {
	if st := b.status(); st != nil {
		return true, st, nil
	}
	if !b.claimed() {
		return false, nil, nil
	}
	f, err := b.lock(false)
	if errors.Is(err, errLocked) {
		return true, nil, nil
	}
	if err != nil {
		return true, nil, err
	}
	defer f.Close()
	return true, b.outcome(), nil
}

// outcome returns how a run ended that nobody executes any longer: the caller
// holds the lock. It is nil for a run that was never claimed.
func (b sandbox) outcome() *runStatus {
	if st := b.status(); st != nil {
		return st
	}
	if !b.claimed() {
		return nil
	}
	b.endRemains()
	st := endedStatus(mesos.TASK_LOST, "the machine was restarted, or the process that watched over the run was killed")
	st.Reason = mesos.REASON_EXECUTOR_TERMINATED.String()
	// Recorded for those who come later; if that fails, they conclude the same.
	b.settle(st)
	return &st
}

// endRemains ends the processes of a run that nobody watches over any longer. The death of a keeper
// affects only the processes that it has started itself.
func (b sandbox) endRemains() {
	_ = b.group().end() // what it has not ended, the rest does
	for range 100 {     // what is killed may just have started something
		pids := remains(b.path("work"))
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// wait waits for the end of a run that was claimed, whoever keeps it. It costs a file descriptor
// and a parked goroutine, no thread. The error is ctx's or the file system's.
func (b sandbox) wait(ctx context.Context) (*runStatus, error) {
	for {
		claimed, st, err := b.look()
		if err != nil || st != nil || !claimed {
			return st, err
		}
		if err := b.awaitKeeper(ctx); err != nil {
			return nil, err
		}
		rest(ctx, 5*time.Millisecond) // a keeper that has just begun, or is about to give up the lock
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// awaitKeeper returns when the keeper is done with the run, or can't be asked yet.
func (b sandbox) awaitKeeper(ctx context.Context) error {
	if err := syscall.Mkfifo(b.path("alive"), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make FIFO %s: %w", b.path("alive"), err)
	}
	f, err := os.OpenFile(b.path("alive"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if !b.tell(wordWatch) {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = io.Copy(io.Discard, f)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// kill requests the end of the run, whoever executes it. A run that nobody has
// claimed is claimed and settled as killed, so that no late keeper starts it.
func (b sandbox) kill(ctx context.Context, grace time.Duration) error {
	if b.has("status") {
		return nil
	}
	if err := b.replace("kill", strconv.AppendInt(nil, int64(grace), 10)); err != nil {
		// The disk is full, perhaps by this very run. Its keeper can be told without a file.
		if b.tell(wordKill, strconv.FormatInt(int64(grace), 10)) {
			return nil
		}
		return err
	}
	for {
		err := b.bury(endedStatus(mesos.TASK_KILLED, "killed before it started"))
		if !errors.Is(err, errLocked) {
			return err
		}
		if b.tell(wordKill) {
			return nil
		}
		// Somebody who does not listen holds the lock: a keeper that has just
		// started and will find the file, or, for microseconds, another observer.
		if !rest(ctx, 5*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// bury settles a run that nobody has claimed. A claimed one is left alone;
// errLocked means that somebody is working on it right now.
func (b sandbox) bury(st runStatus) error {
	f, err := b.lock(false)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := b.claim(); errors.Is(err, errClaimed) {
		return nil
	} else if err != nil {
		return err
	}
	return b.settle(st)
}

// What a keeper can be told about a run, over its FIFO.
const (
	wordKill  = "kill"  // the file kill is there, or the grace period follows
	wordWatch = "watch" // the FIFO alive is there
)

// tell sends a word to the keeper of the run, and reports whether there is one.
func (b sandbox) tell(word string, details ...string) bool {
	name, err := os.ReadFile(b.path("lock"))
	if err != nil || len(name) == 0 {
		return false
	}
	runs := filepath.Dir(string(b))
	f, err := os.OpenFile(filepath.Join(filepath.Dir(runs), "keepers", filepath.Base(string(name))), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Write([]byte(strings.Join(append([]string{word, filepath.Base(string(b))}, details...), " ") + "\n"))
	return err == nil
}

// killGrace returns the grace period of a kill, if one was asked for.
func (b sandbox) killGrace() (time.Duration, bool) {
	text, err := os.ReadFile(b.path("kill"))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return defaultGrace, true
	}
	return time.Duration(n), true
}

// maxSandboxName leaves room for suffixes below the 255 bytes of a file name.
const maxSandboxName = 200

// sandboxName turns any text into a file name. What does not fit is cut and
// followed by ~ and a digest; such a name cannot be turned back.
func sandboxName(id string) string {
	name := make([]byte, 0, maxSandboxName+3)
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			name = append(name, c)
		default:
			name = append(name, '%', hexDigits[c>>4], hexDigits[c&15])
		}
		if len(name) > maxSandboxName { // however long the rest is
			sum := sha256.Sum256([]byte(id))
			return string(name[:maxSandboxName-33]) + "~" + hex.EncodeToString(sum[:16])
		}
	}
	return string(name)
}

// runID returns the id whose sandbox this is.
func (b sandbox) runID() (string, error) {
	name := filepath.Base(string(b))
	if strings.Contains(name, "~") {
		text, err := os.ReadFile(b.path("id"))
		return string(text), err
	}
	var id []byte
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			id = append(id, name[i])
			continue
		}
		if i+2 >= len(name) {
			return "", fmt.Errorf("%q is no run id", name)
		}
		c, err := strconv.ParseUint(name[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q is no run id", name)
		}
		id = append(id, byte(c))
		i += 2
	}
	return string(id), nil
}
