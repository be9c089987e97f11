package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A poster posts JSON documents to one URL. The URL may itself be a secret (those of
// Slack are), so errors name only its host.
type poster struct {
	url    *url.URL
	header http.Header
	client *http.Client
}

func newPoster(flag, address string) (*poster, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("read --%s: %w", flag, withoutURL(err))
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("read --%s: it is not an http or https URL", flag)
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConns:          1,
		ForceAttemptHTTP2:     true,
	}
	client := &http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: keepPosting}
	return &poster{url: u, client: client, header: http.Header{"Content-Type": {"application/json"}, "User-Agent": {"chronos"}}}, nil
}

// keepPosting follows only redirects that keep the method: a GET would deliver nothing.
func keepPosting(r *http.Request, via []*http.Request) error {
	if r.Method != http.MethodPost || len(via) >= 5 {
		return http.ErrUseLastResponse
	}
	return nil
}

// post sends a document. Extra headers are names and values in turn.
func (p *poster) post(ctx context.Context, body []byte, header ...string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.String(), bytes.NewReader(body))
	if err != nil {
		return &deliveryError{err: withoutURL(err), final: true}
	}
	r.Header = p.header.Clone()
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return fmt.Errorf("post to %s: %w", p.url.Host, withoutURL(err))
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	refused := &deliveryError{
		err:   fmt.Errorf("post to %s: status %d: %s", p.url.Host, resp.StatusCode, excerpt(answer)),
		final: resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout,
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		refused.wait = time.Duration(min(seconds, 3600)) * time.Second
	}
	return refused
}

// excerpt returns the start of an answer, on one line.
func excerpt(answer []byte) string {
	return firstCharacters(strings.Join(strings.Fields(strings.ToValidUTF8(string(answer), "\uFFFD")), " "), 200)
}

// chatSender posts to a webhook of Slack or Mattermost.
type chatSender struct{ *poster }

func newChatSender(flag, address string) (chatSender, error) {
	p, err := newPoster(flag, address)
	return chatSender{p}, err
}

func (s chatSender) send(ctx context.Context, n notice) error { return s.post(ctx, chatBody(n)) }

func chatBody(n notice) []byte {
	text := n.subject
	if n.message != "" {
		text += ": " + n.message
	}
	w := &fieldWriter{}
	w.open("")
	w.text("text", text)
	w.close()
	return w.Bytes()
}

// callbackSender posts a flat object of texts to --http_notification_url.
type callbackSender struct{ *poster }

func newCallbackSender(address, credentials string) (callbackSender, error) {
	p, err := newPoster("http_notification_url", address)
	if err == nil && credentials != "" {
		p.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
	}
	return callbackSender{p}, err
}

func (s callbackSender) send(ctx context.Context, n notice) error {
	return s.post(ctx, callbackBody(n))
}

func callbackBody(n notice) []byte {
	w := &fieldWriter{}
	w.open("")
	for _, f := range []textField{{"subject", n.subject}, {"message", n.message}, {"to", n.owner}} {
		if f.value != "" {
			w.text(f.name, f.value)
		}
	}
	w.text("job", n.job.Name)
	w.text("command", n.job.Command)
	for _, f := range jobFields(n.job) {
		w.text(f.name, f.value)
	}
	w.close()
	return w.Bytes()
}

type textField struct{ name, value string }

// jobFields are the properties of a job that receivers get, all as texts, in the order of
// the JVM versions.
func jobFields(j *Job) []textField {
	return []textField{
		{"cpus", javaDouble(j.CPUs)},
		{"async", strconv.FormatBool(j.Async)},
		{"softError", strconv.FormatBool(j.SoftError)},
		{"epsilon", j.Epsilon.String()},
		{"errorCount", strconv.FormatInt(j.ErrorCount, 10)},
		{"errorsSinceLastSuccess", strconv.FormatInt(j.ErrorsSinceLastSuccess, 10)},
		{"executor", j.Executor},
		{"executorFlags", j.ExecutorFlags},
		{"lastError", j.LastError},
		{"lastSuccess", j.LastSuccess},
		{"mem", javaDouble(j.Mem)},
		{"retries", strconv.Itoa(j.Retries)},
		{"successCount", strconv.FormatInt(j.SuccessCount, 10)},
		{"uris", strings.Join(jobURIs(j), ",")},
	}
}

// jobURIs returns the URIs of fetch, then those of uris that are not among them.
func jobURIs(j *Job) []string {
	list := make([]string, 0, len(j.Fetch)+len(j.URIs))
	for _, f := range j.Fetch {
		list = append(list, f.URI)
	}
	for _, u := range j.URIs {
		if !slices.Contains(list[:len(j.Fetch)], u) {
			list = append(list, u)
		}
	}
	return list
}

// sentryTagLimit is how many characters Sentry accepts as the value of a tag.
const sentryTagLimit = 200

// sentrySender reports events over version 7 of Sentry's store protocol.
type sentrySender struct {
	*poster
	key, secret string // secret is "" in newer DSNs
	host        string
}

// newSentrySender reads a DSN, scheme://key[:secret]@host[:port]/[path/]project. The scheme may
// have a prefix such as "async+", and options may follow; both belong to the Java library.
func newSentrySender(dsn string) (sentrySender, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return sentrySender{}, fmt.Errorf("read --raven_dsn: %w", withoutURL(err))
	}
	project := path.Base(u.Path)
	if u.User.Username() == "" || project == "." || project == "/" {
		return sentrySender{}, errors.New("read --raven_dsn: it has no key or no project")
	}
	store := url.URL{Scheme: u.Scheme[strings.LastIndex(u.Scheme, "+")+1:], Host: u.Host,
		Path: path.Join("/", path.Dir(u.Path), "api", project, "store") + "/"}
	p, err := newPoster("raven_dsn", store.String())
	if err != nil {
		return sentrySender{}, err
	}
	secret, _ := u.User.Password()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return sentrySender{poster: p, key: u.User.Username(), secret: secret, host: host}, nil
}

func (s sentrySender) send(ctx context.Context, n notice) error {
	id := newUUID()
	return s.post(ctx, s.body(n, hex.EncodeToString(id[:])), "X-Sentry-Auth", s.auth(time.Now()))
}

func (s sentrySender) auth(now time.Time) string {
	header := "Sentry sentry_version=7, sentry_client=chronos/1, sentry_timestamp=" + strconv.FormatInt(now.Unix(), 10) + ", sentry_key=" + s.key
	if s.secret != "" {
		header += ", sentry_secret=" + s.secret
	}
	return header
}

func (s sentrySender) body(n notice, id string) []byte {
	message := n.subject
	if n.message != "" {
		message += "\n\n" + n.message
	}
	w := &fieldWriter{}
	w.open("")
	w.text("event_id", id)
	w.text("timestamp", n.time.UTC().Format("2006-01-02T15:04:05"))
	w.text("level", "error")
	w.text("logger", "chronos")
	w.text("platform", "other")
	w.text("server_name", s.host)
	w.text("message", message)
	w.open("tags")
	for _, f := range []textField{{"owner", n.owner}, {"job", n.job.Name}, {"command", n.job.Command}} {
		if value := tagValue(f.value); value != "" { // Sentry refuses empty ones
			w.text(f.name, value)
		}
	}
	w.close()
	w.open("extra")
	for _, f := range jobFields(n.job) {
		w.text(f.name, f.value)
	}
	w.close()
	w.close()
	return w.Bytes()
}

// tagValue makes a text fit for a tag, which has one line.
func tagValue(text string) string {
	return firstCharacters(strings.Join(strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\r' }), " "), sentryTagLimit)
}
