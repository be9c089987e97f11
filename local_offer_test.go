package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func (m *testMesos) decline(offer mesos.Offer, seconds float64) {
	m.t.Helper()
	m.send(&sched.Call{Type: sched.Call_DECLINE, Decline: &sched.Call_Decline{
		OfferIDs: []mesos.OfferID{offer.ID}, Filters: &mesos.Filters{RefuseSeconds: &seconds},
	}})
}

func (m *testMesos) hasOffer() bool {
	m.seen = append(m.seen, m.events.take()...)
	for _, e := range m.seen {
		if e.Type == sched.Event_OFFERS {
			return true
		}
	}
	return false
}

func offeredAmounts(o mesos.Offer) resources {
	return taskAmounts(&mesos.TaskInfo{Resources: o.Resources})
}

func TestLocalOffersWhatIsFree(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{cpus: 1, mem: 1000, disk: 2000, hostname: "here"})
	first := m.offer()
	if got, want := offeredAmounts(first), (resources{1000, 1000e3, 2000e3}); got != want || first.Hostname != "here" {
		t.Fatalf("first offer = %v of %q, want %v of here", got, first.Hostname, want)
	}
	id := runIDFor("user")
	task := shellTask(id, "sleep 1000")
	task.Resources = resources{250, 300e3, 400e3}.scalars()
	m.accept(first.ID, task)
	m.update(id, mesos.TASK_RUNNING)
	second := m.offer()
	if got, want := offeredAmounts(second), (resources{750, 700e3, 1600e3}); got != want {
		t.Errorf("offer beside a task = %v, want %v", got, want)
	}
	m.kill(id, 0)
	m.end(id)
	m.next("RESCIND", func(e *sched.Event) bool {
		return e.Type == sched.Event_RESCIND && e.Rescind.OfferID == second.ID
	})
	third := m.offer()
	if got, want := offeredAmounts(third), (resources{1000, 1000e3, 2000e3}); got != want {
		t.Errorf("offer after the task = %v, want %v", got, want)
	}
	t.Run("a rescinded offer can still be accepted once", func(t *testing.T) {
		m.accept(second.ID, shellTask(runIDFor("late"), "true"))
		if st := m.end(runIDFor("late")); st.GetState() != mesos.TASK_FINISHED {
			t.Errorf("task on a rescinded offer = %v %q", st.GetState(), st.GetMessage())
		}
		m.accept(second.ID, shellTask(runIDFor("later"), "true"))
		if st := m.end(runIDFor("later")); st.GetState() != mesos.TASK_DROPPED || st.GetReason() != mesos.REASON_INVALID_OFFERS {
			t.Errorf("task on a used offer = %v %v", st.GetState(), st.GetReason())
		}
	})
	t.Run("a task that does not fit is dropped", func(t *testing.T) {
		task := shellTask(runIDFor("big"), "true")
		task.Resources = resources{1001, 0, 0}.scalars()
		m.launch(task)
		if st := m.end(runIDFor("big")); st.GetState() != mesos.TASK_DROPPED {
			t.Errorf("task of 1.001 cpus on 1 = %v", st.GetState())
		}
	})
}

func TestLocalDeclineHoldsOffersBack(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{cpus: 1, mem: 1000, disk: 2000})
	m.decline(m.offer(), 0.05)
	again := m.offer() // after the 50 ms
	m.decline(again, 3600)
	m.reconcile(runIDFor("nothing"))
	m.update(runIDFor("nothing"), mesos.TASK_UNKNOWN)
	if m.hasOffer() {
		t.Error("an offer within the hour for which it was declined")
	}
	m.send(&sched.Call{Type: sched.Call_REVIVE})
	offer := m.offer()
	m.send(&sched.Call{Type: sched.Call_SUPPRESS})
	m.decline(offer, 0)
	m.reconcile(runIDFor("nothing"))
	m.update(runIDFor("nothing"), mesos.TASK_UNKNOWN)
	if m.hasOffer() {
		t.Error("an offer while they are suppressed")
	}
	m.send(&sched.Call{Type: sched.Call_REVIVE})
	m.offer()
}

func TestLocalOfferAfterDeclineWhenMoreComesFree(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{cpus: 1, mem: 1e5, disk: 1e5})
	id := runIDFor("ends")
	m.launch(shellTask(id, "sleep 1000"))
	m.update(id, mesos.TASK_RUNNING)
	m.decline(m.offer(), 3600)
	m.kill(id, 0)
	m.end(id)
	if got := offeredAmounts(m.offer()).cpus; got != 1000 {
		t.Errorf("offer = %d thousandths of a cpu, want all", got)
	}
}

