package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// go test -timeout 3h . -long is what ./test.sh long runs. A test that leaves things to chance says its seed when it
// fails, and go test -run 'TestModel/seed_7$' . -seed 7 repeats one scenario of it.
var (
	long      = flag.Bool("long", false, "run the long forms of the tests")
	firstSeed = flag.Uint64("seed", 1, "first seed of the tests that leave things to chance")
)

// inForm returns how much of something a test does: in its short form, or in its long one.
func inForm(short, longer int) int {
	if *long {
		return longer
	}
	return short
}

// keeperCover is where the keepers of local runs leave what -cover asks them for, which nobody reads.
var keeperCover = filepath.Join(os.TempDir(), fmt.Sprint("chronos-test-", os.Getpid()))

// TestMain makes the test binary the keeper of the runs that tests start, like
// the real one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == keeperWord {
		os.Exit(runKeeper(os.Args[2]))
	}
	if err := os.MkdirAll(keeperCover, 0o777); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(keeperCover)
	os.Exit(status)
}

// patience is how long tests wait for what should happen soon: a guard against hanging, which
// no machine is too slow for.
const patience = 2 * time.Minute

// next returns the next value of a channel.
func next[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s after %v", what, patience)
		panic("unreachable")
	}
}

// until polls: for states of other processes, and for our own that have no signal. What takes long is asked seldom.
func until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	pause := time.Millisecond
	for deadline := time.Now().Add(patience); !reached(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s", patience, what)
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// checkGenerated compares what a document has after a comment with what the code says. With UPDATE_GOLDEN set it writes that instead.
func checkGenerated(t *testing.T, document, comment, want string) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, got, found := strings.Cut(string(text), comment+"\n")
	if !found {
		t.Fatalf("%s has no %s", document, comment)
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(document, []byte(before+comment+"\n"+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s is not what the code says; write it with UPDATE_GOLDEN=1 go test -run %s . It should end with\n%s", document, t.Name(), want)
	}
}
