package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A program is what a task executes: a command, or docker with a container.
type program struct {
	box       sandbox
	cmd       *exec.Cmd
	uris      []mesos.CommandInfo_URI
	owner     *syscall.Credential // of the working directory; nil for ourselves
	container string              // its docker name, if it is one
	stopped   bool                // by us
	group     group               // in which it is started
	limits    runLimits
	oomKills  int64         // of its processes
	ended     chan struct{} // closed when its first process has ended; nil if nobody wants to know
	over      bool          // ended is closed
}

var errNoExecutors = errors.New("a custom executor needs Mesos; on this machine only commands and docker containers run")

// accepts returns why runs of a job can't start on this machine, whatever is free, nil if they can.
func (l *localCluster) accepts(j *Job) error {
	if j.Executor != "" {
		return &jobError{"executor", errNoExecutors.Error()}
	}
	if j.Container == nil {
		return nil
	}
	task := taskInfo(j, &Run{ID: runID(0, 0, j.Name, ""), Job: j.Name}, placement{})
	if _, _, err := dockerCommand(l.sandbox(task.TaskID.Value), task); err != nil {
		return &jobError{"container", err.Error()}
	}
	return nil
}

// newProgram makes a program from a task, as Mesos would interpret it. The working
// directory exists when it returns.
func newProgram(box sandbox, task *mesos.TaskInfo, stdout, stderr *os.File) (*program, error) {
	if task.Executor != nil {
		return nil, errNoExecutors
	}
	command := task.Command
	if command == nil {
		command = new(mesos.CommandInfo)
	}
	account, owner, err := runAs(command.GetUser())
	if err != nil {
		return nil, err
	}
	p := &program{box: box, uris: command.URIs, owner: owner, ended: make(chan struct{})}
	work := box.path("work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	if owner != nil {
		// The outputs too, since scripts open /dev/stdout and /dev/stderr.
		for _, path := range []string{work, box.path("stdout"), box.path("stderr")} {
			if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
				return nil, err
			}
		}
	}
	if c := task.Container; c != nil {
		p.cmd, p.container, err = dockerCommand(box, task)
	} else {
		p.cmd, err = plainCommand(work, command, account)
	}
	if err != nil {
		return nil, err
	}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = work, stdout, stderr
	p.cmd.SysProcAttr = jobAttributes()
	if p.container == "" {
		p.cmd.SysProcAttr.Credential = owner
	}
	return p, nil
}

// plainCommand is the command of a task without a container.
func plainCommand(work string, command *mesos.CommandInfo, account *user.User) (*exec.Cmd, error) {
	env := commandEnviron(work, command, account)
	if command.Value == nil {
		return nil, errors.New("the task has neither a command nor a container")
	}
	if command.Shell == nil || *command.Shell {
		return &exec.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", *command.Value}, Env: env}, nil
	}
	path, err := lookProgram(*command.Value, lastValue(env, "PATH"))
	if err != nil {
		return nil, err
	}
	// As in execvp, the first argument is the program's own name.
	args := command.Arguments
	if len(args) == 0 {
		args = []string{*command.Value}
	}
	return &exec.Cmd{Path: path, Args: args, Env: env}, nil
}

// runAs returns the account a command runs with, and the credential to change to,
// nil to stay as we are. Unless we are root we stay, whatever name is given: the
// default user of every job is root.
func runAs(name string) (*user.User, *syscall.Credential, error) {
	self, err := user.Current()
	if err != nil {
		// A container may run with a number that no passwd file knows.
		id := strconv.Itoa(os.Getuid())
		self = &user.User{Uid: id, Username: id, HomeDir: cmp.Or(os.Getenv("HOME"), "/")}
	}
	if os.Geteuid() != 0 || name == "" || name == self.Username {
		return self, nil, nil
	}
	account, err := user.Lookup(name)
	if isShortage(err) {
		return nil, nil, err
	}
	if err != nil {
		// Given as a number. C libraries truncate larger ones to 32 bits, which makes 2^32 root;
		// the largest means no change.
		if n, bad := parseID(name); bad != nil || n == math.MaxUint32 {
			return nil, nil, fmt.Errorf("run as user %q: there is no such user", name)
		}
		if account, err = user.LookupId(name); err != nil {
			return nil, nil, fmt.Errorf("run as user %q: there is no such user", name)
		}
	}
	groups, err := account.GroupIds()
	if err != nil {
		return nil, nil, fmt.Errorf("run as user %q: %w", name, err)
	}
	cred := new(syscall.Credential)
	cred.Uid, err = parseID(account.Uid)
	gid, err2 := parseID(account.Gid)
	cred.Gid, err = gid, errors.Join(err, err2)
	for _, g := range groups {
		id, err2 := parseID(g)
		cred.Groups, err = append(cred.Groups, id), errors.Join(err, err2)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("run as user %q: %w", name, err)
	}
	return account, cred, nil
}

