package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

const (
	// certificateCheck is the minimum time between two checks of the file.
	certificateCheck = 2 * time.Second
	// certificateNotice is how long before its end a certificate is warned about.
	certificateNotice = 14 * 24 * time.Hour
	// peerTimeout bounds a connection to another instance, with its handshake.
	peerTimeout = 5 * time.Second
)

// tlsOptions are what the --ssl_keystore_ flags say.
type tlsOptions struct{ Path, Password string }

// enabled reports whether TLS is on: with a path and a password, as in the JVM versions, or
// with the path of a PEM file, which needs none.
func (o tlsOptions) enabled() bool {
	if o.Path == "" || o.Password != "" {
		return o.Path != ""
	}
	data, err := os.ReadFile(o.Path)
	return err == nil && keystoreKind(data) == kindPEM
}

// certificates serves those of one keystore file, and reads the file again when it has
// changed. If a changed file can't be used, the old certificates stay in use.
type certificates struct {
	options tlsOptions
	log     *slog.Logger
	serving atomic.Pointer[[]tls.Certificate] // never empty
	looked  atomic.Int64                      // when the file was looked at last, ns

	looking sync.Mutex
	stamp   fileStamp
}

// fileStamp distinguishes states of a file.
type fileStamp struct {
	modified time.Time
	size     int64
}

// newCertificates reads the keystore: JKS, PKCS12 or PEM, distinguished by content.
func newCertificates(o tlsOptions, log *slog.Logger) (*certificates, error) {
	c := &certificates{options: o, log: log}
	stamp, err := stampOf(o.Path)
	if err != nil {
		return nil, unreadable(o.Path, err)
	}
	if err := c.load(time.Now()); err != nil {
		return nil, err
	}
	c.stamp = stamp
	c.looked.Store(time.Now().UnixNano())
	return c, nil
}

func unreadable(path string, err error) error {
	return fmt.Errorf("keystore %s is invalid or not readable: %w", path, err)
}

func stampOf(path string) (fileStamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{info.ModTime(), info.Size()}, nil
}

// config returns the http.Server.TLSConfig. It serves no version of TLS below 1.2.
func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.certificate}
}

// dialPeer connects to another instance. They share the keystore: an instance is trusted
// if it shows one of our certificates, or one with the right name that was signed by an authority in our chain
// or by one of the system's. Only this works with a keystore that keytool created
// on the spot, which no authority knows.
func (c *certificates) dialPeer(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         host,
		InsecureSkipVerify: true, // VerifyConnection does that
		VerifyConnection:   func(state tls.ConnectionState) error { return c.verifyPeer(host, state.PeerCertificates) },
	}}
	return d.DialContext(ctx, network, address)
}

// verifyPeer judges the chain that another instance shows; it has a leaf always.
func (c *certificates) verifyPeer(host string, chain []*x509.Certificate) error {
	c.refresh(time.Now())
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, own := range *c.serving.Load() {
		if own.Leaf.Equal(chain[0]) {
			return nil
		}
		for _, der := range own.Certificate[1:] {
			if authority, err := x509.ParseCertificate(der); err == nil {
				roots.AddCert(authority)
			}
		}
	}
	between := x509.NewCertPool()
	for _, one := range chain[1:] {
		between.AddCert(one)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between}); err != nil {
		return fmt.Errorf("certificate of instance %s is neither ours nor signed by a trusted authority: %w", host, err)
	}
	return nil
}

// expires returns when the first of the served certificates expires.
func (c *certificates) expires() time.Time {
	list := *c.serving.Load()
	end := list[0].Leaf.NotAfter
	for _, one := range list[1:] {
		if one.Leaf.NotAfter.Before(end) {
			end = one.Leaf.NotAfter
		}
	}
	return end
}

// certificate picks the one that suits the client, the first if none does.
func (c *certificates) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.refresh(time.Now())
	list := *c.serving.Load()
	for i := range list {
		if hello.SupportsCertificate(&list[i]) == nil {
			return &list[i], nil
		}
	}
	return &list[0], nil
}

