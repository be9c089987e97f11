//go:build services

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

// zkTree describes every node from a path on: who wrote it, when, and how often.
func zkTree(t *testing.T, session *zkSession, path string) map[string]string {
	t.Helper()
	data, stat, err := session.Get(path)
	if err != nil {
		t.Fatal(err)
	}
	tree := map[string]string{path: fmt.Sprintf("%+v %x", *stat, data)}
	names, _, err := session.Children(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		maps.Copy(tree, zkTree(t, session, path+"/"+name))
	}
	return tree
}

// asJVM is a node as a JVM version writes it.
func asJVM(name, document string) map[string][]byte {
	return map[string][]byte{name: encodeVariable(name, corpusUUID, []byte(document))}
}

func TestDryRunTellsAndWritesNothing(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := testSession(t, hosts)
	for _, version := range []string{"2.4", "odd"} {
		nodes := stateCorpus(t, version)
		plant(t, session, root+"/state", nodes)
	}
	for _, document := range []string{
		`{"name":"weird/name","command":"true","schedule":"R/2090-01-01T00:00:00.000Z/PT1H"}`,
		`{"name":"lookahead","command":"true","schedule":"R/2090-01-01T00:00:00.000Z/PT1H","constraints":[["rack","LIKE","(?=a)b"],["os","UNLIKE","old"]]}`,
		`{"name":"unscheduled","command":"true","schedule":"every day"}`,
		`{"name":"orphan","command":"true","parents":["gone"]}`,
		`{"name":"asleep","command":"true","schedule":"R/2015-01-01T00:00:00.000Z/P1Y","concurrent":false}`,
	} {
		name, _, _ := strings.Cut(strings.TrimPrefix(document, `{"name":"`), `"`)
		plant(t, session, root+"/state", asJVM("J_"+strings.ReplaceAll(name, "/", "ö"), strings.Replace(document, "/name", "öname", 1)))
	}
	jvm := root + "/candidate/_c_6fa459ea-ee8a-4ca4-894e-db77e160355e-latch-0000000007"
	plant(t, session, root+"/candidate", map[string][]byte{jvm[strings.LastIndex(jvm, "/")+1:]: []byte("old:4400")})
	before := zkTree(t, session, root)

	var out strings.Builder
	args := []string{"dry-run", "--once", "--count=3", "--zk_hosts", hosts[0], "--zk_path", root}
	if err := run(t.Context(), args, strings.NewReader(""), &out, &out); err != nil {
		t.Fatalf("chronos dry-run: %v: %s", err, &out)
	}
	for _, want := range []string{
		"led by old:4400 (a JVM version)", "framework 20",
		"\nnext:\n", "2090-01-01T00:00:00.000Z  weirdöname\n",
		`record "J_cut-short" can't be used and would be kept as it is: decode variable`,
		`record "J_not-json" can't be used`,
		`job "weirdöname" would run, but can't be posted again under this name`,
		`job "lookahead": constraint rack LIKE (?=a)b is not a regular expression in RE2 syntax`,
		`job "lookahead": constraint os UNLIKE old would be honoured; 2.4 ignored it`,
		`job "unscheduled" would run by hand only: `,
		`job "orphan" would run by hand only: `,
		`job "asleep" has missed its occurrence of 20`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &out)
		}
	}
	out.Reset() // the same state for Kubernetes, which need not be in reach
	args = append(args, "--master", "k8s", "--kubernetes_image", "busybox")
	if err := run(t.Context(), args, strings.NewReader(""), &out, &out); err != nil {
		t.Fatalf("chronos dry-run --master k8s: %v: %s", err, &out)
	}
	for _, want := range []string{
		`job "nightly" on Kubernetes: `, `job "asleep" on Kubernetes: has no image: it would run in busybox`,
		`job "lookahead" on Kubernetes: its constraint rack LIKE would be about the label rack of nodes`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report for Kubernetes lacks %q:\n%s", want, &out)
		}
	}
	if after := zkTree(t, session, root); !maps.Equal(before, after) {
		t.Errorf("the dry runs have changed the state, from\n%v to\n%v", before, after)
	}
}

func TestDryRunFollows(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	session := testSession(t, hosts)
	document := func(name, start string) []byte {
		return asJVM("J_"+name, `{"name":"`+name+`","command":"true","schedule":"R/`+start+`/PT1H"}`)["J_"+name]
	}
	const start = "2090-01-01T00:00:00.000Z"
	plant(t, session, root+"/state", map[string][]byte{"J_a": document("a", start), "J_b": document("b", start)})
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"dry-run", "--every", "10ms", "--zk_hosts", hosts[0], "--zk_path", root}, strings.NewReader(""), w, w)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	seen := func(want string) bool {
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return true
			}
		}
		return false
	}
	set := func(name, start string) {
		if _, err := session.Set(root+"/state/J_"+name, document(name, start), -1); err != nil {
			t.Fatal(err)
		}
	}
	if !seen("  nothing") {
		t.Fatal("the first report does not end with nothing")
	}
	set("a", "2090-01-01T05:00:00.000Z") // five hours on: where the job would be
	set("b", "2090-01-01T09:30:00.000Z") // beside its hours
	if !seen(" job ") || !strings.Contains(lines.Text(), `job "b" has moved to 2090-01-01T09:30`) {
		t.Errorf("the first line after the changes is %q, want it to tell of b", lines.Text())
	}
	cancel()
	go io.Copy(io.Discard, r)
	if err := <-ended; err != nil {
		t.Errorf("dry-run that was told to stop = %v, want nil", err)
	}
}

func TestDryRunWithoutAState(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	var out bytes.Buffer
	err := run(t.Context(), []string{"dry-run", "--once", "--zk_hosts", hosts[0], "--zk_path", root}, strings.NewReader(""), &out, &out)
	if exitStatus(err) != 1 || !strings.Contains(out.String(), "there is no state at "+root+"/state") {
		t.Errorf("dry-run = %v %q, want that there is no state", err, &out)
	}
	for _, args := range []string{"--every", "--every x", "--count=-1", "--no-such-option 1"} {
		out.Reset()
		err := run(t.Context(), append([]string{"dry-run"}, strings.Fields(args)...), strings.NewReader(""), &out, &out)
		if exitStatus(err) != 1 || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("dry-run %s = %v %q, want one line of complaint", args, err, &out)
		}
	}
}
