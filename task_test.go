package main

import (
	"reflect"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestRunID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		job  string
		args string
		want string
	}{
		{"without arguments", "sample-name", "", "ct:1420843781398:0:sample-name:"},
		{"with arguments", "a", "x y:z", "ct:1420843781398:0:a:x y:z"},
		{"semicolons go", "a", "x; rm y", "ct:1420843781398:0:a:x rm y"},
		{"a slash is illegal in a task id", "a", "/tmp", "ct:1420843781398:0:a:"},
		{"so is a backslash", "a", `\tmp`, "ct:1420843781398:0:a:"},
		{"and a newline", "a", "x\ny", "ct:1420843781398:0:a:"},
		{"and bytes that are no text", "a", "x\xff", "ct:1420843781398:0:a:"},
		{"and more than 255 bytes", "a", strings.Repeat("x", 250), "ct:1420843781398:0:a:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := runID(1420843781398, 0, tt.job, tt.args); got != tt.want {
				t.Errorf("runID(%q, %q) = %q, want %q", tt.job, tt.args, got, tt.want)
			}
		})
	}
}

func TestParseRunID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		id      string
		due     int64
		attempt int
		job     string
		args    string
		ok      bool
	}{
		{"ct:1420843781398:0:sample-name:", 1420843781398, 0, "sample-name", "", true},
		{"ct:1420843781398:2:my job#1:a:b c", 1420843781398, 2, "my job#1", "a:b c", true},
		{"ct:5:0:plain", 5, 0, "plain", "", true},
		{"ct:5:0::x", 0, 0, "", "", false},
		{"ct:-5:0:a:", 0, 0, "", "", false},
		{"ct:5:+1:a:", 0, 0, "", "", false},
		{"ct:99999999999999999999:0:a:", 0, 0, "", "", false},
		{"ct:5:0", 0, 0, "", "", false},
		{"xct:5:0:a:", 0, 0, "", "", false},
		{"", 0, 0, "", "", false},
	}
	for _, tt := range tests {
		due, attempt, job, args, ok := parseRunID(tt.id)
		if due != tt.due || attempt != tt.attempt || job != tt.job || args != tt.args || ok != tt.ok {
			t.Errorf("parseRunID(%q) = %d, %d, %q, %q, %v, want %d, %d, %q, %q, %v", tt.id,
				due, attempt, job, args, ok, tt.due, tt.attempt, tt.job, tt.args, tt.ok)
		}
	}
}

// sampleRun is a run and a place for it, as used by the tests below.
func sampleRun() (*Run, placement) {
	return &Run{ID: "ct:1420843781398:1:nightly:", Job: "nightly", Due: 1420843781398, Attempt: 1},
		placement{
			offerIDs: []string{"O1"}, agentID: "S1", hostname: "agent1",
			resources: []mesos.Resource{scalar("cpus", 0.1, "*")},
		}
}

// scalar is an offered resource in the old format.
func scalar(name string, value float64, role string) mesos.Resource {
	return mesos.Resource{
		Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: value}, Role: &role,
	}
}

