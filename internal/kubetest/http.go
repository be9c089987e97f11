package kubetest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Request is what may go wrong.
type Request struct{ Method, Path, Task string }

// A Fault is what goes wrong with a request. The zero value is nothing.
type Fault struct {
	Status int           // answer with this, and do nothing
	After  int           // in that answer: Retry-After in seconds
	Lost   bool          // do it, and break the connection instead of answering
	Gone   bool          // do nothing, and break the connection
	Delay  time.Duration // before it is done
	Slow   time.Duration // before it is answered
}

// An EventFault is what goes wrong with an event of every watch.
type EventFault struct {
	Lose, Repeat bool
	Delay        time.Duration // of this and all that follows
}

// Faults say what goes wrong. They are called under the double's lock.
type Faults struct {
	Request func(Request) Fault
	Event   func(kind, pod string) EventFault
}

// SetFaults has things go wrong from now on.
func (s *Server) SetFaults(f Faults) { s.locked(func() { s.faults = f }) }

func (s *Server) note(kind string) { s.happened[kind]++ }

func (s *Server) noteEvent(f EventFault) {
	for kind, happens := range map[string]bool{"event lost": f.Lose, "event repeated": f.Repeat, "event late": f.Delay > 0} {
		if happens {
			s.note(kind)
		}
	}
}

// Compact forgets all versions but the newest: older watches and lists are answered with 410.
func (s *Server) Compact() {
	s.locked(func() {
		s.note("410 Gone")
		s.oldest = s.version
		s.ended++
		s.signal()
	})
}

// EndWatches ends the watches that are open.
func (s *Server) EndWatches() {
	s.locked(func() {
		s.note("watch ended")
		s.ended++
		s.signal()
	})
}

// Stop has the API server refuse connections' requests for a while: each is answered with 503, and watches end.
func (s *Server) Stop(d time.Duration) {
	s.locked(func() {
		s.note("server away")
		s.down = true
		s.ended++
		s.signal()
		s.later(d, func() { s.down = false })
	})
}

// A Snapshot is the state of the API server at an instant.
type Snapshot struct {
	version int
	objects map[string]Object
}

// Snapshot is what a backup of etcd would hold.
func (s *Server) Snapshot() Snapshot {
	return ask(s, func() Snapshot {
		snap := Snapshot{s.version, map[string]Object{}}
		for name, p := range s.pods {
			snap.objects[name] = clone(p.object)
		}
		return snap
	})
}

// SetBack makes an earlier state the present one, as restoring etcd does. What nodes run and the API server does not
// know is ended; what it knows and no node runs is failed.
func (s *Server) SetBack(snap Snapshot) {
	s.locked(func() {
		s.note("server set back")
		s.ended++
		before := s.pods
		s.pods = map[string]*pod{}
		s.version, s.oldest, s.log = snap.version, snap.version, nil
		for name, object := range snap.objects {
			if p := before[name]; p != nil && p.meta()["uid"] == object["metadata"].(Object)["uid"] {
				s.pods[name] = p // its node tells how far it is
				p.meta()["resourceVersion"] = strconv.Itoa(snap.version)
				continue
			}
			p := &pod{object: object, over: true, task: texts(object["metadata"].(Object)["annotations"])[s.taskKey]}
			s.undone[p.task] = true
			p.status()["phase"] = "Failed"
			p.status()["reason"], p.status()["message"] = "NodeLost", "the node knows no such pod"
			delete(p.status(), "containerStatuses")
			s.pods[name] = p
		}
		for name, p := range before {
			if s.pods[name] == nil {
				if p.timer != nil {
					p.timer.Stop()
				}
				p.over = true
				s.undone[p.task] = true
				s.endSpan(p)
			}
		}
		s.signal()
	})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	req := Request{Method: r.Method, Path: r.URL.Path, Task: s.taskOf(r, body)}
	if r.URL.Query().Has("watch") {
		req.Method = "WATCH"
	}
	s.mu.Lock()
	var f Fault
	if s.faults.Request != nil {
		f = s.faults.Request(req)
	}
	s.requests = append(s.requests, req.Method+" "+req.Path)
	down := s.down
	s.mu.Unlock()
	switch {
	case down:
		refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable", "the server is currently unable to handle the request")
		return
	case s.opt.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.opt.Token:
		refuse(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		return
	case f.Gone:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		if f.After > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.After))
		}
		refuse(w, f.Status, map[int]string{429: "TooManyRequests", 500: "InternalError"}[f.Status], "fault of this test")
		return
	}
	if f.Delay > 0 {
		time.Sleep(f.Delay)
	}
	if req.Method == "WATCH" {
		s.route(w, r, body)
		return
	}
	if r.URL.Query().Get("follow") == "true" && s.follow(w, r) {
		return
	}
	kept := &keptAnswer{header: w.Header()}
	s.route(kept, r, body)
	if f.Lost {
		panic(http.ErrAbortHandler)
	}
	if f.Slow > 0 {
		time.Sleep(f.Slow)
	}
	w.WriteHeader(kept.status)
	_, _ = w.Write(kept.body.Bytes())
}