// refresh loads the file again if it has changed. One handshake does that while others continue
// with what is loaded.
func (c *certificates) refresh(now time.Time) {
	if now.UnixNano()-c.looked.Load() < int64(certificateCheck) || !c.looking.TryLock() {
		return
	}
	defer c.looking.Unlock()
	c.looked.Store(now.UnixNano())
	stamp, err := stampOf(c.options.Path)
	if err != nil {
		stamp = fileStamp{}
	}
	if stamp == c.stamp {
		return
	}
	c.stamp = stamp
	if err == nil {
		err = c.load(now)
	} else {
		err = unreadable(c.options.Path, err)
	}
	if err != nil {
		c.log.Error("changed certificate can't be used, the old one stays in use", "error", err)
		return
	}
	c.log.Info("changed certificate in use", "path", c.options.Path, "expires", c.expires())
}

func (c *certificates) load(now time.Time) error {
	data, err := os.ReadFile(c.options.Path)
	if err != nil {
		return unreadable(c.options.Path, err)
	}
	list, err := readKeystore(data, c.options.Password)
	if err != nil {
		return unreadable(c.options.Path, err)
	}
	for _, one := range list {
		c.warnOfDates(one.Leaf, now)
	}
	c.serving.Store(&list)
	return nil
}

// warnOfDates warns about a certificate that clients will refuse, now or soon. It is served anyway.
func (c *certificates) warnOfDates(leaf *x509.Certificate, now time.Time) {
	log := c.log.With("path", c.options.Path, "subject", leaf.Subject.String())
	switch {
	case now.After(leaf.NotAfter):
		log.Warn("certificate has expired", "expired", leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		log.Warn("certificate is not valid yet", "from", leaf.NotBefore)
	case leaf.NotAfter.Sub(now) < certificateNotice:
		log.Warn("certificate expires soon", "expires", leaf.NotAfter)
	}
}

// The kinds of keystore, by content.
const (
	kindJKS    = "JKS"
	kindJCEKS  = "JCEKS"
	kindPKCS12 = "PKCS12"
	kindPEM    = "PEM"
)

func keystoreKind(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte{0xfe, 0xed, 0xfe, 0xed}):
		return kindJKS
	case bytes.HasPrefix(data, []byte{0xce, 0xce, 0xce, 0xce}):
		return kindJCEKS
	case bytes.HasPrefix(data, []byte{0x30}):
		return kindPKCS12
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return kindPEM
	}
	return ""
}

var (
	errWrongPassword = errors.New("the password is wrong")
	errNoKey         = errors.New("it has no private key with a certificate")
	errTornKeystore  = errors.New("it is torn or damaged")
)

