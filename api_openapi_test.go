package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A description is the OpenAPI document as clients get it.
type description struct {
	t     *testing.T
	root  map[string]any
	paths map[string]any
}

func readDescription(t *testing.T) *description {
	t.Helper()
	_, do := testAPI(t)
	res := do("GET /openapi.json")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != typeJSON {
		t.Fatalf("GET /openapi.json = %d, %s", res.StatusCode, res.Header)
	}
	d := &description{t: t}
	if err := json.Unmarshal([]byte(bodyOf(t, res)), &d.root); err != nil {
		t.Fatal(err)
	}
	d.paths = d.root["paths"].(map[string]any)
	return d
}

// resolve follows a reference.
func (d *description) resolve(v any) map[string]any {
	d.t.Helper()
	m, _ := v.(map[string]any)
	to, ok := m["$ref"].(string)
	if !ok {
		return m
	}
	at := d.root
	for _, word := range strings.Split(strings.TrimPrefix(to, "#/"), "/") {
		if at, ok = at[word].(map[string]any); !ok {
			d.t.Fatalf("%s leads nowhere", to)
		}
	}
	return d.resolve(at)
}

var parameterOfPath = regexp.MustCompile(`\{[a-z]+\}`)

// routeOf is a path of the document as the table of access has it.
func routeOf(path string) string {
	if below, ok := strings.CutPrefix(path, "/scheduler/"); ok {
		return parameterOfPath.ReplaceAllString(below, "{}")
	}
	if below, ok := strings.CutPrefix(path, "/v1/scheduler/"); ok {
		return parameterOfPath.ReplaceAllString(below, "{}")
	}
	return parameterOfPath.ReplaceAllString(path, "*")
}

func TestEveryRouteIsDescribed(t *testing.T) {
	t.Parallel()
	d := readDescription(t)
	described := map[string]int{}
	ids := map[string]bool{}
	for path, item := range d.paths {
		for method, o := range item.(map[string]any) {
			described[strings.ToUpper(method)+" "+routeOf(path)]++
			id := o.(map[string]any)["operationId"].(string)
			if ids[id] {
				t.Errorf("two operations have the id %s", id)
			}
			ids[id] = true
		}
	}
	for _, r := range accessRules {
		want := 2
		if strings.HasPrefix(r.path, "/") {
			want = 1
		}
		if got := described[r.method+" "+r.path]; got != want {
			t.Errorf("%s %s is described %d times, want %d", r.method, r.path, got, want)
		}
		delete(described, r.method+" "+r.path)
	}
	delete(described, "GET /ping") // which is for everybody, and so not in the table
	for route := range described {
		t.Errorf("%s is described, and no route", route)
	}
}

// Documents that people read name every path that is described.
func TestEveryPathIsInTheDocuments(t *testing.T) {
	t.Parallel()
	d := readDescription(t)
	documents, err := os.ReadFile("docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for path := range d.paths {
		if strings.HasPrefix(path, "/v1/") || path == "/" {
			continue
		}
		route := strings.TrimPrefix(strings.TrimPrefix(path, "/scheduler/"), "/")
		var pattern strings.Builder
		last := 0
		for _, at := range parameterOfPath.FindAllStringIndex(route, -1) {
			pattern.WriteString(regexp.QuoteMeta(route[last:at[0]]) + "[^/ ?\"`]+")
			last = at[1]
		}
		pattern.WriteString(regexp.QuoteMeta(route[last:]))
		mentioned := regexp.MustCompile("(^|[/ `])" + pattern.String() + "([ ?\"`,;.#\n]|$)")
		if !mentioned.Match(documents) {
			t.Errorf("docs/api.md does not mention %s", path)
		}
	}
}

// conforms returns where a value is not as a schema says, "" for nowhere.
func (d *description) conforms(schema any, v any, at string) string {
	s := d.resolve(schema)
	if c, ok := s["const"]; ok && fmt.Sprint(c) != fmt.Sprint(v) {
		return fmt.Sprintf("%s: %v is not %v", at, v, c)
	}
	if list, ok := s["enum"].([]any); ok && !slices.ContainsFunc(list, func(e any) bool { return e == v }) {
		return fmt.Sprintf("%s: %v is none of %v", at, v, list)
	}
	if types, ok := s["type"]; ok && !slices.ContainsFunc(typesOf(types), func(name string) bool { return isOfType(name, v) }) {
		return fmt.Sprintf("%s: %v is no %v", at, v, types)
	}
	all, _ := s["allOf"].([]any)
	for _, part := range all {
		if wrong := d.conforms(part, v, at); wrong != "" {
			return wrong
		}
	}
	if list, ok := v.([]any); ok && s["items"] != nil {
		for i, e := range list {
			if wrong := d.conforms(s["items"], e, fmt.Sprintf("%s[%d]", at, i)); wrong != "" {
				return wrong
			}
		}
	}
	object, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	required, _ := s["required"].([]any)
	for _, key := range required {
		if _, ok := object[key.(string)]; !ok {
			return fmt.Sprintf("%s: the key %v is missing", at, key)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for key, e := range object {
		if p, ok := properties[key]; ok {
			if wrong := d.conforms(p, e, at+"."+key); wrong != "" {
				return wrong
			}
		}
	}
	return ""
}

func typesOf(v any) (names []string) {
	if name, ok := v.(string); ok {
		return []string{name}
	}
	for _, name := range v.([]any) {
		names = append(names, name.(string))
	}
	return names
}

func isOfType(name string, v any) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	}
	return name == "object"
}

