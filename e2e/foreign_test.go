package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// TestForeignStateIsPickedUpRunAndRewritten puts nodes as 2.4, 2.5 and 3.0 leave them into a
// ZooKeeper and starts the program on them.
func TestForeignStateIsPickedUpRunAndRewritten(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := zkSession(t, hosts...)
	if err := mkdirAll(session, root+"/state"); err != nil {
		t.Fatal(err)
	}
	w := newWorkload(t)
	due := time.Now().Add(4 * time.Second).Truncate(time.Second)
	resumed := due.Add(-10 * time.Second).UnixMilli()
	kept := map[string][]byte{}
	for _, version := range []string{"2.4", "2.5", "3.0", "odd"} {
		for name, data := range foreignNodes(t, version) {
			switch name {
			case "J_nightly", "J_backup.db", "J_report":
				data = w.revive(t, name, data, due)
			case "frameworkId":
				if version != "2.4" {
					continue
				}
			case "T_ct:1795399800000:0:nightly:":
				name = fmt.Sprintf("T_ct:%d:0:nightly:", resumed)
				data = w.revive(t, name, data, due)
			}
			if version == "odd" && name != "J_other-order" || name == "J_grüße" {
				kept[name] = data
			}
			if _, err := session.Create(root+"/state/"+name, data, 0, zk.WorldACL(zk.PermAll)); err != nil {
				t.Fatalf("put %s: %v", name, err)
			}
		}
	}
	data := t.TempDir()
	v := newInstance(t, "log", "--master", "local", "--zk_hosts", hosts[0], "--zk_path", root, "--data_dir", data)
	v.start(t)
	v.serves(t)
	for _, job := range []struct {
		name     string
		instants []int64
		period   string
	}{
		{"nightly", []int64{resumed, due.UnixMilli()}, "P1D"},
		{"backup.db", []int64{due.UnixMilli()}, "PT6H"},
		{"report", []int64{due.UnixMilli()}, "P1W"},
	} {
		w.awaitRunsFor(t, v, job.name, job.instants)
		awaitRewritten(t, v, session, root, job.name, 3+len(job.instants), job.period)
	}
	for name, want := range kept {
		if data, _, err := session.Get(root + "/state/" + name); err != nil || name != "J_grüße" && string(data) != string(want) {
			t.Errorf("node %s = %q, %v after a run of the program, want %q", name, data, err, want)
		}
	}
	checkSubscription(t, session, root, data)
	if text := v.mustCall(t, "GET", "/scheduler/problems", "", 200); !strings.Contains(text, "J_not-json") || !strings.Contains(text, "J_cut-short") {
		t.Errorf("problems = %s, want J_not-json and J_cut-short among them", text)
	}
}

// foreignNodes returns the nodes that a version has left, by name.
func foreignNodes(t *testing.T, version string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "testdata/state", version, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no nodes of %s: %v", version, err)
	}
	nodes := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := url.PathUnescape(filepath.Base(file)) // colons are not for file names
		if err != nil {
			t.Fatal(err)
		}
		nodes[name] = data
	}
	return nodes
}

// An entry is what Mesos' replicated state keeps in a node: a protobuf message with the
// node's name, the UUID of the last write, and the value.
type entry struct{ name, uuid, value []byte }

func (e entry) encode() (b []byte) {
	for i, field := range [][]byte{e.name, e.uuid, e.value} {
		b = append(b, byte(i+1)<<3|2)
		b = append(binary.AppendUvarint(b, uint64(len(field))), field...)
	}
	return b
}

func decodeEntry(t *testing.T, data []byte) (e entry) {
	t.Helper()
	fields := map[byte]*[]byte{1<<3 | 2: &e.name, 2<<3 | 2: &e.uuid, 3<<3 | 2: &e.value}
	for b := data; len(b) > 0; {
		field := fields[b[0]]
		size, n := binary.Uvarint(b[1:])
		if field == nil || n <= 0 || size > uint64(len(b)-1-n) {
			t.Fatalf("no entry of Mesos' replicated state: %q", data)
		}
		b = b[1+n:]
		*field, b = b[:size], b[size:]
	}
	return e
}

