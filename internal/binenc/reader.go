// Package binenc reads binary data that may lie. Every stored form of the
// database is read through a Reader, so the bounds are checked in one place;
// writers use encoding/binary's Append functions.
//
// Invariants of a Reader:
//
//  1. No method panics and none allocates, whatever the bytes are (the first
//     failure allocates its error).
//  2. Errors stick: after the first one every method returns zero values and
//     the position no longer moves, so callers check Err once at the end, or
//     before they act on what they read.
//  3. What Count returns is covered by bytes that are really there, so a slice
//     of that many elements is bounded by the input.
//  4. Varints are accepted only in their shortest form: a value has one
//     encoding, and equal values have equal bytes.
package binenc

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/poddb/poddb/internal/dberr"
)

// Reader reads from a byte slice that it never changes. The zero Reader is
// empty. A Reader is used by one goroutine.
type Reader struct {
	b   []byte
	off int
	err error
}

// NewReader returns a Reader at the start of b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Uvarint reads an unsigned LEB128 number of at most 64 bits.
func (r *Reader) Uvarint() uint64 {
	if r.off < len(r.b) && r.err == nil {
		if c := r.b[r.off]; c < 0x80 {
			r.off++
			return uint64(c)
		}
	}
	return r.longUvarint()
}

func (r *Reader) longUvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.off:])
	switch {
	case n == 0:
		r.Fail("number is cut off")
		return 0
	case n < 0:
		r.Fail("number is longer than 64 bits")
		return 0
	case n > 1 && r.b[r.off+n-1] == 0:
		r.Fail("number is not in its shortest form")
		return 0
	}
	r.off += n
	return v
}

// Uvarint32 reads an unsigned LEB128 number that must fit 32 bits.
func (r *Reader) Uvarint32() uint32 {
	v := r.Uvarint()
	if v > math.MaxUint32 {
		r.Fail("number %d is larger than 32 bits", v)
		return 0
	}
	return uint32(v)
}

// Varint reads a zig-zag LEB128 number.
func (r *Reader) Varint() int64 {
	u := r.Uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if r.err != nil {
		return 0
	}
	if r.off >= len(r.b) {
		r.Fail("one more byte expected")
		return 0
	}
	c := r.b[r.off]
	r.off++
	return c
}

// Bytes returns the next n bytes without copying them. Its capacity is n, so
// an append does not reach what follows. Nil after an error.
func (r *Reader) Bytes(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)-r.off) {
		r.Fail("%d bytes expected, %d left", n, len(r.b)-r.off)
		return nil
	}
	end := r.off + int(n)
	b := r.b[r.off:end:end]
	r.off = end
	return b
}

// U32 reads four little-endian bytes.
func (r *Reader) U32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight little-endian bytes.
func (r *Reader) U64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Count reads a number of elements that follow, each at least minBytesEach
// bytes long, and fails if so many cannot follow. minBytesEach below 1 counts
// as 1.
func (r *Reader) Count(minBytesEach int) int {
	n := r.Uvarint()
	if r.err != nil {
		return 0
	}
	most := uint64(r.Len() / max(minBytesEach, 1))
	if n > most {
		r.Fail("count %d, but at most %d fit what is left", n, most)
		return 0
	}
	return int(n)
}

// Len returns the number of bytes not yet read.
func (r *Reader) Len() int { return len(r.b) - r.off }

// Off returns the number of bytes read so far.
func (r *Reader) Off() int { return r.off }

// Err returns the first failure, which matches dberr.ErrCorrupt, or nil.
func (r *Reader) Err() error { return r.err }

// End fails if bytes are left, and returns Err.
func (r *Reader) End() error {
	if r.err == nil && r.off != len(r.b) {
		r.Fail("%d bytes left over", len(r.b)-r.off)
	}
	return r.err
}

// Fail makes the Reader fail at its position, unless it failed already. Callers
// use it for what only they can check.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = dberr.Corrupt("", -1, "at byte %d of %d: %s", r.off, len(r.b), fmt.Sprintf(format, args...))
	}
}
