package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
)

// However many clients send long bodies but for the last byte, what they hold is bounded. Beyond that the answer is
// 503 with Retry-After, others are served meanwhile, and those that never finish are let go.
func TestBodiesThatAreNeverFinished(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"of known length":   "Content-Length: 1048576\r\n\r\n",
		"of unknown length": "Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newAudience(t, 10<<20)
				request := "POST /scheduler/iso8601 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head + strings.Repeat(" ", 1<<20-1)
				var clients []net.Conn
				refused := 0
				for range 40 {
					conn := c.send(t, request)
					if used := c.memory.used.Load(); used > c.memory.limit {
						t.Fatalf("%d bytes are taken, of %d", used, c.memory.limit)
					}
					clients = append(clients, conn)
				}
				for _, conn := range clients[len(clients)-5:] {
					if res := statusOf(t, conn); res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "" {
						refused++
					}
				}
				if refused != 5 {
					t.Errorf("%d of the last 5 clients were refused", refused)
				}
				for _, other := range []string{"GET /scheduler/jobs HTTP/1.1\r\nHost: x\r\n\r\n", "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"} {
					if res := statusOf(t, c.send(t, other)); res.StatusCode != http.StatusOK {
						t.Errorf("%q is answered %s", other, res.Status)
					}
				}
				time.Sleep(bodyTimeout + time.Second)
				synctest.Wait()
				if used := c.memory.used.Load(); used != 0 {
					t.Errorf("%d bytes are still taken when no body was finished for %v", used, bodyTimeout)
				}
				document := `{"name":"a","command":"true","schedule":"R/2090-01-01T00:00:00Z/P1D"}`
				res := statusOf(t, c.send(t, fmt.Sprintf("POST /scheduler/iso8601 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(document), document)))
				if res.StatusCode != http.StatusNoContent {
					t.Errorf("then a job is answered %s", res.Status)
				}
			})
		})
	}
}

// What follower and leader hold of requests that wait for a leader is bounded too.
func TestBodiesHeldAtAFollower(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := newTestSeat("")
		at.memory = new(mesostest.Net)
		memory := newBudget(5 << 20)
		follower := startInstance(t, at, nil, func(o *apiOptions) { o.memory, o.hold = memory, 10*time.Second })
		c := &audience{testInstance: follower, net: at.memory, memory: memory}
		const size = 500 << 10
		request := fmt.Sprintf("POST /scheduler/iso8601 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size) + strings.Repeat("x", size)
		var clients []net.Conn
		for range 40 {
			clients = append(clients, c.send(t, request))
		}
		if used := memory.used.Load(); used > memory.limit || used < memory.limit/2 {
			t.Errorf("%d bytes are taken while they are held, of %d", used, memory.limit)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for i, conn := range clients {
			if res := statusOf(t, conn); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
				t.Errorf("client %d is answered %s, want 503 with Retry-After", i, res.Status)
			}
		}
		if used := memory.used.Load(); used != 0 {
			t.Errorf("%d bytes are still taken", used)
		}
	})
}

// A body that is read while it arrives is given up when nothing comes for a while, and when it takes too long in all.
func TestStreamedBodiesHaveTheirTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		pause time.Duration // between two pieces
		size  int
		whole bool
	}{
		{"steadily", stallTimeout / 2, 10, true},
		{"with a stall", stallTimeout + time.Second, 10, false},
		{"for ever", stallTimeout / 2, 1000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := new(mesostest.Net)
				l := memory.Listen("a:1")
				read := make(chan error, 1)
				var got int64
				h := &http.Server{ReadTimeout: bodyTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					c := &call{w: &response{ResponseWriter: w}, r: r}
					var err error
					got, err = io.Copy(io.Discard, newBodyStream(c, 1<<30))
					read <- err
				})}
				var running sync.WaitGroup
				running.Go(func() { h.Serve(l) })
				defer running.Wait()
				defer h.Close()
				conn, err := memory.Dial(context.Background(), "", "a:1")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				running.Go(func() {
					fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", tt.size)
					for range tt.size {
						time.Sleep(tt.pause)
						if _, err := conn.Write([]byte("x")); err != nil {
							return
						}
					}
				})
				start := time.Now()
				err = <-read
				if whole := err == nil && got == int64(tt.size); whole != tt.whole {
					t.Errorf("%d of %d bytes were read, %v", got, tt.size, err)
				}
				if took := time.Since(start); took > largeBodyTimeout+stallTimeout {
					t.Errorf("that took %v", took)
				}
			})
		})
	}
}

