package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const userUsage = `Usage: chronos user add [--file FILE] NAME ROLE [SCOPE[,SCOPE...]]

Reads a password from the standard input and writes the line of a user for the
file of --http_users_file: into FILE, in place of the line that NAME has there,
or to the standard output. ROLE is read, run, edit or admin, SCOPE the beginning of
jobs' names or owner=OWNER.
`

const tokenUsage = `Usage: chronos token [--file FILE] NAME [ROLE [SCOPE[,SCOPE...]]]

Makes a token for a machine, to be sent as "Authorization: Bearer TOKEN". It
prints the token, which is kept nowhere, and writes the line that knows it: into
FILE, or to the standard output. ROLE is run if none is given.
`

// userCommand is chronos user add.
func userCommand(_ context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 0 || args[0] != "add" {
		return explainUsage(stdout, userUsage, args)
	}
	file, words, err := userWords(args[1:], stdout, userUsage)
	if err != nil {
		return err
	}
	if len(words) < 2 || len(words) > 3 {
		return explainUsage(stdout, userUsage, words)
	}
	password, err := readPassword(stdin, stdout)
	if err != nil {
		return err
	}
	hash, err := hashPassword(password)
	if err != nil {
		return fmt.Errorf("use another password: %w", err)
	}
	return writeUser(file, words[0], hash, words[1:], stdout)
}

// tokenCommand is chronos token.
func tokenCommand(_ context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	file, words, err := userWords(args, stdout, tokenUsage)
	if err != nil {
		return err
	}
	if len(words) == 0 || len(words) > 3 {
		return explainUsage(stdout, tokenUsage, words)
	}
	rights := words[1:]
	if len(rights) == 0 {
		rights = []string{runRole.String()}
	}
	token, mark := newToken()
	if _, err := userLine(words[0], mark, rights); err != nil {
		return err
	}
	fmt.Fprintln(stdout, token)
	return writeUser(file, words[0], mark, rights, stdout)
}

// userWords takes --file out of the arguments.
func userWords(args []string, stdout io.Writer, usage string) (file string, words []string, err error) {
	fs := flag.NewFlagSet("chronos", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&file, "file", "", "")
	for {
		switch err := fs.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprint(stdout, usage)
			return "", nil, errHelp
		case err != nil:
			return "", nil, err
		case fs.NArg() == 0:
			return file, words, nil
		}
		words = append(words, fs.Arg(0)) // options may also stand behind words
		args = fs.Args()[1:]
	}
}

// explainUsage is for words that say too little or too much.
func explainUsage(stdout io.Writer, usage string, words []string) error {
	fmt.Fprint(stdout, usage)
	if len(words) == 1 && (words[0] == "--help" || words[0] == "-h") {
		return errHelp
	}
	return &usageError{"wrong arguments"}
}

// readPassword reads a line. Where somebody types it, nobody reads it over his shoulder.
func readPassword(stdin io.Reader, stdout io.Writer) (string, error) {
	if f, ok := stdin.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			fmt.Fprint(stdout, "Password: ")
			defer fmt.Fprintln(stdout)
			terminal := func(what string) error {
				cmd := exec.Command("stty", what)
				cmd.Stdin = f
				return cmd.Run()
			}
			if terminal("-echo") == nil { // without stty it is seen, as everything that is typed
				defer terminal("echo")
			}
		}
	}
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("give a password on the standard input")
	}
	return line, nil
}

// userLine is the line of a user, which is refused here if the server would refuse it.
func userLine(name, mark string, rights []string) (string, error) {
	line := name + ":" + mark + ":" + strings.Join(rights, ":")
	if strings.ContainsAny(name, ":\n") {
		return "", fmt.Errorf("the name %q has a colon or a line end", name)
	}
	if _, err := parseUsers([]byte(line)); err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "line 1: "))
	}
	return line, nil
}

// writeUser writes a line into a file, in place of the one of the same name, or to stdout. The file is replaced at once, so that the
// server never reads a half of it; what in it is not ours to judge stays.
func writeUser(file, name, mark string, rights []string, stdout io.Writer) error {
	line, err := userLine(name, mark, rights)
	if err != nil {
		return err
	}
	if file == "" {
		_, err := fmt.Fprintln(stdout, line)
		return err
	}
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var text strings.Builder
	written := false
	for was := range strings.Lines(string(old)) {
		was = strings.TrimRight(was, "\r\n")
		if strings.HasPrefix(was, name+":") {
			if written {
				continue
			}
			was, written = line, true
		}
		text.WriteString(was + "\n")
	}
	if !written {
		text.WriteString(line + "\n")
	}
	if _, err := parseUsers([]byte(text.String())); err != nil {
		return fmt.Errorf("%s would be broken: %w", file, err)
	}
	return replaceFile(file, text.String())
}

// replaceFile writes a file beside the old one and puts it in its place, with its owner and mode.
func replaceFile(file, text string) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	next, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(next.Name())
	if info, err := os.Stat(file); err == nil {
		if err := keepOwner(next, info); err != nil {
			next.Close()
			return err
		}
	}
	_, err = next.WriteString(text)
	if err = errors.Join(err, next.Sync(), next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), file)
}

// keepOwner gives a file the mode and, as far as we may, the owner of another one.
func keepOwner(f *os.File, as os.FileInfo) error {
	if st, ok := as.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(st.Uid), int(st.Gid)) // who is not root keeps it
	}
	return f.Chmod(as.Mode().Perm())
}
