package podder

import "unsafe"

// stringSlab holds the bytes of the short strings of one load, so that they
// cost no allocation each. A program that keeps one of them keeps its slab, so a
// slab is small, and no larger than what the load had before it, so that a load
// of a few strings keeps few bytes.
type stringSlab struct {
	rest []byte // of the newest slab: what is not used yet
	size int    // of the newest slab
}

const (
	firstSlab = 64
	maxSlab   = 8 << 10
	// slabString is the longest string that goes into a slab: the rest of a slab
	// that one does not fit into is lost.
	slabString = 256
)

// copyOf returns b as a string.
func (s *stringSlab) copyOf(b []byte) string {
	if len(b) > len(s.rest) {
		if len(b) > slabString {
			return string(b)
		}
		s.grow(len(b))
	}
	if len(b) == 0 {
		return ""
	}
	n := copy(s.rest, b)
	// The bytes are in no other string and never written again.
	text := unsafe.String(unsafe.SliceData(s.rest), n)
	s.rest = s.rest[n:]
	return text
}

// takeBack makes the slab what it was before text, the last string made, which
// nobody keeps; if it is another slab by now the bytes are lost.
func (s *stringSlab) takeBack(before stringSlab, text string) {
	if len(before.rest) == len(text)+len(s.rest) && len(text) > 0 && unsafe.StringData(text) == unsafe.SliceData(before.rest) {
		*s = before
	}
}

// grow begins a slab of at least n bytes.
func (s *stringSlab) grow(n int) {
	for s.size = min(maxSlab, max(firstSlab, 2*s.size)); s.size < n; {
		s.size *= 2
	}
	s.rest = make([]byte, s.size)
}
