package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A daemon is one instance with all its parts, built from the flags.
type daemon struct {
	flags     *flags
	log       *slog.Logger
	metrics   *metrics
	notifier  *notifier
	seat      *seat
	leader    *leadership
	api       *api
	store     *fileStore // nil if the state is in ZooKeeper
	listeners []net.Listener
	local     *localCluster // nil on Mesos

	id           string        // host:port under which this instance is known
	self         instance      // how the others reach it
	certificates *certificates // nil without TLS
	httpsPort    int
	mesos        *mesosCluster // nil without Mesos
	pods         *kubeCluster  // nil without Kubernetes
	observed     *observedCluster
	graphite     *graphite  // nil if there are no reports
	cassandra    *cassandra // nil without
	watchdog     *watchdog
	memory       *budget // for bodies and answers
	connections  *connections
	access       *access // nil where everybody may do everything, or one password does
	vault        *vault  // nil without --secrets_dir
}

// newDaemon creates the parts and listens, so that whatever is wrong with the flags or the
// machine is found before anything runs.
func newDaemon(f *flags, environ func(string) (string, bool), log *slog.Logger, level *slog.LevelVar) (*daemon, error) {
	d := &daemon{flags: f, log: log, metrics: newMetrics(version)}
	memory := limitMemory(rootFS())
	d.memory, d.connections = newBudget(memory/4), newConnections(maxConnections(memory, descriptorLimit()))
	err := d.listen(environ)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.newAccess(), d.newVault()); err != nil {
		d.closeListeners()
		return nil, err
	}
	d.seat = newSeat(d.id)
	if f.local() || f.fileStore() {
		// Before the store: its files are ours alone, but jobs pass through the directory.
		if err := makePassable(f.dataDir); err != nil {
			return nil, adviseDataDir(f.dataDir, err)
		}
	}
	if f.fileStore() {
		d.store, err = outlast(errInUse, func() (*fileStore, error) { return openDamagedStore(f.dataDir, f.acceptDamagedState, log) })
		if err != nil {
			return nil, adviseDataDir(f.dataDir, err)
		}
	}
	cl, err := d.newCluster(environ)
	if err != nil {
		return nil, err
	}
	if err := d.newReporters(); err != nil {
		return nil, err
	}
	d.notifier = newNotifier(notifyOptions{
		ClusterName: f.clusterName, MailServer: f.mailServer, MailFrom: f.mailFrom, MailUser: f.mailUser,
		MailPassword: f.mailPassword, MailSSL: f.mailSSL, RavenDSN: f.ravenDSN, SlackURL: f.slackURL,
		MattermostURL: f.mattermostURL, HTTPURL: f.httpNotificationURL, HTTPCredentials: f.httpNotificationCredentials,
		Missed: f.notifyMissed, Late: f.notifyLate, NotifyHosts: hostNames(f.notifyHosts),
	}, log, d.metrics)
	config := f.schedulerConfig()
	config.callbacks = d.access != nil
	config.hooks = d.hooks()
	if d.local != nil {
		config.mostRuns, config.mostRunsFlag = cmp.Or(f.localMaxRuns, possibleRuns()), "local_max_runs"
	}
	if d.pods != nil {
		config.mostRuns, config.mostRunsFlag = f.kubernetesMaxPods, "kubernetes_max_pods"
	}
	if config.mostRuns > 0 {
		log.Info("bound", "runs", config.mostRuns)
	}
	d.leader = newLeadership(d.seat, d.withSecrets(cl), config, log, d.metrics)
	d.leader.acceptEmpty = f.acceptEmptyState
	if d.local != nil {
		d.leader.enter, d.leader.lastTerm = d.local.enter, d.local.lastTerm
	}
	if d.store != nil && d.local != nil {
		d.store.remade = d.local.rebuild
	}
	d.watchdog = &watchdog{current: d.seat.current, metrics: d.metrics, log: log}
	d.observe()
	d.api = newAPI(d.apiOptions(environ, level))
	return d, nil
}

