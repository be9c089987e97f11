package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A yamlReader reads the YAML that kubeconfigs and pods are written in: mappings and sequences, as blocks and in
// braces, plain and quoted texts, and literal blocks. What it does not know, it refuses: anchors, tags, several documents.
type yamlReader struct {
	lines []yamlLine
	at    int
}

type yamlLine struct {
	number, indent int
	text           string // without its indentation
}

// parseYAML reads a document. JSON is YAML too.
func parseYAML(text string) (any, error) {
	r := &yamlReader{}
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		rest := strings.TrimLeft(line, " ")
		if strings.HasPrefix(rest, "\t") {
			return nil, fmt.Errorf("line %d is indented by a tab", i+1)
		}
		r.lines = append(r.lines, yamlLine{i + 1, len(line) - len(rest), rest})
	}
	if r.skipEmpty(); r.at < len(r.lines) && r.lines[r.at].text == "---" {
		r.at++
	}
	value, err := r.block(0)
	if err != nil {
		return nil, err
	}
	if r.skipEmpty(); r.at < len(r.lines) {
		return nil, fmt.Errorf("line %d: %q belongs to nothing before it", r.lines[r.at].number, r.lines[r.at].text)
	}
	return value, nil
}

// skipEmpty moves to the next line that says something, and reports its indentation; -1 at the end.
func (r *yamlReader) skipEmpty() int {
	for ; r.at < len(r.lines); r.at++ {
		if t := r.lines[r.at].text; strings.TrimSpace(t) != "" && t[0] != '#' {
			return r.lines[r.at].indent
		}
	}
	return -1
}

// block reads a value that is indented by at least so much.
func (r *yamlReader) block(least int) (any, error) {
	indent := r.skipEmpty()
	if indent < least {
		return nil, nil
	}
	line := r.lines[r.at]
	if line.text == "-" || strings.HasPrefix(line.text, "- ") {
		return r.sequence(indent)
	}
	if _, _, ok := yamlKey(line.text); ok && line.text[0] != '{' && line.text[0] != '[' {
		return r.mapping(indent)
	}
	return r.flow()
}

