package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// handshake connects to a server with these certificates and returns the name in the one it got.
func handshake(t *testing.T, c *certificates, client *tls.Config) (name string, version uint16, err error) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", c.config())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := listener.Accept(); err == nil {
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	defer func() {
		listener.Close()
		<-served
	}()
	client.InsecureSkipVerify = true
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", listener.Addr().String(), client)
	if err != nil {
		return "", 0, err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	return state.PeerCertificates[0].Subject.CommonName, state.Version, nil
}

func TestTLSVersionsBelow12AreRefused(t *testing.T) {
	t.Parallel()
	c := newIdentity(t, "x", nil).certificates()
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		_, got, err := handshake(t, c, &tls.Config{MinVersion: version, MaxVersion: version})
		if (err == nil) != want || err == nil && got != version {
			t.Errorf("handshake with %s: %v, want success %v", tls.VersionName(version), err, want)
		}
	}
}

func TestTLSIsOffWithoutPassword(t *testing.T) {
	t.Parallel()
	p12 := newIdentity(t, "x", nil).pkcs12File()
	for _, o := range []tlsOptions{{}, {"", storePassword}, {p12, ""}, {filepath.Join(t.TempDir(), "none"), ""}} {
		if o.enabled() {
			t.Errorf("enabled() with path %q and password %q = true", o.Path, o.Password)
		}
	}
}

func TestBadDatesAreWarnedOfAndServed(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		start, valid time.Duration
		want         string
	}{
		{-30 * day, 10 * day, "certificate has expired"},
		{2 * day, 90 * day, "certificate is not valid yet"},
		{-day, 5 * day, "certificate expires soon"},
		{-day, 90 * day, ""},
	} {
		var log bytes.Buffer
		path := datedIdentity(t, "dated", time.Now().Add(tt.start), tt.valid, nil).pkcs12File()
		c, err := newCertificates(tlsOptions{path, storePassword}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), tt.want) || tt.want == "" && log.Len() > 0 {
			t.Errorf("start %v for %v: log = %q, want %q", tt.start, tt.valid, &log, tt.want)
		}
		if name, _, err := handshake(t, c, &tls.Config{}); err != nil || name != "dated" {
			t.Errorf("start %v for %v: handshake = %q, %v", tt.start, tt.valid, name, err)
		}
	}
}

func TestChangedKeystoreIsServedWithoutRestart(t *testing.T) {
	t.Parallel()
	first, second := newIdentity(t, "first", nil).pkcs12File(), newIdentity(t, "second", nil).jksFile()
	path := filepath.Join(t.TempDir(), "keystore")
	replace := func(source string) {
		t.Helper()
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace(first)
	// In virtual time: a check counts as recent for two seconds.
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c, err := newCertificates(tlsOptions{path, storePassword}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		serves := func(want string) {
			t.Helper()
			cert, err := c.certificate(&tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}})
			if err != nil || cert.Leaf.Subject.CommonName != want {
				t.Errorf("certificate = %v (%v), want %q", cert.Leaf.Subject, err, want)
			}
		}
		serves("first")
		replace(second)
		serves("first") // checked a moment ago
		time.Sleep(certificateCheck)
		serves("second")

		if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(certificateCheck)
			serves("second")
		}
		if n := strings.Count(log.String(), "the old one stays in use"); n != 1 {
			t.Errorf("a bad file was logged %d times, want once:\n%s", n, &log)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificateCheck)
		serves("second")
		replace(first)
		time.Sleep(certificateCheck)
		serves("first")
	})
}

func TestInstancesTrustTheirKeystore(t *testing.T) {
	t.Parallel()
	ours, others := newIdentity(t, "authority", nil), newIdentity(t, "authority", nil)
	own := newIdentity(t, "own.example", ours).certificates()
	for _, tt := range []struct {
		name   string
		server *certificates
		trust  bool
	}{
		{"the same certificate, under any name", own, true},
		{"our authority, the right address", newIdentity(t, "127.0.0.1", ours).certificates(), true},
		{"our authority, another name", newIdentity(t, "elsewhere.example", ours).certificates(), false},
		{"another authority, the right address", newIdentity(t, "127.0.0.1", others).certificates(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", tt.server.config())
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			serving.Go(func() {
				if conn, err := l.Accept(); err == nil {
					conn.(*tls.Conn).Handshake()
					conn.Close()
				}
			})
			conn, err := own.dialPeer(t.Context(), "tcp", l.Addr().String())
			if (err == nil) != tt.trust {
				t.Errorf("dialPeer: %v, want trust %v", err, tt.trust)
			}
			if err == nil {
				conn.Close()
			}
			l.Close()
			serving.Wait()
		})
	}
}

// wantUnusable holds that a keystore is refused in words that say why.
func wantUnusable(t *testing.T, path, password, want string) {
	t.Helper()
	_, err := newCertificates(tlsOptions{path, password}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path+" is invalid or not readable: ") {
		t.Errorf("newCertificates: %v, want an error with %q", err, want)
	}
}

func TestUnusableKeystoresSayWhy(t *testing.T) {
	t.Parallel()
	x, dir := newIdentity(t, "x", nil), t.TempDir()
	for _, tt := range []struct{ name, path, password, want string }{
		{"no file", filepath.Join(dir, "none"), storePassword, "no such file"},
		{"a directory", dir, storePassword, "is a directory"},
		{"wrong password of JKS", x.jksFile(), "wrong", "the password is wrong"},
		{"wrong password of PKCS12", x.pkcs12File(), "wrong", "the password is wrong"},
		{"PEM without key", x.file(x.pemChain()), storePassword, "no private key"},
		{"PEM without certificate", x.file(x.pemKey()), storePassword, "no private key with a certificate"},
		{"something else", x.file([]byte("hello")), storePassword, "neither"},
		{"an empty file", x.file(nil), storePassword, "neither"},
		{"a torn PKCS12", x.file([]byte("0\x82\x01")), storePassword, "pkcs12"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantUnusable(t, tt.path, tt.password, tt.want) })
	}
}

// Whatever is in a keystore's file, it is refused with a text or gives keys with their certificates.
func FuzzKeystore(f *testing.F) {
	// One of each kind, as keytool and openssl would have made them, is in testdata/fuzz.
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), "")
	f.Add([]byte{0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1}, storePassword)
	f.Add([]byte{0x30, 0x82, 0xff, 0xff}, storePassword)
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		list, err := readKeystore(data, password)
		if err != nil {
			if err.Error() == "" {
				t.Error("it is refused without a reason")
			}
			return
		}
		for _, one := range list {
			if one.Leaf == nil || one.PrivateKey == nil || len(one.Certificate) == 0 {
				t.Errorf("a key without its certificate: %+v", one)
			}
		}
		if len(list) == 0 {
			t.Error("it is accepted and has no key")
		}
	})
}
