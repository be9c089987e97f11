package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// serveSlaves is the master's list of agents.
func (m *master) serveSlaves(w http.ResponseWriter) {
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
func (t *fakeTask) directory() string {
	return fmt.Sprintf("/srv/mesos/agent/slaves/%s/frameworks/%s/executors/%s/runs/c-%s",
		t.agent.id, t.framework, t.executor(), t.info.TaskID.Value)
}

// writeFile puts a file into the sandbox of a task, running or ended.
func (m *master) writeFile(taskID, name string, contents []byte) {
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

func (a *fakeAgent) all() []*fakeTask {
	tasks := append([]*fakeTask(nil), a.past...)
	for _, t := range a.tasks {
		tasks = append(tasks, t)
	}
	return tasks
}

// serveHTTP is the agent's own interface: its state and the files API.
func (a *fakeAgent) serveHTTP(w http.ResponseWriter, r *http.Request) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if !a.m.opt.admitsToAgent(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="mesos-agent-readonly"`)
		masterAnswer(w, http.StatusUnauthorized, "")
		return
	}
	switch strings.TrimPrefix(r.URL.Path, "/slave(1)") {
	case "/state":
		a.serveState(w)
	case "/files/read":
		a.serveRead(w, r)
	default:
		masterAnswer(w, http.StatusNotFound, "404 Not Found.")
	}
}

func (a *fakeAgent) serveState(w http.ResponseWriter) {
	frameworks := make(map[string][]any)
	for _, t := range a.all() {
		task := map[string]any{"id": t.info.TaskID.Value, "state": t.actual.String()}
		e := map[string]any{"id": t.executor(), "directory": t.directory(), "tasks": []any{}, "completed_tasks": []any{task}}
		frameworks[t.framework] = append(frameworks[t.framework], e)
	}
	list := []any{}
	for id, executors := range frameworks {
		list = append(list, map[string]any{"id": id, "executors": []any{}, "completed_executors": executors})
	}
	answerJSON(w, map[string]any{"id": a.id, "frameworks": list, "completed_frameworks": []any{}})
}

// serveRead answers as an agent does: raw bytes within JSON, 64 KiB at most.
func (a *fakeAgent) serveRead(w http.ResponseWriter, r *http.Request) {
	contents, ok := a.files[r.URL.Query().Get("path")]
	if !ok {
		masterAnswer(w, http.StatusNotFound, "")
		return
	}
	offset, err := strconv.Atoi(r.URL.Query().Get("offset"))
	if err != nil {
		offset = -1
	}
	length, err := strconv.Atoi(r.URL.Query().Get("length"))
	if err != nil || length > filePage {
		length = filePage
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