// A requestWriter makes requests of an operation: its example, or one of chance, most of which nobody means.
type requestWriter struct {
	*description
	chance *rand.Rand
	wild   bool
}

var strangeTexts = []string{"", "a", "hello", "after", "../..", "é", "\x00", "a/b", strings.Repeat("x", 300), "R/2030-01-01T00:00:00Z/PT1H", "R//PT0S", "*/5 * * * *", "PT2H",
	"2026-01-01T00:00:00Z", "ct:1420843781398:0:hello:", "-1", "99999999999999999999", "true", "NaN", "{}", "%zz", "a b", "team=data"}

func (w *requestWriter) value(schema any) any {
	s := w.resolve(schema)
	if w.chance.IntN(12) == 0 {
		return []any{nil, true, -1.5, 1e300, "x", []any{}, map[string]any{"a": 1}}[w.chance.IntN(7)]
	}
	if list, ok := s["anyOf"].([]any); ok {
		return w.value(list[w.chance.IntN(len(list))])
	}
	if list, ok := s["enum"].([]any); ok {
		return list[w.chance.IntN(len(list))]
	}
	if c, ok := s["const"]; ok {
		return c
	}
	switch s["type"] {
	case "integer":
		return []any{0, 1, 2, 10, -3, 1 << 40}[w.chance.IntN(6)]
	case "number":
		return []any{0, 0.1, 128, -1, 1e9}[w.chance.IntN(5)]
	case "boolean":
		return w.chance.IntN(2) == 0
	case "array":
		list := []any{}
		for range w.chance.IntN(3) {
			list = append(list, w.value(s["items"]))
		}
		return list
	case "object":
		object := map[string]any{}
		required, _ := s["required"].([]any)
		properties, _ := s["properties"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(properties)) {
			p := properties[key]
			if slices.Contains(required, any(key)) && w.chance.IntN(20) > 0 || w.chance.IntN(4) == 0 {
				object[key] = w.value(p)
			}
		}
		return object
	}
	return strangeTexts[w.chance.IntN(len(strangeTexts))]
}

// request makes a request of an operation.
func (w *requestWriter) request(method, path string, o map[string]any) *http.Request {
	query := url.Values{}
	parameters, _ := o["parameters"].([]any)
	for _, p := range parameters {
		p := w.resolve(p)
		name, given := p["name"].(string), p["example"]
		if w.wild && (w.chance.IntN(2) == 0 || given == nil) {
			given = w.value(p["schema"])
		}
		switch {
		case p["in"] == "path" && fmt.Sprint(given) == "": // which would be another path
			path = strings.ReplaceAll(path, "{"+name+"}", "x")
		case p["in"] == "path":
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(fmt.Sprint(given)))
		case given != nil && (!w.wild || p["required"] == true || path == "/scheduler/events" || path == "/v1/scheduler/events" || w.chance.IntN(2) == 0):
			query.Set(name, fmt.Sprint(given))
		}
	}
	if strings.HasSuffix(path, "/events") && query.Get("since") == "" {
		query.Set("since", "gone") // it would go on without an end
	}
	target := (&url.URL{Path: "/", RawQuery: query.Encode()}).String()
	target = path + strings.TrimPrefix(target, "/")
	var body string
	content, _ := w.resolve(o["requestBody"])["content"].(map[string]any)
	form := ""
	for mediaType, c := range content {
		form = mediaType
		given := c.(map[string]any)["example"]
		if w.wild && w.chance.IntN(3) > 0 {
			given = w.value(c.(map[string]any)["schema"])
		}
		body = string(encode(given))
		if mediaType != typeJSON {
			body = "level=info"
		}
		if w.wild && w.chance.IntN(30) == 0 {
			body = strangeTexts[w.chance.IntN(len(strangeTexts))]
		}
	}
	r := httptest.NewRequest(strings.ToUpper(method), target, strings.NewReader(body))
	if form != "" && (!w.wild || w.chance.IntN(30) > 0) {
		r.Header.Set("Content-Type", form)
	}
	if w.wild && w.chance.IntN(30) == 0 {
		r.Header.Set("Accept", "image/png")
	}
	return r
}

