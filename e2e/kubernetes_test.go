package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kubectl changes something in the cluster behind the program's back.
func kubectl(t *testing.T, config string, words ...string) string {
	t.Helper()
	cmd := exec.Command("kubectl", append([]string{"--kubeconfig", config}, words...)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl %s: %v %s", strings.Join(words, " "), err, &complaint)
	}
	return string(out)
}

// TestTortureKubernetes is the long form of what the double of a cluster stands for: a real one. KUBECONFIG names it, and
// CHRONOS_TEST_IMAGE an image with a shell that its nodes have.
func TestTortureKubernetes(t *testing.T) {
	config, image := os.Getenv("KUBECONFIG"), os.Getenv("CHRONOS_TEST_IMAGE")
	if !*longTorture || config == "" || image == "" {
		t.Skip("needs -torture, a cluster in KUBECONFIG, kubectl, and CHRONOS_TEST_IMAGE")
	}
	data := filepath.Join(t.TempDir(), "data")
	options := []string{"--master", "k8s://" + config, "--data_dir", data, "--kubernetes_image", image, "--stage_timeout", "30s"}
	v := newInstance(t, "kubernetes", options...)
	v.start(t)
	v.serves(t)
	post := func(name, command, more string) {
		t.Helper()
		text, err := json.Marshal(command)
		if err != nil {
			t.Fatal(err)
		}
		v.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"`+name+`","command":`+string(text)+`,"retries":0,"cpus":0.01,"mem":16,"disk":0,"epsilon":"PT10M",`+more+
			`"schedule":"R/2090-01-01T00:00:00Z/P1D"}`, 204)
		v.mustCall(t, "PUT", "/scheduler/job/"+name, "", 204)
	}
	begun := func(name string) {
		t.Helper()
		v.until(t, name+" has written something", func() bool {
			open, _ := v.runs(t, name)
			if len(open) == 0 {
				return false
			}
			_, text, err := v.call("GET", "/scheduler/run/"+open[0].ID+"/stdout", "")
			return err == nil && strings.Contains(text, "begun")
		})
	}
	const stubborn = "trap '' TERM; echo begun; while true; do sleep 0.1; done"
	ends := []struct {
		name, command, more string
		do                  func(name string) // once it has written that it has begun
		state, reason       string
	}{
		{"ok", "echo begun; echo err >&2", "", nil, "finished", ""},
		{"fails", "exit 3", "", nil, "failed", "command exited with status 3"},
		{"oom", "head -c 200000000 /dev/zero | tail", "", nil, "failed", "OOMKilled"},
		{"huge", "true", `"cpus":900,`, nil, "failed", "Unschedulable"},
		{"noimage", "true", `"container":{"type":"MESOS","image":"localhost/none:1"},`, nil, "failed", "Err"},
		{"long", "trap 'exit 0' TERM; echo begun; while true; do sleep 0.1; done", "", func(name string) { v.mustCall(t, "DELETE", "/scheduler/task/kill/"+name, "", 204) }, "killed", "killed by request"},
		{"deaf", stubborn, "", func(name string) { v.mustCall(t, "DELETE", "/scheduler/task/kill/"+name, "", 204) }, "killed", "killed by request"},
		{"deleted", "echo begun; sleep 1000", "", func(name string) {
			kubectl(t, config, "delete", "pod", "--wait=false", "-l", "chronos-go.github.io/job="+name)
		}, "failed", "deleted by somebody else"},
	}
	for _, tt := range ends {
		post(tt.name, tt.command, tt.more)
		if tt.do != nil {
			begun(tt.name)
			tt.do(tt.name)
		}
	}
	for _, tt := range ends {
		if run := v.awaitEnd(t, tt.name, 1); run.State != tt.state || !strings.Contains(run.Reason, tt.reason) {
			t.Errorf("%s has %s: %q, want %s: %q", tt.name, run.State, run.Reason, tt.state, tt.reason)
		}
	}
	post("survives", "echo begun; sleep 20", "")
	begun("survives")
	v.kill()
	time.Sleep(30 * time.Second) // so that it ends while nobody leads
	v.start(t)
	v.serves(t)
	if run := v.awaitEnd(t, "survives", 1); run.State != "finished" {
		t.Errorf("a run that has ended while nobody led: %s: %s", run.State, run.Reason)
	}
	allDueAtOnce(t, v)
	for _, file := range []string{"base/rbac.yaml", "base/nodes.yaml", "base/service.yaml", "one/statefulset.yaml", "zookeeper/deployment.yaml", "zookeeper/disruption.yaml"} {
		kubectl(t, config, "apply", "--dry-run=server", "-f", filepath.Join(repository, "deploy", "kubernetes", file))
	}
}

// allDueAtOnce has 200 jobs due at once, and tells how late they were.
func allDueAtOnce(t *testing.T, v *instance) {
	const n = 200
	due := time.Now().Add(30 * time.Second).UTC().Truncate(time.Second)
	for i := range n {
		v.mustCall(t, "POST", "/scheduler/iso8601", fmt.Sprintf(`{"name":"burst%d","command":"true","cpus":0.001,"mem":8,"disk":0,"retries":0,"epsilon":"PT30M","schedule":"R1/%s/PT1H"}`,
			i, due.Format(time.RFC3339)), 204)
	}
	for i := range n {
		if run := v.awaitEnd(t, fmt.Sprint("burst", i), 1); run.State != "finished" {
			t.Errorf("burst%d has %s: %s", i, run.State, run.Reason)
		}
	}
	t.Logf("%d jobs due at once have ended %s after that", n, time.Since(due).Round(time.Millisecond))
}
