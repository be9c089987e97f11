package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/mesostest"
	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// standForMaster makes the master at url, or the leading one if that is "", a candidate in
// ZooKeeper as real masters are, and returns its node.
func standForMaster(t *testing.T, session *zk.Conn, m *mesostest.Master, url string) string {
	t.Helper()
	node, err := session.Create("/mesos/json.info_", m.Candidacy(url), zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// A connectionToMesos is what an instance says of it.
type connectionToMesos struct {
	Master     string
	Subscribed bool
	Error      string
}

func (v *instance) mesosHealth() connectionToMesos {
	var health struct{ Mesos connectionToMesos }
	if _, text, err := v.call("GET", "/health", ""); err != nil || json.Unmarshal([]byte(text), &health) != nil {
		return connectionToMesos{}
	}
	return health.Mesos // also of one that is failing, which is answered 503
}

// TestProcessesOnMesosAndZooKeeper is the README's way to run this program on Mesos: the built
// program, --master and --zk_hosts as zk:// addresses of three hosts (of which one is down), a real
// ZooKeeper, a master that registers there as real ones do. Jobs run to their end, the second instance
// takes over from one that is killed, and both follow when another master leads.
func TestProcessesOnMesosAndZooKeeper(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	_, port, _ := strings.Cut(server.Addr, ":")
	hosts := fmt.Sprintf("zk://127.0.0.1:%d,127.0.0.1:%s,localhost:%s", zktest.FreePort(), port, port)
	session := zkSession(t, server.Addr)
	for _, node := range []string{"/mesos", "/mesos/log_replicas"} {
		if _, err := session.Create(node, nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
	}
	m := mesostest.NewMaster(t, mesostest.Options{Allocation: 100 * time.Millisecond})
	m.AddAgent(mesostest.AgentSpec{CPUs: 4, Mem: 4096, Disk: 10240})
	m.SetBehaviour(func(task *mesos.TaskInfo) mesostest.Outcome {
		if strings.HasSuffix(task.TaskID.Value, ":long:") {
			return mesostest.Outcome{Forever: true}
		}
		return mesostest.Outcome{After: 50 * time.Millisecond, State: mesos.TASK_FINISHED, Message: "Command exited with status 0"}
	})
	standby := m.Standby()

	var instances []*instance
	for i := range 2 {
		v := newInstance(t, fmt.Sprintf("log%d", i), "--master", hosts+"/mesos", "--zk_hosts", hosts, "--zk_timeout", "2000")
		v.start(t)
		v.serves(t)
		instances = append(instances, v)
	}
	first, second := instances[0], instances[1]

	first.until(t, "word of the missing master", func() bool {
		return strings.Contains(first.mesosHealth().Error, "no Mesos master leads")
	})
	node := standForMaster(t, session, m, "")
	standForMaster(t, session, m, standby)
	first.until(t, "a subscription", func() bool { return first.mesosHealth().Subscribed })

	// The child is there before its parent is due, however long that takes.
	second.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"short","command":"true","schedule":"R3/2090-01-01T00:00:00Z/PT1S"}`, 204)
	second.mustCall(t, "POST", "/scheduler/dependency", `{"name":"child","command":"true","parents":["short"]}`, 204)
	due := time.Now().Add(time.Second).Truncate(time.Second)
	start := isoInstant(due.UnixMilli())
	second.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"short","command":"true","schedule":"R3/`+start+`/PT1S"}`, 204)
	second.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"long","command":"true","retries":0,"schedule":"R1/`+start+`/PT1H"}`, 204)
	for _, job := range []string{"short", "child"} {
		first.awaitEnd(t, job, 3)
	}

	// The task ends while nobody leads; the successor hears of it.
	long := "ct:" + fmt.Sprint(due.UnixMilli()) + ":0:long:"
	m.Await("the long task", func() bool { return m.Launches(long) == 1 })
	m.WriteFile(long, "stdout", []byte("hello\n"))
	first.end(syscall.SIGKILL)
	m.Finish(long, mesos.TASK_FAILED, "Command exited with status 3")
	second.serves(t)
	run := second.awaitEnd(t, "long", 1)
	if run.ID != long || run.State != "failed" || run.Exit == nil || *run.Exit != 3 {
		t.Errorf("run = %+v, want %s with status 3", run, long)
	}
	if want := "/files/browse?path=%2Fframeworks%2F" + m.Options().ID + "-0000%2Fexecutors%2F"; !strings.Contains(run.Sandbox, want) {
		t.Errorf("its sandbox = %q, want %q in it", run.Sandbox, want)
	}
	if text := second.mustCall(t, "GET", "/scheduler/run/"+long+"/stdout", "", 200); text != "hello\n" {
		t.Errorf("its output = %q, want that of its sandbox", text)
	}

	// Another master leads: its node is the lowest now.
	m.Lead(standby)
	if err := session.Delete(node, -1); err != nil {
		t.Fatal(err)
	}
	m.Agents()[0].Restore()
	second.until(t, "a subscription at the new master", func() bool {
		s := second.mesosHealth()
		return s.Subscribed && s.Master == standby
	})
	second.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"later","command":"true","schedule":"R1//PT1H"}`, 204)
	second.awaitEnd(t, "later", 1)

	for id, n := range m.AllLaunches() {
		if n != 1 {
			t.Errorf("%s was launched %d times, want once", id, n)
		}
	}
	if n := len(m.AllLaunches()); n != 8 {
		t.Errorf("%d tasks launched, want three short ones, their children, the long one and the later one", n)
	}
	if n := m.FrameworkIDs(); n != 1 {
		t.Errorf("%d framework ids given out, want one whatever the instance and the master", n)
	}
	second.terminate(t)
	for _, v := range instances {
		if lines := v.complaints(t); len(lines) > 0 {
			t.Errorf("log of %s: %q", v.addr, lines)
		}
	}
}
