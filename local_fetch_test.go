package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func newFetcher(t *testing.T) *fetcher {
	t.Helper()
	root, err := os.OpenRoot(filepath.Join(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &fetcher{root: root, limits: defaultFetchLimits}
}

// TestFetchForAPod: what a pod's document says is to be fetched is what its first container reads.
func TestFetchForAPod(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/tool" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "#!/bin/sh\n")
	}))
	t.Cleanup(server.Close)
	list := func(document string) string {
		pod := podOf(t, podOptions{image: "i", fetchImage: "chronos", plainUser: "root"}, document, podExtra{})
		init := pod["spec"].(map[string]any)["initContainers"].([]any)[0].(map[string]any)
		variable := init["env"].([]any)[0].(map[string]any)
		if variable["name"] != fetchVariable || !slices.Equal(init["args"].([]any), []any{fetchWord, sandboxPath}) {
			t.Fatalf("its first container is %v", init)
		}
		return variable["value"].(string)
	}
	const job = `{"name":"a","command":"./tool","schedule":"R/2030-01-01T00:00:00Z/P1D","fetch":[{"uri":"%s","executable":true}]}`
	dir := t.TempDir()
	if err := runFetch(t.Context(), dir, list(fmt.Sprintf(job, server.URL+"/tool"))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "tool"))
	if err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("the tool: %v, %v, want it executable", info, err)
	}
	if err := runFetch(t.Context(), dir, list(fmt.Sprintf(job, server.URL+"/none"))); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what is not there: %v", err)
	}
}

