package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-zookeeper/zk"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestMasterForms(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "master")
	if err := os.WriteFile(file, []byte("m1:5050\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nested := filepath.Join(t.TempDir(), "nested")
	if err := os.WriteFile(nested, []byte("file://"+file), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		master string
		secure bool
		want   string // the URL reported, or the start of an error
	}{
		{"m1:5050", false, "http://m1:5050"},
		{"m1:5050", true, "https://m1:5050"},
		{"master@10.0.0.1:5050", false, "http://10.0.0.1:5050"},
		{"[::1]:5050", false, "http://[::1]:5050"},
		{"http://m1:5050", true, "http://m1:5050"},
		{"https://m1:5050/", false, "https://m1:5050"},
		{"file://" + file, false, "http://m1:5050"},
		{"file://" + nested, false, `file "`},
		{"file:///does/not/exist", false, "read --master"},
		{"m1", false, `master "m1" is not host:port`},
		{"m1:5050,m2:5050", false, `master "m1:5050,m2:5050" is not host:port`},
		{":5050", false, `master ":5050" is not host:port`},
		{"m1:0", false, `master "m1:0" is not host:port`},
		{"ftp://m1:5050", false, "unknown form of --master"},
		{"zk://h1:2181/", false, "master zk://h1:2181: the path of the masters is missing"},
		{"zk://h1:2181", false, "master zk://h1:2181: the path of the masters is missing"},
		{"zk://user:secret@h1:2181", false, "master zk://h1:2181: the path"},
	}
	for _, tt := range tests {
		got := ""
		follow, err := newDetector(tt.master, tt.secure, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			got = err.Error()
		} else {
			follow(t.Context(), func(url string) { got = url })
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("newDetector(%q) = %q, want %q", tt.master, got, tt.want)
		}
	}
}

func TestFirstCandidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		children []string
		want     string
	}{
		{nil, ""},
		{[]string{"log_replicas"}, ""},
		{[]string{"log_replicas", "json.info_0000000012", "json.info_0000000003"}, "json.info_0000000003"},
		{[]string{"json.info_0000000012", "info_0000000003"}, "info_0000000003"},
		{[]string{"0000000012", "info_0000000013"}, "0000000012"},
		{[]string{"json.info_0000000010", "json.info_9"}, "json.info_9"},
	}
	for _, tt := range tests {
		if got := firstCandidate(tt.children); got != tt.want {
			t.Errorf("firstCandidate(%q) = %q, want %q", tt.children, got, tt.want)
		}
	}
}

func TestMasterAddress(t *testing.T) {
	t.Parallel()
	legacy := &mesos.MasterInfo{ID: "x", IP: 16777226, Port: new(uint32(5050)), PID: new("master@10.0.0.2:5051")}
	withPID, err := legacy.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	legacy.PID = nil
	withoutPID, err := legacy.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const real = `{"address":{"hostname":"127.0.0.1","ip":"127.0.0.1","port":5050},"capabilities":[{"type":"AGENT_UPDATE"},{"type":"AGENT_DRAINING"},{"type":"QUOTA_V2"}],"hostname":"127.0.0.1","id":"c82057b5-6c54-4a8a-8a22-e0ed091da7c7","ip":16777343,"pid":"master@127.0.0.1:5050","port":5050,"version":"1.12.0"}`
	tests := []struct {
		name, node, data, want string
	}{
		{"a real one", "json.info_0000000001", real, "127.0.0.1:5050"},
		{"host name only", "json.info_1", `{"address":{"hostname":"m1","port":1},"pid":"master@10.0.0.1:5050"}`, "m1:1"},
		{"IPv6", "json.info_1", `{"address":{"ip":"fe80::1","port":1}}`, "[fe80::1]:1"},
		{"pid", "json.info_1", `{"pid":"master@10.0.0.1:5050","ip":1,"port":2}`, "10.0.0.1:5050"},
		{"number", "json.info_1", `{"ip":16777226,"port":5050}`, "10.0.0.1:5050"},
		{"protobuf", "info_1", string(withPID), "10.0.0.2:5051"},
		{"protobuf without a pid", "info_1", string(withoutPID), "10.0.0.1:5050"},
		{"no label", "0000000001", "master@10.0.0.1:5050", "10.0.0.1:5050"},
		{"nothing in it", "json.info_1", `{}`, "error"},
		{"no JSON", "json.info_1", `x`, "error"},
		{"no protobuf", "info_1", "\xff", "error"},
		{"no pid", "0000000001", "x", "error"},
		{"unknown label", "yaml.info_1", "x", "error"},
	}
	for _, tt := range tests {
		got, err := masterAddress(tt.node, []byte(tt.data), false)
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("%s: masterAddress(%q) = %q, %v, want %q", tt.name, tt.node, got, err, tt.want)
		}
	}
}

