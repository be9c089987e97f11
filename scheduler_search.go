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

const (
	pieceBits    = 1 << 14
	longestPiece = 4 // bytes
)

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
	var last uint32 // the four bytes up to here
	for i := range len(text) {
		last = last<<8 | uint32(text[i])
		for n := range min(i+1, longestPiece) {
			h := pieceHash(last<<(24-8*n)>>(24-8*n), n+1)
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
	var hashes []uint32
	var last uint32
	for i := range len(text) {
		last = last<<8 | uint32(text[i])
		if n := min(len(text), longestPiece); i+1 >= n {
			hashes = append(hashes, pieceHash(last, n))
		}
	}
	return hashes
}

// pieceHash hashes a piece of n bytes, by Knuth's multiplication: the upper bits, as many as number pieceBits bits.
func pieceHash(piece uint32, n int) uint32 { return (piece + uint32(n)<<29) * 2654435769 >> 18 }
