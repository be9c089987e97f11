package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Exit codes of a wrapper that did not claim its run.
const (
	exitUsage      = 64
	exitBroken     = 70 // what went wrong is the last line of stderr
	exitClaimed    = 75
	exitSuperseded = 76
)

// start prepares a run's directory and starts its wrapper, in a session of its
// own so that it outlives this process. It returns nil once the wrapper has
// claimed the run, errClaimed if another has, errSuperseded if this subscription
// is not the last, and any other error if the run can't be executed and wasn't.
func (l *localCluster) start(ctx context.Context, box sandbox, id string, task *mesos.TaskInfo, epoch int64) error {
	if err := box.create(id, task); err != nil {
		return fmt.Errorf("prepare run: %w", err)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start wrapper: %w", err)
	}
	defer ready.Close()
	cmd, err := l.startWrapper(box, epoch, theirs)
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start wrapper: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if n, err := ready.Read(make([]byte, 1)); n == 1 || errors.Is(err, os.ErrDeadlineExceeded) {
		// It lives on; reap collects it.
		l.mu.Lock()
		l.children[id] = cmd
		l.mu.Unlock()
		return ctx.Err()
	}
	return wrapperError(box, cmd.Wait())
}

func (l *localCluster) startWrapper(box sandbox, epoch int64, ready *os.File) (*exec.Cmd, error) {
	stdout, err := openOutput(box.path("stdout"))
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := openOutput(box.path("stderr"))
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd := &exec.Cmd{
		Path:        l.opts.wrapper[0],
		Args:        slices.Concat([]string{"chronos"}, l.opts.wrapper[1:], []string{string(box)}),
		Env:         append(wrapperEnviron(os.Environ()), epochVariable+"="+strconv.FormatInt(epoch, 10)),
		Dir:         "/",
		Stdout:      stdout,
		Stderr:      stderr,
		ExtraFiles:  []*os.File{ready},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	return cmd, cmd.Start()
}

func openOutput(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// wrapperError says what the end of a wrapper means that did not claim its run.
func wrapperError(box sandbox, err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return fmt.Errorf("wrapper ended without a claim: %v", err)
	}
	switch exit.ExitCode() {
	case exitClaimed:
		return errClaimed
	case exitSuperseded:
		return errSuperseded
	case exitBroken:
		text, _ := os.ReadFile(box.path("stderr"))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return errors.New(lines[len(lines)-1])
	}
	return fmt.Errorf("wrapper: %w", err)
}

// wrapperEnviron picks what a wrapper needs of our environment: to find programs,
// to fetch, and to talk to docker. The command gets nothing of it but PATH.
func wrapperEnviron(environ []string) []string {
	kept := []string{"GOMAXPROCS=2"}
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
