package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A rule says who may ask for one method of a path.
type rule struct {
	method string
	path   string // of a resource of the API, as api.go has it, or with a slash a path outside; * ends one that stands for all below
	role   role
	scoped bool // somebody may ask whose rights are for some jobs only; the answer is about those
	// callback lets the token of a run in place of the role. Whether it is the right one is seen where the run is.
	callback bool
}

// accessRules is the one table of who may do what. A path that is missing is for admins without a scope.
// What is not for everybody is compared with the role here, before anything else is looked at; then the scope is
// compared with each job that the request touches (api_rights.go).
var accessRules = []rule{
	// outside the API
	{method: "GET", path: "/", role: readRole, scoped: true},
	{method: "GET", path: "/assets/*", role: readRole, scoped: true},
	{method: "GET", path: "/openapi.json", role: readRole, scoped: true},
	{method: "GET", path: "/health", role: readRole},
	{method: "GET", path: "/metrics", role: readRole},
	{method: "GET", path: "/metrics/*", role: readRole},
	{method: "GET", path: "/logging", role: adminRole},
	{method: "POST", path: "/logging", role: adminRole},

	// of the original
	{method: "GET", path: "jobs", role: readRole, scoped: true},
	{method: "GET", path: "jobs/search", role: readRole, scoped: true},
	{method: "GET", path: "jobs/summary", role: readRole, scoped: true},
	{method: "GET", path: "job/stat/{}", role: readRole, scoped: true},
	{method: "PUT", path: "job/success/{}", role: runRole, scoped: true},
	{method: "GET", path: "job/{}", role: readRole, scoped: true},
	{method: "PUT", path: "job/{}", role: runRole, scoped: true}, // with arguments: edit
	{method: "DELETE", path: "job/{}", role: editRole, scoped: true},
	{method: "POST", path: "job/{}/task/{}/progress", role: runRole, scoped: true, callback: true},
	{method: "POST", path: "iso8601", role: editRole, scoped: true},
	{method: "PUT", path: "iso8601", role: editRole, scoped: true},
	{method: "POST", path: "dependency", role: editRole, scoped: true},
	{method: "PUT", path: "dependency", role: editRole, scoped: true},
	{method: "DELETE", path: "task/kill/{}", role: runRole, scoped: true},
	{method: "DELETE", path: "task/all", role: adminRole},
	{method: "PUT", path: "task/{}", role: runRole, scoped: true, callback: true},
	{method: "GET", path: "graph/dot", role: readRole, scoped: true},
	{method: "GET", path: "graph/csv", role: readRole, scoped: true},
	{method: "GET", path: "stats/{}", role: readRole},
	{method: "GET", path: "leader", role: readRole, scoped: true},

	// our additions
	{method: "POST", path: "schedule/preview", role: readRole, scoped: true},
	{method: "PUT", path: "pause/{}", role: editRole, scoped: true},
	{method: "DELETE", path: "pause/{}", role: editRole, scoped: true},
	{method: "POST", path: "backfill/{}", role: editRole, scoped: true},
	{method: "GET", path: "backfill/{}", role: readRole, scoped: true},
	{method: "DELETE", path: "backfill/{}", role: editRole, scoped: true},
	{method: "GET", path: "pools", role: readRole}, // they are of all jobs
	{method: "PUT", path: "pool/{}", role: adminRole},
	{method: "DELETE", path: "pool/{}", role: adminRole},
	{method: "POST", path: "apply", role: editRole, scoped: true},
	{method: "POST", path: "apply/plan", role: editRole, scoped: true},
	{method: "GET", path: "export", role: readRole, scoped: true},
	{method: "GET", path: "upcoming/{}", role: readRole, scoped: true},
	{method: "GET", path: "runs", role: readRole, scoped: true},
	{method: "GET", path: "runs/{}", role: readRole, scoped: true},
	{method: "GET", path: "recent", role: readRole, scoped: true},
	{method: "GET", path: "days/{}", role: readRole, scoped: true},
	{method: "GET", path: "timeline", role: readRole, scoped: true},
	{method: "GET", path: "activity", role: readRole, scoped: true}, // of jobs in the scope
	{method: "GET", path: "queued/{}", role: readRole, scoped: true},
	{method: "GET", path: "run/{}/dag", role: readRole, scoped: true},
	{method: "GET", path: "followers/{}", role: readRole, scoped: true},
	{method: "GET", path: "leader/health", role: readRole},
	{method: "GET", path: "instances", role: readRole},
	{method: "GET", path: "agents", role: readRole, scoped: true},
	{method: "GET", path: "notices", role: readRole},
	{method: "POST", path: "notices/{}/test", role: adminRole},
	{method: "GET", path: "run/{}/stdout", role: readRole, scoped: true},
	{method: "GET", path: "run/{}/stderr", role: readRole, scoped: true},
	{method: "GET", path: "run/{}/merged", role: readRole, scoped: true},
	{method: "GET", path: "overview", role: readRole, scoped: true},
	{method: "GET", path: "events", role: readRole, scoped: true},
	{method: "GET", path: "problems", role: readRole, scoped: true}, // records that can't be read: without a scope
	{method: "GET", path: "backup", role: adminRole},
	{method: "POST", path: "restore", role: adminRole},
	{method: "GET", path: "whoami", role: readRole, scoped: true},
	{method: "GET", path: "logout", role: readRole, scoped: true},
}

