// Package zktest gives tests a real ZooKeeper, from Debian's jars, and links between any two parts of a
// test that can be cut, silenced or made deaf.
//
//	hosts, root := zktest.Shared(t)            // a server for all tests, and a path for this one
//	server := zktest.Start(t)                  // one to be killed, restarted, paused
//	servers := zktest.StartEnsemble(t, 3)      // three that form one
//	servers, m := zktest.StartLinkedEnsemble(t, 3)
//	m.Around(zktest.Leader(servers)).Set(zktest.Cut)
//
// Each server is a child of the test process, listens on free ports of 127.0.0.1 and ends with the test, or with
// the process, whatever way that dies. Parallel tests, and test processes beside each other, do not get in each other's way.
package zktest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Tick is the servers' unit of time: they end sessions on its multiples.
const Tick = 200 * time.Millisecond

const (
	jar       = "/usr/share/java/zookeeper.jar"
	simpleLog = "/usr/share/java/slf4j-simple.jar" // comes with it
)

// A Server is a real ZooKeeper server, a child of the test process.
type Server struct {
	Addr string // host:port for clients
	Log  string // file that it logs to

	dir     string
	options []string // of java
	scrap   string   // directory to remove in the end
	pid     int
	wait    func() error // for the end of the process and the shell around it
	hang    io.Closer    // standard input of that shell
}

var sharedServer = sync.OnceValues(func() (*Server, error) {
	dir, err := os.MkdirTemp("", "chronos-zk")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, scrap: dir}
	return s, s.start("", FreePort())
})

// Shared returns the address of a server that all tests use, and a path in it that nobody else does.
// It must not be harmed.
func Shared(t testing.TB) (hosts []string, root string) {
	t.Helper()
	s, err := sharedServer()
	if err != nil {
		t.Fatal(err)
	}
	return []string{s.Addr}, fmt.Sprintf("/%s-%d/chronos/state", strings.ReplaceAll(t.Name(), "/", "-"), rand.Uint32())
}

// Start starts a server of the test's own, to be killed and paused at will.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{dir: t.TempDir()}
	if err := s.start("", FreePort()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// start writes the configuration and runs the server until it serves.
func (s *Server) start(members string, port int) error {
	s.Addr = fmt.Sprintf("127.0.0.1:%d", port)
	config := fmt.Sprintf("tickTime=%d\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n"+
		"admin.enableServer=false\n4lw.commands.whitelist=*\nextendedTypesEnabled=true\nminSessionTimeout=400\nmaxSessionTimeout=60000\n%s",
		Tick.Milliseconds(), s.dir, port, members)
	if err := os.WriteFile(filepath.Join(s.dir, "zoo.cfg"), []byte(config), 0o600); err != nil {
		return err
	}
	return s.run()
}

// run starts the process and waits until it serves.
func (s *Server) run() error {
	if err := s.launch(); err != nil {
		return err
	}
	return s.ready()
}

// launch starts the process. A shell around it ends it with the test process,
// whatever way that dies, and says its process id.
func (s *Server) launch() error {
	if _, err := os.Stat(jar); err != nil {
		return fmt.Errorf("these tests need a real ZooKeeper: apt-get install zookeeper (%w)", err)
	}
	if s.Log == "" {
		s.Log = filepath.Join(s.dir, "log")
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	java := []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g", "-Dzookeeper.forceSync=no",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
		"-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.NIOServerCnxn=warn", // a line for each question of ask
		"-cp", jar + ":" + simpleLog}
	java = append(append(java, s.options...), "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(s.dir, "zoo.cfg"))
	cmd := exec.Command("sh", "-c", `"$@" </dev/null >&2 & pid=$!; echo $pid; read end; kill -9 $pid; wait $pid; [ -z "$scrap" ] || rm -rf "$scrap"`, "sh")
	cmd.Args = append(cmd.Args, java...)
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), "scrap="+s.scrap)
	hang, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start ZooKeeper: %w", err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if s.pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		return fmt.Errorf("start ZooKeeper: no process id: %w", err)
	}
	s.hang, s.wait = hang, cmd.Wait
	return nil
}

// ready waits until the server serves.
func (s *Server) ready() error {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if s.Serves() {
			return nil
		}
	}
	log, _ := os.ReadFile(s.Log)
	return fmt.Errorf("ZooKeeper at %s does not serve after 60 s; its log: %s", s.Addr, log)
}

// Ask sends a four-letter word and returns the answer, "" if there is none.
func (s *Server) Ask(word string) string {
	conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprint(conn, word)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// Kill ends the server as kill -9 does. Restart brings it back with its data.
func (s *Server) Kill() {
	if s.hang == nil {
		return
	}
	s.hang.Close()
	s.wait()
	s.hang = nil
}

// Restart kills the server if it runs, and starts it on the same port with the same data.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// Pause freezes the server: it keeps its connections and answers nothing.
func (s *Server) Pause() { syscall.Kill(s.pid, syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { syscall.Kill(s.pid, syscall.SIGCONT) }

// Mode returns what the server says of itself: "standalone", "leader", "follower", or "not serving" or "no answer".
func (s *Server) Mode() string {
	answer := s.Ask("srvr")
	if _, text, found := strings.Cut(answer, "Mode: "); found {
		mode, _, _ := strings.Cut(text, "\n")
		return mode
	}
	if strings.Contains(answer, "not currently serving") {
		return "not serving"
	}
	return "no answer"
}

// Serves reports whether the server says that it serves clients.
func (s *Server) Serves() bool {
	switch s.Mode() {
	case "standalone", "leader", "follower":
		return true
	}
	return false
}

// taken are the ports that FreePort has returned in this process.
var taken sync.Map

// portLocks is a file with a lock on one byte for each port that FreePort has returned in any process that still
// runs: whoever gets a port may not listen on it yet, or not at the moment.
var portLocks = sync.OnceValue(func() *os.File {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("chronos-test-ports-%d", os.Getuid())), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		panic(err) // without a directory for temporary files no test works
	}
	return f
})

// FreePort returns a port that is free on 127.0.0.1, lies below those that the system gives to clients, and is
// returned once only, to one test process at a time.
func FreePort() int {
	for {
		port := 12000 + rand.IntN(20000)
		if _, known := taken.LoadOrStore(port, true); known {
			continue
		}
		lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: int64(port), Len: 1}
		if err := syscall.FcntlFlock(portLocks().Fd(), syscall.F_SETLK, &lock); err != nil {
			continue // another process has it
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
}

// RestartAlone starts the server anew, with further options of java, and does not wait until it serves: of an
// ensemble without a majority it never does.
func (s *Server) RestartAlone(t testing.TB, options ...string) {
	t.Helper()
	s.Kill()
	kept := s.options
	s.options = append(kept[:len(kept):len(kept)], options...)
	err := s.launch()
	s.options = kept
	if err != nil {
		t.Fatal(err)
	}
}

// Backup restarts the server once, and returns a function that sets it back to what it held then.
func (s *Server) Backup(t testing.TB) (restore func()) {
	t.Helper()
	data, kept := filepath.Join(s.dir, "version-2"), filepath.Join(t.TempDir(), "backup")
	s.Kill()
	if err := os.CopyFS(kept, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	return func() {
		t.Helper()
		s.Kill()
		if err := errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(kept))); err != nil {
			t.Fatal(err)
		}
		s.Restart(t)
	}
}
