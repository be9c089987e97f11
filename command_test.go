package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A shellUser calls subcommands, most of them of an instance.
type shellUser struct {
	t   *testing.T
	url string
	do  func(request string) string // of the API, for what was given
}

// newShellUser serves a scheduler with some jobs.
func newShellUser(t *testing.T) *shellUser {
	t.Helper()
	a := newAPI(leading(testScheduler(t)))
	instance := httptest.NewServer(a)
	t.Cleanup(instance.Close)
	c := &shellUser{t: t, url: instance.URL, do: func(request string) string { return bodyOf(t, send(t, a, request)) }}
	c.do(post("/scheduler/iso8601", `{"name":"nightly","command":"backup","owner":"ops","schedule":"R/2090-01-01T00:00:00Z/P1D"}`))
	c.do(post("/scheduler/iso8601", `{"name":"off","command":"true","disabled":true,"schedule":"R/2090-01-01T00:00:00Z/P1D"}`))
	c.do(post("/scheduler/dependency", `{"name":"after","command":"report","parents":["nightly"]}`))
	return c
}

// run calls one and returns what it wrote.
func (c *shellUser) run(words ...string) (string, error) {
	var out bytes.Buffer
	command := commandNamed(words[0])
	if command == nil {
		c.t.Fatalf("there is no subcommand %q", words[0])
	}
	args := words[1:]
	if !command.alone {
		args = append(slices.Clone(args), "--url", c.url)
	}
	err := command.do(context.Background(), args, strings.NewReader(""), &out)
	return out.String(), err
}

func (c *shellUser) wants(words string, want ...string) {
	c.t.Helper()
	got, err := c.run(strings.Fields(words)...)
	if err != nil {
		c.t.Errorf("chronos %s: %v", words, err)
	}
	for _, w := range want {
		if !strings.Contains(got, w) {
			c.t.Errorf("chronos %s wrote\n%s\nwant %q in it", words, got, w)
		}
	}
}

func (c *shellUser) fails(words, want string) {
	c.t.Helper()
	if got, err := c.run(strings.Fields(words)...); err == nil || !strings.Contains(err.Error(), want) {
		c.t.Errorf("chronos %s = %q, %v, want an error with %q", words, got, err, want)
	}
}

func TestJobsOnTheCommandLine(t *testing.T) {
	t.Parallel()
	c := newShellUser(t)
	if got, err := c.run("jobs", "-o", "name"); got != "nightly\noff\nafter\n" || err != nil {
		t.Errorf("names = %q, %v", got, err)
	}
	for words, want := range map[string]string{
		"jobs -o name night":            "nightly\n",
		"jobs -o name x n --owner ops":  "nightly\n",
		"jobs -o name --disabled":       "off\n",
		"jobs -o name --failed":         "",
		"jobs -o name --status fresh f": "off\nafter\n",
	} {
		if got, err := c.run(strings.Fields(words)...); got != want || err != nil {
			t.Errorf("chronos %s = %q, %v, want %q", words, got, err, want)
		}
	}
	c.wants("jobs", "NAME", "nightly  fresh  idle", "after nightly", "disabled")
	c.wants("jobs --json", `"name": "nightly"`, `"owner": "ops"`)
	c.wants("job nightly", "Command:", "backup", "2090-01-01")
	c.wants("job nightly --json", `"name": "nightly"`, `"schedule": "R/2090-01-01`)
	c.wants("next --count 1", "nightly")
	c.wants("next --job nightly --count 2", "2090-01-01T00:00:00.000Z", "2090-01-02T00:00:00.000Z")
	c.wants("why off", "it is disabled: chronos enable off")
	c.wants("why after", "it runs when these have succeeded: nightly")
	c.wants("enable off")
	c.wants("why off", "it is due 2090-01-01")
	c.wants("disable after nightly")
	c.wants("jobs -o name --disabled", "nightly\nafter\n")
	c.wants("top", "3 jobs  0 running  0 queued")
	c.fails("job nightl", `there is no job "nightl"; is it "nightly"?`)
	c.fails("delete nobody", `there is no job "nobody"`)
	c.wants("delete off after")
	c.wants("jobs -o name", "nightly\n")
	c.fails("jobs -o xml", `-o "xml": want table, json or name`)
	c.fails("job", "NAME is missing; see chronos job --help")
	c.fails("job a b", `"b" is one argument too many`)
	c.fails("jobs --frob", "flag provided but not defined: -frob; see chronos jobs --help")
}

