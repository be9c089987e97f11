package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
)

// watchMembers calls found with the ids of the instances that lead or stand by, in the
// order in which they will lead, now and after each change, until ctx or the session ends.
func watchMembers(ctx context.Context, session *zkSession, root string, found func(ids []string)) error {
	dir := root + "/candidate"
	if err := session.mkdirAll(dir); err != nil {
		return err
	}
	known := map[string]string{} // id by node
	for {
		names, _, changed, err := session.ChildrenW(dir)
		if err != nil {
			return fmt.Errorf("watch members in %q: %w", dir, err)
		}
		names = inLine(names, nil)
		ids, present := make([]string, 0, len(names)), make(map[string]string, len(names))
		for _, name := range names {
			id, ok := known[name]
			if !ok {
				data, _, err := session.Get(dir + "/" + name)
				if errors.Is(err, zk.ErrNoNode) {
					continue // it is gone already, which the watch tells
				}
				if err != nil {
					return err
				}
				id = string(data)
			}
			present[name] = id
			ids = append(ids, id)
		}
		known = present
		found(ids)
		if err := session.await(ctx, changed); err != nil {
			return err
		}
	}
}
