//go:build services

package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/chronos-go/chronos/internal/zktest"
	"github.com/go-zookeeper/zk"
)

// Reading nodes together gives the answers that reading each one does.
func TestReadingManyNodes(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	owner := authSession(t, hosts, "chronos:secret")
	nodes := map[string][]byte{"J_empty": nil, "J_private": []byte("secret"), "J_hidden": []byte("hidden")}
	var keys []string
	for i := range 3 * readBatch / 2 {
		name := fmt.Sprint("J_", i)
		nodes[name] = []byte(name)
		keys = append(keys, name)
	}
	keys = append(keys, "J_empty", "J_private", "J_hidden", "J_gone")
	plant(t, owner, root+"/state", nodes)
	for node, acl := range map[string][]zk.ACL{
		"J_private": zk.DigestACL(zk.PermAll, "chronos", "secret"),
		"J_hidden":  zk.DigestACL(zk.PermAll, "someone", "else"),
	} {
		if _, err := owner.SetACL(root+"/state/"+node, acl, -1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := owner.Set(root+"/state/J_1", []byte("again"), -1); err != nil {
		t.Fatal(err)
	}
	for _, session := range []*zkSession{owner, testSession(t, hosts)} {
		s := &zkStore{session: session, root: root}
		many, err := s.readMany(t.Context(), keys)
		if err != nil {
			t.Fatal(err)
		}
		each, err := s.readEach(t.Context(), keys)
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			a, b := many[i], each[i]
			if string(a.data) != string(b.data) || a.version != b.version || !errors.Is(a.err, b.err) {
				t.Errorf("node %q read with others = %v, read alone = %v", key, a, b)
			}
		}
		if session == owner && string(many[len(many)-3].data) != "secret" {
			t.Errorf("the private node = %v, want it read with our credentials", many[len(many)-3])
		}
	}
}

func TestOldServersAreTold(t *testing.T) {
	t.Parallel()
	hosts, _ := zktest.Shared(t)
	r, err := openZKWire(t.Context(), testSession(t, hosts))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	r.extend(10 * time.Second)
	if _, err := r.call(r.request(222)); !errors.Is(err, errOldServer) {
		t.Errorf("a request unknown to the server = %v, want %v", err, errOldServer)
	}
}
