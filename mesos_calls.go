package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	sched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	// acknowledgers is the number of connections for acknowledgements. Their
	// order does not matter: a task's next update comes only after the previous
	// one is acknowledged. All other calls go one after another.
	acknowledgers = 4
	callTimeout   = 30 * time.Second
	// maxQueuedCalls is more than any turn of the scheduler makes; one with ten thousand jobs due makes 50,000.
	maxQueuedCalls = 200_000
)

// frameworkUnknown is a master's answer to a call from a framework that has not subscribed to it.
const frameworkUnknown = "Framework cannot be found"

// A callQueue holds the calls of one subscription. Acknowledgements need no order, so several senders take them.
type callQueue struct {
	calls *mailbox[queuedCall]
	acks  *mailbox[queuedCall]
	full  func() // ends the subscription
}

// send queues a call for the current subscription. Without one, done gets
// errNotSent. The call belongs to the cluster from now on.
func (m *mesosCluster) send(call *sched.Call, done func(error)) {
	m.mu.Lock()
	q := m.queue
	m.mu.Unlock()
	c := queuedCall{call, done}
	if q == nil || !q.put(c) {
		c.refuse(m.log)
	}
}

// attach makes the queue of a new subscription and starts its senders.
func (m *mesosCluster) attach(s *subscription) *callQueue {
	q := &callQueue{calls: newMailbox[queuedCall](), acks: newMailbox[queuedCall]()}
	q.full = func() { s.end(errors.New("master takes calls too slowly")) }
	begin(s.wg, m.log, "sending of calls", s.end, func() { s.sendFrom(q.calls) })
	for range acknowledgers {
		begin(s.wg, m.log, "sending of acknowledgements", s.end, func() { s.sendFrom(q.acks) })
	}
	m.mu.Lock()
	m.queue = q
	m.mu.Unlock()
	return q
}

// detach ends a queue: calls that have not been written never will be.
func (m *mesosCluster) detach(q *callQueue) {
	if q == nil {
		return
	}
	m.mu.Lock()
	m.queue = nil
	m.mu.Unlock()
	for _, c := range append(q.calls.close(), q.acks.close()...) {
		c.answer(errNotSent)
	}
}

// put reports whether the call will be sent or refused. A master that takes calls too slowly
// must not fill the memory: it ends the subscription, and with it the waiting calls.
func (q *callQueue) put(c queuedCall) bool {
	if q.calls.size()+q.acks.size() >= maxQueuedCalls {
		q.full()
		return false
	}
	if c.call.Type == sched.Call_ACKNOWLEDGE {
		return q.acks.put(c)
	}
	return q.calls.put(c)
}

func (s *subscription) sendFrom(calls *mailbox[queuedCall]) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-calls.ready:
		}
		if s.ctx.Err() != nil { // both may be ready
			return
		}
		if c, ok := calls.first(); ok {
			start := time.Now()
			err := s.deliver(c.call)
			s.onCall(c.call.Type.String(), time.Since(start), err)
			c.answer(err)
		}
	}
}

// deliver sends one call and returns the outcome: nil if the master has taken it, an error that wraps
// errNotSent if it has not, and any other error if that is unknown.
func (s *subscription) deliver(call *sched.Call) error {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	connected := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected = true },
	})
	call.FrameworkID = &mesos.FrameworkID{Value: *s.id}
	resp, err := s.post(ctx, s.url.String(), s.streamID, call)
	switch {
	case err != nil && !connected:
		err = fmt.Errorf("%w: %w", errNotSent, err)
	case err == nil:
		err = s.outcome(resp)
	}
	if err != nil && s.ctx.Err() == nil {
		s.log.Warn("call failed", "call", call.Type, "master", s.url.Host, "error", err)
	}
	return err
}

// outcome reads the answer to a call. Only the stream of events decides when to
// resubscribe, except that a master which does not count us as subscribed, or
// does not know us because it was restarted, will not send any: a wrong stream id
// means that another scheduler has taken over, which the stream is about to report.
func (s *subscription) outcome(resp *http.Response) error {
	switch status := resp.StatusCode; {
	case status == http.StatusAccepted || status == http.StatusOK:
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection can be used again
		return nil
	case status == http.StatusServiceUnavailable, status >= 300 && status < 500:
		refusal := &streamError{status, bodyText(resp)}
		if status == http.StatusForbidden || status == http.StatusBadRequest && refusal.text == frameworkUnknown {
			s.end(errors.New("master does not count the framework as subscribed"))
		}
		return fmt.Errorf("%w: %w", errNotSent, refusal)
	default:
		return &streamError{status, bodyText(resp)}
	}
}

