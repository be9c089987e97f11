package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
)

func TestCompression(t *testing.T) {
	t.Parallel()
	sch := testScheduler(t)
	o := leading(sch)
	o.compress = true
	s := newAPI(o)
	for i := range 50 {
		given(t, func(r string) *http.Response { return send(t, s, r) }, strings.Replace(jobA, `"a"`, fmt.Sprintf(`"a%d"`, i), 1))
	}
	plain := bodyOf(t, send(t, s, "GET /scheduler/jobs\nAccept-Encoding: gzip;q=0"))
	res := send(t, s, "GET /scheduler/jobs\nAccept-Encoding: deflate, gzip")
	if res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Vary") != "Accept-Encoding, User-Agent" {
		t.Fatalf("headers = %v, want gzip", res.Header)
	}
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != plain {
		t.Errorf("unpacked = %d bytes, %v, want the %d of the plain answer", len(got), err, len(plain))
	}
	if res := send(t, s, "GET /scheduler/leader\nAccept-Encoding: gzip"); res.Header.Get("Content-Encoding") != "" {
		t.Error("a small answer is compressed")
	}
}

// An audience is clients of one server in virtual time, with little memory for what they send and are sent.
type audience struct {
	*testInstance
	net    *mesostest.Net
	memory *budget
	sch    *scheduler
}

func newAudience(t *testing.T, memory int64) *audience {
	at := newTestSeat("")
	at.memory = new(mesostest.Net)
	c := &audience{net: at.memory, memory: newBudget(memory), sch: testScheduler(t)}
	c.testInstance = startInstance(t, at, c.sch, func(o *apiOptions) { o.memory, o.compress = c.memory, true })
	at.set(c.id)
	return c
}

// send opens a connection and sends a request on it, without reading.
func (c *audience) send(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := c.net.Dial(context.Background(), "", c.id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go io.WriteString(conn, text) // the server may not read all of it
	synctest.Wait()
	return conn
}

// statusOf reads the status of an answer, and no more.
func statusOf(t *testing.T, conn net.Conn) *http.Response {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// However many clients ask for long answers and do not read them, of whatever kind, what they hold is bounded. Beyond that the
// answer is 503 with Retry-After, short ones are given, and a client that has read nothing for a while is dropped.
func TestClientsThatDoNotRead(t *testing.T) {
	t.Parallel()
	for i, path := range []string{
		"/scheduler/jobs", "/scheduler/jobs/search?limit=2000000", "/v1/scheduler/jobs/summary", "/scheduler/graph/dot", "/scheduler/graph/csv",
		"/scheduler/stats/mean", "/scheduler/overview", "/scheduler/backup", "/scheduler/runs/many",
	} {
		for j, encoding := range []string{"", "gzip"} {
			if !*long && (i+j)%2 == 1 {
				continue // every other one in the short form
			}
			t.Run(path+" "+encoding, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c := newAudience(t, 3<<20)
					c.sch.stock(t, 2000)
					request := "GET " + path + " HTTP/1.1\r\nHost: x\r\nAccept-Encoding: " + encoding + "\r\n\r\n"
					var clients []net.Conn
					for range 75 {
						clients = append(clients, c.send(t, request))
						if used := c.memory.used.Load(); used > c.memory.limit {
							t.Fatalf("%d bytes are taken, of %d", used, c.memory.limit)
						}
					}
					if other := statusOf(t, c.send(t, "GET /scheduler/leader HTTP/1.1\r\nHost: x\r\n\r\n")); other.StatusCode != http.StatusOK {
						t.Errorf("another client's short request is answered %s", other.Status)
					}
					last := statusOf(t, clients[len(clients)-1])
					if last.StatusCode != http.StatusServiceUnavailable || last.Header.Get("Retry-After") == "" || last.Header.Get("Content-Encoding") != "" {
						t.Errorf("one too many is answered %s %v, want 503 with Retry-After", last.Status, last.Header)
					}
					time.Sleep(stallTimeout + time.Second)
					synctest.Wait()
					if used := c.memory.used.Load(); used != 0 {
						t.Errorf("%d bytes are still taken when nobody has read for %v", used, stallTimeout)
					}
					if again := statusOf(t, c.send(t, request)); again.StatusCode != http.StatusOK {
						t.Errorf("when they have been let go the next is answered %s", again.Status)
					}
				})
			})
		}
	}
}

// stock shows readers many jobs, and one with many runs, without making any.
func (s *scheduler) stock(t *testing.T, jobs int) {
	t.Helper()
	var records []record
	var shown viewChange
	for i := range jobs {
		j := &Job{Name: fmt.Sprintf("job-%04d", i), Command: rand.Text() + rand.Text(), Schedule: "R/2090-01-01T00:00:00Z/P1D"}
		jv := &jobView{job: j, lists: &lists{}}
		if i == 0 {
			j.Name = "many"
			for n := range 1000 {
				jv.history = append(jv.history, &Run{ID: fmt.Sprint("ct:", n, ":0:many:"), Job: "many", State: runFailed, Reason: rand.Text() + rand.Text()})
			}
		}
		shown.set = append(shown.set, jv)
		records = append(records, put("J_"+j.Name, `{"name":"`+j.Name+`","command":"`+j.Command+`"}`))
	}
	stored := make(chan error, 1)
	s.writer.enqueue(&change{records: records, view: shown, effects: []func(error){func(err error) { stored <- err }}})
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}

// A client that reads slowly, but reads, gets all of it.
func TestSlowReadersAreServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newAudience(t, 1<<20)
		c.sch.stock(t, 2000)
		conn := c.send(t, "GET /scheduler/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		var got bytes.Buffer
		piece := make([]byte, answerBuffer/2)
		for start := time.Now(); ; time.Sleep(stallTimeout / 10) {
			n, err := io.ReadFull(conn, piece)
			got.Write(piece[:n])
			if err != nil {
				t.Logf("%d bytes in %v", got.Len(), time.Since(start))
				break
			}
		}
		res, err := http.ReadResponse(bufio.NewReader(&got), nil)
		if err != nil {
			t.Fatal(err)
		}
		var jobs []map[string]any
		if err := json.NewDecoder(res.Body).Decode(&jobs); err != nil || len(jobs) != 2000 {
			t.Errorf("%d jobs arrived, %v, want all", len(jobs), err)
		}
	})
}