// judge says in what an answer is not as described.
func (d *description) judge(o map[string]any, status int, header http.Header, body string) string {
	described, ok := o["responses"].(map[string]any)[strconv.Itoa(status)]
	if !ok {
		return fmt.Sprintf("the status %d is not described", status)
	}
	content, _ := d.resolve(described)["content"].(map[string]any)
	if len(content) == 0 {
		return ""
	}
	mediaType, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	form, ok := content[mediaType].(map[string]any)
	if !ok {
		return fmt.Sprintf("the type %q of status %d is not described", mediaType, status)
	}
	if form["schema"] == nil || mediaType != typeJSON {
		return ""
	}
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return fmt.Sprintf("status %d: %v", status, err)
	}
	return d.conforms(form["schema"], v, "answer")
}

// Where nobody leads, that is a described answer too.
func TestAnswersWithoutALeaderAreAsDescribed(t *testing.T) {
	t.Parallel()
	d := readDescription(t)
	o := leading(nil)
	o.leader, o.hold = func() (string, bool) { return "", false }, time.Millisecond
	handler := newAPI(o)
	w := &requestWriter{description: d, chance: rand.New(rand.NewPCG(3, 18))}
	unavailable := 0
	for path, item := range d.paths {
		if path == "/health" || strings.HasPrefix(path, "/metrics") { // which this server is made without
			continue
		}
		for method, operation := range item.(map[string]any) {
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, w.request(method, path, operation.(map[string]any)))
			if wrong := d.judge(operation.(map[string]any), recorder.Code, recorder.Header(), recorder.Body.String()); wrong != "" {
				t.Errorf("%s %s: %s", method, path, wrong)
			}
			if recorder.Code == http.StatusServiceUnavailable {
				unavailable++
			}
		}
	}
	if unavailable < 80 {
		t.Errorf("%d operations need a leader", unavailable)
	}
}

// Whatever is asked, the answer is described: its status, its type, and what it holds.
func TestAnswersAreAsDescribed(t *testing.T) {
	t.Parallel()
	d := readDescription(t)
	handler := newAPI(leading(testScheduler(t)))
	w := &requestWriter{description: d, chance: rand.New(rand.NewPCG(3, 18))}
	type route struct {
		method, path string
		operation    map[string]any
	}
	var routes []route
	for _, path := range slices.Sorted(maps.Keys(d.paths)) {
		switch path {
		case "/health", "/metrics", "/metrics/{form}": // which this server is made without
			continue
		case "/scheduler/restore", "/v1/scheduler/restore": // with which the term ends
			continue
		}
		for _, method := range []string{"post", "put", "get", "delete"} {
			if o, ok := d.paths[path].(map[string]any)[method]; ok {
				routes = append(routes, route{method, path, o.(map[string]any)})
			}
		}
	}
	statuses := map[int]int{}
	ask := func(r route) {
		request := w.request(r.method, r.path, r.operation)
		asked := request.Method + " " + request.URL.String()
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		statuses[recorder.Code]++
		if wrong := d.judge(r.operation, recorder.Code, recorder.Header(), recorder.Body.String()); wrong != "" {
			t.Errorf("%s (%s): %s\n%s", asked, r.path, wrong, cutText(recorder.Body.String(), 500, "…"))
		}
	}
	send(t, handler, post("/scheduler/iso8601", `{"name":"hello","command":"x","schedule":"R/2026-01-01T00:00:00Z/PT1H"}`))
	for _, r := range routes { // the examples, which must be good ones
		before := statuses[200] + statuses[204]
		if r.method == "delete" {
			continue
		}
		ask(r)
		if strings.HasSuffix(r.path, "whoami") || strings.HasSuffix(r.path, "logout") || strings.Contains(r.path, "/run/") || strings.Contains(r.path, "progress") || strings.Contains(r.path, "backfill") ||
			strings.HasSuffix(r.path, "leader/health") || strings.HasSuffix(r.path, "/instances") || strings.Contains(r.path, "/notices/") {
			continue // for which something must have happened before, or which this server is made without
		}
		if statuses[200]+statuses[204] == before {
			t.Errorf("the example of %s %s is not answered with success", r.method, r.path)
		}
	}
	w.wild = true
	rounds := 30
	if testing.Short() {
		rounds = 10
	}
	for range rounds {
		for _, r := range routes {
			if w.chance.IntN(8) == 0 {
				send(t, handler, post("/scheduler/iso8601", `{"name":"hello","command":"x","dataProcessingJobType":true,"schedule":"R/2026-01-01T00:00:00Z/PT1H"}`))
			}
			ask(r)
		}
	}
	if statuses[200] < 300 || statuses[204] < 100 || statuses[400] < 300 {
		t.Errorf("answers by status: %v; that is not much of a test", statuses)
	}
	t.Logf("answers by status: %v", statuses)
}
