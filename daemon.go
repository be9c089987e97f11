package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// A daemon is one instance with all its parts, put together from the flags.
type daemon struct {
	flags     *flags
	log       *slog.Logger
	metrics   *metrics
	notifier  *notifier
	seat      *seat
	leader    *leadership
	server    *server
	store     *fileStore // nil where the state is in ZooKeeper
	listeners []net.Listener
	local     *localCluster // nil on Mesos

	id           string        // host:port under which this instance is known
	self         instance      // how the others reach it
	certificates *certificates // nil without TLS
	httpsPort    int
	mesos        *mesosCluster // nil on this machine
	observed     *observedCluster
	graphite     *graphite  // nil if there are no reports
	cassandra    *cassandra // nil without
	watchdog     *watchdog
}

// newDaemon makes the parts and listens, so that whatever is wrong with the flags or the
// machine shows before anything runs.
func newDaemon(f *flags, environ func(string) (string, bool), log *slog.Logger, level *slog.LevelVar) (*daemon, error) {
	p := &daemon{flags: f, log: log, metrics: newMetrics(version)}
	err := p.listen(environ)
	if err != nil {
		return nil, err
	}
	p.seat = newSeat(p.id)
	if f.fileStore() {
		p.store, err = outlast(errInUse, func() (*fileStore, error) { return openFileStore(f.dataDir, log) })
		if err != nil {
			return nil, fmt.Errorf("--data_dir: %w", err)
		}
	}
	cl, err := p.newCluster(environ)
	if err != nil {
		return nil, err
	}
	if err := p.newReporters(); err != nil {
		return nil, err
	}
	p.notifier = newNotifier(notifyOptions{
		ClusterName: f.clusterName, MailServer: f.mailServer, MailFrom: f.mailFrom, MailUser: f.mailUser,
		MailPassword: f.mailPassword, MailSSL: f.mailSSL, RavenDSN: f.ravenDSN, SlackURL: f.slackURL,
		MattermostURL: f.mattermostURL, HTTPURL: f.httpNotificationURL, HTTPCredentials: f.httpNotificationCredentials,
		Missed: f.notifyMissed, Late: f.notifyLate,
	}, log, p.metrics)
	p.leader = &leadership{
		seat: p.seat, cluster: cl, log: log, metrics: p.metrics,
		config: p.schedulerConfig(),
	}
	if p.local != nil {
		p.leader.enter = p.local.enter
	}
	p.watchdog = &watchdog{current: p.seat.current, metrics: p.metrics, log: log}
	p.observe()
	p.server = newServer(p.serverOptions(environ, level))
	return p, nil
}

// newReporters makes what tells others of runs and numbers.
func (p *daemon) newReporters() (err error) {
	f := p.flags
	p.graphite, err = newGraphite(graphiteOptions{HostPort: f.graphiteHostPort, Interval: f.graphiteReportingInterval, Prefix: f.graphiteGroupPrefix}, p.metrics, p.log)
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
	p.cassandra, err = newCassandra(o, p.log, p.metrics)
	return err
}

// schedulerConfig is what the flags say to the scheduler.
func (p *daemon) schedulerConfig() schedulerConfig {
	f := p.flags
	largestJob := maxJob
	if p.store != nil {
		largestJob = 0
	}
	return schedulerConfig{
		largestJob:   largestJob,
		defaults:     p.jobDefaults(),
		failureRetry: f.failureRetry, disableAfter: f.disableAfterFailures,
		historyKeep: max(f.jobHistoryKeep, f.jobHistoryLimit, 1), role: f.mesosRole,
		declineFor: f.declineOfferDuration, reviveForNew: f.reviveOffersForNewJobs, reviveEvery: f.minReviveOffersInterval,
		reconcile: f.reconciliationInterval, unreachable: f.unreachableTimeout, staging: f.stageTimeout,
		task:     taskConfig{CPUs: f.mesosTaskCPU, Mem: f.mesosTaskMem, Disk: f.mesosTaskDisk},
		setAside: map[string]string{}, location: time.Local,
		observe: func(e jobEvent) {
			runLog{p.log}.observe(e)
			p.metrics.observe(e)
			p.notifier.observe(e)
			if p.cassandra != nil {
				p.cassandra.observe(e)
			}
		},
		late: f.notifyLate,
		count: schedulerCounts{
			offersHeld:    func(n int) { p.metrics.offersHeld.set(float64(n)) },
			unknownUpdate: p.metrics.unknownUpdates.inc,
			inputSkipped:  p.metrics.inputsSkipped.inc,
		},
		batchStored: func(_, records int, took time.Duration, err error) { p.metrics.committed(took, records, err) },
		offerObserver: func(received, used, declined int) {
			p.metrics.offersReceived.add(int64(received))
			p.metrics.offersUsed.add(int64(used))
			p.metrics.offersDeclined.add(int64(declined))
		},
		reviveWanted: func(sent bool) {
			p.metrics.reviveRequests.inc()
			if sent {
				p.metrics.revives.inc()
			}
		},
	}
}

