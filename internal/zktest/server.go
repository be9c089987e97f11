package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
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

const (
	zkJar    = "/usr/share/java/zookeeper.jar"
	zkSimple = "/usr/share/java/slf4j-simple.jar" // comes with it
	zkTick   = 200 * time.Millisecond
	// zkSyncLimit is after how many ticks of silence servers of an ensemble give each other up.
	zkSyncLimit = 10
)

// A zkServer is a real ZooKeeper server, a child of the test process.
type zkServer struct {
	addr    string // host:port for clients
	dir     string
	log     string   // file; <dir>/log if ""
	options []string // of java
	scrap   string   // directory to remove in the end
	pid     int
	wait    func() error // for the end of the process and the shell around it
	hang    io.Closer    // standard input of that shell
}

// sharedServer serves all tests that don't harm it.
var sharedServer = sync.OnceValues(func() (*zkServer, error) {
	dir, err := os.MkdirTemp("", "chronos-zk")
	if err != nil {
		return nil, err
	}
	s := &zkServer{dir: dir, scrap: dir}
	return s, s.start("", freePort())
})

// testZK returns the address of a running ZooKeeper and a path that nobody else uses.
func testZK(t testing.TB) (hosts []string, root string) {
	t.Helper()
	s, err := sharedServer()
	if err != nil {
		t.Fatal(err)
	}
	return []string{s.addr}, fmt.Sprintf("/%s-%d/chronos/state", recordName(t.Name()), rand.Uint32())
}

// startZK starts a ZooKeeper of the test's own, to be killed and stopped at will.
func startZK(t testing.TB) *zkServer {
	t.Helper()
	s := &zkServer{dir: t.TempDir()}
	if err := s.start("", freePort()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	return s
}

// startEnsemble starts n servers that form one ZooKeeper.
func startEnsemble(t testing.TB, n int) []*zkServer {
	t.Helper()
	return startMembers(t, n, func(_, _ int, port int, _ bool) int { return port })
}

// memberOptions are java's for servers of an ensemble.
var memberOptions = []string{
	"-Dzookeeper.fastleader.maxNotificationInterval=800", // a server that was alone for long is to come back soon
	// Debian's 3.8.0 forgets what it has acknowledged if a server that catches up transaction by transaction is
	// interrupted (ZOOKEEPER-4643, 4646, 4685), and logs them again, or in two places (ZOOKEEPER-4394, 4712). A
	// whole snapshot is stored before the server counts as part of the new epoch.
	"-Dzookeeper.forceSnapshotSync=true",
}

// startMembers is startEnsemble with a say in how the servers reach each other: route returns the
// port at which the server from finds what the server to has at the port given, for followers or for the election.
func startMembers(t testing.TB, n int, route func(from, to, port int, election bool) int) []*zkServer {
	t.Helper()
	peer, election := make([]int, n), make([]int, n)
	for i := range n {
		peer[i], election[i] = freePort(), freePort()
	}
	servers := make([]*zkServer, n)
	errs := make(chan error, n)
	for i := range servers {
		s := &zkServer{dir: t.TempDir(), log: filepath.Join(t.ArtifactDir(), fmt.Sprintf("zookeeper%d", i)), options: memberOptions}
		if err := os.WriteFile(filepath.Join(s.dir, "myid"), []byte(strconv.Itoa(i+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		servers[i] = s
		members := fmt.Sprintf("initLimit=25\nsyncLimit=%d\n", zkSyncLimit)
		for k := range n {
			ports := []int{peer[k], election[k]}
			if k != i {
				ports = []int{route(i, k, peer[k], false), route(i, k, election[k], true)}
			}
			members += fmt.Sprintf("server.%d=127.0.0.1:%d:%d\n", k+1, ports[0], ports[1])
		}
		t.Cleanup(s.kill)
		go func() { errs <- s.start(members, freePort()) }()
	}
	for range servers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	return servers
}

// start writes the configuration and runs the server until it serves.
func (s *zkServer) start(members string, port int) error {
	s.addr = fmt.Sprintf("127.0.0.1:%d", port)
	config := fmt.Sprintf("tickTime=%d\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n"+
		"admin.enableServer=false\n4lw.commands.whitelist=*\nextendedTypesEnabled=true\nminSessionTimeout=400\nmaxSessionTimeout=60000\n%s",
		zkTick.Milliseconds(), s.dir, port, members)
	if err := os.WriteFile(filepath.Join(s.dir, "zoo.cfg"), []byte(config), 0o600); err != nil {
		return err
	}
	return s.run()
}

// run starts the process. A shell around it ends it with the test process,
// whatever way that dies, and says its process id.
func (s *zkServer) run() error {
	if _, err := os.Stat(zkJar); err != nil {
		return fmt.Errorf("these tests need a real ZooKeeper: apt-get install zookeeper (%w)", err)
	}
	if s.log == "" {
		s.log = filepath.Join(s.dir, "log")
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	java := []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g", "-Dzookeeper.forceSync=no",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
		"-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.NIOServerCnxn=warn", // a line for each question of ask
		"-cp", zkJar + ":" + zkSimple}
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
	return s.ready()
}

// ready waits until the server serves.
func (s *zkServer) ready() error {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(s.ask("srvr"), "Mode:") {
			return nil
		}
	}
	log, _ := os.ReadFile(s.log)
	return fmt.Errorf("ZooKeeper at %s does not serve after 60 s; its log: %s", s.addr, log)
}

// ask sends a four-letter word.
func (s *zkServer) ask(word string) string {
	conn, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprint(conn, word)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// kill ends the server as kill -9 does. restart brings it back with its data.
func (s *zkServer) kill() {
	if s.hang == nil {
		return
	}
	s.hang.Close()
	s.wait()
	s.hang = nil
}

func (s *zkServer) restart(t testing.TB) {
	t.Helper()
	s.kill()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// stop freezes the server; cont lets it go on.
func (s *zkServer) stop() { syscall.Kill(s.pid, syscall.SIGSTOP) }
func (s *zkServer) cont() { syscall.Kill(s.pid, syscall.SIGCONT) }

// freePort returns a port below those that the system gives to clients.
func freePort() int {
	for {
		port := 12000 + rand.IntN(20000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
}

// testSession opens a session that ends with the test.
func testSession(t testing.TB, hosts []string) *zkSession {
	t.Helper()
	return authSession(t, hosts, "")
}

func authSession(t testing.TB, hosts []string, auth string) *zkSession {
	t.Helper()
	s, err := dialZK(t.Context(), hosts, 10*time.Second, auth, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}
