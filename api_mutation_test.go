package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// A specimen is a valid request. The path is decoded, its segments separated by
// line breaks; RUN stands for the id of a run of the job full.
type specimen struct{ method, path, query, body string }

const fullJob = `{"schedule":"R10/2030-10-01T05:52:00Z/PT2S","scheduleTimeZone":"America/Los_Angeles","name":"full","description":"sample","epsilon":"PT15M",` +
	`"command":"echo 'FOO'","shell":true,"executor":"","executorFlags":"","taskInfoData":"","retries":5,"owner":"owner@example.com","async":false,"concurrent":true,` +
	`"cpus":"0.5","mem":"512","disk":1024,"disabled":false,"softError":true,"dataProcessingJobType":true,"highPriority":true,"uris":["http://h/a.tgz"],` +
	`"environmentVariables":[{"name":"A","value":"1"}],"arguments":["-v"],"runAsUser":"nobody","constraints":[["rack","EQUALS","r1"],["os","LIKE","ubuntu.*"]],` +
	`"maxCompletionTime":300,"errorsSinceLastSuccess":0,"successCount":190,"errorCount":3,"lastSuccess":"2014-03-08T16:57:17.507Z","lastError":"2014-03-01T00:10:15.957Z",` +
	`"container":{"type":"mesos","image":"org/img:1","network":"USER","networkInfos":[{"name":"net1","protocol":"IPv4","labels":[{"key":"a","value":"b"}],` +
	`"portMappings":[{"hostPort":31000,"containerPort":8080,"protocol":"tcp"}]}],"volumes":[{"containerPath":"/data","mode":"rw","external":{"name":"vol",` +
	`"provider":"dvdi","options":[{"key":"k","value":"v"}]}}],"forcePullImage":true,"parameters":[{"key":"env","value":"X=1"}]}}`

var specimens = []specimen{
	{"GET", "jobs", "", ""},
	{"GET", "jobs\nsearch", "name=a&command=e&any=x&limit=5&offset=1", ""},
	{"GET", "jobs\nsummary", "", ""},
	{"GET", "job\na", "", ""},
	{"DELETE", "job\nfull", "", ""},
	{"PUT", "job\na", "arguments=-v%20x", ""},
	{"PUT", "job\nsuccess\na", "", ""},
	{"GET", "job\nstat\na", "", ""},
	{"POST", "job\nfull\ntask\nRUN\nprogress", "", `{"numAdditionalElementsProcessed":5}`},
	{"POST", "iso8601", "", fullJob},
	{"PUT", "iso8601", "", jobA},
	{"POST", "dependency", "", jobDep},
	{"PUT", "dependency", "", `{"async":true,"command":"bash -x run","epsilon":"PT30M","name":"dep2","parents":["a","full"],"retries":2,"successCount":100}`},
	{"DELETE", "task\nkill\na", "", ""},
	{"PUT", "task\nRUN", "", `{"statusCode":0}`},
	{"DELETE", "task\nall", "", ""},
	{"GET", "graph\ndot", "", ""},
	{"GET", "graph\ncsv", "", ""},
	{"GET", "stats\nmean", "", ""},
	{"GET", "leader", "", ""},
	{"POST", "schedule\npreview", "", `{"schedule":"R/2030-01-01T00:00:00Z/PT1H","scheduleTimeZone":"Europe/Berlin","count":5}`},
	{"GET", "upcoming\na", "count=5", ""},
	{"GET", "runs\na", "", ""},
	{"GET", "queued\na", "", ""},
	{"GET", "run\nRUN\nstdout", "offset=0&length=10", ""},
	{"GET", "problems", "", ""},
}

// A mutator spoils requests. What it does depends on its seed alone.
type mutator struct{ *rand.Rand }

func (m mutator) pick(words ...string) string { return words[m.IntN(len(words))] }

// request makes a request of a specimen, of which two in three are spoiled somewhere.
func (m mutator) request(base string, s specimen) *http.Request {
	if m.IntN(3) > 0 {
		switch {
		case s.body != "" && m.IntN(4) > 0:
			for range 1 + m.IntN(3) {
				s.body = m.document(s.body)
			}
		case s.query != "" && m.IntN(2) > 0:
			s.query = m.spoil(s.query)
		default:
			s.path = m.spoil(s.path)
		}
	}
	var path strings.Builder
	path.WriteString(base)
	for i, segment := range strings.Split(s.path, "\n") {
		if i > 0 {
			path.WriteByte('/')
		}
		path.WriteString(url.PathEscape(segment))
	}
	r := httptest.NewRequest(s.method, "/", strings.NewReader(s.body))
	r.URL = &url.URL{RawPath: path.String(), RawQuery: s.query}
	r.URL.Path, _ = url.PathUnescape(path.String())
	if s.body != "" || m.IntN(2) == 0 {
		r.Header.Set("Content-Type", typeJSON)
	}
	if m.IntN(20) == 0 {
		r.Header.Set(m.pick("Content-Type", "Accept", "Accept-Encoding", "Origin", "X-Forwarded-For", requestIDHeader), m.spoil("application/json;q=1"))
	}
	return r
}

