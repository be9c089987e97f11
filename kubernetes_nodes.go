package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// nodeLabelOf is the label of nodes that stands for an attribute of agents.
func nodeLabelOf(attribute string) string {
	if attribute == "hostname" {
		return "kubernetes.io/hostname"
	}
	return attribute
}

// clusterNodes are the nodes as the leader's session has heard of them last, none if the role may not list nodes.
func (k *kubeCluster) clusterNodes() []clusterNode {
	known := k.nodes.Load()
	if known == nil {
		return nil
	}
	list := make([]clusterNode, 0, len(*known))
	for _, n := range *known {
		offers := map[string]string{}
		for _, kind := range []string{"cpu", "memory", "ephemeral-storage", "pods"} {
			if amount := n.Status.Allocatable[kind]; amount != "" {
				offers[kind] = amount
			}
		}
		list = append(list, clusterNode{Name: n.Metadata.Name, Labels: n.Metadata.Labels, Offers: offers, Away: n.away()})
	}
	return list
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
	return podExtra{highPriority: j.HighPriority, nodes: terms, patterns: slices.ContainsFunc(j.Constraints, isPattern)}, err
}

func isPattern(c Constraint) bool { return c.Operator == "LIKE" || c.Operator == "UNLIKE" }

// nodesText is what terms say, to be compared with what they said when a pod was made.
func nodesText(terms []nodeTerm) string {
	var parts []string
	for _, t := range terms {
		parts = append(parts, t.label+" "+t.operator+" "+strings.Join(t.values, ","))
	}
	return strings.Join(parts, "; ")
}

// moved has a pod made anew that waits for a node, if its job's patterns match other nodes than when it was made: its
// own terms can't be changed.
func (s *kubeSession) moved(p *kubePod) {
	o := p.object
	if o == nil || p.busy || p.ended || o.deleted() || o.Spec.NodeName != "" || o.Metadata.Annotations[annotationNodes] == "" {
		return
	}
	extra, err := s.extraOf(p.task)
	if now := nodesText(extra.nodes); err != nil || now == "" || now == o.Metadata.Annotations[annotationNodes] {
		return
	}
	p.busy = true
	s.calls.put(func(ctx context.Context) {
		last, err := s.k.moveOn(ctx, o)
		s.post(func() {
			p.busy = false
			if err == nil && s.pods[o.Metadata.Name] == p {
				s.heard(last)
			}
		})
	})
}

// moveOn deletes a pod as it is: one that has got a node meanwhile stays.
func (k *kubeCluster) moveOn(ctx context.Context, p *podObject) (*podObject, error) {
	path := k.client.podPath(p.Metadata.Name)
	var marked, deleted podObject
	err := k.call(ctx, kubeCall{method: http.MethodPatch, path: path, kind: strategicPatch, body: jsonObject{
		"metadata": jsonObject{"uid": p.Metadata.UID, "annotations": jsonObject{annotationMoved: "the nodes that its constraints match have changed"}},
	}}, &marked)
	if err != nil || marked.Spec.NodeName != "" {
		return &marked, err
	}
	err = k.call(ctx, kubeCall{method: http.MethodDelete, path: path, body: jsonObject{
		"apiVersion": "v1", "kind": "DeleteOptions",
		"preconditions": jsonObject{"uid": p.Metadata.UID, "resourceVersion": marked.Metadata.ResourceVersion},
	}}, &deleted)
	return &deleted, err
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
