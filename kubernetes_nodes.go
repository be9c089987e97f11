package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// nodeLabelOf is the label of nodes that stands for an attribute of agents.
func nodeLabelOf(attribute string) string {
	if attribute == "hostname" {
		return "kubernetes.io/hostname"
	}
	return attribute
}

// extraOf is what the job of a task says to Kubernetes beside the task. It fails if no node would do.
func (s *kubeSession) extraOf(task string) (podExtra, error) {
	if s.k.job == nil {
		return podExtra{}, nil
	}
	_, _, name, _, _ := parseRunID(task)
	j, certain := s.k.job(name)
	if j == nil && !certain {
		return podExtra{}, errors.New("this instance is only about to lead")
	}
	if j == nil {
		return podExtra{}, nil // it was deleted, and its run is about to be killed
	}
	terms, err := s.nodeTerms(j.Constraints)
	return podExtra{highPriority: j.HighPriority, nodes: terms}, err
}

// nodeTerms says in Kubernetes' words where a job may run. It knows no patterns, so they stand for the values that they
// match among the nodes that there are.
func (s *kubeSession) nodeTerms(constraints []Constraint) (terms []nodeTerm, err error) {
	for i := range constraints {
		c := &constraints[i]
		term := nodeTerm{label: nodeLabelOf(c.Attribute), operator: "In"}
		switch c.Operator {
		case "EQUALS":
			term.values = []string{c.Value}
		case "LIKE", "UNLIKE":
			if term.values = s.matching(c, term.label); len(term.values) == 0 {
				return nil, fmt.Errorf("constraint %s %s %s: %s", c.Attribute, c.Operator, cutText(c.Value, maxShownPattern, "..."), s.whyNone(c, term.label))
			}
		default:
			continue // as on Mesos
		}
		terms = append(terms, term)
	}
	return terms, nil
}

// matching lists the values of a label that meet a constraint. A node without the label does not, as on Mesos.
func (s *kubeSession) matching(c *Constraint, label string) []string {
	if !c.pattern.usable() {
		return nil
	}
	asked := nodeMatch{c.pattern, label, c.Operator}
	if known, ok := s.matches[asked]; ok {
		return known
	}
	values := map[string]bool{}
	for _, n := range s.nodes {
		if value, ok := n.Metadata.Labels[label]; ok && c.pattern.re.MatchString(value) == (c.Operator == "LIKE") {
			values[value] = true
		}
	}
	if s.matches == nil || len(s.matches) >= mostMatches {
		s.matches = map[nodeMatch][]string{}
	}
	s.matches[asked] = slices.Sorted(maps.Keys(values))
	return s.matches[asked]
}

// A nodeMatch is a question whose answer is kept until the nodes change.
type nodeMatch struct {
	pattern         *pattern
	label, operator string
}

const mostMatches = 10_000

func (s *kubeSession) whyNone(c *Constraint, label string) string {
	switch {
	case c.fault() != "":
		return "the pattern " + c.pattern.fault
	case len(s.nodes) == 0:
		return "no nodes are known (the role needs the right to list and watch nodes)"
	}
	return fmt.Sprintf("none of %d nodes has such a label %s", len(s.nodes), label)
}
