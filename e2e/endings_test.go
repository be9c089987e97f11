package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A straggler is a run that starts a process in a session of its own, and how it is ended.
type straggler struct {
	*instance
	keeper int
	nap    string // of all its processes, which sleep so long, and of no other
}

// startStraggler runs a job whose processes are in two sessions and, if lost, one that has neither a parent nor an
// environment that tells of the run, so that only its control group does.
func startStraggler(t *testing.T, v *instance, dir, more string, lost bool) straggler {
	t.Helper()
	s := straggler{instance: v, nap: fmt.Sprintf("%d.%d", 100_000+os.Getpid(), time.Now().UnixNano()%1e9)}
	command := fmt.Sprintf("setsid sleep %s & sleep %s", s.nap, s.nap)
	want := 2
	if lost {
		command = fmt.Sprintf("(env -i setsid sh -c 'sleep %s & sleep %s' &) ; ", s.nap, s.nap) + command
		want = 4
	}
	file := filepath.Join(dir, "keeper")
	v.runOnce(t, "straggler", fmt.Sprintf("cat /proc/self/cgroup; echo $PPID > %s; %s", file, command), more)
	v.until(t, "all processes of the run are there", func() bool { return len(sleepers(s.nap)) == want })
	v.until(t, "the run is active", func() bool {
		open, _ := v.runs(t, "straggler")
		return len(open) == 1 && open[0].State == "active"
	})
	s.keeper = readNumber(t, file)
	return s
}

// sleepers lists the processes that sleep so long.
func sleepers(nap string) (pids []string) {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if pid := filepath.Base(filepath.Dir(name)); err == nil && string(text) == "sleep\x00"+nap+"\x00" && isAlive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s straggler) killKeeper(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(s.keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

var endings = []struct {
	name string
	more string // of the job's document
	end  func(*testing.T, straggler, *exec.Cmd)
	want string // state and reason
}{
	{"killed", "", func(t *testing.T, s straggler, _ *exec.Cmd) {
		s.mustCall(t, "DELETE", "/scheduler/task/kill/straggler", "", 204)
	}, "killed: killed by request"},
	{"out of time", `,"maxCompletionTime":2`, func(*testing.T, straggler, *exec.Cmd) {}, "failed: over its time limit of 2 s"},
	{"keeper killed", "", func(t *testing.T, s straggler, _ *exec.Cmd) { s.killKeeper(t) }, "lost: the machine was restarted, or the process that watched over the run was killed"},
	{"leader killed", "", func(t *testing.T, s straggler, again *exec.Cmd) {
		s.kill()
		s.run(t, again)
		s.serves(t)
		if len(sleepers(s.nap)) == 0 {
			t.Error("the run has ended with the leader")
		}
		s.mustCall(t, "DELETE", "/scheduler/task/kill/straggler", "", 204)
	}, "killed: killed by request"},
	{"leader and keeper killed", "", func(t *testing.T, s straggler, again *exec.Cmd) {
		s.kill()
		s.killKeeper(t)
		s.run(t, again)
		s.serves(t)
	}, "lost: the machine was restarted, or the process that watched over the run was killed"},
	{"deleted", "", func(t *testing.T, s straggler, _ *exec.Cmd) {
		s.mustCall(t, "DELETE", "/scheduler/job/straggler", "", 204)
	}, ""},
}

// Whatever ends a run, nothing that it has started lives on, and history says what was the case.
func TestNothingOfARunOutlivesItsEnd(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"root with control groups", "another user without"} {
		for _, e := range endings {
			t.Run(user+", "+e.name, func(t *testing.T) {
				t.Parallel()
				v := newInstance(t, "log")
				var dir string
				var cmds [2]*exec.Cmd
				if grouped := strings.HasPrefix(user, "root"); grouped {
					dir = t.TempDir()
					for i := range cmds {
						cmds[i] = exec.Command(program(), append(v.args, "--data_dir", filepath.Join(dir, "data"))...)
					}
				} else {
					cmds[0], dir = v.asOther(t, "")
					cmds[0].Args = append(cmds[0].Args, "--data_dir", filepath.Join(dir, "data"))
					cmds[1] = exec.Command(cmds[0].Path, cmds[0].Args[1:]...)
					cmds[1].SysProcAttr = cmds[0].SysProcAttr
				}
				v.run(t, cmds[0])
				v.serves(t)
				s := startStraggler(t, v, dir, e.more, strings.HasPrefix(user, "root"))
				wantGroup(t, s, strings.HasPrefix(user, "root"))
				e.end(t, s, cmds[1])
				if e.want != "" {
					run := v.awaitEnd(t, "straggler", 1)
					if got := run.State + ": " + run.Reason; !strings.HasPrefix(got, e.want) {
						t.Errorf("the run ended as %q, want %q", got, e.want)
					}
				}
				v.until(t, "nothing of the run lives", func() bool { return len(sleepers(s.nap)) == 0 })
				v.until(t, "the control group is gone", func() bool { return !hasGroup(s) })
				v.terminate(t)
			})
		}
	}
}

// groupOf is the control group of version 2 of a process.
func groupOf(pid string) string {
	text, _ := os.ReadFile("/proc/" + pid + "/cgroup")
	for line := range strings.Lines(string(text)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return group
		}
	}
	return ""
}

// wantGroup holds the processes of a run against having a control group of their own.
func wantGroup(t *testing.T, s straggler, want bool) {
	t.Helper()
	for _, pid := range sleepers(s.nap) {
		if got := strings.Contains(groupOf(pid), "/chronos-runs/"); got != want {
			t.Errorf("process %s is in the control group %q", pid, groupOf(pid))
		}
	}
	if own := groupOf(strconv.Itoa(s.keeper)); strings.Contains(own, "/chronos-runs/") {
		t.Errorf("the keeper is in the control group %q", own)
	}
}

// hasGroup reports whether a run of the straggler's instance has a control group.
func hasGroup(s straggler) bool {
	agent, err := os.ReadFile(filepath.Join(s.dataDir(), "agent"))
	if err != nil {
		return false
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/chronos-runs/" + strings.TrimSpace(string(agent)) + ".*")
	more, _ := filepath.Glob("/sys/fs/cgroup/chronos-runs/" + strings.TrimSpace(string(agent)) + ".*")
	return len(groups)+len(more) > 0
}

func (s straggler) dataDir() string {
	args := s.cmd.Args
	return args[len(args)-1]
}
