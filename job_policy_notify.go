package main

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A jobReceiver is told of a job beside those whom the flags name.
type jobReceiver struct {
	to string   // mailto:address or https://...
	on []string // kinds of notices; none for all
}

// The kinds of notices that receivers of a job may want.
var noticeKinds = []string{"failed", "recovered", "missed", "late", "slow", "absent", "disabled"}

const maxReceivers = 20

var notifyKey = policyKey{name: "notify", kind: "list of at most 20 receivers, each `{\"to\":\"mailto:...\"}` or `{\"to\":\"https://...\"}`, with `\"on\"` for some kinds only", byDefault: "nobody",
	read: func(p *Policy, v value) error {
		if v[0] != '[' {
			return errInert
		}
		elements := v.elements()
		if len(elements) > maxReceivers {
			return fmt.Errorf("there are %d, and at most %d may be", len(elements), maxReceivers)
		}
		p.Notify = nil
		for _, e := range elements {
			r, err := readReceiver(e)
			if err != nil {
				return err
			}
			p.Notify = append(p.Notify, r)
		}
		return nil
	},
	text: func(p *Policy) []byte {
		if len(p.Notify) == 0 {
			return nil
		}
		return appendList(nil, "", p.Notify, appendReceiver)[len(`,"":`):]
	}}

func appendReceiver(dst []byte, r jobReceiver) []byte {
	dst = appendString(append(dst, `{"to":`...), r.to)
	if len(r.on) > 0 {
		dst = appendList(dst, "on", r.on, appendString)
	}
	return append(dst, '}')
}

// readReceiver reads an object with an address, and the kinds that it wants.
func readReceiver(v value) (jobReceiver, error) {
	o := v.object()
	r := jobReceiver{to: o.get("to").text(), on: texts(o.get("on"))}
	u, err := url.Parse(r.to)
	switch {
	case err != nil, u.Scheme != "mailto" && u.Scheme != "https", u.Scheme == "https" && (u.Hostname() == "" || u.User != nil),
		u.Scheme == "mailto" && !strings.Contains(u.Opaque, "@"), strings.ContainsAny(r.to, "\r\n"):
		return jobReceiver{}, fmt.Errorf("%s is no receiver: want {\"to\":\"mailto:ops@example.com\"} or {\"to\":\"https://host/path\"}", quoteWarned(r.to))
	}
	for _, kind := range r.on {
		if !slices.Contains(noticeKinds, kind) {
			return jobReceiver{}, fmt.Errorf("%s is not one of %s", quoteWarned(kind), strings.Join(noticeKinds, ", "))
		}
	}
	return r, nil
}

// host is that of an https receiver, "" for mail.
func (r jobReceiver) host() string {
	u, err := url.Parse(r.to)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// short is the address of mail, and the host of a URL, whose path may be a secret.
func (r jobReceiver) short() string { return cmp.Or(r.host(), strings.TrimPrefix(r.to, "mailto:")) }

// wants reports whether the receiver is to be told of such notices.
func (r jobReceiver) wants(kind string) bool { return len(r.on) == 0 || slices.Contains(r.on, kind) }

// checkReceivers refuses receivers that the server does not call: whoever may post a job could otherwise have it call anything.
func (d *jobDecoder) checkReceivers(p *Policy) {
	for _, r := range p.Notify {
		if host := r.host(); host != "" && !d.defaults.AnyHost && !slices.Contains(d.defaults.NotifyHosts, host) {
			d.fail(docPath{"notify", -1}, "host %q is not called by this server: --notify_hosts lists those that are", host)
		}
	}
}

// receivers are those who are told of the job.
func (j *Job) receivers() []jobReceiver {
	if j.Policy == nil {
		return nil
	}
	return j.Policy.Notify
}
