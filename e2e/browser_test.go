package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// TestInterface runs the tests in the folder browser: the program, and a real browser on it.
func TestInterface(t *testing.T) {
	t.Parallel()
	for tool, install := range map[string]string{"node": "nodejs", "npm": "npm", "chromium": "chromium"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the interface is tested in a real browser: apt-get install %s (%v)", install, err)
		}
	}
	if _, err := os.Stat("browser/node_modules/axe-core"); err != nil {
		inBrowser(t, nil, "npm", "ci")
	}
	for _, file := range []string{"ui.test.mjs", "pages.test.mjs"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			hosts, root := zktest.Shared(t)
			inBrowser(t, []string{"CHRONOS=" + program(), "ZK=" + hosts[0], "ZK_PATH=" + root}, "node", "--test", "--test-reporter=spec", file)
		})
	}
}

// inBrowser runs a command in the folder browser.
func inBrowser(t *testing.T, environ []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = "browser", append(os.Environ(), environ...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	t.Logf("%s", out)
}
