package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
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
	runArchiveCount      int // 0 for no archive
	runArchiveSize       int // MiB
	runArchiveDays       int
	activityKeep         int
	maxWaitingRuns       int
	localKeepRuns        int
	localKeepSize        int // MiB; 0 for a tenth of the disk
	localOutputSize      int // MiB; 0 for any
	localLimits          bool
	localMaxRuns         int // 0 for what this machine allows

	// Kubernetes
	kubernetesNamespace      string // "" for that of the pod or the kubeconfig, else default
	kubernetesImage          string
	kubernetesFetchImage     string
	kubernetesServiceAccount string
	kubernetesPodTemplate    string
	kubernetesPriorityClass  string
	kubernetesSecret         string
	kubernetesTokenFile      string
	kubernetesCAFile         string
	kubernetesMaxPods        int
	kubernetesKeepPods       int
	acceptEmptyState         string // a node, as termMark has it; "" for none
	acceptDamagedState       int64  // an offset; noDamage for none

	// Who may do what
	httpUsersFile      string
	trustedProxies     []netip.Prefix
	trustedProxySecret string // file
	instanceSecretFile string
	jvmInstances       []string // host:port
	secretsDir         string
	mesosSecretVars    bool

	set map[string]bool // the options given on the command line
}

// errHelp means that --help or --version was given and has been answered.
var errHelp = errors.New("help was requested")

// A usageError is a command line that cannot be understood. Its text is one line.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// An exitError ends the program with a status of its own.
type exitError struct {
	status int
	msg    string // "" for nothing more to say
}

func (e *exitError) Error() string { return e.msg }

// exitStatus is the status the process ends with for an error from parseFlags
// or expandLegacy: 0 for help, 1 for everything else as in the JVM versions.
func exitStatus(err error) int {
	if err == nil || errors.Is(err, errHelp) {
		return 0
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.status
	}
	return 1
}

// parseFlags reads the command line (without the program's name) over the
// defaults from the environment. Help, the version, and a one-line error
// go to stdout, where the JVM versions wrote them; the caller has
// nothing to print and only exits with exitStatus.
func parseFlags(args []string, environ func(string) (string, bool), stdout io.Writer) (*flags, error) {
	f, err := readFlags(args, environ, stdout)
	if uerr, ok := errors.AsType[*usageError](err); ok {
		printUsageError(stdout, uerr)
	}
	return f, err
}

// printUsageError writes the error with the first words that the option
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

// assign converts the values given, after those of the environment. If an option
// is given twice, the last one counts: the packages' wrappers append options.
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
			// An empty variable counts as unset: templates of DC/OS leave it empty.
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

// badValue returns an error that names the option and its bad value, without showing a secret.
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

// local reports whether jobs run as processes on this machine.
func (f *flags) local() bool { return f.master == "local" }

// kubernetes reports whether jobs run as pods.
func (f *flags) kubernetes() bool { return isKubernetes(f.master) }

// fileStore reports whether the state is kept in dataDir and not in ZooKeeper.
func (f *flags) fileStore() bool { return (f.local() || f.kubernetes()) && !f.explicit("zk_hosts") }

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
       chronos <command> [options] [arguments]

Without options, jobs run as processes on this machine, the state is kept in
chronos-data, and the API listens on http://127.0.0.1:8080. An option's value is
the next word or follows an equals sign; if an option is given twice, the last
one counts. Passwords are never shown as defaults.
`

const helpTail = `
      --version               Print the version and exit.
      --help                  Print this and exit.

Commands; chronos <command> --help tells their options:
      jobs [TEXT...]          List jobs, or those with a text in their names.
      job NAME                Show a job and its last runs.
      run NAME                Start a job now, and wait for it if asked to.
      logs NAME|RUN           Show what the last run of a job, or a run, has
                              written.
      kill NAME...            End the runs of jobs.
      enable NAME...          Let jobs run by their schedules again.
      disable NAME...         Keep jobs from running by their schedules.
      delete NAME...          Delete jobs.
      runs                    List runs of all jobs, or of one.
      next                    List what is due next.
      why NAME                Say why a job waits, or does not run.
      explain SCHEDULE        Show when a schedule would be due; asks no
                              instance.
      diff DIR|FILE...        Say what apply would change; status 2 if anything.
      apply DIR|FILE...       Make jobs as files say, all or none.
      export DIR              Write jobs into files, for apply.
      validate DIR|FILE...    Check files of jobs; asks no instance.
      top                     Watch what runs and waits.
      backup                  Write the whole state to a file.
      restore FILE            Make a backup the state.
      dry-run                 Say what this program would make of a state, and
                              change nothing.
      user add NAME ROLE [SCOPE]
                              Write the line of a user for --http_users_file.
      token NAME [ROLE [SCOPE]]
                              Make a token for a machine, and its line for
                              --http_users_file.
      healthcheck             Ask the instance of this machine or container
                              whether it lives.
      completion bash|zsh|fish
                              Write a script that completes command lines.
      man                     Write the manual page.
