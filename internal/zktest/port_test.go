package zktest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestPortsAreGivenOnce takes ports in several processes that run at the same time.
func TestPortsAreGivenOnce(t *testing.T) {
	const each = 300
	if os.Getenv("ZKTEST_PORTS") != "" {
		for range each {
			fmt.Println("port", FreePort())
		}
		fmt.Println("end")
		bufio.NewReader(os.Stdin).ReadByte() // so that the ports stay taken
		return
	}
	var all []string
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPortsAreGivenOnce$")
		cmd.Env = append(os.Environ(), "ZKTEST_PORTS=1")
		hang, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			hang.Close()
			cmd.Wait()
		}()
		for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "end"; {
			all = append(all, strings.TrimPrefix(lines.Text(), "port "))
		}
	}
	slices.Sort(all)
	if n := len(slices.Compact(slices.Clone(all))); len(all) != 4*each || n != len(all) {
		t.Errorf("%d ports, %d of them different, want %d", len(all), n, 4*each)
	}
}
