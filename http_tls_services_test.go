package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// keystoreFile makes a keystore with the JDK's keytool: one key of the name given.
// More arguments go to keytool -genkeypair.
func keystoreFile(t *testing.T, kind, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keystore")
	if !slices.Contains(args, "-keyalg") {
		args = append(args, "-keyalg", "EC", "-groupname", "secp256r1")
	}
	keytool(t, append([]string{"-genkeypair", "-keystore", path, "-storetype", kind, "-storepass", "changeit", "-alias", "chronos",
		"-dname", "CN=" + name, "-ext", "san=ip:127.0.0.1"}, args...)...)
	return path
}

func keytool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("keytool")
	if err != nil {
		t.Fatal("keytool is missing: apt-get install openjdk-17-jre-headless")
	}
	if out, err := exec.Command(path, append(args, "-J-XX:TieredStopAtLevel=1")...).CombinedOutput(); err != nil {
		t.Fatalf("keytool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// pemFile converts a PKCS12 keystore to a file with a key and its certificate. Arguments go to openssl pkcs12.
func pemFile(t *testing.T, keystore string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is missing: apt-get install openssl")
	}
	out := filepath.Join(t.TempDir(), "server.pem")
	cmd := exec.Command(path, append([]string{"pkcs12", "-in", keystore, "-passin", "pass:changeit", "-out", out}, args...)...)
	if message, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl pkcs12: %v\n%s", err, message)
	}
	return out
}

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

func TestCertificatesComeFromEveryKindOfKeystore(t *testing.T) {
	p12 := keystoreFile(t, "PKCS12", "from-pkcs12")
	for _, tt := range []struct{ name, path, password, want string }{
		{"JKS", keystoreFile(t, "JKS", "from-jks", "-keypass", "changeit"), "changeit", "from-jks"},
		{"JKS with RSA", keystoreFile(t, "JKS", "from-rsa", "-keyalg", "RSA"), "changeit", "from-rsa"},
		{"PKCS12", p12, "changeit", "from-pkcs12"},
		{"PEM", pemFile(t, p12, "-nodes"), "", "from-pkcs12"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := tlsOptions{tt.path, tt.password}
			if !options.enabled() {
				t.Errorf("enabled() = false")
			}
			c, err := newCertificates(options, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if name, version, err := handshake(t, c, &tls.Config{}); err != nil || name != tt.want || version != tls.VersionTLS13 {
				t.Errorf("handshake = %q, %s, %v, want %q over TLS 1.3", name, tls.VersionName(version), err, tt.want)
			}
			if until := time.Until(c.expires()); until < 80*24*time.Hour || until > 100*24*time.Hour {
				t.Errorf("expires in %v, want about 90 days", until)
			}
		})
	}
}

func TestTLSVersionsBelow12AreRefused(t *testing.T) {
	c, err := newCertificates(tlsOptions{keystoreFile(t, "PKCS12", "x"), "changeit"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		_, got, err := handshake(t, c, &tls.Config{MinVersion: version, MaxVersion: version})
		if (err == nil) != want || err == nil && got != version {
			t.Errorf("handshake with %s: %v, want success %v", tls.VersionName(version), err, want)
		}
	}
}

func TestUnusableKeystoresSayWhy(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	jks, p12 := keystoreFile(t, "JKS", "x"), keystoreFile(t, "PKCS12", "x")
	trust := func(kind string) string {
		cert := filepath.Join(t.TempDir(), "cert")
		keytool(t, "-exportcert", "-keystore", p12, "-storepass", "changeit", "-alias", "chronos", "-file", cert)
		path := filepath.Join(t.TempDir(), "trust")
		keytool(t, "-importcert", "-noprompt", "-keystore", path, "-storetype", kind, "-storepass", "changeit", "-alias", "ca", "-file", cert)
		return path
	}
	otherKeyPassword := filepath.Join(t.TempDir(), "jks")
	keytool(t, "-importkeystore", "-srckeystore", p12, "-srcstorepass", "changeit", "-destkeystore", otherKeyPassword, "-deststoretype", "JKS",
		"-deststorepass", "changeit", "-srcalias", "chronos", "-destkeypass", "different")
	for _, tt := range []struct{ name, path, password, want string }{
		{"no file", filepath.Join(dir, "none"), "changeit", "no such file"},
		{"a directory", dir, "changeit", "is a directory"},
		{"wrong password of JKS", jks, "wrong", "the password is wrong"},
		{"wrong password of PKCS12", p12, "wrong", "the password is wrong"},
		{"only trusted certificates in JKS", trust("JKS"), "changeit", "no private key"},
		{"only trusted certificates in PKCS12", trust("PKCS12"), "changeit", "no private key"},
		{"another password for the key", otherKeyPassword, "changeit", "its password must be that of the store"},
		{"JCEKS", keystoreFile(t, "JCEKS", "x"), "changeit", "JCEKS"},
		{"PEM without key", pemFile(t, p12, "-nokeys"), "changeit", "no private key"},
		{"PEM without certificate", pemFile(t, p12, "-nodes", "-nocerts"), "changeit", "no private key with a certificate"},
		{"PEM with encrypted key", pemFile(t, p12, "-passout", "pass:changeit"), "changeit", "is encrypted"},
		{"something else", write("text", "hello"), "changeit", "neither"},
		{"an empty file", write("empty", ""), "changeit", "neither"},
		{"a torn PKCS12", write("torn", "0\x82\x01"), "changeit", "pkcs12"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newCertificates(tlsOptions{tt.path, tt.password}, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path+" is invalid or not readable: ") {
				t.Errorf("newCertificates: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestTLSIsOffWithoutPassword(t *testing.T) {
	p12 := keystoreFile(t, "PKCS12", "x")
	for _, o := range []tlsOptions{{}, {"", "changeit"}, {p12, ""}, {filepath.Join(t.TempDir(), "none"), ""}} {
		if o.enabled() {
			t.Errorf("enabled() with path %q and password %q = true", o.Path, o.Password)
		}
	}
}

func TestBadDatesAreWarnedOfAndServed(t *testing.T) {
	for _, tt := range []struct{ start, days, want string }{
		{"-30d", "10", "certificate has expired"},
		{"+2d", "90", "certificate is not valid yet"},
		{"-1d", "5", "certificate expires soon"},
		{"-1d", "90", ""},
	} {
		var log bytes.Buffer
		path := keystoreFile(t, "PKCS12", "dated", "-startdate", tt.start, "-validity", tt.days)
		c, err := newCertificates(tlsOptions{path, "changeit"}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), tt.want) || tt.want == "" && log.Len() > 0 {
			t.Errorf("start %s for %s days: log = %q, want %q", tt.start, tt.days, &log, tt.want)
		}
		if name, _, err := handshake(t, c, &tls.Config{}); err != nil || name != "dated" {
			t.Errorf("start %s for %s days: handshake = %q, %v", tt.start, tt.days, name, err)
		}
	}
}

func TestChangedKeystoreIsServedWithoutRestart(t *testing.T) {
	first, second := keystoreFile(t, "PKCS12", "first"), keystoreFile(t, "JKS", "second")
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
	// In virtual time: what counts as recently looked at is two seconds.
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c, err := newCertificates(tlsOptions{path, "changeit"}, slog.New(slog.NewTextHandler(&log, nil)))
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
		serves("first") // looked at a moment ago
		time.Sleep(certificateCheck)
		serves("second")

		if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(certificateCheck)
			serves("second")
		}
		if n := strings.Count(log.String(), "the old one stays in service"); n != 1 {
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
