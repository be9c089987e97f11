// Slowest reads what go test -json writes, and shows of it what go test shows without -json: a line
// for each package when it is done, and the output of tests that fail. At the end it names the
// slowest tests. Like go test, it ends with status 1 if something has failed.
//
//	go test -json ./... | go run ./internal/slowest
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// named is how many tests are named at the end.
const named = 10

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "slowest: read standard input:", err)
		os.Exit(1)
	}
	if !r.finish() {
		os.Exit(1)
	}
}

// An event is a line of test2json's, or of go build's.
type event struct {
	Action     string
	Package    string
	ImportPath string // of what is built
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// A test is one that runs or has run, "" for what its package does beside its tests.
type test struct{ pkg, name string }

type report struct {
	w       io.Writer
	output  map[test][]string  // of those that have not passed
	elapsed map[test]float64   // of those that have ended
	inside  map[test][]float64 // of the subtests of each
	failed  bool
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[test][]string{}, elapsed: map[test]float64{}, inside: map[test][]float64{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.take(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		io.WriteString(r.w, line) // of a tool that knows no -json
		return
	}
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(r.w, e.Output)
	case "output":
		r.output[t] = append(r.output[t], e.Output)
	case "pass", "skip", "fail":
		r.failed = r.failed || e.Action == "fail"
		r.end(t, e)
	}
}

// end takes note of the end of a test, or shows that of a package.
func (r *report) end(t test, e event) {
	if t.name == "" {
		r.endPackage(t.pkg, e.Action == "fail")
		return
	}
	r.elapsed[t] = e.Elapsed
	if i := strings.LastIndexByte(t.name, '/'); i >= 0 {
		parent := test{t.pkg, t.name[:i]}
		r.inside[parent] = append(r.inside[parent], r.took(t))
	}
	if e.Action != "fail" {
		delete(r.output, t)
	}
}

// took is how long a test took with its subtests, which go test does not count in it if they run in parallel.
func (r *report) took(t test) float64 {
	sum := 0.0
	for _, s := range r.inside[t] {
		sum += s
	}
	return max(sum, r.elapsed[t])
}

// endPackage shows what is left of a package: if it has failed, the output of its tests that have not passed, whether
// they have ended or not, and in any case its own last lines.
func (r *report) endPackage(pkg string, failed bool) {
	own := test{pkg, ""}
	for _, t := range slices.SortedFunc(maps.Keys(r.output), func(a, b test) int { return cmp.Compare(a.name, b.name) }) {
		if t.pkg != pkg || t == own {
			continue
		}
		for _, line := range r.output[t] {
			if failed && !isProgress(line) {
				io.WriteString(r.w, line)
			}
		}
		delete(r.output, t)
	}
	for _, line := range r.output[own] {
		if failed || isSummary(line) {
			io.WriteString(r.w, line)
		}
	}
	delete(r.output, own)
}

// isProgress reports whether a line says only that a test begins, waits or goes on.
func isProgress(line string) bool { return strings.HasPrefix(line, "=== ") }

// isSummary reports whether a line is the one that go test prints of a package.
func isSummary(line string) bool {
	return strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "FAIL") || strings.HasPrefix(line, "?") || strings.HasPrefix(line, "---") ||
		strings.HasPrefix(line, "\t")
}

// finish names the slowest tests, and reports whether all have passed.
func (r *report) finish() bool {
	var all []test
	for t := range r.elapsed {
		if !strings.Contains(t.name, "/") {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b test) int {
		return cmp.Or(cmp.Compare(r.took(b), r.took(a)), cmp.Compare(a.name, b.name))
	})
	if len(all) > 0 {
		fmt.Fprintln(r.w, "\nThe slowest tests, in seconds:")
	}
	for _, t := range all[:min(named, len(all))] {
		fmt.Fprintf(r.w, "%7.1f  %s  %s\n", r.took(t), t.name, t.pkg)
	}
	return !r.failed
}