// newAccess reads the rules of access.
func (d *daemon) newAccess() (err error) {
	f := d.flags
	if f.httpUsersFile == "" {
		for option, given := range map[string]bool{"http_trusted_proxy": f.trustedProxies != nil, "http_trusted_proxy_secret_file": f.trustedProxySecret != "",
			"instance_secret_file": f.instanceSecretFile != "", "jvm_instances": f.jvmInstances != nil} {
			if given {
				return fmt.Errorf("--%s is of no use without --http_users_file, which says who may do what", option)
			}
		}
		return nil
	}
	d.access, err = newAccess(accessOptions{
		usersFile: f.httpUsersFile, credentials: f.httpCredentials, instanceSecret: f.instanceSecretFile, user: f.user, log: d.log,
		proxies: proxyOptions{addresses: f.trustedProxies, secretFile: f.trustedProxySecret, jvm: f.jvmInstances},
	})
	if err != nil {
		return err
	}
	d.self.Access = d.access.mark
	return nil
}

// newVault opens the secrets. A name under a prefix that they name needs a right to that prefix.
func (d *daemon) newVault() (err error) {
	f := d.flags
	switch {
	case f.secretsDir == "" && f.mesosSecretVars:
		return errors.New("--mesos_secret_variables is of no use without --secrets_dir, which has the secrets")
	case f.secretsDir == "":
		return nil
	}
	if d.vault, err = openVault(f.secretsDir, d.log); err != nil {
		return fmt.Errorf("--secrets_dir: %w", err)
	}
	if d.access != nil {
		d.access.guards = d.vault.guards
	}
	if d.secretForm() == plainSecret {
		d.log.Warn("secrets are sent as plain variables, which whoever may see tasks in Mesos, or read pods in Kubernetes, sees; --mesos_secret_variables or --kubernetes_secret does it otherwise")
	}
	return nil
}

// secretForm is how the cluster is sent secrets.
func (d *daemon) secretForm() secretForm {
	f := d.flags
	switch {
	case f.local():
		return markedSecret
	case f.kubernetes() && f.kubernetesSecret != "":
		return referredSecret
	case f.mesosSecretVars && !f.kubernetes():
		return mesosSecret
	}
	return plainSecret
}

// withSecrets is a cluster whose tasks have their secrets.
func (d *daemon) withSecrets(cl cluster) cluster {
	return &secretCluster{cluster: cl, vault: d.vault, form: d.secretForm(), log: d.log}
}

func (d *daemon) usersFile() *usersFile {
	if d.access == nil {
		return nil
	}
	return d.access.users
}

// exposed says what jobs can read that nobody should who may run jobs: in local mode they are processes beside this one.
func (d *daemon) exposed() []string {
	f := d.flags
	if d.access == nil && d.vault == nil || !f.local() {
		return nil
	}
	const all = "jobs run as the same user as this program, so whoever may run a command can read the users file, the secrets and the state, and do everything; " +
		"start the program as root with --user naming another user"
	if os.Geteuid() != 0 {
		return []string{all}
	}
	account, err := user.Lookup(f.user)
	if err != nil {
		account, err = user.LookupId(f.user)
	}
	if err != nil || account.Uid == "0" {
		return []string{all}
	}
	var readable []string
	for _, file := range append(d.vault.files(), f.httpUsersFile, f.trustedProxySecret, f.instanceSecretFile) {
		if file != "" && readableBy(account, file) {
			readable = append(readable, "jobs run as "+f.user+", who can read "+file+"; make it readable for root only (chmod 600)")
		}
	}
	return readable
}

