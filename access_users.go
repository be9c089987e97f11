package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxUsersFile bounds the users file, in bytes.
	maxUsersFile = 4 << 20
	// usersInterval is how often it is looked at.
	usersInterval = time.Second
	// tokenMark begins what stands for a token in the users file: its digest, in hexadecimal digits.
	tokenMark = "sha256-"
	// tokenPrefix begins tokens, so that they are known for what they are where they should not be.
	tokenPrefix = "chronos_"
)

// users is what one state of the users file says. It never changes.
type users struct {
	passwords map[string]account // by name
	tokens    map[string]*caller // by digest
	groups    map[string]grant   // of trusted proxies; * is for everybody whom they let in
	guarded   []string           // prefixes that scopes name
	doubtful  []string           // prefixes that end within a word
	decoy     string             // a hash for passwords of users that there are not: those take as long
}

// An account is a user with a password.
type account struct {
	*caller
	hash string // bcrypt
}

// parseUsers reads a users file. Its lines are
//
//	NAME:HASH:ROLE[:SCOPE,...]    somebody with a password, or with a token
//	@group:NAME:ROLE[:SCOPE,...]  a group that a trusted proxy names
//	@allow:ROLE:WHAT,...          what a role may set that gives more than a command
//	# a comment
//
// The error names the line, and never shows what may be a secret.
func parseUsers(text []byte) (*users, error) {
	u := &users{passwords: map[string]account{}, tokens: map[string]*caller{}, groups: map[string]grant{}}
	more, names := map[role]privileges{}, map[string]bool{}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(strings.TrimRight(line, " \t\r"), "@allow:"); ok {
			if err := parseAllowance(rest, more); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
	}
	for i, line := range lines {
		line = strings.TrimRight(line, " \t\r")
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "@allow:") {
			continue
		}
		if err := u.parseLine(line, more, names); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	slices.Sort(u.guarded)
	u.guarded = slices.Compact(u.guarded)
	return u, nil
}

// parseAllowance reads what follows @allow:.
func parseAllowance(text string, more map[role]privileges) error {
	name, list, ok := strings.Cut(text, ":")
	if !ok {
		return errors.New("want @allow:ROLE:WHAT[,WHAT...], as in @allow:edit:volumes")
	}
	r, err := parseRole(name)
	if err != nil {
		return err
	}
	if r < editRole {
		return fmt.Errorf("the role %s changes no jobs, so there is nothing to allow it", r)
	}
	set, err := parsePrivileges(list)
	more[r] |= set
	return err
}

// parseLine reads the line of a user or a group.
func (u *users) parseLine(line string, more map[role]privileges, names map[string]bool) error {
	if rest, ok := strings.CutPrefix(line, "@group:"); ok {
		name, rights, ok := strings.Cut(rest, ":")
		if !ok || name == "" {
			return errors.New("want @group:NAME:ROLE[:SCOPE,...]")
		}
		if _, twice := u.groups[name]; twice {
			return fmt.Errorf("group %q stands there twice", name)
		}
		g, err := u.parseGrant(rights, more)
		u.groups[name] = g
		return err
	}
	name, rest, _ := strings.Cut(line, ":")
	hash, rights, ok := strings.Cut(rest, ":")
	switch {
	case name == "" || name[0] == '@' || strings.TrimSpace(name) != name:
		return errors.New("it begins with neither a user's name, @group:, @allow: nor #")
	case !ok:
		return fmt.Errorf("user %q has no role; put :read, :run, :edit or :admin behind the hash", name)
	case names[name]:
		return fmt.Errorf("user %q stands there twice", name)
	}
	names[name] = true
	g, err := u.parseGrant(rights, more)
	if err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	id := &caller{name: name, how: byPassword, grants: []grant{g}}
	if digest, ok := strings.CutPrefix(hash, tokenMark); ok {
		id.how, id.mark = byToken, digest
		if len(digest) != 2*sha256.Size || strings.Trim(digest, "0123456789abcdef") != "" {
			return fmt.Errorf("user %q: behind %s there are not 64 hexadecimal digits", name, tokenMark)
		}
		u.tokens[digest] = id
		return nil
	}
	if err := checkHash(hash); err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	id.mark = hash
	u.passwords[name], u.decoy = account{id, hash}, hash
	return nil
}

