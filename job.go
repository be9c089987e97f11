package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Job is one job as its owner defined it, with the counters that Chronos keeps
// in the same document. A *Job is immutable once it is in the scheduler's
// table; a change makes a new one with clone.
type Job struct {
	Name                   string
	Command                string
	Shell                  bool
	Epsilon                Period
	Executor               string
	ExecutorFlags          string
	TaskInfoData           string
	Retries                int
	Owner                  string
	OwnerName              string
	Description            string
	Async                  bool
	SuccessCount           int64
	ErrorCount             int64
	LastSuccess            string // 2014-03-08T16:57:17.507Z, or "" for never
	LastError              string
	CPUs, Disk, Mem        float64 // cores, MB, MB
	Disabled               bool
	SoftError              bool
	DataProcessing         bool // dataProcessingJobType
	ErrorsSinceLastSuccess int64
	Fetch                  []Fetch
	URIs                   []string
	Env                    []EnvVar
	Arguments              []string
	HighPriority           bool
	RunAsUser              string
	Concurrent             bool
	MaxCompletionTime      int64 // seconds; 0 or less means none
	Container              *Container
	Constraints            []Constraint
	Dependent              bool     // run after Parents instead of on Schedule
	Parents                []string // in the order given, without duplicates
	Schedule               string   // as posted, or as last advanced
	ScheduleTimeZone       string
	Extra                  []RawField // unknown keys, in their order
	Named                  namedSizes // which sizes its document named, where that is kept
	Policy                 *Policy    // what it says in keys that only this program knows, nil for nothing; replaced, never changed

	Misread []Warning // where the posted document differs from this; not part of the document
}

// namedSizes are those that a posted document names and no default has filled in.
type namedSizes struct {
	CPUs bool `json:"cpus,omitempty"`
	Mem  bool `json:"mem,omitempty"`
}

// Fetch is one URI that is fetched into the sandbox before the task starts.
type Fetch struct {
	URI        string
	Executable bool
	Cache      bool
	Extract    bool
	OutputFile string
	Extra      rawMembers
}

// EnvVar is one environment variable of a job.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Constraint restricts the agents a job may run on.
type Constraint struct {
	Attribute, Operator, Value string
	pattern                    *pattern // of Value; nil where the operator has none
}

// Label is a key and a value, also used for docker parameters and driver options.
type Label struct{ Key, Value string }

// Container is the image a job runs in.
type Container struct {
	Type           string // DOCKER or MESOS
	Image          string
	Network        string // HOST, BRIDGE or USER
	NetworkName    string
	NetworkInfos   []NetworkInfo
	Volumes        []Volume
	ForcePullImage bool
	Parameters     []Label
	Extra          rawMembers
}

// NetworkInfo is one network that a container joins.
type NetworkInfo struct {
	Name         string
	Protocol     string
	Labels       []Label
	PortMappings []PortMapping
	Extra        rawMembers
}

// PortMapping is one published port.
type PortMapping struct {
	HostPort, ContainerPort int
	Protocol                string
}

// Volume is one mount of a container.
type Volume struct {
	HostPath, ContainerPath, Mode string // Mode is RW, RO or ""
	External                      *ExternalVolume
	Extra                         rawMembers
}

// ExternalVolume names a volume of a docker volume driver.
type ExternalVolume struct {
	Name, Provider string
	Options        []Label
}

// RawField is a key this program does not know, kept as it came.
type RawField struct {
	Key   string
	Value []byte
}

// rawMembers are the members of an object inside a job that this program does
// not know, as compact JSON with a comma before each: ,"a":1,"b":[].
type rawMembers string

// dialect selects the set of keys a job document is written with.
type dialect int

const (
	dialect2      dialect = iota // unprefixed paths: 2.5's keys (2.4's and two more)
	dialect3                     // /v1: 3.0's keys
	dialectStored                // the keys of both, as kept in the store
	dialectWhole                 // the keys of both and ours, for comparing documents and for files
)

// jobDefaults are the values for keys that a document leaves out.
type jobDefaults struct {
	CPUs, Mem, Disk float64
	Epsilon         Period
	User            string
	NotifyHosts     []string // that jobs may have called, in lower case
	AnyHost         bool     // nobody knows who may
	patterns        *patterns
	KeepNamed       bool      // whether a job tells which sizes its document named
	Now             time.Time // start of a job posted under /v1 without a schedule; zero leaves it empty
}

