package mvcc

import (
	"iter"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// Set is a set of pod version numbers: for each value of the upper 32 bits
// that occurs, a roaring bitmap of the lower ones. The zero Set is empty. A
// Set may be read by many goroutines while nobody changes it; roaring's
// copy-on-write is never switched on, because its clones race on their source.
type Set struct {
	parts []setPart // ascending hi, none empty
}

type setPart struct {
	hi uint32
	bm *roaring.Bitmap
}

func split(n uint64) (hi, lo uint32) { return uint32(n >> 32), uint32(n) }

func (s *Set) find(hi uint32) (int, bool) {
	return slices.BinarySearchFunc(s.parts, hi, func(p setPart, hi uint32) int {
		switch {
		case p.hi < hi:
			return -1
		case p.hi > hi:
			return 1
		}
		return 0
	})
}

func (s *Set) part(hi uint32) *roaring.Bitmap {
	i, ok := s.find(hi)
	if !ok {
		s.parts = slices.Insert(s.parts, i, setPart{hi, roaring.New()})
	}
	return s.parts[i].bm
}

// Add adds one number.
func (s *Set) Add(n uint64) {
	hi, lo := split(n)
	s.part(hi).Add(lo)
}

// AddRange adds first … last; nothing if last < first.
func (s *Set) AddRange(first, last uint64) {
	for first <= last {
		hi, lo := split(first)
		end := min(last, uint64(hi)<<32|0xffffffff)
		s.part(hi).AddRange(uint64(lo), uint64(uint32(end))+1)
		if end == last {
			return
		}
		first = end + 1
	}
}

// Contains reports whether n is in the set.
func (s *Set) Contains(n uint64) bool {
	hi, lo := split(n)
	i, ok := s.find(hi)
	return ok && s.parts[i].bm.Contains(lo)
}

// Len returns the number of elements.
func (s *Set) Len() uint64 {
	var n uint64
	for _, p := range s.parts {
		n += p.bm.GetCardinality()
	}
	return n
}

// All yields the elements in ascending order.
func (s *Set) All() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, p := range s.parts {
			for it := p.bm.Iterator(); it.HasNext(); {
				if !yield(uint64(p.hi)<<32 | uint64(it.Next())) {
					return
				}
			}
		}
	}
}

// Equal reports whether both sets have the same elements.
func (s *Set) Equal(o *Set) bool {
	return slices.EqualFunc(s.parts, o.parts, func(a, b setPart) bool {
		return a.hi == b.hi && a.bm.Equals(b.bm)
	})
}

// Clone returns a copy that shares nothing.
func (s *Set) Clone() *Set {
	c := &Set{parts: make([]setPart, len(s.parts))}
	for i, p := range s.parts {
		c.parts[i] = setPart{p.hi, p.bm.Clone()}
	}
	return c
}

// union adds every element of o.
func (s *Set) union(o *Set) {
	for _, p := range o.parts {
		s.part(p.hi).Or(p.bm)
	}
}

// subtract removes every element of o.
func (s *Set) subtract(o *Set) {
	for _, p := range o.parts {
		if i, ok := s.find(p.hi); ok {
			s.parts[i].bm.AndNot(p.bm)
		}
	}
	s.parts = slices.DeleteFunc(s.parts, func(p setPart) bool { return p.bm.IsEmpty() })
}

// minus returns the elements of s that are not in o.
func (s *Set) minus(o *Set) *Set {
	c := s.Clone()
	c.subtract(o)
	return c
}