func TestTaskInfoCommand(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		job       Job
		args      string // one-off arguments, if not ""
		value     string
		shell     *bool
		arguments []string
		uris      []string
	}{
		{name: "plain", job: Job{Command: "echo hi", Shell: true}, value: "echo hi", shell: new(true)},
		{name: "own arguments follow the command in a shell",
			job: Job{Command: "echo", Shell: true, Arguments: []string{"a", "b;"}}, value: "echo a b", shell: new(true)},
		{name: "one-off arguments replace them",
			job: Job{Command: "echo", Shell: true, Arguments: []string{"a"}}, args: "x y;z", value: "echo x yz", shell: new(true)},
		{name: "without a shell they stay a list (#567)",
			job: Job{Command: "/bin/echo", Arguments: []string{"echo", "a b"}}, value: "/bin/echo", shell: new(false),
			arguments: []string{"echo", "a b"}},
		{name: "one-off arguments are split into the list",
			job: Job{Command: "/bin/echo", Arguments: []string{"echo"}}, args: "echo x  y", value: "/bin/echo", shell: new(false),
			arguments: []string{"echo", "x", "y"}},
		{name: "a container may bring its own command (#778)",
			job: Job{Container: &Container{Image: "i"}}, shell: new(false)},
		{name: "an address is fetched and run",
			job:   Job{Command: "http://x/y/run.sh", URIs: []string{"http://ignored"}, Shell: true},
			value: `"./run.sh"`, uris: []string{"http://x/y/run.sh"}},
		{name: "its arguments do not become part of the address",
			job: Job{Command: "ftp://x/run.sh", Shell: true}, args: "-v", value: `"./run.sh" -v`, uris: []string{"ftp://x/run.sh"}},
		{name: "a program called httpd is none",
			job: Job{Command: "httpd -k start", Shell: true}, value: "httpd -k start", shell: new(true)},
		{name: "a uri also named by fetch is fetched once",
			job: Job{Command: "a", Shell: true, Fetch: []Fetch{{URI: "u1"}}, URIs: []string{"u1", "u2"}}, value: "a",
			shell: new(true), uris: []string{"u1", "u2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, p := sampleRun()
			r.Args, r.HasArgs = tt.args, tt.args != ""
			c := taskInfo(&tt.job, r, p).Command
			if c.GetValue() != tt.value || !reflect.DeepEqual(c.Shell, tt.shell) || !reflect.DeepEqual(c.Arguments, tt.arguments) {
				t.Errorf("command = %q, shell %v, arguments %q, want %q, %v, %q",
					c.GetValue(), c.Shell, c.Arguments, tt.value, tt.shell, tt.arguments)
			}
			var uris []string
			for _, u := range c.URIs {
				uris = append(uris, u.Value)
			}
			if !reflect.DeepEqual(uris, tt.uris) {
				t.Errorf("uris = %q, want %q", uris, tt.uris)
			}
		})
	}
}

func TestTaskInfoEnvironment(t *testing.T) {
	t.Parallel()
	j := &Job{
		Name: "nightly", Owner: "a@x,b@x", CPUs: 0.1, Mem: 128, Disk: 1e7, Shell: true,
		Env: []EnvVar{{"A", "1"}, {"HOST", "mine"}, {"A", "2"}, {"B", ""}},
	}
	r, p := sampleRun()
	var got []EnvVar
	for _, v := range taskInfo(j, r, p).Command.Environment.Variables {
		got = append(got, EnvVar{v.Name, v.GetValue()})
	}
	want := []EnvVar{
		{"mesos_task_id", r.ID}, {"MESOS_TASK_ID", r.ID}, {"CHRONOS_JOB_OWNER", "a@x,b@x"}, {"CHRONOS_JOB_NAME", "nightly"},
		{"HOST", "agent1"}, {"CHRONOS_RESOURCE_MEM", "128.0"}, {"CHRONOS_RESOURCE_CPU", "0.1"}, {"CHRONOS_RESOURCE_DISK", "1.0E7"},
		{"CHRONOS_JOB_RUN_TIME", "1420843781398"}, {"CHRONOS_JOB_RUN_ATTEMPT", "1"}, {"A", "1"}, {"B", ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("environment = %q, want %q", got, want)
	}
}

func TestTaskInfoOfAJob(t *testing.T) {
	t.Parallel()
	j := &Job{Name: "nightly", Command: "x", Shell: true, RunAsUser: "bob", MaxCompletionTime: 90,
		Fetch: []Fetch{{URI: "u", Executable: true, Cache: true, OutputFile: "f"}}}
	r, p := sampleRun()
	info := taskInfo(j, r, p)
	if info.Name != "ChronosTask:nightly" || info.TaskID.Value != r.ID || info.AgentID.Value != "S1" {
		t.Errorf("taskInfo names %q, %q, %q", info.Name, info.TaskID.Value, info.AgentID.Value)
	}
	if !reflect.DeepEqual(info.Resources, p.resources) {
		t.Errorf("resources = %v, want those of the placement %v", info.Resources, p.resources)
	}
	if got := info.MaxCompletionTime.GetNanoseconds(); got != 90e9 {
		t.Errorf("max completion time = %d ns, want 90 s", got)
	}
	if got := info.Command.GetUser(); got != "bob" {
		t.Errorf("user = %q, want bob", got)
	}
	want := mesos.CommandInfo_URI{Value: "u", Extract: new(false), Executable: new(true), Cache: new(true), OutputFile: new("f")}
	if got := info.Command.URIs[0]; !got.Equal(want) {
		t.Errorf("uri = %v, want %v", got, want)
	}
	if info.Container != nil || info.Executor != nil || info.Data != nil || info.Labels != nil {
		t.Errorf("a command task has a container, an executor, data or labels: %v", info)
	}
}

func TestTaskInfoCustomExecutor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		job  Job
		data string
	}{
		{"flags and command", Job{ExecutorFlags: "-av", Command: "run"}, "-av|run"},
		{"with arguments", Job{Command: "run", Shell: true, Arguments: []string{"a"}}, "|run a"},
		{"data of its own (2.5)", Job{Command: "run", TaskInfoData: "{}"}, "{}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.job.Name, tt.job.Executor, tt.job.Container = "nightly", "/usr/bin/exec", &Container{Image: "i"}
			r, p := sampleRun()
			info := taskInfo(&tt.job, r, p)
			if string(info.Data) != tt.data {
				t.Errorf("data = %q, want %q", info.Data, tt.data)
			}
			if info.Command != nil || info.Container != nil {
				t.Errorf("the task has a command or container beside its executor: %v", info)
			}
			e := info.Executor
			if e.ExecutorID.Value != "nightly-1420843781398-1" || e.Command.GetValue() != "/usr/bin/exec" || e.Container == nil {
				t.Errorf("executor = %v", e)
			}
		})
	}
}