func TestLocalKeepsTheLastRunsOfAJob(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{keep: 2})
	ids := []string{"ct:1000:0:a job:", "ct:2000:0:a job:", "ct:2000:1:a job:x y", "ct:10000:0:a job:"}
	other := "ct:1:0:other:"
	for _, id := range append([]string{other}, ids...) {
		m.launch(shellTask(id, "echo text"))
		m.end(id) // not acknowledged
	}
	for i := range ids {
		m.reconcile(ids[len(ids)-1-i]) // acknowledged out of order
		m.acknowledge(m.end(ids[len(ids)-1-i]))
	}
	has := func(id string) bool { _, ok := m.l.find(id); return ok }
	waitUntil(t, "the older runs are gone", func() bool { return !has(ids[0]) && !has(ids[1]) })
	for _, id := range append([]string{other}, ids[2:]...) {
		if got, err := m.l.output(id, "stdout", 0, 100); string(got.text) != "text\n" || got.size != 5 || err != nil {
			t.Errorf("output(%q) = %q, %d, %v", id, got.text, got.size, err)
		}
	}
	m.reconcile(ids[3])
	if st := m.end(ids[3]); st.GetState() != mesos.TASK_FINISHED {
		t.Errorf("reconciled from the archive = %v", st.GetState())
	}
}

func TestLocalOutput(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("out")
	m.launch(shellTask(id, "printf 0123456789; echo oops >&2; rm -f ../stdin; ln -s /etc/passwd ../link"))
	m.end(id)
	for _, tt := range []struct {
		name   string
		offset int64
		limit  int
		want   string
		size   int64
	}{
		{"stdout", 0, 100, "0123456789", 10},
		{"stdout", 3, 4, "3456", 10},
		{"stdout", -3, 100, "789", 10},
		{"stdout", -30, 2, "01", 10},
		{"stdout", 10, 100, "", 10},
		{"stdout", 11, 100, "", 10},
		{"stdout", 0, -1, "", 10},
		{"stderr", 0, 100, "oops\n", 5},
	} {
		got, err := m.l.output(id, tt.name, tt.offset, tt.limit)
		if string(got.text) != tt.want || got.size != tt.size || got.gap != 0 || err != nil {
			t.Errorf("output(%s, %d, %d) = %q, %d, %v, want %q, %d", tt.name, tt.offset, tt.limit, got.text, got.size, err, tt.want, tt.size)
		}
	}
	for _, bad := range [][2]string{{id, "link"}, {id, "../agent"}, {id, ""}, {"none", "stdout"}, {"../..", "stdout"}} {
		if _, err := m.l.output(bad[0], bad[1], 0, 1); !errors.Is(err, errNotFound) {
			t.Errorf("output(%q, %q) = %v, want %v", bad[0], bad[1], err, errNotFound)
		}
	}
	path := m.l.sandbox(id).path("stdout")
	if err := errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)); err != nil {
		t.Fatal(err)
	}
	if got, err := m.l.output(id, "stdout", 0, 1); err == nil {
		t.Errorf("output through a symbolic link = %q, want an error", got.text)
	}
}