// parseDate reads a lastSuccess or lastError text. Clients may have put anything
// there, so besides our own form it accepts the usual forms of ISO 8601, in UTC
// if they name no offset, and reports false for the rest.
func parseDate(s string) (time.Time, bool) {
	layouts := [...]string{
		time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02",
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// lastResult returns what graph/csv and jobs/summary say about the job: fresh,
// success or failure. If both dates are given and one can't be read, the
// answer is failure; the JVM versions failed the whole request.
func (j *Job) lastResult() string {
	switch {
	case j.LastSuccess == "" && j.LastError == "":
		return "fresh"
	case j.LastError == "":
		return "success"
	case j.LastSuccess == "":
		return "failure"
	}
	succeeded, ok := parseDate(j.LastSuccess)
	failed, ok2 := parseDate(j.LastError)
	if ok && ok2 && succeeded.After(failed) {
		return "success"
	}
	return "failure"
}

// clone returns a copy that shares nothing changeable with j.
func (j *Job) clone() *Job {
	c := *j
	c.Fetch = slices.Clone(j.Fetch)
	c.URIs = slices.Clone(j.URIs)
	c.Env = slices.Clone(j.Env)
	c.Arguments = slices.Clone(j.Arguments)
	c.Container = j.Container.clone()
	c.Constraints = slices.Clone(j.Constraints)
	c.Parents = slices.Clone(j.Parents)
	c.Extra = slices.Clone(j.Extra)
	for i := range c.Extra {
		c.Extra[i].Value = slices.Clone(c.Extra[i].Value)
	}
	c.Misread = slices.Clone(j.Misread)
	return &c
}

// clone returns a copy that shares nothing with c. It is nil for nil.
func (c *Container) clone() *Container {
	if c == nil {
		return nil
	}
	d := *c
	d.NetworkInfos = slices.Clone(c.NetworkInfos)
	for i := range d.NetworkInfos {
		n := &d.NetworkInfos[i]
		n.Labels = slices.Clone(n.Labels)
		n.PortMappings = slices.Clone(n.PortMappings)
	}
	d.Volumes = slices.Clone(c.Volumes)
	for i := range d.Volumes {
		if e := d.Volumes[i].External; e != nil {
			d.Volumes[i].External = &ExternalVolume{e.Name, e.Provider, slices.Clone(e.Options)}
		}
	}
	d.Parameters = slices.Clone(c.Parameters)
	return &d
}

// The patterns that 2.5 and 3.0 name when they refuse a job's name. What we accept
// is the union of all versions', which is 2.5's.
const (
	namePattern2 = `([\w\s\.#_-]+)`
	namePattern3 = `([\w\.-]+)`
)

// maxName bounds a new job's name, in bytes: its task ids, ct:<due>:<attempt>:<name>:, must not
// exceed taskIDLimit.
const maxName = 230

// maxEntry bounds the entry that holds a job in ZooKeeper, whose limit for a whole
// request is a little above it.
const maxEntry = 1_000_000

// constraintOperators are the operators that some version knows.
var constraintOperators = [...]string{"EQUALS", "LIKE", "UNLIKE"}

// validJobName reports whether some version accepts and can store the name: ASCII letters,
// digits, spaces and _ . # -, at least one. Those versions also accepted tabs and line
// ends, which ZooKeeper refuses in node names and Mesos in task ids.
func validJobName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("_.#- ", c) >= 0:
		default:
			return false
		}
	}
	return name != ""
}

// checkName refuses a name that no version accepts, in the words of dialect d.
func (j *Job) checkName(d dialect) error {
	if validJobName(j.Name) {
		return nil
	}
	pattern := namePattern2
	if d == dialect3 {
		pattern = namePattern3
	}
	return &jobError{"name", "requirement failed: the job's name is invalid. Allowed names: '" + pattern + "'"}
}

