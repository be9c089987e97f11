package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// The log of the file store:
//
//	file    = magic salt[8] crc32c(magic salt)  frame*
//	frame   = length[4] crc32c(payload)[4] crc32c(salt offset length crc)[4]  payload
//	payload = { uvarint(len(key)) key  uvarint(0 = deleted, else 1+len(value)) value }
//
// Fixed-size numbers are little-endian. The salt and the frame's own offset go
// into its checksum, so bytes that look like a frame (an older file's, or part of
// a job) never pass for one.
const (
	logMagic  = "chronos state 1\n"
	logStart  = len(logMagic) + 8 + 4
	frameHead = 12
	maxCut    = 64 << 20 // the most that may be missing of a frame that find takes for one
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	errBadFrame = errors.New("checksum mismatch")
)

// A logHead is the beginning of a log.
type logHead struct{ salt [8]byte }

func (h logHead) encode() []byte {
	b := append([]byte(logMagic), h.salt[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func readLogHead(f io.ReaderAt) (logHead, error) {
	b := make([]byte, logStart)
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return logHead{}, err
	}
	var h logHead
	copy(h.salt[:], b[len(logMagic):])
	if !bytes.Equal(b, h.encode()) {
		return logHead{}, errors.New("not a chronos state file")
	}
	return h, nil
}

// frame encodes records as the frame that belongs at offset.
func (h logHead) frame(offset int64, records []record) ([]byte, error) {
	size := frameHead
	for _, r := range records {
		size += len(r.key) + len(r.value) + 2*binary.MaxVarintLen32
	}
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("%d bytes are too many for one commit", size)
	}
	b := make([]byte, frameHead, size)
	for _, r := range records {
		b = binary.AppendUvarint(b, uint64(len(r.key)))
		b = append(b, r.key...)
		if r.value == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(r.value))+1)
		b = append(b, r.value...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-frameHead))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[frameHead:], castagnoli))
	binary.LittleEndian.PutUint32(b[8:], h.check(offset, b))
	return b, nil
}

// check is the checksum of a frame's head.
func (h logHead) check(offset int64, head []byte) uint32 {
	var b [24]byte
	copy(b[:], h.salt[:])
	binary.LittleEndian.PutUint64(b[8:], uint64(offset))
	copy(b[16:], head[:8])
	return crc32.Checksum(b[:], castagnoli)
}

// length returns the length of the payload after head, if head is the head of a
// frame at offset that ends at or before limit.
func (h logHead) length(offset int64, head []byte, limit int64) (int, bool) {
	n := int64(binary.LittleEndian.Uint32(head))
	ok := n > 0 && n <= limit-offset-frameHead && binary.LittleEndian.Uint32(head[8:]) == h.check(offset, head)
	return int(n), ok
}

// scan visits the payload, and its offset in the file, of every frame before
// limit. It returns the end of the last good frame, with errBadFrame if that is
// not limit. The payload is valid during the call.
func (h logHead) scan(f io.ReaderAt, limit int64, visit func(offset int64, payload []byte) error) (int64, error) {
	at := int64(logStart)
	r := bufio.NewReaderSize(io.NewSectionReader(f, at, limit-at), 1<<20)
	head := make([]byte, frameHead)
	var payload []byte
	for at < limit {
		if _, err := io.ReadFull(r, head); err != nil {
			return at, badIfShort(err)
		}
		n, ok := h.length(at, head, limit)
		if !ok {
			return at, errBadFrame
		}
		if cap(payload) < n {
			payload = make([]byte, n)
		}
		payload = payload[:n]
		if _, err := io.ReadFull(r, payload); err != nil {
			return at, badIfShort(err)
		}
		if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return at, errBadFrame
		}
		if err := visit(at+frameHead, payload); err != nil {
			return at, err
		}
		at += frameHead + int64(n)
	}
	return at, nil
}

// badIfShort turns the end of the file within a frame into errBadFrame.
func badIfShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBadFrame
	}
	return err
}

// find looks for the head of a frame, whole or cut short, at or after from. Where a
// crash cut a commit short there is none: a frame is written only after the one
// before it is durable.
func (h logHead) find(f io.ReaderAt, from, limit int64) (int64, bool) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, limit-from), 1<<20)
	for at := from; ; at++ {
		head, err := r.Peek(frameHead)
		if err != nil {
			return 0, false
		}
		if _, ok := h.length(at, head, limit+maxCut); ok {
			return at, true
		}
		_, _ = r.Discard(1) // just peeked at
	}
}

// eachRecord visits the records of a payload: the key, and the place and length of
// the value in the payload. The length of a deleted one is -1.
func eachRecord(payload []byte, visit func(key string, at, n int)) error {
	at := 0
	length := func() (int, bool) {
		n, size := binary.Uvarint(payload[at:])
		at += max(size, 0)
		return int(n), size > 0 && n <= uint64(len(payload)-at)+1
	}
	for at < len(payload) {
		n, ok := length()
		if !ok || n > len(payload)-at {
			return errBadFrame
		}
		key := string(payload[at : at+n])
		at += n
		n, ok = length()
		if !ok {
			return errBadFrame
		}
		visit(key, at, n-1)
		at += max(n-1, 0)
	}
	return nil
}
