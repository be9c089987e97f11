package main

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"sync"
)

// The patterns of a job together are bounded, in bytes and in steps: a step is about one instruction of the
// compiled program, and the most that a comparison costs per character of an attribute. A list of a hundred
// host names is well below both bounds; x{1000} is a thousand steps.
const (
	maxPattern      = 4096
	maxProgram      = 4096
	maxShownPattern = 200 // bytes of a pattern that messages show
)

// A pattern is the value of a LIKE or UNLIKE constraint. It must match the whole of an attribute, as Java's
// matches does.
type pattern struct {
	re    *regexp.Regexp // nil if there is a fault
	steps int            // size of its program
	fault string         // why it can never match, for people
}

// newPattern compiles a pattern, unless its program is too large.
func newPattern(value string) *pattern {
	parsed, err := syntax.Parse(value, syntax.Perl) // "a)|(b" alone does not balance
	if err != nil {
		return &pattern{fault: fmt.Sprintf("is not a regular expression in RE2 syntax: %v", err)}
	}
	p := &pattern{steps: programSize(parsed)}
	if p.steps > maxProgram {
		return p
	}
	if p.re, err = regexp.Compile(`\A(?:` + value + `)\z`); err != nil {
		p.fault = err.Error()
	}
	return p
}

// usable reports whether the pattern can match anything.
func (p *pattern) usable() bool { return p != nil && p.re != nil }

// programSize is about how many instructions an expression compiles to, without compiling it: repetitions
// count as if written out. Each range of a character class counts, since Unicode classes have hundreds.
func programSize(re *syntax.Regexp) int {
	subs := 0
	for _, sub := range re.Sub {
		subs += programSize(sub)
	}
	size := 1
	switch re.Op {
	case syntax.OpLiteral:
		size = len(re.Rune)
	case syntax.OpCharClass:
		size = max(1, len(re.Rune)/2)
	case syntax.OpConcat:
		size = subs
	case syntax.OpAlternate:
		size = subs + len(re.Sub) - 1
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		size = subs + 1
	case syntax.OpCapture:
		size = subs + 2
	case syntax.OpRepeat:
		most := re.Max
		if most < 0 {
			most = re.Min + 1
		}
		size = subs*most + most - re.Min
	}
	return min(size, 1<<30) // an expression of maxPattern bytes can't overflow on the way
}

// patterns caches the patterns compiled last, so that a pattern is compiled once for all jobs that have it, and
// not again when a document is read again. A nil cache keeps none.
type patterns struct {
	mu    sync.Mutex
	kept  map[string]*pattern
	steps int
}

// maxKeptSteps bounds what is kept: some 20 MB.
const maxKeptSteps = 50 * maxProgram

func newPatterns() *patterns { return &patterns{kept: map[string]*pattern{}} }

// compile gives the constraints of a job their patterns, as long as these together stay within the bounds.
func (s *patterns) compile(all []Constraint) {
	bytes, steps := 0, 0
	for i := range all {
		c := &all[i]
		if c.Operator != "LIKE" && c.Operator != "UNLIKE" {
			continue
		}
		if bytes += len(c.Value); bytes > maxPattern {
			c.pattern = &pattern{fault: fmt.Sprintf("makes it %d bytes of patterns, and a job may have %d", bytes, maxPattern)}
			continue
		}
		c.pattern = s.of(c.Value)
		if steps += c.pattern.steps; steps > maxProgram {
			c.pattern = &pattern{fault: fmt.Sprintf("makes it %d steps of patterns, and a job may have %d: write fewer and smaller repetitions", steps, maxProgram)}
		}
	}
}

// of returns a pattern, compiled.
func (s *patterns) of(value string) *pattern {
	if s == nil {
		return newPattern(value)
	}
	s.mu.Lock()
	p := s.kept[value]
	s.mu.Unlock()
	if p != nil {
		return p
	}
	p = newPattern(value) // without the lock, which the scheduler's loop may need
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps += min(p.steps, maxProgram) + len(value); s.steps > maxKeptSteps {
		clear(s.kept)
		s.steps = 0
	}
	s.kept[value] = p
	return p
}
