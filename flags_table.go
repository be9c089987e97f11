package main

import (
	"flag"
	"math"
	"time"
)

// option is one row of the table: what the parser and the help text know about an option.
type option struct {
	name, short string // without dashes; short is "" or one letter
	arg         string // what the help text calls the value; "" for booleans
	value       flag.Value
	help        string
	group       string
	env         string // the variable that gives the default, or ""
	toggles     string // the option that this one is the opposite of, or ""
	secret      bool   // never shown
	noEffect    bool   // accepted for the sake of old command lines
	ours        bool   // unknown to the JVM versions
}

// boolean reports whether the option takes no value.
func (o option) boolean() bool {
	_, ok := o.value.(boolValue)
	return ok
}

// target returns the name under which the option's value is looked up.
func (o option) target() string {
	if o.toggles != "" {
		return o.toggles
	}
	return o.name
}

const (
	groupHTTP          = "HTTP server"
	groupScheduler     = "Scheduler"
	groupMesos         = "Mesos"
	groupZooKeeper     = "ZooKeeper"
	groupNotifications = "Notifications"
	groupCassandra     = "Job history in Cassandra"
	groupGraphite      = "Metrics to Graphite"
	groupKubernetes    = "Kubernetes, unknown to the JVM versions too"
	groupAccess        = "Who may do what, unknown to the JVM versions too"
	groupOurs          = "Additions of this program, unknown to the JVM versions"
)

// defaultFlags returns the values of options that are not given.
func defaultFlags() *flags {
	return &flags{
		httpPort:                  defaultPort,
		httpsPort:                 8443,
		httpRealm:                 "Mesosphere",
		httpCompression:           true,
		user:                      "root",
		scheduleHorizon:           60 * time.Second,
		leaderMaxIdleTime:         5 * time.Second,
		failureRetry:              60 * time.Second,
		taskEpsilon:               60 * time.Second,
		jobHistoryLimit:           5,
		master:                    "local",
		failoverTimeout:           7 * 24 * time.Hour,
		mesosTaskMem:              128,
		mesosTaskCPU:              0.1,
		mesosTaskDisk:             256,
		mesosCheckpoint:           true,
		mesosRole:                 "*",
		mesosFrameworkName:        "chronos",
		reconciliationInterval:    600 * time.Second,
		minReviveOffersInterval:   5 * time.Second,
		zkHosts:                   []string{"localhost:2181"},
		zkPath:                    "/chronos/state",
		zkTimeout:                 10 * time.Second,
		cassandraPort:             9042,
		cassandraKeyspace:         "metrics",
		cassandraTable:            "chronos",
		cassandraStatCountTable:   "chronos_stat_count",
		cassandraConsistency:      "ANY",
		cassandraTTL:              365 * 24 * time.Hour,
		graphiteReportingInterval: 60 * time.Second,
		dataDir:                   "chronos-data",
		logLevel:                  "info",
		logFormat:                 "text",
		unreachableTimeout:        10 * time.Minute,
		stageTimeout:              15 * time.Minute,
		handoverTimeout:           5 * time.Second,
		jobHistoryKeep:            20,
		runArchiveCount:           500_000,
		runArchiveSize:            32,
		runArchiveDays:            400,
		activityKeep:              5000,
		maxWaitingRuns:            1000,
		localKeepRuns:             20,
		localOutputSize:           64,
		acceptDamagedState:        noDamage,
		kubernetesMaxPods:         500,
		kubernetesKeepPods:        10,
		set:                       map[string]bool{},
	}
}

// optionTable is every option, by group, writing into f. The short names are those of the manual
// of 2.4; in the JVM versions they depended on the order of reflection.
func (f *flags) optionTable() []option {
	var table []option
	for _, group := range []struct {
		name    string
		options []option
	}{
		{groupHTTP, f.httpOptions()},
		{groupScheduler, f.schedulerOptions()},
		{groupMesos, f.mesosOptions()},
		{groupZooKeeper, f.zooKeeperOptions()},
		{groupNotifications, f.notificationOptions()},
		{groupCassandra, f.cassandraOptions()},
		{groupGraphite, f.graphiteOptions()},
		{groupOurs, f.ourOptions()},
		{groupKubernetes, f.kubernetesOptions()},
		{groupAccess, f.accessOptionsTable()},
	} {
		for _, o := range group.options {
			o.group = group.name
			o.ours = group.name == groupOurs || group.name == groupKubernetes || group.name == groupAccess
			table = append(table, o)
		}
	}
	return table
}

