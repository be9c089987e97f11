//go:build services

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// publicDir is a directory that other users can reach, as t.TempDir is not.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "chronos-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLocalUnknownUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test changes users: run it as root, as in `sudo go test`")
	}
	m := startLocal(t, t.TempDir(), localOptions{})
	task, name := shellTask(runIDFor("user"), "true"), "no-such-user"
	task.Command.User = &name
	m.launch(task)
	if st := m.end(task.TaskID.Value); st.GetState() != mesos.TASK_FAILED || st.GetMessage() != `run as user "no-such-user": there is no such user` {
		t.Errorf("unknown user = %v %q", st.GetState(), st.GetMessage())
	}
}

func TestLocalRunsAsUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test changes users: run it as root, as in `sudo go test`")
	}
	dir := publicDir(t)
	m := startLocal(t, filepath.Join(dir, "data"), localOptions{})
	if err := os.WriteFile(filepath.Join(dir, "input"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	task, name := shellTask(runIDFor("nobody"), "id -un; echo $HOME $USER; stat -c %U input; echo oops > /dev/stderr; touch mine && cat input"), "nobody"
	task.Command.User = &name
	task.Command.URIs = []mesos.CommandInfo_URI{{Value: filepath.Join(dir, "input")}}
	m.launch(task)
	st := m.end(task.TaskID.Value)
	want := "nobody\n/nonexistent nobody\nnobody\ntext"
	if got := m.output(task.TaskID.Value, "stderr"); got != "oops\n" {
		t.Errorf("stderr as nobody = %q", got)
	}
	if got := m.output(task.TaskID.Value, "stdout"); st.GetState() != mesos.TASK_FINISHED || got != want {
		t.Errorf("as nobody = %v %q %q %q, want %q", st.GetState(), st.GetMessage(), got, m.output(task.TaskID.Value, "stderr"), want)
	}
}

func TestLocalJobsOfOthersHaveNothingOpenButInputAndOutputs(t *testing.T) {
	t.Parallel()
	leaveOpen(t)
	m := startLocal(t, filepath.Join(publicDir(t), "data"), localOptions{})
	task, name := shellTask("", "ls -l /proc/self/fd"), "nobody"
	task.Command.User = &name
	wantNothingOpen(m, "as another user", task)
}

// C libraries cut a larger number to 32 bits, and 2^32 is root again; the largest means no change.
func TestLocalNumbersThatAreNoUser(t *testing.T) {
	t.Parallel()
	for _, number := range []string{"4294967296", "4294967297", "4294967295", "-1", "18446744073709551616"} {
		if account, cred, err := runAs(number); err == nil {
			t.Errorf("runAs(%s) = %v, %v, want an error", number, account, cred)
		}
	}
}

// A job that is root can leave its group, and is found by its descent. One that makes groups of its own ends with them.
func TestLocalRootJobEndsWhateverItDoesToItsGroup(t *testing.T) {
	t.Parallel()
	m := startLocal(t, t.TempDir(), localOptions{})
	if m.l.groups == "" {
		t.Fatal("no control groups of version 2 can be made here: run this as root")
	}
	id := runIDFor("leaver")
	group := string(m.l.group(m.l.sandbox(id)))
	m.launch(shellTask(id, `echo $PPID > keeper
mkdir `+group+`/own && setsid sh -c 'echo $$ > `+group+`/own/cgroup.procs; echo $$ >> pids; exec sleep 1000' &
setsid sh -c 'echo $$ > `+filepath.Dir(filepath.Dir(group))+`/cgroup.procs; echo $$ >> pids; exec sleep 1000' &
until [ "$(wc -l < pids)" -ge 2 ]; do sleep 0.01; done; mv pids all; exec sleep 1000`))
	pids := strings.Fields(waitForFile(t, m.l.sandbox(id).path("work/all")))
	m.kill(id, 0)
	if st := m.end(id); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("killed = %v %s", st.GetState(), st.GetMessage())
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %s is alive after the end", pid)
		}
	}
	if _, err := os.Stat(group); !os.IsNotExist(err) {
		t.Errorf("the group is still there: %v", err)
	}
}

// A job gets no file that its user can't read, though the program can.
func TestLocalFetchesAsTheJobsUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test changes users: run it as root, as in `sudo go test`")
	}
	dir := publicDir(t)
	m := startLocal(t, filepath.Join(dir, "data"), localOptions{})
	for file, mode := range map[string]os.FileMode{"open": 0o644, "closed": 0o600, "group": 0o640} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("text"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, file), mode); err != nil {
			t.Fatal(err)
		}
	}
	nobody, _, err := runAs("nobody")
	if err != nil {
		t.Fatal(err)
	}
	gid, err := parseID(nobody.Gid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "group"), 0, int(gid)); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]mesos.TaskState{"open": mesos.TASK_FINISHED, "group": mesos.TASK_FINISHED, "closed": mesos.TASK_FAILED} {
		task, name := shellTask(runIDFor("fetch-"+file), "cat "+file), "nobody"
		task.Command.User = &name
		task.Command.URIs = []mesos.CommandInfo_URI{{Value: "file://" + filepath.Join(dir, file)}}
		m.launch(task)
		if st := m.end(task.TaskID.Value); st.GetState() != want {
			t.Errorf("a file with what %q allows, as nobody = %v %q, want %v", file, st.GetState(), st.GetMessage(), want)
		}
	}
	task := shellTask(runIDFor("fetch-root"), "cat closed")
	task.Command.URIs = []mesos.CommandInfo_URI{{Value: filepath.Join(dir, "closed")}}
	m.launch(task)
	if st := m.end(task.TaskID.Value); st.GetState() != mesos.TASK_FINISHED {
		t.Errorf("as ourselves = %v %q, want it to be read", st.GetState(), st.GetMessage())
	}
}
