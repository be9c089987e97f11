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
}

func newGraph() *graph {
	return &graph{parents: map[string][]string{}, children: map[string][]string{}}
}

// check says why child cannot have these parents, or nil. exists tells whether
// there is a job of a name. Nothing changes.
func (g *graph) check(child string, parents []string, exists func(string) bool) error {
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
	if via := g.pathTo(child, parents); via != "" {
		return fmt.Errorf("job %q, parent %q: %w", child, via, errCycle)
	}
	return nil
}

// pathTo returns the first of starts from which target is an ancestor, or "".
func (g *graph) pathTo(target string, starts []string) string {
	seen := map[string]bool{}
	for _, start := range starts {
		stack := []string{start}
		for len(stack) > 0 {
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
	for _, p := range old {
		if !slices.Contains(parents, p) {
			g.dropChild(p, child)
		}
	}
	for _, p := range parents {
		if !slices.Contains(old, p) {
			g.children[p] = append(g.children[p], child)
		}
	}
	if len(parents) == 0 {
		delete(g.parents, child)
		return
	}
	g.parents[child] = slices.Clone(parents)
}

// remove takes a job and its edges out.
func (g *graph) remove(name string) {
	g.link(name, nil)
	for _, c := range g.children[name] {
		rest := slices.DeleteFunc(slices.Clone(g.parents[c]), func(p string) bool { return p == name })
		if len(rest) == 0 {
			delete(g.parents, c)
			continue
		}
		g.parents[c] = rest
	}
	delete(g.children, name)
}

func (g *graph) dropChild(parent, child string) {
	rest := slices.DeleteFunc(slices.Clone(g.children[parent]), func(c string) bool { return c == child })
	if len(rest) == 0 {
		delete(g.children, parent)
		return
	}
	g.children[parent] = rest
}
