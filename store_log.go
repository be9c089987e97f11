package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"strings"
)

// The log of the file store:
//
//	file    = magic salt[8] crc32c(magic salt)  frame*
//	frame   = length[4] crc32c(payload)[4] crc32c(salt offset length crc)[4]  payload
//	payload = { uvarint(len(key)) key  uvarint(0 = deleted, else 1+len(value)) value }
//
// Fixed-size numbers are little-endian. The salt and the frame's own offset go
// into its checksum, so bytes that look like a frame (an older file's, or part of
// a job) are never taken for one.
//
// A salt that begins with countMark says that the first frame counts the records that the file was
// started with: a crash can cut a file only after those. The count is the deletion of a key that contains it
// and the salt, so builds that know no count read it, find nothing to delete, and never write it again.
const (
	logMagic    = "chronos state 1\n"
	logStart    = len(logMagic) + 8 + 4
	frameHead   = 12
	maxCut      = 64 << 20 // the most that may be missing from a frame that find recognizes
	countMark   = "cnt1"
	countPrefix = "go/file/count "
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	errBadFrame = errors.New("checksum mismatch")
)

// A logHead is the beginning of a log.
type logHead struct{ salt [8]byte }

// newLogHead returns the head of a new log, which counts its records.
func newLogHead() (logHead, error) {
	var h logHead
	_, err := rand.Read(h.salt[copy(h.salt[:], countMark):])
	return h, err
}

func (h logHead) encode() []byte {
	b := append([]byte(logMagic), h.salt[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func readLogHead(f io.ReaderAt) (logHead, error) {
	b := make([]byte, logStart)
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return logHead{}, err
	}
	h, ok := parseLogHead(b)
	if !ok {
		return logHead{}, errors.New("not a chronos state file")
	}
	return h, nil
}

func parseLogHead(b []byte) (h logHead, ok bool) {
	copy(h.salt[:], b[len(logMagic):])
	return h, bytes.Equal(b, h.encode())
}

// salvageLogHead returns the head of a log that may be damaged there: as it is, with one bit
// flipped back, or with the salt named in the frame after it.
func salvageLogHead(f io.ReaderAt) logHead {
	b := make([]byte, logStart+frameHead+len(countPrefix)+64)
	n, _ := f.ReadAt(b, 0) // what can't be read stays zero, which is not a valid head
	head, behind := b[:logStart], b[logStart:max(n, logStart)]
	asItStands, ok := parseLogHead(head)
	for bit := 0; !ok && bit < 8*logStart; bit++ {
		head[bit/8] ^= 1 << (bit % 8)
		var h logHead
		if h, ok = parseLogHead(head); ok {
			return h
		}
		head[bit/8] ^= 1 << (bit % 8)
	}
	_, named, found := bytes.Cut(behind, []byte(countPrefix))
	if ok || !found || len(named) < 2*len(asItStands.salt) {
		return asItStands
	}
	var h logHead
	if _, err := hex.Decode(h.salt[:], named[:2*len(h.salt)]); err != nil {
		return asItStands
	}
	return h
}

// counts reports whether the first frame counts the records that the file was started with.
func (h logHead) counts() bool { return strings.HasPrefix(string(h.salt[:]), countMark) }

// countKey is the key whose deletion says that the file was started with n records.
func (h logHead) countKey(n int) string {
	return countPrefix + hex.EncodeToString(h.salt[:]) + " " + strconv.Itoa(n)
}

// count reads the payload of the first frame.
func (h logHead) count(payload []byte) (n int, err error) {
	n = -1
	err = eachRecord(payload, func(key string, _, _ int) {
		if of, err := strconv.Atoi(key[strings.LastIndexByte(key, ' ')+1:]); err == nil && key == h.countKey(of) {
			n = of
		}
	})
	if err == nil && n < 0 {
		err = errBadFrame
	}
	return n, err
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

// scan visits the payload, and its offset in the file, of every frame from an offset on
// and before limit. It returns the end of the last good frame, with errBadFrame if that is
// not limit. The payload is valid during the call.
func (h logHead) scan(f io.ReaderAt, at, limit int64, visit func(offset int64, payload []byte) error) (int64, error) {
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

// goesOn reports where a log continues after a bad frame. After a commit that a crash cut short it
// does not: no frame is written before the previous one is durable.
func (h logHead) goesOn(f io.ReaderAt, at, limit int64) (int64, bool) {
	head := make([]byte, frameHead)
	if _, err := f.ReadAt(head, at); err == nil {
		if n, ok := h.length(at, head, math.MaxInt64); ok && at+frameHead+int64(n) < limit {
			return at + frameHead + int64(n), true
		}
	}
	return h.find(f, at+1, limit)
}

// find looks for the head of a frame, whole or cut short, at or after from.
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
		_, _ = r.Discard(1) // already peeked at
	}
}

// eachRecord visits the records of a payload: the key, and the position and length of
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
