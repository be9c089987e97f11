package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

const (
	mailDialTimeout = 10 * time.Second
	mailTimeout     = time.Minute // for one message, not counting the connection
)

// mailSender sends mail over SMTP, with one connection per message.
type mailSender struct {
	host, port     string
	self           string // this machine's name, for the greeting
	from           *mail.Address
	user, password string
	tls            bool // from the first byte; otherwise STARTTLS if it is offered
	log            *slog.Logger
	roots          *x509.CertPool // nil for the system's
	warned         *atomic.Bool   // about a connection less secure than it might be
}

func newMailSender(o notifyOptions, log *slog.Logger) (mailSender, error) {
	i := strings.LastIndexByte(o.MailServer, ':')
	s := mailSender{host: strings.Trim(o.MailServer[:i], "[]"), port: o.MailServer[i+1:], tls: o.MailSSL, log: log, warned: &atomic.Bool{}}
	if s.port == "" {
		s.port = "25"
		if s.tls {
			s.port = "465"
		}
	}
	if _, err := strconv.ParseUint(s.port, 10, 16); err != nil || s.host == "" {
		return s, fmt.Errorf("read --mail_server %q: it is not host:port", o.MailServer)
	}
	var err error
	if s.self, err = os.Hostname(); err != nil {
		s.self = "localhost"
	}
	if s.from, err = mail.ParseAddress(o.MailFrom); err != nil {
		return s, fmt.Errorf("read --mail_from %q: %w", o.MailFrom, err)
	}
	if o.MailUser != "" && o.MailPassword != "" {
		s.user, s.password = o.MailUser, o.MailPassword
	}
	return s, nil
}

func (s mailSender) send(ctx context.Context, n notice) error {
	owner := strings.TrimSpace(n.owner)
	if owner == "" {
		return nil // a job without owner never mails
	}
	to, err := mail.ParseAddress(owner)
	if err != nil {
		return &deliveryError{err: fmt.Errorf("read owner %q: %w", owner, err), final: true}
	}
	if err := s.transmit(ctx, to.Address, mailMessage(n, s.from, to)); err != nil {
		refused, ok := errors.AsType[*textproto.Error](err)
		return &deliveryError{err: fmt.Errorf("mail to %s: %w", to.Address, err), final: ok && refused.Code >= 500}
	}
	return nil
}

// transmit sends one message to the server.
func (s mailSender) transmit(ctx context.Context, to string, message []byte) error {
	dialer := net.Dialer{Timeout: mailDialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.host, s.port))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(mailTimeout))
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if s.tls {
		conn = tls.Client(conn, &tls.Config{ServerName: s.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12})
	}
	c, err := s.hello(conn)
	if err != nil {
		return err
	}
	if err := c.Mail(s.from.Address); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.Quit() // the message has been accepted, whatever happens now
	return nil
}

// hello greets the server, secures the connection if it can, and logs in if it should.
func (s mailSender) hello(conn net.Conn) (*smtp.Client, error) {
	c, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return nil, err
	}
	if err := c.Hello(s.self); err != nil {
		return nil, err
	}
	if offered, _ := c.Extension("STARTTLS"); offered && !s.tls {
		if err := c.StartTLS(s.opportunistic()); err != nil {
			return nil, err
		}
	}
	if s.user == "" {
		return c, nil
	}
	offered, mechanisms := c.Extension("AUTH")
	if !offered { // the JVM versions go on as well
		s.warn("mail server offers no login, sending without")
		return c, nil
	}
	if _, secure := c.TLSConnectionState(); !secure {
		s.warn("mail login goes over an unencrypted connection")
	}
	return c, c.Auth(s.login(strings.Fields(mechanisms)))
}

// opportunistic accepts any certificate and old versions, since without STARTTLS the mail would
// be sent in the clear to anybody (RFC 7435), but warns when it can't verify the server.
func (s mailSender) opportunistic() *tls.Config {
	return &tls.Config{
		ServerName:         s.host,
		MinVersion:         tls.VersionTLS10,
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			options := x509.VerifyOptions{DNSName: s.host, Roots: s.roots, Intermediates: x509.NewCertPool()}
			for _, c := range state.PeerCertificates[1:] {
				options.Intermediates.AddCert(c)
			}
			if _, err := state.PeerCertificates[0].Verify(options); err != nil {
				s.warn("mail server's certificate can't be verified", "error", err)
			}
			return nil
		},
	}
}

// warn logs once in the life of the process.
func (s mailSender) warn(message string, args ...any) {
	if s.warned.CompareAndSwap(false, true) {
		s.log.With("server", s.host).Warn(message, args...)
	}
}

func (s mailSender) login(mechanisms []string) smtp.Auth {
	if !slices.Contains(mechanisms, "PLAIN") && slices.Contains(mechanisms, "LOGIN") {
		return loginAuth{s.user, s.password}
	}
	return plainAuth{s.user, s.password}
}

// plainAuth is AUTH PLAIN (RFC 4616). The one of net/smtp refuses unencrypted
// connections, which the JVM versions used and internal servers rely on.
type plainAuth struct{ user, password string }

func (a plainAuth) Start(*smtp.ServerInfo) (string, []byte, error) {
	return "PLAIN", []byte("\x00" + a.user + "\x00" + a.password), nil
}

func (a plainAuth) Next(_ []byte, more bool) ([]byte, error) {
	if more {
		return nil, errors.New("unexpected challenge to AUTH PLAIN")
	}
	return nil, nil
}

// loginAuth is AUTH LOGIN: user and password, each when asked for.
type loginAuth struct{ user, password string }

func (a loginAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

func (a loginAuth) Next(challenge []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	switch ask := strings.ToLower(string(challenge)); {
	case strings.HasPrefix(ask, "user"):
		return []byte(a.user), nil
	case strings.HasPrefix(ask, "pass"):
		return []byte(a.password), nil
	}
	return nil, errors.New("unexpected challenge to AUTH LOGIN")
}

// mailSubjectLimit keeps the subject line below the 998 bytes that RFC 5322 allows.
const mailSubjectLimit = 240

// mailMessage returns a message: plain text in UTF-8, quoted-printable. Nothing in the
// notice can add a header.
func mailMessage(n notice, from, to *mail.Address) []byte {
	var b bytes.Buffer
	for _, header := range []textField{
		{"From", from.String()},
		{"To", to.String()},
		{"Subject", mailSubject(n.subject)},
		{"Date", n.time.Format(time.RFC1123Z)},
		{"Message-ID", "<" + strconv.FormatInt(n.time.UnixNano(), 36) + "." + rand.Text() + "@" + domainOf(from.Address) + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=UTF-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(header.name + ": " + header.value + "\r\n")
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	w.Write([]byte(n.message))
	w.Close()
	if len(n.message) > 0 && !bytes.HasSuffix(b.Bytes(), []byte("\r\n")) {
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// mailSubject encodes a subject according to RFC 2047 if it is not plain ASCII.
func mailSubject(subject string) string {
	subject = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(subject, "\uFFFD"))
	return mime.QEncoding.Encode("UTF-8", firstCharacters(subject, mailSubjectLimit))
}

// domainOf returns the part of an address after the @.
func domainOf(address string) string {
	if domain := address[strings.LastIndexByte(address, '@')+1:]; domain != "" {
		return domain
	}
	return "localhost"
}
