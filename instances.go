package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
)

// An instance is what others need to know of a running instance beyond host:port,
// which is all that latch nodes can say. The zero value stands for a JVM version.
type instance struct {
	Scheme  string `json:"scheme,omitempty"`  // "https" where plain HTTP is off
	Port    int    `json:"port,omitempty"`    // of that scheme
	Version string `json:"version,omitempty"` // of the program
}

// instanceNode returns the node of the instance with the id host:port.
func instanceNode(root, id string) string { return root + "/go/instances/" + recordName(id) }

// register tells the others how this instance is reached, for as long as the session
// lasts. It comes before the candidacy, so that who sees a leader finds its instance.
func register(session *zkSession, root, id string, at instance) error {
	data, err := json.Marshal(at)
	if err != nil {
		return err
	}
	if err := session.mkdirAll(root + "/go/instances"); err != nil {
		return err
	}
	node := instanceNode(root, id)
	// A node under our own address is a lost session's, or a dead predecessor's.
	if err := session.Delete(node, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
		return fmt.Errorf("delete old instance node %q: %w", node, err)
	}
	if _, err := session.Create(node, data, zk.FlagEphemeral, session.acl); err != nil {
		return fmt.Errorf("create instance node %q: %w", node, err)
	}
	return nil
}

// lookUpInstance returns how the instance with the id host:port is reached, the zero value if it has not said.
func lookUpInstance(session *zkSession, root, id string) (instance, error) {
	data, _, err := session.Get(instanceNode(root, id))
	if errors.Is(err, zk.ErrNoNode) {
		return instance{}, nil
	}
	if err != nil {
		return instance{}, err
	}
	var at instance
	if err := json.Unmarshal(data, &at); err != nil {
		return instance{}, fmt.Errorf("instance node of %q: %w", id, err)
	}
	return at, nil
}
