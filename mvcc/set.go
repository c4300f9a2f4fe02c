package mvcc

import (
	"cmp"
	"iter"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// Set is a set of pod version numbers: up to listMax of them as a sorted list,
// more as a roaring bitmap of the lower 32 bits for each value of the upper ones
// that occurs. The zero Set is empty. A Set may be read by many goroutines while
// nobody changes it; roaring's copy-on-write is never switched on, because its
// clones race on their source.
//
// 1. Either list or parts is used; a set with parts stays so, however few
// elements are left. 2. parts ascend by hi and none is empty.
type Set struct {
	list  []uint64 // ascending
	parts []setPart
}

type setPart struct {
	hi uint32
	bm *roaring.Bitmap
}

// fill puts numbers into an empty set, which keeps and sorts them.
func (s *Set) fill(numbers []uint64) {
	if len(numbers) <= listMax {
		slices.Sort(numbers)
		s.list = slices.Compact(numbers)
		return
	}
	for _, n := range numbers {
		s.Add(n)
	}
}

func split(n uint64) (hi, lo uint32) { return uint32(n >> 32), uint32(n) }

func (s *Set) find(hi uint32) (int, bool) {
	return slices.BinarySearchFunc(s.parts, hi, func(p setPart, hi uint32) int {
		return cmp.Compare(p.hi, hi)
	})
}

func (s *Set) part(hi uint32) *roaring.Bitmap {
	i, ok := s.find(hi)
	if !ok {
		s.parts = slices.Insert(s.parts, i, setPart{hi, roaring.New()})
	}
	return s.parts[i].bm
}

// spread makes bitmaps of the list.
func (s *Set) spread() {
	for _, n := range s.list {
		hi, lo := split(n)
		s.part(hi).Add(lo)
	}
	s.list = nil
}

// Add adds one number.
func (s *Set) Add(n uint64) {
	if len(s.parts) == 0 {
		i, ok := slices.BinarySearch(s.list, n)
		if ok {
			return
		}
		if len(s.list) < listMax {
			s.list = slices.Insert(s.list, i, n)
			return
		}
		s.spread()
	}
	hi, lo := split(n)
	s.part(hi).Add(lo)
}

// AddRange adds first … last; nothing if last < first.
func (s *Set) AddRange(first, last uint64) {
	if last < first {
		return
	}
	if len(s.parts) == 0 && last-first < listMax {
		for n := first; ; n++ {
			if s.Add(n); n == last {
				return
			}
		}
	}
	s.spread()
	for {
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
	if len(s.parts) == 0 {
		_, ok := slices.BinarySearch(s.list, n)
		return ok
	}
	hi, lo := split(n)
	i, ok := s.find(hi)
	return ok && s.parts[i].bm.Contains(lo)
}

// Len returns the number of elements.
func (s *Set) Len() uint64 {
	n := uint64(len(s.list))
	for _, p := range s.parts {
		n += p.bm.GetCardinality()
	}
	return n
}

func (s *Set) empty() bool { return len(s.list)+len(s.parts) == 0 }

// max returns the highest element, 0 if there is none.
func (s *Set) max() uint64 {
	switch {
	case len(s.parts) > 0:
		p := s.parts[len(s.parts)-1]
		return uint64(p.hi)<<32 | uint64(p.bm.Maximum())
	case len(s.list) > 0:
		return s.list[len(s.list)-1]
	}
	return 0
}

// anyIn reports whether an element lies in first … last.
func (s *Set) anyIn(first, last uint64) bool {
	if i, _ := slices.BinarySearch(s.list, first); i < len(s.list) && s.list[i] <= last {
		return true
	}
	for _, p := range s.parts {
		low, high := uint64(p.hi)<<32, uint64(p.hi)<<32|0xffffffff
		if first > high || last < low {
			continue
		}
		a, b := uint32(max(first, low)), uint32(min(last, high))
		if p.bm.Rank(b) > p.bm.Rank(a) || p.bm.Contains(a) {
			return true
		}
	}
	return false
}

// All yields the elements in ascending order.
func (s *Set) All() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, n := range s.list {
			if !yield(n) {
				return
			}
		}
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
	switch {
	case len(s.parts) == 0 && len(o.parts) == 0:
		return slices.Equal(s.list, o.list)
	case len(s.parts) == 0:
		return o.Equal(s)
	case len(o.parts) == 0:
		o = o.Clone()
		o.spread()
	}
	return slices.EqualFunc(s.parts, o.parts, func(a, b setPart) bool {
		return a.hi == b.hi && a.bm.Equals(b.bm)
	})
}

// Clone returns a copy that shares nothing.
func (s *Set) Clone() *Set {
	c := &Set{list: slices.Clone(s.list), parts: make([]setPart, len(s.parts))}
	for i, p := range s.parts {
		c.parts[i] = setPart{p.hi, p.bm.Clone()}
	}
	return c
}

// union adds every element of o.
func (s *Set) union(o *Set) {
	for _, n := range o.list {
		s.Add(n)
	}
	if len(o.parts) > 0 {
		s.spread()
	}
	for _, p := range o.parts {
		s.part(p.hi).Or(p.bm)
	}
}

// subtract removes every element of o.
func (s *Set) subtract(o *Set) {
	if len(s.list) > 0 {
		s.list = slices.DeleteFunc(s.list, o.Contains)
		return
	}
	for _, n := range o.list {
		s.remove(n)
	}
	for _, p := range o.parts {
		if i, ok := s.find(p.hi); ok {
			s.parts[i].bm.AndNot(p.bm)
		}
	}
	s.parts = slices.DeleteFunc(s.parts, func(p setPart) bool { return p.bm.IsEmpty() })
}

// remove removes one number and reports whether it was there.
func (s *Set) remove(n uint64) bool {
	if i, ok := slices.BinarySearch(s.list, n); ok {
		s.list = slices.Delete(s.list, i, i+1)
		return true
	}
	hi, lo := split(n)
	i, ok := s.find(hi)
	if !ok || !s.parts[i].bm.CheckedRemove(lo) {
		return false
	}
	if s.parts[i].bm.IsEmpty() {
		s.parts = slices.Delete(s.parts, i, i+1)
	}
	return true
}

// minus returns the elements of s that are not in o.
func (s *Set) minus(o *Set) *Set {
	c := s.Clone()
	c.subtract(o)
	return c
}
