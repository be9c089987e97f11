package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// answerOf is what an operation answers somebody, which must succeed.
func answerOf(t testing.TB, a *api, operation func(*call) error, who *caller, params ...string) string {
	t.Helper()
	w, share := httptest.NewRecorder(), a.memory.share()
	defer share.end()
	c := &call{w: &response{ResponseWriter: w, share: share}, r: httptest.NewRequest("GET", "/", nil), server: a.server, share: share, scheduler: a.current(), who: who, params: params}
	if err := operation(c); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

type agentsAnswer struct {
	Agents   []agentDocument
	More     bool
	Unplaced int
}

func askAgents(t testing.TB, o apiOptions, who *caller) (d agentsAnswer) {
	t.Helper()
	a := newAPI(o)
	text := answerOf(t, a, a.listAgents, who)
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return d
}

// Agents are shown with what they offer and what of ours runs there.
func TestAgents(t *testing.T) {
	t.Parallel()
	scenarioOn(t, onMesos, "with runs and attributes", func(b *bench) {
		b.cluster.behave(forEver)
		b.cluster.resize(10)
		b.start().post(`{"name":"a","command":"x","schedule":"R/2001-01-01T00:00:00Z/P1D","cpus":0.5,"mem":100,"disk":10}`)
		b.post(`{"name":"big","command":"x","schedule":"R/2001-01-01T00:00:00Z/P1D","cpus":4000}`)
		id := b.runNow("a")
		b.runNow("big")
		b.wait(time.Second)
		offer := mesos.Offer{ID: mesos.OfferID{Value: "o"}, AgentID: mesos.AgentID{Value: "other"}, Hostname: "host2", Resources: scalarsOf(resources{2000, 3000, 4000}),
			Attributes: []mesos.Attribute{{Name: "rack", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "7"}}}}
		b.do("offer", b.s.do(b.t.Context(), func() error { b.s.receive([]mesos.Offer{offer}); return nil }))
		d := askAgents(b.t, leading(b.s), nil)
		if len(d.Agents) < 2 || d.More || d.Unplaced != 0 {
			b.t.Fatalf("agents: %+v", d)
		}
		first := d.Agents[0]
		if first.Count != 1 || len(first.Runs) != 1 || first.Runs[0].Run != id || *first.Used != (amounts{0.5, 100, 10}) || first.Host == "" {
			b.t.Errorf("the agent of the run is %+v", first)
		}
		for _, a := range d.Agents {
			if a.ID == "other" && (a.Host != "host2" || a.Attributes["rack"] != "7" || *a.Offered != (amounts{2, 3, 4}) || a.OfferedAt == "" || a.Count != 0) {
				b.t.Errorf("the other agent is %+v", a)
			}
		}
		none := askAgents(b.t, leading(b.s), &caller{grants: []grant{{role: readRole, scope: scope{{prefix: "x"}}}}})
		for _, a := range none.Agents {
			if a.Count != 0 || a.Used.CPUs != 0 {
				b.t.Errorf("who may not see the job is shown %+v", a)
			}
		}
	})
	scenarioOn(t, onQuickClusters, "that are nodes", func(b *bench) {
		b.cluster.behave(forEver)
		b.start().post(parked)
		b.runNow("a")
		b.wait(time.Second)
		host := b.s.view().job("a").runs[0].Agent
		o := leading(b.s)
		o.nodes = func() []clusterNode {
			return []clusterNode{{Name: host, Labels: map[string]string{"zone": "z1"}, Offers: map[string]string{"cpu": "4"}}, {Name: "idle", Away: true}}
		}
		d := askAgents(b.t, o, nil)
		if len(d.Agents) != 2 || d.Agents[0].ID != host || d.Agents[0].Count != 1 || d.Agents[0].Attributes["zone"] != "z1" || d.Agents[0].Capacity["cpu"] != "4" || !d.Agents[1].Away {
			b.t.Errorf("nodes: %+v", d)
		}
	})
}

// The nodes of Kubernetes are those that the session has heard of last.
func TestClusterNodes(t *testing.T) {
	t.Parallel()
	s := &kubeSession{k: &kubeCluster{}}
	if got := s.k.clusterNodes(); got != nil {
		t.Errorf("before there are %v", got)
	}
	for _, name := range []string{"n1", "n2"} {
		n := &nodeObject{}
		n.Metadata.Name, n.Metadata.Labels = name, map[string]string{"zone": "z1"}
		n.Status.Allocatable = map[string]string{"cpu": "3920m", "memory": "16Gi", "hugepages-2Mi": "0"}
		n.Status.Conditions = []podCondition{{Type: "Ready", Status: "Unknown"}}
		s.heardNode(n, false)
	}
	s.heardNode(&nodeObject{Metadata: struct {
		Name   string
		Labels map[string]string
	}{Name: "n1"}}, true)
	want := clusterNode{Name: "n2", Labels: map[string]string{"zone": "z1"}, Offers: map[string]string{"cpu": "3920m", "memory": "16Gi"}, Away: true}
	if got := s.k.clusterNodes(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("the nodes are %+v, want %+v", got, want)
	}
}

