package main

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestStatesOfRecordedPods derives what is told of tasks from what a real API server has said of their pods.
func TestStatesOfRecordedPods(t *testing.T) {
	t.Parallel()
	f, err := os.Open("internal/kubetest/testdata/watch.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string][]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e kubeEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		var p podObject
		if err := json.Unmarshal(e.Object, &p); err != nil {
			t.Fatal(err)
		}
		if e.Type == "BOOKMARK" {
			continue
		}
		n := p.news()
		line := strings.TrimSpace(n.state.String() + " " + cutText(n.message, 72, ""))
		if said := got[p.Metadata.Name]; len(said) == 0 || said[len(said)-1] != line {
			got[p.Metadata.Name] = append(said, line)
		}
	}
	tests := map[string][]string{
		"ok":    {"TASK_STAGING", "TASK_RUNNING", "TASK_FINISHED"},
		"fails": {"TASK_STAGING", "TASK_RUNNING", "TASK_FAILED on node localhost: command exited with status 3"},
		"oom":   {"TASK_STAGING", "TASK_RUNNING", "TASK_FAILED OOMKilled on node localhost: command exited with status 137"},
		"huge":  {"TASK_STAGING", "TASK_STAGING Unschedulable: 0/1 nodes are available: 1 Insufficient cpu. no new claim"},
		"long":  {"TASK_STAGING", "TASK_RUNNING", "TASK_FINISHED"}, // deleted by somebody, it has ended with 0 all the same
		"deaf":  {"TASK_STAGING", "TASK_RUNNING", "TASK_FAILED the pod was deleted by somebody else: on node localhost: command exited"},
		"noimage": {"TASK_STAGING", "TASK_STAGING ErrImagePull: failed to pull and unpack image \"registry.example/local/no",
			"TASK_STAGING ImagePullBackOff: Back-off pulling image \"registry.example/local/none:1\"", "TASK_STAGING ErrImagePull: failed to pull and unpack image \"registry.example/local/no"},
	}
	for name, want := range tests {
		if !slices.Equal(got[name], want) {
			t.Errorf("%s: %q\nwant %q", name, got[name], want)
		}
	}
}

func TestStatesOfPods(t *testing.T) {
	t.Parallel()
	const ended = `"containerStatuses":[{"name":"task","state":{"terminated":{"exitCode":0,"reason":"Completed","startedAt":"2026-01-01T00:00:00Z","finishedAt":"2026-01-01T00:01:00Z"}}}]`
	tests := []struct{ name, meta, node, status, want string }{
		{"killed, and ended with 0", `"annotations":{"chronos-go.github.io/killed-at":"2026-01-01T00:00:59Z"}`, "n", `"phase":"Running",` + ended, "TASK_KILLED on node n: command exited with status 0"},
		{"ended with 0 before it was killed", `"annotations":{"chronos-go.github.io/killed-at":"2026-01-01T00:01:01Z"}`, "n", `"phase":"Succeeded",` + ended, "TASK_FINISHED"},
		{"fetching has failed", ``, "n", `"phase":"Failed","initContainerStatuses":[{"name":"chronos-fetch","state":{"terminated":{"exitCode":1,"message":"fetch http://x/y: 404 Not Found\n"}}}]`,
			"TASK_FAILED on node n: fetch http://x/y: 404 Not Found"},
		{"its node has forgotten it", ``, "n", `"phase":"Failed","containerStatuses":[{"name":"task","state":{"terminated":{"exitCode":137,"reason":"ContainerStatusUnknown","message":"The container could not be located"}}}]`,
			"TASK_LOST ContainerStatusUnknown on node n: The container could not be located"},
		{"refused by its node", ``, "n", `"phase":"Failed","reason":"OutOfcpu","message":"Node didn't have enough resource"`, "TASK_FAILED OutOfcpu on node n: Node didn't have enough resource"},
		{"deleted before it had a node", `"deletionTimestamp":"2026-01-01T00:00:00Z"`, "", `"phase":"Pending"`, "TASK_LOST the pod was deleted by somebody else before it had a node"},
		{"killed before it had a node", `"deletionTimestamp":"2026-01-01T00:00:00Z","annotations":{"chronos-go.github.io/killed-at":"2026-01-01T00:00:00Z"}`, "", `"phase":"Pending"`,
			"TASK_KILLED killed before it had started"},
		{"another container has ended", ``, "n", `"phase":"Running","containerStatuses":[{"name":"other","state":{"terminated":{"exitCode":1,"startedAt":"2026-01-01T00:00:00Z"}}},{"name":"task","state":{"running":{}}}]`,
			"TASK_RUNNING"},
	}
	for _, tt := range tests {
		var p podObject
		document := `{"metadata":{` + tt.meta + `},"spec":{"nodeName":"` + tt.node + `"},"status":{` + tt.status + `}}`
		if err := json.Unmarshal([]byte(document), &p); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		n := p.news()
		if got := strings.TrimSpace(n.state.String() + " " + n.message); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
