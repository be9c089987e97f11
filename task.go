package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// taskIDLimit is the longest task id, in bytes, that Mesos accepts.
const taskIDLimit = 255

// runID makes the id of a run, which is also its Mesos task id:
// ct:<due ms>:<attempt>:<job>:<args>. Semicolons are taken out of args, as
// Chronos does since 2.5. That part is left empty if Mesos would refuse the
// id; the arguments themselves are in the Run.
func runID(due int64, attempt int, job, args string) string {
	id := "ct:" + strconv.FormatInt(due, 10) + ":" + strconv.Itoa(attempt) + ":" + job + ":"
	if args = withoutSemicolons(args); args != "" && legalTaskID(id+args) {
		return id + args
	}
	return id
}

// withoutSemicolons is 2.5's weak protection against a second command in the
// arguments of a run (#717).
func withoutSemicolons(args string) string { return strings.ReplaceAll(args, ";", "") }

func legalTaskID(id string) bool {
	if len(id) > taskIDLimit || !utf8.ValidString(id) {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '/' || r == '\\'
	})
}

// parseRunID splits an id of any Chronos version into its parts. Job names have no
// colons, so the id is split at them; the JVM versions guessed at the name by
// its letters and so lost jobs with spaces after an upgrade (#805).
func parseRunID(id string) (due int64, attempt int, job, args string, ok bool) {
	parts := strings.SplitN(id, ":", 5)
	if len(parts) < 4 || parts[0] != "ct" || parts[3] == "" {
		return 0, 0, "", "", false
	}
	due, ok = parseDigits(parts[1])
	if !ok {
		return 0, 0, "", "", false
	}
	n, ok := parseDigits(parts[2])
	if !ok || n > math.MaxInt32 {
		return 0, 0, "", "", false
	}
	if len(parts) == 5 {
		args = parts[4]
	}
	return due, int(n), parts[3], args, true
}

func parseDigits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// taskInfo describes run r of job j to Mesos, as a task that takes the
// resources of p.
func taskInfo(j *Job, r *Run, p placement) *mesos.TaskInfo {
	t := &mesos.TaskInfo{
		Name:      "ChronosTask:" + j.Name,
		TaskID:    mesos.TaskID{Value: r.ID},
		AgentID:   mesos.AgentID{Value: p.agentID},
		Resources: p.resources,
	}
	switch {
	case j.Executor != "":
		t.Executor = executorInfo(j, r, p)
		t.Data = []byte(executorData(j, r))
	default:
		t.Command = commandInfo(j, r, p)
		t.Container = containerInfo(j.Container)
	}
	if limit := j.timeLimit(); limit > 0 {
		t.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: limit.Nanoseconds()}
	}
	if p := j.Policy; p != nil && p.KillGrace != nil {
		t.KillPolicy = killPolicy(j)
	}
	t.Labels = taskLabels(j)
	return t
}

// killPolicy is how long a task of the job has to end when it is killed.
func killPolicy(j *Job) *mesos.KillPolicy {
	return &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: j.killGrace().Nanoseconds()}}
}

// defaultGrace is the time between SIGTERM and SIGKILL, that of Mesos' executor.
const defaultGrace = 3 * time.Second

// taskGrace is how long a task has to end when it is killed.
func taskGrace(task *mesos.TaskInfo) time.Duration {
	if p := task.GetKillPolicy().GetGracePeriod(); p != nil {
		return time.Duration(p.Nanoseconds)
	}
	return defaultGrace
}

// endUUID identifies the update about the end of a run, however often it is sent.
func endUUID(id string) []byte {
	sum := sha256.Sum256([]byte(id))
	return sum[:16]
}

// seconds writes an instant as status updates do.
func seconds(ms int64) *float64 {
	f := float64(ms) / 1000
	return &f
}

// taskLabels are the labels of the job's tasks, nil for none.
func taskLabels(j *Job) *mesos.Labels {
	if len(j.labels()) == 0 {
		return nil
	}
	all := &mesos.Labels{}
	for _, l := range j.labels() {
		all.Labels = append(all.Labels, mesos.Label{Key: l.Key, Value: new(l.Value)})
	}
	return all
}

