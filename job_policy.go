package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Policy is what a job says in keys of ours, which no JVM version knows. They are plain keys of its document in every
// dialect, and stand where they are set only. In the store they have a record of their own, go/policy/<job>, so that a
// JVM version reads what it always has, and may write the job's document without taking them away.
// A job that says nothing in them has none. It is immutable.
type Policy struct {
	KillGrace     *Period
	RetryDelay    *Period
	RetryBackoff  float64 // 0 where it is not set
	RetryDelayMax *Period
	Overlap       string // of overlaps, "" where it is not set
	MaxConcurrent int    // 0 where it is not set
	RunOn         string // of runOnWords, "" where it is not set
	Pool          string // "" where it is not set
	Missed        string // of missedWords, "" where it is not set
	Exclude       []exclusion
	Labels        []Label // by key

	Notify              []jobReceiver
	AlertAfter          *Period
	AlertWithoutSuccess *Period

	Secrets []SecretVar // variables whose values are secrets; listed with the others

	kept rawMembers // what a later version of this program has put into the record
}

// A policyKey is one key of ours.
type policyKey struct {
	name      string
	kind      string // what values it takes, for people
	byDefault string
	// read sets what a value says. It refuses one of a type that the key does not take with errInert, and
	// one that is wrong with the reason.
	read func(p *Policy, v value) error
	// text is the key's value as JSON, nil where it is not set.
	text func(p *Policy) []byte
}

// errInert says that a value is of a JSON type that a key of ours does not take: such a key has been in the document
// before it meant anything, and means nothing still.
var errInert = errors.New("not a value of ours")

// policyKeys are the keys of ours in the order in which they are listed. The table in docs/jobs.md is held against them.
var policyKeys = []policyKey{
	durationKey("killGrace", "PT3S", 0, func(p *Policy) **Period { return &p.KillGrace }),
	durationKey("retryDelay", "`--failure_retry`", 0, func(p *Policy) **Period { return &p.RetryDelay }),
	backoffKey,
	durationKey("retryDelayMax", "the larger of an hour and `retryDelay`", 0, func(p *Policy) **Period { return &p.RetryDelayMax }),
	wordKey("overlap", overlaps, func(p *Policy) *string { return &p.Overlap }),
	maxConcurrentKey,
	wordKey("runOn", runOnWords, func(p *Policy) *string { return &p.RunOn }),
	poolKey,
	wordKey("missed", missedWords, func(p *Policy) *string { return &p.Missed }),
	excludeKey,
	durationKey("alertAfter", "never", time.Second, func(p *Policy) **Period { return &p.AlertAfter }),
	durationKey("alertWithoutSuccess", "never", time.Second, func(p *Policy) **Period { return &p.AlertWithoutSuccess }),
	notifyKey,
	labelsKey,
}

// policyKeyOf returns the key of that name, nil if it is none of ours.
func policyKeyOf(name string) *policyKey {
	i := slices.IndexFunc(policyKeys, func(k policyKey) bool { return k.name == name })
	if i < 0 {
		return nil
	}
	return &policyKeys[i]
}

// policy reads the keys of ours in a posted document. The others of these names are inert: what it says in the words that
// the job had there already, and what is of another type.
func (d *jobDecoder) policy(doc object) (p *Policy, inert object) {
	p = &Policy{}
	for _, m := range doc.unique() {
		key := policyKeyOf(m.key)
		switch {
		case key == nil:
		case d.from == dialectStored || d.isInert(m):
			inert = append(inert, m)
		case m.value == "null" || (m.value[0] == '{' || m.value[0] == '[') && len(m.value.elements()) == 0: // as if it were absent
		default:
			err := key.read(p, m.value)
			if errors.Is(err, errInert) {
				inert = append(inert, m)
			} else if err != nil {
				d.fail(docPath{m.key, -1}, "%v", err)
			}
		}
	}
	if !p.isSet() {
		return nil, inert
	}
	d.checkReceivers(p)
	return p, inert
}

// keysOfOurs names what of a posted document JVM versions do not understand, whatever the job had before.
func keysOfOurs(posted []byte, defaults jobDefaults, from dialect) []string {
	root, err := parseValue(posted)
	if err != nil {
		return nil // whoever decodes it will say so
	}
	doc, d := root.object(), &jobDecoder{defaults: defaults, from: from}
	p, _ := d.policy(doc)
	_, secrets := d.env(doc.get(secretsMember))
	names := d.withSecrets(p, secrets).keys()
	if d.err != nil && policyKeyOf(d.err.field) != nil && !slices.Contains(names, d.err.field) {
		names = append(names, d.err.field)
	}
	if v := doc.get("maxCompletionTime"); v.isString() && startsFold(v.text(), 'p') {
		names = append(names, "maxCompletionTime as a duration")
	}
	return names
}