func tarball(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "text of " + h.Name
			h.Size = int64(len(text))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t *testing.T, mode fs.FileMode, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		h := &zip.FileHeader{Name: name}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("../../etc/passwd")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree lists the files below dir with their modes and content.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if target, err := os.Readlink(path); err == nil {
			s.WriteString(name + " -> " + target + "\n")
			return nil
		}
		text, err := os.ReadFile(path)
		info, _ := d.Info()
		if len(text) > 40 || bytes.ContainsRune(text, 0) {
			text = []byte("…")
		}
		s.WriteString(name + " " + info.Mode().String() + " " + string(text) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// bzip2Tar is a tar.bz2 of one file, "f", holding "bz\n": Go can't write that format.
const bzip2Tar = "QlpoOTFBWSZTWSyPcBcAAHD7hMmQAEDAAE+AAADxAJ4QAACACCAAVDSaGhNGQZMaCSp5QaZHqAaBX7mjuhBK4BI0iRFMbyLEkDB6w/bNakuGkDrxMev+Qx2tuRkYT9XBdKhEQGxdyRThQkCyPcBc"

func TestFetch(t *testing.T) {
	t.Parallel()
	plain, executable, no := tarball(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "./d/f", Typeflag: tar.TypeReg, Mode: 0o4755},
		tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../d/f"}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "d/f"}), true, false
	bz, err := base64.StdEncoding.DecodeString(bzip2Tar)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"a.tar": plain, "a.tgz": gzipped(t, plain), "a.tar.gz": gzipped(t, plain), "a.tar.bz2": bz,
		"a.zip": zipped(t, 0o755, "x/run.sh", "y"), "note.gz": gzipped(t, []byte("note")), "run.sh": []byte("echo"),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text, ok := files[strings.TrimPrefix(r.URL.Path, "/dir/")]; ok {
			w.Write(text)
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "local.txt"), []byte("here"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := "sub/renamed.sh"
	unpacked := "d/f -rwxr-xr-x text of ./d/f\nd/l -> ../d/f\nh -rwxr-xr-x text of ./d/f\n"
	for _, tt := range []struct {
		name string
		uri  mesos.CommandInfo_URI
		want string
	}{
		{"plain", mesos.CommandInfo_URI{Value: "http:run.sh"}, "run.sh -rw-r--r-- echo\n"},
		{"query", mesos.CommandInfo_URI{Value: "http:run.sh?v=1"}, "run.sh?v=1 -rw-r--r-- echo\n"},
		{"executable", mesos.CommandInfo_URI{Value: "http:run.sh", Executable: &executable}, "run.sh -rwxr-xr-x echo\n"},
		{"output file", mesos.CommandInfo_URI{Value: "http:run.sh", OutputFile: &out}, "sub/renamed.sh -rw-r--r-- echo\n"},
		{"tar", mesos.CommandInfo_URI{Value: "http:a.tar"}, "a.tar -rw-r--r-- …\n" + unpacked},
		{"tgz", mesos.CommandInfo_URI{Value: "http:a.tgz"}, "a.tgz -rw-r--r-- …\n" + unpacked},
		{"tar.gz", mesos.CommandInfo_URI{Value: "http:a.tar.gz"}, "a.tar.gz -rw-r--r-- …\n" + unpacked},
		{"tar.bz2", mesos.CommandInfo_URI{Value: "http:a.tar.bz2"}, "a.tar.bz2 -rw-r--r-- …\nf -rw-r--r-- bz\n\n"},
		{"zip", mesos.CommandInfo_URI{Value: "http:a.zip"}, "a.zip -rw-r--r-- …\nx/run.sh -rwxr-xr-x ../../etc/passwd\ny -rwxr-xr-x ../../etc/passwd\n"},
		{"gz", mesos.CommandInfo_URI{Value: "http:note.gz"}, "note -rw-r--r-- note\nnote.gz -rw-r--r-- …\n"},
		{"not extracted", mesos.CommandInfo_URI{Value: "http:a.tar", Extract: &no}, "a.tar -rw-r--r-- …\n"},
		{"path", mesos.CommandInfo_URI{Value: dir + "/local.txt"}, "local.txt -rw-r--r-- here\n"},
		{"file URL", mesos.CommandInfo_URI{Value: "file://" + dir + "/local.txt"}, "local.txt -rw-r--r-- here\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.uri.Value = strings.Replace(tt.uri.Value, "http:", server.URL+"/dir/", 1)
			f := newFetcher(t)
			if err := f.fetch(t.Context(), tt.uri); err != nil {
				t.Fatalf("fetch(%q) = %v", tt.uri.Value, err)
			}
			if got := tree(t, f.root.Name()); got != tt.want {
				t.Errorf("fetch(%q) left\n%s, want\n%s", tt.uri.Value, got, tt.want)
			}
		})
	}
}

func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	up, abs, dot := "../x", "/tmp/x", "."
	for _, tt := range []struct {
		uri  mesos.CommandInfo_URI
		want string
	}{
		{mesos.CommandInfo_URI{Value: "ftp://h/x"}, `scheme "ftp" is not supported on this machine, only http, https and file`},
		{mesos.CommandInfo_URI{Value: "relative"}, "it is neither an absolute path nor a URL"},
		{mesos.CommandInfo_URI{Value: "http://h/x/"}, "it names no file"},
		{mesos.CommandInfo_URI{Value: "/etc/passwd", OutputFile: &up}, `file name "../x" leads out of the working directory`},
		{mesos.CommandInfo_URI{Value: "/etc/passwd", OutputFile: &abs}, `file name "/tmp/x" leads out of the working directory`},
		{mesos.CommandInfo_URI{Value: "/etc/passwd", OutputFile: &dot}, `file name "." leads out of the working directory`},
		{mesos.CommandInfo_URI{Value: "/dev/zero"}, "it is not a plain file"},
		{mesos.CommandInfo_URI{Value: "/etc/.."}, `file name ".." leads out of the working directory`},
	} {
		f := newFetcher(t)
		if err := f.fetch(t.Context(), tt.uri); err == nil || err.Error() != tt.want {
			t.Errorf("fetch(%q) = %v, want %s", tt.uri.Value, err, tt.want)
		}
		if got := tree(t, f.root.Name()); got != "" {
			t.Errorf("fetch(%q) left %s", tt.uri.Value, got)
		}
	}
}

func TestExtractRefusesEvilArchives(t *testing.T) {
	t.Parallel()
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	hard := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
	}
	for _, tt := range []struct {
		name string
		file string
		text []byte
	}{
		{"parent", "a.tar", tarball(t, reg("../evil"))},
		{"hidden parent", "a.tar", tarball(t, reg("d/../../evil"))},
		{"absolute", "a.tar", tarball(t, reg("/tmp/chronos-evil"))},
		{"absolute link", "a.tar", tarball(t, link("l", "/etc"))},
		{"link out", "a.tar", tarball(t, link("d/l", "../../etc"))},
		{"link out behind a link", "a.tar", tarball(t, link("p", "."), link("l", "p/.."))},
		{"link in a link", "a.tar", tarball(t, link("p", "."), link("p/p/l", "../../etc"))},
		{"file through a link", "a.tar", tarball(t, link("p", "."), reg("p/f"))},
		{"hard link out", "a.tar", tarball(t, hard("h", "../../etc/passwd"))},
		{"hard link to a link", "a.tar", tarball(t, reg("d/f"), link("d/e/l", "../f"), hard("h", "d/e/l"))},
		{"device", "a.tar", tarball(t, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3})},
		{"fifo", "a.tar", tarball(t, tar.Header{Name: "fifo", Typeflag: tar.TypeFifo})},
		{"truncated", "a.tgz", gzipped(t, tarball(t, reg("f")))[:40]},
		{"no gzip", "a.tgz", []byte("plain text")},
		{"zip parent", "a.zip", zipped(t, 0o644, "../evil")},
		{"zip absolute", "a.zip", zipped(t, 0o644, "/tmp/chronos-evil")},
		{"zip backslash", "a.zip", zipped(t, 0o644, `..\evil`)},
		{"zip link", "a.zip", zipped(t, 0o777|fs.ModeSymlink, "l")},
		{"zip garbage", "a.zip", []byte("plain text")},
		{"xz", "a.tar.xz", []byte("text")},
		{"bomb", "a.gz", gzipped(t, make([]byte, 1<<20))},
		{"many", "a.tar", tarball(t, make3(reg)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFetcher(t)
			f.limits = fetchLimits{bytes: 100_000, entries: 10, stall: time.Minute}
			if err := f.root.WriteFile(tt.file, tt.text, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := f.extract(t.Context(), tt.file); err == nil {
				t.Errorf("extract(%s) = nil, left\n%s", tt.name, tree(t, f.root.Name()))
			}
			above, err := os.ReadDir(filepath.Dir(f.root.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat("/tmp/chronos-evil"); err == nil || len(above) != 1 {
				t.Errorf("extract(%s) wrote outside: %v", tt.name, above)
			}
		})
	}
}

// make3 returns more entries than the test allows.
func make3(reg func(string) tar.Header) []tar.Header {
	var all []tar.Header
	for c := 'a'; c < 'p'; c++ {
		all = append(all, reg(string(c)))
	}
	return all
}

func TestFetchNamesTheURIButNoSecret(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	m := startLocal(t, t.TempDir(), localOptions{})
	host := strings.TrimPrefix(server.URL, "http://")
	task := shellTask(runIDFor("secret"), "true")
	task.Command.URIs = []mesos.CommandInfo_URI{{Value: "http://me:pass@" + host + "/x.sh?token=abc"}}
	m.launch(task)
	st := m.end(task.TaskID.Value)
	if want := "fetch http://…@" + host + "/x.sh?…: 404 Not Found"; st.GetState() != mesos.TASK_FAILED || st.GetMessage() != want {
		t.Errorf("fetch = %v %q, want %q", st.GetState(), st.GetMessage(), want)
	}
	refused := shellTask(runIDFor("refused"), "true")
	server.Close()
	refused.Command.URIs = task.Command.URIs
	m.launch(refused)
	last := m.end(refused.TaskID.Value)
	if got := last.GetMessage(); !strings.Contains(got, "connection refused") || strings.Contains(got, "pass") || strings.Contains(got, "abc") {
		t.Errorf("fetch from nobody = %q", got)
	}
}

func TestLocalKillDuringFetch(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	}))
	defer server.Close()
	m := startLocal(t, t.TempDir(), localOptions{})
	task := shellTask(runIDFor("fetching"), "true")
	task.Command.URIs = []mesos.CommandInfo_URI{{Value: server.URL + "/x"}}
	m.launch(task)
	<-reached
	m.kill(task.TaskID.Value, time.Hour)
	if st := m.end(task.TaskID.Value); st.GetState() != mesos.TASK_KILLED {
		t.Errorf("kill during fetch = %v %q", st.GetState(), st.GetMessage())
	}
}

func TestFetchGivesUpWhenNothingComes(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("some"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	f := newFetcher(t)
	f.limits.stall = 20 * time.Millisecond
	err := f.fetch(t.Context(), mesos.CommandInfo_URI{Value: server.URL + "/x"})
	if err == nil || errors.Is(err, context.Canceled) || err.Error() != "no data for 20ms" {
		t.Errorf("fetch from a silent server = %v", err)
	}
}
