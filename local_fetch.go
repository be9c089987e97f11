package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A fetcher brings files into a working directory, which nothing it writes can leave.
type fetcher struct {
	root   *os.Root
	limits fetchLimits
}

// fetchLimits bound what all fetching of one run may write.
type fetchLimits struct {
	bytes   int64
	entries int // files and directories out of archives
	stall   time.Duration
}

var errFetchTooLarge = errors.New("too large")

var defaultFetchLimits = fetchLimits{bytes: 16 << 30, entries: 1 << 20, stall: time.Minute}

// fetch copies what a URI names, then makes it executable or extracts it. Like
// Mesos it keeps an archive beside its content, and extracts nothing that is to
// be executed. The cache is not for us: files are fetched for every run.
func (f *fetcher) fetch(ctx context.Context, uri mesos.CommandInfo_URI) error {
	name, err := fetchName(uri)
	if err != nil {
		return err
	}
	if dir := filepath.Dir(name); dir != "." {
		if err := f.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := f.download(ctx, uri.Value, name); err != nil {
		return err
	}
	if uri.GetExecutable() {
		return f.root.Chmod(name, 0o755)
	}
	if uri.Extract == nil || *uri.Extract {
		return f.extract(ctx, name)
	}
	return nil
}

// fetchName is the file a URI is copied to: what follows the last slash, be that
// a query or not, as with Mesos.
func fetchName(uri mesos.CommandInfo_URI) (string, error) {
	name := uri.GetOutputFile()
	if name == "" {
		name = uri.Value[strings.LastIndexByte(uri.Value, '/')+1:]
		if name == "" {
			return "", errors.New("it names no file")
		}
	}
	if !filepath.IsLocal(name) || filepath.Clean(name) == "." {
		return "", fmt.Errorf("file name %q leads out of the working directory", name)
	}
	return filepath.Clean(name), nil
}

func (f *fetcher) download(ctx context.Context, uri, name string) error {
	scheme, rest, found := strings.Cut(uri, "://")
	switch {
	case !found && filepath.IsAbs(uri):
		return f.copyFile(ctx, uri, name)
	case !found:
		return errors.New("it is neither an absolute path nor a URL")
	case scheme == "file":
		path := strings.TrimPrefix(rest, "localhost")
		if !filepath.IsAbs(path) {
			return errors.New("a file URL needs an absolute path")
		}
		return f.copyFile(ctx, path, name)
	case scheme == "http" || scheme == "https":
		return f.get(ctx, uri, name)
	}
	return fmt.Errorf("scheme %q is not supported on this machine, only http, https and file", scheme)
}

func (f *fetcher) copyFile(ctx context.Context, path, name string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	if info, err := from.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return errors.New("it is not a plain file")
	}
	return f.write(ctx, name, from, 0o644)
}

func (f *fetcher) get(ctx context.Context, uri, name string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(f.limits.stall, func() { cancel(fmt.Errorf("no data for %v", f.limits.stall)) })
	defer stalled.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return urlCause(err)
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		// What was compressed on purpose is to arrive so.
		DisableCompression: true,
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return stallCause(ctx, urlCause(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	body := readerFunc(func(p []byte) (int, error) {
		stalled.Reset(f.limits.stall)
		return resp.Body.Read(p)
	})
	return stallCause(ctx, f.write(ctx, name, body, 0o644))
}

type readerFunc func([]byte) (int, error)

func (r readerFunc) Read(p []byte) (int, error) { return r(p) }

// urlCause strips the URL, which may hold a password, off an error of net/http.
func urlCause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// stallCause says why a context ended, where that is why err came about.
func stallCause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// write copies into a new or existing file, within the limits.
func (f *fetcher) write(ctx context.Context, name string, from io.Reader, mode os.FileMode) error {
	to, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	cancellable := readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return from.Read(p)
	})
	n, err := io.Copy(to, io.LimitReader(cancellable, f.limits.bytes+1))
	if f.limits.bytes -= n; f.limits.bytes < 0 && err == nil {
		err = errFetchTooLarge
	}
	return errors.Join(err, to.Close())
}

// redactURI leaves out of a URI what may be a secret: user, password and query.
func redactURI(uri string) string {
	if !strings.Contains(uri, "://") {
		return uri
	}
	u, err := url.Parse(uri)
	if err != nil {
		scheme, _, _ := strings.Cut(uri, "://")
		return scheme + "://…"
	}
	if u.User != nil {
		u.User = url.User("…")
	}
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	text, err := url.PathUnescape(u.String())
	if err != nil {
		return u.String()
	}
	return text
}
