//go:build services

package main

import (
	"crypto/tls"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
	keytool(t, append([]string{"-genkeypair", "-keystore", path, "-storetype", kind, "-storepass", storePassword, "-alias", "chronos",
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
	cmd := exec.Command(path, append([]string{"pkcs12", "-in", keystore, "-passin", "pass:" + storePassword, "-out", out}, args...)...)
	if message, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl pkcs12: %v\n%s", err, message)
	}
	return out
}

func TestCertificatesComeFromEveryKindOfKeystore(t *testing.T) {
	t.Parallel()
	p12 := keystoreFile(t, "PKCS12", "from-pkcs12")
	for _, tt := range []struct{ name, path, password, want string }{
		{"JKS", keystoreFile(t, "JKS", "from-jks", "-keypass", storePassword), storePassword, "from-jks"},
		{"JKS with RSA", keystoreFile(t, "JKS", "from-rsa", "-keyalg", "RSA"), storePassword, "from-rsa"},
		{"PKCS12", p12, storePassword, "from-pkcs12"},
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

func TestUnusableKeystoresOfKeytoolAndOpenSSLSayWhy(t *testing.T) {
	t.Parallel()
	jks, p12 := keystoreFile(t, "JKS", "x"), keystoreFile(t, "PKCS12", "x")
	trust := func(kind string) string {
		cert := filepath.Join(t.TempDir(), "cert")
		keytool(t, "-exportcert", "-keystore", p12, "-storepass", storePassword, "-alias", "chronos", "-file", cert)
		path := filepath.Join(t.TempDir(), "trust")
		keytool(t, "-importcert", "-noprompt", "-keystore", path, "-storetype", kind, "-storepass", storePassword, "-alias", "ca", "-file", cert)
		return path
	}
	otherKeyPassword := filepath.Join(t.TempDir(), "jks")
	keytool(t, "-importkeystore", "-srckeystore", p12, "-srcstorepass", storePassword, "-destkeystore", otherKeyPassword, "-deststoretype", "JKS",
		"-deststorepass", storePassword, "-srcalias", "chronos", "-destkeypass", "different")
	for _, tt := range []struct{ name, path, password, want string }{
		{"wrong password of JKS", jks, "wrong", "the password is wrong"},
		{"wrong password of PKCS12", p12, "wrong", "the password is wrong"},
		{"only trusted certificates in JKS", trust("JKS"), storePassword, "no private key"},
		{"only trusted certificates in PKCS12", trust("PKCS12"), storePassword, "no private key"},
		{"another password for the key", otherKeyPassword, storePassword, "its password must be that of the store"},
		{"JCEKS", keystoreFile(t, "JCEKS", "x"), storePassword, "JCEKS"},
		{"PEM without key", pemFile(t, p12, "-nokeys"), storePassword, "no private key"},
		{"PEM without certificate", pemFile(t, p12, "-nodes", "-nocerts"), storePassword, "no private key with a certificate"},
		{"PEM with encrypted key", pemFile(t, p12, "-passout", "pass:"+storePassword), storePassword, "is encrypted"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantUnusable(t, tt.path, tt.password, tt.want) })
	}
}
