package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mesos/mesos-go/api/v1/lib"
)

// constraintTest is a constraint with its pattern, which is nil if the operator
// has none or the pattern does not compile.
type constraintTest struct {
	Constraint
	pattern *regexp.Regexp
}

// constraintPattern compiles the value of a LIKE or UNLIKE constraint, which
// must match the whole of an attribute, as Java's matches does.
func constraintPattern(value string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(value); err != nil { // "a)|(b" alone does not balance
		return nil, err
	}
	return regexp.Compile(`\A(?:` + value + `)\z`)
}

// tests pairs constraints with their patterns, each compiled once.
func (m *market) tests(constraints []Constraint) []constraintTest {
	if len(constraints) == 0 {
		return nil
	}
	tests := make([]constraintTest, len(constraints))
	for i, c := range constraints {
		tests[i].Constraint = c
		if c.Operator != "LIKE" && c.Operator != "UNLIKE" {
			continue
		}
		re, ok := m.patterns[c.Value]
		if !ok {
			re, _ = constraintPattern(c.Value)
			if len(m.patterns) >= 10_000 {
				clear(m.patterns)
			}
			m.patterns[c.Value] = re
		}
		tests[i].pattern = re
	}
	return tests
}

// violated finds the first constraint that the agent does not meet and says so.
func (a *agentOffers) violated(tests []constraintTest) (why string, ok bool) {
	for _, t := range tests {
		if t.matches(a.attributes, a.hostname) {
			continue
		}
		return fmt.Sprintf("constraint %s %s %s: %s", t.Attribute, t.Operator, t.Value, t.finding(a)), true
	}
	return "", false
}

// finding is what an agent has where the constraint looks.
func (t constraintTest) finding(a *agentOffers) string {
	if t.Operator != "EQUALS" && t.pattern == nil {
		return "the pattern is not a valid regular expression"
	}
	var values []string
	for attribute := range attributesNamed(a.attributes, a.hostname, t.Attribute) {
		values = append(values, attributeText(attribute))
	}
	if len(values) == 0 {
		return "agent " + a.hostname + " has no attribute " + t.Attribute
	}
	return "agent " + a.hostname + " has " + t.Attribute + "=" + strings.Join(values, ", ")
}

// matchConstraint reports whether an agent meets a constraint, by the rules of
// 3.0. An operator that no version knows constrains nothing: such a job can
// only come from the state of a JVM version, which dropped the constraint.
func matchConstraint(c Constraint, attributes []mesos.Attribute, hostname string) bool {
	t := constraintTest{Constraint: c}
	if c.Operator == "LIKE" || c.Operator == "UNLIKE" {
		t.pattern, _ = constraintPattern(c.Value)
	}
	return t.matches(attributes, hostname)
}

func (t constraintTest) matches(attributes []mesos.Attribute, hostname string) bool {
	switch t.Operator {
	case "EQUALS":
		for a := range attributesNamed(attributes, hostname, t.Attribute) {
			if a.GetText().GetValue() == t.Value {
				return true
			}
		}
		return false
	case "LIKE", "UNLIKE":
		if t.pattern == nil {
			return false
		}
		// Only the first attribute of that name counts, and without one
		// UNLIKE does not hold either.
		for a := range attributesNamed(attributes, hostname, t.Attribute) {
			if a.Type == mesos.RANGES {
				return false
			}
			return like(t.pattern, a) == (t.Operator == "LIKE")
		}
		return false
	}
	return true
}

func like(pattern *regexp.Regexp, a *mesos.Attribute) bool {
	switch a.Type {
	case mesos.SCALAR:
		return pattern.MatchString(javaDouble(a.GetScalar().GetValue()))
	case mesos.SET:
		return slices.ContainsFunc(a.GetSet().GetItem(), pattern.MatchString)
	}
	return pattern.MatchString(a.GetText().GetValue())
}

// attributesNamed yields the attributes of one name. The host name is one,
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