func TestContainerInfo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   Container
		want mesos.ContainerInfo
	}{
		{"docker", Container{Type: "DOCKER", Image: "i", Network: "BRIDGE", ForcePullImage: true,
			Parameters: []Label{{"env", "X=1"}}, Volumes: []Volume{{HostPath: "/h", ContainerPath: "/c"}}},
			mesos.ContainerInfo{
				Type: mesos.ContainerInfo_DOCKER.Enum(),
				Docker: &mesos.ContainerInfo_DockerInfo{Image: "i", Network: mesos.ContainerInfo_DockerInfo_BRIDGE.Enum(),
					ForcePullImage: new(true), Parameters: []mesos.Parameter{{Key: "env", Value: "X=1"}}},
				Volumes: []mesos.Volume{{Mode: mesos.RW.Enum(), ContainerPath: "/c", HostPath: new("/h")}},
			}},
		{"mesos with an external volume and a network", Container{Type: "MESOS", Image: "i", Network: "USER", NetworkName: "net1",
			NetworkInfos: []NetworkInfo{{Name: "net1", Labels: []Label{{"a", "b"}}, PortMappings: []PortMapping{{31000, 8080, "tcp"}}}},
			Volumes: []Volume{{ContainerPath: "/d", Mode: "RO", External: &ExternalVolume{Name: "v", Provider: "dvdi",
				Options: []Label{{"k", "o"}}}}}},
			mesos.ContainerInfo{
				Type: mesos.ContainerInfo_MESOS.Enum(),
				Mesos: &mesos.ContainerInfo_MesosInfo{Image: &mesos.Image{Type: mesos.Image_DOCKER.Enum(),
					Docker: &mesos.Image_Docker{Name: "i"}, Cached: new(true)}},
				NetworkInfos: []mesos.NetworkInfo{{Name: new("net1"),
					Labels:       &mesos.Labels{Labels: []mesos.Label{{Key: "a", Value: new("b")}}},
					PortMappings: []mesos.NetworkInfo_PortMapping{{HostPort: 31000, ContainerPort: 8080, Protocol: new("tcp")}}}},
				Volumes: []mesos.Volume{{Mode: mesos.RO.Enum(), ContainerPath: "/d", Source: &mesos.Volume_Source{
					Type: mesos.Volume_Source_DOCKER_VOLUME,
					DockerVolume: &mesos.Volume_Source_DockerVolume{Driver: new("dvdi"), Name: "v",
						DriverOptions: &mesos.Parameters{Parameter: []mesos.Parameter{{Key: "k", Value: "o"}}}}}}},
			}},
		{"a network by name only", Container{Type: "DOCKER", Image: "i", Network: "USER", NetworkName: "n"},
			mesos.ContainerInfo{
				Type: mesos.ContainerInfo_DOCKER.Enum(),
				Docker: &mesos.ContainerInfo_DockerInfo{Image: "i", Network: mesos.ContainerInfo_DockerInfo_USER.Enum(),
					ForcePullImage: new(false)},
				NetworkInfos: []mesos.NetworkInfo{{Name: new("n")}},
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := containerInfo(&tt.in); !got.Equal(&tt.want) {
				t.Errorf("containerInfo(%+v) = %v, want %v", tt.in, got, tt.want)
			}
		})
	}
}
