package mesostest

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// A client is a framework on the double, with everything that it has been told. It acknowledges all updates.
type client struct {
	t        *testing.T
	url      string
	http     *http.Client
	streamID string
	id       *mesos.FrameworkID
	offered  chan struct{} // closed at the first offers

	mu     sync.Mutex
	events []*sched.Event
}

func testFramework() *mesos.FrameworkInfo {
	return &mesos.FrameworkInfo{
		User: "root", Name: "test", Role: new("*"), FailoverTimeout: new(3600.0), Checkpoint: new(true), Capabilities: []mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE}, {Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE},
		},
	}
}

// oneAgent is a master with one agent of four cpus, inside a synctest bubble.
func oneAgent(t *testing.T, opt Options) *Master {
	t.Helper()
	opt.Pipe = true
	m := NewMaster(t, opt)
	m.AddAgent(AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
	return m
}

// subscribe runs a framework until the test ends.
func subscribe(t *testing.T, m *Master, info *mesos.FrameworkInfo) *client {
	t.Helper()
	k := &client{
		t: t, url: m.URL() + schedulerPath, offered: make(chan struct{}),
		http: &http.Client{Transport: &http.Transport{DialContext: m.Dial, DisableKeepAlives: true}},
	}
	ctx, cancel := context.WithCancel(context.Background())
	resp, err := k.post(ctx, calls.Subscribe(info))
	if err != nil || resp.StatusCode != http.StatusOK {
		cancel()
		t.Fatalf("subscribe: %v, %v", resp, err)
	}
	k.streamID = resp.Header.Get(streamHeader)
	records := bufio.NewReader(resp.Body)
	first, err := nextEvent(records)
	if err != nil {
		t.Fatalf("read SUBSCRIBED: %v", err)
	}
	k.id = first.Subscribed.FrameworkID
	var reading sync.WaitGroup
	reading.Go(func() { k.read(records) })
	t.Cleanup(func() {
		cancel()
		reading.Wait()
		resp.Body.Close()
	})
	return k
}

// nextEvent reads an event from a stream of protobuf.
func nextEvent(r *bufio.Reader) (*sched.Event, error) {
	record, err := nextRecord(r)
	if err != nil {
		return nil, err
	}
	e := &sched.Event{}
	return e, e.Unmarshal(record)
}

// nextRecord reads a record: its length in decimals, a line feed, that many bytes.
func nextRecord(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadString('\n')
	if err == io.EOF && line != "" {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	size, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
	if err != nil {
		return nil, err
	}
	record := make([]byte, size)
	_, err = io.ReadFull(r, record)
	return record, err
}

func (k *client) read(records *bufio.Reader) {
	for {
		e, err := nextEvent(records)
		if err != nil {
			return // the end of the test
		}
		k.mu.Lock()
		k.events = append(k.events, e)
		k.mu.Unlock()
		if e.Type == sched.Event_OFFERS && len(k.seen(sched.Event_OFFERS)) == 1 {
			close(k.offered)
		}
		if e.Type == sched.Event_UPDATE && e.Update.Status.UUID != nil {
			s := e.Update.Status
			k.call(calls.Acknowledge(s.AgentID.Value, s.TaskID.Value, s.UUID))
		}
	}
}

func (k *client) post(ctx context.Context, c *sched.Call) (*http.Response, error) {
	c.FrameworkID = k.id
	body, err := c.Marshal()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", k.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaProtobuf)
	req.Header.Set("Accept", mediaProtobuf)
	if k.streamID != "" {
		req.Header.Set(streamHeader, k.streamID)
	}
	return k.http.Do(req)
}

// call makes a call and returns the answer, status 0 if there is none.
func (k *client) call(c *sched.Call) (status int, text string) {
	resp, err := k.post(context.Background(), c)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	return resp.StatusCode, string(readAll(resp.Body))
}

// must makes a call that the master takes.
func (k *client) must(c *sched.Call) {
	k.t.Helper()
	if status, text := k.call(c); status != http.StatusAccepted {
		k.t.Fatalf("%s: %d %s", c.Type, status, text)
	}
}

// launch launches a small task on the newest offer.
func (k *client) launch(id string) {
	k.t.Helper()
	offers := k.seen(sched.Event_OFFERS)
	if len(offers) == 0 {
		k.t.Fatal("no offer to launch on")
	}
	o := offers[len(offers)-1].Offers.Offers[0]
	scalar := func(name string, n float64) mesos.Resource {
		return mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: n}, Role: new("*")}
	}
	task := testTask(id, o, scalar("cpus", 0.1), scalar("mem", 32), scalar("disk", 10))
	k.must(calls.Accept(calls.OfferOperations{calls.OpLaunch(task)}.WithOffers(o.ID)))
}

func testTask(id string, o mesos.Offer, resources ...mesos.Resource) mesos.TaskInfo {
	return mesos.TaskInfo{
		Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: o.AgentID, Resources: resources, Command: &mesos.CommandInfo{Value: new("true")},
	}
}

// seen lists the events of one type so far.
func (k *client) seen(kind sched.Event_Type) []*sched.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*sched.Event
	for _, e := range k.events {
		if e.Type == kind {
			out = append(out, e)
		}
	}
	return out
}

// states lists the states of a task, in the order of the updates.
func (k *client) states(taskID string) string {
	var out []string
	for _, e := range k.seen(sched.Event_UPDATE) {
		if s := e.Update.Status; s.TaskID.Value == taskID {
			out = append(out, strings.TrimPrefix(s.State.String(), "TASK_"))
		}
	}
	return strings.Join(out, " ")
}
