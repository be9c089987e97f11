package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// stateText is what a job is doing, in the words of a dialect: the 2.x versions
// say running however many tasks run, 3.0 counts them.
func stateText(jv *jobView, d dialect) string {
	word, running := jv.state()
	if d == dialect3 && running > 0 {
		return strconv.Itoa(running) + " running"
	}
	return word
}

// graphDot writes the dependency graph for Graphviz, the jobs numbered in the order of creation.
func (s *server) graphDot(c *call) error {
	v := c.scheduler.view()
	var b bytes.Buffer
	b.WriteString("digraph G {\n")
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	number := make(map[string]int, v.len())
	for jv := range v.all() {
		number[jv.job.Name] = len(number) + 1
		fmt.Fprintf(&b, "  %d [ label=\"%s\" ];\n", len(number), quote.Replace(jv.job.Name))
	}
	for parent, child := range v.edges() {
		fmt.Fprintf(&b, "  %d -> %d;\n", number[parent], number[child])
	}
	b.WriteString("}\n")
	return c.reply(typeText, b.Bytes())
}

// graphCSV writes a line for every job and one for every edge. Names are not quoted.
func (s *server) graphCSV(c *call) error {
	v := c.scheduler.view()
	var b bytes.Buffer
	for jv := range v.all() {
		fmt.Fprintf(&b, "node,%s,%s,%s\n", jv.job.Name, jv.job.lastResult(), stateText(jv, c.dialect))
	}
	for parent, child := range v.edges() {
		fmt.Fprintf(&b, "link,%s,%s\n", parent, child)
	}
	return c.reply(typeText, b.Bytes())
}