// A test of a channel arrives, and its answer says in words what happened, without a secret.
func TestNoticeTest(t *testing.T) {
	t.Parallel()
	url, posts := receiver(t, http.StatusOK)
	refusing, _ := receiver(t, http.StatusForbidden)
	sch := testScheduler(t)
	o := leading(sch)
	o.notifier = newNotifier(notifyOptions{ClusterName: "prod", SlackURL: url + "/hunter2", MattermostURL: refusing + "/hunter2", HTTPURL: url + "/hook", HTTPCredentials: "u:hunter2", RavenDSN: "nonsense hunter2",
		NotifyHosts: []string{"hooks.example"}}, slog.New(slog.DiscardHandler), newMetrics("1"))
	server := newAPI(o)
	for _, tt := range []struct {
		channel, body string
		status        int
		answer        string
	}{
		{"slack", `{}`, 200, `{"channel":"slack","delivered":true`},
		{"http", `{"to":"me@example.com"}`, 200, `{"channel":"http","delivered":true`},
		{"mattermost", `{}`, 200, `{"channel":"mattermost","delivered":false,"error":"`},
		{"sentry", `{}`, 200, `{"channel":"sentry","delivered":false,"error":"`},
		{"receivers", `{"to":"mailto:me@example.com"}`, 200, `{"channel":"receivers","delivered":false,"error":"there is no mail server`},
		{"receivers", `{"to":"https://elsewhere.example/x"}`, 200, `{"channel":"receivers","delivered":false,"error":"host \"elsewhere.example\" is not in --notify_hosts"`},
		{"receivers", `{"to":"ftp://x"}`, 400, "to: "},
		{"receivers", `{}`, 400, "to: say to whom"},
		{"mail", `{"to":"a@x"}`, 404, `no channel "mail"`},
		{"slack", `{"from":"x"}`, 400, `unknown key "from"`},
	} {
		res := send(t, server, "POST /scheduler/notices/"+tt.channel+"/test"+asJSON+tt.body)
		answer := bodyOf(t, res)
		if res.StatusCode != tt.status || !strings.HasPrefix(answer, tt.answer) {
			t.Errorf("%s %s = %d %s, want %d %s", tt.channel, tt.body, res.StatusCode, answer, tt.status, tt.answer)
		}
		if strings.Contains(answer, "hunter2") {
			t.Errorf("%s: the answer has a secret: %s", tt.channel, answer)
		}
	}
	got := posts()
	if len(got) != 2 || !strings.Contains(got[0].body, "[prod] [Chronos] This is a test") || !strings.Contains(got[0].body, "somebody has asked for it") {
		t.Errorf("the receivers got %+v", got)
	}
	if status := bodyOf(t, send(t, server, "GET /scheduler/notices")); !strings.Contains(status, `{"client":"slack","queued":0,"sent":0,"failed":0,"dropped":0,"failing":false}`) {
		t.Errorf("the channels are %s", status)
	}
}

// A deafSender never gets an answer.
type deafSender struct{}

func (deafSender) send(ctx context.Context, _ notice) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestNoticeTestEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(notifyOptions{}, slog.New(slog.DiscardHandler), newMetrics("1"))
		n.clients = append(n.clients, &notifyClient{name: clientSlack, sender: deafSender{}, log: n.log})
		start, second := time.Now(), make(chan error, 1)
		go func() {
			time.Sleep(time.Second)
			second <- n.test(t.Context(), clientSlack, "", "")
		}()
		err := n.test(t.Context(), clientSlack, "", "me")
		if took := time.Since(start); err == nil || took != noticeTestTime || err.Error() != fmt.Sprintf("it did not answer within %s", noticeTestTime) {
			t.Errorf("after %s: %v", took, err)
		}
		if err := <-second; err != errTesting {
			t.Errorf("another one at the same time: %v, want %v", err, errTesting)
		}
	})
}

// An instance that does not say how it is doing is named with the reason; the leader speaks for itself.
func TestInstances(t *testing.T) {
	t.Parallel()
	says := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "GET" || r.URL.Path != "/health" || r.Header.Get(viaHeader) != "me:8080" || r.Header.Get("Authorization") != "" {
				status = http.StatusTeapot
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	hosts := map[string]string{"ill:1": says(503, `{"status":"failing","problems":["stuck"]}`), "page:1": says(200, "<html>"), "shut:1": says(401, `{}`), "gone:1": closed.Listener.Addr().String()}
	o := apiOptions{serverOptions: serverOptions{id: "me:8080", current: func() *scheduler { return nil }, log: slog.New(slog.DiscardHandler), locate: func(id string) peer {
		host, native := hosts[id]
		return peer{scheme: "http", host: host, native: native}
	}}}
	o.members = func() []string { return []string{"me:8080", "ill:1", "page:1", "shut:1", "gone:1", "jvm:1"} }
	o.health = func() any { return map[string]string{"status": "ok"} }
	a := newAPI(o)
	var got struct{ Instances []instanceDocument }
	if err := json.Unmarshal([]byte(answerOf(t, a, a.listInstances, nil)), &got); err != nil {
		t.Fatal(err)
	}
	want := []instanceDocument{{"me:8080", true, []byte(`{"status":"ok"}`), ""}, {"ill:1", false, []byte(`{"status":"failing","problems":["stuck"]}`), ""}, {"page:1", false, nil, "it does not say: 200 OK"},
		{"shut:1", false, nil, "it does not say: 401 Unauthorized"}, {"gone:1", false, nil, "it does not answer: "}, {"jvm:1", false, nil, errSaysNothing.Error()}}
	for i, w := range want {
		if i >= len(got.Instances) {
			t.Fatalf("%d instances, want %d", len(got.Instances), len(want))
		}
		g := got.Instances[i]
		if g.Instance != w.Instance || g.Leads != w.Leads || string(g.Health) != string(w.Health) || !strings.HasPrefix(g.Error, w.Error) || w.Error == "" && g.Error != "" {
			t.Errorf("got %s, want %s", encode(g), encode(w))
		}
	}
}
