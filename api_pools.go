package main

import (
	"errors"
	"net/http"
)

// listPools answers all pools with what holds and waits for their slots.
func (a *api) listPools(c *call) error {
	pools, err := c.scheduler.listPools(c.r.Context())
	if err != nil {
		return err
	}
	return c.json(map[string]any{"pools": pools})
}

// putPool makes a pool, or changes how many slots it has.
func (a *api) putPool(c *call) error {
	name := c.params[0]
	if !validPool(name) {
		return refuse("pool: %s is no name of a pool: %s", quoteWarned(name), poolNames)
	}
	doc, err := c.document("slots")
	if err != nil {
		return err
	}
	v := doc.get("slots")
	slots := v.int64()
	if !v.isNumber() || v.isFraction() || slots < 0 || slots > maxSlots {
		return refuse("slots: want a whole number from 0 to %d", maxSlots)
	}
	return c.done(c.scheduler.putPool(c.r.Context(), name, int(slots)))
}

// deletePool removes a pool that no job names.
func (a *api) deletePool(c *call) error {
	err := c.scheduler.deletePool(c.r.Context(), c.params[0])
	switch {
	case errors.Is(err, errNotFound):
		return missing("pool", c.params[0])
	case errors.Is(err, errPoolInUse):
		return &httpError{status: http.StatusConflict, text: err.Error()}
	}
	return c.done(err)
}

// pauseJob has a job not run until an instant, or for a duration.
func (a *api) pauseJob(c *call) error {
	text := c.query("until")
	until, known := parseDate(text)
	if period, err := parsePeriod(text); err == nil {
		if until, err = period.plus(a.now(), 1); err != nil {
			return refuse("until: %v", err)
		}
		known = true
	}
	if !known {
		return refuse("until: %q is neither an instant, like 2030-01-31T06:00:00Z, nor a duration, like PT2H", cutText(text, 100, "…"))
	}
	return c.done(foundHere(c.scheduler.pauseJob(c.r.Context(), c.params[0], until), c.params[0]))
}

// resumeJob ends the pause of a job before its time.
func (a *api) resumeJob(c *call) error {
	return c.done(foundHere(c.scheduler.resumeJob(c.r.Context(), c.params[0]), c.params[0]))
}

// foundHere turns errNotFound into the answer of our additions.
func foundHere(err error, name string) error {
	if errors.Is(err, errNotFound) {
		return missing("job", name)
	}
	return err
}
