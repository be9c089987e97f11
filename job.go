package main

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
}

// Fetch is one URI that is brought into the sandbox before the task starts.
type Fetch struct {
	URI        string
	Executable bool
	Cache      bool
	Extract    bool
	OutputFile string
}

// EnvVar is one environment variable of a job.
type EnvVar struct{ Name, Value string }

// Constraint restricts the agents a job may run on.
type Constraint struct{ Attribute, Operator, Value string }

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
}

// NetworkInfo is one network that a container joins.
type NetworkInfo struct {
	Name         string
	Protocol     string
	Labels       []Label
	PortMappings []PortMapping
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

// dialect selects the set of keys a job document is written with.
type dialect int

const (
	dialect2      dialect = iota // unprefixed paths: 2.5's keys (2.4's and two more)
	dialect3                     // /v1: 3.0's keys
	dialectStored                // all of both, as kept in the store
)

// jobDefaults are the values for keys that a document leaves out.
type jobDefaults struct {
	CPUs, Mem, Disk float64
	Epsilon         Period
	User            string
}