// readableBy reports whether the mode of a file lets a user read it. What can't be told is a yes.
func readableBy(account *user.User, file string) bool {
	info, err := os.Stat(file)
	if err != nil {
		return true
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	groups, err := account.GroupIds()
	if !ok || err != nil {
		return true
	}
	mode := info.Mode().Perm()
	return mode&0o004 != 0 || mode&0o400 != 0 && strconv.Itoa(int(st.Uid)) == account.Uid ||
		mode&0o040 != 0 && slices.Contains(append(groups, account.Gid), strconv.Itoa(int(st.Gid)))
}

// newReporters makes what tells others of runs and numbers.
func (d *daemon) newReporters() (err error) {
	f := d.flags
	d.graphite, err = newGraphite(graphiteOptions{HostPort: f.graphiteHostPort, Interval: f.graphiteReportingInterval, Prefix: f.graphiteGroupPrefix}, d.metrics, d.log)
	if err != nil {
		return err
	}
	o := cassandraOptions{
		Hosts: contactPoints(f.cassandraContactPoints), Port: f.cassandraPort, User: f.cassandraUser, Password: f.cassandraPassword,
		Keyspace: f.cassandraKeyspace, Table: f.cassandraTable, CountTable: f.cassandraStatCountTable, Consistency: f.cassandraConsistency,
	}
	if f.explicit("cassandra_ttl") {
		o.TTL = f.cassandraTTL
	}
	d.cassandra, err = newCassandra(o, d.log, d.metrics)
	return err
}

// hooks returns the hooks through which the parts follow a term.
func (d *daemon) hooks() hooks {
	m := d.metrics
	return hooks{
		observe: func(e jobEvent) {
			runLog{d.log}.observe(e)
			m.observe(e)
			d.notifier.observe(e)
			if d.cassandra != nil {
				d.cassandra.observe(e)
			}
			if d.local != nil && e.Kind == eventRemoved {
				d.local.removeJob(e.Job.Name)
			}
			if d.pods != nil && e.Kind == eventRemoved {
				d.pods.removeJob(e.Job.Name)
			}
		},
		offersHeld:    func(n int) { m.offersHeld.set(float64(n)) },
		unknownUpdate: m.unknownUpdates.inc,
		inputSkipped:  m.inputsSkipped.inc,
		clockSet:      m.clockSet,
		turnTook:      m.turn.observe,
		batchStored:   func(_, records int, took time.Duration, err error) { m.committed(took, records, err) },
		offersMoved: func(received, used, declined int) {
			m.offersReceived.add(int64(received))
			m.offersUsed.add(int64(used))
			m.offersDeclined.add(int64(declined))
		},
		reviveWanted: func(sent bool) {
			m.reviveRequests.inc()
			if sent {
				m.revives.inc()
			}
		},
	}
}

func (d *daemon) apiOptions(environ func(string) (string, bool), level *slog.LevelVar) apiOptions {
	f := d.flags
	host := f.advertisedHost(environ)
	doing := &health{
		exposed: d.exposed(), users: d.usersFile(), vault: d.vault,
		seat: d.seat, watchdog: d.watchdog, notifier: d.notifier, cassandra: d.cassandra, mesos: d.mesos, pods: d.pods, cluster: d.observed,
		zookeeper: d.store == nil, state: d.stateProblems, connected: func() bool { return d.metrics.zkConnected.value() == 1 },
	}
	o := apiOptions{
		serverOptions: serverOptions{
			current: d.seat.current, leader: d.seat.known, changed: d.seat.changed, locate: d.seat.locate, obstacle: d.leader.obstacle,
			id: d.seat.id, hostname: host, credentials: f.httpCredentials, access: d.access, jvm: f.jvmInstances, realm: f.httpRealm, compress: f.httpCompression,
			memory: d.memory, connections: d.connections,
			metrics: d.metrics, ui: newUI(), level: level, log: d.log,
			requestStarted: d.metrics.requestStarted,
			forwarded: func(err error) {
				d.metrics.forwarded.inc()
				if err != nil {
					d.metrics.forwardErrors.inc()
				}
			},
			local: map[string]http.Handler{"/health": doing},
		},
		defaults: f.jobDefaults(), history: f.jobHistoryLimit, resourceCall: d.metrics.resourceCall,
		members: d.seat.instances, storeName: "ZooKeeper", clusterName: "Mesos", doubts: d.vault.warnings, notifier: d.notifier,
		health: func() any { report, _ := doing.report(time.Now()); return report },
	}
	if d.store != nil {
		o.storeName = "local files"
	}
	if d.certificates != nil {
		o.dialTLS = d.certificates.dialPeer
	}
	switch {
	case d.local != nil:
		o.clusterName, o.accepts = "this machine", d.local.accepts
		o.output = func(r *Run, name string, offset int64, limit int) (outputPiece, error) {
			return d.local.output(r.ID, name, offset, limit)
		}
		o.merged = func(r *Run, offset int64, limit int) (mergedPiece, error) {
			return d.local.merged(r.ID, r.Ended != 0, offset, limit)
		}
	case d.pods != nil:
		o.clusterName, o.accepts, o.nodes = "Kubernetes", d.pods.accepts, d.pods.clusterNodes
		o.output = func(r *Run, name string, offset int64, limit int) (outputPiece, error) {
			return d.pods.output(r.ID, name, offset, limit)
		}
	case d.mesos != nil:
		files := newAgentFiles(d.mesos, d.agentLogin())
		o.output = func(r *Run, name string, offset int64, limit int) (outputPiece, error) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*agentTimeout)
			defer cancel()
			text, size, err := files.read(ctx, r, name, offset, int64(limit))
			return outputPiece{text: text, size: size}, err
		}
	}
	return o
}