func commandInfo(j *Job, r *Run, p placement) *mesos.CommandInfo {
	c := &mesos.CommandInfo{Environment: taskEnvironment(j, r, p), User: nonEmpty(j.RunAsUser)}
	if file, ok := urlCommand(j.Command); ok {
		c.URIs = []mesos.CommandInfo_URI{{Value: j.Command, Executable: new(true)}}
		c.Value = new(withArguments(`"./`+file+`"`, runArguments(j, r)))
		return c
	}
	c.URIs = taskURIs(j)
	c.Shell = new(j.Shell)
	if j.Shell {
		c.Value = nonEmpty(withArguments(j.Command, runArguments(j, r)))
		return c
	}
	c.Value = nonEmpty(j.Command) // without a command, the container's entry point runs (#778)
	c.Arguments = j.Arguments
	if r.ArgList != nil {
		c.Arguments = r.ArgList
	} else if r.HasArgs {
		c.Arguments = strings.Fields(withoutSemicolons(r.Args))
	}
	return c
}

// urlCommand reports whether a command is the address of a program to fetch
// and run, and the name of the file it will have.
func urlCommand(command string) (file string, ok bool) {
	for _, scheme := range []string{"http://", "https://", "ftp://", "ftps://"} {
		if strings.HasPrefix(command, scheme) {
			return command[strings.LastIndexByte(command, '/')+1:], true
		}
	}
	return "", false
}

// runArguments returns what follows the command in a shell: the run's own
// arguments if it has any, else the job's.
func runArguments(j *Job, r *Run) string {
	if r.HasArgs {
		return withoutSemicolons(r.Args)
	}
	return withoutSemicolons(strings.Join(j.Arguments, " "))
}

func withArguments(command, args string) string {
	if args == "" {
		return command
	}
	return command + " " + args
}

// executorInfo gives the task an executor of its own: the environment differs
// for every run, and Mesos refuses two different executors with the same id.
func executorInfo(j *Job, r *Run, p placement) *mesos.ExecutorInfo {
	return &mesos.ExecutorInfo{
		Type:       mesos.ExecutorInfo_CUSTOM,
		ExecutorID: mesos.ExecutorID{Value: executorID(j, r)},
		Command: &mesos.CommandInfo{
			Value:       new(j.Executor),
			User:        nonEmpty(j.RunAsUser),
			Environment: taskEnvironment(j, r, p),
			URIs:        taskURIs(j),
		},
		Container: containerInfo(j.Container),
	}
}

// executorID is the id of the executor that runs a task. Without an executor of
// the job's own, Mesos makes one with the task's id.
func executorID(j *Job, r *Run) string {
	if j.Executor == "" {
		return r.ID
	}
	number, _, _, _, _ := parseRunID(r.ID) // unlike Due, it is unique
	return j.Name + "-" + strconv.FormatInt(number, 10) + "-" + strconv.Itoa(r.Attempt)
}

func executorData(j *Job, r *Run) string {
	if j.TaskInfoData != "" {
		return j.TaskInfoData
	}
	command := j.Command
	if j.Shell {
		command = withArguments(command, runArguments(j, r))
	}
	return j.ExecutorFlags + "|" + command
}

// taskURIs lists fetch before uris. A document written by 3.0 repeats its uris
// in fetch; those are sent once.
func taskURIs(j *Job) []mesos.CommandInfo_URI {
	uris := make([]mesos.CommandInfo_URI, 0, len(j.Fetch)+len(j.URIs))
	fetched := make(map[string]bool, len(j.Fetch))
	for _, f := range j.Fetch {
		fetched[f.URI] = true
		uris = append(uris, mesos.CommandInfo_URI{
			Value:      f.URI,
			Extract:    new(f.Extract),
			Executable: new(f.Executable),
			Cache:      new(f.Cache),
			OutputFile: nonEmpty(f.OutputFile),
		})
	}
	for _, u := range j.URIs {
		if !fetched[u] {
			uris = append(uris, mesos.CommandInfo_URI{
				Value: u, Extract: new(true), Executable: new(false), Cache: new(false),
			})
		}
	}
	return uris
}

