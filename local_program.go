package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

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
}

// newProgram makes a program of a task, as Mesos would interpret it. The working
// directory exists when it returns.
func newProgram(box sandbox, task *mesos.TaskInfo, stdout, stderr *os.File) (*program, error) {
	if task.Executor != nil {
		return nil, errors.New("a custom executor needs Mesos; on this machine only commands and docker containers run")
	}
	command := task.Command
	if command == nil {
		command = new(mesos.CommandInfo)
	}
	account, owner, err := runAs(command.GetUser())
	if err != nil {
		return nil, err
	}
	p := &program{box: box, uris: command.URIs, owner: owner}
	work := box.path("work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	if owner != nil {
		// The outputs too: scripts open /dev/stdout and /dev/stderr anew.
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
// nil to stay as we are. Who is not root stays, whatever name is given: the
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
	if err != nil {
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

// commandEnviron is the whole environment of a command: what the task says, and
// PATH, HOME, USER and LOGNAME where it says nothing. Of ours, only PATH goes in.
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

// lastValue returns the value that counts of a repeated variable.
func lastValue(env []string, name string) string {
	value := ""
	for _, v := range env {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}

// lookProgram finds a program like execvp: a name with a slash is a path, from the
// working directory on.
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
	if len(p.uris) == 0 {
		return nil
	}
	root, err := os.OpenRoot(p.box.path("work"))
	if err != nil {
		return err
	}
	defer root.Close()
	f := &fetcher{root: root, limits: defaultFetchLimits}
	for _, uri := range p.uris {
		if err := f.fetch(ctx, uri); err != nil {
			return fmt.Errorf("fetch %s: %w", redactURI(uri.Value), err)
		}
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

func (p *program) start() error {
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