// newCluster creates the cluster that --master names, and counts what passes.
func (d *daemon) newCluster(environ func(string) (string, bool)) (cluster, error) {
	f := d.flags
	d.observed = &observedCluster{metrics: d.metrics}
	if f.local() {
		var err error
		d.local, err = newLocal(f.dataDir, localOptions{
			named: d.namedSizes(), keep: f.localKeepRuns, keepBytes: int64(f.localKeepSize) << 20, outputBytes: int64(f.localOutputSize) << 20,
			hasJob: func(name string) bool {
				s := d.seat.current()
				return s == nil || s.view().job(name) != nil
			},
		}, d.log)
		d.observed.cluster = d.local
		return d.observed, err
	}
	if f.kubernetes() {
		var err error
		d.pods, err = d.newPods(environ)
		d.observed.cluster = d.pods
		return d.observed, err
	}
	follow, err := newDetector(f.master, f.mesosSSL, d.openMasterZK, d.log)
	if err != nil {
		return nil, err
	}
	host := f.advertisedHost(environ)
	c := mesosConfig{
		follow: follow, principal: f.mesosAuthenticationPrincipal, log: d.log,
		onEvent: d.observed.mesosEvent, onCall: d.observed.mesosCall,
		framework: frameworkInfo(frameworkOptions{
			User: f.user, Name: f.mesosFrameworkName, Role: f.mesosRole, Hostname: host, WebUI: d.webUI(host),
			Principal: f.mesosAuthenticationPrincipal, FailoverTimeout: f.failoverTimeout, Checkpoint: f.mesosCheckpoint,
		}),
	}
	if err := d.readSecrets(&c); err != nil {
		return nil, err
	}
	d.mesos = newMesos(c)
	d.observed.cluster = d.mesos
	return d.observed, nil
}

// newPods makes the connection to Kubernetes.
func (d *daemon) newPods(environ func(string) (string, bool)) (*kubeCluster, error) {
	f := d.flags
	access, err := kubeWhere(f.master, f.kubernetesTokenFile, f.kubernetesCAFile, environ)
	if err != nil {
		return nil, fmt.Errorf("--master: %w", err)
	}
	pods, err := f.podOptions()
	if err != nil {
		return nil, err
	}
	return newKubernetes(kubeOptions{
		access: access, namespace: cmp.Or(f.kubernetesNamespace, access.namespace, "default"), pods: pods,
		staging: f.stageTimeout, keep: f.kubernetesKeepPods, outputs: filepath.Join(f.dataDir, "pod-output"), log: d.log, onCall: d.observed.mesosCall,
		job: func(name string) (j *Job, certain bool) {
			s := d.seat.current()
			if s == nil {
				return nil, false
			}
			if v := s.view().job(name); v != nil {
				j = v.job
			}
			return j, true
		},
	}), nil
}

