package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
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
		w.Write(mesostest.Record(&sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{
			FrameworkID: &mesos.FrameworkID{Value: "F"}}}))
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
func recordedRequest(t *testing.T, recording, name string) mesostest.Item {
	t.Helper()
	for _, it := range mesostest.ReadRecording(t, recording) {
		if it.Kind == "request" && it.Name == name {
			return it
		}
	}
	t.Fatalf("no request %q in %s", name, recording)
	return mesostest.Item{}
}

// TestCallsHaveTheRecordedForm compares each call that we send with a recorded
// one: the same fields with values of the same type, and the same headers.
// more lists the fields that ours has and the recorded one has not, each of
// which is in the messages of every Mesos since 1.0 or is ignored there.
func TestCallsHaveTheRecordedForm(t *testing.T) {
	t.Parallel()
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

func compareForm(t *testing.T, got sentCall, want mesostest.Item, more []string) {
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
	if stream := got.header.Get(streamHeader); (stream != "") != (want.Header(streamHeader) != "") {
		t.Errorf("%s: stream id %q, recorded %q", name, stream, want.Header(streamHeader))
	}
	body, err := mesostest.JSON(got.call)
	if err != nil {
		t.Fatal(err)
	}
	g, w := fields(t, body), fields(t, want.Body)
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
		case nil: // which is not written on the wire
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

// recordedForms are the fields of the recorded calls that a real master took, by type.
func recordedForms(t *testing.T) map[string][]map[string]bool {
	t.Helper()
	forms := make(map[string][]map[string]bool)
	for _, name := range mesostest.Recordings(t) {
		items := mesostest.ReadRecording(t, name)
		for i, it := range items {
			var call struct{ Type string }
			if it.Kind != "request" || json.Unmarshal(it.Body, &call) != nil {
				continue
			}
			if answer := mesostest.AnswerTo(items[i:], it); answer != nil && strings.Contains(answer.Status, " 20") {
				forms[call.Type] = append(forms[call.Type], fields(t, it.Body))
			}
		}
	}
	return forms
}

// checkForm wants each field of a call in a recorded call of its type, with a value of the same
// type, or among more; and all that every recorded one has.
func checkForm(t *testing.T, sent sentCall, forms []map[string]bool, more []string) {
	t.Helper()
	body, err := mesostest.JSON(sent.call)
	if err != nil {
		t.Fatal(err)
	}
	ours := fields(t, body)
	known, needed := make(map[string]bool), maps.Clone(forms[0])
	for _, form := range forms {
		maps.Copy(known, form)
		maps.DeleteFunc(needed, func(f string, _ bool) bool { return !form[f] })
	}
	for _, f := range more {
		known[f] = true
	}
	if extra, missing := difference(ours, known), difference(needed, ours); len(extra)+len(missing) > 0 {
		t.Errorf("%s: fields that no recorded call has: %q; missing: %q", sent.call.Type, extra, missing)
	}
}

// TestEveryCallTheProgramSendsHasARecordedForm lets a scheduler do all that makes it call: launch,
// acknowledge, kill, decline, suppress, revive, and subscribe and reconcile with and without tasks. What
// arrives is compared with what real masters have taken.
func TestEveryCallTheProgramSendsHasARecordedForm(t *testing.T) {
	t.Parallel()
	forms := recordedForms(t)
	env := "accept.operations[].launch.task_infos[].command.environment.variables[]."
	more := map[sched.Call_Type][]string{ // in the messages of every Mesos since 1.0
		sched.Call_ACCEPT: {env + "name:string", env + "value:string", "accept.operations[].launch.task_infos[].resources[].role:string",
			"accept.operations[].launch.task_infos[].command.user:string"},
	}
	synctest.Test(t, func(t *testing.T) {
		m := oneAgent(t, mesostest.Options{Principal: "chronos", Secret: "s3cret"})
		var mu sync.Mutex
		var sent []sentCall
		tap := m.Serve("127.0.0.1:5070", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, call := readAll(r.Body), &sched.Call{}
			if err := call.Unmarshal(body); err != nil {
				t.Errorf("undecodable call: %v", err)
			}
			mu.Lock()
			sent = append(sent, sentCall{r.Method, r.URL.Path, r.Header, call})
			mu.Unlock()
			r.Body = io.NopCloser(bytes.NewReader(body))
			m.ServeHTTP(w, r)
		}))
		info := frameworkInfo(frameworkOptions{User: "root", Name: "chronos", Role: "*", Hostname: "localhost", WebUI: "http://localhost:8080",
			Principal: "chronos", FailoverTimeout: time.Hour, Checkpoint: true})
		c := configFor(m, info, slog.New(slog.DiscardHandler))
		c.follow = func(_ context.Context, report func(string)) { report("http://" + tap) }
		cfg, st := testConfig(), newMemStore()
		cfg.declineFor = 3 * time.Second
		st.records[adoptKey] = []byte("0")
		k := leadOn(t, newLifeline(m, st), cfg, c)
		defer k.die()
		j, err := decodeJob([]byte(`{"name":"a","command":"true","schedule":"R1/2000-01-01T00:00:30Z/PT1H"}`), cfg.defaults, dialect2, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // idle: the first offer is declined, further ones are suppressed
		if err := k.putJob(t.Context(), "a", func(*Job) (*Job, error) { return j, nil }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // due: revived, launched, acknowledged
		m.DropStreams()
		time.Sleep(time.Minute) // subscribed with the id, reconciled with the task
		if err := k.deleteJob(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // killed
		synctest.Wait()

		seen := make(map[string]int)
		mu.Lock()
		defer mu.Unlock()
		for _, s := range sent {
			kind := s.call.Type.String()
			seen[kind]++
			if s.call.FrameworkID != nil && s.call.Type == sched.Call_SUBSCRIBE {
				seen["SUBSCRIBE with an id"]++
			}
			if len(s.call.GetReconcile().GetTasks()) > 0 {
				seen["RECONCILE of a task"]++
			}
			if s.method != "POST" || s.path != schedulerPath {
				t.Errorf("%s: %s %s", kind, s.method, s.path)
			}
			want := []string{"Accept", "Authorization", "Content-Length", "Content-Type", "User-Agent"}
			if s.call.Type != sched.Call_SUBSCRIBE {
				want = append(want, streamHeader)
			}
			slices.Sort(want)
			if got := slices.Sorted(maps.Keys(s.header)); !slices.Equal(got, want) {
				t.Errorf("%s: headers = %q, want %q", kind, got, want)
			}
			for name, value := range map[string]string{"Content-Type": mediaProtobuf, "Accept": mediaProtobuf, "Authorization": "Basic Y2hyb25vczpzM2NyZXQ="} {
				if got := s.header.Get(name); got != value {
					t.Errorf("%s: %s = %q, want exactly %q", kind, name, got, value)
				}
			}
			checkForm(t, s, forms[kind], more[s.call.Type])
		}
		for _, kind := range []string{"SUBSCRIBE", "SUBSCRIBE with an id", "ACCEPT", "DECLINE", "REVIVE", "SUPPRESS", "KILL", "ACKNOWLEDGE", "RECONCILE", "RECONCILE of a task"} {
			if seen[kind] == 0 {
				t.Errorf("no %s has been sent: %v", kind, seen)
			}
		}
		if seen["TEARDOWN"] != 0 {
			t.Errorf("the framework was torn down")
		}
	})
}
