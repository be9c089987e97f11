package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"time"
)

// newLogger returns the log that every part writes to. level is debug, info, warn or
// error; format is text or json.
// The returned level can be changed while the log is in use.
func newLogger(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	least := new(slog.LevelVar)
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), least, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), least, nil
	}
	return nil, nil, fmt.Errorf("log format %q: want text or json", format)
}

// urlCredentials matches the user:password@ of a URL, up to the last @ before the
// path, since passwords are seldom escaped as they should be.
var urlCredentials = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"']*@`)

// redact replaces the credentials in every URL of a text, so that it can be logged.
func redact(s string) string { return urlCredentials.ReplaceAllString(s, "${1}...@") }

// A runLog logs what happens to runs. At ten thousand runs a second two lines for each would bury the
// log and cost more than the runs, and history and metrics show them anyway: that a run was
// queued, started or succeeded is logged at debug level. What people may have to act on, or will ask about
// later, is logged by default: failed attempts, kills, skipped and late runs. Missed runs and
// jobs that used up their repetitions are logged where they are found.
type runLog struct{ *slog.Logger }

func (l runLog) observe(e jobEvent) {
	level, message := slog.LevelInfo, ""
	switch e.Kind {
	case eventQueued:
		level, message = slog.LevelDebug, "run queued"
	case eventStarted:
		level, message = slog.LevelDebug, "run started"
	case eventFinished:
		level, message = slog.LevelDebug, "run succeeded"
	case eventFailed:
		message = "attempt ended without success"
	case eventRetriesExhausted:
		level, message = slog.LevelWarn, "run failed, no further attempt"
	case eventDisabled:
		if e.Cause != causeFailures {
			return
		}
		level, message = slog.LevelWarn, "run failed, the job is disabled"
	case eventSkipped:
		message = "run skipped"
	case eventSlow:
		level, message = slog.LevelWarn, "run takes longer than its job expects"
	case eventAbsent:
		level, message = slog.LevelWarn, "job has not succeeded for too long"
	case eventRecovered:
		level, message = slog.LevelInfo, "job has succeeded again"
	case eventLate:
		level, message = slog.LevelWarn, "run is late"
	default:
		return
	}
	if !l.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("job", e.Job.Name)}
	if r := e.Run; r != nil {
		attrs = append(attrs, slog.String("task", r.ID), slog.Int("attempt", r.Attempt), slog.String("state", string(r.State)))
		if r.Agent != "" || r.AgentID != "" {
			attrs = append(attrs, slog.String("agent", r.Agent), slog.String("agentId", r.AgentID))
		}
		if r.Reason != "" {
			attrs = append(attrs, slog.String("reason", r.Reason))
		}
	}
	l.LogAttrs(context.Background(), level, message, attrs...)
}

// A trouble is something that is wrong for a while. It is logged when it begins, now and
// then while it lasts, and when it is over; /health shows it all the while. It is safe for concurrent use.
type trouble struct {
	what, over string // what the log calls it and its end

	mu     sync.Mutex
	why    string // "" while nothing is wrong
	since  time.Time
	logged string    // the last logged reason
	at     time.Time // and when
}

const (
	troubleAgain = 30 * time.Second // until it is logged again
	troubleNews  = 3 * time.Second  // until it is logged again for another reason
)

// note sets why things are wrong now, "" if they are not, and logs that if necessary.
func (t *trouble) note(log *slog.Logger, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if why == "" {
		if t.why != "" {
			log.Warn(t.over, "after", now.Sub(t.since).Round(time.Millisecond))
		}
		t.why, t.logged, t.at = "", "", time.Time{}
		return
	}
	if t.why == "" {
		t.since = now
	}
	t.why = why
	again := troubleAgain
	if why != t.logged {
		again = troubleNews
	}
	if now.Sub(t.at) >= again {
		t.logged, t.at = why, now
		log.Error(t.what, "since", instant(t.since), "why", why)
	}
}

// problem returns the trouble as a sentence, "" while there is none.
func (t *trouble) problem() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why == "" {
		return ""
	}
	return t.what + " since " + instant(t.since) + ": " + t.why
}

// A remark is something that has happened, is over, and that people should still know.
type remark struct {
	at   time.Time
	text string
}

const (
	remarkFor  = time.Hour // how long /health shows a remark
	maxRemarks = 10        // the newest are kept, in case there are many
)

// remarks are the remarks of one part of the program. They are safe for concurrent use.
type remarks struct {
	mu  sync.Mutex
	all []remark
}

func (r *remarks) add(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, remark{time.Now(), text})
	r.all = r.all[max(0, len(r.all)-maxRemarks):]
}

// problems returns the remarks of the last hour.
func (r *remarks) problems() (texts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(m remark) bool { return time.Since(m.at) > remarkFor })
	for _, m := range r.all {
		texts = append(texts, instant(m.at)+": "+m.text)
	}
	return texts
}
