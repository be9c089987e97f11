package mesostest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// framework is a framework as the master knows it.
type framework struct {
	m          *Master
	id         string
	info       *mesos.FrameworkInfo
	stream     *stream // nil while disconnected
	tasks      map[string]*task
	suppressed bool
	filters    []*filter
	failover   *time.Timer
}

func (f *framework) capable(c mesos.FrameworkInfo_Capability_Type) bool {
	return slices.ContainsFunc(f.info.Capabilities, func(has mesos.FrameworkInfo_Capability) bool { return has.Type == c })
}

func (f *framework) roles() []string {
	if f.capable(mesos.FrameworkInfo_Capability_MULTI_ROLE) {
		return f.info.Roles
	}
	return []string{f.info.GetRole()}
}

func (f *framework) stop() {
	if f.failover != nil {
		f.failover.Stop()
	}
}

// cut ends the stream, cleanly or not.
func (f *framework) cut(cleanly bool) {
	if f.stream != nil {
		f.stream.end(cleanly)
		f.stream = nil
	}
}

func (f *framework) tell(e *sched.Event) {
	if f.stream != nil {
		f.stream.put(e)
	}
}

// stream is the queue in front of one subscription's connection.
type stream struct {
	id     string
	asJSON bool
	mu     sync.Mutex
	queue  [][]byte
	ready  chan struct{}
	ended  bool
	clean  bool
}

func nudge(ready chan<- struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}

func (s *stream) put(e *sched.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.queue = append(s.queue, encode(e, s.asJSON))
		nudge(s.ready)
	}
}

func (s *stream) end(cleanly bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.clean = true, cleanly
		nudge(s.ready)
	}
}

func (s *stream) take() (records [][]byte, ended, clean bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records, s.queue = s.queue, nil
	return records, s.ended, s.clean
}

