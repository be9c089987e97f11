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
	strange  int              // nodes in <root>/state that hold no record
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
	all, strange, err := listFolder(session, root, "")
	if err != nil {
		return nil, nil, err
	}
	z.strange = strange
	kinds, err := childrenOf(session, root+"/go")
	if err != nil {
		return nil, nil, err
	}
	for _, kind := range kinds {
		if !isRecordKind(kind) {
			continue
		}
		z.kinds[kind] = true
		keys, _, err := listFolder(session, root, kind)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, keys...)
	}
	z.records, z.versions = make(map[string][]byte, len(all)), make(map[string]int32, len(all))
	return z, z.leaveForLater(all), nil
}

// leaveForLater notes the keys of records that are read on demand, and returns the others.
func (z *zkRecords) leaveForLater(keys []string) []string {
	return slices.DeleteFunc(keys, func(key string) bool {
		if onDemand(key) {
			z.versions[key] = anyVersion
		}
		return onDemand(key)
	})
}

// listFolder asks ZooKeeper for the keys of one kind, "" for those of the JVM versions. strange is how many nodes are there besides.
func listFolder(session *zkSession, root, kind string) (keys []string, strange int, err error) {
	names, err := childrenOf(session, folderOf(root, kind))
	if err != nil || kind == "" {
		keys = slices.DeleteFunc(names, func(name string) bool { return !isRecordName(name) })
		return keys, len(names) - len(keys), err
	}
	for i, name := range names {
		names[i] = "go/" + kind + "/" + name
	}
	return names, 0, nil
}

// folderOf returns the path of the folder of a kind, "" for that of the JVM versions' records.
func folderOf(root, kind string) string {
	if kind == "" {
		return root + "/state"
	}
	return root + "/go/" + kind
}

// childrenOf lists a folder, which need not exist: a JVM version's state has nothing of ours.
func childrenOf(session *zkSession, dir string) ([]string, error) {
	names, _, err := session.Children(dir)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list node %q: %w", dir, err)
	}
	return names, nil
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
