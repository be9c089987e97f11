package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
)

// A role is how much somebody may do. Each one may do all that the ones before it may.
type role int

const (
	noRole    role = iota
	readRole       // look
	runRole        // start jobs as they are, end runs, mark successes
	editRole       // change jobs, and so run any command
	adminRole      // everything
)

var roleNames = [...]string{"none", "read", "run", "edit", "admin"}

func (r role) String() string { return roleNames[r] }

// parseRole reads the name of a role that somebody can have.
func parseRole(name string) (role, error) {
	if i := slices.Index(roleNames[1:], name); i >= 0 {
		return role(i + 1), nil
	}
	return noRole, fmt.Errorf("%q is not one of read, run, edit, admin", name)
}

// A scope is the jobs that a right is about: those of which one of its parts is true. The empty one is all jobs.
type scope []scopePart

// A scopePart is a prefix of names, or an owner, who is compared whole. One of the two is set.
type scopePart struct{ prefix, owner string }

// ownerMark begins the text of a part that is an owner. No job's name has an equals sign.
const ownerMark = "owner="

// parseScope reads parts with commas between them. A text without any is refused: a comma too many must not be
// a right to everything.
func parseScope(text string) (scope, error) {
	var s scope
	for part := range strings.SplitSeq(text, ",") {
		owner, owned := strings.CutPrefix(part, ownerMark)
		switch {
		case owned && owner != "":
			s = append(s, scopePart{owner: owner})
		case validJobName(part):
			s = append(s, scopePart{prefix: part})
		default:
			return nil, fmt.Errorf("scope %q is neither the beginning of a job's name nor %s<owner>", part, ownerMark)
		}
	}
	return s, nil
}

func (p scopePart) String() string {
	if p.owner != "" {
		return ownerMark + p.owner
	}
	return p.prefix
}

// covers reports whether a job is in the scope.
func (s scope) covers(j *Job) bool {
	return len(s) == 0 || s.coversName(j.Name) || slices.ContainsFunc(s, func(p scopePart) bool { return p.owner != "" && p.owner == j.Owner })
}

// coversName reports whether every job of that name is in the scope, whoever owns it.
func (s scope) coversName(name string) bool {
	return len(s) == 0 || slices.ContainsFunc(s, func(p scopePart) bool { return p.prefix != "" && strings.HasPrefix(name, p.prefix) })
}

// A grant is a role for the jobs of a scope, with what it may set of jobs that gives more than a command.
type grant struct {
	role  role
	scope scope
	more  privileges
}

// may reports whether the grant is of at least that role for a job.
func (g grant) may(r role, j *Job) bool { return g.role >= r && g.scope.covers(j) }

// An editing is what there is to know of a place before its jobs are edited.
type editing struct {
	user    string   // whom jobs run as that name nobody
	guarded []string // prefixes of names to which somebody has a right of his own, by a scope or a secret
}

// edits reports whether the grant covers a job and all that gives it more than a command. A job under a guarded prefix
// is not edited by whoever merely owns it.
func (g grant) edits(j *Job, e editing) bool {
	if !g.may(editRole, j) || g.role < adminRole && privilegesOf(j, e.user)&^g.more != 0 {
		return false
	}
	under := slices.ContainsFunc(e.guarded, func(prefix string) bool { return strings.HasPrefix(j.Name, prefix) })
	return !under || g.scope.coversName(j.Name)
}

// How somebody has proven who he is.
const (
	byCredentials = "credentials" // --http_credentials
	byPassword    = "password"
	byToken       = "token"
	byProxy       = "proxy"
	byCallback    = "callback" // the token of one run; names nobody
)

// A caller is who asks, once that is proven, and what he may do. It never changes.
type caller struct {
	name   string
	how    string
	groups []string // that a trusted proxy has named
	grants []grant
	mark   string // what it was proven with, as the users file has it; byCallback: the token
	body   string // digest of the body that the proof is good for, "" for any
}

// has reports whether the role is given for some job at least.
func (id *caller) has(r role) bool {
	return slices.ContainsFunc(id.grants, func(g grant) bool { return g.role >= r })
}

// everywhere reports whether the role is given for all jobs.
func (id *caller) everywhere(r role) bool {
	return slices.ContainsFunc(id.grants, func(g grant) bool { return g.role >= r && len(g.scope) == 0 })
}

// may reports whether the role is given for a job.
func (id *caller) may(r role, j *Job) bool {
	return slices.ContainsFunc(id.grants, func(g grant) bool { return g.may(r, j) })
}

// mayName reports whether the role is given for every job of that name.
func (id *caller) mayName(r role, name string) bool {
	return slices.ContainsFunc(id.grants, func(g grant) bool { return g.role >= r && g.scope.coversName(name) })
}

