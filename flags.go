package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// version is the release, stamped in by the linker (-X main.version=...).
var version = "dev"

// flags holds the value of every option. Names and meanings are those of
// Chronos 2.4, 2.5 and 3.0 together; optionTable says what each one does.
type flags struct {
	// HTTP server
	httpAddress         string // "" if not given; see listenHost
	httpPort            int    // see listenPort
	httpsAddress        string
	httpsPort           int
	disableHTTP         bool
	sslKeystorePath     string
	sslKeystorePassword string
	httpCredentials     string // user:password, or "" for none
	httpRealm           string
	httpCompression     bool
	assetsPath          string

	// Scheduler
	user                 string
	hostname             string // "" if not given; see advertised
	clusterName          string
	scheduleHorizon      time.Duration
	leaderMaxIdleTime    time.Duration
	failureRetry         time.Duration
	disableAfterFailures int64 // 0 or less means never
	taskEpsilon          time.Duration
	jobHistoryLimit      int // 0 or less means none
	webuiURL             string

	// Mesos
	master                        string // local, host:port, http(s)://, zk:// or file://
	failoverTimeout               time.Duration
	mesosTaskMem                  float64 // MB
	mesosTaskCPU                  float64
	mesosTaskDisk                 float64 // MB
	mesosCheckpoint               bool
	mesosRole                     string
	mesosFrameworkName            string
	mesosAuthenticationPrincipal  string
	mesosAuthenticationSecretFile string
	reconciliationInterval        time.Duration
	reviveOffersForNewJobs        bool
	declineOfferDuration          time.Duration // 0 if not given: Mesos's own default
	minReviveOffersInterval       time.Duration

	// ZooKeeper
	zkHosts   []string // host:port each
	zkChroot  string   // "" or /path: what followed the hosts without zk://
	zkPath    string   // /chronos/state; never ends in a slash, "" for the root
	zkTimeout time.Duration
	zkAuth    string // user:password for digest, or ""

	// Notifications
	mailServer                  string // host:port, or ""
	mailFrom                    string
	mailUser                    string
	mailPassword                string
	mailSSL                     bool
	ravenDSN                    string
	slackURL                    string
	mattermostURL               string
	httpNotificationURL         string
	httpNotificationCredentials string

	// Cassandra
	cassandraContactPoints  string
	cassandraPort           int
	cassandraUser           string
	cassandraPassword       string
	cassandraKeyspace       string
	cassandraTable          string
	cassandraStatCountTable string
	cassandraConsistency    string // upper case
	cassandraTTL            time.Duration

	// Graphite
	graphiteHostPort          string
	graphiteReportingInterval time.Duration
	graphiteGroupPrefix       string

	// Additions of this program
	dataDir              string
	advertisePort        int // 0 if not given; see advertised
	mesosSSL             bool
	mesosAgentPrincipal  string
	mesosAgentSecretFile string
	logLevel             string
	logFormat            string
	notifyMissed         bool
	notifyLate           time.Duration // 0 for never
	unreachableTimeout   time.Duration
	stageTimeout         time.Duration
	jobHistoryKeep       int

	set map[string]bool // the options given on the command line
}

// errHelp says that --help or --version was given and has been answered.
var errHelp = errors.New("help was asked for")

// A usageError is a command line that cannot be understood. Its text is one line.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// exitStatus is the status the process ends with for an error from parseFlags
// or expandLegacy: 0 for help, 1 for everything else as in the JVM versions.
func exitStatus(err error) int {
	if err == nil || errors.Is(err, errHelp) {
		return 0
	}
	return 1
}

// parseFlags reads the command line (without the program's name) over the
// defaults that the environment gives. Help, the version, and a complaint in one
// line go to stdout, where the JVM versions wrote them; the caller has
// nothing to print, only to exit with exitStatus.
func parseFlags(args []string, environ func(string) (string, bool), stdout io.Writer) (*flags, error) {
	f, err := readFlags(args, environ, stdout)
	if uerr, ok := errors.AsType[*usageError](err); ok {
		printUsageError(stdout, uerr)
	}
	return f, err
}

// printUsageError writes the complaint with the first words that the option
// parser of the JVM versions used, which wrappers look for.
func printUsageError(w io.Writer, err *usageError) {
	fmt.Fprintf(w, "[scallop] Error: %s\n", err.msg)
}

func readFlags(args []string, environ func(string) (string, bool), stdout io.Writer) (*flags, error) {
	f := defaultFlags()
	table := f.optionTable()
	given, err := splitWords(args, table)
	switch {
	case errors.Is(err, errHelpWord):
		printHelp(stdout, table)
		return nil, errHelp
	case errors.Is(err, errVersionWord):
		fmt.Fprintf(stdout, "chronos %s\n", version)
		return nil, errHelp
	case err != nil:
		return nil, err
	}
	if err := f.assign(table, given, environ); err != nil {
		return nil, err
	}
	return f, nil
}

// assign converts the values given, after those of the environment. Of an option
// given twice the last one counts: the packages' wrappers append options.
func (f *flags) assign(table []option, given []assignment, environ func(string) (string, bool)) error {
	fs := newFlagSet(table)
	last := map[string]assignment{}
	for _, a := range given {
		last[a.opt.target()] = a
		f.set[a.opt.target()] = true
	}
	for _, opt := range table {
		a, ok := last[opt.name]
		if !ok && opt.env != "" {
			// An empty variable counts as unset: templates of DC/OS leave it so.
			a.value, ok = environ(opt.env)
			ok = ok && a.value != ""
			a.opt = opt
		}
		if !ok {
			continue
		}
		err := fs.Set(a.opt.name, a.value)
		if err != nil && !f.set[opt.name] {
			err = fmt.Errorf("%w (the variable %s)", err, opt.env)
		}
		if err != nil {
			return badValue(a, err)
		}
	}
	return nil
}

// newFlagSet registers the table, so that flag.FlagSet's own tools see it.
func newFlagSet(table []option) *flag.FlagSet {
	fs := flag.NewFlagSet("chronos", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, opt := range table {
		fs.Var(opt.value, opt.name, opt.help)
	}
	return fs
}

// badValue says which option has which wrong value, without showing a secret.
func badValue(a assignment, err error) error {
	shown := printable(a.value)
	if a.opt.secret {
		shown = "..."
	}
	return usageErrorf("Bad arguments for option '%s': '%s' - wrong arguments format: %v", a.opt.name, shown, err)
}

// explicit reports whether the option was given on the command line, as
// opposed to having its default or coming from the environment.
func (f *flags) explicit(name string) bool { return f.set[name] }

// local reports whether jobs run as processes of this machine.
func (f *flags) local() bool { return f.master == "local" }

// fileStore reports whether the state is kept in dataDir and not in ZooKeeper.
func (f *flags) fileStore() bool { return f.local() && !f.explicit("zk_hosts") }

// withoutEffect lists the options given that do nothing, as in the JVM versions or because of
// how this program works.
func (f *flags) withoutEffect() []string {
	var names []string
	for _, opt := range f.optionTable() {
		if f.explicit(opt.name) && opt.noEffect {
			names = append(names, "--"+opt.name)
		}
	}
	return names
}
