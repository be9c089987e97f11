// Compare gives the same work to this program and to other schedulers that are installed, one after the other, and
// writes a table: bench/compare.sh runs it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

const patience = 2 * time.Minute

var (
	held   = flag.Int("held", 2000, "jobs that are created, one after the other, and held")
	burst  = flag.Int("burst", 200, "jobs that are due in the same second")
	within = flag.Duration("within", 60*time.Second, "how long to wait for the last of these to start")
	own    = flag.String("chronos", "chronos", "this program")
)

func main() {
	flag.Parse()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tcreate p50\tp99\tlist\tmemory\tfirst start\tlast start\tstarted\t")
	failed := false
	for _, p := range peers {
		path, err := exec.LookPath(p.name)
		if p.name == "chronos" {
			path, err = *own, nil
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: skipped, it is not on the PATH\n", p.name)
			continue
		}
		r, err := measure(p, path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", p.name, err)
			failed = true
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.0f MB\t%s\t%s\t%d of %d\t\n", p.name, ms(r.create50), ms(r.create99), ms(r.list),
			float64(r.memory)/1e6, ms(r.first), ms(r.last), r.started, *burst)
	}
	table.Flush()
	if failed {
		os.Exit(1)
	}
}

func ms(d time.Duration) string { return strconv.FormatFloat(d.Seconds()*1000, 'f', 2, 64) + " ms" }

// A result is what one of them took. Starts are counted from the instant that the jobs were due.
type result struct {
	create50, create99, list, first, last time.Duration
	memory                                int64
	started                               int
}

// A server is a scheduler under way, with all that it writes below a directory of its own.
type server struct {
	peer
	dir, base string
	cmd       *exec.Cmd
	ended     chan struct{} // is closed when it has
}

func measure(p peer, path string) (result, error) {
	s, err := start(p, path)
	if err != nil {
		return result{}, err
	}
	defer s.stop()
	var r result
	if err := s.create(&r); err != nil {
		return r, fmt.Errorf("create: %w", err)
	}
	if err := s.listAll(&r); err != nil {
		return r, fmt.Errorf("list: %w", err)
	}
	r.memory = s.memory()
	if err := s.fire(&r); err != nil {
		return r, fmt.Errorf("burst: %w", err)
	}
	return r, nil
}

func start(p peer, path string) (*server, error) {
	dir, err := os.MkdirTemp("", "compare-"+p.name+"-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	s := &server{peer: p, dir: dir, base: "http://127.0.0.1:" + port, ended: make(chan struct{})}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "dags"), 0o755), os.Mkdir(filepath.Join(dir, "started"), 0o755)); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(path, p.serve(dir, port)...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, log, log
	s.cmd.Env = append(os.Environ(), "HOME="+dir) // nothing of it outlives the comparison
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // its log says why
		close(s.ended)
	}()
	if err := s.answers(); err != nil {
		text, _ := os.ReadFile(log.Name())
		s.stop()
		return nil, fmt.Errorf("%w; its log: %s", err, text[max(0, len(text)-2000):])
	}
	return s, nil
}

func (s *server) stop() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.ended
	_ = os.RemoveAll(s.dir)
}

// answers waits until it takes requests.
func (s *server) answers() error {
	late := time.After(patience)
	for s.get(s.ready) != nil {
		select {
		case <-s.ended:
			return errors.New("it has ended")
		case <-late:
			return fmt.Errorf("it does not answer for %v", patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (s *server) get(path string) error {
	r, err := http.NewRequest("GET", s.base+path, nil)
	if err != nil {
		return err
	}
	return send(r)
}

func send(r *http.Request) error {
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		return errors.Join(err, fmt.Errorf("%s %s: %s: %.200s", r.Method, r.URL, resp.Status, text))
	}
	return nil
}

func (s *server) add(j work) error {
	if s.file != nil {
		return s.file(s.dir, j)
	}
	return send(s.post(s.base, j))
}

// create adds the jobs that are held, none of which is due.
func (s *server) create(r *result) error {
	took := make([]time.Duration, *held)
	for i := range took {
		j := work{fmt.Sprintf("held-%06d", i), "true", time.Now().AddDate(0, 3, 0)}
		start := time.Now()
		if err := s.add(j); err != nil {
			return err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	r.create50, r.create99 = took[len(took)/2], took[len(took)*99/100]
	return nil
}

func (s *server) listAll(r *result) error {
	var took [9]time.Duration
	for i := range took {
		start := time.Now()
		if err := s.get(s.list); err != nil {
			return err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took[:])
	r.list = took[len(took)/2]
	return nil
}

// memory is what the server's processes hold in memory, all of its process group.
func (s *server) memory() (total int64) {
	processes, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range processes {
		text, _ := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest) // from the third on: state, parent, group, …, resident pages as the 24th
		if len(fields) > 21 && fields[2] == strconv.Itoa(s.cmd.Process.Pid) {
			pages, _ := strconv.ParseInt(fields[21], 10, 64)
			total += pages * int64(os.Getpagesize())
		}
	}
	return total
}

// fire adds jobs that are due at the same instant, and looks when each of them started.
func (s *server) fire(r *result) error {
	due := time.Now().Add(5*time.Second + time.Duration(*burst)*20*time.Millisecond).Truncate(time.Second)
	if s.whole {
		due = due.Truncate(time.Minute).Add(time.Minute)
		if time.Until(due) < 10*time.Second {
			due = due.Add(time.Minute)
		}
	}
	for i := range *burst {
		name := fmt.Sprintf("due-%06d", i)
		command := "date +%s%N > " + filepath.Join(s.dir, "started", name)
		if err := s.add(work{name, command, due}); err != nil {
			return err
		}
	}
	if time.Now().After(due) {
		return fmt.Errorf("%d jobs took too long to create", *burst)
	}
	var starts []int64
	for end := due.Add(*within); len(starts) < *burst && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		starts = s.starts()
	}
	if r.started = len(starts); r.started == 0 {
		return fmt.Errorf("no job started within %v", *within)
	}
	r.first = time.Duration(slices.Min(starts) - due.UnixNano())
	r.last = time.Duration(slices.Max(starts) - due.UnixNano())
	return nil
}

func (s *server) starts() []int64 {
	var starts []int64
	files, _ := filepath.Glob(filepath.Join(s.dir, "started", "*"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if at, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			starts = append(starts, at)
		}
	}
	return starts
}