// taskOf finds the task that a request is about.
func (s *Server) taskOf(r *http.Request, body []byte) string {
	var doc struct {
		Metadata struct{ Annotations map[string]string }
	}
	if r.Method == http.MethodPost && json.Unmarshal(body, &doc) == nil {
		return doc.Metadata.Annotations[s.taskKey]
	}
	_, name, _ := strings.Cut(r.URL.Path, "/pods/")
	name, _, _ = strings.Cut(name, "/")
	return ask(s, func() string {
		if p := s.pods[name]; p != nil {
			return p.task
		}
		return ""
	})
}

// A keptAnswer is written when the lock is free again.
type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *keptAnswer) Header() http.Header { return k.header }

func (k *keptAnswer) WriteHeader(status int) { k.status = cmp.Or(k.status, status) }

func (k *keptAnswer) Write(b []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	return k.body.Write(b)
}

func (s *Server) route(w http.ResponseWriter, r *http.Request, body []byte) {
	const pods = "/api/v1/namespaces/default/pods"
	rest, ok := strings.CutPrefix(r.URL.Path, pods)
	name, sub, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	switch {
	case r.URL.Path == "/api/v1/nodes":
		s.collection(w, r, "nodes")
	case !ok:
		refuse(w, http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	case name == "" && r.Method == http.MethodPost:
		s.post(w, r, body)
	case name == "":
		s.collection(w, r, "pods")
	default:
		s.one(w, r, name, sub, body)
	}
}

func (s *Server) post(w http.ResponseWriter, r *http.Request, body []byte) {
	var object Object
	if err := json.Unmarshal(body, &object); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	meta, _ := object["metadata"].(Object)
	name, _ := meta["name"].(string)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case name == "" || object["spec"] == nil:
		refuse(w, http.StatusUnprocessableEntity, "Invalid", "Pod \"\" is invalid: metadata.name: Required value: name or generateName is required")
	case s.pods[name] != nil:
		refuseObject(w, http.StatusConflict, "AlreadyExists", fmt.Sprintf("pods %q already exists", name), name)
	case s.quota > 0 && len(s.pods) >= s.quota:
		refuseObject(w, http.StatusForbidden, "Forbidden",
			fmt.Sprintf("pods %q is forbidden: exceeded quota: pods, requested: pods=1, used: pods=%d, limited: pods=%d", name, len(s.pods), s.quota), name)
	case r.URL.Query().Get("dryRun") == "All":
		answer(w, http.StatusCreated, object)
	default:
		meta["namespace"] = "default"
		answer(w, http.StatusCreated, s.admit(object))
	}
}

func (s *Server) one(w http.ResponseWriter, r *http.Request, name, sub string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[name]
	if p == nil {
		refuseObject(w, http.StatusNotFound, "NotFound", fmt.Sprintf("pods %q not found", name), name)
		return
	}
	switch {
	case sub == "log":
		p.writeLog(w, r.URL.Query())
	case r.Method == http.MethodGet:
		answer(w, http.StatusOK, p.object)
	case r.Method == http.MethodPatch:
		s.patch(w, r, p, body)
	case r.Method == http.MethodDelete:
		s.delete(w, r, p, body)
	default:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "the server does not allow this method on the requested resource")
	}
}

