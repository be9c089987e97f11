// Package smtptest has a mail server for tests. It speaks enough of RFC 5321 to take mail, offers what its fields
// say, and keeps what it was given.
//
//	server := &smtptest.Server{Mechanisms: "PLAIN", Credential: "user password"}
//	address := server.Start(t)
//	// send mail to address
//	for _, m := range server.Mails() { ... }
package smtptest

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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Authority returns a new certificate authority, and a certificate for 127.0.0.1 from it.
func Authority(t testing.TB) (*x509.CertPool, tls.Certificate) {
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

// A Mail is what the server has taken.
type Mail struct {
	From, To string // arguments of MAIL and RCPT
	Data     string // with its line ends as they came
	Login    string // mechanism that was used, "" for none
	Secure   bool   // came over TLS
}

// A Server takes mail: EHLO, STARTTLS, AUTH, DATA. Its zero value offers neither TLS nor a login.
type Server struct {
	TLS        *tls.Config       // nil: no STARTTLS
	Mechanisms string            // offered by AUTH, separated by blanks; "" for none
	Credential string            // "user password"; any other is refused
	Replies    map[string]string // to a verb, instead of what it would do

	mu    sync.Mutex
	mails []Mail
}

// Start has the server listen on a free port of 127.0.0.1 until the test ends, and returns its address.
func (s *Server) Start(t testing.TB) (address string) {
	t.Helper()
	return s.start(t, false)
}

// StartTLS is Start for a server that speaks TLS from the first byte.
func (s *Server) StartTLS(t testing.TB) (address string) {
	t.Helper()
	return s.start(t, true)
}

func (s *Server) start(t testing.TB, implicit bool) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	if implicit {
		listener = tls.NewListener(listener, s.TLS)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
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
		listener.Close()
		wg.Wait()
	})
	return address
}

// Mails returns what has been taken so far.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

func (s *Server) serve(conn net.Conn, secure bool) {
	conn.SetDeadline(time.Now().Add(time.Minute))
	text := textproto.NewConn(conn)
	text.PrintfLine("220 test ESMTP")
	mail := Mail{Secure: secure}
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		if reply := s.Replies[verb]; reply != "" {
			text.PrintfLine("%s", reply)
			continue
		}
		switch verb {
		case "EHLO":
			s.greet(text, mail.Secure)
		case "STARTTLS":
			text.PrintfLine("220 go ahead")
			upgraded := tls.Server(conn, s.TLS)
			text, mail = textproto.NewConn(upgraded), Mail{Secure: true}
		case "AUTH":
			if mail.Login = s.login(text, rest); mail.Login == "" {
				text.PrintfLine("535 5.7.8 authentication failed")
			} else {
				text.PrintfLine("235 2.7.0 welcome")
			}
		case "MAIL":
			mail.From = rest
			text.PrintfLine("250 ok")
		case "RCPT":
			mail.To = rest
			text.PrintfLine("250 ok")
		case "DATA":
			text.PrintfLine("354 go on")
			data, err := readData(text.R)
			if err != nil {
				return
			}
			mail.Data = data
			s.mu.Lock()
			s.mails = append(s.mails, mail)
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
func (s *Server) greet(text *textproto.Conn, secure bool) {
	text.PrintfLine("250-test greets you")
	if s.TLS != nil && !secure {
		text.PrintfLine("250-STARTTLS")
	}
	if s.Mechanisms != "" {
		text.PrintfLine("250-AUTH %s", s.Mechanisms)
	}
	text.PrintfLine("250 8BITMIME")
}

// login returns the mechanism if the credential was right.
func (s *Server) login(text *textproto.Conn, command string) string {
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
	if given != s.Credential {
		return ""
	}
	return mechanism
}
