package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A stateAccess is where backup and restore find the state: a running instance, or the
// directory of a stopped one.
type stateAccess struct {
	*remote
	dataDir        string
	replace, empty bool
	output         string
	argument       string
}

// parseAccess reads the command line of backup or restore.
func parseAccess(name, argument string, args []string, stdout io.Writer) (stateAccess, error) {
	fs := flag.NewFlagSet("chronos "+name, flag.ContinueOnError)
	fs.SetOutput(stdout)
	a := stateAccess{remote: remoteFlags(fs, os.Getenv)}
	fs.StringVar(&a.dataDir, "data_dir", "", "use the state in this data `directory` of a stopped instance with --master local")
	if name == "restore" {
		fs.BoolVar(&a.replace, "replace", false, "replace the state even if there are jobs")
		fs.BoolVar(&a.empty, "empty", false, "allow a backup that holds no jobs, which makes the state empty")
	} else {
		fs.StringVar(&a.output, "output", "", "write to this `file`, completely or not at all; default: standard output")
	}
	fs.Usage = func() {
		fmt.Fprintln(stdout, strings.TrimRight(fmt.Sprintf("usage: chronos %s [options] %s", name, argument), " "))
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return a, errHelp
	} else if err != nil {
		return a, &usageError{err.Error()} // printed by the flag set
	}
	want := 0
	if argument != "" {
		want = 1
	}
	if fs.NArg() != want {
		fs.Usage()
		return a, usageErrorf("%d arguments, want %d", fs.NArg(), want)
	}
	if a.dataDir == "" {
		if err := a.open(os.Getenv); err != nil {
			return a, err
		}
	}
	a.argument = fs.Arg(0)
	return a, nil
}

// backupCommand writes a backup of the whole state.
func backupCommand(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	a, err := parseAccess("backup", "", args, stdout)
	if err != nil {
		return err
	}
	fetch := func(to io.Writer) error { return a.call(ctx, http.MethodGet, "backup", nil, to) }
	if a.dataDir != "" {
		fetch = func(to io.Writer) error { return a.backupDir(ctx, to) }
	}
	if a.output == "" {
		return checked(stdout, fetch)
	}
	return writeWhole(a.output, func(f io.Writer) error { return checked(f, fetch) })
}

// checked passes a document on while it is fetched, and reports whether it is a complete backup.
func checked(to io.Writer, fetch func(io.Writer) error) error {
	document, in := io.Pipe()
	fetched := make(chan error, 1)
	go func() {
		err := fetch(in)
		in.CloseWithError(err)
		fetched <- err
	}()
	_, err := readBackup(io.TeeReader(document, to), nil, nil)
	document.CloseWithError(err)
	return cmp.Or(<-fetched, err)
}

// restoreCommand replaces the state with a backup.
func restoreCommand(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	a, err := parseAccess("restore", "file", args, stdout)
	if err != nil {
		return err
	}
	document := stdin
	if a.argument != "-" {
		f, err := os.Open(a.argument)
		if err != nil {
			return err
		}
		defer f.Close()
		document = f
	}
	var restored backupSummary
	if a.dataDir != "" {
		restored, err = a.restoreDir(ctx, document, stdout)
	} else {
		restored, err = a.restore(ctx, document)
	}
	if err == nil {
		fmt.Fprintf(stdout, "restored %d jobs as of %s\n", restored.jobs, restored.At)
	}
	return err
}

// restore makes a running instance restore a document. Faults of the document are found here while it
// is sent, and abort the request.
func (a stateAccess) restore(ctx context.Context, document io.Reader) (backupSummary, error) {
	query := url.Values{}
	if a.replace {
		query.Set("replace", "true")
	}
	if a.empty {
		query.Set("empty", "true")
	}
	var s backupSummary
	sent, in := io.Pipe()
	read := make(chan error, 1)
	go func() {
		var err error
		s, err = readBackup(io.TeeReader(document, in), nil, nil)
		in.CloseWithError(err)
		read <- err
	}()
	err := a.call(ctx, http.MethodPost, "restore?"+query.Encode(), sent, io.Discard)
	sent.CloseWithError(io.ErrClosedPipe)
	if wrong := <-read; wrong != nil && !errors.Is(wrong, io.ErrClosedPipe) {
		return s, wrong
	}
	return s, err
}

// call sends one request to the instance and copies the body of its answer.
func (a stateAccess) call(ctx context.Context, method, path string, body io.Reader, to io.Writer) error {
	res, err := a.remote.send(ctx, method, "/v1/scheduler/"+path, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(to, res.Body)
	return err
}

func (a stateAccess) backupDir(ctx context.Context, to io.Writer) error {
	st, err := a.openDir()
	if err != nil {
		return err
	}
	defer st.Close()
	if slices.Contains(st.allKeys(), restoreMarker) {
		return errors.New("a restore was interrupted; start the instance once, or restore again")
	}
	return writeBackup(to, newBackupHead(0, time.Now()), storedPages(ctx, st))
}

func (a stateAccess) restoreDir(ctx context.Context, document io.Reader, stdout io.Writer) (backupSummary, error) {
	if err := os.MkdirAll(a.dataDir, 0o700); err != nil {
		return backupSummary{}, err
	}
	quiet := slog.New(slog.DiscardHandler)
	st, err := openFileStore(a.dataDir, quiet)
	if damage, ok := errors.AsType[*damageError](err); ok {
		// What is left of the state is kept in a copy, so nothing is destroyed that would need consent.
		var s backupSummary
		err := replaceDamaged(a.dataDir, damage, quiet, func(fresh store) (err error) {
			s, err = restoreInto(ctx, fresh, document, restoreOptions{true, a.empty}, quiet)
			return err
		})
		if err == nil && damage.copy != "" {
			fmt.Fprintln(stdout, "the damaged state is kept as", damage.copy)
		}
		return s, err
	}
	if err != nil {
		return backupSummary{}, err
	}
	s, err := restoreInto(ctx, st, document, restoreOptions{a.replace, a.empty}, quiet)
	return s, errors.Join(err, st.Close())
}

// openDir opens a state that exists.
func (a stateAccess) openDir() (*fileStore, error) {
	if _, err := os.Stat(filepath.Join(a.dataDir, logName)); err != nil {
		return nil, err
	}
	return openFileStore(a.dataDir, slog.New(slog.DiscardHandler))
}

// writeWhole writes a file that only we can read, completely or not at all, and replaces an existing one.
func writeWhole(name string, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := errors.Join(fill(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