// patch takes the strategic merge patches that concern labels, annotations and finalizers.
func (s *Server) patch(w http.ResponseWriter, r *http.Request, p *pod, body []byte) {
	var doc struct {
		Metadata struct {
			UID                 string
			Labels, Annotations map[string]any
			Remove              []any `json:"$deleteFromPrimitiveList/finalizers"`
		}
	}
	if kind := r.Header.Get("Content-Type"); kind != "application/strategic-merge-patch+json" {
		refuse(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the body of the request was in an unknown format: "+kind)
		return
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	meta := p.meta()
	if uid := doc.Metadata.UID; uid != "" && uid != meta["uid"] {
		refuseObject(w, http.StatusConflict, "Conflict", fmt.Sprintf("Operation cannot be fulfilled on pods %q: Precondition failed", p.name()), p.name())
		return
	}
	for key, values := range map[string]map[string]any{"labels": doc.Metadata.Labels, "annotations": doc.Metadata.Annotations} {
		if len(values) == 0 {
			continue
		}
		have, _ := meta[key].(Object)
		if have == nil {
			have = Object{}
		}
		maps.Copy(have, values)
		meta[key] = have
	}
	if len(doc.Metadata.Remove) > 0 {
		meta["finalizers"] = slices.DeleteFunc(p.finalizers(), func(f any) bool { return slices.Contains(doc.Metadata.Remove, f) })
	}
	s.record("MODIFIED", "pods", p.object)
	answer(w, http.StatusOK, p.object)
	s.reap(p)
}

func (s *Server) delete(w http.ResponseWriter, r *http.Request, p *pod, body []byte) {
	var options struct {
		GracePeriodSeconds *int
		Preconditions      struct{ UID, ResourceVersion string }
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &options); err != nil {
			refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
			return
		}
	}
	if uid := options.Preconditions.UID; uid != "" && uid != p.meta()["uid"] {
		refuseObject(w, http.StatusConflict, "Conflict", "Precondition failed: UID in precondition: "+uid, p.name())
		return
	}
	if v := options.Preconditions.ResourceVersion; v != "" && v != p.meta()["resourceVersion"] {
		refuseObject(w, http.StatusConflict, "Conflict", "Precondition failed: ResourceVersion in precondition: "+v, p.name())
		return
	}
	grace := 30
	if own, ok := p.spec()["terminationGracePeriodSeconds"].(float64); ok {
		grace = int(own)
	}
	if options.GracePeriodSeconds != nil {
		grace = *options.GracePeriodSeconds
	}
	if text := r.URL.Query().Get("gracePeriodSeconds"); text != "" {
		grace, _ = strconv.Atoi(text)
	}
	if grace == 0 && p.running && !p.over {
		s.t.Errorf("pod %s was deleted with a grace period of 0: whatever it runs would be left alone", p.name())
	}
	s.remove(p, grace)
	answer(w, http.StatusOK, p.object)
}

// follow waits for the end of a log that is being written, which comes at once then, also when its node drops it at that
// moment. It reports whether it has answered.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) bool {
	name := strings.TrimSuffix(r.URL.Path[strings.LastIndex(r.URL.Path, "/pods/")+len("/pods/"):], "/log")
	p := ask(s, func() *pod { return s.pods[name] })
	for waited := false; p != nil; waited = true {
		s.mu.Lock()
		goesOn, changed := p.running && !p.over && !s.closing, s.changed
		s.mu.Unlock()
		if !goesOn && waited {
			io.WriteString(w, p.text)
			return true
		}
		if !goesOn {
			break
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return true
		}
	}
	return false
}

func (p *pod) writeLog(w http.ResponseWriter, query url.Values) {
	if !p.running {
		refuse(w, http.StatusBadRequest, "BadRequest", fmt.Sprintf("container %q in pod %q is waiting to start: ContainerCreating", "task", p.name()))
		return
	}
	text := p.text
	if p.dropped { // a success, to the letter
		text = "unable to retrieve container logs for containerd://58765f"
	}
	if n, err := strconv.Atoi(query.Get("limitBytes")); err == nil && n < len(text) {
		text = text[:n]
	}
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, text)
}