const (
	schedulerPath = "/api/v1/scheduler"
	mediaProtobuf = "application/x-protobuf"
	streamHeader  = "Mesos-Stream-Id"
	maxRedirects  = 5
)

// subscribe runs one subscription at the master at base and returns why it
// ended. It ends when another master leads, too: leads is closed then.
func (m *mesosCluster) subscribe(ctx context.Context, base string, leads <-chan struct{}, id *string,
	retry *backoff, handle func(*sched.Event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	begin(&wg, m.log, "subscription", cancel, func() {
		select {
		case <-leads:
			cancel(errors.New("another master leads"))
		case <-ctx.Done():
		}
	})
	silence := time.AfterFunc(subscribeTimeout, func() { cancel(errors.New("master is silent")) })
	defer silence.Stop()

	resp, err := m.openStream(ctx, base+schedulerPath, *id)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		m.tellRefusal(err, handle)
		return err
	}
	defer resp.Body.Close()
	s := &subscription{
		mesosCluster: m, url: resp.Request.URL, streamID: resp.Header.Get(streamHeader),
		id: id, handle: handle, alive: silence.Reset, ctx: ctx, end: cancel, wg: &wg,
	}
	err = guarded(m.log, "subscription", func() error { return s.read(newRecordReader(resp.Body)) })
	// A master that keeps ending streams soon after they begin is not asked again at once every time.
	if s.queue != nil && time.Since(s.since) >= lastRetry {
		retry.reset()
	}
	// The scheduler learns that nothing can be launched before it requeues launches.
	handle(&sched.Event{Type: sched.Event_UNKNOWN})
	m.detach(s.queue)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// tellRefusal turns a refused login, which masters answer
// with a status only, into an ERROR event, so that it is handled like other refusals.
func (m *mesosCluster) tellRefusal(err error, handle func(*sched.Event)) {
	if refused, ok := errors.AsType[*streamError](err); ok &&
		(refused.status == http.StatusUnauthorized || refused.status == http.StatusForbidden) {
		handle(&sched.Event{Type: sched.Event_ERROR, Error: &sched.Event_Error{Message: err.Error()}})
	}
}

// openStream sends SUBSCRIBE, following redirects from masters that don't lead.
func (m *mesosCluster) openStream(ctx context.Context, address, id string) (*http.Response, error) {
	info := *m.framework
	call := &sched.Call{Type: sched.Call_SUBSCRIBE, Subscribe: &sched.Call_Subscribe{FrameworkInfo: &info}}
	if id != "" {
		info.ID = &mesos.FrameworkID{Value: id}
		call.FrameworkID = info.ID
	}
	for range maxRedirects {
		resp, err := m.post(ctx, address, "", call)
		if err != nil {
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusOK:
			if kind := resp.Header.Get("Content-Type"); kind != mediaProtobuf || resp.Header.Get(streamHeader) == "" {
				resp.Body.Close()
				return nil, fmt.Errorf("%s does not speak the scheduler API: its answer is %q", address, kind)
			}
			return resp, nil
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusMovedPermanently, http.StatusFound:
			next, err := redirected(resp)
			if err != nil {
				return nil, err
			}
			m.log.Info("redirected to the leading master", "from", address, "to", next)
			address = next
		default:
			return nil, &streamError{status: resp.StatusCode, text: bodyText(resp)}
		}
	}
	return nil, fmt.Errorf("more than %d redirects, last to %s", maxRedirects, address)
}

// redirected resolves the Location of a redirect, which masters send without a
// scheme. A restarted master redirects to itself until it has been elected.
func redirected(resp *http.Response) (string, error) {
	text := bodyText(resp)
	to, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil {
		return "", fmt.Errorf("follow redirect %q: %w", resp.Header.Get("Location"), err)
	}
	if to.Host == resp.Request.URL.Host {
		return "", fmt.Errorf("%w %s", errNotElected, text)
	}
	return to.String(), nil
}

// bodyText drains an answer that is an error and returns the start of its text.
func bodyText(resp *http.Response) string {
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // a partial text will do
	return strings.ToValidUTF8(strings.TrimSpace(string(text)), "?")
}

// post sends one call. It never follows a redirect itself: net/http would drop
// the credentials.
func (m *mesosCluster) post(ctx context.Context, address, streamID string, call *sched.Call) (*http.Response, error) {
	body, err := call.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %s call: %w", call.Type, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // never sent twice
	req.Header.Set("Content-Type", mediaProtobuf)
	req.Header.Set("Accept", mediaProtobuf)
	req.Header.Set("User-Agent", "chronos")
	if streamID != "" {
		req.Header.Set(streamHeader, streamID)
	}
	if principal, secret := m.credentials(); secret != "" {
		req.SetBasicAuth(principal, secret)
	}
	resp, err := m.http.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the address is logged beside it
	}
	return resp, err
}