// parseGrant reads ROLE[:SCOPE,...].
func (u *users) parseGrant(text string, more map[role]privileges) (grant, error) {
	name, rest, scoped := strings.Cut(text, ":")
	r, err := parseRole(name)
	g := grant{role: r, more: more[r]}
	if err != nil || !scoped {
		return g, err
	}
	if g.scope, err = parseScope(rest); err != nil {
		return grant{}, err
	}
	for _, part := range g.scope {
		if part.prefix == "" {
			continue
		}
		u.guarded = append(u.guarded, part.prefix)
		if endsInWord(part.prefix) {
			u.doubtful = append(u.doubtful, part.prefix)
		}
	}
	return g, nil
}

// endsInWord reports whether a prefix of names is also one of names whose first word is longer.
func endsInWord(prefix string) bool { return strings.IndexByte("_.#- ", prefix[len(prefix)-1]) < 0 }

// proxied is somebody whom a trusted proxy names.
func (u *users) proxied(name string, groups []string) (*caller, error) {
	id := &caller{name: name, how: byProxy, groups: groups}
	for _, group := range append([]string{"*"}, groups...) {
		if g, ok := u.groups[group]; ok {
			id.grants = append(id.grants, g)
		}
	}
	if len(id.grants) == 0 {
		return nil, &notYours{fmt.Sprintf("user %q is in no group that the users file gives a role", name)}
	}
	return id, nil
}

// newToken returns a token, and what stands for it in the users file.
func newToken() (token, mark string) {
	token = tokenPrefix + strings.ToLower(rand.Text()+rand.Text())
	return token, tokenMark + tokenDigest(token)
}

// A usersFile is the users file, read again whenever it has changed. A broken one leaves the old users in force.
type usersFile struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	text    []byte // as it was last read, good or not
	users   *users // in force
	broken  string // why the file as it is now is not in force, "" if it is
	changes chan struct{}
}

// openUsersFile reads the file for the first time; then it must be good.
func openUsersFile(path string, log *slog.Logger) (*usersFile, error) {
	f := &usersFile{path: path, log: log, changes: make(chan struct{})}
	text, err := readUsersFile(path)
	if err != nil {
		return nil, err
	}
	u, err := parseUsers(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.text, f.users = text, u
	f.tell(u)
	return f, nil
}

func readUsersFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxUsersFile+1))
	if err == nil && len(text) > maxUsersFile {
		err = fmt.Errorf("%s has more than %d MiB", path, maxUsersFile>>20)
	}
	return text, err
}

// tell logs what a person should know of users that come into force.
func (f *usersFile) tell(u *users) {
	f.log.Info("users are in force", "file", f.path, "passwords", len(u.passwords), "tokens", len(u.tokens), "groups", len(u.groups))
	for _, prefix := range u.doubtful {
		f.log.Warn("a scope ends in a letter or digit, so it has more than the names that go on behind a separator: "+
			prefix+" is also "+prefix+"b; end it with -, _, . or #", "scope", prefix)
	}
	if info, err := os.Stat(f.path); err == nil && info.Mode().Perm()&0o006 != 0 {
		f.log.Warn("everybody on this machine may read or write the users file", "file", f.path, "mode", info.Mode().Perm())
	}
}

// current returns the users in force, and a channel that is closed when others are.
func (f *usersFile) current() (*users, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.users, f.changes
}

// look reads the file, and puts it in force if it has changed and is good.
func (f *usersFile) look() {
	text, err := readUsersFile(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && bytes.Equal(text, f.text) {
		if f.broken != "" && f.parsed(text) { // it could not be read in between
			f.broken = ""
		}
		return
	}
	var u *users
	if err == nil {
		f.text = text
		u, err = parseUsers(text)
	}
	if err != nil {
		if why := err.Error(); why != f.broken {
			f.broken = why
			f.log.Error("the users file can't be used; the users that were read before stay in force", "file", f.path, "error", err)
		}
		return
	}
	f.broken, f.users = "", u
	f.tell(u)
	close(f.changes)
	f.changes = make(chan struct{})
}

func (f *usersFile) parsed(text []byte) bool {
	_, err := parseUsers(text)
	return err == nil
}

// problem is why the file as it is now is not in force, "" if it is.
func (f *usersFile) problem() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == "" {
		return ""
	}
	return "the users file can't be used, and the users that were read before stay in force: " + f.broken
}
