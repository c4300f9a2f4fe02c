package podder

import (
	"encoding/binary"
	"unsafe"
)

// stringSlab holds the bytes of the short strings of one load, so that they
// cost no allocation each. A program that keeps one of them keeps its slab, so a
// slab is small, and no larger than what the load had before it, so that a load
// of a few strings keeps few bytes.
//
// Of the shortest strings many are equal, keys of maps above all. A load of many
// strings remembers those that it made last, and makes no other one of them.
type stringSlab struct {
	rest   []byte // of the newest slab: what is not used yet
	size   int    // of the newest slab
	recent *[recentStrings]recentString
}

// recentString is a string of a word, at the place that its bytes say.
type recentString struct {
	word uint64
	text string
}

const (
	firstSlab = 64
	maxSlab   = 8 << 10
	// slabString is the longest string that goes into a slab: the rest of a slab
	// that one does not fit into is lost.
	slabString = 256
	// wordString is the longest string of which the last ones are remembered.
	wordString    = 8
	recentStrings = 1 << recentBits
	recentBits    = 7
)

// copyOf returns b as a string.
func (s *stringSlab) copyOf(b []byte) string {
	if s.recent != nil && len(b) <= wordString && len(b) > 0 {
		word := wordOf(b)
		r := &s.recent[word*0x9e3779b97f4a7c15>>(64-recentBits)]
		if r.word != word || len(r.text) != len(b) {
			r.word, r.text = word, s.newCopy(b)
		}
		return r.text
	}
	return s.newCopy(b)
}

// wordOf returns a number that is different for different strings of equal length,
// from 1 to wordString.
func wordOf(b []byte) uint64 {
	n := len(b)
	if n >= 4 {
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	}
	return uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16
}

func (s *stringSlab) newCopy(b []byte) string {
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
// nobody keeps; if it is another slab by now, or text is remembered, its bytes are lost.
func (s *stringSlab) takeBack(before stringSlab, text string) {
	if len(text) > wordString && len(before.rest) == len(text)+len(s.rest) && unsafe.StringData(text) == unsafe.SliceData(before.rest) {
		*s = before
	}
}

// grow begins a slab of at least n bytes.
func (s *stringSlab) grow(n int) {
	for s.size = min(maxSlab, max(firstSlab, 2*s.size)); s.size < n; {
		s.size *= 2
	}
	s.rest = make([]byte, s.size)
	if s.size == maxSlab && s.recent == nil {
		s.recent = new([recentStrings]recentString)
	}
}
