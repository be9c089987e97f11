package mesostest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// replays lists the recordings that the double has to reproduce, with what the
// people at the real machines did meanwhile.
var replays = []struct {
	name   string
	opt    Options
	deeds  map[float64]func(m *Master)
	begin  func(m *Master)   // before everything else
	at     func(Item) string // host:port that a request goes to, "" for the leading master
	skip   func(Item) bool
	leaves []string // streams that the client closed
}{
	{name: "01-lifecycle-finished"},
	{name: "02-task-exit-1"},
	{name: "03-kill"},
	{name: "04-decline-suppress-revive"},
	{name: "05-reconcile"},
	{name: "05b-reconcile-partition-aware"},
	{name: "06-heartbeat"},
	{name: "07-errors", leaves: []string{"resub-after-teardown"}},
	{name: "08-failover-same-id"},
	{name: "09-disconnect-resubscribe-unacked", leaves: []string{"first"}},
	{name: "10-unacked-update-retries"},
	{name: "11-disconnect-no-failover-timeout", leaves: []string{"stream1", "resub"}},
	{name: "12-launch-group-default-executor"},
	{name: "13-health-and-check"},
	{name: "15-reserve-create-volume"},
	{name: "16-multirole-update-framework"},
	{name: "20-http-details"},
	{name: "21-subscribe-removed-framework"},
	{name: "22-launch-failures"},
	{name: "14-non-leading-master", opt: Options{ID: "c82057b5-6c54-4a8a-8a22-e0ed091da7c7"}, begin: func(m *Master) { m.Standby() },
		at: requestsNaming("non-leading", "127.0.0.1:5052")},
	{name: "24-master-failover", begin: func(m *Master) { m.Standby() },
		at: requestsNaming("5052", "127.0.0.1:5052"),
		deeds: map[float64]func(*Master){
			0.330: func(m *Master) { m.DropStreams() },
			9.390: func(m *Master) { m.Lead("http://127.0.0.1:5052") },
			9.391: func(m *Master) {
				m.rename("37dbdc58-d032-4071-a7e7-bc8b72994e4c", 0)
				m.forgetAgents() // its registry was empty
			},
			9.658: func(m *Master) { m.agents[0].Restore() },
		}},
	{name: "25-agent-loss", opt: Options{AgentTimeout: 82896 * time.Millisecond}, deeds: map[float64]func(*Master){
		1.640:  func(m *Master) { m.agents[0].CutOff() },
		87.018: func(m *Master) { m.agents[0].Restore() },
	}},
	{name: "26-single-master-restart-agent-down", opt: Options{Election: 7400 * time.Millisecond}, deeds: map[float64]func(*Master){
		0.270:  func(m *Master) { m.Restart() },
		0.271:  func(m *Master) { m.rename("578d89a0-4f4a-4ef5-8259-ba618195bcfe", 0) },
		16.508: func(m *Master) { m.agents[0].Restore() },
	}, skip: func(r Item) bool { return r.Name == "REVIVE poll" && r.T < 1.6 }}, // it was only starting up
	{name: "27-unreachable-reconcile-with-agent-id", opt: Options{AgentTimeout: 84400 * time.Millisecond}, deeds: map[float64]func(*Master){
		0.541:  func(m *Master) { m.agents[0].CutOff() }, // the acknowledgement that follows never reached it
		95.755: func(m *Master) { m.agents[0].Restore() },
	}},
	{name: "30-operator-endpoints", at: requestsNaming("agent ", "127.0.0.1:5051"), skip: notServed, deeds: map[float64]func(*Master){
		0.700: func(m *Master) { writeRecordedFiles(m, "op-1") },
	}},
}

// requestsNaming lets requests with a word in their name go to an address.
func requestsNaming(word, address string) func(Item) string {
	return func(r Item) string {
		if strings.Contains(r.Name, word) {
			return address
		}
		return ""
	}
}

// notServed are the operators' requests that nobody here needs the double to answer.
func notServed(r Item) bool {
	return r.Path == "/api/v1" && !strings.Contains(r.Name, "GET_MASTER") ||
		!strings.Contains(r.Path, "/api/v1") && !strings.HasPrefix(r.Path, "/files/") && r.Path != "/slaves" &&
			!(strings.HasPrefix(r.Name, "agent") && strings.HasSuffix(r.Path, "/state")) || strings.HasPrefix(r.Path, "/files/download")
}