func anyText(p *string) textValue                                     { return textValue{p: p} }
func checkedText(p *string, c func(string) (string, error)) textValue { return textValue{p, c} }
func inSeconds(p *time.Duration) spanValue                            { return spanValue{p, time.Second, 32, 0} }
func inMillis(p *time.Duration) spanValue                             { return spanValue{p, time.Millisecond, 64, 0} }

func (f *flags) httpOptions() []option {
	return []option{
		{name: "http_address", arg: "addr", value: checkedText(&f.httpAddress, checkHost), env: "CHRONOS_HTTP_ADDRESS",
			help: "Address that plain HTTP listens on. Default: 127.0.0.1 with --master local, else all addresses."},
		{name: "http_port", arg: "port", value: intValue{&f.httpPort, 0, 65535},
			help: "Port of plain HTTP; 0 picks a free one. If not given, PORT0 from the environment is used if it is the container's own port."},
		{name: "https_address", arg: "addr", value: checkedText(&f.httpsAddress, checkHost),
			help: "Address that TLS listens on. Default: 127.0.0.1 with --master local, else all addresses."},
		{name: "https_port", arg: "port", value: intValue{&f.httpsPort, 0, 65535},
			help: "Port of TLS, used when a key store is given."},
		{name: "disable_http", value: boolValue{p: &f.disableHTTP},
			help: "Serve TLS only."},
		{name: "ssl_keystore_path", arg: "file", value: anyText(&f.sslKeystorePath), env: "MESOSPHERE_KEYSTORE_PATH",
			help: "Key store with the server's key: JKS or PKCS12, whose password must be given too, or PEM without one. It is read again when it changes."},
		{name: "ssl_keystore_password", arg: "password", value: anyText(&f.sslKeystorePassword), env: "MESOSPHERE_KEYSTORE_PASS", secret: true,
			help: "Password of the key store."},
		{name: "http_credentials", arg: "user:password", value: checkedText(&f.httpCredentials, checkCredentials), env: "MESOSPHERE_HTTP_CREDENTIALS", secret: true,
			help: "Require these, by HTTP Basic, for everything but /ping."},
		{name: "http_realm", arg: "realm", value: anyText(&f.httpRealm),
			help: "Realm of the password prompt."},
		{name: "http_compression", value: boolValue{p: &f.httpCompression},
			help: "Compress answers for clients that accept gzip."},
		{name: "disable_http_compression", value: boolValue{&f.httpCompression, true}, toggles: "http_compression",
			help: "Never compress answers."},
		{name: "assets_path", arg: "dir", value: anyText(&f.assetsPath), noEffect: true,
			help: "Accepted, without effect: the interface is part of the program."},
	}
}

func (f *flags) schedulerOptions() []option {
	return []option{
		{name: "user", short: "u", arg: "name", value: anyText(&f.user),
			help: "User that runs jobs without a runAsUser."},
		{name: "hostname", short: "h", arg: "name", value: checkedText(&f.hostname, checkHost),
			help: "Name at which the other instances and Mesos reach this one. Default: HOST from the environment, else this machine's name."},
		{name: "cluster_name", arg: "name", value: anyText(&f.clusterName),
			help: "Put [name] before the subjects of notifications."},
		{name: "schedule_horizon", short: "s", arg: "seconds", value: inSeconds(&f.scheduleHorizon), noEffect: true,
			help: "Accepted, without effect: runs are created at the moment they are due."},
		{name: "leader_max_idle_time", short: "l", arg: "ms", value: spanValue{&f.leaderMaxIdleTime, time.Millisecond, 32, math.MinInt32}, noEffect: true,
			help: "Accepted, without effect, as in the JVM versions."},
		{name: "failure_retry", arg: "ms", value: inMillis(&f.failureRetry),
			help: "Wait this long before a failed task is retried."},
		{name: "disable_after_failures", arg: "count", value: longValue{&f.disableAfterFailures},
			help: "Disable a job after this many failures since its last success; 0 means never."},
		{name: "task_epsilon", short: "t", arg: "seconds", value: inSeconds(&f.taskEpsilon),
			help: "How late a run may start, for jobs without an epsilon of their own."},
		{name: "job_history_limit", short: "j", arg: "count", value: intValue{&f.jobHistoryLimit, math.MinInt32, math.MaxInt32},
			help: "Entries of history in a job's statistics."},
		{name: "webui_url", arg: "url", value: anyText(&f.webuiURL),
			help: "Address of the interface as Mesos shows it. Default: the advertised host and port."},
	}
}

