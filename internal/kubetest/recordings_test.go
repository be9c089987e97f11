package kubetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// A line is what a watch said, as far as a client may rely on it.
func line(t *testing.T, text []byte) (name, what string) {
	t.Helper()
	var e struct {
		Type   string
		Object struct {
			Metadata struct {
				Name              string
				DeletionTimestamp *string
			}
			Status struct {
				Phase             string
				Conditions        []struct{ Type, Status, Reason string }
				ContainerStatuses []struct {
					State map[string]struct{ Reason string }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	what = e.Type + " " + e.Object.Status.Phase
	for _, c := range e.Object.Status.Conditions {
		if c.Type == "PodScheduled" {
			what += " scheduled=" + c.Status + c.Reason
		}
	}
	for _, c := range e.Object.Status.ContainerStatuses {
		for state, s := range c.State {
			what += " " + state + s.Reason
		}
	}
	if e.Object.Metadata.DeletionTimestamp != nil {
		what += " deleted"
	}
	return e.Object.Metadata.Name, what
}

// histories are the different states of each pod, in order.
func histories(t *testing.T, lines *bufio.Scanner, done func(map[string][]string) bool) map[string][]string {
	t.Helper()
	lines.Buffer(nil, 1<<20)
	all := map[string][]string{}
	for lines.Scan() {
		name, what := line(t, lines.Bytes())
		if name == "" {
			continue
		}
		if seen := all[name]; len(seen) == 0 || seen[len(seen)-1] != what {
			all[name] = append(seen, what)
		}
		if done(all) {
			break
		}
	}
	return all
}

func do(t *testing.T, s *Server, method, path, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, text
}

const path = "/api/v1/namespaces/default/pods"

// TestPodsGoTheWayOfTheRecordedOnes makes the recorded pods on the double, and wants the states that a real API server showed.
func TestPodsGoTheWayOfTheRecordedOnes(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/watch.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	recorded := histories(t, bufio.NewScanner(f), func(map[string][]string) bool { return false })
	s := NewServer(t, Options{Step: 5 * time.Millisecond})
	const no = "registry.example/local/none:1"
	s.SetBehaviour(func(p Pod) Outcome {
		return map[string]Outcome{
			"ok": {After: time.Millisecond}, "fails": {After: time.Millisecond, Exit: 3}, "oom": {After: time.Millisecond, Exit: 137, Reason: "OOMKilled"},
			"huge": {Unschedulable: "0/1 nodes are available: 1 Insufficient cpu."}, "noimage": {Waiting: "ErrImagePull", Message: no},
			"long": {Forever: true, OnTerm: -1}, "deaf": {Forever: true, Deaf: true},
		}[p.Name]
	})
	resp, err := http.Get(s.URL() + path + "?watch=1&resourceVersion=247&labelSelector=app%3Dchronos")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for name := range recorded {
		body := fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"app":"chronos"}},"spec":{"containers":[{"name":"task"}]}}`, name)
		if status, text := do(t, s, http.MethodPost, path, body); status != http.StatusCreated {
			t.Fatalf("%s: %d %s", name, status, text)
		}
	}
	asked := false
	got := histories(t, bufio.NewScanner(resp.Body), func(all map[string][]string) bool {
		running := func(name string) bool { return slices.Contains(all[name], "MODIFIED Running scheduled=True running") }
		if !asked && running("long") && running("deaf") {
			asked = true
			for _, name := range []string{"long", "deaf"} {
				do(t, s, http.MethodDelete, path+"/"+name+"?gracePeriodSeconds=1", "")
			}
		}
		over := 0
		for name, states := range all {
			last := states[len(states)-1]
			if strings.HasPrefix(last, "DELETED") || strings.Contains(last, "Succeeded") && name == "ok" || strings.Contains(last, "Failed") && (name == "fails" || name == "oom") ||
				strings.Contains(last, "ErrImagePull") || strings.Contains(last, "Unschedulable") {
				over++
			}
		}
		return over == len(recorded)
	})
	for name, want := range recorded {
		if name == "noimage" { // which goes on for ever
			want = want[:slices.Index(want, "MODIFIED Pending scheduled=True waitingErrImagePull")+1]
		}
		if !slices.Equal(got[name], want) {
			t.Errorf("%s goes %q\nwant %q", name, got[name], want)
		}
	}
}

// The documents with which an API server refuses something are those that were recorded.
func TestRefusalsAreTheRecordedOnes(t *testing.T) {
	t.Parallel()
	s := NewServer(t, Options{})
	do(t, s, http.MethodPost, path, `{"metadata":{"name":"ok"},"spec":{}}`)
	locked := NewServer(t, Options{Token: "secret"})
	tests := []struct {
		file, method, path, body string
		on                       *Server
	}{
		{"create-again.response.json", http.MethodPost, path, `{"metadata":{"name":"ok"},"spec":{}}`, s},
		{"get-missing.json", http.MethodGet, path + "/none", "", s},
		{"unauthorized.json", http.MethodGet, path, "", locked},
	}
	for _, tt := range tests {
		text, err := os.ReadFile("testdata/" + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		var want, got Object
		status, answer := do(t, tt.on, tt.method, tt.path, tt.body)
		if json.Unmarshal(text, &want) != nil || json.Unmarshal(answer, &got) != nil {
			t.Fatalf("%s: %s", tt.file, answer)
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) || float64(status) != want["code"] {
			t.Errorf("%s: %d %s\nwant %s", tt.file, status, b, a)
		}
	}
}