func TestRunsOnTheCommandLine(t *testing.T) {
	t.Parallel()
	c := newShellUser(t)
	id, err := c.run("run", "nightly", "--arguments", "-v x")
	if id = strings.TrimSpace(id); err != nil || !strings.HasPrefix(id, "ct:") || !strings.HasSuffix(id, ":nightly:-v x") {
		t.Fatalf("run = %q, %v, want the id of the run", id, err)
	}
	c.wants("runs", "nightly  queued")
	c.wants("runs --job nightly", id, "manual")
	c.wants("runs --json --since 1h", `"state": "queued"`)
	c.wants("why nightly", id, "has 0 before it in the queue")
	c.fails("logs nightly", `job "nightly" has not run yet`)
	waited := make(chan error, 1)
	go func() {
		_, err := c.run("run", "nightly", "--wait")
		waited <- err
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if text := c.do("GET /scheduler/runs/nightly"); strings.Count(text, `"state":"queued"`) == 2 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("no second run waits: %s", text)
		}
	}
	c.wants("kill nightly")
	if err := <-waited; exitStatus(err) != exitKilled {
		t.Errorf("the wait for a run that was killed ended with %v, status %d, want %d", err, exitStatus(err), exitKilled)
	}
	c.wants("runs", "nightly  killed")
	if got, err := c.run("runs", "--failed"); strings.Contains(got, "nightly") || err != nil {
		t.Errorf("a killed run counts as failed: %q, %v", got, err)
	}
	c.fails("kill nobody", "nobody")
	c.fails("run nobody", "nobody")
}

// How a subcommand ends that has waited for a run.
func TestExitStatusOfARun(t *testing.T) {
	t.Parallel()
	code := func(n int) *int { return &n }
	for _, tt := range []struct {
		run  runDocument
		want int
	}{
		{runDocument{State: runFinished, Exit: code(0)}, 0},
		{runDocument{State: runFinished}, 0},
		{runDocument{State: runFailed, Exit: code(3)}, 3},
		{runDocument{State: runFailed}, exitNoStatus},
		{runDocument{State: runLost}, exitNoStatus},
		{runDocument{State: runSkipped}, exitNoStatus},
		{runDocument{State: runKilled, Exit: code(0)}, exitKilled},
	} {
		if got := exitStatus(waitedFor(tt.run)); got != tt.want {
			t.Errorf("a run that is %s, %v ends the wait with %d, want %d", tt.run.State, tt.run.Exit, got, tt.want)
		}
	}
}

