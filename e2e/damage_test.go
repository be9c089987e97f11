package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// parkedJob is the document of a job that never runs by itself.
func parkedJob(name string) string { return jobDocument(name, "true", parkedUntil2090) }

// create makes jobs that never run.
func (v *instance) create(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		v.mustCall(t, "POST", "/scheduler/iso8601", parkedJob(name), 204)
	}
}

// names lists the jobs. It is nil if there is no good answer.
func (v *instance) names() []string {
	var jobs []struct{ Name string }
	if !v.get("/scheduler/jobs", &jobs) {
		return nil
	}
	names := []string{}
	for _, j := range jobs {
		names = append(names, j.Name)
	}
	slices.Sort(names)
	return names
}

func (v *instance) wantNames(t *testing.T, want ...string) {
	t.Helper()
	if got := v.names(); !slices.Equal(got, want) {
		t.Errorf("jobs = %q, want %q", got, want)
	}
}

// says waits until both log and health say all of the texts.
func (v *instance) says(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		v.until(t, fmt.Sprintf("log and health say %q", text), func() bool {
			_, health, err := v.call("GET", "/health", "")
			log, logErr := os.ReadFile(v.log)
			return err == nil && logErr == nil && strings.Contains(health, text) && bytes.Contains(log, []byte(text))
		})
	}
}

// command runs one of the program's subcommands to its end.
func command(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(program(), args...).CombinedOutput(); err != nil {
		t.Fatalf("chronos %q: %v\n%s", args, err, out)
	}
}

// A state file that is damaged, or gone, is not led as if nothing had been. The program ends with a text that names the
// file, the copy and both ways on; each of them works.
func TestDamagedStateFile(t *testing.T) {
	t.Parallel()
	all := []string{"j1", "j2", "j3", "j4", "j5"}
	for _, tt := range []struct {
		name  string
		spoil func(file string, data []byte) error
		copy  bool // is made of what there was
		whole int  // jobs that can still be read
	}{
		{"cut behind its head", func(file string, _ []byte) error { return os.Truncate(file, 28) }, true, 0},
		{"one bit is another in the record of a job", func(file string, data []byte) error {
			data[bytes.Index(data, []byte(`"name":"j3"`))+8] ^= 1
			return os.WriteFile(file, data, 0o600)
		}, true, 4},
		{"gone, while there are sandboxes", func(file string, _ []byte) error { return os.Remove(file) }, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			data, backup := filepath.Join(dir, "data"), filepath.Join(dir, "backup.json")
			file := filepath.Join(data, "state.log")
			v := newInstance(t, "log", "--data_dir", data)
			v.start(t)
			v.serves(t)
			v.create(t, all...)
			v.mustCall(t, "PUT", "/scheduler/job/j1", "", 204)
			v.awaitEnd(t, "j1", 1) // and there is a sandbox
			command(t, "backup", "--url", "http://"+v.addr, "--output", backup)
			v.terminate(t)
			v.start(t) // the file begins anew, and counts what it has
			v.serves(t)
			v.terminate(t)
			contents, err := os.ReadFile(file)
			if err == nil {
				err = tt.spoil(file, contents)
			}
			if err != nil {
				t.Fatal(err)
			}

			text := v.refusesToStart(t)
			offset := regexp.MustCompile(`--accept_damaged_state (\d+)`).FindStringSubmatch(text)
			if offset == nil || !strings.Contains(text, file) || !strings.Contains(text, "chronos restore --data_dir") {
				t.Fatalf("the program ends with %q, want the file and both ways on", text)
			}
			copies, err := filepath.Glob(file + ".damaged-*")
			if err != nil || tt.copy != (len(copies) == 1 && strings.Contains(text, copies[0])) {
				t.Errorf("copies are %q (%v), the text says %q", copies, err, text)
			}
			v.refusesToStart(t) // again and again

			restored := filepath.Join(dir, "restored")
			if err := os.CopyFS(restored, os.DirFS(data)); err != nil {
				t.Fatal(err)
			}
			command(t, "restore", "--data_dir", restored, backup)
			w := newInstance(t, "restored", "--data_dir", restored)
			w.start(t)
			w.serves(t)
			w.wantNames(t, all...)
			w.terminate(t)

			accepting := newInstance(t, "accepting", "--data_dir", data, "--accept_damaged_state", offset[1])
			accepting.start(t)
			accepting.serves(t)
			if got := accepting.names(); len(got) != tt.whole {
				t.Errorf("with --accept_damaged_state the jobs are %q, want the %d that are whole", got, tt.whole)
			}
			accepting.create(t, "new")
			accepting.terminate(t)
			v.start(t)
			v.serves(t)
			if got := v.names(); len(got) != tt.whole+1 {
				t.Errorf("after that the jobs are %q, want %d", got, tt.whole+1)
			}
		})
	}
}

// refusesToStart starts the program, which has to end by itself, and returns what it says.
func (v *instance) refusesToStart(t *testing.T) string {
	t.Helper()
	before, err := os.ReadFile(v.log)
	if err != nil {
		t.Fatal(err)
	}
	v.start(t)
	if err := <-v.ended; err == nil {
		t.Fatal("the program has ended with status 0")
	}
	v.cmd = nil
	text, err := os.ReadFile(v.log)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for line := range bytes.Lines(text[len(before):]) {
		var l struct{ Msg, Error string }
		if json.Unmarshal(line, &l) != nil {
			said.Write(line)
			continue
		}
		fmt.Fprintln(&said, l.Msg, l.Error)
	}
	return said.String()
}