// readKeystore returns the keys of a keystore with their chains, at least one.
func readKeystore(data []byte, password string) ([]tls.Certificate, error) {
	var list []tls.Certificate
	var err error
	switch keystoreKind(data) {
	case kindJKS:
		list, err = readJKS(data, password)
	case kindPKCS12:
		list, err = readPKCS12(data, password)
	case kindPEM:
		list, err = readPEM(data)
	case kindJCEKS:
		err = errors.New("it is of type JCEKS; convert it with keytool -importkeystore -deststoretype pkcs12")
	default:
		err = errors.New("it is neither a JKS nor a PKCS12 keystore nor PEM")
	}
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Leaf, err = x509.ParseCertificate(list[i].Certificate[0]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// readJKS returns every key that opens with the store's password, by alias. Jetty knows no other password.
func readJKS(data []byte, password string) ([]tls.Certificate, error) {
	if !wholeJKS(data) {
		return nil, errTornKeystore
	}
	store := keystore.New()
	if err := store.Load(bytes.NewReader(data), []byte(password)); err != nil {
		if err.Error() == "got invalid digest" {
			return nil, errWrongPassword
		}
		return nil, err
	}
	aliases := store.Aliases()
	slices.Sort(aliases)
	var list []tls.Certificate
	var failed error
	for _, alias := range aliases {
		if !store.IsPrivateKeyEntry(alias) {
			continue
		}
		one, err := jksCertificate(store, alias, password)
		if err != nil {
			failed = fmt.Errorf("read key %q: %w", alias, err)
			continue
		}
		list = append(list, one)
	}
	if len(list) == 0 {
		return nil, cmp.Or(failed, errNoKey)
	}
	return list, nil
}

// wholeJKS reports whether a JKS keystore is as long as it says. What reads it takes room for as many certificates
// as a file says that is torn, or still being written, and that may be more than there is memory for.
func wholeJKS(data []byte) bool {
	const key, trusted, digest = 1, 2, 20
	d := jksReader{rest: data}
	d.number(4) // the magic
	version := d.number(4)
	certificates := func(n uint64) {
		for ; n > 0 && !d.short; n-- {
			if version == 2 {
				d.skip(d.number(2)) // its type
			}
			d.skip(d.number(4))
		}
	}
	for entries := d.number(4); entries > 0 && !d.short; entries-- {
		tag := d.number(4)
		d.skip(d.number(2)) // the alias
		d.skip(8)           // the date
		switch tag {
		case key:
			d.skip(d.number(4))
			certificates(d.number(4))
		case trusted:
			certificates(1)
		default:
			return false
		}
	}
	d.skip(digest)
	return !d.short
}

// A jksReader walks through a keystore.
type jksReader struct {
	rest  []byte
	short bool // less was left than was to be read
}

func (d *jksReader) skip(n uint64) {
	if n > uint64(len(d.rest)) {
		d.rest, d.short = nil, true
		return
	}
	d.rest = d.rest[n:]
}

// number reads a number of so many bytes, 0 where there are fewer.
func (d *jksReader) number(size int) (n uint64) {
	at := d.rest
	if d.skip(uint64(size)); d.short {
		return 0
	}
	for _, b := range at[:size] {
		n = n<<8 | uint64(b)
	}
	return n
}

func jksCertificate(store keystore.KeyStore, alias, password string) (tls.Certificate, error) {
	entry, err := store.GetPrivateKeyEntry(alias, []byte(password))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("its password must be that of the store: %w", err)
	}
	if len(entry.CertificateChain) == 0 {
		return tls.Certificate{}, errNoKey
	}
	key, err := x509.ParsePKCS8PrivateKey(entry.PrivateKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	one := tls.Certificate{PrivateKey: key}
	for _, c := range entry.CertificateChain {
		one.Certificate = append(one.Certificate, c.Content)
	}
	return one, nil
}

func readPKCS12(data []byte, password string) ([]tls.Certificate, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(data, password)
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, errWrongPassword
	}
	if err != nil {
		if _, trustErr := pkcs12.DecodeTrustStore(data, password); trustErr == nil {
			return nil, errNoKey
		}
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("its key is of a kind that TLS can't use: %T", key)
	}
	one := tls.Certificate{PrivateKey: signer, Certificate: [][]byte{leaf.Raw}}
	for _, c := range chain {
		one.Certificate = append(one.Certificate, c.Raw)
	}
	return []tls.Certificate{one}, nil
}

// readPEM takes a file with a key and its chain, the leaf first.
func readPEM(data []byte) ([]tls.Certificate, error) {
	key, leaf := false, false
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("its key is encrypted; decrypt it with openssl pkey, or use a PKCS12 keystore")
		}
		leaf = leaf || block.Type == "CERTIFICATE"
		key = key || bytes.HasSuffix([]byte(block.Type), []byte("PRIVATE KEY"))
	}
	if !key || !leaf {
		return nil, errNoKey
	}
	one, err := tls.X509KeyPair(data, data)
	return []tls.Certificate{one}, err
}