// highest is the highest role given for any job.
func (id *caller) highest() role {
	highest := noRole
	for _, g := range id.grants {
		highest = max(highest, g.role)
	}
	return highest
}

// same reports whether two callers are of the same person with the same rights.
func (id *caller) same(other *caller) bool {
	return id.name == other.name && id.how == other.how && id.mark == other.mark && slices.EqualFunc(id.grants, other.grants, func(a, b grant) bool {
		return a.role == b.role && a.more == b.more && slices.Equal(a.scope, b.scope)
	})
}

// requestPart is what binds the ids of requests to the one who has given them.
func (id *caller) requestPart() []byte { return []byte(id.how + " " + id.name) }

// A notYours refuses what somebody has no right to. It says the same of what does not exist and of what is another's.
type notYours struct{ text string }

func (e *notYours) Error() string { return e.text }

// mayChange is nil if the role is given for a job. j is nil if there is none of that name, which only those are told
// who might have seen it.
func (id *caller) mayChange(r role, name string, j *Job) error {
	switch {
	case j != nil && id.may(r, j), j == nil && id.mayName(r, name):
		return nil
	}
	return &notYours{fmt.Sprintf("%s may not do this to job %q: it needs the role %s, with a scope that has the job", id.who(), name, r)}
}

// mayEdit is nil if somebody may give a job this document, or has a job that has it edited, or given arguments or
// variables: those are commands too.
func (id *caller) mayEdit(j *Job, e editing) error {
	if slices.ContainsFunc(id.grants, func(g grant) bool { return g.edits(j, e) }) {
		return nil
	}
	if set := privilegesOf(j, e.user); set != 0 && id.may(editRole, j) {
		return &notYours{fmt.Sprintf("%s may not edit job %q: it has what gives more than a command (%s), which is for admins, and for roles that the users file allows it", id.who(), j.Name, set)}
	}
	return &notYours{fmt.Sprintf("%s may not edit job %q: it needs the role edit with a scope that has the job, as it is and as it is to be; a name under a prefix that a scope names needs that prefix", id.who(), j.Name)}
}

// who names somebody in a text for a person.
func (id *caller) who() string {
	if id.how == byCallback {
		return "the token of a run"
	}
	return fmt.Sprintf("user %q (%s)", id.name, id.highest())
}

// errTokenOfAnother refuses the token of a run for anything but that run.
var errTokenOfAnother = errors.New("the token is good for the run that it was given to, while that is open, and for nothing else")

// mayCallBack is nil if somebody may report how a run went: with a role, or with the run's own token, of which digest
// is what the run's record holds. r and j are nil if there is no such run.
func (id *caller) mayCallBack(taskID string, r *Run, j *Job) error {
	switch {
	case id.how == byCallback && r != nil && r.Token != "" && r.Token == tokenDigest(id.mark):
		return nil
	case id.how == byCallback:
		return &notYours{errTokenOfAnother.Error()}
	case r == nil && id.everywhere(runRole), r != nil && id.may(runRole, j):
		return nil
	}
	return &notYours{fmt.Sprintf("%s may not report on task %q: it needs the role run, with a scope that has its job, or the token of that run", id.who(), taskID)}
}

// accessOptions are what an access is made of.
type accessOptions struct {
	usersFile      string
	credentials    string // user:password of --http_credentials, an administrator; "" for none
	proxies        proxyOptions
	instanceSecret string // file; "" for none
	user           string // whom jobs run as that name nobody
	log            *slog.Logger
}

// fingerprint is the same for instances that do the same with a request, given the same files.
func (o accessOptions) fingerprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "1 %v %v %v %v", o.proxies.addresses, o.credentials != "", o.instanceSecret != "", o.user))
	return hex.EncodeToString(sum[:6])
}

// An access knows who may ask, and proves that they are who they say.
type access struct {
	users     *usersFile
	passwords *passwords
	proxies   *trustedProxies // nil for none
	instances *secretFile     // by which instances trust each other's word; nil for none
	user      string
	mark      string // fingerprint of the options

	hasCredentials  bool
	credentials     [sha256.Size]byte
	credentialsUser string
	// guards returns prefixes of names, beside those of scopes, that need a right to them; nil for none.
	guards func() []string
}

// newAccess reads the files, so that whatever is wrong with them shows at the start.
func newAccess(o accessOptions) (*access, error) {
	a := &access{passwords: newPasswords(), user: o.user, mark: o.fingerprint(), hasCredentials: o.credentials != "", credentials: sha256.Sum256([]byte(o.credentials))}
	a.credentialsUser, _, _ = strings.Cut(o.credentials, ":")
	var err error
	if a.users, err = openUsersFile(o.usersFile, o.log); err != nil {
		return nil, fmt.Errorf("--http_users_file: %w", err)
	}
	if a.proxies, err = newTrustedProxies(o.proxies, o.log); err != nil {
		return nil, err
	}
	if o.instanceSecret != "" {
		if a.instances, err = openSecretFile(o.instanceSecret, o.log); err != nil {
			return nil, fmt.Errorf("--instance_secret_file: %w", err)
		}
	}
	return a, nil
}