// Whoever sends a wrong header learns which, and what it must be.
func TestWrongHeadersAreNamed(t *testing.T) {
	t.Parallel()
	_, do := testAPI(t)
	tests := []struct {
		name, request string
		status        int
		says          string
	}{
		{"no type", "POST BASE/iso8601\n\n" + jobA, 415, "the header Content-Type is missing; it must be application/json"},
		{"an empty type", "POST BASE/iso8601\nContent-Type: \n\n" + jobA, 415, "the header Content-Type is missing; it must be application/json"},
		{"a form", "POST BASE/iso8601\nContent-Type: application/x-www-form-urlencoded\n\n" + jobA, 415,
			`the header Content-Type says "application/x-www-form-urlencoded"; it must be application/json`},
		{"text for a dependent job", "POST BASE/dependency\nContent-Type: text/plain\n\n" + jobDep, 415, `the header Content-Type says "text/plain"; it must be application/json`},
		{"text without a body", "GET BASE/jobs\nContent-Type: text/plain", 415, `the header Content-Type says "text/plain"; it must be application/json`},
		{"a form to run a job", "PUT BASE/job/a\nContent-Type: application/x-www-form-urlencoded\n\nx=1", 415, "it must be application/json"},
		{"a very long type", "GET BASE/jobs\nContent-Type: text/" + strings.Repeat("x", 10_000), 415, "it must be application/json"},
		{"a page", "GET BASE/jobs\nAccept: text/html", 406, `the header Accept says "text/html", and there is only application/json`},
		{"a graph as JSON", "GET BASE/graph/csv\nAccept: application/json", 406, `the header Accept says "application/json", and there is only text/plain`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for base, want := range map[string]string{"/scheduler": tt.says, "/v1/scheduler": strings.ReplaceAll(tt.says, `"`, `\"`)} {
				res := do(strings.Replace(tt.request, "BASE", base, 1))
				text := bodyOf(t, res)
				if res.StatusCode != tt.status || !strings.Contains(text, want) || len(text) > 1000 || res.Header.Get("Content-Type") != typeJSON {
					t.Errorf("under %s: %d %s, want %d %s", base, res.StatusCode, text, tt.status, want)
				}
				if base == "/v1/scheduler" && !strings.HasPrefix(text, `{"message":"`) {
					t.Errorf("under /v1 it is %s, want JSON", text)
				}
			}
		})
	}
}

// A request id is good for one request. Only that one gets the first answer again, from the next leader too, and
// through other instances.
func TestRequestIDIsForOneRequest(t *testing.T) {
	t.Parallel()
	at := newTestSeat("")
	st := newMemStore()
	first, second := startInstance(t, at, schedulerOn(t, st), nil), startInstance(t, at, nil, nil)
	at.set(first.id)
	jobB := strings.Replace(jobA, `"a"`, `"b"`, 1)
	ask(t, "POST", first.url+"/scheduler/iso8601", strings.Replace(jobA, `"a"`, `"victim"`, 1))
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"first", "POST", "/scheduler/iso8601", jobA, 204},
		{"the same", "POST", "/scheduler/iso8601", jobA, 204},
		{"another document", "POST", "/scheduler/iso8601", jobB, 409},
		{"another path", "POST", "/v1/scheduler/iso8601", jobA, 409},
		{"another query", "POST", "/scheduler/iso8601?x=1", jobA, 409},
		{"another method", "PUT", "/scheduler/iso8601", jobA, 409},
		{"another job", "DELETE", "/scheduler/job/victim", "", 409},
		{"a restore", "POST", "/scheduler/restore?replace=true", string(aBackup(t, largeState(1))), 409},
		{"the same once more", "POST", "/scheduler/iso8601", jobA, 204},
	} {
		for _, n := range []*testInstance{second, first} {
			res, text := ask(t, tt.method, n.url+tt.path, tt.body, requestIDHeader, "one")
			if res.StatusCode != tt.status || res.StatusCode == 409 && !strings.Contains(text, "another request") {
				t.Errorf("%s: %d %s, want %d", tt.name, res.StatusCode, text, tt.status)
			}
		}
	}
	if res, text := ask(t, "DELETE", second.url+"/scheduler/job/victim", "", requestIDHeader, "two"); res.StatusCode != 204 {
		t.Errorf("with an id of its own: %d %s, want 204", res.StatusCode, text)
	}
	if keys := st.keys("J_"); len(keys) != 1 || keys[0] != "J_a" {
		t.Errorf("jobs are %q, want the first request's", keys)
	}
	// As stored by an earlier version, which kept no digest, an answer is good for any.
	l := newRequestLog()
	id, stored, err := decodeAnswer(requestPrefix+"old", []byte(`{"answer":"yes","at":1}`))
	if err != nil {
		t.Fatal(err)
	}
	l.take(map[string]requestAnswer{id: stored})
	if answer, known, err := l.answer(newRequestName("old", []byte("PUT"))); answer != "yes" || !known || err != nil {
		t.Errorf("answer of an earlier version = %q, %t, %v", answer, known, err)
	}
	complete := newRequestName("x", []byte("POST"))
	complete.complete(sha256.New())
	if bare := newRequestName("x", []byte("POST")); bare.digest == complete.digest {
		t.Error("a body makes no difference to a request's digest")
	}
}
