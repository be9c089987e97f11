package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-zookeeper/zk"
)

// A candidate stands for election in the manner of Curator's LeaderLatch, whose
// nodes are <dir>/_c_<guid>-latch-<sequence>, ephemeral, with the id of the instance
// as data: the first in the sequence leads, and each of the others waits for the one before
// it. There is one candidate per process, for all its sessions.
type candidate struct {
	dir    string
	id     string // host:port at which others reach this instance
	logger *slog.Logger

	mu     sync.Mutex
	made   map[string]bool // every GUID made by this process
	warned map[string]bool // stray nodes that were logged
	node   string          // of the current session, "" for none
}

// newCandidate returns a candidate for the latch in dir (<zk_path>/candidate).
func newCandidate(dir, id string, logger *slog.Logger) *candidate {
	return &candidate{dir: dir, id: id, logger: logger, made: map[string]bool{}, warned: map[string]bool{}}
}

// campaign returns when this instance leads, with the path of its latch node, which
// exists as long as the session. afterJVM reports that a JVM version was ahead of us
// until the end: its second session may still write for a while. If ctx ends, the node
// stays in line until resign. It calls next, which may be nil, when only the leader is ahead of us.
func (c *candidate) campaign(ctx context.Context, session *zkSession, next func()) (latch string, afterJVM bool, err error) {
	if err := session.mkdirAll(c.dir); err != nil {
		return "", false, err
	}
	c.mu.Lock()
	c.node = "" // of a session before this one, if any; line removes it
	c.mu.Unlock()
	for {
		ahead, own, changed, err := c.line(session)
		switch {
		case err != nil:
			return "", false, err
		case own == "":
			if err := c.stand(session); err != nil {
				return "", false, err
			}
			continue
		case len(ahead) == 0:
			return c.dir + "/" + own, afterJVM, nil
		}
		if len(ahead) == 1 && next != nil {
			next()
		}
		// Every change of the line is checked, not only the end of the node before ours: that is
		// the only way to know who led last.
		afterJVM = slices.ContainsFunc(ahead, madeByJVM)
		if err := session.await(ctx, changed); err != nil {
			return "", false, fmt.Errorf("wait for leadership: %w", err)
		}
	}
}

// line returns our node, if it exists, those ahead of it, and a watch for the next
// change of the line. It removes nodes of this process's lost sessions.
func (c *candidate) line(session *zkSession) (ahead []string, own string, changed <-chan zk.Event, err error) {
	names, _, changed, err := session.ChildrenW(c.dir)
	if err != nil {
		return nil, "", nil, fmt.Errorf("watch candidates in %q: %w", c.dir, err)
	}
	current := c.current()
	for _, name := range inLine(names, c.stray) {
		switch {
		case name == current:
			return ahead, name, changed, nil
		case !c.isMine(name):
			ahead = append(ahead, name)
		default:
			if err := session.Delete(c.dir+"/"+name, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
				return nil, "", nil, fmt.Errorf("delete latch node %q of a lost session: %w", name, err)
			}
		}
	}
	return ahead, "", changed, nil
}

// stand creates our node. The GUID is recorded first: if the connection breaks, the
// node may exist without our knowing its name.
func (c *candidate) stand(session *zkSession) error {
	id := newUUID()
	guid := hex.EncodeToString(id[:]) // Curator's have dashes, which distinguishes them from ours
	c.mu.Lock()
	c.made[guid] = true
	c.mu.Unlock()
	node, err := session.Create(c.dir+"/_c_"+guid+"-latch-", []byte(c.id), zk.FlagEphemeral|zk.FlagSequence, session.acl)
	if err != nil {
		return fmt.Errorf("create latch node in %q: %w", c.dir, err)
	}
	c.mu.Lock()
	c.node = strings.TrimPrefix(node, c.dir+"/")
	c.mu.Unlock()
	return nil
}

// resign gives up leadership, or the position in line, at once.
func (c *candidate) resign(session *zkSession) error {
	c.mu.Lock()
	node := c.node
	c.node = ""
	c.mu.Unlock()
	if node == "" {
		return nil
	}
	if err := session.Delete(c.dir+"/"+node, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
		return fmt.Errorf("delete latch node %q: %w", node, err)
	}
	return nil
}