func (f *flags) mesosOptions() []option {
	return []option{
		{name: "master", arg: "master", value: checkedText(&f.master, checkMaster),
			help: "Where jobs run: local (as processes on this machine), host:port, http://host:port, https://host:port, zk://[user:password@]host:port,.../path, file:///path of a file that contains one of these, or on Kubernetes: k8s (the cluster of the pod that this program runs in), k8s://host:port, k8s:///path/to/kubeconfig."},
		{name: "failover_timeout", short: "f", arg: "seconds", value: inSeconds(&f.failoverTimeout),
			help: "How long Mesos keeps tasks alive without a scheduler."},
		{name: "mesos_task_mem", arg: "MB", value: amountValue{&f.mesosTaskMem},
			help: "Memory of a job that specifies none."},
		{name: "mesos_task_cpu", arg: "cpus", value: amountValue{&f.mesosTaskCPU},
			help: "Cores of a job that specifies none."},
		{name: "mesos_task_disk", arg: "MB", value: amountValue{&f.mesosTaskDisk},
			help: "Disk space of a job that specifies none."},
		{name: "mesos_checkpoint", value: boolValue{p: &f.mesosCheckpoint},
			help: "Let tasks survive a restart of their agent."},
		{name: "mesos_role", arg: "role", value: anyText(&f.mesosRole),
			help: "Role whose resources are used besides unreserved ones."},
		{name: "mesos_framework_name", arg: "name", value: anyText(&f.mesosFrameworkName),
			help: "Name of the framework in Mesos."},
		{name: "mesos_authentication_principal", arg: "name", value: anyText(&f.mesosAuthenticationPrincipal),
			help: "Principal of the framework."},
		{name: "mesos_authentication_secret_file", arg: "file", value: anyText(&f.mesosAuthenticationSecretFile),
			help: "File with the principal's secret."},
		{name: "reconciliation_interval", arg: "seconds", value: inSeconds(&f.reconciliationInterval),
			help: "Time between two comparisons of our tasks with those of Mesos."},
		{name: "revive_offers_for_new_jobs", value: boolValue{p: &f.reviveOffersForNewJobs},
			help: "Ask for offers whenever a task is queued."},
		{name: "decline_offer_duration", short: "d", arg: "ms", value: inMillis(&f.declineOfferDuration),
			help: "How long a declined offer is withheld. Default: that of Mesos, 5 seconds."},
		{name: "min_revive_offers_interval", arg: "ms", value: inMillis(&f.minReviveOffersInterval),
			help: "Minimum time between two requests for offers."},
	}
}

func (f *flags) zooKeeperOptions() []option {
	return []option{
		// zk_auth comes after zk_hosts: it overrides credentials in the URL.
		{name: "zk_hosts", short: "z", arg: "hosts", value: zkHostsValue{f},
			help: "host:port,host:port,... or zk://[user:password@]host:port,... (a path after the latter is ignored, as before). Given with --master local or k8s, the state is kept there and not in --data_dir."},
		{name: "zk_path", arg: "path", value: checkedText(&f.zkPath, checkZKPath),
			help: "Path of the state and the election."},
		{name: "zk_timeout", arg: "ms", value: spanValue{&f.zkTimeout, time.Millisecond, 64, 1},
			help: "Time allowed for connecting, and the session timeout."},
		{name: "zk_auth", arg: "user:password", value: checkedText(&f.zkAuth, checkCredentials), secret: true,
			help: "Digest authentication."},
	}
}