// spoil changes some bytes of a text.
func (m mutator) spoil(s string) string {
	b := []byte(s)
	for range 1 + m.IntN(3) {
		i := m.IntN(len(b) + 1)
		end := min(i+m.IntN(4), len(b))
		insert := m.pick("", "a", "é", "\x00", "\xff", " ", "%", "..", ":", ";", "\n", "\"", "\\", "9999999999999999999", "-1", strings.Repeat("x", 300))
		b = slices.Concat(b[:i], []byte(insert), b[end:])
	}
	return string(b)
}

// document changes a JSON document, mostly so that it stays JSON.
func (m mutator) document(s string) string {
	root, err := parseValue([]byte(s))
	if err != nil || m.IntN(5) == 0 {
		return m.spoil(s)
	}
	members := root.object()
	if len(members) == 0 {
		return m.spoil(s)
	}
	i := m.IntN(len(members))
	switch m.IntN(5) {
	case 0:
		members = slices.Delete(members, i, i+1)
	case 1:
		members = append(members, members[i])
	case 2:
		members = append(members, member{m.spoil("unknown"), value(m.junk())})
	case 3:
		members[i].value = value(m.spoil(string(members[i].value)))
	default:
		members[i].value = value(m.junk())
	}
	var b bytes.Buffer
	for i, mb := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", encode(mb.key), mb.value)
	}
	return "{" + b.String() + "}"
}

func (m mutator) junk() string {
	return m.pick("null", "true", "0", "-1", "1e999", "1.5", "99999999999999999999", `""`, `"x"`, `"0"`, `"\u0000"`, `"é"`, "[]", "{}", `["a"]`, `[["a","b"]]`,
		`[{}]`, `[null]`, `{"a":{"b":[1]}}`, `"R/2030-01-01T00:00:00Z/P1M"`, `"R5//PT1S"`, `"R//PT0S"`, `"R/1990-01-01T00:00:00Z/-P1D"`, `"R/2020-01-01T00:00:00Z/PT0.001S"`,
		`"*/5 * * * *"`, `"Mars/Phobos"`, `"dep"`, `["dep"]`, `["dep2"]`, `["full"]`, strings.Repeat("[", 2000), `"`+strings.Repeat("y", 5000)+`"`)
}

// Whatever is sent, the answer is a success or says what is wrong with the request, and the state stays sound.
func TestMutatedRequests(t *testing.T) {
	t.Parallel()
	each := inForm(150, 5000)
	sch := testScheduler(t)
	o := leading(sch)
	o.output = func(*Run, string, int64, int) (outputPiece, error) { return outputPiece{}, nil }
	s := newAPI(o)
	do := func(r string) *http.Response { return send(t, s, r) }
	for i, sp := range specimens {
		t.Run(sp.method+" "+strings.ReplaceAll(sp.path, "\n", " "), func(t *testing.T) {
			m := mutator{rand.New(rand.NewPCG(uint64(i), 2024))}
			answers := map[int]int{}
			for n := range each {
				if n%50 == 0 || sp.method == "DELETE" && n%2 == 0 {
					restock(t, do)
				}
				sp := sp
				sp.path = strings.Replace(sp.path, "RUN", runOf(sch.view().job("full")), 1)
				r := m.request([]string{"/scheduler/", "/v1/scheduler/"}[n%2], sp)
				var body []byte
				r.Body = io.NopCloser(io.TeeReader(r.Body, (*byteSink)(&body)))
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				answers[w.Code/100]++
				if w.Code < 200 || w.Code >= 500 || w.Code/100 == 3 {
					t.Fatalf("%s %s %q %s = %d %s", r.Method, r.URL, r.Header, body, w.Code, w.Body)
				}
				if err := soundness(t, sch); err != nil {
					t.Fatalf("after %s %s %q %s = %d: %v", r.Method, r.URL, r.Header, body, w.Code, err)
				}
			}
			if answers[2] < each/4 {
				t.Errorf("only %d of %d succeeded: %v", answers[2], each, answers)
			}
		})
	}
}

// byteSink keeps what is written to it.
type byteSink []byte

func (b *byteSink) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

// restock puts back the jobs that the specimens speak of, and removes what has piled up.
func restock(t *testing.T, do func(string) *http.Response) {
	t.Helper()
	if list := strings.Fields(jobNames(t, do("GET /scheduler/jobs"))); len(list) > 60 {
		for _, name := range list[10:] {
			do("DELETE /scheduler/job/" + url.PathEscape(name))
		}
	}
	do("DELETE /scheduler/task/all")
	given(t, do, jobA, fullJob, jobDep)
	do("PUT /scheduler/job/full")
}

// runOf returns the id of a run of a job, open or not, or one that never was.
func runOf(jv *jobView) string {
	if jv != nil {
		for _, r := range slices.Concat(jv.runs, jv.history) {
			return r.ID
		}
	}
	return "ct:1420843781398:0:full:"
}