// isInert reports whether the job has a member already that means nothing.
func (d *jobDecoder) isInert(m member) bool {
	return d.base != nil && slices.ContainsFunc(d.base.Extra, func(f RawField) bool {
		return f.Key == m.key && bytes.Equal(f.Value, compact(m.value))
	})
}

// isSet reports whether the policy says anything.
func (p *Policy) isSet() bool {
	return p.kept != "" || len(p.Secrets) > 0 || slices.ContainsFunc(policyKeys, func(k policyKey) bool { return k.text(p) != nil })
}

// keys lists the keys that are set.
func (p *Policy) keys() (names []string) {
	if p == nil {
		return nil
	}
	for _, k := range policyKeys {
		if k.text(p) != nil {
			names = append(names, k.name)
		}
	}
	if len(p.Secrets) > 0 {
		names = append(names, "secrets")
	}
	return names
}

// appendMembers appends what is set, as members after others.
func (p *Policy) appendMembers(dst []byte) []byte {
	if p == nil {
		return dst
	}
	for _, k := range policyKeys {
		if text := k.text(p); text != nil {
			dst = append(appendKey(dst, k.name), text...)
		}
	}
	return dst
}

// encode returns the policy as it is stored, as an object.
func (p *Policy) encode() []byte {
	members := p.appendMembers(nil)
	if len(p.Secrets) > 0 {
		members = appendList(members, secretsMember, p.Secrets, appendSecretVar)
	}
	members = append(members, p.kept...)
	return append(append([]byte{'{'}, bytes.TrimPrefix(members, []byte{','})...), '}')
}

// size is how many bytes the policy takes in the store.
func (p *Policy) size() int {
	if p == nil {
		return 0
	}
	return len(p.encode())
}

// readPolicy reads what encode returns. What this version cannot read is kept as it is.
func readPolicy(stored []byte) *Policy {
	p := &Policy{}
	var unknown object
	for _, m := range value(bytes.TrimSpace(stored)).object() {
		if m.key == secretsMember {
			p.Secrets = readSecretVars(m.value)
			continue
		}
		if key := policyKeyOf(m.key); key == nil || key.read(p, m.value) != nil {
			unknown = append(unknown, m)
		}
	}
	if p.kept = extraMembers(unknown); !p.isSet() {
		return nil
	}
	return p
}

// inertWarnings says which members of the document look like keys of ours and mean nothing, or are and do.
func (j *Job) inertWarnings() []Warning {
	var all []Warning
	for _, f := range j.Extra {
		if key := policyKeyOf(f.Key); key != nil {
			all = append(all, Warning{f.Key, fmt.Sprintf("%s is kept without a meaning, as before this key had one; what would mean something is another value of this form: %s",
				quoteWarned(string(f.Value)), key.kind)})
		}
	}
	if j.Policy != nil && j.Policy.RunOn != "" && !j.Dependent {
		all = append(all, Warning{"runOn", "the job has no parents, and it means nothing; give it parents or leave it out"})
	}
	return all
}

// withPolicy returns the job with a policy from the store. A key that is set there is no inert one.
func (j *Job) withPolicy(p *Policy) *Job {
	if p == nil {
		return j
	}
	next := j.clone()
	next.Policy = p.followConcurrent(j.Concurrent)
	next.Extra = slices.DeleteFunc(next.Extra, func(f RawField) bool {
		key := policyKeyOf(f.Key)
		return key != nil && key.text(p) != nil
	})
	return next
}

// maxDuration bounds the durations in keys of ours.
const maxDuration = 10 * 366 * 24 * time.Hour

// durationKind is what keys that are durations take.
const durationKind = "duration: ISO 8601 like `PT10M`, or a number of seconds"

// durationKey is a key that takes a duration of at least so much.
func durationKey(name, byDefault string, least time.Duration, field func(*Policy) **Period) policyKey {
	return policyKey{name: name, kind: durationKind, byDefault: byDefault,
		read: func(p *Policy, v value) error {
			period, err := readDuration(v, least)
			if err == nil {
				*field(p) = &period
			}
			return err
		},
		text: func(p *Policy) []byte {
			if period := *field(p); period != nil {
				return appendString(nil, period.String())
			}
			return nil
		}}
}

// readDuration reads an ISO 8601 duration, or a number of seconds.
func readDuration(v value, least time.Duration) (Period, error) {
	var period Period
	switch {
	case v.isString():
		var err error
		if period, err = parsePeriod(v.text()); err != nil {
			return Period{}, err
		}
	case v.isNumber():
		seconds := v.double()
		if seconds < 0 || seconds > maxDuration.Seconds() {
			return Period{}, fmt.Errorf("%s seconds are not between 0 and ten years", v)
		}
		ms := int64(seconds * 1000)
		period = Period{Seconds: int32(ms / 1000), Millis: int32(ms % 1000)}
	default:
		return Period{}, errInert
	}
	if d := period.approx(); d < least || d > maxDuration {
		return Period{}, fmt.Errorf("%s is not between %s and ten years", quoteWarned(string(v)), least)
	}
	return period, nil
}
