package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// kubeCallTimeout bounds every request but a watch.
	kubeCallTimeout = 30 * time.Second
	// kubePage is how many objects of a list come at once.
	kubePage = 500
	// watchTime is how long a watch is asked to last, watchSilence how much longer nothing may come: then the connection is dead.
	watchTime, watchSilence = 5 * time.Minute, 30 * time.Second
	// largestObject bounds what is read of one answer. A page of the largest pods is far below it.
	largestObject = 256 << 20
)

// A kubeError is the answer of an API server that refuses something.
type kubeError struct {
	status          int
	reason, message string
	after           time.Duration // when to try again, 0 if it does not say
}

func (e *kubeError) Error() string {
	switch e.status {
	case http.StatusUnauthorized:
		return "the API server does not know our credentials (401): " + e.message
	case http.StatusForbidden:
		return "the API server does not allow it (403): " + e.message
	}
	return fmt.Sprintf("the API server answered %d: %s", e.status, e.message)
}

// refusedWith reports whether an error is an answer with that status.
func refusedWith(err error, status int) bool {
	refused, ok := errors.AsType[*kubeError](err)
	return ok && refused.status == status
}

// A kubeAccess is where an API server is, and who we are to it.
type kubeAccess struct {
	server    string // https://host:port
	tls       *tls.Config
	token     func() (string, error) // of each request; nil for none
	namespace string                 // "" if it names none
}

// A kubeClient speaks to an API server about the objects of one namespace.
type kubeClient struct {
	access    kubeAccess
	namespace string
	http      *http.Client
	log       *slog.Logger
	ahead     atomic.Int64 // how far the server's clock is ahead of ours, in ms
}

func newKubeClient(access kubeAccess, namespace string, dial func(context.Context, string, string) (net.Conn, error), log *slog.Logger) *kubeClient {
	transport := &http.Transport{
		DialContext: dial, TLSClientConfig: access.tls, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxIdleConnsPerHost: kubeCallers + 2, IdleConnTimeout: time.Minute,
		HTTP2: &http.HTTP2Config{SendPingTimeout: watchSilence / 2, PingTimeout: watchSilence / 2},
	}
	if dial == nil {
		transport.Proxy = http.ProxyFromEnvironment
	}
	return &kubeClient{access: access, namespace: namespace, log: log, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// serverTime is what the clock of the API server says, from which the times of objects come.
func (c *kubeClient) serverTime() time.Time {
	return time.Now().Add(time.Duration(c.ahead.Load()) * time.Millisecond)
}

// A kubeCall is one request.
type kubeCall struct {
	method, path string
	query        url.Values
	body         any    // nil for none
	kind         string // of the body; JSON if ""
}

const (
	kubeJSON       = "application/json"
	strategicPatch = "application/strategic-merge-patch+json"
)

// podPath is the path of a pod, or of all pods if name is "".
func (c *kubeClient) podPath(name string) string {
	path := "/api/v1/namespaces/" + url.PathEscape(c.namespace) + "/pods"
	if name != "" {
		path += "/" + url.PathEscape(name)
	}
	return path
}

// do sends a request and decodes the answer into an object, unless that is nil.
func (c *kubeClient) do(ctx context.Context, call kubeCall, into any) error {
	ctx, cancel := context.WithTimeout(ctx, kubeCallTimeout)
	defer cancel()
	resp, err := c.open(ctx, call)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, largestObject)
	if into == nil {
		_, err = io.Copy(io.Discard, body) // so that the connection can be used again
	} else {
		err = json.NewDecoder(body).Decode(into)
	}
	if err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", call.method, call.path, err)
	}
	return nil
}

