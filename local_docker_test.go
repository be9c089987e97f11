package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

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

// What this machine can never run is refused when the job is posted, with what a run would fail with.
func TestJobsThatCannotRunHereAreRefused(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	l, _ := subscribedLocal(t)
	at := newSeat("self:1")
	at.follow(at.id, instance{})
	at.take(testScheduler(t))
	web := httptest.NewServer(newAPI(apiOptions{
		serverOptions: serverOptions{current: at.current, leader: at.known, changed: at.changed, id: at.id}, accepts: l.accepts,
	}))
	defer web.Close()
	for name, tt := range map[string]struct{ more, want string }{
		"a command":               {`"command":"true"`, ""},
		"an executor":             {`"command":"true","executor":"/opt/run"`, "a custom executor needs Mesos"},
		"an image without docker": {`"command":"true","container":{"type":"DOCKER","image":"busybox"}`, `docker is not installed here, but the job wants to run in the image "busybox"`},
		"a container of Mesos":    {`"command":"true","container":{"type":"MESOS","image":"busybox"}`, "a container of type MESOS needs Mesos"},
	} {
		res, text := ask(t, "POST", web.URL+"/scheduler/iso8601", `{"name":"a","schedule":"R/2090-01-01T00:00:00Z/P1D",`+tt.more+`}`, "Content-Type", typeJSON)
		want := http.StatusBadRequest
		if tt.want == "" {
			want = http.StatusNoContent
		}
		if res.StatusCode != want || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %q, want %d %q", name, res.StatusCode, text, want, tt.want)
		}
	}
}
