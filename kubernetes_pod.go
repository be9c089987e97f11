package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// podOptions are what the flags say about pods.
type podOptions struct {
	image          string         // of jobs without a container, "" for none
	serviceAccount string         // "" for the namespace's own
	template       map[string]any // a pod that those of jobs are laid over, nil for none
	fetchImage     string         // that has this program in it, "" for none
	priorityClass  string         // of jobs with a high priority, "" for none
	secret         string         // the Secret that has the secrets of jobs, "" for none: they come with their values
	plainUser      string         // whose name means the image's own user
}

// A jsonObject is a part of a document that goes to the API server.
type jsonObject = map[string]any

const (
	// sandboxPath is where a pod with something to fetch has its working directory.
	sandboxPath = "/mnt/chronos/sandbox"
	// deadlineSlack is how much longer than a run's time limit its pod may live by itself. Where a leader is
	// at hand, it has ended the run by then.
	deadlineSlack = time.Minute
	// longestLabel is how long the value of a label may be, and the first part of a host's name.
	longestLabel = 63
)

// podName names the pod of a run: the same run has the same one, whoever makes it, so that the API server refuses a second.
func podName(framework, task string) string {
	sum := sha256.Sum256([]byte(framework + "\x00" + task))
	_, _, job, _, _ := parseRunID(task)
	const most = 28 // of the job's name, which is for people
	slug := strings.Trim(cutText(dnsLetters(job), most, ""), "-")
	return strings.TrimSuffix("chronos-"+slug, "-") + "-" + hex.EncodeToString(sum[:12])
}

// dnsLetters makes a text of lower-case letters, digits and dashes.
func dnsLetters(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
}

// labelValue is a text as the value of a label: itself where the letters fit, else a hash.
func labelValue(s string) string {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
	}
	edge := func(b byte) bool { return b != '-' && b != '_' && b != '.' }
	if s != "" && len(s) <= longestLabel && !strings.ContainsFunc(s, func(r rune) bool { return !legal(r) }) && edge(s[0]) && edge(s[len(s)-1]) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// podSelector selects the pods of a framework.
func podSelector(framework string) string {
	return labelManaged + "=chronos," + labelFramework + "=" + labelValue(framework)
}

// literally keeps Kubernetes from replacing $(NAME) in a text that is meant for a shell.
func literally(s string) string {
	if !strings.Contains(s, "$(") && !strings.Contains(s, "$$") {
		return s
	}
	return strings.ReplaceAll(s, "$", "$$")
}

// podFor writes the pod of a task.
func (o *podOptions) podFor(framework string, task *mesos.TaskInfo, extra podExtra) (jsonObject, error) {
	if task.Executor != nil {
		return nil, errNoPodExecutors
	}
	_, _, job, _, _ := parseRunID(task.TaskID.Value)
	pod := copyOf(o.template)
	pod["apiVersion"], pod["kind"] = "v1", "Pod"
	meta := objectAt(pod, "metadata")
	meta["name"] = podName(framework, task.TaskID.Value)
	maps.Copy(objectAt(meta, "labels"), jsonObject{labelManaged: "chronos", labelFramework: labelValue(framework), labelJob: labelValue(job)})
	maps.Copy(objectAt(meta, "annotations"), jsonObject{annotationTask: task.TaskID.Value, annotationJob: job})
	meta["finalizers"] = []any{resultFinalizer}
	spec := objectAt(pod, "spec")
	spec["restartPolicy"] = "Never"
	spec["enableServiceLinks"] = false
	if spec["automountServiceAccountToken"] == nil && o.serviceAccount == "" {
		spec["automountServiceAccountToken"] = false
	}
	if o.serviceAccount != "" {
		spec["serviceAccountName"] = o.serviceAccount
	}
	spec["terminationGracePeriodSeconds"] = wholeSeconds(taskGrace(task))
	if limit := task.GetMaxCompletionTime().GetNanoseconds(); limit > 0 && limit < math.MaxInt32*int64(time.Second) {
		spec["activeDeadlineSeconds"] = wholeSeconds(time.Duration(limit) + deadlineSlack)
	}
	if extra.highPriority && o.priorityClass != "" {
		spec["priorityClassName"] = o.priorityClass
	}
	requireNodes(spec, extra.nodes)
	if extra.patterns {
		objectAt(meta, "annotations")[annotationNodes] = nodesText(extra.nodes)
	}
	container := taskContainerOf(spec)
	if err := o.fill(container, task); err != nil {
		return nil, err
	}
	if err := o.mount(spec, container, task); err != nil {
		return nil, err
	}
	return pod, o.fetch(spec, container, task)
}

// podExtra is what a job says to Kubernetes that has no place in a task.
type podExtra struct {
	highPriority bool
	nodes        []nodeTerm // all of which its node must meet
	patterns     bool       // they stand for patterns, which may match others later
}

// wholeSeconds is at least one second: without any, a task would get no signal that it is to end.
func wholeSeconds(d time.Duration) int64 { return max(1, int64(math.Ceil(d.Seconds()))) }

