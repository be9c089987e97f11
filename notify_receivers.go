package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A receiverSender delivers to the receivers that jobs name themselves. Whoever may post a job chooses them, so it calls only hosts
// that the operator lists, no address within the operator's own network that is not listed, and follows no redirect.
type receiverSender struct {
	mail   *mailSender // nil without a mail server
	hosts  []string
	client *http.Client
}

func newReceiverSender(o notifyOptions, log *slog.Logger) receiverSender {
	s := receiverSender{hosts: o.NotifyHosts}
	if o.MailFrom != "" && strings.Contains(o.MailServer, ":") {
		if mail, err := newMailSender(o, log); err == nil { // else the client for mail says why not
			s.mail = &mail
		}
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: s.checkAddress}
	s.client = &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout: 30 * time.Second, MaxIdleConns: 10, ForceAttemptHTTP2: true},
	}
	return s
}

// errOwnNetwork is why an address is not called.
var errOwnNetwork = errors.New("it is an address of the own network, which --notify_hosts does not list")

// checkAddress refuses addresses when they are dialled: what a name stands for may change after it was looked at.
func (s receiverSender) checkAddress(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return err
	}
	if ip = ip.Unmap().WithZone(""); ownNetwork(ip) && !slices.Contains(s.hosts, ip.String()) {
		return fmt.Errorf("call %s: %w", ip, errOwnNetwork)
	}
	return nil
}

// sharedNetworks are the addresses of networks that are nobody's on the outside, beside those that netip knows.
var sharedNetworks = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("64:ff9b::/96")}

func ownNetwork(ip netip.Addr) bool {
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() ||
		slices.ContainsFunc(sharedNetworks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

func (s receiverSender) send(ctx context.Context, n notice) error {
	u, err := url.Parse(n.to)
	if err != nil {
		return &deliveryError{err: errors.New("the receiver is no URL"), final: true}
	}
	if u.Scheme == "mailto" {
		if s.mail == nil {
			return &deliveryError{err: errors.New("there is no mail server: --mail_server and --mail_from name one"), final: true}
		}
		n.owner, err = url.PathUnescape(u.Opaque)
		if err != nil {
			return &deliveryError{err: errors.New("the receiver is no address"), final: true}
		}
		return s.mail.send(ctx, n)
	}
	if !slices.Contains(s.hosts, strings.ToLower(u.Hostname())) {
		return &deliveryError{err: fmt.Errorf("host %q is not in --notify_hosts", u.Hostname()), final: true}
	}
	p := &poster{url: u, client: s.client, header: http.Header{"Content-Type": {"application/json"}, "User-Agent": {"chronos"}}}
	err = p.post(ctx, receiverBody(n))
	if errors.Is(err, errOwnNetwork) {
		return &deliveryError{err: err, final: true}
	}
	return err
}

// receiverBody is what an https receiver gets.
func receiverBody(n notice) []byte {
	w := &fieldWriter{}
	w.open("")
	for _, f := range []textField{{"job", n.job.Name}, {"kind", n.kind}, {"subject", n.subject}, {"message", strings.TrimSpace(n.message)},
		{"owner", n.job.Owner}, {"time", instant(n.time)}} {
		if f.value != "" {
			w.text(f.name, f.value)
		}
	}
	w.close()
	return w.Bytes()
}

// kindsOf are the kinds of notices that an event is, for the receivers of a job.
func kindsOf(e jobEvent) []string {
	switch e.Kind {
	case eventRetriesExhausted:
		return []string{"failed"}
	case eventDisabled:
		if e.Cause == causeFailures {
			return []string{"failed", "disabled"}
		}
		return []string{"disabled"}
	case eventMissed, eventLate, eventSlow, eventAbsent, eventRecovered:
		return []string{string(e.Kind)}
	}
	return nil
}

// tellReceivers queues the notices for those whom the job names, each once.
func (n *notifier) tellReceivers(e jobEvent) {
	kinds := kindsOf(e)
	for _, r := range e.Job.receivers() {
		i := slices.IndexFunc(kinds, r.wants)
		if i < 0 {
			continue
		}
		for _, text := range n.describe(e) {
			n.receivers.enqueue(notice{job: e.Job, to: r.to, kind: kinds[i], subject: text.subject, message: text.message, time: e.Time})
		}
	}
}
