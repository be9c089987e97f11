package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNamesOfPods(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	for task, prefix := range map[string]string{
		"ct:1:0:nightly:": "chronos-nightly-", "ct:1:0:Daily Report.v2:a b": "chronos-daily-report-v2-", "ct:1:0:" + long + ":": "chronos-" + strings.Repeat("x", 28) + "-", "ct:1:0:__:": "chronos-",
	} {
		name := podName("f", task)
		if !strings.HasPrefix(name, prefix) || len(name) > longestLabel || dnsLetters(name) != name {
			t.Errorf("podName(%q) = %q, want %s... of at most %d letters", task, name, prefix, longestLabel)
		}
	}
	same := podName("f", "ct:1:0:a:")
	for _, other := range []string{podName("g", "ct:1:0:a:"), podName("f", "ct:1:1:a:"), podName("f", "ct:2:0:a:"), podName("f", "ct:1:0:a:x")} {
		if other == same {
			t.Errorf("two runs have the name %q", same)
		}
	}
	for in, legal := range map[string]bool{"a.b-c_1": true, "-a": false, "a b": false, "": false, long: false} {
		if got := labelValue(in); (got == in) != legal || len(got) > longestLabel {
			t.Errorf("labelValue(%q) = %q", in, got)
		}
	}
}

