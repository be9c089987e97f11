package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	longTorture = flag.Bool("torture", false, "run the torture tests in their long form")
	tortureSeed = flag.Uint64("seed", 0, "seed of the torture tests; 0 takes one from the clock")
)

const (
	// repository is where the program's source is.
	repository = ".."
	// atOnce is how many tests run at a time if -parallel does not say.
	atOnce = 4
)

// late says that something did not happen in time. That nothing is lost and nothing runs twice holds on any machine; that
// all is in time does not where others want the processors too, so that it fails the long forms only.
func late(t *testing.T, format string, args ...any) {
	t.Helper()
	if *longTorture {
		t.Errorf(format, args...)
		return
	}
	t.Logf(format, args...)
}

// built is the path of the built program.
var built string

// program returns the path of the built program.
func program() string {
	noteSource()
	return built
}

// noteSource reads what the program and the browser's tests are made of: go test repeats a result
// without running anything if all that the tests read is as it was, and does not know what a compiler reads.
var noteSource = sync.OnceFunc(func() {
	for _, dir := range []string{repository, filepath.Join(repository, "ui"), "browser"} {
		if _, err := os.ReadDir(dir); err != nil {
			panic(err)
		}
	}
})

func TestMain(m *testing.M) {
	flag.Parse()
	status, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

func buildAndRun(m *testing.M) (status int, err error) {
	dir, err := os.MkdirTemp("", "chronos-e2e")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	built = filepath.Join(dir, "chronos")
	if err := buildProgram(built); err != nil {
		return 1, err
	}
	if !isGiven("test.parallel") {
		if err := flag.Set("test.parallel", fmt.Sprint(atOnce)); err != nil {
			return 1, err
		}
	}
	// Else each process of a program that looks for races sleeps for a second at its end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// isGiven reports whether a flag was on the command line.
func isGiven(name string) (given bool) {
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// How the program is built that is shipped, less its version: the Makefile's GOFLAGS and LDFLAGS.
const (
	shippedFlags     = "-trimpath -buildvcs=false -gcflags=github.com/apache/cassandra-gocql-driver/...=-l -gcflags=go.yaml.in/yaml/...=-l"
	shippedLinkFlags = "-s -w -buildid= -funcalign=16"
)

// buildProgram builds the program as it is shipped, or as these tests were built.
func buildProgram(path string) error {
	args := []string{"build", "-o", path}
	env := os.Environ()
	if raceDetector {
		args = append(args, "-race", "-gcflags=golang.org/x/crypto/blowfish=-race=false")
	} else {
		args = append(args, strings.Fields(shippedFlags)...)
		args = append(args, "-ldflags="+shippedLinkFlags)
		env = append(env, "CGO_ENABLED=0")
	}
	if covered := os.Getenv("GOCOVERDIR"); covered != "" {
		if !filepath.IsAbs(covered) {
			return fmt.Errorf("GOCOVERDIR=%s: want an absolute path, since processes run in many directories", covered)
		}
		if err := os.MkdirAll(covered, 0o777); err != nil {
			return err
		}
		args = append(args, "-cover")
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir, cmd.Env = repository, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// tortureRand returns the test's source of chance and prints its seed.
func tortureRand(t *testing.T) *rand.Rand {
	seed := *tortureSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t.Logf("seed %d (repeat with -seed %d)", seed, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// patience is the deadline of everything that the tests wait for: a guard against
// hanging, which no test is expected to come near.
const patience = 2 * time.Minute

// until asks again and again, since other processes tell nobody when they have reached a state.
func until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !reached(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}
