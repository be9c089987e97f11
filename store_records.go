package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-zookeeper/zk"
)

// zkRecords are the records of a state, as read from ZooKeeper, and what is to be known about their nodes.
type zkRecords struct {
	records  map[string][]byte
	versions map[string]int32 // of every node that may be read, and of those that are read on demand
	orders   map[string]order // of those that others may write
	unread   map[string]error // why a record can't be read
	kinds    map[string]bool  // the folders below <root>/go
}

// pathOf returns the path of a key's node.
func pathOf(root, key string) string {
	if kindOf(key) != "" {
		return root + "/" + key
	}
	return root + "/state/" + key
}

// keyOf is the inverse of pathOf. Of a folder below <root>/go it returns the key with no name, go/<kind>/, and of any other
// node that holds no record "".
func keyOf(root, node string) string {
	below, ok := strings.CutPrefix(node, root+"/")
	if !ok {
		return ""
	}
	if name, ok := strings.CutPrefix(below, "state/"); ok && isRecordName(name) {
		return name
	}
	rest, ok := strings.CutPrefix(below, "go/")
	kind, name, _ := strings.Cut(rest, "/")
	if !ok || kind == "" || !isRecordKind(kind) || strings.Contains(name, "/") {
		return ""
	}
	return "go/" + kind + "/" + name
}

// isRecordName reports whether a node below <root>/state holds a record of a scheduler.
func isRecordName(name string) bool {
	return (strings.HasPrefix(name, "J_") || strings.HasPrefix(name, "T_") || name == frameworkIDKey) && !strings.Contains(name, "/")
}

// isRecordKind reports whether a folder below <root>/go holds records.
func isRecordKind(kind string) bool { return kind != "term" && kind != "instances" }

// listRecords asks ZooKeeper for the keys of all records, and returns those that are to be read.
func listRecords(session *zkSession, root string) (*zkRecords, []string, error) {
	z := &zkRecords{orders: map[string]order{}, unread: map[string]error{}, kinds: map[string]bool{}}
	children := func(dir string) ([]string, error) {
		names, _, err := session.Children(root + "/" + dir)
		if errors.Is(err, zk.ErrNoNode) {
			return nil, nil // a JVM version's state, with nothing of ours yet
		}
		if err != nil {
			return nil, fmt.Errorf("list node %q: %w", root+"/"+dir, err)
		}
		return names, nil
	}
	names, err := children("state")
	if err != nil {
		return nil, nil, err
	}
	keys := slices.DeleteFunc(names, func(name string) bool { return !isRecordName(name) })
	kinds, err := children("go")
	if err != nil {
		return nil, nil, err
	}
	var later []string
	for _, kind := range kinds {
		if !isRecordKind(kind) {
			continue
		}
		z.kinds[kind] = true
		names, err := children("go/" + kind)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range names {
			if key := "go/" + kind + "/" + name; onDemand(key) {
				later = append(later, key)
			} else {
				keys = append(keys, key)
			}
		}
	}
	z.records, z.versions = make(map[string][]byte, len(keys)), make(map[string]int32, len(keys))
	for _, key := range later {
		z.versions[key] = anyVersion
	}
	return z, keys, nil
}

// put takes in what a node holds. The error is about ZooKeeper.
func (z *zkRecords) put(key string, n zkNode) error {
	z.drop(key)
	r, err := readingOf(key, n)
	if err != nil {
		return err
	}
	if n.err == nil {
		z.versions[key] = n.version
		if (others{}).wants(key) {
			z.orders[key] = n.order
		}
	}
	switch {
	case r.err != nil:
		z.unread[key] = r.err
	case r.value != nil: // otherwise it has been deleted
		z.records[key] = r.value
	}
	return nil
}

// drop forgets a record.
func (z *zkRecords) drop(key string) {
	delete(z.records, key)
	delete(z.versions, key)
	delete(z.orders, key)
	delete(z.unread, key)
}

// readingOf returns the record of a key from its node. The error is about ZooKeeper.
func readingOf(key string, n zkNode) (reading, error) {
	r := reading{record: record{key: key}}
	switch {
	case errors.Is(n.err, zk.ErrNoNode):
		return r, nil
	case errors.Is(n.err, zk.ErrNoAuth):
		r.err = n.err
		return r, nil
	case n.err != nil:
		return r, fmt.Errorf("read the node of record %q: %w", key, n.err)
	}
	value := n.data
	if kindOf(key) == "" {
		e, err := decodeVariable(n.data)
		if err != nil {
			r.err = err
			return r, nil
		}
		value = e.value
	}
	r.value = append([]byte{}, value...) // not nil, and not part of a larger array
	return r, nil
}