// fill writes the command and what it takes into its container.
func (o *podOptions) fill(c jsonObject, task *mesos.TaskInfo) error {
	image, always := containerImage(task.Container)
	switch {
	case image != "":
		c["image"] = image
	case c["image"] == nil && o.image == "":
		return errNoPodImage
	case c["image"] == nil:
		c["image"] = o.image
	}
	if always {
		c["imagePullPolicy"] = "Always"
	}
	command := task.GetCommand()
	if command.GetShell() && command.GetValue() != "" {
		c["command"] = []any{"/bin/sh", "-c", literally(command.GetValue())}
	} else {
		if command.GetValue() != "" {
			c["command"] = []any{literally(command.GetValue())}
		}
		args := command.GetArguments()
		if command.GetValue() == "" && len(args) > 0 || command.GetValue() != "" {
			c["args"] = anyList(args, literally)
		}
	}
	env, _ := c["env"].([]any)
	for _, v := range command.GetEnvironment().GetVariables() {
		env = append(slices.DeleteFunc(env, func(have any) bool {
			known, ok := have.(jsonObject)
			return ok && known["name"] == v.Name
		}), o.variable(&v))
	}
	c["env"] = env
	fillResources(objectAt(c, "resources"), taskAmounts(task))
	return o.runAs(c, command.GetUser())
}

// variable writes one variable. A secret that was left to Kubernetes is a reference to a key of its Secret.
func (o *podOptions) variable(v *mesos.Environment_Variable) jsonObject {
	if name := v.Secret.GetReference().GetName(); name != "" && o.secret != "" && v.Value == nil {
		return jsonObject{"name": v.Name, "valueFrom": jsonObject{"secretKeyRef": jsonObject{"name": o.secret, "key": name}}}
	}
	return jsonObject{"name": v.Name, "value": literally(v.GetValue())}
}

func anyList(texts []string, with func(string) string) []any {
	list := make([]any, 0, len(texts))
	for _, t := range texts {
		list = append(list, with(t))
	}
	return list
}

// fillResources asks for what the task takes. Memory is a limit too, as on Mesos' agents; cores are shares, as there.
func fillResources(resources jsonObject, a resources) {
	requests, limits := objectAt(resources, "requests"), objectAt(resources, "limits")
	if a.cpus > 0 {
		requests["cpu"] = strconv.FormatInt(a.cpus, 10) + "m"
	}
	if a.mem > 0 {
		requests["memory"], limits["memory"] = mebibytes(a.mem), mebibytes(a.mem)
	}
	if a.disk > 0 {
		requests["ephemeral-storage"] = mebibytes(a.disk)
	}
}

// mebibytes writes thousandths of what Mesos calls a megabyte.
func mebibytes(thousandths int64) string {
	if thousandths%1000 == 0 {
		return strconv.FormatInt(thousandths/1000, 10) + "Mi"
	}
	return strconv.FormatInt(int64(math.Ceil(float64(thousandths)*(1<<20)/1000)), 10)
}

// runAs sets the user of a container. Kubernetes knows users by number only.
func (o *podOptions) runAs(c jsonObject, user string) error {
	if user == "" || user == o.plainUser {
		return nil
	}
	uid, ok := parseDigits(user)
	if !ok || uid > math.MaxInt32 {
		return &userError{user}
	}
	objectAt(c, "securityContext")["runAsUser"] = uid
	return nil
}

func containerImage(c *mesos.ContainerInfo) (image string, always bool) {
	if m := c.GetMesos(); m != nil {
		return m.GetImage().GetDocker().GetName(), !m.GetImage().GetCached()
	}
	return c.GetDocker().GetImage(), c.GetDocker().GetForcePullImage()
}

// mount adds the volumes of a task and the network of its host, if it wants that.
func (o *podOptions) mount(spec, container jsonObject, task *mesos.TaskInfo) error {
	info := task.GetContainer()
	if d := info.GetDocker(); d != nil && d.GetNetwork() == mesos.ContainerInfo_DockerInfo_HOST && info.GetType() == mesos.ContainerInfo_DOCKER {
		spec["hostNetwork"] = true
	}
	for i, v := range info.GetVolumes() {
		volume := jsonObject{"name": "volume-" + strconv.Itoa(i)}
		readOnly := v.GetMode() == mesos.RO
		switch d := v.GetSource().GetDockerVolume(); {
		case d != nil:
			volume["persistentVolumeClaim"] = jsonObject{"claimName": d.GetName()}
		case path.IsAbs(v.GetHostPath()):
			volume["hostPath"] = jsonObject{"path": v.GetHostPath()}
		default:
			volume["emptyDir"] = jsonObject{}
		}
		at := v.GetContainerPath()
		if !path.IsAbs(at) {
			at = path.Join(sandboxPath, at) // relative to the sandbox, as on Mesos
		}
		appendTo(spec, "volumes", volume)
		appendTo(container, "volumeMounts", jsonObject{"name": volume["name"], "mountPath": at, "readOnly": readOnly})
	}
	return nil
}

