package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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
func standForMaster(t *testing.T, s *zkSession, m *mesostest.Master, url string) string {
	t.Helper()
	node, err := s.Create("/mesos/json.info_", m.Candidacy(url), zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// mesosHealth is what an instance says of its connection to Mesos.
func (v *victim) mesosHealth(t *testing.T) mesosStatus {
	t.Helper()
	var report healthReport
	_, text, err := v.call("GET", "/health", "")
	if err == nil {
		err = json.Unmarshal([]byte(text), &report)
	}
	if err != nil || report.Mesos == nil {
		return mesosStatus{}
	}
	return *report.Mesos
}

// until asks again and again, since the answers of a process come with no signal.
func (v *victim) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(v.log)
			t.Fatalf("waited in vain for %s; the log ends: %s", what, log[max(0, len(log)-4000):])
		}
	}
}

// endedRuns lists the runs of a job that have ended, newest first.
func (v *victim) endedRuns(t *testing.T, job string) []runDocument {
	t.Helper()
	var doc struct{ History []runDocument }
	if err := json.Unmarshal([]byte(v.mustCall(t, "GET", "/scheduler/runs/"+job, "", 200)), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.History
}

// TestProcessesOnMesosAndZooKeeper is the README's way to run this program on Mesos: the built
// program, --master and --zk_hosts as zk:// addresses of three hosts (of which one is down), a real
// ZooKeeper, a master that registers there as real ones do. Jobs run to their end, the second instance
// takes over from one that is killed, and both follow when another master leads.
func TestProcessesOnMesosAndZooKeeper(t *testing.T) {
	binary := buildChronos(t)
	server := zktest.Start(t)
	_, port := splitAddress(server.Addr)
	hosts := fmt.Sprintf("zk://127.0.0.1:%d,127.0.0.1:%d,localhost:%d", zktest.FreePort(), port, port)
	session := testSession(t, []string{server.Addr})
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

	var instances []*victim
	for i := range 2 {
		v := newVictim(t, binary, filepath.Join(t.ArtifactDir(), fmt.Sprintf("log%d", i)),
			"--master", hosts+"/mesos", "--zk_hosts", hosts, "--zk_timeout", "2000")
		v.start(t)
		v.serves(t)
		instances = append(instances, v)
	}
	first, second := instances[0], instances[1]

	first.until(t, "word of the missing master", func() bool {
		return strings.Contains(first.mesosHealth(t).Error, "no Mesos master leads")
	})
	node := standForMaster(t, session, m, "")
	standForMaster(t, session, m, standby)
	first.until(t, "a subscription", func() bool { return first.mesosHealth(t).Subscribed })

	start := time.Now().Add(time.Second).UTC().Format("2006-01-02T15:04:05Z")
	second.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"short","command":"true","schedule":"R3/`+start+`/PT1S"}`, 204)
	second.mustCall(t, "POST", "/scheduler/dependency", `{"name":"child","command":"true","parents":["short"]}`, 204)
	second.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"long","command":"true","retries":0,"schedule":"R1/`+start+`/PT1H"}`, 204)
	for _, job := range []string{"short", "child"} {
		first.until(t, "three runs of "+job, func() bool { return len(first.endedRuns(t, job)) == 3 })
	}

	// The task ends while nobody leads; the successor hears of it.
	long := "ct:" + fmt.Sprint(mustInstant(t, start)) + ":0:long:"
	m.Await("the long task", func() bool { return m.Launches(long) == 1 })
	m.WriteFile(long, "stdout", []byte("hello\n"))
	first.end(syscall.SIGKILL)
	m.Finish(long, mesos.TASK_FAILED, "Command exited with status 3")
	second.until(t, "the end of the long run", func() bool {
		status, text, err := second.call("GET", "/scheduler/runs/long", "")
		return err == nil && status == 200 && strings.Contains(text, `"state":"failed"`)
	})
	run := second.endedRuns(t, "long")[0]
	if run.ID != long || run.Exit == nil || *run.Exit != 3 {
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
		s := second.mesosHealth(t)
		return s.Subscribed && s.Master == standby
	})
	second.mustCall(t, "POST", "/scheduler/iso8601", `{"name":"later","command":"true","schedule":"R1//PT1H"}`, 204)
	second.until(t, "a run at the new master", func() bool { return len(second.endedRuns(t, "later")) == 1 })

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
	if early, err := second.end(syscall.SIGTERM); early || err != nil {
		t.Errorf("the instance ended early %v, with %v, want a clean end by SIGTERM", early, err)
	}
	for _, v := range instances {
		if log, _ := os.ReadFile(v.log); strings.Contains(string(log), "panic") || strings.Contains(string(log), "DATA RACE") {
			t.Errorf("log of %s: %s", v.addr, log)
		}
	}
}

func mustInstant(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}
