package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// kubeJobs starts jobs on a real Kubernetes, and knows what has started there.
type kubeJobs struct {
	*instance
	node    *kubeNode
	witness string // a directory that pods see as /witness
}

// TestTortureKubernetes is the long form of what the double of a cluster stands for: a real one.
func TestTortureKubernetes(t *testing.T) {
	t.Parallel()
	node := startKubernetes(t)
	secrets := t.TempDir()
	if err := os.WriteFile(filepath.Join(secrets, "index"), []byte("db-password:*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	node.apply(t, nil, object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "vault"}, "stringData": object{"db-password": "t0p-s3cret"}})
	j := &kubeJobs{node: node, witness: t.TempDir()}
	j.instance = newInstance(t, "kubernetes", "--master", "k8s://"+node.kubeconfig, "--data_dir", filepath.Join(t.TempDir(), "data"),
		"--kubernetes_image", kubeImage, "--kubernetes_fetch_image", kubeImage, "--kubernetes_secret", "vault", "--secrets_dir", secrets, "--stage_timeout", "90s")
	j.start(t)
	j.serves(t)
	t.Run("ends", j.testEnds)
	t.Run("what a pod is given", j.testGiven)
	t.Run("output", j.testOutput)
	t.Run("leader killed", j.testLeaderKilled)
	t.Run("kubelet killed", j.testKubeletKilled)
	t.Run("api server killed", func(t *testing.T) { j.testOutage(t, "api", "KILL", 30*time.Second) })
	t.Run("etcd restarted", func(t *testing.T) { j.testOutage(t, "etcd", "TERM", time.Second) })
	j.wantNoneTwice(t)
	j.leave(t)
	if found := j.complaints(t); len(found) > 0 {
		t.Errorf("the log has errors: %s", strings.Join(found, "\n"))
	}
	t.Run("many jobs at once", func(t *testing.T) { testManyJobs(t, node) })
	t.Run("many bare pods", func(t *testing.T) { testManyBarePods(t, node) })
	t.Run("manifests", func(t *testing.T) { testManifests(t, node) })
	t.Run("inside", func(t *testing.T) { testInside(t, node) })
}

type object = map[string]any

// post makes a job that has no schedule to speak of. Each of its runs leaves its id where the test sees it.
func (j *kubeJobs) post(t *testing.T, name, command, more string) {
	t.Helper()
	text, err := json.Marshal(`echo "$mesos_task_id" >>/witness/starts; ` + command)
	if err != nil {
		t.Fatal(err)
	}
	j.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"`+name+`","command":`+string(text)+`,"retries":0,"cpus":0.01,"mem":32,"disk":0,"epsilon":"PT10M",
		"container":{"type":"MESOS","image":"`+kubeImage+`","volumes":[{"hostPath":"`+j.witness+`","containerPath":"/witness","mode":"RW"}]},`+more+
		`"schedule":"R/2090-01-01T00:00:00Z/P1D"}`, 204)
}

func (j *kubeJobs) runNow(t *testing.T, name string) {
	t.Helper()
	j.mustCall(t, "PUT", "/scheduler/job/"+name, "", 204)
}

// launch makes a job and starts it.
func (j *kubeJobs) launch(t *testing.T, name, command, more string) {
	t.Helper()
	j.post(t, name, command, more)
	j.runNow(t, name)
}

// begun waits until the run of a job has written that it has begun, and returns the run's id.
func (j *kubeJobs) begun(t *testing.T, name string) (id string) {
	t.Helper()
	j.until(t, name+" has written something", func() bool {
		open, _ := j.runs(t, name)
		if len(open) == 0 {
			return false
		}
		id = open[0].ID
		_, text, err := j.call("GET", "/scheduler/run/"+id+"/stdout", "")
		return err == nil && strings.Contains(text, "begun")
	})
	return id
}

func (j *kubeJobs) kills(t *testing.T, name string) {
	t.Helper()
	j.mustCall(t, "DELETE", "/scheduler/task/kill/"+name, "", 204)
}

// awaitWhy waits until a run is said to wait for a reason.
func (j *kubeJobs) awaitWhy(t *testing.T, name, reason string) {
	t.Helper()
	j.until(t, name+" waits for "+reason, func() bool {
		_, text, err := j.call("GET", "/scheduler/queued/"+name, "")
		return err == nil && strings.Contains(text, reason)
	})
}

// pod names the only pod of a job.
func (j *kubeJobs) pod(t *testing.T, name string) string {
	t.Helper()
	names := strings.Fields(j.node.kubectl(t, "get", "pods", "-o", "name", "-l", "chronos-go.github.io/job="+name))
	if len(names) != 1 {
		t.Fatalf("%s has the pods %q, want one", name, names)
	}
	return strings.TrimPrefix(names[0], "pod/")
}

func (j *kubeJobs) wantEnd(t *testing.T, name, state, reason string) {
	t.Helper()
	if run := j.awaitEnd(t, name, 1); run.State != state || !strings.Contains(run.Reason, reason) {
		t.Errorf("%s has %s: %q, want %s: %q", name, run.State, run.Reason, state, reason)
	}
}

// wantNoneTwice looks through what the runs' programs have left.
func (j *kubeJobs) wantNoneTwice(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(j.witness, "starts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // -run has left all of them out
		t.Fatal(err)
	}
	ids := strings.Fields(string(text))
	slices.Sort(ids)
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			t.Errorf("run %s was started twice", ids[i])
		}
	}
	t.Logf("%d runs, none started twice", len(ids))
}

// evict does what draining a node does.
func (j *kubeJobs) evict(t *testing.T, name string) {
	t.Helper()
	pod := j.pod(t, name)
	text, err := json.Marshal(object{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": object{"name": pod, "namespace": "default"}})
	if err != nil {
		t.Fatal(err)
	}
	j.node.kubectlWith(t, bytes.NewReader(text), "create", "--raw", "/api/v1/namespaces/default/pods/"+pod+"/eviction", "-f", "-")
}

func (j *kubeJobs) testEnds(t *testing.T) {
	const (
		gentle   = "trap 'echo ends; exit 0' TERM; echo begun; while true; do sleep 0.1; done"
		stubborn = "trap '' TERM; echo begun; while true; do sleep 0.1; done"
	)
	kills := func(name string) { j.kills(t, name) }
	tests := []struct {
		name, command, more string
		do                  func(name string) // once it has written that it has begun
		state, reason       string
	}{
		{"unplaced", "true", `"cpus":800,`, func(name string) {
			j.awaitWhy(t, name, "Unschedulable: 0/1 nodes are available")
			kills(name)
		}, "killed", "killed by request"},
		{"ok", "echo begun; echo err >&2", "", nil, "finished", ""},
		{"fails", "exit 3", "", nil, "failed", "command exited with status 3"},
		{"oom", "head -c 200000000 /dev/zero | tail", "", nil, "failed", "OOMKilled"},
		{"huge", "true", `"cpus":900,`, nil, "failed", "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu"},
		{"noimage", "true", `"container":{"type":"MESOS","image":"localhost/none:1"},`, nil, "failed", "localhost/none:1"},
		{"overtime", "sleep 1000", `"maxCompletionTime":2,`, nil, "failed", ""},
		{"gentle", gentle, "", kills, "killed", "killed by request"},
		{"stubborn", stubborn, "", kills, "killed", "killed by request"},
		{"deleted", "echo begun; sleep 1000", "", func(name string) { j.node.kubectl(t, "delete", "pod", "--wait=false", j.pod(t, name)) },
			"failed", "the pod was deleted by somebody else: on node localhost: command exited with status"},
		{"evicted", "echo begun; sleep 1000", "", func(name string) { j.evict(t, name) }, "lost", "EvictionByEvictionAPI"},
	}
	for _, tt := range tests {
		j.launch(t, tt.name, tt.command, tt.more)
	}
	for _, tt := range tests {
		if tt.do != nil {
			if strings.Contains(tt.command, "begun") {
				j.begun(t, tt.name)
			}
			tt.do(tt.name)
		}
	}
	for _, tt := range tests {
		j.wantEnd(t, tt.name, tt.state, tt.reason)
	}
}

// testGiven has pods look at what they were given.
func (j *kubeJobs) testGiven(t *testing.T) {
	served := t.TempDir()
	if err := os.WriteFile(filepath.Join(served, "greeting"), []byte("from afar\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := fileServer(t, served)
	tests := []struct{ name, command, more, want string }{
		{"secret", `echo "$DB $(echo nested) $$"`, `"environmentVariables":[{"name":"DB","secret":"db-password"}],`, "t0p-s3cret nested 1\n"},
		{"fetch", "cat greeting", `"fetch":[{"uri":"` + files + `/greeting"}],"container":{"type":"DOCKER","image":"` + kubeImage + `","network":"HOST","volumes":[{"hostPath":"` +
			j.witness + `","containerPath":"/witness","mode":"RW"}]},`, "from afar\n"},
		{"constrained", "echo here", `"constraints":[["hostname","LIKE","local.*"],["kubernetes.io/os","EQUALS","linux"]],`, "here\n"},
	}
	for _, tt := range tests {
		j.launch(t, tt.name, tt.command, tt.more)
	}
	for _, tt := range tests {
		run := j.awaitEnd(t, tt.name, 1)
		if run.State != "finished" {
			t.Errorf("%s has %s: %s", tt.name, run.State, run.Reason)
			continue
		}
		if got := j.mustCall(t, "GET", "/scheduler/run/"+run.ID+"/stdout", "", 200); got != tt.want {
			t.Errorf("%s has written %q, want %q", tt.name, got, tt.want)
		}
	}
	if pods := j.node.kubectl(t, "get", "pods", "-o", "json"); strings.Contains(pods, "t0p-s3cret") {
		t.Error("a pod shows a secret")
	}
	j.launch(t, "elsewhere", "true", `"constraints":[["rack","LIKE","r[12]"]],`)
	j.awaitWhy(t, "elsewhere", "none of 1 nodes has such a label rack")
	j.node.kubectl(t, "label", "node", "localhost", "rack=r2")
	j.wantEnd(t, "elsewhere", "finished", "")
}

// fileServer serves a directory on loopback.
func fileServer(t *testing.T, dir string) string {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", zktest.FreePort())
	server := &http.Server{Addr: address, Handler: http.FileServer(http.Dir(dir))}
	go server.ListenAndServe()
	t.Cleanup(func() { server.Close() })
	return "http://" + address
}

// testOutput reads what runs write, while they do and afterwards, also of one that was killed.
func (j *kubeJobs) testOutput(t *testing.T) {
	part := func(id, query, want string) {
		t.Helper()
		if got := j.mustCall(t, "GET", "/scheduler/run/"+id+"/stdout"+query, "", 200); got != want {
			t.Errorf("stdout%s is %q, want %q", query, got, want)
		}
	}
	// Between the two, because they come over pipes of their own.
	j.launch(t, "writes", "echo begun; sleep 1; echo err >&2; while [ ! -e /witness/go ]; do sleep 0.1; done; echo done", "")
	id := j.begun(t, "writes")
	j.until(t, "both are read while it runs", func() bool {
		return j.mustCall(t, "GET", "/scheduler/run/"+id+"/stdout", "", 200) == "begun\nerr\n"
	})
	if err := os.WriteFile(filepath.Join(j.witness, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j.wantEnd(t, "writes", "finished", "")
	j.until(t, "the log that was read last is forgotten", func() bool {
		return j.mustCall(t, "GET", "/scheduler/run/"+id+"/stdout", "", 200) == "begun\nerr\ndone\n"
	})
	part(id, "?offset=6&length=3", "err")
	part(id, "?offset=-5", "done\n")
	j.launch(t, "last-words", "trap 'echo farewell; exit 1' TERM; echo begun; while true; do sleep 0.1; done", "")
	id = j.begun(t, "last-words")
	j.kills(t, "last-words")
	j.wantEnd(t, "last-words", "killed", "")
	j.until(t, "its last words can be read", func() bool {
		_, text, err := j.call("GET", "/scheduler/run/"+id+"/stdout", "")
		return err == nil && text == "begun\nfarewell\n"
	})
}

// testLeaderKilled has runs end, and pods deleted by somebody, while nobody leads.
func (j *kubeJobs) testLeaderKilled(t *testing.T) {
	j.launch(t, "survives", "echo begun; while [ ! -e /witness/leaderless ]; do sleep 0.1; done", "")
	j.launch(t, "orphan", "echo begun; sleep 1000", "")
	j.launch(t, "goes-on", "echo begun; while [ ! -e /witness/led ]; do sleep 0.1; done; exit 4", "")
	for _, name := range []string{"survives", "orphan", "goes-on"} {
		j.begun(t, name)
	}
	j.kill()
	pod := j.pod(t, "orphan")
	j.node.kubectl(t, "delete", "pod", "--wait=false", pod)
	j.touch(t, "leaderless")
	until(t, "both have ended while nobody leads", func() bool {
		var phases []string
		for _, name := range []string{j.pod(t, "survives"), pod} {
			phases = append(phases, strings.TrimSpace(j.node.kubectl(t, "get", "pod", name, "-o", "jsonpath={.status.phase}")))
		}
		return phases[0] == "Succeeded" && phases[1] == "Failed"
	})
	began := time.Now()
	j.start(t)
	j.serves(t)
	j.wantEnd(t, "survives", "finished", "")
	t.Logf("%s after its start the next leader has told an end that came before", since(began))
	j.wantEnd(t, "orphan", "failed", "the pod was deleted by somebody else")
	j.touch(t, "led")
	j.wantEnd(t, "goes-on", "failed", "status 4")
}

func (j *kubeJobs) touch(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(j.witness, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

// testKubeletKilled has a run end while its node is not heard of.
func (j *kubeJobs) testKubeletKilled(t *testing.T) {
	j.launch(t, "unheard", "echo begun; while [ ! -e /witness/unheard ]; do sleep 0.1; done; exit 5", "")
	j.begun(t, "unheard")
	began := time.Now()
	j.node.end(t, "kubelet", "KILL")
	j.until(t, "its agent is unreachable", func() bool {
		open, _ := j.runs(t, "unheard")
		return len(open) == 1 && strings.Contains(open[0].Reason, "unreachable")
	})
	t.Logf("a node without its kubelet is unreachable after %s", since(began))
	j.touch(t, "unheard")
	began = time.Now()
	j.node.begin(t, "kubelet")
	j.wantEnd(t, "unheard", "failed", "status 5")
	t.Logf("what had ended meanwhile is told %s after the kubelet is back", since(began))
	j.launch(t, "heard", "true", "")
	j.wantEnd(t, "heard", "finished", "")
	t.Logf("the next run has ended %s after that", since(began))
}

// testOutage ends a part of the control plane while runs go on, end, are killed and become due.
func (j *kubeJobs) testOutage(t *testing.T, part, signal string, away time.Duration) {
	name := func(what string) string { return what + "-" + part }
	j.launch(t, name("through"), "echo begun; while [ ! -e /witness/"+name("back")+" ]; do sleep 0.1; done", "")
	j.launch(t, name("during"), "echo begun; while [ ! -e /witness/"+name("away")+" ]; do sleep 0.1; done; exit 6", "")
	j.launch(t, name("unwanted"), "echo begun; sleep 1000", "")
	for _, what := range []string{"through", "during", "unwanted"} {
		j.begun(t, name(what))
	}
	j.post(t, name("due"), "true", "")
	j.node.end(t, part, signal)
	began := time.Now()
	j.touch(t, name("away"))
	j.runNow(t, name("due"))
	j.kills(t, name("unwanted"))
	time.Sleep(time.Until(began.Add(away))) // how long it is away is what this test is about
	began = time.Now()
	j.node.begin(t, part)
	j.wantEnd(t, name("due"), "finished", "")
	t.Logf("%s was away for %s; what was due meanwhile has ended %s after its start", part, away, since(began))
	j.wantEnd(t, name("during"), "failed", "status 6")
	j.wantEnd(t, name("unwanted"), "killed", "")
	j.touch(t, name("back"))
	j.wantEnd(t, name("through"), "finished", "")
	t.Logf("everything has ended %s after it", since(began))
}

const manyPods = 200

// sayWhen is a command that tells when it has begun, in the machine's own time.
const sayWhen = `echo "$mesos_task_id $(cut -d' ' -f1 /proc/uptime)" >>/witness/uptimes`

// testManyJobs has many jobs due at once, and tells how late they were.
func testManyJobs(t *testing.T, node *kubeNode) {
	j := &kubeJobs{node: node, witness: t.TempDir()}
	j.instance = newInstance(t, "many", "--master", "k8s://"+node.kubeconfig, "--data_dir", filepath.Join(t.TempDir(), "data"), "--kubernetes_image", kubeImage)
	j.start(t)
	j.serves(t)
	due := time.Now().Add(20 * time.Second).UTC().Truncate(time.Second)
	for i := range manyPods {
		text, err := json.Marshal(sayWhen)
		if err != nil {
			t.Fatal(err)
		}
		j.mustCall(t, "POST", "/scheduler/iso8601", fmt.Sprintf(`{"name":"burst%d","command":%s,"cpus":0.001,"mem":8,"disk":0,"retries":0,"epsilon":"PT1H","schedule":"R1/%s/PT1H",
			"container":{"type":"MESOS","image":"%s","volumes":[{"hostPath":"%s","containerPath":"/witness","mode":"RW"}]}}`, i, text, due.Format(time.RFC3339), kubeImage, j.witness), 204)
	}
	if time.Now().After(due) {
		t.Fatal("the machine is too slow to put the jobs in before they are due")
	}
	awaitMany(t, "jobs", j.witness, uptimeNow(t)+time.Until(due).Seconds())
	for i := range manyPods {
		j.wantEnd(t, fmt.Sprint("burst", i), "finished", "")
	}
	j.leave(t)
}

// leave ends the instance once it holds no pod any more, and deletes the pods.
func (j *kubeJobs) leave(t *testing.T) {
	t.Helper()
	until(t, "no pod is held", func() bool {
		return strings.TrimSpace(j.node.kubectl(t, "get", "pods", "-o", "jsonpath={.items[*].metadata.finalizers}")) == ""
	})
	j.terminate(t)
	j.node.kubectl(t, "delete", "pods", "--all", "--wait=true", "--timeout=5m")
}

// testManyBarePods has a bare loop make as many pods, for comparison.
func testManyBarePods(t *testing.T, node *kubeNode) {
	bare := t.TempDir()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	began := uptimeNow(t)
	for i := range manyPods {
		pod := object{"metadata": object{"name": fmt.Sprint("bare", i)}, "spec": object{
			"restartPolicy": "Never", "automountServiceAccountToken": false, "volumes": []any{object{"name": "w", "hostPath": object{"path": bare}}},
			"containers": []any{object{
				"name": "task", "image": kubeImage, "command": []string{"/bin/sh", "-c", sayWhen}, "env": []any{object{"name": "mesos_task_id", "value": fmt.Sprint(i)}},
				"volumeMounts": []any{object{"name": "w", "mountPath": "/witness"}}, "resources": object{"requests": object{"cpu": "1m", "memory": "8Mi"}, "limits": object{"memory": "8Mi"}},
			}},
		}}
		text, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest("POST", fmt.Sprintf("https://127.0.0.1:%d/api/v1/namespaces/default/pods", node.api), bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer chronos-test")
		req.Header.Set("Content-Type", typeJSON)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("a bare pod was answered with %s", resp.Status)
		}
	}
	awaitMany(t, "bare pods", bare, began)
	node.kubectl(t, "delete", "pods", "--all", "--wait=false")
}

// uptimeNow is how many seconds the machine has run.
func uptimeNow(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	return uptime(t, string(text))
}

// awaitMany waits until all have said when they have begun, and tells how late that was.
func awaitMany(t *testing.T, what, dir string, due float64) {
	t.Helper()
	var late []float64
	for deadline := time.Now().Add(10 * patience); len(late) < manyPods; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d %s have begun", len(late), manyPods, what)
		}
		text, _ := os.ReadFile(filepath.Join(dir, "uptimes"))
		late = late[:0]
		seen := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			id, at, _ := strings.Cut(strings.TrimSpace(line), " ")
			if seen[id] {
				t.Errorf("%s was started twice", id)
			}
			seen[id] = true
			late = append(late, uptime(t, at)-due)
		}
	}
	slices.Sort(late)
	t.Logf("%d %s at once begin %.1f s (first), %.1f s (median), %.1f s (p99), %.1f s (last) after that", manyPods, what, late[0], late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
}

func uptime(t *testing.T, text string) float64 {
	first, _, _ := strings.Cut(text, " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		t.Errorf("uptime %q: %v", text, err)
	}
	return seconds
}

// testManifests has the API server look at everything in deploy/kubernetes, and at what the guide says to type.
func testManifests(t *testing.T, node *kubeNode) {
	files, err := filepath.Glob(filepath.Join(repository, "deploy", "kubernetes", "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			all = append(all, []string{"-k", filepath.Dir(file)})
		} else {
			all = append(all, []string{"-f", file})
		}
	}
	guide, err := os.ReadFile(filepath.Join(repository, "docs", "kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(guide)) {
		if words, ok := strings.CutPrefix(line, "    kubectl apply "); ok {
			all = append(all, strings.Fields(strings.ReplaceAll(words, " deploy/", " "+repository+"/deploy/")))
		}
	}
	for _, words := range all {
		words = append([]string{"apply", "--dry-run=server", "--validate=strict"}, words...)
		if out, err := node.tryKubectl(nil, words...); err != nil || !strings.Contains(out, "(server dry run)") {
			t.Errorf("kubectl %s: %s %v", strings.Join(words, " "), out, err)
		}
	}
}

// testInside runs the program in a pod, from the manifests and with the rights that they give. The node has no network beside
// its own, so the pod shares that.
func testInside(t *testing.T, node *kubeNode) {
	overlay := filepath.Join(t.TempDir(), "kubernetes")
	if err := os.CopyFS(overlay, os.DirFS(filepath.Join(repository, "deploy", "kubernetes"))); err != nil {
		t.Fatal(err)
	}
	const namespace = "batch"
	port := fmt.Sprint(zktest.FreePort())
	v := &instance{addr: "127.0.0.1:" + port, log: filepath.Join(t.ArtifactDir(), "inside")}
	variable := func(name, value string) object { return object{"name": name, "value": value} }
	patch := object{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": object{"name": "chronos"}, "spec": object{"template": object{"spec": object{
		"hostNetwork": true, "containers": []any{object{
			"name": "chronos", "args": []string{"--master=k8s", "--kubernetes_image=" + kubeImage, "--http_port=" + port}, "ports": []any{object{"$patch": "replace"}},
			"env": []any{variable("KUBERNETES_SERVICE_HOST", "127.0.0.1"), variable("KUBERNETES_SERVICE_PORT", fmt.Sprint(node.api)),
				variable("CHRONOS_DATA_DIR", "/data"), variable("CHRONOS_HTTP_ADDRESS", "127.0.0.1")},
			"readinessProbe": object{"httpGet": object{"host": "127.0.0.1", "port": json.RawMessage(port)}},
			"livenessProbe":  object{"httpGet": object{"host": "127.0.0.1", "port": json.RawMessage(port)}},
		}},
	}}}}
	kustomization := object{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": namespace, "resources": []string{"../one"},
		"images": []any{object{"name": "chronos", "newName": "localhost/chronos", "newTag": "1"}}, "patches": []any{object{"path": "patch.json"}}}
	if err := os.Mkdir(filepath.Join(overlay, "here"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]any{"patch.json": patch, "kustomization.yaml": kustomization} {
		text, err := json.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(overlay, "here", name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	data := t.TempDir()
	if err := os.Chown(data, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(data), 0o755); err != nil {
		t.Fatal(err)
	}
	node.apply(t, nil,
		object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": namespace}},
		object{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": object{"name": "data"}, "spec": object{
			"capacity": object{"storage": "1Gi"}, "accessModes": []string{"ReadWriteOnce"}, "hostPath": object{"path": data}}})
	node.kubectl(t, "apply", "-k", filepath.Join(overlay, "here"))
	defer node.kubectl(t, "delete", "statefulset", "-n", namespace, "chronos")
	defer func() {
		if t.Failed() {
			out, _ := node.tryKubectl(nil, "describe", "pods", "-n", namespace)
			log, _ := node.tryKubectl(nil, "logs", "-n", namespace, "chronos-0")
			t.Log(out, log)
		}
	}()
	node.kubectl(t, "rollout", "status", "-n", namespace, "statefulset/chronos", "--timeout=2m")
	v.serves(t)
	j := &kubeJobs{instance: v, node: node, witness: t.TempDir()}
	const more = `"constraints":[["hostname","LIKE","local.*"]],` // for which it must see nodes
	j.launch(t, "inside", "echo begun", more)
	run := j.awaitEnd(t, "inside", 1)
	if run.State != "finished" {
		t.Errorf("a run inside has %s: %s", run.State, run.Reason)
	}
	if got := j.mustCall(t, "GET", "/scheduler/run/"+run.ID+"/stdout", "", 200); got != "begun\n" {
		t.Errorf("its output is %q", got)
	}
	j.launch(t, "unwanted", "echo begun; sleep 1000", more)
	j.begun(t, "unwanted")
	j.kills(t, "unwanted")
	j.wantEnd(t, "unwanted", "killed", "")
	j.launch(t, "goes-on", "echo begun; while [ ! -e /witness/go ]; do sleep 0.1; done; exit 4", more)
	j.begun(t, "goes-on")
	node.kubectl(t, "delete", "pod", "-n", namespace, "chronos-0")
	node.kubectl(t, "rollout", "status", "-n", namespace, "statefulset/chronos", "--timeout=2m")
	v.serves(t)
	j.touch(t, "go")
	j.wantEnd(t, "goes-on", "failed", "status 4")
	for _, words := range []string{"get secrets", "create deployments", "get nodes", "create pods --subresource=exec", "update pods", "get pods --subresource=log"} {
		args := append([]string{"auth", "can-i"}, strings.Fields(words)...)
		out, _ := node.tryKubectl(nil, append(args, "-n", namespace, "--as", "system:serviceaccount:"+namespace+":chronos")...)
		if want := strings.HasSuffix(words, "log"); strings.HasPrefix(out, "yes") != want {
			t.Errorf("may it %s? %q", words, out)
		}
	}
}