// fetch has an image of this program fetch the task's files into its working directory before it starts.
func (o *podOptions) fetch(spec, container jsonObject, task *mesos.TaskInfo) error {
	uris := task.GetCommand().GetURIs()
	if len(uris) == 0 {
		return nil
	}
	if o.fetchImage == "" {
		return errNoFetchImage
	}
	mount := jsonObject{"name": "chronos-sandbox", "mountPath": sandboxPath}
	init := jsonObject{
		"name": fetchContainer, "image": o.fetchImage, "args": []any{fetchWord, sandboxPath}, "workingDir": sandboxPath,
		"env":                      []any{jsonObject{"name": fetchVariable, "value": literally(fetchList(uris))}},
		"volumeMounts":             []any{mount},
		"terminationMessagePolicy": "FallbackToLogsOnError",
	}
	if context, ok := container["securityContext"]; ok {
		init["securityContext"] = context // what it fetches belongs to the user who runs
	}
	inits, _ := spec["initContainers"].([]any)
	spec["initContainers"] = append([]any{init}, inits...)
	appendTo(spec, "volumes", jsonObject{"name": "chronos-sandbox", "emptyDir": jsonObject{}})
	appendTo(container, "volumeMounts", mount)
	container["workingDir"] = sandboxPath
	appendTo(container, "env", jsonObject{"name": "MESOS_SANDBOX", "value": sandboxPath})
	return nil
}

var (
	errNoPodExecutors = errors.New("a custom executor needs Mesos; on Kubernetes only commands and images run")
	errNoPodImage     = errors.New("the job has no container with an image, and there is no --kubernetes_image for such jobs")
	errNoFetchImage   = errors.New("the job has uris or fetch, and there is no --kubernetes_fetch_image with this program to fetch them")
)

// A nodeTerm is what a node's label must be one of, or must not be.
type nodeTerm struct {
	label    string
	operator string // In or NotIn
	values   []string
}

// requireNodes adds terms to those that the template requires, if it requires any.
func requireNodes(spec jsonObject, terms []nodeTerm) {
	if len(terms) == 0 {
		return
	}
	required := objectAt(objectAt(objectAt(spec, "affinity"), "nodeAffinity"), "requiredDuringSchedulingIgnoredDuringExecution")
	alternatives, _ := required["nodeSelectorTerms"].([]any)
	if len(alternatives) == 0 {
		alternatives = []any{jsonObject{}}
	}
	for _, a := range alternatives {
		alternative, ok := a.(jsonObject)
		if !ok {
			continue
		}
		for _, t := range terms {
			appendTo(alternative, "matchExpressions", jsonObject{"key": t.label, "operator": t.operator, "values": anyList(t.values, strings.Clone)})
		}
	}
	required["nodeSelectorTerms"] = alternatives
}

// taskContainerOf returns the container of the task, which a template may have prepared.
func taskContainerOf(spec jsonObject) jsonObject {
	containers, _ := spec["containers"].([]any)
	for _, c := range containers {
		if c, ok := c.(jsonObject); ok && c["name"] == taskContainer {
			return c
		}
	}
	task := jsonObject{"name": taskContainer}
	spec["containers"] = append([]any{task}, containers...)
	return task
}

// readPodTemplate reads a pod that those of jobs are laid over.
func readPodTemplate(file string) (jsonObject, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	value, err := parseYAML(string(text))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", file, err)
	}
	template, ok := value.(jsonObject)
	if !ok {
		return nil, fmt.Errorf("read %q: it is no object", file)
	}
	return template, checkTemplate(template)
}

// checkTemplate refuses what a pod of jobs can't be laid over.
func checkTemplate(template jsonObject) error {
	if kind := template["kind"]; kind != nil && kind != "Pod" {
		return fmt.Errorf("it describes a %v, not a Pod", kind)
	}
	for _, key := range []string{"metadata", "spec"} {
		if _, ok := template[key].(jsonObject); template[key] != nil && !ok {
			return fmt.Errorf("its %s is no object", key)
		}
	}
	spec, _ := template["spec"].(jsonObject)
	containers, _ := spec["containers"].([]any)
	for _, c := range containers {
		if c, ok := c.(jsonObject); !ok || c["name"] != taskContainer {
			return fmt.Errorf("it has a container that is not named %s: a pod would not end while that runs", taskContainer)
		}
	}
	return nil
}

// objectAt returns the object under a key, which it makes if there is none.
func objectAt(o jsonObject, key string) jsonObject {
	if m, ok := o[key].(jsonObject); ok {
		return m
	}
	m := jsonObject{}
	o[key] = m
	return m
}

func appendTo(o jsonObject, key string, item any) {
	list, _ := o[key].([]any)
	o[key] = append(list, item)
}

// copyOf returns an object that shares nothing changeable with o.
func copyOf(o jsonObject) jsonObject {
	copied := make(jsonObject, len(o)+4)
	for key, value := range o {
		copied[key] = copyValue(value)
	}
	return copied
}

func copyValue(value any) any {
	switch v := value.(type) {
	case jsonObject:
		return copyOf(v)
	case []any:
		list := make([]any, 0, len(v))
		for _, item := range v {
			list = append(list, copyValue(item))
		}
		return list
	}
	return value
}