// subscription is one open stream of events.
type subscription struct {
	*mesosCluster
	url      *url.URL
	streamID string
	id       *string // of the framework
	handle   func(*sched.Event)
	alive    func(time.Duration) bool // postpones the end by silence
	silence  time.Duration
	since    time.Time       // of SUBSCRIBED
	ctx      context.Context // ends with the subscription
	end      context.CancelCauseFunc
	wg       *sync.WaitGroup
	queue    *callQueue // nil before SUBSCRIBED
}

func (s *subscription) read(records *recordReader) error {
	s.silence = subscribeTimeout
	for {
		record, err := records.next()
		if errors.Is(err, io.EOF) {
			return errors.New("master closed the stream")
		}
		if err != nil {
			return err
		}
		event := &sched.Event{}
		err = event.Unmarshal(record)
		if err == nil && event.Type == sched.Event_UNKNOWN {
			err = errors.New("it has no type") // which would mean to the scheduler that the stream has ended
		}
		if err != nil {
			s.log.Error("skip undecodable event", "master", s.url.Host, "bytes", len(record), "error", err)
			s.onEvent(eventUndecodable)
			continue
		}
		if event.Type == sched.Event_SUBSCRIBED {
			if s.queue != nil {
				return errors.New("master has subscribed twice on one stream")
			}
			s.begin(event.Subscribed)
		}
		s.alive(s.silence)
		s.onEvent(event.Type.String())
		s.handle(event)
		if event.Type == sched.Event_ERROR {
			return errorEvent(event.GetError().GetMessage())
		}
	}
}

// begin opens the queue for calls.
func (s *subscription) begin(e *sched.Event_Subscribed) {
	*s.id = e.GetFrameworkID().GetValue()
	interval := defaultHeartbeat
	if n := e.GetHeartbeatIntervalSeconds(); n >= shortestHeartbeat && n <= longestHeartbeat {
		interval = time.Duration(n * float64(time.Second))
	}
	s.since = time.Now()
	s.silence = missedHeartbeats * interval
	s.log.Info("subscribed", "master", s.url.Host, "framework", *s.id, "version", e.GetMasterInfo().GetVersion())
	s.queue = s.attach(s)
	s.setStatus(s.url.Scheme+"://"+s.url.Host, nil)
}

// errorEvent distinguishes the refusals that the scheduler has to handle from others.
func errorEvent(message string) error {
	switch message {
	case "Framework has been removed", "Completed framework attempted to re-register":
		return errFrameworkRemoved
	case "Framework failed over":
		return errFrameworkTaken
	}
	return fmt.Errorf("master refused the framework: %s", message)
}

// recordLimit bounds one record of a master's event stream. mesos-go's own
// reader gives up at 4 MiB, which the offers of a large cluster can exceed.
const recordLimit = 64 << 20

// recordReader reads RecordIO: a decimal length, a newline, that many bytes.
type recordReader struct {
	r   *bufio.Reader
	buf []byte
}

func newRecordReader(r io.Reader) *recordReader {
	return &recordReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next record, valid until the following call, or io.EOF if
// the stream ends between records.
func (r *recordReader) next() ([]byte, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, 0, n)
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read record of %d bytes: %w", n, err)
	}
	return r.buf, nil
}

func (r *recordReader) length() (int, error) {
	n := 0
	for digits := 0; ; digits++ {
		b, err := r.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && digits > 0:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case b == '\n' && digits > 0:
			return n, nil
		case b < '0' || b > '9':
			return 0, fmt.Errorf("read record length: %q is not a digit", b)
		}
		if n = n*10 + int(b-'0'); n > recordLimit {
			return 0, fmt.Errorf("read record length: more than %d bytes", recordLimit)
		}
	}
}
