package mesostest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/mesos/mesos-go/api/v1/lib"
)

// serveOperator is as much of the operators' API as tells a master from others.
func (m *Master) serveOperator(w http.ResponseWriter, r *http.Request) {
	var call struct{ Type string }
	switch err := json.Unmarshal(readAll(r.Body), &call); {
	case err != nil:
		Answer(w, http.StatusBadRequest, "Failed to parse body into JSON: "+err.Error())
	case call.Type != "GET_MASTER":
		Answer(w, http.StatusNotImplemented, "")
	default:
		m.mu.Lock()
		defer m.mu.Unlock()
		info, err := JSON(m.info())
		if err != nil {
			panic(err) // it is the double's own
		}
		answerJSON(w, map[string]any{"type": "GET_MASTER", "get_master": map[string]any{
			"master_info": json.RawMessage(withoutNulls(info)), "start_time": epoch(m.started), "elected_time": epoch(m.started),
		}})
	}
}

// serveSlaves is the master's list of agents.
func (m *Master) serveSlaves(w http.ResponseWriter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []any{}
	for _, a := range m.agents {
		list = append(list, map[string]any{"id": a.id, "hostname": a.host, "pid": "slave(1)@" + a.address})
	}
	answerJSON(w, map[string]any{"slaves": list})
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// directory is a task's sandbox.
func (t *task) directory() string {
	return fmt.Sprintf("/srv/mesos/agent/slaves/%s/frameworks/%s/executors/%s/runs/%s",
		t.agent.id, t.framework, t.executor(), t.containerID())
}

// browsed is the name under which agents also show a sandbox.
func (t *task) browsed() string {
	return fmt.Sprintf("/frameworks/%s/executors/%s/latest", t.framework, t.executor())
}

func (t *task) containerID() string {
	if t.runsIn != "" {
		return t.runsIn
	}
	return "c-" + t.info.TaskID.Value
}

// WriteFile puts a file into the sandbox of a task, running or ended.
func (m *Master) WriteFile(taskID, name string, contents []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.agents {
		for _, t := range a.all() {
			if t.info.TaskID.Value == taskID {
				a.files[t.directory()+"/"+name] = contents
				return
			}
		}
	}
	m.t.Errorf("write %s: no task %q", name, taskID)
}

// AddEnded gives the agent a task that has ended, whose sandbox is still there.
func (a *Agent) AddEnded(frameworkID, taskID string) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.past = append(a.past, &task{agent: a, framework: frameworkID, info: &mesos.TaskInfo{TaskID: mesos.TaskID{Value: taskID}}})
}

func (a *Agent) all() []*task {
	tasks := append([]*task(nil), a.past...)
	for _, t := range a.tasks {
		tasks = append(tasks, t)
	}
	return tasks
}

// ServeHTTP is the agent's own interface: its state and the files API.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if !a.m.opt.admitsToAgent(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="mesos-agent-readonly"`)
		Answer(w, http.StatusUnauthorized, "")
		return
	}
	switch strings.TrimPrefix(r.URL.Path, "/slave(1)") {
	case "/state":
		a.serveState(w)
	case "/files/read":
		a.serveRead(w, r)
	case "/files/browse":
		a.serveBrowse(w, r)
	case "/api/v1":
		w.Header().Set("Allow", "POST")
		Answer(w, http.StatusMethodNotAllowed, "405 Method Not Allowed. Expecting one of { 'POST' }, but received '"+r.Method+"'.")
	default:
		Answer(w, http.StatusNotFound, "404 Not Found.")
	}
}

func (a *Agent) serveState(w http.ResponseWriter) {
	type executors struct{ live, completed []any }
	frameworks := make(map[string]*executors)
	for _, t := range a.all() {
		f := frameworks[t.framework]
		if f == nil {
			f = &executors{live: []any{}, completed: []any{}}
			frameworks[t.framework] = f
		}
		task := []any{map[string]any{"id": t.info.TaskID.Value, "state": t.actual.String()}}
		e := map[string]any{"id": t.executor(), "directory": t.directory(), "tasks": task, "queued_tasks": []any{}, "completed_tasks": []any{}}
		if terminal(t.actual) {
			e["tasks"], e["completed_tasks"] = e["completed_tasks"], e["tasks"]
			f.completed = append(f.completed, e)
			continue
		}
		f.live = append(f.live, e)
	}
	list := []any{}
	for id, f := range frameworks {
		list = append(list, map[string]any{"id": id, "executors": f.live, "completed_executors": f.completed})
	}
	answerJSON(w, map[string]any{"id": a.id, "frameworks": list, "completed_frameworks": []any{}})
}

// serveBrowse lists a sandbox.
func (a *Agent) serveBrowse(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	list, found := []any{}, false
	for _, t := range a.all() {
		if path != t.directory() && path != t.browsed() {
			continue
		}
		found = true
		for file, contents := range a.files {
			if strings.HasPrefix(file, t.directory()+"/") {
				list = append(list, map[string]any{"path": path + strings.TrimPrefix(file, t.directory()), "size": len(contents)})
			}
		}
	}
	if !found {
		noSuchFile(w)
		return
	}
	answerJSON(w, list)
}

func noSuchFile(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusNotFound)
}

// pageSize is the most that an agent returns at once.
const pageSize = 64 << 10

// serveRead answers as an agent does: raw bytes within JSON.
func (a *Agent) serveRead(w http.ResponseWriter, r *http.Request) {
	contents, ok := a.files[r.URL.Query().Get("path")]
	if !ok {
		noSuchFile(w)
		return
	}
	offset, err := strconv.Atoi(r.URL.Query().Get("offset"))
	if err != nil {
		offset = -1
	}
	length, err := strconv.Atoi(r.URL.Query().Get("length"))
	if err != nil || length > pageSize {
		length = pageSize
	}
	w.Header().Set("Content-Type", "application/json")
	if offset < 0 {
		fmt.Fprintf(w, `{"data":"","offset":%d}`, len(contents))
		return
	}
	offset = min(offset, len(contents))
	part := contents[offset:min(offset+length, len(contents))]
	var out bytes.Buffer
	out.WriteString(`{"data":"`)
	for _, b := range part {
		switch {
		case b == '"' || b == '\\':
			out.Write([]byte{'\\', b})
		case b == '\n':
			out.WriteString(`\n`)
		case b < ' ':
			fmt.Fprintf(&out, `\u%04x`, b)
		default:
			out.WriteByte(b)
		}
	}
	fmt.Fprintf(&out, `","offset":%d}`, offset)
	_, _ = w.Write(out.Bytes()) // the client may be gone
}