// namedSizes says what a job's document names, nil if runs are not held to that.
func (d *daemon) namedSizes() func(job string) namedSizes {
	if !d.flags.localLimits {
		return nil
	}
	return func(job string) (named namedSizes) {
		if s := d.seat.current(); s != nil {
			if jv := s.view().job(job); jv != nil {
				named = jv.job.Named
			}
		}
		return named
	}
}

// readSecrets reads the secrets for Mesos, so that a wrong path is found at the start.
func (d *daemon) readSecrets(c *mesosConfig) (err error) {
	f := d.flags
	if f.mesosAuthenticationPrincipal != "" && f.mesosAuthenticationSecretFile != "" {
		c.secretFile = f.mesosAuthenticationSecretFile
		if c.secret, err = d.readSecret("mesos_authentication_secret_file", c.secretFile); err != nil {
			return err
		}
	}
	if (f.mesosAgentPrincipal == "") != (f.mesosAgentSecretFile == "") {
		return errors.New("--mesos_agent_principal and --mesos_agent_secret_file must be given together")
	}
	if f.mesosAgentSecretFile != "" {
		_, err = d.readSecret("mesos_agent_secret_file", f.mesosAgentSecretFile)
	}
	return err
}

// readSecret reads the file that an option names, and warns about likely mistakes.
func (d *daemon) readSecret(option, file string) (string, error) {
	contents, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", option, err)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o006 != 0 {
		d.log.Warn("the secret can be read or written by everybody on this machine", "option", "--"+option, "file", file, "mode", info.Mode().Perm())
	}
	secret := trimSecret(contents)
	if secret == "" {
		d.log.Warn("the secret is empty, so no credentials are sent", "option", "--"+option, "file", file)
	}
	return secret, nil
}

// agentLogin returns the credentials for agents, nil for those of the framework.
func (d *daemon) agentLogin() login {
	f := d.flags
	if f.mesosAgentSecretFile == "" {
		return nil
	}
	return func() (principal, secret string) {
		contents, err := os.ReadFile(f.mesosAgentSecretFile) // again each time: it may have been replaced
		if err != nil {
			d.log.Warn("--mesos_agent_secret_file can't be read", "error", err)
		}
		return f.mesosAgentPrincipal, trimSecret(contents)
	}
}

// webUI returns the address that Mesos shows for the framework.
func (d *daemon) webUI(host string) string {
	f := d.flags
	switch {
	case f.webuiURL != "":
		return f.webuiURL
	case d.certificates != nil && d.self.Scheme == "http":
		return "https://" + net.JoinHostPort(host, strconv.Itoa(d.httpsPort))
	}
	return d.self.Scheme + "://" + d.id
}

// openMasterZK opens a session for finding the leading Mesos master.
func (d *daemon) openMasterZK(ctx context.Context, hosts []string, auth string) (context.Context, zkReader, error) {
	session, err := dialZK(ctx, hosts, d.flags.zkTimeout, auth, d.log)
	if err != nil {
		return nil, nil, err
	}
	return session.ctx, session, nil
}

// run serves, and schedules while this instance leads, until ctx ends. Then it gives up leadership,
// at once unless a JVM version is next, answers what is under way with the successor's help, and returns.
func (d *daemon) run(ctx context.Context) error {
	alive, die := context.WithCancel(context.Background())
	defer die()
	var parts sync.WaitGroup
	ctx, stop := d.untilHandedOver(ctx, alive, &parts)
	defer stop()
	keep := func(part string, run func(context.Context)) {
		parts.Go(func() { unbroken(alive, d.log, part, run) })
	}
	keep("notices", d.notifier.run)
	keep("watchdog", d.watchdog.run)
	if d.access != nil {
		keep("users", d.access.watch)
	}
	if d.vault != nil {
		keep("secrets", d.vault.watch)
	}
	for _, what := range d.exposed() {
		d.log.Warn(what)
	}
	if d.graphite != nil {
		keep("Graphite", d.graphite.run)
	}
	if d.cassandra != nil {
		keep("Cassandra", d.cassandra.run)
	}
	if d.store != nil {
		keep("watch of the state file", d.store.watch)
	}
	keep("leadership", func(alive context.Context) { d.lead(ctx, alive) })
	d.log.Info("chronos serves", "version", version, "address", d.listeners[0].Addr().String(), "id", d.seat.id, "master", redact(d.flags.master))
	d.log.Info("bounds", "requestMemoryMiB", d.memory.limit>>20, "connections", d.connections.most)
	err := d.api.serve(ctx, d.listeners...)
	stop() // an instance that can't be reached neither leads nor runs anything
	die()
	parts.Wait()
	if d.store != nil {
		err = errors.Join(err, d.store.Close())
	}
	return err
}

