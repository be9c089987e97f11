package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Exit statuses of the subcommands besides 0 for success and 1 for failure.
const (
	exitNoServer = 125 // run --wait: nothing is known of the run
	exitNoStatus = 126 // run --wait: the run failed without an exit status
	exitKilled   = 137 // run --wait: the run was killed; 128+9, as shells say it
)

// defaultURL is where an instance without options is reached on its machine.
const defaultURL = "http://localhost:8080"

// requestTimeout bounds a request that is answered at once: an instance holds one for up to 20 s while nobody leads.
const requestTimeout = time.Minute

// A remote is an instance that a subcommand talks to.
type remote struct {
	url         string
	credentials string // user:password
	file        string // that holds them
	token       string
	authority   string // file of certificates
	insecure    bool
	client      *http.Client
}

// remoteFlags adds the options that say which instance, and who asks.
func remoteFlags(fs *flag.FlagSet, environ func(string) string) *remote {
	r := &remote{token: environ("CHRONOS_TOKEN")}
	fs.StringVar(&r.url, "url", cmp.Or(environ("CHRONOS_URL"), defaultURL), "any instance, `http://host:port` and the path below which it is served; CHRONOS_URL of the environment")
	fs.StringVar(&r.credentials, "credentials", "", "`user:password`; better in CHRONOS_CREDENTIALS of the environment, or in a file")
	fs.StringVar(&r.file, "credentials_file", environ("CHRONOS_CREDENTIALS_FILE"), "read them from this `file`; CHRONOS_CREDENTIALS_FILE of the environment")
	fs.StringVar(&r.authority, "ca_file", environ("CHRONOS_CA_FILE"), "trust the certificates in this `file` (PEM) too; CHRONOS_CA_FILE of the environment")
	fs.BoolVar(&r.insecure, "insecure", false, "do not check the instance's certificate")
	return r
}

// open prepares for requests, when the options are known. What the command line says counts before a file, and that
// before the environment.
func (r *remote) open(environ func(string) string) error {
	base, err := url.Parse(r.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return fmt.Errorf("--url %q: want http://host:port or https://host:port", r.url)
	}
	if r.credentials == "" && r.file != "" {
		text, err := os.ReadFile(r.file)
		if err != nil {
			return fmt.Errorf("read credentials: %w", err)
		}
		r.credentials = strings.TrimSpace(string(text))
	}
	r.credentials = cmp.Or(r.credentials, environ("CHRONOS_CREDENTIALS"), environ("MESOSPHERE_HTTP_CREDENTIALS"))
	config := &tls.Config{InsecureSkipVerify: r.insecure}
	if r.authority != "" {
		text, err := os.ReadFile(r.authority)
		if err != nil {
			return fmt.Errorf("read certificates: %w", err)
		}
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool()
		}
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("read certificates: %s holds none in PEM form", r.authority)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	r.client = &http.Client{Transport: transport}
	return nil
}

// A statusError is an answer that is no success.
type statusError struct {
	status  int
	request string
	text    string
}

func (e *statusError) Error() string {
	switch {
	case e.status == http.StatusUnauthorized:
		return e.request + ": the instance asks for a user and a password (--credentials, CHRONOS_CREDENTIALS)"
	case e.text == "":
		return fmt.Sprintf("%s: %d %s", e.request, e.status, http.StatusText(e.status))
	}
	return fmt.Sprintf("%s: %s", e.request, e.text)
}

// send sends one request, with pairs of a header and its value, and returns the answer, if it is a success. The caller closes its body.
func (r *remote) send(ctx context.Context, method, path string, body io.Reader, headers ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(r.url, "/")+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", typeJSON)
		req.Header.Set("Expect", "100-continue") // so that nothing is sent to an instance that refuses
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if user, password, ok := strings.Cut(r.credentials, ":"); ok {
		req.SetBasicAuth(user, password)
	} else if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, unreachable(r.url, err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4000))
		return nil, &statusError{res.StatusCode, method + " " + req.URL.Path, refusalText(text)}
	}
	return res, nil
}

// unreachable says what a newcomer has to know when nobody answers.
func unreachable(address string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("no instance answers at %s (%w): say with --url or CHRONOS_URL where one runs", address, op.Err)
	}
	return err
}

// refusalText is the text of an error in either form of the API.
func refusalText(body []byte) string {
	var document struct{ Message string }
	if json.Unmarshal(body, &document) == nil && document.Message != "" {
		return document.Message
	}
	text := strings.TrimSpace(string(body))
	if strings.HasPrefix(text, "<") {
		return "" // a page of a proxy
	}
	return text
}

// read answers what a GET does.
func (r *remote) read(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := r.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// readInto decodes what a GET answers.
func (r *remote) readInto(ctx context.Context, path string, into any) error {
	text, err := r.read(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("GET %s: %s does not answer as chronos does: %w", path, r.url, err)
	}
	return nil
}

// change sends a request that answers nothing, and returns the headers of the answer.
func (r *remote) change(ctx context.Context, method, path string, body io.Reader) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := r.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.Header, err
}

// jobPath is where a job is, or something of it.
func jobPath(what, name string) string { return "/scheduler/" + what + "/" + url.PathEscape(name) }