// heir returns the node of the instance that will lead next, "" for none.
func (c *candidate) heir(session *zkSession) (string, error) {
	names, err := latchNodes(session, c.dir, nil)
	if err != nil {
		return "", err
	}
	if i := slices.Index(names, c.current()); i >= 0 && i+1 < len(names) {
		return names[i+1], nil
	}
	return "", nil
}

// hold returns when latch is gone: deleted by hand, since otherwise it exists as
// long as the session. It returns nil then, and an error if the session or ctx ends first.
func (c *candidate) hold(ctx context.Context, session *zkSession, latch string) error {
	for {
		_, _, changed, err := session.GetW(latch)
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		if err == nil {
			err = session.await(ctx, changed)
		}
		if err != nil {
			return err
		}
	}
}

func (c *candidate) current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

// isMine reports whether this process created the node.
func (c *candidate) isMine(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made[latchGUID(name)]
}

// stray logs, once, a node that is not a candidate. JVM versions count it as one, and
// if it is first in their order, none of them ever leads.
func (c *candidate) stray(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.warned[name] {
		c.warned[name] = true
		c.logger.Warn("a node in the latch is not a candidate; JVM versions may wait for it forever", "node", c.dir+"/"+name)
	}
}

// latchNodes returns the names of the candidates' nodes, the leader's first.
func latchNodes(session *zkSession, dir string, stray func(name string)) ([]string, error) {
	names, _, err := session.Children(dir)
	if err != nil {
		return nil, fmt.Errorf("list candidates in %q: %w", dir, err)
	}
	return inLine(names, stray), nil
}

// inLine sorts candidates by the text after the last "latch-", as Curator does,
// and leaves out names without one.
func inLine(names []string, stray func(name string)) []string {
	candidates := slices.DeleteFunc(names, func(name string) bool {
		_, ok := latchSequence(name)
		if !ok && stray != nil {
			stray(name)
		}
		return !ok
	})
	slices.SortFunc(candidates, func(a, b string) int {
		x, _ := latchSequence(a)
		y, _ := latchSequence(b)
		return strings.Compare(x, y)
	})
	return candidates
}

// latchSequence returns the text after the last "latch-".
func latchSequence(name string) (string, bool) {
	const mark = "latch-"
	at := strings.LastIndex(name, mark)
	if at < 0 {
		return "", false
	}
	return name[at+len(mark):], true
}

// latchGUID returns what is between "_c_" and "-latch-", or "".
func latchGUID(name string) string {
	rest, ok := strings.CutPrefix(name, "_c_")
	at := strings.LastIndex(rest, "-latch-")
	if !ok || at < 0 {
		return ""
	}
	return rest[:at]
}

// madeByJVM reports whether Curator created the node: its GUIDs have dashes, ours don't.
func madeByJVM(name string) bool { return strings.Contains(latchGUID(name), "-") }

// watchLeader calls found with the leader's id, "" for none, and with how to reach
// it, now and after each change, until ctx or the session ends. A problem says why that is not known: then the
// leader is taken to be a JVM version, reachable at its id.
func watchLeader(ctx context.Context, session *zkSession, root string, found func(id string, at instance, problem error)) error {
	dir := root + "/candidate"
	if err := session.mkdirAll(dir); err != nil {
		return err
	}
	last := "unknown"
	for {
		names, _, changed, err := session.ChildrenW(dir)
		if err != nil {
			return fmt.Errorf("watch candidates in %q: %w", dir, err)
		}
		first := append(inLine(names, nil), "")[0]
		if first != last {
			id, at, err := leaderOf(session, root, first)
			if errors.Is(err, zk.ErrNoNode) {
				continue // it is gone already
			}
			var problem error
			if useless, ok := errors.AsType[*instanceError](err); ok {
				problem, err = useless, nil
			}
			if err != nil {
				return err
			}
			last = first
			found(id, at, problem)
		}
		if err := session.await(ctx, changed); err != nil {
			return err
		}
	}
}

// leaderOf reads the candidate's id and where that instance is.
func leaderOf(session *zkSession, root, name string) (string, instance, error) {
	if name == "" {
		return "", instance{}, nil
	}
	id, _, err := session.Get(root + "/candidate/" + name)
	if err != nil {
		return "", instance{}, err
	}
	at, err := lookUpInstance(session, root, string(id))
	return string(id), at, err
}

