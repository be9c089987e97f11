package main

import (
	"bytes"
	"errors"
	"net/http"
	"time"
)

const (
	// restoreTimeout is how long its body may take to arrive.
	restoreTimeout = 10 * time.Minute
)

// makeBackup answers with the whole state.
func (s *server) makeBackup(c *call) error {
	b, err := c.scheduler.backup(c.r.Context())
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", typeJSON)
	c.w.Header().Set("Content-Disposition", `attachment; filename="chronos-backup.json"`)
	if err := b.write(c.w); err != nil {
		panic(http.ErrAbortHandler) // the client must not take the piece for the whole
	}
	return nil
}

// restoreBackup replaces the whole state, and answers when the new one is in use.
func (s *server) restoreBackup(c *call) error {
	b, err := readBackup(bytes.NewReader(c.body))
	if err != nil {
		return refuse("%v", err)
	}
	replace := c.query("replace")
	if replace != "" && replace != "true" && replace != "false" {
		return refuse("replace=%s: want true or false", replace)
	}
	ends, err := c.scheduler.restore(c.r.Context(), b, replace == "true")
	if errors.Is(err, errNotEmpty) || errors.Is(err, errRestores) {
		return &apiError{status: http.StatusConflict, text: err.Error()}
	}
	if err != nil {
		return err
	}
	if ends {
		s.awaitSuccessor(c, c.scheduler)
	}
	return c.done(nil)
}

// awaitSuccessor returns when another scheduler than the one given leads here, or another instance, or after the hold time.
func (s *server) awaitSuccessor(c *call, sch *scheduler) {
	limit := time.After(s.hold)
	for {
		changed := s.changed()
		now := s.current()
		_, self := s.leader()
		if now != nil && now != sch || now == nil && !self {
			return
		}
		select {
		case <-changed:
		case <-limit:
			return
		case <-c.r.Context().Done():
			return
		}
	}
}
