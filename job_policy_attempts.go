package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxBackoff bounds the factor by which pauses between attempts grow.
const maxBackoff = 1000

var backoffKey = policyKey{name: "retryBackoff", kind: "number from 1 to 1000", byDefault: "1",
	read: func(p *Policy, v value) error {
		if !v.isNumber() {
			return errInert
		}
		factor := v.double()
		if !(factor >= 1 && factor <= maxBackoff) {
			return fmt.Errorf("%s is not a number from 1 to %d", v, maxBackoff)
		}
		p.RetryBackoff = factor
		return nil
	},
	text: func(p *Policy) []byte {
		if p.RetryBackoff == 0 {
			return nil
		}
		return strconv.AppendFloat(nil, p.RetryBackoff, 'f', -1, 64)
	}}

// defaultDelayMax bounds the pause before an attempt where the job says nothing else.
const defaultDelayMax = time.Hour

// pacesAttempts reports whether the job says how its attempts follow each other. Then each occurrence
// has its attempts; without, what the original does stays.
func (j *Job) pacesAttempts() bool {
	p := j.Policy
	return p != nil && (p.RetryDelay != nil || p.RetryBackoff != 0 || p.RetryDelayMax != nil)
}

// pauseBefore returns how long the job waits before an attempt, from 1: byDefault, the server's, if it says nothing.
func (j *Job) pauseBefore(attempt int, byDefault time.Duration) time.Duration {
	if !j.pacesAttempts() {
		return byDefault
	}
	delay := byDefault
	if j.Policy.RetryDelay != nil {
		delay = j.Policy.RetryDelay.approx()
	}
	most := max(defaultDelayMax, delay)
	if j.Policy.RetryDelayMax != nil {
		most = j.Policy.RetryDelayMax.approx()
	}
	grown := float64(delay) * math.Pow(cmp.Or(j.Policy.RetryBackoff, 1), float64(max(attempt-1, 0)))
	return time.Duration(min(grown, float64(most)))
}

// defaultKillGrace is how long a task that is over its time limit has to end by itself.
const defaultKillGrace = 3 * time.Second

// killGrace is how long a task has between being told to end and being killed.
func (j *Job) killGrace() time.Duration {
	if p := j.Policy; p != nil && p.KillGrace != nil {
		return p.KillGrace.approx()
	}
	return defaultKillGrace
}

// timeLimit is how long a run may take, 0 for as long as it likes.
func (j *Job) timeLimit() time.Duration {
	const most = math.MaxInt64 / int64(time.Second)
	return time.Duration(min(max(j.MaxCompletionTime, 0), most)) * time.Second
}

const (
	maxLabels     = 32
	maxLabelKey   = 63  // characters
	maxLabelValue = 255 // bytes
)

var labelsKey = policyKey{name: "labels", kind: "object of texts: at most 32, keys of at most 63 characters, values of at most 255 bytes", byDefault: "none",
	read: func(p *Policy, v value) error {
		members := v.object().unique()
		if members == nil {
			return errInert
		}
		if len(members) > maxLabels {
			return fmt.Errorf("there are %d, and at most %d may be", len(members), maxLabels)
		}
		p.Labels = nil
		for _, m := range members {
			text := m.value.text()
			switch n := utf8.RuneCountInString(m.key); {
			case !m.value.isString():
				return fmt.Errorf("the value of %s is not a text", quoteWarned(m.key))
			case n == 0 || n > maxLabelKey || strings.ContainsAny(m.key, "=\x00"):
				return fmt.Errorf("%s is no key of a label: it has 1 to %d characters and no =", quoteWarned(m.key), maxLabelKey)
			case len(text) > maxLabelValue || strings.ContainsRune(text, 0):
				return fmt.Errorf("the value of %s has more than %d bytes, or a byte of 0", quoteWarned(m.key), maxLabelValue)
			}
			p.Labels = append(p.Labels, Label{m.key, text})
		}
		sortStable(p.Labels, func(a, b Label) int { return strings.Compare(a.Key, b.Key) })
		return nil
	},
	text: func(p *Policy) []byte {
		if len(p.Labels) == 0 {
			return nil
		}
		dst := []byte{'{'}
		for i, l := range p.Labels {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(append(appendString(dst, l.Key), ':'), l.Value)
		}
		return append(dst, '}')
	}}

// labels are the job's own, by key.
func (j *Job) labels() []Label {
	if j.Policy == nil {
		return nil
	}
	return j.Policy.Labels
}

// hasLabel reports whether the job has a label of that key, and of that value unless any will do.
func (j *Job) hasLabel(key, text string, any bool) bool {
	return slices.ContainsFunc(j.labels(), func(l Label) bool { return l.Key == key && (any || l.Value == text) })
}
