package main

import (
	"time"
)

const (
	defaultPreview = 10
	maxPreview     = 1000
)

// An occurrence is one instant of a schedule, in the zone of the job and in UTC.
type occurrence struct {
	Local string `json:"local"`
	UTC   string `json:"utc"`
	Note  string `json:"note,omitempty"` // how a change of the clocks affects it
}

// occurrences describes the next n instants at which a schedule runs. What is shown comes
// from the schedule as the scheduler holds it, and never from its text in the document, which
// can't express the day and hour to which a monthly or daily schedule returns.
func occurrences(sched Schedule, bars barring, now time.Time, latest int64, n int) []occurrence {
	list := []occurrence{}
	for _, t := range bars.coming(sched, now, latest, n) {
		list = append(list, occurrence{t.Format("2006-01-02T15:04:05.000Z07:00"), instant(t), sched.dstNote(t)})
	}
	return list
}

// A preview is the answer of schedule/preview and upcoming.
type preview struct {
	Job      string       `json:"job,omitempty"`
	Schedule string       `json:"schedule"`
	Spread   string       `json:"spread,omitempty"` // the schedule with what its H stand for
	Zone     string       `json:"scheduleTimeZone"`
	Words    string       `json:"words,omitempty"`   // the schedule in English
	Parents  []string     `json:"parents,omitempty"` // runs after these instead of on a schedule
	Disabled bool         `json:"disabled,omitempty"`
	Paused   string       `json:"pausedUntil,omitempty"`
	Next     string       `json:"next,omitempty"` // when the scheduler will make it due
	Upcoming []occurrence `json:"upcoming"`
}

// spreadText returns the expression that a schedule with an H became, "" for one without.
func spreadText(text string, sched Schedule) string {
	if !spreads(text) {
		return ""
	}
	expression, _ := sched.anchor()
	return expression
}

// previewSchedule answers with when a job with the schedule would be due if it were posted now.
func (a *api) previewSchedule(c *call) error {
	doc, err := c.document("name", "schedule", "scheduleTimeZone", "epsilon", "count")
	if err != nil {
		return err
	}
	n := int64(defaultPreview)
	if v := doc.get("count"); v != "" {
		n = v.int64()
	}
	if err := checkCount(n); err != nil {
		return err
	}
	j := &Job{Name: doc.get("name").text(), Schedule: doc.get("schedule").text(), ScheduleTimeZone: doc.get("scheduleTimeZone").text(), Epsilon: a.options.defaults.Epsilon}
	if v := doc.get("epsilon"); v != "" {
		if j.Epsilon, err = parsePeriod(v.text()); err != nil {
			return refuse("epsilon: %v", err)
		}
	}
	p, err := foretell(j, a.now(), int(n))
	if err != nil {
		return err
	}
	return c.json(p)
}

// foretell tells when a job with a schedule would be due n times that is posted now. What is strange about the schedule is refused.
func foretell(j *Job, now time.Time, n int) (preview, error) {
	if err := refuseStrange(j.scheduleWarnings()); err != nil {
		return preview{}, err
	}
	if spreads(j.Schedule) && j.Name == "" {
		return preview{}, refuse("name: what an H in the schedule stands for follows from the name of the job; give it")
	}
	sched, err := j.parseSchedule(now)
	if err == nil {
		err = sched.check()
	}
	if err != nil {
		return preview{}, refuse("cannot use schedule %q: %v", j.Schedule, err)
	}
	return preview{Job: j.Name, Schedule: j.Schedule, Spread: spreadText(j.Schedule, sched), Zone: j.ScheduleTimeZone, Words: sched.words(now), Upcoming: occurrences(sched, nil, now, j.latest(), n)}, nil
}

func checkCount(n int64) error {
	if n < 1 || n > maxPreview {
		return refuse("count: %d is not between 1 and %d", n, maxPreview)
	}
	return nil
}

// upcoming answers with when a job will be due.
func (a *api) upcoming(c *call) error {
	n, err := c.number("count", 32, defaultPreview)
	if err != nil {
		return err
	}
	if err := checkCount(n); err != nil {
		return err
	}
	jv := c.sight().job(c.params[0])
	if jv == nil {
		return missing("job", c.params[0])
	}
	j := jv.job
	p := preview{Job: j.Name, Schedule: j.Schedule, Spread: spreadText(j.Schedule, jv.sched), Zone: j.ScheduleTimeZone, Words: wordsOf(jv, a.now()), Parents: j.Parents, Disabled: j.Disabled, Paused: msText(jv.paused),
		Upcoming: occurrences(jv.sched, jv.bars, a.now(), j.latest(), int(n))}
	if !jv.next.IsZero() {
		p.Next = instant(jv.next)
	}
	return c.json(p)
}

// showLeader answers with the id of the instance that leads, "" for none.
func (a *api) showLeader(c *call) error {
	id, _ := a.leader()
	return c.json(map[string]string{"leader": id})
}
