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
	"os"
	"path"
	"path/filepath"
	"strings"
)

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
			return fmt.Errorf("%q is no plain file", target)
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
// it, which may not be symbolic links: a name then means the place it spells.
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
			return "", fmt.Errorf("%q is no directory", above)
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
	// Not through a link that an earlier entry has put there.
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