// check refuses what a POST may not bring in beyond what decoding refuses. With
// created it also makes the checks that the JVM versions make for new jobs only. Parents that
// don't exist are the graph's business. The error is a *jobError.
func (j *Job) check(created bool, now time.Time) error {
	if created {
		if err := j.checkName(dialect2); err != nil {
			return err
		}
		if len(j.Name) > maxName {
			return &jobError{"name", fmt.Sprintf("the job's name has %d bytes, the limit is %d", len(j.Name), maxName)}
		}
	}
	if err := j.checkTrigger(now); err != nil {
		return err
	}
	if created && !j.Dependent && len(j.URIs) > 0 && len(j.Fetch) > 0 {
		return &jobError{"fetch", "Tried to add both uri (deprecated) and fetch parameters on " + j.Name}
	}
	if err := j.checkNumbers(); err != nil {
		return err
	}
	if err := j.checkConstraints(); err != nil {
		return err
	}
	if size := j.entrySize(); size > maxEntry {
		return &jobError{"", fmt.Sprintf("the job takes %d bytes in the store, the limit is %d", size, maxEntry)}
	}
	return nil
}

func (j *Job) checkTrigger(now time.Time) error {
	if j.Dependent {
		if len(j.Parents) == 0 {
			return &jobError{"parents", "requirement failed: Error, parent does not exist"}
		}
		return nil
	}
	s, err := j.parseSchedule(now)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return &jobError{"schedule", err.Error()}
	}
	return nil
}

// parseSchedule reads when the job is due. What an H in its expression stands for is derived from its name.
func (j *Job) parseSchedule(now time.Time) (Schedule, error) {
	text, err := spreadCron(j.Schedule, j.Name)
	if err != nil {
		return Schedule{}, err
	}
	return parseSchedule(text, j.ScheduleTimeZone, now)
}

// minEpsilon is how late any occurrence may be, whatever its job says: none can be handled before it is due.
const minEpsilon = time.Second

// latest returns how late an occurrence of the job may still run, in ms.
func (j *Job) latest() int64 { return max(j.Epsilon.approx(), minEpsilon).Milliseconds() }

// A jobSize is how much of one thing a job needs, by the key that says it.
type jobSize struct {
	key   string
	value float64
}

func (j *Job) sizes() [3]jobSize {
	return [3]jobSize{{"cpus", j.CPUs}, {"mem", j.Mem}, {"disk", j.Disk}}
}

// checkNumbers refuses sizes that are not numbers. Java reads the string "NaN" as a number.
func (j *Job) checkNumbers() error {
	for _, s := range j.sizes() {
		if math.IsNaN(s.value) || math.IsInf(s.value, 0) {
			return &jobError{s.key, fmt.Sprintf("%s: %s is not a usable number", s.key, javaDouble(s.value))}
		}
	}
	return nil
}

func (j *Job) checkConstraints() error {
	for i, c := range j.Constraints {
		if !slices.Contains(constraintOperators[:], c.Operator) {
			text := fmt.Sprintf("constraints[%d]: operator %q is not one of EQUALS, LIKE, UNLIKE", i, c.Operator)
			return &jobError{"constraints", text}
		}
		if fault := c.fault(); fault != "" {
			return &jobError{"constraints", fmt.Sprintf("constraints[%d]: %s", i, fault)}
		}
	}
	return nil
}

// fault says why no agent can meet the constraint, or "".
func (c *Constraint) fault() string {
	if c.pattern == nil || c.pattern.fault == "" {
		return ""
	}
	return fmt.Sprintf("%q %s", cutText(c.Value, maxShownPattern, "..."), c.pattern.fault)
}

// constraintProblem says why no agent can ever meet the job's constraints, or "".
func (j *Job) constraintProblem() string {
	for i := range j.Constraints {
		if fault := j.Constraints[i].fault(); fault != "" {
			return fmt.Sprintf("no agent meets its constraints: constraints[%d]: %s", i, fault)
		}
	}
	return ""
}

// entrySize returns the size of the protobuf entry that the store keeps the job
// in: its name, a UUID of 16 bytes and the document, each after a tag and a length.
func (j *Job) entrySize() int {
	total := 0
	for _, n := range [...]int{len("J_") + len(j.Name), 16, len(j.appendJSON(nil, dialectStored))} {
		total += 2 + n
		for ; n >= 1<<7; n >>= 7 {
			total++
		}
	}
	return total
}
