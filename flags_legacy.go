package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The JVM versions were seldom started directly, but by a script around them. This file
// turns the words, files and variables of those scripts into a plain command line:
//
//   - @file or @-- as the first word: the words of that file, or of stdin;
//   - the scripts' own names before the options (chronos, start.sh, ...), and --jar file;
//   - run_jar before the options, as in DC/OS's package: options that no longer
//     exist are left out with a note, and no configuration file is read;
//   - the packages' configuration, wherever the directory /etc/chronos/conf exists:
//     /etc/mesos/zk, the files of that directory, and variables CHRONOS_<OPTION>, each
//     weaker than the next and the command line strongest.

const (
	confDir  = "etc/chronos/conf"
	mesosZK  = "etc/mesos/zk"
	envStart = "CHRONOS_"
)

// A commandLine holds the words while the old forms are removed from it.
type commandLine struct {
	args  []string
	table []option
	notes []string
}

func (c *commandLine) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// expandLegacy returns the command line to give to parseFlags, and notes for the
// log on what it changed. environ is in the form of os.Environ, root is the machine's whole file system.
// Its error is a *usageError that has been written to stdout, as with parseFlags.
func expandLegacy(args, environ []string, root fs.FS, stdin io.Reader, stdout io.Writer) ([]string, []string, error) {
	c := &commandLine{args: slices.Clone(args), table: defaultFlags().optionTable()}
	err := c.expand(environ, root, stdin)
	if uerr, ok := err.(*usageError); ok {
		printUsageError(stdout, uerr)
	}
	return c.args, c.notes, err
}

func (c *commandLine) expand(environ []string, root fs.FS, stdin io.Reader) error {
	if len(c.args) > 0 && strings.HasPrefix(c.args[0], "@") {
		return c.readWords(c.args[0][1:], root, stdin)
	}
	if c.dropScriptNames() {
		c.forgive(environ)
		c.args = append(c.variables(environ), c.args...)
		return nil
	}
	if slices.Contains(c.args, "--help") {
		return nil
	}
	if info, err := fs.Stat(root, confDir); err != nil || !info.IsDir() {
		c.args = append(c.variables(environ), c.args...)
		return nil
	}
	c.args = slices.DeleteFunc(c.args, func(s string) bool { return s == "--no-logger" || s == "--no_logger" })
	files, err := c.confFiles(root)
	if err != nil {
		return err
	}
	c.args = slices.Concat(c.mesosMaster(root), files, c.variables(environ), c.args)
	return nil
}

// readWords replaces the command line with the words of a file, or of stdin for "--".
func (c *commandLine) readWords(name string, root fs.FS, stdin io.Reader) error {
	var content []byte
	var err error
	if name == "--" {
		content, err = io.ReadAll(stdin)
	} else {
		if name, err = filepath.Abs(name); err == nil {
			content, err = fs.ReadFile(root, strings.TrimPrefix(name, "/"))
		}
	}
	if err != nil {
		return usageErrorf("read options from '@%s': %s", printable(name), cause(err))
	}
	c.args = strings.FieldsFunc(string(content), func(r rune) bool { return r == ' ' || r == '\n' || r == '\r' })
	return nil
}

// dropScriptNames removes what stood before the options, and reports whether
// run_jar was among it.
func (c *commandLine) dropScriptNames() (runJar bool) {
	for len(c.args) > 0 {
		switch path.Base(c.args[0]) {
		case "run_jar":
			runJar = true
		case "chronos", "start.sh", "start-chronos.bash", "chronos-marathon":
		case "--jar":
			c.note("--jar is ignored: there is no jar")
			c.args = c.args[min(len(c.args), 2)-1:]
		default:
			return runJar
		}
		c.args = c.args[1:]
	}
	return runJar
}

// forgive adapts the words after run_jar, as DC/OS's package needs it.
func (c *commandLine) forgive(environ []string) {
	var kept []string
	for rest := c.args; len(rest) > 0; {
		n := 1
		for n < len(rest) && !optionWord(rest[n]) {
			n++
		}
		kept = append(kept, c.forgiveOption(rest[:n:n], environ)...)
		rest = rest[n:]
	}
	c.args = kept
}

// forgiveOption handles one option word and the value words after it.
func (c *commandLine) forgiveOption(words, environ []string) []string {
	long, isLong := strings.CutPrefix(words[0], "--")
	name, _, _ := strings.Cut(long, "=")
	if !isLong || name == "" || name == "help" || name == "version" {
		return words
	}
	opt, known := c.option(name)
	switch {
	case !known && (name == "no-logger" || name == "no_logger"):
		return nil
	case !known:
		c.note("option --%s is unknown and ignored", printable(name))
		return nil
	case opt.boolean() && len(words) == 2 && (words[1] == "true" || words[1] == "false"):
		return []string{words[0] + "=" + words[1]}
	}
	for i := 1; i < len(words); i++ {
		// No shell has expanded these words if they came as Marathon's args.
		if variable, ok := strings.CutPrefix(words[i], "$"); ok {
			if value, ok := lookupEnviron(environ, strings.Trim(variable, "{}")); ok {
				c.note("%s in --%s is replaced from the environment, since no shell has expanded it", words[i], name)
				words = slices.Clone(words)
				words[i] = value
			}
		}
	}
	return words
}

