package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What becomes of the occurrences that fell due before a leader's term, or while the job was disabled.
const (
	missedNewest = "newest" // the newest runs, if it is younger than epsilon
	missedAll    = "all"    // each that is younger than epsilon runs
	missedNone   = "none"   // none runs
)

var missedWords = []string{missedNewest, missedAll, missedNone}

// missed is what becomes of the occurrences that the job has missed.
func (j *Job) missed() string {
	if j.Policy == nil || j.Policy.Missed == "" {
		return missedNewest
	}
	return j.Policy.Missed
}

// alertAfter is how long a run may take before that is told, 0 for as long as it likes.
func (j *Job) alertAfter() time.Duration {
	if j.Policy == nil || j.Policy.AlertAfter == nil {
		return 0
	}
	return j.Policy.AlertAfter.approx()
}

// alertWithoutSuccess is how long the job may be without a success before that is told, 0 for as long as it likes.
func (j *Job) alertWithoutSuccess() time.Duration {
	if j.Policy == nil || j.Policy.AlertWithoutSuccess == nil {
		return 0
	}
	return j.Policy.AlertWithoutSuccess.approx()
}

// An exclusion is a time in which a job does not run.
type exclusion struct {
	text     string
	from, to start
	lasts    *Period // instead of to
}

const maxExclusions = 100

var excludeKey = policyKey{name: "exclude", kind: "list of at most 100 texts: ISO 8601 intervals, or dates for whole days", byDefault: "nothing",
	read: func(p *Policy, v value) error {
		if v[0] != '[' {
			return errInert
		}
		elements := v.elements()
		if len(elements) > maxExclusions {
			return fmt.Errorf("there are %d, and at most %d may be", len(elements), maxExclusions)
		}
		p.Exclude = nil
		for _, e := range elements {
			if !e.isString() {
				return fmt.Errorf("%s is not a text", quoteWarned(string(e)))
			}
			x, err := parseExclusion(e.text())
			if err != nil {
				return err
			}
			p.Exclude = append(p.Exclude, x)
		}
		return nil
	},
	text: func(p *Policy) []byte {
		if len(p.Exclude) == 0 {
			return nil
		}
		texts := make([]string, len(p.Exclude))
		for i, x := range p.Exclude {
			texts[i] = x.text
		}
		list := appendList(nil, "", texts, appendString)
		return list[len(`,"":`):]
	}}

// parseExclusion reads start/end, start/duration, or a date, which is the whole day.
func parseExclusion(text string) (x exclusion, err error) {
	wrong := func() (exclusion, error) {
		return exclusion{}, fmt.Errorf("%s is neither a date nor an ISO 8601 interval, like 2026-12-24/2027-01-02, that ends after its start", quoteWarned(text))
	}
	from, to, interval := strings.Cut(text, "/")
	x.text = text
	if x.from, err = parseStart(from); err != nil || from == "" {
		return wrong()
	}
	switch {
	case !interval && (strings.ContainsAny(from, "Tt") || strings.Count(from, "-") != 2):
		return wrong()
	case !interval:
		x.lasts = &Period{Days: 1}
	case startsFold(to, 'p'):
		period, err := parsePeriod(to)
		if err != nil {
			return wrong()
		}
		x.lasts = &period
	default:
		if x.to, err = parseStart(to); err != nil || to == "" {
			return wrong()
		}
	}
	if begin, end := x.bounds(time.UTC); end <= begin {
		return wrong()
	}
	return x, nil
}

// bounds are the instants, in ms, of the exclusion in a zone. Its end is not included.
func (x exclusion) bounds(zone *time.Location) (from, to int64) {
	begin := x.from.in(nil, zone)
	if x.lasts == nil {
		return begin.UnixMilli(), x.to.in(nil, zone).UnixMilli()
	}
	end, err := x.lasts.plus(begin, 1)
	if err != nil {
		return begin.UnixMilli(), begin.UnixMilli()
	}
	return begin.UnixMilli(), end.UnixMilli()
}

// A bar is a time in which a job does not run, and why.
type bar struct {
	from, to int64 // ms; the end is not included
	why      string
}

// A barring is all such times.
type barring []bar

// barring returns when the job does not run by what it says itself.
func (j *Job) barring(zone *time.Location) barring {
	if j.Policy == nil {
		return nil
	}
	var all barring
	for _, x := range j.Policy.Exclude {
		from, to := x.bounds(zone)
		all = append(all, bar{from, to, "excluded by " + x.text})
	}
	return all
}

// at returns the bar that is down at an instant, or nil.
func (b barring) at(ms int64) *bar {
	i := slices.IndexFunc(b, func(x bar) bool { return x.from <= ms && ms < x.to })
	if i < 0 {
		return nil
	}
	return &b[i]
}

// coming returns the next n instants at which a schedule that is followed runs, seen from now.
func (b barring) coming(s Schedule, now time.Time, epsilon int64, n int) []time.Time {
	if len(b) == 0 {
		return s.coming(now, epsilon, n)
	}
	var found []time.Time
	p := s.pass(now, epsilon)
	if !p.due.IsZero() && b.at(p.due.UnixMilli()) == nil {
		found = append(found, p.due)
	}
	for rest := p.rest; len(found) < n; {
		t, ok := rest.next()
		if !ok {
			break
		}
		if down := b.at(t.UnixMilli()); down != nil {
			_, _, _, rest = rest.passed(time.UnixMilli(down.to - 1))
			continue
		}
		found = append(found, t)
		_, _, _, rest = rest.passed(t)
	}
	return found[:min(n, len(found))]
}
