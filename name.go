package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789ABCDEF"

// recordName encodes any text as one element of a ZooKeeper path. What ZooKeeper
// or its Java server refuses there is percent-encoded, the rest stays readable.
// Two texts never have the same encoding.
func recordName(name string) string {
	switch name {
	case "":
		return "%"
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	var b strings.Builder
	for at := 0; at < len(name); {
		r, n := utf8.DecodeRuneInString(name[at:])
		if legalInName(r, n) {
			b.WriteString(name[at : at+n])
		} else {
			for _, c := range []byte(name[at : at+n]) {
				b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
			}
		}
		at += n
	}
	return b.String()
}

// legalInName reports whether a rune of n bytes may stay as it is. Java sees those
// beyond the basic plane as surrogates, which ZooKeeper refuses.
func legalInName(r rune, n int) bool {
	switch {
	case r == utf8.RuneError && n == 1, r == '/', r == '%', r < ' ', r >= 0x7f && r <= 0x9f, r >= 0xd800 && r <= 0xf8ff, r >= 0xfff0:
		return false
	}
	return true
}

// parseRecordName is the inverse of recordName. It refuses what recordName never returns.
func parseRecordName(encoded string) (string, error) {
	if encoded == "%" {
		return "", nil
	}
	var b strings.Builder
	for at := 0; at < len(encoded); at++ {
		if encoded[at] != '%' {
			b.WriteByte(encoded[at])
			continue
		}
		c, err := strconv.ParseUint(encoded[at+1:min(at+3, len(encoded))], 16, 8)
		if err != nil {
			return "", fmt.Errorf("decode name %q: %w", encoded, err)
		}
		b.WriteByte(byte(c))
		at += 2
	}
	if name := b.String(); recordName(name) == encoded {
		return name, nil
	}
	return "", fmt.Errorf("decode name %q: not in the form that names have", encoded)
}