func (f *flags) notificationOptions() []option {
	return []option{
		{name: "mail_server", arg: "host:port", value: checkedText(&f.mailServer, checkHostPortOrNone),
			help: "SMTP server; mail is sent if --mail_from is given too."},
		{name: "mail_from", short: "m", arg: "address", value: anyText(&f.mailFrom),
			help: "Sender of the mail."},
		{name: "mail_user", arg: "user", value: anyText(&f.mailUser),
			help: "User for the SMTP server."},
		{name: "mail_password", arg: "password", value: anyText(&f.mailPassword), secret: true,
			help: "Password for the SMTP server."},
		{name: "mail_ssl", value: boolValue{p: &f.mailSSL},
			help: "Speak TLS to the SMTP server from the first byte."},
		{name: "raven_dsn", short: "r", arg: "dsn", value: anyText(&f.ravenDSN), secret: true,
			help: "Report to this Sentry project."},
		{name: "slack_url", arg: "url", value: checkedText(&f.slackURL, checkWebURL), secret: true,
			help: "Post to this Slack webhook."},
		{name: "mattermost_url", arg: "url", value: checkedText(&f.mattermostURL, checkWebURL), secret: true,
			help: "Post to this Mattermost webhook."},
		{name: "http_notification_url", arg: "url", value: checkedText(&f.httpNotificationURL, checkWebURL), secret: true,
			help: "Post a JSON document to this address."},
		{name: "http_notification_credentials", arg: "user:password", value: anyText(&f.httpNotificationCredentials), secret: true,
			help: "Send these along, by HTTP Basic."},
	}
}

func (f *flags) cassandraOptions() []option {
	return []option{
		{name: "cassandra_contact_points", short: "c", arg: "hosts", value: anyText(&f.cassandraContactPoints),
			help: "Also keep the history of jobs in Cassandra: host,host,..."},
		{name: "cassandra_port", arg: "port", value: intValue{&f.cassandraPort, 1, 65535},
			help: "Its port."},
		{name: "cassandra_user", arg: "user", value: anyText(&f.cassandraUser),
			help: "User, if Cassandra requires one."},
		{name: "cassandra_password", arg: "password", value: anyText(&f.cassandraPassword), secret: true,
			help: "The user's password."},
		{name: "cassandra_keyspace", arg: "name", value: anyText(&f.cassandraKeyspace),
			help: "Key space of the tables."},
		{name: "cassandra_table", arg: "name", value: anyText(&f.cassandraTable),
			help: "Table of task states."},
		{name: "cassandra_stat_count_table", arg: "name", value: anyText(&f.cassandraStatCountTable),
			help: "Table of processed elements."},
		{name: "cassandra_consistency", arg: "level", value: checkedText(&f.cassandraConsistency,
			oneOfWords("ANY", "ONE", "TWO", "THREE", "QUORUM", "ALL", "LOCAL_QUORUM", "EACH_QUORUM", "SERIAL", "LOCAL_SERIAL", "LOCAL_ONE")),
			help: "Consistency of writes, and of reads except that ANY reads at ONE."},
		{name: "cassandra_ttl", arg: "seconds", value: inSeconds(&f.cassandraTTL),
			help: "How long rows live. Takes effect only if given: the JVM versions kept rows forever."},
	}
}

func (f *flags) graphiteOptions() []option {
	return []option{
		{name: "graphite_host_port", short: "g", arg: "host:port", value: checkedText(&f.graphiteHostPort, checkHostPortOrNone),
			help: "Report the metrics there."},
		{name: "graphite_reporting_interval", arg: "seconds", value: spanValue{&f.graphiteReportingInterval, time.Second, 64, 1},
			help: "Time between two reports."},
		{name: "graphite_group_prefix", arg: "prefix", value: anyText(&f.graphiteGroupPrefix),
			help: "Prefix of the metrics' names."},
	}
}

