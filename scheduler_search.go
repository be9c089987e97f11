package main

import (
	"iter"
	"strings"
	"sync/atomic"
)

// What a search looks for, in lower case: jobs whose name and command contain the given texts, or one of which contains
// the text of anywhere. Without name and command every job matches, whatever anywhere says: so it is in the original.
type searched struct{ name, command, anywhere string }

func (t searched) matches(j *Job) bool {
	name, command := strings.ToLower(j.Name), strings.ToLower(j.Command)
	return strings.Contains(name, t.name) && strings.Contains(command, t.command) ||
		t.anywhere != "" && (strings.Contains(name, t.anywhere) || strings.Contains(command, t.anywhere))
}

// search yields the jobs that match, in the order of their creation. It passes over chunks in which none can.
func (v *view) search(t searched) iter.Seq[*jobView] {
	name, command, anywhere := piecesOf(t.name), piecesOf(t.command), piecesOf(t.anywhere)
	return func(yield func(*jobView) bool) {
		for _, c := range v.chunks {
			p := c.pieces()
			if !(p.have(name) && p.have(command)) && (len(anywhere) == 0 || !p.have(anywhere)) {
				continue
			}
			for _, j := range c.jobs {
				if j != nil && t.matches(j.job) && !yield(j) {
					return
				}
			}
		}
	}
}

// A pieceSet says which pieces of up to four bytes, may be in the names and
// commands of a chunk: one bit for all pieces with the same hash, 8 bytes for each job of a full chunk.
type pieceSet [pieceBits / 64]uint64

const pieceBits = 1 << 14

// chunkPieces is made when somebody searches, and shared by all pictures of the chunk whose names and commands are the same.
type chunkPieces struct{ made atomic.Pointer[pieceSet] }

func (c *viewChunk) pieces() *pieceSet {
	if p := c.searchable.made.Load(); p != nil {
		return p
	}
	p := &pieceSet{}
	for _, j := range c.jobs {
		if j != nil {
			p.add(strings.ToLower(j.job.Name))
			p.add(strings.ToLower(j.job.Command))
		}
	}
	c.searchable.made.Store(p)
	return p
}

// add adds all that may be searched for in a text.
func (p *pieceSet) add(text string) {
	for n := 1; n <= 4; n++ {
		for i := range len(text) - n + 1 {
			h := pieceHash(text[i : i+n])
			p[h/64] |= 1 << (h % 64)
		}
	}
}

// have reports whether all pieces may be there.
func (p *pieceSet) have(pieces []uint32) bool {
	for _, h := range pieces {
		if p[h/64]&(1<<(h%64)) == 0 {
			return false
		}
	}
	return true
}

// piecesOf returns the hashes of the pieces of a text that is searched for: all of four bytes, or the text if it is shorter.
func piecesOf(text string) []uint32 {
	if text == "" {
		return nil
	}
	if len(text) < 4 {
		return []uint32{pieceHash(text)}
	}
	hashes := make([]uint32, 0, len(text)-3)
	for i := range len(text) - 3 {
		hashes = append(hashes, pieceHash(text[i:i+4]))
	}
	return hashes
}

func pieceHash(piece string) uint32 {
	h := uint32(len(piece))
	for i := range len(piece) {
		h = h<<8 | uint32(piece[i])
	}
	return h * 2654435769 >> 18 // Knuth's multiplicative hash: the upper 14 bits
}