// The data directory, or what is in it, goes while an instance runs: that is told, and nothing that was acknowledged is lost.
func TestDataDirectoryIsDeletedUnderAnInstance(t *testing.T) {
	t.Parallel()
	for name, what := range map[string]string{"the directory": "", "the state file": "state.log"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			v := newInstance(t, "log", "--data_dir", data)
			v.start(t)
			v.serves(t)
			v.create(t, "before")
			// It fails if the instance makes a file in a directory that has just been emptied.
			until(t, "it is deleted", func() bool { return os.RemoveAll(filepath.Join(data, what)) == nil })
			v.says(t, filepath.Join(data, "state.log")+" is gone")
			want := []string{"before"}
			for i := range 5 {
				name := fmt.Sprint("during", i)
				switch status, text, err := v.call("POST", "/scheduler/iso8601", parkedJob(name)); {
				case err != nil || status != http.StatusNoContent && status != http.StatusInsufficientStorage:
					t.Errorf("POST = %d %s, %v, want it stored, or refused with 507", status, text, err)
				case status == http.StatusNoContent:
					want = append(want, name)
				}
			}
			v.end(syscall.SIGKILL)
			v.start(t)
			v.serves(t)
			slices.Sort(want)
			v.wantNames(t, want...)
		})
	}
}

// startOn starts n instances on a ZooKeeper, with jobs.
func startOn(t *testing.T, n int, hosts, root string, jobs ...string) (all []*instance) {
	t.Helper()
	data := t.TempDir()
	for i := range n {
		v := newInstance(t, fmt.Sprint("log", i), "--master", "local", "--data_dir", data, "--zk_hosts", hosts, "--zk_path", root, "--zk_timeout", "4000")
		v.start(t)
		v.serves(t)
		all = append(all, v)
	}
	all[n-1].create(t, jobs...)
	return all
}

// ZooKeeper is emptied under a running pair: neither leads that, both say why and what to do, and both ways on work.
func TestZooKeeperIsEmptiedUnderAPair(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		mend func(t *testing.T, pair []*instance, node, backup string)
		jobs []string
	}{
		{"and that is meant", func(t *testing.T, pair []*instance, node, _ string) {
			pair[0].terminate(t)
			pair[0].args = append(pair[0].args, "--accept_empty_state", node)
			pair[0].start(t)
		}, nil},
		{"and the state is brought back", func(t *testing.T, pair []*instance, node, backup string) {
			pair[0].terminate(t)
			pair[0].args = append(pair[0].args, "--accept_empty_state", node)
			pair[0].start(t)
			pair[0].serves(t)
			command(t, "restore", "--url", "http://"+pair[0].addr, backup)
		}, []string{"a", "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hosts, root := zktest.Shared(t)
			session := zkSession(t, hosts...)
			pair := startOn(t, 2, hosts[0], root, "a", "b")
			backup := filepath.Join(t.TempDir(), "backup.json")
			command(t, "backup", "--url", "http://"+pair[1].addr, "--output", backup)
			removeAll(t, session, root)

			node := ""
			for _, v := range pair {
				v.says(t, "the state in ZooKeeper has been emptied", "--accept_empty_state ")
				if status, text, err := v.call("POST", "/scheduler/iso8601", parkedJob("c")); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(text, "--accept_empty_state ") {
					t.Errorf("POST = %d %s, %v, want 503 with the reason", status, text, err)
				}
				if text := v.mustCall(t, "GET", "/metrics/prometheus", "", 200); !strings.Contains(text, "\nchronos_state_emptied 1\n") {
					t.Error("no metric says so")
				}
				node = regexp.MustCompile(`--accept_empty_state ([^\s"\\]+)`).FindStringSubmatch(v.lastLog())[1]
			}
			if nodes, err := candidates(session, root+"/candidate"); len(nodes) > 0 {
				t.Errorf("%q stand for election (%v)", nodes, err)
			}
			tt.mend(t, pair, node, backup)
			for _, v := range pair {
				v.serves(t)
				v.wantNames(t, tt.jobs...)
				v.until(t, "it is well", func() bool {
					_, health, err := v.call("GET", "/health", "")
					return err == nil && !strings.Contains(health, "emptied")
				})
			}
			pair[1].create(t, "later")
		})
	}
}

// removeAll deletes a node and all below it, as far as nobody makes it anew meanwhile.
func removeAll(t *testing.T, session *zk.Conn, node string) {
	t.Helper()
	until(t, node+" is gone", func() bool {
		names, _, err := session.Children(node)
		if err == zk.ErrNoNode {
			return true
		}
		for _, name := range names {
			removeAll(t, session, node+"/"+name)
		}
		err = session.Delete(node, -1)
		return err == nil || err == zk.ErrNoNode
	})
}

// ZooKeeper is set back under an instance: what is there is led, that is told, and terms count on.
func TestZooKeeperIsSetBack(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	const root = "/set/back"
	v := startOn(t, 1, server.Addr, root, "a", "b")[0]
	setBack := server.Backup(t)
	v.create(t, "lost")
	term := termOf(t, server.Addr, root)
	setBack()
	v.until(t, "it leads what there was", func() bool { return slices.Equal(v.names(), []string{"a", "b"}) })
	v.says(t, "the state in ZooKeeper was set back")
	if text := v.mustCall(t, "GET", "/metrics/prometheus", "", 200); !strings.Contains(text, "\nchronos_state_set_back_total 1\n") {
		t.Error("no metric says so")
	}
	v.create(t, "later")
	if now := termOf(t, server.Addr, root); now <= term {
		t.Errorf("the term is %d, after %d was reached", now, term)
	}
	v.terminate(t)
}

// termOf returns the number of the term that is stored.
func termOf(t *testing.T, host, root string) (n int) {
	t.Helper()
	data, _, err := zkSession(t, host).Get(root + "/go/term")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(termStamp.FindSubmatch(data)[1]), &n); err != nil {
		t.Fatal(err)
	}
	return n
}
