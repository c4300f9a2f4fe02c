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
	slab   []byte // the newest
	used   int    // bytes of it
	recent *[recentStrings]recentString
}

// recentString is a string of a word, at the place that its bytes say.
type recentString struct {
	word uint64
	text string
	tag  uint8 // what it has in the small maps of the load, 0 if that is not known
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
	recentBits    = 9
)

// copyOf returns b as a string.
func (s *stringSlab) copyOf(b []byte) string {
	text, _ := s.remembered(b)
	return text
}

// remembered is copyOf that says where the string is remembered, nil if it is not.
func (s *stringSlab) remembered(b []byte) (string, *recentString) {
	if s.recent != nil && len(b) <= wordString && len(b) > 0 {
		word := wordOf(b)
		r := &s.recent[word*0x9e3779b97f4a7c15>>(64-recentBits)]
		if r.word != word || len(r.text) != len(b) {
			*r = recentString{word: word, text: s.newCopy(b)}
		}
		return r.text, r
	}
	return s.newCopy(b), nil
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
	if len(b) > len(s.slab)-s.used {
		if len(b) > slabString {
			return string(b)
		}
		s.grow(len(b))
	}
	if len(b) == 0 {
		return ""
	}
	// The bytes are in no other string and never written again.
	rest := s.slab[s.used:]
	n := copy(rest, b)
	s.used += n
	return unsafe.String(unsafe.SliceData(rest), n)
}

// takeBack makes the slab what it was before text, the last string made, which
// nobody keeps; if it is another slab by now, or text is remembered, its bytes are lost.
func (s *stringSlab) takeBack(before stringSlab, text string) {
	if len(text) > wordString && s.used == before.used+len(text) && len(s.slab) > before.used &&
		unsafe.StringData(text) == &s.slab[before.used] {
		s.used = before.used
	}
}

// grow begins a slab of at least n bytes.
func (s *stringSlab) grow(n int) {
	size := min(maxSlab, max(firstSlab, 2*len(s.slab)))
	for size < n {
		size *= 2
	}
	s.slab, s.used = make([]byte, size), 0
	if size == maxSlab && s.recent == nil {
		s.recent = new([recentStrings]recentString)
	}
}