`

// helpColumn is where the descriptions start, helpWidth where they wrap.
const helpColumn, helpWidth = 30, 80

// printHelp writes the table by group. Defaults that are secret or come from
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
		text += " The variable " + o.env + " sets the default."
	}
	if def := o.value.String(); def != "" && !o.secret && !o.boolean() && !strings.Contains(o.help, "Default:") {
		text += " (default " + def + ")"
	}
	printAside(w, left, text)
}

// printAside writes a text beside what it explains.
func printAside(w io.Writer, left, text string) {
	for _, line := range wrapText(text, helpWidth-helpColumn) {
		if len(left) > helpColumn-2 {
			fmt.Fprintln(w, left)
			left = ""
		}
		fmt.Fprintf(w, "%-*s%s\n", helpColumn, left, line)
		left = ""
	}
}

// wrapText breaks a text into lines of at most width letters, unless a word is longer.
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

// listenPort returns the port of plain HTTP: --http_port if given, else PORT0 if it is a
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

// listenHost returns the address of plain HTTP, "" for all. In local mode anyone who reaches
// the port can run commands on this machine, so it stays on loopback
// unless another address, or "" for all, is given.
func (f *flags) listenHost() string {
	if f.httpAddress == "" && f.local() && !f.explicit("http_address") {
		return "127.0.0.1"
	}
	return f.httpAddress
}

// httpsHost returns the address of TLS. The rule is that of plain HTTP.
func (f *flags) httpsHost() string {
	if f.httpsAddress == "" && f.local() && !f.explicit("https_address") {
		return "127.0.0.1"
	}
	return f.httpsAddress
}

// listenAddress returns the address to pass to net.Listen for plain HTTP.
func (f *flags) listenAddress(environ func(string) (string, bool)) string {
	return net.JoinHostPort(f.listenHost(), strconv.Itoa(f.listenPort(environ)))
}

// advertised returns the host:port at which the other instances and Mesos reach a
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

// advertisedHost returns the name under which this instance is known. Without --hostname and HOST it is
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

// portVariable returns the port in a variable, or 0.
func portVariable(environ func(string) (string, bool), name string) int {
	s, _ := environ(name)
	if checkPort(s) != nil {
		return 0
	}
	port, _ := strconv.Atoi(s)
	return port
}

// schedulerConfig returns what the flags say about scheduling.
func (f *flags) schedulerConfig() schedulerConfig {
	largestJob, largestStep := maxJob, maxMulti
	if f.fileStore() {
		largestJob, largestStep = 0, 0
	}
	return schedulerConfig{
		largestJob: largestJob, largestStep: largestStep, mostByHand: f.maxWaitingRuns,
		defaults:     f.jobDefaults(),
		failureRetry: f.failureRetry, disableAfter: f.disableAfterFailures,
		archive:     archiveBounds{int64(f.runArchiveCount), int64(f.runArchiveSize) << 20, int64(f.runArchiveDays) * 24 * time.Hour.Milliseconds()},
		historyKeep: max(f.jobHistoryKeep, f.jobHistoryLimit, 1), activityKeep: f.activityKeep, role: f.mesosRole,
		declineFor: f.declineOfferDuration, reviveForNew: f.reviveOffersForNewJobs, reviveEvery: f.minReviveOffersInterval,
		reconcile: f.reconciliationInterval, unreachable: f.unreachableTimeout, staging: f.stageTimeout,
		task:     taskConfig{CPUs: f.mesosTaskCPU, Mem: f.mesosTaskMem, Disk: f.mesosTaskDisk, PlacedByCluster: f.kubernetes()},
		setAside: map[string]string{}, location: time.Local, late: f.notifyLate,
	}
}

// podOptions returns what the flags say about pods.
func (f *flags) podOptions() (o podOptions, err error) {
	o = podOptions{
		image: f.kubernetesImage, fetchImage: f.kubernetesFetchImage, serviceAccount: f.kubernetesServiceAccount,
		priorityClass: f.kubernetesPriorityClass, secret: f.kubernetesSecret, plainUser: f.user,
	}
	if f.kubernetesPodTemplate != "" {
		if o.template, err = readPodTemplate(f.kubernetesPodTemplate); err != nil {
			return o, fmt.Errorf("--kubernetes_pod_template: %w", err)
		}
	}
	return o, nil
}

// hostNames takes a list of hosts apart.
func hostNames(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ',' || r == ' ' })
}

// jobDefaults returns the values for what a job's document leaves out.
func (f *flags) jobDefaults() jobDefaults {
	return jobDefaults{
		patterns: newPatterns(), NotifyHosts: hostNames(f.notifyHosts),
		KeepNamed: f.local(), // --local_limits may be given later
		CPUs:      f.mesosTaskCPU, Mem: f.mesosTaskMem, Disk: f.mesosTaskDisk,
		Epsilon: Period{Seconds: int32(f.taskEpsilon / time.Second)}, User: f.user,
	}
}

// networksValue is addresses and networks with commas between them.
type networksValue struct{ p *[]netip.Prefix }

func (v networksValue) Set(s string) error {
	var networks []netip.Prefix
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		network, err := netip.ParsePrefix(part)
		if err != nil {
			address, err := netip.ParseAddr(part)
			if err != nil {
				return fmt.Errorf("%q is neither an address nor a network like 10.0.0.0/8", part)
			}
			network = netip.PrefixFrom(address, address.BitLen())
		}
		networks = append(networks, network.Masked())
	}
	*v.p = networks
	return nil
}

func (v networksValue) String() string {
	if v.p == nil {
		return ""
	}
	var texts []string
	for _, n := range *v.p {
		texts = append(texts, n.String())
	}
	return strings.Join(texts, ",")
}

// hostPortsValue is host:port,host:port,...
type hostPortsValue struct{ p *[]string }

func (v hostPortsValue) Set(s string) error {
	var all []string
	for part := range strings.SplitSeq(s, ",") {
		hostPort, err := checkHostPort(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		all = append(all, hostPort)
	}
	*v.p = all
	return nil
}

func (v hostPortsValue) String() string {
	if v.p == nil {
		return ""
	}
	return strings.Join(*v.p, ",")
}
