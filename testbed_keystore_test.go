package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// storePassword is that of every keystore of the tests, and of the keys in it.
const storePassword = "changeit"

// An identity is a private key with its certificate, which is followed by that of the
// authority that signed it, unless it signed itself.
type identity struct {
	t     *testing.T
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate
}

// newIdentity makes one for a host name or an address, valid for 90 days as those of keytool.
func newIdentity(t *testing.T, name string, authority *identity) *identity {
	t.Helper()
	return datedIdentity(t, name, time.Now().Add(-time.Hour), 90*24*time.Hour, authority)
}

func datedIdentity(t *testing.T, name string, start time.Time, valid time.Duration, authority *identity) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: start, NotAfter: start.Add(valid), IsCA: authority == nil, BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(name); ip != nil {
		form.IPAddresses = []net.IP{ip}
	}
	parent, parentKey, above := form, key, []*x509.Certificate(nil)
	if authority != nil {
		parent, parentKey, above = authority.chain[0], authority.key, authority.chain
	}
	der, err := x509.CreateCertificate(rand.Reader, form, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{t, key, append([]*x509.Certificate{own}, above...)}
}

func (i *identity) file(content []byte) (path string) {
	i.t.Helper()
	path = filepath.Join(i.t.TempDir(), "keystore")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

func (i *identity) pkcs8() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	return der
}

// pkcs12File returns the path of a PKCS12 keystore with the identity.
func (i *identity) pkcs12File() string {
	i.t.Helper()
	data, err := pkcs12.Modern.Encode(i.key, i.chain[0], i.chain[1:], storePassword)
	if err != nil {
		i.t.Fatal(err)
	}
	return i.file(data)
}

// jksFile returns the path of a JKS keystore with the identity.
func (i *identity) jksFile() string {
	i.t.Helper()
	entry := keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: i.pkcs8()}
	for _, c := range i.chain {
		entry.CertificateChain = append(entry.CertificateChain, keystore.Certificate{Type: "X509", Content: c.Raw})
	}
	store := keystore.New()
	if err := store.SetPrivateKeyEntry("chronos", entry, []byte(storePassword)); err != nil {
		i.t.Fatal(err)
	}
	var data bytes.Buffer
	if err := store.Store(&data, []byte(storePassword)); err != nil {
		i.t.Fatal(err)
	}
	return i.file(data.Bytes())
}

func (i *identity) pemKey() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: i.pkcs8()})
}

func (i *identity) pemChain() (text []byte) {
	for _, c := range i.chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// pemFile returns the path of a PEM file with the key and its certificates.
func (i *identity) pemFile() string {
	i.t.Helper()
	return i.file(append(i.pemKey(), i.pemChain()...))
}

// certificates returns the identity as an instance serves it.
func (i *identity) certificates() *certificates {
	i.t.Helper()
	c, err := newCertificates(tlsOptions{Path: i.pemFile()}, slog.New(slog.DiscardHandler))
	if err != nil {
		i.t.Fatal(err)
	}
	return c
}
