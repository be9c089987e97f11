package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// What a trusted proxy says, and with what it proves that it may.
const (
	proxySecretHeader = "X-Chronos-Proxy-Secret"
	proxyUserHeader   = "X-Forwarded-User"
	proxyGroupsHeader = "X-Forwarded-Groups"
	// identityHeader is the word of another instance on who asks, with its signature.
	identityHeader = "X-Chronos-Identity"
	// requestIDHeader carries a name for one write. The first instance makes it
	// up, unless the client did; it is the same however often the write is sent on.
	requestIDHeader = "X-Chronos-Request-Id"
)

// dropIdentity takes out of a request what only a proxy or an instance may say.
func dropIdentity(h http.Header) {
	for _, name := range []string{proxySecretHeader, proxyUserHeader, proxyGroupsHeader, identityHeader} {
		h.Del(name)
	}
}

// minSecret is the least length of a secret in a file: one that can be guessed is none.
const minSecret = 16

// A secretFile is a secret in a file, read again when it has changed. An unusable one leaves the old in force.
type secretFile struct {
	path   string
	log    *slog.Logger
	secret atomic.Pointer[string]
	told   string // why the file can't be used, as was last logged
}

func openSecretFile(path string, log *slog.Logger) (*secretFile, error) {
	f := &secretFile{path: path, log: log}
	secret, err := readSecretFile(path)
	if err != nil {
		return nil, err
	}
	f.secret.Store(&secret)
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o006 != 0 {
		log.Warn("everybody on this machine may read or write the secret", "file", path, "mode", info.Mode().Perm())
	}
	return f, nil
}

func readSecretFile(path string) (string, error) {
	contents, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(contents))
	if len(secret) < minSecret {
		return "", fmt.Errorf("%s: the secret has %d characters; make one of at least %d with openssl rand -hex 32", path, len(secret), minSecret)
	}
	return secret, nil
}

func (f *secretFile) look() {
	secret, err := readSecretFile(f.path)
	if err != nil {
		if why := err.Error(); why != f.told {
			f.told = why
			f.log.Error("a secret can't be read; the old one stays in force", "file", f.path, "error", err)
		}
		return
	}
	f.told = ""
	f.secret.Store(&secret)
}

func (f *secretFile) value() string { return *f.secret.Load() }

// proxyOptions say which proxies are trusted.
type proxyOptions struct {
	addresses  []netip.Prefix
	secretFile string
	jvm        []string // host:port of JVM instances
}

// trustedProxies may say who asks.
type trustedProxies struct {
	addresses []netip.Prefix
	secret    *secretFile
	jvm       []netip.Addr // instances that send on all headers of a request, and do not say that they have
}

// newTrustedProxies returns nil if there are none. The names of JVM instances must be known to the resolver: what they
// send on must not be taken for a proxy's own word.
func newTrustedProxies(o proxyOptions, log *slog.Logger) (*trustedProxies, error) {
	switch {
	case len(o.addresses) == 0 && o.secretFile == "":
		return nil, nil
	case len(o.addresses) == 0:
		return nil, errors.New("--http_trusted_proxy_secret_file is of no use without --http_trusted_proxy")
	case o.secretFile == "":
		return nil, errors.New("--http_trusted_proxy needs --http_trusted_proxy_secret_file: jobs reach these addresses too")
	}
	secret, err := openSecretFile(o.secretFile, log)
	if err != nil {
		return nil, fmt.Errorf("--http_trusted_proxy_secret_file: %w", err)
	}
	p := &trustedProxies{addresses: o.addresses, secret: secret}
	for _, hostPort := range o.jvm {
		host, _, err := net.SplitHostPort(hostPort)
		if err != nil {
			return nil, fmt.Errorf("--jvm_instances: %w", err)
		}
		found, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
		if err != nil {
			return nil, fmt.Errorf("--jvm_instances: what these send on is not a trusted proxy's word, so their addresses must be known: %w", err)
		}
		for _, ip := range found {
			p.jvm = append(p.jvm, ip.Unmap())
		}
	}
	return p, nil
}

// vouches returns whom a trusted proxy names. ok means that the request is such a proxy's, whoever it names.
func (p *trustedProxies) vouches(r *http.Request) (name string, groups []string, ok bool) {
	if p == nil {
		return "", nil, false
	}
	given := sha256.Sum256([]byte(r.Header.Get(proxySecretHeader)))
	want := sha256.Sum256([]byte(p.secret.value()))
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return "", nil, false
	}
	ip := from.Addr().Unmap().WithZone("")
	if !slices.ContainsFunc(p.addresses, func(n netip.Prefix) bool { return n.Contains(ip) }) || slices.Contains(p.jvm, ip) {
		return "", nil, false
	}
	for part := range strings.SplitSeq(strings.Join(r.Header.Values(proxyGroupsHeader), ","), ",") {
		if part = strings.TrimSpace(part); part != "" && part != "*" {
			groups = append(groups, part)
		}
	}
	slices.Sort(groups)
	names := r.Header.Values(proxyUserHeader)
	if len(names) != 1 { // two are one of the proxy and one of somebody else
		return "", nil, true
	}
	return strings.TrimSpace(names[0]), slices.Compact(groups), true
}

// knockerOf says where a request comes from, for turns that are taken.
func knockerOf(r *http.Request) knocker {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	before := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	return knocker{address: host, client: strings.TrimSpace(before[strings.LastIndexByte(before, ',')+1:])}
}

// identityLasts is how old the word of another instance may be, and how far its clock ahead.
const identityLasts = 5 * time.Minute

// A voucher is what one instance tells another of who asks, for one sending of one request.
type voucher struct {
	User     string   `json:"user"`
	Groups   []string `json:"groups,omitempty"`
	Body     string   `json:"body"` // its digest
	Receiver string   `json:"receiver"`
	At       int64    `json:"at"` // ms since the epoch
}

// bodyDigest is how a voucher names a body.
func bodyDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sign returns the header that tells receiver of the one who asks. It is made anew for each sending.
func (f *secretFile) sign(id *caller, r *http.Request, requestID string, body []byte, receiver string, now time.Time) string {
	said := encode(voucher{User: id.name, Groups: id.groups, Body: bodyDigest(body), Receiver: receiver, At: now.UnixMilli()})
	text := base64.RawURLEncoding.EncodeToString(said)
	return text + "." + f.signature(text, r, requestID)
}

// signature binds a voucher to a request.
func (f *secretFile) signature(text string, r *http.Request, requestID string) string {
	mac := hmac.New(sha256.New, []byte(f.value()))
	for _, part := range []string{text, r.Method, r.URL.EscapedPath(), r.URL.RawQuery, requestID} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// signedIdentity reads what another instance says of who asks. Whoever reads the body compares it with the identity's.
func (a *access) signedIdentity(u *users, r *http.Request, header, self string) (*caller, error) {
	if a.instances == nil {
		return nil, errUnproven
	}
	text, signature, _ := strings.Cut(header, ".")
	want := a.instances.signature(text, r, r.Header.Get(requestIDHeader))
	if !hmac.Equal([]byte(signature), []byte(want)) {
		return nil, errUnproven
	}
	var v voucher
	said, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(said, &v)
	}
	age := time.Since(time.UnixMilli(v.At))
	if err != nil || v.User == "" || v.Receiver != self || age > identityLasts || age < -identityLasts {
		return nil, errUnproven
	}
	id, err := u.proxied(v.User, v.Groups)
	if err != nil {
		return nil, err
	}
	id.body = v.Body
	return id, nil
}
