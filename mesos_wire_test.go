package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// sentCall is a request as it arrived at a master.
type sentCall struct {
	method, path string
	header       http.Header
	call         *sched.Call
}

// sentCalls subscribes with a framework id, makes calls, and returns all that
// was sent.
func sentCalls(t *testing.T, make ...*sched.Call) []sentCall {
	var mu sync.Mutex
	var sent []sentCall
	k := connect(t, brokenMaster(t, func(w http.ResponseWriter, r *http.Request) {
		call := &sched.Call{}
		if err := call.Unmarshal(readAll(r.Body)); err != nil {
			t.Errorf("undecodable call: %v", err)
		}
		mu.Lock()
		sent = append(sent, sentCall{r.Method, r.URL.Path, r.Header, call})
		mu.Unlock()
		if call.Type != sched.Call_SUBSCRIBE {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", mediaProtobuf)
		w.Header().Set(streamHeader, "the-stream")
		w.Write(encodeEvent(&sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{
			FrameworkID: &mesos.FrameworkID{Value: "F"}}}, false))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}), "F")
	synctest.Wait()
	for _, call := range make {
		if err := k.outcome(call); err != nil {
			t.Errorf("%s: %v", call.Type, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(sent)
}

// recordedRequest finds a request that a real master took.
func recordedRequest(t *testing.T, recording, name string) recorded {
	t.Helper()
	for _, it := range readRecording(t, recording) {
		if it.Kind == "request" && it.Name == name {
			return it
		}
	}
	t.Fatalf("no request %q in %s", name, recording)
	return recorded{}
}

// TestCallsHaveTheRecordedForm compares each call that we send with a recorded
// one: the same fields with values of the same type, and the same headers.
// more lists the fields that ours has and the recorded one has not, each of
// which is in the messages of every Mesos since 1.0 or is ignored there.
func TestCallsHaveTheRecordedForm(t *testing.T) {
	o := plain("O1", "S1", 4, 4096, 10240)
	m := newMarket("*")
	m.add(o, time.Time{})
	p, _ := m.place(needs(0.1, 32, 10))
	task := taskInfo(&Job{Name: "a", Command: "true", Shell: true}, &Run{ID: "ct:1:0:a:"}, p)
	launch := func(opts ...sched.CallOpt) *sched.Call {
		return calls.Accept(calls.OfferOperations{calls.OpLaunch(*task)}.WithOffers(o.ID)).With(opts...)
	}
	uuid := []byte("0123456789abcdef")
	ours := []string{"accept.operations[].launch.task_infos[].command.environment.variables[].name:string",
		"accept.operations[].launch.task_infos[].command.environment.variables[].value:string",
		"accept.operations[].launch.task_infos[].resources[].role:string"}
	tests := []struct {
		call            *sched.Call
		recording, name string
		more            []string
	}{
		{nil, "08-failover-same-id", "second:SUBSCRIBE", []string{"subscribe.framework_info.capabilities[].type:string"}},
		{launch(calls.RefuseSeconds(0)), "01-lifecycle-finished", "ACCEPT-LAUNCH hi-1", ours},
		{calls.Decline(o.ID), "04-decline-suppress-revive", "DECLINE refuse=None", nil},
		{calls.Decline(o.ID).With(calls.RefuseSeconds(3 * time.Second)), "04-decline-suppress-revive", "DECLINE refuse=3", nil},
		{calls.Revive(), "04-decline-suppress-revive", "REVIVE", nil},
		{calls.Suppress(), "04-decline-suppress-revive", "SUPPRESS", nil},
		{calls.Kill("t", "S1"), "03-kill", "KILL", nil},
		{calls.Acknowledge("S1", "t", uuid), "01-lifecycle-finished", "ACKNOWLEDGE TASK_RUNNING", nil},
		{calls.Reconcile(), "05-reconcile", "RECONCILE implicit", nil},
		{calls.Reconcile(calls.ReconcileTasks(map[string]string{"t": "S1", "u": ""})), "05-reconcile", "RECONCILE explicit", nil},
	}
	synctest.Test(t, func(t *testing.T) {
		var all []*sched.Call
		for _, tt := range tests[1:] {
			all = append(all, tt.call)
		}
		sent := sentCalls(t, all...)
		if len(sent) != len(tests) {
			t.Fatalf("%d calls sent, want %d", len(sent), len(tests))
		}
		for i, tt := range tests {
			want := recordedRequest(t, tt.recording, tt.name)
			compareForm(t, sent[i], want, tt.more)
		}
	})
}

func compareForm(t *testing.T, got sentCall, want recorded, more []string) {
	t.Helper()
	name := got.call.Type.String()
	if got.method != want.Method || got.path != want.Path {
		t.Errorf("%s: %s %s, want %s %s", name, got.method, got.path, want.Method, want.Path)
	}
	for _, h := range []string{"Content-Type", "Accept"} {
		if got.header.Get(h) != mediaProtobuf {
			t.Errorf("%s: %s = %q, want exactly %q", name, h, got.header.Get(h), mediaProtobuf)
		}
	}
	if stream := got.header.Get(streamHeader); (stream != "") != (want.header(streamHeader) != "") {
		t.Errorf("%s: stream id %q, recorded %q", name, stream, want.header(streamHeader))
	}
	body, err := json.Marshal(got.call)
	if err != nil {
		t.Fatal(err)
	}
	g, w := fields(t, withoutNulls(body)), fields(t, want.Body)
	for _, f := range more {
		delete(g, f)
	}
	if extra, missing := difference(g, w), difference(w, g); len(extra)+len(missing) > 0 {
		t.Errorf("%s: fields beside the recorded ones: %q; missing: %q", name, extra, missing)
	}
}

// fields lists the paths of all values with their types.
func fields(t *testing.T, body []byte) map[string]bool {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(strings.TrimPrefix(path+"."+k, "."), e)
			}
		case []any:
			for _, e := range v {
				walk(path+"[]", e)
			}
		default:
			found[fmt.Sprintf("%s:%T", path, v)] = true
		}
	}
	walk("", v)
	return found
}

func difference(a, b map[string]bool) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if !b[k] {
			out = append(out, k)
		}
	}
	return out
}