// writeRecordedFiles puts what a real agent has answered into a task's sandbox.
func writeRecordedFiles(m *Master, taskID string) {
	for _, it := range ReadRecording(m.t, "30-operator-endpoints") {
		var file struct{ Data string }
		var text string
		name, ok := strings.CutPrefix(it.Name, "agent files/read std")
		if it.Kind != "response" || !ok || json.Unmarshal(it.Body, &text) != nil || json.Unmarshal([]byte(text), &file) != nil {
			continue
		}
		m.WriteFile(taskID, "std"+name, []byte(file.Data))
	}
}

// rename gives the master, started anew, another id.
func (m *Master) rename(id string, offer int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.id, m.numbers.offer = id, offer
}

// TestDoubleReplaysRecordings sends the recorded requests to the double at the
// recorded times, lets its agents report what the real ones did, and compares
// every answer and every event.
func TestDoubleReplaysRecordings(t *testing.T) {
	for _, tt := range replays {
		t.Run(tt.name, func(t *testing.T) {
			items := ReadRecording(t, tt.name)
			synctest.Test(t, func(t *testing.T) {
				p := newReplay(t, items, tt.opt)
				p.leaves, p.skip, p.at = tt.leaves, tt.skip, tt.at
				if tt.begin != nil {
					tt.begin(p.m)
				}
				p.play(items, tt.deeds)
				p.compare(items)
			})
		})
	}
}

// replay is the client of one recording.
type replay struct {
	t         *testing.T
	m         *Master
	http      *http.Client
	streams   map[string]*replayStream
	streamIDs map[string]string // recorded -> the double's
	leaves    []string
	skip      func(Item) bool
	at        func(Item) string
}

// address is where a request goes.
func (p *replay) address(it Item) string {
	if p.at != nil && p.at(it) != "" {
		return "http://" + p.at(it)
	}
	return p.m.URL()
}

