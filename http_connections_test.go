package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
)

func TestConnectionsLeaveAReserve(t *testing.T) {
	t.Parallel()
	const plenty = 1 << 40
	for _, tt := range []struct {
		memory      int64
		descriptors uint64
		want        int
	}{
		{plenty, 256, 96},
		{plenty, 1024, 384},
		{plenty, 20, leastConnections},
		{plenty, 1<<64 - 1, 2 << 20},
		{256 << 20, 1 << 20, 512},
		{8 << 30, 1 << 20, 16384},
		{1 << 20, 1024, leastConnections},
	} {
		if got := maxConnections(tt.memory, tt.descriptors); got != tt.want {
			t.Errorf("maxConnections(%d, %d) = %d, want %d", tt.memory, tt.descriptors, got, tt.want)
		}
	}
	if n := descriptorLimit(); n < 64 {
		t.Errorf("this process may have %d descriptors open", n)
	}
}

// A tightServer serves with a bound of connections, in virtual time.
type tightServer struct {
	*testInstance
	net     *mesostest.Net
	bound   *connections
	release chan struct{} // what requests of /slow wait for
}

func startTight(t *testing.T, most int) *tightServer {
	at := newTestSeat("")
	at.memory = new(mesostest.Net)
	s := &tightServer{net: at.memory, bound: newConnections(most), release: make(chan struct{})}
	s.testInstance = startInstance(t, at, nil, func(o *apiOptions) {
		o.connections = s.bound
		o.local = map[string]http.Handler{"/slow": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-s.release
			io.WriteString(w, "done")
		})}
	})
	return s
}

// connect opens a connection and sends something on it.
func (s *tightServer) connect(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := s.net.Dial(context.Background(), "", s.id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if text != "" {
		go io.WriteString(conn, text) // without a reader it would wait
	}
	synctest.Wait()
	return conn
}

// answered reports whether an answer comes within a moment.
func answered(t *testing.T, conn net.Conn) bool {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode == http.StatusOK
}

func closed(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	return err == io.EOF
}

const (
	pingText = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
	slowText = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
)

// However many connections clients hold without asking for anything, whether they say nothing, are slow to say it or
// have been answered, another one is served, and those that ask for something are left alone.
func TestIdleConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startTight(t, 4)
		busy := s.connect(t, slowText)
		idle := s.connect(t, pingText)
		if !answered(t, idle) {
			t.Fatal("the first request is not answered")
		}
		hesitant := s.connect(t, "GET /pi")
		var silent []net.Conn
		for range 20 {
			silent = append(silent, s.connect(t, ""))
			if n := s.bound.count(); n > 4 {
				t.Fatalf("%d connections are open, want at most 4", n)
			}
		}
		if client := s.connect(t, pingText); !answered(t, client) {
			t.Error("a client that asks for something is not answered")
		}
		for name, conn := range map[string]net.Conn{"that was answered": idle, "that never finished its request": hesitant, "that said nothing": silent[0]} {
			if !closed(conn) {
				t.Errorf("the connection %s is still open", name)
			}
		}
		close(s.release)
		synctest.Wait()
		if !answered(t, busy) {
			t.Error("the request that was being answered was not")
		}
	})
}

// Where all connections are being answered, the next one waits for one of them, and for no longer.
func TestConnectionsWaitForRequestsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startTight(t, 3)
		var busy []net.Conn
		for range 3 {
			busy = append(busy, s.connect(t, slowText))
		}
		waiting := s.connect(t, pingText)
		if answered(t, waiting) {
			t.Error("a fourth connection is served beside three")
		}
		s.release <- struct{}{}
		synctest.Wait()
		done := 0
		for _, conn := range busy {
			done += boolInt(answered(t, conn))
		}
		if done != 1 {
			t.Errorf("%d requests were answered, want the one that was released", done)
		}
		synctest.Wait()
		if !answered(t, waiting) {
			t.Error("the fourth is not served when one of three is done")
		}
		close(s.release)
	})
}

// An instance that is told to stop does so however many connections wait.
func TestServerStopsWithConnectionsWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startTight(t, 1)
		s.connect(t, slowText)
		s.connect(t, pingText)
		time.AfterFunc(time.Second, func() { close(s.release) })
		start := time.Now()
		s.stop()
		if took := time.Since(start); took > shutdownGrace {
			t.Errorf("stopping took %v", took)
		}
	})
}
