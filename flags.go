package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

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
	notifyHosts          string        // separated by commas
	notifyLate           time.Duration // 0 for never
	unreachableTimeout   time.Duration
	stageTimeout         time.Duration
	handoverTimeout      time.Duration
	jobHistoryKeep       int
	maxWaitingRuns       int
	localKeepRuns        int
	localKeepSize        int    // MiB; 0 for a tenth of the disk
	localOutputSize      int    // MiB; 0 for any
	acceptEmptyState     string // a node, as termMark has it; "" for none
	acceptDamagedState   int64  // an offset; noDamage for none

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

const helpHead = `Usage: chronos [options]

With no options at all jobs run as processes of this machine, the state is kept
in chronos-data, and the API listens on http://127.0.0.1:8080. An option's value
follows as the next word or after an equals sign; of an option given twice the
last one counts. Passwords are never shown as defaults.
`

const helpTail = `
      --version               Print the version and exit.
      --help                  Print this and exit.
`

// helpColumn is where the descriptions start, helpWidth where they wrap.
const helpColumn, helpWidth = 30, 80

// printHelp writes the table by groups. Defaults that are secret or come from
// the environment are left out.
func printHelp(w io.Writer, table []option) {
	fmt.Fprint(w, helpHead)
	group := ""
	for _, o := range table {
		if o.group != group {
			group = o.group
			fmt.Fprintf(w, "\n%s:\n", group)
		}
		printOption(w, o)
	}
	fmt.Fprint(w, helpTail)
}

func printOption(w io.Writer, o option) {
	left := "      --" + o.name
	if o.short != "" {
		left = "  -" + o.short + ", --" + o.name
	}
	if o.arg != "" {
		left += " <" + o.arg + ">"
	}
	text := o.help
	if o.env != "" {
		text += " The variable " + o.env + " gives a default."
	}
	if def := o.value.String(); def != "" && !o.secret && !o.boolean() && !strings.Contains(o.help, "Default:") {
		text += " (default " + def + ")"
	}
	for _, line := range wrapText(text, helpWidth-helpColumn) {
		if len(left) > helpColumn-2 {
			fmt.Fprintln(w, left)
			left = ""
		}
		fmt.Fprintf(w, "%-*s%s\n", helpColumn, left, line)
		left = ""
	}
}

// wrapText breaks a text into lines of at most width letters, where its words allow.
func wrapText(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// defaultPort is what plain HTTP listens on when nothing says otherwise.
const defaultPort = 8080

// listenPort is the port of plain HTTP: --http_port if given, else PORT0 where it is a
// port of the container itself. Marathon in bridge mode also sets PORT_8080,
// and then PORT0 is a port of the agent that leads to our 8080.
func (f *flags) listenPort(environ func(string) (string, bool)) int {
	if f.explicit("http_port") {
		return f.httpPort
	}
	if _, bridged := environ("PORT_" + strconv.Itoa(defaultPort)); !bridged {
		if port := portVariable(environ, "PORT0"); port > 0 {
			return port
		}
	}
	return f.httpPort
}

// listenHost is the address of plain HTTP, "" for all. Whoever reaches the
// port runs commands on this machine in local mode, so that stays on loopback
// unless another address, or "" for all, is asked for.
func (f *flags) listenHost() string {
	if f.httpAddress == "" && f.local() && !f.explicit("http_address") {
		return "127.0.0.1"
	}
	return f.httpAddress
}

// httpsHost is the address of TLS. The rule is that of plain HTTP.
func (f *flags) httpsHost() string {
	if f.httpsAddress == "" && f.local() && !f.explicit("https_address") {
		return "127.0.0.1"
	}
	return f.httpsAddress
}

// listenAddress is what to give to net.Listen for plain HTTP.
func (f *flags) listenAddress(environ func(string) (string, bool)) string {
	return net.JoinHostPort(f.listenHost(), strconv.Itoa(f.listenPort(environ)))
}

// advertised is the host:port under which the other instances and Mesos reach a
// listener that is bound to port.
func (f *flags) advertised(environ func(string) (string, bool), port int) string {
	switch mapped := portVariable(environ, "PORT_"+strconv.Itoa(port)); {
	case f.advertisePort > 0:
		port = f.advertisePort
	case mapped > 0:
		port = mapped
	}
	return net.JoinHostPort(f.advertisedHost(environ), strconv.Itoa(port))
}

// advertisedHost is the name under which this instance is known. Without --hostname and HOST it is
// the machine's own, which inside a container is useless to others.
func (f *flags) advertisedHost(environ func(string) (string, bool)) string {
	if f.hostname != "" {
		return f.hostname
	}
	if host, _ := environ("HOST"); host != "" {
		return host
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "localhost"
	}
	return host
}

// portVariable is the port in a variable, or 0.
func portVariable(environ func(string) (string, bool), name string) int {
	s, _ := environ(name)
	if checkPort(s) != nil {
		return 0
	}
	port, _ := strconv.Atoi(s)
	return port
}

// schedulerConfig is what the flags say to the scheduler.
func (f *flags) schedulerConfig() schedulerConfig {
	largestJob, largestStep := maxJob, maxMulti
	if f.fileStore() {
		largestJob, largestStep = 0, 0
	}
	return schedulerConfig{
		largestJob: largestJob, largestStep: largestStep, mostByHand: f.maxWaitingRuns,
		defaults:     f.jobDefaults(),
		failureRetry: f.failureRetry, disableAfter: f.disableAfterFailures,
		historyKeep: max(f.jobHistoryKeep, f.jobHistoryLimit, 1), role: f.mesosRole,
		declineFor: f.declineOfferDuration, reviveForNew: f.reviveOffersForNewJobs, reviveEvery: f.minReviveOffersInterval,
		reconcile: f.reconciliationInterval, unreachable: f.unreachableTimeout, staging: f.stageTimeout,
		task:     taskConfig{CPUs: f.mesosTaskCPU, Mem: f.mesosTaskMem, Disk: f.mesosTaskDisk},
		setAside: map[string]string{}, location: time.Local, late: f.notifyLate,
	}
}

// hostNames takes a list of hosts apart.
func hostNames(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ',' || r == ' ' })
}

// jobDefaults are the values for what a job's document leaves out.
func (f *flags) jobDefaults() jobDefaults {
	return jobDefaults{
		patterns: newPatterns(), NotifyHosts: hostNames(f.notifyHosts),
		CPUs: f.mesosTaskCPU, Mem: f.mesosTaskMem, Disk: f.mesosTaskDisk,
		Epsilon: Period{Seconds: int32(f.taskEpsilon / time.Second)}, User: f.user,
	}
}
