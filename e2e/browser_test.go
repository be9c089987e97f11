package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
)

// TestInterface has a real browser use the interface.
func TestInterface(t *testing.T) {
	t.Parallel()
	testInBrowser(t, "ui.test.mjs")
}

// TestPagesOfTheInterface looks at each page in a real browser.
func TestPagesOfTheInterface(t *testing.T) {
	t.Parallel()
	testInBrowser(t, "pages.test.mjs")
}

// TestRolesInTheInterface looks at what the interface offers whom.
func TestRolesInTheInterface(t *testing.T) {
	t.Parallel()
	testInBrowser(t, "access.test.mjs")
}

// testInBrowser runs the tests in a file of the folder browser.
func testInBrowser(t *testing.T, file string) {
	t.Helper()
	for tool, name := range map[string]string{"node": "nodejs", "npm": "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the interface is tested in a real browser: apt-get install %s (%v)", name, err)
		}
	}
	install(t)
	hosts, root := zktest.Shared(t)
	inBrowser(t, []string{"CHRONOS=" + program(), "ZK=" + hosts[0], "ZK_PATH=" + root}, "node", "--test", "--test-reporter=spec", file)
}

var installing sync.Mutex

// install gets what the browser's tests need, if that is not there.
func install(t *testing.T) {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	if _, err := os.Stat("browser/node_modules/axe-core"); err != nil {
		inBrowser(t, nil, "npm", "ci")
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
		said := string(out)
		if i := strings.LastIndex(said, "failing tests:"); i >= 0 {
			said = said[i:]
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, said)
	}
	t.Logf("%s", out)
}
