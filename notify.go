package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// notifyOptions are what the notification flags say. The zero value notifies nobody.
type notifyOptions struct {
	ClusterName     string
	MailServer      string // host:port
	MailFrom        string
	MailUser        string
	MailPassword    string
	MailSSL         bool // TLS from the first byte
	RavenDSN        string
	SlackURL        string
	MattermostURL   string
	HTTPURL         string
	HTTPCredentials string // user:password

	NotifyHosts []string // that receivers of jobs may be at, in lower case

	Missed bool          // also report missed runs
	Late   time.Duration // also report runs that are this late; 0 for never

	retryFor  time.Duration // for tests; see noticeRetryFor
	firstWait time.Duration
	drain     time.Duration
}

const (
	noticeQueueSize = 1000             // notices that wait per client
	noticeRetryFor  = 10 * time.Minute // age up to which a notice is retried
	noticeFirstWait = time.Second      // doubled after each failure in a row
	noticeLastWait  = time.Minute
	noticeDrain     = 5 * time.Second // time for what waits when the program stops
)

// A notice is one message to one receiver.
type notice struct {
	job     *Job
	owner   string // the job's owners, or one of them for a client that sends to each
	to      string // of a receiver that the job names
	kind    string // and what it is told of
	subject string
	message string    // "" for none
	time    time.Time // of the event
	queued  time.Time
}

// A sender delivers notices over one protocol.
type sender interface {
	// send returns a *deliveryError if it knows whether retrying makes sense.
	// No error may contain a secret.
	send(ctx context.Context, n notice) error
}

// A deliveryError says how a delivery failed.
type deliveryError struct {
	err   error
	final bool          // the same notice would fail again
	wait  time.Duration // how long the receiver asks to be left alone
}

func (e *deliveryError) Error() string { return e.err.Error() }
func (e *deliveryError) Unwrap() error { return e.err }

// A notifier tells people about their jobs.
type notifier struct {
	options notifyOptions
	log     *slog.Logger
	clients []*notifyClient

	receivers *notifyClient // of those that jobs name themselves
}

// newNotifier creates the clients that o asks for. One that can't be created is logged, and
// shown by status with its error; the others work.
func newNotifier(o notifyOptions, log *slog.Logger, m *metrics) *notifier {
	n := &notifier{options: o, log: log}
	add := func(name string, perOwner bool, s sender, err error) {
		c := &notifyClient{name: name, perOwner: perOwner, sender: s, err: err, log: log.With("client", name),
			queue: make(chan notice, noticeQueueSize), counts: m.notices[name], options: o.withDefaults()}
		n.clients = append(n.clients, c)
		if err != nil {
			log.Error("notification client can't start", "client", name, "error", err)
			return
		}
		log.Info("notification client starts", "client", name)
	}
	n.receivers = &notifyClient{name: clientReceivers, sender: newReceiverSender(o, log), log: log.With("client", clientReceivers),
		queue: make(chan notice, noticeQueueSize), counts: m.notices[clientReceivers], options: o.withDefaults()}
	if o.MailServer != "" && o.MailFrom != "" && strings.Contains(o.MailServer, ":") {
		s, err := newMailSender(o, log)
		add(clientMail, true, s, err)
	} else if o.MailServer != "" || o.MailFrom != "" {
		log.Warn("mail notifications are off: they need --mail_server host:port and --mail_from")
	}
	if o.RavenDSN != "" {
		s, err := newSentrySender(o.RavenDSN)
		add(clientSentry, false, s, err)
	}
	if o.SlackURL != "" {
		s, err := newChatSender("slack_url", o.SlackURL)
		add(clientSlack, false, s, err)
	}
	if o.MattermostURL != "" {
		s, err := newChatSender("mattermost_url", o.MattermostURL)
		add(clientMattermost, false, s, err)
	}
	if o.HTTPURL != "" {
		s, err := newCallbackSender(o.HTTPURL, o.HTTPCredentials)
		add(clientHTTP, true, s, err)
	}
	return n
}

func (o notifyOptions) withDefaults() notifyOptions {
	if o.retryFor == 0 {
		o.retryFor = noticeRetryFor
	}
	if o.firstWait == 0 {
		o.firstWait = noticeFirstWait
	}
	if o.drain == 0 {
		o.drain = noticeDrain
	}
	return o
}

