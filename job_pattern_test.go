package main

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"testing"
)

// likes are LIKE constraints with these patterns.
func likes(values ...string) []Constraint {
	all := make([]Constraint, len(values))
	for i, v := range values {
		all[i] = Constraint{Attribute: "a", Operator: "LIKE", Value: v}
	}
	newPatterns().compile(all)
	return all
}

func TestPatternsAreBoundedBeforeTheyAreCompiled(t *testing.T) {
	t.Parallel()
	var hosts []string
	for i := range 100 {
		hosts = append(hosts, fmt.Sprintf("agent%03d.dc%d.example.com", i, i%3))
	}
	some := strings.Split(strings.Repeat("r[0-9]+ ", 100), " ")
	tests := []struct {
		name     string
		patterns []string
		fault    string // of the last
	}{
		{"usual", []string{"rack-[0-9]{1,3}(a|b)?"}, ""},
		{"a hundred hosts", []string{strings.Join(hosts, "|")}, ""},
		{"a hundred patterns", some, ""},
		{"a class of Unicode", []string{`\pL+`}, ""},
		{"not balanced", []string{"a)|(b"}, "is not a regular expression in RE2 syntax: "},
		{"look-ahead", []string{"a(?=b)"}, "is not a regular expression in RE2 syntax: "},
		{"long", []string{strings.Repeat("x", maxPattern+1)}, "makes it 4097 bytes of patterns, and a job may have 4096"},
		{"long together", []string{strings.Repeat("x", maxPattern/2), strings.Repeat("x", maxPattern/2), "x"}, "makes it 4097 bytes of patterns"},
		{"large", []string{strings.Repeat(".{1000}", 5)}, "makes it 5000 steps of patterns, and a job may have 4096"},
		{"large and long", []string{strings.Repeat(".{1000}", 2500)}, "makes it 17500 bytes of patterns"},
		{"nested repetitions", []string{"((" + strings.Repeat("x", 50) + "){30}){30}"}, "makes it "},
		{"classes", []string{strings.Repeat(`\pL`, 1000)}, "makes it "},
		{"large together", []string{".{1000}", "x{1000}", "(y?){1000}", "z"}, "makes it "},
		{"one after large ones", []string{strings.Repeat(".{1000}", 5), "z"}, "makes it "},
	}
	for _, tt := range tests {
		all := likes(tt.patterns...)
		last := all[len(all)-1].pattern
		if !strings.HasPrefix(last.fault, tt.fault) || (tt.fault == "") != (last.fault == "") {
			t.Errorf("%s: fault = %q, want %q", tt.name, last.fault, tt.fault)
		}
		if last.usable() != (tt.fault == "") {
			t.Errorf("%s: compiled: %t", tt.name, last.usable())
		}
	}
}

func TestProgramSizeIsThatOfTheProgram(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"", "a", "abc", "a|b|c", "(abc|abd|x)*", "a{3,7}", "a{5}", "a{5,}", "(a?){1000}", "((a?){30}){30}", "(.*a){300}", "[a-z0-9.-]+",
		`\w+\.\d{1,3}`, "(?i)agent-[abc]{2,40}", "(?:x(?:y(?:z|w){4}){4}){4}", "^a.*b$", `(a|b|c|d|e){100}`, "(ab?c+d*){50}",
	} {
		parsed, err := syntax.Parse(p, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		compiled, err := syntax.Compile(parsed.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		parsed, _ = syntax.Parse(p, syntax.Perl)
		if got, real := programSize(parsed), len(compiled.Inst); 2*got+10 < real || got > 4*real+10 {
			t.Errorf("programSize(%q) = %d, the program has %d instructions", p, got, real)
		}
	}
}

// TestPatternsAreCompiledOnce for all that have them, and for all times that a document is read.
func TestPatternsAreCompiledOnce(t *testing.T) {
	kept := newPatterns()
	first := kept.of("r[0-9]")
	for range 2 {
		all := []Constraint{{Attribute: "a", Operator: "UNLIKE", Value: "r[0-9]"}}
		if kept.compile(all); all[0].pattern != first {
			t.Fatal("a pattern was compiled twice")
		}
	}
	for i := range 5000 {
		kept.of(fmt.Sprintf("%0100d", i))
	}
	if n := len(kept.kept); n > maxKeptSteps/100 {
		t.Errorf("%d patterns are kept", n)
	}
}