func parseID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

// commandEnviron returns the whole environment of a command: what the task says, and
// PATH, HOME, USER and LOGNAME if it does not. From ours, only PATH is taken.
func commandEnviron(work string, command *mesos.CommandInfo, account *user.User) []string {
	env := []string{"PATH=" + searchPath(), "HOME=" + account.HomeDir, "USER=" + account.Username, "LOGNAME=" + account.Username}
	for _, v := range command.GetEnvironment().GetVariables() {
		env = append(env, v.Name+"="+v.GetValue())
	}
	return append(env, "MESOS_SANDBOX="+work, "MESOS_DIRECTORY="+work)
}

func searchPath() string {
	if path := os.Getenv("PATH"); path != "" {
		return path
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// lastValue returns the last value of a repeated variable, which is the one that counts.
func lastValue(env []string, name string) string {
	value := ""
	for _, v := range env {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}

// lookProgram finds a program like execvp: a name with a slash is a path, relative to the
// working directory.
func lookProgram(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if !filepath.IsAbs(file) {
			continue
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("start command %q: not found in PATH", name)
}

func (p *program) fetch(ctx context.Context) error {
	root, err := os.OpenRoot(p.box.path("work"))
	if err != nil {
		return err
	}
	defer root.Close()
	f := &fetcher{root: root, limits: defaultFetchLimits, owner: p.owner}
	if err := f.fetchAll(ctx, p.uris); err != nil {
		return err
	}
	if p.owner == nil {
		return nil
	}
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(name, int(p.owner.Uid), int(p.owner.Gid))
	})
}

// start starts the program in its group. Where that can't be done, it has none.
func (p *program) start() error {
	if p.group == "" {
		return p.startCommand()
	}
	cmd := *p.cmd // as yet not started
	dir, err := p.group.open()
	if err == nil {
		if err := p.group.limit(p.limits); err != nil {
			fmt.Fprintf(p.cmd.Stderr, "chronos: the run is not held to its limits: %v\n", err)
		}
		joinGroup(p.cmd.SysProcAttr, dir)
		err = p.startCommand()
		leaveGroup(p.cmd.SysProcAttr)
		dir.Close()
	}
	if err == nil {
		return nil
	}
	_ = p.group.end() // of which nothing has begun
	if isShortage(err) {
		return err
	}
	p.group, p.cmd = "", &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Stdout: cmd.Stdout, Stderr: cmd.Stderr, SysProcAttr: cmd.SysProcAttr}
	return p.startCommand()
}

func (p *program) startCommand() error {
	err := p.cmd.Start()
	if errors.Is(err, syscall.ENOEXEC) && p.container == "" {
		// A script without an interpreter line; execvp gives it to the shell.
		script := exec.Cmd{Path: "/bin/sh", Env: p.cmd.Env, Dir: p.cmd.Dir, Stdout: p.cmd.Stdout, Stderr: p.cmd.Stderr, SysProcAttr: p.cmd.SysProcAttr}
		script.Args = append([]string{"sh", p.cmd.Path}, p.cmd.Args[1:]...)
		p.cmd = &script
		err = p.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start command: %w", err)
	}
	return nil
}

// terminate asks the program to end.
func (p *program) terminate() {
	p.stopped = true
	// A docker client in the foreground passes the signal on to its container.
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
}

// A keptRun is a run in the hands of a keeper.
type keptRun struct {
	box            sandbox
	epoch          int64 // number of the subscription that asked for it
	outputs        int64 // bytes to keep of each output
	group          group
	limits         runLimits
	begin          func() // tells that it begins
	task           *mesos.TaskInfo
	lock           *os.File
	stdout, stderr *os.File
	order          outputOrder   // in which they grow
	held           time.Time     // since when
	ready          atomic.Bool   // the outputs are open
	status         *os.File      // what will be it
	alive          *os.File      // what observers wait on, if there are any; belongs to the keeper
	told           chan struct{} // holds a token when the file kill may be there
	asked          atomic.Int64  // grace period of a kill that left no file, for lack of space
	kills          chan time.Duration
	over           chan struct{}
}

func newKeptRun(box sandbox, q keepRequest) *keptRun {
	return &keptRun{
		box: box, epoch: q.Epoch, outputs: q.Output, group: q.Group, limits: q.runLimits,
		order: outputOrder{path: box.path("order"), most: maxMarks}, held: time.Now(),
		told: make(chan struct{}, 1), kills: make(chan time.Duration), over: make(chan struct{}),
	}
}

// release gives up all that was opened.
func (r *keptRun) release() {
	close(r.over)
	// The lock goes first: those who wait for the end of alive need it.
	for _, f := range []*os.File{r.lock, r.alive, r.stdout, r.stderr, r.status} {
		if f != nil {
			f.Close()
		}
	}
}

// claim makes all preparations that can fail, and claims the run, which is locked.
func (r *keptRun) claim(dataDir string, task []byte) error {
	if r.box.claimed() { // and over: its keeper has released the lock
		return errClaimed
	}
	if err := r.prepare(task); err != nil {
		return err
	}
	// Under the lock, which whoever removes the run needs too.
	last, err := currentEpoch(dataDir)
	if err != nil {
		return err
	}
	if last > r.epoch {
		return errSuperseded
	}
	return r.box.claim()
}

// prepare stores the task and opens what the run needs. The file is not replaced but written: only a run that is
// claimed is judged by it.
func (r *keptRun) prepare(task []byte) (err error) {
	var kept []byte
	if task != nil {
		r.task, kept, err = readTask(task)
	} else {
		r.task, err = r.box.task()
	}
	if err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	if kept != nil {
		if err := os.WriteFile(r.box.path("task"), kept, 0o600); err != nil {
			return err
		}
	}
	if r.stdout, err = openOutput(r.box.path("stdout")); err != nil {
		return err
	}
	if r.stderr, err = openOutput(r.box.path("stderr")); err != nil {
		return err
	}
	r.ready.Store(true)
	r.status, err = r.box.reserve(expectedStatus{Group: r.group})
	return err
}

func openOutput(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// cutOutputs keeps the outputs within their bound. If it can't be done here, they grow.
func (r *keptRun) cutOutputs() {
	_ = errors.Join(cutOutput(r.stdout, r.outputs), cutOutput(r.stderr, r.outputs))
}

// awaitLock takes the lock, waiting for it only as long as the run is not claimed.
func (r *keptRun) awaitLock() (err error) {
	r.lock, err = r.box.lock(false)
	for errors.Is(err, errLocked) {
		if r.box.claimed() {
			return errClaimed
		}
		time.Sleep(time.Millisecond)
		r.lock, err = r.box.lock(false)
	}
	return err
}

// hears takes a message about the run, with a detail that may be missing.
func (r *keptRun) hears(word, detail string) {
	switch word {
	case wordKill:
		if grace, err := strconv.ParseInt(detail, 10, 64); err == nil {
			r.asked.Store(max(1, grace))
		}
		select {
		case r.told <- struct{}{}:
		default:
		}
	case wordWatch:
		if r.alive == nil {
			// If it can't be opened, observers don't wait for it but poll.
			r.alive, _ = os.OpenFile(r.box.path("alive"), os.O_RDWR, 0)
		}
	}
}

// hear delivers the grace periods of the requested kills, the first of
// which may have been requested earlier.
func (r *keptRun) hear() {
	for {
		if grace, ok := r.killGrace(); ok {
			select {
			case r.kills <- grace:
			case <-r.over:
				return
			}
		}
		select {
		case <-r.told:
		case <-r.over:
			return
		}
	}
}

// killGrace returns the grace period of a kill, if one was asked for.
func (r *keptRun) killGrace() (time.Duration, bool) {
	if grace := r.asked.Load(); grace != 0 {
		return time.Duration(grace), true
	}
	return r.box.killGrace()
}

// execute runs the task and returns how it ended. An error is a shortage, for which nothing of it has begun.
func (r *keptRun) execute(k *keeper) (runStatus, error) {
	started := time.Now()
	st, err := r.perform(k)
	if _, asked := r.killGrace(); err != nil && (asked || !isShortage(err)) {
		st, err = startFailed(err), nil
		if asked {
			st = endedStatus(mesos.TASK_KILLED, "killed before it started")
		}
	}
	st.Started = started.UnixMilli()
	return st, err
}

func (r *keptRun) perform(k *keeper) (st runStatus, err error) {
	if _, asked := r.killGrace(); asked {
		return endedStatus(mesos.TASK_KILLED, "killed before it started"), nil
	}
	var p *program
	err = k.work(func() (err error) {
		p, err = newProgram(r.box, r.task, r.stdout, r.stderr)
		return err
	})
	if err != nil {
		return st, err
	}
	if killed, err := r.fetch(p); err != nil {
		return st, err
	} else if killed {
		return endedStatus(mesos.TASK_KILLED, "killed while its files were fetched"), nil
	}
	p.group, p.limits = r.group, r.limits
	if err := k.start(p); err != nil {
		return st, err
	}
	if len(p.uris) == 0 {
		r.begin()
	}
	return r.await(k, p), nil
}

// startFailed is the end of a run that could not be started.
func startFailed(err error) runStatus {
	st := endedStatus(mesos.TASK_FAILED, err.Error())
	st.Reason = mesos.REASON_CONTAINER_LAUNCH_FAILED.String()
	return st
}

// settle records how the run ended.
func (r *keptRun) settle(st runStatus) *runStatus {
	r.markOutputs(true)
	r.cutOutputs()
	if err := r.box.settleIn(r.status, st); err != nil {
		fmt.Fprintf(r.stderr, "chronos: record the end of the run: %v\n", err)
		return nil
	}
	return &st
}

// fetch brings the task's files into its directory, unless it is killed meanwhile.
func (r *keptRun) fetch(p *program) (killed bool, err error) {
	if len(p.uris) == 0 {
		return false, nil
	}
	r.begin() // this may take long
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fetched := make(chan error, 1)
	go func() { fetched <- p.fetch(ctx) }()
	select {
	case err := <-fetched:
		return false, err
	case <-r.kills:
		cancel()
		<-fetched
		return true, nil
	}
}

// await waits for the end of the program, and ends it when it is killed
// or its time is up: SIGTERM, and SIGKILL after the grace period. Whatever the
// program leaves behind ends with it.
func (r *keptRun) await(k *keeper, p *program) runStatus {
	why := mesos.TASK_FINISHED // or the end that was asked for
	var limit, patience <-chan time.Time
	var until time.Time
	stop := func(end mesos.TaskState, grace time.Duration) {
		if why == mesos.TASK_FINISHED {
			p.terminate()
			why = end
		}
		// A kill that is sent again does not prolong the grace period.
		if at := time.Now().Add(grace); until.IsZero() || at.Before(until) {
			until, patience = at, time.After(grace)
		}
	}
	if d := r.task.GetMaxCompletionTime(); d != nil && d.Nanoseconds > 0 {
		limit = time.After(time.Duration(d.Nanoseconds))
	}
	for {
		select {
		case <-p.ended:
			return r.verdict(p, why, k.sweep(p))
		case grace := <-r.kills:
			stop(mesos.TASK_KILLED, grace)
		case <-limit:
			stop(mesos.TASK_FAILED, taskGrace(r.task))
		case <-patience:
			k.destroy(p)
		}
	}
}

// verdict describes the end of a program in the words of Mesos' command executor.
func (r *keptRun) verdict(p *program, why mesos.TaskState, ws syscall.WaitStatus) runStatus {
	message := fmt.Sprintf("Command exited with status %d", ws.ExitStatus())
	if ws.Signaled() {
		message = "Command terminated with signal " + ws.Signal().String()
	} else if p.container != "" && ws.ExitStatus() == 125 {
		message += ": docker could not run the container, see stderr"
	}
	if p.oomKills > 0 {
		message += fmt.Sprintf(", out of memory: the kernel killed %d of its processes at the limit of %d MB", p.oomKills, p.limits.Memory>>20)
	} else if ws.Signaled() && ws.Signal() == syscall.SIGKILL && why == mesos.TASK_FINISHED {
		message += ", not sent by chronos; perhaps the kernel ran out of memory"
	}
	var st runStatus
	switch {
	case why == mesos.TASK_KILLED:
		st = endedStatus(mesos.TASK_KILLED, message)
	case why == mesos.TASK_FAILED:
		st = endedStatus(mesos.TASK_FAILED, fmt.Sprintf("ran longer than its maximum of %v; %s",
			time.Duration(r.task.MaxCompletionTime.Nanoseconds), message))
		st.Reason = mesos.REASON_MAX_COMPLETION_TIME_REACHED.String()
	case ws.Exited() && ws.ExitStatus() == 0:
		st = endedStatus(mesos.TASK_FINISHED, message)
	default:
		st = endedStatus(mesos.TASK_FAILED, message)
		st.Reason = mesos.REASON_COMMAND_EXECUTOR_FAILED.String()
		if p.oomKills > 0 {
			st.Reason = mesos.REASON_CONTAINER_LIMITATION_MEMORY.String()
		}
	}
	if ws.Exited() {
		code := ws.ExitStatus()
		st.Exit = &code
	} else {
		st.Signal = int(ws.Signal())
	}
	return st
}