// observe queues the notices that e calls for. It never blocks: a notice that finds its
// client's queue full is dropped, counted and logged.
func (n *notifier) observe(e jobEvent) {
	n.tellReceivers(e)
	for _, text := range n.texts(e) {
		n.log.Info("notice", "job", e.Job.Name, "subject", text.subject)
		base := notice{job: e.Job, owner: e.Job.Owner, subject: text.subject, message: text.message, time: e.Time}
		for _, c := range n.clients {
			if !c.perOwner {
				c.enqueue(base)
				continue
			}
			for _, owner := range owners(e.Job.Owner) {
				one := base
				one.owner = owner
				c.enqueue(one)
			}
		}
	}
}

var ownerSeparator = regexp.MustCompile(`[ \t\n\v\f\r]*,[ \t\n\v\f\r]*`)

// owners splits a list at commas, as Java's split: parts that are empty at the end don't
// count, but an empty list has one empty owner.
func owners(list string) []string {
	parts := ownerSeparator.Split(list, -1)
	for len(parts) > 1 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return parts
}

type noticeText struct{ subject, message string }

// texts returns what there is to tell about e to those whom the flags name, if anything.
func (n *notifier) texts(e jobEvent) []noticeText {
	switch {
	case e.Kind == eventMissed && !n.options.Missed, e.Kind == eventLate && n.options.Late <= 0, e.Kind == eventRecovered && e.Cause == causeFailures:
		return nil
	}
	return n.describe(e)
}

// describe returns what there is to tell about e.
func (n *notifier) describe(e jobEvent) []noticeText {
	switch e.Kind {
	case eventRemoved:
		return n.text("[Chronos] Your job '%s' was deleted!", e, "")
	case eventRetriesExhausted:
		// The number is the configured one, as it always was.
		return n.text("[Chronos] job '%s' failed!", e, fmt.Sprintf("\n'%s'. Retries attempted: %d.\nTask id: %s\n%s",
			instant(e.Time), e.Job.Retries, idOf(e.Run), mesosPart(e.Message)))
	case eventDisabled:
		return n.text("[Chronos] job '%s' disabled", e, disabledMessage(e))
	case eventMissed:
		return n.text("[Chronos] job '%s' missed a run!", e, missedMessage(e))
	case eventLate:
		return n.lateText(e)
	case eventSlow:
		return n.text("[Chronos] job '%s' is slow!", e, fmt.Sprintf("\nStarted at '%s', and has not ended after %s. It goes on.\nTask id: %s\n",
			instant(time.UnixMilli(e.Run.Started)), inUnits(e.Job.alertAfter()), e.Run.ID))
	case eventAbsent:
		return n.text("[Chronos] job '%s' has not succeeded!", e, fmt.Sprintf("\nThere was no success for %s. The last one: %s.\n",
			inUnits(e.Job.alertWithoutSuccess()), cmp.Or(e.Job.LastSuccess, "never")))
	case eventRecovered:
		return n.text("[Chronos] job '%s' has succeeded again", e, fmt.Sprintf("\nIt succeeded at '%s'.\n", instant(e.Time)))
	}
	return nil
}

func (n *notifier) text(subject string, e jobEvent, message string) []noticeText {
	return []noticeText{n.titled(fmt.Sprintf(subject, e.Job.Name), message)}
}

// titled is a text whose subject says from which cluster it is.
func (n *notifier) titled(subject, message string) noticeText {
	if n.options.ClusterName != "" {
		subject = "[" + n.options.ClusterName + "] " + subject
	}
	return noticeText{subject, message}
}

// lateText reports a late run, while it waits or when it has just started.
func (n *notifier) lateText(e jobEvent) []noticeText {
	late, state := e.Time.Sub(e.Run.dueTime()), "waits"
	if e.Run.State == runActive {
		state = "started"
	}
	return n.text("[Chronos] job '%s' is late!", e, fmt.Sprintf("\nDue at '%s', %s at '%s', %s late.\nTask id: %s\n",
		instant(e.Run.dueTime()), state, instant(e.Time), late.Round(time.Millisecond), e.Run.ID))
}

