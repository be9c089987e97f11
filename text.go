package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// instantLayout is how Joda writes an instant in UTC, with milliseconds.
const instantLayout = "2006-01-02T15:04:05.000Z"

func instant(t time.Time) string { return t.UTC().Format(instantLayout) }

// newUUID returns a random UUID, version 4.
func newUUID() [16]byte {
	var id [16]byte
	rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// sortStable sorts a list that is short, or sorted seldom. The functions of package slices are compiled for each type of
// element anew, and such a sort is 8 to 20 KiB of program; this one is a tenth of that, and slower.
func sortStable[T any](list []T, compare func(a, b T) int) {
	sort.SliceStable(list, func(i, j int) bool { return compare(list[i], list[j]) < 0 })
}

// encode returns v as JSON on one line, without the escapes that HTML would need.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only for types that have no JSON form
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// cutText cuts a text after at most that many bytes, between characters, and puts mark
// in place of the rest.
func cutText(s string, most int, mark string) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + mark
}

// firstCharacters cuts a text after n characters, for receivers that count characters.
func firstCharacters(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// withoutURL removes the URL, which may contain a password, from a net/http error.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// version is the release, stamped in by the linker (-X main.version=...).
var version = "dev"

// appendKey appends a comma and a key that needs no escapes.
func appendKey(dst []byte, key string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

func appendText(dst []byte, key, s string) []byte {
	return appendString(appendKey(dst, key), s)
}

func appendTextIfAny(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	return appendText(dst, key, s)
}

func appendBool(dst []byte, key string, b bool) []byte {
	return strconv.AppendBool(appendKey(dst, key), b)
}

func appendInt(dst []byte, key string, n int64) []byte {
	return strconv.AppendInt(appendKey(dst, key), n, 10)
}

// appendDouble appends f as Jackson writes it: values that JSON has no number for
// become strings.
func appendDouble(dst []byte, key string, f float64) []byte {
	dst = appendKey(dst, key)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendString(dst, javaDouble(f))
	}
	return appendJavaDouble(dst, f)
}

func appendList[T any](dst []byte, key string, items []T, item func([]byte, T) []byte) []byte {
	dst = append(appendKey(dst, key), '[')
	for i, it := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = item(dst, it)
	}
	return append(dst, ']')
}

// quotedLen returns the length of a text as a JSON string of encoding/json, or a little more.
func quotedLen(s string) int {
	const escape = len(`\u0000`)
	n, valid := len(s)+len(`""`), utf8.ValidString(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			n++
		case c < ' ' || c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf && !valid:
			n += escape - 1
		case c >= utf8.RuneSelf:
			n++ // line and paragraph separators, of three bytes each, become escapes
		}
	}
	return n
}

// appendString appends s as Jackson writes a string: escapes for the quote, the
// backslash and control characters only. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendJavaDouble(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case abs == 0 || abs >= 1e-3 && abs < 1e7:
		start := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
		return appendFraction(dst, start)
	}
	var buf [32]byte
	digits, exponent, _ := strings.Cut(string(strconv.AppendFloat(buf[:0], f, 'e', -1, 64)), "e")
	start := len(dst)
	dst = appendFraction(append(dst, digits...), start)
	n, _ := strconv.Atoi(exponent) // strconv's own output
	return strconv.AppendInt(append(dst, 'E'), int64(n), 10)
}

// appendFraction appends .0 if the number that begins at start has no fraction.
func appendFraction(dst []byte, start int) []byte {
	for _, c := range dst[start:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, '.', '0')
}

// A fieldWriter writes a JSON object whose keys keep the order in which they are written.
type fieldWriter struct{ bytes.Buffer }

// key writes a key, or none if name is "", and the comma before it if needed.
func (w *fieldWriter) key(name string) {
	if b := w.Bytes(); len(b) > 0 && b[len(b)-1] != '{' {
		w.WriteByte(',')
	}
	if name != "" || w.Len() > 0 {
		w.quote(name)
		w.WriteByte(':')
	}
}

func (w *fieldWriter) quote(text string) {
	w.Write(appendString(w.AvailableBuffer(), text))
}

func (w *fieldWriter) open(name string) { w.key(name); w.WriteByte('{') }

func (w *fieldWriter) close() { w.WriteByte('}') }

func (w *fieldWriter) text(name, value string) { w.key(name); w.quote(value) }

func (w *fieldWriter) integer(name string, v int64) {
	w.key(name)
	w.Write(strconv.AppendInt(w.AvailableBuffer(), v, 10))
}

func (w *fieldWriter) double(name string, v float64) { w.key(name); w.WriteString(javaDouble(v)) }

// javaDouble returns f as Java's Double.toString prints it: 128.0, 1.0E7, 9.9E-4.
func javaDouble(f float64) string { return string(appendJavaDouble(nil, f)) }

// number writes a gauge: whole values as integers, like the JVM's.
func (w *fieldWriter) number(name string, v float64) {
	if whole(v) {
		w.integer(name, int64(v))
		return
	}
	w.double(name, v)
}

func whole(v float64) bool { return v == float64(int64(v)) }

// inUnits writes a duration for people: 2 h, 90 s, 1.5 s.
func inUnits(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if d >= u.size && d%u.size == 0 {
			return strconv.FormatInt(int64(d/u.size), 10) + " " + u.name
		}
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
}

// randomHex is a text that nobody else has.
func randomHex() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// plural chooses the word that goes with a number.
func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// countOf writes a number of things of a regular word: 1 run, 2 runs.
func countOf(n int, word string) string {
	return strconv.Itoa(n) + " " + plural(n, word, word+"s")
}