// jobDefaults are the values for what a job's document leaves out.
func (p *daemon) jobDefaults() jobDefaults {
	f := p.flags
	return jobDefaults{
		CPUs: f.mesosTaskCPU, Mem: f.mesosTaskMem, Disk: f.mesosTaskDisk,
		Epsilon: Period{Seconds: int32(f.taskEpsilon / time.Second)}, User: f.user,
	}
}

func (p *daemon) serverOptions(environ func(string) (string, bool), level *slog.LevelVar) serverOptions {
	f := p.flags
	host, _ := f.advertisedHost(environ)
	o := serverOptions{
		current: p.seat.current, leader: p.seat.known, changed: p.seat.changed, locate: p.seat.locate,
		id: p.seat.id, hostname: host, credentials: f.httpCredentials, realm: f.httpRealm, compress: f.httpCompression,
		defaults: p.jobDefaults(), history: f.jobHistoryLimit, metrics: p.metrics, level: level, log: p.log,
		requestStarted: p.metrics.requestStarted, resourceCall: p.metrics.resourceCall,
		forwarded: func(err error) {
			p.metrics.forwarded.inc()
			if err != nil {
				p.metrics.forwardErrors.inc()
			}
		},
		local: map[string]http.Handler{"/health": &health{
			seat: p.seat, watchdog: p.watchdog, notifier: p.notifier, cassandra: p.cassandra, mesos: p.mesos, cluster: p.observed,
			zookeeper: p.store == nil, connected: func() bool { return p.metrics.zkConnected.value() == 1 },
		}},
		members: p.seat.instances, storeName: "ZooKeeper", clusterName: "Mesos",
	}
	if p.store != nil {
		o.storeName = "local files"
	}
	if p.certificates != nil {
		o.dialTLS = p.certificates.dialPeer
	}
	switch {
	case p.local != nil:
		o.clusterName = "this machine"
		o.output = func(r *Run, name string, offset int64, limit int) ([]byte, int64, error) {
			return p.local.output(r.ID, name, offset, limit)
		}
	case p.mesos != nil:
		files := newAgentFiles(p.mesos, p.agentLogin())
		o.output = func(r *Run, name string, offset int64, limit int) ([]byte, int64, error) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*agentTimeout)
			defer cancel()
			return files.read(ctx, r, name, offset, int64(limit))
		}
	}
	return o
}

// newCluster makes what --master names, and has it counted what passes.
func (p *daemon) newCluster(environ func(string) (string, bool)) (cluster, error) {
	f := p.flags
	p.observed = &observedCluster{metrics: p.metrics}
	if f.local() {
		var err error
		p.local, err = newLocal(f.dataDir, localOptions{}, p.log)
		p.observed.cluster = p.local
		return p.observed, err
	}
	follow, err := newDetector(f.master, f.mesosSSL, p.openMasterZK, p.log)
	if err != nil {
		return nil, err
	}
	host, _ := f.advertisedHost(environ)
	c := mesosConfig{
		follow: follow, principal: f.mesosAuthenticationPrincipal, log: p.log,
		onEvent: p.observed.mesosEvent, onCall: p.observed.mesosCall,
		framework: frameworkInfo(frameworkOptions{
			User: f.user, Name: f.mesosFrameworkName, Role: f.mesosRole, Hostname: host, WebUI: p.webUI(host),
			Principal: f.mesosAuthenticationPrincipal, FailoverTimeout: f.failoverTimeout, Checkpoint: f.mesosCheckpoint,
		}),
	}
	if err := p.readSecrets(&c); err != nil {
		return nil, err
	}
	p.mesos = newMesos(c)
	p.observed.cluster = p.mesos
	return p.observed, nil
}

// readSecrets reads those for Mesos, so that a wrong path shows at the start.
func (p *daemon) readSecrets(c *mesosConfig) (err error) {
	f := p.flags
	if f.mesosAuthenticationPrincipal != "" && f.mesosAuthenticationSecretFile != "" {
		c.secretFile = f.mesosAuthenticationSecretFile
		if c.secret, err = p.readSecret("mesos_authentication_secret_file", c.secretFile); err != nil {
			return err
		}
	}
	if (f.mesosAgentPrincipal == "") != (f.mesosAgentSecretFile == "") {
		return errors.New("--mesos_agent_principal and --mesos_agent_secret_file are of use only together")
	}
	if f.mesosAgentSecretFile != "" {
		_, err = p.readSecret("mesos_agent_secret_file", f.mesosAgentSecretFile)
	}
	return err
}

