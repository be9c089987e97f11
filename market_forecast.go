package main

import (
	"cmp"
	"math"
	"slices"
)

// endless is later than any instant, in ms.
const endless = int64(math.MaxInt64)

// An occupant takes room on an agent, and is expected to until an instant.
type occupant struct {
	resources
	until int64 // ms; endless for one of which nobody can say when it ends
}

// roomFor foretells when an agent of a size will have room for what is needed beside its occupants, endless if it
// can't be said, and what it will have to spare then. One that should have ended by now counts as endless.
func roomFor(size, needed resources, on []occupant, now int64) (at int64, spare resources) {
	free := size
	ends := make([]occupant, 0, len(on))
	for _, o := range on {
		free = free.minus(o.resources)
		if o.until > now && o.until < endless {
			ends = append(ends, o)
		}
	}
	slices.SortFunc(ends, func(a, b occupant) int { return cmp.Compare(a.until, b.until) })
	at = now
	for _, o := range ends {
		if free.covers(needed) {
			break
		}
		free, at = free.plus(o.resources), o.until
	}
	if !free.covers(needed) {
		return endless, resources{}
	}
	return at, free.minus(needed)
}
