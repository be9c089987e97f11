package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority is a certificate authority of its own, and a certificate for 127.0.0.1 from it.
func authority(t *testing.T) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	caRaw, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mail"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(caRaw)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool, tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// A letter is a mail that the server has taken.
type letter struct {
	from, to, data string
	login          string // mechanism and what was decoded, "" without
	secure         bool
}

// smtpServer speaks enough of RFC 5321 to take mail: EHLO, STARTTLS, AUTH, DATA.
type smtpServer struct {
	listener   net.Listener
	tls        *tls.Config // nil: no STARTTLS
	mechanisms string      // offered by AUTH
	credential string      // "user password"; another one is refused
	replies    map[string]string

	mu      sync.Mutex
	letters []letter
}

// startSMTP starts a server; implicit means TLS from the first byte.
func startSMTP(t *testing.T, s *smtpServer, implicit bool) (address string) {
	t.Helper()
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	address = s.listener.Addr().String()
	if implicit {
		s.listener = tls.NewListener(s.listener, s.tls)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				s.serve(conn, implicit)
			})
		}
	})
	t.Cleanup(func() {
		s.listener.Close()
		wg.Wait()
	})
	return address
}

func (s *smtpServer) taken() []letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]letter(nil), s.letters...)
}

func (s *smtpServer) serve(conn net.Conn, secure bool) {
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	text := textproto.NewConn(conn)
	text.PrintfLine("220 test ESMTP")
	mail := letter{secure: secure}
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		if reply := s.replies[verb]; reply != "" {
			text.PrintfLine("%s", reply)
			continue
		}
		switch verb {
		case "EHLO":
			s.greet(text, mail.secure)
		case "STARTTLS":
			text.PrintfLine("220 go ahead")
			upgraded := tls.Server(conn, s.tls)
			text, mail = textproto.NewConn(upgraded), letter{secure: true}
		case "AUTH":
			if mail.login = s.login(text, rest); mail.login == "" {
				text.PrintfLine("535 5.7.8 authentication failed")
			} else {
				text.PrintfLine("235 2.7.0 welcome")
			}
		case "MAIL":
			mail.from = rest
			text.PrintfLine("250 ok")
		case "RCPT":
			mail.to = rest
			text.PrintfLine("250 ok")
		case "DATA":
			text.PrintfLine("354 go on")
			data, err := readData(text.R)
			if err != nil {
				return
			}
			mail.data = data
			s.mu.Lock()
			s.letters = append(s.letters, mail)
			s.mu.Unlock()
			text.PrintfLine("250 taken")
		case "QUIT":
			text.PrintfLine("221 bye")
			return
		default:
			text.PrintfLine("502 %s?", verb)
		}
	}
}

// readData reads up to the line with the dot alone. It keeps line ends as they came, and
// refuses bare line feeds, as strict servers do.
func readData(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if !strings.HasSuffix(line, "\r\n") {
			return "", fmt.Errorf("bare line feed after %q", line)
		}
		if line == ".\r\n" {
			return b.String(), nil
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

// greet lists the extensions; STARTTLS only until it has been used.
func (s *smtpServer) greet(text *textproto.Conn, secure bool) {
	text.PrintfLine("250-test greets you")
	if s.tls != nil && !secure {
		text.PrintfLine("250-STARTTLS")
	}
	if s.mechanisms != "" {
		text.PrintfLine("250-AUTH %s", s.mechanisms)
	}
	text.PrintfLine("250 8BITMIME")
}

// login returns the mechanism if the credential was right.
func (s *smtpServer) login(text *textproto.Conn, command string) string {
	mechanism, first, _ := strings.Cut(command, " ")
	decode := func(line string) string {
		b, _ := base64.StdEncoding.DecodeString(line)
		return string(b)
	}
	ask := func(question string) string {
		text.PrintfLine("334 %s", base64.StdEncoding.EncodeToString([]byte(question)))
		line, _ := text.ReadLine()
		return decode(line)
	}
	given := ""
	switch mechanism {
	case "PLAIN":
		if parts := strings.Split(decode(first), "\x00"); len(parts) == 3 {
			given = parts[1] + " " + parts[2]
		}
	case "LOGIN":
		user := ask("Username:")
		given = fmt.Sprint(user, " ", ask("Password:"))
	}
	if given != s.credential {
		return ""
	}
	return mechanism
}
