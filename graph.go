package main

import (
	"errors"
	"fmt"
	"slices"
)

// Refusals of a dependency, wrapped with the names concerned.
var (
	errNoParents     = errors.New("a dependent job needs at least one parent")
	errMissingParent = errors.New("parent does not exist")
	errSelfParent    = errors.New("a job cannot be its own parent")
	errCycle         = errors.New("the dependency would close a cycle")
)

// A graph is the DAG of jobs: an edge leads from each parent to its child.
// Parents are kept in the order of the job's document, children in the order in
// which their edges were made. It compares names by value, unlike the original.
type graph struct {
	parents  map[string][]string
	children map[string][]string
	steps    *int64 // counts the jobs and edges visited
}

func newGraph() *graph {
	return &graph{parents: map[string][]string{}, children: map[string][]string{}, steps: new(int64)}
}

// check returns why child cannot have these parents, or nil. exists reports whether
// there is a job of that name. Nothing changes.
func (g *graph) check(child string, parents []string, exists func(string) bool) error {
	if err := g.checkParents(child, parents, exists); err != nil {
		return err
	}
	if via := g.pathTo(child, parents); via != "" {
		return fmt.Errorf("job %q, parent %q: %w", child, via, errCycle)
	}
	return nil
}

// checkParents is check for a child that is known not to close a cycle.
func (g *graph) checkParents(child string, parents []string, exists func(string) bool) error {
	if len(parents) == 0 {
		return fmt.Errorf("job %q: %w", child, errNoParents)
	}
	for _, p := range parents {
		if p == child {
			return fmt.Errorf("job %q: %w", child, errSelfParent)
		}
		if !exists(p) {
			return fmt.Errorf("job %q, parent %q: %w", child, p, errMissingParent)
		}
	}
	return nil
}

// pathTo returns the first of starts from which target is an ancestor, or "".
func (g *graph) pathTo(target string, starts []string) string {
	if len(g.children[target]) == 0 {
		return "" // of nothing
	}
	seen := map[string]bool{}
	for _, start := range starts {
		stack := []string{start}
		for len(stack) > 0 {
			*g.steps++
			name := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if name == target {
				return start
			}
			if seen[name] {
				continue
			}
			seen[name] = true
			stack = append(stack, g.parents[name]...)
		}
	}
	return ""
}

// link replaces the parents of child. The caller has checked them.
func (g *graph) link(child string, parents []string) {
	old := g.parents[child]
	*g.steps += int64(len(old) + len(parents))
	for _, p := range without(old, parents) {
		g.dropChild(p, child)
	}
	for _, p := range without(parents, old) {
		g.children[p] = append(g.children[p], child)
	}
	if len(parents) == 0 {
		delete(g.parents, child)
		return
	}
	g.parents[child] = slices.Clone(parents)
}

// detach returns the children of a job, which are about to lose it, and forgets them, so that
// removing each does not search through all of them.
func (g *graph) detach(name string) []string {
	children := g.children[name]
	delete(g.children, name)
	return children
}

// remove removes a job and its edges.
func (g *graph) remove(name string) {
	g.link(name, nil)
	for _, c := range g.detach(name) {
		rest := without(g.parents[c], []string{name})
		if len(rest) == 0 {
			delete(g.parents, c)
			continue
		}
		g.parents[c] = rest
	}
}

func (g *graph) dropChild(parent, child string) {
	*g.steps += int64(len(g.children[parent]))
	rest := without(g.children[parent], []string{child})
	if len(rest) == 0 {
		delete(g.children, parent)
		return
	}
	g.children[parent] = rest
}

// without returns the names in list that are not in others, in their order.
func without(list, others []string) []string {
	const few = 8
	drop := func(name string) bool { return slices.Contains(others, name) }
	if len(others) > few {
		known := make(map[string]bool, len(others))
		for _, name := range others {
			known[name] = true
		}
		drop = func(name string) bool { return known[name] }
	}
	var rest []string
	for _, name := range list {
		if !drop(name) {
			rest = append(rest, name)
		}
	}
	return rest
}