// ruleFor returns the rule for a method of a path. HEAD is GET without a body, and OPTIONS tells nothing about jobs.
func ruleFor(method, path string) rule {
	switch method {
	case http.MethodHead:
		method = http.MethodGet
	case http.MethodOptions:
		return rule{method: method, path: path, role: readRole, scoped: true}
	}
	i := slices.IndexFunc(accessRules, func(r rule) bool {
		if below, ok := strings.CutSuffix(r.path, "*"); ok {
			return r.method == method && strings.HasPrefix(path, below)
		}
		return r.method == method && r.path == path
	})
	if i < 0 {
		return rule{method: method, path: path, role: adminRole}
	}
	return accessRules[i]
}

// permits says why somebody may not ask for what the rule is about, nil if he may.
func (r rule) permits(id *caller) error {
	switch {
	case r.callback && id.how == byCallback:
		return nil
	case id.how == byCallback:
		return &notYours{errTokenOfAnother.Error()}
	case !id.has(r.role):
		return &notYours{fmt.Sprintf("%s does not have the role %s, which this needs", id.who(), r.role)}
	case !r.scoped && !id.everywhere(r.role):
		return &notYours{fmt.Sprintf("this is about all jobs: it needs the role %s without a scope, and the one of %s has one", r.role, id.who())}
	}
	return nil
}

// changes reports whether the rule is about a change.
func (r rule) changes() bool { return r.method != http.MethodGet && r.path != "schedule/preview" }

// A privileges is a set of what gives more than a command.
type privileges int

const (
	setRunAsUser privileges = 1 << iota
	setVolumes
	setExecutor
	setParameters
	setNetwork
	setTaskInfoData
	setFiles
)

// privilegeNames are how the users file and people call them, in the order of the constants.
var privilegeNames = [...]string{"runAsUser", "volumes", "executor", "parameters", "network", "taskInfoData", "files"}

func (p privileges) String() string { return strings.Join(p.names(), ", ") }

func (p privileges) names() (names []string) {
	for i, name := range privilegeNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// parsePrivileges reads names with commas between them.
func parsePrivileges(text string) (privileges, error) {
	var set privileges
	for name := range strings.SplitSeq(text, ",") {
		i := slices.Index(privilegeNames[:], name)
		if i < 0 {
			return 0, fmt.Errorf("%q is not one of %s", name, strings.Join(privilegeNames[:], ", "))
		}
		set |= 1 << i
	}
	return set, nil
}

// privilegesOf returns what of a job gives more than its command does, where jobs run as user that name nobody. The
// host's network, which a container has that names none, is what every command has.
func privilegesOf(j *Job, user string) (set privileges) {
	add := func(p privileges, is bool) {
		if is {
			set |= p
		}
	}
	add(setRunAsUser, j.RunAsUser != "" && j.RunAsUser != user)
	add(setExecutor, j.Executor != "" || j.ExecutorFlags != "")
	add(setTaskInfoData, j.TaskInfoData != "")
	add(setFiles, slices.ContainsFunc(j.URIs, isFile) || slices.ContainsFunc(j.Fetch, func(f Fetch) bool { return isFile(f.URI) }))
	if c := j.Container; c != nil {
		add(setVolumes, len(c.Volumes) > 0)
		add(setParameters, len(c.Parameters) > 0 || c.Extra != "")
		add(setNetwork, c.Network == "USER" || c.NetworkName != "" || len(c.NetworkInfos) > 0)
	}
	return set
}

// isFile reports whether a URI names something that whoever fetches it can reach by himself, and not by HTTP.
func isFile(uri string) bool {
	uri = strings.ToLower(uri)
	return !strings.HasPrefix(uri, "http://") && !strings.HasPrefix(uri, "https://")
}