// ServeHTTP answers a request as the leading master does.
func (m *Master) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	down, address, opt := m.down, m.address, m.opt
	electing := !m.started.IsZero() && time.Since(m.started) < m.opt.Election
	recovering := time.Now().Before(m.ready)
	m.mu.Unlock()
	switch path := strings.TrimPrefix(r.URL.Path, "/master"); {
	case down != 0:
		Answer(w, down, "master is down")
	case electing:
		Redirect(w, address, r.URL.Path)
	case recovering:
		Answer(w, http.StatusServiceUnavailable, "Master has not finished recovery")
	case path == "/slaves":
		if !opt.admits(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="mesos-master-readonly"`)
			Answer(w, http.StatusUnauthorized, "")
			return
		}
		m.serveSlaves(w)
	case path == "/api/v1":
		m.serveOperator(w, r)
	case path != schedulerPath:
		Answer(w, http.StatusNotFound, "404 Not Found.")
	case !opt.admits(r):
		w.Header().Set("WWW-Authenticate", `Basic realm="mesos-master-scheduler"`)
		Answer(w, http.StatusUnauthorized, "")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		Answer(w, http.StatusMethodNotAllowed,
			"405 Method Not Allowed. Expecting one of { 'POST' }, but received '"+r.Method+"'.")
	default:
		m.serveCall(w, r)
	}
}

// admits checks the credentials of a request.
func (o Options) admits(r *http.Request) bool {
	principal, secret, ok := r.BasicAuth()
	return o.Secret == "" || ok && principal == o.Principal && secret == o.Secret
}

// admitsToAgent checks the credentials of a request to an agent.
func (o Options) admitsToAgent(r *http.Request) bool {
	if o.AgentSecret == "" {
		return o.admits(r)
	}
	principal, secret, ok := r.BasicAuth()
	return ok && principal == o.AgentPrincipal && secret == o.AgentSecret
}

// Answer answers as masters and agents do: with a text, or with nothing.
func Answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if text == "" {
		w.Header().Del("Content-Type")
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client may be gone
}

func (m *Master) serveCall(w http.ResponseWriter, r *http.Request) {
	call := &sched.Call{}
	text := ""
	switch r.Header.Get("Content-Type") {
	case "":
		Answer(w, http.StatusBadRequest, "Expecting 'Content-Type' to be present")
		return
	case "application/json":
		text = decodeJSONCall(readAll(r.Body), call)
	case mediaProtobuf:
		if err := call.Unmarshal(readAll(r.Body)); err != nil {
			text = "Failed to deserialize body into Call protobuf"
		}
	default:
		Answer(w, http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of application/json or application/x-protobuf")
		return
	}
	if text == "" {
		text = invalidCall(call)
	}
	streamID := r.Header.Get(streamHeader)
	switch {
	case text != "":
		Answer(w, http.StatusBadRequest, text)
	case call.Type == sched.Call_SUBSCRIBE:
		m.serveSubscribe(w, r, call.Subscribe, streamID)
	default:
		status, text := m.takeCall(call, streamID)
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		Answer(w, status, text)
	}
}

// decodeJSONCall returns the master's words for what is wrong.
func decodeJSONCall(body []byte, call *sched.Call) string {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return "Failed to parse body into JSON: syntax error at line 1 near: "
	}
	object, ok := v.(map[string]any)
	if !ok {
		return "Failed to convert JSON into Call protobuf: Expecting a JSON object"
	}
	kind, _ := object["type"].(string)
	if _, known := sched.Call_Type_value[kind]; !known {
		delete(object, "type")
	}
	if info, ok := dig(object, "subscribe", "framework_info").(map[string]any); ok && info["name"] == nil {
		return "Failed to convert JSON into Call protobuf: Missing required fields: subscribe.framework_info.name"
	}
	if ack, ok := object["acknowledge"].(map[string]any); ok {
		if ack["agent_id"] == nil {
			return "Failed to convert JSON into Call protobuf: Missing required fields: acknowledge.agent_id"
		}
		uuid, _ := ack["uuid"].(string)
		if i := strings.IndexFunc(uuid, func(r rune) bool { return !strings.ContainsRune(base64Alphabet, r) }); i >= 0 {
			return "Failed to convert JSON into Call protobuf: Failed to base64 decode bytes field 'uuid': Invalid character '" + uuid[i:i+1] + "'"
		}
		if _, err := base64.StdEncoding.DecodeString(uuid); err != nil {
			return "Failed to convert JSON into Call protobuf: Failed to base64 decode bytes field 'uuid'"
		}
	}
	body, _ = json.Marshal(object) // it has just been decoded
	if err := ReadJSON(body, call); err != nil {
		return "Failed to convert JSON into Call protobuf: " + err.Error()
	}
	return ""
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

func dig(v any, keys ...string) any {
	for _, k := range keys {
		object, _ := v.(map[string]any)
		v = object[k]
	}
	return v
}

// invalidCall is the master's validation of a decoded call.
func invalidCall(c *sched.Call) string {
	missing := func(what string) string {
		return "Failed to validate scheduler::Call: Expecting '" + what + "' to be present"
	}
	part := map[sched.Call_Type]bool{
		sched.Call_SUBSCRIBE: c.Subscribe != nil, sched.Call_ACCEPT: c.Accept != nil, sched.Call_DECLINE: c.Decline != nil,
		sched.Call_KILL: c.Kill != nil, sched.Call_ACKNOWLEDGE: c.Acknowledge != nil, sched.Call_RECONCILE: c.Reconcile != nil,
	}
	present, required := part[c.Type]
	switch {
	case c.Type == sched.Call_UNKNOWN:
		return missing("type")
	case c.Type == sched.Call_SUBSCRIBE && !present:
		return missing("subscribe")
	case c.Type == sched.Call_SUBSCRIBE:
		if c.FrameworkID.GetValue() != c.Subscribe.FrameworkInfo.ID.GetValue() {
			return "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'"
		}
		return ""
	case c.FrameworkID == nil:
		return missing("framework_id")
	case required && !present:
		return missing(strings.ToLower(c.Type.String()))
	case c.Type == sched.Call_ACKNOWLEDGE && len(c.Acknowledge.UUID) != 16:
		return "Failed to validate scheduler::Call: Not a valid UUID"
	}
	return ""
}

// streamType chooses the format of the events: JSON wins, whatever the weights.
func streamType(accept string) (asJSON, ok bool) {
	if accept == "" {
		return true, true
	}
	protobuf := false
	for part := range strings.SplitSeq(accept, ",") {
		kind, _, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch kind {
		case "*/*", "application/*", "application/json":
			return true, true
		case mediaProtobuf:
			protobuf = true
		}
	}
	return false, protobuf
}

func (m *Master) serveSubscribe(w http.ResponseWriter, r *http.Request, call *sched.Call_Subscribe, streamID string) {
	asJSON, ok := streamType(r.Header.Get("Accept"))
	m.mu.Lock()
	opt := m.opt
	m.mu.Unlock()
	switch {
	case streamID != "":
		Answer(w, http.StatusBadRequest, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
		return
	case !ok:
		Answer(w, http.StatusNotAcceptable, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'")
		return
	case opt.Secret != "" && call.FrameworkInfo.GetPrincipal() != opt.Principal:
		Answer(w, http.StatusBadRequest, "Authenticated principal '"+opt.Principal+"' does not match principal '"+
			call.FrameworkInfo.GetPrincipal()+"' set in `FrameworkInfo`")
		return
	}
	f, s := m.subscribe(call.FrameworkInfo, asJSON)
	w.Header().Set(streamHeader, s.id)
	w.Header().Set("Content-Type", mediaProtobuf)
	if asJSON {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(http.StatusOK)
	clean := m.pump(w, r, s)
	m.disconnected(f, s)
	if !clean {
		panic(http.ErrAbortHandler)
	}
}

// pump writes a stream until it ends or the client goes.
func (m *Master) pump(w http.ResponseWriter, r *http.Request, s *stream) (clean bool) {
	beat := time.NewTicker(m.opt.Heartbeat)
	defer beat.Stop()
	for {
		records, ended, clean := s.take()
		for _, record := range records {
			if _, err := w.Write(record); err != nil {
				return false
			}
			w.(http.Flusher).Flush()
		}
		if ended {
			return clean
		}
		select {
		case <-s.ready:
		case <-beat.C:
			s.put(&sched.Event{Type: sched.Event_HEARTBEAT})
		case <-r.Context().Done():
			return false
		}
	}
}

// subscribe registers a framework, or refuses it by an ERROR event.
func (m *Master) subscribe(info *mesos.FrameworkInfo, asJSON bool) (*framework, *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.notify()
	m.numbers.stream++
	s := &stream{id: fmt.Sprintf("00000000-0000-4000-8000-%012d", m.numbers.stream), asJSON: asJSON, ready: make(chan struct{}, 1)}
	m.calls = append(m.calls, &sched.Call{
		Type: sched.Call_SUBSCRIBE, FrameworkID: info.ID, Subscribe: &sched.Call_Subscribe{FrameworkInfo: info},
	})
	if why := m.refusesFramework(info); why != "" {
		s.put(&sched.Event{Type: sched.Event_ERROR, Error: &sched.Event_Error{Message: why}})
		s.end(true)
		return nil, s
	}
	id := info.ID.GetValue()
	if id == "" {
		id = fmt.Sprintf("%s-%04d", m.id, m.numbers.framework)
		m.numbers.framework++
	}
	f := m.frameworks[id]
	if f == nil {
		f = &framework{m: m, id: id, tasks: make(map[string]*task)}
		m.frameworks[id] = f
		m.adoptTasks(f)
	}
	active := f.stream != nil
	if active {
		f.tell(&sched.Event{Type: sched.Event_ERROR, Error: &sched.Event_Error{Message: "Framework failed over"}})
		f.cut(true)
		m.dropOffers(f)
	}
	f.stop()
	f.info, f.stream, f.suppressed = info, s, false
	f.tell(m.subscribedEvent(f))
	f.tell(&sched.Event{Type: sched.Event_HEARTBEAT})
	if !active {
		m.allocate()
	}
	for _, a := range m.agents {
		a.resend(f)
	}
	return f, s
}

func (m *Master) subscribedEvent(f *framework) *sched.Event {
	return &sched.Event{Type: sched.Event_SUBSCRIBED, Subscribed: &sched.Event_Subscribed{
		FrameworkID:              &mesos.FrameworkID{Value: f.id},
		HeartbeatIntervalSeconds: new(m.opt.Heartbeat.Seconds()),
		MasterInfo:               m.info(),
	}}
}

func (m *Master) info() *mesos.MasterInfo {
	host, port := splitAddress(m.address)
	return &mesos.MasterInfo{
		ID: m.id, IP: 16777343, Port: new(uint32(port)), PID: new("master@" + m.address), Hostname: new(host), Version: new("1.12.0"),
		Address: &mesos.Address{Hostname: new(host), IP: new(host), Port: int32(port)},
	}
}

func (m *Master) refusesFramework(info *mesos.FrameworkInfo) string {
	multi := slices.ContainsFunc(info.Capabilities, func(c mesos.FrameworkInfo_Capability) bool {
		return c.Type == mesos.FrameworkInfo_Capability_MULTI_ROLE
	})
	switch {
	case m.completed[info.ID.GetValue()]:
		return "Framework has been removed"
	case len(info.Roles) > 0 && !multi:
		return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
	case strings.HasPrefix(info.GetRole(), "/"):
		return "'FrameworkInfo.role' is not a valid role: Role '" + info.GetRole() + "' cannot start with a slash"
	case m.opt.Roles != nil && !slices.Contains(m.opt.Roles, info.GetRole()):
		return "Roles { " + info.GetRole() + " } are not present in the master's --roles"
	}
	return ""
}

// disconnected starts the fail-over timeout once a stream is gone.
func (m *Master) disconnected(f *framework, s *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f == nil || m.closing || m.frameworks[f.id] != f || f.stream != nil && f.stream != s {
		return
	}
	defer m.notify()
	f.stream = nil
	f.filters = nil
	m.dropOffers(f)
	f.stop()
	after := time.Duration(f.info.GetFailoverTimeout() * float64(time.Second))
	if after == 0 {
		m.removeFramework(f)
		return
	}
	f.failover = time.AfterFunc(after, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.frameworks[f.id] == f && f.stream == nil {
			m.removeFramework(f)
			m.notify()
		}
	})
}

// removeFramework kills its tasks and remembers its id.
func (m *Master) removeFramework(f *framework) {
	f.stop()
	m.dropOffers(f)
	for _, a := range m.agents {
		for id, t := range a.tasks {
			if t.framework == f.id {
				t.stop()
				delete(a.tasks, id)
				a.past = append(a.past, t) // its sandbox stays for a while
			}
		}
	}
	f.tasks = nil
	delete(m.frameworks, f.id)
	m.completed[f.id] = true
}
