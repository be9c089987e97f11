package main

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// The checks below take an option's text and return it in the form that the
// rest of the program relies on. No error repeats the text: it may hold a secret.

// checkDir wants the name of a directory, which need not exist yet.
func checkDir(s string) (string, error) {
	if s == "" || strings.ContainsFunc(s, unicode.IsControl) {
		return "", errors.New("want the name of a directory")
	}
	return s, nil
}

// checkHost wants a name or an address alone. "" is as if it was not given.
func checkHost(s string) (string, error) {
	if strings.ContainsAny(s, " \t\n/@") || strings.Contains(s, ":") && net.ParseIP(strings.Trim(s, "[]")) == nil {
		return "", errors.New("want a host name or an address, without a port")
	}
	return strings.Trim(s, "[]"), nil
}

func checkPort(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return errors.New("want a port from 1 to 65535 after the colon")
	}
	return nil
}

// checkHostPort wants host:port, with brackets around an IPv6 address.
func checkHostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, " \t\n/@") {
		return "", errors.New("want host:port")
	}
	return s, checkPort(port)
}

// checkHostPortOrNone also takes "", which switches the feature off.
func checkHostPortOrNone(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return checkHostPort(s)
}

// checkCredentials wants user:password. "" means none. The JVM versions served without a
// password when the text had another form; that is refused here.
func checkCredentials(s string) (string, error) {
	user, password, ok := strings.Cut(s, ":")
	if s != "" && (!ok || user == "" || password == "") {
		return "", errors.New("want user:password")
	}
	return s, nil
}

func checkWebURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("want a URL that starts with http:// or https://")
	}
	return s, nil
}

// checkZKPath wants an absolute path and returns it without a slash at its end, so
// that the root is "".
func checkZKPath(s string) (string, error) {
	trimmed := strings.TrimRight(s, "/")
	if trimmed == "" {
		return "", nil
	}
	if !strings.HasPrefix(s, "/") {
		return "", errors.New("want a path that starts with /")
	}
	for _, name := range strings.Split(trimmed[1:], "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsFunc(name, unicode.IsControl) {
			return "", errors.New("want a path like /chronos/state, without empty or dotted names")
		}
	}
	return trimmed, nil
}

// A zkAddress is what zk://user:password@host:port,host:port/path says.
type zkAddress struct {
	hosts []string // host:port each, at least one
	path  string   // "" or /...
	auth  string   // user:password, or ""
}

// parseZKAddress reads the text behind zk://.
func parseZKAddress(s string) (zkAddress, error) {
	var a zkAddress
	if i := strings.LastIndex(s, "@"); i >= 0 {
		a.auth, s = s[:i], s[i+1:]
		if _, err := checkCredentials(a.auth); err != nil {
			return a, errors.New("want user:password before the @")
		}
	}
	s, path, found := strings.Cut(s, "/")
	if found {
		a.path = "/" + path
	}
	a.hosts = strings.Split(s, ",")
	for _, h := range a.hosts {
		if _, err := checkHostPort(h); err != nil {
			return a, errors.New("zookeeper servers must be provided in the form host1:port1,host2:port2")
		}
	}
	return a, nil
}

// zkHostsValue is --zk_hosts in both of its forms. With zk:// the path is dropped; without, it
// is a chroot.
type zkHostsValue struct{ f *flags }

func (v zkHostsValue) Set(s string) error {
	plain := strings.ReplaceAll(s, "zk://", "")
	a, err := parseZKAddress(plain)
	if err != nil {
		return err
	}
	if plain != s {
		a.path = ""
	}
	chroot, err := checkZKPath(a.path)
	if err != nil {
		return err
	}
	v.f.zkHosts, v.f.zkChroot, v.f.zkAuth = a.hosts, chroot, a.auth
	return nil
}

func (v zkHostsValue) String() string {
	if v.f == nil {
		return ""
	}
	return strings.Join(v.f.zkHosts, ",") + v.f.zkChroot
}

// checkMaster wants one of the forms that libmesos took, or a URL of the v1 API.
func checkMaster(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch scheme, rest, found := strings.Cut(s, "://"); {
	case s == "local":
		return s, nil
	case !found:
		_, err := checkHostPort(strings.TrimPrefix(s, "master@"))
		if err != nil {
			return "", errors.New("want local, host:port, http://host:port, https://host:port, zk://host:port,.../path or file:///path")
		}
		return strings.TrimPrefix(s, "master@"), nil
	case scheme == "zk":
		return s, checkZKMaster(rest)
	case scheme == "file":
		if !strings.HasPrefix(rest, "/") {
			return "", errors.New("want file:///path")
		}
		return s, nil
	case scheme == "http" || scheme == "https":
		if _, err := checkHostPort(strings.TrimRight(rest, "/")); err != nil {
			return "", errors.New("want " + scheme + "://host:port")
		}
		return strings.TrimRight(s, "/"), nil
	}
	return "", errors.New("want local, host:port, or a URL that starts with http://, https://, zk:// or file://")
}

func checkZKMaster(rest string) error {
	a, err := parseZKAddress(rest)
	if err != nil {
		return err
	}
	if path, err := checkZKPath(a.path); err != nil || path == "" {
		return errors.New("want the path of the masters too, as in zk://host:port/mesos")
	}
	return nil
}
