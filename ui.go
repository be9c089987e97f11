package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed ui
var uiFiles embed.FS

// uiPolicy lets the interface load what this instance serves, and nothing else. The page itself contains no style, and one
// script: for what has to be right, or is to be done, when nothing else can be loaded.
const uiPolicy = "default-src 'none'; script-src 'self' '%s'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'self'; require-trusted-types-for 'script'; trusted-types 'none'"

// A uiFile is one file of the interface.
type uiFile struct {
	data        []byte
	contentType string
	etag        string
}

// newUI returns the handler of the interface: / and /assets/, as in 3.0. It needs no leader.
func newUI() http.Handler {
	files := map[string]uiFile{}
	policy := ""
	err := fs.WalkDir(uiFiles, "ui", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := uiFiles.ReadFile(name)
		if err != nil {
			return err
		}
		at := "/assets/" + strings.TrimPrefix(name, "ui/")
		if at == "/assets/index.html" {
			at = "/"
			policy = fmt.Sprintf(uiPolicy, scriptHash(data))
		}
		sum := sha256.Sum256(data)
		files[at] = uiFile{data, uiType(name), `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	if err != nil {
		panic(err) // they are embedded in the program
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveUI(w, r, files, policy) })
}

// scriptHash returns what allows the one script that a page contains.
func scriptHash(page []byte) string {
	_, rest, _ := bytes.Cut(page, []byte("<script>"))
	script, _, _ := bytes.Cut(rest, []byte("</script>"))
	sum := sha256.Sum256(script)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func uiType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

func serveUI(w http.ResponseWriter, r *http.Request, files map[string]uiFile, policy string) {
	f, ok := files[r.URL.Path]
	if !ok {
		errorPage(w, http.StatusNotFound, "Not Found")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache") // revalidated each time, and answered with 304: all files are of the same version
	h.Set("ETag", f.etag)
	h.Del("Access-Control-Allow-Origin")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.data))
}