// How a container of this program's own image is told to fetch what a task needs.
const (
	fetchWord     = "__fetch"       // its first argument; the second is the directory
	fetchVariable = "CHRONOS_FETCH" // what is to be fetched, as JSON
)

// A listedURI is how a URI stands there: mesos-go's fields, with the keys of the protocol.
type listedURI struct {
	Value      string  `json:"value"`
	Executable *bool   `json:"executable,omitempty"`
	Extract    *bool   `json:"extract,omitempty"`
	Cache      *bool   `json:"cache,omitempty"`
	OutputFile *string `json:"output_file,omitempty"`
}

func fetchList(uris []mesos.CommandInfo_URI) string {
	list := make([]listedURI, len(uris))
	for i, u := range uris {
		list[i] = listedURI(u)
	}
	return string(encode(list))
}

func parseFetchList(text string) ([]mesos.CommandInfo_URI, error) {
	var list []listedURI
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("read %s: %w", fetchVariable, err)
	}
	uris := make([]mesos.CommandInfo_URI, len(list))
	for i, u := range list {
		uris[i] = mesos.CommandInfo_URI(u)
	}
	return uris, nil
}

// taskEnvironment is the environment of 2.5 and 3.0 in 2.4's order: our
// variables first, then the run's own, then the job's. Of variables with the same name, the first is sent.
// Secrets are named only: whoever sends the task puts their values in (access_secrets.go).
func taskEnvironment(j *Job, r *Run, p placement) *mesos.Environment {
	vars := []EnvVar{
		{"mesos_task_id", r.ID},
		{"MESOS_TASK_ID", r.ID},
		{"CHRONOS_JOB_OWNER", j.Owner},
		{"CHRONOS_JOB_NAME", j.Name},
		{"HOST", p.hostname},
		{"CHRONOS_RESOURCE_MEM", javaDouble(j.Mem)},
		{"CHRONOS_RESOURCE_CPU", javaDouble(j.CPUs)},
		{"CHRONOS_RESOURCE_DISK", javaDouble(j.Disk)},
		{"CHRONOS_JOB_RUN_TIME", strconv.FormatInt(r.instant(), 10)},
		{"CHRONOS_JOB_RUN_ATTEMPT", strconv.Itoa(r.Attempt)},
	}
	if p.token != "" {
		vars = append(vars, EnvVar{"CHRONOS_CALLBACK_TOKEN", p.token})
	}
	seen := make(map[string]bool, len(vars)+len(j.Env))
	env := &mesos.Environment{}
	add := func(v mesos.Environment_Variable) {
		if !seen[v.Name] {
			seen[v.Name] = true
			env.Variables = append(env.Variables, v)
		}
	}
	for _, v := range slices.Concat(vars, r.Env) {
		add(mesos.Environment_Variable{Name: v.Name, Value: new(v.Value)})
	}
	for _, v := range j.secrets() {
		add(mesos.Environment_Variable{Name: v.Name, Type: mesos.Environment_Variable_SECRET.Enum(), Secret: secretNamed(v.Secret)})
	}
	for _, v := range j.Env {
		add(mesos.Environment_Variable{Name: v.Name, Value: new(v.Value)})
	}
	return env
}

// secretNamed stands for a secret whose value is put in later.
func secretNamed(name string) *mesos.Secret {
	return &mesos.Secret{Type: mesos.Secret_REFERENCE, Reference: &mesos.Secret_Reference{Name: name}}
}