// open sends a request and returns the answer if it is a success.
func (c *kubeClient) open(ctx context.Context, call kubeCall) (*http.Response, error) {
	var body io.Reader
	if call.body != nil {
		text, err := json.Marshal(call.body)
		if err != nil {
			return nil, fmt.Errorf("encode the body of %s %s: %w", call.method, call.path, err)
		}
		body = bytes.NewReader(text)
	}
	address := c.access.server + call.path
	if len(call.query) > 0 {
		address += "?" + call.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, call.method, address, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "chronos/"+version)
	req.Header.Set("Accept", kubeJSON)
	if body != nil {
		req.Header.Set("Content-Type", kubeJSON)
		if call.kind != "" {
			req.Header.Set("Content-Type", call.kind)
		}
	}
	if c.access.token != nil {
		token, err := c.access.token()
		if err != nil {
			return nil, fmt.Errorf("%w: read the token: %w", errNotSent, err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the address is in the log already
		}
		return nil, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		c.ahead.Store(time.Until(at).Milliseconds())
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, kubeRefusalOf(resp)
}

// A kubeStatus is the document with which an API server refuses something.
type kubeStatus struct {
	Message, Reason string
	Code            int
	Details         struct{ RetryAfterSeconds int }
}

func (s *kubeStatus) err() *kubeError {
	return &kubeError{status: s.Code, reason: s.Reason, message: s.Message, after: time.Duration(s.Details.RetryAfterSeconds) * time.Second}
}

func kubeRefusalOf(resp *http.Response) *kubeError {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // a partial text will do
	var status kubeStatus
	if json.Unmarshal(text, &status) != nil || status.Message == "" {
		status.Message = cutText(strings.ToValidUTF8(strings.TrimSpace(string(text)), "?"), 1000, "...")
	}
	status.Code = resp.StatusCode
	refused := status.err()
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		refused.after = time.Duration(seconds) * time.Second
	}
	return refused
}

// A kubeList is one page of a list, of pods or nodes.
type kubeList[T any] struct {
	Metadata struct {
		ResourceVersion string
		Continue        string
	}
	Items []T
}

// listAll reads a whole list, page by page. If the server forgets where it was (410), it starts anew.
func listAll[T any](ctx context.Context, c *kubeClient, path, selector string) (all []T, at string, err error) {
	const attempts = 5
	for range attempts {
		all, at, err = listPages[T](ctx, c, path, selector)
		if !refusedWith(err, http.StatusGone) {
			break
		}
	}
	return all, at, err
}

func listPages[T any](ctx context.Context, c *kubeClient, path, selector string) (all []T, at string, err error) {
	query := url.Values{"limit": {strconv.Itoa(kubePage)}}
	if selector != "" {
		query.Set("labelSelector", selector)
	}
	for {
		var page kubeList[T]
		if err := c.do(ctx, kubeCall{method: http.MethodGet, path: path, query: query}, &page); err != nil {
			return nil, "", err
		}
		all = append(all, page.Items...)
		if page.Metadata.Continue == "" {
			return all, page.Metadata.ResourceVersion, nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

// A kubeEvent is one line of a watch.
type kubeEvent struct {
	Type   string // ADDED, MODIFIED, DELETED, BOOKMARK or ERROR
	Object json.RawMessage
}

// watchFrom hands on what happens to objects after a version, until the watch ends, and returns why it did; nil for
// the ordinary end. seen is called with the version of each event.
func (c *kubeClient) watchFrom(ctx context.Context, path, selector, from string, event func(kubeEvent) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(watchTime+watchSilence, cancel)
	defer silence.Stop()
	query := url.Values{
		"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {from},
		"timeoutSeconds": {strconv.Itoa(int(watchTime.Seconds()))},
	}
	if selector != "" {
		query.Set("labelSelector", selector)
	}
	resp, err := c.open(ctx, kubeCall{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var e kubeEvent
		if err := lines.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the watch: %w", err)
		}
		if e.Type == "ERROR" {
			var status kubeStatus
			if err := json.Unmarshal(e.Object, &status); err != nil {
				return fmt.Errorf("read the end of the watch: %w", err)
			}
			return status.err()
		}
		if err := event(e); err != nil {
			return err
		}
	}
}
