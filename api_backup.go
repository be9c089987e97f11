package main

import (
	"bytes"
	"errors"
	"net/http"
	"time"
)

// makeBackup answers with the whole state.
func (a *api) makeBackup(c *call) error {
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
func (a *api) restoreBackup(c *call) error {
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
		return &httpError{status: http.StatusConflict, text: err.Error()}
	}
	if err != nil {
		return err
	}
	if ends {
		a.awaitSuccessor(c, c.scheduler)
	}
	return c.done(nil)
}

// awaitSuccessor returns when another scheduler than the one given leads here, or another instance, or after the hold time.
func (a *api) awaitSuccessor(c *call, sch *scheduler) {
	limit := time.After(a.hold)
	for {
		changed := a.changed()
		now := a.current()
		_, self := a.leader()
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