func (f *flags) ourOptions() []option {
	return []option{
		{name: "data_dir", arg: "dir", value: checkedText(&f.dataDir, checkDir), env: "CHRONOS_DATA_DIR",
			help: "Where --master local keeps its state and the sandboxes of runs, and --master k8s its state and what pods have written that were killed or deleted."},
		{name: "advertise_port", arg: "port", value: intValue{&f.advertisePort, 1, 65535},
			help: "Port at which others reach this instance, if not the one it listens on. Default: PORT_<http_port> from the environment, which Marathon sets."},
		{name: "mesos_ssl", value: boolValue{p: &f.mesosSSL}, env: "LIBPROCESS_SSL_ENABLED",
			help: "Speak https to masters found in ZooKeeper or given as host:port."},
		{name: "mesos_agent_principal", arg: "name", value: anyText(&f.mesosAgentPrincipal),
			help: "Read the output of runs from Mesos agents as this principal. Default: that of the framework, with its secret."},
		{name: "mesos_agent_secret_file", arg: "file", value: anyText(&f.mesosAgentSecretFile),
			help: "File with that principal's secret."},
		{name: "notify_missed", value: boolValue{p: &f.notifyMissed},
			help: "Also notify of runs that were missed."},
		{name: "notify_late", arg: "seconds", value: inSeconds(&f.notifyLate),
			help: "Also notify of runs that have not started this long after they were due; 0 means never."},
		{name: "notify_hosts", arg: "hosts", value: anyText(&f.notifyHosts),
			help: "Hosts, separated by commas, that the notify of jobs may have called over https. Loopback, link-local and private addresses are called only if they are listed as addresses."},
		{name: "log_level", arg: "level", value: checkedText(&f.logLevel, oneOfWords("debug", "info", "warn", "error")),
			help: "Lowest level that is logged: debug, info, warn or error."},
		{name: "log_format", arg: "format", value: checkedText(&f.logFormat, oneOfWords("text", "json")),
			help: "text or json."},
		{name: "unreachable_timeout", arg: "duration", value: durationValue{&f.unreachableTimeout},
			help: "Give up a task as lost when its agent has been unreachable for this long."},
		{name: "handover_timeout", arg: "duration", value: durationValue{&f.handoverTimeout},
			help: "When told to stop while a JVM version is next in line, first place the waiting runs, of which it may know nothing, for at most this long; 0s means not at all."},
		{name: "stage_timeout", arg: "duration", value: durationValue{&f.stageTimeout},
			help: "Give up a task as lost when nothing has been heard of it for this long after its launch. On Kubernetes: delete a pod that has not started by then; its run fails for the pod's own reason."},
		{name: "job_history_keep", arg: "count", value: intValue{&f.jobHistoryKeep, 0, 10000},
			help: "Runs remembered for each job, unless --job_history_limit is higher."},
		{name: "run_archive_count", arg: "count", value: intValue{&f.runArchiveCount, 0, 100_000_000},
			help: "Ended runs kept beyond those, of all jobs together; the oldest go first. 0 means none, and deletes them."},
		{name: "run_archive_size", arg: "MiB", value: intValue{&f.runArchiveSize, 1, 1 << 20},
			help: "What their records may take together."},
		{name: "run_archive_days", arg: "days", value: intValue{&f.runArchiveDays, 1, 36_500},
			help: "How long they are kept after they were due."},
		{name: "activity_keep", arg: "count", value: intValue{&f.activityKeep, 0, 100_000},
			help: "Who has changed what: how many changes of jobs are remembered, and as many of what was done to runs, for 90 days and up to 4 MiB each; 0 remembers nothing."},
		{name: "max_waiting_runs", arg: "count", value: intValue{&f.maxWaitingRuns, 1, 100_000},
			help: "How many runs of one job that were started by hand may wait at a time; more are refused with 429. Other runs are not bounded by this."},
		{name: "local_keep_runs", arg: "count", value: intValue{&f.localKeepRuns, 1, 10000},
			help: "Ended runs of each job whose sandboxes and outputs --master local keeps."},
		{name: "local_keep_size", arg: "MiB", value: intValue{&f.localKeepSize, 0, 1 << 30},
			help: "Disk space that the sandboxes of ended runs may take together; the oldest are removed first. 0 means a tenth of the disk."},
		{name: "local_output_size", arg: "MiB", value: intValue{&f.localOutputSize, 0, 1 << 20},
			help: "How much --master local keeps of a run's stdout and stderr each: of longer ones, the beginning and the end. 0 means everything."},
		{name: "local_max_runs", arg: "count", value: intValue{&f.localMaxRuns, 0, 1 << 30},
			help: "Runs of --master local that may be under way at a time, beside what their cpus and mem allow. 0 means as many as there can be descriptors and processes for."},
		{name: "local_limits", value: boolValue{p: &f.localLimits},
			help: "Hold the runs of --master local to the mem and to the share of processors that their job's document names, by control groups of version 2."},
		{name: "accept_empty_state", arg: "node", value: checkedText(&f.acceptEmptyState, checkTermNode),
			help: "Lead a state in ZooKeeper that has been emptied, this once: node is what the log and /health print in that case."},
		{name: "accept_damaged_state", arg: "offset", value: offsetValue{&f.acceptDamagedState},
			help: "Start on a damaged state file with every record that is intact, this once: offset is where the program said that the damage is."},
	}
}

