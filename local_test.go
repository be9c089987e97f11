package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// instanceWord makes the test binary an instance that can be killed; see runInstance.
const instanceWord = "__instance"

// TestMain makes the test binary the keeper of the runs that tests start, like
// the real one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == keeperWord {
		os.Exit(runKeeper(os.Args[2]))
	}
	if len(os.Args) > 3 && os.Args[1] == instanceWord {
		os.Exit(runInstance(os.Args[2], os.Args[3:]))
	}
	if err := os.MkdirAll(buildDir, 0o777); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(status)
}

// testKeeper starts the test binary. Under -cover, a process would complain of a missing
// directory. Under -race, a process would sleep for a
// second at its end.
var testKeeper = []string{"/usr/bin/env", "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + buildDir, testBinary(), keeperWord}

func testBinary() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// testMesos is a scheduler's view of a localCluster: it keeps the events.
type testMesos struct {
	t      *testing.T
	l      *localCluster
	events *mailbox[*sched.Event]
	seen   []*sched.Event // taken from events, not yet asked for
	stop   context.CancelFunc
	ended  chan error
}

// startLocal subscribes to a data directory until the test ends or stop is called.
func startLocal(t *testing.T, dir string, opts localOptions) *testMesos {
	t.Helper()
	return startLocalTerm(t, dir, opts, termID{})
}

func startLocalTerm(t *testing.T, dir string, opts localOptions, term termID) *testMesos {
	t.Helper()
	if opts.keeper == nil {
		opts.keeper = testKeeper
	}
	l, err := newLocal(dir, opts, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	l.enter(term)
	ctx, stop := context.WithCancel(context.Background())
	m := &testMesos{t: t, l: l, events: newMailbox[*sched.Event](), stop: stop, ended: make(chan error, 1)}
	go func() {
		m.ended <- l.run(ctx, "", func(e *sched.Event) { m.events.put(e) })
		close(m.ended)
	}()
	t.Cleanup(func() {
		stop()
		<-m.ended
	})
	m.next("SUBSCRIBED", func(e *sched.Event) bool { return e.Type == sched.Event_SUBSCRIBED })
	return m
}

// next returns the first event not yet returned that matches; others stay.
func (m *testMesos) next(what string, match func(*sched.Event) bool) *sched.Event {
	m.t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		for i, e := range m.seen {
			if match(e) {
				m.seen = append(m.seen[:i:i], m.seen[i+1:]...)
				return e
			}
		}
		select {
		case <-m.events.ready:
			m.seen = append(m.seen, m.events.take()...)
		case <-timeout:
			m.t.Fatalf("no event: %s; there are %v", what, m.seen)
		}
	}
}

// offer returns the last offer there is, waiting for one.
func (m *testMesos) offer() mesos.Offer {
	m.t.Helper()
	isOffer := func(e *sched.Event) bool { return e.Type == sched.Event_OFFERS }
	e := m.next("OFFERS", isOffer)
	for _, later := range m.seen {
		if isOffer(later) {
			e = m.next("OFFERS", isOffer)
		}
	}
	return e.Offers.Offers[0]
}

// update returns the next update of a task in one of the states.
func (m *testMesos) update(id string, states ...mesos.TaskState) mesos.TaskStatus {
	m.t.Helper()
	e := m.next(fmt.Sprintf("update of %s to %v", id, states), func(e *sched.Event) bool {
		if e.Type != sched.Event_UPDATE || e.Update.Status.TaskID.Value != id {
			return false
		}
		for _, s := range states {
			if e.Update.Status.GetState() == s {
				return true
			}
		}
		return false
	})
	return e.Update.Status
}

var endStates = []mesos.TaskState{
	mesos.TASK_FINISHED, mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_LOST, mesos.TASK_ERROR, mesos.TASK_DROPPED,
}

func (m *testMesos) end(id string) mesos.TaskStatus {
	m.t.Helper()
	return m.update(id, endStates...)
}

func (m *testMesos) send(call *sched.Call) {
	m.t.Helper()
	done := make(chan error, 1)
	m.l.send(call, func(err error) { done <- err })
	if err := <-done; err != nil {
		m.t.Fatalf("send(%v) = %v", call.Type, err)
	}
}

func (m *testMesos) launch(tasks ...mesos.TaskInfo) {
	m.t.Helper()
	m.accept(m.offer().ID, tasks...)
}

func (m *testMesos) accept(offer mesos.OfferID, tasks ...mesos.TaskInfo) {
	m.t.Helper()
	for i := range tasks {
		tasks[i].AgentID = mesos.AgentID{Value: m.l.agent}
	}
	m.send(&sched.Call{Type: sched.Call_ACCEPT, Accept: &sched.Call_Accept{
		OfferIDs: []mesos.OfferID{offer},
		Operations: []mesos.Offer_Operation{{
			Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: tasks},
		}},
	}})
}

func (m *testMesos) kill(id string, grace time.Duration) {
	m.t.Helper()
	m.send(&sched.Call{Type: sched.Call_KILL, Kill: &sched.Call_Kill{
		TaskID:     mesos.TaskID{Value: id},
		KillPolicy: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(grace)}},
	}})
}

func (m *testMesos) reconcile(ids ...string) {
	m.t.Helper()
	call := &sched.Call{Type: sched.Call_RECONCILE, Reconcile: new(sched.Call_Reconcile)}
	for _, id := range ids {
		call.Reconcile.Tasks = append(call.Reconcile.Tasks, sched.Call_Reconcile_Task{TaskID: mesos.TaskID{Value: id}})
	}
	m.send(call)
}

