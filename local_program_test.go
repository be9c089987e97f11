package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestLocalCommandEnds(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	three, zero := 3, 0
	for _, tt := range []struct {
		name    string
		task    mesos.TaskInfo
		state   mesos.TaskState
		message string
		exit    *int
		stdout  string
	}{
		{"shell", shellTask("", "echo hello; exit 0"), mesos.TASK_FINISHED, "Command exited with status 0", &zero, "hello\n"},
		{"status", shellTask("", "exit 3"), mesos.TASK_FAILED, "Command exited with status 3", &three, ""},
		{"signal", shellTask("", "kill -9 $$"), mesos.TASK_FAILED, "Command terminated with signal killed, not sent by chronos; perhaps the kernel ran out of memory", nil, ""},
		{"argv", execTask("", "echo", "echo", "one", "two words"), mesos.TASK_FINISHED, "Command exited with status 0", &zero, "one two words\n"},
		{"argv0", execTask("", "/bin/sh", "-", "-c", "echo $0"), mesos.TASK_FINISHED, "Command exited with status 0", &zero, "-\n"},
		{"no-arguments", execTask("", "true"), mesos.TASK_FINISHED, "Command exited with status 0", &zero, ""},
		{"not-found", execTask("", "no-such-program"), mesos.TASK_FAILED, `start command "no-such-program": not found in PATH`, nil, ""},
		{"no-command", mesos.TaskInfo{Resources: scalarsOf(resources{100, 1000, 1000})}, mesos.TASK_FAILED, "the task has neither a command nor a container", nil, ""},
		{"left-behind", shellTask("", "setsid sleep 1000 & sleep 1000 & echo ok"), mesos.TASK_FINISHED, "Command exited with status 0", &zero, "ok\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.t = t
			id := runIDFor(tt.name)
			tt.task.TaskID.Value = id
			m.launch(tt.task)
			m.update(id, mesos.TASK_RUNNING)
			st := m.end(id)
			if st.GetState() != tt.state || st.GetMessage() != tt.message {
				t.Errorf("run(%s) = %v %q, want %v %q", tt.name, st.GetState(), st.GetMessage(), tt.state, tt.message)
			}
			status := m.l.sandbox(id).status()
			if (status.Exit == nil) != (tt.exit == nil) || tt.exit != nil && *status.Exit != *tt.exit {
				t.Errorf("exit of %s = %v, want %v", tt.name, status.Exit, tt.exit)
			}
			if got := m.output(id, "stdout"); got != tt.stdout {
				t.Errorf("stdout of %s = %q, want %q", tt.name, got, tt.stdout)
			}
		})
	}
	m.t = t
}

func TestLocalEnvironmentIsTheTasksOwn(t *testing.T) {
	t.Setenv("CHRONOS_TEST_SECRET", "hidden")
	m := startLocal(t, t.TempDir(), localOptions{})
	task := shellTask(runIDFor("env"), "pwd; env | LC_ALL=C sort")
	one, path := "one\ntwo", "/bin:/usr/bin"
	task.Command.Environment = &mesos.Environment{Variables: []mesos.Environment_Variable{{Name: "A", Value: &one}, {Name: "PATH", Value: &path}}}
	m.launch(task)
	m.end(task.TaskID.Value)
	work := m.l.sandbox(task.TaskID.Value).path("work")
	self, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{work, "A=one", "HOME=" + self.HomeDir, "LOGNAME=" + self.Username, "MESOS_DIRECTORY=" + work,
		"MESOS_SANDBOX=" + work, "PATH=/bin:/usr/bin", "PWD=" + work, "USER=" + self.Username, "two", ""}, "\n")
	if got := m.output(task.TaskID.Value, "stdout"); got != want {
		t.Errorf("environment = %s, want %s", got, want)
	}
}

func TestLocalMaxCompletionTime(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	task := shellTask(runIDFor("slow"), "sleep 1000")
	task.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: int64(100 * time.Millisecond)}
	m.launch(task)
	st := m.end(task.TaskID.Value)
	if st.GetState() != mesos.TASK_FAILED || st.GetReason() != mesos.REASON_MAX_COMPLETION_TIME_REACHED {
		t.Errorf("after 100ms = %v %v %q", st.GetState(), st.GetReason(), st.GetMessage())
	}
}

func TestLocalKillEndsTheGroupThatIgnoresSIGTERM(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("stubborn")
	m.launch(shellTask(id, `trap "" TERM
		sh -c 'trap "" TERM; echo $$ > child; while :; do sleep 1; done' &
		setsid sh -c 'trap "" TERM; echo $$ > runaway; while :; do sleep 1; done' &
		while :; do sleep 1; done`))
	m.update(id, mesos.TASK_RUNNING)
	work := m.l.sandbox(id).path("work")
	child, runaway := waitForFile(t, work+"/child"), waitForFile(t, work+"/runaway")
	m.kill(id, 50*time.Millisecond)
	if st := m.end(id); st.GetState() != mesos.TASK_KILLED || st.GetMessage() != "Command terminated with signal killed" {
		t.Errorf("kill = %v %q", st.GetState(), st.GetMessage())
	}
	for _, pid := range []string{child, runaway} {
		if alive(pid) {
			t.Errorf("process %s is alive after the end of its run", pid)
		}
	}
}

func TestLocalKillLetsTheCommandCleanUp(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("polite")
	m.launch(shellTask(id, `trap "echo cleaned; exit 0" TERM; echo > ready; while :; do sleep 0.01; done`))
	waitForFile(t, m.l.sandbox(id).path("work/ready"))
	m.kill(id, time.Hour)
	if st, out := m.end(id), m.output(id, "stdout"); st.GetState() != mesos.TASK_KILLED || out != "cleaned\n" {
		t.Errorf("kill = %v %q, stdout %q", st.GetState(), st.GetMessage(), out)
	}
}

func TestLocalKillBeforeTheClaimForbidsTheRun(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("early")
	m.kill(id, 0)
	if st := m.end(id); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("kill of what nobody started = %v, want TASK_KILLED", st.GetState())
	}
	// The same from a late launch: the answer stays, the command does not start.
	mark := filepath.Join(t.TempDir(), "mark")
	m.launch(shellTask(id, "touch "+mark))
	if st := m.end(id); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("launch after kill = %v, want TASK_KILLED", st.GetState())
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a run that was killed before it started has run")
	}
}

func TestLocalKillOfPendingTasks(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{cpus: 100, mem: 1e6, disk: 1e6})
	var tasks []mesos.TaskInfo
	for i := range 40 {
		tasks = append(tasks, shellTask(runIDFor(fmt.Sprint("job", i)), "sleep 1000"))
	}
	m.launch(tasks...)
	for _, task := range tasks {
		m.kill(task.TaskID.Value, 0)
	}
	for _, task := range tasks {
		if st := m.end(task.TaskID.Value); st.GetState() != mesos.TASK_KILLED {
			t.Errorf("kill of %s = %v %q", task.TaskID.Value, st.GetState(), st.GetMessage())
		}
	}
	for o := m.offer(); o.Resources[0].Scalar.Value != 100; {
		o = m.offer()
	}
}