// memoryZK is a ZooKeeper with one directory, as far as detection needs it.
type memoryZK struct {
	mu       sync.Mutex
	nodes    map[string]string // child -> data
	missing  bool              // the directory
	vanishes string            // a child that is gone once it has been listed
	watches  []chan zk.Event
	sessions []context.CancelFunc
	down     bool
	opened   int
}

func (z *memoryZK) open(ctx context.Context, hosts []string, auth string) (context.Context, zkReader, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.opened++
	if z.down {
		return nil, nil, errors.New("no server")
	}
	session, end := context.WithCancel(ctx)
	z.sessions = append(z.sessions, end)
	return session, z, nil
}

func (z *memoryZK) watch() <-chan zk.Event {
	c := make(chan zk.Event, 1)
	z.watches = append(z.watches, c)
	return c
}

// change alters the directory and fires the watches.
func (z *memoryZK) change(f func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f()
	for _, c := range z.watches {
		c <- zk.Event{}
		close(c)
	}
	z.watches = nil
}

func (z *memoryZK) ChildrenW(path string) ([]string, *zk.Stat, <-chan zk.Event, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.missing || path != "/mesos" {
		return nil, nil, nil, zk.ErrNoNode
	}
	var names []string
	for name := range z.nodes {
		names = append(names, name)
	}
	delete(z.nodes, z.vanishes)
	return names, nil, z.watch(), nil
}

func (z *memoryZK) ExistsW(path string) (bool, *zk.Stat, <-chan zk.Event, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return !z.missing, nil, z.watch(), nil
}

func (z *memoryZK) Get(path string) ([]byte, *zk.Stat, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	data, ok := z.nodes[strings.TrimPrefix(path, "/mesos/")]
	if !ok {
		return nil, nil, zk.ErrNoNode
	}
	return []byte(data), nil, nil
}

// Certificates are issued to names: where TLS is spoken the name that a master gives itself is used.
func TestMasterNameForTLS(t *testing.T) {
	t.Parallel()
	legacy := &mesos.MasterInfo{ID: "x", IP: 16777226, Port: new(uint32(5050)), PID: new("master@10.0.0.2:5051"), Hostname: new("m2")}
	packed, err := legacy.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, node, data, want string }{
		{"name beside the address", "json.info_1", `{"address":{"hostname":"m1.example","ip":"10.0.0.1","port":5050},"hostname":"m1"}`, "m1.example:5050"},
		{"name of the master only", "json.info_1", `{"address":{"ip":"10.0.0.1","port":5050},"hostname":"m1"}`, "m1:5050"},
		{"name and a pid", "json.info_1", `{"pid":"master@10.0.0.1:5050","hostname":"m1"}`, "m1:5050"},
		{"no name", "json.info_1", `{"address":{"ip":"10.0.0.1","port":5050}}`, "10.0.0.1:5050"},
		{"protobuf", "info_1", string(packed), "m2:5051"},
		{"no label", "0000000001", "master@10.0.0.1:5050", "10.0.0.1:5050"},
	} {
		got, err := masterAddress(tt.node, []byte(tt.data), true)
		if err != nil || got != tt.want {
			t.Errorf("%s: masterAddress(%q) = %q, %v, want %q", tt.name, tt.data, got, err, tt.want)
		}
	}
}

func pidNode(host string) string { return `{"pid":"master@` + host + `:5050"}` }

func TestDetectorFollowsZooKeeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := &memoryZK{nodes: map[string]string{"log_replicas": ""}, missing: true}
		follow, err := newDetector("zk://u:p@h1:1,h2:2/mesos", false, z.open, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var told []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			follow(ctx, func(url string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, url)
			})
		}()
		steps := []func(){
			func() { z.change(func() { z.missing = false }) },
			func() { z.change(func() { z.nodes["json.info_0000000002"] = pidNode("m2") }) },
			func() { z.change(func() { z.nodes["json.info_0000000003"] = pidNode("m3") }) }, // not the lowest
			func() { // the session ends: the last answer stands
				z.mu.Lock()
				defer z.mu.Unlock()
				z.down = true
				z.sessions[len(z.sessions)-1]()
			},
			func() { z.change(func() { z.down = false }) },
			func() { z.change(func() { delete(z.nodes, "json.info_0000000002") }) },
			func() { // restarted at the same address
				z.change(func() { z.nodes = map[string]string{"json.info_0000000004": pidNode("m3")} })
			},
			func() {
				z.change(func() { z.nodes["json.info_0000000001"], z.vanishes = pidNode("m1"), "json.info_0000000001" })
			},
			func() { z.change(func() { clear(z.nodes) }) },
		}
		for _, step := range steps {
			synctest.Wait()
			step()
			time.Sleep(3 * zkPause)
		}
		synctest.Wait()
		cancel()
		<-done
		want := []string{"", "http://m2:5050", "http://m3:5050", "http://m3:5050", ""}
		if !reflect.DeepEqual(told, want) {
			t.Errorf("leaders told = %q, want %q", told, want)
		}
		if z.opened < 3 {
			t.Errorf("%d sessions opened, want new attempts while ZooKeeper is away", z.opened)
		}
	})
}
