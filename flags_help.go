package main

import (
	"fmt"
	"io"
	"strings"
)

const helpHead = `Usage: chronos [options]

With no options at all jobs run as processes of this machine, the state is kept
in chronos-data, and the API listens on http://127.0.0.1:8080. An option's value
follows as the next word or after an equals sign; of an option given twice the
last one counts. Passwords are never shown as defaults.
`

const helpTail = `
      --version               Print the version and exit.
      --help                  Print this and exit.
`

// helpColumn is where the descriptions start, helpWidth where they wrap.
const helpColumn, helpWidth = 30, 80

// printHelp writes the table by groups. Defaults that are secret or come from
// the environment are left out.
func printHelp(w io.Writer, table []option) {
	fmt.Fprint(w, helpHead)
	group := ""
	for _, o := range table {
		if o.group != group {
			group = o.group
			fmt.Fprintf(w, "\n%s:\n", group)
		}
		printOption(w, o)
	}
	fmt.Fprint(w, helpTail)
}

func printOption(w io.Writer, o option) {
	left := "      --" + o.name
	if o.short != "" {
		left = "  -" + o.short + ", --" + o.name
	}
	if o.arg != "" {
		left += " <" + o.arg + ">"
	}
	text := o.help
	if o.env != "" {
		text += " The variable " + o.env + " gives a default."
	}
	if def := o.value.String(); def != "" && !o.secret && !o.boolean() && !strings.Contains(o.help, "Default:") {
		text += " (default " + def + ")"
	}
	for _, line := range wrapText(text, helpWidth-helpColumn) {
		if len(left) > helpColumn-2 {
			fmt.Fprintln(w, left)
			left = ""
		}
		fmt.Fprintf(w, "%-*s%s\n", helpColumn, left, line)
		left = ""
	}
}

// wrapText breaks a text into lines of at most width letters, where its words allow.
func wrapText(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
