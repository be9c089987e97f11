package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// followMaster reports the URL of the leading Mesos master, at once and whenever another one leads, even
// at the same URL, until ctx ends. "" means that none leads.
type followMaster func(ctx context.Context, report func(url string))

// zkReader is what detection needs from a ZooKeeper session.
type zkReader interface {
	ChildrenW(path string) ([]string, *zk.Stat, <-chan zk.Event, error)
	ExistsW(path string) (bool, *zk.Stat, <-chan zk.Event, error)
	Get(path string) ([]byte, *zk.Stat, error)
}

// openZK opens a session on hosts, with the digest credentials user:password if
// auth is not empty. The context returned ends with the session.
type openZK func(ctx context.Context, hosts []string, auth string) (context.Context, zkReader, error)

// zkPause is the wait before another session after one that failed.
const zkPause = time.Second

// newDetector reads the forms of --master: zk://[user:password@]h1:p1,h2:p2/path,
// host:port, master@host:port, http://host:port, https://host:port, and
// file:///path to a file that holds one of them. Masters found in ZooKeeper or
// given without a scheme are contacted over http, or over https if secure is set.
func newDetector(master string, secure bool, open openZK, log *slog.Logger) (followMaster, error) {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	kind, rest, found := strings.Cut(master, "://")
	switch {
	case !found:
		_, hostPort, ok := strings.Cut(master, "@")
		if !ok {
			hostPort = master
		}
		return fixedMaster(scheme, hostPort)
	case kind == "http" || kind == "https":
		return fixedMaster(kind, strings.TrimSuffix(rest, "/"))
	case kind == "zk":
		return zkMaster(rest, scheme, open, log)
	case kind == "file":
		contents, err := os.ReadFile(rest)
		if err != nil {
			return nil, fmt.Errorf("read --master %q: %w", master, err)
		}
		inner := strings.TrimSpace(string(contents))
		if strings.HasPrefix(inner, "file:") {
			return nil, fmt.Errorf("file %q names another file: %q", rest, inner)
		}
		return newDetector(inner, secure, open, log)
	}
	return nil, fmt.Errorf("unknown form of --master: %q", master)
}

func fixedMaster(scheme, hostPort string) (followMaster, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, fmt.Errorf("master %q is not host:port: %w", hostPort, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return nil, fmt.Errorf("master %q is not host:port", hostPort)
	}
	return func(ctx context.Context, report func(string)) { report(scheme + "://" + hostPort) }, nil
}

// zkMaster reads [user:password@]hosts/path.
func zkMaster(address, scheme string, open openZK, log *slog.Logger) (followMaster, error) {
	hosts, path, _ := strings.Cut(address, "/")
	auth := ""
	if i := strings.LastIndexByte(hosts, '@'); i >= 0 {
		auth, hosts = hosts[:i], hosts[i+1:]
	}
	path = "/" + strings.Trim(path, "/")
	switch {
	case path == "/":
		return nil, fmt.Errorf("master zk://%s: the path of the masters is missing, as in zk://%s/mesos", hosts, hosts)
	case hosts == "":
		return nil, errors.New("master zk://: the ZooKeeper hosts are missing")
	}
	d := &zkDetector{hosts: strings.Split(hosts, ","), auth: auth, path: path, scheme: scheme, open: open, log: log}
	return d.follow, nil
}

// zkDetector follows the masters' candidacy in ZooKeeper.
type zkDetector struct {
	hosts              []string
	auth, path, scheme string
	open               openZK
	log                *slog.Logger
	last               string // node of the leader
	told               bool
}

// follow opens session after session. While ZooKeeper is away the last answer
// stands: the master may be fine.
func (d *zkDetector) follow(ctx context.Context, report func(string)) {
	for ctx.Err() == nil {
		err := d.session(ctx, report)
		if ctx.Err() != nil {
			return
		}
		d.log.Warn("no session to find the Mesos master with", "zookeeper", strings.Join(d.hosts, ","), "error", err)
		rest(ctx, zkPause)
	}
}

