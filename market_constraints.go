package main

import (
	"fmt"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A verdict is whether an agent meets a constraint.
type verdict uint8

const (
	verdictNo verdict = iota
	verdictYes
	verdictOpen // will be decided in a later turn
)

// verdictOf is verdictYes or verdictNo.
func verdictOf(ok bool) verdict {
	if ok {
		return verdictYes
	}
	return verdictNo
}

// not returns the verdict on the opposite.
func (v verdict) not() verdict {
	if v == verdictOpen {
		return v
	}
	return verdictOf(v == verdictNo)
}

const (
	// comparedPerTurn bounds the steps that patterns take in one turn: thousands of waiting runs with
	// patterns of the largest size, on hundreds of agents, would hold up everything else. This many take some 30 ms.
	comparedPerTurn = 500_000
	// maxCompared is more than the pairs of a pattern and an attribute that any cluster needs at a time.
	maxCompared = 1_000_000
)

// comparisons remembers which patterns match which attributes, since the same ones are needed in each turn, and
// bounds the new ones in a turn.
type comparisons struct {
	known map[comparison]bool
	left  int  // steps left in this turn
	short bool // there were not enough
}

type comparison struct {
	pattern *pattern
	text    string
}

// begin starts a turn.
func (c *comparisons) begin() { c.left, c.short = comparedPerTurn, false }

func (c *comparisons) matches(p *pattern, text string) verdict {
	key := comparison{p, text}
	if known, ok := c.known[key]; ok {
		return verdictOf(known)
	}
	if c.left <= 0 {
		c.short = true
		return verdictOpen
	}
	if len(c.known) >= maxCompared {
		clear(c.known)
		c.begin() // starting over in each turn would never finish
	}
	c.left -= p.steps * (len(text) + 1)
	matches := p.re.MatchString(text)
	c.known[key] = matches
	return verdictOf(matches)
}

// meetsAll returns whether an agent meets all constraints.
func (m *market) meetsAll(a *agentOffers, constraints []Constraint) verdict {
	for i := range constraints {
		if v := m.meets(a, &constraints[i]); v != verdictYes {
			return v
		}
	}
	return verdictYes
}

// violated finds the first constraint that the agent does not meet and says so.
func (m *market) violated(a *agentOffers, constraints []Constraint) string {
	for i := range constraints {
		c := &constraints[i]
		finding := ""
		switch m.meets(a, c) {
		case verdictYes:
			continue
		case verdictOpen:
			finding = "agent " + a.hostname + " has not been compared with it yet"
		default:
			finding = findingOf(c, a)
		}
		return fmt.Sprintf("constraint %s %s %s: %s", c.Attribute, c.Operator, cutText(c.Value, maxShownPattern, "..."), finding)
	}
	return ""
}

// findingOf describes the attribute of an agent that the constraint is about.
func findingOf(c *Constraint, a *agentOffers) string {
	if c.fault() != "" {
		return "the pattern " + c.pattern.fault
	}
	var values []string
	for attribute := range attributesNamed(a.attributes, a.hostname, c.Attribute) {
		values = append(values, attributeText(attribute))
	}
	if len(values) == 0 {
		return "agent " + a.hostname + " has no attribute " + c.Attribute
	}
	return "agent " + a.hostname + " has " + c.Attribute + "=" + strings.Join(values, ", ")
}

func (m *market) meets(a *agentOffers, c *Constraint) verdict {
	switch c.Operator {
	case "EQUALS":
		for attribute := range attributesNamed(a.attributes, a.hostname, c.Attribute) {
			if attribute.GetText().GetValue() == c.Value {
				return verdictYes
			}
		}
		return verdictNo
	case "LIKE", "UNLIKE":
		if !c.pattern.usable() {
			return verdictNo
		}
		// Only the first attribute of that name counts, and without one
		// UNLIKE does not hold either.
		for attribute := range attributesNamed(a.attributes, a.hostname, c.Attribute) {
			switch {
			case attribute.Type == mesos.RANGES:
				return verdictNo
			case c.Operator == "LIKE":
				return m.like(c.pattern, attribute)
			}
			return m.like(c.pattern, attribute).not()
		}
		return verdictNo
	}
	return verdictYes
}

// like returns whether a pattern matches an attribute, or one item of a set.
func (m *market) like(p *pattern, a *mesos.Attribute) verdict {
	switch a.Type {
	case mesos.SCALAR:
		return m.compared.matches(p, javaDouble(a.GetScalar().GetValue()))
	case mesos.SET:
		of := func(v verdict) func(string) bool {
			return func(item string) bool { return m.compared.matches(p, item) == v }
		}
		items := a.GetSet().GetItem()
		if slices.ContainsFunc(items, of(verdictYes)) {
			return verdictYes
		}
		if slices.ContainsFunc(items, of(verdictOpen)) {
			return verdictOpen
		}
		return verdictNo
	}
	return m.compared.matches(p, a.GetText().GetValue())
}

// attributesNamed yields the attributes of one name. The host name counts as one,
// unless the agent itself has an attribute called hostname.
func attributesNamed(attributes []mesos.Attribute, hostname, name string) func(func(*mesos.Attribute) bool) {
	return func(yield func(*mesos.Attribute) bool) {
		found := false
		for i := range attributes {
			if attributes[i].Name == name {
				found = true
				if !yield(&attributes[i]) {
					return
				}
			}
		}
		if !found && name == "hostname" {
			yield(&mesos.Attribute{
				Name: "hostname", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: hostname},
			})
		}
	}
}

func attributeText(a *mesos.Attribute) string {
	switch a.Type {
	case mesos.SCALAR:
		return javaDouble(a.GetScalar().GetValue())
	case mesos.SET:
		return "{" + strings.Join(a.GetSet().GetItem(), ",") + "}"
	case mesos.RANGES:
		var parts []string
		for _, r := range a.GetRanges().GetRange() {
			parts = append(parts, fmt.Sprintf("%d-%d", r.Begin, r.End))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return a.GetText().GetValue()
}