// inventedLater is the value of a field of jobs that no version knows.
const inventedLater = `{"a":[1,2.50,null]}`

// revive has a stored job run at an instant and write that down, and gives it a field that no version knows.
func (w *workload) revive(t *testing.T, node string, data []byte, due time.Time) []byte {
	t.Helper()
	e := decodeEntry(t, data)
	var job map[string]json.RawMessage
	if err := json.Unmarshal(e.value, &job); err != nil {
		t.Fatalf("job in %s: %v", node, err)
	}
	text := func(key string) (s string) {
		if err := json.Unmarshal(job[key], &s); err != nil {
			t.Fatalf("%s in %s: %v", key, node, err)
		}
		return s
	}
	set := func(key, value string) {
		if job[key] != nil {
			job[key] = json.RawMessage(value)
		}
	}
	schedule := strings.Split(text("schedule"), "/")
	schedule[1] = isoInstant(due.UnixMilli())
	set("schedule", strconv.Quote(strings.Join(schedule, "/")))
	set("scheduleTimeZone", `"UTC"`)
	set("command", strconv.Quote(w.marks.command(text("name"))))
	set("fetch", "[]")
	set("constraints", "[]")
	job["inventedLater"] = json.RawMessage(inventedLater)
	value, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	return entry{[]byte(node), e.uuid, value}.encode()
}

// awaitRunsFor waits until a job has run once for each instant.
func (w *workload) awaitRunsFor(t *testing.T, v *instance, job string, instants []int64) {
	t.Helper()
	var dues []int64
	v.until(t, fmt.Sprintf("%s has run %d times", job, len(instants)), func() bool {
		dues = nil
		for _, m := range w.marks.of(t, job) {
			dues = append(dues, m.due)
		}
		return len(dues) >= len(instants)
	})
	if slices.Sort(dues); !slices.Equal(dues, instants) {
		t.Errorf("%s ran for %v, want %v", job, dues, instants)
	}
}

// awaitRewritten waits for what a success leaves in a stored job, and checks what must be left alone.
func awaitRewritten(t *testing.T, v *instance, session *zk.Conn, root, name string, successes int, period string) {
	t.Helper()
	var job map[string]json.RawMessage
	stored := func(key string) string { return strings.Trim(string(job[key]), `"`) }
	v.until(t, fmt.Sprintf("%d successes are stored of %s", successes, name), func() bool {
		data, _, err := session.Get(root + "/state/J_" + name)
		if err != nil {
			t.Fatal(err)
		}
		e := decodeEntry(t, data)
		job = nil
		if err := json.Unmarshal(e.value, &job); err != nil || string(e.name) != "J_"+name || len(e.uuid) != 16 {
			t.Fatalf("entry of %s = %q, %v", name, e, err)
		}
		return stored("successCount") == strconv.Itoa(successes)
	})
	for key, want := range map[string]string{"errorCount": "1", "owner": "ops@example.com", "inventedLater": inventedLater} {
		if got := stored(key); got != want {
			t.Errorf("stored %s of %s = %s, want %s", key, name, got, want)
		}
	}
	if schedule := stored("schedule"); !strings.HasSuffix(schedule, "/"+period) || schedule <= "R/"+time.Now().UTC().Format("2006-01-02T15:04") {
		t.Errorf("stored schedule of %s = %s, want it to have moved on by %s", name, schedule, period)
	}
}

// checkSubscription makes sure that the term is known where the runs are, which keeps one before it from disturbing.
func checkSubscription(t *testing.T, session *zk.Conn, root, data string) {
	t.Helper()
	stamp, _, err := session.Get(root + "/go/term")
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := os.ReadFile(filepath.Join(data, "subscription"))
	if err != nil {
		t.Fatal(err)
	}
	term := string(termStamp.FindSubmatch(stamp)[1])
	lines := strings.Split(string(subscription), "\n")
	if number, counter, _ := strings.Cut(lines[min(1, len(lines)-1)], " "); number != term || counter == "" {
		t.Errorf("subscription = %q, want the term %s of ZooKeeper, and whose number that is", subscription, term)
	}
}
