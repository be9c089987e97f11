//go:build services

package main

import (
	"os"
	"path/filepath"
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
