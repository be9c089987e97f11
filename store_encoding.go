package main

import (
	"encoding/binary"
	"errors"
)

// A stateVariable is what Mesos' replicated state keeps in a node, its Entry: a protobuf message of
// package mesos.internal.state, unchanged since Mesos 0.22.
type stateVariable struct {
	name  string // the node's own
	uuid  []byte // 16 bytes, a new one for every write
	value []byte
}

// variableOverhead is the most that it takes in addition to the name and the value.
const variableOverhead = 16 + 3*(1+binary.MaxVarintLen32)

// encodeVariable returns the bytes that libmesos writes. uuid must be a real version
// 4 UUID: libmesos 1.0 and later abort on anything else.
func encodeVariable(name string, uuid [16]byte, value []byte) []byte {
	b := make([]byte, 0, len(name)+len(value)+variableOverhead)
	b = appendField(b, 1, name)
	b = appendField(b, 2, uuid[:])
	return appendField(b, 3, value)
}

func appendField[T string | []byte](b []byte, number byte, content T) []byte {
	b = append(b, number<<3|2)
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

// decodeVariable accepts fields in any order, and unknown fields. The result
// shares memory with b.
func decodeVariable(b []byte) (stateVariable, error) {
	var e stateVariable
	var seen [4]bool
	groups := 0 // the nesting depth of groups, which are unknown fields
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 {
			return stateVariable{}, errors.New("decode variable: bad tag")
		}
		b = b[n:]
		content, rest, ok := cutField(b, tag&7)
		if !ok {
			return stateVariable{}, errors.New("decode variable: bad field")
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
		return stateVariable{}, errors.New("decode variable: name, uuid or value is missing")
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