// collection lists or watches.
func (s *Server) collection(w http.ResponseWriter, r *http.Request, what string) {
	query := r.URL.Query()
	if query.Has("watch") {
		s.watch(w, r, what)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var items []Object
	names := slices.Sorted(maps.Keys(s.nodes))
	if what == "pods" {
		names = slices.Sorted(maps.Keys(s.pods))
	}
	after, version := "", strconv.Itoa(s.version)
	if token := query.Get("continue"); token != "" {
		version, after, _ = strings.Cut(token, "/")
		if n, _ := strconv.Atoi(version); n < s.oldest {
			refuse(w, http.StatusGone, "Expired", "The provided continue parameter is too old to display a consistent list result.")
			return
		}
	}
	limit, _ := strconv.Atoi(query.Get("limit"))
	meta := Object{"resourceVersion": version}
	for _, name := range names {
		object := s.nodes[name]
		if what == "pods" {
			object = s.pods[name].object
		}
		if name <= after || !selects(query.Get("labelSelector"), texts(object["metadata"].(Object)["labels"])) {
			continue
		}
		if limit > 0 && len(items) == limit {
			meta["continue"] = version + "/" + items[limit-1]["metadata"].(Object)["name"].(string)
			break
		}
		items = append(items, object)
	}
	answer(w, http.StatusOK, Object{"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items})
}

// selects knows key=value,key=value.
func selects(selector string, labels map[string]string) bool {
	if selector == "" {
		return true
	}
	for part := range strings.SplitSeq(selector, ",") {
		key, value, _ := strings.Cut(part, "=")
		if labels[key] != value {
			return false
		}
	}
	return true
}

const bookmarkEvery = time.Minute

// watch sends what happens after a version.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, what string) {
	query := r.URL.Query()
	at, _ := strconv.Atoi(query.Get("resourceVersion"))
	seconds, _ := strconv.Atoi(query.Get("timeoutSeconds"))
	if seconds <= 0 {
		seconds = 1800
	}
	end := time.NewTimer(time.Duration(seconds) * time.Second)
	defer end.Stop()
	bookmark := time.NewTicker(bookmarkEvery)
	defer bookmark.Stop()
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	s.mu.Lock()
	ended := s.ended
	stale := at < s.oldest || at > s.version
	s.mu.Unlock()
	if stale {
		_ = out.Encode(Object{"type": "ERROR", "object": statusDocument(http.StatusGone, "Expired", fmt.Sprintf("too old resource version: %d", at), "")})
		return
	}
	for {
		s.mu.Lock()
		over, changed := s.closing || s.ended != ended, s.changed
		events := s.since(at, what, query.Get("labelSelector"))
		version := s.version
		s.mu.Unlock()
		if over {
			return
		}
		for _, e := range events {
			if !s.send(r, out, e) {
				return
			}
		}
		at = version
		if control.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-bookmark.C:
			_ = out.Encode(Object{"type": "BOOKMARK", "object": Object{"kind": "Pod", "apiVersion": "v1", "metadata": Object{"resourceVersion": strconv.Itoa(at)}}})
		case <-end.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// since lists the events after a version. The caller holds the lock.
func (s *Server) since(at int, what, selector string) []event {
	i, _ := slices.BinarySearchFunc(s.log, at+1, func(e event, v int) int { return e.version - v })
	var events []event
	for _, e := range s.log[i:] {
		if e.what == what && selects(selector, e.labels) {
			events = append(events, e)
		}
	}
	return events
}

// send writes an event, and reports whether the watch goes on.
func (s *Server) send(r *http.Request, out *json.Encoder, e event) bool {
	if e.fault.Delay > 0 {
		t := time.NewTimer(e.fault.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			return false
		}
	}
	copies := 1
	if e.fault.Repeat {
		copies = 2
	}
	if e.fault.Lose {
		copies = 0
	}
	for range copies {
		if out.Encode(Object{"type": e.kind, "object": e.object}) != nil {
			return false
		}
	}
	return true
}

func answer(w http.ResponseWriter, status int, o Object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(o)
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	answer(w, status, statusDocument(status, reason, message, ""))
}

func refuseObject(w http.ResponseWriter, status int, reason, message, name string) {
	answer(w, status, statusDocument(status, reason, message, name))
}

func statusDocument(status int, reason, message, name string) Object {
	o := Object{"kind": "Status", "apiVersion": "v1", "metadata": Object{}, "status": "Failure", "message": message, "reason": reason, "code": status}
	if name != "" {
		o["details"] = Object{"name": name, "kind": "pods"}
	}
	return o
}