func (d *zkDetector) session(ctx context.Context, report func(string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	session, conn, err := d.open(ctx, d.hosts, d.auth)
	if err != nil {
		return err
	}
	for {
		node, leader, changed, err := d.leader(conn)
		if err != nil {
			return err
		}
		d.tell(node, leader, report)
		select {
		case <-session.Done():
			return errors.New("session ended")
		case <-changed:
		}
	}
}

func (d *zkDetector) tell(node, leader string, report func(string)) {
	if d.told && node == d.last {
		return
	}
	d.last, d.told = node, true
	if leader == "" {
		d.log.Warn("no Mesos master leads", "path", d.path)
	} else {
		d.log.Info("detected the leading Mesos master", "master", leader)
	}
	report(leader)
}

// leader returns the leading master's node and its URL, "" for none, and a channel that
// receives when another one may lead.
func (d *zkDetector) leader(conn zkReader) (node, url string, _ <-chan zk.Event, _ error) {
	for {
		children, _, changed, err := conn.ChildrenW(d.path)
		if errors.Is(err, zk.ErrNoNode) {
			exists, _, changed, err := conn.ExistsW(d.path)
			if err == nil && exists {
				continue
			}
			return "", "", changed, err
		}
		if err != nil {
			return "", "", nil, err
		}
		first := firstCandidate(children)
		if first == "" {
			return "", "", changed, nil
		}
		data, _, err := conn.Get(d.path + "/" + first)
		if errors.Is(err, zk.ErrNoNode) {
			continue // gone between the two reads
		}
		if err != nil {
			return "", "", nil, err
		}
		address, err := masterAddress(first, data, d.scheme == "https")
		if err != nil {
			d.log.Error("skip undecodable master", "node", d.path+"/"+first, "error", err)
			return "", "", changed, nil
		}
		return first, d.scheme + "://" + address, changed, nil
	}
}

// firstCandidate is the child with the smallest sequence number, whatever its
// label, or "". Names that don't end in a number are not masters.
func firstCandidate(children []string) string {
	first, lowest := "", uint64(0)
	for _, c := range children {
		n, err := strconv.ParseUint(c[strings.LastIndexByte(c, '_')+1:], 10, 64)
		if err == nil && (first == "" || n < lowest) {
			first, lowest = c, n
		}
	}
	return first
}

// masterAddress reads a master's node: json.info_N since Mesos 0.24, info_N
// with a protobuf before, and an unlabelled pid before that.
// Certificates are issued to names, so with byName the master's own name is preferred to its address.
func masterAddress(name string, data []byte, byName bool) (string, error) {
	label, _, labelled := strings.Cut(name, "_")
	switch {
	case !labelled:
		return pidAddress(string(data))
	case label == "json.info":
		return jsonMasterAddress(data, byName)
	case label == "info":
		info := &mesos.MasterInfo{}
		if err := info.Unmarshal(data); err != nil {
			return "", err
		}
		address, err := pidAddress(info.GetPID())
		if err != nil {
			address, err = packedAddress(info.IP, int(info.GetPort()))
		}
		if byName {
			address = renamed(address, info.GetHostname())
		}
		return address, err
	}
	return "", fmt.Errorf("unknown label %q", label)
}

// jsonMasterAddress reads only the fields it needs: newer masters name
// capabilities that mesos-go's MasterInfo cannot hold.
func jsonMasterAddress(data []byte, byName bool) (string, error) {
	var info struct {
		Address struct {
			Hostname, IP string
			Port         int
		}
		Hostname string
		PID      string
		IP       uint32
		Port     int
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return "", err
	}
	address, err := pidAddress(info.PID)
	if err != nil {
		address, err = packedAddress(info.IP, info.Port)
	}
	if a := info.Address; a.Port != 0 && (a.IP != "" || a.Hostname != "") {
		address, err = net.JoinHostPort(cmp.Or(a.IP, a.Hostname), strconv.Itoa(a.Port)), nil
	}
	if byName {
		address = renamed(address, cmp.Or(info.Address.Hostname, info.Hostname))
	}
	return address, err
}

// renamed returns host:port with the host replaced, if one is given.
func renamed(address, host string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return address
	}
	return net.JoinHostPort(host, port)
}

// pidAddress reads a libprocess pid, master@10.0.0.1:5050.
func pidAddress(pid string) (string, error) {
	_, address, ok := strings.Cut(strings.TrimSpace(pid), "@")
	if !ok {
		return "", fmt.Errorf("%q is not a pid", pid)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return "", err
	}
	return address, nil
}

// packedAddress reads an IPv4 address in network byte order that a
// little-endian machine has read as a number.
func packedAddress(ip uint32, port int) (string, error) {
	if ip == 0 || port == 0 {
		return "", errors.New("it has no address")
	}
	a := netip.AddrFrom4([4]byte{byte(ip), byte(ip >> 8), byte(ip >> 16), byte(ip >> 24)})
	return netip.AddrPortFrom(a, uint16(port)).String(), nil
}