func (f *flags) kubernetesOptions() []option {
	return []option{
		{name: "kubernetes_namespace", arg: "name", value: anyText(&f.kubernetesNamespace),
			help: "Namespace of the pods. Default: that of this program's own pod or of the kubeconfig, else default."},
		{name: "kubernetes_image", arg: "image", value: anyText(&f.kubernetesImage),
			help: "Image of jobs without a container. Without one, such jobs are refused."},
		{name: "kubernetes_fetch_image", arg: "image", value: anyText(&f.kubernetesFetchImage),
			help: "Image with this program in it, which fetches the uris of jobs before they start. Without one, jobs with uris are refused."},
		{name: "kubernetes_service_account", arg: "name", value: anyText(&f.kubernetesServiceAccount),
			help: "Service account of the pods. Default: the namespace's, without its token."},
		{name: "kubernetes_pod_template", arg: "file", value: anyText(&f.kubernetesPodTemplate),
			help: "A pod, as YAML or JSON, that those of jobs are laid over: tolerations, pull secrets, security contexts. Its only container, if it has one, is named task."},
		{name: "kubernetes_priority_class", arg: "name", value: anyText(&f.kubernetesPriorityClass),
			help: "Priority class of jobs with highPriority. Default: none."},
		{name: "kubernetes_secret", arg: "name", value: anyText(&f.kubernetesSecret),
			help: "Secret of Kubernetes that has the secrets of jobs as its keys: pods refer to them, and of --secrets_dir only the index counts. Without it, pods carry the values from this program's own secrets, for whoever may read pods."},
		{name: "kubernetes_token_file", arg: "file", value: anyText(&f.kubernetesTokenFile),
			help: "File with the token for k8s://host:port. It is read again when it changes."},
		{name: "kubernetes_ca_file", arg: "file", value: anyText(&f.kubernetesCAFile),
			help: "File with the certificates of the CA of k8s://host:port. Default: those of the system."},
		{name: "kubernetes_max_pods", arg: "count", value: intValue{&f.kubernetesMaxPods, 1, 100_000},
			help: "Runs that may be under way at a time."},
		{name: "kubernetes_keep_pods", arg: "count", value: intValue{&f.kubernetesKeepPods, 0, 1000},
			help: "Ended pods of each job that are kept, with their output; of all jobs together at most 1000, none for longer than a week."},
	}
}

func (f *flags) accessOptionsTable() []option {
	return []option{
		{name: "http_users_file", arg: "file", value: anyText(&f.httpUsersFile), env: "CHRONOS_HTTP_USERS_FILE",
			help: "Users, machines and groups with their roles and scopes, one a line: chronos user add and chronos token write them. Beside it the user of --http_credentials is an administrator. It is read again when it changes."},
		{name: "http_trusted_proxy", arg: "networks", value: networksValue{&f.trustedProxies},
			help: "Addresses (10.0.0.7 or 10.0.0.0/8,...) of proxies whose X-Forwarded-User and X-Forwarded-Groups are believed, on requests with the secret of --http_trusted_proxy_secret_file."},
		{name: "http_trusted_proxy_secret_file", arg: "file", value: anyText(&f.trustedProxySecret),
			help: "File with the secret that these proxies send as X-Chronos-Proxy-Secret."},
		{name: "instance_secret_file", arg: "file", value: anyText(&f.instanceSecretFile),
			help: "File with a secret that all instances share: by it they tell each other whom a proxy has let in."},
		{name: "jvm_instances", arg: "hosts", value: hostPortsValue{&f.jvmInstances},
			help: "host:port,... of JVM instances, which are shown --http_credentials when they lead."},
		{name: "secrets_dir", arg: "dir", value: anyText(&f.secretsDir), env: "CHRONOS_SECRETS_DIR",
			help: "Files with the secrets that jobs may name in their environmentVariables, and the file index, which says which jobs may use which: NAME:PREFIX[,PREFIX...], one a line. They are read when a run is launched."},
		{name: "mesos_secret_variables", value: boolValue{p: &f.mesosSecretVars},
			help: "Send secrets as variables of type SECRET, which Mesos does not show, and which agents take only with --isolation=environment_secret and for tasks of the Mesos containerizer. By default they are sent as any other variable, and show in the state of Mesos."},
	}
}