// An instance is what others need to know about a running instance beyond host:port,
// which is all that latch nodes can hold. The zero value stands for a JVM version.
type instance struct {
	Scheme  string `json:"scheme,omitempty"`  // "https" if plain HTTP is off
	Port    int    `json:"port,omitempty"`    // of that scheme
	Version string `json:"version,omitempty"` // of the program
	Knows   int    `json:"knows,omitempty"`   // what of ours it understands: knownHere of its version
	Access  string `json:"access,omitempty"`  // names its options of access; "" if everybody may do everything, or one password does
}

// knownHere counts up whenever a job may say something new, or something new may be asked for, that an earlier version of this
// program would not understand: what it is sent would be lost without a word.
const knownHere = 1

// instanceNode returns the node of the instance with the id host:port.
func instanceNode(root, id string) string { return root + "/go/instances/" + recordName(id) }

// register tells the others how to reach this instance, until the session
// ends. It comes before the candidacy, so that those who see a leader find its instance.
func register(session *zkSession, root, id string, at instance) error {
	data, err := json.Marshal(at)
	if err != nil {
		return err
	}
	if err := session.mkdirAll(root + "/go/instances"); err != nil {
		return err
	}
	node := instanceNode(root, id)
	// A node under our own address belongs to a lost session or a dead predecessor.
	if err := session.Delete(node, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
		return fmt.Errorf("delete old instance node %q: %w", node, err)
	}
	if _, err := session.Create(node, data, zk.FlagEphemeral, session.acl); err != nil {
		return fmt.Errorf("create instance node %q: %w", node, err)
	}
	return nil
}

// lookUpInstance returns how to reach the instance with the id host:port, the zero value if its node does not exist.
// An *instanceError means that the node says nothing useful.
func lookUpInstance(session *zkSession, root, id string) (instance, error) {
	data, _, err := session.Get(instanceNode(root, id))
	if errors.Is(err, zk.ErrNoNode) {
		return instance{}, nil
	}
	if err != nil {
		return instance{}, err
	}
	var at instance
	err = json.Unmarshal(data, &at)
	if err == nil {
		err = at.check()
	}
	if err != nil {
		return instance{}, &instanceError{instanceNode(root, id), err}
	}
	return at, nil
}

// lookUpInstances returns how to reach instances, as far as their nodes say.
func lookUpInstances(session *zkSession, root string, ids []string) map[string]instance {
	found := make(map[string]instance, len(ids))
	for _, id := range ids {
		if at, err := lookUpInstance(session, root, id); err == nil && at != (instance{}) {
			found[id] = at
		}
	}
	return found
}

// An instanceError means that an instance's node says nothing useful.
type instanceError struct {
	node string
	err  error
}

func (e *instanceError) Error() string {
	return fmt.Sprintf("node %q does not say how to reach the instance: %v", e.node, e.err)
}

func (e *instanceError) Unwrap() error { return e.err }

// check refuses what register never writes.
func (at instance) check() error {
	switch {
	case at.Scheme != "" && at.Scheme != "http" && at.Scheme != "https":
		return fmt.Errorf("unknown scheme %q", at.Scheme)
	case at.Port < 0 || at.Port > 65535 || at.Scheme == "https" && at.Port == 0:
		return fmt.Errorf("no port %d", at.Port)
	}
	return nil
}

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
					continue // it is gone already, which the watch will report
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

// A peer is another instance as seen by a forwarder.
type peer struct {
	scheme, host string // http or https, host:port
	native       bool   // knows request ids, so a write may be sent to it twice; the JVM versions don't
	knows        bool   // understands all that this version does
	guards       bool   // looks at who asks, and what his role is
}

// peer returns how to reach the instance with that id.
func (at instance) peer(id string) peer {
	if at == (instance{}) {
		return peer{scheme: "http", host: id} // a JVM version
	}
	p := peer{scheme: "http", host: id, native: true, knows: at.Knows >= knownHere, guards: at.Access != ""}
	if at.Scheme == "https" {
		host, _, err := net.SplitHostPort(id)
		if err != nil {
			host = id
		}
		p.scheme, p.host = "https", net.JoinHostPort(host, strconv.Itoa(at.Port))
	}
	return p
}