// confFiles turns the files of the packages' directory into options: the name is the
// option, the content its value; a name that starts with a question mark is a bare option.
func (c *commandLine) confFiles(root fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(root, confDir)
	if err != nil {
		return nil, usageErrorf("read options from /%s: %s", confDir, cause(err))
	}
	var words, names []string
	for _, e := range entries {
		file := path.Join(confDir, e.Name())
		info, err := fs.Stat(root, file)
		if err == nil && !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name, bare := strings.CutPrefix(e.Name(), "?")
		content, rerr := fs.ReadFile(root, file)
		if rerr != nil && !bare {
			return nil, usageErrorf("read option '%s': %s", printable(name), cause(rerr))
		}
		opt, ok := c.option(name)
		if !ok {
			return nil, usageErrorf("%s (the file /%s)", unknownOption(name, c.table), printable(file))
		}
		if bare {
			words = append(words, "--"+name)
		} else {
			words = append(words, wordsFor(opt, strings.TrimRight(string(content), "\r\n"))...)
		}
		names = append(names, name)
	}
	c.note("options of /%s: %s", confDir, strings.Join(names, " "))
	return words, nil
}

// mesosMaster takes master and ZooKeeper hosts from the file that Mesos's own packages create.
func (c *commandLine) mesosMaster(root fs.FS) []string {
	content, err := fs.ReadFile(root, mesosZK)
	master := strings.TrimSpace(string(content))
	if err != nil || master == "" {
		return nil
	}
	words := []string{"--master=" + master}
	if rest, ok := strings.CutPrefix(master, "zk://"); ok {
		hosts, _, _ := strings.Cut(rest, "/")
		words = append(words, "--zk_hosts="+hosts)
	}
	return words
}

// variables turns CHRONOS_HTTP_PORT=8080 into --http_port=8080. A variable that is not named after an
// option is ignored with a note: linked containers and Kubernetes set some with this prefix.
func (c *commandLine) variables(environ []string) []string {
	var words, others []string
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		key, value, _ := strings.Cut(entry, "=")
		name, ok := strings.CutPrefix(key, envStart)
		if !ok || ourVariable(name) {
			continue
		}
		opt, ok := c.option(strings.ToLower(name))
		value = strings.TrimSpace(value)
		switch {
		case !ok:
			others = append(others, key)
		case strings.HasPrefix(value, "tcp://"):
			c.note("environment variable %s=%s was set by an orchestrator and is ignored", key, printable(value))
		case opt.env == key: // it gives the default
		case value != "" || opt.boolean():
			words = append(words, wordsFor(opt, value)...)
		}
	}
	if len(others) > 0 {
		c.note("environment variables that are not named after options are ignored: %s", strings.Join(others, " "))
	}
	return words
}

// ourVariable reports whether CHRONOS_<name> is something else than an option: what jobs and keepers
// get, and what the command line of a running instance's clients reads.
func ourVariable(name string) bool {
	switch name {
	case "URL", "TOKEN", "CREDENTIALS", "CREDENTIALS_FILE", "CA_FILE", "CALLBACK_TOKEN", "KEEPER":
		return true
	}
	return strings.HasPrefix(name, "JOB_") || strings.HasPrefix(name, "RESOURCE_")
}

// wordsFor returns the option with its value in one word, so that a value may
// start with a dash.
func wordsFor(opt option, value string) []string {
	if opt.boolean() && value == "" {
		return []string{"--" + opt.name}
	}
	return []string{"--" + opt.name + "=" + value}
}

func (c *commandLine) option(name string) (option, bool) {
	i := slices.IndexFunc(c.table, func(o option) bool { return o.name == name })
	if i < 0 {
		return option{}, false
	}
	return c.table[i], true
}

// lookupEnviron is os.LookupEnv on a list like that of os.Environ.
func lookupEnviron(environ []string, name string) (string, bool) {
	for _, entry := range environ {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value, true
		}
	}
	return "", false
}

// cause returns what is wrong with a file, without its name.
func cause(err error) string {
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		err = perr.Err
	}
	return printable(err.Error())
}

// rootFS returns the machine's file system for expandLegacy.
func rootFS() fs.FS { return os.DirFS("/") }
