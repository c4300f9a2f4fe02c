package podder

import (
	"encoding/binary"
	"math/bits"
)

// Where chunks end. A chunk ends behind a unit if it has at least `least` bytes
// and the gear hash of the units before, read as a fraction, is below the unit's
// size divided by `spread`; at the latest at `most` bytes. So on average a chunk
// has least + spread bytes, ends depend on nothing but the units just before
// them, and an insert moves the ends near it only.
//
// The gear hash is that of Xia et al., "Ddelta: A deduplication-inspired fast
// delta compression approach" (Performance Evaluation 79, 2014), with skipping of
// what comes before the least size and cutting at the most as in Xia et al.,
// "FastCDC" (USENIX ATC 2016); it is shifted by gearShift bits a unit, so that
// it looks back over 64/gearShift units: enough for arrays with few different
// values, and few enough that scattered changes leave most ends where they are. A
// fraction instead of a mask makes units of any size end chunks equally often, and
// ends for a larger spread a subset of those for a smaller one.
//
// Entries of maps come in the order of their key hash: there the hash of the last
// key alone decides.
const gearShift = 4

// chunkSizes says how large chunks become, in bytes.
type chunkSizes struct{ least, spread, most int }

// loose is what a chunk may have that takes a small rest.
func (s chunkSizes) loose() int { return s.most + s.most/8 }

// Chunks grow with their container, so that the list stays a small part of what
// an insert writes.
const (
	manyChunks = 2048
	hugeChunk  = 1 << 20
)

// sizesFor returns the sizes for a container of so many bytes, cut into chunks of
// `mean` at least.
func sizesFor(mean, total int) chunkSizes {
	for mean < hugeChunk && total/mean > manyChunks {
		mean *= 2
	}
	return chunkSizes{least: mean * 5 / 8, spread: mean * 3 / 8, most: 2 * mean}
}

// ends reports whether a unit of size bytes, up to which the gear hash is h, ends
// a chunk.
func (s chunkSizes) ends(h uint64, size int) bool {
	hi, _ := bits.Mul64(h, uint64(s.spread))
	return hi < uint64(size)
}

// limit is the gear hash below which units of one size end chunks.
func (s chunkSizes) limit(size int) uint64 {
	if size >= s.spread {
		return 1<<64 - 1
	}
	q, _ := bits.Div64(uint64(size), 0, uint64(s.spread))
	return q
}

// gearMix spreads the bits of a unit.
func gearMix(x uint64) uint64 {
	x = (x + 1) * 0x9E3779B97F4A7C15
	return x ^ x>>32
}

// cutFlat returns where a chunk of b, made of units of size bytes, ends, if it
// begins at 0.
func (s chunkSizes) cutFlat(b []byte, size int) int {
	least := max(s.least-s.least%size, size)
	most := max(s.most-s.most%size, size)
	if len(b) <= least {
		return len(b)
	}
	back := min(least, 64/gearShift*size)
	b = b[:min(len(b), most)]
	h := uint64(0)
	for at := least - back; at < least; at += size {
		h = h<<gearShift + unitHash(b[at:at+size])
	}
	if limit := s.limit(size); h >= limit {
		return least + scanFlat(h, b[least:], size, limit)
	}
	return least
}

// scanFlat goes on from hash h until a unit ends a chunk, and returns how many
// bytes that takes.
func scanFlat(h uint64, b []byte, size int, limit uint64) int {
	switch size {
	case 8:
		for at := 0; at+8 <= len(b); at += 8 {
			h = h<<gearShift + gearMix(binary.LittleEndian.Uint64(b[at:]))
			if h < limit {
				return at + 8
			}
		}
	case 4:
		for at := 0; at+4 <= len(b); at += 4 {
			h = h<<gearShift + gearMix(uint64(binary.LittleEndian.Uint32(b[at:])))
			if h < limit {
				return at + 4
			}
		}
	case 1:
		for at, x := range b {
			h = h<<gearShift + gearMix(uint64(x))
			if h < limit {
				return at + 1
			}
		}
	default:
		for at := 0; at+size <= len(b); at += size {
			h = h<<gearShift + unitHash(b[at:at+size])
			if h < limit {
				return at + size
			}
		}
	}
	return len(b)
}

// unitHash hashes a unit of one element.
func unitHash(b []byte) uint64 {
	h := uint64(0)
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h, 23) ^ gearMix(binary.LittleEndian.Uint64(b))
	}
	if len(b) > 0 {
		var x uint64
		for i := len(b) - 1; i >= 0; i-- {
			x = x<<8 | uint64(b[i])
		}
		h = bits.RotateLeft64(h, 23) ^ gearMix(x)
	}
	return h
}
