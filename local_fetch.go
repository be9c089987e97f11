package main

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A fetcher brings files into a working directory, which nothing it writes can leave.
type fetcher struct {
	root   *os.Root
	limits fetchLimits
	owner  *syscall.Credential // of the job, who must be able to read the files that it names; nil for ourselves
}

// fetchLimits bound what all fetching of one run may write.
type fetchLimits struct {
	bytes   int64
	entries int // files and directories from archives
	stall   time.Duration
}

var errFetchTooLarge = errors.New("too large")

var defaultFetchLimits = fetchLimits{bytes: 16 << 30, entries: 1 << 20, stall: time.Minute}

// fetch copies what a URI names, then makes it executable or extracts it. Like
// Mesos it keeps an archive beside its content, and extracts nothing that is to
// be executed. There is no cache: files are fetched for every run.
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

// runFetch is the program behind fetchWord: it fetches into a directory what the environment says, for a task that
// starts there afterwards. What goes wrong is for whoever asks why the task has not started.
func runFetch(ctx context.Context, dir, list string) error {
	uris, err := parseFetchList(list)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return (&fetcher{root: root, limits: defaultFetchLimits}).fetchAll(ctx, uris)
}

// fetchAll fetches one after the other.
func (f *fetcher) fetchAll(ctx context.Context, uris []mesos.CommandInfo_URI) error {
	for _, uri := range uris {
		if err := f.fetch(ctx, uri); err != nil {
			return fmt.Errorf("fetch %s: %w", redactURI(uri.Value), err)
		}
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
	from, err := openAs(f.owner, path)
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
		return withoutURL(err)
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		// What was compressed on purpose has to arrive that way.
		DisableCompression: true,
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return stallCause(ctx, withoutURL(err))
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

// stallCause returns why a context ended, if that caused err.
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

// extract unpacks the file if its name is that of an archive, into the working
// directory itself.
func (f *fetcher) extract(ctx context.Context, name string) error {
	unpack := archiveFormat(name)
	if unpack == nil {
		return nil
	}
	file, err := f.root.Open(name)
	if err != nil {
		return fmt.Errorf("extract %q: %w", name, err)
	}
	defer file.Close()
	if err := unpack(f, ctx, file, name); err != nil {
		return fmt.Errorf("extract %q: %w", name, err)
	}
	return nil
}

// An unpacker extracts an archive of that name.
type unpacker func(f *fetcher, ctx context.Context, file *os.File, name string) error

func archiveFormat(name string) unpacker {
	name, _, _ = strings.Cut(name, "?")
	has := func(suffixes ...string) bool {
		for _, s := range suffixes {
			if strings.HasSuffix(name, s) {
				return true
			}
		}
		return false
	}
	switch {
	case has(".tar"):
		return (*fetcher).untar
	case has(".tar.gz", ".tgz"):
		return (*fetcher).untarGzip
	case has(".tar.bz2", ".tbz2"):
		return (*fetcher).untarBzip2
	case has(".zip"):
		return (*fetcher).unzip
	case has(".gz"):
		return (*fetcher).gunzip
	case has(".tar.xz", ".txz"):
		return func(*fetcher, context.Context, *os.File, string) error {
			return errors.New("xz is not supported on this machine")
		}
	}
	return nil
}

func (f *fetcher) untar(ctx context.Context, file *os.File, _ string) error {
	return f.tarEntries(ctx, file)
}

func (f *fetcher) untarGzip(ctx context.Context, file *os.File, _ string) error {
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	return f.tarEntries(ctx, unzipped)
}

func (f *fetcher) untarBzip2(ctx context.Context, file *os.File, _ string) error {
	return f.tarEntries(ctx, bzip2.NewReader(file))
}

func (f *fetcher) gunzip(ctx context.Context, file *os.File, name string) error {
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	name, _, _ = strings.Cut(name, "?")
	return f.write(ctx, strings.TrimSuffix(name, ".gz"), unzipped, 0o644)
}

func (f *fetcher) tarEntries(ctx context.Context, from io.Reader) error {
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f.tarEntry(ctx, h, r); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func (f *fetcher) tarEntry(ctx context.Context, h *tar.Header, r io.Reader) error {
	mode := fs.FileMode(h.Mode) & 0o777
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		return f.directory(ctx, h.Name)
	case tar.TypeReg:
		return f.file(ctx, h.Name, r, mode)
	case tar.TypeSymlink:
		return f.symlink(ctx, h.Name, h.Linkname)
	case tar.TypeLink:
		target, err := f.entry(ctx, h.Linkname)
		if err != nil {
			return err
		}
		name, err := f.entry(ctx, h.Name)
		if err != nil {
			return err
		}
		if info, err := f.root.Lstat(target); err != nil {
			return err
		} else if !info.Mode().IsRegular() {
			return fmt.Errorf("%q is not a plain file", target)
		}
		f.root.Remove(name)
		return f.root.Link(target, name)
	}
	return fmt.Errorf("type %q is not allowed", h.Typeflag)
}

func (f *fetcher) unzip(ctx context.Context, file *os.File, _ string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	archive, err := zip.NewReader(file, info.Size())
	if err != nil {
		return err
	}
	for _, z := range archive.File {
		if err := f.zipEntry(ctx, z); err != nil {
			return fmt.Errorf("entry %q: %w", z.Name, err)
		}
	}
	return nil
}

func (f *fetcher) zipEntry(ctx context.Context, z *zip.File) error {
	mode := z.Mode()
	if mode.IsDir() {
		return f.directory(ctx, z.Name)
	}
	r, err := z.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	switch {
	case mode.IsRegular():
		return f.file(ctx, z.Name, r, mode.Perm())
	case mode.Type() == fs.ModeSymlink:
		target, err := io.ReadAll(io.LimitReader(r, 4097))
		if err != nil {
			return err
		}
		return f.symlink(ctx, z.Name, string(target))
	}
	return fmt.Errorf("type %v is not allowed", mode.Type())
}

// entry checks the name of an entry, counts it, and makes the directories above
// it, which may not be symbolic links: a name then means the path it spells.
func (f *fetcher) entry(ctx context.Context, name string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if f.limits.entries--; f.limits.entries < 0 {
		return "", errFetchTooLarge
	}
	clean := filepath.Clean(name)
	if !filepath.IsLocal(name) || strings.ContainsRune(name, '\\') {
		return "", errors.New("it leads out of the working directory")
	}
	above := ""
	for dir := range strings.SplitSeq(filepath.Dir(clean), "/") {
		above = path.Join(above, dir)
		info, err := f.root.Lstat(above)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		if !info.IsDir() {
			return "", fmt.Errorf("%q is not a directory", above)
		}
	}
	return clean, f.root.MkdirAll(filepath.Dir(clean), 0o755)
}

func (f *fetcher) directory(ctx context.Context, name string) error {
	name, err := f.entry(ctx, name)
	if err != nil {
		return err
	}
	return f.root.MkdirAll(name, 0o755)
}

func (f *fetcher) file(ctx context.Context, name string, from io.Reader, mode fs.FileMode) error {
	name, err := f.entry(ctx, name)
	if err != nil {
		return err
	}
	// So that nothing is written through a link that an earlier entry has put there.
	f.root.Remove(name)
	return f.write(ctx, name, from, mode|0o600)
}

func (f *fetcher) symlink(ctx context.Context, name, target string) error {
	name, err := f.entry(ctx, name)
	if err != nil {
		return err
	}
	if !staysInside(filepath.Dir(name), target) {
		return fmt.Errorf("the link to %q leads out of the working directory", target)
	}
	f.root.Remove(name)
	return f.root.Symlink(target, name)
}

// staysInside reports whether a link in dir leads to a place inside. It may go up
// only at first: behind another link, .. is not what it looks like.
func staysInside(dir, target string) bool {
	if target == "" || filepath.IsAbs(target) || !filepath.IsLocal(path.Join(dir, target)) {
		return false
	}
	down := false
	for part := range strings.SplitSeq(target, "/") {
		if part == ".." && down {
			return false
		}
		down = down || part != ".." && part != "." && part != ""
	}
	return true
}