func disabledMessage(e jobEvent) string {
	switch e.Cause {
	case causeFailures:
		return fmt.Sprintf("\nFailed at '%s', %d failures since last success\nTask id: %s\n%s",
			instant(e.Time), e.Job.ErrorsSinceLastSuccess+1, idOf(e.Run), mesosPart(e.Message))
	case causeRecurrences:
		return fmt.Sprintf("Job '%s' has exhausted all of its recurrences and has been disabled.\n"+
			"Please consider either removing your job, or updating its schedule and re-enabling it.\n", e.Job.Name)
	}
	return e.Cause
}

func missedMessage(e jobEvent) string {
	if e.Run == nil {
		return ""
	}
	why := "not started in time"
	if e.Run.Reason != "" {
		why = "not started: " + e.Run.Reason
	}
	if e.Run.Count > 1 {
		return fmt.Sprintf("\n%d runs, due from '%s' to '%s', were %s.\n",
			e.Run.Count, instant(time.UnixMilli(e.Run.From)), instant(e.Run.dueTime()), why)
	}
	return fmt.Sprintf("\nThe run due at '%s' was %s.\n", instant(e.Run.dueTime()), why)
}

func mesosPart(message string) string {
	if message == "" {
		return ""
	}
	return "The scheduler provided this message:\n\n" + message
}

func idOf(r *Run) string {
	if r == nil {
		return ""
	}
	return r.ID
}

// run delivers notices until ctx ends, then for a short while what still waits.
func (n *notifier) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, c := range append([]*notifyClient{n.receivers}, n.clients...) {
		if c.err == nil {
			wg.Go(func() { unbroken(ctx, c.log, "notices", c.run) })
		}
	}
	wg.Wait()
}

// A notifyStatus shows how one client is doing. It holds no secret.
type notifyStatus struct {
	Client    string `json:"client"`
	Queued    int    `json:"queued"`
	Sent      int64  `json:"sent"`
	Failed    int64  `json:"failed"`
	Dropped   int64  `json:"dropped"`
	LastError string `json:"lastError,omitempty"`
	ErrorTime string `json:"lastErrorTime,omitempty"`
	Failing   bool   `json:"failing"` // the last attempt failed
}

func (n *notifier) status() []notifyStatus {
	list := make([]notifyStatus, 0, len(n.clients))
	for _, c := range n.clients {
		list = append(list, c.status())
	}
	if told := n.receivers.status(); told.Queued != 0 || told.Sent+told.Failed+told.Dropped != 0 {
		list = append(list, told)
	}
	return list
}

var (
	errNoChannel = errors.New("there is no such channel")
	errNoTo      = errors.New("say to whom: a test of this channel needs an address")
	errTesting   = errors.New("a test of this channel is under way")
)

// noticeTestTime is how long a test of a channel may take.
const noticeTestTime = 20 * time.Second

