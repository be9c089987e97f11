package main

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// backupMemory is what one backup takes besides the list of keys: a page of records, on its way into text.
const backupMemory = 2 << 20

// makeBackup answers with the whole state.
func (a *api) makeBackup(c *call) error {
	c.w.Header().Set("Content-Type", typeJSON)
	c.w.Header().Set("Content-Disposition", `attachment; filename="chronos-backup.json"`)
	if c.r.Method == http.MethodHead {
		return nil
	}
	if !c.share.grow(backupMemory) {
		return errNoRoom
	}
	b, err := c.scheduler.backup(c.r.Context(), c.share)
	if err != nil {
		return err
	}
	defer b.close()
	c.w.lasts = largeBodyTimeout
	err = b.write(c.r.Context(), c.w)
	if err != nil && c.w.begun {
		panic(http.ErrAbortHandler) // the client must not take the part for the whole
	}
	return err
}

// restoreBackup replaces the whole state, and answers when the new one is in use.
func (a *api) restoreBackup(c *call) error {
	replace, err := c.flag("replace")
	if err != nil {
		return err
	}
	empty, err := c.flag("empty")
	if err != nil {
		return err
	}
	var document io.Reader
	if !c.spent() { // otherwise the term in which it was read has ended
		document = c.stream
	}
	ends, err := c.scheduler.restore(c.r.Context(), document, restoreOptions{replace, empty}, c.share)
	switch {
	case errors.Is(err, errNotEmpty), errors.Is(err, errNoJobs), errors.Is(err, errRestores):
		return &httpError{status: http.StatusConflict, text: err.Error()}
	case errors.Is(err, errStateTooLarge):
		return &httpError{status: http.StatusRequestEntityTooLarge, text: err.Error()}
	case errors.Is(err, errCutOff):
		return unavailable(err.Error())
	}
	if e, ok := errors.AsType[*backupError](err); ok {
		return refuse("%v", e)
	}
	if e, ok := errors.AsType[*bodyError](err); ok {
		return explainBody(e.err)
	}
	if err != nil {
		return err
	}
	if ends {
		a.awaitSuccessor(c, c.scheduler)
	}
	return c.done(nil)
}

// awaitSuccessor returns when a scheduler other than the one given leads here, or another instance leads, or after the hold time.
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