// watch keeps what was read from files up to date until ctx ends.
func (a *access) watch(ctx context.Context) {
	for rest(ctx, usersInterval) {
		a.users.look()
		if a.proxies != nil {
			a.proxies.secret.look()
		}
		if a.instances != nil {
			a.instances.look()
		}
	}
}

// editing is what there is to know before a job is edited.
func (a *access) editing() editing {
	u, _ := a.users.current()
	e := editing{user: a.user, guarded: u.guarded}
	if a.guards != nil {
		e.guarded = slices.Concat(e.guarded, a.guards())
	}
	return e
}

// errUnproven means that nobody has proven to be somebody.
var errUnproven = errors.New("no user, or one whose password or token is wrong")

// identify returns who asks. It takes out of the request what only instances and proxies may say, so that it is neither
// believed later nor sent on. self is our own id. The error is errUnproven, a *notYours, errTooManyPasswords or that of the context.
func (a *access) identify(r *http.Request, self string, forwarded bool) (*caller, error) {
	u, _ := a.users.current()
	signed := r.Header.Get(identityHeader)
	name, groups, proxied := a.proxies.vouches(r)
	dropIdentity(r.Header)
	switch {
	case forwarded && signed != "":
		// What the client sent stands for him at the proxy, and not here.
		r.Header.Del("Authorization")
		return a.signedIdentity(u, r, signed, self)
	case proxied && !forwarded:
		r.Header.Del("Authorization")
		if name == "" {
			return nil, errUnproven
		}
		return u.proxied(name, groups)
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return u.bearer(strings.TrimSpace(rest))
	}
	return a.basic(r, u)
}

// basic compares name and password.
func (a *access) basic(r *http.Request, u *users) (*caller, error) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return nil, errUnproven
	}
	given := sha256.Sum256([]byte(name + ":" + password))
	if a.hasCredentials && subtle.ConstantTimeCompare(given[:], a.credentials[:]) == 1 {
		return a.administrator(), nil
	}
	known, ok := u.passwords[name]
	hash := known.hash
	if !ok {
		if hash = u.decoy; hash == "" {
			return nil, errUnproven
		}
	}
	right, err := a.passwords.right(r.Context(), hash, password, knockerOf(r))
	switch {
	case err != nil:
		return nil, err
	case !ok || !right:
		return nil, errUnproven
	}
	return known.caller, nil
}

// administrator is the one user of --http_credentials.
func (a *access) administrator() *caller {
	return &caller{name: a.credentialsUser, how: byCredentials, grants: []grant{{role: adminRole}}}
}

// bearer finds the owner of a token.
func (u *users) bearer(token string) (*caller, error) {
	if strings.HasPrefix(token, callbackPrefix) {
		return &caller{how: byCallback, mark: token}, nil
	}
	if id := u.tokens[tokenDigest(token)]; id != nil {
		return id, nil
	}
	return nil, errUnproven
}

// still reports whether somebody has the rights still that he had, and returns a channel that is closed when that is to be asked
// again.
func (a *access) still(id *caller) (bool, <-chan struct{}) {
	u, changed := a.users.current()
	now := id
	switch id.how {
	case byPassword:
		now = u.passwords[id.name].caller
	case byToken:
		now = u.tokens[id.mark]
	case byProxy:
		now, _ = u.proxied(id.name, id.groups)
	}
	return now != nil && now.same(id), changed
}

// A callerDocument is what somebody is told of himself, and the interface offers.
type callerDocument struct {
	User   string          `json:"user"`
	How    string          `json:"provenBy"`
	Role   string          `json:"role"` // the highest of the grants
	Grants []grantDocument `json:"grants"`
	// RunAs is whom jobs run as that name nobody: to name him needs no right.
	RunAs string `json:"jobsRunAs,omitempty"`
}

type grantDocument struct {
	Role   string   `json:"role"`
	Scopes []string `json:"scopes"` // none: all jobs
	More   []string `json:"allowed,omitempty"`
}

// describe returns nil for nobody.
func (a *access) describe(id *caller) *callerDocument {
	if id == nil {
		return nil
	}
	d := &callerDocument{RunAs: a.user, User: id.name, How: id.how, Role: id.highest().String()}
	for _, g := range id.grants {
		gd := grantDocument{Role: g.role.String(), Scopes: []string{}}
		for _, part := range g.scope {
			gd.Scopes = append(gd.Scopes, part.String())
		}
		more := g.more
		if g.role == adminRole {
			more = 1<<len(privilegeNames) - 1
		}
		gd.More = more.names()
		d.Grants = append(d.Grants, gd)
	}
	return d
}