// newReplay starts a double with the ids and the state that the recording began with.
func newReplay(t *testing.T, items []Item, opt Options) *replay {
	var framework, firstOffer, agent string
	var ticks []float64
	for _, it := range items {
		e := eventOf(t, it)
		switch {
		case e == nil:
		case e.Type == sched.Event_SUBSCRIBED && framework == "":
			framework = e.Subscribed.FrameworkID.Value
		case e.Type == sched.Event_OFFERS:
			if firstOffer == "" {
				firstOffer, agent = e.Offers.Offers[0].ID.Value, e.Offers.Offers[0].AgentID.Value
			}
			ticks = append(ticks, it.T)
		}
	}
	dash := strings.LastIndexByte(framework, '-')
	opt.Pipe, opt.Scripted = true, true
	if dash > 0 {
		opt.ID = framework[:dash]
	}
	opt.FirstAllocation = 900 * time.Millisecond
	if len(ticks) > 1 {
		opt.FirstAllocation = time.Duration(math.Mod(ticks[1], 1) * float64(time.Second))
	}
	m := NewMaster(t, opt)
	fmt.Sscanf(framework[dash+1:], "%d", &m.numbers.framework)
	if i := strings.LastIndex(firstOffer, "-O"); i >= 0 {
		fmt.Sscanf(firstOffer[i+2:], "%d", &m.numbers.offer)
	}
	if agent == "" {
		agent = opt.ID + "-S0"
	}
	m.AddAgent(AgentSpec{ID: agent, CPUs: 4, Mem: 4096, Disk: 10240})
	return &replay{
		t: t, m: m, streams: make(map[string]*replayStream), streamIDs: make(map[string]string),
		http: &http.Client{
			Transport:     &http.Transport{DialContext: m.Dial, DisableKeepAlives: true, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// eventOf decodes a recorded event, nil if the item is none. Capabilities that
// mesos-go cannot read in JSON are left out.
func eventOf(t *testing.T, it Item) *sched.Event {
	t.Helper()
	if len(it.Event) == 0 || string(it.Event) == "null" {
		return nil
	}
	e := &sched.Event{}
	if err := ReadJSON(readable(it.Event), e); err != nil {
		t.Fatalf("decode event %s: %v", it.Event, err)
	}
	return e
}

func readable(event json.RawMessage) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, event); err != nil {
		return event
	}
	return bytes.ReplaceAll(b.Bytes(), []byte(`,{"type":"QUOTA_V2"}`), nil)
}

// deed is something that happens at its time: a request, a report, or an accident.
type deed struct {
	at float64
	do func()
}

func (p *replay) play(items []Item, accidents map[float64]func(*Master)) {
	start := time.Now()
	deeds := p.reports(items) // first, because what answers them has the same time
	for i, it := range items {
		switch {
		case it.Kind == "request" && (p.skip == nil || !p.skip(it)):
			deeds = append(deeds, deed{it.T, func() { p.request(it, AnswerTo(items[i+1:], it)) }})
		case it.Kind == "stream-closed" && slices.Contains(p.leaves, it.Name):
			deeds = append(deeds, deed{it.T, func() { p.streams[it.Name].leave() }})
		}
	}
	for at, f := range accidents {
		deeds = append(deeds, deed{at, func() { f(p.m) }})
	}
	slices.SortStableFunc(deeds, func(a, b deed) int { return int(math.Copysign(1, a.at-b.at)) * boolInt(a.at != b.at) })
	for _, d := range deeds {
		time.Sleep(time.Until(start.Add(time.Duration(d.at * float64(time.Second)))))
		d.do()
		synctest.Wait()
	}
	last := items[len(items)-1].T
	time.Sleep(time.Until(start.Add(time.Duration(last * float64(time.Second)))))
	synctest.Wait()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// reports are the updates of executors and agents, at the time they made them.
func (p *replay) reports(items []Item) []deed {
	lag := math.Inf(1) // from the clock of the statuses to that of the recording
	seen := make(map[string]bool)
	var made []mesos.TaskStatus
	for _, it := range items {
		e := eventOf(p.t, it)
		if e == nil || e.Type != sched.Event_UPDATE || e.Update.Status.UUID == nil {
			continue
		}
		s := e.Update.Status
		if seen[string(s.UUID)] {
			continue
		}
		seen[string(s.UUID)] = true
		lag = min(lag, it.T-*s.Timestamp)
		made = append(made, s)
	}
	lag -= 0.005 // of the way from the agent to us
	var deeds []deed
	for _, s := range made {
		deeds = append(deeds, deed{*s.Timestamp + lag, func() { p.m.Emit(s.TaskID.Value, s) }})
	}
	return deeds
}

func (p *replay) request(it Item, want *Item) {
	body := it.payload()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, it.Method, p.address(it)+it.Path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, h := range it.Headers {
		value := h[1]
		if actual := p.streamIDs[value]; actual != "" {
			value = actual
		}
		req.Header[http.CanonicalHeaderKey(h[0])] = []string{value}
	}
	resp, err := p.http.Do(req)
	if err != nil {
		p.t.Fatalf("%.3f %s: %v", it.T, it.Name, err)
	}
	if want != nil {
		p.compareAnswer(it, resp, want)
	}
	if name, ok := strings.CutSuffix(it.Name, ":SUBSCRIBE"); ok {
		p.streamIDs[want.Header(streamHeader)] = resp.Header.Get(streamHeader)
		s := &replayStream{leave: cancel, done: make(chan struct{})}
		p.streams[name] = s
		p.t.Cleanup(func() {
			cancel()
			<-s.done
		})
		go s.read(resp.Body)
		return
	}
	defer cancel()
	defer resp.Body.Close()
	got := string(readAll(resp.Body))
	wanted := string(want.payload())
	_ = json.Unmarshal(want.Body, &wanted) // a text, or nothing
	for recorded, actual := range p.streamIDs {
		wanted = strings.ReplaceAll(wanted, recorded, actual)
	}
	var ours, theirs any
	if json.Unmarshal([]byte(got), &ours) == nil && json.Unmarshal([]byte(wanted), &theirs) == nil {
		if path := contradiction(ours, theirs, ""); path != "" {
			p.t.Errorf("%.3f %s: %s differs: body = %s, want what is in %.2000s", it.T, it.Name, path, got, wanted)
		}
		return
	}
	if got != wanted {
		p.t.Errorf("%.3f %s: body = %q, want %q", it.T, it.Name, got, wanted)
	}
}

func (p *replay) compareAnswer(it Item, resp *http.Response, want *Item) {
	if got := resp.Proto + " " + resp.Status; got != want.Status {
		p.t.Errorf("%.3f %s: status = %s, want %s", it.T, it.Name, got, want.Status)
	}
	for _, h := range want.Headers {
		switch h[0] {
		case "Date", streamHeader:
			if resp.Header.Get(h[0]) == "" {
				p.t.Errorf("%.3f %s: no header %s", it.T, it.Name, h[0])
			}
		case "Content-Length":
			if got := resp.Header.Get(h[0]); got != h[1] && resp.Header.Get("Content-Type") != "application/json" {
				p.t.Errorf("%.3f %s: header %s = %q, want %q", it.T, it.Name, h[0], got, h[1])
			}
		case "Transfer-Encoding":
			if !slices.Contains(resp.TransferEncoding, h[1]) {
				p.t.Errorf("%.3f %s: not %s", it.T, it.Name, h[1])
			}
		default:
			if got := resp.Header.Get(h[0]); got != h[1] {
				p.t.Errorf("%.3f %s: header %s = %q, want %q", it.T, it.Name, h[0], got, h[1])
			}
		}
	}
}

// contradiction compares an answer with a recorded one that may say more, and names the first thing
// that is not there or is different. Times differ always.
func contradiction(ours, theirs any, path string) string {
	switch ours := ours.(type) {
	case map[string]any:
		object, ok := theirs.(map[string]any)
		for k, v := range ours {
			if _, there := object[k]; !there {
				return path + "." + k
			}
			if at := contradiction(v, object[k], path+"."+k); at != "" {
				return at
			}
		}
		if !ok {
			return path
		}
	case []any:
		list, ok := theirs.([]any)
		for _, v := range ours {
			if !slices.ContainsFunc(list, func(e any) bool { return contradiction(v, e, "") == "" }) {
				return path + "[]"
			}
		}
		if !ok {
			return path
		}
	case float64:
		if n, ok := theirs.(float64); !ok || n != ours && !strings.HasSuffix(path, "_time") {
			return path
		}
	default:
		if ours != theirs {
			return path
		}
	}
	return ""
}

// replayStream collects what comes on one subscription.
type replayStream struct {
	leave context.CancelFunc
	done  chan struct{}

	mu     sync.Mutex
	events []json.RawMessage
	end    error
}

func (s *replayStream) read(body io.ReadCloser) {
	defer close(s.done)
	defer body.Close()
	records := bufio.NewReader(body)
	for {
		record, err := nextRecord(records)
		s.mu.Lock()
		if err != nil {
			s.end = err
			s.mu.Unlock()
			return
		}
		s.events = append(s.events, record)
		s.mu.Unlock()
	}
}

// compare holds the events of each stream against the recorded ones.
func (p *replay) compare(items []Item) {
	want := make(map[string][]json.RawMessage)
	ends := make(map[string]string)
	for _, it := range items {
		switch it.Kind {
		case "event":
			want[it.Name] = append(want[it.Name], readable(it.Event))
		case "stream-closed":
			ends[it.Name] = it.How
		}
	}
	for name, events := range want {
		s := p.streams[name]
		s.mu.Lock()
		got, end := s.events, s.end
		s.mu.Unlock()
		for _, kind := range []string{"OFFERS", "other"} {
			g, w := essence(p.t, got, kind), essence(p.t, events, kind)
			for i := range max(len(g), len(w)) {
				if a, b := at(g, i), at(w, i); a != b {
					p.t.Errorf("stream %s, %s event %d\n got %s\nwant %s", name, kind, i, a, b)
				}
			}
		}
		g, w := essence(p.t, got, "HEARTBEAT"), essence(p.t, events, "HEARTBEAT")
		if d := len(g) - len(w); d < -1 || d > 1 {
			p.t.Errorf("stream %s: %d heartbeats, want %d", name, len(g), len(w))
		}
		if slices.Contains(p.leaves, name) || ends[name] == "" {
			continue
		}
		if clean := end == io.EOF; clean != (ends[name] == "terminating 0-length chunk") {
			p.t.Errorf("stream %s ended with %v, want %q", name, end, ends[name])
		}
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "nothing"
}

// essence writes the events of one kind without what differs between any two
// runs: times, process ids, container ids, and the order of attributes. An agent
// that comes back repeats its update some times; once will do.
func essence(t *testing.T, events []json.RawMessage, kind string) []string {
	var out []string
	for _, e := range events {
		var v map[string]any
		if err := json.Unmarshal(e, &v); err != nil {
			t.Fatalf("decode %s: %v", e, err)
		}
		if k, _ := v["type"].(string); k != kind && (kind != "other" || k == "OFFERS" || k == "HEARTBEAT") {
			continue
		}
		if info, ok := dig(v, "subscribed", "master_info").(map[string]any); ok {
			delete(info, "capabilities")
		}
		if s, ok := dig(v, "update", "status").(map[string]any); ok {
			delete(s, "timestamp")
			delete(s, "container_status")
			if s["unreachable_time"] != nil {
				s["unreachable_time"] = "known"
			}
		}
		if s, ok := dig(v, "update_operation_status", "status").(map[string]any); ok {
			delete(s, "uuid")
		}
		text, _ := json.Marshal(v) // it has just been decoded
		if len(out) == 0 || out[len(out)-1] != string(text) || kind != "other" || !retried(v) {
			out = append(out, string(text))
		}
	}
	return out
}

func retried(event map[string]any) bool {
	return dig(event, "update", "status", "uuid") != nil && dig(event, "update", "status", "state") == "TASK_RUNNING"
}
