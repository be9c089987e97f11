package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A value is the text of one value inside a JSON document that is known to be
// well formed, without blanks around it. "" is an absent value.
//
// Its conversions are those of Jackson's JsonNode.asText, asInt and so on, which
// never fail; the JVM versions read every scalar through them.
type value string

// A member is one key of an object with its value.
type member struct {
	key   string
	value value
}

// An object holds members in the order of the document, duplicates included.
type object []member

// parseValue returns the first value of a document, ignoring what follows it, as
// Jackson does. A byte order mark is skipped. The error names line and column.
func parseValue(data []byte) (value, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return "", fmt.Errorf("malformed JSON at %s: not UTF-8", position(data, firstInvalid(data)))
	}
	if json.Valid(data) {
		return value(strings.Trim(string(data), " \t\r\n")), nil
	}
	var first json.RawMessage
	if json.NewDecoder(bytes.NewReader(data)).Decode(&first) == nil {
		return value(first), nil
	}
	// Decode again, for an error whose offset is from the start of the document.
	err := json.Unmarshal(data, &first)
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return "", fmt.Errorf("malformed JSON: %w", err)
	}
	return "", fmt.Errorf("malformed JSON at %s: %w", position(data, int(syntax.Offset)-1), err)
}

// firstInvalid returns the offset of the first byte that is not UTF-8.
func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// position describes the byte at offset by line and column.
func position(data []byte, offset int) string {
	before := data[:max(0, min(offset, len(data)))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d", line, column)
}

// get returns the last value under key. A null counts as absent, unlike in the
// JVM versions, which read it as the text "null", 0 or false.
func (o object) get(key string) value {
	for i := len(o) - 1; i >= 0; i-- {
		if o[i].key == key {
			if o[i].value == "null" {
				return ""
			}
			return o[i].value
		}
	}
	return ""
}

// unique returns the members, with the last value of each key at the key's first position.
func (o object) unique() object {
	if len(o) < 2 {
		return o
	}
	place := make(map[string]int, len(o))
	kept := make(object, 0, len(o))
	for _, m := range o {
		if i, ok := place[m.key]; ok {
			kept[i].value = m.value
			continue
		}
		place[m.key] = len(kept)
		kept = append(kept, m)
	}
	return kept
}

// object returns the members of an object, and nil for any other value.
func (v value) object() object {
	if v == "" || v[0] != '{' {
		return nil
	}
	members := make(object, 0, 8)
	for i := v.skipBlanks(1); v[i] != '}'; {
		end := v.end(i)
		key := v[i:end].unquote()
		i = v.skipBlanks(v.skipBlanks(end) + 1) // the colon
		end = v.end(i)
		members = append(members, member{key, v[i:end]})
		i = v.next(end)
	}
	return members
}

// elements returns the elements of an array, the values of an object that stands
// in an array's place, and nothing for a scalar.
func (v value) elements() []value {
	if v == "" || v[0] != '[' {
		members := v.object().unique()
		var values []value
		for _, m := range members {
			values = append(values, m.value)
		}
		return values
	}
	var values []value
	for i := v.skipBlanks(1); v[i] != ']'; {
		end := v.end(i)
		values = append(values, v[i:end])
		i = v.next(end)
	}
	return values
}

// next returns where the element after the one that ends at i starts, or the
// closing bracket.
func (v value) next(i int) int {
	i = v.skipBlanks(i)
	if v[i] == ',' {
		i = v.skipBlanks(i + 1)
	}
	return i
}

func (v value) skipBlanks(i int) int {
	for i < len(v) && (v[i] == ' ' || v[i] == '\n' || v[i] == '\t' || v[i] == '\r') {
		i++
	}
	return i
}

// end returns the end of the value that starts at i.
func (v value) end(i int) int {
	switch v[i] {
	case '"':
		return v.stringEnd(i)
	case '{', '[':
		for depth := 0; ; {
			switch v[i] {
			case '"':
				i = v.stringEnd(i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for ; i < len(v); i++ {
		switch v[i] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return i
}

func (v value) stringEnd(i int) int {
	for i++; v[i] != '"'; i++ {
		if v[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// unquote returns the text of a string. It may share the document's memory.
func (v value) unquote() string {
	inner := string(v[1 : len(v)-1])
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if err := json.Unmarshal([]byte(v), &s); err != nil {
		return inner // impossible: the document is well formed
	}
	return s
}

func (v value) isString() bool { return v != "" && v[0] == '"' }

// isNumber reports whether v is a number, and isFraction whether Jackson reads
// that number as a double.
func (v value) isNumber() bool   { return v != "" && (v[0] == '-' || v[0] >= '0' && v[0] <= '9') }
func (v value) isFraction() bool { return v.isNumber() && strings.ContainsAny(string(v), ".eE") }

// text converts any value to text; objects and arrays to "".
func (v value) text() string {
	switch {
	case v.isString():
		return strings.Clone(v.unquote())
	case v.isFraction():
		return javaDouble(v.double())
	case v == "-0":
		return "0"
	case v.isNumber(), v == "true", v == "false", v == "null":
		return strings.Clone(string(v))
	}
	return ""
}

// bool converts any value to a truth value: true, any integer but 0, and "true".
func (v value) bool() bool {
	switch {
	case v.isString():
		return javaTrim(v.unquote()) == "true"
	case v.isNumber():
		return !v.isFraction() && strings.Trim(string(v), "-0") != ""
	}
	return v == "true"
}

// double converts any value to a number, 0 if it is not one.
func (v value) double() float64 {
	switch {
	case v.isString():
		return parseJavaDouble(v.unquote())
	case v.isNumber():
		f, _ := strconv.ParseFloat(string(v), 64) // out of range is ±Inf, as in Java
		return f
	case v == "true":
		return 1
	}
	return 0
}

// int32 and int64 convert any value to an integer, 0 if it is not a number. Integers
// that are too long wrap around, fractions are cut off, texts out of range are 0.
func (v value) int32() int32 {
	switch {
	case v.isString():
		return int32(parseJavaInt(v.unquote(), 32))
	case v.isFraction():
		return int32(max(math.MinInt32, min(math.MaxInt32, truncate(v.double()))))
	}
	return int32(v.int64())
}

func (v value) int64() int64 {
	switch {
	case v.isString():
		return parseJavaInt(v.unquote(), 64)
	case v.isFraction():
		return truncate(v.double())
	case v.isNumber():
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil {
			return wrap(string(v))
		}
		return n
	case v == "true":
		return 1
	}
	return 0
}

// wrap returns the low 64 bits of an integer that has more.
func wrap(digits string) int64 {
	if len(digits) > 4096 {
		return 0 // big.Int's parsing is not linear
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return 0
	}
	low := new(big.Int).And(n, new(big.Int).SetUint64(math.MaxUint64))
	return int64(low.Uint64())
}

// truncate converts as Java's (long) does: to the nearest long there is, NaN to 0.
func truncate(f float64) int64 {
	switch {
	case math.IsNaN(f):
		return 0
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}

// javaTrim removes what Java's String.trim removes: all characters up to U+0020.
func javaTrim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

// parseJavaInt is Jackson's NumberInput.parseAsInt and parseAsLong: integers of
// the given size, or what can be read as a double, cut off.
func parseJavaInt(s string, bits int) int64 {
	s = strings.TrimPrefix(javaTrim(s), "+")
	if strings.Trim(strings.TrimPrefix(s, "-"), "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, bits)
		if err != nil {
			return 0
		}
		return n
	}
	n := truncate(parseJavaDouble(s))
	if bits == 32 {
		return max(math.MinInt32, min(math.MaxInt32, n))
	}
	return n
}

// parseJavaDouble is Double.parseDouble, without its hexadecimal forms, and with 0 for
// what is not a number.
func parseJavaDouble(s string) float64 {
	s = javaTrim(s)
	switch strings.TrimLeft(s, "+-") {
	case "NaN":
		return math.NaN()
	case "Infinity":
		return math.Inf(strings.Count(s, "-") * -1)
	}
	if n := len(s); n > 1 && strings.ContainsRune("fFdD", rune(s[n-1])) {
		s = s[:n-1] // a Java literal's suffix
	}
	if strings.Trim(s, "0123456789.eE+-") != "" {
		return 0 // Go's own extras: inf, hexadecimal, underscores
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return f
}
