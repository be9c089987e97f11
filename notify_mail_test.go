package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/smtptest"
)

// mailTo returns a sender to a server; roots may be nil.
func mailTo(t *testing.T, o notifyOptions, roots *x509.CertPool) (mailSender, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	o.MailFrom = "Chronos <chronos@example.com>"
	s, err := newMailSender(o, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.roots = roots
	if roots == nil {
		s.roots = x509.NewCertPool() // nobody is trusted
	}
	return s, &log
}

func mailNotice() notice {
	return notice{job: nightlyJob(), owner: "ops@example.com", subject: "[Chronos] job 'nightly' failed!", message: "\nfirst line\n.\nlast = line\n", time: noticeTime}
}

// startMail starts a server; implicit means TLS from the first byte.
func startMail(t *testing.T, s *smtptest.Server, implicit bool) (address string) {
	t.Helper()
	if implicit {
		return s.StartTLS(t)
	}
	return s.Start(t)
}

func TestMailGoesOutTheWayTheServerOffers(t *testing.T) {
	t.Parallel()
	roots, cert := smtptest.Authority(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	nobody := x509.NewCertPool()
	for _, tt := range []struct {
		name     string
		server   *smtptest.Server
		implicit bool // the server's side
		ssl      bool // --mail_ssl
		login    bool
		roots    *x509.CertPool
		want     smtptest.Mail
		warning  string
	}{
		{"in the clear", &smtptest.Server{}, false, false, false, nobody, smtptest.Mail{}, ""},
		{"login in the clear", &smtptest.Server{Mechanisms: "PLAIN LOGIN"}, false, false, true, nobody, smtptest.Mail{Login: "PLAIN"}, "unencrypted"},
		{"no login offered", &smtptest.Server{}, false, false, true, nobody, smtptest.Mail{}, "offers no login"},
		{"STARTTLS", &smtptest.Server{TLS: config}, false, false, false, roots, smtptest.Mail{Secure: true}, ""},
		{"STARTTLS with a certificate of unknown origin", &smtptest.Server{TLS: config}, false, false, false, nobody, smtptest.Mail{Secure: true}, "can't be verified"},
		{"STARTTLS and PLAIN", &smtptest.Server{TLS: config, Mechanisms: "LOGIN PLAIN"}, false, false, true, roots, smtptest.Mail{Secure: true, Login: "PLAIN"}, ""},
		{"STARTTLS and LOGIN", &smtptest.Server{TLS: config, Mechanisms: "LOGIN CRAM-MD5"}, false, false, true, roots, smtptest.Mail{Secure: true, Login: "LOGIN"}, ""},
		{"TLS from the first byte", &smtptest.Server{TLS: config}, true, true, false, roots, smtptest.Mail{Secure: true}, ""},
		{"TLS from the first byte and PLAIN", &smtptest.Server{TLS: config, Mechanisms: "PLAIN"}, true, true, true, roots, smtptest.Mail{Secure: true, Login: "PLAIN"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.server.Credential = "chronos s3cret"
			o := notifyOptions{MailServer: startMail(t, tt.server, tt.implicit), MailSSL: tt.ssl}
			if tt.login {
				o.MailUser, o.MailPassword = "chronos", "s3cret"
			}
			s, log := mailTo(t, o, tt.roots)
			if err := s.send(t.Context(), mailNotice()); err != nil {
				t.Fatalf("send: %v", err)
			}
			got := tt.server.Mails()
			if len(got) != 1 {
				t.Fatalf("%d mails taken, want 1", len(got))
			}
			if got[0].Secure != tt.want.Secure || got[0].Login != tt.want.Login {
				t.Errorf("secure, login = %v, %q, want %v, %q", got[0].Secure, got[0].Login, tt.want.Secure, tt.want.Login)
			}
			if !strings.HasPrefix(got[0].From, "FROM:<chronos@example.com>") || got[0].To != "TO:<ops@example.com>" {
				t.Errorf("envelope = %s %s", got[0].From, got[0].To)
			}
			if has := strings.Contains(log.String(), tt.warning); !has || tt.warning == "" && log.Len() > 0 {
				t.Errorf("log = %q, want %q", log, tt.warning)
			}
		})
	}
}

func TestMailIsAsTheStandardsWantIt(t *testing.T) {
	t.Parallel()
	server := &smtptest.Server{}
	s, _ := mailTo(t, notifyOptions{MailServer: server.Start(t)}, nil)
	n := mailNotice()
	n.subject, n.message = "[Chronos] job 'Größe 東京' failed!", "\nZeile: "+strings.Repeat("ü", 200)+"\n.\nlast = line"
	if err := s.send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	data := server.Mails()[0].Data
	for line := range strings.Lines(data) {
		if len(line) > 90 || strings.ContainsFunc(line, func(c rune) bool { return c > 126 }) {
			t.Errorf("line %q is too long or not ASCII", line)
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{
		"From": `"Chronos" <chronos@example.com>`, "To": "<ops@example.com>", "Date": "Sun, 01 May 2016 02:00:09 +0000",
		"Mime-Version": "1.0", "Content-Type": "text/plain; charset=UTF-8", "Content-Transfer-Encoding": "quoted-printable", "Auto-Submitted": "auto-generated",
	} {
		if got := m.Header.Get(header); got != want {
			t.Errorf("%s = %q, want %q", header, got, want)
		}
	}
	if got, err := (&mime.WordDecoder{}).DecodeHeader(m.Header.Get("Subject")); err != nil || got != n.subject {
		t.Errorf("Subject = %q (%v), want %q", got, err, n.subject)
	}
	if id := m.Header.Get("Message-Id"); !strings.HasPrefix(id, "<") || !strings.HasSuffix(id, "@example.com>") {
		t.Errorf("Message-ID = %q", id)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if got := strings.ReplaceAll(string(body), "\r\n", "\n"); err != nil || got != n.message+"\n" {
		t.Errorf("body = %q (%v), want %q", got, err, n.message+"\n")
	}
}

func TestMailOfADeletionIsEmpty(t *testing.T) {
	t.Parallel()
	server := &smtptest.Server{}
	deliver(t, notifyOptions{MailServer: server.Start(t), MailFrom: "c@example.com"}, jobEvent{Kind: eventRemoved, Job: nightlyJob(), Time: noticeTime})
	got := server.Mails()
	if len(got) != 1 {
		t.Fatalf("%d mails, want 1", len(got))
	}
	if _, body, _ := strings.Cut(got[0].Data, "\r\n\r\n"); body != "" || !strings.Contains(got[0].Data, "\r\nSubject: [Chronos] Your job 'nightly' was deleted!\r\n") {
		t.Errorf("mail = %q", got[0].Data)
	}
}

func TestMailGoesToEachOwner(t *testing.T) {
	t.Parallel()
	server := &smtptest.Server{}
	event := failedEvent()
	event.Job.Owner = " a@example.com , The Team <team@example.com>,,not an address"
	n := deliver(t, notifyOptions{MailServer: server.Start(t), MailFrom: "c@example.com"}, event)
	var to []string
	for _, l := range server.Mails() {
		to = append(to, l.To)
	}
	if got := strings.Join(to, " "); got != "TO:<a@example.com> TO:<team@example.com>" {
		t.Errorf("recipients = %s", got)
	}
	if s := n.status()[0]; s.Failed != 1 || !strings.Contains(s.LastError, "not an address") {
		t.Errorf("status = %+v, want the bad address failed", s)
	}
}

func TestNothingInANoticeAddsAHeader(t *testing.T) {
	t.Parallel()
	server := &smtptest.Server{}
	event := failedEvent()
	event.Job.Name = "x\r\nBcc: evil@example.com\r\n\r\nbody"
	event.Job.Owner = "\"a\r\nBcc: evil@example.com\" <a@example.com>,b@example.com\r\nBcc: evil@example.com"
	deliver(t, notifyOptions{MailServer: server.Start(t), MailFrom: "c@example.com"}, event)
	for _, l := range server.Mails() {
		m, err := mail.ReadMessage(strings.NewReader(l.Data))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Bcc") != "" || m.Header.Get("Subject") != "[Chronos] job 'x  Bcc: evil@example.com    body' failed!" {
			t.Errorf("headers = %v", m.Header)
		}
	}
}

func TestMailRefusalsSayWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	_, cert := smtptest.Authority(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, tt := range []struct {
		name   string
		server *smtptest.Server
		ssl    bool
		final  bool
	}{
		{"wrong password", &smtptest.Server{Mechanisms: "PLAIN", Credential: "chronos other"}, false, true},
		{"recipient unknown", &smtptest.Server{Mechanisms: "PLAIN", Credential: "chronos s3cret", Replies: map[string]string{"RCPT": "550 5.1.1 who?"}}, false, true},
		{"greylisted", &smtptest.Server{Mechanisms: "PLAIN", Credential: "chronos s3cret", Replies: map[string]string{"RCPT": "451 4.7.1 later"}}, false, false},
		{"certificate of unknown origin", &smtptest.Server{TLS: config}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := notifyOptions{MailServer: startMail(t, tt.server, tt.ssl), MailSSL: tt.ssl, MailUser: "chronos", MailPassword: "s3cret"}
			s, _ := mailTo(t, o, nil)
			err := s.send(t.Context(), mailNotice())
			refused, ok := errors.AsType[*deliveryError](err)
			if !ok || refused.final != tt.final {
				t.Errorf("send: %v, want final %v", err, tt.final)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the password: %v", err)
			}
			if n := len(tt.server.Mails()); n != 0 {
				t.Errorf("%d mails taken, want none", n)
			}
		})
	}
}

func TestMailToASilentServerEndsWithTheContext(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s, _ := mailTo(t, notifyOptions{MailServer: silent.Addr().String()}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.send(ctx, mailNotice()); err == nil {
		t.Errorf("send to a silent server succeeds")
	}
}

func TestMailServerIsReadWithItsPort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		server string
		ssl    bool
		want   string
	}{
		{"mx:25", false, "mx 25"}, {"mx:25", true, "mx 25"}, {"mx:2465", true, "mx 2465"},
		{"mx:", true, "mx 465"}, {"mx:", false, "mx 25"}, {"[::1]:25", false, "::1 25"},
		{"mx:smtp", false, "error"}, {":25", false, "error"}, {"mx:99999", false, "error"},
	} {
		s, err := newMailSender(notifyOptions{MailServer: tt.server, MailFrom: "c@x", MailSSL: tt.ssl}, slog.New(slog.DiscardHandler))
		got := s.host + " " + s.port
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("newMailSender(%q, ssl %v) = %s (%v), want %s", tt.server, tt.ssl, got, err, tt.want)
		}
	}
}