func (r *yamlReader) sequence(indent int) (any, error) {
	list := []any{}
	for r.skipEmpty() == indent {
		line := &r.lines[r.at]
		if line.text != "-" && !strings.HasPrefix(line.text, "- ") {
			break
		}
		// What follows the dash stands where it would on a line of its own.
		rest := strings.TrimLeft(line.text[1:], " ")
		line.indent += len(line.text) - len(rest)
		line.text = rest
		if rest == "" {
			r.at++
		}
		item, err := r.block(indent + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}

func (r *yamlReader) mapping(indent int) (any, error) {
	o := jsonObject{}
	for r.skipEmpty() == indent {
		line := &r.lines[r.at]
		key, rest, ok := yamlKey(line.text)
		if !ok {
			break
		}
		if _, twice := o[key]; twice {
			return nil, fmt.Errorf("line %d: %q is there twice", line.number, key)
		}
		value, err := r.value(line, indent, rest)
		if err != nil {
			return nil, err
		}
		o[key] = value
	}
	if next := r.skipEmpty(); next > indent {
		return nil, fmt.Errorf("line %d: %q is indented too far", r.lines[r.at].number, r.lines[r.at].text)
	}
	return o, nil
}

// value reads what follows a key.
func (r *yamlReader) value(line *yamlLine, indent int, rest string) (any, error) {
	switch {
	case rest == "" || rest[0] == '#':
		r.at++
		if next := r.skipEmpty(); next == indent && (r.lines[r.at].text == "-" || strings.HasPrefix(r.lines[r.at].text, "- ")) {
			return r.sequence(indent) // which need not be indented
		}
		return r.block(indent + 1)
	case rest[0] == '|' || rest[0] == '>':
		r.at++
		return r.literal(indent, rest), nil
	}
	line.indent += len(line.text) - len(rest)
	line.text = rest
	return r.flow()
}

// literal reads a text that is written as it is. A folded one is not folded: nothing that is read here needs it.
func (r *yamlReader) literal(indent int, mark string) string {
	var b strings.Builder
	first := -1
	for ; r.at < len(r.lines); r.at++ {
		line := r.lines[r.at]
		if strings.TrimSpace(line.text) != "" && line.indent <= indent {
			break
		}
		if first < 0 {
			first = line.indent
		}
		b.WriteString(strings.Repeat(" ", max(0, line.indent-first)) + line.text + "\n")
	}
	text := strings.TrimRight(b.String(), "\n")
	if strings.HasSuffix(mark, "-") {
		return text
	}
	return text + "\n"
}

// yamlKey takes a key off a line.
func yamlKey(text string) (key, rest string, ok bool) {
	if text[0] == '"' || text[0] == '\'' {
		end := strings.IndexByte(text[1:], text[0]) + 1
		if end == 0 || !strings.HasPrefix(text[end+1:], ":") {
			return "", "", false
		}
		return text[1:end], strings.TrimSpace(text[end+2:]), true
	}
	key, rest, ok = strings.Cut(text, ": ")
	if !ok {
		key, ok = strings.CutSuffix(strings.TrimRight(text, " "), ":")
		rest = ""
	}
	if strings.HasPrefix(key, "#") || strings.ContainsAny(key, "{}[]&*!|") {
		return "", "", false
	}
	return strings.TrimSpace(key), strings.TrimSpace(rest), ok
}

// flow reads a value that is written in one piece, though over several lines if it is in braces.
func (r *yamlReader) flow() (any, error) {
	first := r.lines[r.at]
	f := &yamlFlow{text: first.text}
	for r.at++; ; r.at++ {
		f.at = 0
		value, err := f.read(false)
		if errors.Is(err, errYAMLOpen) && r.at < len(r.lines) {
			f.text += "\n" + r.lines[r.at].text
			continue
		}
		if err == nil {
			f.blank()
			if f.at < len(f.text) {
				err = fmt.Errorf("%q follows a value", f.text[f.at:])
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", first.number, err)
		}
		return value, nil
	}
}

var errYAMLOpen = errors.New("a brace or quote is not closed")

// A yamlFlow is a value in one piece.
type yamlFlow struct {
	text string
	at   int
}

// blank skips blanks and comments.
func (f *yamlFlow) blank() {
	for f.at < len(f.text) {
		switch c := f.text[f.at]; {
		case c == ' ' || c == '\n' || c == '\t':
			f.at++
		case c == '#' && (f.at == 0 || strings.IndexByte(" \n\t", f.text[f.at-1]) >= 0):
			end := strings.IndexByte(f.text[f.at:], '\n')
			if end < 0 {
				end = len(f.text) - f.at
			}
			f.at += end
		default:
			return
		}
	}
}

func (f *yamlFlow) read(inside bool) (any, error) {
	f.blank()
	if f.at == len(f.text) {
		return nil, errYAMLOpen
	}
	switch c := f.text[f.at]; c {
	case '{', '[':
		return f.collection(c)
	case '"', '\'':
		return f.quoted(c)
	case '&', '*', '!', '%', '@', '`':
		return nil, fmt.Errorf("%q begins something that is not read here (anchors, tags)", f.text[f.at:])
	}
	end := len(f.text)
	for i := f.at; i < end; i++ {
		c := f.text[i]
		ends := c == '\n' || c == '#' && i > 0 && f.text[i-1] == ' ' || inside && (strings.IndexByte(",]}", c) >= 0 ||
			c == ':' && (i+1 == len(f.text) || strings.IndexByte(" \n", f.text[i+1]) >= 0))
		if ends {
			end = i
		}
	}
	text := strings.TrimSpace(f.text[f.at:end])
	f.at = end
	return plainValue(text), nil
}

func (f *yamlFlow) collection(open byte) (any, error) {
	f.at++
	o, list := jsonObject{}, []any{}
	for {
		f.blank()
		switch {
		case f.at == len(f.text):
			return nil, errYAMLOpen
		case f.text[f.at] == ',':
			f.at++
			continue
		case f.text[f.at] == '}' && open == '{':
			f.at++
			return o, nil
		case f.text[f.at] == ']' && open == '[':
			f.at++
			return list, nil
		}
		item, err := f.read(true)
		if err != nil {
			return nil, err
		}
		if open == '[' {
			list = append(list, item)
			continue
		}
		key, ok := item.(string)
		f.blank()
		if f.at == len(f.text) {
			return nil, errYAMLOpen
		}
		if !ok || f.text[f.at] != ':' {
			return nil, fmt.Errorf("a colon is missing before %q", f.text[f.at:])
		}
		f.at++
		if o[key], err = f.read(true); err != nil {
			return nil, err
		}
	}
}

func (f *yamlFlow) quoted(quote byte) (any, error) {
	for i := f.at + 1; i < len(f.text); i++ {
		switch c := f.text[i]; {
		case c == '\\' && quote == '"':
			i++
		case c == quote && quote == '\'' && strings.HasPrefix(f.text[i+1:], "'"):
			i++
		case c == quote:
			text := f.text[f.at : i+1]
			f.at = i + 1
			if quote == '\'' {
				return strings.ReplaceAll(text[1:len(text)-1], "''", "'"), nil
			}
			var s string
			err := json.Unmarshal([]byte(text), &s)
			return s, err
		}
	}
	return nil, errYAMLOpen
}

// plainValue is what a text without quotes stands for.
func plainValue(text string) any {
	switch text {
	case "null", "~", "":
		return nil
	case "true", "false":
		return text == "true"
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return n
	}
	return text
}