// untilHandedOver returns a context that ends after ctx, once everything has been done for a successor.
func (d *daemon) untilHandedOver(ctx, alive context.Context, parts *sync.WaitGroup) (context.Context, context.CancelFunc) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	begin(parts, d.log, "hand-over", func(error) { stop() }, func() {
		select {
		case <-ctx.Done():
			d.leader.handOver(d.flags.handoverTimeout)
			stop()
		case <-alive.Done():
		}
	})
	return serving, stop
}

func (d *daemon) lead(ctx, alive context.Context) {
	if d.store != nil {
		d.leader.onFile(ctx, d.store)
		return
	}
	f := d.flags
	d.leader.onZooKeeper(ctx, alive, zkOptions{
		hosts: f.zkHosts, root: f.zkChroot + f.zkPath, timeout: f.zkTimeout, auth: f.zkAuth,
		self: d.self,
	})
}

// stateProblems returns what is wrong with where the state is kept.
func (d *daemon) stateProblems() []string {
	all := d.leader.problems
	if d.store != nil {
		all = d.store.problems
	}
	if d.local != nil {
		return append(all(), d.local.problems()...)
	}
	return all()
}

// observe makes the gauges read the parts they are about. None of them waits for the scheduler.
func (d *daemon) observe() {
	m := d.metrics
	leading := func(value func(*scheduler) float64) func() float64 {
		return func() float64 {
			if s := d.seat.current(); s != nil {
				return value(s)
			}
			return 0
		}
	}
	m.jobs.from(leading(func(s *scheduler) float64 { return float64(s.view().len()) }))
	m.jobsAbsent.from(leading(func(s *scheduler) float64 { return float64(s.view().absent) }))
	m.jobsDisabled.from(leading(func(s *scheduler) float64 { return float64(s.view().disabled) }))
	m.jobsInvalid.from(leading(func(s *scheduler) float64 { return float64(len(s.view().invalid)) }))
	m.queueHigh.from(leading(func(s *scheduler) float64 { return float64(s.view().queuedHigh) }))
	m.queueNormal.from(leading(func(s *scheduler) float64 { v := s.view(); return float64(v.queued - v.queuedHigh) }))
	m.queueAge.from(leading(func(s *scheduler) float64 { return s.view().queueAge(time.Now()).Seconds() }))
	m.runsActive.from(leading(func(s *scheduler) float64 { return float64(s.view().running) }))
	m.clockWaiting.from(leading(func(s *scheduler) float64 {
		n, _, _ := s.view().waitingForClock(time.Now().UnixMilli())
		return float64(n)
	}))
	m.commitWaiting.from(leading(func(s *scheduler) float64 { return float64(s.writer.pending()) }))
	m.http.connections.from(func() float64 { return float64(d.connections.count()) })
	m.http.memory.from(func() float64 { return float64(d.memory.used.Load()) })
	m.mesosConnected.from(leading(func(s *scheduler) float64 { return asFloat(s.view().subscribed) }))
	m.stateEmptied.from(func() float64 { return asFloat(d.leader.emptied.problem() != "") })
	if d.store != nil {
		m.storeRefuses.from(func() float64 { return asFloat(d.store.refused.problem() != "") })
	}
	if d.mesos != nil {
		m.mesosConnected.from(func() float64 { return asFloat(d.mesos.status().Subscribed) })
	}
	if d.certificates != nil {
		m.tlsExpiry.from(func() float64 { return float64(d.certificates.expires().Unix()) })
	}
}