// test sends one notice through a client at once, past those that wait, and returns why it was not delivered. It counts nowhere. For a
// client that sends to each owner, or to receivers of jobs, to is whom to tell.
func (n *notifier) test(ctx context.Context, client, to, asker string) error {
	all := append([]*notifyClient{n.receivers}, n.clients...)
	i := slices.IndexFunc(all, func(c *notifyClient) bool { return c.name == client })
	switch {
	case i < 0:
		return errNoChannel
	case all[i].err != nil:
		return all[i].err
	case to == "" && (client == clientMail || client == clientReceivers):
		return errNoTo
	case !all[i].testing.CompareAndSwap(false, true):
		return errTesting
	}
	c := all[i]
	defer c.testing.Store(false)
	ctx, cancel := context.WithTimeout(ctx, noticeTestTime)
	defer cancel()
	now := time.Now()
	text := n.titled("[Chronos] This is a test", fmt.Sprintf("\nSent at '%s' because %s has asked for it. Nothing needs to be done.\n", instant(now), cmp.Or(asker, "somebody")))
	err := guarded(c.log, "notice", func() error {
		return c.sender.send(ctx, notice{job: &Job{Name: "test", Owner: to}, owner: to, to: to, kind: "test", subject: text.subject, message: text.message, time: now})
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("it did not answer within %s", noticeTestTime)
	}
	return err
}

// A notifyClient delivers the notices of one sender, one after another.
type notifyClient struct {
	name     string
	perOwner bool // one notice for each owner
	sender   sender
	err      error // why there is no sender
	log      *slog.Logger
	queue    chan notice
	counts   map[noticeResult]*counter
	options  notifyOptions
	testing  atomic.Bool // a test is under way
	dropping atomic.Bool // drops have been logged, and nothing has been delivered since

	failure atomic.Pointer[failure] // nil after a success
	last    atomic.Pointer[failure] // the last one there was
}

func (c *notifyClient) status() notifyStatus {
	s := notifyStatus{Client: c.name, Queued: len(c.queue), Sent: c.counts[noticeSent].count(),
		Failed: c.counts[noticeFailed].count(), Dropped: c.counts[noticeDropped].count()}
	if c.err != nil {
		s.LastError, s.Failing = c.err.Error(), true
		return s
	}
	if f := c.last.Load(); f != nil {
		s.LastError, s.ErrorTime = f.text, instant(f.time)
	}
	s.Failing = c.failure.Load() != nil
	return s
}

func (c *notifyClient) enqueue(n notice) {
	if c.err != nil {
		c.counts[noticeDropped].inc()
		return
	}
	n.queued = time.Now()
	select {
	case c.queue <- n:
	default:
		c.counts[noticeDropped].inc()
		if c.dropping.CompareAndSwap(false, true) {
			c.log.Warn("notices are dropped: too many are waiting", "waiting", len(c.queue), "subject", n.subject)
		}
	}
}

// run delivers until ctx ends. The attempt under way then, and what still waits, get a
// little more time.
func (c *notifyClient) run(ctx context.Context) {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(c.options.drain, cancel) })
	defer stop()
	for {
		select {
		case n := <-c.queue:
			c.deliver(ctx, sending, n)
		case <-ctx.Done():
			c.drain(sending)
			return
		}
	}
}

// drain tries each waiting notice once.
func (c *notifyClient) drain(sending context.Context) {
	for sending.Err() == nil {
		select {
		case n := <-c.queue:
			c.settle(n, c.attempt(sending, n))
		default:
			return
		}
	}
	if left := len(c.queue); left > 0 {
		c.counts[noticeDropped].add(int64(left))
		c.log.Warn("notices are dropped: the program is stopping", "waiting", left)
	}
}

// deliver tries a notice until it is delivered, refused for good, or too old to be retried.
// Age counts from when it was queued, so that a receiver that comes back gets recent notices
// soon, and a dead one does not hold up the queue for hours.
func (c *notifyClient) deliver(ctx, sending context.Context, n notice) {
	wait := c.options.firstWait
	for {
		err := c.attempt(sending, n)
		refused, _ := errors.AsType[*deliveryError](err)
		if err == nil || refused != nil && refused.final || time.Since(n.queued) >= c.options.retryFor || ctx.Err() != nil {
			c.settle(n, err)
			return
		}
		pause := wait
		if refused != nil {
			pause = max(pause, min(refused.wait, noticeLastWait))
		}
		rest(ctx, pause)
		wait = min(2*wait, noticeLastWait)
	}
}

// attempt makes one attempt and remembers how it went.
func (c *notifyClient) attempt(ctx context.Context, n notice) error {
	err := guarded(c.log, "notice", func() error { return c.sender.send(ctx, n) })
	if err == nil {
		c.failure.Store(nil)
		return nil
	}
	f := &failure{err.Error(), time.Now()}
	c.last.Store(f)
	if c.failure.Swap(f) == nil {
		c.log.Warn("notice not delivered yet", "job", n.job.Name, "subject", n.subject, "error", err)
	}
	return err
}

// settle counts the outcome of a notice.
func (c *notifyClient) settle(n notice, err error) {
	if err != nil {
		c.counts[noticeFailed].inc()
		c.log.Warn("notice given up", "job", n.job.Name, "subject", n.subject, "error", err)
		return
	}
	c.counts[noticeSent].inc()
	if c.dropping.Swap(false) {
		c.log.Warn("notices are delivered again", "dropped so far", c.counts[noticeDropped].count())
	}
}