// secretVariables returns the variables of a task that are, or name, a secret.
func secretVariables(t *mesos.TaskInfo) (vars []*mesos.Environment_Variable) {
	for _, c := range []*mesos.CommandInfo{t.GetCommand(), t.GetExecutor().GetCommand()} {
		all := c.GetEnvironment().GetVariables()
		for i := range all {
			if all[i].Secret != nil {
				vars = append(vars, &all[i])
			}
		}
	}
	return vars
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// containerInfo is the container of a task, or nil where c is.
func containerInfo(c *Container) *mesos.ContainerInfo {
	if c == nil {
		return nil
	}
	info := &mesos.ContainerInfo{
		Type:         mesos.ContainerInfo_DOCKER.Enum(),
		NetworkInfos: networkInfos(c),
		Volumes:      volumes(c.Volumes),
	}
	if c.Type == "MESOS" {
		info.Type = mesos.ContainerInfo_MESOS.Enum()
		info.Mesos = &mesos.ContainerInfo_MesosInfo{Image: &mesos.Image{
			Type:   mesos.Image_DOCKER.Enum(),
			Docker: &mesos.Image_Docker{Name: c.Image},
			Cached: new(!c.ForcePullImage),
		}}
		return info
	}
	info.Docker = &mesos.ContainerInfo_DockerInfo{
		Image:          c.Image,
		Network:        dockerNetwork(c.Network).Enum(),
		Parameters:     parameters(c.Parameters),
		ForcePullImage: new(c.ForcePullImage),
	}
	return info
}

func dockerNetwork(name string) mesos.ContainerInfo_DockerInfo_Network {
	switch name {
	case "BRIDGE":
		return mesos.ContainerInfo_DockerInfo_BRIDGE
	case "USER":
		return mesos.ContainerInfo_DockerInfo_USER
	}
	return mesos.ContainerInfo_DockerInfo_HOST
}

// networkInfos names the networks that a container joins. A networkName that
// networkInfos repeats is sent once: Docker takes a single network. Unlike in
// 3.0 port mappings are sent.
func networkInfos(c *Container) []mesos.NetworkInfo {
	var infos []mesos.NetworkInfo
	named := slices.ContainsFunc(c.NetworkInfos, func(n NetworkInfo) bool { return n.Name == c.NetworkName })
	if c.NetworkName != "" && !named {
		infos = append(infos, mesos.NetworkInfo{Name: new(c.NetworkName)})
	}
	for _, n := range c.NetworkInfos {
		info := mesos.NetworkInfo{Name: new(n.Name), Labels: &mesos.Labels{}}
		for _, l := range n.Labels {
			info.Labels.Labels = append(info.Labels.Labels, mesos.Label{Key: l.Key, Value: new(l.Value)})
		}
		for _, p := range n.PortMappings {
			info.PortMappings = append(info.PortMappings, mesos.NetworkInfo_PortMapping{
				HostPort:      uint32(p.HostPort),
				ContainerPort: uint32(p.ContainerPort),
				Protocol:      nonEmpty(p.Protocol),
			})
		}
		infos = append(infos, info)
	}
	return infos
}

// volumes gives every volume a mode: Mesos requires one, and a volume without
// a mode crashed the JVM versions' driver (#569).
func volumes(vs []Volume) []mesos.Volume {
	var out []mesos.Volume
	for _, v := range vs {
		volume := mesos.Volume{
			Mode:          mesos.RW.Enum(),
			ContainerPath: v.ContainerPath,
			HostPath:      nonEmpty(v.HostPath),
		}
		if v.Mode == "RO" {
			volume.Mode = mesos.RO.Enum()
		}
		if e := v.External; e != nil {
			volume.Source = &mesos.Volume_Source{
				Type: mesos.Volume_Source_DOCKER_VOLUME,
				DockerVolume: &mesos.Volume_Source_DockerVolume{
					Driver:        nonEmpty(e.Provider),
					Name:          e.Name,
					DriverOptions: &mesos.Parameters{Parameter: parameters(e.Options)},
				},
			}
		}
		out = append(out, volume)
	}
	return out
}

func parameters(labels []Label) []mesos.Parameter {
	var out []mesos.Parameter
	for _, l := range labels {
		out = append(out, mesos.Parameter{Key: l.Key, Value: l.Value})
	}
	return out
}

// sandboxURL returns the URL that lists the sandbox of an executor on the agent at base. Agents know
// this form of path since Mesos 1.5. A command's executor has the task's id.
func sandboxURL(base, frameworkID, executorID string) string {
	if base == "" {
		return ""
	}
	path := "/frameworks/" + frameworkID + "/executors/" + executorID + "/latest"
	return base + "/files/browse?path=" + url.QueryEscape(path)
}