func TestSandboxName(t *testing.T) {
	for _, tt := range []struct{ id, want string }{
		{"ct:1:0:job:", "ct%3A1%3A0%3Ajob%3A"},
		{"a/../b", "a%2F..%2Fb"},
		{"..", "%2E."},
		{"100% ~ü", "100%25%20%7E%C3%BC"},
	} {
		if got := sandboxName(tt.id); got != tt.want {
			t.Errorf("sandboxName(%q) = %q, want %q", tt.id, got, tt.want)
		}
	}
	dir := t.TempDir()
	for _, id := range []string{"ct:1:0:job:", "..", "100% ~ü\x00\xff", strings.Repeat("long ", 51), strings.Repeat("long ", 50) + "lonG "} {
		name := sandboxName(id)
		if len(name) > maxSandboxName || strings.ContainsAny(name, "/\x00") {
			t.Errorf("sandboxName(%q) = %q, no file name", id, name)
		}
		box := sandbox(filepath.Join(dir, name))
		if err := box.create(id, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := box.runID(); got != id || err != nil {
			t.Errorf("runID of %q = %q, %v", id, got, err)
		}
	}
}

func TestLocalAgentIsTheSameForAllInstances(t *testing.T) {
	dir := t.TempDir()
	a, err := newLocal(dir, localOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newLocal(dir, localOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.agent != b.agent || !strings.HasPrefix(a.agent, "local-") || len(a.agent) < 14 {
		t.Errorf("agents = %q and %q", a.agent, b.agent)
	}
	if size := a.total; size.cpus <= 0 || size.mem <= 0 || size.disk <= 0 {
		t.Errorf("size of this machine = %+v", size)
	}
}

func TestLocalKeeperIsNotForUsers(t *testing.T) {
	t.Setenv(keeperVariable, "")
	if code := runKeeper(t.TempDir()); code != exitUsage {
		t.Errorf("runKeeper by hand = %d, want %d", code, exitUsage)
	}
}

func TestLocalCustomExecutorFails(t *testing.T) {
	m := startLocal(t, t.TempDir(), localOptions{})
	task := shellTask(runIDFor("executor"), "true")
	task.Executor = &mesos.ExecutorInfo{Command: task.Command}
	task.Command = nil
	m.launch(task)
	if st := m.end(task.TaskID.Value); st.GetState() != mesos.TASK_FAILED || !strings.Contains(st.GetMessage(), "custom executor") {
		t.Errorf("custom executor = %v %q", st.GetState(), st.GetMessage())
	}
}

// fakeDocker puts a program of that name first in PATH, which writes its arguments
// to a file before it does what script says.
func fakeDocker(t *testing.T, script string) (log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	text := "#!/bin/sh\nfor a; do printf '%s|' \"$a\" >> " + log + "; done; echo >> " + log + "\n" + script
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return log
}

func dockerTask(id, command string) mesos.TaskInfo {
	task := shellTask(id, command)
	ro, rw, host, relative, user, net := mesos.RO, mesos.RW, "/data", "cache", mesos.ContainerInfo_DockerInfo_USER, "net1"
	driver, secret := "rexray", "s3cret"
	task.Command.Environment = &mesos.Environment{Variables: []mesos.Environment_Variable{{Name: "TOKEN", Value: &secret}, {Name: "PATH", Value: &host}}}
	task.Container = &mesos.ContainerInfo{
		Type: mesos.ContainerInfo_DOCKER.Enum(),
		Docker: &mesos.ContainerInfo_DockerInfo{
			Image: "alpine:3", Network: &user, Parameters: []mesos.Parameter{{Key: "label", Value: "a=b"}},
		},
		NetworkInfos: []mesos.NetworkInfo{{Name: &net, PortMappings: []mesos.NetworkInfo_PortMapping{{HostPort: 80, ContainerPort: 8080}}}},
		Volumes: []mesos.Volume{
			{ContainerPath: "/in", HostPath: &host, Mode: &ro},
			{ContainerPath: "rel", HostPath: &relative, Mode: &rw},
			{ContainerPath: "/vol", Mode: &rw, Source: &mesos.Volume_Source{DockerVolume: &mesos.Volume_Source_DockerVolume{Name: "v", Driver: &driver}}},
		},
	}
	return task
}

func TestLocalDockerCommandLine(t *testing.T) {
	log := fakeDocker(t, "echo $TOKEN; exit 4\n")
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("docker")
	m.launch(dockerTask(id, "echo 'a b'"))
	if st := m.end(id); st.GetMessage() != "Command exited with status 4" {
		t.Errorf("docker run = %v %q %s", st.GetState(), st.GetMessage(), m.output(id, "stderr"))
	}
	if out := m.output(id, "stdout"); out != "s3cret\n" {
		t.Errorf("the client's TOKEN = %q", out)
	}
	work := m.l.sandbox(id).path("work")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(string(bytes.TrimSuffix(text, []byte("|\n"))), "|")
	if len(args) > 3 {
		args[3] = strings.TrimRight(args[3], "0123456789abcdef")
	}
	want := "run --rm --name chronos- --cpu-shares 102 --memory 33554432 --volume " + work + ":/mnt/mesos/sandbox " +
		"--env TOKEN --env PATH=/data --env MESOS_SANDBOX --env MESOS_DIRECTORY --network net1 --publish 80:8080 " +
		"--volume /data:/in:ro --volume " + work + "/cache:/mnt/mesos/sandbox/rel:rw --mount type=volume,src=v,dst=/vol,volume-driver=rexray " +
		"--label=a=b --entrypoint /bin/sh alpine:3 -c echo 'a b'"
	if got := strings.Join(args, " "); got != want {
		t.Errorf("docker\n%s, want\n%s", got, want)
	}
}

func TestLocalKillRemovesTheContainer(t *testing.T) {
	log := fakeDocker(t, "[ $1 = run ] || exit 0\ntrap '' TERM\necho > up\nwhile :; do sleep 1; done\n")
	m := startLocal(t, t.TempDir(), localOptions{})
	id := runIDFor("docker")
	m.launch(dockerTask(id, "sleep 1000"))
	waitForFile(t, m.l.sandbox(id).path("work/up"))
	m.kill(id, 10*time.Millisecond)
	if st := m.end(id); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("kill of a container = %v %q", st.GetState(), st.GetMessage())
	}
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "\nkill|chronos-") || !strings.Contains(string(text), "\nrm|--force|chronos-") {
		t.Errorf("docker was called with\n%s", text)
	}
}

func TestLocalContainerFailures(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	m := startLocal(t, t.TempDir(), localOptions{})
	unsupported := dockerTask(runIDFor("mesos"), "true")
	unsupported.Container.Type = mesos.ContainerInfo_MESOS.Enum()
	for _, tt := range []struct {
		task mesos.TaskInfo
		want string
	}{
		{unsupported, "a container of type MESOS needs Mesos; on this machine only DOCKER containers run"},
		{dockerTask(runIDFor("missing"), "true"), `docker is not installed here, but the job wants to run in the image "alpine:3"`},
	} {
		m.launch(tt.task)
		if st := m.end(tt.task.TaskID.Value); st.GetState() != mesos.TASK_FAILED || st.GetMessage() != tt.want {
			t.Errorf("%s = %v %q, want %q", tt.task.TaskID.Value, st.GetState(), st.GetMessage(), tt.want)
		}
	}
}