func TestCommandsNeedAnInstance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("u:right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := leading(testScheduler(t))
	o.credentials = "u:right"
	instance := httptest.NewServer(newAPI(o))
	defer instance.Close()
	for _, tt := range []struct{ args, want string }{
		{"--url " + instance.URL, "asks for a user and a password"},
		{"--url " + instance.URL + " --credentials u:wrong", "asks for a user and a password"},
		{"--url " + instance.URL + " --credentials u:right", ""},
		{"--url " + instance.URL + "/ --credentials_file " + secret, ""},
		{"--url " + instance.URL + " --credentials_file " + secret + "x", "read credentials"},
		{"--url localhost:8080", "want http://host:port"},
		{"--url http://127.0.0.1:1", "no instance answers at http://127.0.0.1:1"},
		{"--url https://127.0.0.1:1 --ca_file " + secret, "holds none in PEM form"},
	} {
		var out bytes.Buffer
		err := commandNamed("jobs").do(t.Context(), strings.Fields(tt.args), nil, &out)
		if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("chronos jobs %s = %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestExplainNeedsNoInstance(t *testing.T) {
	t.Parallel()
	c := &shellUser{t: t}
	got, err := c.run("explain", "30 6 * * 1-5", "--zone", "Europe/Berlin", "--count", "2", "--json")
	if err != nil || strings.Count(got, "T06:30:00.000+0") != 2 {
		t.Errorf("explain = %q, %v, want two mornings in Berlin", got, err)
	}
	c.wants("explain R/2090-01-01T00:00:00Z/P1D --count 1", "2090-01-01T00:00:00.000Z")
	c.wants("explain R1/2000-01-01T00:00:00Z/P1D", "It is not due any more.")
	c.fails("explain R/2090-01-01T00:00:00Z/P1D --zone Europe/Berlim", "the nearest is Europe/Berlin")
	if got, err := c.run("explain", "7 H(3-3) * * *", "--name", "a", "--count", "1"); err != nil || !strings.Contains(got, "T03:07:00.000Z") {
		t.Errorf("explain of an H = %q, %v", got, err)
	}
	if _, err := c.run("explain", "H H * * *"); err == nil || !strings.Contains(err.Error(), "give --name") {
		t.Errorf("explain of an H without a name = %v", err)
	}
	c.fails("explain hourly", `cannot use schedule "hourly"`)
}

// Whatever the table of subcommands has is in the help, the manual page and the scripts that complete command lines.
func TestEverySubcommandIsDocumented(t *testing.T) {
	t.Parallel()
	c := &shellUser{t: t}
	page, err := c.run("man")
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	printHelp(&help, new(flags).optionTable())
	scripts := map[string]string{}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if scripts[shell], err = c.run("completion", shell); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range commandTable() {
		if !strings.Contains(help.String(), "\n      "+sub.name+" ") {
			t.Errorf("--help does not list the subcommand %s", sub.name)
		}
		if !strings.Contains(page, "\n.B "+roff("chronos "+sub.name)) {
			t.Errorf("the manual page lacks %s", sub.name)
		}
		for shell, script := range scripts {
			if !strings.Contains(script, sub.name) {
				t.Errorf("the script for %s lacks %s", shell, sub.name)
			}
		}
		sub.optionsOf().VisitAll(func(f *flag.Flag) {
			if !strings.Contains(page, roff(asTyped(f))) {
				t.Errorf("the manual page lacks %s of %s", asTyped(f), sub.name)
			}
		})
		if sub.define == nil {
			continue
		}
		var out bytes.Buffer
		if err := sub.do(t.Context(), []string{"--help"}, nil, &out); !errors.Is(err, errHelp) || !strings.HasPrefix(out.String(), "Usage: "+sub.usage()) {
			t.Errorf("chronos %s --help = %v, %q", sub.name, err, out.String())
		}
	}
}

func TestTablesFitTheWindow(t *testing.T) {
	t.Parallel()
	rows := [][]cell{{textCell("a"), stateCell("failed"), textCell(strings.Repeat("ä", 100))}, {textCell("b\x1b[2J"), stateCell("finished"), textCell("short")}}
	for _, width := range []int{0, 40, 60} {
		var out bytes.Buffer
		narrow := screen{Writer: &out, width: width}
		if err := narrow.table([]string{"N", "STATE", "WHEN"}, rows); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(out.String(), "\n") {
			if n := len([]rune(line)); width > 0 && n > width {
				t.Errorf("line %d has %d letters, in a window of %d: %s", i, n, width, line)
			}
		}
		if !strings.Contains(out.String(), "failed") || strings.Contains(out.String(), "…") != (width > 0) {
			t.Errorf("in a window of %d the table is\n%s", width, &out)
		}
		if strings.ContainsRune(out.String(), 0x1b) {
			t.Errorf("a text of a job draws on the terminal: %q", &out)
		}
	}
	var out bytes.Buffer
	coloured := screen{Writer: &out, colour: true}
	if err := coloured.table([]string{"N", "STATE", "WHEN"}, rows); err != nil || !strings.Contains(out.String(), "\x1b[31mfailed\x1b[0m") {
		t.Errorf("a failure is not red: %q, %v", out.String(), err)
	}
}
