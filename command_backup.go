package main

import (
	"bytes"
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
	"strings"
	"time"
)

// A stateAccess is where backup and restore find the state: an instance that runs, or the
// directory of one that is stopped.
type stateAccess struct {
	url, credentials, dataDir string
	replace                   bool
	output                    string
	file                      string // the argument
}

// parseAccess reads the command line of backup or restore.
func parseAccess(name, argument string, args []string, stdout io.Writer) (stateAccess, error) {
	a := stateAccess{credentials: os.Getenv("MESOSPHERE_HTTP_CREDENTIALS")}
	fs := flag.NewFlagSet("chronos "+name, flag.ContinueOnError)
	fs.SetOutput(stdout)
	fs.StringVar(&a.url, "url", "http://localhost:8080", "any instance that runs, `http://host:port` and the path below which it is served")
	fs.StringVar(&a.credentials, "credentials", a.credentials, "`user:password`, if it asks for them; default: MESOSPHERE_HTTP_CREDENTIALS of the environment")
	fs.StringVar(&a.dataDir, "data_dir", "", "the state below this `directory` of a stopped instance with --master local")
	if name == "restore" {
		fs.BoolVar(&a.replace, "replace", false, "replace the state even if there are jobs")
	} else {
		fs.StringVar(&a.output, "output", "", "write to this `file`, as a whole or not at all; default: standard output")
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
	a.file = fs.Arg(0)
	return a, nil
}

// backupCommand writes a backup of the whole state.
func backupCommand(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	a, err := parseAccess("backup", "", args, stdout)
	if err != nil {
		return err
	}
	var document bytes.Buffer
	if a.dataDir != "" {
		err = a.backupDir(ctx, &document)
	} else {
		err = a.call(ctx, http.MethodGet, "backup", nil, &document)
	}
	if err != nil {
		return err
	}
	if _, err := readBackup(bytes.NewReader(document.Bytes())); err != nil {
		return err
	}
	if a.output == "" {
		_, err = stdout.Write(document.Bytes())
		return err
	}
	return writeWhole(a.output, document.Bytes())
}

// restoreCommand makes a backup the state.
func restoreCommand(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	a, err := parseAccess("restore", "file", args, stdout)
	if err != nil {
		return err
	}
	var document []byte
	if a.file == "-" {
		document, err = io.ReadAll(stdin)
	} else {
		document, err = os.ReadFile(a.file)
	}
	if err != nil {
		return err
	}
	b, err := readBackup(bytes.NewReader(document))
	if err != nil {
		return err
	}
	if a.dataDir != "" {
		err = a.restoreDir(ctx, b, stdout)
	} else {
		path := "restore"
		if a.replace {
			path += "?replace=true"
		}
		err = a.call(ctx, http.MethodPost, path, document, io.Discard)
	}
	if err == nil {
		fmt.Fprintf(stdout, "restored %d jobs as of %s\n", b.jobs(), b.At)
	}
	return err
}

// call sends one request to the instance and copies the body of its answer.
func (a stateAccess) call(ctx context.Context, method, path string, body []byte, to io.Writer) error {
	base, err := url.Parse(a.url)
	if err != nil || base.Host == "" {
		return fmt.Errorf("--url %q: want http://host:port", a.url)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(a.url, "/")+"/v1/scheduler/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", typeJSON)
	}
	if user, password, ok := strings.Cut(a.credentials, ":"); ok {
		req.SetBasicAuth(user, password)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
		return fmt.Errorf("%s %s: %s: %s", method, req.URL.Redacted(), res.Status, text)
	}
	_, err = io.Copy(to, res.Body)
	return err
}

func (a stateAccess) backupDir(ctx context.Context, to io.Writer) error {
	st, err := a.openDir()
	if err != nil {
		return err
	}
	defer st.Close()
	records, err := st.load(ctx)
	if records[restoreMarker] != nil {
		return errors.New("a restore was cut off; start the instance once, or restore again")
	}
	b, err := newBackup(records, err, 0, time.Now())
	if err != nil {
		return err
	}
	return b.write(to)
}

func (a stateAccess) restoreDir(ctx context.Context, b *backup, stdout io.Writer) error {
	if err := os.MkdirAll(a.dataDir, 0o700); err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	st, err := openFileStore(a.dataDir, quiet)
	if damage, ok := errors.AsType[*damageError](err); ok {
		// What is left of the state is kept in a copy, so nothing is destroyed that a person would have to agree to.
		err := replaceDamaged(a.dataDir, damage, quiet, func(fresh store) error { return restoreInto(ctx, fresh, b, true, quiet) })
		if err == nil && damage.copy != "" {
			fmt.Fprintln(stdout, "the damaged state is kept as", damage.copy)
		}
		return err
	}
	if err != nil {
		return err
	}
	return errors.Join(restoreInto(ctx, st, b, a.replace, quiet), st.Close())
}

// openDir opens a state that exists.
func (a stateAccess) openDir() (*fileStore, error) {
	if _, err := os.Stat(filepath.Join(a.dataDir, logName)); err != nil {
		return nil, err
	}
	return openFileStore(a.dataDir, slog.New(slog.DiscardHandler))
}

// writeWhole writes a file that only we can read, and replaces one of that name.
func writeWhole(name string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, werr := f.Write(content)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
