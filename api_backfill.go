package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// startBackfill has the instants of a job's schedule in a time that has passed run once more.
func (a *api) startBackfill(c *call) error {
	doc, err := c.document("from", "to", "concurrency")
	if err != nil {
		return err
	}
	want := backfillRequest{atOnce: 1}
	for key, into := range map[string]*time.Time{"from": &want.from, "to": &want.to} {
		at, known := parseDate(doc.get(key).text())
		if !known {
			return refuse("%s: want an instant, like 2030-01-31T06:00:00Z", key)
		}
		*into = at
	}
	if !want.from.Before(want.to) {
		return refuse("to: it is not after from")
	}
	if v := doc.get("concurrency"); v != "" {
		if want.atOnce, err = readCount(v, maxBackfill); err != nil {
			return refuse("concurrency: want a whole number from 1 to %d", maxBackfill)
		}
	}
	want.by = c.asker()
	n, err := c.scheduler.startBackfill(c.r.Context(), c.params[0], want)
	if errors.Is(err, errDisabled) || errors.Is(err, errBackfilling) {
		return &httpError{status: http.StatusConflict, text: err.Error()}
	}
	if err != nil {
		return foundHere(err, c.params[0])
	}
	return c.json(map[string]json.Number{"instants": json.Number(n)})
}

// showBackfill answers how far the backfill of a job is.
func (a *api) showBackfill(c *call) error {
	jv := c.sight().job(c.params[0])
	switch {
	case jv == nil:
		return missing("job", c.params[0])
	case jv.backfill == nil:
		return missing("backfill of job", c.params[0])
	}
	b := jv.backfill
	answer := struct {
		Job     string `json:"job"`
		Asked   string `json:"asked"`
		Total   int    `json:"total"`
		Left    int    `json:"left"`
		Running int    `json:"running"`
		AtOnce  int    `json:"concurrency"`
		Next    string `json:"next,omitempty"`
	}{c.params[0], msText(b.Asked), b.Total, len(b.Left), b.running, b.AtOnce, ""}
	if len(b.Left) > 0 {
		answer.Next = msText(b.Left[0])
	}
	return c.json(answer)
}

// stopBackfill ends the backfill of a job. Its runs that are open go on.
func (a *api) stopBackfill(c *call) error {
	err := c.scheduler.stopBackfill(c.r.Context(), c.params[0])
	if errors.Is(err, errNotFound) {
		return missing("backfill of job", c.params[0])
	}
	return c.done(err)
}
