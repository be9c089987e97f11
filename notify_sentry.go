package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// sentryTagLimit is how many characters Sentry takes as the value of a tag.
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
	return cutText(strings.Join(strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\r' }), " "), sentryTagLimit, "")
}