func (m *testMesos) acknowledge(st mesos.TaskStatus) {
	m.t.Helper()
	m.send(&sched.Call{Type: sched.Call_ACKNOWLEDGE, Acknowledge: &sched.Call_Acknowledge{
		AgentID: *st.AgentID, TaskID: st.TaskID, UUID: st.UUID,
	}})
}

func (m *testMesos) output(id, name string) string {
	m.t.Helper()
	piece, err := m.l.output(id, name, 0, maxOutput)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(piece.text)
}

// shellTask is a task of 0.1 cpus that runs a shell command.
func shellTask(id, command string) mesos.TaskInfo {
	return mesos.TaskInfo{
		Name: "ChronosTask:test", TaskID: mesos.TaskID{Value: id},
		Resources: resources{100, 1000, 1000}.scalars(),
		Command:   &mesos.CommandInfo{Value: &command},
	}
}

func execTask(id, program string, args ...string) mesos.TaskInfo {
	task, shell := shellTask(id, program), false
	task.Command.Shell, task.Command.Arguments = &shell, args
	return task
}

func runIDFor(name string) string { return "ct:1420843781398:0:" + name + ":" }

func waitForFile(t *testing.T, path string) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(path); err == nil && bytes.HasSuffix(text, []byte("\n")) {
			return strings.TrimSpace(string(text))
		}
	}
	t.Fatalf("no file %s", path)
	return ""
}

func TestLocalCommandEnds(t *testing.T) {
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
		{"no-command", mesos.TaskInfo{Resources: resources{100, 1000, 1000}.scalars()}, mesos.TASK_FAILED, "the task has neither a command nor a container", nil, ""},
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

func TestLocalStartsItsOwnBinary(t *testing.T) {
	self, err := ownBinary()
	if err != nil {
		t.Fatal(err)
	}
	m := startLocal(t, t.TempDir(), localOptions{keeper: []string{self, keeperWord}})
	id := runIDFor("self")
	m.launch(shellTask(id, `tr '\0' ' ' < /proc/$PPID/cmdline`))
	m.end(id)
	if got, want := m.output(id, "stdout"), "chronos __keep "+m.l.dir+" "; got != want {
		t.Errorf("keeper = %q, want %q", got, want)
	}
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

func TestLocalUnknownUser(t *testing.T) {
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

func TestLocalRunsAsUser(t *testing.T) {
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

// C libraries cut a larger number to 32 bits, and 2^32 is root again; the largest means no change.
func TestLocalNumbersThatAreNoUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("who is not root stays what they are, whatever user is named")
	}
	for _, number := range []string{"4294967296", "4294967297", "4294967295", "-1", "18446744073709551616"} {
		if account, cred, err := runAs(number); err == nil {
			t.Errorf("runAs(%s) = %v, %v, want an error", number, account, cred)
		}
	}
}

// Jobs that run as somebody else reach their working directories, whoever made the way there, and
// whatever umask is for the files of jobs.
func TestLocalMakesTheWayToSandboxesPassable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "data")
	if err := makePassable(dir); err != nil {
		t.Fatal(err)
	}
	st, err := openFileStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	m := startLocal(t, dir, localOptions{})
	m.launch(shellTask("ct:1:0:j:", "sleep 1000"))
	m.update("ct:1:0:j:", mesos.TASK_RUNNING)
	for _, sub := range []string{"", "runs", "ended", string(m.l.sandbox("ct:1:0:j:"))} {
		at := sub
		if !filepath.IsAbs(sub) {
			at = filepath.Join(dir, sub)
		}
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o711 {
			t.Errorf("%s: %v, %v, want mode 0711", at, info.Mode(), err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && f.Name() != "subscription" && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others may read it", f.Name(), info.Mode())
		}
	}
}

func TestSandboxNamesAreShortWhateverTheID(t *testing.T) {
	for _, tt := range []struct{ id, want string }{
		{"ct:1:0:a b:", "ct%3A1%3A0%3Aa%20b%3A"}, {".x", "%2Ex"}, {"", ""}, {"ü", "%C3%BC"},
		{strings.Repeat("x", maxSandboxName), strings.Repeat("x", maxSandboxName)},
	} {
		if got := sandboxName(tt.id); got != tt.want {
			t.Errorf("sandboxName(%q) = %q, want %q", tt.id, got, tt.want)
		}
	}
	for _, id := range []string{strings.Repeat(":", 60_000), strings.Repeat("x", maxSandboxName+1)} {
		var name string
		if n := testing.AllocsPerRun(1, func() { name = sandboxName(id) }); len(name) > maxSandboxName || n > 10 {
			t.Errorf("sandboxName of %d bytes has %d, made with %v allocations", len(id), len(name), n)
		}
	}
}

func TestLocalMaxCompletionTime(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{})
	task := shellTask(runIDFor("slow"), "sleep 1000")
	task.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: int64(100 * time.Millisecond)}
	m.launch(task)
	st := m.end(task.TaskID.Value)
	if st.GetState() != mesos.TASK_FAILED || st.GetReason() != mesos.REASON_MAX_COMPLETION_TIME_REACHED {
		t.Errorf("after 100ms = %v %v %q", st.GetState(), st.GetReason(), st.GetMessage())
	}
}

// alive reports whether a process runs: a zombie does not.
func alive(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func TestLocalKillEndsTheGroupThatIgnoresSIGTERM(t *testing.T) {
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
