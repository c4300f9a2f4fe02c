package pager

import (
	"fmt"
	"math"
	"math/bits"
)

// usable is the set of pages that can be handed out, as a bitmap of the whole
// file (1 MiB for 64 GiB of pages of 8 KiB). The lowest page, and the lowest
// run of some length, is found by skipping groups of pages that are known to
// have none.
type usable struct {
	words   []uint64
	longest []uint32 // per group: no run that begins there is longer
	free    []uint32 // per group: usable pages
	count   uint64
	low     uint64 // no usable page is lower
	end     uint64 // one past the last page that is not usable
	size    uint64 // pages of the file
}

const groupPages = 4096

// resize sets the size of the file. Pages that come are not usable until they
// are given; those that go must be usable.
func (u *usable) resize(size uint64) {
	if size < u.size {
		u.take(size, u.size-size)
		u.size, u.end = size, min(u.end, size)
		u.settleEnd()
		return
	}
	groups := int((size + groupPages - 1) / groupPages)
	for len(u.longest) < groups {
		u.words = append(u.words, make([]uint64, groupPages/64)...)
		u.longest, u.free = append(u.longest, 0), append(u.free, 0)
	}
	if size > u.size {
		u.size, u.end = size, size
	}
}

func (u *usable) has(no uint64) bool {
	return no < u.size && u.words[no/64]&(1<<(no%64)) != 0
}

// span calls fn for each word that [start, start+n) touches, with the bits of
// the span in it.
func (u *usable) span(start, n uint64, fn func(word int, mask uint64)) {
	for n > 0 {
		k := min(64-start%64, n)
		fn(int(start/64), (math.MaxUint64>>(64-k))<<(start%64))
		start, n = start+k, n-k
	}
}

// give adds pages that were not usable.
func (u *usable) give(start, n uint64) {
	if n == 0 {
		return
	}
	if start+n > u.size {
		panic(fmt.Sprintf("pager: pages %d+%d given back to a file of %d", start, n, u.size))
	}
	u.span(start, n, func(w int, mask uint64) {
		if u.words[w]&mask != 0 {
			panic(fmt.Sprintf("pager: pages %d+%d given back twice", start, n))
		}
		u.words[w] |= mask
		u.free[w/(groupPages/64)] += uint32(bits.OnesCount64(mask))
	})
	u.count += n
	u.low = min(u.low, start)
	for g := start / groupPages; g <= (start+n-1)/groupPages; g++ {
		u.longest[g] = math.MaxUint32
	}
	// The run may begin in a group before.
	for g := start / groupPages; g > 0 && u.has(g*groupPages-1); g-- {
		u.longest[g-1] = math.MaxUint32
		if u.free[g-1] != groupPages {
			break
		}
	}
	if start+n == u.end {
		u.end = start
		u.settleEnd()
	}
}

// settleEnd moves the end down over usable pages.
func (u *usable) settleEnd() {
	for u.end > 0 {
		at := (u.end - 1) % 64
		if free := bits.LeadingZeros64(^(u.words[(u.end-1)/64] << (63 - at))); uint64(free) <= at {
			u.end -= uint64(free)
			return
		}
		u.end -= at + 1
	}
}

// take removes usable pages.
func (u *usable) take(start, n uint64) {
	u.span(start, n, func(w int, mask uint64) {
		if u.words[w]&mask != mask {
			panic(fmt.Sprintf("pager: pages %d+%d taken and not usable", start, n))
		}
		u.words[w] &^= mask
		u.free[w/(groupPages/64)] -= uint32(bits.OnesCount64(mask))
	})
	u.count -= n
	if start <= u.low {
		u.low = start + n
	}
	u.end = max(u.end, start+n)
}

// next returns the first page in [from, to) that is usable, or that is not; or
// to.
func (u *usable) next(from, to uint64, want bool) uint64 {
	for from < to {
		w := u.words[from/64]
		if !want {
			w = ^w
		}
		if w >>= from % 64; w != 0 {
			return min(from+uint64(bits.TrailingZeros64(w)), to)
		}
		from += 64 - from%64
	}
	return to
}

// find returns the lowest run of need pages that ends at or below limit.
func (u *usable) find(need, limit uint64) (uint64, bool) {
	limit = min(limit, u.size)
	for g := u.low / groupPages; g*groupPages < limit; g++ {
		if u.free[g] == 0 || uint64(u.longest[g]) < need {
			continue
		}
		last, longest := min((g+1)*groupPages, limit), uint64(0)
		for at := max(g*groupPages, u.low); ; {
			start := u.next(at, last, true)
			if start == last {
				break
			}
			end := u.next(start, min(start+need, u.size), false)
			if end-start >= need {
				if end > limit {
					return 0, false
				}
				if need == 1 {
					u.low = start
				}
				return start, true
			}
			longest = max(longest, end-start)
			if at = end; at >= last {
				break
			}
		}
		if last == (g+1)*groupPages {
			u.longest[g] = uint32(longest)
		}
	}
	return 0, false
}
