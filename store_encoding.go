package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A stateEntry is what Mesos' replicated state keeps in a node: a protobuf message of
// package mesos.internal.state, the same from Mesos 0.22 on.
type stateEntry struct {
	name  string // the node's own
	uuid  []byte // 16 bytes, a new one for every write
	value []byte
}

// encodeEntry returns the bytes that libmesos writes. uuid must be a real version
// 4 UUID: libmesos 1.0 and later abort on anything else.
func encodeEntry(name string, uuid [16]byte, value []byte) []byte {
	b := make([]byte, 0, len(name)+len(uuid)+len(value)+3*(1+binary.MaxVarintLen32))
	b = appendField(b, 1, name)
	b = appendField(b, 2, uuid[:])
	return appendField(b, 3, value)
}

func appendField[T string | []byte](b []byte, number byte, content T) []byte {
	b = append(b, number<<3|2)
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

// decodeEntry accepts fields in any order, and fields unknown to it. The result
// shares memory with b.
func decodeEntry(b []byte) (stateEntry, error) {
	var e stateEntry
	var seen [4]bool
	groups := 0 // how many groups, which are unknown fields, we are in
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 {
			return stateEntry{}, errors.New("decode entry: bad tag")
		}
		b = b[n:]
		content, rest, ok := cutField(b, tag&7)
		if !ok {
			return stateEntry{}, errors.New("decode entry: bad field")
		}
		b = rest
		switch tag & 7 {
		case 3:
			groups++
		case 4:
			groups--
		}
		if groups > 0 || tag&7 != 2 || tag>>3 > 3 {
			continue
		}
		seen[tag>>3] = true
		switch tag >> 3 {
		case 1:
			e.name = string(content)
		case 2:
			e.uuid = content
		case 3:
			e.value = content
		}
	}
	if !seen[1] || !seen[2] || !seen[3] || groups != 0 {
		return stateEntry{}, errors.New("decode entry: name, uuid or value is missing")
	}
	return e, nil
}

// cutField splits the content of a field of the given wire type off b.
func cutField(b []byte, wireType uint64) (content, rest []byte, ok bool) {
	size, n := uint64(0), 0
	switch wireType {
	case 0:
		_, n = binary.Uvarint(b)
		if n <= 0 {
			return nil, nil, false
		}
	case 1:
		size = 8
	case 2:
		size, n = binary.Uvarint(b)
		if n <= 0 {
			return nil, nil, false
		}
	case 3, 4: // start and end of a group have no content of their own
	case 5:
		size = 4
	default:
		return nil, nil, false
	}
	b = b[n:]
	if size > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:size:size], b[size:], true
}

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