// readSecret reads the file that an option names, and warns of what is likely a mistake.
func (p *daemon) readSecret(option, file string) (string, error) {
	contents, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", option, err)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o006 != 0 {
		p.log.Warn("everybody on this machine may read or write the secret", "option", "--"+option, "file", file, "mode", info.Mode().Perm())
	}
	secret := trimSecret(contents)
	if secret == "" {
		p.log.Warn("the secret is empty, so no credentials are sent", "option", "--"+option, "file", file)
	}
	return secret, nil
}

// agentLogin is what agents get to see, nil for the credentials of the framework.
func (p *daemon) agentLogin() login {
	f := p.flags
	if f.mesosAgentSecretFile == "" {
		return nil
	}
	return func() (principal, secret string) {
		contents, err := os.ReadFile(f.mesosAgentSecretFile) // again each time: it may have been replaced
		if err != nil {
			p.log.Warn("--mesos_agent_secret_file can't be read", "error", err)
		}
		return f.mesosAgentPrincipal, trimSecret(contents)
	}
}

// webUI is the address that Mesos shows for the framework.
func (p *daemon) webUI(host string) string {
	f := p.flags
	switch {
	case f.webuiURL != "":
		return f.webuiURL
	case p.certificates != nil && p.self.Scheme == "http":
		return "https://" + net.JoinHostPort(host, strconv.Itoa(p.httpsPort))
	}
	return p.self.Scheme + "://" + p.id
}

// openMasterZK opens a session for finding the leading Mesos master.
func (p *daemon) openMasterZK(ctx context.Context, hosts []string, auth string) (context.Context, zkReader, error) {
	session, err := dialZK(ctx, hosts, p.flags.zkTimeout, auth, p.log)
	if err != nil {
		return nil, nil, err
	}
	return session.ctx, session, nil
}

// run serves, and schedules while this instance leads, until ctx ends. Then it gives up
// leadership at once, answers what is under way with the successor's help, and returns.
func (p *daemon) run(ctx context.Context) error {
	alive, die := context.WithCancel(context.Background())
	defer die()
	var parts sync.WaitGroup
	parts.Go(func() { p.notifier.run(alive) })
	parts.Go(func() { p.watchdog.run(alive) })
	if p.graphite != nil {
		parts.Go(func() { p.graphite.run(alive) })
	}
	if p.cassandra != nil {
		parts.Go(func() { p.cassandra.run(alive) })
	}
	parts.Go(func() { p.lead(ctx, alive) })
	p.log.Info("chronos serves", "version", version, "address", p.listeners[0].Addr().String(), "id", p.seat.id, "master", redact(p.flags.master))
	err := p.server.serve(ctx, p.listeners...)
	die()
	parts.Wait()
	if p.store != nil {
		err = errors.Join(err, p.store.Close())
	}
	return err
}

func (p *daemon) lead(ctx, alive context.Context) {
	if p.store != nil {
		p.leader.onFile(ctx, p.store)
		return
	}
	f := p.flags
	p.leader.onZooKeeper(ctx, alive, zkOptions{
		hosts: f.zkHosts, root: f.zkChroot + f.zkPath, timeout: f.zkTimeout, auth: f.zkAuth,
		self: p.self,
	})
}

// observe has the gauges ask the parts that they tell of. None of them waits for the scheduler.
func (p *daemon) observe() {
	m := p.metrics
	leading := func(value func(*scheduler) float64) func() float64 {
		return func() float64 {
			if s := p.seat.current(); s != nil {
				return value(s)
			}
			return 0
		}
	}
	m.jobs.from(leading(func(s *scheduler) float64 { return float64(s.view().len()) }))
	m.jobsDisabled.from(leading(func(s *scheduler) float64 { return float64(s.view().disabled) }))
	m.jobsInvalid.from(leading(func(s *scheduler) float64 { return float64(len(s.view().invalid)) }))
	m.queueHigh.from(leading(func(s *scheduler) float64 { return float64(s.view().queuedHigh) }))
	m.queueNormal.from(leading(func(s *scheduler) float64 { v := s.view(); return float64(v.queued - v.queuedHigh) }))
	m.queueAge.from(leading(func(s *scheduler) float64 { return s.view().queueAge(time.Now()).Seconds() }))
	m.runsActive.from(leading(func(s *scheduler) float64 { return float64(s.view().running) }))
	m.commitWaiting.from(leading(func(s *scheduler) float64 { return float64(s.writer.pending()) }))
	m.mesosConnected.from(leading(func(s *scheduler) float64 { return asFloat(s.view().subscribed) }))
	if p.mesos != nil {
		m.mesosConnected.from(func() float64 { return asFloat(p.mesos.status().Subscribed) })
	}
	if p.certificates != nil {
		m.tlsExpiry.from(func() float64 { return float64(p.certificates.expires().Unix()) })
	}
}
