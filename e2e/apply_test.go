package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

// A leader that is killed after it has answered with the plan, and before or while the jobs are stored, leaves all of them
// as they shall be or none, and the command line ends when all are.
func TestApplyWhileTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	data, dir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	var both []*instance
	for _, name := range []string{"first", "second"} {
		v := newInstance(t, name, "--master", "local", "--data_dir", data, "--zk_hosts", hosts[0], "--zk_path", root, "--zk_timeout", "2000")
		v.start(t)
		v.serves(t)
		both = append(both, v)
	}
	const jobs = 50
	for round := 1; round <= 2; round++ {
		leader, follower := both[0], both[1]
		var led struct{ Leader string }
		if follower.mustGet(t, "/scheduler/leader", &led); led.Leader == follower.id {
			leader, follower = follower, leader
		}
		var list []string
		for i := range jobs {
			list = append(list, fmt.Sprintf("- {name: job%d, command: 'true %d', schedule: R/2090-01-01T00:00:00Z/P1D}\n", i, round))
		}
		if err := os.WriteFile(filepath.Join(dir, "jobs.yaml"), []byte(strings.Join(list, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program(), "apply", dir, "--url", "http://"+follower.addr)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = cmd.Stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewReader(out)
		for line := ""; !strings.Contains(line, "to create"); {
			if line, err = said.ReadString('\n'); err != nil {
				t.Fatalf("%v after %q", err, line)
			}
		}
		leader.kill()
		rest, _ := said.ReadString(0)
		if err := cmd.Wait(); err != nil || !strings.Contains(rest, "Done, all at once.") {
			t.Errorf("apply = %v, %q", err, rest)
		}
		var stored []struct{ Name, Command string }
		follower.mustGet(t, "/scheduler/jobs", &stored)
		count := map[string]int{}
		for _, j := range stored {
			count[j.Command]++
		}
		if n := count[fmt.Sprintf("true %d", round)]; n != jobs || len(count) != 1 {
			t.Errorf("round %d: commands %v, want %d of this round alone", round, count, jobs)
		}
		leader.start(t)
		leader.serves(t)
		exported := filepath.Join(t.TempDir(), "jobs")
		for _, words := range [][]string{{"diff", dir}, {"export", exported}, {"diff", exported}} {
			if got, status := client(t, leader, words...); status != 0 {
				t.Errorf("%s = %q, status %d, want 0", words, got, status)
			}
		}
	}
}