// podOf is the pod of a run of a job, as JSON without what every pod has.
func podOf(t *testing.T, o podOptions, document string, extra podExtra) map[string]any {
	t.Helper()
	j, err := decodeJob([]byte(document), jobDefaults{CPUs: 0.1, Mem: 128, Disk: 256, User: "root"}, dialect3, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := placement{resources: scalarsOf(taskNeed(j, "", taskConfig{}).resources)}
	pod, err := o.podFor("f", taskInfo(j, &Run{ID: runID(1, 0, j.Name, ""), Job: j.Name}, p), extra)
	if err != nil {
		t.Fatal(err)
	}
	var plain map[string]any
	if err := json.Unmarshal(mustJSON(pod), &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestPodsOfJobs(t *testing.T) {
	t.Parallel()
	template := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(template, []byte(`
kind: Pod
metadata:
  labels: {team: data}
spec:
  tolerations:
  - key: batch
    operator: Exists
  imagePullSecrets: [{name: pull}]
  containers:
  - name: task
    securityContext:
      runAsNonRoot: true
    env:
    - {name: REGION, value: "1"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	laidOver, err := readPodTemplate(template)
	if err != nil {
		t.Fatal(err)
	}
	o := podOptions{image: "busybox", fetchImage: "chronos:1", plainUser: "root", priorityClass: "urgent", serviceAccount: "runner", secret: "vault"}
	with := o
	with.template = laidOver
	tests := []struct {
		name, job string
		options   podOptions
		extra     podExtra
		path      string // in the pod
		want      string
	}{
		{"a command", `{"name":"a","command":"echo $(date) $$ $HOME"}`, o, podExtra{}, "spec.containers.0.command", `["/bin/sh","-c","echo $$(date) $$$$ $$HOME"]`},
		{"arguments", `{"name":"a","command":"ls","shell":false,"arguments":["-l","/tmp"]}`, o, podExtra{}, "spec.containers.0.args", `["-l","/tmp"]`},
		{"an image's own command", `{"name":"a","container":{"image":"i"}}`, o, podExtra{}, "spec.containers.0.command", `null`},
		{"what it takes", `{"name":"a","command":"x","cpus":1.5,"mem":256,"disk":100}`, o, podExtra{}, "spec.containers.0.resources",
			`{"limits":{"memory":"256Mi"},"requests":{"cpu":"1500m","ephemeral-storage":"100Mi","memory":"256Mi"}}`},
		{"never again by itself", `{"name":"a","command":"x"}`, o, podExtra{}, "spec.restartPolicy", `"Never"`},
		{"held until its end is stored", `{"name":"a","command":"x"}`, o, podExtra{}, "metadata.finalizers", `["chronos-go.github.io/result"]`},
		{"its ids", `{"name":"a b","command":"x"}`, o, podExtra{}, "metadata.annotations", `{"chronos-go.github.io/job":"a b","chronos-go.github.io/task":"ct:1:0:a b:"}`},
		{"its labels", `{"name":"a","command":"x"}`, with, podExtra{}, "metadata.labels",
			`{"app.kubernetes.io/managed-by":"chronos","chronos-go.github.io/framework":"f","chronos-go.github.io/job":"a","team":"data"}`},
		{"its user's number", `{"name":"a","command":"x","runAsUser":"1000"}`, o, podExtra{}, "spec.containers.0.securityContext", `{"runAsUser":1000}`},
		{"the template's user", `{"name":"a","command":"x"}`, with, podExtra{}, "spec.containers.0.securityContext", `{"runAsNonRoot":true}`},
		{"the template's tolerations", `{"name":"a","command":"x"}`, with, podExtra{}, "spec.tolerations", `[{"key":"batch","operator":"Exists"}]`},
		{"its time limit, with some slack", `{"name":"a","command":"x","maxCompletionTime":120}`, o, podExtra{}, "spec.activeDeadlineSeconds", `180`},
		{"its time to end", `{"name":"a","command":"x","killGrace":"PT20S"}`, o, podExtra{}, "spec.terminationGracePeriodSeconds", `20`},
		{"a high priority", `{"name":"a","command":"x"}`, o, podExtra{highPriority: true}, "spec.priorityClassName", `"urgent"`},
		{"its service account", `{"name":"a","command":"x"}`, o, podExtra{}, "spec.serviceAccountName", `"runner"`},
		{"the network of its host", `{"name":"a","container":{"type":"DOCKER","image":"i","network":"HOST"}}`, o, podExtra{}, "spec.hostNetwork", `true`},
		{"a bridge is the cluster's network", `{"name":"a","container":{"type":"DOCKER","image":"i","network":"BRIDGE"}}`, o, podExtra{}, "spec.hostNetwork", `null`},
		{"a directory of its host", `{"name":"a","container":{"image":"i","volumes":[{"hostPath":"/srv","containerPath":"/d","mode":"RO"}]}}`, o, podExtra{}, "spec.volumes",
			`[{"hostPath":{"path":"/srv"},"name":"volume-0"}]`},
		{"a claim", `{"name":"a","container":{"image":"i","volumes":[{"external":{"name":"pvc","provider":"dvdi"},"containerPath":"/d"}]}}`, o, podExtra{}, "spec.volumes",
			`[{"name":"volume-0","persistentVolumeClaim":{"claimName":"pvc"}}]`},
		{"what it fetches", `{"name":"a","command":"x","fetch":[{"uri":"http://h/f"}]}`, o, podExtra{}, "spec.initContainers.0.args", `["__fetch","/mnt/chronos/sandbox"]`},
		{"where it finds that", `{"name":"a","command":"x","fetch":[{"uri":"http://h/f"}]}`, o, podExtra{}, "spec.containers.0.workingDir", `"/mnt/chronos/sandbox"`},
	}
	for _, tt := range tests {
		document := strings.Replace(tt.job, "{", `{"schedule":"R/2030-01-01T00:00:00Z/P1D",`, 1)
		var at any = podOf(t, tt.options, document, tt.extra)
		for key := range strings.SplitSeq(strings.ReplaceAll(tt.path, "chronos-go.github.io", "~"), ".") {
			switch v := at.(type) {
			case map[string]any:
				at = v[key]
			case []any:
				at = v[0]
			}
		}
		if got := string(mustJSON(at)); got != tt.want {
			t.Errorf("%s: %s is %s, want %s", tt.name, tt.path, got, tt.want)
		}
	}
	for text, why := range map[string]string{
		`{"kind":"Deployment"}`:                        "it describes a Deployment",
		`{"spec":{"containers":[{"name":"sidecar"}]}}`: "not named task",
	} {
		if err := os.WriteFile(template, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readPodTemplate(template); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("template %s: %v, want %q", text, err, why)
		}
	}
}

// A secret that Kubernetes has itself is a reference to it, so that no pod shows its value.
func TestSecretsOfPods(t *testing.T) {
	t.Parallel()
	const job = `{"name":"a","command":"x","schedule":"R/2030-01-01T00:00:00Z/P1D","environmentVariables":[{"name":"DB","secret":"db.password"},{"name":"PLAIN","value":"$(x)"}]}`
	pod := podOf(t, podOptions{image: "busybox", secret: "vault", plainUser: "root"}, job, podExtra{})
	task := taskContainerOf(pod["spec"].(map[string]any))
	variables := map[string]string{}
	for _, v := range task["env"].([]any) {
		v := v.(map[string]any)
		name := v["name"].(string)
		delete(v, "name")
		variables[name] += string(mustJSON(v))
	}
	for name, want := range map[string]string{"DB": `{"valueFrom":{"secretKeyRef":{"key":"db.password","name":"vault"}}}`, "PLAIN": `{"value":"$$(x)"}`} {
		if got := variables[name]; got != want {
			t.Errorf("variable %s is %s, want %s", name, got, want)
		}
	}
}

func TestJobsThatCanNotBePods(t *testing.T) {
	t.Parallel()
	o := podOptions{image: "busybox", fetchImage: "chronos", plainUser: "root"}
	tests := []struct {
		name, job string
		options   podOptions
		field     string // "" if it can
	}{
		{"a plain job", `{"name":"a","command":"x","runAsUser":"root"}`, o, ""},
		{"no image", `{"name":"a","command":"x"}`, podOptions{plainUser: "root"}, "container"},
		{"an image of its own", `{"name":"a","command":"x","container":{"image":"i"}}`, podOptions{plainUser: "root"}, ""},
		{"an executor", `{"name":"a","command":"x","executor":"/bin/e"}`, o, "executor"},
		{"a user by name", `{"name":"a","command":"x","runAsUser":"hadoop"}`, o, "runAsUser"},
		{"files without an image to fetch them", `{"name":"a","command":"x","uris":["http://h/f"]}`, podOptions{image: "i", plainUser: "root"}, "uris"},
		{"published ports", `{"name":"a","container":{"image":"i","networkInfos":[{"name":"n","portMappings":[{"hostPort":1,"containerPort":2}]}]}}`, o, "container"},
		{"a named network", `{"name":"a","container":{"image":"i","networkInfos":[{"name":"n"}]}}`, o, "container"},
		{"parameters of docker", `{"name":"a","container":{"image":"i","parameters":[{"key":"privileged","value":"true"}]}}`, o, "container"},
	}
	for _, tt := range tests {
		document := strings.Replace(tt.job, "{", `{"schedule":"R/2030-01-01T00:00:00Z/P1D",`, 1)
		j, err := decodeJob([]byte(document), jobDefaults{User: "root"}, dialect3, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		field := ""
		if err := tt.options.accepts(j); err != nil {
			refused, ok := err.(*jobError)
			if !ok {
				t.Fatalf("%s: %v is no *jobError", tt.name, err)
			}
			field = refused.field
		}
		if field != tt.field {
			t.Errorf("%s: refused for %q, want %q", tt.name, field, tt.field)
		}
	}
}
