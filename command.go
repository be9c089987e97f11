package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// A command is a subcommand: it does something other than scheduling. Its options and arguments follow its name.
type command struct {
	name      string
	arguments string // as help shows them
	summary   string // one line
	least     int    // arguments
	most      int    // -1 for any number
	alone     bool   // asks no instance
	// define adds the options and returns what is to be done once they are known.
	define func(*flag.FlagSet) func(context.Context, *invocation) error
	// whole does everything by itself, for those that read their command line in another way.
	whole func(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error
}

// An invocation is a command that was called.
type invocation struct {
	*remote
	args  []string
	stdin io.Reader
	out   *screen
}

// commandTable lists the subcommands, in the order in which help shows them.
func commandTable() []command {
	one := func(c command) command { c.least, c.most = 1, 1; return c }
	some := func(c command) command { c.least, c.most = 1, -1; return c }
	any := func(c command) command { c.most = -1; return c }
	return []command{
		any(command{name: "jobs", arguments: "[TEXT...]", summary: "list jobs, or those with a text in their names", define: listCommand}),
		one(command{name: "job", arguments: "NAME", summary: "show a job and its last runs", define: jobCommand}),
		one(command{name: "run", arguments: "NAME", summary: "start a job now, and wait for it if asked to", define: runCommand}),
		one(command{name: "logs", arguments: "NAME|RUN", summary: "show what the last run of a job, or a run, has written", define: logsCommand}),
		some(command{name: "kill", arguments: "NAME...", summary: "end the runs of jobs", define: killCommand}),
		some(command{name: "enable", arguments: "NAME...", summary: "let jobs run by their schedules again", define: ableCommand(false)}),
		some(command{name: "disable", arguments: "NAME...", summary: "keep jobs from running by their schedules", define: ableCommand(true)}),
		some(command{name: "delete", arguments: "NAME...", summary: "delete jobs", define: deleteCommand}),
		{name: "runs", summary: "list runs of all jobs, or of one", define: runsCommand},
		{name: "next", summary: "list what is due next", define: nextCommand},
		one(command{name: "why", arguments: "NAME", summary: "say why a job waits, or does not run", define: whyCommand}),
		one(command{name: "explain", arguments: "SCHEDULE", summary: "show when a schedule would be due; asks no instance", alone: true, define: explainCommand}),
		some(command{name: "diff", arguments: "DIR|FILE...", summary: "say what apply would change; status 2 if anything", define: diffCommand}),
		some(command{name: "apply", arguments: "DIR|FILE...", summary: "make jobs as files say, all or none", define: applyCommand}),
		one(command{name: "export", arguments: "DIR", summary: "write jobs into files, for apply", define: exportCommand}),
		some(command{name: "validate", arguments: "DIR|FILE...", summary: "check files of jobs; asks no instance", alone: true, define: validateCommand}),
		{name: "top", summary: "watch what runs and waits", define: topCommand},
		{name: "backup", summary: "write the whole state to a file", whole: backupCommand},
		{name: "restore", arguments: "FILE", summary: "make a backup the state", whole: restoreCommand},
		{name: "dry-run", summary: "say what this program would make of a state, and change nothing", whole: dryRunCommand},
		{name: "user", arguments: "add NAME ROLE [SCOPE]", summary: "write the line of a user for --http_users_file", whole: userCommand},
		{name: "token", arguments: "NAME [ROLE [SCOPE]]", summary: "make a token for a machine, and its line for --http_users_file", whole: tokenCommand},
		{name: "healthcheck", summary: "ask the instance of this machine or container whether it lives", whole: healthcheck},
		one(command{name: "completion", arguments: "bash|zsh|fish", summary: "write a script that completes command lines", alone: true, define: completionCommand}),
		{name: "man", summary: "write the manual page", alone: true, define: manCommand},
	}
}

// commandNamed returns the subcommand that a first word of the command line asks for, nil if it asks for none.
func commandNamed(word string) *command {
	table := commandTable()
	i := slices.IndexFunc(table, func(c command) bool { return c.name == word })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// do reads the command line and does what it says.
func (c *command) do(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if c.whole != nil {
		return c.whole(ctx, args, stdin, stdout)
	}
	fs := flag.NewFlagSet("chronos "+c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // said by us, once
	perform := c.define(fs)
	call := &invocation{stdin: stdin, out: newScreen(stdout, os.Getenv)}
	if !c.alone {
		call.remote = remoteFlags(fs, os.Getenv)
	}
	words, err := parseMixed(fs, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.help(fs, stdout)
		return errHelp
	case err != nil:
		return c.misused("%v", err)
	case len(words) < c.least:
		return c.misused("%s is missing", strings.Fields(c.arguments)[0])
	case c.most >= 0 && len(words) > c.most:
		return c.misused("%q is one argument too many", words[c.most])
	}
	call.args = words
	if call.remote != nil {
		if err := call.open(os.Getenv); err != nil {
			return err
		}
	}
	return perform(ctx, call)
}

// misused says what is wrong with a command line, and where to read more.
func (c *command) misused(format string, args ...any) error {
	return fmt.Errorf("%s; see chronos %s --help", fmt.Sprintf(format, args...), c.name)
}

// parseMixed reads options before, between and behind arguments; all that follows -- is an argument.
func parseMixed(fs *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		rest := fs.Args()
		if len(rest) == 0 {
			return words, nil
		}
		if i := len(args) - len(rest); i > 0 && args[i-1] == "--" {
			return append(words, rest...), nil
		}
		words, args = append(words, rest[0]), rest[1:]
	}
}

// help writes how the command is called.
func (c *command) help(fs *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, "Usage: %s\n\n%s\n\nOptions:\n", c.usage(), sentence(c.summary))
	fs.VisitAll(func(f *flag.Flag) { printFlag(w, f) })
}

// printFlag writes an option in the form that the help of the server has.
func printFlag(w io.Writer, f *flag.Flag) {
	value, text := flag.UnquoteUsage(f)
	left := "      --" + f.Name
	if len(f.Name) == 1 {
		left = "  -" + f.Name
	}
	if value != "" {
		left += " <" + value + ">"
	}
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
		text += " (default " + f.DefValue + ")"
	}
	printAside(w, left, text)
}

func (c *command) usage() string {
	return strings.TrimRight("chronos "+c.name+" [options] "+c.arguments, " ")
}

// sentence begins a text with a capital and ends it with a full stop.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// printJSON writes a value for scripts.
func (o *screen) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o, "%s\n", text)
	return err
}
