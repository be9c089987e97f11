package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The command line is read by the rules of the JVM versions' parser, which are not
// those of package flag: a boolean takes no value, and every value word up to the
// next option word belongs to the option before it.

// assignment is one option word with its value.
type assignment struct {
	opt   option
	value string
}

// optionWords are an option and the value words behind it, not yet counted.
type optionWords struct {
	opt    option
	values []string
	glued  bool // the first value came with the option word: --opt=value
}

var (
	errHelpWord    = errors.New("--help")
	errVersionWord = errors.New("--version")
)

// optionWord reports whether a word names an option: it starts with a dash and
// something else than a digit follows, so that -5 is a value.
func optionWord(word string) bool {
	rest, ok := strings.CutPrefix(word, "-")
	r, _ := utf8.DecodeRuneInString(rest)
	return ok && rest != "" && !unicode.IsDigit(r)
}

// splitWords turns the command line into assignments, in order. --help and
// --version count wherever they stand as option words, over any mistake.
func splitWords(args []string, table []option) ([]assignment, error) {
	options := args
	if end := slices.Index(args, "--"); end >= 0 {
		options = args[:end]
	}
	if slices.Contains(options, "--help") {
		return nil, errHelpWord
	}
	if slices.Contains(options, "--version") {
		return nil, errVersionWord
	}
	var groups []optionWords
	for len(args) > 0 {
		n := 1
		for n < len(args) && !optionWord(args[n]) {
			n++
		}
		switch {
		case !optionWord(args[0]):
			return nil, excess(args[:n], "options start with --")
		case args[0] == "--":
			if len(args) > 1 {
				return nil, excess(args[1:], "nothing may follow --")
			}
			return countValues(groups)
		}
		group, err := matchOption(args[0], table)
		if err != nil {
			return nil, err
		}
		group.values = append(group.values, args[1:n]...)
		groups = append(groups, group)
		args = args[n:]
	}
	return countValues(groups)
}

// matchOption finds the option that one word names. After a single dash the
// first letter is a short option and the rest its value, unless the
// whole word is the name of an option.
func matchOption(word string, table []option) (optionWords, error) {
	letters := strings.TrimPrefix(word, "-")
	long, isLong := strings.CutPrefix(letters, "-")
	name, value, glued := strings.Cut(long, "=")
	if i := slices.IndexFunc(table, func(o option) bool { return o.name == name }); i >= 0 {
		w := optionWords{opt: table[i], glued: glued}
		if glued {
			w.values = []string{value}
		}
		return w, nil
	}
	if isLong {
		return optionWords{}, unknownOption(name, table)
	}
	r, size := utf8.DecodeRuneInString(letters)
	i := slices.IndexFunc(table, func(o option) bool { return o.short == string(r) })
	if i < 0 {
		return optionWords{}, unknownOption(string(r), table)
	}
	w := optionWords{opt: table[i]}
	if rest := letters[size:]; rest != "" {
		w.values = []string{rest}
	}
	return w, nil
}

// countValues checks that each option has as many values as it takes.
func countValues(groups []optionWords) ([]assignment, error) {
	var given []assignment
	for i, g := range groups {
		value, err := g.value(i == len(groups)-1)
		if err != nil {
			return nil, err
		}
		given = append(given, assignment{g.opt, value})
	}
	return given, nil
}

// value is the option's one value. What is wrong with more or fewer is worded
// differently for the last option, as in the JVM versions.
func (w optionWords) value(last bool) (string, error) {
	n, name := len(w.values), w.opt.name
	shown := printable(strings.Join(w.values, " "))
	if w.opt.secret {
		shown = "..."
	}
	switch boolean := w.opt.boolean(); {
	case boolean && n == 0:
		return "true", nil
	case boolean && n == 1 && w.glued:
		if v := w.values[0]; v == "true" || v == "false" {
			return v, nil
		}
		return "", usageErrorf("Bad arguments for option '%s': '%s' - too many arguments for flag option: only =true or =false may follow", name, shown)
	case boolean && last:
		return "", excess(w.values, "--"+name+" takes no value but =true or =false")
	case boolean:
		return "", usageErrorf("Bad arguments for option '%s': '%s' - too many arguments for flag option: only =true or =false may follow", name, shown)
	case n == 1:
		return w.values[0], nil
	case n == 0:
		hint := "a value that starts with a dash needs the form --" + name + "=..."
		if last {
			hint = "--help lists the options"
		}
		return "", usageErrorf("Bad arguments for option '%s': '' - you should provide exactly one argument for this option (%s)", name, hint)
	case last && w.opt.secret:
		return "", excess([]string{"..."}, "--"+name+" takes one value")
	case last:
		return "", excess(w.values[1:], "--"+name+" takes one value")
	}
	return "", usageErrorf("Bad arguments for option '%s': '%s' - you should provide exactly one argument for this option", name, shown)
}

func excess(words []string, why string) error {
	return usageErrorf("Excess arguments provided: '%s' - %s", printable(strings.Join(words, " ")), why)
}

// unknownOption names the nearest option there is.
func unknownOption(name string, table []option) error {
	shown := printable(name)
	if utf8.RuneCountInString(name) == 1 {
		var letters []string
		for _, o := range table {
			if o.short != "" {
				letters = append(letters, "-"+o.short)
			}
		}
		slices.Sort(letters)
		return usageErrorf("Unknown option '%s' - the short options are %s", shown, strings.Join(letters, " "))
	}
	if near := nearestOption(name, table); near != "" {
		return usageErrorf("Unknown option '%s' - did you mean --%s?", shown, near)
	}
	return usageErrorf("Unknown option '%s' - --help lists the options", shown)
}

// nearestOption is the option whose name is the fewest edits away, or "" if every
// one differs in more than half of its letters.
func nearestOption(name string, table []option) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	best, bestDistance := "", len(name)/2+1
	for _, o := range table {
		if d := editDistance(name, o.name); d < bestDistance {
			best, bestDistance = o.name, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// printable makes any text fit on the one line of a complaint.
func printable(s string) string {
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
